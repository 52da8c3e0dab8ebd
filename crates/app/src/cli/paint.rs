//! Colour where a person looks, none where a program reads.

use std::io::IsTerminal;

/// Whether to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// With ANSI colours.
    Colour,
    /// Plain.
    Plain,
}

/// What a piece of text means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Well.
    Good,
    /// Bad.
    Bad,
    /// Waits, or is odd.
    Warn,
    /// Less important.
    Dim,
    /// A heading.
    Strong,
}

impl Paint {
    /// Colour on a terminal, unless `NO_COLOR` is set (no-color.org) or `TERM` is `dumb`.
    #[must_use]
    pub fn detect() -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty())
            || std::env::var("TERM").is_ok_and(|t| t == "dumb");
        if std::io::stdout().is_terminal() && !plain { Self::Colour } else { Self::Plain }
    }

    /// `text` in a tone.
    #[must_use]
    pub fn tone(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Good => "32",
            Tone::Bad => "31;1",
            Tone::Warn => "33",
            Tone::Dim => "2",
            Tone::Strong => "1",
        };
        match self {
            Self::Colour => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            Self::Plain => text.to_owned(),
        }
    }
}

/// A bar of eight heights per point for values against their line: full height is the line.
#[must_use]
pub fn sparkline(values: &[f64], line: f64, width: usize) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    if values.is_empty() || width == 0 || line <= 0.0 {
        return String::new();
    }
    let shown = values.len().min(width);
    let mut text = String::with_capacity(shown * 3);
    for column in 0..shown {
        let from = column * values.len() / shown;
        let to = ((column + 1) * values.len() / shown).max(from + 1);
        let highest = values[from..to].iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let eighths = (highest / line * 8.0).floor();
        let height = if eighths.is_finite() { eighths.clamp(0.0, 7.0) } else { 0.0 };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=7 above")]
        text.push(BARS[height as usize]);
    }
    text
}

/// A span in the largest two units: `1d 2h`, `3h 05m`, `4m 10s`, `7s`.
#[must_use]
pub fn span(ms: u64) -> String {
    let secs = ms / 1_000;
    let (d, h, m, s) = (secs / 86_400, secs / 3_600 % 24, secs / 60 % 60, secs % 60);
    match (d, h, m) {
        (0, 0, 0) => format!("{s}s"),
        (0, 0, _) => format!("{m}m {s:02}s"),
        (0, _, _) => format!("{h}h {m:02}m"),
        (_, _, _) => format!("{d}d {h}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Paint, Tone, span, sparkline};

    #[test]
    fn a_sparkline_is_full_at_its_line_and_never_wider_than_asked() {
        assert_eq!(sparkline(&[0.0, 1.5, 3.0, 9.0], 3.0, 10), "▁▅██");
        assert_eq!(sparkline(&[-2.0, f64::NAN], 3.0, 10), "▁▁");
        assert_eq!(sparkline(&(0..100).map(f64::from).collect::<Vec<_>>(), 100.0, 12).chars().count(), 12);
        assert_eq!(sparkline(&[], 3.0, 10), "");
    }

    #[test]
    fn spans_read_in_two_units() {
        assert_eq!(
            ["7s", "4m 10s", "3h 05m", "1d 2h"],
            [span(7_900), span(250_000), span(11_100_000), span(93_600_000)].map(|s| s)
        );
    }

    #[test]
    fn plain_is_plain() {
        assert_eq!(Paint::Plain.tone(Tone::Bad, "x"), "x");
        assert_eq!(Paint::Colour.tone(Tone::Dim, "x"), "\u{1b}[2mx\u{1b}[0m");
    }
}
