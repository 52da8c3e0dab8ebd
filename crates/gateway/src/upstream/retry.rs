//! When a failed attempt is repeated on the same version: only before anything was delivered, only
//! for failures of the connection and for statuses that mean "not now", and only a little.

use crate::config::RetryPolicy;
use crate::upstream::pool::Trouble;
use coalmine_core::time::UnixMs;
use http::{HeaderMap, StatusCode, header};
use std::time::{Duration, UNIX_EPOCH};

/// What an attempt came to, as far as repeating it is concerned.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Attempt<'a> {
    /// No answer.
    NoAnswer(Trouble),
    /// An answer's head.
    Answer(StatusCode, &'a HeaderMap),
}

/// Who the next attempt goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// An address in service that this request was not at.
    Another,
    /// One that it was at, for there is no other.
    Same,
}

/// How long to wait before the next attempt; `None`: there is none. `done` attempts were repeated
/// already; `jitter` is uniform in 0..1.
pub(crate) fn pause(
    policy: &RetryPolicy,
    done: u16,
    attempt: Attempt<'_>,
    next: Next,
    jitter: f64,
    now: impl FnOnce() -> UnixMs,
) -> Option<Duration> {
    if done >= policy.retries {
        return None;
    }
    let full = policy.pause.saturating_mul(1 << u32::from(done.min(10)));
    let drawn = full.mul_f64((0.5 + jitter / 2.0).clamp(0.5, 1.0));
    // whoever was told the same time does not come back at the same moment
    let spread = |wanted: Duration| (wanted <= policy.retry_after_max).then(|| wanted.saturating_add(drawn));
    match attempt {
        Attempt::NoAnswer(Trouble::Connect | Trouble::Broken) => Some(drawn),
        // what speaks no HTTP here may do so there
        Attempt::NoAnswer(Trouble::Malformed) => (next == Next::Another).then_some(drawn),
        Attempt::NoAnswer(Trouble::FirstByte) => None,
        Attempt::Answer(status, headers) => match (status.as_u16(), next) {
            // an address that is overloaded speaks for itself
            (502..=504, Next::Another) => Some(drawn),
            (502..=504, Next::Same) => retry_after(headers, now()).map_or(Some(drawn), spread),
            // and one that counts, for all of them: they know one key
            (429, Next::Another | Next::Same) => retry_after(headers, now()).and_then(spread),
            (_, Next::Another | Next::Same) => None,
        },
    }
}

/// `retry-after-ms`, or `retry-after` in seconds or as a date (RFC 9110, 10.2.3); a date that is over means at once.
pub(crate) fn retry_after(headers: &HeaderMap, now: UnixMs) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let seconds = |text: &str, a_second: f64| Duration::try_from_secs_f64(text.parse::<f64>().ok()? / a_second).ok();
    let in_ms = text("retry-after-ms").and_then(|text| seconds(text, 1_000.0));
    in_ms.or_else(|| {
        let text = text(header::RETRY_AFTER.as_str())?;
        seconds(text, 1.0).or_else(|| {
            let at = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
            Some(at.saturating_sub(Duration::from_millis(now.0)))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wed, 21 Oct 2026 07:28:00 GMT.
    const NOW: UnixMs = UnixMs(1_792_567_680_000);

    fn answer_before(next: Next, status: u16, retry_after: Option<&str>) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        if let Some(value) = retry_after {
            headers.insert(header::RETRY_AFTER, value.parse().unwrap());
        }
        let status = StatusCode::from_u16(status).unwrap();
        pause(&RetryPolicy::default(), 0, Attempt::Answer(status, &headers), next, 0.0, || NOW)
    }

    fn answer(status: u16, retry_after: Option<&str>) -> Option<Duration> {
        answer_before(Next::Same, status, retry_after)
    }

    #[test]
    fn repeats_what_means_not_now_and_nothing_else() {
        let half = Some(Duration::from_millis(50));
        assert_eq!([502, 503, 504].map(|status| answer(status, None)), [half; 3]);
        assert_eq!([200, 400, 401, 404, 500, 529].map(|status| answer(status, None)), [None; 6]);
        assert_eq!(answer(503, Some("30")), None, "a long wait is the client's to wait");
    }

    #[test]
    fn what_is_no_http_is_asked_for_elsewhere() {
        let came =
            |trouble, next| pause(&RetryPolicy::default(), 0, Attempt::NoAnswer(trouble), next, 0.0, || NOW).is_some();
        assert_eq!([Next::Another, Next::Same].map(|next| came(Trouble::Malformed, next)), [true, false]);
        assert_eq!([Next::Another, Next::Same].map(|next| came(Trouble::FirstByte, next)), [false; 2]);
    }

    #[test]
    fn a_429_is_repeated_only_when_it_says_soon() {
        assert_eq!(answer(429, None), None);
        assert_eq!(answer(429, Some("1")), Some(Duration::from_millis(1_050)), "and a pause that is drawn");
        assert_eq!(answer(429, Some("20")), None);
        assert_eq!(answer(429, Some("-1")), None);
        let soon = Some(Duration::from_millis(1_050));
        assert_eq!(answer(429, Some("Wed, 21 Oct 2026 07:28:01 GMT")), soon);
        assert_eq!(answer(429, Some("Wednesday, 21-Oct-26 07:28:01 GMT")), soon);
        let drawn = Some(Duration::from_millis(50));
        assert_eq!(answer(429, Some("Wed, 21 Oct 2026 07:28:00 GMT")), drawn, "it is time already");
        assert_eq!(answer(429, Some("Wed, 21 Oct 2026 07:29:00 GMT")), None, "too long");
        assert_eq!(answer(429, Some("soon")), None);
        assert_eq!(answer(429, Some("NaN")), None);
    }

    #[test]
    fn an_overloaded_address_speaks_for_itself_and_a_limit_for_all() {
        let elsewhere = |status, after| answer_before(Next::Another, status, after);
        assert_eq!([502, 503, 504].map(|status| elsewhere(status, Some("30"))), [Some(Duration::from_millis(50)); 3]);
        assert_eq!(elsewhere(429, Some("30")), None);
        assert_eq!(elsewhere(429, Some("1")), Some(Duration::from_millis(1_050)));
        assert_eq!([500, 529].map(|status| elsewhere(status, None)), [None; 2]);
    }

    #[test]
    fn those_who_were_told_the_same_time_come_back_at_different_ones() {
        let headers = HeaderMap::from_iter([(header::RETRY_AFTER, "1".parse().unwrap())]);
        let drawn = |status, jitter| {
            let attempt = Attempt::Answer(StatusCode::from_u16(status).unwrap(), &headers);
            pause(&RetryPolicy::default(), 0, attempt, Next::Same, jitter, || NOW).unwrap()
        };
        for status in [429, 503] {
            assert!(drawn(status, 0.0) >= Duration::from_secs(1), "never before it");
            assert!(drawn(status, 0.9) > drawn(status, 0.1));
        }
    }

    #[test]
    fn milliseconds_are_finer_than_seconds() {
        let headers = |ms: &str| {
            HeaderMap::from_iter([
                (header::RETRY_AFTER, "1".parse().unwrap()),
                (http::HeaderName::from_static("retry-after-ms"), ms.parse().unwrap()),
            ])
        };
        assert_eq!(retry_after(&headers("250"), NOW), Some(Duration::from_millis(250)));
        assert_eq!(retry_after(&headers("-3"), NOW), Some(Duration::from_secs(1)), "what cannot be is left out");
    }

    #[test]
    fn repeats_once_by_default() {
        let again =
            |done| pause(&RetryPolicy::default(), done, Attempt::NoAnswer(Trouble::Connect), Next::Same, 1.0, || NOW);
        assert_eq!(again(0), Some(Duration::from_millis(100)));
        assert_eq!(again(1), None);
    }
}
