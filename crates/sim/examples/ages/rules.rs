//! Ways to count a session, and the test on what they count.

use crate::sessions::{Arm, DEADLINE_MS, Turn, session};
use coalmine_sim::luck::Luck;
use coalmine_stats::betting::{Bucket, Design, EProcess, Onset, Side, stage_mass};

const MINUTE: f64 = 60_000.0;
const IDLE: f64 = 30.0 * MINUTE;
/// X2 is posted at this age; requests begun a deadline earlier are in it.
const AGE: f64 = 15.0 * MINUTE;
/// Classes of a share of bad turns.
const CLASSES: usize = 41;

/// How a session becomes numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    EndShare,
    EndAny,
    First,
    By30s,
    By2min,
    X2,
    X1X2,
    EachRequest,
}

impl Rule {
    pub(crate) const ALL: [(Self, &'static str); 8] = [
        (Self::EndShare, "end + 30 min idle, fraction"),
        (Self::EndAny, "end, any bad"),
        (Self::First, "first request, at 60 s"),
        (Self::By30s, "finished by 30 s, pending left out"),
        (Self::By2min, "finished by 2 min, pending waits"),
        (Self::X2, "X2 alone (15 min)"),
        (Self::X1X2, "X1 + X2, max .3/.7 (default)"),
        (Self::EachRequest, "each request"),
    ];

    /// The numbers' shares of alpha.
    fn weights(self) -> &'static [f64] {
        if self == Self::X1X2 { &[0.3, 0.7] } else { &[1.0] }
    }

    /// From the end of a bucket to its seal, per number.
    fn age(self, number: usize) -> f64 {
        match self {
            Self::EndShare | Self::EndAny => 0.0,
            Self::First | Self::EachRequest => DEADLINE_MS,
            Self::By30s => MINUTE / 2.0,
            Self::By2min => 2.0 * MINUTE + DEADLINE_MS,
            Self::X2 => AGE,
            Self::X1X2 if number == 0 => DEADLINE_MS,
            Self::X1X2 => AGE,
        }
    }

    /// Every number of a session: which, the instant that picks its bucket, and the badness.
    fn numbers(self, exposed: f64, turns: &[Turn], mut post: impl FnMut(usize, f64, f64)) {
        let share = |inside: &dyn Fn(&Turn) -> bool| {
            let (bad, all) = turns
                .iter()
                .filter(|turn| inside(turn))
                .fold((0, 0), |(bad, all), turn| (bad + u32::from(turn.bad), all + 1));
            (all > 0).then(|| f64::from(bad) / f64::from(all))
        };
        let closed = exposed + turns.last().map_or(0.0, |turn| turn.ends) + IDLE;
        let first = f64::from(u8::from(turns[0].bad));
        match self {
            Self::EndShare => post(0, closed, share(&|_| true).unwrap_or_default()),
            Self::EndAny => post(0, closed, f64::from(u8::from(turns.iter().any(|turn| turn.bad)))),
            Self::First => post(0, exposed, first),
            Self::By30s => share(&|turn| turn.ends <= MINUTE / 2.0).into_iter().for_each(|x| post(0, exposed, x)),
            Self::By2min => post(0, exposed, share(&|turn| turn.ends <= 2.0 * MINUTE).unwrap_or(first)),
            Self::X2 => post(0, exposed, share(&|turn| turn.begins <= AGE - DEADLINE_MS).unwrap_or_default()),
            Self::X1X2 => {
                post(0, exposed, first);
                post(1, exposed, share(&|turn| turn.begins <= AGE - DEADLINE_MS).unwrap_or_default());
            }
            Self::EachRequest => {
                turns.iter().for_each(|turn| post(0, exposed + turn.begins, f64::from(u8::from(turn.bad))));
            }
        }
    }
}

/// A stream of sessions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Traffic {
    pub(crate) per_hour: f64,
    pub(crate) hours: f64,
    pub(crate) share: f64,
    pub(crate) control: Arm,
    pub(crate) canary: Arm,
}

/// What rolls back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Test {
    pub(crate) alpha: f64,
    pub(crate) margin: f64,
    /// The metric's share of alpha.
    pub(crate) weight: f64,
    pub(crate) onset: Onset,
}

impl Test {
    /// As the specification's table was made.
    pub(crate) const PLAIN: Self = Self { alpha: 0.05, margin: 0.0, weight: 1.0, onset: Onset::FromStart };
}

/// A rollback: after how many minutes, and how many canary sessions had begun.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    pub(crate) minutes: f64,
    pub(crate) sessions: f64,
}

type Counts = [[u64; CLASSES]; 2];

/// One run under every rule, on the same sessions.
pub(crate) fn run(
    traffic: &Traffic,
    test: &Test,
    rules: &[Rule],
    centres: &[Vec<f64>],
    seed: u64,
) -> Vec<Option<Found>> {
    let minutes = (traffic.hours * 60.0) as usize;
    let mut buckets: Vec<Vec<Vec<Counts>>> =
        rules.iter().map(|rule| vec![vec![[[0; CLASSES]; 2]; minutes]; rule.weights().len()]).collect();
    let mut luck = Luck::part(seed, 0);
    let (mut at, mut begun, mut turns) = (0.0, Vec::new(), Vec::new());
    loop {
        at += luck.exponential(60.0 * MINUTE / traffic.per_hour);
        if at >= traffic.hours * 60.0 * MINUTE {
            break;
        }
        let on_canary = luck.uniform() < traffic.share;
        session(if on_canary { &traffic.canary } else { &traffic.control }, &mut luck, &mut turns);
        if on_canary {
            begun.push(at);
        }
        let round = luck.uniform();
        for (rule, numbers) in rules.iter().zip(&mut buckets) {
            rule.numbers(at, &turns, |number, when, badness| {
                let class = ((badness * (CLASSES - 1) as f64 + round) as usize).min(CLASSES - 1);
                if let Some(bucket) = numbers[number].get_mut((when / MINUTE) as usize) {
                    bucket[usize::from(on_canary)][class] += 1;
                }
            });
        }
    }
    let found = |(index, numbers): (usize, &Vec<Vec<Counts>>)| {
        let rule = rules[index];
        let sealed = rule.weights().iter().enumerate().filter_map(|(number, weight)| {
            let line = -(test.alpha * test.weight * weight).ln();
            let bucket = crossing(&numbers[number], traffic, test, centres[index][number], line)?;
            Some((bucket + 1) as f64 * MINUTE + rule.age(number))
        });
        let at = sealed.fold(f64::INFINITY, f64::min);
        let sessions = begun.iter().filter(|begun| **begun <= at).count() as f64;
        (at <= traffic.hours * 60.0 * MINUTE).then_some(Found { minutes: at / MINUTE, sessions })
    };
    buckets.iter().enumerate().map(found).collect()
}

/// The first bucket after which the evidence reaches its line.
fn crossing(buckets: &[Counts], traffic: &Traffic, test: &Test, centre: f64, line: f64) -> Option<usize> {
    let mut values = [0.0; CLASSES];
    values.iter_mut().enumerate().for_each(|(class, value)| *value = class as f64 / (CLASSES - 1) as f64);
    let odds = traffic.share / (1.0 - traffic.share);
    let (side, ratio, shift) = (Side::Rollback, 1.0, test.margin);
    let mut process = EProcess::new(Design { side, centre, ratio, shift, odds, hint: None, onset: test.onset }).ok()?;
    process.restart(stage_mass(1));
    let mut held: Counts = [[0; CLASSES]; 2];
    for (index, bucket) in buckets.iter().enumerate() {
        for (held, counts) in held.iter_mut().zip(bucket) {
            held.iter_mut().zip(counts).for_each(|(held, count)| *held += count);
        }
        // An empty arm is merged forward.
        if process.seal(&Bucket { values: &values, control: &held[0], canary: &held[1] }).is_ok() {
            held = [[0; CLASSES]; 2];
            if process.log_e() >= line {
                return Some(index);
            }
        }
    }
    None
}

/// Control's mean under every rule, from sessions of its past.
pub(crate) fn centres(control: &Arm, rules: &[Rule]) -> Vec<Vec<f64>> {
    let mut luck = Luck::new(77);
    let mut turns = Vec::new();
    let mut sums: Vec<Vec<(f64, f64)>> = rules.iter().map(|rule| vec![(0.0, 0.0); rule.weights().len()]).collect();
    for _ in 0..20_000 {
        session(control, &mut luck, &mut turns);
        for (rule, sums) in rules.iter().zip(&mut sums) {
            rule.numbers(0.0, &turns, |number, _, badness| {
                sums[number].0 += badness;
                sums[number].1 += 1.0;
            });
        }
    }
    let mean = |(sum, n): (f64, f64)| (sum / f64::max(n, 1.0)).clamp(1e-4, 1.0 - 1e-4);
    sums.into_iter().map(|sums| sums.into_iter().map(mean).collect()).collect()
}
