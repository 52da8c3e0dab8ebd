//! How long one look takes over 200 running releases with 12 guardrails and a day of buckets each:
//! `cargo run --release -p coalmine-core --example looks`.
#![expect(clippy::print_stdout, reason = "it prints what it measured")]
#![expect(clippy::disallowed_methods, reason = "it measures real time, and nothing in the crate does")]

use coalmine_core::analysis::{Books, Reporting, analyse};
use coalmine_core::cohort::Cohort;
use coalmine_core::evidence::{Ledger, SealedBucket, TwoArms, Yardstick, classes};
use coalmine_core::id::Generation;
use coalmine_core::metric::{Metric, Number};
use coalmine_core::origin::Slice;
use coalmine_core::release::plan::{Gate, Plan, Stage};
use coalmine_core::release::policy::{
    Ages, Budget, ControlArm, Guardrail, Margin, NoData, NoDataThen, OnRollback, OnUndecided, Policy, Role, Unit,
};
use coalmine_core::release::state::{Release, State};
use coalmine_core::time::{SpanMs, UnixMs};
use coalmine_core::traffic::pin::Stratum;
use coalmine_core::traffic::weight::{Salt, WeightBp};
use coalmine_core::version::VersionId;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const RELEASES: usize = 200;
const MINUTES: u64 = 1_440;
/// Minutes that are played on all releases afterwards: a band is drawn anew about once in them.
const MORE: u64 = 121;
/// Releases that are folded; the others are copies of them.
const SALTS: u8 = 16;

fn main() {
    let names = "error_rate ttft_p95 latency_p95 cost_per_session cost_above_cap output_tokens refusal_rate empty_rate \
                 truncated_rate tool_call_valid cancel_before_first_byte feedback.correct";
    let metrics: Vec<Metric> = names.split(' ').filter_map(|name| name.parse().ok()).collect();
    let release = release(&metrics);
    let yardstick = yardstick(&metrics);
    println!("{RELEASES} releases x {} guardrails x {MINUTES} minutes", metrics.len());
    let begun = Instant::now();
    let day: Vec<Books> =
        (0..SALTS).map(|salt| day(&Release { salt: Salt([salt * 16; 32]), ..release.clone() }, &yardstick)).collect();
    println!("a restart folds the day of {SALTS} releases: {:?}", begun.elapsed());
    let of = |i: usize| day[i % day.len()].clone();
    let mut watched: Vec<(Ledger, Books)> = (0..RELEASES).map(|i| (Ledger::new(&release), of(i))).collect();
    for look in ["a look", "another"] {
        let begun = Instant::now();
        let findings: usize = watched.iter().map(|(ledger, books)| read(&release, ledger, books)).sum();
        println!("{look}: {:?} for {findings} findings", begun.elapsed());
    }
    let mut minutes: Vec<Duration> = Vec::new();
    for minute in MINUTES..MINUTES + MORE {
        let begun = Instant::now();
        for (_, books) in &mut watched {
            for number in [Number::First, Number::Session, Number::Whole] {
                books.fold(&sealed(&metrics, number, minute));
            }
        }
        for (ledger, books) in &watched {
            read(&release, ledger, books);
        }
        minutes.push(begun.elapsed());
    }
    // The clones' memory grows once, in the first.
    let mut after = minutes.split_off(1);
    after.sort();
    println!("the first minute after: {:?}", minutes[0]);
    println!(
        "{} minutes, each sealed and looked at: median {:?}, slowest {:?}",
        after.len(),
        after[after.len() / 2],
        after[after.len() - 1]
    );
}

fn day(release: &Release, yardstick: &Yardstick) -> Books {
    let metrics: Vec<Metric> = release.policy.guardrails.iter().map(|guardrail| guardrail.metric.clone()).collect();
    let mut books = Books::new(release, yardstick);
    for minute in 0..MINUTES {
        for number in [Number::First, Number::Session, Number::Whole] {
            books.fold(&sealed(&metrics, number, minute));
        }
    }
    books
}

fn read(release: &Release, ledger: &Ledger, books: &Books) -> usize {
    let now = UnixMs(MINUTES * 60_000);
    let reporting = Reporting { complete_to: now, stale_after: SpanMs::secs(60) };
    analyse(release, ledger, Some(books), &reporting, now).findings.len()
}

fn sealed(metrics: &[Metric], number: Number, minute: u64) -> SealedBucket {
    let mut arms = BTreeMap::new();
    for (i, metric) in metrics.iter().enumerate() {
        if metric.numbers().iter().any(|(has, _)| *has == number) {
            let classes = classes::count(metric.kind());
            let mut both = TwoArms { control: vec![0; classes], canary: vec![0; classes], ..TwoArms::default() };
            for k in 0..12 {
                let class = usize::try_from((k * k * 7 + minute + i as u64) % 40).unwrap_or(0);
                both.control[class] += 9 / (1 + k);
                both.canary[class] += u64::from(k < 2);
            }
            (both.control[0], both.canary[0]) = (920, 47);
            arms.insert(metric.clone(), both);
        }
    }
    SealedBucket { number, stratum: Stratum(0), slice: Slice::REST, bucket: minute, own: None, metrics: arms }
}

fn yardstick(metrics: &[Metric]) -> Yardstick {
    let map = |value: f64| metrics.iter().map(|metric| (metric.clone(), value)).collect();
    Yardstick { frozen_at: UnixMs(0), tau_ms: map(800.0), cap: map(1.0), centre: map(0.02), ..Yardstick::default() }
}

fn release(metrics: &[Metric]) -> Release {
    let guardrail = |metric: &Metric| Guardrail {
        metric: metric.clone(),
        role: Role::Guardrail,
        promote: Margin { ratio: 1.0, shift: 0.01 },
        rollback: Margin { ratio: 1.0, shift: 0.005 },
        limit: None,
        weight: metric.severity(),
        no_data: NoData { then: NoDataThen::Hold, grace: SpanMs::minutes(10) },
        age: None,
        sample: None,
        control: ControlArm::default(),
        unit: Unit::Session,
    };
    let weight = WeightBp::new(500).unwrap_or_default();
    let stage = Stage { cohort: Cohort::All, weight, bake: SpanMs::hours(1), min_sessions: 0, gate: Gate::Automatic };
    Release {
        id: "support-1".into(),
        tenant: "default".into(),
        route: "support".into(),
        stable: VersionId([1; 32]),
        canary: VersionId([2; 32]),
        plan: Plan { stages: vec![stage] },
        policy: Policy {
            false_rollback_rate: 0.01,
            false_promotion_rate: 0.05,
            guardrails: metrics.iter().map(guardrail).collect(),
            tripwires: Vec::new(),
            bucket: SpanMs::minutes(1),
            ages: Ages::default(),
            max_duration: SpanMs::hours(72),
            on_undecided: OnUndecided::Hold,
            on_rollback: OnRollback::MoveNextTurn,
            keep: SpanMs::hours(48),
            hold_back: WeightBp::ZERO,
            rescue_budget: WeightBp::ZERO,
            budget: Budget::default(),
            freeze: Vec::new(),
            sentinels: None,
            judges: Vec::new(),
            shadow: None,
            acknowledged: BTreeSet::new(),
        },
        policy_hash: String::new(),
        salt: Salt([0; 32]),
        attempt: 0,
        carried: BTreeMap::new(),
        created_at: UnixMs(0),
        started_at: Some(UnixMs(0)),
        promoted_at: None,
        revoked_at: None,
        drifts: Vec::new(),
        prices: None,
        open: BTreeSet::new(),
        state: State::Running { stage: 0, entered_at: UnixMs(0) },
        generation: Generation(1),
    }
}
