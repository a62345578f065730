//! Says that this worker lives, on a thread of its own: neither blocking work nor a busy runtime delays it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use app::model::{RunId, Timestamp};

use super::{
    clock::now,
    core::{Core, StopCause},
};
use crate::{
    error::{Error, Result},
    kinds::Stop,
};

/// How long a lease lasts, milliseconds.
pub(super) const LEASE_MILLIS: i64 = 15_000;
const EVERY: Duration = Duration::from_secs(5);
/// After a failure, sooner.
const AGAIN: Duration = Duration::from_secs(1);
/// A store that takes longer has not answered.
const PATIENCE: Duration = Duration::from_secs(3);
/// Without renewal for so long the worker stops its own runs ...
const STOP_AFTER: Duration = Duration::from_secs(12);
/// ... and kills them before the lease ends.
const KILL_AFTER: Duration = Duration::from_secs(14);

/// The end of a lease that is taken or renewed at `at`.
pub(super) fn lease_until(at: Timestamp) -> Timestamp {
    at.plus_millis(LEASE_MILLIS)
}

/// Starts the thread. It ends when all runs have ended after a shut-down.
pub(super) fn start(core: &Arc<Core>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let core = core.clone();
    std::thread::Builder::new()
        .name("heartbeat".to_owned())
        .spawn(move || runtime.block_on(beat(&core)))
        .map_err(|error| Error::internal("the heartbeat thread could not be started", error))?;
    Ok(())
}

async fn beat(core: &Arc<Core>) {
    let mut renewed = Instant::now();
    while !core.stopped.is_cancelled() {
        let begun = Instant::now();
        let wait = match core.watch_disk(renew(core).await) {
            Ok(()) => {
                renewed = begun;
                EVERY
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the leases could not be renewed");
                AGAIN
            }
        };
        if renewed.elapsed() >= KILL_AFTER {
            core.order_stop(Stop::Kill, StopCause::LeaseLost, |_, _| true);
        } else if renewed.elapsed() >= STOP_AFTER {
            core.order_stop(Stop::Graceful, StopCause::LeaseLost, |_, _| true);
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = core.stopped.cancelled() => {}
        }
    }
}

/// Renews all leases; a run that is missing in the answer was given to somebody else and is stopped here.
async fn renew(core: &Arc<Core>) -> Result<()> {
    let asked_at = now();
    let renewal = core.store.heartbeat(&core.worker.worker_id, asked_at, lease_until(asked_at));
    let ours: std::collections::HashSet<RunId> =
        tokio::time::timeout(PATIENCE, renewal).await.map_err(|_| Error::Busy)??.into_iter().collect();
    core.note_renewal(asked_at);
    core.order_stop(Stop::Kill, StopCause::LeaseLost, |run, held| held.claimed_at < asked_at && !ours.contains(run));
    Ok(())
}
