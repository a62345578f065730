//! What the provider has and no job knows.

use app::model::{AuditAction, AuditEvent, JobId, Kind, Phase, ProviderKind, Source, Timestamp};
use belay_server::store::{
    BatchRecord, BatchStep, CancelOrder, NewJobRecord, NewUnit, Store as _, sqlite::SqliteStore,
};
use reqwest::multipart::{Form, Part};
use serde_json::json;

use super::{Place, provider::Hold, requests};
use crate::{
    forms::led_to,
    harness::{Answer, Server},
};

#[tokio::test]
async fn an_orphan_is_listed_and_adopted_once() {
    let place = Place::new().await;
    let known = place.submit(1).await;
    place.server.wait_phase(&known, "completed").await;
    let orphan = place.way.make_orphan(&requests(2)).await;
    let list = place.server.get("/api/providers/openai/batches").await;
    assert_eq!(list.status, 200, "{}", list.text());
    let owner = |id: &str| {
        let items = list.body["items"].as_array().unwrap();
        items.iter().find(|item| item["batch_id"] == id).map(|item| item["owner"].as_str().unwrap().to_owned())
    };
    assert_eq!(owner(&orphan).as_deref(), Some("orphan"), "{}", list.body);
    assert_eq!(list.body["items"].as_array().unwrap().iter().filter(|item| item["owner"] == "job").count(), 1);
    let adopted = place.server.post(&format!("/api/providers/openai/batches/{orphan}/adopt"), &json!({})).await;
    assert_eq!(adopted.status, 201, "{}", adopted.text());
    let id = adopted.body["job_id"].as_str().unwrap();
    let job = place.server.wait_phase(id, "completed").await;
    assert_eq!((&job["batch"]["batch_id"], &job["batch"]["adopted"]), (&json!(orphan), &json!(true)), "{job}");
    assert_eq!(place.rows(id).await.len(), 2, "its requests were fetched, too");
    let again = place.server.post(&format!("/api/providers/openai/batches/{orphan}/adopt"), &json!({})).await;
    assert_eq!(again.problem(), (409, "BATCH_KNOWN".to_owned()));
}

#[tokio::test]
async fn an_orphan_is_cancelled_and_a_batch_of_a_job_is_not() {
    let place = Place::new().await;
    let orphan = place.way.make_orphan(&requests(1)).await;
    let cancelled = place.server.post(&format!("/api/providers/openai/batches/{orphan}/cancel"), &json!({})).await;
    assert_eq!(cancelled.status, 200, "{}", cancelled.text());
    assert!(matches!(cancelled.body["state"].as_str().unwrap(), "cancelling" | "cancelled"), "{}", cancelled.body);
    place.way.hold("GET", "/nothing", Hold::Request);
    let job = place.submit(1).await;
    let job = place.server.wait_for(&job, |job| job["batch"]["batch_id"].is_string()).await;
    let known = job["batch"]["batch_id"].as_str().unwrap();
    let refused = place.server.post(&format!("/api/providers/openai/batches/{known}/cancel"), &json!({})).await;
    assert_eq!(refused.problem(), (409, "BATCH_KNOWN".to_owned()));
    let unknown = place.server.post("/api/providers/openai/batches/batch-nope/cancel", &json!({})).await;
    assert_eq!(unknown.problem(), (404, "NOT_FOUND".to_owned()));
    let nowhere = place.server.get("/api/providers/nobody/batches").await;
    assert_eq!(nowhere.problem(), (404, "NOT_FOUND".to_owned()));
}

#[tokio::test]
async fn a_refresh_asks_the_provider_and_other_kinds_have_none_to_ask() {
    let place = Place::new().await;
    let id = place.submit(1).await;
    place.server.wait_phase(&id, "completed").await;
    let before = place.way.count("GET", "");
    let refreshed = place.server.post(&format!("/api/jobs/{id}/refresh"), &json!({})).await;
    assert_eq!((refreshed.status, &refreshed.body["phase"]), (200, &json!("completed")), "{}", refreshed.text());
    assert!(place.way.count("GET", "") > before);
    let files = place.server.submit_done("plain").await;
    let refused = place.server.post(&format!("/api/jobs/{files}/refresh"), &json!({})).await;
    assert_eq!(refused.status, 422, "{}", refused.text());
}

#[tokio::test]
async fn records_of_another_tool_become_jobs_once() {
    let place = Place::new().await;
    let (one, two) = (place.way.make_orphan(&requests(1)).await, place.way.make_orphan(&requests(1)).await);
    let records = json!({"batches": [
        {"batch_id": one, "display_name": "from elsewhere"}, {"id": two}, {"id": "batch_nope"}, {"note": "no batch"},
    ]});
    let first = place.server.post("/api/providers/openai/import", &records).await;
    assert_eq!(first.status, 200, "{}", first.text());
    let adopted = first.body["adopted"].as_array().unwrap();
    assert_eq!((adopted.len(), &first.body["known"]), (2, &json!(0)), "{}", first.body);
    assert!(first.body["refused"].to_string().contains("batch_nope"), "{}", first.body);
    let job = place.server.wait_phase(adopted[0].as_str().unwrap(), "completed").await;
    assert_eq!(job["name"], "from elsewhere");
    place.server.wait_phase(adopted[1].as_str().unwrap(), "completed").await;
    let again = place.server.post("/api/providers/openai/import", &records).await;
    assert_eq!((&again.body["adopted"], &again.body["known"]), (&json!([]), &json!(2)), "{}", again.body);
}

#[tokio::test]
async fn records_of_another_tool_are_imported_with_a_plain_form() {
    let place = Place::new().await;
    let server = &place.server;
    let cookie = server.sign_in().await;
    let (one, two) = (place.way.make_orphan(&requests(1)).await, place.way.make_orphan(&requests(1)).await);
    let send = async |provider: &str, origin: &str, files: &[(&str, String)]| -> Answer {
        let part = |text: &str, name: &str| Part::text(text.to_owned()).file_name(name.to_owned());
        let form = Form::new().text("provider", provider.to_owned());
        let form = files.iter().fold(form, |form, (name, text)| form.part("files", part(text, name)));
        let request = server.bare("POST", "/providers").header("cookie", &cookie).header("origin", origin);
        server.send(request.multipart(form)).await
    };
    let page = async |path: &str, cookie: &str| server.send(server.bare("GET", path).header("cookie", cookie)).await;
    let own = format!("http://{}", server.address());
    let adopted = async || server.get("/api/jobs").await.body["items"].as_array().unwrap().len();
    let asked = page("/providers", &cookie).await.text();
    assert!(asked.contains("action=\"/providers\"") && asked.contains("<option value=\"openai\""), "{asked}");

    // A folder of `{job_id}.json`: the id is in the record, or is the file's name.
    let folder = [
        ("a.json", json!({"batch_id": one, "display_name": "from elsewhere"}).to_string()),
        (&format!("{two}.json"), json!({"status": "in_progress"}).to_string()),
        ("broken.json", "{".to_owned()),
    ];
    let foreign = send("openai", "http://evil.example", &folder).await;
    assert_eq!((foreign.status, adopted().await), (403, 0), "{}", foreign.text());
    let first = send("openai", &own, &folder).await;
    let words = "2 adopted, 0 known already, 1 could not be taken.".to_owned();
    assert_eq!(led_to(&first), ("/providers?provider=openai".to_owned(), words));
    let shown = page("/providers?provider=openai", &format!("{cookie}; {}", first.cookies())).await.text();
    assert!(shown.contains("broken.json is no JSON"), "{shown}");
    assert_eq!(adopted().await, 2);
    let audit = server.get("/api/audit").await;
    let events = audit.body["items"].as_array().unwrap().iter();
    let mine = events.filter(|event| event["action"] == "adopt_batch" && event["source"] == "console");
    assert_eq!(mine.count(), 2, "{}", audit.body);

    // A tracking file, with one that is known by now.
    let tracking = json!({two.as_str(): {"status": "done"}, "batch_nope": {}}).to_string();
    let again = send("openai", &own, &[("tracking.json", tracking)]).await;
    assert_eq!(led_to(&again).1, "0 adopted, 1 known already, 1 could not be taken.");
    let nothing = send("openai", &own, &[("none.json", "[]".to_owned())]).await;
    assert_eq!(led_to(&nothing).1, "There is no record in what was sent.");

    // Refusals come on the page, and leave nothing behind.
    for (provider, files, status, words) in [
        ("openai", vec![], 422, "Choose the files to import."),
        ("", folder.to_vec(), 422, "Choose the provider that has the batches."),
        ("openai", vec![("a.txt", "[]".to_owned())], 422, "is no JSON file by its name"),
        ("nobody", folder.to_vec(), 404, "nobody"),
    ] {
        let refused = send(provider, &own, &files).await;
        assert_eq!(refused.status, status, "{}", refused.text());
        assert!(refused.text().contains(words) && refused.text().contains("Import Records"), "{}", refused.text());
    }
    assert_eq!(adopted().await, 2);
}

/// Adopts a batch and cancels the job before anybody has claimed it, in the database of a server that is down.
async fn adopted_and_cancelled(server: &Server, orphan: &str) -> JobId {
    let store = SqliteStore::open(&server.data_dir().join("belay.db")).await.unwrap();
    let job_id = JobId(0x0199_c2b2_0c9d_7e02_8f10_0000_0000_0001);
    let at = Timestamp(1_795_000_000_000);
    let event = |action| AuditEvent {
        at,
        actor: "mara".to_owned(),
        action,
        job_id: Some(job_id),
        job_name: None,
        source: Source::Api,
        address: None,
        request_id: "r".to_owned(),
        result: "ok".to_owned(),
        detail: None,
    };
    let batch = BatchRecord {
        adopted: true,
        step: BatchStep::Created,
        batch_id: Some(orphan.to_owned()),
        ..BatchRecord::new(job_id, "openai", ProviderKind::Openai)
    };
    let job = NewJobRecord {
        job_id,
        name: "adopted".to_owned(),
        kind: Kind::OpenaiBatch,
        spec: json!({"provider": "openai", "adopted": orphan}).to_string(),
        phases: vec![Phase::Validating, Phase::InProgress, Phase::Finalizing],
        parallel: 1,
        created_at: at,
        created_by: "mara".to_owned(),
        rerun_of: None,
        batch: Some(batch),
    };
    let unit = NewUnit { phase: Phase::Validating, name: "adopted".to_owned(), input: "".into() };
    store.submit(job, vec![unit], None, event(AuditAction::AdoptBatch)).await.unwrap();
    let order = CancelOrder {
        job_id,
        reason: "user_request".to_owned(),
        notes: None,
        force: false,
        actor: "mara".to_owned(),
        source: Source::Api,
        request_id: "r".to_owned(),
        now: at,
    };
    store.cancel(&order, event(AuditAction::Cancel)).await.unwrap();
    store.close().await;
    job_id
}

#[tokio::test]
async fn an_adopted_batch_whose_job_is_cancelled_before_it_begins_is_cancelled_at_the_provider() {
    let mut place = Place::new().await;
    let orphan = place.way.make_orphan(&requests(1)).await;
    place.server.terminate().await;
    let id = adopted_and_cancelled(&place.server, &orphan).await.to_string();
    place.server.restart().await;
    let job = place.server.wait_for(&id, |job| job["finished_at"].is_string()).await;
    assert_eq!((&job["phase"], &job["batch"]["raw_state"]), (&json!("cancelled"), &json!("cancelled")), "{job}");
    let stop = &job["cancellation"]["stop"];
    assert_eq!((&stop["never_started"], &stop["stopped"]), (&json!(0), &json!(1)), "{job}");
    assert_eq!(place.way.count("POST", "/cancel"), 1);
}

#[tokio::test]
async fn an_import_stops_asking_a_provider_that_does_not_answer() {
    let config = "[providers.openai]\nbase_url = \"http://127.0.0.1:9/v1\"\napi_key_file = \"key\"\n";
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key"), "sk-x").unwrap();
    std::fs::set_permissions(folder.path().join("key"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let key = folder.path().join("key");
    let server = Server::start_where(&config.replace("\"key\"", &format!("{key:?}"))).await;
    let records: Vec<_> = (0..20).map(|index| json!({"id": format!("batch_{index}")})).collect();
    let answer = server.post("/api/providers/openai/import", &json!(records)).await;
    assert_eq!((answer.status, &answer.body["adopted"]), (200, &json!([])), "{}", answer.text());
    let refused = answer.body["refused"].as_array().unwrap();
    let left = refused.iter().filter(|why| why.as_str().unwrap().contains("not asked for")).count();
    assert_eq!((refused.len(), left), (20, 17), "{}", answer.body);
}
