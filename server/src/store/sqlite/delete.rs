//! Delete: the note beforehand, the steps, and the receipts that stay.

use app::model::{AuditEvent, JobId, Page, Phase, Receipt};
use sqlx::SqliteConnection;

use super::{
    SqliteStore, audit, cursor, jobs,
    rows::{JobRow, OpenRunRow, count, from_json, int, job_key, json, phase_set, run_key, state_word},
};
use crate::{
    error::{Error, Result},
    store::{BeginDelete, DeleteIntent, JobRecord, OpenRun, RowsRemoved},
};

const RECEIPTS: u8 = b'r';

pub(super) async fn intend_delete(store: &SqliteStore, id: JobId, intent: &DeleteIntent) -> Result<()> {
    let mut tx = store.begin().await?;
    if jobs::row(&mut tx, id).await?.is_none() {
        return Err(Error::JobNotFound(id));
    }
    sqlx::query(
        "UPDATE jobs SET delete_at = ?, delete_by = ?, delete_source = ?, delete_request_id = ?, delete_keep_files = ?
         WHERE job_id = ? AND delete_at IS NULL AND phase <> ?",
    )
    .bind(intent.at.0)
    .bind(&intent.actor)
    .bind(intent.source.as_str())
    .bind(&intent.request_id)
    .bind(intent.keep_files)
    .bind(job_key(id))
    .bind(Phase::Deleting.as_str())
    .execute(&mut *tx)
    .await?;
    jobs::moved(&mut tx).await?;
    tx.commit().await?;
    Ok(())
}

pub(super) async fn intended_deletes(store: &SqliteStore) -> Result<Vec<(JobRecord, DeleteIntent)>> {
    let rows: Vec<JobRow> =
        sqlx::query_as("SELECT * FROM jobs INDEXED BY jobs_delete_intended WHERE delete_at IS NOT NULL ORDER BY seq")
            .fetch_all(&store.readers)
            .await?;
    let with_intent = |row: JobRow| Ok(row.delete_intent()?.map(|intent| (row, intent)));
    rows.into_iter()
        .filter_map(|row| with_intent(row).transpose())
        .map(|found: Result<(JobRow, DeleteIntent)>| found.and_then(|(row, intent)| Ok((row.record()?, intent))))
        .collect()
}

pub(super) async fn begin_delete(store: &SqliteStore, receipt: &Receipt, mut event: AuditEvent) -> Result<BeginDelete> {
    let mut tx = store.begin().await?;
    let began = sqlx::query(
        "UPDATE jobs SET phase = ?, delete_at = NULL
         WHERE job_id = ? AND phase IN (SELECT value FROM json_each(?))",
    )
    .bind(Phase::Deleting.as_str())
    .bind(job_key(receipt.job_id))
    .bind(phase_set(Phase::Deleting.prior()))
    .execute(&mut *tx)
    .await?;
    if began.rows_affected() == 1 {
        write_receipt(&mut tx, receipt).await?;
        audit::insert(&mut tx, &event).await?;
        jobs::moved(&mut tx).await?;
        tx.commit().await?;
        return Ok(BeginDelete::Began);
    }
    let Some(job) = jobs::row(&mut tx, receipt.job_id).await? else { return Ok(BeginDelete::NotFound) };
    let phase = job.phase()?;
    if phase != Phase::Deleting {
        return Ok(BeginDelete::NotTerminal(phase));
    }
    let so_far = read_receipt(&mut tx, receipt.job_id).await?.unwrap_or_else(|| receipt.clone());
    event.result = "joined".to_owned();
    audit::insert(&mut tx, &event).await?;
    jobs::moved(&mut tx).await?;
    tx.commit().await?;
    Ok(BeginDelete::Joined(Box::new(so_far)))
}

async fn write_receipt(tx: &mut SqliteConnection, receipt: &Receipt) -> Result<()> {
    sqlx::query(
        "INSERT INTO receipts (job_id, body) VALUES (?, ?) ON CONFLICT (job_id) DO UPDATE SET body = excluded.body",
    )
    .bind(job_key(receipt.job_id))
    .bind(json(receipt)?)
    .execute(tx)
    .await?;
    Ok(())
}

async fn read_receipt(conn: &mut SqliteConnection, id: JobId) -> Result<Option<Receipt>> {
    let body: Option<String> =
        sqlx::query_scalar("SELECT body FROM receipts WHERE job_id = ?").bind(job_key(id)).fetch_optional(conn).await?;
    body.as_deref().map(from_json).transpose()
}

pub(super) async fn deleting_jobs(store: &SqliteStore) -> Result<Vec<Receipt>> {
    let bodies: Vec<String> = sqlx::query_scalar(
        "SELECT r.body FROM jobs j INDEXED BY jobs_phase CROSS JOIN receipts r ON r.job_id = j.job_id
         WHERE j.phase = ? ORDER BY j.seq",
    )
    .bind(Phase::Deleting.as_str())
    .fetch_all(&store.readers)
    .await?;
    bodies.iter().map(|body| from_json(body)).collect()
}

pub(super) async fn count_rows(store: &SqliteStore, id: JobId) -> Result<RowsRemoved> {
    let (units, runs, artifacts): (i64, i64, i64) = sqlx::query_as(
        "WITH job AS (SELECT seq FROM jobs WHERE job_id = ?)
         SELECT (SELECT count(*) FROM units WHERE job_seq = (SELECT seq FROM job)),
                (SELECT count(*) FROM runs WHERE job_seq = (SELECT seq FROM job)),
                (SELECT count(*) FROM artifacts WHERE job_seq = (SELECT seq FROM job))",
    )
    .bind(job_key(id))
    .fetch_one(&store.readers)
    .await?;
    Ok(RowsRemoved { units: count(units), runs: count(runs), artifacts: count(artifacts) })
}

const REMOVE_UNITS: &str = "DELETE FROM units WHERE job_seq = ?1 AND idx IN
    (SELECT idx FROM units WHERE job_seq = ?1 LIMIT ?2)";
const REMOVE_RUNS: &str = "DELETE FROM runs WHERE seq IN (SELECT seq FROM runs WHERE job_seq = ?1 LIMIT ?2)";
const REMOVE_ARTIFACTS: &str = "DELETE FROM artifacts WHERE job_seq = ?1 AND path IN
    (SELECT path FROM artifacts WHERE job_seq = ?1 LIMIT ?2)";

pub(super) async fn remove_rows(store: &SqliteStore, id: JobId, limit: u32) -> Result<u64> {
    let mut tx = store.begin().await?;
    let Some(job) = jobs::row(&mut tx, id).await? else { return Ok(0) };
    if job.phase()? != Phase::Deleting {
        return Ok(0);
    }
    let mut removed = 0;
    for sql in [REMOVE_RUNS, REMOVE_UNITS, REMOVE_ARTIFACTS] {
        let left = u64::from(limit).saturating_sub(removed);
        removed += sqlx::query(sql).bind(job.seq).bind(int(left)).execute(&mut *tx).await?.rows_affected();
    }
    if removed > 0 {
        jobs::moved(&mut tx).await?;
    }
    tx.commit().await?;
    Ok(removed)
}

pub(super) async fn finish_delete(store: &SqliteStore, receipt: &Receipt, unproven: &[OpenRun]) -> Result<()> {
    let mut tx = store.begin().await?;
    if let Some(job) = jobs::row(&mut tx, receipt.job_id).await? {
        if job.phase()? != Phase::Deleting {
            let context = format!("job {} is not being deleted and cannot be removed", receipt.job_id);
            return Err(Error::Internal { context, source: None });
        }
        for sql in [REMOVE_RUNS, REMOVE_UNITS, REMOVE_ARTIFACTS] {
            sqlx::query(sql).bind(job.seq).bind(i64::MAX).execute(&mut *tx).await?;
        }
        sqlx::query("DELETE FROM jobs_text WHERE rowid = ?").bind(job.seq).execute(&mut *tx).await?;
        sqlx::query("DELETE FROM jobs WHERE seq = ?").bind(job.seq).execute(&mut *tx).await?;
    }
    write_receipt(&mut tx, receipt).await?;
    keep_unproven(&mut tx, receipt.job_id, unproven).await?;
    jobs::moved(&mut tx).await?;
    tx.commit().await?;
    Ok(())
}

async fn keep_unproven(tx: &mut SqliteConnection, id: JobId, runs: &[OpenRun]) -> Result<()> {
    sqlx::query("DELETE FROM removal_runs WHERE job_id = ?").bind(job_key(id)).execute(&mut *tx).await?;
    for run in runs {
        sqlx::query(
            "INSERT OR REPLACE INTO removal_runs
             (job_id, run_id, kind, job_phase, unit, unit_name, state, worker, instance, started_at, lease_until, stop)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(job_key(id))
        .bind(run_key(run.run_id))
        .bind(run.kind.as_str())
        .bind(run.job_phase.as_str())
        .bind(int(run.unit))
        .bind(&run.unit_name)
        .bind(state_word(run.state))
        .bind(&run.worker)
        .bind(&run.instance)
        .bind(run.started_at.0)
        .bind(run.lease_until.0)
        .bind(run.stop.as_ref().map(json).transpose()?)
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

pub(super) async fn receipt(store: &SqliteStore, id: JobId) -> Result<Option<Receipt>> {
    let mut conn = store.readers.acquire().await?;
    read_receipt(&mut conn, id).await
}

pub(super) async fn receipts(store: &SqliteStore, before: Option<&str>, limit: u32) -> Result<Page<Receipt>> {
    let before = match before {
        Some(text) => cursor::read(RECEIPTS, text)?.0,
        None => i64::MAX,
    };
    let mut rows: Vec<(i64, String)> =
        sqlx::query_as("SELECT seq, body FROM receipts WHERE seq < ? ORDER BY seq DESC LIMIT ?")
            .bind(before)
            .bind(i64::from(limit) + 1)
            .fetch_all(&store.readers)
            .await?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next_cursor = rows.last().filter(|_| more).map(|(seq, _)| cursor::write(RECEIPTS, *seq, ""));
    let items: Result<Vec<Receipt>> = rows.iter().map(|(_, body)| from_json(body)).collect();
    Ok(Page { items: items?, next_cursor })
}

pub(super) async fn update_receipt(
    store: &SqliteStore,
    receipt: &Receipt,
    unproven: &[OpenRun],
    event: Option<AuditEvent>,
) -> Result<()> {
    let mut tx = store.begin().await?;
    write_receipt(&mut tx, receipt).await?;
    keep_unproven(&mut tx, receipt.job_id, unproven).await?;
    if let Some(event) = event {
        audit::insert(&mut tx, &event).await?;
    }
    jobs::moved(&mut tx).await?;
    tx.commit().await?;
    Ok(())
}

pub(super) async fn unproven_of_removal(store: &SqliteStore, id: JobId) -> Result<Vec<OpenRun>> {
    let rows: Vec<OpenRunRow> =
        sqlx::query_as("SELECT * FROM removal_runs WHERE job_id = ? ORDER BY started_at, run_id")
            .bind(job_key(id))
            .fetch_all(&store.readers)
            .await?;
    rows.into_iter().map(OpenRunRow::record).collect()
}
