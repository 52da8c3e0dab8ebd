//! Judges of a world: each reads how good an answer is from the answer itself, and errs as its world says.
//!
//! The shipped control plane draws, asks, parses, caches, budgets and counts; only the model behind the judge is made up.

use crate::luck::Luck;
use crate::world::Errs;
use coalmine_control::ports::{ProbeTrouble, Probed};
use coalmine_core::judge::{Anchor, Anchors, Judge, Scale};
use serde_json::json;

/// What a simulated answer begins with.
const MARK: &str = "simulated answer ";
/// Steps in which goodness is written.
const STEPS: f64 = 4.0;

/// The text of a simulated answer.
pub(crate) fn text(id: u64, goodness: f64) -> String {
    format!("{MARK}{id} of {}", (goodness * STEPS).round())
}

/// An answer as a judge reads it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Said {
    id: u64,
    goodness: f64,
}

/// The judge with anchors that a simulated judge can read, each with the label that it had.
pub(crate) fn readable(judge: &Judge) -> Judge {
    let anchored = judge.anchors.as_ref().map(|anchors| {
        let set = anchors.set.iter().zip(0_u64..).map(|(anchor, nth)| anchor_of(judge.scale, nth, anchor.label));
        Anchors { set: set.collect(), ..anchors.clone() }
    });
    Judge { anchors: anchored, ..judge.clone() }
}

/// An anchor of this label. Of a pair: the one answer is as good as the label says, and the other the opposite; of a tie it
/// is the same answer.
pub(crate) fn anchor_of(scale: Scale, nth: u64, label: f64) -> Anchor {
    let answer = text(2 * nth, label);
    let tie = scale.agrees(label, 0.5);
    let other = || if tie { answer.clone() } else { text(2 * nth + 1, 1.0 - label) };
    let other = match scale {
        Scale::Pairs => Some(other()),
        Scale::Binary | Scale::Five => None,
    };
    Anchor { question: "a simulated question".to_owned(), answer, other, label }
}

/// What a judge that errs so says to a question; `turned` is the share of its verdicts that are turned round.
pub(crate) fn answer(
    scale: Scale,
    errs: &Errs,
    turned: f64,
    body: &str,
    luck: &mut Luck,
) -> Result<Probed, ProbeTrouble> {
    let said = read(body);
    let verdict = match (scale, said.as_slice()) {
        (Scale::Pairs, [one, other]) => json!({ "verdict": prefer(errs, turned, *one, *other, luck) }),
        (Scale::Binary, [one]) => {
            json!({ "verdict": if seen(errs, turned, *one, luck) < 0.5 { "fail" } else { "pass" } })
        }
        (Scale::Five, [one]) => json!({ "score": 1.0 + (seen(errs, turned, *one, luck) * STEPS).round() }),
        (Scale::Binary | Scale::Five | Scale::Pairs, _) => {
            return Err(ProbeTrouble::Version("a simulated judge reads simulated answers only".to_owned()));
        }
    };
    let body = json!({ "choices": [{ "finish_reason": "stop", "message": { "content": verdict.to_string() } }] });
    Ok(Probed { body: body.to_string().into_bytes(), latency_ms: 100.0, cost_usd: Some(errs.cost_usd) })
}

/// How good the judge finds an answer.
fn seen(errs: &Errs, turned: f64, said: Said, luck: &mut Luck) -> f64 {
    let wrong = if said.goodness < 0.5 { errs.false_pass } else { errs.false_fail };
    let (errs, turns) = (luck.uniform() < wrong, luck.uniform() < turned);
    if errs == turns { said.goodness } else { 1.0 - said.goodness }
}

/// Which of two it prefers, by their places. What it sees in an answer goes with the answer, so that only a lean to a place
/// contradicts itself in the other order.
fn prefer(errs: &Errs, turned: f64, one: Said, other: Said, luck: &mut Luck) -> &'static str {
    if luck.uniform() < errs.by_place {
        return "first";
    }
    let mut own = Luck::new(one.id.min(other.id).wrapping_mul(31) ^ one.id.max(other.id));
    let turns = own.uniform() < turned;
    let [one_seen, other_seen] = [one, other].map(|said| seen(errs, 0.0, said, &mut Luck::new(said.id)));
    let (first, second) = if turns { ("second", "first") } else { ("first", "second") };
    match (one_seen < 0.5, other_seen < 0.5) {
        (false, true) => first,
        (true, false) => second,
        (true, true) | (false, false) if one.id == other.id || own.uniform() < errs.ties => "tie",
        (true, true) | (false, false) => {
            if one.id < other.id {
                first
            } else {
                second
            }
        }
    }
}

/// The simulated answers in a question, in their order.
fn read(body: &str) -> Vec<Said> {
    let one = |text: &str| {
        let mut words = text.split([' ', '\\']);
        let id = words.next()?.parse().ok()?;
        let goodness: f64 = words.nth(1)?.parse().ok()?;
        Some(Said { id, goodness: goodness / STEPS })
    };
    body.split(MARK).skip(1).filter_map(one).collect()
}

/// Whether a question comes from a judge: it asks for a verdict on simulated answers.
pub(crate) fn is_of_judge(body: &str) -> bool {
    body.contains(MARK)
}
