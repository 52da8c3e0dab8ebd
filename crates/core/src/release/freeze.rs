//! Freeze windows: spans of the week in which nothing is advanced or promoted.

use crate::release::policy::{FreezeWindow, Policy};
use crate::time::{SpanMs, UnixMs};

/// Minutes of a week.
pub const WEEK_MINUTES: u16 = 7 * 24 * 60;

impl FreezeWindow {
    /// Minutes from `minute` (of the week) to the window's end; `None` when outside of it.
    #[must_use]
    pub fn minutes_left(self, minute: u16) -> Option<u16> {
        let since_from = |minute: u16| (minute % WEEK_MINUTES + WEEK_MINUTES - self.from % WEEK_MINUTES) % WEEK_MINUTES;
        let (length, passed) = (since_from(self.to), since_from(minute));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::example::{MONDAY, policy, weekend};

    fn frozen(windows: &[FreezeWindow], hours: u64) -> Option<u64> {
        let policy = Policy { freeze: windows.to_vec(), ..policy() };
        policy.frozen_until(MONDAY + SpanMs::hours(hours)).map(|until| until.since(MONDAY).0 / 3_600_000)
    }

    #[test]
    fn a_weekend_wraps_over_the_weeks_end() {
        let friday_16 = 4 * 24 + 16;
        assert_eq!(frozen(&[weekend()], 7), Some(8));
        assert_eq!(frozen(&[weekend()], 8), None, "the end is outside");
        assert_eq!(frozen(&[weekend()], friday_16 - 1), None);
        assert_eq!(frozen(&[weekend()], friday_16), Some(7 * 24 + 8));
    }

    #[test]
    fn windows_that_meet_are_one_freeze() {
        let morning = FreezeWindow { from: 8 * 60, to: 12 * 60 };
        assert_eq!(frozen(&[morning, weekend()], 1), Some(12));
        let always = [FreezeWindow { from: 0, to: 6_000 }, FreezeWindow { from: 5_000, to: 0 }];
        assert_eq!(frozen(&always, 1), Some(7 * 24 + 1), "a week that is frozen all through");
    }

    #[test]
    fn a_window_of_nonsense_freezes_nothing_and_does_not_panic() {
        let outside = FreezeWindow { from: u16::MAX, to: u16::MAX };
        assert_eq!(frozen(&[outside], 1), None);
    }
}
