//! Who is asked in a world beside the customers: sentinels, which each version answers with a chance of its own, and not
//! at all while its provider errs; and judges.

use crate::judges;
use crate::luck::Luck;
use crate::world::{Fault, Side, World};
use async_trait::async_trait;
use coalmine_control::clock::Clock;
use coalmine_control::ports::{ProbeTrouble, Probed, Prober, Question};
use coalmine_core::judge::Judge;
use coalmine_core::release::policy::Policy;
use coalmine_core::sentinel::{Criticality, Judging, Sentinel, Sentinels};
use coalmine_core::time::{SpanMs, UnixMs};
use coalmine_core::version::{JsonText, Version};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Adds sentinels to a policy: `sentinel refund stable 100% canary 98% flaky 2% every 10m`, or so many alike.
pub(crate) fn add(policy: &mut Policy, names: &[String], facts: &[&str]) -> Result<(), String> {
    let facts: Vec<&str> = facts.iter().copied().filter(|word| *word != "pass").collect();
    if !facts.len().is_multiple_of(2) {
        return Err("facts come in pairs: `canary 98%`".to_owned());
    }
    let (mut stable, mut canary, mut flaky, mut every) = (1.0, 1.0, 0.02, SpanMs::minutes(10));
    for pair in facts.chunks_exact(2) {
        match pair[0] {
            "stable" => stable = crate::script::share_of(pair[1])?,
            "canary" => canary = crate::script::share_of(pair[1])?,
            "flaky" => flaky = crate::script::share_of(pair[1])?,
            "every" => every = crate::script::span_of(pair[1])?,
            other => return Err(format!("`{other}` is none of stable, canary, flaky, every")),
        }
    }
    let sentinel = |name: &String| Sentinel {
        name: name.clone(),
        criticality: Criticality::Critical,
        runs: 1,
        need: 1,
        every,
        flaky,
        probe: JsonText(probe(stable, canary).to_string()),
    };
    let before = policy.sentinels.take();
    let all: Vec<Sentinel> =
        before.iter().flat_map(|before| before.sentinels.iter().cloned()).chain(names.iter().map(sentinel)).collect();
    policy.sentinels = Some(Sentinels {
        suite: "the world's".to_owned(),
        sentinels: all.into(),
        qualify: 3,
        judging: Judging::default(),
        gate: None,
    });
    Ok(())
}

/// The question says how likely each version answers it, which only the simulated provider reads.
fn probe(stable: f64, canary: f64) -> Value {
    let check = json!({ "type": "contains", "values": ["right"], "quota": "all", "case": "counts" });
    json!({
        "messages": [{ "role": "user", "content": format!("{stable} {canary}") }],
        "assertions": [{ "check": check, "weight": 1.0 }],
    })
}

/// The providers of a world, as sentinels meet them.
#[derive(Debug)]
pub(crate) struct Providers {
    pub(crate) world: World,
    pub(crate) clock: Arc<dyn Clock>,
    /// When the release was created.
    pub(crate) started_at: UnixMs,
    pub(crate) luck: Mutex<Luck>,
    /// The version that stable is; any other that is no judge's is the canary.
    pub(crate) stable: Version,
    /// The judges of the release.
    pub(crate) judges: Vec<Judge>,
    /// How often each judge was asked and what that cost.
    pub(crate) asked: Mutex<BTreeMap<String, Asked>>,
}

/// How often a judge was asked.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Asked {
    /// Questions that it has answered, those of its anchors among them.
    pub times: u64,
    /// What that cost, in US dollars.
    pub usd: f64,
}

impl Providers {
    fn luck(&self) -> MutexGuard<'_, Luck> {
        self.luck.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The judge that a question is put to.
    fn judge_of(&self, question: &Question) -> Option<&Judge> {
        let asks = |judge: &&Judge| {
            let rubric = Value::from(judge.rubric.trim()).to_string();
            judge.version == *question.version && question.body.contains(rubric.trim_matches('"'))
        };
        self.judges.iter().filter(|_| judges::is_of_judge(&question.body)).find(asks)
    }

    fn judged(&self, judge: &Judge, question: &Question, age: SpanMs) -> Result<Probed, ProbeTrouble> {
        let mut turned = 0.0;
        for fault in self.world.faults.iter().filter(|fault| fault.is_on(age)) {
            match fault {
                Fault::JudgesDown { .. } => return Err(ProbeTrouble::Provider("status 503".to_owned())),
                Fault::JudgesDrift { turned: share, .. } => turned = share.share(),
                Fault::StoreDown { .. }
                | Fault::ReportsLost { .. }
                | Fault::ScoresLost { .. }
                | Fault::SentinelsLost { .. }
                | Fault::Meddled { .. }
                | Fault::Ceiling { .. }
                | Fault::Restart { .. } => {}
            }
        }
        let errs = self.world.judges.get(&judge.name).copied().unwrap_or_default();
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let of = asked.entry(judge.name.clone()).or_default();
        (of.times, of.usd) = (of.times + 1, of.usd + errs.cost_usd);
        judges::answer(judge.scale, &errs, turned, &question.body, &mut self.luck())
    }
}

#[async_trait]
impl Prober for Providers {
    async fn ask(&self, question: &Question) -> Result<Probed, ProbeTrouble> {
        let age = self.clock.now().since(self.started_at);
        if let Some(judge) = self.judge_of(question) {
            return self.judged(judge, question, age);
        }
        let side = if *question.version == self.stable { Side::Stable } else { Side::Canary };
        if self.world.faults.iter().any(|fault| matches!(fault, Fault::SentinelsLost { .. }) && fault.is_on(age)) {
            return Err(ProbeTrouble::Provider("no answer".to_owned()));
        }
        let truth = self.world.truth(side, Some(age));
        let (stable, canary) = chances(&question.body).unwrap_or_default();
        let chance = match side {
            Side::Stable | Side::Both => stable,
            Side::Canary => canary,
        };
        let mut luck = self.luck();
        if luck.uniform() < truth.error {
            return Err(ProbeTrouble::Provider("status 503".to_owned()));
        }
        let body = if luck.uniform() < chance.parse().unwrap_or(1.0) { RIGHT } else { WRONG };
        Ok(Probed { body: body.as_bytes().to_vec(), latency_ms: 100.0, cost_usd: None })
    }
}

const RIGHT: &str = r#"{"choices":[{"finish_reason":"stop","message":{"content":"right"}}]}"#;
const WRONG: &str = r#"{"choices":[{"finish_reason":"stop","message":{"content":"wrong"}}]}"#;

/// Whether both versions answer a question of [`probe`] as likely.
pub(crate) fn is_alike(probe: &str) -> bool {
    chances(probe).is_none_or(|(stable, canary)| stable == canary)
}

/// How likely stable and the canary answer a question of [`probe`]. Found and not parsed: a day of two hundred sentinels
/// asks sixty thousand.
fn chances(body: &str) -> Option<(&str, &str)> {
    let (_, rest) = body.split_once(r#""content":""#)?;
    rest.split_once('"')?.0.split_once(' ')
}
