//! Deltas of gateways, counted once each by (gateway, epoch, sequence) and queued for the loop.

use coalmine_core::id::GatewayId;
use coalmine_core::tally::Delta;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// A delta that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IntakeError {
    /// The loop is behind: offer the same delta again later.
    #[error("{queued} turns wait to be counted, the bound is {bound}; offer delta {sequence} of {gateway} again")]
    Full {
        /// Whose.
        gateway: GatewayId,
        /// Which.
        sequence: u64,
        /// Turns waiting.
        queued: usize,
        /// The bound.
        bound: usize,
    },
}

/// The queue and the marks.
#[derive(Debug, Default)]
pub(crate) struct Intake {
    marks: BTreeMap<(GatewayId, u64), u64>,
    queue: VecDeque<Arc<Delta>>,
    queued: usize,
    /// Sequences that never came: a gateway or this process died with them.
    lost_deltas: u64,
}

/// Whether a delta was news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is queued.
    New,
    /// It had been counted or queued before.
    Known,
}

impl Intake {
    /// Goes on from the marks of the store.
    pub(crate) fn resume(counted: Vec<(GatewayId, u64, u64)>) -> Self {
        let marks = counted.into_iter().map(|(gateway, epoch, sequence)| ((gateway, epoch), sequence)).collect();
        Self { marks, ..Self::default() }
    }

    /// Queues a delta, unless it is known. A sequence may be skipped: what a dead process held is lost
    /// in both arms alike, and is counted.
    pub(crate) fn take(&mut self, delta: Arc<Delta>, bound: usize) -> Result<Taken, IntakeError> {
        let key = (delta.gateway.clone(), delta.epoch);
        let last = self.marks.get(&key).copied();
        if last.is_some_and(|last| delta.sequence <= last) {
            return Ok(Taken::Known);
        }
        let size = weight(&delta);
        if self.queued + size > bound && !self.queue.is_empty() {
            let (gateway, epoch_sequence) = (delta.gateway.clone(), delta.sequence);
            return Err(IntakeError::Full { gateway, sequence: epoch_sequence, queued: self.queued, bound });
        }
        if let Some(last) = last {
            self.lost_deltas += delta.sequence - last - 1;
        }
        self.marks.insert(key, delta.sequence);
        self.queued += size;
        self.queue.push_back(delta);
        Ok(Taken::New)
    }

    /// Everything queued, in the order of arrival.
    pub(crate) fn drain(&mut self) -> Vec<Arc<Delta>> {
        self.queued = 0;
        self.queue.drain(..).collect()
    }

    /// Turns waiting.
    pub(crate) fn queued(&self) -> usize {
        self.queued
    }

    /// Deltas that never came.
    pub(crate) fn lost_deltas(&self) -> u64 {
        self.lost_deltas
    }
}

/// What a delta counts against the bound: its turns and scores, and one for itself.
fn weight(delta: &Delta) -> usize {
    delta.turns.len() + delta.feedback.len() + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use coalmine_core::time::UnixMs;

    fn delta(gateway: &str, epoch: u64, sequence: u64) -> Arc<Delta> {
        Arc::new(Delta {
            gateway: gateway.into(),
            epoch,
            sequence,
            complete_to: UnixMs(0),
            turns: Vec::new(),
            feedback: Vec::new(),
            dropped: Vec::new(),
            serving: BTreeMap::new(),
            mirrored: Vec::new(),
            spending: Vec::new(),
        })
    }

    #[test]
    fn a_delta_counts_once_per_gateway_and_epoch() {
        let mut intake = Intake::resume(vec![("a".into(), 7, 4)]);
        assert_eq!(intake.take(delta("a", 7, 4), 10), Ok(Taken::Known), "counted before the restart");
        assert_eq!(intake.take(delta("a", 7, 5), 10), Ok(Taken::New));
        assert_eq!(intake.take(delta("a", 7, 5), 10), Ok(Taken::Known));
        assert_eq!(intake.take(delta("a", 8, 1), 10), Ok(Taken::New), "the gateway restarted");
        assert_eq!(intake.take(delta("b", 7, 1), 10), Ok(Taken::New));
        assert_eq!(intake.drain().len(), 3);
        assert_eq!(intake.take(delta("a", 7, 5), 10), Ok(Taken::Known), "also once it is counted");
    }

    #[test]
    fn a_full_queue_refuses_and_takes_the_same_delta_later() {
        let mut intake = Intake::default();
        assert_eq!(intake.take(delta("a", 1, 1), 1), Ok(Taken::New));
        assert!(matches!(intake.take(delta("a", 1, 2), 1), Err(IntakeError::Full { sequence: 2, .. })));
        intake.drain();
        assert_eq!(intake.take(delta("a", 1, 2), 1), Ok(Taken::New));
        assert_eq!(intake.lost_deltas(), 0);
    }

    #[test]
    fn a_skipped_sequence_is_counted_as_lost() {
        let mut intake = Intake::default();
        assert_eq!(intake.take(delta("a", 1, 1), 9), Ok(Taken::New));
        assert_eq!(intake.take(delta("a", 1, 4), 9), Ok(Taken::New));
        assert_eq!(intake.lost_deltas(), 2);
    }
}
