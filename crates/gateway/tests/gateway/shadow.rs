//! The shadow: a canary that answers nobody, whatever it does.

use crate::support::*;
use coalmine_core::capture::{SteadySample, is_drawn};
use coalmine_core::id::{ReleaseId, UnitKey};
use coalmine_core::judge::{PairSample, Sample};
use coalmine_core::release::policy::Role;
use coalmine_core::shadow::Shadow;
use coalmine_core::shadow::pair::{Lost, Pair};
use coalmine_core::shadow::preferences::Preferring;
use coalmine_core::tally::{Cause, Ending};
use coalmine_core::time::SpanMs;
use coalmine_core::traffic::pin::Membership;
use coalmine_core::traffic::table::{RouteTable, Shadowed};
use coalmine_core::traffic::weight::{Salt, WeightBp};
use coalmine_core::version::{JsonText, Prompt, PromptMode, Version};
use coalmine_gateway::config::{Credential, RouteSettings, Secret};
use coalmine_gateway::ports::{SampleSink, Wanted};
use coalmine_wire::prices::{Price, Rate};
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;

pub fn shadow() -> Shadow {
    Shadow {
        share: WeightBp::FULL,
        length: SpanMs::hours(2),
        min_sessions: 1,
        in_flight: 4,
        usd_per_day: 1.0,
        preferences: Vec::new(),
        similarity: None,
    }
}

/// Stable alone is served; the canary, which brings its own prompt, is in its shadow.
pub fn shadowed(shadow: Shadow) -> RouteTable {
    let prompt = Prompt::new(PromptMode::Replace, "You are the canary.");
    let canary = Version { prompt: Some(prompt), ..version("two", "model-c") };
    let mut table = route(1, None);
    let (id, salt) = (Arc::new(ReleaseId::from("support-1")), Salt([3; 32]));
    table.shadow = Some(Shadowed { id, canary: canary.id(), salt, shadow });
    table.versions.insert(canary.id(), Arc::new(canary));
    table
}

async fn world(stable: Vec<Vec<Step>>, canary: Vec<Vec<Step>>, shadow: Shadow) -> World {
    let world = World::new(stable, canary).await;
    world.gateway.install(&tables(shadowed(shadow))).await.unwrap();
    world
}

impl World {
    /// What was mirrored, once there are so many pairs.
    pub async fn pairs(&self, count: usize) -> Vec<Pair> {
        soon("the pairs", async {
            loop {
                let (pairs, _) = self.mirrored();
                if pairs.len() >= count {
                    return pairs;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }

    /// What was not, once there are so many.
    pub async fn lost(&self, count: u64) -> Lost {
        soon("the losses", async {
            loop {
                let (_, lost) = self.mirrored();
                if lost.sum() >= count {
                    return lost;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }

    fn mirrored(&self) -> (Vec<Pair>, Lost) {
        let (mut pairs, mut lost) = (Vec::new(), Lost::default());
        for mirrored in self.sink.deltas.lock().unwrap().iter().flat_map(|delta| &delta.mirrored) {
            assert_eq!(mirrored.release.as_str(), "support-1");
            pairs.extend(mirrored.pairs.iter().cloned());
            lost.add(mirrored.lost);
        }
        (pairs, lost)
    }
}

/// The client gets stable's bytes; the canary gets the whole body as its own version makes it, with its own key, and
/// what it says goes nowhere but into the pair.
#[tokio::test]
async fn a_copy_is_put_to_the_canary_and_its_answer_thrown_away() {
    let world = world(vec![ok("from stable")], vec![error(500, "")], shadow()).await;
    let body = r#"{"model":"support","messages":[{"role":"user","content":"hello"},{"role":"assistant","content":"so"},{"role":"user","content":"again"}],"seed":7}"#;
    let request = world.request(
        "/v1/chat/completions",
        &[("x-session-id", "s-1"), ("idempotency-key", "once"), ("x-own", "kept")],
        body,
    );
    let answer = Answer::of(world.send(request).await).await;
    assert_eq!((answer.status, answer.text()), (200, completion("from stable")));
    assert_eq!((answer.header("x-coalmine-arm"), answer.header("x-coalmine-release")), ("stable", ""));

    let pair = &world.pairs(1).await[0];
    assert_eq!((pair.stable.ending, pair.stable.status), (Ending::Complete, 200));
    assert_eq!((pair.canary.ending, pair.canary.status), (Ending::Failed(Cause::Server), 500));
    assert_eq!((pair.stable.usage.output, pair.canary.usage.output), (Some(5), None));

    let (served, copy) = (&world.stable.received()[0], &world.canary.received()[0]);
    assert_eq!(served.header("idempotency-key"), Some("once"));
    assert_eq!((copy.header("idempotency-key"), copy.header("x-own")), (None, Some("kept")));
    assert_eq!(copy.header("authorization"), Some("Bearer key-two"));
    let said = copy.json();
    assert_eq!((said["model"].as_str(), said["seed"].as_u64()), (Some("model-c"), Some(7)));
    let said: Vec<&str> = said["messages"].as_array().unwrap().iter().map(|m| m["content"].as_str().unwrap()).collect();
    assert_eq!(said, ["You are the canary.", "hello", "so", "again"], "stable's history, under the canary's prompt");

    // Served evidence knows nothing of it: one turn, of stable, outside of any release, and a pin to stable.
    let turns = world.turns(1).await;
    assert_eq!(turns.len(), 1);
    assert_eq!((turns[0].version, turns[0].member.clone()), (version("one", "model-s").id(), None));
    let pinned: Vec<_> = world.log.records.lock().unwrap().iter().map(|record| format!("{record:?}")).collect();
    assert!(pinned.iter().all(|record| !record.contains(&version("two", "model-c").id().to_string())), "{pinned:?}");
    for line in [
        r#"coalmine_shadow_mirrored_total{route="support"} 1"#,
        r#"coalmine_shadow_compared_total{route="support"} 1"#,
        r#"coalmine_shadow_lost_total{route="support",why="busy"} 0"#,
        "coalmine_shadow_under_way 0",
    ] {
        assert!(world.metric(line), "{line}");
    }
    let metrics = world.gateway.render_metrics(coalmine_gateway::Exposition::Text);
    assert!(!metrics.contains(r#"ending="failed_server""#), "the copy is in no version's count: {metrics}");
}

/// Hanging before its head, hanging within its stream, or not there at all: the client's bytes and their pace are
/// stable's own, and no more copies are under way than may be.
#[tokio::test]
async fn a_canary_that_hangs_touches_nobody() {
    let never = Arc::new(Notify::new());
    let hang = vec![write(STREAM_HEAD), write(chunk(role())), Step::Wait(never.clone())];
    let two = Shadow { in_flight: 2, ..shadow() };
    let world = world(vec![streamed(&["a", "b"])], vec![vec![Step::Wait(never.clone())], hang], two).await;
    for session in 0..6 {
        let answer = world.chat(&format!("s-{session}"), ASK_STREAM).await;
        let whole = [role(), delta("a"), delta("b"), finish(), done()].concat();
        assert_eq!((answer.status, answer.text()), (200, whole));
    }
    let lost = world.lost(4).await;
    assert_eq!(lost, Lost { busy: 4, ..Lost::default() });
    soon("both copies", async {
        while world.canary.count() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(world.metric(r#"coalmine_shadow_lost_total{route="support",why="busy"} 4"#));
    assert!(world.metric("coalmine_shadow_under_way 2"));
    assert_eq!(world.gateway.active(), 0, "nobody waits for a copy, a drain neither");
    assert_eq!(world.turns(6).await.len(), 6);
    assert!(world.mirrored().0.is_empty());
}

#[tokio::test]
async fn a_canary_that_is_down_fails_its_copies_alone() {
    let world = World::with(vec![ok("from stable")], vec![], |config| {
        let nobody = config.providers.get_mut(&"two".into()).unwrap();
        nobody.upstreams[0].url = "http://127.0.0.1:9/v1".to_owned();
    })
    .await;
    world.gateway.install(&tables(shadowed(shadow()))).await.unwrap();
    for session in 0..3 {
        assert_eq!(world.chat(&format!("s-{session}"), ASK).await.text(), completion("from stable"));
    }
    let pairs = world.pairs(3).await;
    assert!(pairs.iter().all(|pair| pair.canary.ending == Ending::Failed(Cause::Connect)), "{pairs:?}");
    assert!(pairs.iter().all(|pair| pair.stable.ending == Ending::Complete));
}

/// A copy that would act, or spend what is the client's, is not made.
#[tokio::test]
async fn what_would_act_is_not_copied() {
    let world = world(vec![ok("from stable")], vec![ok("from canary")], shadow()).await;
    let chat = r#""messages":[{"role":"user","content":"hello"}]"#;
    for (nth, acting) in [
        r#""web_search_options":{"search_context_size":"low"}"#,
        r#""tools":[{"type":"mcp","server_url":"https://x"}]"#,
    ]
    .iter()
    .enumerate()
    {
        let answer = world.chat(&format!("s-{nth}"), &format!(r#"{{"model":"support",{chat},{acting}}}"#)).await;
        assert_eq!(answer.text(), completion("from stable"));
    }
    assert_eq!(world.lost(2).await, Lost { unfit: 2, ..Lost::default() });
    let function = r#""tools":[{"type":"function","function":{"name":"f","parameters":{}}}]"#;
    world.chat("s-3", &format!(r#"{{"model":"support",{chat},{function}}}"#)).await;
    assert_eq!(world.pairs(1).await.len(), 1);
    assert_eq!(world.canary.count(), 1);

    let own_key = World::with(vec![ok("from stable")], vec![ok("from canary")], |config| {
        config.providers.get_mut(&"two".into()).unwrap().credential = Credential::Client;
    })
    .await;
    own_key.gateway.install(&tables(shadowed(shadow()))).await.unwrap();
    own_key.chat("s-1", ASK).await;
    assert_eq!((own_key.lost(1).await.unfit, own_key.canary.count()), (1, 0));
}

/// The copies of a day cost no more than they may, but for those that are under way.
#[tokio::test]
async fn copies_end_with_the_days_money() {
    let world = World::with(vec![ok("from stable")], vec![ok("from canary")], |config| {
        let output_usd = 100_000.0; // half a dollar for five tokens
        let rate = Rate { input_usd: 0.0, output_usd, ..Rate::default() };
        config.prices = config.prices.clone().with("model-c", Price { rate, long: None });
        config.providers.get_mut(&"one".into()).unwrap().credential = Credential::Bearer(Secret::new("k"));
    })
    .await;
    world.gateway.install(&tables(shadowed(shadow()))).await.unwrap();
    for done in 1..=2 {
        world.chat(&format!("s-{done}"), ASK).await;
        assert_eq!(world.pairs(done).await[done - 1].canary.cost_usd, Some(0.5));
    }
    world.chat("s-3", ASK).await;
    assert_eq!(world.lost(1).await, Lost { budget: 1, ..Lost::default() });
    assert_eq!((world.stable.count(), world.canary.count()), (3, 2));
}

/// Drawn by session: all requests of one, or none; and a client that leaves makes a pair of which nothing is read.
#[tokio::test]
async fn whole_sessions_are_drawn_and_a_client_that_leaves_says_nothing() {
    let half = Shadow { share: WeightBp::new(5_000).unwrap(), in_flight: 64, ..shadow() };
    let table = shadowed(half.clone());
    let drawn_of = table.shadow.clone().unwrap();
    let world = world(vec![ok("from stable")], vec![ok("from canary")], half).await;
    for session in 0..20 {
        for _ in 0..2 {
            world.chat(&format!("s-{session}"), ASK).await;
        }
    }
    let turns = world.turns(40).await;
    let expected = turns.iter().filter(|turn| drawn_of.includes(turn.unit.unwrap())).count();
    assert!((4..=36).contains(&expected) && expected % 2 == 0, "{expected}");
    assert_eq!(world.pairs(expected).await.len(), expected);
    assert_eq!(world.canary.count(), expected);

    let never = Arc::new(Notify::new());
    let left = self::world(vec![vec![Step::Wait(never)]], vec![ok("from canary")], shadow()).await;
    let request = left.request("/v1/chat/completions", &[("x-session-id", "s-1")], ASK);
    let client = left.client.clone();
    let asking = tokio::spawn(async move { client.request(request).await });
    soon("the request", left.stable.arrived.notified()).await;
    asking.abort();
    let pair = left.pairs(1).await.remove(0);
    assert!(pair.is_void(), "{:?}", pair.stable.ending);
}

/// What a version sets itself counts as much as what the client sends.
#[tokio::test]
async fn a_version_that_has_its_provider_act_is_not_copied_to() {
    let world = World::new(vec![ok("from stable")], vec![ok("from canary")]).await;
    let mut table = shadowed(shadow());
    let acting = Version {
        params: [("web_search_options".to_owned(), JsonText("{}".to_owned()))].into(),
        ..version("two", "model-c")
    };
    table.shadow.as_mut().unwrap().canary = acting.id();
    table.versions.insert(acting.id(), Arc::new(acting));
    world.gateway.install(&tables(table)).await.unwrap();
    world.chat("s-1", ASK).await;
    assert_eq!((world.lost(1).await.unfit, world.canary.count()), (1, 0));
}

/// Whoever judges, and what was handed over.
#[derive(Debug, Default)]
pub struct Reader {
    pub pairs: Mutex<Vec<PairSample>>,
}

impl SampleSink for Reader {
    fn offer(&self, sample: Sample, _wanted: Wanted) {
        panic!("nobody is exposed: {sample:?}");
    }

    fn lost(&self, unit: UnitKey, _member: &Membership, _wanted: Wanted) {
        panic!("{unit:?}");
    }

    fn offer_steady(&self, sample: SteadySample) {
        panic!("nothing is captured: {sample:?}");
    }

    fn lost_steady(&self) {
        panic!("nothing is captured");
    }

    fn offer_pair(&self, pair: PairSample) {
        self.pairs.lock().unwrap().push(pair);
    }

    fn lost_pair(&self, _release: &ReleaseId, unit: UnitKey) {
        panic!("{unit:?}");
    }
}

/// Both answers go to whoever reads them, of the sessions that are drawn for it and where both are whole; what is
/// reported has no word of them.
#[tokio::test]
async fn both_answers_go_to_the_judge_of_a_drawn_session() {
    let preferring = |sample| Preferring {
        judge: "better".to_owned(),
        role: Role::Guardrail,
        margin: 0.1,
        weight: 1.0,
        sample: WeightBp::new(sample).unwrap(),
    };
    let read = Shadow { in_flight: 64, preferences: vec![preferring(5_000)], ..shadow() };
    let drawn_of = shadowed(read.clone()).shadow.unwrap();
    // How an answer begins is reported; these say more.
    let said = |whose| format!("so many words stand at the beginning of an answer and then comes the zebra of {whose}");
    let (stable, canary) = (said("stable"), said("canary"));
    let world = world(vec![ok(&stable)], vec![ok(&canary)], read).await;
    let reader = Arc::new(Reader::default());
    world.gateway.sample_to(reader.clone());
    for session in 0..20 {
        world.chat(&format!("s-{session}"), ASK).await;
    }
    let pairs = world.pairs(20).await;
    let drawn: Vec<_> = pairs.iter().filter(|pair| drawn_of.is_judged(pair.unit)).collect();
    assert!((2..=18).contains(&drawn.len()), "{}", drawn.len());
    soon("the texts", async {
        while reader.pairs.lock().unwrap().len() < drawn.len() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    for sample in reader.pairs.lock().unwrap().iter() {
        assert!(drawn_of.is_judged(sample.unit) && *sample.release == *drawn_of.id);
        assert_eq!((&sample.stable, &sample.canary), (&stable, &canary));
        assert!(sample.conversation.starts_with(r#"[{"said":""#), "{}", sample.conversation);
        assert!(!format!("{sample:?}").contains("zebra"));
    }
    let reported = format!("{:?}", world.sink.deltas.lock().unwrap());
    assert!(!reported.contains("zebra"), "{reported}");
}

/// Where a route captures, the drawn sessions' pairs are handed over though no judge reads them.
#[tokio::test]
async fn both_answers_of_a_captured_session_are_handed_over() {
    let world = World::with(vec![ok("from stable")], vec![ok("from the canary")], |config| {
        let settings = RouteSettings { capture: WeightBp::new(5_000).unwrap(), ..RouteSettings::default() };
        config.routes.insert("support".into(), settings);
    })
    .await;
    world.gateway.install(&tables(shadowed(Shadow { in_flight: 64, ..shadow() }))).await.unwrap();
    let reader = Arc::new(Reader::default());
    world.gateway.sample_to(reader.clone());
    for session in 0..20 {
        world.chat(&format!("s-{session}"), ASK).await;
    }
    let share = WeightBp::new(5_000).unwrap();
    let drawn = world.pairs(20).await.iter().filter(|pair| is_drawn(share, &"support".into(), pair.unit)).count();
    assert!((2..=18).contains(&drawn), "{drawn}");
    soon("the texts", async {
        while reader.pairs.lock().unwrap().len() < drawn {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let pairs = reader.pairs.lock().unwrap();
    assert!(pairs.iter().all(|pair| is_drawn(share, &"support".into(), pair.unit) && pair.canary == "from the canary"));
}

/// An answer that failed is no answer to read.
#[tokio::test]
async fn a_failed_copy_goes_to_no_judge() {
    let preferring = Preferring {
        judge: "better".to_owned(),
        role: Role::Guardrail,
        margin: 0.1,
        weight: 1.0,
        sample: WeightBp::FULL,
    };
    let read = Shadow { preferences: vec![preferring], ..shadow() };
    let world = world(vec![ok("from stable")], vec![error(500, "")], read).await;
    let reader = Arc::new(Reader::default());
    world.gateway.sample_to(reader.clone());
    world.chat("s-1", ASK).await;
    assert_eq!(world.pairs(1).await.len(), 1);
    assert!(reader.pairs.lock().unwrap().is_empty());
}
