//! What the provider has and no job knows.

use serde_json::json;

use super::{Place, provider::Hold, requests};

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
