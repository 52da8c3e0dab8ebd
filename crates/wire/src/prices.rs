//! What tokens cost.

use crate::usage::Usage;
use std::collections::BTreeMap;

/// Prices of models.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Prices {
    models: BTreeMap<String, Price>,
}

/// US dollars per million tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Price {
    /// Tokens read.
    pub input_usd: f64,
    /// Tokens read from the provider's cache; `None` where they cost what others cost.
    pub cached_input_usd: Option<f64>,
    /// Tokens written.
    pub output_usd: f64,
}

impl Prices {
    /// The prices that are shipped.
    #[must_use]
    pub fn shipped() -> Self {
        Self::default()
    }

    /// Sets the price of a model over whatever is known of it.
    #[must_use]
    pub fn with(mut self, model: &str, price: Price) -> Self {
        self.models.insert(model.to_owned(), price);
        self
    }

    /// The price of a model, or of the model that it is a dated snapshot of.
    #[must_use]
    pub fn of(&self, model: &str) -> Option<Price> {
        self.models.get(model).copied()
    }

    /// What a request cost; `None` where price or usage is not known, never 0 for that.
    #[must_use]
    pub fn cost_usd(&self, model: &str, usage: &Usage) -> Option<f64> {
        let price = self.of(model)?;
        let (input, output) = (usage.input_tokens?, usage.output_tokens?);
        let cached = usage.cached_tokens.unwrap_or(0).min(input);
        let fresh = input - cached;
        #[expect(clippy::cast_precision_loss, reason = "token counts are far below 2^52")]
        let total = fresh as f64 * price.input_usd
            + cached as f64 * price.cached_input_usd.unwrap_or(price.input_usd)
            + output as f64 * price.output_usd;
        Some(total / 1e6)
    }
}
