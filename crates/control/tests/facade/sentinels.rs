//! Sentinels on the shipped loop: asked before anybody is exposed, by turns, and obeyed.

use crate::fixture::{Fixture, alice, new_release};
use async_trait::async_trait;
use coalmine_control::ports::{AssessorTrouble, Assessors, ProbeTrouble, Probed, Prober, Question};
use coalmine_core::id::ReleaseId;
use coalmine_core::release::event::Command;
use coalmine_core::release::state::{RollbackCause, State};
use coalmine_core::sentinel::{Criticality, Judging, OfflineGate, Sentinel, Sentinels};
use coalmine_core::time::SpanMs;
use coalmine_core::version::JsonText;
use coalmine_wire::probe::{Assertion, Case, Check, Message, Probe, Quota};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

/// Models that answer "30 days" unless they are told to be wrong or away.
#[derive(Debug, Default)]
pub(crate) struct Scripted {
    says: Mutex<BTreeMap<String, Says>>,
    asked: Mutex<Vec<String>>,
    questions: Mutex<Vec<String>>,
    redacts: Mutex<Option<String>>,
}

/// Of two answers the one without `bad` is better.
fn better(question: &str) -> &'static str {
    let (first, second) = question.split_once("Second answer:").unwrap();
    let first = first.split_once("First answer:").unwrap().1;
    match (first.contains("bad"), second.contains("bad")) {
        (true, false) => "second",
        (false, true) => "first",
        (true, true) | (false, false) => "tie",
    }
}

/// A judge that fails what says `bad`; told to be wrong, it passes everything, and of two answers it takes the first.
fn judged(question: &str, says: Option<Says>) -> Result<Probed, ProbeTrouble> {
    let verdict = match says {
        None if question.contains("Second answer:") => better(question),
        Some(Says::Wrong) if question.contains("Second answer:") => "first",
        None if question.contains("bad") || question.contains("14 days") => "fail",
        None | Some(Says::Wrong) => "pass",
        Some(Says::Away) => return Err(ProbeTrouble::Provider("status 503".to_owned())),
        Some(Says::Refused) => return Err(ProbeTrouble::Version("the provider refused it with 404".to_owned())),
    };
    let text = serde_json::json!({ "reason": "it says so", "verdict": verdict }).to_string();
    let message = serde_json::json!({ "choices": [{ "message": { "role": "assistant", "content": text } }] });
    Ok(Probed { body: message.to_string().into_bytes(), latency_ms: 5.0, cost_usd: Some(0.001) })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Says {
    Wrong,
    Away,
    Refused,
}

impl Scripted {
    /// What judges were asked since the last call.
    pub(crate) fn questions(&self) -> Vec<String> {
        std::mem::take(&mut *self.questions.lock().unwrap())
    }

    pub(crate) fn set(&self, model: &str, says: Option<Says>) {
        let mut all = self.says.lock().unwrap();
        match says {
            Some(says) => all.insert(model.to_owned(), says),
            None => all.remove(model),
        };
    }

    /// Who was asked since the last call, in order: `S` stable, `C` canary.
    pub(crate) fn turns(&self) -> String {
        std::mem::take(&mut *self.asked.lock().unwrap()).concat()
    }
}

#[async_trait]
impl Prober for Scripted {
    async fn ask(&self, question: &Question) -> Result<Probed, ProbeTrouble> {
        let model = question.version.model.as_str();
        if model == "judge-model" {
            self.questions.lock().unwrap().push(question.body.clone());
            return judged(&question.body, self.says.lock().unwrap().get(model).copied());
        }
        self.asked.lock().unwrap().push(if model == "stable-model" { "S" } else { "C" }.to_owned());
        let text = match self.says.lock().unwrap().get(model) {
            None => "You have 30 days.",
            Some(Says::Wrong) => "You have 14 days.",
            Some(Says::Away) => return Err(ProbeTrouble::Provider("status 503".to_owned())),
            Some(Says::Refused) => return Err(ProbeTrouble::Version("the provider refused it with 404".to_owned())),
        };
        let body = format!(
            r#"{{"choices":[{{"index":0,"finish_reason":"stop","message":{{"role":"assistant","content":"{text}"}}}}]}}"#
        );
        Ok(Probed { body: body.into_bytes(), latency_ms: 5.0, cost_usd: None })
    }
}

/// Near and kind is what says "30 days", unless whoever is asked is away.
#[async_trait]
impl Assessors for Scripted {
    async fn embed(&self, provider: &str, body: String, _: Duration) -> Result<Vec<u8>, AssessorTrouble> {
        self.is_there("embeddings")?;
        assert!(provider == "openai" && body.contains("embedding-model"), "{provider}: {body}");
        let own = if body.contains("14 days") { [1.0, 0.0] } else { [0.0, 1.0] };
        let data = [own, [0.0, 1.0]].map(|vector| serde_json::json!({ "embedding": vector }));
        Ok(serde_json::json!({ "data": data }).to_string().into_bytes())
    }

    async fn call(&self, to: &str, body: String, _: Duration) -> Result<Vec<u8>, AssessorTrouble> {
        if to == "pii" {
            let back = self.redacts.lock().unwrap().clone();
            return back.map(String::into_bytes).ok_or_else(|| AssessorTrouble("status 503".to_owned()));
        }
        self.is_there("webhook")?;
        assert!(to == "kindness" && body.contains("How long?"), "{to}: {body}");
        let pass = !body.contains("14 days");
        Ok(serde_json::json!({ "pass": pass, "score": 1, "reason": body }).to_string().into_bytes())
    }
}

impl Scripted {
    /// What the webhook that redacts gives back; nothing, and it is away.
    pub(crate) fn answer_call(&self, back: Option<&str>) {
        *self.redacts.lock().unwrap() = back.map(str::to_owned);
    }

    fn is_there(&self, name: &str) -> Result<(), AssessorTrouble> {
        match self.says.lock().unwrap().get(name) {
            None => Ok(()),
            Some(Says::Wrong | Says::Away | Says::Refused) => Err(AssessorTrouble("status 503".to_owned())),
        }
    }
}

pub(crate) fn refund(name: &str, criticality: Criticality) -> Sentinel {
    let check = Check::Contains { values: vec!["30 days".to_owned()], quota: Quota::All, case: Case::Ignored };
    asserting(name, criticality, check)
}

pub(crate) fn asserting(name: &str, criticality: Criticality, check: Check) -> Sentinel {
    let probe = Probe {
        messages: vec![Message { role: "user".to_owned(), content: "How long?".to_owned() }],
        assertions: vec![Assertion::that(check)],
        threshold: None,
    };
    Sentinel {
        name: name.to_owned(),
        criticality,
        runs: 1,
        need: 1,
        every: SpanMs::minutes(10),
        flaky: 0.02,
        probe: JsonText(serde_json::to_string(&probe).unwrap()),
    }
}

/// A started release with these sentinels.
pub(crate) async fn started(fixture: &Fixture, sentinels: Vec<Sentinel>, gate: Option<OfflineGate>) -> ReleaseId {
    started_within(fixture, sentinels, gate, Judging::default()).await
}

/// The same, where judging may cost no more than this in a day.
pub(crate) async fn started_within(
    fixture: &Fixture,
    sentinels: Vec<Sentinel>,
    gate: Option<OfflineGate>,
    judging: Judging,
) -> ReleaseId {
    let mut new = new_release("canary-model");
    let suite = "sentinels/support.yaml".to_owned();
    new.policy.sentinels = Some(Sentinels { suite, sentinels: sentinels.into(), qualify: 3, judging, gate });
    let id = fixture.control.create_release(new, alice()).await.unwrap().release.id;
    let outcome = fixture.control.command(&id, Command::Start, alice(), None).await.unwrap();
    assert_eq!(outcome.release.state, State::Preflight);
    id
}

/// So many seconds, each with a look and the rounds that are due.
pub(crate) async fn pass(fixture: &Fixture, seconds: u64) {
    for _ in 0..seconds {
        fixture.clock.pass(SpanMs::secs(1));
        fixture.control.tick().await;
        fixture.control.ask_sentinels().await;
    }
    fixture.control.tick().await;
}

pub(crate) fn state(fixture: &Fixture, id: &ReleaseId) -> State {
    fixture.control.release(id).unwrap().state
}

pub(crate) fn why(fixture: &Fixture, id: &ReleaseId) -> String {
    let state = state(fixture, id);
    let (State::RollingBack { why, .. } | State::RolledBack { why, .. }) = &state else {
        return format!("not rolled back: {state:?}");
    };
    assert!(matches!(why, RollbackCause::Sentinel { .. }), "{why:?}");
    why.describe()
}

const CRITICAL: Criticality = Criticality::Critical;

#[tokio::test]
async fn stable_qualifies_both_are_asked_by_turns_and_a_good_canary_begins() {
    let fixture = Fixture::new().await;
    let id = started(&fixture, vec![refund("refund", CRITICAL)], None).await;
    assert_eq!(fixture.share_bp(), 0);
    pass(&fixture, 6).await;
    assert_eq!(fixture.prober.turns(), "SSSSCSC", "three to qualify, before the start, and at the stage's start");
    assert!(matches!(state(&fixture, &id), State::Running { stage: 0, .. }));
    assert!(fixture.share_bp() > 0);
    pass(&fixture, 9 * 60).await;
    assert_eq!(fixture.prober.turns(), "");
    pass(&fixture, 60).await;
    assert_eq!(fixture.prober.turns(), "SC", "and by the clock");
}

#[tokio::test]
async fn a_canary_that_answers_one_wrongly_is_rolled_back_before_anybody_is_exposed() {
    for (says, fault) in [(Says::Wrong, "`30 days` is not in the answer"), (Says::Refused, "404")] {
        let fixture = Fixture::new().await;
        fixture.prober.set("canary-model", Some(says));
        let id = started(&fixture, vec![refund("refund", CRITICAL)], None).await;
        pass(&fixture, 5).await;
        let why = why(&fixture, &id);
        assert!(
            why.starts_with("sentinel refund failed on the canary alone (2/2 passed on stable, 0/2 on canary"),
            "{why}"
        );
        assert!(why.contains(fault), "{why}");
        assert_eq!(fixture.prober.turns(), "SSSSCSC", "two tries confirm it");
        assert_eq!(fixture.control.release(&id).unwrap().started_at, None, "nobody was exposed");
    }
}

#[tokio::test]
async fn one_that_begins_to_fail_is_rolled_back_at_its_next_round() {
    let fixture = Fixture::new().await;
    let id = started(&fixture, vec![refund("refund", CRITICAL)], None).await;
    pass(&fixture, 6).await;
    fixture.prober.set("canary-model", Some(Says::Wrong));
    pass(&fixture, 10 * 60).await;
    assert!(why(&fixture, &id).contains("0/"));
    assert_eq!(fixture.share_bp(), 0);
}

#[tokio::test]
async fn an_outage_of_both_or_of_the_provider_holds() {
    for says in [Says::Wrong, Says::Away] {
        let fixture = Fixture::new().await;
        let id = started(&fixture, vec![refund("refund", CRITICAL)], None).await;
        pass(&fixture, 6).await;
        fixture.prober.set("canary-model", Some(says));
        fixture.prober.set("stable-model", Some(says));
        pass(&fixture, 12 * 60).await;
        assert!(matches!(state(&fixture, &id), State::Running { stage: 0, .. }), "{says:?}");
        let status = fixture.control.status(&id).unwrap();
        let waits = status.report.waiting_for.iter().any(|w| w.describe(status.now).starts_with("sentinel refund"));
        assert!(waits, "{says:?}: {:?}", status.report);
    }
    // The canary's provider alone: unknown, which holds.
    let fixture = Fixture::new().await;
    fixture.prober.set("canary-model", Some(Says::Away));
    let id = started(&fixture, vec![refund("refund", CRITICAL)], None).await;
    pass(&fixture, 130).await;
    assert_eq!(state(&fixture, &id), State::Preflight);
    assert_eq!(fixture.prober.turns(), "SSSSCSCSCSCSCSC", "asked again after a minute");
    fixture.prober.set("canary-model", None);
    pass(&fixture, 60).await;
    assert!(matches!(state(&fixture, &id), State::Running { .. }));
}

#[tokio::test]
async fn a_sentinel_that_stable_fails_accuses_nobody_and_waits_for_a_person() {
    let fixture = Fixture::new().await;
    fixture.prober.set("stable-model", Some(Says::Wrong));
    fixture.prober.set("canary-model", Some(Says::Wrong));
    let id = started(&fixture, vec![refund("refund", CRITICAL)], None).await;
    pass(&fixture, 30 * 60).await;
    assert_eq!(state(&fixture, &id), State::Preflight);
    assert_eq!(fixture.prober.turns(), "SSS", "every ten minutes");
    fixture.control.command(&id, Command::Start, alice(), None).await.unwrap();
    pass(&fixture, 30 * 60).await;
    assert!(matches!(state(&fixture, &id), State::Running { .. }));
}

#[tokio::test]
async fn the_offline_gate_holds_a_canary_that_does_not_clear_it() {
    let fixture = Fixture::new().await;
    fixture.prober.set("canary-model", Some(Says::Wrong));
    let gate = || Some(OfflineGate { suite: "evals/offline.yaml".to_owned(), pass_share: 0.5 });
    let all = || vec![refund("gate: a", Criticality::Gate), refund("gate: b", Criticality::Gate)];
    let id = started(&fixture, all(), gate()).await;
    pass(&fixture, 60).await;
    assert_eq!((state(&fixture, &id), fixture.prober.turns()), (State::Preflight, "CC".to_owned()));
    fixture.prober.set("canary-model", None);
    pass(&fixture, 10 * 60).await;
    assert!(matches!(state(&fixture, &id), State::Running { .. }));
    fixture.prober.turns();
    pass(&fixture, 3600).await;
    assert_eq!(fixture.prober.turns(), "", "never again");
}

#[tokio::test]
async fn what_rounds_have_shown_survives_a_kill() {
    let fixture = Fixture::new().await;
    let id = started(&fixture, vec![refund("refund", CRITICAL)], None).await;
    pass(&fixture, 3).await;
    let asked = fixture.prober.turns();
    let fixture = fixture.restart().await;
    pass(&fixture, 4).await;
    assert_eq!(format!("{asked}{}", fixture.prober.turns()), "SSSSCSC", "no round twice");
    assert!(matches!(state(&fixture, &id), State::Running { .. }));
}
