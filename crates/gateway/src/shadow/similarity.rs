//! How near the two answers of a pair are, by a configured embeddings endpoint, and how near stable's second answer is
//! to its first. Asked within the copy's own task, under its leave and its day's budget; whatever goes wrong is unknown
//! and is no evidence of anything.

use super::Copied;
use coalmine_core::shadow::similarity::{Cosine, Likeness, Similarity};
use coalmine_wire::judge::transcript::of_answer;
use coalmine_wire::openai::ChatRequest;
use std::time::Duration;

/// How long embeddings may take, by the wall.
const WALL_LIMIT: Duration = Duration::from_secs(30);

impl Copied {
    /// Measures a pair of whole answers; `None` where one of them has no text, to which nothing is near.
    pub(super) async fn measure(
        &self,
        chat: &ChatRequest<'_>,
        by: &Similarity,
        stable: &str,
        canary: &str,
    ) -> Option<Likeness> {
        if stable.trim().is_empty() || canary.trim().is_empty() {
            return None;
        }
        let asks_again = self.shadowed().is_some_and(|shadowed| by.asks_again(&shadowed.salt, self.unit));
        let again = if asks_again { Some(self.ask_again(chat).await) } else { None };
        let texts: Vec<String> = [Some(stable), Some(canary), again.as_ref().and_then(Option::as_deref)]
            .into_iter()
            .flatten()
            .map(of_answer)
            .collect();
        let cosines = self.cosines(by, &texts).await;
        let at = |place: usize| Cosine::of(cosines.get(place).copied());
        Some(Likeness { unit: self.unit, started_at: self.started_at, canary: at(0), again: again.map(|_| at(1)) })
    }

    /// Stable's second answer to the same request; `None` where there is none with a text.
    async fn ask_again(&self, chat: &ChatRequest<'_>) -> Option<String> {
        let stable = self.route.prepared(self.route.table.stable).filter(|_| self.has_budget())?;
        if !self.may_be_asked(stable, chat) {
            return None;
        }
        let told = self.ask(stable, chat).await?;
        told.text.filter(|text| !text.trim().is_empty())
    }

    /// The cosines of the first text with each of the others; none where they are not to be had.
    async fn cosines(&self, by: &Similarity, texts: &[String]) -> Vec<f64> {
        let shadows = &self.gateway.shadows;
        if !self.has_budget() {
            return Vec::new();
        }
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        match self.gateway.nearness(&by.version, &texts, WALL_LIMIT).await {
            Ok(measured) => {
                shadows.note_cost(&self.release, measured.cost_usd);
                shadows.note_embeddings(&self.release, None);
                measured.cosines
            }
            Err(error) => {
                shadows.note_embeddings(&self.release, Some(&error.to_string()));
                Vec::new()
            }
        }
    }
}
