//! Measures the store on the disk of the directory that is named (or of a temporary one):
//! `cargo run --profile quick -p coalmine-store --features conformance --example measure -- DIR`.

use anyhow::{Context, Result};
use coalmine_core::id::{Generation, RouteName, UnitKey};
use coalmine_core::release::state::State;
use coalmine_core::time::{SpanMs, UnixMs};
use coalmine_core::traffic::pin::{Arm, Membership, Pin, PinRecord, Stratum};
use coalmine_core::traffic::weight::WeightBp;
use coalmine_core::version::VersionId;
use coalmine_store::conformance::sample;
use coalmine_store::{Ceilings, EmbeddedPins, EvidenceBatch, ReleaseEvidence, SqliteStore, Store};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

const NOW: UnixMs = UnixMs(1_750_000_000_000);
const TTL: SpanMs = SpanMs::hours(1);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let temporary = tempfile::tempdir()?;
    let dir = std::env::args().nth(1).map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    let dir = tempfile::tempdir_in(&dir).with_context(|| format!("a directory in {}", dir.display()))?;
    commits(dir.path()).await?;
    evidence(dir.path()).await?;
    pins(dir.path()).await?;
    ceilings(dir.path())
}

async fn commits(dir: &Path) -> Result<()> {
    let store = SqliteStore::open(&dir.join("state.db"))?;
    let route = RouteName::from("support-agent");
    store.seed_route(&sample::tenant(), &route, &sample::stable()).await?;
    store.put_version(&sample::tenant(), &sample::canary()).await?;
    let mut last = sample::release(&route, 1);
    store.create_release(&last, &sample::row(&last, &"ana".into())).await?;
    let (count, began) = (1_000, Instant::now());
    for at in 0..count {
        let next = sample::next(&last, State::Running { stage: 0, entered_at: UnixMs(at) });
        store.commit_step(last.generation, &next, &sample::row(&next, &"ana".into()), &[]).await?;
        last = next;
    }
    say("steps committed, each synced", count, began.elapsed())
}

async fn evidence(dir: &Path) -> Result<()> {
    let store = SqliteStore::open(&dir.join("state.db"))?;
    let (count, batch) = (100_000, 1_000);
    let began = Instant::now();
    for sequence in 0..count / batch {
        let units = sequence * batch..(sequence + 1) * batch;
        let sessions = units.map(|unit| (UnitKey(u128::from(unit) << 64), Arc::new(sample::session()))).collect();
        let change = ReleaseEvidence { sessions, ..ReleaseEvidence::empty("support-agent-1".into()) };
        let counted = vec![("gw".into(), 1, sequence + 1)];
        store
            .add_evidence(
                &sample::tenant(),
                &EvidenceBatch { counted, releases: vec![Arc::new(change)], spending: vec![] },
            )
            .await?;
    }
    say("sessions written, 1000 a batch", count, began.elapsed())?;
    let began = Instant::now();
    let read = store.evidence(&sample::tenant(), &"support-agent-1".into()).await?.sessions.len();
    say("sessions read back", read as u64, began.elapsed())
}

async fn pins(dir: &Path) -> Result<()> {
    let dir = dir.join("pins");
    let release = Arc::new("support-agent-1".into());
    let record = |unit: u64| PinRecord {
        unit: UnitKey(u128::from(unit).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)),
        pin: Pin {
            version: VersionId([7; 32]),
            member: Some(Membership {
                release: Arc::clone(&release),
                arm: Arm::Control,
                stratum: Stratum(1),
                exposed_at: NOW,
            }),
            last_seen: NOW,
        },
    };
    let count = 1_000_000;
    let (log, _) = EmbeddedPins::open(&dir, TTL, NOW)?;
    let began = Instant::now();
    let mut slowest = Duration::ZERO;
    for unit in 0..count {
        let one = Instant::now();
        log.append(&[record(unit)])?;
        slowest = slowest.max(one.elapsed());
    }
    say("pins appended one by one", count, began.elapsed())?;
    say("of these the slowest", 1, slowest)?;
    let began = Instant::now();
    log.sync().await?;
    say("sync after them", 1, began.elapsed())?;
    // A compaction that the appends began holds the log until it has ended.
    let began = Instant::now();
    while log.compact().is_err() {
        std::thread::yield_now();
    }
    say("compaction of all", count, began.elapsed())?;
    drop(log);
    let bytes: u64 = std::fs::read_dir(&dir)?.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len())).sum();
    let began = Instant::now();
    let (_, live) = EmbeddedPins::open(&dir, TTL, NOW)?;
    say(&format!("pins loaded from {bytes} bytes"), live.len() as u64, began.elapsed())
}

fn ceilings(dir: &Path) -> Result<()> {
    let ceilings = Ceilings::open(&dir.join("ceilings"))?;
    let (count, began) = (500, Instant::now());
    for at in 0..count {
        ceilings.lower(&"support-agent-1".into(), WeightBp::ZERO, Generation(at))?;
    }
    say("ceilings lowered, each synced", count, began.elapsed())
}

fn say(what: &str, count: u64, took: Duration) -> Result<()> {
    let each_us = took.as_secs_f64() * 1e6 / count as f64;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{count:>9} {what}: {:.3} s, {each_us:.1} us each", took.as_secs_f64())?;
    Ok(())
}
