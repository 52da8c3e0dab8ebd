//! Sentinels on the real binary, customers asking all the while: a canary that answers a known question wrongly is rolled
//! back before it meets a customer; one that begins to is taken back at its next round; an outage of what both depend on
//! rolls back nobody; a canary below the bar of an offline gate gets no traffic at all.

use crate::process::{Coalmine, Under, free_port};
use crate::upstream;
use anyhow::{Result, bail, ensure};
use http::StatusCode;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

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

/// Kinds of assertions that published suites have.
const BROAD: &str = r#"$schema: https://promptfoo.dev/config-schema.json
description: broad
tracing: { enabled: true }
prompts: [file://chat.json, "In short: {{question}}"]
providers: [{ id: "openai:chat:gpt-4.1-mini", config: { temperature: 0 } }]
defaultTest:
  vars: { question: "Anybody there?" }
  assert:
    - { type: not-icontains, value: AI language model }
    - { type: latency, threshold: 20000 }
tests:
  - description: words
    assert:
      - { type: contains, value: good answers }
      - { type: icontains-all, value: "GOOD, Answers" }
      - { type: contains-any, value: ["bad", "good"] }
      - { type: not-contains-all, value: [good, bad] }
      - { type: starts-with, value: good }
      - { type: regex, value: "message [0-9]+$" }
      - { type: not-regex, value: "^bad" }
      - { type: not-equals, value: good }
  - description: forms
    assert:
      - { type: not-is-json }
      - { type: not-contains-json, value: file://schema.yaml }
      - { type: not-is-refusal }
      - { type: finish-reason, value: STOP }
      - { type: word-count, value: { min: 4, max: 4 } }
  - description: nearness
    assert:
      - { type: levenshtein, value: good answers message 3, threshold: 1 }
      - { type: rouge-n, value: good answers message }
      - { type: bleu, value: good answers message 1, threshold: 0.1 }
  - description: parts
    threshold: 0.5
    assert:
      - { type: contains, value: good, weight: 2, metric: words }
      - { type: contains, value: absent }
      - { type: not-tool-used, value: look_up }
"#;

const CHAT: &str = r#"[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "{{question}}"}]"#;

/// What a test may say that cannot be run here, and by which name it is refused.
const REFUSED: [(&str, &str); 6] = [
    ("assert: [{ type: javascript, value: 'output.length < 10' }]", "`javascript` is a program"),
    ("assert: [{ type: python, value: 'len(output) < 10' }]", "`python` is a program"),
    ("assert: [{ type: contains, value: 'file://program.js' }]", "`program.js` is a program"),
    ("assert: [{ type: contains, value: good, transform: 'output.trim()' }]", "`transform` is a program"),
    ("options: { transform: 'file://program.js' }\n    assert: [{ type: is-json }]", "`transform` is a program"),
    ("assert: [{ type: is-sql }]", "`is-sql` cannot be run here"),
];

/// An offline gate of four questions, of which a canary called bad gets half wrong.
const GATE: &str = r#"prompts: ["{{question}}"]
defaultTest:
  metadata: { canary: { every: 1s } }
tests:
  - { description: one, vars: { question: a }, assert: [{ type: contains, value: good }] }
  - { description: two, vars: { question: b }, assert: [{ type: contains, value: good }] }
  - { description: three, vars: { question: c }, assert: [{ type: contains, value: answers }] }
  - { description: four, vars: { question: d }, assert: [{ type: contains, value: answers }] }
"#;

const GATED: &str = "release: support
canary: { model: canary/m-canary }
gate: { suite: sentinels/gate.yaml, pass: 75% }
stages:
  - { weight: 50%, bake: 24h }
guardrails:
  - { metric: error_rate, margin: 1pp }
";

/// Runs it all; fails at the first thing that does not hold.
pub(crate) async fn run(under: Under) -> Result<()> {
    let binary = under.path()?;
    published_shapes(&binary).await?;
    before_exposure(&binary).await?;
    in_the_middle_of_a_stage(&binary).await?;
    offline_gate(&binary).await?;
    Ok(())
}

/// Customers who ask all the while, and who answered them.
struct Traffic {
    stop: Arc<AtomicBool>,
    by_stable: Arc<AtomicUsize>,
    by_canary: Arc<AtomicUsize>,
    failed: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Traffic {
    fn begin(coalmine: &Coalmine) -> Self {
        let count = || Arc::new(AtomicUsize::new(0));
        let (stop, by_stable, by_canary, failed) = (Arc::new(AtomicBool::new(false)), count(), count(), count());
        let counts = [Arc::clone(&by_stable), Arc::clone(&by_canary), Arc::clone(&failed)];
        let (app, stopped) = (coalmine.app(), Arc::clone(&stop));
        let task = tokio::spawn(async move {
            let [by_stable, by_canary, failed] = counts;
            let mut customer = 0_u64;
            while !stopped.load(Ordering::Relaxed) {
                customer += 1;
                let body =
                    json!({"model": "support", "messages": [{"role": "user", "content": format!("It is {customer}")}]});
                let answer = app.post("/v1/chat/completions", &body).await.unwrap_or_default();
                let whose = match answer["model"].as_str() {
                    Some("m-stable") => &by_stable,
                    Some("m-canary") => &by_canary,
                    Some(_) | None => &failed,
                };
                whose.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        Self { stop, by_stable, by_canary, failed, task }
    }

    /// By stable, by the canary, by nobody, so far.
    fn so_far(&self) -> [usize; 3] {
        [&self.by_stable, &self.by_canary, &self.failed].map(|count| count.load(Ordering::Relaxed))
    }

    async fn end(self) -> Result<[usize; 3]> {
        self.stop.store(true, Ordering::Relaxed);
        let [by_stable, by_canary, failed] = [self.by_stable, self.by_canary, self.failed];
        self.task.await?;
        Ok([by_stable, by_canary, failed].map(|count| count.load(Ordering::Relaxed)))
    }
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
            upstream::spawn_saying(named(Arc::clone(&stable))).await?.port(),
            upstream::spawn_saying(named(Arc::clone(&canary))).await?.port(),
        ];
        let folder = tempfile::tempdir()?;
        std::fs::create_dir(folder.path().join("sentinels"))?;
        std::fs::write(folder.path().join("sentinels/support.yaml"), SUITE)?;
        std::fs::write(folder.path().join("sentinels/gate.yaml"), GATE)?;
        std::fs::write(folder.path().join("release.yaml"), RELEASE)?;
        std::fs::write(folder.path().join("gated.yaml"), GATED)?;
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

    /// The sentinel about refunds, once it says one of these.
    async fn until_sentinel(&self, verdicts: &[&str]) -> Result<Value> {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let release = self.release().await?;
            let sentinel = refund(&release);
            if verdicts.iter().any(|verdict| sentinel["verdict"] == *verdict) {
                return Ok(sentinel.clone());
            }
            ensure!(Instant::now() < until, "no sentinel is {verdicts:?} within 60 s: {release}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// What the release waits for, once that names `what`.
    async fn until_told(&self, what: &str) -> Result<String> {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let release = self.release().await?;
            let waiting = release["report"]["waiting_for"].as_array().cloned().unwrap_or_default();
            let told = waiting.iter().filter_map(Value::as_str).find(|reason| reason.contains(what));
            if let Some(told) = told {
                return Ok(told.to_owned());
            }
            ensure!(Instant::now() < until, "it does not wait for {what} within 60 s: {release}");
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

/// Says its name, which its owner may change; one that is away has an outage.
fn named(name: Arc<Mutex<String>>) -> impl Fn(&Value) -> (StatusCode, String) + Send + Sync + 'static {
    move |asked| {
        let name = name.lock().map(|name| name.clone()).unwrap_or_default();
        let status = if name == "away" { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
        let turns = asked["messages"].as_array().map_or(0, Vec::len);
        (status, format!("{name} answers message {turns}"))
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
    let ran = world.coalmine.cli(&["sentinel", "run", "sentinels/support.yaml", "--junit", "junit.xml"])?;
    ensure!(ran.contains("2 passed, 0 failed, 0 unknown"), "stable passes: {ran}");
    let failed = world.coalmine.cli(&["sentinel", "run", "sentinels/support.yaml", "--version", "canary/m-canary"]);
    ensure!(failed.is_err(), "and that model does not");
    let traffic = Traffic::begin(&world.coalmine);
    world.coalmine.cli(&["start", "release.yaml"])?;
    let release = world.until(&["rolled_back"]).await?;
    ensure!(release["state"]["cause"] == "sentinel", "by its sentinel: {release}");
    ensure!(release["started_at_ms"].is_null(), "nobody was exposed: {release}");
    let by_canary = world.customers(100).await?;
    let [by_stable, met, failed] = traffic.end().await?;
    ensure!(by_canary + met == 0, "{by_canary} of 100 customers met it, and {met} who asked meanwhile");
    ensure!(by_stable > 0 && failed == 0, "stable answered {by_stable}, and {failed} got nothing");
    let met = by_stable + 100;
    print(&format!("before exposure: {}; 0 of {met} customers met the canary", release["state"]["why"]));
    print(&world.coalmine.cli(&["status", "support-1"])?);
    Ok(())
}

async fn in_the_middle_of_a_stage(binary: &Path) -> Result<()> {
    let world = World::new(binary, "good").await?;
    let traffic = Traffic::begin(&world.coalmine);
    world.coalmine.cli(&["start", "release.yaml"])?;
    world.until(&["running"]).await?;
    let by_canary = world.customers(100).await?;
    ensure!(by_canary > 20, "half of the customers are on the canary, {by_canary} of 100");
    let [.., failed_before] = traffic.so_far();
    set(&world.stable, "away");
    set(&world.canary, "away");
    let unknown = world.until_sentinel(&["unknown"]).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let held = world.release().await?;
    let [.., failed] = traffic.so_far();
    ensure!(held["state"]["is"] == "running", "an outage rolls back nobody: {held}");
    ensure!(failed > failed_before, "customers felt the outage, or it was none");
    print(&format!("an outage under {} customers: held, {}", failed - failed_before, unknown["reason"]));
    set(&world.stable, "good");
    set(&world.canary, "good");
    world.until_sentinel(&["passed"]).await?;
    set(&world.canary, "bad");
    let began = Instant::now();
    let release = world.until(&["rolling_back", "rolled_back"]).await?;
    ensure!(release["state"]["cause"] == "sentinel", "by its sentinel: {release}");
    let took = began.elapsed();
    let failed = &refund(&release)["canary"];
    ensure!(failed["passed"] == 0, "within one round: no round of its tries passed after it began: {release}");
    let by_canary = world.customers(100).await?;
    ensure!(by_canary == 0, "and is gone: {by_canary} of 100");
    traffic.end().await?;
    print(&format!("in a stage: {} after {:.1} s", release["state"]["why"], took.as_secs_f64()));
    Ok(())
}

/// A canary that clears too few questions of an offline gate meets nobody; once it clears them, it goes on by itself.
async fn offline_gate(binary: &Path) -> Result<()> {
    let world = World::new(binary, "bad").await?;
    let traffic = Traffic::begin(&world.coalmine);
    world.coalmine.cli(&["start", "gated.yaml"])?;
    let held = world.until_told("the bar is 75 %").await?;
    let by_canary = world.customers(100).await?;
    let still = world.release().await?;
    ensure!(still["state"]["is"] == "preflight" && still["started_at_ms"].is_null(), "it waits: {still}");
    let [by_stable, met, failed] = traffic.so_far();
    ensure!(by_canary + met == 0, "{by_canary} of 100 customers met it, and {met} who asked meanwhile");
    ensure!(by_stable > 0 && failed == 0, "stable answered {by_stable}, and {failed} got nothing");
    print(&format!("below the bar of its gate: {held}; 0 of {} customers met it", by_stable + 100));
    let explained = world.coalmine.cli(&["explain", "support-1"])?;
    ensure!(explained.contains("the bar is 75 %"), "explain says why: {explained}");
    set(&world.canary, "good");
    world.until(&["running"]).await?;
    let by_canary = world.customers(100).await?;
    ensure!(by_canary > 20, "half of the customers are on the canary, {by_canary} of 100");
    let [.., failed] = traffic.end().await?;
    ensure!(failed == 0, "{failed} customers got nothing");
    print(&format!("and at the bar: {by_canary} of 100 customers are on it"));
    Ok(())
}

/// A suite of the kinds of assertions that promptfoo's own examples have is run whole; what needs a program is refused by
/// its name and place.
async fn published_shapes(binary: &Path) -> Result<()> {
    let world = World::new(binary, "good").await?;
    let folder = &world.coalmine.folder;
    std::fs::write(folder.join("sentinels/broad.yaml"), BROAD)?;
    std::fs::write(folder.join("sentinels/chat.json"), CHAT)?;
    std::fs::write(folder.join("sentinels/schema.yaml"), "type: object\nrequired: [missing]\n")?;
    let checked = world.coalmine.cli(&["sentinel", "check", "sentinels/broad.yaml"])?;
    ensure!(checked.contains("fine (8 sentinels, 8 critical)"), "the suite is read: {checked}");
    ensure!(checked.contains("promptfoo's own: $schema, tracing, providers"), "and what is unused told: {checked}");
    let ran = world.coalmine.cli(&["sentinel", "run", "sentinels/broad.yaml", "--junit", "junit.xml"])?;
    ensure!(ran.contains("8 passed, 0 failed, 0 unknown"), "and run: {ran}");
    let junit = std::fs::read_to_string(folder.join("junit.xml"))?;
    ensure!(junit.contains(r#"tests="8" failures="0" errors="0""#), "for machines too: {junit}");
    std::fs::write(folder.join("sentinels/program.js"), "module.exports = () => 'good';")?;
    for (test, name) in REFUSED {
        let suite = format!("prompts: ['{{{{q}}}}']\ntests:\n  - vars: {{ q: hello }}\n    {test}\n");
        std::fs::write(folder.join("sentinels/refused.yaml"), suite)?;
        let Err(refused) = world.coalmine.cli(&["sentinel", "check", "sentinels/refused.yaml"]) else {
            bail!("{test} is refused");
        };
        let told = refused.to_string();
        ensure!(told.contains("exit status: 2") && told.contains("refused.yaml:"), "as a fault of a line: {told}");
        ensure!(told.contains(name) && told.contains("mend: "), "by name, with how to mend it: {told}");
    }
    print(&format!("a suite of the published kinds: {}", ran.lines().last().unwrap_or_default()));
    Ok(())
}

/// A critical sentinel of a release, as the API tells it.
fn refund(release: &Value) -> &Value {
    let sentinels = release["sentinels"].as_array();
    sentinels.and_then(|all| all.iter().find(|one| one["name"] == "refund window")).unwrap_or(&Value::Null)
}

#[expect(clippy::print_stdout, reason = "a report for whoever ran it")]
fn print(text: &str) {
    println!("{text}");
}
