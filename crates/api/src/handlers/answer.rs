//! Failures as problem documents.

use crate::types::Problem;
use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::response::{IntoResponse, Response};
use coalmine_control::ControlError;
use coalmine_core::key::KeyRefused;
use http::StatusCode;
use std::error::Error;
use std::io::{self, ErrorKind};

/// A failing answer.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    problem: Problem,
}

impl Refusal {
    /// One with a stable word and a sentence.
    pub fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        let problem = Problem { code: code.to_owned(), message: message.into(), details: Vec::new() };
        Self { status, problem }
    }

    /// Its status.
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// What it says.
    pub(crate) fn message(&self) -> &str {
        &self.problem.message
    }

    /// The same with everything that is wrong.
    #[must_use]
    pub fn with_details(mut self, details: Vec<String>) -> Self {
        self.problem.details = details;
        self
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(self.problem)).into_response()
    }
}

impl From<ControlError> for Refusal {
    fn from(error: ControlError) -> Self {
        let (status, code) = match &error {
            ControlError::UnknownRelease(_)
            | ControlError::UnknownRoute(_)
            | ControlError::UnknownKey(_)
            | ControlError::UnknownIncident(_)
            | ControlError::UnknownCapture(_) => (StatusCode::NOT_FOUND, "not_found"),
            ControlError::MayNotRead(_) => (StatusCode::FORBIDDEN, "forbidden"),
            ControlError::Conflict { .. }
            | ControlError::RouteBusy { .. }
            | ControlError::KeyTaken(_)
            | ControlError::KeyChanged(_)
            | ControlError::IncidentChanged(_) => (StatusCode::CONFLICT, "conflict"),
            ControlError::KeyRefused(KeyRefused::Closed { .. }) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid"),
            ControlError::Refused(_)
            | ControlError::KeyRefused(_)
            | ControlError::NotTaken(_)
            | ControlError::NoCapture
            | ControlError::Sealed(_) => (StatusCode::CONFLICT, "refused"),
            ControlError::NotReady { .. } => (StatusCode::CONFLICT, "not_ready"),
            ControlError::SameVersion { .. } | ControlError::BadRelease(_) | ControlError::BadLabel(_) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "invalid")
            }
            ControlError::TooLittle(_) => (StatusCode::UNPROCESSABLE_ENTITY, "too_little"),
            ControlError::StoreSilent(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            ControlError::Store(_) | ControlError::Ceiling(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        if status.is_server_error() {
            tracing::error!(error = %chain(&error), "the management API could not do what was asked");
        }
        Self::new(status, code, chain(&error))
    }
}

impl From<JsonRejection> for Refusal {
    fn from(rejection: JsonRejection) -> Self {
        let (status, code) = match unread(&rejection) {
            Some(ErrorKind::TimedOut) => (StatusCode::REQUEST_TIMEOUT, "late"),
            Some(ErrorKind::ConnectionAborted) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            Some(_) | None => (rejection.status(), "invalid"),
        };
        Self::new(status, code, rejection.body_text())
    }
}

/// How whoever listens says that no more of a body is waited for.
fn unread(rejection: &JsonRejection) -> Option<ErrorKind> {
    let chain = std::iter::successors(rejection.source(), |error| (*error).source());
    chain.filter_map(|error| error.downcast_ref()).map(io::Error::kind).next()
}

impl From<QueryRejection> for Refusal {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(rejection.status(), "invalid", rejection.body_text())
    }
}

/// An error with its sources, for people.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::{Body, Bytes};
    use axum::extract::{FromRequest, Request};
    use http_body_util::{BodyExt, Empty};
    use serde_json::Value;

    #[tokio::test]
    async fn a_body_that_is_waited_for_no_longer_says_why() {
        for (kind, status, code) in [
            (ErrorKind::TimedOut, 408, "late"),
            (ErrorKind::ConnectionAborted, 503, "unavailable"),
            (ErrorKind::UnexpectedEof, 400, "invalid"),
        ] {
            let nothing = Empty::<Bytes>::new().map_err(|never| match never {});
            let fails = nothing.with_trailers(async move { Some(Err(io::Error::new(kind, "no more came"))) });
            let request = Request::post("/").header("content-type", "application/json").body(Body::new(fails));
            let read = Json::<Value>::from_request(request.unwrap(), &()).await;
            let refusal = Refusal::from(read.unwrap_err());
            assert_eq!((refusal.status.as_u16(), refusal.problem.code.as_str()), (status, code));
            assert!(refusal.message().contains("no more came"), "{}", refusal.message());
        }
    }
}
