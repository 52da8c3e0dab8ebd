//! Small worlds of known truth, driven through ledger, books and look.

use super::*;
use crate::evidence::sample::{
    Dice, Disk, canary_version, guardrail, release, score_of, stable_version, turn, turn_of,
};
use crate::evidence::{Absorbed, Ledger, RouteHistory};
use crate::id::UnitKey;
use crate::release::plan::Ramp;
use crate::release::policy::{Budget, Guardrail, Margin};
use crate::release::state::{Drift, Release, State};
use crate::tally::{Cause, Check, Dropped, Ending, Turn};
use crate::time::SpanMs;
use crate::traffic::pin::{Arm, Stratum};
use crate::traffic::weight::WeightBp;
use std::sync::{Arc, LazyLock};

/// What each arm's requests do.
#[derive(Debug, Clone, Copy)]
struct Truth {
    errors: f64,
    refusals: f64,
    ttft_ms: f64,
    cost_usd: f64,
    correct: f64,
}

const GOOD: Truth = Truth { errors: 0.01, refusals: 0.04, ttft_ms: 200.0, cost_usd: 0.01, correct: 0.8 };

/// A release under way.
struct World {
    release: Release,
    ledger: Ledger,
    books: Option<Books>,
    dice: Dice,
    disk: Disk,
    minute: u64,
    unit: u128,
    stable: Truth,
    /// Turns and scores that have not ended yet, by the minute of their end.
    pending: Vec<(u64, Turn)>,
}

fn minutes(n: u64) -> UnixMs {
    UnixMs(n * 60_000)
}

/// The day of stable before the release, which begins in minute 1440 of the world.
static HISTORY: LazyLock<RouteHistory> = LazyLock::new(|| {
    let (mut dice, mut history) = (Dice(1), RouteHistory::default());
    for i in 0..3_000_u64 {
        let begun = minutes(i * 1_400 / 3_000);
        let before = act(turn(UnitKey(u128::from(i) << 64), begun), GOOD, &mut dice);
        history.absorb(&before, stable_version());
    }
    history
});

fn act(mut turn: Turn, truth: Truth, dice: &mut Dice) -> Turn {
    let failed = dice.happens(truth.errors);
    turn.outcome.ending = if failed { Ending::Failed(Cause::Server) } else { Ending::Complete };
    turn.outcome.refusal = if dice.happens(truth.refusals) { Check::Yes } else { Check::No };
    turn.outcome.ttft_ms = Some(truth.ttft_ms * (0.5 * (dice.unit() + dice.unit() + dice.unit() - 1.5)).exp());
    turn.outcome.cost_usd = Some(truth.cost_usd * (0.5 + dice.unit()));
    turn
}

impl World {
    fn new(release: Release, seed: u64) -> Self {
        let mut release = release;
        (release.created_at, release.started_at) = (minutes(1_440), Some(minutes(1_440)));
        release.state = State::Running { stage: 0, entered_at: minutes(1_440) };
        let mut ledger = Ledger::new(&release);
        ledger.calibrate(Some(&HISTORY), minutes(1_440)).unwrap();
        let books = Some(Books::new(&release, ledger.yardstick().unwrap()));
        let (dice, disk, pending) = (Dice(seed), Disk::default(), Vec::new());
        Self { release, ledger, books, dice, disk, minute: 1_440, unit: 0, stable: GOOD, pending }
    }

    /// One minute of sessions of up to four turns, a minute apart; every session is scored.
    fn run(&mut self, sessions: u64, canary: Truth) {
        let stage = self.release.state.serving_stage().unwrap();
        let weight = self.release.plan.stages[stage].weight.share();
        for _ in 0..sessions {
            self.unit += 1;
            let arm = if self.dice.happens(weight) { Arm::Canary } else { Arm::Control };
            let truth = if arm == Arm::Canary { canary } else { self.stable };
            // Some sessions are harder than others: their turns are alike.
            let frail = if self.dice.happens(0.3) { 2.0 } else { 4.0 / 7.0 };
            let truth = Truth { errors: truth.errors * frail, refusals: truth.refusals * frail, ..truth };
            let exposed_at = minutes(self.minute) + SpanMs(self.dice.below(60_000));
            for nth in 0..=self.dice.below(4) {
                let mut turn = turn_of(arm, self.unit, exposed_at, SpanMs::secs(60 * nth));
                turn.member.as_mut().unwrap().stratum = Stratum(u16::try_from(stage).unwrap());
                self.pending.push((self.minute + nth, act(turn, truth, &mut self.dice)));
            }
            let correct = f64::from(u8::from(self.dice.happens(truth.correct)));
            let mut score = score_of(arm, self.unit, exposed_at, correct, 1);
            score.member.as_mut().unwrap().stratum = Stratum(u16::try_from(stage).unwrap());
            let _ = self.ledger.absorb_feedback(&score);
        }
        let minute = self.minute;
        let due: Vec<Turn> = self.pending.extract_if(.., |(end, _)| *end <= minute).map(|(_, turn)| turn).collect();
        for turn in &due {
            assert!(matches!(self.ledger.absorb(turn), Absorbed::Counted | Absorbed::BeyondAges));
        }
        self.minute += 1;
        self.seal();
    }

    fn seal(&mut self) {
        for bucket in self.ledger.seal(minutes(self.minute)) {
            self.books.as_mut().unwrap().fold(&bucket);
        }
        self.disk.write(self.ledger.take_changes());
    }

    fn look(&self) -> Analysis {
        self.look_at(minutes(self.minute), minutes(self.minute))
    }

    fn look_at(&self, complete_to: UnixMs, now: UnixMs) -> Analysis {
        let reporting = Reporting { complete_to, stale_after: SpanMs::secs(60) };
        analyse(&self.release, &self.ledger, self.books.as_ref(), &reporting, now)
    }

    /// Runs until the rollback line is reached; the minute at which it was.
    fn until_rollback(&mut self, minutes: u64, sessions: u64, canary: Truth) -> Option<u64> {
        (0..minutes).find(|_| {
            self.run(sessions, canary);
            self.look().rollback.reached()
        })
    }
}

fn finding<'a>(analysis: &'a Analysis, metric: &Metric) -> &'a Finding {
    analysis.findings.iter().find(|finding| finding.metric == *metric).unwrap()
}

fn errors_and_refusals() -> Vec<Guardrail> {
    vec![guardrail(Metric::ErrorRate, 0.02), guardrail(Metric::RefusalRate, 0.03)]
}

#[test]
fn a_canary_like_stable_is_rarely_rolled_back() {
    let guardrails = || {
        let strict = |metric| Guardrail { rollback: Margin { ratio: 1.0, shift: 0.0 }, ..guardrail(metric, 0.02) };
        vec![strict(Metric::ErrorRate), strict(Metric::RefusalRate)]
    };
    let rolled_back = (0..60).filter(|seed| {
        let mut world = World::new(release(5_000, guardrails()), *seed);
        world.until_rollback(45, 10, GOOD).is_some()
    });
    assert!(rolled_back.count() <= 3, "alpha is 5 %");
}

#[test]
fn a_doubled_refusal_is_found_named_and_counted() {
    let mut world = World::new(release(5_000, errors_and_refusals()), 5);
    let bad = Truth { refusals: 2.5 * GOOD.refusals, ..GOOD };
    assert!(world.until_rollback(240, 20, bad).is_some());
    let analysis = world.look();
    assert_eq!(analysis.guilty, [Metric::RefusalRate]);
    let refusals = finding(&analysis, &Metric::RefusalRate);
    assert_eq!((refusals.verdict, refusals.n.canary > 100), (Verdict::Regressed, true));
    assert_ne!(finding(&analysis, &Metric::ErrorRate).verdict, Verdict::Regressed);
    let difference = refusals.difference.unwrap();
    assert!(difference.low <= 0.06 && 0.06 <= difference.high, "{difference:?}");
    let harmed = analysis.harmed;
    let truth = 0.06 * refusals.n.canary as f64;
    assert!(harmed.low <= truth && truth <= harmed.high && harmed.point > 0.0, "{harmed:?} {truth}");
    for _ in 0..60 {
        world.run(20, GOOD);
    }
    assert!(world.look().rollback.reached(), "a crossing stands though the canary recovers");
}

#[test]
fn a_healthy_canary_is_proven_on_all_metrics_and_only_with_the_minimum() {
    let mut guardrails = errors_and_refusals();
    guardrails.push(guardrail(Metric::Feedback("correct".to_owned()), 0.2));
    let mut world = World::new(release(5_000, guardrails), 6);
    for _ in 0..90 {
        world.run(25, GOOD);
    }
    let analysis = world.look();
    for finding in &analysis.findings {
        assert_eq!(finding.verdict, Verdict::Healthy, "{}: {}", finding.metric, finding.reason);
        assert!(finding.promote.reached());
    }
    assert!(!analysis.rollback.reached() && analysis.guilty.is_empty());
    assert!(analysis.quality.holds.is_empty() && analysis.quality.promotion_holds.is_empty(), "{:?}", analysis.quality);
    world.release.plan.stages[0].min_sessions = 1_000_000;
    let young = world.look();
    assert!(young.findings.iter().all(|finding| finding.verdict == Verdict::Inconclusive));
    assert!(young.findings[0].reason.contains("of at least 1000000 canary sessions"), "{}", young.findings[0].reason);
    world.release.plan.stages[0].min_sessions = 10;
    for _ in 0..120 {
        world.run(25, Truth { errors: 0.12, ..GOOD });
    }
    let worse = world.look();
    assert!(!finding(&worse, &Metric::ErrorRate).promote.reached(), "proof must stand now");
}

#[test]
fn a_slow_canary_and_a_dear_one_are_found() {
    let wide = |metric| Guardrail {
        promote: Margin { ratio: 1.1, shift: 0.0 },
        rollback: Margin { ratio: 1.1, shift: 0.0 },
        ..guardrail(metric, 0.0)
    };
    let mut world = World::new(release(5_000, vec![wide(Metric::TtftP95), wide(Metric::CostPerSession)]), 7);
    let slow = Truth { ttft_ms: 320.0, cost_usd: 0.02, ..GOOD };
    for _ in 0..120 {
        world.run(15, slow);
    }
    let analysis = world.look();
    assert_eq!(analysis.guilty.len(), 2, "{:#?}", analysis.findings);
    let (ttft, cost) = (finding(&analysis, &Metric::TtftP95), finding(&analysis, &Metric::CostPerSession));
    assert!((ttft.canary.unwrap() / ttft.control.unwrap() - 1.6).abs() < 0.2, "{}", ttft.reason);
    assert!((cost.canary.unwrap() / cost.control.unwrap() - 2.0).abs() < 0.25, "{}", cost.reason);
    let extra = analysis.extra_cost_usd.unwrap();
    let truth = 0.01 * 2.5 * cost.n.canary as f64;
    assert!((extra.point / truth - 1.0).abs() < 0.25 && extra.low > 0.0, "{extra:?} {truth}");
}

#[test]
fn a_band_is_of_one_threshold() {
    let uneven = Guardrail { promote: Margin { ratio: 1.3, shift: 0.0 }, ..guardrail(Metric::TtftP95, 0.0) };
    let mut world = World::new(release(5_000, vec![uneven]), 19);
    for _ in 0..120 {
        world.run(25, GOOD);
    }
    let difference = world.look().findings[0].difference.unwrap();
    assert!(difference.low < difference.point && difference.point < difference.high, "{difference:?}");
    assert!(difference.high < 0.0, "far fewer lie beyond the wider threshold: {difference:?}");
}

#[test]
fn a_signal_holds_and_goes_on_after_recovery() {
    let signal = Guardrail { role: Role::Signal, ..guardrail(Metric::RefusalRate, 0.04) };
    let mut world = World::new(release(5_000, vec![signal, guardrail(Metric::ErrorRate, 0.02)]), 8);
    let bad = Truth { refusals: 0.3, ..GOOD };
    let verdict = |world: &World| finding(&world.look(), &Metric::RefusalRate).verdict;
    let held = (0..120).position(|_| {
        world.run(20, bad);
        verdict(&world) == Verdict::Regressed
    });
    assert!(held.is_some());
    assert!(!world.look().rollback.reached(), "a signal has no share of alpha");
    let recovered = (0..200).position(|_| {
        world.run(20, GOOD);
        verdict(&world) != Verdict::Regressed
    });
    assert!(
        recovered.is_some_and(|after| after > 15),
        "sessions of the bad time are still to be posted: {recovered:?}"
    );
}

#[test]
fn a_limit_is_tested_for_both_arms_are_bad_together() {
    let limited = Guardrail { limit: Some(0.05), ..guardrail(Metric::RefusalRate, 0.05) };
    let mut world = World::new(release(5_000, vec![limited]), 9);
    for _ in 0..60 {
        world.run(20, Truth { refusals: 0.12, ..GOOD });
    }
    let analysis = world.look();
    assert_eq!(analysis.limits_exceeded.len(), 1);
    assert!(finding(&analysis, &Metric::RefusalRate).reason.contains("proven above its limit"));
    let fine = Guardrail { limit: Some(0.08), ..guardrail(Metric::RefusalRate, 0.05) };
    let mut world = World::new(release(5_000, vec![fine]), 9);
    for _ in 0..60 {
        world.run(20, GOOD);
    }
    assert!(world.look().limits_exceeded.is_empty());
}

#[test]
fn a_stage_without_a_control_is_judged_by_limits_alone() {
    let limited = Guardrail { limit: Some(0.05), ..guardrail(Metric::RefusalRate, 0.05) };
    let mut world = World::new(release(10_000, vec![limited]), 10);
    for _ in 0..60 {
        world.run(20, Truth { refusals: 0.12, ..GOOD });
    }
    let analysis = world.look();
    assert_eq!(analysis.limits_exceeded.len(), 1);
    let refusals = finding(&analysis, &Metric::RefusalRate);
    assert_eq!(refusals.verdict, Verdict::Inconclusive);
    assert!(refusals.reason.contains("no control to compare with"), "{}", refusals.reason);
}

#[test]
fn s9_silence_is_no_data_and_never_healthy() {
    let mut world = World::new(release(5_000, errors_and_refusals()), 11);
    for _ in 0..90 {
        world.run(25, GOOD);
    }
    assert_eq!(world.look().findings[0].verdict, Verdict::Healthy);
    let later = minutes(world.minute + 33);
    assert_eq!(
        world.look_at(later, later).findings[0].verdict,
        Verdict::NoData,
        "a first number is due in a minute, and the grace is 30"
    );
    // The metrics path is down: the clock goes on, reports do not.
    let stale = world.look_at(minutes(world.minute), minutes(world.minute + 2));
    assert!(stale.quality.holds[0].contains("reports are 120 s old"), "{:?}", stale.quality.holds);
    // One arm falls silent: its buckets wait.
    let mut one_arm = World::new(release(5_000, errors_and_refusals()), 12);
    for _ in 0..90 {
        one_arm.run(25, GOOD);
    }
    one_arm.release.plan.stages[0].weight = crate::traffic::weight::WeightBp::ZERO;
    for _ in 0..60 {
        one_arm.run(25, GOOD);
    }
    assert_eq!(one_arm.look().findings[0].verdict, Verdict::NoData);
    assert!(one_arm.look().quality.split.is_some());
}

#[test]
fn before_the_yardstick_nothing_is_said() {
    let release = release(500, errors_and_refusals());
    let ledger = Ledger::new(&release);
    let reporting = Reporting { complete_to: minutes(1), stale_after: SpanMs::minutes(100) };
    let young = analyse(&release, &ledger, None, &reporting, minutes(1));
    assert!(young.findings.iter().all(|finding| finding.verdict == Verdict::Inconclusive));
    assert!(!young.rollback.reached() && young.guilty.is_empty());
    let old = analyse(&release, &ledger, None, &reporting, minutes(60));
    assert!(old.findings.iter().all(|finding| finding.verdict == Verdict::NoData));
}

#[test]
fn a_wrong_split_voids_the_evidence() {
    let mut world = World::new(release(5_000, errors_and_refusals()), 13);
    world.release.plan.stages[0].weight = crate::traffic::weight::WeightBp::new(4_000).unwrap();
    for _ in 0..40 {
        world.run(40, GOOD);
    }
    assert!(world.look().quality.holds.is_empty(), "{:?}", world.look().quality.holds);
    world.release.plan.stages[0].weight = crate::traffic::weight::WeightBp::new(5_000).unwrap();
    let analysis = world.look();
    assert!(analysis.quality.split.unwrap().reached());
    assert!(analysis.quality.holds[0].contains("the evidence is void"));
}

#[test]
fn drops_a_constant_session_id_and_failures_in_a_row_are_told() {
    let mut world = World::new(release(5_000, errors_and_refusals()), 14);
    for _ in 0..40 {
        world.run(20, GOOD);
    }
    assert_eq!(world.look().tripped, None);
    let id = Arc::new(world.release.id.clone());
    world.ledger.absorb_dropped(&Dropped { release: Some(id), arm: Arm::Canary, count: 100 });
    let begun = minutes(world.minute);
    for i in 0..60 {
        let _ = world.ledger.absorb(&turn_of(Arm::Control, 9_999_999, begun, SpanMs(i)));
    }
    for i in 0..5 {
        let mut failed = turn_of(Arm::Canary, 8_000_000 + u128::from(i), begun, SpanMs(i));
        failed.outcome.ending = Ending::Failed(Cause::Connect);
        let _ = world.ledger.absorb(&failed);
    }
    let _ = world.ledger.absorb(&turn_of(Arm::Control, 9_999_998, begun, SpanMs(9)));
    let analysis = world.look();
    assert!(analysis.quality.holds[0].contains("turns were dropped"), "{:?}", analysis.quality.holds);
    assert!(analysis.quality.promotion_holds[0].contains("is it a constant?"), "{:?}", analysis.quality);
    assert!(analysis.tripped.unwrap().starts_with("5 canary requests in a row failed"));
}

#[test]
fn what_cannot_be_measured_is_an_error_and_what_is_no_number_counts_as_none() {
    let mut world = World::new(release(5_000, vec![guardrail(Metric::TtftP95, 0.0)]), 15);
    let mut yardstick = world.ledger.yardstick().unwrap().clone();
    yardstick.tau_ms.clear();
    world.books = Some(Books::new(&world.release, &yardstick));
    assert_eq!(world.look().findings[0].verdict, Verdict::Error);
    yardstick.centre.insert(Metric::TtftP95, f64::NAN);
    let broken = Books::new(&world.release, &yardstick);
    world.books = Some(broken);
    let analysis = world.look();
    assert_eq!(analysis.findings[0].verdict, Verdict::Error);
    assert!(!analysis.rollback.reached() && !analysis.findings[0].promote.reached());
}

#[test]
fn a_restart_reads_the_same_numbers_bit_for_bit() {
    let mut guardrails = errors_and_refusals();
    guardrails.push(Guardrail { role: Role::Signal, ..guardrail(Metric::TtftP95, 0.0) });
    guardrails.push(Guardrail { limit: Some(0.3), ..guardrail(Metric::Feedback("correct".to_owned()), 0.05) });
    let mut release = release(500, guardrails);
    release.policy.budget = Budget { harmed: None, extra_cost_usd: Some(1.0) };
    let mut world = World::new(release, 16);
    for minute in 0..90 {
        if minute == 40 {
            world.release.state = State::Running { stage: 1, entered_at: minutes(world.minute) };
        }
        world.run(30, Truth { refusals: 0.06, ..GOOD });
        let _ = world.look();
    }
    let mut books = Books::new(&world.release, world.ledger.yardstick().unwrap());
    world.disk.sealed().iter().for_each(|bucket| books.fold(bucket));
    assert_eq!(Some(&books), world.books.as_ref());
    let before = world.look();
    world.books = Some(books);
    world.ledger = world.disk.ledger(&world.release);
    let after = world.look();
    assert_eq!(serde_json::to_string(&after).unwrap(), serde_json::to_string(&before).unwrap());
}

#[test]
fn reasons_read_like_sentences() {
    let wide = Margin { ratio: 1.1, shift: 0.0 };
    let guardrails = vec![
        Guardrail { limit: Some(0.03), ..guardrail(Metric::ErrorRate, 0.02) },
        Guardrail { role: Role::Signal, ..guardrail(Metric::RefusalRate, 0.03) },
        Guardrail { promote: wide, rollback: wide, ..guardrail(Metric::TtftP95, 0.0) },
        Guardrail { promote: wide, rollback: wide, ..guardrail(Metric::CostPerSession, 0.0) },
        guardrail(Metric::ToolCallValid, 0.01),
        guardrail(Metric::Feedback("correct".to_owned()), 0.05),
    ];
    let mut world = World::new(release(5_000, guardrails), 17);
    for _ in 0..90 {
        world.run(25, Truth { errors: 0.05, ttft_ms: 210.0, ..GOOD });
    }
    let told = |analysis: &Analysis| -> String {
        let line = |f: &Finding| format!("{} {:?}: {}\n", f.metric, f.verdict, f.reason);
        analysis.findings.iter().map(line).collect()
    };
    let analysis = world.look();
    insta::assert_snapshot!("findings", told(&analysis));
    let first = World::new(release(500, errors_and_refusals()), 18);
    insta::assert_snapshot!("findings_at_first", told(&first.look()));
}

#[test]
fn where_stable_is_as_sick_as_the_canary_a_limit_holds_and_does_not_roll_back() {
    let limited = |metric, limit| Guardrail { limit: Some(limit), ..guardrail(metric, 0.05) };
    let slow = Truth { refusals: 0.15, ttft_ms: 900.0, ..GOOD };
    for sick in [limited(Metric::RefusalRate, 0.05), limited(Metric::TtftP95, 400.0)] {
        let mut world = World::new(release(5_000, vec![sick.clone()]), 9);
        world.stable = slow;
        for _ in 0..60 {
            world.run(20, slow);
        }
        let analysis = world.look();
        let found = finding(&analysis, &sick.metric);
        assert!(found.is_bad_in_both_arms() && analysis.limits_exceeded.is_empty(), "{}", found.reason);
        assert!(found.reason.contains("stable itself above that limit"), "{}", found.reason);
        // Stable alone: the canary would mend it.
        let mut world = World::new(release(5_000, vec![sick.clone()]), 9);
        world.stable = slow;
        for _ in 0..60 {
            world.run(20, GOOD);
        }
        let analysis = world.look();
        let found = finding(&analysis, &sick.metric);
        assert!(found.is_sick_in_stable() && !found.is_bad_in_both_arms(), "{}", found.reason);
    }
}

/// `statistics.md`, section 9, rule 3.
#[test]
fn a_second_try_carries_promotion_evidence_and_begins_rollback_evidence_anew() {
    let mut world = World::new(release(5_000, errors_and_refusals()), 5);
    let bad = Truth { refusals: 2.5 * GOOD.refusals, ..GOOD };
    assert!(world.until_rollback(240, 20, bad).is_some());
    let (first, failed) = (world.look(), world.books.clone().unwrap());
    let (stable, policy) = (world.release.stable, world.release.policy.clone());
    let carried = failed.carry(&world.release, stable, &policy);
    let of = |metric: &Metric| carried[metric];
    assert!((of(&Metric::RefusalRate) - finding(&first, &Metric::RefusalRate).promote.log).abs() < 1e-12);
    assert!(of(&Metric::RefusalRate) < 0.0 && of(&Metric::ErrorRate) > 0.0, "{carried:?}");

    // Another stable, or a narrower margin, is another null: gains are given up, losses are not forgiven.
    let elsewhere = failed.carry(&world.release, canary_version(), &policy);
    assert_eq!((elsewhere[&Metric::ErrorRate], elsewhere[&Metric::RefusalRate]), (0.0, of(&Metric::RefusalRate)));
    let mut narrower = policy.clone();
    narrower.guardrails[0].promote.shift /= 2.0;
    assert_eq!(failed.carry(&world.release, stable, &narrower)[&Metric::ErrorRate], 0.0);
    let mut others = policy;
    others.guardrails.remove(0);
    assert!(!failed.carry(&world.release, stable, &others).contains_key(&Metric::ErrorRate));

    let again = Release { attempt: 1, carried: carried.clone(), ..release(5_000, errors_and_refusals()) };
    let mut second = World::new(again, 6);
    let look = second.look();
    assert!(!look.rollback.reached() && look.findings.iter().all(|f| f.rollback.log <= 0.0));
    assert!((look.rollback.line - first.rollback.line - 2.0_f64.ln()).abs() < 1e-12, "alpha is halved");
    assert!((finding(&look, &Metric::ErrorRate).promote.log - of(&Metric::ErrorRate)).abs() < 1e-12);
    second.run(20, GOOD);
    assert!(!second.look().rollback.reached());
    // A third try carries the product of both.
    let third = second.books.as_ref().unwrap().carry(&second.release, stable, &second.release.policy);
    let after = finding(&second.look(), &Metric::RefusalRate).promote.log;
    assert!((third[&Metric::RefusalRate] - after).abs() < 1e-12);
}

#[test]
fn a_ramp_reads_the_traffic_and_what_is_excluded_from_posted_numbers() {
    let mut ramped = release(5_000, errors_and_refusals());
    let ramp = Ramp { harm_per_minute: 5.0 };
    ramped.plan.stages = ramped.plan.stages.remove(0).climbed_from(WeightBp::rounded(1_000.0), ramp);
    let rungs = ramped.plan.stages.len();
    let run = |canary: Truth| {
        let mut world = World::new(ramped.clone(), 21);
        assert_eq!(world.look().climb, None, "nothing is posted yet");
        for _ in 0..90 {
            world.run(60, canary);
        }
        world.look().climb.unwrap()
    };
    assert!(rungs > 3);
    let healthy = run(GOOD);
    assert!((50.0..70.0).contains(&healthy.units_per_minute), "{healthy:?}");
    assert!(healthy.worst <= 0.08, "{healthy:?}");
    let bad = run(Truth { refusals: 0.5, ..GOOD });
    assert!(bad.worst >= 0.64 && bad.limited_by == Some(Metric::RefusalRate), "{bad:?}");
}

/// Regions with rates and canary shares of their own, both arms alike in each: pooled, the canary looks worse.
#[test]
fn regions_with_shares_of_their_own_say_nothing_when_they_are_kept_apart() {
    use crate::evidence::{SealedBucket, TwoArms, Yardstick};
    use crate::origin::Slice;
    use crate::traffic::pin::Stratum;
    let release = release(500, vec![guardrail(Metric::ErrorRate, 0.01)]);
    let apart: Vec<crate::origin::Origin> = ["body/eu", "body/us"].iter().map(|text| text.parse().unwrap()).collect();
    let yardstick = Yardstick { centre: [(Metric::ErrorRate, 0.03)].into(), apart, ..Yardstick::default() };
    let arms = |control: [u64; 2], canary: [u64; 2]| {
        let spread = |[well, bad]: [u64; 2]| {
            let mut counts = vec![0; 42];
            (counts[0], counts[40]) = (well, bad);
            counts
        };
        TwoArms { control: spread(control), canary: spread(canary), ..TwoArms::default() }
    };
    let sealed = |slice, bucket, arms| SealedBucket {
        number: Number::Session,
        stratum: Stratum(0),
        slice: Slice(slice),
        bucket,
        own: None,
        metrics: [(Metric::ErrorRate, arms)].into(),
    };
    let (mut told_apart, mut pooled) = (Books::new(&release, &yardstick), Books::new(&release, &yardstick));
    for bucket in 0..100 {
        told_apart.fold(&sealed(1, bucket, arms([1_990, 10], [19, 0])));
        told_apart.fold(&sealed(2, bucket, arms([950, 50], [95, 5])));
        pooled.fold(&sealed(0, bucket, arms([2_940, 60], [114, 5])));
    }
    let log = |books: &Books| books.watches()[0].rollback().log;
    assert!(log(&told_apart) < 0.0, "{}", log(&told_apart));
    assert!(pooled.watches()[0].rollback().reached(), "{}", log(&pooled));
    let shown = &told_apart.watches()[0].last().unwrap().slices;
    assert_eq!(shown.values().map(|seen| seen.known.canary).collect::<Vec<_>>(), [1_900, 10_000]);
}

fn minute_of(bucket: u64, control: [u64; 2], half: [u64; 2], canary: [u64; 2]) -> crate::evidence::SealedBucket {
    let spread = |[well, bad]: [u64; 2]| {
        let mut counts = vec![0; 42];
        (counts[0], counts[40]) = (well, bad);
        counts
    };
    let arms = crate::evidence::TwoArms {
        control: spread(control),
        canary: spread(canary),
        control_half: spread(half),
        ..Default::default()
    };
    crate::evidence::SealedBucket {
        number: Number::Session,
        stratum: crate::traffic::pin::Stratum(0),
        slice: crate::origin::Slice::REST,
        bucket,
        own: None,
        metrics: [(Metric::ErrorRate, arms)].into(),
    }
}

fn centred(centre: f64) -> crate::evidence::Yardstick {
    crate::evidence::Yardstick { centre: [(Metric::ErrorRate, centre)].into(), ..Default::default() }
}

/// One half of control has a sick customer; the other, or both alike, have none.
#[test]
fn control_that_differs_from_itself_is_told_and_rolls_nothing_back() {
    let release = release(500, vec![guardrail(Metric::ErrorRate, 0.01)]);
    let yardstick = centred(0.03);
    let (mut sick, mut sound) = (Books::new(&release, &yardstick), Books::new(&release, &yardstick));
    for bucket in 0..60 {
        sick.fold(&minute_of(bucket, [940, 60], [450, 50], [47, 3]));
        sound.fold(&minute_of(bucket, [940, 60], [470, 30], [47, 3]));
    }
    let check = |books: &Books| books.watches()[0].self_check().unwrap();
    assert!(check(&sick).reached(), "{:?}", check(&sick));
    assert!(check(&sound).log < 1.0, "{:?}", check(&sound));
    assert_eq!(sick.watches()[0].rollback(), sound.watches()[0].rollback(), "it has no part in the verdict");
}

/// Minutes in which an arm is bad as a whole, each arm in as many as the other.
#[test]
fn noise_of_a_whole_arm_decides_by_session_and_not_by_bucket() {
    let by = |unit| {
        let guarded =
            Guardrail { rollback: Margin { ratio: 1.0, shift: 0.0 }, unit, ..guardrail(Metric::ErrorRate, 0.01) };
        let release = release(5_000, vec![guarded]);
        let mut books = Books::new(&release, &centred(0.1));
        for bucket in 0..200_u64 {
            let bad = |way: u64| if bucket.is_multiple_of(2) == (way == 0) { 600 } else { 300 };
            let (control, canary) = ([5_000 - bad(0), bad(0)], [5_000 - bad(1), bad(1)]);
            // Beginning with a minute that is bad for the canary: a latch remembers.
            let (control, canary) = if bucket < 2 { (canary, control) } else { (control, canary) };
            books.fold(&minute_of(bucket, control, control.map(|n| n / 2), canary));
        }
        books.watches()[0].rollback()
    };
    use crate::release::policy::Unit;
    assert!(by(Unit::Session).reached(), "{:?}", by(Unit::Session));
    assert!(by(Unit::BucketMean).log < 2.0, "{:?}", by(Unit::BucketMean));
}

#[test]
fn a_lasting_regression_is_proven_by_bucket_too_and_promotion_takes_the_lesser_proof() {
    use crate::release::policy::Unit;
    let guarded = Guardrail { unit: Unit::BucketMean, ..guardrail(Metric::ErrorRate, 0.03) };
    let release = release(5_000, vec![guarded]);
    let (mut bad, mut well) = (Books::new(&release, &centred(0.1)), Books::new(&release, &centred(0.1)));
    for bucket in 0..120 {
        bad.fold(&minute_of(bucket, [450, 50], [225, 25], [400, 100]));
        well.fold(&minute_of(bucket, [450, 50], [225, 25], [450, 50]));
    }
    assert!(bad.watches()[0].rollback().reached(), "{:?}", bad.watches()[0].rollback());
    let by_session = Guardrail { unit: Unit::Session, ..release.policy.guardrails[0].clone() };
    let mut sessions = Books::new(&crate::evidence::sample::release(5_000, vec![by_session]), &centred(0.1));
    (0..120).for_each(|bucket| sessions.fold(&minute_of(bucket, [450, 50], [225, 25], [450, 50])));
    let (lesser, session) = (well.watches()[0].promote(), sessions.watches()[0].promote());
    assert!(lesser.reached() && lesser.log < session.log, "{lesser:?} {session:?}");
}

impl World {
    fn drift(&mut self) {
        let at = minutes(self.minute);
        self.release.drifts.push(Drift { at, by: "ana".into(), what: "another model".to_owned() });
        self.books.as_mut().unwrap().note_drifts(&self.release.drifts);
    }
}

/// What was proven is proven anew, what was found against the canary stands, and a restart makes no difference.
#[test]
fn a_drift_gives_up_what_was_proven_and_forgives_nothing() {
    let mut world = World::new(release(5_000, errors_and_refusals()), 6);
    (0..90).for_each(|_| world.run(25, GOOD));
    let before = world.look();
    assert!(before.findings.iter().all(|finding| finding.verdict == Verdict::Healthy));
    world.drift();
    let noted = world.look();
    assert_eq!((before.drifts, noted.drifts), (0, 1));
    for (was, is) in before.findings.iter().zip(&noted.findings) {
        assert_eq!((is.verdict, is.promote.log), (Verdict::Inconclusive, 0.0), "{}", is.reason);
        assert_eq!((was.rollback, was.standing), (is.rollback, is.standing));
        assert_eq!(is.difference.unwrap().high, 1.0, "nothing is excluded any more");
        assert!(is.reason.contains("gathered anew from the sessions after the drift"), "{}", is.reason);
    }
    // The sessions that began before it still come of age, and prove nothing.
    for _ in 0..14 {
        world.run(25, GOOD);
        assert!(world.look().findings.iter().all(|finding| finding.promote.log <= 0.0));
    }
    (0..110).for_each(|_| world.run(25, GOOD));
    let after = world.look();
    assert!(after.findings.iter().all(|finding| finding.verdict == Verdict::Healthy), "{after:?}");
    assert!(after.findings.iter().all(|finding| finding.difference.unwrap().high < 0.05));

    let mut again = Books::new(&world.release, world.ledger.yardstick().unwrap());
    world.disk.sealed().iter().for_each(|bucket| again.fold(bucket));
    world.books = Some(again);
    assert!(world.look() == after);
}

/// Losses are not forgiven: after a drift a canary that was bad starts from below 1.
#[test]
fn a_drift_keeps_what_speaks_against_a_promotion() {
    let mut world = World::new(release(5_000, errors_and_refusals()), 9);
    let bad = Truth { errors: 0.05, ..GOOD };
    (0..60).for_each(|_| world.run(25, bad));
    let lost = finding(&world.look(), &Metric::ErrorRate).promote.log;
    assert!(lost < -1.0, "{lost}");
    world.drift();
    assert_eq!(finding(&world.look(), &Metric::ErrorRate).promote.log, lost);
    (0..20).for_each(|_| world.run(25, GOOD));
    assert!(finding(&world.look(), &Metric::ErrorRate).promote.log < 0.0);
}

/// What a ramp may rise by is proven for a promotion too.
#[test]
fn a_ramp_bears_the_worst_again_after_a_drift() {
    let mut ramped = release(5_000, errors_and_refusals());
    ramped.plan.stages =
        ramped.plan.stages.remove(0).climbed_from(WeightBp::rounded(1_000.0), Ramp { harm_per_minute: 5.0 });
    let mut world = World::new(ramped, 21);
    (0..90).for_each(|_| world.run(60, GOOD));
    assert!(world.look().climb.unwrap().worst <= 0.08);
    world.drift();
    assert_eq!(world.look().climb.unwrap().worst, 1.0);
}
