//! What an answer's text cannot tell by itself: who is asked, with what, and what their answer says. Nothing here asks.
//!
//! Whoever is asked may be in trouble; then a [`Ruling`] is unknown, and so is the probe where that decides. Reasons
//! that a judge or a webhook gives may repeat the answer, and are left out.

use super::{Answer, Message, Probe};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Texts that one answer is compared with, or criteria that it is graded by.
pub const PARTS_MAX: usize = 20;

/// Somebody who is asked about an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "of")]
pub enum Appeal {
    /// An embeddings endpoint: how near the answer is to the nearest of some texts.
    Similar {
        /// The texts.
        values: Vec<String>,
        /// The least cosine.
        threshold: f64,
        /// Whose embeddings; none until a suite is read to its end.
        by: Option<Pinned>,
    },
    /// A judge.
    Graded {
        /// In which sense.
        grading: Grading,
        /// By what; each is asked for, and the mean of their scores counts.
        criteria: Vec<String>,
        /// The least score of 0 to 1; without it pass or fail.
        threshold: Option<f64>,
        /// Which model.
        by: Option<Pinned>,
    },
    /// An endpoint of the user's own.
    Webhook {
        /// Its name, or its address.
        to: String,
        /// The test's variables, which it is told.
        vars: BTreeMap<String, String>,
        /// The least score that it must give beside passing it.
        threshold: Option<f64>,
    },
}

/// A model that is fixed with the suite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pinned {
    /// A configured provider.
    pub provider: String,
    /// The provider's own name of it.
    pub model: String,
    /// Sent with each question.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, Value>,
}

/// What a criterion says of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grading {
    /// It is a rubric.
    Rubric,
    /// It must be met.
    ClosedQa,
    /// It is met more or less.
    GEval,
    /// It is a reference whose facts must be kept.
    Factuality,
}

/// What whoever was asked says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruling {
    /// The assertion holds.
    Holds,
    /// It does not; why, without the answer's words.
    HoldsNot(String),
    /// It cannot be told; why.
    Unknown(String),
}

/// Rulings by the assertion's place in the probe.
pub type Rulings = BTreeMap<usize, Ruling>;

impl Appeal {
    /// Its name in a suite.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Similar { .. } => "similar",
            Self::Graded { grading: Grading::Rubric, .. } => "llm-rubric",
            Self::Graded { grading: Grading::ClosedQa, .. } => "model-graded-closedqa",
            Self::Graded { grading: Grading::GEval, .. } => "g-eval",
            Self::Graded { grading: Grading::Factuality, .. } => "factuality",
            Self::Webhook { .. } => "webhook",
        }
    }

    /// The model that it asks, where it asks one.
    #[must_use]
    pub const fn by(&self) -> Option<&Pinned> {
        match self {
            Self::Similar { by, .. } | Self::Graded { by, .. } => by.as_ref(),
            Self::Webhook { .. } => None,
        }
    }
}

impl Grading {
    /// The rubric of one criterion, as a judge is told it.
    #[must_use]
    pub fn rubric(self, criterion: &str) -> String {
        match self {
            Self::Rubric => criterion.to_owned(),
            Self::ClosedQa => format!("The answer meets this criterion:\n{criterion}"),
            Self::GEval => format!("How well the answer meets this criterion:\n{criterion}"),
            Self::Factuality => format!(
                "The answer agrees in its facts with the reference. It may say less, or more that does not contradict it, \
                 in whatever words; it fails where a fact contradicts the reference.\nReference:\n{criterion}"
            ),
        }
    }
}

/// What a judge reads of an answer: its text, and its tool calls where there are any.
#[must_use]
pub fn spoken(answer: &Answer) -> String {
    if answer.calls.is_empty() {
        return answer.text.clone();
    }
    let call = |call: &super::Call| json!({ "tool": call.name, "arguments": call.arguments });
    let calls: Vec<Value> = answer.calls.iter().map(call).collect();
    format!("{}\n{}", answer.text, Value::Array(calls)).trim().to_owned()
}

/// The mean of the scores, each 0 to 1, against the threshold; without one, each must be whole.
#[must_use]
pub fn graded(scores: &[f64], threshold: Option<f64>) -> Ruling {
    let failed = scores.iter().filter(|score| **score < 1.0).count();
    let mean = scores.iter().sum::<f64>() / scores.len().max(1) as f64;
    match threshold {
        None if failed == 0 => Ruling::Holds,
        None => Ruling::HoldsNot("the judge says that the answer does not meet it".to_owned()),
        Some(least) if mean >= least - 1e-9 => Ruling::Holds,
        Some(least) => Ruling::HoldsNot(format!("the judge gives {mean:.2}, at least {least} is wanted")),
    }
}

/// The request for the embeddings of some texts.
#[must_use]
pub fn embeddings_body(by: &Pinned, texts: &[&str]) -> String {
    let mut body = json!({ "model": by.model, "input": texts });
    if let Some(members) = body.as_object_mut() {
        members.extend(by.params.clone());
    }
    body.to_string()
}

/// The cosine of the first embedding with the nearest of the others, against the threshold. `None` where the answer
/// does not hold so many vectors of one length.
#[must_use]
pub fn similar(body: &[u8], texts: usize, threshold: f64) -> Option<Ruling> {
    let nearest = cosines(body, texts)?.into_iter().reduce(f64::max)?;
    Some(if nearest >= threshold - 1e-9 {
        Ruling::Holds
    } else {
        Ruling::HoldsNot(format!("{nearest:.2} near, at least {threshold} is wanted"))
    })
}

/// The cosines of the first embedding with each of the others. `None` where the answer does not hold so many vectors of
/// one length.
#[must_use]
pub fn cosines(body: &[u8], texts: usize) -> Option<Vec<f64>> {
    let vectors = vectors(body, texts)?;
    let (own, others) = vectors.split_first()?;
    others.iter().map(|other| cosine(own, other)).collect()
}

fn vectors(body: &[u8], texts: usize) -> Option<Vec<Vec<f64>>> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let data = body.get("data")?.as_array().filter(|data| data.len() == texts)?;
    let mut vectors = vec![Vec::new(); texts];
    for (place, item) in data.iter().enumerate() {
        let place =
            item.get("index").map_or(Some(place), |index| index.as_u64().and_then(|n| usize::try_from(n).ok()))?;
        let numbers = item.get("embedding")?.as_array()?.iter().map(Value::as_f64);
        *vectors.get_mut(place)? = numbers.collect::<Option<Vec<f64>>>()?;
    }
    Some(vectors)
}

/// `None` where the two cannot be compared.
fn cosine(one: &[f64], other: &[f64]) -> Option<f64> {
    let length = |vector: &[f64]| vector.iter().map(|x| x * x).sum::<f64>().sqrt();
    let both = length(one) * length(other);
    let product: f64 = one.iter().zip(other).map(|(a, b)| a * b).sum();
    let cosine = product / both;
    (one.len() == other.len() && both > 0.0 && cosine.is_finite()).then_some(cosine)
}

/// What a webhook is told, in promptfoo's form.
#[must_use]
pub fn webhook_body(probe: &Probe, vars: &BTreeMap<String, String>, answer: &Answer) -> String {
    let prompt = match probe.messages.as_slice() {
        [Message { content, .. }] => content.clone(),
        several => json!(several).to_string(),
    };
    json!({ "output": spoken(answer), "context": { "prompt": prompt, "vars": vars } }).to_string()
}

/// What a webhook says: `{ "pass": true, "score": 0.9, "reason": "…" }`. `None` where it says nothing of the kind.
#[must_use]
pub fn webhook(body: &[u8], threshold: Option<f64>) -> Option<Ruling> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let passes = body.get("pass")?.as_bool()?;
    let score = body.get("score").and_then(Value::as_f64);
    let short = threshold.filter(|least| score.is_some_and(|score| score < least - 1e-9));
    Some(match (passes, short) {
        (true, None) => Ruling::Holds,
        (true, Some(least)) => {
            Ruling::HoldsNot(format!("the webhook gives {}, at least {least} is wanted", score.unwrap_or_default()))
        }
        (false, _) => Ruling::HoldsNot("the webhook does not pass the answer".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn embedded(vectors: &[&[f64]]) -> Vec<u8> {
        // Out of order, as providers may send them.
        let data: Vec<Value> =
            vectors.iter().enumerate().rev().map(|(index, v)| json!({ "index": index, "embedding": v })).collect();
        json!({ "data": data }).to_string().into_bytes()
    }

    #[test]
    fn the_nearest_text_counts_and_what_cannot_be_compared_says_nothing() {
        let body = embedded(&[&[1.0, 0.0], &[0.0, 1.0], &[0.6, 0.8]]);
        assert_eq!(similar(&body, 3, 0.6), Some(Ruling::Holds));
        assert_eq!(similar(&body, 3, 0.61), Some(Ruling::HoldsNot("0.60 near, at least 0.61 is wanted".to_owned())));
        assert_eq!(similar(&body, 2, 0.6), None);
        assert_eq!(similar(&embedded(&[&[1.0], &[1.0, 0.0]]), 2, 0.5), None);
        assert_eq!(similar(&embedded(&[&[0.0], &[1.0]]), 2, 0.5), None);
        assert_eq!(similar(br#"{"data":[{"index":7,"embedding":[1]},{"embedding":[1]}]}"#, 2, 0.5), None);
        assert_eq!(similar(b"<html>", 2, 0.5), None);
    }

    #[test]
    fn scores_are_averaged_where_there_is_a_threshold() {
        assert_eq!(graded(&[1.0, 1.0], None), Ruling::Holds);
        assert!(matches!(graded(&[1.0, 0.0], None), Ruling::HoldsNot(_)));
        assert_eq!(graded(&[1.0, 0.5], Some(0.75)), Ruling::Holds);
        assert!(matches!(graded(&[0.75, 0.5], Some(0.7)), Ruling::HoldsNot(why) if why.contains("0.62")));
    }

    #[test]
    fn a_webhook_is_told_and_answers_in_promptfoos_form() {
        let probe = Probe {
            messages: vec![Message { role: "user".to_owned(), content: "2 + 2?".to_owned() }],
            assertions: Vec::new(),
            threshold: None,
        };
        let answer = Answer { text: "4".to_owned(), ..Answer::default() };
        let told = webhook_body(&probe, &BTreeMap::from([("a".to_owned(), "2".to_owned())]), &answer);
        insta::assert_snapshot!(told, @r#"{"context":{"prompt":"2 + 2?","vars":{"a":"2"}},"output":"4"}"#);
        let says = |body: &str, threshold| webhook(body.as_bytes(), threshold);
        assert_eq!(says(r#"{"pass":true}"#, None), Some(Ruling::Holds));
        assert_eq!(says(r#"{"pass":true,"score":0.5}"#, Some(0.5)), Some(Ruling::Holds));
        assert!(matches!(says(r#"{"pass":true,"score":0.4}"#, Some(0.5)), Some(Ruling::HoldsNot(_))));
        let refused = says(r#"{"pass":false,"reason":"it says 4711"}"#, None);
        assert!(matches!(refused, Some(Ruling::HoldsNot(why)) if !why.contains("4711")));
        for body in ["", "{}", r#"{"pass":"yes"}"#, "[true]"] {
            assert_eq!(says(body, None), None, "{body}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_is_sent_back_breaks_a_reader(body in "[\\[\\]{}\":a-z0-9,. -]{0,120}") {
            let _ = (similar(body.as_bytes(), 2, 0.5), webhook(body.as_bytes(), Some(0.5)));
        }

        #[test]
        fn a_cosine_is_within_one(a in proptest::collection::vec(-9.0..9.0_f64, 3), b in proptest::collection::vec(-9.0..9.0_f64, 3)) {
            if let Some(found) = cosine(&a, &b) {
                prop_assert!(found.abs() <= 1.0 + 1e-9);
            }
        }
    }
}
