//! Bounds of sizes, counts and times.

use crate::config::fault::Complaint;
use crate::config::read::Fields;
use crate::config::scalar;
use coalmine_core::time::SpanMs;
use coalmine_gateway::WORKERS_MAX;

/// Bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest request body.
    pub body_bytes: usize,
    /// All request bodies that are held at once.
    pub bodies_bytes: usize,
    /// Client connections at a time.
    pub connections: usize,
    /// Threads that serve them; without a number as many as the machine has processors.
    pub threads: Option<usize>,
    /// A client's time to send the head of a request.
    pub header_timeout: SpanMs,
    /// A client's time to send the body.
    pub body_timeout: SpanMs,
    /// Time to connect to an upstream.
    pub connect_timeout: SpanMs,
    /// An upstream's time until its answer begins.
    pub first_byte_timeout: SpanMs,
    /// The same where the request asks for thinking.
    pub thinking_timeout: SpanMs,
    /// An upstream's longest silence inside an answer, pings and comments among it, once a stream has content; a client that takes
    /// nothing for as long is gone.
    pub idle_timeout: SpanMs,
    /// A request's time in all.
    pub total_timeout: SpanMs,
    /// How long a canary's answer is held back while it has no content, so that stable can take over.
    pub rescue_hold: SpanMs,
    /// After so long a silence inside a stream the client is sent a sign of life; zero: never.
    pub keep_alive: SpanMs,
    /// Time that running requests have when the process ends.
    pub drain: SpanMs,
    /// A session that is silent for longer loses its pin.
    pub session_idle: SpanMs,
}

/// What stands under `limits`.
pub(super) fn limits(fields: &Fields<'_>) -> Option<Limits> {
    let body_bytes = scalar::bytes(fields.text("body")?.value).ok()?;
    let bodies_bytes = scalar::bytes(fields.text("bodies")?.value).ok()?;
    if bodies_bytes < body_bytes {
        let complaint = Complaint::new("one body of the size `body` would never find room", "write at least `body`");
        fields.fault("bodies", complaint, None);
    }
    let threads = match fields.integer("threads") {
        Some(threads) => Some(usize::try_from(threads).ok()?),
        None => None,
    };
    if threads.is_some_and(|threads| !(1..=WORKERS_MAX).contains(&threads)) {
        let complaint = Complaint::new("so many threads are not started", "write a number from 1 to 256");
        fields.fault("threads", complaint, None);
    }
    Some(Limits {
        body_bytes,
        bodies_bytes,
        connections: usize::try_from(fields.integer("connections")?).ok()?,
        threads,
        header_timeout: fields.duration("header_timeout")?,
        body_timeout: fields.duration("body_timeout")?,
        connect_timeout: fields.duration("connect_timeout")?,
        first_byte_timeout: fields.duration("first_byte_timeout")?,
        thinking_timeout: fields.duration("thinking_timeout")?,
        idle_timeout: fields.duration("idle_timeout")?,
        total_timeout: fields.duration("total_timeout")?,
        rescue_hold: fields.duration("rescue_hold")?,
        keep_alive: fields.duration("keep_alive")?,
        drain: fields.duration("drain")?,
        session_idle: fields.duration("session_idle")?,
    })
}
