//! Before anybody is exposed: the sentinels, the offline gate and the canary's upstreams; and what the sentinels hold
//! later.

use crate::analysis::{Analysis, SentinelFinding, SentinelVerdict, Standing};
use crate::id::Actor;
use crate::release::causes;
use crate::release::moves;
use crate::release::report::{Report, Step, Waiting};
use crate::release::state::Release;
use crate::time::UnixMs;

/// A person starts a draft: with sentinels it waits for them, without it exposes at once.
pub(super) fn start(release: &Release, actor: &Actor, now: UnixMs) -> Step {
    let Some(suite) = release.policy.sentinels.as_ref().filter(|suite| !suite.sentinels.is_empty()) else {
        return moves::let_on(release, &format!("started by {actor}"), now);
    };
    let count = suite.sentinels.len();
    let noun = if count == 1 { "sentinel" } else { "sentinels" };
    moves::preflight(release, format!("started by {actor}: asking {count} {noun} before anybody is exposed"))
}

/// The same where the canary's upstreams are not ready: it waits for them too.
pub(super) fn prepare(release: &Release, actor: &Actor, now: UnixMs) -> Step {
    if asks_sentinels(release) {
        return start(release, actor, now);
    }
    let headline = format!("started by {actor}: the canary's upstreams are made ready before anybody is exposed");
    moves::preflight(release, headline)
}

/// A person starts what waits for its sentinels or upstreams.
pub(super) fn start_by_hand(release: &Release, actor: &Actor, now: UnixMs) -> Step {
    let mut step = moves::let_on(release, &format!("started by {actor}"), now);
    let unwaited = if asks_sentinels(release) { "the sentinels" } else { "the canary's upstreams" };
    step.report.warnings.push(format!("started by hand without waiting for {unwaited}"));
    step
}

fn asks_sentinels(release: &Release) -> bool {
    release.policy.sentinels.as_ref().is_some_and(|suite| !suite.sentinels.is_empty())
}

/// A look at what waits for its sentinels or its upstreams.
pub(super) fn look(release: &Release, analysis: &Analysis, now: UnixMs) -> Step {
    if let Some(why) = causes::sentinel(analysis) {
        return moves::roll_back(release, why, now);
    }
    let mut missing = unpassed(release, analysis);
    // What stable itself fails cannot be waited for by itself: a person mends it, or starts by hand.
    missing.extend(analysis.sentinels.iter().filter(|f| f.standing == Standing::Disqualified).map(waiting));
    missing.extend(uncleared(release, analysis));
    missing.extend(release.policy.frozen_until(now).map(|until| Waiting::Freeze { until }));
    missing.extend(unready(analysis));
    if missing.is_empty() {
        let mut step = moves::let_on(release, &cleared(analysis), now);
        step.report.warnings = warnings(analysis);
        return step;
    }
    let first = missing.first().map_or_else(String::new, |waiting| waiting.describe(now));
    let more = missing.len().saturating_sub(1);
    let and_more = if more == 0 { String::new() } else { format!(", and {more} more") };
    let headline = format!("nobody is exposed; waits for {first}{and_more}");
    moves::hold(release, Report { headline, waiting_for: missing, warnings: warnings(analysis) })
}

fn cleared(analysis: &Analysis) -> String {
    let all = analysis.sentinels.len();
    if all == 0 {
        return "the canary's upstreams are ready".to_owned();
    }
    let passed = analysis.sentinels.iter().filter(|f| f.verdict == SentinelVerdict::Passed).count();
    format!("{passed} of {all} sentinels passed on the canary")
}

/// What the canary's upstreams have against being given more.
pub(super) fn unready(analysis: &Analysis) -> impl Iterator<Item = Waiting> + '_ {
    analysis.readiness.holds.iter().map(|why| Waiting::Upstreams { why: why.clone() })
}

/// Critical sentinels whose newest round is not passed, the unknown among them.
pub(super) fn unpassed(release: &Release, analysis: &Analysis) -> Vec<Waiting> {
    let Some(suite) = &release.policy.sentinels else { return Vec::new() };
    let critical = suite.critical();
    let mut missing = Vec::new();
    for sentinel in critical {
        match analysis.sentinels.iter().find(|finding| finding.name == sentinel.name) {
            None => missing
                .push(Waiting::Sentinel { name: sentinel.name.clone(), why: "has no finding in this look".to_owned() }),
            Some(finding) if holds(finding) => missing.push(waiting(finding)),
            Some(_) => {}
        }
    }
    missing
}

/// What the offline gate still needs.
fn uncleared(release: &Release, analysis: &Analysis) -> Option<Waiting> {
    let gate = release.policy.sentinels.as_ref()?.gate.as_ref()?;
    let of_gate: Vec<&SentinelFinding> = analysis.sentinels.iter().filter(|f| f.standing == Standing::Gate).collect();
    let count = |verdict| of_gate.iter().filter(|finding| finding.verdict == verdict).count();
    let (passed, failed) = (count(SentinelVerdict::Passed), count(SentinelVerdict::Failed));
    let all = of_gate.len();
    #[expect(clippy::cast_precision_loss, reason = "at most a few hundred")]
    let is_cleared = all > 0 && passed as f64 >= gate.pass_share * all as f64 - 1e-9;
    (!is_cleared).then(|| {
        let open = all - passed - failed;
        let bar = crate::release::words::percent(gate.pass_share);
        let first = of_gate.iter().find(|f| f.verdict == SentinelVerdict::Failed);
        let told = first.map_or(String::new(), |f| format!("; first failed: {}, {}", f.name, f.reason));
        let why = format!("the canary passed {passed} of {all}, {open} are open, the bar is {bar}{told}");
        Waiting::Sentinel { name: format!("gate {}", gate.suite), why }
    })
}

/// What is wrong and holds nothing: watched ones that fail, those that stable itself fails, upstreams that did not get
/// warm.
pub(super) fn warnings(analysis: &Analysis) -> Vec<String> {
    let told = analysis.sentinels.iter().filter_map(|finding| match (finding.standing, finding.verdict) {
        (Standing::Watched, SentinelVerdict::Failed | SentinelVerdict::BothFailed) => {
            Some(format!("sentinel {} (watched): {}", finding.name, finding.reason))
        }
        (Standing::Disqualified, _) => {
            Some(format!("sentinel {} cannot be critical: {}", finding.name, finding.reason))
        }
        (Standing::Watched, SentinelVerdict::Passed | SentinelVerdict::Unclear | SentinelVerdict::Unknown)
        | (Standing::Critical | Standing::Qualifying | Standing::Gate, _) => None,
    });
    told.chain(analysis.readiness.notes.iter().cloned()).collect()
}

/// What people are told of: critical sentinels that fail on both arms, and silence of all of them.
pub(super) fn trouble(analysis: &Analysis) -> Option<String> {
    let critical = || analysis.sentinels.iter().filter(|finding| finding.standing == Standing::Critical);
    let both: Vec<String> = critical()
        .filter(|finding| finding.verdict == SentinelVerdict::BothFailed)
        .map(|finding| format!("sentinel {}: {}", finding.name, finding.reason))
        .collect();
    if !both.is_empty() {
        return Some(both.join("; "));
    }
    let first = critical().next()?;
    let all_unknown = critical().all(|finding| finding.verdict == SentinelVerdict::Unknown);
    all_unknown.then(|| format!("no sentinel can be asked: {}", first.reason))
}

fn holds(finding: &SentinelFinding) -> bool {
    match finding.standing {
        Standing::Critical => finding.verdict != SentinelVerdict::Passed,
        Standing::Qualifying => true,
        Standing::Disqualified | Standing::Watched | Standing::Gate => false,
    }
}

fn waiting(finding: &SentinelFinding) -> Waiting {
    Waiting::Sentinel { name: finding.name.clone(), why: finding.reason.clone() }
}
