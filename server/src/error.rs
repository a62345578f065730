//! Errors of the domain. They know nothing of HTTP; `http/problem.rs` is the only place that does.

use app::model::{ErrorCode, JobId, Phase, PhaseClass};

/// What went wrong, in the words of the one who asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such job.
    #[error("there is no job `{0}`")]
    JobNotFound(JobId),
    /// The job was deleted before; its receipt is kept.
    #[error("job `{0}` was deleted")]
    JobDeleted(JobId),
    /// A delete without force of an active job.
    #[error("job is still active (`{phase}`)")]
    JobActive { job_id: JobId, phase: Phase },
    /// The job is being deleted.
    #[error("job `{0}` is being deleted")]
    JobDeleting(JobId),
    /// The job as described cannot be run. `field` names what is wrong: `spec.parallel`.
    #[error("{detail}")]
    Invalid { code: ErrorCode, field: Option<String>, detail: String, hint: Option<String> },
    /// No receipt, artifact, unit or the like at this address.
    #[error("{0}")]
    NotFound(String),
    /// The action is not possible in the present phase; `detail` says why.
    #[error("{detail}")]
    NotPossible { job_id: JobId, phase: Phase, detail: String },
    /// An upload, or a body, is too large.
    #[error("{0}")]
    TooLarge(String),
    /// The database was busy for too long.
    #[error("the database is busy")]
    Busy,
    /// No space left on the disk.
    #[error("no space left on the disk")]
    DiskFull,
    /// A provider did not do it, or does not answer. A sentence without any key.
    #[error("{0}")]
    Provider(String),
    /// The server is stopping.
    #[error("the server is stopping")]
    ShuttingDown,
    /// A fault of ours. The text is for the log, never for the caller.
    #[error("{context}")]
    Internal {
        context: String,
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

/// What most of the server returns.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A bad spec: `field` as in the request body, `detail` a sentence an operator can act on.
    pub fn invalid_spec(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Error::Invalid { code: ErrorCode::InvalidSpec, field: Some(field.into()), detail: detail.into(), hint: None }
    }

    /// The code under which it is known outside, and in the audit: said here and nowhere else.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Error::JobNotFound(_) => ErrorCode::JobNotFound,
            Error::JobDeleted(_) => ErrorCode::JobDeleted,
            Error::JobActive { .. } => ErrorCode::JobActive,
            Error::JobDeleting(_) => ErrorCode::JobDeleting,
            Error::Invalid { code, .. } => *code,
            Error::NotFound(_) => ErrorCode::NotFound,
            Error::NotPossible { phase, .. } => match phase.class() {
                PhaseClass::Deleting => ErrorCode::JobDeleting,
                PhaseClass::Pending | PhaseClass::Active | PhaseClass::Cancelling => ErrorCode::JobActive,
                PhaseClass::Terminal => ErrorCode::InvalidSpec,
            },
            Error::TooLarge(_) => ErrorCode::BodyTooLarge,
            Error::Busy => ErrorCode::StoreBusy,
            Error::DiskFull => ErrorCode::DiskFull,
            Error::Provider(_) => ErrorCode::ProviderFailed,
            Error::ShuttingDown => ErrorCode::ShuttingDown,
            Error::Internal { .. } => ErrorCode::Internal,
        }
    }

    /// A fault of ours with its cause.
    pub fn internal(context: impl Into<String>, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Error::Internal { context: context.into(), source: Some(Box::new(source)) }
    }
}

/// A task ends early by a fault of ours, or with the runtime: nothing here aborts tasks that are waited for.
impl From<tokio::task::JoinError> for Error {
    fn from(error: tokio::task::JoinError) -> Self {
        if error.is_cancelled() { Error::ShuttingDown } else { Error::internal("a task ended early", error) }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Error::DiskFull,
            _ => Error::internal("input or output failed", error),
        }
    }
}
