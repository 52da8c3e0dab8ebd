//! The lines of judges and of the shadow.

use super::{number, share_of, span_of};
use crate::judges;
use crate::world::Errs;
use coalmine_core::judge::{Anchors, FORM, Judge, Scale};
use coalmine_core::release::policy::{Policy, Role};
use coalmine_core::shadow::Shadow;
use coalmine_core::shadow::preferences::Preferring;
use coalmine_core::time::SpanMs;
use coalmine_core::traffic::weight::WeightBp;
use coalmine_core::version::Version;
use std::collections::BTreeMap;

/// The most anchors that `anchors` may say.
const ANCHORS: u64 = 200;

/// Reads `judge helpful scale binary false_pass 10% …`: the judge, and how far it errs.
pub(super) fn judge(name: &str, facts: &[&str]) -> Result<(Judge, Errs), String> {
    let mut judge = Judge {
        name: name.to_owned(),
        version: Version {
            provider: "simulated".into(),
            model: format!("judge {name}"),
            prompt: None,
            tools: None,
            params: BTreeMap::new(),
            fallbacks: Vec::new(),
        },
        rubric: format!("The answer is what {name} asks for."),
        scale: Scale::Binary,
        form: FORM,
        turns: 1,
        usd_per_day: None,
        calls_per_day: None,
        labels: WeightBp::ZERO,
        anchors: None,
    };
    let mut errs = Errs::default();
    let (mut anchors, mut every, mut agree) = (0, SpanMs::hours(6), 0.7);
    for [key, value] in pairs_of(facts)? {
        match key {
            "scale" => judge.scale = scale(value)?,
            "turns" => judge.turns = count(value)?.try_into().map_err(|_| format!("`{value}` is too many turns"))?,
            "budget" => judge.usd_per_day = Some(usd(value)?),
            "calls" => judge.calls_per_day = Some(count(value)?),
            "anchors" => anchors = count(value)?.min(ANCHORS),
            "every" => every = span_of(value)?,
            "agree" => agree = share_of(value)?,
            "false_pass" => errs.false_pass = share_of(value)?,
            "false_fail" => errs.false_fail = share_of(value)?,
            "by_place" => errs.by_place = share_of(value)?,
            "ties" => errs.ties = share_of(value)?,
            "cost" => errs.cost_usd = usd(value)?,
            other => {
                return Err(format!(
                    "`{other}` is nothing that a judge has; write one of scale, turns, budget, calls, anchors, every, agree, \
                     false_pass, false_fail, by_place, ties, cost"
                ));
            }
        }
    }
    if anchors > 0 {
        let label = |nth: u64| if nth.is_multiple_of(2) { 1.0 } else { 0.0 };
        let set = (0..anchors).map(|nth| judges::anchor_of(judge.scale, nth, label(nth)));
        judge.anchors = Some(Anchors { every, agree, margin: 0.15, set: set.collect() });
    }
    Ok((judge, errs))
}

/// Reads `shadow 20% for 2h`, with `min 100`, `in_flight 16` or `budget $20`.
pub(super) fn shadow(share: &str, facts: &[&str]) -> Result<Shadow, String> {
    let mut shadow = Shadow {
        share: weight(share)?,
        length: SpanMs::hours(2),
        min_sessions: 100,
        in_flight: 16,
        usd_per_day: 20.0,
        preferences: Vec::new(),
        similarity: None,
    };
    for [key, value] in pairs_of(facts)? {
        match key {
            "for" => shadow.length = span_of(value)?,
            "min" => shadow.min_sessions = count(value)?,
            "in_flight" => shadow.in_flight = count(value)?.try_into().map_err(|_| format!("`{value}` is too many"))?,
            "budget" => shadow.usd_per_day = usd(value)?,
            other => return Err(format!("`{other}` is none of for, min, in_flight, budget")),
        }
    }
    Ok(shadow)
}

/// Reads `pairs better margin 10pp sample 50%` into the shadow of a policy.
pub(super) fn pairs(policy: &mut Policy, judge: &str, facts: &[&str]) -> Result<(), String> {
    let mut preferring =
        Preferring { judge: judge.to_owned(), role: Role::Guardrail, margin: 0.1, weight: 0.2, sample: WeightBp::FULL };
    for [key, value] in pairs_of(facts)? {
        match key {
            "margin" => preferring.margin = share_of(value)?,
            "sample" => preferring.sample = weight(value)?,
            "weight" => preferring.weight = share_of(value)?,
            other => return Err(format!("`{other}` is none of margin, sample, weight")),
        }
    }
    let shadow = policy.shadow.as_mut().ok_or("only a shadow has pairs; write `shadow 20% for 2h` above")?;
    shadow.preferences.push(preferring);
    Ok(())
}

pub(super) fn weight(text: &str) -> Result<WeightBp, String> {
    Ok(WeightBp::rounded(share_of(text)? * 10_000.0))
}

fn pairs_of<'a>(facts: &[&'a str]) -> Result<Vec<[&'a str; 2]>, String> {
    if !facts.len().is_multiple_of(2) {
        return Err(super::IN_PAIRS.to_owned());
    }
    Ok(facts.chunks_exact(2).map(|pair| [pair[0], pair[1]]).collect())
}

fn scale(word: &str) -> Result<Scale, String> {
    let all = [Scale::Binary, Scale::Five, Scale::Pairs];
    let found = all.into_iter().find(|scale| scale.as_str() == word);
    found.ok_or_else(|| format!("`{word}` is no scale; write binary, 1-5 or pairs"))
}

fn count(text: &str) -> Result<u64, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| format!("`{text}` is not a number above 0"))
}

fn usd(text: &str) -> Result<f64, String> {
    number(text.trim_start_matches('$'))
}
