//! The queue of answers that wait for a label, one at a time: blind to arm and score.

use super::html::Page;
use super::visit::Visitor;
use crate::client::segment;
use crate::handlers::{Api, Refusal};
use axum::extract::rejection::FormRejection;
use axum::extract::{Form, Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use coalmine_control::judges::labels::Labelling;
use coalmine_core::id::ReleaseId;
use coalmine_core::judge::Scale;
use http::StatusCode;
use serde::Deserialize;

/// Which answer is shown.
#[derive(Debug, Deserialize)]
pub(super) struct Which {
    release: String,
    /// The first that waits after this one, as `judge/item`.
    #[serde(default)]
    after: String,
}

/// What the form sends.
#[derive(Debug, Deserialize)]
pub(super) struct Labelled {
    release: String,
    item: String,
    judge: String,
    label: String,
    proof: String,
}

pub(super) async fn show(
    State(api): State<Api>,
    visitor: Visitor,
    Query(which): Query<Which>,
) -> Result<Response, Refusal> {
    let release = ReleaseId(which.release);
    let all = api.control.labels(&release)?;
    let waiting = all.iter().filter(|one| one.label.is_none()).count();
    let from = all.iter().position(|one| place(one) == which.after).map_or(0, |at| at + 1);
    let next = all.iter().skip(from).find(|one| one.label.is_none());
    let mut page = Page::new("Labels", &visitor);
    page.raw("<p class=\"note\">").text(release.as_str()).raw(": ").number(waiting as u64).raw(" answers wait, ");
    page.number((all.len() - waiting) as u64).raw(" have their label.</p>");
    match next {
        Some(one) => question(&api, &mut page, &visitor, &release, one).await?,
        None if waiting > 0 => {
            page.raw("<p>These were the last. <a data-key=\"s\" href=\"/ui/labels?release=").param(release.as_str());
            page.raw("\">Look at the skipped ones again</a></p>");
        }
        None => {
            page.raw("<p>None waits.</p>");
        }
    }
    Ok(page.answer())
}

async fn question(
    api: &Api,
    page: &mut Page,
    visitor: &Visitor,
    release: &ReleaseId,
    one: &Labelling,
) -> Result<(), Refusal> {
    let policy = api.control.release(release).map(|release| release.policy);
    let judge = policy.as_ref().and_then(|policy| policy.judge(&one.judge));
    page.raw("<section><h2>").text(&one.judge).raw("</h2>");
    if let Some(judge) = judge {
        page.raw("<p class=\"rubric\">").text(&judge.rubric).raw("</p>");
    }
    match api.control.text_to_label(release, &one.item, &visitor.actor).await? {
        Some(text) => {
            page.said(&text);
        }
        None => {
            page.raw("<p>Its text is not here: the route captures nothing, or you are no reader (`capture.readers`), ");
            page.raw("or its time is over. Find it in your own logs by its request: <code>");
            page.text(one.request_id.as_deref().unwrap_or(&one.item)).raw("</code></p>");
        }
    }
    page.raw("<form method=\"post\" action=\"/ui/labels\" class=\"labels\">");
    for (name, value) in [
        ("release", release.as_str()),
        ("item", one.item.as_str()),
        ("judge", one.judge.as_str()),
        ("proof", api.pages.proof(&visitor.actor).as_str()),
    ] {
        page.raw("<input type=\"hidden\" name=\"").text(name).raw("\" value=\"").text(value).raw("\">");
    }
    match judge.map(|judge| judge.scale) {
        Some(Scale::Five) => {
            for step in ["1", "2", "3", "4", "5"] {
                button(page, step, step, step);
            }
        }
        Some(Scale::Pairs) => {
            page.raw("<p>A judge of pairs is not labelled an answer at a time.</p>");
        }
        Some(Scale::Binary) | None => {
            button(page, "pass", "y", "pass (y)");
            button(page, "fail", "n", "fail (n)");
        }
    }
    page.raw("</form><a data-key=\"s\" href=\"/ui/labels?release=").param(release.as_str()).raw("&amp;after=");
    page.param(&place(one)).raw("\">skip (s)</a></section>");
    Ok(())
}

fn button(page: &mut Page, label: &str, key: &str, shown: &str) {
    page.raw("<button name=\"label\" value=\"").text(label).raw("\" data-key=\"").text(key).raw("\">");
    page.text(shown).raw("</button>");
}

pub(super) async fn take(
    State(api): State<Api>,
    visitor: Visitor,
    form: Result<Form<Labelled>, FormRejection>,
) -> Result<Response, Refusal> {
    let invalid = |message: &str| Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", message);
    let Form(Labelled { release, item, judge, label, proof }) =
        form.map_err(|_| invalid("the form lacks a field; load the page again"))?;
    if !api.pages.is_proof(&visitor.actor, &proof) {
        let message = "the form was not made by this server for you; load the page again";
        return Err(Refusal::new(StatusCode::FORBIDDEN, "forbidden", message));
    }
    let id = ReleaseId(release);
    let scale = api.control.release(&id).and_then(|found| found.policy.judge(&judge).map(|judge| judge.scale));
    let value = goodness(scale.unwrap_or(Scale::Binary), &label)
        .ok_or_else(|| invalid("this is no label on the judge's scale"))?;
    api.control.label(&id, Some(&judge), &item, value)?;
    tracing::info!(release = %id, by = %visitor.actor, "an answer was labelled");
    let after = segment(&format!("{judge}/{item}"));
    Ok(Redirect::to(&format!("/ui/labels?release={}&after={after}", segment(id.as_str()))).into_response())
}

fn place(one: &Labelling) -> String {
    format!("{}/{}", one.judge, one.item)
}

fn goodness(scale: Scale, label: &str) -> Option<f64> {
    match (scale, label) {
        (Scale::Binary, "pass") => Some(1.0),
        (Scale::Binary, "fail") => Some(0.0),
        (Scale::Binary | Scale::Pairs, _) => None,
        (Scale::Five, step) => scale.goodness(step.parse().ok()?),
    }
}
