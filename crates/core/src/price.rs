//! What a release's versions cost, as it was when the release was created.

use crate::time::UnixMs;
use crate::version::{JsonText, Version};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The prices that a release keeps from its beginning to its end, in both arms: what the price list says later
/// changes no comparison that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PriceSnapshot {
    /// When they were taken.
    pub taken_at: UnixMs,
    /// By the model as a version asks for it, in the form that prices are read from. `None`: it had no price, and its
    /// cost stays unknown.
    pub models: BTreeMap<String, Option<JsonText>>,
}

impl PriceSnapshot {
    /// Takes the prices of everything that may answer for these versions, their fallbacks included.
    #[must_use]
    pub fn take<'a>(
        versions: impl IntoIterator<Item = &'a Version>,
        price: impl Fn(&str) -> Option<JsonText>,
        taken_at: UnixMs,
    ) -> Self {
        let mut models = BTreeMap::new();
        for version in versions {
            let fallbacks = version.fallbacks.iter().filter_map(|fallback| fallback.model.as_deref());
            for model in std::iter::once(version.model.as_str()).chain(fallbacks) {
                models.entry(model.to_owned()).or_insert_with(|| price(model));
            }
        }
        Self { taken_at, models }
    }
}
