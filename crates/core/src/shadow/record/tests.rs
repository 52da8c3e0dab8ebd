//! What pairs prove, what they do not, and what is shared out.

use super::*;
use crate::analysis::{Alpha, Reporting, ShadowFinding, analyse};
use crate::evidence::Ledger;
use crate::evidence::sample::{self, Dice, guardrail, outcome};
use crate::id::ReleaseId;
use crate::id::UnitKey;
use crate::judge::{Judge, Scale};
use crate::release::example as ex;
use crate::release::policy::{Margin, Role};
use crate::release::state::Release;
use crate::shadow::Shadow;
use crate::shadow::pair::{Loss, Pair};
use crate::shadow::preferences::{PairVerdict, Preferences, Preferred, Preferring};
use crate::shadow::similarity::{Bar, Cosine, Likeness, Similarity};
use crate::shadow::spread::Measure;
use crate::tally::{Cause, Check, Ending, Outcome};
use crate::traffic::weight::{Salt, WeightBp};
use proptest::prelude::*;
use std::sync::Arc;

fn release(metrics: &[Metric]) -> Release {
    let guardrails = metrics.iter().map(|metric| guardrail(metric.clone(), 0.005)).collect();
    let mut release = sample::release(5_000, guardrails);
    for watched in &mut release.policy.guardrails {
        if !matches!(watched.metric.kind(), crate::metric::Kind::Rate) {
            watched.rollback = Margin { ratio: 1.1, shift: 0.0 };
        }
    }
    release.policy.shadow = Some(ex::shadow());
    release
}

fn failed() -> Outcome {
    Outcome { ending: Ending::Failed(Cause::Server), cost_usd: None, ..outcome() }
}

fn pair(unit: u128, at: u64, stable: Outcome, canary: Outcome) -> Pair {
    Pair { unit: UnitKey(unit), started_at: UnixMs(at), stable, canary }
}

fn mirrored(release: &Release, pairs: Vec<Pair>) -> Mirrored {
    Mirrored { release: Arc::new(release.id.clone()), pairs, lost: Lost::default(), likenesses: Vec::new() }
}

/// All sessions old enough to be counted.
const LATER: UnixMs = UnixMs(u64::MAX / 4);

fn look(release: &Release, ledger: &Ledger) -> ShadowFinding {
    let reporting = Reporting { complete_to: LATER, stale_after: SpanMs::secs(60) };
    analyse(release, ledger, None, &reporting, LATER).shadow.unwrap()
}

fn shown(release: &Release, pairs: Vec<Pair>) -> ShadowFinding {
    let mut ledger = Ledger::new(release);
    ledger.absorb_mirrored(&mirrored(release, pairs));
    ledger.post_mirrored(LATER);
    look(release, &ledger)
}

/// Sessions of which so many are near, and what is said of them.
fn likened(release: &Release, near: u128, far: u128) -> ShadowFinding {
    let mut ledger = Ledger::new(release);
    let of = |unit, canary, again| Likeness { unit: UnitKey(unit), started_at: UnixMs(0), canary, again };
    let cosine = |unit| Cosine::of(Some(if unit < near { 0.9 } else { 0.4 }));
    let mut likenesses: Vec<Likeness> = (0..near + far).map(|unit| of(unit, cosine(unit), None)).collect();
    likenesses.push(of(0, Cosine::Unknown, Some(Cosine::of(Some(0.97)))));
    let pairs = (0..near + far).map(|unit| pair(unit, 0, outcome(), outcome())).collect();
    ledger.absorb_mirrored(&Mirrored { likenesses, ..mirrored(release, pairs) });
    ledger.post_mirrored(LATER);
    look(release, &ledger)
}

fn with_similarity(bar: Option<Bar>) -> Release {
    let mut release = release(&[Metric::ErrorRate]);
    let version = crate::release::example::judge("any").version;
    let similarity = Similarity { version, sample: WeightBp::FULL, baseline: WeightBp::FULL, bar };
    release.policy.shadow = Some(Shadow { min_sessions: 50, similarity: Some(Box::new(similarity)), ..ex::shadow() });
    release
}

/// Different is not worse: however far the answers are, nothing is against the canary; a declared bar waits.
#[test]
fn answers_that_differ_are_told_and_at_most_waited_for() {
    let bar = Bar { min: 0.8, share: WeightBp::new(9_000).unwrap() };
    let far = likened(&with_similarity(None), 0, 60);
    let seen = far.similarity.as_ref().unwrap();
    assert_eq!((seen.canary.unwrap().p50, seen.pairs, seen.unknown, seen.lacks.as_ref()), (0.4, 60, 1, None));
    assert_eq!((seen.again.unwrap().sessions, seen.again.unwrap().p50), (1, 0.97));
    assert!(!far.rollback.reached() && far.findings.len() == 1, "it is no criterion");
    let lacks = |near, far| likened(&with_similarity(Some(bar)), near, far).similarity.unwrap().lacks;
    assert_eq!(lacks(54, 6), None, "90 % of 60 clear it");
    let short = lacks(53, 7).unwrap();
    assert!(short.starts_with("88.3 % of 60 sessions are 0.8 near"), "{short}");
    assert_eq!(lacks(49, 0).unwrap(), "49 of 50 measured sessions, 1 unknown");
    assert!(!likened(&with_similarity(Some(bar)), 0, 60).rollback.reached());
}

/// What comes when its session is counted says nothing, and a release that does not ask is told nothing.
#[test]
fn a_late_likeness_is_counted_as_late() {
    let release = with_similarity(None);
    let mut ledger = Ledger::new(&release);
    let one = |at| Likeness { unit: UnitKey(1), started_at: UnixMs(at), canary: Cosine::of(Some(0.5)), again: None };
    let batch = |at, release: &Release| Mirrored { likenesses: vec![one(at)], ..mirrored(release, Vec::new()) };
    ledger.absorb_mirrored(&batch(0, &release));
    ledger.post_mirrored(LATER);
    ledger.absorb_mirrored(&batch(9, &release));
    let seen = look(&release, &ledger).similarity.unwrap();
    assert_eq!((seen.pairs, seen.late, seen.canary.unwrap().sessions), (1, 1, 1));
    let plain = super::tests::release(&[Metric::ErrorRate]);
    let mut ledger = Ledger::new(&plain);
    ledger.absorb_mirrored(&batch(0, &plain));
    assert_eq!(look(&plain, &ledger).similarity, None);
}

#[test]
fn a_canary_that_fails_where_stable_answers_is_proven_worse_in_few_sessions() {
    let release = release(&[Metric::ErrorRate, Metric::TtftP95]);
    let pairs = |count: u128| (0..count).map(|unit| pair(unit, 0, outcome(), failed())).collect();
    let found = shown(&release, pairs(40));
    assert!(found.rollback.reached(), "{found:?}");
    let guilty: Vec<String> = found.guilty().map(|finding| finding.metric.to_string()).collect();
    assert!(guilty.contains(&"error_rate".to_owned()), "{guilty:?}");
    let errors = &found.findings[0];
    assert_eq!(
        (errors.sessions, errors.stable, errors.canary, errors.difference),
        (40, Some(0.0), Some(1.0), Some(1.0))
    );
    let told = errors.interval.unwrap();
    assert_eq!((told.measure, told.interval.point, told.interval.high), (Measure::Share, 1.0, 1.0));
    assert!(told.interval.low > 0.6, "{told:?}");
    assert!(errors.reason.contains("100 % of the canary's answers against 0 %"), "{}", errors.reason);
    assert!(!shown(&release, pairs(5)).rollback.reached());
}

#[test]
fn the_same_answers_prove_nothing() {
    let release = release(&[Metric::ErrorRate, Metric::RefusalRate, Metric::CostPerSession]);
    let both_fail = (0..200).map(|unit| pair(unit, 0, failed(), failed()));
    let both_answer = (200..2_000).map(|unit| pair(unit, 0, outcome(), outcome()));
    let found = shown(&release, both_fail.chain(both_answer).collect());
    assert!(found.findings.iter().all(|finding| finding.standing < 0.0 && !finding.rollback.reached()), "{found:?}");
    assert_eq!((found.sessions, found.findings[0].difference), (2_000, Some(0.0)));
}

/// A session is one unit, however many requests it has, and counts once it has the age of a session's number.
#[test]
fn a_session_counts_once_with_its_mean() {
    let release = release(&[Metric::ErrorRate]);
    let mut ledger = Ledger::new(&release);
    let turns = (0..10).map(|nth| pair(7, nth, outcome(), if nth < 5 { failed() } else { outcome() }));
    ledger.absorb_mirrored(&mirrored(&release, turns.collect()));
    let age = release.policy.ages.session;
    ledger.post_mirrored(UnixMs(age.0 - 1));
    assert_eq!(look(&release, &ledger).sessions, 0, "too young");
    ledger.post_mirrored(UnixMs(age.0));
    let once = look(&release, &ledger);
    assert_eq!((once.sessions, once.pairs, once.findings[0].canary), (1, 10, Some(0.5)));
    ledger.absorb_mirrored(&mirrored(&release, vec![pair(7, age.0, outcome(), failed())]));
    ledger.post_mirrored(LATER);
    let later = look(&release, &ledger);
    assert_eq!((later.sessions, later.pairs), (1, 11), "what comes late says nothing");
    assert_eq!(later.findings, once.findings);
}

fn judged() -> Release {
    let mut release = release(&[Metric::ErrorRate]);
    let judge = Judge { scale: Scale::Pairs, anchors: None, labels: ex::weight(0), ..ex::judge("better") };
    release.policy.judges = vec![judge];
    let preferring = Preferring {
        judge: "better".to_owned(),
        role: Role::Guardrail,
        margin: 0.1,
        weight: 1.0,
        sample: ex::weight(5_000),
    };
    release.policy.shadow.as_mut().unwrap().preferences = vec![preferring];
    release
}

fn preferred(release: &Release, unit: u128, verdict: PairVerdict) -> Preferred {
    Preferred {
        release: Arc::new(release.id.clone()),
        unit: UnitKey(unit),
        started_at: UnixMs(0),
        judge: "better".to_owned(),
        by: release.policy.judges[0].id(),
        verdict,
    }
}

/// Pairs of so many sessions, of which the judge that sees half of them says this.
fn compared(release: &Release, units: u128, verdict: impl Fn(u128) -> PairVerdict) -> ShadowFinding {
    let mut ledger = Ledger::new(release);
    let pairs = (0..units).map(|unit| pair(unit, 0, outcome(), outcome())).collect();
    ledger.absorb_mirrored(&mirrored(release, pairs));
    (0..units).for_each(|unit| ledger.absorb_preference(&preferred(release, unit, verdict(unit))));
    ledger.post_mirrored(LATER);
    look(release, &ledger)
}

#[test]
fn a_canary_whose_answers_lose_is_proven_worse() {
    let release = judged();
    let lost = compared(&release, 400, |unit| if unit % 10 < 7 { PairVerdict::Lost } else { PairVerdict::Tied });
    assert!(lost.rollback.reached(), "{lost:?}");
    let guilty: Vec<String> = lost.guilty().map(|finding| finding.metric.to_string()).collect();
    assert_eq!(guilty, ["judge.better"]);
    let said = lost.findings[1].preferences.unwrap();
    assert_eq!((said.won, said.late, lost.findings[1].sessions), (0, 0, said.lost + said.tied));
    assert!((150..250).contains(&lost.findings[1].sessions), "the judge sees half: {}", lost.findings[1].sessions);
    let told = lost.findings[1].interval.unwrap();
    assert_eq!(told.measure, Measure::Losses);
    assert!(told.interval.low > 0.45 && told.interval.low < 0.7 && told.interval.high < 0.9, "{told:?}");
    assert!(lost.findings[1].reason.contains("stable's in 100 %"), "{}", lost.findings[1].reason);
}

/// What contradicts itself is a tie, and ties prove nothing, however many they are; neither does a loss within the margin.
#[test]
fn ties_and_a_loss_within_the_margin_prove_nothing() {
    let release = judged();
    let tied = compared(&release, 2_000, |_| PairVerdict::Tied);
    let within = compared(&release, 2_000, |unit| match unit % 20 {
        0 => PairVerdict::Lost,
        _ => PairVerdict::Tied,
    });
    for found in [tied, within] {
        assert!(!found.rollback.reached() && found.findings[1].standing < 0.0, "{found:?}");
        assert_eq!(found.findings[1].lacks, None);
    }
}

#[test]
fn too_few_judged_sessions_and_another_judges_word_are_told() {
    let mut release = judged();
    release.policy.shadow.as_mut().unwrap().min_sessions = 50;
    let few = compared(&release, 10, |_| PairVerdict::Won);
    assert!(few.findings[1].lacks.as_ref().unwrap().contains("of 25 judged sessions"), "{few:?}");
    let mut ledger = Ledger::new(&release);
    let stranger = Preferred { by: ex::judge("better").id(), ..preferred(&release, 1, PairVerdict::Lost) };
    (0..100).for_each(|unit| ledger.absorb_preference(&Preferred { unit: UnitKey(unit), ..stranger.clone() }));
    assert_eq!(look(&release, &ledger).findings[1].preferences, Some(Preferences::default()));
}

/// A verdict on a session that is counted already is told, and changes nothing.
#[test]
fn a_late_verdict_is_told() {
    let mut release = judged();
    release.policy.shadow.as_mut().unwrap().preferences[0].sample = WeightBp::FULL;
    let mut ledger = Ledger::new(&release);
    ledger.absorb_mirrored(&mirrored(&release, vec![pair(1, 0, outcome(), outcome())]));
    ledger.post_mirrored(LATER);
    ledger.absorb_preference(&preferred(&release, 1, PairVerdict::Lost));
    let found = look(&release, &ledger);
    assert_eq!(found.findings[1].preferences, Some(Preferences { late: 1, ..Preferences::default() }));
    assert_eq!(found.findings[1].sessions, 0);
}

/// A kill at any point loses no young session and counts none twice.
#[test]
fn a_restart_changes_nothing_of_what_is_counted() {
    let release = release(&[Metric::ErrorRate, Metric::LatencyP95]);
    let age = release.policy.ages.session;
    let rounds: Vec<Vec<Pair>> = (0..6_u64)
        .map(|round| {
            let at = round * age.0 / 3;
            let canary = |unit| if unit % 3 == 0 { failed() } else { outcome() };
            // Old sessions go on, and new ones begin.
            (0..20 * u128::from(round + 1)).map(|unit| pair(unit, at, outcome(), canary(unit))).collect()
        })
        .collect();
    let mut steady = Ledger::new(&release);
    let mut disk = sample::Disk::default();
    for (round, pairs) in (0_u64..).zip(&rounds) {
        let complete_to = UnixMs(round * age.0 / 3 + 1);
        let mut killed = disk.ledger(&release);
        for ledger in [&mut steady, &mut killed] {
            ledger.absorb_mirrored(&mirrored(&release, pairs.clone()));
            ledger.post_mirrored(complete_to);
        }
        disk.write(killed.take_changes());
    }
    let mut killed = disk.ledger(&release);
    steady.post_mirrored(LATER);
    killed.post_mirrored(LATER);
    assert_eq!(look(&release, &killed), look(&release, &steady));
    assert_eq!(look(&release, &killed).sessions, 120);
    assert!(disk.mirrored.values().any(|row| row.contains("\"is_counted\":true}")), "a counted one keeps no sums");
}

/// What the client spoilt is void; what only the canary refuses is its fault; what is lost is told.
#[test]
fn blame_is_shared_out_by_what_stable_made_of_it() {
    let release = release(&[Metric::ErrorRate]);
    let ended = |ending| Outcome { ending, ..outcome() };
    let left = Ending::Cancelled(crate::tally::CancelPoint::MidAnswer);
    let pairs = vec![
        pair(1, 0, ended(left), outcome()),
        pair(2, 0, ended(Ending::ClientError), ended(Ending::ClientError)),
        pair(3, 0, outcome(), ended(Ending::GatewayError)),
        pair(4, 0, outcome(), ended(Ending::ClientError)),
    ];
    let mut ledger = Ledger::new(&release);
    let mut lost = Lost::default();
    Loss::ALL.into_iter().for_each(|loss| lost.note(loss));
    ledger.absorb_mirrored(&Mirrored { lost, ..mirrored(&release, pairs) });
    let other = Mirrored {
        release: Arc::new(ReleaseId::from("another")),
        ..mirrored(&release, vec![pair(9, 0, outcome(), failed())])
    };
    ledger.absorb_mirrored(&other);
    ledger.post_mirrored(LATER);
    let found = look(&release, &ledger);
    assert_eq!((found.pairs, found.void, found.sessions), (1, 3, 1));
    assert_eq!(found.findings[0].canary, Some(1.0));
    assert_eq!((found.lost.sum(), found.lost.budget), (5, 1));
}

#[test]
fn times_and_amounts_are_compared_by_who_is_above() {
    let release = release(&[Metric::LatencyP95, Metric::CostPerSession]);
    let [time, cost] = &release.policy.guardrails[..] else { panic!() };
    let of = |latency_ms, cost_usd| Outcome { latency_ms, cost_usd, ..outcome() };
    let x = |stable: Outcome, canary: Outcome, watched| pair(1, 0, stable, canary).compare(watched).map(|c| c.x);
    assert_eq!(x(of(1_000.0, None), of(1_200.0, None), time), Some(1.0));
    assert_eq!(x(of(1_000.0, None), of(1_050.0, None), time), Some(0.0), "within the margin of 10 %");
    assert_eq!(x(of(1_000.0, None), failed(), time), Some(1.0), "who fails is slower");
    assert_eq!((x(failed(), of(9.0, None), time), x(failed(), failed(), time)), (Some(0.0), None));
    assert_eq!(x(of(1.0, Some(0.01)), of(1.0, Some(0.02)), cost), Some(1.0));
    assert_eq!(x(of(1.0, Some(0.01)), of(1.0, None), cost), None, "an unknown cost is no cost");
}

/// One that stands at its margin is rolled back no more often than its share allows, at any number of looks.
#[test]
fn a_canary_at_its_margin_is_seldom_proven_worse() {
    let mut release = release(&[Metric::RefusalRate]);
    release.policy.false_rollback_rate = 0.5;
    let alpha = Alpha::of(&release.policy, 0).shadow;
    let bound = release.policy.guardrails[0].rollback;
    let mut rng = Dice(11);
    let runs = 2_000;
    let mut proven = 0;
    for _ in 0..runs {
        let refuses = |refuses| Outcome { refusal: if refuses { Check::Yes } else { Check::No }, ..outcome() };
        let pairs = (0..150)
            .map(|unit| {
                let (stable, canary) = (rng.happens(0.3), rng.happens(0.3 * bound.ratio + bound.shift));
                pair(unit, 0, refuses(stable), refuses(canary))
            })
            .collect();
        proven += u32::from(shown(&release, pairs).rollback.reached());
    }
    assert!(f64::from(proven) / f64::from(runs) <= alpha, "{proven} of {runs}, alpha {alpha}");
}

#[test]
fn a_session_is_drawn_whole_and_by_the_share() {
    let shadow = ex::shadow();
    let salt = Salt([5; 32]);
    let drawn =
        |share| (0..20_000).filter(|unit| crate::shadow::Shadow::includes(share, &salt, UnitKey(*unit))).count();
    let fifth = drawn(shadow.share);
    assert!((3_700..4_300).contains(&fifth), "{fifth}");
    assert_eq!((drawn(ex::weight(0)), drawn(ex::weight(10_000))), (0, 20_000));
}

#[test]
fn only_guardrails_that_can_be_paired_share_the_shadows_alpha() {
    let mut release = release(&[Metric::ErrorRate, Metric::Feedback("helpful".to_owned()), Metric::RefusalRate]);
    release.policy.guardrails[2].role = Role::Signal;
    let paired: Vec<f64> = release.policy.criteria().map(|one| release.policy.paired_share(&one)).collect();
    assert_eq!(paired.len(), 2);
    assert!((paired[0] - 1.0).abs() < 1e-12);
    release.policy.shadow = None;
    assert_eq!((release.policy.paired().count(), Alpha::of(&release.policy, 0).shadow), (0, 0.0));
}

proptest! {
    /// x is within 0 and 1, and at its bound where the canary stands exactly at its margin.
    #[test]
    fn x_is_centred_on_its_bound(stable in 0.0..=1.0f64, ratio in 1.0..3.0f64, shift in 0.0..0.5f64) {
        let mut watched = guardrail(Metric::ToolCallValid, 0.01);
        watched.rollback = Margin { ratio, shift };
        let canary = ratio * stable + shift;
        let x = (canary - ratio * stable + ratio) / (1.0 + ratio);
        prop_assert!((x - watched.paired_bound()).abs() < 1e-9);
        prop_assert!((0.0..=1.0).contains(&watched.paired_bound()));
    }
}
