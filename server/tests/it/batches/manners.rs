//! Services of OpenAI's shape that are otherwise than its documents: a batch goes through its whole life on each of them.

use axum::http::Method;
use serde_json::{Value, json};

use super::requests;
use crate::{
    doubles::{
        Life, OnCancel,
        faults::Fault,
        openai::{KEY, Manners, Openai},
    },
    harness::Server,
};

struct Place {
    server: Server,
    openai: Openai,
}

impl Place {
    async fn new(manners: Manners) -> Place {
        let openai = Openai::start().await;
        openai.behave(manners);
        let key = tempfile::tempdir().unwrap().keep().join("key");
        std::fs::write(&key, KEY).unwrap();
        std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        // With a slash at its end, as people write it.
        let config = format!(
            "[providers.strange]\nbase_url = \"{}/\"\napi_key_file = {key:?}\nlost_create_s = 20\n",
            openai.base_url()
        );
        Place { server: Server::start_where(&config).await, openai }
    }

    async fn submit(&self, count: usize) -> String {
        std::fs::write(self.server.root().join("requests.jsonl"), requests(count)).unwrap();
        let spec = json!({"provider": "strange", "input": "requests.jsonl"});
        let body = json!({"name": "strange", "kind": "openai_batch", "spec": spec});
        let answer = self.server.post("/api/jobs", &body).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.body["job_id"].as_str().unwrap().to_owned()
    }

    async fn over(&self, id: &str) -> Value {
        self.server.wait_for(id, |job| job["finished_at"].is_string()).await
    }
}

fn all_manners() -> [Manners; 6] {
    let plain = Manners::default();
    [
        plain,
        Manners { leaves_out: true, ..plain },
        Manners { claims_more: true, oldest_first: true, ..plain },
        Manners { repeats_cursor: true, ..plain },
        Manners { forgets_metadata: true, ..plain },
        Manners { bodies_as_text: true, ..plain },
    ]
}

#[tokio::test]
async fn a_batch_whose_creation_was_not_answered_is_made_once_on_every_service() {
    for manners in all_manners() {
        let place = Place::new(manners).await;
        place.openai.faults.script(Method::POST, "/v1/batches", 1, Fault::DoneButLost);
        let id = place.submit(3).await;
        let job = place.over(&id).await;
        assert_eq!(
            (&job["phase"], &job["progress"]["succeeded"]),
            (&json!("completed"), &json!(3)),
            "{manners:?}: {job}"
        );
        assert_eq!(place.openai.batches().len(), 1, "{manners:?}");
        let gone = place.server.remove(&id, "").await;
        assert_eq!(gone.body["receipt"]["state"], "complete", "{manners:?}: {}", gone.body);
        assert_eq!(place.openai.files(), Vec::<String>::new(), "{manners:?}");
    }
}

#[tokio::test]
async fn a_cancel_that_meets_a_finished_batch_asks_once_and_keeps_its_results() {
    let place = Place::new(Manners::default()).await;
    place.openai.live(Life::Hold);
    let id = place.submit(2).await;
    let job = place.server.wait_for(&id, |job| job["batch"]["batch_id"].is_string()).await;
    let batch = job["batch"]["batch_id"].as_str().unwrap().to_owned();
    // It finishes between our last look and the cancel, which is refused (409) then.
    place.openai.put(&batch, "completed", 2);
    place.server.cancel(&id, json!({})).await;
    let job = place.over(&id).await;
    assert_eq!((&job["phase"], &job["batch"]["results"]["succeeded"]), (&json!("completed"), &json!(2)), "{job}");
    assert!(place.openai.faults.count(&Method::POST, "/cancel") <= 1, "a refusal is not repeated");
}

#[tokio::test]
async fn a_cancel_that_is_not_found_or_answered_by_a_proxy_is_no_cancel() {
    let page = "<html>Default backend</html>".to_owned();
    for (status, body) in [(404, "{}".to_owned()), (404, page.clone()), (200, page), (409, "{}".to_owned())] {
        let place = Place::new(Manners::default()).await;
        place.openai.live(Life::Hold);
        place.openai.on_cancel(OnCancel::Cancels);
        let id = place.submit(2).await;
        place.server.wait_for(&id, |job| job["batch"]["batch_id"].is_string()).await;
        place.openai.faults.script(Method::POST, "/cancel", 99, Fault::Answer(status, Vec::new(), body));
        let asked = place.server.cancel(&id, json!({})).await;
        assert_eq!((asked.status, &asked.body["phase"]), (202, &json!("cancelling")), "{status}: {}", asked.text());
        let job = place.server.job(&id).await;
        assert_eq!((&job["phase"], &job["batch"]["cancel_sent_at"]), (&json!("cancelling"), &Value::Null), "{job}");
        let batch = job["batch"]["batch_id"].as_str().unwrap();
        place.openai.put(batch, "cancelled", 1);
        let job = place.over(&id).await;
        assert_eq!((&job["phase"], &job["batch"]["results"]["succeeded"]), (&json!("cancelled"), &json!(1)), "{job}");
    }
}

#[tokio::test]
async fn a_refused_upload_fails_the_job_with_the_services_words_and_sends_nothing_more() {
    let place = Place::new(Manners::default()).await;
    let body = r#"{"error":{"message":"File is too large for you.","type":"invalid_request_error"}}"#.to_owned();
    place.openai.faults.script(Method::POST, "/v1/files", 9, Fault::Answer(413, Vec::new(), body));
    let id = place.submit(1).await;
    let job = place.over(&id).await;
    assert_eq!(job["phase"], "failed", "{job}");
    let units = place.server.get(&format!("/api/jobs/{id}/units")).await;
    assert!(units.text().contains("File is too large for you."), "{}", units.text());
    assert_eq!(place.openai.faults.count(&Method::POST, ""), 1);
}

#[tokio::test]
async fn a_service_that_wants_a_long_rest_gets_it_until_somebody_asks_now() {
    let place = Place::new(Manners::default()).await;
    let rest = Fault::Answer(429, vec![("retry-after", "600".to_owned())], String::new());
    place.openai.faults.script(Method::GET, "/v1/batches/batch_", 1, rest);
    let id = place.submit(1).await;
    let at = |job: &Value, field: &str| {
        let text = job["batch"][field].as_str()?;
        Some(humantime::parse_rfc3339_weak(text).unwrap())
    };
    let rests = |job: &Value| {
        let times = at(job, "asked_at").zip(at(job, "next_ask_at"));
        times.is_some_and(|(asked, next)| next.duration_since(asked).is_ok_and(|rest| rest.as_secs() > 500))
    };
    let job = place.server.wait_for(&id, rests).await;
    assert!(job["batch"]["last_error"].as_str().unwrap().contains("slow down"), "{job}");
    let refreshed = place.server.post(&format!("/api/jobs/{id}/refresh"), &json!({})).await;
    assert_eq!(refreshed.status, 200, "{}", refreshed.text());
    let job = place.over(&id).await;
    assert_eq!(job["phase"], "completed", "{job}");
}
