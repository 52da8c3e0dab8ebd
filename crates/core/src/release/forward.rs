//! What is missing for the next move forward: everything at once, with numbers.

use crate::analysis::{ArmCounts, Finding, Verdict};
use crate::metric::Kind;
use crate::release::look::Serving;
use crate::release::moves;
use crate::release::plan::{Gate, Stage};
use crate::release::policy::{Guardrail, NoDataThen, Role};
use crate::release::preflight;
use crate::release::report::{Report, Step, Waiting};
use crate::release::state::DRIFTS_MAX;
use crate::release::words;

/// Evidence of a rollback at which nothing is promoted.
pub(crate) const DOUBT: f64 = 3.0;

/// What the next stage still needs: bake, sessions, usable evidence that is not against it, no freeze.
pub(super) fn to_advance(serving: &Serving<'_>) -> Vec<Waiting> {
    let Some(stage) = serving.release.plan.stages.get(serving.stage) else {
        let why = format!("stage {} is not in the plan of {}", serving.stage + 1, serving.release.plan.stages.len());
        return vec![Waiting::DataQuality { why }];
    };
    let mut missing = maturity(serving, stage);
    missing.extend(against(serving));
    missing
}

/// What speaks against any move forward, however much has been seen.
pub(super) fn against(serving: &Serving<'_>) -> Vec<Waiting> {
    let mut against = Vec::new();
    if let Some(stage) = serving.release.plan.stages.get(serving.stage) {
        for guardrail in &serving.release.policy.guardrails {
            against.extend(objection(serving, stage, guardrail));
        }
    }
    against.extend(preflight::unpassed(serving.release, serving.analysis));
    against.extend(soundness(serving));
    against.extend(preflight::unready(serving.analysis));
    against
}

/// What promotion still needs: all that an advance does, and proof from every guardrail as it stands now.
pub(super) fn to_promote(serving: &Serving<'_>) -> Vec<Waiting> {
    let mut missing = to_advance(serving);
    missing.extend(promotion_holds(serving));
    missing.extend(doubt(serving));
    let guardrails = &serving.release.policy.guardrails;
    let proving: Vec<_> = guardrails.iter().filter(|g| g.role == Role::Guardrail).collect();
    if proving.is_empty() {
        missing.push(Waiting::Guardrail {
            metric: "none".to_owned(),
            why: "the policy has no guardrail that could prove anything; promote by hand".to_owned(),
        });
    }
    if serving.release.plan.stages.get(serving.stage).is_some_and(|stage| !stage.leaves_control()) {
        missing.push(Waiting::DataQuality {
            why: "this stage leaves no control to prove anything against; promote by hand".to_owned(),
        });
    }
    for guardrail in proving {
        let told = missing
            .iter()
            .any(|w| matches!(w, Waiting::Guardrail { metric, .. } if *metric == guardrail.metric.to_string()));
        if !told {
            missing.extend(unproven(serving, guardrail));
        }
    }
    if missing.is_empty() && !serving.analysis.findings.iter().any(is_proven) {
        missing.push(Waiting::DataQuality { why: "no guardrail has had a session to measure".to_owned() });
    }
    missing
}

/// What a promotion without proof still needs: usable evidence that is not against it, no freeze, and
/// no stage ahead that a person must open.
pub(super) fn to_promote_without_proof(serving: &Serving<'_>) -> Vec<Waiting> {
    let ahead = serving.release.plan.stages.iter().skip(serving.stage + 1);
    let mut missing: Vec<Waiting> = ahead
        .filter_map(|stage| match &stage.gate {
            Gate::Automatic | Gate::Ramp(_) => None,
            Gate::Approval(of) => Some(Waiting::Approval { of: of.clone() }),
        })
        .collect();
    missing.extend(enough(serving, 1));
    missing.extend(against(serving));
    missing.extend(doubt(serving));
    missing.extend(promotion_holds(serving));
    missing
}

/// Stays, and says everything that is missing.
pub(super) fn stay(serving: &Serving<'_>, place: &str, waiting_for: Vec<Waiting>) -> Step {
    let first = waiting_for.first().map_or_else(|| "nothing".to_owned(), |waiting| waiting.describe(serving.now));
    let more = waiting_for.len().saturating_sub(1);
    let and_more = if more == 0 { String::new() } else { format!(", and {more} more") };
    let headline = format!("{place} waits for {first}{and_more}");
    moves::hold(serving.release, Report { headline, waiting_for, warnings: warnings(serving) })
}

/// Adds what is odd to a step that moved.
pub(super) fn warned(serving: &Serving<'_>, mut step: Step) -> Step {
    step.report.warnings.extend(warnings(serving));
    step
}

/// What is wrong but holds nothing by itself.
pub(super) fn warnings(serving: &Serving<'_>) -> Vec<String> {
    let mut warnings = serving.analysis.quality.warnings.clone();
    if serving.release.plan.stages.get(serving.stage).is_some_and(|stage| !stage.leaves_control()) {
        warnings.push("this stage leaves no control: it is judged by limits and tripwires only".to_owned());
    }
    warnings.extend(preflight::warnings(serving.analysis));
    for guardrail in &serving.release.policy.guardrails {
        let Some(finding) = finding_of(serving, guardrail) else { continue };
        match guardrail.role {
            Role::DryRun if finding.verdict == Verdict::Regressed => {
                warnings.push(format!("{} would count against it (dry run): {}", finding.metric, finding.reason));
            }
            Role::Signal if is_silent(finding) && guardrail.no_data.then == NoDataThen::Warn => {
                warnings.push(format!("{} is silent: {}", finding.metric, finding.reason));
            }
            Role::Guardrail if finding.is_sick_in_stable() && !finding.is_bad_in_both_arms() => {
                warnings.push(format!("stable itself is proven above the limit of {}", finding.metric));
            }
            Role::Guardrail if never_applied(guardrail, finding) => {
                warnings.push(format!("{} has had no session to measure, and is not waited for", finding.metric));
            }
            Role::Guardrail | Role::Signal | Role::DryRun => {}
        }
    }
    warnings
}

/// The headline of a promotion: what proved it.
pub(super) fn proof(serving: &Serving<'_>) -> String {
    let proven = serving.analysis.findings.iter().filter(|f| is_proven(f));
    let proven: Vec<String> = proven.map(|f| format!("{} ({})", f.metric, words::against_line(f.promote))).collect();
    format!(
        "promoted: proven inside its margin with {} canary sessions: {}",
        serving.analysis.posted.canary,
        proven.join(", ")
    )
}

fn maturity(serving: &Serving<'_>, stage: &Stage) -> Vec<Waiting> {
    let mut missing = Vec::new();
    let baked = serving.entered_at + stage.bake;
    if serving.now < baked {
        missing.push(Waiting::Bake { until: baked });
    }
    // No stage is passed unseen.
    missing.extend(enough(serving, stage.min_sessions.max(1)));
    missing
}

/// Canary sessions of this stage with their session number posted.
fn enough(serving: &Serving<'_>, need: u64) -> Vec<Waiting> {
    let have = if serving.analysis.stage == serving.stage { serving.analysis.posted.canary } else { 0 };
    if have >= need {
        return Vec::new();
    }
    let mut missing = vec![Waiting::Sessions { have, need }];
    let first_posted = serving.entered_at + serving.release.policy.ages.session;
    if serving.now < first_posted {
        missing.push(Waiting::Posting { until: first_posted });
    }
    missing
}

/// Rolling back would not help, and going on is no good either.
const BOTH_BAD: &str = "stable and canary are both proven above its limit; a rollback would not help, and nothing is \
                        promoted: mend stable, or promote or roll back by hand";

/// What one metric has against going on. Within its grace silence is borne, but a stage is not passed on numbers
/// from before it: a metric that was silent for longer than the stage bakes has seen none of it.
fn objection(serving: &Serving<'_>, stage: &Stage, guardrail: &Guardrail) -> Option<Waiting> {
    let finding = finding_of(serving, guardrail);
    let silent = finding.is_none_or(is_silent);
    let regressed = finding.is_some_and(|f| f.verdict == Verdict::Regressed);
    let both_bad = guardrail.role == Role::Guardrail && finding.is_some_and(Finding::is_bad_in_both_arms);
    if both_bad {
        return finding.map(|f| Waiting::Guardrail { metric: f.metric.to_string(), why: BOTH_BAD.to_owned() });
    }
    let objects = match guardrail.role {
        Role::DryRun => false,
        Role::Signal => regressed || (silent && guardrail.no_data.then != NoDataThen::Warn),
        // Without a control the comparison is silent by design; the canary's own numbers must be there.
        Role::Guardrail if !stage.leaves_control() => regressed || finding.is_none_or(|f| f.n.canary == 0),
        Role::Guardrail => {
            regressed
                || finding.is_some_and(is_blind)
                || (silent && !finding.is_some_and(|f| never_applied(guardrail, f)))
        }
    };
    if objects {
        return Some(waiting(guardrail, finding, |f| word(f.verdict).to_owned()));
    }
    let quiet =
        finding.filter(|f| guardrail.role == Role::Guardrail && stage.leaves_control() && f.silent > stage.bake)?;
    let told = format!("silent for {}, longer than the stage bakes", quiet.silent.rounded());
    (!never_applied(guardrail, quiet)).then(|| waiting(guardrail, finding, |_| told.clone()))
}

fn unproven(serving: &Serving<'_>, guardrail: &Guardrail) -> Option<Waiting> {
    let finding = finding_of(serving, guardrail);
    let settled = finding.is_some_and(|f| is_proven(f) || never_applied(guardrail, f));
    let short = |f: &Finding| format!("{}, {} needed to promote", word(f.verdict), words::against_line(f.promote));
    (!settled).then(|| waiting(guardrail, finding, short))
}

/// Evidence of a rollback, as it stands now, that is too strong to promote over (`statistics.md`,
/// section 5, rule 6): what may yet be proven worse is not promoted.
fn doubt(serving: &Serving<'_>) -> Option<Waiting> {
    let doubtful = |f: &&Finding| f.role == Role::Guardrail && f.standing >= DOUBT.ln();
    let findings = serving.analysis.findings.iter().filter(doubtful);
    let worst = findings.max_by(|a, b| a.standing.total_cmp(&b.standing))?;
    let why = format!(
        "evidence of a rollback stands at {}, and promotion needs less than {}",
        words::e_value(worst.standing),
        words::number(DOUBT)
    );
    Some(Waiting::Guardrail { metric: worst.metric.to_string(), why })
}

fn is_proven(finding: &Finding) -> bool {
    finding.role == Role::Guardrail && finding.verdict == Verdict::Healthy && finding.promote.reached()
}

/// Whether most sessions of an arm lack a time or an amount, which every session has: the few with one are no sample.
/// The grace of silence may be longer than the stage; nothing is passed over a metric that nobody has seen.
fn is_blind(finding: &Finding) -> bool {
    let mostly = finding.missing.canary > finding.n.canary || finding.missing.control > finding.n.control;
    match finding.metric.kind() {
        Kind::Exceedance | Kind::Amount | Kind::Ratio => mostly,
        Kind::Rate | Kind::Score => false,
    }
}

/// Silent because no session of either arm had anything to measure, where the policy bears that.
pub(super) fn never_applied(guardrail: &Guardrail, finding: &Finding) -> bool {
    let none = ArmCounts::default();
    guardrail.no_data.then == NoDataThen::Warn
        && finding.verdict == Verdict::NoData
        && finding.n == none
        && finding.missing == none
}

fn waiting(guardrail: &Guardrail, finding: Option<&Finding>, say: impl Fn(&Finding) -> String) -> Waiting {
    let why = finding.map_or_else(|| "has no finding in this look".to_owned(), |f| format!("{}: {}", say(f), f.reason));
    Waiting::Guardrail { metric: guardrail.metric.to_string(), why }
}

fn finding_of<'a>(serving: &Serving<'a>, guardrail: &Guardrail) -> Option<&'a Finding> {
    serving.analysis.findings.iter().find(|f| f.metric == guardrail.metric && f.role == guardrail.role)
}

fn is_silent(finding: &Finding) -> bool {
    match finding.verdict {
        Verdict::NoData | Verdict::Error => true,
        Verdict::Healthy | Verdict::Regressed | Verdict::Inconclusive => false,
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Healthy => "healthy",
        Verdict::Regressed => "regressed",
        Verdict::Inconclusive => "inconclusive",
        Verdict::NoData => "no data",
        Verdict::Error => "unusable",
    }
}

fn soundness(serving: &Serving<'_>) -> Vec<Waiting> {
    let quality = &serving.analysis.quality;
    let mut missing: Vec<Waiting> = quality.holds.iter().map(|why| Waiting::DataQuality { why: why.clone() }).collect();
    if serving.analysis.stage != serving.stage {
        let (looked, served) = (serving.analysis.stage + 1, serving.stage + 1);
        missing.push(Waiting::DataQuality {
            why: format!("the look was made of stage {looked}, and stage {served} is served"),
        });
    }
    if serving.analysis.drifts < serving.release.drifts.len() {
        let why = "the look was made before the last drift was noted".to_owned();
        missing.push(Waiting::DataQuality { why });
    }
    if let Some(until) = serving.release.policy.frozen_until(serving.now) {
        missing.push(Waiting::Freeze { until });
    }
    missing
}

fn promotion_holds(serving: &Serving<'_>) -> Vec<Waiting> {
    let holds = serving.analysis.quality.promotion_holds.iter();
    let mut missing: Vec<Waiting> = holds.map(|why| Waiting::DataQuality { why: why.clone() }).collect();
    if serving.release.drifts.len() >= DRIFTS_MAX {
        let why = format!("what answers changed {DRIFTS_MAX} times; promote by hand, or roll back");
        missing.push(Waiting::DataQuality { why });
    }
    missing
}
