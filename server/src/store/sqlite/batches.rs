//! Batches at providers, and the two things that runs which follow one can do: be taken over, and move their phase on.

use app::model::{JobId, Kind, Phase, RunId, Timestamp};
use sqlx::SqliteConnection;

use super::{
    SqliteStore, jobs,
    rows::{JobRow, UnitRow, count, from_json, int, job_id, job_key, json, phase_set, run_key, word},
};
use crate::{
    error::{Error, Result},
    store::{BatchOwner, BatchRecord, ClaimedRun, PutBatch},
};

fn record((version, body): (i64, String)) -> Result<BatchRecord> {
    let record: BatchRecord = from_json(&body)?;
    Ok(BatchRecord { version: count(version), ..record })
}

pub(super) async fn batch(store: &SqliteStore, id: JobId) -> Result<Option<BatchRecord>> {
    let row: Option<(i64, String)> = sqlx::query_as("SELECT version, body FROM batches WHERE job_id = ?")
        .bind(job_key(id))
        .fetch_optional(&store.readers)
        .await?;
    row.map(record).transpose()
}

pub(super) async fn batches(store: &SqliteStore, ids: &[JobId]) -> Result<Vec<BatchRecord>> {
    let ids: Vec<String> = ids.iter().map(|id| hex(&job_key(*id))).collect();
    let rows: Vec<(i64, String)> =
        sqlx::query_as("SELECT version, body FROM batches WHERE job_id IN (SELECT unhex(value) FROM json_each(?))")
            .bind(json(&ids)?)
            .fetch_all(&store.readers)
            .await?;
    rows.into_iter().map(record).collect()
}

fn hex(bytes: &[u8]) -> String {
    crate::secret::hex(bytes)
}

pub(super) async fn put_batch(store: &SqliteStore, batch: &BatchRecord) -> Result<PutBatch> {
    let mut tx = store.begin().await?;
    let put = put_in(&mut tx, batch).await?;
    if let PutBatch::Stored(_) = put {
        jobs::moved(&mut tx).await?;
        tx.commit().await?;
    }
    Ok(put)
}

/// After anything but `Stored` the transaction is of no use any more.
pub(super) async fn put_in(tx: &mut SqliteConnection, batch: &BatchRecord) -> Result<PutBatch> {
    let body = json(batch)?;
    let next = batch.version + 1;
    let put = if batch.version == 0 {
        sqlx::query(
            "INSERT INTO batches (job_id, provider, tag, remote_id, version, removed_at, body)
             VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (job_id) DO NOTHING",
        )
        .bind(job_key(batch.job_id))
        .bind(&batch.provider)
        .bind(&batch.tag)
        .bind(&batch.batch_id)
        .bind(int(next))
        .bind(batch.removed_at.map(|at| at.0))
        .bind(body)
        .execute(tx)
        .await
    } else {
        sqlx::query(
            "UPDATE batches SET remote_id = ?, version = ?, removed_at = ?, body = ? WHERE job_id = ? AND version = ?",
        )
        .bind(&batch.batch_id)
        .bind(int(next))
        .bind(batch.removed_at.map(|at| at.0))
        .bind(body)
        .bind(job_key(batch.job_id))
        .bind(int(batch.version))
        .execute(tx)
        .await
    };
    let rows = match put {
        Err(sqlx::Error::Database(error)) if error.is_unique_violation() => return Ok(PutBatch::Taken),
        put => put?.rows_affected(),
    };
    Ok(if rows == 0 { PutBatch::Conflict } else { PutBatch::Stored(next) })
}

/// Gives the waiting unit of a job whose provider has something of it a run, lost from its beginning: whoever repairs
/// takes it up, as it would one of a server that was killed. A cancel then waits for the provider's word. Without a
/// batch, or with a run, nothing changes.
pub(super) async fn open_for_cancel(tx: &mut SqliteConnection, job: &JobRow, now: Timestamp) -> Result<()> {
    let kind: Kind = word("a kind", &job.kind)?;
    if kind.provider_kind().is_none() || job.running > 0 || !job.phase()?.can_cancel() {
        return Ok(());
    }
    let known: Option<i64> =
        sqlx::query_scalar("SELECT 1 FROM batches WHERE job_id = ?").bind(&job.job_id).fetch_optional(&mut *tx).await?;
    if known.is_none() {
        return Ok(());
    }
    let run = run_key(RunId(uuid::Uuid::now_v7().as_u128()));
    let unit: Option<i64> = sqlx::query_scalar(
        "UPDATE units SET status = 'running', attempt = attempt + 1, run_id = ?2, started_at = ?3
         WHERE job_seq = ?1 AND status = 'pending'
         AND idx = (SELECT idx FROM units WHERE job_seq = ?1 AND status = 'pending' ORDER BY idx LIMIT 1)
         RETURNING idx",
    )
    .bind(job.seq)
    .bind(&run)
    .bind(now.0)
    .fetch_optional(&mut *tx)
    .await?;
    let Some(unit) = unit else { return Ok(()) };
    sqlx::query("UPDATE jobs SET running = running + 1 WHERE seq = ?").bind(job.seq).execute(&mut *tx).await?;
    // The worker that was seen last, if any ever was, looks at once.
    sqlx::query(
        "INSERT INTO runs (run_id, job_seq, idx, worker, instance, state, started_at, lease_until)
         SELECT ?1, ?2, ?3, coalesce(max(worker_id), ''), coalesce(max(instance), ''), 'lost', ?4, ?4
         FROM (SELECT worker_id, instance FROM workers ORDER BY heartbeat_at DESC, started_at DESC LIMIT 1)",
    )
    .bind(&run)
    .bind(job.seq)
    .bind(unit)
    .bind(now.0)
    .execute(&mut *tx)
    .await?;
    Ok(())
}

pub(super) async fn batch_owners(
    store: &SqliteStore,
    provider: &str,
    batch_ids: &[String],
    tags: &[String],
) -> Result<Vec<BatchOwner>> {
    let rows: Vec<(Option<String>, String, Vec<u8>, bool)> = sqlx::query_as(
        "SELECT remote_id, tag, job_id, removed_at IS NOT NULL FROM batches WHERE provider = ?1
         AND (remote_id IN (SELECT value FROM json_each(?2)) OR tag IN (SELECT value FROM json_each(?3)))",
    )
    .bind(provider)
    .bind(json(&batch_ids)?)
    .bind(json(&tags)?)
    .fetch_all(&store.readers)
    .await?;
    let owner = |(batch_id, tag, job, removed): (Option<String>, String, Vec<u8>, bool)| {
        Ok(BatchOwner { batch_id, tag, job_id: job_id(&job)?, removed })
    };
    rows.into_iter().map(owner).collect()
}

pub(super) async fn take_over_run(
    store: &SqliteStore,
    id: RunId,
    from: &str,
    to: &str,
    lease_until: Timestamp,
) -> Result<Option<ClaimedRun>> {
    let mut tx = store.begin().await?;
    let taken: Option<(i64, i64)> = sqlx::query_as(
        "UPDATE runs SET worker = ?, state = 'open', lease_until = ?
         WHERE run_id = ? AND worker = ? AND state <> 'closed' RETURNING job_seq, idx",
    )
    .bind(to)
    .bind(lease_until.0)
    .bind(run_key(id))
    .bind(from)
    .fetch_optional(&mut *tx)
    .await?;
    let Some((seq, index)) = taken else { return Ok(None) };
    let job = jobs::row_by_seq(&mut tx, seq).await?;
    let unit: UnitRow = sqlx::query_as("SELECT * FROM units WHERE job_seq = ? AND idx = ?")
        .bind(seq)
        .bind(index)
        .fetch_one(&mut *tx)
        .await?;
    jobs::moved(&mut tx).await?;
    tx.commit().await?;
    let job_id = job.job_id()?;
    Ok(Some(ClaimedRun {
        run_id: id,
        job_id,
        kind: word("a kind", &job.kind)?,
        unit: unit.record(job_id, job.phase()?, None)?,
        spec: job.spec,
    }))
}

pub(super) async fn move_phase(
    store: &SqliteStore,
    run: RunId,
    worker: &str,
    to: Phase,
    now: Timestamp,
) -> Result<bool> {
    let mut tx = store.begin().await?;
    let held: Option<(i64, i64)> =
        sqlx::query_as("SELECT job_seq, idx FROM runs WHERE run_id = ? AND worker = ? AND state = 'open'")
            .bind(run_key(run))
            .bind(worker)
            .fetch_optional(&mut *tx)
            .await?;
    let Some((seq, index)) = held else { return Ok(false) };
    let job = jobs::row_by_seq(&mut tx, seq).await?;
    let from = job.phase()?;
    let mut entries = job.entries()?;
    let work = job.work();
    let follows = entries.get(work + 1).is_some_and(|entry| entry.phase == to);
    if !from.can_claim() || !follows || !to.prior().contains(&from) || job.total != 1 {
        return Ok(false);
    }
    // The unit goes along: nothing of the job stays behind in the former phase.
    if let Some(entry) = entries.get_mut(work) {
        entry.done = Some(app::model::Progress::default());
        entry.finished_at = Some(now);
    }
    if let Some(entry) = entries.get_mut(work + 1) {
        entry.started_at = Some(now);
    }
    let moved = sqlx::query(
        "UPDATE jobs SET phase = ?, phases = ?, work = work + 1
         WHERE seq = ? AND phase = ? AND phase IN (SELECT value FROM json_each(?))",
    )
    .bind(to.as_str())
    .bind(json(&entries)?)
    .bind(seq)
    .bind(from.as_str())
    .bind(phase_set(to.prior()))
    .execute(&mut *tx)
    .await?;
    if moved.rows_affected() != 1 {
        return Err(Error::Internal {
            context: format!("job row {seq} left its phase inside a transaction"),
            source: None,
        });
    }
    sqlx::query("UPDATE units SET phase = ? WHERE job_seq = ? AND idx = ?")
        .bind(to.as_str())
        .bind(seq)
        .bind(index)
        .execute(&mut *tx)
        .await?;
    jobs::moved(&mut tx).await?;
    tx.commit().await?;
    Ok(true)
}
