//! The evidence of one unfinished release, in memory: its ledger and its books.

use crate::goes::in_goes;
use crate::observe::Judged;
use coalmine_core::analysis::{Analysis, Books, Reporting, analyse};
use coalmine_core::drift::Drifted;
use coalmine_core::evidence::{Changes, Kept, Ledger, RouteHistory, Totals};
use coalmine_core::id::{Actor, ReleaseId, UnitKey};
use coalmine_core::judge::{Happened, Judge, JudgeRecords};
use coalmine_core::metric::Metric;
use coalmine_core::release::policy::Policy;
use coalmine_core::release::state::Release;
use coalmine_core::sentinel::{Records, Round};
use coalmine_core::shadow::pair::Mirrored;
use coalmine_core::shadow::preferences::Preferred;
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
    /// Deals a round of deltas out to the releases that they name; `begun` are its turns, in the order in which they
    /// are counted.
    pub(crate) fn deal(
        begun: &[&'a Turn],
        deltas: &'a [Arc<Delta>],
        judged: &'a Judged,
    ) -> BTreeMap<&'a ReleaseId, Self> {
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
        fn release(turn: &Turn) -> Option<&Arc<ReleaseId>> {
            turn.member.as_ref().map(|member| &member.release)
        }
        for turns in begun.chunk_by(|one, next| release(one) == release(next)) {
            if let Some(release) = turns.first().and_then(|first| release(first)) {
                shares.entry(&**release).or_default().turns.extend(turns);
            }
        }
        shares
    }
}

impl Watched {
    /// Takes up what the store kept: the books are folded anew from the sealed buckets.
    pub(crate) fn restore(release: &Release, evidence: ReleaseEvidence) -> Result<Self, StoreError> {
        let totals = evidence.totals.as_deref().map(serde_json::from_str::<Totals>).transpose();
        let totals = totals
            .map_err(|error| StoreError::Corrupt { what: format!("the totals of release {}: {error}", release.id) })?;
        let mirrored = evidence.mirrored.into_iter().map(|(unit, session)| (unit, Arc::unwrap_or_clone(session)));
        let kept = Kept {
            yardstick: evidence.yardstick,
            sessions: evidence.sessions,
            lap: evidence.lap,
            mirrored: mirrored.collect(),
            totals,
        };
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
        in_goes(&share.turns, |turns| {
            for turn in turns {
                let _ = self.ledger.absorb(turn);
            }
        });
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

/// What waits to be stored of one release: later changes lie on top of earlier ones. Shared with whoever stores it.
#[derive(Debug)]
pub(crate) struct Unsaved(Arc<ReleaseEvidence>);

impl Unsaved {
    /// The changes of one round.
    pub(crate) fn new(release: &ReleaseId, changes: Changes) -> Result<Self, serde_json::Error> {
        let known: BTreeSet<UnitKey> = changes.mirrored.iter().map(|(unit, _)| *unit).collect();
        let gone = changes.unmirrored.into_iter().filter(|unit| !known.contains(unit));
        Ok(Self(Arc::new(ReleaseEvidence {
            release: release.clone(),
            totals: Some(serde_json::to_string(&changes.totals)?),
            yardstick: changes.yardstick,
            sessions: changes.sessions,
            lap: changes.lap,
            whole_from: changes.whole_from,
            live_from: changes.live_from,
            mirrored: changes.mirrored,
            unmirrored: gone.collect(),
            sealed: changes.sealed,
        })))
    }

    /// Lays those of a later round on top.
    pub(crate) fn lay(&mut self, later: Self) {
        let later = Arc::unwrap_or_clone(later.0);
        let waiting = Arc::make_mut(&mut self.0);
        waiting.totals = later.totals;
        waiting.yardstick = later.yardstick.or(waiting.yardstick.take());
        (waiting.lap, waiting.whole_from, waiting.live_from) = (later.lap, later.whole_from, later.live_from);
        lay(&mut waiting.sessions, later.sessions);
        waiting.sessions.retain(|(_, session)| session.exposed_at >= later.live_from);
        let known: BTreeSet<UnitKey> = later.mirrored.iter().map(|(unit, _)| *unit).collect();
        let gone: BTreeSet<UnitKey> = later.unmirrored.iter().copied().collect();
        waiting.mirrored.retain(|(unit, _)| !gone.contains(unit));
        lay(&mut waiting.mirrored, later.mirrored);
        waiting.unmirrored.retain(|unit| !known.contains(unit) && !gone.contains(unit));
        waiting.unmirrored.extend(gone);
        waiting.sealed.extend(later.sealed);
    }

    /// As the store takes it.
    pub(crate) fn evidence(&self) -> Arc<ReleaseEvidence> {
        Arc::clone(&self.0)
    }
}

/// Rows that came later, in the place of those of the same unit.
fn lay<T>(rows: &mut Vec<(UnitKey, T)>, later: Vec<(UnitKey, T)>) {
    rows.extend(later);
    // Of one unit the last first: that one is kept.
    rows.reverse();
    rows.sort_by_key(|(unit, _)| *unit);
    rows.dedup_by_key(|(unit, _)| *unit);
}

#[cfg(test)]
mod tests {
    use super::*;
    use coalmine_core::shadow::young::MirroredSession;

    fn round(mirrored: &[(u128, u64)], unmirrored: &[u128]) -> Unsaved {
        let row = |at| MirroredSession { first_at: UnixMs(at), is_counted: false, of: BTreeMap::new(), likeness: None };
        Unsaved(Arc::new(ReleaseEvidence {
            mirrored: mirrored.iter().map(|(unit, at)| (UnitKey(*unit), Arc::new(row(*at)))).collect(),
            unmirrored: unmirrored.iter().copied().map(UnitKey).collect(),
            ..ReleaseEvidence::empty("support-agent-1".into())
        }))
    }

    #[test]
    fn what_waits_says_what_the_rounds_say_one_after_the_other() {
        let mut waiting = round(&[(1, 10), (2, 10), (3, 10)], &[7, 8]);
        let held = waiting.evidence();
        waiting.lay(round(&[(2, 20), (8, 20)], &[3, 9]));
        let told = waiting.evidence();
        let mirrored: Vec<(u128, u64)> = told.mirrored.iter().map(|(unit, row)| (unit.0, row.first_at.0)).collect();
        assert_eq!(mirrored, [(1, 10), (2, 20), (8, 20)], "3 is gone, and 8 is back");
        assert_eq!(told.unmirrored, [UnitKey(7), UnitKey(3), UnitKey(9)]);
        assert_eq!(held.mirrored.len(), 3, "who stores the first round goes on with it");
    }
}
