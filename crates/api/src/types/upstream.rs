//! The addresses of providers.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One address of a provider, as this gateway sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UpstreamView {
    /// Whose.
    pub provider: String,
    /// The address, without its scheme.
    pub upstream: String,
    /// Where it stands.
    pub region: Option<String>,
    /// `in_service`, `put_aside` (by its own answers), `probed` (put aside, and one request shows how it is), `unwell` (by
    /// a look at its health).
    pub standing: String,
    /// Answers of about the breaker's window; counted where a provider has several addresses.
    pub answers: u64,
    /// The failures among them.
    pub failures: u64,
    /// Milliseconds to an answer's head, of late; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_ms: Option<f64>,
    /// Milliseconds that a look at its health, or a connection, takes, where that is measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distance_ms: Option<f64>,
    /// Connections kept open ahead of need, where configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm: Option<WarmView>,
    /// What it says of its load, where it is asked (`capacity`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<LoadView>,
}

/// Connections kept open ahead of need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WarmView {
    /// At the last look.
    pub open: u64,
    /// As configured.
    pub wanted: u64,
}

/// What an address says of its load: means over the last minute.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LoadView {
    /// Requests that it works on.
    pub running: Option<f64>,
    /// Requests that wait in it.
    pub waiting: Option<f64>,
    /// How full its cache is, 0 to 1.
    pub cache_used: Option<f64>,
    /// Why nothing is known; absent where something is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}
