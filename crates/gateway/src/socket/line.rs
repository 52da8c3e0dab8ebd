//! A socket's session: who it is, which version it has for its whole life, and who pays.

use crate::admission::Holder;
use crate::admission::permit::Permit;
use crate::answer::Refusal;
use crate::gateway::Gateway;
use crate::phase::admit::Admitted;
use crate::phase::assign::assign;
use crate::phase::identify::Identified;
use crate::phase::observe::{Begun, Exchange};
use crate::phase::variables::Given;
use crate::table::{Prepared, Route};
use crate::telemetry::trace::Trace;
use bytes::Bytes;
use coalmine_core::id::CustomerId;
use coalmine_core::time::UnixMs;
use coalmine_core::traffic::assign::{Assignment, Identity, PinChange};
use coalmine_core::traffic::pin::Arm;
use coalmine_wire::dialect::Dialect;
use coalmine_wire::openai::errors::Problem;
use coalmine_wire::openai::{ChatRequest, Patch};
use coalmine_wire::usage::Usage;
use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

/// One socket's session.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) gateway: Arc<Gateway>,
    pub(super) route: Arc<Route>,
    pub(super) prepared: Arc<Prepared>,
    identity: Identity,
    customer: Option<CustomerId>,
    assignment: Assignment,
    holder: Arc<Holder>,
    client: IpAddr,
    trace: Option<Trace>,
    /// Taken once for the socket; each turn is charged to it.
    permit: Option<Arc<Permit>>,
    dialect: Dialect,
    /// What the upgrade gave for the variables of a prompt: it holds for the socket's life.
    given: Given,
    /// What the version sets, where that is not what it sets for everybody.
    rendered: Option<Box<Patch>>,
}

impl Line {
    /// Assigns and pins, as a first request does.
    pub(super) fn begin(
        gateway: &Arc<Gateway>,
        route: &Arc<Route>,
        whose: &Identified,
        chat: &ChatRequest<'_>,
        admitted: &mut Admitted,
    ) -> Result<Self, Refusal> {
        let given = Given::read(&admitted.parts.headers)?;
        let mut assignment = assign(gateway, route, whose, chat, admitted.received_at);
        assignment.pin = PinChange::None;
        let Some(prepared) = route.prepared(assignment.version) else {
            return Err(Refusal::new(
                Problem::Internal,
                "the version of this route cannot be served; see the gateway's log",
            ));
        };
        if !prepared.can_be_asked(chat) {
            let message = format!("the version of route '{}' cannot be asked over a websocket", route.name);
            return Err(Refusal::new(Problem::BadRequest, message));
        }
        gateway.customers.note(
            &route.name,
            &admitted.caller.scope,
            whose,
            assignment.member.as_ref(),
            admitted.received_at,
        );
        let trace = gateway.telemetry.trace(&admitted.parts.headers);
        if let Some(trace) = trace {
            trace.put(&mut admitted.parts.headers);
        }
        Ok(Self {
            gateway: gateway.clone(),
            route: route.clone(),
            prepared: prepared.clone(),
            identity: whose.identity,
            customer: whose.customer.clone(),
            assignment,
            holder: admitted.caller.holder.clone(),
            client: admitted.client,
            trace,
            permit: admitted.permit.take().map(Arc::new),
            dialect: chat.dialect,
            rendered: rendered(prepared, chat.dialect, &given),
            given,
        })
    }

    /// What the version sets in this socket's events.
    pub(super) fn patch(&self) -> Option<&Patch> {
        self.rendered.as_deref().or_else(|| self.prepared.patch(self.dialect).ok())
    }

    /// A response is asked for on it; `of` says what the answer will be found by.
    pub(super) fn turn(&self, chat: &ChatRequest<'_>, body: &Bytes, at: UnixMs, of: Option<&Identified>) -> Exchange {
        if let Identity::Session(unit) = self.identity {
            self.gateway.pins.touch(unit, at);
        }
        Exchange::begin(
            &self.gateway,
            chat,
            Begun {
                route: &self.route,
                prepared: &self.prepared,
                identity: self.identity,
                customer: self.customer.clone(),
                trail: of.and_then(|of| of.trail.clone()),
                responses: of.and_then(|of| of.responses),
                assignment: self.assignment.clone(),
                started_at: at,
                permit: None,
                line: self.permit.clone(),
                holder: self.holder.clone(),
                client: self.client,
                trace: self.trace,
                body,
            },
        )
    }

    /// Whether one more turn may begin.
    pub(super) fn may_go_on(&self) -> Result<(), String> {
        let Some(permit) = &self.permit else { return Ok(()) };
        permit.more(self.gateway.clock.now()).map_err(|(bound, why)| {
            self.gateway.metrics.note_quota(bound);
            why
        })
    }

    /// A model beside the version has done something on it, which is paid and is no request. What that costs by the prices that a release
    /// compares by; `None`: nobody knows.
    pub(super) fn charge_beside(&self, model: Option<&str>, usage: &Usage) -> Option<f64> {
        let listed = model.and_then(|model| self.gateway.config.prices.of(model)).map(|quote| quote.price);
        if let Some(permit) = &self.permit {
            let tokens = usage.input_tokens.unwrap_or(0).saturating_add(usage.output_tokens.unwrap_or(0));
            let cost_usd = listed.and_then(|price| price.cost_usd(usage));
            permit.charge_beside(tokens, cost_usd, self.gateway.clock.now());
        }
        self.route.price(model?, listed)?.cost_usd(usage)
    }

    /// Somebody else answers in the version's place, for good: that counts in neither arm.
    pub(super) fn goes_on_with(&mut self, other: Arc<Prepared>, arm: Arm) {
        self.assignment.version = other.id;
        self.assignment.member = None;
        self.assignment.arm = arm;
        self.rendered = rendered(&other, self.dialect, &self.given);
        self.prepared = other;
    }
}

fn rendered(version: &Prepared, dialect: Dialect, given: &Given) -> Option<Box<Patch>> {
    match version.patch_with(dialect, given) {
        Ok(Cow::Owned(patch)) => Some(Box::new(patch)),
        Ok(Cow::Borrowed(_)) | Err(_) => None,
    }
}
