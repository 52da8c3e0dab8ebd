//! A release under way is priced as it was when it was created; payers pay what holds now.

use crate::support::*;
use coalmine_core::id::Generation;
use coalmine_core::key::{FreshSecret, Key, KeyTable, Payer, Usd};
use coalmine_core::price::PriceSnapshot;
use coalmine_core::time::UnixMs;
use coalmine_core::version::JsonText;
use coalmine_wire::prices::{Price, Quote, Rate};
use std::sync::Arc;

/// So much for each of the five tokens that an answer has.
fn each(usd: f64) -> Price {
    Price { rate: Rate { output_usd: usd * 1_000_000.0, ..Rate::default() }, long: None }
}

fn kept(models: &[(&str, Option<f64>)]) -> Arc<PriceSnapshot> {
    let text = |usd: f64| JsonText(Quote::from(each(usd)).written());
    let models = models.iter().map(|(model, usd)| ((*model).to_owned(), usd.map(text)));
    Arc::new(PriceSnapshot { taken_at: UnixMs(1), models: models.collect() })
}

#[tokio::test]
async fn a_release_keeps_its_prices_in_both_arms_and_the_list_holds_again_after_it() {
    let world = World::with(vec![ok("from stable")], vec![ok("from canary")], |config| {
        config.prices = config.prices.clone().with("model-s", each(7.0)).with("model-c", each(8.0));
    })
    .await;
    let mut table = route(1, Some(5_000));
    table.prices = Some(kept(&[("model-s", Some(1.0)), ("model-c", Some(2.0))]));
    world.gateway.install(&tables(table)).await.unwrap();
    for session in 0..20 {
        world.chat(&format!("s-{session}"), ASK).await;
    }
    let turns = world.turns(20).await;
    let costs = |model: &str| {
        let of = turns
            .iter()
            .filter(|turn| turn.version == version(if model == "model-s" { "one" } else { "two" }, model).id());
        of.map(|turn| turn.outcome.cost_usd).collect::<Vec<_>>()
    };
    let (stable, canary) = (costs("model-s"), costs("model-c"));
    assert!(!stable.is_empty() && stable.iter().all(|cost| *cost == Some(5.0)), "{stable:?}");
    assert!(!canary.is_empty() && canary.iter().all(|cost| *cost == Some(10.0)), "{canary:?}");

    world.gateway.install(&tables(route(2, None))).await.unwrap();
    world.chat("s-new", ASK).await;
    assert_eq!(world.turns(21).await[20].outcome.cost_usd, Some(35.0), "without a release the list holds");
}

#[tokio::test]
async fn what_had_no_price_stays_unknown_and_what_is_no_part_of_the_release_goes_by_the_list() {
    let world = World::with(vec![ok("from stable")], vec![], |config| {
        config.prices = config.prices.clone().with("model-s", each(7.0));
    })
    .await;
    for (generation, models, cost) in
        [(1, vec![("model-s", None)], None), (2, vec![("model-c", Some(2.0))], Some(35.0))]
    {
        let mut table = route(generation, Some(0));
        table.prices = Some(kept(&models));
        world.gateway.install(&tables(table)).await.unwrap();
        world.chat(&format!("s-{generation}"), ASK).await;
        let turns = world.turns(usize::try_from(generation).unwrap()).await;
        assert_eq!(turns.last().unwrap().outcome.cost_usd, cost, "{models:?}");
    }
}

#[tokio::test]
async fn a_payer_pays_what_holds_now() {
    let world = World::with(vec![ok("hi")], vec![], |config| {
        config.prices = config.prices.clone().with("model-s", each(7.0));
    })
    .await;
    let mut table = route(1, Some(0));
    table.prices = Some(kept(&[("model-s", Some(1.0))]));
    world.gateway.install(&tables(table)).await.unwrap();
    let secret = FreshSecret::of([1; 32]);
    let keys = Arc::new(vec![Key::new("a".into(), &secret, "ana".into(), UnixMs(0))]);
    world.gateway.install_keys(&Arc::new(KeyTable { generation: Generation(1), keys, spent: Arc::default() }));
    let shown = [("x-api-key", secret.expose()), ("x-session-id", "s")];
    let request = world.request("/v1/chat/completions", &shown, ASK.to_owned());
    assert_eq!(Answer::of(world.send(request).await).await.status, 200);
    assert_eq!(world.turns(1).await[0].outcome.cost_usd, Some(5.0));
    let deltas = world.sink.deltas.lock().unwrap().clone();
    let spent = deltas.iter().flat_map(|delta| &delta.spending).find(|told| told.payer == Payer::Key("a".into()));
    assert_eq!(spent.unwrap().used.cost, Usd(35_000_000_000));
}
