//! What the gateway itself has to say, in Anthropic's wire format.

use crate::json;
use crate::openai::errors::Problem;

/// The HTTP status code: as for chat completions, but that an overload has a number of its own.
#[must_use]
pub fn status(problem: Problem) -> u16 {
    if problem == Problem::Overloaded { 529 } else { problem.status() }
}

/// `error.type`
#[must_use]
pub fn kind(problem: Problem) -> &'static str {
    match problem {
        Problem::BadRequest | Problem::BadMethod | Problem::PackedBody => "invalid_request_error",
        Problem::BadKey => "authentication_error",
        Problem::Forbidden => "permission_error",
        Problem::NoRoute => "not_found_error",
        Problem::TooLarge => "request_too_large",
        Problem::RateLimited | Problem::QuotaSpent => "rate_limit_error",
        Problem::Internal | Problem::BadUpstream => "api_error",
        Problem::Overloaded => "overloaded_error",
        Problem::LateBody | Problem::UpstreamTimeout => "timeout_error",
    }
}

/// The body of an error answer.
#[must_use]
pub fn body(problem: Problem, message: &str) -> Vec<u8> {
    written(kind(problem), message)
}

/// The same inside a stream that has begun: one event, which ends it.
#[must_use]
pub fn event(problem: Problem, message: &str) -> Vec<u8> {
    [b"event: error\ndata: ", &body(problem, message)[..], b"\n\n"].concat()
}

pub(crate) fn written(kind: &str, message: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + 64);
    out.extend_from_slice(br#"{"type":"error","error":{"type":"#);
    json::quote(kind, &mut out);
    out.extend_from_slice(br#","message":"#);
    json::quote(message, &mut out);
    out.extend_from_slice(b"}}");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_the_members_that_sdks_read() {
        let body = String::from_utf8(body(Problem::TooLarge, "a \"long\" one")).unwrap();
        insta::assert_snapshot!(body, @r#"{"type":"error","error":{"type":"request_too_large","message":"a \"long\" one"}}"#);
        assert_eq!((status(Problem::TooLarge), status(Problem::Overloaded)), (413, 529));
    }

    #[test]
    fn an_error_in_a_stream_is_one_event_with_its_name() {
        let event = String::from_utf8(event(Problem::BadUpstream, "gone\nfor good")).unwrap();
        insta::assert_snapshot!(event.trim_end(), @r#"
        event: error
        data: {"type":"error","error":{"type":"api_error","message":"gone\nfor good"}}
        "#);
        assert!(event.ends_with("}}\n\n") && event.lines().count() == 3);
    }
}
