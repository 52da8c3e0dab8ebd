//! Before a canary is given more, its provider's addresses are warmed: the connections that are kept open, more of them
//! where more is going to be asked, and, before a stage, where configured, the model itself, by prompts until the time
//! to first token settles. All of it in the wall's time; none of it is a turn, and nobody is put aside for it.

use crate::config::{Unwarmed, WarmUp};
use crate::phase::rewrite::{self, Outbound};
use crate::sync::lock;
use crate::upstream::choice::Standing;
use crate::upstream::pool::Pool;
use crate::upstream::under_way::UnderWay;
use bytes::Bytes;
use coalmine_core::analysis::Readiness;
use coalmine_core::id::ReleaseId;
use coalmine_core::version::Version;
use coalmine_wire::dialect::{Dialect, Family};
use coalmine_wire::openai::{AskUsage, ChatRequest, Expect, Observer};
use coalmine_wire::translate::LimitName;
use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue, Method, header};
use http_body_util::BodyExt;
use serde_json::json;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, timeout_at};

/// So many times in a row must agree
const AGREE: usize = 3;
/// to within this share of the middle one,
const AGREE_WITHIN: f64 = 0.2;
/// or to within so many milliseconds, which no customer feels.
const AGREE_WITHIN_MS: f64 = 20.0;
/// Tokens that an answer may have; enough for one word.
const ANSWER_TOKENS: u32 = 16;
/// The most that is read of one answer.
const ANSWER_MAX_BYTES: usize = 1 << 20;
/// Pause after a prompt that failed; doubled with each further one.
const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(8);
/// How long connections are waited for where no prompts are configured.
const CONNECTIONS_WITHIN: Duration = Duration::from_secs(30);
const CONNECTIONS_LOOK: Duration = Duration::from_millis(100);
/// What was warmed is warm for so long,
const WARM_FOR: Duration = Duration::from_mins(10);
/// and what could not be is tried again after so long, where the release waits for it.
const AGAIN_AFTER: Duration = Duration::from_mins(1);
/// Of a release that no longer asks nothing is kept for longer.
const FORGET_AFTER: Duration = Duration::from_hours(1);

/// So many connections of an address are opened ahead of a raise at most.
const CONNECTIONS_MAX: u64 = 256;

/// What is warmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Warming {
    /// The model, by prompts, and connections.
    Model,
    /// Connections alone.
    Connections,
}

/// For what it is warmed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) version: &'a Version,
    pub(crate) what: Warming,
    /// So many times what is borne now.
    pub(crate) growth: Option<f64>,
}

/// What was begun, by release and by stage or rung.
#[derive(Debug, Default)]
pub(crate) struct WarmUps(Mutex<HashMap<(ReleaseId, usize), Arc<WarmingUp>>>);

/// One warm-up, under way or over.
#[derive(Debug)]
struct WarmingUp {
    seats: Vec<Seat>,
    what: Warming,
    began: Instant,
    ended: Mutex<Option<Instant>>,
}

/// One address of it.
#[derive(Debug)]
struct Seat {
    at: usize,
    label: String,
    /// Connections that are to be open; 0 where none are kept.
    connections: u64,
    heard: Mutex<Heard>,
}

#[derive(Debug, Default)]
struct Heard {
    /// To the first token of each answer.
    times_ms: Vec<f64>,
    /// Why the last prompt had no answer, or why none is put.
    trouble: Option<String>,
    connections: Option<Connections>,
    is_settled: bool,
}

#[derive(Debug, Clone, Copy)]
struct Connections {
    open: u64,
    wanted: u64,
}

/// One warm-up prompt, with the version put into it.
struct Question {
    dialect: Dialect,
    outbound: Outbound,
    body: Bytes,
}

/// A prompt without a usable answer.
enum Cold {
    /// It will not be had by asking again.
    Refused(String),
    /// The server is failing, loading or away.
    Trouble(String),
}

impl WarmUps {
    /// What is to be said of a warm-up; the first call begins it, on `runtime`.
    pub(crate) fn ask(
        &self,
        pool: &Arc<Pool>,
        wanted: Wanted<'_>,
        of: (ReleaseId, usize),
        runtime: &Handle,
    ) -> Readiness {
        if !pool.warms() {
            return Readiness::default();
        }
        let mut begun = lock(&self.0);
        begun.retain(|_, warming| warming.began.elapsed() < FORGET_AFTER);
        let known = begun.get(&of).filter(|warming| !warming.is_stale(pool.unwarmed())).cloned();
        let warming = known.unwrap_or_else(|| {
            let warming = Arc::new(WarmingUp::of(pool, &wanted));
            begun.insert(of, Arc::clone(&warming));
            runtime.spawn(Arc::clone(pool).warm_up(wanted.version.clone(), Arc::clone(&warming)));
            warming
        });
        drop(begun);
        warming.told(pool)
    }
}

impl WarmingUp {
    fn of(pool: &Pool, wanted: &Wanted<'_>) -> Self {
        let seat = |at: usize| Seat {
            at,
            label: pool.addresses[at].label(),
            connections: pool.connections_wanted(at, wanted.growth),
            heard: Mutex::default(),
        };
        Self {
            seats: pool.serving().into_iter().map(seat).collect(),
            what: wanted.what,
            began: Instant::now(),
            ended: Mutex::default(),
        }
    }

    fn is_stale(&self, unwarmed: Unwarmed) -> bool {
        let Some(ended) = *lock(&self.ended) else { return false };
        let lasts = match unwarmed {
            Unwarmed::Hold if self.cold().is_some() => AGAIN_AFTER,
            Unwarmed::Hold | Unwarmed::Go => WARM_FOR,
        };
        ended.elapsed() >= lasts
    }

    /// The addresses that are not warm, with what was heard of them.
    fn cold(&self) -> Option<String> {
        let cold: Vec<String> = self.seats.iter().filter_map(Seat::cold).collect();
        (!cold.is_empty()).then(|| cold.join("; "))
    }

    fn told(&self, pool: &Pool) -> Readiness {
        let over = lock(&self.ended).is_some();
        let Some(cold) = self.cold() else {
            // its task is about to say so
            let last = || vec![format!("{} is being warmed up", pool.name)];
            return if over { Readiness::default() } else { Readiness { holds: last(), ..Readiness::default() } };
        };
        if !over {
            let warm = self.seats.iter().filter(|seat| seat.cold().is_none()).count();
            let all = self.seats.len();
            let why = format!("{} is being warmed up, {warm} of {all} addresses are warm; {cold}", pool.name);
            return Readiness { holds: vec![why], ..Readiness::default() };
        }
        match pool.unwarmed() {
            Unwarmed::Go => {
                let note = format!("{} did not get warm, and its `warm_up` says to go on: {cold}", pool.name);
                Readiness { notes: vec![note], ..Readiness::default() }
            }
            Unwarmed::Hold => {
                let again = AGAIN_AFTER.as_secs();
                let why = format!("{} did not get warm, and is warmed up again after {again} s: {cold}", pool.name);
                Readiness { holds: vec![why], ..Readiness::default() }
            }
        }
    }
}

impl Seat {
    fn cold(&self) -> Option<String> {
        let heard = lock(&self.heard);
        let short = heard.connections.filter(|connections| connections.open < connections.wanted);
        let mut parts = Vec::new();
        parts.extend(short.map(|Connections { open, wanted }| format!("{open} of {wanted} connections open")));
        if !heard.is_settled {
            let count = heard.times_ms.len();
            let noun = if count == 1 { "prompt" } else { "prompts" };
            let last = &heard.times_ms[count.saturating_sub(AGREE)..];
            let times: Vec<String> = last.iter().map(|ms| format!("{ms:.0}")).collect();
            let seen = if times.is_empty() { String::new() } else { format!(", TTFT {} ms", times.join(", ")) };
            let trouble = heard.trouble.as_ref().map_or(String::new(), |trouble| format!(", {trouble}"));
            parts.push(format!("{count} {noun} answered{seen}{trouble}"));
        }
        (!parts.is_empty()).then(|| format!("{}: {}", self.label, parts.join(", ")))
    }
}

impl Pool {
    /// Whether there is anything to be warmed.
    pub(crate) fn warms(&self) -> bool {
        self.warm_up.is_some() || self.warm.iter().any(Option::is_some)
    }

    /// Whether anything has to be warmed that is not now.
    pub(crate) fn is_cold(&self) -> bool {
        let short = |at: usize| self.warm[at].is_some_and(|warm| self.upstreams[at].warm() < warm.connections as u64);
        self.warm_up.is_some() || (0..self.addresses.len()).any(short)
    }

    /// The addresses in service; all, where none is.
    fn serving(&self) -> Vec<usize> {
        let all = 0..self.addresses.len();
        let chosen: Vec<usize> = all.clone().filter(|at| self.choice.standing(*at) == Standing::InService).collect();
        if chosen.is_empty() { all.collect() } else { chosen }
    }

    /// How many connections to an address are to be open ahead of need: those that are always kept, and for so many
    /// times what it works on now, by its own word, those that it lacks then.
    fn connections_wanted(&self, at: usize, growth: Option<f64>) -> u64 {
        let Some(kept) = self.warm[at].map(|warm| warm.connections as u64) else { return 0 };
        let running = self.capacity.as_ref().and_then(|check| self.readings[at].mean(check.fresh()).ok()?.running);
        let more = running.unwrap_or(0.0) * (growth.unwrap_or(1.0) - 1.0).max(0.0);
        kept.max((more.ceil() as u64).min(CONNECTIONS_MAX))
    }

    /// Whether an address in service has fewer connections ahead of need than so many times as much asks for.
    pub(crate) fn lacks_connections(&self, growth: Option<f64>) -> bool {
        let lacks = |at: usize| self.upstreams[at].warm() < self.connections_wanted(at, growth);
        self.serving().into_iter().any(lacks)
    }

    fn unwarmed(&self) -> Unwarmed {
        self.warm_up.as_ref().map_or(Unwarmed::Go, |policy| policy.then)
    }

    async fn warm_up(self: Arc<Self>, version: Version, warming: Arc<WarmingUp>) {
        let policy = self.warm_up.as_ref().filter(|_| warming.what == Warming::Model);
        let until = warming.began + policy.map_or(CONNECTIONS_WITHIN, |policy| policy.within);
        let asked = policy.map(|policy| (policy, self.question(&version, &policy.prompt)));
        let each = warming.seats.iter().map(|seat| async {
            let prompts = async {
                match &asked {
                    Some((policy, Ok(question))) => self.settle(seat, question, policy, until).await,
                    Some((_, Err(why))) => lock(&seat.heard).trouble = Some(why.clone()),
                    None => lock(&seat.heard).is_settled = true,
                }
            };
            tokio::join!(self.wait_for_connections(seat, until), prompts);
        });
        join_all(each).await;
        let provider = &self.name;
        match warming.cold() {
            None => {
                let took_ms = warming.began.elapsed().as_millis();
                tracing::info!(%provider, %took_ms, "warmed up");
            }
            Some(cold) => tracing::warn!(%provider, %cold, "did not get warm"),
        }
        *lock(&warming.ended) = Some(Instant::now());
    }

    async fn wait_for_connections(self: &Arc<Self>, seat: &Seat, until: Instant) {
        let Some(warm) = self.warm[seat.at] else { return };
        let (series, wanted) = (&self.upstreams[seat.at], seat.connections);
        loop {
            // those that are always kept are opened anyway; more are not
            let open = if wanted > warm.connections as u64 {
                self.open_connections(seat.at, wanted).await
            } else {
                series.warm()
            };
            lock(&seat.heard).connections = Some(Connections { open, wanted });
            if open >= wanted || Instant::now() >= until {
                return;
            }
            sleep(if wanted > warm.connections as u64 { PAUSE } else { CONNECTIONS_LOOK }).await;
        }
    }

    /// Prompts, one after the other, until their times agree or a bound is reached.
    async fn settle(&self, seat: &Seat, question: &Question, policy: &WarmUp, until: Instant) {
        let mut pause = PAUSE;
        let series = &self.upstreams[seat.at];
        loop {
            match timeout_at(until, self.prompt(seat.at, question)).await {
                Ok(Ok(ttft_ms)) => {
                    series.warm_up_answered.add(1);
                    pause = PAUSE;
                    let mut heard = lock(&seat.heard);
                    heard.trouble = None;
                    heard.times_ms.push(ttft_ms);
                    heard.is_settled = agree(&heard.times_ms);
                    if heard.is_settled || heard.times_ms.len() >= policy.tries as usize {
                        return;
                    }
                }
                Ok(Err(Cold::Refused(why))) => {
                    series.warm_up_failed.add(1);
                    lock(&seat.heard).trouble = Some(why);
                    return;
                }
                Ok(Err(Cold::Trouble(why))) => {
                    series.warm_up_failed.add(1);
                    lock(&seat.heard).trouble = Some(why);
                    if Instant::now() + pause >= until {
                        return;
                    }
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                Err(_elapsed) => {
                    lock(&seat.heard).trouble = Some(format!("not settled within {} s", policy.within.as_secs()));
                    return;
                }
            }
        }
    }

    /// One prompt to one address: milliseconds to its first token. It is read to its end, so that its connection can
    /// be used again.
    async fn prompt(&self, at: usize, question: &Question) -> Result<f64, Cold> {
        let mut request = question.outbound.request(&self.manners, question.body.clone());
        let uri = self.addresses[at].uri(question.dialect.path());
        *request.uri_mut() = uri.ok_or_else(|| Cold::Refused("its address is none".to_owned()))?;
        let began = Instant::now();
        let taken_ms = || began.elapsed().as_secs_f64() * 1_000.0;
        let sent = self.connections.send(at, request, &UnderWay::default(), began).await;
        let response = sent.map_err(|error| Cold::Trouble(error.trouble().as_str().to_owned()))?;
        match response.status().as_u16() {
            200..=299 => {}
            status @ (408 | 429 | 500..) => return Err(Cold::Trouble(format!("status {status}"))),
            status => return Err(Cold::Refused(format!("refused with status {status}"))),
        }
        let kind = response.headers().get(header::CONTENT_TYPE);
        let stream = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        let mut observer = Observer::new(Expect { dialect: question.dialect, stream, ..Expect::default() });
        let (mut body, mut read, mut ttft_ms) = (response.into_body(), 0, None);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Cold::Trouble("an answer broke off".to_owned()))?;
            let Ok(piece) = frame.into_data() else { continue };
            read += piece.len();
            if read > ANSWER_MAX_BYTES {
                break;
            }
            observer.feed(&piece);
            if ttft_ms.is_none() && observer.content_begun() {
                ttft_ms = Some(taken_ms());
            }
        }
        // where nothing was said (all of it thought), the answer's end stands for its beginning
        let ttft_ms = ttft_ms.unwrap_or_else(taken_ms);
        match observer.finish().error {
            Some(_) => Err(Cold::Trouble("an answer ended in an error".to_owned())),
            None => Ok(ttft_ms),
        }
    }

    fn question(&self, version: &Version, prompt: &str) -> Result<Question, String> {
        let dialect = self.manners.dialect;
        let limit = match (dialect.family(), self.manners.terms.limit) {
            (Family::OpenAi, LimitName::MaxCompletionTokens) => "max_completion_tokens",
            (Family::OpenAi, LimitName::MaxTokens) | (Family::Anthropic, _) => "max_tokens",
        };
        let messages = json!([{ "role": "user", "content": prompt }]);
        let mut asked = json!({ "model": "warm-up", "stream": true, "messages": messages });
        // the version's own limit may have the other name, and two are refused
        let own = version.params.keys().any(|name| name.starts_with("max_"));
        if !own || dialect.family() == Family::Anthropic {
            asked[limit] = ANSWER_TOKENS.into();
        }
        let asked = asked.to_string();
        let chat = ChatRequest::read_as(dialect, asked.as_bytes()).map_err(|error| error.to_string())?;
        let patch = rewrite::prepare(version, dialect).map_err(|error| error.to_string())?;
        let patched = patch.apply(&chat, AskUsage::Leave).body;
        let body = patched.map_or_else(|| Bytes::from(asked.clone().into_bytes()), Bytes::from);
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(Question { dialect, outbound: Outbound::new(Method::POST, headers, Some(dialect)), body })
    }
}

/// Whether the last times agree.
fn agree(times_ms: &[f64]) -> bool {
    let Some(last) = times_ms.last_chunk::<AGREE>() else { return false };
    let mut sorted = *last;
    sorted.sort_by(f64::total_cmp);
    let middle = sorted[AGREE / 2];
    let near = (AGREE_WITHIN * middle).max(AGREE_WITHIN_MS);
    last.iter().all(|ms| (ms - middle).abs() <= near)
}

#[cfg(test)]
mod tests {
    use super::agree;
    use proptest::prelude::*;

    #[test]
    fn three_times_that_agree_have_settled() {
        assert!(!agree(&[]));
        assert!(!agree(&[200.0, 200.0]));
        assert!(agree(&[200.0, 230.0, 190.0]));
        assert!(!agree(&[9_000.0, 200.0, 190.0]), "the cold one is among the last three");
        assert!(agree(&[9_000.0, 200.0, 190.0, 210.0]));
        assert!(!agree(&[1_000.0, 1_000.0, 1_201.0]));
        assert!(agree(&[1.0, 19.0, 2.0]), "a few milliseconds are no difference");
    }

    proptest! {
        #[test]
        fn only_the_last_three_count_in_any_order_and_unit(
            before in prop::collection::vec(0.0_f64..1e6, 0..5), last in prop::array::uniform3(100.0_f64..1e6),
        ) {
            let all: Vec<f64> = before.iter().chain(&last).copied().collect();
            let reversed: Vec<f64> = last.iter().rev().copied().collect();
            prop_assert_eq!(agree(&all), agree(&last));
            prop_assert_eq!(agree(&last), agree(&reversed));
        }
    }
}
