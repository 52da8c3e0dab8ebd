//! The table by state.

use super::*;
use crate::id::ProviderName;
use crate::release::decide::decide;
use crate::release::event::{Command, Event};
use crate::release::example::{self as ex, CANARY, MONDAY, STABLE, by, look, reason, running, seen};
use crate::release::plan::Gate;

const DAY: SpanMs = SpanMs::hours(24);
const LATER: UnixMs = UnixMs(MONDAY.0 + 2 * 3_600_000);

fn versions() -> BTreeMap<VersionId, Arc<Version>> {
    let version = |model: &str| {
        Arc::new(Version {
            provider: ProviderName::from("openai"),
            model: model.to_owned(),
            prompt: None,
            tools: None,
            params: BTreeMap::new(),
            fallbacks: Vec::new(),
        })
    };
    [(STABLE, version("old")), (CANARY, version("new")), (VersionId([3; 32]), version("ancient"))].into()
}

fn table_of(releases: &[Release], stable: VersionId, now: UnixMs) -> RouteTable {
    let route = RouteName::from("support");
    let facts = RouteFacts { route: &route, stable, releases, remember: DAY };
    build(&facts, &versions(), Generation(9), now).unwrap()
}

fn after(release: &Release, event: &Event, now: UnixMs) -> Release {
    decide(release, event, now).unwrap().next
}

fn rollback() -> Event {
    by(Command::Rollback { reason: reason() })
}

fn weights(table: &RouteTable) -> Vec<u16> {
    table.release.as_ref().map_or(Vec::new(), |r| r.exposures.iter().map(|e| e.weight.bp()).collect())
}

#[test]
fn each_state_exposes_the_stages_reached() {
    assert!(weights(&table_of(&[ex::release()], STABLE, MONDAY)).is_empty());
    let first = running(0);
    assert_eq!(weights(&table_of(std::slice::from_ref(&first), STABLE, MONDAY)), [500]);
    let asked = after(&first, &look(seen(0, crate::analysis::Verdict::Inconclusive)), LATER);
    assert_eq!(weights(&table_of(std::slice::from_ref(&asked), STABLE, LATER)), [500]);
    let second = after(&asked, &by(Command::Approve), LATER);
    assert_eq!(weights(&table_of(std::slice::from_ref(&second), STABLE, LATER)), [500, 2_500]);
    let paused = after(&second, &by(Command::Pause), LATER);
    assert_eq!(weights(&table_of(&[paused], STABLE, LATER)), [500, 2_500]);
}

#[test]
fn a_promotion_shows_before_the_store_has_it() {
    let promoting = after(&running(2), &by(Command::Promote { reason: reason() }), LATER);
    let table = table_of(std::slice::from_ref(&promoting), STABLE, LATER);
    assert_eq!((table.stable, table.release.is_none()), (CANARY, true));
    let promoted = after(&promoting, &Event::Served, LATER);
    let table = table_of(std::slice::from_ref(&promoted), CANARY, LATER);
    assert_eq!((table.stable, table.revoked.len()), (CANARY, 0));
    assert!(table.versions.contains_key(&STABLE), "sessions finish on the old stable");
    let restored = after(&promoted, &rollback(), LATER);
    let table = table_of(&[restored], CANARY, LATER);
    assert_eq!((table.stable, table.revoked[0].reach), (STABLE, Reach::EverySession));
}

#[test]
fn a_rollback_takes_the_canary_away_and_says_when_its_sessions_move() {
    let mut release = running(0);
    let rolling = after(&release, &rollback(), LATER);
    let table = table_of(std::slice::from_ref(&rolling), STABLE, LATER);
    assert!(table.release.is_none());
    let revoked =
        Revoked { release: Arc::new(rolling.id.clone()), version: CANARY, reach: Reach::CanaryArm, moves_at: LATER };
    assert_eq!(table.revoked, [revoked]);

    let drain = SpanMs::hours(2);
    release.policy.on_rollback = OnRollback::FinishOnCanary { drain };
    let rolling = after(&release, &rollback(), LATER);
    let over = after(&rolling, &Event::Served, LATER + SpanMs::minutes(5));
    let table = table_of(&[over], STABLE, LATER + SpanMs::minutes(5));
    assert_eq!(table.revoked[0].moves_at, LATER + drain, "the drain counts from the decision");
    assert!(table.versions.contains_key(&CANARY));
}

#[test]
fn what_is_long_over_leaves_the_table() {
    let over = after(&after(&running(0), &rollback(), LATER), &Event::Served, LATER);
    let now = LATER + DAY;
    let table = table_of(&[over], STABLE, now);
    assert_eq!((table.revoked.len(), table.versions.len()), (0, 1));
    let never_started = after(&after(&ex::release(), &rollback(), LATER), &Event::Served, LATER);
    assert!(table_of(&[never_started], STABLE, LATER).revoked.is_empty());
}

#[test]
fn a_second_try_of_the_same_canary_does_not_revoke_what_it_promotes() {
    let first = after(&after(&running(0), &rollback(), LATER), &Event::Served, LATER);
    let mut second = running(2);
    second.id = ReleaseId::from("support-8");
    let promoting = after(&second, &by(Command::Promote { reason: reason() }), LATER);
    let table = table_of(&[first, promoting], STABLE, LATER);
    assert_eq!((table.stable, table.revoked.len()), (CANARY, 0));
}

#[test]
fn a_missing_version_is_named() {
    let route = RouteName::from("support");
    let facts = RouteFacts { route: &route, stable: STABLE, releases: &[running(0)], remember: DAY };
    let mut some = versions();
    some.remove(&CANARY);
    let missing = build(&facts, &some, Generation(1), MONDAY).unwrap_err();
    assert_eq!(missing, MissingVersion { route: route.clone(), version: CANARY });
    assert_eq!(versions_needed(&facts, MONDAY), [STABLE, CANARY].into());
}

#[test]
fn a_cohort_keeps_its_weight_while_the_rest_begins_lower() {
    let mut release = running(1);
    release.plan.stages = vec![
        ex::stage(ex::named("internal", &["acme"]), 9_000, Gate::Automatic),
        ex::stage(crate::cohort::Cohort::All, 500, Gate::Automatic),
    ];
    let table = table_of(&[release], STABLE, MONDAY);
    let exposed = table.release.unwrap();
    let acme = CustomerId::from("acme");
    assert_eq!(exposed.governing(Some(&acme)).unwrap().stratum, Stratum(0));
    assert_eq!(exposed.governing(None).unwrap().stratum, Stratum(1));
}

#[test]
fn those_held_back_stay_on_the_old_stable_until_the_keep_is_over_or_a_later_release_begins() {
    let mut running = ex::running(2);
    running.policy.hold_back = ex::weight(200);
    let promoting = after(&running, &ex::by(Command::Promote { reason: ex::reason() }), LATER);
    let promoted = after(&promoting, &Event::Served, LATER);
    for state in [&promoting, &promoted] {
        let table = table_of(std::slice::from_ref(state), STABLE, LATER);
        // The store may lag behind a promotion that is only decided.
        let table = if table.stable == CANARY { table } else { table_of(std::slice::from_ref(state), CANARY, LATER) };
        let exposed = table.release.as_ref().unwrap();
        assert_eq!((table.stable, exposed.canary, exposed.control), (CANARY, CANARY, Some(STABLE)));
        assert_eq!((weights(&table).last(), exposed.rescue_budget), (Some(&9_800), ex::weight(0)));
    }
    let next = Release { stable: CANARY, canary: VersionId([3; 32]), ..ex::running(0) };
    let next = Release { id: ReleaseId::from("support-8"), ..next };
    let table = table_of(&[promoted.clone(), next], CANARY, LATER);
    let exposed = table.release.unwrap();
    assert_eq!((exposed.id.as_str(), exposed.control), ("support-8", None));
    let end = LATER + SpanMs::hours(48);
    let quiet = ex::look(ex::seen(3, crate::analysis::Verdict::Inconclusive));
    assert_eq!(table_of(&[after(&promoted, &quiet, end)], CANARY, end).release, None);
    let restored = after(&promoted, &ex::look(ex::guilty(3)), LATER);
    let table = table_of(&[restored], CANARY, LATER);
    assert_eq!((table.stable, table.release.is_some()), (STABLE, false));
}
