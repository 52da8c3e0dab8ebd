//! How each address stands, for people.

use crate::gateway::Gateway;
use crate::upstream::breaker::Why;
use crate::upstream::choice::Standing;
use crate::upstream::choice::aside::Reason;
use crate::upstream::pool::Pool;
use coalmine_core::time::{SpanMs, UnixMs};
use std::collections::BTreeMap;

/// One address of a provider.
#[derive(Debug, Clone, PartialEq)]
pub struct UpstreamState {
    /// Whose.
    pub provider: String,
    /// The address, without its scheme.
    pub upstream: String,
    /// Where it stands.
    pub region: Option<String>,
    /// `in_service`, `put_aside`, `probed` (put aside, and one request shows how it is), `unwell`.
    pub standing: &'static str,
    /// Whether it is among those that requests are spread over now.
    pub serving: bool,
    /// Why it is not in service.
    pub aside: Option<AsideState>,
    /// What went wrong with a request last.
    pub last_fault: Option<FaultState>,
    /// Answers of about the breaker's window; counted where there is more than one address.
    pub answers: u64,
    /// The failures among them.
    pub failures: u64,
    /// Milliseconds to an answer's head, of late.
    pub head_ms: Option<f64>,
    /// Milliseconds that a look at it or a connection takes, where that is measured.
    pub distance_ms: Option<f64>,
    /// Connections that are kept open, where any are to be.
    pub warm: Option<WarmState>,
    /// What it says of its load, where it is asked.
    pub load: Option<LoadState>,
}

/// Why an address is not in service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AsideState {
    /// As in metrics and in the log.
    pub why: &'static str,
    /// Since then.
    pub since: UnixMs,
    /// Failures that were reason enough: in a row, or among `answers`.
    pub failures: u64,
    /// Where a share was the reason: of so many.
    pub answers: Option<u64>,
    /// Where it was too slow: its own milliseconds to the first byte, and its siblings'.
    pub times_ms: Option<(u64, u64)>,
    /// What was the last of it, in words of a bounded list.
    pub last: Option<String>,
    /// Requests that have tried it since, in vain.
    pub tries: u64,
    /// When it is tried, or looked at, again; none while a request tries it.
    pub again: Option<UnixMs>,
}

/// What went wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultState {
    /// In words of a bounded list.
    pub what: String,
    /// When.
    pub at: UnixMs,
}

/// Connections that are kept open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WarmState {
    /// At the last look.
    pub open: u64,
    /// As configured.
    pub wanted: u64,
}

/// What an address says of its load: means over the last minute.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadState {
    /// Requests that it works on.
    pub running: Option<f64>,
    /// Requests that wait in it.
    pub waiting: Option<f64>,
    /// How full its cache is, 0 to 1.
    pub cache_used: Option<f64>,
    /// Why nothing is known.
    pub trouble: Option<&'static str>,
}

impl Gateway {
    /// All addresses of all providers, by name and in their order.
    #[must_use]
    pub fn upstreams(&self) -> Vec<UpstreamState> {
        let pools: BTreeMap<_, _> = self.pools.iter().collect();
        let pools = pools.into_values().filter(|pool| !pool.is_people());
        pools.flat_map(|pool| (0..pool.addresses.len()).map(move |at| state(pool, at))).collect()
    }
}

fn state(pool: &Pool, at: usize) -> UpstreamState {
    let (answers, failures) = pool.choice.seen(at, pool.clock.now());
    UpstreamState {
        provider: pool.name.to_string(),
        upstream: pool.addresses[at].label(),
        region: pool.choice.region(at).map(|region| region.0.to_string()),
        standing: match pool.choice.standing(at) {
            Standing::InService => "in_service",
            Standing::Ejected => "put_aside",
            Standing::Probed => "probed",
            Standing::Unwell => "unwell",
        },
        serving: pool.choice.serving().contains(&at),
        aside: aside(pool, at),
        last_fault: pool.upstreams[at].fault.get().map(|(fault, at)| FaultState { what: fault.to_string(), at }),
        answers,
        failures,
        head_ms: pool.upstreams[at].head_ms(),
        distance_ms: pool.choice.far_ms(at),
        warm: pool.warm[at].map(|warm| WarmState { open: pool.upstreams[at].warm(), wanted: warm.connections as u64 }),
        load: load(pool, at),
    }
}

fn aside(pool: &Pool, at: usize) -> Option<AsideState> {
    let aside = pool.choice.aside(at)?;
    let series = &pool.upstreams[at];
    let (last, again) = match aside.reason {
        // what is slow or silent did nothing that could be told
        Reason::Answers(Why::Slower | Why::Hangs) => (None, aside.again),
        Reason::Answers(_) => (series.fault.get(), aside.again),
        Reason::Looks => {
            let last = series.look_fault.get();
            let every = pool.health.as_ref().map_or(0.0, |health| health.every.as_secs_f64() * 1e3);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a span as configured")]
            let every = SpanMs((every * pool.clock.scale()) as u64);
            (last, last.map(|(_, at)| at + every))
        }
    };
    Some(AsideState {
        why: aside.reason.as_str(),
        since: aside.since,
        failures: aside.failures,
        answers: aside.answers,
        times_ms: aside.times.map(|times| (times.own_ms, times.siblings_ms)),
        last: last.map(|(fault, _)| fault.to_string()),
        tries: aside.tries,
        again,
    })
}

fn load(pool: &Pool, at: usize) -> Option<LoadState> {
    let check = pool.capacity.as_ref()?;
    let heard = pool.readings[at].mean(check.fresh());
    let trouble = heard.err();
    let mean = heard.unwrap_or_default();
    Some(LoadState { running: mean.running, waiting: mean.waiting, cache_used: mean.cache_used, trouble })
}
