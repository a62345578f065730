//! `kill -9` of any process at any moment: after a restart every job goes on or ends truthfully, and nothing of it lives.

use std::{
    collections::BTreeSet,
    process::{Command, Stdio},
    time::Duration,
};

use app::model::Timestamp;
use serde_json::{Value, json};

use crate::{
    marks::{Found, belay_tree, kill_all, kill_all_at_once, lives, supervisors, wait_for},
    scene::{LIMIT, Scene, assert_proven, assert_units_agree, is_over, paths_with},
};

/// On its first run a unit hangs (with a child in its own session); on its second it succeeds and leaves one result.
const HANGS_ONCE: &str = r#"
    sign="SIGNS/$(basename "$BELAY_FILE")"
    if [ -e "$sign" ]; then echo again > "$BELAY_OUT/result.txt"; exit 0; fi
    setsid sleep NAP & sleep NAP &
    touch "$sign"
    wait"#;

/// A tree that ignores SIGTERM, daemon included.
const IGNORES_TERM: &str = r#"
    trap '' TERM
    setsid sleep NAP & sleep NAP &
    touch "SIGNS/$(basename "$BELAY_FILE")"
    wait; wait; sleep NAP"#;

fn signs(scene: &Scene) -> usize {
    std::fs::read_dir(scene.sign("")).unwrap().count()
}

fn wait_for_signs(scene: &Scene, count: usize) {
    wait_for(LIMIT, || signs(scene) >= count, || format!("{} of {count} signs", signs(scene)));
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_the_server_ends_its_trees_and_the_job_goes_on_after_a_restart() {
    let mut scene = Scene::with_slots(3).await;
    let id = scene.submit("hangs-once", 5, HANGS_ONCE, json!({})).await;
    wait_for_signs(&scene, 3);

    scene.server.kill9();
    scene.mark.wait_until_gone(Duration::from_secs(15));

    scene.server.restart().await;
    wait_for_signs(&scene, 5);
    scene.server.kill9();
    scene.mark.wait_until_gone(Duration::from_secs(15));

    scene.server.restart().await;
    let job = scene.until_over(&id).await;
    assert_eq!(job["phase"], "completed", "{job:#}");
    let units = scene.units(&id).await;
    assert_units_agree(&job, &units);
    assert!(units.iter().all(|unit| unit["attempt"] == 2), "{units:#?}");
    assert_eq!(scene.results(&id).await.len(), 5);
    scene.assert_nothing_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_goes_on_over_kill_9_of_the_server_also_with_a_tree_that_ignores_term() {
    let mut scene = Scene::with_slots(2).await;
    let id = scene.submit("stubborn", 4, IGNORES_TERM, json!({ "grace_s": 3 })).await;
    wait_for_signs(&scene, 2);

    // Answers 202 after two seconds: the tree ignores the polite signal.
    let answer = scene.cancel(&id).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    assert_eq!(answer.body["outcome"], "cancelling");
    assert_eq!(answer.body["stop"]["waiting"], 2, "{}", answer.body);
    scene.server.kill9();
    scene.server.restart().await;

    let job = scene.until_over(&id).await;
    scene.assert_nothing_left();
    assert_eq!(job["phase"], "cancelled", "{job:#}");
    assert_eq!(job["cancellation"]["stop"]["unconfirmed"], 0, "{job:#}");
    let units = scene.units(&id).await;
    assert_units_agree(&job, &units);
    for unit in &units {
        assert_eq!(unit["status"], "cancelled", "{unit:#}");
        assert_proven(unit);
    }
    let killed = units.iter().filter(|unit| unit["stop"]["method"] == "killed").count();
    assert_eq!(killed, 2, "{units:#?}");
}

/// Processes that are called like a supervisor and hold the locks of runs open, and are none.
struct Bystanders {
    children: Vec<std::process::Child>,
    _folder: tempfile::TempDir,
}

impl Bystanders {
    fn beside(scene: &Scene) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("belay-run");
        std::fs::copy("/bin/sleep", &program).unwrap();
        let locks = paths_with(&scene.server.data_dir().join("runs"), ".lock");
        assert!(!locks.is_empty());
        let start = |input: Stdio| Command::new(&program).arg("600").stdin(input).spawn().unwrap();
        let holding = locks.iter().map(|lock| start(std::fs::File::open(lock).unwrap().into()));
        let mut children: Vec<_> = holding.collect();
        children.push(start(Stdio::null()));
        Bystanders { children, _folder: folder }
    }

    fn assert_untouched(&mut self) {
        for child in &mut self.children {
            assert_eq!(child.try_wait().unwrap(), None, "a foreign process was signalled");
        }
    }
}

impl Drop for Bystanders {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Force has its proof within its 5 s, whoever still has a grace of minutes.
async fn assert_force_ends(scene: &Scene, id: &str) {
    let mut bystanders = Bystanders::beside(scene);
    let forced = scene.force_cancel(id).await;
    assert!(matches!(forced.status, 200 | 202), "{} {}", forced.status, forced.body);
    let job = scene.until_over(id).await;
    scene.assert_nothing_left();
    bystanders.assert_untouched();
    assert_eq!(job["phase"], "cancelled", "{job:#}");
    assert_eq!(job["cancellation"]["stop"]["unconfirmed"], 0, "{job:#}");
    let units = scene.units(id).await;
    assert_units_agree(&job, &units);
    units.iter().for_each(assert_proven);
    assert_eq!(units.iter().filter(|unit| unit["stop"]["method"] == "killed").count(), 2, "{units:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn force_after_kill_9_of_the_server_does_not_wait_for_the_grace_of_what_it_left() {
    let mut scene = Scene::with_slots(2).await;
    let id = scene.submit("stubborn", 3, IGNORES_TERM, json!({ "grace_s": 300 })).await;
    wait_for_signs(&scene, 2);
    assert_eq!(scene.cancel(&id).await.status, 202);
    scene.server.kill9();
    scene.server.restart().await;

    let resent = scene.cancel(&id).await;
    assert_eq!((resent.status, &resent.body["stop"]["waiting"]), (202, &json!(2)), "{}", resent.body);
    assert_force_ends(&scene, &id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_that_comes_after_kill_9_of_the_server_waits_for_the_grace_and_force_ends_it() {
    let mut scene = Scene::with_slots(2).await;
    let id = scene.submit("stubborn", 3, IGNORES_TERM, json!({ "grace_s": 300 })).await;
    wait_for_signs(&scene, 2);
    scene.server.kill9();
    scene.server.restart().await;

    let answer = scene.cancel(&id).await;
    assert_eq!((answer.status, &answer.body["stop"]["waiting"]), (202, &json!(2)), "{}", answer.body);
    assert_force_ends(&scene, &id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forced_delete_after_kill_9_of_the_server_comes_to_a_complete_receipt_before_the_grace_is_over() {
    let mut scene = Scene::with_slots(2).await;
    let id = scene.submit("stubborn", 3, IGNORES_TERM, json!({ "grace_s": 300 })).await;
    wait_for_signs(&scene, 2);
    scene.server.kill9();
    scene.server.restart().await;

    // For 30 s it waits for the proof, then it falls to force.
    let answer = scene.server.delete(&format!("/api/jobs/{id}?force=true")).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    let receipt = scene.until_deleted(&id).await;
    scene.assert_nothing_left();
    assert_eq!((&receipt["state"], &receipt["left"]), (&json!("complete"), &json!([])), "{receipt:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_kill_9_of_the_server_a_cancel_ends_as_soon_as_its_proof_is_there() {
    let mut scene = Scene::with_slots(2).await;
    let id = scene.submit("stubborn", 3, IGNORES_TERM, json!({ "grace_s": 8 })).await;
    wait_for_signs(&scene, 2);
    assert_eq!(scene.cancel(&id).await.status, 202);
    scene.server.kill9();
    scene.server.restart().await;
    let job = scene.until_over(&id).await;
    let time = |value: &Value| serde_json::from_value::<Timestamp>(value.clone()).unwrap();
    let stopped = scene.units(&id).await.iter().map(|unit| time(&unit["stop"]["stopped_at"])).max().unwrap();
    let waited = time(&job["cancellation"]["cancelled_at"]).millis_since(stopped);
    assert!(waited < 2_000, "{waited} ms from the proof to the end of the job: {job:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_killed_while_it_was_deleted_is_a_deleting_row_and_then_a_complete_receipt() {
    let mut scene = Scene::with_slots(2).await;
    // Many files, so that the removal is caught in the act.
    let script = r#"for n in $(seq 12000); do : > "$BELAY_OUT/$n"; done"#;
    let id = scene.submit("many-files", 2, script, json!({})).await;
    let job = scene.until_over(&id).await;
    assert_eq!(job["phase"], "completed", "{job:#}");

    let address = scene.server.address();
    let path = format!("/api/jobs/{id}");
    let deletion = tokio::spawn({
        let request = scene.server.request("DELETE", &path);
        async move { request.send().await.map(|answer| answer.status().as_u16()) }
    });
    scene.until(&id, "it is being deleted", |job| job["phase"] == "deleting").await;
    scene.server.kill9();
    // Cut off in the middle, or never answered: both are an error of the connection, not an answer.
    assert!(deletion.await.unwrap().is_err(), "the removal from {address} was over before the kill");

    scene.server.restart().await;
    let seen = scene.server.get(&path).await;
    if seen.status == 200 {
        assert_eq!(seen.body["phase"], "deleting", "{}", seen.body);
        assert_eq!(seen.body["allowed"]["cancel"]["ok"], false, "{}", seen.body);
        let refused = scene.cancel(&id).await;
        assert!(refused.status == 409 || refused.status == 404, "{} {}", refused.status, refused.body);
    }
    let receipt = scene.until_deleted(&id).await;
    assert_eq!(receipt["state"], "complete", "{receipt:#}");
    assert_eq!(receipt["left"], json!([]));
    for item in receipt["items"].as_array().unwrap() {
        assert_eq!(item["planned"], item["removed"], "{receipt:#}");
        assert_eq!(item["failed"], 0, "{receipt:#}");
    }
    let results = receipt["items"].as_array().unwrap().iter().find(|item| item["category"] == "results").unwrap();
    assert_eq!(results["planned"], 24_000, "{receipt:#}");
    assert_eq!(paths_with(scene.server.data_dir(), &id), Vec::<std::path::PathBuf>::new());
    let list = scene.server.get("/api/jobs").await;
    assert_eq!(list.body["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_everything_at_once_while_running_leaves_no_process_and_the_job_goes_on() {
    let mut scene = Scene::with_slots(3).await;
    let id = scene.submit("hangs-once", 3, HANGS_ONCE, json!({})).await;
    wait_for_signs(&scene, 3);

    let everything = belay_tree(scene.server.pid());
    assert!(everything.len() >= 5, "server, spawner, three supervisors: {everything:#?}");
    kill_all_at_once(&everything);
    scene.server.kill9();
    assert!(!scene.mark.processes().is_empty(), "nobody is left who could have stopped the trees");

    scene.server.restart().await;
    let job = scene.until_over(&id).await;
    scene.assert_nothing_left();
    assert_eq!(job["phase"], "completed", "{job:#}");
    assert_units_agree(&job, &scene.units(&id).await);
    assert_eq!(scene.results(&id).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_everything_at_once_while_cancelling_ends_truthfully() {
    let mut scene = Scene::with_slots(2).await;
    let id = scene.submit("stubborn", 3, IGNORES_TERM, json!({ "grace_s": 600 })).await;
    wait_for_signs(&scene, 2);
    let answer = scene.cancel(&id).await;
    assert_eq!(answer.status, 202, "{}", answer.body);

    let everything = belay_tree(scene.server.pid());
    kill_all_at_once(&everything);
    scene.server.kill9();
    assert!(!scene.mark.processes().is_empty(), "nobody is left who could have stopped the trees");

    scene.server.restart().await;
    // Either the search after the restart can exclude that anything is left, or the job says that it waits for proof.
    let decided = |job: &serde_json::Value| {
        let waiting = job["waiting"].as_array().cloned().unwrap_or_default();
        is_over(job) || !waiting.is_empty() && waiting.iter().all(|run| run["lost"] == true)
    };
    let job = scene.until(&id, "it ended or says what it waits for", decided).await;
    scene.mark.wait_until_gone(Duration::from_secs(15));
    if is_over(&job) {
        assert_eq!(job["phase"], "cancelled", "{job:#}");
        assert_eq!(job["cancellation"]["stop"]["unconfirmed"], 0, "{job:#}");
        for unit in scene.units(&id).await {
            assert_proven(&unit);
        }
        return;
    }
    assert_eq!(job["phase"], "cancelling", "{job:#}");
    let forced = scene.force_cancel(&id).await;
    assert_eq!(forced.status, 200, "{}", forced.body);
    let job = scene.until_over(&id).await;
    assert_eq!(job["phase"], "cancelled", "{job:#}");
    assert!(job["cancellation"]["stop"]["unconfirmed"].as_u64() > Some(0), "{job:#}");
    assert_units_agree(&job, &scene.units(&id).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_a_supervisor_ends_its_tree_and_the_unit_runs_again() {
    let scene = Scene::with_slots(2).await;
    let id = scene.submit("hangs-once", 2, HANGS_ONCE, json!({})).await;
    wait_for_signs(&scene, 2);
    let guards = supervisors(&scene.mark, &belay_tree(scene.server.pid()));
    assert_eq!(guards.len(), 2, "{guards:#?}");
    kill_all(&guards);

    let job = scene.until_over(&id).await;
    scene.assert_nothing_left();
    assert_eq!(job["phase"], "completed", "{job:#}");
    let units = scene.units(&id).await;
    assert_units_agree(&job, &units);
    assert!(units.iter().all(|unit| unit["attempt"] == 2), "{units:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_a_supervisor_does_not_lose_the_proof_of_a_later_cancel() {
    let scene = Scene::with_slots(1).await;
    let id = scene.submit("stubborn", 2, IGNORES_TERM, json!({ "grace_s": 600 })).await;
    wait_for_signs(&scene, 1);
    let guards = supervisors(&scene.mark, &belay_tree(scene.server.pid()));
    assert_eq!(scene.cancel(&id).await.status, 202);
    kill_all(&guards);

    let job = scene.until_over(&id).await;
    scene.assert_nothing_left();
    assert_eq!(job["phase"], "cancelled", "{job:#}");
    assert_eq!(job["cancellation"]["stop"]["unconfirmed"], 0, "{job:#}");
    for unit in scene.units(&id).await {
        assert_proven(&unit);
    }
}

/// Second runs of [`HANGS_ONCE`] have no `sleep`: they are left to end.
fn supervisors_of_hanging_runs(scene: &Scene) -> Vec<Found> {
    let marked = scene.mark.processes();
    let sleeps = marked.iter().filter(|found| found.command.starts_with("sleep "));
    let shells: BTreeSet<i32> = sleeps.map(|found| found.parent).collect();
    let owners: BTreeSet<i32> =
        marked.iter().filter(|found| shells.contains(&found.pid)).map(|found| found.parent).collect();
    belay_tree(scene.server.pid()).into_iter().filter(|found| owners.contains(&found.pid)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_the_spawner_loses_no_unit() {
    let scene = Scene::with_slots(2).await;
    let id = scene.submit("hangs-once", 6, HANGS_ONCE, json!({})).await;
    wait_for_signs(&scene, 2);
    let tree = belay_tree(scene.server.pid());
    let guards: BTreeSet<i32> = supervisors(&scene.mark, &tree).iter().map(|found| found.pid).collect();
    let spawners: Vec<_> = tree
        .iter()
        .filter(|found| found.pid != scene.server.pid() as i32 && !guards.contains(&found.pid))
        .cloned()
        .collect();
    assert_eq!(spawners.len(), 1, "{tree:#?}");
    kill_all(&spawners);
    // The supervisors live on, or ended their trees: either way new ones can be had, and a unit that still hangs can be
    // pushed on by the end of its supervisor.
    let job = loop {
        let job = scene.job(&id).await;
        if is_over(&job) {
            break job;
        }
        kill_all(&supervisors_of_hanging_runs(&scene));
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    scene.assert_nothing_left();
    assert_eq!(job["phase"], "completed", "{job:#}");
    assert_units_agree(&job, &scene.units(&id).await);
    assert_eq!(scene.results(&id).await.len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_with_exit_0_leaves_nothing_and_the_units_run_again() {
    let mut scene = Scene::with_slots(3).await;
    let id = scene.submit("hangs-once", 3, HANGS_ONCE, json!({})).await;
    wait_for_signs(&scene, 3);
    let tree = belay_tree(scene.server.pid());

    let status = scene.server.terminate().await;
    assert_eq!(status.code(), Some(0), "{status:?}");
    scene.assert_nothing_left();
    wait_for(
        Duration::from_secs(5),
        || !tree.iter().any(lives),
        || format!("still there: {:#?}", tree.iter().filter(|found| lives(found)).collect::<Vec<_>>()),
    );

    scene.server.restart().await;
    let job = scene.until_over(&id).await;
    assert_eq!(job["phase"], "completed", "{job:#}");
    assert_eq!(scene.results(&id).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_during_a_cancel_leaves_it_to_the_next_start() {
    let mut scene = Scene::with_slots(1).await;
    let id = scene.submit("stubborn", 2, IGNORES_TERM, json!({ "grace_s": 3 })).await;
    wait_for_signs(&scene, 1);
    assert_eq!(scene.cancel(&id).await.status, 202);
    let status = scene.server.terminate().await;
    assert_eq!(status.code(), Some(0), "{status:?}");
    scene.assert_nothing_left();

    scene.server.restart().await;
    let job = scene.until_over(&id).await;
    assert_eq!(job["phase"], "cancelled", "{job:#}");
    for unit in scene.units(&id).await {
        assert_proven(&unit);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_times_kill_9_in_one_job_and_every_unit_counts_exactly_once() {
    let units = 60;
    let mut scene = Scene::with_slots(2).await;
    let script = r#"sleep 0.03; cat "$BELAY_FILE" > "$BELAY_OUT/result.txt"; sleep 0.03"#;
    let id = scene.submit("ten-kills", units, script, json!({})).await;
    for kill in 1..=10u64 {
        // Five units further each time, so that no unit is under way at three of the kills.
        scene.until(&id, "some more ended", |job| job["progress"]["succeeded"].as_u64() >= Some(kill * 5)).await;
        scene.server.kill9();
        scene.server.restart().await;
    }
    let job = scene.until_over(&id).await;
    assert_eq!(job["phase"], "completed", "{job:#}");
    let rows = scene.units(&id).await;
    assert_units_agree(&job, &rows);
    let results = scene.results(&id).await;
    let distinct: BTreeSet<u64> = results.iter().filter_map(|item| item["unit"].as_u64()).collect();
    assert_eq!((results.len(), distinct.len()), (units, units));
    assert!(rows.iter().any(|unit| unit["attempt"].as_u64() > Some(1)), "no kill hit a running unit");
    scene.assert_nothing_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forced_delete_that_waits_for_proof_goes_on_over_kill_9() {
    let mut scene = Scene::with_slots(2).await;
    let id = scene.submit("stubborn", 3, IGNORES_TERM, json!({ "grace_s": 3 })).await;
    wait_for_signs(&scene, 2);
    let path = format!("/api/jobs/{id}?force=true");
    let deletion = tokio::spawn({
        let request = scene.server.request("DELETE", &path);
        async move { request.send().await.is_err() }
    });
    scene.until(&id, "it is being stopped", |job| job["phase"] == "cancelling").await;
    scene.server.kill9();
    assert!(deletion.await.unwrap(), "the removal was over before the kill");

    scene.server.restart().await;
    let receipt = scene.until_deleted(&id).await;
    scene.assert_nothing_left();
    assert_eq!(receipt["state"], "complete", "{receipt:#}");
    assert_eq!(receipt["forced"], true, "{receipt:#}");
    assert_eq!(receipt["last_phase"], "cancelled", "{receipt:#}");
    assert_eq!(paths_with(scene.server.data_dir(), &id), Vec::<std::path::PathBuf>::new());
}
