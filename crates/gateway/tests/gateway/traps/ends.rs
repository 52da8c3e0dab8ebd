//! Ends of streams, and signs of life before them: T13, T15, T19, T20, T21.

use super::meaning::stream_of;
use crate::messages;
use crate::support::*;
use crate::surfaces;
use coalmine_core::tally::{Cause, Check, Ending};
use coalmine_gateway::config::ProviderKind;
use http_body_util::BodyExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// A bound of time that is waited for.
const SHORT: Duration = Duration::from_millis(50);
const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";

/// A gateway with one provider of this kind, who does this.
async fn world_of(kind: ProviderKind, scripts: Vec<Vec<Step>>) -> World {
    let world = World::with(scripts, vec![], |config| {
        config.providers.values_mut().for_each(|provider| provider.kind = kind);
        config.limits.end_time = SHORT;
    })
    .await;
    world.release(0).await;
    world
}

async fn ask(world: &World, path: &str, body: &'static str) -> Answer {
    Answer::of(world.send(world.request(path, &[("x-session-id", "s")], body)).await).await
}

fn chatted() -> String {
    [role(), delta("a"), finish(), done()].concat()
}

fn talked() -> String {
    [messages::start(), messages::opened(), messages::text("a"), messages::end().concat()].concat()
}

/// Some clients wait for the body's end and not for what ends the stream: it comes, though the provider keeps its
/// connection open, or talks on.
#[tokio::test]
async fn t13_the_body_ends_behind_the_end() {
    let responded = surfaces::events("resp_1", &["a"]).concat();
    let responses = r#"{"model":"support","stream":true,"input":"Hi"}"#;
    let [.., stop] = messages::end();
    for (path, body, kind, said, ends) in [
        (CHAT, ASK_STREAM, ProviderKind::OpenAi, chatted(), done()),
        ("/v1/responses", responses, ProviderKind::OpenAi, responded.clone(), responded),
        (MESSAGES, messages::ASK_STREAM, ProviderKind::Anthropic, talked(), stop.clone()),
        (CHAT, ASK_STREAM, ProviderKind::Anthropic, talked(), done()),
        (MESSAGES, messages::ASK_STREAM, ProviderKind::OpenAi, chatted(), stop),
    ] {
        let closed = Arc::new(Notify::new());
        let talks_on = Step::Over(chunk(": on and on\n\n"), closed.clone());
        for open in [Step::UntilClosed(closed.clone()), talks_on] {
            let script = vec![write(STREAM_HEAD), write(chunk(&said)), open];
            let world = World::with(vec![script], vec![], |config| {
                for provider in config.providers.values_mut() {
                    (provider.kind, provider.timeouts.keep_alive) = (kind, Some(SHORT / 10));
                }
                config.limits.end_time = SHORT;
            })
            .await;
            world.release(0).await;
            let answer = ask(&world, path, body).await;
            assert!(answer.body.is_ok(), "{path} {kind:?}: an end, and no break");
            let text = answer.text().replace(": on and on\n\n", "");
            assert!(text.ends_with(&ends), "{path} {kind:?}: nothing of ours behind it: {text}");
            soon("the provider is let go", closed.notified()).await;
            assert_eq!(world.turns(1).await[0].outcome.ending, Ending::Complete, "{path} {kind:?}");
        }
    }
}

/// An end that comes with the end of its body costs the connection nothing.
#[tokio::test]
async fn t13_a_prompt_end_keeps_the_connection() {
    let apart = vec![write(STREAM_HEAD), write(chunk(chatted())), write(STREAM_END)];
    let world = world_of(ProviderKind::OpenAi, vec![apart]).await;
    for _ in 0..5 {
        assert_eq!(ask(&world, CHAT, ASK_STREAM).await.text(), chatted());
    }
    assert_eq!(world.stable.connections.load(std::sync::atomic::Ordering::SeqCst), 1);
}

/// A response that broke off is a failure as a chat completion is.
#[tokio::test]
async fn t15_a_response_that_breaks_off_is_a_failure() {
    let begun = &surfaces::events("r", &["half"])[..3];
    let world = world_of(ProviderKind::OpenAi, vec![stream_of(begun)]).await;
    let asked = r#"{"model":"support","input":"Hi","stream":true}"#;
    assert!(ask(&world, "/v1/responses", asked).await.broke_off_behind(&begun.concat()));
    assert_eq!(world.turns(1).await[0].outcome.ending, Ending::Failed(Cause::Broken));
}

/// Some servers write an empty reason into every chunk: it is none, and what breaks off is not whole by it.
#[tokio::test]
async fn t15_an_empty_reason_is_no_reason() {
    let empty = |text: String| text.replace("\"finish_reason\":null", "\"finish_reason\":\"\"");
    let half = [empty(role()), empty(delta("a"))];
    let whole = [&half[..], &[finish(), done()]].concat();
    for (path, body) in [(CHAT, ASK_STREAM), (MESSAGES, messages::ASK_STREAM)] {
        let world = world_of(ProviderKind::OpenAi, vec![stream_of(&half), stream_of(&whole)]).await;
        let broken = ask(&world, path, body).await.text();
        assert!(!broken.contains("[DONE]") && !broken.contains("message_stop"), "{broken}");
        let text = ask(&world, path, body).await.text();
        assert!(text.contains("[DONE]") || text.contains("message_stop"), "{text}");
        let endings: Vec<_> = world.turns(2).await.iter().map(|turn| turn.outcome.ending).collect();
        assert_eq!(endings, [Ending::Failed(Cause::Broken), Ending::Complete], "{path}");
    }
}

/// Through translation too a ping is a sign of life in the client's own dialect, at once, and is no content.
#[tokio::test]
async fn t19_pings_survive_translation_both_ways() {
    let more = [messages::opened(), messages::text("a"), messages::end().concat()].concat();
    for (kind, path, body, before, more, sign) in [
        (
            ProviderKind::Anthropic,
            CHAT,
            ASK_STREAM,
            [messages::start(), messages::ping()],
            more,
            ": ping\n\n".to_owned(),
        ),
        (
            ProviderKind::OpenAi,
            MESSAGES,
            messages::ASK_STREAM,
            [role(), ": OPENROUTER PROCESSING\n\n".to_owned()],
            [delta("a"), finish(), done()].concat(),
            messages::ping(),
        ),
    ] {
        let go = Arc::new(Notify::new());
        let [said, ping] = before.map(|event| write(chunk(event)));
        let script =
            vec![write(STREAM_HEAD), said, ping, Step::Wait(go.clone()), write(chunk(more)), write(STREAM_END)];
        let world = world_of(kind, vec![script]).await;
        let mut answer = world.send(world.request(path, &[("x-session-id", "s")], body)).await;
        let mut got = Vec::new();
        while !got.ends_with(sign.as_bytes()) {
            got.extend_from_slice(
                &soon("a sign of life", answer.body_mut().frame()).await.unwrap().unwrap().into_data().unwrap(),
            );
        }
        world.clock.advance(5_000);
        go.notify_one();
        got.extend_from_slice(&Answer::of(answer).await.body.unwrap());
        let got = String::from_utf8(got).unwrap();
        assert_eq!(got.matches(&sign).count(), 1, "{got}");
        let data = got.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
        assert!(data.clone().count() > 2);
        data.for_each(|data| assert!(serde_json::from_str::<serde_json::Value>(data).is_ok(), "{data}"));
        assert_eq!(world.turns(1).await[0].outcome.ttft_ms, Some(5_000.0), "{kind:?}: a ping is no content");
    }
}

/// A stream whose reason was given and whose `message_stop` never comes is whole, and is ended as its client wants it:
/// whether the provider ends it, is silent, or pings for ever; held back as a canary's, too.
#[tokio::test]
async fn t20_without_message_stop_the_answer_is_whole_and_over() {
    let [stop, reason, last] = messages::end();
    let events = [messages::start(), messages::opened(), messages::text("a"), stop, reason].concat();
    for weight in [0, 10_000] {
        let closed = Arc::new(Notify::new());
        let pings = Step::Over(chunk(messages::ping()), closed.clone());
        let ends = [write(STREAM_END), Step::UntilClosed(closed.clone()), pings];
        let scripts: Vec<_> =
            ends.into_iter().map(|end| vec![write(STREAM_HEAD), write(chunk(&events)), end]).collect();
        let world = World::with(scripts.clone(), scripts, |config| {
            messages::anthropic(config);
            config.limits.end_time = SHORT;
        })
        .await;
        world.release(weight).await;
        for n in 0..3 {
            let answer = messages::ask(&world, &n.to_string(), messages::ASK_STREAM).await;
            let text = answer.text().replace(&messages::ping(), "");
            assert_eq!((answer.body.is_ok(), text), (true, events.clone() + &last), "{n} at {weight}");
        }
        for turn in world.turns(3).await {
            let seen = (turn.outcome.ending, turn.outcome.truncated, turn.outcome.usage.output);
            assert_eq!(seen, (Ending::Complete, Check::No, Some(7)));
        }
        soon("a provider is let go", closed.notified()).await;
    }
}

/// An answer that had all of its frames before it was let go ends so too.
#[tokio::test]
async fn t20_an_answer_without_content_is_ended_as_well() {
    let [stop, reason, last] = messages::end();
    let events = [messages::start(), messages::opened(), stop, reason].concat();
    let script = vec![write(STREAM_HEAD), write(chunk(&events)), write(STREAM_END)];
    let world = messages::world(vec![], vec![script]).await;
    world.release(10_000).await;
    assert_eq!(messages::ask(&world, "s", messages::ASK_STREAM).await.text(), events + &last);
}

/// The same where the provider speaks chat completions, told why it ended and never `[DONE]`.
#[tokio::test]
async fn t20_a_translated_stream_ends_without_its_providers_done() {
    let closed = Arc::new(Notify::new());
    let said = [role(), delta("a"), finish()].concat();
    let script = vec![write(STREAM_HEAD), write(chunk(&said)), Step::Over(chunk(": on\n\n"), closed.clone())];
    let world = world_of(ProviderKind::OpenAi, vec![script]).await;
    let text = ask(&world, MESSAGES, messages::ASK_STREAM).await.text();
    assert!(text.contains(r#""stop_reason":"end_turn""#) && text.ends_with(&messages::end()[2]), "{text}");
    soon("the provider is let go", closed.notified()).await;
    assert_eq!(world.turns(1).await[0].outcome.ending, Ending::Complete);
}

/// What breaks off gets no `message_stop` of ours: neither before its reason, nor inside an event, nor by a break behind
/// its reason.
#[tokio::test]
async fn t20_what_broke_off_is_not_ended_by_the_gateway() {
    let [stop, reason, last] = messages::end();
    let begun = [messages::start(), messages::opened(), messages::text("a"), stop].concat();
    let open = last.trim_end().to_owned();
    for (said, end, ending, is_told) in [
        (begun.clone(), write(STREAM_END), Ending::Failed(Cause::Broken), true),
        ([&begun[..], &reason].concat(), Step::Close, Ending::Failed(Cause::Broken), true),
        ([&begun[..], &reason, &open].concat(), write(STREAM_END), Ending::Complete, false),
    ] {
        let script = vec![write(STREAM_HEAD), write(chunk(&said)), end];
        let world = messages::world(vec![script], vec![]).await;
        world.release(0).await;
        let answer = messages::ask(&world, "s", messages::ASK_STREAM).await;
        assert!(if is_told { answer.broke_off_behind(&said) } else { answer.text() == said }, "{}", answer.text());
        assert_eq!(world.turns(1).await[0].outcome.ending, ending, "{said}");
    }
}

/// A message begins with `message_start`, which only its provider can say: until then a sign of life is a comment, whoever
/// is silent and whatever it sends meanwhile.
#[tokio::test]
async fn t21_nothing_but_comments_stands_before_message_start() {
    let talk = [messages::start() + &messages::opened(), messages::text("a") + &messages::end().concat()].concat();
    let chat = [role(), delta("a"), finish(), done()].concat();
    for (kind, says, comment, whole) in [
        (ProviderKind::Anthropic, "", ": keep-alive\n\n", talk),
        (ProviderKind::OpenAi, "", ": keep-alive\n\n", chat.clone()),
        (ProviderKind::OpenAi, ": OPENROUTER PROCESSING\n\n", ": ping\n\n", chat),
    ] {
        let go = Arc::new(Notify::new());
        let mut script = vec![write(STREAM_HEAD), Step::Wait(go.clone()), write(chunk(whole)), write(STREAM_END)];
        if !says.is_empty() {
            script.splice(1..1, [write(chunk(says)), write(chunk(says))]);
        }
        let world = World::with(vec![script], vec![], |config| {
            for provider in config.providers.values_mut() {
                let often = if says.is_empty() { Duration::from_millis(10) } else { Duration::from_mins(1) };
                (provider.kind, provider.timeouts.keep_alive) = (kind, Some(often));
            }
        })
        .await;
        world.release(0).await;
        let mut answer = world.send(world.request(MESSAGES, &[("x-session-id", "s")], messages::ASK_STREAM)).await;
        let mut got = String::new();
        while got.matches(comment).count() < 2 {
            let frame = soon("a comment", answer.body_mut().frame()).await.unwrap().unwrap().into_data().unwrap();
            got.push_str(std::str::from_utf8(&frame).unwrap());
        }
        world.clock.advance(9_000);
        go.notify_one();
        got.push_str(&Answer::of(answer).await.text());
        let events = got.lines().filter_map(|line| line.strip_prefix("event: ")).collect::<Vec<_>>();
        assert_eq!((events.first(), events.last()), (Some(&"message_start"), Some(&"message_stop")), "{got}");
        assert!(got.ends_with(&messages::end()[2]), "{got}");
        assert_eq!(world.turns(1).await[0].outcome.ttft_ms, Some(9_000.0), "{kind:?}: a comment is no content");
    }
}

/// Clients of messages watch for events and not for bytes: their sign of life is one, whichever provider is silent.
#[tokio::test]
async fn t21_a_silent_stream_of_messages_is_kept_alive_by_pings() {
    let ping = "event: ping\ndata: {\"type\": \"ping\"}\n\n";
    let talk = [messages::start() + &messages::opened(), messages::text("a") + &messages::end().concat()];
    let chat = [role(), [delta("a"), finish(), done()].concat()];
    for (kind, [said, more]) in [(ProviderKind::Anthropic, talk), (ProviderKind::OpenAi, chat)] {
        let go = Arc::new(Notify::new());
        let script =
            vec![write(STREAM_HEAD), write(chunk(said)), Step::Wait(go.clone()), write(chunk(more)), write(STREAM_END)];
        let world = World::with(vec![script], vec![], |config| {
            for provider in config.providers.values_mut() {
                (provider.kind, provider.timeouts.keep_alive) = (kind, Some(Duration::from_millis(10)));
            }
        })
        .await;
        world.release(0).await;
        let request = world.request(MESSAGES, &[("x-session-id", "s")], messages::ASK_STREAM);
        let mut answer = world.send(request).await;
        let mut got = String::new();
        while got.matches(ping).count() < 2 {
            let frame = soon("a ping", answer.body_mut().frame()).await.unwrap().unwrap().into_data().unwrap();
            got.push_str(std::str::from_utf8(&frame).unwrap());
        }
        world.clock.advance(9_000);
        go.notify_one();
        got.push_str(&Answer::of(answer).await.text());
        assert!(!got.contains(": keep-alive") && got.ends_with(&messages::end()[2]), "{got}");
        assert_eq!(world.turns(1).await[0].outcome.ttft_ms, Some(9_000.0), "{kind:?}: a ping is no content");
    }
}
