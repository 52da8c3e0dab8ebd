//! A forecast as people read it: tables, and a timeline.

use super::paint::{Paint, Tone};
use coalmine_core::forecast::{
    Asks, GuardrailOutlook, Harm, Hazard, JudgedOutlook, Origin, Outlook, Regression, Severity, StageOutlook, Within,
};
use coalmine_core::release::policy::Role;
use coalmine_core::release::words::{number, percent};
use coalmine_core::time::SpanMs;
use std::fmt::Write as _;

/// Columns of the timeline.
const COLUMNS: usize = 60;

/// The forecast, as text.
#[must_use]
pub(super) fn outlook_text(outlook: &Outlook, paint: Paint) -> String {
    let mut text = head(outlook, paint);
    let parts = [
        ("STAGES", stages(outlook)),
        ("TIMELINE", timeline(outlook)),
        ("PAIRS OF THE SHADOW", pairs(outlook)),
        ("GUARDRAILS", guardrails(outlook)),
        ("WHAT EACH STAGE SEES OF A REGRESSION OF THE MARGIN'S SIZE", sights(outlook)),
        ("HARM UNTIL IT IS FOUND, from a canary that is bad from the start (typically)", harm(outlook)),
        ("WHAT CAN ROLL BACK", causes(outlook)),
        ("WHAT COULD DECIDE", advice(outlook)),
    ];
    for (title, body) in parts.iter().filter(|(_, body)| !body.is_empty()) {
        let _ = write!(text, "\n{}\n{body}", paint.tone(Tone::Strong, title));
    }
    text.push_str(&hazards(outlook, paint));
    text
}

fn head(outlook: &Outlook, paint: Paint) -> String {
    let traffic = &outlook.traffic;
    let origin = match traffic.origin {
        Origin::Measured { over, requests } => format!("measured over {}, {requests} requests", over.rounded()),
        Origin::Stated => "stated".to_owned(),
    };
    let mut text = format!(
        "{}  {} sessions an hour of {} requests ({origin})\n",
        paint.tone(Tone::Strong, "TRAFFIC"),
        number(traffic.sessions_per_hour),
        number(traffic.turns)
    );
    for assumed in &traffic.assumed {
        let _ = writeln!(text, "  {} {assumed}", paint.tone(Tone::Dim, "assumed"));
    }
    if let Some(lasts) = outlook.shadow {
        let _ = writeln!(
            text,
            "{}  lasts {}, with nobody exposed; everything below counts from its end",
            paint.tone(Tone::Strong, "SHADOW"),
            lasts.rounded()
        );
    }
    let promotion = match outlook.promotion.typical {
        Some(typical) => {
            let slow = at(outlook.promotion.slow);
            format!("a canary as good as stable is promoted after {} ({slow} in nine runs of ten)", typical.rounded())
        }
        None => "a canary as good as stable is not promoted within 90 days".to_owned(),
    };
    let _ = writeln!(text, "{}  {promotion}", paint.tone(Tone::Strong, "PROMOTION"));
    text
}

fn stages(outlook: &Outlook) -> String {
    let width = outlook.stages.iter().map(|stage| stage.label.chars().count()).max().unwrap_or(0).max(5);
    let mut text = format!(
        "     {:<width$}  {:>8}  {:>8}  {:>8}  {:>10}  {:>10}  {:>8}\n",
        "stage", "opens", "bake", "closes", "canary/h", "control/h", "sessions"
    );
    for (index, stage) in outlook.stages.iter().enumerate() {
        let _ = writeln!(
            text,
            "  {:>2} {:<width$}  {:>8}  {:>8}  {:>8}  {:>10}  {:>10}  {:>8}",
            index + 1,
            stage.label,
            stage.opens.rounded(),
            stage.bake.to_string(),
            stage.closes.rounded(),
            number(stage.canary_per_hour),
            number(stage.control_per_hour),
            number(stage.canary_sessions)
        );
    }
    text
}

/// Stages as bars; per guardrail when a regression is found and when the proof is there, a line from typical to slow.
fn timeline(outlook: &Outlook) -> String {
    let ends = outlook.stages.iter().map(|stage| stage.closes).chain([outlook.max_duration]);
    let scale = Scale { end: ends.max().unwrap_or(outlook.max_duration).0.max(1) };
    let width = outlook.guardrails.iter().map(|g| g.metric.to_string().len()).max().unwrap_or(0).max(8);
    let mut text = String::new();
    let last = outlook.stages.len().saturating_sub(1);
    for (index, stage) in outlook.stages.iter().enumerate() {
        let to = if index == last { SpanMs(scale.end) } else { stage.closes };
        let mut row = scale.row();
        scale.draw(&mut row, stage.opens, stage.closes, '█');
        scale.draw(&mut row, stage.closes, to, '░');
        let _ = writeln!(text, "  {:<width$} {}", format!("stage {}", index + 1), line(&row));
    }
    for guardrail in &outlook.guardrails {
        let mut row = scale.row();
        scale.mark(&mut row, guardrail.proven, '─', '●');
        scale.mark(&mut row, guardrail.found, '┄', '▼');
        let _ = writeln!(text, "  {:<width$} {}", guardrail.metric.to_string(), line(&row));
    }
    let half = SpanMs(scale.end / 2).rounded();
    let end = SpanMs(scale.end).rounded();
    let _ = writeln!(
        text,
        "  {:<width$} 0{half:>half_at$}{end:>end_at$}\n  {:<width$} ▼ regression of the margin's size found, ● proven within the margin; the line goes to nine runs of ten",
        "",
        "",
        half_at = COLUMNS / 2,
        end_at = COLUMNS / 2,
    );
    text
}

/// Time to columns.
struct Scale {
    end: u64,
}

impl Scale {
    fn row(&self) -> Vec<char> {
        vec![' '; COLUMNS + 1]
    }

    fn column(&self, at: SpanMs) -> usize {
        usize::try_from(at.0.min(self.end).saturating_mul(COLUMNS as u64) / self.end).unwrap_or(COLUMNS)
    }

    fn draw(&self, row: &mut [char], from: SpanMs, to: SpanMs, with: char) {
        let (from, to) = (self.column(from), self.column(to));
        row.iter_mut().take(to).skip(from).for_each(|cell| *cell = with);
    }

    fn mark(&self, row: &mut [char], when: Within, stroke: char, with: char) {
        let Some(typical) = when.typical else { return };
        if typical.0 > self.end {
            return;
        }
        let slow = when.slow.unwrap_or(SpanMs(self.end));
        self.draw(row, typical, slow, stroke);
        if let Some(cell) = row.get_mut(self.column(typical)) {
            *cell = with;
        }
    }
}

fn line(row: &[char]) -> String {
    row.iter().collect::<String>().trim_end().to_owned()
}

fn guardrails(outlook: &Outlook) -> String {
    let width = outlook.guardrails.iter().map(|g| g.metric.to_string().len()).max().unwrap_or(0).max(6);
    let mut text = format!(
        "  {:<width$}  {:<16}  {:<20}  {:<20}  {:>6}\n",
        "metric", "regression", "found after (90 %)", "proven after (90 %)", "by max"
    );
    for g in &outlook.guardrails {
        let role = match g.role {
            Role::Guardrail => "",
            Role::Signal => "  (signal)",
            Role::DryRun => "  (dry run)",
        };
        if g.sampled <= 0.0 {
            let _ = writeln!(text, "  {:<width$}  stable has shown none of it{role}", g.metric.to_string());
            continue;
        }
        let _ = writeln!(
            text,
            "  {:<width$}  {:<16}  {:<20}  {:<20}  {:>6}{role}",
            g.metric.to_string(),
            g.regression,
            both(g.found),
            both(g.proven),
            whole(g.proven_by_max)
        );
        let n = |sessions: Option<f64>| sessions.map_or_else(|| "-".to_owned(), |n| format!("n {}", number(n.ceil())));
        let _ =
            writeln!(text, "  {:<width$}  {:<16}  {:<20}  {:<20}", "", "", n(g.found_sessions), n(g.proven_sessions));
        if let Some(judged) = &g.judged {
            text.push_str(&judged_text(judged));
        }
    }
    text
}

/// What the judges of a shadow's pairs will read, and when a canary that loses is found.
fn pairs(outlook: &Outlook) -> String {
    let mut text = String::new();
    for paired in &outlook.paired {
        let _ = writeln!(
            text,
            "  {}: {} judged sessions by the shadow's end, and the first stage waits for {}; {}",
            paired.judge,
            number(paired.sessions.round()),
            paired.need_sessions,
            asks(&paired.asks)
        );
        let lost = format!("a canary that loses {} more of the pairs than it wins", percent(paired.loses));
        let _ = match (paired.found_sessions, paired.found) {
            (Some(sessions), Some(found)) => {
                writeln!(
                    text,
                    "    {lost} is found with {} of them, after {}",
                    number(sessions.ceil()),
                    found.rounded()
                )
            }
            (Some(_), None) => writeln!(text, "    {lost} is not found within 90 days"),
            (None, _) if paired.role == Role::Guardrail => {
                writeln!(
                    text,
                    "    {lost} is never found: take a smaller margin, for {} are ties",
                    percent(paired.ties)
                )
            }
            (None, _) => writeln!(text, "    it rolls nothing back"),
        };
    }
    text
}

/// How often a judge is asked on a day, and for how much.
fn asks(asks: &Asks) -> String {
    let cost = match (asks.usd_each, asks.usd_per_day()) {
        (Some(each), Some(day)) => format!(", about ${} at ${} each", number(day), number(each)),
        _ => ", at a price that is not known".to_owned(),
    };
    let calls = asks.calls_bound.map(|calls| format!("`calls: {calls}`"));
    let usd = asks.usd_bound.map(|usd| format!("`budget: ${}`", number(usd)));
    let bounds: Vec<String> = calls.into_iter().chain(usd).collect();
    let bounds = if bounds.is_empty() { String::new() } else { format!(" ({})", bounds.join(", ")) };
    let short = if asks.is_short() { ", which is not enough" } else { "" };
    format!("{} questions on a day{cost}{bounds}{short}", number(asks.per_day.round()))
}

/// What a judge will have to do.
fn judged_text(judged: &JudgedOutlook) -> String {
    format!(
        "    judged: {} sessions of control and {} of the canary by the last stage's end; {}\n",
        number(judged.control_sessions.round()),
        number(judged.canary_sessions.round()),
        asks(&judged.asks)
    )
}

fn sights(outlook: &Outlook) -> String {
    let measured = |metric: &coalmine_core::metric::Metric| {
        outlook.guardrails.iter().any(|g: &GuardrailOutlook| g.metric == *metric && g.sampled > 0.0)
    };
    let mut text = String::new();
    for (index, stage) in outlook.stages.iter().enumerate() {
        let _ = writeln!(text, "  {} {}, bakes {}", index + 1, stage.label, length(stage).rounded());
        for sight in stage.sights.iter().filter(|sight| measured(&sight.metric)) {
            let _ = writeln!(
                text,
                "      {:<24} needs {:<20} found by the stage's end, if there from the start: {}",
                sight.metric.to_string(),
                both(sight.bake),
                whole(sight.found_by_end)
            );
        }
    }
    text
}

fn length(stage: &StageOutlook) -> SpanMs {
    SpanMs(stage.closes.0.saturating_sub(stage.opens.0))
}

fn harm(outlook: &Outlook) -> String {
    let name = |harm: &Harm| harm.metric.as_ref().map_or_else(|| "outage".to_owned(), ToString::to_string);
    let width = outlook.harm.iter().map(|h| name(h).len()).max().unwrap_or(0).max(6);
    let mut text = String::new();
    for harm in &outlook.harm {
        let size = match harm.regression {
            Regression::Times(factor) => format!("x{}", number(factor)),
            Regression::Outage => "all".to_owned(),
            Regression::Margin | Regression::None => String::new(),
        };
        let hurt = match (harm.harmed, harm.extra_usd, harm.exposed) {
            (Some(harmed), _, Some(exposed)) => format!("{} harmed of {} sessions", number(harmed), number(exposed)),
            (None, Some(usd), Some(exposed)) => format!("${} more in {} sessions", number(usd), number(exposed)),
            (None, None, Some(exposed)) => format!("{} sessions", number(exposed)),
            (_, _, None) => String::new(),
        };
        let found = harm.found.typical.map_or_else(|| "not within 90 days".to_owned(), |at| at.rounded());
        let _ = writeln!(text, "  {:<width$}  {size:<5} {:<22} {found:<18} {hurt}", name(harm), harm.what);
    }
    text
}

fn causes(outlook: &Outlook) -> String {
    let mut text = String::new();
    for cause in &outlook.causes {
        let share = cause.alpha.map_or_else(|| "not covered".to_owned(), |alpha| format!("at most {}", percent(alpha)));
        let chance = outlook.tripwires.iter().find(|alarm| alarm.tripwire == cause.of);
        let chance = chance.map_or(String::new(), |alarm| {
            let chance = if alarm.chance < 1e-4 { "less than 0.01 %".to_owned() } else { percent(alarm.chance) };
            format!("; by chance in {chance} of releases at stable's error rate")
        });
        let _ = writeln!(text, "  {:<10} {:<40} {share}{chance}", cause.cause.word().replace('_', " "), cause.of);
    }
    text
}

fn advice(outlook: &Outlook) -> String {
    outlook.advice.iter().fold(String::new(), |mut text, advice| {
        let _ = writeln!(text, "  {advice}");
        text
    })
}

fn hazards(outlook: &Outlook, paint: Paint) -> String {
    let mut text = String::new();
    if !outlook.hazards.is_empty() {
        text.push('\n');
    }
    for hazard in &outlook.hazards {
        let (word, tone) = word(hazard);
        let _ = writeln!(text, "{} {}: {}\n    {}", paint.tone(tone, word), hazard.key, hazard.what, hazard.mend);
    }
    let refused = outlook.refusals().count();
    if refused > 0 {
        let _ = writeln!(
            text,
            "\n{refused} of these refuse the start; mend them, or say `acknowledge: [undecidable]` (--acknowledge)"
        );
    }
    text
}

fn word(hazard: &Hazard) -> (&'static str, Tone) {
    match hazard.severity {
        Severity::Error => ("error", Tone::Bad),
        Severity::Acknowledged => ("known", Tone::Warn),
        Severity::Warning => ("mind", Tone::Warn),
    }
}

fn both(within: Within) -> String {
    match within.typical {
        Some(typical) => format!("{} ({})", typical.rounded(), at(within.slow)),
        None => "not within 90 days".to_owned(),
    }
}

fn at(when: Option<SpanMs>) -> String {
    when.map_or_else(|| "beyond 90 days".to_owned(), |at| at.rounded())
}

/// A chance in whole percents: `97 %`, never 0 or 100 for what is neither.
fn whole(chance: f64) -> String {
    let percent = (chance * 100.0).round().clamp(0.0, 100.0);
    if percent >= 100.0 {
        ">99 %".to_owned()
    } else if percent < 1.0 {
        "<1 %".to_owned()
    } else {
        format!("{percent:.0} %")
    }
}
