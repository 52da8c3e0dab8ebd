//! `coalmine demo`: the real thing with simulated providers and customers, on virtual hours that pass in
//! seconds. One release is bad and must be rolled back, one is good and must be promoted.

mod customers;
mod provider;
mod truth;

use crate::cli::args::DemoArgs;
use crate::cli::paint::{Paint, Tone, span, sparkline};
use crate::cli::{Exit, say};
use crate::config::{self, Machine};
use crate::serve::Server;
use anyhow::{Context, Result};
use coalmine_api::client::Client;
use coalmine_api::types::{CommandBody, ExplainView, NewRelease, ReleaseView};
use customers::Seen;
use provider::Provider;
use serde::Serialize;
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use truth::{Expected, STORIES, Story, truth_of};

/// Virtual seconds per second.
const TIME_SCALE: f64 = 600.0;
/// Sessions a second on each route.
const SESSIONS_PER_SECOND: f64 = 120.0;
/// A customer's pause between two turns: one virtual minute.
const THINK: Duration = Duration::from_millis(100);
/// The demo gives up after this; far beyond what it needs.
const PATIENCE: Duration = Duration::from_secs(240);

/// What became of one release, for a machine.
#[derive(Debug, Serialize)]
struct Told {
    release: String,
    expected: &'static str,
    became: String,
    as_expected: bool,
    why: String,
    virtual_minutes: u64,
    canary_sessions: u64,
    harmed_sessions: f64,
    version_flips: u64,
}

/// Runs the demo to its end.
///
/// # Errors
/// When it cannot be set up.
pub async fn run(args: &DemoArgs) -> Result<Exit> {
    let folder = tempfile::Builder::new().prefix("coalmine-demo-").tempdir().context("making a folder for the demo")?;
    let shown = Screen::new(args.json);
    shown.line("starting Coalmine on SQLite, with two simulated providers and their customers");
    let providers = [Provider::start(args.seed).await?, Provider::start(args.seed + 1).await?];
    let text = process_file(&args.listen, providers[0].address, providers[1].address);
    let process = config::parse_process(&text, &folder.path().join("coalmine.yaml"), &Machine)?;
    let server = Server::start(process).await?;
    let outcome = tokio::select! {
        told = tell(args, &server, folder.path(), &shown) => told,
        _ = tokio::signal::ctrl_c() => {
            shown.line("stopped; nothing is left behind");
            Ok(Exit::Done)
        }
    };
    server.stop().await;
    outcome
}

async fn tell(args: &DemoArgs, server: &Server, folder: &Path, shown: &Screen) -> Result<Exit> {
    let url = format!("http://{}", server.address());
    let client = Client::new(&url, None)?;
    let mut releases = Vec::new();
    for story in STORIES {
        releases.push(begin(&client, story, folder).await?);
    }
    let (seen, visitors) = open_doors(server.address(), args.seed);
    shown.line(&format!(
        "an hour passes in {:.0} seconds; look around meanwhile at {url}/api/v1/status",
        3_600.0 / TIME_SCALE
    ));
    let began = Instant::now();
    let ends = follow(&client, &releases, began, shown).await?;
    visitors.iter().for_each(tokio::task::JoinHandle::abort);
    let mut told = Vec::new();
    for ((story, seen), end) in STORIES.iter().zip(&seen).zip(&ends) {
        told.push(told_of(*story, end, seen));
    }
    if args.json {
        crate::cli::connect::print_json(&told)?;
    } else {
        for (told, id) in told.iter().zip(&releases) {
            shown.line(&ending(told, &client.explain(id).await?));
        }
        shown.line(&where_to_look(&releases, &url, args.stay));
    }
    if args.stay {
        let _ = tokio::signal::ctrl_c().await;
    }
    Ok(if told.iter().all(|t| t.as_expected && t.version_flips == 0) { Exit::Done } else { Exit::Failed })
}

fn process_file(listen: &str, before: SocketAddr, after: SocketAddr) -> String {
    let mut text = format!(
        "listen: \"{listen}\"\nstore: sqlite:coalmine.db\ntime_scale: {TIME_SCALE}\nproviders:\n  \
         old: {{ kind: openai, base_url: \"http://{before}/v1\" }}\n  new: {{ kind: openai, base_url: \"http://{after}/v1\" }}\nroutes:\n"
    );
    for story in STORIES {
        let _ = writeln!(text, "  {}:\n    stable: {{ model: old/{} }}", story.route, story.stable);
    }
    text
}

/// The release file of a story, as a user would write it.
fn release_file(story: Story) -> String {
    format!(
        "release: {}\ncanary: {{ model: new/{} }}\nfalse_rollback_rate: 1%\nfalse_promotion_rate: 5%\n\
         bucket: 2m\nages: {{ first: 5m, session: 15m, whole: 30m }}\nmax_duration: 3d\nkeep: 48h\nstages:\n  \
         - {{ weight: 10%, bake: 30m, min_sessions: 100 }}\n  - {{ weight: 50%, bake: 1h, min_sessions: 200 }}\n\
         guardrails:\n  - {{ metric: error_rate, margin: 2pp }}\n  - {{ metric: refusal_rate, margin: 2pp }}\n  \
         - {{ metric: tool_call_valid, margin: 2pp }}\n",
        story.route, story.canary
    )
}

async fn begin(client: &Client, story: Story, folder: &Path) -> Result<String> {
    let file = folder.join(format!("{}.yaml", story.route));
    std::fs::write(&file, release_file(story))?;
    let spec = crate::cli::operate::read_release(client, &file).await?;
    let new = NewRelease { route: spec.route.to_string(), canary: spec.canary, plan: spec.plan, policy: spec.policy };
    let created = client.create(&new).await?;
    client.command(&created.id, "start", &CommandBody::default()).await?;
    Ok(created.id)
}

fn open_doors(gateway: SocketAddr, seed: u64) -> (Vec<Arc<Seen>>, Vec<tokio::task::JoinHandle<()>>) {
    let mut seen = Vec::new();
    let mut visitors = Vec::new();
    for (n, story) in (0_u64..).zip(STORIES) {
        let of_route = Arc::new(Seen::default());
        let visit =
            customers::visit(gateway, story.route, SESSIONS_PER_SECOND, seed + 10 + n, THINK, Arc::clone(&of_route));
        visitors.push(tokio::spawn(visit));
        seen.push(of_route);
    }
    (seen, visitors)
}

/// Shows progress until both releases are over, or patience is.
async fn follow(client: &Client, releases: &[String], began: Instant, shown: &Screen) -> Result<Vec<ReleaseView>> {
    let mut over_at: Vec<Option<ReleaseView>> = vec![None; releases.len()];
    loop {
        let mut page = Vec::new();
        for (id, over) in releases.iter().zip(&mut over_at) {
            let explained = client.explain(id).await?;
            page.push(progress_line(&explained, shown.paint));
            if over.is_none() && crate::cli::connect::is_over(&explained.release.state.is) {
                *over = Some(explained.release);
            }
        }
        shown.progress(&page);
        if over_at.iter().all(Option::is_some) || began.elapsed() > PATIENCE {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let mut ends = Vec::new();
    for (id, over) in releases.iter().zip(over_at) {
        ends.push(match over {
            Some(view) => view,
            None => client.release(id).await?,
        });
    }
    Ok(ends)
}

fn progress_line(e: &ExplainView, paint: Paint) -> String {
    let r = &e.release;
    let elapsed = r.started_at_ms.map_or(0, |at| r.now_ms.saturating_sub(at));
    let stage = r
        .state
        .stage
        .and_then(|s| r.plan.stages.get(s))
        .map_or(String::new(), |s| format!(" {} %", f64::from(s.weight_bp) / 100.0));
    let state = format!("{:<22}", format!("{}{stage}", r.state.is.replace('_', " ")));
    let tone = match r.state.is.as_str() {
        "rolled_back" | "rolling_back" => Tone::Bad,
        "promoted" | "promoting" => Tone::Good,
        _ => Tone::Strong,
    };
    let mut line =
        format!("{:>8}  {:<17} {} canary {:>5}  ", span(elapsed), r.id, paint.tone(tone, &state), r.exposed.canary);
    for f in &r.findings {
        let track = e.tracks.iter().find(|t| t.metric == f.metric);
        let points: Vec<f64> = track.map(|t| t.points.iter().map(|p| p.rollback).collect()).unwrap_or_default();
        let bars = sparkline(&points, f.rollback.line, 8);
        let _ = write!(line, "{} {bars:<8} ", f.metric.split('_').next().unwrap_or(&f.metric));
    }
    line
}

fn told_of(story: Story, end: &ReleaseView, seen: &Seen) -> Told {
    let ended = end.state.since_ms.unwrap_or(end.now_ms);
    let (good, bad) = (truth_of(story.stable), truth_of(story.canary));
    // What is true, not what was estimated: a session of a bad canary is harmed by its excess of refusals and wrong calls.
    let excess = (bad.refuses - good.refuses).max(0.0) + (bad.calls_wrongly - good.calls_wrongly).max(0.0);
    Told {
        release: end.id.clone(),
        expected: story.expected.word(),
        became: end.state.is.clone(),
        as_expected: end.state.is == story.expected.word(),
        why: end.state.why.clone().unwrap_or_else(|| end.report.headline.clone()),
        virtual_minutes: ended.saturating_sub(end.started_at_ms.unwrap_or(ended)) / 60_000,
        canary_sessions: end.exposed.canary,
        harmed_sessions: (end.exposed.canary as f64 * excess).round(),
        version_flips: match story.expected {
            // A rollback moves live sessions; that is no flip.
            Expected::RolledBack => 0,
            Expected::Promoted => seen.flips.load(Ordering::Relaxed),
        },
    }
}

fn ending(told: &Told, e: &ExplainView) -> String {
    let mut text = format!(
        "\n{} was {} after {} virtual minutes, as it {}.\n  why: {}\n  sessions on the canary: {}, harmed by it: about {}\n",
        told.release,
        told.became.replace('_', " "),
        told.virtual_minutes,
        if told.as_expected { "should be" } else { "should NOT be" },
        told.why,
        told.canary_sessions,
        told.harmed_sessions,
    );
    for f in &e.release.findings {
        let _ = writeln!(text, "  {:<16} {}", f.metric, f.reason);
    }
    text
}

fn where_to_look(releases: &[String], url: &str, stay: bool) -> String {
    if stay {
        let first = releases.first().map_or("RELEASE", String::as_str);
        return format!(
            "still running; in another terminal:\n  coalmine explain {first} --url {url}\n  coalmine status --url {url}\n  curl {url}/metrics\nCtrl-C ends it and leaves nothing behind."
        );
    }
    "look around: `coalmine demo --stay` leaves the server up, then `coalmine explain support-agent`, `coalmine status`, and\n\
     `curl URL/metrics`; your own provider: see the first screen of README.md".to_owned()
}

/// Where progress goes: redrawn on a terminal, a line now and then when piped, nothing for a machine.
#[derive(Debug)]
struct Screen {
    paint: Paint,
    mode: Mode,
    drawn: std::sync::Mutex<Drawn>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Live,
    Lines,
    Silent,
}

#[derive(Debug, Default)]
struct Drawn {
    lines: usize,
    calls: usize,
}

impl Screen {
    fn new(json: bool) -> Self {
        let mode = match (json, std::io::stdout().is_terminal()) {
            (true, _) => Mode::Silent,
            (false, true) => Mode::Live,
            (false, false) => Mode::Lines,
        };
        Self { paint: Paint::detect(), mode, drawn: std::sync::Mutex::default() }
    }

    fn line(&self, text: &str) {
        if self.mode != Mode::Silent {
            say(&format!("{text}\n"));
            if let Ok(mut drawn) = self.drawn.lock() {
                drawn.lines = 0;
            }
        }
    }

    fn progress(&self, page: &[String]) {
        let Ok(mut drawn) = self.drawn.lock() else { return };
        drawn.calls += 1;
        match self.mode {
            Mode::Silent => {}
            Mode::Lines if drawn.calls % 10 == 1 => page.iter().for_each(|line| say(&format!("{line}\n"))),
            Mode::Lines => {}
            Mode::Live => {
                if drawn.lines > 0 {
                    say(&format!("\u{1b}[{}A", drawn.lines));
                }
                page.iter().for_each(|line| say(&format!("\u{1b}[2K{line}\n")));
                drawn.lines = page.len();
            }
        }
    }
}
