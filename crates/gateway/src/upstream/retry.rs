//! When a failed attempt is repeated on the same version: only before anything was delivered, only
//! for failures of the connection and for statuses that mean "not now", and only a little.

use crate::config::RetryPolicy;
use crate::upstream::pool::Trouble;
use http::{HeaderMap, StatusCode, header};
use std::time::Duration;

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
pub(crate) fn pause(policy: &RetryPolicy, done: u16, attempt: Attempt<'_>, jitter: f64) -> Option<Duration> {
    if done >= policy.retries {
        return None;
    }
    let full = policy.pause.saturating_mul(1 << u32::from(done.min(10)));
    let drawn = full.mul_f64((0.5 + jitter / 2.0).clamp(0.5, 1.0));
    match attempt {
        Attempt::NoAnswer(Trouble::Connect | Trouble::Broken) => Some(drawn),
        Attempt::NoAnswer(Trouble::Malformed | Trouble::FirstByte) => None,
        Attempt::Answer(status, headers) => match status.as_u16() {
            502..=504 => Some(retry_after(headers).map_or(drawn, |wanted| wanted.max(drawn)))
                .filter(|pause| *pause <= policy.retry_after_max.max(drawn)),
            429 => retry_after(headers).filter(|wanted| *wanted <= policy.retry_after_max),
            _ => None,
        },
    }
}

/// `retry-after-ms`, or `retry-after` in seconds; a date is as good as none.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    let seconds = number("retry-after-ms").map(|ms| ms / 1_000.0).or_else(|| number(header::RETRY_AFTER.as_str()))?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, retry_after: Option<&str>) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        if let Some(value) = retry_after {
            headers.insert(header::RETRY_AFTER, value.parse().unwrap());
        }
        let status = StatusCode::from_u16(status).unwrap();
        pause(&RetryPolicy::default(), 0, Attempt::Answer(status, &headers), 0.0)
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
        assert_eq!(answer(429, Some("Wed, 21 Oct 2026 07:28:00 GMT")), None);
    }

    #[test]
    fn repeats_once_by_default() {
        let again = |done| pause(&RetryPolicy::default(), done, Attempt::NoAnswer(Trouble::Connect), 1.0);
        assert_eq!(again(0), Some(Duration::from_millis(100)));
        assert_eq!(again(1), None);
    }
}
