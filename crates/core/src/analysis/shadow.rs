//! What the shadow has shown: per watched metric the paired difference, and the evidence against the canary.

use crate::analysis::look::Look;
use crate::analysis::{Alpha, Evidence};
use crate::metric::{Kind, Metric};
use crate::release::policy::{Guardrail, Role};
use crate::release::words;
use crate::shadow::pair::Lost;
use crate::shadow::record::Tested;
use serde::{Deserialize, Serialize};

/// What pairs of answers have shown, as far as their sessions are counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShadowFinding {
    /// Mirrored sessions that are counted.
    pub sessions: u64,
    /// So many the stage needs.
    pub need: u64,
    /// Pairs that say something, of sessions counted or young.
    pub pairs: u64,
    /// Pairs that say nothing.
    pub void: u64,
    /// Requests that were not compared.
    pub lost: Lost,
    /// What the copies cost, in US dollars, where known.
    pub cost_usd: f64,
    /// Copies of unknown cost.
    pub cost_unknown: u64,
    /// The guardrails together: `max(w_i · E_i)` against the line of the shadow's share of alpha.
    pub rollback: Evidence,
    /// Per watched metric that can be compared in pairs, in the order of the policy.
    pub findings: Vec<PairedFinding>,
}

/// One metric over pairs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairedFinding {
    /// Which.
    pub metric: Metric,
    /// What its regression does.
    pub role: Role,
    /// Sessions with something to compare.
    pub sessions: u64,
    /// Stable's mean over them: a badness in 0..=1, or milliseconds, US dollars, tokens, calls.
    pub stable: Option<f64>,
    /// The canary's.
    pub canary: Option<f64>,
    /// The paired difference, canary − stable, of these means.
    pub difference: Option<f64>,
    /// Evidence against the canary (the latched maximum, weighted) against the line.
    pub rollback: Evidence,
    /// log of the same evidence as it stands now.
    #[serde(with = "crate::float")]
    pub standing: f64,
    /// Why, as a sentence with numbers.
    pub reason: String,
}

impl ShadowFinding {
    /// The guardrails that have reached the line by themselves.
    pub fn guilty(&self) -> impl Iterator<Item = &PairedFinding> {
        self.findings.iter().filter(|finding| finding.role == Role::Guardrail && finding.rollback.reached())
    }
}

/// `None` where the policy has no shadow.
pub(super) fn finding(look: &Look<'_>) -> Option<ShadowFinding> {
    let policy = &look.release.policy;
    let shadow = policy.shadow.as_ref()?;
    let record = &look.ledger.totals().shadow;
    let line = Alpha::of(policy, look.release.attempt).shadow_line();
    let findings: Vec<PairedFinding> = policy
        .paired()
        .map(|watched| paired(watched, record.of.get(&watched.metric), policy.paired_share(watched), line))
        .collect();
    let of_guardrails = findings.iter().filter(|finding| finding.role == Role::Guardrail);
    let log = of_guardrails.map(|finding| finding.rollback.log).fold(f64::NEG_INFINITY, f64::max);
    Some(ShadowFinding {
        sessions: record.sessions,
        need: shadow.min_sessions,
        pairs: record.pairs,
        void: record.void,
        lost: record.lost,
        cost_usd: record.cost_usd,
        cost_unknown: record.cost_unknown,
        rollback: Evidence { log, line },
        findings,
    })
}

fn paired(watched: &Guardrail, tested: Option<&Tested>, share: f64, line: f64) -> PairedFinding {
    let weight = share.ln();
    let process = tested.map(|tested| &tested.process);
    let means = tested.and_then(Tested::means);
    let sessions = tested.map_or(0, |tested| tested.sessions);
    PairedFinding {
        metric: watched.metric.clone(),
        role: watched.role,
        sessions,
        stable: means.map(|(stable, _)| stable),
        canary: means.map(|(_, canary)| canary),
        difference: means.map(|(stable, canary)| canary - stable),
        rollback: Evidence { log: process.map_or(0.0, |process| process.peak().max(0.0)) + weight, line },
        standing: process.map_or(0.0, |process| process.log_e()) + weight,
        reason: reason(watched, sessions, means),
    }
}

fn reason(watched: &Guardrail, sessions: u64, means: Option<(f64, f64)>) -> String {
    let Some((stable, canary)) = means else {
        let seen = if sessions == 0 { "nothing to compare yet".to_owned() } else { format!("{sessions} sessions") };
        return seen;
    };
    let by = watched.rollback;
    match watched.metric.kind() {
        Kind::Rate | Kind::Score => format!(
            "bad in {} of the canary's answers against {} of stable's to the same requests, {sessions} sessions",
            words::percent(canary),
            words::percent(stable)
        ),
        Kind::Exceedance => format!(
            "{} ms on the mean against {} ms of stable to the same requests, {sessions} sessions; counted is who takes \
             more than {} times as long",
            words::number(canary),
            words::number(stable),
            words::number(by.ratio)
        ),
        Kind::Amount => format!(
            "{} a request against {} of stable for the same requests, {sessions} sessions; counted is who has more than \
             {} times as much",
            words::number(canary),
            words::number(stable),
            words::number(by.ratio)
        ),
    }
}
