//! A judge of pairs in the shadow: asked in both orders and blind, its outage holds, and then its word rolls back.

use super::{config_beside, customers, print};
use crate::process::{Coalmine, free_port};
use crate::upstream;
use anyhow::{Context, Result, ensure};
use http::StatusCode;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const JUDGE: &str = "model: jury/m-jury
scale: pairs
rubric: The answer is good.
calls: 100000
anchors: { file: ../anchors/better.yaml }
";

const ANCHORS: &str = "anchors:
  - { question: Who are you?, answer: good answers message 1, other: bad answers message 1, label: answer }
  - { question: And you?, answer: bad answers message 1, other: good answers message 1, label: other }
";

const RELEASE: &str = "release: support
canary: { model: canary/m-canary }
stages:
  - shadow: 100%
    for: 4s
    min_sessions: 10
    in_flight: 32
    pairs:
      - { judge: better, margin: 10pp }
  - { weight: 50%, bake: 24h }
bucket: 1s
ages: { first: 1s, session: 4s, whole: 4s }
guardrails:
  - { metric: error_rate, margin: 1pp }
";

/// Words that would tell a judge whose answer it reads.
const TELLING: [&str; 4] = ["canary", "stable", "support-1", "v_"];

/// A model that prefers what calls itself good, and its log.
#[derive(Debug, Default)]
struct Jury {
    is_out: AtomicBool,
    asked: Mutex<Vec<String>>,
}

impl Jury {
    fn say(&self, asked: &Value) -> (StatusCode, String) {
        if self.is_out.load(Ordering::SeqCst) {
            return (StatusCode::SERVICE_UNAVAILABLE, String::new());
        }
        let question = asked["messages"][1]["content"].as_str().unwrap_or_default();
        if let Ok(mut log) = self.asked.lock() {
            log.push(question.to_owned());
        }
        let (first, second) = sides(question);
        let verdict = match (first.contains("bad answers"), second.contains("bad answers")) {
            (true, false) => "second",
            (false, true) => "first",
            (true, true) | (false, false) => "tie",
        };
        (StatusCode::OK, json!({ "reason": "so it calls itself", "verdict": verdict }).to_string())
    }
}

fn sides(question: &str) -> (&str, &str) {
    let behind = question.split_once("First answer:").map_or("", |(_, behind)| behind);
    behind.split_once("Second answer:").unwrap_or_default()
}

/// Runs it; fails at the first thing that does not hold.
pub(super) async fn run(binary: &Path) -> Result<()> {
    let jury = Arc::new(Jury::default());
    let says = Arc::clone(&jury);
    let ports = [
        upstream::spawn("good").await?.port(),
        upstream::spawn("bad").await?.port(),
        upstream::spawn_saying(move |asked| says.say(asked)).await?.port(),
    ];
    let folder = tempfile::tempdir()?;
    for (file, text) in [("release.yaml", RELEASE), ("judges/better.yaml", JUDGE), ("anchors/better.yaml", ANCHORS)] {
        let path = folder.path().join(file);
        std::fs::create_dir_all(path.parent().context("a folder")?)?;
        std::fs::write(path, text)?;
    }
    let port = free_port()?;
    let coalmine = Coalmine::start(binary, folder.path(), port, &config_beside(port, "jury", ports)).await?;
    let anchored = coalmine.cli(&["judge", "run", "judges/better.yaml"])?;
    ensure!(anchored.contains("2 of 2 as their labels say"), "the anchors are scored as pairs: {anchored}");
    coalmine.cli(&["start", "release.yaml"])?;
    let until = Instant::now() + Duration::from_secs(60);
    while coalmine.http().get("/api/v1/releases/support-1").await?["judges"][0]["anchors_agreed"] != 2 {
        ensure!(Instant::now() < until, "its anchors are scored within 60 s");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    jury.is_out.store(true, Ordering::SeqCst);

    // Away: longer than the shadow is to last, with sessions enough.
    let mut customer = 0;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(12) {
        customers(&coalmine, &mut customer, 5, "good answers").await?;
    }
    let release = coalmine.http().get("/api/v1/releases/support-1").await?;
    ensure!(release["state"]["is"] == "shadow", "a judge that is away holds: {release}");
    ensure!(release["shadow"]["sessions"].as_u64() >= Some(10), "though the pairs are there: {release}");
    print(&coalmine.cli(&["status", "support-1"])?);

    jury.is_out.store(false, Ordering::SeqCst);
    let until = Instant::now() + Duration::from_secs(120);
    let release = loop {
        let release = coalmine.http().get("/api/v1/releases/support-1").await?;
        if release["state"]["is"] == "rolled_back" {
            break release;
        }
        ensure!(Instant::now() < until, "not rolled back within 120 s: {release}");
        customers(&coalmine, &mut customer, 5, "good answers").await?;
    };
    ensure!(release["state"]["cause"] == "shadow" && release["started_at_ms"].is_null(), "{release}");
    ensure!(release["state"]["why"].to_string().contains("judge.better"), "{release}");
    let explained = coalmine.cli(&["explain", "support-1"])?;
    ensure!(explained.contains("decided pairs the canary's answer is better in 0 %"), "it is told: {explained}");
    print(&format!("pairs, back: {}", release["state"]["why"]));

    let asked = jury.asked.lock().map(|log| log.clone()).unwrap_or_default();
    let orders = |bad_first: bool| asked.iter().filter(|one| sides(one).0.contains("bad") == bad_first).count();
    ensure!(orders(true) > 5 && orders(false) > 5, "both orders are asked: {} {}", orders(true), orders(false));
    for word in TELLING {
        ensure!(!asked.iter().any(|question| question.contains(word)), "the judge is told `{word}`");
    }
    Ok(())
}
