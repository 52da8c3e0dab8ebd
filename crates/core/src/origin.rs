//! Where a session comes from: what is known of its first request before a version is chosen for it.
//!
//! Sessions that ask for streams, or that enter by another region, differ from others in everything that is
//! measured, and the canary's share need not be the same among them (a ceiling at one gateway, a region that lags
//! behind a change of weight). So evidence is kept apart by origin where that is worth it, and multiplied
//! (`statistics.md`, sections 0, 5 and 8.3): the null is the same in each. By what is known before the
//! assignment only; a split by anything later would choose by outcome.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Origins that one count tells apart; what comes on top is counted in none.
const ORIGINS: usize = 32;
/// An origin is kept apart from this share of stable's requests on.
const WORTH_IT: f64 = 0.1;
/// The longest name of a region that is read back.
const NAME: usize = 128;

/// How a request wants its answer, and by which region it came in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Origin {
    /// How it wants its answer.
    pub transport: Transport,
    /// Where its gateway stands; `None` where none is configured.
    pub region: Option<Region>,
}

/// How a request wants its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// As a stream of events.
    Stream,
    /// In one body.
    Body,
}

/// Where a gateway stands, as its configuration calls it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Region(pub Arc<str>);

/// Which part of a release's sessions evidence is about: 0 is all that is not kept apart, n the n-th origin of
/// the yardstick.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Slice(pub u8);

/// Requests per origin.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Origins(BTreeMap<Origin, u64>);

impl Slice {
    /// All that is not kept apart.
    pub const REST: Self = Self(0);

    /// Whether it is the rest.
    #[must_use]
    pub fn is_rest(&self) -> bool {
        *self == Self::REST
    }

    /// The slice of an origin among those that are kept apart.
    #[must_use]
    pub fn of(origin: Option<&Origin>, apart: &[Origin]) -> Self {
        let index = origin.and_then(|origin| apart.iter().position(|other| other == origin));
        index.and_then(|index| u8::try_from(index + 1).ok()).map_or(Self::REST, Self)
    }

    /// What it is called: `streams from eu-west`, `the rest`.
    #[must_use]
    pub fn name(self, apart: &[Origin]) -> String {
        let origin = usize::from(self.0).checked_sub(1).and_then(|index| apart.get(index));
        let Some(origin) = origin else { return "the rest".to_owned() };
        let what = match origin.transport {
            Transport::Stream => "streams",
            Transport::Body => "whole answers",
        };
        origin.region.as_ref().map_or_else(|| what.to_owned(), |region| format!("{what} from {}", region.0))
    }
}

impl Origins {
    /// Counts one request.
    pub fn count(&mut self, origin: &Origin) {
        self.add(origin, 1);
    }

    /// Adds another count.
    pub fn merge(&mut self, other: &Self) {
        other.0.iter().for_each(|(origin, requests)| self.add(origin, *requests));
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The origins whose evidence is kept apart: those with a tenth of stable's requests, in a fixed order, so ten at
    /// most. With fewer than two of them there is nothing to part, and thin ones stay together: alone they would wait
    /// long for a session in each arm, and together they are too few to deceive.
    #[must_use]
    pub fn apart(&self) -> Vec<Origin> {
        let all = self.0.values().sum::<u64>() as f64;
        let worth_it = self.0.iter().filter(|(_, requests)| **requests as f64 >= WORTH_IT * all);
        let apart: Vec<Origin> = worth_it.map(|(origin, _)| origin.clone()).collect();
        if apart.len() > 1 { apart } else { Vec::new() }
    }

    fn add(&mut self, origin: &Origin, requests: u64) {
        if let Some(count) = self.0.get_mut(origin) {
            *count += requests;
        } else if self.0.len() < ORIGINS {
            self.0.insert(origin.clone(), requests);
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.transport {
            Transport::Stream => "stream",
            Transport::Body => "body",
        })?;
        self.region.as_ref().map_or(Ok(()), |region| write!(f, "/{}", region.0))
    }
}

/// A text that names no origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no origin: `stream` or `body`, and a region after a slash")]
pub struct BadOrigin(String);

impl FromStr for Origin {
    type Err = BadOrigin;
    fn from_str(text: &str) -> Result<Self, BadOrigin> {
        let (transport, region) = text.split_once('/').map_or((text, None), |(one, other)| (one, Some(other)));
        let transport = match transport {
            "stream" => Transport::Stream,
            "body" => Transport::Body,
            _ => return Err(BadOrigin(text.chars().take(NAME).collect())),
        };
        if region.is_some_and(|region| region.is_empty() || region.len() > NAME) {
            return Err(BadOrigin(text.chars().take(NAME).collect()));
        }
        Ok(Self { transport, region: region.map(|region| Region(Arc::from(region))) })
    }
}

impl TryFrom<String> for Origin {
    type Error = BadOrigin;
    fn try_from(text: String) -> Result<Self, BadOrigin> {
        text.parse()
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> Self {
        origin.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn origin(text: &str) -> Origin {
        text.parse().unwrap()
    }

    fn counted(counts: &[(&str, u64)]) -> Origins {
        let mut origins = Origins::default();
        counts.iter().for_each(|(text, requests)| origins.add(&origin(text), *requests));
        origins
    }

    #[test]
    fn what_has_a_tenth_is_kept_apart_and_the_rest_stays_together() {
        let apart = counted(&[("stream/eu", 500), ("body/eu", 420), ("stream/us", 60), ("body/us", 20)]).apart();
        assert_eq!(apart, [origin("stream/eu"), origin("body/eu")]);
        assert_eq!(Slice::of(Some(&origin("body/eu")), &apart).name(&apart), "whole answers from eu");
        assert_eq!(Slice::of(Some(&origin("stream/us")), &apart), Slice::REST);
        assert_eq!(Slice::of(None, &apart).name(&apart), "the rest");
        assert!(counted(&[("stream", 95), ("body", 5)]).apart().is_empty(), "one alone is all there is");
        assert!(Origins::default().apart().is_empty());
    }

    #[test]
    fn counts_are_bounded() {
        let mut origins = Origins::default();
        (0..1_000).for_each(|i| origins.count(&origin(&format!("body/r{i}"))));
        assert_eq!(origins.0.len(), ORIGINS);
    }

    #[test]
    fn what_is_no_origin_is_not_read() {
        for text in ["", "body/", "streams", "stream/ab/", &format!("body/{}", "x".repeat(129))] {
            let read = text.parse::<Origin>();
            assert_eq!(read.is_err(), text != "stream/ab/", "{text}");
        }
    }

    proptest! {
        #[test]
        fn an_origin_survives_its_text(streams in any::<bool>(), region in proptest::option::of("[a-z0-9-]{1,20}")) {
            let transport = if streams { Transport::Stream } else { Transport::Body };
            let origin = Origin { transport, region: region.map(|name| Region(Arc::from(name.as_str()))) };
            let counts = Origins(BTreeMap::from([(origin, 7)]));
            let text = serde_json::to_string(&counts).unwrap();
            prop_assert_eq!(serde_json::from_str::<Origins>(&text).unwrap(), counts);
        }

        #[test]
        fn at_most_ten_are_apart(requests in prop::collection::vec(0_u64..1_000, 0..32)) {
            let mut origins = Origins::default();
            requests.iter().enumerate().for_each(|(i, n)| origins.add(&origin(&format!("stream/r{i}")), *n));
            prop_assert!(origins.apart().len() <= 10 || requests.iter().sum::<u64>() == 0);
        }
    }
}
