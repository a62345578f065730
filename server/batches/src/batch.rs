//! A batch as a provider tells it.

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970, UTC.
pub type UnixMillis = i64;

/// What a provider says about one batch. Everything but its id may be missing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Batch {
    /// As the provider's own calls take it: `batch_…`, `batches/…`.
    pub id: String,
    pub state: State,
    /// The provider's own word: `in_progress`, `BATCH_STATE_RUNNING`. Empty when it gave none.
    pub raw_state: String,
    pub model: Option<String>,
    /// `/v1/chat/completions`; for Gemini none.
    pub endpoint: Option<String>,
    /// What [`Create::tag`](crate::Create::tag) was, when this batch was made by us.
    pub tag: Option<String>,
    pub display_name: Option<String>,
    pub counts: Option<Counts>,
    /// For the whole batch; most providers do not say.
    pub usage: Option<Usage>,
    pub created_at: Option<UnixMillis>,
    pub started_at: Option<UnixMillis>,
    /// When the provider gives up on what is not done.
    pub expires_at: Option<UnixMillis>,
    /// When it reached a terminal state, whichever.
    pub ended_at: Option<UnixMillis>,
    pub input_file: Option<String>,
    pub outputs: Outputs,
    /// Why the batch as a whole failed, or what the provider refused of its input.
    pub errors: Vec<BatchError>,
}

/// A provider's state, normalised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Accepted, being validated, or waiting.
    Queued,
    Running,
    /// Nothing is computed any more, the results are being written.
    Finalizing,
    /// The provider has taken a cancellation and is not done with it. Not every provider has such a state.
    Cancelling,
    /// Ended by itself. Single requests may have failed.
    Succeeded,
    /// Ended by itself, and the provider calls it a part.
    Partial,
    Failed,
    /// The provider's time was over. There may be results.
    Expired,
    Cancelled,
    /// A word that this version does not know: not terminal, so that it is looked at again.
    #[default]
    Unknown,
}

impl State {
    /// Nothing will change any more. The only word by which a batch is called stopped.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        match self {
            State::Succeeded | State::Partial | State::Failed | State::Expired | State::Cancelled => true,
            State::Queued | State::Running | State::Finalizing | State::Cancelling | State::Unknown => false,
        }
    }

    /// Reads the words of all providers known: in either case, with `BATCH_STATE_` or `JOB_STATE_` before them, with one
    /// l or two.
    #[must_use]
    pub fn from_word(word: &str) -> State {
        let word = word.trim().to_ascii_lowercase().replace(['-', ' '], "_");
        let word = word.strip_prefix("batch_state_").or_else(|| word.strip_prefix("job_state_")).unwrap_or(&word);
        match word {
            "validating" | "queued" | "pending" | "created" => State::Queued,
            "in_progress" | "running" | "processing" => State::Running,
            "finalizing" => State::Finalizing,
            "cancelling" | "canceling" | "cancellation_requested" => State::Cancelling,
            "completed" | "succeeded" | "success" | "ended" => State::Succeeded,
            "partially_succeeded" => State::Partial,
            "failed" => State::Failed,
            "expired" | "timeout_exceeded" => State::Expired,
            "cancelled" | "canceled" => State::Cancelled,
            _ => State::Unknown,
        }
    }
}

/// Requests of a batch. `total` is what the provider says; what is neither completed nor failed is open or was never done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub total: u64,
    pub completed: u64,
    pub failed: u64,
}

impl Counts {
    /// Requests that have no answer of either sort.
    #[must_use]
    pub fn open(self) -> u64 {
        self.total.saturating_sub(self.completed).saturating_sub(self.failed)
    }
}

/// Tokens that were used, as they are billed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// All input tokens, those from the cache among them.
    pub input_tokens: u64,
    /// Of these, what the cache held.
    pub cached_tokens: u64,
    /// All output tokens that are billed, reasoning or thoughts among them.
    pub output_tokens: u64,
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Usage) {
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.cached_tokens = self.cached_tokens.saturating_add(other.cached_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
    }
}

/// Where results lie.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Outputs {
    pub results: Option<Source>,
    /// Only some providers part errors from results.
    pub errors: Option<Source>,
}

impl Outputs {
    /// Both, results first.
    pub fn iter(&self) -> impl Iterator<Item = &Source> {
        self.results.iter().chain(&self.errors)
    }
}

/// Something that [`Provider::download`](crate::Provider::download) fetches as JSONL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A file of the provider, by id. It can be deleted there.
    File(String),
    /// Inside the batch of this id itself: goes with the batch.
    Inline(String),
}

/// One thing that a provider says was wrong with a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BatchError {
    pub code: Option<String>,
    pub message: String,
    /// Line of the input file, from 1.
    pub line: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_read_in_either_case_and_with_either_prefix() {
        for (word, state) in [
            ("validating", State::Queued),
            ("in_progress", State::Running),
            ("IN_PROGRESS", State::Running),
            ("in-progress", State::Running),
            ("cancelled", State::Cancelled),
            ("canceled", State::Cancelled),
            ("BATCH_STATE_PENDING", State::Queued),
            ("JOB_STATE_SUCCEEDED", State::Succeeded),
            ("JOB_STATE_PARTIALLY_SUCCEEDED", State::Partial),
            ("BATCH_STATE_EXPIRED", State::Expired),
            ("BATCH_STATE_UNSPECIFIED", State::Unknown),
            ("CANCELLATION_REQUESTED", State::Cancelling),
            ("TIMEOUT_EXCEEDED", State::Expired),
            ("ended", State::Succeeded),
            ("thinking_about_it", State::Unknown),
            ("", State::Unknown),
        ] {
            assert_eq!(State::from_word(word), state, "{word}");
        }
    }

    #[test]
    fn an_unknown_state_is_looked_at_again() {
        assert!(!State::from_word("archived").is_terminal());
    }

    #[test]
    fn counts_that_contradict_each_other_leave_nothing_open() {
        assert_eq!(Counts { total: 3, completed: 5, failed: 1 }.open(), 0);
    }
}
