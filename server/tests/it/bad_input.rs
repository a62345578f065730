//! Bad input, each with a clear error and nothing stored or lost.

use std::{
    ffi::OsStr,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{PermissionsExt as _, symlink},
    },
    time::Duration,
};

use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::{
    harness::{Answer, Server},
    scene::{Scene, assert_units_agree, id_of, paths_with},
};

/// A refusal says what, where and in words, and nothing is stored.
fn assert_problem(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{}", answer.body);
    assert_eq!(answer.body["error"], code, "{}", answer.body);
    assert_eq!(answer.body["status"], status, "{}", answer.body);
    assert_eq!(answer.header("content-type").as_deref(), Some("application/problem+json"));
    assert!(answer.body["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{}", answer.body);
    assert!(answer.body["request_id"].is_string(), "{}", answer.body);
}

async fn assert_nothing_stored(server: &Server) {
    let list = server.get("/api/jobs").await;
    assert_eq!(list.body["items"], json!([]));
    let jobs = server.data_dir().join("jobs");
    let folders: Vec<_> = std::fs::read_dir(jobs).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    assert_eq!(folders, Vec::<std::path::PathBuf>::new(), "folders of jobs that do not exist");
}

fn files_job(spec: Value) -> Value {
    json!({ "name": "bad", "kind": "files", "spec": spec })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_spec_is_refused_by_the_name_of_its_field_and_nothing_is_stored() {
    let scene = Scene::with_slots(1).await;
    let inputs = scene.inputs("some", 1);
    std::fs::create_dir(scene.root().join("empty")).unwrap();
    let over = |extra: Value| {
        let mut spec = json!({ "command": ["true"], "inputs": [inputs] });
        crate::scene::merge(&mut spec, extra);
        spec
    };
    let outside = tempfile::NamedTempFile::new().unwrap();
    symlink(outside.path(), scene.root().join("way-out")).unwrap();
    let cases = [
        ("spec.preset", json!({ "inputs": [inputs] })),
        ("spec.preset", json!({ "preset": "no-such-preset", "inputs": [inputs] })),
        ("spec.preset", json!({ "preset": "", "inputs": [inputs] })),
        ("spec.command", over(json!({ "command": [] }))),
        ("spec.command", over(json!({ "command": [""] }))),
        ("spec.command", over(json!({ "command": ["printf\u{0}x"] }))),
        ("spec.inputs", json!({ "command": ["true"] })),
        ("spec.inputs", over(json!({ "inputs": [] }))),
        ("spec.inputs", over(json!({ "inputs": [scene.root().join("empty")] }))),
        ("spec.inputs", over(json!({ "inputs": [""] }))),
        ("spec.inputs", over(json!({ "inputs": ["no/such/file"] }))),
        ("spec.inputs", over(json!({ "inputs": ["/etc/passwd"] }))),
        ("spec.inputs", over(json!({ "inputs": ["../../etc/passwd"] }))),
        ("spec.inputs", over(json!({ "inputs": [format!("{}/../../../etc/passwd", inputs.display())] }))),
        ("spec.inputs", over(json!({ "inputs": ["way-out"] }))),
        ("spec.inputs", over(json!({ "inputs": [scene.root().join("way-out")] }))),
        ("spec.inputs", over(json!({ "inputs": ["some\u{0}thing"] }))),
        ("spec.parallel", over(json!({ "parallel": 0 }))),
        ("spec.parallel", over(json!({ "parallel": -1 }))),
        ("spec.parallel", over(json!({ "parallel": 1.5 }))),
        ("spec.parallel", over(json!({ "parallel": "many" }))),
        ("spec.parallel", over(json!({ "parallel": 5_000_000_000u64 }))),
        ("spec.parallel", over(json!({ "parallel": 4_000_000_000u64 }))),
        ("spec.timeout_s", over(json!({ "timeout_s": 0 }))),
        ("spec.grace_s", over(json!({ "grace_s": 3601 }))),
        ("spec", over(json!({ "colour": "blue" }))),
        ("spec", json!("a text")),
        ("spec", json!(null)),
    ];
    for (field, spec) in cases {
        let answer = scene.server.post("/api/jobs", &files_job(spec.clone())).await;
        assert_eq!(answer.status, 422, "{spec}: {}", answer.body);
        assert_problem(&answer, 422, "INVALID_SPEC");
        let named = answer.body["field"].as_str().unwrap_or_default();
        assert!(named.starts_with(field), "{spec} should name {field}: {}", answer.body);
    }
    for (field, body) in [
        ("name", json!({ "name": "", "kind": "files", "spec": over(json!({})) })),
        ("name", json!({ "name": "x".repeat(201), "kind": "files", "spec": over(json!({})) })),
        ("name", json!({ "name": "two\nlines", "kind": "files", "spec": over(json!({})) })),
        ("kind", json!({ "name": "x", "kind": "pigeons", "spec": over(json!({})) })),
    ] {
        let answer = scene.server.post("/api/jobs", &body).await;
        assert_problem(&answer, 422, "INVALID_SPEC");
        assert_eq!(answer.body["field"], field, "{}", answer.body);
    }
    assert_nothing_stored(&scene.server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_free_command_is_refused_where_the_configuration_does_not_allow_it() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("a.txt"), "a").unwrap();
    let config = format!("[files]\nroots = [{:?}]\n[presets.count]\ncommand = [\"wc\", \"{{file}}\"]\n", root.path());
    let server = Server::start_with(&config).await;
    let answer = server.post("/api/jobs", &files_job(json!({ "command": ["true"], "inputs": ["a.txt"] }))).await;
    assert_problem(&answer, 422, "INVALID_SPEC");
    assert_eq!(answer.body["field"], "spec.command");
    assert_nothing_stored(&server).await;
    let answer = server
        .post("/api/jobs", &files_job(json!({ "command": ["true"], "preset": "count", "inputs": ["a.txt"] })))
        .await;
    assert_problem(&answer, 422, "INVALID_SPEC");
    assert_nothing_stored(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_not_there_or_not_executable_fails_its_units_in_words() {
    let scene = Scene::with_slots(1).await;
    let inputs = scene.inputs("some", 2);
    let plain = scene.sign("plain-file");
    std::fs::write(&plain, "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(&plain, std::fs::Permissions::from_mode(0o644)).unwrap();
    let bad_interpreter = scene.sign("bad-interpreter");
    std::fs::write(&bad_interpreter, "#!/no/such/interpreter\n").unwrap();
    std::fs::set_permissions(&bad_interpreter, std::fs::Permissions::from_mode(0o755)).unwrap();
    for (program, words) in [
        ("/no/such/program".to_owned(), "not found"),
        ("no-such-program-anywhere".to_owned(), "not found"),
        (plain.to_string_lossy().into_owned(), "not executable"),
        ("/".to_owned(), "not executable"),
        (bad_interpreter.to_string_lossy().into_owned(), "interpreter that it names does not exist"),
    ] {
        let spec = json!({ "command": [program, "{file}"], "inputs": [inputs] });
        let answer = scene.server.post("/api/jobs", &files_job(spec)).await;
        if answer.status == 422 {
            // Seen at the submit already: better still.
            assert_problem(&answer, 422, "INVALID_SPEC");
            assert_eq!(answer.body["field"], "spec.command");
            continue;
        }
        assert_eq!(answer.status, 201, "{}", answer.body);
        let id = id_of(&answer);
        let job = scene.until_over(&id).await;
        assert_eq!(job["phase"], "failed", "{job:#}");
        let units = scene.units(&id).await;
        assert_units_agree(&job, &units);
        for unit in units {
            let error = unit["error"].as_str().unwrap_or_default();
            assert!(error.contains(&program) && error.contains(words), "{program}: {words}: {unit:#}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_vanishes_before_its_turn_fails_its_own_unit_only() {
    let scene = Scene::with_slots(1).await;
    // The first unit waits until the test has removed the third one's file.
    let script = r#"case "$BELAY_FILE" in *00000.txt) touch SIGNS/first; until [ -e SIGNS/go ]; do sleep 0.01; done;; esac
        cat "$BELAY_FILE""#;
    let id = scene.submit("vanishing", 4, script, json!({ "parallel": 1 })).await;
    crate::marks::wait_for(crate::scene::LIMIT, || scene.sign("first").exists(), || "not begun".to_owned());
    let third = scene.root().join("vanishing").join(format!("{}-00002.txt", scene.mark.text));
    std::fs::remove_file(third).unwrap();
    std::fs::write(scene.sign("go"), "").unwrap();

    let job = scene.until_over(&id).await;
    assert_eq!(job["phase"], "partial", "{job:#}");
    let units = scene.units(&id).await;
    assert_units_agree(&job, &units);
    let statuses: Vec<&str> = units.iter().filter_map(|unit| unit["status"].as_str()).collect();
    assert_eq!(statuses, ["succeeded", "succeeded", "failed", "succeeded"]);
    let error = units[2]["error"].as_str().unwrap();
    assert!(error.contains("not there") || error.contains("gone") || error.contains("not found"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_file_names_reach_the_command_byte_for_byte() {
    let scene = Scene::with_slots(2).await;
    let folder = scene.root().join("names");
    std::fs::create_dir(&folder).unwrap();
    let names: [&[u8]; 12] = [
        b"with spaces",
        b" leading and trailing ",
        b"new\nline",
        b"-rf",
        b"--help",
        b"invalid \xff\xfe utf-8",
        b"$(touch pwned)",
        b"`id`;&|<>",
        b"quote\"and'back\\slash",
        b"{file}{out}",
        b"\x1b[31mred",
        "übung-文件.txt".as_bytes(),
    ];
    for name in names {
        std::fs::write(folder.join(OsStr::from_bytes(name)), name).unwrap();
    }
    // Once by argument, once by environment: the content is the name, and must be found again as the result.
    let command = scene.script(r#"printf %s "${1##*/}" | cmp - "$1" && cat "$BELAY_FILE" > "$BELAY_OUT/$BELAY_NAME""#);
    let mut command = command.as_array().unwrap().clone();
    command.push(json!("{file}"));
    let answer = scene.server.post("/api/jobs", &files_job(json!({ "command": command, "inputs": ["names"] }))).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    let id = id_of(&answer);
    let job = scene.until_over(&id).await;
    let units = scene.units(&id).await;
    assert_eq!(job["phase"], "completed", "{job:#}\n{units:#?}");
    assert_eq!(units.len(), names.len());
    let results = scene.results(&id).await;
    assert_eq!(results.len(), names.len(), "{results:#?}");
    for artifact in results {
        let path = artifact["path"].as_str().unwrap();
        let answer = scene.server.get(&format!("/api/jobs/{id}/artifacts/{path}")).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        assert_eq!(answer.header("x-content-type-options").as_deref(), Some("nosniff"), "{path}");
        assert!(answer.header("content-security-policy").unwrap_or_default().contains("sandbox"), "{path}");
        let disposition = answer.header("content-disposition").unwrap_or_default();
        assert!(disposition.starts_with("attachment"), "{path}: {disposition}");
        assert!(names.contains(&answer.bytes.as_ref()), "{path}: {:?}", answer.bytes);
    }
    let receipt = scene.server.delete(&format!("/api/jobs/{id}")).await;
    assert_eq!(receipt.status, 200, "{}", receipt.body);
    assert_eq!(receipt.body["receipt"]["state"], "complete", "{}", receipt.body);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), names.len(), "files that were only read stay");
}

#[tokio::test(flavor = "multi_thread")]
async fn links_in_a_folder_do_not_lead_out_of_the_root() {
    let scene = Scene::with_slots(1).await;
    let inputs = scene.inputs("linked", 1);
    let secret = tempfile::tempdir().unwrap();
    std::fs::write(secret.path().join("secret"), "secret").unwrap();
    symlink(secret.path(), inputs.join("folder-link")).unwrap();
    symlink(secret.path().join("secret"), inputs.join("file-link")).unwrap();
    symlink(&inputs, inputs.join("loop")).unwrap();
    let answer =
        scene.server.post("/api/jobs", &files_job(json!({ "command": ["cat", "{file}"], "inputs": ["linked"] }))).await;
    if answer.status == 422 {
        assert_problem(&answer, 422, "INVALID_SPEC");
        return;
    }
    let id = id_of(&answer);
    let job = scene.until_over(&id).await;
    let units = scene.units(&id).await;
    assert_eq!(job["progress"]["total"], 1, "{units:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_swapped_for_a_link_after_the_submit_is_not_followed() {
    let scene = Scene::with_slots(1).await;
    let script = r#"case "$BELAY_FILE" in *00000.txt) touch SIGNS/first; until [ -e SIGNS/go ]; do sleep 0.01; done;; esac
        cat "$BELAY_FILE" > "$BELAY_OUT/copy""#;
    let id = scene.submit("swapped", 2, script, json!({ "parallel": 1 })).await;
    crate::marks::wait_for(crate::scene::LIMIT, || scene.sign("first").exists(), || "not begun".to_owned());
    let outside = tempfile::NamedTempFile::new().unwrap();
    let second = scene.root().join("swapped").join(format!("{}-00001.txt", scene.mark.text));
    std::fs::remove_file(&second).unwrap();
    symlink(outside.path(), &second).unwrap();
    std::fs::write(scene.sign("go"), "").unwrap();
    let job = scene.until_over(&id).await;
    assert_eq!(job["phase"], "partial", "{job:#}");
    assert_eq!(scene.results(&id).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_artifact_that_is_a_link_does_not_lead_out_of_the_job() {
    let scene = Scene::with_slots(1).await;
    let script = r#"ln -s /etc/passwd "$BELAY_OUT/link"; ln -s / "$BELAY_OUT/folder"; mkfifo "$BELAY_OUT/pipe"
        echo good > "$BELAY_OUT/good""#;
    let id = scene.submit("links", 1, script, json!({})).await;
    let job = scene.until_over(&id).await;
    assert_eq!(job["phase"], "completed", "{job:#}");
    let results = scene.results(&id).await;
    let names: Vec<&str> = results.iter().filter_map(|item| item["name"].as_str()).collect();
    assert_eq!(names, ["good"], "{results:#?}");
    let good = results[0]["path"].as_str().unwrap();
    for hostile in [
        good.replace("good", "link"),
        good.replace("good", "folder/etc/passwd"),
        good.replace("good", "pipe"),
        "../../../../../../etc/passwd".to_owned(),
        "..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd".to_owned(),
        "%2fetc%2fpasswd".to_owned(),
        "good%00".to_owned(),
        String::new(),
    ] {
        let reply = raw(&scene.server, "GET", &format!("/api/jobs/{id}/artifacts/{hostile}"), &[], b"", false);
        assert!(!reply.contains("root:"), "{hostile}: {reply}");
        if !hostile.is_empty() {
            assert!(reply.starts_with("HTTP/1.1 4"), "{hostile}: {reply}");
        }
    }
}

fn job_part(spec: Value) -> Part {
    Part::text(files_job(spec).to_string()).mime_str("application/json").unwrap()
}

fn file_part(name: &str, size: usize) -> Part {
    Part::bytes(vec![b'x'; size]).file_name(name.to_owned())
}

async fn small_upload_server() -> Server {
    Server::start_with("[files]\nallow_free_commands = true\nmax_upload_bytes = 100000\n").await
}

async fn upload(server: &Server, form: Form) -> Answer {
    server.send(server.request("POST", "/api/jobs").multipart(form)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_of_one_name_are_two_files() {
    let server = small_upload_server().await;
    let form = Form::new()
        .part("job", job_part(json!({ "command": ["cp", "{file}", "{out}"] })))
        .part("files", file_part("same.txt", 10))
        .part("files", file_part("same.txt", 20))
        .part("files", file_part("../../escape.txt", 30));
    let answer = upload(&server, form).await;
    if answer.status == 422 {
        assert_problem(&answer, 422, "INVALID_SPEC");
        return assert_nothing_stored(&server).await;
    }
    assert_eq!(answer.status, 201, "{}", answer.body);
    assert_eq!(answer.body["progress"]["total"], 3, "{}", answer.body);
    assert!(!server.data_dir().parent().unwrap().join("escape.txt").exists());
    assert_eq!(paths_with(server.data_dir(), "escape").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_larger_than_the_limit_is_refused_and_leaves_nothing() {
    let server = small_upload_server().await;
    let form =
        || Form::new().part("job", job_part(json!({ "command": ["true"] }))).part("files", file_part("big", 300_000));
    let answer = upload(&server, form()).await;
    assert_problem(&answer, 413, "BODY_TOO_LARGE");
    assert_nothing_stored(&server).await;

    // Without a length the limit is met on the way.
    let boundary = "cut";
    let mut body = multipart_head(boundary).into_bytes();
    body.resize(body.len() + 300_000, b'x');
    let stream = futures::stream::iter(
        body.chunks(10_000).map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec())).collect::<Vec<_>>(),
    );
    let request = server
        .request("POST", "/api/jobs")
        .header("content-type", format!("multipart/form-data; boundary={boundary}"))
        .body(reqwest::Body::wrap_stream(stream));
    let answer = server.send(request).await;
    assert_problem(&answer, 413, "BODY_TOO_LARGE");
    assert_nothing_stored(&server).await;
}

fn multipart_head(boundary: &str) -> String {
    format!(
        "--{boundary}\r\ncontent-disposition: form-data; name=\"job\"\r\ncontent-type: application/json\r\n\r\n{}\r\n\
         --{boundary}\r\ncontent-disposition: form-data; name=\"files\"; filename=\"a.bin\"\r\n\r\n",
        files_job(json!({ "command": ["true"] }))
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_cut_off_in_the_middle_leaves_nothing() {
    let server = small_upload_server().await;
    let mut body = multipart_head("cut").into_bytes();
    body.extend_from_slice(&[b'x'; 20_000]);
    let kind = ("content-type", "multipart/form-data; boundary=cut");
    // 20 kB of the announced 90 kB, then the line is closed.
    let _ = raw(&server, "POST", "/api/jobs", &[kind, ("content-length", "90000")], &body, true);
    // The server notices on its own time; a look at the list and at the folder says when.
    let uploads = server.data_dir().to_path_buf();
    crate::marks::wait_for(
        Duration::from_secs(10),
        || paths_with(&uploads, "a.bin").is_empty(),
        || format!("{:?}", paths_with(&uploads, "a.bin")),
    );
    // A body that ends properly but without the closing boundary is cut off too.
    let length = body.len().to_string();
    let reply = raw(&server, "POST", "/api/jobs", &[kind, ("content-length", &length)], &body, false);
    assert!(reply.starts_with("HTTP/1.1 400"), "{reply}");
    assert!(reply.contains("INVALID_BODY"), "{reply}");
    assert_nothing_stored(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_without_a_job_or_with_unknown_parts_is_refused() {
    let server = small_upload_server().await;
    let no_job = Form::new().part("files", file_part("a", 10));
    let strange =
        Form::new().part("job", job_part(json!({ "command": ["true"] }))).part("surprise", file_part("a", 10));
    let bad_job = Form::new().part("job", Part::text("{not json")).part("files", file_part("a", 10));
    let refused_spec = Form::new().part("job", job_part(json!({ "preset": "nope" }))).part("files", file_part("a", 10));
    for form in [no_job, strange, bad_job, refused_spec] {
        let answer = upload(&server, form).await;
        assert!(matches!(answer.status, 400 | 422), "{} {}", answer.status, answer.body);
        assert!(answer.body["detail"].is_string(), "{}", answer.body);
        assert_nothing_stored(&server).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn notes_of_501_characters_are_refused_and_500_are_taken_whatever_their_bytes() {
    let scene = Scene::with_slots(1).await;
    let id = scene.submit("notes", 1, "sleep NAP", json!({})).await;
    let path = format!("/api/jobs/{id}/cancel");
    for body in [
        json!({ "notes": "ü".repeat(501) }),
        json!({ "reason": "Not A Code!" }),
        json!({ "reason": "" }),
        json!({ "reason": "x".repeat(65) }),
    ] {
        let answer = scene.server.post(&path, &body).await;
        assert_problem(&answer, 422, "INVALID_CANCEL");
    }
    for body in [json!({ "colour": "blue" }), json!([1]), json!({ "force": "yes" })] {
        let answer = scene.server.post(&path, &body).await;
        assert!(matches!(answer.status, 400 | 422), "{} {}", answer.status, answer.body);
    }
    assert_ne!(scene.job(&id).await["phase"], "cancelling");
    let notes = "ü".repeat(500);
    let answer = scene.server.post(&path, &json!({ "notes": notes })).await;
    assert!(matches!(answer.status, 200 | 202), "{}", answer.body);
    assert_eq!(answer.body["notes"], notes);
    scene.until_over(&id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_not_what_it_should_be_is_refused() {
    let server = small_upload_server().await;
    let json_type = ("content-type", "application/json");
    for body in ["", "{", "nonsense", "[]", "\u{0}", "{\"name\":"] {
        let length = body.len().to_string();
        let reply =
            raw(&server, "POST", "/api/jobs", &[json_type, ("content-length", &length)], body.as_bytes(), false);
        assert!(reply.starts_with("HTTP/1.1 400") || reply.starts_with("HTTP/1.1 422"), "{body:?}: {reply}");
        assert!(reply.contains("\"INVALID_BODY\"") || reply.contains("\"INVALID_SPEC\""), "{body:?}: {reply}");
    }
    let unknown = json!({ "name": "x", "kind": "files", "spec": { "command": ["true"] }, "colour": "blue" });
    let answer = server.post("/api/jobs", &unknown).await;
    assert!(matches!(answer.status, 400 | 422), "{} {}", answer.status, answer.body);
    assert!(answer.body["detail"].as_str().unwrap().contains("colour"), "{}", answer.body);

    let reply =
        raw(&server, "POST", "/api/jobs", &[("content-type", "text/plain"), ("content-length", "2")], b"{}", false);
    assert!(reply.starts_with("HTTP/1.1 415"), "{reply}");

    // 1 GB is refused by its length, before it is sent.
    let reply = raw(&server, "POST", "/api/jobs", &[json_type, ("content-length", "1073741824")], b"{", false);
    assert!(reply.starts_with("HTTP/1.1 413"), "{reply}");
    assert!(reply.contains("BODY_TOO_LARGE"), "{reply}");

    // Deep nesting does not blow the stack.
    let deep = "[".repeat(200_000);
    let length = deep.len().to_string();
    let reply = raw(&server, "POST", "/api/jobs", &[json_type, ("content-length", &length)], deep.as_bytes(), false);
    assert!(reply.starts_with("HTTP/1.1 4"), "{reply}");
    assert_nothing_stored(&server).await;
    assert_eq!(server.get("/readyz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_cursors_and_queries_that_were_made_up_are_refused() {
    let scene = Scene::with_slots(1).await;
    let id = scene.submit("one", 1, "true", json!({})).await;
    scene.until_over(&id).await;
    for id in ["nope", "0199c2b2-0c9d-7e02-8f10-0123456789ab", "%00", "..", "%2e%2e", "' OR 1=1 --", "1"] {
        let id = id.replace(' ', "%20");
        for (method, path) in [
            ("GET", format!("/api/jobs/{id}x")),
            ("GET", format!("/api/jobs/{id}x/units")),
            ("GET", format!("/api/jobs/{id}x/log")),
            ("GET", format!("/api/jobs/{id}x/artifacts")),
            ("DELETE", format!("/api/jobs/{id}x")),
            ("POST", format!("/api/jobs/{id}x/cancel")),
            ("POST", format!("/api/jobs/{id}x/rerun")),
        ] {
            let answer = scene.server.send(scene.server.request(method, &path)).await;
            assert_problem(&answer, 404, "JOB_NOT_FOUND");
        }
    }
    let mut bad = vec![
        "/api/jobs?phase=running".to_owned(),
        "/api/jobs?limit=0".to_owned(),
        "/api/jobs?limit=201".to_owned(),
        "/api/jobs?limit=many".to_owned(),
        "/api/jobs?sort=size".to_owned(),
        "/api/jobs?q=ab".to_owned(),
        "/api/jobs?kind=pigeons".to_owned(),
        format!("/api/jobs/{id}/units?status=odd"),
    ];
    for cursor in ["made-up", "AAAA", "%00", "eyJhIjoxfQ==", "-1", "' OR 1=1 --".replace(' ', "%20").as_str()] {
        bad.push(format!("/api/jobs?cursor={cursor}"));
        bad.push(format!("/api/jobs/{id}/units?cursor={cursor}"));
        bad.push(format!("/api/jobs/{id}/artifacts?cursor={cursor}"));
        bad.push(format!("/api/removals?cursor={cursor}"));
        bad.push(format!("/api/audit?cursor={cursor}"));
    }
    for path in bad {
        let answer = scene.server.get(&path).await;
        assert_eq!(answer.status, 400, "{path}: {}", answer.body);
        assert_problem(&answer, 400, "INVALID_QUERY");
    }
    // A search is a text, not a pattern and not a query language.
    for q in ["100%25", "%22quoted", "a_b", "near(", "AND%20OR", "***", "%27%27%27"] {
        let answer = scene.server.get(&format!("/api/jobs?q={q}")).await;
        assert_eq!(answer.status, 200, "{q}: {}", answer.body);
        assert_eq!(answer.body["items"], json!([]), "{q}");
    }
    let answer = scene.server.get("/api/no-such-thing").await;
    assert_problem(&answer, 404, "NOT_FOUND");
    let answer = scene.server.send(scene.server.request("PATCH", &format!("/api/jobs/{id}"))).await;
    assert_problem(&answer, 405, "METHOD_NOT_ALLOWED");
    assert!(answer.header("allow").is_some_and(|allow| allow.contains("GET") && allow.contains("DELETE")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_folder_of_another_instance_a_taken_port_and_bad_configuration_are_said_in_one_line() {
    let server = Server::start_with("").await;
    let listen = server.address();
    let start = |arguments: &[&str]| {
        std::process::Command::new(env!("CARGO_BIN_EXE_belay"))
            .arg("serve")
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap()
    };
    let complaint = |output: &std::process::Output| {
        assert!(!output.status.success(), "{output:?}");
        assert!(output.status.code().is_some(), "ended by a signal: {output:?}");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!text.contains("panicked"), "{text}");
        text
    };
    let fresh = tempfile::tempdir().unwrap();
    let fresh_path = fresh.path().to_str().unwrap();

    let text = complaint(&start(&["--listen", "127.0.0.1:0", "--data-dir", server.data_dir().to_str().unwrap()]));
    assert!(text.contains("in use") || text.contains("another"), "{text}");
    assert!(text.contains(server.data_dir().to_str().unwrap()), "{text}");

    let text = complaint(&start(&["--listen", &listen, "--data-dir", fresh_path]));
    assert!(text.contains(&listen) && text.contains("in use"), "{text}");

    let text = complaint(&start(&["--listen", "nonsense", "--data-dir", fresh_path]));
    assert!(text.contains("nonsense"), "{text}");

    // Below a file, and below a file system that takes no folders, nobody can write; not even root.
    let file = tempfile::NamedTempFile::new().unwrap();
    for folder in [file.path().join("data"), "/proc/belay-data".into()] {
        let text = complaint(&start(&["--listen", "127.0.0.1:0", "--data-dir", folder.to_str().unwrap()]));
        assert!(text.contains(folder.to_str().unwrap()), "{text}");
    }

    for (config, word) in [
        ("[files]\nroot = []\n", "root"),
        ("[files\n", "belay.toml"),
        ("[worker]\nslots = 0\n", "slots"),
        ("[presets.empty]\ncommand = []\n", "empty"),
    ] {
        let path = fresh.path().join("belay.toml");
        std::fs::write(&path, config).unwrap();
        let arguments = ["--listen", "127.0.0.1:0", "--data-dir", fresh_path, "--config", path.to_str().unwrap()];
        let text = complaint(&start(&arguments));
        assert!(text.contains(word), "{config}: {text}");
    }
    assert_eq!(server.get("/readyz").await.status, 200, "the first instance is none the worse");
}

/// One request written by hand, and what came back. `hang_up`: closes the line after the body instead of reading.
fn raw(server: &Server, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8], hang_up: bool) -> String {
    let address = server.address();
    let mut stream = TcpStream::connect(&address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\nauthorization: Bearer {}\r\n",
        server.token()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(b"\r\n").unwrap();
    // The server may have answered and closed before it read all of it.
    let _ = stream.write_all(body);
    if hang_up {
        return String::new();
    }
    let mut reply = Vec::new();
    let _ = stream.read_to_end(&mut reply);
    String::from_utf8_lossy(&reply).into_owned()
}
