//! Errors as programs see them: a stable code and a sentence to act on. Which HTTP status belongs to a code
//! is known in one place, the server's `http/problem.rs`.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal),+ $(,)?) => {
        /// A stable upper-case code. Codes are added, never changed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorCode { $($(#[$doc])* $variant),+ }

        impl ErrorCode {
            /// All codes, for the documentation and its test.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$variant),+];

            /// The code as written in answers.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(ErrorCode::$variant => $text),+ }
            }
        }
    };
}

codes! {
    /// No valid session or token.
    Unauthenticated = "UNAUTHENTICATED",
    /// Signed in, but not allowed to.
    Forbidden = "FORBIDDEN",
    /// A change by cookie that did not come from this console's own pages.
    CrossOrigin = "CROSS_ORIGIN",
    /// The Host header names another host than this server's.
    UnknownHost = "UNKNOWN_HOST",
    /// No such job, or no such id.
    JobNotFound = "JOB_NOT_FOUND",
    /// The job was deleted; `receipt` says where its receipt is.
    JobDeleted = "JOB_DELETED",
    /// A delete without force of a job that is active.
    JobActive = "JOB_ACTIVE",
    /// The job is being deleted.
    JobDeleting = "JOB_DELETING",
    /// No such thing at this address.
    NotFound = "NOT_FOUND",
    /// The address does not take this method; see `Allow`.
    MethodNotAllowed = "METHOD_NOT_ALLOWED",
    /// The body, or an upload, is larger than allowed.
    BodyTooLarge = "BODY_TOO_LARGE",
    /// The body is of no type that this address takes.
    UnsupportedMediaType = "UNSUPPORTED_MEDIA_TYPE",
    /// The body could not be read: not JSON, cut off, malformed.
    InvalidBody = "INVALID_BODY",
    /// A query parameter or cursor that cannot be used.
    InvalidQuery = "INVALID_QUERY",
    /// The job as described cannot be run; nothing was stored.
    InvalidSpec = "INVALID_SPEC",
    /// The cancel as described is not possible: notes too long, reason no code.
    InvalidCancel = "INVALID_CANCEL",
    /// The bulk as described is not possible: more jobs than the limit, reason no code.
    InvalidBulk = "INVALID_BULK",
    /// A job has this batch of a provider already.
    BatchKnown = "BATCH_KNOWN",
    /// A provider did not do what it was asked, or does not answer.
    ProviderFailed = "PROVIDER_FAILED",
    /// The same Idempotency-Key came with another body before.
    IdempotencyConflict = "IDEMPOTENCY_CONFLICT",
    /// Too many failed sign-ins from this address; see `Retry-After`.
    TooManyRequests = "TOO_MANY_REQUESTS",
    /// The database was busy for too long.
    StoreBusy = "STORE_BUSY",
    /// No space left on the disk.
    DiskFull = "DISK_FULL",
    /// The server is stopping.
    ShuttingDown = "SHUTTING_DOWN",
    /// A fault of the server; the log has the cause under the request id.
    Internal = "INTERNAL",
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error on the wire: `application/problem+json` (RFC 9457) with our own members.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct Problem {
    pub title: String,
    pub status: u16,
    /// A sentence an operator can act on.
    pub detail: String,
    /// One of the codes of [`ErrorCode`]; a client keeps an unknown one as it is.
    pub error: String,
    pub request_id: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hint: Option<String>,
    /// The field of the body that is wrong.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub field: Option<String>,
    /// `JOB_DELETED` only: path of the receipt.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub receipt: Option<String>,
}

impl Problem {
    /// True when the problem carries `code`.
    #[must_use]
    pub fn is(&self, code: ErrorCode) -> bool {
        self.error == code.as_str()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.detail, self.error)
    }
}

impl std::error::Error for Problem {}
