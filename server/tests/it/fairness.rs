//! Slots are shared: over jobs, and within a job up to its `parallel`.

use serde_json::json;

use crate::scene::Scene;

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_5000_units_does_not_starve_one_of_three() {
    let scene = Scene::with_slots(2).await;
    let big = scene.submit("big", 5000, "true", json!({})).await;
    scene.until(&big, "it runs", |job| job["progress"]["succeeded"].as_u64() > Some(10)).await;
    let small = scene.submit("small", 3, "true", json!({})).await;
    let ended = scene.until_over(&small).await;
    let other = scene.job(&big).await;
    assert_eq!(ended["phase"], "completed", "{ended:#}");
    let done = other["progress"]["succeeded"].as_u64().unwrap();
    assert_eq!(other["phase"], "in_progress", "{other:#}");
    assert!(done < 2500, "{done} units of the big job went before three of the small one");
    let answer = scene.cancel(&big).await;
    assert!(matches!(answer.status, 200 | 202), "{} {}", answer.status, answer.body);
    scene.until_over(&big).await;
    scene.assert_nothing_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_hangs_in_its_share_leaves_the_rest_to_others() {
    let scene = Scene::with_slots(3).await;
    let hog = scene.submit("hog", 5, "sleep NAP", json!({ "parallel": 2 })).await;
    scene.until_running(&hog, 2).await;
    let small = scene.submit("small", 4, "true", json!({})).await;
    assert_eq!(scene.until_over(&small).await["phase"], "completed");
    let progress = scene.job(&hog).await["progress"].clone();
    assert_eq!(progress["running"], 2, "`parallel` is never exceeded: {progress}");
    scene.cancel(&hog).await;
    scene.until_over(&hog).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn never_more_units_at_once_than_parallel_allows() {
    let scene = Scene::with_slots(6).await;
    // Each unit counts who is there beside it.
    let script = r#"me="SIGNS/running-$$"; touch "$me"; sleep 0.03
        ls SIGNS | grep -c running > "$BELAY_OUT/count"; sleep 0.03; rm "$me""#;
    let id = scene.submit("counted", 24, script, json!({ "parallel": 3 })).await;
    assert_eq!(scene.until_over(&id).await["phase"], "completed");
    let mut most = 0;
    for artifact in scene.results(&id).await {
        let path = artifact["path"].as_str().unwrap();
        let answer = scene.server.get(&format!("/api/jobs/{id}/artifacts/{path}")).await;
        let count: u32 = String::from_utf8_lossy(&answer.bytes).trim().parse().unwrap();
        assert!(count <= 3, "{count} at once");
        most = most.max(count);
    }
    assert!(most >= 2, "never more than {most} at once: the slots are not used");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_of_many_pending_units_blocks_nobody() {
    let scene = Scene::with_slots(2).await;
    let big = scene.submit("big", 20_000, "sleep NAP", json!({})).await;
    scene.until_running(&big, 2).await;
    let answer = scene.cancel(&big).await;
    assert!(matches!(answer.status, 200 | 202), "{} {}", answer.status, answer.body);
    let small = scene.submit("small", 3, "true", json!({})).await;
    assert_eq!(scene.until_over(&small).await["phase"], "completed");
    let job = scene.until_over(&big).await;
    assert_eq!(job["phase"], "cancelled", "{job:#}");
    assert_eq!(job["progress"]["cancelled"], 20_000, "{job:#}");
    let page = scene.server.get(&format!("/api/jobs/{big}/units?status=pending")).await;
    assert_eq!(page.body["items"], json!([]), "rows that wait to be swept are told as cancelled");
    scene.assert_nothing_left();
}
