//! A gateway between a client and upstreams that do exactly what a test says: raw sockets, so that
//! every byte, pause and break is the test's own. Time is set by hand.
use bytes::Bytes;
use coalmine_core::cohort::Cohort;
use coalmine_core::id::{Generation, ProviderName, RouteName};
use coalmine_core::tally::{Delta, Turn};
use coalmine_core::time::{SpanMs, UnixMs};
use coalmine_core::traffic::pin::{Followed, PinRecord, Stratum};
use coalmine_core::traffic::table::{Exposed, Exposure, RouteTable, RoutingTable};
use coalmine_core::traffic::weight::{Salt, WeightBp};
use coalmine_core::version::Version;
use coalmine_gateway::config::{Config, Credential, Provider, Secret, SiteSecret};
use coalmine_gateway::listen::{Side, serve};
use coalmine_gateway::pins::{MemoryPins, PinLimits};
use coalmine_gateway::ports::{Boxed, Clock, PinError, PinLog, SinkError, TableSource, TallySink};
use coalmine_gateway::{Exposition, Gateway, Running, Workers};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Notify;

/// Nothing in these tests takes this long; it only turns a hang into a failure.
pub const PATIENCE: Duration = Duration::from_mins(1);

pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("never: {what}"))
}

#[derive(Debug)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    pub fn advance(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> UnixMs {
        UnixMs(self.0.load(Ordering::SeqCst))
    }
}

/// An address that nobody listens at, and that nobody else gets while this lives.
pub struct Nobody(TcpSocket);

impl Nobody {
    pub fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Self(socket)
    }

    pub fn url(&self) -> String {
        format!("http://{}/v1", self.0.local_addr().unwrap())
    }
}

/// What an upstream does next, once it has read a request.
#[derive(Debug, Clone)]
pub enum Step {
    /// Writes these bytes, flushed.
    Write(Vec<u8>),
    /// Goes on when told.
    Wait(Arc<Notify>),
    /// Waits until the gateway closes the connection, and says so.
    UntilClosed(Arc<Notify>),
    /// Writes these bytes again and again until the gateway closes the connection, and says so.
    Over(Vec<u8>, Arc<Notify>),
    /// Closes the connection.
    Close,
}

#[derive(Debug, Clone)]
pub struct Received {
    pub head: String,
    pub body: Vec<u8>,
}

impl Received {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// What is said to a request.
pub type Says = fn(&Received) -> Vec<Step>;

/// An upstream: the scripts in their order, the last one for ever.
#[derive(Debug, Clone)]
pub struct Upstream {
    pub address: SocketAddr,
    scripts: Arc<Mutex<VecDeque<Vec<Step>>>>,
    received: Arc<Mutex<Vec<Received>>>,
    pub arrived: Arc<Notify>,
    pub connections: Arc<AtomicU64>,
    /// What is said to `GET /metrics`, where that is not of the scripts.
    pub page: Arc<Mutex<Option<Vec<Step>>>>,
    /// What is said to each request, where that is not of the scripts.
    pub by: Arc<Mutex<Option<Says>>>,
}

impl Upstream {
    pub async fn start(scripts: Vec<Vec<Step>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = Self {
            address: listener.local_addr().unwrap(),
            scripts: Arc::new(Mutex::new(scripts.into())),
            received: Arc::default(),
            arrived: Arc::default(),
            connections: Arc::default(),
            page: Arc::default(),
            by: Arc::default(),
        };
        let shared = upstream.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                shared.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(shared.clone().connection(stream));
            }
        });
        upstream
    }

    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    pub fn count(&self) -> usize {
        self.received.lock().unwrap().len()
    }

    /// From now on.
    pub fn does(&self, scripts: Vec<Vec<Step>>) {
        *self.scripts.lock().unwrap() = scripts.into();
    }

    pub fn has_scripts(&self) -> bool {
        !self.scripts.lock().unwrap().is_empty()
    }

    async fn connection(self, mut stream: TcpStream) {
        let mut buffer = Vec::new();
        while let Some(request) = read_request(&mut stream, &mut buffer).await {
            let wants_page = request.head.starts_with("GET /metrics ");
            let by = self.by.lock().unwrap().map(|by| by(&request));
            self.received.lock().unwrap().push(request);
            self.arrived.notify_one();
            let page = self.page.lock().unwrap().clone().filter(|_| wants_page);
            let steps = if let Some(said) = page.or(by) {
                said
            } else {
                let mut scripts = self.scripts.lock().unwrap();
                if scripts.len() > 1 {
                    scripts.pop_front().unwrap()
                } else {
                    scripts.front().cloned().unwrap_or_default()
                }
            };
            for step in steps {
                match step {
                    Step::Write(bytes) => {
                        if stream.write_all(&bytes).await.is_err() {
                            return;
                        }
                    }
                    Step::Wait(notify) => notify.notified().await,
                    Step::UntilClosed(notify) => {
                        let mut rest = [0; 64];
                        while matches!(stream.read(&mut rest).await, Ok(n) if n > 0) {}
                        notify.notify_one();
                        return;
                    }
                    Step::Over(bytes, notify) => {
                        while stream.write_all(&bytes).await.is_ok() {
                            tokio::time::sleep(Duration::from_millis(2)).await;
                        }
                        notify.notify_one();
                        return;
                    }
                    Step::Close => return,
                }
            }
        }
    }
}

async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Received> {
    let mut piece = vec![0; 65_536];
    loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8(buffer[..end].to_vec()).unwrap();
            let request = Received { head, body: Vec::new() };
            let length: usize = request.header("content-length").map_or(0, |value| value.parse().unwrap());
            while buffer.len() < end + 4 + length {
                match stream.read(&mut piece).await {
                    Ok(n) if n > 0 => buffer.extend_from_slice(&piece[..n]),
                    _ => return None,
                }
            }
            let body = buffer[end + 4..end + 4 + length].to_vec();
            buffer.drain(..end + 4 + length);
            return Some(Received { body, ..request });
        }
        match stream.read(&mut piece).await {
            Ok(n) if n > 0 => buffer.extend_from_slice(&piece[..n]),
            _ => return None,
        }
    }
}

pub fn write(bytes: impl AsRef<[u8]>) -> Step {
    Step::Write(bytes.as_ref().to_vec())
}

pub fn json_answer(status: u16, headers: &str, body: &str) -> Vec<Step> {
    let length = body.len();
    vec![write(format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{headers}content-length: {length}\r\n\r\n{body}"
    ))]
}

pub fn completion(text: &str) -> String {
    format!(
        r#"{{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{{"index":0,"message":{{"role":"assistant","content":"{text}"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}}}}"#
    )
}

pub fn ok(text: &str) -> Vec<Step> {
    json_answer(200, "", &completion(text))
}

pub fn error(status: u16, headers: &str) -> Vec<Step> {
    json_answer(status, headers, r#"{"error":{"message":"no","type":"x","param":null,"code":null}}"#)
}

pub const STREAM_HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
pub const STREAM_END: &str = "0\r\n\r\n";

/// One HTTP chunk.
pub fn chunk(data: impl AsRef<[u8]>) -> Vec<u8> {
    let data = data.as_ref();
    let mut out = format!("{:x}\r\n", data.len()).into_bytes();
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
    out
}

pub fn event(data: &str) -> String {
    format!("data: {data}\n\n")
}

/// An error behind a status of 200, in every form that providers of chat completions have for it.
pub fn errors_after_200() -> [String; 4] {
    [
        event(r#"{"error":{"message":"boom","type":"server_error"},"choices":[]}"#),
        event(r#"{"object":"error","message":"boom","code":500}"#),
        event(r#"{"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}]}"#),
        "event: error\ndata: boom\n\n".to_owned(),
    ]
}

pub fn role() -> String {
    event(
        r#"{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#,
    )
}

pub fn delta(text: &str) -> String {
    event(&format!(
        r#"{{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{{"index":0,"delta":{{"content":"{text}"}},"finish_reason":null}}]}}"#
    ))
}

pub fn finish() -> String {
    event(
        r#"{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
    )
}

pub fn usage() -> String {
    event(
        r#"{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}}"#,
    )
}

pub fn done() -> String {
    event("[DONE]")
}

/// A whole stream, an HTTP chunk for each event.
pub fn streamed(texts: &[&str]) -> Vec<Step> {
    let mut steps = vec![write(STREAM_HEAD), write(chunk(role()))];
    steps.extend(texts.iter().map(|text| write(chunk(delta(text)))));
    steps.extend([finish(), usage(), done()].map(|event| write(chunk(event))));
    steps.push(write(STREAM_END));
    steps
}

#[derive(Debug, Default)]
pub struct Sink {
    pub deltas: Mutex<Vec<Arc<Delta>>>,
    pub refuse: AtomicBool,
    /// It takes as long as it is told, and then takes what it was given.
    pub hangs: Mutex<Option<Arc<Notify>>>,
    pub offered: AtomicU64,
    came: Notify,
}

impl TallySink for Sink {
    fn deliver(&self, delta: Arc<Delta>) -> Boxed<'_, Result<(), SinkError>> {
        self.offered.fetch_add(1, Ordering::SeqCst);
        if let Some(until) = self.hangs.lock().unwrap().clone() {
            return Box::pin(async move {
                until.notified().await;
                self.deltas.lock().unwrap().push(delta);
                self.came.notify_one();
                Ok(())
            });
        }
        let refused = self.refuse.load(Ordering::SeqCst);
        if !refused {
            self.deltas.lock().unwrap().push(delta);
        }
        self.came.notify_one();
        Box::pin(async move { if refused { Err(SinkError("not now".to_owned())) } else { Ok(()) } })
    }
}

/// Tables come by `install`.
#[derive(Debug)]
pub struct NoTables;

impl TableSource for NoTables {
    fn next(&self) -> Boxed<'_, Arc<RoutingTable>> {
        Box::pin(std::future::pending())
    }
}

#[derive(Debug, Default)]
pub struct Log {
    pub records: Mutex<Vec<PinRecord>>,
    pub followed: Mutex<Vec<Followed>>,
    /// How often something was appended.
    pub calls: AtomicU64,
    pub broken: AtomicBool,
    pub syncs: AtomicU64,
}

impl PinLog for Log {
    fn append(&self, records: &[PinRecord], followed: &[Followed]) -> Result<(), PinError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if self.broken.load(Ordering::SeqCst) {
            return Err(PinError("disk full".to_owned()));
        }
        self.records.lock().unwrap().extend_from_slice(records);
        self.followed.lock().unwrap().extend_from_slice(followed);
        Ok(())
    }
    fn sync(&self) -> Boxed<'_, Result<(), PinError>> {
        self.syncs.fetch_add(1, Ordering::SeqCst);
        let broken = self.broken.load(Ordering::SeqCst);
        Box::pin(async move { if broken { Err(PinError("disk full".to_owned())) } else { Ok(()) } })
    }
}

pub struct World {
    pub gateway: Arc<Gateway>,
    pub address: SocketAddr,
    pub clock: Arc<ManualClock>,
    pub stable: Upstream,
    pub canary: Upstream,
    pub sink: Arc<Sink>,
    pub log: Arc<Log>,
    pub pins: Arc<MemoryPins>,
    pub client: Client<HttpConnector, Full<Bytes>>,
    pub running: Option<Running>,
}

pub fn version(provider: &str, model: &str) -> Version {
    Version {
        provider: ProviderName::from(provider),
        model: model.to_owned(),
        prompt: None,
        tools: None,
        params: BTreeMap::new(),
        fallbacks: Vec::new(),
    }
}

/// The stable version on provider `one`, the canary on `two`.
pub fn route(generation: u64, weight: Option<u16>) -> RouteTable {
    let (stable, canary) = (version("one", "model-s"), version("two", "model-c"));
    let exposures = weight
        .map(|bp| vec![Exposure { stratum: Stratum(0), cohort: Cohort::All, weight: WeightBp::new(bp).unwrap() }]);
    RouteTable {
        route: RouteName::from("support"),
        generation: Generation(generation),
        stable: stable.id(),
        versions: BTreeMap::from([(stable.id(), Arc::new(stable)), (canary.id(), Arc::new(canary.clone()))]),
        release: exposures.map(|exposures| Exposed {
            control: None,
            id: Arc::new("support-1".into()),
            canary: canary.id(),
            salt: Salt([3; 32]),
            started_at: UnixMs(0),
            exposures,
            judged_after: SpanMs::secs(60),
            judged: Vec::new(),
            rescue_budget: WeightBp::new(10_000).unwrap(),
        }),
        revoked: Vec::new(),
        shadow: None,
        prices: None,
    }
}

pub fn tables(route: RouteTable) -> RoutingTable {
    RoutingTable { routes: BTreeMap::from([(route.route.clone(), Arc::new(route))]) }
}

impl World {
    pub async fn new(stable: Vec<Vec<Step>>, canary: Vec<Vec<Step>>) -> Self {
        Self::with(stable, canary, |_| {}).await
    }

    pub async fn with(stable: Vec<Vec<Step>>, canary: Vec<Vec<Step>>, change: impl FnOnce(&mut Config)) -> Self {
        Self::over(Arc::new(Log::default()), stable, canary, change).await
    }

    /// A gateway that finds what an earlier one wrote into `log`.
    pub async fn over(
        log: Arc<Log>,
        stable: Vec<Vec<Step>>,
        canary: Vec<Vec<Step>>,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let (stable, canary) = (Upstream::start(stable).await, Upstream::start(canary).await);
        let provider = |upstream: &Upstream, key: &str| {
            Provider::openai(format!("http://{}/v1", upstream.address), Credential::Bearer(Secret::new(key)))
        };
        let providers = BTreeMap::from([
            (ProviderName::from("one"), provider(&stable, "key-one")),
            (ProviderName::from("two"), provider(&canary, "key-two")),
        ]);
        let mut config = Config::new("g-1".into(), SiteSecret([9; 32]), providers);
        config.report_every = Duration::from_millis(2);
        for provider in config.providers.values_mut() {
            provider.retry.retries = 0;
            provider.retry.pause = Duration::from_millis(1);
        }
        change(&mut config);
        let clock = Arc::new(ManualClock(AtomicU64::new(1_000_000)));
        let pins = Arc::new(MemoryPins::new(PinLimits::default(), log.clone()));
        let earlier = log.records.lock().unwrap().clone();
        pins.restore(earlier, clock.now());
        let workers = Workers::start(2).unwrap();
        let gateway = Gateway::new(config, clock.clone(), pins.clone(), workers).unwrap();
        let sink = Arc::new(Sink::default());
        let running = gateway.start(Arc::new(NoTables), sink.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let side: Side = Arc::new(|_| {
            Box::pin(async {
                let body = Full::new(Bytes::from_static(b"beside")).map_err(|never| match never {});
                Response::new(body.boxed_unsync())
            })
        });
        tokio::spawn(serve(gateway.clone(), listener, side));
        let client = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
        Self { gateway, address, clock, stable, canary, sink, log, pins, client, running: Some(running) }
    }

    /// A release at this weight, served at once.
    pub async fn release(&self, weight: u16) {
        self.gateway.install(&tables(route(1, Some(weight)))).await.unwrap();
    }

    pub fn request(&self, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Request<Full<Bytes>> {
        let mut request =
            Request::post(format!("http://{}{path}", self.address)).header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Full::new(body.into())).unwrap()
    }

    /// Sends a request, a millisecond after the one before it.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        self.clock.advance(1);
        soon("an answer", self.client.request(request)).await.unwrap()
    }

    pub async fn chat(&self, session: &str, body: &str) -> Answer {
        let request = self.request("/v1/chat/completions", &[("x-session-id", session)], body.to_owned());
        Answer::of(self.send(request).await).await
    }

    /// The turns that the sink has, once there are `count` of them, in the order of their beginnings.
    pub async fn turns(&self, count: usize) -> Vec<Turn> {
        soon("the turns", async {
            loop {
                let mut turns: Vec<Turn> =
                    self.sink.deltas.lock().unwrap().iter().flat_map(|delta| delta.turns.clone()).collect();
                if turns.len() >= count {
                    turns.sort_by_key(|turn| turn.started_at);
                    return turns;
                }
                self.sink.came.notified().await;
            }
        })
        .await
    }

    pub fn metric(&self, line: &str) -> bool {
        self.gateway.render_metrics(Exposition::Text).lines().any(|found| found == line)
    }
}

pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    /// `Err` when the body broke.
    pub body: Result<Vec<u8>, Vec<u8>>,
}

impl Answer {
    pub async fn of(response: Response<Incoming>) -> Self {
        let (parts, mut body) = response.into_parts();
        let mut bytes = Vec::new();
        let whole = soon("the body's end", async {
            while let Some(frame) = body.frame().await {
                match frame {
                    Ok(frame) => bytes.extend_from_slice(&frame.into_data().unwrap_or_default()),
                    Err(_) => return false,
                }
            }
            true
        })
        .await;
        let body = if whole { Ok(bytes) } else { Err(bytes) };
        Self { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    pub fn text(&self) -> String {
        let bytes = self.body.as_ref().unwrap_or_else(|bytes| bytes);
        String::from_utf8(bytes.clone()).unwrap()
    }

    /// Whether what came behind `said` is one event, of the gateway's own: the provider broke off.
    pub fn broke_off_behind(&self, said: &str) -> bool {
        let text = self.text();
        let farewell = text.strip_prefix(said).unwrap_or_default();
        self.body.is_ok()
            && farewell.contains("the provider's answer broke off")
            && farewell.matches("\n\n").count() == 1
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.text()).unwrap()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

pub const ASK: &str = r#"{"model":"support","messages":[{"role":"user","content":"hello"}]}"#;
pub const ASK_STREAM: &str = r#"{"model":"support","stream":true,"messages":[{"role":"user","content":"hello"}]}"#;
