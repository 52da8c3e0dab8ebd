//! The evidence, the estimate with its band, and n over time, as a self-contained SVG, readable on light and on dark.

use coalmine_api::types::{EvidenceTrack, ExplainView};
use coalmine_api::when::utc;
use coalmine_core::metric::{Kind, Metric};
use std::fmt::Write as _;

const WIDTH: f64 = 920.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 260.0;
const PANEL: f64 = 150.0;
/// The estimate with its band, under the evidence, and n under that.
const BAND: f64 = 96.0;
const COUNTS: f64 = 30.0;
const BETWEEN: f64 = 8.0;
const GAP: f64 = 46.0;
const TOP: f64 = 70.0;
/// All that one guardrail takes.
const HEIGHT: f64 = PANEL + BAND + COUNTS + 2.0 * BETWEEN + GAP;
/// Of a panel's height: where the line of the decision runs.
const LINE: f64 = 0.25;

const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#24292f}.dim{fill:#57606a}.strong{font-weight:600}\
.frame{fill:none;stroke:#d0d7de}.line{stroke:#57606a;stroke-dasharray:4 3}.zero{stroke:#d0d7de}\
.back{fill:none;stroke:#cf222e;stroke-width:1.8}.forth{fill:none;stroke:#1a7f37;stroke-width:1.8}\
.band{fill:#0969da;fill-opacity:.18}.point{fill:none;stroke:#0969da;stroke-width:1.6}\
.margin{stroke:#bc4c00;stroke-dasharray:2 3}.margintext{fill:#bc4c00}.n{fill:none;stroke:#57606a}\
.drift{stroke:#8250df;stroke-dasharray:5 3}.drifttext{fill:#8250df}\
.backtext{fill:#cf222e}.forthtext{fill:#1a7f37}.paper{fill:#ffffff}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.dim{fill:#8d96a0}.frame,.zero{stroke:#30363d}\
.line,.n{stroke:#8d96a0}.band{fill:#58a6ff}.point{stroke:#58a6ff}.margin{stroke:#f0883e}.margintext{fill:#f0883e}\
.drift{stroke:#a371f7}.drifttext{fill:#a371f7}.back{stroke:#ff7b72}.forth{stroke:#3fb950}.backtext{fill:#ff7b72}.forthtext{fill:#3fb950}\
.paper{fill:#0d1117}}";

/// Per guardrail: its evidence for a rollback and for promotion, each as a part of its line; the estimate with its band
/// between the margins; n of both arms. Drifts stand across all of it.
#[must_use]
pub fn svg(explained: &ExplainView) -> String {
    let tracks: Vec<&EvidenceTrack> = explained.tracks.iter().filter(|track| !track.points.is_empty()).collect();
    let height = TOP + tracks.len().max(1) as f64 * HEIGHT;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         role=\"img\" aria-label=\"evidence over time\"><style>{STYLE}</style>\
         <rect class=\"paper\" width=\"{WIDTH}\" height=\"{height}\"/>\n"
    );
    let release = &explained.release;
    let state = release.state.is.replace('_', " ");
    let _ = writeln!(
        text,
        "<text class=\"strong\" x=\"{LEFT}\" y=\"24\">{} · {}</text>",
        plain(&release.id),
        plain(&state)
    );
    let _ = writeln!(
        text,
        "<text class=\"dim\" x=\"{LEFT}\" y=\"44\">{}</text>",
        plain(&shortened(&release.report.headline))
    );
    if tracks.is_empty() {
        let _ = writeln!(text, "<text class=\"dim\" x=\"{LEFT}\" y=\"{}\">no evidence yet</text>", TOP + 20.0);
    }
    for (index, track) in tracks.iter().enumerate() {
        panel(&mut text, explained, track, TOP + index as f64 * HEIGHT);
    }
    text.push_str("</svg>\n");
    text
}

fn panel(text: &mut String, explained: &ExplainView, track: &EvidenceTrack, top: f64) {
    let (Some(first), Some(last)) = (track.points.first(), track.points.last()) else { return };
    let right = WIDTH - RIGHT;
    let time = Time { from_ms: first.at_ms, span: last.at_ms.saturating_sub(first.at_ms).max(1) as f64 };
    let x = |at_ms: u64| time.x(at_ms);
    let y =
        |part: f64| top + PANEL * (1.0 - (1.0 - LINE) * part.clamp(-0.25, 1.0 / (1.0 - LINE)) - 0.12).clamp(0.0, 1.0);
    frame(text, top, PANEL);
    for (part, class) in [(0.0, "zero"), (1.0, "line")] {
        let _ = writeln!(
            text,
            "<line class=\"{class}\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{0:.1}\" y2=\"{0:.1}\"/>",
            y(part)
        );
    }
    let _ = writeln!(
        text,
        "<text class=\"dim\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">line</text>",
        LEFT - 6.0,
        y(1.0) + 4.0
    );
    let _ = writeln!(
        text,
        "<text class=\"dim\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">E = 1</text>",
        LEFT - 6.0,
        y(0.0) + 4.0
    );
    let curves = [
        ("back", track.points.iter().map(|p| (p.at_ms, part(p.rollback, p.rollback_line))).collect::<Vec<_>>()),
        ("forth", track.points.iter().map(|p| (p.at_ms, part(p.promote, p.promote_line))).collect()),
    ];
    for (class, points) in &curves {
        let known = points.iter().filter_map(|(at, part)| part.map(|part| format!("{:.1},{:.1}", x(*at), y(part))));
        let _ = writeln!(text, "<polyline class=\"{class}\" points=\"{}\"/>", known.collect::<Vec<_>>().join(" "));
    }
    let _ = writeln!(text, "<text class=\"strong\" x=\"{LEFT}\" y=\"{}\">{}</text>", top - 6.0, plain(&track.metric));
    let side = right + 10.0;
    let finding = explained.release.findings.iter().find(|f| f.metric == track.metric);
    let mut row = top + 16.0;
    let mut say = |class: &str, line: &str| {
        let _ = writeln!(text, "<text class=\"{class}\" x=\"{side}\" y=\"{row}\">{}</text>", plain(line));
        row += 17.0;
    };
    let power = super::status::power;
    say("backtext", &format!("rollback {} of {}", power(last.rollback), power(last.rollback_line)));
    say("forthtext", &format!("promote {} of {}", power(last.promote), power(last.promote_line)));
    if let Some(finding) = finding {
        say("", super::status::verdict_word(finding.verdict).0);
        say("dim", &format!("n {} / {}", finding.n.canary, finding.n.control));
        if let Some(difference) = finding.difference {
            say("dim", &format!("worse by {}", super::status::interval(difference, |v| format!("{v:+.3}"))));
        }
    }
    let band_top = top + PANEL + BETWEEN;
    estimate(text, explained, track, &time, band_top);
    counts(text, track, &time, band_top + BAND + BETWEEN);
    drifts(text, explained, &time, top);
    let foot = top + HEIGHT - GAP + 14.0;
    let _ = writeln!(text, "<text class=\"dim\" x=\"{LEFT}\" y=\"{foot}\">{}</text>", utc(first.at_ms));
    let _ =
        writeln!(text, "<text class=\"dim\" x=\"{right}\" y=\"{foot}\" text-anchor=\"end\">{}</text>", utc(last.at_ms));
}

/// Where an instant stands.
struct Time {
    from_ms: u64,
    span: f64,
}

impl Time {
    fn x(&self, at_ms: u64) -> f64 {
        LEFT + (WIDTH - RIGHT - LEFT) * at_ms.saturating_sub(self.from_ms) as f64 / self.span
    }
}

/// The estimate with its band, and the margins that it must come inside of, or be proven beyond.
fn estimate(text: &mut String, explained: &ExplainView, track: &EvidenceTrack, time: &Time, top: f64) {
    let bound = |value: Option<f64>, end: f64| value.unwrap_or(end);
    let known: Vec<(f64, [f64; 3])> = track
        .points
        .iter()
        .filter_map(|p| {
            let d = p.difference?;
            let point = d.point?;
            Some((time.x(p.at_ms), [bound(d.low, -1.0), point, bound(d.high, 1.0)]))
        })
        .collect();
    let margins = margins(explained, &track.metric);
    frame(text, top, BAND);
    let Some((_, [.., point, _])) = known.last().copied() else {
        let _ = writeln!(text, "<text class=\"dim\" x=\"{}\" y=\"{}\">no estimate yet</text>", LEFT + 8.0, top + 18.0);
        return;
    };
    // An early band is as wide as all that is possible: the later half sets the scale.
    let late = known[known.len() / 2..].iter().flat_map(|(_, [low, _, high])| [low.abs(), high.abs()]);
    let shown = margins.iter().map(|(_, value)| value.abs()).chain([point.abs()]).fold(0.0, f64::max);
    let widest = late.fold(0.0, f64::max);
    let scale = (1.15 * shown.max(widest.min((4.0 * shown).max(0.01)))).max(1e-6);
    let y = |value: f64| top + BAND * (0.5 - 0.5 * (value / scale).clamp(-1.0, 1.0));
    let mut across = |class: &str, value: f64, label: &str| {
        let (right, y) = (WIDTH - RIGHT, y(value));
        let _ = writeln!(text, "<line class=\"{class}\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>");
        let _ = writeln!(
            text,
            "<text class=\"dim\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
            LEFT - 6.0,
            y + 4.0
        );
    };
    across("zero", 0.0, "equal");
    let edge = |bound: usize| known.iter().map(move |(x, bounds)| (*x, bounds[bound]));
    margins.iter().for_each(|(_, value)| across("margin", *value, ""));
    let outline = edge(2).chain(edge(0).rev()).map(|(x, value)| format!("{x:.1},{:.1}", y(value)));
    let _ = writeln!(text, "<polygon class=\"band\" points=\"{}\"/>", outline.collect::<Vec<_>>().join(" "));
    let line = edge(1).map(|(x, value)| format!("{x:.1},{:.1}", y(value))).collect::<Vec<_>>().join(" ");
    let _ = writeln!(text, "<polyline class=\"point\" points=\"{line}\"/>");
    let side = WIDTH - RIGHT + 10.0;
    let _ =
        writeln!(text, "<text class=\"dim\" x=\"{side}\" y=\"{}\">canary − control, ±{scale:.3}</text>", top + 12.0);
    let mut row = top + 29.0;
    for (name, value) in &margins {
        let _ = writeln!(text, "<text class=\"margintext\" x=\"{side}\" y=\"{row}\">{name} {value:+.4}</text>");
        row += 17.0;
    }
}

/// The margins as differences of badness; none where they depend on control's own value.
fn margins(explained: &ExplainView, metric: &str) -> Vec<(&'static str, f64)> {
    let Some(guardrail) = explained.guardrails.iter().find(|g| g.metric == metric) else { return Vec::new() };
    let is_difference = match metric.parse::<Metric>().map(|metric| metric.kind()) {
        Ok(Kind::Rate | Kind::Score) => guardrail.promote_ratio == 1.0 && guardrail.rollback_ratio == 1.0,
        Ok(Kind::Exceedance) => true,
        Ok(Kind::Amount | Kind::Ratio) | Err(_) => false,
    };
    if !is_difference {
        return Vec::new();
    }
    vec![("margin", guardrail.promote_shift), ("rollback margin", guardrail.rollback_shift)]
}

/// n of the canary over time, and of control at the end.
fn counts(text: &mut String, track: &EvidenceTrack, time: &Time, top: f64) {
    frame(text, top, COUNTS);
    let known: Vec<(f64, u64)> = track.points.iter().filter_map(|p| Some((time.x(p.at_ms), p.n?.canary))).collect();
    let Some(most) = known.iter().map(|(_, n)| *n).max().filter(|most| *most > 0) else { return };
    let y = |n: u64| top + COUNTS * (1.0 - 0.9 * n as f64 / most as f64);
    let line = known.iter().map(|(x, n)| format!("{x:.1},{:.1}", y(*n))).collect::<Vec<_>>().join(" ");
    let _ = writeln!(text, "<polyline class=\"n\" points=\"{line}\"/>");
    let _ = writeln!(
        text,
        "<text class=\"dim\" x=\"{}\" y=\"{}\" text-anchor=\"end\">n</text>",
        LEFT - 6.0,
        top + COUNTS - 4.0
    );
    let side = WIDTH - RIGHT + 10.0;
    let _ = writeln!(text, "<text class=\"dim\" x=\"{side}\" y=\"{}\">canary sessions, to {most}</text>", top + 18.0);
}

/// Where another model began to answer.
fn drifts(text: &mut String, explained: &ExplainView, time: &Time, top: f64) {
    for drift in explained.release.drifts.iter().filter(|drift| drift.at_ms >= time.from_ms) {
        let x = time.x(drift.at_ms).min(WIDTH - RIGHT);
        let bottom = top + HEIGHT - GAP;
        let _ = writeln!(text, "<line class=\"drift\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top}\" y2=\"{bottom}\"/>");
        let _ = writeln!(text, "<text class=\"drifttext\" x=\"{:.1}\" y=\"{}\">drift</text>", x + 4.0, top + 14.0);
    }
}

fn frame(text: &mut String, top: f64, height: f64) {
    let width = WIDTH - RIGHT - LEFT;
    let _ = writeln!(text, "<rect class=\"frame\" x=\"{LEFT}\" y=\"{top}\" width=\"{width}\" height=\"{height}\"/>");
}

/// Evidence as a part of its line; `None` where there is none yet.
fn part(log: f64, line: f64) -> Option<f64> {
    (log.abs() < 1e6 && line.abs() < 1e6 && line > 0.0).then_some(log / line)
}

fn shortened(text: &str) -> String {
    const MOST: usize = 120;
    if text.chars().count() <= MOST { text.to_owned() } else { text.chars().take(MOST).chain(['…']).collect() }
}

fn plain(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::{part, plain, shortened};

    #[test]
    fn what_is_unknown_is_not_drawn_and_no_text_breaks_the_picture() {
        assert_eq!(part(1.5, 3.0), Some(0.5));
        assert_eq!((part(-1e6, 3.0), part(1.0, 1e6)), (None, None));
        assert_eq!(plain("a < b & c"), "a &lt; b &amp; c");
        assert_eq!(shortened(&"x".repeat(200)).chars().count(), 121);
    }
}
