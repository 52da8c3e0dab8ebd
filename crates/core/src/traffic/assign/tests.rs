//! The laws of the split, and the rules of pins.

use super::*;
use crate::cohort::Cohort;
use crate::id::{Generation, ProviderName, ReleaseId, RouteName};
use crate::release::example::{CANARY, MONDAY, STABLE, named, weight};
use crate::time::SpanMs;
use crate::traffic::pin::Stratum;
use crate::traffic::table::{Exposed, Exposure, Reach, Revoked};
use crate::traffic::weight::Salt;
use crate::version::Version;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

const SALT: Salt = Salt([7; 32]);

fn table(weights_bp: &[u16]) -> RouteTable {
    let exposures = weights_bp.iter().zip(0_u16..).map(|(bp, index)| Exposure {
        stratum: Stratum(index),
        cohort: Cohort::All,
        weight: weight(*bp),
    });
    let version = Version {
        provider: ProviderName::from("openai"),
        model: "m".to_owned(),
        prompt: None,
        tools: None,
        params: BTreeMap::new(),
        fallbacks: Vec::new(),
    };
    let version = Arc::new(version);
    RouteTable {
        route: RouteName::from("support"),
        generation: Generation(1),
        stable: STABLE,
        versions: [(STABLE, Arc::clone(&version)), (CANARY, version)].into(),
        release: Some(Exposed {
            control: None,
            id: Arc::new(ReleaseId::from("support-7")),
            canary: CANARY,
            salt: SALT,
            started_at: MONDAY,
            exposures: exposures.collect(),
            judged_after: SpanMs::secs(60),
            judged: Vec::new(),
            rescue_budget: weight(500),
        }),
        revoked: Vec::new(),
        shadow: None,
        prices: None,
    }
}

fn over(mut table: RouteTable, reach: Reach, moves_at: UnixMs) -> RouteTable {
    let release = table.release.take().unwrap();
    table.revoked = vec![Revoked { release: release.id, version: CANARY, reach, moves_at }];
    table
}

fn ask(unit: UnitKey, pin: Option<&Pin>) -> Asked<'_> {
    Asked {
        identity: Identity::Session(unit),
        customer: None,
        opening: Opening::First,
        eligibility: Eligibility::Eligible,
        bound: None,
        pin,
        forced: None,
        ceiling: WeightBp::FULL,
        now: MONDAY,
    }
}

/// A unit as the gateway makes one: a hash. The multiplier spreads a running number over 128 bits.
fn unit(number: u64) -> UnitKey {
    UnitKey(u128::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835))
}

fn arm_of(table: &RouteTable, number: u64) -> Arm {
    assign(table, &ask(unit(number), None)).arm
}

/// A unit of this arm under `table`.
fn unit_of(table: &RouteTable, arm: Arm) -> UnitKey {
    (0..).map(unit).find(|u| assign(table, &ask(*u, None)).arm == arm).unwrap()
}

fn pin_made(table: &RouteTable, unit: UnitKey) -> Pin {
    match assign(table, &ask(unit, None)).pin {
        PinChange::Create(pin) => pin,
        PinChange::Touch | PinChange::Replace(_) | PinChange::None => panic!("a first request makes a pin"),
    }
}

proptest! {
    #[test]
    fn raising_the_weight_never_moves_a_unit_back(key: u128, low in 0_u16..=10_000, high in 0_u16..=10_000, salt: [u8; 32]) {
        let (low, high) = (low.min(high), low.max(high));
        let slot = Slot::of(&Salt(salt), UnitKey(key));
        prop_assert!(!slot.is_below(weight(low)) || slot.is_below(weight(high)));
    }

    #[test]
    fn reaching_another_stage_never_moves_a_unit_back(
        key: u128,
        stages in proptest::collection::vec((any::<bool>(), 1_u16..=10_000), 1..6),
        internal: bool,
    ) {
        let mut table = table(&[]);
        let acme = CustomerId::from("acme");
        let mut was = Arm::Control;
        for (index, (cut, bp)) in stages.iter().enumerate() {
            let cohort = if *cut { named("internal", &["acme"]) } else { Cohort::All };
            let stratum = Stratum(u16::try_from(index).unwrap());
            let exposed = table.release.as_mut().unwrap();
            exposed.exposures.push(Exposure { stratum, cohort, weight: weight(*bp) });
            let asked = Asked { customer: internal.then_some(&acme), ..ask(UnitKey(key), None) };
            let arm = assign(&table, &asked).arm;
            prop_assert!(was != Arm::Canary || arm == Arm::Canary);
            was = arm;
        }
    }

    #[test]
    fn the_same_question_has_the_same_answer(key: u128, bp in 0_u16..=10_000) {
        let table = table(&[bp]);
        prop_assert_eq!(assign(&table, &ask(UnitKey(key), None)), assign(&table, &ask(UnitKey(key), None)));
    }

    #[test]
    fn s5_a_pinned_session_of_either_arm_stays_at_every_weight(key: u128, before in 0_u16..=10_000, now in 0_u16..=10_000) {
        let pin = pin_made(&table(&[before]), UnitKey(key));
        let again = assign(&table(&[now]), &ask(UnitKey(key), Some(&pin)));
        prop_assert_eq!((again.version, again.reason, again.pin), (pin.version, Reason::Pinned, PinChange::Touch));
        prop_assert_eq!(again.member, pin.member);
    }

    #[test]
    fn a_ceiling_only_lowers(key: u128, bp in 0_u16..=10_000, ceiling in 0_u16..=10_000) {
        let table = table(&[bp]);
        let free = assign(&table, &ask(UnitKey(key), None));
        let held = assign(&table, &Asked { ceiling: weight(ceiling), ..ask(UnitKey(key), None) });
        if held.arm == Arm::Canary {
            prop_assert_eq!(free.arm, Arm::Canary);
        }
        if free.arm == Arm::Control {
            prop_assert_eq!(held, free);
        }
    }
}

/// The smallest weight that can be written is somebody, and zero is nobody.
#[test]
fn s1_the_smallest_weight_is_somebody() {
    let table = table(&[1]);
    let canary = (0..200_000).filter(|n| arm_of(&table, *n) == Arm::Canary).count();
    assert!((4..=44).contains(&canary), "{canary} of 200 000 at 0.01 %, where 20 are expected");
}

#[test]
fn s2_a_weight_of_zero_is_nobody() {
    let table = table(&[0]);
    assert!((0..20_000).all(|n| arm_of(&table, n) == Arm::Control));
}

/// No weight left means stable for everybody: no even split, no error.
#[test]
fn s3_all_weights_at_zero_leave_everybody_on_stable() {
    for weights in [&[][..], &[0], &[0, 0, 0]] {
        let table = table(weights);
        assert!((0..1_000).all(|n| assign(&table, &ask(unit(n), None)).version == STABLE), "{weights:?}");
    }
}

/// The split goes by who it is, and not by who comes next: a session has one arm however often it asks.
#[test]
fn s6_a_weight_does_not_override_who_asks() {
    let table = table(&[5_000]);
    for number in 0..1_000 {
        let first = assign(&table, &ask(unit(number), None));
        let pin = pin_made(&table, unit(number));
        for _ in 0..3 {
            let again = assign(&table, &ask(unit(number), Some(&pin)));
            assert_eq!((again.version, again.arm), (first.version, first.arm));
        }
    }
}

/// There is no counter that decays: every thousand new sessions is split as the first was. The bound is at
/// four and a half standard deviations, for two hundred of them.
#[test]
fn s8_the_share_does_not_drift_with_what_has_been() {
    let table = table(&[1_000]);
    for window in 0..200_u64 {
        let units = window * 1_000..(window + 1) * 1_000;
        let canary = units.filter(|n| arm_of(&table, *n) == Arm::Canary).count();
        let off = (canary as f64 - 100.0).abs() / (1_000.0_f64 * 0.1 * 0.9).sqrt();
        assert!(off < 4.5, "window {window}: {canary} of 1 000");
    }
}

/// How many of a million units fall into each slot.
fn slots() -> Vec<u32> {
    let mut counts = vec![0; 10_000];
    for number in 0..1_000_000 {
        counts[usize::from(Slot::of(&SALT, unit(number)).place())] += 1;
    }
    counts
}

/// Pearson's chi-square over 10 000 slots: mean 9 999, standard deviation 141; the bound is at five of
/// them. The shares below a weight are binomial; the bound is at four standard deviations.
#[test]
fn slots_are_uniform_and_shares_within_binomial_noise() {
    let (counts, units) = (slots(), 1_000_000.0);
    let expected = units / 10_000.0;
    let chi_square: f64 = counts.iter().map(|n| (f64::from(*n) - expected).powi(2) / expected).sum();
    assert!((9_999.0 - 707.0..9_999.0 + 707.0).contains(&chi_square), "{chi_square}");
    for bp in [10_u16, 100, 500, 5_000] {
        let canary = f64::from(counts[..usize::from(bp)].iter().sum::<u32>());
        let share = f64::from(bp) / 10_000.0;
        let off = (canary - units * share).abs() / (units * share * (1.0 - share)).sqrt();
        assert!(off < 4.0, "{bp} bp: {canary} units, {off} standard deviations off");
    }
}

#[test]
fn the_arms_are_split_as_the_slots_are() {
    for bp in [10, 100, 500, 5_000] {
        let table = table(&[bp]);
        for number in 0..20_000 {
            let below = Slot::of(&SALT, unit(number)).place() < bp;
            assert_eq!(arm_of(&table, number) == Arm::Canary, below);
        }
    }
}

#[test]
fn another_salt_puts_other_units_first() {
    const UNITS: u64 = 100_000;
    let (one, mut other) = (table(&[5_000]), table(&[5_000]));
    other.release.as_mut().unwrap().salt = Salt([8; 32]);
    let both = (0..UNITS).filter(|n| arm_of(&one, *n) == Arm::Canary && arm_of(&other, *n) == Arm::Canary).count();
    let off = (both as f64 - 25_000.0).abs() / (UNITS as f64 * 0.25 * 0.75).sqrt();
    assert!(off < 4.0, "{both} units in both canaries");
}

#[test]
fn parallel_first_requests_agree_through_the_winner() {
    let older = table(&[1]);
    let newer = table(&[10_000]);
    let unit = unit_of(&older, Arm::Control);
    let winner = pin_made(&older, unit);
    assert_eq!(assign(&newer, &ask(unit, None)).arm, Arm::Canary, "alone it would differ");
    let loser = assign(&newer, &ask(unit, Some(&winner)));
    assert_eq!((loser.version, loser.arm), (STABLE, Arm::Control));
}

#[test]
fn only_sessions_that_begin_inside_the_release_take_part() {
    let table = table(&[10_000]);
    let continued = assign(&table, &Asked { opening: Opening::Continued, ..ask(unit(1), None) });
    assert_eq!((continued.arm, continued.reason, continued.member), (Arm::Stable, Reason::OlderThanRelease, None));
    let before = Pin { version: STABLE, member: None, last_seen: MONDAY };
    let older = assign(&table, &ask(unit(1), Some(&before)));
    assert_eq!((older.version, older.arm, older.member), (STABLE, Arm::Stable, None));
    let nobody = assign(&table, &Asked { identity: Identity::Nobody, ..ask(unit(1), None) });
    assert_eq!((nobody.arm, nobody.reason, nobody.pin), (Arm::Stable, Reason::NoIdentity, PinChange::None));
}

#[test]
fn a_rollback_moves_the_canary_arm_at_its_time_and_nobody_else() {
    let running = table(&[5_000]);
    let (canary, control) = (unit_of(&running, Arm::Canary), unit_of(&running, Arm::Control));
    let pins = [pin_made(&running, canary), pin_made(&running, control)];
    let drained = MONDAY + SpanMs::hours(2);
    let rolled_back = over(running, Reach::CanaryArm, drained);
    let during = assign(&rolled_back, &ask(canary, Some(&pins[0])));
    assert_eq!((during.version, during.arm, during.member, during.reason), (CANARY, Arm::Canary, None, Reason::Pinned));
    let moved = assign(&rolled_back, &Asked { now: drained, ..ask(canary, Some(&pins[0])) });
    assert_eq!((moved.version, moved.arm, moved.reason), (STABLE, Arm::Stable, Reason::MovedByRollback));
    let now_pinned = Pin { version: STABLE, member: None, last_seen: drained };
    assert_eq!(moved.pin, PinChange::Replace(now_pinned));
    let stays = assign(&rolled_back, &Asked { now: drained, ..ask(control, Some(&pins[1])) });
    assert_eq!((stays.version, stays.reason), (STABLE, Reason::Pinned));
}

#[test]
fn a_rollback_after_promotion_moves_those_who_began_on_the_new_stable() {
    let began_after = Pin { version: CANARY, member: None, last_seen: MONDAY };
    let table = over(table(&[5_000]), Reach::EverySession, MONDAY);
    assert_eq!(assign(&table, &ask(unit(1), Some(&began_after))).reason, Reason::MovedByRollback);
    let arm_only =
        RouteTable { revoked: vec![Revoked { reach: Reach::CanaryArm, ..table.revoked[0].clone() }], ..table };
    assert_eq!(assign(&arm_only, &ask(unit(1), Some(&began_after))).reason, Reason::Pinned);
}

#[test]
fn after_promotion_sessions_finish_on_the_version_that_they_began_with() {
    let running = table(&[5_000]);
    let (canary, control) = (unit_of(&running, Arm::Canary), unit_of(&running, Arm::Control));
    let pins = [pin_made(&running, canary), pin_made(&running, control)];
    let promoted = RouteTable { stable: CANARY, release: None, ..running };
    let old = assign(&promoted, &ask(control, Some(&pins[1])));
    assert_eq!((old.version, old.arm, old.reason), (STABLE, Arm::Stable, Reason::Pinned));
    let new = assign(&promoted, &ask(canary, Some(&pins[0])));
    assert_eq!((new.version, new.arm), (CANARY, Arm::Stable));
    assert_eq!(assign(&promoted, &ask(unit(77), None)).version, CANARY);
}

#[test]
fn s10_a_version_that_is_no_longer_kept_gives_way_to_stable() {
    let mut table = table(&[5_000]);
    table.versions.remove(&CANARY);
    let pin = Pin { version: CANARY, member: None, last_seen: MONDAY };
    let moved = assign(&table, &ask(unit(1), Some(&pin)));
    assert_eq!((moved.version, moved.reason), (STABLE, Reason::VersionGone));
}

#[test]
fn a_customer_outside_every_cohort_is_not_counted() {
    let mut table = table(&[]);
    let cohort = named("internal", &["acme"]);
    table.release.as_mut().unwrap().exposures = vec![Exposure { stratum: Stratum(0), cohort, weight: WeightBp::FULL }];
    let acme = CustomerId::from("acme");
    let outside = assign(&table, &ask(unit(1), None));
    assert_eq!((outside.arm, outside.reason, outside.member), (Arm::Stable, Reason::OutsideCohorts, None));
    let inside = assign(&table, &Asked { customer: Some(&acme), ..ask(unit(1), None) });
    assert_eq!(inside.arm, Arm::Canary);
}

#[test]
fn a_forced_arm_is_neither_counted_nor_pinned() {
    let table = table(&[1]);
    let forced = |arm| assign(&table, &Asked { forced: Some(arm), ..ask(unit(1), None) });
    let canary = forced(Override::Canary);
    assert_eq!((canary.version, canary.member, canary.pin), (CANARY, None, PinChange::None));
    assert_eq!(forced(Override::Stable).version, STABLE);
}

/// After a promotion with a hold-back no unit that the canary had goes back, and those held back keep the
/// old stable and are counted beside the rest.
#[test]
fn those_held_back_are_the_last_slots() {
    let before = table(&[5_000]);
    let mut after = table(&[9_800]);
    after.stable = CANARY;
    after.release.as_mut().unwrap().control = Some(STABLE);
    let mut held_back = 0;
    for unit in (0..5_000).map(UnitKey) {
        let (was, is) = (assign(&before, &ask(unit, None)), assign(&after, &ask(unit, None)));
        let expected = if is.arm == Arm::Control { STABLE } else { CANARY };
        assert_eq!((is.version, is.member.is_some()), (expected, true));
        assert!(was.arm != Arm::Canary || is.arm == Arm::Canary);
        held_back += u32::from(is.arm == Arm::Control);
    }
    assert!((60..150).contains(&held_back), "{held_back} of 5000 at 2 %");
    let lowered = Asked { ceiling: WeightBp::ZERO, ..ask(UnitKey(1), None) };
    assert_eq!(assign(&after, &lowered).version, STABLE, "a ceiling brings nobody onto the canary");
}

#[test]
fn what_one_version_cannot_be_asked_goes_to_stable_and_counts_in_neither_arm() {
    let table = table(&[5_000]);
    for number in 0..200 {
        let ineligible = Asked { eligibility: Eligibility::Ineligible, ..ask(unit(number), None) };
        let assigned = assign(&table, &ineligible);
        assert_eq!((assigned.version, assigned.arm, assigned.member), (STABLE, Arm::Stable, None));
        assert_eq!(assigned.reason, Reason::Ineligible);
        let PinChange::Create(pin) = assigned.pin else { panic!("its session stays so") };
        let later = assign(&table, &ask(unit(number), Some(&pin)));
        assert_eq!((later.version, later.member), (STABLE, None), "for its whole life");

        // One that began eligible leaves for the one turn, whichever arm it is in.
        let PinChange::Create(began) = assign(&table, &ask(unit(number), None)).pin else { panic!("pinned") };
        let turn = assign(&table, &Asked { pin: Some(&began), ..ineligible });
        assert_eq!((turn.version, turn.member, turn.pin), (STABLE, None, PinChange::Touch));
        let next = assign(&table, &ask(unit(number), Some(&began)));
        assert_eq!((next.version, next.member), (began.version, began.member));
    }
}

/// What only its maker's provider can resolve stays with the maker, through a rollback too, and counts in
/// neither arm from then on.
#[test]
fn t36_what_is_bound_stays_with_its_maker() {
    let running = table(&[5_000]);
    let canary = unit_of(&running, Arm::Canary);
    let pin = pin_made(&running, canary);
    let bound = |version, pin| Asked { bound: Some(version), ..ask(canary, pin) };
    let stays = assign(&running, &bound(CANARY, Some(&pin)));
    assert_eq!((stays.version, stays.reason, &stays.member), (CANARY, Reason::Pinned, &pin.member));
    let rolled_back = over(table(&[5_000]), Reach::CanaryArm, MONDAY);
    assert_eq!(assign(&rolled_back, &ask(canary, Some(&pin))).reason, Reason::MovedByRollback);
    let kept = assign(&rolled_back, &bound(CANARY, Some(&pin)));
    assert_eq!((kept.version, kept.reason, kept.member, kept.pin), (CANARY, Reason::Bound, None, PinChange::Touch));
    let rescued = assign(&running, &bound(STABLE, Some(&pin)));
    assert_eq!((rescued.version, rescued.arm, rescued.member), (STABLE, Arm::Stable, None));
    let unpinned = assign(&running, &bound(CANARY, None));
    assert_eq!((unpinned.version, unpinned.reason, unpinned.member), (CANARY, Reason::Bound, None));
    let gone = crate::version::VersionId([9; 32]);
    assert_eq!(assign(&running, &bound(gone, Some(&pin))).reason, Reason::Pinned, "what is gone binds nobody");
}
