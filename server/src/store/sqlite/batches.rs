//! Batches at providers, and the two things that runs which follow one can do: be taken over, and move their phase on.

use app::model::{JobId, Phase, RunId, Timestamp};

use super::{
    SqliteStore, jobs,
    rows::{UnitRow, count, from_json, int, job_id, job_key, json, phase_set, run_key, word},
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
    let body = json(batch)?;
    let next = batch.version + 1;
    let mut tx = store.begin().await?;
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
        .execute(&mut *tx)
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
        .execute(&mut *tx)
        .await
    };
    let put = match put {
        Err(sqlx::Error::Database(error)) if error.is_unique_violation() => return Ok(PutBatch::Taken),
        put => put?,
    };
    if put.rows_affected() == 0 {
        return Ok(PutBatch::Conflict);
    }
    jobs::moved(&mut tx).await?;
    tx.commit().await?;
    Ok(PutBatch::Stored(next))
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
