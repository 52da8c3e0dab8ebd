//! `coalmine explain`: number, bound, n and reason for every guardrail, and the record.

use super::Exit;
use super::args::ExplainArgs;
use super::paint::{Paint, Tone, span, sparkline};
use super::prices::prices_text;
use super::status::{interval, paired_interval, power, release_text, sentinel_line, verdict_word};
use super::{connect, picture, say};
use anyhow::{Context, Result};
use coalmine_api::types::{
    CosinesView, CountsView, EtaView, EvidenceTrack, ExplainView, FindingView, JudgeView, PairedView, ShadowView,
    ShareView, SimilarityView,
};
use coalmine_api::when::utc;
use std::fmt::Write as _;

/// Explains the last decision, or replays the record.
///
/// # Errors
/// When the server does not know the release.
pub async fn run(args: &ExplainArgs) -> Result<Exit> {
    let client = connect::client(&args.remote)?;
    let found = connect::find(&client, &args.release).await?;
    if args.replay {
        let replay = client.replay(&found.id).await?;
        if args.remote.json {
            connect::print_json(&replay)?;
        } else {
            say(&format!("{} rows replayed, {} differ\n", replay.rows, replay.differs.len()));
            replay.differs.iter().for_each(|line| say(&format!("  {line}\n")));
        }
        return Ok(if replay.differs.is_empty() { Exit::Done } else { Exit::Failed });
    }
    let explained = client.explain(&found.id).await?;
    if let Some(file) = &args.svg {
        std::fs::write(file, picture::svg(&explained)).with_context(|| format!("writing {}", file.display()))?;
        say(&format!("{}\n", file.display()));
        return Ok(Exit::Done);
    }
    if args.remote.json {
        connect::print_json(&explained)?;
    } else {
        say(&explain_text(&explained, Paint::detect()));
    }
    Ok(Exit::Done)
}

/// The explanation, as text.
#[must_use]
pub fn explain_text(e: &ExplainView, paint: Paint) -> String {
    let mut text = release_text(&e.release, paint);
    let _ = writeln!(
        text,
        "\n{}  at most {} of good versions are rolled back over the whole release, at any number of looks;\n          \
         a version at its margin is promoted in at most {} (per guardrail). Policy {}.",
        paint.tone(Tone::Strong, "PROMISE"),
        percent(e.false_rollback_rate),
        percent(e.false_promotion_rate),
        e.policy_hash.get(..12).unwrap_or(&e.policy_hash),
    );
    text.push_str(&shares_text(&e.shares));
    let _ = writeln!(text, "\n{}", paint.tone(Tone::Strong, "GUARDRAILS"));
    for finding in &e.release.findings {
        text.push_str(&finding_text(finding, e, paint));
    }
    if e.release.findings.is_empty() {
        text.push_str("  no look yet\n");
    }
    if !e.release.sentinels.is_empty() {
        let _ = writeln!(text, "\n{}", paint.tone(Tone::Strong, "SENTINELS"));
        e.release.sentinels.iter().for_each(|sentinel| text.push_str(&sentinel_line(sentinel, paint)));
    }
    if !e.release.judges.is_empty() {
        let _ = writeln!(text, "\n{}", paint.tone(Tone::Strong, "JUDGES"));
        e.release.judges.iter().for_each(|judge| text.push_str(&judge_text(judge, paint)));
    }
    if let Some(shadow) = &e.release.shadow {
        let _ = writeln!(text, "\n{}", paint.tone(Tone::Strong, "SHADOW"));
        text.push_str(&shadow_text(shadow, paint));
    }
    text.push_str(&e.release.prices.as_ref().map_or(String::new(), |kept| prices_text(kept, paint)));
    if !e.release.drifts.is_empty() {
        let _ = writeln!(text, "\n{}", paint.tone(Tone::Strong, "DRIFTS"));
        for drift in &e.release.drifts {
            let _ = writeln!(text, "  {}  {:<10} {}", utc(drift.at_ms), drift.by, drift.what);
        }
        text.push_str("  evidence for promotion is from sessions that began after the last\n");
    }
    let _ = writeln!(text, "\n{}", paint.tone(Tone::Strong, "RECORD"));
    for row in &e.journal {
        let why = row.why.as_deref().map_or(String::new(), |why| format!(" ({why})"));
        let _ = writeln!(
            text,
            "  {:>4}  {}  {:<10} {:<8} → {}{why}",
            row.generation,
            utc(row.at_ms),
            row.actor,
            row.event,
            row.decision
        );
        if !row.report.headline.is_empty() {
            let _ = writeln!(text, "        {}", paint.tone(Tone::Dim, &row.report.headline));
        }
    }
    text
}

/// A few points of the estimate with its bounds and n, evenly over the whole course.
fn course(track: &EvidenceTrack, now_ms: u64) -> String {
    const SHOWN: usize = 5;
    let known: Vec<_> = track.points.iter().filter_map(|p| Some((p.at_ms, p.difference?, p.n?))).collect();
    if known.len() < 2 {
        return String::new();
    }
    let mut text = "    worse by, over time:\n".to_owned();
    let shown = SHOWN.min(known.len());
    for nth in 0..shown {
        let (at_ms, difference, n) = known[nth * (known.len() - 1) / (shown - 1)];
        let _ = writeln!(
            text,
            "      {:>9} ago  {:<34} n {} / {}",
            span(now_ms.saturating_sub(at_ms)),
            interval(difference, |v| format!("{v:+.4}")),
            n.canary,
            n.control
        );
    }
    text
}

/// Every cause that can roll it back, with its share of the bound.
#[must_use]
pub fn shares_text(shares: &[ShareView]) -> String {
    let mut text = String::new();
    for share in shares {
        let what = if share.of.is_empty() { share.cause.clone() } else { format!("{}: {}", share.cause, share.of) };
        let alpha = share.alpha.map_or_else(|| "not covered by the bound".to_owned(), percent);
        let _ = writeln!(text, "          {:<44} {alpha}", what);
    }
    text
}

fn finding_text(f: &FindingView, e: &ExplainView, paint: Paint) -> String {
    let (word, tone) = verdict_word(f.verdict);
    let mut text = format!(
        "  {} {} ({})\n",
        paint.tone(Tone::Strong, &f.metric),
        paint.tone(tone, word),
        f.role.replace('_', " ")
    );
    let _ = writeln!(text, "    {}", f.reason);
    if let Some(d) = f.difference {
        let _ = writeln!(
            text,
            "    worse by {}, n {} canary / {} control, missing {} / {}",
            interval(d, |v| format!("{v:+.4}")),
            f.n.canary,
            f.n.control,
            f.missing.canary,
            f.missing.control
        );
    }
    if let Some(check) = f.self_check.filter(|check| check.log >= check.line) {
        let (found, line) = (power(check.log), power(check.line));
        let _ = writeln!(text, "    control against itself {found} of {line}: its own halves differ beyond the margin");
    }
    for slice in &f.slices {
        let mean = |mean: Option<f64>| mean.map_or_else(|| "-".to_owned(), |mean| format!("{mean:.4}"));
        let (canary, control) = (mean(slice.canary), mean(slice.control));
        let n = &slice.n;
        let _ = writeln!(text, "      {}: {canary} against {control}, n {} / {}", slice.name, n.canary, n.control);
    }
    let _ = write!(
        text,
        "    rollback {} of {}, promote {} of {}",
        power(f.rollback.log),
        power(f.rollback.line),
        power(f.promote.log),
        power(f.promote.line)
    );
    if let Some(limit) = f.limit {
        let _ = write!(text, ", limit {} of {}", power(limit.log), power(limit.line));
    }
    text.push('\n');
    if let Some(track) = e.tracks.iter().find(|t| t.metric == f.metric)
        && let Some(last) = track.points.last()
    {
        let rollback: Vec<f64> = track.points.iter().map(|p| p.rollback).collect();
        let promote: Vec<f64> = track.points.iter().map(|p| p.promote).collect();
        let _ = writeln!(
            text,
            "    rollback {}  promote {}   (full height is the line)",
            paint.tone(Tone::Bad, &sparkline(&rollback, last.rollback_line, 40)),
            paint.tone(Tone::Good, &sparkline(&promote, last.promote_line, 40))
        );
        text.push_str(&course(track, e.release.now_ms));
        if !super::connect::is_over(&e.release.state.is) {
            let (back, forth) = (eta(&track.rollback_eta, e), eta(&track.promote_eta, e));
            let _ = writeln!(text, "    at this rate: rollback {back}, promotion {forth}");
        }
    }
    text
}

/// When a line is likely to be reached: `in 3h 05m`, `not at this rate`.
fn eta(eta: &EtaView, e: &ExplainView) -> String {
    match (eta.is.as_str(), eta.at_ms) {
        ("about", Some(at_ms)) => format!("in {}", span(at_ms.saturating_sub(e.release.now_ms))),
        (word, _) => word.replace('_', " "),
    }
}

fn percent(share: f64) -> String {
    format!("{} %", (share * 1e6).round() / 1e4)
}

/// What the pairs of answers have shown, and what was not compared.
fn shadow_text(shadow: &ShadowView, paint: Paint) -> String {
    let mut text = format!(
        "  {} of {} mirrored sessions counted, {} pairs, {} that say nothing, ${:.2}\n",
        shadow.sessions, shadow.need, shadow.pairs, shadow.void, shadow.cost_usd
    );
    let lost = [
        (shadow.lost_busy, "while too many were under way"),
        (shadow.lost_budget, "beyond the day's budget"),
        (shadow.lost_unfit, "that the canary cannot be asked"),
        (shadow.lost_queue, "lost to a full queue"),
        (shadow.lost_unanswered, "that no person has answered within a day"),
    ];
    let lost: Vec<String> =
        lost.iter().filter(|(count, _)| *count > 0).map(|(count, why)| format!("{count} {why}")).collect();
    if !lost.is_empty() {
        let _ = writeln!(text, "  {} not compared: {}", paint.tone(Tone::Warn, "mind"), lost.join(", "));
    }
    if shadow.cost_unknown > 0 {
        let _ = writeln!(
            text,
            "  {} the cost of {} copies is unknown, and no budget holds them",
            paint.tone(Tone::Warn, "mind"),
            shadow.cost_unknown
        );
    }
    shadow.findings.iter().for_each(|finding| text.push_str(&paired_text(finding, paint)));
    text.extend(shadow.similarity.iter().map(|similarity| similarity_text(similarity, paint)));
    text
}

/// How near the answers are, beside how near stable's own are to each other.
fn similarity_text(seen: &SimilarityView, paint: Paint) -> String {
    let mut text =
        format!("  {} by {} (told; it rolls nothing back)\n", paint.tone(Tone::Strong, "similarity"), seen.model);
    let spread = |whose: &str, told: &CosinesView| {
        format!(
            "    {whose} {:.2} near on the mean, p10 {:.2}, p50 {:.2}, p90 {:.2}, {} sessions\n",
            told.mean, told.p10, told.p50, told.p90, told.sessions
        )
    };
    match &seen.canary {
        Some(told) => text.push_str(&spread("the canary's answers are to stable's", told)),
        None => text.push_str("    no session is measured yet\n"),
    }
    text.extend(seen.stable_again.iter().map(|told| spread("stable's second answers are to its first", told)));
    if let Some((min, share)) = seen.min.zip(seen.share) {
        let _ =
            writeln!(text, "    {} sessions are {min} near or nearer, {} of them are wanted", seen.met, percent(share));
    }
    if seen.unknown + seen.late > 0 {
        let (mind, SimilarityView { unknown, late, .. }) = (paint.tone(Tone::Warn, "mind"), seen);
        let _ = writeln!(text, "    {mind} {unknown} measurements unknown, {late} too late; neither counts");
    }
    text.extend(seen.lacks.iter().map(|lacks| format!("    waits for {lacks}\n")));
    text
}

fn paired_text(finding: &PairedView, paint: Paint) -> String {
    let proven = finding.rollback.log >= finding.rollback.line;
    let (word, tone) = if proven { ("worse", Tone::Bad) } else { ("not proven worse", Tone::Dim) };
    let difference = finding.difference.map(|difference| format!("canary − stable {difference:+.4}, "));
    let excluded = finding.interval.as_ref().map_or(String::new(), |told| format!("    {}\n", paired_interval(told)));
    let lacks = finding.lacks.as_ref().map_or(String::new(), |lacks| format!("    waits for {lacks}\n"));
    let late = finding.preferences.filter(|said| said.late > 0);
    let late = late.map_or(String::new(), |said| format!(", {} verdicts too late", said.late));
    format!(
        "  {} {} ({})\n    {}{late}\n{excluded}    {}evidence {} of {}\n{lacks}",
        paint.tone(Tone::Strong, &finding.metric),
        paint.tone(tone, word),
        finding.role.replace('_', " "),
        finding.reason,
        difference.unwrap_or_default(),
        power(finding.rollback.log),
        power(finding.rollback.line)
    )
}

/// One judge: who it is, what it has shown, and what it cost.
fn judge_text(judge: &JudgeView, paint: Paint) -> String {
    let (word, tone) = if judge.held.is_some() { ("held", Tone::Warn) } else { ("scores", Tone::Good) };
    let mut text = format!(
        "  {}  {}  {} {}\n           {}\n",
        paint.tone(tone, &format!("{word:<7}")),
        judge.name,
        judge.model,
        judge.id,
        judge.reason
    );
    let anchors = judge.anchors_agreed.zip(judge.anchors);
    let anchors = anchors.map_or(String::new(), |(agreed, of)| format!("anchors {agreed} of {of}, "));
    let lost = |name: &str, counts: &CountsView| match counts.canary + counts.control {
        0 => String::new(),
        _ => format!(", {name} {} / {}", counts.canary, counts.control),
    };
    let _ = writeln!(
        text,
        "           {anchors}${:.2} and {} calls today, {} answers wait for a label{}{}{}",
        judge.usd_today,
        judge.calls_today,
        judge.unlabelled,
        lost("dropped", &judge.dropped),
        lost("failed", &judge.failed),
        lost("skipped", &judge.skipped)
    );
    text
}

#[cfg(test)]
mod tests;
