//! A map that forgets: a full young age becomes the old one, which is then forgotten as a whole. Bounded, without a clock
//! and without a list of what was used when.

use std::collections::HashMap;
use std::hash::Hash;

/// Two ages of so many entries each, at most.
#[derive(Debug)]
pub(crate) struct Ages<K, V, const EACH: usize> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K, V, const EACH: usize> Default for Ages<K, V, EACH> {
    fn default() -> Self {
        Self { young: HashMap::new(), old: HashMap::new() }
    }
}

impl<K: Eq + Hash, V, const EACH: usize> Ages<K, V, EACH> {
    /// What is kept under a key; it grows no younger by that.
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    /// Keeps it among the young.
    pub(crate) fn put(&mut self, key: K, value: V) {
        if self.young.len() >= EACH && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}

impl<K: Eq + Hash, V: Clone, const EACH: usize> Ages<K, V, EACH> {
    /// The same as [`Self::get`], and what is found is young again.
    pub(crate) fn used(&mut self, key: K) -> Option<V> {
        if let Some(found) = self.young.get(&key) {
            return Some(found.clone());
        }
        let found = self.old.remove(&key)?;
        self.put(key, found.clone());
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_number_is_bounded() {
        let mut ages = Ages::<u32, u32, 4>::default();
        for key in 0..100 {
            ages.put(key, key);
            assert_eq!(ages.used(0), Some(0), "after {key}");
            assert!(ages.young.len() <= 4 && ages.old.len() <= 4);
        }
        assert_eq!((ages.get(&99), ages.get(&1)), (Some(&99), None));
        ages.put(99, 7);
        assert_eq!(ages.get(&99), Some(&7), "the latest counts");
    }
}
