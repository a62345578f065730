//! A fresh store and short words for what the claims do with it.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use app::model::{
    AuditAction, AuditEvent, JobId, Kind, Phase, Receipt, ReceiptState, RunId, Source, StopEvidence, StopMethod,
    Timestamp, UnitStatus,
};
use belay_server::store::{
    CancelEffect, CancelOrder, Claim, ClaimedRun, FinishEffect, JobRecord, Lane, NewJobRecord, NewUnit, RunResult,
    SharedStore, Submitted, Verdict, WorkerRecord,
};

/// A store of its own for each claim, with a clock and ids that the claim controls.
pub(crate) struct Fixture {
    pub(crate) store: SharedStore,
    clock: AtomicI64,
    ids: AtomicU64,
    /// What must live as long as the store: its folder.
    _keep: Box<dyn std::any::Any + Send + Sync>,
}

pub(crate) const WORKER: &str = "worker-1";
pub(crate) const INSTANCE: &str = "instance-1";
pub(crate) const LEASE_MILLIS: i64 = 15_000;

impl Fixture {
    pub(crate) async fn new(store: SharedStore, keep: Box<dyn std::any::Any + Send + Sync>) -> Fixture {
        let fixture = Fixture { store, clock: AtomicI64::new(1_795_000_000_000), ids: AtomicU64::new(1), _keep: keep };
        fixture.register(WORKER, INSTANCE).await;
        fixture
    }

    /// A moment after all that were told before.
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp(self.clock.fetch_add(1, Ordering::Relaxed) + 1)
    }

    pub(crate) fn id(&self) -> u128 {
        0x0199_c2b2_0c9d_7e02_8f10_0000_0000_0000 + u128::from(self.ids.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) async fn register(&self, worker: &str, instance: &str) {
        let now = self.now();
        let worker = WorkerRecord {
            worker_id: worker.to_owned(),
            instance: instance.to_owned(),
            host: "machine".to_owned(),
            boot_id: "boot".to_owned(),
            slots: 2,
            started_at: now,
            heartbeat_at: now,
        };
        self.store.register_worker(&worker).await.unwrap();
    }

    pub(crate) fn new_job(&self, name: &str, parallel: u32) -> NewJobRecord {
        NewJobRecord {
            job_id: JobId(self.id()),
            name: name.to_owned(),
            kind: Kind::Files,
            spec: r#"{"preset":"sha256"}"#.to_owned(),
            phases: vec![Phase::InProgress],
            parallel,
            created_at: self.now(),
            created_by: "mara".to_owned(),
            rerun_of: None,
            batch: None,
        }
    }

    /// Stores a job of `units` units, at most `parallel` at once.
    pub(crate) async fn submit(&self, units: usize, parallel: u32) -> JobId {
        let job = self.new_job("a job", parallel);
        self.submit_as(job, units).await
    }

    pub(crate) async fn submit_as(&self, job: NewJobRecord, units: usize) -> JobId {
        let id = job.job_id;
        let units = some_units(job.phases[0], units);
        let stored = self.store.submit(job, units, None, self.event(AuditAction::Submit, Some(id))).await.unwrap();
        assert!(matches!(stored, Submitted::Stored));
        id
    }

    pub(crate) fn event(&self, action: AuditAction, job: Option<JobId>) -> AuditEvent {
        AuditEvent {
            at: self.now(),
            actor: "mara".to_owned(),
            action,
            job_id: job,
            job_name: None,
            source: Source::Api,
            address: Some("127.0.0.1".to_owned()),
            request_id: "request-1".to_owned(),
            result: "ok".to_owned(),
            detail: None,
        }
    }

    pub(crate) async fn claim(&self, max: u32) -> Vec<ClaimedRun> {
        self.claim_as(WORKER, max).await
    }

    pub(crate) async fn claim_as(&self, worker: &str, max: u32) -> Vec<ClaimedRun> {
        let now = self.now();
        let claim = Claim {
            worker: worker.to_owned(),
            lane: Lane::Local,
            max,
            now,
            lease_until: now.plus_millis(LEASE_MILLIS),
            run_ids: (0..max).map(|_| RunId(self.id())).collect(),
        };
        self.store.claim(&claim).await.unwrap()
    }

    /// Claims exactly one run.
    pub(crate) async fn claim_one(&self) -> ClaimedRun {
        let mut claimed = self.claim(1).await;
        assert_eq!(claimed.len(), 1, "one unit is there to be claimed");
        claimed.remove(0)
    }

    pub(crate) fn result(&self, run: RunId, verdict: Verdict) -> RunResult {
        RunResult {
            run_id: run,
            worker: WORKER.to_owned(),
            verdict,
            exit_code: Some(0),
            stop: None,
            artifacts: Vec::new(),
            judged: None,
            now: self.now(),
        }
    }

    pub(crate) async fn finish(&self, run: RunId, verdict: Verdict) -> FinishEffect {
        self.store.finish_run(self.result(run, verdict)).await.unwrap()
    }

    /// Finishes a run that was stopped.
    pub(crate) async fn stopped(&self, run: RunId, verdict: Verdict, stop: StopEvidence) -> FinishEffect {
        let result = RunResult { stop: Some(stop), exit_code: None, ..self.result(run, verdict) };
        self.store.finish_run(result).await.unwrap()
    }

    pub(crate) async fn job(&self, id: JobId) -> JobRecord {
        self.store.job(id).await.unwrap().expect("the job is there")
    }

    pub(crate) async fn phase(&self, id: JobId) -> Phase {
        self.job(id).await.phase
    }

    pub(crate) async fn status(&self, id: JobId, index: u64) -> UnitStatus {
        self.store.unit(id, index).await.unwrap().expect("the unit is there").status
    }

    pub(crate) fn order(&self, id: JobId) -> CancelOrder {
        CancelOrder {
            job_id: id,
            reason: "user_request".to_owned(),
            notes: Some("wrong folder".to_owned()),
            force: false,
            actor: "mara".to_owned(),
            source: Source::Console,
            request_id: "request-2".to_owned(),
            now: self.now(),
        }
    }

    pub(crate) async fn cancel(&self, id: JobId) -> CancelEffect {
        self.cancel_with(self.order(id)).await
    }

    pub(crate) async fn cancel_with(&self, order: CancelOrder) -> CancelEffect {
        let event = self.event(AuditAction::Cancel, Some(order.job_id));
        self.store.cancel(&order, event).await.unwrap()
    }

    /// What the newest audit event says was the result.
    pub(crate) async fn audited(&self) -> String {
        self.store.audit_events(None, 1).await.unwrap().items.remove(0).result
    }

    /// Runs all that is pending to a good end, one unit at a time.
    pub(crate) async fn run_all(&self, id: JobId) -> Phase {
        loop {
            let Some(run) = self.claim(1).await.into_iter().next() else { break };
            self.finish(run.run_id, Verdict::Succeeded).await;
        }
        let phase = self.phase(id).await;
        self.store.conclude(id, phase, None, self.now()).await.unwrap().expect("the job is idle")
    }

    pub(crate) async fn receipt_for(&self, id: JobId) -> Receipt {
        let job = self.job(id).await;
        Receipt {
            job_id: id,
            name: job.name,
            kind: job.kind,
            last_phase: job.phase,
            created_at: job.created_at,
            created_by: job.created_by,
            requested_at: self.now(),
            requested_by: "mara".to_owned(),
            source: Source::Console,
            request_id: "request-3".to_owned(),
            forced: false,
            state: ReceiptState::Running,
            deleted_at: None,
            items: Vec::new(),
            left: Vec::new(),
            kept_in: None,
            retries: 0,
        }
    }
}

pub(crate) fn some_units(phase: Phase, count: usize) -> Vec<NewUnit> {
    (0..count)
        .map(|index| NewUnit { phase, name: format!("file-{index}"), input: format!("/in/file-{index}").into() })
        .collect()
}

/// Evidence that nothing is left after these signals.
pub(crate) fn gone(signals: &[&str]) -> StopEvidence {
    StopEvidence {
        method: if signals.is_empty() { StopMethod::Exited } else { StopMethod::Terminated },
        signals: signals.iter().map(|signal| (*signal).to_owned()).collect(),
        stopped_at: Some(Timestamp(1_795_000_000_500)),
        processes_left: Some(0),
        processes_seen: Some(3),
        confirmed: true,
        detail: "Nothing is left.".to_owned(),
        steps: Vec::new(),
    }
}

/// Evidence that says only that nobody could look.
pub(crate) fn unproven() -> StopEvidence {
    StopEvidence {
        method: StopMethod::Lost,
        signals: vec!["SIGTERM".to_owned()],
        stopped_at: None,
        processes_left: None,
        processes_seen: None,
        confirmed: false,
        detail: "Nobody could look.".to_owned(),
        steps: Vec::new(),
    }
}
