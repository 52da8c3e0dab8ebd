//! The drift watch on the shipped loop: incidents of a steady route, opened once, closed when they are over.

use crate::fixture::{Fixture, alice, bob, rollback, route, version};
use crate::judges::outcome;
use crate::sentinels::{Says, pass, refund, started};
use coalmine_control::ControlError;
use coalmine_control::view::SteadyState;
use coalmine_core::drift::NameKind;
use coalmine_core::id::{IncidentId, ReleaseId, RouteName, UnitKey};
use coalmine_core::incident::{Cause, Incident, Step};
use coalmine_core::release::state::State;
use coalmine_core::sentinel::{Criticality, Sentinels};
use coalmine_core::tally::{AnsweredAs, Delta, Outcome, Turn, TurnPart};
use coalmine_core::time::{SpanMs, UnixMs};
use coalmine_core::traffic::pin::{Arm, Membership, Stratum};
use std::collections::BTreeMap;
use std::sync::Arc;

fn suite() -> Sentinels {
    let sentinels = vec![refund("refund", Criticality::Critical)].into();
    Sentinels {
        suite: "sentinels/support.yaml".to_owned(),
        sentinels,
        qualify: 3,
        judging: coalmine_core::sentinel::Judging::default(),
        gate: None,
    }
}

/// Answers of stable to requests outside of any release, one a second, and a look after each.
struct Answers<'a> {
    fixture: &'a Fixture,
    gateway: &'static str,
    sequence: u64,
}

impl<'a> Answers<'a> {
    fn of(fixture: &'a Fixture, gateway: &'static str) -> Self {
        Self { fixture, gateway, sequence: 0 }
    }

    async fn come(&mut self, named: [&str; 3], seconds: u64) {
        for _ in 0..seconds {
            self.fixture.clock.pass(SpanMs::secs(1));
            let turn = answered(named, self.fixture.control.now(), self.sequence);
            self.report(vec![turn]).await;
        }
    }

    /// All of it in one delta, and a look.
    async fn report(&mut self, turns: Vec<Turn>) {
        self.sequence += 1;
        let delta = Delta {
            gateway: self.gateway.into(),
            epoch: 1,
            sequence: self.sequence,
            complete_to: self.fixture.control.now(),
            turns,
            feedback: Vec::new(),
            dropped: Vec::new(),
            serving: BTreeMap::new(),
            mirrored: Vec::new(),
            spending: Vec::new(),
        };
        self.fixture.control.intake(Arc::new(delta)).unwrap();
        self.fixture.control.tick().await;
    }
}

/// Stable's answer under these names to a request outside of any release.
pub(crate) fn answered(named: [&str; 3], started_at: UnixMs, unit: u64) -> Turn {
    let [model, fingerprint, tier] = named.map(|name| Some(name.into()));
    Turn {
        route: Arc::new(route()),
        unit: Some(UnitKey(u128::from(unit))),
        customer: None,
        version: version("stable-model").id(),
        member: None,
        origin: None,
        started_at,
        part: TurnPart::Whole,
        outcome: Outcome { answered_as: AnsweredAs { model, fingerprint, tier }, ..outcome() },
    }
}

const OLD: [&str; 3] = ["large-0805", "fp_a", "default"];
const NEW: [&str; 3] = ["large-1001", "fp_a", "default"];

fn states(fixture: &Fixture) -> Vec<(String, Step)> {
    let all = fixture.control.incidents();
    all.iter().map(|incident| (incident.cause.word().to_owned(), incident.state())).collect()
}

fn only(fixture: &Fixture) -> Incident {
    let all = fixture.control.incidents();
    assert_eq!(all.len(), 1, "{all:?}");
    all[0].clone()
}

async fn letters(fixture: &Fixture) -> Vec<String> {
    fixture.control.deliver_notices().await;
    let letters = std::mem::take(&mut *fixture.post.letters.lock().unwrap());
    let event =
        |body: &str| serde_json::from_str::<serde_json::Value>(body).unwrap()["event"].as_str().unwrap().to_owned();
    letters.iter().map(|letter| event(&letter.body)).collect()
}

#[tokio::test]
async fn another_model_behind_a_steady_stable_is_one_incident_over_kills() {
    let fixture = Fixture::new().await;
    let mut answers = Answers::of(&fixture, "g");
    answers.come(OLD, 75).await;
    answers.come(["odd", "fp_a", "default"], 1).await;
    answers.come(OLD, 30).await;
    assert_eq!(fixture.control.incidents(), []);
    answers.come(NEW, 20).await;
    let opened = only(&fixture);
    assert_eq!(
        opened.what,
        "the model that answers for stable of support (openai/stable-model) was large-0805, and is large-1001"
    );
    assert_eq!(letters(&fixture).await, ["incident_opened"]);
    let fixture = fixture.restart().await;
    let mut answers = Answers::of(&fixture, "g2");
    answers.come(NEW, 100).await;
    assert_eq!(only(&fixture), opened, "also where what was known of names was lost with the process");
    assert_eq!(letters(&fixture).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_delta_in_no_order_hides_no_change() {
    let fixture = Fixture::new().await;
    fixture.clock.pass(SpanMs::secs(20));
    let now = fixture.control.now();
    let turns: Vec<Turn> = (0..160)
        .map(|i| {
            // a gateway gathers its turns in parts, which it reports one after the other
            let tenth = (i * 7) % 160;
            let named = if tenth < 80 { OLD } else { NEW };
            answered(named, now - SpanMs(16_000) + SpanMs(tenth * 100), tenth)
        })
        .collect();
    Answers::of(&fixture, "g").report(turns).await;
    assert_eq!(states(&fixture), [("model".to_owned(), Step::Opened)]);
}

#[tokio::test]
async fn what_goes_back_closes_it_and_what_goes_on_opens_the_next() {
    let fixture = Fixture::new().await;
    let mut answers = Answers::of(&fixture, "g");
    answers.come(OLD, 60).await;
    answers.come(NEW, 60).await;
    answers.come(["large-1101", "fp_a", "default"], 60).await;
    let overtaken = [("model".to_owned(), Step::Opened), ("model".to_owned(), Step::Closed)];
    assert_eq!(states(&fixture), overtaken);
    answers.come(NEW, 30).await;
    let all = fixture.control.incidents();
    assert!(all.iter().all(|incident| !incident.is_open()), "{all:?}");
    let notes: Vec<&str> = all.iter().map(|incident| incident.entries[1].note.as_str()).collect();
    assert_eq!(notes, ["it is large-1001 again", "it is large-1101 by now"]);
    assert_eq!(letters(&fixture).await.iter().filter(|event| *event == "incident_closed").count(), 2);
    answers.come(["large-1101", "fp_a", "default"], 60).await;
    answers.come(NEW, 60).await;
    assert_eq!(fixture.control.incidents().len(), 2, "to and fro is known by then");
}

#[tokio::test]
async fn a_mixed_fleet_opens_nothing_and_another_tier_that_lasts_does() {
    let fixture = Fixture::new().await;
    let mut answers = Answers::of(&fixture, "g");
    for _ in 0..300 {
        answers.come(["large", "fp_a", "priority"], 1).await;
        answers.come(["large", "fp_b", "priority"], 2).await;
    }
    answers.come(["large", "fp_c", "default"], 590).await;
    assert_eq!(fixture.control.incidents(), []);
    answers.come(["large", "fp_a", "default"], 20).await;
    let opened = only(&fixture);
    assert!(matches!(opened.cause, Cause::Name { kind: NameKind::Tier, .. }), "the machine came back: {opened:?}");
}

#[tokio::test]
async fn an_incident_is_acknowledged_and_closed_by_people_once() {
    let fixture = Fixture::new().await;
    let mut answers = Answers::of(&fixture, "g");
    answers.come(OLD, 60).await;
    answers.come(NEW, 25).await;
    let id = only(&fixture).id;
    let control = &fixture.control;
    let known = control.acknowledge_incident(&id, &alice(), "looking").await.unwrap();
    assert_eq!((known.state(), known.entries[1].note.as_str()), (Step::Acknowledged, "looking"));
    let again = control.acknowledge_incident(&id, &bob(), "").await;
    assert!(matches!(again, Err(ControlError::NotTaken(_))), "{again:?}");
    control.close_incident(&id, &bob(), "fine").await.unwrap();
    assert!(matches!(control.close_incident(&id, &bob(), "").await, Err(ControlError::NotTaken(_))));
    let unknown = control.close_incident(&IncidentId::from("inc_0"), &bob(), "").await;
    assert!(matches!(unknown, Err(ControlError::UnknownIncident(_))), "{unknown:?}");
    answers.come(NEW, 100).await;
    assert!(!only(&fixture).is_open(), "what people took for good is not told again");
    answers.come(OLD, 30).await;
    assert_eq!(states(&fixture)[0], ("model".to_owned(), Step::Opened), "but that it goes back is news then");
}

#[tokio::test]
async fn a_silent_store_delays_an_incident_and_loses_none() {
    let fixture = Fixture::new().await;
    let mut answers = Answers::of(&fixture, "g");
    answers.come(OLD, 60).await;
    fixture.store.set_unavailable();
    answers.come(NEW, 25).await;
    assert_eq!(fixture.control.incidents(), []);
    fixture.store.set_available();
    answers.come(NEW, 2).await;
    assert_eq!(only(&fixture).state(), Step::Opened);
}

#[tokio::test]
async fn a_sentinel_that_stable_begins_to_fail_is_an_incident_until_it_passes_again() {
    let fixture = Fixture::watching(Some(suite())).await;
    pass(&fixture, 5).await;
    assert_eq!(fixture.prober.turns(), "SSS", "three at once to qualify");
    let state = || fixture.control.steady_sentinels(&route())[0].state;
    assert_eq!(state(), SteadyState::Passing);
    fixture.prober.set("stable-model", Some(Says::Away));
    pass(&fixture, 11 * 60).await;
    assert_eq!(fixture.control.incidents(), [], "trouble of the provider is unknown");
    fixture.prober.turns();
    fixture.prober.set("stable-model", Some(Says::Wrong));
    pass(&fixture, 2 * 60).await;
    assert_eq!(fixture.prober.turns(), "SSS", "three tries confirm it");
    let opened = only(&fixture);
    assert_eq!(
        opened.what,
        "sentinel refund fails on stable of support: 0/3 passed (icontains-all: `30 days` is not in the answer)"
    );
    assert_eq!((state(), letters(&fixture).await), (SteadyState::Failing, vec!["incident_opened".to_owned()]));
    pass(&fixture, 30 * 60).await;
    assert_eq!(only(&fixture), opened, "it goes on, and is one");

    fixture.clock.pass(SpanMs::minutes(1));
    fixture.control.tick().await;
    let fixture = fixture.restart().await;
    fixture.prober.set("stable-model", None);
    pass(&fixture, 15 * 60).await;
    assert_eq!(only(&fixture), opened, "not before as many rounds as qualify");
    pass(&fixture, 30 * 60).await;
    let over = only(&fixture);
    assert_eq!((over.state(), over.entries[1].by.as_str()), (Step::Closed, "coalmine"));
    assert_eq!(letters(&fixture).await, ["incident_closed"]);
}

#[tokio::test]
async fn what_qualified_on_steady_stable_is_known_to_the_next_release() {
    let fixture = Fixture::watching(Some(suite())).await;
    pass(&fixture, 30).await;
    fixture.prober.turns();
    let id = started(&fixture, vec![refund("refund", Criticality::Critical)], None).await;
    pass(&fixture, 6).await;
    assert_eq!(fixture.prober.turns(), "SCSC", "no round to qualify: before the start, and at the stage's start");
    assert!(matches!(fixture.control.release(&id).unwrap().state, State::Running { stage: 0, .. }));
    pass(&fixture, 10 * 60).await;
    let turns = fixture.prober.turns();
    assert_eq!(
        (turns.len(), turns.matches('S').count()),
        (3, 2),
        "the route's own go on beside the release's: {turns}"
    );
}

#[tokio::test]
async fn a_sentinel_that_fails_on_stable_is_a_drift_of_the_release_and_rolls_nobody_back() {
    let fixture = Fixture::watching(Some(suite())).await;
    pass(&fixture, 5).await;
    let id = fixture.started().await;
    let exposed = fixture.share_bp();
    fixture.prober.set("stable-model", Some(Says::Wrong));
    pass(&fixture, 12 * 60).await;
    let release = fixture.control.release(&id).unwrap();
    let [drift] = release.drifts.as_slice() else { panic!("one epoch: {:?}", release.drifts) };
    assert_eq!((drift.by.as_str(), &drift.what), ("sentinels", &only(&fixture).what));
    assert!(matches!(release.state, State::Running { stage: 0, .. }) && fixture.share_bp() == exposed);
    assert!(fixture.control.replay(&id).await.unwrap().differences.is_empty());
}

#[tokio::test]
async fn the_announced_end_of_a_model_is_one_incident_until_stable_asks_for_another() {
    let end = coalmine_wire::shutdowns::all()[0];
    let fixture = Fixture::new().await;
    let sales = RouteName::from("sales");
    fixture.control.seed_route(&sales, &version(end.model)).await.unwrap();
    let midnight = |days_before: u64| UnixMs((end.day - days_before) * 86_400_000);
    fixture.clock.advance_to(midnight(31));
    fixture.control.tick().await;
    assert_eq!(fixture.control.incidents(), []);
    fixture.clock.advance_to(midnight(30));
    fixture.control.tick().await;
    let opened = only(&fixture);
    assert!(opened.route == sales && opened.what.contains(end.date), "{}", opened.what);
    fixture.control.close_incident(&opened.id, &alice(), "planned").await.unwrap();
    fixture.clock.advance_to(midnight(0));
    fixture.control.tick().await;
    assert!(!only(&fixture).is_open(), "it is told once");
}

/// An answer of a release's canary under this name.
fn of_canary(fixture: &Fixture, id: &ReleaseId, model: &str, unit: u64) -> Turn {
    let now = fixture.control.now();
    let release = Arc::new(id.clone());
    let member = Membership { release, arm: Arm::Canary, stratum: Stratum(0), exposed_at: now };
    let canary = fixture.control.release(id).unwrap().canary;
    Turn { version: canary, member: Some(member), ..answered([model, "fp_a", "default"], now, unit) }
}

#[tokio::test]
async fn another_model_behind_the_canary_alone_is_one_incident_that_ends_with_it_or_with_the_release() {
    let fixture = Fixture::new().await;
    let id = fixture.started().await;
    let mut answers = Answers::of(&fixture, "g");
    let mut come = async |model: &str, seconds: u64| {
        for _ in 0..seconds {
            fixture.clock.pass(SpanMs::secs(1));
            let unit = answers.sequence;
            let stable = answered(OLD, fixture.control.now(), 1_000_000 + unit);
            answers.report(vec![stable, of_canary(&fixture, &id, model, unit)]).await;
        }
    };
    come("small-1", 75).await;
    assert_eq!(fixture.control.incidents(), []);
    come("small-2", 30).await;
    let opened = only(&fixture);
    let what =
        format!("the model that answers for the canary of {id} (openai/canary-model) was small-1, and is small-2");
    assert_eq!((opened.what.as_str(), opened.cause.word()), (what.as_str(), "canary_model"));
    assert_eq!(letters(&fixture).await.iter().filter(|event| *event == "incident_opened").count(), 1);
    let release = fixture.control.release(&id).unwrap();
    assert_eq!(release.drifts.len(), 1, "and it is a drift of the release");
    assert!(matches!(release.state, State::Running { .. }), "which moves nothing");
    come("small-2", 100).await;
    assert_eq!(only(&fixture), opened, "it is told once");
    come("small-1", 30).await;
    let over = only(&fixture);
    assert_eq!((over.state(), over.entries[1].note.as_str()), (Step::Closed, "it is small-1 again"));
    come("small-3", 30).await;
    assert_eq!(states(&fixture)[0], ("canary_model".to_owned(), Step::Opened), "a third is news");
    fixture.control.command(&id, rollback("enough"), alice(), None).await.unwrap();
    for _ in 0..5 {
        fixture.clock.pass(SpanMs::secs(1));
        fixture.control.tick().await;
    }
    assert!(fixture.control.incidents().iter().all(|incident| !incident.is_open()), "it is over with the release");
    let last = &fixture.control.incidents()[0];
    assert_eq!(last.entries[1].note, format!("release {id} is over"));
}
