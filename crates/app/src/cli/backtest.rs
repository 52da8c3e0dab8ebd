//! `coalmine backtest`: recorded observations through a release's policy, before it is trusted with a decision.

mod past;
mod report;
pub mod texts;

use super::args::BacktestArgs;
use super::{Exit, connect, offline, say};
use anyhow::{Context, Result, bail};
use coalmine_sim::backtest::outcome::interval;
use coalmine_sim::backtest::paired::PairedCase;
use coalmine_sim::backtest::{
    Arrivals, BacktestError, Bench, Case, CaseOutcome, Data, Draw, Injection, Labels, PastBench, Policed, record,
};
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Runs the cases that the arguments and the observations give, and prints a verdict on the policy. Fails with the
/// exit code 1 where more releases of a good version are rolled back than the policy allows, beyond chance.
///
/// # Errors
/// When a file cannot be read, or does not hold what is asked of it.
pub async fn run(args: &BacktestArgs) -> Result<Exit> {
    if args.fields {
        say(&record::listing());
        return Ok(Exit::Done);
    }
    let Some(file) = &args.file else {
        bail!("name a release file; `coalmine backtest --help` shows how");
    };
    // The cheap mistakes first.
    let injections = args.inject.iter().map(|text| Injection::parse(text)).collect::<Result<Vec<_>, _>>()?;
    let traffic = args.traffic.as_deref().map(per_hour).transpose()?;
    let (spec, stable) = offline::release(file, &args.config)?;
    let allowed = spec.policy.false_rollback_rate;
    let policed = Policed { route: spec.route, stable, canary: spec.canary, plan: spec.plan, policy: spec.policy };
    let mut cases = vec![Case::SameVersion];
    if let Some(past) = &args.past {
        let (past, name) = past::recording(&args.remote, past).await?;
        let bench = PastBench::new(policed, &past)?;
        cases.push(Case::Recorded);
        cases.extend(injections.into_iter().map(Case::Injected));
        let outcomes = all(args, &cases, &|case, progress| bench.run(case, args.runs, args.seed, progress))?;
        return print(args, &report::Head::of_past(file, &name, args, allowed, &bench), &outcomes);
    }
    let Some(observations) = &args.data else {
        bail!("name the observations with --data, or a release with --past");
    };
    let labels = Labels { stable: args.stable.clone(), canary: args.canary.clone() };
    let data = read(observations, &labels, args.texts).with_context(|| format!("in {}", observations.display()))?;
    let arrivals = arrivals(args, traffic, &data);
    let draw = args.sessions.map_or(Draw::Once, |n| Draw::WithReplacement(usize::try_from(n).unwrap_or(usize::MAX)));
    let bench = Bench::new(policed, &data, arrivals, draw)?;
    let head = report::Head::of_data(file, observations, args, allowed, &bench);
    if args.paired {
        return paired(args, &bench, &head);
    }
    if !data.canary.is_empty() {
        cases.push(Case::Recorded);
    }
    cases.extend(injections.into_iter().map(Case::Injected));
    let outcomes = all(args, &cases, &|case, progress| bench.run(case, args.runs, args.seed, progress))?;
    print(args, &head, &outcomes)
}

/// What is told how many runs are done.
type Told<'a> = &'a (dyn Fn(u64) + Sync);

/// Every case in turn, told on the way.
fn all(
    args: &BacktestArgs,
    cases: &[Case],
    run: &dyn Fn(&Case, Told<'_>) -> Result<CaseOutcome, BacktestError>,
) -> Result<Vec<CaseOutcome>> {
    let mut outcomes = Vec::new();
    for case in cases {
        let progress = Progress::new(case.label(), args.runs);
        outcomes.push(run(case, &|done| progress.told(done))?);
        progress.clear();
    }
    Ok(outcomes)
}

fn print(args: &BacktestArgs, head: &report::Head<'_>, outcomes: &[CaseOutcome]) -> Result<Exit> {
    if args.remote.json {
        connect::print_json(&report::for_machines(head, outcomes))?;
    } else {
        say(&report::for_people(head, outcomes));
    }
    Ok(if breaks_the_promise(outcomes, head.allowed) { Exit::Failed } else { Exit::Done })
}

fn paired(args: &BacktestArgs, bench: &Bench<'_>, head: &report::Head<'_>) -> Result<Exit> {
    let mut outcomes = Vec::new();
    for case in [PairedCase::Swapped, PairedCase::Recorded] {
        let progress = Progress::new("pairs".to_owned(), args.runs);
        outcomes.push(bench.run_pairs(case, args.runs, args.seed, &|done| progress.told(done))?);
        progress.clear();
    }
    if args.remote.json {
        connect::print_json(&report::pairs_for_machines(head, &outcomes))?;
    } else {
        say(&report::pairs_for_people(head, &outcomes));
    }
    Ok(Exit::Done)
}

/// Whether the lower end of the interval lies above what the policy allows.
fn breaks_the_promise(outcomes: &[CaseOutcome], allowed: f64) -> bool {
    let same = outcomes.iter().filter(|outcome| outcome.case == Case::SameVersion);
    same.map(|outcome| interval(outcome.rolled_back_by_evidence(), outcome.runs.len() as u64).0)
        .any(|low| low > allowed)
}

/// Pairs come at no time.
fn arrivals(args: &BacktestArgs, traffic: Option<f64>, data: &Data) -> Arrivals {
    let unheard = if args.paired { Some(1_000.0) } else { None };
    match traffic.or(if data.stable_per_hour().is_none() { unheard } else { None }) {
        Some(rate) => Arrivals::PerHour(rate),
        None => Arrivals::Recorded,
    }
}

fn read(observations: &Path, labels: &Labels, texts: bool) -> Result<Data> {
    let lines: Box<dyn BufRead> = if observations == Path::new("-") {
        Box::new(BufReader::new(std::io::stdin()))
    } else {
        Box::new(BufReader::new(std::fs::File::open(observations)?))
    };
    if texts {
        Ok(Data::read(BufReader::new(texts::Observed::new(lines)), labels)?)
    } else {
        Ok(Data::read(lines, labels)?)
    }
}

/// `1000/h`.
fn per_hour(text: &str) -> Result<f64> {
    let read = text.strip_suffix("/h").and_then(|digits| digits.replace('_', "").parse::<f64>().ok());
    match read.filter(|rate| rate.is_finite() && *rate > 0.0 && *rate <= 1e8) {
        Some(rate) => Ok(rate),
        None => bail!("`{text}` is not a rate of sessions; write `--traffic 1000/h`"),
    }
}

/// Long work is told on standard error: drawn over on a terminal, a line now and then elsewhere.
struct Progress {
    what: String,
    runs: u64,
    told_at: Mutex<Instant>,
}

impl Progress {
    fn new(what: String, runs: u64) -> Self {
        Self { what, runs, told_at: Mutex::new(Instant::now()) }
    }

    fn told(&self, done: u64) {
        let terminal = std::io::stderr().is_terminal();
        let every = if terminal { Duration::from_millis(200) } else { Duration::from_secs(20) };
        let Ok(mut told_at) = self.told_at.try_lock() else { return };
        if told_at.elapsed() < every {
            return;
        }
        *told_at = Instant::now();
        let (begin, end) = if terminal { ("\r", "") } else { ("", "\n") };
        Self::write(&format!("{begin}{}: run {done} of {}{end}", self.what, self.runs));
    }

    fn clear(&self) {
        if std::io::stderr().is_terminal() {
            Self::write(&format!("\r{}\r", " ".repeat(self.what.chars().count() + 40)));
        }
    }

    /// A reader that has gone away is no error.
    fn write(text: &str) {
        let mut err = std::io::stderr().lock();
        let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
    }
}

#[cfg(test)]
mod tests;
