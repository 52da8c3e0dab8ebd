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

mod similarity;

use crate::admission::Holder;
use crate::gateway::Gateway;
use crate::judged::Read;
use crate::phase::observe::{Begun, Exchange, Told, Twin};
use crate::phase::relay::relay;
use crate::phase::rewrite::Outbound;
use crate::phase::send::{Question, send};
use crate::phase::variables::Given;
use crate::sync::lock;
use crate::table::{Prepared, Route};
use crate::upstream::credential::Authorization;
use bytes::Bytes;
use coalmine_core::capture::is_drawn;
use coalmine_core::id::{ReleaseId, UnitKey};
use coalmine_core::shadow::pair::{Loss, Lost, Mirrored, Pair};
use coalmine_core::shadow::similarity::Likeness;
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
    likenesses: Vec<Likeness>,
    lost: Lost,
    /// The last embeddings were not to be had.
    is_troubled: bool,
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
    pub(crate) given: &'a Given,
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
    /// What the original gives for the variables of a prompt, the canary is given too.
    given: Given,
    started_at: UnixMs,
    holder: Arc<Holder>,
    release: Arc<ReleaseId>,
    /// Held while anybody is asked.
    ticket: Option<Ticket>,
    /// What becomes of the original.
    stable: oneshot::Receiver<Told>,
    /// What a person answers, where no provider is asked.
    person: Option<oneshot::Receiver<String>>,
    /// Whether somebody reads both answers.
    text: KeepText,
    /// Whether they are sent on, to a judge or to be captured.
    is_sent: bool,
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
    let is_captured = is_drawn(route.settings.capture, &route.name, unit);
    let is_sent = gateway.judged.is_open() && (is_captured || shadowed.is_judged(unit));
    let is_read = is_sent || shadowed.likened(unit).is_some();
    let text = if is_read { KeepText::Yes } else { KeepText::No };
    exchange.tell_pair(Twin { tell, text });
    let turn = exchange.flight.turn_number();
    let wait = || gateway.people.ask(unit, turn, original.body.len(), exchange.flight.started_at);
    let person = exchange.prepared.is_people().then(wait);
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
        given: original.given.clone(),
        started_at: exchange.flight.started_at,
        holder: exchange.holder.clone(),
        release: ticket.id.clone(),
        ticket: Some(ticket),
        stable,
        person,
        text,
        is_sent,
        gateway,
        route,
    };
    tokio::spawn(copied.run());
}

impl Copied {
    async fn run(mut self) {
        let body = self.body.clone();
        let Ok(chat) = ChatRequest::read_as(self.dialect, &body) else { return self.lose(Loss::Unfit) };
        if !self.may_be_asked(&self.canary, &chat) {
            return self.lose(Loss::Unfit);
        }
        let Some(canary) = self.ask(&self.canary, &chat).await else { return };
        let Ok(mut stable) = (&mut self.stable).await else { return };
        if let Some(person) = self.person.take() {
            // A person takes as long as it takes, and nothing is under way meanwhile.
            self.ticket = None;
            let Ok(answer) = person.await else { return self.lose(Loss::Unanswered) };
            (stable.text, self.started_at) = (Some(answer), self.gateway.clock.now());
        }
        let Self { unit, started_at, .. } = self;
        let pair = Pair { unit, started_at, stable: stable.outcome, canary: canary.outcome };
        let is_void = pair.is_void();
        if let Err(loss) = self.gateway.shadows.keep(&self.release, pair) {
            return self.lose(loss);
        }
        self.route.series.compared.add(1);
        if let Some((stable, canary)) = stable.text.zip(canary.text).filter(|_| !is_void) {
            self.read(&chat, stable, canary).await;
        }
    }

    /// Hands both answers to whoever reads them.
    async fn read(&mut self, chat: &ChatRequest<'_>, stable: String, canary: String) {
        let route = Arc::clone(&self.route);
        let Some(shadowed) = &route.table.shadow else { return };
        if self.is_sent {
            let Self { unit, started_at, dialect, .. } = *self;
            let (release, body) = (Arc::clone(&self.release), self.body.clone());
            let (stable, canary) = (stable.clone(), canary.clone());
            self.gateway.judged.send_pair(Read { release, unit, started_at, dialect, body, stable, canary });
        }
        let Some(by) = shadowed.likened(self.unit) else { return };
        if !self.is_under_way(shadowed) {
            return;
        }
        let Some(likeness) = self.measure(chat, by, &stable, &canary).await else { return };
        for cosine in [Some(likeness.canary), likeness.again].into_iter().flatten() {
            route.series.likened(cosine).add(1);
        }
        if let Err(loss) = self.gateway.shadows.keep_likeness(&self.release, likeness) {
            self.lose(loss);
        }
    }

    /// Puts the request to a version, for nobody; `None` where nothing is told of it any more.
    async fn ask(&self, version: &Arc<Prepared>, chat: &ChatRequest<'_>) -> Option<Told> {
        let assignment = Assignment {
            version: version.id,
            // of no arm: nobody counts it as one
            arm: Arm::Stable,
            member: None,
            reason: Reason::NoRelease,
            pin: PinChange::None,
        };
        let begun = Begun {
            route: &self.route,
            prepared: version,
            identity: Identity::Session(self.unit),
            customer: None,
            trail: None,
            responses: None,
            assignment,
            started_at: self.gateway.clock.now(),
            permit: None,
            line: None,
            holder: self.holder.clone(),
            client: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            trace: None,
            body: &self.body,
        };
        let (tell, outcome) = oneshot::channel();
        let mut exchange = Box::new(Exchange::aside(&self.gateway, chat, begun, Twin { tell, text: self.text }));
        exchange.notice(chat, &self.headers);
        let outbound = Outbound::new(Method::POST, self.headers.clone(), Some(self.dialect));
        let question = Question { outbound: &outbound, chat, body: &self.body, path: &self.path, given: &self.given };
        match send(&mut exchange, question).await {
            Ok(answer) => {
                let mut thrown_away = relay(answer, exchange).await.into_body();
                while let Some(Ok(_)) = thrown_away.frame().await {}
            }
            Err(_refusal) => exchange.end_unanswered(),
        }
        let told = outcome.await.ok()?;
        self.gateway.shadows.note_cost(&self.release, told.outcome.cost_usd);
        Some(told)
    }

    /// Whether it may ask further: after a person's answer it needs leave anew.
    fn is_under_way(&mut self, shadowed: &Shadowed) -> bool {
        if self.ticket.is_none() {
            let admitted = self.gateway.shadows.admit(shadowed, self.gateway.clock.now());
            self.ticket = admitted.map_err(|loss| self.route.series.lost_of_shadow(loss).add(1)).ok();
        }
        self.ticket.is_some()
    }

    fn shadowed(&self) -> Option<&Shadowed> {
        self.route.table.shadow.as_ref()
    }

    /// Whether the day's budget bears another question.
    fn has_budget(&self) -> bool {
        let usd_per_day = self.shadowed().map_or(0.0, |shadowed| shadowed.shadow.usd_per_day);
        self.gateway.shadows.has_budget(&self.release, usd_per_day)
    }

    fn lose(&self, loss: Loss) {
        self.route.series.lost_of_shadow(loss).add(1);
        self.gateway.shadows.lose(&self.release, loss);
    }

    /// Whether asking a version this does nothing but give an answer.
    fn may_be_asked(&self, version: &Prepared, chat: &ChatRequest<'_>) -> bool {
        let stable = self.route.prepared(self.route.table.stable);
        let same_provider = stable.is_some_and(|stable| stable.pool.name == version.pool.name);
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
        let own_key = !matches!(version.pool.manners.authorization, Authorization::Client);
        readable && own_key && !version.has_tools_run && !chat.has_tools_run() && version.can_be_asked(chat)
    }
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

    fn lose(&self, id: &Arc<ReleaseId>, loss: Loss) {
        Self::side(&mut lock(&self.of), id).lost.note(loss);
    }

    /// What is kept of a release; it may have been forgotten while a person thought.
    fn side<'a>(of: &'a mut BTreeMap<ReleaseId, Side>, id: &Arc<ReleaseId>) -> &'a mut Side {
        of.entry(ReleaseId::clone(id)).or_insert_with(|| Side::new(id))
    }

    fn note_cost(&self, id: &ReleaseId, usd: Option<f64>) {
        if let Some((side, usd)) = lock(&self.of).get_mut(id).zip(usd) {
            side.spent_usd += usd;
        }
    }

    /// Whether a copy that is under way may ask once more.
    fn has_budget(&self, id: &ReleaseId, usd_per_day: f64) -> bool {
        lock(&self.of).get(id).is_some_and(|side| side.spent_usd < usd_per_day)
    }

    /// Says once when embeddings begin to fail, and when they come again.
    fn note_embeddings(&self, id: &ReleaseId, trouble: Option<&str>) {
        let Some(was) =
            lock(&self.of).get_mut(id).map(|side| std::mem::replace(&mut side.is_troubled, trouble.is_some()))
        else {
            return;
        };
        match trouble {
            Some(why) if !was => tracing::warn!(release = %id, why, "no embeddings for the pairs of the shadow"),
            None if was => tracing::info!(release = %id, "embeddings for the pairs of the shadow come again"),
            Some(_) | None => {}
        }
    }

    fn keep_likeness(&self, id: &Arc<ReleaseId>, likeness: Likeness) -> Result<(), Loss> {
        let mut of = lock(&self.of);
        let side = Self::side(&mut of, id);
        if side.likenesses.len() >= self.pairs_max {
            return Err(Loss::Queue);
        }
        side.likenesses.push(likeness);
        Ok(())
    }

    fn keep(&self, id: &Arc<ReleaseId>, pair: Pair) -> Result<(), Loss> {
        let mut of = lock(&self.of);
        let side = Self::side(&mut of, id);
        if side.pairs.len() >= self.pairs_max {
            return Err(Loss::Queue);
        }
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
            let likenesses = std::mem::take(&mut side.likenesses);
            if !pairs.is_empty() || !likenesses.is_empty() || lost.sum() > 0 {
                taken.push(Mirrored { release: side.id.clone(), pairs, lost, likenesses });
            }
        }
        of.retain(|_, side| side.under_way > 0 || side.day == now.0 / DAY_MS);
        taken
    }
}

impl Side {
    fn new(id: &Arc<ReleaseId>) -> Self {
        Self {
            id: id.clone(),
            under_way: 0,
            day: 0,
            spent_usd: 0.0,
            pairs: Vec::new(),
            likenesses: Vec::new(),
            lost: Lost::default(),
            is_troubled: false,
        }
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
            similarity: None,
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
