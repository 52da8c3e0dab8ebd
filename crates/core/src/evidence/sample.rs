//! Small whole values for tests.

use crate::id::{Generation, ReleaseId, UnitKey};
use crate::metric::Metric;
use crate::release::plan::{Gate, Plan, Stage};
use crate::release::policy::{
    Ages, Budget, ControlArm, Guardrail, Margin, NoData, NoDataThen, OnRollback, OnUndecided, Policy, Role, Tripwire,
    Unit,
};
use crate::release::state::{Release, State};
use crate::tally::{AnsweredAs, Check, Detected, Ending, Feedback, Outcome, Presence, ServedBy, Turn, TurnPart, Usage};
use crate::time::{SpanMs, UnixMs};
use crate::traffic::pin::{Arm, Membership, Stratum};
use crate::traffic::weight::{Salt, WeightBp};
use crate::version::VersionId;
use std::sync::Arc;

pub(crate) const RELEASE: &str = "support-1";

pub(crate) fn stable_version() -> VersionId {
    VersionId([1; 32])
}

pub(crate) fn canary_version() -> VersionId {
    VersionId([2; 32])
}

/// A good answer: 200 ms to the first token, 900 ms in all, one cent.
pub(crate) fn outcome() -> Outcome {
    Outcome {
        ending: Ending::Complete,
        status: 200,
        ttft_ms: Some(200.0),
        latency_ms: 900.0,
        gap_max_ms: Some(40.0),
        usage: Usage { input: Some(100), output: Some(50), cached: None, reasoning: None },
        cost_usd: Some(0.01),
        refusal: Check::No,
        empty: Check::No,
        truncated: Check::No,
        tools_declared: Presence::Absent,
        tool_calls: 0,
        tool_calls_bad: 0,
        schema_broken: Check::NotApplicable,
        detected: Detected::NOT_APPLICABLE,
        opening: None,
        served_by: ServedBy::Assigned,
        answered_as: AnsweredAs::default(),
        retries: 0,
    }
}

/// A turn of stable outside of any release.
pub(crate) fn turn(unit: UnitKey, started_at: UnixMs) -> Turn {
    Turn {
        route: Arc::new("support".into()),
        unit: Some(unit),
        customer: None,
        version: stable_version(),
        member: None,
        origin: None,
        started_at,
        part: TurnPart::Whole,
        outcome: outcome(),
    }
}

pub(crate) fn member(arm: Arm, exposed_at: UnixMs) -> Membership {
    Membership { release: Arc::new(ReleaseId::from(RELEASE)), arm, stratum: Stratum(0), exposed_at }
}

/// A turn inside the release, `after` its session's exposure.
pub(crate) fn turn_of(arm: Arm, unit: u128, exposed_at: UnixMs, after: SpanMs) -> Turn {
    Turn { member: Some(member(arm, exposed_at)), ..turn(UnitKey(unit), exposed_at + after) }
}

pub(crate) fn score_of(arm: Arm, unit: u128, exposed_at: UnixMs, value: f64, idempotency: u64) -> Feedback {
    Feedback {
        route: "support".into(),
        unit: UnitKey(unit),
        member: Some(member(arm, exposed_at)),
        name: "correct".to_owned(),
        value,
        idempotency,
        judge: None,
        received_at: exposed_at + SpanMs::minutes(1),
    }
}

pub(crate) fn guardrail(metric: Metric, shift: f64) -> Guardrail {
    Guardrail {
        weight: metric.severity(),
        metric,
        role: Role::Guardrail,
        promote: Margin { ratio: 1.0, shift },
        rollback: Margin { ratio: 1.0, shift: shift / 2.0 },
        limit: None,
        no_data: NoData { then: NoDataThen::Hold, grace: SpanMs::minutes(30) },
        age: None,
        sample: None,
        control: ControlArm::default(),
        unit: Unit::Session,
    }
}

/// A running release with one stage at `weight_bp` and these guardrails.
pub(crate) fn release(weight_bp: u16, guardrails: Vec<Guardrail>) -> Release {
    let stage = |weight_bp| Stage {
        cohort: crate::cohort::Cohort::All,
        weight: WeightBp::new(weight_bp).unwrap(),
        bake: SpanMs::hours(1),
        min_sessions: 10,
        gate: Gate::Automatic,
    };
    Release {
        id: RELEASE.into(),
        tenant: "default".into(),
        route: "support".into(),
        stable: stable_version(),
        canary: canary_version(),
        plan: Plan { stages: vec![stage(weight_bp), stage(weight_bp.max(5_000))] },
        policy: Policy {
            false_rollback_rate: 0.05,
            false_promotion_rate: 0.05,
            guardrails,
            tripwires: vec![Tripwire::ConsecutiveFailures(5)],
            bucket: SpanMs::minutes(1),
            ages: Ages::default(),
            max_duration: SpanMs::hours(72),
            on_undecided: OnUndecided::Hold,
            on_rollback: OnRollback::MoveNextTurn,
            keep: SpanMs::hours(48),
            hold_back: WeightBp::ZERO,
            rescue_budget: WeightBp::new(500).unwrap(),
            budget: Budget::default(),
            freeze: Vec::new(),
            sentinels: None,
            judges: Vec::new(),
            shadow: None,
            acknowledged: std::collections::BTreeSet::new(),
        },
        policy_hash: String::new(),
        salt: Salt([7; 32]),
        attempt: 0,
        carried: std::collections::BTreeMap::new(),
        created_at: UnixMs(0),
        started_at: Some(UnixMs(0)),
        promoted_at: None,
        revoked_at: None,
        drifts: Vec::new(),
        prices: None,
        open: std::collections::BTreeSet::new(),
        state: State::Running { stage: 0, entered_at: UnixMs(0) },
        generation: Generation(1),
    }
}

/// A small generator of numbers that repeat (splitmix64).
#[derive(Debug, Clone)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// 64 bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// 0..1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Whether something with this chance happens.
    pub(crate) fn happens(&mut self, chance: f64) -> bool {
        self.unit() < chance
    }

    /// 0..n.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.bits() % n.max(1)
    }
}

/// A session, when it was exposed, and its JSON.
type Line = (UnitKey, UnixMs, String);

/// What a store keeps of a ledger, as JSON, which is what a kill leaves behind.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    pub(crate) yardstick: Option<String>,
    /// The log, by lap.
    rows: Vec<(u64, Vec<Line>)>,
    live_from: UnixMs,
    pub(crate) mirrored: std::collections::BTreeMap<UnitKey, String>,
    pub(crate) sealed: Vec<String>,
    pub(crate) totals: Option<String>,
}

impl Disk {
    pub(crate) fn write(&mut self, changes: Option<crate::evidence::Changes>) {
        let Some(changes) = changes else { return };
        if let Some(yardstick) = &changes.yardstick {
            self.yardstick = Some(json(yardstick));
        }
        let row = changes.sessions.iter().map(|(unit, session)| (*unit, session.exposed_at, json(&**session)));
        self.rows.push((changes.lap, row.collect()));
        self.live_from = changes.live_from;
        self.rows.retain(|(lap, _)| *lap >= changes.whole_from);
        self.mirrored.extend(changes.mirrored.iter().map(|(unit, session)| (*unit, json(session))));
        for unit in &changes.unmirrored {
            self.mirrored.remove(unit);
        }
        self.sealed.extend(changes.sealed.iter().map(json));
        self.totals = Some(json(&changes.totals));
    }

    pub(crate) fn ledger(&self, release: &Release) -> crate::evidence::Ledger {
        let read = |text: &String| serde_json::from_str(text).unwrap();
        let kept = crate::evidence::Kept {
            yardstick: self.yardstick.as_ref().map(|text| serde_json::from_str(text).unwrap()),
            sessions: self.sessions().iter().map(|(unit, text)| (*unit, std::sync::Arc::new(read(text)))).collect(),
            lap: self.rows.last().map_or(0, |(lap, _)| *lap),
            mirrored: self.mirrored.iter().map(|(unit, text)| (*unit, serde_json::from_str(text).unwrap())).collect(),
            totals: self.totals.as_ref().map(|text| serde_json::from_str(text).unwrap()),
        };
        crate::evidence::Ledger::restore(release, kept)
    }

    /// The live sessions, as they were written last.
    pub(crate) fn sessions(&self) -> std::collections::BTreeMap<UnitKey, String> {
        let rows = self.rows.iter().flat_map(|(_, row)| row);
        let live = rows.filter(|(_, exposed_at, _)| *exposed_at >= self.live_from);
        live.map(|(unit, _, text)| (*unit, text.clone())).collect()
    }

    pub(crate) fn sealed(&self) -> Vec<crate::evidence::SealedBucket> {
        self.sealed.iter().map(|text| serde_json::from_str(text).unwrap()).collect()
    }
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap()
}
