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

use crate::handlers::Api;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use html::{Page, asset};
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
        .route("/ui/style.css", get(|| async { asset("text/css; charset=utf-8", include_str!("pages/style.css")) }))
        .route("/ui/keys.js", get(|| async { asset("text/javascript; charset=utf-8", include_str!("pages/keys.js")) }))
}

/// Every release, with its pages.
async fn index(State(api): State<Api>, visitor: Visitor) -> Response {
    let mut page = Page::new("Releases", &visitor);
    page.raw("<table><tr><th>Release</th><th>State</th><th></th><th></th></tr>");
    for release in api.control.releases() {
        let waiting = api.control.labels(&release.id).unwrap_or_default();
        let waiting = waiting.iter().filter(|one| one.label.is_none()).count();
        page.raw("<tr><td>").text(release.id.as_str()).raw("</td><td>").text(release.state.word());
        page.raw("</td><td><a href=\"/ui/labels?release=").param(release.id.as_str()).raw("\">labels</a> (");
        page.number(waiting as u64).raw(" wait)</td><td><a href=\"/ui/captures?release=").param(release.id.as_str());
        page.raw("\">side by side</a></td></tr>");
    }
    page.raw("</table>");
    page.answer()
}
