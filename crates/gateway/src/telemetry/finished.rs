//! What is laid down of a request when it is over: shared names and numbers, no text of it.

use crate::admission::Holder;
use crate::phase::observe::Counted;
use crate::table::Prepared;
use crate::tally::Flight;
use crate::telemetry::trace::Trace;
use coalmine_core::id::{Generation, ProviderName};
use coalmine_core::tally::{Outcome, Usage};
use coalmine_core::time::UnixMs;
use coalmine_core::traffic::pin::Arm;
use coalmine_wire::dialect::Dialect;
use http::Method;
use std::net::IpAddr;
use std::sync::Arc;

/// A turn that is over.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) flight: Arc<Flight>,
    pub(crate) prepared: Arc<Prepared>,
    pub(crate) holder: Arc<Holder>,
    pub(crate) client: IpAddr,
    pub(crate) trace: Option<Trace>,
    pub(crate) dialect: Dialect,
    pub(crate) arm: Arm,
    /// The table that decided.
    pub(crate) table: Generation,
    /// Why it got its version.
    pub(crate) reason: &'static str,
    /// What the client saw.
    pub(crate) client_status: u16,
    pub(crate) outcome: Outcome,
    /// Who counted its tokens.
    pub(crate) counted: Counted,
    /// Whether two addresses were asked.
    pub(crate) hedged: bool,
    pub(crate) request_id: Option<String>,
    pub(crate) ended_at: UnixMs,
}

/// A request that was passed through.
#[derive(Debug)]
pub(crate) struct Passed {
    pub(crate) started_at: UnixMs,
    pub(crate) ended_at: UnixMs,
    pub(crate) method: Method,
    pub(crate) provider: ProviderName,
    pub(crate) holder: Arc<Holder>,
    pub(crate) client: IpAddr,
    pub(crate) trace: Option<Trace>,
    /// 0 where there was no answer.
    pub(crate) status: u16,
    pub(crate) usage: Usage,
    pub(crate) counted: Counted,
}

/// A request that the gateway answered by itself, with an error.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) at: UnixMs,
    pub(crate) client: IpAddr,
    pub(crate) status: u16,
    pub(crate) dialect: Dialect,
}
