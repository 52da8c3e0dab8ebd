//! What rolls a release back, read from a look.

use crate::analysis::{Analysis, Finding, LimitFinding, SentinelVerdict, Standing, Verdict};
use crate::release::look::Serving;
use crate::release::policy::{NoDataThen, Policy, Role};
use crate::release::state::RollbackCause;
use crate::release::words;

/// The first cause, if there is one: sentinel, shadow (of which sessions may be counted after it has ended), guardrail, limit, tripwire, silence.
pub(super) fn of_rollback(serving: &Serving<'_>) -> Option<RollbackCause> {
    let Serving { release, analysis, .. } = *serving;
    sentinel(analysis)
        .or_else(|| shadow(analysis))
        .or_else(|| guardrail(analysis))
        .or_else(|| analysis.limits_exceeded.first().map(|limit| exceeded(&release.policy, analysis, limit)))
        .or_else(|| analysis.tripped.clone().map(|what| RollbackCause::Tripwire { what }))
        .or_else(|| silence(&release.policy, analysis))
}

/// What rolls a promotion back, proven against those held back: what is covered by the bound, and a
/// tripwire. Silence is no cause here, since nothing waits for evidence any more.
pub(super) fn of_late_rollback(serving: &Serving<'_>) -> Option<RollbackCause> {
    let Serving { release, analysis, .. } = *serving;
    guardrail(analysis)
        .or_else(|| shadow(analysis))
        .or_else(|| analysis.limits_exceeded.first().map(|limit| exceeded(&release.policy, analysis, limit)))
        .or_else(|| analysis.tripped.clone().map(|what| RollbackCause::Tripwire { what }))
}

/// A critical sentinel whose failure on the canary alone was confirmed.
pub(super) fn sentinel(analysis: &Analysis) -> Option<RollbackCause> {
    let failed = analysis
        .sentinels
        .iter()
        .find(|finding| finding.standing == Standing::Critical && finding.verdict == SentinelVerdict::Failed)?;
    Some(RollbackCause::Sentinel { name: failed.name.clone(), found: failed.reason.clone() })
}

/// What the pairs of the shadow prove.
pub(super) fn shadow(analysis: &Analysis) -> Option<RollbackCause> {
    let shadow = analysis.shadow.as_ref().filter(|shadow| shadow.rollback.reached())?;
    let mut guilty: Vec<_> = shadow.guilty().collect();
    guilty.sort_by(|a, b| b.rollback.log.total_cmp(&a.rollback.log));
    Some(RollbackCause::Shadow {
        metrics: guilty.iter().map(|finding| finding.metric.to_string()).collect(),
        log_evidence: shadow.rollback.log,
        log_line: shadow.rollback.line,
        found: guilty.first().map_or(String::new(), |finding| finding.reason.clone()),
    })
}

fn guardrail(analysis: &Analysis) -> Option<RollbackCause> {
    if !analysis.rollback.reached() {
        return None;
    }
    let guiltiest = analysis.guilty.first();
    let found = analysis.findings.iter().find(|f| Some(&f.metric) == guiltiest);
    Some(RollbackCause::Guardrail {
        metrics: analysis.guilty.iter().map(ToString::to_string).collect(),
        log_evidence: analysis.rollback.log,
        log_line: analysis.rollback.line,
        found: found.map_or(String::new(), |f| f.reason.clone()),
    })
}

fn exceeded(policy: &Policy, analysis: &Analysis, limit: &LimitFinding) -> RollbackCause {
    let bound = policy.guardrails.iter().find(|g| g.metric == limit.metric).and_then(|g| g.limit);
    let finding = analysis.findings.iter().find(|f| f.metric == limit.metric);
    let found: Vec<String> = [bound.map(|bad| words::limit(&limit.metric, bad)), finding.map(|f| f.reason.clone())]
        .into_iter()
        .flatten()
        .collect();
    RollbackCause::Limit {
        metric: limit.metric.to_string(),
        log_evidence: limit.evidence.log,
        log_line: limit.evidence.line,
        found: found.join("; "),
    }
}

fn silence(policy: &Policy, analysis: &Analysis) -> Option<RollbackCause> {
    let silent = analysis.findings.iter().find(|finding| is_silent_guardrail(policy, finding))?;
    Some(RollbackCause::NoData { metric: silent.metric.to_string() })
}

fn is_silent_guardrail(policy: &Policy, finding: &Finding) -> bool {
    let silent = finding.verdict == Verdict::NoData;
    silent
        && policy
            .guardrails
            .iter()
            .any(|g| g.metric == finding.metric && g.role == Role::Guardrail && g.no_data.then == NoDataThen::Rollback)
}
