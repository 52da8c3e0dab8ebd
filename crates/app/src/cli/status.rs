//! `coalmine status`: routes, releases, and what they wait for.

use super::Exit;
use super::args::StatusArgs;
use super::paint::{Paint, Tone, span};
use super::upstreams::upstreams_text;
use super::{connect, incidents, prices, say, shutdowns};
use anyhow::Result;
use coalmine_api::types::{
    FindingView, IntervalView, PairedIntervalView, ReleaseView, RouteView, SentinelView, StageView, StatusView,
    VerdictView,
};
use std::fmt::Write as _;

/// Sentinels that did not pass which `status` names at most; `explain` names all.
const SENTINELS_SHOWN: usize = 5;

/// Shows one release, or everything.
///
/// # Errors
/// When the server does not answer, or knows no such release.
pub async fn run(args: &StatusArgs) -> Result<Exit> {
    let client = connect::client(&args.remote)?;
    match &args.release {
        Some(named) => {
            let found = connect::find(&client, named).await?;
            let release = client.release(&found.id).await?;
            if args.remote.json {
                connect::print_json(&release)?;
            } else {
                say(&release_text(&release, Paint::detect()));
                say(&ends(&[], std::slice::from_ref(&release)));
            }
        }
        None => {
            let status = client.status().await?;
            if args.remote.json {
                connect::print_json(&status)?;
            } else {
                say(&status_text(&status, Paint::detect()));
                say(&ends(&status.routes, &status.releases));
            }
        }
    }
    Ok(Exit::Done)
}

/// Models in service or on trial whose end is announced.
fn ends(routes: &[RouteView], releases: &[ReleaseView]) -> String {
    let stables = routes.iter().map(|route| (format!("route {}", route.route), route.stable.model.as_str()));
    let canaries = releases.iter().map(|release| (format!("release {}", release.id), release.canary.model.as_str()));
    shutdowns::told(stables.chain(canaries), shutdowns::today(), Paint::detect())
}

/// Everything, as text.
#[must_use]
pub fn status_text(status: &StatusView, paint: Paint) -> String {
    let mut text = String::new();
    for trouble in &status.troubles {
        let _ = writeln!(text, "{} {trouble}", paint.tone(Tone::Bad, "trouble"));
    }
    text.push_str(&incidents::open_text(&status.incidents, paint));
    let width = status.routes.iter().map(|r| r.route.len()).max().unwrap_or(5).max(5);
    let _ = writeln!(
        text,
        "{}",
        paint.tone(Tone::Strong, &format!("{:<width$}  {:<14}  {:<34}  RELEASE", "ROUTE", "STABLE", "MODEL"))
    );
    for route in &status.routes {
        let _ = writeln!(text, "{}", route_line(route, width));
        text.push_str(&traffic_line(route, paint));
        text.push_str(&steady_line(route, paint));
    }
    if status.routes.is_empty() {
        let _ = writeln!(text, "no routes; add one under `routes:` in coalmine.yaml");
    }
    text.push_str(&upstreams_text(status, paint));
    for release in &status.releases {
        text.push('\n');
        text.push_str(&release_text(release, paint));
    }
    text
}

fn route_line(route: &RouteView, width: usize) -> String {
    let release = route.release.as_deref().unwrap_or("-");
    format!("{:<width$}  {:<14}  {:<34}  {release}", route.route, route.stable.id, route.stable.model)
}

/// What of a route's requests is outside of the comparison, or was saved from it; nothing where all is as usual.
fn traffic_line(route: &RouteView, paint: Paint) -> String {
    let traffic = &route.traffic;
    let of = |reason: &str| traffic.assigned.get(reason).copied().unwrap_or(0);
    let told = [
        (of("ineligible"), "ineligible (one of the versions cannot be asked)"),
        (traffic.rescued, "rescued by stable"),
        (traffic.rescue_refused, "not rescued, for want of budget"),
        (traffic.unproven, "refusals unproven"),
    ];
    let told: Vec<String> =
        told.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    if told.is_empty() {
        return String::new();
    }
    format!("  {} {}\n", paint.tone(Tone::Dim, "requests since the start:"), told.join(", "))
}

/// How a route's own sentinels stand; those that fail are told as incidents.
fn steady_line(route: &RouteView, paint: Paint) -> String {
    if route.sentinels.is_empty() {
        return String::new();
    }
    let count = |state: &str| route.sentinels.iter().filter(|sentinel| sentinel.state == state).count();
    let others = [("failing", count("failing")), ("qualifying", count("qualifying")), ("unasked", count("unasked"))];
    let others = others.iter().filter(|(_, count)| *count > 0).map(|(state, count)| format!(", {count} {state}"));
    let (passing, all, others) = (count("passing"), route.sentinels.len(), others.collect::<String>());
    format!("  {} {passing} of {all} pass on stable{others}\n", paint.tone(Tone::Dim, "sentinels:"))
}

/// One release, as text.
#[must_use]
pub fn release_text(r: &ReleaseView, paint: Paint) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{}  {}",
        paint.tone(Tone::Strong, &r.id),
        paint.tone(state_tone(&r.state.is), &state_phrase(r))
    );
    let changed: Vec<&str> = r.diff.iter().map(|c| c.part.as_str()).collect();
    let _ = writeln!(
        text,
        "  {} {} → {} {}  (changes: {})",
        r.stable.id,
        r.stable.model,
        r.canary.id,
        r.canary.model,
        changed.join(", ")
    );
    let harmed = r.harmed.map_or(String::new(), |h| format!(", harmed {}", interval(h, |v| format!("{v:.0}"))));
    let _ = writeln!(
        text,
        "  sessions exposed: {} canary, {} control{harmed}; live on the canary: {}",
        r.exposed.canary, r.exposed.control, r.live_canary_sessions
    );
    text.push_str(&r.costs.as_ref().map_or(String::new(), |costs| prices::costs_text(costs, paint)));
    if let Some(dropped) = r.quality.as_ref().map(|quality| quality.dropped).filter(|dropped| *dropped > 0) {
        let _ =
            writeln!(text, "  {} {dropped} turns were dropped and are in no estimate", paint.tone(Tone::Warn, "mind"));
    }
    if !r.report.headline.is_empty() {
        let _ = writeln!(text, "  {}", r.report.headline);
    }
    if !r.findings.is_empty() {
        text.push_str(&findings_table(&r.findings, paint));
    }
    text.push_str(&shadow_line(r));
    text.push_str(&sentinels_text(&r.sentinels, paint));
    for waiting in &r.report.waiting_for {
        let _ = writeln!(text, "  {} {waiting}", paint.tone(Tone::Dim, "waits for"));
    }
    for warning in &r.report.warnings {
        let _ = writeln!(text, "  {} {warning}", paint.tone(Tone::Warn, "mind"));
    }
    text.push_str(&r.prices.as_ref().map_or(String::new(), |kept| prices::changed_text(kept, paint)));
    for trouble in &r.troubles {
        let _ = writeln!(text, "  {} {trouble}", paint.tone(Tone::Bad, "trouble"));
    }
    for gateway in r.gateways.iter().filter(|g| !g.live) {
        let _ = writeln!(text, "  {} gateway {} is silent", paint.tone(Tone::Bad, "trouble"), gateway.id);
    }
    text
}

/// `12 (3 to 20)`; `?` where a bound or the estimate is not known yet.
#[must_use]
pub fn interval(of: IntervalView, show: impl Fn(f64) -> String) -> String {
    let [low, point, high] = [of.low, of.point, of.high].map(|value| value.map_or_else(|| "?".to_owned(), &show));
    format!("{point} ({low} to {high})")
}

fn state_phrase(r: &ReleaseView) -> String {
    let mut phrase = r.state.is.replace('_', " ");
    if let Some(stage) = r.state.stage
        && let Some(planned) = r.plan.stages.get(stage)
    {
        let percent = f64::from(planned.weight_bp) / 100.0;
        let whole = |stages: &[StageView]| stages.iter().filter(|s| s.harm_per_minute.is_none()).count();
        let (which, of) = (whole(&r.plan.stages[..=stage]), whole(&r.plan.stages));
        let next = r.plan.stages.get(stage + 1);
        let ramp = planned.harm_per_minute.or_else(|| next.and_then(|s| s.harm_per_minute));
        let ramp = match (ramp, r.plan.stages.last()) {
            (Some(harm), Some(last)) => {
                format!(", ramp to {} % bearing {harm} harmed/min", f64::from(last.weight_bp) / 100.0)
            }
            _ => String::new(),
        };
        let _ = write!(phrase, ", stage {which} of {of} ({} {percent} %{ramp})", planned.cohort);
    }
    if let Some(since) = r.state.since_ms {
        let _ = write!(phrase, ", for {}", span(r.now_ms.saturating_sub(since)));
    }
    if let Some(bp) = r.state.hold_back_bp {
        let _ = write!(phrase, ", {} % held back on the old stable", f64::from(bp) / 100.0);
    }
    if !r.served {
        phrase.push_str(", not yet served everywhere");
    }
    if let Some(why) = &r.state.why {
        let _ = write!(phrase, ": {why}");
    }
    phrase
}

fn state_tone(word: &str) -> Tone {
    match word {
        "promoted" | "promoting" => Tone::Good,
        "rolled_back" | "rolling_back" => Tone::Bad,
        "paused" | "awaiting_approval" => Tone::Warn,
        _ => Tone::Strong,
    }
}

/// The guardrails as a table.
#[must_use]
pub fn findings_table(findings: &[FindingView], paint: Paint) -> String {
    let width = findings.iter().map(|f| f.metric.len()).max().unwrap_or(6).max(6);
    let head = format!(
        "  {:<width$}  {:>12}  {:>10} {:>10}  {:>15}  {:>15}  {:>13}",
        "METRIC", "VERDICT", "control", "canary", "rollback E/line", "promote E/line", "n"
    );
    let mut text = format!("{}\n", paint.tone(Tone::Dim, &head));
    for f in findings {
        let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |v| format!("{v:.4}"));
        let evidence = |log: f64, line: f64| format!("{} / {}", power(log), power(line));
        let (word, tone) = verdict_word(f.verdict);
        let word = paint.tone(tone, &format!("{word:>12}"));
        let _ = writeln!(
            text,
            "  {:<width$}  {word}  {:>10} {:>10}  {:>15}  {:>15}  {:>13}",
            f.metric,
            number(f.control),
            number(f.canary),
            evidence(f.rollback.log, f.rollback.line),
            evidence(f.promote.log, f.promote.line),
            format!("{}/{}", f.n.canary, f.n.control),
        );
    }
    text
}

/// A paired difference with its bounds, as a sentence: `1.23 (1.10 to 1.38) times stable's, 95 % at any look`.
#[must_use]
pub fn paired_interval(told: &PairedIntervalView) -> String {
    let bounds = match told.measure.as_str() {
        "ratio" => format!("{} times stable's", interval(told.interval, |v| format!("{v:.2}"))),
        "losses" => {
            format!("loses more than it wins by {} of the pairs", interval(told.interval, |v| format!("{v:+.3}")))
        }
        _ => format!("{} more than stable's", interval(told.interval, |v| format!("{v:+.4}"))),
    };
    format!("{bounds}, 95 % at any number of looks")
}

/// `shadow: 61 of 100 mirrored sessions, worst error_rate +0.0312 (-0.0100 to +0.0700) more than stable's, …`; nothing once it is over.
fn shadow_line(r: &ReleaseView) -> String {
    let Some(shadow) = r.shadow.as_ref().filter(|_| r.state.is == "shadow") else { return String::new() };
    let worst = shadow.findings.iter().max_by(|a, b| a.rollback.log.total_cmp(&b.rollback.log));
    let worst = worst.and_then(|finding| Some((&finding.metric, finding.interval.as_ref()?)));
    let worst = worst.map_or(String::new(), |(metric, told)| format!(", worst {metric} {}", paired_interval(told)));
    let near = shadow.similarity.as_ref().and_then(|seen| seen.canary.as_ref());
    let near = near.map_or(String::new(), |told| format!(", answers {:.2} near to stable's", told.mean));
    format!("  shadow: {} of {} mirrored sessions{worst}{near}\n", shadow.sessions, shadow.need)
}

/// How the sentinels stand: those that did not pass by name, the others by their number.
#[must_use]
pub fn sentinels_text(sentinels: &[SentinelView], paint: Paint) -> String {
    if sentinels.is_empty() {
        return String::new();
    }
    let passed = sentinels.iter().filter(|sentinel| sentinel.verdict == "passed").count();
    let mut text = format!("  sentinels: {passed} of {} passed\n", sentinels.len());
    for sentinel in sentinels.iter().filter(|sentinel| sentinel.verdict != "passed").take(SENTINELS_SHOWN) {
        text.push_str(&sentinel_line(sentinel, paint));
    }
    text
}

/// `refund-policy (critical) failed: 3/3 passed on stable, 0/4 on canary`.
#[must_use]
pub fn sentinel_line(sentinel: &SentinelView, paint: Paint) -> String {
    let tone = match sentinel.verdict.as_str() {
        "passed" => Tone::Good,
        "failed" => Tone::Bad,
        _ => Tone::Warn,
    };
    let verdict = paint.tone(tone, &sentinel.verdict.replace('_', " "));
    format!("    {} ({}) {verdict}: {}\n", sentinel.name, sentinel.standing, sentinel.reason)
}

/// A verdict in a word and its tone.
#[must_use]
pub fn verdict_word(verdict: VerdictView) -> (&'static str, Tone) {
    match verdict {
        VerdictView::Healthy => ("healthy", Tone::Good),
        VerdictView::Regressed => ("regressed", Tone::Bad),
        VerdictView::Inconclusive => ("inconclusive", Tone::Dim),
        VerdictView::NoData => ("no data", Tone::Warn),
        VerdictView::Error => ("error", Tone::Bad),
    }
}

/// e^log for people: `0.02`, `3.4`, `125`, `10^9`; `-` where there is none yet.
#[must_use]
pub fn power(log: f64) -> String {
    // The API bounds what is infinite at a million.
    if log.abs() >= 1e6 {
        return "-".to_owned();
    }
    let log10 = log / std::f64::consts::LN_10;
    if log10 >= 6.0 {
        format!("10^{log10:.0}")
    } else if log10 >= 2.0 {
        format!("{:.0}", log.exp())
    } else if log10 >= -2.0 {
        format!("{:.2}", log.exp())
    } else {
        "<0.01".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coalmine_api::types::TrafficView;

    #[test]
    fn a_paired_difference_is_told_in_its_own_terms() {
        let bounds = IntervalView { low: Some(1.1), point: Some(1.23), high: Some(1.38) };
        let told =
            |measure: &str| paired_interval(&PairedIntervalView { measure: measure.to_owned(), interval: bounds });
        assert_eq!(told("ratio"), "1.23 (1.10 to 1.38) times stable's, 95 % at any number of looks");
        assert_eq!(told("share"), "+1.2300 (+1.1000 to +1.3800) more than stable's, 95 % at any number of looks");
        assert!(told("losses").starts_with("loses more than it wins by +1.230 (+1.100 to +1.380) of the pairs"));
    }

    #[test]
    fn what_is_out_of_the_ordinary_of_a_route_is_told() {
        let stable = coalmine_core::version::Version {
            provider: "one".into(),
            model: "m".to_owned(),
            prompt: None,
            tools: None,
            params: Default::default(),
            fallbacks: Default::default(),
        };
        let mut route = RouteView {
            route: "support".to_owned(),
            stable: (&stable).into(),
            stable_version: stable,
            release: None,
            generation: 1,
            traffic: TrafficView::default(),
            sentinels: Vec::new(),
        };
        route.traffic.assigned = [("slot".to_owned(), 90)].into();
        assert_eq!(traffic_line(&route, Paint::Plain) + &steady_line(&route, Paint::Plain), "");
        route.traffic.assigned.insert("ineligible".to_owned(), 3);
        route.traffic.unproven = 1;
        let told =
            "  requests since the start: 3 ineligible (one of the versions cannot be asked), 1 refusals unproven\n";
        assert_eq!(traffic_line(&route, Paint::Plain), told);
    }

    #[test]
    fn evidence_reads_as_a_number() {
        let shown: Vec<String> = [-40.0, 0.0, 2.3, 7.0, 40.0, 1e6, -1e6].into_iter().map(power).collect();
        assert_eq!(shown, ["<0.01", "1.00", "9.97", "1097", "10^17", "-", "-"]);
    }
}
