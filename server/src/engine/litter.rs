//! What a server that was killed leaves on the disk and nobody asks for again: reports of runs whose result is stored,
//! folders of uploads that never became a job.

use std::{fs, path::Path, str::FromStr, sync::Arc};

use app::model::{JobId, RunId};

use super::{core::Core, submit};
use crate::{
    error::Result,
    kinds::RunPlace,
    store::{OpenRun, RunState},
};

/// So many of the newest are looked at: a killed server was at the newest.
const NEWEST: usize = 200;

/// Removes it. Runs and jobs of this server are younger than it, and left alone.
pub(super) async fn pick_up(core: &Arc<Core>) -> Result<()> {
    let (runs, jobs) = (core.data.runs(), core.data.root().join("jobs"));
    let (runs, jobs): (Vec<RunId>, Vec<JobId>) = core.blocking(move || (newest(&runs), newest(&jobs))).await?;
    let is_older = |id: u128| millis_of(id) < core.worker.started_at.0;
    for run in runs.into_iter().filter(|run| is_older(run.0)) {
        if let Some(run) = core.store.run(run).await?.filter(is_settled) {
            core.kind(run.kind)?.tidy(RunPlace::from(&run)).await;
        }
    }
    for job in jobs.into_iter().filter(|job| is_older(job.0)) {
        if core.store.job(job).await?.is_none() && core.store.receipt(job).await?.is_none() {
            tracing::info!(%job, "removing uploads that never became a job");
            submit::discard(core, job).await;
        }
    }
    Ok(())
}

/// Its result is stored, and there is no doubt about its end.
fn is_settled(run: &OpenRun) -> bool {
    run.state == RunState::Closed && run.stop.as_ref().is_none_or(|stop| stop.confirmed)
}

/// The newest ids that names in a folder begin with.
fn newest<T: FromStr + Ord>(folder: &Path) -> Vec<T> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut ids: Vec<T> = names.filter_map(|name| name.split('.').next()?.parse().ok()).collect();
    ids.sort_unstable();
    ids.dedup();
    ids.split_off(ids.len().saturating_sub(NEWEST))
}

/// When a version 7 UUID was made: its first 48 bits, milliseconds (RFC 9562, section 5.7).
fn millis_of(id: u128) -> i64 {
    (id >> 80) as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::clock::{new_run_id, now};

    #[test]
    fn an_id_tells_when_it_was_made() {
        let before = now();
        let made = millis_of(new_run_id().0);
        assert!((before.0..=now().0).contains(&made));
    }

    #[test]
    fn ids_are_read_from_the_names_of_files_newest_last() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (new_run_id(), new_run_id());
        for name in [format!("{second}.lock"), format!("{first}.stop"), format!("{first}.lock"), "boots".to_owned()] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(newest::<RunId>(folder.path()), [first, second]);
    }
}
