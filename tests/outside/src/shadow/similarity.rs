//! Embeddings in the shadow: asked beside the served requests and blind, told with stable's own second answers, and a
//! declared bar that holds; an endpoint in trouble holds too, and nothing of it rolls back.

use super::{config_beside, customers, print};
use crate::process::{Coalmine, free_port};
use crate::upstream;
use anyhow::{Result, ensure};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const RELEASE: &str = "release: support
canary: { model: canary/m-canary }
stages:
  - shadow: 100%
    for: 4s
    min_sessions: 10
    in_flight: 32
    similarity: { model: space/e-1, baseline: 50%, min: 0.8, share: 90% }
  - { weight: 50%, bake: 24h }
bucket: 1s
ages: { first: 1s, session: 4s, whole: 4s }
guardrails:
  - { metric: error_rate, margin: 1pp }
";

/// An endpoint in whose space answers of one voice are 1 near, and of two 0.6.
#[derive(Debug, Default)]
struct Space {
    is_out: AtomicBool,
    asked: Mutex<Vec<Value>>,
}

impl Space {
    fn answer(&self, asked: &Value) -> (StatusCode, Value) {
        if self.is_out.load(Ordering::SeqCst) {
            return (StatusCode::SERVICE_UNAVAILABLE, json!({}));
        }
        if let Ok(mut log) = self.asked.lock() {
            log.push(asked.clone());
        }
        let texts = asked["input"].as_array().cloned().unwrap_or_default();
        let vector = |text: &Value| match text.as_str().unwrap_or_default().starts_with("other") {
            true => [0.6, 0.8],
            false => [1.0, 0.0],
        };
        let data = texts.iter().enumerate().map(|(index, text)| json!({"index": index, "embedding": vector(text)}));
        (StatusCode::OK, json!({"data": data.collect::<Vec<_>>(), "usage": {"prompt_tokens": 4, "total_tokens": 4}}))
    }
}

/// Runs it; fails at the first thing that does not hold.
pub(super) async fn run(binary: &Path) -> Result<()> {
    let space = Arc::new(Space::default());
    let says = Arc::clone(&space);
    let voice = Arc::new(Mutex::new("other".to_owned()));
    let ports = [
        upstream::spawn("plain").await?.port(),
        upstream::spawn_changing(Arc::clone(&voice)).await?.port(),
        upstream::spawn_answering(move |asked| says.answer(asked)).await?.port(),
    ];
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("release.yaml"), RELEASE)?;
    let port = free_port()?;
    let coalmine = Coalmine::start(binary, folder.path(), port, &config_beside(port, "space", ports)).await?;
    coalmine.cli(&["start", "release.yaml"])?;
    let mut customer = 0;

    // Far from stable in every session: it waits, long after its time, and is not rolled back.
    serve_until(&coalmine, &mut customer, |similarity| similarity["canary"]["sessions"].as_u64() >= Some(30)).await?;
    let release = coalmine.http().get("/api/v1/releases/support-1").await?;
    ensure!(release["state"]["is"] == "shadow", "a bar that is not cleared holds: {release}");
    let seen = &release["shadow"]["similarity"];
    ensure!(seen["canary"]["p50"] == 0.6 && seen["stable_again"]["p50"] == 1.0 && seen["met"] == 0, "{seen}");
    let explained = coalmine.cli(&["explain", "support-1"])?;
    for told in ["answers are to stable's 0.60 near", "stable's second answers are to its first 1.00 near"] {
        ensure!(explained.contains(told), "`{told}` is told: {explained}");
    }
    print(&coalmine.cli(&["status", "support-1"])?);

    // In trouble: unknown is counted, and is nothing against the canary.
    space.is_out.store(true, Ordering::SeqCst);
    serve_until(&coalmine, &mut customer, |similarity| similarity["unknown"].as_u64() >= Some(20)).await?;
    let release = coalmine.http().get("/api/v1/releases/support-1").await?;
    ensure!(release["state"]["is"] == "shadow", "trouble holds: {release}");
    let page = coalmine.http().send(Method::GET, "/metrics", &[], None).await?;
    let metrics = String::from_utf8_lossy(&page.body);
    ensure!(metrics.contains("coalmine_shadow_similarity_total{route=\"support\",came=\"unknown\"}"), "{metrics}");
    space.is_out.store(false, Ordering::SeqCst);

    // It speaks as stable does: once nine of ten sessions are near, it goes on.
    if let Ok(mut voice) = voice.lock() {
        "plain".clone_into(&mut voice);
    }
    let until = Instant::now() + Duration::from_secs(180);
    loop {
        let release = coalmine.http().get("/api/v1/releases/support-1").await?;
        if release["state"]["is"] == "running" {
            print(&format!("similarity: let on with {}", release["shadow"]["similarity"]));
            break;
        }
        ensure!(release["state"]["is"] == "shadow" && Instant::now() < until, "it is let on: {release}");
        customers(&coalmine, &mut customer, 20, "plain answers").await?;
    }
    let asked = space.asked.lock().map(|log| log.clone()).unwrap_or_default();
    let told = |word: &str| asked.iter().any(|question| question.to_string().contains(word));
    ensure!(!told("canary") && !told("support-1") && !told("Who are you"), "it reads two answers and no more");
    Ok(())
}

async fn serve_until(coalmine: &Coalmine, customer: &mut u32, is_seen: impl Fn(&Value) -> bool) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(90);
    loop {
        let release = coalmine.http().get("/api/v1/releases/support-1").await?;
        if is_seen(&release["shadow"]["similarity"]) {
            return Ok(());
        }
        ensure!(Instant::now() < until, "it is not seen within 90 s: {release}");
        customers(coalmine, customer, 5, "plain answers").await?;
    }
}
