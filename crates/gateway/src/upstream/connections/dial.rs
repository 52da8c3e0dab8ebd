//! Making a connection: names looked up, the addresses tried side by side, TLS where the scheme says so.

use super::IDLE_TIME;
use crate::answer::BoxError;
use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::{Connection as _, HttpConnector};
use hyper_util::rt::TokioIo;
use std::future::poll_fn;
use std::io;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower_service::Service as _;

/// A connection's bytes.
pub(super) type Bare = MaybeHttpsStream<TokioIo<TcpStream>>;

#[derive(Debug)]
pub(super) struct Dialer {
    connector: HttpsConnector<HttpConnector>,
    within: Duration,
}

impl Dialer {
    /// Offers both protocols where there is TLS.
    pub(super) fn new(within: Duration) -> Self {
        let tls = HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_all_versions();
        Self { connector: tls.wrap_connector(connector(within)), within }
    }

    /// Another one, which offers HTTP/1.1 alone.
    pub(super) fn without_http2(&self) -> Self {
        let tls = HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_http1();
        Self { connector: tls.wrap_connector(connector(self.within)), within: self.within }
    }

    /// One that trusts whom a test says.
    #[cfg(test)]
    pub(super) fn trusting(tls: tokio_rustls::rustls::ClientConfig, within: Duration) -> Self {
        let tls = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_all_versions();
        Self { connector: tls.wrap_connector(connector(within)), within }
    }

    /// All of it within one bound: a name that nobody resolves, or a server that says nothing to a handshake, is no connection either.
    pub(super) async fn dial(&self, root: Uri) -> Result<Bare, BoxError> {
        let mut connector = self.connector.clone();
        let dialed = async {
            poll_fn(|cx| connector.poll_ready(cx)).await?;
            connector.call(root).await
        };
        let elapsed = |_| io::Error::new(io::ErrorKind::TimedOut, "neither yes nor no in time");
        timeout(self.within, dialed).await.map_err(elapsed)?
    }
}

/// Whether both sides agreed on HTTP/2.
pub(super) fn is_http2(stream: &Bare) -> bool {
    stream.connected().is_negotiated_h2()
}

/// Connects without Nagle's delay.
pub(super) fn connector(within: Duration) -> HttpConnector {
    let mut http = HttpConnector::new();
    http.set_nodelay(true);
    http.enforce_http(false);
    http.set_connect_timeout(Some(within));
    http.set_keepalive(Some(IDLE_TIME));
    http
}
