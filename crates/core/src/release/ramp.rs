//! A ramp: the weight rises as fast as what the evidence has not excluded can harm.
//!
//! With H bad sessions a minute allowed, V sessions of the route a minute, and U the worst excess that no
//! guardrail's evidence excludes now (1 while none is), a weight w harms at most w·U·V a minute; the ramp
//! takes the highest rung with w ≤ H / (U·V). The numbers are posted ones, so the next sessions' weight is
//! known before they come and the tests stay exact; the weight never falls.

use crate::release::forward;
use crate::release::look::Serving;
use crate::release::moves;
use crate::release::plan::Gate;
use crate::release::report::{Step, Waiting};
use crate::release::words::number;
use coalmine_stats::ramp::Ramp as Rule;

/// The highest rung that is allowed now, if it is above the one that is served and nothing is against it.
pub(super) fn climb(serving: &Serving<'_>) -> Option<Step> {
    let Serving { release, stage, entered_at, .. } = *serving;
    let (share, why) = allowed(serving)?;
    let rungs = release.plan.rungs(stage);
    let above = (stage + 1..=*rungs.end()).rev();
    let mut reached = above.filter(|rung| release.plan.stages[*rung].weight.share() <= share + EPSILON);
    let rung = reached.next()?;
    if !forward::against(serving).is_empty() {
        return None;
    }
    let headline = format!("the ramp rose to {}: {why}", moves::stage_of(release, rung));
    Some(moves::climb(release, rung, entered_at, headline))
}

/// What the next rung waits for.
pub(super) fn waits(serving: &Serving<'_>) -> Option<Waiting> {
    let next = serving.release.plan.stages.get(serving.stage + 1)?;
    match &next.gate {
        Gate::Ramp(_) => {}
        Gate::Automatic | Gate::Approval(_) => return None,
    }
    let why = allowed(serving).map_or_else(
        || "the route's traffic is not known yet".to_owned(),
        |(share, why)| format!("{why}, which allows {} %", number(100.0 * share)),
    );
    Some(Waiting::Ramp { why: format!("{}: {why}", next.weight) })
}

/// Rounding of a weight to basis points.
const EPSILON: f64 = 1e-9;

/// The share that the rule allows now, and from which numbers.
pub(crate) fn allowed(serving: &Serving<'_>) -> Option<(f64, String)> {
    let Serving { release, analysis, stage, .. } = *serving;
    let ramp = release.plan.ramp(stage)?;
    let climb = analysis.climb.as_ref()?;
    let rungs = release.plan.rungs(stage);
    let weight = |at: usize| release.plan.stages.get(at).map(|s| s.weight.share());
    let rule = Rule::new(ramp.harm_per_minute, weight(*rungs.start())?, weight(*rungs.end())?).ok()?;
    let share = rule.next(weight(stage)?, Some(climb.worst), climb.units_per_minute);
    let worst = match &climb.limited_by {
        Some(metric) if climb.worst < 1.0 => {
            format!("more than {} pp worse is excluded for every guardrail, {metric} last", number(100.0 * climb.worst))
        }
        Some(metric) => format!("nothing is excluded yet for {metric}"),
        None => "no guardrail says how bad it is".to_owned(),
    };
    let why = format!(
        "{worst}, at {} sessions a minute and {} harmed a minute borne",
        number(climb.units_per_minute),
        number(ramp.harm_per_minute)
    );
    Some((share, why))
}
