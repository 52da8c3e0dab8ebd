//! What can happen to a gateway's reports on their way to the control plane.

use coalmine_core::id::UnitKey;
use coalmine_core::tally::{Delta, Turn};
use coalmine_core::time::UnixMs;
use coalmine_core::traffic::pin::Arm;
use std::sync::Arc;

/// How reports are falsified while a fault lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meddling {
    /// They come in time and hold nothing: nobody is there.
    Empty,
    /// The canary's turns are not in them.
    CanaryUnseen,
    /// Every time and cost in them is not a number.
    NotNumbers,
    /// They come, and the instant up to which they are complete stands still.
    Stale,
    /// Six of ten canary sessions are not in them: the arms do not have the shares that they were given.
    CanaryThinned,
}

impl Meddling {
    /// All of them, by the word that a scenario has for each.
    pub const ALL: [(&'static str, Self); 5] = [
        ("empty", Self::Empty),
        ("canary_unseen", Self::CanaryUnseen),
        ("not_numbers", Self::NotNumbers),
        ("stale", Self::Stale),
        ("canary_thinned", Self::CanaryThinned),
    ];

    /// What arrives of a report; `began` is when the meddling did.
    pub(crate) fn falsify(self, delta: &Arc<Delta>, began: UnixMs) -> Arc<Delta> {
        let mut delta = Delta::clone(delta);
        match self {
            Self::Empty => {
                delta.turns.clear();
                delta.feedback.clear();
                delta.mirrored.clear();
            }
            Self::CanaryUnseen => {
                delta.turns.retain(|turn| !is_canary(turn));
                delta.feedback.retain(|score| score.member.as_ref().is_none_or(|member| member.arm != Arm::Canary));
            }
            Self::NotNumbers => delta.turns.iter_mut().for_each(spoil),
            Self::Stale => delta.complete_to = delta.complete_to.min(began),
            Self::CanaryThinned => delta.turns.retain(|turn| !is_canary(turn) || !turn.unit.is_some_and(is_thinned)),
        }
        Arc::new(delta)
    }
}

fn is_canary(turn: &Turn) -> bool {
    turn.member.as_ref().is_some_and(|member| member.arm == Arm::Canary)
}

fn is_thinned(unit: UnitKey) -> bool {
    unit.0 % 10 < 6
}

fn spoil(turn: &mut Turn) {
    turn.outcome.latency_ms = f64::NAN;
    turn.outcome.ttft_ms = turn.outcome.ttft_ms.map(|_| f64::NAN);
    turn.outcome.gap_max_ms = turn.outcome.gap_max_ms.map(|_| f64::NAN);
    turn.outcome.cost_usd = turn.outcome.cost_usd.map(|_| f64::NAN);
}
