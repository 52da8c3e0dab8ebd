//! The access log: a line of JSON per request, written in batches by one thread. Requests lay down what they were
//! and go on; where the writer does not keep up, or cannot write, lines are lost and counted.

use crate::config::LogTarget;
use crate::metrics::{Counter, ending_label};
use crate::phase::observe::Counted;
use crate::telemetry::basket::Basket;
use crate::telemetry::finished::{Finished, Passed, Refused};
use coalmine_core::key::Day;
use coalmine_core::origin::Transport;
use coalmine_core::tally::{Blame, ServedBy, Usage};
use coalmine_core::time::UnixMs;
use coalmine_wire::dialect::Dialect;
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;
use tokio::sync::oneshot;

/// Requests that wait to be written: some seconds of a busy gateway.
const WAITING_MAX: usize = 32_768;
/// How often they are written.
const EVERY: Duration = Duration::from_millis(200);
/// Bytes that are given to the file at once.
const PIECE_BYTES: usize = 64 << 10;

/// What waits to be written, and where to.
#[derive(Debug)]
pub(crate) struct AccessLog {
    target: LogTarget,
    basket: Basket<Entry>,
    lost: Counter,
}

/// One request.
#[derive(Debug)]
pub(crate) enum Entry {
    Turn(Arc<Finished>),
    Passed(Passed),
    Refused(Refused),
}

/// The thread that writes.
#[derive(Debug)]
pub(crate) struct Writer {
    stop: Sender<()>,
    ended: oneshot::Receiver<()>,
}

/// One line. What is not known is left out.
#[derive(Debug, Default, Serialize)]
struct Line<'a> {
    /// When the request's last byte came.
    ts: String,
    surface: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arm: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    release: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answered_as: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream_status: Option<u16>,
    ending: &'static str,
    blame: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttft_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cached_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost_usd: Option<f64>,
    /// Whether some of the tokens were reckoned from bytes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    estimated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    retries: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rescued: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fallback: Option<bool>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    hedged: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    span_id: Option<String>,
}

impl AccessLog {
    pub(crate) fn new(target: LogTarget) -> Self {
        Self { target, basket: Basket::new(WAITING_MAX), lost: Counter::default() }
    }

    /// Lays a request down.
    pub(crate) fn note(&self, entry: Entry) {
        self.basket.lay(entry);
    }

    /// Lines that were not written: the queue was full, or the disk.
    pub(crate) fn lost(&self) -> u64 {
        self.basket.dropped() + self.lost.get()
    }
}

impl Writer {
    /// Starts the thread; without one, nothing is logged and every line counts as lost.
    pub(crate) fn start(log: Arc<AccessLog>) -> Option<Self> {
        let (stop, stopped) = channel();
        let (tell, ended) = oneshot::channel();
        let run = move || {
            let mut page = Page::new(log);
            // a sender that is gone is as good as the word
            while matches!(stopped.recv_timeout(EVERY), Err(RecvTimeoutError::Timeout)) {
                page.write_what_waits();
            }
            page.write_what_waits();
            let _ = tell.send(());
        };
        match std::thread::Builder::new().name("access-log".to_owned()).spawn(run) {
            Ok(_) => Some(Self { stop, ended }),
            Err(error) => {
                tracing::error!(%error, "no thread for the access log; requests are not logged");
                None
            }
        }
    }

    /// Lets the thread write what is left; it tells when it has.
    pub(crate) fn end(self) -> oneshot::Receiver<()> {
        let _ = self.stop.send(());
        self.ended
    }
}

/// What is open, and in which state.
struct Page {
    log: Arc<AccessLog>,
    out: Out,
    waiting: Vec<Entry>,
    text: Vec<u8>,
    /// The end of every line in `text`.
    ends: Vec<usize>,
    /// The last line that was begun has no end.
    torn: bool,
    failing: bool,
}

/// Where lines go.
enum Out {
    Stderr,
    File {
        path: PathBuf,
        open: Option<File>,
    },
    #[cfg(test)]
    Test(Box<dyn Write + Send>),
}

impl Page {
    fn new(log: Arc<AccessLog>) -> Self {
        let out = match &log.target {
            LogTarget::Stderr => Out::Stderr,
            LogTarget::File(path) => Out::File { path: path.clone(), open: None },
        };
        Self { log, out, waiting: Vec::new(), text: Vec::new(), ends: Vec::new(), torn: false, failing: false }
    }

    fn write_what_waits(&mut self) {
        let mut waiting = std::mem::take(&mut self.waiting);
        self.log.basket.take(&mut waiting);
        for entry in waiting.drain(..) {
            // numbers and names can always be written
            if serde_json::to_writer(&mut self.text, &entry.line()).is_ok() {
                self.text.push(b'\n');
                self.ends.push(self.text.len());
            }
            if self.text.len() >= PIECE_BYTES {
                self.write_piece();
            }
        }
        self.waiting = waiting;
        self.write_piece();
    }

    /// Writes what is prepared. Of lines that cannot be written none is kept: they would fill the memory next.
    fn write_piece(&mut self) {
        if self.ends.is_empty() {
            return;
        }
        let begin = usize::from(self.torn);
        if self.torn {
            self.text.insert(0, b'\n');
            self.ends.iter_mut().for_each(|end| *end += 1);
        }
        let (written, failed) = self.out.write(&self.text);
        let whole = self.ends.partition_point(|end| *end <= written);
        let last_end = whole.checked_sub(1).and_then(|last| self.ends.get(last)).copied().unwrap_or(begin);
        self.torn = written > last_end || self.torn && written == 0;
        self.log.lost.add((self.ends.len() - whole) as u64);
        match failed {
            Some(error) if !self.failing => {
                tracing::error!(%error, "the access log cannot be written; lines are lost until it can");
                self.failing = true;
            }
            None if self.failing => {
                tracing::info!(lost = self.log.lost(), "the access log is written again");
                self.failing = false;
            }
            Some(_) | None => {}
        }
        self.text.clear();
        self.ends.clear();
    }
}

impl Out {
    /// How much of it was taken, and what stood in the way of the rest.
    fn write(&mut self, text: &[u8]) -> (usize, Option<io::Error>) {
        match self {
            Self::Stderr => write_into(&mut io::stderr().lock(), text),
            Self::File { path, open } => {
                // moved away or removed, as a rotation does
                if open.as_ref().is_some_and(|file| !is_at(file, path)) {
                    *open = None;
                }
                if open.is_none() {
                    match OpenOptions::new().create(true).append(true).open(&*path) {
                        Ok(file) => *open = Some(file),
                        Err(error) => return (0, Some(error)),
                    }
                }
                open.as_mut().map_or((0, None), |file| write_into(file, text))
            }
            #[cfg(test)]
            Self::Test(out) => write_into(out, text),
        }
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(open), Ok(there)) = (file.metadata(), std::fs::metadata(path)) else { return false };
    (open.dev(), open.ino()) == (there.dev(), there.ino())
}

fn write_into(out: &mut (impl Write + ?Sized), text: &[u8]) -> (usize, Option<io::Error>) {
    let mut written = 0;
    while written < text.len() {
        match out.write(&text[written..]) {
            Ok(0) => return (written, Some(io::ErrorKind::WriteZero.into())),
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Some(error)),
        }
    }
    (written, None)
}

impl Entry {
    fn line(&self) -> Line<'_> {
        match self {
            Self::Turn(finished) => turn(finished),
            Self::Passed(passed) => Line {
                ts: instant(passed.started_at),
                surface: "passed_through",
                method: Some(passed.method.as_str()),
                client: Some(passed.client),
                key: passed.holder.name.as_ref().map(|name| name.as_str()),
                provider: Some(passed.provider.as_str()),
                status: passed.status,
                ending: if passed.status == 0 { "unanswered" } else { "passed_through" },
                blame: by_status(passed.status),
                latency_ms: Some(passed.ended_at.since(passed.started_at).0 as f64),
                trace_id: passed.trace.map(|trace| trace.id.to_string()),
                ..Line::default()
            }
            .with_usage(passed.usage, passed.counted),
            Self::Refused(refused) => Line {
                ts: instant(refused.at),
                surface: surface(refused.dialect),
                client: Some(refused.client),
                status: refused.status,
                ending: "refused",
                blame: if refused.status < 500 { "client" } else { "gateway" },
                ..Line::default()
            },
        }
    }
}

impl Line<'_> {
    fn with_usage(self, usage: Usage, counted: Counted) -> Self {
        Self {
            estimated: counted == Counted::Estimated,
            input_tokens: usage.input,
            output_tokens: usage.output,
            cached_tokens: usage.cached,
            reasoning_tokens: usage.reasoning,
            ..self
        }
    }
}

fn turn(finished: &Finished) -> Line<'_> {
    let (flight, outcome) = (&finished.flight, &finished.outcome);
    let version = &finished.prepared.version;
    Line {
        ts: instant(flight.started_at),
        surface: surface(finished.dialect),
        route: Some(flight.route.as_str()),
        version: Some(flight.version.to_string()),
        arm: Some(finished.arm.as_str()),
        release: flight.member.as_ref().map(|member| member.release.as_str()),
        reason: Some(finished.reason),
        session: flight.unit.map(|unit| unit.to_string()),
        client: Some(finished.client),
        key: finished.holder.name.as_ref().map(|name| name.as_str()),
        provider: Some(version.provider.as_str()),
        model: Some(&version.model),
        answered_as: outcome.answered_as.model.as_deref(),
        stream: Some(flight.origin.transport == Transport::Stream),
        status: finished.client_status,
        upstream_status: Some(outcome.status).filter(|status| *status != 0),
        ending: ending_label(outcome.ending),
        blame: blame(outcome.ending.blame()),
        ttft_ms: outcome.ttft_ms,
        latency_ms: Some(outcome.latency_ms),
        cost_usd: outcome.cost_usd,
        retries: Some(outcome.retries),
        rescued: Some(outcome.served_by == ServedBy::Rescue),
        fallback: Some(outcome.served_by == ServedBy::Fallback),
        hedged: finished.hedged,
        request_id: finished.request_id.as_deref(),
        trace_id: finished.trace.map(|trace| trace.id.to_string()),
        span_id: finished.trace.and_then(|trace| trace.span).map(|span| span.to_string()),
        ..Line::default()
    }
    .with_usage(outcome.usage, finished.counted)
}

/// Whose failure it is, in a word.
pub(crate) const fn blame(blame: Blame) -> &'static str {
    match blame {
        Blame::Nobody => "nobody",
        Blame::Client => "client",
        Blame::Gateway => "gateway",
        Blame::Upstream => "upstream",
    }
}

const fn by_status(status: u16) -> &'static str {
    match status {
        200..=399 => "nobody",
        400..=499 => "client",
        _ => "upstream",
    }
}

const fn surface(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Chat => "chat_completions",
        Dialect::Messages => "messages",
        Dialect::Responses => "responses",
        Dialect::Embeddings => "embeddings",
        Dialect::Completions => "completions",
        Dialect::Realtime => "realtime",
    }
}

/// `2026-11-24T09:15:00.250Z` (RFC 3339).
fn instant(at: UnixMs) -> String {
    let day = Day::of(at);
    let ms = at.since(day.begins_at()).0;
    let (secs, ms) = (ms / 1_000, ms % 1_000);
    format!("{day}T{:02}:{:02}:{:02}.{ms:03}Z", secs / 3_600, secs / 60 % 60, secs % 60)
}

#[cfg(test)]
mod tests;
