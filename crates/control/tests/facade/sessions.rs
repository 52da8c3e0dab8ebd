//! What the store keeps of a running release's sessions, through kills and while it is away.

use crate::drift::answered;
use crate::fixture::{FileBrake, Postbox, alice, new_release, open, route, version};
use crate::sentinels::Scripted;
use coalmine_control::Control;
use coalmine_control::clock::ManualClock;
use coalmine_core::evidence::{Session, Totals};
use coalmine_core::id::{ReleaseId, UnitKey};
use coalmine_core::release::event::Command;
use coalmine_core::tally::{Delta, Turn};
use coalmine_core::time::{SpanMs, UnixMs};
use coalmine_core::traffic::pin::{Arm, Membership, Stratum};
use coalmine_store::sqlite::SqliteStore;
use coalmine_store::{MemoryStore, Store};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// What befalls a life.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Nothing,
    /// Killed and opened anew after every fourth round.
    Killed,
    /// The store is away in two rounds of three.
    Storeless,
}

struct Life {
    fate: Fate,
    store: Arc<dyn Store>,
    memory: Option<MemoryStore>,
    clock: Arc<ManualClock>,
    brake: Arc<FileBrake>,
    control: Arc<Control>,
    id: ReleaseId,
}

impl Life {
    async fn new(fate: Fate, folder: &Path) -> Self {
        let memory = (fate == Fate::Storeless).then(MemoryStore::new);
        let store: Arc<dyn Store> = match &memory {
            Some(memory) => Arc::new(memory.clone()),
            None => Arc::new(SqliteStore::open(&folder.join(format!("{}.db", fate as u8))).unwrap()),
        };
        let clock = Arc::new(ManualClock::at(UnixMs(1_767_571_200_000)));
        let brake = Arc::default();
        let control = open(Arc::clone(&store), &clock, &brake, &Arc::default(), &Arc::default()).await;
        control.seed_route(&route(), &version("stable-model")).await.unwrap();
        let id = control.create_release(new_release("canary-model"), alice()).await.unwrap().release.id;
        control.command(&id, Command::Start, alice(), None).await.unwrap();
        Self { fate, store, memory, clock, brake, control, id }
    }

    /// A round of half a minute: each unit of the round has a turn, exposed when it was first seen.
    async fn round(&mut self, number: u64, turns: &[(u64, UnixMs)]) {
        self.clock.pass(SpanMs::secs(30));
        if let Some(memory) = &self.memory {
            if number.is_multiple_of(3) { memory.set_available() } else { memory.set_unavailable() }
        }
        let turns = turns.iter().map(|(unit, exposed_at)| self.turn(*unit, *exposed_at)).collect();
        let delta = Delta {
            gateway: "gw".into(),
            epoch: 1,
            sequence: number + 1,
            complete_to: self.control.now(),
            turns,
            feedback: Vec::new(),
            dropped: Vec::new(),
            serving: BTreeMap::new(),
            mirrored: Vec::new(),
            spending: Vec::new(),
        };
        self.control.intake(Arc::new(delta)).unwrap();
        self.control.tick().await;
        if self.fate == Fate::Killed && number.is_multiple_of(4) {
            let (post, prober) = (Arc::new(Postbox::default()), Arc::new(Scripted::default()));
            self.control = open(Arc::clone(&self.store), &self.clock, &self.brake, &post, &prober).await;
        }
    }

    fn turn(&self, unit: u64, exposed_at: UnixMs) -> Turn {
        let arm = if unit.is_multiple_of(2) { Arm::Canary } else { Arm::Control };
        let member = Membership { release: Arc::new(self.id.clone()), arm, stratum: Stratum(0), exposed_at };
        let unit = unit.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Turn { member: Some(member), ..answered(["large", "fp_a", "default"], self.control.now(), unit) }
    }

    async fn kept(&self) -> (Vec<(UnitKey, Arc<Session>)>, Totals) {
        let evidence = self.store.evidence(&"default".into(), &self.id).await.unwrap();
        (evidence.sessions, serde_json::from_str(&evidence.totals.unwrap()).unwrap())
    }
}

/// Sessions of many turns, begun over an hour and over in time: whatever befell the process, the same is kept of them.
#[tokio::test]
async fn sessions_are_kept_alike_through_kills_and_without_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let mut ends = Vec::new();
    for fate in [Fate::Nothing, Fate::Killed, Fate::Storeless] {
        let mut life = Life::new(fate, folder.path()).await;
        let mut exposed: BTreeMap<u64, UnixMs> = BTreeMap::new();
        for number in 0..163 {
            let at = life.control.now() + SpanMs::secs(30);
            let here = (0..20).map(|n| number * 2 + n * (1 + n % 3));
            let turns: Vec<_> = here.map(|unit| (unit, *exposed.entry(unit).or_insert(at))).collect();
            life.round(number, &turns).await;
        }
        ends.push(life.kept().await);
    }
    let (sessions, totals) = &ends[0];
    let longest = sessions.iter().map(|(_, session)| session.requests).max();
    assert!(sessions.len() > 80 && longest > Some(3), "{} sessions, {longest:?} requests", sessions.len());
    let exposed: u64 = totals.exposed.values().map(|counts| counts.control + counts.canary).sum();
    assert!(exposed > 2 * sessions.len() as u64, "{exposed} were exposed: most are over");
    for (others, other_totals) in &ends[1..] {
        assert_eq!(others, sessions);
        assert_eq!(other_totals, totals);
    }
}
