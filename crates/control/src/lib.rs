//! The control plane: looks, decides, commits, applies.
//!
//! # Map
//! | module | what it holds |
//! |---|---|
//! | [`control`] | the facade that API, app and loop share |
//! | [`prices`] | what a release keeps of the price list |
//! | [`clock`], [`ports`], [`settings`] | the only reader of time; what is needed of the world; what is configured |
//! | `reconcile` | the loop, on one screen |
//! | `observe`, `watched` | deltas to stored evidence; ledger and books of one release |
//! | `goes` | long counting beside requests |
//! | `act`, `brake` | the way of a decision; the way of a rollback, which works without the store |
//! | `apply`, `publish`, [`notify`] | one idempotent function per effect; tables; webhooks |
//! | `drift`, `incidents` | what is seen of a steady stable, and what people are told of it |
//! | `sentinels` | rounds of known-answer prompts, beside the loop |
//! | [`intake`], [`gateways`] | what gateways report, counted once; who is alive and serves what |
//! | [`keys`] | client keys and their table; what is used under them, summed |
//! | `retention` | what is kept beside the evidence, and what is forgotten |
//! | `load`, `known` | from the store into memory; what memory holds |
//! | [`view`], [`error`], [`trail`] | what the facade answers |
//! | `foresee` | before the start: what the route's own traffic says of a release |
//! | [`replay`] | whether the journal, decided anew, gives the same decisions |
//! | [`judges`] | sampled answers, put to a pinned model beside the loop |
//! | [`captures`] | sampled answers, redacted and sealed, for people to read side by side |
//! | [`lease`] | one writer at a time |

mod act;
mod apply;
mod brake;
pub mod captures;
pub mod clock;
pub mod control;
mod drift;
pub mod error;
pub mod foresee;
pub mod gateways;
mod goes;
mod incidents;
pub mod intake;
pub mod judges;
pub mod keys;
mod known;
pub mod lease;
mod load;
pub mod notify;
mod observe;
pub mod ports;
pub mod prices;
mod publish;
mod ready;
mod reconcile;
pub mod replay;
mod retention;
pub mod sentinels;
pub mod settings;
pub mod trail;
pub mod view;
mod watched;

pub use control::Control;
pub use error::ControlError;
pub use ready::Haste;
