//! Jobs: submit, read, and the phases that they go through by themselves.

use std::sync::LazyLock;

use app::model::{AuditEvent, JobId, Phase, PhaseCount, PhaseCounts, Progress, Timestamp};
use sqlx::SqliteConnection;

use super::{
    SqliteStore, audit, batches,
    rows::{JobRow, PhaseEntry, count, input_bytes, int, job_id, job_key, json, phase_set},
};
use crate::{
    error::{Error, Result},
    store::{Idempotency, JobRecord, Lane, NewJobRecord, NewUnit, PutBatch, Submitted},
};

/// How long an idempotency key is known.
pub(super) const KEY_LIFE_MILLIS: i64 = 24 * 3_600_000;

/// Jobs of a phase are counted to here.
const COUNT_CAP: i64 = 10_000;

pub(super) async fn submit(
    store: &SqliteStore,
    job: NewJobRecord,
    units: Vec<NewUnit>,
    key: Option<Idempotency>,
    event: AuditEvent,
) -> Result<Submitted> {
    let mut tx = store.begin().await?;
    if let Some(key) = &key
        && let Some(earlier) = known_key(&mut tx, key).await?
    {
        return Ok(earlier);
    }
    let seq = insert_job(&mut tx, &job, units.len()).await?;
    insert_units(&mut tx, seq, 0, &units).await?;
    if let Some(batch) = &job.batch
        && batches::put_in(&mut tx, batch).await? != PutBatch::Stored(1)
    {
        return Ok(Submitted::BatchTaken);
    }
    if let Some(key) = &key {
        remember_key(&mut tx, key, job.job_id).await?;
    }
    audit::insert(&mut tx, &event).await?;
    moved(&mut tx).await?;
    tx.commit().await?;
    Ok(Submitted::Stored)
}

pub(super) async fn remember_key(tx: &mut SqliteConnection, key: &Idempotency, made: JobId) -> Result<()> {
    sqlx::query("INSERT OR REPLACE INTO idempotency (actor, key, request_hash, job_id, at) VALUES (?, ?, ?, ?, ?)")
        .bind(&key.actor)
        .bind(&key.key)
        .bind(&key.request_hash)
        .bind(job_key(made))
        .bind(key.now.0)
        .execute(tx)
        .await?;
    Ok(())
}

pub(super) async fn known_key(tx: &mut SqliteConnection, key: &Idempotency) -> Result<Option<Submitted>> {
    let known: Option<(String, Vec<u8>)> =
        sqlx::query_as("SELECT request_hash, job_id FROM idempotency WHERE actor = ? AND key = ? AND at > ?")
            .bind(&key.actor)
            .bind(&key.key)
            .bind(key.now.0 - KEY_LIFE_MILLIS)
            .fetch_optional(tx)
            .await?;
    let Some((hash, job)) = known else { return Ok(None) };
    Ok(Some(if hash == key.request_hash { Submitted::Replayed(job_id(&job)?) } else { Submitted::KeyConflict }))
}

/// The lane in the column `remote`.
pub(super) const fn lane_number(lane: Lane) -> i64 {
    match lane {
        Lane::Local => 0,
        Lane::Remote => 1,
        Lane::Provider => 2,
    }
}

async fn insert_job(tx: &mut SqliteConnection, job: &NewJobRecord, units: usize) -> Result<i64> {
    let entry = |phase: &Phase| PhaseEntry { phase: *phase, done: None, started_at: None, finished_at: None };
    let phases: Vec<PhaseEntry> = job.phases.iter().map(entry).collect();
    let seq: i64 = sqlx::query_scalar(
        "INSERT INTO jobs (job_id, name, kind, phase, spec, phases, parallel, created_at, created_by, rerun_of, total,
                           remote)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING seq",
    )
    .bind(job_key(job.job_id))
    .bind(&job.name)
    .bind(job.kind.as_str())
    .bind(Phase::Pending.as_str())
    .bind(&job.spec)
    .bind(json(&phases)?)
    .bind(i64::from(job.parallel.max(1)))
    .bind(job.created_at.0)
    .bind(&job.created_by)
    .bind(job.rerun_of.map(job_key))
    .bind(int(units as u64))
    .bind(lane_number(Lane::of(job.kind)))
    .fetch_one(&mut *tx)
    .await?;
    sqlx::query("INSERT INTO jobs_text (rowid, name, job_id) VALUES (?, ?, ?)")
        .bind(seq)
        .bind(&job.name)
        .bind(job.job_id.to_string())
        .execute(tx)
        .await?;
    Ok(seq)
}

/// Units a statement: 100,000 of them in single statements would be 100,000 trips to the database's thread.
const BATCH: usize = 200;

static INSERT_BATCH: LazyLock<String> = LazyLock::new(|| insert_units_sql(BATCH));
static INSERT_ONE: LazyLock<String> = LazyLock::new(|| insert_units_sql(1));

fn insert_units_sql(rows: usize) -> String {
    let values = vec!["(?, ?, ?, ?, ?)"; rows].join(", ");
    format!("INSERT INTO units (job_seq, idx, phase, name, input) VALUES {values}")
}

/// Stores units from index `first` on.
async fn insert_units(tx: &mut SqliteConnection, seq: i64, first: i64, units: &[NewUnit]) -> Result<()> {
    let mut index = first;
    let (batches, rest) = units.as_chunks::<BATCH>();
    let batches = batches.iter().map(|batch| (INSERT_BATCH.as_str(), batch.as_slice()));
    let singles = rest.iter().map(|unit| (INSERT_ONE.as_str(), std::slice::from_ref(unit)));
    for (sql, rows) in batches.chain(singles) {
        let mut insert = sqlx::query(sql);
        for unit in rows {
            insert = insert
                .bind(seq)
                .bind(index)
                .bind(unit.phase.as_str())
                .bind(unit.name.as_str())
                .bind(input_bytes(&unit.input));
            index += 1;
        }
        insert.execute(&mut *tx).await?;
    }
    Ok(())
}

/// Says that something changed which a page could show.
pub(super) async fn moved(tx: &mut SqliteConnection) -> Result<()> {
    sqlx::query("UPDATE clock SET changes = changes + 1").execute(tx).await?;
    Ok(())
}

pub(super) async fn change_counter(store: &SqliteStore) -> Result<u64> {
    let changes: i64 = sqlx::query_scalar("SELECT changes FROM clock").fetch_one(&store.readers).await?;
    Ok(count(changes))
}

pub(super) async fn row(conn: &mut SqliteConnection, id: JobId) -> Result<Option<JobRow>> {
    Ok(sqlx::query_as("SELECT * FROM jobs WHERE job_id = ?").bind(job_key(id)).fetch_optional(conn).await?)
}

pub(super) async fn row_by_seq(conn: &mut SqliteConnection, seq: i64) -> Result<JobRow> {
    Ok(sqlx::query_as("SELECT * FROM jobs WHERE seq = ?").bind(seq).fetch_one(conn).await?)
}

pub(super) async fn job(store: &SqliteStore, id: JobId) -> Result<Option<JobRecord>> {
    let row: Option<JobRow> =
        sqlx::query_as("SELECT * FROM jobs WHERE job_id = ?").bind(job_key(id)).fetch_optional(&store.readers).await?;
    row.map(JobRow::record).transpose()
}

pub(super) fn records(rows: Vec<JobRow>) -> Result<Vec<JobRecord>> {
    rows.into_iter().map(JobRow::record).collect()
}

pub(super) async fn phase_counts(store: &SqliteStore) -> Result<PhaseCounts> {
    let stored: Vec<(String, i64)> =
        sqlx::query_as("SELECT phase, jobs FROM phase_counts WHERE jobs > 0").fetch_all(&store.readers).await?;
    let of = |phase: Phase| stored.iter().find(|(word, _)| word == phase.as_str()).map(|(_, jobs)| (phase, *jobs));
    let capped =
        |(phase, jobs): (Phase, i64)| PhaseCount { phase, count: count(jobs.min(COUNT_CAP)), capped: jobs > COUNT_CAP };
    Ok(Phase::ALL.into_iter().filter_map(of).map(capped).collect())
}

pub(super) async fn idle_jobs(store: &SqliteStore, limit: u32) -> Result<Vec<JobRecord>> {
    let rows = sqlx::query_as("SELECT * FROM jobs INDEXED BY jobs_idle WHERE idle = 1 ORDER BY seq LIMIT ?")
        .bind(limit)
        .fetch_all(&store.readers)
        .await?;
    records(rows)
}

pub(super) async fn enter_phase(
    store: &SqliteStore,
    id: JobId,
    from: Phase,
    to: Phase,
    units: Vec<NewUnit>,
    now: Timestamp,
) -> Result<bool> {
    let mut tx = store.begin().await?;
    let Some(job) = row(&mut tx, id).await? else { return Ok(false) };
    if job.phase()? != from || !job.is_idle() || !to.prior().contains(&from) {
        return Ok(false);
    }
    let mut entries = job.entries()?;
    let over = job.work_progress(&entries);
    let work = job.work();
    if let Some(entry) = entries.get_mut(work) {
        entry.done = Some(over);
        entry.finished_at = Some(now);
    }
    match entries.get_mut(work + 1) {
        Some(entry) if entry.phase == to => entry.started_at = Some(now),
        Some(_) | None => {
            let context = format!("phase `{to}` does not follow `{from}` in job {id}");
            return Err(Error::Internal { context, source: None });
        }
    }
    sqlx::query(
        "UPDATE jobs SET phase = ?, phases = ?, work = work + 1, total = total + ?
         WHERE seq = ? AND phase = ? AND idle = 1 AND phase IN (SELECT value FROM json_each(?))",
    )
    .bind(to.as_str())
    .bind(json(&entries)?)
    .bind(int(units.len() as u64))
    .bind(job.seq)
    .bind(from.as_str())
    .bind(phase_set(to.prior()))
    .execute(&mut *tx)
    .await?;
    insert_units(&mut tx, job.seq, job.total, &units).await?;
    moved(&mut tx).await?;
    tx.commit().await?;
    Ok(true)
}

pub(super) async fn conclude(
    store: &SqliteStore,
    id: JobId,
    from: Phase,
    judged: Option<Progress>,
    now: Timestamp,
) -> Result<Option<Phase>> {
    let mut tx = store.begin().await?;
    let Some(job) = row(&mut tx, id).await? else { return Ok(None) };
    let is_last = job.work() + 1 >= job.entries()?.len();
    if job.phase()? != from || !is_last {
        return Ok(None);
    }
    let end = Phase::after_work(&judged.unwrap_or_else(|| job.progress()));
    let ended = sqlx::query(
        "UPDATE jobs SET phase = ?, finished_at = ?
         WHERE seq = ? AND phase = ? AND idle = 1 AND phase IN (SELECT value FROM json_each(?))",
    )
    .bind(end.as_str())
    .bind(now.0)
    .bind(job.seq)
    .bind(from.as_str())
    .bind(phase_set(end.prior()))
    .execute(&mut *tx)
    .await?;
    if ended.rows_affected() == 0 {
        return Ok(None);
    }
    moved(&mut tx).await?;
    tx.commit().await?;
    Ok(Some(end))
}
