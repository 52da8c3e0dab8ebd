//! The data plane: answers requests, and tells what it learnt. It cannot link the store: with the
//! store and the control plane gone, the last table goes on serving.
//!
//! The way of a request is `proxy.rs`, on one screen: admit, identify, assign, rewrite, send, relay,
//! observe; each is a module under `phase/`.
//!
//! | module | what it holds |
//! |---|---|
//! | [`config`], [`ports`] | what a gateway is told, and what it needs of the world |
//! | [`Gateway`], [`listen`], [`tls`] | building, starting, draining one; accepting connections |
//! | [`Workers`] | the threads that requests run on |
//! | `admission` | who may ask, and how much: keys in service, rates, budgets |
//! | `table`, [`pins`], `conversations` | who gets what: the table in service, pins, sessions found by content |
//! | [`Gateway::probe`] | one question to one version, outside of all traffic |
//! | [`Gateway::readiness`] | whether a canary's upstreams can be given more |
//! | `upstream/` | pools, retries, breakers, the rescue budget |
//! | `tally`, `sink` | requests in flight, judged turns, the deltas that carry them away |
//! | [`client_address`] | who a client is by its address, behind proxies too |
//! | `request_id`, `feedback` | what joins a late score to its session |
//! | `laws` | for tests and fuzz targets: what holds of whatever comes beside a body |
//! | `metrics` | what operators see |
//! | `telemetry/` | what leaves beside: the access log, traces and metrics for a collector |

mod admission;
mod ages;
mod answer;
mod behind;
mod callers;
mod checkers;
pub mod client_address;
pub mod config;
mod conversations;
mod customers;
mod end;
mod feedback;
mod gateway;
mod headers;
mod judged;
#[cfg(any(test, feature = "fuzzing"))]
pub mod laws;
pub mod listen;
mod metrics;
mod names;
mod passthrough;
mod people;
mod phase;
pub mod pins;
pub mod ports;
mod probe;
mod proxy;
mod ready;
mod request_id;
mod shadow;
mod sink;
mod socket;
mod spread;
mod sync;
mod table;
mod tally;
mod telemetry;
pub mod tls;
mod upstream;
mod workers;

pub use answer::{AnswerBody, BoxError};
pub use gateway::{Gateway, Running};
pub use metrics::{Exposition, Traffic};
pub use probe::{ProbeError, Probed};
pub use ready::{Raised, To};
pub use upstream::pool::ProviderError;
pub use upstream::state::{AsideState, FaultState, LoadState, UpstreamState, WarmState};
pub use workers::{WORKERS_MAX, Workers};
