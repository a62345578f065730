//! Rows as SQLite has them, and what they mean.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
    str::FromStr,
};

use app::model::{
    AuditAction, AuditEvent, Category, JobId, Phase, PhaseProgress, Progress, RunId, Source, StopEvidence, StopSummary,
    Timestamp, UnitStatus,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    error::{Error, Result},
    store::{ArtifactRow, CancelRecord, DeleteIntent, JobRecord, OpenRun, RunState, UnitRecord, WorkerRecord},
};

/// A count or size for SQL.
pub(super) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A count or size from SQL.
pub(super) fn count(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

fn small(value: i64) -> u32 {
    u32::try_from(value).unwrap_or(0)
}

pub(super) fn job_key(id: JobId) -> Vec<u8> {
    id.0.to_be_bytes().to_vec()
}

pub(super) fn run_key(id: RunId) -> Vec<u8> {
    id.0.to_be_bytes().to_vec()
}

fn id_bytes(bytes: &[u8]) -> Result<u128> {
    let bytes: [u8; 16] = bytes.try_into().map_err(|_| damaged("an id", &format!("{} bytes", bytes.len())))?;
    Ok(u128::from_be_bytes(bytes))
}

pub(super) fn job_id(bytes: &[u8]) -> Result<JobId> {
    id_bytes(bytes).map(JobId)
}

pub(super) fn run_id(bytes: &[u8]) -> Result<RunId> {
    id_bytes(bytes).map(RunId)
}

pub(super) fn input_bytes(input: &OsStr) -> Vec<u8> {
    input.as_bytes().to_vec()
}

/// Something stored that this build cannot read.
pub(super) fn damaged(what: &str, found: &str) -> Error {
    Error::Internal { context: format!("the database holds {what} that cannot be read: `{found}`"), source: None }
}

pub(super) fn json<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::internal("a record could not be written as JSON", error))
}

pub(super) fn from_json<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| Error::internal("the database holds JSON that cannot be read", error))
}

pub(super) fn word<T: FromStr>(what: &str, text: &str) -> Result<T> {
    text.parse().map_err(|_| damaged(what, text))
}

/// The phases as a JSON array, to be bound where SQL says `phase IN (SELECT value FROM json_each(?))`: so the guards
/// of the statements are those of [`Phase`], and the statements stay static.
pub(super) fn phase_set(phases: &[Phase]) -> String {
    let words: Vec<String> = phases.iter().map(|phase| format!("\"{phase}\"")).collect();
    format!("[{}]", words.join(","))
}

pub(super) fn source(text: &str) -> Result<Source> {
    [Source::Console, Source::Api, Source::System]
        .into_iter()
        .find(|source| source.as_str() == text)
        .ok_or_else(|| damaged("a source", text))
}

fn evidence(text: Option<&str>) -> Result<Option<StopEvidence>> {
    text.map(from_json).transpose()
}

/// One entry of `jobs.phases`. Progress and end of the phase that is worked on are not here: they are what the job has
/// beyond the phases before, so that running a unit need not rewrite this.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PhaseEntry {
    pub(super) phase: Phase,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) done: Option<Progress>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) started_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) finished_at: Option<Timestamp>,
}

/// A row of `jobs`.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(super) struct JobRow {
    pub(super) seq: i64,
    pub(super) job_id: Vec<u8>,
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) phase: String,
    pub(super) spec: String,
    pub(super) phases: String,
    pub(super) work: i64,
    pub(super) parallel: i64,
    pub(super) created_at: i64,
    pub(super) created_by: String,
    pub(super) started_at: Option<i64>,
    pub(super) finished_at: Option<i64>,
    pub(super) rerun_of: Option<Vec<u8>>,
    pub(super) total: i64,
    pub(super) succeeded: i64,
    pub(super) failed: i64,
    pub(super) cancelled: i64,
    pub(super) running: i64,
    pub(super) cancel_at: Option<i64>,
    pub(super) cancel_by: Option<String>,
    pub(super) cancel_source: Option<String>,
    pub(super) cancel_request_id: Option<String>,
    pub(super) cancel_reason: Option<String>,
    pub(super) cancel_notes: Option<String>,
    pub(super) forced_at: Option<i64>,
    pub(super) cancelled_at: Option<i64>,
    pub(super) stop_never_started: i64,
    pub(super) stop_stopped: i64,
    pub(super) stop_unconfirmed: i64,
    pub(super) delete_at: Option<i64>,
    pub(super) delete_by: Option<String>,
    pub(super) delete_source: Option<String>,
    pub(super) delete_request_id: Option<String>,
    pub(super) delete_keep_files: Option<bool>,
}

impl JobRow {
    pub(super) fn job_id(&self) -> Result<JobId> {
        job_id(&self.job_id)
    }

    pub(super) fn phase(&self) -> Result<Phase> {
        word("a phase", &self.phase)
    }

    pub(super) fn progress(&self) -> Progress {
        Progress {
            total: count(self.total),
            succeeded: count(self.succeeded),
            failed: count(self.failed),
            cancelled: count(self.cancelled),
            running: count(self.running),
        }
    }

    /// Nothing of the present phase is pending or running.
    pub(super) fn is_idle(&self) -> bool {
        let progress = self.progress();
        progress.running == 0 && progress.pending() == 0
    }

    pub(super) fn entries(&self) -> Result<Vec<PhaseEntry>> {
        from_json(&self.phases)
    }

    /// Position of the phase that is worked on.
    pub(super) fn work(&self) -> usize {
        usize::try_from(self.work).unwrap_or(0)
    }

    /// Progress of the phase that is worked on: the job's, without the phases before.
    pub(super) fn work_progress(&self, entries: &[PhaseEntry]) -> Progress {
        let mut rest = self.progress();
        for done in entries.iter().take(self.work()).filter_map(|entry| entry.done) {
            rest.total = rest.total.saturating_sub(done.total);
            rest.succeeded = rest.succeeded.saturating_sub(done.succeeded);
            rest.failed = rest.failed.saturating_sub(done.failed);
            rest.cancelled = rest.cancelled.saturating_sub(done.cancelled);
        }
        rest
    }

    fn phase_progress(&self) -> Result<Vec<PhaseProgress>> {
        let entries = self.entries()?;
        let work = self.work();
        let present = self.work_progress(&entries);
        let started = self.started_at.map(Timestamp);
        let progress_of = |(position, entry): (usize, &PhaseEntry)| PhaseProgress {
            phase: entry.phase,
            progress: if position == work { present } else { entry.done.unwrap_or_default() },
            started_at: if position == 0 { started } else { entry.started_at },
            finished_at: if position == work { self.finished_at.map(Timestamp) } else { entry.finished_at },
        };
        Ok(entries.iter().enumerate().map(progress_of).collect())
    }

    fn cancel(&self) -> Result<Option<CancelRecord>> {
        let Some(requested_at) = self.cancel_at else { return Ok(None) };
        let mut stop = StopSummary {
            units: 0,
            never_started: count(self.stop_never_started),
            stopped: count(self.stop_stopped),
            waiting: count(self.running),
            unconfirmed: count(self.stop_unconfirmed),
        };
        stop.units = stop.never_started + stop.stopped + stop.waiting + stop.unconfirmed;
        Ok(Some(CancelRecord {
            requested_at: Timestamp(requested_at),
            requested_by: self.cancel_by.clone().unwrap_or_default(),
            source: source(self.cancel_source.as_deref().unwrap_or_default())?,
            request_id: self.cancel_request_id.clone().unwrap_or_default(),
            reason: self.cancel_reason.clone().unwrap_or_default(),
            notes: self.cancel_notes.clone(),
            forced_at: self.forced_at.map(Timestamp),
            cancelled_at: self.cancelled_at.map(Timestamp),
            stop,
        }))
    }

    pub(super) fn delete_intent(&self) -> Result<Option<DeleteIntent>> {
        let Some(at) = self.delete_at else { return Ok(None) };
        Ok(Some(DeleteIntent {
            actor: self.delete_by.clone().unwrap_or_default(),
            source: source(self.delete_source.as_deref().unwrap_or_default())?,
            request_id: self.delete_request_id.clone().unwrap_or_default(),
            at: Timestamp(at),
            keep_files: self.delete_keep_files.unwrap_or_default(),
        }))
    }

    pub(super) fn record(self) -> Result<JobRecord> {
        Ok(JobRecord {
            job_id: self.job_id()?,
            kind: word("a kind", &self.kind)?,
            phase: self.phase()?,
            phases: self.phase_progress()?,
            parallel: small(self.parallel),
            created_at: Timestamp(self.created_at),
            started_at: self.started_at.map(Timestamp),
            finished_at: self.finished_at.map(Timestamp),
            progress: self.progress(),
            cancel: self.cancel()?,
            rerun_of: self.rerun_of.as_deref().map(job_id).transpose()?,
            delete_intended: self.delete_at.is_some(),
            name: self.name,
            spec: self.spec,
            created_by: self.created_by,
        })
    }
}

/// A row of `units`.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(super) struct UnitRow {
    pub(super) idx: i64,
    pub(super) phase: String,
    pub(super) name: String,
    pub(super) input: Vec<u8>,
    pub(super) status: String,
    pub(super) attempt: i64,
    pub(super) losses: i64,
    pub(super) started_at: Option<i64>,
    pub(super) finished_at: Option<i64>,
    pub(super) run_id: Option<Vec<u8>>,
    pub(super) exit_code: Option<i64>,
    pub(super) error: Option<String>,
    pub(super) artifacts: i64,
    pub(super) stop: Option<String>,
}

impl UnitRow {
    /// The unit as a reader should see it: a pending row of a job that is not worked on any more is cancelled, and a
    /// cancelled one without evidence was never started.
    pub(super) fn record(self, job_id: JobId, job_phase: Phase, cancel_at: Option<i64>) -> Result<UnitRecord> {
        let stored: UnitStatus = word("a unit status", &self.status)?;
        let unswept = stored == UnitStatus::Pending && !job_phase.can_claim();
        let status = if unswept { UnitStatus::Cancelled } else { stored };
        let mut stop = evidence(self.stop.as_deref())?;
        let mut finished_at = self.finished_at.map(Timestamp);
        if let (UnitStatus::Cancelled, Some(at)) = (status, cancel_at.map(Timestamp)) {
            stop = stop.or_else(|| Some(StopEvidence::never_started(at)));
            finished_at = finished_at.or(Some(at));
        }
        Ok(UnitRecord {
            job_id,
            index: count(self.idx),
            name: self.name,
            input: OsString::from_vec(self.input),
            phase: word("a phase", &self.phase)?,
            status,
            attempt: small(self.attempt),
            losses: small(self.losses),
            started_at: self.started_at.map(Timestamp),
            finished_at,
            run_id: self.run_id.as_deref().map(run_id).transpose()?,
            exit_code: self.exit_code.and_then(|code| i32::try_from(code).ok()),
            error: self.error,
            artifacts: count(self.artifacts),
            stop,
        })
    }
}

/// The name of a run's state in SQL.
pub(super) const fn state_word(state: RunState) -> &'static str {
    match state {
        RunState::Open => "open",
        RunState::Lost => "lost",
        RunState::Closed => "closed",
    }
}

pub(super) fn run_state(text: &str) -> Result<RunState> {
    [RunState::Open, RunState::Lost, RunState::Closed]
        .into_iter()
        .find(|state| state_word(*state) == text)
        .ok_or_else(|| damaged("a run's state", text))
}

/// A row of `runs` with what of its job and unit goes along.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(super) struct OpenRunRow {
    pub(super) run_id: Vec<u8>,
    pub(super) job_id: Vec<u8>,
    pub(super) kind: String,
    pub(super) job_phase: String,
    pub(super) unit: i64,
    pub(super) unit_name: String,
    pub(super) state: String,
    pub(super) worker: String,
    pub(super) instance: String,
    pub(super) started_at: i64,
    pub(super) lease_until: i64,
    pub(super) stop: Option<String>,
    #[sqlx(default)]
    pub(super) is_cancelled: bool,
}

impl OpenRunRow {
    pub(super) fn record(self) -> Result<OpenRun> {
        Ok(OpenRun {
            run_id: run_id(&self.run_id)?,
            job_id: job_id(&self.job_id)?,
            kind: word("a kind", &self.kind)?,
            job_phase: word("a phase", &self.job_phase)?,
            unit: count(self.unit),
            unit_name: self.unit_name,
            state: run_state(&self.state)?,
            worker: self.worker,
            instance: self.instance,
            started_at: Timestamp(self.started_at),
            lease_until: Timestamp(self.lease_until),
            stop: evidence(self.stop.as_deref())?,
            is_cancelled: self.is_cancelled,
        })
    }
}

/// A row of `runs` for whoever closes it.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(super) struct RunRow {
    pub(super) seq: i64,
    pub(super) run_id: Vec<u8>,
    pub(super) job_seq: i64,
    pub(super) idx: i64,
    pub(super) worker: String,
    pub(super) state: String,
    pub(super) stop: Option<String>,
    pub(super) unproven: i64,
}

impl RunRow {
    pub(super) fn state(&self) -> Result<RunState> {
        run_state(&self.state)
    }

    pub(super) fn evidence(&self) -> Result<Option<StopEvidence>> {
        evidence(self.stop.as_deref())
    }
}

#[derive(Clone, Debug, sqlx::FromRow)]
pub(super) struct ArtifactSqlRow {
    pub(super) path: String,
    pub(super) name: String,
    pub(super) unit: Option<i64>,
    pub(super) category: String,
    pub(super) bytes: i64,
}

impl ArtifactSqlRow {
    pub(super) fn record(self) -> Result<ArtifactRow> {
        let category = Category::ALL
            .into_iter()
            .find(|category| category.as_str() == self.category)
            .ok_or_else(|| damaged("a category", &self.category))?;
        Ok(ArtifactRow {
            path: self.path,
            name: self.name,
            unit: self.unit.map(count),
            category,
            bytes: count(self.bytes),
        })
    }
}

#[derive(Clone, Debug, sqlx::FromRow)]
pub(super) struct WorkerRow {
    pub(super) worker_id: String,
    pub(super) instance: String,
    pub(super) host: String,
    pub(super) boot_id: String,
    pub(super) slots: i64,
    pub(super) started_at: i64,
    pub(super) heartbeat_at: i64,
}

impl WorkerRow {
    pub(super) fn record(self) -> WorkerRecord {
        WorkerRecord {
            worker_id: self.worker_id,
            instance: self.instance,
            host: self.host,
            boot_id: self.boot_id,
            slots: small(self.slots),
            started_at: Timestamp(self.started_at),
            heartbeat_at: Timestamp(self.heartbeat_at),
        }
    }
}

#[derive(Clone, Debug, sqlx::FromRow)]
pub(super) struct AuditRow {
    pub(super) seq: i64,
    pub(super) at: i64,
    pub(super) actor: String,
    pub(super) action: String,
    pub(super) job_id: Option<Vec<u8>>,
    pub(super) job_name: Option<String>,
    pub(super) source: String,
    pub(super) address: Option<String>,
    pub(super) request_id: String,
    pub(super) result: String,
    pub(super) detail: Option<String>,
}

impl AuditRow {
    pub(super) fn record(self) -> Result<AuditEvent> {
        let action = AuditAction::ALL
            .into_iter()
            .find(|action| action.as_str() == self.action)
            .ok_or_else(|| damaged("an audit action", &self.action))?;
        Ok(AuditEvent {
            at: Timestamp(self.at),
            actor: self.actor,
            action,
            job_id: self.job_id.as_deref().map(job_id).transpose()?,
            job_name: self.job_name,
            source: source(&self.source)?,
            address: self.address,
            request_id: self.request_id,
            result: self.result,
            detail: self.detail,
        })
    }
}
