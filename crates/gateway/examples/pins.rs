//! A million live pins: the memory that they take, the time of a decision among them (the session's keyed hash, its
//! pin, the split, the pin kept or touched), and how often it allocates. Prints one line each; `make bench` runs it.
#![expect(clippy::print_stdout, reason = "what it measures is what it prints")]

use coalmine_core::cohort::Cohort;
use coalmine_core::id::{Generation, ReleaseId, RouteName, UnitKey};
use coalmine_core::time::{SpanMs, UnixMs};
use coalmine_core::traffic::assign::{Asked, Eligibility, Identity, Opening, PinChange, assign};
use coalmine_core::traffic::pin::Stratum;
use coalmine_core::traffic::table::{Exposed, Exposure, RouteTable};
use coalmine_core::traffic::weight::{Salt, WeightBp};
use coalmine_core::version::VersionId;
use coalmine_gateway::pins::{MemoryPins, PinLimits};
use coalmine_gateway::ports::{NoPinLog, PinStore};
use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

const SESSIONS: u64 = 1_000_000;
/// So many decisions are watched as they allocate.
const COUNTED: u64 = 10_000;
const NOW: UnixMs = UnixMs(1_750_000_000_000);

fn main() -> Result<(), Box<dyn Error>> {
    let table = table();
    let before_kib = resident_kib()?;
    let pins = MemoryPins::new(PinLimits { idle: SpanMs::hours(24), count: 2_000_000 }, Arc::new(NoPinLog));
    let began = Instant::now();
    (0..SESSIONS).for_each(|session| decide(&pins, &table, session));
    let first_ns = began.elapsed().as_nanos() / u128::from(SESSIONS);
    let mib = (resident_kib()?.saturating_sub(before_kib)) as f64 / 1024.0;
    println!("{} live pins: {mib:.0} MiB resident", pins.len());
    let mut rounds: Vec<u128> = Vec::new();
    for _ in 0..5 {
        let began = Instant::now();
        // in another order than they came
        (0..SESSIONS).for_each(|n| decide(&pins, &table, n.wrapping_mul(7_919) % SESSIONS));
        rounds.push(began.elapsed().as_nanos() / u128::from(SESSIONS));
    }
    rounds.sort_unstable();
    println!(
        "a decision: {first_ns} ns for a session that begins; {} ns [{} to {}] for one that goes on",
        rounds[2], rounds[0], rounds[4]
    );
    let seen = allocation_counter::measure(|| drop(std::hint::black_box(Box::new(1)))).count_total;
    if seen != 1 {
        return Err(format!("the counter saw {seen} allocations where there was one").into());
    }
    let first = allocations(|| (SESSIONS..SESSIONS + COUNTED).for_each(|session| decide(&pins, &table, session)));
    let further = allocations(|| (0..COUNTED).for_each(|session| decide(&pins, &table, session)));
    println!("allocations a decision: {first:.3} for a session that begins, {further:.3} for one that goes on");
    Ok(())
}

/// How often one of [`COUNTED`] decisions allocates.
fn allocations(run: impl FnOnce()) -> f64 {
    allocation_counter::measure(run).count_total as f64 / COUNTED as f64
}

/// What the gateway does to name, assign and pin the session of a request.
fn decide(pins: &MemoryPins, table: &RouteTable, session: u64) {
    let hash = blake3::keyed_hash(&[7; 32], &session.to_le_bytes());
    let mut low = [0; 16];
    low.copy_from_slice(&hash.as_bytes()[..16]);
    let unit = UnitKey(u128::from_le_bytes(low));
    let pin = pins.get(unit, NOW);
    let asked = Asked {
        identity: Identity::Session(unit),
        customer: None,
        opening: Opening::First,
        eligibility: Eligibility::Eligible,
        bound: None,
        pin: pin.as_ref(),
        forced: None,
        ceiling: WeightBp::FULL,
        now: NOW,
    };
    match assign(table, &asked).pin {
        PinChange::Create(pin) => {
            pins.create(unit, pin);
        }
        PinChange::Replace(pin) => pins.replace(unit, pin),
        PinChange::Touch => pins.touch(unit, NOW),
        PinChange::None => {}
    }
}

/// A release that exposes a twentieth.
fn table() -> RouteTable {
    let release = Exposed {
        id: Arc::new(ReleaseId::from("bench-1")),
        canary: VersionId([2; 32]),
        control: None,
        salt: Salt([3; 32]),
        started_at: UnixMs(NOW.0 - 1),
        exposures: vec![Exposure { stratum: Stratum(0), cohort: Cohort::All, weight: WeightBp::rounded(500.0) }],
        judged_after: SpanMs::secs(60),
        rescue_budget: WeightBp::rounded(1_000.0),
        judged: Vec::new(),
    };
    RouteTable {
        route: RouteName::from("bench"),
        generation: Generation(1),
        stable: VersionId([1; 32]),
        versions: BTreeMap::new(),
        release: Some(release),
        revoked: Vec::new(),
        shadow: None,
        prices: None,
    }
}

fn resident_kib() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS in /proc/self/status")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
