//! The server killed, or told to stop, in the middle of a request that writes: an upload, a rerun, a removal. After the
//! restart each job is there whole or not at all, and no folder belongs to nobody.

use std::{collections::BTreeSet, time::Duration};

use reqwest::multipart::{Form, Part};
use serde_json::json;

use crate::{
    marks::wait_for,
    scene::{LIMIT, Scene, id_of, paths_with},
};

const FILES: usize = 1_500;

/// How the server goes down.
#[derive(Clone, Copy)]
enum Down {
    Kill,
    Terminate,
}

impl Down {
    async fn take(self, scene: &mut Scene) {
        match self {
            Down::Kill => scene.server.kill9(),
            Down::Terminate => {
                let status = scene.server.terminate().await;
                assert_eq!(status.code(), Some(0), "{status:?}");
                scene.assert_nothing_left();
            }
        }
        scene.server.restart().await;
    }
}

fn upload(scene: &Scene) -> reqwest::RequestBuilder {
    let spec = json!({ "command": scene.script("sleep NAP"), "parallel": 1 });
    let job = json!({ "name": "uploaded", "kind": "files", "spec": spec });
    let part = |index: usize| Part::bytes(vec![b'x'; 500]).file_name(format!("{}-{index:05}.txt", scene.mark.text));
    let form = Form::new().part("job", Part::text(job.to_string()).mime_str("application/json").unwrap());
    let form = (0..FILES).fold(form, |form, index| form.part("files", part(index)));
    scene.server.request("POST", "/api/jobs").multipart(form)
}

/// Every job is whole, every folder is a job's. Answers the jobs.
async fn assert_whole_or_absent(scene: &Scene) -> BTreeSet<String> {
    let list = scene.server.get("/api/jobs?limit=200").await;
    let jobs = list.body["items"].as_array().unwrap();
    for job in jobs {
        assert_eq!(job["progress"]["total"], FILES, "{job:#}");
        let id = job["job_id"].as_str().unwrap();
        let inputs = std::fs::read_dir(scene.server.data_dir().join("jobs").join(id).join("inputs")).unwrap();
        assert_eq!(inputs.count(), FILES, "inputs of {id}");
    }
    let ids: BTreeSet<String> = jobs.iter().map(|job| job["job_id"].as_str().unwrap().to_owned()).collect();
    let folders = || -> BTreeSet<String> {
        let entries = std::fs::read_dir(scene.server.data_dir().join("jobs")).unwrap().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    wait_for(LIMIT, || folders() == ids, || format!("folders {:?} of jobs {ids:?}", folders()));
    ids
}

/// Takes the server down at growing distances from the start of a request: killed, until one was over before; told to
/// stop, which lets a request end that is quick enough, for as long as the longest of them takes.
async fn at_every_moment(scene: &mut Scene, down: Down, request: impl Fn(&Scene) -> reqwest::RequestBuilder) {
    let (mut cut, mut wait) = (0, Duration::from_millis(1));
    loop {
        let known = assert_whole_or_absent(scene).await;
        let sent = tokio::spawn({
            let request = request(scene);
            async move { request.send().await.map(|answer| answer.status().as_u16()) }
        });
        // The moment is the point of the test; nothing is waited for.
        tokio::time::sleep(wait).await;
        down.take(scene).await;
        let answer = sent.await.unwrap();
        let now = assert_whole_or_absent(scene).await;
        match answer {
            Ok(201) => {
                assert_eq!(now.len(), known.len() + 1, "a job that was answered for is there");
                match down {
                    Down::Kill => {
                        assert!(cut > 0, "the server never went down in the middle");
                        return;
                    }
                    Down::Terminate if wait > Duration::from_millis(60) => return,
                    Down::Terminate => {}
                }
            }
            Ok(503) | Err(_) => cut += 1,
            Ok(other) => panic!("{other}"),
        }
        assert!(wait < LIMIT, "the request never ended");
        wait = wait * 3 / 2 + Duration::from_millis(2);
    }
}

async fn remove_all(scene: &Scene) {
    for id in assert_whole_or_absent(scene).await {
        let answer = scene.server.delete(&format!("/api/jobs/{id}?force=true")).await;
        assert!(matches!(answer.status, 200 | 202), "{} {}", answer.status, answer.body);
        assert_eq!(scene.until_deleted(&id).await["state"], "complete");
    }
    scene.assert_nothing_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_in_the_middle_of_an_upload_stores_the_whole_job_or_nothing() {
    let mut scene = Scene::with_slots(1).await;
    at_every_moment(&mut scene, Down::Kill, upload).await;
    remove_all(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_in_the_middle_of_an_upload_stores_the_whole_job_or_nothing() {
    let mut scene = Scene::with_slots(1).await;
    at_every_moment(&mut scene, Down::Terminate, upload).await;
    remove_all(&scene).await;
}

/// A job that is over, with uploaded inputs.
async fn cancelled_job(scene: &Scene) -> String {
    let answer = scene.server.send(upload(scene)).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    let id = id_of(&answer);
    scene.until_running(&id, 1).await;
    scene.cancel(&id).await;
    scene.until_over(&id).await;
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_in_the_middle_of_a_rerun_stores_the_whole_job_or_nothing() {
    let mut scene = Scene::with_slots(1).await;
    let path = format!("/api/jobs/{}/rerun", cancelled_job(&scene).await);
    at_every_moment(&mut scene, Down::Kill, |scene| scene.server.request("POST", &path).json(&json!({}))).await;
    remove_all(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_in_the_middle_of_a_rerun_stores_the_whole_job_or_nothing() {
    let mut scene = Scene::with_slots(1).await;
    let path = format!("/api/jobs/{}/rerun", cancelled_job(&scene).await);
    at_every_moment(&mut scene, Down::Terminate, |scene| scene.server.request("POST", &path).json(&json!({}))).await;
    remove_all(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_in_the_middle_of_a_removal_leaves_it_to_the_next_start() {
    let mut scene = Scene::with_slots(2).await;
    let script = r#"for n in $(seq 12000); do : > "$BELAY_OUT/$n"; done"#;
    let id = scene.submit("many-files", 2, script, json!({})).await;
    assert_eq!(scene.until_over(&id).await["phase"], "completed");
    let path = format!("/api/jobs/{id}");
    let removal = tokio::spawn({
        let request = scene.server.request("DELETE", &path);
        async move { request.send().await.map(|answer| answer.status().as_u16()) }
    });
    scene.until(&id, "it is being deleted", |job| job["phase"] == "deleting").await;
    Down::Terminate.take(&mut scene).await;
    // It was answered that the removal goes on, or the removal was quicker than the signal, or the line was cut.
    assert!(matches!(removal.await.unwrap(), Ok(200 | 202) | Err(_)));
    let receipt = scene.until_deleted(&id).await;
    assert_eq!((&receipt["state"], &receipt["left"]), (&json!("complete"), &json!([])), "{receipt:#}");
    assert_eq!(paths_with(scene.server.data_dir(), &id), Vec::<std::path::PathBuf>::new());
}
