//! What a stream says: T11 to T21, T24, T25.

use crate::messages;
use crate::support::*;
use crate::surfaces;
use coalmine_core::tally::{Cause, Check, Ending, Presence, ServedBy};
use coalmine_gateway::config::StreamUsage;
use coalmine_wire::prices::{Price, Prices, Rate};
use http_body_util::BodyExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

pub fn stream_of(events: &[String]) -> Vec<Step> {
    let mut steps = vec![write(STREAM_HEAD)];
    steps.extend(events.iter().map(|event| write(chunk(event))));
    steps.push(write(STREAM_END));
    steps
}

/// Usage that the client asked for stays; what only the gateway asked for leaves the stream again.
#[tokio::test]
async fn t11_usage_stays_where_it_was_asked_for_and_leaves_where_not() {
    let world = World::new(vec![streamed(&["a"])], vec![]).await;
    world.release(0).await;
    let asked = r#"{"model":"support","stream":true,"stream_options":{"include_usage":true},"messages":[]}"#;
    assert!(world.chat("s", asked).await.text().contains(r#""choices":[],"usage""#));
    assert_eq!(world.chat("s", ASK_STREAM).await.text(), [role(), delta("a"), finish(), done()].concat());
    assert!(world.stable.received().iter().all(|sent| sent.json()["stream_options"]["include_usage"] == true));
    let outputs: Vec<_> = world.turns(2).await.iter().map(|turn| turn.outcome.usage.output).collect();
    assert_eq!(outputs, [Some(5), Some(5)]);
}

/// A provider that refuses the option is not sent it.
#[tokio::test]
async fn t11_a_provider_that_refuses_the_option_is_left_alone() {
    let world = World::with(vec![streamed(&["a"])], vec![], |config| {
        config.providers.values_mut().for_each(|provider| provider.stream_usage = StreamUsage::Leave);
    })
    .await;
    world.release(0).await;
    let text = world.chat("s", ASK_STREAM).await.text();
    assert_eq!(text, [role(), delta("a"), finish(), usage(), done()].concat(), "and what it sends is its own");
    assert_eq!(world.stable.received()[0].json().get("stream_options"), None);
}

/// Usage beside a choice is usage, and the chunk that carries it is not taken out.
#[tokio::test]
async fn t12_usage_beside_a_choice_is_read_and_stays() {
    let beside = |choice: &str| {
        event(&format!(r#"{{"choices":[{choice}],"usage":{{"prompt_tokens":3,"completion_tokens":4}}}}"#))
    };
    let with_reason = [delta("a"), beside(r#"{"index":0,"delta":{},"finish_reason":"stop"}"#), done()];
    let behind_it = [delta("a"), finish(), beside(r#"{"index":0,"delta":{}}"#), done()];
    let world = World::new(vec![stream_of(&with_reason), stream_of(&behind_it)], vec![]).await;
    world.release(0).await;
    assert_eq!(world.chat("s", ASK_STREAM).await.text(), with_reason.concat());
    assert_eq!(world.chat("s", ASK_STREAM).await.text(), behind_it.concat());
    let outputs: Vec<_> = world.turns(2).await.iter().map(|turn| turn.outcome.usage.output).collect();
    assert_eq!(outputs, [Some(4), Some(4)]);
}

/// `[DONE]` comes once where the provider sends it and never where it does not; the end passes on with
/// the provider's end.
#[tokio::test]
async fn t13_the_end_is_the_providers_own_and_comes_at_once() {
    let world = World::new(vec![streamed(&["a"])], vec![]).await;
    world.release(0).await;
    assert_eq!(world.chat("s", ASK_STREAM).await.text().matches("[DONE]").count(), 1);
    let world = messages::world(vec![messages::streamed(&["a"])], vec![]).await;
    world.release(0).await;
    let text = messages::ask(&world, "s", messages::ASK_STREAM).await.text();
    assert!(!text.contains("[DONE]") && text.ends_with(&messages::end()[2]), "{text}");
}

/// The end reaches the client when it is said, and its turn is counted then: a provider that keeps its connection open
/// behind it keeps nobody waiting.
#[tokio::test]
async fn t13_the_end_is_not_waited_behind() {
    let ends = [
        (false, [role(), delta("a"), finish(), done()].concat(), done()),
        (
            true,
            [messages::start(), messages::opened(), messages::text("a"), messages::end().concat()].concat(),
            messages::end()[2].clone(),
        ),
    ];
    for (speaks_messages, text, end) in ends {
        let never = Arc::new(Notify::new());
        let script = vec![write(STREAM_HEAD), write(chunk(&text)), Step::Wait(never)];
        let (world, path, ask) = if speaks_messages {
            (messages::world(vec![script], vec![]).await, "/v1/messages", messages::ASK_STREAM)
        } else {
            (World::new(vec![script], vec![]).await, "/v1/chat/completions", ASK_STREAM)
        };
        world.release(0).await;
        let mut answer = world.send(world.request(path, &[("x-session-id", "s")], ask)).await;
        let mut got = Vec::new();
        while !got.ends_with(end.as_bytes()) {
            got.extend_from_slice(
                &soon("the end", answer.body_mut().frame()).await.unwrap().unwrap().into_data().unwrap(),
            );
        }
        assert_eq!(String::from_utf8(got).unwrap(), text);
        assert_eq!(world.turns(1).await[0].outcome.ending, Ending::Complete, "{path}");
    }
}

/// An error inside an answer of status 200 is a failure, in every form that providers have for it.
#[tokio::test]
async fn t14_an_error_after_200_is_a_failure() {
    let forms = errors_after_200();
    let count = forms.len();
    let scripts = forms.iter().map(|form| stream_of(&[delta("a"), form.clone(), done()])).collect();
    let world = World::new(scripts, vec![]).await;
    world.release(0).await;
    for form in &forms {
        assert_eq!(world.chat("s", ASK_STREAM).await.text(), [delta("a"), form.clone(), done()].concat());
    }
    for (turn, form) in world.turns(count).await.iter().zip(&forms) {
        assert_eq!(turn.outcome.ending, Ending::Failed(Cause::InBand), "{form}");
    }
    let late = messages::named("error", r#","error":{"type":"overloaded_error","message":"Overloaded"}"#);
    let script = stream_of(&[messages::start(), messages::opened(), messages::text("half"), late.clone()]);
    let world = messages::world(vec![script], vec![]).await;
    world.release(0).await;
    assert!(messages::ask(&world, "s", messages::ASK_STREAM).await.text().ends_with(&late));
    assert_eq!(world.turns(1).await[0].outcome.ending, Ending::Failed(Cause::InBand));
    let failed = surfaces::named(
        "response.failed",
        serde_json::json!({"response": {"id": "r", "object": "response", "status": "failed", "error": {"code": "server_error"}, "output": []}}),
    );
    let begun = &surfaces::events("r", &["half"])[..3];
    let world = World::new(vec![stream_of(&[begun, &[failed]].concat())], vec![]).await;
    world.release(0).await;
    surfaces::post(
        &world,
        "/v1/responses",
        "s",
        &serde_json::json!({"model": "support", "input": "Hi", "stream": true}),
    )
    .await;
    assert_eq!(world.turns(1).await[0].outcome.ending, Ending::Failed(Cause::InBand));
}

/// An end without a reason is a failure, and no `[DONE]` of ours hides it.
#[tokio::test]
async fn t15_a_stream_that_breaks_off_is_a_failure_and_gets_no_end_of_ours() {
    let world = World::new(vec![stream_of(&[delta("a")])], vec![]).await;
    world.release(0).await;
    assert!(world.chat("s", ASK_STREAM).await.broke_off_behind(&delta("a")));
    let outcome = &world.turns(1).await[0].outcome;
    assert_eq!((outcome.ending, outcome.truncated), (Ending::Failed(Cause::Broken), Check::Yes));
    let started = [messages::start(), messages::opened(), messages::text("half")];
    let world = messages::world(vec![stream_of(&started)], vec![]).await;
    world.release(0).await;
    assert!(messages::ask(&world, "s", messages::ASK_STREAM).await.broke_off_behind(&started.concat()));
    assert_eq!(world.turns(1).await[0].outcome.ending, Ending::Failed(Cause::Broken));
}

/// Until the first content stable may take over, and the client sees one answer only; then nobody may.
#[tokio::test]
async fn t16_stable_takes_over_before_the_first_content_and_never_after_it() {
    let broken = vec![write(STREAM_HEAD), write(chunk(role())), Step::Close];
    let late = vec![write(STREAM_HEAD), write(chunk(role())), write(chunk(delta("half"))), Step::Close];
    let world = World::new(vec![streamed(&["fine"])], vec![broken, late]).await;
    world.release(10_000).await;
    assert_eq!(world.chat("s-1", ASK_STREAM).await.text(), [role(), delta("fine"), finish(), done()].concat());
    assert!(world.chat("s-2", ASK_STREAM).await.broke_off_behind(&(role() + &delta("half"))));
    let turns = world.turns(2).await;
    let served: Vec<_> = turns.iter().map(|turn| (turn.outcome.served_by, turn.outcome.ending)).collect();
    let broken = Ending::Failed(Cause::Broken);
    assert_eq!(served, [(ServedBy::Rescue, broken), (ServedBy::Assigned, broken)]);
}

/// Where nobody takes over, the client gets the status that the provider gave.
#[tokio::test]
async fn t16_the_status_of_an_error_is_the_providers_own() {
    let statuses = [400, 401, 404, 409, 422, 429, 500, 503, 529];
    let world = World::new(statuses.iter().map(|status| error(*status, "")).collect(), vec![]).await;
    world.release(0).await;
    for status in statuses {
        assert_eq!(world.chat("s", ASK).await.status, status);
    }
}

/// Pieces of calls find their call, however a server numbers them: no index, the same one for all, ids
/// that repeat, calls that interleave.
#[tokio::test]
async fn t17_pieces_of_calls_find_their_call() {
    let called = |calls: &str| {
        event(&format!(r#"{{"choices":[{{"index":0,"delta":{{"tool_calls":[{calls}]}},"finish_reason":null}}]}}"#))
    };
    let begin = |index: &str, id: &str, arguments: &str| {
        let arguments = serde_json::to_string(arguments).unwrap();
        called(&format!(
            r#"{{{index}"id":"{id}","type":"function","function":{{"name":"find","arguments":{arguments}}}}}"#
        ))
    };
    let more = |index: &str, id: &str, arguments: &str| {
        let arguments = serde_json::to_string(arguments).unwrap();
        called(&format!(r#"{{{index}{id}"function":{{"arguments":{arguments}}}}}"#))
    };
    let (one, two) = (r#""index":0,"#, r#""index":1,"#);
    let forms = [
        (
            "interleaved",
            vec![begin(one, "a", "{\"id\""), begin(two, "b", "{\"id\""), more(one, "", ":1}"), more(two, "", ":2}")],
        ),
        (
            "no index",
            vec![begin("", "a", "{\"id\""), more("", "", ":1}"), begin("", "b", "{\"id\":"), more("", "", "2}")],
        ),
        ("one index for all", vec![begin(one, "a", "{\"id\":1}"), begin(one, "b", "{\"id\":2}")]),
        (
            "ids repeat",
            vec![begin(one, "a", "{\"id\""), more(one, r#""id":"a","#, ":1}"), begin(two, "b", "{\"id\":2}")],
        ),
    ];
    let end = event(r#"{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}"#);
    let scripts = forms.iter().map(|(_, pieces)| stream_of(&[pieces.concat(), end.clone(), done()])).collect();
    let world = World::new(scripts, vec![]).await;
    world.release(0).await;
    let ask = r#"{"model":"support","stream":true,"messages":[],"tools":[{"type":"function","function":{"name":"find","parameters":{"type":"object","properties":{"id":{"type":"integer"}},"required":["id"]}}}]}"#;
    for (what, pieces) in &forms {
        assert_eq!(world.chat("s", ask).await.text(), [pieces.concat(), end.clone(), done()].concat(), "{what}");
    }
    for (turn, (what, _)) in world.turns(forms.len()).await.iter().zip(&forms) {
        assert_eq!((turn.outcome.tool_calls, turn.outcome.tool_calls_bad), (2, 0), "{what}");
    }
}

/// Tool calls are judged by the tools that were declared.
#[tokio::test]
async fn t17_tool_calls_are_judged_by_the_declared_tools() {
    let call = |name: &str, arguments: &str| {
        let arguments = serde_json::to_string(arguments).unwrap();
        json_answer(
            200,
            "",
            &format!(
                r#"{{"choices":[{{"index":0,"message":{{"role":"assistant","content":null,"tool_calls":[{{"id":"c1","type":"function","function":{{"name":"{name}","arguments":{arguments}}}}}]}},"finish_reason":"tool_calls"}}]}}"#
            ),
        )
    };
    let world =
        World::new(vec![call("find", r#"{"id":7}"#), call("find", r#"{"id":"seven"}"#), call("fnid", "{}")], vec![])
            .await;
    world.release(0).await;
    let ask = r#"{"model":"support","messages":[],"tools":[{"type":"function","function":{"name":"find","parameters":{"type":"object","properties":{"id":{"type":"integer"}},"required":["id"]}}}]}"#;
    for _ in 0..3 {
        world.chat("s", ask).await;
    }
    let turns = world.turns(3).await;
    let calls: Vec<(u32, u32)> =
        turns.iter().map(|turn| (turn.outcome.tool_calls, turn.outcome.tool_calls_bad)).collect();
    assert_eq!(calls, [(1, 0), (1, 1), (1, 1)]);
    assert!(
        turns.iter().all(|turn| turn.outcome.tools_declared == Presence::Present && turn.outcome.empty == Check::No)
    );
}

/// Counts of messages are the whole so far: the larger one holds, and none is added to another.
#[tokio::test]
async fn t18_counts_of_messages_are_not_added_up() {
    let delta = |usage: &str| {
        messages::named("message_delta", &format!(r#","delta":{{"stop_reason":"end_turn"}},"usage":{usage}"#))
    };
    let zero =
        messages::start().replace(r#""input_tokens":10,"output_tokens":1"#, r#""input_tokens":0,"output_tokens":0"#);
    let body = |start: String, deltas: String| {
        stream_of(&[start, messages::opened(), messages::text("a"), deltas, messages::end()[2].clone()])
    };
    let repeated =
        body(messages::start(), delta(r#"{"output_tokens":3}"#) + &delta(r#"{"input_tokens":10,"output_tokens":7}"#));
    let late = body(zero, delta(r#"{"input_tokens":12,"output_tokens":7}"#));
    let world = messages::world(vec![repeated, late], vec![]).await;
    world.release(0).await;
    for _ in 0..2 {
        messages::ask(&world, "s", messages::ASK_STREAM).await;
    }
    let turns = world.turns(2).await;
    let counts: Vec<_> = turns.iter().map(|turn| (turn.outcome.usage.input, turn.outcome.usage.output)).collect();
    assert_eq!(counts, [(Some(10), Some(7)), (Some(12), Some(7))]);
}

/// `ping` events reach the client as they are.
#[tokio::test]
async fn t19_pings_reach_the_client() {
    let pinged = [messages::start(), messages::ping(), messages::opened(), messages::ping(), messages::text("a")];
    let events: Vec<String> = pinged.into_iter().chain(messages::end()).collect();
    let world = messages::world(vec![stream_of(&events)], vec![]).await;
    world.release(0).await;
    assert_eq!(messages::ask(&world, "s", messages::ASK_STREAM).await.text(), events.concat());
}

/// The canary's lifecycle frames are held back, but not for ever.
#[tokio::test]
async fn t21_a_long_thought_is_let_go_in_time_and_a_comment_is_no_content() {
    let content = Arc::new(Notify::new());
    let mut script = vec![write(STREAM_HEAD), write(chunk(": thinking\n\n")), Step::Wait(content.clone())];
    script.extend([delta("at last"), finish(), done()].map(|event| write(chunk(event))));
    script.push(write(STREAM_END));
    let world = World::with(vec![], vec![script], |config| config.limits.rescue_hold = Duration::from_millis(10)).await;
    world.release(10_000).await;
    let mut answer = world.send(world.request("/v1/chat/completions", &[("x-session-id", "s")], ASK_STREAM)).await;
    let frame = soon("the comment", answer.body_mut().frame()).await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), ": thinking\n\n");
    world.clock.advance(40_000);
    content.notify_one();
    assert!(Answer::of(answer).await.text().contains("at last"));
    assert_eq!(world.turns(1).await[0].outcome.ttft_ms, Some(40_000.0), "a comment is no content");
}

/// Cost follows the version's model, whatever name the answer bears, streamed and not.
#[tokio::test]
async fn t24_a_cost_is_the_same_streamed_and_not_and_under_whatever_name() {
    let renamed = |text: String| text.replace(r#""model":"m""#, r#""model":"alias-of-the-provider""#);
    let events = [role(), delta("a"), finish(), usage(), done()].map(renamed);
    let body = json_answer(200, "", &renamed(completion("a")));
    let world = World::with(vec![stream_of(&events), body], vec![], |config| {
        let rate = Rate { input_usd: 2.0, output_usd: 8.0, ..Rate::default() };
        config.prices = Prices::default().with("model-s", Price { rate, long: None });
    })
    .await;
    world.release(0).await;
    assert!(world.chat("s", ASK_STREAM).await.text().contains("alias-of-the-provider"), "nothing is restamped");
    world.chat("s", ASK).await;
    let costs: Vec<_> = world.turns(2).await.iter().map(|turn| turn.outcome.cost_usd).collect();
    assert_eq!(costs, [Some(60e-6), Some(60e-6)]);
}

/// There is no cache of answers that could tell usage wrongly: the same question is asked and paid twice.
#[tokio::test]
async fn t25_the_same_question_is_asked_and_counted_twice() {
    let world = World::new(vec![streamed(&["a"])], vec![]).await;
    world.release(0).await;
    assert_eq!(world.chat("s", ASK_STREAM).await.text(), world.chat("s", ASK_STREAM).await.text());
    assert_eq!(world.stable.count(), 2);
    assert!(world.turns(2).await.iter().all(|turn| turn.outcome.usage.output == Some(5)));
}
