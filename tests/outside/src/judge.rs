//! A judge on the real binary: it is asked blind, its outage holds a release and rolls back nobody, and once it is back
//! the canary whose answers it finds worse is rolled back.

use crate::process::{Coalmine, Under, free_port};
use crate::upstream;
use anyhow::{Context, Result, ensure};
use http::StatusCode;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const JUDGE: &str = "model: jury/m-jury
scale: binary
rubric: The answer is good.
calls: 100000
anchors: { file: ../anchors/helpful.yaml }
";

const ANCHORS: &str = "anchors:
  - { question: Who are you?, answer: good answers message 1, label: pass }
  - { question: And you?, answer: bad answers message 1, label: fail }
";

/// Spans are of the scaled time.
const RELEASE: &str = "release: support
canary: { model: canary/m-canary }
bucket: 20s
ages: { first: 30s, session: 40s, whole: 60s }
stages:
  - { weight: 50%, bake: 24h }
guardrails:
  - { metric: error_rate, margin: 5pp }
  - { metric: judge.helpful, margin: 10pp, sample: { control: 50%, canary: 100% } }
";

/// Sixty scaled seconds a second.
const TIME_SCALE: u32 = 60;
/// Words that would tell a judge whose answer it reads.
const TELLING: [&str; 4] = ["canary", "stable", "support-1", "v_"];

/// A model that passes what calls itself good, and its log of what it was asked.
#[derive(Debug, Default)]
struct Jury {
    is_out: AtomicBool,
    asked: Mutex<Vec<String>>,
}

impl Jury {
    fn say(&self, asked: &Value) -> (StatusCode, String) {
        if let Ok(mut log) = self.asked.lock() {
            log.push(asked["messages"].to_string());
        }
        let question = asked["messages"][1]["content"].as_str().unwrap_or_default();
        if self.is_out.load(Ordering::SeqCst) {
            return (StatusCode::SERVICE_UNAVAILABLE, String::new());
        }
        let verdict = if question.contains("bad answers") { "fail" } else { "pass" };
        (StatusCode::OK, json!({ "reason": "so it calls itself", "verdict": verdict }).to_string())
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().map(|log| log.clone()).unwrap_or_default()
    }
}

struct World {
    _folder: tempfile::TempDir,
    coalmine: Coalmine,
    jury: Arc<Jury>,
    met: AtomicU32,
}

/// Runs it all; fails at the first thing that does not hold.
pub(crate) async fn run(under: Under) -> Result<()> {
    let binary = under.path()?;
    let world = World::new(&binary).await?;
    let checked = world.coalmine.cli(&["judge", "check", "judges/helpful.yaml"])?;
    ensure!(checked.contains("fine"), "the judge is read: {checked}");
    let anchored = world.coalmine.cli(&["judge", "run", "judges/helpful.yaml"])?;
    print(anchored.trim_end());
    world.coalmine.cli(&["start", "release.yaml"])?;
    let proven = |release: &Value| release["judges"][0]["anchors_agreed"] == 2;
    world.until("its anchors are scored", proven).await?;
    world.outage().await?;
    world.verdict().await?;
    graded(&binary).await?;
    let asked = world.jury.asked();
    for word in TELLING {
        ensure!(!asked.iter().any(|question| question.contains(word)), "the judge is told `{word}`");
    }
    print(&format!("blind: none of {TELLING:?} is in any of the {} questions", asked.len()));
    Ok(())
}

/// What a judge, an embeddings endpoint and a webhook are asked of an answer.
const SUITE: &str = r#"prompts: ["{{question}}"]
defaultTest:
  vars: { question: Who are you? }
  metadata: { canary: { judge: jury/m-jury, embeddings: jury/m-embeddings, every: 1s } }
tests:
  - { description: judged, assert: [{ type: llm-rubric, value: The answer is good. }] }
  - { description: similar, assert: [{ type: similar, value: good answers, threshold: 0.9 }] }
  - { description: called, assert: [{ type: webhook, value: kindness }] }
"#;

/// Sentinels that others decide: by hand and before exposure; where they are away, nobody has failed.
async fn graded(binary: &Path) -> Result<()> {
    let is_out = Arc::new(AtomicBool::new(false));
    let away = Arc::clone(&is_out);
    let others = upstream::spawn_answering(move |asked| {
        let is_bad = asked.to_string().contains("bad answers");
        let verdict = json!({ "reason": "so it calls itself", "verdict": if is_bad { "fail" } else { "pass" } });
        let vector = if is_bad { [1, 0] } else { [0, 1] };
        let said = if away.load(Ordering::SeqCst) {
            return (StatusCode::BAD_GATEWAY, Value::Null);
        } else if asked["input"].is_array() {
            json!({ "data": [{ "index": 0, "embedding": vector }, { "index": 1, "embedding": [0, 1] }] })
        } else if asked["output"].is_string() {
            json!({ "pass": !is_bad, "reason": "it is unkind" })
        } else {
            json!({ "choices": [{ "message": { "role": "assistant", "content": verdict.to_string() } }] })
        };
        (StatusCode::OK, said)
    });
    let ports = [upstream::spawn("good").await?.port(), upstream::spawn("bad").await?.port(), others.await?.port()];
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("suite.yaml"), SUITE)?;
    let release = "release: support\ncanary: { model: canary/m-canary }\nsentinels: suite.yaml\nstages:\n  - { weight: 50%, bake: 24h }\nguardrails:\n  - { metric: error_rate, margin: 5pp }\n";
    std::fs::write(folder.path().join("release.yaml"), release)?;
    std::fs::write(folder.path().join("hook"), format!("http://127.0.0.1:{}/kind/4711", ports[2]))?;
    let port = free_port()?;
    let config = format!("{}assessors: {{ kindness: {{ url: file:hook }} }}\n", config(port, ports));
    let coalmine = Coalmine::start(binary, folder.path(), port, &config).await?;
    let ran = coalmine.cli(&["sentinel", "run", "suite.yaml"])?;
    ensure!(ran.contains("3 passed, 0 failed, 0 unknown"), "stable passes: {ran}");
    let canary = ["sentinel", "run", "suite.yaml", "--version", "canary/m-canary", "--json"];
    let Err(failed) = coalmine.cli(&canary) else { anyhow::bail!("the canary fails all three") };
    ensure!(failed.to_string().contains("exit status: 1"), "{failed}");
    coalmine.cli(&["start", "release.yaml"])?;
    let until = Instant::now() + Duration::from_secs(60);
    let release = loop {
        let release = coalmine.http().get("/api/v1/releases/support-1").await?;
        if release["state"]["is"] == "rolled_back" {
            break release;
        }
        ensure!(Instant::now() < until, "not rolled back within 60 s: {release}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    ensure!(release["state"]["cause"] == "sentinel" && release["started_at_ms"].is_null(), "{release}");
    print(&format!("graded: {}", release["state"]["why"]));
    is_out.store(true, Ordering::SeqCst);
    let Err(unknown) = coalmine.cli(&["sentinel", "run", "suite.yaml"]) else { anyhow::bail!("nobody can tell") };
    ensure!(unknown.to_string().contains("exit status: 1"), "{unknown}");
    coalmine.cli(&["start", "release.yaml"])?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let waiting = coalmine.http().get("/api/v1/releases/support-2").await?;
    ensure!(waiting["state"]["is"] == "preflight", "with all of them away nobody has failed: {waiting}");
    ensure!(!waiting.to_string().contains("4711") && !release.to_string().contains("4711"), "no address is told");
    print(&format!("graded, all away: {}", waiting["report"]["headline"]));
    Ok(())
}

impl World {
    async fn new(binary: &Path) -> Result<Self> {
        let jury = Arc::new(Jury::default());
        let asked = Arc::clone(&jury);
        let ports = [
            upstream::spawn("good").await?.port(),
            upstream::spawn("bad").await?.port(),
            upstream::spawn_saying(move |request| asked.say(request)).await?.port(),
        ];
        let folder = tempfile::tempdir()?;
        for (file, text) in
            [("judges/helpful.yaml", JUDGE), ("anchors/helpful.yaml", ANCHORS), ("release.yaml", RELEASE)]
        {
            let file = folder.path().join(file);
            std::fs::create_dir_all(file.parent().unwrap_or(folder.path()))?;
            std::fs::write(file, text)?;
        }
        let port = free_port()?;
        let coalmine = Coalmine::start(binary, folder.path(), port, &config(port, ports)).await?;
        Ok(Self { _folder: folder, coalmine, jury, met: AtomicU32::new(0) })
    }

    /// The judge is away for longer than its scores are waited for: the release stands, and says why.
    async fn outage(&self) -> Result<()> {
        self.jury.is_out.store(true, Ordering::SeqCst);
        let held = |release: &Value| release["judges"][0]["held"].is_string();
        self.until("the judge is away", held).await?;
        let began = Instant::now();
        // Three times the age at which a score is counted, and longer than silence is borne.
        while began.elapsed() < Duration::from_secs(u64::from(15 * 60 / TIME_SCALE)) {
            self.customers(10).await?;
        }
        let release = self.release().await?;
        ensure!(release["state"]["is"] == "running", "a judge that is away rolls back nobody: {release}");
        let (judge, finding) = (&release["judges"][0], self.finding(&release)?);
        ensure!(finding["verdict"] == "no_data", "and there is no verdict of it: {finding}");
        print(&format!("away: {}; {}", judge["held"], finding["reason"]));
        print(&self.coalmine.cli(&["status", "support-1"])?);
        Ok(())
    }

    /// It is back, and finds the canary's answers worse.
    async fn verdict(&self) -> Result<()> {
        self.jury.is_out.store(false, Ordering::SeqCst);
        let release = self.until("rolled back", |release| release["state"]["is"] == "rolled_back").await?;
        ensure!(release["state"]["cause"] == "guardrail", "by a guardrail: {}", release["state"]);
        ensure!(release["state"]["why"].to_string().contains("judge.helpful"), "the judge's: {}", release["state"]);
        let judge = &release["judges"][0];
        print(&format!("back: {}; scored {}, failed {}", release["state"]["why"], judge["scored"], judge["failed"]));
        Ok(())
    }

    fn finding<'a>(&self, release: &'a Value) -> Result<&'a Value> {
        let findings = release["findings"].as_array().context("a release has findings")?;
        findings.iter().find(|finding| finding["metric"] == "judge.helpful").context("of the judge too")
    }

    async fn release(&self) -> Result<Value> {
        self.coalmine.http().get("/api/v1/releases/support-1").await
    }

    /// Customers come until something is so.
    async fn until(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Result<Value> {
        let until = Instant::now() + Duration::from_secs(90);
        loop {
            let release = self.release().await?;
            if is_so(&release) {
                return Ok(release);
            }
            ensure!(Instant::now() < until, "not within 90 s: {what}: {release}");
            self.customers(10).await?;
        }
    }

    async fn customers(&self, count: usize) -> Result<()> {
        for _ in 0..count {
            // Each begins a conversation of its own.
            let hello = format!("I am customer {}. Who are you?", self.met.fetch_add(1, Ordering::SeqCst));
            let body = json!({"model": "support", "messages": [{"role": "user", "content": hello}]});
            let answer = self.coalmine.app().post("/v1/chat/completions", &body).await?;
            let said = answer["choices"][0]["message"]["content"].as_str().unwrap_or_default();
            ensure!(said.ends_with("answers message 1"), "a customer got nothing: {answer}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        Ok(())
    }
}

fn config(port: u16, [stable, canary, jury]: [u16; 3]) -> String {
    format!(
        "listen: 127.0.0.1:{port}
store: sqlite:coalmine.db
time_scale: {TIME_SCALE}
api: {{ tokens: {{ tester: ${{COALMINE_TOKEN}} }} }}
providers:
  stable: {{ kind: openai, upstreams: [{{ url: \"http://127.0.0.1:{stable}/v1\" }}] }}
  canary: {{ kind: openai, upstreams: [{{ url: \"http://127.0.0.1:{canary}/v1\" }}] }}
  jury: {{ kind: openai, upstreams: [{{ url: \"http://127.0.0.1:{jury}/v1\" }}] }}
routes:
  support: {{ stable: {{ model: stable/m-stable }} }}
"
    )
}

#[expect(clippy::print_stdout, reason = "a report for whoever ran it")]
fn print(text: &str) {
    println!("{text}");
}
