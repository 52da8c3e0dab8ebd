//! What the gateway itself has to say, in OpenAI's wire format, so that every SDK raises its own error.

use crate::anthropic;
use crate::dialect::Dialect;
use crate::json;

/// What went wrong, as a status code, a type and a code that SDKs and people know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// 400: the request cannot be read.
    BadRequest,
    /// 401: no key, or an unknown one.
    BadKey,
    /// 403: the key may not ask for this.
    Forbidden,
    /// 404: no route of this name, and no default.
    NoRoute,
    /// 405: nothing is asked by this method.
    BadMethod,
    /// 408: the body did not come in time.
    LateBody,
    /// 413: the body is longer than the gateway takes.
    TooLarge,
    /// 415: the body is packed.
    PackedBody,
    /// 429: this gateway's own limit.
    RateLimited,
    /// 429: the money of this day or month is spent; it does not help to try again soon.
    QuotaSpent,
    /// 500: a fault of the gateway.
    Internal,
    /// 502: the provider cannot be reached, or broke off.
    BadUpstream,
    /// 503: the gateway, or all upstreams, take no more.
    Overloaded,
    /// 504: the provider did not answer in time.
    UpstreamTimeout,
}

impl Problem {
    /// The HTTP status code.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::BadKey => 401,
            Self::Forbidden => 403,
            Self::NoRoute => 404,
            Self::BadMethod => 405,
            Self::LateBody => 408,
            Self::TooLarge => 413,
            Self::PackedBody => 415,
            Self::RateLimited | Self::QuotaSpent => 429,
            Self::Internal => 500,
            Self::BadUpstream => 502,
            Self::Overloaded => 503,
            Self::UpstreamTimeout => 504,
        }
    }

    /// `type` and `code` of the error.
    #[must_use]
    pub fn names(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::BadRequest => ("invalid_request_error", None),
            Self::BadKey => ("invalid_request_error", Some("invalid_api_key")),
            Self::Forbidden => ("permission_error", Some("key_not_allowed")),
            Self::NoRoute => ("invalid_request_error", Some("model_not_found")),
            Self::BadMethod => ("invalid_request_error", Some("method_not_allowed")),
            Self::LateBody => ("invalid_request_error", Some("request_timeout")),
            Self::PackedBody => ("invalid_request_error", Some("unsupported_media_type")),
            Self::TooLarge => ("invalid_request_error", Some("request_too_large")),
            Self::RateLimited => ("rate_limit_error", Some("rate_limit_exceeded")),
            Self::QuotaSpent => ("insufficient_quota", Some("insufficient_quota")),
            Self::Internal => ("server_error", None),
            Self::BadUpstream => ("server_error", Some("bad_gateway")),
            Self::Overloaded => ("server_error", Some("overloaded")),
            Self::UpstreamTimeout => ("server_error", Some("upstream_timeout")),
        }
    }
}

/// The body of an error answer. `param` names the member of the request that is at fault.
#[must_use]
pub fn body(problem: Problem, message: &str, param: Option<&str>) -> Vec<u8> {
    let (kind, code) = problem.names();
    let mut out = Vec::with_capacity(message.len() + 128);
    out.extend_from_slice(br#"{"error":{"message":"#);
    json::quote(message, &mut out);
    for (name, value) in [("type", Some(kind)), ("param", param), ("code", code)] {
        out.push(b',');
        json::quote(name, &mut out);
        out.push(b':');
        match value {
            Some(value) => json::quote(value, &mut out),
            None => out.extend_from_slice(b"null"),
        }
    }
    out.extend_from_slice(b"}}");
    out
}

/// The same inside a stream that has begun: one event. No `[DONE]` follows it.
#[must_use]
pub fn event(problem: Problem, message: &str) -> Vec<u8> {
    [b"data: ", &body(problem, message, None)[..], b"\n\n"].concat()
}

/// The same in the words of whoever asked in this dialect. Events of responses are numbered: this is the one of that `number`.
#[must_use]
pub fn event_of(dialect: Dialect, problem: Problem, message: &str, number: u64) -> Vec<u8> {
    match dialect {
        Dialect::Messages => anthropic::errors::event(problem, message),
        Dialect::Responses => response_event(problem, message, number),
        Dialect::Chat | Dialect::Embeddings | Dialect::Completions | Dialect::Realtime => event(problem, message),
    }
}

/// Twice what it says: its members as the reference has them, and `error` as OpenAI sends it, which makes its SDKs raise.
fn response_event(problem: Problem, message: &str, number: u64) -> Vec<u8> {
    let mut out = b"event: error\ndata: {\"type\":\"error\",\"sequence_number\":".to_vec();
    out.extend_from_slice(number.to_string().as_bytes());
    out.extend_from_slice(b",\"code\":");
    json::quote(problem.names().1.unwrap_or(problem.names().0), &mut out);
    out.extend_from_slice(b",\"message\":");
    json::quote(message, &mut out);
    out.extend_from_slice(b",\"param\":null,");
    // the rest is the member `error` and the end of the object around it
    out.extend_from_slice(&body(problem, message, None)[1..]);
    out.extend_from_slice(b"\n\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_the_four_members_that_sdks_read() {
        let body = String::from_utf8(body(Problem::NoRoute, "no route 'a\"b'", Some("model"))).unwrap();
        insta::assert_snapshot!(body, @r#"{"error":{"message":"no route 'a\"b'","type":"invalid_request_error","param":"model","code":"model_not_found"}}"#);
        assert_eq!(Problem::NoRoute.status(), 404);
    }

    #[test]
    fn an_error_in_a_stream_is_one_event() {
        let event = String::from_utf8(event(Problem::BadUpstream, "gone\nfor good")).unwrap();
        insta::assert_snapshot!(event, @r#"data: {"error":{"message":"gone\nfor good","type":"server_error","param":null,"code":"bad_gateway"}}"#);
        assert!(event.ends_with("}}\n\n") && event.lines().count() == 2);
    }

    #[test]
    fn an_error_in_a_stream_is_told_in_the_words_of_whoever_asked() {
        let told = |dialect| String::from_utf8(event_of(dialect, Problem::UpstreamTimeout, "stuck", 7)).unwrap();
        insta::assert_snapshot!(told(Dialect::Responses), @r#"
        event: error
        data: {"type":"error","sequence_number":7,"code":"upstream_timeout","message":"stuck","param":null,"error":{"message":"stuck","type":"server_error","param":null,"code":"upstream_timeout"}}
        "#);
        assert_eq!(told(Dialect::Chat).into_bytes(), event(Problem::UpstreamTimeout, "stuck"));
        assert!(told(Dialect::Messages).starts_with("event: error\ndata: {\"type\":\"error\",\"error\":"));
    }
}
