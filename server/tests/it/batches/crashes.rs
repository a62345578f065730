//! `kill -9` of the server at each step: no second batch is made, nothing is forgotten.

use serde_json::json;

use super::{Place, provider::Hold};

/// Kills the server while a request like this is held, starts it again, and waits for the end of the job.
async fn killed_at(method: &'static str, path_end: &'static str, hold: Hold) -> (Place, serde_json::Value) {
    let mut place = Place::new().await;
    place.way.hold(method, path_end, hold);
    let id = place.submit(2).await;
    place.way.until(method, path_end).await;
    place.server.kill9();
    place.way.free();
    place.server.restart().await;
    let job = place.server.wait_for(&id, |job| job["finished_at"].is_string()).await;
    (place, job)
}

#[tokio::test]
async fn killed_while_uploading_the_file_is_not_left_twice() {
    for hold in [Hold::Request, Hold::Answer] {
        let (place, job) = killed_at("POST", "/v1/files", hold).await;
        assert_eq!(job["phase"], "completed", "{job}");
        assert_eq!(place.way.batches().await.len(), 1);
        let uploads = if hold == Hold::Request { 2 } else { 1 };
        assert_eq!(place.way.count("POST", "/v1/files"), uploads, "{hold:?}: {:?}", place.way.seen());
    }
}

#[tokio::test]
async fn killed_after_a_create_without_an_answer_the_batch_is_found_again() {
    let (place, job) = killed_at("POST", "/v1/batches", Hold::Answer).await;
    assert_eq!(job["phase"], "completed", "{job}");
    assert_eq!(place.way.count("POST", "/v1/batches"), 1, "{:?}", place.way.seen());
    assert_eq!(place.way.batches().await.len(), 1);
}

#[tokio::test]
async fn killed_before_a_create_reached_the_provider_it_is_made_once() {
    let (place, job) = killed_at("POST", "/v1/batches", Hold::Request).await;
    assert_eq!(job["phase"], "completed", "{job}");
    assert_eq!(place.way.batches().await.len(), 1);
}

#[tokio::test]
async fn killed_while_following_the_same_batch_is_followed_on() {
    let mut place = Place::new().await;
    place.way.hold("GET", "", Hold::Request);
    let id = place.submit(2).await;
    place.way.until("GET", "").await;
    // More often than a lost run of another kind could be.
    for _ in 0..4 {
        place.server.kill9();
        place.server.restart().await;
        place.server.wait_for(&id, |job| job["phase"] == "validating" || job["phase"] == "in_progress").await;
    }
    place.server.terminate().await;
    place.way.free();
    place.server.restart().await;
    let job = place.server.wait_for(&id, |job| job["finished_at"].is_string()).await;
    assert_eq!(job["phase"], "completed", "{job}");
    assert_eq!(place.way.count("POST", "/v1/batches"), 1);
    assert_eq!(place.way.count("POST", "/cancel"), 0, "a stop of the server stops no batch");
}

#[tokio::test]
async fn killed_while_cancelling_the_cancel_goes_on() {
    for hold in [Hold::Request, Hold::Answer] {
        let mut place = Place::new().await;
        place.way.hold("GET", "", Hold::Request);
        let id = place.submit(2).await;
        place.way.until("GET", "").await;
        place.way.hold("POST", "/cancel", hold);
        place.server.cancel(&id, json!({"notes": "wrong prompt"})).await;
        place.way.until("POST", "/cancel").await;
        place.server.kill9();
        place.way.free();
        place.server.restart().await;
        let job = place.server.wait_for(&id, |job| job["finished_at"].is_string()).await;
        assert_eq!((&job["phase"], &job["batch"]["raw_state"]), (&json!("cancelled"), &json!("cancelled")), "{job}");
        assert_eq!(job["cancellation"]["notes"], "wrong prompt");
        assert_eq!(job["cancellation"]["stop"]["unconfirmed"], 0);
    }
}

#[tokio::test]
async fn killed_while_collecting_the_results_are_collected() {
    let (place, job) = killed_at("GET", "/content", Hold::Request).await;
    assert_eq!(job["phase"], "completed", "{job}");
    assert_eq!(job["batch"]["results"]["succeeded"], 2);
    assert_eq!(place.rows(job["job_id"].as_str().unwrap()).await.len(), 2);
}

#[tokio::test]
async fn killed_while_deleting_the_rest_is_deleted() {
    let mut place = Place::new().await;
    let id = place.submit(1).await;
    place.server.wait_phase(&id, "completed").await;
    place.way.hold("DELETE", "", Hold::Request);
    let request = place.server.request("DELETE", &format!("/api/jobs/{id}"));
    let asked = tokio::spawn(request.send());
    place.way.until("DELETE", "").await;
    place.server.kill9();
    let _ = asked.await;
    place.way.free();
    place.server.restart().await;
    let receipt = async {
        loop {
            let receipt = place.server.get(&format!("/api/removals/{id}")).await;
            if receipt.status == 200 && receipt.body["state"] != "running" {
                return receipt.body;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let receipt = tokio::time::timeout(crate::harness::LONG, receipt).await.expect("a receipt");
    assert_eq!(receipt["state"], "complete", "{receipt}");
}

#[tokio::test]
async fn a_forced_end_is_unconfirmed_until_the_provider_says_more() {
    let place = Place::new().await;
    place.way.hold("GET", "", Hold::Request);
    let id = place.submit(1).await;
    place.way.until("GET", "").await;
    let forced = place.server.cancel(&id, json!({"force": true})).await;
    assert!(matches!(forced.status, 200 | 202), "{}", forced.text());
    let job = place.server.wait_phase(&id, "cancelled").await;
    assert_eq!(job["cancellation"]["stop"]["unconfirmed"], 1, "{job}");
    assert_eq!(place.way.count("POST", "/cancel"), 1, "force asks the provider, too");
    place.way.free();
    place.server.cancel(&id, json!({})).await;
    let job = place.server.wait_for(&id, |job| job["cancellation"]["stop"]["unconfirmed"] == 0).await;
    assert_eq!((&job["phase"], &job["batch"]["raw_state"]), (&json!("cancelled"), &json!("cancelled")), "{job}");
}
