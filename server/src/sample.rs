//! One sample job on a fresh instance (`belay serve --sample`): something to watch and to stop.

use std::path::{Path, PathBuf};

use app::model::{JobQuery, Source};

use crate::{
    config::Config,
    engine::{Actor, Engine, Submission},
    error::Result,
    store::Store,
};

/// The preset that it uses, where the configuration has it.
const PRESET: &str = "slow-checksum";

/// Files that it takes at most: about half a minute with two slots.
const MAX_FILES: usize = 36;

/// Submits it unless there ever was a job. A failure is told in the log only.
pub(crate) async fn submit_if_empty(engine: &Engine, store: &dyn Store, config: &Config) {
    match try_submit(engine, store, config).await {
        Ok(Some(files)) => tracing::info!("submitted a sample job over {files} files"),
        Ok(None) => {}
        Err(error) => tracing::warn!("no sample job: {error}"),
    }
}

async fn try_submit(engine: &Engine, store: &dyn Store, config: &Config) -> Result<Option<usize>> {
    let one = JobQuery { limit: Some(1), ..JobQuery::default() };
    let fresh = store.jobs(&one).await?.items.is_empty() && store.receipts(None, 1).await?.items.is_empty();
    let (Some(root), true, true) = (config.files.roots.first(), config.presets.contains_key(PRESET), fresh) else {
        return Ok(None);
    };
    let inputs: Vec<String> = some_files(root).iter().filter_map(|path| path.to_str().map(str::to_owned)).collect();
    if inputs.is_empty() {
        return Ok(None);
    }
    let count = inputs.len();
    let (job_id, _) = engine.reserve().await?;
    let submission = Submission {
        job_id,
        name: "Sample: checksums of Belay's own sources".to_owned(),
        kind: "files".to_owned(),
        spec: serde_json::json!({ "preset": PRESET, "inputs": inputs }),
        uploads: Vec::new(),
        idempotency: None,
    };
    let actor =
        Actor { name: "belay".to_owned(), source: Source::System, address: None, request_id: "start".to_owned() };
    if let Err(error) = engine.submit(&actor, submission).await {
        engine.discard(job_id).await;
        return Err(error);
    }
    Ok(Some(count))
}

/// A few files below `root`, nearest and first by name first; no hidden ones, no build output.
fn some_files(root: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = std::collections::VecDeque::from([root.to_owned()]);
    while let Some(folder) = folders.pop_front() {
        let Ok(entries) = folder.read_dir() else { continue };
        let mut entries: Vec<_> = entries.flatten().collect();
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let name = entry.file_name();
            let hidden = name.to_string_lossy().starts_with('.');
            match entry.file_type() {
                Ok(kind) if kind.is_file() && !hidden => files.push(entry.path()),
                Ok(kind)
                    if kind.is_dir() && !hidden && name != "target" && name != "node_modules" && name != "data" =>
                {
                    folders.push_back(entry.path());
                }
                Ok(_) | Err(_) => {}
            }
            if files.len() == MAX_FILES {
                return files;
            }
        }
    }
    files
}
