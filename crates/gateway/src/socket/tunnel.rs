//! Bytes of a socket on their way, one task for each. The provider's go to the client as they come, and are read beside;
//! the client's go on message by message, for a version may stand in them. Neither side is read faster than the other
//! takes it.
//!
//! The client is pinged, so that nothing between takes a silent socket for dead, and so that one whose client is gone is
//! noticed; the answers to these pings end here, all other pings and pongs pass.

use super::dialog::{Dialog, Onward};
use crate::config::Timeouts;
use crate::gateway::Gateway;
use crate::listen::Slot;
use crate::passthrough::Passing;
use crate::phase::body::Held;
use crate::sync::lock;
use coalmine_wire::websocket::{self, Broken, Content, Frame, Reader, Sender, Sight};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, WriteHalf};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

const PIECE_BYTES: usize = 16 << 10;
/// A provider's message is read up to this length; a longer one passes unread.
const READ_MAX_BYTES: usize = 4 << 20;
/// From here on a client's message counts among the bodies that are held.
const SMALL_BYTES: usize = 64 << 10;
/// So long the other side may take to end when one has.
const GRACE: Duration = Duration::from_secs(10);
/// So long a last word may take to be taken.
const LAST_WORD: Duration = Duration::from_secs(2);
const PING: &[u8] = b"coalmine";

const GOING_AWAY: u16 = 1001;
const PROTOCOL_ERROR: u16 = 1002;
const TOO_BIG: u16 = 1009;
const TRY_AGAIN: u16 = 1013;

/// Why the gateway ends a socket.
#[derive(Debug, Clone)]
pub(super) struct Cut {
    code: u16,
    why: String,
}

/// By whom a socket ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    Client,
    Provider,
    Gateway,
}

/// What is read beside.
#[derive(Debug)]
pub(super) enum Talk {
    /// Turns.
    Dialog(Box<Dialog>),
    /// Nothing: it passes through.
    Passing(#[expect(dead_code, reason = "it is told of when it is dropped")] Box<Passing>),
}

/// A socket, from its agreement to its end.
#[derive(Debug)]
pub(super) struct Tunnel {
    gateway: Arc<Gateway>,
    talk: Mutex<Talk>,
    timeouts: Timeouts,
    ends_at: Instant,
    /// Whether the client has said or shown that it ends, and whether the provider has.
    client_ended: AtomicBool,
    provider_ended: AtomicBool,
    /// Whether a side has said that it closes, so that the other is to answer that.
    closing: AtomicBool,
    /// Whether something is on its way to the client, so that nothing can be said in between.
    in_a_frame: AtomicBool,
    _slot: Option<Arc<Slot>>,
    _counted: Counted,
}

/// What a client has said before its provider was there.
#[derive(Debug)]
pub(super) struct Said {
    /// As frames for the provider.
    pub(super) ready: Vec<u8>,
    /// Reads what follows.
    pub(super) reader: Reader,
}

/// Counts a socket for as long as it lives.
#[derive(Debug)]
pub(super) struct Counted(Arc<Gateway>);

impl Counted {
    pub(super) fn new(gateway: &Arc<Gateway>) -> Self {
        gateway.metrics.active.up();
        gateway.metrics.sockets.up();
        Self(gateway.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.metrics.sockets.down();
        self.0.metrics.active.down();
    }
}

impl Cut {
    pub(super) fn new(code: u16, why: impl Into<String>) -> Self {
        Self { code, why: why.into() }
    }

    /// As the payload of a close frame.
    pub(super) fn told(&self) -> Vec<u8> {
        websocket::close(self.code, &self.why)
    }
}

impl Onward {
    /// As frames for the provider.
    pub(super) fn write(self, message: &[u8], ready: &mut Vec<u8>) {
        if let Some(first) = self.first {
            websocket::write(Frame::Text, &first, Some(rand::random()), ready);
        }
        websocket::write(Frame::Text, self.instead.as_deref().unwrap_or(message), Some(rand::random()), ready);
    }
}

impl From<Broken> for Cut {
    fn from(broken: Broken) -> Self {
        Self::new(PROTOCOL_ERROR, broken.to_string())
    }
}

/// Begins when both sides have switched.
pub(super) fn start(tunnel: Tunnel, client: OnUpgrade, provider: OnUpgrade) {
    let reader = Reader::new(Sender::Client, tunnel.gateway.config.limits.body);
    let said = Said { ready: Vec::new(), reader };
    tokio::spawn(async move {
        // a client that is gone before it has switched has gone
        if let (Ok(client), Ok(provider)) = tokio::join!(client, provider) {
            tunnel.run(TokioIo::new(client), TokioIo::new(provider), said).await;
        }
    });
}

/// When a gateway that drains ends a socket: a little before its own end.
pub(super) async fn cut_at_drain(gateway: &Gateway, between_turns: impl Fn() -> bool) -> Cut {
    let cut = || Cut::new(GOING_AWAY, "this gateway ends; connect again");
    let mut ends = gateway.ends.subscribe();
    let Ok(until) = ends.wait_for(Option::is_some).await.map(|until| *until) else {
        return std::future::pending().await;
    };
    let now = Instant::now();
    let until = until.unwrap_or(now);
    let until = until - Duration::from_secs(1).min(until.saturating_duration_since(now) / 10);
    while Instant::now() < until && !between_turns() {
        tokio::time::sleep(Duration::from_millis(50).min(until.saturating_duration_since(Instant::now()))).await;
    }
    cut()
}

impl Tunnel {
    pub(super) fn new(gateway: &Arc<Gateway>, talk: Talk, timeouts: Timeouts, slot: Option<Arc<Slot>>) -> Self {
        Self {
            talk: Mutex::new(talk),
            ends_at: Instant::now() + timeouts.total,
            timeouts,
            client_ended: AtomicBool::new(false),
            provider_ended: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            in_a_frame: AtomicBool::new(false),
            _slot: slot,
            _counted: Counted::new(gateway),
            gateway: gateway.clone(),
        }
    }

    /// Until both sides have ended. What the client has said already goes on first.
    pub(super) async fn run(self, client: TokioIo<Upgraded>, provider: TokioIo<Upgraded>, said: Said) {
        let (mut client_reads, mut client_writes) = tokio::io::split(client);
        let (mut provider_reads, mut provider_writes) = tokio::io::split(provider);
        let ended = {
            let up = self.up(&mut client_reads, &mut provider_writes, said);
            let down = self.down(&mut provider_reads, &mut client_writes);
            let cut = cut_at_drain(&self.gateway, || self.is_between_turns());
            tokio::select! {
                ended = self.both(up, down) => ended,
                cut = cut => Err(cut),
                () = sleep_until(self.ends_at) => {
                    Err(Cut::new(GOING_AWAY, "the longest time of a connection is over; connect again"))
                }
            }
        };
        let by = match &ended {
            Ok(by) => *by,
            Err(_) => By::Gateway,
        };
        if let Talk::Dialog(dialog) = &mut *lock(&self.talk) {
            dialog.end(by);
        }
        if let Err(cut) = ended {
            self.gateway.metrics.sockets_cut.add(1);
            self.last_words(&cut, &mut client_writes, &mut provider_writes).await;
        }
    }

    /// Both ways, until one side has ended and the other has had its time to.
    async fn both(&self, up: impl Future<Output = Result<(), Cut>>, down: impl Future<Output = ()>) -> Result<By, Cut> {
        let (mut up, mut down) = (pin!(up), pin!(down));
        let by = tokio::select! {
            ended = &mut up => {
                ended?;
                let by = self.ended(By::Client);
                // a client that is gone without a word waits for nothing
                let grace = if self.closing.load(Ordering::Relaxed) { GRACE } else { Duration::ZERO };
                let _ = timeout(grace, down).await;
                by
            }
            () = &mut down => {
                let by = self.ended(By::Provider);
                let _ = timeout(GRACE, up).await;
                by
            }
        };
        Ok(by)
    }

    /// Who was first, where both have ended.
    fn ended(&self, now: By) -> By {
        let client = self.client_ended.load(Ordering::Relaxed);
        let provider = self.provider_ended.load(Ordering::Relaxed);
        match (client, provider) {
            (true, false) => By::Client,
            (false, true) => By::Provider,
            (true, true) | (false, false) => now,
        }
    }

    /// Notes who ends first; whoever answers that is not the one.
    fn note_end(&self, by: By) {
        let (own, other) = match by {
            By::Client => (&self.client_ended, &self.provider_ended),
            By::Provider | By::Gateway => (&self.provider_ended, &self.client_ended),
        };
        if !other.load(Ordering::Relaxed) {
            own.store(true, Ordering::Relaxed);
        }
    }

    fn is_between_turns(&self) -> bool {
        match &*lock(&self.talk) {
            Talk::Dialog(dialog) => dialog.may_end_when_idle() && dialog.is_idle(),
            Talk::Passing(_) => false,
        }
    }

    /// From the client to the provider.
    async fn up(
        &self,
        client: &mut (impl AsyncRead + Unpin),
        provider: &mut (impl AsyncWrite + Unpin),
        said: Said,
    ) -> Result<(), Cut> {
        let Said { mut ready, mut reader } = said;
        let mut held = Held::default();
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            if !ready.is_empty() {
                if write(provider, &ready).await.is_err() {
                    self.note_end(By::Provider);
                    return Ok(());
                }
                ready.clear();
                ready.shrink_to(PIECE_BYTES);
            }
            let Ok(came) = timeout(self.patience(), client.read(&mut piece)).await else {
                return Err(Cut::new(GOING_AWAY, "nothing was heard from the client for too long"));
            };
            let count = came.unwrap_or(0);
            if count == 0 {
                self.note_end(By::Client);
                // the provider feels that the client has left
                let _ = provider.shutdown().await;
                return Ok(());
            }
            reader.feed(&piece[..count], &mut |sight| self.of_client(sight, &mut ready))?;
            if reader.kept() <= SMALL_BYTES {
                held = Held::default();
            } else if !self.gateway.bodies.has_room(&mut held, reader.kept()).await {
                return Err(Cut::new(TRY_AGAIN, "this gateway holds as many bytes of requests as it may"));
            }
        }
    }

    /// So long a client may be silent that is pinged.
    fn patience(&self) -> Duration {
        self.timeouts.keep_alive.map_or(Duration::MAX, |every| self.timeouts.idle.max(every * 2))
    }

    fn of_client(&self, sight: Sight<'_>, ready: &mut Vec<u8>) -> Result<(), Cut> {
        let mask = Some(rand::random());
        match sight {
            Sight::Message(Content::Text, message) => {
                let onward = match &mut *lock(&self.talk) {
                    Talk::Dialog(dialog) => dialog.of_client(message)?,
                    Talk::Passing(_) => Onward::default(),
                };
                onward.write(message, ready);
            }
            Sight::Message(Content::Binary, message) => websocket::write(Frame::Binary, message, mask, ready),
            Sight::TooLong => {
                let most = self.gateway.config.limits.body;
                return Err(Cut::new(TOO_BIG, format!("a message is longer than {most} bytes")));
            }
            Sight::Pong(payload) if payload == PING => {}
            Sight::Ping(payload) => websocket::write(Frame::Ping, payload, mask, ready),
            Sight::Pong(payload) => websocket::write(Frame::Pong, payload, mask, ready),
            Sight::Close(payload) => {
                self.note_end(By::Client);
                self.closing.store(true, Ordering::Relaxed);
                websocket::write(Frame::Close, payload, mask, ready);
            }
        }
        Ok(())
    }

    /// From the provider to the client.
    async fn down(&self, provider: &mut (impl AsyncRead + Unpin), client: &mut (impl AsyncWrite + Unpin)) {
        let mut reader = Some(Reader::new(Sender::Server, READ_MAX_BYTES));
        let mut piece = vec![0; PIECE_BYTES];
        let every = self.timeouts.keep_alive;
        let mut ping_at = every.map(|every| Instant::now() + every);
        loop {
            let came = match ping_at {
                Some(at) => timeout_at(at, provider.read(&mut piece)).await,
                None => Ok(provider.read(&mut piece).await),
            };
            if let Ok(came) = came {
                let count = came.unwrap_or(0);
                if count == 0 {
                    self.note_end(By::Provider);
                    let _ = client.shutdown().await;
                    return;
                }
                let read = reader.as_mut().map(|reader| {
                    reader.feed::<Broken>(&piece[..count], &mut |sight| {
                        self.of_provider(sight);
                        Ok(())
                    })
                });
                if let Some(Err(_)) = read {
                    // what it is the client will say
                    reader = None;
                }
                self.in_a_frame.store(true, Ordering::Relaxed);
                if write(client, &piece[..count]).await.is_err() {
                    self.note_end(By::Client);
                    return;
                }
            }
            let between = reader.as_ref().is_some_and(Reader::is_between_frames);
            self.in_a_frame.store(!between, Ordering::Relaxed);
            let due = ping_at.zip(every).filter(|(at, _)| *at <= Instant::now());
            if let Some((_, every)) = due {
                ping_at = Some(Instant::now() + every);
                if between && self.ping(client).await.is_err() {
                    return;
                }
            }
        }
    }

    async fn ping(&self, client: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
        let mut frame = Vec::new();
        websocket::write(Frame::Ping, PING, None, &mut frame);
        write(client, &frame).await
    }

    fn of_provider(&self, sight: Sight<'_>) {
        match sight {
            Sight::Message(Content::Text, message) => {
                if let Talk::Dialog(dialog) = &mut *lock(&self.talk) {
                    dialog.of_provider(message);
                }
            }
            Sight::Close(_) => {
                self.note_end(By::Provider);
                self.closing.store(true, Ordering::Relaxed);
            }
            Sight::Message(Content::Binary, _) | Sight::TooLong | Sight::Ping(_) | Sight::Pong(_) => {}
        }
    }

    /// Tells both sides why the gateway ends it.
    async fn last_words(
        &self,
        cut: &Cut,
        client: &mut WriteHalf<TokioIo<Upgraded>>,
        provider: &mut WriteHalf<TokioIo<Upgraded>>,
    ) {
        let mut to_client = Vec::new();
        if !self.in_a_frame.load(Ordering::Relaxed) {
            websocket::write(Frame::Close, &cut.told(), None, &mut to_client);
        }
        let mut to_provider = Vec::new();
        let away = websocket::close(GOING_AWAY, "");
        websocket::write(Frame::Close, &away, Some(rand::random()), &mut to_provider);
        let last = async {
            let _ = tokio::join!(write(client, &to_client), write(provider, &to_provider));
            let _ = tokio::join!(client.shutdown(), provider.shutdown());
        };
        // who does not take them goes without
        let _ = timeout(LAST_WORD, last).await;
    }
}

/// Ends a socket that has no provider yet.
pub(super) async fn say_last(client: &mut (impl AsyncWrite + Unpin), error: Option<&[u8]>, cut: &Cut) {
    let mut out = Vec::new();
    if let Some(error) = error {
        websocket::write(Frame::Text, error, None, &mut out);
    }
    websocket::write(Frame::Close, &cut.told(), None, &mut out);
    let last = async {
        let _ = write(client, &out).await;
        let _ = client.shutdown().await;
    };
    let _ = timeout(LAST_WORD, last).await;
}

pub(super) async fn write(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> std::io::Result<()> {
    to.write_all(bytes).await?;
    to.flush().await
}

/// What a client says first, on a socket that has no provider yet.
#[derive(Debug)]
pub(super) struct First {
    /// Its messages of text: one, but for a client that sends several at once.
    pub(super) messages: Vec<Vec<u8>>,
    /// Reads what follows.
    pub(super) reader: Reader,
}

/// Waits for it, answering pings; `None` where the client leaves instead.
pub(super) async fn first(client: &mut TokioIo<Upgraded>, gateway: &Gateway) -> Result<Option<First>, Cut> {
    let mut reader = Reader::new(Sender::Client, gateway.config.limits.body);
    let mut held = Held::default();
    let mut piece = vec![0; PIECE_BYTES];
    let (mut messages, mut over, mut answers) = (Vec::new(), false, Vec::new());
    while messages.is_empty() && !over {
        let count = client.read(&mut piece).await.unwrap_or(0);
        if count == 0 {
            return Ok(None);
        }
        reader.feed(&piece[..count], &mut |sight| {
            match sight {
                Sight::Message(Content::Text, text) => messages.push(text.to_vec()),
                Sight::Message(Content::Binary, _) => return Err(Cut::new(1003, "events are messages of text")),
                Sight::TooLong => return Err(Cut::new(TOO_BIG, "the message is too long")),
                Sight::Ping(payload) => websocket::write(Frame::Pong, payload, None, &mut answers),
                Sight::Pong(_) => {}
                Sight::Close(payload) => {
                    websocket::write(Frame::Close, payload, None, &mut answers);
                    over = true;
                }
            }
            Ok(())
        })?;
        if reader.kept() > SMALL_BYTES && !gateway.bodies.has_room(&mut held, reader.kept()).await {
            return Err(Cut::new(TRY_AGAIN, "this gateway holds as many bytes of requests as it may"));
        }
        if !answers.is_empty() {
            let _ = write(client, &answers).await;
            answers.clear();
        }
    }
    Ok((!over).then_some(First { messages, reader }))
}
