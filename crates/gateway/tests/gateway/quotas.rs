//! Keys and quotas: refused before anybody is asked, in the words of whoever asks, and counted against no
//! version.

use crate::messages;
use crate::support::*;
use coalmine_core::id::Generation;
use coalmine_core::key::{FreshSecret, Key, KeyTable, Payer, Quota, Usd};
use coalmine_core::tally::Ending;
use coalmine_core::time::UnixMs;
use coalmine_core::traffic::table::RoutingTable;
use coalmine_gateway::config::ProviderKind;
use coalmine_gateway::ports::{Boxed, TableSource};
use http_body_util::BodyExt;
use serde_json::json;
use std::sync::Arc;
use tokio::sync::{Mutex, mpsc, watch};

pub fn secret(byte: u8) -> String {
    FreshSecret::of([byte; 32]).expose().to_owned()
}

pub fn key(name: &str, byte: u8, quota: Quota) -> Key {
    Key { quota, ..Key::new(name.into(), &FreshSecret::of([byte; 32]), "ana".into(), UnixMs(0)) }
}

pub fn install(world: &World, generation: u64, keys: Vec<Key>) {
    let table = KeyTable { generation: Generation(generation), keys: Arc::new(keys), spent: Arc::default() };
    world.gateway.install_keys(&Arc::new(table));
}

async fn ask(world: &World, path: &str, shown: (&str, &str), body: &str) -> Answer {
    let request = world.request(path, &[shown, ("x-session-id", "s")], body.to_owned());
    Answer::of(world.send(request).await).await
}

#[tokio::test]
async fn either_header_opens_either_surface_and_a_revoked_key_none() {
    let world = World::new(vec![ok("hi")], vec![]).await;
    world.gateway.install(&tables(route(1, None))).await.unwrap();
    install(&world, 1, vec![key("a", 1, Quota::default())]);
    let (good, bearer) = (secret(1), format!("Bearer {}", secret(1)));
    for path in ["/v1/chat/completions", "/v1/messages"] {
        for shown in [("authorization", bearer.as_str()), ("x-api-key", good.as_str())] {
            let answer = ask(
                &world,
                path,
                shown,
                r#"{"model":"support","max_tokens":9,"messages":[{"role":"user","content":"hello"}]}"#,
            )
            .await;
            assert_eq!(answer.status, 200, "{path} {}", answer.text());
        }
        let answer = ask(&world, path, ("x-api-key", "ck_of-nobody"), ASK).await;
        assert_eq!(answer.status, 401);
        assert!(!answer.text().contains("ck_of-nobody"));
    }
    let asked = world.stable.count();
    install(&world, 2, vec![key("a", 1, Quota::default()).revoke("ana".into(), UnixMs(1))]);
    let answer = ask(&world, "/v1/messages", ("x-api-key", &good), ASK).await;
    assert_eq!((answer.status, answer.json()["error"]["type"].clone()), (401, json!("authentication_error")));
    assert_eq!(answer.json()["error"]["message"], "this API key was revoked");
    assert_eq!(world.stable.count(), asked, "nobody was asked");
}

#[tokio::test]
async fn a_rate_refuses_in_the_words_of_the_caller_and_is_no_turn() {
    let world = World::new(vec![ok("hi")], vec![]).await;
    world.gateway.install(&tables(route(1, None))).await.unwrap();
    let quota = Quota { requests_per_minute: Some(1), tokens_per_minute: Some(1_000), ..Quota::default() };
    install(&world, 1, vec![key("a", 1, quota)]);
    let good = secret(1);
    let first = ask(&world, "/v1/chat/completions", ("x-api-key", &good), ASK).await;
    assert_eq!(first.status, 200);
    let left = ["limit-requests", "remaining-requests", "limit-tokens"]
        .map(|part| first.header(&format!("x-ratelimit-{part}")).to_owned());
    assert_eq!(left, ["1", "0", "1000"]);
    let refused = ask(&world, "/v1/chat/completions", ("x-api-key", &good), ASK).await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, "60"));
    assert_eq!(refused.header("x-ratelimit-reset-requests"), "59.999s");
    let error = refused.json()["error"].clone();
    assert_eq!((&error["type"], &error["code"]), (&json!("rate_limit_error"), &json!("rate_limit_exceeded")));
    assert_eq!(error["message"], "the quota of key 'a', 1 requests a minute, is used up; try again in 1m");
    let refused = ask(&world, "/v1/messages", ("x-api-key", &good), ASK).await;
    assert_eq!(
        refused.json(),
        json!({"type": "error", "error": {"type": "rate_limit_error", "message": "the quota of key 'a', 1 requests a minute, is used up; try again in 1m"}})
    );
    assert_eq!(refused.header("anthropic-ratelimit-requests-limit"), "1");
    assert_eq!(refused.header("anthropic-ratelimit-requests-reset"), "1970-01-01T00:17:41Z");
    assert_eq!(world.stable.count(), 1, "nobody was asked");
    assert_eq!(world.turns(1).await.len(), 1);
    assert!(world.metric("coalmine_quota_refused_total{quota=\"requests_per_minute\"} 2"));
}

#[tokio::test]
async fn a_spent_budget_stops_hard_and_what_was_spent_is_told() {
    let world = World::with(vec![ok("hi")], vec![], |config| {
        let rate = coalmine_wire_rate();
        config.prices = config.prices.clone().with("model-s", rate);
    })
    .await;
    world.gateway.install(&tables(route(1, None))).await.unwrap();
    let quota = Quota { per_day: Some(Usd(1)), ..Quota::default() };
    install(&world, 1, vec![key("a", 1, quota)]);
    let good = secret(1);
    assert_eq!(ask(&world, "/v1/chat/completions", ("x-api-key", &good), ASK).await.status, 200);
    world.turns(1).await;
    let refused = ask(&world, "/v1/chat/completions", ("x-api-key", &good), ASK).await;
    assert_eq!((refused.status, refused.header("x-should-retry")), (429, "false"));
    assert_eq!(refused.json()["error"]["code"], "insufficient_quota");
    let until_midnight = (86_400_000 - 1_000_002_u64).div_ceil(1_000).to_string();
    assert_eq!(refused.header("retry-after"), until_midnight);
    let deltas = world.sink.deltas.lock().unwrap().clone();
    let told: Vec<_> =
        deltas.iter().flat_map(|delta| &delta.spending).filter(|told| told.payer == Payer::Key("a".into())).collect();
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].used.requests, told[0].used.tokens), (1, 15));
    assert!(told[0].used.cost > Usd(0));
}

pub fn coalmine_wire_rate() -> coalmine_wire::prices::Price {
    let rate = coalmine_wire::prices::Rate { input_usd: 1.0, output_usd: 2.0, ..Default::default() };
    coalmine_wire::prices::Price { rate, long: None }
}

#[tokio::test]
async fn a_client_that_leaves_makes_room_for_the_next() {
    let arrived = Arc::new(tokio::sync::Notify::new());
    let waiting = vec![write(STREAM_HEAD), Step::UntilClosed(arrived.clone())];
    let world = World::new(vec![waiting, ok("hi")], vec![]).await;
    world.gateway.install(&tables(route(1, None))).await.unwrap();
    let quota = Quota { concurrent: Some(1), ..Quota::default() };
    install(&world, 1, vec![key("a", 1, quota)]);
    let good = secret(1);
    let leaving = world.send(world.request("/v1/chat/completions", &[("x-api-key", &good)], ASK_STREAM)).await;
    let refused = ask(&world, "/v1/chat/completions", ("x-api-key", &good), ASK).await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, "1"));
    drop(leaving);
    soon("the cancel upstream", arrived.notified()).await;
    world.turns(1).await;
    assert_eq!(ask(&world, "/v1/chat/completions", ("x-api-key", &good), ASK).await.status, 200);
}

#[tokio::test]
async fn a_key_of_some_routes_sees_and_uses_no_others() {
    let world = World::with(vec![ok("hi")], vec![], |config| config.default_provider = Some("one".into())).await;
    let other = coalmine_core::traffic::table::RouteTable { route: "sales".into(), ..route(1, None) };
    let mut both = tables(route(1, None));
    both.routes.insert("sales".into(), Arc::new(other));
    world.gateway.install(&both).await.unwrap();
    let confined = Key { routes: Some(["sales".into()].into()), ..key("a", 1, Quota::default()) };
    install(&world, 1, vec![confined]);
    let good = secret(1);
    let ok = ask(&world, "/v1/chat/completions", ("x-api-key", &good), &ASK.replace("support", "sales")).await;
    assert_eq!(ok.status, 200);
    for (path, body) in [
        ("/v1/chat/completions", ASK),
        ("/v1/chat/completions", r#"{"model":"gpt-9","messages":[]}"#),
        ("/v1/embeddings", r#"{"model":"support","input":"x"}"#),
        ("/v1/embeddings", r#"{"model":"gpt-9","input":"x"}"#),
        ("/v1/messages/count_tokens", ASK),
    ] {
        let refused = ask(&world, path, ("x-api-key", &good), body).await;
        assert_eq!(refused.status, 403, "{path} {}", refused.text());
        assert!(refused.text().contains("it may use: sales") && refused.text().contains("permission_error"));
    }
    assert_eq!(world.stable.count(), 1, "nobody else was asked");
    let mut list = world.request("/v1/models", &[("x-api-key", &good)], "");
    *list.method_mut() = http::Method::GET;
    let listed = Answer::of(world.send(list).await).await.json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 1, "{listed}");
}

/// What came before a client left, or a provider broke off, was paid for, and so was what had been asked: its key is charged what
/// was told until then, for want of that the request by its bytes, and no less than what came of the answer. Budget, rate, metrics
/// and log say the same, once.
#[tokio::test]
async fn t22_what_came_before_a_break_is_charged() {
    let text = "x".repeat(400);
    let chat = delta(&text);
    let talk = messages::start() + &messages::opened() + &messages::text(&text);
    let thought = delta("").replace(r#""content":"""#, &format!(r#""reasoning_content":"{text}""#));
    let asked = ASK_STREAM.len() as u64 / 4;
    for (kind, path, body, said, input) in [
        (ProviderKind::OpenAi, "/v1/chat/completions", ASK_STREAM, chat.clone(), asked),
        (ProviderKind::OpenAi, "/v1/chat/completions", ASK_STREAM, thought, asked),
        (ProviderKind::Anthropic, "/v1/messages", messages::ASK_STREAM, talk.clone(), 10),
        (ProviderKind::Anthropic, "/v1/chat/completions", ASK_STREAM, talk, 10),
        (ProviderKind::OpenAi, "/v1/messages", messages::ASK_STREAM, chat, messages::ASK_STREAM.len() as u64 / 4),
    ] {
        let used = (input + 100, input + 200);
        for client_leaves in [true, false] {
            let closed = Arc::new(tokio::sync::Notify::new());
            let end = if client_leaves { Step::UntilClosed(closed) } else { Step::Close };
            let script = vec![write(STREAM_HEAD), write(chunk(&said)), end];
            let world = World::with(vec![script], vec![], |config| {
                config.providers.values_mut().for_each(|provider| provider.kind = kind);
                config.prices = coalmine_wire::prices::Prices::default().with("model-s", coalmine_wire_rate());
            })
            .await;
            world.gateway.install(&tables(route(1, None))).await.unwrap();
            let quota = Quota { tokens_per_minute: Some(8_000), ..Quota::default() };
            install(&world, 1, vec![key("a", 1, quota)]);
            let good = secret(1);
            let mut answer = world.send(world.request(path, &[("x-api-key", &good)], body)).await;
            let mut got = String::new();
            while !got.contains(&text) {
                let frame = soon("what came", answer.body_mut().frame()).await.unwrap().unwrap();
                got.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
            }
            if client_leaves {
                drop(answer);
            } else {
                Answer::of(answer).await;
            }
            let turn = world.turns(1).await.remove(0);
            assert_eq!(matches!(turn.outcome.ending, Ending::Cancelled(_)), client_leaves);
            let deltas = world.sink.deltas.lock().unwrap().clone();
            let told =
                deltas.iter().flat_map(|delta| &delta.spending).find(|told| told.payer == Payer::Key("a".into()));
            let told = told.unwrap().used;
            assert_eq!((told.requests, told.tokens), (1, used.0), "{path}");
            assert_eq!(told.cost, Usd::from_dollars(used.1 as f64 * 1e-6), "{path}");
            let page = world.gateway.render_metrics(coalmine_gateway::Exposition::Text);
            let sum = |name: &str, label: &str| -> f64 {
                let lines = page.lines().filter(|line| line.starts_with(name) && line.contains(label));
                lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
            };
            let counted = [
                sum("coalmine_tokens_total{", "kind=\"input\""),
                sum("coalmine_tokens_total{", "kind=\"output\""),
                sum("coalmine_estimated_total{", ""),
                sum("coalmine_unpriced_total{", ""),
                (sum("coalmine_cost_usd_total{", "") * 1e6).round(),
            ];
            assert_eq!(counted, [input as f64, 100.0, 1.0, 0.0, used.1 as f64], "{path}");
            assert_ne!(turn.outcome.usage.output, Some(100), "an estimate is no evidence");
            // what the next one holds while it runs is not left either
            let left = (8_000 - used.0 - body.len() as u64 / 4).to_string();
            let next = world.send(world.request(path, &[("x-api-key", &good)], body)).await;
            let names = ["x-ratelimit-remaining-tokens", "anthropic-ratelimit-tokens-remaining"];
            let told = names.iter().find_map(|name| next.headers().get(*name)).unwrap();
            assert_eq!(told.to_str().unwrap(), left, "{path}");
        }
    }
}

/// A client that leaves when all was said and nothing counted yet is charged as one that leaves before; whoever leaves before any
/// content pays for what was asked, and nobody for an answer that came whole without being counted.
#[tokio::test]
async fn what_is_charged_without_a_count_depends_on_what_came() {
    let closed = Arc::new(tokio::sync::Notify::new());
    let asked = ASK_STREAM.len() as u64 / 4;
    let said = [role(), delta(&"x".repeat(400)), finish()].concat();
    let left = vec![write(STREAM_HEAD), write(chunk(&said)), Step::UntilClosed(closed.clone())];
    let early = vec![write(STREAM_HEAD), write(chunk(role())), Step::UntilClosed(closed.clone())];
    let whole = vec![write(STREAM_HEAD), write(chunk(said.clone() + &done())), write(STREAM_END)];
    for (script, waits_for, tokens) in [(left, "xx", asked + 100), (early, "role", asked), (whole, "[DONE]", 0)] {
        let world = World::new(vec![script], vec![]).await;
        world.gateway.install(&tables(route(1, None))).await.unwrap();
        install(&world, 1, vec![key("a", 1, Quota::default())]);
        let good = secret(1);
        let mut answer = world.send(world.request("/v1/chat/completions", &[("x-api-key", &good)], ASK_STREAM)).await;
        let mut got = String::new();
        while !got.contains(waits_for) {
            let frame = soon("what came", answer.body_mut().frame()).await.unwrap().unwrap();
            got.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
        }
        drop(answer);
        world.turns(1).await;
        let deltas = world.sink.deltas.lock().unwrap().clone();
        let told = deltas.iter().flat_map(|delta| &delta.spending).find(|told| told.payer == Payer::Key("a".into()));
        assert_eq!(told.map(|told| (told.used.requests, told.used.tokens)), Some((1, tokens)), "{waits_for}");
    }
}

/// What the key was charged, once.
async fn charged(world: &World) -> (u64, Usd) {
    world.turns(1).await;
    let deltas = world.sink.deltas.lock().unwrap().clone();
    let told = deltas.iter().flat_map(|delta| &delta.spending).filter(|told| told.payer == Payer::Key("a".into()));
    let told: Vec<_> = told.collect();
    assert_eq!((told.len(), told[0].used.requests), (1, 1));
    (told[0].used.tokens, told[0].used.cost)
}

/// A world with prices, in which the key `a` asks, and its client leaves when `upstream` says so.
async fn leave(
    kind: ProviderKind,
    scripts: [Vec<Vec<Step>>; 2],
    weight: u16,
    path: &str,
    body: &str,
    at: &str,
) -> World {
    let [stable, canary] = scripts;
    let world = World::with(stable, canary, |config| {
        config.providers.values_mut().for_each(|provider| provider.kind = kind);
        config.default_provider = Some("one".into());
        let dear = coalmine_wire::prices::Rate { input_usd: 100.0, output_usd: 1.0, ..Default::default() };
        let dear = coalmine_wire::prices::Price { rate: dear, long: None };
        config.prices = coalmine_wire::prices::Prices::default()
            .with("model-s", coalmine_wire_rate())
            .with("gpt-9", coalmine_wire_rate())
            .with("model-c", dear);
    })
    .await;
    world.release(weight).await;
    install(&world, 1, vec![key("a", 1, Quota::default())]);
    let good = secret(1);
    let going = tokio::spawn(world.client.request(world.request(path, &[("x-api-key", &good)], body.to_owned())));
    let upstream = if at == "canary" { &world.canary } else { &world.stable };
    soon("the request upstream", upstream.arrived.notified()).await;
    going.abort();
    world
}

/// A provider that has the request works on it and is paid for it, whether its head has come or not: on every surface, through
/// translation, while a canary's answer is held back, and while stable stands in, at the price of whoever works. It is nobody's failure.
#[tokio::test]
async fn t22_who_leaves_before_the_first_content_pays_for_what_was_asked() {
    let hangs = || vec![vec![Step::UntilClosed(Arc::default())]];
    let begins = || vec![vec![write(STREAM_HEAD), write(chunk(role())), Step::UntilClosed(Arc::default())]];
    let fails = || vec![error(500, "")];
    let (chat, talk) = ("/v1/chat/completions", "/v1/messages");
    let response = r#"{"model":"support","stream":true,"input":"Hi, what do you think of this?"}"#;
    let vector = r#"{"model":"support","input":["a text, of which the vector is wanted"]}"#;
    let (open, anthropic) = (ProviderKind::OpenAi, ProviderKind::Anthropic);
    for (kind, scripts, weight, path, body, at) in [
        (open, [hangs(), vec![]], 0, chat, ASK, "stable"),
        (open, [hangs(), vec![]], 0, chat, ASK_STREAM, "stable"),
        (anthropic, [hangs(), vec![]], 0, talk, messages::ASK_STREAM, "stable"),
        (open, [hangs(), vec![]], 0, "/v1/responses", response, "stable"),
        (open, [hangs(), vec![]], 0, "/v1/embeddings", vector, "stable"),
        (anthropic, [hangs(), vec![]], 0, chat, ASK_STREAM, "stable"),
        (open, [vec![], hangs()], 10_000, chat, ASK_STREAM, "canary"),
        (open, [vec![], begins()], 10_000, chat, ASK_STREAM, "canary"),
        (open, [hangs(), fails()], 10_000, chat, ASK_STREAM, "stable"),
    ] {
        let world = leave(kind, scripts, weight, path, body, at).await;
        let asked = body.len() as u64 / 4;
        let rate = if at == "canary" { 100.0 } else { 1.0 };
        assert_eq!(
            charged(&world).await,
            (asked, Usd::from_dollars(asked as f64 * rate * 1e-6)),
            "{path} {at} {weight}"
        );
        let outcome = world.turns(1).await.remove(0).outcome;
        assert_eq!(outcome.usage, coalmine_core::tally::Usage::default(), "an estimate is no evidence");
        let stands_in = weight > 0 && at == "stable";
        assert_eq!(matches!(outcome.ending, Ending::Cancelled(_)), !stands_in, "{path} {at}");
        let page = world.gateway.render_metrics(coalmine_gateway::Exposition::Text);
        let told = page.lines().any(|line| line.starts_with("coalmine_estimated_total{") && line.ends_with(" 1"));
        assert_eq!(told, !stands_in, "what stable read in the canary's place is not the canary's: {page}");
    }
}

/// A turn that is passed through is paid for in the same way.
#[tokio::test]
async fn t22_who_leaves_what_is_passed_through_pays_for_what_was_asked() {
    let body = ASK_STREAM.replace("support", "gpt-9");
    for script in [
        vec![Step::UntilClosed(Arc::default())],
        vec![write(STREAM_HEAD), write(chunk(role())), Step::UntilClosed(Arc::default())],
    ] {
        let path = "/v1/chat/completions";
        let world = leave(ProviderKind::OpenAi, [vec![script, ok("x")], vec![]], 0, path, &body, "stable").await;
        // the turn of somebody else, behind it
        soon("the end of the first", async {
            while !world.metric("coalmine_active_requests 0") {
                tokio::task::yield_now().await;
            }
        })
        .await;
        install(&world, 2, vec![key("a", 1, Quota::default()), key("b", 2, Quota::default())]);
        assert_eq!(ask(&world, path, ("x-api-key", &secret(2)), ASK).await.status, 200);
        let asked = body.len() as u64 / 4;
        assert_eq!(charged(&world).await, (asked, Usd::from_dollars(asked as f64 * 1e-6)));
    }
}

/// Nobody has it: no connection is made, or the provider has failed, and the next try is waited for. Then nothing is owed.
#[tokio::test]
async fn who_leaves_what_nobody_works_on_pays_nothing() {
    for is_there in [false, true] {
        let nobody = Nobody::new();
        let world = World::with(vec![error(503, "")], vec![], |config| {
            for provider in config.providers.values_mut() {
                (provider.retry.retries, provider.retry.pause) = (1, std::time::Duration::from_secs(600));
                if !is_there {
                    provider.upstreams[0].url = nobody.url();
                }
            }
        })
        .await;
        world.release(0).await;
        install(&world, 1, vec![key("a", 1, Quota::default())]);
        let going = world.request("/v1/chat/completions", &[("x-api-key", &secret(1))], ASK);
        let going = tokio::spawn(world.client.request(going));
        soon("the failure", async {
            while !world.metric(r#"coalmine_upstream_retries_total{provider="one"} 1"#) {
                tokio::task::yield_now().await;
            }
        })
        .await;
        going.abort();
        assert_eq!(charged(&world).await, (0, Usd(0)), "{is_there}");
    }
}

/// Tells of keys, and hears by which of them it is admitted.
#[derive(Debug)]
struct KeyTables {
    told: Mutex<mpsc::UnboundedReceiver<Arc<KeyTable>>>,
    served: watch::Sender<Generation>,
}

impl TableSource for KeyTables {
    fn next(&self) -> Boxed<'_, Arc<RoutingTable>> {
        Box::pin(std::future::pending())
    }

    fn next_keys(&self) -> Boxed<'_, Arc<KeyTable>> {
        Box::pin(async { self.told.lock().await.recv().await.unwrap() })
    }

    fn served_keys(&self, generation: Generation) {
        self.served.send_replace(generation);
    }
}

#[tokio::test]
async fn keys_are_said_to_be_served_when_they_open_the_gateway() {
    let world = World::new(vec![ok("hi"), ok("hi")], vec![]).await;
    world.release(0).await;
    let ((tell, told), (served, mut serves)) = (mpsc::unbounded_channel(), watch::channel(Generation(0)));
    let source = KeyTables { told: Mutex::new(told), served };
    let running = world.gateway.start(Arc::new(source), world.sink.clone());
    for generation in [1, 2] {
        let keys = Arc::new(vec![key("a", generation, Quota::default())]);
        let generation_told = Generation(generation.into());
        tell.send(Arc::new(KeyTable { generation: generation_told, keys, spent: Arc::default() })).unwrap();
        soon("it is said", serves.wait_for(|served| *served == generation_told)).await.unwrap();
        let answer = ask(&world, "/v1/chat/completions", ("x-api-key", &secret(generation)), ASK).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    running.stop(PATIENCE).await;
}
