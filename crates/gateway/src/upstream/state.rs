//! How each address stands, for people.

use crate::gateway::Gateway;
use crate::upstream::choice::Standing;
use crate::upstream::pool::Pool;
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
        answers,
        failures,
        head_ms: pool.upstreams[at].head_ms(),
        distance_ms: pool.choice.far_ms(at),
        warm: pool.warm[at].map(|warm| WarmState { open: pool.upstreams[at].warm(), wanted: warm.connections as u64 }),
        load: load(pool, at),
    }
}

fn load(pool: &Pool, at: usize) -> Option<LoadState> {
    let check = pool.capacity.as_ref()?;
    let heard = pool.readings[at].mean(check.fresh());
    let trouble = heard.err();
    let mean = heard.unwrap_or_default();
    Some(LoadState { running: mean.running, waiting: mean.waiting, cache_used: mean.cache_used, trouble })
}
