//! The command line for batches.

use serde_json::json;

use super::{Place, provider::Hold, requests};

#[tokio::test]
async fn a_batch_is_submitted_shown_collected_and_asked_for_again() {
    let place = Place::new().await;
    let server = &place.server;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("requests.jsonl");
    std::fs::write(&file, requests(2)).unwrap();
    let file = file.to_str().unwrap();
    let args = ["job", "submit", "--kind", "openai_batch", "--provider", "openai", "--upload", file, "--wait"];
    let ran = server.belay(&args).await;
    let out = ran.done();
    let id = out.lines().next().unwrap().trim().to_owned();
    assert_eq!(server.job(&id).await["phase"], "completed");
    let status = server.belay(&["job", "status", &id]).await.done();
    for line in
        ["provider\topenai", "provider_says\tcompleted", "model\tgpt-4o-mini", "requests\t2 of 2 done, 0 failed"]
    {
        assert!(status.contains(line), "{line}: {status}");
    }
    let refreshed = server.belay(&["job", "refresh", &id]).await.done();
    assert_eq!(refreshed, format!("{id}\tcompleted\tcompleted\t\n"));
    let to = folder.path().join("out");
    server.belay(&["job", "collect", &id, "--to", to.to_str().unwrap()]).await.done();
    let mut found = Vec::new();
    let mut folders = vec![to];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            if entry.path().is_dir() { folders.push(entry.path()) } else { found.push(entry.file_name()) }
        }
    }
    assert!(found.iter().any(|name| name == "results.jsonl"), "{found:?}");
}

#[tokio::test]
async fn a_cancel_waits_for_the_provider_and_a_refresh_of_another_kind_is_refused() {
    let place = Place::new().await;
    place.way.hold("GET", "", Hold::Request);
    let id = place.submit(1).await;
    place.way.until("GET", "").await;
    let asked = place.server.belay(&["job", "cancel", "--force", &id]).await;
    assert!(asked.out.contains("cancelling"), "{asked:?}");
    let status = place.server.belay(&["job", "status", &id]).await.done();
    assert!(status.contains("phase\tcancelling"), "{status}");
    place.way.free();
    place.way.drop_held();
    place.server.wait_phase(&id, "cancelled").await;
    let files = place.server.submit_done("plain").await;
    let refused = place.server.belay(&["job", "refresh", &files]).await;
    assert_eq!(refused.code, 2, "{refused:?}");
    let unknown = place.server.belay(&["job", "refresh", "nope"]).await;
    assert_eq!(unknown.code, 3, "{unknown:?}");
    assert_eq!(json!(place.way.count("DELETE", "")), json!(0));
}
