//! The policy and the data put together, ready to be run.

use crate::backtest::BacktestError;
use crate::backtest::data::{Data, Session};
use crate::backtest::inject::Injection;
use coalmine_core::analysis::Alpha;
use coalmine_core::evidence::yardstick::{Source, freeze, watched};
use coalmine_core::evidence::{RouteHistory, Yardstick};
use coalmine_core::id::{RouteName, UnitKey};
use coalmine_core::metric::{Kind, Metric};
use coalmine_core::release::check::check;
use coalmine_core::release::plan::Plan;
use coalmine_core::release::policy::{Guardrail, Policy, Role};
use coalmine_core::tally::{Detected, Feedback, Outcome, Turn, TurnPart};
use coalmine_core::time::{SpanMs, UnixMs};
use coalmine_core::version::{Version, VersionId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Monday 2026-01-05 00:00 UTC: the freeze windows of a policy have their weekdays.
pub(crate) const ORIGIN: UnixMs = UnixMs(1_767_571_200_000);
/// What a history needs before a yardstick is frozen from it, with some to spare.
const HISTORY_REQUESTS: usize = 400;
const HISTORY_SESSIONS: usize = 60;
/// What the history of a large file is cut to.
const HISTORY_AT_MOST: usize = 20_000;

/// The policy under test.
#[derive(Debug, Clone)]
pub struct Policed {
    /// The route.
    pub route: RouteName,
    /// The version in service.
    pub stable: Version,
    /// The version on trial.
    pub canary: Version,
    /// The stages.
    pub plan: Plan,
    /// The criteria.
    pub policy: Policy,
}

/// When sessions come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Arrivals {
    /// As recorded, the sessions shuffled over the recorded instants.
    Recorded,
    /// So many in an hour (Poisson).
    PerHour(f64),
}

/// How a run takes sessions from the recorded ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Draw {
    /// Each once, in random order, until there are none left.
    Once,
    /// So many, each drawn from all.
    WithReplacement(usize),
}

/// What is put on the canary.
#[derive(Debug, Clone, PartialEq)]
pub enum Case {
    /// Stable's own sessions: every rollback is false.
    SameVersion,
    /// The canary's recorded sessions.
    Recorded,
    /// Stable's own sessions with a regression of known size.
    Injected(Injection),
}

impl Case {
    /// As shown to people.
    #[must_use]
    pub fn label(&self) -> String {
        match self {
            Self::SameVersion => "A/A: stable against itself".to_owned(),
            Self::Recorded => "the recorded canary".to_owned(),
            Self::Injected(injection) => format!("injected {injection}"),
        }
    }
}

/// Everything that the runs share.
#[derive(Debug)]
pub struct Bench<'a> {
    pub(crate) policed: Policed,
    pub(crate) data: &'a Data,
    pub(crate) arrivals: Arrivals,
    pub(crate) draw: Draw,
    /// A day of stable's traffic before the start.
    pub(crate) history: RouteHistory,
    pub(crate) yardstick: Yardstick,
    pub(crate) versions: BTreeMap<VersionId, Arc<Version>>,
    /// What the observations have no number of.
    left_out: Vec<String>,
    /// Per metric whose harm is counted in sessions: stable's number of each session, and their mean.
    pub(crate) known: Vec<Known>,
}

/// What stable's sessions show in one metric.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) metric: Metric,
    pub(crate) tau_ms: Option<f64>,
    pub(crate) of_stable: Vec<Option<f64>>,
    pub(crate) mean: f64,
}

impl Policed {
    /// Whether it could be served at all.
    pub(crate) fn check(&self) -> Result<(), BacktestError> {
        let misfits = check(&self.plan, &self.policy);
        if !misfits.is_empty() {
            let all: Vec<String> = misfits.iter().map(ToString::to_string).collect();
            return Err(BacktestError::Release(all.join("; ")));
        }
        if self.canary == self.stable {
            return Err(BacktestError::Release("the canary is the stable version".to_owned()));
        }
        Ok(())
    }
}

impl<'a> Bench<'a> {
    /// Puts them together. Sentinels, and guardrails and signals that the observations have no number of, are left
    /// out, and `false_rollback_rate` shrinks to the share of the rest, so that these stand against the very lines
    /// that they have under the whole policy.
    ///
    /// # Errors
    /// When the policy cannot be served, none of its guardrails is recorded, or sessions come at no known time.
    pub fn new(mut policed: Policed, data: &'a Data, arrivals: Arrivals, draw: Draw) -> Result<Self, BacktestError> {
        if arrivals == Arrivals::Recorded && data.stable_per_hour().is_none() {
            return Err(BacktestError::data(
                "the observations do not say when requests began (`at`)",
                "say how many sessions come in an hour: --traffic 1000/h",
            ));
        }
        policed.check()?;
        let left_out = leave_out(&mut policed.policy, &|metric| data.records(metric))?;
        let history = history(data, &policed);
        let watched = watched(&policed.policy);
        let day = history.last(SpanMs::hours(24), ORIGIN);
        let yardstick = freeze(&day, Source::History, &watched, ORIGIN);
        let known = policed.policy.guardrails.iter().filter(|guardrail| guardrail.role == Role::Guardrail);
        let known = known.filter_map(|guardrail| Known::of(&guardrail.metric, &yardstick, data)).collect();
        let versions = [&policed.stable, &policed.canary].map(|version| (version.id(), Arc::new(version.clone())));
        Ok(Self { versions: versions.into(), policed, data, arrivals, draw, history, yardstick, left_out, known })
    }

    /// The guardrails and signals that the observations have no number of, and the sentinels.
    #[must_use]
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// The policy as it is run.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policed.policy
    }

    /// The recorded sessions.
    #[must_use]
    pub fn data(&self) -> &Data {
        self.data
    }

    /// Sessions that come in an hour.
    #[must_use]
    pub fn sessions_per_hour(&self) -> f64 {
        match self.arrivals {
            Arrivals::PerHour(rate) => rate,
            Arrivals::Recorded => self.data.stable_per_hour().unwrap_or(0.0),
        }
    }
}

impl Known {
    fn of(metric: &Metric, yardstick: &Yardstick, data: &Data) -> Option<Self> {
        match metric.kind() {
            Kind::Rate | Kind::Exceedance | Kind::Score => {}
            // An amount harms no session.
            Kind::Amount | Kind::Ratio => return None,
        }
        let tau_ms = yardstick.tau_ms.get(metric).copied();
        let of_stable: Vec<Option<f64>> = data.stable.iter().map(|session| session.number(metric, tau_ms)).collect();
        let (sum, n) = of_stable.iter().flatten().fold((0.0, 0_u32), |(sum, n), bad| (sum + bad, n + 1));
        let mean = if n > 0 { sum / f64::from(n) } else { 0.0 };
        Some(Self { metric: metric.clone(), tau_ms, of_stable, mean })
    }
}

/// Leaves out the guardrails and signals that are not `recorded`, and the sentinels, and lets the rest keep its lines.
pub(crate) fn leave_out(policy: &mut Policy, recorded: &dyn Fn(&Metric) -> bool) -> Result<Vec<String>, BacktestError> {
    let sharing = |guardrail: &&Guardrail| guardrail.role == Role::Guardrail;
    let weight = |guardrails: &[Guardrail]| guardrails.iter().filter(sharing).map(|g| g.weight).sum::<f64>();
    let (weight_before, alpha_before) = (weight(&policy.guardrails), Alpha::of(policy, 0).guardrails);
    let (kept, missing): (Vec<_>, Vec<_>) =
        policy.guardrails.drain(..).partition(|guardrail| recorded(&guardrail.metric));
    policy.guardrails = kept;
    let mut left_out: Vec<String> = missing.iter().map(|guardrail| guardrail.metric.to_string()).collect();
    if !policy.guardrails.iter().any(|guardrail| guardrail.role == Role::Guardrail) {
        return Err(BacktestError::data(
            format!("the observations record none of the policy's guardrails ({})", left_out.join(", ")),
            "record at least one of them; `coalmine backtest --fields` lists the keys",
        ));
    }
    left_out.extend(policy.sentinels.take().map(|_| "sentinels".to_owned()));
    left_out.extend(policy.shadow.take().map(|_| "the shadow, which begins before anybody is exposed".to_owned()));
    // A recording has their scores and nothing else of them: no anchors that watch them, and no days with a budget.
    policy.judges.retain(|judge| policy.guardrails.iter().any(|of| of.metric.judge() == Some(&judge.name)));
    for judge in &mut policy.judges {
        let had =
            [judge.anchors.take().is_some(), judge.usd_per_day.take().is_some(), judge.calls_per_day.take().is_some()];
        if had.contains(&true) {
            left_out.push(format!("anchors and budget of judge {}", judge.name));
        }
    }
    if !left_out.is_empty() && weight_before > 0.0 {
        let wanted = alpha_before * weight(&policy.guardrails) / weight_before;
        policy.false_rollback_rate = 1.0;
        policy.false_rollback_rate = wanted / Alpha::of(policy, 0).guardrails;
    }
    Ok(left_out)
}

/// Stable's sessions over the day before the start, again and again where they are few.
fn history(data: &Data, policed: &Policed) -> RouteHistory {
    let requests: usize = data.stable.iter().map(|session| session.turns.len()).sum();
    let rounds = HISTORY_REQUESTS.div_ceil(requests.max(1)).max(HISTORY_SESSIONS.div_ceil(data.stable.len().max(1)));
    let count = (data.stable.len() * rounds).min(HISTORY_AT_MOST);
    let route = Arc::new(policed.route.clone());
    let stable = policed.stable.id();
    let span_ms = SpanMs::hours(20).0 as f64;
    let mut history = RouteHistory::default();
    let begin = ORIGIN - SpanMs::hours(22);
    let add = |history: &mut RouteHistory, unit: u128, at: UnixMs, session: &Session| {
        for turn in &session.turns {
            let turn = Turn {
                route: Arc::clone(&route),
                unit: Some(UnitKey(unit)),
                customer: None,
                version: stable,
                member: None,
                origin: None,
                started_at: at + SpanMs(turn.after_ms as u64),
                part: TurnPart::Whole,
                // Outside of a release the detectors are off.
                outcome: Outcome { detected: Detected::NOT_APPLICABLE, opening: None, ..turn.outcome.clone() },
            };
            history.absorb(&turn, stable);
        }
        for score in session.scores.iter().filter(|score| !score.is_judged()) {
            history.absorb_feedback(&Feedback {
                route: (*route).clone(),
                unit: UnitKey(unit),
                member: None,
                name: score.name.clone(),
                value: score.value,
                judge: None,
                idempotency: unit as u64,
                received_at: at,
            });
        }
    };
    for (number, session) in data.stable.iter().cycle().take(count).enumerate() {
        let at = begin + SpanMs((span_ms * number as f64 / count as f64) as u64);
        add(&mut history, number as u128 + 1, at, session);
    }
    // One more request, late enough for the last session to be summed up.
    if let Some(session) = data.stable.first() {
        add(&mut history, 0, ORIGIN - SpanMs::minutes(1), session);
    }
    history
}
