//! Batches at a provider: what a job of kind `openai_batch` or `gemini_batch` asks for, what the provider says of it, its
//! results request by request, and what the provider has that no job knows.
//!
//! Endpoints (all under sign-in, answers as for every endpoint):
//!
//! | call | body and query | answer |
//! |---|---|---|
//! | `GET /api/providers` | | `Vec<ProviderInfo>`: those of the configuration |
//! | `POST /api/batches/check` | [`CheckRequest`] as JSON, or multipart: part `check` with it and part `files` with the file | 200 [`CheckedInput`], also when lines are wrong |
//! | `GET /api/providers/{name}/batches` | `cursor` | [`RemoteBatchPage`]: the provider's own list, newest first |
//! | `POST /api/providers/{name}/batches/{batch_id}/adopt` | [`AdoptRequest`] | 201 `Job` |
//! | `POST /api/providers/{name}/batches/{batch_id}/cancel` | | 200 [`RemoteBatch`] as the provider says after the cancel |
//! | `POST /api/providers/{name}/import` | the records of another tool, JSON | 200 [`ImportAnswer`] |
//! | `GET /api/jobs/{job_id}/requests` | `status`, `cursor`, `limit` | `Page<RequestRow>` |
//! | `POST /api/jobs/{job_id}/refresh` | | 200 `Job` after asking the provider now |
//!
//! `Job.batch` is there in the detail and in lists for jobs of these kinds. Downloads are artifacts of the job:
//! `requests.csv`, `requests.jsonl` (joined), `results.jsonl`, `errors.jsonl` (the provider's own), `unfinished.jsonl`
//! (the requests that were not done: what a rerun of `unfinished` sends).

use serde::{Deserialize, Serialize};

use super::{id::JobId, spec::Kind, time::Timestamp};

/// Spec of kinds `openai_batch` and `gemini_batch`. The requests come by path or as one upload (part `files`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct BatchSpec {
    /// Name of a provider of the configuration, of this kind.
    pub provider: String,
    /// The file of requests (JSONL), absolute or relative to a configured root. None when it is uploaded.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub input: Option<String>,
    /// `gemini_batch`: the model, which the lines do not name. Ignored where they do.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub model: Option<String>,
    /// The provider's id of a batch that was not submitted from here. Set by an adoption, never taken in a submit.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub adopted: Option<String>,
}

/// Which API a provider speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub enum ProviderKind {
    /// `OpenAI`, and what has its shape.
    Openai,
    /// Gemini (the Developer API).
    Gemini,
}

impl ProviderKind {
    /// The name in configuration and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            ProviderKind::Openai => "openai",
            ProviderKind::Gemini => "gemini",
        }
    }

    /// The name that people read.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            ProviderKind::Openai => "OpenAI",
            ProviderKind::Gemini => "Gemini",
        }
    }

    /// The kind of jobs whose batches it takes.
    #[must_use]
    pub const fn job_kind(self) -> Kind {
        match self {
            ProviderKind::Openai => Kind::OpenaiBatch,
            ProviderKind::Gemini => Kind::GeminiBatch,
        }
    }
}

/// A provider of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct ProviderInfo {
    pub name: String,
    pub kind: ProviderKind,
    /// The address without user, query and path.
    pub address: String,
    /// None when its key is there; else which variable or file is missing or cannot be used.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key_fault: Option<String>,
    /// What it lets one do. A provider that deletes no batches keeps them in its list for ever.
    pub can_cancel: bool,
    pub can_delete_batch: bool,
    pub can_delete_files: bool,
    pub can_list: bool,
    /// Hours after which it gives a batch up.
    pub deadline_hours: u32,
}

/// Where a batch is, in words that all providers share. The provider's own word stands beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub enum BatchState {
    /// Nothing was sent yet.
    #[default]
    Unsent,
    /// The file is being uploaded.
    Uploading,
    /// The batch is being made: whether the provider has it is not known before it answers.
    Creating,
    /// The provider has it and has not begun (it checks the input, or it is in its queue).
    Queued,
    /// Requests are being answered.
    Running,
    /// The provider writes the results.
    Finalizing,
    /// The provider says that it is cancelling.
    Cancelling,
    /// Over; every request was tried.
    Succeeded,
    /// Over; only some were.
    Partial,
    /// The provider refused or gave up the whole batch.
    Failed,
    /// Its time was over before it was done.
    Expired,
    /// Cancelled, as the provider says.
    Cancelled,
    /// The provider has a word that is not known here.
    Unknown,
}

impl BatchState {
    /// The name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            BatchState::Unsent => "unsent",
            BatchState::Uploading => "uploading",
            BatchState::Creating => "creating",
            BatchState::Queued => "queued",
            BatchState::Running => "running",
            BatchState::Finalizing => "finalizing",
            BatchState::Cancelling => "cancelling",
            BatchState::Succeeded => "succeeded",
            BatchState::Partial => "partial",
            BatchState::Failed => "failed",
            BatchState::Expired => "expired",
            BatchState::Cancelled => "cancelled",
            BatchState::Unknown => "unknown",
        }
    }

    /// The words that people read.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            BatchState::Unsent => "Not sent yet",
            BatchState::Uploading => "Uploading",
            BatchState::Creating => "Being created",
            BatchState::Queued => "Queued",
            BatchState::Running => "Running",
            BatchState::Finalizing => "Finalizing",
            BatchState::Cancelling => "Cancelling",
            BatchState::Succeeded => "Finished",
            BatchState::Partial => "Finished in part",
            BatchState::Failed => "Failed",
            BatchState::Expired => "Expired",
            BatchState::Cancelled => "Cancelled",
            BatchState::Unknown => "Unknown",
        }
    }

    /// Over at the provider, for good.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        match self {
            BatchState::Succeeded
            | BatchState::Partial
            | BatchState::Failed
            | BatchState::Expired
            | BatchState::Cancelled => true,
            BatchState::Unsent
            | BatchState::Uploading
            | BatchState::Creating
            | BatchState::Queued
            | BatchState::Running
            | BatchState::Finalizing
            | BatchState::Cancelling
            | BatchState::Unknown => false,
        }
    }
}

/// Requests as the provider counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct RequestCounts {
    pub total: u64,
    pub completed: u64,
    pub failed: u64,
}

/// Tokens, as told by the provider or summed up over the results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct TokenUsage {
    pub input_tokens: u64,
    /// Of the input: read from a cache.
    pub cached_tokens: u64,
    pub output_tokens: u64,
}

/// A price in US dollars.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct Cost {
    pub dollars: f64,
    /// Where the rate is from: `prices of 2026-09-01`, `half of the standard rate, prices of …`, `configuration`.
    pub rate: String,
}

/// Between two prices in US dollars: always an estimate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct CostRange {
    pub low: f64,
    pub high: f64,
    /// As in [`Cost::rate`].
    pub rate: String,
}

/// How a cancel met the batch, where "cancelled" is not the whole truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub enum CancelResult {
    /// The provider says: cancelled.
    Cancelled,
    /// It took the request, and the batch finished all the same.
    FinishedAnyway,
    /// It had ended before the request came.
    AlreadyFinished,
    /// None had been made: there was nothing to cancel. (Its file may have been sent.)
    NeverSent,
    /// Its creation got no answer, and it never showed in the provider's list.
    NeverAppeared,
}

impl CancelResult {
    /// A sentence for people.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            CancelResult::Cancelled => "The provider says that the batch is cancelled.",
            CancelResult::FinishedAnyway => {
                "The batch finished anyway: the provider took the cancel and was done before it took effect."
            }
            CancelResult::AlreadyFinished => "The batch had already finished when the cancel reached the provider.",
            CancelResult::NeverSent => "No batch had been made at the provider.",
            CancelResult::NeverAppeared => {
                "The provider never answered to the creation of the batch, and its list showed none for as long as one \
                 may come late."
            }
        }
    }
}

/// A fault that the provider names for the whole batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct BatchFault {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub code: Option<String>,
    pub message: String,
    /// Line of the file of requests, from 1.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub line: Option<u64>,
}

/// Results after they were collected, request by request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct ResultCounts {
    pub succeeded: u64,
    pub failed: u64,
    pub cancelled: u64,
    pub expired: u64,
    /// Without any result.
    pub missing: u64,
    /// Results that name no request of the file, or one that had a result already.
    pub strangers: u64,
}

impl ResultCounts {
    /// Requests that were not done: what a rerun of the unfinished sends.
    #[must_use]
    pub const fn unfinished(&self) -> u64 {
        self.failed + self.cancelled + self.expired + self.missing
    }
}

/// The batch of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct BatchView {
    /// Name of the provider in the configuration.
    pub provider: String,
    pub provider_kind: ProviderKind,
    /// The provider's id; none before it answered.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub batch_id: Option<String>,
    /// Our id there (metadata or display name): by it a batch is found again whose creation got no answer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tag: Option<String>,
    pub state: BatchState,
    /// The provider's own word.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub raw_state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub endpoint: Option<String>,
    /// As the provider counts; `total` from the file before it counts.
    pub requests: RequestCounts,
    /// The provider's times.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub created_at: Option<Timestamp>,
    /// When the provider gives it up.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ended_at: Option<Timestamp>,
    /// When the cancel reached the provider.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cancel_sent_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cancel_result: Option<CancelResult>,
    /// Detail only: when the provider was asked last, and when it is asked next.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub asked_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next_ask_at: Option<Timestamp>,
    /// Why the last question got no answer; none when it did.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_error: Option<String>,
    /// What the provider names as wrong with the batch.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub faults: Vec<BatchFault>,
    /// True when the provider does not know it (any more).
    #[serde(default)]
    pub gone: bool,
    /// True when it was not submitted from here.
    #[serde(default)]
    pub adopted: bool,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub usage: Option<TokenUsage>,
    /// What it has cost so far; none when the usage or the price is not known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cost: Option<Cost>,
    /// What it was estimated to cost as a whole.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub estimate: Option<CostRange>,
    /// Of a cancelled batch: what the requests that were not done would have cost.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub saved: Option<CostRange>,
    /// None before the results were collected.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub results: Option<ResultCounts>,
}

/// Body of `POST /api/batches/check`, or its part `check`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct CheckRequest {
    /// Name of a provider of the configuration.
    pub provider: String,
    /// As in [`BatchSpec::input`]; none when the file comes as part `files`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub input: Option<String>,
    /// As in [`BatchSpec::model`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub model: Option<String>,
}

/// A line of a file of requests that cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct LineFault {
    /// From 1; none for a fault of the whole file.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub line: Option<u64>,
    pub message: String,
}

/// A file of requests as it was checked. It can be sent when `fault_count` is 0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct CheckedInput {
    pub requests: u64,
    pub bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub endpoint: Option<String>,
    /// An estimate: the bytes of the prompts divided by 4.
    pub estimated_input_tokens: u64,
    /// Sum of the upper bounds, when every request names one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max_output_tokens: Option<u64>,
    /// None when the price of the model is not known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub estimate: Option<CostRange>,
    /// The first 100.
    pub faults: Vec<LineFault>,
    /// All of them.
    pub fault_count: u64,
}

/// What became of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub enum RequestStatus {
    Succeeded,
    Failed,
    Cancelled,
    Expired,
    /// The provider returned nothing for it.
    Missing,
}

impl RequestStatus {
    /// All, in the order of the filter.
    pub const ALL: [RequestStatus; 5] = [
        RequestStatus::Succeeded,
        RequestStatus::Failed,
        RequestStatus::Cancelled,
        RequestStatus::Expired,
        RequestStatus::Missing,
    ];

    /// The name in JSON and URLs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            RequestStatus::Succeeded => "succeeded",
            RequestStatus::Failed => "failed",
            RequestStatus::Cancelled => "cancelled",
            RequestStatus::Expired => "expired",
            RequestStatus::Missing => "missing",
        }
    }

    /// The word that people read.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            RequestStatus::Succeeded => "Succeeded",
            RequestStatus::Failed => "Failed",
            RequestStatus::Cancelled => "Cancelled",
            RequestStatus::Expired => "Expired",
            RequestStatus::Missing => "No result",
        }
    }
}

impl std::str::FromStr for RequestStatus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = RequestStatus::ALL.into_iter().find(|status| status.as_str() == text);
        found.ok_or_else(|| format!("unknown status `{text}`"))
    }
}

/// One request with its result: a row of the table, and a line of `requests.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct RequestRow {
    /// `custom_id` or `key`.
    pub id: String,
    pub status: RequestStatus,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub http_status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub input_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub output_tokens: Option<u64>,
    /// The beginning of the answer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub first_words: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
}

/// A page under `GET /api/jobs/{job_id}/requests`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestQuery {
    pub status: Option<RequestStatus>,
    pub cursor: Option<String>,
    /// 1 to 200, default 100.
    pub limit: Option<u32>,
}

impl RequestQuery {
    /// As pairs of a query.
    #[must_use]
    pub fn to_pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs = Vec::new();
        pairs.extend(self.status.map(|status| ("status", status.as_str().to_owned())));
        pairs.extend(self.cursor.clone().map(|cursor| ("cursor", cursor)));
        pairs.extend(self.limit.map(|limit| ("limit", limit.to_string())));
        pairs
    }
}

/// Whose a batch of a provider's list is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub enum RemoteOwner {
    /// A job of this server.
    Job,
    /// A job that was deleted here; the provider keeps its record.
    DeletedJob,
    /// Nobody's here: it can be adopted or cancelled.
    Orphan,
}

/// A batch as the provider lists it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct RemoteBatch {
    pub batch_id: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
    pub state: BatchState,
    pub raw_state: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub endpoint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub requests: Option<RequestCounts>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub created_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expires_at: Option<Timestamp>,
    pub owner: RemoteOwner,
    /// The job, when there is or was one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub job_id: Option<JobId>,
}

/// A page of a provider's own list.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct RemoteBatchPage {
    pub items: Vec<RemoteBatch>,
    pub next_cursor: Option<String>,
}

/// Body of an adoption; an empty body is `{}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct AdoptRequest {
    /// Name of the job; default: the batch's own name, or its id.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
}

/// What an import of another tool's records came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct ImportAnswer {
    /// New jobs, one for each batch.
    pub adopted: Vec<JobId>,
    /// Batches that a job has already.
    pub known: u64,
    /// Records that could not be taken: which, and why.
    pub refused: Vec<String>,
}
