//! Client keys and quotas on the real binary: a revocation is felt at once, a budget outlives kill -9, and no
//! secret is in any file of the server.

use crate::client::{Answer, Http};
use crate::process::{Coalmine, Under, free_port};
use crate::upstream;
use anyhow::{Context, Result, bail, ensure};
use http::Method;
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

struct World {
    folder: tempfile::TempDir,
    coalmine: Coalmine,
    /// Every secret that was shown.
    secrets: Vec<String>,
}

/// Runs it all; fails at the first thing that does not hold.
pub(crate) async fn run(under: Under) -> Result<()> {
    let binary = under.path()?;
    let mut world = World::new(&binary).await?;
    world.lives_of_a_key().await?;
    world.a_misspelt_customer().await?;
    world.rates().await?;
    world.budget_over_a_kill().await?;
    world.no_secret_is_anywhere()
}

impl World {
    async fn new(binary: &Path) -> Result<Self> {
        let provider = upstream::spawn("provider").await?.port();
        let folder = tempfile::tempdir()?;
        let port = free_port()?;
        let config = format!(
            "listen: 127.0.0.1:{port}
store: sqlite:coalmine.db
api: {{ tokens: {{ tester: ${{COALMINE_TOKEN}} }} }}
providers:
  one: {{ kind: openai, upstreams: [{{ url: \"http://127.0.0.1:{provider}/v1\" }}] }}
customers: {{ acme: {{ quota: {{ requests_per_minute: 1 }} }}, globex: {{}} }}
prices: {{ m: {{ input: $1000, output: $1000 }} }}
routes:
  support: {{ stable: {{ model: one/m }} }}
  sales: {{ stable: {{ model: one/m }} }}
"
        );
        let coalmine = Coalmine::start(binary, folder.path(), port, &config).await?;
        Ok(Self { folder, coalmine, secrets: Vec::new() })
    }

    fn key(&mut self, args: &[&str]) -> Result<String> {
        let args = [&["key"], args, &["--json"]].concat();
        let issued: Value = serde_json::from_str(&self.coalmine.cli(&args)?)?;
        let secret = issued["secret"].as_str().context("a secret is shown")?.to_owned();
        self.secrets.push(secret.clone());
        Ok(secret)
    }

    async fn ask(&self, secret: &str, route: &str) -> Result<Answer> {
        let body = json!({"model": route, "messages": [{"role": "user", "content": "hello"}]});
        let app: Http = self.coalmine.app();
        app.send(Method::POST, "/v1/chat/completions", &[("x-api-key", secret)], Some(&body)).await
    }

    /// How long it takes until the key is refused.
    async fn refused_after(&self, secret: &str) -> Result<Duration> {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(5) {
            if self.ask(secret, "support").await?.status == 401 {
                return Ok(began.elapsed());
            }
        }
        bail!("a revoked key is good after 5 s")
    }

    async fn lives_of_a_key(&mut self) -> Result<()> {
        let open = self.ask("anything", "support").await?;
        ensure!(open.status == 200, "without a key everybody is admitted: {}", open.status);
        let first = self.key(&["create", "first", "--route", "support"])?;
        ensure!(self.ask("anything", "support").await?.status == 401, "the first key closes the gateway");
        ensure!(self.ask(&first, "support").await?.status == 200, "and is good");
        ensure!(self.ask(&first, "sales").await?.status == 403, "for its route only");
        let second = self.key(&["rotate", "first", "--grace", "1h"])?;
        ensure!(self.ask(&first, "support").await?.status == 200, "in its grace");
        ensure!(self.ask(&second, "support").await?.status == 200, "the new one");
        let third = self.key(&["rotate", "first", "--grace", "0"])?;
        ensure!(self.ask(&second, "support").await?.status == 401, "without grace it is gone");
        let listed = self.coalmine.cli(&["key", "list"])?;
        ensure!(listed.contains(&third[..11]) && !listed.contains(&third), "prefixes only: {listed}");
        self.coalmine.cli(&["key", "revoke", "first"])?;
        let took = self.refused_after(&third).await?;
        ensure!(took < Duration::from_secs(1), "a revocation took {took:?}");
        ensure!(self.ask("anything", "support").await?.status == 401, "and the gateway stays closed");
        let Err(taken) = self.coalmine.cli(&["key", "create", "first"]) else { bail!("a name is taken twice") };
        ensure!(taken.to_string().contains("exit status: 3"), "{taken}");
        print(&format!("a revoked key was refused {} ms after the command", took.as_millis()));
        print(&listed);
        Ok(())
    }

    /// A key for a misspelt customer would be bounded by nobody's quota: it is refused, unless that is said to be meant.
    async fn a_misspelt_customer(&mut self) -> Result<()> {
        let Err(refused) = self.coalmine.cli(&["key", "create", "typo", "--customer", "acmee"]) else {
            bail!("a key is made for a customer whom nobody knows")
        };
        let refused = refused.to_string();
        for part in ["exit status: 2", "no customer `acmee`", "nearest are acme, globex", "--unlisted-customer"] {
            ensure!(refused.contains(part), "it does not say {part}: {refused}");
        }
        let body = json!({"name": "typo", "customer": "acmee"});
        let by_api = self.coalmine.http().send(Method::POST, "/api/v1/keys", &[], Some(&body)).await?;
        ensure!(by_api.status == 422 && by_api.text().contains("acmee"), "{} {}", by_api.status, by_api.text());
        let meant = self.key(&["create", "meant", "--customer", "acmee", "--unlisted-customer"])?;
        let known = self.key(&["create", "known", "--customer", "acme"])?;
        for (secret, statuses) in [(&known, [200, 429]), (&meant, [200, 200])] {
            for status in statuses {
                let answer = self.ask(secret, "support").await?;
                ensure!(answer.status == status, "{} where {status} is due", answer.status);
            }
        }
        print(&refused);
        Ok(())
    }

    async fn rates(&mut self) -> Result<()> {
        let secret = self.key(&["create", "rated", "--requests-per-minute", "2"])?;
        for left in ["1", "0"] {
            let answer = self.ask(&secret, "support").await?;
            ensure!(answer.header("x-ratelimit-remaining-requests") == left, "{:?}", answer.headers);
        }
        let refused = self.ask(&secret, "support").await?;
        let wait: u64 = refused.header("retry-after").parse().context("retry-after")?;
        ensure!(refused.status == 429 && (1..=30).contains(&wait), "{} {wait}", refused.status);
        self.coalmine.cli(&["key", "limit", "rated", "--requests-per-minute", "none"])?;
        ensure!(self.ask(&secret, "support").await?.status == 200, "the bound is taken away");
        Ok(())
    }

    async fn budget_over_a_kill(&mut self) -> Result<()> {
        // 16 tokens at $1,000 a million
        let secret = self.key(&["create", "spender", "--per-day", "0.03"])?;
        for _ in 0..2 {
            ensure!(self.ask(&secret, "support").await?.status == 200, "within the budget");
        }
        let refused = self.ask(&secret, "support").await?;
        ensure!(refused.status == 429 && refused.header("x-should-retry") == "false", "spent: {}", refused.status);
        self.spent(0.032).await?;
        self.coalmine.kill_9()?;
        self.coalmine.spawn().await?;
        let after = self.ask(&secret, "support").await?;
        ensure!(after.status == 429, "the budget is forgotten over a kill: {}", after.status);
        let told: Value = serde_json::from_slice(&after.body)?;
        print(&format!("after kill -9: {}", told["error"]["message"]));
        Ok(())
    }

    /// Waits until what was spent is counted, which gateways report once a second.
    async fn spent(&self, usd: f64) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            let key = self.coalmine.http().get("/api/v1/keys/spender").await?;
            if key["today"]["usd"].as_f64().is_some_and(|spent| (spent - usd).abs() < 1e-9) {
                // counted by a look, and stored at the end of the same
                tokio::time::sleep(Duration::from_secs(2)).await;
                return Ok(());
            }
            ensure!(Instant::now() < until, "${usd} are not counted within 10 s: {key}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn no_secret_is_anywhere(&self) -> Result<()> {
        let mut folders = vec![self.folder.path().to_owned()];
        let mut files = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                files += 1;
                // the socket over which a listener is handed on holds nothing
                if !std::fs::metadata(&path)?.is_file() {
                    continue;
                }
                let bytes = std::fs::read(&path)?;
                for secret in &self.secrets {
                    let held = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                    ensure!(!held, "a secret is in {}", path.display());
                }
            }
        }
        print(&format!("none of {} secrets is in any of {files} files of the server", self.secrets.len()));
        Ok(())
    }
}

#[expect(clippy::print_stdout, reason = "a report for whoever ran it")]
fn print(text: &str) {
    println!("{text}");
}
