//! What must hold of the wire, whatever comes from outside. The fuzz targets hold these laws over what they make up, and the
//! tests of the wire (`make test`) over every golden file and every finding: one law, twice used. What stands beside a body has its
//! laws in the gateway (`crates/gateway/src/laws.rs`).
//!
//! | module | of what |
//! |---|---|
//! | [`cut`] | whatever comes in pieces is the same in any pieces |
//! | [`sse`] | events and what is taken out of them |
//! | [`observer`] | what an answer says of itself, its usage above all |
//! | [`patch`] | requests, and versions put into them |
//! | [`translate`] | answers and requests in the other dialect |
//! | [`websocket`] | frames and the events in them |
//! | [`form`] | forms with files |
//! | [`schema`] | contracts that clients send, and what is held against them |
//! | [`replies`] | what judges, graders, webhooks and model servers say |

pub mod cut;
pub mod form;
pub mod observer;
pub mod patch;
pub mod replies;
pub mod schema;
pub mod sse;
pub mod translate;
pub mod websocket;
