//! The sentinels' rounds: which are due, asked of stable and canary by turns, and handed to the evidence; those of a
//! route are asked of its stable version, release or not. Rounds have a pace of their own beside the loop, so that no
//! decision waits for a provider.
//!
//! A round that a kill interrupts has shown nothing, and is due again. What a round asks goes through
//! [`Prober`], outside of all traffic: no session, no tally, no budget.

pub mod grade;
pub(crate) mod purse;
mod round;

use crate::control::Control;
use crate::known::Known;
use crate::lease::Standing;
use crate::ports::{Probed, Prober};
use crate::sentinels::purse::Purse;
use coalmine_core::id::{ReleaseId, RouteName};
use coalmine_core::release::state::Release;
use coalmine_core::sentinel::schedule::{Arms, due};
use coalmine_core::sentinel::steady::Credit;
use coalmine_core::sentinel::{Round, Sentinel, Sentinels, Steady, tries_to_confirm};
use coalmine_core::time::UnixMs;
use coalmine_core::version::{Version, VersionId};
use coalmine_wire::probe::{Answer, Around, Probe, Rulings};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// A round that is due.
#[derive(Debug)]
pub(crate) struct Planned {
    of: Whose,
    stable: Arc<Version>,
    /// Stable again where there is none.
    canary: Arc<Version>,
    asked: Vec<Asked>,
    purse: Purse,
}

/// Whose sentinels are asked.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Whose {
    /// A release's.
    Release(ReleaseId),
    /// A route's own, of this stable version.
    Route(RouteName, VersionId),
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
    /// What stable has shown before the release.
    credit: Option<Credit>,
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
                self.known().note_asking(&planned.of);
                tokio::spawn(async move {
                    let round = round::run(&this.ports, &planned, this.clock.now()).await;
                    this.known().note_asked(planned.of, round);
                });
            }
        }
    }

    /// Runs the rounds that are due, once, each to its end. `run` does it beside the loop; the simulator after each
    /// step. The next [`Control::tick`] counts them.
    pub async fn ask_sentinels(&self) {
        for planned in self.rounds_due() {
            let round = round::run(&self.ports, &planned, self.clock.now()).await;
            self.known().note_asked(planned.of, round);
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
        let mut planned = self.steady_due(&known, now);
        for found in known.releases.values() {
            let Release { id, route, policy, attempt, stable, canary, .. } = &found.release;
            let (Some(records), Some(suite)) = (&found.sentinels, &policy.sentinels) else { continue };
            if known.asking.contains(id) || known.lowered.contains_key(id) || waiting.contains(id) {
                continue;
            }
            let (Some(stable), Some(canary)) = (known.versions.get(stable), known.versions.get(canary)) else {
                continue;
            };
            let steady = known.steady.get(route).filter(|_| known.is_steady_read);
            let credit = |sentinel: &Sentinel| steady?.credit(sentinel, stable.id(), now);
            let credited = records.credited(suite, credit);
            let asked: Vec<Asked> = due(&found.release, &credited, now)
                .into_iter()
                .enumerate()
                .map(|(turn, due)| Asked {
                    sentinel: due.sentinel.clone(),
                    arms: due.arms,
                    confirm: tries_to_confirm(policy, *attempt, due.sentinel, credited.of.get(&due.sentinel.name)),
                    credit: if records.of.contains_key(&due.sentinel.name) { None } else { credit(due.sentinel) },
                    canary_first: if turn % 2 == 0 { First::Stable } else { First::Canary },
                })
                .collect();
            if !asked.is_empty() {
                let (stable, canary) = (Arc::clone(stable), Arc::clone(canary));
                let judging = policy.sentinels.as_ref().map(|suite| suite.judging).unwrap_or_default();
                let purse = Purse::of(judging, records.spent, now);
                planned.push(Planned { of: Whose::Release(id.clone()), stable, canary, asked, purse });
            }
        }
        planned
    }

    /// Rounds of the routes' own sentinels; none before it is known how they stood.
    fn steady_due(&self, known: &Known, now: UnixMs) -> Vec<Planned> {
        let is_waiting = |route: &RouteName| known.steady_rounds.iter().any(|(of, ..)| of == route);
        let free = |(route, _): &(&RouteName, &Sentinels)| !known.steady_asking.contains(*route) && !is_waiting(route);
        let watched = self.settings.sentinels.iter().filter(|_| known.is_steady_read).filter(free);
        let planned = watched.filter_map(|(route, suite)| {
            let version = known.routes.get(route)?.stable;
            let stable = known.versions.get(&version)?;
            let fresh = Steady::default();
            let steady = known.steady.get(route).unwrap_or(&fresh);
            let asked = steady.due(suite, version, now).into_iter().map(|due| Asked {
                sentinel: due.sentinel.clone(),
                arms: due.arms,
                confirm: steady.tries_to_confirm(suite, version, due.sentinel),
                canary_first: First::Stable,
                credit: None,
            });
            let asked: Vec<Asked> = asked.collect();
            let of = Whose::Route(route.clone(), version);
            let (stable, canary) = (Arc::clone(stable), Arc::clone(stable));
            let purse = Purse::of(suite.judging, steady.spent, now);
            (!asked.is_empty()).then_some(Planned { of, stable, canary, asked, purse })
        });
        planned.collect()
    }

    /// What whoever must be asked says of an answer, for a probe as a suite keeps it; nothing where the answer itself
    /// decides, or where either cannot be read.
    pub async fn rulings(&self, probe: &str, answered: &Probed, tools: Option<&str>, wall_limit: Duration) -> Rulings {
        let around = Around { latency_ms: answered.latency_ms, cost_usd: answered.cost_usd, tools };
        match (serde_json::from_str::<Probe>(probe), Answer::read(&answered.body)) {
            (Ok(probe), Some(answer)) => {
                grade::rulings(&self.ports, &Purse::unbounded(), &probe, &answer, around, wall_limit).await
            }
            (Ok(_) | Err(_), _) => Rulings::new(),
        }
    }

    /// Who asks.
    #[must_use]
    pub fn prober(&self) -> Arc<dyn Prober> {
        Arc::clone(&self.ports.prober)
    }

    /// The releases' rounds that have ended since the last call.
    pub(crate) fn take_rounds(&self) -> Vec<(ReleaseId, Round)> {
        std::mem::take(&mut self.known().rounds)
    }
}

impl Known {
    fn note_asking(&mut self, of: &Whose) {
        match of {
            Whose::Release(release) => self.asking.insert(release.clone()),
            Whose::Route(route, _) => self.steady_asking.insert(route.clone()),
        };
    }

    fn note_asked(&mut self, of: Whose, round: Round) {
        match of {
            Whose::Release(release) => {
                self.asking.remove(&release);
                self.rounds.push((release, round));
            }
            Whose::Route(route, version) => {
                self.steady_asking.remove(&route);
                self.steady_rounds.push((route, version, round));
            }
        }
    }
}
