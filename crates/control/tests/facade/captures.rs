//! Captured answers on the shipped loop: what reaches the store is sealed and redacted, only readers read and each
//! reading is noted, and what cannot be kept is counted and harms nothing.

use crate::fixture::{Fixture, alice, bob, route, version};
use coalmine_control::ControlError;
use coalmine_control::captures::CaptureSettings;
use coalmine_control::captures::read::Window;
use coalmine_control::captures::redact::Redactor;
use coalmine_control::captures::seal::{KeyRing, SealKey};
use coalmine_core::capture::{CaptureRule, CaptureScope, Did, SteadySample};
use coalmine_core::id::{ReleaseId, RouteName, TenantId, UnitKey};
use coalmine_core::judge::{PairSample, Sample};
use coalmine_core::time::SpanMs;
use coalmine_core::traffic::pin::{Arm, Membership, Stratum};
use coalmine_core::traffic::weight::WeightBp;
use coalmine_store::Store;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const ALL: Window = Window { skip: 0, most: 9 };

fn key(digit: char) -> SealKey {
    SealKey::read(&digit.to_string().repeat(64)).unwrap()
}

fn settings(keys: KeyRing) -> CaptureSettings {
    let rule = CaptureRule { sample: WeightBp::FULL, keep: SpanMs::hours(1), text_max_bytes: 4_096, rows_max: 50 };
    CaptureSettings {
        rules: BTreeMap::from([(route(), rule)]),
        keys,
        redactor: Redactor::new([("animal", "zebras?")]).unwrap(),
        webhook: None,
        readers: BTreeSet::from([alice()]),
    }
}

async fn capturing() -> (Fixture, ReleaseId) {
    let fixture = Fixture::capturing(Some(settings(KeyRing::new(key('a'), vec![])))).await;
    let id = fixture.started().await;
    (fixture, id)
}

fn sample(fixture: &Fixture, release: &ReleaseId, number: u64, arm: Arm, asked: &str) -> Sample {
    let now = fixture.control.now();
    let member = Membership { release: Arc::new(release.clone()), arm, stratum: Stratum(0), exposed_at: now };
    Sample {
        unit: UnitKey(u128::from(number)),
        member,
        turn: 1,
        request_id: Some(format!("cmr_{number}")),
        started_at: now,
        conversation: format!(r#"[{{"who":"user","said":"{asked}"}}]"#),
        answer: format!("giraffe {number}, write to ann@example.com"),
    }
}

async fn take(fixture: &Fixture, samples: impl IntoIterator<Item = Sample>) {
    samples.into_iter().for_each(|sample| fixture.control.offer_capture(sample));
    fixture.control.capture_waiting().await;
}

#[tokio::test]
async fn what_reaches_the_store_is_sealed_and_redacted_and_comes_back_side_by_side() {
    let (fixture, id) = capturing().await;
    take(
        &fixture,
        [
            sample(&fixture, &id, 1, Arm::Control, "Where is my zebra?"),
            sample(&fixture, &id, 2, Arm::Canary, "where is  my ZEBRA?".to_lowercase().as_str()),
            sample(&fixture, &id, 3, Arm::Canary, "Something else"),
            sample(&fixture, &id, 4, Arm::Stable, "Not compared"),
        ],
    )
    .await;
    let captured = fixture.control.captured(&id.clone().into()).await.unwrap();
    let counts = captured.counts;
    assert_eq!((captured.heads.len(), counts.kept, counts.unplaced, counts.dropped()), (3, 3, 1, 1));
    for head in &captured.heads {
        let row = fixture.store.capture(&TenantId::default(), head.id).await.unwrap().unwrap();
        let stored = String::from_utf8_lossy(&row.sealed).into_owned() + &format!("{row:?}");
        assert!(
            !["giraffe", "zebra", "example.com", "here is", "cmr_"].iter().any(|word| stored.contains(word)),
            "{stored}"
        );
    }
    let found = fixture.control.side_by_side(&id, ALL, &alice()).await.unwrap();
    assert_eq!((found.control, found.canary, found.unopened, found.pairs.len()), (1, 2, 0, 1));
    let pair = &found.pairs[0];
    assert_eq!(pair.likeness.as_str(), "same prompt");
    assert_eq!(pair.control.text.answer, "giraffe 1, write to [mail]");
    assert_eq!((pair.canary.text.asked(), pair.canary.text.redacted), ("where is  my [animal]?", 2));
    assert!(!format!("{found:?}").contains("giraffe"), "no text is shown by accident");
}

/// Both answers of a shadow's pair come out as one pair of the same prompt, redacted and sealed like any other.
#[tokio::test]
async fn both_answers_of_a_shadows_pair_stand_side_by_side() {
    let (fixture, id) = capturing().await;
    let release = Arc::new(id.clone());
    let pair = |number: u64| PairSample {
        release: Arc::clone(&release),
        unit: UnitKey(u128::from(number)),
        started_at: fixture.control.now(),
        conversation: format!(r#"[{{"who":"user","said":"Where is zebra {number}?"}}]"#),
        stable: format!("giraffe {number}, write to ann@example.com"),
        canary: format!("lion {number}"),
    };
    (1..=3).for_each(|number| fixture.control.offer_pair(pair(number)));
    fixture.control.capture_waiting().await;
    let captured = fixture.control.captured(&id.clone().into()).await.unwrap();
    assert_eq!((captured.heads.len(), captured.counts.kept), (6, 6));
    for head in &captured.heads {
        let row = fixture.store.capture(&TenantId::default(), head.id).await.unwrap().unwrap();
        let stored = String::from_utf8_lossy(&row.sealed).into_owned() + &format!("{row:?}");
        assert!(!["giraffe", "lion", "zebra", "example.com"].iter().any(|word| stored.contains(word)), "{stored}");
    }
    let found = fixture.control.side_by_side(&id, ALL, &alice()).await.unwrap();
    assert_eq!((found.control, found.canary, found.pairs.len()), (3, 3, 3));
    for pair in &found.pairs {
        assert_eq!(pair.likeness.as_str(), "same prompt");
        let number = pair.canary.text.answer.strip_prefix("lion ").unwrap();
        assert_eq!(pair.control.text.answer, format!("giraffe {number}, write to [mail]"));
        assert_eq!(pair.canary.text.asked(), format!("Where is [animal] {number}?"));
        assert_ne!(pair.control.head.version, pair.canary.head.version);
    }
    fixture.control.lose_pair(&release, UnitKey(9));
    assert_eq!(fixture.control.capture_counts().full, 2, "what is lost on its way is two answers");
}

#[tokio::test]
async fn only_readers_read_and_every_reading_and_deletion_is_noted() {
    let (fixture, id) = capturing().await;
    take(&fixture, [sample(&fixture, &id, 1, Arm::Control, "a"), sample(&fixture, &id, 2, Arm::Canary, "a")]).await;
    let one = fixture.control.captured(&id.clone().into()).await.unwrap().heads[0].id;
    let refused = fixture.control.side_by_side(&id, ALL, &bob()).await;
    assert!(matches!(refused, Err(ControlError::MayNotRead(_))), "{refused:?}");
    let refused = fixture.control.captured_text(one, &bob()).await;
    assert!(matches!(refused, Err(ControlError::MayNotRead(_))), "{refused:?}");
    assert!(fixture.control.capture_uses().await.unwrap().is_empty());
    fixture.clock.pass(SpanMs::secs(1));
    fixture.control.side_by_side(&id, ALL, &alice()).await.unwrap();
    fixture.clock.pass(SpanMs::secs(1));
    fixture.control.captured_text(one, &alice()).await.unwrap();
    fixture.clock.pass(SpanMs::secs(1));
    assert_eq!(fixture.control.delete_capture(one, &bob()).await.unwrap(), 1, "any operator deletes");
    assert!(matches!(fixture.control.captured_text(one, &alice()).await, Err(ControlError::UnknownCapture(_))));
    fixture.clock.pass(SpanMs::secs(1));
    assert_eq!(fixture.control.delete_captures_of(&id.clone().into(), &bob()).await.unwrap(), 1);
    let uses = fixture.control.capture_uses().await.unwrap();
    let uses: Vec<_> = uses.iter().map(|it| (it.actor.as_str(), it.did, it.answers)).collect();
    let (alice, bob) = ("alice", "bob");
    assert_eq!(
        uses,
        [(bob, Did::Deleted, 1), (bob, Did::Deleted, 1), (alice, Did::ReadOne, 1), (alice, Did::ReadPairs, 2)]
    );
}

#[tokio::test]
async fn nothing_is_read_where_the_reading_cannot_be_noted() {
    let (fixture, id) = capturing().await;
    take(&fixture, [sample(&fixture, &id, 1, Arm::Control, "a")]).await;
    let one = fixture.control.captured(&id.clone().into()).await.unwrap().heads[0].id;
    assert!(fixture.control.captured_text(one, &alice()).await.is_ok());
    // The row is read, and then the store is gone.
    fixture.store.fail_after(1);
    let reading = fixture.control.captured_text(one, &alice()).await;
    assert!(matches!(reading, Err(ControlError::StoreSilent(_))), "{reading:?}");
    assert_eq!(fixture.control.capture_uses().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_store_or_webhook_that_is_away_costs_captures_which_are_counted() {
    let (fixture, id) = capturing().await;
    fixture.store.fail_next(1);
    take(&fixture, [sample(&fixture, &id, 1, Arm::Control, "a")]).await;
    assert_eq!(fixture.control.capture_counts().not_stored, 1);
    let asking = CaptureSettings { webhook: Some("pii".to_owned()), ..settings(KeyRing::new(key('a'), vec![])) };
    let fixture = Fixture::capturing(Some(asking)).await;
    let id = fixture.started().await;
    fixture.prober.answer_call(Some(r#"{"texts":["[name] asks","[name] is told"]}"#));
    take(&fixture, [sample(&fixture, &id, 1, Arm::Control, "Ann asks")]).await;
    let heads = fixture.control.captured(&id.clone().into()).await.unwrap().heads;
    let text = fixture.control.captured_text(heads[0].id, &alice()).await.unwrap().text;
    assert_eq!((text.asked(), text.answer.as_str()), ("[name] asks", "[name] is told"));
    for said in [None, Some(r#"{"texts":["one"]}"#), Some("no JSON")] {
        fixture.prober.answer_call(said);
        take(&fixture, [sample(&fixture, &id, 2, Arm::Control, "Ben asks")]).await;
    }
    let counts = fixture.control.capture_counts();
    assert_eq!((counts.kept, counts.not_redacted, counts.dropped()), (1, 3, 3));
    assert_eq!(
        fixture.control.captured(&id.clone().into()).await.unwrap().heads.len(),
        1,
        "nothing that it has not seen is kept"
    );
}

#[tokio::test]
async fn what_is_old_is_gone_and_what_is_too_much_gives_way() {
    let (fixture, id) = capturing().await;
    let many = (0..60).map(|number| sample(&fixture, &id, number, Arm::Control, "a"));
    let many: Vec<Sample> = many.chain([sample(&fixture, &id, 99, Arm::Canary, "a")]).collect();
    take(&fixture, many).await;
    let captured = fixture.control.captured(&id.clone().into()).await.unwrap();
    assert_eq!((captured.heads.len(), captured.counts.evicted), (51, 10), "one arm does not push the other out");
    fixture.clock.pass(SpanMs::hours(1));
    assert!(fixture.control.captured(&id.clone().into()).await.unwrap().heads.is_empty(), "not shown at once");
    fixture.control.tick().await;
    assert!(
        fixture.store.capture_heads(&TenantId::default(), &id.clone().into()).await.unwrap().is_empty(),
        "and deleted soon"
    );
    assert_eq!(fixture.control.capture_counts().expired, 51);
}

#[tokio::test]
async fn without_its_rule_nothing_is_captured_and_nobody_reads() {
    let fixture = Fixture::new().await;
    let id = fixture.started().await;
    take(&fixture, [sample(&fixture, &id, 1, Arm::Control, "a")]).await;
    assert!(fixture.control.captured(&id.clone().into()).await.unwrap().heads.is_empty());
    assert!(matches!(fixture.control.side_by_side(&id, ALL, &alice()).await, Err(ControlError::NoCapture)));
    let stranger = ReleaseId::from("support-99");
    let elsewhere = CaptureSettings { rules: BTreeMap::new(), ..settings(KeyRing::new(key('a'), vec![])) };
    let fixture = Fixture::capturing(Some(elsewhere)).await;
    let id = fixture.started().await;
    let lost = [sample(&fixture, &id, 1, Arm::Control, "a"), sample(&fixture, &stranger, 2, Arm::Canary, "a")];
    take(&fixture, lost).await;
    assert!(fixture.control.captured(&id.clone().into()).await.unwrap().heads.is_empty());
    let counts = fixture.control.capture_counts();
    assert_eq!((counts.unplaced, counts.dropped()), (2, 2), "what is lost is counted");
}

#[tokio::test]
async fn without_a_release_what_stable_answered_is_captured_and_is_the_routes() {
    let fixture = Fixture::capturing(Some(settings(KeyRing::new(key('a'), vec![])))).await;
    let steady = |number: u64, route: &str, asked: &str| SteadySample {
        route: Arc::new(RouteName::from(route)),
        version: version("stable-model").id(),
        unit: UnitKey(u128::from(number)),
        turn: 1,
        request_id: Some(format!("cmr_{number}")),
        started_at: fixture.control.now() + SpanMs::secs(number),
        conversation: format!(r#"[{{"who":"user","said":"{asked}"}}]"#),
        answer: "write to ann@example.com".to_owned(),
    };
    for sample in [steady(1, "support", "Where is my zebra?"), steady(2, "support", "Why?"), steady(3, "nowhere", "a")]
    {
        fixture.control.offer_steady_capture(sample);
    }
    fixture.control.capture_waiting().await;
    let id = fixture.started().await;
    let of_route = CaptureScope::from(route());
    let captured = fixture.control.captured(&of_route).await.unwrap();
    assert_eq!((captured.heads.len(), captured.counts.kept, captured.counts.unplaced), (2, 2, 1));
    assert!(captured.heads.iter().all(|head| head.arm == Arm::Stable && head.release.is_none()));
    assert!(fixture.control.captured(&id.into()).await.unwrap().heads.is_empty(), "no release has it");
    let (opened, found) = fixture.control.steady_text(&route(), 1, &alice()).await.unwrap();
    let text = opened.unwrap().unwrap().text;
    assert_eq!((text.asked(), text.answer.as_str(), found), ("Where is my [animal]?", "write to [mail]", 2));
    let (none, found) = fixture.control.steady_text(&route(), 2, &alice()).await.unwrap();
    assert!(none.is_none() && found == 2);
    assert!(matches!(fixture.control.steady_text(&route(), 0, &bob()).await, Err(ControlError::MayNotRead(_))));
    let uses = fixture.control.capture_uses().await.unwrap();
    assert_eq!(uses.iter().map(|it| (&it.of, it.did)).collect::<Vec<_>>(), [(&of_route, Did::ReadOne)]);
    assert_eq!(fixture.control.delete_captures_of(&of_route, &bob()).await.unwrap(), 2);
    let unknown = fixture.control.captured(&RouteName::from("nowhere").into()).await;
    assert!(matches!(unknown, Err(ControlError::UnknownRoute(_))), "{unknown:?}");
}

#[tokio::test]
async fn an_answer_that_waits_for_a_label_can_be_read_by_its_item_and_says_nothing_of_its_arm() {
    let (fixture, id) = capturing().await;
    take(&fixture, [sample(&fixture, &id, 7, Arm::Canary, "Why?")]).await;
    let item = format!("{:016x}", fixture.control.captured(&id.clone().into()).await.unwrap().heads[0].item);
    let text = fixture.control.text_to_label(&id, &item, &alice()).await.unwrap().unwrap();
    assert_eq!(text.asked(), "Why?");
    assert!(fixture.control.text_to_label(&id, &item, &bob()).await.unwrap().is_none());
    assert!(fixture.control.text_to_label(&id, "0000000000000000", &alice()).await.unwrap().is_none());
    assert_eq!(fixture.control.capture_uses().await.unwrap()[0].did, Did::ReadToLabel);
}
