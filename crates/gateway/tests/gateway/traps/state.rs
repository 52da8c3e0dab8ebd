//! State and identity: T35 to T38, T40.

use crate::support::*;
use coalmine_core::time::UnixMs;
use coalmine_core::traffic::table::{Reach, Revoked};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A provider's cache is warm for one version's key: a session does not change it while it may stay, and
/// where a rollback moves it, its dearer turns count for nobody.
#[tokio::test]
async fn t38_a_session_keeps_the_cache_that_it_warmed() {
    let cached = completion("c")
        .replace(r#""total_tokens":15"#, r#""total_tokens":15,"prompt_tokens_details":{"cached_tokens":8}"#);
    let world = World::new(vec![ok("s")], vec![json_answer(200, "", &cached)]).await;
    world.release(10_000).await;
    world.chat("live", ASK).await;
    world.gateway.install(&tables(route(2, Some(0)))).await.unwrap();
    assert_eq!(world.chat("live", ASK).await.header("x-coalmine-arm"), "canary", "no weight moves it");
    let mut back = route(3, None);
    back.revoked = vec![Revoked {
        release: Arc::new("support-1".into()),
        version: version("two", "model-c").id(),
        reach: Reach::CanaryArm,
        moves_at: UnixMs(0),
    }];
    world.gateway.install(&tables(back)).await.unwrap();
    assert_eq!(world.chat("live", ASK).await.header("x-coalmine-arm"), "stable");
    let turns = world.turns(3).await;
    let seen: Vec<_> = turns.iter().map(|turn| (turn.outcome.usage.cached, turn.member.is_some())).collect();
    assert_eq!(seen, [(Some(8), true), (Some(8), true), (None, false)]);
}

/// What cannot be carried is refused at once: it neither hangs nor counts as an answer.
#[tokio::test]
async fn t40_a_websocket_is_refused_at_once() {
    let world = World::new(vec![ok("s")], vec![]).await;
    world.release(0).await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let request = "GET /v1/realtime?model=support HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-protocol: realtime\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = [0; 12];
    soon("an answer", stream.read_exact(&mut head)).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 400");
    assert_eq!(world.stable.count(), 0);
}
