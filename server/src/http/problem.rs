//! Errors as HTTP answers: the only place that knows which status belongs to which code.
//!
//! Every failing answer is `application/problem+json` (RFC 9457). What is our fault says nothing about the inside: the
//! cause goes to the log, once, under the request id that the answer carries.

use app::{
    model::{ErrorCode, JobId, Problem},
    paths,
};
use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::request_id;
use crate::error::Error;

/// The media type of problems.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// The status that belongs to a code.
#[must_use]
pub(crate) fn status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::InvalidBody | ErrorCode::InvalidQuery => StatusCode::BAD_REQUEST,
        ErrorCode::Unauthenticated => StatusCode::UNAUTHORIZED,
        ErrorCode::Forbidden | ErrorCode::CrossOrigin => StatusCode::FORBIDDEN,
        ErrorCode::JobNotFound | ErrorCode::JobDeleted | ErrorCode::NotFound => StatusCode::NOT_FOUND,
        ErrorCode::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        ErrorCode::JobActive | ErrorCode::JobDeleting | ErrorCode::BatchKnown => StatusCode::CONFLICT,
        ErrorCode::ProviderFailed => StatusCode::BAD_GATEWAY,
        ErrorCode::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ErrorCode::UnknownHost => StatusCode::MISDIRECTED_REQUEST,
        ErrorCode::InvalidSpec | ErrorCode::InvalidCancel | ErrorCode::InvalidBulk | ErrorCode::IdempotencyConflict => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        ErrorCode::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::StoreBusy | ErrorCode::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::DiskFull => StatusCode::INSUFFICIENT_STORAGE,
        ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// A few words for a code.
const fn title(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::Unauthenticated => "Sign-in required",
        ErrorCode::Forbidden => "Not allowed",
        ErrorCode::CrossOrigin => "Request from another site",
        ErrorCode::UnknownHost => "Unknown host name",
        ErrorCode::JobNotFound => "Job not found",
        ErrorCode::JobDeleted => "Job was deleted",
        ErrorCode::JobActive => "Job is active",
        ErrorCode::JobDeleting => "Job is being deleted",
        ErrorCode::NotFound => "Not found",
        ErrorCode::MethodNotAllowed => "Method not allowed",
        ErrorCode::BodyTooLarge => "Body too large",
        ErrorCode::UnsupportedMediaType => "Unsupported media type",
        ErrorCode::InvalidBody => "Unreadable body",
        ErrorCode::InvalidQuery => "Invalid query",
        ErrorCode::InvalidSpec => "Invalid job",
        ErrorCode::InvalidCancel => "Invalid cancel request",
        ErrorCode::InvalidBulk => "Invalid action on many jobs",
        ErrorCode::BatchKnown => "A job has this batch",
        ErrorCode::ProviderFailed => "The provider did not do it",
        ErrorCode::IdempotencyConflict => "Idempotency key used before",
        ErrorCode::TooManyRequests => "Too many attempts",
        ErrorCode::StoreBusy => "Database busy",
        ErrorCode::DiskFull => "Disk full",
        ErrorCode::ShuttingDown => "Server is stopping",
        ErrorCode::Internal => "Internal error",
    }
}

/// Seconds after which a try again makes sense.
const fn retry_after(code: ErrorCode) -> Option<&'static str> {
    match code {
        ErrorCode::StoreBusy => Some("1"),
        ErrorCode::ShuttingDown => Some("5"),
        ErrorCode::TooManyRequests => Some("60"),
        ErrorCode::Unauthenticated
        | ErrorCode::Forbidden
        | ErrorCode::CrossOrigin
        | ErrorCode::UnknownHost
        | ErrorCode::JobNotFound
        | ErrorCode::JobDeleted
        | ErrorCode::JobActive
        | ErrorCode::JobDeleting
        | ErrorCode::NotFound
        | ErrorCode::MethodNotAllowed
        | ErrorCode::BodyTooLarge
        | ErrorCode::UnsupportedMediaType
        | ErrorCode::InvalidBody
        | ErrorCode::InvalidQuery
        | ErrorCode::InvalidSpec
        | ErrorCode::InvalidCancel
        | ErrorCode::InvalidBulk
        | ErrorCode::BatchKnown
        | ErrorCode::ProviderFailed
        | ErrorCode::IdempotencyConflict
        | ErrorCode::DiskFull
        | ErrorCode::Internal => None,
    }
}

/// What a handler fails with.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) code: ErrorCode,
    pub(crate) detail: String,
    pub(crate) hint: Option<String>,
    pub(crate) field: Option<String>,
    pub(crate) receipt: Option<String>,
}

/// What handlers return.
pub(crate) type Answer<T> = Result<T, Failure>;

impl Failure {
    pub(crate) fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Failure { code, detail: detail.into(), hint: None, field: None, receipt: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    pub(crate) fn invalid_spec(field: &str, detail: impl Into<String>) -> Self {
        Failure::new(ErrorCode::InvalidSpec, detail).field(field)
    }

    pub(crate) fn invalid_body(detail: impl Into<String>) -> Self {
        Failure::new(ErrorCode::InvalidBody, detail)
    }

    /// The job with this text as its id is not there. (An id that is no UUID is an unknown id.)
    pub(crate) fn no_job(id: &str) -> Self {
        let shown: String = id.chars().filter(|c| !c.is_control()).take(60).collect();
        Failure::new(ErrorCode::JobNotFound, format!("There is no job `{shown}`."))
            .hint("GET /api/jobs lists the jobs, GET /api/removals those that were deleted.")
    }

    pub(crate) fn unauthenticated() -> Self {
        Failure::new(ErrorCode::Unauthenticated, "Sign in first, or send an API token.")
            .hint("Authorization: Bearer TOKEN. `belay sign-in-link` prints a link that signs a browser in.")
    }

    fn job_deleted(id: JobId) -> Self {
        let mut failure = Failure::new(
            ErrorCode::JobDeleted,
            format!("Job `{id}` was deleted. The receipt says what is gone and what could not be removed."),
        );
        failure.receipt = Some(paths::api::removal(id));
        failure
    }

    pub(crate) fn status(&self) -> StatusCode {
        status(self.code)
    }

    /// The document, under the present request's id.
    pub(crate) fn problem(&self) -> Problem {
        Problem {
            title: title(self.code).to_owned(),
            status: self.status().as_u16(),
            detail: self.detail.clone(),
            error: self.code.as_str().to_owned(),
            request_id: request_id::current(),
            hint: self.hint.clone(),
            field: self.field.clone(),
            receipt: self.receipt.clone(),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = error.code();
        match error {
            Error::JobNotFound(id) => Failure::no_job(&id.to_string()),
            Error::JobDeleted(id) => Failure::job_deleted(id),
            Error::JobActive { phase, .. } => {
                Failure::new(code, "Job is still active. Cancel it first or use force=true")
                    .hint(format!("It is `{phase}`. With force=true it is stopped with proof first, then deleted."))
            }
            Error::JobDeleting(id) => {
                Failure::new(code, format!("Job `{id}` is being deleted. Nothing else can be done."))
            }
            Error::Invalid { field, detail, hint, .. } => Failure { code, detail, hint, field, receipt: None },
            Error::Provider(detail) => Failure::new(code, detail),
            Error::NotFound(detail) | Error::NotPossible { detail, .. } | Error::TooLarge(detail) => {
                Failure::new(code, detail)
            }
            Error::Busy => {
                Failure::new(code, "The database was busy for too long. Nothing was changed; try again in a moment.")
            }
            Error::DiskFull => Failure::new(
                code,
                "No space is left on the disk of the data folder. Free some (deleting jobs works now), then try again.",
            ),
            Error::ShuttingDown => Failure::new(code, "The server is stopping. Try again when it is back."),
            Error::Internal { context, source } => {
                log_cause(&context, source.as_deref());
                Failure::new(code, "The server could not do this. Its log has the cause under this request id.")
            }
        }
    }
}

/// The whole chain of causes in one line.
fn log_cause(context: &str, source: Option<&(dyn std::error::Error + Send + Sync)>) {
    let mut chain = String::new();
    let mut cause: Option<&dyn std::error::Error> = source.map(|source| source as &dyn std::error::Error);
    while let Some(error) = cause {
        chain.push_str(": ");
        chain.push_str(&error.to_string());
        cause = error.source();
    }
    tracing::error!(request_id = %request_id::current(), "{context}{chain}");
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self.problem()).unwrap_or_default();
        let mut response = (self.status(), [(header::CONTENT_TYPE, PROBLEM_JSON)], body).into_response();
        if let Some(seconds) = retry_after(self.code) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(seconds));
        }
        if self.code == ErrorCode::Unauthenticated {
            const CHALLENGE: HeaderName = header::WWW_AUTHENTICATE;
            response.headers_mut().insert(CHALLENGE, HeaderValue::from_static("Bearer realm=\"belay\""));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_code_has_an_error_status_and_a_title() {
        for code in ErrorCode::ALL {
            assert!(status(*code).is_client_error() || status(*code).is_server_error(), "{code}");
            assert!(!title(*code).is_empty(), "{code}");
        }
    }

    #[test]
    fn the_statuses_that_programs_rely_on() {
        for (code, expected) in [
            (ErrorCode::Unauthenticated, 401),
            (ErrorCode::Forbidden, 403),
            (ErrorCode::JobNotFound, 404),
            (ErrorCode::JobDeleted, 404),
            (ErrorCode::JobActive, 409),
            (ErrorCode::JobDeleting, 409),
            (ErrorCode::BodyTooLarge, 413),
            (ErrorCode::InvalidSpec, 422),
            (ErrorCode::IdempotencyConflict, 422),
            (ErrorCode::StoreBusy, 503),
            (ErrorCode::DiskFull, 507),
        ] {
            assert_eq!(status(code).as_u16(), expected, "{code}");
        }
    }

    #[test]
    fn a_fault_of_ours_reveals_nothing() {
        let cause = std::io::Error::other("secret path /var/lib/x");
        let problem = Failure::from(Error::internal("reading the secret table", cause)).problem();
        let text = serde_json::to_string(&problem).unwrap();
        assert!(!text.contains("secret"), "{text}");
        assert_eq!(problem.status, 500);
    }

    #[test]
    fn a_deleted_job_names_its_receipt() {
        let id = JobId(7);
        let problem = Failure::from(Error::JobDeleted(id)).problem();
        assert_eq!(problem.receipt, Some(format!("/api/removals/{id}")));
        assert_eq!(problem.status, 404);
    }
}
