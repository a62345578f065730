//! Submitting, listing and looking.

use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::harness::Server;

fn ids(list: &Value) -> Vec<String> {
    list["items"].as_array().unwrap().iter().map(|job| job["job_id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_submitted_job_runs_every_file_and_ends_completed() {
    let server = Server::start().await;
    let inputs = server.inputs("three", 3);
    let spec = json!({ "preset": "sha256", "inputs": [inputs] });
    let created = server.post("/api/jobs", &json!({ "name": "Sums", "kind": "files", "spec": spec })).await;
    assert_eq!(created.status, 201, "{}", created.text());
    let id = created.body["job_id"].as_str().unwrap().to_owned();
    assert_eq!(created.header("location").unwrap(), format!("/api/jobs/{id}"));
    let job = server.wait_phase(&id, "completed").await;
    assert_eq!(job["name"], "Sums");
    assert_eq!(job["kind"], "files");
    assert_eq!(job["created_by"], "bootstrap");
    assert_eq!(job["progress"], json!({"total": 3, "succeeded": 3, "failed": 0, "cancelled": 0, "running": 0}));
    assert_eq!(job["allowed"]["cancel"]["ok"], false);
    assert!(job["allowed"]["cancel"]["why_not"].is_string());
    assert_eq!(job["allowed"]["delete"]["ok"], true);
    let units = server.get(&format!("/api/jobs/{id}/units")).await.body;
    let items = units["items"].as_array().unwrap();
    assert_eq!(items.len(), 3);
    for (index, unit) in items.iter().enumerate() {
        assert_eq!(unit["index"], index);
        assert_eq!(unit["status"], "succeeded");
        assert_eq!(unit["exit_code"], 0);
        assert_eq!(unit["attempt"], 1);
    }
    let log = server.get(&format!("/api/jobs/{id}/log?unit=0")).await.body;
    let text = log["items"][0]["text"].as_str().unwrap_or_default().to_owned();
    assert!(text.starts_with("9a271f2a916b0b6ee6cecb2426f0b3206ef074578be55d9bc94f6f3fe3ab86aa"), "{log}");
}

#[tokio::test]
async fn a_log_is_filtered_by_stream_and_is_there_as_a_file() {
    let server = Server::start().await;
    let inputs = server.inputs("logged", 2);
    let script = "echo out; echo err >&2; for n in $(seq 700); do echo line $n; done";
    let id = server.submit(&["sh", "-c", script], &inputs).await;
    server.wait_phase(&id, "completed").await;
    let path = format!("/api/jobs/{id}/log");
    for (query, lines) in [("?unit=0&stream=stderr", 1), ("?stream=stderr", 2), ("?unit=1&stream=belay", 0)] {
        let page = server.get(&format!("{path}{query}")).await.body;
        let texts: Vec<&str> = page["items"].as_array().unwrap().iter().filter_map(|l| l["text"].as_str()).collect();
        assert_eq!(texts, vec!["err"; lines], "{query}");
    }
    for query in ["?stream=other", "?unit=x", "?download=perhaps"] {
        assert_eq!(server.get(&format!("{path}{query}")).await.problem().0, 400, "{query}");
    }

    // The file is whole where an answer has 500 lines.
    let file = server.get(&format!("{path}?download=true")).await;
    assert_eq!(file.header("content-type").as_deref(), Some("text/plain; charset=utf-8"));
    let disposition = file.header("content-disposition").unwrap();
    assert!(disposition.starts_with("attachment;") && disposition.contains(&id[..13]), "{disposition}");
    assert!(file.header("content-security-policy").unwrap().contains("sandbox"));
    let text = file.text();
    assert_eq!(text.lines().filter(|line| line.starts_with("# unit ")).count(), 2, "{text}");
    assert_eq!(text.lines().filter(|line| line.ends_with(" line 700")).count(), 2);
    assert_eq!(text.lines().count(), 2 * 703);
    let time = text.lines().nth(1).unwrap().split(' ').next().unwrap();
    assert!(time.len() == 24 && time.ends_with('Z'), "{time}");
    let one = server.get(&format!("{path}?download=true&unit=1&stream=stderr")).await;
    assert!(one.header("content-disposition").unwrap().contains("-unit-1-stderr.log"));
    assert_eq!(one.text().lines().count(), 2, "{}", one.text());
    assert!(one.text().ends_with(" stderr err\n"), "{}", one.text());
    assert_eq!(server.get(&format!("{path}?download=true&unit=2")).await.problem().0, 404);
}

#[tokio::test]
async fn units_are_told_by_their_end_or_by_their_stop() {
    let server = Server::start().await;
    let inputs = server.inputs("ends", 40);
    let id = server.submit(&["sh", "-c", "case {name} in *3*) exec sleep 600;; esac"], &inputs).await;
    // 003 and 013 sleep; what stands between them is over.
    server.wait_for(&id, |job| job["progress"]["running"] == 2 && job["progress"]["succeeded"] == 12).await;
    let ended = server.get(&format!("/api/jobs/{id}/units?sort=-finished_at&limit=3")).await.body;
    let times: Vec<&str> =
        ended["items"].as_array().unwrap().iter().filter_map(|u| u["finished_at"].as_str()).collect();
    assert!(!times.is_empty() && times.is_sorted_by(|later, earlier| later >= earlier), "{ended:#}");
    assert!(ended["next_cursor"].is_null());
    server.cancel(&id, json!({})).await;
    let job = server.wait_phase(&id, "cancelled").await;
    let stopped = server.get(&format!("/api/jobs/{id}/units?stopped=true&limit=1")).await.body;
    let cursor = stopped["next_cursor"].as_str().unwrap();
    let rest = server.get(&format!("/api/jobs/{id}/units?stopped=true&cursor={cursor}")).await.body;
    assert_eq!(job["cancellation"]["stop"]["stopped"], 2);
    for page in [stopped, rest] {
        assert_eq!(page["items"].as_array().unwrap().len(), 1, "{page:#}");
        assert_eq!(page["items"][0]["stop"]["confirmed"], true);
        assert_ne!(page["items"][0]["stop"]["method"], "never_started");
    }
    let both = server.get(&format!("/api/jobs/{id}/units?stopped=true&status=failed")).await;
    assert_eq!(both.problem(), (400, "INVALID_QUERY".to_owned()));
}

#[tokio::test]
async fn a_job_ends_failed_when_no_unit_succeeds_and_partial_when_some_do() {
    let server = Server::start().await;
    let inputs = server.inputs("mixed", 2);
    let none = server.submit(&["false"], &inputs).await;
    let some = server.submit(&["grep", "0", "{file}"], &inputs).await;
    assert_eq!(server.wait_phase(&none, "failed").await["progress"]["failed"], 2);
    let job = server.wait_phase(&some, "partial").await;
    assert_eq!((&job["progress"]["succeeded"], &job["progress"]["failed"]), (&json!(1), &json!(1)));
    let failed = server.get(&format!("/api/jobs/{some}/units?status=failed")).await.body;
    assert_eq!(failed["items"].as_array().unwrap().len(), 1);
    assert!(failed["items"][0]["error"].is_string(), "{failed}");
}

#[tokio::test]
async fn uploaded_files_become_units_and_their_results_artifacts() {
    let server = Server::start().await;
    let job = json!({ "name": "Up", "kind": "files", "spec": {"command": ["cp", "{file}", "{out}/copy of {name}"]} });
    let form = Form::new()
        .text("job", job.to_string())
        .part("files", Part::bytes("one".as_bytes()).file_name("look book.txt"))
        .part("files", Part::bytes("two".as_bytes()).file_name("-rf"));
    let created = server.send(server.request("POST", "/api/jobs").multipart(form)).await;
    assert_eq!(created.status, 201, "{}", created.text());
    let id = created.body["job_id"].as_str().unwrap().to_owned();
    server.wait_phase(&id, "completed").await;
    let artifacts = server.get(&format!("/api/jobs/{id}/artifacts")).await.body;
    let results: Vec<&Value> =
        artifacts["items"].as_array().unwrap().iter().filter(|artifact| artifact["category"] == "results").collect();
    assert_eq!(results.len(), 2, "{artifacts}");
    let mut contents = Vec::new();
    for artifact in results {
        let path = artifact["path"].as_str().unwrap();
        let file = server.get(&format!("/api/jobs/{id}/artifacts/{path}")).await;
        assert_eq!(file.status, 200, "{path}");
        assert_eq!(file.bytes.len() as u64, artifact["bytes"].as_u64().unwrap());
        contents.push(file.text());
    }
    contents.sort();
    assert_eq!(contents, ["one", "two"]);
}

#[tokio::test]
async fn an_artifact_is_hostile_content_and_served_as_such() {
    let server = Server::start().await;
    let inputs = server.inputs("evil", 1);
    let script = r#"printf '<script>alert(1)</script>' > "$BELAY_OUT/a.html"; printf '\211PNG\r\n\032\n123456' > "$BELAY_OUT/b.txt""#;
    let id = server.submit(&["sh", "-c", script], &inputs).await;
    server.wait_phase(&id, "completed").await;
    let list = server.get(&format!("/api/jobs/{id}/artifacts")).await.body;
    for artifact in list["items"].as_array().unwrap() {
        let file = server.get(&format!("/api/jobs/{id}/artifacts/{}", artifact["path"].as_str().unwrap())).await;
        assert_eq!(file.status, 200);
        assert_eq!(file.header("x-content-type-options").as_deref(), Some("nosniff"));
        assert!(file.header("content-security-policy").unwrap().starts_with("sandbox; default-src 'none'"));
        let (kind, disposition) = match artifact["name"].as_str().unwrap() {
            "a.html" => ("application/octet-stream", "attachment"),
            "b.txt" => ("image/png", "inline"),
            other => panic!("{other}"),
        };
        assert_eq!(file.header("content-type").as_deref(), Some(kind));
        assert!(file.header("content-disposition").unwrap().starts_with(disposition));
    }
    for path in ["../../../../belay.db", "..%2f..%2fbelay.db", "0/../../inputs", "nothing"] {
        let answer = server.get(&format!("/api/jobs/{id}/artifacts/{path}")).await;
        assert_eq!(answer.status, 404, "{path}");
    }
}

#[tokio::test]
async fn the_list_is_filtered_sorted_counted_and_paged() {
    let server = Server::start().await;
    let first = server.submit_done("alpha").await;
    let second = server.submit_done("beta").await;
    let endless = server.submit_endless("gamma", 1).await;
    assert_eq!(ids(&server.get("/api/jobs").await.body), [endless.clone(), second.clone(), first.clone()]);
    assert_eq!(ids(&server.get("/api/jobs?phase=completed&sort=name").await.body), [first.clone(), second.clone()]);
    assert_eq!(ids(&server.get("/api/jobs?phase=active").await.body), [endless.as_str()]);
    assert_eq!(ids(&server.get("/api/jobs?q=bet").await.body), [second.as_str()]);
    assert!(ids(&server.get("/api/jobs?created_by=nobody").await.body).is_empty());
    assert_eq!(ids(&server.get("/api/jobs?sort=finished_at&kind=files").await.body), [first.clone(), second.clone()]);
    let mut seen = Vec::new();
    let mut path = "/api/jobs?limit=1".to_owned();
    loop {
        let page = server.get(&path).await.body;
        seen.extend(ids(&page));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/api/jobs?limit=1&cursor={}", app::paths::encode(cursor));
    }
    assert_eq!(seen, [endless, second, first]);
    let counts = server.get("/api/jobs").await.body["counts"].clone();
    assert!(
        counts.as_array().unwrap().contains(&json!({"phase": "completed", "count": 2, "capped": false})),
        "{counts}"
    );
}

#[tokio::test]
async fn a_query_that_cannot_be_used_is_named() {
    let server = Server::start().await;
    for query in
        ["phase=running", "kind=nope", "q=ab", "sort=size", "limit=0", "limit=201", "cursor=made-up", "wait=soon"]
    {
        let answer = server.get(&format!("/api/jobs?{query}")).await;
        assert_eq!(answer.problem(), (400, "INVALID_QUERY".to_owned()), "{query}");
    }
    for path in ["/api/removals?cursor=made-up", "/api/audit?cursor=made-up"] {
        assert_eq!(server.get(path).await.problem(), (400, "INVALID_QUERY".to_owned()), "{path}");
    }
}

#[tokio::test]
async fn a_rerun_is_a_new_job_over_all_units_or_those_that_did_not_succeed() {
    let server = Server::start().await;
    let inputs = server.inputs("mixed", 3);
    let first = server.submit(&["grep", "0", "{file}"], &inputs).await;
    server.wait_phase(&first, "partial").await;
    let all = server.post(&format!("/api/jobs/{first}/rerun"), &json!({})).await;
    assert_eq!(all.status, 201, "{}", all.text());
    assert_eq!(all.body["rerun_of"], first);
    assert_ne!(all.body["job_id"], first);
    assert_eq!(all.body["progress"]["total"], 3);
    let rest = server.post(&format!("/api/jobs/{first}/rerun"), &json!({"units": "unfinished", "name": "Rest"})).await;
    assert_eq!(rest.body["progress"]["total"], 2);
    assert_eq!(rest.body["name"], "Rest");
    // Either can be deleted alone.
    assert_eq!(server.remove(&first, "").await.status, 200);
    server.wait_phase(rest.body["job_id"].as_str().unwrap(), "failed").await;
    let endless = server.submit_endless("endless", 1).await;
    let refused = server.post(&format!("/api/jobs/{endless}/rerun"), &json!({})).await;
    assert_eq!(refused.problem(), (409, "JOB_ACTIVE".to_owned()));
}

#[tokio::test]
async fn the_same_idempotency_key_makes_one_job_and_another_body_is_refused() {
    let server = Server::start().await;
    let inputs = server.inputs("few", 1);
    let body = |name: &str| json!({"name": name, "kind": "files", "spec": {"command": ["true"], "inputs": [&inputs]}});
    let send = async |name: &str| {
        let request = server.request("POST", "/api/jobs").header("idempotency-key", "key-1").json(&body(name));
        server.send(request).await
    };
    let (first, again, other) = (send("a").await, send("a").await, send("b").await);
    assert_eq!((first.status, again.status), (201, 201));
    assert_eq!(first.body["job_id"], again.body["job_id"]);
    assert_eq!(other.problem(), (422, "IDEMPOTENCY_CONFLICT".to_owned()));
    assert_eq!(ids(&server.get("/api/jobs").await.body).len(), 1);
    let folders = std::fs::read_dir(server.data_dir().join("jobs")).unwrap().count();
    assert!(folders <= 1, "{folders} folders for one job");
}

#[tokio::test]
async fn an_id_that_is_no_uuid_is_an_unknown_job() {
    let server = Server::start().await;
    let unknown = "0199c2b2-0c9d-7e02-8f10-0123456789ab";
    for id in [unknown, "nope", "1", "0199c2b2"] {
        for path in ["", "/units", "/log", "/artifacts", "/artifacts/0/a"] {
            let answer = server.get(&format!("/api/jobs/{id}{path}")).await;
            assert_eq!(answer.problem(), (404, "JOB_NOT_FOUND".to_owned()), "{id}{path}");
        }
        assert_eq!(server.cancel(id, json!({})).await.problem(), (404, "JOB_NOT_FOUND".to_owned()));
        assert_eq!(server.remove(id, "").await.problem(), (404, "JOB_NOT_FOUND".to_owned()));
        assert_eq!(server.remove(id, "?dry_run=true").await.problem(), (404, "JOB_NOT_FOUND".to_owned()));
        assert_eq!(server.post(&format!("/api/jobs/{id}/rerun"), &json!({})).await.status, 404);
    }
    assert_eq!(server.get(&format!("/api/removals/{unknown}")).await.status, 404);
}
