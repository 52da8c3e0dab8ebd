//! What tokens cost. The shipped table is `data/prices.json`: list prices of the standard tier, each
//! with the page that it is from and the day on which it stood there. Prices change; whoever pays
//! others sets them over the table.

use crate::usage::Usage;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Prices by model.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Prices {
    models: BTreeMap<String, Quote>,
}

/// The price of a model, and when it was that.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Quote {
    /// The price.
    #[serde(flatten)]
    pub price: Price,
    /// The day on which it stood where it is from (`2026-10-10`); `None` where nobody said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
}

/// The price of a model, in US dollars per million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Price {
    /// The usual rate.
    #[serde(flatten)]
    pub rate: Rate,
    /// What holds for a whole request instead, where its input is long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub long: Option<LongInput>,
}

/// US dollars per million tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// Tokens read.
    pub input_usd: f64,
    /// Tokens read from the provider's cache; `None` where they cost what others cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached_input_usd: Option<f64>,
    /// Tokens read that are written into the provider's cache; `None` where they cost what others cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write_usd: Option<f64>,
    /// The same where they are kept for an hour; `None` where they cost what others written there cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write_1h_usd: Option<f64>,
    /// Tokens written.
    pub output_usd: f64,
    /// Tokens of hidden reasoning; `None` where they cost what others written cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_usd: Option<f64>,
    /// Tokens of sound that are read; without a price a request that has any has no cost that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio_input_usd: Option<f64>,
    /// Tokens of sound that are written; the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio_output_usd: Option<f64>,
    /// Tokens of pictures that are read; `None` where they cost what others cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_input_usd: Option<f64>,
    /// Tokens of pictures that are written; without a price there is no cost that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_output_usd: Option<f64>,
}

/// The rate of requests with a long input.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LongInput {
    /// It holds where more tokens than this are read.
    pub above_input_tokens: u64,
    /// The rate.
    #[serde(flatten)]
    pub rate: Rate,
}

const SHIPPED: &str = include_str!("../data/prices.json");

#[derive(Deserialize)]
struct Table {
    models: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    model: String,
    #[serde(flatten)]
    quote: Quote,
}

impl Prices {
    /// The prices that are shipped.
    #[must_use]
    pub fn shipped() -> Self {
        // A test reads every entry; a table that did not parse would be no data, never a wrong price.
        let models = serde_json::from_str::<Table>(SHIPPED).map_or(Vec::new(), |table| table.models);
        Self { models: models.into_iter().map(|entry| (entry.model, entry.quote)).collect() }
    }

    /// Sets the price of a model over whatever is known of it.
    #[must_use]
    pub fn with(mut self, model: &str, quote: impl Into<Quote>) -> Self {
        self.models.insert(model.to_owned(), quote.into());
        self
    }

    /// The price of a model: of its own name, else of the model that it is a snapshot of
    /// (`gpt-4.1-2025-04-14`, `claude-sonnet-4-5-20250929`, `gemini-2.5-pro-latest`), with or without
    /// the name of who serves it before a slash (`openai/gpt-4.1`).
    #[must_use]
    pub fn of(&self, model: &str) -> Option<&Quote> {
        let mut name = model;
        loop {
            let undated = || Some(undated(name)).filter(|undated| undated.len() < name.len());
            if let Some(quote) = self.models.get(name).or_else(|| self.models.get(undated()?)) {
                return Some(quote);
            }
            name = name.split_once('/')?.1;
        }
    }

    /// What a request cost; `None` where price or usage is not known, never 0 for that.
    #[must_use]
    pub fn cost_usd(&self, model: &str, usage: &Usage) -> Option<f64> {
        self.of(model)?.price.cost_usd(usage)
    }
}

impl Quote {
    /// As it is kept: [`Self::read`] reads it back.
    #[must_use]
    pub fn written(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What [`Self::written`] wrote; `None` for what is no price.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

impl From<Price> for Quote {
    fn from(price: Price) -> Self {
        Self { price, date: None }
    }
}

/// `$2 read ($0.5 from the cache), $8 written; above 200000 tokens read: $4 read, $18 written`, of a million tokens.
impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.rate)?;
        match &self.long {
            Some(long) => write!(f, "; above {} tokens read: {}", long.above_input_tokens, long.rate),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = |parts: &[(&str, Option<f64>)]| {
            let known = parts.iter().filter_map(|(what, usd)| usd.map(|usd| format!("${usd} {what}")));
            let known: Vec<String> = known.collect();
            if known.is_empty() { String::new() } else { format!(" ({})", known.join(", ")) }
        };
        let read = [
            ("from the cache", self.cached_input_usd),
            ("into it", self.cache_write_usd),
            ("into it for an hour", self.cache_write_1h_usd),
            ("of sound", self.audio_input_usd),
            ("of pictures", self.image_input_usd),
        ];
        let written = [
            ("of reasoning", self.reasoning_usd),
            ("of sound", self.audio_output_usd),
            ("of pictures", self.image_output_usd),
        ];
        write!(f, "${} read{}, ${} written{}", self.input_usd, parts(&read), self.output_usd, parts(&written))
    }
}

impl Price {
    /// What a request cost; `None` where its usage, or a price that it needs, is not known.
    #[must_use]
    pub fn cost_usd(&self, usage: &Usage) -> Option<f64> {
        let (input, output) = (usage.input_tokens?, usage.output_tokens?);
        let rate = self.long.filter(|long| input > long.above_input_tokens).map_or(self.rate, |long| long.rate);
        let cached = usage.cached_tokens.unwrap_or(0).min(input);
        let written = usage.cache_written_tokens.unwrap_or(0).min(input - cached);
        let hour = usage.cache_written_1h_tokens.unwrap_or(0).min(written);
        let write_usd = rate.cache_write_usd.unwrap_or(rate.input_usd);
        // Sound and pictures that the cache holds are told of with the rest that it holds.
        let fresh = input - cached - written;
        let audio = usage.input_media.audio_tokens.min(fresh);
        let images = usage.input_media.image_tokens.min(fresh - audio);
        #[expect(clippy::cast_precision_loss, reason = "token counts are far below 2^52")]
        let total = (fresh - audio - images) as f64 * rate.input_usd
            + priced(audio, rate.audio_input_usd)?
            + images as f64 * rate.image_input_usd.unwrap_or(rate.input_usd)
            + (written - hour) as f64 * write_usd
            + hour as f64 * rate.cache_write_1h_usd.unwrap_or(write_usd)
            + cached as f64 * rate.cached_input_usd.unwrap_or(rate.input_usd)
            + rate.written(output, usage)?;
        Some(total / 1e6)
    }
}

impl Rate {
    /// What tokens written cost, times a million.
    fn written(&self, output: u64, usage: &Usage) -> Option<f64> {
        let audio = usage.output_media.audio_tokens.min(output);
        let images = usage.output_media.image_tokens.min(output - audio);
        let reasoning = usage.reasoning_tokens.unwrap_or(0).min(output - audio - images);
        let text = output - audio - images - reasoning;
        Some(
            priced(text, Some(self.output_usd))?
                + priced(reasoning, self.reasoning_usd.or(Some(self.output_usd)))?
                + priced(audio, self.audio_output_usd)?
                + priced(images, self.image_output_usd)?,
        )
    }
}

/// `None` where there are tokens and no price.
fn priced(tokens: u64, usd: Option<f64>) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "token counts are far below 2^52")]
    let tokens = tokens as f64;
    if tokens > 0.0 { usd.map(|usd| tokens * usd) } else { Some(0.0) }
}

/// A model's name without the date of a snapshot.
fn undated(model: &str) -> &str {
    if let Some(name) = model.strip_suffix("-latest") {
        return name;
    }
    let digits = |text: &str, count| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    if let Some((name, date)) = model.rsplit_once(['-', '@'])
        && digits(date, 8)
    {
        return name;
    }
    // `-2025-04-14`
    if let Some((name, date)) = model.len().checked_sub(11).and_then(|at| model.split_at_checked(at))
        && let Some(date) = date.strip_prefix('-')
        && let [year, month, day] = date.split('-').collect::<Vec<_>>()[..]
        && digits(year, 4)
        && digits(month, 2)
        && digits(day, 2)
    {
        return name;
    }
    model
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::Media;
    use serde_json::Value;
    use std::collections::HashSet;

    fn usage(input: u64, cached: u64, output: u64) -> Usage {
        Usage {
            input_tokens: Some(input),
            cached_tokens: Some(cached),
            output_tokens: Some(output),
            ..Usage::default()
        }
    }

    #[test]
    fn every_shipped_entry_is_read_once_and_says_where_it_is_from() {
        let table: Value = serde_json::from_str(SHIPPED).unwrap();
        let entries = table["models"].as_array().unwrap();
        let names: HashSet<&str> = entries.iter().map(|entry| entry["model"].as_str().unwrap()).collect();
        assert_eq!((Prices::shipped().models.len(), names.len()), (entries.len(), entries.len()));
        for entry in entries {
            assert!(entry["source"].as_str().unwrap().starts_with("https://"), "{entry}");
            assert_eq!(entry["date"].as_str().unwrap().len(), 10, "{entry}");
            let price: Price = serde_json::from_value(entry.clone()).unwrap();
            assert!(0.0 < price.rate.input_usd && price.rate.input_usd < price.rate.output_usd, "{entry}");
            assert!(price.rate.cached_input_usd.is_none_or(|cached| cached < price.rate.input_usd), "{entry}");
            assert!(price.long.is_none_or(|long| long.rate.input_usd > price.rate.input_usd), "{entry}");
        }
    }

    #[test]
    fn a_cost_is_made_of_fresh_cached_and_written_tokens() {
        let prices = Prices::shipped();
        let cost = prices.cost_usd("gpt-4.1", &usage(1_000_000, 400_000, 100_000)).unwrap();
        assert!((cost - (0.6 * 2.0 + 0.4 * 0.5 + 0.1 * 8.0)).abs() < 1e-9, "{cost}");
        let long = prices.cost_usd("gemini-2.5-pro", &usage(300_000, 0, 0)).unwrap();
        assert!((long - 0.75).abs() < 1e-9, "{long}");
    }

    #[test]
    fn tokens_written_into_a_cache_cost_what_they_cost_there() {
        let prices = Prices::shipped();
        let usage = Usage {
            cache_written_tokens: Some(200_000),
            cache_written_1h_tokens: Some(100_000),
            ..usage(1_000_000, 500_000, 0)
        };
        let cost = prices.cost_usd("claude-sonnet-4-5", &usage).unwrap();
        assert!((cost - (0.3 * 3.0 + 0.1 * 3.75 + 0.1 * 6.0 + 0.5 * 0.3)).abs() < 1e-9, "{cost}");
    }

    #[test]
    fn sound_pictures_and_reasoning_have_prices_of_their_own() {
        let million = 1_000_000;
        let usage = Usage {
            reasoning_tokens: Some(million),
            input_media: Media { audio_tokens: million, image_tokens: million },
            output_media: Media { audio_tokens: million, image_tokens: million },
            ..usage(4 * million, million, 5 * million)
        };
        let text = Rate { input_usd: 1.0, cached_input_usd: Some(0.5), output_usd: 2.0, ..Rate::default() };
        let all = Rate {
            reasoning_usd: Some(3.0),
            audio_input_usd: Some(40.0),
            audio_output_usd: Some(80.0),
            image_input_usd: Some(5.0),
            image_output_usd: Some(30.0),
            ..text
        };
        let cost = |rate, usage: &Usage| Prices::default().with("m", Price { rate, long: None }).cost_usd("m", usage);
        let total = cost(all, &usage).unwrap();
        assert!((total - (1.0 + 0.5 + 40.0 + 5.0 + 2.0 * 2.0 + 3.0 + 80.0 + 30.0)).abs() < 1e-9, "{total}");
        assert_eq!(cost(text, &usage), None, "sound without a price of its own has none");
        let seen = Usage {
            output_media: Media::default(),
            input_media: Media { audio_tokens: 0, ..usage.input_media },
            ..usage
        };
        let total = cost(text, &seen).unwrap();
        assert!((total - (3.0 + 0.5 + 5.0 * 2.0)).abs() < 1e-9, "pictures read and reasoning cost as text: {total}");
    }

    #[test]
    fn a_quote_is_kept_whole_and_says_what_it_is() {
        let shipped = Prices::shipped();
        let long = shipped.of("gemini-2.5-pro").unwrap();
        for quote in shipped.models.values() {
            assert_eq!(Quote::read(&quote.written()).as_ref(), Some(quote));
            assert!(quote.date.is_some());
        }
        assert!(long.price.to_string().contains("; above 200000 tokens read: $"), "{}", long.price);
        let rate = Rate { input_usd: 2.0, cached_input_usd: Some(0.5), output_usd: 8.0, ..Rate::default() };
        let own = Quote::from(Price { rate, long: None });
        assert_eq!(own.price.to_string(), "$2 read ($0.5 from the cache), $8 written");
        assert_eq!(Quote::read(&own.written()), Some(own));
        assert_eq!(Quote::read("{}"), None);
    }

    #[test]
    fn snapshots_and_prefixes_find_their_model_and_strangers_find_none() {
        let prices = Prices::shipped();
        let of = |model: &str| prices.of(model).map(|quote| quote.price.rate.input_usd);
        for (alias, model) in [
            ("gpt-4.1-2025-04-14", "gpt-4.1"),
            ("openai/gpt-4.1-mini", "gpt-4.1-mini"),
            ("openrouter/anthropic/claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
            ("claude-haiku-4-5@20251001", "claude-haiku-4-5"),
            ("gemini-2.5-pro-latest", "gemini-2.5-pro"),
        ] {
            assert_eq!(of(alias), of(model), "{alias}");
            assert!(of(alias).is_some(), "{alias}");
        }
        assert_eq!(of("gpt-4o-2024-05-13"), Some(5.0), "a snapshot with its own price");
        for stranger in ["gpt-4.1-turbo-9", "my-llama", "", "/", "-2025-04-14", "é-2025-04-14", "gpt-4.1-2025-4-14"] {
            assert_eq!(of(stranger), None, "{stranger}");
        }
    }

    #[test]
    fn what_is_not_known_costs_none_and_not_nothing() {
        let prices = Prices::shipped();
        let half = Usage { input_tokens: Some(5), ..Usage::default() };
        assert_eq!(prices.cost_usd("gpt-4.1", &half), None);
        assert_eq!(prices.cost_usd("my-llama", &usage(1, 0, 1)), None);
        let rate = Rate { input_usd: 1.0, output_usd: 2.0, ..Rate::default() };
        let own = prices.with("my-llama", Price { rate, long: None });
        assert_eq!(own.cost_usd("my-llama", &usage(2_000_000, 1_000_000, 1_000_000)), Some(4.0));
    }
}
