//! `coalmine judge` and `coalmine label`: a judge tried by hand, and labels for what it has scored.

use super::args::{JudgeRunArgs, JudgeVerb, LabelVerb};
use super::{Exit, connect, say};
use crate::config::judge::{label as read_label, parse_judge};
use crate::config::{Faults, Machine};
use anyhow::{Context, Result, bail};
use coalmine_api::types::{JudgeQuestion, LabelBody};
use coalmine_api::when::utc;
use coalmine_core::id::ProviderName;
use coalmine_core::judge::{Anchor, Judge, Scale};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::Path;

/// One recorded answer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Recorded {
    question: String,
    answer: String,
    /// For a judge of pairs.
    #[serde(default)]
    other: Option<String>,
    #[serde(default)]
    label: Option<serde_json::Value>,
}

/// What the judge said of it.
#[derive(Debug, Serialize)]
struct Row {
    outcome: String,
    value: Option<f64>,
    label: Option<f64>,
    reason: String,
    usd: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Found {
    judge: String,
    id: String,
    scored: usize,
    not_scored: usize,
    mean: Option<f64>,
    agreed: usize,
    labelled: usize,
    usd: f64,
    answers: Vec<Row>,
}

/// Runs one of the judge's verbs.
///
/// # Errors
/// When a file cannot be read, or the server does not answer.
pub async fn run(verb: &JudgeVerb) -> Result<Exit> {
    match verb {
        JudgeVerb::Check { judges } => check(judges.iter().map(AsRef::as_ref)),
        JudgeVerb::Run(args) => ask(args).await,
    }
}

/// A judge of a file; its provider is whoever it names, for the server knows which there are.
fn read(file: &Path) -> Result<Judge> {
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let named = text.lines().find_map(|line| line.trim().strip_prefix("model:")?.trim().split('/').next());
    let provider = named.map(|name| ProviderName::from(name.trim_matches(['"', '\''])));
    let providers: BTreeSet<ProviderName> = provider.into_iter().collect();
    let name = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or("judge");
    Ok(parse_judge(name, &text, file, &providers, &Machine)?)
}

fn check<'a>(files: impl Iterator<Item = &'a Path>) -> Result<Exit> {
    let mut exit = Exit::Done;
    for file in files {
        match read(file) {
            Ok(judge) => {
                let anchors = judge.anchors.as_ref().map_or(0, |anchors| anchors.set.len());
                let Judge { name, version, scale, turns, .. } = &judge;
                say(&format!(
                    "{}: fine\n  judge.{name}  {}  {}/{}  scale {}, {turns} turn(s) of a session, {anchors} anchors\n",
                    file.display(),
                    judge.id(),
                    version.provider,
                    version.model,
                    scale.as_str()
                ));
            }
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

/// One answer to judge, with its label where one is known.
#[derive(Debug)]
struct Asked {
    question: String,
    answer: String,
    other: Option<String>,
    label: Option<f64>,
}

fn answers(args: &JudgeRunArgs, judge: &Judge) -> Result<Vec<Asked>> {
    let Some(file) = &args.on else {
        let anchors =
            judge.anchors.as_ref().context("the judge has no anchors; name recorded answers with --on FILE")?;
        let asked = |a: &Anchor| Asked {
            question: a.question.clone(),
            answer: a.answer.clone(),
            other: a.other.clone(),
            label: Some(a.label),
        };
        return Ok(anchors.set.iter().map(asked).collect());
    };
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let mut answers = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let place = || format!("{}, line {}", file.display(), number + 1);
        let recorded: Recorded = serde_json::from_str(line).with_context(place)?;
        let label = match &recorded.label {
            None | Some(serde_json::Value::Null) => None,
            Some(written) => {
                let written = written.as_str().map_or_else(|| written.to_string(), str::to_owned);
                let label = read_label(judge.scale, &written);
                Some(label.with_context(|| {
                    format!("{}: {written} is no label on the scale {}", place(), judge.scale.as_str())
                })?)
            }
        };
        if recorded.other.is_some() != (judge.scale == Scale::Pairs) {
            bail!("{}: a judge of pairs reads `answer` and `other`, any other judge `answer` alone", place());
        }
        let Recorded { question, answer, other, .. } = recorded;
        answers.push(Asked { question, answer, other, label });
    }
    if answers.is_empty() {
        bail!("{} holds no answer; write one JSON object a line", file.display());
    }
    Ok(answers)
}

async fn ask(args: &JudgeRunArgs) -> Result<Exit> {
    let judge = read(&args.judge)?;
    let answers = answers(args, &judge)?;
    let client = connect::client(&args.remote)?;
    let frozen = serde_json::to_string(&judge)?;
    let mut rows = Vec::new();
    for (at, Asked { question, answer, other, label }) in answers.iter().enumerate() {
        let (question, answer, other) = (question.clone(), answer.clone(), other.clone());
        let question = JudgeQuestion { judge: frozen.clone(), question, answer, other };
        let said = client.judge(&question).await?;
        if !args.remote.json {
            let value = said.value.map_or_else(|| said.outcome.clone(), |value| format!("{value:.2}"));
            let label = label.map_or(String::new(), |label| format!(" (label {label:.2})"));
            say(&format!("  {}/{}  {value}{label}  {}\n", at + 1, answers.len(), said.reason));
        }
        rows.push(Row { outcome: said.outcome, value: said.value, label: *label, reason: said.reason, usd: said.usd });
    }
    let found = sum_up(&judge, rows);
    if args.remote.json {
        connect::print_json(&found)?;
    } else {
        let mean = found.mean.map_or_else(|| "-".to_owned(), |mean| format!("{mean:.2}"));
        say(&format!(
            "{} scored, mean {mean}; {} of {} as their labels say; {} not scored; ${:.4}\n",
            found.scored, found.agreed, found.labelled, found.not_scored, found.usd
        ));
    }
    Ok(if found.not_scored > 0 { Exit::Failed } else { Exit::Done })
}

fn sum_up(judge: &Judge, answers: Vec<Row>) -> Found {
    let values: Vec<f64> = answers.iter().filter_map(|row| row.value).collect();
    let pairs: Vec<(f64, f64)> = answers.iter().filter_map(|row| row.value.zip(row.label)).collect();
    let count = f64::from(u32::try_from(values.len()).unwrap_or(u32::MAX));
    Found {
        judge: judge.name.clone(),
        id: judge.id().to_string(),
        scored: values.len(),
        not_scored: answers.len() - values.len(),
        mean: (!values.is_empty()).then(|| values.iter().sum::<f64>() / count),
        agreed: pairs.iter().filter(|(value, label)| judge.scale.agrees(*value, *label)).count(),
        labelled: pairs.len(),
        usd: answers.iter().filter_map(|row| row.usd).fold(0.0, |sum, usd| sum + usd),
        answers,
    }
}

/// Runs one of the labels' verbs.
///
/// # Errors
/// When the server does not answer, or refuses the label.
pub async fn label(verb: &LabelVerb) -> Result<Exit> {
    match verb {
        LabelVerb::List { release, all, remote } => {
            let mut labels = connect::client(remote)?.labels(release).await?;
            labels.retain(|one| *all || one.label.is_none());
            if remote.json {
                connect::print_json(&labels)?;
                return Ok(Exit::Done);
            }
            for one in &labels {
                let id = one.request_id.as_deref().unwrap_or(&one.item);
                let label = one.label.map_or(String::new(), |label| format!("  {label:.2}"));
                say(&format!("{}  {:<16} {id}{label}\n", utc(one.at_ms), one.judge));
            }
            say(&format!("{} answers\n", labels.len()));
        }
        LabelVerb::Set { release, answer, label, remote } => {
            let value = read_label(Scale::Binary, label).or_else(|| read_label(Scale::Five, label));
            let value = value.with_context(|| format!("`{label}` is no label; write pass or fail, or 1 to 5"))?;
            let body = LabelBody { answer: answer.clone(), label: value, judge: None };
            let taken = connect::client(remote)?.label(release, &body).await?;
            if remote.json { connect::print_json(&taken)? } else { say(&format!("labelled {answer}\n")) }
        }
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_counts_agreement_by_the_scale_and_leaves_out_what_has_no_score() {
        let folder = std::env::temp_dir().join(format!("coalmine-judge-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("kind.yaml");
        std::fs::write(&file, "model: any/m-1\nscale: 1-5\nrubric: Be kind.\n").unwrap();
        let judge = read(&file).unwrap();
        std::fs::remove_dir_all(folder).unwrap();
        assert_eq!((judge.name.as_str(), judge.version.provider.as_str()), ("kind", "any"));
        let row = |value: Option<f64>, label| Row {
            outcome: "scored".to_owned(),
            value,
            label,
            reason: String::new(),
            usd: Some(0.5),
        };
        let rows =
            vec![row(Some(0.75), Some(1.0)), row(Some(0.0), Some(1.0)), row(Some(0.75), None), row(None, Some(1.0))];
        let found = sum_up(&judge, rows);
        assert_eq!((found.scored, found.not_scored, found.agreed, found.labelled), (3, 1, 1, 2));
        assert_eq!((found.mean, found.usd), (Some(0.5), 2.0));
    }
}
