//! Both versions' answers to like prompts, a pair at a time.

use super::html::Page;
use super::visit::Visitor;
use crate::handlers::{Api, Refusal};
use axum::extract::{Query, State};
use axum::response::Response;
use coalmine_control::ControlError;
use coalmine_control::captures::pairs::Opened;
use coalmine_control::captures::read::Window;
use coalmine_core::id::ReleaseId;
use http::StatusCode;
use serde::Deserialize;

/// Which pair is shown.
#[derive(Debug, Deserialize)]
pub(super) struct Which {
    release: String,
    #[serde(default)]
    at: usize,
}

pub(super) async fn show(
    State(api): State<Api>,
    visitor: Visitor,
    Query(Which { release, at }): Query<Which>,
) -> Result<Response, Refusal> {
    let id = ReleaseId(release);
    let mut page = Page::new("Side by side", &visitor);
    let found = match api.control.side_by_side(&id, Window { skip: at, most: 1 }, &visitor.actor).await {
        Ok(found) => found,
        Err(refused @ (ControlError::MayNotRead(_) | ControlError::NoCapture)) => {
            page.refuse(StatusCode::FORBIDDEN).raw("<p class=\"bad\">").text(&refused.to_string()).raw("</p>");
            return Ok(page.answer());
        }
        Err(other) => return Err(other.into()),
    };
    page.raw("<p class=\"note\">").text(id.as_str()).raw(": ").number(found.found as u64).raw(" pairs among ");
    page.number(found.control).raw(" answers of control and ").number(found.canary).raw(" of the canary.");
    if found.unopened > 0 {
        page.raw(" ").number(found.unopened).raw(" could not be opened: their key is not in coalmine.yaml.");
    }
    page.raw("</p>");
    let Some(pair) = found.pairs.first() else {
        page.raw("<p>There is no pair here.</p>");
        return Ok(page.answer());
    };
    page.raw("<p>Pair ").number(at as u64 + 1).raw(": ").text(pair.likeness.as_str());
    if let Some(share) = pair.likeness.share().filter(|share| *share < 1.0) {
        page.raw(", ").text(&format!("{:.0} %", share * 100.0)).raw(" of their words");
    }
    page.raw("</p><div class=\"sides\">");
    side(&mut page, "control", &pair.control);
    side(&mut page, "canary", &pair.canary);
    page.raw("</div><p>");
    if at > 0 {
        page.raw("<a data-key=\"p\" href=\"/ui/captures?release=").param(id.as_str()).raw("&amp;at=");
        page.number(at as u64 - 1).raw("\">previous (p)</a> ");
    }
    if at + 1 < found.found {
        page.raw("<a data-key=\"n\" href=\"/ui/captures?release=").param(id.as_str()).raw("&amp;at=");
        page.number(at as u64 + 1).raw("\">next (n)</a>");
    }
    page.raw("</p>");
    Ok(page.answer())
}

fn side(page: &mut Page, arm: &'static str, one: &Opened) {
    page.raw("<section><h2>").raw(arm).raw("</h2>").said(&one.text);
    page.raw("<p class=\"note\"><code>").text(&one.head.id.to_string()).raw("</code></p></section>");
}
