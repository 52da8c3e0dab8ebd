//! Costs per task and per request: sessions of known cost and success, through ledger, books and look.

use super::*;
use crate::evidence::sample::{Dice, guardrail, release, score_of, stable_version, turn, turn_of};
use crate::evidence::{Ledger, RouteHistory};
use crate::id::UnitKey;
use crate::metric::TASK_DONE;
use crate::release::policy::{Guardrail, Margin};
use crate::release::state::State;
use crate::tally::{Feedback, Outcome, Turn};
use crate::traffic::pin::Arm;

/// What a request costs, how many a session has, and how often its task is done.
#[derive(Debug, Clone, Copy)]
struct Truth {
    usd: f64,
    requests: u64,
    done: f64,
}

const STABLE: Truth = Truth { usd: 0.01, requests: 2, done: 0.8 };
const BEGUN: UnixMs = UnixMs(1_440 * 60_000);

fn paid(turn: Turn, truth: Truth, dice: &mut Dice) -> Turn {
    let cost_usd = Some(truth.usd * (0.5 + dice.unit()));
    Turn { outcome: Outcome { cost_usd, ..turn.outcome.clone() }, ..turn }
}

fn told(score: Feedback) -> Feedback {
    Feedback { name: TASK_DONE.to_owned(), ..score }
}

fn history() -> RouteHistory {
    let (mut dice, mut history) = (Dice(7), RouteHistory::default());
    for i in 0..2_000_u64 {
        let begun = UnixMs(i * 40_000);
        let unit = UnitKey(u128::from(i + 1) << 64);
        for nth in 0..STABLE.requests {
            history.absorb(&paid(turn(unit, begun + SpanMs::secs(nth)), STABLE, &mut dice), stable_version());
        }
        let done = f64::from(u8::from(dice.happens(STABLE.done)));
        let score = told(score_of(Arm::Control, unit.0, begun, done, i));
        history.absorb_feedback(&Feedback { member: None, unit, ..score });
    }
    history
}

fn watched(metric: Metric) -> Guardrail {
    let margin = Margin { ratio: 1.1, shift: 0.0 };
    Guardrail { promote: margin, rollback: margin, ..guardrail(metric, 0.0) }
}

/// Half of 40 sessions a minute on the canary, for so long; what is found when all are counted.
fn play(guardrails: Vec<Guardrail>, canary: Truth, minutes: u64, seed: u64) -> Analysis {
    let mut release = release(5_000, guardrails);
    (release.created_at, release.started_at) = (BEGUN, Some(BEGUN));
    release.state = State::Running { stage: 0, entered_at: BEGUN };
    let mut ledger = Ledger::new(&release);
    let yardstick = ledger.calibrate(Some(&history()), BEGUN).unwrap().clone();
    let mut books = Books::new(&release, &yardstick);
    let mut dice = Dice(seed);
    for i in 0..minutes * 40 {
        let unit = u128::from(i + 1);
        let (arm, truth) = if dice.happens(0.5) { (Arm::Canary, canary) } else { (Arm::Control, STABLE) };
        let exposed_at = BEGUN + SpanMs(i * 1_500);
        for nth in 0..truth.requests {
            let _ = ledger.absorb(&paid(turn_of(arm, unit, exposed_at, SpanMs::secs(nth)), truth, &mut dice));
        }
        if dice.happens(truth.done) {
            let _ = ledger.absorb_feedback(&told(score_of(arm, unit, exposed_at, 1.0, 1)));
        }
    }
    let now = BEGUN + SpanMs::minutes(minutes + 31);
    for bucket in ledger.seal(now) {
        books.fold(&bucket);
    }
    let reporting = Reporting { complete_to: now, stale_after: SpanMs::secs(60) };
    analyse(&release, &ledger, Some(&books), &reporting, now)
}

fn verdict(analysis: &Analysis, metric: &Metric) -> Verdict {
    analysis.findings.iter().find(|finding| finding.metric == *metric).unwrap().verdict
}

/// As dear for each session, and half of the tasks done: what a mean per session cannot see.
#[test]
fn a_task_that_costs_twice_as_much_is_found_though_a_session_costs_the_same() {
    let metrics = [Metric::CostPerTask, Metric::CostPerSession];
    let analysis = play(metrics.clone().map(watched).into(), Truth { done: 0.4, ..STABLE }, 120, 3);
    assert_eq!(verdict(&analysis, &metrics[0]), Verdict::Regressed, "{:#?}", analysis.findings);
    assert_ne!(verdict(&analysis, &metrics[1]), Verdict::Regressed);
    let costs = analysis.costs.unwrap();
    let twice = costs.canary.per_task.unwrap() / costs.control.per_task.unwrap();
    assert!((1.8..2.2).contains(&twice), "{costs:?}");
    let told = &analysis.findings[0];
    assert_eq!(
        (told.canary, told.control),
        (costs.canary.per_task, costs.control.per_task),
        "the price itself is shown"
    );
}

/// Dearer sessions that get more done are no worse, and are proven so.
#[test]
fn sessions_that_cost_more_and_get_more_done_are_healthy() {
    let canary = Truth { usd: 0.0105, done: 1.0, ..STABLE };
    let analysis = play(vec![watched(Metric::CostPerTask)], canary, 400, 5);
    assert_eq!(verdict(&analysis, &Metric::CostPerTask), Verdict::Healthy, "{:#?}", analysis.findings);
}

#[test]
fn a_request_that_costs_more_is_found_though_there_are_fewer() {
    let canary = Truth { usd: 0.02, requests: 1, ..STABLE };
    let metrics = [Metric::CostPerRequest, Metric::CostPerSession];
    let analysis = play(metrics.clone().map(watched).into(), canary, 200, 9);
    assert_eq!(verdict(&analysis, &metrics[0]), Verdict::Regressed, "{:#?}", analysis.findings);
    assert_ne!(verdict(&analysis, &metrics[1]), Verdict::Regressed);
}

#[test]
fn a_canary_at_stables_price_is_not_rolled_back() {
    let rolled_back = (0..30).filter(|seed| {
        let analysis = play(vec![watched(Metric::CostPerTask)], STABLE, 60, 100 + seed);
        verdict(&analysis, &Metric::CostPerTask) == Verdict::Regressed
    });
    assert!(rolled_back.count() <= 3);
}

#[test]
fn an_absolute_price_is_a_limit() {
    let limited = |usd: f64| vec![Guardrail { limit: Some(usd), ..watched(Metric::CostPerTask) }];
    // Stable pays $0.025 for a task, and the canary $0.05.
    let dear = Truth { done: 0.4, ..STABLE };
    assert_eq!(play(limited(0.03), dear, 120, 11).limits_exceeded.len(), 1);
    assert!(play(limited(0.06), dear, 120, 11).limits_exceeded.is_empty());
    assert!(play(limited(0.03), STABLE, 120, 11).limits_exceeded.is_empty());
}

/// Nobody has told of tasks before: that is said, and nothing is proven by it.
#[test]
fn without_a_price_of_a_task_it_cannot_be_judged() {
    let mut release = release(5_000, vec![watched(Metric::CostPerTask)]);
    release.state = State::Running { stage: 0, entered_at: BEGUN };
    let mut ledger = Ledger::new(&release);
    let mut history = RouteHistory::default();
    for i in 0..2_000_u64 {
        history.absorb(&turn(UnitKey(u128::from(i)), UnixMs(i * 40_000)), stable_version());
    }
    let books = Books::new(&release, ledger.calibrate(Some(&history), BEGUN).unwrap());
    let reporting = Reporting { complete_to: BEGUN, stale_after: SpanMs::secs(60) };
    let analysis = analyse(&release, &ledger, Some(&books), &reporting, BEGUN);
    assert_eq!(verdict(&analysis, &Metric::CostPerTask), Verdict::Error);
    assert!(analysis.findings[0].reason.contains("send feedback `task_done`"), "{}", analysis.findings[0].reason);
}
