//! Upstreams are made ready before more is given to the canary, and nobody else is told of it.

use crate::fixture::{Fixture, alice, rollback};
use coalmine_control::ports::{Raise, RaisedTo, Readier};
use coalmine_control::{ControlError, Haste};
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

fn advance() -> Command {
    Command::Advance { reason: "as agreed".to_owned() }
}

#[tokio::test]
async fn a_step_by_hand_waits_at_the_door_and_is_told_meanwhile() {
    let fixture = Fixture::new().await;
    let id = fixture.started().await;
    fixture.readier.say(holds("own is being warmed up"));
    let ask = || fixture.control.command(&id, advance(), alice(), None);
    let refused = ask().await.unwrap_err();
    assert!(matches!(&refused, ControlError::NotReady { verb: "advance", .. }), "{refused}");
    assert!(refused.to_string().contains("own is being warmed up"), "{refused}");
    assert_eq!(fixture.readier.asked()[0].to, RaisedTo::Stage(1));
    look(&fixture).await;
    let told = fixture.control.explain(&id).await.unwrap().report.warnings;
    assert_eq!(told, ["alice asked to advance, which waits for the canary's upstreams (own is being warmed up)"]);
    assert_eq!(fixture.share_bp(), 500, "nothing has moved");
    let before = fixture.control.journal(&id).await.unwrap().len();

    fixture.readier.say(Readiness { notes: vec!["own did not get warm".to_owned()], holds: Vec::new() });
    let done = ask().await.unwrap();
    assert!(matches!(done.release.state, State::Running { stage: 1, .. }));
    let journal = fixture.control.journal(&id).await.unwrap();
    assert_eq!(
        (journal.len(), &journal[before].report.warnings[..]),
        (before + 1, &["own did not get warm".to_owned()][..])
    );
    look(&fixture).await;
    assert!(fixture.control.explain(&id).await.unwrap().report.warnings.is_empty(), "it is done");
    assert!(fixture.control.replay(&id).await.unwrap().differences.is_empty());
}

#[tokio::test]
async fn a_step_by_hand_may_wait_for_nothing_and_the_journal_says_so() {
    let fixture = Fixture::new().await;
    let id = fixture.started().await;
    fixture.readier.say(holds("own has no room"));
    let done = fixture.control.command_in(Haste::Now, &id, advance(), alice(), None).await.unwrap();
    assert!(matches!(done.release.state, State::Running { stage: 1, .. }));
    let journal = fixture.control.journal(&id).await.unwrap();
    let why = "done by hand without waiting for the canary's upstreams (own has no room)";
    assert_eq!(journal.last().unwrap().report.warnings, [why]);
}

#[tokio::test]
async fn a_wish_that_nobody_repeats_is_given_up_and_what_lowers_never_waits() {
    let fixture = Fixture::new().await;
    let id = fixture.started().await;
    fixture.readier.say(holds("own is full"));
    let promote = Command::Promote { reason: "now".to_owned() };
    let refused = fixture.control.command(&id, promote, alice(), None).await.unwrap_err();
    assert!(matches!(refused, ControlError::NotReady { verb: "promote", .. }), "{refused}");
    let stages = fixture.control.release(&id).unwrap().plan.stages.len();
    assert_eq!(fixture.readier.asked()[0].to, RaisedTo::More(stages));
    fixture.clock.pass(SpanMs::secs(16));
    look(&fixture).await;
    let told = fixture.control.explain(&id).await.unwrap().report.warnings;
    assert!(!told.iter().any(|told| told.contains("promote")), "{told:?}");
    for command in [Command::Pause, Command::Resume, rollback("enough")] {
        fixture.control.command(&id, command, alice(), None).await.unwrap();
    }
}
