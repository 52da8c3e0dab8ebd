//! From the deltas of gateways to stored evidence: drain, absorb, seal, save.

use crate::control::Control;
use crate::error::chain;
use crate::goes::in_goes;
use crate::reconcile::Desk;
use crate::watched::{Share, Unsaved, Watched};
use coalmine_core::evidence::Changes;
use coalmine_core::id::{GatewayId, ReleaseId, RouteName};
use coalmine_core::judge::Happened;
use coalmine_core::release::state::Release;
use coalmine_core::shadow::preferences::Preferred;
use coalmine_core::tally::{Delta, Feedback, Turn};
use coalmine_core::time::UnixMs;
use coalmine_core::version::VersionId;
use coalmine_store::{EvidenceBatch, StoreError};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Whether the evidence of this round is on stable storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Saved {
    /// It is: decisions may rest on it.
    Yes,
    /// It is in memory only: what it says may lower exposure, and nothing else.
    NotYet,
}

/// What judges did since the last round.
#[derive(Debug, Default)]
pub(crate) struct Judged {
    pub(crate) happened: Vec<(ReleaseId, String, Happened, UnixMs)>,
    pub(crate) scores: Vec<Feedback>,
    pub(crate) preferred: Vec<Preferred>,
}

impl Control {
    /// One round. While the store cannot say what it kept of a release, deltas stay queued.
    pub(crate) async fn observe(&self, desk: &mut Desk, now: UnixMs) -> Saved {
        if let Err(error) = self.take_up_evidence(desk).await {
            tracing::debug!(error = %chain(&error), "the evidence was not read; deltas wait");
            return Saved::NotYet;
        }
        let (deltas, complete_to) = {
            let mut known = self.known();
            (known.intake.drain(), known.gateways.complete_to(now, self.patience()))
        };
        desk.complete_to = complete_to;
        self.absorb_spending(desk, &deltas, now);
        let judged = self.take_judged();
        self.absorb_histories(desk, &deltas, &judged.scores);
        let begun = begun(&deltas);
        self.absorb_names(desk, &begun);
        self.absorb_rounds(desk);
        self.absorb_steady();
        self.absorb_judges(desk, &judged);
        self.absorb_releases(desk, Share::deal(&begun, &deltas, &judged), now);
        desk.counted.extend(deltas.iter().map(|delta| (delta.gateway.clone(), delta.epoch, delta.sequence)));
        match self.save_evidence(desk).await {
            Ok(()) => Saved::Yes,
            Err(error) => {
                tracing::debug!(error = %chain(&error), "the evidence is not stored yet");
                Saved::NotYet
            }
        }
    }

    /// Ledgers and books of the releases that are not over; those of the others are let go.
    async fn take_up_evidence(&self, desk: &mut Desk) -> Result<(), StoreError> {
        let unfinished = self.unfinished();
        desk.watched.retain(|id, _| unfinished.iter().any(|release| release.id == *id));
        let missing: Vec<&Release> = unfinished.iter().filter(|r| !desk.watched.contains_key(&r.id)).collect();
        if !missing.is_empty() && self.is_silent() {
            return Err(silent());
        }
        if !missing.is_empty() {
            // What is not yet stored would be missed by a reading of the store.
            self.save_evidence(desk).await?;
        }
        for release in missing {
            let call = self.store.evidence(&self.settings.tenant, &release.id);
            let evidence = match self.ask("reading the evidence", call).await {
                Ok(evidence) => evidence,
                Err(error @ StoreError::Unavailable { .. }) => return Err(error),
                Err(error) => {
                    self.fail(&release.id, chain(&error));
                    continue;
                }
            };
            let restored = catch_unwind(AssertUnwindSafe(|| Watched::restore(release, evidence)));
            match restored {
                Ok(Ok(watched)) => {
                    self.bench().take_up(&release.id, watched.judges());
                    if let Some(found) = self.known().releases.get_mut(&release.id) {
                        found.sentinels = None;
                    }
                    desk.watched.insert(release.id.clone(), watched);
                }
                Ok(Err(error)) => self.fail(&release.id, chain(&error)),
                Err(_) => self.fail(&release.id, "its stored evidence cannot be taken up".to_owned()),
            }
        }
        Ok(())
    }

    fn absorb_histories(&self, desk: &mut Desk, deltas: &[Arc<Delta>], judged: &[Feedback]) {
        // Intake waits for what is known: it is asked once, and let go before the counting.
        let stables: BTreeMap<RouteName, VersionId> =
            self.known().routes.iter().map(|(route, row)| (route.clone(), row.stable)).collect();
        for score in judged.iter().filter(|score| stables.contains_key(&score.route)) {
            of_route(&mut desk.histories, &score.route, |history| history.absorb_feedback(score));
        }
        for delta in deltas {
            for turns in delta.turns.chunk_by(|one, next| one.route == next.route) {
                if let Some((first, stable)) = turns.first().and_then(|first| Some((first, stables.get(&first.route)?)))
                {
                    of_route(&mut desk.histories, &first.route, |history| {
                        in_goes(turns, |turns| turns.iter().for_each(|turn| history.absorb(turn, *stable)));
                    });
                }
            }
            for score in &delta.feedback {
                if stables.contains_key(&score.route) {
                    of_route(&mut desk.histories, &score.route, |history| history.absorb_feedback(score));
                }
            }
        }
    }

    /// Rounds of the sentinels; one of a release that is over is let go. What they have shown is told to whoever
    /// plans the next.
    fn absorb_rounds(&self, desk: &mut Desk) {
        let mut rounds = self.take_rounds();
        for release in self.unfinished().iter().filter(|release| release.policy.sentinels.is_some()) {
            let Some(watched) = desk.watched.get_mut(&release.id) else { continue };
            let before = rounds.len();
            for (_, round) in rounds.iter().filter(|(of, _)| *of == release.id) {
                watched.absorb_round(release, round);
            }
            rounds.retain(|(of, _)| *of != release.id);
            if let Some(found) = self.known().releases.get_mut(&release.id)
                && (rounds.len() < before || found.sentinels.is_none())
            {
                found.sentinels = Some(watched.sentinels().clone());
            }
        }
    }

    /// What happened to the judges of releases that go on.
    fn absorb_judges(&self, desk: &mut Desk, judged: &Judged) {
        let unfinished = self.unfinished();
        for (of, name, happened, at) in &judged.happened {
            let release = unfinished.iter().find(|release| release.id == *of);
            let judge = release.and_then(|release| release.policy.judge(name));
            if let Some((watched, judge)) = desk.watched.get_mut(of).zip(judge) {
                watched.absorb_judge(judge, happened, *at);
            }
        }
        self.bench().retain(|id| unfinished.iter().any(|release| release.id == *id));
    }

    /// Each release by itself: one that fails is told, and is taken up anew from the store.
    fn absorb_releases(&self, desk: &mut Desk, mut shares: BTreeMap<&ReleaseId, Share<'_>>, now: UnixMs) {
        for release in self.unfinished() {
            let Some(watched) = desk.watched.get_mut(&release.id) else { continue };
            let share = shares.remove(&release.id).unwrap_or_default();
            let history = desk.histories.get(&release.route);
            let absorbed = catch_unwind(AssertUnwindSafe(|| {
                watched.absorb(&release, &share, history, desk.complete_to, now);
                watched.take_changes()
            }));
            match absorbed {
                Ok(None) => {}
                Ok(Some(changes)) => {
                    if let Err(error) = note_unsaved(&mut desk.unsaved, &release.id, changes) {
                        self.fail(&release.id, error.to_string());
                    }
                }
                Err(_) => {
                    desk.watched.remove(&release.id);
                    self.fail(&release.id, "its evidence could not be counted; it is read anew".to_owned());
                }
            }
        }
    }

    /// Evidence and marks in one transaction.
    async fn save_evidence(&self, desk: &mut Desk) -> Result<(), StoreError> {
        if self.is_silent() {
            return Err(silent());
        }
        if desk.counted.is_empty() && desk.unsaved.is_empty() {
            return Ok(());
        }
        let batch = EvidenceBatch {
            counted: highest(&desk.counted),
            releases: desk.unsaved.values().map(Unsaved::evidence).collect(),
            spending: self.spending_to_save(desk),
        };
        self.ask("storing evidence", self.store.add_evidence(&self.settings.tenant, &batch)).await?;
        desk.counted.clear();
        desk.unsaved.clear();
        desk.spent.clear();
        Ok(())
    }

    /// The releases that are looked at, as committed: those that are not over, and those promoted for which
    /// sessions are held back.
    pub(crate) fn unfinished(&self) -> Vec<Release> {
        let known = self.known();
        let open = known.releases.values().filter(|found| found.release.state.is_watched());
        open.map(|found| found.release.clone()).collect()
    }

    /// Tells what is wrong with one release, once per kind of failure.
    pub(crate) fn fail(&self, id: &ReleaseId, why: String) {
        if let Some(found) = self.known().releases.get_mut(id) {
            if found.failing.as_ref() != Some(&why) {
                tracing::error!(release = %id, %why, "the look failed; the release stands where it is");
            }
            found.failing = Some(why);
        }
    }
}

/// The turns of a round in the order in which they began: a gateway reports them in no order, and several gateways one
/// after the other, and a row of names is broken by one of before.
fn begun(deltas: &[Arc<Delta>]) -> Vec<&Turn> {
    let mut turns: Vec<(UnixMs, &Turn)> = Vec::with_capacity(deltas.iter().map(|delta| delta.turns.len()).sum());
    turns.extend(deltas.iter().flat_map(|delta| &delta.turns).map(|turn| (turn.started_at, turn)));
    turns.sort_by_key(|(at, _)| *at);
    turns.into_iter().map(|(_, turn)| turn).collect()
}

fn note_unsaved(
    unsaved: &mut BTreeMap<ReleaseId, Unsaved>,
    release: &ReleaseId,
    changes: Changes,
) -> Result<(), serde_json::Error> {
    let changes = Unsaved::new(release, changes)?;
    match unsaved.entry(release.clone()) {
        Entry::Vacant(place) => drop(place.insert(changes)),
        Entry::Occupied(mut waiting) => waiting.get_mut().lay(changes),
    }
    Ok(())
}

/// The store was asked in this round already.
fn silent() -> StoreError {
    StoreError::Unavailable { what: "it was asked in this round already".to_owned(), source: "silent".into() }
}

/// A route's own among many; done with every row of its turns, so the name is copied for a new route only.
pub(crate) fn of_route<V: Default>(all: &mut BTreeMap<RouteName, V>, route: &RouteName, add: impl FnOnce(&mut V)) {
    if let Some(known) = all.get_mut(route) {
        return add(known);
    }
    let mut new = V::default();
    add(&mut new);
    all.insert(route.clone(), new);
}

/// The marks: the highest sequence of each gateway and epoch.
fn highest(counted: &[(GatewayId, u64, u64)]) -> Vec<(GatewayId, u64, u64)> {
    let mut marks = BTreeMap::new();
    for (gateway, epoch, sequence) in counted {
        let mark = marks.entry((gateway.clone(), *epoch)).or_insert(*sequence);
        *mark = (*mark).max(*sequence);
    }
    marks.into_iter().map(|((gateway, epoch), sequence)| (gateway, epoch, sequence)).collect()
}
