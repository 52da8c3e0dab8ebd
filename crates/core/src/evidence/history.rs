//! Hourly summaries of a route's stable traffic: what a release is calibrated and planned by.

use crate::evidence::summary::{Following, Summary};
use crate::tally::{Feedback, Turn, TurnPart};
use crate::time::{SpanMs, UnixMs};
use crate::traffic::pin::Arm;
use crate::version::VersionId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Hours that are kept.
const HOURS: u64 = 72;
const HOUR: SpanMs = SpanMs::hours(1);

/// The last 72 hours of a route under its present stable version. One JSON document per route; the
/// sessions that are still young at a restart are not in it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RouteHistory {
    version: Option<VersionId>,
    hours: BTreeMap<u64, Summary>,
    /// When its first turn began.
    #[serde(default)]
    began: Option<UnixMs>,
    #[serde(skip)]
    following: Following,
}

impl RouteHistory {
    /// Counts a turn that `stable` answers; a new stable begins a new history. Turns of other versions
    /// are ignored.
    pub fn absorb(&mut self, turn: &Turn, stable: VersionId) {
        if self.version != Some(stable) {
            *self = Self { version: Some(stable), ..Self::default() };
        }
        if turn.version != stable {
            return;
        }
        self.began = Some(self.began.map_or(turn.started_at, |began| began.min(turn.started_at)));
        let arrivals = self.following.add(turn);
        let hour = self.hour(turn.started_at);
        hour.arrivals += arrivals;
        match turn.part {
            TurnPart::Whole | TurnPart::Judged => hour.add_request(&turn.outcome, turn.origin.as_ref()),
            TurnPart::Tail => {}
        }
        for session in self.following.grown(turn.started_at) {
            self.hour(session.began).add_session(&session);
        }
    }

    /// Counts a late score of a session outside of any release, or of a control.
    pub fn absorb_feedback(&mut self, feedback: &Feedback) {
        match feedback.member.as_ref().map(|member| member.arm) {
            None | Some(Arm::Stable | Arm::Control) => self.hour(feedback.received_at).add_score(feedback),
            Some(Arm::Canary) => {}
        }
    }

    /// The version whose history it is.
    #[must_use]
    pub fn version(&self) -> Option<VersionId> {
        self.version
    }

    /// The last `span` before `now`, in whole hours, the present one included.
    #[must_use]
    pub fn last(&self, span: SpanMs, now: UnixMs) -> Summary {
        let (from, to) = ((now - span).0.div_ceil(HOUR.0), now.0 / HOUR.0);
        let mut sum = Summary::default();
        for (_, hour) in self.hours.range(from.min(to)..=to) {
            sum.merge(hour);
        }
        sum
    }

    /// When that which [`Self::last`] sums up began; `None` before the first turn.
    #[must_use]
    pub fn covers_from(&self, span: SpanMs, now: UnixMs) -> Option<UnixMs> {
        let from = UnixMs((now - span).0.div_ceil(HOUR.0).saturating_mul(HOUR.0));
        self.began.map(|began| began.max(from))
    }

    /// Summaries by hour since 1970, oldest first.
    pub fn hours(&self) -> impl Iterator<Item = (UnixMs, &Summary)> {
        self.hours.iter().map(|(hour, summary)| (UnixMs(hour * HOUR.0), summary))
    }

    fn hour(&mut self, at: UnixMs) -> &mut Summary {
        let hour = at.0 / HOUR.0;
        let known = self.hours.last_key_value().map(|(newest, _)| *newest);
        let newest = known.map_or(hour, |known| known.max(hour));
        if known != Some(newest) {
            self.hours.retain(|kept, _| kept + HOURS > newest);
        }
        // What is older than all that is kept goes into the oldest kept hour's place and out at once.
        self.hours.entry(hour.max((newest + 1).saturating_sub(HOURS))).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::sample::{stable_version, turn};
    use crate::id::UnitKey;
    use crate::metric::Metric;
    use crate::tally::{Cause, Ending};

    fn at(hours: u64) -> UnixMs {
        UnixMs(hours * HOUR.0 + 1)
    }

    #[test]
    fn a_history_is_bounded_and_told_by_hours() {
        let mut history = RouteHistory::default();
        for hour in 0..200 {
            let mut failed = turn(UnitKey(1), at(hour));
            failed.outcome.ending = Ending::Failed(Cause::Server);
            history.absorb(&turn(UnitKey(1), at(hour)), stable_version());
            history.absorb(&failed, stable_version());
        }
        assert_eq!(history.hours().count(), 72);
        let day = history.last(SpanMs::hours(24), at(199));
        assert_eq!(day.requests, 48);
        assert!((day.rates.get(&Metric::ErrorRate).unwrap().bad - 24.0).abs() < 1e-9);
        assert_eq!(history.last(SpanMs::hours(24), at(1_000)).requests, 0);
    }

    #[test]
    fn a_new_stable_begins_a_new_history() {
        let mut history = RouteHistory::default();
        history.absorb(&turn(UnitKey(1), at(1)), stable_version());
        let other = crate::evidence::sample::canary_version();
        history.absorb(&turn(UnitKey(1), at(1)), other);
        assert_eq!(history.version(), Some(other));
        assert_eq!(history.last(SpanMs::hours(24), at(1)).requests, 0, "that turn was the old stable's");
    }

    #[test]
    fn it_survives_json() {
        let mut history = RouteHistory::default();
        for minute in 0..90 {
            history.absorb(&turn(UnitKey(minute), UnixMs(u64::try_from(minute).unwrap() * 60_000)), stable_version());
        }
        let text = serde_json::to_string(&history).unwrap();
        let read: RouteHistory = serde_json::from_str(&text).unwrap();
        assert_eq!(read.hours, history.hours);
        let now = UnixMs(90 * 60_000);
        assert_eq!(read.covers_from(SpanMs::hours(24), now), Some(UnixMs(0)));
        assert_eq!(read.covers_from(SpanMs::hours(1), now), Some(UnixMs(HOUR.0)));
        assert_eq!(read.last(SpanMs::hours(24), now).arrivals, 90);
        assert!(history.hours().map(|(_, hour)| hour.sessions).sum::<u64>() > 50);
    }
}
