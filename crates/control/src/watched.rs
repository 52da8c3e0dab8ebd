//! The evidence of one unfinished release, in memory: its ledger and its books.

use crate::observe::Judged;
use coalmine_core::analysis::{Analysis, Books, Reporting, analyse};
use coalmine_core::drift::Drifted;
use coalmine_core::evidence::{Changes, Kept, Ledger, RouteHistory, SealedBucket, Totals};
use coalmine_core::id::{Actor, ReleaseId, UnitKey};
use coalmine_core::judge::{Happened, Judge, JudgeRecords};
use coalmine_core::metric::Metric;
use coalmine_core::release::policy::Policy;
use coalmine_core::release::state::Release;
use coalmine_core::sentinel::{Records, Round};
use coalmine_core::shadow::pair::Mirrored;
use coalmine_core::shadow::preferences::Preferred;
use coalmine_core::shadow::young::MirroredSession;
use coalmine_core::tally::{Delta, Dropped, Feedback, Turn};
use coalmine_core::time::UnixMs;
use coalmine_core::version::VersionId;
use coalmine_store::{ReleaseEvidence, StoreError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Ledger and books of one release.
#[derive(Debug)]
pub(crate) struct Watched {
    ledger: Ledger,
    books: Option<Books>,
}

/// What one round of deltas holds for one release.
#[derive(Debug, Default)]
pub(crate) struct Share<'a> {
    pub(crate) turns: Vec<&'a Turn>,
    pub(crate) feedback: Vec<&'a Feedback>,
    pub(crate) dropped: Vec<&'a Dropped>,
    pub(crate) mirrored: Vec<&'a Mirrored>,
    pub(crate) preferred: Vec<&'a Preferred>,
}

impl<'a> Share<'a> {
    /// Deals a round of deltas out to the releases that they name. A gateway reports turns in no order, and several
    /// gateways report one after the other: they are counted in the order in which they began, for a row of names is
    /// broken by one of before.
    pub(crate) fn deal(deltas: &'a [Arc<Delta>], judged: &'a Judged) -> BTreeMap<&'a ReleaseId, Self> {
        let mut shares: BTreeMap<&ReleaseId, Self> = BTreeMap::new();
        for preferred in &judged.preferred {
            shares.entry(&*preferred.release).or_default().preferred.push(preferred);
        }
        for score in &judged.scores {
            if let Some(member) = &score.member {
                shares.entry(&*member.release).or_default().feedback.push(score);
            }
        }
        for delta in deltas {
            for turn in &delta.turns {
                if let Some(member) = &turn.member {
                    shares.entry(&*member.release).or_default().turns.push(turn);
                }
            }
            for score in &delta.feedback {
                if let Some(member) = &score.member {
                    shares.entry(&*member.release).or_default().feedback.push(score);
                }
            }
            for mirrored in &delta.mirrored {
                shares.entry(&*mirrored.release).or_default().mirrored.push(mirrored);
            }
            for dropped in &delta.dropped {
                if let Some(release) = &dropped.release {
                    shares.entry(&**release).or_default().dropped.push(dropped);
                }
            }
        }
        shares.values_mut().for_each(|share| share.turns.sort_by_key(|turn| turn.started_at));
        shares
    }
}

impl Watched {
    /// Takes up what the store kept: the books are folded anew from the sealed buckets.
    pub(crate) fn restore(release: &Release, evidence: ReleaseEvidence) -> Result<Self, StoreError> {
        let totals = evidence.totals.as_deref().map(serde_json::from_str::<Totals>).transpose();
        let totals = totals
            .map_err(|error| StoreError::Corrupt { what: format!("the totals of release {}: {error}", release.id) })?;
        let sessions = evidence.sessions.into_iter().map(|(unit, session)| (unit, Arc::unwrap_or_clone(session)));
        let mirrored = evidence.mirrored.into_iter().map(|(unit, session)| (unit, Arc::unwrap_or_clone(session)));
        let kept =
            Kept { yardstick: evidence.yardstick, sessions: sessions.collect(), mirrored: mirrored.collect(), totals };
        let ledger = Ledger::restore(release, kept);
        let mut books = ledger.yardstick().map(|yardstick| Books::new(release, yardstick));
        if let Some(books) = &mut books {
            evidence.sealed.iter().for_each(|bucket| books.fold(bucket));
        }
        Ok(Self { ledger, books })
    }

    /// Takes one round, freezes the yardstick once that is possible, and seals what is due.
    pub(crate) fn absorb(
        &mut self,
        release: &Release,
        share: &Share<'_>,
        history: Option<&RouteHistory>,
        complete_to: UnixMs,
        now: UnixMs,
    ) {
        for turn in &share.turns {
            let _ = self.ledger.absorb(turn);
        }
        for score in &share.feedback {
            let _ = self.ledger.absorb_feedback(score);
        }
        for dropped in &share.dropped {
            self.ledger.absorb_dropped(dropped);
        }
        share.mirrored.iter().for_each(|mirrored| self.ledger.absorb_mirrored(mirrored));
        share.preferred.iter().for_each(|preferred| self.ledger.absorb_preference(preferred));
        self.ledger.post_mirrored(complete_to);
        if release.started_at.is_none() {
            return;
        }
        let frozen = self.ledger.calibrate(history, now);
        if self.books.is_none() {
            self.books = frozen.map(|yardstick| Books::new(release, yardstick));
        }
        if let Some(books) = &mut self.books {
            books.note_drifts(&release.drifts);
        }
        for bucket in self.ledger.seal(complete_to) {
            if let Some(books) = &mut self.books {
                books.fold(&bucket);
            }
        }
    }

    /// Counts one round of the sentinels.
    pub(crate) fn absorb_round(&mut self, release: &Release, round: &Round) {
        self.ledger.absorb_round(release, round);
    }

    /// Counts what happened to a judge.
    pub(crate) fn absorb_judge(&mut self, judge: &Judge, happened: &Happened, at: UnixMs) {
        self.ledger.absorb_judge(judge, happened, at);
    }

    /// What the judges have shown.
    pub(crate) fn judges(&self) -> &JudgeRecords {
        &self.ledger.totals().judges
    }

    /// What the sentinels have shown.
    pub(crate) fn sentinels(&self) -> &Records {
        &self.ledger.totals().sentinels
    }

    /// What answers behind a version changed, and the release does not know yet: in words.
    pub(crate) fn drift(&self, release: &Release) -> Option<String> {
        let noted = release.drifts.iter().filter(|drift| drift.by == Actor::coalmine()).count();
        self.ledger.totals().names.changes.get(noted).cloned()
    }

    /// The last changes of the names behind the canary.
    pub(crate) fn canary_drifted(&self) -> impl Iterator<Item = &Drifted> {
        self.ledger.totals().names.canary_drifted.values()
    }

    /// The promotion evidence that the next try of the same canary starts from.
    pub(crate) fn carry(&self, release: &Release, stable: VersionId, next: &Policy) -> BTreeMap<Metric, f64> {
        self.books.as_ref().map(|books| books.carry(release, stable, next)).unwrap_or_default()
    }

    /// One look.
    pub(crate) fn look(&self, release: &Release, reporting: &Reporting, now: UnixMs) -> Analysis {
        analyse(release, &self.ledger, self.books.as_ref(), reporting, now)
    }

    /// What is to be stored since the last call.
    pub(crate) fn take_changes(&mut self) -> Option<Changes> {
        self.ledger.take_changes()
    }
}

/// What waits to be stored of one release: later changes lie on top of earlier ones.
#[derive(Debug, Default)]
pub(crate) struct Unsaved {
    evidence: Option<ReleaseEvidence>,
    sessions: BTreeMap<UnitKey, Arc<coalmine_core::evidence::Session>>,
    mirrored: BTreeMap<UnitKey, Arc<MirroredSession>>,
    unmirrored: BTreeSet<UnitKey>,
    sealed: Vec<SealedBucket>,
}

impl Unsaved {
    /// Lays changes on top.
    pub(crate) fn add(&mut self, release: &ReleaseId, changes: Changes) -> Result<(), serde_json::Error> {
        let totals = serde_json::to_string(&changes.totals)?;
        let evidence = self.evidence.get_or_insert_with(|| ReleaseEvidence::empty(release.clone()));
        evidence.totals = Some(totals);
        if changes.yardstick.is_some() {
            evidence.yardstick = changes.yardstick;
        }
        self.sessions.extend(changes.sessions);
        for unit in &changes.forgotten {
            self.sessions.remove(unit);
        }
        evidence.forgotten.extend(changes.forgotten);
        for unit in changes.unmirrored {
            self.mirrored.remove(&unit);
            self.unmirrored.insert(unit);
        }
        for (unit, session) in changes.mirrored {
            self.unmirrored.remove(&unit);
            self.mirrored.insert(unit, session);
        }
        self.sealed.extend(changes.sealed);
        Ok(())
    }

    /// As the store takes it.
    pub(crate) fn to_evidence(&self) -> Option<ReleaseEvidence> {
        let mut evidence = self.evidence.clone()?;
        evidence.sessions = self.sessions.iter().map(|(unit, session)| (*unit, Arc::clone(session))).collect();
        evidence.mirrored = self.mirrored.iter().map(|(unit, session)| (*unit, Arc::clone(session))).collect();
        evidence.unmirrored = self.unmirrored.iter().copied().collect();
        evidence.sealed.clone_from(&self.sealed);
        Some(evidence)
    }
}
