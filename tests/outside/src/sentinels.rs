//! Sentinels on the real binary: a canary that answers a known question wrongly is rolled back before it meets a
//! customer; one that begins to is taken back at its next round; an outage of what both depend on rolls back nobody.

use crate::process::{Coalmine, free_port};
use crate::upstream;
use anyhow::{Context, Result, bail, ensure};
use clap::Args as ClapArgs;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Arguments of `outside sentinels`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// The binary under test.
    #[arg(long, default_value = "target/release/coalmine")]
    bin: PathBuf,
}

/// A suite in promptfoo's form; what is for promptfoo alone is in it too.
const SUITE: &str = r#"# yaml-language-server: $schema=https://promptfoo.dev/config-schema.json
description: What support must never get wrong
prompts:
  - "Customer asks: {{question}}"
providers:
  - openai:chat:gpt-4.1-mini
defaultTest:
  assert:
    - type: not-is-refusal
  metadata: { canary: { every: 1s } }
tests:
  - description: refund window
    vars: { question: "How many days do I have?" }
    assert:
      - { type: icontains-any, value: [good, excellent] }
      - { type: latency, threshold: 20000 }
  - description: it answers at all
    vars: { question: "Anybody there?" }
    assert:
      - { type: regex, value: "answers message \\d+" }
      - { type: word-count, value: { min: 2, max: 20 } }
    metadata: { canary: { critical: false } }
"#;

const JAVASCRIPT: &str = r#"prompts: ["{{q}}"]
tests:
  - vars: { q: hello }
    assert: [{ type: javascript, value: "output.length < 10" }]
"#;

/// Runs it all; fails at the first thing that does not hold.
pub(crate) async fn run(args: Args) -> Result<()> {
    let binary = std::fs::canonicalize(&args.bin).with_context(|| format!("no binary at {}", args.bin.display()))?;
    before_exposure(&binary).await?;
    in_the_middle_of_a_stage(&binary).await?;
    Ok(())
}

struct World {
    _folder: tempfile::TempDir,
    coalmine: Coalmine,
    stable: Arc<Mutex<String>>,
    canary: Arc<Mutex<String>>,
}

impl World {
    async fn new(binary: &Path, canary: &str) -> Result<Self> {
        let name = |text: &str| Arc::new(Mutex::new(text.to_owned()));
        let (stable, canary) = (name("good"), name(canary));
        let ports = [
            upstream::spawn_changing(Arc::clone(&stable)).await?.port(),
            upstream::spawn_changing(Arc::clone(&canary)).await?.port(),
        ];
        let folder = tempfile::tempdir()?;
        std::fs::create_dir(folder.path().join("sentinels"))?;
        std::fs::write(folder.path().join("sentinels/support.yaml"), SUITE)?;
        std::fs::write(folder.path().join("sentinels/javascript.yaml"), JAVASCRIPT)?;
        std::fs::write(folder.path().join("release.yaml"), RELEASE)?;
        let port = free_port()?;
        let coalmine = Coalmine::start(binary, folder.path(), port, &config(port, ports)).await?;
        Ok(Self { _folder: folder, coalmine, stable, canary })
    }

    async fn release(&self) -> Result<Value> {
        self.coalmine.http().get("/api/v1/releases/support-1").await
    }

    async fn until(&self, states: &[&str]) -> Result<Value> {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let release = self.release().await?;
            if states.iter().any(|state| release["state"]["is"] == *state) {
                return Ok(release);
            }
            ensure!(Instant::now() < until, "it is not {states:?} within 60 s: {release}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// How many of so many customers the canary answered.
    async fn customers(&self, count: usize) -> Result<usize> {
        let mut by_canary = 0;
        for customer in 0..count {
            let body =
                json!({"model": "support", "messages": [{"role": "user", "content": format!("I am {customer}")}]});
            let answer = self.coalmine.app().post("/v1/chat/completions", &body).await?;
            let said = answer["choices"][0]["message"]["content"].as_str().unwrap_or_default();
            by_canary += usize::from(answer["model"] == "m-canary");
            ensure!(!said.is_empty(), "a customer got nothing: {answer}");
        }
        Ok(by_canary)
    }
}

fn set(name: &Arc<Mutex<String>>, to: &str) {
    if let Ok(mut name) = name.lock() {
        to.clone_into(&mut name);
    }
}

const RELEASE: &str = "release: support
canary: { model: canary/m-canary }
sentinels: sentinels/support.yaml
stages:
  - { weight: 50%, bake: 24h }
guardrails:
  - { metric: error_rate, margin: 1pp }
";

fn config(port: u16, [stable, canary]: [u16; 2]) -> String {
    format!(
        "listen: 127.0.0.1:{port}
store: sqlite:coalmine.db
api: {{ tokens: {{ tester: ${{COALMINE_TOKEN}} }} }}
providers:
  stable: {{ kind: openai, upstreams: [{{ url: \"http://127.0.0.1:{stable}/v1\" }}] }}
  canary: {{ kind: openai, upstreams: [{{ url: \"http://127.0.0.1:{canary}/v1\" }}] }}
routes:
  support: {{ stable: {{ model: stable/m-stable }} }}
"
    )
}

async fn before_exposure(binary: &Path) -> Result<()> {
    let world = World::new(binary, "bad").await?;
    let checked = world.coalmine.cli(&["sentinel", "check", "sentinels/support.yaml"])?;
    ensure!(checked.contains("fine (2 sentinels, 1 critical)"), "the suite is read: {checked}");
    let Err(refused) = world.coalmine.cli(&["sentinel", "check", "sentinels/javascript.yaml"]) else {
        bail!("a program in a suite is refused");
    };
    ensure!(refused.to_string().contains("exit status: 2"), "as a fault of the file: {refused}");
    let ran = world.coalmine.cli(&["sentinel", "run", "sentinels/support.yaml", "--junit", "junit.xml"])?;
    ensure!(ran.contains("2 passed, 0 failed, 0 unknown"), "stable passes: {ran}");
    let failed = world.coalmine.cli(&["sentinel", "run", "sentinels/support.yaml", "--version", "canary/m-canary"]);
    ensure!(failed.is_err(), "and that model does not");
    world.coalmine.cli(&["start", "release.yaml"])?;
    let by_canary = world.customers(100).await?;
    let release = world.until(&["rolled_back"]).await?;
    ensure!(release["state"]["cause"] == "sentinel", "by its sentinel: {release}");
    ensure!(release["started_at_ms"].is_null(), "nobody was exposed: {release}");
    ensure!(by_canary == 0, "{by_canary} of 100 customers met it");
    print(&format!("before exposure: {}; 0 of 100 customers met the canary", release["state"]["why"]));
    print(&world.coalmine.cli(&["status", "support-1"])?);
    Ok(())
}

async fn in_the_middle_of_a_stage(binary: &Path) -> Result<()> {
    let world = World::new(binary, "good").await?;
    world.coalmine.cli(&["start", "release.yaml"])?;
    world.until(&["running"]).await?;
    let by_canary = world.customers(100).await?;
    ensure!(by_canary > 20, "half of the customers are on the canary, {by_canary} of 100");
    set(&world.stable, "away");
    set(&world.canary, "away");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let held = world.release().await?;
    ensure!(held["state"]["is"] == "running", "what both get wrong rolls back nobody: {held}");
    set(&world.stable, "good");
    set(&world.canary, "bad");
    let began = Instant::now();
    let release = world.until(&["rolling_back", "rolled_back"]).await?;
    ensure!(release["state"]["cause"] == "sentinel", "by its sentinel: {release}");
    let took = began.elapsed();
    let by_canary = world.customers(100).await?;
    ensure!(by_canary == 0, "and is gone: {by_canary} of 100");
    print(&format!("in a stage: {} after {:.1} s", release["state"]["why"], took.as_secs_f64()));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a report for whoever ran it")]
fn print(text: &str) {
    println!("{text}");
}
