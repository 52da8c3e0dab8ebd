//! Servers that hand each connection to the test.

use super::soon;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, crypto};
use tokio_rustls::server::TlsStream;

pub(super) const CERTIFICATE: &[u8] = include_bytes!("../../../../tests/gateway/tls/one.pem");
const KEY: &[u8] = include_bytes!("../../../../tests/gateway/tls/one.key");

/// A server whose connections wait for the test.
pub(super) struct Server<S> {
    /// Its base, with the path that stands for `/v1`.
    pub(super) url: String,
    accepted: mpsc::UnboundedReceiver<S>,
}

impl<S> Server<S> {
    pub(super) async fn next(&mut self) -> S {
        soon("a connection", self.accepted.recv()).await.unwrap()
    }

    /// Whether nobody has connected since the last one.
    pub(super) fn is_left_alone(&mut self) -> bool {
        self.accepted.try_recv().is_err()
    }
}

pub(super) async fn plain() -> Server<TcpStream> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let (next, accepted) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            if next.send(stream).is_err() {
                return;
            }
        }
    });
    Server { url, accepted }
}

/// With TLS, and this protocol alone.
pub(super) async fn secure(protocol: &[u8]) -> Server<TlsStream<TcpStream>> {
    let provider = Arc::new(crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE).unwrap();
    let key = PrivateKeyDer::from_pem_slice(KEY).unwrap();
    let mut config = config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
    config.alpn_protocols = vec![protocol.to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let mut bare = plain().await;
    let url = bare.url.replace("http://127.0.0.1", "https://localhost");
    let (next, accepted) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(stream) = bare.accepted.recv().await {
            let (acceptor, next) = (acceptor.clone(), next.clone());
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    // a test that is over takes no more of them
                    let _ = next.send(stream);
                }
            });
        }
    });
    Server { url, accepted }
}

/// A server's end of a connection of HTTP/2.
pub(super) struct Peer {
    stream: TlsStream<TcpStream>,
}

/// Types of frames.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// Why a stream ends.
pub(super) const NO_ERROR: u32 = 0;
pub(super) const INTERNAL_ERROR: u32 = 2;
pub(super) const REFUSED_STREAM: u32 = 7;
pub(super) const CANCEL: u32 = 8;

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
enum Sent {
    /// The end of a request, and its stream.
    Request(u32, Vec<u8>),
    Reset(u32, u32),
    Closed,
}

impl Peer {
    /// Takes a connection, and says how many streams it may have at once.
    pub(super) async fn greet(stream: TlsStream<TcpStream>, streams_max: Option<u32>) -> Self {
        let mut peer = Self::taken(stream).await;
        peer.allow(streams_max).await;
        peer
    }

    /// Takes a connection, and says nothing yet.
    pub(super) async fn taken(mut stream: TlsStream<TcpStream>) -> Self {
        let mut preface = [0; 24];
        soon("the preface", stream.read_exact(&mut preface)).await.unwrap();
        assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        Self { stream }
    }

    pub(super) async fn allow(&mut self, streams_max: Option<u32>) {
        let setting = streams_max.map(|max| [&[0, 3][..], &max.to_be_bytes()].concat()).unwrap_or_default();
        self.write(SETTINGS, 0, 0, &setting).await;
    }

    async fn write(&mut self, kind: u8, flags: u8, stream: u32, said: &[u8]) {
        let length = u32::try_from(said.len()).unwrap().to_be_bytes();
        let frame = [&length[1..], &[kind, flags], &stream.to_be_bytes(), said].concat();
        self.stream.write_all(&frame).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    async fn read(&mut self) -> Sent {
        let mut body = Vec::new();
        loop {
            let mut head = [0; 9];
            if self.stream.read_exact(&mut head).await.is_err() {
                return Sent::Closed;
            }
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            let mut said = vec![0; length];
            self.stream.read_exact(&mut said).await.unwrap();
            match head[3] {
                DATA => body.extend_from_slice(&said),
                RST_STREAM => return Sent::Reset(stream, u32::from_be_bytes(said.try_into().unwrap())),
                _ => {}
            }
            if matches!(head[3], DATA | HEADERS) && head[4] & END_STREAM != 0 {
                return Sent::Request(stream, body);
            }
        }
    }

    /// The next request: its stream and what it says.
    pub(super) async fn request(&mut self) -> (u32, String) {
        loop {
            match soon("a request", self.read()).await {
                Sent::Request(stream, body) => return (stream, String::from_utf8(body).unwrap()),
                Sent::Reset(..) => {}
                Sent::Closed => panic!("closed, and no request came"),
            }
        }
    }

    /// The stream of the first request; `None` where the client closes or cancels before.
    pub(super) async fn first_request(&mut self) -> Option<u32> {
        match soon("a request", self.read()).await {
            Sent::Request(stream, _) => Some(stream),
            Sent::Reset(..) | Sent::Closed => None,
        }
    }

    /// Reads until a stream is reset: which one, and why.
    pub(super) async fn reset(&mut self) -> (u32, u32) {
        match soon("a reset", self.read()).await {
            Sent::Reset(stream, why) => (stream, why),
            other @ (Sent::Request(..) | Sent::Closed) => panic!("{other:?} in place of a reset"),
        }
    }

    /// Reads until the client closes: whether it sent no request before.
    pub(super) async fn closed(&mut self) -> bool {
        loop {
            match soon("the end", self.read()).await {
                Sent::Closed => return true,
                Sent::Reset(..) => {}
                Sent::Request(..) => return false,
            }
        }
    }

    /// A head of status 200.
    pub(super) async fn head(&mut self, stream: u32) {
        self.write(HEADERS, END_HEADERS, stream, &[0x88]).await;
    }

    pub(super) async fn data(&mut self, stream: u32, text: &str) {
        self.write(DATA, 0, stream, text.as_bytes()).await;
    }

    pub(super) async fn end(&mut self, stream: u32, text: &str) {
        self.write(DATA, END_STREAM, stream, text.as_bytes()).await;
    }

    pub(super) async fn answer(&mut self, stream: u32, text: &str) {
        self.head(stream).await;
        self.end(stream, text).await;
    }

    pub(super) async fn break_off(&mut self, stream: u32, why: u32) {
        self.write(RST_STREAM, 0, stream, &why.to_be_bytes()).await;
    }

    /// Says that it leaves, and which stream was the last that it works on.
    pub(super) async fn go_away(&mut self, last: u32, why: u32) {
        self.write(GOAWAY, 0, 0, &[last.to_be_bytes(), why.to_be_bytes()].concat()).await;
    }
}

/// What a client of HTTP/1.1 asks next: head and body. `None`: it closed.
pub(super) async fn asked(stream: &mut TcpStream) -> Option<(String, String)> {
    let (mut read, mut piece) = (Vec::new(), [0; 4_096]);
    loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8(read[..end].to_vec()).unwrap();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
            if read.len() >= end + 4 + length {
                return Some((head, String::from_utf8(read[end + 4..].to_vec()).unwrap()));
            }
        }
        match soon("a request", stream.read(&mut piece)).await {
            Ok(0) | Err(_) => return None,
            Ok(n) => read.extend_from_slice(&piece[..n]),
        }
    }
}

pub(super) async fn write(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
}

pub(super) fn ok(text: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len())
}

/// Once this is over, the runtime has seen whatever happened to sockets before it, and tasks that waited for it ran.
pub(super) async fn round_trip() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for _ in 0..2 {
        let (client, accepted) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let (mut client, mut accepted) = (client.unwrap(), accepted.unwrap().0);
        write(&mut accepted, "x").await;
        client.read_exact(&mut [0]).await.unwrap();
    }
}
