//! Rows to store: small ones for the laws, and lists with every variant for the golden files.

use crate::CaptureRow;
use coalmine_core::analysis::{
    Analysis, ArmCounts, Climb, Evidence, Finding, Interval, LimitFinding, Quality, Readiness, Verdict,
};
use coalmine_core::capture::{CaptureHead, CaptureId, CaptureUse, Did};
use coalmine_core::cohort::Cohort;
use coalmine_core::drift::NameKind;
use coalmine_core::evidence::{
    Beyond, ByMetric, FirstSeen, LastSeen, SealedBucket, Session, Sums, TwoArms, Went, Yardstick,
};
use coalmine_core::id::{Actor, CustomerId, Generation, IncidentId, ReleaseId, RouteName, TenantId};
use coalmine_core::incident::{Cause, Incident};
use coalmine_core::judge::{Anchor, Anchors, FORM, Judge, Sampling, Scale};
use coalmine_core::key::{FreshSecret, Key, Quota, Usd};
use coalmine_core::metric::{Metric, Number};
use coalmine_core::origin::Slice;
use coalmine_core::release::effect::{Effect, Notice};
use coalmine_core::release::event::{Command, Event};
use coalmine_core::release::plan::{Gate, Plan, Ramp, Stage};
use coalmine_core::release::policy::{
    Ages, Budget, ControlArm, FreezeWindow, Guardrail, Margin, NoData, NoDataThen, OnRollback, OnUndecided, Policy,
    Role, Tripwire, Unit,
};
use coalmine_core::release::report::{Decision, JournalRow, Report, Waiting};
use coalmine_core::release::state::{Condition, Drift, PauseCause, Release, Resume, RollbackCause, State};
use coalmine_core::sentinel::{Criticality, OfflineGate, Sentinel, Sentinels};
use coalmine_core::shadow::similarity::{CosineSum, LikenessSums};
use coalmine_core::shadow::young::{self, MirroredSession};
use coalmine_core::tally::Presence;
use coalmine_core::time::{SpanMs, UnixMs};
use coalmine_core::traffic::pin::{Arm, Stratum};
use coalmine_core::traffic::weight::{Salt, WeightBp};
use coalmine_core::version::{JsonText, Prompt, PromptMode, Tools, ToolsMode, Version, VersionId};
use std::collections::{BTreeMap, BTreeSet};

/// The tenant of the samples.
#[must_use]
pub fn tenant() -> TenantId {
    TenantId::default()
}

/// A version that answers with `model`.
#[must_use]
pub fn version(model: &str) -> Version {
    Version {
        provider: "openai".into(),
        model: model.to_owned(),
        prompt: None,
        tools: None,
        params: BTreeMap::new(),
        fallbacks: Vec::new(),
    }
}

/// The version in service in the samples.
#[must_use]
pub fn stable() -> Version {
    version("gpt-4o")
}

/// The version on trial in the samples.
#[must_use]
pub fn canary() -> Version {
    version("gpt-5")
}

/// The `attempt`-th release of a route, in draft, of generation 1.
#[must_use]
pub fn release(route: &RouteName, attempt: u32) -> Release {
    Release {
        id: ReleaseId(format!("{route}-{attempt}")),
        tenant: tenant(),
        route: route.clone(),
        stable: stable().id(),
        canary: canary().id(),
        plan: plan(),
        policy: policy(),
        policy_hash: "00ff".repeat(16),
        salt: Salt([7; 32]),
        attempt,
        carried: BTreeMap::from([(Metric::ErrorRate, -0.25)]),
        created_at: UnixMs(1_750_000_000_000),
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

/// The journal row of a command that led to `release`.
#[must_use]
pub fn row(release: &Release, actor: &Actor) -> JournalRow {
    JournalRow {
        release: release.id.clone(),
        generation: release.generation,
        at: UnixMs(1_750_000_000_000 + release.generation.0),
        actor: actor.clone(),
        event: Event::Operator { actor: actor.clone(), command: Command::Start },
        decision: Decision::Start,
        report: Report { headline: "started by hand".to_owned(), ..Report::default() },
    }
}

/// `release` one step on, in `state`.
#[must_use]
pub fn next(release: &Release, state: State) -> Release {
    Release { state, generation: release.generation.next(), ..release.clone() }
}

/// So many basis points.
pub fn weight(bp: u16) -> WeightBp {
    WeightBp::new(bp).unwrap_or(WeightBp::FULL)
}

fn plan() -> Plan {
    let customers = BTreeSet::from([CustomerId::from("acme"), CustomerId::from("globex")]);
    let first = Stage {
        cohort: Cohort::Named { name: "internal".to_owned(), customers },
        weight: weight(5_000),
        bake: SpanMs::minutes(15),
        min_sessions: 50,
        gate: Gate::Automatic,
    };
    let last = Stage {
        cohort: Cohort::All,
        weight: weight(500),
        bake: SpanMs::hours(1),
        min_sessions: 400,
        gate: Gate::Approval("oncall".to_owned()),
    };
    let ramp = Ramp { harm_per_minute: 5.0 };
    Plan { stages: vec![first, last.clone(), Stage { weight: weight(5_000), gate: Gate::Ramp(ramp), ..last }] }
}

fn policy() -> Policy {
    let guardrail = |metric, role, limit, then| Guardrail {
        metric,
        role,
        promote: Margin { ratio: 1.2, shift: 0.005 },
        rollback: Margin { ratio: 1.0, shift: 0.0 },
        limit,
        weight: 0.3,
        no_data: NoData { then, grace: SpanMs::minutes(30) },
        age: None,
        sample: None,
        control: ControlArm::default(),
        unit: Unit::Session,
    };
    Policy {
        false_rollback_rate: 0.01,
        false_promotion_rate: 0.05,
        guardrails: vec![
            guardrail(Metric::ErrorRate, Role::Guardrail, Some(0.02), NoDataThen::Hold),
            guardrail(Metric::Feedback("correct".to_owned()), Role::Signal, None, NoDataThen::Rollback),
            guardrail(Metric::CostPerSession, Role::DryRun, None, NoDataThen::Warn),
        ],
        tripwires: vec![Tripwire::ConsecutiveFailures(20)],
        bucket: SpanMs::secs(60),
        ages: Ages::default(),
        max_duration: SpanMs::hours(72),
        on_undecided: OnUndecided::Hold,
        on_rollback: OnRollback::FinishOnCanary { drain: SpanMs::minutes(30) },
        keep: SpanMs::hours(24),
        hold_back: weight(200),
        rescue_budget: weight(500),
        budget: Budget { harmed: Some(200), extra_cost_usd: Some(50.0) },
        freeze: vec![FreezeWindow { from: 6_000, to: 300, zone: None }],
        sentinels: None,
        judges: Vec::new(),
        shadow: None,
        acknowledged: BTreeSet::new(),
    }
}

/// A release in every state, with every cause of a pause and of a rollback.
#[must_use]
pub fn releases_in_every_state() -> Vec<Release> {
    let now = UnixMs(1_750_000_900_000);
    let resume_to = Resume { stage: 1, entered_at: UnixMs(1_750_000_000_000), paused_at: now };
    let mut states = vec![
        State::Draft,
        State::Preflight,
        State::Shadow { since: UnixMs(5) },
        State::Running { stage: 0, entered_at: now },
        State::AwaitingApproval { stage: 1, since: now, entered_at: UnixMs(1_750_000_000_000) },
        State::Promoting { since: now },
        State::Promoted { at: now, keep_until: now + SpanMs::hours(24), hold_back: weight(200) },
    ];
    for by in pause_causes() {
        states.push(State::Paused { by, resume_to });
    }
    for why in rollback_causes() {
        states.push(State::RollingBack { why: why.clone(), since: now });
        states.push(State::RolledBack { why, at: now });
    }
    let draft = release(&"support-agent".into(), 7);
    let open = conditions();
    let drifts = vec![Drift { at: now, by: Actor::coalmine(), what: "another model answers".to_owned() }];
    let draft = Release { drifts, ..draft };
    let started = Release { started_at: Some(now), promoted_at: Some(now), revoked_at: Some(now), open, ..draft };
    let mut releases: Vec<Release> = states.into_iter().map(|state| next(&started, state)).collect();
    releases.push(watched_by_sentinels(&started, now));
    releases.push(next(&judged(&started), State::Running { stage: 0, entered_at: now }));
    releases
}

/// A release with sentinels of every criticality and a gate, rolled back by one of them.
fn watched_by_sentinels(started: &Release, now: UnixMs) -> Release {
    let sentinel = |name: &str, criticality| Sentinel {
        name: name.to_owned(),
        criticality,
        runs: 3,
        need: 2,
        every: SpanMs::minutes(10),
        flaky: 0.02,
        probe: JsonText(r#"{"messages":[],"assertions":[]}"#.to_owned()),
    };
    let all = [("refund", Criticality::Critical), ("tone", Criticality::Watched), ("arithmetic", Criticality::Gate)];
    let found = "3/3 passed on stable, 0/4 on canary".to_owned();
    let why = RollbackCause::Sentinel { name: "refund".to_owned(), found };
    let mut release = next(started, State::RolledBack { why, at: now });
    release.open = BTreeSet::from([Condition::Sentinels]);
    release.policy.sentinels = Some(Sentinels {
        suite: "sentinels/support.yaml".to_owned(),
        sentinels: all.map(|(name, criticality)| sentinel(name, criticality)).into(),
        qualify: 3,
        judging: coalmine_core::sentinel::Judging::default(),
        gate: Some(OfflineGate { suite: "evals/offline.yaml".to_owned(), pass_share: 0.9 }),
    });
    release
}

/// The same release with a judge that is a guardrail, and anchors.
#[must_use]
pub fn judged(release: &Release) -> Release {
    let judge = Judge {
        name: "helpful".to_owned(),
        version: version("gpt-4.1-mini-2025-04-14"),
        rubric: "The answer says what was asked for.\nNothing else.".to_owned(),
        scale: Scale::Five,
        form: FORM,
        turns: 2,
        usd_per_day: Some(1.0),
        calls_per_day: Some(2_000),
        labels: weight(500),
        anchors: Some(Anchors {
            every: SpanMs::hours(6),
            agree: 0.7,
            margin: 0.15,
            set: [Anchor { question: "When?".to_owned(), answer: "At nine.".to_owned(), other: None, label: 1.0 }]
                .into(),
        }),
    };
    let mut release = release.clone();
    let watched = Guardrail {
        metric: Metric::Judge(judge.name.clone()),
        sample: Some(Sampling { control: weight(500), canary: weight(5_000) }),
        age: Some(SpanMs::hours(2)),
        no_data: NoData { then: NoDataThen::Hold, grace: SpanMs::minutes(10) },
        ..release.policy.guardrails[0].clone()
    };
    release.policy.guardrails.push(watched);
    release.policy.judges.push(judge);
    release
}

fn conditions() -> BTreeSet<Condition> {
    BTreeSet::from([
        Condition::Quality,
        Condition::Silent { metric: Metric::ErrorRate },
        Condition::Signal { metric: Metric::Feedback("correct".to_owned()) },
        Condition::HarmBudget,
        Condition::CostBudget,
        Condition::Undecided,
    ])
}

fn pause_causes() -> Vec<PauseCause> {
    vec![
        PauseCause::Operator { actor: "ana".into() },
        PauseCause::Budget { what: "harmed sessions: 203 of 200".to_owned() },
        PauseCause::Undecided,
    ]
}

/// Every cause of a rollback; one with evidence beyond any number.
#[must_use]
pub fn rollback_causes() -> Vec<RollbackCause> {
    vec![
        RollbackCause::Guardrail {
            metrics: vec!["error_rate".to_owned(), "feedback.correct".to_owned()],
            log_evidence: f64::INFINITY,
            log_line: 4.605_170_185_988_092,
            found: "2.1 % against 0.5 %".to_owned(),
        },
        RollbackCause::Limit {
            metric: "error_rate".to_owned(),
            log_evidence: 8.25,
            log_line: 7.6,
            found: "3 % against 2 %".to_owned(),
        },
        RollbackCause::Sentinel { name: "capital-of-france".to_owned(), found: String::new() },
        RollbackCause::Shadow {
            metrics: vec!["error_rate".to_owned()],
            log_evidence: 9.5,
            log_line: 6.9,
            found: "bad in 31 % of the canary's answers".to_owned(),
        },
        RollbackCause::Tripwire { what: "20 failures in a row".to_owned() },
        RollbackCause::NoData { metric: "feedback.correct".to_owned() },
        RollbackCause::Undecided,
        RollbackCause::Operator { actor: "bo".into(), reason: "customers complain".to_owned() },
    ]
}

/// A look that found something of every kind, infinite evidence included.
#[must_use]
pub fn analysis() -> Analysis {
    let verdicts =
        [Verdict::Healthy, Verdict::Regressed, Verdict::Inconclusive, Verdict::NoData, Verdict::Error].into_iter();
    let finding = |verdict| Finding {
        metric: Metric::ErrorRate,
        role: Role::Guardrail,
        verdict,
        number: Number::Session,
        control: Some(0.005),
        canary: None,
        difference: Some(Interval { low: f64::NEG_INFINITY, point: 0.1, high: f64::INFINITY }),
        n: ArmCounts { control: 4_000, canary: 211 },
        missing: ArmCounts::default(),
        silent: SpanMs::ZERO,
        rollback: Evidence { log: f64::NEG_INFINITY, line: 4.605_170_185_988_092 },
        standing: -1.5,
        promote: Evidence { log: 1.0 / 3.0, line: 2.995_732_273_553_991 },
        limit: Some(Evidence { log: -0.2, line: 7.6 }),
        control_limit: Some(Evidence { log: -0.4, line: 7.6 }),
        self_check: None,
        slices: Vec::new(),
        reason: "0.5 % against 0.5 %".to_owned(),
    };
    Analysis {
        at: UnixMs(1_750_000_900_000),
        stage: 1,
        findings: verdicts.map(finding).collect(),
        rollback: Evidence { log: 0.1 + 0.2, line: 4.605_170_185_988_092 },
        guilty: vec![Metric::TtftP95],
        limits_exceeded: vec![LimitFinding { metric: Metric::ErrorRate, evidence: Evidence { log: 8.25, line: 7.6 } }],
        tripped: Some("20 failures in a row".to_owned()),
        posted: ArmCounts { control: 4_000, canary: 211 },
        exposed: ArmCounts { control: 5_000, canary: 260 },
        harmed: Interval { low: 0.0, point: 3.5, high: 9.0 },
        extra_cost_usd: None,
        costs: None,
        climb: Some(Climb { worst: 0.08, limited_by: Some(Metric::ErrorRate), units_per_minute: 812.5 }),
        drifts: 1,
        quality: Quality {
            split: Some(Evidence { log: 0.0, line: 6.9 }),
            complete_to: UnixMs(1_750_000_899_000),
            dropped: 3,
            heaviest_unit_share: 0.004,
            holds: vec!["gateway b silent for 12 s".to_owned()],
            promotion_holds: vec!["one unit has 1.4 % of the requests".to_owned()],
            warnings: vec!["3 turns dropped".to_owned()],
        },
        sentinels: Vec::new(),
        judges: Vec::new(),
        shadow: None,
        readiness: Readiness {
            holds: vec!["warming up own for this stage".to_owned()],
            notes: vec!["own was not warm after 20 prompts".to_owned()],
        },
    }
}

/// Journal rows with every event, command, decision and reason to wait.
#[must_use]
pub fn journal_rows_of_every_kind() -> Vec<JournalRow> {
    let reason = || "because".to_owned();
    let commands = [
        Command::Start,
        Command::Pause,
        Command::Resume,
        Command::Approve,
        Command::Advance { reason: reason() },
        Command::Promote { reason: reason() },
        Command::Rollback { reason: reason() },
    ];
    let mut events = vec![Event::Created, Event::Served, Event::Served, Event::Look { analysis: Box::new(analysis()) }];
    events.push(Event::Superseded { by: "support-agent-8".into() });
    events.extend(commands.map(|command| Event::Operator { actor: "ana".into(), command }));
    events.push(Event::Drift { what: "another model answers".to_owned() });
    events.push(Event::Operator { actor: "ana".into(), command: Command::Drift { reason: reason() } });
    events.push(Event::Operator { actor: "ana".into(), command: Command::Prepare });
    events.push(Event::Operator { actor: "ana".into(), command: Command::Start });
    let why = RollbackCause::Undecided;
    let decisions = [
        Decision::Create,
        Decision::Settle,
        Decision::Preflight,
        Decision::Hold,
        Decision::Tell,
        Decision::Start,
        Decision::Pause,
        Decision::Resume,
        Decision::Advance { stage: 1 },
        Decision::AskApproval { stage: 1 },
        Decision::Promote,
        Decision::Rollback { why },
        Decision::Tell,
        Decision::Tell,
        Decision::Preflight,
        Decision::Shadow,
    ];
    let base = row(&release(&"support-agent".into(), 7), &Actor::coalmine());
    let rows = events.into_iter().zip(decisions).zip(reports());
    rows.map(|((event, decision), report)| JournalRow { event, decision, report, ..base.clone() }).collect()
}

fn reports() -> impl Iterator<Item = Report> {
    let until = UnixMs(1_750_003_600_000);
    let why = || "in words".to_owned();
    let full = Report {
        headline: "waits".to_owned(),
        waiting_for: vec![
            Waiting::Bake { until },
            Waiting::Sessions { have: 211, need: 400 },
            Waiting::Guardrail { metric: "error_rate".to_owned(), why: why() },
            Waiting::DataQuality { why: why() },
            Waiting::Approval { of: "oncall".to_owned() },
            Waiting::Freeze { until },
            Waiting::Posting { until },
            Waiting::Ramp { why: why() },
            Waiting::Upstreams { why: why() },
            Waiting::Gateways,
        ],
        warnings: vec!["3 turns dropped".to_owned()],
    };
    std::iter::once(Report::default()).chain(std::iter::repeat(full))
}

/// Every effect, and every notice.
#[must_use]
pub fn effects_of_every_kind() -> Vec<Effect> {
    let release = || ReleaseId::from("support-agent-7");
    let text = || "in words".to_owned();
    let mut effects = vec![
        Effect::Publish { route: "support-agent".into() },
        Effect::SetStable { route: "support-agent".into(), version: VersionId([0xab; 32]) },
    ];
    let notices = [
        Notice::Started { release: release() },
        Notice::Advanced { release: release(), stage: "all 5 %".to_owned() },
        Notice::ApprovalWanted { release: release(), of: "oncall".to_owned() },
        Notice::Paused { release: release(), why: text() },
        Notice::Held { release: release(), why: text() },
        Notice::Promoted { release: release() },
        Notice::Undecided { release: release() },
        Notice::LostData { release: release(), what: text() },
        Notice::StableSick { release: release(), what: text() },
        Notice::Drift { release: release(), what: text() },
    ];
    effects.extend(notices.map(Effect::Notify));
    let rolled_back = |why| Effect::Notify(Notice::RolledBack { release: release(), why });
    effects.extend(rollback_causes().into_iter().map(rolled_back));
    let (incident, route) = (IncidentId::from("inc_4f2a91c3d0b7"), RouteName::from("support-agent"));
    effects.extend([
        Effect::Notify(Notice::IncidentOpened { incident: incident.clone(), route: route.clone(), what: text() }),
        Effect::Notify(Notice::IncidentClosed { incident, route, what: text() }),
    ]);
    effects
}

/// An incident of a sentinel whose failure was confirmed then.
#[must_use]
pub fn failing(since: u64) -> Incident {
    let cause = Cause::Sentinel { sentinel: "refund window".to_owned(), since: UnixMs(since) };
    Incident::open(&"support-agent".into(), cause, "it fails: 0/3 passed".to_owned(), UnixMs(since + 1))
}

/// Incidents about everything, in every state.
#[must_use]
pub fn incidents() -> Vec<Incident> {
    let (ana, at) = (Actor::from("ana"), UnixMs(1_750_000_000_000));
    let open = |cause| Incident::open(&"support-agent".into(), cause, "in words".to_owned(), at);
    let name = |kind| Cause::Name {
        requested: "openai/large".to_owned(),
        kind,
        was: "large-0805".to_owned(),
        is: "large-1001".to_owned(),
        since: at,
    };
    let known = |incident: Incident| incident.acknowledge(&ana, "looking", UnixMs(at.0 + 5)).unwrap_or(incident);
    let over = |incident: Incident| incident.close(&Actor::coalmine(), "", UnixMs(at.0 + 9)).unwrap_or(incident);
    vec![
        open(name(NameKind::Model)),
        known(open(name(NameKind::Fingerprint))),
        over(open(name(NameKind::Tier))),
        over(known(failing(at.0))),
        open(Cause::Shutdown { model: "large".to_owned(), date: "2026-12-11".to_owned() }),
        open(Cause::CanaryName {
            release: "support-agent-1".into(),
            requested: "openai/small".to_owned(),
            kind: NameKind::Tier,
            was: "priority".to_owned(),
            is: "default".to_owned(),
            since: at,
        }),
    ]
}

/// Versions with every mode of prompt and tools.
#[must_use]
pub fn versions_of_every_kind() -> Vec<Version> {
    let prompt = |mode| Some(Prompt::new(mode, "Be \"kind\".\nAlways."));
    let variables = BTreeMap::from([("company".to_owned(), "Acme \"East\"\n".to_owned())]);
    let templated = Prompt { variables, ..Prompt::new(PromptMode::Replace, "You help {{company}}.") };
    let tools = |mode| Some(Tools { mode, json: JsonText("[{\"type\":\"function\"}]".to_owned()) });
    let params = BTreeMap::from([("temperature".to_owned(), JsonText("0.2".to_owned()))]);
    vec![
        stable(),
        Version {
            prompt: prompt(PromptMode::Replace),
            tools: tools(ToolsMode::Replace),
            params: params.clone(),
            ..stable()
        },
        Version { prompt: prompt(PromptMode::Prepend), tools: tools(ToolsMode::Merge), ..stable() },
        Version { prompt: prompt(PromptMode::Append), params, ..stable() },
        Version { prompt: Some(templated), ..stable() },
    ]
}

/// A session with sums under a built-in metric and under feedback.
#[must_use]
pub fn session() -> Session {
    let sums =
        Sums { first: Some(1.0), session: 1.0 / 3.0, session_n: 3, session_unknown: 1, whole: 0.012_5, whole_n: 4 };
    Session {
        arm: Arm::Canary,
        stratum: Stratum(1),
        exposed_at: UnixMs(1_750_000_000_000),
        requests: 4,
        sums: ByMetric::from([
            (Metric::ErrorRate, sums),
            (Metric::Feedback("correct".to_owned()), Sums { first: None, ..Sums::default() }),
        ]),
        first_seen: FirstSeen {
            started_at: Some(UnixMs(1_750_000_000_000)),
            tools: Some(Presence::Present),
            schema: Some(Presence::Absent),
            slice: Slice::REST,
            half: None,
        },
        owed: 4,
        scored: BTreeSet::from([7]),
        beyond: ByMetric::from([(Metric::TtftP95, Beyond { rollback: Some(sums), limit: None })]),
        openings: vec![3, u64::MAX],
        last: Some(LastSeen { started_at: UnixMs(1_750_000_060_000), went: Went::Wrong }),
    }
}

/// A session with a judge's score and a person's, under one name.
#[must_use]
pub fn judged_session() -> Session {
    let sums = |whole| Sums { whole, whole_n: 1, ..Sums::default() };
    let name = || "helpful".to_owned();
    let both = [(Metric::Judge(name()), sums(0.25)), (Metric::Feedback(name()), sums(1.0))];
    Session { sums: ByMetric::from(both), ..session() }
}

/// Mirrored sessions: a young one with a pair, and one that is counted.
#[must_use]
pub fn mirrored_sessions() -> Vec<MirroredSession> {
    let sums = young::Sums { pairs: 3, x: 1.25, both: 2, stable: 900.5, canary: 1_200.0 };
    let young = MirroredSession {
        first_at: UnixMs(1_750_000_000_000),
        is_counted: false,
        of: BTreeMap::from([(Metric::LatencyP95, sums), (Metric::ErrorRate, young::Sums::default())]),
        likeness: None,
    };
    let counted = MirroredSession { is_counted: true, of: BTreeMap::new(), ..young.clone() };
    let likeness = LikenessSums { canary: CosineSum { of: 2, sum: 1.75 }, again: CosineSum { of: 1, sum: 0.9375 } };
    let measured = MirroredSession { likeness: Some(likeness), ..young.clone() };
    vec![young, counted, measured]
}

/// A sealed bucket of every number.
#[must_use]
pub fn sealed_buckets() -> Vec<SealedBucket> {
    let numbers = [Number::First, Number::Session, Number::Whole];
    numbers.map(|number| sealed(number, 3)).into()
}

/// The sealed bucket `bucket` of `number`.
#[must_use]
pub fn sealed(number: Number, bucket: u64) -> SealedBucket {
    let arms = TwoArms { control: vec![40, 2, 0], canary: vec![3, 0, 1], ..TwoArms::default() };
    SealedBucket {
        number,
        stratum: Stratum(1),
        slice: Slice::REST,
        bucket,
        own: None,
        metrics: BTreeMap::from([(Metric::ErrorRate, arms)]),
    }
}

/// A frozen yardstick.
#[must_use]
pub fn yardstick() -> Yardstick {
    Yardstick {
        price: BTreeMap::new(),
        frozen_at: UnixMs(1_750_000_000_000),
        tau_ms: BTreeMap::from([(Metric::TtftP95, 812.5)]),
        cap: BTreeMap::from([(Metric::CostPerSession, 0.4)]),
        centre: BTreeMap::from([(Metric::ErrorRate, 0.005), (Metric::Feedback("correct".to_owned()), 0.16)]),
        length: BTreeMap::from([(Metric::LongAnswer, 1_400.0)]),
        apart: Vec::new(),
    }
}

/// A key without bounds.
#[must_use]
pub fn key() -> Key {
    Key::new("acme-prod".into(), &FreshSecret::of([1; 32]), "ana".into(), UnixMs(5))
}

/// Keys of every form.
#[must_use]
pub fn keys() -> Vec<Key> {
    let rotated = Key { name: "acme-test".into(), ..key() };
    let rotated = rotated.rotate(&FreshSecret::of([2; 32]), SpanMs::hours(1), UnixMs(6)).unwrap();
    let bounded = Key {
        name: "bounded".into(),
        customer: Some("acme".into()),
        routes: Some(["sales".into(), "support-agent".into()].into()),
        expires_at: Some(UnixMs(9_000)),
        quota: Quota {
            requests_per_minute: Some(60),
            tokens_per_minute: Some(100_000),
            concurrent: Some(5),
            per_day: Some(Usd::from_dollars(0.5)),
            per_month: Some(Usd::from_dollars(10.0)),
        },
        ..key()
    };
    let revoked = Key { name: "revoked".into(), ..key() }.revoke("ben".into(), UnixMs(7));
    vec![key(), rotated, bounded, revoked]
}

/// A captured answer: even numbers are the canary's.
#[must_use]
pub fn capture(number: u128, at: u64) -> CaptureRow {
    let head = CaptureHead {
        id: CaptureId(number),
        route: "support-agent".into(),
        release: Some("support-agent-1".into()),
        arm: if number.is_multiple_of(2) { Arm::Canary } else { Arm::Control },
        version: stable().id(),
        at: UnixMs(at),
        expires_at: UnixMs(at + 100),
        item: u64::MAX,
        key_id: "0a1b2c3d".to_owned(),
    };
    CaptureRow { head, sealed: vec![0, 159, 146, 150, 255] }
}

/// Every kind of use of captured texts.
#[must_use]
pub fn capture_uses() -> Vec<CaptureUse> {
    let uses = Did::ALL.into_iter().zip(1..).map(|(did, id)| CaptureUse {
        id,
        at: UnixMs(id * 10),
        actor: "ana".into(),
        of: ReleaseId::from("support-agent-1").into(),
        did,
        answers: 2,
    });
    let of_route = CaptureUse {
        id: 9,
        at: UnixMs(9),
        actor: "ana".into(),
        of: RouteName::from("support-agent").into(),
        did: Did::ReadOne,
        answers: 1,
    };
    [of_route].into_iter().chain(uses).collect()
}

/// A captured answer of the route without a release.
#[must_use]
pub fn steady_capture(number: u128, at: u64) -> CaptureRow {
    let row = capture(number, at);
    CaptureRow { head: CaptureHead { release: None, arm: Arm::Stable, ..row.head }, ..row }
}
