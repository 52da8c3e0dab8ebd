//! Connections to a provider's servers, kept where they were made: a request takes one of its own thread's, so that no
//! other thread is woken by it, and where that has none it makes one.
//!
//! Nothing is sent twice that a server may have seen. A request goes out once more only where the connection gives it
//! back unsent, or where an HTTP/2 server says that it did nothing with it.

mod body;
mod dial;
mod head;
#[cfg(any(test, feature = "fuzzing"))]
mod laws;
mod outgoing;
mod rest;
mod settings;
mod shard;
mod single;
mod streams;
#[cfg(test)]
mod tests;

use crate::upstream::address::Address;
use crate::upstream::asked::Asked;
use crate::upstream::fault::Fault;
use crate::upstream::pool::Trouble;
use crate::upstream::under_way::UnderWay;
use crate::workers::here;
pub(crate) use body::ProviderBody;
use dial::{Dialer, is_http2};
use head::NoHead;
use http::header::{Entry, HOST};
use http::uri::Scheme;
use http::{HeaderValue, Response, Uri};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use laws::laws;
use rest::Misframed;
use shard::{Dialing, NoConnection, Shard, Way};
use single::Single;
use std::io;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use streams::{Shared, Stream};
use tokio::time::{Instant, timeout};

/// Idle connections to one server, of all threads.
const IDLE_MAX: usize = 1_024;
/// How long one may be idle.
const IDLE_TIME: Duration = Duration::from_secs(60);
/// A request that HTTP/2 servers refuse undone, or whose connections close under it, is sent again so often.
const AGAIN_MAX: u32 = 3;
/// The most of an answer's head, with what was said before it.
const HEAD_BYTES_MAX: usize = 128 << 10;
/// How long a request waits for a connection that another one is making, before it makes its own.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// The connections to one provider.
#[derive(Debug)]
pub(crate) struct Connections {
    dialer: Dialer,
    /// For websockets, which begin in HTTP/1.1 on a connection of their own; made with the first.
    sockets: OnceLock<Dialer>,
    hosts: Vec<Host>,
    /// By address: which host it lies on.
    on: Vec<usize>,
}

/// One server, by scheme, name and port; addresses that differ by path alone share its connections.
#[derive(Debug)]
struct Host {
    root: Uri,
    /// As HTTP/1.1 names it.
    name: HeaderValue,
    speaks: Speaks,
    shards: Vec<Arc<Shard>>,
}

/// What a server was seen to speak: by it is known whether a connection that is being made can be shared.
#[derive(Debug)]
struct Speaks(AtomicU8);

impl Speaks {
    const UNKNOWN: u8 = 0;
    const HTTP1: u8 = 1;
    const HTTP2: u8 = 2;
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Missed {
    #[error("no connection: {0}")]
    NoConnection(NoConnection),
    #[error("{0}")]
    Lost(Lost),
}

/// Why an answer has no end, or no beginning.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    #[error("the connection was closed while it was idle")]
    Closed,
    #[error("the connection was closed before the answer was whole")]
    CutShort,
    #[error("the connection broke: {0}")]
    Wire(#[from] io::Error),
    #[error("the answer's head cannot be read: {0}")]
    Head(#[from] NoHead),
    #[error("the answer's body cannot be read: {0}")]
    Body(#[from] Misframed),
    #[error("the request's body is not as long as it says")]
    Asked,
    /// Of HTTP/2, or of a connection for a socket.
    #[error("{0}")]
    Hyper(#[from] hyper::Error),
}

impl Missed {
    fn hyper(error: hyper::Error) -> Self {
        Self::Lost(error.into())
    }

    /// What it says of its address.
    pub(crate) fn fault(&self) -> Fault {
        match self {
            Self::NoConnection(why) => Fault::of_connecting(&**why),
            Self::Lost(_) => Fault::of_trouble(self.trouble()),
        }
    }

    pub(crate) fn trouble(&self) -> Trouble {
        match self {
            Self::NoConnection(_) => Trouble::Connect,
            Self::Lost(Lost::Head(_) | Lost::Body(_)) => Trouble::Malformed,
            Self::Lost(Lost::Hyper(error)) if error.is_parse() => Trouble::Malformed,
            Self::Lost(Lost::Closed | Lost::CutShort | Lost::Wire(_) | Lost::Asked | Lost::Hyper(_)) => Trouble::Broken,
        }
    }
}

/// One try that came to nothing.
#[derive(Debug)]
enum Failed {
    /// Nobody has done anything with the request: it may be sent again.
    Undone(Asked, Lost),
    /// Somebody may have.
    Lost(Lost),
}

/// A connection just made.
enum Made {
    Single(Box<Single>),
    Shared(Stream),
}

impl Connections {
    /// For requests on so many threads, and beside them.
    pub(crate) fn new(addresses: &[Address], connect: Duration, threads: usize) -> Self {
        Self::with(addresses, Dialer::new(connect), threads)
    }

    fn with(addresses: &[Address], dialer: Dialer, threads: usize) -> Self {
        let shards = 1 + threads;
        let (mut hosts, mut on) = (Vec::<Host>::new(), Vec::new());
        for root in addresses.iter().map(Address::root) {
            let same = |host: &Host| host.root.scheme() == root.scheme() && host.root.authority() == root.authority();
            on.push(hosts.iter().position(same).unwrap_or(hosts.len()));
            if on.last() == Some(&hosts.len()) {
                hosts.push(Host::new(root, shards));
            }
        }
        Self { dialer, sockets: OnceLock::new(), hosts, on }
    }

    /// Sends a request, its URI in full, to an address; `now` is when. Dropping the future, or the answer's body, cancels it there.
    pub(crate) async fn send(
        &self,
        at: usize,
        request: Asked,
        under_way: &UnderWay,
        now: Instant,
    ) -> Result<Response<ProviderBody>, Missed> {
        let host = &self.hosts[self.on[at]];
        let shard = host.shard();
        let (mut asked, mut again, mut refused_by, mut now) = (request, 0, None, now);
        loop {
            let made = match shard.way(host.may_share(), refused_by.as_ref(), now) {
                Way::Single(single, since) => match single.ask(host, asked, under_way).await {
                    Ok(response) => return Ok(response),
                    // closed while it was idle
                    Err(Failed::Undone(request, _)) => {
                        asked = request;
                        continue;
                    }
                    Err(Failed::Lost(error)) => {
                        if let (Lost::Wire(_) | Lost::CutShort, Some(since)) = (&error, since) {
                            shard.distrust(since);
                        }
                        return Err(Missed::Lost(error));
                    }
                },
                Way::Shared(stream) => Made::Shared(stream),
                // boxed, for it is large and few requests come to it
                Way::Dial(dialing) => Box::pin(self.dial(host, shard, dialing)).await?,
                Way::Wait(made) => match timeout(WAIT_MAX, made).await {
                    Ok(Ok(why)) => return Err(Missed::NoConnection(why)),
                    Ok(Err(_made_or_given_up)) => {
                        now = Instant::now();
                        continue;
                    }
                    Err(_elapsed) => Box::pin(self.dial(host, shard, None)).await?,
                },
            };
            let (state, tried) = match made {
                Made::Single(single) => (None, single.ask(host, asked, under_way).await),
                Made::Shared(stream) => (Some(stream.state()), stream.ask(asked, under_way).await),
            };
            match tried {
                Ok(response) => return Ok(response),
                Err(Failed::Undone(request, _)) if state.is_some() && again < AGAIN_MAX => {
                    (asked, again, refused_by) = (request, again + 1, state);
                }
                Err(Failed::Undone(_, error) | Failed::Lost(error)) => return Err(Missed::Lost(error)),
            }
        }
    }

    async fn dial(&self, host: &Host, shard: &Arc<Shard>, dialing: Option<Dialing>) -> Result<Made, Missed> {
        let stream = match self.dialer.dial(host.root.clone()).await {
            Ok(stream) => stream,
            Err(error) => {
                let why = NoConnection::from(error);
                if let Some(dialing) = dialing {
                    dialing.fail(&why);
                }
                return Err(Missed::NoConnection(why));
            }
        };
        if is_http2(&stream) {
            host.speaks.0.store(Speaks::HTTP2, Ordering::Relaxed);
            let (shared, stream) = Shared::open(stream, dialing).await.map_err(Missed::hyper)?;
            shard.share(shared);
            return Ok(Made::Shared(stream));
        }
        host.speaks.0.store(Speaks::HTTP1, Ordering::Relaxed);
        drop(dialing);
        Ok(Made::Single(Single::new(stream, shard)))
    }

    /// Sends a request to change protocols, on a connection of its own.
    pub(crate) async fn open(&self, at: usize, mut request: Asked) -> Result<Response<ProviderBody>, Missed> {
        let host = &self.hosts[self.on[at]];
        let dialer = self.sockets.get_or_init(|| self.dialer.without_http2());
        let stream = dialer.dial(host.root.clone()).await.map_err(|error| Missed::NoConnection(error.into()))?;
        let (mut send, wire) = hyper::client::conn::http1::handshake(stream).await.map_err(Missed::hyper)?;
        tokio::spawn(async move {
            if let Err(error) = wire.with_upgrades().await {
                tracing::debug!(%error, "a connection for a socket ended");
            }
        });
        host.dress(&mut request);
        let response = send.send_request(*request).await.map_err(Missed::hyper)?;
        Ok(response.map(ProviderBody::driven))
    }

    /// Closes what was idle for too long, and lets go of what the server has closed.
    pub(crate) fn sweep(&self, now: Instant) {
        for shard in self.hosts.iter().flat_map(|host| &host.shards) {
            shard.sweep(now);
        }
    }

    /// Idle connections to all servers.
    #[cfg(test)]
    fn idle(&self) -> usize {
        self.hosts.iter().flat_map(|host| &host.shards).map(|shard| shard.idle()).sum()
    }
}

impl Host {
    fn new(root: Uri, shards: usize) -> Self {
        let each = IDLE_MAX.div_ceil(shards);
        Self {
            name: name(&root),
            root,
            speaks: Speaks(AtomicU8::new(Speaks::UNKNOWN)),
            shards: (0..shards).map(|_| Arc::new(Shard::new(each))).collect(),
        }
    }

    /// What this thread keeps.
    fn shard(&self) -> &Arc<Shard> {
        // a test may have more of them than this was made for
        &self.shards[here() % self.shards.len()]
    }

    /// Whether a connection that is made now may turn out to bear many requests.
    fn may_share(&self) -> bool {
        self.root.scheme() == Some(&Scheme::HTTPS) && self.speaks.0.load(Ordering::Relaxed) != Speaks::HTTP1
    }

    /// Makes a request one of HTTP/1.1: the host in a header, and no more than the path in its first line.
    fn dress(&self, request: &mut Asked) {
        if let Entry::Vacant(vacant) = request.headers_mut().entry(HOST) {
            vacant.insert(self.name.clone());
        }
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = path.map_or_else(Uri::default, Uri::from);
    }
}

/// A port is told where it is not that of the scheme.
fn name(root: &Uri) -> HeaderValue {
    let own = if root.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
    let host = root.host().unwrap_or_default();
    let port = root.port_u16().filter(|port| *port != own).map_or_else(String::new, |port| format!(":{port}"));
    // a host of a URI has no sign that a header may not have
    HeaderValue::from_str(&format!("{host}{port}")).unwrap_or_else(|_| HeaderValue::from_static(""))
}
