//! Against servers that do exactly what a test says, frame by frame and byte by byte.

mod http1;
mod http2;
mod scripted;

use super::dial::Dialer;
use super::{Asked, Connections, Lost, Missed, ProviderBody};
use crate::upstream::address::Address;
use crate::upstream::under_way::UnderWay;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

/// Nothing in these tests takes this long; it only turns a hang into a failure.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let patience = Duration::from_mins(1);
    tokio::time::timeout(patience, future).await.unwrap_or_else(|_| panic!("never: {what}"))
}

/// Connections that trust the servers of these tests.
fn connections(urls: &[String]) -> Arc<Connections> {
    connections_of(urls, 0)
}

/// The same for so many threads.
fn connections_of(urls: &[String], threads: usize) -> Arc<Connections> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(scripted::CERTIFICATE).unwrap()).unwrap();
    let provider = Arc::new(crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let tls = tls.with_root_certificates(roots).with_no_client_auth();
    let addresses: Vec<Address> = urls.iter().map(|url| Address::parse(url).unwrap()).collect();
    Arc::new(Connections::with(&addresses, Dialer::trusting(tls, Duration::from_secs(30)), threads))
}

fn request(url: &str, body: &'static str) -> Asked {
    Box::new(Request::post(format!("{url}/chat/completions")).body(Bytes::from_static(body.as_bytes()).into()).unwrap())
}

type Asking = JoinHandle<Result<Response<ProviderBody>, Missed>>;

/// Asks the first address, in a task of its own.
fn ask(connections: &Arc<Connections>, url: &str, body: &'static str) -> Asking {
    let (connections, request) = (connections.clone(), request(url, body));
    tokio::spawn(async move { connections.send(0, request, &UnderWay::default(), Instant::now()).await })
}

async fn answered(asking: Asking) -> Response<ProviderBody> {
    soon("an answer", asking).await.unwrap().unwrap()
}

async fn missed(asking: Asking) -> Missed {
    soon("no answer", asking).await.unwrap().map(|response| response.status()).unwrap_err()
}

/// An answer's body, to its end.
async fn whole(response: Response<ProviderBody>) -> Result<String, Lost> {
    let bytes = soon("the body's end", response.into_body().collect()).await?.to_bytes();
    Ok(String::from_utf8(bytes.to_vec()).unwrap())
}
