//! Which answers are handed on to be captured: of drawn sessions, whole ones, by whoever answered in its own right.

use crate::support::*;
use coalmine_core::capture::{SteadySample, is_drawn};
use coalmine_core::id::{ReleaseId, UnitKey};
use coalmine_core::judge::{PairSample, Sample};
use coalmine_core::traffic::pin::{Arm, Membership};
use coalmine_core::traffic::weight::WeightBp;
use coalmine_gateway::config::{Config, RouteSettings};
use coalmine_gateway::ports::{SampleSink, Wanted};
use std::sync::{Arc, Mutex};

/// What was handed on.
#[derive(Debug, Default)]
struct Heard {
    compared: Mutex<Vec<(Sample, Wanted)>>,
    steady: Mutex<Vec<SteadySample>>,
}

impl SampleSink for Heard {
    fn offer(&self, sample: Sample, wanted: Wanted) {
        self.compared.lock().unwrap().push((sample, wanted));
    }

    fn lost(&self, unit: UnitKey, _member: &Membership, _wanted: Wanted) {
        panic!("{unit:?}");
    }

    fn offer_steady(&self, sample: SteadySample) {
        self.steady.lock().unwrap().push(sample);
    }

    fn lost_steady(&self) {
        panic!("there is room");
    }

    fn offer_pair(&self, pair: PairSample) {
        panic!("there is no shadow: {pair:?}");
    }

    fn lost_pair(&self, _release: &ReleaseId, unit: UnitKey) {
        panic!("{unit:?}");
    }
}

fn half(config: &mut Config) {
    let capture = WeightBp::new(5_000).unwrap();
    config.routes.insert("support".into(), RouteSettings { capture, ..RouteSettings::default() });
}

async fn heard(world: &World) -> Arc<Heard> {
    let heard = Arc::new(Heard::default());
    world.gateway.sample_to(heard.clone());
    heard
}

#[tokio::test]
async fn without_a_release_the_answers_of_drawn_sessions_are_stables() {
    let world = World::with(vec![ok("a zebra")], vec![], half).await;
    world.gateway.install(&tables(route(1, None))).await.unwrap();
    let heard = heard(&world).await;
    for session in 0..20 {
        world.chat(&format!("s-{session}"), ASK).await;
    }
    let turns = world.turns(20).await;
    let is_drawn = |unit: UnitKey| is_drawn(WeightBp::new(5_000).unwrap(), &"support".into(), unit);
    let drawn = turns.iter().filter(|turn| turn.unit.is_some_and(is_drawn)).count();
    assert!((2..=18).contains(&drawn), "{drawn}");
    soon("the answers", async {
        while heard.steady.lock().unwrap().len() < drawn {
            tokio::task::yield_now().await;
        }
    })
    .await;
    for sample in heard.steady.lock().unwrap().iter() {
        assert!(is_drawn(sample.unit) && sample.route.as_str() == "support");
        assert_eq!((sample.version, sample.answer.as_str()), (route(1, None).stable, "a zebra"));
        assert!(sample.request_id.is_some() && sample.conversation.contains("hello"), "{}", sample.conversation);
        assert!(!format!("{sample:?}").contains("zebra"), "no text is shown by accident");
    }
    assert!(heard.compared.lock().unwrap().is_empty());
}

#[tokio::test]
async fn in_a_release_they_are_its_arms_and_an_answer_that_failed_is_none() {
    let all = |config: &mut Config| {
        let settings = RouteSettings { capture: WeightBp::FULL, ..RouteSettings::default() };
        config.routes.insert("support".into(), settings);
    };
    let world = World::with(vec![error(500, ""), ok("whole")], vec![ok("from canary")], all).await;
    let heard = heard(&world).await;
    world.gateway.install(&tables(route(1, None))).await.unwrap();
    world.chat("s-0", ASK).await;
    world.chat("s-0", ASK).await;
    world.turns(2).await;
    world.gateway.install(&tables(route(2, Some(10_000)))).await.unwrap();
    world.chat("s-1", ASK).await;
    soon("the answers", async {
        while heard.compared.lock().unwrap().is_empty() || heard.steady.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let steady: Vec<String> = heard.steady.lock().unwrap().iter().map(|sample| sample.answer.clone()).collect();
    assert_eq!(steady, ["whole"]);
    let compared = heard.compared.lock().unwrap();
    let [(sample, wanted)] = compared.as_slice() else { panic!("{compared:?}") };
    assert_eq!((sample.member.arm, sample.answer.as_str(), *wanted), (Arm::Canary, "from canary", Wanted::ToCapture));
}
