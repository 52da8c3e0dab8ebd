//! Captured answers on the real binary: no word of them is in any file in the clear, readers alone read them and it is
//! noted, a renewed key still opens what the earlier one sealed, and people read and label them on pages that a hostile
//! answer cannot write into.

use crate::client::{Answer, Http};
use crate::process::{Coalmine, TOKEN, Under, free_port};
use crate::upstream;
use anyhow::{Context, Result, ensure};
use clap::Args as ClapArgs;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// Arguments of `outside captures`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    #[command(flatten)]
    under: Under,
    /// Leave the server running for so many seconds at the end, to look at its pages.
    #[arg(long, default_value_t = 0)]
    stay: u64,
}

const ASKED: &str = "My card is 4111 1111 1111 1111 and my mail ann@example.com. Where is order ORD-123456?";
const OTHER_TOKEN: &str = "other-token-0123456789";
/// Pieces that must be in no file, and in nothing that is read.
const HUSHED: [&str; 4] = ["4111 1111", "ann@example.com", "ORD-123456", "+49 170 1234567"];
/// What is read, and must be in no file in the clear.
const SAID: [&str; 3] = ["zebra", "<script>alert", "Where is order"];
const RELEASE: &str = "release: support
canary: { model: canary/m-canary }
stages:
  - { weight: 50%, bake: 24h }
guardrails:
  - { metric: error_rate, margin: 5pp }
  - { metric: judge.helpful, margin: 10pp, sample: 100% }
";

struct World {
    folder: tempfile::TempDir,
    coalmine: Coalmine,
    ports: [u16; 3],
    met: u32,
}

/// Runs it all; fails at the first thing that does not hold.
pub(crate) async fn run(args: Args) -> Result<()> {
    let binary = args.under.path()?;
    let mut world = World::new(&binary).await?;
    world.without_a_release().await?;
    world.coalmine.cli(&["start", "release.yaml"])?;
    world.captured().await?;
    world.side_by_side().await?;
    world.for_readers_alone().await?;
    world.pages().await?;
    if args.stay > 0 {
        print(&format!("http://127.0.0.1:{}/ui/ with the token {TOKEN}", world.coalmine.port));
        tokio::time::sleep(Duration::from_secs(args.stay)).await;
    }
    world.nothing_in_the_clear()?;
    world.renewed_key().await?;
    world.deleted().await?;
    world.nothing_in_the_clear()
}

fn say(model: &str) -> String {
    format!("<script>alert(1)</script> zebra of {model}, call +49 170 1234567")
}

impl World {
    async fn new(binary: &Path) -> Result<Self> {
        let speak = |asked: &Value| (StatusCode::OK, say(asked["model"].as_str().unwrap_or_default()));
        let pass = |_: &Value| (StatusCode::OK, json!({ "reason": "so", "verdict": "pass" }).to_string());
        let ports = [
            upstream::spawn_saying(speak).await?.port(),
            upstream::spawn_saying(speak).await?.port(),
            upstream::spawn_saying(pass).await?.port(),
        ];
        let folder = tempfile::tempdir()?;
        std::fs::create_dir(folder.path().join("judges"))?;
        let judge = "model: jury/m-jury\nscale: binary\nrubric: The answer is good.\ncalls: 100000\nlabels: 100%\n";
        for (file, text) in [
            ("judges/helpful.yaml", judge),
            ("release.yaml", RELEASE),
            ("first.key", &"5a".repeat(32)),
            ("second.key", &"a5".repeat(32)),
            ("other.token", OTHER_TOKEN),
        ] {
            std::fs::write(folder.path().join(file), text)?;
        }
        let port = free_port()?;
        let coalmine = Coalmine::start(binary, folder.path(), port, &config(port, ports, "first.key", "")).await?;
        Ok(Self { folder, coalmine, ports, met: 0 })
    }

    async fn customers(&mut self, count: u32) -> Result<()> {
        for _ in 0..count {
            self.met += 1;
            let session = format!("session-{}", self.met);
            let body = json!({"model": "support", "messages": [{"role": "user", "content": ASKED}]});
            let headers = [("x-session-id", session.as_str())];
            let answer = self.coalmine.app().send(Method::POST, "/v1/chat/completions", &headers, Some(&body)).await?;
            ensure!(answer.text().contains("zebra"), "a customer got nothing: {}", answer.text());
        }
        Ok(())
    }

    async fn list(&self) -> Result<Value> {
        self.coalmine.http().get("/api/v1/releases/support-1/captures").await
    }

    /// What stable answers before any release, and the route's.
    async fn without_a_release(&mut self) -> Result<()> {
        self.customers(2).await?;
        let until = Instant::now() + Duration::from_secs(20);
        let listed = loop {
            let listed = self.coalmine.cli(&["captures", "list", "--route", "support"])?;
            if listed.starts_with("20") && listed.contains("2 answers of stable without a release") {
                break listed;
            }
            ensure!(Instant::now() < until, "stable's answers are not captured within 20 s: {listed}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let id = listed.split_whitespace().find(|word| word.starts_with("cap_")).unwrap_or_default();
        let shown = self.coalmine.cli(&["captures", "show", id])?;
        ensure!(
            shown.contains("route support  stable") && shown.contains("zebra of m-stable, call [phone]"),
            "{shown}"
        );
        ensure!(!HUSHED.iter().any(|word| shown.contains(word)), "{shown}");
        let gone = self.coalmine.cli(&["captures", "delete", id])?;
        ensure!(gone.starts_with("1 deleted"), "{gone}");
        let gone = self.coalmine.cli(&["captures", "delete", "--route", "support"])?;
        ensure!(gone.starts_with("1 deleted"), "{gone}");
        print(&listed);
        Ok(())
    }

    /// Some of both arms.
    async fn captured(&mut self) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            self.customers(5).await?;
            let found = self.list().await?;
            let of = |arm: &str| {
                let all = found["captures"].as_array().into_iter().flatten();
                all.filter(|one| one["arm"] == arm).count()
            };
            let labels = self.coalmine.http().get("/api/v1/releases/support-1/labels").await?;
            if of("control") >= 3 && of("canary") >= 3 && labels.as_array().is_some_and(|all| all.len() >= 6) {
                print(&format!("captured: {} control, {} canary", of("control"), of("canary")));
                return Ok(());
            }
            ensure!(Instant::now() < until, "not of both arms within 60 s: {found} {labels}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn side_by_side(&self) -> Result<()> {
        let found = self.coalmine.http().get("/api/v1/releases/support-1/captures/pairs?limit=3").await?;
        let pair = &found["pairs"][0];
        ensure!(found["pairs"].as_array().is_some_and(|pairs| pairs.len() == 3), "three pairs: {found}");
        ensure!(pair["likeness"] == "same prompt", "{pair}");
        let answer = |arm: &str| pair[arm]["answer"].as_str().unwrap_or_default().to_owned();
        ensure!(answer("control").contains("zebra of m-stable"), "{pair}");
        ensure!(answer("canary").contains("zebra of m-canary, call [phone]"), "{pair}");
        let asked = &pair["canary"]["conversation"][0]["said"];
        ensure!(asked == "My card is [card] and my mail [mail]. Where is order [order]?", "redacted: {asked}");
        ensure!(!HUSHED.iter().any(|word| found.to_string().contains(word)), "{found}");
        let told = self.coalmine.cli(&["captures", "pairs", "support-1", "-n", "1"])?;
        ensure!(told.contains("same prompt") && told.contains("zebra of m-canary"), "{told}");
        print(&told);
        let listed = self.coalmine.cli(&["captures", "list", "support-1"])?;
        ensure!(listed.contains("100 % of sessions") && !listed.contains("zebra"), "{listed}");
        let id = pair["canary"]["capture"]["id"].as_str().unwrap_or_default();
        let shown = self.coalmine.cli(&["captures", "show", id])?;
        ensure!(shown.contains("m-canary") && shown.contains("4 pieces were taken out"), "{shown}");
        Ok(())
    }

    /// Another operator lists and reads nothing; what a reader read is written down.
    async fn for_readers_alone(&self) -> Result<()> {
        let other = self.coalmine.app().with_token(OTHER_TOKEN);
        other.get("/api/v1/releases/support-1/captures").await?;
        let pairs = "/api/v1/releases/support-1/captures/pairs";
        let refused = other.send(Method::GET, pairs, &[], None).await?;
        ensure!(refused.status == StatusCode::FORBIDDEN, "{} {}", refused.status, refused.text());
        ensure!(!refused.text().contains("zebra") && refused.text().contains("capture.readers"), "{}", refused.text());
        let stranger = self.coalmine.app().send(Method::GET, pairs, &[], None).await?;
        ensure!(stranger.status == StatusCode::UNAUTHORIZED, "{}", stranger.status);
        let uses = self.coalmine.cli(&["captures", "uses"])?;
        ensure!(uses.contains("tester") && uses.contains("read pairs") && uses.contains("read one"), "{uses}");
        ensure!(!uses.contains("other"), "nothing was read by another: {uses}");
        print(&uses);
        Ok(())
    }

    async fn pages(&self) -> Result<()> {
        let browser = self.coalmine.app();
        let get = async |path: &str, cookie: &str| browser.send(Method::GET, path, &[("cookie", cookie)], None).await;
        let (labels, sides) = ("/ui/labels?release=support-1", "/ui/captures?release=support-1");
        for path in ["/ui/", labels, sides] {
            let sent = get(path, "coalmine_ui=tester.99999.00").await?;
            ensure!(sent.status == StatusCode::SEE_OTHER && sent.header("location").starts_with("/ui/login"), "{path}");
        }
        let wrong = browser.submit("/ui/login", "", &[("token", "no such token")]).await?;
        ensure!(wrong.status == StatusCode::UNAUTHORIZED && wrong.header("set-cookie").is_empty(), "{}", wrong.status);
        let cookie = login(&browser, TOKEN, sides).await?;
        let shown = whole(&get(sides, &cookie).await?)?;
        ensure!(shown.contains("&lt;script&gt;alert(1)&lt;/script&gt; zebra of m-canary"), "{shown}");
        ensure!(shown.contains("zebra of m-stable") && !shown.contains("<script>alert"), "{shown}");
        let other = login(&browser, OTHER_TOKEN, labels).await?;
        let refused = get(sides, &other).await?;
        ensure!(refused.status == StatusCode::FORBIDDEN && !refused.text().contains("zebra"), "{}", refused.text());
        let unread = whole(&get(labels, &other).await?)?;
        ensure!(unread.contains("name=\"label\"") && !unread.contains("zebra"), "{unread}");
        let page = whole(&get(labels, &cookie).await?)?;
        ensure!(
            page.contains("&lt;script&gt;alert(1)&lt;/script&gt; zebra") && !page.contains("<script>alert"),
            "{page}"
        );
        ensure!(
            !page.contains("control") && page.matches("canary").count() == page.matches("zebra of m-canary").count()
        );
        let [item, proof] = [field(&page, "item")?, field(&page, "proof")?];
        let post = async |proof: &str, cookie: &str| {
            let fields =
                [("release", "support-1"), ("judge", "helpful"), ("label", "fail"), ("item", &item), ("proof", proof)];
            browser.submit("/ui/labels", cookie, &fields).await
        };
        for (proof, cookie) in [("", cookie.as_str()), (proof.as_str(), other.as_str())] {
            let refused = post(proof, cookie).await?;
            ensure!(refused.status == StatusCode::FORBIDDEN, "a form that is not ours: {}", refused.status);
        }
        let taken = post(&proof, &cookie).await?;
        ensure!(taken.status == StatusCode::SEE_OTHER, "{} {}", taken.status, taken.text());
        let known = self.coalmine.http().get("/api/v1/releases/support-1/labels").await?;
        let mut known = known.as_array().into_iter().flatten();
        ensure!(known.any(|one| one["item"] == item.as_str() && one["label"] == 0.0), "the label arrived");
        let next = whole(&get(taken.header("location"), &cookie).await?)?;
        ensure!(field(&next, "item")? != item, "and the next one is shown");
        print("pages: logged in, read, labelled; markup of an answer stays text");
        Ok(())
    }

    /// Every file of the server, its log and its database among them.
    fn nothing_in_the_clear(&self) -> Result<()> {
        let mut read = 0;
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                if !path.is_file() {
                    // the socket by which another process takes over
                    continue;
                }
                let bytes = std::fs::read(&path)?;
                let has = |word: &str| bytes.windows(word.len()).any(|part| part == word.as_bytes());
                for word in HUSHED.iter().chain(&SAID) {
                    ensure!(!has(word), "`{word}` is in {}", path.display());
                }
                let is_key = path.extension().is_some_and(|kind| kind == "key");
                ensure!(is_key || !has(&"5a".repeat(32)), "the key is in {}", path.display());
                read += bytes.len();
            }
        }
        ensure!(self.folder.path().join("coalmine.db").exists(), "the database is among them");
        print(&format!("in the clear: nothing in {read} bytes of files"));
        Ok(())
    }

    async fn restart(&mut self, key: &str, more: &str) -> Result<()> {
        self.coalmine.stop().await?;
        let config = config(self.coalmine.port, self.ports, key, more);
        std::fs::write(self.folder.path().join("coalmine.yaml"), config)?;
        self.coalmine.spawn().await
    }

    async fn renewed_key(&mut self) -> Result<()> {
        let path = "/api/v1/releases/support-1/captures/pairs";
        self.restart("second.key", "").await?;
        let lost = self.coalmine.http().get(path).await?;
        ensure!(lost["found"] == 0 && lost["unopened"].as_u64() >= Some(6), "without its key: {lost}");
        self.restart("second.key", "  earlier_keys: [file:first.key]\n").await?;
        let found = self.coalmine.http().get(path).await?;
        ensure!(found["unopened"] == 0 && found["found"].as_u64() >= Some(3), "with it: {}", found["unopened"]);
        self.customers(3).await?;
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let all = self.list().await?;
            let all = all["captures"].as_array().cloned().unwrap_or_default();
            if all.iter().any(|one| one["key_id"] != all[all.len() - 1]["key_id"]) {
                print("renewed key: new answers are sealed under it, and the earlier ones still open");
                return Ok(());
            }
            ensure!(Instant::now() < until, "nothing is sealed under the new key: {all:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn deleted(&self) -> Result<()> {
        // the last ones were asked for just before, and may still be on their way
        let until = Instant::now() + Duration::from_secs(20);
        while self.list().await?["counts"]["kept"] != 3 {
            ensure!(Instant::now() < until, "the last three are not kept: {}", self.list().await?["counts"]);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let told = self.coalmine.cli(&["captures", "delete", "support-1", "--all"])?;
        ensure!(told.contains("deleted"), "{told}");
        let left = self.list().await?;
        ensure!(left["captures"].as_array().is_some_and(Vec::is_empty), "{left}");
        let uses = self.coalmine.cli(&["captures", "uses"])?;
        ensure!(uses.contains("deleted") && uses.contains("read to label"), "{uses}");
        Ok(())
    }
}

async fn login(browser: &Http, token: &str, to: &str) -> Result<String> {
    let sent = browser.submit("/ui/login", "", &[("token", token), ("to", to)]).await?;
    ensure!(sent.status == StatusCode::SEE_OTHER && sent.header("location") == to, "{} {}", sent.status, sent.text());
    let cookie = sent.header("set-cookie");
    ensure!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict") && !cookie.contains(token), "{cookie}");
    Ok(cookie.split(';').next().unwrap_or_default().to_owned())
}

/// A page that a browser would take, guarded as all are.
fn whole(page: &Answer) -> Result<String> {
    ensure!(page.status == StatusCode::OK, "{} {}", page.status, page.text());
    ensure!(page.header("content-type").starts_with("text/html"), "{}", page.header("content-type"));
    let policy = page.header("content-security-policy");
    ensure!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    ensure!(page.header("cache-control") == "no-store", "{}", page.header("cache-control"));
    Ok(page.text())
}

/// The value of a hidden field.
fn field(page: &str, name: &str) -> Result<String> {
    let (_, rest) =
        page.split_once(&format!("name=\"{name}\" value=\"")).with_context(|| format!("no {name}: {page}"))?;
    Ok(rest.split('"').next().unwrap_or_default().to_owned())
}

fn config(port: u16, [stable, canary, jury]: [u16; 3], key: &str, more: &str) -> String {
    format!(
        "listen: 127.0.0.1:{port}
store: sqlite:coalmine.db
api: {{ tokens: {{ tester: ${{COALMINE_TOKEN}}, other: file:other.token }} }}
telemetry: {{ access_log: access.jsonl }}
providers:
  stable: {{ kind: openai, upstreams: [{{ url: \"http://127.0.0.1:{stable}/v1\" }}] }}
  canary: {{ kind: openai, upstreams: [{{ url: \"http://127.0.0.1:{canary}/v1\" }}] }}
  jury: {{ kind: openai, upstreams: [{{ url: \"http://127.0.0.1:{jury}/v1\" }}] }}
capture:
  key: file:{key}
{more}  readers: [tester]
  patterns: {{ order: 'ORD-[0-9]{{6}}' }}
routes:
  support: {{ stable: {{ model: stable/m-stable }}, capture: {{ sample: 100% }} }}
"
    )
}

#[expect(clippy::print_stdout, reason = "a report for whoever ran it")]
fn print(text: &str) {
    println!("{text}");
}
