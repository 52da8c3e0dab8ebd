//! A page that is made of fixed markup and escaped texts, and of nothing else: what a model or a customer wrote can be
//! no markup, for markup is `&'static str` here.

use super::visit::Visitor;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

/// Nothing but this server's own files, in no frame, and forms that go nowhere else.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// A page in the making.
#[derive(Debug)]
pub(super) struct Page {
    text: String,
    status: StatusCode,
}

impl Page {
    /// A page with its head, and who looks at it.
    pub(super) fn new(title: &'static str, visitor: &Visitor) -> Self {
        let mut page = Self::bare(title);
        page.raw("<nav><a href=\"/ui/\">Releases</a> <span>").text(visitor.actor.as_str()).raw("</span>");
        if visitor.by_cookie {
            page.raw("<form method=\"post\" action=\"/ui/logout\"><button>log out</button></form>");
        }
        page.raw("</nav><main><h1>").text(title).raw("</h1>");
        page
    }

    /// The same for whoever is not known.
    pub(super) fn to_stranger(title: &'static str, status: StatusCode) -> Self {
        let mut page = Self::bare(title);
        page.status = status;
        page.raw("<main><h1>").text(title).raw("</h1>");
        page
    }

    fn bare(title: &'static str) -> Self {
        let mut page = Self { text: String::new(), status: StatusCode::OK };
        page.raw("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" ");
        page.raw("content=\"width=device-width\"><title>").text(title).raw(" – Coalmine</title>");
        page.raw(
            "<link rel=\"stylesheet\" href=\"/ui/style.css\"><script src=\"/ui/keys.js\" defer></script></head><body>",
        );
        page
    }

    /// Says no, and by which status.
    pub(super) fn refuse(&mut self, status: StatusCode) -> &mut Self {
        self.status = status;
        self
    }

    /// Markup.
    pub(super) fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.text.push_str(markup);
        self
    }

    /// A text, escaped for where an element's text or an attribute in double quotes stands.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        for sign in text.chars() {
            match sign {
                '&' => self.text.push_str("&amp;"),
                '<' => self.text.push_str("&lt;"),
                '>' => self.text.push_str("&gt;"),
                '"' => self.text.push_str("&quot;"),
                '\'' => self.text.push_str("&#39;"),
                sign => self.text.push(sign),
            }
        }
        self
    }

    /// A value in an address.
    pub(super) fn param(&mut self, text: &str) -> &mut Self {
        self.text.push_str(&crate::client::segment(text));
        self
    }

    /// A number.
    pub(super) fn number(&mut self, number: u64) -> &mut Self {
        self.text.push_str(&number.to_string());
        self
    }

    /// A conversation and the answer to it.
    pub(super) fn said(&mut self, text: &coalmine_control::captures::text::Text) -> &mut Self {
        for line in &text.conversation {
            self.raw("<div class=\"line\"><b>").text(&line.who).raw("</b><p>").text(&line.said).raw("</p></div>");
        }
        self.raw("<div class=\"answer\"><b>answer</b><p>").text(&text.answer).raw("</p></div>");
        if text.redacted > 0 {
            self.raw("<p class=\"note\">").number(text.redacted).raw(" pieces were taken out.</p>");
        }
        self
    }

    /// As it is sent.
    pub(super) fn answer(mut self) -> Response {
        self.raw("</main></body></html>\n");
        (self.status, guarded("text/html; charset=utf-8", "no-store"), self.text).into_response()
    }
}

/// A file of the pages.
pub(super) fn asset(kind: &'static str, text: &'static str) -> Response {
    (guarded(kind, "no-cache"), text).into_response()
}

fn guarded(kind: &'static str, cache: &'static str) -> HeaderMap {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, cache),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    headers.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_becomes_markup() {
        let mut page = Page::to_stranger("T", StatusCode::OK);
        page.raw("<a title=\"").text("\"><script>alert('x')</script>&amp;").raw("\">");
        page.param("a b&c=\"<>");
        assert!(page.text.ends_with(
            "title=\"&quot;&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;amp;\">a%20b%26c%3D%22%3C%3E"
        ));
    }
}
