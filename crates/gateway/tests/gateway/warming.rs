//! Before a stage the canary's addresses are warmed: by prompts of its own, which are nobody's turns.

use crate::support::*;
use coalmine_core::analysis::Readiness;
use coalmine_core::id::{ProviderName, ReleaseId};
use coalmine_core::version::{Prompt, PromptMode, Version};
use coalmine_gateway::config::{CapacityCheck, Unwarmed, Upstream as Address, Warm, WarmUp};
use coalmine_gateway::{Raised, To};
use std::time::Duration;

fn policy(tries: u32, then: Unwarmed) -> WarmUp {
    WarmUp { prompt: "Answer: ready.".to_owned(), tries, within: PATIENCE, then }
}

async fn world(canary: Vec<Vec<Step>>, policy: WarmUp) -> World {
    let world = World::with(vec![], canary, |config| {
        config.providers.get_mut(&ProviderName::from("two")).unwrap().warm_up = Some(policy);
    })
    .await;
    world.release(0).await;
    world
}

fn readiness(world: &World, version: &Version, stage: usize) -> Readiness {
    raised(world, version, To::Stage(stage), None)
}

fn raised(world: &World, version: &Version, to: To, growth: Option<f64>) -> Readiness {
    let release = ReleaseId::from("support-1");
    world.gateway.readiness(&Raised { release: &release, version, to, growth })
}

/// What is said once the warm-up is over.
async fn over(world: &World, version: &Version, stage: usize) -> Readiness {
    settled(world, version, To::Stage(stage), None).await
}

async fn settled(world: &World, version: &Version, to: To, growth: Option<f64>) -> Readiness {
    soon("the warm-up is over", async {
        loop {
            let readiness = raised(world, version, to, growth);
            if !readiness.holds.iter().any(|why| why.contains("is being warmed up")) {
                return readiness;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
}

#[tokio::test]
async fn a_stage_waits_until_prompts_of_the_versions_own_are_answered_alike() {
    let world = world(vec![streamed(&["ready"])], policy(10_000, Unwarmed::Hold)).await;
    let mut canary = version("two", "model-of-canary");
    canary.prompt = Some(Prompt::new(PromptMode::Replace, "Be brief."));
    assert!(world.gateway.prepares(&canary) && !world.gateway.prepares(&version("one", "m")));
    let first = readiness(&world, &canary, 0);
    assert!(first.holds[0].starts_with("two is being warmed up, 0 of 1 addresses are warm"), "{first:?}");
    assert_eq!(over(&world, &canary, 0).await, Readiness::default());
    let asked = world.canary.received();
    assert!(asked.len() >= 3, "{}", asked.len());
    let prompt = asked[0].json();
    assert_eq!((&prompt["model"], &prompt["stream"]), (&"model-of-canary".into(), &true.into()));
    assert_eq!(prompt["messages"][0]["content"], "Be brief.");
    assert_eq!(prompt["messages"][1]["content"], "Answer: ready.");
    assert_eq!(readiness(&world, &canary, 0), Readiness::default(), "what is warm stays so for a while");
    assert_eq!(world.canary.count(), asked.len());
    assert_eq!(world.pins.len(), 0, "no session");
    let page = world.gateway.render_metrics(coalmine_gateway::Exposition::Text);
    assert!(!page.contains("coalmine_requests_total{"), "no request of a user");
    assert!(page.contains("coalmine_warm_up_prompts_total{"), "counted by itself");
    assert!(!over(&world, &canary, 1).await.holds.iter().any(|why| why.contains("did not")), "each stage anew");
    assert!(world.canary.count() >= asked.len() + 3);
}

#[tokio::test]
async fn where_the_bound_is_reached_the_policy_says_what_becomes_of_the_stage() {
    for (then, holds) in [(Unwarmed::Go, false), (Unwarmed::Hold, true)] {
        // two times never agree
        let world = world(vec![streamed(&["a"]), streamed(&["b"])], policy(2, then)).await;
        let canary = version("two", "m");
        let said = over(&world, &canary, 0).await;
        let (told, empty) = if holds { (&said.holds, &said.notes) } else { (&said.notes, &said.holds) };
        assert!(empty.is_empty() && told.len() == 1, "{said:?}");
        assert!(
            told[0].starts_with("two did not get warm") && told[0].contains("2 prompts answered, TTFT"),
            "{told:?}"
        );
        assert_eq!(world.canary.count(), 2);
    }
}

#[tokio::test]
async fn a_server_that_loads_is_asked_again_and_a_refusal_is_not() {
    let mut scripts = vec![error(503, "")];
    scripts.extend([streamed(&["a"]), streamed(&["b"])]);
    let loading = world(scripts, policy(2, Unwarmed::Go)).await;
    let canary = version("two", "m");
    assert!(over(&loading, &canary, 0).await.notes[0].contains("2 prompts answered"));
    assert_eq!(loading.canary.count(), 3);

    let refusing = world(vec![error(401, "")], policy(20, Unwarmed::Go)).await;
    let said = over(&refusing, &canary, 0).await;
    assert!(said.notes[0].contains("0 prompts answered, refused with status 401"), "{said:?}");
    assert_eq!(refusing.canary.count(), 1);
}

#[tokio::test]
async fn connections_are_waited_for_where_no_prompt_is_configured() {
    let upstream = Upstream::start(vec![json_answer(200, "", "")]).await;
    let url = format!("http://{}/v1", upstream.address);
    let world = World::with(vec![], vec![], |config| {
        let two = config.providers.get_mut(&ProviderName::from("two")).unwrap();
        let warm = Some(Warm { connections: 2, every: Duration::from_secs(60) });
        two.upstreams = vec![Address { warm, ..Address::at(url) }];
    })
    .await;
    world.release(0).await;
    let canary = version("two", "m");
    assert_eq!(over(&world, &canary, 0).await, Readiness::default());
    assert!(!world.gateway.prepares(&canary), "they are open");
    assert!(
        world
            .gateway
            .render_metrics(coalmine_gateway::Exposition::Text)
            .contains("coalmine_upstream_warm_connections{")
    );
}

#[tokio::test]
async fn more_of_what_is_served_waits_for_connections_alone_and_only_for_those_it_lacks() {
    let upstream = Upstream::start(vec![json_answer(200, "", "")]).await;
    // it says that it works on ten requests
    *upstream.page.lock().unwrap() = Some(crate::capacity::page(10.0, 0.0, 0.1));
    let url = format!("http://{}/v1", upstream.address);
    let world = World::with(vec![], vec![], |config| {
        let two = config.providers.get_mut(&ProviderName::from("two")).unwrap();
        let warm = Some(Warm { connections: 2, every: Duration::from_mins(1) });
        two.upstreams = vec![Address { warm, ..Address::at(url) }];
        two.warm_up = Some(policy(10, Unwarmed::Hold));
        two.capacity = Some(CapacityCheck { path: "/metrics".to_owned(), ..CapacityCheck::default() });
    })
    .await;
    world.release(0).await;
    let canary = version("two", "m");
    let heads = || upstream.received().iter().filter(|asked| asked.head.starts_with("HEAD ")).count();
    soon("the two that are always kept, and the load", async {
        while world.gateway.upstreams().iter().any(|at| {
            at.provider == "two"
                && (at.warm.is_none_or(|warm| warm.open < warm.wanted)
                    || at.load.as_ref().is_none_or(|load| load.running.is_none()))
        }) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    let kept = heads();
    // a tenth more asks for one connection: there are two
    assert_eq!(raised(&world, &canary, To::More(1), Some(1.1)), Readiness::default());
    // half as much again asks for five
    let first = raised(&world, &canary, To::More(2), Some(1.5));
    assert!(first.holds[0].starts_with("two is being warmed up"), "{first:?}");
    assert_eq!(settled(&world, &canary, To::More(2), Some(1.5)).await, Readiness::default());
    assert_eq!(heads(), kept + 5);
    assert!(upstream.connections.load(std::sync::atomic::Ordering::SeqCst) >= 5);
    assert!(upstream.received().iter().all(|asked| !asked.head.starts_with("POST ")), "no prompt: the model serves");
    assert_eq!(
        raised(&world, &canary, To::More(2), Some(1.5)),
        Readiness::default(),
        "what is open stays so for a while"
    );
    assert_eq!(heads(), kept + 5);
}
