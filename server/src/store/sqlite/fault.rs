//! What SQLite's errors mean to whoever asked. Codes: <https://sqlite.org/rescode.html>.
//!
//! SQLite says FULL only where a plain write met a full disk. Where the shared-memory file could not grow, a file not be
//! made or a quota is used up it says IOERR or CANTOPEN, as for a broken disk: which of them it was, the disk tells.

use std::path::Path;

use crate::{disk, error::Error};

/// The primary code of an extended one is its low byte.
const PRIMARY: i64 = 0xff;
const BUSY: i64 = 5;
const LOCKED: i64 = 6;
const IOERR: i64 = 10;
const FULL: i64 = 13;
const CANTOPEN: i64 = 14;

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        if matches!(error, sqlx::Error::PoolTimedOut) {
            return Error::Busy;
        }
        match primary_code(&error) {
            Some(FULL) => Error::DiskFull,
            Some(BUSY | LOCKED) => Error::Busy,
            Some(_) | None => Error::internal("the database failed", error),
        }
    }
}

fn primary_code(error: &sqlx::Error) -> Option<i64> {
    let code = error.as_database_error()?.code()?;
    code.parse::<i64>().ok().map(|code| code & PRIMARY)
}

/// Tells a fault in reading or writing the files of a database in `folder` as a full disk, where that explains it.
pub(super) fn judge(error: Error, folder: &Path) -> Error {
    let Error::Internal { source: Some(source), .. } = &error else { return error };
    let code = source.downcast_ref().and_then(primary_code);
    if matches!(code, Some(IOERR | CANTOPEN)) && disk::explains_failure(folder) {
        tracing::warn!(error = &error as &dyn std::error::Error, "the disk is full");
        return Error::DiskFull;
    }
    error
}

#[cfg(test)]
mod tests {
    use sqlx::{ConnectOptions, Connection, sqlite::SqliteConnectOptions};

    use super::*;

    #[tokio::test]
    async fn a_store_that_met_a_full_disk_writes_again_when_there_is_room() {
        let folder = tempfile::tempdir().unwrap();
        let store = super::super::SqliteStore::open(&folder.path().join("small.db")).await.unwrap();
        // Not below its present size.
        sqlx::query("PRAGMA max_page_count = 1").execute(&store.writer).await.unwrap();
        let mut tx = store.begin().await.unwrap();
        let full = sqlx::query("INSERT INTO sign_in_links VALUES (hex(zeroblob(1000000)), 1)").execute(&mut *tx).await;
        assert!(matches!(Error::from(full.unwrap_err()), Error::DiskFull));
        drop(tx);
        store.begin().await.expect("a connection that is not taken to be inside a transaction");
        store.close().await;
    }

    #[tokio::test]
    async fn a_full_disk_and_a_busy_database_are_told_as_such() {
        let folder = tempfile::tempdir().unwrap();
        let options = SqliteConnectOptions::new()
            .filename(folder.path().join("small.db"))
            .create_if_missing(true)
            .busy_timeout(std::time::Duration::ZERO);
        let mut one = options.connect().await.unwrap();
        sqlx::query("CREATE TABLE notes (text TEXT)").execute(&mut one).await.unwrap();
        sqlx::query("PRAGMA max_page_count = 4").execute(&mut one).await.unwrap();
        let full = sqlx::query("INSERT INTO notes VALUES (hex(zeroblob(100000)))").execute(&mut one).await.unwrap_err();
        assert!(matches!(Error::from(full), Error::DiskFull));

        let mut other = options.connect().await.unwrap();
        sqlx::query("BEGIN IMMEDIATE").execute(&mut one).await.unwrap();
        let busy = sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap_err();
        assert!(matches!(Error::from(busy), Error::Busy));
        one.close().await.unwrap();

        // A folder in the place of a database: a fault of the disk's, but the disk is not full.
        let folder = tempfile::tempdir().unwrap();
        let fault = SqliteConnectOptions::new().filename(folder.path()).connect().await.unwrap_err();
        assert_eq!(primary_code(&fault), Some(CANTOPEN));
        let told = judge(Error::from(fault), folder.path());
        assert_eq!(matches!(told, Error::DiskFull), disk::explains_failure(folder.path()));

        let wrong = sqlx::query("SELECT * FROM nothing").execute(&mut other).await.unwrap_err();
        assert!(matches!(Error::from(wrong), Error::Internal { .. }));
    }
}
