//! The split as whoever asks over a socket sees it: S1 to S3, S5, S6, S8 and S10, on the surfaces of turns, by the header that
//! tells the arm and by who really answered. S4 and S9 are decided before a gateway is told of anything: `outside split` asks
//! the binary.

use crate::messages;
use crate::support::*;
use crate::surfaces;
use coalmine_core::cohort::Cohort;
use coalmine_core::id::UnitKey;
use coalmine_core::traffic::pin::Stratum;
use coalmine_core::traffic::table::{Exposure, RouteTable};
use coalmine_core::traffic::weight::{Salt, Slot, WeightBp};
use coalmine_core::version::{Prompt, PromptMode, Version};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Where a turn is asked for, and how.
type Surface = (&'static str, &'static str);

const CHAT: Surface = ("/v1/chat/completions", ASK);
const SURFACES: [Surface; 4] = [
    CHAT,
    ("/v1/chat/completions", ASK_STREAM),
    ("/v1/messages", messages::ASK),
    ("/v1/responses", r#"{"model":"support","input":"Hi"}"#),
];

/// As it is asked: on which surface, streamed or not.
fn answer(asked: &Received, text: &str) -> Vec<Step> {
    match asked.head.split(' ').nth(1) {
        Some("/v1/responses") => surfaces::response("resp_1", text),
        _ if asked.json()["stream"] == true => streamed(&[text]),
        _ => ok(text),
    }
}

/// A gateway that finds what an earlier one wrote into `log`.
async fn over(log: Arc<Log>) -> World {
    let world = World::over(log, vec![], vec![], |_| {}).await;
    *world.stable.by.lock().unwrap() = Some(|asked| answer(asked, "from stable"));
    *world.canary.by.lock().unwrap() = Some(|asked| answer(asked, "from canary"));
    world
}

async fn world() -> World {
    over(Arc::default()).await
}

/// What a session is told of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    arm: String,
    unit: UnitKey,
}

impl Told {
    fn of(answer: &Answer) -> Self {
        assert_eq!(answer.status, 200, "{}", answer.text());
        let arm = answer.header("x-coalmine-arm").to_owned();
        let by = if arm == "canary" { "from canary" } else { "from stable" };
        assert!(answer.text().contains(by), "{arm} is who answers: {}", answer.text());
        let unit = UnitKey(u128::from_str_radix(answer.header("x-coalmine-session"), 16).unwrap());
        Self { arm, unit }
    }
}

async fn ask(world: &World, (path, body): Surface, session: &str) -> Told {
    let request = world.request(path, &[("x-session-id", session)], body);
    Told::of(&Answer::of(world.send(request).await).await)
}

/// The release at these weights, one for each of its strata.
fn split(generation: u64, weights: &[u16], salt: Salt) -> RouteTable {
    let mut table = route(generation, Some(0));
    let release = table.release.as_mut().unwrap();
    release.salt = salt;
    let exposure = |(index, bp): (u16, &u16)| Exposure {
        stratum: Stratum(index),
        cohort: Cohort::All,
        weight: WeightBp::new(*bp).unwrap(),
    };
    release.exposures = (0..).zip(weights).map(exposure).collect();
    table
}

/// A salt under which a unit stands at this place of ten thousand.
fn salt(unit: UnitKey, place: u16) -> Salt {
    let mut salts = (0_u64..).map(|number| {
        let mut salt = [0; 32];
        salt[..8].copy_from_slice(&number.to_le_bytes());
        Salt(salt)
    });
    salts.find(|salt| Slot::of(salt, unit).place() == place).unwrap()
}

/// The unit of a session, from a gateway that is asked for nothing else.
async fn unit(session: &str) -> UnitKey {
    let world = world().await;
    world.release(0).await;
    ask(&world, CHAT, session).await.unit
}

/// One slot of ten thousand is one: whoever stands there is the canary's at the smallest weight, and his neighbour is not.
#[tokio::test]
async fn s1_the_smallest_weight_is_somebody_on_every_surface() {
    let world = world().await;
    let mut generation = 0;
    for (number, surface) in SURFACES.into_iter().enumerate() {
        for (weight, place, arm) in
            [(1, 0, "canary"), (1, 1, "control"), (9_999, 9_998, "canary"), (9_999, 9_999, "control")]
        {
            generation += 1;
            let session = format!("s1-{number}-{place}");
            let unit = unit(&session).await;
            world.gateway.install(&tables(split(generation, &[weight], salt(unit, place)))).await.unwrap();
            let told = ask(&world, surface, &session).await;
            assert_eq!(told, Told { arm: arm.to_owned(), unit }, "{surface:?} {weight} {place}");
        }
    }
    assert_eq!(world.canary.count(), 2 * SURFACES.len());
}

/// Not even the first of all slots is below a weight of zero.
#[tokio::test]
async fn s2_a_weight_of_zero_is_nobody_on_any_surface() {
    let world = world().await;
    for (number, surface) in SURFACES.into_iter().enumerate() {
        let session = format!("s2-{number}");
        let first = salt(unit(&session).await, 0);
        world.gateway.install(&tables(split(number as u64 + 1, &[0], first))).await.unwrap();
        assert_eq!(ask(&world, surface, &session).await.arm, "control");
        for other in 0..50 {
            assert_eq!(ask(&world, surface, &format!("{session}-{other}")).await.arm, "control");
        }
    }
    assert_eq!(world.canary.count(), 0);
}

/// No weight left is no error and no even split: stable answers everybody.
#[tokio::test]
async fn s3_all_weights_at_zero_are_answered_by_stable() {
    let world = world().await;
    for (generation, weights) in (1..).zip([&[][..], &[0], &[0, 0, 0]]) {
        world.gateway.install(&tables(split(generation, weights, Salt([5; 32])))).await.unwrap();
        for surface in SURFACES {
            for number in 0..20 {
                let told = ask(&world, surface, &format!("s3-{generation}-{number}-{}", surface.0)).await;
                assert_ne!(told.arm, "canary", "{weights:?}");
            }
        }
    }
    assert_eq!((world.canary.count(), world.stable.count()), (0, 3 * 4 * 20));
}

/// Both arms stay where they are at every weight, however often they come and whatever the weight does between, by their name and
/// by what they say; so the share of the canary neither grows nor shrinks by visits.
#[tokio::test]
async fn s5_sessions_of_both_arms_stay_at_every_weight_on_every_surface() {
    let world = world().await;
    let table = |generation, weight| tables(split(generation, &[weight], Salt([6; 32])));
    world.gateway.install(&table(1, 3_000)).await.unwrap();
    let mut begun = Vec::new();
    for number in 0..80 {
        begun.push(ask(&world, SURFACES[number % 4], &format!("s5-{number}")).await);
    }
    let canaries = begun.iter().filter(|told| told.arm == "canary").count();
    assert!((8..=40).contains(&canaries), "{canaries} of 80 at 30 %");
    let nameless = |said: &[(&str, &str)]| {
        let turns: Vec<_> =
            said.iter().map(|(role, text)| serde_json::json!({"role": role, "content": text})).collect();
        serde_json::json!({"model": "support", "messages": turns}).to_string()
    };
    let talk = async |question: &str, answer: Option<&str>| {
        let mut said = vec![("user", question)];
        said.extend(answer.into_iter().flat_map(|answer| [("assistant", answer), ("user", "go on")]));
        Told::of(&Answer::of(world.send(world.request(CHAT.0, &[], nameless(&said))).await).await)
    };
    let mut talks = Vec::new();
    for number in 0..30 {
        let question = format!("question {number}");
        talks.push((talk(&question, None).await, question));
    }
    let arms: BTreeSet<&str> = talks.iter().map(|(told, _)| told.arm.as_str()).collect();
    assert_eq!(arms.len(), 2, "conversations without a name are in both arms");
    for (generation, weight) in (2..).zip([0, 100, 9_900, 10_000, 3_000]) {
        world.gateway.install(&table(generation, weight)).await.unwrap();
        for (number, before) in begun.iter().enumerate() {
            let again = ask(&world, SURFACES[(number + generation as usize) % 4], &format!("s5-{number}")).await;
            assert_eq!(again, *before, "session {number} at {weight}");
        }
        for (before, question) in &talks {
            let said = if before.arm == "canary" { "from canary" } else { "from stable" };
            assert_eq!(talk(question, Some(said)).await, *before, "{question} at {weight}");
        }
    }
}

/// Who asks decides, whatever the weight: by header, path or body, over whichever version of HTTP, on whichever surface, one
/// request among many others, and at a gateway that keeps no pin of it.
#[tokio::test]
async fn s6_who_asks_decides_however_it_asks() {
    let (one, other) = (world().await, world().await);
    let h2 = Client::builder(TokioExecutor::new()).http2_only(true).build(HttpConnector::new());
    for world in [&one, &other] {
        world.gateway.install(&tables(split(1, &[5_000], Salt([8; 32])))).await.unwrap();
    }
    let mut arms = BTreeSet::new();
    let names: Vec<String> = (0..24).map(|number| format!("s6-{number}")).collect();
    let mut begun = Vec::new();
    for name in &names {
        begun.push(ask(&one, CHAT, name).await);
    }
    for (round, (path, body)) in SURFACES.into_iter().enumerate() {
        for (name, before) in names.iter().zip(&begun) {
            let by_body = ASK.replacen('{', &format!(r#"{{"metadata":{{"session_id":"{name}"}},"#), 1);
            let requests = [
                one.request(path, &[("x-session-id", name)], body),
                one.request(&format!("/s/{name}{path}"), &[], body),
                one.request(CHAT.0, &[], by_body),
                other.request(path, &[("x-session-id", name)], body),
            ];
            for request in requests {
                let answer = if round % 2 == 0 {
                    one.send(request).await
                } else {
                    soon("an answer", h2.request(request)).await.unwrap()
                };
                assert_eq!(Told::of(&Answer::of(answer).await), *before, "{name} {path}");
            }
            arms.insert(before.arm.clone());
        }
    }
    assert_eq!(arms.len(), 2);
}

/// Every window of new sessions is split as the first one was, while those of before come again; the bound is at four and a half
/// standard deviations. As many are counted as were answered.
#[tokio::test]
async fn s8_the_share_of_new_sessions_does_not_drift_with_those_of_before() {
    let world = world().await;
    world.gateway.install(&tables(split(1, &[2_000], Salt([9; 32])))).await.unwrap();
    let (mut by_canary, mut asked) = (0, 0);
    for window in 0..4 {
        let mut canaries = 0_u32;
        for number in 0..200 {
            let surface = SURFACES[number % 4];
            let told = ask(&world, surface, &format!("s8-{window}-{number}")).await;
            let again = ask(&world, surface, &format!("s8-{}-{}", window / 2, number / 3)).await;
            canaries += u32::from(told.arm == "canary");
            by_canary += [told, again].iter().filter(|told| told.arm == "canary").count();
            asked += 2;
        }
        let off = (f64::from(canaries) - 40.0).abs() / (200.0_f64 * 0.2 * 0.8).sqrt();
        assert!(off < 4.5, "window {window}: {canaries} of 200");
    }
    assert_eq!((world.canary.count(), world.stable.count()), (by_canary, asked - by_canary));
    let turns = world.turns(asked).await;
    let counted = turns.iter().filter(|turn| turn.version == version("two", "model-c").id()).count();
    assert_eq!((turns.len(), counted), (asked, by_canary));
}

/// The canary's place taken by another version: other words are another version, under the same model.
fn replaced(generation: u64, version: Version) -> RouteTable {
    let mut table = split(generation, &[10_000], Salt([9; 32]));
    let release = table.release.as_mut().unwrap();
    table.versions.remove(&release.canary);
    release.canary = version.id();
    release.id = Arc::new("support-2".into());
    table.versions.insert(version.id(), Arc::new(version));
    table
}

/// A pin does not outlive its version: its session is stable's from then on, here and after a restart, and never that version's
/// which has taken the place and has the same name for its model. New sessions are the new version's.
#[tokio::test]
async fn s10_a_pin_to_a_version_that_is_gone_gives_way_to_stable_on_every_surface() {
    let log = Arc::new(Log::default());
    let world = over(log.clone()).await;
    world.gateway.install(&tables(split(1, &[10_000], Salt([9; 32])))).await.unwrap();
    let session = |number: usize| format!("s10-{number}");
    for (number, surface) in SURFACES.into_iter().enumerate() {
        assert_eq!(ask(&world, surface, &session(number)).await.arm, "canary");
    }
    let told = Version { prompt: Some(Prompt::new(PromptMode::Replace, "Be kind.")), ..version("two", "model-c") };
    assert_ne!(told.id(), version("two", "model-c").id());
    let table = tables(replaced(2, told));
    world.gateway.install(&table).await.unwrap();
    let (canary, restarted) = (world.canary.count(), over(log).await);
    restarted.gateway.install(&table).await.unwrap();
    for world in [&world, &restarted, &world] {
        for (number, surface) in SURFACES.into_iter().enumerate() {
            assert_eq!(ask(world, surface, &session(number)).await.arm, "stable");
        }
    }
    assert_eq!((world.canary.count(), restarted.canary.count()), (canary, 0));
    assert_eq!(ask(&world, CHAT, "s10-new").await.arm, "canary");
    assert_eq!(world.canary.received().last().unwrap().json()["messages"][0]["content"], "Be kind.");
    let members: Vec<bool> = world.turns(13).await.iter().map(|turn| turn.member.is_some()).collect();
    assert_eq!(members, [[true; 4], [false; 4], [false; 4]].concat().into_iter().chain([true]).collect::<Vec<_>>());
}
