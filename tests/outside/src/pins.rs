//! Many sessions of four turns, through a ramp, a restart and a kill -9: no session may change its
//! version, and the split must be what the weights say.

use crate::client::Http;
use crate::process::{Coalmine, Under, free_port};
use crate::upstream;
use anyhow::{Context, Result, ensure};
use clap::Args as ClapArgs;
use futures_util::stream::{self, StreamExt};
use http::Method;
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Arguments of `outside pins`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    #[command(flatten)]
    under: Under,
    /// Sessions of four turns.
    #[arg(long, default_value_t = 100_000)]
    sessions: usize,
    /// Sessions of one turn per weight of the split check.
    #[arg(long, default_value_t = 50_000)]
    split_sessions: usize,
    /// Requests in flight.
    #[arg(long, default_value_t = 48)]
    concurrency: usize,
    /// Print one JSON document instead of sentences.
    #[arg(long)]
    json: bool,
}

/// What was seen.
#[derive(Debug, Serialize)]
struct Report {
    sessions: usize,
    requests: u64,
    retried_after_kill: u64,
    flips: Vec<String>,
    splits: Vec<Split>,
    seconds: f64,
}

#[derive(Debug, Serialize)]
struct Split {
    weight_bp: u32,
    sessions: usize,
    canary: usize,
    /// Distance from the expectation in binomial standard deviations.
    z: f64,
}

/// A session as its client knows it.
#[derive(Debug, Default)]
struct Talk {
    messages: Vec<Value>,
    version: String,
    arm: String,
    turns: usize,
}

struct World {
    app: Http,
    talks: Vec<Mutex<Talk>>,
    flips: Mutex<Vec<String>>,
    requests: AtomicU64,
    retried: AtomicU64,
}

const SPLITS_BP: [u32; 4] = [10, 100, 500, 5_000];

/// Runs it all; fails when a session changed its version or a split is off.
pub(crate) async fn run(args: Args) -> Result<()> {
    let began = Instant::now();
    let stable = upstream::spawn("stable").await?;
    let canary = upstream::spawn("canary").await?;
    let folder = tempfile::tempdir()?;
    let port = free_port()?;
    let binary = args.under.path()?;
    let mut coalmine =
        Coalmine::start(&binary, folder.path(), port, &config(port, stable.port(), canary.port())).await?;
    let world = World {
        app: coalmine.app(),
        talks: (0..args.sessions).map(|_| Mutex::default()).collect(),
        flips: Mutex::default(),
        requests: AtomicU64::new(0),
        retried: AtomicU64::new(0),
    };
    let mut splits = Vec::new();
    for weight_bp in SPLITS_BP {
        splits.push(split(&args, &coalmine, weight_bp).await?);
    }
    let waves = ramp(&args, &mut coalmine, &world).await?;
    splits.extend(waves);
    let report = Report {
        sessions: args.sessions,
        requests: world.requests.load(Ordering::Relaxed),
        retried_after_kill: world.retried.load(Ordering::Relaxed),
        flips: world.flips.into_inner().unwrap_or_default(),
        splits,
        seconds: began.elapsed().as_secs_f64(),
    };
    conclude(&args, &report)
}

fn config(port: u16, stable: u16, canary: u16) -> String {
    let mut routes = String::from("  ramp:\n    stable: { model: before/one }\n");
    for weight_bp in SPLITS_BP {
        routes.push_str(&format!("  split-{weight_bp}:\n    stable: {{ model: before/one }}\n"));
    }
    format!(
        "listen: 127.0.0.1:{port}\nstore: sqlite:coalmine.db\napi: {{ tokens: {{ outside: \"${{COALMINE_TOKEN}}\" }} }}\nproviders:\n  \
         before: {{ kind: openai, base_url: \"http://127.0.0.1:{stable}/v1\" }}\n  \
         after: {{ kind: openai, base_url: \"http://127.0.0.1:{canary}/v1\" }}\nroutes:\n{routes}"
    )
}

fn release(route: &str, weights_bp: &[u32]) -> String {
    let mut text = format!(
        "release: {route}\ncanary: {{ model: after/two }}\nfalse_rollback_rate: 1%\nmax_duration: 30d\nstages:\n"
    );
    for bp in weights_bp {
        text.push_str(&format!("  - {{ weight: {}%, bake: 7d }}\n", f64::from(*bp) / 100.0));
    }
    text.push_str("guardrails:\n  - { metric: error_rate, margin: 5pp }\n");
    text
}

fn start(coalmine: &Coalmine, route: &str, weights_bp: &[u32]) -> Result<String> {
    let file = format!("{route}.yaml");
    std::fs::write(coalmine.folder.join(&file), release(route, weights_bp))?;
    let started: Value = serde_json::from_str(&coalmine.cli(&["start", &file, "--json"])?)?;
    Ok(started["id"].as_str().context("start --json gave no id")?.to_owned())
}

/// Many one-turn sessions at one weight.
async fn split(args: &Args, coalmine: &Coalmine, weight_bp: u32) -> Result<Split> {
    let route = format!("split-{weight_bp}");
    start(coalmine, &route, &[weight_bp])?;
    wait_for_weight(&coalmine.app(), &route).await?;
    let app = coalmine.app();
    let canary = AtomicU64::new(0);
    let ask = |n: usize| {
        let (app, canary, route) = (&app, &canary, &route);
        async move {
            let body = json!({"model": route, "messages": [{"role": "user", "content": "hello"}]});
            let session = format!("s{n}");
            let answer =
                app.send(Method::POST, "/v1/chat/completions", &[("x-session-id", &session)], Some(&body)).await?;
            ensure!(answer.status.is_success(), "session {n}: {}", answer.status);
            canary.fetch_add(u64::from(answer.header("x-coalmine-arm") == "canary"), Ordering::Relaxed);
            Ok::<(), anyhow::Error>(())
        }
    };
    let mut asked = stream::iter(0..args.split_sessions).map(ask).buffer_unordered(args.concurrency);
    while let Some(result) = asked.next().await {
        result?;
    }
    drop(asked);
    Ok(measure(weight_bp, args.split_sessions, usize::try_from(canary.into_inner())?))
}

fn measure(weight_bp: u32, sessions: usize, canary: usize) -> Split {
    let share = f64::from(weight_bp) / 10_000.0;
    let expected = share * sessions as f64;
    let z = (canary as f64 - expected) / (expected * (1.0 - share)).sqrt();
    Split { weight_bp, sessions, canary, z }
}

/// Until the route's release takes sessions: the arm says `control` or `canary` then.
async fn wait_for_weight(app: &Http, route: &str) -> Result<()> {
    let body = json!({"model": route, "messages": [{"role": "user", "content": "are you there"}]});
    for n in 0..500 {
        let session = format!("probe-{n}");
        let answer = app.send(Method::POST, "/v1/chat/completions", &[("x-session-id", &session)], Some(&body)).await?;
        if matches!(answer.header("x-coalmine-arm"), "control" | "canary") {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    anyhow::bail!("the release of {route} exposes nobody after 10 s")
}

/// 5 → 25 → 50 % with a restart and a kill -9 on the way; returns the split of each wave.
async fn ramp(args: &Args, coalmine: &mut Coalmine, world: &World) -> Result<Vec<Split>> {
    let id = start(coalmine, "ramp", &[500, 2_500, 5_000])?;
    wait_for_weight(&world.app, "ramp").await?;
    let third = args.sessions / 3;
    let waves = [0..third, third..2 * third, 2 * third..args.sessions];
    let everybody = 0..args.sessions;
    let mut splits = Vec::new();

    turns(args, world, waves[0].clone(), 1).await?;
    turns(args, world, waves[0].clone(), 2).await?;
    splits.push(world.split(500, waves[0].clone()));
    coalmine.stop().await?;
    coalmine.spawn().await?;

    advance(coalmine, &id, 2).await?;
    turns(args, world, waves[1].clone(), 1).await?;
    splits.push(world.split(2_500, waves[1].clone()));
    // In the middle of traffic: openings of the last wave and second turns of the wave before.
    let (killed, first, second) = tokio::join!(
        kill_under_load(coalmine),
        turns(args, world, waves[1].clone(), 2),
        turns(args, world, waves[0].clone(), 3),
    );
    killed?;
    first?;
    second?;
    advance(coalmine, &id, 3).await?;
    turns(args, world, waves[2].clone(), 1).await?;
    splits.push(world.split(5_000, waves[2].clone()));
    for turn in 2..=4 {
        turns(args, world, everybody.clone(), turn).await?;
    }
    Ok(splits)
}

async fn advance(coalmine: &Coalmine, id: &str, stage: usize) -> Result<()> {
    coalmine.cli(&["advance", id, "--reason", "outside ramp"])?;
    let until = Instant::now() + Duration::from_secs(15);
    loop {
        let status = coalmine.http().get(&format!("/api/v1/releases/{id}")).await?;
        if status["state"]["stage"].as_u64() == Some(stage as u64 - 1) && status["served"].as_bool() != Some(false) {
            return Ok(());
        }
        ensure!(Instant::now() < until, "stage {stage} is not served after 15 s: {status}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn kill_under_load(coalmine: &mut Coalmine) -> Result<()> {
    tokio::time::sleep(Duration::from_millis(150)).await;
    coalmine.kill_9()?;
    coalmine.spawn().await
}

/// Turn number `turn` of every session in `range` that has not had it.
async fn turns(args: &Args, world: &World, range: std::ops::Range<usize>, turn: usize) -> Result<()> {
    let ask = |n: usize| async move { world.turn(n, turn).await };
    let mut asked = stream::iter(range).map(ask).buffer_unordered(args.concurrency);
    while let Some(result) = asked.next().await {
        result?;
    }
    Ok(())
}

impl World {
    /// Every second session names itself; the others are followed by what they say.
    async fn turn(&self, n: usize, turn: usize) -> Result<()> {
        let messages = {
            let Ok(mut talk) = self.talks[n].lock() else { anyhow::bail!("a poisoned session") };
            if talk.turns >= turn {
                return Ok(());
            }
            talk.messages.push(json!({"role": "user", "content": format!("session {n}, question {turn}")}));
            talk.messages.clone()
        };
        let body = json!({"model": "ramp", "messages": messages});
        let session = format!("session-{n}");
        let named = [("x-session-id", session.as_str())];
        let headers: &[(&str, &str)] = if n.is_multiple_of(2) { &named } else { &[] };
        let answer = self.until_answered(headers, &body).await.with_context(|| format!("session {n}, turn {turn}"))?;
        let said = answer.json("chat")?["choices"][0]["message"].clone();
        let version = answer.header("x-coalmine-version").to_owned();
        let arm = answer.header("x-coalmine-arm").to_owned();
        let Ok(mut talk) = self.talks[n].lock() else { anyhow::bail!("a poisoned session") };
        talk.messages.push(said);
        talk.turns = turn;
        if talk.version.is_empty() {
            talk.version = version;
            talk.arm = arm;
        } else if talk.version != version
            && let Ok(mut flips) = self.flips.lock()
        {
            flips.push(format!(
                "session {n} ({}), turn {turn}: {} ({}) then {version} ({arm})",
                if headers.is_empty() { "followed" } else { "named" },
                talk.version,
                talk.arm
            ));
        }
        Ok(())
    }

    /// As a client with retries: a broken connection is tried again for up to 20 s.
    async fn until_answered(&self, headers: &[(&str, &str)], body: &Value) -> Result<crate::client::Answer> {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            self.requests.fetch_add(1, Ordering::Relaxed);
            match self.app.send(Method::POST, "/v1/chat/completions", headers, Some(body)).await {
                Ok(answer) if answer.status.is_success() => return Ok(answer),
                Ok(answer) if Instant::now() > until => {
                    anyhow::bail!("{} {}", answer.status, String::from_utf8_lossy(&answer.body))
                }
                Err(error) if Instant::now() > until => return Err(error),
                Ok(_) | Err(_) => {
                    self.retried.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn split(&self, weight_bp: u32, range: std::ops::Range<usize>) -> Split {
        let sessions = range.len();
        let canary = range.filter(|n| self.talks[*n].lock().is_ok_and(|t| t.arm == "canary")).count();
        measure(weight_bp, sessions, canary)
    }
}

#[expect(clippy::print_stdout, reason = "the report is the product of this command")]
fn conclude(args: &Args, report: &Report) -> Result<()> {
    if args.json {
        println!("{}", serde_json::to_string_pretty(report)?);
    } else {
        println!(
            "{} sessions of 4 turns, {} requests ({} repeated around the kill), {:.0} s",
            report.sessions, report.requests, report.retried_after_kill, report.seconds
        );
        for s in &report.splits {
            println!(
                "weight {:>6} %: {} of {} sessions on the canary, z = {:+.2}",
                f64::from(s.weight_bp) / 100.0,
                s.canary,
                s.sessions,
                s.z
            );
        }
        println!("sessions that changed their version: {}", report.flips.len());
        for flip in report.flips.iter().take(10) {
            println!("  {flip}");
        }
    }
    ensure!(report.flips.is_empty(), "{} sessions changed their version", report.flips.len());
    for s in &report.splits {
        ensure!(s.z.abs() < 4.0, "weight {} bp: {} of {} is outside binomial noise", s.weight_bp, s.canary, s.sessions);
    }
    Ok(())
}
