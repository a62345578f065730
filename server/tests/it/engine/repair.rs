//! Repair: workers that died, machines that do not answer, a server that stops.

use std::{sync::Arc, time::Duration};

use app::model::{
    CancelOutcome, CancelRequest, Job, Kind, Leftover, Phase, ReceiptState, Timestamp, UnitQuery, UnitStatus,
};
use async_trait::async_trait;
use belay_server::{
    engine::{DeleteOptions, clock},
    error::Result,
    kinds::{Admitted, JobKind, Recovery, Registry, RunContext, RunOutcome, RunPlace, Stop, Upload, files::FilesKind},
    store::{Claim, ClaimedRun, JobRecord, Lane, NewUnit, OpenRun, SharedStore, Verdict, WorkerRecord},
};
use sqlx::{Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::sync::watch;

use super::{
    forced,
    stage::{Ground, Stage, actor, processes_with, until},
};

/// A worker of this or another instance that has claimed a unit and will not be heard of again.
async fn dead_worker(store: &SharedStore, instance: &str, lease_until: Timestamp) -> ClaimedRun {
    let now = clock::now();
    let worker = WorkerRecord {
        worker_id: format!("dead-{instance}"),
        instance: instance.to_owned(),
        host: "elsewhere".to_owned(),
        boot_id: String::new(),
        slots: 1,
        started_at: now,
        heartbeat_at: now,
    };
    store.register_worker(&worker).await.unwrap();
    let run_ids = vec![clock::new_run_id()];
    let claim = Claim { worker: worker.worker_id, lane: Lane::Local, max: 1, now, lease_until, run_ids };
    store.claim(&claim).await.unwrap().remove(0)
}

/// A job of one unit that the engine handed back when it was shut down.
async fn job_on_ground() -> (Ground, Job) {
    let stage = Stage::new().await;
    let job = stage.submit("sleep 300", 1).await;
    stage.until_running(job.job_id, 1).await;
    (stage.shut_down().await, job)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shut_down_leaves_no_process_and_the_job_goes_on_after_the_restart() {
    let stage = Stage::new().await;
    let word = format!("word-{}", uuid::Uuid::now_v7());
    let (on, go) = (stage.path("on"), stage.path("go"));
    let job = stage.submit(&format!("export WORD={word}; touch {on}; [ -e {go} ] || sleep 300"), 1).await;
    stage.until_made("on").await;
    let ground = stage.shut_down().await;
    assert_eq!(processes_with(&word), 0);
    std::fs::write(ground.folder.path().join("go"), "").unwrap();
    let stage = ground.start().await;
    let job = stage.until_phase(job.job_id, Phase::Completed).await;
    let units = stage.engine.units(job.job_id, &UnitQuery::default()).await.unwrap().items;
    assert_eq!((units[0].attempt, units[0].status), (2, UnitStatus::Succeeded));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_claim_brings_that_was_on_its_way_at_the_shut_down_is_stopped_as_well() {
    let word = format!("word-{}", uuid::Uuid::now_v7());
    let stage = Stage::new().await;
    let job = stage.submit(&format!("export WORD={word}; sleep 300"), 1).await;
    stage.until_running(job.job_id, 1).await;
    let ground = stage.shut_down().await;
    // Another writer hides the unit, shows it, and is in the way while the worker wants to claim it.
    let file = SqliteConnectOptions::new().filename(ground.data.database());
    let mut writer = SqliteConnection::connect_with(&file).await.unwrap();
    sqlx::query("UPDATE jobs SET running = 1, parallel = 1").execute(&mut writer).await.unwrap();
    let stage = ground.start().await;
    sqlx::query("UPDATE jobs SET running = 0").execute(&mut writer).await.unwrap();
    let hold = writer.begin_with("BEGIN IMMEDIATE").await.unwrap();
    // The worker looks every second.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let engine = stage.engine.clone();
    let stopped = tokio::spawn(async move { engine.shut_down().await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    hold.commit().await.unwrap();
    stopped.await.unwrap();
    // At once: the program ends here.
    let units = stage.store.units(job.job_id, &UnitQuery::default()).await.unwrap().items;
    assert_eq!((units[0].attempt, units[0].status), (2, UnitStatus::Pending), "{:?}", units[0]);
    assert_eq!(processes_with(&word), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_run_of_a_dead_predecessor_is_looked_for_at_once_and_its_unit_runs_again() {
    let (ground, job) = job_on_ground().await;
    let run = dead_worker(&ground.store, ground.data.instance(), clock::now().plus_millis(15_000)).await;
    assert_eq!(run.job_id, job.job_id);
    let stage = ground.start().await;
    until("the unit runs again", || async {
        let units = stage.engine.units(job.job_id, &UnitQuery::default()).await.unwrap().items;
        units[0].run_id != Some(run.run_id) && units[0].status == UnitStatus::Running
    })
    .await;
    stage.engine.cancel(&actor(), job.job_id, CancelRequest::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancel_of_a_run_on_another_machine_waits_for_it_and_force_says_that_it_is_unconfirmed() {
    let (ground, job) = job_on_ground().await;
    let run = dead_worker(&ground.store, "another-instance", clock::now()).await;
    let stage = ground.start().await;
    let answer = stage.engine.cancel(&actor(), job.job_id, CancelRequest::default()).await.unwrap();
    assert_eq!((answer.outcome, answer.stop.waiting), (CancelOutcome::Cancelling, 1));
    until("the run is seen to be lost", || async {
        stage.engine.job(job.job_id).await.unwrap().waiting.first().is_some_and(|waiting| waiting.lost)
    })
    .await;
    stage.engine.cancel(&actor(), job.job_id, forced()).await.unwrap();
    let job = stage.until_phase(job.job_id, Phase::Cancelled).await;
    assert_eq!(job.cancellation.unwrap().stop.unconfirmed, 1);
    assert!(job.detail.unwrap().contains("unconfirmed"));
    let options = DeleteOptions::default();
    let receipt = stage.engine.delete(&actor(), job.job_id, options).await.unwrap().receipt.unwrap();
    let [Leftover::Run { run_id, .. }] = receipt.left.as_slice() else { panic!("{:?}", receipt.left) };
    assert_eq!((*run_id, receipt.state), (run.run_id, ReceiptState::Incomplete));
    let receipt = stage.engine.retry_removal(&actor(), job.job_id).await.unwrap();
    assert_eq!((receipt.state, receipt.retries, receipt.left.len()), (ReceiptState::Incomplete, 1, 1));
}

/// What is wrong with a kind.
#[derive(Clone, Copy)]
enum Fault {
    /// Its code breaks down in the middle of a run that goes on.
    Panics,
    /// It tells how a run ended, and cannot prove that nothing of it is left.
    EndsInDoubt,
}

/// `files`, with a fault.
struct Faulty(FilesKind, Fault);

#[async_trait]
impl JobKind for Faulty {
    fn kind(&self) -> Kind {
        self.0.kind()
    }
    fn phases(&self) -> &'static [Phase] {
        self.0.phases()
    }
    async fn admit(&self, spec: serde_json::Value, uploads: &[Upload]) -> Result<Admitted> {
        self.0.admit(spec, uploads).await
    }
    async fn admit_again(&self, spec: &str, units: Vec<NewUnit>) -> Result<Admitted> {
        self.0.admit_again(spec, units).await
    }
    async fn units(&self, job: &JobRecord, phase: Phase) -> Result<Vec<NewUnit>> {
        self.0.units(job, phase).await
    }
    async fn run(&self, context: RunContext) -> RunOutcome {
        match self.1 {
            Fault::Panics => {
                let _ = tokio::time::timeout(Duration::from_millis(300), self.0.run(context)).await;
                panic!("a fault of the kind, wanted by the test");
            }
            Fault::EndsInDoubt => {
                let outcome = self.0.run(context).await;
                let verdict = Verdict::Failed("timed out".to_owned());
                RunOutcome { verdict, stop: Some(crate::store::fixture::unproven()), ..outcome }
            }
        }
    }
    async fn adopt(&self, run: RunPlace, outcome: &RunOutcome) -> Result<()> {
        self.0.adopt(run, outcome).await
    }
    async fn disown(&self, run: RunPlace) {
        self.0.disown(run).await;
    }
    async fn discard(&self, run: RunPlace) {
        self.0.discard(run).await;
    }
    async fn tidy(&self, run: RunPlace) {
        self.0.tidy(run).await;
    }
    fn grace(&self, spec: &str) -> Duration {
        self.0.grace(spec)
    }
    async fn recover(&self, run: &OpenRun, grace: Duration, stop: watch::Receiver<Stop>) -> Result<Recovery> {
        self.0.recover(run, grace, stop).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kind_that_breaks_down_fails_its_unit_after_its_processes_are_gone() {
    let ground = Ground::new().await;
    let broken = Faulty(ground.kind().await, Fault::Panics);
    let stage = ground.start_with(Registry::new(vec![Arc::new(broken)])).await;
    let word = format!("word-{}", uuid::Uuid::now_v7());
    let job = stage.submit(&format!("export WORD={word}; sleep 300 & wait"), 1).await;
    let job = stage.until_phase(job.job_id, Phase::Failed).await;
    assert_eq!(processes_with(&word), 0);
    let units = stage.engine.units(job.job_id, &UnitQuery::default()).await.unwrap().items;
    assert!(units[0].error.clone().unwrap().contains("broke down"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_run_in_doubt_is_found_by_stays_when_its_result_is_stored_and_over_a_restart() {
    let ground = Ground::new().await;
    let doubtful = Faulty(ground.kind().await, Fault::EndsInDoubt);
    let stage = ground.start_with(Registry::new(vec![Arc::new(doubtful)])).await;
    let job = stage.submit("true", 1).await;
    stage.until_phase(job.job_id, Phase::Failed).await;
    let run = stage.engine.units(job.job_id, &UnitQuery::default()).await.unwrap().items[0].run_id.unwrap();
    let lock = stage.data.runs().join(format!("{run}.lock"));
    let ground = stage.shut_down().await;
    assert!(lock.exists(), "a later look begins with it");

    // The litter of the former server is looked at: the folder of an upload that never became a job goes.
    let orphan = clock::new_job_id();
    ground.data.make_job(orphan).unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    let stage = ground.start().await;
    until("the litter is looked at", || async { !stage.data.job(orphan).exists() }).await;
    assert!(lock.exists(), "it is no litter");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_of_a_killed_server_that_never_became_a_job_are_removed_at_the_next_start() {
    let ground = Ground::new().await;
    let orphan = clock::new_job_id();
    ground.data.make_job(orphan).unwrap();
    std::fs::write(ground.data.inputs(orphan).join("half"), "x").unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    let stage = ground.start().await;
    until("the folder is gone", || async { !stage.data.job(orphan).exists() }).await;
}
