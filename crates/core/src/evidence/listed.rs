//! A map of few entries as a sorted list, as long as what is in it: a tenth of the room of a tree, and quicker to
//! search. A policy has a handful of metrics and a node a million sessions.

use crate::metric::Metric;
use serde::{Deserialize, Serialize, Serializer};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

/// Few values, in the order of their keys; written as a map.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "BTreeMap<K, V>", bound(deserialize = "K: Ord + Deserialize<'de>, V: Deserialize<'de>"))]
pub struct Listed<K, V>(Vec<(K, V)>);

/// Values of a session, or of many, by metric.
pub type ByMetric<V> = Listed<Metric, V>;

impl<K, V> Default for Listed<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K, V> From<BTreeMap<K, V>> for Listed<K, V> {
    fn from(map: BTreeMap<K, V>) -> Self {
        Self(map.into_iter().collect())
    }
}

impl<K: Ord, V, const N: usize> From<[(K, V); N]> for Listed<K, V> {
    fn from(values: [(K, V); N]) -> Self {
        BTreeMap::from(values).into()
    }
}

impl<K: Serialize, V: Serialize> Serialize for Listed<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<K, V> Listed<K, V> {
    /// All, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// The values alone.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }

    /// The values alone, to be changed.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.0.iter_mut().map(|(_, value)| value)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Makes room for so many in all.
    pub(super) fn reserve(&mut self, all: usize) {
        self.0.reserve_exact(all.saturating_sub(self.0.len()));
    }

    /// Keeps those of which `keep` says so.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&mut V) -> bool) {
        self.0.retain_mut(|(_, value)| keep(value));
    }
}

impl<K: Ord, V> Listed<K, V> {
    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&V> {
        self.place(key).ok().and_then(|at| self.0.get(at)).map(|(_, value)| value)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let at = self.place(key).ok()?;
        self.0.get_mut(at).map(|(_, value)| value)
    }

    /// Whether the key has a value.
    #[must_use]
    pub fn contains_key(&self, key: &K) -> bool {
        self.place(key).is_ok()
    }

    /// Puts a value in the place of what the key had.
    pub fn insert(&mut self, key: K, value: V) {
        match self.place(&key) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => self.put(at, key, value),
        }
    }

    fn put(&mut self, at: usize, key: K, value: V) {
        if self.0.len() == self.0.capacity() {
            self.0.reserve_exact(1);
        }
        self.0.insert(at, (key, value));
    }

    fn place(&self, key: &K) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| known.cmp(key))
    }
}

impl<K: Ord + Clone, V: Default> Listed<K, V> {
    /// The value of a key, which is put in where there is none.
    pub fn get_or_default(&mut self, key: &K) -> &mut V {
        self.get_or(key, V::default)
    }
}

impl<K: Ord + Clone, V> Listed<K, V> {
    /// The value of a key; where there is none, `new` is put in.
    pub fn get_or(&mut self, key: &K, new: impl FnOnce() -> V) -> &mut V {
        let at = self.place(key).unwrap_or_else(|at| {
            self.put(at, key.clone(), new());
            at
        });
        &mut self.0[at].1
    }

    /// For keys that are asked for in their order.
    pub(super) fn walk(&mut self) -> Walk<'_, K, V> {
        Walk { list: self, at: 0 }
    }
}

/// Goes through a list once, beside keys in ascending order: most often the next one is the one that is asked for.
pub(super) struct Walk<'a, K, V> {
    list: &'a mut Listed<K, V>,
    at: usize,
}

impl<K: Ord + Clone, V> Walk<'_, K, V> {
    /// The value of a key that lies behind all that were asked for before; where there is none, `new` is put in.
    pub(super) fn get_or(&mut self, key: &K, new: impl FnOnce() -> V) -> &mut V {
        let mut at = self.at;
        let order = loop {
            let Some((known, _)) = self.list.0.get(at) else { break Ordering::Greater };
            match known.cmp(key) {
                Ordering::Less => at += 1,
                order @ (Ordering::Equal | Ordering::Greater) => break order,
            }
        };
        if order == Ordering::Greater {
            self.list.put(at, key.clone(), new());
        }
        self.at = at + 1;
        &mut self.list.0[at].1
    }
}

impl<K, V> fmt::Debug for Walk<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Walk").field("at", &self.at).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_reads_and_writes_as_the_map_that_it_was() {
        let mut tree: BTreeMap<Metric, u32> = BTreeMap::new();
        let mut list = ByMetric::default();
        for (n, metric) in
            [Metric::RefusalRate, Metric::ErrorRate, Metric::ToolCallValid, Metric::ErrorRate].iter().enumerate()
        {
            *tree.entry(metric.clone()).or_default() += u32::try_from(n).unwrap() + 1;
            *list.get_or_default(metric) += u32::try_from(n).unwrap() + 1;
        }
        assert_eq!(list.get(&Metric::ErrorRate), Some(&6));
        assert_eq!(list.get(&Metric::EmptyRate), None);
        let written = serde_json::to_string(&list).unwrap();
        assert_eq!(written, serde_json::to_string(&tree).unwrap());
        assert_eq!(serde_json::from_str::<ByMetric<u32>>(&written).unwrap(), list);
    }

    proptest! {
        #[test]
        fn it_holds_what_a_tree_holds(rounds in prop::collection::vec((any::<bool>(), prop::collection::btree_set(-20_i16..20, 0..12)), 0..12)) {
            let (mut tree, mut list) = (BTreeMap::<i16, u64>::new(), Listed::<i16, u64>::default());
            for (beside, keys) in rounds {
                keys.iter().for_each(|key| *tree.entry(*key).or_insert(7) += 1);
                if beside {
                    let mut walk = list.walk();
                    keys.iter().for_each(|key| *walk.get_or(key, || 7) += 1);
                } else {
                    keys.iter().rev().for_each(|key| *list.get_or(key, || 7) += 1);
                }
                prop_assert_eq!(serde_json::to_string(&list).unwrap(), serde_json::to_string(&tree).unwrap());
            }
            tree.retain(|_, count| { *count -= 3; *count > 6 });
            list.retain(|count| { *count -= 3; *count > 6 });
            prop_assert_eq!(&list, &Listed::from(tree.clone()));
            for key in -21..21 {
                prop_assert_eq!((list.get(&key), list.contains_key(&key)), (tree.get(&key), tree.contains_key(&key)));
            }
        }
    }
}
