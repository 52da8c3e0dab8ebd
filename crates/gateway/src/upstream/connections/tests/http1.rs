//! How connections of HTTP/1.1 are kept and used again.

use super::super::shard::{Shard, Way};
use super::super::{Connections, IDLE_TIME};
use super::scripted::{Server, asked, ok, plain, round_trip, secure, write};
use super::{Asking, answered, ask, connections, connections_of, missed, request, soon, whole};
use crate::upstream::pool::Trouble;
use crate::upstream::under_way::UnderWay;
use crate::workers::Workers;
use http::{HeaderValue, StatusCode, header};
use http_body_util::BodyExt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

/// So many connections that have answered once and lie idle, from their server's side.
async fn idle(connections: &Arc<Connections>, server: &mut Server<TcpStream>, count: usize) -> Vec<TcpStream> {
    let asking: Vec<_> = (0..count).map(|_| ask(connections, &server.url, "q")).collect();
    let mut streams = Vec::new();
    for _ in 0..count {
        let mut stream = server.next().await;
        asked(&mut stream).await.unwrap();
        write(&mut stream, &ok("a")).await;
        streams.push(stream);
    }
    for asking in asking {
        whole(answered(asking).await).await.unwrap();
    }
    assert_eq!(connections.idle(), count);
    streams
}

/// Asks with a body of so many bytes.
fn ask_long(connections: &Arc<Connections>, url: &str, bytes: usize) -> Asking {
    let (connections, mut long) = (connections.clone(), request(url, ""));
    *long.body_mut() = bytes::Bytes::from(vec![b'x'; bytes]).into();
    tokio::spawn(async move { connections.send(0, long, &UnderWay::default(), Instant::now()).await })
}

#[tokio::test]
async fn a_connection_is_used_again_the_last_one_first() {
    let mut server = plain().await;
    let connections = connections(&[server.url.clone()]);
    let (first, second) = (ask(&connections, &server.url, "1"), ask(&connections, &server.url, "2"));
    let (mut a, mut b) = (server.next().await, server.next().await);
    for stream in [&mut a, &mut b] {
        asked(stream).await.unwrap();
        write(stream, &ok("a")).await;
    }
    whole(answered(second).await).await.unwrap();
    whole(answered(first).await).await.unwrap();
    assert_eq!(connections.idle(), 2);
    // which of the two the first request went over is the runtime's choice; it is asked again
    for _ in 0..3 {
        let again = ask(&connections, &server.url, "3");
        let text = tokio::select! {
            Some((_, body)) = asked(&mut a) => { write(&mut a, &ok("on a")).await; body }
            Some((_, body)) = asked(&mut b) => { write(&mut b, &ok("on b")).await; body }
        };
        assert_eq!(text, "3");
        let told = whole(answered(again).await).await.unwrap();
        let next = ask(&connections, &server.url, "4");
        let last = if told == "on a" { &mut a } else { &mut b };
        assert_eq!(asked(last).await.unwrap().1, "4", "over the one that was freed last");
        write(last, &ok("x")).await;
        whole(answered(next).await).await.unwrap();
    }
    assert!(server.is_left_alone());
}

#[tokio::test]
async fn whatever_says_how_a_body_ends_its_connection_is_kept() {
    let bodies = [
        "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nx-after: 1\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody",
    ];
    for said in bodies {
        for cut in 0..=said.len() {
            let mut server = plain().await;
            let connections = connections(&[server.url.clone()]);
            let asking = ask(&connections, &server.url, "q");
            let mut stream = server.next().await;
            asked(&mut stream).await.unwrap();
            write(&mut stream, &said[..cut]).await;
            round_trip().await;
            write(&mut stream, &said[cut..]).await;
            let text = whole(answered(asking).await).await.unwrap();
            assert!(text.is_empty() || text == "body");
            assert_eq!(connections.idle(), 1, "{said:?} cut at {cut}");
        }
    }
}

#[tokio::test]
async fn a_connection_that_its_server_ends_is_not_kept() {
    for said in [
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 4\r\n\r\nbody",
        "HTTP/1.0 200 OK\r\ncontent-length: 4\r\n\r\nbody",
        "HTTP/1.1 200 OK\r\n\r\nbody",
    ] {
        let mut server = plain().await;
        let connections = connections(&[server.url.clone()]);
        let asking = ask(&connections, &server.url, "q");
        let mut stream = server.next().await;
        asked(&mut stream).await.unwrap();
        write(&mut stream, said).await;
        drop(stream);
        assert_eq!(whole(answered(asking).await).await.unwrap(), "body");
        assert_eq!(connections.idle(), 0, "{said:?}");
    }
}

#[tokio::test]
async fn t31_a_request_that_hits_a_closed_connection_is_sent_over_a_fresh_one() {
    let mut server = plain().await;
    let connections = connections(&[server.url.clone()]);
    let streams = idle(&connections, &mut server, 3).await;
    assert_eq!(connections.idle(), 3);
    drop(streams);
    round_trip().await;
    let again = ask(&connections, &server.url, "again");
    let mut stream = server.next().await;
    let (head, body) = asked(&mut stream).await.unwrap();
    let host = server.url.trim_start_matches("http://").trim_end_matches("/v1");
    assert!(head.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{head}");
    assert_eq!(head.matches(&format!("host: {host}")).count(), 1, "{head}");
    assert_eq!(body, "again");
    write(&mut stream, &ok("b")).await;
    assert_eq!(whole(answered(again).await).await.unwrap(), "b");
    assert_eq!(connections.idle(), 1, "the closed ones are gone");
}

/// Its server may have read it, and done what it asks.
#[tokio::test]
async fn t31_a_request_that_went_out_is_not_sent_again() {
    let mut server = plain().await;
    let connections = connections(&[server.url.clone()]);
    let first = ask(&connections, &server.url, "q");
    let mut stream = server.next().await;
    asked(&mut stream).await.unwrap();
    write(&mut stream, &ok("a")).await;
    whole(answered(first).await).await.unwrap();
    let second = ask(&connections, &server.url, "q");
    asked(&mut stream).await.unwrap();
    drop(stream);
    assert_eq!(missed(second).await.trouble(), Trouble::Broken);
    assert!(server.is_left_alone());
    let third = ask(&connections, &server.url, "q");
    let mut stream = server.next().await;
    asked(&mut stream).await.unwrap();
    write(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await;
    drop(stream);
    assert!(whole(answered(third).await).await.is_err(), "nor one whose answer broke off");
    assert!(server.is_left_alone());
}

/// A server closes what was idle for its own while, all of it at about the same time; a request may be on its way then. The next
/// try must not meet the next of them.
#[tokio::test]
async fn t31_one_that_broke_after_a_while_takes_those_with_it_that_were_idle_for_as_long() {
    for (idle_for, left) in [(Duration::ZERO, 2), (Duration::from_secs(5), 0)] {
        let mut server = plain().await;
        let connections = connections(&[server.url.clone()]);
        let mut streams = idle(&connections, &mut server, 3).await;
        tokio::time::pause();
        tokio::time::advance(idle_for).await;
        tokio::time::resume();
        let hit = ask(&connections, &server.url, "q");
        let mut at = 0;
        poll_fn(|cx| {
            // whichever of them it is
            let mut came = [0; 1];
            let ready =
                streams.iter_mut().position(|stream| stream.poll_peek(cx, &mut ReadBuf::new(&mut came)).is_ready());
            ready.map_or(Poll::Pending, |ready| {
                at = ready;
                Poll::Ready(())
            })
        })
        .await;
        asked(&mut streams[at]).await.unwrap();
        streams.remove(at);
        assert_eq!(missed(hit).await.trouble(), Trouble::Broken);
        assert_eq!(connections.idle(), left, "{idle_for:?}");
    }
}

#[tokio::test]
async fn what_went_wrong_is_told_apart() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    drop(listener);
    assert_eq!(missed(ask(&connections(std::slice::from_ref(&url)), &url, "q")).await.trouble(), Trouble::Connect);
    for (said, trouble) in [("no HTTP at all\r\n\r\n", Trouble::Malformed), ("HTTP/1.1 2", Trouble::Broken)] {
        let mut server = plain().await;
        let asking = ask(&connections(&[server.url.clone()]), &server.url, "q");
        let mut stream = server.next().await;
        asked(&mut stream).await.unwrap();
        write(&mut stream, said).await;
        drop(stream);
        assert_eq!(missed(asking).await.trouble(), trouble, "{said:?}");
    }
}

#[tokio::test]
async fn a_cancel_closes_the_connection_before_the_head_and_in_the_body() {
    let mut server = plain().await;
    let connections = connections(&[server.url.clone()]);
    let first = ask(&connections, &server.url, "q");
    let mut stream = server.next().await;
    asked(&mut stream).await.unwrap();
    first.abort();
    assert!(asked(&mut stream).await.is_none());
    let second = ask(&connections, &server.url, "q");
    let mut stream = server.next().await;
    asked(&mut stream).await.unwrap();
    write(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await;
    let mut answer = answered(second).await;
    assert!(soon("a piece", answer.body_mut().frame()).await.is_some());
    drop(answer);
    assert!(asked(&mut stream).await.is_none());
    assert_eq!(connections.idle(), 0);
}

#[tokio::test]
async fn a_short_refusal_that_nobody_reads_costs_no_connection() {
    let mut server = plain().await;
    let connections = connections(&[server.url.clone()]);
    let asking = ask(&connections, &server.url, "q");
    let mut stream = server.next().await;
    asked(&mut stream).await.unwrap();
    write(&mut stream, &ok("slow down")).await;
    drop(answered(asking).await);
    assert_eq!(connections.idle(), 1);
}

/// Its server answered without reading on; what is left of the request must not stand before the next one.
#[tokio::test]
async fn a_connection_whose_request_has_not_gone_out_is_not_kept() {
    let mut server = plain().await;
    let connections = connections(&[server.url.clone()]);
    let asking = ask_long(&connections, &server.url, 64 << 20);
    let mut stream = server.next().await;
    stream.read_exact(&mut [0; 1_000]).await.unwrap();
    write(&mut stream, &ok("too long")).await;
    assert_eq!(whole(answered(asking).await).await.unwrap(), "too long");
    assert_eq!(connections.idle(), 0);
}

#[tokio::test]
async fn idle_connections_are_few_and_short_lived() {
    let mut server = plain().await;
    let mut connections = connections(&[server.url.clone()]);
    let bounded = Arc::new(Shard::new(2));
    Arc::get_mut(&mut connections).unwrap().hosts[0].shards = vec![bounded];
    let asking: Vec<_> = (0..3).map(|_| ask(&connections, &server.url, "q")).collect();
    let mut streams = Vec::new();
    for asking in asking {
        let mut stream = server.next().await;
        asked(&mut stream).await.unwrap();
        write(&mut stream, &ok("a")).await;
        streams.push((stream, asking));
    }
    let mut held = Vec::new();
    for (stream, asking) in streams {
        held.push(stream);
        whole(answered(asking).await).await.unwrap();
    }
    assert_eq!(connections.idle(), 2, "one too many is closed");
    connections.sweep(Instant::now() + IDLE_TIME / 2);
    assert_eq!(connections.idle(), 2);
    connections.sweep(Instant::now() + IDLE_TIME);
    assert_eq!(connections.idle(), 0);
    for stream in &mut held {
        assert!(asked(stream).await.is_none(), "closed here too");
    }
}

#[tokio::test]
async fn one_that_was_idle_for_too_long_is_not_used_even_before_it_is_swept() {
    let mut server = plain().await;
    let connections = connections(&[server.url.clone()]);
    let asking = ask(&connections, &server.url, "q");
    let mut stream = server.next().await;
    asked(&mut stream).await.unwrap();
    write(&mut stream, &ok("a")).await;
    whole(answered(asking).await).await.unwrap();
    let shard = connections.hosts[0].shard();
    assert!(matches!(shard.way(false, None, Instant::now() + IDLE_TIME), Way::Dial(None)));
    assert!(asked(&mut stream).await.is_none(), "closed");
}

#[tokio::test]
async fn what_its_server_closed_is_let_go_of() {
    let mut server = plain().await;
    let connections = connections(&[server.url.clone()]);
    let mut streams = idle(&connections, &mut server, 40).await;
    streams.truncate(7);
    round_trip().await;
    connections.sweep(Instant::now());
    assert_eq!(connections.idle(), 7);
}

/// Upstreams that differ by their path alone are one server.
#[tokio::test]
async fn addresses_on_one_server_share_its_connections() {
    let mut server = plain().await;
    let other = server.url.replace("/v1", "/other/v1");
    let connections = connections(&[server.url.clone(), other.clone()]);
    let asking = ask(&connections, &server.url, "q");
    let mut stream = server.next().await;
    asked(&mut stream).await.unwrap();
    write(&mut stream, &ok("a")).await;
    whole(answered(asking).await).await.unwrap();
    let (of, mut second) = (connections.clone(), request(&other, "q"));
    second.headers_mut().insert(header::HOST, HeaderValue::from_static("told.example"));
    let asking = tokio::spawn(async move { of.send(1, second, &UnderWay::default(), Instant::now()).await });
    let (head, _) = asked(&mut stream).await.unwrap();
    assert!(head.starts_with("POST /other/v1/chat/completions HTTP/1.1\r\nhost: told.example\r\n"), "{head}");
    write(&mut stream, &ok("a")).await;
    whole(answered(asking).await).await.unwrap();
}

#[tokio::test]
async fn each_thread_keeps_connections_of_its_own() {
    let mut server = plain().await;
    let workers = Workers::start(2).unwrap();
    let connections = connections_of(&[server.url.clone()], 2);
    let mut streams = Vec::new();
    for place in workers.places() {
        for turn in 0..3 {
            let (of, request) = (connections.clone(), request(&server.url, "q"));
            let asking = place.spawn(async move {
                whole(of.send(0, request, &UnderWay::default(), Instant::now()).await.unwrap()).await.unwrap()
            });
            if turn == 0 {
                streams.push(server.next().await);
            }
            let stream = streams.last_mut().unwrap();
            asked(stream).await.unwrap();
            write(stream, &ok("a")).await;
            assert_eq!(soon("an answer", asking).await.unwrap(), "a");
        }
    }
    assert!(server.is_left_alone());
    assert_eq!(connections.idle(), 2);
}

/// Nothing is lost and nobody is left waiting where many tasks and threads take, drive and give back connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_at_once_on_several_threads_all_come_to_their_end() {
    let mut server = plain().await;
    let url = server.url.clone();
    tokio::spawn(async move {
        loop {
            let mut stream = server.next().await;
            tokio::spawn(async move {
                while let Some((_, body)) = asked(&mut stream).await {
                    write(&mut stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
                    for piece in body.as_bytes().chunks(7) {
                        let piece = std::str::from_utf8(piece).unwrap();
                        write(&mut stream, &format!("{:x}\r\n{piece}\r\n", piece.len())).await;
                    }
                    write(&mut stream, "0\r\n\r\n").await;
                }
            });
        }
    });
    let connections = connections(std::slice::from_ref(&url));
    let asking = (0..32).map(|_| {
        let (connections, url) = (connections.clone(), url.clone());
        tokio::spawn(async move {
            for _ in 0..50 {
                const TEXT: &str = "a question that comes back in pieces of seven bytes each";
                let under_way = UnderWay::default();
                let asking = Box::pin(connections.send(0, request(&url, TEXT), &under_way, Instant::now()));
                let response = soon("an answer", asking).await.unwrap();
                assert_eq!(whole(response).await.unwrap(), TEXT);
            }
        })
    });
    for task in asking.collect::<Vec<_>>() {
        soon("a task's end", task).await.unwrap();
    }
    assert!(connections.idle() <= 32);
}

#[tokio::test]
async fn t34_a_connection_upstream_has_no_delay() {
    use tower_service::Service as _;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let mut connector = super::super::dial::connector(std::time::Duration::from_secs(60));
    std::future::poll_fn(|cx| connector.poll_ready(cx)).await.unwrap();
    let connected = connector.call(uri).await.unwrap();
    assert!(connected.inner().nodelay().unwrap());
}

/// What follows the head is the same, whatever pieces it comes in, and so is what the server is asked next.
#[tokio::test]
async fn an_answer_in_single_bytes_is_the_same_answer() {
    let mut server = plain().await;
    let connections = connections(&[server.url.clone()]);
    let said = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nx-a: one\r\nX-A: two\r\n\
                transfer-encoding: chunked\r\n\r\n2;e=1\r\nbo\r\n2\r\ndy\r\n0\r\nx-after: 1\r\n\r\n";
    let first = ask(&connections, &server.url, "q");
    let mut stream = server.next().await;
    asked(&mut stream).await.unwrap();
    for byte in said.as_bytes() {
        stream.write_all(&[*byte]).await.unwrap();
        round_trip().await;
    }
    let response = answered(first).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers().get_all("x-a").iter().collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!(whole(response).await.unwrap(), "body");
    let second = ask(&connections, &server.url, "next");
    assert_eq!(asked(&mut stream).await.unwrap().1, "next");
    write(&mut stream, &ok("a")).await;
    assert_eq!(whole(answered(second).await).await.unwrap(), "a");
}

#[tokio::test]
async fn heads_without_end_are_malformed() {
    let hints = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".to_owned();
    let field = format!("x-a: {}\r\n", "x".repeat(2_000));
    for (begin, more) in [("", hints), ("HTTP/1.1 200 OK\r\nx-b: ", "y".repeat(999)), ("HTTP/1.1 200 OK\r\n", field)] {
        let mut server = plain().await;
        let asking = ask(&connections(&[server.url.clone()]), &server.url, "q");
        let mut stream = server.next().await;
        asked(&mut stream).await.unwrap();
        write(&mut stream, begin).await;
        let endless = tokio::spawn(async move { while stream.write_all(more.as_bytes()).await.is_ok() {} });
        assert_eq!(missed(asking).await.trouble(), Trouble::Malformed, "{begin:?}");
        soon("the connection's end", endless).await.unwrap();
    }
}

/// A server that will not have all of a request answers and closes, which breaks the connection under what is yet to be sent.
#[tokio::test]
async fn a_refusal_is_heard_though_the_request_cannot_be_sent_whole() {
    let mut server = plain().await;
    let connections = connections(&[server.url.clone()]);
    let asking = ask_long(&connections, &server.url, 16 << 20);
    let mut stream = server.next().await;
    stream.read_exact(&mut [0; 1_000]).await.unwrap();
    write(&mut stream, "HTTP/1.1 413 Content Too Large\r\ncontent-length: 4\r\n\r\nlong").await;
    stream.shutdown().await.unwrap();
    let response = answered(asking).await;
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(whole(response).await.unwrap(), "long");
    assert_eq!(connections.idle(), 0);
}

/// What a server says unasked would be taken for the answer to whoever asks next.
#[tokio::test]
async fn t31_a_connection_on_which_something_came_unasked_is_not_used() {
    for at_once in [true, false] {
        let mut server = plain().await;
        let connections = connections(&[server.url.clone()]);
        let asking = ask(&connections, &server.url, "q");
        let mut stream = server.next().await;
        asked(&mut stream).await.unwrap();
        let unasked = ok("not yours");
        let (first, later) = if at_once { (unasked.as_str(), "") } else { ("", unasked.as_str()) };
        write(&mut stream, &format!("{}{first}", ok("a"))).await;
        assert_eq!(whole(answered(asking).await).await.unwrap(), "a");
        write(&mut stream, later).await;
        round_trip().await;
        let again = ask(&connections, &server.url, "again");
        let mut other = server.next().await;
        assert_eq!(asked(&mut other).await.unwrap().1, "again");
        write(&mut other, &ok("yours")).await;
        assert_eq!(whole(answered(again).await).await.unwrap(), "yours");
    }
}

/// What TLS holds back goes out before anybody waits, and what it brings is read to its end.
#[tokio::test]
async fn a_long_request_and_a_long_answer_over_tls() {
    const LONG: usize = 3 << 20;
    let mut server = secure(b"http/1.1").await;
    let connections = connections(&[server.url.clone()]);
    let mut held = None;
    for _ in 0..2 {
        let asking = ask_long(&connections, &server.url, LONG);
        let mut stream = match held.take() {
            Some(stream) => stream,
            None => server.next().await,
        };
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost:"));
        let mut body = vec![0; LONG];
        soon("the request", stream.read_exact(&mut body)).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
        stream.flush().await.unwrap();
        let answer = answered(asking).await;
        let writing = tokio::spawn(async move {
            for piece in body.chunks(50_000) {
                stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await.unwrap();
                stream.write_all(piece).await.unwrap();
                stream.write_all(b"\r\n").await.unwrap();
            }
            stream.write_all(b"0\r\n\r\n").await.unwrap();
            stream.flush().await.unwrap();
            stream
        });
        assert_eq!(whole(answer).await.unwrap().len(), LONG);
        held = Some(writing.await.unwrap());
        assert_eq!(connections.idle(), 1);
    }
}
