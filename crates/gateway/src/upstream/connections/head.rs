//! The head of an answer of HTTP/1.1 (RFC 9112, sections 2 to 6).

use super::rest::Rest;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use httparse::{ParserConfig, Status};
use std::mem::MaybeUninit;

/// The most fields.
const FIELDS_MAX: usize = 256;

/// An answer's head.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// What comes behind it.
    pub(super) rest: Rest,
    pub(super) then: Then,
}

/// What becomes of the connection when the answer is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Kept,
    Closed,
}

/// What an answer's head is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoHead {
    #[error("it is no answer of HTTP/1.1: {0}")]
    Syntax(httparse::Error),
    #[error("it has a header that is none")]
    Field,
    #[error("its `content-length` is no number, or there are several")]
    Length,
    #[error("its head is longer than {} KiB", super::HEAD_BYTES_MAX >> 10)]
    Long,
}

/// Reads the head of an answer to such a request, if all of it has come, and how long it is.
pub(super) fn read(came: &[u8], asked: &Method) -> Result<Option<(Head, usize)>, NoHead> {
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut told = httparse::Response::new(&mut []);
    let parsed = ParserConfig::default().parse_response_with_uninit_headers(&mut told, came, &mut fields);
    let length = match parsed.map_err(NoHead::Syntax)? {
        Status::Complete(length) => length,
        Status::Partial => return Ok(None),
    };
    let status = told.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or(NoHead::Syntax(httparse::Error::Status))?;
    let headers = headers(&came[..length], told.headers)?;
    let (rest, framed) = rest(status, &headers, asked)?;
    let then = if framed == Then::Kept { then(told.version, &headers) } else { Then::Closed };
    Ok(Some((Head { status, headers, rest, then }, length)))
}

/// So many of the gateway's own are put to those that came: there is room for them from the start.
const ROOM_FOR_OWN: usize = 6;

/// All values lie in one piece of memory.
fn headers(head: &[u8], fields: &[httparse::Header<'_>]) -> Result<HeaderMap, NoHead> {
    let whole = Bytes::copy_from_slice(head);
    let mut headers = HeaderMap::with_capacity(fields.len() + ROOM_FOR_OWN);
    for field in fields {
        let name = name(field.name.as_bytes())?;
        let from = field.value.as_ptr() as usize - head.as_ptr() as usize;
        let value = match field.value.len() {
            0 => Bytes::new(),
            long => whole.slice(from..from + long),
        };
        headers.append(name, HeaderValue::from_maybe_shared(value).map_err(|_| NoHead::Field)?);
    }
    Ok(headers)
}

/// Those that nearly every answer has are known by sight, which costs a fraction of reading them.
fn name(told: &[u8]) -> Result<HeaderName, NoHead> {
    Ok(match told {
        b"content-type" | b"Content-Type" => header::CONTENT_TYPE,
        b"content-length" | b"Content-Length" => header::CONTENT_LENGTH,
        b"transfer-encoding" | b"Transfer-Encoding" => header::TRANSFER_ENCODING,
        b"connection" | b"Connection" => header::CONNECTION,
        b"date" | b"Date" => header::DATE,
        b"server" | b"Server" => header::SERVER,
        other => return HeaderName::from_bytes(other).map_err(|_| NoHead::Field),
    })
}

/// What comes behind the head, and whether it may be trusted to end there.
fn rest(status: StatusCode, headers: &HeaderMap, asked: &Method) -> Result<(Rest, Then), NoHead> {
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Ok((Rest::NOTHING, Then::Closed));
    }
    let bare = status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if bare || asked == Method::HEAD {
        return Ok((Rest::NOTHING, Then::Kept));
    }
    if let Some(coding) = headers.get_all(header::TRANSFER_ENCODING).iter().next_back() {
        let last = coding.as_bytes().rsplit(|byte| *byte == b',').next().unwrap_or_default();
        // where a length is told too, somebody between may take that one
        let two = headers.contains_key(header::CONTENT_LENGTH);
        let then = if two { Then::Closed } else { Then::Kept };
        let chunked = last.trim_ascii().eq_ignore_ascii_case(b"chunked");
        return Ok(if chunked { (Rest::CHUNKS, then) } else { (Rest::UntilClosed, Then::Closed) });
    }
    let mut length = None;
    for value in headers.get_all(header::CONTENT_LENGTH) {
        for one in value.as_bytes().split(|byte| *byte == b',') {
            let one = number(one.trim_ascii()).ok_or(NoHead::Length)?;
            if length.replace(one).is_some_and(|other| other != one) {
                return Err(NoHead::Length);
            }
        }
    }
    Ok(length.map_or((Rest::UntilClosed, Then::Closed), |length| (Rest::Sized(length), Then::Kept)))
}

/// Digits alone.
fn number(digits: &[u8]) -> Option<u64> {
    let all = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    all.then(|| std::str::from_utf8(digits).ok()?.parse().ok()).flatten()
}

fn then(version: Option<u8>, headers: &HeaderMap) -> Then {
    let says = |word: &str| {
        let told = headers.get_all(header::CONNECTION).iter();
        told.flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .any(|one| one.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
    };
    let kept = if version == Some(1) { !says("close") } else { says("keep-alive") && !says("close") };
    if kept { Then::Kept } else { Then::Closed }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head(said: &str) -> Result<(Rest, Then), NoHead> {
        let (head, length) = read(said.as_bytes(), &Method::POST)?.expect("it is whole");
        assert_eq!(length, said.len());
        Ok((head.rest, head.then))
    }

    fn of(fields: &str) -> Result<(Rest, Then), NoHead> {
        head(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"))
    }

    #[test]
    fn says_where_the_answer_ends() {
        assert_eq!(of("content-length: 5\r\n"), Ok((Rest::Sized(5), Then::Kept)));
        assert_eq!(of("Content-Length: 5\r\ncontent-length: 5, 5\r\n"), Ok((Rest::Sized(5), Then::Kept)));
        assert_eq!(of("transfer-encoding: Chunked\r\n"), Ok((Rest::CHUNKS, Then::Kept)));
        assert_eq!(of("transfer-encoding: gzip, chunked\r\n"), Ok((Rest::CHUNKS, Then::Kept)));
        assert_eq!(of("transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n"), Ok((Rest::CHUNKS, Then::Kept)));
        assert_eq!(of("transfer-encoding: chunked, gzip\r\n"), Ok((Rest::UntilClosed, Then::Closed)));
        assert_eq!(of(""), Ok((Rest::UntilClosed, Then::Closed)));
        assert_eq!(head("HTTP/1.1 204 No Content\r\n\r\n"), Ok((Rest::NOTHING, Then::Kept)));
        assert_eq!(head("HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n"), Ok((Rest::NOTHING, Then::Kept)));
        let (found, _) = read(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", &Method::HEAD).unwrap().unwrap();
        assert_eq!(found.rest, Rest::NOTHING);
    }

    #[test]
    fn t08_two_lengths_are_not_taken_for_one() {
        assert_eq!(of("content-length: 5\r\ntransfer-encoding: chunked\r\n"), Ok((Rest::CHUNKS, Then::Closed)));
        for lengths in ["5\r\ncontent-length: 6", "5, 6", "-5", "+5", "0x5", "5 5", "", "18446744073709551616"] {
            assert_eq!(of(&format!("content-length: {lengths}\r\n")), Err(NoHead::Length), "{lengths}");
        }
    }

    #[test]
    fn says_whether_the_connection_goes_on() {
        let then = |said: &str| head(said).unwrap().1;
        assert_eq!(then("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: x, Close\r\n\r\n"), Then::Closed);
        assert_eq!(then("HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n"), Then::Closed);
        assert_eq!(then("HTTP/1.0 200 OK\r\ncontent-length: 0\r\nconnection: keep-alive\r\n\r\n"), Then::Kept);
    }

    #[test]
    fn values_are_as_they_came() {
        let said = b"HTTP/1.1 529 \r\nx-a:  one two \r\nx-empty:\r\nX-A: \xe9\r\n\r\nbody";
        let (head, length) = read(said, &Method::POST).unwrap().unwrap();
        assert_eq!((head.status.as_u16(), length), (529, said.len() - 4));
        let values: Vec<_> = head.headers.get_all("x-a").iter().map(HeaderValue::as_bytes).collect();
        assert_eq!(values, [&b"one two"[..], b"\xe9"]);
        assert_eq!(head.headers["x-empty"], "");
    }

    #[test]
    fn what_is_no_head_is_refused() {
        for said in [
            "no HTTP\r\n\r\n",
            "HTTP/2 200\r\n\r\n",
            "HTTP/1.1 99 x\r\n\r\n",
            "HTTP/1.1 200 OK\r\na b: c\r\n\r\n",
            "HTTP/1.1 200 OK\r\n: c\r\n\r\n",
            "HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n",
        ] {
            assert!(read(said.as_bytes(), &Method::GET).is_err(), "{said:?}");
        }
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(FIELDS_MAX + 1));
        assert_eq!(read(many.as_bytes(), &Method::GET).unwrap_err(), NoHead::Syntax(httparse::Error::TooManyHeaders));
    }

    proptest! {
        #[test]
        fn a_part_of_a_head_is_none_yet(cut in 0_usize..82) {
            let said = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
            prop_assert!(read(&said[..cut.min(said.len() - 1)], &Method::POST).unwrap().is_none());
        }

        #[test]
        fn any_bytes_are_borne(came in prop::collection::vec(any::<u8>(), 0..300), tail in "HTTP/1.1 200 OK\r\n[a-z:\r\n0-9 ,-]{0,80}") {
            let _ = read(&came, &Method::GET);
            if let Ok(Some((_, length))) = read(tail.as_bytes(), &Method::GET) {
                prop_assert!(length <= tail.len());
            }
        }
    }
}
