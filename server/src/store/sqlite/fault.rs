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
