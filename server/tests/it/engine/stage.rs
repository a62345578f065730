//! An engine over a real store, real processes and a folder of its own.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use app::model::{Job, JobId, Phase, Source};
use belay_server::{
    config::{Config, FilesConfig},
    data::DataFolder,
    engine::{Actor, Engine, EngineConfig, Submission},
    kinds::{Registry, batches::Providers, files::FilesKind},
    process::Spawner,
    store::{SharedStore, sqlite::SqliteStore},
};
use serde_json::json;

const PROGRAM: &str = env!("CARGO_BIN_EXE_belay");
/// Far more than anything here takes; a claim that is wrong ends, and says what it waited for.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Stage {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) data: DataFolder,
    pub(crate) store: SharedStore,
    pub(crate) engine: Engine,
}

/// The folder of a stage before its engine is started.
pub(crate) struct Ground {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) data: DataFolder,
    pub(crate) store: SharedStore,
}

impl Ground {
    pub(crate) async fn new() -> Ground {
        Ground::at(tempfile::tempdir().unwrap()).await
    }

    pub(crate) async fn at(folder: tempfile::TempDir) -> Ground {
        fs::create_dir_all(folder.path().join("root")).unwrap();
        let data = DataFolder::open(&folder.path().join("data")).unwrap();
        let store: SharedStore = Arc::new(SqliteStore::open(&data.database()).await.unwrap());
        Ground { folder, data, store }
    }

    pub(crate) async fn kind(&self) -> FilesKind {
        let spawner = Spawner::start_with(Path::new(PROGRAM), &self.data.runs()).await.unwrap();
        let config = FilesConfig {
            roots: vec![self.folder.path().join("root")],
            allow_free_commands: true,
            ..FilesConfig::default()
        };
        FilesKind::new(self.data.clone(), spawner, &config, BTreeMap::new(), 2)
    }

    pub(crate) async fn start(self) -> Stage {
        let registry = Registry::new(vec![Arc::new(self.kind().await)]);
        self.start_with(registry).await
    }

    pub(crate) async fn start_with(self, registry: Registry) -> Stage {
        let Ground { folder, data, store } = self;
        let providers = Arc::new(Providers::new(&Config::default()));
        let config =
            EngineConfig { data: data.clone(), store: store.clone(), registry, slots: 2, remote_slots: 2, providers };
        let engine = Engine::start(config).await.unwrap();
        Stage { folder, data, store, engine }
    }
}

pub(crate) fn actor() -> Actor {
    Actor { name: "mara".to_owned(), source: Source::Api, address: None, request_id: "request-1".to_owned() }
}

impl Stage {
    pub(crate) async fn new() -> Stage {
        Ground::new().await.start().await
    }

    /// Ends the engine; what it leaves is the ground of the next one.
    pub(crate) async fn shut_down(self) -> Ground {
        self.engine.shut_down().await;
        let Stage { folder, data, store, engine } = self;
        drop((data, store, engine));
        // The lock goes with the last clone, which a task that is just ending may hold.
        let path = folder.path().join("data");
        until("the data folder is free", || async { DataFolder::open(&path).is_ok() }).await;
        Ground::at(folder).await
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// Files `0.txt`, `1.txt`, ... below the root.
    pub(crate) fn files(&self, count: usize) -> Vec<String> {
        let name = |index: usize| format!("{index}.txt");
        for index in 0..count {
            fs::write(self.root().join(name(index)), format!("file {index}")).unwrap();
        }
        (0..count).map(name).collect()
    }

    /// A job of a shell script over so many files.
    pub(crate) async fn submit(&self, script: &str, files: usize) -> Job {
        let spec = json!({"command": ["bash", "-c", script], "inputs": self.files(files), "grace_s": 5});
        self.submit_spec(spec).await.unwrap()
    }

    pub(crate) async fn submit_spec(&self, spec: serde_json::Value) -> belay_server::error::Result<Job> {
        let (job_id, _) = self.engine.reserve().await?;
        let submission = Submission {
            job_id,
            name: "a job".to_owned(),
            kind: "files".to_owned(),
            spec,
            uploads: Vec::new(),
            idempotency: None,
        };
        self.engine.submit(&actor(), submission).await
    }

    pub(crate) async fn until_phase(&self, id: JobId, phase: Phase) -> Job {
        until(&format!("phase {phase}"), || async { self.engine.job(id).await.is_ok_and(|job| job.phase == phase) })
            .await;
        self.engine.job(id).await.unwrap()
    }

    pub(crate) async fn until_running(&self, id: JobId, runs: u64) {
        until("runs", || async { self.engine.job(id).await.is_ok_and(|job| job.progress.running == runs) }).await;
    }

    /// Waits until a script has made this file below the stage's folder.
    pub(crate) async fn until_made(&self, name: &str) {
        let path = self.folder.path().join(name);
        until(name, || async { path.exists() }).await;
    }

    /// A word for scripts: a path below the stage's folder.
    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    pub(crate) fn scratch_is_empty(&self, id: JobId) -> bool {
        fs::read_dir(self.data.works(id)).is_ok_and(|mut entries| entries.next().is_none())
    }
}

/// Looks until it is so. (What is looked at belongs to other processes; there is nothing to be woken by.)
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Processes that have this word in their environment or arguments.
pub(crate) fn processes_with(word: &str) -> usize {
    let has_word = |pid: &str, file: &str| {
        fs::read(format!("/proc/{pid}/{file}"))
            .is_ok_and(|text| text.windows(word.len()).any(|window| window == word.as_bytes()))
    };
    let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().into_string().ok());
    pids.filter(|pid| pid.bytes().all(|byte| byte.is_ascii_digit()))
        .filter(|pid| pid.parse::<u32>().ok() != Some(std::process::id()))
        .filter(|pid| has_word(pid, "environ") || has_word(pid, "cmdline"))
        .count()
}
