//! A canary is not given more than its addresses say they bear.

use crate::support::*;
use coalmine_core::id::{ProviderName, ReleaseId};
use coalmine_core::origin::Region;
use coalmine_gateway::config::{CapacityCheck, Upstream as Address};
use coalmine_gateway::{Raised, To};

pub(crate) fn page(running: f64, waiting: f64, cache: f64) -> Vec<Step> {
    let page = format!(
        "# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{{model_name=\"m\"}} {running}\n\
         vllm:num_requests_waiting{{model_name=\"m\"}} {waiting}\nvllm:kv_cache_usage_perc{{model_name=\"m\"}} {cache}\n"
    );
    json_answer(200, "", &page)
}

async fn world(canary: Vec<Step>) -> World {
    let world = World::with(vec![], vec![canary], |config| {
        let two = config.providers.get_mut(&ProviderName::from("two")).unwrap();
        two.capacity = Some(CapacityCheck { path: "/metrics".to_owned(), slots: Some(64), ..CapacityCheck::default() });
    })
    .await;
    world.release(0).await;
    world
}

/// What holds a raise, once the first page was read.
async fn holds(world: &World, growth: Option<f64>) -> Vec<String> {
    let (release, canary) = (ReleaseId::from("support-1"), version("two", "m"));
    assert!(world.gateway.prepares(&canary));
    soon("the load is read", async {
        loop {
            let raised = Raised { release: &release, version: &canary, to: To::Stage(1), growth };
            let readiness = world.gateway.readiness(&raised);
            if !readiness.holds.iter().any(|why| why.contains("nothing was heard yet")) {
                assert!(readiness.notes.is_empty());
                return readiness.holds;
            }
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    })
    .await
}

#[tokio::test]
async fn a_weight_is_raised_as_far_as_there_is_room() {
    let world = world(page(10.0, 0.0, 0.3)).await;
    assert_eq!(holds(&world, None).await, [""; 0]);
    assert_eq!(holds(&world, Some(2.0)).await, [""; 0]);
    let cache = holds(&world, Some(5.0)).await;
    assert_eq!(cache, ["two has no room: 30 % of its cache is used, and 5.0 times as much is asked (150 % of 85 %)"]);
    let state = world.gateway.upstreams().into_iter().find(|state| state.provider == "two").unwrap();
    let load = state.load.unwrap();
    assert_eq!((load.running, load.waiting, load.trouble), (Some(10.0), Some(0.0), None));
    assert_eq!((state.standing, state.answers), ("in_service", 0), "a look is no answer");
    assert!(world.canary.received()[0].head.starts_with("GET /metrics HTTP/1.1"));
    let shown = world.gateway.render_metrics(coalmine_gateway::Exposition::Text);
    assert!(shown.contains("coalmine_upstream_running_requests{") && shown.contains("} 10.000"));
}

#[tokio::test]
async fn a_queue_or_silence_holds_whatever_is_asked() {
    let full = holds(&world(page(64.0, 7.0, 0.2)).await, Some(1.0)).await;
    assert_eq!(full, ["two is full: 7.0 requests wait at 1 address"]);
    for (answer, why) in [
        (error(404, ""), "its answer is an error"),
        (json_answer(200, "", "up 1"), "its page says nothing of load"),
        (vec![Step::Close], "no answer"),
    ] {
        let silent = holds(&world(answer).await, None).await;
        assert!(silent[0].starts_with("two says nothing of its load at `/metrics`"), "{silent:?}");
        assert!(silent[0].ends_with(&format!(": {why})")), "{silent:?}");
    }
}

/// Sessions are not spread over regions: one that is further away bears nothing while the nearer one is well.
#[tokio::test]
async fn a_region_further_away_gives_the_nearer_one_no_room() {
    let far = Upstream::start(vec![page(0.0, 0.0, 0.0)]).await;
    let address = Address { region: Some(Region("far".into())), ..Address::at(format!("http://{}/v1", far.address)) };
    let world = World::with(vec![], vec![page(30.0, 0.0, 0.1)], |config| {
        let two = config.providers.get_mut(&ProviderName::from("two")).unwrap();
        two.capacity = Some(CapacityCheck { path: "/metrics".to_owned(), slots: Some(64), ..CapacityCheck::default() });
        two.upstreams.push(address);
    })
    .await;
    world.release(0).await;
    assert_eq!(holds(&world, Some(1.5)).await, [""; 0]);
    let full = holds(&world, Some(2.0)).await;
    assert_eq!(
        full,
        ["two has no room: 30.0 requests at 1 address, and 2.0 times as much is asked (60.0 of 85 % of 64 slots)"]
    );
}
