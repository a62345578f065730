//! Delete: from the note to the receipt.

use app::model::{AuditAction, JobQuery, Phase, Receipt, ReceiptState, Source};
use belay_server::{
    error::Error,
    store::{BeginDelete, CancelEffect, DeleteIntent, Verdict},
};

use super::fixture::{Fixture, unproven};

async fn begin(f: &Fixture, receipt: &Receipt) -> BeginDelete {
    f.store.begin_delete(receipt, f.event(AuditAction::Delete, Some(receipt.job_id))).await.unwrap()
}

pub(crate) async fn only_what_is_over_can_be_deleted(f: Fixture) {
    let job = f.submit(2, 1).await;
    let receipt = f.receipt_for(job).await;
    assert!(matches!(begin(&f, &receipt).await, BeginDelete::NotTerminal(Phase::Pending)));
    f.claim_one().await;
    f.cancel(job).await;
    assert!(matches!(begin(&f, &receipt).await, BeginDelete::NotTerminal(Phase::Cancelling)));
    assert_eq!(f.store.receipt(job).await.unwrap(), None, "nothing was written");
    assert_eq!(f.store.remove_rows(job, 100).await.unwrap(), 0, "and nothing can be removed");
    assert!(f.store.finish_delete(&receipt, &[]).await.is_err());
    assert_eq!(f.store.count_rows(job).await.unwrap().total(), 3);
    let unknown = Receipt { job_id: app::model::JobId(f.id()), ..receipt };
    assert!(matches!(begin(&f, &unknown).await, BeginDelete::NotFound));
}

pub(crate) async fn a_job_goes_in_steps_and_leaves_a_receipt(f: Fixture) {
    let job = f.submit(7, 7).await;
    f.run_all(job).await;
    let receipt = f.receipt_for(job).await;
    assert!(matches!(begin(&f, &receipt).await, BeginDelete::Began));
    assert_eq!(f.phase(job).await, Phase::Deleting);
    assert_eq!(f.store.deleting_jobs().await.unwrap(), std::slice::from_ref(&receipt));
    assert!(matches!(begin(&f, &f.receipt_for(job).await).await, BeginDelete::Joined(first) if *first == receipt));
    let rows = f.store.count_rows(job).await.unwrap();
    assert_eq!((rows.units, rows.runs, rows.artifacts), (7, 7, 0));
    let mut removed = 0;
    loop {
        let step = f.store.remove_rows(job, 4).await.unwrap();
        assert!(step <= 4);
        if step == 0 {
            break;
        }
        removed += step;
    }
    assert_eq!(removed, 14);
    assert_eq!(f.phase(job).await, Phase::Deleting, "the row stays to the end");
    let over = Receipt { state: ReceiptState::Complete, deleted_at: Some(f.now()), ..receipt };
    f.store.finish_delete(&over, &[]).await.unwrap();
    assert_eq!(f.store.job(job).await.unwrap(), None);
    assert_eq!(f.store.receipt(job).await.unwrap(), Some(over.clone()));
    assert!(f.store.deleting_jobs().await.unwrap().is_empty());
    assert!(f.store.phase_counts().await.unwrap().is_empty());
    f.store.finish_delete(&over, &[]).await.unwrap();
    assert_eq!(f.store.receipts(None, 9).await.unwrap().items, [over], "finished twice is finished once");
}

pub(crate) async fn finishing_a_delete_takes_what_the_steps_left(f: Fixture) {
    let job = f.submit(50, 1).await;
    f.cancel(job).await;
    let receipt = f.receipt_for(job).await;
    begin(&f, &receipt).await;
    f.store.finish_delete(&receipt, &[]).await.unwrap();
    assert_eq!(f.store.count_rows(job).await.unwrap().total(), 0);
    let query = JobQuery { q: Some("a job".to_owned()), ..JobQuery::default() };
    assert!(f.store.jobs(&query).await.unwrap().items.is_empty(), "it is not found by its name any more");
}

pub(crate) async fn a_deleting_job_is_shown_and_can_do_nothing_else(f: Fixture) {
    let job = f.submit(1, 1).await;
    f.run_all(job).await;
    begin(&f, &f.receipt_for(job).await).await;
    let shown = f.store.jobs(&JobQuery::default()).await.unwrap().items;
    assert_eq!(shown[0].phase, Phase::Deleting);
    assert!(matches!(f.cancel(job).await, CancelEffect::NotCancellable(_)));
    assert_eq!(f.audited().await, "refused: JOB_DELETING");
    assert!(f.store.conclude(job, Phase::Deleting, None, f.now()).await.unwrap().is_none());
}

fn intent(f: &Fixture, actor: &str) -> DeleteIntent {
    DeleteIntent {
        actor: actor.to_owned(),
        source: Source::Console,
        request_id: "request-4".to_owned(),
        at: f.now(),
        keep_files: true,
    }
}

pub(crate) async fn the_first_note_of_a_delete_wins_and_ends_with_its_beginning(f: Fixture) {
    let job = f.submit(1, 1).await;
    let run = f.claim_one().await;
    assert!(!f.job(job).await.delete_intended);
    let first = intent(&f, "mara");
    f.store.intend_delete(job, &first).await.unwrap();
    f.store.intend_delete(job, &intent(&f, "jon")).await.unwrap();
    let noted = f.store.intended_deletes().await.unwrap();
    assert_eq!(noted.len(), 1);
    assert_eq!((noted[0].0.job_id, &noted[0].1), (job, &first));
    assert!(f.job(job).await.delete_intended);
    f.finish(run.run_id, Verdict::Succeeded).await;
    f.store.conclude(job, Phase::InProgress, None, f.now()).await.unwrap();
    begin(&f, &f.receipt_for(job).await).await;
    assert!(f.store.intended_deletes().await.unwrap().is_empty());
    let unknown = f.store.intend_delete(app::model::JobId(f.id()), &first).await;
    assert!(matches!(unknown, Err(Error::JobNotFound(_))));
}

pub(crate) async fn what_is_needed_to_ask_again_outlives_the_job(f: Fixture) {
    let job = f.submit(2, 2).await;
    f.claim(2).await;
    f.cancel(job).await;
    f.store.give_up_unproven(job, f.now()).await.unwrap();
    let mut runs = f.store.unconfirmed_runs(job).await.unwrap();
    assert!(runs.iter().all(|run| run.is_cancelled));
    // Nothing is written into its log any more.
    runs.iter_mut().for_each(|run| run.is_cancelled = false);
    let receipt = f.receipt_for(job).await;
    begin(&f, &receipt).await;
    let over = Receipt { state: ReceiptState::Incomplete, ..receipt };
    f.store.finish_delete(&over, &runs).await.unwrap();
    assert_eq!(f.store.unproven_of_removal(job).await.unwrap(), runs);
    assert_eq!(f.store.count_unconfirmed().await.unwrap(), runs.len() as u64, "of a job that was removed");
    let mut left = runs[..1].to_vec();
    left[0].stop = Some(unproven());
    let retried = Receipt { retries: 1, ..over };
    let event = f.event(AuditAction::RetryRemoval, Some(job));
    f.store.update_receipt(&retried, &left, Some(event)).await.unwrap();
    assert_eq!(f.store.unproven_of_removal(job).await.unwrap(), left);
    assert_eq!(f.store.receipt(job).await.unwrap(), Some(retried));
}

pub(crate) async fn receipts_and_audit_are_paged_newest_first(f: Fixture) {
    let mut jobs = Vec::new();
    for _ in 0..5 {
        let job = f.submit(1, 1).await;
        f.run_all(job).await;
        let receipt = f.receipt_for(job).await;
        begin(&f, &receipt).await;
        f.store.finish_delete(&receipt, &[]).await.unwrap();
        jobs.insert(0, job);
    }
    let first = f.store.receipts(None, 3).await.unwrap();
    let second = f.store.receipts(first.next_cursor.as_deref(), 3).await.unwrap();
    assert_eq!(second.next_cursor, None);
    let ids: Vec<_> = first.items.iter().chain(&second.items).map(|receipt| receipt.job_id).collect();
    assert_eq!(ids, jobs);
    let first = f.store.audit_events(None, 6).await.unwrap();
    let second = f.store.audit_events(first.next_cursor.as_deref(), 6).await.unwrap();
    assert_eq!((first.items.len(), second.items.len(), second.next_cursor), (6, 4, None));
    let times: Vec<_> = first.items.iter().chain(&second.items).map(|event| event.at).collect();
    assert!(times.is_sorted_by(|a, b| a >= b));
    assert!(f.store.receipts(Some("made up"), 3).await.is_err());
    assert!(f.store.audit_events(f.store.receipts(None, 1).await.unwrap().next_cursor.as_deref(), 3).await.is_err());
}
