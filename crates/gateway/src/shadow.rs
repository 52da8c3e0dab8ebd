//! The shadow: copies of requests, put to a canary that answers nobody.
//!
//! A session is drawn by a hash of its unit. Its requests go to stable as always, and a copy of each to the canary, with
//! the client's whole body as the canary's version makes it; the conversation in it is the one that stable led. What
//! comes back is read by the same observer as any answer, and thrown away. The two outcomes are a pair.
//!
//! None of this is on the way of the served request: the copy is asked by a task of its own, there is never more than a
//! bounded number of them, nobody waits for one, and what a copy comes to is told to no breaker, tally, quota, pin or
//! conversation. A copy is not asked where asking could act: a tool that the provider runs, a conversation that it
//! keeps, a key that is the client's own.

use crate::admission::Holder;
use crate::gateway::Gateway;
use crate::judged::Read;
use crate::phase::observe::{Begun, Exchange, Told, Twin};
use crate::phase::relay::relay;
use crate::phase::rewrite::Outbound;
use crate::phase::send::{Question, send};
use crate::sync::lock;
use crate::table::{Prepared, Route};
use crate::upstream::credential::Authorization;
use bytes::Bytes;
use coalmine_core::id::{ReleaseId, UnitKey};
use coalmine_core::shadow::pair::{Loss, Lost, Mirrored, Pair};
use coalmine_core::time::UnixMs;
use coalmine_core::traffic::assign::{Assignment, Identity, PinChange, Reason};
use coalmine_core::traffic::pin::Arm;
use coalmine_core::traffic::table::Shadowed;
use coalmine_wire::dialect::Dialect;
use coalmine_wire::openai::{ChatRequest, KeepText, ProviderState};
use http::{HeaderMap, Method};
use http_body_util::BodyExt;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use tokio::sync::oneshot;

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
/// Under these a provider would take the copy for the original.
const KEYS_OF_ONE_REQUEST: [&str; 2] = ["idempotency-key", "x-idempotency-key"];

/// What is mirrored by this gateway, by release.
#[derive(Debug)]
pub(crate) struct Shadows {
    of: Mutex<BTreeMap<ReleaseId, Side>>,
    pairs_max: usize,
}

/// One release's copies.
#[derive(Debug)]
struct Side {
    id: Arc<ReleaseId>,
    under_way: u32,
    /// The day that `spent_usd` is of.
    day: u64,
    spent_usd: f64,
    pairs: Vec<Pair>,
    lost: Lost,
}

/// Leave to have one copy under way, until it is dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    shadows: Arc<Shadows>,
    id: Arc<ReleaseId>,
}

/// A served request that may be mirrored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Original<'a> {
    pub(crate) chat: &'a ChatRequest<'a>,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a Bytes,
    pub(crate) path: &'a str,
    pub(crate) reason: Reason,
}

/// A copy, ready to be put to the canary.
struct Copied {
    gateway: Arc<Gateway>,
    route: Arc<Route>,
    canary: Arc<Prepared>,
    unit: UnitKey,
    dialect: Dialect,
    headers: HeaderMap,
    body: Bytes,
    path: String,
    started_at: UnixMs,
    holder: Arc<Holder>,
    ticket: Ticket,
    /// What becomes of the original.
    stable: oneshot::Receiver<Told>,
    /// Whether somebody reads both answers.
    text: KeepText,
}

/// Puts a copy of a served request to the canary, where its session is drawn; never waits.
pub(crate) fn mirror(exchange: &mut Exchange, original: Original<'_>) {
    let Some(unit) = exchange.unit().filter(|_| exchange.route.table.shadow.is_some()) else { return };
    let route = exchange.route.clone();
    let Some(shadowed) = &route.table.shadow else { return };
    let by_stable = exchange.prepared.id == route.table.stable && original.reason != Reason::Forced;
    if !by_stable || !shadowed.includes(unit) {
        return;
    }
    let Some(canary) = route.prepared(shadowed.canary) else { return };
    let gateway = exchange.gateway.clone();
    let ticket = match gateway.shadows.admit(shadowed, exchange.flight.started_at) {
        Ok(ticket) => ticket,
        Err(loss) => return route.series.lost_of_shadow(loss).add(1),
    };
    let (tell, stable) = oneshot::channel();
    let is_read = gateway.judged.is_open() && shadowed.is_read(unit);
    let text = if is_read { KeepText::Yes } else { KeepText::No };
    exchange.tell_pair(Twin { tell, text });
    route.series.mirrored.add(1);
    let mut headers = original.headers.clone();
    KEYS_OF_ONE_REQUEST.iter().for_each(|name| drop(headers.remove(*name)));
    let copied = Copied {
        canary: canary.clone(),
        unit,
        dialect: original.chat.dialect,
        headers,
        body: original.body.clone(),
        path: original.path.to_owned(),
        started_at: exchange.flight.started_at,
        holder: exchange.holder.clone(),
        ticket,
        stable,
        text,
        gateway,
        route,
    };
    tokio::spawn(copied.run());
}

impl Copied {
    async fn run(self) {
        let Self { gateway, route, canary, unit, dialect, headers, body, path, started_at, holder, .. } = self;
        let Self { ticket, stable, text, .. } = self;
        let lose = |loss| {
            route.series.lost_of_shadow(loss).add(1);
            gateway.shadows.lose(&ticket.id, loss);
        };
        let Ok(chat) = ChatRequest::read_as(dialect, &body) else { return lose(Loss::Unfit) };
        if !may_be_asked(&route, &canary, &chat) {
            return lose(Loss::Unfit);
        }
        let assignment = Assignment {
            version: canary.id,
            // of no arm: nobody counts it as one
            arm: Arm::Stable,
            member: None,
            reason: Reason::NoRelease,
            pin: PinChange::None,
        };
        let begun = Begun {
            route: &route,
            prepared: &canary,
            identity: Identity::Session(unit),
            customer: None,
            trail: None,
            responses: None,
            assignment,
            started_at: gateway.clock.now(),
            permit: None,
            line: None,
            holder,
            client: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            trace: None,
            body: &body,
        };
        let (tell, outcome) = oneshot::channel();
        let mut exchange = Box::new(Exchange::aside(&gateway, &chat, begun, Twin { tell, text }));
        exchange.notice(&chat, &headers);
        let outbound = Outbound::new(Method::POST, headers.clone(), Some(dialect));
        match send(&mut exchange, Question { outbound: &outbound, chat: &chat, body: &body, path: &path }).await {
            Ok(answer) => {
                let mut thrown_away = relay(answer, exchange).await.into_body();
                while let Some(Ok(_)) = thrown_away.frame().await {}
            }
            Err(_refusal) => exchange.end_unanswered(),
        }
        let Ok(canary) = outcome.await else { return };
        gateway.shadows.note_cost(&ticket.id, canary.outcome.cost_usd);
        let Ok(stable) = stable.await else { return };
        let pair = Pair { unit, started_at, stable: stable.outcome, canary: canary.outcome };
        if let Err(loss) = gateway.shadows.keep(&ticket.id, pair) {
            return lose(loss);
        }
        route.series.compared.add(1);
        if let Some((stable, canary)) = stable.text.zip(canary.text) {
            let release = Arc::clone(&ticket.id);
            gateway.judged.send_pair(Read { release, unit, started_at, dialect, body, stable, canary });
        }
    }
}

/// Whether asking the canary this does nothing but give an answer.
fn may_be_asked(route: &Route, canary: &Prepared, chat: &ChatRequest<'_>) -> bool {
    let same_provider = route.prepared(route.table.stable).is_some_and(|stable| stable.pool.name == canary.pool.name);
    let readable = match chat.provider_state {
        None => true,
        Some(ProviderState::File) => same_provider,
        Some(
            ProviderState::Conversation
            | ProviderState::Sealed
            | ProviderState::Audio
            | ProviderState::Container
            | ProviderState::PreviousResponse,
        ) => false,
    };
    let own_key = !matches!(canary.pool.manners.authorization, Authorization::Client);
    readable && own_key && !canary.has_tools_run && !chat.has_tools_run() && canary.can_be_asked(chat)
}

impl Shadows {
    pub(crate) fn new(pairs_max: usize) -> Self {
        Self { of: Mutex::default(), pairs_max }
    }

    /// Whether one more copy may be under way.
    fn admit(self: &Arc<Self>, shadowed: &Shadowed, now: UnixMs) -> Result<Ticket, Loss> {
        let mut of = lock(&self.of);
        let side = of.entry(ReleaseId::clone(&shadowed.id)).or_insert_with(|| Side::new(&shadowed.id));
        let day = now.0 / DAY_MS;
        if side.day != day {
            (side.day, side.spent_usd) = (day, 0.0);
        }
        let refused = if side.spent_usd >= shadowed.shadow.usd_per_day {
            Some(Loss::Budget)
        } else {
            (side.under_way >= shadowed.shadow.in_flight).then_some(Loss::Busy)
        };
        if let Some(loss) = refused {
            side.lost.note(loss);
            return Err(loss);
        }
        side.under_way += 1;
        Ok(Ticket { shadows: Arc::clone(self), id: side.id.clone() })
    }

    fn lose(&self, id: &ReleaseId, loss: Loss) {
        if let Some(side) = lock(&self.of).get_mut(id) {
            side.lost.note(loss);
        }
    }

    fn note_cost(&self, id: &ReleaseId, usd: Option<f64>) {
        if let Some((side, usd)) = lock(&self.of).get_mut(id).zip(usd) {
            side.spent_usd += usd;
        }
    }

    fn keep(&self, id: &ReleaseId, pair: Pair) -> Result<(), Loss> {
        let mut of = lock(&self.of);
        let Some(side) = of.get_mut(id).filter(|side| side.pairs.len() < self.pairs_max) else {
            return Err(Loss::Queue);
        };
        side.pairs.push(pair);
        Ok(())
    }

    /// How many copies are under way.
    pub(crate) fn under_way(&self) -> u64 {
        lock(&self.of).values().map(|side| u64::from(side.under_way)).sum()
    }

    /// Takes everything that waits; releases of which nothing is left are forgotten the day after.
    pub(crate) fn take(&self, now: UnixMs) -> Vec<Mirrored> {
        let mut of = lock(&self.of);
        let mut taken = Vec::new();
        for side in of.values_mut() {
            let (pairs, lost) = (std::mem::take(&mut side.pairs), std::mem::take(&mut side.lost));
            if !pairs.is_empty() || lost.sum() > 0 {
                taken.push(Mirrored { release: side.id.clone(), pairs, lost });
            }
        }
        of.retain(|_, side| side.under_way > 0 || side.day == now.0 / DAY_MS);
        taken
    }
}

impl Side {
    fn new(id: &Arc<ReleaseId>) -> Self {
        Self { id: id.clone(), under_way: 0, day: 0, spent_usd: 0.0, pairs: Vec::new(), lost: Lost::default() }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(side) = lock(&self.shadows.of).get_mut(&*self.id) {
            side.under_way = side.under_way.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coalmine_core::shadow::Shadow;
    use coalmine_core::time::SpanMs;
    use coalmine_core::traffic::weight::{Salt, WeightBp};
    use coalmine_core::version::VersionId;

    fn shadowed(in_flight: u32, usd_per_day: f64) -> Shadowed {
        let shadow = Shadow {
            share: WeightBp::FULL,
            length: SpanMs::hours(1),
            min_sessions: 1,
            in_flight,
            usd_per_day,
            preferences: Vec::new(),
        };
        Shadowed { id: Arc::new("r-1".into()), canary: VersionId([2; 32]), salt: Salt([7; 32]), shadow }
    }

    #[test]
    fn only_so_many_are_under_way_and_the_others_are_counted() {
        let shadows = Arc::new(Shadows::new(8));
        let shadowed = shadowed(2, 1.0);
        let held: Vec<_> = (0..5).map(|_| shadows.admit(&shadowed, UnixMs(1))).collect();
        let refused = held.iter().filter(|ticket| matches!(ticket, Err(Loss::Busy))).count();
        assert_eq!((refused, shadows.under_way()), (3, 2));
        drop(held);
        assert_eq!(shadows.under_way(), 0);
        assert!(shadows.admit(&shadowed, UnixMs(1)).is_ok());
        let taken = shadows.take(UnixMs(1));
        assert_eq!((taken.len(), taken[0].lost.busy), (1, 3));
        assert!(shadows.take(UnixMs(1)).is_empty());
    }

    #[test]
    fn the_budget_of_a_day_is_used_up_until_the_next() {
        let shadows = Arc::new(Shadows::new(8));
        let shadowed = shadowed(2, 1.0);
        let ticket = shadows.admit(&shadowed, UnixMs(1)).unwrap();
        shadows.note_cost(&ticket.id, Some(1.25));
        drop(ticket);
        let refused = |now| shadows.admit(&shadowed, UnixMs(now)).err();
        assert_eq!(refused(DAY_MS - 1), Some(Loss::Budget));
        assert_eq!(refused(DAY_MS), None);
        assert_eq!(shadows.take(UnixMs(DAY_MS))[0].lost.budget, 1);
    }
}
