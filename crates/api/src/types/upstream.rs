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
    /// Whether it is among those that requests are spread over now: in service, and in the nearest region that has anybody.
    #[serde(default)]
    pub serving: bool,
    /// Why it is not in service; absent where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aside: Option<AsideView>,
    /// What went wrong with a request last: an answer of 401, 403, 408, 429 or 5xx, or none that is whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_fault: Option<FaultView>,
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

/// Why an address is not in service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AsideView {
    /// `unreachable`, `failures_in_a_row`, `error_share`, `answers_cut_short`, `more_errors_than_siblings`,
    /// `slower_than_siblings`, `outrun_by_siblings`, `silent_while_siblings_answer`, or `unwell` (looks at its health).
    pub why: String,
    /// Since then.
    pub since_ms: u64,
    /// The failures that were reason enough: in a row, or among `answers`; of looks, those that failed until now; of one that was
    /// silent, the sessions that waited (48 at most).
    pub failures: u64,
    /// Where a share was the reason: of so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<u64>,
    /// Where it was slower than its siblings: its milliseconds to the first byte (geometric mean) when it was put aside,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_ms: Option<u64>,
    /// and those of the middle one of its siblings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub siblings_ms: Option<u64>,
    /// The last of them, in words of a bounded list: `answered 503`, `connection refused`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
    /// Requests that have tried it since, in vain.
    pub tries: u64,
    /// When a request may try it, or its health is looked at, again; absent while a request tries it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again_ms: Option<u64>,
}

/// What went wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FaultView {
    /// In words of a bounded list: `answered 503`, `connection refused`.
    pub what: String,
    /// When.
    pub at_ms: u64,
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
