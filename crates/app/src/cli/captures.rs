//! `coalmine captures`: what is kept of a release's answers, and both versions' side by side.

use super::args::Remote;
use super::paint::{Paint, Tone};
use super::{Exit, connect, say};
use anyhow::Result;
use clap::{Args, Subcommand};
use coalmine_api::types::{AnswerPairView, CaptureTextView, CapturesView, LineView, SideBySideView};
use coalmine_api::when::utc;
use coalmine_core::time::SpanMs;
use std::fmt::Write as _;

/// Columns of one side.
const SIDE: usize = 56;

/// `coalmine captures`.
#[derive(Debug, Args)]
#[command(
    after_help = "Answers are captured where a route has `capture: { sample: 5% }` and the file says under which key and \
    for whom. Texts are shown to the operators of `capture.readers` only, and it is noted who read what.\n\n\
    Examples:\n  coalmine captures pairs support-agent-7        both versions' answers to like prompts\n  \
    coalmine captures list support-agent-7 --json\n  coalmine captures delete support-agent-7 --all\n  \
    coalmine captures list --route support-agent       what stable answered without a release"
)]
pub struct CapturesArgs {
    /// What.
    #[command(subcommand)]
    pub what: CapturesVerb,
}

/// What `coalmine captures` can do.
#[derive(Debug, Subcommand)]
pub enum CapturesVerb {
    /// What is kept of a release, or of a route without one, without its texts, and what was dropped.
    List {
        /// The release.
        #[arg(value_name = "RELEASE", required_unless_present = "route", conflicts_with = "route")]
        release: Option<String>,
        /// What stable of this route answered while no release exposed anybody.
        #[arg(long, value_name = "ROUTE")]
        route: Option<String>,
        /// Where the server is.
        #[command(flatten)]
        remote: Remote,
    },
    /// Answers of both versions to like prompts, side by side.
    Pairs {
        /// The release.
        #[arg(value_name = "RELEASE")]
        release: String,
        /// So many pairs at most.
        #[arg(long, short = 'n', default_value_t = 10, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=100))]
        limit: u16,
        /// Where the server is.
        #[command(flatten)]
        remote: Remote,
    },
    /// One captured answer.
    Show {
        /// `cap_…`, as the list shows it.
        #[arg(value_name = "CAPTURE")]
        capture: String,
        /// Where the server is.
        #[command(flatten)]
        remote: Remote,
    },
    /// Delete one captured answer, with --all those of a release, or with --route those of a route without one.
    Delete {
        /// `cap_…`; with --all the release.
        #[arg(value_name = "CAPTURE", required_unless_present = "route", conflicts_with = "route")]
        what: Option<String>,
        /// All of the release that is named.
        #[arg(long, conflicts_with = "route")]
        all: bool,
        /// All that stable of this route answered while no release exposed anybody.
        #[arg(long, value_name = "ROUTE")]
        route: Option<String>,
        /// Where the server is.
        #[command(flatten)]
        remote: Remote,
    },
    /// Who read and deleted captured answers, the newest first.
    Uses {
        /// Where the server is.
        #[command(flatten)]
        remote: Remote,
    },
}

/// Runs one of its verbs.
///
/// # Errors
/// When the server does not answer, or refuses.
pub async fn run(verb: &CapturesVerb) -> Result<Exit> {
    match verb {
        CapturesVerb::List { release, route, remote } => {
            let client = connect::client(remote)?;
            let found = match route {
                Some(route) => client.captures_of_route(route).await?,
                None => client.captures(release.as_deref().unwrap_or_default()).await?,
            };
            if remote.json { connect::print_json(&found)? } else { say(&list_text(&found)) }
        }
        CapturesVerb::Pairs { release, limit, remote } => {
            let found = connect::client(remote)?.capture_pairs(release, usize::from(*limit)).await?;
            if remote.json { connect::print_json(&found)? } else { say(&pairs_text(&found, Paint::detect())) }
        }
        CapturesVerb::Show { capture, remote } => {
            let found = connect::client(remote)?.capture(capture).await?;
            if remote.json { connect::print_json(&found)? } else { say(&one_text(&found, Paint::detect())) }
        }
        CapturesVerb::Delete { what, all, route, remote } => {
            let client = connect::client(remote)?;
            let named = what.as_deref().unwrap_or_default();
            let gone = match route {
                Some(route) => client.delete_captures_of_route(route).await?,
                None if *all => client.delete_captures(named).await?,
                None => client.delete_capture(named).await?,
            };
            if remote.json { connect::print_json(&gone)? } else { say(&format!("{gone} deleted\n")) }
        }
        CapturesVerb::Uses { remote } => {
            let uses = connect::client(remote)?.capture_uses().await?;
            if remote.json {
                connect::print_json(&uses)?;
            } else {
                for one in &uses {
                    let (at, actor) = (utc(one.at_ms), clean(&one.actor));
                    let of = scope(one.release.as_deref(), one.route.as_deref());
                    say(&format!("{at}  {actor:<16} {:<14} {:>4} of {of}\n", one.did, one.answers));
                }
                say(&format!("{} uses\n", uses.len()));
            }
        }
    }
    Ok(Exit::Done)
}

/// Whose answers, for people.
fn scope(release: Option<&str>, route: Option<&str>) -> String {
    release.map_or_else(|| format!("route {}", route.unwrap_or_default()), str::to_owned)
}

fn list_text(found: &CapturesView) -> String {
    let mut text = String::new();
    for one in &found.captures {
        let (at, until) = (utc(one.at_ms), utc(one.expires_at_ms));
        let _ = writeln!(text, "{at}  {:<8} {}  until {until}  key {}", one.arm, one.id, one.key_id);
    }
    let of = |arm: &str| found.captures.iter().filter(|one| one.arm == arm).count();
    let (all, stable) = (found.captures.len(), of("stable"));
    let _ = match stable {
        0 => writeln!(text, "{all} answers: {} control, {} canary", of("control"), of("canary")),
        _ => writeln!(text, "{all} answers of stable without a release"),
    };
    let _ = match &found.rule {
        Some(rule) => writeln!(
            text,
            "captured: {} % of sessions, kept {}, {} answers of an arm at most",
            f64::from(rule.sample_bp) / 100.0,
            SpanMs(rule.keep_ms),
            rule.rows_max
        ),
        None => writeln!(text, "nothing more is captured: the route has no `capture`"),
    };
    let counts = &found.counts;
    let _ = writeln!(
        text,
        "since the start, all routes: {} kept; lost {} (queue full {}, release unknown {}, not redacted {}, not stored {}); {} gave way to newer ones, {} expired",
        counts.kept,
        counts.full + counts.unplaced + counts.not_redacted + counts.not_stored,
        counts.full,
        counts.unplaced,
        counts.not_redacted,
        counts.not_stored,
        counts.evicted,
        counts.expired
    );
    text
}

fn pairs_text(found: &SideBySideView, paint: Paint) -> String {
    let mut text = String::new();
    for (at, pair) in found.pairs.iter().enumerate() {
        let share = pair.share.map_or(String::new(), |share| format!(", {:.0} % of their words", share * 100.0));
        let head = format!("{}. {}{share}", at + 1, pair.likeness);
        let _ = writeln!(text, "{}", paint.tone(Tone::Strong, &head));
        text.push_str(&columns(pair, paint));
        text.push('\n');
    }
    let SideBySideView { pairs, found, control, canary, unopened } = found;
    let shown = if pairs.len() as u64 == *found { String::new() } else { format!(", {} shown", pairs.len()) };
    let _ = writeln!(text, "{found} pairs among {control} answers of control and {canary} of the canary{shown}");
    if *unopened > 0 {
        let _ = writeln!(text, "{unopened} could not be opened: their key is not in coalmine.yaml");
    }
    text
}

/// Control on the left, the canary on the right.
fn columns(pair: &AnswerPairView, paint: Paint) -> String {
    let (mut left, mut right) = (side(&pair.control), side(&pair.canary));
    let rows = left.len().max(right.len());
    left.resize(rows, String::new());
    right.resize(rows, String::new());
    let mut text = format!("{}\n", paint.tone(Tone::Dim, &format!("{:<SIDE$}  canary", "control")));
    for (ours, theirs) in left.iter().zip(&right) {
        let line = format!("{ours:<SIDE$}  {theirs}");
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

fn side(one: &CaptureTextView) -> Vec<String> {
    let mut lines = Vec::new();
    for LineView { who, said } in &one.conversation {
        lines.extend(wrapped(&format!("{who}: {said}"), SIDE));
    }
    lines.extend(wrapped(&format!("> {}", one.answer), SIDE));
    lines.push(one.capture.id.clone());
    lines
}

fn one_text(one: &CaptureTextView, paint: Paint) -> String {
    let capture = &one.capture;
    let of = scope(capture.release.as_deref(), Some(&capture.route));
    let head = format!("{}  {of}  {}  version {}", utc(capture.at_ms), capture.arm, capture.version);
    let mut text = format!("{}\n", paint.tone(Tone::Strong, &head));
    for LineView { who, said } in &one.conversation {
        let _ = writeln!(text, "{who}: {}", wrapped(said, 2 * SIDE).join("\n"));
    }
    let _ = writeln!(text, "> {}", wrapped(&one.answer, 2 * SIDE).join("\n  "));
    let _ = writeln!(text, "{} pieces were taken out", one.redacted);
    text
}

/// What a customer or a model wrote must not move the cursor of whoever reads it.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

/// In lines of so many signs, broken between words where that goes.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in clean(&text.replace(['\r', '\t'], " ")).split('\n') {
        let mut line = String::new();
        let mut signs = 0;
        for word in paragraph.split_whitespace() {
            let mut word: Vec<char> = word.chars().collect();
            if signs > 0 && signs + 1 + word.len() > width {
                lines.push(std::mem::take(&mut line));
                signs = 0;
            }
            while word.len() > width {
                lines.push(word.drain(..width).collect());
            }
            if signs > 0 {
                line.push(' ');
                signs += 1;
            }
            signs += word.len();
            line.extend(word);
        }
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use coalmine_api::types::CaptureView;

    fn shown(arm: &str, asked: &str, answer: &str) -> CaptureTextView {
        CaptureTextView {
            capture: CaptureView {
                id: format!("cap_{arm}"),
                route: "support".to_owned(),
                release: Some("support-1".to_owned()),
                arm: arm.to_owned(),
                version: "v_1".to_owned(),
                at_ms: 0,
                expires_at_ms: 1,
                key_id: "0a".to_owned(),
            },
            conversation: vec![LineView { who: "user".to_owned(), said: asked.to_owned() }],
            answer: answer.to_owned(),
            redacted: 0,
        }
    }

    #[test]
    fn a_pair_stands_side_by_side_and_moves_no_cursor() {
        let pair = AnswerPairView {
            likeness: "near".to_owned(),
            share: Some(0.75),
            control: shown("control", "Where is it?", &"long ".repeat(20)),
            canary: shown("canary", "Where is\u{1b}[2J it?", "Here."),
        };
        let found = SideBySideView { pairs: vec![pair], found: 1, control: 3, canary: 2, unopened: 1 };
        let text = pairs_text(&found, Paint::Plain);
        assert!(!text.contains('\u{1b}'), "{text}");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "1. near, 75 % of their words");
        assert_eq!(lines[2], format!("{:<SIDE$}  user: Where is\u{fffd}[2J it?", "user: Where is it?"));
        assert!(lines[3].ends_with("  > Here."), "{text}");
        assert!(
            text.contains("1 pairs among 3 answers of control and 2 of the canary\n1 could not be opened"),
            "{text}"
        );
    }

    #[test]
    fn a_line_is_never_wider_than_its_column() {
        let text = format!("{} a b\n\nc\td", "x".repeat(25));
        assert_eq!(wrapped(&text, 10), ["xxxxxxxxxx", "xxxxxxxxxx", "xxxxx a b", "", "c d"]);
    }
}
