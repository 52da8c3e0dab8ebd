//! What must hold when things break: a rollback by hand, a dead provider, a store that is locked or
//! full, two operators at once. Each check starts a Coalmine of its own.

use crate::client::{Answer, Http};
use crate::process::{Coalmine, Kept, TOKEN, Under, free_port};
use crate::upstream;
use anyhow::{Context, Result, bail, ensure};
use clap::Args as ClapArgs;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Arguments of `outside faults`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    #[command(flatten)]
    under: Under,
    /// Run only the checks whose name holds this.
    #[arg(long, default_value = "")]
    only: String,
}

/// Runs every check; fails when one does.
#[expect(clippy::print_stdout, reason = "the report is the product of this command")]
pub(crate) async fn run(args: Args) -> Result<()> {
    let binary = args.under.path()?;
    let mut failed = 0;
    for name in NAMES {
        if !name.contains(args.only.as_str()) {
            continue;
        }
        let began = Instant::now();
        match check(name, &binary).await {
            Ok(said) => println!("ok      {name}: {said} ({:.1} s)", began.elapsed().as_secs_f64()),
            Err(error) => {
                failed += 1;
                println!("FAILED  {name}: {error:#}");
            }
        }
    }
    ensure!(failed == 0, "{failed} checks failed");
    Ok(())
}

const NAMES: [&str; 8] = [
    "rollback_moves_live_sessions",
    "rollback_lets_live_sessions_finish",
    "rollback_with_the_store_locked",
    "rollback_survives_a_kill_before_its_commit",
    "store_on_a_full_disk",
    "canary_provider_dies",
    "two_operators_at_once",
    "rollback_all",
];

async fn check(name: &str, binary: &Path) -> Result<String> {
    match name {
        "rollback_moves_live_sessions" => rollback_moves_live_sessions(binary).await,
        "rollback_lets_live_sessions_finish" => rollback_lets_live_sessions_finish(binary).await,
        "rollback_with_the_store_locked" => rollback_with_the_store_locked(binary).await,
        "rollback_survives_a_kill_before_its_commit" => rollback_survives_a_kill(binary).await,
        "store_on_a_full_disk" => store_on_a_full_disk(binary).await,
        "canary_provider_dies" => canary_provider_dies(binary).await,
        "two_operators_at_once" => two_operators_at_once(binary).await,
        "rollback_all" => rollback_all(binary).await,
        other => bail!("no check is named {other}"),
    }
}

/// A Coalmine with one route and a release at 50 %.
struct Scene {
    coalmine: Coalmine,
    app: Http,
    id: String,
    _folder: Option<tempfile::TempDir>,
}

impl Scene {
    async fn set(binary: &Path, on_rollback: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().to_owned();
        Self::set_in(binary, &path, Some(folder), on_rollback, None).await
    }

    /// `canary`: the port of its upstream, a fresh one when absent.
    async fn set_in(
        binary: &Path,
        path: &Path,
        folder: Option<tempfile::TempDir>,
        on_rollback: &str,
        canary: Option<u16>,
    ) -> Result<Self> {
        let stable = upstream::spawn("stable").await?.port();
        let canary = match canary {
            Some(port) => port,
            None => upstream::spawn("canary").await?.port(),
        };
        let port = free_port()?;
        let coalmine = Coalmine::start(binary, path, port, &config(port, stable, canary)).await?;
        std::fs::write(path.join("release.yaml"), release(on_rollback))?;
        let started: Value = serde_json::from_str(&coalmine.cli(&["start", "release.yaml", "--json"])?)?;
        let id = started["id"].as_str().context("start --json gave no id")?.to_owned();
        let scene = Self { app: coalmine.app(), coalmine, id, _folder: folder };
        scene
            .until("the release exposes sessions", async |s: &Self| {
                Ok(matches!(s.open("probe").await?.header("x-coalmine-arm"), "control" | "canary"))
            })
            .await?;
        Ok(scene)
    }

    /// The first request of a fresh session.
    async fn open(&self, prefix: &str) -> Result<Answer> {
        let session = format!("{prefix}-{:x}", rand::random::<u64>());
        self.say(&session, 1).await
    }

    async fn say(&self, session: &str, turn: usize) -> Result<Answer> {
        let mut messages = Vec::new();
        for earlier in 1..turn {
            messages.push(json!({"role": "user", "content": format!("question {earlier}")}));
            messages.push(json!({"role": "assistant", "content": format!("answer {earlier}")}));
        }
        messages.push(json!({"role": "user", "content": format!("question {turn}")}));
        let body = json!({"model": "r", "messages": messages});
        self.app.send(Method::POST, "/v1/chat/completions", &[("x-session-id", session)], Some(&body)).await
    }

    /// Sessions that began on the canary.
    async fn on_canary(&self, count: usize) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for n in 0..200 * count {
            let session = format!("live-{n}");
            let answer = self.say(&session, 1).await?;
            ensure!(answer.status.is_success(), "{}", answer.status);
            if answer.header("x-coalmine-arm") == "canary" {
                found.push(session);
            }
            if found.len() == count {
                return Ok(found);
            }
        }
        bail!("only {} of {count} sessions came to the canary", found.len())
    }

    /// Every one of `count` new sessions must be answered by stable.
    async fn nobody_new_on_canary(&self, count: usize) -> Result<()> {
        for n in 0..count {
            let answer = self.open("new").await?;
            ensure!(answer.status.is_success(), "new session {n}: {}", answer.status);
            ensure!(answer.header("x-coalmine-arm") != "canary", "new session {n} of {count} came to the canary");
        }
        Ok(())
    }

    async fn release(&self) -> Result<Value> {
        self.coalmine.http().get(&format!("/api/v1/releases/{}", self.id)).await
    }

    async fn until(&self, what: &str, test: impl AsyncFn(&Self) -> Result<bool>) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(20);
        while !test(self).await? {
            ensure!(Instant::now() < until, "not within 20 s: {what}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    async fn until_state(&self, word: &str) -> Result<()> {
        self.until(&format!("the release is {word}"), async |s: &Self| Ok(s.release().await?["state"]["is"] == word))
            .await
    }

    /// `coalmine rollback`, and its exit code.
    fn roll_back(&self, binary: &Path) -> Result<(i32, String)> {
        let output = Command::new(binary)
            .args(["rollback", &self.id, "-m", "by hand"])
            .env("COALMINE_URL", format!("http://127.0.0.1:{}", self.coalmine.port))
            .env("COALMINE_TOKEN", TOKEN)
            .output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        Ok((output.status.code().unwrap_or(-1), said))
    }
}

fn config(port: u16, stable: u16, canary: u16) -> String {
    format!(
        "listen: 127.0.0.1:{port}\nstore: sqlite:coalmine.db\napi: {{ tokens: {{ outside: \"${{COALMINE_TOKEN}}\" }} }}\n\
         providers:\n  before: {{ kind: openai, base_url: \"http://127.0.0.1:{stable}/v1\" }}\n  \
         after: {{ kind: openai, base_url: \"http://127.0.0.1:{canary}/v1\" }}\nroutes:\n  r:\n    stable: {{ model: before/one }}\n"
    )
}

fn release(on_rollback: &str) -> String {
    format!(
        "release: r\ncanary: {{ model: after/two }}\nfalse_rollback_rate: 1%\nmax_duration: 30d\non_rollback: {on_rollback}\n\
         stages:\n  - {{ weight: 50%, bake: 7d }}\n  - {{ weight: 60%, bake: 7d }}\nguardrails:\n  - {{ metric: error_rate, margin: 5pp }}\n"
    )
}

const MOVE: &str = "{ live_sessions: move_next_turn }";
const FINISH: &str = "{ live_sessions: finish_on_canary, drain: 2h }";

async fn rollback_moves_live_sessions(binary: &Path) -> Result<String> {
    let scene = Scene::set(binary, MOVE).await?;
    let live = scene.on_canary(20).await?;
    let (code, said) = scene.roll_back(binary)?;
    let returned = Instant::now();
    ensure!(code == 0, "exit {code}: {said}");
    scene.nobody_new_on_canary(200).await?;
    let took = returned.elapsed();
    let left = scene.release().await?["live_canary_sessions"].as_u64().context("status counts live sessions")?;
    ensure!(left >= 20, "status counts {left} live sessions on the canary, and 20 have not spoken since");
    for session in &live {
        let answer = scene.say(session, 2).await?;
        ensure!(answer.header("x-coalmine-arm") != "canary", "{session} is still on the canary");
    }
    scene.until_state("rolled_back").await?;
    Ok(format!(
        "200 new sessions on stable from the first on, {} ms after the return; {left} live ones were counted, 20 moved",
        took.as_millis()
    ))
}

async fn rollback_lets_live_sessions_finish(binary: &Path) -> Result<String> {
    let scene = Scene::set(binary, FINISH).await?;
    let live = scene.on_canary(10).await?;
    let (code, said) = scene.roll_back(binary)?;
    ensure!(code == 0, "exit {code}: {said}");
    scene.nobody_new_on_canary(100).await?;
    scene.until_state("rolled_back").await?;
    for session in &live {
        let answer = scene.say(session, 2).await?;
        ensure!(
            answer.json("chat")?["choices"][0]["message"]["content"].as_str().is_some_and(|t| t.starts_with("canary")),
            "{session} left its version"
        );
    }
    Ok("10 live sessions finish on the canary".to_owned())
}

/// Holds the database's write lock until dropped.
fn lock_store(folder: &Path) -> Result<Kept> {
    let script = "import sqlite3, sys\nc = sqlite3.connect(sys.argv[1], isolation_level=None)\nc.execute('BEGIN EXCLUSIVE')\nprint('locked', flush=True)\nsys.stdin.read()";
    let mut child = Command::new("python3")
        .args(["-c", script, &folder.join("coalmine.db").display().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("stdout")?).read_line(&mut line)?;
    ensure!(line.trim() == "locked", "the lock was not taken: {line}");
    Ok(Kept(child))
}

async fn rollback_with_the_store_locked(binary: &Path) -> Result<String> {
    let scene = Scene::set(binary, MOVE).await?;
    scene.on_canary(5).await?;
    let lock = lock_store(&scene.coalmine.folder)?;
    let (code, said) = scene.roll_back(binary)?;
    ensure!(code == 5, "exit {code}, and 5 says that the commit is pending: {said}");
    ensure!(said.contains("pending"), "it does not say so: {said}");
    scene.nobody_new_on_canary(100).await?;
    let troubles = scene.release().await?["troubles"].to_string();
    ensure!(troubles.contains("pending"), "status does not tell: {troubles}");
    drop(lock);
    scene.until_state("rolled_back").await?;
    Ok("exposure was down at once, the commit followed when the lock was gone".to_owned())
}

async fn rollback_survives_a_kill(binary: &Path) -> Result<String> {
    let mut scene = Scene::set(binary, MOVE).await?;
    scene.on_canary(5).await?;
    let lock = lock_store(&scene.coalmine.folder)?;
    let (code, said) = scene.roll_back(binary)?;
    ensure!(code == 5, "exit {code}: {said}");
    scene.coalmine.kill_9()?;
    drop(lock);
    scene.coalmine.spawn().await?;
    scene.nobody_new_on_canary(100).await?;
    scene.until_state("rolled_back").await?;
    let why = scene.release().await?["state"]["why"].to_string();
    ensure!(why.contains("by hand"), "the reason was lost: {why}");
    Ok("killed before the commit: exposure stayed down, and the record has the reason".to_owned())
}

/// A small file system, filled to the last byte. Without the right to mount one the check says so.
async fn store_on_a_full_disk(binary: &Path) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let disk = folder.path().join("disk");
    std::fs::create_dir(&disk)?;
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=6m", "tmpfs"]).arg(&disk).status()?;
    ensure!(mounted.success(), "a small file system cannot be mounted here; run the checks as root");
    let outcome = full_disk_scene(binary, &disk).await;
    let _ = Command::new("umount").arg("-l").arg(&disk).status();
    outcome
}

async fn full_disk_scene(binary: &Path, disk: &Path) -> Result<String> {
    let scene = Scene::set_in(binary, disk, None, MOVE, None).await?;
    scene.on_canary(5).await?;
    let filler = disk.join("filler");
    let mut file = std::fs::File::create(&filler)?;
    while file.write_all(&[0; 4096]).is_ok() {}
    let mut answered = 0;
    for _ in 0..200 {
        answered += usize::from(scene.open("full").await?.status.is_success());
    }
    ensure!(answered == 200, "{answered} of 200 requests were answered on a full disk");
    let (code, said) = scene.roll_back(binary)?;
    ensure!(code == 5 || code == 0, "exit {code}: {said}");
    scene.nobody_new_on_canary(100).await?;
    drop(file);
    std::fs::remove_file(&filler)?;
    scene.until_state("rolled_back").await?;
    Ok(format!("200 requests answered on a full disk, rolled back with exit {code}, committed when there was room"))
}

async fn canary_provider_dies(binary: &Path) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().to_owned();
    let port = free_port()?;
    let me = std::env::current_exe()?;
    let start = || -> Result<Kept> {
        Ok(Kept(Command::new(&me).args(["upstream", "--name", "canary", "--port", &port.to_string()]).spawn()?))
    };
    let provider = start()?;
    let health = Http::new(format!("http://127.0.0.1:{port}"));
    let until = Instant::now() + Duration::from_secs(10);
    while health.send(Method::POST, "/", &[], Some(&json!({}))).await.is_err() {
        ensure!(Instant::now() < until, "the upstream did not start");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let scene = Scene::set_in(binary, &path, Some(folder), MOVE, Some(port)).await?;
    scene.on_canary(5).await?;
    drop(provider);
    let (mut fine, mut told) = (0, 0);
    for _ in 0..200 {
        let answer = scene.open("dead").await?;
        if answer.status.is_success() {
            fine += 1;
        } else {
            let body: Value = serde_json::from_slice(&answer.body).context("an error in the wire format")?;
            ensure!(body["error"]["message"].is_string(), "not the wire format: {body}");
            told += 1;
        }
    }
    // Half of the sessions are the canary's; stable rescues a few of them, and all of control's are fine.
    ensure!(fine >= 80, "only {fine} of 200 sessions were answered with half of the providers dead");
    let state = scene.release().await?["state"]["is"].to_string();
    ensure!(!state.contains("promot"), "a release with a dead canary is {state}");
    Ok(format!("{fine} of 200 answered, {told} told in the wire format, state {state}"))
}

async fn two_operators_at_once(binary: &Path) -> Result<String> {
    let scene = Scene::set(binary, MOVE).await?;
    let seen = scene.release().await?["generation"].as_u64().context("generation")?;
    let http = scene.coalmine.http();
    let path = |verb: &str| format!("/api/v1/releases/{}/{verb}", scene.id);
    let body = json!({"reason": "", "expected_generation": seen});
    http.post(&path("pause"), &body).await?;
    let late = http.send(Method::POST, &path("advance"), &[], Some(&body)).await?;
    ensure!(late.status == StatusCode::CONFLICT, "{}", late.status);
    let problem: Value = serde_json::from_slice(&late.body)?;
    ensure!(problem["code"] == "conflict", "{problem}");
    let message = problem["message"].as_str().unwrap_or_default();
    ensure!(message.contains("outside"), "the other operator is not named: {message}");
    Ok(format!("the later one is told: {message}"))
}

async fn rollback_all(binary: &Path) -> Result<String> {
    let scene = Scene::set(binary, MOVE).await?;
    let said = scene.coalmine.cli(&["rollback", "--all", "-m", "stop everything"])?;
    scene.nobody_new_on_canary(50).await?;
    scene.until_state("rolled_back").await?;
    ensure!(said.contains(&scene.id), "{said}");
    Ok("done".to_owned())
}
