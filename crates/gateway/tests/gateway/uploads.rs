//! Files for a provider stream through.

use crate::support::*;
use coalmine_core::id::ProviderName;
use coalmine_gateway::config::{Config, Upstream as Address};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// More than the buffers of the sockets between.
const PIECE: usize = 4 << 20;
const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n{\"id\":\"f-1\"}\n";

/// A provider that reads as a test says, and a gateway before it that takes bodies of a mebibyte.
async fn world(change: impl FnOnce(&mut Config)) -> (World, TcpListener) {
    let provider = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::at(format!("http://{}/v1", provider.local_addr().unwrap()));
    let world = World::with(vec![], vec![], |config| {
        let one = ProviderName::from("one");
        config.providers.get_mut(&one).unwrap().upstreams = vec![address];
        config.default_provider = Some(one);
        config.limits.body = 1 << 20;
        change(config);
    })
    .await;
    world.release(0).await;
    (world, provider)
}

async fn asked(world: &World, path: &str, framing: &str) -> TcpStream {
    let mut client = TcpStream::connect(world.address).await.unwrap();
    let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{framing}\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    client
}

async fn until(stream: &mut TcpStream, end: &[u8]) -> Vec<u8> {
    let mut read = Vec::new();
    let mut some = vec![0; 64 << 10];
    while !read.ends_with(end) {
        let n = soon("more", stream.read(&mut some)).await.unwrap();
        assert!(n > 0, "closed after {} bytes", read.len());
        read.extend_from_slice(&some[..n]);
    }
    read
}

async fn told(client: &mut TcpStream) -> String {
    let mut told = String::new();
    soon("an answer", client.read_to_string(&mut told)).await.unwrap();
    told
}

#[tokio::test]
async fn a_file_goes_on_while_it_comes_however_large_it_is() {
    for path in ["/v1/files", "/v1/uploads/upload_1/parts", "/v1/containers/c/files"] {
        let (world, provider) = world(|_| {}).await;
        let mut client = asked(&world, path, &format!("content-length: {}", 2 * PIECE + 2)).await;
        let first = [vec![b'a'; PIECE], vec![b'<']].concat();
        let second = [vec![b'b'; PIECE], vec![b'>']].concat();
        let (mut asked, ()) = tokio::join!(
            async {
                let (mut asked, _) = provider.accept().await.unwrap();
                let read = until(&mut asked, b"<").await;
                let at = read.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
                let head = String::from_utf8_lossy(&read[..at]).to_lowercase();
                assert!(head.starts_with(&format!("post {path} ")) && head.contains("authorization: bearer key-one"));
                assert!(head.contains(&format!("content-length: {}\r\n", 2 * PIECE + 2)), "{head}");
                assert!(read[at..] == first[..], "the first half is there before the second is sent");
                asked
            },
            async { client.write_all(&first).await.unwrap() },
        );
        let (rest, ()) = tokio::join!(until(&mut asked, b">"), async { client.write_all(&second).await.unwrap() });
        assert!(rest == second);
        asked.write_all(OK).await.unwrap();
        let told = told(&mut client).await;
        assert!(told.starts_with("HTTP/1.1 200") && told.ends_with("{\"id\":\"f-1\"}\n"), "{told}");
    }
}

#[tokio::test]
async fn a_file_of_no_declared_length_is_none_upstream_either() {
    let (world, provider) = world(|_| {}).await;
    let mut client = asked(&world, "/v1/files", "transfer-encoding: chunked").await;
    client.write_all(b"5\r\nhello\r\n0\r\n\r\n").await.unwrap();
    let (mut asked, _) = soon("the provider is asked", provider.accept()).await.unwrap();
    let read = String::from_utf8(until(&mut asked, b"0\r\n\r\n").await).unwrap().to_lowercase();
    assert!(read.contains("transfer-encoding: chunked\r\n") && read.ends_with("5\r\nhello\r\n0\r\n\r\n"), "{read}");
    asked.write_all(OK).await.unwrap();
    assert!(told(&mut client).await.starts_with("HTTP/1.1 200"));
}

/// It is the client that stops: the provider is left, and not blamed.
#[tokio::test]
async fn a_file_that_stops_is_the_clients_fault() {
    let (world, provider) = world(|config| config.limits.body_time = Duration::from_millis(50)).await;
    let mut client = asked(&world, "/v1/files", "content-length: 100").await;
    client.write_all(b"half").await.unwrap();
    let (mut asked, _) = soon("the provider is asked", provider.accept()).await.unwrap();
    let told = told(&mut client).await;
    assert!(told.starts_with("HTTP/1.1 408") && told.contains("did not come in time"), "{told}");
    let mut rest = Vec::new();
    let _ = soon("the provider is left", asked.read_to_end(&mut rest)).await;
    assert!(rest.ends_with(b"half"));
    for cause in ["connect", "broken", "malformed", "first_byte_timeout"] {
        let none = format!(r#"coalmine_upstream_failures_total{{provider="one",cause="{cause}"}} 0"#);
        assert!(world.metric(&none), "{cause}");
    }
}

/// A provider may refuse before it has read everything; a client may leave before it has sent everything.
#[tokio::test]
async fn whoever_has_enough_of_a_file_is_felt_by_the_other() {
    let (world, provider) = world(|_| {}).await;
    let mut client = asked(&world, "/v1/files", "content-length: 9000000").await;
    client.write_all(b"begin").await.unwrap();
    let (mut asked, _) = soon("the provider is asked", provider.accept()).await.unwrap();
    until(&mut asked, b"begin").await;
    asked.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}").await.unwrap();
    let head = until(&mut client, b"{}").await;
    assert!(head.starts_with(b"HTTP/1.1 413"), "{}", String::from_utf8_lossy(&head));

    let mut client = crate::uploads::asked(&world, "/v1/files", "content-length: 9000000").await;
    client.write_all(b"begin").await.unwrap();
    let (mut asked, _) = soon("the provider is asked", provider.accept()).await.unwrap();
    until(&mut asked, b"begin").await;
    drop(client);
    let mut rest = Vec::new();
    let _ = soon("the provider is left", asked.read_to_end(&mut rest)).await;
    assert!(rest.is_empty());
}
