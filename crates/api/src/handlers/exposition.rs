//! In which text format `/metrics` is told: Prometheus' own, or OpenMetrics where the scraper would rather have it.

use http::{HeaderMap, header};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// A text format of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposition {
    /// Prometheus text, 0.0.4.
    Text,
    /// OpenMetrics text, 1.0.0.
    OpenMetrics,
}

impl Exposition {
    /// What a scraper asks for (RFC 9110, section 12.5.1): the format that it gives the higher quality; where it does
    /// not care, the text that everybody reads.
    #[must_use]
    pub fn asked(headers: &HeaderMap) -> Self {
        let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let (mut open, mut text) = (0.0_f32, 0.0_f32);
        for range in accepted.flat_map(|value| value.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let parameters = parts.filter_map(|part| part.split_once('=')).map(|(k, v)| (k.trim(), v.trim()));
            let of = |name: &str| parameters.clone().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, v)| v);
            let quality = of("q").and_then(|q| q.parse::<f32>().ok()).unwrap_or(1.0);
            let version = of("version").map(|version| version.trim_matches('"'));
            match kind.as_str() {
                "application/openmetrics-text" if matches!(version, None | Some("1.0.0")) => open = open.max(quality),
                "text/plain" if matches!(version, None | Some("0.0.4")) => text = text.max(quality),
                _ => {}
            }
        }
        if open > text { Self::OpenMetrics } else { Self::Text }
    }

    /// As told in `content-type`.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// Adds one number.
    pub(super) fn add(self, page: &mut String, name: &str, help: &str, value: u64) {
        let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
        let family = match self {
            Self::Text => name,
            Self::OpenMetrics => name.strip_suffix("_total").unwrap_or(name),
        };
        let _ = writeln!(page, "# HELP {family} {help}\n# TYPE {family} {kind}\n{name} {value}");
    }

    /// Adds one number for each set of labels; where there is none, what it is.
    pub(super) fn add_labelled<const N: usize>(
        self,
        page: &mut String,
        name: &str,
        help: &str,
        labels: &[&str; N],
        values: &BTreeMap<[&str; N], u64>,
    ) {
        let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} gauge");
        for (of, value) in values {
            let pairs: Vec<String> =
                labels.iter().zip(of).map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
            let _ = writeln!(page, "{name}{{{}}} {value}", pairs.join(","));
        }
    }

    /// Adds a gauge of several numbers, each with its labels.
    pub(super) fn add_gauge(self, page: &mut String, name: &str, help: &str, samples: &[(Vec<(&str, &str)>, f64)]) {
        if samples.is_empty() {
            return;
        }
        let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} gauge");
        for (labels, value) in samples {
            let labels: Vec<String> = labels.iter().map(|(label, of)| format!("{label}=\"{}\"", escaped(of))).collect();
            let _ = writeln!(page, "{name}{{{}}} {value}", labels.join(","));
        }
    }

    /// Ends a page.
    pub(super) fn end(self, page: &mut String) {
        match self {
            Self::Text => {}
            Self::OpenMetrics => page.push_str("# EOF\n"),
        }
    }
}

fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn asked(accept: &'static str) -> Exposition {
        Exposition::asked(&HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]))
    }

    #[test]
    fn the_scraper_is_told_what_it_would_rather_have() {
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
            application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
            text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        let without = "text/plain;version=0.0.4;q=1,application/openmetrics-text;version=1.0.0;q=0.5";
        for (accept, exposition) in [
            (prometheus, Exposition::OpenMetrics),
            (without, Exposition::Text),
            ("application/openmetrics-text", Exposition::OpenMetrics),
            ("Application/OpenMetrics-Text; Version=1.0.0; charset=utf-8", Exposition::OpenMetrics),
            ("application/openmetrics-text; version=2.0.0", Exposition::Text),
            ("application/openmetrics-text; q=0", Exposition::Text),
            ("text/plain, application/openmetrics-text", Exposition::Text),
            ("*/*", Exposition::Text),
            ("text/html,;;q=,,q=x;version", Exposition::Text),
        ] {
            assert_eq!(asked(accept), exposition, "{accept}");
        }
        assert_eq!(Exposition::asked(&HeaderMap::new()), Exposition::Text);
    }

    #[test]
    fn what_stands_in_a_label_cannot_end_it() {
        let mut page = String::new();
        let values = BTreeMap::from([(["a\"b\\c\n"], 2), (["plain"], 1)]);
        Exposition::Text.add_labelled(&mut page, "coalmine_incidents", "Open.", &["route"], &values);
        let told = "# HELP coalmine_incidents Open.\n# TYPE coalmine_incidents gauge\n\
            coalmine_incidents{route=\"a\\\"b\\\\c\\n\"} 2\ncoalmine_incidents{route=\"plain\"} 1\n";
        assert_eq!(page, told);
    }

    #[test]
    fn a_gauge_has_its_labels() {
        let mut page = String::new();
        let sample = (vec![("release", "a\"b"), ("arm", "canary")], 0.25);
        Exposition::Text.add_gauge(&mut page, "coalmine_x", "X.", &[sample]);
        Exposition::Text.add_gauge(&mut page, "coalmine_y", "Y.", &[]);
        assert_eq!(
            page,
            "# HELP coalmine_x X.\n# TYPE coalmine_x gauge\ncoalmine_x{release=\"a\\\"b\",arm=\"canary\"} 0.25\n"
        );
    }

    #[test]
    fn a_counters_family_is_named_without_its_end() {
        let mut page = String::new();
        Exposition::OpenMetrics.add(&mut page, "coalmine_lost_total", "Lost.", 3);
        Exposition::OpenMetrics.end(&mut page);
        assert_eq!(page, "# HELP coalmine_lost Lost.\n# TYPE coalmine_lost counter\ncoalmine_lost_total 3\n# EOF\n");
    }
}
