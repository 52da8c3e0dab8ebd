//! Pages for people, served beside the API: the queue of answers that wait for a label, and both versions' answers side
//! by side. They are made here, whole, and load nothing from elsewhere; without script they work by the mouse.
//!
//! | module | what it holds |
//! |---|---|
//! | here | the pages' paths |
//! | `html` | a page that is made of fixed markup and escaped texts, and of nothing else |
//! | `visit` | who looks: a token, or the cookie that a token was changed into |
//! | `labels`, `captures` | the two pages |

mod captures;
mod html;
mod labels;
mod visit;

pub use visit::{Https, Pages};

use crate::handlers::{Api, Refusal};
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use coalmine_core::release::state::Release;
use html::{Page, asset};
use http::StatusCode;
use visit::Visitor;

/// The pages' paths.
pub(crate) fn router() -> Router<Api> {
    Router::new()
        .route("/ui", get(index))
        .route("/ui/", get(index))
        .route("/ui/labels", get(labels::show).post(labels::take))
        .route("/ui/captures", get(captures::show))
        .route("/ui/login", get(visit::ask).post(visit::login))
        .route("/ui/logout", axum::routing::post(visit::logout))
        .route("/ui/{*rest}", get(unknown))
        .route("/ui/icon.svg", get(|| async { asset("image/svg+xml", include_str!("pages/icon.svg")) }))
        .route("/ui/style.css", get(|| async { asset("text/css; charset=utf-8", include_str!("pages/style.css")) }))
        .route("/ui/keys.js", get(|| async { asset("text/javascript; charset=utf-8", include_str!("pages/keys.js")) }))
}

/// The page, or why there is none.
fn answered(visitor: &Visitor, shown: Result<Page, Refusal>) -> Response {
    shown.unwrap_or_else(|refusal| Page::refused(visitor, &refusal)).answer()
}

/// `1 answer`, `2 answers`.
fn plural<'a>(page: &'a mut Page, count: u64, what: &'static str) -> &'a mut Page {
    page.number(count).raw(" ").raw(what).raw(if count == 1 { "" } else { "s" })
}

async fn unknown(visitor: Visitor) -> Response {
    answered(&visitor, Err(Refusal::new(StatusCode::NOT_FOUND, "not_found", "there is no such page")))
}

/// Every release, with its pages, and what was captured without one.
async fn index(State(api): State<Api>, visitor: Visitor) -> Response {
    let mut page = Page::new("Releases", &visitor);
    let mut releases = api.control.releases();
    releases.sort_by_key(|release| std::cmp::Reverse(release.created_at));
    if releases.is_empty() {
        page.raw("<p>There is none yet. <code>coalmine start release.yaml</code> begins one.</p>");
    } else {
        page.raw("<div class=\"wide\"><table><thead><tr><th scope=\"col\">Release</th><th scope=\"col\">State</th>");
        page.raw("<th scope=\"col\">Answers</th><th scope=\"col\">Human labels</th></tr></thead><tbody>");
        releases.iter().for_each(|release| row(&api, &mut page, release));
        page.raw("</tbody></table></div>");
    }
    let routes = api.control.captured_routes();
    if routes.is_empty() {
        page.raw("<p class=\"note\">No route captures answers. <code>capture</code> in coalmine.yaml keeps some of ");
        page.raw("them, redacted and sealed, to be read here.</p>");
    } else {
        page.raw("<h2>Without a release</h2><ul>");
        for route in routes {
            page.raw("<li><a href=\"/ui/captures?route=").param(route.as_str()).raw("\">Answers of stable of ");
            page.text(route.as_str()).raw("</a></li>");
        }
        page.raw("</ul>");
    }
    page.answer()
}

fn row(api: &Api, page: &mut Page, release: &Release) {
    let labels = api.control.labels(&release.id).unwrap_or_default();
    let waiting = labels.iter().filter(|one| one.label.is_none()).count() as u64;
    page.raw("<tr><th scope=\"row\">").text(release.id.as_str()).raw("</th><td>").text(release.state.word());
    page.raw("</td><td><a href=\"/ui/captures?release=").param(release.id.as_str()).raw("\">Side by side</a></td><td>");
    if labels.is_empty() {
        page.raw("<span class=\"note\">none drawn</span>");
    } else {
        page.raw("<a href=\"/ui/labels?release=").param(release.id.as_str()).raw("\">");
        match waiting {
            0 => page.raw("all done"),
            waiting => plural(page, waiting, "answer").raw(" to label"),
        };
        page.raw("</a>");
    }
    page.raw("</td></tr>");
}
