//! The stage of the hostile tests: a server that may run any command, a root with marked input files, and verbs that
//! read like the tests' sentences. Waiting is done with `?wait=` and the `ETag`, as a program would.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    harness::{Answer, Server},
    marks::{Mark, kill_all},
};

/// Longer than anything here takes, shorter than patience.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A server with its stage.
pub(crate) struct Scene {
    pub(crate) server: Server,
    pub(crate) mark: Mark,
    /// The root with the input files; also where commands leave signs (`$SIGNS`).
    folder: tempfile::TempDir,
}

impl Scene {
    /// A server with `slots` that may run free commands.
    pub(crate) async fn with_slots(slots: u32) -> Self {
        Self::build(slots, None).await
    }

    /// The same with its data in `data_dir`.
    pub(crate) async fn with_slots_in(slots: u32, data_dir: &Path) -> Self {
        Self::build(slots, Some(data_dir)).await
    }

    async fn build(slots: u32, data_dir: Option<&Path>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("in")).unwrap();
        std::fs::create_dir(folder.path().join("signs")).unwrap();
        let config = format!(
            "[files]\nroots = [{:?}]\nallow_free_commands = true\n[worker]\nslots = {slots}\n",
            folder.path().join("in")
        );
        let server = match data_dir {
            Some(data_dir) => Server::start_in(data_dir, &config).await,
            None => Server::start_with(&config).await,
        };
        Scene { server, mark: Mark::new(), folder }
    }

    /// `count` marked files in a folder of their own; answers the folder.
    pub(crate) fn inputs(&self, label: &str, count: usize) -> PathBuf {
        let folder = self.folder.path().join("in").join(label);
        std::fs::create_dir_all(&folder).unwrap();
        for index in 0..count {
            std::fs::write(folder.join(format!("{}-{index:05}.txt", self.mark.text)), format!("{index}\n")).unwrap();
        }
        folder
    }

    /// The root of the inputs.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("in")
    }

    /// A file by which a command says how far it is.
    pub(crate) fn sign(&self, name: &str) -> PathBuf {
        self.folder.path().join("signs").join(name)
    }

    /// A shell script as a command: `NAP` and `SIGNS` are replaced; `$0` is the mark.
    pub(crate) fn script(&self, text: &str) -> Value {
        let signs = self.folder.path().join("signs");
        let text = text.replace("NAP", &self.mark.nap).replace("SIGNS", &signs.to_string_lossy());
        json!(["bash", "-c", text, self.mark.text])
    }

    /// Submits a `files` job over `count` fresh inputs, with `extra` members in its spec; answers its id.
    pub(crate) async fn submit(&self, name: &str, count: usize, script: &str, extra: Value) -> String {
        let mut spec = json!({ "command": self.script(script), "inputs": [self.inputs(name, count)] });
        merge(&mut spec, extra);
        let answer = self.server.post("/api/jobs", &json!({ "name": name, "kind": "files", "spec": spec })).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        id_of(&answer)
    }

    pub(crate) async fn job(&self, id: &str) -> Value {
        let answer = self.server.get(&format!("/api/jobs/{id}")).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body
    }

    pub(crate) async fn cancel(&self, id: &str) -> Answer {
        self.server.post(&format!("/api/jobs/{id}/cancel"), &json!({})).await
    }

    pub(crate) async fn force_cancel(&self, id: &str) -> Answer {
        self.server.post(&format!("/api/jobs/{id}/cancel"), &json!({ "force": true })).await
    }

    /// Follows the job until `done`, holding on the server's answer and not on a clock.
    pub(crate) async fn until(&self, id: &str, what: &str, done: impl Fn(&Value) -> bool) -> Value {
        let begin = Instant::now();
        let path = format!("/api/jobs/{id}");
        let mut answer = self.server.get(&path).await;
        loop {
            assert!(answer.status == 200 || answer.status == 304, "{what}: {} {}", answer.status, answer.body);
            if answer.status == 200 && done(&answer.body) {
                return answer.body;
            }
            assert!(begin.elapsed() < LIMIT, "waited {LIMIT:?} until {what}; now: {:#}", self.job(id).await);
            let tag = answer.header("etag").unwrap_or_default();
            let next = self.server.get_with(&format!("{path}?wait=2s"), &[("if-none-match", &tag)]).await;
            if next.status != 304 {
                answer = next;
            }
        }
    }

    pub(crate) async fn until_over(&self, id: &str) -> Value {
        self.until(id, "it is over", is_over).await
    }

    pub(crate) async fn until_running(&self, id: &str, units: u64) -> Value {
        self.until(id, "units run", |job| job["progress"]["running"].as_u64() >= Some(units)).await
    }

    /// Waits until the job is gone and its receipt is over; answers the receipt.
    pub(crate) async fn until_deleted(&self, id: &str) -> Value {
        let begin = Instant::now();
        loop {
            let answer = self.server.get(&format!("/api/jobs/{id}")).await;
            if answer.status == 404 {
                assert_eq!(answer.body["error"], "JOB_DELETED", "{}", answer.body);
                let receipt = self.server.get(answer.body["receipt"].as_str().unwrap()).await;
                assert_eq!(receipt.status, 200, "{}", receipt.body);
                return receipt.body;
            }
            assert!(begin.elapsed() < LIMIT, "not deleted after {LIMIT:?}: {}", answer.body);
            let tag = answer.header("etag").unwrap_or_default();
            let _ = self.server.get_with(&format!("/api/jobs/{id}?wait=2s"), &[("if-none-match", &tag)]).await;
        }
    }

    /// All units.
    pub(crate) async fn units(&self, id: &str) -> Vec<Value> {
        let mut all = Vec::new();
        let mut cursor = String::new();
        loop {
            let answer = self.server.get(&format!("/api/jobs/{id}/units?limit=200{cursor}")).await;
            assert_eq!(answer.status, 200, "{}", answer.body);
            all.extend(answer.body["items"].as_array().unwrap().iter().cloned());
            match answer.body["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return all,
            }
        }
    }

    /// All artifacts that units made.
    pub(crate) async fn results(&self, id: &str) -> Vec<Value> {
        let mut all = self.artifacts(id).await;
        all.retain(|artifact| artifact["category"] == "results");
        all
    }

    /// Everything that the units left, on all pages.
    pub(crate) async fn artifacts(&self, id: &str) -> Vec<Value> {
        let mut all = Vec::new();
        let mut cursor = String::new();
        loop {
            let answer = self.server.get(&format!("/api/jobs/{id}/artifacts{cursor}")).await;
            assert_eq!(answer.status, 200, "{}", answer.body);
            all.extend(answer.body["items"].as_array().unwrap().iter().cloned());
            match answer.body["next_cursor"].as_str() {
                Some(next) => cursor = format!("?cursor={next}"),
                None => return all,
            }
        }
    }

    /// The promise: of what carries the mark nothing lives.
    pub(crate) fn assert_nothing_left(&self) {
        let left = self.mark.processes();
        assert!(left.is_empty(), "left behind: {left:#?}");
    }

    /// The same for one job among others: nothing over the inputs of `label` lives.
    pub(crate) fn assert_nothing_left_of(&self, label: &str) {
        let left = self.mark.processes_over(label);
        assert!(left.is_empty(), "left behind of {label}: {left:#?}");
    }
}

/// A test that failed leaves nothing behind either.
impl Drop for Scene {
    fn drop(&mut self) {
        if self.mark.processes().is_empty() {
            return;
        }
        self.server.kill9();
        let begin = Instant::now();
        while !self.mark.processes().is_empty() && begin.elapsed() < Duration::from_secs(10) {
            kill_all(&self.mark.processes());
        }
    }
}

/// The phases that are over.
pub(crate) fn is_over(job: &Value) -> bool {
    matches!(job["phase"].as_str(), Some("completed" | "partial" | "failed" | "cancelled"))
}

/// The id in the answer to a submit.
pub(crate) fn id_of(answer: &Answer) -> String {
    answer.body["job_id"].as_str().unwrap().to_owned()
}

/// A stop that is proven, with nothing left.
pub(crate) fn assert_proven(unit: &Value) {
    let stop = &unit["stop"];
    assert_eq!(stop["confirmed"], true, "{unit:#}");
    assert_eq!(stop["processes_left"], 0, "{unit:#}");
    assert!(stop["stopped_at"].is_string(), "{unit:#}");
}

/// The counters say what the units say, and their sum is the job.
pub(crate) fn assert_units_agree(job: &Value, units: &[Value]) {
    let progress = &job["progress"];
    let count = |status: &str| units.iter().filter(|unit| unit["status"] == status).count() as u64;
    assert_eq!(progress["total"], units.len(), "{job:#}");
    for status in ["succeeded", "failed", "cancelled", "running"] {
        assert_eq!(progress[status], count(status), "{status}: {job:#}\n{units:#?}");
    }
}

/// No file or folder below `folder` has `text` in its path (the database's own files are not looked into).
pub(crate) fn paths_with(folder: &Path, text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_name().to_string_lossy().contains(text) {
                found.push(path.clone());
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            }
        }
    }
    found
}

/// Adds the members of `extra` to `target`.
pub(crate) fn merge(target: &mut Value, extra: Value) {
    if let (Some(target), Value::Object(extra)) = (target.as_object_mut(), extra) {
        target.extend(extra);
    }
}
