//! What was observed when a run was stopped. A run is called stopped only with one of these.

use serde::{Deserialize, Serialize};

use super::time::Timestamp;

/// How a run came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub enum StopMethod {
    /// The unit had not been started; there was nothing to stop.
    NeverStarted,
    /// Everything had exited by itself before a signal was needed.
    Exited,
    /// Everything was gone after SIGTERM, within the grace period.
    Terminated,
    /// SIGKILL was needed.
    Killed,
    /// Stopped on another host.
    Remote,
    /// Stopped at a provider.
    Provider,
    /// Whoever ran it is gone or does not answer; see `confirmed` for what a later search found.
    Lost,
}

impl StopMethod {
    /// The name in JSON and SQL.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            StopMethod::NeverStarted => "never_started",
            StopMethod::Exited => "exited",
            StopMethod::Terminated => "terminated",
            StopMethod::Killed => "killed",
            StopMethod::Remote => "remote",
            StopMethod::Provider => "provider",
            StopMethod::Lost => "lost",
        }
    }
}

/// One thing that was done or seen during a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub enum StopStepKind {
    /// A signal was sent to the whole tree. `detail`: its name and how many processes got it.
    Signalled,
    /// A provider was asked to cancel. `detail`: what it answered.
    Asked,
    /// A provider was asked how it stands. `detail`: its own word and its counts.
    Answered,
    /// The command itself exited. `detail`: `exit 0`, `signal 15`.
    Exited,
    /// A search for what may be left was made. `detail`: where, and what it found.
    Searched,
    /// The search ended. `detail`: `0 of 3 processes left`.
    Counted,
    /// The evidence is complete. `detail`: `stopped`, or what could not be known.
    Confirmed,
}

/// One dated line of the evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct StopStep {
    pub step: StopStepKind,
    pub at: Timestamp,
    /// A few words for people.
    pub detail: String,
}

/// Evidence of one run's stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct StopEvidence {
    pub method: StopMethod,
    /// Names of the signals sent, in order: `["SIGTERM", "SIGKILL"]`.
    pub signals: Vec<String>,
    /// When the last process was seen to be gone; `null` while that is not known.
    pub stopped_at: Option<Timestamp>,
    /// Processes of the run that were still there at the last look; `null` when nobody could look.
    pub processes_left: Option<u32>,
    /// Most processes of the run that were seen at once during the stop; `null` when nobody could look.
    #[serde(default)]
    pub processes_seen: Option<u32>,
    /// True when it was observed that nothing of the run is left. Never true because a timer ran out.
    pub confirmed: bool,
    /// One sentence for people: what was found, or what could not be known and why.
    pub detail: String,
    /// The steps, oldest first.
    #[serde(default)]
    pub steps: Vec<StopStep>,
}

impl StopEvidence {
    /// Evidence for a unit that was never given to a worker.
    #[must_use]
    pub fn never_started(at: Timestamp) -> Self {
        StopEvidence {
            method: StopMethod::NeverStarted,
            signals: Vec::new(),
            stopped_at: Some(at),
            processes_left: Some(0),
            processes_seen: Some(0),
            confirmed: true,
            detail: "Never started.".to_owned(),
            steps: Vec::new(),
        }
    }
}

/// The stop of a whole job in numbers. `units` is the sum of the other four.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct StopSummary {
    /// Units that the cancel concerned: those that had not finished when it was asked for.
    pub units: u64,
    /// Units that no worker had begun.
    pub never_started: u64,
    /// Runs with proof that nothing of them is left (also those that finished by themselves meanwhile).
    pub stopped: u64,
    /// Runs that have not answered yet.
    pub waiting: u64,
    /// Runs given up by Force without proof.
    pub unconfirmed: u64,
}
