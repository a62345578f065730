//! The audit: written in the transaction of what it tells, or alone.

use app::model::{AuditEvent, Page};
use sqlx::SqliteConnection;

use super::{
    SqliteStore, cursor, jobs,
    rows::{AuditRow, job_key},
};
use crate::error::Result;

const AUDIT: u8 = b'a';

pub(super) async fn insert(tx: &mut SqliteConnection, event: &AuditEvent) -> Result<()> {
    sqlx::query(
        "INSERT INTO audit (at, actor, action, job_id, job_name, source, address, request_id, result, detail)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(event.at.0)
    .bind(&event.actor)
    .bind(event.action.as_str())
    .bind(event.job_id.map(job_key))
    .bind(&event.job_name)
    .bind(event.source.as_str())
    .bind(&event.address)
    .bind(&event.request_id)
    .bind(&event.result)
    .bind(&event.detail)
    .execute(tx)
    .await?;
    Ok(())
}

pub(super) async fn audit(store: &SqliteStore, event: &AuditEvent) -> Result<()> {
    let mut tx = store.begin().await?;
    insert(&mut tx, event).await?;
    jobs::moved(&mut tx).await?;
    tx.commit().await?;
    Ok(())
}

pub(super) async fn audit_events(store: &SqliteStore, before: Option<&str>, limit: u32) -> Result<Page<AuditEvent>> {
    let before = match before {
        Some(text) => cursor::read(AUDIT, text)?.0,
        None => i64::MAX,
    };
    let mut rows: Vec<AuditRow> = sqlx::query_as("SELECT * FROM audit WHERE seq < ? ORDER BY seq DESC LIMIT ?")
        .bind(before)
        .bind(i64::from(limit) + 1)
        .fetch_all(&store.readers)
        .await?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next_cursor = rows.last().filter(|_| more).map(|last| cursor::write(AUDIT, last.seq, ""));
    let items: Result<Vec<AuditEvent>> = rows.into_iter().map(AuditRow::record).collect();
    Ok(Page { items: items?, next_cursor })
}
