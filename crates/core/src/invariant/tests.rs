//! The machine explored: breadth first until nothing new is found, and at random beyond that.

use super::*;
use crate::analysis::{ArmCounts, SentinelVerdict};
use crate::cohort::Cohort;
use crate::id::ReleaseId;
use crate::release::example::{self as ex, MONDAY, by, look, reason};
use crate::release::plan::Gate;
use crate::release::policy::OnRollback;
use crate::release::report::JournalRow;
use crate::sentinel::Criticality;
use crate::time::SpanMs;
use proptest::prelude::*;
use std::collections::{BTreeMap, HashSet};

/// What may happen next: time passes, or an event arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Move {
    /// Until the bake of any stage is over.
    Bake,
    /// Until `max_duration` and any keep are over.
    Late,
    Say(&'static str),
    Look(&'static str),
    Drift,
    Superseded,
    Served,
}

const MOVES: [Move; 37] = [
    Move::Bake,
    Move::Late,
    Move::Say("start"),
    Move::Say("pause"),
    Move::Say("resume"),
    Move::Say("approve"),
    Move::Say("advance"),
    Move::Say("promote"),
    Move::Say("rollback"),
    Move::Say("drift"),
    Move::Look("healthy"),
    Move::Look("healthy before the drift"),
    Move::Look("inconclusive"),
    Move::Look("few"),
    Move::Look("regressed"),
    Move::Look("guilty"),
    Move::Look("limit"),
    Move::Look("tripped"),
    Move::Look("silent"),
    Move::Look("silent, roll back"),
    Move::Look("unusable"),
    Move::Look("signal"),
    Move::Look("mismatch"),
    Move::Look("over budget"),
    Move::Look("doubtful"),
    Move::Look("stable sick"),
    Move::Look("both bad"),
    Move::Look("slow ramp"),
    Move::Look("fast ramp"),
    Move::Look("sentinel passed"),
    Move::Look("sentinel failed"),
    Move::Look("shadow clear"),
    Move::Look("shadow in doubt"),
    Move::Look("shadow guilty"),
    Move::Drift,
    Move::Superseded,
    Move::Served,
];

fn event_of(event: Move, release: &Release) -> Option<Event> {
    let held_back = !release.state.hold_back().is_zero();
    let beyond = release.plan.stages.len();
    let stage = if held_back { beyond } else { release.state.serving_stage().unwrap_or(0) };
    let seen = |verdict| ex::seen(stage, verdict);
    let but = |metric, verdict| ex::but(seen(Verdict::Healthy), &metric, verdict);
    let found = |name| match name {
        "healthy" | "healthy before the drift" => seen(Verdict::Healthy),
        "inconclusive" => seen(Verdict::Inconclusive),
        "few" => Analysis { posted: ArmCounts::default(), ..seen(Verdict::Healthy) },
        "regressed" => but(Metric::ErrorRate, Verdict::Regressed),
        "guilty" => ex::guilty(stage),
        "limit" => ex::over_limit(stage),
        "tripped" => ex::tripped(stage),
        "silent" => but(Metric::ErrorRate, Verdict::NoData),
        "silent, roll back" => but(Metric::ToolCallValid, Verdict::NoData),
        "unusable" => but(Metric::ErrorRate, Verdict::Error),
        "signal" => but(Metric::RefusalRate, Verdict::Regressed),
        "mismatch" => ex::mismatch(stage),
        "over budget" => ex::over_budget(stage),
        "doubtful" => ex::doubtful(stage),
        "stable sick" => ex::stable_sick(stage),
        "both bad" => ex::both_bad(stage),
        "slow ramp" => ex::climbing(seen(Verdict::Inconclusive), 1.0, 100.0),
        "fast ramp" => ex::climbing(seen(Verdict::Inconclusive), 0.01, 1_000.0),
        "sentinel passed" => ex::asked(seen(Verdict::Healthy), SentinelVerdict::Passed),
        "sentinel failed" => ex::asked(seen(Verdict::Healthy), SentinelVerdict::Failed),
        "shadow clear" => ex::mirrored(seen(Verdict::Inconclusive), -0.4, 0.2),
        "shadow in doubt" => ex::mirrored(seen(Verdict::Inconclusive), 1.4, 2.0),
        "shadow guilty" => ex::mirrored(seen(Verdict::Inconclusive), 7.4, 7.4),
        other => panic!("no look is called {other}"),
    };
    let command = |name| match name {
        "start" => Command::Start,
        "pause" => Command::Pause,
        "resume" => Command::Resume,
        "approve" => Command::Approve,
        "advance" => Command::Advance { reason: reason() },
        "promote" => Command::Promote { reason: reason() },
        "rollback" => Command::Rollback { reason: reason() },
        "drift" => Command::Drift { reason: reason() },
        other => panic!("no command is called {other}"),
    };
    match event {
        Move::Bake | Move::Late => None,
        Move::Say(name) => Some(by(command(name))),
        Move::Look("healthy before the drift") if release.drifts.is_empty() => None,
        Move::Look(name) => {
            let drifts = if name == "healthy before the drift" { 0 } else { release.drifts.len() };
            Some(look(Analysis { drifts, ..found(name) }))
        }
        Move::Drift => Some(Event::Drift { what: "gpt-5-0805 became gpt-5-1001".to_owned() }),
        Move::Superseded => Some(Event::Superseded { by: ReleaseId::from("support-8") }),
        Move::Served => Some(Event::Served),
    }
}

fn decision_word(decision: &Decision) -> &'static str {
    match decision {
        Decision::Create => "create",
        Decision::Hold => "hold",
        Decision::Tell => "tell",
        Decision::Preflight => "preflight",
        Decision::Shadow => "shadow",
        Decision::Start => "start",
        Decision::Advance { .. } => "advance",
        Decision::AskApproval { .. } => "ask",
        Decision::Pause => "pause",
        Decision::Resume => "resume",
        Decision::Promote => "promote",
        Decision::Rollback { .. } => "rollback",
        Decision::Settle => "settle",
    }
}

/// What an exploration saw.
#[derive(Debug, Default)]
struct Explored {
    states: usize,
    depth: usize,
    steps: usize,
    refusals: usize,
    /// (from, move, decision, to).
    transitions: BTreeMap<(&'static str, String, &'static str, &'static str), usize>,
}

/// So many bakes are shorter than `max_duration` and the keep, which makes [`kind`] exact.
const DEEPEST: usize = 30;

/// Breadth first from `start`: every move in every kind of state, until no new kind is found.
fn explore(start: Release) -> Explored {
    let mut explored = Explored::default();
    let mut known: HashSet<String> = [kind(&start, MONDAY)].into();
    let mut frontier = vec![(start, MONDAY)];
    while !frontier.is_empty() {
        explored.depth += 1;
        assert!(explored.depth < DEEPEST, "deeper than kinds are exact");
        let mut next = Vec::new();
        for (release, now) in &frontier {
            for event in MOVES {
                let after = match (event, event_of(event, release)) {
                    (Move::Bake, _) => Some((release.clone(), *now + SpanMs::minutes(61))),
                    (Move::Late, _) => Some((release.clone(), *now + SpanMs::hours(73))),
                    (Move::Say(_) | Move::Look(_) | Move::Drift | Move::Superseded | Move::Served, None) => None,
                    (Move::Say(_) | Move::Look(_) | Move::Drift | Move::Superseded | Move::Served, Some(happening)) => {
                        explored.take(release, event, &happening, *now).map(|release| (release, *now))
                    }
                };
                next.extend(after.filter(|(release, now)| known.insert(kind(release, *now))));
            }
        }
        frontier = next;
    }
    explored.states = known.len();
    explored
}

/// A state up to what no rule can tell apart: the generation, and how long ago something was.
fn kind(release: &Release, now: UnixMs) -> String {
    let policy = &release.policy;
    let baked = |stage: usize, entered_at: UnixMs, until: UnixMs| until >= entered_at + release.plan.stages[stage].bake;
    let timed = match &release.state {
        State::Running { stage, entered_at } => baked(*stage, *entered_at, now),
        State::Paused { resume_to, .. } => baked(resume_to.stage, resume_to.entered_at, resume_to.paused_at),
        State::AwaitingApproval { stage, entered_at, .. } => baked(stage - 1, *entered_at, now),
        State::Promoted { keep_until, .. } => *keep_until > now,
        State::Shadow { since } => policy.shadow.as_ref().is_some_and(|shadow| now >= *since + shadow.length),
        State::Draft
        | State::Preflight
        | State::Promoting { .. }
        | State::RollingBack { .. }
        | State::RolledBack { .. } => false,
    };
    let detail = match &release.state {
        State::Paused { by, .. } => format!("{by:?}"),
        State::RollingBack { why, .. } | State::RolledBack { why, .. } => format!("{why:?}"),
        State::Draft
        | State::Preflight
        | State::Shadow { .. }
        | State::Running { .. }
        | State::AwaitingApproval { .. }
        | State::Promoting { .. }
        | State::Promoted { .. } => String::new(),
    };
    let past_end = release.started_at.is_some_and(|at| now >= at + policy.max_duration);
    let (word, stage) = (release.state.word(), release.state.serving_stage());
    let (was_promoted, frozen) = (release.promoted_at.is_some(), policy.frozen_until(now).is_some());
    let held_back = release.state.hold_back();
    // Rules tell none, some, and too many drifts apart; an exploration does not come to too many.
    let drifted = !release.drifts.is_empty();
    format!(
        "{word} {stage:?} {detail} {timed} {past_end} {was_promoted} {frozen} {held_back} {drifted} {:?}",
        release.open
    )
}

impl Explored {
    fn take(&mut self, release: &Release, event: Move, happening: &Event, now: UnixMs) -> Option<Release> {
        let Ok(step) = decide(release, happening, now) else {
            self.refusals += 1;
            return None;
        };
        assert_eq!(check(release, happening, &step, now), [], "{event:?} in {:?}", release.state);
        self.steps += 1;
        let name = match event {
            Move::Say(name) => name.to_owned(),
            Move::Look(name) => format!("look: {name}"),
            Move::Drift => "drift".to_owned(),
            Move::Superseded => "superseded".to_owned(),
            Move::Bake | Move::Late | Move::Served => "served".to_owned(),
        };
        let transition = (release.state.word(), name, decision_word(&step.decision), step.next.state.word());
        *self.transitions.entry(transition).or_default() += 1;
        Some(step.next)
    }
}

/// Every policy that the rules tell apart: what happens at the end of time, a freeze, cohorts with a
/// stage that leaves no control, a hold-back, a ramp, sentinels.
fn worlds() -> Vec<(String, Release)> {
    let mut worlds = Vec::new();
    for on_undecided in [OnUndecided::Hold, OnUndecided::Rollback, OnUndecided::Ask, OnUndecided::Promote] {
        let mut release = ex::release();
        release.policy.on_undecided = on_undecided;
        worlds.push((format!("{on_undecided:?}"), release));
    }
    let mut frozen = ex::release();
    frozen.policy.freeze = vec![ex::weekend()];
    worlds.push(("frozen".to_owned(), frozen));
    let mut waves = ex::release();
    waves.policy.on_rollback = OnRollback::FinishOnCanary { drain: SpanMs::hours(2) };
    waves.plan.stages = vec![
        ex::stage(ex::named("internal", &["acme"]), 10_000, Gate::Automatic),
        ex::stage(ex::named("pilot", &["b"]), 5_000, Gate::Automatic),
        ex::stage(Cohort::All, 500, Gate::Approval("oncall".to_owned())),
    ];
    worlds.push(("waves".to_owned(), waves));
    let mut held_back = ex::release();
    held_back.policy.hold_back = ex::weight(200);
    worlds.push(("held back".to_owned(), held_back));
    worlds.push(("ramp".to_owned(), ex::ramped()));
    let mut asked = ex::release();
    asked.policy.sentinels = Some(ex::suite(vec![ex::sentinel("refund", Criticality::Critical)]));
    worlds.push(("sentinels".to_owned(), asked));
    let mut mirrored = ex::release();
    mirrored.policy.shadow = Some(ex::shadow());
    worlds.push(("shadow".to_owned(), mirrored));
    worlds
}

#[test]
fn every_path_of_the_machine_keeps_the_laws() {
    let mut transitions = BTreeMap::new();
    let mut sizes = Vec::new();
    for (name, release) in worlds() {
        let explored = explore(release);
        let Explored { states, depth, steps, refusals, .. } = explored;
        sizes.push(format!(
            "{name}: {states} kinds of state, complete at depth {depth}, {steps} steps, {refusals} refusals"
        ));
        for (transition, times) in explored.transitions {
            *transitions.entry(transition).or_insert(0) += times;
        }
    }
    let sizes = sizes.join("\n");
    insta::assert_snapshot!("explored", sizes);
    let moved = transitions.keys().filter(|(_, _, decision, _)| !matches!(*decision, "hold" | "tell"));
    let map: Vec<String> =
        moved.map(|(from, event, decision, to)| format!("{from} -- {event} -> {decision}: {to}")).collect();
    let map = map.join("\n");
    insta::assert_snapshot!("transitions", map);
}

fn any_move() -> impl Strategy<Value = Move> {
    // Commands that end a release are rare, or every list would be over after five events.
    let lively: Vec<Move> = MOVES.into_iter().filter(|m| !ends(*m)).collect();
    prop_oneof![20 => proptest::sample::select(lively), 1 => proptest::sample::select(MOVES.to_vec())]
}

fn ends(event: Move) -> bool {
    match event {
        Move::Late
        | Move::Say("rollback" | "promote")
        | Move::Look("guilty" | "limit" | "tripped" | "silent, roll back" | "sentinel failed") => true,
        Move::Bake | Move::Say(_) | Move::Look(_) | Move::Drift | Move::Superseded | Move::Served => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn random_lives_keep_the_laws_and_fold_from_their_journal(
        world in 0_usize..9,
        events in proptest::collection::vec((any_move(), 0_u64..180), 1..60),
    ) {
        let (_, first) = worlds().remove(world);
        let (mut release, mut now, mut journal) = (first.clone(), MONDAY, Vec::new());
        for (event, minutes) in events {
            now = now + SpanMs::minutes(minutes);
            if event == Move::Late {
                now = now + SpanMs::hours(73);
            }
            let Some(happening) = event_of(event, &release) else { continue };
            let Ok(step) = decide(&release, &happening, now) else { continue };
            prop_assert_eq!(check(&release, &happening, &step, now), []);
            if step.decision != Decision::Hold {
                journal.push(JournalRow {
                    release: release.id.clone(),
                    generation: step.next.generation,
                    at: now,
                    actor: Actor::coalmine(),
                    event: happening,
                    decision: step.decision,
                    report: step.report,
                });
            }
            release = step.next;
        }
        let stored = serde_json::to_string(&journal).unwrap();
        let rows: Vec<JournalRow> = serde_json::from_str(&stored).unwrap();
        let mut folded = first;
        for row in &rows {
            let step = decide(&folded, &row.event, row.at).unwrap();
            prop_assert_eq!((&step.decision, &step.report), (&row.decision, &row.report));
            prop_assert_eq!(step.next.generation, row.generation);
            folded = step.next;
        }
        prop_assert_eq!(folded, release);
    }
}

/// The laws that a spoilt step breaks.
fn broken(before: &Release, event: &Event, now: UnixMs, spoil: impl FnOnce(&mut Step)) -> Vec<Law> {
    let mut step = decide(before, event, now).unwrap();
    spoil(&mut step);
    check(before, event, &step, now)
        .into_iter()
        .map(|violation| violation.law)
        .filter(|law| *law != Law::Replays)
        .collect()
}

/// A check that could not fail would be worth nothing: each law is broken once.
#[test]
fn each_law_sees_its_breach() {
    let later = MONDAY + SpanMs::hours(2);
    let (young, waiting) = (ex::running(0), look(ex::seen(0, Verdict::Inconclusive)));
    let to = |stage| State::Running { stage, entered_at: MONDAY };
    let raised = broken(&young, &waiting, MONDAY, |step| step.next.state = to(1));
    assert_eq!(raised, [Law::ExposureByDecision, Law::GenerationGrows]);
    let fallen = broken(&ex::running(1), &by(Command::Pause), later, |step| step.next.state = to(0));
    assert_eq!(fallen, [Law::WeightNeverFalls]);

    let silent = look(ex::but(ex::seen(1, Verdict::Healthy), &Metric::ErrorRate, Verdict::NoData));
    let advanced = broken(&ex::running(1), &silent, later, |step| {
        (step.next.state, step.decision) = (to(2), Decision::Advance { stage: 2 });
    });
    assert_eq!(advanced, [Law::AdvanceNeedsEvidence]);
    let unproven = look(ex::seen(2, Verdict::Inconclusive));
    let promoted = broken(&ex::running(2), &unproven, later, |step| {
        (step.next.state, step.decision) = (State::Promoting { since: later }, Decision::Promote);
        step.next.generation = step.next.generation.next();
    });
    assert_eq!(promoted, [Law::PromotionNeedsProof]);

    let deaf = broken(&young, &look(ex::guilty(0)), later, |step| {
        (step.next, step.decision, step.effects) = (young.clone(), Decision::Hold, Vec::new());
    });
    assert_eq!(deaf, [Law::RollbackOutranks]);
    let rollback = by(Command::Rollback { reason: reason() });
    assert_eq!(broken(&young, &rollback, later, |step| step.effects.truncate(1)), [Law::RollbackTold]);
    assert_eq!(
        broken(&young, &waiting, MONDAY, |step| step.next.attempt = 1),
        [Law::GenerationGrows, Law::CriteriaFrozen]
    );
    assert_eq!(
        broken(&young, &by(Command::Pause), later, |step| step.next.generation = young.generation),
        [Law::GenerationGrows]
    );

    let ramp = ex::ramped();
    let ramp = Release { started_at: Some(MONDAY), state: to(1), ..ramp };
    let slow = look(ex::climbing(ex::seen(1, Verdict::Inconclusive), 1.0, 100.0));
    let hurried = broken(&ramp, &slow, later, |step| {
        step.next.state = State::Running { stage: 8, entered_at: MONDAY };
        step.decision = Decision::Advance { stage: 8 };
    });
    assert_eq!(hurried, [Law::RampBearsItsHarm]);

    let noted = Event::Drift { what: "another model".to_owned() };
    let drifted = broken(&ex::running(2), &noted, later, |step| step.next.state = State::Promoting { since: later });
    assert_eq!(drifted, [Law::ExposureByDecision, Law::DriftOnlyFreezes]);
    let after = decide(&ex::running(2), &noted, later).unwrap().next;
    let stale = broken(&after, &look(ex::seen(2, Verdict::Healthy)), later, |step| {
        (step.next.state, step.decision) = (State::Promoting { since: later }, Decision::Promote);
        step.next.generation = step.next.generation.next();
    });
    assert_eq!(stale, [Law::DriftOnlyFreezes]);

    let rolling = decide(&young, &rollback, later).unwrap().next;
    let revived = broken(&rolling, &Event::Served, later, |step| step.next.state = to(0));
    assert_eq!(revived, [Law::ExposureByDecision, Law::OverIsOver]);
    let lied = check(&young, &waiting, &decide(&young, &by(Command::Pause), later).unwrap(), later);
    assert_eq!(lied.first().map(|v| v.law), Some(Law::Replays));
}
