//! Counting in goes. A round of the loop counts what all gateways reported in a second, on the cores that serve requests.
//! Linux lets a thread that runs finish its slice, a millisecond and more, before one that wakes gets its turn, and every
//! hundredth request would wait for that. So the round stands aside between its goes, which are short. Where all cores are
//! busy each time costs it a slice of everybody else's: then its goes become longer, and few.

use std::time::{Duration, Instant};

/// Rows of a go, at first.
const ROWS_MIN: usize = 16;
/// Who has only a request to answer gives the core back sooner.
const LONG: Duration = Duration::from_micros(500);

/// `rows` in goes; `count` is given each of these once, in order.
pub(crate) fn in_goes<T>(rows: &[T], count: impl FnMut(&[T])) {
    goes(rows, count, || {
        let began = Instant::now();
        std::thread::yield_now();
        began.elapsed()
    });
}

/// The same; `stand_aside` says how long it did.
fn goes<T>(rows: &[T], mut count: impl FnMut(&[T]), mut stand_aside: impl FnMut() -> Duration) {
    let (mut rest, mut go) = (rows, ROWS_MIN);
    while !rest.is_empty() {
        let (some, behind) = rest.split_at(go.min(rest.len()));
        count(some);
        rest = behind;
        if !rest.is_empty() && stand_aside() > LONG {
            go *= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// How often a round of so many rows stood aside, where others took so long of each time.
    fn stood_aside(rows: usize, long: impl Fn(usize) -> bool) -> usize {
        let rows: Vec<usize> = (0..rows).collect();
        let (mut counted, mut times) = (Vec::new(), 0);
        let stand_aside = || {
            times += 1;
            if long(times) { LONG * 2 } else { LONG / 2 }
        };
        goes(
            &rows,
            |some| {
                assert!(!some.is_empty());
                counted.extend_from_slice(some);
            },
            stand_aside,
        );
        assert_eq!(counted, rows);
        times
    }

    #[test]
    fn goes_are_short_where_others_are_quick_and_few_where_they_are_not() {
        assert_eq!(stood_aside(2_000, |_| false), 124);
        assert_eq!(stood_aside(2_000, |_| true), 6);
        assert_eq!(stood_aside(1 << 20, |_| true), 16);
        assert_eq!((stood_aside(0, |_| true), stood_aside(16, |_| true), stood_aside(17, |_| true)), (0, 0, 1));
    }

    proptest! {
        #[test]
        fn every_row_is_counted_once_in_order_and_long_waits_are_few(rows in 0..5_000_usize, long in any::<[bool; 16]>()) {
            let waits = std::cell::Cell::new(0_usize);
            stood_aside(rows, |time| {
                let is_long = long[time % long.len()];
                waits.set(waits.get() + usize::from(is_long));
                is_long
            });
            prop_assert!(waits.get() <= 9, "{}", waits.get());
        }
    }
}
