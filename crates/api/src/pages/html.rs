//! A page that is made of fixed markup and escaped texts, and of nothing else: what a model or a customer wrote can be
//! no markup, for markup is `&'static str` here.

use super::visit::Visitor;
use crate::handlers::Refusal;
use axum::response::{IntoResponse, Response};
use coalmine_control::captures::text::Text;
use coalmine_core::id::ReleaseId;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

/// Nothing but this server's own files, in no frame, and forms that go nowhere else.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// A page in the making.
#[derive(Debug)]
pub(super) struct Page {
    text: String,
    status: StatusCode,
}

/// Which of a release's pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tab {
    SideBySide,
    Labels,
}

impl Page {
    /// A page with its head, and who looks at it.
    pub(super) fn new(title: &'static str, visitor: &Visitor) -> Self {
        let mut page = Self::bare(title);
        page.head(visitor).raw("<main><h1>").text(title).raw("</h1>");
        page
    }

    /// One of a release's pages.
    pub(super) fn of_release(title: &'static str, visitor: &Visitor, release: &ReleaseId, tab: Tab) -> Self {
        let mut page = Self::bare(title);
        page.head(visitor).raw("<main><h1>").text(title).raw(" <small>").text(release.as_str()).raw("</small></h1>");
        page.raw("<nav class=\"tabs\" aria-label=\"Pages of the release\">");
        for (of, path, shown) in
            [(Tab::SideBySide, "/ui/captures", "Side by side"), (Tab::Labels, "/ui/labels", "Labels")]
        {
            page.raw("<a href=\"").raw(path).raw("?release=").param(release.as_str()).raw("\"");
            if of == tab {
                page.raw(" aria-current=\"page\"");
            }
            page.raw(">").raw(shown).raw("</a>");
        }
        page.raw("</nav>");
        page
    }

    /// What could not be done, and where to go on.
    pub(super) fn refused(visitor: &Visitor, refusal: &Refusal) -> Self {
        let status = refusal.status();
        let title = match status {
            StatusCode::NOT_FOUND => "Not found",
            StatusCode::FORBIDDEN => "Not yours to read",
            StatusCode::SERVICE_UNAVAILABLE => "Not now",
            _ => "That did not work",
        };
        let mut page = Self::new(title, visitor);
        page.status = status;
        page.raw("<p class=\"bad\" role=\"alert\">").text(refusal.message()).raw("</p><p>");
        if status.is_server_error() {
            page.raw("Nothing was changed. Load the page again in a moment, or go ");
        } else {
            page.raw("Go ");
        }
        page.raw("<a href=\"/ui/\">back to all releases</a>.</p>");
        page
    }

    /// The same for whoever is not known.
    pub(super) fn to_stranger(title: &'static str, status: StatusCode) -> Self {
        let mut page = Self::bare(title);
        page.status = status;
        page.raw("<main class=\"small\"><h1>").text(title).raw("</h1>");
        page
    }

    fn head(&mut self, visitor: &Visitor) -> &mut Self {
        self.raw("<header><a class=\"brand\" href=\"/ui/\">Coalmine</a><span class=\"who\">");
        self.text(visitor.actor.as_str()).raw("</span>");
        if visitor.by_cookie {
            self.raw("<form method=\"post\" action=\"/ui/logout\"><button>Sign out</button></form>");
        }
        self.raw("</header>")
    }

    fn bare(title: &'static str) -> Self {
        let mut page = Self { text: String::new(), status: StatusCode::OK };
        page.raw("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" ");
        page.raw("content=\"width=device-width, initial-scale=1\"><title>").text(title).raw(" – Coalmine</title>");
        page.raw("<link rel=\"icon\" href=\"/ui/icon.svg\"><link rel=\"stylesheet\" href=\"/ui/style.css\">");
        page.raw("<script src=\"/ui/keys.js\" defer></script></head><body>");
        page
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
    pub(super) fn said(&mut self, text: &Text) -> &mut Self {
        self.conversation(text).reply("Answer", text).taken_out(text.redacted)
    }

    /// What was said before an answer.
    pub(super) fn conversation(&mut self, text: &Text) -> &mut Self {
        for line in &text.conversation {
            self.raw("<div class=\"line\"><b>").text(&line.who).raw("</b>").words(&line.said).raw("</div>");
        }
        self
    }

    /// The answer.
    pub(super) fn reply(&mut self, named: &'static str, text: &Text) -> &mut Self {
        self.raw("<div class=\"line answer\"><b>").raw(named).raw("</b>").words(&text.answer).raw("</div>")
    }

    /// How much of it is not shown to anybody.
    pub(super) fn taken_out(&mut self, pieces: u64) -> &mut Self {
        match pieces {
            0 => self,
            1 => self.raw("<p class=\"note\">1 piece was taken out before it was kept.</p>"),
            more => self.raw("<p class=\"note\">").number(more).raw(" pieces were taken out before it was kept.</p>"),
        }
    }

    /// What somebody said, each paragraph in the direction of its own script.
    fn words(&mut self, said: &str) -> &mut Self {
        if said.trim().is_empty() {
            return self.raw("<p class=\"note\">(no text)</p>");
        }
        self.raw("<p class=\"words\" dir=\"auto\">").text(said).raw("</p>")
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
