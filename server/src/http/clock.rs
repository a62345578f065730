//! The clock, for sign-in and for pages.

use std::time::{SystemTime, UNIX_EPOCH};

use app::model::Timestamp;

/// Now, by the wall clock.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
