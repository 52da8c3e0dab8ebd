//! Whom a sentinel's answer is put to beside models: an embeddings endpoint of a provider, a webhook of the site.

use super::post::HttpPost;
use super::prober::Cancelled;
use crate::config::Assessor;
use async_trait::async_trait;
use bytes::Bytes;
use coalmine_control::ports::{AssessorTrouble, Assessors};
use coalmine_core::id::ProviderName;
use coalmine_gateway::Gateway;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// The longest verdict that is read of a webhook.
const VERDICT_MAX_BYTES: usize = 64 << 10;

/// Asks on the runtime of the data plane, as the prober does.
pub(super) struct SiteAssessors {
    gateway: Arc<Gateway>,
    post: Arc<HttpPost>,
    webhooks: BTreeMap<String, Assessor>,
    runtime: Handle,
}

impl SiteAssessors {
    /// Asks on the runtime that this is called on.
    pub(super) fn new(gateway: Arc<Gateway>, webhooks: &BTreeMap<String, Assessor>) -> Self {
        Self { gateway, post: Arc::new(HttpPost::new()), webhooks: webhooks.clone(), runtime: Handle::current() }
    }

    async fn within<T: Send + 'static>(
        &self,
        wall_limit: Duration,
        asking: impl Future<Output = Result<T, String>> + Send + 'static,
    ) -> Result<T, AssessorTrouble> {
        let asking = self.runtime.spawn(tokio::time::timeout(wall_limit, asking));
        let _cancelled = Cancelled(asking.abort_handle());
        match asking.await {
            Ok(Ok(answered)) => answered.map_err(AssessorTrouble),
            Ok(Err(_late)) => Err(AssessorTrouble(format!("no answer within {} s", wall_limit.as_secs()))),
            Err(_) => Err(AssessorTrouble("the question was given up".to_owned())),
        }
    }
}

impl fmt::Debug for SiteAssessors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SiteAssessors")
    }
}

#[async_trait]
impl Assessors for SiteAssessors {
    async fn embed(&self, provider: &str, body: String, wall_limit: Duration) -> Result<Vec<u8>, AssessorTrouble> {
        let (gateway, provider) = (Arc::clone(&self.gateway), ProviderName::from(provider));
        let asking = async move {
            let embedded = gateway.embed(&provider, Bytes::from(body), wall_limit).await;
            embedded.map(|body| body.to_vec()).map_err(|error| error.to_string())
        };
        self.within(wall_limit, asking).await
    }

    async fn call(&self, to: &str, body: String, wall_limit: Duration) -> Result<Vec<u8>, AssessorTrouble> {
        // A suite names it, or has the very address that is configured; no other is called, whoever wrote the suite.
        let own = self.webhooks.get(to).or_else(|| self.webhooks.values().find(|assessor| assessor.url.expose() == to));
        let Some(Assessor { url, token }) = own.cloned() else {
            return Err(AssessorTrouble("coalmine.yaml has no such webhook under `assessors`".to_owned()));
        };
        let post = Arc::clone(&self.post);
        let asking = async move {
            let token = token.as_ref().map(|token| token.expose());
            post.ask(url.expose(), token, body, VERDICT_MAX_BYTES).await
        };
        self.within(wall_limit, asking).await
    }
}
