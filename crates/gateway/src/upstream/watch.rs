//! What goes on beside requests: looking at the health of addresses, measuring how far they are, comparing them, and
//! keeping connections open; what they say of their load is read here too. All of it in the wall's time, none of it counted as a turn.

use crate::config::{HealthCheck, Nearest, Warm};
use crate::upstream::asked::AskedBody;
use crate::upstream::choice::Look;
use crate::upstream::credential::Authorization;
use crate::upstream::fault::Fault;
use crate::upstream::pool::Pool;
use crate::upstream::under_way::UnderWay;
use bytes::Bytes;
use futures_util::future::join_all;
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Limited};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout};

/// How often addresses are compared and regions put in order.
const RECKON_EVERY: Duration = Duration::from_secs(1);
/// How often connections that are idle are looked at.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// How often it is measured how far an address is, where nothing else tells.
const MEASURE_EVERY: Duration = Duration::from_secs(10);
/// The most that is read of an answer.
const READ_MAX: usize = 1 << 20;
/// How long a request that only warms a connection may take.
const WARM_WITHIN: Duration = Duration::from_secs(10);

/// Starts what a provider's addresses need.
pub(crate) fn start(pool: &Arc<Pool>) -> Vec<JoinHandle<()>> {
    let mut tasks = Vec::new();
    if pool.choice.is_free() {
        tasks.push(tokio::spawn(Arc::clone(pool).reckon()));
    }
    tasks.push(tokio::spawn(Arc::clone(pool).sweep()));
    if pool.manners.authorization.renewed().is_some() {
        tasks.push(tokio::spawn(Arc::clone(pool).follow_key()));
    }
    for at in 0..pool.addresses.len() {
        match &pool.health {
            Some(health) => tasks.push(tokio::spawn(Arc::clone(pool).look(at, health.clone()))),
            None if pool.choice.nearest() == Nearest::Measured => {
                tasks.push(tokio::spawn(Arc::clone(pool).measure(at)));
            }
            None => {}
        }
        if let Some(check) = &pool.capacity {
            tasks.push(tokio::spawn(Arc::clone(pool).read_load(at, check.clone())));
        }
        if let Some(warm) = pool.warm[at] {
            tasks.push(tokio::spawn(Arc::clone(pool).keep_warm(at, warm)));
        }
    }
    tasks
}

impl Pool {
    async fn reckon(self: Arc<Self>) {
        loop {
            tokio::time::sleep(RECKON_EVERY).await;
            for change in self.choice.reckon(self.clock.now()) {
                self.tell(change);
            }
        }
    }

    async fn sweep(self: Arc<Self>) {
        loop {
            tokio::time::sleep(SWEEP_EVERY).await;
            self.connections.sweep(Instant::now());
        }
    }

    async fn follow_key(self: Arc<Self>) {
        if let Some(key) = self.manners.authorization.renewed() {
            key.follow().await;
        }
    }

    async fn look(self: Arc<Self>, at: usize, health: HealthCheck) {
        // the path was tried when the pool was built
        let Some(uri) = self.addresses[at].at_root(&health.path) else { return };
        loop {
            let began = Instant::now();
            let status = timeout(health.within, self.ask(at, Method::GET, &uri, None)).await;
            let fault = match status.unwrap_or(Err(Fault::Silent)) {
                Ok(status) if status.is_success() => None,
                Ok(status) => Some(Fault::Answered(status.as_u16())),
                Err(fault) => Some(fault),
            };
            let look = match fault {
                None => {
                    Look::Well { took_ms: began.elapsed().as_secs_f64() * 1_000.0, healthy_after: health.healthy_after }
                }
                Some(fault) => {
                    self.upstreams[at].look_fault.set(fault, self.clock.now());
                    Look::Unwell { unhealthy_after: health.unhealthy_after }
                }
            };
            if let Some(change) = self.choice.looked(at, look, self.clock.now()) {
                self.tell(change);
            }
            tokio::time::sleep(about(health.every)).await;
        }
    }

    async fn measure(self: Arc<Self>, at: usize) {
        loop {
            let began = Instant::now();
            let connected = timeout(self.timeouts.connect, TcpStream::connect(self.addresses[at].endpoint())).await;
            if let Ok(Ok(_)) = connected {
                self.choice.measured(at, began.elapsed().as_secs_f64() * 1_000.0);
            }
            tokio::time::sleep(about(MEASURE_EVERY)).await;
        }
    }

    /// So many requests at once need so many connections, which then stay in the pool.
    async fn keep_warm(self: Arc<Self>, at: usize, warm: Warm) {
        loop {
            self.open_connections(at, warm.connections as u64).await;
            tokio::time::sleep(about(warm.every)).await;
        }
    }

    /// Opens so many connections to an address, or uses them once more, shared out among the threads that requests run
    /// on; how many there are.
    pub(crate) async fn open_connections(self: &Arc<Self>, at: usize, count: u64) -> u64 {
        let (mut each, places) = (JoinSet::new(), self.places.len().max(1) as u64);
        for n in 0..places {
            // a thread without any would be cold
            let share = (count / places + u64::from(n < count % places)).max(count.min(1));
            let share = Arc::clone(self).open_here(at, share);
            match self.places.get(n as usize) {
                Some(place) => each.spawn_on(share, place),
                None => each.spawn(share),
            };
        }
        let mut warmed = 0;
        while let Some(opened) = each.join_next().await {
            warmed += opened.unwrap_or(0);
        }
        self.upstreams[at].set_warm(warmed);
        warmed
    }

    /// The same for the thread that this runs on.
    async fn open_here(self: Arc<Self>, at: usize, count: u64) -> u64 {
        let Some(uri) = self.addresses[at].uri("/models") else { return 0 };
        let authorization = &self.manners.authorization;
        let each = || timeout(WARM_WITHIN, self.ask(at, Method::HEAD, &uri, Some(authorization)));
        let asked = join_all((0..count).map(|_| each())).await;
        asked.iter().filter(|answer| matches!(answer, Ok(Ok(_)))).count() as u64
    }

    async fn ask(
        &self,
        at: usize,
        method: Method,
        uri: &Uri,
        as_: Option<&Authorization>,
    ) -> Result<StatusCode, Fault> {
        Ok(self.fetch(at, method, uri, as_).await?.0)
    }

    /// Asks an address something that is no turn, and reads the answer to its end, so that its connection can be used again.
    pub(crate) async fn fetch(
        &self,
        at: usize,
        method: Method,
        uri: &Uri,
        as_: Option<&Authorization>,
    ) -> Result<(StatusCode, Bytes), Fault> {
        let mut request = Box::new(Request::new(AskedBody::from(Bytes::new())));
        *request.method_mut() = method;
        *request.uri_mut() = uri.clone();
        if let Some(Authorization::Own(key)) = as_ {
            key.show(request.headers_mut());
        }
        let response = self
            .connections
            .send(at, request, &UnderWay::default(), Instant::now())
            .await
            .map_err(|error| error.fault())?;
        let status = response.status();
        let body = Limited::new(response.into_body(), READ_MAX).collect().await.map_err(|_| Fault::CutShort)?;
        Ok((status, body.to_bytes()))
    }
}

/// A tenth more or less, so that gateways do not all ask at once.
pub(crate) fn about(span: Duration) -> Duration {
    span.mul_f64(0.9 + 0.2 * rand::random::<f64>())
}
