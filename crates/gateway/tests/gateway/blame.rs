//! Whose fault it is, when stable takes over, and for how long.

use crate::support::*;
use coalmine_core::id::ProviderName;
use coalmine_core::tally::{Cause, Check, Ending, ServedBy, Turn};
use coalmine_core::traffic::pin::Arm;
use coalmine_core::traffic::weight::WeightBp;
use coalmine_gateway::config::{RetryPolicy, Spread, Upstream as Address};
use std::time::Duration;

async fn one_turn(world: &World) -> Turn {
    world.turns(1).await.remove(0)
}

#[tokio::test]
async fn a_failing_canary_is_answered_by_stable_and_counts_as_failed() {
    let world = World::new(vec![ok("from stable")], vec![error(500, "")]).await;
    world.release(10_000).await;
    let answer = world.chat("s-1", ASK).await;
    assert_eq!((answer.status, answer.text()), (200, completion("from stable")));
    assert_eq!(answer.header("x-coalmine-arm"), "canary", "the session stays canary");
    assert_eq!(world.stable.received()[0].header("authorization"), Some("Bearer key-one"));
    let turn = one_turn(&world).await;
    assert_eq!(turn.outcome.ending, Ending::Failed(Cause::Server));
    assert_eq!((turn.outcome.served_by, turn.outcome.status), (ServedBy::Rescue, 500));
    assert_eq!(turn.outcome.usage.output, None, "stable's tokens are not the canary's");
    assert!(turn.outcome.ttft_ms.is_some(), "the client waited for this answer");
    assert_eq!(turn.member.unwrap().arm, Arm::Canary);
    assert!(world.metric(r#"coalmine_rescued_total{route="support"} 1"#));
}

#[tokio::test]
async fn the_same_failure_of_stable_is_passed_on_and_is_its_own() {
    let world = World::new(vec![error(500, "x-of-provider: 1\r\n")], vec![ok("from canary")]).await;
    world.release(0).await;
    let answer = world.chat("s-1", ASK).await;
    assert_eq!((answer.status, answer.header("x-of-provider")), (500, "1"));
    assert_eq!(world.canary.count(), 0, "the canary never stands in for stable");
    assert_eq!(one_turn(&world).await.outcome.ending, Ending::Failed(Cause::Server));
}

#[tokio::test]
async fn every_failure_before_the_first_content_is_rescued() {
    let head = || write(STREAM_HEAD);
    let in_band = event(r#"{"error":{"message":"overloaded","type":"server_error"}}"#);
    let scripts: Vec<(&str, Vec<Step>, Cause)> = vec![
        ("no answer", vec![Step::Close], Cause::Broken),
        ("no HTTP", vec![write("SMTP ready\r\n\r\n"), Step::Close], Cause::Malformed),
        ("no key", error(401, ""), Cause::Rejected),
        ("no model", error(404, ""), Cause::Rejected),
        ("an error event", vec![head(), write(chunk(role())), write(chunk(in_band)), write(STREAM_END)], Cause::InBand),
        ("a break before content", vec![head(), write(chunk(role())), Step::Close], Cause::Broken),
        ("an end before content", vec![head(), write(chunk(role())), write(STREAM_END)], Cause::Broken),
        ("an error in a body", json_answer(200, "", r#"{"error":{"message":"x"}}"#), Cause::InBand),
        ("half a body", json_answer(200, "", r#"{"choices":[{"mess"#), Cause::Broken),
    ];
    for (what, script, cause) in scripts {
        let stream =
            script.first().is_some_and(|step| matches!(step, Step::Write(bytes) if bytes == STREAM_HEAD.as_bytes()));
        let stable = if stream { streamed(&["fine"]) } else { ok("fine") };
        let world = World::new(vec![stable], vec![script]).await;
        world.release(10_000).await;
        let answer = world.chat("s-1", if stream { ASK_STREAM } else { ASK }).await;
        assert_eq!(answer.status, 200, "{what}");
        assert!(answer.text().contains("fine") && !answer.text().contains("overloaded"), "{what}: {}", answer.text());
        assert_eq!(answer.text().matches("[DONE]").count(), usize::from(stream), "{what}");
        let turn = one_turn(&world).await;
        assert_eq!((turn.outcome.served_by, turn.outcome.ending), (ServedBy::Rescue, Ending::Failed(cause)), "{what}");
    }
}

#[tokio::test]
async fn after_the_first_content_nobody_takes_over() {
    let script = vec![write(STREAM_HEAD), write(chunk(role())), write(chunk(delta("half"))), Step::Close];
    let world = World::new(vec![streamed(&["other"])], vec![script]).await;
    world.release(10_000).await;
    let answer = world.chat("s-1", ASK_STREAM).await;
    assert!(answer.broke_off_behind(&(role() + &delta("half"))), "{}", answer.text());
    assert_eq!(world.stable.count(), 0);
    let turn = one_turn(&world).await;
    assert_eq!((turn.outcome.ending, turn.outcome.truncated), (Ending::Failed(Cause::Broken), Check::Yes));
}

#[tokio::test]
async fn a_refusal_is_the_versions_when_stable_answers_the_same_request() {
    let world = World::new(vec![ok("fine")], vec![error(400, "")]).await;
    world.release(10_000).await;
    let answer = world.chat("s-1", ASK).await;
    assert_eq!((answer.status, answer.text()), (200, completion("fine")));
    let turn = one_turn(&world).await;
    assert_eq!((turn.outcome.ending, turn.outcome.status), (Ending::Failed(Cause::Rejected), 400));
}

#[tokio::test]
async fn a_refusal_is_the_clients_when_stable_refuses_it_too() {
    let world = World::new(vec![error(422, "x-from: stable\r\n")], vec![error(400, "x-from: canary\r\n")]).await;
    world.release(10_000).await;
    let answer = world.chat("s-1", ASK).await;
    assert_eq!((answer.status, answer.header("x-from")), (400, "canary"), "its own version's answer");
    let turn = one_turn(&world).await;
    assert_eq!((turn.outcome.ending, turn.outcome.served_by), (Ending::ClientError, ServedBy::Assigned));
}

#[tokio::test]
async fn beyond_the_budget_refusals_follow_what_stable_said_of_the_last() {
    for (stable, expected) in [(ok("fine"), Ending::Failed(Cause::Rejected)), (error(400, ""), Ending::ClientError)] {
        let world = World::new(vec![stable], vec![error(400, "")]).await;
        let mut table = route(1, Some(10_000));
        table.release.as_mut().unwrap().rescue_budget = WeightBp::new(1).unwrap();
        world.gateway.install(&tables(table)).await.unwrap();
        world.chat("s-1", ASK).await;
        assert_eq!(world.chat("s-2", ASK).await.status, 400, "the budget is spent");
        let turns = world.turns(2).await;
        assert!(turns.iter().all(|turn| turn.outcome.ending == expected), "{turns:?}");
        assert_eq!(world.stable.count(), 1);
        assert!(world.metric(r#"coalmine_unproven_total{route="support"} 1"#));
        assert!(world.metric(r#"coalmine_rescue_refused_total{route="support"} 1"#));
    }
}

#[tokio::test]
async fn an_overload_of_a_shared_provider_is_passed_on() {
    for (status, cause) in [(429, Cause::RateLimited), (503, Cause::Server), (529, Cause::Server)] {
        let world =
            World::new(vec![error(status, "retry-after: 7\r\nx-ratelimit-remaining-requests: 0\r\n")], vec![]).await;
        let mut table = route(1, Some(10_000));
        let (stable, canary) = (version("one", "model-s"), version("one", "model-c"));
        table.versions = [stable, canary.clone()].into_iter().map(|v| (v.id(), v.into())).collect();
        table.release.as_mut().unwrap().canary = canary.id();
        world.gateway.install(&tables(table)).await.unwrap();
        let answer = world.chat("s-1", ASK).await;
        assert_eq!((answer.status, answer.header("retry-after")), (status, "7"));
        assert_eq!(answer.header("x-ratelimit-remaining-requests"), "0");
        assert_eq!(world.stable.count(), 1, "one attempt, no rescue");
        assert_eq!(one_turn(&world).await.outcome.ending, Ending::Failed(cause));
    }
    // where stable lives elsewhere, it may help
    let world = World::new(vec![ok("fine")], vec![error(429, "")]).await;
    world.release(10_000).await;
    assert_eq!(world.chat("s-1", ASK).await.status, 200);
}

#[tokio::test]
async fn a_request_bound_to_provider_state_stays_with_its_version() {
    let world = World::new(vec![ok("fine")], vec![error(500, "")]).await;
    world.release(10_000).await;
    assert_eq!(world.chat("s-1", ASK).await.status, 200, "stable may answer what begins");
    let bound = r#"{"model":"support","messages":[{"role":"user","content":"a"},{"role":"assistant","audio":{"id":"audio_1"}},{"role":"user","content":"b"}]}"#;
    assert_eq!(world.chat("s-1", bound).await.status, 500);
    assert_eq!(world.stable.count(), 1, "and not what goes on from the canary's own answer");
}

#[tokio::test]
async fn what_lies_with_one_provider_goes_to_stable_and_counts_in_neither_arm() {
    let world = World::new(vec![ok("fine")], vec![ok("not asked")]).await;
    world.release(10_000).await;
    let file =
        r#"{"model":"support","messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"f-1"}}]}]}"#;
    assert_eq!(world.chat("s-1", file).await.header("x-coalmine-arm"), "stable");
    assert_eq!((world.turns(1).await[0].member.clone(), world.canary.count()), (None, 0));
}

#[tokio::test]
async fn an_override_gets_what_it_asked_for_and_is_not_counted() {
    let world = World::with(vec![ok("fine")], vec![error(500, "")], |config| {
        config.overrides = coalmine_gateway::config::Overrides::Accepted;
    })
    .await;
    world.release(0).await;
    let request =
        world.request("/v1/chat/completions", &[("x-coalmine-override", "canary"), ("x-session-id", "s")], ASK);
    let answer = Answer::of(world.send(request).await).await;
    assert_eq!((answer.status, answer.header("x-coalmine-arm")), (500, "canary"));
    let turn = one_turn(&world).await;
    assert_eq!(turn.member, None);
    assert!(world.pins.is_empty(), "an override leaves no pin");
}

#[tokio::test]
async fn an_attempt_is_repeated_once_and_on_the_next_address() {
    let dead = Nobody::new();
    let world = World::with(vec![ok("fine")], vec![], |config| {
        let one = config.providers.get_mut(&ProviderName::from("one")).unwrap();
        one.upstreams.insert(0, Address::at(dead.url()));
        one.choice.spread = Spread::Turns;
        one.retry = RetryPolicy { retries: 1, pause: Duration::from_millis(1), ..RetryPolicy::default() };
    })
    .await;
    world.release(0).await;
    for session in ["s-1", "s-2", "s-3", "s-4"] {
        assert_eq!(world.chat(session, ASK).await.status, 200);
    }
    let retries: Vec<u16> = world.turns(4).await.iter().map(|turn| turn.outcome.retries).collect();
    assert_eq!(retries, [1, 0, 1, 0], "every other began at the dead address, and went on to the next");
}

#[tokio::test]
async fn without_any_connection_the_client_gets_an_error_it_can_read() {
    let world = World::with(vec![], vec![], |config| {
        let one = config.providers.get_mut(&ProviderName::from("one")).unwrap();
        one.upstreams = vec![Address::at("http://127.0.0.1:1/v1")];
    })
    .await;
    world.release(0).await;
    let answer = world.chat("s-1", ASK).await;
    assert_eq!(answer.status, 502);
    assert_eq!(answer.json()["error"]["code"], "bad_gateway");
    assert_eq!(answer.header("x-coalmine-arm"), "control");
    assert_eq!(one_turn(&world).await.outcome.ending, Ending::Failed(Cause::Connect));
    assert!(world.metric(r#"coalmine_upstream_failures_total{provider="one",cause="connect"} 1"#));
}

#[tokio::test]
async fn no_head_in_time_is_a_timeout_and_a_stall_ends_the_stream_with_an_error() {
    let silent = std::sync::Arc::new(tokio::sync::Notify::new());
    let stalls = vec![write(STREAM_HEAD), write(chunk(delta("a"))), Step::UntilClosed(silent.clone())];
    let world = World::with(vec![vec![Step::UntilClosed(silent.clone())], stalls], vec![], |config| {
        for provider in config.providers.values_mut() {
            provider.timeouts.first_byte = Duration::from_millis(30);
            provider.timeouts.idle = Duration::from_millis(30);
        }
    })
    .await;
    world.release(0).await;
    let answer = world.chat("s-1", ASK).await;
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (504, Some("upstream_timeout")));
    soon("the upstream is let go", silent.notified()).await;
    let answer = world.chat("s-2", ASK_STREAM).await;
    let (text, said) = (answer.text(), delta("a"));
    let error = text.strip_prefix(&*said).unwrap();
    assert!(error.contains("upstream_timeout") && !text.contains("[DONE]"), "{text}");
    soon("the upstream is let go", silent.notified()).await;
    let endings: Vec<Ending> = world.turns(2).await.iter().map(|turn| turn.outcome.ending).collect();
    assert_eq!(endings, [Ending::Failed(Cause::Deadline), Ending::Failed(Cause::Broken)]);
}
