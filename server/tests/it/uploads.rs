//! Uploads whose size nobody has announced: the limit holds while they come, and whoever sends gets to read the refusal.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    process::Stdio,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{harness::Server, scene::paths_with};

/// Sixty times what the harness's server takes.
const CHUNKS: usize = 60;
const CHUNK: usize = 1 << 20;

fn multipart_head(boundary: &str) -> String {
    let job = json!({ "name": "endless", "kind": "files", "spec": { "command": ["true"] } });
    format!(
        "--{boundary}\r\ncontent-disposition: form-data; name=\"job\"\r\n\r\n{job}\r\n\
         --{boundary}\r\ncontent-disposition: form-data; name=\"files\"; filename=\"endless-upload.bin\"\r\n\r\n"
    )
}

/// Writes everything before it reads a byte, as simple clients do. Answers what came back.
fn send_all_then_read(address: &str, token: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\ntransfer-encoding: chunked\r\n\
         content-type: multipart/form-data; boundary=xxyyzz\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut chunk = |bytes: &[u8]| -> std::io::Result<()> {
        stream.write_all(format!("{:x}\r\n", bytes.len()).as_bytes())?;
        stream.write_all(bytes)?;
        stream.write_all(b"\r\n")
    };
    chunk(multipart_head("xxyyzz").as_bytes()).unwrap();
    let block = vec![b'x'; CHUNK];
    for sent in 0..CHUNKS {
        if let Err(error) = chunk(&block) {
            panic!("the connection broke after {sent} MiB, before the answer could be read: {error}");
        }
    }
    chunk(b"\r\n--xxyyzz--\r\n").unwrap();
    stream.write_all(b"0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the connection was reset before the answer was read");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_without_a_length_that_grows_too_large_is_refused_and_its_sender_reads_why() {
    let server = Server::start().await;
    let (address, token) = (server.address(), server.token().to_owned());
    let answer = tokio::task::spawn_blocking(move || send_all_then_read(&address, &token, "/api/jobs")).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("BODY_TOO_LARGE") && answer.contains("max_upload_bytes"), "{answer}");
    assert_eq!(paths_with(server.data_dir(), "endless-upload"), Vec::<std::path::PathBuf>::new());
    assert_eq!(server.get("/api/jobs").await.body["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_for_another_reason_reads_it_too() {
    let server = Server::start().await;
    for (token, path, status) in [("not-a-token", "/api/jobs", 401), (server.token(), "/api/nothing", 404)] {
        let (address, token) = (server.address(), token.to_owned());
        let answer = tokio::task::spawn_blocking(move || send_all_then_read(&address, &token, path)).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_reads_the_refusal_of_an_upload_from_a_pipe() {
    let server = Server::start().await;
    let mut curl = std::process::Command::new("curl");
    curl.args(["-sS", "--max-time", "40", "-H", &format!("authorization: Bearer {}", server.token())])
        .args(["-F", r#"job={"name":"piped","kind":"files","spec":{"command":["true"]}}"#])
        .args(["-F", "files=@-;filename=endless-upload.bin"])
        .arg(format!("http://{}/api/jobs", server.address()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // Not on every machine; the claim above is the same over a bare socket.
    let Ok(mut child) = curl.spawn() else { return };
    let mut pipe = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || {
        let block = vec![b'x'; CHUNK];
        // Ends early when curl has heard enough.
        for _ in 0..CHUNKS {
            if pipe.write_all(&block).is_err() {
                return;
            }
        }
    });
    let output = tokio::task::spawn_blocking(move || child.wait_with_output()).await.unwrap().unwrap();
    writer.join().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let body: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no answer: {said}"));
    assert_eq!((&body["error"], &body["status"]), (&json!("BODY_TOO_LARGE"), &json!(413)), "{said}");
}
