//! The next try of a canary that failed, over the store (`statistics.md`, section 9, rule 3).

use crate::fixture::{Fixture, alice, rollback};
use coalmine_core::evidence::{SealedBucket, TwoArms, Yardstick, classes};
use coalmine_core::id::ReleaseId;
use coalmine_core::metric::{Kind, Metric, Number};
use coalmine_core::origin::Slice;
use coalmine_core::release::event::Command;
use coalmine_core::release::state::{RollbackCause, State};
use coalmine_core::time::SpanMs;
use coalmine_core::traffic::pin::Stratum;
use coalmine_store::{EvidenceBatch, ReleaseEvidence, Store};

/// One sealed minute: 1 % of control's sessions fail, and so many of 100 of the canary's.
fn sealed(minute: u64, number: Number, canary_bad: u64) -> SealedBucket {
    let counts = |good: u64, bad: u64| {
        let mut counts = vec![0; classes::count(Kind::Rate)];
        counts[0] = good;
        *counts.iter_mut().rev().nth(1).unwrap() = bad;
        counts
    };
    let (control, canary) = (counts(1_881, 19), counts(100 - canary_bad, canary_bad));
    let arms = TwoArms { control, canary, ..TwoArms::default() };
    SealedBucket {
        number,
        stratum: Stratum(0),
        slice: Slice::REST,
        bucket: minute,
        own: None,
        metrics: [(Metric::ErrorRate, arms)].into(),
    }
}

/// Twenty minutes of evidence, as a process before this one stored them.
async fn remember(fixture: &Fixture, release: &ReleaseId, canary_bad: u64) {
    let yardstick = Yardstick { centre: [(Metric::ErrorRate, 0.01)].into(), ..Yardstick::default() };
    let numbers = [Number::First, Number::Session];
    let buckets = numbers.iter().flat_map(|n| (0..20).map(|minute| sealed(minute, *n, canary_bad)));
    let evidence = ReleaseEvidence {
        yardstick: Some(yardstick),
        sealed: buckets.collect(),
        ..ReleaseEvidence::empty(release.clone())
    };
    let batch = EvidenceBatch { counted: Vec::new(), releases: vec![evidence.into()], spending: vec![] };
    let tenant = fixture.control.release(release).unwrap().tenant;
    fixture.store.add_evidence(&tenant, &batch).await.unwrap();
}

async fn end(fixture: &Fixture, release: &ReleaseId) {
    let _ = fixture.control.command(release, rollback("not yet"), alice(), None).await;
    fixture.clock.pass(SpanMs::secs(31));
    fixture.control.tick().await;
    assert!(matches!(fixture.control.release(release).unwrap().state, State::RolledBack { .. }));
}

#[tokio::test]
async fn what_a_good_try_proved_is_carried_and_multiplied_on() {
    let fixture = Fixture::new().await;
    let first = fixture.started().await;
    remember(&fixture, &first, 1).await;
    end(&fixture, &first).await;
    let second = fixture.created("canary-model").await;
    let one = fixture.control.release(&second).unwrap().carried[&Metric::ErrorRate];
    assert!(one > 0.5, "{one}");
    fixture.control.command(&second, Command::Start, alice(), None).await.unwrap();
    remember(&fixture, &second, 1).await;
    end(&fixture, &second).await;
    let third = fixture.created("canary-model").await;
    let both = fixture.control.release(&third).unwrap().carried[&Metric::ErrorRate];
    assert!((both - 2.0 * one).abs() < 1e-9, "{both} is not twice {one}");
    assert_eq!(fixture.control.release(&third).unwrap().attempt, 2);
    // What was carried is frozen with the release: a restart reads it.
    let fixture = fixture.restart().await;
    assert!((fixture.control.release(&third).unwrap().carried[&Metric::ErrorRate] - both).abs() < 1e-12);
    end(&fixture, &third).await;
    let other = fixture.created("another-model").await;
    assert!(fixture.control.release(&other).unwrap().carried.is_empty(), "another canary begins from nothing");
}

#[tokio::test]
async fn a_proven_failure_is_not_latched_into_the_next_try_and_its_losses_are_not_forgiven() {
    let fixture = Fixture::new().await;
    let first = fixture.started().await;
    remember(&fixture, &first, 20).await;
    let fixture = fixture.restart().await;
    fixture.report("a", 1);
    fixture.control.tick().await;
    let state = fixture.control.release(&first).unwrap().state;
    assert!(matches!(state, State::RollingBack { why: RollbackCause::Guardrail { .. }, .. }), "{state:?}");
    let line = |fixture: &Fixture, id| fixture.control.status(id).unwrap().look.unwrap().analysis.rollback.line;
    let first_line = line(&fixture, &first);
    end(&fixture, &first).await;

    let second = fixture.created("canary-model").await;
    assert!(fixture.control.release(&second).unwrap().carried[&Metric::ErrorRate] < -1.0);
    let started = fixture.control.command(&second, Command::Start, alice(), None).await.unwrap();
    let told = &started.report.warnings[0];
    assert!(told.starts_with("this is try 2 of the same canary: false rollbacks are bounded by 0.5 %"), "{told}");
    remember(&fixture, &second, 1).await;
    let fixture = fixture.restart().await;
    fixture.report("a", 2);
    fixture.control.tick().await;
    assert!(matches!(fixture.control.release(&second).unwrap().state, State::Running { .. }));
    assert!((line(&fixture, &second) - first_line - 2.0_f64.ln()).abs() < 1e-9, "alpha is halved");
}
