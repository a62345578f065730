//! Removal of a job: the plan before, the receipt after. Receipts outlive the job and name no files.

use serde::{Deserialize, Serialize};

use super::{
    audit::Source,
    id::{JobId, RunId},
    phase::Phase,
    spec::Kind,
    time::Timestamp,
};

/// What a removal takes away, by sort.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub enum Category {
    /// Job data and metadata: the job row with its spec, counted as records.
    JobData,
    /// Files that were uploaded for the job.
    Inputs,
    /// `product_matching`: product images and the masks and features made of them.
    Images,
    /// `product_matching`: frames cut from videos, keyframes and their features.
    Frames,
    /// `product_matching`: matches, pictures of evidence, results.
    Matches,
    /// Other files that the job made.
    Results,
    /// Output of its runs.
    Logs,
    /// Unfinished work of runs: scratch folders and partial files.
    Scratch,
    /// The batch at a provider that lets it be deleted.
    ProviderBatch,
    /// Files at a provider: requests and results.
    ProviderFiles,
    /// Units, runs and artifact rows.
    Records,
}

impl Category {
    /// All, in the order of plan and receipt.
    pub const ALL: [Category; 11] = [
        Category::JobData,
        Category::Inputs,
        Category::Images,
        Category::Frames,
        Category::Matches,
        Category::Results,
        Category::Logs,
        Category::Scratch,
        Category::ProviderBatch,
        Category::ProviderFiles,
        Category::Records,
    ];

    /// The name in JSON and SQL.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Category::JobData => "job_data",
            Category::Inputs => "inputs",
            Category::Images => "images",
            Category::Frames => "frames",
            Category::Matches => "matches",
            Category::Results => "results",
            Category::Logs => "logs",
            Category::Scratch => "scratch",
            Category::ProviderBatch => "provider_batch",
            Category::ProviderFiles => "provider_files",
            Category::Records => "records",
        }
    }

    /// The words that people read.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Category::JobData => "Job data and metadata",
            Category::Inputs => "Uploaded inputs",
            Category::Images => "Product images and masks",
            Category::Frames => "Video frames and keyframes",
            Category::Matches => "Match results and evidence",
            Category::Results => "Result files",
            Category::Logs => "Logs",
            Category::Scratch => "Unfinished work",
            Category::ProviderBatch => "Batch at the provider",
            Category::ProviderFiles => "Files at the provider",
            Category::Records => "All associated database records",
        }
    }

    /// What one item is: one, many.
    #[must_use]
    pub const fn nouns(self) -> (&'static str, &'static str) {
        match self {
            Category::JobData | Category::Records => ("record", "records"),
            Category::Inputs
            | Category::Images
            | Category::Frames
            | Category::Matches
            | Category::Results
            | Category::Logs
            | Category::Scratch
            | Category::ProviderFiles => ("file", "files"),
            Category::ProviderBatch => ("batch", "batches"),
        }
    }

    /// Is, or lies, at a provider: not on this disk.
    #[must_use]
    pub const fn is_remote(self) -> bool {
        match self {
            Category::ProviderBatch | Category::ProviderFiles => true,
            Category::JobData
            | Category::Inputs
            | Category::Images
            | Category::Frames
            | Category::Matches
            | Category::Results
            | Category::Logs
            | Category::Scratch
            | Category::Records => false,
        }
    }

    /// Files that the job made and that `keep_files` leaves.
    #[must_use]
    pub const fn is_artifact(self) -> bool {
        match self {
            Category::Images | Category::Frames | Category::Matches | Category::Results => true,
            Category::JobData
            | Category::Inputs
            | Category::Logs
            | Category::Scratch
            | Category::ProviderBatch
            | Category::ProviderFiles
            | Category::Records => false,
        }
    }
}

/// One line of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct PlanItem {
    pub category: Category,
    /// Rows or files.
    pub items: u64,
    /// Bytes on disk that would be freed (for rows 0: the database reuses their pages).
    pub bytes: u64,
}

/// What a delete would remove: the answer to `dry_run=true`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct Plan {
    pub job_id: JobId,
    pub phase: Phase,
    /// Lines with at least one item.
    pub items: Vec<PlanItem>,
    /// Sum over the lines that are files.
    pub files: u64,
    pub bytes: u64,
    /// True when the job is active: a delete needs `force` and stops it first.
    pub needs_force: bool,
    /// True when artifacts would stay (`keep_files`).
    pub keep_files: bool,
}

/// How far a removal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub enum ReceiptState {
    /// Written, work goes on.
    Running,
    /// All that was planned is gone, seen by a look afterwards. (What a provider never deletes is in `left`.)
    Complete,
    /// The job is gone; something of it is not, see `left`.
    Incomplete,
}

impl ReceiptState {
    /// The name in JSON and SQL.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            ReceiptState::Running => "running",
            ReceiptState::Complete => "complete",
            ReceiptState::Incomplete => "incomplete",
        }
    }
}

/// One line of a receipt. `planned = removed + kept + failed` once the removal is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct ReceiptItem {
    pub category: Category,
    pub planned: u64,
    pub planned_bytes: u64,
    pub removed: u64,
    pub removed_bytes: u64,
    /// Left on purpose (`keep_files`).
    pub kept: u64,
    /// Could not be removed.
    pub failed: u64,
    pub failed_bytes: u64,
}

/// Something of a deleted job that is, or may be, still there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub enum Leftover {
    /// Files that could not be removed. No names: a count, bytes and the system's word.
    Files { category: Category, items: u64, bytes: u64, error: String },
    /// A run whose stop was never proven.
    Run { run_id: RunId, worker: String, detail: String },
    /// A batch or file at a provider. `for_ever`: the provider lets nobody delete it, so there is nothing to try again.
    Provider { provider: String, category: Category, id: String, for_ever: bool, detail: String },
}

impl Leftover {
    /// Trying again may help.
    #[must_use]
    pub const fn may_go(&self) -> bool {
        match self {
            Leftover::Files { .. } | Leftover::Run { .. } => true,
            Leftover::Provider { for_ever, .. } => !*for_ever,
        }
    }
}

/// The record of a removal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct Receipt {
    pub job_id: JobId,
    pub name: String,
    pub kind: Kind,
    /// The last phase before `deleting`.
    pub last_phase: Phase,
    pub created_at: Timestamp,
    pub created_by: String,
    pub requested_at: Timestamp,
    pub requested_by: String,
    pub source: Source,
    pub request_id: String,
    /// The job was active, and was stopped first.
    pub forced: bool,
    pub state: ReceiptState,
    /// When the removal ended; `null` while it runs.
    pub deleted_at: Option<Timestamp>,
    pub items: Vec<ReceiptItem>,
    pub left: Vec<Leftover>,
    /// Folder below the data folder in which artifacts were left (`keep_files`).
    pub kept_in: Option<String>,
    /// Times that the removal was asked to try again.
    pub retries: u32,
}

/// Whether the work of a delete is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub enum DeleteStatus {
    /// 202: goes on, also across a restart.
    Deleting,
    /// 200: over; the receipt says what is gone.
    Deleted,
}

/// Answer of `DELETE /api/jobs/{job_id}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct DeleteAnswer {
    pub job_id: JobId,
    pub status: DeleteStatus,
    pub deleted_at: Option<Timestamp>,
    /// `null` while a forced delete still waits for the proof of the stop.
    pub receipt: Option<Receipt>,
    /// A sentence for people.
    pub message: String,
}
