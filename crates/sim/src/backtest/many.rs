//! Many runs, over all cores, in the order of their seeds.

use crate::backtest::BacktestError;
use crate::luck::Luck;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Runs `one` with `runs` seeds made from `seed`, and hands back what it gave in their order; `progress` is told how
/// many are done.
pub(crate) fn many<T: Send>(
    runs: u64,
    seed: u64,
    progress: &(dyn Fn(u64) + Sync),
    one: impl Fn(u64) -> Result<T, BacktestError> + Sync,
) -> Result<Vec<T>, BacktestError> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    let (next, done) = (AtomicU64::new(0), AtomicU64::new(0));
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..cores.min(runs) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= runs {
                        break;
                    }
                    let result = one(Luck::part(seed, index).bits());
                    let failed = result.is_err();
                    results.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((index, result));
                    progress(done.fetch_add(1, Ordering::Relaxed) + 1);
                    if failed {
                        next.store(runs, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}
