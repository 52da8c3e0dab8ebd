//! Real recorded generations of two model versions, through the real binary: the application's own
//! score of every answer goes back by `/v1/feedback`, and the decision is held against the truth.

use crate::client::Http;
use crate::process::{Coalmine, Kept, Under, free_port};
use anyhow::{Context, Result, bail, ensure};
use clap::Args as ClapArgs;
use futures_util::stream::{FuturesUnordered, StreamExt};
use http::Method;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Arguments of `outside replay`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// The folder with `manifest.json`, the recordings and `serve.py`.
    #[arg(long)]
    data: PathBuf,
    #[command(flatten)]
    under: Under,
    /// The policy of the runs.
    #[arg(long, default_value = "tests/replay/release.yaml")]
    policy: PathBuf,
    /// A Python that has `aiohttp`.
    #[arg(long, default_value = "python3")]
    python: String,
    /// Scenarios to run, all by default: `prime_gpt4=1,aa_prime_gpt4=40` names seeds per scenario.
    #[arg(long, default_value = "prime_gpt4=3,happy_gpt35=3,aa_prime_gpt4=40,opinion_gpt35=40")]
    runs: String,
    /// Sessions sent at least, and at most when nothing is decided.
    #[arg(long, default_value = "4000..8000")]
    sessions: String,
    /// Sessions a second, evenly.
    #[arg(long, default_value_t = 600.0)]
    rate: f64,
    /// Sessions in flight at most.
    #[arg(long, default_value_t = 24)]
    concurrency: usize,
    /// Virtual seconds per second.
    #[arg(long, default_value_t = 60.0)]
    time_scale: f64,
    /// Print one JSON document instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Deserialize)]
struct Scenario {
    scenario: String,
    file: String,
    stable: String,
    canary: String,
    stable_mean: f64,
    expected: String,
}

#[derive(Debug, Clone, Deserialize)]
struct Recording {
    prompt: String,
    version: String,
    correct: Option<f64>,
}

/// One scenario's prompts and what is true of each answer.
struct World {
    scenario: Scenario,
    prompts: Vec<String>,
    truth: HashMap<(String, String), f64>,
}

/// What one run showed.
#[derive(Debug, Clone, Serialize)]
struct Outcome {
    scenario: String,
    seed: u64,
    decision: String,
    why: String,
    sessions: u64,
    canary_sessions: u64,
    harmed: f64,
    seconds: f64,
    virtual_minutes: f64,
    sessions_at_decision: u64,
}

/// Runs every scenario with its seeds; fails when a decision contradicts the manifest.
pub(crate) async fn run(args: Args) -> Result<()> {
    let manifest = std::fs::read_to_string(args.data.join("manifest.json"))
        .with_context(|| format!("no recordings in {}; name their folder with --data", args.data.display()))?;
    let scenarios: Vec<Scenario> = serde_json::from_str(&manifest)?;
    let mut outcomes = Vec::new();
    for part in args.runs.split(',') {
        let (name, seeds) = part.split_once('=').unwrap_or((part, "1"));
        let seeds: u64 = seeds.parse().with_context(|| format!("seeds of {name}"))?;
        let scenario = scenarios.iter().find(|s| s.scenario == name).with_context(|| format!("no scenario {name}"))?;
        let world = World::load(&args.data, scenario)?;
        let upstreams = Upstreams::start(&args, scenario).await?;
        for seed in 0..seeds {
            let outcome = one(&args, &world, &upstreams, seed).await.with_context(|| format!("{name}, seed {seed}"))?;
            if !args.json {
                print_row(&outcome);
            }
            outcomes.push(outcome);
        }
    }
    conclude(&args, &scenarios, &outcomes)
}

impl World {
    fn load(data: &Path, scenario: &Scenario) -> Result<Self> {
        let mut prompts = Vec::new();
        let mut truth = HashMap::new();
        for line in std::fs::read_to_string(data.join(&scenario.file))?.lines() {
            let row: Recording = serde_json::from_str(line)?;
            let Some(correct) = row.correct else { continue };
            let prompt = row.prompt.trim().to_owned();
            if row.version == scenario.stable {
                prompts.push(prompt.clone());
            }
            truth.entry((row.version, prompt)).or_insert(correct);
        }
        let both = |p: &String| {
            [&scenario.stable, &scenario.canary].iter().all(|v| truth.contains_key(&((*v).clone(), p.clone())))
        };
        prompts.retain(both);
        ensure!(!prompts.is_empty(), "{}: no prompt was answered by both versions", scenario.scenario);
        Ok(Self { scenario: scenario.clone(), prompts, truth })
    }
}

/// The two recorded versions, each a server of its own.
struct Upstreams {
    stable: u16,
    canary: u16,
    _processes: [Kept; 2],
}

impl Upstreams {
    async fn start(args: &Args, scenario: &Scenario) -> Result<Self> {
        let (stable, canary) = (free_port()?, free_port()?);
        let start = |port: u16, version: &str| -> Result<Kept> {
            let child = Command::new(&args.python)
                .arg(args.data.join("serve.py"))
                .args(["--port", &port.to_string(), "--speed", "2000", "--force", version])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .env("PYTHONDONTWRITEBYTECODE", "1")
                .spawn()
                .with_context(|| format!("starting {} (it needs aiohttp)", args.python))?;
            Ok(Kept(child))
        };
        let processes = [start(stable, &scenario.stable)?, start(canary, &scenario.canary)?];
        for port in [stable, canary] {
            let http = Http::new(format!("http://127.0.0.1:{port}"));
            let until = Instant::now() + Duration::from_secs(30);
            while http.get("/health").await.is_err() {
                ensure!(
                    Instant::now() < until,
                    "the recorded upstream on port {port} does not answer; has {} aiohttp?",
                    args.python
                );
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(Self { stable, canary, _processes: processes })
    }
}

fn process_config(port: u16, upstreams: &Upstreams, scenario: &Scenario, time_scale: f64) -> String {
    let Upstreams { stable, canary, .. } = upstreams;
    let model = &scenario.stable;
    format!(
        "listen: 127.0.0.1:{port}\nstore: sqlite:coalmine.db\ntime_scale: {time_scale}\n\
         api: {{ tokens: {{ outside: \"${{COALMINE_TOKEN}}\" }} }}\n\
         providers:\n  before: {{ kind: openai, base_url: \"http://127.0.0.1:{stable}/v1\" }}\n  \
         after: {{ kind: openai, base_url: \"http://127.0.0.1:{canary}/v1\" }}\n\
         routes:\n  replay:\n    stable: {{ model: \"before/{model}\" }}\n    feedback: [correct]\n"
    )
}

async fn one(args: &Args, world: &World, upstreams: &Upstreams, seed: u64) -> Result<Outcome> {
    let folder = tempfile::tempdir()?;
    let port = free_port()?;
    let config = process_config(port, upstreams, &world.scenario, args.time_scale);
    let binary = args.under.path()?;
    let coalmine = Coalmine::start(&binary, folder.path(), port, &config).await?;
    let policy =
        std::fs::read_to_string(&args.policy)?.replace("CANARY_MODEL", &format!("after/{}", world.scenario.canary));
    std::fs::write(folder.path().join("release.yaml"), policy)?;
    let started: Value = serde_json::from_str(&coalmine.cli(&["start", "release.yaml", "--json"])?)?;
    let release = started["id"].as_str().context("start --json gave no id")?.to_owned();
    let (least, most) = args.sessions.split_once("..").context("--sessions is MIN..MAX")?;
    let drive =
        Drive { args, world, coalmine: &coalmine, release: &release, seed, least: least.parse()?, most: most.parse()? };
    drive.run().await
}

struct Drive<'a> {
    args: &'a Args,
    world: &'a World,
    coalmine: &'a Coalmine,
    release: &'a str,
    seed: u64,
    least: u64,
    most: u64,
}

#[derive(Debug, Default)]
struct Counts {
    sessions: u64,
    canary: u64,
    canary_bad: f64,
    at_decision: u64,
}

impl Drive<'_> {
    async fn run(&self) -> Result<Outcome> {
        let began = Instant::now();
        let mut draw = StdRng::seed_from_u64(0x5eed_0000 + self.seed);
        let app = self.coalmine.app();
        let mut flying = FuturesUnordered::new();
        let mut counts = Counts::default();
        let mut decided: Option<(String, Value)> = None;
        let mut looked = Instant::now();
        let mut arrivals = tokio::time::interval(Duration::from_secs_f64(1.0 / self.args.rate));
        loop {
            let enough = counts.sessions >= self.least && decided.is_some() || counts.sessions >= self.most;
            if enough && flying.is_empty() {
                break;
            }
            tokio::select! {
                Some(shown) = flying.next() => {
                    let shown: Shown = shown?;
                    if shown.arm == "canary" {
                        counts.canary += 1;
                        counts.canary_bad += 1.0 - shown.correct;
                    }
                }
                _ = arrivals.tick(), if !enough && flying.len() < self.args.concurrency => {
                    let prompt = &self.world.prompts[draw.random_range(0..self.world.prompts.len())];
                    counts.sessions += 1;
                    flying.push(self.session(app.clone(), counts.sessions, prompt));
                }
            }
            if decided.is_none() && looked.elapsed() > Duration::from_millis(250) {
                looked = Instant::now();
                decided = self.decision().await?;
                counts.at_decision = counts.sessions;
            }
        }
        let until = Instant::now() + Duration::from_secs_f64(240.0 / self.args.time_scale);
        while decided.is_none() && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(100)).await;
            decided = self.decision().await?;
            counts.at_decision = counts.sessions;
        }
        let seconds = began.elapsed().as_secs_f64();
        Ok(self.outcome(&counts, decided, seconds))
    }

    fn outcome(&self, counts: &Counts, decided: Option<(String, Value)>, seconds: f64) -> Outcome {
        let expected_bad = counts.canary as f64 * (1.0 - self.world.scenario.stable_mean);
        let (decision, shown) = decided.unwrap_or_else(|| ("undecided".to_owned(), Value::Null));
        Outcome {
            scenario: self.world.scenario.scenario.clone(),
            seed: self.seed,
            decision,
            why: shown["report"]["headline"].as_str().unwrap_or_default().to_owned(),
            sessions: counts.sessions,
            canary_sessions: counts.canary,
            harmed: (counts.canary_bad - expected_bad).max(0.0),
            seconds,
            virtual_minutes: seconds * self.args.time_scale / 60.0,
            sessions_at_decision: counts.at_decision,
        }
    }

    /// The state once it is final.
    async fn decision(&self) -> Result<Option<(String, Value)>> {
        let release = self.coalmine.http().get(&format!("/api/v1/releases/{}", self.release)).await?;
        let state = release["state"]["is"].as_str().context("a release has a state")?.to_owned();
        Ok(matches!(state.as_str(), "rolled_back" | "promoted").then_some((state, release)))
    }

    async fn session(&self, app: Http, number: u64, prompt: &str) -> Result<Shown> {
        let session = format!("replay-{}-{number}", self.seed);
        let headers = [("x-session-id", session.as_str()), ("x-replay-scenario", file_stem(&self.world.scenario.file))];
        let body = json!({"model": "replay", "messages": [{"role": "user", "content": prompt}]});
        let answer = app.send(Method::POST, "/v1/chat/completions", &headers, Some(&body)).await?;
        let version = answer.header("x-replay-version").to_owned();
        if !answer.status.is_success() {
            bail!("session {number}: {} {}", answer.status, String::from_utf8_lossy(&answer.body));
        }
        let correct =
            *self.world.truth.get(&(version, prompt.to_owned())).context("an answer that was never recorded")?;
        let id = answer.header("x-coalmine-request-id").to_owned();
        let score = json!({"request_id": id, "name": "correct", "value": correct});
        app.post("/v1/feedback", &score).await?;
        Ok(Shown { arm: answer.header("x-coalmine-arm").to_owned(), correct })
    }
}

struct Shown {
    arm: String,
    correct: f64,
}

fn file_stem(file: &str) -> &str {
    file.strip_suffix(".jsonl").unwrap_or(file)
}

#[expect(clippy::print_stdout, reason = "the table is the product of this command")]
fn print_row(o: &Outcome) {
    println!(
        "{:<14} seed {:>2}  {:<11} after {:>5} sessions  sent {:>5}, canary {:>5}, harmed {:>6.1}  {:>5.1} s = {:>4.0} virtual min  {}",
        o.scenario,
        o.seed,
        o.decision,
        o.sessions_at_decision,
        o.sessions,
        o.canary_sessions,
        o.harmed,
        o.seconds,
        o.virtual_minutes,
        o.why
    );
}

/// Flat and A/A scenarios may be rolled back in at most one of forty seeds; the others never differ.
#[expect(clippy::print_stdout, reason = "the verdict is the product of this command")]
fn conclude(args: &Args, scenarios: &[Scenario], outcomes: &[Outcome]) -> Result<()> {
    let mut wrong = Vec::new();
    let mut summary = Vec::new();
    for scenario in scenarios {
        let runs: Vec<&Outcome> = outcomes.iter().filter(|o| o.scenario == scenario.scenario).collect();
        if runs.is_empty() {
            continue;
        }
        let count = |decision: &str| runs.iter().filter(|o| o.decision == decision).count();
        let (back, promoted) = (count("rolled_back"), count("promoted"));
        let contradicts = match scenario.expected.as_str() {
            "rolled_back" => back < runs.len(),
            "promoted" => promoted < runs.len(),
            _ => back * 40 > runs.len().max(40),
        };
        if contradicts {
            wrong.push(scenario.scenario.clone());
        }
        summary.push(json!({"scenario": scenario.scenario, "expected": scenario.expected, "runs": runs.len(),
            "rolled_back": back, "promoted": promoted, "undecided": count("undecided"), "contradicts": contradicts}));
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&json!({"runs": outcomes, "summary": summary}))?);
    } else {
        for row in &summary {
            println!("{row}");
        }
    }
    ensure!(wrong.is_empty(), "decisions contradict the manifest: {}", wrong.join(", "));
    Ok(())
}
