//! What SQLite's errors mean to whoever asked. Codes: <https://sqlite.org/rescode.html>.

use crate::error::Error;

/// The primary code of an extended one is its low byte.
const PRIMARY: i64 = 0xff;
const BUSY: i64 = 5;
const LOCKED: i64 = 6;
const FULL: i64 = 13;
/// The shared-memory file of the write-ahead log could not grow: seen on a full disk.
const IOERR_SHMSIZE: i64 = 4874;

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        if matches!(error, sqlx::Error::PoolTimedOut) {
            return Error::Busy;
        }
        let code = error.as_database_error().and_then(|fault| fault.code()).and_then(|code| code.parse::<i64>().ok());
        match code {
            Some(IOERR_SHMSIZE) => Error::DiskFull,
            Some(code) if code & PRIMARY == FULL => Error::DiskFull,
            Some(code) if matches!(code & PRIMARY, BUSY | LOCKED) => Error::Busy,
            _ => Error::internal("the database failed", error),
        }
    }
}

#[cfg(test)]
mod tests {
    use sqlx::{ConnectOptions, Connection, sqlite::SqliteConnectOptions};

    use super::*;

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

        let wrong = sqlx::query("SELECT * FROM nothing").execute(&mut other).await.unwrap_err();
        assert!(matches!(Error::from(wrong), Error::Internal { .. }));
    }
}
