//! Failures in a row, for tripwires: the canary's, and what control did meanwhile.

use crate::tally::Blame;
use crate::time::UnixMs;
use crate::traffic::pin::Arm;
use serde::{Deserialize, Serialize};

/// Canary failures in a row, in the order of arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// How many.
    pub length: u32,
    /// When the first of them began.
    pub since: UnixMs,
    /// Control's requests begun since then that were answered.
    pub control_answered: u64,
    /// Control's that failed.
    pub control_failed: u64,
}

/// The present run, and the longest that control did not share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Runs {
    now: Option<Run>,
    longest: Option<Run>,
}

/// Whether the canary's failures can be held against a control.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alongside {
    /// A control runs beside it.
    Control,
    /// None does.
    Nobody,
}

impl Runs {
    /// Counts one request of either arm.
    pub fn add(&mut self, arm: Arm, blame: Blame, started_at: UnixMs, alongside: Alongside) {
        match (arm, blame) {
            (Arm::Stable, _) | (_, Blame::Client | Blame::Gateway) => return,
            (Arm::Canary, Blame::Nobody) => self.now = None,
            (Arm::Canary, Blame::Upstream) => {
                let run = self.now.get_or_insert(Run {
                    length: 0,
                    since: started_at,
                    control_answered: 0,
                    control_failed: 0,
                });
                run.length += 1;
            }
            (Arm::Control, Blame::Nobody | Blame::Upstream) => {
                let Some(run) = self.now.as_mut().filter(|run| started_at >= run.since) else { return };
                match blame {
                    Blame::Nobody => run.control_answered += 1,
                    Blame::Upstream | Blame::Client | Blame::Gateway => run.control_failed += 1,
                }
            }
        }
        let Some(run) = self.now else { return };
        let unshared = match alongside {
            Alongside::Control => run.control_answered > run.control_failed,
            Alongside::Nobody => true,
        };
        if unshared && self.longest.is_none_or(|longest| run.length > longest.length) {
            self.longest = Some(run);
        }
    }

    /// The longest run of canary failures during which control answered more requests than it failed;
    /// in an outage that both share there is none.
    #[must_use]
    pub fn longest(&self) -> Option<Run> {
        self.longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(events: &str) -> Runs {
        let mut runs = Runs::default();
        for (at, event) in events.chars().enumerate() {
            let (arm, blame) = match event {
                'x' => (Arm::Canary, Blame::Upstream),
                'o' => (Arm::Canary, Blame::Nobody),
                'c' => (Arm::Canary, Blame::Client),
                'X' => (Arm::Control, Blame::Upstream),
                'O' => (Arm::Control, Blame::Nobody),
                other => panic!("{other}"),
            };
            runs.add(arm, blame, UnixMs(at as u64), Alongside::Control);
        }
        runs
    }

    fn longest(events: &str) -> u32 {
        feed(events).longest().map_or(0, |run| run.length)
    }

    #[test]
    fn canary_failures_in_a_row_trip_while_control_answers() {
        assert_eq!(longest("xOxOxxO"), 4);
        assert_eq!(longest("xxOoxxxO"), 3, "a success ends a run");
        assert_eq!(longest("xxcxO"), 3, "the client's own fault is neither");
    }

    #[test]
    fn a_shared_outage_does_not_trip_during_it_or_at_its_end() {
        assert_eq!(longest("xXxXXxxXxXXX"), 0);
        assert_eq!(longest("xXXxxXXxXXxXOOoO"), 0);
    }

    #[test]
    fn nothing_trips_before_control_has_spoken() {
        assert_eq!(longest("xxxxxx"), 0);
        assert_eq!(longest("Oxxxxxx"), 0, "an answer from before the run says nothing");
        assert_eq!(longest("xxxxxxO"), 6);
    }

    #[test]
    fn without_a_control_the_run_stands_alone() {
        let mut runs = Runs::default();
        for at in 0..3 {
            runs.add(Arm::Canary, Blame::Upstream, UnixMs(at), Alongside::Nobody);
        }
        assert_eq!(runs.longest().unwrap().length, 3);
    }
}
