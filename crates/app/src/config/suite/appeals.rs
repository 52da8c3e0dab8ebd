//! Assertions that somebody else decides: a judge, an embeddings endpoint, a webhook. Which model is asked stands once,
//! in `metadata.canary`, and is fixed with the suite.

use super::asserts::Written;
use super::{Map, Reader, Suite};
use crate::config::fault::Complaint;
use crate::config::scalar::{self, shown};
use crate::config::tree::{Node, Value};
use crate::config::version::listed;
use coalmine_core::id::ProviderName;
use coalmine_wire::probe::appeal::PARTS_MAX;
use coalmine_wire::probe::{Appeal, Assertion, Check, Grading, Pinned};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};

/// Thresholds where a suite writes none: promptfoo's own.
const SIMILAR_LEAST: f64 = 0.75;
const G_EVAL_LEAST: f64 = 0.7;

/// Who is asked, as `metadata.canary` says.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Assessors {
    judge: Option<Pinned>,
    embeddings: Option<Pinned>,
}

impl Assessors {
    /// These, where those of `own` do not say otherwise.
    pub(super) fn or(&self, own: Self) -> Self {
        Self {
            judge: own.judge.or_else(|| self.judge.clone()),
            embeddings: own.embeddings.or_else(|| self.embeddings.clone()),
        }
    }

    /// Puts whoever is asked into an assertion.
    pub(super) fn pin(&self, assertion: &mut Assertion) -> Result<(), Complaint> {
        let name = assertion.check.name();
        let Check::Appeal(appeal) = &mut assertion.check else { return Ok(()) };
        let (by, pinned, key, such) = match appeal {
            Appeal::Graded { by, .. } => (by, &self.judge, "judge", "openai/gpt-4.1-2025-04-14"),
            Appeal::Similar { by, .. } => (by, &self.embeddings, "embeddings", "openai/text-embedding-3-small"),
            Appeal::Webhook { .. } => return Ok(()),
        };
        by.clone_from(pinned);
        if by.is_some() {
            return Ok(());
        }
        Err(Complaint::new(
            format!("{name} does not say which model is asked"),
            format!("write `metadata: {{ canary: {{ {key}: {such} }} }}`, in `defaultTest` for all tests"),
        ))
    }
}

impl Suite {
    /// Whom it asks about answers, each once, in words.
    #[must_use]
    pub fn asked(&self) -> BTreeSet<String> {
        let appeals = self.cases.iter().flat_map(|case| &case.probe.assertions).filter_map(|one| one.check.appeal());
        let asked = |appeal: &Appeal| match (appeal, appeal.by()) {
            (Appeal::Webhook { to, .. }, _) => format!("the webhook {to}"),
            (Appeal::Similar { .. }, Some(by)) => format!("{}/{} for embeddings", by.provider, by.model),
            (Appeal::Graded { .. }, Some(by)) => format!("{}/{} as a judge", by.provider, by.model),
            (Appeal::Similar { .. } | Appeal::Graded { .. }, None) => appeal.name().to_owned(),
        };
        appeals.map(asked).collect()
    }

    /// The first model or webhook that is asked and is not configured.
    #[must_use]
    pub fn unknown_assessor(
        &self,
        providers: &BTreeSet<ProviderName>,
        assessors: &BTreeSet<String>,
    ) -> Option<Complaint> {
        let asked = self.cases.iter().flat_map(|case| &case.probe.assertions).filter_map(|one| one.check.appeal());
        for appeal in asked {
            if let Some(by) = appeal.by().filter(|by| !providers.contains(&ProviderName::from(by.provider.as_str()))) {
                let known: Vec<&str> = providers.iter().map(ProviderName::as_str).collect();
                let what =
                    format!("{} asks {}, and there is no provider {}", appeal.name(), by.model, shown(&by.provider));
                return Some(Complaint::new(what, format!("name one of {}", listed(&known))));
            }
            if let Appeal::Webhook { to, .. } = appeal
                && !is_address(to)
                && !assessors.contains(to)
            {
                let what = format!("there is no webhook {}", shown(to));
                return Some(Complaint::new(what, "add it under `assessors` in coalmine.yaml"));
            }
        }
        None
    }
}

fn is_address(to: &str) -> bool {
    to.contains("://")
}

impl Reader<'_> {
    pub(super) fn appeal(&self, read: &Written<'_>) -> Option<Appeal> {
        let threshold = match read.map.get("threshold") {
            Some(_) => Some(self.share_or(read, 0.0)?),
            None => None,
        };
        let grading = match read.name {
            "llm-rubric" => Grading::Rubric,
            "model-graded-closedqa" => Grading::ClosedQa,
            "factuality" => Grading::Factuality,
            "g-eval" => Grading::GEval,
            "webhook" => return self.webhook(read, threshold),
            _ => {
                let threshold = threshold.unwrap_or(SIMILAR_LEAST);
                return Some(Appeal::Similar { values: self.parts(read)?, threshold, by: None });
            }
        };
        let threshold = if grading == Grading::GEval { threshold.or(Some(G_EVAL_LEAST)) } else { threshold };
        Some(Appeal::Graded { grading, criteria: self.parts(read)?, threshold, by: None })
    }

    fn webhook(&self, read: &Written<'_>, threshold: Option<f64>) -> Option<Appeal> {
        let to = self.string(read)?;
        if is_address(&to) && (scalar::url(&to).is_err() || to.contains(['@', '?', '#'])) {
            return self.misshapen(
                read,
                "write the name of a webhook under `assessors` in coalmine.yaml: its address may hold a secret, and a suite is kept with the release",
            );
        }
        Some(Appeal::Webhook { to, vars: BTreeMap::new(), threshold })
    }

    /// One text or a list of them, a text with commas being one.
    pub(super) fn parts(&self, read: &Written<'_>) -> Option<Vec<String>> {
        let parts: Option<Vec<String>> = match self.value(read)? {
            Json::String(text) => Some(vec![text]),
            Json::Array(items) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::Object(_) => None,
        };
        match parts {
            Some(parts) if (1..=PARTS_MAX).contains(&parts.len()) && !parts.iter().any(|p| p.trim().is_empty()) => {
                Some(parts)
            }
            Some(_) | None => self.misshapen(read, "write a text, or a list of at most 20 texts"),
        }
    }

    /// `metadata.canary.judge` and `metadata.canary.embeddings`.
    pub(super) fn assessors(&self, test: &Map<'_>) -> Assessors {
        let canary = test.inner("metadata").and_then(|metadata| metadata.inner("canary"));
        let pinned = |key: &str, own: &[(&str, Json)]| {
            let (node, path) = canary.as_ref()?.get(key)?;
            self.pinned(node, &path, own)
        };
        // The same answer is to be scored the same.
        let judge = pinned("judge", &[("temperature", Json::from(0))]);
        Assessors { judge, embeddings: pinned("embeddings", &[]) }
    }

    fn pinned(&self, node: &Node, path: &str, own: &[(&str, Json)]) -> Option<Pinned> {
        let (model, params) = match &node.value {
            Value::Map(_) => {
                let map = self.map(node, path)?;
                self.known(&map, &["model", "params"]);
                let params = match map.get("params") {
                    Some((node, path)) => Some(self.json(node, &path)?),
                    None => None,
                };
                (map.get("model"), params)
            }
            Value::Scalar { .. } | Value::List(_) => (Some((node, path.to_owned())), None),
        };
        let form = "write `provider/model`, or `{ model: provider/model, params: { temperature: 0 } }`";
        let Some((model, path)) = model else {
            self.fault(node.at, path, "it names no model", form);
            return None;
        };
        let params = match params {
            None => own.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
            Some(Json::Object(params)) => params.into_iter().collect(),
            Some(_) => {
                self.fault(node.at, &path, "`params` is no mapping", form);
                return None;
            }
        };
        match self.text(model, &path)?.split_once('/') {
            Some((provider, model)) if !provider.is_empty() && !model.is_empty() => {
                Some(Pinned { provider: provider.to_owned(), model: model.to_owned(), params })
            }
            Some(_) | None => {
                self.fault(model.at, &path, "this is no provider and model", form);
                None
            }
        }
    }
}
