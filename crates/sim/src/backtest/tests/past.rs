//! The same on what a store keeps: sealed buckets made by hand.

use super::{HALF, policed};
use crate::backtest::{Case, Injection, Past, PastBench};
use coalmine_core::evidence::{SealedBucket, TwoArms, Yardstick, classes};
use coalmine_core::metric::{Kind, Metric, Number};
use coalmine_core::origin::Slice;
use coalmine_core::release::policy::Ages;
use coalmine_core::time::{SpanMs, UnixMs};
use coalmine_core::traffic::pin::Stratum;
use coalmine_core::traffic::weight::WeightBp;
use std::collections::BTreeMap;

fn arm(kind: Kind, good: u64, bad: u64) -> Vec<u64> {
    let mut counts = vec![0; classes::count(kind)];
    counts[0] = good;
    counts[classes::values(kind).len() - 1] = bad;
    counts
}

/// Buckets of a minute at half the traffic: 20 sessions of stable, and 20 of a canary with `bad` failures.
fn past(minutes: u64, bad: u64) -> Past {
    let mut sealed = Vec::new();
    for bucket in 0..minutes {
        for number in [Number::First, Number::Session] {
            let kind = Kind::Rate;
            let control = arm(kind, if bucket % 4 == 0 { 19 } else { 20 }, u64::from(bucket % 4 == 0));
            let arms = TwoArms { control, canary: arm(kind, 20 - bad, bad), ..TwoArms::default() };
            let metrics = BTreeMap::from([(Metric::ErrorRate, arms)]);
            sealed.push(SealedBucket { number, stratum: Stratum(0), slice: Slice::REST, bucket, own: None, metrics });
        }
    }
    let centre = BTreeMap::from([(Metric::ErrorRate, 0.0125)]);
    Past {
        created_at: UnixMs(1_767_571_200_000),
        started_at: UnixMs(1_767_571_200_000),
        bucket: SpanMs::minutes(1),
        ages: Ages::default(),
        weights: vec![WeightBp::new(5_000).unwrap()],
        yardstick: Yardstick { centre, ..Yardstick::default() },
        sealed,
    }
}

#[test]
fn what_the_release_showed_is_judged_by_another_policy() {
    let (bad, good) = (past(90, 4), past(90, 0));
    let bad = PastBench::new(policed(HALF), &bad).unwrap();
    assert_eq!(bad.left_out(), ["feedback.ok"]);
    let found = bad.run(&Case::Recorded, 50, 1, &|_| ()).unwrap();
    assert_eq!((found.runs.len(), found.rolled_back()), (1, 1), "one recording has one order");
    assert!(found.minutes_to_rollback().unwrap().median < 60.0);
    let good = PastBench::new(policed(HALF), &good).unwrap();
    assert_eq!(good.run(&Case::Recorded, 1, 1, &|_| ()).unwrap().rolled_back(), 0);
}

#[test]
fn stable_is_split_at_random_and_rarely_rolled_back() {
    let past = past(120, 4);
    let bench = PastBench::new(policed(HALF), &past).unwrap();
    assert_eq!(bench.control_sessions(), 120 * 20);
    let run = |seed| bench.run(&Case::SameVersion, 12, seed, &|_| ()).unwrap();
    let same = run(1);
    assert_eq!(same.rolled_back(), 0);
    assert_eq!(same, run(1));
    assert_ne!(same, run(2));
    for run in &same.runs {
        let all = run.canary_sessions + run.control_sessions;
        assert!(all <= 2_400 && run.canary_sessions.abs_diff(all / 2) < 120, "{run:?}");
    }
}

#[test]
fn an_injection_moves_the_classes_and_is_found() {
    let past = past(120, 0);
    let bench = PastBench::new(policed(HALF), &past).unwrap();
    let run = |change: &str| bench.run(&Case::Injected(Injection::parse(change).unwrap()), 8, 1, &|_| ());
    let bad = run("error_rate +20pp").unwrap();
    assert_eq!(bad.rolled_back(), 8);
    let harmed: f64 = bad.runs.iter().map(|run| run.harmed).sum();
    assert!(harmed > 8.0, "{harmed}");
    let refused = run("ttft x2").unwrap_err().to_string();
    assert!(refused.ends_with("not how late they were"), "{refused}");
    let unknown = run("refusal_rate +1pp").unwrap_err().to_string();
    assert!(unknown.ends_with("nothing of it is known"), "{unknown}");
}
