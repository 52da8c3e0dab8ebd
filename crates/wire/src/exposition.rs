//! What a model server says of its own load: the text format of Prometheus, as vLLM writes it at `/metrics`.
//!
//! Read leniently and in one pass: a line that is none is passed over, for the page is another's, and what is not
//! understood must not keep the rest from being read. The caller bounds the page.

/// The load of one model server.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Load {
    /// Requests that it works on, of all models that it serves.
    pub running: Option<f64>,
    /// Requests that wait in it.
    pub waiting: Option<f64>,
    /// How much of the room for keys and values is used, 0 to 1: of the fullest engine.
    pub cache_used: Option<f64>,
}

impl Load {
    /// Reads a page; `None` where it says nothing of load.
    #[must_use]
    pub fn read(page: &[u8]) -> Option<Self> {
        let mut load = Self::default();
        for line in page.split(|byte| *byte == b'\n') {
            let Some((name, value)) = sample(line) else { continue };
            let (sum, value) = match name {
                b"vllm:num_requests_running" => (&mut load.running, value.max(0.0)),
                b"vllm:num_requests_waiting" => (&mut load.waiting, value.max(0.0)),
                b"vllm:kv_cache_usage_perc" | b"vllm:gpu_cache_usage_perc" => {
                    // 1 is all of it, in spite of the name
                    let used = value.clamp(0.0, 1.0);
                    load.cache_used = Some(load.cache_used.map_or(used, |most| most.max(used)));
                    continue;
                }
                _ => continue,
            };
            *sum = Some(sum.unwrap_or(0.0) + value);
        }
        (load != Self::default()).then_some(load)
    }
}

/// Name and value of one line; `None` for comments, what is no sample, and numbers that are none.
fn sample(line: &[u8]) -> Option<(&[u8], f64)> {
    let line = line.trim_ascii();
    let ends = line.iter().position(|byte| *byte == b'{' || byte.is_ascii_whitespace())?;
    let (name, rest) = line.split_at(ends);
    if name.is_empty() || name.starts_with(b"#") {
        return None;
    }
    let rest = if rest.starts_with(b"{") { after_labels(rest)? } else { rest };
    let value = rest.trim_ascii_start().split(u8::is_ascii_whitespace).next()?;
    let value: f64 = std::str::from_utf8(value).ok()?.parse().ok()?;
    value.is_finite().then_some((name, value))
}

/// What follows the labels; a quoted value may hold braces and escaped quotes.
fn after_labels(text: &[u8]) -> Option<&[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    let ends = text.iter().position(|byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'}' => return !quoted,
            _ => {}
        }
        false
    })?;
    text.get(ends + 1..)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PAGE: &str = include_str!("golden/load.prom");

    #[test]
    fn requests_are_summed_and_the_fullest_cache_counts() {
        let load = Load { running: Some(5.0), waiting: Some(1.0), cache_used: Some(0.75) };
        assert_eq!(Load::read(PAGE.as_bytes()), Some(load));
        let older = Load::read(b"vllm:gpu_cache_usage_perc{model_name=\"m\"} 0.5");
        assert_eq!(older, Some(Load { cache_used: Some(0.5), ..Load::default() }));
    }

    #[test]
    fn a_page_that_says_nothing_of_load_is_told_from_an_idle_server() {
        for page in ["", "<html>vllm:num_requests_running 3</html>", "vllm:num_requests_running{a=\"} 3", "up 1"] {
            assert_eq!(Load::read(page.as_bytes()), None, "{page}");
        }
        let idle = Load::read(b"vllm:num_requests_running 0\nvllm:num_requests_waiting -0.0\n").unwrap();
        assert_eq!((idle.running, idle.waiting), (Some(0.0), Some(0.0)));
        assert_eq!(Load::read(b"vllm:num_requests_running NaN\nvllm:num_requests_waiting +Inf\n"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_numbers_within_their_range(page in prop::collection::vec(any::<u8>(), 0..400)) {
            if let Some(load) = Load::read(&page) {
                prop_assert!([load.running, load.waiting].into_iter().flatten().all(|n| n.is_finite() && n >= 0.0));
                prop_assert!(load.cache_used.is_none_or(|used| (0.0..=1.0).contains(&used)));
            }
        }

        #[test]
        fn lines_that_are_not_understood_change_nothing(line in "[^\n]{0,60}", at in 0..10_usize) {
            prop_assume!(!line.trim_start().starts_with("vllm:"));
            let mut lines: Vec<&str> = PAGE.lines().collect();
            lines.insert(at.min(lines.len()), &line);
            prop_assert_eq!(Load::read(lines.join("\n").as_bytes()), Load::read(PAGE.as_bytes()));
        }
    }
}
