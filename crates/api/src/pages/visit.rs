//! Who looks at a page. A browser sends no token by itself: the token is given once, to `/ui/login`, and changed into a
//! cookie that this process alone can make, that no script reads, that no other site's page sends, and that ends with
//! the process or after eight hours. A form carries a proof that one of our pages made it.

use super::html::Page;
use crate::client::segment;
use crate::handlers::Api;
use axum::extract::rejection::FormRejection;
use axum::extract::{Form, FromRequestParts, Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use coalmine_core::id::Actor;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::Deserialize;
use std::fmt;
use std::time::{Duration, Instant};

/// So long a cookie is good.
const GOOD_FOR: Duration = Duration::from_hours(8);
const COOKIE: &str = "coalmine_ui";

/// What the pages need of the process.
pub struct Pages {
    /// Random, of this process alone.
    key: [u8; 32],
    https: Https,
    began: Instant,
}

/// Whether browsers come by HTTPS, so that the cookie may be kept from anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Https {
    /// They do.
    Yes,
    /// They do not, or it is not known.
    No,
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages").field("https", &self.https).finish_non_exhaustive()
    }
}

impl Pages {
    /// With 32 random bytes of this process's own.
    #[must_use]
    pub fn new(key: [u8; 32], https: Https) -> Self {
        Self { key, https, began: Instant::now() }
    }

    fn mac(&self, what: &str, of: &str) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&(what.len() as u64).to_le_bytes()).update(what.as_bytes()).update(of.as_bytes());
        hasher.finalize()
    }

    /// The value of a cookie: whose it is, until when since the process began, and that we made it.
    fn issue(&self, actor: &Actor) -> String {
        let until = (self.began.elapsed() + GOOD_FOR).as_secs();
        let told = format!("{}.{until}", segment(actor.as_str()).replace('.', "%2E"));
        format!("{told}.{}", self.mac("cookie", &told).to_hex())
    }

    fn holder(&self, cookie: &str) -> Option<Actor> {
        let (told, mac) = cookie.rsplit_once('.')?;
        // `blake3::Hash` compares in constant time.
        let good = blake3::Hash::from_hex(mac).is_ok_and(|mac| mac == self.mac("cookie", told));
        let (name, until) = told.split_once('.').filter(|_| good)?;
        (self.began.elapsed().as_secs() < until.parse().ok()?).then(|| unescaped(name)).flatten().map(Actor)
    }

    /// The proof that a form of this visitor was made here.
    pub(super) fn proof(&self, actor: &Actor) -> String {
        self.mac("form", actor.as_str()).to_hex().to_string()
    }

    /// Whether the proof is this visitor's.
    pub(super) fn is_proof(&self, actor: &Actor, proof: &str) -> bool {
        blake3::Hash::from_hex(proof).is_ok_and(|proof| proof == self.mac("form", actor.as_str()))
    }

    fn cookie(&self, value: &str, age: Duration) -> HeaderValue {
        let secure = match self.https {
            Https::Yes => "; Secure",
            Https::No => "",
        };
        let text = format!("{COOKIE}={value}; Path=/ui; Max-Age={}; HttpOnly; SameSite=Strict{secure}", age.as_secs());
        HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
    }
}

fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        bytes.push((digit(rest.next())? << 4) | digit(rest.next())?);
    }
    String::from_utf8(bytes).ok()
}

/// Whoever looks at a page.
#[derive(Debug, Clone)]
pub(super) struct Visitor {
    pub(super) actor: Actor,
    pub(super) by_cookie: bool,
}

impl FromRequestParts<Api> for Visitor {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Response> {
        if let Ok(crate::handlers::Operator(actor)) = crate::handlers::Operator::from_request_parts(parts, api).await {
            return Ok(Self { actor, by_cookie: false });
        }
        let actor = cookie(&parts.headers).and_then(|cookie| api.pages.holder(cookie));
        // What was sent with a form is lost: there is nothing to go back to.
        let asked = parts.uri.path_and_query().filter(|_| parts.method == Method::GET);
        let back = asked.map_or("/ui/", http::uri::PathAndQuery::as_str);
        let actor = actor.ok_or_else(|| Redirect::to(&format!("/ui/login?to={}", segment(back))).into_response())?;
        Ok(Self { actor, by_cookie: true })
    }
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut each = all.flat_map(|line| line.split(';')).filter_map(|one| one.trim().split_once('='));
    each.find(|(name, _)| *name == COOKIE).map(|(_, value)| value)
}

/// Where to after the login.
#[derive(Debug, Deserialize)]
pub(super) struct To {
    #[serde(default)]
    to: String,
}

/// What the login's form sends.
#[derive(Deserialize)]
pub(super) struct Login {
    token: String,
    #[serde(default)]
    to: String,
}

/// Asks for the token.
pub(super) async fn ask(Query(To { to }): Query<To>) -> Response {
    form(&to, StatusCode::OK)
}

fn form(to: &str, status: StatusCode) -> Response {
    let mut page = Page::to_stranger("Sign in to Coalmine", status);
    page.raw("<p class=\"note\">With the token of the command line (<code>COALMINE_TOKEN</code>). Whose it is says ");
    page.raw("<code>api.tokens</code> in coalmine.yaml.</p>");
    if status != StatusCode::OK {
        page.raw("<p class=\"bad\" id=\"wrong\" role=\"alert\">This token is not known here.</p>");
    }
    page.raw("<form class=\"sign-in\" method=\"post\" action=\"/ui/login\"><label for=\"token\">Token</label>");
    page.raw(
        "<input id=\"token\" type=\"password\" name=\"token\" autocomplete=\"current-password\" autofocus required",
    );
    if status != StatusCode::OK {
        page.raw(" aria-invalid=\"true\" aria-describedby=\"wrong\"");
    }
    page.raw("><input type=\"hidden\" name=\"to\" value=\"").text(to).raw("\"><button>Sign in</button></form>");
    page.answer()
}

/// Changes a token into a cookie.
pub(super) async fn login(State(api): State<Api>, login: Result<Form<Login>, FormRejection>) -> Response {
    let Ok(Form(Login { token, to })) = login else { return form("", StatusCode::BAD_REQUEST) };
    let Some(actor) = api.operators.holder(Some(token.trim())) else { return form(&to, StatusCode::UNAUTHORIZED) };
    let mut response = Redirect::to(inside(&to)).into_response();
    response.headers_mut().insert(header::SET_COOKIE, api.pages.cookie(&api.pages.issue(&actor), GOOD_FOR));
    response
}

/// Takes the cookie back.
pub(super) async fn logout(State(api): State<Api>) -> Response {
    let mut response = Redirect::to("/ui/login").into_response();
    response.headers_mut().insert(header::SET_COOKIE, api.pages.cookie("", Duration::ZERO));
    response
}

/// A page of ours, whatever was asked for.
fn inside(to: &str) -> &str {
    let ours =
        to.starts_with("/ui/") && !to.contains("..") && to.bytes().all(|b| (b'!'..=b'~').contains(&b) && b != b'\\');
    if ours { to } else { "/ui/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_names_its_holder_and_no_other_can_be_made() {
        let pages = Pages::new([1; 32], Https::Yes);
        for name in ["ana", "a.b c=%", "jörg"] {
            let actor = Actor::from(name);
            let value = pages.issue(&actor);
            assert!(value.bytes().all(|b| b.is_ascii_alphanumeric() || b"%.-_~".contains(&b)), "{value}");
            assert_eq!(pages.holder(&value), Some(actor));
            assert_eq!(Pages::new([2; 32], Https::Yes).holder(&value), None);
            for forged in [value.replacen('a', "b", 1), format!("{value}0"), value[1..].to_owned(), String::new()] {
                assert!(forged == value || pages.holder(&forged).is_none(), "{forged}");
            }
        }
        let told = format!("ana.{}", 0);
        assert_eq!(pages.holder(&format!("{told}.{}", pages.mac("cookie", &told).to_hex())), None, "its time is over");
        assert!(!format!("{pages:?}").contains('1'));
    }

    #[test]
    fn a_cookie_is_for_our_pages_and_no_script() {
        let cookie = Pages::new([1; 32], Https::Yes).cookie("x", GOOD_FOR);
        assert_eq!(cookie, "coalmine_ui=x; Path=/ui; Max-Age=28800; HttpOnly; SameSite=Strict; Secure");
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("other=1; coalmine_ui=abc"));
        assert_eq!(super::cookie(&headers), Some("abc"));
    }

    #[test]
    fn a_form_is_proven_by_its_own_visitor() {
        let pages = Pages::new([1; 32], Https::No);
        let (ana, ben) = (Actor::from("ana"), Actor::from("ben"));
        assert!(pages.is_proof(&ana, &pages.proof(&ana)));
        assert!(!pages.is_proof(&ben, &pages.proof(&ana)) && !pages.is_proof(&ana, ""));
    }

    #[test]
    fn a_login_leads_nowhere_else() {
        assert_eq!(inside("/ui/labels?release=support-1"), "/ui/labels?release=support-1");
        for to in ["https://evil.example/ui/", "//evil.example", "/ui/../api", "/ui/\\evil", "", "/ui/\r\nx"] {
            assert_eq!(inside(to), "/ui/", "{to}");
        }
    }
}
