//! Cancel: the request, its end, and the sweep of what was never started.

use app::model::{AuditEvent, Phase, Progress, Timestamp};
use sqlx::SqliteConnection;

use super::{
    SqliteStore, audit, batches, jobs,
    rows::{JobRow, phase_set, word},
};
use crate::{
    error::Result,
    store::{CancelEffect, CancelOrder, JobRecord},
};

pub(super) async fn cancel(store: &SqliteStore, order: &CancelOrder, event: AuditEvent) -> Result<CancelEffect> {
    let mut tx = store.begin().await?;
    let effect = cancel_in(&mut tx, order, event).await?;
    jobs::moved(&mut tx).await?;
    tx.commit().await?;
    Ok(effect)
}

pub(super) async fn cancel_in(
    tx: &mut SqliteConnection,
    order: &CancelOrder,
    mut event: AuditEvent,
) -> Result<CancelEffect> {
    let Some(before) = jobs::row(tx, order.job_id).await? else { return Ok(CancelEffect::NotFound) };
    batches::open_for_cancel(tx, &before, order.now).await?;
    let began = match request(tx, order, before.seq).await? {
        Some(requested) => {
            settle(tx, &requested, None, order.now).await?;
            true
        }
        None => false,
    };
    let repeated = !began && before.phase()?.can_resend_cancel();
    if repeated && order.force {
        sqlx::query("UPDATE jobs SET forced_at = coalesce(forced_at, ?) WHERE seq = ?")
            .bind(order.now.0)
            .bind(before.seq)
            .execute(&mut *tx)
            .await?;
    }
    let job = jobs::row_by_seq(tx, before.seq).await?.record()?;
    event.result = result_of(&job, began).to_owned();
    audit::insert(tx, &event).await?;
    Ok(if began {
        CancelEffect::Began(job)
    } else if repeated {
        CancelEffect::Repeated(job)
    } else {
        CancelEffect::NotCancellable(job)
    })
}

/// What the audit says of a cancel that left the job like this.
fn result_of(job: &JobRecord, began: bool) -> &'static str {
    let was_cancelled = job.cancel.as_ref().is_some_and(|cancel| cancel.cancelled_at.is_some());
    match job.phase {
        Phase::Cancelling => "cancelling",
        Phase::Cancelled | Phase::Partial if was_cancelled => {
            if began {
                "cancelled"
            } else {
                "already_cancelled"
            }
        }
        Phase::Cancelled => "already_cancelled",
        Phase::Completed | Phase::Partial | Phase::Failed => "already_finished",
        Phase::Deleting => "refused: JOB_DELETING",
        Phase::Pending
        | Phase::Collection
        | Phase::FeatureExtraction
        | Phase::Matching
        | Phase::Evidence
        | Phase::InProgress
        | Phase::Validating
        | Phase::Finalizing => "refused",
    }
}

/// The compare-and-set. Pending units count as cancelled from here on; their rows are swept later, so that 50,000 of
/// them block nobody. `None`: the job was not in a phase that can be cancelled.
async fn request(tx: &mut SqliteConnection, order: &CancelOrder, seq: i64) -> Result<Option<JobRow>> {
    Ok(sqlx::query_as(
        "UPDATE jobs SET phase = ?, cancel_at = ?, cancel_by = ?, cancel_source = ?, cancel_request_id = ?,
                cancel_reason = ?, cancel_notes = ?, forced_at = ?,
                stop_never_started = total - succeeded - failed - cancelled - running,
                sweep = total > succeeded + failed + cancelled + running,
                cancelled = total - succeeded - failed - running
         WHERE seq = ? AND phase IN (SELECT value FROM json_each(?)) RETURNING *",
    )
    .bind(Phase::Cancelling.as_str())
    .bind(order.now.0)
    .bind(&order.actor)
    .bind(order.source.as_str())
    .bind(&order.request_id)
    .bind(&order.reason)
    .bind(&order.notes)
    .bind(order.force.then_some(order.now.0))
    .bind(seq)
    .bind(phase_set(Phase::Cancelling.prior()))
    .fetch_optional(tx)
    .await?)
}

/// Ends a cancelling job of which no run is open (open and lost runs are its running units). None: it waits on.
/// `judged` is as in [`RunResult`](crate::store::RunResult).
pub(super) async fn settle(
    tx: &mut SqliteConnection,
    job: &JobRow,
    judged: Option<&Progress>,
    now: Timestamp,
) -> Result<Option<Phase>> {
    if job.phase()? != Phase::Cancelling || job.running > 0 {
        return Ok(None);
    }
    let by_units = end_of_cancel(job)?;
    let cancelled_at = matches!(by_units, Phase::Cancelled | Phase::Partial).then_some(now.0);
    // It ended by itself: as what its unit was made of did.
    let end = match judged {
        Some(judged) if by_units == Phase::Completed => Phase::after_cancel(judged, true),
        Some(_) | None => by_units,
    };
    let ended = sqlx::query(
        "UPDATE jobs SET phase = ?, finished_at = ?, cancelled_at = ?
         WHERE seq = ? AND running = 0 AND phase IN (SELECT value FROM json_each(?)) AND phase = ?",
    )
    .bind(end.as_str())
    .bind(now.0)
    .bind(cancelled_at)
    .bind(job.seq)
    .bind(phase_set(end.prior()))
    .bind(Phase::Cancelling.as_str())
    .execute(tx)
    .await?;
    Ok((ended.rows_affected() == 1).then_some(end))
}

/// A job that was cancelled between two phases is not complete, though all the units it had so far succeeded.
fn end_of_cancel(job: &JobRow) -> Result<Phase> {
    let kind: app::model::Kind = word("a kind", &job.kind)?;
    let end = Phase::after_cancel(&job.progress(), kind.partial_when_cancelled());
    let phases_to_come = job.work() + 1 < job.entries()?.len();
    // A batch has one unit for all phases: when that succeeded nothing is to come.
    let goes_along = kind.provider_kind().is_some();
    Ok(if end == Phase::Completed && phases_to_come && !goes_along { Phase::Cancelled } else { end })
}

pub(super) async fn cancelling_jobs(store: &SqliteStore, force_before: Option<Timestamp>) -> Result<Vec<JobRecord>> {
    let rows = sqlx::query_as(
        "SELECT * FROM jobs INDEXED BY jobs_phase WHERE phase = ?1 AND (?2 IS NULL OR forced_at < ?2) ORDER BY seq",
    )
    .bind(Phase::Cancelling.as_str())
    .bind(force_before.map(|at| at.0))
    .fetch_all(&store.readers)
    .await?;
    jobs::records(rows)
}

/// Readers see no difference, so the change counter stays.
pub(super) async fn sweep_cancelled(store: &SqliteStore, limit: u32) -> Result<u64> {
    let waiting: Option<i64> = sqlx::query_scalar("SELECT seq FROM jobs INDEXED BY jobs_sweep WHERE sweep = 1 LIMIT 1")
        .fetch_optional(&store.readers)
        .await?;
    if waiting.is_none() {
        return Ok(0);
    }
    let mut tx = store.begin().await?;
    let mut left = u64::from(limit);
    let mut swept = 0;
    while left > 0 {
        let next: Option<(i64, Option<i64>)> = sqlx::query_as(
            "SELECT seq, cancel_at FROM jobs INDEXED BY jobs_sweep WHERE sweep = 1 ORDER BY seq LIMIT 1",
        )
        .fetch_optional(&mut *tx)
        .await?;
        let Some((seq, at)) = next else { break };
        let rows = sweep_job(&mut tx, seq, at, left).await?;
        if rows < left {
            sqlx::query("UPDATE jobs SET sweep = 0 WHERE seq = ?").bind(seq).execute(&mut *tx).await?;
        }
        swept += rows;
        left -= rows;
    }
    tx.commit().await?;
    Ok(swept)
}

async fn sweep_job(tx: &mut SqliteConnection, seq: i64, at: Option<i64>, limit: u64) -> Result<u64> {
    let swept = sqlx::query(
        "UPDATE units SET status = 'cancelled', finished_at = ?2 WHERE job_seq = ?1 AND idx IN
         (SELECT idx FROM units WHERE job_seq = ?1 AND status = 'pending' ORDER BY idx LIMIT ?3)",
    )
    .bind(seq)
    .bind(at)
    .bind(super::rows::int(limit))
    .execute(tx)
    .await?;
    Ok(swept.rows_affected())
}
