//! How bad a canary could be: regressions by name, and what each makes of a metric.

use crate::evidence::Yardstick;
use crate::forecast::traffic::Traffic;
use crate::metric::{Direction, Kind, Metric};
use crate::release::defaults;
use crate::release::policy::{Guardrail, Margin};
use crate::release::words::number;
use serde::{Deserialize, Serialize};

/// A regression of one metric, from the first session on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Regression {
    /// None: the canary is as stable is.
    None,
    /// As large as the margin; where that is what rolls back when exceeded, as far beyond it again.
    Margin,
    /// So many times stable's badness, time or amount.
    Times(f64),
    /// Everything fails.
    Outage,
}

/// What a regression makes of a metric, in each arm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Worse {
    /// Control's mean badness (share beyond the threshold).
    pub(super) control: f64,
    /// The canary's, against the threshold of the process that is asked.
    pub(super) canary: f64,
    /// By how much amounts and times are multiplied.
    pub(super) factor: f64,
    /// The canary's share beyond stable's own threshold; its badness for a rate.
    pub(super) plain: f64,
}

/// The sizes that harm is told for.
pub(super) const LISTED: [Regression; 4] =
    [Regression::Times(1.5), Regression::Times(2.0), Regression::Times(4.0), Regression::Outage];

impl Regression {
    /// What it makes of the metric of `guardrail` where the canary's threshold is widened by `widened`.
    pub(super) fn of(self, guardrail: &Guardrail, widened: Margin, traffic: &Traffic, yardstick: &Yardstick) -> Worse {
        let metric = &guardrail.metric;
        match metric.kind() {
            Kind::Rate | Kind::Score => {
                let stable = traffic.badness(metric);
                let canary = match self {
                    Self::None => stable,
                    Self::Margin => stable * beyond(guardrail).ratio + beyond(guardrail).shift,
                    Self::Times(factor) => stable * factor,
                    Self::Outage => 1.0,
                };
                let canary = canary.clamp(0.0, 1.0);
                Worse { control: stable, canary, factor: 1.0, plain: canary }
            }
            Kind::Exceedance => {
                let factor = self.factor(guardrail);
                let tau = yardstick.tau_ms.get(metric).copied().unwrap_or(f64::INFINITY);
                let above = |threshold: f64| traffic.times(metric).share_above(threshold / factor);
                Worse {
                    control: 1.0 - metric.quantile().unwrap_or(0.95),
                    canary: above(tau * widened.ratio),
                    factor,
                    plain: above(tau),
                }
            }
            Kind::Ratio => {
                let factor = self.factor(guardrail);
                let mean = session_mean(traffic, yardstick, metric);
                let above = |price: f64| (0.5 + (factor - price) * mean).clamp(0.0, 1.0);
                Worse { control: 0.5, canary: above(widened.ratio), factor, plain: above(1.0) }
            }
            Kind::Amount => {
                let factor = self.factor(guardrail);
                let centre = yardstick.centre.get(metric).copied().unwrap_or(0.0);
                Worse { control: centre, canary: centre * factor, factor, plain: centre * factor }
            }
        }
    }

    /// In the metric's own words: `0.5 % to 1 %`, `+20 %`, `x2`.
    pub(super) fn says(self, guardrail: &Guardrail, traffic: &Traffic) -> String {
        let metric = &guardrail.metric;
        match metric.kind() {
            Kind::Rate | Kind::Score => {
                let worse = self.of(guardrail, Margin::NONE, traffic, &Yardstick::default());
                let own = |badness: f64| match metric.direction() {
                    Direction::LowerIsBetter => badness,
                    Direction::HigherIsBetter => 1.0 - badness,
                };
                let percent = |share: f64| number(100.0 * own(share));
                format!("{} → {} %", percent(worse.control), percent(worse.canary))
            }
            Kind::Exceedance | Kind::Amount | Kind::Ratio => match self {
                Self::None => "as stable".to_owned(),
                Self::Margin => format!("+{} %", number(100.0 * (self.factor(guardrail) - 1.0))),
                Self::Times(factor) => format!("x{}", number(factor)),
                Self::Outage => "x100".to_owned(),
            },
        }
    }

    fn factor(self, guardrail: &Guardrail) -> f64 {
        match self {
            Self::None => 1.0,
            Self::Margin => beyond(guardrail).ratio,
            Self::Times(factor) => factor,
            Self::Outage => 100.0,
        }
    }
}

/// Stable's mean cost of a session in a ratio's numbers, which span twice the cap.
pub(super) fn session_mean(traffic: &Traffic, yardstick: &Yardstick, metric: &Metric) -> f64 {
    let costs = traffic.summary.amounts.get(&Metric::CostPerSession);
    let mean = costs.map_or(0.0, |costs| costs.sum / costs.histogram.len().max(1) as f64);
    yardstick.cap.get(metric).map_or(0.0, |cap| mean / (2.0 * cap))
}

/// The margin as a regression to be seen; twice as much where it is itself the line that must be exceeded.
fn beyond(guardrail: &Guardrail) -> Margin {
    let own = guardrail.promote;
    let margin = if own == Margin::NONE { defaults::margin(&guardrail.metric) } else { own };
    let twice = |margin: f64, line: f64| if margin > line { margin } else { 2.0 * margin };
    Margin {
        ratio: 1.0 + twice(margin.ratio - 1.0, guardrail.rollback.ratio - 1.0),
        shift: twice(margin.shift, guardrail.rollback.shift),
    }
}
