//! T31 over HTTP/2, and how its connections are shared.

use super::super::IDLE_TIME;
use super::scripted::{CANCEL, INTERNAL_ERROR, NO_ERROR, Peer, REFUSED_STREAM, Server, round_trip, secure};
use super::{answered, ask, connections, missed, soon, whole};
use crate::upstream::pool::Trouble;
use http_body_util::BodyExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;

async fn server() -> Server<TlsStream<TcpStream>> {
    secure(b"h2").await
}

#[tokio::test]
async fn many_requests_at_once_for_a_cold_server_share_one_connection() {
    let mut server = server().await;
    let connections = connections(&[server.url.clone()]);
    let asking: Vec<_> = (0..20).map(|_| ask(&connections, &server.url, "q")).collect();
    let mut peer = Peer::greet(server.next().await, None).await;
    for _ in 0..20 {
        let (stream, _) = peer.request().await;
        peer.answer(stream, "a").await;
    }
    for asking in asking {
        assert_eq!(whole(answered(asking).await).await.unwrap(), "a");
    }
    assert!(server.is_left_alone());
}

/// The one that made the connection goes ahead; others wait until it is known whether they may.
#[tokio::test]
async fn nobody_shares_a_connection_before_its_server_has_said_how_many_may() {
    let mut server = server().await;
    let connections = connections(&[server.url.clone()]);
    let asking: Vec<_> = (0..3).map(|_| ask(&connections, &server.url, "q")).collect();
    let mut peer = Peer::taken(server.next().await).await;
    assert_eq!(peer.request().await.0, 1, "before any word of the server");
    peer.allow(Some(2)).await;
    let mut second = Peer::greet(server.next().await, Some(2)).await;
    for stream in [1, peer.request().await.0] {
        peer.answer(stream, "a").await;
    }
    let (stream, _) = second.request().await;
    second.answer(stream, "a").await;
    for asking in asking {
        assert_eq!(whole(answered(asking).await).await.unwrap(), "a");
    }
    assert!(server.is_left_alone());
}

#[tokio::test]
async fn room_on_a_connection_is_free_again_when_an_answer_ends() {
    let mut server = server().await;
    let connections = connections(&[server.url.clone()]);
    let first = ask(&connections, &server.url, "q");
    let mut peer = Peer::greet(server.next().await, Some(1)).await;
    let (stream, _) = peer.request().await;
    peer.answer(stream, "a").await;
    whole(answered(first).await).await.unwrap();
    let second = ask(&connections, &server.url, "q");
    let (stream, _) = peer.request().await;
    peer.head(stream).await;
    let open = answered(second).await;
    let third = ask(&connections, &server.url, "q");
    let mut other = Peer::greet(server.next().await, Some(1)).await;
    let (stream, _) = other.request().await;
    other.answer(stream, "b").await;
    assert_eq!(whole(answered(third).await).await.unwrap(), "b", "beyond the bound on another");
    drop(open);
    assert_eq!(peer.reset().await.1, CANCEL);
    let fourth = ask(&connections, &server.url, "q");
    let (stream, _) = peer.request().await;
    peer.answer(stream, "a").await;
    assert_eq!(whole(answered(fourth).await).await.unwrap(), "a");
}

#[tokio::test]
async fn t31_a_server_that_leaves_finishes_what_it_has_and_gets_nothing_new() {
    let mut server = server().await;
    let connections = connections(&[server.url.clone()]);
    let first = ask(&connections, &server.url, "first");
    let mut peer = Peer::greet(server.next().await, None).await;
    assert_eq!(peer.request().await, (1, "first".to_owned()));
    peer.head(1).await;
    peer.data(1, "one ").await;
    let first = answered(first).await;
    peer.go_away(1, NO_ERROR).await;
    round_trip().await;
    let second = ask(&connections, &server.url, "second");
    let mut next = Peer::greet(server.next().await, None).await;
    assert_eq!(next.request().await, (1, "second".to_owned()));
    next.answer(1, "two").await;
    assert_eq!(whole(answered(second).await).await.unwrap(), "two");
    peer.end(1, "whole").await;
    assert_eq!(whole(first).await.unwrap(), "one whole");
    assert!(peer.closed().await, "and nothing else was asked on it");
}

#[tokio::test]
async fn t31_what_a_leaving_server_did_not_begin_is_sent_again_and_once() {
    let mut server = server().await;
    let connections = connections(&[server.url.clone()]);
    let first = ask(&connections, &server.url, "first");
    let mut peer = Peer::greet(server.next().await, None).await;
    peer.request().await;
    let second = ask(&connections, &server.url, "second");
    assert_eq!(peer.request().await, (3, "second".to_owned()));
    peer.go_away(1, NO_ERROR).await;
    let mut next = Peer::greet(server.next().await, None).await;
    assert_eq!(next.request().await, (1, "second".to_owned()), "as it was");
    next.answer(1, "two").await;
    peer.answer(1, "one").await;
    assert_eq!(whole(answered(first).await).await.unwrap(), "one");
    assert_eq!(whole(answered(second).await).await.unwrap(), "two");
    assert!(server.is_left_alone());
}

#[tokio::test]
async fn t31_a_refused_stream_is_sent_again_elsewhere() {
    let mut server = server().await;
    let connections = connections(&[server.url.clone()]);
    let asking = ask(&connections, &server.url, "question");
    let mut peer = Peer::greet(server.next().await, None).await;
    let (stream, _) = peer.request().await;
    peer.break_off(stream, REFUSED_STREAM).await;
    let mut next = Peer::greet(server.next().await, None).await;
    assert_eq!(next.request().await, (1, "question".to_owned()));
    next.answer(1, "answer").await;
    assert_eq!(whole(answered(asking).await).await.unwrap(), "answer");
}

#[tokio::test]
async fn t31_who_is_refused_everywhere_gives_up() {
    let mut server = server().await;
    let connections = connections(&[server.url.clone()]);
    let asking = ask(&connections, &server.url, "question");
    let refusing = async {
        loop {
            let mut peer = Peer::greet(server.next().await, None).await;
            tokio::spawn(async move {
                let (stream, _) = peer.request().await;
                peer.break_off(stream, REFUSED_STREAM).await;
                peer.closed().await
            });
        }
    };
    tokio::select! {
        error = missed(asking) => assert_eq!(error.trouble(), Trouble::Broken),
        () = refusing => {}
    }
}

/// What may have been worked on is not sent twice, whatever the words that it ends with.
#[tokio::test]
async fn t31_what_a_server_may_have_begun_is_not_sent_again() {
    for why in [NO_ERROR, INTERNAL_ERROR, CANCEL] {
        let mut server = server().await;
        let connections = connections(&[server.url.clone()]);
        let asking = ask(&connections, &server.url, "question");
        let mut peer = Peer::greet(server.next().await, None).await;
        let (stream, _) = peer.request().await;
        peer.break_off(stream, why).await;
        assert_eq!(missed(asking).await.trouble(), Trouble::Broken, "reset with {why}");
        assert!(server.is_left_alone());
    }
    for why in [NO_ERROR, INTERNAL_ERROR] {
        let mut server = server().await;
        let connections = connections(&[server.url.clone()]);
        let asking = ask(&connections, &server.url, "question");
        let mut peer = Peer::greet(server.next().await, None).await;
        let (stream, _) = peer.request().await;
        peer.go_away(stream, why).await;
        drop(peer);
        assert_eq!(missed(asking).await.trouble(), Trouble::Broken, "left with {why}, after it began");
        assert!(server.is_left_alone());
    }
    let mut server = server().await;
    let connections = connections(&[server.url.clone()]);
    let asking = ask(&connections, &server.url, "question");
    let mut peer = Peer::greet(server.next().await, None).await;
    peer.request().await;
    drop(peer);
    assert_eq!(missed(asking).await.trouble(), Trouble::Broken, "closed");
    assert!(server.is_left_alone());
}

#[tokio::test]
async fn t31_a_connection_that_closed_while_it_was_idle_is_replaced() {
    let mut server = server().await;
    let connections = connections(&[server.url.clone()]);
    let first = ask(&connections, &server.url, "q");
    let mut peer = Peer::greet(server.next().await, None).await;
    let (stream, _) = peer.request().await;
    peer.answer(stream, "a").await;
    whole(answered(first).await).await.unwrap();
    peer.go_away(stream, NO_ERROR).await;
    drop(peer);
    round_trip().await;
    let second = ask(&connections, &server.url, "q");
    let mut next = Peer::greet(server.next().await, None).await;
    let (stream, _) = next.request().await;
    next.answer(stream, "b").await;
    assert_eq!(whole(answered(second).await).await.unwrap(), "b");
}

#[tokio::test]
async fn a_cancel_is_felt_before_the_head_and_in_the_body() {
    let mut server = server().await;
    let connections = connections(&[server.url.clone()]);
    let first = ask(&connections, &server.url, "q");
    let mut peer = Peer::greet(server.next().await, None).await;
    let (stream, _) = peer.request().await;
    first.abort();
    assert_eq!(peer.reset().await, (stream, CANCEL));
    let second = ask(&connections, &server.url, "q");
    let (stream, _) = peer.request().await;
    peer.head(stream).await;
    peer.data(stream, "some").await;
    let mut answer = answered(second).await;
    assert!(soon("a piece", answer.body_mut().frame()).await.is_some());
    drop(answer);
    assert_eq!(peer.reset().await, (stream, CANCEL));
    assert!(server.is_left_alone(), "the connection goes on");
}

/// Whoever makes the connection may leave before it is made: another one makes it then.
#[tokio::test]
async fn a_connection_whose_maker_left_is_made_by_who_waits() {
    let mut server = server().await;
    let connections = connections(&[server.url.clone()]);
    let maker = ask(&connections, &server.url, "first");
    tokio::task::yield_now().await;
    let waiting = ask(&connections, &server.url, "second");
    tokio::task::yield_now().await;
    maker.abort();
    let mut answered_one = false;
    while !answered_one {
        let mut peer = Peer::greet(server.next().await, None).await;
        if let Some(stream) = peer.first_request().await {
            peer.answer(stream, "a").await;
            answered_one = true;
        }
    }
    assert_eq!(whole(answered(waiting).await).await.unwrap(), "a");
}

#[tokio::test]
async fn who_waits_for_a_connection_that_cannot_be_had_hears_so_too() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}/v1", listener.local_addr().unwrap().port());
    drop(listener);
    let connections = connections(std::slice::from_ref(&url));
    let asking: Vec<_> = (0..3).map(|_| ask(&connections, &url, "q")).collect();
    for asking in asking {
        assert_eq!(missed(asking).await.trouble(), Trouble::Connect);
    }
}

/// Where the server turns out to speak HTTP/1.1, those who waited connect by themselves.
#[tokio::test]
async fn who_waited_for_a_connection_that_cannot_be_shared_makes_its_own() {
    let mut server = secure(b"http/1.1").await;
    let connections = connections(&[server.url.clone()]);
    let asking: Vec<_> = (0..3).map(|_| ask(&connections, &server.url, "q")).collect();
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(server.next().await);
    }
    for stream in &mut held {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\na").await.unwrap();
        stream.flush().await.unwrap();
    }
    for asking in asking {
        assert_eq!(whole(answered(asking).await).await.unwrap(), "a");
    }
    assert_eq!(connections.idle(), 3);
}

/// What is shown to a server of HTTP/2: the URI in full, and no more than was asked.
#[tokio::test]
async fn a_server_is_shown_the_whole_uri() {
    let mut server = server().await;
    let connections = connections(&[server.url.clone()]);
    let asking = ask(&connections, &server.url, "q");
    let mut reading = soon("the preface", h2::server::handshake(server.next().await)).await.unwrap();
    let (request, mut respond) = soon("a request", reading.accept()).await.unwrap().unwrap();
    assert_eq!(request.uri(), format!("{}/chat/completions", server.url).as_str());
    assert_eq!(request.headers().keys().map(http::HeaderName::as_str).collect::<Vec<_>>(), ["content-length"]);
    respond.send_response(http::Response::new(()), true).unwrap();
    tokio::spawn(async move { while reading.accept().await.is_some() {} });
    assert_eq!(whole(answered(asking).await).await.unwrap(), "");
}

#[tokio::test]
async fn a_shared_connection_that_nobody_uses_is_closed() {
    let mut server = server().await;
    let connections = connections(&[server.url.clone()]);
    let asking = ask(&connections, &server.url, "q");
    let mut peer = Peer::greet(server.next().await, None).await;
    let (stream, _) = peer.request().await;
    peer.answer(stream, "a").await;
    whole(answered(asking).await).await.unwrap();
    connections.sweep(Instant::now());
    let again = ask(&connections, &server.url, "q");
    let (stream, _) = peer.request().await;
    connections.sweep(Instant::now() + IDLE_TIME);
    peer.answer(stream, "a").await;
    assert_eq!(whole(answered(again).await).await.unwrap(), "a", "not while it is used");
    connections.sweep(Instant::now() + IDLE_TIME);
    assert!(peer.closed().await);
}
