//! State and identity: T35 to T38.

use crate::support::*;
use coalmine_core::time::UnixMs;
use coalmine_core::traffic::table::{Reach, Revoked};
use std::sync::Arc;

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
