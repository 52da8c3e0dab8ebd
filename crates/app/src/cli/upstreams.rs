//! The addresses of providers in `coalmine status`: a line for each, that says why one is aside and when it is tried again.

use super::paint::{Paint, Tone, span};
use coalmine_api::types::{AsideView, FaultView, StatusView, UpstreamView};
use std::fmt::Write as _;

/// What went wrong longer ago is not told of an address that is in service.
const LATELY_MS: u64 = 5 * 60_000;

/// The addresses, where there is more to say of them than that there is one.
pub(super) fn upstreams_text(status: &StatusView, paint: Paint) -> String {
    let (upstreams, now_ms) = (&status.upstreams, status.now_ms);
    let siblings = |one: &UpstreamView| {
        let provider = one.provider.clone();
        upstreams.iter().filter(move |other| other.provider == provider)
    };
    let plain = |one: &UpstreamView| {
        let alone = siblings(one).count() == 1;
        let told = one.warm.is_some() || one.load.is_some() || lately(one, now_ms).is_some();
        alone && one.standing == "in_service" && !told
    };
    if upstreams.iter().all(plain) {
        return String::new();
    }
    let shown = |one: &UpstreamView| format!("{} {}", one.provider, one.upstream);
    let width = upstreams.iter().map(|one| shown(one).len()).max().unwrap_or(8).max(8);
    let head = format!("{:<width$}  {:<10}  STATE", "UPSTREAM", "STANDING");
    let mut text = format!("\n{}\n", paint.tone(Tone::Strong, &head));
    for one in upstreams {
        let (word, tone) = match one.standing.as_str() {
            "in_service" if one.serving => ("in service".to_owned(), Tone::Good),
            "in_service" => ("stands by".to_owned(), Tone::Dim),
            other => (other.replace('_', " "), Tone::Bad),
        };
        let nobody = siblings(one).all(|other| other.standing != "in_service");
        let told = [told_aside(one, now_ms, nobody), upstream_state(one, now_ms)];
        let told: Vec<String> = told.into_iter().flatten().collect();
        let told = if told.is_empty() { "-".to_owned() } else { told.join("; ") };
        let _ = writeln!(text, "{:<width$}  {}  {told}", shown(one), paint.tone(tone, &format!("{word:<10}")));
    }
    text
}

/// What went wrong with a request, if it was not long ago.
fn lately(one: &UpstreamView, now_ms: u64) -> Option<&FaultView> {
    one.last_fault.as_ref().filter(|fault| now_ms.saturating_sub(fault.at_ms) <= LATELY_MS)
}

/// `for 2m 10s: 5 failures in a row, the last: answered 503; 4 tries in vain; asked again in 12s`.
fn told_aside(one: &UpstreamView, now_ms: u64, nobody: bool) -> Option<String> {
    let aside = one.aside.as_ref()?;
    let mut told = format!("for {}: {}", span(now_ms.saturating_sub(aside.since_ms)), reason(aside));
    if let Some(last) = &aside.last {
        let _ = write!(told, ", the last: {last}");
    }
    match aside.tries {
        0 => {}
        1 => told.push_str("; 1 try in vain"),
        tries => _ = write!(told, "; {tries} tries in vain"),
    }
    let verb = if aside.why == "unwell" { "looked at" } else { "asked" };
    match aside.again_ms {
        Some(at) if at > now_ms => _ = write!(told, "; {verb} again in {}", span((at - now_ms).max(1_000))),
        Some(_) if aside.why == "unwell" => told.push_str("; looked at again now"),
        Some(_) => told.push_str("; asked again with the next request"),
        None => told.push_str("; a request tries it now"),
    }
    if nobody {
        told.push_str("; asked meanwhile, as nobody of this provider is in service");
    }
    Some(told)
}

/// Why it is aside, with its number.
fn reason(aside: &AsideView) -> String {
    let (failures, of) = (aside.failures, aside.answers.unwrap_or(aside.failures));
    match aside.why.as_str() {
        "unreachable" => format!("{failures} connections in a row could not be had"),
        "failures_in_a_row" => format!("{failures} failures in a row"),
        "error_share" => format!("{failures} of {of} answers failed"),
        "answers_cut_short" if failures == 1 => "its answer was cut short".to_owned(),
        "answers_cut_short" => format!("{failures} answers in a row were cut short"),
        "more_errors_than_siblings" => format!("{failures} of {of} answers failed, more than its siblings'"),
        "slower_than_siblings" => match (aside.own_ms, aside.siblings_ms) {
            (Some(own_ms), Some(siblings_ms)) => {
                format!("{own_ms} ms to the first byte, and its siblings {siblings_ms} ms")
            }
            // of an earlier gateway
            (None, _) | (_, None) => "slower than its siblings".to_owned(),
        },
        "outrun_by_siblings" => format!("outrun {failures} times in a row by siblings that were asked later"),
        "silent_while_siblings_answer" => format!("{failures} sessions waited in vain while its siblings answered"),
        "unwell" => format!("{failures} looks at its health failed"),
        other => other.replace('_', " "),
    }
}

fn upstream_state(one: &UpstreamView, now_ms: u64) -> Option<String> {
    let mut parts = Vec::new();
    parts.extend(one.region.as_ref().map(|region| format!("in {region}")));
    parts.extend(one.head_ms.map(|ms| format!("answers in {ms:.0} ms")));
    parts.extend(one.distance_ms.map(|ms| format!("{ms:.1} ms away")));
    if one.answers > 0 {
        parts.push(format!("{} of {} lately failed", one.failures, one.answers));
    }
    if let Some(fault) = lately(one, now_ms).filter(|_| one.aside.is_none()) {
        parts.push(format!("{} {} ago", fault.what, span(now_ms.saturating_sub(fault.at_ms))));
    }
    parts.extend(one.warm.map(|warm| format!("{} of {} connections warm", warm.open, warm.wanted)));
    if let Some(load) = &one.load {
        parts.extend(load.trouble.as_ref().map(|why| format!("load unknown: {why}")));
        parts.extend(load.running.map(|running| format!("{running:.1} running")));
        parts.extend(load.waiting.map(|waiting| format!("{waiting:.1} waiting")));
        parts.extend(load.cache_used.map(|used| format!("cache {:.0} % used", 100.0 * used)));
    }
    (!parts.is_empty()).then(|| parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_795_000_000_000;

    fn upstream(port: u16) -> UpstreamView {
        UpstreamView {
            provider: "own".to_owned(),
            upstream: format!("10.1.0.5:{port}/v1"),
            region: None,
            standing: "in_service".to_owned(),
            serving: true,
            aside: None,
            last_fault: None,
            answers: 0,
            failures: 0,
            head_ms: None,
            distance_ms: None,
            warm: None,
            load: None,
        }
    }

    fn aside(port: u16, standing: &str, why: &str, again_ms: Option<u64>) -> UpstreamView {
        let last = Some("answered 503".to_owned());
        let aside = AsideView {
            why: why.to_owned(),
            since_ms: NOW_MS - 130_000,
            failures: 5,
            answers: None,
            own_ms: None,
            siblings_ms: None,
            last,
            tries: 4,
            again_ms,
        };
        UpstreamView { standing: standing.to_owned(), serving: false, aside: Some(aside), ..upstream(port) }
    }

    fn told(upstreams: Vec<UpstreamView>) -> String {
        let status = StatusView {
            version: String::new(),
            routes: Vec::new(),
            releases: Vec::new(),
            troubles: Vec::new(),
            now_ms: NOW_MS,
            upstreams,
            incidents: Vec::new(),
        };
        upstreams_text(&status, Paint::Plain)
    }

    #[test]
    fn one_line_says_why_since_when_and_when_again() {
        let put = aside(1, "put_aside", "failures_in_a_row", Some(NOW_MS + 12_000));
        let probed = aside(2, "probed", "unreachable", None);
        let mut due = aside(3, "put_aside", "slower_than_siblings", Some(NOW_MS - 5));
        let slow = due.aside.as_mut().unwrap();
        (slow.own_ms, slow.siblings_ms, slow.last) = (Some(1_240), Some(310), None);
        let unwell = aside(4, "unwell", "unwell", Some(NOW_MS + 2_100));
        let stands_by = UpstreamView { serving: false, region: Some("far".to_owned()), ..upstream(5) };
        let text = told(vec![put, probed, due, unwell, stands_by]);
        let lines: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                "own 10.1.0.5:1/v1  put aside   for 2m 10s: 5 failures in a row, the last: answered 503; 4 tries in vain; asked again in 12s",
                "own 10.1.0.5:2/v1  probed      for 2m 10s: 5 connections in a row could not be had, the last: answered 503; 4 tries in vain; a request tries it now",
                "own 10.1.0.5:3/v1  put aside   for 2m 10s: 1240 ms to the first byte, and its siblings 310 ms; 4 tries in vain; asked again with the next request",
                "own 10.1.0.5:4/v1  unwell      for 2m 10s: 5 looks at its health failed, the last: answered 503; 4 tries in vain; looked at again in 2s",
                "own 10.1.0.5:5/v1  stands by   in far",
            ]
        );
    }

    #[test]
    fn with_nobody_else_it_is_asked_all_the_same() {
        let text = told(vec![aside(1, "put_aside", "failures_in_a_row", Some(NOW_MS + 12_000))]);
        assert!(
            text.ends_with("asked again in 12s; asked meanwhile, as nobody of this provider is in service\n"),
            "{text}"
        );
    }

    #[test]
    fn an_only_address_is_shown_for_as_long_as_something_went_wrong() {
        assert_eq!(told(vec![upstream(1)]), "");
        let fault = |ago_ms| Some(FaultView { what: "connection refused".to_owned(), at_ms: NOW_MS - ago_ms });
        let failed = |ago_ms| UpstreamView { last_fault: fault(ago_ms), ..upstream(1) };
        assert!(told(vec![failed(3_000)]).ends_with("in service  connection refused 3s ago\n"));
        assert_eq!(told(vec![failed(LATELY_MS + 1)]), "");
    }
}
