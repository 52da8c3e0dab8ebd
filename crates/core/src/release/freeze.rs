//! Freeze windows: spans of the week in which nothing is advanced or promoted.

use crate::release::policy::{FreezeWindow, Policy, Zone};
use crate::time::{SpanMs, UnixMs};

/// Minutes of a week.
pub const WEEK_MINUTES: u16 = 7 * 24 * 60;

impl FreezeWindow {
    /// Minutes from `minute` (of the week) to the window's end; `None` when outside of it.
    #[must_use]
    pub fn minutes_left(&self, minute: u16) -> Option<u16> {
        let since_from = |minute: u16| (minute % WEEK_MINUTES + WEEK_MINUTES - self.from % WEEK_MINUTES) % WEEK_MINUTES;
        let (length, passed) = (since_from(self.to), since_from(minute));
        length.checked_sub(passed).filter(|left| *left > 0)
    }

    /// The end of the window that `now` lies in, by the window's own clock; `None` when outside of it.
    #[must_use]
    pub fn end(&self, now: UnixMs) -> Option<UnixMs> {
        let offset = |at| self.zone.as_ref().map_or(0, |zone| zone.offset(at));
        let local = ahead(now, offset(now));
        let left = self.minutes_left(minute_of_week(local))?;
        let local_end = UnixMs((local.0 / 60_000 + u64::from(left)) * 60_000);
        // The clock may be put forward or back before the end: the end is what it shows then.
        let about = ahead(local_end, -offset(now));
        Some(ahead(local_end, -offset(about)).max(now + SpanMs(1)))
    }
}

impl Zone {
    /// Minutes that local time is ahead of UTC at `at`.
    #[must_use]
    pub fn offset(&self, at: UnixMs) -> i16 {
        let begun = self.offsets.iter().rev().find(|offset| offset.from <= at);
        begun.or_else(|| self.offsets.first()).map_or(0, |offset| offset.minutes)
    }
}

fn ahead(at: UnixMs, minutes: i16) -> UnixMs {
    UnixMs(at.0.saturating_add_signed(i64::from(minutes) * 60_000))
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
            let Some(end) = self.freeze.iter().filter_map(|window| window.end(at)).max() else { break };
            at = end;
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
    use crate::release::policy::Offset;

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
        let morning = FreezeWindow { from: 8 * 60, to: 12 * 60, zone: None };
        assert_eq!(frozen(&[morning, weekend()], 1), Some(12));
        let always = [FreezeWindow { from: 0, to: 6_000, zone: None }, FreezeWindow { from: 5_000, to: 0, zone: None }];
        assert_eq!(frozen(&always, 1), Some(7 * 24 + 1), "a week that is frozen all through");
    }

    /// Friday 16:00 to Monday 08:00 by a clock that is put forward on Sunday at 01:00 UTC, from +1 h to +2 h.
    #[test]
    fn a_window_keeps_to_its_own_clock_when_that_is_put_forward() {
        let sunday = MONDAY + SpanMs::hours(6 * 24 + 1);
        let offsets = vec![Offset { from: MONDAY, minutes: 60 }, Offset { from: sunday, minutes: 120 }];
        let berlin = Zone { name: "Europe/Berlin".to_owned(), offsets };
        let window = FreezeWindow { zone: Some(berlin), ..weekend() };
        let frozen = |hours| frozen(std::slice::from_ref(&window), hours);
        let friday = 4 * 24 + 15;
        assert_eq!((frozen(friday - 1), frozen(friday)), (None, Some(7 * 24 + 6)), "16:00 is 15:00 UTC");
        assert_eq!(frozen(7 * 24 + 5), Some(7 * 24 + 6), "08:00 is 06:00 UTC by then");
        assert_eq!(frozen(7 * 24 + 6), None);
        assert_eq!(frozen(11 * 24 + 14), Some(14 * 24 + 6), "and 16:00 is 14:00 UTC in the week after");
    }

    #[test]
    fn a_window_of_nonsense_freezes_nothing_and_does_not_panic() {
        let outside = FreezeWindow { from: u16::MAX, to: u16::MAX, zone: None };
        assert_eq!(frozen(&[outside], 1), None);
    }
}
