//! A creation without an answer: the provider may have the batch, and its list shows it late.

use serde_json::{Value, json};

use super::{Place, provider::Hold};

/// The provider made a batch and did not say so, and its list does not show it. Place and job.
async fn unanswered(lost_create_s: u32) -> (Place, String) {
    let place = Place::looking_for(lost_create_s, &[]).await;
    place.way.hold("POST", "/v1/batches", Hold::Answer);
    place.way.hold("GET", "/v1/batches", Hold::EmptyList);
    let id = place.submit(2).await;
    place.way.until("POST", "/v1/batches").await;
    place.way.drop_held();
    let looked_for = |job: &Value| job["batch"]["last_error"].as_str().is_some_and(|why| why.contains("looked for"));
    place.server.wait_for(&id, looked_for).await;
    (place, id)
}

/// Ends the lag.
fn show(place: &Place) {
    place.way.free_only("GET", "/v1/batches");
}

#[tokio::test]
async fn a_batch_that_shows_late_is_not_made_again() {
    let (place, id) = unanswered(60).await;
    // Longer than a few quick looks take.
    while place.way.count("GET", "/v1/batches") < 4 {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(place.server.job(&id).await["batch"]["state"], "creating");
    show(&place);
    let job = place.server.wait_for(&id, |job| job["finished_at"].is_string()).await;
    assert_eq!(job["phase"], "completed", "{job}");
    assert_eq!(place.way.count("POST", "/v1/batches"), 1, "{:?}", place.way.seen());
    assert_eq!(place.way.batches().await.len(), 1);
}

#[tokio::test]
async fn a_creation_that_hung_for_long_is_looked_for_from_its_end() {
    const LOST_CREATE_S: u32 = 4;
    let place = Place::looking_for(LOST_CREATE_S, &[]).await;
    place.way.hold("POST", "/v1/batches", Hold::Answer);
    place.way.hold("GET", "/v1/batches", Hold::EmptyList);
    let id = place.submit(2).await;
    place.way.until("POST", "/v1/batches").await;
    tokio::time::sleep(std::time::Duration::from_secs(u64::from(LOST_CREATE_S) + 1)).await;
    place.way.drop_held();
    place.way.until("GET", "/v1/batches").await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    show(&place);
    let job = place.server.wait_for(&id, |job| job["finished_at"].is_string()).await;
    assert_eq!(job["phase"], "completed", "{job}");
    assert_eq!(place.way.count("POST", "/v1/batches"), 1, "{:?}", place.way.seen());
}

#[tokio::test]
async fn what_never_shows_is_made_again_when_it_cannot_come_any_more() {
    let place = Place::looking_for(3, &[]).await;
    place.way.hold("POST", "/v1/batches", Hold::Request);
    let id = place.submit(1).await;
    place.way.until("POST", "/v1/batches").await;
    let begun = std::time::Instant::now();
    place.way.free();
    place.way.drop_held();
    let job = place.server.wait_for(&id, |job| job["finished_at"].is_string()).await;
    assert_eq!(job["phase"], "completed", "{job}");
    assert!(begun.elapsed() >= std::time::Duration::from_secs(3), "{:?}", begun.elapsed());
    assert_eq!(place.way.count("POST", "/v1/batches"), 2);
    assert_eq!(place.way.batches().await.len(), 1);
}

#[tokio::test]
async fn a_cancel_waits_for_a_batch_that_may_show_and_stops_it_then() {
    let (place, id) = unanswered(60).await;
    let asked = place.server.cancel(&id, json!({})).await;
    assert_eq!((asked.status, &asked.body["phase"]), (202, &json!("cancelling")), "{}", asked.text());
    let job = place.server.job(&id).await;
    assert!(job["waiting"][0]["detail"].as_str().unwrap().contains("looked for"), "{job}");
    show(&place);
    let job = place.server.wait_for(&id, |job| job["finished_at"].is_string()).await;
    assert_eq!((&job["phase"], &job["batch"]["raw_state"]), (&json!("cancelled"), &json!("cancelled")), "{job}");
    assert_eq!((place.way.count("POST", "/v1/batches"), place.way.count("POST", "/cancel")), (1, 1));
}

#[tokio::test]
async fn a_cancel_ends_when_a_lost_creation_cannot_have_made_anything() {
    let (place, id) = unanswered(5).await;
    place.server.cancel(&id, json!({})).await;
    let job = place.server.wait_for(&id, |job| job["finished_at"].is_string()).await;
    assert_eq!(
        (&job["phase"], &job["batch"]["cancel_result"]),
        (&json!("cancelled"), &json!("never_appeared")),
        "{job}"
    );
    assert!(job["detail"].as_str().unwrap().contains("never answered"), "{job}");
    assert_eq!(place.way.count("POST", "/v1/batches"), 1, "none is made for a job that is cancelled");
}

#[tokio::test]
async fn a_removal_looks_as_long_as_a_lost_batch_may_show_and_cancels_it() {
    let (place, id) = unanswered(60).await;
    place.server.cancel(&id, json!({"force": true})).await;
    let job = place.server.wait_phase(&id, "cancelled").await;
    assert_eq!(job["cancellation"]["stop"]["unconfirmed"], 1, "{job}");
    let looks = place.way.count("GET", "/v1/batches");
    let request = place.server.request("DELETE", &format!("/api/jobs/{id}"));
    let asked = tokio::spawn(request.send());
    while place.way.count("GET", "/v1/batches") < looks + 2 {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(place.server.job(&id).await["phase"], "deleting", "it may still come");
    show(&place);
    place.way.until("POST", "/cancel").await;
    asked.await.unwrap().unwrap();
    let receipt = async {
        loop {
            let receipt = place.server.get(&format!("/api/removals/{id}")).await;
            if receipt.body["state"] != "running" {
                return receipt.body;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let receipt = tokio::time::timeout(crate::harness::LONG, receipt).await.expect("a receipt");
    assert_eq!(receipt["state"], "complete", "{receipt}");
    let batches = place.way.batches().await;
    assert_eq!((batches.len(), &batches[0]["status"]), (1, &json!("cancelled")), "{batches:?}");
}
