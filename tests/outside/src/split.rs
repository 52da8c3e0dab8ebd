//! The split on the real binary, and what a large request weighs there: the smallest weight is somebody's, one that would
//! round to none is refused and so is one that is missing (S1, S4); a release that nobody asks anything goes nowhere (S9); a large picture
//! is held twice, as it came and as it goes on, in the provider's own dialect and in another, and no third time.

use crate::process::{Coalmine, Under, free_port};
use crate::upstream;
use anyhow::{Context, Result, bail, ensure};
use http::Method;
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Virtual seconds per second.
const TIME_SCALE: u32 = 600;
/// At one of ten thousand, so many sessions miss the canary altogether once in twenty thousand runs.
const SESSIONS_MAX: usize = 100_000;
const AT_ONCE: usize = 64;
/// A picture below the limit of 64 MiB for a body.
const PICTURE_BYTES: usize = 32 << 20;

/// Runs it all; fails at the first thing that does not hold.
pub(crate) async fn run(under: Under) -> Result<()> {
    let binary = under.path()?;
    smallest_weight(&binary).await?;
    silence(&binary).await?;
    large_picture(&binary).await
}

async fn start(binary: &Path, folder: &Path, more: &str) -> Result<Coalmine> {
    let stable = upstream::spawn("stable").await?.port();
    let canary = upstream::spawn("canary").await?.port();
    let port = free_port()?;
    let config = format!(
        "listen: 127.0.0.1:{port}
store: sqlite:coalmine.db
{more}api: {{ tokens: {{ tester: ${{COALMINE_TOKEN}} }} }}
providers:
  before: {{ kind: openai, base_url: \"http://127.0.0.1:{stable}/v1\" }}
  after: {{ kind: openai, base_url: \"http://127.0.0.1:{canary}/v1\" }}
routes:
  r: {{ stable: {{ model: before/one }} }}
"
    );
    Coalmine::start(binary, folder, port, &config).await
}

fn release(stages: &str) -> String {
    format!(
        "release: r\ncanary: {{ model: after/two }}\nmax_duration: 30d\nstages: [{stages}]\n\
         guardrails: [{{ metric: error_rate, margin: 5pp }}]\n"
    )
}

/// Starts a release of these stages; its id, or what was said against it.
fn begin(coalmine: &Coalmine, stages: &str) -> Result<String> {
    std::fs::write(coalmine.folder.join("release.yaml"), release(stages))?;
    let started: Value = serde_json::from_str(&coalmine.cli(&["start", "release.yaml", "--acknowledge", "--json"])?)?;
    Ok(started["id"].as_str().context("start --json gave no id")?.to_owned())
}

fn refused(coalmine: &Coalmine, stages: &str, because: &[&str]) -> Result<()> {
    let Err(told) = begin(coalmine, stages) else { bail!("a release of {stages} was started") };
    let told = format!("{told:#}");
    ensure!(because.iter().all(|word| told.contains(word)), "{stages} is refused for {because:?}: {told}");
    Ok(())
}

/// The arm of a session that begins.
async fn arm(app: crate::client::Http, session: String) -> Result<String> {
    let body = json!({"model": "r", "messages": [{"role": "user", "content": "hello"}]});
    let headers = [("x-session-id", session.as_str())];
    let answer = app.send(Method::POST, "/v1/chat/completions", &headers, Some(&body)).await?;
    let said = answer.json("a turn")?["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned();
    let arm = answer.header("x-coalmine-arm").to_owned();
    ensure!(said.starts_with("canary") == (arm == "canary"), "{arm} was told, and it was {said}");
    Ok(arm)
}

async fn smallest_weight(binary: &Path) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let coalmine = start(binary, folder.path(), "").await?;
    refused(&coalmine, "{ weight: 0.001%, bake: 7d }", &["stages[0].weight", "0.01%"])?;
    refused(&coalmine, "{ weight: 5%, bake: 1h }, { bake: 7d }", &["stages[1]", "weight"])?;
    ensure!(arm(coalmine.app(), "before".to_owned()).await? == "stable", "what was refused is not served");
    begin(&coalmine, "{ weight: 0.01%, bake: 7d }")?;
    let until = Instant::now() + Duration::from_secs(20);
    for probe in 0.. {
        if arm(coalmine.app(), format!("probe-{probe}")).await? != "stable" {
            break;
        }
        ensure!(Instant::now() < until, "no session takes part within 20 s");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (app, mut going, mut begun, mut canary) = (coalmine.app(), JoinSet::new(), 0_usize, None);
    while canary.is_none() && begun < SESSIONS_MAX {
        while going.len() < AT_ONCE {
            going.spawn(arm(app.clone(), format!("session-{begun}")));
            begun += 1;
        }
        if let Some(told) = going.join_next().await
            && told?? == "canary"
        {
            canary = Some(begun);
        }
    }
    let first = canary.with_context(|| format!("none of {begun} sessions came to the canary at 0.01 %"))?;
    print(&format!("0.01 %: the canary was given one of the first {first} sessions; less, and none, is refused"));
    Ok(())
}

/// Nobody asks anything: the stage's time passes many times over, and the release stands where it is.
async fn silence(binary: &Path) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let coalmine = start(binary, folder.path(), &format!("time_scale: {TIME_SCALE}\n")).await?;
    let id = begin(&coalmine, "{ weight: 10%, bake: 10m }, { weight: 50%, bake: 10m }")?;
    let path = format!("/api/v1/releases/{id}");
    // two hours
    tokio::time::sleep(Duration::from_secs(2 * 3_600 / u64::from(TIME_SCALE))).await;
    let release = coalmine.http().get(&path).await?;
    ensure!(release["state"]["is"] == "running", "nobody was heard, and it is over: {release}");
    ensure!(release["state"]["stage"] == 0, "nobody was heard, and it went on: {release}");
    let verdicts: Vec<&Value> =
        release["findings"].as_array().into_iter().flatten().map(|finding| &finding["verdict"]).collect();
    ensure!(!verdicts.is_empty() && verdicts.iter().all(|verdict| *verdict != "healthy"), "{release}");
    print(&format!("silence: two hours of a stage of ten minutes, and it holds; verdicts {verdicts:?}"));
    Ok(())
}

/// How many bytes the process has held at most, and holds.
fn held(coalmine: &Coalmine) -> Result<(usize, usize)> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", coalmine.pid()?))?;
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).context("no such line")?;
        let number = line.trim().strip_suffix(" kB").context("no kB")?;
        Ok::<_, anyhow::Error>(number.trim().parse::<usize>()? << 10)
    };
    Ok((of("VmHWM:")?, of("VmRSS:")?))
}

async fn large_picture(binary: &Path) -> Result<()> {
    let data = "iVBO".repeat(PICTURE_BYTES / 4);
    let url = format!("data:image/png;base64,{data}");
    let text = json!({"type": "text", "text": "See."});
    let content = json!([text, {"type": "image_url", "image_url": {"url": url}}]);
    let chat = json!({"model": "r", "messages": [{"role": "user", "content": content}]});
    let source = json!({"type": "base64", "media_type": "image/png", "data": data});
    let content = json!([text, {"type": "image", "source": source}]);
    let messages = json!({"model": "r", "max_tokens": 9, "messages": [{"role": "user", "content": content}]});
    for (what, path, large) in [("as it is", "/v1/chat/completions", chat), ("translated", "/v1/messages", messages)] {
        // a process of its own, whose most is of nothing else
        let folder = tempfile::tempdir()?;
        let coalmine = start(binary, folder.path(), "").await?;
        let mut small = large.clone();
        small["messages"][0]["content"] = json!("hello");
        coalmine.app().post(path, &small).await?;
        let (_, before) = held(&coalmine)?;
        coalmine.app().post(path, &large).await?;
        let (most, _) = held(&coalmine)?;
        let times = most.saturating_sub(before) as f64 / PICTURE_BYTES as f64;
        ensure!(times < 2.8, "a picture of {PICTURE_BYTES} bytes {what} was held {times:.2} times at once");
        print(&format!("a picture of 32 MiB {what}: held {times:.2} times at most"));
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a report for whoever ran it")]
fn print(text: &str) {
    println!("{text}");
}
