//! What every answer of the API keeps to: SPEC, sections 5 and 12. And how the program starts and ends.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Server, program};

#[tokio::test]
async fn every_described_path_is_served_and_wrong_methods_name_the_right_ones() {
    let server = Server::start().await;
    let document = server.get("/api/openapi.json").await.body;
    assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() >= 18, "{:?}", paths.keys());
    for (path, methods) in paths {
        let example = path
            .replace("{job_id}", "0199c2b2-0c9d-7e02-8f10-0123456789ab")
            .replace("{path}", "0/a")
            .replace("{name}", "x");
        let refused = server.send(server.request("PATCH", &example)).await;
        assert_eq!(refused.problem(), (405, "METHOD_NOT_ALLOWED".to_owned()), "{path}");
        let allow = refused.header("allow").unwrap();
        for method in methods.as_object().unwrap().keys() {
            assert!(allow.contains(&method.to_ascii_uppercase()), "{path}: {allow}");
        }
    }
}

#[tokio::test]
async fn an_unknown_api_path_is_404_in_json_with_and_without_sign_in() {
    let server = Server::start().await;
    for path in ["/api", "/api/", "/api/nope", "/api/jobs/x/y/z"] {
        assert_eq!(server.get(path).await.problem(), (404, "NOT_FOUND".to_owned()), "{path}");
        assert_eq!(server.send(server.bare("POST", path)).await.problem(), (404, "NOT_FOUND".to_owned()), "{path}");
    }
}

#[tokio::test]
async fn every_answer_has_a_request_id_and_keeps_a_sane_one_of_the_client() {
    let server = Server::start().await;
    for path in ["/api/jobs", "/api/nope", "/healthz", "/jobs", "/pkg/nothing.js"] {
        let given = server.get_with(path, &[("x-request-id", "trail-0123456789")]).await;
        assert_eq!(given.header("x-request-id").as_deref(), Some("trail-0123456789"), "{path}");
        let own = server.get_with(path, &[("x-request-id", "<script>alert(1)</script>")]).await;
        assert_eq!(own.header("x-request-id").unwrap().len(), 36, "{path}");
    }
}

#[tokio::test]
async fn an_unchanged_answer_is_a_304_of_under_300_bytes() {
    let server = Server::start().await;
    let id = server.submit_done("etag").await;
    for path in [
        "/api/jobs".to_owned(),
        format!("/api/jobs/{id}"),
        format!("/api/jobs/{id}/units"),
        format!("/api/jobs/{id}/log"),
    ] {
        let first = server.get(&path).await;
        let etag = first.header("etag").unwrap();
        let second = server.get_with(&path, &[("if-none-match", &etag)]).await;
        assert_eq!(second.status, 304, "{path}");
        assert_eq!(second.header("etag"), Some(etag));
        let size: usize = second.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        assert!(size + "HTTP/1.1 304 Not Modified\r\n\r\n".len() < 300, "{size}");
        assert_eq!(server.get_with(&path, &[("if-none-match", "\"other\"")]).await.status, 200);
    }
}

#[tokio::test]
async fn an_etag_changes_when_and_only_when_the_answer_does() {
    let server = Server::start().await;
    let id = server.submit_done("calm").await;
    let path = format!("/api/jobs/{id}");
    let etag = async |path: &str| server.get(path).await.header("etag").unwrap();
    let (detail, list) = (etag(&path).await, etag("/api/jobs").await);
    // Another job moves the store's counter, and the list, but not this job.
    server.submit_done("busy").await;
    assert_eq!(etag(&path).await, detail);
    assert_ne!(etag("/api/jobs").await, list);
    // An audit event moves the counter, and no job.
    let list = etag("/api/jobs").await;
    server.post_form("", "/sign-in", &[("token", "wrong")]).await;
    assert_eq!(server.get_with("/api/jobs", &[("if-none-match", &list)]).await.status, 304);
}

#[tokio::test]
async fn a_blocking_query_is_answered_by_the_change_and_ends_with_304() {
    let server = Server::start().await;
    let id = server.submit_endless("blocking", 1).await;
    let path = format!("/api/jobs/{id}?wait=20s");
    let etag = server.get(&path).await.header("etag").unwrap();
    let begun = Instant::now();
    let headers = [("if-none-match", etag.as_str())];
    let (held, _) = tokio::join!(server.get_with(&path, &headers), server.cancel(&id, json!({})));
    assert_eq!(held.status, 200);
    assert_ne!(held.body["phase"], "in_progress");
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    server.wait_phase(&id, "cancelled").await;
    let short = format!("/api/jobs/{id}?wait=1");
    let etag = server.get(&short).await.header("etag").unwrap();
    let begun = Instant::now();
    assert_eq!(server.get_with(&short, &[("if-none-match", &etag)]).await.status, 304);
    assert!(begun.elapsed() >= Duration::from_millis(900), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_body_that_cannot_be_used_says_why_and_stores_nothing() {
    let server = Server::start().await;
    let send = async |kind: &str, body: Vec<u8>| {
        server.send(server.request("POST", "/api/jobs").header("content-type", kind).body(body)).await
    };
    let json = "application/json";
    assert_eq!(send(json, b"{\"name\":".to_vec()).await.problem(), (400, "INVALID_BODY".to_owned()));
    assert_eq!(send(json, b"[1]".to_vec()).await.problem(), (422, "INVALID_SPEC".to_owned()));
    assert_eq!(send("text/plain", b"{}".to_vec()).await.problem(), (415, "UNSUPPORTED_MEDIA_TYPE".to_owned()));
    assert_eq!(send(json, vec![b' '; (1 << 20) + 1]).await.problem(), (413, "BODY_TOO_LARGE".to_owned()));
    let good = json!({"name": "x", "kind": "files", "spec": {"command": ["true"], "inputs": [server.inputs("in", 1)]}});
    for (field, value) in [
        ("name", json!("")),
        ("name", json!("é".repeat(201))),
        ("name", json!("a\nb")),
        ("name", json!(7)),
        ("kind", json!("nope")),
        ("kind", json!(7)),
        ("why", json!(1)),
    ] {
        let mut body = good.clone();
        body[field] = value;
        let refused = server.post("/api/jobs", &body).await;
        assert_eq!(refused.problem(), (422, "INVALID_SPEC".to_owned()), "{body}");
        assert_eq!(refused.body["field"], field, "{}", refused.text());
    }
    let multipart = "multipart/form-data; boundary=XX";
    let part =
        |name: &str, content: &str| format!("--XX\r\nContent-Disposition: form-data; name={name}\r\n\r\n{content}\r\n");
    let job = part("job", &good.to_string());
    let file = part("\"files\"; filename=\"a.txt\"", "one");
    let cut_off = send(multipart, format!("{job}{file}").into_bytes()).await;
    assert_eq!(cut_off.problem(), (400, "INVALID_BODY".to_owned()));
    let twice = send(multipart, format!("{job}{file}{file}--XX--\r\n").into_bytes()).await;
    assert_eq!(twice.problem(), (422, "INVALID_SPEC".to_owned()));
    assert_eq!(twice.body["field"], "files");
    let no_job = send(multipart, format!("{file}--XX--\r\n").into_bytes()).await;
    assert_eq!((no_job.problem().0, &no_job.body["field"]), (422, &json!("job")));
    let large = part("\"files\"; filename=\"b.txt\"", &"x".repeat(1_000_001));
    let too_large = send(multipart, format!("{job}{large}--XX--\r\n").into_bytes()).await;
    assert_eq!(too_large.problem(), (413, "BODY_TOO_LARGE".to_owned()));
    assert_eq!(server.get("/api/jobs").await.body["items"], json!([]));
    let left: Vec<_> = std::fs::read_dir(server.data_dir().join("jobs")).unwrap().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn an_upload_that_announces_too_much_is_refused_before_it_comes() {
    use std::io::{Read as _, Write as _};
    let server = Server::start().await;
    let (address, token) = (server.address(), server.token().to_owned());
    let said = tokio::task::spawn_blocking(move || {
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        let head = format!(
            "POST /api/jobs HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\
             content-type: multipart/form-data; boundary=XX\r\ncontent-length: 3000000000\r\nexpect: 100-continue\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut said = [0_u8; 4096];
        let read = stream.read(&mut said).unwrap();
        String::from_utf8_lossy(&said[..read]).into_owned()
    });
    let said = said.await.unwrap();
    assert!(said.starts_with("HTTP/1.1 413"), "{said}");
    assert!(said.contains("BODY_TOO_LARGE"), "{said}");
}

#[tokio::test]
async fn pages_and_api_carry_the_headers_that_let_a_browser_do_less() {
    let server = Server::start().await;
    for path in ["/jobs", "/sign-in", "/api/jobs"] {
        let answer = server.get(path).await;
        assert_eq!(answer.header("x-content-type-options").as_deref(), Some("nosniff"), "{path}");
        assert_eq!(answer.header("referrer-policy").as_deref(), Some("same-origin"), "{path}");
        assert_eq!(answer.header("cache-control").as_deref(), Some("no-store"), "{path}");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe-inline"), "{path}: {policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
    }
    // A nonce is good for one page only, and every inline script of the page has it.
    let page = server.get("/jobs").await;
    let policy = page.header("content-security-policy").unwrap();
    let nonce = policy.split_once("'nonce-").unwrap().1.split_once('\'').unwrap().0.to_owned();
    let html = page.text();
    for script in html.split("<script").skip(1) {
        assert!(script.split_once('>').unwrap().0.contains(&format!("nonce=\"{nonce}\"")), "<script{script}");
    }
    assert!(!server.get("/jobs").await.header("content-security-policy").unwrap().contains(&nonce));
}

#[tokio::test]
async fn metrics_count_what_matters() {
    let server = Server::start().await;
    let id = server.submit_endless("counted", 1).await;
    server.cancel(&id, json!({})).await;
    server.remove(&id, "").await;
    let text = server.get("/metrics").await.text();
    for line in [
        "belay_cancel_total{outcome=\"cancelled\"} 1",
        "belay_delete_total{outcome=\"complete\"} 1",
        "belay_cancel_proof_seconds_count 1",
        "belay_runs_unconfirmed 0",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn the_form_learns_what_it_may_offer() {
    let server = Server::start().await;
    let options = server.get("/api/form-options").await.body;
    assert_eq!(
        options["presets"],
        json!([{"name": "sha256", "kind": "files", "command": ["sha256sum", "{file}"], "description": null}])
    );
    assert_eq!((&options["allow_free_commands"], &options["slots"]), (&json!(true), &json!(2)));
    assert_eq!(options["roots"][0]["path"], server.root().canonicalize().unwrap().to_str().unwrap());
    let status = server.get("/api/status").await.body;
    assert_eq!(status["workers"].as_array().unwrap().len(), 1, "{status}");
}

#[tokio::test]
async fn a_start_that_cannot_be_says_why_in_one_line() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let config = |text: &str| {
        let path = folder.path().join("belay.toml");
        std::fs::write(&path, text).unwrap();
        path
    };
    let data = folder.path().join("data");
    let fails = async |mut command: tokio::process::Command, expected: &str, code: i32| {
        let output = tokio::time::timeout(Duration::from_secs(20), command.output()).await.unwrap().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(expected), "{expected} is not in: {said}");
        assert!(!said.contains("panicked"), "{said}");
    };
    fails(program(server.data_dir(), &config("")), "in use by another instance", 1).await;
    let mut taken = program(&data, &config(""));
    taken.args(["--listen", &server.address()]);
    // clap refuses an option given twice; the environment gives it once.
    let mut taken_by_env = tokio::process::Command::new(env!("CARGO_BIN_EXE_belay"));
    taken_by_env.env("BELAY_LISTEN", server.address()).env("BELAY_DATA_DIR", &data);
    fails(taken, "cannot be used multiple times", 2).await;
    fails(taken_by_env, &format!("cannot listen on {}", server.address()), 1).await;
    fails(program(&data, &config("[files]\nroot = []\n")), "belay.toml:2: unknown field `root`", 1).await;
    fails(program(&data, &config("[files]\nroots = [\"nowhere\"]\n")), "nowhere", 1).await;
    fails(program(&data, &folder.path().join("missing.toml")), "missing.toml", 1).await;
    fails(program(std::path::Path::new("/proc/nothing"), &config("")), "is not writable", 1).await;
    let mut unknown = tokio::process::Command::new(env!("CARGO_BIN_EXE_belay"));
    unknown.arg("--nonsense");
    fails(unknown, "--nonsense", 2).await;
}

#[tokio::test]
async fn sigterm_ends_a_busy_server_cleanly_and_its_job_goes_on_after_the_next_start() {
    let mut server = Server::start().await;
    let inputs = server.inputs("long", 2);
    let id = server.submit(&["sh", "-c", "test -e \"$BELAY_FILE.go\" || sleep 600"], &inputs).await;
    server.wait_for(&id, |job| job["progress"]["running"] == 2).await;
    // A blocking query does not hold the server.
    let path = format!("/api/jobs/{id}?wait=60s");
    let etag = server.get(&path).await.header("etag").unwrap();
    let waiting = server.request("GET", &path).header("if-none-match", etag);
    let waiting = tokio::spawn(async move { waiting.send().await.map(|answer| answer.status().as_u16()) });
    let begun = Instant::now();
    assert_eq!(server.terminate().await.code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    let _ = waiting.await;
    for index in 0..2 {
        std::fs::write(server.root().join(format!("long/{index:03}.txt.go")), "").unwrap();
    }
    server.restart().await;
    let job = server.wait_phase(&id, "completed").await;
    assert_eq!(job["progress"]["succeeded"], 2, "{job}");
}

#[tokio::test]
async fn the_audit_outlives_the_job_and_is_paged() {
    let server = Server::start().await;
    let id = server.submit_done("mortal").await;
    server.remove(&id, "").await;
    let audit = server.get("/api/audit").await.body;
    let of_job: Vec<&Value> = audit["items"].as_array().unwrap().iter().filter(|event| event["job_id"] == id).collect();
    let actions: Vec<&str> = of_job.iter().map(|event| event["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["delete", "submit"]);
    assert!(of_job.iter().all(|event| event["job_name"] == "mortal" && event["actor"] == "bootstrap"), "{audit}");
    assert!(audit["next_cursor"].is_null());
}
