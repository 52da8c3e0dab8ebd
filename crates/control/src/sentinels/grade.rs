//! Asks a judge, an embeddings endpoint or a webhook about one answer. Whatever trouble they are in is unknown, and
//! never a failure of the version: their keys, models and addresses are no version's.

use crate::judges::ask::{Scoring, Unanswered, rate};
use crate::ports::Ports;
use crate::sentinels::purse::Purse;
use coalmine_core::judge::Scale;
use coalmine_core::version::{JsonText, Version};
use coalmine_wire::dialect::Dialect;
use coalmine_wire::judge::transcript;
use coalmine_wire::probe::appeal::{self, Appeal, Pinned};
pub use coalmine_wire::probe::appeal::{Ruling, Rulings};
use coalmine_wire::probe::{Answer, Around, Probe};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Times that a judge is asked for a verdict that can be read.
const READINGS: u32 = 2;

/// What each that must be asked says. Nobody is asked where the answer itself decides.
pub(crate) async fn rulings(
    ports: &Ports,
    purse: &Purse,
    probe: &Probe,
    answer: &Answer,
    around: Around<'_>,
    wall_limit: Duration,
) -> Rulings {
    let mut rulings = Rulings::new();
    for (place, appeal) in probe.appeals(answer, around) {
        let ruling = match tokio::time::timeout(wall_limit, put(ports, purse, probe, answer, appeal, wall_limit)).await
        {
            Ok(Ok(ruling)) => ruling,
            Ok(Err(why)) => Ruling::Unknown(why),
            Err(_late) => Ruling::Unknown(format!("no answer within {} s", wall_limit.as_secs())),
        };
        rulings.insert(place, ruling);
    }
    rulings
}

async fn put(
    ports: &Ports,
    purse: &Purse,
    probe: &Probe,
    answer: &Answer,
    appeal: &Appeal,
    wall_limit: Duration,
) -> Result<Ruling, String> {
    let unpinned = || "the suite names no model for it".to_owned();
    match appeal {
        Appeal::Webhook { to, vars, threshold } => {
            let body = appeal::webhook_body(probe, vars, answer);
            let said = ports.assessors.call(to, body, wall_limit).await.map_err(|trouble| trouble.to_string())?;
            appeal::webhook(&said, *threshold).ok_or_else(|| "its answer has no `pass` of true or false".to_owned())
        }
        // Nothing is near to nothing, and providers refuse to embed it.
        Appeal::Similar { .. } if answer.text.trim().is_empty() => {
            Ok(Ruling::HoldsNot("the answer has no text".to_owned()))
        }
        Appeal::Similar { values, threshold, by } => {
            let by = by.as_ref().ok_or_else(unpinned)?;
            let texts: Vec<&str> = std::iter::once(&answer.text).chain(values).map(String::as_str).collect();
            let body = appeal::embeddings_body(by, &texts);
            purse.take()?;
            let said = ports.assessors.embed(&by.provider, body, wall_limit).await;
            let said = said.map_err(|trouble| trouble.to_string())?;
            let ruling = appeal::similar(&said, texts.len(), *threshold);
            ruling.ok_or_else(|| "the endpoint gave no embeddings that can be compared".to_owned())
        }
        Appeal::Graded { grading, criteria, threshold, by } => {
            let judge = version(by.as_ref().ok_or_else(unpinned)?);
            let conversation = transcript::of_request(Dialect::Chat, probe.request("").as_bytes());
            let spoken = transcript::of_answer(&appeal::spoken(answer));
            let scale = if threshold.is_some() { Scale::Five } else { Scale::Binary };
            let mut scores = Vec::with_capacity(criteria.len());
            for criterion in criteria {
                let rubric = grading.rubric(criterion);
                let scoring = Scoring { version: Arc::clone(&judge), rubric: &rubric, scale, wall_limit };
                scores.push(score(ports, purse, &scoring, &conversation, &spoken).await?);
            }
            Ok(appeal::graded(&scores, *threshold))
        }
    }
}

async fn score(
    ports: &Ports,
    purse: &Purse,
    scoring: &Scoring<'_>,
    conversation: &str,
    spoken: &str,
) -> Result<f64, String> {
    let tag = || {
        let mut tag = [0; 8];
        tag.copy_from_slice(&ports.random.secret()[..8]);
        tag
    };
    let mut last = String::new();
    for _ in 0..READINGS {
        purse.take()?;
        match rate(&*ports.prober, scoring, conversation, spoken, tag).await {
            Ok(answered) => {
                purse.pay(answered.usd);
                return Ok(answered.value);
            }
            Err(error @ Unanswered::Unreadable { usd }) => {
                purse.pay(usd);
                last = error.to_string();
            }
            Err(error @ (Unanswered::Trouble(_) | Unanswered::Refused(_))) => return Err(error.to_string()),
        }
    }
    Err(last)
}

fn version(by: &Pinned) -> Arc<Version> {
    let params: BTreeMap<String, JsonText> =
        by.params.iter().map(|(name, value)| (name.clone(), JsonText(value.to_string()))).collect();
    Arc::new(Version {
        provider: by.provider.as_str().into(),
        model: by.model.clone(),
        prompt: None,
        tools: None,
        params,
        fallbacks: Vec::new(),
    })
}
