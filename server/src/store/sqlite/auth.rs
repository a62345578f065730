//! Sign-in: links, sessions, tokens. Only hashes come here.

use app::model::{AuditEvent, Timestamp};

use super::{
    SqliteStore, audit,
    jobs::{self, KEY_LIFE_MILLIS},
};
use crate::{
    error::Result,
    store::{ApiToken, Session},
};

pub(super) async fn add_sign_in_link(store: &SqliteStore, hash: &str, expires: Timestamp) -> Result<()> {
    sqlx::query("INSERT OR REPLACE INTO sign_in_links (hash, expires) VALUES (?, ?)")
        .bind(hash)
        .bind(expires.0)
        .execute(&store.writer)
        .await?;
    Ok(())
}

pub(super) async fn use_sign_in_link(store: &SqliteStore, hash: &str, now: Timestamp) -> Result<bool> {
    let used = sqlx::query("DELETE FROM sign_in_links WHERE hash = ? AND expires > ?")
        .bind(hash)
        .bind(now.0)
        .execute(&store.writer)
        .await?;
    Ok(used.rows_affected() == 1)
}

pub(super) async fn add_session(store: &SqliteStore, session: &Session) -> Result<()> {
    sqlx::query("INSERT OR REPLACE INTO sessions (hash, actor, created_at, expires, token) VALUES (?, ?, ?, ?, ?)")
        .bind(&session.hash)
        .bind(&session.actor)
        .bind(session.created_at.0)
        .bind(session.expires.0)
        .bind(&session.token)
        .execute(&store.writer)
        .await?;
    Ok(())
}

pub(super) async fn session(store: &SqliteStore, hash: &str, now: Timestamp) -> Result<Option<Session>> {
    let row: Option<(String, String, i64, i64, Option<String>)> =
        sqlx::query_as("SELECT hash, actor, created_at, expires, token FROM sessions WHERE hash = ? AND expires > ?")
            .bind(hash)
            .bind(now.0)
            .fetch_optional(&store.readers)
            .await?;
    Ok(row.map(|(hash, actor, created_at, expires, token)| Session {
        hash,
        actor,
        created_at: Timestamp(created_at),
        expires: Timestamp(expires),
        token,
    }))
}

pub(super) async fn end_session(store: &SqliteStore, hash: &str) -> Result<()> {
    sqlx::query("DELETE FROM sessions WHERE hash = ?").bind(hash).execute(&store.writer).await?;
    Ok(())
}

pub(super) async fn add_token(store: &SqliteStore, token: &ApiToken, event: &AuditEvent) -> Result<()> {
    let mut tx = store.begin().await?;
    sqlx::query("INSERT OR REPLACE INTO tokens (name, hash, created_at, created_by) VALUES (?, ?, ?, ?)")
        .bind(&token.name)
        .bind(&token.hash)
        .bind(token.created_at.0)
        .bind(&token.created_by)
        .execute(&mut *tx)
        .await?;
    audit::insert(&mut tx, event).await?;
    jobs::moved(&mut tx).await?;
    tx.commit().await?;
    Ok(())
}

fn api_token((name, hash, created_at, created_by): (String, String, i64, String)) -> ApiToken {
    ApiToken { name, hash, created_at: Timestamp(created_at), created_by }
}

pub(super) async fn token(store: &SqliteStore, hash: &str) -> Result<Option<ApiToken>> {
    let row: Option<(String, String, i64, String)> =
        sqlx::query_as("SELECT name, hash, created_at, created_by FROM tokens WHERE hash = ?")
            .bind(hash)
            .fetch_optional(&store.readers)
            .await?;
    Ok(row.map(api_token))
}

pub(super) async fn tokens(store: &SqliteStore) -> Result<Vec<ApiToken>> {
    let rows: Vec<(String, String, i64, String)> =
        sqlx::query_as("SELECT name, hash, created_at, created_by FROM tokens ORDER BY name")
            .fetch_all(&store.readers)
            .await?;
    Ok(rows.into_iter().map(api_token).collect())
}

pub(super) async fn revoke_token(store: &SqliteStore, name: &str, event: &AuditEvent) -> Result<bool> {
    let mut tx = store.begin().await?;
    let hash: Option<String> = sqlx::query_scalar("DELETE FROM tokens WHERE name = ? RETURNING hash")
        .bind(name)
        .fetch_optional(&mut *tx)
        .await?;
    let Some(hash) = hash else { return Ok(false) };
    sqlx::query("DELETE FROM sessions WHERE token = ?").bind(hash).execute(&mut *tx).await?;
    audit::insert(&mut tx, event).await?;
    jobs::moved(&mut tx).await?;
    tx.commit().await?;
    Ok(true)
}

pub(super) async fn forget_expired(store: &SqliteStore, now: Timestamp) -> Result<()> {
    let mut tx = store.begin().await?;
    sqlx::query("DELETE FROM sign_in_links WHERE expires <= ?").bind(now.0).execute(&mut *tx).await?;
    sqlx::query("DELETE FROM sessions WHERE expires <= ?").bind(now.0).execute(&mut *tx).await?;
    sqlx::query("DELETE FROM idempotency WHERE at <= ?").bind(now.0 - KEY_LIFE_MILLIS).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(())
}
