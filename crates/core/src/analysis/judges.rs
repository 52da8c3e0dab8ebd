//! The findings of the judges: whether their scores are to be had, what they have shown, and what people would have said.

use crate::analysis::look::Look;
use crate::analysis::words::{grouped, percent};
use crate::analysis::{ArmCounts, Interval};
use crate::judge::{Corrected, Judge, JudgeId, JudgeRecord, Scale, Standing};
use crate::key::Day;
use crate::metric::Metric;
use serde::{Deserialize, Serialize};

/// One judge's finding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JudgeFinding {
    /// Its name.
    pub name: String,
    /// Who it is; pinned for the release.
    pub id: JudgeId,
    /// Who answers: `openai/gpt-4.1-mini-2025-04-14`.
    pub model: String,
    /// Why no scores are to be had of it now; `None`: they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
    /// Answers scored.
    pub scored: ArmCounts,
    /// Answers that found no room; blind to what they say.
    #[serde(default)]
    pub dropped: ArmCounts,
    /// Answers on which it gave no score that can be read.
    #[serde(default)]
    pub failed: ArmCounts,
    /// Answers that were not put to it, for it was held.
    #[serde(default)]
    pub skipped: ArmCounts,
    /// Spent today, in US dollars.
    pub usd_today: f64,
    /// Asked today.
    pub calls_today: u64,
    /// Anchors of the newest run that it scored as the labels say, and all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchors: Option<(u32, u32)>,
    /// Answers that wait for a label.
    #[serde(default)]
    pub unlabelled: u64,
    /// What people would have scored; below ten labels an arm there is none. Outside of the bound: it is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corrected: Option<Corrected>,
    /// In a sentence.
    pub reason: String,
}

/// One finding per judge that is watched, in the order of the policy.
pub(super) fn findings(look: &Look<'_>) -> Vec<JudgeFinding> {
    let policy = &look.release.policy;
    let watched = |judge: &&Judge| {
        let metric = Metric::Judge(judge.name.clone());
        let compares = policy.preferring().any(|(one, _)| one.name == judge.name);
        compares || policy.guardrails.iter().any(|guardrail| guardrail.metric == metric)
    };
    policy.judges.iter().filter(watched).map(|judge| finding(look, judge)).collect()
}

/// Why no scores are to be had of a judge now.
pub(super) fn held(look: &Look<'_>, judge: &Judge) -> Option<String> {
    let record = look.ledger.totals().judges.get(judge);
    let empty = JudgeRecord::default();
    in_words(judge, &record.unwrap_or(&empty).standing(judge, look.now))
}

fn finding(look: &Look<'_>, judge: &Judge) -> JudgeFinding {
    let record = look.ledger.totals().judges.get(judge).cloned().unwrap_or_default();
    let counts = |of: fn(&crate::judge::record::ArmScores) -> u64| ArmCounts {
        control: of(&record.control),
        canary: of(&record.canary),
    };
    let is_today = record.day == Day::of(look.now);
    let held = held(look, judge);
    let corrected = record.corrected();
    let waiting = record.control.items.iter().chain(&record.canary.items).filter(|item| item.label.is_none());
    JudgeFinding {
        name: judge.name.clone(),
        id: judge.id(),
        model: format!("{}/{}", judge.version.provider, judge.version.model),
        scored: counts(|arm| arm.scored),
        dropped: counts(|arm| arm.dropped),
        failed: counts(|arm| arm.failed),
        skipped: counts(|arm| arm.skipped),
        usd_today: if is_today { record.usd } else { 0.0 },
        calls_today: if is_today { record.calls } else { 0 },
        anchors: record.anchors.map(|run| (run.agreed, run.of)),
        unlabelled: waiting.count() as u64,
        reason: reason(judge.scale, &record, held.as_deref(), corrected.as_ref()),
        held,
        corrected,
    }
}

fn in_words(judge: &Judge, standing: &Standing) -> Option<String> {
    match standing {
        Standing::Scores => None,
        Standing::Unproven => Some(format!("judge {} has not scored its anchors yet", judge.name)),
        Standing::Drifted { run, needs } => Some(format!(
            "judge {} drifted: it scores {} of {} anchors as their labels say, {} are needed",
            judge.name,
            run.agreed,
            run.of,
            percent(*needs)
        )),
        Standing::Spent { what } => {
            Some(format!("the day's {what} of judge {} is spent, it goes on at 00:00 UTC", judge.name))
        }
        Standing::Unpriced => Some(format!(
            "{} has no known price, so the budget of judge {} cannot be kept; add one under `prices`",
            judge.version.model, judge.name
        )),
        Standing::Away { why, .. } => Some(format!("judge {} does not answer ({why})", judge.name)),
    }
}

/// `412 and 98 answers scored; people would say 81 % against 84 %, -3 pp (-9 to +3), a label is worth 2.1`.
fn reason(scale: Scale, record: &JudgeRecord, held: Option<&str>, corrected: Option<&Corrected>) -> String {
    let scored = match scale {
        Scale::Binary | Scale::Five => {
            format!("{} / {} answers scored", grouped(record.canary.scored), grouped(record.control.scored))
        }
        Scale::Pairs => format!("{} pairs compared, each in both orders", grouped(record.canary.scored)),
    };
    let labels = match corrected {
        None => String::new(),
        Some(Corrected { labels, control, canary, difference, worth }) => format!(
            "; with {} / {} labels, people would say {} of the canary and {} of control, {}; one label is worth {:.1} / {:.1}{}",
            labels.canary,
            labels.control,
            percent(canary.point),
            percent(control.point),
            points(*difference),
            worth.canary,
            worth.control,
            if worth.canary.max(worth.control) < 1.1 { ": the judge adds nothing to them" } else { "" }
        ),
    };
    let held = held.map_or(String::new(), |held| format!("; {held}"));
    format!("{scored}{labels}{held}")
}

/// `-3.0 pp (-9.1 to +3.2)`.
fn points(interval: Interval) -> String {
    let of = |share: f64| format!("{:+.1}", 100.0 * share);
    format!("{} pp ({} to {})", of(interval.point), of(interval.low), of(interval.high))
}
