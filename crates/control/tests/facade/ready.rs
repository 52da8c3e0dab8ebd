//! Upstreams are made ready before more is given to the canary, and nobody else is told of it.

use crate::fixture::{Fixture, alice};
use coalmine_control::ports::{Raise, RaisedTo, Readier};
use coalmine_core::analysis::Readiness;
use coalmine_core::release::event::Command;
use coalmine_core::release::report::Waiting;
use coalmine_core::release::state::State;
use coalmine_core::time::SpanMs;
use coalmine_core::version::Version;
use std::sync::Mutex;

/// Upstreams that are as ready as they are told to be.
#[derive(Debug, Default)]
pub(crate) struct Told {
    says: Mutex<Option<Readiness>>,
    asked: Mutex<Vec<Raise>>,
}

impl Told {
    fn say(&self, readiness: Readiness) {
        *self.says.lock().unwrap() = Some(readiness);
    }

    fn asked(&self) -> Vec<Raise> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

impl Readier for Told {
    fn prepares(&self, version: &Version) -> bool {
        version.model == "canary-model" && self.says.lock().unwrap().is_some()
    }

    fn readiness(&self, raise: &Raise) -> Readiness {
        self.asked.lock().unwrap().push(raise.clone());
        self.says.lock().unwrap().clone().unwrap_or_default()
    }
}

fn holds(why: &str) -> Readiness {
    Readiness { holds: vec![why.to_owned()], notes: Vec::new() }
}

async fn look(fixture: &Fixture) {
    fixture.clock.pass(SpanMs::secs(1));
    fixture.control.tick().await;
}

#[tokio::test]
async fn nobody_is_exposed_before_the_upstreams_are_ready() {
    let fixture = Fixture::new().await;
    fixture.readier.say(holds("own is being warmed up"));
    let id = fixture.created("canary-model").await;
    let outcome = fixture.control.command(&id, Command::Start, alice(), None).await.unwrap();
    assert_eq!(outcome.release.state, State::Preflight);
    assert!(outcome.report.headline.contains("upstreams are made ready"), "{}", outcome.report.headline);
    for _ in 0..3 {
        look(&fixture).await;
        assert_eq!(fixture.share_bp(), 0);
    }
    let explained = fixture.control.explain(&id).await.unwrap();
    let why = "own is being warmed up".to_owned();
    assert_eq!(explained.report.waiting_for, [Waiting::Upstreams { why }]);
    let asked = fixture.readier.asked();
    assert_eq!((asked.len(), asked[0].to, asked[0].growth), (3, RaisedTo::Stage(0), Some(1.0)));
    assert_eq!(asked[0].version.model, "canary-model");

    fixture.readier.say(Readiness { notes: vec!["own did not get warm".to_owned()], holds: Vec::new() });
    look(&fixture).await;
    assert_eq!(fixture.share_bp(), 500);
    let journal = fixture.control.journal(&id).await.unwrap();
    let begun = journal.last().unwrap();
    assert_eq!(begun.report.warnings, ["own did not get warm"]);
    let replayed = fixture.control.replay(&id).await.unwrap();
    assert_eq!((replayed.rows, replayed.differences), (2, Vec::new()), "the record alone gives the same decisions");
}

#[tokio::test]
async fn a_person_may_start_what_waits_for_its_upstreams() {
    let fixture = Fixture::new().await;
    fixture.readier.say(holds("own did not get warm"));
    let id = fixture.created("canary-model").await;
    fixture.control.command(&id, Command::Start, alice(), None).await.unwrap();
    look(&fixture).await;
    let by_hand = fixture.control.command(&id, Command::Start, alice(), None).await.unwrap();
    assert!(matches!(by_hand.release.state, State::Running { stage: 0, .. }));
    assert_eq!(by_hand.report.warnings, ["started by hand without waiting for the canary's upstreams"]);
}

#[tokio::test]
async fn where_nothing_is_to_be_made_ready_a_start_exposes_at_once() {
    let fixture = Fixture::new().await;
    let id = fixture.created("canary-model").await;
    let outcome = fixture.control.command(&id, Command::Start, alice(), None).await.unwrap();
    assert!(matches!(outcome.release.state, State::Running { stage: 0, .. }));
    assert!(fixture.readier.asked().is_empty(), "a command asks nobody");
}
