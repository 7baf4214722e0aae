//! Errors of the API: a type clients switch on, the HTTP status it has, a text.

use axum::response::{IntoResponse, Response};
use barograph_query::{Busy, QueryError};
use http::StatusCode;

use super::json;

/// The kinds of error clients tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    /// It took too long.
    Timeout,
    /// The client went away, or somebody stopped it.
    Canceled,
    /// The expression cannot be evaluated over this data.
    Execution,
    /// The request is wrong.
    BadData,
    /// We are wrong.
    Internal,
    /// Not now.
    Unavailable,
    /// Not enabled. Prometheus says `unavailable` and answers 500.
    Disabled,
    /// There is no such thing.
    NotFound,
}

impl ErrorKind {
    /// The value of `errorType`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Canceled => "canceled",
            Self::Execution => "execution",
            Self::BadData => "bad_data",
            Self::Internal => "internal",
            Self::Unavailable | Self::Disabled => "unavailable",
            Self::NotFound => "not_found",
        }
    }

    /// The HTTP status. 499 is nginx's word for "the client went away".
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Timeout | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Canceled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
            Self::Execution => StatusCode::UNPROCESSABLE_ENTITY,
            Self::BadData => StatusCode::BAD_REQUEST,
            Self::Internal | Self::Disabled => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NotFound => StatusCode::NOT_FOUND,
        }
    }
}

/// Why a request has no answer.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    /// What kind of error.
    pub(crate) kind: ErrorKind,
    /// What is wrong.
    pub(crate) message: String,
}

impl ApiError {
    /// An error of that kind.
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// A wrong request.
    pub(crate) fn bad_data(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::BadData, message)
    }

    /// A wrong value of the parameter `name`.
    pub(crate) fn parameter(name: &str, message: impl std::fmt::Display) -> Self {
        Self::bad_data(format!("invalid parameter {name:?}: {message}"))
    }

    /// A mistake of ours, with what the panic said.
    pub(crate) fn panic(payload: &(dyn std::any::Any + Send)) -> Self {
        let text = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        let text = text.strip_prefix("BUG: ").unwrap_or(text);
        Self::new(ErrorKind::Internal, format!("BUG: {text}"))
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        let kind = match &error {
            QueryError::Parse(_) | QueryError::Type(_) => ErrorKind::BadData,
            QueryError::Execution(_) | QueryError::NotBuilt(_) => ErrorKind::Execution,
            QueryError::Timeout(_) => ErrorKind::Timeout,
            QueryError::Canceled(_) => ErrorKind::Canceled,
            QueryError::Storage(_) => ErrorKind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<Busy> for ApiError {
    fn from(busy: Busy) -> Self {
        Self::new(ErrorKind::Unavailable, busy.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut text = String::from("{\"status\":\"error\",\"errorType\":");
        json::push_string(&mut text, self.kind.as_str());
        text.push_str(",\"error\":");
        json::push_string(&mut text, &self.message);
        text.push('}');
        (self.kind.status(), json::CONTENT_TYPE, text).into_response()
    }
}
