//! How runs end: by a result, by being handed back, by evidence that came late, or by Force.

use app::model::{JobId, Phase, Progress, RunId, StopEvidence, StopMethod, Timestamp};
use sqlx::SqliteConnection;

use super::{
    SqliteStore, cancel, jobs,
    rows::{JobRow, RunRow, int, job_id, json, run_key, state_word},
};
use crate::{
    error::Result,
    store::{ArtifactRow, FinishEffect, RunResult, RunState, Verdict},
};

/// So many lost runs fail a unit.
const MAX_LOSSES: i64 = 3;

/// Where a unit goes when its run is closed.
enum UnitEnd {
    Succeeded,
    Failed(String),
    Cancelled,
    /// Back into the queue.
    Pending,
}

/// A closing run: what is written to run, unit and job.
struct Closing<'a> {
    end: UnitEnd,
    exit_code: Option<i32>,
    stop: Option<&'a StopEvidence>,
    /// As in the column.
    unproven: i64,
    losses: i64,
    artifacts: usize,
    /// See [`RunResult::judged`].
    judged: Option<Progress>,
    now: Timestamp,
}

async fn run_row(tx: &mut SqliteConnection, id: RunId) -> Result<Option<RunRow>> {
    Ok(sqlx::query_as("SELECT seq, run_id, job_seq, idx, worker, state, stop, unproven FROM runs WHERE run_id = ?")
        .bind(run_key(id))
        .fetch_optional(tx)
        .await?)
}

pub(super) async fn finish_run(store: &SqliteStore, result: RunResult) -> Result<FinishEffect> {
    let mut tx = store.begin().await?;
    let Some(run) = run_row(&mut tx, result.run_id).await? else { return Ok(FinishEffect::Fenced) };
    if run.state()? != RunState::Open || run.worker != result.worker {
        return Ok(FinishEffect::Fenced);
    }
    let job = jobs::row_by_seq(&mut tx, run.job_seq).await?;
    let cancelling = job.phase()? == Phase::Cancelling;
    if cancelling && !is_proof(&result) {
        keep_waiting(&mut tx, &run, result.stop.as_ref()).await?;
        tx.commit().await?;
        return Ok(FinishEffect::EvidenceAdded { job_id: job.job_id()? });
    }
    let unproven = i64::from(result.stop.as_ref().is_some_and(|stop| !stop.confirmed));
    let end = if cancelling { end_in_cancel(&result) } else { end_at_work(&result) };
    insert_artifacts(&mut tx, run.job_seq, &result.artifacts).await?;
    let closing = Closing {
        end,
        exit_code: result.exit_code,
        stop: result.stop.as_ref(),
        unproven,
        losses: 0,
        artifacts: result.artifacts.len(),
        judged: result.judged,
        now: result.now,
    };
    let effect = close(&mut tx, &run, cancelling, &closing).await?;
    tx.commit().await?;
    Ok(effect)
}

/// Whether a result says that nothing of the run is left: it ended by itself, or its stop was seen.
fn is_proof(result: &RunResult) -> bool {
    match (&result.stop, &result.verdict) {
        (Some(stop), _) => stop.confirmed,
        (None, Verdict::Succeeded | Verdict::Failed(_)) => true,
        (None, Verdict::Cancelled) => false,
    }
}

/// In a job that is being cancelled a unit that got a signal is cancelled, whatever it returned.
fn end_in_cancel(result: &RunResult) -> UnitEnd {
    if result.stop.as_ref().is_some_and(was_signalled) {
        return UnitEnd::Cancelled;
    }
    match &result.verdict {
        Verdict::Succeeded => UnitEnd::Succeeded,
        Verdict::Failed(error) => UnitEnd::Failed(error.clone()),
        Verdict::Cancelled => UnitEnd::Cancelled,
    }
}

fn was_signalled(stop: &StopEvidence) -> bool {
    let by_method = match stop.method {
        StopMethod::Terminated | StopMethod::Killed => true,
        StopMethod::NeverStarted
        | StopMethod::Exited
        | StopMethod::Remote
        | StopMethod::Provider
        | StopMethod::Lost => false,
    };
    by_method || !stop.signals.is_empty()
}

fn end_at_work(result: &RunResult) -> UnitEnd {
    match &result.verdict {
        Verdict::Succeeded => UnitEnd::Succeeded,
        Verdict::Failed(error) => UnitEnd::Failed(error.clone()),
        Verdict::Cancelled => UnitEnd::Failed("It was stopped although its job was not cancelled.".to_owned()),
    }
}

/// The run ended, but not with proof: it stays open, as lost, and its job waits.
async fn keep_waiting(tx: &mut SqliteConnection, run: &RunRow, stop: Option<&StopEvidence>) -> Result<()> {
    sqlx::query("UPDATE runs SET state = 'lost', stop = coalesce(?, stop) WHERE seq = ?")
        .bind(stop.map(json).transpose()?)
        .bind(run.seq)
        .execute(&mut *tx)
        .await?;
    jobs::moved(tx).await
}

async fn insert_artifacts(tx: &mut SqliteConnection, job_seq: i64, artifacts: &[ArtifactRow]) -> Result<()> {
    for artifact in artifacts {
        sqlx::query(
            "INSERT OR REPLACE INTO artifacts (job_seq, path, name, unit, category, bytes) VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(job_seq)
        .bind(&artifact.path)
        .bind(&artifact.name)
        .bind(artifact.unit.map(int))
        .bind(artifact.category.as_str())
        .bind(int(artifact.bytes))
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

/// Closes a run, moves its unit, counts it, and ends the job when it was the last run of a cancelling one.
async fn close(
    tx: &mut SqliteConnection,
    run: &RunRow,
    cancelling: bool,
    closing: &Closing<'_>,
) -> Result<FinishEffect> {
    close_run(tx, run, closing).await?;
    move_unit(tx, run, closing).await?;
    let job = count_unit(tx, run, cancelling, closing).await?;
    jobs::moved(tx).await?;
    let job_id = job.job_id()?;
    if !cancelling {
        return Ok(FinishEffect::Counted { job_id, idle: job.is_idle() });
    }
    Ok(match cancel::settle(tx, &job, closing.judged.as_ref(), closing.now).await? {
        Some(phase) => FinishEffect::JobEnded { job_id, phase },
        None => FinishEffect::Counted { job_id, idle: false },
    })
}

async fn close_run(tx: &mut SqliteConnection, run: &RunRow, closing: &Closing<'_>) -> Result<()> {
    sqlx::query(
        "UPDATE runs SET state = 'closed', finished_at = ?, exit_code = ?, stop = coalesce(?, stop), unproven = ?
         WHERE seq = ? AND state <> 'closed'",
    )
    .bind(closing.now.0)
    .bind(closing.exit_code)
    .bind(closing.stop.map(json).transpose()?)
    .bind(closing.unproven)
    .bind(run.seq)
    .execute(tx)
    .await?;
    Ok(())
}

async fn move_unit(tx: &mut SqliteConnection, run: &RunRow, closing: &Closing<'_>) -> Result<()> {
    let (status, error, over) = match &closing.end {
        UnitEnd::Succeeded => ("succeeded", None, true),
        UnitEnd::Failed(error) => ("failed", Some(error.as_str()), true),
        UnitEnd::Cancelled => ("cancelled", None, true),
        UnitEnd::Pending => ("pending", None, false),
    };
    sqlx::query(
        "UPDATE units SET status = ?, finished_at = ?, exit_code = ?, error = ?, artifacts = ?, losses = losses + ?,
                stop = ?
         WHERE job_seq = ? AND idx = ? AND run_id = ? AND status = 'running'",
    )
    .bind(status)
    .bind(over.then_some(closing.now.0))
    .bind(closing.exit_code)
    .bind(error)
    .bind(int(closing.artifacts as u64))
    .bind(closing.losses)
    .bind(closing.stop.filter(|_| over).map(json).transpose()?)
    .bind(run.job_seq)
    .bind(run.idx)
    .bind(&run.run_id)
    .execute(tx)
    .await?;
    Ok(())
}

/// Moves the job's counters. In a cancelling job every closed run has answered, one way or the other.
async fn count_unit(
    tx: &mut SqliteConnection,
    run: &RunRow,
    cancelling: bool,
    closing: &Closing<'_>,
) -> Result<JobRow> {
    let (succeeded, failed, cancelled) = match &closing.end {
        UnitEnd::Succeeded => (1, 0, 0),
        UnitEnd::Failed(_) => (0, 1, 0),
        UnitEnd::Cancelled => (0, 0, 1),
        UnitEnd::Pending => (0, 0, 0),
    };
    let given_up = cancelling && closing.unproven > 0;
    Ok(sqlx::query_as(
        "UPDATE jobs SET running = running - 1, succeeded = succeeded + ?, failed = failed + ?,
                cancelled = cancelled + ?, stop_stopped = stop_stopped + ?, stop_unconfirmed = stop_unconfirmed + ?
         WHERE seq = ? RETURNING *",
    )
    .bind(succeeded)
    .bind(failed)
    .bind(cancelled)
    .bind(i64::from(cancelling && !given_up))
    .bind(i64::from(given_up))
    .bind(run.job_seq)
    .fetch_one(tx)
    .await?)
}

pub(super) async fn release_run(
    store: &SqliteStore,
    id: RunId,
    lost: bool,
    evidence: Option<StopEvidence>,
    now: Timestamp,
) -> Result<FinishEffect> {
    let mut tx = store.begin().await?;
    let Some(run) = run_row(&mut tx, id).await? else { return Ok(FinishEffect::Fenced) };
    if run.state()? == RunState::Closed {
        return Ok(FinishEffect::Fenced);
    }
    let job = jobs::row_by_seq(&mut tx, run.job_seq).await?;
    let effect = if job.phase()? == Phase::Cancelling {
        answer_cancel(&mut tx, &run, &job, evidence.as_ref(), now).await?
    } else {
        hand_back(&mut tx, &run, lost, evidence.as_ref(), now).await?
    };
    tx.commit().await?;
    Ok(effect)
}

/// Evidence about an open run of a cancelling job: confirmed, it closes the run; else the job goes on waiting.
async fn answer_cancel(
    tx: &mut SqliteConnection,
    run: &RunRow,
    job: &JobRow,
    evidence: Option<&StopEvidence>,
    now: Timestamp,
) -> Result<FinishEffect> {
    let proof = evidence.filter(|evidence| evidence.confirmed);
    if proof.is_none() {
        keep_waiting(tx, run, evidence).await?;
        return Ok(FinishEffect::EvidenceAdded { job_id: job.job_id()? });
    }
    let closing = Closing {
        end: UnitEnd::Cancelled,
        exit_code: None,
        stop: proof,
        unproven: 0,
        losses: 0,
        artifacts: 0,
        judged: None,
        now,
    };
    close(tx, run, true, &closing).await
}

/// The unit goes back to the queue, or fails when it was lost too often.
async fn hand_back(
    tx: &mut SqliteConnection,
    run: &RunRow,
    lost: bool,
    evidence: Option<&StopEvidence>,
    now: Timestamp,
) -> Result<FinishEffect> {
    let losses: i64 = sqlx::query_scalar("SELECT losses FROM units WHERE job_seq = ? AND idx = ?")
        .bind(run.job_seq)
        .bind(run.idx)
        .fetch_one(&mut *tx)
        .await?;
    let losses_after = losses + i64::from(lost);
    let end = if losses_after >= MAX_LOSSES {
        UnitEnd::Failed("It was lost three times: the worker that ran it died or did not answer.".to_owned())
    } else {
        UnitEnd::Pending
    };
    let proven = evidence.map_or(!lost, |evidence| evidence.confirmed);
    let closing = Closing {
        end,
        exit_code: None,
        stop: evidence,
        unproven: i64::from(!proven),
        losses: i64::from(lost),
        artifacts: 0,
        judged: None,
        now,
    };
    close(tx, run, false, &closing).await
}

pub(super) async fn add_evidence(
    store: &SqliteStore,
    id: RunId,
    evidence: StopEvidence,
    now: Timestamp,
) -> Result<FinishEffect> {
    let mut tx = store.begin().await?;
    let Some(run) = run_row(&mut tx, id).await? else { return Ok(FinishEffect::Fenced) };
    let job = jobs::row_by_seq(&mut tx, run.job_seq).await?;
    let cancelling = job.phase()? == Phase::Cancelling;
    let effect = match run.state()? {
        RunState::Open | RunState::Lost if cancelling && evidence.confirmed => {
            answer_cancel(&mut tx, &run, &job, Some(&evidence), now).await?
        }
        RunState::Open | RunState::Lost => note_evidence(&mut tx, &run, &evidence).await?,
        RunState::Closed if run.unproven > 0 && evidence.confirmed => prove_late(&mut tx, &run, &evidence).await?,
        RunState::Closed if run.stop.is_none() => note_evidence(&mut tx, &run, &evidence).await?,
        RunState::Closed => FinishEffect::Fenced,
    };
    tx.commit().await?;
    Ok(effect)
}

/// Keeps evidence with the run; nothing follows from it.
async fn note_evidence(tx: &mut SqliteConnection, run: &RunRow, evidence: &StopEvidence) -> Result<FinishEffect> {
    sqlx::query("UPDATE runs SET stop = ? WHERE seq = ?").bind(json(evidence)?).bind(run.seq).execute(&mut *tx).await?;
    evidence_added(tx, run).await
}

/// Proof for a run that was closed without: it is no longer in doubt, and the summary says so. The phase stays.
async fn prove_late(tx: &mut SqliteConnection, run: &RunRow, evidence: &StopEvidence) -> Result<FinishEffect> {
    let stop = json(evidence)?;
    sqlx::query("UPDATE runs SET stop = ?, unproven = 0 WHERE seq = ?")
        .bind(&stop)
        .bind(run.seq)
        .execute(&mut *tx)
        .await?;
    // Not of a unit that was given out again: its evidence is that of its next run.
    sqlx::query(
        "UPDATE units SET stop = ?
         WHERE job_seq = ? AND idx = ? AND run_id = ? AND status IN ('succeeded', 'failed', 'cancelled')",
    )
    .bind(&stop)
    .bind(run.job_seq)
    .bind(run.idx)
    .bind(&run.run_id)
    .execute(&mut *tx)
    .await?;
    if run.unproven == COUNTED {
        sqlx::query(
            "UPDATE jobs SET stop_unconfirmed = stop_unconfirmed - 1, stop_stopped = stop_stopped + 1 WHERE seq = ?",
        )
        .bind(run.job_seq)
        .execute(&mut *tx)
        .await?;
    }
    evidence_added(tx, run).await
}

async fn evidence_added(tx: &mut SqliteConnection, run: &RunRow) -> Result<FinishEffect> {
    jobs::moved(tx).await?;
    let job: Vec<u8> =
        sqlx::query_scalar("SELECT job_id FROM jobs WHERE seq = ?").bind(run.job_seq).fetch_one(tx).await?;
    Ok(FinishEffect::EvidenceAdded { job_id: job_id(&job)? })
}

/// `runs.unproven` of a run that the job's summary counts as unconfirmed.
const COUNTED: i64 = 2;

pub(super) async fn give_up_unproven(store: &SqliteStore, id: JobId, now: Timestamp) -> Result<FinishEffect> {
    let mut tx = store.begin().await?;
    let Some(job) = jobs::row(&mut tx, id).await? else { return Ok(FinishEffect::Fenced) };
    if job.phase()? != Phase::Cancelling {
        return Ok(FinishEffect::Fenced);
    }
    let open: Vec<RunRow> = sqlx::query_as(
        "SELECT seq, run_id, job_seq, idx, worker, state, stop, unproven FROM runs
         WHERE job_seq = ? AND state <> 'closed' ORDER BY seq",
    )
    .bind(job.seq)
    .fetch_all(&mut *tx)
    .await?;
    let mut effect = FinishEffect::Fenced;
    for run in &open {
        let evidence = given_up(run)?;
        let closing = Closing {
            end: UnitEnd::Cancelled,
            exit_code: None,
            stop: Some(&evidence),
            unproven: COUNTED,
            losses: 0,
            artifacts: 0,
            judged: None,
            now,
        };
        effect = close(&mut tx, run, true, &closing).await?;
    }
    if open.is_empty()
        && let Some(phase) = cancel::settle(&mut tx, &job, None, now).await?
    {
        jobs::moved(&mut tx).await?;
        effect = FinishEffect::JobEnded { job_id: id, phase };
    }
    tx.commit().await?;
    Ok(effect)
}

/// What is known of a run that was given up: all that was observed, and that it proves nothing.
fn given_up(run: &RunRow) -> Result<StopEvidence> {
    let known = run.evidence()?;
    let state = state_word(run.state()?);
    Ok(match known {
        Some(evidence) => StopEvidence { method: StopMethod::Lost, confirmed: false, ..evidence },
        None => StopEvidence {
            method: StopMethod::Lost,
            signals: Vec::new(),
            stopped_at: None,
            processes_left: None,
            processes_seen: None,
            confirmed: false,
            detail: format!("Given up by Force: worker {} has not answered (run {state}).", run.worker),
            steps: Vec::new(),
        },
    })
}
