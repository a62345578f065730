//! Units and artifacts as pages see them.

use app::model::{JobId, Page, Phase, UnitQuery, UnitStatus};
use sqlx::SqliteConnection;

use super::{
    SqliteStore, cursor, jobs,
    rows::{ArtifactSqlRow, JobRow, UnitRow, int, job_key},
};
use crate::{
    error::Result,
    store::{ArtifactRow, UnitRecord},
};

const UNITS: u8 = b'u';
const ARTIFACTS: u8 = b'f';

/// Runs that may have begun since a unit did that only now ended, and is still told among the latest.
const LONGER_RUNNING: u64 = 300;

fn record(unit: UnitRow, job: &JobRow, phase: Phase) -> Result<UnitRecord> {
    unit.record(job.job_id()?, phase, job.cancel_at)
}

pub(super) async fn units(store: &SqliteStore, id: JobId, query: &UnitQuery) -> Result<Page<UnitRecord>> {
    let after = match &query.cursor {
        Some(text) => cursor::read(UNITS, text)?.0,
        None => -1,
    };
    let mut tx = store.readers.begin().await?;
    let Some(job) = jobs::row(&mut tx, id).await? else { return Ok(Page::default()) };
    let phase = job.phase()?;
    let limit = query.limit() as usize;
    if query.latest {
        let rows = latest_ended(&mut tx, job.seq, limit).await?;
        let items: Result<Vec<UnitRecord>> = rows.into_iter().map(|unit| record(unit, &job, phase)).collect();
        return Ok(Page { items: items?, next_cursor: None });
    }
    let mut rows = Vec::new();
    match stored_as(query.status, phase) {
        None if query.stopped => rows = stopped(&mut tx, job.seq, after, limit).await?,
        None => rows = from_index(&mut tx, job.seq, after, limit).await?,
        Some(stored) => {
            for status in stored {
                rows.extend(of_status(&mut tx, job.seq, *status, after, limit).await?);
            }
            rows.sort_by_key(|unit| unit.idx);
        }
    }
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next_cursor = rows.last().filter(|_| more).map(|last| cursor::write(UNITS, last.idx, ""));
    let items: Result<Vec<UnitRecord>> = rows.into_iter().map(|unit| record(unit, &job, phase)).collect();
    Ok(Page { items: items?, next_cursor })
}

/// The stored statuses of units that are told as `status`. Where nothing is claimed any more, pending rows are
/// cancelled ones that wait to be swept.
fn stored_as(status: Option<UnitStatus>, phase: Phase) -> Option<&'static [UnitStatus]> {
    let over = !phase.can_claim();
    Some(match status? {
        UnitStatus::Pending if over => &[],
        UnitStatus::Cancelled if over => &[UnitStatus::Cancelled, UnitStatus::Pending],
        UnitStatus::Pending => &[UnitStatus::Pending],
        UnitStatus::Running => &[UnitStatus::Running],
        UnitStatus::Succeeded => &[UnitStatus::Succeeded],
        UnitStatus::Failed => &[UnitStatus::Failed],
        UnitStatus::Cancelled => &[UnitStatus::Cancelled],
    })
}

async fn from_index(tx: &mut SqliteConnection, seq: i64, after: i64, limit: usize) -> Result<Vec<UnitRow>> {
    Ok(sqlx::query_as("SELECT * FROM units WHERE job_seq = ? AND idx > ? ORDER BY idx LIMIT ?")
        .bind(seq)
        .bind(after)
        .bind(int(limit as u64 + 1))
        .fetch_all(tx)
        .await?)
}

/// Those with evidence of a stop, by index: what was never started has none stored.
async fn stopped(tx: &mut SqliteConnection, seq: i64, after: i64, limit: usize) -> Result<Vec<UnitRow>> {
    Ok(sqlx::query_as(
        "SELECT * FROM units INDEXED BY units_status
         WHERE job_seq = ? AND status = 'cancelled' AND idx > ? AND stop IS NOT NULL AND run_id IS NOT NULL
         ORDER BY idx LIMIT ?",
    )
    .bind(seq)
    .bind(after)
    .bind(int(limit as u64 + 1))
    .fetch_all(tx)
    .await?)
}

/// Among the units whose runs began last, those that ended last.
async fn latest_ended(tx: &mut SqliteConnection, seq: i64, limit: usize) -> Result<Vec<UnitRow>> {
    Ok(sqlx::query_as(
        "SELECT * FROM (
             SELECT u.* FROM runs r INDEXED BY runs_job
             JOIN units u ON u.job_seq = r.job_seq AND u.idx = r.idx AND u.run_id = r.run_id
             WHERE r.job_seq = ? ORDER BY r.seq DESC LIMIT ?)
         WHERE finished_at IS NOT NULL ORDER BY finished_at DESC, idx DESC LIMIT ?",
    )
    .bind(seq)
    .bind(int(limit as u64 + LONGER_RUNNING))
    .bind(int(limit as u64))
    .fetch_all(tx)
    .await?)
}

async fn of_status(
    tx: &mut SqliteConnection,
    seq: i64,
    status: UnitStatus,
    after: i64,
    limit: usize,
) -> Result<Vec<UnitRow>> {
    Ok(sqlx::query_as(
        "SELECT * FROM units INDEXED BY units_status WHERE job_seq = ? AND status = ? AND idx > ? ORDER BY idx LIMIT ?",
    )
    .bind(seq)
    .bind(status.as_str())
    .bind(after)
    .bind(int(limit as u64 + 1))
    .fetch_all(tx)
    .await?)
}

pub(super) async fn unit(store: &SqliteStore, id: JobId, index: u64) -> Result<Option<UnitRecord>> {
    let mut tx = store.readers.begin().await?;
    let Some(job) = jobs::row(&mut tx, id).await? else { return Ok(None) };
    let found: Option<UnitRow> = sqlx::query_as("SELECT * FROM units WHERE job_seq = ? AND idx = ?")
        .bind(job.seq)
        .bind(int(index))
        .fetch_optional(&mut *tx)
        .await?;
    let phase = job.phase()?;
    found.map(|unit| record(unit, &job, phase)).transpose()
}

pub(super) async fn latest_units(store: &SqliteStore, id: JobId, limit: u32) -> Result<Vec<UnitRecord>> {
    let mut tx = store.readers.begin().await?;
    let Some(job) = jobs::row(&mut tx, id).await? else { return Ok(Vec::new()) };
    let rows: Vec<UnitRow> = sqlx::query_as(
        "SELECT u.* FROM runs r INDEXED BY runs_job
         JOIN units u ON u.job_seq = r.job_seq AND u.idx = r.idx AND u.run_id = r.run_id
         WHERE r.job_seq = ? ORDER BY r.seq DESC LIMIT ?",
    )
    .bind(job.seq)
    .bind(limit)
    .fetch_all(&mut *tx)
    .await?;
    let phase = job.phase()?;
    rows.into_iter().map(|unit| record(unit, &job, phase)).collect()
}

pub(super) async fn artifacts(
    store: &SqliteStore,
    id: JobId,
    after: Option<&str>,
    limit: u32,
) -> Result<Page<ArtifactRow>> {
    let after = match after {
        Some(text) => cursor::read(ARTIFACTS, text)?.1,
        None => String::new(),
    };
    let mut rows: Vec<ArtifactSqlRow> = sqlx::query_as(
        "SELECT a.path, a.name, a.unit, a.category, a.bytes FROM jobs j CROSS JOIN artifacts a ON a.job_seq = j.seq
         WHERE j.job_id = ? AND a.path > ? ORDER BY a.path LIMIT ?",
    )
    .bind(job_key(id))
    .bind(after)
    .bind(i64::from(limit) + 1)
    .fetch_all(&store.readers)
    .await?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next_cursor = rows.last().filter(|_| more).map(|last| cursor::write(ARTIFACTS, 0, &last.path));
    let items: Result<Vec<ArtifactRow>> = rows.into_iter().map(ArtifactSqlRow::record).collect();
    Ok(Page { items: items?, next_cursor })
}
