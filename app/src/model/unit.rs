//! Units: the smallest thing that is run, succeeds, fails or is cancelled on its own. And their log.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{id::RunId, phase::Phase, stop::StopEvidence, time::Timestamp};

/// Where a unit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub enum UnitStatus {
    /// Waits for a worker.
    Pending,
    /// A worker holds it.
    Running,
    /// Ended well.
    Succeeded,
    /// Ended badly; `error` says how.
    Failed,
    /// Stopped by a cancel, or never started because of one.
    Cancelled,
}

impl UnitStatus {
    /// All, in the order in which lists show them.
    pub const ALL: [UnitStatus; 5] =
        [UnitStatus::Running, UnitStatus::Succeeded, UnitStatus::Failed, UnitStatus::Cancelled, UnitStatus::Pending];

    /// The name in JSON, SQL and URLs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            UnitStatus::Pending => "pending",
            UnitStatus::Running => "running",
            UnitStatus::Succeeded => "succeeded",
            UnitStatus::Failed => "failed",
            UnitStatus::Cancelled => "cancelled",
        }
    }

    /// The word that people read.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            UnitStatus::Pending => "Pending",
            UnitStatus::Running => "Running",
            UnitStatus::Succeeded => "Succeeded",
            UnitStatus::Failed => "Failed",
            UnitStatus::Cancelled => "Cancelled",
        }
    }

    /// Over for good.
    #[must_use]
    pub const fn is_over(self) -> bool {
        match self {
            UnitStatus::Pending | UnitStatus::Running => false,
            UnitStatus::Succeeded | UnitStatus::Failed | UnitStatus::Cancelled => true,
        }
    }
}

impl fmt::Display for UnitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no unit status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownUnitStatus(pub String);

impl fmt::Display for UnknownUnitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown unit status `{}`", self.0)
    }
}

impl std::error::Error for UnknownUnitStatus {}

impl FromStr for UnitStatus {
    type Err = UnknownUnitStatus;

    fn from_str(text: &str) -> Result<Self, UnknownUnitStatus> {
        UnitStatus::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| UnknownUnitStatus(text.to_owned()))
    }
}

/// A unit in an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct Unit {
    /// Position in the job, from 0. Also the folder of its artifacts.
    pub index: u64,
    /// What people call it: the file's name. Bytes that are not UTF-8 are shown as U+FFFD.
    pub name: String,
    /// The phase of the job to which the unit belongs.
    pub phase: Phase,
    pub status: UnitStatus,
    /// Runs begun so far, the present one included.
    pub attempt: u32,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    /// The last run, if there was one.
    pub run_id: Option<RunId>,
    /// Exit status of the command; `null` when it has none (ended by a signal, never started).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub exit_code: Option<i32>,
    /// Why it failed, one sentence.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
    /// Files that it left as artifacts.
    #[serde(default)]
    pub artifacts: u64,
    /// The last line that it printed; of hosts only.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_line: Option<String>,
    /// Evidence of its stop, when it was cancelled.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stop: Option<StopEvidence>,
}

/// Where a log line comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub enum LogStream {
    Stdout,
    Stderr,
    /// Belay's own words: signals sent, output left out.
    Belay,
}

impl LogStream {
    /// All of them.
    pub const ALL: [LogStream; 3] = [LogStream::Stdout, LogStream::Stderr, LogStream::Belay];

    /// The name in JSON and URLs, and the word on pages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            LogStream::Stdout => "stdout",
            LogStream::Stderr => "stderr",
            LogStream::Belay => "belay",
        }
    }

    /// Reads the name.
    #[must_use]
    pub fn parse(text: &str) -> Option<LogStream> {
        LogStream::ALL.into_iter().find(|stream| stream.as_str() == text)
    }
}

/// Which part of a job's log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// One unit's; `None`: of all, the latest lines.
    pub unit: Option<u64>,
    /// Only what was written there; `None`: everything.
    pub stream: Option<LogStream>,
    /// Reads on from here (one unit's only).
    pub cursor: Option<String>,
}

impl LogQuery {
    /// Reads name and value pairs of a URL; unknown names are left alone.
    ///
    /// # Errors
    /// A sentence that names the parameter and what it takes.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, String> {
        let mut query = LogQuery::default();
        for (name, value) in pairs.into_iter().filter(|(_, value)| !value.is_empty()) {
            match name {
                "unit" => query.unit = Some(value.parse().map_err(|_| "`unit` takes the index of a unit.".to_owned())?),
                "stream" => {
                    let stream = LogStream::parse(value);
                    query.stream = Some(stream.ok_or_else(|| "`stream` takes stdout, stderr or belay.".to_owned())?);
                }
                "cursor" => query.cursor = Some(value.to_owned()),
                _ => {}
            }
        }
        Ok(query)
    }

    /// Name and value pairs for a URL, defaults left out. The caller percent-encodes.
    #[must_use]
    pub fn to_pairs(&self) -> Vec<(&'static str, String)> {
        let unit = self.unit.map(|unit| ("unit", unit.to_string()));
        let stream = self.stream.map(|stream| ("stream", stream.as_str().to_owned()));
        let cursor = self.cursor.clone().map(|cursor| ("cursor", cursor));
        [unit, stream, cursor].into_iter().flatten().collect()
    }
}

/// One line of output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct LogLine {
    pub at: Timestamp,
    pub stream: LogStream,
    /// Unit that wrote it.
    pub unit: u64,
    /// Without the line end; bytes that are not UTF-8 as U+FFFD; lines over 8 KiB are cut into several.
    pub text: String,
}

/// A part of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct LogPage {
    /// Oldest first.
    pub items: Vec<LogLine>,
    /// Reads on from here (one unit's log only).
    pub next_cursor: Option<String>,
    /// True when lines before `items` were left out of this answer.
    pub truncated: bool,
}
