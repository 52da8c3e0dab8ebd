//! A release and looks at it, for the tests of this crate.

use crate::analysis::{
    Analysis, ArmCounts, Climb, Evidence, Finding, Interval, LimitFinding, PairedFinding, Quality, Readiness,
    SentinelFinding, SentinelVerdict, ShadowFinding, Standing, Verdict,
};
use crate::cohort::Cohort;
use crate::id::{Actor, CustomerId, Generation, ReleaseId, RouteName, TenantId};
use crate::judge::{self, Anchor, Anchors, Judge, Scale};
use crate::metric::{Metric, Number};
use crate::release::event::{Command, Event};
use crate::release::plan::{Gate, Plan, Ramp, Stage};
use crate::release::policy::{
    Ages, Budget, ControlArm, FreezeWindow, Guardrail, Margin, NoData, NoDataThen, OnRollback, OnUndecided, Policy,
    Role, Tripwire, Unit,
};
use crate::release::state::{Release, State};
use crate::sentinel::{Criticality, Judging, Sentinel, Sentinels, Tries};
use crate::shadow::Shadow;
use crate::shadow::pair::Lost;
use crate::time::{SpanMs, UnixMs};
use crate::traffic::weight::{Salt, WeightBp};
use crate::version::{JsonText, Version, VersionId};
use std::collections::{BTreeMap, BTreeSet};

/// Monday 2026-01-05 00:00 UTC.
pub(crate) const MONDAY: UnixMs = UnixMs(1_767_571_200_000);

pub(crate) const STABLE: VersionId = VersionId([1; 32]);
pub(crate) const CANARY: VersionId = VersionId([2; 32]);

pub(crate) fn weight(bp: u16) -> WeightBp {
    WeightBp::new(bp).unwrap()
}

pub(crate) fn stage(cohort: Cohort, bp: u16, gate: Gate) -> Stage {
    Stage { cohort, weight: weight(bp), bake: SpanMs::hours(1), min_sessions: 100, gate }
}

pub(crate) fn named(name: &str, customers: &[&str]) -> Cohort {
    let customers: BTreeSet<CustomerId> = customers.iter().map(|c| CustomerId::from(*c)).collect();
    Cohort::Named { name: name.to_owned(), customers }
}

pub(crate) fn guardrail(metric: Metric, role: Role, then: NoDataThen) -> Guardrail {
    Guardrail {
        weight: metric.severity(),
        metric,
        role,
        promote: Margin { ratio: 1.0, shift: 0.01 },
        rollback: Margin { ratio: 1.0, shift: 0.005 },
        limit: None,
        no_data: NoData { then, grace: SpanMs::minutes(10) },
        age: None,
        sample: None,
        control: ControlArm::default(),
        unit: Unit::Session,
    }
}

/// Errors (hold on silence, limit 2 %), tool calls (roll back on silence), and refusals as a signal.
pub(crate) fn policy() -> Policy {
    let mut errors = guardrail(Metric::ErrorRate, Role::Guardrail, NoDataThen::Hold);
    errors.limit = Some(0.02);
    Policy {
        false_rollback_rate: 0.01,
        false_promotion_rate: 0.05,
        guardrails: vec![
            errors,
            guardrail(Metric::ToolCallValid, Role::Guardrail, NoDataThen::Rollback),
            guardrail(Metric::RefusalRate, Role::Signal, NoDataThen::Warn),
        ],
        tripwires: vec![Tripwire::ConsecutiveFailures(5)],
        bucket: SpanMs::secs(60),
        ages: Ages::default(),
        max_duration: SpanMs::hours(72),
        on_undecided: OnUndecided::Hold,
        on_rollback: OnRollback::MoveNextTurn,
        keep: SpanMs::hours(48),
        hold_back: WeightBp::ZERO,
        rescue_budget: weight(500),
        budget: Budget { harmed: Some(50), extra_cost_usd: Some(40.0) },
        freeze: Vec::new(),
        sentinels: None,
        judges: Vec::new(),
        shadow: None,
        acknowledged: BTreeSet::new(),
    }
}

/// A shadow of a fifth of the sessions.
pub(crate) fn shadow() -> Shadow {
    Shadow {
        share: weight(2_000),
        length: SpanMs::hours(2),
        min_sessions: 50,
        in_flight: 16,
        usd_per_day: 20.0,
        preferences: Vec::new(),
        similarity: None,
    }
}

/// A sentinel that is asked every 10 minutes, of which a good version gets 2 % wrong.
pub(crate) fn sentinel(name: &str, criticality: Criticality) -> Sentinel {
    Sentinel {
        name: name.to_owned(),
        criticality,
        runs: 1,
        need: 1,
        every: SpanMs::minutes(10),
        flaky: 0.02,
        probe: JsonText("{}".to_owned()),
    }
}

/// A judge of two anchors' agreement, with a label in every second answer.
pub(crate) fn judge(name: &str) -> Judge {
    let version = Version {
        provider: "openai".into(),
        model: "gpt-4.1-mini-2025-04-14".to_owned(),
        prompt: None,
        tools: None,
        fallbacks: Vec::new(),
        params: BTreeMap::from([("temperature".to_owned(), JsonText("0".to_owned()))]),
    };
    let anchor =
        |answer: &str, label| Anchor { question: "When?".to_owned(), answer: answer.to_owned(), other: None, label };
    let set = [anchor("At nine.", 1.0), anchor("Yes.", 0.0)];
    Judge {
        name: name.to_owned(),
        version,
        rubric: "The answer says what was asked for.".to_owned(),
        scale: Scale::Binary,
        form: judge::FORM,
        turns: 1,
        usd_per_day: None,
        calls_per_day: None,
        labels: weight(5_000),
        anchors: Some(Anchors { every: SpanMs::hours(6), agree: 0.8, margin: 0.1, set: set.into() }),
    }
}

/// A suite that is critical after three rounds on stable.
pub(crate) fn suite(sentinels: Vec<Sentinel>) -> Sentinels {
    Sentinels {
        suite: "sentinels/support.yaml".to_owned(),
        sentinels: sentinels.into(),
        qualify: 3,
        judging: Judging::default(),
        gate: None,
    }
}

pub(crate) fn tries(passed: u32, failed: u32) -> Tries {
    Tries { passed, failed, ..Tries::default() }
}

/// Friday 16:00 to Monday 08:00.
pub(crate) fn weekend() -> FreezeWindow {
    FreezeWindow { from: 4 * 1440 + 16 * 60, to: 8 * 60, zone: None }
}

/// All 5 %, all 25 % upon approval, all 50 %.
pub(crate) fn release() -> Release {
    Release {
        id: ReleaseId::from("support-7"),
        tenant: TenantId::default(),
        route: RouteName::from("support"),
        stable: STABLE,
        canary: CANARY,
        plan: Plan {
            stages: vec![
                stage(Cohort::All, 500, Gate::Automatic),
                stage(Cohort::All, 2_500, Gate::Approval("oncall".to_owned())),
                stage(Cohort::All, 5_000, Gate::Automatic),
            ],
        },
        policy: policy(),
        policy_hash: "0".repeat(64),
        salt: Salt([7; 32]),
        attempt: 0,
        carried: BTreeMap::new(),
        created_at: MONDAY,
        started_at: None,
        promoted_at: None,
        revoked_at: None,
        drifts: Vec::new(),
        prices: None,
        open: BTreeSet::new(),
        state: State::Draft,
        generation: Generation(1),
    }
}

/// Running at `stage` since `MONDAY`.
pub(crate) fn running(stage: usize) -> Release {
    Release {
        started_at: Some(MONDAY),
        state: State::Running { stage, entered_at: MONDAY },
        generation: Generation(2 + stage as u64),
        ..release()
    }
}

pub(crate) fn by(command: Command) -> Event {
    Event::Operator { actor: Actor::from("alice"), command }
}

pub(crate) fn reason() -> String {
    "because".to_owned()
}

pub(crate) fn look(analysis: Analysis) -> Event {
    Event::Look { analysis: Box::new(analysis) }
}

pub(crate) fn finding(guardrail: &Guardrail, verdict: Verdict) -> Finding {
    let proven = verdict == Verdict::Healthy;
    Finding {
        metric: guardrail.metric.clone(),
        role: guardrail.role,
        verdict,
        number: Number::Session,
        control: Some(0.01),
        canary: Some(0.012),
        difference: Some(Interval { low: -0.004, point: 0.002, high: 0.008 }),
        n: ArmCounts { control: 4_000, canary: 200 },
        missing: ArmCounts::default(),
        silent: SpanMs::ZERO,
        rollback: Evidence { log: 0.0, line: 7.0 },
        standing: -1.0,
        promote: Evidence { log: if proven { 3.5 } else { 1.2 }, line: 3.0 },
        limit: None,
        control_limit: None,
        self_check: None,
        slices: Vec::new(),
        reason: "1.2 % against 1 %, n 200 and 4000".to_owned(),
    }
}

/// A look at `stage` in which everything says `verdict`, with sessions enough.
pub(crate) fn seen(stage: usize, verdict: Verdict) -> Analysis {
    Analysis {
        at: MONDAY,
        stage,
        findings: policy().guardrails.iter().map(|g| finding(g, verdict)).collect(),
        rollback: Evidence { log: 0.3, line: 4.83 },
        guilty: Vec::new(),
        limits_exceeded: Vec::new(),
        tripped: None,
        posted: ArmCounts { control: 4_000, canary: 200 },
        exposed: ArmCounts { control: 5_000, canary: 260 },
        harmed: Interval { low: -3.0, point: 0.4, high: 4.0 },
        extra_cost_usd: Some(Interval { low: -1.0, point: 0.2, high: 2.0 }),
        costs: None,
        climb: None,
        drifts: 0,
        quality: Quality::default(),
        sentinels: Vec::new(),
        judges: Vec::new(),
        shadow: None,
        readiness: Readiness::default(),
    }
}

/// Mirrored sessions enough, whose errors stand at so much evidence against a line of 7, and stood at `peak`.
pub(crate) fn mirrored(analysis: Analysis, standing: f64, peak: f64) -> Analysis {
    let rollback = Evidence { log: peak, line: 7.0 };
    let errors = PairedFinding {
        metric: Metric::ErrorRate,
        role: Role::Guardrail,
        sessions: 60,
        stable: Some(0.01),
        canary: Some(0.08),
        difference: Some(0.07),
        interval: None,
        rollback,
        standing,
        preferences: None,
        lacks: None,
        reason: "bad in 8 % of the canary's answers against 1 % of stable's to the same requests, 60 sessions"
            .to_owned(),
    };
    let shadow = ShadowFinding {
        sessions: 60,
        need: 50,
        pairs: 90,
        void: 2,
        lost: Lost::default(),
        cost_usd: 0.4,
        cost_unknown: 0,
        rollback,
        findings: vec![errors],
        similarity: None,
    };
    Analysis { shadow: Some(shadow), ..analysis }
}

/// The same, with one metric saying something else.
pub(crate) fn but(mut analysis: Analysis, metric: &Metric, verdict: Verdict) -> Analysis {
    for (guardrail, found) in policy().guardrails.iter().zip(&mut analysis.findings) {
        if guardrail.metric == *metric {
            *found = finding(guardrail, verdict);
        }
    }
    analysis
}

/// Rollback evidence at the line, from errors.
pub(crate) fn guilty(stage: usize) -> Analysis {
    let mut analysis = but(seen(stage, Verdict::Inconclusive), &Metric::ErrorRate, Verdict::Regressed);
    analysis.findings[0].reason = "4.1 % against 1 %, between 1.4 and 5.2 pp worse, n 400 and 8000".to_owned();
    analysis.rollback = Evidence { log: 6.2, line: 4.83 };
    analysis.guilty = vec![Metric::ErrorRate];
    analysis
}

pub(crate) fn over_limit(stage: usize) -> Analysis {
    let mut analysis = seen(stage, Verdict::Inconclusive);
    analysis.findings[0].reason = "3.4 % against 3.1 %, n 900 and 18000".to_owned();
    let evidence = Evidence { log: 8.1, line: 6.9 };
    let limit = LimitFinding { metric: Metric::ErrorRate, evidence };
    Analysis { limits_exceeded: vec![limit], ..analysis }
}

pub(crate) fn tripped(stage: usize) -> Analysis {
    let what = "5 canary requests in a row failed".to_owned();
    Analysis { tripped: Some(what), ..seen(stage, Verdict::Inconclusive) }
}

pub(crate) fn over_budget(stage: usize) -> Analysis {
    let harmed = Interval { low: 51.0, point: 72.0, high: 95.0 };
    Analysis { harmed, ..seen(stage, Verdict::Inconclusive) }
}

/// Everything proven, and the split broken.
pub(crate) fn mismatch(stage: usize) -> Analysis {
    let mut analysis = seen(stage, Verdict::Healthy);
    analysis.quality.holds = vec!["sample-ratio mismatch: 400 of 4000 canary sessions where 5 % are due".to_owned()];
    analysis
}

/// Everything proven, and one session makes most of the traffic.
pub(crate) fn heavy_unit(stage: usize) -> Analysis {
    let mut analysis = seen(stage, Verdict::Healthy);
    analysis.quality.promotion_holds = vec!["one session makes 34 % of the requests".to_owned()];
    analysis
}

/// Everything proven, and a rollback not far from it.
pub(crate) fn doubtful(stage: usize) -> Analysis {
    let mut analysis = seen(stage, Verdict::Healthy);
    analysis.findings[1].standing = 1.4;
    analysis
}

/// Stable proven above the limit of errors.
pub(crate) fn stable_sick(stage: usize) -> Analysis {
    let mut analysis = seen(stage, Verdict::Healthy);
    analysis.findings[0].limit = Some(Evidence { log: 0.3, line: 6.9 });
    analysis.findings[0].control_limit = Some(Evidence { log: 7.7, line: 6.9 });
    analysis
}

/// Both arms proven above it.
pub(crate) fn both_bad(stage: usize) -> Analysis {
    let mut analysis = stable_sick(stage);
    analysis.findings[0].limit = Some(Evidence { log: 7.2, line: 6.9 });
    analysis
}

/// So much is excluded, at so many sessions a minute.
pub(crate) fn climbing(analysis: Analysis, worst: f64, units_per_minute: f64) -> Analysis {
    let climb = Climb { worst, limited_by: Some(Metric::ToolCallValid), units_per_minute };
    Analysis { climb: Some(climb), ..analysis }
}

/// The critical sentinel `refund` says so.
pub(crate) fn asked(analysis: Analysis, verdict: SentinelVerdict) -> Analysis {
    let finding = SentinelFinding {
        name: "refund".to_owned(),
        standing: Standing::Critical,
        verdict,
        stable: tries(3, 0),
        canary: tries(0, 3),
        at: Some(MONDAY),
        reason: "3 of 3 passed on stable, 0 of 3 on the canary".to_owned(),
    };
    Analysis { sentinels: vec![finding], ..analysis }
}

/// All 0.5 %, then a ramp from 1 % to 50 % that bears 5 harmed sessions a minute.
pub(crate) fn ramped() -> Release {
    let mut release = release();
    let ramp = Ramp { harm_per_minute: 5.0 };
    release.plan.stages = vec![stage(Cohort::All, 50, Gate::Automatic)];
    release.plan.stages.extend(stage(Cohort::All, 5_000, Gate::Automatic).climbed_from(weight(100), ramp));
    release
}
