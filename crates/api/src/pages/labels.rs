//! The queue of answers that wait for a label, one at a time: blind to arm and score.

use super::html::{Page, Tab};
use super::visit::Visitor;
use super::{answered, plural};
use crate::client::segment;
use crate::handlers::{Api, Refusal};
use axum::extract::rejection::{FormRejection, QueryRejection};
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
    /// This one, labelled or not.
    #[serde(default)]
    only: String,
    /// This one was labelled just now.
    #[serde(default)]
    done: String,
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
    which: Result<Query<Which>, QueryRejection>,
) -> Response {
    let shown = match which {
        Ok(Query(which)) => queue(&api, &visitor, which).await,
        Err(rejection) => Err(rejection.into()),
    };
    answered(&visitor, shown)
}

async fn queue(api: &Api, visitor: &Visitor, which: Which) -> Result<Page, Refusal> {
    let release = ReleaseId(which.release);
    let all = api.control.labels(&release)?;
    let waiting = all.iter().filter(|one| one.label.is_none()).count();
    let next = if which.only.is_empty() {
        let from = all.iter().position(|one| place(one) == which.after).map_or(0, |at| at + 1);
        all.iter().skip(from).find(|one| one.label.is_none())
    } else {
        all.iter().find(|one| place(one) == which.only)
    };
    let mut page = Page::of_release("Labels", visitor, &release, Tab::Labels);
    if let Some((one, label)) = all.iter().find(|one| place(one) == which.done).and_then(|one| Some((one, one.label?)))
    {
        page.raw("<p class=\"done\" role=\"status\">The last one is labelled <b>");
        page.text(&word(scale_of(api, &release, &one.judge), label)).raw("</b>. <a data-key=\"u\" ");
        page.raw("aria-keyshortcuts=\"u\" href=\"/ui/labels?release=").param(release.as_str()).raw("&amp;only=");
        page.param(&which.done).raw("\">Change it <kbd aria-hidden=\"true\">u</kbd></a></p>");
    }
    if all.is_empty() {
        page.raw("<p><b>Nothing is drawn for a label yet.</b> A judge of this release draws scored answers where it ");
        page.raw("has <code>labels: 5%</code> or the like.</p>");
        return Ok(page);
    }
    page.raw("<p class=\"note\"><progress max=\"").number(all.len() as u64).raw("\" value=\"");
    page.number((all.len() - waiting) as u64).raw("\" aria-label=\"Labelled\"></progress> ");
    page.number((all.len() - waiting) as u64).raw(" of ").number(all.len() as u64).raw(" labelled</p>");
    match next {
        Some(one) => question(api, &mut page, visitor, &release, one).await?,
        None if waiting > 0 => {
            page.raw("<p>These were the last. <a class=\"step\" data-key=\"s\" aria-keyshortcuts=\"s\" ");
            page.raw("href=\"/ui/labels?release=").param(release.as_str()).raw("\">Look at the ");
            plural(&mut page, waiting as u64, "skipped one").raw(" <kbd aria-hidden=\"true\">s</kbd></a></p>");
        }
        None => {
            page.raw("<p><b>All are labelled.</b> More are drawn while the release runs.</p>");
        }
    }
    Ok(page)
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
    page.raw("<section class=\"reading\" aria-label=\"Answer to label\"><h2>By the rubric of ")
        .text(&one.judge)
        .raw("</h2>");
    if let Some(judge) = judge {
        page.raw("<p class=\"rubric\" dir=\"auto\">").text(&judge.rubric).raw("</p>");
    }
    match api.control.text_to_label(release, &one.item, &visitor.actor).await? {
        Some(text) => {
            page.said(&text);
        }
        None => {
            page.raw("<p>Its text is not here: the route captures nothing, or you are not one of <code>capture.readers</code>");
            page.raw(", or its time is over. Find it in your own logs by its request: <code>");
            page.text(one.request_id.as_deref().unwrap_or(&one.item)).raw("</code></p>");
        }
    }
    page.raw("<div class=\"bar foot\">");
    form(api, page, visitor, release, one, judge.map(|judge| judge.scale));
    page.raw("<a class=\"step\" data-key=\"s\" aria-keyshortcuts=\"s\" href=\"/ui/labels?release=");
    page.param(release.as_str()).raw("&amp;after=").param(&place(one));
    page.raw("\">Skip <kbd aria-hidden=\"true\">s</kbd></a></div></section>");
    Ok(())
}

fn form(api: &Api, page: &mut Page, visitor: &Visitor, release: &ReleaseId, one: &Labelling, scale: Option<Scale>) {
    page.raw("<form method=\"post\" action=\"/ui/labels\" class=\"labels\" aria-label=\"Your label\">");
    for (name, value) in [
        ("release", release.as_str()),
        ("item", one.item.as_str()),
        ("judge", one.judge.as_str()),
        ("proof", api.pages.proof(&visitor.actor).as_str()),
    ] {
        page.raw("<input type=\"hidden\" name=\"").text(name).raw("\" value=\"").text(value).raw("\">");
    }
    let scale = scale.unwrap_or(Scale::Binary);
    let buttons: &[Button] = match scale {
        Scale::Five => &FIVE,
        Scale::Binary => &BINARY,
        Scale::Pairs => {
            page.raw("<p>A judge of pairs is not labelled an answer at a time.</p>");
            &[]
        }
    };
    let given = one.label.map(|label| word(scale, label));
    for (label, key, class, shown) in buttons {
        page.raw("<button name=\"label\" class=\"").raw(class).raw("\" value=\"").raw(label).raw("\" data-key=\"");
        page.raw(key).raw("\" aria-keyshortcuts=\"").raw(key).raw("\"");
        if given.as_deref() == Some(label) {
            page.raw(" aria-pressed=\"true\"");
        }
        page.raw(">").raw(shown);
        if shown != key {
            page.raw(" <kbd aria-hidden=\"true\">").raw(key).raw("</kbd>");
        }
        page.raw("</button>");
    }
    page.raw("</form>");
}

/// What it sends, its key, how it looks, and what it says.
type Button = (&'static str, &'static str, &'static str, &'static str);

const BINARY: [Button; 2] = [("pass", "y", "pass", "Pass"), ("fail", "n", "fail", "Fail")];
const FIVE: [Button; 5] = [
    ("1", "1", "short", "1"),
    ("2", "2", "short", "2"),
    ("3", "3", "short", "3"),
    ("4", "4", "short", "4"),
    ("5", "5", "short", "5"),
];

pub(super) async fn take(
    State(api): State<Api>,
    visitor: Visitor,
    form: Result<Form<Labelled>, FormRejection>,
) -> Response {
    match keep(&api, &visitor, form) {
        Ok(next) => Redirect::to(&next).into_response(),
        Err(refusal) => answered(&visitor, Err(refusal)),
    }
}

/// Takes a label; where to go next.
fn keep(api: &Api, visitor: &Visitor, form: Result<Form<Labelled>, FormRejection>) -> Result<String, Refusal> {
    let invalid = |message: &str| Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", message);
    let Form(Labelled { release, item, judge, label, proof }) =
        form.map_err(|_| invalid("the form lacks a field; load the page again"))?;
    if !api.pages.is_proof(&visitor.actor, &proof) {
        let message = "the form was not made by this server for you; load the page again";
        return Err(Refusal::new(StatusCode::FORBIDDEN, "forbidden", message));
    }
    let id = ReleaseId(release);
    let value =
        goodness(scale_of(api, &id, &judge), &label).ok_or_else(|| invalid("this is no label on the judge's scale"))?;
    api.control.label(&id, Some(&judge), &item, value)?;
    tracing::info!(release = %id, by = %visitor.actor, "an answer was labelled");
    let done = segment(&format!("{judge}/{item}"));
    Ok(format!("/ui/labels?release={}&after={done}&done={done}", segment(id.as_str())))
}

fn scale_of(api: &Api, release: &ReleaseId, judge: &str) -> Scale {
    let release = api.control.release(release);
    release.and_then(|found| found.policy.judge(judge).map(|judge| judge.scale)).unwrap_or(Scale::Binary)
}

/// A goodness as a person gave it.
fn word(scale: Scale, label: f64) -> String {
    let labels = match scale {
        Scale::Binary | Scale::Pairs => BINARY.as_slice(),
        Scale::Five => FIVE.as_slice(),
    };
    let given = labels.iter().find(|(sent, ..)| goodness(scale, sent).is_some_and(|own| (own - label).abs() < 1e-9));
    given.map_or_else(|| label.to_string(), |(sent, ..)| (*sent).to_owned())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_told_as_it_was_given() {
        for (scale, labels) in [(Scale::Binary, BINARY.as_slice()), (Scale::Five, FIVE.as_slice())] {
            for (label, ..) in labels {
                assert_eq!(word(scale, goodness(scale, label).unwrap()), *label);
            }
        }
        assert_eq!(word(Scale::Binary, 0.3), "0.3", "one that came by the API");
        assert_eq!((goodness(Scale::Five, "6"), goodness(Scale::Five, "pass")), (None, None));
    }
}
