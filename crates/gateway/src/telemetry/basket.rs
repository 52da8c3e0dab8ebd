//! A bounded queue that costs whoever fills it one short lock: it is emptied in one go, and nobody is woken.

use crate::metrics::Counter;
use crate::sync::lock;
use std::sync::Mutex;

/// What waits to be told.
#[derive(Debug)]
pub(crate) struct Basket<T> {
    items: Mutex<Vec<T>>,
    most: usize,
    dropped: Counter,
}

impl<T> Basket<T> {
    pub(crate) fn new(most: usize) -> Self {
        Self { items: Mutex::default(), most, dropped: Counter::default() }
    }

    /// Lays something in; where there is no room it is dropped and counted.
    pub(crate) fn lay(&self, item: T) {
        let mut items = lock(&self.items);
        if items.len() < self.most {
            items.push(item);
        } else {
            drop(items);
            self.dropped.add(1);
        }
    }

    /// Takes everything into `into`, which has to be empty; its room is left behind for what comes.
    pub(crate) fn take(&self, into: &mut Vec<T>) {
        std::mem::swap(&mut *lock(&self.items), into);
    }

    /// How many found no room.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_room_is_counted() {
        let basket = Basket::new(2);
        (0..5).for_each(|n| basket.lay(n));
        let mut taken = Vec::new();
        basket.take(&mut taken);
        assert_eq!((taken.as_slice(), basket.dropped()), (&[0, 1][..], 3));
        basket.lay(9);
        taken.clear();
        basket.take(&mut taken);
        assert_eq!(taken, [9]);
    }
}
