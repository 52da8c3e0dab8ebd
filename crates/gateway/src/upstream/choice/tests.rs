//! Choosing, in time that is set by hand.

use super::aside::{Aside, Reason};
use super::*;
use crate::config::{BreakerPolicy, OutlierPolicy};
use coalmine_core::traffic::weight::WeightBp;
use std::collections::BTreeMap;

const T: UnixMs = UnixMs(1_000_000);

fn at(s: u64) -> UnixMs {
    T + SpanMs::secs(s)
}

fn choice(regions: &[&str], change: impl FnOnce(&mut ChoicePolicy)) -> Choice {
    let upstream = |(n, region): (usize, &&str)| Upstream {
        region: Some(Region((*region).into())).filter(|region| !region.0.is_empty()),
        ..Upstream::at(format!("http://10.0.0.{n}/v1"))
    };
    let upstreams: Vec<Upstream> = regions.iter().enumerate().map(upstream).collect();
    let mut policy = ChoicePolicy::default();
    change(&mut policy);
    Choice::new(policy, Some(&Region("home".into())), &upstreams)
}

fn session(n: u128) -> Going {
    Going::of(Some(UnitKey(n * 0x9E37_79B9_7F4A_7C15 + 1))).trying(Tries::Soon)
}

/// Who is asked for each of many sessions, how often.
fn asked(choice: &Choice, now: UnixMs) -> BTreeMap<usize, usize> {
    let mut asked = BTreeMap::new();
    for n in 0..400 {
        let picked = choice.pick(&mut session(n), || now);
        *asked.entry(picked.at).or_default() += 1;
        choice.unfelt(picked);
    }
    asked
}

fn felt(choice: &Choice, at: usize, felt: Felt, times: usize, now: UnixMs) -> Option<Change> {
    (0..times).filter_map(|_| choice.felt(Picked::of(at, As::InService), felt, now)).last()
}

fn well(choice: &Choice, addresses: usize, now: UnixMs) {
    for at in 0..addresses {
        felt(choice, at, Felt::Well(100), 30, now);
    }
}

#[test]
fn a_session_stays_and_sessions_are_spread() {
    let choice = choice(&["", "", "", ""], |_| {});
    for n in 0..50 {
        let first = choice.pick(&mut session(n), || T).at;
        assert!((0..5).all(|_| choice.pick(&mut session(n), || T).at == first));
    }
    let spread = asked(&choice, T);
    assert!(spread.len() == 4 && spread.values().all(|n| (60..140).contains(n)), "{spread:?}");
}

#[test]
fn whoever_goes_takes_only_his_own_sessions_with_him() {
    let choice = choice(&["", "", ""], |_| {});
    let of = |n| choice.pick(&mut session(n), || T).at;
    let before: Vec<usize> = (0..200).map(of).collect();
    felt(&choice, 1, Felt::Unreachable, 3, T).unwrap();
    for (n, before) in before.iter().enumerate().filter(|(_, before)| **before != 1) {
        assert_eq!(of(n as u128), *before);
    }
    assert!((0..200).all(|n| of(n) != 1));
}

#[test]
fn a_further_attempt_goes_elsewhere_and_then_round_again() {
    let choice = choice(&["", "", ""], |_| {});
    let mut going = session(7);
    let mut places: Vec<usize> = (0..3).map(|_| choice.pick(&mut going, || T).at).collect();
    places.sort_unstable();
    assert_eq!(places, [0, 1, 2]);
    assert_eq!(choice.pick(&mut going, || T).as_, As::InService);
}

#[test]
fn requests_without_a_session_take_turns() {
    let choice = choice(&["", ""], |_| {});
    let turns: Vec<usize> = (0..4).map(|_| choice.pick(&mut Going::default(), || T).at).collect();
    assert_eq!(turns, [0, 1, 0, 1]);
}

#[test]
fn one_request_shows_whether_it_is_well_again() {
    let choice = choice(&["", ""], |_| {});
    let change = felt(&choice, 0, Felt::Unreachable, 3, T);
    assert_eq!(change, Some(Change::Ejected(0, Why::Unreachable, SpanMs::secs(1))));
    assert_eq!(asked(&choice, T).len(), 1);
    let probe = choice.pick(&mut session(1), || at(1));
    assert_eq!((probe, choice.standing(0)), (Picked::of(0, As::Probe), Standing::Probed));
    assert_eq!(choice.pick(&mut session(2), || at(1)).at, 1, "only one");
    assert_eq!(choice.felt(probe, Felt::Lost, at(1)), None);
    assert_eq!(choice.standing(0), Standing::Ejected);
    assert_eq!(choice.pick(&mut session(3), || at(2)).at, 1, "the pause has doubled");
    let probe = choice.pick(&mut session(3), || at(3));
    assert_eq!(choice.felt(probe, Felt::Well(5), at(3)), Some(Change::Back(0)));
    assert_eq!((choice.standing(0), asked(&choice, at(3)).len()), (Standing::InService, 2));
}

#[test]
fn what_was_asked_before_it_went_says_nothing_new() {
    let choice = choice(&["", ""], |_| {});
    felt(&choice, 0, Felt::Unreachable, 3, T);
    assert_eq!(felt(&choice, 0, Felt::Well(9), 5, T), None);
    assert_eq!(choice.standing(0), Standing::Ejected);
}

#[test]
fn with_everybody_away_all_are_asked_and_whoever_answers_is_back() {
    let choice = choice(&["", ""], |_| {});
    felt(&choice, 0, Felt::Unreachable, 3, T);
    felt(&choice, 1, Felt::Unreachable, 3, T);
    let resort = choice.pick(&mut session(1), || T);
    assert_eq!((resort.as_, asked(&choice, T).len()), (As::LastResort, 2));
    assert_eq!(choice.felt(resort, Felt::Well(5), T), Some(Change::Back(resort.at)));
}

#[test]
fn a_version_that_fails_everywhere_is_no_addresss_fault() {
    let choice = choice(&["", "", ""], |_| {});
    for _ in 0..40 {
        for address in 0..3 {
            felt(&choice, address, Felt::Well(100), 1, T);
            assert_eq!(felt(&choice, address, Felt::Badly, 2, T), None, "two of three fail, at every address");
        }
    }
    well(&choice, 3, at(1_000));
    assert!(matches!(felt(&choice, 1, Felt::Badly, 30, at(1_000)), Some(Change::Ejected(1, Why::InARow, _))));
}

#[test]
fn no_more_than_their_share_are_put_aside() {
    for (share, most) in [(2_500, 1), (5_000, 2), (10_000, 3)] {
        let choice = choice(&["", "", "", ""], |policy| policy.max_ejected = WeightBp::new(share).unwrap());
        let gone = (0..4).filter(|address| felt(&choice, *address, Felt::Badly, 6, T).is_some()).count();
        assert_eq!(gone, most, "{share}");
        assert!(!asked(&choice, T).is_empty());
    }
    let pair = choice(&["", ""], |policy| policy.max_ejected = WeightBp::new(1_000).unwrap());
    assert!(felt(&pair, 0, Felt::Badly, 6, T).is_some(), "one always may");
    assert_eq!(felt(&pair, 1, Felt::Badly, 6, T), None, "and never the last");
}

#[test]
fn a_look_at_their_health_has_its_own_word() {
    let choice = choice(&["", ""], |_| {});
    let unwell = Look::Unwell { unhealthy_after: 3 };
    let healthy = Look::Well { took_ms: 4.0, healthy_after: 2 };
    assert_eq!([unwell, unwell, healthy, unwell, unwell].map(|look| choice.looked(0, look, T)), [None; 5]);
    assert_eq!(choice.looked(0, unwell, T), Some(Change::Unwell(0)));
    assert_eq!((choice.standing(0), asked(&choice, at(100)).len()), (Standing::Unwell, 1), "no request tries it");
    assert_eq!([healthy, healthy].map(|look| choice.looked(0, look, T)), [None, Some(Change::Well(0))]);
    assert_eq!(asked(&choice, T).len(), 2);
    assert_eq!(choice.far_ms(0), Some(4.0));
}

#[test]
fn the_slow_one_and_the_one_that_errs_are_found_among_siblings() {
    let choice = choice(&["", "", "", ""], |_| {});
    well(&choice, 4, T);
    assert_eq!(choice.reckon(T), []);
    for (address, ms) in [(0, 400), (1, 450), (2, 2_000), (3, 430)] {
        felt(&choice, address, Felt::Well(ms), 30, at(10));
    }
    assert_eq!(choice.reckon(at(9)), [], "not yet");
    assert_eq!(choice.reckon(at(10)), [Change::Ejected(2, Why::Slower, SpanMs::secs(1))]);
    assert_eq!(choice.aside(2).unwrap().times, Some(Times { own_ms: 1_999, siblings_ms: 429 }));
    assert_eq!(asked(&choice, at(10)).len(), 3);
    let some = |address, bad| {
        for _ in 0..30 {
            felt(&choice, address, Felt::Well(100), 3, at(100));
            felt(&choice, address, Felt::Badly, bad, at(100));
        }
    };
    some(0, 0);
    some(1, 2);
    assert_eq!(choice.reckon(at(100)), [Change::Ejected(1, Why::MoreErrors, SpanMs::secs(1))]);
}

#[test]
fn alike_siblings_are_left_alone() {
    let slower = OutlierPolicy { slower: 0.0, ..OutlierPolicy::default() };
    for policy in [OutlierPolicy::default(), slower] {
        let choice = choice(&["", ""], |own| own.outliers = policy);
        for (address, ms) in [(0, 1_000), (1, if policy.slower > 0.0 { 2_900 } else { 60_000 })] {
            felt(&choice, address, Felt::Well(ms), 100, T);
        }
        assert_eq!(choice.reckon(T), []);
    }
}

#[test]
fn the_own_region_comes_first_then_the_others_as_listed() {
    let choice = choice(&["far", "home", "", "farther"], |_| {});
    let regions = |now| -> Vec<usize> { asked(&choice, now).into_keys().collect() };
    assert_eq!(regions(T), [1, 2], "without a region it stands beside the gateway");
    felt(&choice, 1, Felt::Unreachable, 3, T);
    assert_eq!(regions(T), [2]);
    felt(&choice, 2, Felt::Unreachable, 3, T);
    assert_eq!(regions(T), [0]);
    felt(&choice, 0, Felt::Unreachable, 3, T);
    assert_eq!(regions(T), [3]);
}

#[test]
fn a_nearer_region_is_returned_to_when_it_has_been_well_for_a_while() {
    let choice = choice(&["home", "far"], |_| {});
    felt(&choice, 0, Felt::Unreachable, 3, T);
    let probe = choice.pick(&mut session(1), || at(1));
    assert_eq!(choice.felt(probe, Felt::Well(5), at(1)), Some(Change::Back(0)));
    for (s, region) in [(1, 1), (5, 1), (10, 1), (11, 0)] {
        assert_eq!(choice.reckon(at(s)), []);
        assert_eq!(asked(&choice, at(s)).into_keys().collect::<Vec<_>>(), [region], "after {s} s");
    }
}

#[test]
fn the_measured_region_changes_only_for_one_that_stays_much_nearer() {
    let choice = choice(&["a", "b", "c"], |policy| policy.nearest = Nearest::Measured);
    let first = |s| {
        choice.reckon(at(s));
        asked(&choice, at(s)).into_keys().next().unwrap()
    };
    let far = |address, ms| (0..60).for_each(|_| choice.measured(address, ms));
    far(0, 20.0);
    far(1, 17.0);
    far(2, 90.0);
    assert_eq!([first(0), first(30)], [0, 0], "hardly nearer");
    far(1, 5.0);
    assert_eq!([first(31), first(40)], [0, 0], "not for long");
    far(1, 30.0);
    assert_eq!(first(41), 0);
    far(1, 5.0);
    assert_eq!([first(42), first(51)], [0, 0]);
    assert_eq!(choice.reckon(at(52)), [Change::Nearest(1)]);
    assert_eq!((first(52), choice.reckon(at(53))), (1, vec![]));
    felt(&choice, 1, Felt::Unreachable, 3, at(52));
    assert_eq!(first(52), 0, "then the next by distance");
}

#[test]
fn one_address_is_always_asked() {
    let choice = choice(&[""], |_| {});
    let unwell = Look::Unwell { unhealthy_after: 1 };
    assert_eq!(choice.looked(0, unwell, T), Some(Change::Unwell(0)));
    assert_eq!(choice.pick(&mut session(1), || T), Picked::of(0, As::InService));
    assert!(!choice.is_free());
}

#[test]
fn sixty_four_addresses_in_sixteen_regions() {
    let regions: Vec<String> = (0..64).map(|n| format!("r-{}", n % 16)).collect();
    let regions: Vec<&str> = regions.iter().map(String::as_str).collect();
    let choice = choice(&regions, |policy| policy.breaker = BreakerPolicy { unreachable: 1, ..policy.breaker });
    for address in 0..64 {
        let place = asked(&choice, T);
        assert!(place.keys().all(|at| at % 16 == address % 16 || address >= 16), "{address}: {place:?}");
        if address < 16 {
            for n in 0..4 {
                felt(&choice, address + 16 * n, Felt::Unreachable, 1, T);
            }
        }
    }
    assert_eq!(choice.pick(&mut session(1), || T).as_, As::LastResort);
}

/// A copy's answer says nothing of an address, a probe's says all.
#[test]
fn answers_cut_short_put_an_address_aside_and_a_probe_that_is_cut_at_once() {
    let choice = choice(&["", ""], |_| {});
    well(&choice, 2, T);
    let picked = |as_| Picked::of(0, as_);
    assert_eq!((0..20).find_map(|_| choice.cut_short(picked(As::Copy), T)), None);
    let cut = (0..5).filter_map(|_| choice.cut_short(picked(As::InService), T)).last();
    assert!(matches!(cut, Some(Change::Ejected(0, Why::CutShort, _))), "{cut:?}");
    assert_eq!(choice.cut_short(picked(As::InService), T), None, "sent before: nothing new");
    assert_eq!(asked(&choice, T).len(), 1);
    let probe = choice.pick(&mut session(1), || at(1));
    assert_eq!(probe, picked(As::Probe));
    assert_eq!(choice.felt(probe, Felt::Well(5), at(1)), Some(Change::Back(0)));
    let again = choice.cut_short(probe, at(1));
    assert!(matches!(again, Some(Change::Ejected(0, Why::CutShort, pause)) if pause == SpanMs::secs(2)), "{again:?}");
}

/// A version whose answers break off everywhere is no address's fault.
#[test]
fn answers_cut_short_everywhere_put_nobody_aside() {
    let choice = choice(&["", ""], |_| {});
    let cut = |at| {
        let picked = Picked::of(at, As::InService);
        choice.felt(picked, Felt::Well(100), T);
        choice.cut_short(picked, T)
    };
    well(&choice, 2, T);
    assert_eq!((0..60).filter_map(|n| cut(n % 2)).count(), 0);
}

#[test]
fn whoever_is_outrun_again_and_again_is_put_aside_and_a_probe_at_once() {
    let choice = choice(&["", ""], |_| {});
    well(&choice, 2, T);
    let outrun = |as_, now| choice.outrun(Picked::of(0, as_), now);
    assert_eq!((0..4).filter_map(|_| outrun(As::InService, T)).count(), 0);
    assert_eq!(outrun(As::Copy, T).or(outrun(As::LastResort, T)), None);
    assert_eq!(outrun(As::InService, T), Some(Change::Ejected(0, Why::Outrun, SpanMs::secs(1))));
    assert_eq!(outrun(As::InService, T), None, "it was asked before it went");
    let probe = choice.pick(&mut session(1), || at(1));
    assert_eq!(probe, Picked::of(0, As::Probe));
    assert_eq!(choice.outrun(probe, at(1)), None);
    choice.unfelt(probe);
    assert_eq!(choice.pick(&mut session(1), || at(2)).at, 1, "left alone for twice as long");
    assert_eq!(choice.pick(&mut session(1), || at(3)).as_, As::Probe);
}

#[test]
fn a_further_attempt_has_another_address_or_not() {
    let two = choice(&["", ""], |_| {});
    let mut going = session(7);
    assert_eq!(two.next(going), Next::Another);
    let first = two.pick(&mut going, || T).at;
    assert_eq!(two.next(going), Next::Another);
    felt(&two, 1 - first, Felt::Unreachable, 3, T).unwrap();
    assert_eq!(two.next(going), Next::Same, "the other is away");
    let mut going = session(7);
    let one = choice(&[""], |_| {});
    one.pick(&mut going, || T);
    assert_eq!(one.next(going), Next::Same);
}

#[test]
fn those_that_serve_are_the_nearest_regions_that_are_well() {
    let choice = choice(&["", "", "far"], |_| {});
    assert_eq!(choice.serving(), [0, 1]);
    felt(&choice, 1, Felt::Unreachable, 3, T).unwrap();
    assert_eq!(choice.serving(), [0]);
    felt(&choice, 0, Felt::Unreachable, 3, T).unwrap();
    assert_eq!(choice.serving(), [2]);
    felt(&choice, 2, Felt::Unreachable, 3, T).unwrap();
    assert!(choice.serving().is_empty());
}

#[test]
fn people_are_told_why_an_address_is_aside_and_when_it_is_tried() {
    let choice = choice(&["", ""], |_| {});
    well(&choice, 2, T);
    assert_eq!(choice.aside(0), None);
    felt(&choice, 0, Felt::Badly, 5, T).unwrap();
    let told = |tries, again| {
        let reason = Reason::Answers(Why::InARow);
        Some(Aside { reason, since: T, failures: 5, answers: None, times: None, tries, again })
    };
    assert_eq!(choice.aside(0), told(0, Some(at(1))));
    let probe = choice.pick(&mut session(1), || at(1));
    assert_eq!(choice.aside(0), told(0, None), "one tries it");
    assert_eq!(choice.felt(probe, Felt::Lost, at(1)), None);
    assert_eq!(choice.aside(0), told(1, Some(at(3))), "since when it was put aside first");
    let probe = choice.pick(&mut session(1), || at(3));
    assert_eq!(choice.felt(probe, Felt::Well(5), at(3)), Some(Change::Back(0)));
    assert_eq!(choice.aside(0), None);
    let share = (0..10).find_map(|_| {
        felt(&choice, 0, Felt::Well(5), 1, at(3));
        felt(&choice, 0, Felt::Badly, 1, at(3))
    });
    assert!(share.is_some());
    let told = choice.aside(0).unwrap();
    assert_eq!((told.reason, told.failures, told.answers), (Reason::Answers(Why::Share), 10, Some(20)));
}

#[test]
fn people_are_told_since_when_looks_find_an_address_unwell() {
    let choice = choice(&["", ""], |_| {});
    let look = |well: bool, s| {
        let unwell = Look::Unwell { unhealthy_after: 3 };
        choice.looked(0, if well { Look::Well { took_ms: 4.0, healthy_after: 1 } } else { unwell }, at(s))
    };
    assert_eq!([look(false, 1), look(true, 2), look(false, 3), look(false, 4)], [None; 4]);
    assert_eq!(choice.aside(0), None);
    assert_eq!([look(false, 5), look(false, 6)], [Some(Change::Unwell(0)), None]);
    let told =
        Aside { reason: Reason::Looks, since: at(5), failures: 4, answers: None, times: None, tries: 0, again: None };
    assert_eq!(choice.aside(0), Some(told));
    felt(&choice, 0, Felt::Unreachable, 3, at(7)).unwrap();
    assert_eq!(choice.aside(0), Some(told), "no request tries it meanwhile");
    assert_eq!(look(true, 8), Some(Change::Well(0)));
    assert_eq!(choice.aside(0).map(|told| told.reason), Some(Reason::Answers(Why::Unreachable)));
}

/// It was failed once already.
#[test]
fn a_further_attempt_tries_nobody_while_a_sibling_is_well() {
    let choice = choice(&["", "", ""], |_| {});
    felt(&choice, 0, Felt::Unreachable, 3, T).unwrap();
    for n in 0..20 {
        let mut going = session(n).been(Tried(bit(1)));
        assert_eq!(choice.pick(&mut going, || at(100)), Picked::of(2, As::InService));
    }
    let mut going = session(1).been(Tried(bit(1) | bit(2)));
    assert_eq!(choice.pick(&mut going, || at(100)), Picked::of(0, As::Probe), "nobody else is left");
}

#[test]
fn what_nobody_else_may_be_asked_tries_an_address_late() {
    let choice = choice(&["", ""], |_| {});
    felt(&choice, 0, Felt::Unreachable, 3, T).unwrap();
    let late = |s| choice.pick(&mut session(1).trying(Tries::Late), || at(s)).as_;
    assert_eq!([late(1), late(30)], [As::InService; 2], "the pause is one second, and the longest thirty");
    assert_eq!(late(31), As::Probe);
    assert_eq!(choice.pick(&mut session(1), || at(31)).as_, As::InService, "one is enough");
}

#[test]
fn what_looks_find_unwell_no_request_tries() {
    let choice = choice(&["", "", ""], |_| {});
    felt(&choice, 0, Felt::Unreachable, 3, T).unwrap();
    assert_eq!(choice.looked(0, Look::Unwell { unhealthy_after: 1 }, T), Some(Change::Unwell(0)));
    assert!(!asked(&choice, at(100)).contains_key(&0));
    let well = Look::Well { took_ms: 1.0, healthy_after: 1 };
    assert_eq!(choice.looked(0, well, at(100)), Some(Change::Well(0)));
    assert_eq!(choice.pick(&mut session(1), || at(100)), Picked::of(0, As::Probe));
}

/// A request of each of these sessions; those at the addresses in `answers` are answered at once.
fn ask(choice: &Choice, sessions: std::ops::Range<u128>, answers: &[usize], now: UnixMs) -> Vec<Picked> {
    let asked: Vec<_> = sessions.map(|n| choice.pick(&mut session(n), || now)).collect();
    for picked in asked.iter().filter(|picked| answers.contains(&picked.at)) {
        choice.felt(*picked, Felt::Well(200), now);
    }
    asked
}

/// None of those who wait has waited for all of its time, and no failure was counted.
#[test]
fn one_that_is_silent_while_its_siblings_answer_is_put_aside() {
    for (addresses, sessions) in [(2, 40), (3, 40), (8, 100)] {
        let choice = choice(&vec![""; addresses], |_| {});
        let others: Vec<usize> = (1..addresses).collect();
        assert_eq!(choice.reckon(T), []);
        ask(&choice, 0..sessions, &others, T + SpanMs(500));
        assert_eq!(
            (choice.reckon(at(1)), choice.reckon(at(2))),
            (vec![], vec![]),
            "suspected, and its siblings say no more"
        );
        ask(&choice, 0..sessions, &others, at(2));
        assert_eq!(choice.reckon(at(3)), [Change::Ejected(0, Why::Hangs, SpanMs::secs(1))]);
        let told = choice.aside(0).unwrap();
        assert!(told.reason == Reason::Answers(Why::Hangs) && told.failures > 4 && told.answers.is_none(), "{told:?}");
        assert!(!asked(&choice, at(3)).contains_key(&0));
    }
}

#[test]
fn it_has_three_times_what_its_siblings_took_and_is_well_with_its_first_answer() {
    let world = || {
        let choice = choice(&["", "", ""], |_| {});
        choice.reckon(T);
        let asked = ask(&choice, 0..60, &[], T + SpanMs(1));
        assert!((1..30).all(|s| choice.reckon(at(s)).is_empty()), "a model thinks, and does so everywhere");
        for picked in asked.iter().filter(|picked| picked.at != 0) {
            choice.felt(*picked, Felt::Well(29_000), at(29));
        }
        assert_eq!(choice.reckon(at(30)), []);
        ask(&choice, 60..90, &[1, 2], at(31));
        assert!((31..90).all(|s| choice.reckon(at(s)).is_empty()));
        (choice, *asked.iter().find(|picked| picked.at == 0).unwrap())
    };
    assert_eq!(world().0.reckon(at(90)), [Change::Ejected(0, Why::Hangs, SpanMs::secs(1))]);
    let (choice, waits) = world();
    choice.felt(waits, Felt::Well(89_900), at(89));
    assert!((90..600).all(|s| choice.reckon(at(s)).is_empty()));
}

#[test]
fn what_is_slow_by_itself_says_nothing_of_its_address() {
    let quiet = |choice: &Choice| (1..1_000).all(|s| choice.reckon(at(s)).is_empty());
    // nobody answers: the provider, or its model, is slow
    let three = || choice(&["", "", ""], |_| {});
    let choice = three();
    choice.reckon(T);
    ask(&choice, 0..200, &[], T + SpanMs(1));
    assert!(quiet(&choice));
    // one session asks for much that takes long, and its siblings' many are quick
    let choice = three();
    choice.reckon(T);
    let at_first: Vec<u128> = (0..60).filter(|n| choice.pick(&mut session(*n), || T).at == 0).collect();
    let choice = three();
    choice.reckon(T);
    for s in 0..20 {
        (0..20).for_each(|_| _ = choice.pick(&mut session(at_first[0]), || at(s)));
        for n in (0..60).filter(|n| !at_first.contains(n)) {
            let picked = choice.pick(&mut session(n), || at(s));
            choice.felt(picked, Felt::Well(200), at(s) + SpanMs(1));
        }
        assert_eq!(choice.reckon(at(s + 1)), []);
    }
}

#[test]
fn a_round_compares_only_those_that_were_asked_from_the_same_moment_on() {
    let choice = choice(&["", "", ""], |_| {});
    choice.reckon(T);
    // it comes back for a look at its health, and is asked for the first time what its siblings have answered long since
    let unwell = choice.looked(0, Look::Unwell { unhealthy_after: 1 }, T);
    assert_eq!((unwell, choice.reckon(at(1))), (Some(Change::Unwell(0)), vec![]));
    ask(&choice, 0..60, &[1, 2], at(1));
    let well = choice.looked(0, Look::Well { took_ms: 5.0, healthy_after: 1 }, at(2));
    assert_eq!(well, Some(Change::Well(0)));
    ask(&choice, 0..60, &[], at(2));
    let quiet = (3..60).all(|s| {
        felt(&choice, 1, Felt::Well(200), 1, at(s));
        choice.reckon(at(s)).is_empty()
    });
    assert!(quiet);
}

#[test]
fn never_the_last_nor_more_than_may_be_aside() {
    let choice = choice(&["", "", "", ""], |_| {});
    choice.reckon(T);
    let mut gone = Vec::new();
    for s in 0..30 {
        ask(&choice, 0..200, &[3], at(s) + SpanMs(500));
        gone.extend(choice.reckon(at(s + 1)));
    }
    assert_eq!(gone.len(), 2, "half of them: {gone:?}");
}

/// What it asks for holds at the moment it is put aside, and behind it.
#[test]
fn an_address_is_left_alone_for_as_long_as_it_asks() {
    let choice = choice(&["", ""], |_| {});
    well(&choice, 2, T);
    let at_0 = |as_| Picked::of(0, as_);
    choice.asks_to_wait(at_0(As::Copy), SpanMs::secs(29), T);
    choice.asks_to_wait(at_0(As::InService), SpanMs::secs(20), T);
    choice.asks_to_wait(at_0(As::InService), SpanMs::secs(12), T);
    assert!(!choice.seats[0].breaker.is_out(), "one that is not put aside is asked all the same");
    let ejected = felt(&choice, 0, Felt::Badly, 5, at(1));
    assert_eq!(ejected, Some(Change::Ejected(0, Why::InARow, SpanMs::secs(19))));
    let probe = |now| choice.pick(&mut session(1), || now);
    assert_eq!((probe(at(19)).at, choice.aside(0).unwrap().again), (1, Some(at(20))));
    // its probe is told to come again
    let told = probe(at(20));
    assert_eq!(told, at_0(As::Probe));
    choice.asks_to_wait(told, SpanMs::secs(10), at(20));
    assert_eq!((choice.felt(told, Felt::Neither, at(20)), probe(at(29)).at), (None, 1));
    // no longer than the longest pause, whatever it says
    let told = probe(at(30));
    choice.asks_to_wait(told, SpanMs::hours(9), at(30));
    assert_eq!((choice.felt(told, Felt::Badly, at(30)), probe(at(59)).at), (None, 1));
    // one that was sent before is told so
    choice.asks_to_wait(at_0(As::InService), SpanMs::secs(10), at(55));
    assert_eq!(probe(at(64)).at, 1);
    assert_eq!(choice.felt(probe(at(65)), Felt::Well(5), at(65)), Some(Change::Back(0)));
    // what it asked for before it answered is over
    choice.asks_to_wait(at_0(As::InService), SpanMs::secs(25), at(66));
    felt(&choice, 0, Felt::Well(5), 1, at(67));
    let ejected = felt(&choice, 0, Felt::Badly, 5, at(67));
    assert_eq!(ejected, Some(Change::Ejected(0, Why::InARow, SpanMs::secs(4))), "doubled as ever");
}
