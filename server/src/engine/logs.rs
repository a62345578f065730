//! Logs: one unit's from a cursor on, the latest lines of a whole job, or either as a text from beginning to end.

use std::{collections::VecDeque, path::PathBuf, sync::Arc};

use app::model::{ErrorCode, JobId, LogLine, LogPage, LogQuery, LogStream, Phase, RunId, UnitQuery};

use super::{core::Core, views};
use crate::{
    error::{Error, Result},
    process::log::{self as run_log, Wanted},
    store::UnitRecord,
};

/// Runs whose ends make a job's log.
const RUNS: u32 = 20;
/// Lines an answer.
const LINES: usize = 500;

/// See [`Engine::log`](super::Engine::log).
pub(super) async fn log(core: &Core, id: JobId, query: &LogQuery) -> Result<LogPage> {
    if core.find(id).await?.phase == Phase::Deleting {
        return Ok(LogPage::default());
    }
    match query.unit {
        Some(unit) => of_unit(core, id, Wanted { unit, stream: query.stream }, query.cursor.as_deref()).await,
        None => of_job(core, id, query.stream).await,
    }
}

async fn find_unit(core: &Core, id: JobId, unit: u64) -> Result<UnitRecord> {
    let record = core.store.unit(id, unit).await?;
    record.ok_or_else(|| Error::NotFound(format!("Job `{id}` has no unit {unit}.")))
}

/// The cursor names the run it belongs to: a unit that runs again has a new log.
async fn of_unit(core: &Core, id: JobId, wanted: Wanted, cursor: Option<&str>) -> Result<LogPage> {
    let Some(run) = find_unit(core, id, wanted.unit).await?.run_id else { return Ok(LogPage::default()) };
    let position = match cursor {
        Some(cursor) => position_in(run, cursor)?,
        None => None,
    };
    let path = core.data.log(id, run);
    let read = core.blocking(move || run_log::read(&path, position.as_deref(), LINES, wanted)).await?;
    let page = read.map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidInput => bad_cursor(),
        _ => Error::from(error),
    })?;
    Ok(LogPage { next_cursor: page.next_cursor.map(|position| format!("{run}.{position}")), ..page })
}

/// Where to read on; from the beginning when the cursor is of a former run.
fn position_in(run: RunId, cursor: &str) -> Result<Option<String>> {
    let (of, position) = cursor.split_once('.').ok_or_else(bad_cursor)?;
    let of: RunId = of.parse().map_err(|_| bad_cursor())?;
    Ok((of == run).then(|| position.to_owned()))
}

fn bad_cursor() -> Error {
    Error::Invalid {
        code: ErrorCode::InvalidQuery,
        field: Some("cursor".to_owned()),
        detail: "`cursor` is not one that this server gave.".to_owned(),
        hint: Some("Begin without a cursor.".to_owned()),
    }
}

/// The ends of the latest runs, by time.
async fn of_job(core: &Core, id: JobId, stream: Option<LogStream>) -> Result<LogPage> {
    let units = core.store.latest_units(id, RUNS).await?;
    let logs: Vec<_> = units.iter().filter_map(|unit| Some((core.data.log(id, unit.run_id?), unit.index))).collect();
    let earlier_runs = units.len() == RUNS as usize && has_more_units(core, id).await?;
    core.blocking(move || {
        let mut merged = LogPage { truncated: earlier_runs, ..LogPage::default() };
        for (path, unit) in logs {
            let page = run_log::tail(&path, LINES, Wanted { unit, stream })?;
            merged.truncated |= page.truncated;
            merged.items.extend(page.items);
        }
        // Stable: lines of one run stay in their order.
        merged.items.sort_by_key(|line| line.at);
        if merged.items.len() > LINES {
            merged.truncated = true;
            merged.items.drain(..merged.items.len() - LINES);
        }
        Ok(merged)
    })
    .await?
}

async fn has_more_units(core: &Core, id: JobId) -> Result<bool> {
    let query = UnitQuery { limit: Some(RUNS), ..UnitQuery::default() };
    Ok(core.store.units(id, &query).await?.next_cursor.is_some())
}

/// A log as text, a part at a time: the whole of it need not fit into memory.
pub struct LogText {
    core: Arc<Core>,
    id: JobId,
    stream: Option<LogStream>,
    /// Units that come next, and where the page of units behind them begins.
    units: VecDeque<UnitRecord>,
    more_units: Option<Option<String>>,
    /// The log that is being read, and how far.
    open: Option<Reading>,
}

struct Reading {
    path: PathBuf,
    unit: u64,
    position: Option<String>,
    /// Bytes given out so far.
    given: usize,
}

/// Most text of one unit: more than its log can hold, unless it is written faster than it is read.
const MAX_TEXT: usize = 256 << 20;

/// See [`Engine::log_text`](super::Engine::log_text).
pub(super) async fn log_text(core: &Arc<Core>, id: JobId, query: &LogQuery) -> Result<LogText> {
    views::find_shown(core, id).await?;
    let (units, more_units) = match query.unit {
        Some(unit) => (VecDeque::from([find_unit(core, id, unit).await?]), None),
        None => (VecDeque::new(), Some(None)),
    };
    Ok(LogText { core: core.clone(), id, stream: query.stream, units, more_units, open: None })
}

impl LogText {
    /// The next part; `None` at the end.
    ///
    /// # Errors
    /// A log or the store cannot be read.
    pub async fn next(&mut self) -> Result<Option<String>> {
        loop {
            if let Some(text) = self.read_on().await? {
                return Ok(Some(text));
            }
            if let Some(unit) = self.units.pop_front() {
                if let Some(run) = unit.run_id {
                    let path = self.core.data.log(self.id, run);
                    self.open = Some(Reading { path, unit: unit.index, position: None, given: 0 });
                    return Ok(Some(heading(&unit)));
                }
            } else if let Some(cursor) = self.more_units.take() {
                let query = UnitQuery { cursor, limit: Some(UnitQuery::MAX_LIMIT), ..UnitQuery::default() };
                let page = self.core.store.units(self.id, &query).await?;
                self.more_units = page.next_cursor.map(Some);
                self.units = page.items.into();
            } else {
                return Ok(None);
            }
        }
    }

    /// What comes next of the open log; `None` when there is no more of it.
    async fn read_on(&mut self) -> Result<Option<String>> {
        while let Some(reading) = self.open.take().filter(|reading| reading.given < MAX_TEXT) {
            let Reading { path, unit, position, given } = reading;
            let wanted = Wanted { unit, stream: self.stream };
            let (file, from) = (path.clone(), position.clone());
            let page = self.core.blocking(move || run_log::read(&file, from.as_deref(), LINES, wanted)).await??;
            let moved = page.next_cursor.as_deref() != Some(position.as_deref().unwrap_or("0"));
            let text: String = page.items.iter().map(as_text).collect();
            if moved {
                self.open = Some(Reading { path, unit, position: page.next_cursor, given: given + text.len() });
            }
            if !text.is_empty() {
                return Ok(Some(text));
            }
        }
        Ok(None)
    }
}

/// The line before a unit's own: names may hold anything but must not make lines.
fn heading(unit: &UnitRecord) -> String {
    let name: String = unit.name.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    format!("# unit {}: {name}\n", unit.index)
}

fn as_text(line: &LogLine) -> String {
    format!("{} {:6} {}\n", line.at, line.stream.as_str(), line.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_of_a_former_run_begins_again_and_a_made_up_one_is_refused() {
        let (run, other) = (RunId(1), RunId(2));
        assert_eq!(position_in(run, &format!("{run}.77")).unwrap().as_deref(), Some("77"));
        assert_eq!(position_in(run, &format!("{other}.77")).unwrap(), None);
        assert!(position_in(run, "77").is_err());
        assert!(position_in(run, "x.77").is_err());
    }
}
