//! What is configured about the control plane itself; a release's own criteria are in its policy.

use crate::captures::CaptureSettings;
use coalmine_core::id::{RouteName, TenantId};
use coalmine_core::sentinel::Sentinels;
use coalmine_core::time::SpanMs;
use coalmine_wire::prices::Prices;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// The settings. Spans named `wall_…` are the wall's, whatever the scale of the clock.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Whose routes and releases these are.
    pub tenant: TenantId,
    /// The name of this node in the lease: a restart under the same name takes over at once.
    pub node: String,
    /// How often the loop looks.
    pub wall_look_every: SpanMs,
    /// A gateway silent for longer is lagging and is waited for no longer.
    pub wall_gateway_silence: SpanMs,
    /// How long gateways are waited for after a table was published.
    pub wall_served_wait: SpanMs,
    /// How long one call of the store may take.
    pub wall_store_patience: SpanMs,
    /// Another node's lease that was not renewed for this long is over.
    pub wall_lease: SpanMs,
    /// Turns waiting to be counted; beyond this a delta is refused, to be offered again.
    pub queued_turns_max: usize,
    /// How long a session may be idle and still be answered by the version that it is pinned to:
    /// tables name the versions of releases that ended within this span.
    pub pin_idle: SpanMs,
    /// Who is told.
    pub webhooks: Vec<Webhook>,
    /// The routes' own sentinels, which stable is asked with or without a release.
    pub sentinels: BTreeMap<RouteName, Sentinels>,
    /// What is captured; `None`: nothing.
    pub captures: Option<CaptureSettings>,
    /// What models cost now: a release keeps what its versions cost when it was created. `None`: nobody knows here, and
    /// gateways go by their own list.
    pub prices: Option<Arc<Prices>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            tenant: TenantId::default(),
            node: "coalmine".to_owned(),
            wall_look_every: SpanMs::secs(1),
            wall_gateway_silence: SpanMs::secs(10),
            wall_served_wait: SpanMs::secs(30),
            wall_store_patience: SpanMs::secs(2),
            wall_lease: SpanMs::secs(15),
            queued_turns_max: 500_000,
            pin_idle: SpanMs::hours(24),
            webhooks: Vec::new(),
            sentinels: BTreeMap::new(),
            captures: None,
            prices: None,
        }
    }
}

/// One address that is told of what happens.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// Where to.
    pub url: Secret,
    /// Signs the letters; `None` sends them unsigned.
    pub secret: Option<Secret>,
    /// The shape of the body.
    pub form: Form,
    /// The address of the dashboard, put before `/releases/ID`; `None` gives no link.
    pub link_base: Option<String>,
    /// What it is told of, by the words of [`crate::notify::letter::event_of`]; empty: of everything.
    pub on: BTreeSet<String>,
}

/// The shape of a webhook's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// Every part as a field of its own.
    #[default]
    Fields,
    /// One `text`, as Slack's incoming webhooks take it.
    Slack,
}

/// Text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one who must send or sign with it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
