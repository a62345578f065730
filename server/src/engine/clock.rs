//! The clock. The store and the kinds are told the time; here it is read.

use std::time::{SystemTime, UNIX_EPOCH};

use app::model::{JobId, RunId, Timestamp};

/// Now, by the wall clock.
#[must_use]
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// A fresh job id.
#[must_use]
pub fn new_job_id() -> JobId {
    JobId(uuid::Uuid::now_v7().as_u128())
}

/// A fresh run id.
#[must_use]
pub fn new_run_id() -> RunId {
    RunId(uuid::Uuid::now_v7().as_u128())
}
