//! The numbers of sessions to come, as chances per class: what a version with a known truth will show.

use crate::evidence::Yardstick;
use crate::evidence::classes;
use crate::evidence::summary::LogHistogram;
use crate::forecast::regression::{Worse, session_mean};
use crate::forecast::traffic::Traffic;
use crate::metric::{Kind, Metric, Number};

/// Turns beyond this are counted as so many.
const TURNS_MAX: usize = 64;

/// Chances per class of one number in both arms, and the share of the sessions that have it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Shapes {
    pub(super) control: Vec<f64>,
    pub(super) canary: Vec<f64>,
    pub(super) present: f64,
}

/// What both arms will show in `number`, with the canary as `worse` says.
pub(super) fn shapes(
    traffic: &Traffic,
    yardstick: &Yardstick,
    metric: &Metric,
    number: Number,
    worse: &Worse,
) -> Option<Shapes> {
    let sampled = traffic.present(metric);
    match metric.kind() {
        Kind::Rate | Kind::Exceedance => {
            let (turns, present) = match number {
                Number::First => (1.0, sampled),
                Number::Session | Number::Whole if metric.is_of_session() => (1.0, sampled),
                Number::Session | Number::Whole => readable(traffic.turns, sampled),
            };
            let shape = |p: f64| session(metric.kind(), p, turns, traffic.cluster);
            Some(Shapes { control: shape(worse.control), canary: shape(worse.canary), present })
        }
        Kind::Score => {
            let shape = |p: f64| session(Kind::Score, p, 1.0, 1.0);
            Some(Shapes { control: shape(worse.control), canary: shape(worse.canary), present: sampled })
        }
        Kind::Ratio => {
            let cap = *yardstick.cap.get(metric)?;
            let seen = &traffic.summary.amounts.get(&Metric::CostPerSession)?.histogram;
            let mean = session_mean(traffic, yardstick, metric);
            let paid = |worse: f64| mean + (0.5 - worse);
            Some(Shapes {
                control: nets(seen, cap, 1.0, mean),
                canary: nets(seen, cap, worse.factor, paid(worse.canary) + mean * (worse.factor - 1.0)),
                present: sampled,
            })
        }
        Kind::Amount => {
            let cap = *yardstick.cap.get(metric)?;
            let seen = &traffic.summary.amounts.get(metric)?.histogram;
            Some(Shapes {
                control: amounts(seen, cap, 1.0),
                canary: amounts(seen, cap, worse.factor),
                present: sampled,
            })
        }
    }
}

/// Chances per class of a mean over the turns of a session, each bad with chance `p`: in a share `cluster`
/// of the sessions all alike, else each by itself. The number of turns is geometric.
pub(super) fn session(kind: Kind, p: f64, turns: f64, cluster: f64) -> Vec<f64> {
    let p = p.clamp(0.0, 1.0);
    let values = classes::values(kind);
    let mut chances = vec![0.0; values.len()];
    let alike = if turns > 1.0 { cluster } else { 1.0 };
    add(&mut chances, values, 0.0, alike * (1.0 - p));
    add(&mut chances, values, 1.0, alike * p);
    if alike < 1.0 {
        for (k, chance) in geometric(turns) {
            for (bad, share) in binomial(k, p) {
                add(&mut chances, values, bad as f64 / k as f64, (1.0 - alike) * chance * share);
            }
        }
    }
    chances
}

/// The chance that a session has at least one bad turn that the other arm's would not have been, where the
/// turns' chances differ by `more`.
pub(super) fn any_bad(more: f64, turns: f64, cluster: f64) -> f64 {
    let more = more.clamp(0.0, 1.0);
    let apart: f64 = geometric(turns).map(|(k, chance)| chance * (1.0 - (1.0 - more).powi(k as i32))).sum();
    if turns > 1.0 { cluster * more + (1.0 - cluster) * apart } else { more }
}

/// Turns that can be read of a session that has any, and the share of the sessions that do.
fn readable(turns: f64, sampled: f64) -> (f64, f64) {
    if sampled >= 1.0 {
        return (turns, 1.0);
    }
    if sampled <= 0.0 {
        return (1.0, 0.0);
    }
    let none: f64 = geometric(turns).map(|(k, chance)| chance * (1.0 - sampled).powi(k as i32)).sum();
    let present = (1.0 - none).max(f64::EPSILON);
    ((turns * sampled / present).max(1.0), present)
}

/// How many of a session's first `most` turns there are, on average.
pub(super) fn first_turns(mean: f64, most: u32) -> f64 {
    let most = f64::from(most.max(1));
    geometric(mean).map(|(k, chance)| chance * (k as f64).min(most)).sum()
}

/// Chances of 1, 2, … turns with this mean; the last takes the rest.
fn geometric(mean: f64) -> impl Iterator<Item = (usize, f64)> {
    let stop = 1.0 / mean.max(1.0);
    (1..=TURNS_MAX).map(move |k| {
        let going = (1.0 - stop).powi(k as i32 - 1);
        (k, if k == TURNS_MAX { going } else { going * stop })
    })
}

/// Chances of 0, 1, … of `k`.
fn binomial(k: usize, p: f64) -> impl Iterator<Item = (usize, f64)> {
    let mut ways = 1.0;
    (0..=k).map(move |bad| {
        if bad > 0 {
            ways *= (k - bad + 1) as f64 / bad as f64;
        }
        (bad, ways * p.powi(bad as i32) * (1.0 - p).powi((k - bad) as i32))
    })
}

/// Chances per class of amounts that are `factor` times what was seen, cut at the cap.
fn amounts(seen: &LogHistogram, cap: f64, factor: f64) -> Vec<f64> {
    let values = classes::values(Kind::Amount);
    let mut chances = vec![0.0; values.len()];
    let all = seen.len().max(1) as f64;
    add(&mut chances, values, 0.0, seen.zeros as f64 / all);
    for (amount, count) in seen.middles() {
        add(&mut chances, values, (factor * amount / cap).min(1.0), count as f64 / all);
    }
    chances
}

/// Chances per class of a ratio's numbers: costs that are `factor` times what was seen, less what is `paid` for the usual
/// number of tasks or requests. How these vary beside the cost nobody knows before.
fn nets(seen: &LogHistogram, cap: f64, factor: f64, paid: f64) -> Vec<f64> {
    let values = classes::values(Kind::Ratio);
    let mut chances = vec![0.0; values.len()];
    let all = seen.len().max(1) as f64;
    let at = |cost: f64| (0.5 + factor * cost / (2.0 * cap) - paid).clamp(0.0, 1.0);
    add(&mut chances, values, at(0.0), seen.zeros as f64 / all);
    for (cost, count) in seen.middles() {
        add(&mut chances, values, at(cost), count as f64 / all);
    }
    chances
}

/// Adds a chance at `x`, divided between the two nearest classes so that the mean is kept.
fn add(chances: &mut [f64], values: &[f64], x: f64, chance: f64) {
    let above = values.partition_point(|value| *value < x).min(values.len() - 1);
    let below = above.saturating_sub(1);
    let width = values[above] - values[below];
    let upper = if above == below || width <= 0.0 { 1.0 } else { ((x - values[below]) / width).clamp(0.0, 1.0) };
    chances[above] += chance * upper;
    if above != below {
        chances[below] += chance * (1.0 - upper);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mean(values: &[f64], chances: &[f64]) -> f64 {
        values.iter().zip(chances).map(|(x, p)| x * p).sum()
    }

    proptest! {
        #[test]
        fn a_session_keeps_its_turns_mean(p in 0.0..=1.0_f64, turns in 1.0..20.0_f64, cluster in 0.0..=1.0_f64) {
            let chances = session(Kind::Rate, p, turns, cluster);
            prop_assert!((chances.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            prop_assert!((mean(classes::values(Kind::Rate), &chances) - p).abs() < 1e-9);
        }

        #[test]
        fn harm_is_between_a_turn_and_all_turns(more in 0.0..=1.0_f64, turns in 1.0..20.0_f64) {
            let any = any_bad(more, turns, 0.3);
            prop_assert!(any >= more - 1e-9 && any <= (more * turns).min(1.0) + 1e-9);
        }
    }

    #[test]
    fn the_first_turns_are_those_that_there_are() {
        assert!((first_turns(4.0, 1) - 1.0).abs() < 1e-9);
        assert!((first_turns(4.0, 2) - 1.75).abs() < 1e-9, "three of four sessions have a second");
        assert!((first_turns(1.0, 9) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn dearer_sessions_have_a_higher_mean() {
        let mut seen = LogHistogram::default();
        (1..=1_000).for_each(|i| seen.add(f64::from(i) / 1_000.0));
        let values = classes::values(Kind::Amount);
        let (one, dear) = (mean(values, &amounts(&seen, 4.0, 1.0)), mean(values, &amounts(&seen, 4.0, 1.5)));
        assert!((one - 0.125).abs() < 0.003, "{one}");
        assert!((dear / one - 1.5).abs() < 0.01, "{dear}");
    }

    #[test]
    fn a_metric_of_few_requests_is_read_of_some_sessions() {
        let (turns, present) = readable(4.0, 0.3);
        assert!((0.5..0.8).contains(&present) && (1.5..2.5).contains(&turns), "{turns} {present}");
        assert_eq!(readable(4.0, 1.0), (4.0, 1.0));
        assert_eq!(readable(4.0, 0.0), (1.0, 0.0));
    }
}
