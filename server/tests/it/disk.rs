//! A full disk: clear errors, nothing lost, and stop and delete still work. The data folder is a small tmpfs of its own,
//! so that "full" is real; mounting one takes root, and without it these tests say so and pass over.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::{
    bulk,
    harness::Server,
    marks::wait_for,
    scene::{LIMIT, Scene, assert_proven, assert_units_agree, id_of, paths_with},
};

/// A mounted tmpfs, unmounted at the end.
struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    /// `None` where mounting is not allowed.
    fn mount(megabytes: u32) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs"])
            .arg(folder.path())
            .output()
            .is_ok_and(|output| output.status.success());
        if !mounted {
            // Straight to the terminal: a test that did not happen must not look like one that did.
            let _ = writeln!(std::io::stderr(), "\nSKIPPED: no tmpfs can be mounted here, the disk is not filled\n");
            return None;
        }
        Some(SmallDisk { folder })
    }

    fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Writes until nothing more fits; answers the file.
    fn fill(&self) -> PathBuf {
        let path = self.folder.path().join("filler");
        let mut file = std::fs::File::options().append(true).create(true).open(&path).unwrap();
        for size in [1 << 20, 1 << 12, 1] {
            let block = vec![0_u8; size];
            while file.write_all(&block).is_ok() {}
        }
        path
    }

    /// Writes until only so much fits.
    fn fill_but(&self, bytes: u64) -> PathBuf {
        let path = self.fill();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_len(file.metadata().unwrap().len() - bytes).unwrap();
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.folder.path()).output();
    }
}

async fn upload(server: &Server, bytes: usize) -> (u16, Value) {
    let job = json!({ "name": "upload", "kind": "files", "spec": { "command": ["true"] } });
    let form = Form::new()
        .part("job", Part::text(job.to_string()).mime_str("application/json").unwrap())
        .part("files", Part::bytes(vec![1; bytes]).file_name("upload-that-does-not-fit.bin"));
    let answer = server.send(server.request("POST", "/api/jobs").multipart(form)).await;
    (answer.status, answer.body)
}

fn usage(folder: &Path) -> u64 {
    paths_with(folder, "").iter().filter_map(|path| path.metadata().ok()).map(|meta| meta.len()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_that_fills_the_disk_fails_in_words_and_its_space_comes_back() {
    let Some(disk) = SmallDisk::mount(48) else { return };
    let scene = Scene::with_slots_in(2, &disk.data_dir()).await;
    let script = r#"dd if=/dev/zero of="$BELAY_OUT/big" bs=1M count=200"#;
    let id = scene.submit("fills", 2, script, json!({ "parallel": 1 })).await;
    let job = scene.until_over(&id).await;
    assert_eq!(job["phase"], "failed", "{job:#}");
    let units = scene.units(&id).await;
    assert_units_agree(&job, &units);
    for unit in &units {
        assert!(unit["error"].as_str().is_some_and(|error| !error.is_empty()), "{unit:#}");
    }
    assert!(usage(&disk.data_dir()) < 30 << 20, "the half-written results are still there");
    let next = scene.submit("after", 2, "echo fine > $BELAY_OUT/fine", json!({})).await;
    assert_eq!(scene.until_over(&next).await["phase"], "completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_submits_are_refused_and_cancel_and_delete_still_work() {
    let Some(disk) = SmallDisk::mount(48) else { return };
    let scene = Scene::with_slots_in(3, &disk.data_dir()).await;
    let done = scene.submit("done", 1, r#"head -c 3000000 /dev/zero > "$BELAY_OUT/r""#, json!({})).await;
    scene.until_over(&done).await;
    let hanging =
        scene.submit("hanging", 3, "touch SIGNS/hangs; sleep NAP & sleep NAP", json!({ "parallel": 1 })).await;
    let ending =
        scene.submit("ending", 1, "touch SIGNS/waits; until [ -e SIGNS/go ]; do sleep 0.02; done", json!({})).await;
    wait_for(LIMIT, || scene.sign("hangs").exists() && scene.sign("waits").exists(), || "not running".to_owned());

    let filler = disk.fill();
    let (status, body) = upload(&scene.server, 30 << 20).await;
    assert_eq!((status, &body["error"]), (507, &json!("DISK_FULL")), "{body}");
    assert_eq!(paths_with(&disk.data_dir(), "does-not-fit"), Vec::<PathBuf>::new());
    assert_eq!(scene.server.get("/healthz").await.status, 200);

    // A unit that ends while nothing can be written is not lost.
    std::fs::write(scene.sign("go"), "").unwrap();

    let answer = scene.cancel(&hanging).await;
    assert!(matches!(answer.status, 200 | 202), "{} {}", answer.status, answer.body);
    let job = scene.until_over(&hanging).await;
    scene.assert_nothing_left_of("hanging");
    assert_eq!(job["phase"], "cancelled", "{job:#}");
    let units = scene.units(&hanging).await;
    assert_units_agree(&job, &units);
    units.iter().for_each(assert_proven);

    for id in [&hanging, &done] {
        let answer = scene.server.delete(&format!("/api/jobs/{id}")).await;
        assert!(matches!(answer.status, 200 | 202), "{} {}", answer.status, answer.body);
        let receipt = scene.until_deleted(id).await;
        assert_eq!(receipt["state"], "complete", "{receipt:#}");
        assert_eq!(paths_with(&disk.data_dir(), id), Vec::<PathBuf>::new());
    }

    std::fs::remove_file(filler).unwrap();
    let job = scene.until_over(&ending).await;
    assert_eq!(job["phase"], "completed", "{job:#}");
    let next = scene.submit("after", 2, "echo fine > $BELAY_OUT/fine", json!({})).await;
    assert_eq!(scene.until_over(&next).await["phase"], "completed");
    scene.assert_nothing_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_many_jobs_are_cancelled_and_deleted_at_once() {
    let Some(disk) = SmallDisk::mount(48) else { return };
    let scene = Scene::with_slots_in(3, &disk.data_dir()).await;
    let server = &scene.server;
    for number in 0..4 {
        let script = r#"head -c 300000 /dev/zero > "$BELAY_OUT/r""#;
        let id = scene.submit(&format!("done{number}"), 1, script, json!({})).await;
        assert_eq!(scene.until_over(&id).await["phase"], "completed");
    }
    for number in 0..30 {
        scene.submit(&format!("waits{number}"), 2, "touch SIGNS/runs; sleep NAP", json!({ "parallel": 1 })).await;
    }
    wait_for(LIMIT, || scene.sign("runs").exists(), || "not running".to_owned());
    let filler = disk.fill();
    let many = |action: &str, phase: &str| json!({ "action": action, "select": { "filter": { "phase": phase } } });
    // What takes room is refused: all of it, or each job when the last page of the database could hold the selection.
    let again = server.post("/api/bulk", &many("rerun", "completed")).await;
    if again.status == 202 {
        let again = bulk::ended(server, again.body["bulk_id"].as_str().unwrap()).await;
        assert_eq!(bulk::counts(&again), bulk::counted([("failed", 4)]), "{again}");
    } else {
        assert_eq!(again.problem(), (507, "DISK_FULL".to_owned()));
    }
    disk.fill();
    let cancelled = bulk::ended(server, &bulk::begin(server, &many("cancel", "pending,active")).await).await;
    assert_eq!(bulk::counts(&cancelled), bulk::counted([("done", 30)]), "{cancelled}");
    scene.assert_nothing_left();
    disk.fill();
    let deleted = bulk::ended(server, &bulk::begin(server, &many("delete", "completed,cancelled")).await).await;
    assert_eq!(bulk::counts(&deleted), bulk::counted([("done", 34)]), "{deleted}");
    assert!(deleted["freed_bytes"].as_u64() > Some(1_000_000), "{deleted}");
    std::fs::remove_file(filler).unwrap();
    let next = scene.submit("after", 2, "echo fine > $BELAY_OUT/fine", json!({})).await;
    assert_eq!(scene.until_over(&next).await["phase"], "completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_submitted_to_a_full_disk_is_stored_whole_or_refused() {
    let Some(disk) = SmallDisk::mount(40) else { return };
    let scene = Scene::with_slots_in(1, &disk.data_dir()).await;
    let inputs = scene.inputs("many", 3000);
    let filler = disk.fill_but(4 << 20);
    let mut refused = 0;
    let mut stored = Vec::new();
    for _ in 0..60 {
        let spec = json!({ "command": ["sleep", scene.mark.nap], "inputs": [inputs] });
        let answer = scene.server.post("/api/jobs", &json!({ "name": "many", "kind": "files", "spec": spec })).await;
        match answer.status {
            201 => stored.push(id_of(&answer)),
            507 => {
                assert_eq!(answer.body["error"], "DISK_FULL", "{}", answer.body);
                refused += 1;
                if refused == 3 {
                    break;
                }
            }
            other => panic!("{other}: {}", answer.body),
        }
    }
    assert!(refused > 0, "{} jobs of 3,000 units were stored on a full disk", stored.len());
    assert!(!stored.is_empty(), "there was room for some");
    let list = scene.server.get("/api/jobs?limit=200").await;
    assert_eq!(list.body["items"].as_array().unwrap().len(), stored.len());
    std::fs::remove_file(filler).unwrap();
    for id in &stored {
        assert_eq!(scene.job(id).await["progress"]["total"], 3000);
        let answer = scene.server.delete(&format!("/api/jobs/{id}?force=true")).await;
        assert!(matches!(answer.status, 200 | 202), "{} {}", answer.status, answer.body);
        scene.until_deleted(id).await;
    }
    scene.assert_nothing_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_a_tree_that_eats_every_byte_a_cancel_is_stored_and_proven() {
    let Some(disk) = SmallDisk::mount(48) else { return };
    let scene = Scene::with_slots_in(2, &disk.data_dir()).await;
    // Also what is given back to the disk is eaten at once, by a tree that does not stop by itself.
    let script = r#"
        trap '' TERM
        eat() { while :; do dd if=/dev/zero bs=64k 2> /dev/null >> "$BELAY_OUT/$1"; : > SIGNS/full; done; }
        eat 1 & eat 2 & eat 3"#;
    let id = scene.submit("eats", 2, script, json!({ "parallel": 1, "grace_s": 1 })).await;
    wait_for(LIMIT, || scene.sign("full").exists(), || "the disk is not full".to_owned());
    let other = scene.server.post("/api/jobs", &json!({ "name": "other", "kind": "files", "spec": {} })).await;
    assert_eq!((other.status, &other.body["error"]), (507, &json!("DISK_FULL")), "{}", other.body);

    let answer = scene.cancel(&id).await;
    assert!(matches!(answer.status, 200 | 202), "{} {}", answer.status, answer.body);
    let job = scene.until_over(&id).await;
    scene.assert_nothing_left();
    assert_eq!(job["phase"], "cancelled", "{job:#}");
    assert_eq!(job["cancellation"]["stop"]["unconfirmed"], 0, "{job:#}");
    let units = scene.units(&id).await;
    assert_units_agree(&job, &units);
    units.iter().for_each(assert_proven);

    let answer = scene.server.delete(&format!("/api/jobs/{id}")).await;
    assert!(matches!(answer.status, 200 | 202), "{} {}", answer.status, answer.body);
    assert_eq!(scene.until_deleted(&id).await["state"], "complete");
    let next = scene.submit("after", 2, "echo fine > $BELAY_OUT/fine", json!({})).await;
    assert_eq!(scene.until_over(&next).await["phase"], "completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_starts_on_a_full_disk_and_goes_on_with_a_cancel() {
    let Some(disk) = SmallDisk::mount(48) else { return };
    let mut scene = Scene::with_slots_in(2, &disk.data_dir()).await;
    let script = "trap '' TERM; touch SIGNS/runs; while :; do sleep NAP; done";
    let id = scene.submit("deaf", 2, script, json!({ "parallel": 1, "grace_s": 300 })).await;
    wait_for(LIMIT, || scene.sign("runs").exists(), || "not running".to_owned());
    let filler = disk.fill();
    scene.server.kill9();
    scene.server.restart().await;

    // What the killed server left has minutes of grace: Force reaches it without a byte to write.
    disk.fill();
    let answer = scene.force_cancel(&id).await;
    assert!(matches!(answer.status, 200 | 202), "{} {}", answer.status, answer.body);
    let job = scene.until_over(&id).await;
    scene.assert_nothing_left();
    assert_eq!(job["phase"], "cancelled", "{job:#}");
    assert_eq!(job["cancellation"]["stop"]["unconfirmed"], 0, "{job:#}");
    scene.units(&id).await.iter().for_each(assert_proven);

    // Also after a clean stop, which folds the log with its room into the database.
    assert_eq!(scene.server.terminate().await.code(), Some(0));
    scene.server.restart().await;
    let answer = scene.server.delete(&format!("/api/jobs/{id}")).await;
    assert!(matches!(answer.status, 200 | 202), "{} {}", answer.status, answer.body);
    assert_eq!(scene.until_deleted(&id).await["state"], "complete");
    std::fs::remove_file(filler).unwrap();
}
