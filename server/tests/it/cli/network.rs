//! A server that is away, comes back, is busy, or is none.

use std::{
    net::SocketAddr,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{Json, Router, http::StatusCode, response::IntoResponse as _, routing::get};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::{belay, belay_of, run};
use crate::harness::{LONG, Server};

/// Something that answers HTTP as it is told to.
async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

#[tokio::test]
async fn a_server_that_is_away_is_told_with_the_next_step() {
    let mut server = Server::start().await;
    server.kill9();
    let ran = server.belay(&["job", "list"]).await;
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(ran.err.contains("cannot be reached") && ran.err.contains("belay serve"), "{}", ran.err);
    assert!(ran.err.contains("Trying again"), "{}", ran.err);
    let ran = run(belay(), &["job", "list", "--server", "127.0.0.1:1"], "").await;
    assert!(ran.code == 5 && ran.err.contains("--server"), "{ran:?}");
    let ran = run(belay(), &["job", "list", "--server", "ftp://x"], "").await;
    assert_eq!(ran.code, 2, "{ran:?}");
}

#[tokio::test]
async fn what_is_no_belay_is_called_so() {
    let page = async || "<html>It works!</html>";
    let address = serve(Router::new().route("/api/jobs", get(page))).await;
    let ran = run(belay(), &["job", "list", "--server", &address], "").await;
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(ran.err.contains("no Belay of this version"), "{}", ran.err);
    let ran = run(belay(), &["token", "list", "--server", &address], "").await;
    assert!(ran.code == 5 && ran.err.contains("404"), "{ran:?}");
}

#[tokio::test]
async fn a_busy_server_is_asked_again() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let answer = async move || {
        let (status, body) = if count.fetch_add(1, Ordering::SeqCst) < 2 {
            let problem = json!({"title": "Database busy", "status": 503, "detail": "Busy.", "error": "STORE_BUSY", "request_id": "r"});
            (StatusCode::SERVICE_UNAVAILABLE, problem)
        } else {
            (StatusCode::OK, json!({"items": [], "next_cursor": null, "counts": []}))
        };
        (status, Json(body)).into_response()
    };
    let address = serve(Router::new().route("/api/jobs", get(answer))).await;
    let ran = run(belay(), &["job", "list", "--server", &address], "").await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.err.contains("Busy. Trying again.") && ran.err.contains("answers again"), "{}", ran.err);
    assert_eq!(asked.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn what_a_removal_left_is_named_and_is_exit_1() {
    const ID: &str = "0199c2b2-0c9d-7e02-8f10-0123456789ab";
    let permit = json!({"ok": true});
    let job = json!({"job_id": ID, "name": "Album", "kind": "files", "phase": "completed",
        "created_at": "2026-11-20T14:02:11.052Z", "created_by": "mara",
        "progress": {"total": 1, "succeeded": 1, "failed": 0, "cancelled": 0, "running": 0},
        "allowed": {"cancel": permit, "force_cancel": permit, "delete": permit, "force_delete": permit, "rerun": permit}});
    let receipt = json!({"job_id": ID, "name": "Album", "kind": "files", "last_phase": "completed",
        "created_at": "2026-11-20T14:02:11.052Z", "created_by": "mara", "requested_at": "2026-11-20T15:02:11.052Z",
        "requested_by": "mara", "source": "api", "request_id": "r", "forced": false, "state": "incomplete",
        "deleted_at": "2026-11-20T15:02:12.052Z", "items": [], "kept_in": null, "retries": 0,
        "left": [{"what": "files", "category": "results", "items": 3, "bytes": 4000, "error": "Operation not permitted"}]});
    let plan = json!({"job_id": ID, "phase": "completed", "items": [], "files": 3, "bytes": 4000, "needs_force": false, "keep_files": false});
    let gone = json!({"job_id": ID, "status": "deleted", "deleted_at": null, "receipt": receipt, "message": "m"});
    let remove = async move |uri: axum::http::Uri| {
        let dry = uri.query().is_some_and(|query| query.contains("dry_run=true"));
        Json(if dry { plan } else { gone })
    };
    let path = format!("/api/jobs/{ID}");
    let address = serve(Router::new().route(&path, get(async || Json(job)).delete(remove))).await;
    let ran = run(belay(), &["job", "remove", ID, "--server", &address], "").await;
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.out.contains("removed in part") && ran.out.contains("Removed in part: 1"), "{}", ran.out);
    assert!(ran.err.contains("left: 3 files of results, 4.00 kB: Operation not permitted"), "{}", ran.err);
}

#[tokio::test]
async fn watching_survives_a_server_that_is_killed_and_comes_back_elsewhere() {
    let mut server = Server::start().await;
    let id = server.submit_endless("endless", 1).await;
    let mut command = belay_of(&server);
    let mut child = command.args(["job", "watch", &id]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut err = BufReader::new(child.stderr.take().unwrap()).lines();
    assert_eq!(out.next_line().await.unwrap().unwrap(), format!("{id}\tin_progress\t0\t1"));
    server.kill9();
    let said = tokio::time::timeout(LONG, err.next_line()).await.unwrap().unwrap().unwrap();
    assert!(said.contains("Trying again"), "{said}");
    server.restart().await;
    let said = tokio::time::timeout(LONG, err.next_line()).await.unwrap().unwrap().unwrap();
    assert!(said.contains("answers again"), "{said}");
    server.wait_for(&id, |job| job["progress"]["running"] == 1).await;
    server.cancel(&id, json!({})).await;
    let status = tokio::time::timeout(LONG, child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(1));
    let mut last = String::new();
    while let Some(line) = out.next_line().await.unwrap() {
        last = line;
    }
    assert_eq!(last, format!("{id}\tcancelled\t1\t1"));
}
