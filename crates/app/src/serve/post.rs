//! Webhooks leave here.

use async_trait::async_trait;
use bytes::Bytes;
use coalmine_control::ports::{Letter, Post, PostError};
use http::{Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);

/// Delivers letters by HTTP.
pub(super) struct HttpPost {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl std::fmt::Debug for HttpPost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HttpPost")
    }
}

impl HttpPost {
    pub(super) fn new() -> Self {
        let connector = HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_http1().build();
        Self { client: Client::builder(TokioExecutor::new()).build(connector) }
    }
}

impl HttpPost {
    /// Posts a document and reads the answer, of status 2xx and at most so many bytes. The error holds neither the
    /// address nor a header.
    pub(super) async fn ask(
        &self,
        url: &str,
        token: Option<&str>,
        body: String,
        most_bytes: usize,
    ) -> Result<Vec<u8>, String> {
        let mut request = Request::post(url).header(header::CONTENT_TYPE, "application/json");
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::new(Bytes::from(body)));
        let request = request.map_err(|_| "its address or token cannot be sent".to_owned())?;
        let response = self.client.request(request).await.map_err(|_| "its address cannot be reached".to_owned())?;
        if !response.status().is_success() {
            return Err(format!("its address answered {}", response.status()));
        }
        let read = Limited::new(response.into_body(), most_bytes).collect().await;
        read.map(|body| body.to_bytes().to_vec()).map_err(|_| "its answer broke off, or is too long".to_owned())
    }
}

#[async_trait]
impl Post for HttpPost {
    async fn deliver(&self, letter: &Letter) -> Result<(), PostError> {
        let mut request = Request::post(&letter.url).header(header::CONTENT_TYPE, "application/json");
        for (name, value) in &letter.headers {
            request = request.header(*name, value);
        }
        // The address may hold a secret: no error of the transport, which may quote it, is passed on.
        let request = request
            .body(Full::new(Bytes::from(letter.body.clone())))
            .map_err(|_| PostError("its address or a header of it cannot be sent".to_owned()))?;
        match tokio::time::timeout(PATIENCE, self.client.request(request)).await {
            Ok(Ok(response)) if response.status().is_success() => Ok(()),
            Ok(Ok(response)) => Err(PostError(format!("its address answered {}", response.status()))),
            Ok(Err(_)) => Err(PostError("its address cannot be reached".to_owned())),
            Err(_) => Err(PostError(format!("its address did not answer within {} s", PATIENCE.as_secs()))),
        }
    }
}
