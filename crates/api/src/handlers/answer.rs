//! Failures as problem documents.

use crate::types::Problem;
use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::response::{IntoResponse, Response};
use coalmine_control::ControlError;
use coalmine_core::key::KeyRefused;
use http::StatusCode;

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
        Self::new(rejection.status(), "invalid", rejection.body_text())
    }
}

impl From<QueryRejection> for Refusal {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(rejection.status(), "invalid", rejection.body_text())
    }
}

/// An error with its sources, for people.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}
