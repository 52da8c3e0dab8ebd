//! A shadow while people still answer: no provider is asked for them, their answers come by feedback, and a judge that
//! finds the canary's worse than theirs has it rolled back before anybody met it; both answers are captured side by side.

use super::print;
use crate::process::{Coalmine, free_port};
use crate::upstream;
use anyhow::{Context, Result, ensure};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

const JUDGE: &str = "model: jury/m-jury
scale: pairs
rubric: The answer is good.
calls: 100000
";

const RELEASE: &str = "release: support
canary: { model: canary/m-canary }
stages:
  - shadow: 100%
    for: 4s
    min_sessions: 10
    in_flight: 4
    pairs:
      - { judge: better, margin: 10pp }
  - { weight: 50%, bake: 24h }
bucket: 1s
ages: { first: 1s, session: 4s, whole: 4s }
guardrails:
  - { metric: error_rate, margin: 1pp }
";

/// Runs it; fails at the first thing that does not hold.
pub(super) async fn run(binary: &Path) -> Result<()> {
    let ports = [
        upstream::spawn("bad").await?.port(),
        upstream::spawn_saying(|asked| (StatusCode::OK, verdict(asked))).await?.port(),
    ];
    let folder = tempfile::tempdir()?;
    let timed = RELEASE.replace("error_rate", "latency_p95").replace("1pp", "10%");
    let key = "5a".repeat(32);
    for (file, text) in [
        ("capture.key", key.as_str()),
        ("release.yaml", RELEASE),
        ("timed.yaml", &timed),
        ("judges/better.yaml", JUDGE),
    ] {
        let path = folder.path().join(file);
        std::fs::create_dir_all(path.parent().context("a folder")?)?;
        std::fs::write(path, text)?;
    }
    let port = free_port()?;
    let coalmine = Coalmine::start(binary, folder.path(), port, &config(port, ports)).await?;
    let refused = coalmine.cli(&["start", "timed.yaml"]).err().context("times are refused")?.to_string();
    ensure!(refused.contains("people have no `latency_p95`"), "by name: {refused}");
    coalmine.cli(&["start", "release.yaml"])?;

    // More customers than copies may be under way: whoever waits for a person is under way no more.
    let mut waiting = Vec::new();
    for customer in 0..30 {
        waiting.push(turn(&coalmine, customer).await?);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let release = coalmine.http().get("/api/v1/releases/support-1").await?;
    ensure!(release["shadow"]["pairs"] == 0, "there is no pair without a person's answer: {release}");
    for id in &waiting {
        answer(&coalmine, id).await?;
    }
    let until = Instant::now() + Duration::from_secs(120);
    let mut customer = 30;
    let release = loop {
        let release = coalmine.http().get("/api/v1/releases/support-1").await?;
        if release["state"]["is"] == "rolled_back" {
            break release;
        }
        ensure!(Instant::now() < until, "not rolled back within 120 s: {release}");
        let id = turn(&coalmine, customer).await?;
        tokio::time::sleep(Duration::from_millis(30)).await;
        answer(&coalmine, &id).await?;
        customer += 1;
    };
    ensure!(release["state"]["cause"] == "shadow" && release["started_at_ms"].is_null(), "{release}");
    ensure!(release["state"]["why"].to_string().contains("judge.better"), "{release}");
    ensure!(release["shadow"]["pairs"].as_u64() >= Some(20), "the pairs are told: {release}");
    let pairs = coalmine.cli(&["captures", "pairs", "support-1"])?;
    for told in ["same prompt", "A person answers, kindly.", "bad answers message 1"] {
        ensure!(pairs.contains(told), "`{told}` is captured: {pairs}");
    }
    let page = coalmine.http().send(Method::GET, "/metrics", &[], None).await?;
    let metrics = String::from_utf8_lossy(&page.body);
    ensure!(!metrics.contains("people.invalid"), "people have no address: {metrics}");
    print(&format!("people: {}; {customer} customers were answered by people", release["state"]["why"]));
    Ok(())
}

/// The judge prefers what a person said.
fn verdict(asked: &Value) -> String {
    let question = asked["messages"][1]["content"].as_str().unwrap_or_default();
    let behind = question.split_once("First answer:").map_or("", |(_, behind)| behind);
    let first = behind.split_once("Second answer:").map_or("", |(first, _)| first);
    let verdict = if first.contains("bad answers") { "second" } else { "first" };
    json!({ "reason": "a person said it", "verdict": verdict }).to_string()
}

/// A customer's turn, which a person will answer: the request's id.
async fn turn(coalmine: &Coalmine, customer: u32) -> Result<String> {
    let hello = format!("I am customer {customer}. Who are you?");
    let body = json!({"model": "support", "messages": [{"role": "user", "content": hello}]});
    let told = coalmine.app().post("/v1/chat/completions", &body).await?;
    ensure!(told["object"] == "coalmine.answered_by_people", "a person answers: {told}");
    Ok(told["request_id"].as_str().context("a request id")?.to_owned())
}

async fn answer(coalmine: &Coalmine, id: &str) -> Result<()> {
    let said = json!({"request_id": id, "answer": "A person answers, kindly."});
    let taken = coalmine.app().post("/v1/feedback", &said).await?;
    ensure!(taken["accepted"] == 1, "a person's answer is taken: {taken}");
    Ok(())
}

fn config(port: u16, [canary, jury]: [u16; 2]) -> String {
    format!(
        "listen: 127.0.0.1:{port}
store: sqlite:coalmine.db
api: {{ tokens: {{ tester: ${{COALMINE_TOKEN}} }} }}
providers:
  people: {{ kind: people }}
  canary: {{ kind: openai, upstreams: [{{ url: \"http://127.0.0.1:{canary}/v1\" }}] }}
  jury: {{ kind: openai, upstreams: [{{ url: \"http://127.0.0.1:{jury}/v1\" }}] }}
capture: {{ key: \"file:capture.key\", readers: [tester] }}
routes:
  support: {{ stable: {{ model: people/agents }}, capture: {{ sample: 100%, keep: 1h }} }}
"
    )
}
