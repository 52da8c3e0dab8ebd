//! Webhooks through the outbox.

use crate::fixture::{Fixture, alice, rollback};
use coalmine_control::notify::sign::signature;
use coalmine_control::settings::Secret;
use coalmine_core::time::SpanMs;

#[tokio::test]
async fn a_rollback_is_told_signed_and_with_a_link() {
    let fixture = Fixture::new().await;
    let id = fixture.started().await;
    fixture.control.command(&id, rollback("refunds are wrong"), alice(), None).await.unwrap();
    fixture.control.deliver_notices().await;
    let letters = fixture.post.letters.lock().unwrap().clone();
    assert_eq!(letters.len(), 1, "the start is told by the log only");
    let letter = &letters[0];
    let header = |name: &str| letter.headers.iter().find(|(n, _)| *n == name).unwrap().1.clone();
    let at: u64 = header("x-coalmine-timestamp").parse().unwrap();
    assert_eq!(header("x-coalmine-signature"), signature(&Secret::new("whsec"), at, &letter.body));
    insta::assert_snapshot!(letter.body);
    assert!(!format!("{letter:?}").contains("secret"), "{letter:?}");
}

#[tokio::test]
async fn a_notice_is_tried_again_until_it_arrives_and_then_never() {
    let fixture = Fixture::new().await;
    let id = fixture.started().await;
    fixture.control.command(&id, rollback("bad"), alice(), None).await.unwrap();
    *fixture.post.refuse.lock().unwrap() = 2;
    let arrived = || fixture.post.letters.lock().unwrap().len();
    fixture.control.deliver_notices().await;
    fixture.control.deliver_notices().await;
    assert_eq!(*fixture.post.refuse.lock().unwrap(), 1, "the second try waits for its time");
    fixture.clock.pass(SpanMs::secs(1));
    fixture.control.deliver_notices().await;
    assert_eq!((arrived(), *fixture.post.refuse.lock().unwrap()), (0, 0));
    fixture.clock.pass(SpanMs::secs(2));
    fixture.control.deliver_notices().await;
    assert_eq!(arrived(), 1);
    fixture.clock.pass(SpanMs::hours(1));
    fixture.control.deliver_notices().await;
    assert_eq!(arrived(), 1);
}

#[tokio::test]
async fn a_notice_survives_a_kill() {
    let fixture = Fixture::new().await;
    let id = fixture.started().await;
    fixture.control.command(&id, rollback("bad"), alice(), None).await.unwrap();
    let fixture = fixture.restart().await;
    fixture.control.deliver_notices().await;
    assert_eq!(fixture.post.letters.lock().unwrap().len(), 1);
}
