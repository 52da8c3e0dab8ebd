//! What can be typed.

use clap::{Args, Parser, Subcommand};
use coalmine_core::time::SpanMs;
use std::path::PathBuf;

/// Puts new LLM versions into production, and takes bad ones out, by itself.
#[derive(Debug, Parser)]
#[command(
    name = "coalmine",
    version,
    about,
    long_about = "Puts new LLM versions into production, and takes bad ones out, by itself.\n\n\
        Point an OpenAI SDK's base_url at `coalmine serve` and name a route in `model`. A release then sends a small \
        share of sessions to the canary version, compares it with the sessions that stay on stable, and promotes or \
        rolls back; the chance of rolling back a good version is bounded over the whole release.",
    after_help = "First steps:\n  coalmine demo                      see a release rolled back and one promoted\n  \
        coalmine config check              check coalmine.yaml, and every release file named after it\n  \
        coalmine serve                     start with ./coalmine.yaml\n  \
        coalmine plan releases/new.yaml    see how long it needs, and what it may harm\n  \
        coalmine start releases/new.yaml   begin a release\n  \
        coalmine watch                     follow it\n\n\
        Exit codes: 0 done, 1 failed, 2 wrong usage or file, 3 refused by the server (state or conflict), \
        4 no server at the address, 5 rolled back but the commit is pending because the store is away.",
    arg_required_else_help = true
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// Where the server is, and how to print.
#[derive(Debug, Clone, Args)]
pub struct Remote {
    /// Address of the server.
    #[arg(long, env = "COALMINE_URL", default_value = "http://127.0.0.1:8080", value_name = "URL")]
    pub url: String,
    /// Operator's token, where the server asks for one.
    #[arg(long, env = "COALMINE_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub token: Option<String>,
    /// Print one JSON document for a machine.
    #[arg(long)]
    pub json: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Start the gateway, the control loop and the management API.
    Serve(ServeArgs),
    /// Watch a bad release be rolled back and a good one promoted, with simulated providers and customers.
    Demo(DemoArgs),
    /// Say before the start how long a release needs, whom it may harm, and what cannot be decided.
    Plan(PlanArgs),
    /// Begin a release described by a file.
    Start(StartArgs),
    /// Show routes, releases and what they wait for.
    Status(StatusArgs),
    /// Follow a release, live on a terminal, a line per change when piped.
    Watch(WatchArgs),
    /// Hold a release where it is; exposure stays.
    Pause(CommandArgs),
    /// Let a paused release go on; the pause does not count as bake.
    Resume(CommandArgs),
    /// Open the stage that waits for approval, once the canary's upstreams are ready.
    Approve(StepArgs),
    /// Open the next stage, without waiting for bake or evidence, once the canary's upstreams are ready.
    #[command(
        after_help = "Where the canary's provider has `warm_up`, `warm` or `capacity`, it is warmed and asked for its room         first; the command says what it waits for, and Ctrl-C gives the step up. --now waits for nothing.\n\n\
        Examples:\n  coalmine advance support-agent -m 'seen enough'\n  coalmine advance support-agent -m 'stable is down' --now"
    )]
    Advance(StepArgs),
    /// Promote the canary, without waiting for evidence, once its upstreams have room.
    Promote(StepArgs),
    /// Say that another model answers under the same name: what was proven for promotion is proven anew.
    #[command(
        after_help = "A provider sometimes puts another model behind a name. What sessions before that have shown \
        proves nothing for a promotion any more, so the evidence for it falls to at most 1 and is gathered anew; what \
        they have shown against the canary stands, and exposure stays. The server notes it by itself where answers \
        come under another model name or system_fingerprint.\n\n\
        Example:\n  coalmine drift support-agent -m 'the provider moved large-latest to its October snapshot'"
    )]
    Drift(CommandArgs),
    /// Put every new session back on stable, at once, even when the store is away.
    Rollback(RollbackArgs),
    /// Show in what the canary of a release differs from stable.
    Diff(ReleaseArgs),
    /// Number, bound, n and reason for every guardrail at the last look, and the record of decisions.
    Explain(ExplainArgs),
    /// Check a suite of known-answer prompts, or run it against a version.
    Sentinel(SentinelArgs),
    /// Check a judge, or let it judge recorded answers before a release trusts it.
    Judge(JudgeArgs),
    /// List scored answers that wait for a human label, and label them.
    Label(LabelArgs),
    /// List what is wrong with routes, release or not, and say that it is known or over.
    Incidents(IncidentsArgs),
    /// List captured answers, read those of both versions side by side, and delete them.
    Captures(super::captures::CapturesArgs),
    /// Make, list, rotate, bound and revoke the keys that clients show.
    Key(KeyArgs),
    /// Run worlds of known truth in virtual time on the shipped decision loop.
    Simulate(SimulateArgs),
    /// Replay recorded observations through a release's policy, before it is trusted with a decision.
    Backtest(BacktestArgs),
    /// Check, list and describe configuration.
    Config(ConfigArgs),
    /// Write the present routes as a coalmine.yaml.
    Export(ExportArgs),
    /// Print the OpenAPI document of the management API.
    Openapi,
}

/// `coalmine serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// The configuration file.
    #[arg(long, short, default_value = "coalmine.yaml", env = "COALMINE_CONFIG", value_name = "FILE")]
    pub config: PathBuf,
    /// Take the listener over from the process that serves from the same `data_dir`, without a connection lost:
    /// connections wait while it finishes what it was asked and lets go of store and logs, five seconds at most; what
    /// still streams then goes on there to its end.
    #[arg(long)]
    pub take_over: bool,
}

/// `coalmine demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Print the outcome for a machine; the exit code is 1 when it differs from the worlds' truth.
    #[arg(long)]
    pub json: bool,
    /// Seed of the simulated customers and providers.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS")]
    pub listen: String,
    /// Leave the server running at the end, to look around.
    #[arg(long)]
    pub stay: bool,
}

/// `coalmine plan FILE`.
#[derive(Debug, Args)]
#[command(after_help = "Reads the route's own last 24 hours from the server. With --traffic no server is asked: the \
    file is read against --config, and stable is taken to be usual (errors 0.5 %, refusals 2 %, sessions of 4 \
    requests, first content in 0.8 s, answers in 6 s) unless said otherwise.\n\n\
    Examples:\n  coalmine plan releases/new.yaml\n  coalmine plan releases/new.yaml --traffic 1000/h --error-rate 1%\n  \
    coalmine plan releases/new.yaml --cohort internal=3% --baseline refusal_rate=4%\n\n\
    Exit codes: 0 nothing stands against the start, 1 something cannot be decided in time and is not acknowledged.")]
pub struct PlanArgs {
    /// The release file.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Sessions of the route, as `1000/h`, `20/m` or `50000/d`; without it they are measured.
    #[arg(long, value_name = "RATE", value_parser = super::plan::per_hour)]
    pub traffic: Option<f64>,
    /// Requests of a session, on average.
    #[arg(long, value_name = "N")]
    pub turns: Option<f64>,
    /// Share of the sessions whose requests fare alike.
    #[arg(long, value_name = "SHARE", value_parser = super::plan::share)]
    pub cluster: Option<f64>,
    /// Stable's errors, the same as `--baseline error_rate=SHARE`.
    #[arg(long, value_name = "SHARE", value_parser = super::plan::share)]
    pub error_rate: Option<f64>,
    /// Stable's own value of a rate or score, as people read it: `refusal_rate=4%`, `feedback.solved=80%`.
    #[arg(long, value_name = "METRIC=SHARE", value_parser = super::plan::metric_share)]
    pub baseline: Vec<(coalmine_core::metric::Metric, f64)>,
    /// Share of the requests (of a score: of the sessions) that show a metric: `feedback.solved=10%`.
    #[arg(long, value_name = "METRIC=SHARE", value_parser = super::plan::metric_share)]
    pub sampled: Vec<(coalmine_core::metric::Metric, f64)>,
    /// Share of the route's sessions that a cohort brings; 10 % without it.
    #[arg(long, value_name = "COHORT=SHARE", value_parser = super::plan::named_share)]
    pub cohort: Vec<(String, f64)>,
    /// Know that it may not be decided in time, as `acknowledge: [undecidable]` in the file.
    #[arg(long)]
    pub acknowledge: bool,
    /// The configuration that the file is read against, with --traffic only.
    #[arg(long, short, default_value = "coalmine.yaml", env = "COALMINE_CONFIG", value_name = "FILE")]
    pub config: PathBuf,
    /// Where the server is.
    #[command(flatten)]
    pub remote: Remote,
}

/// `coalmine start FILE`.
#[derive(Debug, Args)]
pub struct StartArgs {
    /// The release file.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Create it in `draft` only: nothing is exposed until it is started by name.
    #[arg(long)]
    pub draft: bool,
    /// Start although it may not be decided in time, as `acknowledge: [undecidable]` in the file.
    #[arg(long)]
    pub acknowledge: bool,
    /// Where the server is.
    #[command(flatten)]
    pub remote: Remote,
}

/// `coalmine status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// One release or route; everything by default.
    #[arg(value_name = "RELEASE")]
    pub release: Option<String>,
    /// Where the server is.
    #[command(flatten)]
    pub remote: Remote,
}

/// `coalmine watch`.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// The release or its route; the only running one by default.
    #[arg(value_name = "RELEASE")]
    pub release: Option<String>,
    /// Where the server is.
    #[command(flatten)]
    pub remote: Remote,
}

/// A command on one release.
#[derive(Debug, Args)]
pub struct CommandArgs {
    /// The release (`support-agent-7`) or its route (`support-agent`: its release that is not over).
    #[arg(value_name = "RELEASE")]
    pub release: String,
    /// Why; kept in the record.
    #[arg(long, short = 'm', default_value = "")]
    pub reason: String,
    /// Refuse when the release has moved on since this generation (as `status --json` shows it).
    #[arg(long, value_name = "GENERATION")]
    pub expect: Option<u64>,
    /// Where the server is.
    #[command(flatten)]
    pub remote: Remote,
}

/// A command that gives the canary more.
#[derive(Debug, Args)]
pub struct StepArgs {
    /// What every command takes.
    #[command(flatten)]
    pub command: CommandArgs,
    /// Do it at once: wait neither for warmth nor for room of the canary's upstreams.
    #[arg(long)]
    pub now: bool,
}

/// `coalmine rollback`.
#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// The release or its route.
    #[arg(value_name = "RELEASE", required_unless_present = "all")]
    pub release: Option<String>,
    /// Every release that is not over.
    #[arg(long, conflicts_with = "release")]
    pub all: bool,
    /// Why; kept in the record.
    #[arg(long, short = 'm', default_value = "")]
    pub reason: String,
    /// Where the server is.
    #[command(flatten)]
    pub remote: Remote,
}

/// A command that reads one release.
#[derive(Debug, Args)]
pub struct ReleaseArgs {
    /// The release or its route.
    #[arg(value_name = "RELEASE")]
    pub release: String,
    /// Where the server is.
    #[command(flatten)]
    pub remote: Remote,
}

/// `coalmine explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The release or its route.
    #[arg(value_name = "RELEASE")]
    pub release: String,
    /// Replay the record and say whether every decision comes out the same.
    #[arg(long)]
    pub replay: bool,
    /// Write a picture of the evidence over time to this file, and print nothing else.
    #[arg(long, value_name = "FILE", conflicts_with = "replay")]
    pub svg: Option<PathBuf>,
    /// Where the server is.
    #[command(flatten)]
    pub remote: Remote,
}

/// `coalmine sentinel`.
#[derive(Debug, Args)]
pub struct SentinelArgs {
    /// What.
    #[command(subcommand)]
    pub what: SentinelVerb,
}

/// What `coalmine sentinel` can do.
#[derive(Debug, Subcommand)]
pub enum SentinelVerb {
    /// Load suites and name everything in them that cannot be run; needs no server.
    Check {
        /// Suites, in the form of promptfooconfig.yaml.
        #[arg(value_name = "SUITE", required = true)]
        suites: Vec<PathBuf>,
    },
    /// Make a suite of recorded sessions: the conversations that come most often, with answers to confirm.
    #[command(after_help = "Each line of a file is a JSON object: { messages } that end with the assistant's answer, \
        { request, response } of a chat completion, or { prompt, output }.\n\n\
        Examples:\n  coalmine sentinel import sessions.jsonl --out sentinels/top.yaml\n  coalmine sentinel import a.jsonl b.jsonl --top 20 --least 3")]
    Import(SentinelImportArgs),
    /// Ask a version every prompt of a suite, through the server's gateway and outside of all traffic.
    #[command(after_help = "Exit codes: 0 every critical sentinel passed, 1 one failed or could not be told \
        (with --strict also of the watched ones), 2 the suite cannot be run, 4 no server.")]
    Run(SentinelRunArgs),
}

/// `coalmine sentinel import`.
#[derive(Debug, Args)]
pub struct SentinelImportArgs {
    /// Recorded sessions, one JSON object a line.
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Where the suite is written, to a file that is not there yet; without it, it is printed.
    #[arg(long, value_name = "SUITE")]
    pub out: Option<PathBuf>,
    /// So many conversations at most.
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub top: usize,
    /// Those that come at least so often.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub least: usize,
}

/// `coalmine sentinel run`.
#[derive(Debug, Args)]
pub struct SentinelRunArgs {
    /// The suite, in the form of promptfooconfig.yaml.
    #[arg(value_name = "SUITE")]
    pub suite: PathBuf,
    /// The route; may be left out where the server has one only.
    #[arg(long, value_name = "ROUTE")]
    pub route: Option<String>,
    /// Who is asked: `stable`, `canary`, or `provider/model` with the rest of stable.
    #[arg(long, value_name = "VERSION", default_value = "stable")]
    pub version: String,
    /// Fail for the watched sentinels too.
    #[arg(long)]
    pub strict: bool,
    /// Also write a JUnit report, for CI servers.
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Where the server is.
    #[command(flatten)]
    pub remote: Remote,
}

/// `coalmine judge`.
#[derive(Debug, Args)]
pub struct JudgeArgs {
    /// What.
    #[command(subcommand)]
    pub what: JudgeVerb,
}

/// What `coalmine judge` can do.
#[derive(Debug, Subcommand)]
pub enum JudgeVerb {
    /// Load judges with their anchors and say who they are; needs no server.
    Check {
        /// Judges, such as judges/helpful.yaml.
        #[arg(value_name = "JUDGE", required = true)]
        judges: Vec<PathBuf>,
    },
    /// Score the judge's own anchors, or recorded answers, through the server's gateway and outside of all releases.
    #[command(
        after_help = "A line of the file is {\"question\": …, \"answer\": …} with a \"label\" where one is known: pass or \
        fail, or 1 to 5.\n\nExit codes: 0 done, 1 an answer could not be scored, 2 a file is wrong, 4 no server.\n\n\
        Examples:\n  coalmine judge run judges/helpful.yaml\n  coalmine judge run judges/helpful.yaml --on answers.jsonl --json"
    )]
    Run(JudgeRunArgs),
}

/// `coalmine judge run`.
#[derive(Debug, Args)]
pub struct JudgeRunArgs {
    /// The judge.
    #[arg(value_name = "JUDGE")]
    pub judge: PathBuf,
    /// Recorded answers, one JSON object a line; without it the judge's anchors.
    #[arg(long, value_name = "FILE")]
    pub on: Option<PathBuf>,
    /// Where the server is.
    #[command(flatten)]
    pub remote: Remote,
}

/// `coalmine label`.
#[derive(Debug, Args)]
pub struct LabelArgs {
    /// What.
    #[command(subcommand)]
    pub what: LabelVerb,
}

/// What `coalmine label` can do.
#[derive(Debug, Subcommand)]
pub enum LabelVerb {
    /// The answers that were drawn for a label, by their requests' ids; neither arm nor score is told.
    List {
        /// The release.
        #[arg(value_name = "RELEASE")]
        release: String,
        /// Those that have one already, too.
        #[arg(long)]
        all: bool,
        /// Where the server is.
        #[command(flatten)]
        remote: Remote,
    },
    /// Label one; a second label replaces the first.
    #[command(after_help = "Example:\n  coalmine label set support-agent-7 cmr_4f… pass")]
    Set {
        /// The release.
        #[arg(value_name = "RELEASE")]
        release: String,
        /// The request's id as the client was told (`x-coalmine-request-id`), or the item of the list.
        #[arg(value_name = "ANSWER")]
        answer: String,
        /// `pass` or `fail`, or 1 to 5.
        #[arg(value_name = "LABEL")]
        label: String,
        /// Where the server is.
        #[command(flatten)]
        remote: Remote,
    },
}

/// `coalmine incidents`.
#[derive(Debug, Args)]
#[command(
    after_help = "An incident is opened where stable of a route answers under another model name, fingerprint or service \
    tier, where it fails a sentinel of `routes.NAME.sentinels` that it used to pass, and 30 days before the announced \
    end of its model. What is over closes by itself: the sentinel passes again, the name is what it was, the route asks \
    for another model. An incident changes no traffic.\n\n\
    Examples:\n  coalmine incidents list\n  coalmine incidents ack support-agent -m 'asked the provider'\n  \
    coalmine incidents close inc_4f2a -m 'the October snapshot is fine'"
)]
pub struct IncidentsArgs {
    /// What.
    #[command(subcommand)]
    pub what: IncidentsVerb,
}

/// What `coalmine incidents` can do.
#[derive(Debug, Subcommand)]
pub enum IncidentsVerb {
    /// List those that are not closed, newest first.
    List {
        /// Those too that are closed.
        #[arg(long)]
        all: bool,
        /// Of this route only.
        #[arg(long, value_name = "ROUTE")]
        route: Option<String>,
        /// Where the server is.
        #[command(flatten)]
        remote: Remote,
    },
    /// Show one with its journal.
    Show {
        /// Its id, the first four of its digits or more, or the route that has one open.
        #[arg(value_name = "INCIDENT")]
        incident: String,
        /// Where the server is.
        #[command(flatten)]
        remote: Remote,
    },
    /// Say that you know of it; it stays open until it is over.
    Ack {
        /// Its id, the first four of its digits or more, or the route that has one open.
        #[arg(value_name = "INCIDENT")]
        incident: String,
        /// Why; kept in its journal.
        #[arg(long, short = 'm', default_value = "")]
        note: String,
        /// Where the server is.
        #[command(flatten)]
        remote: Remote,
    },
    /// Say that it is over; its cause opens no other one before it begins anew.
    Close {
        /// Its id, the first four of its digits or more, or the route that has one open.
        #[arg(value_name = "INCIDENT")]
        incident: String,
        /// Why; kept in its journal.
        #[arg(long, short = 'm', default_value = "")]
        note: String,
        /// Where the server is.
        #[command(flatten)]
        remote: Remote,
    },
}

/// `coalmine key`.
#[derive(Debug, Args)]
#[command(
    after_help = "A key is shown by clients as `authorization: Bearer SECRET` or `x-api-key: SECRET`, on every surface. \
    Of the secret the server keeps a hash: it is printed once, when the key is made or rotated.\n\
    The first key closes the gateway to everybody without one, and a revoked key does not open it again.\n\n\
    Examples:\n  coalmine key create acme-prod --customer acme --route support-agent --per-month 200\n  \
    coalmine key create ci --expires 30d --requests-per-minute 60 --concurrent 4\n  \
    coalmine key rotate acme-prod --grace 24h\n  coalmine key limit ci --requests-per-minute none\n  \
    coalmine key revoke ci"
)]
pub struct KeyArgs {
    /// What.
    #[command(subcommand)]
    pub what: KeyVerb,
}

/// What `coalmine key` can do.
#[derive(Debug, Subcommand)]
pub enum KeyVerb {
    /// Make a key and print its secret, this once.
    Create(KeyCreateArgs),
    /// List the keys by the first characters of their secrets, with what was used under each.
    List {
        /// Those too that have expired or were revoked.
        #[arg(long)]
        all: bool,
        /// Where the server is.
        #[command(flatten)]
        remote: Remote,
    },
    /// Give a key another secret and print it, this once; the present one stays good for a while.
    Rotate {
        /// The key.
        #[arg(value_name = "KEY")]
        name: String,
        /// How long the present secret stays good, as 90s, 15m, 24h or 3d; `0` ends it at once.
        #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = super::key::grace)]
        grace: SpanMs,
        /// Where the server is.
        #[command(flatten)]
        remote: Remote,
    },
    /// Change what may be used under a key; what is not named stays, `none` takes a bound away.
    Limit {
        /// The key.
        #[arg(value_name = "KEY")]
        name: String,
        /// The bounds.
        #[command(flatten)]
        quota: QuotaArgs,
        /// Where the server is.
        #[command(flatten)]
        remote: Remote,
    },
    /// Revoke a key for good, at once, even when the store is away.
    #[command(after_help = "Exit codes: 0 done, 3 refused by the server, 4 no server, 5 revoked but the commit is \
        pending because the store is away.")]
    Revoke {
        /// The key.
        #[arg(value_name = "KEY")]
        name: String,
        /// Where the server is.
        #[command(flatten)]
        remote: Remote,
    },
}

/// `coalmine key create NAME`.
#[derive(Debug, Args)]
pub struct KeyCreateArgs {
    /// Its name: letters, digits, `.`, `_`, `-`. A name is taken once, also by a key that was revoked.
    #[arg(value_name = "KEY")]
    pub name: String,
    /// Whose requests these will be: cohorts and quotas of that customer hold for them. Where coalmine.yaml names
    /// customers, it is one of them.
    #[arg(long, value_name = "CUSTOMER")]
    pub customer: Option<String>,
    /// The customer is meant to stand nowhere in coalmine.yaml: it has no quota and no tag.
    #[arg(long, requires = "customer")]
    pub unlisted_customer: bool,
    /// A route that it may use; repeat it for several. Without any: all, and what is passed through.
    #[arg(long = "route", value_name = "ROUTE")]
    pub routes: Vec<String>,
    /// Its life, as 24h or 30d; without it, it does not end by itself.
    #[arg(long, value_name = "DURATION", value_parser = super::key::life)]
    pub expires: Option<SpanMs>,
    /// The bounds.
    #[command(flatten)]
    pub quota: QuotaArgs,
    /// Where the server is.
    #[command(flatten)]
    pub remote: Remote,
}

/// What may be used under a key.
#[derive(Debug, Clone, Copy, Args)]
pub struct QuotaArgs {
    /// Requests a minute; as many may come at once.
    #[arg(long, value_name = "N|none", value_parser = super::key::count)]
    pub requests_per_minute: Option<Change<u64>>,
    /// Tokens a minute, read and written.
    #[arg(long, value_name = "N|none", value_parser = super::key::count)]
    pub tokens_per_minute: Option<Change<u64>>,
    /// Requests at a time.
    #[arg(long, value_name = "N|none", value_parser = super::key::count)]
    pub concurrent: Option<Change<u64>>,
    /// Money of a day of UTC in US dollars, as 5 or 0.50.
    #[arg(long, value_name = "USD|none", value_parser = super::key::money)]
    pub per_day: Option<Change<f64>>,
    /// Money of a month of UTC.
    #[arg(long, value_name = "USD|none", value_parser = super::key::money)]
    pub per_month: Option<Change<f64>>,
}

/// What becomes of a bound.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Change<T> {
    /// It is this.
    To(T),
    /// There is none.
    None,
}

/// `coalmine simulate`.
#[derive(Debug, Args)]
#[command(
    after_help = "A world says what is true: who comes, what each version does to them, how judges err, what breaks. What is shipped\n\
    decides: assignment, judges, shadow, tests, release machine, control loop with its store, in virtual time.\n\n\
    Examples:\n  coalmine simulate judge_worse                      a canary that a judge finds worse\n  \
    coalmine simulate shadow_pairs --runs 20           one that loses its pairs in the shadow, with 20 seeds\n  \
    coalmine simulate detect_opening                   one that refuses in words that no list knows\n  \
    coalmine simulate judge_worse --release releases/new.yaml   your own plan and criteria in that world\n  \
    coalmine simulate worlds/ours.txt                  a world of your own; docs/simulate.md has the language"
)]
pub struct SimulateArgs {
    /// A scenario file, or the name of a shipped one; lists them when absent.
    #[arg(value_name = "SCENARIO")]
    pub scenario: Option<String>,
    /// Runs, each with a seed of its own, on all cores: how each ending is shared, with a 95 % interval.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub runs: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// A release file whose plan and criteria are played in the world, in place of the world's own.
    #[arg(long, value_name = "FILE")]
    pub release: Option<PathBuf>,
    /// The process file that the release file is read against; no secret of it is needed.
    #[arg(long, short, default_value = "coalmine.yaml", env = "COALMINE_CONFIG", value_name = "FILE")]
    pub config: PathBuf,
    /// Print one JSON document for a machine.
    #[arg(long)]
    pub json: bool,
}

/// `coalmine backtest FILE`.
#[derive(Debug, Args)]
#[command(
    after_help = "Recorded observations are JSON, one request a line; `coalmine backtest --fields` lists the keys.\n\
    Sessions of the stable version are split at random into A/A releases (every rollback is false); the canary's, where\n\
    recorded, are compared with them; and `--inject` spoils a part of stable's by a known amount.\n\n\
    Examples:\n  coalmine backtest releases/new.yaml --data week.jsonl\n  \
    coalmine backtest releases/new.yaml --data week.jsonl --inject 'error_rate +1pp' --inject 'cost x1.2'\n  \
    coalmine backtest releases/new.yaml --data evals.jsonl --stable gpt-4-0314 --canary gpt-4-0613 --traffic 600/h\n  \
    coalmine backtest releases/new.yaml --data evals.jsonl --paired"
)]
pub struct BacktestArgs {
    /// The release file: its plan and its criteria are what is tested.
    #[arg(value_name = "FILE", required_unless_present = "fields")]
    pub file: Option<PathBuf>,
    /// The recorded observations; `-` reads standard input.
    #[arg(long, value_name = "JSONL", required_unless_present_any = ["fields", "past"])]
    pub data: Option<PathBuf>,
    /// The lines also hold `prompt` (a text, or messages) and `output`: what detectors find in them is read here by the
    /// shipped observers, and the texts go no further.
    #[arg(long, requires = "data")]
    pub texts: bool,
    /// A release (or its route's) that the server has run: what its store keeps of the evidence is replayed.
    #[arg(long, value_name = "RELEASE", conflicts_with_all = ["data", "stable", "canary", "traffic", "sessions", "paired"])]
    pub past: Option<String>,
    /// The process file that the release file is read against; no secret of it is needed.
    #[arg(long, short, default_value = "coalmine.yaml", env = "COALMINE_CONFIG", value_name = "FILE")]
    pub config: PathBuf,
    /// Runs of each case, each with another split and another order.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub runs: u64,
    /// Seed of the splits and orders; the same seed gives the same runs.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// What the observations call the stable version; `stable` by default.
    #[arg(long, value_name = "VERSION")]
    pub stable: Option<String>,
    /// What they call the canary; `canary` by default. The same as --stable: A/A only.
    #[arg(long, value_name = "VERSION")]
    pub canary: Option<String>,
    /// Sessions an hour (`1000/h`); as recorded by default.
    #[arg(long, value_name = "RATE")]
    pub traffic: Option<String>,
    /// Draw so many sessions with replacement, instead of taking each recorded one once.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub sessions: Option<u64>,
    /// A regression of known size on stable's sessions: `error_rate +1pp`, `refusal_rate x2`, `cost x1.2`.
    #[arg(long, value_name = "CHANGE")]
    pub inject: Vec<String>,
    /// Judge pairs (the same request answered by both versions) by the one-sample test of shadow pairs.
    #[arg(long, conflicts_with_all = ["inject", "traffic"])]
    pub paired: bool,
    /// List the keys of an observation and print an example.
    #[arg(long)]
    pub fields: bool,
    /// Where the server is, for --past; and how to print.
    #[command(flatten)]
    pub remote: Remote,
}

/// `coalmine config`.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// What.
    #[command(subcommand)]
    pub what: ConfigVerb,
}

/// What `coalmine config` can do.
#[derive(Debug, Subcommand)]
pub enum ConfigVerb {
    /// Check coalmine.yaml and release files; prints every mistake with its line and its mend.
    Check {
        /// The process file, where none is among the files.
        #[arg(long, short, default_value = "coalmine.yaml", env = "COALMINE_CONFIG", value_name = "FILE")]
        config: PathBuf,
        /// Files to check: a process file, and release files (they say `release:`) to check against it.
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// List every key with its type, default and meaning.
    Keys,
    /// Print the JSON Schema for editors.
    Schema {
        /// `coalmine` or `release`.
        #[arg(value_name = "KIND", value_parser = ["coalmine", "release"])]
        kind: String,
    },
}

/// `coalmine export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The configuration that the server runs with, for everything that is not in the store.
    #[arg(long, short, default_value = "coalmine.yaml", env = "COALMINE_CONFIG", value_name = "FILE")]
    pub config: PathBuf,
    /// Where the server is.
    #[command(flatten)]
    pub remote: Remote,
}
