//! What an answer rests on is written before its bytes leave (ADR 22): a kill then loses nobody who has seen any of it.

use crate::support::*;
use coalmine_core::tally::Ending;
use http_body_util::BodyExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::Notify;

const CHAT: &str = "/v1/chat/completions";

/// Records of pins and of conversations that are written.
fn written(world: &World) -> (usize, usize) {
    (world.log.records.lock().unwrap().len(), world.log.followed.lock().unwrap().len())
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
    assert_eq!(world.log.calls.load(Ordering::SeqCst), 1, "one write for both");
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

/// Whoever has read that it is over may go on from it, whether the provider has closed the stream or not.
#[tokio::test]
async fn a_streams_end_is_written_before_its_client_hears_of_it() {
    let script = vec![
        write(STREAM_HEAD),
        write(chunk([role(), delta("one"), finish(), usage()].concat())),
        write(chunk(done())),
        Step::Wait(Arc::default()),
    ];
    let world = World::new(vec![script], vec![]).await;
    world.release(0).await;
    let mut body = world.send(world.request(CHAT, &[], ASK_STREAM)).await.into_body();
    let mut came = Vec::new();
    while !came.ends_with(done().as_bytes()) {
        let frame = soon("a piece", body.frame()).await.unwrap().unwrap();
        came.extend_from_slice(&frame.into_data().unwrap());
    }
    assert_eq!(written(&world), (1, 1));
    let turn = &world.turns(1).await[0];
    assert_eq!((turn.outcome.ending, turn.outcome.usage.output), (Ending::Complete, Some(5)));
    drop(body);
}

#[tokio::test]
async fn an_error_of_the_gateway_is_told_after_its_sessions_pin_is_written() {
    let world = World::new(vec![vec![Step::Close]], vec![]).await;
    world.release(0).await;
    let answer = Answer::of(world.send(world.request(CHAT, &[], ASK)).await).await;
    assert!(answer.status >= 500, "{}", answer.status);
    assert_eq!(written(&world), (1, 0));
}
