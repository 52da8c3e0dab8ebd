//! What is unsafe in a plan, what cannot be decided at its traffic, and what could decide it.

use crate::forecast::Asks;
use crate::forecast::course::{Asked, Track};
use crate::forecast::foresee::{Ahead, within};
use crate::forecast::regression::Regression;
use crate::forecast::schedule::{Flow, hours, span};
use crate::forecast::{GuardrailOutlook, Outlook};
use crate::judge::Sampling;
use crate::metric::Kind;
use crate::release::policy::{Acknowledged, Guardrail, Margin, NoDataThen, Role};
use crate::release::words::{self, number, percent};
use crate::time::SpanMs;
use coalmine_stats::betting::Side;
use coalmine_stats::paired::{PREFERENCE, bound};
use coalmine_stats::plan::{bets_alone, units};
use serde::{Deserialize, Serialize};

/// A metric that fewer of the sessions show is thin.
const THIN: f64 = 0.05;
/// A tripwire that stops a good canary more often than this is told.
const ALARMING: f64 = 0.01;
/// A pair of one failing try in fifty, as sentinels are usually written.
const FLAKY: f64 = 0.02;

/// One thing that is unsafe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hazard {
    /// How much it matters.
    pub severity: Severity,
    /// The key of the release file.
    pub key: String,
    /// What is unsafe, with numbers.
    pub what: String,
    /// How to mend it.
    pub mend: String,
}

/// How much a hazard matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The start is refused until it is mended or acknowledged.
    Error,
    /// Would be refused, and is acknowledged.
    Acknowledged,
    /// Unsafe.
    Warning,
}

/// All that is judged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) ahead: &'a Ahead<'a>,
    pub(super) outlook: &'a Outlook,
}

/// Everything unsafe, the worst first, each kind in the order of the file.
pub(super) fn hazards(seen: &Seen<'_>) -> Vec<Hazard> {
    let mut hazards = Vec::new();
    seen.undecidable(&mut hazards);
    seen.stages(&mut hazards);
    for (index, track) in seen.ahead.tracks.iter().enumerate() {
        seen.limit(index, track, &mut hazards);
        seen.thin(index, track, &mut hazards);
        if let Some(of) = seen.outlook.guardrails.get(index) {
            seen.spent(index, track, of, &mut hazards);
        }
    }
    seen.budgets(&mut hazards);
    seen.tripwires(&mut hazards);
    hazards.sort_by_key(|hazard| hazard.severity);
    hazards
}

impl Seen<'_> {
    fn is_late(&self, at: Option<SpanMs>) -> bool {
        at.is_none_or(|at| at > self.outlook.max_duration)
    }

    fn undecidable(&self, hazards: &mut Vec<Hazard>) {
        let known = self.ahead.policy.acknowledged.contains(&Acknowledged::Undecidable);
        let refused = if known { Severity::Acknowledged } else { Severity::Error };
        let max = self.outlook.max_duration;
        for (index, (track, of)) in self.ahead.tracks.iter().zip(&self.outlook.guardrails).enumerate() {
            let guardrail = track.guardrail;
            let severity = match guardrail.role {
                Role::Guardrail => refused,
                Role::Signal => Severity::Warning,
                Role::DryRun => continue,
            };
            let mut add = |severity: Severity, what: String, mend: &str| {
                hazards.push(Hazard { severity, key: path(guardrail, index, self), what, mend: mend.to_owned() });
            };
            if of.sampled <= 0.0 {
                let never = format!("{}: stable has shown none of it", guardrail.metric);
                match guardrail.no_data.then {
                    NoDataThen::Warn => {}
                    NoDataThen::Hold | NoDataThen::Rollback => {
                        add(
                            severity,
                            format!("{never}, and its silence does not let a release go on"),
                            "remove it, write `no_data: warn`, or see that it is reported",
                        );
                    }
                }
                continue;
            }
            if guardrail.role == Role::Guardrail && self.is_late(of.proven.typical) {
                let what = format!(
                    "{}: a canary as good as stable is unlikely to be proven within the margin in {max} ({}; {} of runs make it)",
                    guardrail.metric,
                    needs(of.proven.typical),
                    percent(round(of.proven_by_max))
                );
                add(severity, what, "see what could decide below; or write `acknowledge: [undecidable]`");
            }
            if self.is_late(of.found.typical) {
                let what = format!(
                    "{}: a regression of {} is unlikely to be found in {max} ({})",
                    guardrail.metric,
                    of.regression,
                    needs(of.found.typical)
                );
                add(severity, what, "see what could decide below; or write `acknowledge: [undecidable]`");
            }
        }
        self.endless(refused, hazards);
    }

    /// Stages that cannot be passed in time.
    fn endless(&self, severity: Severity, hazards: &mut Vec<Hazard>) {
        let max = self.outlook.max_duration;
        for (index, (stage, of)) in self.ahead.plan.stages.iter().zip(&self.outlook.stages).enumerate() {
            if of.closes > max && of.opens <= max {
                let what = format!(
                    "the stage {} is not over before {}: {} of at least {} canary sessions come in an hour{}; the release ends undecided after {max}",
                    stage.label(),
                    of.closes.rounded(),
                    number(of.canary_per_hour),
                    stage.min_sessions,
                    if self.ahead.schedule.stages[index].frozen > SpanMs::ZERO {
                        ", and a freeze holds it"
                    } else {
                        ""
                    }
                );
                let mend = "lower `min_sessions` or `bake`, raise `weight` or `max_duration`".to_owned();
                hazards.push(Hazard { severity, key: format!("stages[{index}]"), what, mend });
            }
        }
    }

    fn stages(&self, hazards: &mut Vec<Hazard>) {
        let policy = self.ahead.policy;
        for (index, (stage, of)) in self.ahead.plan.stages.iter().zip(&self.outlook.stages).enumerate() {
            let mut warn = |key: &str, what: String, mend: &str| {
                let key = format!("stages[{index}]{key}");
                hazards.push(Hazard { severity: Severity::Warning, key, what, mend: mend.to_owned() });
            };
            if !stage.leaves_control() {
                warn(
                    ".weight",
                    "at 100 % nothing is left to compare with: only limits, tripwires and sentinels decide here"
                        .to_owned(),
                    "leave a holdback, such as `weight: 95%`",
                );
                continue;
            }
            let age = self.oldest();
            if age + policy.bucket > stage.bake {
                warn(
                    ".bake",
                    format!(
                        "the bake of {} is shorter than a session's numbers need to be counted, {}",
                        stage.bake,
                        (age + policy.bucket).rounded()
                    ),
                    "bake longer, or lower `ages`",
                );
            }
            let frozen = self.ahead.schedule.stages[index].frozen;
            if frozen > stage.bake {
                warn(
                    ".bake",
                    format!("a freeze holds the stage {} longer than its bake of {}", frozen.rounded(), stage.bake),
                    "start after the freeze, or narrow it",
                );
            }
            let length = SpanMs(of.closes.0.saturating_sub(of.opens.0));
            let blind: Vec<String> = of
                .sights
                .iter()
                .zip(self.ahead.tracks)
                .filter(|(sight, track)| {
                    track.guardrail.role == Role::Guardrail
                        && self.ahead.traffic.sampled(&sight.metric) > 0.0
                        && sight.bake.typical.is_none_or(|need| need > length)
                })
                .map(|(sight, _)| match sight.bake.typical {
                    Some(need) => format!("{} needs {}", sight.metric, need.rounded()),
                    None => format!("{} needs more than 90 days", sight.metric),
                })
                .collect();
            if !blind.is_empty() {
                warn(
                    ".bake",
                    format!(
                        "the stage is over after {} and would not see a regression of the margin's size that begins in it: {}",
                        length.rounded(),
                        blind.join(", ")
                    ),
                    "bake longer or raise `weight`; what comes later has to see it",
                );
            }
        }
    }

    /// The age at which the last number of any guardrail is posted.
    fn oldest(&self) -> SpanMs {
        let ages = self.ahead.policy.ages;
        let late = self.ahead.tracks.iter().any(|track| match track.guardrail.metric.kind() {
            Kind::Amount | Kind::Score | Kind::Ratio => track.guardrail.role == Role::Guardrail,
            Kind::Rate | Kind::Exceedance => false,
        });
        if late { ages.whole } else { ages.session }
    }

    fn limit(&self, index: usize, track: &Track<'_>, hazards: &mut Vec<Hazard>) {
        let guardrail = track.guardrail;
        let Some(limit) = guardrail.limit else { return };
        let traffic = self.ahead.traffic;
        // How many times stable's own badness, time or amount the limit is.
        let headroom = match guardrail.metric.kind() {
            Kind::Rate | Kind::Score => limit / traffic.badness(&guardrail.metric).max(1e-9),
            Kind::Exceedance => traffic
                .times(&guardrail.metric)
                .quantile(guardrail.metric.quantile().unwrap_or(0.95))
                .map_or(f64::INFINITY, |p95| limit / p95),
            Kind::Ratio => track.yardstick.price.get(&guardrail.metric).map_or(f64::INFINITY, |price| limit / price),
            Kind::Amount => {
                let cap = track.yardstick.cap.get(&guardrail.metric).copied().unwrap_or(f64::INFINITY);
                let mean = cap * track.yardstick.centre.get(&guardrail.metric).copied().unwrap_or(1.0);
                limit / mean
            }
        };
        let stated = words::limit(&guardrail.metric, limit);
        let mut warn = |what: String, mend: &str| {
            let key = format!("{}.max", path(guardrail, index, self));
            hazards.push(Hazard { severity: Severity::Warning, key, what, mend: mend.to_owned() });
        };
        if headroom <= 1.0 {
            warn(
                format!(
                    "{}: stable itself exceeds {stated}, so a canary as good as stable is rolled back",
                    guardrail.metric
                ),
                "raise the limit, or mend stable first",
            );
            return;
        }
        let twice = track.over(self.ahead.schedule, Asked::Limit, Regression::Times(2.0 * headroom));
        if self.is_late(within(&twice).typical) {
            warn(
                format!(
                    "{}: {stated} can hardly trip: a canary at twice the limit is not proven above it in {} ({})",
                    guardrail.metric,
                    self.outlook.max_duration,
                    needs(within(&twice).typical)
                ),
                "lower it, or remove it",
            );
        }
    }

    fn thin(&self, index: usize, track: &Track<'_>, hazards: &mut Vec<Hazard>) {
        let sampled = self.ahead.traffic.sampled(&track.guardrail.metric);
        if sampled > 0.0 && sampled < THIN {
            let per_hour: f64 = self.outlook.stages.first().map_or(0.0, |stage| stage.canary_per_hour * sampled);
            let what = format!(
                "{}: only {} of what could show it does, {} numbers an hour in the first stage",
                track.guardrail.metric,
                percent(sampled),
                number(per_hour)
            );
            let is_judged = self.ahead.traffic.judged.contains_key(&track.guardrail.metric);
            let more = if is_judged { "raise `sample`" } else { "see that more is reported" };
            let mend = format!("{more}, or make it a signal");
            hazards.push(Hazard { severity: Severity::Warning, key: path(track.guardrail, index, self), what, mend });
        }
    }

    /// A judge that is to score more than it may be asked.
    fn spent(&self, index: usize, track: &Track<'_>, of: &GuardrailOutlook, hazards: &mut Vec<Hazard>) {
        let Some(judged) = &of.judged else { return };
        let Some(calls) = judged.calls_per_day.filter(|calls| judged.answers_per_day > *calls as f64) else { return };
        let what = format!(
            "{}: the judge is to score {} answers on a day of the busiest stage and may be asked {calls} times: after that \
             there is no data until 00:00 UTC, and the release waits",
            track.guardrail.metric,
            number(judged.answers_per_day)
        );
        let mend = "raise `calls` of the judge, or lower `sample`".to_owned();
        hazards.push(Hazard { severity: Severity::Warning, key: path(track.guardrail, index, self), what, mend });
    }

    fn budgets(&self, hazards: &mut Vec<Hazard>) {
        let budget = self.ahead.policy.budget;
        let mut warn = |key: &str, what: String| {
            let mend =
                "raise it above what detection takes, or know that it decides before the evidence does".to_owned();
            hazards.push(Hazard { severity: Severity::Warning, key: key.to_owned(), what, mend });
        };
        let doubled = || self.outlook.harm.iter().filter(|harm| harm.regression == Regression::Times(2.0));
        let worst = doubled().filter_map(|harm| harm.harmed.map(|n| (n, harm))).max_by(|a, b| a.0.total_cmp(&b.0));
        if let (Some(allowed), Some((harmed, harm))) = (budget.harmed, worst)
            && harmed > allowed as f64
        {
            let metric = harm.metric.as_ref().map_or(String::new(), ToString::to_string);
            warn(
                "budget.harmed",
                format!(
                    "{metric} {} harms about {} sessions before it is found, more than the budget of {allowed}: the release pauses first",
                    harm.what,
                    number(harmed)
                ),
            );
        }
        let dearer = doubled().filter_map(|harm| harm.extra_usd).fold(0.0, f64::max);
        if let Some(allowed) = budget.extra_cost_usd
            && dearer > allowed
        {
            warn(
                "budget.extra_cost",
                format!(
                    "a canary that costs twice as much spends about ${} more before it is found, beyond the budget of ${}: the release pauses first",
                    number(dearer),
                    number(allowed)
                ),
            );
        }
    }

    fn tripwires(&self, hazards: &mut Vec<Hazard>) {
        for alarm in self.outlook.tripwires.iter().filter(|alarm| alarm.chance > ALARMING) {
            let what = format!(
                "{} by chance in {} of releases of a good canary",
                alarm.tripwire,
                percent(round(alarm.chance))
            );
            let mend = "raise `consecutive_failures`".to_owned();
            hazards.push(Hazard {
                severity: Severity::Warning,
                key: "tripwires.consecutive_failures".to_owned(),
                what,
                mend,
            });
        }
    }
}

/// What could decide what this traffic does not; empty where all can be decided.
pub(super) fn advice(seen: &Seen<'_>) -> Vec<String> {
    let late = seen.ahead.tracks.iter().zip(&seen.outlook.guardrails).filter(|(track, of)| {
        track.guardrail.role == Role::Guardrail
            && of.sampled > 0.0
            && (seen.is_late(of.proven.typical) || seen.is_late(of.found.typical))
    });
    let late: Vec<&Track<'_>> = late.map(|(track, _)| track).collect();
    let mut advice = Vec::new();
    if late.is_empty() {
        return advice;
    }
    longer(seen, &mut advice);
    for track in &late {
        advice.push(format!("{}: {}", track.guardrail.metric, options(seen, track).join("; ")));
    }
    sentinels(seen, &mut advice);
    advice
}

fn longer(seen: &Seen<'_>, advice: &mut Vec<String>) {
    let Some(typical) = seen.outlook.promotion.typical.filter(|at| *at > seen.outlook.max_duration) else { return };
    let slow = seen.outlook.promotion.slow.map_or("more than 90 days".to_owned(), |at| at.rounded());
    advice.push(format!(
        "longer: `max_duration` of {} typically, {slow} in nine runs of ten, proves all guardrails",
        typical.rounded()
    ));
}

fn options(seen: &Seen<'_>, track: &Track<'_>) -> Vec<String> {
    let half = seen.ahead.traffic.sessions_per_hour / 2.0;
    let even = [Flow { canary_per_hour: half, control_per_hour: half }];
    let wider = seen.even(&even);
    let mut options = Vec::new();
    let proven = within(&track.over(&wider, Asked::Promote, Regression::None)).typical;
    let found = within(&track.over(&wider, Asked::Rollback, Regression::Margin)).typical;
    options.push(format!("at `weight: 50%` proven in {}, found in {}", told(proven), told(found)));
    if let Some((factor, at)) = margin(seen, track) {
        let stated = match track.guardrail.metric.kind() {
            Kind::Rate | Kind::Score => format!("{}pp", number(100.0 * track.guardrail.promote.shift * factor)),
            Kind::Exceedance | Kind::Amount | Kind::Ratio => {
                format!("{}%", number(100.0 * (track.guardrail.promote.ratio - 1.0) * factor))
            }
        };
        options.push(format!("with `margin: {stated}` proven in {}", at.rounded()));
    }
    if seen.ahead.traffic.judged.contains_key(&track.guardrail.metric) {
        let mut traffic = seen.ahead.traffic.clone();
        traffic.judged.insert(track.guardrail.metric.clone(), Sampling::ALL);
        let all = Track { traffic: &traffic, ..*track };
        let proven = within(&all.over(seen.ahead.schedule, Asked::Promote, Regression::None)).typical;
        options.push(format!("with `sample: 100%` proven in {}", told(proven)));
    }
    if let Some(pairs) = pairs(seen, track) {
        options.push(pairs);
    }
    options
}

/// The narrowest of a few wider margins that is proven in time.
fn margin(seen: &Seen<'_>, track: &Track<'_>) -> Option<(f64, SpanMs)> {
    [1.5, 2.0, 3.0, 4.0, 6.0, 8.0].into_iter().find_map(|factor| {
        let own = track.guardrail.promote;
        let promote = Margin { ratio: 1.0 + (own.ratio - 1.0) * factor, shift: own.shift * factor };
        let guardrail = Guardrail { promote, ..track.guardrail.clone() };
        let wider = Track { guardrail: &guardrail, ..*track };
        let at = within(&wider.over(seen.ahead.schedule, Asked::Promote, Regression::None)).typical?;
        (promote.shift < 1.0 && at <= seen.outlook.max_duration).then_some((factor, at))
    })
}

/// The same request answered by both: the pairs that a proof and a sight need, were both arms' luck apart.
fn pairs(seen: &Seen<'_>, track: &Track<'_>) -> Option<String> {
    match track.guardrail.metric.kind() {
        Kind::Rate | Kind::Score => {}
        Kind::Exceedance | Kind::Amount | Kind::Ratio => return None,
    }
    let shift = |margin: Margin, stable: f64| (margin.shift + (margin.ratio - 1.0) * stable) / 2.0;
    let needed = |side: Side, margin: Margin, line: f64, regression: Regression| {
        let worse = regression.of(track.guardrail, margin, seen.ahead.traffic, track.yardstick);
        let (control, canary) = (worse.control, worse.canary);
        let (better, bad) = (control * (1.0 - canary), canary * (1.0 - control));
        let found = bets_alone(&bound(side, shift(margin, control)), &PREFERENCE, &[better, 1.0 - better - bad, bad]);
        let reach = |bet: &coalmine_stats::plan::Bet| units(bet.growth, (-line).exp(), bet.weight);
        found.ok().map(|bets| bets.iter().map(reach).fold(f64::INFINITY, f64::min)).filter(|n| n.is_finite())
    };
    let guardrail = track.guardrail;
    let proof = needed(Side::Promote, guardrail.promote, track.lines.promote, Regression::None)?;
    let sight =
        needed(Side::Rollback, guardrail.rollback, track.lines.rollback - track.lines.weight, Regression::Margin)?;
    let per_hour =
        seen.ahead.traffic.sessions_per_hour * seen.ahead.traffic.turns * seen.ahead.traffic.sampled(&guardrail.metric);
    let in_time = |n: f64| if per_hour > 0.0 { told(span(n / per_hour)) } else { "ever".to_owned() };
    Some(format!(
        "as shadow pairs proven with {} ({} if every request is shadowed), found with {}",
        number(proof),
        in_time(proof),
        number(sight)
    ))
}

fn sentinels(seen: &Seen<'_>, advice: &mut Vec<String>) {
    if seen.ahead.policy.sentinels.is_some() {
        return;
    }
    let share = seen.ahead.policy.false_rollback_rate * 0.1;
    let rounds = 2.0 * hours(seen.outlook.max_duration);
    if let Some(tries) = coalmine_stats::sentinel::tries(FLAKY, 20.0 * rounds, share) {
        advice.push(format!(
            "sentinels need no traffic: 20 known-answer prompts asked every half hour find an answer that the canary \
             always gets wrong in one round of {tries} tries (at a flakiness of 2 %)"
        ));
    }
}

impl Seen<'_> {
    /// One stage of everybody with these flows.
    fn even(&self, flows: &[Flow]) -> crate::forecast::schedule::Schedule {
        use crate::forecast::schedule::{Schedule, Slot};
        let slot = Slot {
            opens: SpanMs::ZERO,
            closes: self.outlook.max_duration,
            frozen: SpanMs::ZERO,
            flows: flows.to_vec(),
        };
        Schedule { stages: vec![slot] }
    }
}

/// A judge whose day would cost more than it may, or who would be asked more often.
pub(super) fn dear(asks: &Asks, judge: &str) -> Option<Hazard> {
    let (usd, bound) = asks.usd_per_day().zip(asks.usd_bound).filter(|(usd, bound)| usd > bound)?;
    let what = format!(
        "judge {judge} is to be asked {} times on its busiest day, for about ${}, and may cost ${}: after that there is no data \
         until 00:00 UTC, and the release waits",
        number(asks.per_day),
        number(usd),
        number(bound)
    );
    let mend = "raise `budget` of the judge, or lower `sample`".to_owned();
    Some(Hazard { severity: Severity::Warning, key: format!("judges.{judge}"), what, mend })
}

/// The path in the release file: guardrails and signals count apart.
fn path(guardrail: &Guardrail, index: usize, seen: &Seen<'_>) -> String {
    let is_signal = |guardrail: &Guardrail| guardrail.role == Role::Signal;
    let before =
        seen.ahead.tracks.iter().take(index).filter(|t| is_signal(t.guardrail) == is_signal(guardrail)).count();
    let list = if is_signal(guardrail) { "signals" } else { "guardrails" };
    format!("{list}[{before}]")
}

fn needs(at: Option<SpanMs>) -> String {
    at.map_or_else(|| "it needs more than 90 days".to_owned(), |at| format!("it needs {} typically", at.rounded()))
}

fn told(at: Option<SpanMs>) -> String {
    at.map_or_else(|| "more than 90 days".to_owned(), |at| at.rounded())
}

/// To whole percents.
fn round(share: f64) -> f64 {
    (share * 100.0).round() / 100.0
}
