//! Requests joined to their results: made when a batch is over, read page by page.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use app::model::{BatchState, ErrorCode, Page, RequestQuery, RequestRow, ResultCounts};
use batches::{
    Usage,
    results::{self, Join, RowStatus},
};

use super::input::unreadable;
use crate::error::{Error, Result};

/// A line for each request: what the console shows.
pub(super) const ROWS: &str = "requests.jsonl";
/// The same for spreadsheets.
const TABLE: &str = "requests.csv";
/// The requests that were not done, as they were sent.
pub(super) const UNFINISHED: &str = "unfinished.jsonl";

/// Rows a page.
const DEFAULT_LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 200;
/// Lines that one page looks through: a rare status ends early, with a cursor.
const MAX_LOOKED_AT: usize = 50_000;

/// What a join came to.
pub(super) struct Joined {
    pub(super) results: ResultCounts,
    pub(super) usage: Option<Usage>,
    /// Lines that could not be read.
    pub(super) unreadable: u64,
    /// There were lines, and none of them is a result.
    pub(super) is_garbage: bool,
}

/// Joins what a provider returned to what it was asked. Blocking.
pub(super) fn join(state: BatchState, requests: Option<&PathBuf>, outputs: &[PathBuf], into: &Path) -> Result<Joined> {
    let unanswered = match state {
        BatchState::Cancelled => RowStatus::Cancelled,
        BatchState::Expired => RowStatus::Expired,
        BatchState::Unsent
        | BatchState::Uploading
        | BatchState::Creating
        | BatchState::Queued
        | BatchState::Running
        | BatchState::Finalizing
        | BatchState::Cancelling
        | BatchState::Succeeded
        | BatchState::Partial
        | BatchState::Failed
        | BatchState::Unknown => RowStatus::Missing,
    };
    let join = Join {
        requests: requests.map(PathBuf::as_path),
        outputs,
        unanswered,
        rows: &into.join(ROWS),
        table: &into.join(TABLE),
        remaining: &into.join(UNFINISHED),
    };
    let totals = results::join(&join, &AtomicBool::new(false)).map_err(unreadable)?;
    let results = ResultCounts {
        succeeded: totals.succeeded,
        failed: totals.failed,
        cancelled: totals.cancelled,
        expired: totals.expired,
        missing: totals.missing,
        strangers: totals.strangers(),
    };
    let is_garbage = totals.unreadable > 0 && totals.readable == 0;
    Ok(Joined { results, usage: totals.usage, unreadable: totals.unreadable, is_garbage })
}

/// A page of the rows; an empty one before the results are there. The cursor is a place in the file. Blocking.
pub(super) fn page(path: &Path, query: &RequestQuery) -> Result<Page<RequestRow>> {
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT) as usize;
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Page::default()),
        Err(error) => return Err(error.into()),
    };
    let mut place = match query.cursor.as_deref() {
        None => 0,
        Some(cursor) => cursor.parse::<u64>().ok().filter(|at| begins_a_line(&mut file, *at)).ok_or_else(bad_cursor)?,
    };
    file.seek(SeekFrom::Start(place))?;
    let mut lines = BufReader::new(file);
    let mut items = Vec::new();
    let mut line = Vec::new();
    for _ in 0..MAX_LOOKED_AT {
        line.clear();
        let read = lines.read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(Page { items, next_cursor: None });
        }
        if items.len() == limit {
            break;
        }
        place += read as u64;
        let row: RequestRow =
            serde_json::from_slice(&line).map_err(|error| Error::internal("a row of results cannot be read", error))?;
        if query.status.is_none_or(|status| status == row.status) {
            items.push(row);
        }
    }
    Ok(Page { items, next_cursor: Some(place.to_string()) })
}

fn begins_a_line(file: &mut File, at: u64) -> bool {
    let mut before = [0_u8];
    at == 0
        || (file.seek(SeekFrom::Start(at - 1)).is_ok()
            && io::Read::read_exact(file, &mut before).is_ok()
            && before[0] == b'\n')
}

fn bad_cursor() -> Error {
    Error::Invalid {
        code: ErrorCode::InvalidQuery,
        field: Some("cursor".to_owned()),
        detail: "`cursor` is not one that this list gave out.".to_owned(),
        hint: None,
    }
}

#[cfg(test)]
mod tests {
    use app::model::RequestStatus;

    use super::*;

    fn rows() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(ROWS);
        let line = |index: u32| {
            let status = if index.is_multiple_of(3) { RequestStatus::Failed } else { RequestStatus::Succeeded };
            let row = RequestRow {
                id: format!("r{index}"),
                status,
                http_status: None,
                input_tokens: None,
                output_tokens: None,
                first_words: None,
                error: None,
            };
            serde_json::to_string(&row).unwrap() + "\n"
        };
        std::fs::write(&path, (0..10).map(line).collect::<String>()).unwrap();
        (folder, path)
    }

    #[test]
    fn pages_go_on_where_they_ended_with_and_without_a_filter() {
        let (_folder, path) = rows();
        for (status, wanted) in [(None, 10), (Some(RequestStatus::Failed), 4)] {
            let mut query = RequestQuery { status, cursor: None, limit: Some(3) };
            let mut ids = Vec::new();
            loop {
                let page = page(&path, &query).unwrap();
                assert!(page.items.len() <= 3);
                ids.extend(page.items.into_iter().map(|row| row.id));
                query.cursor = page.next_cursor;
                if query.cursor.is_none() {
                    break;
                }
            }
            ids.dedup();
            assert_eq!(ids.len(), wanted);
        }
    }

    #[test]
    fn a_made_up_cursor_is_refused_and_no_results_are_an_empty_page() {
        let (folder, path) = rows();
        for cursor in ["x", "1", "999999", "-1"] {
            let query = RequestQuery { cursor: Some(cursor.to_owned()), ..RequestQuery::default() };
            assert!(page(&path, &query).is_err(), "{cursor}");
        }
        assert!(page(&folder.path().join("none"), &RequestQuery::default()).unwrap().items.is_empty());
    }
}
