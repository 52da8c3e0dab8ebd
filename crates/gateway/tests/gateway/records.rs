//! What an answer rests on is written before its bytes leave (ADR 22): a kill then loses nobody who has seen any of it.

use crate::support::*;
use std::sync::Arc;
use tokio::sync::Notify;

const CHAT: &str = "/v1/chat/completions";

/// Records of pins and of conversations that are written.
fn written(world: &World) -> (usize, usize) {
    (world.log.records.lock().unwrap().len(), world.follow.0.lock().unwrap().len())
}

#[tokio::test]
async fn a_request_under_way_has_left_its_pin_and_an_answer_has_written_it() {
    let go = Arc::new(Notify::new());
    let script = [vec![Step::Wait(go.clone())], ok("hello")].concat();
    let world = Arc::new(World::new(vec![script], vec![]).await);
    world.release(0).await;
    let asking = world.clone();
    let asked = tokio::spawn(async move { asking.send(asking.request(CHAT, &[], ASK)).await });
    soon("the request upstream", async {
        while world.stable.count() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(written(&world), (0, 0), "nobody has seen anything yet");
    assert!(world.metric("coalmine_records_waiting 1"));
    go.notify_one();
    let answer = asked.await.unwrap();
    // the head is here, and with it all of a short answer
    assert_eq!(written(&world), (1, 1));
    assert!(world.metric("coalmine_records_waiting 0"));
    assert!(Answer::of(answer).await.text().contains("hello"));
}

#[tokio::test]
async fn a_streams_pin_is_written_before_its_head_and_its_end_before_it_is_over() {
    let go = Arc::new(Notify::new());
    let script = vec![
        write(STREAM_HEAD),
        write(chunk([role(), delta("one")].concat())),
        Step::Wait(go.clone()),
        write(chunk([delta("two"), finish(), done()].concat())),
        write(STREAM_END),
    ];
    let world = World::new(vec![script], vec![]).await;
    world.release(0).await;
    let answer = world.send(world.request(CHAT, &[], ASK_STREAM)).await;
    assert_eq!(written(&world), (1, 0));
    go.notify_one();
    assert!(Answer::of(answer).await.text().ends_with(&done()));
    assert_eq!(written(&world), (1, 1));
}

#[tokio::test]
async fn an_error_of_the_gateway_is_told_after_its_sessions_pin_is_written() {
    let world = World::new(vec![vec![Step::Close]], vec![]).await;
    world.release(0).await;
    let answer = Answer::of(world.send(world.request(CHAT, &[], ASK)).await).await;
    assert!(answer.status >= 500, "{}", answer.status);
    assert_eq!(written(&world), (1, 0));
}
