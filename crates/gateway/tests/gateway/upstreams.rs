//! Which of a provider's addresses is asked: over sockets, with addresses that do as they are told.

use crate::support::*;
use coalmine_core::id::ProviderName;
use coalmine_core::origin::Region;
use coalmine_core::tally::Ending;
use coalmine_core::time::{SpanMs, UnixMs};
use coalmine_gateway::UpstreamState;
use coalmine_gateway::config::{HealthCheck, Provider, RetryPolicy, Spread, Upstream as Address, Warm};
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// The stable provider at these addresses, by their regions; the gateway stands at home.
async fn world(addresses: &[(&str, String)], change: impl FnOnce(&mut Provider)) -> World {
    let upstreams = addresses.iter().map(|(region, url)| Address {
        region: Some(Region((*region).into())).filter(|region| !region.0.is_empty()),
        ..Address::at(url)
    });
    let upstreams: Vec<Address> = upstreams.collect();
    let world = World::with(vec![], vec![], |config| {
        config.region = Some(Region("home".into()));
        let one = config.providers.get_mut(&ProviderName::from("one")).unwrap();
        one.upstreams = upstreams;
        one.retry = RetryPolicy { retries: 1, pause: Duration::from_millis(1), ..RetryPolicy::default() };
        change(one);
    })
    .await;
    world.release(0).await;
    world
}

fn url(upstream: &Upstream) -> String {
    format!("http://{}/v1", upstream.address)
}

async fn statuses(world: &World, sessions: std::ops::Range<u32>) -> Vec<u16> {
    let mut statuses = Vec::new();
    for n in sessions {
        statuses.push(world.chat(&format!("s-{n}"), ASK).await.status);
    }
    statuses
}

/// What people are told of the provider's addresses.
fn of_one(world: &World) -> Vec<UpstreamState> {
    world.gateway.upstreams().into_iter().filter(|upstream| upstream.provider == "one").collect()
}

async fn shown(world: &World, line: &str) {
    soon(line, async {
        while !world.metric(line) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

fn in_service(address: &Upstream, region: &str, yes: u8) -> String {
    let upstream = format!("{}/v1", address.address);
    format!(r#"coalmine_upstream_in_service{{provider="one",upstream="{upstream}",region="{region}"}} {yes}"#)
}

#[tokio::test]
async fn an_address_that_answers_with_errors_is_put_aside_and_comes_back() {
    let mut scripts: Vec<_> = (0..5).map(|_| error(500, "")).collect();
    scripts.push(ok("well again"));
    let (sick, sound) = (Upstream::start(scripts).await, Upstream::start(vec![ok("sound")]).await);
    let world = world(&[("", url(&sick)), ("", url(&sound))], |one| one.choice.spread = Spread::Turns).await;
    assert_eq!(statuses(&world, 0..10).await.iter().filter(|status| **status == 500).count(), 5);
    assert!(world.metric(&in_service(&sick, "home", 0)));
    let upstream = format!("{}/v1", sick.address);
    assert!(world.metric(&format!(
        r#"coalmine_upstream_ejections_total{{provider="one",upstream="{upstream}",region="home",reason="failures_in_a_row"}} 1"#
    )));
    assert_eq!((statuses(&world, 10..20).await, sick.count()), (vec![200; 10], 5));
    let [told, well] = <[UpstreamState; 2]>::try_from(of_one(&world)).unwrap();
    let aside = told.aside.unwrap();
    assert_eq!((aside.why, aside.failures, aside.last.as_deref()), ("failures_in_a_row", 5, Some("answered 500")));
    assert_eq!((aside.tries, aside.again), (0, Some(aside.since + SpanMs::secs(1))));
    assert!(!told.serving && well.serving && well.aside.is_none() && well.last_fault.is_none());
    world.clock.advance(1_000);
    assert_eq!(world.chat("s-20", ASK).await.status, 200);
    assert_eq!((sick.count(), world.metric(&in_service(&sick, "home", 1))), (6, true), "one request has shown it");
}

#[tokio::test]
async fn a_session_stays_with_its_address() {
    let (a, b) = (Upstream::start(vec![ok("a")]).await, Upstream::start(vec![ok("b")]).await);
    let world = world(&[("", url(&a)), ("", url(&b))], |_| {}).await;
    for n in 0..20 {
        let before = (a.count(), b.count());
        for _ in 0..3 {
            assert_eq!(world.chat(&format!("s-{n}"), ASK).await.status, 200);
        }
        let more = (a.count() - before.0, b.count() - before.1);
        assert!(more == (3, 0) || more == (0, 3), "{more:?}");
    }
    assert!(a.count() > 0 && b.count() > 0);
}

#[tokio::test]
async fn another_region_stands_in_without_an_error_to_anybody() {
    let far = Upstream::start(vec![ok("far")]).await;
    let nobody = Nobody::new();
    let world = world(&[("far", url(&far)), ("home", nobody.url())], |_| {}).await;
    assert_eq!((statuses(&world, 0..8).await, far.count()), (vec![200; 8], 8));
    let retried = world.turns(8).await.iter().filter(|turn| turn.outcome.retries > 0).count();
    assert_eq!(retried, 3, "then the near region was put aside");
}

#[tokio::test]
async fn a_client_that_leaves_says_nothing_of_the_address_that_it_probed() {
    let held = std::sync::Arc::new(tokio::sync::Notify::new());
    let mut scripts: Vec<_> = (0..5).map(|_| error(500, "")).collect();
    scripts.extend([vec![Step::UntilClosed(held.clone())], ok("well again")]);
    let (sick, sound) = (Upstream::start(scripts).await, Upstream::start(vec![ok("sound")]).await);
    let world = world(&[("", url(&sick)), ("", url(&sound))], |one| one.choice.spread = Spread::Turns).await;
    statuses(&world, 0..10).await;
    // one that may be put to nobody else waits for the longest pause more, and then for its address alone
    world.clock.advance(32_000);
    let kept = ASK.replace("{\"model\"", "{\"store\":true,\"model\"");
    let leaving = tokio::spawn(world.client.request(world.request("/v1/chat/completions", &[], kept)));
    soon("the probe arrives", async {
        while sick.count() < 6 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    leaving.abort();
    soon("it is cancelled", held.notified()).await;
    soon("the next one probes", async {
        while sick.count() < 7 {
            assert_eq!(world.chat("s-x", ASK).await.status, 200);
        }
    })
    .await;
    assert!(world.metric(&in_service(&sick, "home", 1)));
}

#[tokio::test]
async fn a_look_at_its_health_takes_an_address_out_and_in() {
    let mut looks: Vec<_> = (0..3).map(|_| json_answer(503, "", "")).collect();
    looks.push(json_answer(200, "", "fine"));
    let (sick, sound) = (Upstream::start(looks).await, Upstream::start(vec![json_answer(204, "", "")]).await);
    let often = HealthCheck { path: "/up".to_owned(), every: Duration::from_millis(5), ..HealthCheck::default() };
    let world = world(&[("", url(&sick)), ("", url(&sound))], |one| one.health = Some(often)).await;
    let unwell = format!(
        r#"coalmine_upstream_ejections_total{{provider="one",upstream="{}/v1",region="home",reason="unwell"}} 1"#,
        sick.address
    );
    shown(&world, &unwell).await;
    shown(&world, &in_service(&sick, "home", 1)).await;
    assert_eq!(of_one(&world)[0].aside, None);
    assert!(world.metric(&in_service(&sound, "home", 1)));
    let look = &sick.received()[0];
    assert!(look.head.starts_with("GET /up HTTP/1.1") && look.header("authorization").is_none(), "{}", look.head);
}

#[tokio::test]
async fn connections_are_open_before_anybody_comes() {
    let empty = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n".to_vec();
    let gate = std::sync::Arc::new(tokio::sync::Notify::new());
    let mut scripts: Vec<_> = (0..3).map(|_| vec![Step::Wait(gate.clone()), Step::Write(empty.clone())]).collect();
    scripts.push(ok("warm"));
    let upstream = Upstream::start(scripts).await;
    let warm = Some(Warm { connections: 3, every: Duration::from_hours(1) });
    let world = world(&[("", url(&upstream))], |one| one.upstreams[0].warm = warm).await;
    soon("three at once", async {
        while upstream.count() < 3 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    (0..3).for_each(|_| gate.notify_one());
    let label = format!("{}/v1", upstream.address);
    let line = format!(r#"coalmine_upstream_warm_connections{{provider="one",upstream="{label}",region="home"}} 3"#);
    shown(&world, &line).await;
    assert_eq!(world.chat("s-1", ASK).await.status, 200);
    assert_eq!(upstream.connections.load(Ordering::SeqCst), 3, "no further one was opened");
    let first = &upstream.received()[0];
    assert!(first.head.starts_with("HEAD /v1/models"), "{}", first.head);
    assert_eq!(first.header("authorization"), Some("Bearer key-one"));
    assert_eq!(world.turns(1).await.len(), 1, "and none of it is a turn");
}

/// A response lies with the address that made it; another is asked only where that one does not know it.
#[tokio::test]
async fn t36_a_response_is_asked_for_at_the_address_that_made_it() {
    let made = r#"{"id":"resp_1","object":"response","status":"completed","model":"m","output":[]}"#;
    let addresses = [
        Upstream::start(vec![json_answer(200, "", made)]).await,
        Upstream::start(vec![json_answer(200, "", made)]).await,
        Upstream::start(vec![json_answer(200, "", made)]).await,
    ];
    let urls: Vec<(&str, String)> = addresses.iter().map(|address| ("home", url(address))).collect();
    let world = world(&urls, |_| {}).await;
    let ask = r#"{"model":"support","input":"Hi"}"#;
    let request = world.request("/v1/responses", &[("x-session-id", "s-7")], ask);
    Answer::of(world.send(request).await).await;
    let maker = addresses.iter().position(|address| address.count() == 1).unwrap();
    for (method, path) in [(Method::GET, "resp_1"), (Method::POST, "resp_1/cancel"), (Method::DELETE, "resp_1")] {
        let request = Request::builder().method(method).uri(format!("http://{}/v1/responses/{path}", world.address));
        let answer = Answer::of(world.send(request.body(Full::default()).unwrap()).await).await;
        assert_eq!(answer.status, 200);
    }
    assert_eq!(addresses[maker].count(), 4, "all of them at its maker");
    addresses[maker].does(vec![error(404, "")]);
    let get = Request::get(format!("http://{}/v1/responses/resp_1", world.address));
    assert_eq!(Answer::of(world.send(get.body(Full::default()).unwrap()).await).await.status, 200);
    assert_eq!(addresses.iter().map(Upstream::count).sum::<usize>(), 6, "it does not know it, and the next one does");
    addresses.iter().for_each(|address| address.does(vec![error(404, "")]));
    let get = Request::get(format!("http://{}/v1/responses/resp_1", world.address));
    assert_eq!(Answer::of(world.send(get.body(Full::default()).unwrap()).await).await.status, 404);
}

/// A stream of one event, and what ends it before its end: a break, no end, or nothing more.
fn cut_streams() -> Vec<Vec<Step>> {
    let begun = vec![write(STREAM_HEAD), write(chunk(delta("half")))];
    let end = |step: Step| [begun.clone(), vec![step]].concat();
    let body = completion("half");
    let length = body.len() + 1;
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n");
    vec![end(Step::Close), end(write(STREAM_END)), vec![write(head + &body), Step::Close]]
}

/// The head of every such answer is well, and says nothing for its address.
#[tokio::test]
async fn t15_an_address_that_cuts_its_answers_short_is_put_aside_and_a_probe_that_is_cut_too() {
    for cut in cut_streams() {
        let mut scripts: Vec<_> = (0..6).map(|_| cut.clone()).collect();
        scripts.push(streamed(&["well again"]));
        let (sick, sound) = (Upstream::start(scripts).await, Upstream::start(vec![streamed(&["sound"])]).await);
        let world = world(&[("", url(&sick)), ("", url(&sound))], |one| one.choice.spread = Spread::Turns).await;
        let ask = async |sessions: std::ops::Range<u32>| {
            for n in sessions {
                world.chat(&format!("s-{n}"), ASK_STREAM).await;
            }
        };
        ask(0..10).await;
        shown(&world, &in_service(&sick, "home", 0)).await;
        let upstream = format!("{}/v1", sick.address);
        let ejections = |times: u8| {
            format!(
                r#"coalmine_upstream_ejections_total{{provider="one",upstream="{upstream}",region="home",reason="answers_cut_short"}} {times}"#
            )
        };
        assert!(world.metric(&ejections(1)));
        ask(10..20).await;
        assert_eq!(sick.count(), 5);
        world.clock.advance(1_000);
        ask(20..21).await;
        shown(&world, &ejections(2)).await;
        assert_eq!(sick.count(), 6, "one request has shown it");
        world.clock.advance(2_000);
        ask(21..22).await;
        assert_eq!((sick.count(), world.metric(&in_service(&sick, "home", 1))), (7, true));
    }
}

#[tokio::test]
async fn t22_clients_that_leave_in_the_middle_put_no_address_aside() {
    let closed = std::sync::Arc::new(tokio::sync::Notify::new());
    let script = vec![write(STREAM_HEAD), write(chunk(delta("a"))), Step::UntilClosed(closed.clone())];
    let (a, b) = (Upstream::start(vec![script.clone()]).await, Upstream::start(vec![script]).await);
    let world = world(&[("", url(&a)), ("", url(&b))], |one| one.choice.spread = Spread::Turns).await;
    for n in 0..20 {
        let session = format!("s-{n}");
        let request = world.request("/v1/chat/completions", &[("x-session-id", &session)], ASK_STREAM);
        let mut answer = world.send(request).await;
        soon("the first frame", answer.body_mut().frame()).await.unwrap().unwrap();
        drop(answer);
        soon("the cancel", closed.notified()).await;
    }
    world.turns(20).await;
    assert_eq!((a.count(), b.count()), (10, 10));
    assert!(world.metric(&in_service(&a, "home", 1)) && world.metric(&in_service(&b, "home", 1)));
}

/// A canary's answer that is held back, and one that is passed through, count as any other.
#[tokio::test]
async fn t15_an_answer_that_is_cut_while_it_is_held_back_or_passed_through_counts_as_well() {
    let early = vec![write(STREAM_HEAD), write(chunk(role())), Step::Close];
    let late = vec![write(STREAM_HEAD), write(chunk(delta("half"))), Step::Close];
    for (script, body, weight) in
        [(early, ASK_STREAM, 10_000), (late, r#"{"model":"gpt-9","stream":true,"messages":[]}"#, 0)]
    {
        let (sick, sound) = (Upstream::start(vec![script]).await, Upstream::start(vec![streamed(&["sound"])]).await);
        let addresses = [&sick, &sound].map(|upstream| Address::at(url(upstream)));
        let world = World::with(vec![streamed(&["stable"])], vec![], |config| {
            config.default_provider = Some("two".into());
            let two = config.providers.get_mut(&ProviderName::from("two")).unwrap();
            (two.upstreams, two.choice.spread) = (addresses.to_vec(), Spread::Turns);
        })
        .await;
        world.release(weight).await;
        for n in 0..20 {
            let session = format!("s-{n}");
            let request = world.request("/v1/chat/completions", &[("x-session-id", &session)], body);
            // what breaks at once may break before its head has gone on
            if let Ok(answer) = soon("an answer", world.client.request(request)).await {
                Answer::of(answer).await;
            }
        }
        assert_eq!(sick.count(), 5, "{body}");
        assert_eq!(sound.count(), 15);
    }
}

/// It says when it will have room again, which its sibling has now.
#[tokio::test]
async fn an_overloaded_address_is_left_alone_and_its_sibling_answers() {
    let full = Upstream::start(vec![error(503, "retry-after: 30\r\n")]).await;
    let free = Upstream::start(vec![ok("free")]).await;
    let world = world(&[("", url(&full)), ("", url(&free))], |one| one.choice.spread = Spread::Turns).await;
    assert_eq!(statuses(&world, 0..1).await, [200]);
    assert_eq!((full.count(), free.count()), (1, 1));
    assert!(world.metric(r#"coalmine_upstream_retries_total{provider="one"} 1"#));
    let serving = |address: &Upstream, yes| {
        let upstream = format!("{}/v1", address.address);
        format!(r#"coalmine_upstream_serving{{provider="one",upstream="{upstream}",region="home"}} {yes}"#)
    };
    assert!(world.metric(&serving(&full, 1)) && world.metric(&serving(&free, 1)), "once is no reason");
}

/// What kind of failure it was stands in words that are ours.
#[tokio::test]
async fn people_are_told_what_an_address_did() {
    let garbage = vec![write("SSH-2.0-OpenSSH_9.6 secret words\r\n\r\n"), Step::Close];
    let reset = vec![write("HTTP/1.1 200 OK\r\ncontent-"), Step::Close];
    let limited = error(429, "");
    for (script, told) in
        [(garbage, "what it answers is no HTTP"), (reset, "connection broke"), (limited, "answered 429")]
    {
        let alone = Upstream::start(vec![script]).await;
        let world = world(&[("", url(&alone))], |_| {}).await;
        statuses(&world, 0..1).await;
        assert_eq!(of_one(&world)[0].last_fault.as_ref().map(|fault| fault.what.as_str()), Some(told));
    }
    let (nobody, silent, talks) = (Nobody::new(), server(None).await, server(Some("220 mail ready\r\n")).await);
    let told = ["connection refused", "no connection in time", "no TLS with it"];
    for (address, told) in [nobody.url(), silent, talks].into_iter().zip(told) {
        let world = world(&[("", address)], |one| one.timeouts.connect = Duration::from_millis(200)).await;
        assert_eq!(statuses(&world, 0..1).await, [502]);
        assert_eq!(of_one(&world)[0].last_fault.as_ref().map(|fault| fault.what.as_str()), Some(told));
        assert!(
            world.metric(r#"coalmine_upstream_failures_total{provider="one",cause="connect"} 2"#),
            "and is tried twice"
        );
    }
}

/// Where TLS is to be, and somebody says something else to whoever comes, or nothing.
async fn server(greeting: Option<&'static str>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/v1", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            if let Some(greeting) = greeting {
                stream.write_all(greeting.as_bytes()).await.unwrap();
            }
            open.push(stream);
        }
    });
    url
}

/// The one request that shows how it is costs its customer no more than a moment, and a sibling answers.
#[tokio::test]
async fn an_address_that_hangs_when_it_is_tried_holds_nobody() {
    let gone = std::sync::Arc::new(tokio::sync::Notify::new());
    for (body, retries) in [(ASK, 1), (ASK_STREAM, 1), (ASK, 3)] {
        let mut scripts: Vec<_> = (0..5).map(|_| error(500, "")).collect();
        scripts.push(vec![Step::UntilClosed(gone.clone())]);
        let (sick, sound) = (Upstream::start(scripts).await, Upstream::start(vec![streamed(&["sound"])]).await);
        let world = world(&[("", url(&sick)), ("", url(&sound))], |one| {
            (one.choice.spread, one.retry.retries) = (Spread::Turns, retries);
        })
        .await;
        statuses(&world, 0..10).await;
        world.clock.advance(1_000);
        let answer = world.chat("s-10", body).await;
        assert!(answer.status == 200 && answer.text().contains("sound"), "{}", answer.text());
        soon("it is let go", gone.notified()).await;
        assert_eq!((sick.count(), sound.count()), (6, 6));
        let aside = of_one(&world)[0].aside.clone().unwrap();
        assert_eq!((aside.tries, aside.last.as_deref()), (1, Some("outrun by a sibling")));
        assert!(world.metric(r#"coalmine_hedges_total{provider="one",result="won"} 1"#));
        let turn = world.turns(11).await.pop().unwrap();
        assert_eq!((turn.outcome.ending, turn.outcome.retries), (Ending::Complete, 0));
    }
}

/// Where no second request is allowed none is sent, and no customer tries an address before it must be.
#[tokio::test]
async fn without_a_retry_an_address_is_tried_late_and_alone() {
    let mut scripts: Vec<_> = (0..5).map(|_| error(500, "")).collect();
    scripts.push(ok("well again"));
    let (sick, sound) = (Upstream::start(scripts).await, Upstream::start(vec![ok("sound")]).await);
    let world = world(&[("", url(&sick)), ("", url(&sound))], |one| {
        (one.choice.spread, one.retry.retries) = (Spread::Turns, 0);
    })
    .await;
    statuses(&world, 0..10).await;
    world.clock.advance(30_000);
    assert_eq!((statuses(&world, 10..20).await, sick.count()), (vec![200; 10], 5));
    world.clock.advance(1_000);
    assert_eq!((statuses(&world, 20..21).await, sick.count()), (vec![200], 6));
    assert!(world.metric(&in_service(&sick, "home", 1)));
}

/// A canary that an address did not answer is rescued at the other one, though the session knows the first.
#[tokio::test]
async fn who_stands_in_at_the_same_provider_is_asked_at_another_address() {
    let garbage = vec![write("no HTTP\r\n\r\n"), Step::Close];
    let (sick, sound) = (Upstream::start(vec![garbage]).await, Upstream::start(vec![ok("sound")]).await);
    let addresses = [&sick, &sound].map(|upstream| Address::at(url(upstream)));
    let world = World::with(vec![], vec![], |config| {
        for name in ["one", "two"] {
            let provider = config.providers.get_mut(&ProviderName::from(name)).unwrap();
            (provider.upstreams, provider.retry.retries) = (addresses.to_vec(), 0);
        }
    })
    .await;
    let (mut table, canary) = (route(1, Some(10_000)), version("one", "model-c"));
    table.release.as_mut().unwrap().canary = canary.id();
    table.versions.insert(canary.id(), std::sync::Arc::new(canary));
    world.gateway.install(&tables(table)).await.unwrap();
    assert_eq!(statuses(&world, 0..20).await, [200; 20]);
}

/// Who waits at it meanwhile is answered by a sibling, though no time of theirs is over.
#[tokio::test]
async fn whoever_waits_at_an_address_that_hangs_is_answered_by_a_sibling() {
    let gone = std::sync::Arc::new(tokio::sync::Notify::new());
    let silent = Upstream::start(vec![vec![Step::UntilClosed(gone.clone())]]).await;
    let sound = Upstream::start(vec![ok("sound")]).await;
    let world = world(&[("", url(&silent)), ("", url(&sound))], |_| {}).await;
    let sessions: Vec<String> = (0..40).map(|n| format!("s-{n}")).collect();
    let answers = futures_util::future::join_all(sessions.iter().map(|session| world.chat(session, ASK)));
    // others go on to be answered, and the clock by which addresses are judged goes on
    let meanwhile = async {
        for n in 0.. {
            tokio::time::sleep(Duration::from_millis(50)).await;
            world.clock.advance(50);
            let session = format!("later-{n}");
            let request = world.request("/v1/chat/completions", &[("x-session-id", &session)], ASK);
            tokio::spawn(world.client.request(request));
        }
    };
    let answers = soon("all are answered", async {
        tokio::select! {
            answers = answers => answers,
            () = meanwhile => Vec::new(),
        }
    })
    .await;
    assert!(answers.len() == 40 && answers.iter().all(|answer| answer.text().contains("sound")));
    let aside = of_one(&world)[0].aside.clone().unwrap();
    assert_eq!((aside.why, &aside.last), ("silent_while_siblings_answer", &None));
    assert!(aside.failures >= 8 && silent.count() >= 8, "{aside:?}");
    soon("they are let go", gone.notified()).await;
}

/// In seconds and as a date; what cannot be read is as if it were not there.
#[tokio::test]
async fn an_address_that_says_when_to_come_again_is_left_alone_until_then() {
    // the clock of these tests begins at 1,000 s, and each answer takes a moment of it
    let date = "retry-after: Thu, 01 Jan 1970 00:16:52 GMT\r\n";
    let cases = [("retry-after: 12\r\n", 12), (date, 12), ("retry-after: 9000\r\n", 30), ("retry-after: soon\r\n", 1)];
    for (header, pause_s) in cases {
        let scripts = (0..5).map(|_| error(503, header)).chain([ok("well again")]).collect();
        let (sick, sound) = (Upstream::start(scripts).await, Upstream::start(vec![ok("sound")]).await);
        let world = world(&[("", url(&sick)), ("", url(&sound))], |one| one.choice.spread = Spread::Turns).await;
        statuses(&world, 0..10).await;
        let aside = of_one(&world)[0].aside.clone().unwrap();
        let from = if header == date { UnixMs(1_000_000) } else { aside.since };
        assert_eq!(aside.again, Some(from + SpanMs::secs(pause_s)), "{header}");
    }
}
