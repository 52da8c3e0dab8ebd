//! The drift watch on the real binary: a steady route whose provider puts another model behind the same name, a sentinel
//! that stable begins to fail and passes again, and a swap behind both arms in the middle of a release.

use crate::process::{Coalmine, Under, free_port};
use crate::upstream;
use anyhow::{Result, ensure};
use http::StatusCode;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

const SUITE: &str = r#"prompts: ["{{question}}"]
tests:
  - description: refund window
    vars: { question: "How many days do I have?" }
    assert: [{ type: icontains, value: 30 days }]
    metadata: { canary: { every: 1s } }
"#;

const RELEASE: &str = "release: support
canary: { model: provider/m-canary }
stages:
  - { weight: 50%, bake: 24h }
guardrails:
  - { metric: error_rate, margin: 1pp }
";

/// Runs it all; fails at the first thing that does not hold.
pub(crate) async fn run(under: Under) -> Result<()> {
    let binary = under.path()?;
    steady(&binary).await?;
    in_the_middle_of_a_release(&binary).await
}

/// What the provider does now.
#[derive(Debug, Clone)]
struct Truth {
    snapshot: &'static str,
    /// What the canary's model is instead.
    of_canary: Option<&'static str>,
    days: u32,
}

struct World {
    _folder: tempfile::TempDir,
    coalmine: Coalmine,
    truth: Arc<Mutex<Truth>>,
    letters: Arc<Mutex<Vec<Value>>>,
}

impl World {
    async fn new(binary: &Path) -> Result<Self> {
        let truth = Arc::new(Mutex::new(Truth { snapshot: "0805", of_canary: None, days: 30 }));
        let says = Arc::clone(&truth);
        let provider = upstream::spawn_answering(move |asked| (StatusCode::OK, answer(asked, &says))).await?.port();
        let letters: Arc<Mutex<Vec<Value>>> = Arc::default();
        let received = Arc::clone(&letters);
        let hook = upstream::spawn_answering(move |letter| {
            received.lock().unwrap_or_else(PoisonError::into_inner).push(letter.clone());
            (StatusCode::OK, json!({}))
        });
        let hook = hook.await?.port();
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("support.yaml"), SUITE)?;
        std::fs::write(folder.path().join("release.yaml"), RELEASE)?;
        std::fs::write(folder.path().join("hook.url"), format!("http://127.0.0.1:{hook}/told"))?;
        let port = free_port()?;
        let config = format!(
            "listen: 127.0.0.1:{port}
store: sqlite:coalmine.db
api: {{ tokens: {{ tester: ${{COALMINE_TOKEN}} }} }}
providers:
  provider: {{ kind: openai, upstreams: [{{ url: \"http://127.0.0.1:{provider}/v1\" }}] }}
routes:
  support: {{ stable: {{ model: provider/m-stable }}, sentinels: support.yaml }}
notify:
  - {{ url: \"file:hook.url\" }}
"
        );
        let coalmine = Coalmine::start(binary, folder.path(), port, &config).await?;
        Ok(Self { _folder: folder, coalmine, truth, letters })
    }

    fn set(&self, change: impl FnOnce(&mut Truth)) {
        change(&mut self.truth.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// So many customers, each with a session of its own; how many of them the canary answered.
    async fn customers(&self, count: usize) -> Result<usize> {
        let mut by_canary = 0;
        for customer in 0..count {
            let body =
                json!({"model": "support", "messages": [{"role": "user", "content": format!("I am {customer}")}]});
            let answer = self.coalmine.app().post("/v1/chat/completions", &body).await?;
            by_canary += usize::from(answer["model"].as_str().is_some_and(|model| model.starts_with("m-canary")));
        }
        Ok(by_canary)
    }

    fn incidents(&self) -> Result<Vec<Value>> {
        let listed = self.coalmine.cli(&["incidents", "list", "--all", "--json"])?;
        Ok(serde_json::from_str(&listed)?)
    }

    /// Customers come until one incident is as wanted.
    async fn until(&self, kind: &str, state: &str) -> Result<Value> {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let incidents = self.incidents()?;
            let found = incidents.iter().find(|one| one["kind"] == kind && one["state"] == state);
            if let Some(found) = found {
                return Ok(found.clone());
            }
            ensure!(Instant::now() < until, "no {kind} incident is {state} within 60 s: {incidents:?}");
            self.customers(10).await?;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Until a letter of this event about this incident or release came.
    async fn letter(&self, event: &str, about: &Value) -> Result<Value> {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let wanted =
                |one: &&Value| one["event"] == event && (one["incident"] == *about || one["release"] == *about);
            let found: Vec<&Value> = letters.iter().filter(wanted).collect();
            if let [one] = found.as_slice() {
                return Ok((*one).clone());
            }
            ensure!(found.is_empty(), "told twice: {found:?}");
            ensure!(Instant::now() < until, "no letter {event} about {about} within 30 s: {letters:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn release(&self) -> Result<Value> {
        self.coalmine.http().get("/api/v1/releases/support-1").await
    }
}

/// As the model of that snapshot, on one of two machines, which take turns.
fn answer(asked: &Value, says: &Mutex<Truth>) -> Value {
    let Truth { snapshot, of_canary, days } = says.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let snapshot = of_canary.filter(|_| asked["model"] == "m-canary").unwrap_or(snapshot);
    let machine = asked.to_string().len() % 2;
    json!({
        "id": "chatcmpl-outside", "object": "chat.completion", "created": 0,
        "model": format!("{}-{snapshot}", asked["model"].as_str().unwrap_or_default()),
        "system_fingerprint": format!("fp_{machine}"), "service_tier": "default",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "refusal": null,
            "content": format!("You have {days} days.")}}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 6, "total_tokens": 16},
    })
}

async fn steady(binary: &Path) -> Result<()> {
    let mut world = World::new(binary).await?;
    world.customers(80).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    ensure!(world.incidents()?.is_empty(), "a steady route has none: {:?}", world.incidents()?);

    world.set(|truth| truth.snapshot = "1001");
    let began = Instant::now();
    let drifted = world.until("model", "open").await?;
    let took = began.elapsed();
    ensure!(
        drifted["what"].as_str().is_some_and(|what| what.ends_with("was m-stable-0805, and is m-stable-1001")),
        "both names are told: {drifted}"
    );
    let told = world.letter("incident_opened", &drifted["id"]).await?;
    ensure!(told["route"] == "support" && told["text"] == drifted["what"], "{told}");
    let page = world.coalmine.app().send(http::Method::GET, "/metrics", &[], None).await?.body;
    let page = String::from_utf8_lossy(&page).into_owned();
    ensure!(page.contains(r#"coalmine_incidents{route="support",kind="model",state="open"} 1"#), "it is in /metrics");
    print(&format!("another model behind the name: told after {:.1} s", took.as_secs_f64()));

    world.coalmine.kill_9()?;
    world.coalmine.spawn().await?;
    world.customers(60).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let id = drifted["id"].as_str().unwrap_or_default();
    ensure!(world.incidents()?.len() == 1, "a kill opens it no second time: {:?}", world.incidents()?);
    let known = world.coalmine.cli(&["incidents", "ack", id, "-m", "asked the provider"])?;
    ensure!(known.contains("acknowledged") && known.contains("by tester: asked the provider"), "{known}");
    let status = world.coalmine.cli(&["status"])?;
    ensure!(status.contains(&format!("{id}, acknowledged: the model")), "status begins with it: {status}");
    let closed = world.coalmine.cli(&["incidents", "close", "support"])?;
    ensure!(closed.contains("closed"), "{closed}");
    world.letter("incident_closed", &drifted["id"]).await?;
    ensure!(world.coalmine.cli(&["incidents", "close", id]).is_err(), "and is closed once");
    sentinel(&world).await
}

async fn sentinel(world: &World) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(30);
    while !world.coalmine.cli(&["status"])?.contains("1 of 1 pass on stable") {
        ensure!(Instant::now() < until, "the sentinel has not qualified within 30 s");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    world.set(|truth| truth.days = 14);
    let failing = world.until("sentinel", "open").await?;
    let what = failing["what"].as_str().unwrap_or_default();
    ensure!(what.starts_with("sentinel refund window fails on stable of support: 0/"), "{what}");
    world.letter("incident_opened", &failing["id"]).await?;
    world.set(|truth| truth.days = 30);
    let over = world.until("sentinel", "closed").await?;
    ensure!(over["id"] == failing["id"] && over["journal"][1]["by"] == "coalmine", "by itself: {over}");
    world.letter("incident_closed", &failing["id"]).await?;
    print(&format!("a sentinel on steady stable: {what}; {}", over["journal"][1]["note"]));
    Ok(())
}

async fn in_the_middle_of_a_release(binary: &Path) -> Result<()> {
    let world = World::new(binary).await?;
    world.coalmine.cli(&["start", "release.yaml"])?;
    let by_canary = world.customers(200).await?;
    ensure!(by_canary > 60, "half of the customers are on the canary, {by_canary} of 200");
    behind_the_canary_alone(&world).await?;
    world.set(|truth| truth.snapshot = "1001");
    world.until("model", "open").await?;
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        world.customers(20).await?;
        let release = world.release().await?;
        if release["drifts"].as_array().is_some_and(|drifts| drifts.len() >= 4) {
            break;
        }
        ensure!(
            Instant::now() < until,
            "the release is told of both arms, and of the canary before, within 60 s: {release}"
        );
    }
    world.letters.lock().unwrap_or_else(PoisonError::into_inner).iter().try_for_each(|letter| {
        ensure!(letter["event"] != "rolled_back", "nobody is rolled back: {letter}");
        Ok(())
    })?;
    let release = world.release().await?;
    ensure!(release["state"]["is"] == "running", "it is called a drift, and no regression: {release}");
    let by_canary = world.customers(100).await?;
    ensure!(by_canary > 20, "and the canary still answers, {by_canary} of 100");
    print(&format!("a swap behind both arms: {}", release["drifts"]));
    world.coalmine.cli(&["rollback", "support", "-m", "enough"])?;
    let over = world.until("canary_model", "closed").await?;
    ensure!(over["journal"][1]["by"] == "coalmine", "what is about the canary ends with its release: {over}");
    Ok(())
}

/// Another model behind the canary's name alone is an incident until the former one is back.
async fn behind_the_canary_alone(world: &World) -> Result<()> {
    world.set(|truth| truth.of_canary = Some("0901"));
    let opened = world.until("canary_model", "open").await?;
    let what = opened["what"].as_str().unwrap_or_default();
    ensure!(
        what.starts_with("the model that answers for the canary of support-1")
            && what.ends_with("was m-canary-0805, and is m-canary-0901"),
        "{opened}"
    );
    world.letter("incident_opened", &opened["id"]).await?;
    ensure!(world.incidents()?.len() == 1, "stable has none: {:?}", world.incidents()?);
    let release = world.release().await?;
    ensure!(release["state"]["is"] == "running", "it moves nobody: {release}");
    let status = world.coalmine.cli(&["status"])?;
    ensure!(status.contains(what), "status begins with it: {status}");
    // Names that take turns at once are a fleet; it has to last before a way back is one.
    world.customers(150).await?;
    world.set(|truth| truth.of_canary = None);
    let over = world.until("canary_model", "closed").await?;
    ensure!(over["id"] == opened["id"], "{over}");
    world.letter("incident_closed", &opened["id"]).await?;
    print(&format!("behind the canary alone: {what}; {}", over["journal"][1]["note"]));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a report for whoever ran it")]
fn print(text: &str) {
    println!("{text}");
}
