//! Kind `gemini_batch`, against the double that Google's own client is content with.

use axum::http::Method;
use serde_json::{Value, json};

use crate::{
    doubles::{
        Life, OnCancel,
        faults::Fault,
        gemini::{Gemini, KEY},
    },
    harness::Server,
};

struct Place {
    server: Server,
    gemini: Gemini,
}

impl Place {
    async fn new() -> Place {
        let gemini = Gemini::start().await;
        let folder = tempfile::tempdir().unwrap().keep();
        let key = folder.join("key");
        std::fs::write(&key, KEY).unwrap();
        std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let config = format!("[providers.gemini]\nbase_url = \"{}\"\napi_key_file = {key:?}\n", gemini.base_url());
        Place { server: Server::start_where(&config).await, gemini }
    }

    async fn submit(&self, count: usize) -> String {
        let line = |index: usize| {
            let request = json!({"contents": [{"role": "user", "parts": [{"text": format!("Say {index}")}]}]});
            format!("{}\n", json!({"key": format!("r-{index}"), "request": request}))
        };
        std::fs::write(self.server.root().join("g.jsonl"), (0..count).map(line).collect::<String>()).unwrap();
        let spec = json!({"provider": "gemini", "input": "g.jsonl", "model": "gemini-2.5-flash"});
        let answer = self.server.post("/api/jobs", &json!({"name": "g", "kind": "gemini_batch", "spec": spec})).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.body["job_id"].as_str().unwrap().to_owned()
    }

    async fn over(&self, id: &str) -> Value {
        self.server.wait_for(id, |job| job["finished_at"].is_string()).await
    }
}

#[tokio::test]
async fn a_batch_is_followed_collected_and_removed_with_all_that_is_there() {
    let place = Place::new().await;
    let id = place.submit(3).await;
    let job = place.over(&id).await;
    assert_eq!((&job["phase"], &job["progress"]["succeeded"]), (&json!("completed"), &json!(3)), "{job}");
    assert_eq!(job["batch"]["raw_state"], "BATCH_STATE_SUCCEEDED", "{job}");
    assert!(job["batch"]["usage"]["output_tokens"].as_u64() > Some(0), "summed up over the results: {job}");
    assert!(job["batch"]["cost"]["dollars"].as_f64() > Some(0.0), "{job}");
    let gone = place.server.remove(&id, "").await;
    let receipt = &gone.body["receipt"];
    assert_eq!((&receipt["state"], &receipt["left"]), (&json!("complete"), &json!([])), "{receipt}");
    let of = |category: &str| {
        let items = receipt["items"].as_array().unwrap();
        items.iter().find(|item| item["category"] == category).map(|item| item["removed"].as_u64().unwrap())
    };
    assert_eq!(of("provider_batch"), Some(1), "{receipt}");
    assert!(of("provider_files") >= Some(1), "{receipt}");
    assert!(place.gemini.batches().is_empty() && place.gemini.files().is_empty(), "{:?}", place.gemini.files());
}

#[tokio::test]
async fn a_cancelled_batch_keeps_what_was_done_and_only_the_rest_is_run_again() {
    let place = Place::new().await;
    place.gemini.live(Life::Hold);
    let id = place.submit(4).await;
    let job = place.server.wait_for(&id, |job| job["batch"]["batch_id"].is_string()).await;
    place.gemini.put(job["batch"]["batch_id"].as_str().unwrap(), "RUNNING", 1);
    place.server.wait_phase(&id, "in_progress").await;
    place.server.cancel(&id, json!({})).await;
    let job = place.over(&id).await;
    assert_eq!((&job["phase"], &job["batch"]["cancel_result"]), (&json!("cancelled"), &json!("cancelled")), "{job}");
    let results = &job["batch"]["results"];
    assert_eq!((&results["succeeded"], &results["cancelled"]), (&json!(2), &json!(2)), "{job}");
    assert!(job["batch"]["saved"]["high"].as_f64() > Some(0.0), "{job}");
    place.gemini.live(Life::Looks);
    let rerun = place.server.post(&format!("/api/jobs/{id}/rerun"), &json!({"units": "unfinished"})).await;
    assert_eq!(rerun.status, 201, "{}", rerun.text());
    let again = place.over(rerun.body["job_id"].as_str().unwrap()).await;
    assert_eq!((&again["phase"], &again["progress"]["total"]), (&json!("completed"), &json!(2)), "{again}");
}

#[tokio::test]
async fn a_batch_that_takes_the_cancel_and_finishes_anyway_says_so() {
    let place = Place::new().await;
    place.gemini.live(Life::Hold);
    place.gemini.on_cancel(OnCancel::FinishesAnyway);
    let id = place.submit(2).await;
    place.server.wait_for(&id, |job| job["batch"]["batch_id"].is_string()).await;
    place.server.cancel(&id, json!({})).await;
    let job = place.over(&id).await;
    assert_eq!(
        (&job["phase"], &job["batch"]["cancel_result"]),
        (&json!("completed"), &json!("finished_anyway")),
        "{job}"
    );
    assert!(job["detail"].as_str().unwrap().contains("finished anyway"), "{job}");
    assert_eq!(job["batch"]["results"]["succeeded"], 2);
}

#[tokio::test]
async fn a_batch_that_does_not_stop_keeps_its_job_cancelling_and_is_not_deleted() {
    let place = Place::new().await;
    place.gemini.live(Life::Hold);
    place.gemini.on_cancel(OnCancel::Hangs);
    let id = place.submit(1).await;
    place.server.wait_for(&id, |job| job["batch"]["batch_id"].is_string()).await;
    place.server.cancel(&id, json!({})).await;
    let job = place.server.wait_for(&id, |job| job["batch"]["cancel_sent_at"].is_string()).await;
    assert_eq!(job["phase"], "cancelling", "{job}");
    place.server.cancel(&id, json!({"force": true})).await;
    let job = place.server.wait_phase(&id, "cancelled").await;
    assert_eq!(job["cancellation"]["stop"]["unconfirmed"], 1, "{job}");
    let gone = place.server.remove(&id, "").await;
    assert!(matches!(gone.status, 200 | 202), "{}", gone.text());
    let receipt = async {
        loop {
            let receipt = place.server.get(&format!("/api/removals/{id}")).await;
            if receipt.status == 200 && receipt.body["state"] != "running" {
                return receipt.body;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    let receipt = tokio::time::timeout(crate::harness::LONG * 2, receipt).await.expect("a receipt");
    assert_eq!(receipt["state"], "incomplete", "{receipt}");
    let batch = place.gemini.batches().remove(0);
    assert!(receipt.to_string().contains(&batch), "{receipt}");
    // It stops at last: what is left is removed on a second try, though the job is gone.
    place.gemini.put(&batch, "CANCELLED", 0);
    let retried = place.server.post(&format!("/api/removals/{id}/retry"), &json!({})).await;
    assert_eq!((&retried.body["state"], &retried.body["left"]), (&json!("complete"), &json!([])), "{}", retried.body);
    assert!(place.gemini.batches().is_empty() && place.gemini.files().is_empty());
}

#[tokio::test]
async fn a_batch_that_finishes_in_part_although_it_was_cancelled_ends_partial() {
    let place = Place::new().await;
    place.gemini.live(Life::Hold);
    place.gemini.on_cancel(OnCancel::Hangs);
    let id = place.submit(2).await;
    let job = place.server.wait_for(&id, |job| job["batch"]["batch_id"].is_string()).await;
    place.server.cancel(&id, json!({})).await;
    place.server.wait_for(&id, |job| job["batch"]["cancel_sent_at"].is_string()).await;
    place.gemini.put(job["batch"]["batch_id"].as_str().unwrap(), "SUCCEEDED", 1);
    let job = place.over(&id).await;
    assert_eq!(
        (&job["phase"], &job["batch"]["cancel_result"]),
        (&json!("partial"), &json!("finished_anyway")),
        "{job}"
    );
    assert_eq!(job["cancellation"]["cancelled_at"], Value::Null, "{job}");
    assert!(job["detail"].as_str().unwrap().contains("finished anyway"), "{job}");
}

#[tokio::test]
async fn results_that_come_late_or_as_a_page_of_a_proxy_are_fetched_again() {
    let html = (200, "<html>Please sign in</html>".to_owned());
    for (status, body) in [(404, String::new()), html] {
        let place = Place::new().await;
        place.gemini.faults.script(Method::GET, ":download", 2, Fault::Answer(status, Vec::new(), body));
        let id = place.submit(2).await;
        let job = place.over(&id).await;
        assert_eq!((&job["phase"], &job["progress"]["succeeded"]), (&json!("completed"), &json!(2)), "{status}: {job}");
    }
}

/// Deletes a batch behind the server's back.
async fn delete_there(place: &Place, batch: &Value) {
    let url = format!("{}/v1beta/{}", place.gemini.base_url(), batch.as_str().unwrap());
    let client = batches::client_builder("http://").build().unwrap();
    assert!(client.delete(url).header("x-goog-api-key", KEY).send().await.unwrap().status().is_success());
}

#[tokio::test]
async fn a_batch_that_is_gone_there_is_told_as_gone_and_never_as_cancelled() {
    let place = Place::new().await;
    let over = place.submit(1).await;
    let job = place.over(&over).await;
    delete_there(&place, &job["batch"]["batch_id"]).await;
    let job = place.server.post(&format!("/api/jobs/{over}/refresh"), &json!({})).await.body;
    assert_eq!((&job["phase"], &job["batch"]["gone"]), (&json!("completed"), &json!(true)), "{job}");

    place.gemini.live(Life::Hold);
    let live = place.submit(1).await;
    let job = place.server.wait_for(&live, |job| job["batch"]["batch_id"].is_string()).await;
    delete_there(&place, &job["batch"]["batch_id"]).await;
    place.server.wait_for(&live, |job| job["batch"]["gone"] == true).await;
    place.server.cancel(&live, json!({})).await;
    let not_known = |job: &Value| job["waiting"].to_string().contains("not known");
    let job = place.server.wait_for(&live, not_known).await;
    assert_eq!(job["phase"], "cancelling", "whether it runs is not known: {job}");
}
