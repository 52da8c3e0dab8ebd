//! A judge of pairs on the shipped loop, in virtual time: a canary whose answers lose is rolled back with nobody exposed;
//! a judge that goes by the place makes ties; one that is away, spent or drifted holds, and never rolls back.

use crate::fixture::{Fixture, alice, new_release, route};
use crate::judges::{judge, outcome};
use crate::sentinels::Says;
use coalmine_core::analysis::ShadowFinding;
use coalmine_core::id::{ReleaseId, TenantId, UnitKey};
use coalmine_core::judge::{Anchor, Anchors, Judge, PairSample, Scale};
use coalmine_core::release::event::Command;
use coalmine_core::release::policy::Role;
use coalmine_core::release::state::State;
use coalmine_core::shadow::Shadow;
use coalmine_core::shadow::pair::{Lost, Mirrored, Pair};
use coalmine_core::shadow::preferences::Preferring;
use coalmine_core::tally::Delta;
use coalmine_core::time::SpanMs;
use coalmine_core::traffic::weight::WeightBp;
use coalmine_store::Store;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Mirrored sessions in a minute.
const SESSIONS: u64 = 20;

fn of_pairs() -> Judge {
    let anchor = |answer: &str, other: &str, label| Anchor {
        question: "When?".to_owned(),
        answer: answer.to_owned(),
        other: Some(other.to_owned()),
        label,
    };
    let set = [anchor("At nine.", "A bad answer.", 1.0), anchor("A bad answer.", "At nine.", 0.0)].into();
    Judge {
        scale: Scale::Pairs,
        labels: WeightBp::ZERO,
        anchors: Some(Anchors { every: SpanMs::hours(1), agree: 0.7, margin: 0.1, set }),
        ..judge()
    }
}

/// A release in its shadow, whose pairs a judge sees.
async fn shadowed(fixture: &Fixture, judge: Judge) -> ReleaseId {
    let mut new = new_release("canary-model");
    let preferring = Preferring {
        judge: judge.name.clone(),
        role: Role::Guardrail,
        margin: 0.1,
        weight: 1.0,
        sample: WeightBp::FULL,
    };
    new.policy.shadow = Some(Shadow {
        share: WeightBp::FULL,
        length: SpanMs::minutes(30),
        min_sessions: 100,
        in_flight: 16,
        usd_per_day: 20.0,
        preferences: vec![preferring],
        similarity: None,
    });
    new.policy.judges = vec![judge];
    let id = fixture.control.create_release(new, alice()).await.unwrap().release.id;
    fixture.control.command(&id, Command::Start, alice(), None).await.unwrap();
    id
}

/// Pairs of a shadow, in so many of 100 of which the canary's answer is bad.
struct Traffic {
    id: ReleaseId,
    sequence: u64,
    sessions: u64,
    bad: u64,
}

impl Traffic {
    fn of(id: &ReleaseId, bad: u64) -> Self {
        Self { id: id.clone(), sequence: 0, sessions: 0, bad }
    }

    async fn minutes(&mut self, fixture: &Fixture, minutes: u64) {
        for _ in 0..minutes {
            fixture.clock.pass(SpanMs::minutes(1));
            let release = Arc::new(self.id.clone());
            let mut pairs = Vec::new();
            for _ in 0..SESSIONS {
                self.sessions += 1;
                let unit = UnitKey(u128::from(self.sessions).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835));
                let started_at = fixture.control.now() - SpanMs::secs(5);
                pairs.push(Pair { unit, started_at, stable: outcome(), canary: outcome() });
                let is_bad = (self.sessions * 37) % 100 < self.bad;
                fixture.control.offer_pair(PairSample {
                    release: Arc::clone(&release),
                    unit,
                    started_at,
                    conversation: format!(r#"[{{"who":"user","said":"zebra {}"}}]"#, self.sessions),
                    stable: "at nine".to_owned(),
                    canary: if is_bad { "a bad answer" } else { "at 9 o'clock" }.to_owned(),
                });
            }
            self.sequence += 1;
            let delta = Delta {
                gateway: "g".into(),
                epoch: 1,
                sequence: self.sequence,
                complete_to: fixture.control.now(),
                turns: Vec::new(),
                feedback: Vec::new(),
                dropped: Vec::new(),
                serving: BTreeMap::from([(route(), fixture.generation())]),
                mirrored: vec![Mirrored { release, pairs, lost: Lost::default(), likenesses: Vec::new() }],
                spending: Vec::new(),
            };
            fixture.control.intake(Arc::new(delta)).unwrap();
            fixture.control.tick().await;
            fixture.control.judge_waiting().await;
            fixture.control.tick().await;
        }
    }
}

async fn seen(fixture: &Fixture, id: &ReleaseId) -> ShadowFinding {
    fixture.control.explain(id).await.unwrap().analysis.unwrap().shadow.clone().unwrap()
}

fn is_in_its_shadow(fixture: &Fixture, id: &ReleaseId) -> bool {
    matches!(fixture.control.release(id).unwrap().state, State::Shadow { .. })
}

#[tokio::test]
async fn a_canary_whose_answers_lose_is_rolled_back_with_nobody_exposed() {
    let fixture = Fixture::new().await;
    let id = shadowed(&fixture, of_pairs()).await;
    Traffic::of(&id, 60).minutes(&fixture, 60).await;
    let release = fixture.control.release(&id).unwrap();
    let (State::RollingBack { why, .. } | State::RolledBack { why, .. }) = &release.state else {
        panic!("{:?}", seen(&fixture, &id).await);
    };
    assert!(why.describe().starts_with("judge.helpful proven worse than stable in the shadow"), "{}", why.describe());
    assert_eq!(release.started_at, None);
    let questions = fixture.prober.questions();
    let orders = |first: &str, second: &str| {
        let both = questions.iter().map(|question| question.split_once("Second answer:").unwrap());
        both.filter(|(at, then)| at.contains(first) && then.contains(second)).count()
    };
    assert!(orders("at nine", "a bad answer") > 10, "both orders are asked");
    assert!(orders("a bad answer", "at nine") > 10, "both orders are asked");
}

#[tokio::test]
async fn a_canary_whose_answers_are_as_good_goes_on() {
    let fixture = Fixture::new().await;
    let id = shadowed(&fixture, of_pairs()).await;
    Traffic::of(&id, 0).minutes(&fixture, 50).await;
    let state = fixture.control.release(&id).unwrap().state;
    assert!(matches!(state, State::Running { stage: 0, .. }), "{state:?} {:?}", seen(&fixture, &id).await);
}

/// It says `first` whatever stands there: a tie, and ties prove nothing.
#[tokio::test]
async fn a_judge_that_goes_by_the_place_makes_ties() {
    let fixture = Fixture::new().await;
    let id = shadowed(&fixture, Judge { anchors: None, ..of_pairs() }).await;
    fixture.prober.set("judge-model", Some(Says::Wrong));
    Traffic::of(&id, 60).minutes(&fixture, 25).await;
    let found = seen(&fixture, &id).await.findings.pop().unwrap();
    let said = found.preferences.unwrap();
    assert_eq!((said.won, said.lost), (0, 0));
    assert!(said.tied > 300 && found.standing < 0.0, "{found:?}");
}

#[tokio::test]
async fn a_judge_of_pairs_that_is_away_holds_and_never_rolls_back() {
    for says in [Says::Away, Says::Refused] {
        let fixture = Fixture::new().await;
        let id = shadowed(&fixture, of_pairs()).await;
        let mut traffic = Traffic::of(&id, 60);
        traffic.minutes(&fixture, 1).await;
        fixture.prober.set("judge-model", Some(says));
        traffic.minutes(&fixture, 120).await;
        assert!(is_in_its_shadow(&fixture, &id), "{says:?}");
        let found = seen(&fixture, &id).await.findings.pop().unwrap();
        assert!(found.lacks.as_ref().unwrap().contains("judge helpful does not answer"), "{found:?}");
        fixture.prober.set("judge-model", None);
        traffic.minutes(&fixture, 70).await;
        assert!(!is_in_its_shadow(&fixture, &id), "it is back, and so is its verdict");
    }
}

#[tokio::test]
async fn a_spent_budget_and_drifted_anchors_hold() {
    let fixture = Fixture::new().await;
    let id = shadowed(&fixture, Judge { calls_per_day: Some(60), ..of_pairs() }).await;
    let mut traffic = Traffic::of(&id, 60);
    traffic.minutes(&fixture, 60).await;
    assert!(fixture.prober.questions().len() <= 61, "a pair takes two");
    let found = seen(&fixture, &id).await.findings.pop().unwrap();
    assert!(found.lacks.as_ref().unwrap().contains("the day's calls of judge helpful is spent"), "{found:?}");
    assert!(is_in_its_shadow(&fixture, &id));

    let fixture = Fixture::new().await;
    let id = shadowed(&fixture, of_pairs()).await;
    fixture.prober.set("judge-model", Some(Says::Wrong));
    Traffic::of(&id, 60).minutes(&fixture, 60).await;
    let found = seen(&fixture, &id).await.findings.pop().unwrap();
    assert!(found.lacks.as_ref().unwrap().contains("scores 0 of 2 anchors"), "{found:?}");
    assert_eq!(found.preferences.unwrap().tied, 0, "nobody asks a judge that is not proven");
}

/// It is told of no arm, and nothing of what it read is kept: over a restart counts and young sessions go on.
#[tokio::test]
async fn a_judge_of_pairs_is_blind_and_a_restart_keeps_numbers_and_no_texts() {
    let fixture = Fixture::new().await;
    let id = shadowed(&fixture, of_pairs()).await;
    let mut traffic = Traffic::of(&id, 0);
    traffic.minutes(&fixture, 10).await;
    let questions = fixture.prober.questions();
    assert!(questions.iter().any(|question| question.contains("zebra")));
    for word in ["canary", "stable", "control", id.as_str()] {
        assert!(!questions.iter().any(|question| question.contains(word)), "{word}");
    }
    let kept = fixture.store.evidence(&TenantId::default(), &id).await.unwrap();
    assert_eq!(kept.mirrored.len() as u64, 10 * SESSIONS, "young ones are rows");
    let kept = format!("{:?} {:?}", kept.totals, kept.mirrored);
    assert!(kept.contains("helpful") && !kept.contains("zebra") && !kept.contains("at nine"), "{kept}");

    let before = seen(&fixture, &id).await;
    let fixture = fixture.restart().await;
    fixture.control.tick().await;
    traffic.minutes(&fixture, 12).await;
    let after = seen(&fixture, &id).await;
    let counted = after.findings.iter().find(|finding| finding.preferences.is_some()).unwrap();
    assert_eq!(before.sessions, 0, "all were young");
    assert!(after.sessions >= 6 * SESSIONS && counted.sessions >= 6 * SESSIONS, "{after:?}");
}
