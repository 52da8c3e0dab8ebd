//! Judges on the shipped loop, in virtual time: a canary that a judge finds worse is rolled back; a judge that is away,
//! spent or drifted holds, and never rolls back.

use crate::fixture::{Fixture, alice, new_release, route};
use crate::sentinels::Says;
use coalmine_core::analysis::{Finding, Verdict};
use coalmine_core::id::{ReleaseId, TenantId, UnitKey};
use coalmine_core::judge::{Anchor, Anchors, FORM, Judge, Sample, Sampling, Scale};
use coalmine_core::metric::Metric;
use coalmine_core::release::event::Command;
use coalmine_core::release::policy::{Guardrail, Margin, Role};
use coalmine_core::release::state::State;
use coalmine_core::tally::{AnsweredAs, Check, Delta, Ending, Outcome, Presence, ServedBy, Turn, TurnPart, Usage};
use coalmine_core::time::{SpanMs, UnixMs};
use coalmine_core::traffic::pin::{Arm, Membership, Stratum};
use coalmine_core::traffic::weight::WeightBp;
use coalmine_core::version::{JsonText, VersionId};
use coalmine_store::Store;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Sessions of each arm in a minute.
const SESSIONS: u64 = 20;

pub(crate) fn judge() -> Judge {
    let anchor =
        |answer: &str, label| Anchor { question: "When?".to_owned(), answer: answer.to_owned(), other: None, label };
    Judge {
        name: "helpful".to_owned(),
        version: crate::fixture::version("judge-model"),
        rubric: "It names the hour.".to_owned(),
        scale: Scale::Binary,
        form: FORM,
        turns: 1,
        usd_per_day: None,
        calls_per_day: None,
        labels: WeightBp::FULL,
        anchors: Some(Anchors {
            every: SpanMs::hours(1),
            agree: 0.7,
            margin: 0.1,
            set: vec![anchor("At nine.", 1.0), anchor("A bad answer.", 0.0)].into(),
        }),
    }
}

/// A release at one half, guarded by a judge that sees every session.
async fn started(fixture: &Fixture, judge: Judge) -> ReleaseId {
    started_with(fixture, judge, 50).await
}

async fn started_with(fixture: &Fixture, judge: Judge, min_sessions: u64) -> ReleaseId {
    let mut new = new_release("canary-model");
    new.plan.stages.truncate(1);
    new.plan.stages[0].min_sessions = min_sessions;
    new.plan.stages[0].weight = WeightBp::new(5_000).unwrap();
    new.policy.guardrails.push(Guardrail {
        promote: Margin { ratio: 1.0, shift: 0.1 },
        rollback: Margin { ratio: 1.0, shift: 0.05 },
        sample: Some(Sampling::ALL),
        ..Guardrail::with_defaults(Metric::Judge("helpful".to_owned()), Role::Guardrail)
    });
    new.policy.judges = vec![judge];
    let id = fixture.control.create_release(new, alice()).await.unwrap().release.id;
    fixture.control.command(&id, Command::Start, alice(), None).await.unwrap();
    id
}

pub(crate) fn outcome() -> Outcome {
    Outcome {
        ending: Ending::Complete,
        status: 200,
        ttft_ms: Some(200.0),
        latency_ms: 900.0,
        gap_max_ms: None,
        usage: Usage::default(),
        cost_usd: None,
        refusal: Check::No,
        empty: Check::No,
        truncated: Check::No,
        tools_declared: Presence::Absent,
        tool_calls: 0,
        tool_calls_bad: 0,
        schema_broken: Check::NotApplicable,
        served_by: ServedBy::Assigned,
        answered_as: AnsweredAs::default(),
        retries: 0,
        detected: coalmine_core::tally::Detected::NOT_APPLICABLE,
        opening: None,
    }
}

/// Traffic of a release: each arm gives a bad answer in so many of 100.
struct Traffic {
    id: ReleaseId,
    sequence: u64,
    sessions: u64,
    bad_control: u64,
    bad_canary: u64,
}

impl Traffic {
    fn of(id: &ReleaseId, bad_control: u64, bad_canary: u64) -> Self {
        Self { id: id.clone(), sequence: 0, sessions: 0, bad_control, bad_canary }
    }

    async fn minutes(&mut self, fixture: &Fixture, minutes: u64) {
        for _ in 0..minutes {
            fixture.clock.pass(SpanMs::minutes(1));
            let mut turns = Vec::new();
            for arm in [Arm::Control, Arm::Canary] {
                for _ in 0..SESSIONS {
                    let (turn, sample) = self.session(arm, fixture.control.now());
                    turns.push(turn);
                    fixture.control.offer_sample(sample);
                }
            }
            self.sequence += 1;
            let delta = Delta {
                gateway: "g".into(),
                epoch: 1,
                sequence: self.sequence,
                complete_to: fixture.control.now(),
                turns,
                feedback: Vec::new(),
                dropped: Vec::new(),
                serving: BTreeMap::from([(route(), fixture.generation())]),
                mirrored: Vec::new(),
                spending: Vec::new(),
            };
            fixture.control.intake(Arc::new(delta)).unwrap();
            fixture.control.tick().await;
            fixture.control.judge_waiting().await;
            fixture.control.tick().await;
        }
    }

    fn session(&mut self, arm: Arm, now: UnixMs) -> (Turn, Sample) {
        self.sessions += 1;
        let unit = UnitKey(u128::from(self.sessions).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835));
        let member = Membership {
            release: Arc::new(self.id.clone()),
            arm,
            stratum: Stratum(0),
            exposed_at: now - SpanMs::secs(5),
        };
        let bad = if arm == Arm::Canary { self.bad_canary } else { self.bad_control };
        let is_bad = (self.sessions * 37) % 100 < bad;
        let sample = Sample {
            unit,
            member: member.clone(),
            turn: self.sessions,
            request_id: Some(format!("cmr_{}", self.sessions)),
            started_at: member.exposed_at,
            conversation: format!(r#"[{{"who":"user","said":"zebra {}"}}]"#, self.sessions),
            answer: if is_bad { "a bad answer" } else { "at nine" }.to_owned(),
        };
        let turn = Turn {
            route: Arc::new(route()),
            unit: Some(unit),
            customer: None,
            version: VersionId([9; 32]),
            started_at: member.exposed_at,
            member: Some(member),
            origin: None,
            part: TurnPart::Whole,
            outcome: outcome(),
        };
        (turn, sample)
    }
}

async fn finding(fixture: &Fixture, id: &ReleaseId) -> Finding {
    let analysis = fixture.control.explain(id).await.unwrap().analysis.unwrap();
    let metric = Metric::Judge("helpful".to_owned());
    analysis.findings.iter().find(|finding| finding.metric == metric).unwrap().clone()
}

fn is_running(fixture: &Fixture, id: &ReleaseId) -> bool {
    matches!(fixture.control.release(id).unwrap().state, State::Running { stage: 0, .. })
}

#[tokio::test]
async fn a_canary_that_the_judge_finds_worse_is_rolled_back() {
    let fixture = Fixture::new().await;
    let id = started(&fixture, judge()).await;
    Traffic::of(&id, 10, 60).minutes(&fixture, 60).await;
    let state = fixture.control.release(&id).unwrap().state;
    let (State::RollingBack { why, .. } | State::RolledBack { why, .. }) = &state else {
        panic!("{state:?} {:?}", finding(&fixture, &id).await);
    };
    assert!(why.describe().contains("judge.helpful"), "{}", why.describe());
}

#[tokio::test]
async fn a_canary_that_it_finds_as_good_goes_on() {
    let fixture = Fixture::new().await;
    let id = started(&fixture, judge()).await;
    Traffic::of(&id, 10, 10).minutes(&fixture, 100).await;
    let judged = finding(&fixture, &id).await;
    assert_eq!(judged.verdict, Verdict::Healthy, "{judged:?}");
    assert!(judged.n.canary > 200 && judged.missing.canary < 50, "{judged:?}");
    assert!((judged.canary.unwrap() - 0.9).abs() < 0.05, "as people read it, high is good: {judged:?}");
}

#[tokio::test]
async fn a_judge_that_is_away_holds_and_never_rolls_back() {
    for says in [Says::Away, Says::Refused] {
        let fixture = Fixture::new().await;
        let id = started(&fixture, judge()).await;
        let mut traffic = Traffic::of(&id, 10, 60);
        traffic.minutes(&fixture, 2).await;
        fixture.prober.set("judge-model", Some(says));
        traffic.minutes(&fixture, 120).await;
        assert!(is_running(&fixture, &id), "{says:?}");
        let judged = finding(&fixture, &id).await;
        assert_eq!(judged.verdict, Verdict::NoData, "{judged:?}");
        assert!(judged.reason.contains("insufficient data: judge helpful does not answer"), "{}", judged.reason);
        fixture.prober.set("judge-model", None);
        traffic.minutes(&fixture, 70).await;
        assert!(!is_running(&fixture, &id), "it is back, and so is its verdict");
    }
}

#[tokio::test]
async fn a_spent_budget_is_insufficient_data_until_the_next_day() {
    let fixture = Fixture::new().await;
    let id = started(&fixture, Judge { calls_per_day: Some(300), ..judge() }).await;
    let mut traffic = Traffic::of(&id, 10, 60);
    traffic.minutes(&fixture, 30).await;
    assert!(fixture.prober.questions().len() <= 301);
    let judged = finding(&fixture, &id).await;
    assert_eq!(judged.verdict, Verdict::NoData, "{judged:?}");
    assert!(judged.reason.contains("the day's calls of judge helpful is spent"), "{}", judged.reason);
    let analysis = fixture.control.explain(&id).await.unwrap().analysis.unwrap();
    assert_eq!(analysis.judges[0].calls_today, 300);
    assert!(analysis.judges[0].skipped.canary > 100);
    fixture.clock.pass(SpanMs::hours(24));
    traffic.minutes(&fixture, 1).await;
    assert!(!fixture.prober.questions().is_empty(), "a new day");
}

#[tokio::test]
async fn a_judge_that_no_longer_agrees_with_its_anchors_is_not_believed() {
    let fixture = Fixture::new().await;
    let id = started_with(&fixture, judge(), 100_000).await;
    let mut traffic = Traffic::of(&id, 10, 10);
    traffic.minutes(&fixture, 20).await;
    fixture.prober.set("judge-model", Some(Says::Wrong));
    traffic.minutes(&fixture, 60).await;
    fixture.prober.questions();
    traffic.minutes(&fixture, 10).await;
    assert!(fixture.prober.questions().is_empty(), "nothing but the anchors by the clock");
    let judged = finding(&fixture, &id).await;
    assert_eq!(judged.verdict, Verdict::NoData);
    assert!(judged.reason.contains("judge helpful drifted: it scores 1 of 2 anchors"), "{}", judged.reason);
    assert!(is_running(&fixture, &id));
}

#[tokio::test]
async fn the_judge_is_blind_and_nothing_of_what_it_read_is_kept() {
    let fixture = Fixture::new().await;
    let id = started(&fixture, judge()).await;
    Traffic::of(&id, 10, 10).minutes(&fixture, 10).await;
    let questions = fixture.prober.questions();
    assert!(questions.iter().any(|question| question.contains("zebra")));
    for word in ["canary", "control", "stable", id.as_str(), "canary-model"] {
        assert!(!questions.iter().any(|question| question.contains(word)), "{word}");
    }
    let evidence = fixture.store.evidence(&TenantId::default(), &id).await.unwrap();
    let kept = format!("{:?} {:?} {:?}", evidence.totals, evidence.sessions, evidence.sealed);
    assert!(
        kept.contains("helpful")
            && !kept.contains("zebra")
            && !kept.contains("at nine")
            && !kept.contains("it says so")
    );
}

#[tokio::test]
async fn labels_are_blind_survive_a_restart_and_correct_the_judge() {
    let fixture = Fixture::new().await;
    let id = started(&fixture, judge()).await;
    let mut traffic = Traffic::of(&id, 10, 10);
    traffic.minutes(&fixture, 12).await;
    let waiting = fixture.control.labels(&id).unwrap();
    assert!(waiting.len() > 200 && waiting.iter().all(|one| one.label.is_none()));
    for one in waiting.iter().take(200) {
        // People are stricter than the judge in every eighth answer.
        let number: u64 = one.request_id.as_ref().unwrap()[4..].parse().unwrap();
        let good = (number * 37) % 100 >= 10 && !number.is_multiple_of(8);
        fixture.control.label(&id, None, one.request_id.as_ref().unwrap(), f64::from(u8::from(good))).unwrap();
    }
    assert!(fixture.control.label(&id, None, "cmr_unknown", 1.0).is_err());
    assert!(fixture.control.label(&id, None, &waiting[0].item, 2.0).is_err());
    fixture.control.tick().await;
    let fixture = fixture.restart().await;
    fixture.control.tick().await;
    traffic.minutes(&fixture, 1).await;
    assert_eq!(fixture.control.labels(&id).unwrap().iter().filter(|one| one.label.is_some()).count(), 200);
    let analysis = fixture.control.explain(&id).await.unwrap().analysis.unwrap();
    let corrected = analysis.judges[0].corrected.unwrap();
    assert!(corrected.canary.high < 0.9 && corrected.control.high < 0.9, "{corrected:?}");
    assert!(analysis.judges[0].reason.contains("people would say"), "{}", analysis.judges[0].reason);
}

#[tokio::test]
async fn the_params_of_a_judge_are_a_part_of_who_it_is() {
    let one = judge();
    let mut other = judge();
    other.version.params.insert("temperature".to_owned(), JsonText("1".to_owned()));
    assert_ne!(one.id(), other.id());
}
