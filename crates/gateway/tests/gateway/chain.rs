//! Fallbacks of a version, and the bounds of time of a request: who is asked next, for how long, and what is told.

use crate::support::*;
use coalmine_core::id::ProviderName;
use coalmine_core::tally::{CancelPoint, Cause, Ending, ServedBy};
use coalmine_core::version::{Fallback, JsonText, Version};
use coalmine_gateway::config::{Config, Credential, Provider, ProviderKind, RetryPolicy, Secret};
use coalmine_wire::prices::{Price, Rate};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

const THIRD: &str = "third";
/// A bound of time that a test waits for; long against everything else that it does.
const SHORT: Duration = Duration::from_millis(200);

/// Stable on `one`, which falls back to the third provider, where there is one behind it to `two`.
fn chained(fallbacks: &[(&str, Option<&str>)]) -> Version {
    let fallback = |(provider, model): &(&str, Option<&str>)| Fallback {
        provider: ProviderName::from(*provider),
        model: model.map(str::to_owned),
    };
    Version { fallbacks: fallbacks.iter().map(fallback).collect(), ..version("one", "model-s") }
}

async fn world(
    first: Vec<Vec<Step>>,
    second: Vec<Vec<Step>>,
    third: Vec<Vec<Step>>,
    change: impl FnOnce(&mut Config),
) -> (World, Upstream) {
    let upstream = Upstream::start(third).await;
    let url = format!("http://{}/v1", upstream.address);
    let world = World::with(first, second, |config| {
        let mut provider = Provider::openai(url, Credential::Bearer(Secret::new("key-three")));
        provider.retry = RetryPolicy { retries: 0, pause: Duration::from_millis(1), ..RetryPolicy::default() };
        config.providers.insert(ProviderName::from(THIRD), provider);
        change(config);
    });
    (world.await, upstream)
}

/// A route whose stable version is this, without a release.
async fn serve(world: &World, stable: Version) {
    serve_as(world, 1, stable).await;
}

async fn serve_as(world: &World, generation: u64, stable: Version) {
    let mut route = route(generation, None);
    route.stable = stable.id();
    route.versions.insert(stable.id(), Arc::new(stable));
    world.gateway.install(&tables(route)).await.unwrap();
}

/// A release at 100 % whose canary is this.
async fn release(world: &World, canary: Version) {
    let mut route = route(1, Some(10_000));
    route.release.as_mut().unwrap().canary = canary.id();
    route.versions.insert(canary.id(), Arc::new(canary));
    world.gateway.install(&tables(route)).await.unwrap();
}

fn price(config: &mut Config, model: &str, output_usd: f64) {
    let rate = Rate { output_usd, ..Rate::default() };
    config.prices = config.prices.clone().with(model, Price { rate, long: None });
}

/// The one that fails is failed; whoever answers is paid, at its own price; what it says of itself is not the
/// version's.
#[tokio::test]
async fn a_fallback_answers_and_the_version_has_failed() {
    let (world, third) = world(vec![error(503, "")], vec![], vec![ok("from the third")], |config| {
        price(config, "model-s", 1_000_000.0);
        price(config, "model-x", 2_000_000.0);
    })
    .await;
    serve(&world, chained(&[(THIRD, Some("model-x"))])).await;
    let answer = world.chat("s-1", ASK).await;
    assert_eq!((answer.status, answer.text()), (200, completion("from the third")));
    let sent = &third.received()[0];
    assert_eq!(
        (sent.json()["model"].as_str(), sent.header("authorization")),
        (Some("model-x"), Some("Bearer key-three"))
    );
    let turn = &world.turns(1).await[0];
    assert_eq!(turn.outcome.ending, Ending::Failed(Cause::Server), "the version failed, whoever answered");
    assert_eq!((turn.outcome.served_by, turn.outcome.status), (ServedBy::Fallback, 503));
    assert_eq!(turn.outcome.cost_usd, Some(10.0), "five tokens at the price of who wrote them");
    assert_eq!((turn.outcome.usage.output, turn.outcome.answered_as.model.clone()), (None, None));
    assert!(world.metric(r#"coalmine_fallbacks_total{route="support"} 1"#));
}

/// In their order, each once, and before stable stands in for a canary.
#[tokio::test]
async fn fallbacks_are_asked_in_their_order_and_before_stable() {
    let (world, third) =
        world(vec![error(500, ""), ok("from stable")], vec![error(500, "")], vec![error(429, "")], |_| {}).await;
    let canary =
        Version { fallbacks: chained(&[(THIRD, None), ("one", Some("m-1"))]).fallbacks, ..version("two", "m") };
    release(&world, canary).await;
    assert_eq!(world.chat("s-1", ASK).await.text(), completion("from stable"));
    let asked = |upstream: &Upstream| -> Vec<String> {
        upstream.received().iter().map(|sent| sent.json()["model"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!((asked(&world.canary), asked(&third)), (vec!["m".to_owned()], vec!["m".to_owned()]));
    assert_eq!(asked(&world.stable), ["m-1", "model-s"], "the second fallback failed too, and stable answered");
    let turn = &world.turns(1).await[0];
    assert_eq!((turn.outcome.served_by, turn.outcome.ending), (ServedBy::Rescue, Ending::Failed(Cause::Server)));
}

/// A stream that breaks before its first content is answered by the fallback; one that breaks behind it is not.
#[tokio::test]
async fn a_stream_falls_back_before_its_first_content_only() {
    let early = vec![write(STREAM_HEAD), write(chunk(role())), Step::Close];
    let late = vec![write(STREAM_HEAD), write(chunk(delta("half"))), Step::Close];
    let (world, third) = world(vec![early, late], vec![], vec![streamed(&["fine"])], |_| {}).await;
    serve(&world, chained(&[(THIRD, None)])).await;
    assert_eq!(world.chat("s-1", ASK_STREAM).await.text(), [role(), delta("fine"), finish(), done()].concat());
    assert!(world.chat("s-2", ASK_STREAM).await.broke_off_behind(&delta("half")));
    assert_eq!(third.count(), 1);
}

/// The client's own mistake is nobody's failure: nobody else is asked, and the client sees it.
#[tokio::test]
async fn a_request_that_is_refused_does_not_fall_back() {
    let (world, third) = world(vec![error(422, "")], vec![], vec![ok("x")], |_| {}).await;
    serve(&world, chained(&[(THIRD, None)])).await;
    assert_eq!((world.chat("s-1", ASK).await.status, third.count()), (422, 0));
    assert_eq!(world.turns(1).await[0].outcome.ending, Ending::ClientError);
}

/// Where all fail the client gets the version's own error.
#[tokio::test]
async fn where_all_fail_the_versions_own_error_is_told() {
    let (world, third) = world(vec![error(503, "x-own: yes\r\n")], vec![], vec![error(500, "")], |_| {}).await;
    serve(&world, chained(&[(THIRD, None)])).await;
    let answer = world.chat("s-1", ASK).await;
    assert_eq!((answer.status, answer.header("x-own"), third.count()), (503, "yes", 1));
    assert_eq!(world.turns(1).await[0].outcome.served_by, ServedBy::Assigned);
}

/// A fallback of another dialect is asked in its own, and answers in the client's.
#[tokio::test]
async fn a_fallback_may_speak_another_dialect() {
    let body = r#"{"id":"m","type":"message","role":"assistant","model":"c","content":[{"type":"text","text":"bonjour"}],"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":2}}"#;
    let (world, third) = world(vec![error(500, "")], vec![], vec![json_answer(200, "", body)], |config| {
        config.providers.get_mut(&ProviderName::from(THIRD)).unwrap().kind = ProviderKind::Anthropic;
    })
    .await;
    serve(&world, chained(&[(THIRD, Some("claude"))])).await;
    let answer = world.chat("s-1", ASK).await;
    assert_eq!(answer.json()["choices"][0]["message"]["content"], "bonjour");
    assert!(third.received()[0].head.starts_with("POST /v1/messages "));
}

/// What only the first provider can open is shown to no other.
#[tokio::test]
async fn what_is_bound_to_its_maker_does_not_fall_back() {
    let (world, third) = world(vec![error(500, "")], vec![], vec![ok("x")], |_| {}).await;
    serve(&world, chained(&[(THIRD, None)])).await;
    let ask = r#"{"model":"support","messages":[{"role":"assistant","audio":{"id":"audio_1"}},{"role":"user","content":"go on"}]}"#;
    assert_eq!((world.chat("s-1", ask).await.status, third.count()), (500, 0));
}

/// A client that leaves while a fallback is asked is felt there.
#[tokio::test]
async fn t22_the_cancel_is_felt_while_a_fallback_is_asked() {
    let closed = Arc::new(Notify::new());
    let (world, third) =
        world(vec![error(500, "")], vec![], vec![vec![Step::UntilClosed(closed.clone())]], |_| {}).await;
    serve(&world, chained(&[(THIRD, None)])).await;
    let request = world.request("/v1/chat/completions", &[("x-session-id", "s-1")], ASK);
    let going = tokio::spawn(world.client.request(request));
    soon("the request at the fallback", third.arrived.notified()).await;
    going.abort();
    soon("the fallback's cancel", closed.notified()).await;
    assert_eq!(world.turns(1).await[0].outcome.ending, Ending::Failed(Cause::Server), "it had failed before");
}

/// One bound for every try, every fallback, and the answer.
#[tokio::test]
async fn the_total_bounds_tries_fallbacks_and_the_answer_together() {
    let silent = Arc::new(Notify::new());
    let never = || vec![Step::UntilClosed(silent.clone())];
    let (world, third) = world(vec![vec![Step::Close], never()], vec![], vec![ok("x")], |config| {
        for provider in config.providers.values_mut() {
            // long enough for a second try on a busy machine
            provider.timeouts.total = Duration::from_secs(1);
            provider.retry.retries = 3;
        }
    })
    .await;
    serve(&world, chained(&[(THIRD, None)])).await;
    let answer = world.chat("s-1", ASK).await;
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (504, Some("upstream_timeout")));
    soon("the upstream is let go", silent.notified()).await;
    assert_eq!((world.stable.count(), third.count()), (2, 0), "the time was over before the fallback's turn");
    assert_eq!(world.turns(1).await[0].outcome.ending, Ending::Failed(Cause::Deadline));
}

/// A try that is too long is ended, and the next in the chain has its own time.
#[tokio::test]
async fn each_of_a_chain_has_its_own_time_for_the_first_byte() {
    let silent = Arc::new(Notify::new());
    let (world, _third) = world(vec![vec![Step::UntilClosed(silent.clone())]], vec![], vec![ok("fine")], |config| {
        config.providers.get_mut(&ProviderName::from("one")).unwrap().timeouts.first_byte = SHORT;
    })
    .await;
    serve(&world, chained(&[(THIRD, None)])).await;
    assert_eq!(world.chat("s-1", ASK).await.text(), completion("fine"));
    soon("the upstream is let go", silent.notified()).await;
}

/// Who asks for thinking waits longer, whichever way it is asked for, by the client or by the version.
#[tokio::test]
async fn who_asks_for_thinking_waits_longer() {
    let with = |params: &str| ASK.replace("{\"model\"", &format!("{{{params},\"model\""));
    let thinking = [
        r#""reasoning_effort":"high""#,
        r#""thinking":{"type":"enabled","budget_tokens":4000}"#,
        r#""chat_template_kwargs":{"enable_thinking":true}"#,
    ];
    let plain = [r#""reasoning_effort":"none""#, r#""thinking":{"type":"disabled"}"#, r#""user":"u""#];
    // a thinker is answered once a request that does not think, and began later, has had its time
    let (gate, silent) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let short = |config: &mut Config| {
        config.providers.get_mut(&ProviderName::from("one")).unwrap().timeouts.first_byte = SHORT;
    };
    let thought = [vec![Step::Wait(gate.clone())], ok("thought")].concat();
    let (thinkers, _third) = world(vec![thought], vec![], vec![], short).await;
    let (others, _third) = world(vec![vec![Step::UntilClosed(silent)]], vec![], vec![], short).await;
    serve(&thinkers, version("one", "model-s")).await;
    serve(&others, version("one", "model-s")).await;
    let ask = async |thinking: String, plain: String| {
        let thinker = thinkers.client.request(thinkers.request("/v1/chat/completions", &[], thinking));
        let thinker = tokio::spawn(thinker);
        soon("the thinker upstream", thinkers.stable.arrived.notified()).await;
        let plain = others.client.request(others.request("/v1/chat/completions", &[], plain));
        let plain = soon("an answer", plain).await.unwrap().status();
        gate.notify_one();
        (soon("the thought", thinker).await.unwrap().unwrap().status().as_u16(), plain.as_u16())
    };
    for (thinking, plain) in thinking.into_iter().zip(plain) {
        assert_eq!(ask(with(thinking), with(plain)).await, (200, 504), "{thinking}, {plain}");
    }
    let mut thinker = version("one", "model-s");
    thinker.params.insert("reasoning_effort".to_owned(), JsonText("\"high\"".to_owned()));
    serve_as(&thinkers, 2, thinker).await;
    assert_eq!(ask(ASK.to_owned(), ASK.to_owned()).await, (200, 504), "the version asks for it");
}

/// A stream that has begun and says nothing is over at the same bound; pings do not keep it alive.
#[tokio::test]
async fn a_stream_without_content_is_over_in_time() {
    let pings: String = (0..3).map(|_| ": ping\n\n").collect();
    let silent = Arc::new(Notify::new());
    let script = vec![write(STREAM_HEAD), write(chunk(pings)), Step::UntilClosed(silent.clone())];
    let (world, _third) = world(vec![script], vec![], vec![], |config| {
        config.providers.get_mut(&ProviderName::from("one")).unwrap().timeouts.first_byte = SHORT;
    })
    .await;
    serve(&world, version("one", "model-s")).await;
    assert!(world.chat("s-1", ASK_STREAM).await.text().contains("upstream_timeout"));
    soon("the upstream is let go", silent.notified()).await;
    assert_eq!(world.turns(1).await[0].outcome.ending, Ending::Failed(Cause::Deadline));
}

/// The same where it is held back for a fallback, which then answers.
#[tokio::test]
async fn a_stream_without_content_falls_back_in_time() {
    let silent = Arc::new(Notify::new());
    let script = vec![write(STREAM_HEAD), write(chunk(role())), Step::UntilClosed(silent.clone())];
    let (world, _third) = world(vec![script], vec![], vec![streamed(&["fine"])], |config| {
        config.providers.get_mut(&ProviderName::from("one")).unwrap().timeouts.first_byte = SHORT;
    })
    .await;
    serve(&world, chained(&[(THIRD, None)])).await;
    assert_eq!(world.chat("s-1", ASK_STREAM).await.text(), [role(), delta("fine"), finish(), done()].concat());
    let turn = &world.turns(1).await[0];
    assert_eq!((turn.outcome.served_by, turn.outcome.ending), (ServedBy::Fallback, Ending::Failed(Cause::Deadline)));
}

/// A client that gives up while nothing has come is a cancel, and never the version's failure.
#[tokio::test]
async fn t23_who_gives_up_before_the_bound_is_no_failure() {
    let silent = Arc::new(Notify::new());
    let (world, third) = world(vec![vec![Step::UntilClosed(silent.clone())]], vec![], vec![ok("x")], |_| {}).await;
    serve(&world, chained(&[(THIRD, None)])).await;
    let request = world.request("/v1/chat/completions", &[("x-session-id", "s-1")], ASK);
    let going = tokio::spawn(world.client.request(request));
    soon("the request upstream", world.stable.arrived.notified()).await;
    going.abort();
    soon("the upstream's cancel", silent.notified()).await;
    assert_eq!(world.turns(1).await[0].outcome.ending, Ending::Cancelled(CancelPoint::BeforeFirstByte));
    assert_eq!(third.count(), 0);
}
