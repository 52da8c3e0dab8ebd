//! Two addresses are asked, and one answers.

use crate::support::*;
use coalmine_core::id::ProviderName;
use coalmine_core::tally::Ending;
use coalmine_core::traffic::weight::WeightBp;
use coalmine_gateway::config::{Config, HedgePolicy, ProviderKind, Spread, Upstream as Address};
use coalmine_wire::prices::{Price, Prices, Rate};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// A provider at two addresses; each request is put to the first first.
async fn world(one: &Upstream, two: &Upstream, share: f64, change: impl FnOnce(&mut Config)) -> World {
    let addresses = [one, two].map(|upstream| Address::at(format!("http://{}/v1", upstream.address)));
    let world = World::with(vec![], vec![], |config| {
        let provider = config.providers.get_mut(&ProviderName::from("one")).unwrap();
        provider.upstreams = addresses.to_vec();
        provider.choice.spread = Spread::Turns;
        provider.hedge = Some(HedgePolicy { after: Duration::from_millis(20), max_share: WeightBp::rounded(share) });
        let rate = Rate { input_usd: 100_000.0, output_usd: 1_000_000.0, ..Rate::default() };
        config.prices = Prices::default().with("model-s", Price { rate, long: None });
        change(config);
    })
    .await;
    world.release(0).await;
    world
}

/// Begins a stream, says nothing of content, and tells when it is sent away.
fn silent(gone: &Arc<Notify>) -> Vec<Step> {
    vec![write(STREAM_HEAD), write(chunk(role())), Step::UntilClosed(gone.clone())]
}

fn counted(world: &World, result: &str, count: u32) -> bool {
    world.metric(&format!(r#"coalmine_hedges_total{{provider="one",result="{result}"}} {count}"#))
}

#[tokio::test]
async fn whoever_has_content_first_answers_and_the_other_is_sent_away() {
    let gone = Arc::new(Notify::new());
    let one = Upstream::start(vec![silent(&gone)]).await;
    let two = Upstream::start(vec![streamed(&["a", "b"])]).await;
    let world = world(&one, &two, 10_000.0, |_| {}).await;
    let answer = world.chat("s", ASK_STREAM).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.text().matches("\"role\"").count(), 1, "of the one that answers alone: {}", answer.text());
    assert!(answer.text().contains(r#""content":"b""#) && answer.text().contains("[DONE]"));
    soon("the loser feels it", gone.notified()).await;
    assert_eq!((one.count(), two.count()), (1, 1));
    let turns = world.turns(1).await;
    assert_eq!((turns.len(), turns[0].outcome.ending, turns[0].outcome.retries), (1, Ending::Complete, 0));
    assert_eq!(turns[0].outcome.usage.input, Some(10), "the answer's own");
    let cost = turns[0].outcome.cost_usd.unwrap();
    assert!((cost - 7.0).abs() < 1e-9, "10 tokens read twice at $0.1, 5 written once at $1: {cost}");
    assert!(counted(&world, "sent", 1) && counted(&world, "won", 1));
}

/// Both read it, and both are paid.
#[tokio::test]
async fn t22_who_leaves_while_two_are_asked_pays_for_both() {
    let gone = Arc::new(Notify::new());
    let [one, two] = [Upstream::start(vec![silent(&gone)]).await, Upstream::start(vec![silent(&gone)]).await];
    let world = world(&one, &two, 10_000.0, |_| {}).await;
    let going = tokio::spawn(world.client.request(world.request("/v1/chat/completions", &[], ASK_STREAM)));
    soon("the second", two.arrived.notified()).await;
    going.abort();
    let turn = world.turns(1).await.remove(0);
    assert_eq!(turn.outcome.ending, Ending::Cancelled(coalmine_core::tally::CancelPoint::BeforeFirstByte));
    let read = 2 * (ASK_STREAM.len() / 4);
    let page = world.gateway.render_metrics(coalmine_gateway::Exposition::Text);
    let told = |line: &str| line.starts_with("coalmine_tokens_total{") && line.contains("\"input\"");
    let told: usize =
        page.lines().filter(|line| told(line)).filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).sum();
    assert_eq!(told, read);
}

#[tokio::test]
async fn the_first_may_still_win_and_a_failed_second_answers_nobody() {
    let go = Arc::new(Notify::new());
    let late = [vec![Step::Wait(go.clone())], ok("late")].concat();
    let one = Upstream::start(vec![late]).await;
    let two = Upstream::start(vec![error(500, "")]).await;
    let world = world(&one, &two, 10_000.0, |_| {}).await;
    let asked = world.chat("s", ASK);
    let second = async {
        let label = two.address.to_string();
        let failed = || world.gateway.upstreams().iter().any(|up| up.upstream.contains(&label) && up.failures == 1);
        while !failed() {
            tokio::task::yield_now().await;
        }
        go.notify_one();
    };
    let (answer, ()) = soon("both", async { tokio::join!(asked, second) }).await;
    assert!(answer.status == 200 && answer.text().contains("late"));
    let turns = world.turns(1).await;
    assert_eq!((turns[0].outcome.ending, turns[0].outcome.cost_usd), (Ending::Complete, Some(6.0)), "nothing in vain");
    assert!(counted(&world, "sent", 1) && counted(&world, "won", 0));
}

#[tokio::test]
async fn a_quick_answer_is_not_hedged_and_neither_is_one_beyond_the_share() {
    let go = Arc::new(Notify::new());
    let slow = || [vec![Step::Wait(go.clone())], ok("slow")].concat();
    let one = Upstream::start(vec![ok("quick"), slow(), slow()]).await;
    let two = Upstream::start(vec![ok("second")]).await;
    let world = world(&one, &two, 1.0, |config| {
        let provider = config.providers.get_mut(&ProviderName::from("one")).unwrap();
        provider.choice.spread = Spread::Sessions;
        // what is quick is so on a busy machine too
        provider.hedge.as_mut().unwrap().after = Duration::from_millis(500);
    })
    .await;
    // a session that the first address knows
    let mut session = String::new();
    for n in 0..64 {
        session = format!("s-{n}");
        assert_eq!(world.chat(&session, ASK).await.status, 200);
        if one.count() == 1 {
            break;
        }
    }
    let before = two.count();
    assert!(counted(&world, "sent", 0));
    let hedged = world.chat(&session, ASK).await;
    assert!(hedged.text().contains("second"), "the first one is free");
    let third = world.chat(&session, ASK);
    let over = async {
        soon("the share is over", async {
            while !counted(&world, "over_share", 1) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        go.notify_waiters();
        go.notify_one();
    };
    let (third, ()) = soon("both", async { tokio::join!(third, over) }).await;
    assert!(third.text().contains("slow"), "{}", third.text());
    assert_eq!(two.count(), before + 1);
}

#[tokio::test]
async fn what_is_kept_with_a_provider_is_put_to_it_once() {
    let go = Arc::new(Notify::new());
    let slow = [vec![Step::Wait(go.clone())], ok("slow")].concat();
    let one = Upstream::start(vec![slow]).await;
    let two = Upstream::start(vec![ok("second")]).await;
    let change = |config: &mut Config| {
        let provider = config.providers.get_mut(&ProviderName::from("one")).unwrap();
        provider.hedge.as_mut().unwrap().after = Duration::ZERO;
        assert_eq!(provider.kind, ProviderKind::OpenAi);
    };
    let world = world(&one, &two, 10_000.0, change).await;
    let body = ASK.replace("{\"model\"", "{\"store\":true,\"model\"");
    let asked = world.chat("s", &body);
    let answered = async {
        one.arrived.notified().await;
        go.notify_one();
    };
    let (answer, ()) = soon("both", async { tokio::join!(asked, answered) }).await;
    assert_eq!((answer.status, one.count(), two.count()), (200, 1, 0));
    assert!(counted(&world, "sent", 0));
}

/// It has connections and gives no answer, and no request waits for long enough to see that.
#[tokio::test]
async fn an_address_that_hangs_is_put_aside_for_being_outrun() {
    let gone = Arc::new(Notify::new());
    let one = Upstream::start(vec![vec![Step::UntilClosed(gone.clone())]]).await;
    let two = Upstream::start(vec![ok("two")]).await;
    let world = world(&one, &two, 10_000.0, |config| {
        config.providers.get_mut(&ProviderName::from("one")).unwrap().choice.spread = Spread::Sessions;
    })
    .await;
    for n in 0..40 {
        assert_eq!(world.chat(&format!("s-{n}"), ASK).await.status, 200);
    }
    assert_eq!(one.count(), 5, "and then it is left alone");
    assert!(counted(&world, "sent", 5) && counted(&world, "won", 5));
    let upstream = format!("{}/v1", one.address);
    let labels = format!(r#"provider="one",upstream="{upstream}",region="",reason="outrun_by_siblings""#);
    assert!(world.metric(&format!("coalmine_upstream_ejections_total{{{labels}}} 1")));
}
