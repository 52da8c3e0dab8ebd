//! Several addresses of one provider on the real binary: the region that answers soonest is asked and its sessions stay, an
//! overloaded or unwell address costs no customer anything, one that hangs is outrun and put aside, or holds nobody when it is tried, and a region that serves
//! nobody gives a canary no room. Nothing here is judged by the clock: who was asked, what is counted and what is told.

mod server;

use crate::process::{Coalmine, Under, free_port};
use crate::upstream;
use anyhow::{Result, ensure};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use server::{Server, Turn};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Nothing takes this long: who waits for it waits for ever.
const PATIENCE: Duration = Duration::from_secs(60);
const SESSIONS: usize = 40;
const RELEASE: &str = "release: split
canary: { model: gpus/m-canary }
stages:
  - { weight: 10%, bake: 24h }
  - { weight: 50%, bake: 24h }
guardrails:
  - { metric: error_rate, margin: 5pp }
";

struct World {
    _folder: tempfile::TempDir,
    coalmine: Coalmine,
    /// Two addresses of the region that answers soonest.
    near: [Arc<Server>; 2],
    /// The gateway's own region, further away by measure than by its name.
    own: Arc<Server>,
    hangs: Arc<Server>,
    /// One that is put aside, hangs when it is tried, and is well again; and its sibling.
    tried: [Arc<Server>; 2],
    /// Model servers that tell their load: one beside the gateway, one far away.
    gpus: [Arc<Server>; 2],
}

/// Runs it all; fails at the first thing that does not hold.
pub(crate) async fn run(under: Under) -> Result<()> {
    let binary = under.path()?;
    let world = World::new(&binary).await?;
    world.the_nearest_by_measure_serves_and_sessions_stay().await?;
    world.an_overloaded_address_costs_nobody_anything().await?;
    world.the_next_region_takes_over_and_gives_back().await?;
    world.an_address_that_hangs_is_outrun().await?;
    world.one_that_hangs_when_it_is_tried_holds_nobody().await?;
    world.a_region_that_serves_nobody_is_no_room().await
}

impl World {
    async fn new(binary: &std::path::Path) -> Result<Self> {
        let [near_1, near_2] = [Server::start("near-1").await?, Server::start("near-2").await?];
        let [own, far] = [Server::start("own").await?, Server::start("far").await?];
        own.answers_looks_after(Duration::from_millis(150));
        far.answers_looks_after(Duration::from_millis(300));
        let [hangs, answers] = [Server::start("hangs").await?, Server::start("answers").await?];
        hangs.does(Turn::Hangs);
        let tried = [Server::start("tried").await?, Server::start("sibling").await?];
        let [gpu, gpu_far] = [Server::start("gpu").await?, Server::start("gpu-far").await?];
        gpu.bears(3);
        let stable = upstream::spawn("stable").await?.port();
        let port = free_port()?;
        let urls = [&near_1, &near_2, &own, &far, &hangs, &answers, &gpu, &gpu_far].map(|server| server.url());
        let [tried_url, sibling_url] = [&tried[0], &tried[1]].map(|server| server.url());
        let [near_1_url, near_2_url, own_url, far_url, hangs_url, answers_url, gpu_url, gpu_far_url] = urls;
        let config = format!(
            "listen: 127.0.0.1:{port}
store: sqlite:coalmine.db
region: eu-west
api: {{ tokens: {{ outside: \"${{COALMINE_TOKEN}}\" }} }}
providers:
  spread:
    kind: openai
    nearest: measured
    return_after: 500ms
    health: {{ every: 200ms, within: 10s, unhealthy_after: 2, healthy_after: 2 }}
    breaker: {{ pause: 10m, pause_max: 10m }}
    upstreams:
      - {{ url: \"{own_url}\", region: eu-west }}
      - {{ url: \"{far_url}\", region: asia }}
      - {{ url: \"{near_1_url}\", region: us-east }}
      - {{ url: \"{near_2_url}\", region: us-east }}
  hedged:
    kind: openai
    breaker: {{ pause: 10m, pause_max: 10m }}
    hedge: {{ after: 100ms, max_share: 100% }}
    upstreams: [{{ url: \"{hangs_url}\" }}, {{ url: \"{answers_url}\" }}]
  tried:
    kind: openai
    breaker: {{ pause: 200ms, pause_max: 200ms }}
    upstreams: [{{ url: \"{tried_url}\" }}, {{ url: \"{sibling_url}\" }}]
  gpus:
    kind: openai
    capacity: {{ every: 100ms, slots: 10, most: 85% }}
    upstreams: [{{ url: \"{gpu_url}\", region: eu-west }}, {{ url: \"{gpu_far_url}\", region: asia }}]
  stable: {{ kind: openai, base_url: \"http://127.0.0.1:{stable}/v1\" }}
routes:
  spread: {{ session: [\"header:x-session-id\"], stable: {{ model: spread/m }} }}
  hedged: {{ session: [\"header:x-session-id\"], stable: {{ model: hedged/m }} }}
  tried: {{ session: [\"header:x-session-id\"], stable: {{ model: tried/m }} }}
  split: {{ stable: {{ model: stable/m-stable }} }}
"
        );
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("release.yaml"), RELEASE)?;
        let coalmine = Coalmine::start(binary, folder.path(), port, &config).await?;
        Ok(Self { _folder: folder, coalmine, near: [near_1, near_2], own, hangs, tried, gpus: [gpu, gpu_far] })
    }

    /// Who answers each of the sessions.
    async fn answered(&self, route: &str) -> Result<Vec<String>> {
        let app = self.coalmine.app();
        let mut names = Vec::new();
        for n in 0..SESSIONS {
            let session = format!("session-{n}");
            let body = json!({"model": route, "messages": [{"role": "user", "content": "who are you?"}]});
            let headers = [("x-session-id", session.as_str())];
            let answer = app.send(Method::POST, "/v1/chat/completions", &headers, Some(&body)).await?;
            let said = answer.json(&session)?;
            names.push(said["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned());
        }
        Ok(names)
    }

    async fn the_nearest_by_measure_serves_and_sessions_stay(&self) -> Result<()> {
        self.serves(&self.near).await?;
        let first = self.answered("spread").await?;
        let names: BTreeSet<&str> = first.iter().map(String::as_str).collect();
        ensure!(names == BTreeSet::from(["near-1", "near-2"]), "the sessions were answered by {names:?}");
        ensure!(self.answered("spread").await? == first, "a session was answered by another address");
        print("the region that answers soonest serves, and each session stays with its address");
        Ok(())
    }

    /// It says when it has room again; its sessions are answered by its sibling meanwhile.
    async fn an_overloaded_address_costs_nobody_anything(&self) -> Result<()> {
        let [full, sibling] = &self.near;
        let before = full.asked();
        full.does(Turn::Overloaded);
        let names = self.answered("spread").await?;
        ensure!(names.iter().all(|name| name == sibling.name()), "answered by {names:?}");
        ensure!(full.asked() == before + 5, "it was asked {} times", full.asked() - before);
        self.counted("coalmine_upstream_retries_total", &["provider=\"spread\""], 5).await?;
        self.ejected(full, "failures_in_a_row").await?;
        let why = ["put aside", "5 failures in a row, the last: answered 503; asked again in 9m"];
        let (status, line) = self.line(full)?;
        ensure!(line.is_some_and(|line| why.iter().all(|why| line.contains(why))), "{status}");
        print("an overloaded address costs nobody an answer, and is left alone behind its fifth refusal");
        Ok(())
    }

    async fn the_next_region_takes_over_and_gives_back(&self) -> Result<()> {
        self.near.iter().for_each(|server| server.is_well(false));
        self.serves(std::slice::from_ref(&self.own)).await?;
        let names = self.answered("spread").await?;
        ensure!(names.iter().all(|name| name == "own"), "the next region by measure: {names:?}");
        self.near[1].is_well(true);
        self.serves(&self.near[1..]).await?;
        let names = self.answered("spread").await?;
        ensure!(names.iter().all(|name| name == "near-2"), "the nearer one is well again: {names:?}");
        let why = ["unwell", "looks at its health failed, the last: answered 500; looked at again", "in us-east"];
        let (status, line) = self.line(&self.near[0])?;
        ensure!(line.is_some_and(|line| why.iter().all(|why| line.contains(why))), "{status}");
        ensure!(status.contains("stands by"), "the regions further away: {status}");
        print("the next region takes over from one that is unwell, and gives back");
        Ok(())
    }

    /// It has connections, and answers nobody: no request waits for long enough to see that.
    async fn an_address_that_hangs_is_outrun(&self) -> Result<()> {
        let names = self.answered("hedged").await?;
        ensure!(names.iter().all(|name| name == "answers"), "answered by {names:?}");
        self.ejected(&self.hangs, "outrun_by_siblings").await?;
        let (status, line) = self.line(&self.hangs)?;
        ensure!(line.is_some_and(|line| line.contains("outrun 5 times in a row by siblings")), "{status}");
        let until = Instant::now() + PATIENCE;
        while self.hangs.let_go() < self.hangs.asked() {
            ensure!(Instant::now() < until, "asked {} times, let go {}", self.hangs.asked(), self.hangs.let_go());
            sleep(Duration::from_millis(20)).await;
        }
        let won = self.sum("coalmine_hedges_total", &["provider=\"hedged\"", "result=\"won\""]).await?;
        ensure!(won >= 5, "{won} hedges were won");
        let asked = self.hangs.asked();
        ensure!(self.answered("hedged").await? == names, "it answers nobody");
        ensure!(self.hangs.asked() == asked, "it is asked again");
        print(&format!("an address that hangs was outrun {won} times, let go each time, and put aside"));
        Ok(())
    }

    /// The request that shows how it is goes on to a sibling, in the place of a retry.
    async fn one_that_hangs_when_it_is_tried_holds_nobody(&self) -> Result<()> {
        let [tried, sibling] = &self.tried;
        tried.does(Turn::Overloaded);
        let until = Instant::now() + PATIENCE;
        while self.sum("coalmine_upstream_ejections_total", &[&tried.label()]).await? == 0 {
            ensure!(Instant::now() < until, "it is not put aside");
            self.answered("tried").await?;
        }
        tried.does(Turn::Hangs);
        let won = ["provider=\"tried\"", "result=\"won\""];
        while self.sum("coalmine_hedges_total", &won).await? == 0 {
            ensure!(Instant::now() < until, "nobody has tried it");
            let names = self.answered("tried").await?;
            ensure!(names.iter().all(|name| name == sibling.name()), "answered by {names:?}");
        }
        let (status, line) = self.line(tried)?;
        let why = ["in vain", "the last: outrun by a sibling"];
        ensure!(line.is_some_and(|line| why.iter().all(|why| line.contains(why))), "{status}");
        tried.does(Turn::Answered);
        let serving = ["provider=\"tried\""];
        while self.sum("coalmine_upstream_serving", &serving).await? < 2 {
            ensure!(Instant::now() < until, "it is not taken back");
            self.answered("tried").await?;
        }
        print("an address that hangs when it is tried holds nobody, and one that answers is taken back");
        Ok(())
    }

    /// Slots of the region far away are none of the canary's, and its silence holds nothing.
    async fn a_region_that_serves_nobody_is_no_room(&self) -> Result<()> {
        let [gpu, far] = &self.gpus;
        self.hears("running").await?;
        self.coalmine.cli(&["start", "release.yaml"])?;
        self.until_stage(0).await?;
        let (status, text) = self.advance().await?;
        let why =
            "gpus has no room: 3.0 requests at 1 address, and 5.0 times as much is asked (15.0 of 85 % of 10 slots)";
        ensure!(status == StatusCode::CONFLICT && text.contains(why), "{status} {text}");
        let shown = self.coalmine.cli(&["status"])?;
        ensure!(shown.contains("asked to advance") && shown.contains("has no room"), "{shown}");
        far.is_silent();
        gpu.bears(0);
        let until = Instant::now() + PATIENCE;
        loop {
            let (status, text) = self.advance().await?;
            if status.is_success() {
                break;
            }
            ensure!(status == StatusCode::CONFLICT && text.contains("gpus has no room"), "{status} {text}");
            ensure!(Instant::now() < until, "it has room, and still: {text}");
            sleep(Duration::from_millis(200)).await;
        }
        self.until_stage(1).await?;
        print(
            "a canary's weight was held while its region was busy, whatever room the other has, and raised when there was room",
        );
        Ok(())
    }

    /// What `status` says, and of one address.
    fn line(&self, server: &Server) -> Result<(String, Option<String>)> {
        let status = self.coalmine.cli(&["status"])?;
        let line = status.lines().find(|line| line.contains(&server.address())).map(str::to_owned);
        Ok((status, line))
    }

    async fn advance(&self) -> Result<(StatusCode, String)> {
        let body = json!({"reason": "as agreed"});
        let path = "/api/v1/releases/split-1/advance";
        let answer = self.coalmine.http().send(Method::POST, path, &[], Some(&body)).await?;
        Ok((answer.status, answer.text()))
    }

    async fn until_stage(&self, stage: u64) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let release = self.coalmine.http().get("/api/v1/releases/split-1").await?;
            if release["state"]["is"] == "running" && release["state"]["stage"] == stage {
                return Ok(());
            }
            ensure!(Instant::now() < until, "it does not come to stage {stage}: {release}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Until the first address of the canary's provider has said its load.
    async fn hears(&self, what: &str) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let status = self.coalmine.http().get("/api/v1/status").await?;
            let mut all = status["upstreams"].as_array().into_iter().flatten();
            if all.any(|one: &Value| one["provider"] == "gpus" && one["load"][what].as_f64() == Some(3.0)) {
                return Ok(());
            }
            ensure!(Instant::now() < until, "nothing is heard of {what}: {status}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Until sessions of `spread` are spread over these, and nobody else.
    async fn serves(&self, servers: &[Arc<Server>]) -> Result<()> {
        let family = "coalmine_upstream_serving";
        self.counted(family, &["provider=\"spread\""], servers.len() as u64).await?;
        for server in servers {
            self.counted(family, &["provider=\"spread\"", &server.label()], 1).await?;
        }
        Ok(())
    }

    async fn ejected(&self, server: &Server, reason: &str) -> Result<()> {
        let reason = format!("reason=\"{reason}\"");
        self.counted("coalmine_upstream_ejections_total", &[&server.label(), &reason], 1).await?;
        self.counted("coalmine_upstream_in_service", &[&server.label()], 0).await
    }

    /// The sum of a family's samples that have these labels comes to be this.
    async fn counted(&self, family: &str, labels: &[&str], count: u64) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let sum = self.sum(family, labels).await?;
            if sum == count {
                return Ok(());
            }
            ensure!(Instant::now() < until, "{family} {labels:?} is {sum}, and {count} were to be");
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn sum(&self, family: &str, labels: &[&str]) -> Result<u64> {
        let page = self.coalmine.http().send(Method::GET, "/metrics", &[], None).await?.text();
        let of = |line: &&str| {
            let rest = line.strip_prefix(family);
            rest.is_some_and(|rest| rest.starts_with(['{', ' ']) && labels.iter().all(|label| rest.contains(label)))
        };
        Ok(page.lines().filter(of).filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum())
    }
}

#[expect(clippy::print_stdout, reason = "a report for whoever ran it")]
fn print(text: &str) {
    println!("ok      {text}");
}
