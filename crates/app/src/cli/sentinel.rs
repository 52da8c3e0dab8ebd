//! `coalmine sentinel`: checks a suite, and runs it against a version through the server's own gateway.

mod import;
mod junit;

use super::Exit;
use super::args::{SentinelRunArgs, SentinelVerb};
use super::paint::{Paint, Tone};
use super::{connect, say};
use crate::config::suite::{Case, Suite, parse_suite};
use crate::config::{Faults, Machine};
use anyhow::{Context, Result, bail};
use coalmine_api::client::Client;
use coalmine_api::types::{ProbeBody, ProbeView, RulingView};
use coalmine_wire::probe::{Answer, Around, Judgement, Ruling, Rulings, Verdict as Judged};
use serde::Serialize;
use std::path::Path;
use std::time::Instant;

/// What a run found of one case.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Row {
    name: String,
    critical: bool,
    verdict: Verdict,
    passed: u32,
    of: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    faults: Vec<String>,
    seconds: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Passed,
    Failed,
    /// A provider was in trouble, which says nothing.
    Unknown,
}

#[derive(Debug, Serialize)]
struct Outcome<'a> {
    suite: String,
    route: &'a str,
    version: &'a str,
    passed: usize,
    failed: usize,
    unknown: usize,
    sentinels: &'a [Row],
    /// Whether those that are only watched count too.
    #[serde(skip)]
    strict: bool,
}

/// Runs one of its verbs.
///
/// # Errors
/// When a file cannot be read, or the server does not answer.
pub async fn run(verb: &SentinelVerb) -> Result<Exit> {
    match verb {
        SentinelVerb::Check { suites } => check(suites.iter().map(AsRef::as_ref)),
        SentinelVerb::Import(args) => import::run(args),
        SentinelVerb::Run(args) => ask(args).await,
    }
}

fn read(file: &Path) -> Result<Suite> {
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    Ok(parse_suite(&text, file, &Machine)?)
}

fn check<'a>(files: impl Iterator<Item = &'a Path>) -> Result<Exit> {
    let mut exit = Exit::Done;
    for file in files {
        match read(file) {
            Ok(suite) => say(&told(file, &suite)),
            Err(error) => match error.downcast::<Faults>() {
                Ok(faults) => {
                    say(&format!("{faults}\n"));
                    exit = Exit::Usage;
                }
                Err(error) => return Err(error),
            },
        }
    }
    Ok(exit)
}

fn told(file: &Path, suite: &Suite) -> String {
    let critical = suite.critical().count();
    let mut text = format!("{}: fine ({} sentinels, {critical} critical)\n", file.display(), suite.cases.len());
    for case in &suite.cases {
        let canary = case.canary;
        let rank = match (canary.confirmed, canary.critical) {
            (false, _) => "confirm",
            (true, true) => "critical",
            (true, false) => "watched",
        };
        let assertions = case.probe.assertions.len();
        let noun = if assertions == 1 { "assertion" } else { "assertions" };
        text.push_str(&format!(
            "  {rank:<8}  {}  ({}-of-{}, every {}, {assertions} {noun})\n",
            case.name, canary.need, canary.runs, canary.every
        ));
    }
    let unconfirmed = suite.unconfirmed().count();
    if unconfirmed > 0 {
        text.push_str(&format!("  {unconfirmed} have answers that nobody has confirmed; no release takes them\n"));
    }
    for asked in suite.asked() {
        text.push_str(&format!("  asks     {asked}\n"));
    }
    if !suite.unused.is_empty() {
        text.push_str(&format!("  not used here, promptfoo's own: {}\n", suite.unused.join(", ")));
    }
    text
}

async fn ask(args: &SentinelRunArgs) -> Result<Exit> {
    let suite = read(&args.suite)?;
    let client = connect::client(&args.remote)?;
    let route = match &args.route {
        Some(route) => route.clone(),
        None => only_route(&client).await?,
    };
    let paint = Paint::detect();
    let mut rows = Vec::new();
    for case in &suite.cases {
        let row = one(&client, &route, &args.version, case).await?;
        if !args.remote.json {
            say(&line(&row, paint));
        }
        rows.push(row);
    }
    let count = |verdict| rows.iter().filter(|row| row.verdict == verdict).count();
    let outcome = Outcome {
        suite: args.suite.display().to_string(),
        route: &route,
        version: &args.version,
        passed: count(Verdict::Passed),
        failed: count(Verdict::Failed),
        unknown: count(Verdict::Unknown),
        sentinels: &rows,
        strict: args.strict,
    };
    if let Some(file) = &args.junit {
        let text = junit::report(&outcome);
        std::fs::write(file, text).with_context(|| format!("writing {}", file.display()))?;
    }
    if args.remote.json {
        connect::print_json(&outcome)?;
    } else {
        let Outcome { passed, failed, unknown, .. } = outcome;
        say(&format!("{passed} passed, {failed} failed, {unknown} unknown on {} of {route}\n", args.version));
    }
    let bad = rows.iter().any(|row| row.verdict != Verdict::Passed && (row.critical || args.strict));
    Ok(if bad { Exit::Failed } else { Exit::Done })
}

async fn only_route(client: &Client) -> Result<String> {
    let routes = client.routes().await?;
    match routes.as_slice() {
        [only] => Ok(only.route.clone()),
        [] => bail!("the server has no route; add one under `routes:` in coalmine.yaml"),
        several => {
            let names: Vec<&str> = several.iter().map(|route| route.route.as_str()).collect();
            bail!("the server has several routes; name one with --route: {}", names.join(", "))
        }
    }
}

/// One try of one case: `runs` answers at most.
async fn one(client: &Client, route: &str, version: &str, case: &Case) -> Result<Row> {
    let began = Instant::now();
    let (need, runs) = (case.canary.need, case.canary.runs);
    let appeals = case.probe.assertions.iter().any(|assertion| assertion.check.appeal().is_some());
    let probe = appeals.then(|| serde_json::to_string(&case.probe)).transpose()?;
    let body = ProbeBody { version: version.to_owned(), request: case.probe.request(route), probe };
    let (mut passed, mut of, mut faults) = (0, 0, Vec::new());
    let mut verdict = Verdict::Unknown;
    while of < runs {
        let answered = client.probe(route, &body).await?;
        of += 1;
        let judged = judged(case, &answered);
        match judged.verdict {
            Judged::Passed => passed += 1,
            Judged::Failed => faults.extend(judged.faults),
            Judged::Unknown => {
                faults.extend(judged.faults);
                return Ok(row(case, Verdict::Unknown, passed, of, faults, began));
            }
        }
        if passed >= need {
            verdict = Verdict::Passed;
            faults.clear();
            break;
        }
        verdict = Verdict::Failed;
        if passed + (runs - of) < need {
            break;
        }
    }
    faults.dedup();
    Ok(row(case, verdict, passed, of, faults, began))
}

fn row(case: &Case, verdict: Verdict, passed: u32, of: u32, faults: Vec<String>, began: Instant) -> Row {
    let (name, critical) = (case.name.clone(), case.canary.critical);
    Row { name, critical, verdict, passed, of, faults, seconds: began.elapsed().as_secs_f64() }
}

fn judged(case: &Case, view: &ProbeView) -> Judgement {
    let (verdict, why) = match (view.outcome.as_str(), &view.answer) {
        ("answered", Some(body)) => match Answer::read(body.as_bytes()) {
            Some(answer) => {
                let around = Around {
                    latency_ms: view.latency_ms.unwrap_or_default(),
                    cost_usd: view.cost_usd,
                    tools: view.tools.as_deref(),
                };
                return case.probe.judge(&answer, around, &rulings(view));
            }
            None => (Judged::Failed, Some("the answer is no chat completion".to_owned())),
        },
        ("at_fault", _) => (Judged::Failed, view.why.clone()),
        // The provider was in trouble.
        _ => (Judged::Unknown, view.why.clone()),
    };
    Judgement { verdict, faults: why.into_iter().collect() }
}

fn rulings(view: &ProbeView) -> Rulings {
    let ruling = |said: &RulingView| {
        let why = said.why.clone().unwrap_or_default();
        match said.ruling.as_str() {
            "holds" => Ruling::Holds,
            "holds_not" => Ruling::HoldsNot(why),
            _ => Ruling::Unknown(why),
        }
    };
    view.rulings.iter().map(|said| (said.assertion, ruling(said))).collect()
}

fn line(row: &Row, paint: Paint) -> String {
    let (word, tone) = match row.verdict {
        Verdict::Passed => ("passed", Tone::Good),
        Verdict::Failed => ("FAILED", Tone::Bad),
        Verdict::Unknown => ("unknown", Tone::Warn),
    };
    let rank = if row.critical { "" } else { " (watched)" };
    let Row { name, passed, of, seconds, .. } = row;
    let mut text =
        format!("  {}  {name}{rank}  {passed}/{of}, {seconds:.1} s\n", paint.tone(tone, &format!("{word:<7}")));
    for fault in &row.faults {
        text.push_str(&format!("           {fault}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Row> {
        let row = |name: &str, verdict, faults: &[&str]| Row {
            name: name.to_owned(),
            critical: name != "tone",
            verdict,
            passed: u32::from(verdict == Verdict::Passed),
            of: 1,
            faults: faults.iter().map(|fault| (*fault).to_owned()).collect(),
            seconds: 0.25,
        };
        vec![
            row("refund window", Verdict::Passed, &[]),
            row("order <8812>", Verdict::Failed, &["tool-args-match: get_order was not called"]),
            row("tone", Verdict::Unknown, &["the provider was in trouble: status 503"]),
        ]
    }

    #[test]
    fn a_run_reads_well_and_as_junit() {
        let rows = rows();
        let text: String = rows.iter().map(|row| line(row, Paint::Plain)).collect();
        insta::assert_snapshot!("sentinel-run", text);
        let mut outcome = Outcome {
            suite: "sentinels/support.yaml".to_owned(),
            route: "support",
            version: "canary",
            passed: 1,
            failed: 1,
            unknown: 1,
            sentinels: &rows,
            strict: false,
        };
        insta::assert_snapshot!("sentinel-junit", junit::report(&outcome));
        outcome.strict = true;
        assert!(junit::report(&outcome).contains(r#"failures="1" errors="1" skipped="0""#), "--strict counts all");
    }
}
