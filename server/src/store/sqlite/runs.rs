//! Workers and what they are given: claim, lease, and the questions that the repair asks.

use app::model::{JobId, Phase, RunId, Timestamp};
use sqlx::SqliteConnection;

use super::{
    SqliteStore, jobs,
    rows::{JobRow, OpenRunRow, UnitRow, WorkerRow, job_key, phase_set, run_id, run_key, word},
};
use crate::{
    error::{Error, Result},
    store::{Claim, ClaimedRun, OpenRun, StopOrder, WorkerRecord},
};

/// How long a worker without a run is remembered after its last sign of life.
const WORKER_MEMORY_MILLIS: i64 = 24 * 3_600_000;

/// The columns of an [`OpenRunRow`], up to the WHERE.
macro_rules! select_runs {
    ($rest:literal) => {
        concat!(
            "SELECT r.run_id, j.job_id, j.kind, j.phase AS job_phase, r.idx AS unit, u.name AS unit_name, r.state,
                    r.worker, r.instance, r.started_at, r.lease_until, r.stop,
                    j.phase = 'cancelling' OR (u.status = 'cancelled' AND u.run_id = r.run_id) AS is_cancelled
             FROM runs r JOIN jobs j ON j.seq = r.job_seq JOIN units u ON u.job_seq = r.job_seq AND u.idx = r.idx ",
            $rest
        )
    };
}

fn open_runs_of(rows: Vec<OpenRunRow>) -> Result<Vec<OpenRun>> {
    rows.into_iter().map(OpenRunRow::record).collect()
}

pub(super) async fn register_worker(store: &SqliteStore, worker: &WorkerRecord) -> Result<()> {
    let mut tx = store.begin().await?;
    sqlx::query(
        "DELETE FROM workers WHERE heartbeat_at < ?
         AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.worker = workers.worker_id AND state <> 'closed')",
    )
    .bind(worker.heartbeat_at.0 - WORKER_MEMORY_MILLIS)
    .execute(&mut *tx)
    .await?;
    sqlx::query(
        "INSERT OR REPLACE INTO workers (worker_id, instance, host, boot_id, slots, started_at, heartbeat_at)
         VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&worker.worker_id)
    .bind(&worker.instance)
    .bind(&worker.host)
    .bind(&worker.boot_id)
    .bind(worker.slots)
    .bind(worker.started_at.0)
    .bind(worker.heartbeat_at.0)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(())
}

pub(super) async fn workers(store: &SqliteStore) -> Result<Vec<WorkerRecord>> {
    let rows: Vec<WorkerRow> =
        sqlx::query_as("SELECT * FROM workers ORDER BY started_at, worker_id").fetch_all(&store.readers).await?;
    Ok(rows.into_iter().map(WorkerRow::record).collect())
}

/// The job whose turn it is. The partial index is this order: the first entry, however many jobs there are.
const NEXT_JOB: &str = "SELECT * FROM jobs INDEXED BY jobs_claimable WHERE claimable = 1 AND remote = ?
    ORDER BY running, served, seq LIMIT 1";

pub(super) async fn claim(store: &SqliteStore, claim: &Claim) -> Result<Vec<ClaimedRun>> {
    let mut claimed = Vec::new();
    let remote = jobs::lane_number(claim.lane);
    // Asked by every worker again and again: the writer is not taken for a no.
    let wanted: Option<i64> =
        sqlx::query_scalar("SELECT seq FROM jobs INDEXED BY jobs_claimable WHERE claimable = 1 AND remote = ? LIMIT 1")
            .bind(remote)
            .fetch_optional(&store.readers)
            .await?;
    if wanted.is_none() {
        return Ok(claimed);
    }
    let mut tx = store.begin().await?;
    let instance: Option<String> = sqlx::query_scalar("SELECT instance FROM workers WHERE worker_id = ?")
        .bind(&claim.worker)
        .fetch_optional(&mut *tx)
        .await?;
    let Some(instance) = instance else {
        let context = format!("worker `{}` asks for work and is not registered", claim.worker);
        return Err(Error::Internal { context, source: None });
    };
    for run in claim.run_ids.iter().take(claim.max as usize) {
        let next: Option<JobRow> = sqlx::query_as(NEXT_JOB).bind(remote).fetch_optional(&mut *tx).await?;
        let Some(job) = next else { break };
        claimed.push(claim_from(&mut tx, job, *run, claim, &instance).await?);
    }
    if !claimed.is_empty() {
        tx.commit().await?;
    }
    Ok(claimed)
}

/// Gives the job's lowest pending unit to the worker.
async fn claim_from(
    tx: &mut SqliteConnection,
    job: JobRow,
    run: RunId,
    claim: &Claim,
    instance: &str,
) -> Result<ClaimedRun> {
    let mut phase = job.phase()?;
    if phase == Phase::Pending {
        phase = begin_work(tx, &job, claim.now).await?;
    }
    let unit: Option<UnitRow> = sqlx::query_as(
        "UPDATE units SET status = 'running', attempt = attempt + 1, run_id = ?2, started_at = ?3, finished_at = NULL,
                exit_code = NULL, error = NULL, stop = NULL
         WHERE job_seq = ?1 AND status = 'pending'
         AND idx = (SELECT idx FROM units WHERE job_seq = ?1 AND status = 'pending' ORDER BY idx LIMIT 1)
         RETURNING *",
    )
    .bind(job.seq)
    .bind(run_key(run))
    .bind(claim.now.0)
    .fetch_optional(&mut *tx)
    .await?;
    let unit = unit.ok_or_else(|| out_of_step(&job))?;
    let counted = sqlx::query(
        "UPDATE jobs SET running = running + 1, served = (SELECT served + 1 FROM clock) WHERE seq = ? AND claimable = 1",
    )
    .bind(job.seq)
    .execute(&mut *tx)
    .await?;
    if counted.rows_affected() != 1 {
        return Err(out_of_step(&job));
    }
    sqlx::query("UPDATE clock SET served = served + 1, changes = changes + 1").execute(&mut *tx).await?;
    sqlx::query(
        "INSERT INTO runs (run_id, job_seq, idx, worker, instance, state, started_at, lease_until)
         VALUES (?, ?, ?, ?, ?, 'open', ?, ?)",
    )
    .bind(run_key(run))
    .bind(job.seq)
    .bind(unit.idx)
    .bind(&claim.worker)
    .bind(instance)
    .bind(claim.now.0)
    .bind(claim.lease_until.0)
    .execute(&mut *tx)
    .await?;
    let job_id = job.job_id()?;
    Ok(ClaimedRun {
        run_id: run,
        job_id,
        kind: word("a kind", &job.kind)?,
        unit: unit.record(job_id, phase, None)?,
        spec: job.spec,
    })
}

/// `pending` -> the kind's first phase.
async fn begin_work(tx: &mut SqliteConnection, job: &JobRow, now: Timestamp) -> Result<Phase> {
    let first = job.entries()?.first().map(|entry| entry.phase).ok_or_else(|| out_of_step(job))?;
    let begun = sqlx::query(
        "UPDATE jobs SET phase = ?, started_at = ? WHERE seq = ? AND phase IN (SELECT value FROM json_each(?))",
    )
    .bind(first.as_str())
    .bind(now.0)
    .bind(job.seq)
    .bind(phase_set(first.prior()))
    .execute(tx)
    .await?;
    if begun.rows_affected() == 1 { Ok(first) } else { Err(out_of_step(job)) }
}

/// Counters and rows disagree, or the phases do: a fault of ours. Rolled back, and told.
pub(super) fn out_of_step(job: &JobRow) -> Error {
    Error::Internal { context: format!("job row {} does not agree with its units or phases", job.seq), source: None }
}

pub(super) async fn heartbeat(
    store: &SqliteStore,
    worker: &str,
    now: Timestamp,
    lease_until: Timestamp,
) -> Result<Vec<RunId>> {
    let mut tx = store.begin().await?;
    sqlx::query("UPDATE workers SET heartbeat_at = ? WHERE worker_id = ?")
        .bind(now.0)
        .bind(worker)
        .execute(&mut *tx)
        .await?;
    let held: Vec<Vec<u8>> = sqlx::query_scalar(
        "UPDATE runs SET lease_until = ? WHERE worker = ? AND state <> 'closed' AND state = 'open' RETURNING run_id",
    )
    .bind(lease_until.0)
    .bind(worker)
    .fetch_all(&mut *tx)
    .await?;
    tx.commit().await?;
    held.iter().map(|id| run_id(id)).collect()
}

pub(super) async fn stop_orders(store: &SqliteStore, worker: &str) -> Result<Vec<StopOrder>> {
    let rows: Vec<(Vec<u8>, bool)> = sqlx::query_as(
        "SELECT r.run_id, j.forced_at IS NOT NULL FROM runs r CROSS JOIN jobs j ON j.seq = r.job_seq
         WHERE r.worker = ? AND r.state <> 'closed' AND r.state = 'open' AND j.phase = ? ORDER BY r.seq",
    )
    .bind(worker)
    .bind(Phase::Cancelling.as_str())
    .fetch_all(&store.readers)
    .await?;
    rows.into_iter().map(|(id, force)| Ok(StopOrder { run_id: run_id(&id)?, force })).collect()
}

pub(super) async fn expire_leases(store: &SqliteStore, now: Timestamp) -> Result<Vec<OpenRun>> {
    let ended: Option<i64> = sqlx::query_scalar(
        "SELECT seq FROM runs INDEXED BY runs_open_worker
         WHERE state <> 'closed' AND state = 'open' AND lease_until < ? LIMIT 1",
    )
    .bind(now.0)
    .fetch_optional(&store.readers)
    .await?;
    if ended.is_some() {
        let mut tx = store.begin().await?;
        let lost = sqlx::query(
            "UPDATE runs SET state = 'lost' WHERE state <> 'closed' AND state = 'open' AND lease_until < ?",
        )
        .bind(now.0)
        .execute(&mut *tx)
        .await?;
        if lost.rows_affected() > 0 {
            jobs::moved(&mut tx).await?;
        }
        tx.commit().await?;
    }
    let rows = sqlx::query_as(select_runs!("WHERE r.state <> 'closed' AND r.state = 'lost' ORDER BY r.seq"))
        .fetch_all(&store.readers)
        .await?;
    open_runs_of(rows)
}

pub(super) async fn open_runs_of_instance(store: &SqliteStore, instance: &str, except: &str) -> Result<Vec<OpenRun>> {
    let rows =
        sqlx::query_as(select_runs!("WHERE r.state <> 'closed' AND r.instance = ? AND r.worker <> ? ORDER BY r.seq"))
            .bind(instance)
            .bind(except)
            .fetch_all(&store.readers)
            .await?;
    open_runs_of(rows)
}

pub(super) async fn open_runs(store: &SqliteStore, id: JobId, limit: u32) -> Result<Vec<OpenRun>> {
    let rows = sqlx::query_as(select_runs!("WHERE j.job_id = ? AND r.state <> 'closed' ORDER BY r.seq LIMIT ?"))
        .bind(job_key(id))
        .bind(limit)
        .fetch_all(&store.readers)
        .await?;
    open_runs_of(rows)
}

pub(super) async fn run(store: &SqliteStore, id: RunId) -> Result<Option<OpenRun>> {
    let row: Option<OpenRunRow> =
        sqlx::query_as(select_runs!("WHERE r.run_id = ?")).bind(run_key(id)).fetch_optional(&store.readers).await?;
    row.map(OpenRunRow::record).transpose()
}

pub(super) async fn unconfirmed_runs(store: &SqliteStore, id: JobId) -> Result<Vec<OpenRun>> {
    let rows = sqlx::query_as(select_runs!("WHERE j.job_id = ? AND r.unproven > 0 ORDER BY r.seq"))
        .bind(job_key(id))
        .fetch_all(&store.readers)
        .await?;
    open_runs_of(rows)
}

pub(super) async fn count_doubted(store: &SqliteStore, id: JobId) -> Result<u64> {
    let count: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM runs WHERE unproven > 0 AND job_seq = (SELECT seq FROM jobs WHERE job_id = ?)",
    )
    .bind(job_key(id))
    .fetch_one(&store.readers)
    .await?;
    Ok(u64::try_from(count).unwrap_or(0))
}

pub(super) async fn doubted_runs(store: &SqliteStore, since: Timestamp, limit: u32) -> Result<Vec<OpenRun>> {
    let rows = sqlx::query_as(select_runs!(
        "WHERE r.seq IN (SELECT seq FROM runs INDEXED BY runs_unproven WHERE unproven > 0 AND lease_until >= ?
                         ORDER BY seq DESC LIMIT ?)
         AND j.phase <> ? ORDER BY r.seq DESC"
    ))
    .bind(since.0)
    .bind(limit)
    .bind(Phase::Deleting.as_str())
    .fetch_all(&store.readers)
    .await?;
    open_runs_of(rows)
}

pub(super) async fn count_unconfirmed(store: &SqliteStore) -> Result<u64> {
    let count: i64 = sqlx::query_scalar(
        "SELECT (SELECT count(*) FROM runs WHERE unproven > 0) + (SELECT count(*) FROM removal_runs)
              + (SELECT count(*) FROM runs r JOIN jobs j ON j.seq = r.job_seq
                 WHERE r.state <> 'closed' AND r.state = 'lost' AND j.phase = ?)",
    )
    .bind(Phase::Cancelling.as_str())
    .fetch_one(&store.readers)
    .await?;
    Ok(u64::try_from(count).unwrap_or(0))
}
