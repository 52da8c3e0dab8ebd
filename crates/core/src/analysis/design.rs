//! What a guardrail's processes bet on, fixed before the first bucket.

use crate::evidence::Yardstick;
use crate::evidence::classes;
use crate::evidence::yardstick::CAP_MEANS;
use crate::metric::{Kind, Metric};
use crate::release::plan::Plan;
use crate::release::policy::{ControlArm, Guardrail, Margin};
use crate::traffic::weight::WeightBp;
use coalmine_stats::betting::{BadDesign, Design, Onset, Side};
use coalmine_stats::limit::Bound;
use coalmine_stats::plan::{Forecast, optimum};

/// What a plan says of the evidence to come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Planned {
    /// Canary units per control unit at the stage with the fewest.
    odds: f64,
    /// The same, per unit of a matched control.
    matched_odds: f64,
    /// Whether a fault may begin at a later stage.
    onset: Onset,
    ramp: bool,
}

impl Planned {
    pub(crate) fn of(plan: &Plan) -> Self {
        let shares = plan.stages.iter().map(|stage| stage.weight);
        let compared = shares.filter(|weight| *weight > WeightBp::ZERO && *weight < WeightBp::FULL);
        let least = compared.map(WeightBp::share).fold(f64::INFINITY, f64::min);
        let odds = if least.is_finite() { least / (1.0 - least) } else { 1.0 };
        let onset = if plan.stages.len() > 1 { Onset::StageRestarts } else { Onset::FromStart };
        let ramp = (0..plan.stages.len()).any(|stage| plan.ramp(stage).is_some());
        // As many, until the canary has more than half.
        let matched_odds = odds.max(1.0);
        Self { odds, matched_odds, onset, ramp }
    }

    fn odds(&self, control: ControlArm) -> f64 {
        match control {
            ControlArm::All => self.odds,
            ControlArm::Matched => self.matched_odds,
        }
    }

    /// Whether a ramp asks what is excluded.
    pub(super) fn has_ramp(&self) -> bool {
        self.ramp
    }

    pub(crate) fn onset(&self) -> Onset {
        self.onset
    }
}

/// The rollback process: "no worse than the rollback margin".
pub(crate) fn rollback(guardrail: &Guardrail, plan: &Planned, centre: f64) -> Design {
    let (ratio, shift) = null(&guardrail.metric, guardrail.rollback);
    Design {
        side: Side::Rollback,
        centre,
        ratio,
        shift,
        odds: plan.odds(guardrail.control),
        hint: None,
        onset: plan.onset,
    }
}

/// The promotion process: "not within the promotion margin". What it hopes for is known, no difference,
/// so half of its stake is on the bet that grows fastest then.
pub(crate) fn promote(guardrail: &Guardrail, plan: &Planned, centre: f64) -> Result<Design, BadDesign> {
    let (ratio, shift) = null(&guardrail.metric, guardrail.promote);
    let odds = plan.odds(guardrail.control);
    let design = Design { side: Side::Promote, centre, ratio, shift, odds, hint: None, onset: Onset::FromStart };
    let best = optimum(&design, &no_difference(guardrail, centre)?)?;
    let hint = (best.growth > 0.0).then(|| best.lambda.abs()).filter(|hint| hint.is_finite() && *hint > 0.0);
    Ok(Design { hint, ..design })
}

/// The limit process: "the canary is at most at its limit"; `None` without a limit.
pub(crate) fn limit(guardrail: &Guardrail, yardstick: &Yardstick) -> Option<Result<Bound, BadDesign>> {
    let limit = guardrail.limit?;
    let mean = match guardrail.metric.kind() {
        Kind::Rate | Kind::Score => limit,
        // The share beyond the limit's own threshold.
        Kind::Exceedance => 1.0 - guardrail.metric.quantile().unwrap_or(0.95),
        // The cost is no more than the limit for each.
        Kind::Ratio => 0.5,
        Kind::Amount => match yardstick.cap.get(&guardrail.metric) {
            Some(cap) => limit / cap,
            None => return Some(Err(BadDesign("the amount has no cap: stable's was never known"))),
        },
    };
    // At a mean of 1 nothing can exceed it: the cap of the amount lies below its limit.
    Some(Ok(Bound::at_most(mean.min(1.0))))
}

/// How far two halves of control may lie apart: as far as promotion tolerates. Customers differ, and what differs by
/// less than that decides nothing. Control's times are held against one threshold, so there half as many again.
pub(crate) fn halves(guardrail: &Guardrail) -> (f64, f64) {
    match guardrail.metric.kind() {
        Kind::Exceedance => (1.5, guardrail.promote.shift),
        // A session at stable's price costs an eighth of the cap, and numbers are a half of that.
        Kind::Ratio => (1.0, (guardrail.promote.ratio - 1.0) / (2.0 * CAP_MEANS)),
        Kind::Rate | Kind::Amount | Kind::Score => null(&guardrail.metric, guardrail.promote),
    }
}

/// How far one bucket's difference counts, where the bucket is the unit: it has to hold most healthy buckets.
pub(crate) fn clip(centre: f64) -> f64 {
    (0.5 * centre).max(0.05)
}

/// The null's ratio and shift. A quantile metric has its ratio in the canary's threshold already, a ratio in its price.
fn null(metric: &Metric, margin: Margin) -> (f64, f64) {
    match metric.kind() {
        Kind::Exceedance | Kind::Ratio => (1.0, margin.shift),
        Kind::Rate | Kind::Amount | Kind::Score => (margin.ratio, margin.shift),
    }
}

/// Both arms alike, as far as the centre tells.
fn no_difference(guardrail: &Guardrail, centre: f64) -> Result<Forecast, BadDesign> {
    match guardrail.metric.kind() {
        Kind::Rate | Kind::Score => Forecast::yes_no(centre, centre),
        // Beyond a wider threshold there are fewer: a tail of t⁻⁴ lies between a lognormal's and a light one.
        Kind::Exceedance => Forecast::yes_no(centre, centre * guardrail.promote.ratio.powi(-4)),
        Kind::Ratio => {
            let values = classes::values(Kind::Ratio);
            let lower = (guardrail.promote.ratio - 1.0) / (2.0 * CAP_MEANS);
            Forecast::new(values, &spread(values, 0.0), &spread(values, lower))
        }
        Kind::Amount => {
            let values = classes::values(Kind::Amount);
            let chances = exponential(values, centre);
            Forecast::new(values, &chances, &chances)
        }
    }
}

/// Chances per class of a ratio's number around one half: as far from it as an exponential cost is from its mean, and
/// `lower` by so much on the mean.
fn spread(values: &[f64], lower: f64) -> Vec<f64> {
    let reach = values.iter().position(|value| *value >= 0.5 + 1.0 / (2.0 * CAP_MEANS)).unwrap_or(values.len() - 1);
    let width = 2.0 * (values[reach] - 0.5);
    let upper = (0.5 - lower / width).clamp(0.0, 1.0);
    let mut chances = vec![0.0; values.len()];
    chances[reach] += upper;
    chances[values.len() - 1 - reach] += 1.0 - upper;
    chances
}

/// Chances per class of an exponential amount with this mean, cut at the cap.
fn exponential(values: &[f64], mean: f64) -> Vec<f64> {
    let beyond = |x: f64| (-x / mean).exp();
    let middle = |i: usize| f64::midpoint(values[i], values[i + 1]);
    let last = values.len() - 1;
    let mut chances: Vec<f64> = (0..=last)
        .map(|i| {
            let low = if i == 0 { 1.0 } else { beyond(middle(i - 1)) };
            let high = if i == last { 0.0 } else { beyond(middle(i)) };
            low - high
        })
        .collect();
    let sum: f64 = chances.iter().sum();
    chances.iter_mut().for_each(|chance| *chance /= sum);
    chances
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::sample::{guardrail, release};

    #[test]
    fn the_least_exposed_stage_sets_the_odds() {
        let plan = Planned::of(&release(500, Vec::new()).plan);
        assert!((plan.odds - 1.0 / 19.0).abs() < 1e-12);
        assert!((plan.odds(ControlArm::Matched) - 1.0).abs() < 1e-12, "one to one");
        assert_eq!(plan.onset, Onset::StageRestarts);
    }

    #[test]
    fn promotion_bets_on_no_difference() {
        let plan = Planned::of(&release(500, Vec::new()).plan);
        for metric in [Metric::ErrorRate, Metric::Feedback("ok".to_owned())] {
            let design = promote(&guardrail(metric, 0.01), &plan, 0.02).unwrap();
            assert!(design.hint.is_some_and(|hint| hint > 0.1), "{design:?}");
        }
        let nothing_tolerated = promote(&guardrail(Metric::ErrorRate, 0.0), &plan, 0.02).unwrap();
        assert_eq!(nothing_tolerated.hint, None, "no bet grows where nothing may be proven");
        for metric in [Metric::CostPerSession, Metric::TtftP95] {
            let mut cost = guardrail(metric, 0.0);
            cost.promote = Margin { ratio: 1.1, shift: 0.0 };
            assert!(promote(&cost, &plan, 0.05).unwrap().hint.is_some(), "{}", cost.metric);
        }
    }

    #[test]
    fn a_limit_is_tested_in_badness() {
        let limited = |metric, limit| Guardrail { limit: Some(limit), ..guardrail(metric, 0.01) };
        let yardstick = Yardstick { cap: [(Metric::CostPerSession, 2.0)].into(), ..Yardstick::default() };
        let mean = |guardrail: &Guardrail| limit(guardrail, &yardstick).unwrap().map(|bound| bound.mean);
        assert_eq!(mean(&limited(Metric::ErrorRate, 0.02)), Ok(0.02));
        assert_eq!(mean(&limited(Metric::CostPerSession, 0.5)), Ok(0.25));
        assert!(mean(&limited(Metric::OutputTokens, 0.5)).is_err());
        assert!((mean(&limited(Metric::TtftP95, 1_500.0)).unwrap() - 0.05).abs() < 1e-12);
        assert!(limit(&guardrail(Metric::ErrorRate, 0.01), &yardstick).is_none());
    }
}
