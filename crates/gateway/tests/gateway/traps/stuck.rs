//! Streams that show signs of life and do not get on: T21.

use crate::messages;
use crate::support::*;
use crate::surfaces;
use coalmine_core::tally::{Cause, Check, Ending, ServedBy};
use coalmine_gateway::config::{Config, ProviderKind, Timeouts};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// A bound of time that is waited for.
const SHORT: Duration = Duration::from_millis(50);
const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";
const RESPONSES: &str = "/v1/responses";
const ASK_RESPONSE: &str = r#"{"model":"support","stream":true,"input":"Hi"}"#;

fn timed(config: &mut Config, kind: ProviderKind, set: fn(&mut Timeouts)) {
    for provider in config.providers.values_mut() {
        provider.kind = kind;
        set(&mut provider.timeouts);
    }
}

/// After these events nothing comes but this one, again and again, until the gateway lets go.
fn stuck(said: &str, sign: &str, let_go: &Arc<Notify>) -> Vec<Step> {
    let mut steps = vec![write(STREAM_HEAD)];
    if !said.is_empty() {
        steps.push(write(chunk(said)));
    }
    steps.push(Step::Over(chunk(sign), let_go.clone()));
    steps
}

async fn ask(world: &World, path: &str, body: &'static str) -> Answer {
    Answer::of(world.send(world.request(path, &[("x-session-id", "s")], body)).await).await
}

/// Comments, pings and empty pieces behind the first content are no answer: it is over after `idle_timeout`, is told to be in
/// the words of whoever asked, has no end of the gateway's, and is the version's failure.
#[tokio::test]
async fn t21_signs_of_life_do_not_hide_an_answer_that_is_stuck() {
    let keepalive = "event: keepalive\ndata: {\"type\":\"keepalive\",\"sequence_number\":9}\n\n";
    let empty = messages::text("");
    let (chat, talk) = (role() + &delta("a"), messages::start() + &messages::opened() + &messages::text("a"));
    let response = surfaces::events("r", &["a"])[..3].concat();
    let comment = ": OPENROUTER PROCESSING\n\n";
    let in_chat = r#""type":"server_error","param":null,"code":"upstream_timeout"}}"#;
    let in_messages = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"timeout_error\"";
    let in_responses = "event: error\ndata: {\"type\":\"error\",\"sequence_number\":10,\"code\":\"upstream_timeout\"";
    for (kind, path, body, said, sign, told) in [
        (ProviderKind::OpenAi, CHAT, ASK_STREAM, &chat, comment, in_chat),
        (ProviderKind::OpenAi, CHAT, ASK_STREAM, &chat, &delta(""), in_chat),
        (ProviderKind::OpenAi, CHAT, ASK_STREAM, &chat, &role(), in_chat),
        (ProviderKind::Anthropic, MESSAGES, messages::ASK_STREAM, &talk, &messages::ping(), in_messages),
        (ProviderKind::Anthropic, MESSAGES, messages::ASK_STREAM, &talk, &empty, in_messages),
        (ProviderKind::OpenAi, RESPONSES, ASK_RESPONSE, &response, keepalive, in_responses),
        (ProviderKind::Anthropic, CHAT, ASK_STREAM, &talk, &messages::ping(), r#"{"error":{"message""#),
        (ProviderKind::OpenAi, MESSAGES, messages::ASK_STREAM, &chat, comment, "event: error\n"),
    ] {
        let let_go = Arc::new(Notify::new());
        let world = World::with(vec![stuck(said, sign, &let_go)], vec![], |config| {
            timed(config, kind, |times| times.idle = SHORT);
        })
        .await;
        world.release(0).await;
        let answer = ask(&world, path, body).await;
        let text = answer.text();
        assert!(answer.body.is_ok() && text.contains(told), "{path} {kind:?} {sign}: {text}");
        assert!(!text.contains("[DONE]") && !text.contains("message_stop"), "{text}");
        let last = text.trim_end().rsplit("\n\n").next().unwrap();
        assert!(last.contains("error"), "nothing behind it: {text}");
        soon("the provider is let go", let_go.notified()).await;
        let outcome = world.turns(1).await.remove(0).outcome;
        assert_eq!((outcome.ending, outcome.truncated), (Ending::Failed(Cause::Broken), Check::Yes), "{path} {kind:?}");
    }
}

/// Inside an event nothing can be said: the client feels that its body breaks.
#[tokio::test]
async fn t21_an_answer_that_is_stuck_inside_an_event_breaks() {
    let let_go = Arc::new(Notify::new());
    let half = delta("half");
    let said = delta("a") + &half[..half.len() / 2];
    let script = vec![write(STREAM_HEAD), write(chunk(&said)), Step::UntilClosed(let_go.clone())];
    let world = World::with(vec![script], vec![], |config| {
        timed(config, ProviderKind::OpenAi, |times| times.idle = SHORT);
        config.providers.values_mut().for_each(|provider| {
            provider.stream_usage = coalmine_gateway::config::StreamUsage::Leave;
        });
    })
    .await;
    world.release(0).await;
    let answer = ask(&world, CHAT, ASK_STREAM).await;
    assert_eq!((answer.body.is_err(), answer.text()), (true, said));
    soon("the provider is let go", let_go.notified()).await;
    assert_eq!(world.turns(1).await[0].outcome.ending, Ending::Failed(Cause::Broken));
}

/// Before the first content stable answers in the canary's place, while its stream is held back; where nobody can, the
/// answer that has begun ends with an error.
#[tokio::test]
async fn t21_pings_before_the_first_content_are_none() {
    let (start, ping) = (messages::start() + &messages::opened(), messages::ping());
    for (kind, path, body, said, sign) in [
        (ProviderKind::OpenAi, CHAT, ASK_STREAM, role(), ": ping\n\n"),
        (ProviderKind::Anthropic, MESSAGES, messages::ASK_STREAM, start, &*ping),
    ] {
        let fine = if kind == ProviderKind::OpenAi { streamed(&["fine"]) } else { messages::streamed(&["fine"]) };
        for weight in [10_000, 0] {
            let let_go = Arc::new(Notify::new());
            let sick = vec![stuck(&said, sign, &let_go)];
            let (stable, canary) = if weight == 0 { (sick, vec![]) } else { (vec![fine.clone()], sick) };
            let world = World::with(stable, canary, |config| {
                timed(config, kind, |times| times.first_byte = SHORT);
            })
            .await;
            world.release(weight).await;
            let answer = ask(&world, path, body).await;
            let text = answer.text();
            let outcome = world.turns(1).await.remove(0).outcome;
            soon("the provider is let go", let_go.notified()).await;
            assert_eq!(outcome.ending, Ending::Failed(Cause::Deadline), "{path} {weight}");
            assert!(answer.body.is_ok());
            if weight == 0 {
                assert!(text.contains("upstream_timeout") || text.contains("timeout_error"), "{text}");
            } else {
                assert_eq!((outcome.served_by, text.contains("fine")), (ServedBy::Rescue, true), "{text}");
            }
        }
    }
}

/// What is passed through and read for its tokens is no less stuck.
#[tokio::test]
async fn t21_a_stream_that_is_passed_through_gets_stuck_as_well() {
    let let_go = Arc::new(Notify::new());
    let world = World::with(vec![stuck(&delta("a"), ": ping\n\n", &let_go)], vec![], |config| {
        timed(config, ProviderKind::OpenAi, |times| times.idle = SHORT);
        config.default_provider = Some("one".into());
    })
    .await;
    world.release(0).await;
    let answer = ask(&world, CHAT, r#"{"model":"gpt-9","stream":true,"messages":[]}"#).await;
    let text = answer.text();
    assert!(text.starts_with(&delta("a")) && text.contains("upstream_timeout"), "{text}");
    soon("the provider is let go", let_go.notified()).await;
}
