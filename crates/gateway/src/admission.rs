//! Who may ask, and how much: the keys in service and the meters of their payers. Requests read one
//! snapshot without a lock: one look-up by the hash of what the client shows.

pub(crate) mod bucket;
pub(crate) mod meter;
pub(crate) mod permit;
pub(crate) mod shown;

use crate::config::{Config, KeyNeed};
use crate::spread::SpreadMap;
use crate::sync::lock;
use arc_swap::ArcSwap;
use coalmine_core::id::{CustomerId, Generation, KeyName, RouteName};
use coalmine_core::key::{Day, Key, KeyTable, Payer, Quota, Spending, Standing};
use coalmine_core::time::UnixMs;
use meter::{Meter, Readings};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

/// Whoever shows a key, with what is measured of it.
#[derive(Debug)]
pub(crate) struct Holder {
    /// The name of a key that was made by `coalmine key create`.
    pub(crate) name: Option<KeyName>,
    /// Sessions of different holders never meet; `None`: the hash of what was shown tells them apart.
    pub(crate) scope: Option<[u8; 32]>,
    pub(crate) customer: Option<CustomerId>,
    /// `None`: every route, and what is passed through.
    pub(crate) routes: Option<BTreeSet<RouteName>>,
    /// What bounds its requests: the tenant's, the customer's, its own.
    pub(crate) meters: Vec<Meter>,
    key: Option<Key>,
}

/// Why what a client shows opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closed {
    /// Nobody has it.
    Unknown,
    /// It was good once.
    Over(Standing),
}

/// Keys and meters of one gateway.
#[derive(Debug)]
pub(crate) struct Admission {
    ring: ArcSwap<Ring>,
    state: Mutex<State>,
}

/// What requests read.
#[derive(Debug)]
struct Ring {
    /// By hashes that an operator has let in: whoever shows another finds nothing, however long he looks for it.
    holders: SpreadMap<[u8; 32], Arc<Holder>>,
    /// For those without a known key; `None`: they are refused.
    stranger: Option<Arc<Holder>>,
}

/// What a ring is made of.
#[derive(Debug)]
struct State {
    configured: Vec<crate::config::ClientKey>,
    quotas: BTreeMap<CustomerId, Quota>,
    tenant: Quota,
    need: KeyNeed,
    readings: BTreeMap<Payer, Arc<Readings>>,
    table: Arc<KeyTable>,
}

impl Holder {
    /// Whether it may use this route.
    pub(crate) fn may_use(&self, route: &str) -> bool {
        self.routes.as_ref().is_none_or(|routes| routes.iter().any(|name| name.as_str() == route))
    }

    /// Whether it may ask for what is no route's.
    pub(crate) fn may_pass_through(&self) -> bool {
        self.routes.is_none()
    }

    fn standing(&self, shown: &[u8; 32], now: UnixMs) -> Standing {
        let Some(key) = &self.key else { return Standing::Good };
        let secret = key.secrets.iter().find(|secret| secret.hash.0 == *shown);
        secret.map_or(Standing::Replaced, |secret| secret.standing(key, now))
    }
}

impl Admission {
    pub(crate) fn new(config: &Config) -> Self {
        let state = State {
            configured: config.client_keys.clone(),
            quotas: config.customer_quotas.clone(),
            tenant: config.quota,
            need: config.key_need,
            readings: BTreeMap::new(),
            table: Arc::default(),
        };
        let admission = Self { ring: ArcSwap::from_pointee(Ring::empty()), state: Mutex::new(state) };
        admission.build(&mut lock(&admission.state));
        admission
    }

    /// Takes a table, unless it is older than the last one.
    pub(crate) fn install(&self, table: &Arc<KeyTable>) {
        let mut state = lock(&self.state);
        if table.generation <= state.table.generation && state.table.generation != Generation::default() {
            return;
        }
        let same_keys = Arc::ptr_eq(&table.keys, &state.table.keys);
        state.table = table.clone();
        if !same_keys {
            self.build(&mut state);
        }
        for (payer, spent) in table.spent.iter() {
            if let Some(readings) = state.readings.get(payer) {
                readings.purse.raise(spent);
            }
        }
    }

    /// Whoever shows what hashes to `shown`; without anything shown, `shown` is `None`.
    pub(crate) fn holder(&self, shown: Option<&[u8; 32]>, now: UnixMs) -> Result<Arc<Holder>, Closed> {
        let ring = self.ring.load();
        let known = shown.and_then(|shown| Some((shown, ring.holders.get(shown)?)));
        match known {
            Some((shown, holder)) => match holder.standing(shown, now) {
                Standing::Good => Ok(holder.clone()),
                over @ (Standing::Replaced | Standing::Expired | Standing::Revoked) => Err(Closed::Over(over)),
            },
            None => ring.stranger.clone().ok_or(Closed::Unknown),
        }
    }

    /// What was used since this was asked last, by payer.
    pub(crate) fn take(&self, now: UnixMs) -> Vec<Spending> {
        let day = Day::of(now);
        let state = lock(&self.state);
        let taken = state.readings.iter().filter_map(|(payer, readings)| {
            let used = readings.take()?;
            Some(Spending { payer: payer.clone(), day, used })
        });
        taken.collect()
    }

    /// Readings go on from one table to the next.
    fn build(&self, state: &mut State) {
        let mut holders = SpreadMap::default();
        holders.reserve(state.table.keys.len() + state.configured.len());
        let tenant = meter(&mut state.readings, Payer::Tenant, state.tenant);
        let table = state.table.clone();
        for key in table.keys.iter() {
            let mut meters = vec![tenant.clone()];
            meters.extend(customer_meter(&mut state.readings, &state.quotas, key.customer.as_ref()));
            meters.push(meter(&mut state.readings, Payer::Key(key.name.clone()), key.quota));
            let holder = Arc::new(Holder {
                name: Some(key.name.clone()),
                scope: Some(blake3::derive_key("coalmine 1 client key", key.name.as_str().as_bytes())),
                customer: key.customer.clone(),
                routes: key.routes.clone(),
                meters,
                key: Some(key.clone()),
            });
            holders.extend(key.secrets.iter().map(|secret| (secret.hash.0, holder.clone())));
        }
        for key in &state.configured {
            let mut meters = vec![tenant.clone()];
            meters.extend(customer_meter(&mut state.readings, &state.quotas, key.customer.as_ref()));
            let holder = Holder { customer: key.customer.clone(), meters, ..Holder::stranger() };
            holders.insert(key.hash, Arc::new(holder));
        }
        let open = holders.is_empty() && state.need == KeyNeed::OnceThereIsOne;
        let stranger = open.then(|| Arc::new(Holder { meters: vec![tenant], ..Holder::stranger() }));
        self.ring.store(Arc::new(Ring { holders, stranger }));
    }
}

impl Holder {
    fn stranger() -> Self {
        Self { name: None, scope: None, customer: None, routes: None, meters: Vec::new(), key: None }
    }
}

impl Ring {
    fn empty() -> Self {
        Self { holders: SpreadMap::default(), stranger: None }
    }
}

fn meter(readings: &mut BTreeMap<Payer, Arc<Readings>>, payer: Payer, quota: Quota) -> Meter {
    let readings = readings.entry(payer.clone()).or_default().clone();
    Meter { payer, quota, readings }
}

fn customer_meter(
    readings: &mut BTreeMap<Payer, Arc<Readings>>,
    quotas: &BTreeMap<CustomerId, Quota>,
    customer: Option<&CustomerId>,
) -> Option<Meter> {
    let customer = customer?;
    let quota = quotas.get(customer).copied().unwrap_or_default();
    Some(meter(readings, Payer::Customer(customer.clone()), quota))
}

#[cfg(test)]
mod tests;
