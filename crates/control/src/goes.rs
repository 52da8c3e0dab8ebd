//! Counting in goes. A round of the loop counts what all gateways reported in a second, on the cores that serve requests.
//! Linux lets a thread that runs finish its slice, a millisecond and more, before one that wakes gets its turn, and every
//! hundredth request would wait for that. So the round stands aside between its goes, and does so a bounded number of
//! times, for where all cores are busy each of them costs it a slice of everybody else's.

/// Rows that are counted before anybody is let in.
const ROWS_MIN: usize = 64;
/// Goes of one round, at most.
const GOES_MAX: usize = 16;

/// `rows` in goes; `count` is given each of these once, in order.
pub(crate) fn in_goes<T>(rows: &[T], mut count: impl FnMut(&[T])) {
    let go = rows.len().div_ceil(GOES_MAX).max(ROWS_MIN);
    for (at, some) in rows.chunks(go).enumerate() {
        if at > 0 {
            std::thread::yield_now();
        }
        count(some);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_row_is_counted_once_in_order_and_in_few_goes(rows in 0..5_000_usize) {
            let rows: Vec<usize> = (0..rows).collect();
            let (mut counted, mut goes) = (Vec::new(), 0);
            in_goes(&rows, |some| {
                goes += 1;
                counted.extend_from_slice(some);
            });
            prop_assert!(goes <= GOES_MAX);
            prop_assert_eq!(counted, rows);
        }
    }
}
