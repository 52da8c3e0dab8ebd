//! The client leaves: the upstream is told in all windows, and nobody is blamed (T22, T23).

use crate::support::*;
use coalmine_core::tally::{CancelPoint, Ending};
use http_body_util::BodyExt;
use std::sync::Arc;
use tokio::sync::Notify;

async fn ending(world: &World) -> Ending {
    world.turns(1).await[0].outcome.ending
}

#[tokio::test]
async fn t22_the_cancel_is_felt_before_the_first_byte() {
    let closed = Arc::new(Notify::new());
    let world = World::new(vec![], vec![vec![Step::UntilClosed(closed.clone())]]).await;
    world.release(10_000).await;
    for body in [ASK, ASK_STREAM] {
        let request = world.request("/v1/chat/completions", &[("x-session-id", "s-1")], body);
        let going = tokio::spawn(world.client.request(request));
        soon("the request upstream", world.canary.arrived.notified()).await;
        world.clock.advance(700);
        going.abort();
        soon("the upstream's cancel", closed.notified()).await;
    }
    let turns = world.turns(2).await;
    for turn in turns {
        assert_eq!(turn.outcome.ending, Ending::Cancelled(CancelPoint::BeforeFirstByte));
        assert_eq!((turn.outcome.latency_ms, turn.outcome.ttft_ms), (700.0, None), "its elapsed time counts");
    }
    assert_eq!(world.pins.len(), 1, "the pin stays");
    assert_eq!(world.stable.count(), 0, "a cancel is nothing to rescue");
}

#[tokio::test]
async fn t22_the_cancel_is_felt_while_lifecycle_frames_are_held_back() {
    let closed = Arc::new(Notify::new());
    let script = vec![write(STREAM_HEAD), write(chunk(role())), Step::UntilClosed(closed.clone())];
    let world = World::new(vec![], vec![script]).await;
    world.release(10_000).await;
    let request = world.request("/v1/chat/completions", &[("x-session-id", "s-1")], ASK_STREAM);
    let going = tokio::spawn(world.client.request(request));
    soon("the request upstream", world.canary.arrived.notified()).await;
    going.abort();
    soon("the upstream's cancel", closed.notified()).await;
    assert_eq!(ending(&world).await, Ending::Cancelled(CancelPoint::BeforeFirstByte));
}

#[tokio::test]
async fn t22_the_cancel_is_felt_in_the_middle_of_a_stream() {
    let closed = Arc::new(Notify::new());
    let script = vec![write(STREAM_HEAD), write(chunk(delta("a"))), Step::UntilClosed(closed.clone())];
    let world = World::new(vec![], vec![script]).await;
    world.release(10_000).await;
    let mut answer = world.send(world.request("/v1/chat/completions", &[("x-session-id", "s-1")], ASK_STREAM)).await;
    let first = soon("the first frame", answer.body_mut().frame()).await.unwrap().unwrap();
    assert_eq!(first.into_data().unwrap(), delta("a"));
    drop(answer);
    soon("the upstream's cancel", closed.notified()).await;
    assert_eq!(ending(&world).await, Ending::Cancelled(CancelPoint::MidAnswer));
    assert!(world.metric("coalmine_active_requests 0"));
}

#[tokio::test]
async fn t22_the_cancel_is_felt_in_the_middle_of_a_body() {
    let closed = Arc::new(Notify::new());
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{";
    let world = World::new(vec![vec![write(head), Step::UntilClosed(closed.clone())]], vec![]).await;
    world.release(0).await;
    let mut answer = world.send(world.request("/v1/chat/completions", &[("x-session-id", "s-1")], ASK)).await;
    assert!(soon("the first frame", answer.body_mut().frame()).await.is_some());
    drop(answer);
    soon("the upstream's cancel", closed.notified()).await;
    assert_eq!(ending(&world).await, Ending::Cancelled(CancelPoint::MidAnswer));
}

#[tokio::test]
async fn t22_the_cancel_is_felt_while_stable_stands_in() {
    let closed = Arc::new(Notify::new());
    let world = World::new(vec![vec![Step::UntilClosed(closed.clone())]], vec![error(500, "")]).await;
    world.release(10_000).await;
    let request = world.request("/v1/chat/completions", &[("x-session-id", "s-1")], ASK);
    let going = tokio::spawn(world.client.request(request));
    soon("the request at stable", world.stable.arrived.notified()).await;
    going.abort();
    soon("stable's cancel", closed.notified()).await;
    let failed = Ending::Failed(coalmine_core::tally::Cause::Server);
    assert_eq!(ending(&world).await, failed, "the canary had failed before");
}

#[tokio::test]
async fn t23_a_cancel_is_no_failure_and_leaves_the_pin() {
    let closed = Arc::new(Notify::new());
    let script = vec![write(STREAM_HEAD), write(chunk(delta("a"))), Step::UntilClosed(closed.clone())];
    let world = World::new(vec![], vec![script, ok("again")]).await;
    world.release(10_000).await;
    let mut answer = world.send(world.request("/v1/chat/completions", &[("x-session-id", "s-1")], ASK_STREAM)).await;
    soon("the first frame", answer.body_mut().frame()).await.unwrap().unwrap();
    drop(answer);
    soon("the upstream's cancel", closed.notified()).await;
    let Ending::Cancelled(_) = ending(&world).await else { panic!("not a cancel") };
    assert_eq!(world.pins.len(), 1);
    world.gateway.install(&tables(route(2, Some(0)))).await.unwrap();
    assert_eq!(world.chat("s-1", ASK).await.header("x-coalmine-arm"), "canary", "the session goes on where it was");
}
