//! What all parts of the engine share. State that matters is in the store; here is only what this process holds in its
//! hands: the runs that it executes, and ways to wake each other.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    hash::Hash,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use app::model::{AuditAction, AuditEvent, JobId, RunId, Timestamp};
use tokio::sync::{Notify, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Actor, EngineConfig, clock::now};
use crate::{
    data::DataFolder,
    error::{Error, Result},
    kinds::{JobKind, Registry, Stop, batches::Providers},
    store::{ClaimedRun, JobRecord, Lane, OpenRun, SharedStore, WorkerRecord},
};

/// How long others are asked for changes of theirs.
const LOOK_FOR_CHANGES: Duration = Duration::from_secs(1);

/// Batches that are followed at once. Each is a timer.
const PROVIDER_SLOTS: u32 = 10_000;

/// Why a run of this worker is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StopCause {
    /// Its job is being cancelled.
    Cancel,
    /// The lease could not be renewed, or the run was given to somebody else.
    LeaseLost,
    /// The server stops.
    ShutDown,
}

/// A run that this worker executes.
pub(super) struct Held {
    pub(super) job_id: JobId,
    pub(super) claimed_at: Timestamp,
    lane: Lane,
    stop: watch::Sender<Stop>,
    /// The first cause.
    cause: Option<StopCause>,
}

/// See the module.
pub(crate) struct Core {
    pub(super) data: DataFolder,
    pub(super) store: SharedStore,
    pub(super) registry: Registry,
    pub(super) worker: WorkerRecord,
    /// Work may be waiting, or a slot became free.
    pub(super) work: WorkBell,
    /// Runs at once of jobs whose work is done elsewhere.
    pub(super) remote_slots: u32,
    pub(super) providers: Arc<Providers>,
    /// Moves with every cancel of this process: a claim that it overtook looks for orders at once.
    pub(super) cancels: AtomicU64,
    /// Wall clock of the last renewal of the leases, milliseconds.
    pub(super) renewed_at: AtomicI64,
    pub(super) stopping: CancellationToken,
    /// Set when all runs have ended: the heartbeat stops.
    pub(super) stopped: CancellationToken,
    pub(super) tasks: TaskTracker,
    pub(super) runs: TaskTracker,
    held: Mutex<HashMap<RunId, Held>>,
    changed: watch::Sender<u64>,
    /// Runs of this worker that nobody holds and whose end is not stored: the repair looks at them.
    pub(super) unsettled: Waiting,
    /// Runs that are being recovered, jobs that are being removed: one at a time.
    pub(super) recovering: Recoveries,
    pub(super) removing: Busy<JobId>,
    /// Bytes below the folders of jobs that are over, as last counted.
    pub(super) sizes: Mutex<HashMap<JobId, (Option<Timestamp>, u64)>>,
}

impl Core {
    pub(super) async fn register(config: EngineConfig) -> Result<Arc<Core>> {
        let worker = worker_record(&config);
        config.store.register_worker(&worker).await?;
        Ok(Arc::new(Core {
            data: config.data,
            store: config.store,
            registry: config.registry,
            work: WorkBell::default(),
            remote_slots: config.remote_slots.max(1),
            providers: config.providers,
            cancels: AtomicU64::new(0),
            renewed_at: AtomicI64::new(worker.started_at.0),
            stopping: CancellationToken::new(),
            stopped: CancellationToken::new(),
            tasks: TaskTracker::new(),
            runs: TaskTracker::new(),
            held: Mutex::default(),
            changed: watch::Sender::new(0),
            unsettled: Waiting::default(),
            recovering: Recoveries::default(),
            removing: Busy::default(),
            sizes: Mutex::default(),
            worker,
        }))
    }

    /// The kind of a stored job.
    pub(super) fn kind(&self, kind: app::model::Kind) -> Result<Arc<dyn JobKind>> {
        self.registry
            .get(kind)
            .ok_or_else(|| Error::Internal { context: format!("this server has no kind `{kind}`"), source: None })
    }

    /// The job, or why there is none.
    pub(super) async fn find(&self, id: JobId) -> Result<JobRecord> {
        match self.store.job(id).await? {
            Some(job) => Ok(job),
            None => Err(self.missing(id).await?),
        }
    }

    /// Why there is no such job.
    pub(super) async fn missing(&self, id: JobId) -> Result<Error> {
        let deleted = self.store.receipt(id).await?.is_some();
        Ok(if deleted { Error::JobDeleted(id) } else { Error::JobNotFound(id) })
    }

    // ---- runs in hand ----

    pub(super) fn hold(&self, run: &ClaimedRun, claimed_at: Timestamp) -> watch::Receiver<Stop> {
        let (stop, receiver) = watch::channel(Stop::No);
        let held = Held { job_id: run.job_id, claimed_at, lane: Lane::of(run.kind), stop, cause: None };
        lock(&self.held).insert(run.run_id, held);
        receiver
    }

    /// Runs that could be begun now.
    pub(super) fn free_slots(&self, lane: Lane) -> usize {
        let slots = match lane {
            Lane::Local => self.worker.slots,
            Lane::Remote => self.remote_slots,
            Lane::Provider => PROVIDER_SLOTS,
        };
        let taken = lock(&self.held).values().filter(|held| held.lane == lane).count();
        (slots as usize).saturating_sub(taken)
    }

    /// Lets go of a run that has ended. Answers why it was stopped, if it was.
    pub(super) fn let_go(&self, run: RunId) {
        lock(&self.held).remove(&run);
    }

    pub(super) fn cause(&self, run: RunId) -> Option<StopCause> {
        lock(&self.held).get(&run).and_then(|held| held.cause)
    }

    pub(super) fn holds(&self, run: RunId) -> bool {
        lock(&self.held).contains_key(&run)
    }

    pub(super) fn follows(&self, job: JobId) -> bool {
        lock(&self.held).values().any(|held| held.lane == Lane::Provider && held.job_id == job)
    }

    pub(super) fn held_count(&self) -> usize {
        lock(&self.held).len()
    }

    /// Orders the runs that `which` names to stop. An order only ever gets stronger; the first cause stays.
    pub(super) fn order_stop(&self, order: Stop, cause: StopCause, which: impl Fn(&RunId, &Held) -> bool) {
        for (run, held) in lock(&self.held).iter_mut() {
            if !which(run, held) {
                continue;
            }
            held.cause.get_or_insert(cause);
            // What a provider does is not stopped because this process stops: the next one follows it.
            let order = match (held.lane, cause) {
                (Lane::Provider, StopCause::LeaseLost | StopCause::ShutDown) => Stop::LetGo,
                (Lane::Provider | Lane::Local | Lane::Remote, _) => order,
            };
            held.stop.send_if_modified(|present| {
                let stronger = strength(order) > strength(*present);
                if stronger {
                    *present = order;
                }
                stronger
            });
        }
    }

    // ---- the heartbeat ----

    /// The leases were renewed at this wall clock.
    pub(super) fn note_renewal(&self, at: Timestamp) {
        self.renewed_at.store(at.0, Ordering::Relaxed);
    }

    /// True when this worker's own heartbeat is in order; if not, it is no judge of others.
    pub(super) fn is_sane(&self, at: Timestamp) -> bool {
        at.0 - self.renewed_at.load(Ordering::Relaxed) < super::heartbeat::LEASE_MILLIS / 2
    }

    // ---- changes ----

    /// Something that a page could show has changed.
    pub(super) fn touch(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Wakes with every [`Core::touch`] after this call.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        let mut changes = self.changed.subscribe();
        changes.mark_unchanged();
        changes
    }

    pub(super) async fn changed_since(&self, seen: u64) -> Result<u64> {
        let mut changes = self.changes();
        loop {
            let counter = self.store.change_counter().await?;
            if counter != seen {
                return Ok(counter);
            }
            // Elapsed, changed, or stopping: look again either way.
            let _ = tokio::time::timeout(LOOK_FOR_CHANGES, changes.changed()).await;
            if self.stopping.is_cancelled() {
                return Ok(counter);
            }
        }
    }

    // ---- small things ----

    /// Spawns a task that shut-down waits for.
    pub(super) fn spawn(self: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Spawns a task that may be given up at any point when the server stops: it is begun again after the restart.
    pub(super) fn spawn_until_stop(self: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) {
        let stopping = self.stopping.clone();
        self.spawn(async move {
            tokio::select! {
                () = task => {}
                () = stopping.cancelled() => {}
            }
        });
    }

    /// Sleeps; false when the server stops meanwhile.
    pub(super) async fn sleep(&self, time: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(time) => true,
            () = self.stopping.cancelled() => false,
        }
    }

    /// Passes a result on; a full disk gets the reserve back first.
    pub(super) fn watch_disk<T>(&self, result: Result<T>) -> Result<T> {
        if let Err(Error::DiskFull) = &result {
            let _ = self.data.release_reserve();
        }
        result
    }

    /// Writes what has to be written on a full disk, too: the reserve is given back for a second try.
    pub(super) async fn with_reserve<T, F>(&self, write: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        match self.watch_disk(write().await) {
            Err(Error::DiskFull) => write().await,
            result => result,
        }
    }

    /// Does blocking work off the async threads.
    pub(super) async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        Ok(tokio::task::spawn_blocking(work).await?)
    }

    /// Records something that needs no other transaction: a refusal, an intention. A failure is logged only.
    pub(super) async fn note(&self, event: AuditEvent) {
        if let Err(error) = self.store.audit(event).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "an audit event was not stored");
        }
    }

    pub(super) fn registered_grace(&self, job: &JobRecord) -> Duration {
        self.registry.get(job.kind).map_or(Duration::from_secs(5), |kind| kind.grace(&job.spec))
    }
}

fn strength(stop: Stop) -> u8 {
    match stop {
        Stop::No => 0,
        Stop::Graceful => 1,
        Stop::Kill => 2,
        Stop::LetGo => 3,
    }
}

fn worker_record(config: &EngineConfig) -> WorkerRecord {
    let host =
        nix::unistd::gethostname().map_or_else(|_| "localhost".to_owned(), |name| name.to_string_lossy().into_owned());
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned();
    let short_boot: String = boot_id.chars().take(8).collect();
    let started_at = now();
    WorkerRecord {
        worker_id: format!("{host}/{short_boot}/{}", uuid::Uuid::now_v7()),
        instance: config.data.instance().to_owned(),
        host,
        boot_id,
        slots: config.slots.max(1),
        started_at,
        heartbeat_at: started_at,
    }
}

/// Locks; a panic elsewhere while it was held left nothing half done.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wakes whoever takes work. Each lane has somebody of its own.
#[derive(Default)]
pub(super) struct WorkBell {
    local: Notify,
    remote: Notify,
    provider: Notify,
}

impl WorkBell {
    /// There is work in the lane, or room for it. Who is busy looks once more when it is done.
    pub(super) fn ring(&self, lane: Lane) {
        self.of(lane).notify_one();
    }

    pub(super) async fn rung(&self, lane: Lane) {
        self.of(lane).notified().await;
    }

    const fn of(&self, lane: Lane) -> &Notify {
        match lane {
            Lane::Local => &self.local,
            Lane::Remote => &self.remote,
            Lane::Provider => &self.provider,
        }
    }
}

/// Runs that wait for the repair.
#[derive(Default)]
pub(super) struct Waiting(Mutex<HashSet<RunId>>);

impl Waiting {
    pub(super) fn add(&self, run: RunId) {
        lock(&self.0).insert(run);
    }

    pub(super) fn remove(&self, run: RunId) {
        lock(&self.0).remove(&run);
    }

    pub(super) fn has(&self, run: RunId) -> bool {
        lock(&self.0).contains(&run)
    }

    pub(super) fn all(&self) -> Vec<RunId> {
        lock(&self.0).iter().copied().collect()
    }
}

/// Things that are being worked on, each by one task.
pub(super) struct Busy<T: Eq + Hash + Copy>(Mutex<HashSet<T>>);

impl<T: Eq + Hash + Copy> Default for Busy<T> {
    fn default() -> Self {
        Busy(Mutex::default())
    }
}

impl<T: Eq + Hash + Copy> Busy<T> {
    /// Takes the thing until the guard is dropped; `None` when somebody has it.
    pub(super) fn take(&self, thing: T) -> Option<BusyGuard<'_, T>> {
        // The guard is made only for whoever was first: dropping a second one would let go of the thing.
        let is_first = lock(&self.0).insert(thing);
        is_first.then(|| BusyGuard { busy: self, thing })
    }
}

/// See [`Busy::take`].
pub(super) struct BusyGuard<'a, T: Eq + Hash + Copy> {
    busy: &'a Busy<T>,
    thing: T,
}

impl<T: Eq + Hash + Copy> Drop for BusyGuard<'_, T> {
    fn drop(&mut self) {
        lock(&self.busy.0).remove(&self.thing);
    }
}

/// Runs that are being recovered, each by one task, and the line to that task.
#[derive(Default)]
pub(super) struct Recoveries(Mutex<HashMap<RunId, (JobId, watch::Sender<Stop>)>>);

impl Recoveries {
    /// Takes the run until the guard is dropped; `None` when somebody has it.
    pub(super) fn take(&self, run: &OpenRun) -> Option<Recovering<'_>> {
        match lock(&self.0).entry(run.run_id) {
            Entry::Occupied(_) => None,
            Entry::Vacant(free) => {
                let (order, stop) = watch::channel(Stop::Graceful);
                free.insert((run.job_id, order));
                Some(Recovering { recoveries: self, run: run.run_id, stop })
            }
        }
    }

    /// No run of this job is waited for any longer: what is left of it is killed.
    pub(super) fn kill(&self, job: JobId) {
        for (_, order) in lock(&self.0).values().filter(|(of, _)| *of == job) {
            order.send_replace(Stop::Kill);
        }
    }
}

/// See [`Recoveries::take`].
pub(super) struct Recovering<'a> {
    recoveries: &'a Recoveries,
    run: RunId,
    /// How what is left of it is to be stopped.
    pub(super) stop: watch::Receiver<Stop>,
}

impl Recovering<'_> {
    /// As [`Recoveries::kill`], for this run.
    pub(super) fn kill(&self) {
        if let Some((_, order)) = lock(&self.recoveries.0).get(&self.run) {
            order.send_replace(Stop::Kill);
        }
    }
}

impl Drop for Recovering<'_> {
    fn drop(&mut self) {
        lock(&self.recoveries.0).remove(&self.run);
    }
}

impl Actor {
    /// An audit event by this actor.
    pub(super) fn event(
        &self,
        action: AuditAction,
        job: Option<(JobId, &str)>,
        result: impl Into<String>,
    ) -> AuditEvent {
        AuditEvent {
            at: now(),
            actor: self.name.clone(),
            action,
            job_id: job.map(|(id, _)| id),
            job_name: job.map(|(_, name)| name.to_owned()).filter(|name| !name.is_empty()),
            source: self.source,
            address: self.address.clone(),
            request_id: self.request_id.clone(),
            result: result.into(),
            detail: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_is_had_by_one_until_it_is_let_go() {
        let busy = Busy::default();
        let first = busy.take(1);
        assert!(first.is_some());
        assert!(busy.take(1).is_none());
        assert!(busy.take(1).is_none(), "being refused lets nothing go");
        assert!(busy.take(2).is_some());
        drop(first);
        assert!(busy.take(1).is_some());
    }
}
