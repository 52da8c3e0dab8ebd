//! Numbers as people read them in headlines, causes and notices.

use crate::analysis::Evidence;
use crate::metric::{Direction, Kind, Metric};

/// Evidence given as its logarithm, as a plain number: `312`, `4.1e9`, `10^812`.
#[must_use]
pub fn e_value(log: f64) -> String {
    if log.is_nan() {
        return "unknown".to_owned();
    }
    let log10 = log / std::f64::consts::LN_10;
    if log10 < -3.0 {
        "0".to_owned()
    } else if log10 < 5.0 {
        number(log.exp())
    } else if log10.is_infinite() {
        "infinite".to_owned()
    } else if log10 < 300.0 {
        format!("{:.1e}", log.exp())
    } else {
        format!("10^{log10:.0}")
    }
}

/// What somebody gave as the reason, behind what he did; nothing where he gave none.
#[must_use]
pub fn given(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(" ({reason})") }
}

/// A share as `2.5 %`.
#[must_use]
pub fn percent(share: f64) -> String {
    format!("{} %", number(share * 100.0))
}

/// `evidence 3.2 of 20`.
#[must_use]
pub fn against_line(evidence: Evidence) -> String {
    format!("evidence {} of {}", e_value(evidence.log), e_value(evidence.line))
}

/// Three significant digits without trailing zeros: `0.0312`, `4.2`, `1530`.
#[must_use]
pub fn number(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    #[expect(clippy::cast_possible_truncation, reason = "the exponent of a finite f64 is within ±324")]
    let exponent = value.abs().log10().floor() as i32;
    let decimals = usize::try_from(2 - exponent).unwrap_or(0).min(12);
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// An absolute limit as written in the release file; `badness` as the policy holds it.
#[must_use]
pub fn limit(metric: &Metric, badness: f64) -> String {
    let percent = |share: f64| format!("{} %", number(share * 100.0));
    match (metric, metric.kind(), metric.direction()) {
        (_, Kind::Rate | Kind::Score, Direction::HigherIsBetter) => format!("at least {}", percent(1.0 - badness)),
        (_, Kind::Rate | Kind::Score, Direction::LowerIsBetter) => format!("at most {}", percent(badness)),
        (_, Kind::Exceedance, _) => format!("at most {} ms", number(badness)),
        (Metric::CostPerSession, Kind::Amount, _) | (_, Kind::Ratio, _) => format!("at most ${}", number(badness)),
        (_, Kind::Amount, _) => format!("at most {}", number(badness)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_reads_as_a_plain_number() {
        let told: Vec<String> =
            [f64::NEG_INFINITY, -40.0, 0.0, 3.0, 9.3, 22.0, 2_000.0, f64::INFINITY, f64::NAN].map(e_value).into();
        assert_eq!(told, ["0", "0", "1", "20.1", "10938", "3.6e9", "10^869", "infinite", "unknown"]);
    }

    #[test]
    fn no_reason_is_told_as_none() {
        assert_eq!(["", "the fix is small"].map(given), ["", " (the fix is small)"]);
    }

    #[test]
    fn limits_read_as_they_are_written() {
        let told = |metric, bad| limit(&metric, bad);
        assert_eq!(told(Metric::ErrorRate, 0.02), "at most 2 %");
        assert_eq!(told(Metric::ToolCallValid, 0.05), "at least 95 %");
        assert_eq!(told(Metric::TtftP95, 1_500.0), "at most 1500 ms");
        assert_eq!(told(Metric::CostPerSession, 0.2), "at most $0.2");
    }

    #[test]
    fn numbers_keep_three_digits() {
        let told: Vec<String> = [0.0, 0.02, 0.031_26, 4.2, 40.0, 1_530.4, -0.5, 1e-9].map(number).into();
        assert_eq!(told, ["0", "0.02", "0.0313", "4.2", "40", "1530", "-0.5", "0.000000001"]);
    }
}
