//! The prices that a release was created under, beside those of now.

use coalmine_core::price::PriceSnapshot;
use coalmine_core::time::UnixMs;
use coalmine_core::version::{JsonText, Version};
use coalmine_wire::prices::{Prices, Quote};

/// What a release goes by, for people.
#[derive(Debug, Clone, PartialEq)]
pub struct FrozenPrices {
    /// When they were taken.
    pub taken_at: UnixMs,
    /// By model.
    pub models: Vec<FrozenPrice>,
}

/// The price of one model.
#[derive(Debug, Clone, PartialEq)]
pub struct FrozenPrice {
    /// The model as a version asks for it.
    pub model: String,
    /// What the release goes by; `None`: there was no price, so its cost is unknown.
    pub quote: Option<Quote>,
    /// What the list says now.
    pub now: Now,
}

/// How the list stands to what a release goes by.
#[derive(Debug, Clone, PartialEq)]
pub enum Now {
    /// It says the same.
    Same,
    /// It says something else, or nothing any more.
    Changed(Option<Box<Quote>>),
}

/// Takes the prices of two versions.
pub(crate) fn take(prices: &Prices, versions: [&Version; 2], now: UnixMs) -> PriceSnapshot {
    PriceSnapshot::take(versions, |model| Some(JsonText(prices.of(model)?.written())), now)
}

/// Holds a snapshot beside the list; without a list nothing is said to have changed.
pub(crate) fn beside(snapshot: &PriceSnapshot, prices: Option<&Prices>) -> FrozenPrices {
    let models = snapshot.models.iter().map(|(model, kept)| {
        let quote = kept.as_ref().and_then(|kept| Quote::read(&kept.0));
        let now = match prices {
            Some(prices) if price(prices.of(model)) != price(quote.as_ref()) => {
                Now::Changed(prices.of(model).cloned().map(Box::new))
            }
            Some(_) | None => Now::Same,
        };
        FrozenPrice { model: model.clone(), quote, now }
    });
    FrozenPrices { taken_at: snapshot.taken_at, models: models.collect() }
}

/// Another date alone is no other price.
fn price(quote: Option<&Quote>) -> Option<coalmine_wire::prices::Price> {
    quote.map(|quote| quote.price)
}

#[cfg(test)]
mod tests {
    use super::*;
    use coalmine_core::version::Fallback;
    use coalmine_wire::prices::{Price, Rate};
    use std::collections::BTreeMap;

    fn quote(input_usd: f64, date: &str) -> Quote {
        let rate = Rate { input_usd, output_usd: 8.0, ..Rate::default() };
        Quote { price: Price { rate, long: None }, date: Some(date.to_owned()) }
    }

    fn version(model: &str, fallback: Option<&str>) -> Version {
        let by = |model: &str| Fallback { provider: "other".into(), model: Some(model.to_owned()) };
        Version {
            provider: "openai".into(),
            model: model.to_owned(),
            prompt: None,
            tools: None,
            params: BTreeMap::new(),
            fallbacks: fallback.map(by).into_iter().collect(),
        }
    }

    #[test]
    fn what_changes_in_the_list_is_told_and_a_date_alone_is_not() {
        let list = Prices::default().with("old", quote(2.0, "2026-01-01")).with("spare", quote(1.0, "2026-01-01"));
        let taken = take(&list, [&version("old", Some("spare")), &version("new", None)], UnixMs(5));
        assert_eq!(taken.models.keys().map(String::as_str).collect::<Vec<_>>(), ["new", "old", "spare"]);
        assert_eq!(taken.models["new"], None, "no price is kept as none");
        let now = |list: &Prices| {
            let told = beside(&taken, Some(list)).models.into_iter();
            told.filter_map(|one| if one.now == Now::Same { None } else { Some(one.model) }).collect::<Vec<_>>()
        };
        assert!(now(&list).is_empty());
        assert!(now(&list.clone().with("old", quote(2.0, "2026-12-31"))).is_empty());
        assert_eq!(now(&list.clone().with("old", quote(3.0, "2026-12-31"))), ["old"]);
        assert_eq!(
            now(&list.with("new", quote(1.0, "2026-12-31"))),
            ["new"],
            "a price that came later changes nothing"
        );
        assert_eq!(now(&Prices::default()), ["old", "spare"]);
        assert!(beside(&taken, None).models.iter().all(|one| one.now == Now::Same));
    }
}
