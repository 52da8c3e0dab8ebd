//! "Unit U is in arm A of release R, because …": the one function that splits traffic.

use crate::id::{CustomerId, UnitKey};
use crate::time::UnixMs;
use crate::traffic::pin::{Arm, Membership, Pin};
use crate::traffic::table::RouteTable;
use crate::traffic::weight::{Slot, WeightBp};
use crate::version::VersionId;

/// How the unit was named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// By the client, or by the content of the conversation: the same session comes again under it.
    Session(UnitKey),
    /// Not at all: the request stands alone and can never be recognised again.
    Nobody,
}

/// What the request says of its own past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// No assistant turn: the session begins here.
    First,
    /// It carries assistant turns: it began earlier.
    Continued,
}

/// Whether both versions of a release can be asked this: a canary may sit with a provider of another
/// dialect, which cannot say all that a request says. It depends on the request alone, and so is the same
/// in both arms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Eligibility {
    /// Both can.
    #[default]
    Eligible,
    /// One of them cannot: such a session is answered by stable and counted in neither arm.
    Ineligible,
}

/// An arm forced by an operator's or a test's header; never counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Override {
    /// Answer with stable.
    Stable,
    /// Answer with the canary, if one runs.
    Canary,
}

/// All that an assignment may depend on, beside the table.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The unit.
    pub identity: Identity,
    /// Its customer, where known.
    pub customer: Option<&'a CustomerId>,
    /// Whether it begins here.
    pub opening: Opening,
    /// Whether both versions can be asked this.
    pub eligibility: Eligibility,
    /// The one version that can answer, where its provider holds what the request refers to (an earlier
    /// response, sealed reasoning) and no other provider does.
    pub bound: Option<VersionId>,
    /// The pin found for it.
    pub pin: Option<&'a Pin>,
    /// A forced arm.
    pub forced: Option<Override>,
    /// The weight that this gateway holds exposure down to by itself (a tripwire or the ceiling
    /// file); it can only lower.
    pub ceiling: WeightBp,
    /// Now.
    pub now: UnixMs,
}

/// The answer: which version, in which part, why, and what to write down.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// The version that answers.
    pub version: VersionId,
    /// The arm shown to the client and tallied.
    pub arm: Arm,
    /// The part in the evidence; `None` is not counted.
    pub member: Option<Membership>,
    /// Why.
    pub reason: Reason,
    /// What becomes of the pin.
    pub pin: PinChange,
}

/// Why a unit got its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// It is pinned.
    Pinned,
    /// Its version was rolled back and it moved; counted.
    MovedByRollback,
    /// The version that it was pinned to is no longer kept: the release that brought it is long over.
    VersionGone,
    /// It began inside the release and its slot decided.
    Slot,
    /// Its slot is the canary's, but exposure is held down by a ceiling: stable, not counted.
    Ceiling,
    /// It began before the release, or its pin is gone: stable, not counted.
    OlderThanRelease,
    /// One of the two versions cannot be asked this: stable, not counted.
    Ineligible,
    /// Its provider holds what the request refers to: not even a rollback moves it.
    Bound,
    /// No cohort of the release holds its customer.
    OutsideCohorts,
    /// No release exposes anybody.
    NoRelease,
    /// It cannot be recognised again: stable, not counted.
    NoIdentity,
    /// Forced by a header.
    Forced,
}

impl Reason {
    /// As written in the access log and the metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pinned => "pinned",
            Self::MovedByRollback => "moved_by_rollback",
            Self::VersionGone => "version_gone",
            Self::Slot => "slot",
            Self::Ceiling => "ceiling",
            Self::OlderThanRelease => "older_than_release",
            Self::Ineligible => "ineligible",
            Self::Bound => "bound",
            Self::OutsideCohorts => "outside_cohorts",
            Self::NoRelease => "no_release",
            Self::NoIdentity => "no_identity",
            Self::Forced => "forced",
        }
    }
}

/// What becomes of the pin.
#[derive(Debug, Clone, PartialEq)]
pub enum PinChange {
    /// Nothing but its time of last use.
    Touch,
    /// A new one; whoever was first with the same unit wins. The loser is assigned again with the
    /// winner's pin, so that parallel first requests of one session agree.
    Create(Pin),
    /// The old one gives way (a rollback moved the session).
    Replace(Pin),
    /// None is kept.
    None,
}

/// Decides the version of one request. Pure; called once per request on the hot path.
#[must_use]
pub fn assign(table: &RouteTable, asked: &Asked<'_>) -> Assignment {
    if let Some(forced) = asked.forced {
        return force(table, forced);
    }
    let Identity::Session(unit) = asked.identity else {
        return on_stable(table, Reason::NoIdentity, PinChange::None);
    };
    match asked.pin {
        Some(pin) => follow(table, pin, asked),
        None => begin(table, unit, asked),
    }
}

fn force(table: &RouteTable, forced: Override) -> Assignment {
    match (forced, &table.release) {
        (Override::Canary, Some(release)) => Assignment {
            version: release.canary,
            arm: Arm::Canary,
            member: None,
            reason: Reason::Forced,
            pin: PinChange::None,
        },
        (Override::Canary, None) | (Override::Stable, _) => on_stable(table, Reason::Forced, PinChange::None),
    }
}

/// A pinned session stays, unless its version was rolled back or is no longer known.
fn follow(table: &RouteTable, pin: &Pin, asked: &Asked<'_>) -> Assignment {
    let now = asked.now;
    let leaves = |reason| {
        let moved = Pin { version: table.stable, member: None, last_seen: now };
        on_stable(table, reason, PinChange::Replace(moved))
    };
    if let Some(bound) = asked.bound.filter(|version| table.versions.contains_key(version))
        && (bound != pin.version || table.revoked.iter().any(|r| r.moves(pin, now)))
    {
        return on_bound(table, bound, PinChange::Touch);
    }
    if pin.version != table.stable && table.revoked.iter().any(|r| r.moves(pin, now)) {
        return leaves(Reason::MovedByRollback);
    }
    if !table.versions.contains_key(&pin.version) {
        return leaves(Reason::VersionGone);
    }
    let counted = pin.member.as_ref().filter(|m| table.release.as_ref().is_some_and(|r| r.id == m.release));
    if counted.is_some() && asked.eligibility == Eligibility::Ineligible {
        // A session that began as one that can be compared says something that cannot: this turn only.
        return on_stable(table, Reason::Ineligible, PinChange::Touch);
    }
    // A session that finishes on the canary of a release that is over is still shown as what it is.
    let drains = pin.version != table.stable && pin.member.as_ref().is_some_and(|m| m.arm == Arm::Canary);
    let uncounted = if drains { Arm::Canary } else { Arm::Stable };
    Assignment {
        version: pin.version,
        arm: counted.map_or(uncounted, |m| m.arm),
        member: counted.cloned(),
        reason: Reason::Pinned,
        pin: PinChange::Touch,
    }
}

fn begin(table: &RouteTable, unit: UnitKey, asked: &Asked<'_>) -> Assignment {
    let uncounted = |reason| {
        let pin = Pin { version: table.stable, member: None, last_seen: asked.now };
        on_stable(table, reason, PinChange::Create(pin))
    };
    if let Some(bound) = asked.bound.filter(|version| table.versions.contains_key(version)) {
        let pin = Pin { version: bound, member: None, last_seen: asked.now };
        return on_bound(table, bound, PinChange::Create(pin));
    }
    // After a promotion those held back, and those that a ceiling keeps off the canary, stay on the old stable.
    let control = table.release.as_ref().and_then(|release| release.control).unwrap_or(table.stable);
    let Some(release) = &table.release else {
        return uncounted(Reason::NoRelease);
    };
    if asked.opening == Opening::Continued {
        return uncounted(Reason::OlderThanRelease);
    }
    if asked.eligibility == Eligibility::Ineligible {
        return uncounted(Reason::Ineligible);
    }
    let Some(exposure) = release.governing(asked.customer) else {
        return uncounted(Reason::OutsideCohorts);
    };
    let slot = Slot::of(&release.salt, unit);
    let in_canary = slot.is_below(exposure.weight);
    if in_canary && !slot.is_below(asked.ceiling) {
        let pin = Pin { version: control, member: None, last_seen: asked.now };
        return Assignment { version: control, ..on_stable(table, Reason::Ceiling, PinChange::Create(pin)) };
    }
    let (arm, version) = if in_canary { (Arm::Canary, release.canary) } else { (Arm::Control, control) };
    let member = Membership { release: release.id.clone(), arm, stratum: exposure.stratum, exposed_at: asked.now };
    let pin = Pin { version, member: Some(member.clone()), last_seen: asked.now };
    Assignment { version, arm, member: Some(member), reason: Reason::Slot, pin: PinChange::Create(pin) }
}

/// Nobody else can answer: not counted, for nobody chose it.
fn on_bound(table: &RouteTable, version: VersionId, pin: PinChange) -> Assignment {
    let arm = if version == table.stable { Arm::Stable } else { Arm::Canary };
    Assignment { version, arm, member: None, reason: Reason::Bound, pin }
}

fn on_stable(table: &RouteTable, reason: Reason, pin: PinChange) -> Assignment {
    Assignment { version: table.stable, arm: Arm::Stable, member: None, reason, pin }
}

#[cfg(test)]
mod tests;
