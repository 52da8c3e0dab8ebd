//! Which gateways are alive, how far each has reported, and which generation each serves.

use crate::clock::Clock;
use crate::settings::Settings;
use coalmine_core::id::{GatewayId, Generation, RouteName};
use coalmine_core::tally::Delta;
use coalmine_core::time::{SpanMs, UnixMs};
use std::collections::BTreeMap;
use std::fmt;

/// The gateways that were ever heard in this process, and the publications that they acknowledge.
#[derive(Debug, Default)]
pub(crate) struct Gateways {
    known: BTreeMap<GatewayId, Gateway>,
    published: BTreeMap<RouteName, Publication>,
    complete_to: UnixMs,
}

#[derive(Debug)]
struct Gateway {
    heard_at: UnixMs,
    complete_to: UnixMs,
    serving: BTreeMap<RouteName, Generation>,
}

#[derive(Debug, Clone)]
struct Publication {
    generation: Generation,
    at: UnixMs,
    served: BTreeMap<GatewayId, UnixMs>,
}

/// How this process waits, in its clock's spans.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    silence: SpanMs,
    served_wait: SpanMs,
    scale: f64,
}

impl Patience {
    pub(crate) fn of(settings: &Settings, clock: &dyn Clock) -> Self {
        Self {
            silence: clock.of_wall(settings.wall_gateway_silence),
            served_wait: clock.of_wall(settings.wall_served_wait),
            scale: clock.scale(),
        }
    }
}

/// One gateway as `status` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayStatus {
    /// Which.
    pub gateway: GatewayId,
    /// Whether it is waited for.
    pub liveness: Liveness,
    /// When it was last heard.
    pub heard_at: UnixMs,
    /// Up to when it has reported every turn.
    pub complete_to: UnixMs,
    /// The generation that it serves, per route.
    pub serving: BTreeMap<RouteName, Generation>,
}

/// Whether a gateway is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// It reports.
    Live,
    /// It was silent for too long; evidence and rollbacks wait for it no longer.
    Lagging,
}

/// How far the last table of a route has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Propagation {
    /// The table's generation.
    pub generation: Generation,
    /// When it was published.
    pub published_at: UnixMs,
    /// The live gateways that serve it (or a newer one).
    pub served: Vec<GatewayId>,
    /// The live ones that do not yet.
    pub waiting: Vec<GatewayId>,
    /// The silent ones.
    pub lagging: Vec<GatewayId>,
    /// From the publication to the last live gateway, in milliseconds of the wall, once all serve it.
    pub wall_took_ms: Option<u64>,
}

/// `on 3/3 gateways in 0.2 s`, or the names of those that are missing.
impl fmt::Display for Propagation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let live = self.served.len() + self.waiting.len();
        write!(f, "on {}/{live} gateways", self.served.len())?;
        if let Some(ms) = self.wall_took_ms {
            write!(f, " in {}.{} s", ms / 1_000, ms % 1_000 / 100)?;
        }
        let names = |list: &[GatewayId]| list.iter().map(GatewayId::as_str).collect::<Vec<_>>().join(", ");
        if !self.waiting.is_empty() {
            write!(f, "; waiting for {}", names(&self.waiting))?;
        }
        if !self.lagging.is_empty() {
            write!(f, "; not heard: {}", names(&self.lagging))?;
        }
        Ok(())
    }
}

impl Gateways {
    /// A delta arrived.
    pub(crate) fn hear(&mut self, delta: &Delta, now: UnixMs) {
        let gateway = self.known.entry(delta.gateway.clone()).or_insert_with(|| Gateway::new(now));
        gateway.heard_at = now;
        gateway.complete_to = gateway.complete_to.max(delta.complete_to);
        self.acknowledge(&delta.gateway, &delta.serving, now);
    }

    /// A gateway serves these generations.
    pub(crate) fn acknowledge(&mut self, id: &GatewayId, serving: &BTreeMap<RouteName, Generation>, now: UnixMs) {
        let gateway = self.known.entry(id.clone()).or_insert_with(|| Gateway::new(now));
        for (route, generation) in serving {
            gateway.serving.insert(route.clone(), *generation);
            if let Some(publication) = self.published.get_mut(route)
                && *generation >= publication.generation
            {
                publication.served.entry(id.clone()).or_insert(now);
            }
        }
    }

    /// A table of the route was given out.
    pub(crate) fn publish(&mut self, route: &RouteName, generation: Generation, now: UnixMs) {
        self.published.insert(route.clone(), Publication { generation, at: now, served: BTreeMap::new() });
    }

    /// The newest generation that any gateway serves: a table must be newer to be taken.
    pub(crate) fn newest_serving(&self, route: &RouteName) -> Generation {
        self.known.values().filter_map(|gateway| gateway.serving.get(route)).max().copied().unwrap_or_default()
    }

    /// Every live gateway has reported up to here. Never goes back; stands still without a live gateway.
    pub(crate) fn complete_to(&mut self, now: UnixMs, patience: Patience) -> UnixMs {
        let live = self.known.values().filter(|gateway| gateway.liveness(now, patience) == Liveness::Live);
        if let Some(least) = live.map(|gateway| gateway.complete_to).min() {
            self.complete_to = self.complete_to.max(least);
        }
        self.complete_to
    }

    /// The route's last table is served by every live gateway, or the wait for them is over.
    pub(crate) fn settled(&self, route: &RouteName, now: UnixMs, patience: Patience) -> Option<Generation> {
        let publication = self.published.get(route)?;
        let mut live = self.known.iter().filter(|(_, g)| g.liveness(now, patience) == Liveness::Live).peekable();
        let over = now.since(publication.at) >= patience.served_wait;
        let all = live.peek().is_some() && live.all(|(id, _)| publication.served.contains_key(id));
        (over || all).then_some(publication.generation)
    }

    /// How far the route's last table has come.
    pub(crate) fn propagation(&self, route: &RouteName, now: UnixMs, patience: Patience) -> Option<Propagation> {
        let publication = self.published.get(route)?;
        let mut shown = Propagation {
            generation: publication.generation,
            published_at: publication.at,
            served: Vec::new(),
            waiting: Vec::new(),
            lagging: Vec::new(),
            wall_took_ms: None,
        };
        for (id, gateway) in &self.known {
            let list = match (gateway.liveness(now, patience), publication.served.contains_key(id)) {
                (Liveness::Live, true) => &mut shown.served,
                (Liveness::Live, false) => &mut shown.waiting,
                (Liveness::Lagging, _) => &mut shown.lagging,
            };
            list.push(id.clone());
        }
        if shown.waiting.is_empty() {
            let last = shown.served.iter().filter_map(|id| publication.served.get(id)).max();
            shown.wall_took_ms = last.map(|at| wall_ms(at.since(publication.at), patience.scale));
        }
        Some(shown)
    }

    /// All gateways, by name.
    pub(crate) fn status(&self, now: UnixMs, patience: Patience) -> Vec<GatewayStatus> {
        let shown = self.known.iter().map(|(id, gateway)| GatewayStatus {
            gateway: id.clone(),
            liveness: gateway.liveness(now, patience),
            heard_at: gateway.heard_at,
            complete_to: gateway.complete_to,
            serving: gateway.serving.clone(),
        });
        shown.collect()
    }

    /// Forgets gateways that were silent for longer than `span`: they are gone, not lagging.
    pub(crate) fn forget_silent(&mut self, now: UnixMs, span: SpanMs) {
        self.known.retain(|_, gateway| now.since(gateway.heard_at) < span);
    }
}

impl Gateway {
    fn new(now: UnixMs) -> Self {
        Self { heard_at: now, complete_to: UnixMs(0), serving: BTreeMap::new() }
    }

    fn liveness(&self, now: UnixMs, patience: Patience) -> Liveness {
        if now.since(self.heard_at) > patience.silence { Liveness::Lagging } else { Liveness::Live }
    }
}

fn wall_ms(span: SpanMs, scale: f64) -> u64 {
    (span.0 as f64 / scale) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { silence: SpanMs::secs(10), served_wait: SpanMs::secs(30), scale: 1.0 };

    fn delta(gateway: &str, complete_to: u64, serving: u64) -> Delta {
        Delta {
            gateway: gateway.into(),
            epoch: 1,
            sequence: 1,
            complete_to: UnixMs(complete_to),
            turns: Vec::new(),
            feedback: Vec::new(),
            dropped: Vec::new(),
            serving: BTreeMap::from([("chat".into(), Generation(serving))]),
            mirrored: Vec::new(),
            spending: Vec::new(),
        }
    }

    #[test]
    fn the_slowest_live_gateway_bounds_the_evidence_and_a_silent_one_does_not() {
        let mut gateways = Gateways::default();
        gateways.hear(&delta("a", 900, 1), UnixMs(1_000));
        gateways.hear(&delta("b", 400, 1), UnixMs(1_000));
        assert_eq!(gateways.complete_to(UnixMs(1_000), PATIENCE), UnixMs(400));
        gateways.hear(&delta("a", 11_900, 1), UnixMs(12_000));
        assert_eq!(gateways.complete_to(UnixMs(12_000), PATIENCE), UnixMs(11_900), "b is lagging");
        gateways.hear(&delta("b", 500, 1), UnixMs(12_001));
        assert_eq!(gateways.complete_to(UnixMs(12_001), PATIENCE), UnixMs(11_900), "never back");
    }

    #[test]
    fn a_table_is_served_when_every_live_gateway_says_so_or_the_wait_is_over() {
        let route = RouteName::from("chat");
        let mut gateways = Gateways::default();
        gateways.hear(&delta("a", 0, 1), UnixMs(0));
        gateways.hear(&delta("b", 0, 1), UnixMs(0));
        gateways.publish(&route, Generation(2), UnixMs(1_000));
        gateways.hear(&delta("a", 0, 2), UnixMs(1_100));
        assert_eq!(gateways.settled(&route, UnixMs(1_100), PATIENCE), None);
        let shown = gateways.propagation(&route, UnixMs(1_100), PATIENCE).unwrap();
        assert_eq!(shown.to_string(), "on 1/2 gateways; waiting for b");
        gateways.hear(&delta("b", 0, 3), UnixMs(1_250));
        assert_eq!(gateways.settled(&route, UnixMs(1_250), PATIENCE), Some(Generation(2)));
        let shown = gateways.propagation(&route, UnixMs(1_250), PATIENCE).unwrap();
        assert_eq!(shown.to_string(), "on 2/2 gateways in 0.2 s");
    }

    #[test]
    fn without_a_live_gateway_only_the_wait_settles() {
        let route = RouteName::from("chat");
        let mut gateways = Gateways::default();
        gateways.publish(&route, Generation(2), UnixMs(0));
        assert_eq!(gateways.settled(&route, UnixMs(29_999), PATIENCE), None);
        assert_eq!(gateways.settled(&route, UnixMs(30_000), PATIENCE), Some(Generation(2)));
    }

    #[test]
    fn a_gateway_that_fell_silent_is_named() {
        let route = RouteName::from("chat");
        let mut gateways = Gateways::default();
        gateways.hear(&delta("a", 0, 1), UnixMs(0));
        gateways.hear(&delta("b", 0, 1), UnixMs(20_000));
        gateways.publish(&route, Generation(2), UnixMs(20_000));
        gateways.hear(&delta("b", 0, 2), UnixMs(20_100));
        assert_eq!(gateways.settled(&route, UnixMs(20_100), PATIENCE), Some(Generation(2)));
        let shown = gateways.propagation(&route, UnixMs(20_100), PATIENCE).unwrap();
        assert_eq!(shown.to_string(), "on 1/1 gateways in 0.1 s; not heard: a");
    }
}
