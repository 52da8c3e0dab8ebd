//! TLS of the listener: both protocols by ALPN, a certificate replaced under open connections.

use crate::support::*;
use bytes::Bytes;
use coalmine_gateway::listen::{Side, serve_tls};
use coalmine_gateway::tls::{Reloaded, Tls, TlsError};
use http::{Request, Version};
use http_body_util::{BodyExt, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gateway/tls").join(name)
}

/// A client that trusts one certificate.
fn client(trusted: &str) -> Client<HttpsConnector<HttpConnector>, Full<Bytes>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(file(trusted)).unwrap()).unwrap();
    let provider = Arc::new(crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let connector = HttpsConnectorBuilder::new().with_tls_config(config).https_only().enable_all_versions().build();
    Client::builder(TokioExecutor::new()).build(connector)
}

fn get(address: SocketAddr, version: Version) -> Request<Full<Bytes>> {
    let request = Request::get(format!("https://localhost:{}/beside", address.port())).version(version);
    request.body(Full::default()).unwrap()
}

async fn listening(tls: &Arc<Tls>) -> (World, SocketAddr) {
    let world = World::new(vec![ok("hi")], vec![]).await;
    world.gateway.install(&tables(route(1, None))).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let side: Side = Arc::new(|_| {
        Box::pin(async {
            let body = Full::new(Bytes::from_static(b"beside")).map_err(|never| match never {});
            http::Response::new(body.boxed_unsync())
        })
    });
    tokio::spawn(serve_tls(world.gateway.clone(), listener, side, tls.clone()));
    (world, address)
}

#[tokio::test]
async fn a_client_chooses_its_protocol_and_is_answered() {
    let tls = Tls::load(&file("one.pem"), &file("one.key")).unwrap();
    let (_world, address) = listening(&tls).await;
    let answer = soon("an answer", client("one.pem").request(get(address, Version::HTTP_11))).await.unwrap();
    assert_eq!(answer.version(), Version::HTTP_2, "by ALPN");
    let chat = Request::post(format!("https://localhost:{}/v1/chat/completions", address.port()));
    let chat = chat.body(Full::new(Bytes::from_static(ASK.as_bytes()))).unwrap();
    let answer = soon("an answer", client("one.pem").request(chat)).await.unwrap();
    assert_eq!(answer.status(), 200);
    let stranger = soon("a refusal", client("two.pem").request(get(address, Version::HTTP_11))).await;
    assert!(stranger.is_err(), "another certificate is not what it was shown");
}

#[tokio::test]
async fn a_certificate_is_replaced_under_open_connections() {
    let folder = std::env::temp_dir().join(format!("coalmine-tls-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (certificate, key) = (folder.join("served.pem"), folder.join("served.key"));
    let put = |name: &str| {
        std::fs::copy(file(&format!("{name}.pem")), &certificate).unwrap();
        std::fs::copy(file(&format!("{name}.key")), &key).unwrap();
        // a file system may keep times too coarsely to tell two copies apart
        let later = std::time::SystemTime::now() + std::time::Duration::from_secs(u64::from(name == "two") * 60);
        for path in [&certificate, &key] {
            std::fs::File::options().write(true).open(path).unwrap().set_modified(later).unwrap();
        }
    };
    put("one");
    let tls = Tls::load(&certificate, &key).unwrap();
    let (_world, address) = listening(&tls).await;
    let open = client("one.pem");
    assert!(soon("an answer", open.request(get(address, Version::HTTP_11))).await.is_ok());
    assert_eq!(tls.reload().unwrap(), Reloaded::Same);

    std::fs::write(&certificate, "no certificate").unwrap();
    assert!(matches!(tls.reload(), Err(TlsError::NoCertificate { .. })));
    assert!(soon("an answer", client("one.pem").request(get(address, Version::HTTP_11))).await.is_ok(), "the old one");

    put("two");
    assert_eq!(tls.reload().unwrap(), Reloaded::Changed);
    assert!(soon("an answer", open.request(get(address, Version::HTTP_11))).await.is_ok(), "on its connection");
    assert!(soon("a refusal", client("one.pem").request(get(address, Version::HTTP_11))).await.is_err());
    assert!(soon("an answer", client("two.pem").request(get(address, Version::HTTP_11))).await.is_ok());
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn an_error_names_its_file() {
    let told = |certificate: &str, key: &str| Tls::load(&file(certificate), &file(key)).unwrap_err().to_string();
    assert!(told("none.pem", "one.key").contains("none.pem"));
    assert!(told("one.pem", "none.key").contains("none.key"));
    let crossed = told("one.pem", "two.key");
    assert!(crossed.contains("two.key cannot serve the certificate in") && crossed.contains("one.pem"), "{crossed}");
}
