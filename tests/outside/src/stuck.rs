//! Answers that get stuck, on the real binary: no head, a head and no more, only pings, a stall behind content or inside an event.
//! Each is over by its configured time, is told in the wire format of whoever asked, is counted, and lets its provider go; where
//! nothing was delivered, a retry, a fallback or stable answers.

mod provider;
mod slow;

use crate::client::Http;
use crate::process::{Coalmine, Under, free_port};
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use futures_util::future::try_join_all;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use provider::{SAID, Seen};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// Nothing takes this long: who waits for it hangs.
const PATIENCE: Duration = Duration::from_secs(30);
const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";
/// The ways in which a provider gets stuck before anything of its answer has come.
const BEFORE: [&str; 3] = ["no-head", "head-only", "only-pings"];
/// And behind that.
const BEHIND: [&str; 4] = ["stalls", "stalls-with-pings", "stalls-inside", "breaks"];

struct World {
    _folder: tempfile::TempDir,
    coalmine: Coalmine,
    seen: Seen,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// What came of one request.
struct Came {
    status: u16,
    arm: String,
    text: String,
    /// Whether its body came to its end.
    whole: bool,
}

/// Runs it all; fails at the first thing that does not hold.
pub(crate) async fn run(under: Under) -> Result<()> {
    let binary = under.path()?;
    let world = World::new(&binary).await?;
    world.nothing_was_delivered().await?;
    world.somebody_else_answers().await?;
    world.stable_answers_for_a_canary().await?;
    world.content_was_delivered().await?;
    world.passed_through().await?;
    world.slowly_taken().await?;
    world.one_body().await?;
    world.all_is_counted_and_let_go().await
}

/// Routes by provider and model: `open-stalls` asks the OpenAI-compatible one, `other-stalls` the other.
fn config(port: u16, provider: u16) -> String {
    let mut config = format!(
        "listen: 127.0.0.1:{port}
store: sqlite:coalmine.db
api: {{ tokens: {{ outside: \"${{COALMINE_TOKEN}}\" }} }}
limits: {{ first_byte_timeout: 3s, idle_timeout: 1s, total_timeout: 20s, keep_alive: 100ms }}
default_provider: open
providers:
  open: {{ kind: openai, base_url: \"http://127.0.0.1:{provider}/v1\" }}
  other: {{ kind: anthropic, base_url: \"http://127.0.0.1:{provider}/v1\" }}
routes:
"
    );
    for model in BEFORE.iter().chain(&BEHIND).chain(&["breaks-once", "breaks-when-full", "half-body"]) {
        for provider in ["open", "other"] {
            config += &format!("  {provider}-{model}: {{ stable: {{ model: {provider}/{model} }} }}\n");
        }
    }
    for model in BEFORE {
        config += &format!("  saved-{model}: {{ stable: {{ model: open/{model}, fallbacks: [open/well] }} }}\n");
    }
    config + "  released: { stable: { model: open/well } }\n"
}

impl World {
    async fn new(binary: &std::path::Path) -> Result<Self> {
        let (provider, seen) = provider::spawn().await?;
        let folder = tempfile::tempdir()?;
        let port = free_port()?;
        let coalmine = Coalmine::start(binary, folder.path(), port, &config(port, provider)).await?;
        let client = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
        Ok(Self { _folder: folder, coalmine, seen, client })
    }

    async fn ask(&self, path: &str, route: &str, session: &str, stream: bool) -> Result<Came> {
        let body = json!({"model": route, "max_tokens": 9, "stream": stream, "messages": [{"role": "user", "content": "hello"}]});
        let request = Request::post(format!("http://127.0.0.1:{}{path}", self.coalmine.port))
            .header("content-type", "application/json")
            .header("x-session-id", session)
            .body(Full::new(Bytes::from(body.to_string())))?;
        let read = async {
            let (parts, mut body) = self.client.request(request).await?.into_parts();
            let (mut text, mut whole) = (Vec::new(), true);
            while let Some(frame) = body.frame().await {
                match frame {
                    Ok(frame) => text.extend_from_slice(&frame.into_data().unwrap_or_default()),
                    Err(_) => whole = false,
                }
            }
            let arm = parts.headers.get("x-coalmine-arm").and_then(|arm| arm.to_str().ok()).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            anyhow::Ok(Came { status: parts.status.as_u16(), arm: arm.to_owned(), text, whole })
        };
        timeout(PATIENCE, read).await.with_context(|| format!("{path} {route}: it hangs"))?
    }

    /// Alone, and with nothing to show: an error in the caller's format, as the answer where its head had not gone on, else in its
    /// stream.
    async fn nothing_was_delivered(&self) -> Result<()> {
        let streams = everywhere(&BEFORE).map(|(path, provider, model)| async move {
            let route = format!("{provider}-{model}");
            let came = self.ask(path, &route, "s", true).await?;
            let what = format!("{path} {route}: {} {}", came.status, came.text);
            ensure!(came.status == if model == "no-head" { 504 } else { 200 }, "{what}");
            let last = came.text.trim_end().rsplit("\n\n").next().unwrap_or_default();
            let error = last.rsplit("data: ").next().unwrap_or_default();
            is_told(path, &serde_json::from_str(error).with_context(|| what.clone())?).context(what.clone())?;
            ensure!(came.whole && !came.text.contains(SAID), "{what}");
            Ok(())
        });
        let bodies = everywhere(&BEFORE[..1]).map(|(path, provider, model)| async move {
            let route = format!("{provider}-{model}");
            let came = self.ask(path, &route, "s", false).await?;
            let what = format!("{path} {route}, one body: {} {}", came.status, came.text);
            ensure!(came.status == 504, "{what}");
            is_told(path, &serde_json::from_str(&came.text).with_context(|| what.clone())?).context(what)
        });
        tokio::try_join!(try_join_all(streams), try_join_all(bodies))?;
        print(
            "nothing delivered: 504, or an error event, in the format of whoever asked, in both dialects and through translation",
        );
        Ok(())
    }

    /// A connection that broke before the head is tried again; a version with a fallback is answered by it.
    async fn somebody_else_answers(&self) -> Result<()> {
        let came = self.ask(CHAT, "open-breaks-once", "s", true).await?;
        ensure!(is_whole(&came) && self.seen.of("breaks-once").0 == 2, "a second try: {} {}", came.status, came.text);
        let saved = BEFORE.map(|model| async move {
            let came = self.ask(CHAT, &format!("saved-{model}"), "s", true).await?;
            ensure!(is_whole(&came), "a fallback answers for {model}: {} {}", came.status, came.text);
            let route = format!("route=\"saved-{model}\"");
            self.counted("coalmine_fallbacks_total", &[&route], 1).await
        });
        try_join_all(saved).await?;
        self.counted("coalmine_upstream_retries_total", &["provider=\"open\""], 1).await?;
        print("a retry and fallbacks answered what was stuck before its first content, whole");
        Ok(())
    }

    /// A canary that gets stuck before its first content is answered by stable, and has failed.
    async fn stable_answers_for_a_canary(&self) -> Result<()> {
        let release = "release: released\ncanary: { model: open/only-pings }\nfalse_rollback_rate: 1%\nmax_duration: 30d\n\
            rescue_budget: 100%\nstages:\n  - { weight: 50%, bake: 7d }\n  - { weight: 60%, bake: 7d }\nguardrails:\n  - { metric: error_rate, margin: 5pp }\n";
        std::fs::write(self.coalmine.folder.join("release.yaml"), release)?;
        self.coalmine.cli(&["start", "release.yaml"])?;
        let until = Instant::now() + PATIENCE;
        let mut rescued = 0;
        for n in 0.. {
            let came = self.ask(CHAT, "released", &format!("session-{n}"), true).await?;
            ensure!(is_whole(&came), "session {n} on {}: {} {}", came.arm, came.status, came.text);
            rescued += u32::from(came.arm == "canary");
            if rescued == 3 {
                break;
            }
            ensure!(Instant::now() < until, "{rescued} of {n} sessions were the canary's");
        }
        let labels = ["route=\"released\"", "arm=\"canary\"", "ending=\"failed_deadline\""];
        self.counted("coalmine_endings_total", &labels, rescued.into()).await?;
        self.counted("coalmine_rescued_total", &["route=\"released\""], rescued.into()).await?;
        print(&format!("stable answered {rescued} sessions of a canary that only pings; the canary has failed them"));
        Ok(())
    }

    /// What came stands, and behind it an error; inside an event the body breaks, unless the gateway holds the half.
    async fn content_was_delivered(&self) -> Result<()> {
        let asked = everywhere(&BEHIND).map(|(path, provider, model)| async move {
            let route = format!("{provider}-{model}");
            let came = self.ask(path, &route, "s", true).await?;
            let what = format!("{path} {route}: {} {}", came.status, came.text);
            ensure!(came.status == 200 && came.text.matches(SAID).count() == 1, "{what}");
            let ends = ["[DONE]", "message_stop"].iter().any(|end| came.text.contains(end));
            ensure!(!ends, "it has no end: {what}");
            if (path, provider, model) == (MESSAGES, "other", "stalls-inside") {
                ensure!(!came.whole && !came.text.contains("event: error"), "{what}");
                return Ok(());
            }
            let last = came.text.trim_end().rsplit("data: ").next().unwrap_or_default();
            let error: Value = serde_json::from_str(last).with_context(|| what.clone())?;
            ensure!(came.whole && error["error"]["message"].is_string(), "{what}");
            ensure!(path == CHAT || came.text.contains("event: error\n"), "{what}");
            Ok(())
        });
        try_join_all(asked).await?;
        print("content delivered: it stands, and an error in the caller's format ends it, or a break inside an event");
        Ok(())
    }

    /// Models that no route has.
    async fn passed_through(&self) -> Result<()> {
        let passed = BEHIND.map(|model| async move {
            let came = self.ask(CHAT, model, "s", true).await?;
            let what = format!("passed through, {model}: {} {}", came.status, came.text);
            ensure!(came.text.contains(SAID) && !came.text.contains("[DONE]"), "{what}");
            let told = came.text.contains("data: {\"error\":");
            ensure!(told != (model == "stalls-inside") && came.whole == told, "{what}");
            Ok(())
        });
        try_join_all(passed).await?;
        print("passed through: the same");
        Ok(())
    }

    /// Half of a body is none: it breaks, or is an error where it would have to be told in other words.
    async fn one_body(&self) -> Result<()> {
        for (path, provider) in [(CHAT, "open"), (MESSAGES, "other")] {
            let came = self.ask(path, &format!("{provider}-half-body"), "s", false).await?;
            ensure!(came.status == 200 && !came.whole, "{path}: {} {}", came.status, came.text);
        }
        for (path, provider) in [(CHAT, "other"), (MESSAGES, "open")] {
            let came = self.ask(path, &format!("{provider}-half-body"), "s", false).await?;
            let error: Value = serde_json::from_str(&came.text).context("an error")?;
            ensure!(came.status >= 500 && error["error"]["message"].is_string(), "{path}: {} {error}", came.status);
        }
        print("half of a body breaks, or is an error where it was to be translated");
        Ok(())
    }

    /// Every provider that was stuck was let go, every answer is over and has failed by what it was.
    async fn all_is_counted_and_let_go(&self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        for model in BEFORE.iter().chain(&BEHIND).chain(&["half-body"]).filter(|model| **model != "breaks") {
            loop {
                let (asked, let_go) = self.seen.of(model);
                if asked > 0 && asked == let_go {
                    break;
                }
                ensure!(Instant::now() < until, "{model}: asked {asked} times, let go {let_go} times");
                sleep(Duration::from_millis(20)).await;
            }
        }
        self.counted("coalmine_active_requests", &[], 0).await?;
        // of each dialect two streams, and for want of a head one body
        for (model, ending, count) in [
            ("no-head", "failed_deadline", 4),
            ("head-only", "failed_deadline", 2),
            ("only-pings", "failed_deadline", 2),
            ("stalls", "failed_broken", 2),
            ("stalls-with-pings", "failed_broken", 2),
            ("stalls-inside", "failed_broken", 2),
            ("breaks", "failed_broken", 2),
            ("half-body", "failed_broken", 2),
        ] {
            for provider in ["open", "other"] {
                let labels = [format!("route=\"{provider}-{model}\""), format!("ending=\"{ending}\"")];
                self.counted("coalmine_endings_total", &labels.each_ref().map(String::as_str), count).await?;
            }
        }
        // four without a head, each by itself, and one before its fallback
        let late = ["provider=\"open\"", "cause=\"first_byte_timeout\""];
        self.counted("coalmine_upstream_failures_total", &late, 5).await?;
        print("every provider was let go, and every answer is counted by how it failed");
        Ok(())
    }

    /// The sum of a family's samples that have these labels comes to be this.
    async fn counted(&self, family: &str, labels: &[&str], count: u64) -> Result<()> {
        let http: Http = self.coalmine.http();
        let until = Instant::now() + PATIENCE;
        loop {
            let page = http.send(Method::GET, "/metrics", &[], None).await?.text();
            let of = |line: &&str| {
                let rest = line.strip_prefix(family);
                rest.is_some_and(|rest| rest.starts_with(['{', ' ']) && labels.iter().all(|label| rest.contains(label)))
            };
            let samples = page.lines().filter(of).filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
            let sum: u64 = samples.sum();
            if sum == count {
                return Ok(());
            }
            if Instant::now() > until {
                bail!("{family} {labels:?} is {sum}, and {count} were to be");
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Each of these models, asked in both dialects of providers of both.
fn everywhere<'a>(models: &'a [&'a str]) -> impl Iterator<Item = (&'static str, &'static str, &'a str)> {
    let pairs = [(CHAT, "open"), (CHAT, "other"), (MESSAGES, "open"), (MESSAGES, "other")];
    pairs.into_iter().flat_map(move |(path, provider)| models.iter().map(move |model| (path, provider, *model)))
}

fn is_whole(came: &Came) -> bool {
    came.status == 200 && came.whole && came.text.contains(SAID) && came.text.trim_end().ends_with("[DONE]")
}

/// A time-out, in the words of the surface; through translation a stream says that it broke off.
fn is_told(path: &str, error: &Value) -> Result<()> {
    let told = if path == MESSAGES {
        error["type"] == "error" && ["timeout_error", "api_error"].iter().any(|kind| error["error"]["type"] == *kind)
    } else {
        ["upstream_timeout", "bad_gateway"].iter().any(|code| error["error"]["code"] == *code)
    };
    ensure!(told && error["error"]["message"].is_string(), "not the wire format: {error}");
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a report for whoever ran it")]
fn print(text: &str) {
    println!("ok      {text}");
}
