//! What is left after `kill -9` at any moment, and on a full disk. The tests start this very test
//! program again as a child, which does its work until it is killed.

use crate::conformance::sample;
use crate::{Ceilings, EmbeddedPins, EvidenceBatch, ReleaseEvidence, SqliteStore, Store, StoreError};
use coalmine_core::evidence::Session;
use coalmine_core::id::{Actor, Generation, ReleaseId, RouteName, UnitKey};
use coalmine_core::release::effect::Effect;
use coalmine_core::release::report::{JournalRow, Report};
use coalmine_core::release::state::{PauseCause, Release, Resume, State};
use coalmine_core::time::{SpanMs, UnixMs};
use coalmine_core::traffic::pin::{Pin, PinRecord};
use coalmine_core::traffic::weight::WeightBp;
use coalmine_core::version::VersionId;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;

/// Names the child's work and its directory: `commits:/path`.
const WORK: &str = "COALMINE_STORE_CHILD";
const TTL: SpanMs = SpanMs::hours(1);
const NOW: UnixMs = UnixMs(1_750_000_000_000);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

/// Tells the parent, at once.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n> {line}").unwrap();
    out.flush().unwrap();
}

/// The child. Without its variable it is nobody's child and has nothing to do.
#[test]
fn child() {
    let Ok(work) = std::env::var(WORK) else { return };
    let (work, dir) = work.split_once(':').unwrap();
    let dir = Path::new(dir);
    match work {
        "commits" => runtime().block_on(commit_for_ever(dir)),
        "pins" => runtime().block_on(pin_for_ever(dir)),
        "full" => runtime().block_on(fill_the_disk(dir)),
        other => panic!("no such work: {other}"),
    }
}

fn command(work: &str, dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "crash::child", "--nocapture"]);
    command.env(WORK, format!("{work}:{}", dir.display())).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// The child's lines, without those of the test harness.
fn lines(out: ChildStdout) -> impl Iterator<Item = String> {
    BufReader::new(out).lines().map_while(Result::ok).filter_map(|line| Some(line.strip_prefix("> ")?.to_owned()))
}

/// Starts the child, kills it after `acks` acknowledgements, while it goes on, and returns the last
/// number that it acknowledged.
fn kill_after(work: &str, dir: &Path, acks: u32) -> u64 {
    let mut child = command(work, dir).spawn().unwrap();
    let mut said = lines(child.stdout.take().unwrap());
    let mut last = 0;
    let mut read = |line: String| last = line.parse::<u64>().unwrap();
    said.by_ref().take(acks as usize).for_each(&mut read);
    child.kill().unwrap();
    said.for_each(read);
    assert!(!child.wait().unwrap().success(), "it ended by the kill");
    last
}

fn after_step(generation: Generation) -> State {
    let resume_to = Resume { stage: 0, entered_at: NOW, paused_at: NOW };
    if generation.0.is_multiple_of(2) {
        State::Running { stage: 0, entered_at: NOW }
    } else {
        State::Paused { by: PauseCause::Undecided, resume_to }
    }
}

fn row(release: &Release) -> JournalRow {
    let report = Report { headline: release.state.word().to_owned(), ..Report::default() };
    JournalRow { report, ..sample::row(release, &Actor::coalmine()) }
}

async fn commit_for_ever(dir: &Path) {
    let store = SqliteStore::open(&dir.join("state.db")).unwrap();
    let (tenant, route) = (sample::tenant(), RouteName::from("support-agent"));
    store.seed_route(&tenant, &route, &sample::stable()).await.unwrap();
    store.put_version(&tenant, &sample::canary()).await.unwrap();
    let draft = sample::release(&route, 1);
    let mut last = match store.release(&tenant, &draft.id).await.unwrap() {
        Some(known) => known,
        None => {
            store.create_release(&draft, &row(&draft)).await.unwrap();
            draft
        }
    };
    loop {
        let next = sample::next(&last, after_step(last.generation.next()));
        let effects = [Effect::Publish { route: route.clone() }];
        store.commit_step(last.generation, &next, &row(&next), &effects).await.unwrap();
        say(&next.generation.to_string());
        store.add_evidence(&tenant, &evidence(&next.id, next.generation.0)).await.unwrap();
        last = next;
    }
}

/// The mark of a delta, and a session that has seen as many requests as there were deltas.
fn evidence(release: &ReleaseId, sequence: u64) -> EvidenceBatch {
    let session = Session { requests: sequence, ..sample::session() };
    let change =
        ReleaseEvidence { sessions: vec![(UnitKey(1), Arc::new(session))], ..ReleaseEvidence::empty(release.clone()) };
    EvidenceBatch { counted: vec![("gw".into(), 1, sequence)], releases: vec![Arc::new(change)], spending: vec![] }
}

#[test]
fn a_kill_loses_no_acknowledged_step_and_tears_none() {
    let dir = tempfile::tempdir().unwrap();
    for acks in [1, 40, 3, 17, 2, 90, 5, 33, 8, 61] {
        let acknowledged = kill_after("commits", dir.path(), acks);
        runtime().block_on(check_commits(dir.path(), acknowledged));
    }
}

async fn check_commits(dir: &Path, acknowledged: u64) {
    let store = SqliteStore::open(&dir.join("state.db")).unwrap();
    let tenant = sample::tenant();
    let release = store.releases(&tenant, None).await.unwrap().pop().unwrap();
    assert!(release.generation.0 >= acknowledged, "{acknowledged} was acknowledged, {} is there", release.generation);
    let journal = store.journal(&tenant, &release.id).await.unwrap();
    let told: Vec<_> = journal.iter().map(|row| row.generation.0).collect();
    assert_eq!(told, (1..=release.generation.0).collect::<Vec<_>>(), "one row per step");
    assert_eq!(journal.last().unwrap().report.headline, release.state.word(), "the state is the one of the last row");
    assert_eq!(store.outbox(&tenant).await.unwrap().len() as u64, release.generation.0 - 1);
    let mark = store.counted(&tenant).await.unwrap().first().map(|(_, _, sequence)| *sequence);
    let sessions = store.evidence(&tenant, &release.id).await.unwrap().sessions;
    assert_eq!(sessions.first().map(|(_, session)| session.requests), mark, "evidence and mark go together");
}

fn pin(unit: u64) -> PinRecord {
    let pin = Pin { version: VersionId([3; 32]), member: None, last_seen: NOW };
    PinRecord { unit: UnitKey(u128::from(unit)), pin }
}

async fn pin_for_ever(dir: &Path) {
    let (pins, found) = EmbeddedPins::open(dir, TTL, NOW).unwrap();
    for unit in found.len() as u64.. {
        pins.append(&[pin(unit)]).unwrap();
        say(&(unit + 1).to_string());
        if unit % 7 == 0 {
            pins.sync().await.unwrap();
        }
        if unit % 31 == 0 {
            pins.compact().unwrap();
        }
    }
}

#[test]
fn a_kill_loses_no_appended_pin() {
    let dir = tempfile::tempdir().unwrap();
    for acks in [1, 100, 2, 31, 7, 250, 62, 13] {
        let acknowledged = kill_after("pins", dir.path(), acks);
        let (_, found) = EmbeddedPins::open(dir.path(), TTL, NOW).unwrap();
        assert!(found.len() as u64 >= acknowledged, "{acknowledged} appended, {} found", found.len());
        assert_eq!(found, (0..found.len() as u64).map(pin).collect::<Vec<_>>());
    }
}

/// Writes until neither store nor pins take any more, lowers a ceiling all the same, waits for room,
/// and goes on.
async fn fill_the_disk(dir: &Path) {
    let (tenant, text) = (sample::tenant(), "x".repeat(20_000));
    let store = SqliteStore::open(&dir.join("state.db")).unwrap();
    let ceilings = Ceilings::open(&dir.join("ceilings")).unwrap();
    let (pins, _) = EmbeddedPins::open(&dir.join("pins"), TTL, NOW).unwrap();
    let mut documents = 0;
    let refusal = loop {
        match store.put_document(&tenant, &documents.to_string(), &text).await {
            Ok(()) => documents += 1,
            Err(e) => break e,
        }
    };
    assert!(matches!(refusal, StoreError::Unavailable { .. }), "{refusal:?}");
    say(&refusal.to_string());
    let mut pinned = 0;
    let refusal = loop {
        match pins.append(&(pinned * 100..(pinned + 1) * 100).map(pin).collect::<Vec<_>>()) {
            Ok(()) => pinned += 1,
            Err(e) => break e,
        }
    };
    say(&refusal.to_string());
    for bp in (0..50).rev() {
        ceilings.lower(&"support-agent-1".into(), WeightBp::new(bp).unwrap(), Generation(1)).unwrap();
    }
    assert!(store.document(&tenant, "0").await.unwrap().is_some(), "reading goes on");
    say("make room");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    store.put_document(&tenant, "after", &text).await.unwrap();
    pins.append(&[pin(pinned * 100)]).unwrap();
    pins.sync().await.unwrap();
    say(&format!("{documents} {pinned}"));
}

/// The limit of the size of a file, in units of 1 KiB, stands for a full disk: a write beyond it fails.
#[cfg(target_os = "linux")]
fn limited(work: &str, dir: &Path, limit_kib: u32) -> Child {
    let child = command(work, dir);
    let mut bash = Command::new("bash");
    bash.args(["-c", &format!("trap '' XFSZ; ulimit -S -f {limit_kib}; exec \"$@\""), "bash"]);
    bash.arg(child.get_program()).args(child.get_args());
    bash.envs(child.get_envs().filter_map(|(name, value)| Some((name, value?))));
    bash.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told_stops_no_ceiling_and_room_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = limited("full", dir.path(), 1_500);
    let mut said = lines(child.stdout.take().unwrap());
    let (store, pins) = (said.next().unwrap(), said.next().unwrap());
    assert!(store.contains("keeping a document") && store.contains("state.db"), "{store}");
    assert!(pins.contains("appending pins to") && pins.contains("room"), "{pins}");
    assert_eq!(said.next().unwrap(), "make room");
    let free = ["--pid", &child.id().to_string(), "--fsize=unlimited:unlimited"];
    assert!(Command::new("prlimit").args(free).status().unwrap().success());
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    let counts = said.next().unwrap();
    assert!(child.wait().unwrap().success());
    let (documents, pinned) = counts.split_once(' ').unwrap();
    runtime().block_on(check_filled(dir.path(), documents.parse().unwrap(), pinned.parse().unwrap()));
}

#[cfg(target_os = "linux")]
async fn check_filled(dir: &Path, documents: u64, pinned: u64) {
    assert!(
        documents > 5 && pinned > 5,
        "{documents} documents and {pinned} hundreds of pins before the disk was full"
    );
    let store = SqliteStore::open(&dir.join("state.db")).unwrap();
    for name in (0..documents).map(|name| name.to_string()).chain(["after".to_owned()]) {
        let text = store.document(&sample::tenant(), &name).await.unwrap();
        assert_eq!(text.map(|text| text.len()), Some(20_000), "document {name}");
    }
    let lost = store.document(&sample::tenant(), &documents.to_string()).await.unwrap();
    assert_eq!(lost, None, "what was refused is not there");
    let (pins, found) = EmbeddedPins::open(&dir.join("pins"), TTL, NOW).unwrap();
    assert_eq!(found, (0..=pinned * 100).map(pin).collect::<Vec<_>>());
    assert_eq!((pins.replay().damaged, pins.replay().torn), (0, 0));
    let held = Ceilings::open(&dir.join("ceilings")).unwrap().all();
    assert_eq!(held[&ReleaseId::from("support-agent-1")].weight, WeightBp::ZERO);
}
