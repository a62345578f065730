//! Stopping and removing, in a pipe.

use serde_json::json;

use super::{belay_of, run, submit_deaf, submit_running};
use crate::harness::Server;

#[tokio::test]
async fn a_cancel_is_told_with_its_proof_and_a_second_one_is_friendly() {
    let server = Server::start().await;
    let id = submit_running(&server, 3).await;
    let cancelled = server.belay(&["job", "cancel", &id, "--reason", "wrong_input", "--notes", "the other one"]).await;
    let out = cancelled.done();
    assert!(out.starts_with(&format!("{id}\tcancelled\t")), "{out}");
    assert!(out.contains("Cancelled: 1 / Failed to cancel: 0 / Skipped (not active): 0"), "{out}");
    let again = server.belay(&["job", "cancel", &id]).await.done();
    assert!(again.contains("already cancelled") && again.contains("Skipped (not active): 1"), "{again}");
    let status = server.belay(&["job", "status", &id]).await.done();
    assert!(status.contains("reason\twrong_input\n") && status.contains("notes\tthe other one\n"), "{status}");
    let evidence: Vec<&str> = status.lines().filter(|line| line.starts_with("evidence\t")).collect();
    assert_eq!(evidence.len(), 2, "{status}");
    assert!(evidence[0].contains("\tterminated\tSIGTERM\t0\tyes\t"), "{status}");
    assert_eq!(server.job(&id).await["cancellation"]["notes"], "the other one");
}

#[tokio::test]
async fn one_that_fails_stops_none_of_the_others() {
    let server = Server::start().await;
    let done = server.submit_done("done").await;
    let (first, second) = (server.submit_endless("first", 1).await, server.submit_endless("second", 1).await);
    let ran = server.belay(&["job", "cancel", &first, "nothing-like-it", &done, &second]).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.out.contains("Cancelled: 2 / Failed to cancel: 1 / Skipped (not active): 1"), "{}", ran.out);
    assert!(ran.err.contains("nothing-like-it"), "{}", ran.err);
    let unknown = server.belay(&["job", "cancel", "0199c2b2-0c9d-7e02-8f10-0123456789ab"]).await;
    assert_eq!(unknown.code, 3, "{unknown:?}");
    assert_eq!(unknown.out, "");
}

#[tokio::test]
async fn more_than_was_named_is_not_touched_unasked() {
    let server = Server::start().await;
    let (first, second) = (server.submit_endless("first", 1).await, server.submit_endless("second", 1).await);
    let dry = server.belay(&["job", "cancel", "--all-pending", "--dry-run"]).await;
    assert!(dry.err.contains("Would cancel 2 jobs"), "{dry:?}");
    let refused = server.belay(&["job", "cancel", "--all-pending"]).await;
    assert_eq!(refused.code, 4, "{refused:?}");
    assert!(refused.err.contains("2 jobs") && refused.err.contains("--force"), "{}", refused.err);
    for id in [&first, &second] {
        assert_eq!(server.job(id).await["phase"], "in_progress");
    }
    let narrowed = server.belay(&["job", "cancel", "--filter", "q=first", "--force"]).await.done();
    assert!(narrowed.contains("Cancelled: 1 /"), "{narrowed}");
    assert_eq!(server.job(&second).await["phase"], "in_progress");
    let all = server.belay(&["job", "cancel", "--all-active", "--force", "--json"]).await.json();
    assert_eq!((&all["cancelled"], &all["failed"]), (&json!(1), &json!(0)), "{all}");
    let nothing = server.belay(&["job", "cancel", "--all-pending"]).await;
    assert_eq!(nothing.code, 0, "{nothing:?}");
    assert!(nothing.err.contains("Nothing was done"), "{}", nothing.err);
}

#[tokio::test]
async fn a_filter_that_cannot_be_used_is_pointed_at_and_changes_nothing() {
    let server = Server::start().await;
    let id = server.submit_endless("endless", 1).await;
    let ran = server.belay(&["job", "cancel", "--filter", "kind=files phase=runing", "--force"]).await;
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains("unknown phase `runing`") && ran.err.contains("^^^^"), "{}", ran.err);
    assert_eq!(server.job(&id).await["phase"], "in_progress");
}

#[tokio::test]
async fn ids_come_from_standard_input_too() {
    let server = Server::start().await;
    let (first, second) = (server.submit_endless("first", 1).await, server.submit_endless("second", 1).await);
    let list = server.belay(&["job", "list", "--phase", "active"]).await.done();
    let ran = run(belay_of(&server), &["job", "cancel", "-"], &list).await.done();
    assert!(ran.contains("Cancelled: 2 /"), "{ran}");
    let removed = run(belay_of(&server), &["job", "remove", "-"], &format!("{first}\n\n{second}\n")).await.done();
    assert!(removed.contains("Removed: 2 / Failed to remove: 0"), "{removed}");
    let nothing = run(belay_of(&server), &["job", "remove", "-"], "").await;
    assert!(nothing.code == 0 && nothing.err.contains("Nothing was done"), "{nothing:?}");
}

#[tokio::test]
async fn waiting_for_the_proof_tells_it() {
    let server = Server::start().await;
    let id = submit_deaf(&server, 3).await;
    let early = server.belay(&["job", "cancel", &id]).await.done();
    assert!(early.contains("Still stopping: 1") && early.contains("Cancelled: 0 /"), "{early}");
    let resent = server.belay(&["job", "resend", &id, "--wait"]).await.done();
    assert!(resent.contains("Cancelled: 1 /"), "{resent}");
    assert_eq!(server.job(&id).await["phase"], "cancelled");
    let nothing = server.belay(&["job", "resend", &id]).await;
    assert!(nothing.code == 0 && nothing.err.contains("No stop is waited for"), "{nothing:?}");
}

#[tokio::test]
async fn resend_is_never_a_first_cancel() {
    let server = Server::start().await;
    let id = server.submit_endless("endless", 1).await;
    let ran = server.belay(&["job", "resend", &id]).await;
    assert_eq!(ran.code, 4, "{ran:?}");
    assert_eq!(server.job(&id).await["phase"], "in_progress");
}

#[tokio::test]
async fn a_removal_is_told_with_its_receipt_and_a_dry_run_changes_nothing() {
    let server = Server::start().await;
    let id = server.submit_done("gone").await;
    let dry = server.belay(&["job", "remove", &id, "--dry-run"]).await.done();
    assert!(dry.lines().any(|line| line.starts_with(&format!("{id}\tresults\t2\t"))), "{dry}");
    assert_eq!(server.job(&id).await["phase"], "completed");
    let removed = server.belay(&["job", "remove", &id, "--json"]).await.json();
    assert_eq!((&removed["removed"], &removed["failed"]), (&json!(1), &json!(0)), "{removed}");
    assert_eq!(removed["jobs"][0]["receipt"]["state"], "complete");
    let again = server.belay(&["job", "remove", &id]).await;
    assert_eq!(again.code, 3, "{again:?}");
    assert!(again.err.contains(&format!("/api/removals/{id}")), "{}", again.err);
}

#[tokio::test]
async fn an_active_job_is_removed_only_with_force_where_nobody_can_be_asked() {
    let server = Server::start().await;
    let (done, id) = (server.submit_done("done").await, server.submit_endless("active", 2).await);
    let refused = server.belay(&["job", "remove", &done, &id]).await;
    assert_eq!(refused.code, 4, "{refused:?}");
    assert!(refused.err.contains("still active") && refused.err.contains("--force"), "{}", refused.err);
    assert_eq!(server.job(&id).await["phase"], "in_progress");
    assert_eq!(server.job(&done).await["phase"], "completed", "nothing was changed");
    let forced = server.belay(&["job", "remove", &done, &id, "--force"]).await.done();
    assert!(forced.contains("Removed: 2 / Failed to remove: 0"), "{forced}");
    assert_eq!(server.get(&format!("/api/removals/{id}")).await.body["forced"], true);
}

#[tokio::test]
async fn kept_files_stay_where_the_receipt_says() {
    let server = Server::start().await;
    let id = server.submit_done("kept").await;
    let removed = server.belay(&["job", "remove", &id, "--keep-files"]).await;
    assert!(removed.err.contains(&format!("2 files kept in kept/{id}")), "{removed:?}");
    let receipt = server.get(&format!("/api/removals/{id}")).await.body;
    assert_eq!((&receipt["state"], &receipt["kept_in"]), (&json!("complete"), &json!(format!("kept/{id}"))));
    let results = receipt["items"].as_array().unwrap().iter().find(|item| item["category"] == "results").unwrap();
    assert_eq!((&results["kept"], &results["removed"]), (&json!(2), &json!(0)), "{receipt}");
    let mut kept = Vec::new();
    let mut folders = vec![server.data_dir().join("kept").join(&id)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() { folders.push(entry.path()) } else { kept.push(entry.file_name()) }
        }
    }
    kept.sort();
    assert_eq!(kept, ["000.txt", "001.txt"]);
    assert!(!server.data_dir().join("jobs").join(&id).exists());
}

#[tokio::test]
async fn old_jobs_are_removed_by_age() {
    let server = Server::start().await;
    let (old, active) = (server.submit_done("old").await, server.submit_endless("active", 1).await);
    let young = server.belay(&["job", "remove", "--older-than", "30d", "--force"]).await;
    assert!(young.code == 0 && young.err.contains("Nothing was done"), "{young:?}");
    let refused = server.belay(&["job", "remove", "--older-than", "0s"]).await;
    assert_eq!(refused.code, 4, "{refused:?}");
    let removed = server.belay(&["job", "remove", "--older-than", "0s", "--force"]).await.done();
    assert!(removed.contains("Removed: 1 /"), "{removed}");
    assert_eq!(server.get(&format!("/api/jobs/{old}")).await.status, 404);
    assert_eq!(server.job(&active).await["phase"], "in_progress", "by age only what has ended is meant");
}

#[tokio::test]
async fn what_was_begun_on_many_jobs_is_listed_followed_and_tried_again() {
    let server = Server::start().await;
    let (first, second) = (server.submit_done("first").await, server.submit_done("second").await);
    let dry = server.belay(&["job", "remove", "--filter", "phase=completed", "--dry-run"]).await;
    assert!(dry.err.contains("Would remove 2 jobs"), "{dry:?}");
    assert_eq!(dry.out.matches("would_be_done").count(), 2, "{dry:?}");
    let removed = server.belay(&["job", "remove", "--filter", "phase=completed", "--force", "--json"]).await.json();
    assert_eq!((&removed["removed"], &removed["failed"]), (&json!(2), &json!(0)), "{removed}");
    for id in [&first, &second] {
        assert_eq!(server.get(&format!("/api/removals/{id}")).await.body["state"], "complete");
    }
    let id = removed["bulk_id"].as_str().unwrap();
    let list = server.belay(&["bulk", "list"]).await.done();
    assert!(list.starts_with(&format!("{id}\tdelete\tdone\t2\t2\t0\t")), "{list}");
    let watched = server.belay(&["bulk", "watch", id]).await.done();
    assert!(watched.starts_with("Removed: 2 / Failed to remove: 0 /"), "{watched}");
    assert_eq!(server.belay(&["bulk", "abort", id]).await.code, 4, "it had ended");
    let retried = server.belay(&["bulk", "retry", id]).await.done();
    assert!(retried.starts_with("Removed: 0 /"), "{retried}");
    assert_eq!(server.belay(&["bulk", "watch", "0199c2b2-0c9d-7e02-8f10-0123456789ab"]).await.code, 3);
    assert_eq!(server.belay(&["bulk", "watch", "0199"]).await.code, 2);
}

#[tokio::test]
async fn many_cancels_are_waited_for_only_where_asked() {
    let server = Server::start().await;
    let id = submit_deaf(&server, 6).await;
    let early = server.belay(&["job", "cancel", "--all-pending", "--force"]).await.done();
    assert!(early.contains("Cancelled: 0 /") && early.contains("Still stopping: 1"), "{early}");
    assert_eq!(server.job(&id).await["phase"], "cancelling");
    let bulk = server.belay(&["bulk", "list", "--json"]).await.json()[0]["bulk_id"].as_str().unwrap().to_owned();
    let late = server.belay(&["bulk", "watch", &bulk]).await.done();
    assert!(late.contains("Cancelled: 1 / Failed to cancel: 0"), "{late}");
    assert_eq!(server.job(&id).await["phase"], "cancelled");
}

#[tokio::test]
async fn more_jobs_than_the_limit_are_refused_and_nothing_is_changed() {
    let server = Server::start_where("[bulk]\nmax_jobs = 1\n").await;
    let (first, _) = (server.submit_endless("first", 1).await, server.submit_endless("second", 1).await);
    let ran = server.belay(&["job", "cancel", "--all-pending", "--force"]).await;
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains("at most 1 jobs"), "{}", ran.err);
    assert_eq!(server.job(&first).await["phase"], "in_progress");
}
