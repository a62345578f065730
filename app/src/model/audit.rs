//! Who did what to which job, when, from where, with what result. Outlives the job.

use serde::{Deserialize, Serialize};

use super::{id::JobId, time::Timestamp};

/// From where a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub enum Source {
    /// A browser session.
    Console,
    /// A bearer token.
    Api,
    /// Belay itself: a repair, a continued removal.
    System,
}

impl Source {
    /// The name in JSON and SQL.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Source::Console => "console",
            Source::Api => "api",
            Source::System => "system",
        }
    }
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub enum AuditAction {
    SignIn,
    SignOut,
    Submit,
    Rerun,
    Cancel,
    ForceCancel,
    Delete,
    ForceDelete,
    RetryRemoval,
    /// A batch that no job knew became a job.
    AdoptBatch,
    /// A batch that no job knows was cancelled at its provider.
    CancelRemoteBatch,
    /// A provider was asked again what became of a job.
    Refresh,
    /// An action on many jobs began; each of them has an event of its own.
    Bulk,
    AbortBulk,
    CreateToken,
    RevokeToken,
}

impl AuditAction {
    /// All, in the order of the filter.
    pub const ALL: [AuditAction; 16] = [
        AuditAction::SignIn,
        AuditAction::SignOut,
        AuditAction::Submit,
        AuditAction::Rerun,
        AuditAction::Cancel,
        AuditAction::ForceCancel,
        AuditAction::Delete,
        AuditAction::ForceDelete,
        AuditAction::RetryRemoval,
        AuditAction::AdoptBatch,
        AuditAction::CancelRemoteBatch,
        AuditAction::Refresh,
        AuditAction::Bulk,
        AuditAction::AbortBulk,
        AuditAction::CreateToken,
        AuditAction::RevokeToken,
    ];

    /// The name in JSON and SQL.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            AuditAction::SignIn => "sign_in",
            AuditAction::SignOut => "sign_out",
            AuditAction::Submit => "submit",
            AuditAction::Rerun => "rerun",
            AuditAction::Cancel => "cancel",
            AuditAction::ForceCancel => "force_cancel",
            AuditAction::Delete => "delete",
            AuditAction::ForceDelete => "force_delete",
            AuditAction::RetryRemoval => "retry_removal",
            AuditAction::AdoptBatch => "adopt_batch",
            AuditAction::CancelRemoteBatch => "cancel_remote_batch",
            AuditAction::Refresh => "refresh",
            AuditAction::Bulk => "bulk",
            AuditAction::AbortBulk => "abort_bulk",
            AuditAction::CreateToken => "create_token",
            AuditAction::RevokeToken => "revoke_token",
        }
    }

    /// The words that people read.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            AuditAction::SignIn => "Signed in",
            AuditAction::SignOut => "Signed out",
            AuditAction::Submit => "Submitted",
            AuditAction::Rerun => "Ran again",
            AuditAction::Cancel => "Cancelled",
            AuditAction::ForceCancel => "Forced the end",
            AuditAction::Delete => "Deleted",
            AuditAction::ForceDelete => "Stopped and deleted",
            AuditAction::RetryRemoval => "Retried the removal",
            AuditAction::AdoptBatch => "Adopted a batch",
            AuditAction::CancelRemoteBatch => "Cancelled a batch at its provider",
            AuditAction::Refresh => "Asked the provider again",
            AuditAction::Bulk => "Acted on many jobs",
            AuditAction::AbortBulk => "Aborted an action on many jobs",
            AuditAction::CreateToken => "Made an API token",
            AuditAction::RevokeToken => "Revoked an API token",
        }
    }
}

/// One line of the audit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct AuditEvent {
    pub at: Timestamp,
    pub actor: String,
    pub action: AuditAction,
    pub job_id: Option<JobId>,
    /// The job's name at that time.
    pub job_name: Option<String>,
    pub source: Source,
    /// Address of the caller; `null` for Belay itself.
    pub address: Option<String>,
    pub request_id: String,
    /// What it came to: `cancelling`, `already_finished`, `refused: JOB_ACTIVE`, `ok`.
    pub result: String,
    /// Reason and notes given.
    pub detail: Option<String>,
}
