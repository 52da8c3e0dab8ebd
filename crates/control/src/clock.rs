//! The only reader of time.

use coalmine_core::time::{SpanMs, UnixMs};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The time of a process. It never goes back.
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// Now.
    fn now(&self) -> UnixMs;

    /// How many milliseconds of this clock pass in one of the wall's; 1 outside demos and tests.
    fn scale(&self) -> f64 {
        1.0
    }

    /// A span of the wall's time in this clock's.
    fn of_wall(&self, wall: SpanMs) -> SpanMs {
        SpanMs(to_ms(as_f64(wall.0) * self.scale()))
    }

    /// A span of this clock in the wall's time.
    fn to_wall(&self, span: SpanMs) -> SpanMs {
        SpanMs(to_ms(as_f64(span.0) / self.scale()))
    }
}

/// `start + elapsed × scale`, by the machine's monotonic clock.
#[derive(Debug)]
pub struct SystemClock {
    start: UnixMs,
    origin: Instant,
    scale: f64,
}

impl SystemClock {
    /// The machine's own time, monotonic from here on.
    #[must_use]
    pub fn wall() -> Self {
        Self::scaled(wall_now(), 1.0)
    }

    /// Starts at `start` and runs `scale` times as fast as the wall. A scaled process that is started
    /// again on the same store must start no earlier than where it stopped. A scale that is not a
    /// positive number counts as 1.
    #[must_use]
    pub fn scaled(start: UnixMs, scale: f64) -> Self {
        let scale = if scale.is_finite() && scale > 0.0 { scale } else { 1.0 };
        Self { start, origin: Instant::now(), scale }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> UnixMs {
        self.start + passed(self.origin.elapsed(), self.scale)
    }

    fn scale(&self) -> f64 {
        self.scale
    }
}

/// A clock that stands until it is moved: tests and the simulator.
#[derive(Debug, Default)]
pub struct ManualClock {
    now_ms: AtomicU64,
}

impl ManualClock {
    /// Stands at `now`.
    #[must_use]
    pub fn at(now: UnixMs) -> Self {
        Self { now_ms: AtomicU64::new(now.0) }
    }

    /// Moves forward by `span`.
    pub fn pass(&self, span: SpanMs) {
        self.now_ms.fetch_add(span.0, Ordering::SeqCst);
    }

    /// Moves forward to `now`; an earlier instant changes nothing.
    pub fn advance_to(&self, now: UnixMs) {
        self.now_ms.fetch_max(now.0, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> UnixMs {
        UnixMs(self.now_ms.load(Ordering::SeqCst))
    }
}

/// The machine's time as it says now.
#[must_use]
pub fn wall_now() -> UnixMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// What has passed of a clock of that scale. The wall's own, which each request reads several times, needs no arithmetic of fractions.
fn passed(elapsed: Duration, scale: f64) -> SpanMs {
    if scale == 1.0 {
        return SpanMs(elapsed.as_secs() * 1_000 + u64::from(elapsed.subsec_millis()));
    }
    SpanMs(to_ms(elapsed.as_secs_f64() * 1_000.0 * scale))
}

fn as_f64(ms: u64) -> f64 {
    ms as f64
}

fn to_ms(ms: f64) -> u64 {
    ms as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scaled_clock_converts_both_ways() {
        let clock = SystemClock::scaled(UnixMs(1_000), 60.0);
        assert_eq!(clock.of_wall(SpanMs::secs(10)), SpanMs::minutes(10));
        assert_eq!(clock.to_wall(SpanMs::minutes(10)), SpanMs::secs(10));
        assert!(clock.now() >= UnixMs(1_000));
    }

    #[test]
    fn whole_milliseconds_pass_at_every_scale() {
        for (wall_us, scale, passed_ms) in [
            (0, 1.0, 0),
            (999, 1.0, 0),
            (1_000, 1.0, 1),
            (61_000_999, 1.0, 61_000),
            (61_000_000, 60.0, 3_660_000),
            (999, 60.0, 59),
        ] {
            assert_eq!(passed(Duration::from_micros(wall_us), scale), SpanMs(passed_ms), "{wall_us} at {scale}");
        }
    }

    #[test]
    fn a_useless_scale_counts_as_one() {
        for scale in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(SystemClock::scaled(UnixMs(0), scale).of_wall(SpanMs(7)), SpanMs(7), "{scale}");
        }
    }

    #[test]
    fn a_manual_clock_never_goes_back() {
        let clock = ManualClock::at(UnixMs(10));
        clock.advance_to(UnixMs(5));
        clock.pass(SpanMs(2));
        assert_eq!(clock.now(), UnixMs(12));
    }
}
