//! The evidence over time as a self-contained SVG, readable on light and on dark.

use coalmine_api::types::{EvidenceTrack, ExplainView};
use coalmine_api::when::utc;
use std::fmt::Write as _;

const WIDTH: f64 = 920.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 260.0;
const PANEL: f64 = 150.0;
const GAP: f64 = 46.0;
const TOP: f64 = 70.0;
/// Of a panel's height: where the line of the decision runs.
const LINE: f64 = 0.25;

const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#24292f}.dim{fill:#57606a}.strong{font-weight:600}\
.frame{fill:none;stroke:#d0d7de}.line{stroke:#57606a;stroke-dasharray:4 3}.zero{stroke:#d0d7de}\
.back{fill:none;stroke:#cf222e;stroke-width:1.8}.forth{fill:none;stroke:#1a7f37;stroke-width:1.8}\
.backtext{fill:#cf222e}.forthtext{fill:#1a7f37}.paper{fill:#ffffff}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.dim{fill:#8d96a0}.frame,.zero{stroke:#30363d}\
.line{stroke:#8d96a0}.back{stroke:#ff7b72}.forth{stroke:#3fb950}.backtext{fill:#ff7b72}.forthtext{fill:#3fb950}\
.paper{fill:#0d1117}}";

/// One panel per guardrail: its evidence for a rollback and for promotion, each as a part of its line.
#[must_use]
pub fn svg(explained: &ExplainView) -> String {
    let tracks: Vec<&EvidenceTrack> = explained.tracks.iter().filter(|track| !track.points.is_empty()).collect();
    let height = TOP + tracks.len().max(1) as f64 * (PANEL + GAP);
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
        panel(&mut text, explained, track, TOP + index as f64 * (PANEL + GAP));
    }
    text.push_str("</svg>\n");
    text
}

fn panel(text: &mut String, explained: &ExplainView, track: &EvidenceTrack, top: f64) {
    let (Some(first), Some(last)) = (track.points.first(), track.points.last()) else { return };
    let right = WIDTH - RIGHT;
    let span = (last.at_ms.saturating_sub(first.at_ms)).max(1) as f64;
    let x = |at_ms: u64| LEFT + (right - LEFT) * at_ms.saturating_sub(first.at_ms) as f64 / span;
    let y =
        |part: f64| top + PANEL * (1.0 - (1.0 - LINE) * part.clamp(-0.25, 1.0 / (1.0 - LINE)) - 0.12).clamp(0.0, 1.0);
    let _ = writeln!(
        text,
        "<rect class=\"frame\" x=\"{LEFT}\" y=\"{top}\" width=\"{}\" height=\"{PANEL}\"/>",
        right - LEFT
    );
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
    let foot = top + PANEL + 14.0;
    let _ = writeln!(text, "<text class=\"dim\" x=\"{LEFT}\" y=\"{foot}\">{}</text>", utc(first.at_ms));
    let _ =
        writeln!(text, "<text class=\"dim\" x=\"{right}\" y=\"{foot}\" text-anchor=\"end\">{}</text>", utc(last.at_ms));
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
