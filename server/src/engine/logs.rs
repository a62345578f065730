//! Logs: one unit's from a cursor on, or the latest lines of a whole job.

use app::model::{ErrorCode, JobId, LogPage, Phase, RunId, UnitQuery};

use super::core::Core;
use crate::{
    error::{Error, Result},
    process::log as run_log,
};

/// Runs whose ends make a job's log.
const RUNS: u32 = 20;
/// Lines an answer.
const LINES: usize = 500;

/// See [`Engine::log`](super::Engine::log).
pub(super) async fn log(core: &Core, id: JobId, unit: Option<u64>, cursor: Option<&str>) -> Result<LogPage> {
    if core.find(id).await?.phase == Phase::Deleting {
        return Ok(LogPage::default());
    }
    match unit {
        Some(unit) => of_unit(core, id, unit, cursor).await,
        None => of_job(core, id).await,
    }
}

/// The cursor names the run it belongs to: a unit that runs again has a new log.
async fn of_unit(core: &Core, id: JobId, unit: u64, cursor: Option<&str>) -> Result<LogPage> {
    let record = core.store.unit(id, unit).await?;
    let record = record.ok_or_else(|| Error::NotFound(format!("Job `{id}` has no unit {unit}.")))?;
    let Some(run) = record.run_id else { return Ok(LogPage::default()) };
    let position = match cursor {
        Some(cursor) => position_in(run, cursor)?,
        None => None,
    };
    let path = core.data.log(id, run);
    let read = core.blocking(move || run_log::read(&path, position.as_deref(), LINES, unit)).await?;
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
async fn of_job(core: &Core, id: JobId) -> Result<LogPage> {
    let units = core.store.latest_units(id, RUNS).await?;
    let logs: Vec<_> = units.iter().filter_map(|unit| Some((core.data.log(id, unit.run_id?), unit.index))).collect();
    let earlier_runs = units.len() == RUNS as usize && has_more_units(core, id).await?;
    core.blocking(move || {
        let mut merged = LogPage { truncated: earlier_runs, ..LogPage::default() };
        for (path, unit) in logs {
            let page = run_log::tail(&path, LINES, unit)?;
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
