//! Values of a session by metric. A policy has a handful of metrics and a node a million sessions: a sorted
//! list as long as what is in it takes a tenth of the room of a tree.

use crate::metric::Metric;
use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeMap;

/// Few values by metric, in the order of the metrics; written as a map.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(from = "BTreeMap<Metric, V>", bound(deserialize = "V: Deserialize<'de>"))]
pub struct ByMetric<V>(Vec<(Metric, V)>);

impl<V> Default for ByMetric<V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<V> From<BTreeMap<Metric, V>> for ByMetric<V> {
    fn from(map: BTreeMap<Metric, V>) -> Self {
        Self(map.into_iter().collect())
    }
}

impl<V, const N: usize> From<[(Metric, V); N]> for ByMetric<V> {
    fn from(values: [(Metric, V); N]) -> Self {
        BTreeMap::from(values).into()
    }
}

impl<V: Serialize> Serialize for ByMetric<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<V> ByMetric<V> {
    /// The value of a metric.
    #[must_use]
    pub fn get(&self, metric: &Metric) -> Option<&V> {
        self.place(metric).ok().and_then(|at| self.0.get(at)).map(|(_, value)| value)
    }

    /// The value of a metric, which is put in where there is none.
    pub fn get_or_default(&mut self, metric: &Metric) -> &mut V
    where
        V: Default,
    {
        let at = self.place(metric).unwrap_or_else(|at| {
            self.0.reserve_exact(1);
            self.0.insert(at, (metric.clone(), V::default()));
            at
        });
        &mut self.0[at].1
    }

    /// All, in the order of their metrics.
    pub fn iter(&self) -> impl Iterator<Item = (&Metric, &V)> {
        self.0.iter().map(|(metric, value)| (metric, value))
    }

    /// The values alone.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }

    /// The values alone, to be changed.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.0.iter_mut().map(|(_, value)| value)
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn place(&self, metric: &Metric) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| known.cmp(metric))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
