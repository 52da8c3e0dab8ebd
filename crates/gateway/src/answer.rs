//! What the gateway answers with: a body of its own, one that it relays, or one of its neighbour on
//! the same listener; and its own errors in the wire format of the caller.

use crate::passthrough::PassedBody;
use crate::phase::relay::Relay;
use bytes::Bytes;
use coalmine_wire::anthropic;
use coalmine_wire::dialect::{Dialect, Family};
use coalmine_wire::openai::errors::{self, Problem};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Any error of a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of an answer.
#[derive(Debug)]
pub enum AnswerBody {
    /// Whole, from the gateway itself.
    Whole(Option<Bytes>),
    /// Passed through unobserved.
    Passed(Box<PassedBody>),
    /// Relayed and observed.
    Relay(Box<Relay>),
    /// From whatever else lives on the listener.
    Side(UnsyncBoxBody<Bytes, BoxError>),
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Passed(passed) => passed.poll_data(cx).map(|data| data.map(|data| data.map(Frame::data))),
            Self::Relay(relay) => relay.poll_data(cx).map(|data| data.map(|data| data.map(Frame::data))),
            Self::Side(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Passed(passed) => passed.is_over(),
            Self::Relay(relay) => relay.is_over(),
            Self::Side(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Passed(passed) => passed.size_hint(),
            Self::Relay(relay) => relay.size_hint(),
            Self::Side(body) => body.size_hint(),
        }
    }
}

/// Why the gateway itself does not serve a request. Told in the wire format of the caller.
#[derive(Debug)]
pub(crate) struct Refusal {
    problem: Problem,
    message: String,
    param: Option<&'static str>,
    retry_after_s: Option<u32>,
    headers: Option<Box<HeaderMap>>,
}

impl Refusal {
    pub(crate) fn new(problem: Problem, message: impl Into<String>) -> Self {
        Self { problem, message: message.into(), param: None, retry_after_s: None, headers: None }
    }

    pub(crate) fn about(mut self, param: &'static str) -> Self {
        self.param = Some(param);
        self
    }

    pub(crate) fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// In words.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// What else its answer says.
    pub(crate) fn headers(&mut self) -> &mut HeaderMap {
        self.headers.get_or_insert_default()
    }

    /// Its status, and its words in the dialect of the caller.
    pub(crate) fn told(&self, dialect: Dialect) -> (u16, Vec<u8>) {
        match dialect.family() {
            Family::OpenAi => (self.problem.status(), errors::body(self.problem, &self.message, self.param)),
            Family::Anthropic => {
                (anthropic::errors::status(self.problem), anthropic::errors::body(self.problem, &self.message))
            }
        }
    }

    /// In the dialect of the caller.
    pub(crate) fn into_response(self, dialect: Dialect) -> Response<AnswerBody> {
        let (status, body) = self.told(dialect);
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = json(status, body);
        if let Some(headers) = self.headers {
            response.headers_mut().extend(*headers);
        }
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// A JSON answer of the gateway itself.
pub(crate) fn json(status: StatusCode, body: impl Into<Bytes>) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::Whole(Some(body.into())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
