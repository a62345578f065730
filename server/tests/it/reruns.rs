//! A rerun is a new job over the units of a finished one; either can be deleted alone.

use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::scene::{Scene, id_of};

/// Fails for odd inputs as long as there is no sign.
const ODD_ONES_FAIL: &str = r#"read number < "$BELAY_FILE"
    if [ $((number % 2)) = 1 ] && [ ! -e SIGNS/repaired ]; then echo broken >&2; exit 3; fi
    echo "$number" > "$BELAY_OUT/result""#;

async fn rerun(scene: &Scene, id: &str, body: Value) -> String {
    let answer = scene.server.post(&format!("/api/jobs/{id}/rerun"), &body).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    let new = id_of(&answer);
    assert_ne!(new, id);
    assert_eq!(answer.body["rerun_of"], id, "{}", answer.body);
    assert!(answer.header("location").is_some_and(|location| location.ends_with(&new)));
    new
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rerun_takes_all_units_or_only_those_that_did_not_succeed() {
    let scene = Scene::with_slots(2).await;
    let first = scene.submit("odd", 6, ODD_ONES_FAIL, json!({})).await;
    let job = scene.until_over(&first).await;
    assert_eq!(job["phase"], "partial", "{job:#}");
    for unit in scene.units(&first).await.iter().filter(|unit| unit["status"] == "failed") {
        assert_eq!(unit["exit_code"], 3, "{unit:#}");
        assert!(unit["error"].as_str().unwrap().contains('3'), "{unit:#}");
    }
    std::fs::write(scene.sign("repaired"), "").unwrap();

    let second = rerun(&scene, &first, json!({ "units": "unfinished", "name": "the odd ones" })).await;
    let job = scene.until_over(&second).await;
    assert_eq!((&job["phase"], &job["name"]), (&json!("completed"), &json!("the odd ones")), "{job:#}");
    let names = |units: Vec<Value>| -> Vec<String> {
        units.iter().filter_map(|unit| unit["name"].as_str()).map(|name| name[name.len() - 9..].to_owned()).collect()
    };
    assert_eq!(names(scene.units(&second).await), ["00001.txt", "00003.txt", "00005.txt"]);

    let third = rerun(&scene, &first, json!({})).await;
    let job = scene.until_over(&third).await;
    assert_eq!((&job["phase"], &job["name"]), (&json!("completed"), &json!("odd")), "{job:#}");
    assert_eq!(job["progress"]["total"], 6);

    // The first one is as it was.
    let job = scene.job(&first).await;
    assert_eq!(job["phase"], "partial", "{job:#}");

    // Nothing is left over to run: said, not done.
    let answer = scene.server.post(&format!("/api/jobs/{third}/rerun"), &json!({ "units": "unfinished" })).await;
    assert!(matches!(answer.status, 409 | 422), "{} {}", answer.status, answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_runs_again_and_an_active_one_is_refused() {
    let scene = Scene::with_slots(1).await;
    let script = "[ -e SIGNS/repaired ] || sleep NAP";
    let first = scene.submit("hangs", 3, script, json!({})).await;
    scene.until_running(&first, 1).await;
    let answer = scene.server.post(&format!("/api/jobs/{first}/rerun"), &json!({})).await;
    assert_eq!(answer.status, 409, "{}", answer.body);
    scene.cancel(&first).await;
    scene.until_over(&first).await;
    std::fs::write(scene.sign("repaired"), "").unwrap();
    let second = rerun(&scene, &first, json!({ "units": "unfinished" })).await;
    let job = scene.until_over(&second).await;
    assert_eq!(job["phase"], "completed", "{job:#}");
    assert_eq!(job["progress"]["succeeded"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn either_of_a_job_and_its_rerun_can_be_deleted_alone() {
    for delete_the_first in [true, false] {
        let scene = Scene::with_slots(1).await;
        let job = json!({ "name": "up", "kind": "files", "spec": { "command": ["cp", "{file}", "{out}"] } });
        let form = Form::new()
            .part("job", Part::text(job.to_string()).mime_str("application/json").unwrap())
            .part("files", Part::text("first content").file_name("a.txt"))
            .part("files", Part::text("second content").file_name("b.txt"));
        let answer = scene.server.send(scene.server.request("POST", "/api/jobs").multipart(form)).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        let first = id_of(&answer);
        scene.until_over(&first).await;
        let second = rerun(&scene, &first, json!({})).await;
        scene.until_over(&second).await;

        let (gone, stays) = if delete_the_first { (&first, &second) } else { (&second, &first) };
        let answer = scene.server.delete(&format!("/api/jobs/{gone}")).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.body["receipt"]["state"], "complete", "{}", answer.body);

        let results = scene.results(stays).await;
        assert_eq!(results.len(), 2, "{results:#?}");
        for artifact in results {
            let path = artifact["path"].as_str().unwrap();
            let answer = scene.server.get(&format!("/api/jobs/{stays}/artifacts/{path}")).await;
            assert_eq!(answer.status, 200, "{}", answer.body);
            assert!(String::from_utf8_lossy(&answer.bytes).ends_with("content"));
        }
        let third = rerun(&scene, stays, json!({})).await;
        let job = scene.until_over(&third).await;
        assert_eq!(job["phase"], "completed", "{job:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_makes_the_same_rerun() {
    let scene = Scene::with_slots(1).await;
    let first = scene.submit("once", 1, "true", json!({})).await;
    scene.until_over(&first).await;
    let send = |body: Value| {
        let request = scene.server.request("POST", &format!("/api/jobs/{first}/rerun"));
        scene.server.send(request.header("idempotency-key", "again-1").json(&body))
    };
    let (one, two) = (send(json!({})).await, send(json!({})).await);
    assert_eq!((one.status, two.status), (201, 201), "{} {}", one.body, two.body);
    assert_eq!(id_of(&one), id_of(&two));
    let other = send(json!({ "name": "another" })).await;
    assert_eq!((other.status, &other.body["error"]), (422, &json!("IDEMPOTENCY_CONFLICT")), "{}", other.body);
}
