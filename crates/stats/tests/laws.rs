//! Laws of the two-sample bet: exact expectations by enumeration, and properties over random tables.

#![expect(clippy::unwrap_used, reason = "tests")]

use coalmine_stats::betting::{Bucket, Design, EProcess, Onset, Side, stage_mass};
use proptest::prelude::*;

const YES_NO: [f64; 2] = [0.0, 1.0];

/// The chance of `k` bad among `n` at rate `p`.
fn chance(n: u64, k: u64, p: f64) -> f64 {
    let choose: f64 = (0..k).map(|i| (n - i) as f64 / (i + 1) as f64).product();
    choose * p.powi(i32::try_from(k).unwrap()) * (1.0 - p).powi(i32::try_from(n - k).unwrap())
}

/// E[e] of one bucket over all outcomes of n control and n canary units with the given rates, through `value`.
fn expectation(n: (u64, u64), rates: (f64, f64), value: impl Fn(&Bucket<'_>) -> f64) -> f64 {
    let mut sum = 0.0;
    for bad_control in 0..=n.0 {
        for bad_canary in 0..=n.1 {
            let (control, canary) = ([n.0 - bad_control, bad_control], [n.1 - bad_canary, bad_canary]);
            let weight = chance(n.0, bad_control, rates.0) * chance(n.1, bad_canary, rates.1);
            sum += weight * value(&Bucket { values: &YES_NO, control: &control, canary: &canary });
        }
    }
    sum
}

/// The largest canary rate (rollback) or smallest (promote) that the null allows at this control rate, if there is
/// one.
fn edge_of_null(side: Side, control: f64, ratio: f64, shift: f64) -> Option<f64> {
    let edge = ratio * control + shift;
    match side {
        Side::Rollback => Some(edge.min(1.0)).filter(|edge| *edge >= 0.0),
        Side::Promote => Some(edge.max(0.0)).filter(|edge| *edge <= 1.0),
    }
}

#[test]
fn expectation_under_the_null_is_at_most_one() {
    let mut cases = 0u32;
    let mut worst: f64 = 0.0;
    for side in [Side::Rollback, Side::Promote] {
        for (ratio, shift) in [(1.0, 0.0), (1.0, 0.05), (1.5, 0.0), (1.25, 0.02)] {
            for centre in [0.02, 0.1, 0.5] {
                for odds in [1.0 / 19.0, 1.0, 3.0] {
                    let design =
                        Design { side, centre, ratio, shift, odds, hint: Some(1.7), onset: Onset::StageRestarts };
                    for n in (1..=6).flat_map(|a| (1..=6).map(move |b| (a, b))) {
                        for control in [0.001, 0.05, 0.2, 0.5, 0.8, 0.95] {
                            let Some(canary) = edge_of_null(side, control, ratio, shift) else { continue };
                            let got = expectation(n, (control, canary), |bucket| {
                                let mut process = EProcess::new(design.clone()).unwrap();
                                process.restart(stage_mass(1));
                                process.seal(bucket).unwrap();
                                process.log_e().exp()
                            });
                            assert!(got <= 1.0 + 1e-12, "{got} for {design:?} {n:?} {control} {canary}");
                            (cases, worst) = (cases + 1, worst.max(got));
                        }
                    }
                }
            }
        }
    }
    assert!(cases > 12_000, "{cases}");
    assert!(worst > 0.99, "the null's edge is reached somewhere, or the test is blind: {worst}");
}

/// The test above could fail: one step outside the null, the expectation exceeds 1.
#[test]
fn expectation_outside_the_null_exceeds_one() {
    let design = Design {
        side: Side::Rollback,
        centre: 0.1,
        ratio: 1.0,
        shift: 0.0,
        odds: 1.0,
        hint: None,
        onset: Onset::FromStart,
    };
    let got = expectation((6, 6), (0.1, 0.2), |bucket| {
        let mut process = EProcess::new(design.clone()).unwrap();
        process.seal(bucket).unwrap();
        process.log_e().exp()
    });
    assert!(got > 1.0, "{got}");
}

type Table = ([u64; 4], [u64; 4]);

const VALUES: [f64; 4] = [0.0, 0.2, 0.5, 1.0];

fn tables() -> impl Strategy<Value = Vec<Table>> {
    let arm = |most: u64| [1..most, 0..most, 0..most / 3, 0..most / 5];
    prop::collection::vec((arm(200), arm(30)), 1..20)
}

/// Six buckets as two to four nodes saw them.
fn nodes() -> impl Strategy<Value = Vec<Vec<Table>>> {
    let table = (prop::array::uniform4(0u64..50), prop::array::uniform4(0u64..9));
    prop::collection::vec(prop::collection::vec(table, 6), 2..5)
}

fn designs() -> impl Strategy<Value = Design> {
    let numbers = (0.01f64..0.9, 1.0f64..1.5, -0.1f64..0.3, 0.05f64..2.0, prop::option::of(0.1f64..10.0));
    (numbers, any::<bool>(), any::<bool>()).prop_map(|((centre, ratio, shift, odds, hint), promote, late)| Design {
        side: if promote { Side::Promote } else { Side::Rollback },
        centre,
        ratio,
        shift,
        odds,
        hint,
        onset: if late { Onset::StageRestarts } else { Onset::FromStart },
    })
}

fn run(design: &Design, tables: &[Table], values: &[f64]) -> EProcess {
    let mut process = EProcess::new(design.clone()).unwrap();
    for (t, (control, canary)) in tables.iter().enumerate() {
        if t % 5 == 0 {
            process.restart(stage_mass(u32::try_from(t / 5).unwrap() + 1));
        }
        process.seal(&Bucket { values, control, canary }).unwrap();
    }
    process
}

proptest! {
    /// Nodes may report in any order: their counts add, and the sums give the same evidence to the bit.
    #[test]
    fn evidence_does_not_depend_on_the_order_of_nodes(
        design in designs(), nodes in nodes(),
    ) {
        let merge = |order: &mut dyn Iterator<Item = &Vec<Table>>| {
            let mut sums: Vec<Table> = vec![([1; 4], [1; 4]); 6];
            for node in order {
                for (sum, part) in sums.iter_mut().zip(node) {
                    for class in 0..4 {
                        sum.0[class] += part.0[class];
                        sum.1[class] += part.1[class];
                    }
                }
            }
            run(&design, &sums, &VALUES)
        };
        let forward = merge(&mut nodes.iter());
        let backward = merge(&mut nodes.iter().rev());
        prop_assert_eq!(forward.log_e().to_bits(), backward.log_e().to_bits());
        prop_assert_eq!(forward, backward);
    }

    /// A wider margin is harder to prove exceeded, and easier to prove kept; the grid is fixed by a hint-free design
    /// at one λ.
    #[test]
    fn a_wider_margin_weakens_rollback_and_strengthens_promotion(
        tables in tables(), centre in 0.05f64..0.5, narrow in 0.0f64..0.2, more in 0.0f64..0.2, size in 0.01f64..1.0,
    ) {
        let sum = |side: Side, shift: f64| -> f64 {
            let sign = match side { Side::Rollback => 1.0, Side::Promote => -1.0 };
            let design = Design { side, centre, ratio: 1.0, shift, odds: 1.0, hint: None, onset: Onset::FromStart };
            // A bet that no odds of these tables can lose everything by.
            let lambda = sign * 0.02 * size;
            tables
                .iter()
                .map(|(control, canary)| {
                    design.log_factor(&Bucket { values: &VALUES, control, canary }, lambda).unwrap()
                })
                .sum()
        };
        prop_assert!(sum(Side::Rollback, narrow + more) <= sum(Side::Rollback, narrow) + 1e-12);
        prop_assert!(sum(Side::Promote, narrow + more) + 1e-12 >= sum(Side::Promote, narrow));
    }

    /// A bucket without units says nothing: it is refused, and the evidence is as before.
    #[test]
    fn an_empty_bucket_has_no_effect(design in designs(), tables in tables(), canary_only: bool) {
        let mut process = run(&design, &tables, &VALUES);
        let before = process.clone();
        let some = [3, 0, 0, 1];
        let (control, canary) = if canary_only { ([0; 4], some) } else { ([0; 4], [0; 4]) };
        for (control, canary) in [(control, canary), (some, [0; 4])] {
            let sealed = process.seal(&Bucket { values: &VALUES, control: &control, canary: &canary });
            prop_assert!(sealed.is_err());
        }
        prop_assert_eq!(process, before);
    }

    /// Without a ratio, calling good bad and betting the other way is the same bet.
    #[test]
    fn good_and_bad_are_symmetric(design in designs(), tables in tables()) {
        let design = Design { ratio: 1.0, ..design };
        let other = match design.side { Side::Rollback => Side::Promote, Side::Promote => Side::Rollback };
        let mirrored = Design { side: other, centre: 1.0 - design.centre, shift: -design.shift, ..design.clone() };
        let flipped = VALUES.map(|x| 1.0 - x);
        let (one, two) = (run(&design, &tables, &VALUES), run(&mirrored, &tables, &flipped));
        prop_assert!((one.log_e() - two.log_e()).abs() <= 1e-8 * (1.0 + one.log_e().abs()));
    }

    /// Evidence is a number whatever the tables, and its peak never falls.
    #[test]
    fn evidence_is_always_a_number(design in designs(), tables in tables()) {
        let mut process = EProcess::new(design).unwrap();
        let mut peak = 0.0;
        for (control, canary) in &tables {
            process.seal(&Bucket { values: &VALUES, control, canary }).unwrap();
            prop_assert!(process.log_e().is_finite());
            prop_assert!(process.peak() >= peak && process.peak() >= process.log_e());
            peak = process.peak();
        }
    }
}
