//! Both versions' answers to like prompts, a pair at a time; and what a route's stable version answered without a release.

use super::html::{Page, Tab};
use super::visit::Visitor;
use super::{answered, plural};
use crate::handlers::{Api, Refusal};
use crate::when::utc;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use coalmine_control::captures::pairs::{AnswerPair, Opened};
use coalmine_control::captures::read::{SideBySide, Window};
use coalmine_core::id::{ReleaseId, RouteName};
use http::StatusCode;
use serde::Deserialize;

/// What is shown.
#[derive(Debug, Deserialize)]
pub(super) struct Which {
    release: Option<String>,
    route: Option<String>,
    #[serde(default)]
    at: usize,
}

pub(super) async fn show(
    State(api): State<Api>,
    visitor: Visitor,
    which: Result<Query<Which>, QueryRejection>,
) -> Response {
    let shown = match which {
        Ok(Query(Which { release: Some(release), at, .. })) => pairs(&api, &visitor, ReleaseId(release), at).await,
        Ok(Query(Which { route: Some(route), at, .. })) => steady(&api, &visitor, &route.as_str().into(), at).await,
        Ok(_) => Err(Refusal::new(StatusCode::NOT_FOUND, "not_found", "the address names neither release nor route")),
        Err(rejection) => Err(rejection.into()),
    };
    answered(&visitor, shown)
}

async fn pairs(api: &Api, visitor: &Visitor, id: ReleaseId, at: usize) -> Result<Page, Refusal> {
    let found = api.control.side_by_side(&id, Window { skip: at, most: 1 }, &visitor.actor).await?;
    let mut page = Page::of_release("Side by side", visitor, &id, Tab::SideBySide);
    let Some(pair) = found.pairs.first() else {
        nothing(&mut page, &id, &found);
        return Ok(page);
    };
    page.raw("<div class=\"bar\"><p>Pair <b>").number(at as u64 + 1).raw("</b> of ").number(found.found as u64);
    page.raw(": ").text(pair.likeness.as_str());
    if let Some(share) = pair.likeness.share().filter(|share| *share < 1.0) {
        page.raw(", ").text(&format!("{:.0} %", share * 100.0)).raw(" of their words");
    }
    page.raw("</p>");
    steps(&mut page, Step { named: "release", of: id.as_str(), at, last: found.found - 1 });
    page.raw("</div>");
    side_by_side(&mut page, pair);
    counted(&mut page, &found);
    Ok(page)
}

/// What both were asked is shown once where it is the same.
fn side_by_side(page: &mut Page, pair: &AnswerPair) {
    let together = pair.control.text.conversation == pair.canary.text.conversation;
    if together {
        page.conversation(&pair.control.text);
    }
    page.raw("<div class=\"sides\">");
    for (arm, one) in [("control", &pair.control), ("canary", &pair.canary)] {
        page.raw("<section aria-label=\"")
            .raw(arm)
            .raw("\"><h2 class=\"arm ")
            .raw(arm)
            .raw("\">")
            .raw(arm)
            .raw("</h2>");
        if !together {
            page.conversation(&one.text);
        }
        page.reply("Answer", &one.text).taken_out(one.text.redacted);
        origin(page, one);
        page.raw("</section>");
    }
    page.raw("</div>");
}

fn nothing(page: &mut Page, id: &ReleaseId, found: &SideBySide) {
    if found.found > 0 {
        page.raw("<p>There are ").number(found.found as u64).raw(" pairs, and this is beyond the last. ");
        page.raw("<a href=\"/ui/captures?release=").param(id.as_str()).raw("\">To the first one</a></p>");
        return;
    }
    page.raw("<p><b>There is no pair yet.</b> Two answers make one when both versions were asked nearly the same.</p>");
    counted(page, found);
    if found.control + found.canary == 0 {
        page.raw("<p class=\"note\">Nothing of this release is kept: its route has no <code>capture</code> in ");
        page.raw("coalmine.yaml, no drawn session has ended yet, or <code>keep</code> is over.</p>");
    }
}

fn counted(page: &mut Page, found: &SideBySide) {
    page.raw("<p class=\"note\">Looked at: ");
    plural(page, found.control, "answer").raw(" of control and ").number(found.canary).raw(" of the canary.");
    if found.unopened > 0 {
        page.raw(" ").number(found.unopened).raw(" could not be opened: their key is not in coalmine.yaml.");
    }
    page.raw("</p>");
}

async fn steady(api: &Api, visitor: &Visitor, route: &RouteName, at: usize) -> Result<Page, Refusal> {
    let (opened, found) = api.control.steady_text(route, at, &visitor.actor).await?;
    let mut page = Page::new("Answers without a release", visitor);
    page.raw("<p class=\"note\">What stable of <b>").text(route.as_str());
    page.raw("</b> answered while no release exposed anybody, the newest first.</p>");
    let Some(opened) = opened else {
        page.raw("<p><b>");
        page.raw(if found == 0 { "Nothing is kept yet." } else { "This is beyond the last one." });
        page.raw("</b> <a href=\"/ui/\">Back to all releases</a></p>");
        return Ok(page);
    };
    page.raw("<div class=\"bar\"><p>Answer <b>").number(at as u64 + 1).raw("</b> of ").number(found as u64).raw("</p>");
    steps(&mut page, Step { named: "route", of: route.as_str(), at, last: found.saturating_sub(1) });
    page.raw("</div>");
    match opened {
        Ok(one) => {
            page.said(&one.text);
            origin(&mut page, &one);
        }
        Err(error) => {
            page.raw("<p class=\"bad\" role=\"alert\">").text(&error.to_string()).raw("</p>");
        }
    }
    Ok(page)
}

/// Where one stands in a row of pages.
struct Step<'a> {
    named: &'static str,
    of: &'a str,
    at: usize,
    last: usize,
}

fn steps(page: &mut Page, step: Step<'_>) {
    let Step { named, of, at, last } = step;
    page.raw("<nav aria-label=\"One after the other\">");
    let mut link = |to: Option<usize>, key: &'static str, shown: &'static str| {
        let Some(to) = to else {
            page.raw("<span class=\"step\" aria-disabled=\"true\">").raw(shown).raw("</span>");
            return;
        };
        page.raw("<a class=\"step\" aria-keyshortcuts=\"").raw(key).raw("\" data-key=\"").raw(key);
        page.raw("\" href=\"/ui/captures?").raw(named).raw("=").param(of).raw("&amp;at=").number(to as u64).raw("\">");
        page.raw(shown).raw(" <kbd aria-hidden=\"true\">").raw(key).raw("</kbd></a>");
    };
    link(at.checked_sub(1), "p", "Previous");
    link(Some(at + 1).filter(|next| *next <= last), "n", "Next");
    page.raw("</nav>");
}

/// When it was, by whom, and its id.
fn origin(page: &mut Page, one: &Opened) {
    page.raw("<p class=\"note origin\">").text(&utc(one.head.at.0)).raw(", version <code>");
    page.text(&one.head.version.to_string()).raw("</code><br><code>").text(&one.head.id.to_string()).raw("</code></p>");
}
