//! `judges/*.yaml` with its anchors, as a policy keeps a judge.

use crate::config::check::check;
use crate::config::fault::{At, Complaint, Fault, Faults};
use crate::config::process::unread;
use crate::config::read::{Fields, Reading};
use crate::config::scalar;
use crate::config::secret::Surroundings;
use crate::config::table::judge::{ANCHOR_FILE, JUDGE};
use crate::config::tree::{self, Node};
use crate::config::version::{self, Answering, Place};
use coalmine_core::id::ProviderName;
use coalmine_core::judge::{Anchor, Anchors, FORM, Judge, Scale};
use coalmine_core::traffic::weight::WeightBp;
use coalmine_core::version::{JsonText, Version};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Reads a judge. `file` names it in errors, and its folder is where the path of its anchors starts.
///
/// # Errors
/// Everything that is wrong with the file or its anchors, in the order of the file.
pub fn parse_judge(
    name: &str,
    text: &str,
    file: &Path,
    providers: &BTreeSet<ProviderName>,
    around: &dyn Surroundings,
) -> Result<Judge, Faults> {
    let reading = Reading::default();
    let (node, faults) = tree::parse(text);
    must_say_something(&reading, node.as_ref(), &faults, "write at least `model` and `rubric`");
    reading.extend(faults);
    let folder = file.parent().unwrap_or(Path::new(""));
    let read = node.as_ref().and_then(|node| {
        reading.extend(check(node, &JUDGE));
        let fields = reading.fields(&JUDGE, "", node)?;
        judge(name, &fields, providers, Place { folder, around })
    });
    let mut faults = reading.into_faults();
    match read {
        Some(judge) if faults.is_empty() => Ok(judge),
        Some(_) | None => {
            if faults.is_empty() {
                faults.push(unread());
            }
            Err(Faults::new(file, faults))
        }
    }
}

fn judge(name: &str, fields: &Fields<'_>, providers: &BTreeSet<ProviderName>, place: Place<'_>) -> Option<Judge> {
    let answering = Answering { providers, params: &BTreeMap::new() };
    let model = version::model(fields, answering.providers);
    let mut params = BTreeMap::from([("temperature".to_owned(), JsonText("0".to_owned()))]);
    if fields.node("params").is_some() {
        params.clear();
        version::merge_params(fields, &mut params);
    }
    let scale = match fields.text("scale")?.value {
        "1-5" => Scale::Five,
        "pairs" => Scale::Pairs,
        _ => Scale::Binary,
    };
    let anchors = match fields.node("anchors") {
        Some(_) => Some(anchors(&fields.section("anchors")?, scale, place)?),
        None => None,
    };
    let (provider, model) = model?;
    Some(Judge {
        name: name.to_owned(),
        version: Version { provider, model, prompt: None, tools: None, params, fallbacks: Vec::new() },
        rubric: fields.text("rubric")?.value.trim().to_owned(),
        scale,
        form: FORM,
        turns: u32::try_from(fields.integer("turns")?).ok()?,
        usd_per_day: fields.money("budget"),
        calls_per_day: fields.integer("calls"),
        labels: fields.share("labels").unwrap_or(WeightBp::ZERO),
        anchors,
    })
}

fn anchors(fields: &Fields<'_>, scale: Scale, place: Place<'_>) -> Option<Anchors> {
    let named = fields.text("file")?.value;
    let set = match place.file(named) {
        Ok(text) => set(&text, &place.folder.join(named), scale),
        Err(complaint) => {
            fields.fault("file", complaint, None);
            return None;
        }
    };
    let set = match set {
        Ok(set) => set,
        Err(faults) => {
            let count = faults.faults.len();
            let first = faults
                .faults
                .first()
                .map_or(String::new(), |fault| format!(", the first in line {}: {}", fault.at.line, fault.what));
            let mend = faults.faults.first().map_or(String::new(), |fault| fault.mend.clone());
            fields.fault("file", Complaint::new(format!("{named} has {count} faults{first}"), mend), None);
            return None;
        }
    };
    let share = |key| fields.share(key).map(WeightBp::share);
    Some(Anchors {
        every: fields.duration("every")?,
        agree: share("agree")?,
        margin: share("margin")?,
        set: set.into(),
    })
}

/// Tells of a file that is empty, where nothing else is told of it.
fn must_say_something(reading: &Reading, node: Option<&Node>, faults: &[Fault], mend: &str) {
    if node.is_none() && faults.is_empty() {
        reading.fault(At { line: 1, column: 1 }, "", Complaint::new("the file is empty", mend), None);
    }
}

fn set(text: &str, file: &Path, scale: Scale) -> Result<Vec<Anchor>, Faults> {
    let reading = Reading::default();
    let (node, faults) = tree::parse(text);
    must_say_something(&reading, node.as_ref(), &faults, "write `anchors`, a list of questions, answers and labels");
    reading.extend(faults);
    let set = node.as_ref().map(|node| {
        reading.extend(check(node, &ANCHOR_FILE));
        let fields = reading.fields(&ANCHOR_FILE, "", node);
        if let Some(fields) = fields.as_ref().filter(|fields| fields.items("anchors").is_empty()) {
            fields.fault(
                "anchors",
                Complaint::new("there is no anchor", "write at least one, or remove `anchors`"),
                None,
            );
        }
        let each = fields.map(|fields| fields.sections("anchors")).unwrap_or_default();
        each.iter().filter_map(|anchor| one(anchor, scale)).collect::<Vec<_>>()
    });
    let mut faults = reading.into_faults();
    match set {
        Some(set) if faults.is_empty() && !set.is_empty() => Ok(set),
        Some(_) | None => {
            if faults.is_empty() {
                faults.push(unread());
            }
            Err(Faults::new(file, faults))
        }
    }
}

fn one(fields: &Fields<'_>, scale: Scale) -> Option<Anchor> {
    let written = fields.text("label")?.value;
    let label = label(scale, written);
    if label.is_none() {
        let (right, what) = match scale {
            Scale::Binary => ("pass or fail", "binary"),
            Scale::Five => ("a whole number from 1 to 5", "1-5"),
            Scale::Pairs => ("answer, other or tie, which of both is better", "pairs"),
        };
        let what = format!("{} is no label on the scale {what}", scalar::shown(written));
        fields.fault("label", Complaint::new(what, format!("write {right}")), None);
    }
    let text = |key| Some(fields.text(key)?.value.to_owned());
    let other = fields.node("other").and_then(|_| text("other"));
    if other.is_some() != (scale == Scale::Pairs) {
        let (what, mend) = match scale {
            Scale::Pairs => ("a judge of pairs reads two answers, and here is one", "add `other`"),
            Scale::Binary | Scale::Five => {
                ("only a judge of pairs reads two answers", "remove `other`, or write `scale: pairs`")
            }
        };
        fields.fault("other", Complaint::new(what, mend), None);
    }
    Some(Anchor { question: text("question")?, answer: text("answer")?, other, label: label? })
}

/// A label as people write it, as a goodness; `None` where the scale has no such word.
#[must_use]
pub fn label(scale: Scale, written: &str) -> Option<f64> {
    match (scale, written.trim()) {
        (Scale::Binary, "pass") => Some(1.0),
        (Scale::Binary, "fail") => Some(0.0),
        (Scale::Binary, _) => None,
        (Scale::Five, step) => scale.goodness(step.parse().ok()?),
        (Scale::Pairs, "answer") => Some(1.0),
        (Scale::Pairs, "other") => Some(0.0),
        (Scale::Pairs, "tie") => Some(0.5),
        (Scale::Pairs, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::Made;

    const ANCHORS: &str = "anchors:\n  - { question: When?, answer: At nine., label: pass }\n  - { question: When?, answer: Maybe., label: fail }\n";

    fn parsed(text: &str, anchors: &str) -> Result<Judge, Faults> {
        let mut around = Made::default();
        around.files.insert("judges/anchors.yaml".into(), anchors.to_owned());
        let providers = BTreeSet::from([ProviderName::from("openai")]);
        parse_judge("helpful", text, Path::new("judges/helpful.yaml"), &providers, &around)
    }

    const FULL: &str = "model: openai/gpt-4.1-mini-2025-04-14\nparams: { seed: 7 }\nscale: binary\nturns: 2\nbudget: $5\ncalls: 900\nlabels: 5%\nrubric: |\n  It names the hour.\nanchors: { file: anchors.yaml, every: 2h, agree: 80%, margin: 10% }\n";

    #[test]
    fn a_judge_is_read_whole_and_its_defaults_hold() {
        let judge = parsed(FULL, ANCHORS).unwrap();
        assert_eq!((judge.turns, judge.usd_per_day, judge.calls_per_day), (2, Some(5.0), Some(900)));
        assert_eq!((judge.rubric.as_str(), judge.labels.bp()), ("It names the hour.", 500));
        let anchors = judge.anchors.as_ref().unwrap();
        assert_eq!(anchors.set.iter().map(|anchor| anchor.label).collect::<Vec<_>>(), [1.0, 0.0]);
        assert!(judge.version.params.contains_key("seed") && !judge.version.params.contains_key("temperature"));
        let least = parsed("model: openai/m\nrubric: Be right.\n", "").unwrap();
        assert_eq!((least.scale, least.turns, least.anchors.is_none()), (Scale::Binary, 1, true));
        assert_eq!(least.version.params["temperature"].0, "0");
    }

    #[test]
    fn a_judge_of_pairs_has_anchors_of_two_answers() {
        let text = "model: openai/m\nscale: pairs\nrubric: Be right.\nanchors: { file: anchors.yaml }\n";
        let anchors = "anchors:\n  - { question: When?, answer: At nine., other: Maybe., label: answer }\n  - { question: When?, answer: No., other: Never., label: tie }\n";
        let judge = parsed(text, anchors).unwrap();
        let set = &judge.anchors.as_ref().unwrap().set;
        assert_eq!((judge.scale, set[0].label, set[1].label), (Scale::Pairs, 1.0, 0.5));
        assert_eq!(set[0].other.as_deref(), Some("Maybe."));
        let told = parsed(text, ANCHORS).unwrap_err().to_string();
        assert!(told.contains("reads two answers, and here is one") && told.contains("add `other`"), "{told}");
        let told = parsed(text, &anchors.replace("label: tie", "label: pass")).unwrap_err().to_string();
        assert!(told.contains("`pass` is no label on the scale pairs"), "{told}");
        let scored = anchors.replace("label: answer", "label: pass").replace("label: tie", "label: fail");
        let told = parsed(FULL, &scored).unwrap_err().to_string();
        assert!(told.contains("only a judge of pairs reads two answers"), "{told}");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let told = |text: &str, anchors: &str| parsed(text, anchors).unwrap_err().to_string();
        assert!(told("model: openai/m\n", "").contains("rubric"));
        assert!(told("model: elsewhere/m\nrubric: r\n", "").contains("elsewhere"));
        assert!(told(FULL, &ANCHORS.replace("fail", "no")).contains("line 3"));
        assert!(told(&FULL.replace("anchors.yaml", "none.yaml"), ANCHORS).contains("none.yaml"));
        assert!(told(&FULL.replace("scale: binary", "scale: 1-5"), ANCHORS).contains("no label on the scale 1-5"));
    }
}
