//! Actions on many jobs: the frozen selection, and the result of each job.

use app::model::{
    AuditEvent, Bulk, BulkCount, BulkId, BulkItem, BulkItemQuery, BulkState, JobId, JobSort, Page, Timestamp,
};
use sqlx::SqliteConnection;

use super::{
    SqliteStore, audit, cancel, cursor, jobs, list,
    rows::{count, int, job_id, job_key, source, word},
};
use crate::{
    error::Result,
    store::{
        BulkBegun, BulkOutcome, CancelEffect, CancelOrder, Idempotency, NewBulk, SelectedJob, Selection, Submitted,
    },
};

const BULKS: u8 = b'b';
const ITEMS: u8 = b'i';

fn bulk_key(id: BulkId) -> Vec<u8> {
    id.0.to_be_bytes().to_vec()
}

fn bulk_id(bytes: &[u8]) -> Result<BulkId> {
    job_id(bytes).map(|id| BulkId(id.0))
}

/// Ids as a JSON array of hexadecimal digits: for `unhex(value)` over `json_each`.
fn hex_set(ids: impl Iterator<Item = JobId>) -> String {
    let words: Vec<String> = ids.map(|id| format!("\"{:032x}\"", id.0)).collect();
    format!("[{}]", words.join(","))
}

// ---- the selection ----

pub(super) async fn select(store: &SqliteStore, selection: &Selection, limit: usize) -> Result<Vec<SelectedJob>> {
    let mut tx = store.readers.begin().await?;
    match selection {
        Selection::Ids(ids) => by_ids(&mut tx, ids, limit).await,
        Selection::Filter { query, finished_before } => {
            let mut query = query.clone();
            // The oldest end first: what is too young ends the look. A search knows only the order of creation well;
            // what it finds is looked at whole.
            let by_age = finished_before.is_some() && query.q.is_none();
            query.sort = if by_age { JobSort::FinishedEarliest } else { JobSort::OldestFirst };
            let is_young = |at: Option<i64>| finished_before.is_some_and(|before| at.is_none_or(|at| at >= before.0));
            let most = if finished_before.is_some() && !by_age { usize::MAX } else { limit };
            let mut found = Vec::new();
            for seqs in list::all_seqs(&mut tx, &query, most, is_young).await?.chunks(1_000) {
                for row in by_seqs(&mut tx, seqs).await? {
                    if !is_young(row.finished_at) {
                        found.push(row.record()?);
                    }
                }
            }
            found.truncate(limit);
            Ok(found)
        }
    }
}

#[derive(sqlx::FromRow)]
struct SelectedRow {
    job_id: Vec<u8>,
    name: String,
    kind: String,
    phase: String,
    finished_at: Option<i64>,
}

impl SelectedRow {
    fn record(self) -> Result<SelectedJob> {
        Ok(SelectedJob {
            job_id: job_id(&self.job_id)?,
            name: self.name,
            kind: word("a kind", &self.kind)?,
            phase: word("a phase", &self.phase)?,
        })
    }
}

async fn by_ids(tx: &mut SqliteConnection, ids: &[JobId], limit: usize) -> Result<Vec<SelectedJob>> {
    let rows: Vec<SelectedRow> = sqlx::query_as(
        "SELECT j.job_id, j.name, j.kind, j.phase, j.finished_at FROM json_each(?) e CROSS JOIN jobs j ON j.job_id = unhex(e.value)
         ORDER BY e.key LIMIT ?",
    )
    .bind(hex_set(ids.iter().copied()))
    .bind(int(limit as u64))
    .fetch_all(tx)
    .await?;
    rows.into_iter().map(SelectedRow::record).collect()
}

async fn by_seqs(tx: &mut SqliteConnection, seqs: &[i64]) -> Result<Vec<SelectedRow>> {
    let words: Vec<String> = seqs.iter().map(i64::to_string).collect();
    let rows = sqlx::query_as(
        "SELECT j.job_id, j.name, j.kind, j.phase, j.finished_at FROM json_each(?) e CROSS JOIN jobs j ON j.seq = e.value
         ORDER BY e.key",
    )
    .bind(format!("[{}]", words.join(",")))
    .fetch_all(tx)
    .await?;
    Ok(rows)
}

// ---- the bulk ----

pub(super) async fn begin(
    store: &SqliteStore,
    bulk: &NewBulk,
    items: &[JobId],
    key: Option<Idempotency>,
    event: AuditEvent,
) -> Result<BulkBegun> {
    let mut tx = store.begin().await?;
    // The table of keys holds ids of what was made; that they are of another sort, the hash of the request tells.
    if let Some(key) = &key {
        match jobs::known_key(&mut tx, key).await? {
            Some(Submitted::Replayed(id)) => return Ok(BulkBegun::Replayed(BulkId(id.0))),
            Some(Submitted::KeyConflict) => return Ok(BulkBegun::KeyConflict),
            Some(Submitted::Stored | Submitted::BatchTaken) | None => {
                jobs::remember_key(&mut tx, key, JobId(bulk.bulk_id.0)).await?
            }
        }
    }
    let seq: i64 = sqlx::query_scalar(
        "INSERT INTO bulks (bulk_id, action, reason, notes, force, keep_files, created_at, created_by, source, request_id,
            retry_of, total) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING seq",
    )
    .bind(bulk_key(bulk.bulk_id))
    .bind(bulk.action.as_str())
    .bind(&bulk.reason)
    .bind(&bulk.notes)
    .bind(bulk.force)
    .bind(bulk.keep_files)
    .bind(bulk.created_at.0)
    .bind(&bulk.created_by)
    .bind(bulk.source.as_str())
    .bind(&bulk.request_id)
    .bind(bulk.retry_of.map(bulk_key))
    .bind(int(items.len() as u64))
    .fetch_one(&mut *tx)
    .await?;
    sqlx::query(
        "INSERT INTO bulk_items (bulk_seq, idx, job_id, name)
         SELECT ?, e.key, unhex(e.value), coalesce(j.name, '')
         FROM json_each(?) e LEFT JOIN jobs j ON j.job_id = unhex(e.value)",
    )
    .bind(seq)
    .bind(hex_set(items.iter().copied()))
    .execute(&mut *tx)
    .await?;
    audit::insert(&mut tx, &event).await?;
    jobs::moved(&mut tx).await?;
    tx.commit().await?;
    Ok(BulkBegun::Stored)
}

#[derive(sqlx::FromRow)]
struct BulkRow {
    seq: i64,
    bulk_id: Vec<u8>,
    action: String,
    reason: Option<String>,
    notes: Option<String>,
    force: bool,
    keep_files: bool,
    created_at: i64,
    created_by: String,
    source: String,
    request_id: String,
    finished_at: Option<i64>,
    aborted_at: Option<i64>,
    aborted_by: Option<String>,
    retry_of: Option<Vec<u8>>,
    total: i64,
}

impl BulkRow {
    async fn record(self, conn: &mut SqliteConnection) -> Result<Bulk> {
        let rows: Vec<(String, i64, i64)> =
            sqlx::query_as("SELECT result, count(*), sum(bytes) FROM bulk_items WHERE bulk_seq = ? GROUP BY result")
                .bind(self.seq)
                .fetch_all(conn)
                .await?;
        let freed_bytes = rows.iter().map(|(_, _, bytes)| count(*bytes)).sum();
        let counts: Result<Vec<BulkCount>> = rows
            .iter()
            .map(|(result, jobs, _)| Ok(BulkCount { result: word("a result", result)?, jobs: count(*jobs) }))
            .collect();
        let mut counts = counts?;
        counts.sort_by_key(|count| count.result);
        let state = match (self.finished_at, self.aborted_at) {
            (None, _) => BulkState::Running,
            (Some(_), None) => BulkState::Done,
            (Some(_), Some(_)) => BulkState::Aborted,
        };
        Ok(Bulk {
            bulk_id: bulk_id(&self.bulk_id)?,
            action: word("an action", &self.action)?,
            state,
            reason: self.reason,
            notes: self.notes,
            force: self.force,
            keep_files: self.keep_files,
            created_at: Timestamp(self.created_at),
            created_by: self.created_by,
            source: source(&self.source)?,
            request_id: self.request_id,
            finished_at: self.finished_at.map(Timestamp),
            aborted_at: self.aborted_at.map(Timestamp),
            aborted_by: self.aborted_by,
            retry_of: self.retry_of.as_deref().map(bulk_id).transpose()?,
            total: count(self.total),
            counts,
            freed_bytes,
        })
    }
}

pub(super) async fn bulk(store: &SqliteStore, id: BulkId) -> Result<Option<Bulk>> {
    let mut tx = store.readers.begin().await?;
    let row: Option<BulkRow> =
        sqlx::query_as("SELECT * FROM bulks WHERE bulk_id = ?").bind(bulk_key(id)).fetch_optional(&mut *tx).await?;
    match row {
        Some(row) => Ok(Some(row.record(&mut tx).await?)),
        None => Ok(None),
    }
}

pub(super) async fn bulks(store: &SqliteStore, before: Option<&str>, limit: u32) -> Result<Page<Bulk>> {
    let before = before.map(|text| cursor::read(BULKS, text)).transpose()?.map_or(i64::MAX, |(seq, _)| seq);
    let mut tx = store.readers.begin().await?;
    let mut rows: Vec<BulkRow> = sqlx::query_as("SELECT * FROM bulks WHERE seq < ? ORDER BY seq DESC LIMIT ?")
        .bind(before)
        .bind(i64::from(limit) + 1)
        .fetch_all(&mut *tx)
        .await?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next_cursor = rows.last().filter(|_| more).map(|last| cursor::write(BULKS, last.seq, ""));
    let mut items = Vec::with_capacity(rows.len());
    for row in rows {
        items.push(row.record(&mut tx).await?);
    }
    Ok(Page { items, next_cursor })
}

pub(super) async fn running(store: &SqliteStore) -> Result<Vec<Bulk>> {
    let mut tx = store.readers.begin().await?;
    let rows: Vec<BulkRow> =
        sqlx::query_as("SELECT * FROM bulks INDEXED BY bulks_running WHERE finished_at IS NULL ORDER BY seq")
            .fetch_all(&mut *tx)
            .await?;
    let mut bulks = Vec::with_capacity(rows.len());
    for row in rows {
        bulks.push(row.record(&mut tx).await?);
    }
    Ok(bulks)
}

#[derive(sqlx::FromRow)]
struct ItemRow {
    idx: i64,
    job_id: Vec<u8>,
    name: String,
    result: String,
    detail: Option<String>,
    at: Option<i64>,
    new_job_id: Option<Vec<u8>>,
}

impl ItemRow {
    fn record(self) -> Result<BulkItem> {
        Ok(BulkItem {
            index: count(self.idx),
            job_id: job_id(&self.job_id)?,
            name: self.name,
            result: word("a result", &self.result)?,
            detail: self.detail,
            at: self.at.map(Timestamp),
            new_job_id: self.new_job_id.as_deref().map(job_id).transpose()?,
        })
    }
}

const ALL_ITEMS: &str = "SELECT idx, job_id, name, result, detail, at, new_job_id FROM bulk_items
    WHERE bulk_seq = (SELECT seq FROM bulks WHERE bulk_id = ?1) AND idx > ?2 AND ?4 IS NULL ORDER BY idx LIMIT ?3";
const ITEMS_BY_RESULT: &str =
    "SELECT idx, job_id, name, result, detail, at, new_job_id FROM bulk_items INDEXED BY bulk_items_result
    WHERE bulk_seq = (SELECT seq FROM bulks WHERE bulk_id = ?1) AND idx > ?2 AND result = ?4 ORDER BY idx LIMIT ?3";

pub(super) async fn items(
    store: &SqliteStore,
    id: BulkId,
    query: &BulkItemQuery,
    limit: u32,
) -> Result<Page<BulkItem>> {
    let after = query.cursor.as_deref().map(|text| cursor::read(ITEMS, text)).transpose()?;
    let mut rows: Vec<ItemRow> = sqlx::query_as(if query.result.is_some() { ITEMS_BY_RESULT } else { ALL_ITEMS })
        .bind(bulk_key(id))
        .bind(after.map_or(-1, |(index, _)| index))
        .bind(i64::from(limit) + 1)
        .bind(query.result.map(|result| result.as_str()))
        .fetch_all(&store.readers)
        .await?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next_cursor = rows.last().filter(|_| more).map(|last| cursor::write(ITEMS, last.idx, ""));
    let items: Result<Vec<BulkItem>> = rows.into_iter().map(ItemRow::record).collect();
    Ok(Page { items: items?, next_cursor })
}

// ---- its life ----

pub(super) async fn record(store: &SqliteStore, id: BulkId, outcomes: &[BulkOutcome]) -> Result<()> {
    let mut tx = store.begin().await?;
    let seq: Option<i64> = sqlx::query_scalar("SELECT seq FROM bulks WHERE bulk_id = ?")
        .bind(bulk_key(id))
        .fetch_optional(&mut *tx)
        .await?;
    for outcome in outcomes {
        sqlx::query(
            "UPDATE bulk_items SET result = ?, detail = ?, at = ?, bytes = ?, new_job_id = ? WHERE bulk_seq = ? AND idx = ?",
        )
        .bind(outcome.result.as_str())
        .bind(&outcome.detail)
        .bind(outcome.at.0)
        .bind(int(outcome.freed_bytes))
        .bind(outcome.new_job_id.map(job_key))
        .bind(seq)
        .bind(int(outcome.index))
        .execute(&mut *tx)
        .await?;
    }
    jobs::moved(&mut tx).await?;
    tx.commit().await?;
    Ok(())
}

pub(super) async fn abort(
    store: &SqliteStore,
    id: BulkId,
    by: &str,
    now: Timestamp,
    event: AuditEvent,
) -> Result<bool> {
    let mut tx = store.begin().await?;
    let seq: Option<i64> = sqlx::query_scalar(
        "UPDATE bulks SET aborted_at = ?, aborted_by = ?
         WHERE bulk_id = ? AND finished_at IS NULL AND aborted_at IS NULL RETURNING seq",
    )
    .bind(now.0)
    .bind(by)
    .bind(bulk_key(id))
    .fetch_optional(&mut *tx)
    .await?;
    let Some(seq) = seq else { return Ok(false) };
    sqlx::query("UPDATE bulk_items SET result = 'aborted', at = ? WHERE bulk_seq = ? AND result = 'pending'")
        .bind(now.0)
        .bind(seq)
        .execute(&mut *tx)
        .await?;
    audit::insert(&mut tx, &event).await?;
    jobs::moved(&mut tx).await?;
    tx.commit().await?;
    Ok(true)
}

pub(super) async fn finish(store: &SqliteStore, id: BulkId, now: Timestamp) -> Result<()> {
    let mut tx = store.begin().await?;
    sqlx::query(
        "UPDATE bulks SET finished_at = ?1 WHERE bulk_id = ?2 AND finished_at IS NULL AND NOT EXISTS
         (SELECT 1 FROM bulk_items i WHERE i.bulk_seq = bulks.seq AND i.result IN ('pending', 'working'))",
    )
    .bind(now.0)
    .bind(bulk_key(id))
    .execute(&mut *tx)
    .await?;
    jobs::moved(&mut tx).await?;
    tx.commit().await?;
    Ok(())
}

/// See [`cancel::cancel`]: each as there, all in one transaction.
pub(super) async fn cancel_many(
    store: &SqliteStore,
    orders: Vec<(CancelOrder, AuditEvent)>,
) -> Result<Vec<CancelEffect>> {
    let mut tx = store.begin().await?;
    let mut effects = Vec::with_capacity(orders.len());
    for (order, event) in orders {
        effects.push(cancel::cancel_in(&mut tx, &order, event).await?);
    }
    jobs::moved(&mut tx).await?;
    tx.commit().await?;
    Ok(effects)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_for_unhex() {
        assert_eq!(hex_set([JobId(0xab), JobId(1)].into_iter()), format!("[\"{:0>32}\",\"{:0>32}\"]", "ab", "1"));
        assert_eq!(bulk_id(&job_key(JobId(7))).unwrap(), BulkId(7));
    }
}
