//! The batch of a job as it is stored: what must be known after a crash, and after the job.

use app::model::{
    BatchFault, BatchState, CancelResult, CheckedInput, JobId, ProviderKind, RequestCounts, ResultCounts, Timestamp,
    TokenUsage,
};
use serde::{Deserialize, Serialize};

/// How far the batch was brought to the provider. Written *before* the step is taken, so that a crash in the middle finds
/// what may have happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchStep {
    /// Nothing was sent.
    #[default]
    New,
    /// The file may be there.
    Uploading,
    /// The file is there.
    Uploaded,
    /// The batch may be there: it is looked for by its tag before anything else.
    Creating,
    /// The batch is there, under its id.
    Created,
    /// It is over, and its results are stored.
    Collected,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchRecord {
    pub job_id: JobId,
    /// Of the stored record; 0 for one that is not stored yet.
    #[serde(skip)]
    pub version: u64,
    /// Name in the configuration.
    pub provider: String,
    pub provider_kind: ProviderKind,
    /// Our id of it at the provider.
    pub tag: String,
    pub step: BatchStep,
    /// It was not submitted from here.
    pub adopted: bool,
    /// The provider's id of it.
    pub batch_id: Option<String>,
    /// The provider's id of the file of requests.
    pub input_file: Option<String>,
    pub input_bytes: u64,
    /// When its creation was tried first.
    pub create_begun_at: Option<Timestamp>,
    /// When a creation was sent of which nobody knows what became. None before, and as soon as it is known.
    pub create_sent_at: Option<Timestamp>,
    /// The file of requests as it was checked before it was sent.
    pub checked: Option<CheckedInput>,
    pub state: BatchState,
    /// The provider's own word.
    pub raw_state: Option<String>,
    pub model: Option<String>,
    pub endpoint: Option<String>,
    pub counts: Option<RequestCounts>,
    pub usage: Option<TokenUsage>,
    /// The provider's times.
    pub created_at: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    /// When a cancel reached the provider.
    pub cancel_sent_at: Option<Timestamp>,
    pub cancel_result: Option<CancelResult>,
    /// When the provider answered last, as of this record, and when it is to be asked next.
    pub asked_at: Option<Timestamp>,
    pub next_ask_at: Option<Timestamp>,
    /// Why the last question got no answer.
    pub last_error: Option<String>,
    /// What the provider names as wrong with the batch.
    pub faults: Vec<BatchFault>,
    /// The provider's ids of the files of results.
    pub output_files: Vec<String>,
    /// The provider does not know it any more.
    pub gone: bool,
    pub results: Option<ResultCounts>,
    /// A removal deleted it at the provider, or found it gone.
    pub batch_removed: bool,
    /// Likewise: ids of the files.
    pub files_removed: Vec<String>,
    /// When the job was removed.
    pub removed_at: Option<Timestamp>,
}

impl BatchRecord {
    /// A batch of which nothing was sent yet.
    #[must_use]
    pub fn new(job_id: JobId, provider: &str, provider_kind: ProviderKind) -> Self {
        BatchRecord {
            job_id,
            version: 0,
            provider: provider.to_owned(),
            provider_kind,
            tag: format!("belay-{job_id}"),
            step: BatchStep::New,
            adopted: false,
            batch_id: None,
            input_file: None,
            input_bytes: 0,
            create_begun_at: None,
            create_sent_at: None,
            checked: None,
            state: BatchState::Unsent,
            raw_state: None,
            model: None,
            endpoint: None,
            counts: None,
            usage: None,
            created_at: None,
            expires_at: None,
            ended_at: None,
            cancel_sent_at: None,
            cancel_result: None,
            asked_at: None,
            next_ask_at: None,
            last_error: None,
            faults: Vec::new(),
            output_files: Vec::new(),
            gone: false,
            results: None,
            batch_removed: false,
            files_removed: Vec::new(),
            removed_at: None,
        }
    }

    /// The provider has a batch of it, or may have one.
    #[must_use]
    pub fn may_be_there(&self) -> bool {
        self.batch_id.is_some() || self.create_sent_at.is_some()
    }

    /// Files at the provider that no removal has deleted.
    pub fn files_left(&self) -> impl Iterator<Item = &String> {
        let files = self.input_file.iter().chain(&self.output_files);
        files.filter(|file| !self.files_removed.contains(file))
    }
}

/// What storing a batch came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutBatch {
    /// Under this version.
    Stored(u64),
    /// Somebody else stored it meanwhile: read again.
    Conflict,
    /// Another job has the batch of this id.
    Taken,
}

/// Whose a provider's batch is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchOwner {
    pub batch_id: Option<String>,
    pub tag: String,
    pub job_id: JobId,
    /// The job was deleted.
    pub removed: bool,
}
