//! The way of a request: who answers, what is sent, what comes back, what is told.
use crate::support::*;
use coalmine_core::tally::{Check, Ending, Presence, ServedBy, TurnPart};
use coalmine_core::traffic::pin::Arm;

#[tokio::test]
async fn a_request_goes_to_its_version_and_is_told() {
    let world = World::new(vec![ok("from stable")], vec![ok("from canary")]).await;
    world.release(10_000).await;
    let answer = world.chat("s-1", ASK).await;
    assert_eq!((answer.status, answer.text()), (200, completion("from canary")));
    assert_eq!(answer.header("x-coalmine-arm"), "canary");
    assert_eq!(answer.header("x-coalmine-release"), "support-1");
    assert_eq!(answer.header("x-coalmine-version"), version("two", "model-c").id().to_string());
    assert!(answer.header("x-coalmine-request-id").starts_with("cmr_"));
    assert_eq!(answer.header("x-coalmine-session").len(), 32);

    let sent = &world.canary.received()[0];
    assert!(sent.head.starts_with("POST /v1/chat/completions HTTP/1.1"), "{}", sent.head);
    assert_eq!(sent.json()["model"], "model-c");
    assert_eq!(sent.header("authorization"), Some("Bearer key-two"));

    let turn = &world.turns(1).await[0];
    assert_eq!((turn.part, turn.outcome.ending, turn.outcome.status), (TurnPart::Whole, Ending::Complete, 200));
    assert_eq!(turn.member.as_ref().unwrap().arm, Arm::Canary);
    assert_eq!((turn.outcome.usage.input, turn.outcome.usage.output), (Some(10), Some(5)));
    assert_eq!(turn.outcome.cost_usd, None, "an unknown price is no data");
    assert_eq!((turn.outcome.refusal, turn.outcome.empty), (Check::No, Check::No));
    assert_eq!((turn.outcome.tools_declared, turn.outcome.schema_broken), (Presence::Absent, Check::NotApplicable));
    assert_eq!(turn.outcome.served_by, ServedBy::Assigned);
    let detected = turn.outcome.detected;
    assert_eq!((detected.fenced_json, detected.repeated_call), (Check::NotApplicable, Check::No));
    assert_eq!((detected.repetition, detected.other_language), (Check::No, Check::NotApplicable), "too short to tell");
    let opening = turn.outcome.opening.as_ref().unwrap();
    assert!(detected.chars.is_some_and(|chars| chars > 0) && !opening.words.is_empty());
}

#[tokio::test]
async fn a_stream_is_relayed_as_it_is_and_its_usage_is_known() {
    let world = World::new(vec![streamed(&["a", "b"])], vec![]).await;
    world.release(0).await;
    let answer = world.chat("s-1", ASK_STREAM).await;
    let expected = [role(), delta("a"), delta("b"), finish(), done()].concat();
    assert_eq!(answer.text(), expected, "the usage that nobody asked for is taken out again");
    assert_eq!(world.stable.received()[0].json()["stream_options"]["include_usage"], true);
    let turn = &world.turns(1).await[0];
    assert_eq!(turn.outcome.usage.output, Some(5));
    assert_eq!(turn.outcome.ending, Ending::Complete);
    assert_eq!(turn.member.as_ref().unwrap().arm, Arm::Control);
}

#[tokio::test]
async fn what_is_not_ours_goes_to_the_neighbour() {
    let world = World::new(vec![], vec![]).await;
    let answer = Answer::of(world.send(world.request("/healthz", &[], "")).await).await;
    assert_eq!(answer.text(), "beside");
}
