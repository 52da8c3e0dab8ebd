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

/// How long to wait before the next attempt; `None`: there is none. `done` attempts were repeated
/// already; `jitter` is uniform in 0..1.
pub(crate) fn pause(
    policy: &RetryPolicy,
    done: u16,
    attempt: Attempt<'_>,
    jitter: f64,
    now: impl FnOnce() -> UnixMs,
) -> Option<Duration> {
    if done >= policy.retries {
        return None;
    }
    let full = policy.pause.saturating_mul(1 << u32::from(done.min(10)));
    let drawn = full.mul_f64((0.5 + jitter / 2.0).clamp(0.5, 1.0));
    match attempt {
        Attempt::NoAnswer(Trouble::Connect | Trouble::Broken) => Some(drawn),
        Attempt::NoAnswer(Trouble::Malformed | Trouble::FirstByte) => None,
        Attempt::Answer(status, headers) => match status.as_u16() {
            502..=504 => Some(retry_after(headers, now()).map_or(drawn, |wanted| wanted.max(drawn)))
                .filter(|pause| *pause <= policy.retry_after_max.max(drawn)),
            429 => retry_after(headers, now()).filter(|wanted| *wanted <= policy.retry_after_max),
            _ => None,
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

    fn answer(status: u16, retry_after: Option<&str>) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        if let Some(value) = retry_after {
            headers.insert(header::RETRY_AFTER, value.parse().unwrap());
        }
        let status = StatusCode::from_u16(status).unwrap();
        pause(&RetryPolicy::default(), 0, Attempt::Answer(status, &headers), 0.0, || NOW)
    }

    #[test]
    fn repeats_what_means_not_now_and_nothing_else() {
        let half = Some(Duration::from_millis(50));
        assert_eq!([502, 503, 504].map(|status| answer(status, None)), [half; 3]);
        assert_eq!([200, 400, 401, 404, 500, 529].map(|status| answer(status, None)), [None; 6]);
        assert_eq!(answer(503, Some("30")), None, "a long wait is the client's to wait");
    }

    #[test]
    fn a_429_is_repeated_only_when_it_says_soon() {
        assert_eq!(answer(429, None), None);
        assert_eq!(answer(429, Some("1")), Some(Duration::from_secs(1)));
        assert_eq!(answer(429, Some("20")), None);
        assert_eq!(answer(429, Some("-1")), None);
        assert_eq!(answer(429, Some("Wed, 21 Oct 2026 07:28:01 GMT")), Some(Duration::from_secs(1)));
        assert_eq!(answer(429, Some("Wednesday, 21-Oct-26 07:28:01 GMT")), Some(Duration::from_secs(1)));
        assert_eq!(answer(429, Some("Wed, 21 Oct 2026 07:28:00 GMT")), Some(Duration::ZERO), "it is time already");
        assert_eq!(answer(429, Some("Wed, 21 Oct 2026 07:29:00 GMT")), None, "too long");
        assert_eq!(answer(429, Some("soon")), None);
        assert_eq!(answer(429, Some("NaN")), None);
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
        let again = |done| pause(&RetryPolicy::default(), done, Attempt::NoAnswer(Trouble::Connect), 1.0, || NOW);
        assert_eq!(again(0), Some(Duration::from_millis(100)));
        assert_eq!(again(1), None);
    }
}
