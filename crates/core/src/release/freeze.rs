//! Freeze windows: spans of the week in which nothing is advanced or promoted.

use crate::release::policy::{FreezeWindow, Policy};
use crate::time::{SpanMs, UnixMs};

/// Minutes of a week.
pub const WEEK_MINUTES: u16 = 7 * 24 * 60;

impl FreezeWindow {
    /// Minutes from `minute` (of the week) to the window's end; `None` when outside of it.
    #[must_use]
    pub fn minutes_left(self, minute: u16) -> Option<u16> {
        let length = (self.to + WEEK_MINUTES - self.from) % WEEK_MINUTES;
        let passed = (minute + WEEK_MINUTES - self.from) % WEEK_MINUTES;
        length.checked_sub(passed).filter(|left| *left > 0)
    }
}

impl Policy {
    /// The end of the freeze that `now` lies in, over windows that meet or overlap; `None` outside of any.
    /// A week that is frozen all through ends a week from now.
    #[must_use]
    pub fn frozen_until(&self, now: UnixMs) -> Option<UnixMs> {
        let mut until = None;
        let mut at = now;
        let week_from_now = now + SpanMs::minutes(u64::from(WEEK_MINUTES));
        while at < week_from_now {
            let minute = minute_of_week(at);
            let left = self.freeze.iter().filter_map(|window| window.minutes_left(minute)).max();
            let Some(left) = left else { break };
            at = UnixMs((at.0 / 60_000 + u64::from(left)) * 60_000);
            until = Some(at.min(week_from_now));
        }
        until
    }
}

/// Minutes since Monday 00:00 UTC. The epoch began on a Thursday.
fn minute_of_week(at: UnixMs) -> u16 {
    const EPOCH_MINUTE: u64 = 3 * 24 * 60;
    let minute = (at.0 / 60_000 + EPOCH_MINUTE) % u64::from(WEEK_MINUTES);
    u16::try_from(minute).unwrap_or(0)
}
