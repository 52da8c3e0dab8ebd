//! What is wrong at a look and lasts over many: told at its onset, forgotten at its end.

use crate::analysis::{Finding, Verdict};
use crate::release::effect::{Effect, Notice};
use crate::release::forward::never_applied;
use crate::release::look::Serving;
use crate::release::policy::Role;
use crate::release::preflight;
use crate::release::report::{Decision, Step};
use crate::release::state::{Condition, Release};
use std::collections::{BTreeMap, BTreeSet};

/// The conditions that hold now, each in words with numbers.
#[derive(Debug)]
pub(super) struct Conditions {
    words: BTreeMap<Condition, String>,
    open: BTreeSet<Condition>,
}

impl Conditions {
    /// Of a running release: everything.
    pub(super) fn of_running(serving: &Serving<'_>) -> Self {
        let mut words = evidence(serving);
        words.extend(budgets(serving));
        if serving.is_past_max_duration() {
            let text = format!("undecided after {}", serving.release.policy.max_duration);
            words.insert(Condition::Undecided, text);
        }
        let open = words.keys().cloned().collect();
        Self { words, open }
    }

    /// Of a release that stands: only the evidence is looked at. A budget that runs out meanwhile
    /// has its onset at the first look after the resume.
    pub(super) fn of_standing(serving: &Serving<'_>) -> Self {
        let words = evidence(serving);
        let carried = serving.release.open.iter().filter(|c| !is_of_evidence(c));
        let open = words.keys().chain(carried).cloned().collect();
        Self { words, open }
    }

    /// The words of a condition that holds now and did not before.
    pub(super) fn onset(&self, before: &Release, condition: &Condition) -> Option<&str> {
        if before.open.contains(condition) {
            return None;
        }
        self.words.get(condition).map(String::as_str)
    }

    pub(super) fn open(&self) -> &BTreeSet<Condition> {
        &self.open
    }

    pub(super) fn into_open(self) -> BTreeSet<Condition> {
        self.open
    }

    /// What people are told of the onsets, but for those that the step tells already.
    pub(super) fn notices(&self, before: &Release, step: &Step) -> Vec<Effect> {
        let told = |notice| !step.effects.contains(&Effect::Notify(notice));
        let mut notices = Vec::new();
        for (condition, text) in &self.words {
            if before.open.contains(condition) {
                continue;
            }
            let release = before.id.clone();
            match condition {
                Condition::Quality | Condition::Silent { .. } => {
                    notices.push(Effect::Notify(Notice::LostData { release, what: text.clone() }));
                }
                Condition::Signal { .. } | Condition::Sentinels => {
                    notices.push(Effect::Notify(Notice::Held { release, why: text.clone() }));
                }
                Condition::Undecided => {
                    let ended = matches!(step.decision, Decision::Promote);
                    if !ended && told(Notice::Undecided { release: release.clone() }) {
                        notices.push(Effect::Notify(Notice::Undecided { release }));
                    }
                }
                Condition::StableSick { .. } => {
                    notices.push(Effect::Notify(Notice::StableSick { release, what: text.clone() }));
                }
                Condition::HarmBudget | Condition::CostBudget => {}
            }
        }
        notices
    }
}

fn is_of_evidence(condition: &Condition) -> bool {
    match condition {
        Condition::Quality
        | Condition::Silent { .. }
        | Condition::Signal { .. }
        | Condition::StableSick { .. }
        | Condition::Sentinels => true,
        Condition::HarmBudget | Condition::CostBudget | Condition::Undecided => false,
    }
}

fn evidence(serving: &Serving<'_>) -> BTreeMap<Condition, String> {
    let mut found = BTreeMap::new();
    let holds = &serving.analysis.quality.holds;
    if !holds.is_empty() {
        found.insert(Condition::Quality, holds.join("; "));
    }
    if let Some(text) = preflight::trouble(serving.analysis) {
        found.insert(Condition::Sentinels, text);
    }
    let guardrails = &serving.release.policy.guardrails;
    for finding in &serving.analysis.findings {
        let unneeded = guardrails.iter().any(|g| g.metric == finding.metric && never_applied(g, finding));
        if finding.role == Role::Guardrail && finding.is_sick_in_stable() {
            let then = if finding.is_bad_in_both_arms() {
                "and so is the canary: a rollback would not help, nothing is promoted, a person decides"
            } else {
                "and the canary is not proven so"
            };
            let text =
                format!("stable itself is proven above the limit of {}, {then}: {}", finding.metric, finding.reason);
            found.insert(Condition::StableSick { metric: finding.metric.clone() }, text);
        }
        if let Some(condition) = of_finding(finding).filter(|_| !unneeded) {
            found.insert(condition, format!("{}: {}", finding.metric, finding.reason));
        }
    }
    found
}

fn of_finding(finding: &Finding) -> Option<Condition> {
    let metric = || finding.metric.clone();
    match (finding.role, finding.verdict) {
        (Role::Guardrail | Role::Signal, Verdict::NoData | Verdict::Error) => {
            Some(Condition::Silent { metric: metric() })
        }
        (Role::Signal, Verdict::Regressed) => Some(Condition::Signal { metric: metric() }),
        (Role::Guardrail, Verdict::Healthy | Verdict::Regressed | Verdict::Inconclusive)
        | (Role::Signal, Verdict::Healthy | Verdict::Inconclusive)
        | (
            Role::DryRun,
            Verdict::Healthy | Verdict::Regressed | Verdict::Inconclusive | Verdict::NoData | Verdict::Error,
        ) => None,
    }
}

fn budgets(serving: &Serving<'_>) -> BTreeMap<Condition, String> {
    let Serving { release, analysis, .. } = *serving;
    let mut used_up = BTreeMap::new();
    if let Some(budget) = release.policy.budget.harmed {
        let harmed = analysis.harmed;
        #[expect(clippy::cast_precision_loss, reason = "a budget of sessions is far below 2^53")]
        let is_used_up = harmed.low >= budget as f64;
        if is_used_up {
            let text = format!(
                "at least {:.0} sessions harmed beyond control's rate (about {:.0}, at most {:.0}), of a budget of {budget}",
                harmed.low, harmed.point, harmed.high
            );
            used_up.insert(Condition::HarmBudget, text);
        }
    }
    if let (Some(budget), Some(extra)) = (release.policy.budget.extra_cost_usd, analysis.extra_cost_usd)
        && extra.low >= budget
    {
        let text = format!(
            "at least ${:.2} spent beyond control's rate (about ${:.2}, at most ${:.2}), of a budget of ${budget:.2}",
            extra.low, extra.point, extra.high
        );
        used_up.insert(Condition::CostBudget, text);
    }
    used_up
}
