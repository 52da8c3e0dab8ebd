//! Counts of classes that lie side by side: every answered request adds to a few of them, so a count is found by its
//! place.

use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeMap;

/// Counts by class; written as a map of those that are not 0.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(from = "BTreeMap<i16, u64>")]
pub struct Row {
    /// The class of the first count.
    first: i16,
    /// From the lowest class that was counted to the highest.
    counts: Vec<u64>,
}

impl From<BTreeMap<i16, u64>> for Row {
    fn from(map: BTreeMap<i16, u64>) -> Self {
        let mut row = Self::default();
        map.into_iter().for_each(|(class, count)| row.add(class, count));
        row
    }
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl Row {
    /// Adds to a class.
    pub fn add(&mut self, class: i16, count: u64) {
        let place = usize::try_from(i32::from(class) - i32::from(self.first)).ok();
        if let Some(known) = place.and_then(|place| self.counts.get_mut(place)) {
            *known += count;
        } else if count > 0 {
            self.widen(class, count);
        }
    }

    /// Each class that is not empty and its count, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (i16, u64)> {
        let placed = (i32::from(self.first)..).zip(&self.counts);
        placed.filter(|(_, count)| **count > 0).map(|(class, count)| (class as i16, *count))
    }

    /// Multiplies every count.
    pub fn multiply(&mut self, times: u64) {
        self.counts.iter_mut().for_each(|count| *count *= times);
    }

    #[cold]
    fn widen(&mut self, class: i16, count: u64) {
        if self.counts.is_empty() {
            (self.first, self.counts) = (class, vec![count]);
            return;
        }
        let place = i32::from(class) - i32::from(self.first);
        if let Ok(place) = usize::try_from(place) {
            self.counts.reserve_exact(place + 1 - self.counts.len());
            self.counts.resize(place, 0);
            self.counts.push(count);
            return;
        }
        let mut wider = vec![0; place.unsigned_abs() as usize];
        wider[0] = count;
        wider.append(&mut self.counts);
        (self.first, self.counts) = (class, wider);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_counts_reads_and_writes_as_a_tree_does(added in prop::collection::vec((-300_i16..300, 1_u64..5), 0..60)) {
            let (mut row, mut tree) = (Row::default(), BTreeMap::new());
            for (class, count) in added {
                row.add(class, count);
                *tree.entry(class).or_insert(0) += count;
            }
            let written = serde_json::to_string(&row).unwrap();
            prop_assert_eq!(&written, &serde_json::to_string(&tree).unwrap());
            prop_assert_eq!(&serde_json::from_str::<Row>(&written).unwrap(), &row);
            prop_assert_eq!(row.iter().collect::<BTreeMap<_, _>>(), tree);
        }
    }

    #[test]
    fn its_ends_are_the_ends_of_what_a_class_may_be() {
        let mut row = Row::default();
        for class in [0, i16::MAX, i16::MIN, i16::MAX] {
            row.add(class, 1);
        }
        assert_eq!(row.iter().collect::<Vec<_>>(), [(i16::MIN, 1), (0, 1), (i16::MAX, 2)]);
    }
}
