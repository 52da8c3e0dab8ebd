//! Plans on the real binary: from what a route has really served, without traffic, and a start that the plan refuses.

use crate::process::{Coalmine, Under, free_port};
use crate::upstream;
use anyhow::{Result, bail, ensure};
use http::Method;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Sessions that the route serves before it is asked.
const SESSIONS: u32 = 300;
const TURNS: u32 = 2;
/// Virtual seconds per second: a history of ten minutes is the least to plan by.
const TIME_SCALE: u32 = 60;

/// Runs it all; fails at the first thing that does not hold.
pub(crate) async fn run(under: Under) -> Result<()> {
    let binary = under.path()?;
    let upstream = upstream::spawn_changing(Arc::new(Mutex::new("good".to_owned()))).await?.port();
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("day.yaml"), release("24h", "1pp"))?;
    std::fs::write(folder.path().join("hour.yaml"), release("40m", "0.1pp"))?;
    let port = free_port()?;
    let coalmine = Coalmine::start(&binary, folder.path(), port, &config(port, upstream)).await?;

    let Err(unknown) = coalmine.cli(&["plan", "day.yaml"]) else {
        bail!("a route that has served nothing has no plan of its own");
    };
    ensure!(unknown.to_string().contains("--traffic"), "and says how to state it: {unknown}");
    let stated = coalmine.cli(&["plan", "day.yaml", "--traffic", "4000/h"])?;
    ensure!(stated.contains("4000 sessions an hour") && stated.contains("(stated)"), "{stated}");

    for session in 0..SESSIONS {
        serve(&coalmine, session).await?;
    }
    let outlook = until_seen(&coalmine).await?;
    let traffic = &outlook["traffic"];
    ensure!(traffic["sessions_per_hour"].as_f64().is_some_and(|n| n > f64::from(SESSIONS)), "{traffic}");
    let measured = coalmine.cli(&["plan", "day.yaml"])?;
    ensure!(measured.contains("measured") && !measured.contains("(stated)"), "{measured}");
    ensure!(measured.contains("error_rate"), "{measured}");

    // Of a tenth of a point nothing can be proven in forty minutes: the plan says so, and the start is refused by it.
    let Err(refused) = coalmine.cli(&["plan", "hour.yaml"]) else { bail!("an undecidable plan passes") };
    ensure!(refused.to_string().contains("exit status: 1"), "with its own exit code: {refused}");
    let Err(refused) = coalmine.cli(&["start", "hour.yaml"]) else { bail!("an undecidable release starts") };
    ensure!(refused.to_string().contains("acknowledge"), "and says how to start it all the same: {refused}");
    coalmine.cli(&["start", "hour.yaml", "--acknowledge"])?;
    print(&measured);
    Ok(())
}

/// One session of some turns, told by its header.
async fn serve(coalmine: &Coalmine, session: u32) -> Result<()> {
    let name = format!("session-{session}");
    for turn in 0..TURNS {
        let said = format!("message {turn} of {name}");
        let body = json!({"model": "support", "messages": [{"role": "user", "content": said}]});
        let headers = [("x-session-id", name.as_str())];
        let answer = coalmine.app().send(Method::POST, "/v1/chat/completions", &headers, Some(&body)).await?;
        let answer = answer.json("a turn")?;
        ensure!(answer["choices"][0]["message"]["content"].is_string(), "no answer: {answer}");
    }
    Ok(())
}

/// The plan as JSON, once all that was served has been counted.
async fn until_seen(coalmine: &Coalmine) -> Result<Value> {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        match coalmine.cli(&["plan", "day.yaml", "--json"]) {
            Ok(text) => return Ok(serde_json::from_str(&text)?),
            Err(error) if Instant::now() > until => return Err(error.context("no plan within a minute")),
            Err(_) => tokio::time::sleep(Duration::from_millis(500)).await,
        }
    }
}

fn release(duration: &str, margin: &str) -> String {
    format!(
        "release: support
canary: {{ model: main/m-canary }}
max_duration: {duration}
stages:
  - {{ weight: 50%, bake: 30m }}
guardrails:
  - {{ metric: error_rate, margin: {margin} }}
"
    )
}

fn config(port: u16, upstream: u16) -> String {
    format!(
        "listen: 127.0.0.1:{port}
store: sqlite:coalmine.db
time_scale: {TIME_SCALE}
api: {{ tokens: {{ tester: ${{COALMINE_TOKEN}} }} }}
providers:
  main: {{ kind: openai, upstreams: [{{ url: \"http://127.0.0.1:{upstream}/v1\" }}] }}
routes:
  support: {{ stable: {{ model: main/m-stable }} }}
"
    )
}

#[expect(clippy::print_stdout, reason = "a report for whoever ran it")]
fn print(text: &str) {
    println!("{text}");
}
