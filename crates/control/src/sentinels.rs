//! The sentinels' rounds: which are due, asked of stable and canary by turns, and handed to the evidence. Rounds have
//! a pace of their own beside the loop, so that no decision waits for a provider.
//!
//! A round that a kill interrupts has shown nothing, and is due again. What a round asks goes through
//! [`Prober`], outside of all traffic: no session, no tally, no budget.

pub mod grade;
mod round;

use crate::control::Control;
use crate::lease::Standing;
use crate::ports::{Probed, Prober};
use coalmine_core::id::ReleaseId;
use coalmine_core::release::state::Release;
use coalmine_core::sentinel::schedule::{Arms, due};
use coalmine_core::sentinel::{Round, Sentinel, tries_to_confirm};
use coalmine_core::version::Version;
use coalmine_wire::probe::{Answer, Around, Probe, Rulings};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// A round that is due.
#[derive(Debug)]
pub(crate) struct Planned {
    release: ReleaseId,
    stable: Arc<Version>,
    canary: Arc<Version>,
    asked: Vec<Asked>,
}

/// One sentinel of it.
#[derive(Debug)]
pub(crate) struct Asked {
    sentinel: Sentinel,
    arms: Arms,
    /// Tries that confirm a failure.
    confirm: Option<u32>,
    /// Who begins the turns.
    canary_first: First,
}

/// Who is asked first; it changes from sentinel to sentinel, so that neither arm always has the warmer cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum First {
    Stable,
    Canary,
}

impl Control {
    /// Asks what is due, for ever; one round of a release at a time, those of several beside one another.
    pub(crate) async fn run_sentinels(self: Arc<Self>) {
        let mut pace = tokio::time::interval(Duration::from_millis(self.settings.wall_look_every.0.max(1)));
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            pace.tick().await;
            for planned in self.rounds_due() {
                let this = Arc::clone(&self);
                self.known().asking.insert(planned.release.clone());
                tokio::spawn(async move {
                    let release = planned.release.clone();
                    let round = round::run(&this.ports, &planned, this.clock.now()).await;
                    let mut known = this.known();
                    known.asking.remove(&release);
                    known.rounds.push((release, round));
                });
            }
        }
    }

    /// Runs the rounds that are due, once, each to its end. `run` does it beside the loop; the simulator after each
    /// step. The next [`Control::tick`] counts them.
    pub async fn ask_sentinels(&self) {
        for planned in self.rounds_due() {
            let round = round::run(&self.ports, &planned, self.clock.now()).await;
            self.known().rounds.push((planned.release, round));
        }
    }

    /// None while another node decides, while the evidence is not read, or while a round is under way.
    fn rounds_due(&self) -> Vec<Planned> {
        let now = self.clock.now();
        let known = self.known();
        if matches!(known.standing, Some(Standing::Follower { .. })) {
            return Vec::new();
        }
        let waiting: BTreeSet<&ReleaseId> = known.rounds.iter().map(|(release, _)| release).collect();
        let mut planned = Vec::new();
        for found in known.releases.values() {
            let Release { id, policy, attempt, stable, canary, .. } = &found.release;
            let Some(records) = &found.sentinels else { continue };
            if known.asking.contains(id) || known.lowered.contains_key(id) || waiting.contains(id) {
                continue;
            }
            let (Some(stable), Some(canary)) = (known.versions.get(stable), known.versions.get(canary)) else {
                continue;
            };
            let asked: Vec<Asked> = due(&found.release, records, now)
                .into_iter()
                .enumerate()
                .map(|(turn, due)| Asked {
                    sentinel: due.sentinel.clone(),
                    arms: due.arms,
                    confirm: tries_to_confirm(policy, *attempt, due.sentinel, records.of.get(&due.sentinel.name)),
                    canary_first: if turn % 2 == 0 { First::Stable } else { First::Canary },
                })
                .collect();
            if !asked.is_empty() {
                let (stable, canary) = (Arc::clone(stable), Arc::clone(canary));
                planned.push(Planned { release: id.clone(), stable, canary, asked });
            }
        }
        planned
    }

    /// What whoever must be asked says of an answer, for a probe as a suite keeps it; nothing where the answer itself
    /// decides, or where either cannot be read.
    pub async fn rulings(&self, probe: &str, answered: &Probed, tools: Option<&str>, wall_limit: Duration) -> Rulings {
        let around = Around { latency_ms: answered.latency_ms, cost_usd: answered.cost_usd, tools };
        match (serde_json::from_str::<Probe>(probe), Answer::read(&answered.body)) {
            (Ok(probe), Some(answer)) => grade::rulings(&self.ports, &probe, &answer, around, wall_limit).await,
            (Ok(_) | Err(_), _) => Rulings::new(),
        }
    }

    /// Who asks.
    #[must_use]
    pub fn prober(&self) -> Arc<dyn Prober> {
        Arc::clone(&self.ports.prober)
    }

    /// The rounds that have ended since the last call.
    pub(crate) fn take_rounds(&self) -> Vec<(ReleaseId, Round)> {
        std::mem::take(&mut self.known().rounds)
    }
}
