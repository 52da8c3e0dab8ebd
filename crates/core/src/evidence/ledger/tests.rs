//! What the ledger promises, number by number.

use super::*;
use crate::evidence::sample::{Dice, Disk, guardrail, outcome, release, score_of, stable_version, turn, turn_of};
use crate::evidence::{Half, TwoArms};
use crate::metric::Kind;
use crate::release::policy::{Budget, ControlArm, Guardrail, Margin};
use crate::tally::Presence;
use crate::tally::{Cause, Check, Feedback, Opening, Outcome};
use crate::traffic::weight::Slot;
use proptest::prelude::*;

const MINUTE: SpanMs = SpanMs::minutes(1);

fn minutes(n: u64) -> UnixMs {
    UnixMs(n * 60_000)
}

fn everything() -> Vec<Guardrail> {
    let mut all: Vec<Guardrail> = Metric::BUILT_IN.into_iter().map(|metric| guardrail(metric, 0.01)).collect();
    all.push(guardrail(Metric::Feedback("correct".to_owned()), 0.02));
    all
}

/// A history of stable with 400 ordinary requests.
fn history(now: UnixMs) -> RouteHistory {
    history_with(now, Some(500))
}

/// The same, with answers of this length.
fn history_with(now: UnixMs, chars: Option<u64>) -> RouteHistory {
    let mut history = RouteHistory::default();
    for i in 0..400_u64 {
        let mut turn = turn(UnitKey(u128::from(i)), now + SpanMs(i));
        turn.outcome.detected.chars = chars;
        history.absorb(&turn, stable_version());
    }
    history.absorb(&turn(UnitKey(1_000), now + SpanMs::minutes(40)), stable_version());
    history
}

/// A ledger whose yardstick was frozen from a history at `minutes(0)`.
fn ready(release: &Release) -> Ledger {
    let mut ledger = Ledger::new(release);
    let past = UnixMs(0);
    assert!(ledger.calibrate(Some(&history(past)), minutes(0)).is_some());
    ledger
}

fn one(weight_bp: u16, metric: Metric) -> (Release, Ledger) {
    let release = release(weight_bp, vec![guardrail(metric, 0.01)]);
    let ledger = ready(&release);
    (release, ledger)
}

fn arms(sealed: &[SealedBucket], number: Number, metric: &Metric) -> Option<TwoArms> {
    sealed.iter().find(|bucket| bucket.number == number).and_then(|bucket| bucket.metrics.get(metric).cloned())
}

fn failed(mut turn: Turn) -> Turn {
    turn.outcome.ending = Ending::Failed(Cause::Server);
    turn
}

/// Control 1 and canary 2, exposed at minute 1, each with a good first request.
fn pair(ledger: &mut Ledger) {
    assert_eq!(ledger.absorb(&turn_of(Arm::Control, 1, minutes(1), SpanMs::ZERO)), Absorbed::Counted);
    assert_eq!(ledger.absorb(&turn_of(Arm::Canary, 2, minutes(1), SpanMs::ZERO)), Absorbed::Counted);
}

#[test]
fn each_number_is_posted_once_at_its_age() {
    let (_, mut ledger) = one(500, Metric::ErrorRate);
    pair(&mut ledger);
    assert!(ledger.absorb(&failed(turn_of(Arm::Canary, 2, minutes(1), SpanMs::minutes(3)))) == Absorbed::Counted);
    assert_eq!(ledger.seal(minutes(3) - SpanMs(1)), [], "the bucket ends at 2 min, its first number is due at 3 min");
    let first = ledger.seal(minutes(3));
    let arms_first = arms(&first, Number::First, &Metric::ErrorRate).unwrap();
    assert_eq!((arms_first.control[0], arms_first.canary[0]), (1, 1), "the first requests were good");
    assert_eq!(ledger.seal(minutes(16)), [], "nothing twice, and nothing early");
    let session = arms(&ledger.seal(minutes(17)), Number::Session, &Metric::ErrorRate).unwrap();
    assert_eq!((session.control[0], session.canary[20]), (1, 1), "one of two requests was bad");
    assert_eq!(ledger.open_sessions(), 2);
    assert_eq!(ledger.seal(minutes(32)), [], "no metric has a whole number");
    assert_eq!(ledger.open_sessions(), 0, "and the sessions are forgotten");
    let late = ledger.absorb(&turn_of(Arm::Canary, 2, minutes(1), SpanMs::minutes(2)));
    assert_eq!((late, ledger.totals().late_turns), (Absorbed::Late, 1));
    let beyond = ledger.absorb(&turn_of(Arm::Canary, 2, minutes(1), SpanMs::minutes(60)));
    assert_eq!((beyond, ledger.totals().late_turns), (Absorbed::BeyondAges, 1), "a long session is not late");
    assert_eq!(ledger.seal(minutes(200)), []);
}

#[test]
fn turns_after_the_ages_do_not_count() {
    let (_, mut ledger) = one(500, Metric::ErrorRate);
    pair(&mut ledger);
    let inside = failed(turn_of(Arm::Control, 1, minutes(1), SpanMs::minutes(14)));
    assert_eq!(ledger.absorb(&inside), Absorbed::Counted, "a request begun at 14 min is judged by 15 min");
    let outside = failed(turn_of(Arm::Canary, 2, minutes(1), SpanMs::minutes(14) + SpanMs(1)));
    assert_eq!(ledger.absorb(&outside), Absorbed::Counted, "for its amounts");
    let session = arms(&ledger.seal(minutes(17)), Number::Session, &Metric::ErrorRate).unwrap();
    assert_eq!((session.control[20], session.canary[0]), (1, 1));
    assert_eq!(ledger.totals().canary.failed, 1, "it is in the totals");
}

#[test]
fn a_bucket_waits_for_both_arms_and_never_across_a_stratum() {
    let (_, mut ledger) = one(500, Metric::ErrorRate);
    ledger.absorb(&turn_of(Arm::Control, 1, minutes(1), SpanMs::ZERO));
    ledger.absorb(&turn_of(Arm::Control, 2, minutes(2), SpanMs::ZERO));
    let mut other = turn_of(Arm::Canary, 3, minutes(2), SpanMs::ZERO);
    other.member.as_mut().unwrap().stratum = Stratum(1);
    ledger.absorb(&other);
    assert_eq!(ledger.seal(minutes(4)), [], "stratum 0 has no canary, stratum 1 no control");
    ledger.absorb(&turn_of(Arm::Canary, 4, minutes(3), SpanMs::ZERO));
    let sealed = ledger.seal(minutes(5));
    assert_eq!(sealed.len(), 1);
    assert_eq!((sealed[0].stratum, sealed[0].bucket), (Stratum(0), 3));
    let arms = &sealed[0].metrics[&Metric::ErrorRate];
    assert_eq!((arms.control[0], arms.canary[0]), (2, 1));
    let split = &ledger.totals().split;
    assert_eq!(split[&Stratum(0)].control, 2);
    assert_eq!(split[&Stratum(1)].canary, 1, "the ratio is counted though the bucket waits");
}

#[test]
fn without_a_control_the_canary_is_sealed_alone() {
    let (_, mut ledger) = one(10_000, Metric::ErrorRate);
    ledger.absorb(&failed(turn_of(Arm::Canary, 4, minutes(3), SpanMs::ZERO)));
    let first = arms(&ledger.seal(minutes(5)), Number::First, &Metric::ErrorRate).unwrap();
    assert_eq!((first.control.iter().sum::<u64>(), first.canary[40]), (0, 1));
}

#[test]
fn an_unanswered_request_is_missing_in_quality_and_full_evidence_in_errors() {
    let release = release(500, vec![guardrail(Metric::ErrorRate, 0.01), guardrail(Metric::RefusalRate, 0.01)]);
    let mut ledger = ready(&release);
    pair(&mut ledger);
    ledger.absorb(&turn_of(Arm::Canary, 5, minutes(1), SpanMs::ZERO));
    ledger.absorb(&failed(turn_of(Arm::Canary, 3, minutes(1), SpanMs::ZERO)));
    let mut refused = turn_of(Arm::Canary, 5, minutes(1), MINUTE);
    refused.outcome.refusal = Check::Yes;
    ledger.absorb(&refused);
    ledger.absorb(&failed(turn_of(Arm::Canary, 5, minutes(1), MINUTE + MINUTE)));
    let first = ledger.seal(minutes(3));
    assert_eq!(arms(&first, Number::First, &Metric::ErrorRate).unwrap().canary[40], 1);
    assert_eq!(arms(&first, Number::First, &Metric::RefusalRate).unwrap().canary[41], 1, "missing");
    let refusals = arms(&ledger.seal(minutes(17)), Number::Session, &Metric::RefusalRate).unwrap().canary;
    assert_eq!(refusals[41], 1);
    // 0, 1, and one that counts as the centre (about 0.001): a third.
    assert_eq!(refusals[13] + refusals[14], 1, "{refusals:?}");
}

#[test]
fn tool_calls_are_judged_only_where_the_first_request_declared_tools() {
    let (_, mut ledger) = one(500, Metric::ToolCallValid);
    let calling = |arm, unit, bad, after| {
        let mut turn = turn_of(arm, unit, minutes(1), after);
        turn.outcome.tools_declared = Presence::Present;
        (turn.outcome.tool_calls, turn.outcome.tool_calls_bad) = (2, bad);
        turn
    };
    pair(&mut ledger);
    ledger.absorb(&calling(Arm::Control, 1, 2, MINUTE));
    ledger.absorb(&calling(Arm::Control, 3, 0, SpanMs::ZERO));
    ledger.absorb(&calling(Arm::Canary, 4, 1, SpanMs::ZERO));
    let sealed = ledger.seal(minutes(17));
    let session = arms(&sealed, Number::Session, &Metric::ToolCallValid).unwrap();
    assert_eq!((session.control.iter().sum::<u64>(), session.canary.iter().sum::<u64>()), (1, 1));
    assert_eq!((session.control[0], session.canary[20]), (1, 1));
}

#[test]
fn the_first_request_is_the_earliest_whatever_comes_first() {
    let (_, mut ledger) = one(500, Metric::ErrorRate);
    let second = turn_of(Arm::Canary, 2, minutes(1), SpanMs::secs(20));
    ledger.absorb(&failed(second.clone()));
    ledger.absorb(&turn_of(Arm::Canary, 2, minutes(1), SpanMs::secs(10)));
    ledger.absorb(&turn_of(Arm::Control, 1, minutes(1), SpanMs::secs(10)));
    ledger.absorb(&failed(turn_of(Arm::Control, 1, minutes(1), SpanMs::secs(10))));
    let first = arms(&ledger.seal(minutes(3)), Number::First, &Metric::ErrorRate).unwrap();
    assert_eq!(first.canary[0], 1, "the earlier one was good");
    assert_eq!(first.control[40], 1, "of two sent at once the worse counts");
}

#[test]
fn a_session_that_lost_its_first_request_is_missing() {
    let (_, mut ledger) = one(500, Metric::ErrorRate);
    pair(&mut ledger);
    ledger.absorb(&turn_of(Arm::Canary, 3, minutes(1), SpanMs::minutes(4)));
    let first = arms(&ledger.seal(minutes(10)), Number::First, &Metric::ErrorRate).unwrap();
    assert_eq!((first.canary[0], first.canary[41]), (1, 1));
}

#[test]
fn an_amount_is_known_once_every_part_of_it_is() {
    let (_, mut ledger) = one(500, Metric::CostPerSession);
    let part = |unit, part, cost_usd, after| {
        let mut turn = turn_of(Arm::Canary, unit, minutes(1), after);
        turn.part = part;
        turn.outcome.cost_usd = cost_usd;
        turn
    };
    ledger.absorb(&turn_of(Arm::Control, 1, minutes(1), SpanMs::ZERO));
    // A long answer: its tail comes first here.
    ledger.absorb(&part(2, TurnPart::Tail, Some(0.01), SpanMs::ZERO));
    ledger.absorb(&part(2, TurnPart::Judged, None, SpanMs::ZERO));
    // One whose tail never came, one without a price, one with half of it, one that ended after the age.
    ledger.absorb(&part(3, TurnPart::Judged, Some(0.01), SpanMs::ZERO));
    ledger.absorb(&part(4, TurnPart::Whole, None, SpanMs::ZERO));
    ledger.absorb(&part(6, TurnPart::Whole, Some(0.01), SpanMs::ZERO));
    ledger.absorb(&part(6, TurnPart::Whole, None, MINUTE));
    let mut endless = part(5, TurnPart::Tail, Some(9.0), SpanMs::ZERO);
    endless.outcome.latency_ms = 40.0 * 60e3;
    ledger.absorb(&part(5, TurnPart::Judged, None, SpanMs::ZERO));
    ledger.absorb(&endless);
    let whole = arms(&ledger.seal(minutes(32)), Number::Whole, &Metric::CostPerSession).unwrap();
    assert_eq!((whole.canary.iter().sum::<u64>(), whole.canary[64]), (5, 4), "one half-known among them");
    let values = crate::evidence::classes::values(Kind::Amount);
    let cap = ledger.yardstick().unwrap().cap[&Metric::CostPerSession];
    assert!((cap - 0.08).abs() < 0.003, "eight times stable's cent: {cap}");
    let known = whole.canary.iter().take(64).position(|count| *count == 1).unwrap();
    assert!((values[known] * cap / 0.01 - 1.0).abs() < 0.12, "{}", values[known] * cap);
    assert!((ledger.totals().canary.cost_usd - 9.03).abs() < 1e-9);
}

#[test]
fn feedback_counts_once_and_in_time() {
    let (_, mut ledger) = one(500, Metric::Feedback("correct".to_owned()));
    let score = |arm, unit, value, key| score_of(arm, unit, minutes(1), value, key);
    assert_eq!(ledger.absorb_feedback(&score(Arm::Canary, 2, 1.0, 7)), Absorbed::Counted, "before its turn");
    pair(&mut ledger);
    assert_eq!(ledger.absorb_feedback(&score(Arm::Canary, 2, 1.0, 7)), Absorbed::Repeated);
    assert_eq!(ledger.absorb_feedback(&score(Arm::Canary, 2, 0.0, 8)), Absorbed::Counted);
    assert_eq!(ledger.absorb_feedback(&score(Arm::Control, 1, 1.0, 9)), Absorbed::Counted);
    assert_eq!(ledger.absorb_feedback(&score(Arm::Control, 1, f64::NAN, 10)), Absorbed::Unusable);
    assert_eq!(ledger.absorb_feedback(&score(Arm::Control, 1, 2.0, 11)), Absorbed::Unusable);
    let mut stranger = score(Arm::Control, 1, 0.0, 12);
    stranger.name = "other".to_owned();
    assert_eq!(ledger.absorb_feedback(&stranger), Absorbed::NotOurs);
    let mut late = score(Arm::Control, 1, 0.0, 13);
    late.received_at = minutes(1) + SpanMs::minutes(30) + SpanMs(1);
    assert_eq!(ledger.absorb_feedback(&late), Absorbed::Late, "beyond the age, though not yet posted");
    let metric = Metric::Feedback("correct".to_owned());
    let whole = arms(&ledger.seal(minutes(32)), Number::Whole, &metric).unwrap();
    assert_eq!((whole.control[0], whole.canary[20]), (1, 1));
    assert_eq!(ledger.absorb_feedback(&score(Arm::Control, 1, 0.0, 14)), Absorbed::Late);
    assert_eq!((ledger.totals().late_feedback, ledger.totals().unusable_feedback), (2, 2));
}

#[test]
fn a_quantile_metric_is_read_against_every_threshold_of_its_own() {
    let mut ttft = guardrail(Metric::TtftP95, 0.0);
    ttft.promote = Margin { ratio: 2.0, shift: 0.0 };
    ttft.rollback = Margin { ratio: 4.0, shift: 0.0 };
    ttft.limit = Some(1_500.0);
    let mut ledger = ready(&release(500, vec![ttft]));
    let tau = ledger.yardstick().unwrap().tau_ms[&Metric::TtftP95];
    assert!((tau / 200.0 - 1.0).abs() < 0.03, "{tau}");
    for (unit, ttft_ms) in [(2, 300.0), (3, 500.0), (4, 900.0), (5, 1_600.0)] {
        for (arm, unit) in [(Arm::Control, unit + 100), (Arm::Canary, unit)] {
            let mut turn = turn_of(arm, unit, minutes(1), SpanMs::ZERO);
            turn.outcome.ttft_ms = Some(ttft_ms);
            ledger.absorb(&turn);
        }
    }
    let first = arms(&ledger.seal(minutes(3)), Number::First, &Metric::TtftP95).unwrap();
    assert_eq!(first.control[40], 4, "beyond stable's own p95");
    assert_eq!(first.canary[40], 3, "beyond twice of it");
    assert_eq!(first.canary_rollback[40], 2, "beyond four times");
    assert_eq!(first.canary_limit[40], 1, "beyond the limit");
}

#[test]
fn what_is_not_ours_is_not_counted() {
    let (_, mut ledger) = one(500, Metric::ErrorRate);
    let mut stranger = turn_of(Arm::Canary, 2, minutes(1), SpanMs::ZERO);
    stranger.member.as_mut().unwrap().release = std::sync::Arc::new("support-2".into());
    assert_eq!(ledger.absorb(&stranger), Absorbed::NotOurs);
    assert_eq!(ledger.absorb(&turn(UnitKey(1), minutes(1))), Absorbed::NotOurs, "outside of any release");
    let nobody = Turn { unit: None, ..turn_of(Arm::Canary, 2, minutes(1), SpanMs::ZERO) };
    assert_eq!(ledger.absorb(&nobody), Absorbed::NotOurs);
    assert_eq!(ledger.absorb(&turn_of(Arm::Stable, 2, minutes(1), SpanMs::ZERO)), Absorbed::NotOurs);
    assert_eq!(ledger.totals().requests(), 0);
    assert_eq!(ledger.take_changes().unwrap().sessions, [], "but the yardstick is news");
    assert_eq!(ledger.take_changes(), None);
}

#[test]
fn a_contradiction_is_counted_and_changes_nothing() {
    let (_, mut ledger) = one(500, Metric::ErrorRate);
    pair(&mut ledger);
    let moved = failed(turn_of(Arm::Control, 2, minutes(1), SpanMs::ZERO));
    assert_eq!(ledger.absorb(&moved), Absorbed::Contradicts);
    let again = failed(turn_of(Arm::Canary, 2, minutes(2), SpanMs::ZERO));
    assert_eq!(ledger.absorb(&again), Absorbed::Contradicts);
    assert_eq!(ledger.totals().contradictions, 2);
    let first = arms(&ledger.seal(minutes(3)), Number::First, &Metric::ErrorRate).unwrap();
    assert_eq!((first.control[0], first.canary[0]), (1, 1));
}

#[test]
fn a_constant_session_id_is_seen_also_once_its_session_is_closed() {
    let (_, mut ledger) = one(500, Metric::ErrorRate);
    for minute in 1..300 {
        for i in 0..10_u128 {
            let unit = if i == 0 { 7 } else { u128::from(minute) * 100 + i };
            let exposed_at = if i == 0 { minutes(1) } else { minutes(minute) };
            let after = minutes(minute).since(exposed_at);
            ledger.absorb(&turn_of(Arm::Control, unit, exposed_at, after));
        }
        ledger.seal(minutes(minute));
    }
    let totals = ledger.totals();
    let share = totals.heaviest_requests as f64 / totals.requests() as f64;
    assert!((0.08..=0.1).contains(&share), "{share}");
}

#[test]
fn what_gateways_dropped_is_counted_by_arm() {
    let (release, mut ledger) = one(500, Metric::ErrorRate);
    let dropped =
        |id: Option<&str>, arm, count| Dropped { release: id.map(|id| std::sync::Arc::new(id.into())), arm, count };
    ledger.absorb_dropped(&dropped(Some(release.id.as_str()), Arm::Canary, 3));
    ledger.absorb_dropped(&dropped(Some("other"), Arm::Canary, 5));
    ledger.absorb_dropped(&dropped(None, Arm::Stable, 7));
    assert_eq!((ledger.totals().canary.dropped, ledger.totals().control.dropped), (3, 0));
}

#[test]
fn a_warm_up_measures_control_and_counts_nobody() {
    let release = release(5_000, everything());
    let mut ledger = Ledger::new(&release);
    assert_eq!(ledger.calibrate(None, minutes(60)), None, "nobody was exposed yet");
    for i in 0..19_u64 {
        for arm in [Arm::Control, Arm::Canary] {
            let unit = u128::from(2 * i + u64::from(arm == Arm::Canary));
            for after in [SpanMs::ZERO, SpanMs::secs(30)] {
                let exposed_at = minutes(60) + SpanMs::secs(i);
                assert_eq!(ledger.absorb(&turn_of(arm, unit, exposed_at, after)), Absorbed::WarmUp);
            }
        }
    }
    assert_eq!(ledger.calibrate(None, minutes(61)), None, "19 sessions and one minute are too few");
    ledger.absorb(&turn_of(Arm::Canary, 1_001, minutes(62), SpanMs::ZERO));
    let yardstick = ledger.calibrate(None, minutes(61)).unwrap().clone();
    assert_eq!(yardstick.frozen_at, minutes(62) + SpanMs(1), "no session seen before counts");
    assert!((yardstick.tau_ms[&Metric::TtftP95] / 200.0 - 1.0).abs() < 0.03);
    assert!((yardstick.cap[&Metric::CostPerSession] / (8.0 * 2.0 * 0.02) - 1.0).abs() < 0.05);
    assert_eq!(ledger.totals().exposed_in_all(), crate::analysis::ArmCounts { control: 19, canary: 20 });
    let old = turn_of(Arm::Canary, 1_001, minutes(62), MINUTE);
    assert_eq!(ledger.absorb(&old), Absorbed::WarmUp);
    assert_eq!(ledger.absorb(&turn_of(Arm::Canary, 5, minutes(63), SpanMs::ZERO)), Absorbed::Counted);
}

#[test]
fn a_slow_route_warms_up_in_five_minutes_if_stable_was_seen() {
    let mut ledger = Ledger::new(&release(500, everything()));
    for i in 0..30_u64 {
        ledger.absorb(&turn_of(Arm::Control, u128::from(i), minutes(1), SpanMs::secs(i)));
    }
    assert_eq!(ledger.calibrate(None, minutes(6) - SpanMs(1)), None);
    assert!(ledger.calibrate(None, minutes(6)).is_some());
    let mut unseen = Ledger::new(&release(500, everything()));
    unseen.absorb(&turn_of(Arm::Canary, 1, minutes(1), SpanMs::ZERO));
    assert_eq!(unseen.calibrate(None, minutes(600)), None, "stable was never seen");
}

#[test]
fn another_versions_history_measures_nothing() {
    let mut release = release(500, everything());
    release.stable = crate::evidence::sample::canary_version();
    assert_eq!(Ledger::new(&release).calibrate(Some(&history(UnixMs(0))), minutes(60)), None);
}

/// Some happening in a release, made from a few numbers.
#[derive(Debug, Clone)]
enum Happening {
    Turn(Box<Turn>),
    Score(Feedback),
}

fn happening(dice: &mut Dice, minute: u64) -> Happening {
    let unit = u128::from(dice.below(12)) + 100 * u128::from(minute);
    let arm = if unit % 3 == 0 { Arm::Canary } else { Arm::Control };
    let exposed_at = minutes(minute) + SpanMs(u64::try_from(unit % 7).unwrap() * 5_000);
    if dice.happens(0.15) {
        return Happening::Score(score_of(arm, unit, exposed_at, dice.unit(), dice.below(4)));
    }
    let mut turn = turn_of(arm, unit, exposed_at, SpanMs::secs(dice.below(16) * 60));
    turn.member.as_mut().unwrap().stratum = Stratum(u16::from(minute > 4));
    turn.part =
        [TurnPart::Whole, TurnPart::Whole, TurnPart::Judged, TurnPart::Tail][usize::try_from(dice.below(4)).unwrap()];
    let ending = [Ending::Complete, Ending::Failed(Cause::Server), Ending::Running, Ending::ClientError];
    turn.outcome = Outcome {
        ending: ending[usize::try_from(dice.below(4)).unwrap()],
        ttft_ms: dice.happens(0.8).then(|| 100.0 + 400.0 * dice.unit()),
        cost_usd: dice.happens(0.8).then(|| dice.unit()),
        refusal: if dice.happens(0.3) { Check::Yes } else { Check::No },
        tools_declared: if dice.happens(0.5) { Presence::Present } else { Presence::Absent },
        tool_calls: 2,
        tool_calls_bad: u32::try_from(dice.below(3)).unwrap(),
        ..outcome()
    };
    Happening::Turn(Box::new(turn))
}

fn take(ledger: &mut Ledger, happening: &Happening) {
    match happening {
        Happening::Turn(turn) => drop(ledger.absorb(turn)),
        Happening::Score(score) => drop(ledger.absorb_feedback(score)),
    }
}

/// Happenings minute by minute, for ten minutes.
fn happenings(seed: u64) -> Vec<Vec<Happening>> {
    let mut dice = Dice(seed);
    (1..=10).map(|minute| (0..dice.below(25)).map(|_| happening(&mut dice, minute)).collect()).collect()
}

/// Buckets as they are, but for the last bits of sums that were added in another order.
fn counts(sealed: &[SealedBucket]) -> Vec<SealedBucket> {
    let mut sealed = sealed.to_vec();
    sealed.sort_by_key(|bucket| (bucket.number, bucket.stratum, bucket.bucket));
    sealed
}

fn policy_release() -> Release {
    let mut release = release(500, everything());
    release.policy.budget = Budget { harmed: None, extra_cost_usd: Some(1.0) };
    release
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_order_of_arrival_does_not_matter(seed: u64, shuffle: u64) {
        let release = policy_release();
        let (mut one, mut other) = (ready(&release), ready(&release));
        // Scores under one key are the first that came: only turns are shuffled.
        let all: Vec<Happening> =
            happenings(seed).into_iter().flatten().filter(|h| matches!(h, Happening::Turn(_))).collect();
        let mut shuffled = all.clone();
        let mut dice = Dice(shuffle);
        for i in (1..shuffled.len()).rev() {
            shuffled.swap(i, usize::try_from(dice.below(i as u64 + 1)).unwrap());
        }
        all.iter().for_each(|happening| take(&mut one, happening));
        shuffled.iter().for_each(|happening| take(&mut other, happening));
        for minute in [5, 12, 20, 27, 60] {
            prop_assert_eq!(counts(&one.seal(minutes(minute))), counts(&other.seal(minutes(minute))));
        }
    }

    #[test]
    fn a_kill_and_a_restart_change_nothing(seed: u64, kills: u16) {
        let release = policy_release();
        let mut whole = ready(&release);
        let (mut killed, mut disk) = (ready(&release), Disk::default());
        disk.write(killed.take_changes());
        let mut sealed = Vec::new();
        for (minute, happenings) in happenings(seed).iter().enumerate() {
            for happening in happenings {
                take(&mut whole, happening);
                take(&mut killed, happening);
            }
            let complete_to = minutes(minute as u64 * 4);
            sealed.extend(whole.seal(complete_to));
            killed.seal(complete_to);
            disk.write(killed.take_changes());
            if kills >> minute & 1 == 1 {
                killed = disk.ledger(&release);
            }
        }
        sealed.extend(whole.seal(minutes(100)));
        killed.seal(minutes(100));
        disk.write(killed.take_changes());
        prop_assert_eq!(disk.sealed(), sealed);
        prop_assert_eq!(killed.totals(), whole.totals());
        prop_assert_eq!(whole.open_sessions(), 0);
        prop_assert!(disk.sessions().is_empty());
    }

    #[test]
    fn every_session_posts_each_number_once(seed: u64) {
        let release = policy_release();
        let mut ledger = ready(&release);
        for happening in happenings(seed).iter().flatten() {
            take(&mut ledger, happening);
        }
        let exposed: u64 = ledger.totals().exposed.values().map(|counts| counts.control + counts.canary).sum();
        let sealed: Vec<SealedBucket> =
            (0..200).flat_map(|half| ledger.seal(UnixMs(half * 30_000))).collect();
        let waiting: u64 = ledger.totals().carried[&Number::Session]
            .values()
            .filter_map(|metrics| metrics.get(&Metric::ErrorRate))
            .map(|arms| arms.control.iter().sum::<u64>() + arms.canary.iter().sum::<u64>())
            .sum();
        let posted: u64 = sealed
            .iter()
            .filter(|bucket| bucket.number == Number::Session)
            .filter_map(|bucket| bucket.metrics.get(&Metric::ErrorRate))
            .map(|arms| arms.control.iter().sum::<u64>() + arms.canary.iter().sum::<u64>())
            .sum();
        prop_assert_eq!(posted + waiting, exposed);
        let counted: u64 = ledger.totals().posted.values().map(|counts| counts.control + counts.canary).sum();
        prop_assert_eq!(counted, exposed);
    }
}

#[test]
fn a_loop_is_counted_above_the_cap_and_no_unknown_rest_hides_it() {
    let release = release(500, vec![guardrail(Metric::CostAboveCap, 0.005)]);
    let mut ledger = ready(&release);
    let cap = ledger.yardstick().unwrap().cap[&Metric::CostPerSession];
    let costs = |unit, arm, cost_usd| {
        let mut turn = turn_of(arm, unit, minutes(1), SpanMs::ZERO);
        turn.outcome.cost_usd = cost_usd;
        turn
    };
    for (unit, arm, cost) in [
        (1, Arm::Control, Some(0.9 * cap)),
        (2, Arm::Canary, Some(1.1 * cap)),
        (3, Arm::Canary, Some(2.0 * cap)),
        (3, Arm::Canary, None),
        (4, Arm::Canary, Some(0.5 * cap)),
        (4, Arm::Canary, None),
    ] {
        assert_eq!(ledger.absorb(&costs(unit, arm, cost)), Absorbed::Counted);
    }
    let whole = arms(&ledger.seal(minutes(32)), Number::Whole, &Metric::CostAboveCap).unwrap();
    assert_eq!((whole.control[0], whole.canary[40]), (1, 2), "what is above the cap stays above it");
    assert_eq!(whole.canary[41], 1, "half of a small amount is unknown");
}

/// Control 1 and canaries 2 and 3, watched by what their users say within two hours.
fn rated() -> Ledger {
    let late = |metric| Guardrail { age: Some(SpanMs::hours(2)), ..guardrail(metric, 0.01) };
    let (feedback, thumbs) = (Metric::Feedback("correct".to_owned()), Metric::ThumbsDown("correct".to_owned()));
    let mut ledger = ready(&release(500, vec![guardrail(Metric::ErrorRate, 0.01), late(thumbs), late(feedback)]));
    pair(&mut ledger);
    ledger.absorb(&turn_of(Arm::Canary, 3, minutes(1), SpanMs::ZERO));
    ledger
}

fn rating(unit: u128, value: f64, after: SpanMs) -> Feedback {
    let received_at = minutes(1) + after;
    Feedback { received_at, ..score_of(Arm::Canary, unit, minutes(1), value, after.0) }
}

#[test]
fn ratings_are_counted_at_an_age_of_their_own_as_a_share_of_all_sessions() {
    let mut ledger = rated();
    assert_eq!(ledger.absorb_feedback(&rating(2, 1.0, SpanMs::minutes(5))), Absorbed::Counted);
    assert_eq!(ledger.absorb_feedback(&rating(2, 0.0, SpanMs::minutes(90))), Absorbed::Counted);
    let metrics = |sealed: &[SealedBucket]| sealed.iter().map(|s| s.posting()).collect::<Vec<_>>();
    assert_eq!(metrics(&ledger.seal(minutes(121))), ["first", "session"], "two hours are not over");
    assert_eq!(ledger.open_sessions(), 3, "and the sessions wait for them");
    let sealed = ledger.seal(minutes(122));
    assert_eq!(metrics(&sealed), ["whole/thumbs_down.correct"], "control gave no score");
    let thumbs = arms(&sealed, Number::Whole, &Metric::ThumbsDown("correct".to_owned())).unwrap();
    assert_eq!((thumbs.control[0], thumbs.canary[0], thumbs.canary[40]), (1, 1, 1), "who says nothing is content");
    assert_eq!(ledger.open_sessions(), 0);
    assert_eq!(ledger.seal(minutes(300)), [], "each posts once");
}

#[test]
fn a_rating_after_its_age_is_late_and_counted_as_such() {
    let mut ledger = rated();
    let late = rating(3, 0.0, SpanMs::hours(2) + SpanMs(1));
    assert_eq!((ledger.absorb_feedback(&late), ledger.totals().late_feedback), (Absorbed::Late, 1));
    ledger.seal(minutes(122));
    assert_eq!(ledger.absorb_feedback(&rating(2, 0.0, SpanMs::minutes(9))), Absorbed::Late, "its bucket is sealed");
    assert_eq!(ledger.totals().heard["correct"], late.received_at, "somebody speaks, though late");
}

#[test]
fn a_matched_control_has_the_canarys_size_and_the_rest_keeps_all_of_it() {
    let matched = Guardrail { control: ControlArm::Matched, ..guardrail(Metric::CostPerSession, 0.01) };
    let release = release(1_000, vec![guardrail(Metric::ErrorRate, 0.01), matched]);
    let mut ledger = ready(&release);
    for unit in 0..2_000 {
        let below = Slot::of(&release.salt, UnitKey(unit)).is_below(WeightBp::new(1_000).unwrap());
        let arm = if below { Arm::Canary } else { Arm::Control };
        ledger.absorb(&turn_of(arm, unit, minutes(1), SpanMs::ZERO));
    }
    let sealed = ledger.seal(minutes(40));
    let n = |counts: &[u64]| counts.iter().sum::<u64>();
    let errors = arms(&sealed, Number::Session, &Metric::ErrorRate).unwrap();
    let cost = arms(&sealed, Number::Whole, &Metric::CostPerSession).unwrap();
    assert_eq!(n(&errors.control) + n(&errors.canary), 2_000);
    assert_eq!(n(&cost.canary), n(&errors.canary));
    assert!((140..260).contains(&n(&cost.control)), "about a tenth: {}", n(&cost.control));
    assert_eq!(ledger.totals().matched[&Stratum(0)], n(&cost.control), "what the sample ratio is counted on");
    assert_eq!(ledger.totals().matched_times.as_ref().unwrap().latency_ms.len(), n(&cost.control));
}

/// A ledger whose yardstick was frozen from a past in which half of the requests asked for streams.
fn with_streams(release: &Release) -> Ledger {
    let mut past = RouteHistory::default();
    for i in 0..400_u64 {
        let asked = if i % 2 == 0 { "stream/eu" } else { "body/eu" };
        let turn = Turn { origin: asked.parse().ok(), ..turn(UnitKey(u128::from(i)), UnixMs(i)) };
        past.absorb(&turn, stable_version());
    }
    let mut ledger = Ledger::new(release);
    assert_eq!(ledger.calibrate(Some(&past), minutes(0)).map(|yardstick| yardstick.apart.len()), Some(2));
    ledger
}

#[test]
fn sessions_of_different_origin_seal_apart_and_each_waits_for_both_arms() {
    let release = release(5_000, vec![guardrail(Metric::ErrorRate, 0.01)]);
    let mut ledger = with_streams(&release);
    let mut send = |arm, unit, origin: &str| {
        ledger.absorb(&Turn { origin: origin.parse().ok(), ..turn_of(arm, unit, minutes(1), SpanMs::ZERO) });
    };
    send(Arm::Control, 1, "stream/eu");
    send(Arm::Canary, 2, "stream/eu");
    send(Arm::Control, 3, "body/eu");
    send(Arm::Canary, 4, "body/us");
    send(Arm::Control, 5, "stream/us");
    let sealed = ledger.seal(minutes(4));
    let slices: Vec<(u8, String)> = sealed.iter().map(|bucket| (bucket.slice.0, bucket.posting())).collect();
    // In order of the text: `stream` lies before `body` because the transport's order is so.
    assert_eq!(slices, [(0, "first".to_owned()), (1, "first@1".to_owned())]);
    let waiting: u64 = ledger
        .totals()
        .waiting(Number::First, &Metric::ErrorRate)
        .map(|arms| arms.control.iter().chain(&arms.canary).sum::<u64>())
        .sum();
    assert_eq!(waiting, 1, "the whole answer from eu has nobody to be compared with yet");
    let changes = ledger.take_changes().unwrap();
    let kept = Kept {
        yardstick: ledger.yardstick().cloned(),
        sessions: changes.sessions,
        lap: changes.lap,
        mirrored: Vec::new(),
        totals: Some(ledger.totals().clone()),
    };
    let text = serde_json::to_string(kept.totals.as_ref().unwrap()).unwrap();
    let totals = serde_json::from_str(&text).unwrap();
    let mut again = Ledger::restore(&release, Kept { totals: Some(totals), ..kept });
    assert_eq!(again.seal(minutes(30)), ledger.seal(minutes(30)));
}

#[test]
fn a_later_request_does_not_move_its_session_to_another_slice() {
    let (release, arm) = (release(5_000, vec![guardrail(Metric::ErrorRate, 0.01)]), Arm::Canary);
    let mut ledger = with_streams(&release);
    for (after, origin) in [(20_u64, "stream/eu"), (0, "body/eu"), (40, "stream/eu")] {
        ledger.absorb(&Turn { origin: origin.parse().ok(), ..turn_of(arm, 1, minutes(1), SpanMs::secs(after)) });
    }
    ledger.absorb(&Turn { origin: "body/eu".parse().ok(), ..turn_of(Arm::Control, 2, minutes(1), SpanMs::ZERO) });
    let sealed = ledger.seal(minutes(4));
    assert_eq!(sealed.iter().map(|bucket| bucket.slice.0).collect::<Vec<_>>(), [2]);
}

#[test]
fn the_sessions_of_one_customer_are_in_one_half_of_control() {
    let (release, mut ledger) = one(5_000, Metric::ErrorRate);
    for (unit, customer) in (1..=60_u128).map(|unit| (unit, ["acme", "globex", "initech"][unit as usize % 3])) {
        let turn = turn_of(Arm::Control, unit, minutes(1), SpanMs::ZERO);
        ledger.absorb(&Turn { customer: Some(customer.into()), ..turn });
    }
    (100..200).for_each(|unit| {
        ledger.absorb(&turn_of(Arm::Control, unit, minutes(1), SpanMs::ZERO));
    });
    ledger.absorb(&turn_of(Arm::Canary, 500, minutes(1), SpanMs::ZERO));
    let sealed = ledger.seal(minutes(4));
    let seen = arms(&sealed, Number::First, &Metric::ErrorRate).unwrap();
    let named = ["acme", "globex", "initech"];
    let of_customers = named.into_iter().filter(|name| Half::of(&release.salt, name.as_bytes()) == Half::One).count();
    let alone = (100..200_u128).filter(|unit| Half::of(&release.salt, &unit.to_le_bytes()) == Half::One).count();
    assert_eq!(seen.control_half.iter().sum::<u64>(), 20 * of_customers as u64 + alone as u64);
    assert_eq!(seen.control.iter().sum::<u64>(), 160);
    assert!((30..70).contains(&alone), "about one half: {alone}");
}

/// A turn that began its answer so.
fn begun(arm: Arm, unit: u128, at: UnixMs, key: u64) -> Turn {
    let mut turn = turn_of(arm, unit, at, SpanMs::ZERO);
    turn.outcome.opening = Some(Opening { key, words: format!("opening {key}").into() });
    turn
}

#[test]
fn an_opening_counts_against_the_canary_from_the_bucket_after_it_was_found_new() {
    let (_, mut ledger) = one(5_000, Metric::NewOpening);
    for minute in 1..=40 {
        for n in 0..10_u64 {
            let unit = u128::from(minute * 100 + n);
            ledger.absorb(&begun(Arm::Control, unit, minutes(minute), minute * 100 + n));
            let key = if n < 2 { 7 } else { 1_000_000 + minute * 100 + n };
            ledger.absorb(&begun(Arm::Canary, 1_000_000 + unit, minutes(minute), key));
        }
    }
    let sealed = ledger.seal(minutes(120));
    let bad: Vec<(u64, u64)> = sealed
        .iter()
        .filter_map(|bucket| bucket.metrics.get(&Metric::NewOpening))
        .map(|arms| (arms.control[40], arms.canary[40]))
        .collect();
    assert_eq!(bad.len(), 40);
    assert!(bad.iter().all(|(control, _)| *control == 0));
    assert_eq!((bad[0].1, bad[39].1), (0, 2), "{bad:?}");
    assert!(bad.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{bad:?}");
    let told = ledger.totals().openings.told();
    assert!(told[0].starts_with("answers that begin \"opening 7\""), "{told:?}");
    assert!(!serde_json::to_string(ledger.totals()).unwrap().contains("opening 1"), "rare words are not kept");
}

#[test]
fn a_session_is_abandoned_where_its_last_request_by_its_age_went_wrong() {
    let release = release(5_000, vec![guardrail(Metric::Abandoned, 0.01), guardrail(Metric::NotContinued, 0.01)]);
    let mut ledger = ready(&release);
    let refused = |mut turn: Turn| {
        turn.outcome.refusal = Check::Yes;
        turn
    };
    // Control 1 goes on after a failure, canary 2 does not; canary 3 comes back after the age only.
    ledger.absorb(&turn_of(Arm::Control, 1, minutes(1), SpanMs::minutes(5)));
    ledger.absorb(&failed(turn_of(Arm::Control, 1, minutes(1), SpanMs::ZERO)));
    ledger.absorb(&refused(turn_of(Arm::Canary, 2, minutes(1), SpanMs::minutes(5))));
    ledger.absorb(&turn_of(Arm::Canary, 2, minutes(1), SpanMs::ZERO));
    ledger.absorb(&failed(turn_of(Arm::Canary, 3, minutes(1), SpanMs::ZERO)));
    ledger.absorb(&turn_of(Arm::Canary, 3, minutes(1), SpanMs::minutes(29) + SpanMs(1)));
    assert!(ledger.seal(minutes(31)).iter().all(|bucket| bucket.number != Number::Whole), "not before the age");
    let sealed = ledger.seal(minutes(32));
    let abandoned = arms(&sealed, Number::Whole, &Metric::Abandoned).unwrap();
    assert_eq!((abandoned.control[0], abandoned.canary[40]), (1, 2));
    let alone = arms(&sealed, Number::Whole, &Metric::NotContinued).unwrap();
    assert_eq!((alone.control[0], alone.canary[0], alone.canary[40]), (1, 1, 1));
}

#[test]
fn lengths_are_measured_in_the_warm_up_where_the_past_has_none() {
    let release = release(5_000, vec![guardrail(Metric::LongAnswer, 0.01), guardrail(Metric::ShortAnswer, 0.01)]);
    let mut ledger = Ledger::new(&release);
    assert_eq!(
        ledger.calibrate(Some(&history_with(UnixMs(0), None)), minutes(0)),
        None,
        "outside of a release nobody measures"
    );
    let said = |arm, unit, at, chars| {
        let mut turn = turn_of(arm, unit, at, SpanMs::ZERO);
        turn.outcome.detected.chars = Some(chars);
        turn
    };
    for unit in 0..100_u64 {
        ledger.absorb(&said(Arm::Control, u128::from(unit), minutes(1), 100 + unit));
    }
    assert!(ledger.calibrate(None, minutes(7)).is_some_and(|yardstick| yardstick.length.len() == 2));
    ledger.absorb(&said(Arm::Control, 200, minutes(8), 150));
    ledger.absorb(&said(Arm::Canary, 201, minutes(8), 900));
    ledger.absorb(&said(Arm::Canary, 202, minutes(8), 10));
    let sealed = ledger.seal(minutes(10));
    let long = arms(&sealed, Number::First, &Metric::LongAnswer).unwrap();
    assert_eq!((long.control[0], long.canary[0], long.canary[40]), (1, 1, 1));
    let short = arms(&sealed, Number::First, &Metric::ShortAnswer).unwrap();
    assert_eq!((short.control[0], short.canary[0], short.canary[40]), (1, 1, 1));
}
