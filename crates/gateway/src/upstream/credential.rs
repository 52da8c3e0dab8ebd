//! The key that a provider is shown: as configured, and read anew where it may change while the process runs.

use crate::config::{Credential, KeyRenewal, Secret};
use crate::metrics::{KeyRead, ProviderSeries};
use crate::upstream::pool::{ProviderError, X_API_KEY};
use arc_swap::ArcSwap;
use coalmine_core::id::ProviderName;
use coalmine_wire::dialect::Family;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

/// Refusals of a provider lead to no more than one reading within this time.
const ASKED_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// What goes out as authorization.
#[derive(Debug)]
pub(crate) enum Authorization {
    /// A key of ours.
    Own(OwnKey),
    /// The client's.
    Client,
    /// Nothing.
    None,
}

/// A key in its header, marked sensitive.
#[derive(Debug)]
pub(crate) struct OwnKey {
    provider: ProviderName,
    family: Family,
    value: ArcSwap<HeaderValue>,
    renewal: Option<KeyRenewal>,
    series: Arc<ProviderSeries>,
    /// When it was read after a refusal the last time. Held while it is read, so that many refusals lead to one reading.
    asked: Mutex<Option<Instant>>,
    failing: AtomicBool,
}

impl Authorization {
    pub(crate) fn new(
        provider: &ProviderName,
        family: Family,
        credential: &Credential,
        renewal: Option<&KeyRenewal>,
        series: &Arc<ProviderSeries>,
    ) -> Result<Self, ProviderError> {
        Ok(match credential {
            Credential::Bearer(key) => {
                let value = in_header(family, key).ok_or_else(|| ProviderError::BadKey(provider.clone()))?;
                Self::Own(OwnKey {
                    provider: provider.clone(),
                    family,
                    value: ArcSwap::from_pointee(value),
                    renewal: renewal.cloned(),
                    series: series.clone(),
                    asked: Mutex::default(),
                    failing: AtomicBool::new(false),
                })
            }
            Credential::Client => Self::Client,
            Credential::None => Self::None,
        })
    }

    /// The key, where it can be read anew.
    pub(crate) fn renewed(&self) -> Option<&OwnKey> {
        match self {
            Self::Own(key) => key.renewal.is_some().then_some(key),
            Self::Client | Self::None => None,
        }
    }
}

impl OwnKey {
    fn header(&self) -> HeaderName {
        match self.family {
            Family::OpenAi => header::AUTHORIZATION,
            Family::Anthropic => X_API_KEY,
        }
    }

    /// Puts it into a request.
    pub(crate) fn show(&self, headers: &mut HeaderMap) {
        headers.insert(self.header(), HeaderValue::clone(&self.value.load()));
    }

    /// The provider refused what these headers show: whether there is another key by now.
    pub(crate) async fn is_another_than(&self, shown: &HeaderMap) -> bool {
        let differs = || shown.get(self.header()) != Some(&**self.value.load());
        let mut asked = self.asked.lock().await;
        if differs() {
            return true;
        }
        if asked.is_some_and(|at| at.elapsed() < ASKED_AGAIN_AFTER) {
            return false;
        }
        self.read().await;
        *asked = Some(Instant::now());
        differs()
    }

    /// Reads it in its interval, for ever.
    pub(crate) async fn follow(&self) {
        let every = self.renewal.as_ref().map(|renewal| renewal.every).filter(|every| !every.is_zero());
        let Some(every) = every else { return };
        loop {
            sleep(every).await;
            self.read().await;
        }
    }

    /// Where it cannot be read, or is no key, the earlier one goes on.
    async fn read(&self) {
        let Some(renewal) = &self.renewal else { return };
        let read = renewal.source.read().await.map_err(|error| error.to_string());
        let value = read.and_then(|key| {
            in_header(self.family, &key).ok_or_else(|| "it has characters that no header may hold".to_owned())
        });
        let provider = &self.provider;
        match value {
            Err(why) => {
                self.series.note_key(KeyRead::Failed);
                if !self.failing.swap(true, Ordering::Relaxed) {
                    tracing::error!(%provider, why, "the provider's key cannot be read anew; the earlier one goes on");
                }
            }
            Ok(value) if **self.value.load() == value => {
                self.failing.store(false, Ordering::Relaxed);
                self.series.note_key(KeyRead::Same);
            }
            Ok(value) => {
                self.failing.store(false, Ordering::Relaxed);
                self.value.store(Arc::new(value));
                self.series.note_key(KeyRead::Changed);
                tracing::info!(%provider, "the provider is shown a new key");
            }
        }
    }
}

fn in_header(family: Family, key: &Secret) -> Option<HeaderValue> {
    let text = match family {
        Family::OpenAi => format!("Bearer {}", key.expose()),
        Family::Anthropic => key.expose().to_owned(),
    };
    let mut value = HeaderValue::from_str(&text).ok()?;
    value.set_sensitive(true);
    Some(value)
}
