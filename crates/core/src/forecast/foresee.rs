//! The forecast itself, part by part.

use crate::analysis::alpha::{Alpha, shares};
use crate::analysis::design::Planned;
use crate::analysis::gauging::Line;
use crate::evidence::yardstick::watched;
use crate::forecast::course::{Asked, Course, Track};
use crate::forecast::hazard::{self, Seen};
use crate::forecast::regression::{LISTED, Regression};
use crate::forecast::schedule::{Flow, Schedule, Slot, hours, span};
use crate::forecast::shadow;
use crate::forecast::shape::{any_bad, first_turns};
use crate::forecast::traffic::Traffic;
use crate::forecast::{
    Asks, FalseAlarm, GuardrailOutlook, Harm, JudgedOutlook, Outlook, Sight, StageOutlook, TrafficSeen, Within,
};
use crate::metric::{Kind, Metric};
use crate::release::plan::Plan;
use crate::release::policy::{Margin, Policy, Role, Tripwire};
use crate::time::{SpanMs, UnixMs};

/// Typically: every second run.
pub(super) const TYPICAL: f64 = 0.5;
const SLOW: f64 = 0.9;

/// Looks ahead from a start at `now`, in the `attempt`-th attempt of the canary, counted from 0.
#[must_use]
pub fn foresee(plan: &Plan, policy: &Policy, traffic: &Traffic, attempt: u32, now: UnixMs) -> Outlook {
    // A ramp is foreseen at its floor: how fast it climbs is not known before its numbers are.
    let plan = &plan.unclimbed();
    let metrics = watched(policy);
    let traffic = traffic.clone().with_judges(policy).with_scores(metrics.iter());
    let yardstick = traffic.yardstick(&metrics);
    let schedule = Schedule::of(plan, policy, &traffic, now);
    let alpha = Alpha::of(policy, attempt);
    let planned = Planned::of(plan);
    let tracks: Vec<Track<'_>> = policy
        .guardrails
        .iter()
        .map(|guardrail| Track {
            guardrail,
            policy,
            planned,
            lines: Line::of(guardrail, &alpha, policy),
            traffic: &traffic,
            yardstick: &yardstick,
        })
        .collect();
    let ahead = Ahead { plan, policy, traffic: &traffic, schedule: &schedule, tracks: &tracks };
    let guardrails: Vec<GuardrailOutlook> = tracks.iter().map(|track| ahead.guardrail(track)).collect();
    let mut outlook = Outlook {
        traffic: seen(&traffic, plan),
        shadow: policy.shadow.as_ref().map(|shadow| shadow::lasts(shadow, policy, &traffic)),
        paired: shadow::paired(policy, &traffic, attempt),
        stages: ahead.stages(),
        promotion: ahead.promotion(&guardrails),
        guardrails,
        max_duration: policy.max_duration,
        harm: ahead.harm(),
        causes: shares(policy, attempt),
        tripwires: ahead.tripwires(),
        hazards: Vec::new(),
        advice: Vec::new(),
    };
    let seen = Seen { ahead: &ahead, outlook: &outlook };
    let (hazards, advice) = (hazard::hazards(&seen), hazard::advice(&seen));
    (outlook.hazards, outlook.advice) = (hazards, advice);
    outlook
}

/// All that a part of the forecast reads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ahead<'a> {
    pub(super) plan: &'a Plan,
    pub(super) policy: &'a Policy,
    pub(super) traffic: &'a Traffic,
    pub(super) schedule: &'a Schedule,
    pub(super) tracks: &'a [Track<'a>],
}

impl Ahead<'_> {
    fn guardrail(&self, track: &Track<'_>) -> GuardrailOutlook {
        let metric = &track.guardrail.metric;
        let rollback = track.over(self.schedule, Asked::Rollback, Regression::Margin);
        let promote = track.over(self.schedule, Asked::Promote, Regression::None);
        GuardrailOutlook {
            metric: metric.clone(),
            role: track.guardrail.role,
            sampled: self.traffic.sampled(metric),
            regression: Regression::Margin.says(track.guardrail, self.traffic),
            found: within(&rollback),
            found_sessions: known(&rollback),
            proven: within(&promote),
            proven_sessions: known(&promote),
            proven_by_max: promote.chance_by(hours(self.policy.max_duration)),
            judged: self.judged(metric),
        }
    }

    fn judged(&self, metric: &Metric) -> Option<JudgedOutlook> {
        let judge = self.policy.judge(metric.judge()?)?;
        let (sampling, present) = (self.traffic.judged.get(metric)?, self.traffic.present(metric));
        let seen = |slot: &Slot| {
            let flow = Flow { canary_per_hour: slot.canary_per_hour(), control_per_hour: slot.control_per_hour() };
            let Flow { canary_per_hour, control_per_hour } = flow.judged(*sampling);
            (present * control_per_hour, present * canary_per_hour, slot.hours())
        };
        let stages: Vec<(f64, f64, f64)> = self.schedule.stages.iter().map(seen).collect();
        let busiest = stages.iter().map(|(control, canary, _)| control + canary).fold(0.0, f64::max);
        let answers = 24.0 * busiest * first_turns(self.traffic.turns, judge.turns);
        Some(JudgedOutlook {
            control_sessions: stages.iter().map(|(control, _, hours)| control * hours).sum(),
            canary_sessions: stages.iter().map(|(_, canary, hours)| canary * hours).sum(),
            answers_per_day: answers,
            calls_per_day: judge.calls_per_day,
            asks: Asks {
                per_day: answers,
                usd_each: None,
                usd_bound: judge.usd_per_day,
                calls_bound: judge.calls_per_day,
            },
        })
    }

    fn stages(&self) -> Vec<StageOutlook> {
        let found: Vec<Course> =
            self.tracks.iter().map(|track| track.over(self.schedule, Asked::Rollback, Regression::Margin)).collect();
        let stages = self.plan.stages.iter().zip(&self.schedule.stages).enumerate();
        stages
            .map(|(index, (stage, slot))| StageOutlook {
                label: stage.label(),
                opens: slot.opens,
                closes: slot.closes,
                bake: stage.bake,
                canary_per_hour: slot.canary_per_hour(),
                control_per_hour: slot.control_per_hour(),
                canary_sessions: slot.canary_per_hour() * slot.hours(),
                sights: self
                    .tracks
                    .iter()
                    .zip(&found)
                    .map(|(track, found)| Sight {
                        metric: track.guardrail.metric.clone(),
                        bake: within(&track.within(&slot.flows, index, Regression::Margin)),
                        found_by_end: found.chance_by(hours(slot.closes)),
                    })
                    .collect(),
            })
            .collect()
    }

    /// The last proof, once the last stage has baked.
    fn promotion(&self, guardrails: &[GuardrailOutlook]) -> Within {
        let baked = self.schedule.baked();
        let proving = || guardrails.iter().filter(|g| g.role == Role::Guardrail && g.sampled > 0.0);
        let last = |of: fn(&Within) -> Option<SpanMs>| {
            proving().map(|g| of(&g.proven)).try_fold(baked, |last, proven| Some(last.max(proven?)))
        };
        Within { typical: last(|w| w.typical), slow: last(|w| w.slow) }
    }

    fn harm(&self) -> Vec<Harm> {
        let deciding = || self.tracks.iter().filter(|t| t.guardrail.role == Role::Guardrail);
        let mut harm: Vec<Harm> = deciding()
            .filter(|track| self.traffic.sampled(&track.guardrail.metric) > 0.0)
            .flat_map(|track| LISTED.iter().filter(|r| **r != Regression::Outage).map(|r| self.harm_of(track, *r)))
            .collect();
        harm.push(self.outage());
        harm
    }

    fn harm_of(&self, track: &Track<'_>, regression: Regression) -> Harm {
        let guardrail = track.guardrail;
        let found = within(&track.over(self.schedule, Asked::Rollback, regression));
        let exposed = found.typical.map(|at| self.schedule.exposed_by(hours(at)));
        let worse = regression.of(guardrail, Margin::NONE, self.traffic, track.yardstick);
        let turns = match guardrail.metric.kind() {
            Kind::Score => 1.0,
            Kind::Rate if guardrail.metric.is_of_session() => 1.0,
            Kind::Rate | Kind::Exceedance | Kind::Amount | Kind::Ratio => self.traffic.turns,
        };
        let each = any_bad(worse.plain - worse.control, turns, self.traffic.cluster);
        let cap = track.yardstick.cap.get(&guardrail.metric).copied().unwrap_or(0.0);
        let usd = (guardrail.metric == Metric::CostPerSession).then_some(cap * (worse.plain - worse.control));
        Harm {
            metric: Some(guardrail.metric.clone()),
            regression,
            what: regression.says(guardrail, self.traffic),
            found,
            exposed,
            harmed: (!matches!(guardrail.metric.kind(), Kind::Amount | Kind::Ratio))
                .then(|| exposed.map(|n| n * each))
                .flatten(),
            extra_usd: usd.zip(exposed).map(|(usd, n)| usd * n),
        }
    }

    /// Every request of the canary fails: whichever is first, a tripwire or the error rate.
    fn outage(&self) -> Harm {
        let per_hour = self.schedule.stages.first().map_or(0.0, |slot| slot.canary_per_hour());
        let failures = self.policy.tripwires.iter().map(|tripwire| match tripwire {
            Tripwire::ConsecutiveFailures(bound) => f64::from(*bound),
        });
        let failing = failures.fold(f64::INFINITY, f64::min);
        // Sessions fail at their first request, so as many sessions as requests are needed.
        let tripped = if per_hour > 0.0 { failing / per_hour } else { f64::INFINITY };
        let errors =
            self.tracks.iter().find(|t| t.guardrail.metric == Metric::ErrorRate && t.guardrail.role == Role::Guardrail);
        let proven = errors.map(|track| within(&track.over(self.schedule, Asked::Rollback, Regression::Outage)));
        let first = |proven: Option<SpanMs>| [proven, span(tripped)].into_iter().flatten().min();
        let found = Within { typical: first(proven.and_then(|p| p.typical)), slow: first(proven.and_then(|p| p.slow)) };
        let exposed = found.typical.map(|at| self.schedule.exposed_by(hours(at)));
        Harm {
            metric: None,
            regression: Regression::Outage,
            what: "every request fails".to_owned(),
            found,
            exposed,
            harmed: exposed,
            extra_usd: None,
        }
    }

    fn tripwires(&self) -> Vec<FalseAlarm> {
        let sessions = self.schedule.exposed_by(hours(self.policy.max_duration));
        let failing = self.traffic.badness(&Metric::ErrorRate);
        let of = |tripwire: &Tripwire| FalseAlarm {
            tripwire: tripwire.describe(),
            chance: tripwire.false_alarm(failing, sessions * self.traffic.turns),
        };
        self.policy.tripwires.iter().map(of).collect()
    }
}

fn seen(traffic: &Traffic, plan: &Plan) -> TrafficSeen {
    let mut assumed = traffic.assumed.clone();
    let named = plan.stages.iter().filter_map(|stage| match &stage.cohort {
        crate::cohort::Cohort::All => None,
        crate::cohort::Cohort::Named { name, .. } => Some(name),
    });
    for name in named {
        if traffic.cohort(name).is_none() {
            let text = format!(
                "the cohort `{name}` brings {:.0} % of the sessions (--cohort '{name}=SHARE')",
                100.0 * super::traffic::usual_cohort()
            );
            if !assumed.contains(&text) {
                assumed.push(text);
            }
        }
    }
    TrafficSeen { sessions_per_hour: traffic.sessions_per_hour, turns: traffic.turns, origin: traffic.origin, assumed }
}

pub(super) fn within(course: &Course) -> Within {
    Within { typical: span(course.time_of(TYPICAL)), slow: span(course.time_of(SLOW)) }
}

fn known(course: &Course) -> Option<f64> {
    let at = course.time_of(TYPICAL);
    at.is_finite().then(|| course.known_by(at)).filter(|n| n.is_finite())
}
