//! What the shadow has shown: per watched metric the paired difference, and the evidence against the canary.

use crate::analysis::judges;
use crate::analysis::look::Look;
use crate::analysis::{Alpha, Evidence};
use crate::metric::{Kind, Metric};
use crate::release::policy::{Guardrail, Role};
use crate::release::words;
use crate::shadow::pair::Lost;
use crate::shadow::preferences::{Preferences, Preferring};
use crate::shadow::record::Tested;
use crate::shadow::similarity::{Bar, Likenesses, Similarity, Told};
use crate::shadow::spread::PairedInterval;
use crate::shadow::{By, Criterion};
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
    /// How near the answers are to stable's; it tests nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub similarity: Option<Box<SimilarityFinding>>,
}

/// How near the canary's answers are to stable's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SimilarityFinding {
    /// By whose embeddings.
    pub model: String,
    /// Pairs that were measured, of sessions counted or young.
    pub pairs: u64,
    /// Measurements without a number: whoever was asked was in trouble.
    pub unknown: u64,
    /// Measurements that came when their session was counted already.
    pub late: u64,
    /// The canary's answers against stable's, by sessions.
    pub canary: Option<Told>,
    /// Stable's second answers against its first.
    pub again: Option<Told>,
    /// What the first stage waits for, where the release says so.
    pub bar: Option<Bar>,
    /// Sessions at the bar or nearer.
    pub met: u64,
    /// Why the bar is not cleared yet, in words; `None`: it is, or there is none.
    pub lacks: Option<String>,
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
    /// What is excluded of the paired difference: 95 %, at any number of looks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<PairedInterval>,
    /// Evidence against the canary (the latched maximum, weighted) against the line.
    pub rollback: Evidence,
    /// log of the same evidence as it stands now.
    #[serde(with = "crate::float")]
    pub standing: f64,
    /// What a judge of pairs has said, pair by pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preferences: Option<Preferences>,
    /// Why it is not enough yet to go on, in words; `None`: it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lacks: Option<String>,
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
        .criteria()
        .map(|criterion| {
            let weight = policy.paired_share(&criterion).ln();
            let tested = record.of.get(&criterion.metric);
            let found = found(&criterion, tested, weight, line);
            match criterion.by {
                By::Outcomes(watched) => PairedFinding { reason: reason(watched, found.sessions, tested), ..found },
                By::Preference(preferring) => preferred(look, preferring, shadow.min_sessions, found),
            }
        })
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
        similarity: shadow
            .similarity
            .as_ref()
            .map(|own| Box::new(similarity(own, shadow.min_sessions, &record.likenesses))),
    })
}

/// What the process and the means say; no words yet.
fn found(criterion: &Criterion<'_>, tested: Option<&Tested>, weight: f64, line: f64) -> PairedFinding {
    let process = tested.map(|tested| &tested.process);
    let means = tested.and_then(Tested::means);
    PairedFinding {
        metric: criterion.metric.clone(),
        role: criterion.role,
        sessions: tested.map_or(0, |tested| tested.sessions),
        stable: means.map(|(stable, _)| stable),
        canary: means.map(|(_, canary)| canary),
        difference: means.map(|(stable, canary)| canary - stable),
        interval: tested.and_then(|tested| tested.spread.interval(&criterion.metric)),
        rollback: Evidence { log: process.map_or(0.0, |process| process.peak().max(0.0)) + weight, line },
        standing: process.map_or(0.0, |process| process.log_e()) + weight,
        preferences: None,
        lacks: None,
        reason: String::new(),
    }
}

/// A judge's word: what it said, and whether enough sessions have one. A judge that is away, spent or drifted is waited
/// for and never rolls back.
fn preferred(look: &Look<'_>, preferring: &Preferring, min_sessions: u64, found: PairedFinding) -> PairedFinding {
    let counts = look.ledger.totals().shadow.preferences.get(&preferring.judge).copied().unwrap_or_default();
    let judge = look.release.policy.judge(&preferring.judge);
    let held = match judge {
        Some(judge) => judges::held(look, judge),
        None => Some(format!("there is no judge {}", preferring.judge)),
    };
    let need = preferring.need(min_sessions);
    let few = || (found.sessions < need).then(|| format!("{} of {need} judged sessions", found.sessions));
    let share = |part: u64| words::percent(part as f64 / counts.decided().max(1) as f64);
    let reason = match counts.decided() {
        0 => format!("no pair is decided yet, {} ties", counts.tied),
        decided => format!(
            "of {decided} decided pairs the canary's answer is better in {} and stable's in {}, {} ties beside; {} sessions",
            share(counts.won),
            share(counts.lost),
            counts.tied,
            found.sessions
        ),
    };
    PairedFinding { lacks: held.or_else(few), reason, preferences: Some(counts), ..found }
}

/// What was measured, and whether it clears the bar.
fn similarity(own: &Similarity, min_sessions: u64, seen: &Likenesses) -> SimilarityFinding {
    SimilarityFinding {
        model: format!("{}/{}", own.version.provider, own.version.model),
        pairs: seen.pairs,
        unknown: seen.unknown,
        late: seen.late,
        canary: seen.canary.told(),
        again: seen.again.told(),
        bar: own.bar,
        met: seen.met,
        lacks: own.bar.and_then(|bar| short_of(bar, own.need(min_sessions), seen)),
    }
}

/// Why a bar is not cleared. It is compared with the share that was seen, and has no part in the bound.
fn short_of(bar: Bar, need: u64, seen: &Likenesses) -> Option<String> {
    let sessions = seen.canary.sessions;
    if sessions < need {
        let unknown = if seen.unknown == 0 { String::new() } else { format!(", {} unknown", seen.unknown) };
        return Some(format!("{sessions} of {need} measured sessions{unknown}"));
    }
    let is_short = u128::from(seen.met) * 10_000 < u128::from(sessions) * u128::from(bar.share.bp());
    is_short.then(|| {
        format!(
            "{} of {sessions} sessions are {} near to stable's or nearer, {} are wanted",
            words::percent(seen.met as f64 / sessions as f64),
            words::number(bar.min),
            words::percent(bar.share.share())
        )
    })
}

fn reason(watched: &Guardrail, sessions: u64, tested: Option<&Tested>) -> String {
    let Some((stable, canary)) = tested.and_then(Tested::means) else {
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
        Kind::Amount | Kind::Ratio => format!(
            "{} a request against {} of stable for the same requests, {sessions} sessions; counted is who has more than \
             {} times as much",
            words::number(canary),
            words::number(stable),
            words::number(by.ratio)
        ),
    }
}
