//! The configuration: `coalmine.yaml` and `releases/*.yaml`, read strictly. All errors of a file
//! are told together, each with its place, its key and the mend.
//!
//! | module | what it holds |
//! |---|---|
//! | [`table`] | the one table of keys: names, kinds, defaults, meanings |
//! | `tree` | YAML as a tree that knows its places |
//! | `check` | a tree against the table |
//! | `scalar`, `json` | the forms of single values |
//! | `read` | typed access to what was checked |
//! | [`process`], [`release`] | the two files as the process uses them |
//! | [`route`] | the routes of the first |
//! | [`telemetry`] | what is told of requests beside, with the environment's own words |
//! | [`judge`] | judges with their anchors |
//! | [`suite`] | suites of sentinels, in promptfoo's form |
//! | [`export`] | the present as a file |
//! | `laws` | for tests and fuzz targets: what holds of whatever is written in such a file |
//! | [`schema`], [`mod@reference`] | JSON Schemas and reference pages from the table |

pub mod export;
pub mod fault;
pub mod judge;
pub mod key;
pub mod process;
pub mod reference;
pub mod release;
pub mod route;
pub mod schema;
pub mod secret;
mod shadow;
pub mod suite;
pub mod table;
pub mod telemetry;

mod capture;
mod check;
mod guardrails;
pub mod hooks;
mod json;
#[cfg(any(test, feature = "fuzzing"))]
pub mod laws;
mod limits;
mod people;
mod prices;
mod prompt;
mod read;
mod scalar;
#[cfg(test)]
mod tests;
mod tree;
mod upstream;
mod version;
mod zone;

pub use capture::Capture;
pub use fault::{At, Fault, Faults};
pub use hooks::{Assessor, Webhook, WebhookFormat};
pub use limits::Limits;
pub use process::{Customer, Process, Provider, ProviderKind, TlsFiles, Upstream, parse_process};
pub use release::{Background, ReleaseSpec, RouteBackground, parse_release};
pub use route::Route;
pub use scalar::{CustomerSource, SessionSource, StoreAddress};
pub(crate) use scalar::{duration, money};
pub use secret::{Machine, Secret, Surroundings};
pub use telemetry::{AccessLog, Otlp, Telemetry};
