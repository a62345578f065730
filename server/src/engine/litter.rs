//! What a server that was killed leaves on the disk and nobody asks for again: reports of runs whose result is stored,
//! folders of uploads that never became a job.

use std::{fs, path::Path, str::FromStr, sync::Arc, time::Duration};

use app::model::{JobId, RunId};

use super::{core::Core, submit};
use crate::{
    error::Result,
    kinds::RunPlace,
    store::{OpenRun, RunState},
};

/// So many are looked at before others get their turn.
const AT_ONCE: usize = 200;
const PAUSE: Duration = Duration::from_millis(20);

/// Removes it, the newest first: a killed server was at the newest. Runs and jobs of this server are younger than it, and
/// left alone.
pub(super) async fn pick_up(core: &Arc<Core>) -> Result<()> {
    let (runs, jobs) = (core.data.runs(), core.data.root().join("jobs"));
    let (runs, jobs): (Vec<RunId>, Vec<JobId>) = core.blocking(move || (ids_in(&runs), ids_in(&jobs))).await?;
    let is_older = |id: u128| millis_of(id) < core.worker.started_at.0;
    for (count, run) in runs.into_iter().filter(|run| is_older(run.0)).enumerate() {
        give_way(count).await;
        if let Some(run) = core.store.run(run).await?
            && is_settled(core, &run).await?
        {
            core.kind(run.kind)?.tidy(RunPlace::from(&run)).await;
        }
    }
    for (count, job) in jobs.into_iter().filter(|job| is_older(job.0)).enumerate() {
        give_way(count).await;
        if core.store.job(job).await?.is_none() && core.store.receipt(job).await?.is_none() {
            tracing::info!(%job, "removing uploads that never became a job");
            submit::discard(core, job).await;
        }
    }
    Ok(())
}

async fn give_way(count: usize) {
    if count % AT_ONCE == AT_ONCE - 1 {
        tokio::time::sleep(PAUSE).await;
    }
}

/// Its result is stored, and there is no doubt about its end.
async fn is_settled(core: &Core, run: &OpenRun) -> Result<bool> {
    let is_over = run.state == RunState::Closed && run.stop.as_ref().is_none_or(|stop| stop.confirmed);
    Ok(is_over && core.store.unconfirmed_runs(run.job_id).await?.iter().all(|doubted| doubted.run_id != run.run_id))
}

/// The ids that names in a folder begin with, the newest first.
fn ids_in<T: FromStr + Ord>(folder: &Path) -> Vec<T> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut ids: Vec<T> = names.filter_map(|name| name.split('.').next()?.parse().ok()).collect();
    ids.sort_unstable_by(|left, right| right.cmp(left));
    ids.dedup();
    ids
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
    fn all_ids_are_read_from_the_names_of_files_the_newest_first() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (new_run_id(), new_run_id());
        for name in [format!("{second}.lock"), format!("{first}.stop"), format!("{first}.lock"), "boots".to_owned()] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(ids_in::<RunId>(folder.path()), [second, first]);
        let more: Vec<RunId> = (0..500).map(|_| new_run_id()).collect();
        more.iter().for_each(|id| fs::write(folder.path().join(format!("{id}.stop")), "").unwrap());
        assert_eq!(ids_in::<RunId>(folder.path()).len(), 502);
    }
}
