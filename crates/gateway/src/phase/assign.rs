//! Assign: the domain's own function, with the pins that it reads and changes.

use crate::gateway::Gateway;
use crate::phase::identify::{Identified, Past, StateOf};
use crate::table::Route;
use coalmine_core::time::UnixMs;
use coalmine_core::traffic::assign::{Asked, Assignment, Eligibility, Identity, PinChange, assign as decide};
use coalmine_core::traffic::pin::Pin;
use coalmine_core::version::VersionId;
use coalmine_wire::openai::ChatRequest;

/// The version that a session is on, or that a new one would most likely get; nothing is kept.
pub(crate) fn peek(gateway: &Gateway, route: &Route, of: &Identified, now: UnixMs) -> VersionId {
    if let StateOf::Version(maker) = of.state {
        return maker;
    }
    let Identity::Session(unit) = of.identity else { return route.table.stable };
    let Some(pin) = gateway.pins.get(unit, now) else { return route.table.stable };
    let asked = Asked {
        identity: of.identity,
        customer: of.customer.as_ref(),
        opening: of.opening,
        eligibility: Eligibility::Eligible,
        bound: None,
        pin: Some(&pin),
        forced: of.forced,
        ceiling: route.ceiling,
        now,
    };
    decide(&route.table, &asked).version
}

/// Decides the version of one request and keeps its pin. Parallel first requests of one session
/// agree: whoever pins first decides for all.
pub(crate) fn assign(
    gateway: &Gateway,
    route: &Route,
    of: &Identified,
    chat: &ChatRequest<'_>,
    now: UnixMs,
) -> Assignment {
    let unit = match of.identity {
        Identity::Session(unit) => Some(unit),
        Identity::Nobody => None,
    };
    let decide = |pin: Option<&Pin>, bound: Option<VersionId>| {
        let asked = Asked {
            identity: of.identity,
            customer: of.customer.as_ref(),
            opening: of.opening,
            eligibility: of.eligibility,
            bound,
            pin,
            forced: of.forced,
            ceiling: route.ceiling,
            now,
        };
        decide(&route.table, &asked)
    };
    // a unit that was drawn for this request has no pin
    let looked_for = unit.filter(|_| of.forced.is_none() && of.past == Past::Possible);
    let found = looked_for.and_then(|unit| gateway.pins.get(unit, now));
    let mut assignment = decide(found.as_ref(), None);
    if let Some(holder) = holder(route, of, found.as_ref(), chat, &assignment) {
        assignment = decide(found.as_ref(), Some(holder));
    }
    if let (PinChange::Create(pin), Some(unit)) = (&assignment.pin, unit) {
        let winner = gateway.pins.create(unit, pin.clone());
        if winner != *pin {
            assignment = decide(Some(&winner), None);
        }
    }
    match (&assignment.pin, unit) {
        (PinChange::Touch, Some(unit)) => gateway.pins.touch(unit, now),
        (PinChange::Replace(pin), Some(unit)) => gateway.pins.replace(unit, pin.clone()),
        (PinChange::Create(_) | PinChange::None, _) | (_, None) => {}
    }
    route.series.note_assignment(assignment.reason);
    assignment
}

/// The version whose provider holds what the request refers to, where whoever was assigned cannot answer in
/// its place.
fn holder(
    route: &Route,
    of: &Identified,
    pin: Option<&Pin>,
    chat: &ChatRequest<'_>,
    assigned: &Assignment,
) -> Option<VersionId> {
    let version = match of.state {
        StateOf::Nobody => return None,
        StateOf::ItsOwn => pin?.version,
        StateOf::Version(maker) => maker,
    };
    let (holder, assigned) = (route.prepared(version)?, route.prepared(assigned.version)?);
    (holder.id != assigned.id && !holder.gives_way_to(assigned, chat)).then_some(version)
}
