//! The trace that a request is part of (W3C Trace Context, <https://www.w3.org/TR/trace-context/>). A client's
//! is gone on with: what it has decided of sampling holds. Without one, a share of the requests begins one.

use crate::headers::Headers;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::fmt;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const SAMPLED: u8 = 1;

/// A trace, and the span of ours in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trace {
    /// Of all that belongs together; never 0.
    pub(crate) id: TraceId,
    /// The client's span.
    pub(crate) parent: Option<SpanId>,
    /// Ours, where it is sampled.
    pub(crate) span: Option<SpanId>,
    /// As the client set them.
    flags: u8,
}

/// Shown as 32 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TraceId(pub(crate) u128);

/// Shown as 16 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SpanId(pub(crate) u64);

/// Which requests without a trace begin one: those whose random number lies below a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sampler {
    tells: Tells,
    below: u64,
}

/// Whether spans are told at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tells {
    Spans,
    Nothing,
}

impl Sampler {
    /// No spans at all; a client's trace is known all the same.
    pub(crate) const OFF: Self = Self { tells: Tells::Nothing, below: 0 };

    /// This share of the requests that come without a trace.
    pub(crate) fn new(share: f64) -> Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
        let below = (share.clamp(0.0, 1.0) * 2_f64.powi(64)) as u64;
        Self { tells: Tells::Spans, below }
    }
}

impl Trace {
    /// Of the request with these headers.
    pub(crate) fn of<'a>(headers: impl Into<Headers<'a>>, sampler: Sampler) -> Option<Self> {
        if let Some(found) = Self::parse(headers) {
            let ours = sampler.tells == Tells::Spans && found.flags & SAMPLED != 0;
            return Some(Self { span: ours.then(SpanId::new), ..found });
        }
        if sampler.below == 0 {
            return None;
        }
        let id: u128 = rand::random();
        let drawn = id as u64;
        // the largest share of all takes the last number too
        let sampled = drawn < sampler.below || sampler.below == u64::MAX;
        sampled.then(|| Self { id: TraceId(id.max(1)), parent: None, span: Some(SpanId::new()), flags: SAMPLED })
    }

    /// Whether somebody keeps it.
    pub(crate) fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Tells whoever is asked next that it is asked by our span. Where there is none, the client's headers stay
    /// as they are.
    pub(crate) fn put(&self, headers: &mut HeaderMap) {
        let Some(span) = self.span else { return };
        if self.parent.is_none() {
            // what belongs to no trace that we know
            headers.remove(TRACESTATE);
        }
        if let Ok(value) = HeaderValue::try_from(format!("00-{}-{span}-{:02x}", self.id, self.flags)) {
            headers.insert(TRACEPARENT, value);
        }
    }

    /// `00-{32 hex}-{16 hex}-{2 hex}`; a later version may have more behind it. Anything else is no trace.
    fn parse<'a>(headers: impl Into<Headers<'a>>) -> Option<Self> {
        let mut values = headers.into().get_all(TRACEPARENT);
        let value = values.next().filter(|_| values.next().is_none())?.as_bytes();
        let (head, rest) = value.split_at_checked(55)?;
        let version = u8::try_from(hex(&head[..2])?).ok()?;
        let ends = rest.is_empty() || version > 0 && rest[0] == b'-';
        if version == 0xff || !ends || [2, 35, 52].iter().any(|at| head[*at] != b'-') {
            return None;
        }
        let id = TraceId(hex(&head[3..35])?);
        let parent = SpanId(u64::try_from(hex(&head[36..52])?).ok()?);
        let flags = u8::try_from(hex(&head[53..55])?).ok()?;
        (id.0 != 0 && parent.0 != 0).then_some(Self { id, parent: Some(parent), span: None, flags })
    }
}

impl SpanId {
    fn new() -> Self {
        Self(rand::random::<u64>().max(1))
    }
}

/// Lower case only, as the recommendation has it.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0_u128, |sum, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(sum << 4 | u128::from(digit))
    })
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (TRACEPARENT, HeaderValue::from_str(value).unwrap())).collect()
    }

    const CLIENTS: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_clients_trace_is_gone_on_with() {
        let mut theirs = headers(&[CLIENTS]);
        theirs.insert(TRACESTATE, HeaderValue::from_static("a=1"));
        let trace = Trace::of(&theirs, Sampler::new(0.0)).unwrap();
        assert_eq!(trace.id.to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(trace.parent.unwrap().to_string(), "b7ad6b7169203331");
        trace.put(&mut theirs);
        let told = theirs[TRACEPARENT].to_str().unwrap();
        assert_eq!(told, format!("00-0af7651916cd43dd8448eb211c80319c-{}-01", trace.span.unwrap()));
        assert!(theirs.contains_key(TRACESTATE) && !told.contains("b7ad6b7169203331"));
    }

    #[test]
    fn what_is_not_sampled_or_not_told_passes_as_it_is() {
        let unsampled = CLIENTS.replace("-01", "-00");
        for (value, sampler) in [(unsampled.as_str(), Sampler::new(1.0)), (CLIENTS, Sampler::OFF)] {
            let mut theirs = headers(&[value]);
            let trace = Trace::of(&theirs, sampler).unwrap();
            trace.put(&mut theirs);
            assert_eq!((trace.span, theirs[TRACEPARENT].to_str().unwrap()), (None, value));
        }
    }

    #[test]
    fn what_is_malformed_is_no_trace() {
        let longer = format!("{CLIENTS}-more").replacen("00-", "cc-", 1);
        assert!(Trace::parse(&headers(&[&longer])).is_some(), "a later version may have more");
        for bad in [
            String::new(),
            CLIENTS[..54].to_owned(),
            format!("{CLIENTS}-more"),
            longer.replace("-more", ".more"),
            CLIENTS.replacen("00-", "ff-", 1),
            CLIENTS.to_uppercase(),
            CLIENTS.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            CLIENTS.replace("b7ad6b7169203331", &"0".repeat(16)),
            CLIENTS.replace("-b7", "_b7"),
        ] {
            assert_eq!(Trace::parse(&headers(&[&bad])), None, "{bad}");
        }
        assert_eq!(Trace::parse(&headers(&[CLIENTS, CLIENTS])), None, "two name none");
    }

    #[test]
    fn a_share_of_the_others_begins_one() {
        let none = HeaderMap::new();
        let count = |share| (0..4_000).filter(|_| Trace::of(&none, Sampler::new(share)).is_some()).count();
        assert_eq!((count(0.0), count(1.0)), (0, 4_000));
        // 8 standard deviations on either side
        assert!((750..1_250).contains(&count(0.25)));
        assert_eq!(Trace::of(&none, Sampler::OFF), None);
        let mut asked = HeaderMap::from_iter([(TRACESTATE, HeaderValue::from_static("a=1"))]);
        Trace::of(&none, Sampler::new(1.0)).unwrap().put(&mut asked);
        assert!(asked.contains_key(TRACEPARENT) && !asked.contains_key(TRACESTATE));
    }
}
