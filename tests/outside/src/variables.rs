//! Prompts with variables on the real binary: what a request gives is what the provider reads, its header and its values go
//! nowhere else, and a canary that would show its provider the braces is refused before it starts.

use crate::client::Answer;
use crate::process::{Coalmine, Under, free_port};
use crate::upstream;
use anyhow::{Result, bail, ensure};
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::{Arc, Mutex};

const HEADER: &str = "x-coalmine-variables";
/// Stands in each value that is given, and must be in no file.
const HUSH: &str = "zebrafish";
const CANARY: &str = "release: support
canary: { model: one/m-canary, prompt: { text: \"Please help {{company}}.\" } }
stages: [{ weight: 90%, bake: 24h }]
guardrails: [{ metric: error_rate, margin: 5pp }]
";

/// What the provider was sent: headers and body.
type Heard = Arc<Mutex<Vec<(HeaderMap, Value)>>>;

struct World {
    folder: tempfile::TempDir,
    coalmine: Coalmine,
    heard: Heard,
}

/// Runs it all; fails at the first thing that does not hold.
pub(crate) async fn run(under: Under) -> Result<()> {
    let binary = under.path()?;
    let mut world = World::new(&binary).await?;
    world.stable_is_told().await?;
    world.what_cannot_be_read().await?;
    world.braces_are_refused()?;
    world.the_mended_canary_starts()?;
    world.both_versions_are_told().await?;
    world.coalmine.kill_9()?;
    world.coalmine.spawn().await?;
    world.both_versions_are_told().await?;
    world.values_are_nowhere().await
}

fn prompt_of(body: &Value) -> &str {
    body["messages"][0]["content"].as_str().unwrap_or_default()
}

impl World {
    async fn new(binary: &Path) -> Result<Self> {
        let heard = Heard::default();
        let hears = heard.clone();
        let said = upstream::completing(|_: &Value| (StatusCode::OK, "so".to_owned()));
        let provider = upstream::spawn_hearing(move |headers, asked| {
            if let Ok(mut heard) = hears.lock() {
                heard.push((headers.clone(), asked.clone()));
            }
            said(asked)
        });
        let (folder, port, provider) = (tempfile::tempdir()?, free_port()?, provider.await?.port());
        let config = format!(
            "listen: 127.0.0.1:{port}
store: sqlite:coalmine.db
api: {{ tokens: {{ tester: ${{COALMINE_TOKEN}} }} }}
providers:
  one: {{ kind: openai, upstreams: [{{ url: \"http://127.0.0.1:{provider}/v1\" }}] }}
telemetry: {{ access_log: access.jsonl }}
routes:
  support:
    stable:
      model: one/m-stable
      prompt: {{ text: \"You help {{{{company}}}}. Be {{{{ tone }}}}.\", variables: {{ company: Acme, tone: calm }} }}
"
        );
        let coalmine = Coalmine::start(binary, folder.path(), port, &config).await?;
        Ok(Self { folder, coalmine, heard })
    }

    async fn ask(&self, session: &str, given: &[&str]) -> Result<Answer> {
        let body = json!({"model": "support", "messages": [{"role": "user", "content": "{{company}}?"}]});
        let mut headers = vec![("x-session-id", session)];
        headers.extend(given.iter().map(|given| (HEADER, *given)));
        self.coalmine.app().send(Method::POST, "/v1/chat/completions", &headers, Some(&body)).await
    }

    /// Asks, and returns what the provider was sent for it.
    async fn told(&self, session: &str, given: &[&str]) -> Result<Value> {
        let before = self.count();
        let answer = self.ask(session, given).await?;
        ensure!(answer.status == 200, "{given:?}: {} {}", answer.status, answer.text());
        ensure!(!format!("{:?}{}", answer.headers, answer.text()).contains(HUSH), "the answer tells a value");
        let heard = self.heard.lock().map(|heard| heard[before..].to_vec()).unwrap_or_default();
        let [(headers, body)] = heard.as_slice() else { bail!("asked {} times", heard.len()) };
        ensure!(!headers.keys().any(|name| name.as_str().starts_with("x-coalmine-")), "{headers:?}");
        ensure!(!format!("{headers:?}").contains(HUSH), "a header tells a value: {headers:?}");
        ensure!(body["messages"][1]["content"] == "{{company}}?", "the client's own words: {body}");
        Ok(body.clone())
    }

    fn count(&self) -> usize {
        self.heard.lock().map_or(0, |heard| heard.len())
    }

    async fn stable_is_told(&self) -> Result<()> {
        let given = json!({"company": format!("{HUSH} \"East\"\n\\{{{{tone}}}} \u{e9}"), "nobody_declares": HUSH});
        // letters beyond ASCII as JSON's escapes
        let escaped = given.to_string().replace('\u{e9}', "\\u00e9");
        for (given, said) in [
            (vec![], "You help Acme. Be calm.".to_owned()),
            (vec![r#"{"company":"","tone":"brief"}"#], "You help . Be brief.".to_owned()),
            (vec![escaped.as_str()], format!("You help {HUSH} \"East\"\n\\{{{{tone}}}} \u{e9}. Be calm.")),
            (vec![], "You help Acme. Be calm.".to_owned()),
        ] {
            let body = self.told("of-stable", &given).await?;
            ensure!(body["model"] == "m-stable" && prompt_of(&body) == said, "{given:?}: {body}");
        }
        Ok(())
    }

    /// A mistake is told in the client's own format, and nobody is asked.
    async fn what_cannot_be_read(&self) -> Result<()> {
        let before = self.count();
        let (long, longer) = ("x".repeat(4_097), "x".repeat(33 << 10));
        let (long, longer) = (json!({ "company": long }).to_string(), json!({ "other": longer }).to_string());
        for (given, told) in [
            (vec!["company=zebrafish"], "it must be a JSON object of texts"),
            (vec![r#"{"company":7}"#], "the value of 'company' is no text"),
            (vec![r#"{"company":null}"#], "the value of 'company' is no text"),
            (vec![r#"{"company":["zebrafish"]}"#], "the value of 'company' is no text"),
            (vec![r#"{"company":"a","\u0063ompany":"b"}"#], "'company' stands twice"),
            (vec!["{}", "{}"], "it stands twice"),
            (vec![long.as_str()], "more than 4096 bytes"),
            (vec![longer.as_str()], "more than 32768"),
        ] {
            let answer = self.ask("of-nobody", &given).await?;
            let error: Value = serde_json::from_slice(&answer.body)?;
            let message = error["error"]["message"].as_str().unwrap_or_default();
            ensure!(answer.status == 400 && error["error"]["type"] == "invalid_request_error", "{error}");
            ensure!(message.contains(HEADER) && message.contains(told) && !message.contains(HUSH), "{message}");
        }
        ensure!(self.count() == before, "the provider was asked");
        Ok(())
    }

    fn braces_are_refused(&self) -> Result<()> {
        std::fs::write(self.folder.path().join("canary.yaml"), CANARY)?;
        for verb in [
            &["config", "check", "coalmine.yaml", "canary.yaml"][..],
            &["plan", "canary.yaml"],
            &["start", "canary.yaml"],
        ] {
            let Err(refused) = self.coalmine.cli(verb) else {
                bail!("{verb:?} takes a canary whose braces would be read")
            };
            let refused = refused.to_string();
            for part in
                ["canary.yaml:2:", "canary.prompt.text", "has a place for `company`, which stable declares", "mend: "]
            {
                ensure!(refused.contains(part), "{verb:?} does not say {part}: {refused}");
            }
            print(&refused);
        }
        Ok(())
    }

    fn the_mended_canary_starts(&self) -> Result<()> {
        let declared = ".\", variables: { company: Nobody } }";
        std::fs::write(self.folder.path().join("canary.yaml"), CANARY.replace(".\" }", declared))?;
        self.coalmine.cli(&["start", "canary.yaml"])?;
        Ok(())
    }

    /// The canary answers nine sessions of ten, stable the others: each with its own words.
    async fn both_versions_are_told(&self) -> Result<()> {
        let given = json!({"company": HUSH, "tone": "brief"}).to_string();
        let mut answered = [0, 0];
        for session in 0..60 {
            let session = format!("session-{session}");
            for (given, named) in [(vec![given.as_str()], HUSH), (vec![], "")] {
                let body = self.told(&session, &given).await?;
                let (of, said) = match (body["model"].as_str(), named) {
                    (Some("m-canary"), "") => (1, "Please help Nobody.".to_owned()),
                    (Some("m-canary"), named) => (1, format!("Please help {named}.")),
                    (_, "") => (0, "You help Acme. Be calm.".to_owned()),
                    (_, named) => (0, format!("You help {named}. Be brief.")),
                };
                ensure!(prompt_of(&body) == said, "{body}");
                answered[of] += 1;
            }
        }
        ensure!(answered.iter().all(|n| *n > 0), "both versions answer: {answered:?}");
        print(&format!("stable and canary were told {answered:?} times, each in its own words"));
        Ok(())
    }

    async fn values_are_nowhere(&mut self) -> Result<()> {
        let told = self.coalmine.http();
        for path in ["/metrics", "/api/v1/releases/support-1", "/api/v1/routes"] {
            let answer = told.send(Method::GET, path, &[], None).await?;
            ensure!(answer.status == 200 && !answer.text().contains(HUSH), "{path} tells a value, or nothing");
        }
        self.coalmine.stop().await?;
        let mut files = 0;
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.is_file() {
                    files += 1;
                    let bytes = std::fs::read(&path)?;
                    let held = bytes.windows(HUSH.len()).any(|window| window == HUSH.as_bytes());
                    ensure!(!held, "a value is in {}", path.display());
                }
            }
        }
        let logged = std::fs::read_to_string(self.folder.path().join("access.jsonl"))?;
        ensure!(logged.lines().count() > 100, "the access log has {} lines", logged.lines().count());
        print(&format!("no value is in any of {files} files of the server"));
        Ok(())
    }
}

#[expect(clippy::print_stdout, reason = "a report for whoever ran it")]
fn print(text: &str) {
    println!("{text}");
}
