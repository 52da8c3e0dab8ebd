//! Named time zones, resolved from the IANA database that is built in, over the life that a release may have.
//! The core keeps the instants at which the clock is put forward or back, and needs no database.

use coalmine_core::release::policy::{Offset, Zone};
use coalmine_core::time::{SpanMs, UnixMs};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A zone is resolved for so long from the reading of the file on: a draft may wait, and be held.
const LIFE: SpanMs = SpanMs::hours(24 * 366 * 2);

/// Whether the database has it.
pub(crate) fn is_known(name: &str) -> bool {
    TimeZone::get(name).is_ok()
}

/// The offsets of a zone from `now` on; `None` when the database does not have it.
pub(crate) fn resolve(name: &str, now: UnixMs) -> Option<Zone> {
    let zone = TimeZone::get(name).ok()?;
    let instant = |at: UnixMs| Timestamp::from_millisecond(i64::try_from(at.0).ok()?).ok();
    let minutes = |offset: jiff::tz::Offset| i16::try_from(offset.seconds() / 60).ok();
    let (start, end) = (instant(now)?, instant(now + LIFE)?);
    let mut offsets = vec![Offset { from: now, minutes: minutes(zone.to_offset(start))? }];
    for change in zone.following(start).take_while(|change| change.timestamp() < end) {
        let from = UnixMs(u64::try_from(change.timestamp().as_millisecond()).ok()?);
        let next = Offset { from, minutes: minutes(change.offset())? };
        if offsets.last().is_none_or(|last| last.minutes != next.minutes) {
            offsets.push(next);
        }
    }
    Some(Zone { name: name.to_owned(), offsets })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-05 00:00 UTC.
    const MONDAY: UnixMs = UnixMs(1_767_571_200_000);

    #[test]
    fn a_zone_has_its_offsets_at_the_instants_at_which_the_clock_is_moved() {
        let berlin = resolve("Europe/Berlin", MONDAY).unwrap();
        let told: Vec<(u64, i16)> = berlin.offsets.iter().map(|o| (o.from.0, o.minutes)).collect();
        // Clocks in the European Union are moved at 01:00 UTC on the last Sundays of March and October.
        let (march, october) = (1_774_746_000_000, 1_792_890_000_000);
        assert_eq!(told[..3], [(MONDAY.0, 60), (march, 120), (october, 60)]);
        let year = 365 * 24 * 3_600_000_u64;
        assert_eq!(told.len(), 5, "two years: {told:?}");
        assert!(told[3].0 - march < year + 8 * 24 * 3_600_000);
        assert_eq!(resolve("Asia/Kolkata", MONDAY).unwrap().offsets, [Offset { from: MONDAY, minutes: 330 }]);
        assert_eq!(resolve("Europe/Atlantis", MONDAY), None);
        assert!(is_known("America/New_York") && !is_known("mars"));
    }
}
