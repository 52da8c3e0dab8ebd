//! The drift watch: what is seen of a route's stable version, release or not, and of a release's canary, and what people
//! are told of it.
//!
//! | part | what is seen | rule |
//! |---|---|---|
//! | names | model, fingerprint and service tier of answers | [`coalmine_core::drift::followed`] |
//! | names behind a canary | the same of a running release's canary, which its evidence follows | [`coalmine_core::evidence`] |
//! | sentinels | known-answer prompts that stable is asked by the clock | [`coalmine_core::sentinel::steady`] |
//! | shutdowns | announced ends of the model that stable asks for | [`coalmine_wire::shutdowns`] |
//!
//! Each opens an incident, once for each cause; what is over closes its own. Only the node that decides does either.

use crate::control::Control;
use crate::error::{ControlError, chain};
use crate::goes::in_goes;
use crate::observe::of_route;
use crate::reconcile::Desk;
use crate::view::{SteadyState, SteadyStatus};
use coalmine_core::drift::{Change, Drifted, NameKind, Way};
use coalmine_core::id::{Actor, ReleaseId, RouteName};
use coalmine_core::incident::{Cause, Incident};
use coalmine_core::release::event::{Command, Event};
use coalmine_core::release::state::State;
use coalmine_core::sentinel::Sentinel;
use coalmine_core::sentinel::steady::Asked;
use coalmine_core::tally::Turn;
use coalmine_core::time::{SpanMs, UnixMs};
use coalmine_core::version::VersionId;
use coalmine_wire::shutdowns;
use std::collections::BTreeMap;

/// An end that is farther away opens no incident: `plan`, `check` and `status` tell of it earlier.
const SHUTDOWN_NEAR_DAYS: u64 = 30;
/// How often announced ends are looked at.
const SHUTDOWNS_EVERY: SpanMs = SpanMs::hours(1);
const DAY: SpanMs = SpanMs::hours(24);

/// What a route's stable version is, and what it asks for.
#[derive(Debug, Clone)]
struct SteadyStable {
    stable: VersionId,
    /// Provider and model.
    requested: String,
    model: String,
}

impl Control {
    /// The names of this round's answers, whose turns come in the order in which they began. Nothing is followed before
    /// what was known is read.
    pub(crate) fn absorb_names(&self, desk: &mut Desk, begun: &[&Turn]) {
        if !desk.watch_read {
            return;
        }
        let stables = self.in_service();
        for turns in begun.chunk_by(|one, next| one.route == next.route) {
            let of = turns.first().and_then(|first| Some((first, stables.get(&*first.route)?)));
            if let Some((first, SteadyStable { stable, requested, .. })) = of {
                of_route(&mut desk.names, &first.route, |names| {
                    in_goes(turns, |turns| turns.iter().for_each(|turn| names.absorb(turn, *stable, requested)));
                });
            }
        }
        desk.names.retain(|route, _| stables.contains_key(route));
    }

    /// The rounds of the routes' own sentinels that have ended.
    pub(crate) fn absorb_steady(&self) {
        let mut known = self.known();
        let rounds = std::mem::take(&mut known.steady_rounds);
        for (route, version, round) in rounds {
            if let Some(suite) = self.settings.sentinels.get(&route) {
                known.steady.entry(route).or_default().absorb(suite, version, &round);
            }
        }
    }

    /// Opens and closes incidents as what is seen wants it. What the store does not take is tried again.
    pub(crate) async fn watch_stable(&self, desk: &mut Desk, now: UnixMs) {
        if !desk.watch_read {
            return;
        }
        let told = async {
            self.tell_names(desk, now).await?;
            self.tell_canaries(desk, now).await?;
            self.tell_sentinels(now).await?;
            self.tell_shutdowns(desk, now).await?;
            self.close_moot(now).await
        };
        if let Err(error) = told.await {
            tracing::warn!(error = %chain(&error), "an incident is not written yet");
        }
    }

    async fn tell_names(&self, desk: &mut Desk, now: UnixMs) -> Result<(), ControlError> {
        for (route, names) in &mut desk.names {
            while let Some(drifted) = names.untold().cloned() {
                self.tell_drifted(route, &names.requested, &drifted, now).await?;
                names.note_told(&drifted);
            }
        }
        Ok(())
    }

    /// A change ends the incident of the change before; one that is the way back is no incident of its own, unless
    /// people had taken the first for good.
    async fn tell_drifted(
        &self,
        route: &RouteName,
        requested: &str,
        drifted: &Drifted,
        now: UnixMs,
    ) -> Result<(), ControlError> {
        let Drifted { kind, change: Change { was, is, way }, at } = drifted.clone();
        let cause = Cause::Name { requested: requested.to_owned(), kind, was, is: is.clone(), since: at };
        let id = Incident::id_of(route, &cause);
        let open = self.open_incidents(route).into_iter().find(|open| open.cause.subject() == cause.subject());
        match (open, way) {
            // What was known of names may be older than the incident, after a kill.
            (Some(open), _) if open.id == id || leads_to(&open.cause, &is) => return Ok(()),
            (Some(open), Way::Back) => {
                return self.end_incident(&open, &format!("it is {is} again"), now).await;
            }
            (Some(open), Way::New) => self.end_incident(&open, &format!("it is {is} by now"), now).await?,
            (None, Way::New | Way::Back) => {}
        }
        self.open_incident(route, cause, drifted.describe(route, requested), now).await
    }

    /// What answers behind the canary of a running release changed. What stable's own incident says already is told once.
    async fn tell_canaries(&self, desk: &Desk, now: UnixMs) -> Result<(), ControlError> {
        for (id, watched) in &desk.watched {
            let Some((route, requested)) = self.exposed_canary(id) else { continue };
            for drifted in watched.canary_drifted() {
                self.tell_canary(&route, id, &requested, drifted, now).await?;
            }
        }
        Ok(())
    }

    async fn tell_canary(
        &self,
        route: &RouteName,
        release: &ReleaseId,
        requested: &str,
        drifted: &Drifted,
        now: UnixMs,
    ) -> Result<(), ControlError> {
        let Drifted { kind, change: Change { was, is, way }, at } = drifted.clone();
        let what = drifted.describe_canary(release, requested);
        let told = (requested.to_owned(), kind, is.clone());
        let (release, requested) = (release.clone(), requested.to_owned());
        let cause = Cause::CanaryName { release, requested, kind, was, is: is.clone(), since: at };
        let id = Incident::id_of(route, &cause);
        let all = self.open_incidents(route);
        let open = all.iter().find(|open| open.cause.subject() == cause.subject());
        if let Some(stable) = all.iter().find(|open| of_stable(&open.cause).is_some_and(|stable| stable == told)) {
            return match open {
                Some(open) => self.end_incident(open, &format!("stable's too: {}", stable.id), now).await,
                None => Ok(()),
            };
        }
        match (open, way) {
            (Some(open), Way::New) if open.id == id => return Ok(()),
            (Some(open), Way::New) => self.end_incident(open, &format!("it is {is} by now"), now).await?,
            (Some(open), Way::Back) => return self.end_incident(open, &format!("it is {is} again"), now).await,
            (None, Way::New) => {}
            (None, Way::Back) => return Ok(()),
        }
        self.open_incident(route, cause, what, now).await
    }

    /// The route of a release that goes on, and the provider and model that its canary asks for. One that is being rolled
    /// back exposes nobody any more.
    fn exposed_canary(&self, id: &ReleaseId) -> Option<(RouteName, String)> {
        let known = self.known();
        let release = &known.releases.get(id)?.release;
        if release.state.is_over() || matches!(release.state, State::RollingBack { .. }) {
            return None;
        }
        let canary = known.versions.get(&release.canary)?;
        Some((release.route.clone(), format!("{}/{}", canary.provider, canary.model)))
    }

    async fn tell_sentinels(&self, now: UnixMs) -> Result<(), ControlError> {
        for (route, sentinel, failing) in self.failing_sentinels() {
            let cause = Cause::Sentinel { sentinel: sentinel.clone(), since: failing.began_at };
            self.open_incident(&route, cause, failing.describe(&route, &sentinel), now).await?;
        }
        for open in self.open_incidents_of_all() {
            let Cause::Sentinel { sentinel, .. } = &open.cause else { continue };
            if let Some(note) = self.recovered(&open.route, sentinel) {
                self.end_incident(&open, &note, now).await?;
            } else {
                self.begin_epoch(&open).await;
            }
        }
        Ok(())
    }

    /// Why a sentinel's failure is over; `None` while it goes on, or nobody can say.
    fn recovered(&self, route: &RouteName, sentinel: &str) -> Option<String> {
        let watched = self.settings.sentinels.get(route).filter(|suite| suite.named(sentinel).is_some());
        let Some(suite) = watched else { return Some("the route's sentinels have it no more".to_owned()) };
        let known = self.known();
        let standing = known.steady.get(route)?.standing(sentinel)?;
        let passes = standing.failing.is_none() && standing.is_qualified(suite);
        passes.then(|| format!("it has passed {} rounds in a row", standing.passed_in_a_row))
    }

    /// Stable answers otherwise than the evidence of a running release is about: the comparison begins anew, once.
    async fn begin_epoch(&self, incident: &Incident) {
        let by = Actor::from("sentinels");
        let unaware: Vec<ReleaseId> = {
            let known = self.known();
            let of_route = known.releases.values().map(|found| &found.release);
            let unaware = of_route.filter(|release| {
                let noted = release.drifts.iter().any(|drift| drift.by == by && drift.what == incident.what);
                let exposes = release.state.serving_stage().is_some();
                let began = release.started_at.is_some_and(|at| at < incident.opened_at());
                release.route == incident.route && exposes && began && !noted
            });
            unaware.map(|release| release.id.clone()).collect()
        };
        for id in unaware {
            let command = Command::Drift { reason: incident.what.clone() };
            let event = Event::Operator { actor: by.clone(), command };
            if let Err(error) = self.act(&id, event, by.clone(), None).await {
                tracing::debug!(release = %id, error = %chain(&error), "no epoch begins in it");
            }
        }
    }

    async fn tell_shutdowns(&self, desk: &mut Desk, now: UnixMs) -> Result<(), ControlError> {
        if desk.shutdowns_at.is_some_and(|at| now.since(at) < SHUTDOWNS_EVERY) {
            return Ok(());
        }
        for (route, SteadyStable { model, .. }) in self.in_service() {
            let Some(end) = shutdowns::of(&model) else { continue };
            if end.day > now.0 / DAY.0 + SHUTDOWN_NEAR_DAYS {
                continue;
            }
            let what = format!(
                "the model of stable of {route}, {}, ends on {}, as {} has announced (read on {})",
                end.model,
                end.date,
                end.maker,
                shutdowns::READ_ON
            );
            let cause = Cause::Shutdown { model: end.model.to_owned(), date: end.date.to_owned() };
            self.open_incident(&route, cause, what, now).await?;
        }
        desk.shutdowns_at = Some(now);
        Ok(())
    }

    /// What is about a model that no stable asks for any more is over, and what is about a canary with its release.
    async fn close_moot(&self, now: UnixMs) -> Result<(), ControlError> {
        let stables = self.in_service();
        for open in self.open_incidents_of_all() {
            if let Cause::CanaryName { release, .. } = &open.cause {
                if self.exposed_canary(release).is_none() {
                    self.end_incident(&open, &format!("release {release} is over"), now).await?;
                }
                continue;
            }
            let Some(SteadyStable { requested, model, .. }) = stables.get(&open.route) else { continue };
            let moot = match &open.cause {
                Cause::Name { requested: about, .. } => about != requested,
                Cause::Shutdown { model: about, .. } => shutdowns::of(model).is_none_or(|end| end.model != about),
                Cause::Sentinel { .. } | Cause::CanaryName { .. } => false,
            };
            if moot {
                self.end_incident(&open, &format!("stable asks for {requested} by now"), now).await?;
            }
        }
        Ok(())
    }

    /// How the route's own sentinels stand on its stable version, in the order of the suite.
    #[must_use]
    pub fn steady_sentinels(&self, route: &RouteName) -> Vec<SteadyStatus> {
        let Some(suite) = self.settings.sentinels.get(route) else { return Vec::new() };
        let known = self.known();
        let steady = known.steady.get(route);
        let status = |sentinel: &Sentinel| {
            let Some(found) = steady.and_then(|steady| steady.standing(&sentinel.name)) else {
                let name = sentinel.name.clone();
                return SteadyStatus {
                    name,
                    state: SteadyState::Unasked,
                    passed_in_a_row: 0,
                    asked_at: None,
                    fault: None,
                };
            };
            let state = match (found.failing.is_some(), found.is_qualified(suite)) {
                (true, _) => SteadyState::Failing,
                (false, true) => SteadyState::Passing,
                (false, false) => SteadyState::Qualifying,
            };
            SteadyStatus {
                name: sentinel.name.clone(),
                state,
                passed_in_a_row: found.passed_in_a_row,
                asked_at: Some(found.latest.began_at),
                fault: found.latest.tries.fault.clone(),
            }
        };
        suite.sentinels.iter().map(status).collect()
    }

    fn failing_sentinels(&self) -> Vec<(RouteName, String, Asked)> {
        let known = self.known();
        let mut failing = Vec::new();
        for (route, suite) in &self.settings.sentinels {
            let Some(steady) = known.steady.get(route) else { continue };
            for sentinel in &*suite.sentinels {
                let found = steady.standing(&sentinel.name).and_then(|standing| standing.failing.clone());
                failing.extend(found.map(|asked| (route.clone(), sentinel.name.clone(), asked)));
            }
        }
        failing
    }

    fn in_service(&self) -> BTreeMap<RouteName, SteadyStable> {
        let known = self.known();
        let of_route = known.routes.values().filter_map(|row| {
            let version = known.versions.get(&row.stable)?;
            let (requested, model) = (format!("{}/{}", version.provider, version.model), version.model.clone());
            Some((row.route.clone(), SteadyStable { stable: row.stable, requested, model }))
        });
        of_route.collect()
    }
}

fn leads_to(cause: &Cause, names: &str) -> bool {
    of_stable(cause).is_some_and(|(_, _, is)| is == names)
}

/// What stable asks for, which name changed, and to what; `None` for other causes.
fn of_stable(cause: &Cause) -> Option<(String, NameKind, String)> {
    match cause {
        Cause::Name { requested, kind, is, .. } => Some((requested.clone(), *kind, is.clone())),
        Cause::CanaryName { .. } | Cause::Sentinel { .. } | Cause::Shutdown { .. } => None,
    }
}
