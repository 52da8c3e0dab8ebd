//! A shadow on the real binary: a canary that fails is rolled back before any customer meets it; one that hangs is felt by
//! nobody; one that is well is let on to the first stage.

use crate::process::{Coalmine, Under, free_port};
use crate::upstream;
use anyhow::{Result, ensure};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

/// Runs it all; fails at the first thing that does not hold.
pub(crate) async fn run(under: Under) -> Result<()> {
    let binary = under.path()?;
    bad(&binary).await?;
    hanging(&binary).await?;
    good(&binary).await?;
    killed(&binary).await?;
    pairs::run(&binary).await?;
    similarity::run(&binary).await?;
    people::run(&binary).await
}

const RELEASE: &str = "release: support
canary: { model: canary/m-canary }
stages:
  - { shadow: 100%, for: 4s, min_sessions: 30, in_flight: 8 }
  - { weight: 50%, bake: 24h }
bucket: 1s
ages: { first: 1s, session: 2s, whole: 2s }
guardrails:
  - { metric: error_rate, margin: 1pp }
";

/// How the canary's provider is.
#[derive(Debug, Clone, Copy)]
enum Canary {
    Broken,
    Hanging,
    Well,
}

/// One that takes every connection and says nothing.
async fn hanging_upstream() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((connection, _)) = listener.accept().await {
            held.push(connection);
        }
    });
    Ok(port)
}

struct World {
    _folder: tempfile::TempDir,
    coalmine: Coalmine,
}

/// What customers got.
#[derive(Debug, Default)]
struct Met {
    by_stable: usize,
    by_canary: usize,
    slowest: Duration,
}

impl World {
    async fn new(binary: &Path, canary: Canary) -> Result<Self> {
        Self::of(binary, canary, RELEASE).await
    }

    async fn of(binary: &Path, canary: Canary, release: &str) -> Result<Self> {
        let stable = upstream::spawn("stable").await?.port();
        let canary = match canary {
            Canary::Broken => {
                upstream::spawn_answering(|_| (StatusCode::INTERNAL_SERVER_ERROR, json!({}))).await?.port()
            }
            Canary::Hanging => hanging_upstream().await?,
            Canary::Well => upstream::spawn("canary").await?.port(),
        };
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("release.yaml"), release)?;
        let port = free_port()?;
        let config = format!(
            "listen: 127.0.0.1:{port}
store: sqlite:coalmine.db
api: {{ tokens: {{ tester: ${{COALMINE_TOKEN}} }} }}
providers:
  stable: {{ kind: openai, upstreams: [{{ url: \"http://127.0.0.1:{stable}/v1\" }}] }}
  canary: {{ kind: openai, upstreams: [{{ url: \"http://127.0.0.1:{canary}/v1\" }}] }}
routes:
  support: {{ stable: {{ model: stable/m-stable }} }}
"
        );
        let coalmine = Coalmine::start(binary, folder.path(), port, &config).await?;
        Ok(Self { _folder: folder, coalmine })
    }

    async fn release(&self) -> Result<Value> {
        self.coalmine.http().get("/api/v1/releases/support-1").await
    }

    /// New customers, one after another, until the release is in one of these states.
    async fn customers_until(&self, states: &[&str]) -> Result<(Value, Met)> {
        let until = Instant::now() + Duration::from_secs(90);
        let mut met = Met::default();
        loop {
            let release = self.release().await?;
            if states.iter().any(|state| release["state"]["is"] == *state) {
                return Ok((release, met));
            }
            ensure!(Instant::now() < until, "it is not {states:?} within 90 s: {release}");
            self.customers(5, &mut met).await?;
        }
    }

    async fn customers(&self, count: usize, met: &mut Met) -> Result<()> {
        for _ in 0..count {
            let number = met.by_stable + met.by_canary;
            let body = json!({"model": "support", "messages": [{"role": "user", "content": format!("I am {number}")}]});
            let began = Instant::now();
            let answer = self.coalmine.app().post("/v1/chat/completions", &body).await?;
            met.slowest = met.slowest.max(began.elapsed());
            match answer["model"].as_str() {
                Some("m-stable") => met.by_stable += 1,
                Some("m-canary") => met.by_canary += 1,
                _ => anyhow::bail!("a customer got nothing: {answer}"),
            }
        }
        Ok(())
    }
}

async fn bad(binary: &Path) -> Result<()> {
    let world = World::new(binary, Canary::Broken).await?;
    world.coalmine.cli(&["start", "release.yaml"])?;
    let (release, mut met) = world.customers_until(&["rolled_back"]).await?;
    ensure!(release["state"]["cause"] == "shadow", "by its shadow: {release}");
    ensure!(release["started_at_ms"].is_null(), "nobody was exposed: {release}");
    world.customers(50, &mut met).await?;
    ensure!(met.by_canary == 0, "{} customers met it", met.by_canary);
    print(&format!("bad: {}; 0 of {} customers met the canary", release["state"]["why"], met.by_stable));
    let explained = world.coalmine.cli(&["explain", "support-1"])?;
    for told in ["SHADOW", "mirrored sessions counted", "error_rate worse (guardrail)", "shadow: error_rate"] {
        ensure!(explained.contains(told), "`{told}` is told: {explained}");
    }
    let replayed = world.coalmine.cli(&["explain", "support-1", "--replay"])?;
    ensure!(replayed.contains("0 differ"), "the record says the same again: {replayed}");
    Ok(())
}

/// It answers nothing at all; within the time of this test no copy ends.
async fn hanging(binary: &Path) -> Result<()> {
    let world = World::new(binary, Canary::Hanging).await?;
    world.coalmine.cli(&["start", "release.yaml"])?;
    let mut met = Met::default();
    world.customers(200, &mut met).await?;
    let release = world.release().await?;
    ensure!(release["state"]["is"] == "shadow", "nothing is proven yet: {release}");
    ensure!(met.by_canary == 0 && met.by_stable == 200, "{met:?}");
    ensure!(met.slowest < Duration::from_secs(10), "nobody waits for a copy: {met:?}");
    let page = world.coalmine.http().send(Method::GET, "/metrics", &[], None).await?;
    let metrics = String::from_utf8_lossy(&page.body);
    for line in [
        "coalmine_shadow_under_way 8",
        "coalmine_shadow_mirrored_total{route=\"support\"} 8",
        "coalmine_shadow_lost_total{route=\"support\",why=\"busy\"} 192",
    ] {
        ensure!(metrics.lines().any(|found| found == line), "{line} is counted: {metrics}");
    }
    print(&format!(
        "hanging: 8 copies hang, 192 were not made, 200 customers served, the slowest in {:?}",
        met.slowest
    ));
    Ok(())
}

/// Killed while all its sessions are young: none is lost, and none is counted twice.
async fn killed(binary: &Path) -> Result<()> {
    let release = RELEASE
        .replace("for: 4s, min_sessions: 30", "for: 1h, min_sessions: 10")
        .replace("session: 2s, whole: 2s", "session: 12s, whole: 12s");
    let mut world = World::of(binary, Canary::Well, &release).await?;
    world.coalmine.cli(&["start", "release.yaml"])?;
    let mut met = Met::default();
    world.customers(20, &mut met).await?;
    let pairs = |release: &Value| release["shadow"]["pairs"].as_u64().unwrap_or_default();
    let until = Instant::now() + Duration::from_secs(30);
    while pairs(&world.release().await?) < 20 {
        ensure!(Instant::now() < until, "20 pairs are seen: {}", world.release().await?);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let young = world.release().await?["shadow"]["sessions"].as_u64();
    world.coalmine.kill_9()?;
    world.coalmine.spawn().await?;
    let until = Instant::now() + Duration::from_secs(60);
    let sessions = |release: &Value| release["shadow"]["sessions"].as_u64().unwrap_or_default();
    while sessions(&world.release().await?) < 20 {
        ensure!(Instant::now() < until, "20 sessions are counted: {}", world.release().await?);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let after = world.release().await?;
    ensure!(sessions(&after) == 20 && pairs(&after) == 20, "each once: {after}");
    print(&format!("killed: {young:?} of 20 sessions were counted before kill -9, 20 after it"));
    Ok(())
}

async fn good(binary: &Path) -> Result<()> {
    let world = World::new(binary, Canary::Well).await?;
    world.coalmine.cli(&["start", "release.yaml"])?;
    let (release, met) = world.customers_until(&["running", "rolled_back"]).await?;
    ensure!(release["state"]["is"] == "running", "it is let on: {release}");
    ensure!(met.by_canary <= 5, "the first stage began after its shadow: {met:?}");
    let sessions = release["shadow"]["sessions"].as_u64().unwrap_or_default();
    ensure!(sessions >= 30, "with sessions enough: {release}");
    // what is committed is served a moment later
    let (until, mut exposed) = (Instant::now() + Duration::from_secs(20), Met::default());
    while exposed.by_canary == 0 {
        ensure!(Instant::now() < until, "nobody is on it: {exposed:?}");
        world.customers(10, &mut exposed).await?;
    }
    exposed = Met::default();
    world.customers(100, &mut exposed).await?;
    ensure!(exposed.by_canary > 20, "and now half of the customers are on it: {exposed:?}");
    print(&format!("good: let on after {sessions} mirrored sessions, {} of 100 then met it", exposed.by_canary));
    Ok(())
}

mod pairs;
mod people;
mod similarity;

/// So many new customers, whom stable answers with its own words.
async fn customers(coalmine: &Coalmine, customer: &mut u32, count: u32, words: &str) -> Result<()> {
    for _ in 0..count {
        *customer += 1;
        let hello = format!("I am customer {customer}. Who are you?");
        let body = json!({"model": "support", "messages": [{"role": "user", "content": hello}]});
        let answer = coalmine.app().post("/v1/chat/completions", &body).await?;
        let said = answer["choices"][0]["message"]["content"].as_str().unwrap_or_default();
        ensure!(said.starts_with(words), "stable answers everybody: {answer}");
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    Ok(())
}

/// Stable, the canary, and a provider beside them.
fn config_beside(port: u16, beside: &str, [stable, canary, third]: [u16; 3]) -> String {
    format!(
        "listen: 127.0.0.1:{port}
store: sqlite:coalmine.db
api: {{ tokens: {{ tester: ${{COALMINE_TOKEN}} }} }}
providers:
  stable: {{ kind: openai, upstreams: [{{ url: \"http://127.0.0.1:{stable}/v1\" }}] }}
  canary: {{ kind: openai, upstreams: [{{ url: \"http://127.0.0.1:{canary}/v1\" }}] }}
  {beside}: {{ kind: openai, upstreams: [{{ url: \"http://127.0.0.1:{third}/v1\" }}] }}
routes:
  support: {{ stable: {{ model: stable/m-stable }} }}
"
    )
}

#[expect(clippy::print_stdout, reason = "a report for whoever ran it")]
fn print(text: &str) {
    println!("{text}");
}
