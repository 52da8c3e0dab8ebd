//! A metric's numbers as people read them, in its own direction and unit.

use crate::analysis::{ArmCounts, Evidence, Interval};
use crate::evidence::Yardstick;
use crate::metric::{Direction, Kind, Metric};
use crate::release::policy::Margin;
use crate::release::words::{against_line, number};

/// A share: `4.1 %`.
pub(super) fn percent(share: f64) -> String {
    format!("{} %", number(100.0 * share))
}

/// A count with its thousands apart: `15 430`.
pub(super) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// `n 812 / 15 430`: the canary first, as in every sentence.
pub(super) fn n(counts: ArmCounts) -> String {
    format!("n {} / {}", grouped(counts.canary), grouped(counts.control))
}

/// The metric's own value of a mean badness: a share, turned round where more is better, or an amount.
pub(super) fn own(metric: &Metric, badness: f64, yardstick: &Yardstick) -> Option<f64> {
    match (metric.kind(), metric.direction()) {
        (Kind::Amount, _) => yardstick.cap.get(metric).map(|cap| badness * cap),
        // Above or below what stable pays, per session.
        (Kind::Ratio, _) => yardstick.cap.get(metric).map(|cap| (badness - 0.5) * 2.0 * cap),
        (Kind::Rate | Kind::Score | Kind::Exceedance, Direction::HigherIsBetter) => Some(1.0 - badness),
        (Kind::Rate | Kind::Score | Kind::Exceedance, Direction::LowerIsBetter) => Some(badness),
    }
}

/// A metric's own value with its unit: `4.1 %`, `$0.0123`, `512 tokens`, `1240 ms`.
pub(super) fn value(metric: &Metric, own: f64) -> String {
    match (metric.kind(), metric) {
        (Kind::Exceedance, _) => format!("{} ms", number(own)),
        (Kind::Amount, Metric::CostPerSession) | (Kind::Ratio, _) => format!("${}", number(own)),
        (Kind::Amount, metric) => format!("{} {}", number(own), unit(metric)),
        (Kind::Rate | Kind::Score, _) => percent(own),
    }
}

/// The unit of an amount.
fn unit(metric: &Metric) -> &'static str {
    if *metric == Metric::CostPerSession {
        "USD"
    } else if *metric == Metric::ToolCalls {
        "calls"
    } else {
        "tokens"
    }
}

/// What a margin tolerates: `+0.5 pp`, `-1 pp`, `+10 %`; `None` when nothing.
pub(super) fn tolerated(metric: &Metric, margin: Margin) -> Option<String> {
    let sign = match metric.direction() {
        Direction::HigherIsBetter => "-",
        Direction::LowerIsBetter => "+",
    };
    let ratio = (margin.ratio > 1.0).then(|| format!("+{}", percent(margin.ratio - 1.0)));
    let shift = (margin.shift > 0.0).then(|| match metric.kind() {
        Kind::Amount => format!("{sign}{} of the cap", percent(margin.shift)),
        Kind::Rate | Kind::Score | Kind::Exceedance | Kind::Ratio => {
            format!("{sign}{} pp", number(100.0 * margin.shift))
        }
    });
    match (ratio, shift) {
        (None, None) => None,
        (Some(one), None) | (None, Some(one)) => Some(one),
        (Some(ratio), Some(shift)) => Some(format!("{ratio} {shift}")),
    }
}

/// How much worse the canary is: `worse by 2.1 pp (0.9 to 3.4)`, in points or in the amount's unit.
pub(super) fn worse_by(metric: &Metric, difference: Interval, yardstick: &Yardstick) -> Option<String> {
    let (scale, unit) = match (metric.kind(), metric) {
        (Kind::Amount, _) => (*yardstick.cap.get(metric)?, format!(" {}", unit(metric))),
        (Kind::Ratio, _) => (2.0 * yardstick.cap.get(metric)?, " USD a session at the tolerated price".to_owned()),
        (Kind::Rate | Kind::Score | Kind::Exceedance, _) => (100.0, " pp".to_owned()),
    };
    let sign = if difference.point < 0.0 { -1.0 } else { 1.0 };
    let word = if difference.point < 0.0 { "better" } else { "worse" };
    let (one, other) = (sign * difference.low * scale, sign * difference.high * scale);
    let (point, least, most) = (number((difference.point * scale).abs()), one.min(other), one.max(other));
    Some(format!("{word} by {point}{unit} ({} to {})", number(least), number(most)))
}

/// `evidence 3.2 of 20`.
pub(super) fn evidence(evidence: Evidence) -> String {
    against_line(evidence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_in_the_metrics_own_direction_and_unit() {
        let yardstick = Yardstick { cap: [(Metric::CostPerSession, 2.0)].into(), ..Yardstick::default() };
        let read = |metric: Metric, badness| own(&metric, badness, &yardstick).map(|own| value(&metric, own));
        assert_eq!(read(Metric::RefusalRate, 0.041).unwrap(), "4.1 %");
        assert_eq!(read(Metric::ToolCallValid, 0.02).unwrap(), "98 %");
        assert_eq!(read(Metric::CostPerSession, 0.01).unwrap(), "$0.02");
        assert_eq!(read(Metric::OutputTokens, 0.01), None, "no cap");
        assert_eq!(grouped(15_430), "15 430");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000_000), "1 000 000");
    }

    #[test]
    fn margins_read_as_they_were_written() {
        let told = |metric, ratio, shift| tolerated(&metric, Margin { ratio, shift });
        assert_eq!(told(Metric::ErrorRate, 1.0, 0.005).unwrap(), "+0.5 pp");
        assert_eq!(told(Metric::ToolCallValid, 1.0, 0.01).unwrap(), "-1 pp");
        assert_eq!(told(Metric::CostPerSession, 1.1, 0.0).unwrap(), "+10 %");
        assert_eq!(told(Metric::ErrorRate, 1.0, 0.0), None);
    }

    #[test]
    fn a_difference_says_which_way() {
        let told = |low, point, high| {
            worse_by(&Metric::ErrorRate, Interval { low, point, high }, &Yardstick::default()).unwrap()
        };
        assert_eq!(told(0.009, 0.021, 0.034), "worse by 2.1 pp (0.9 to 3.4)");
        assert_eq!(told(-0.02, -0.01, 0.005), "better by 1 pp (-0.5 to 2)");
    }
}
