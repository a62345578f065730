//! Many jobs at once: what is selected, what is counted, how it ends.

use app::model::{
    AuditAction, Bulk, BulkAction, BulkCount, BulkId, BulkItemQuery, BulkResult, BulkState, JobId, JobQuery, Phase,
    Source,
};
use belay_server::store::{BulkBegun, BulkOutcome, CancelEffect, Idempotency, NewBulk, Selection};

use super::fixture::Fixture;

fn new(f: &Fixture) -> NewBulk {
    NewBulk {
        bulk_id: BulkId(f.id()),
        action: BulkAction::Cancel,
        reason: Some("user_request".to_owned()),
        notes: Some("wrong folder".to_owned()),
        force: false,
        keep_files: false,
        created_at: f.now(),
        created_by: "mara".to_owned(),
        source: Source::Api,
        request_id: "request-2".to_owned(),
        retry_of: None,
    }
}

async fn begin(f: &Fixture, jobs: &[JobId]) -> BulkId {
    let bulk = new(f);
    let begun = f.store.begin_bulk(&bulk, jobs, None, f.event(AuditAction::Bulk, None)).await.unwrap();
    assert_eq!(begun, BulkBegun::Stored);
    bulk.bulk_id
}

async fn look(f: &Fixture, id: BulkId) -> Bulk {
    f.store.bulk(id).await.unwrap().expect("the bulk is there")
}

fn counts(pairs: &[(BulkResult, u64)]) -> Vec<BulkCount> {
    pairs.iter().map(|(result, jobs)| BulkCount { result: *result, jobs: *jobs }).collect()
}

fn outcome(f: &Fixture, index: u64, result: BulkResult) -> BulkOutcome {
    BulkOutcome { index, result, detail: Some("why".to_owned()), at: f.now(), freed_bytes: 10, new_job_id: None }
}

async fn selected(f: &Fixture, selection: Selection, limit: usize) -> Vec<JobId> {
    f.store.select_jobs(&selection, limit).await.unwrap().into_iter().map(|job| job.job_id).collect()
}

pub(crate) async fn a_selection_is_what_the_list_shows_at_most_the_limit(f: Fixture) {
    let mut jobs = Vec::new();
    for _ in 0..5 {
        jobs.push(f.submit(1, 1).await);
    }
    f.cancel(jobs[1]).await;
    let filter = |query| Selection::Filter { query, finished_before: None };
    let pending = JobQuery { phases: vec![Phase::Pending], ..JobQuery::default() };
    assert_eq!(selected(&f, filter(pending.clone()), 9).await, [jobs[0], jobs[2], jobs[3], jobs[4]]);
    assert_eq!(selected(&f, filter(pending), 2).await, [jobs[0], jobs[2]]);
    let by_name = JobQuery { q: Some("a job".to_owned()), phases: vec![Phase::Cancelled], ..JobQuery::default() };
    assert_eq!(selected(&f, filter(by_name), 9).await, [jobs[1]]);
    // The list's own page size does not count.
    let small = JobQuery { limit: Some(1), ..JobQuery::default() };
    assert_eq!(selected(&f, filter(small), 9).await, jobs);
    let ids = Selection::Ids(vec![jobs[3], JobId(7), jobs[0]]);
    assert_eq!(selected(&f, ids, 9).await, [jobs[3], jobs[0]]);
}

pub(crate) async fn a_selection_by_age_is_what_had_ended_before(f: Fixture) {
    let (old, young, pending) = (f.submit(1, 1).await, f.submit(1, 1).await, f.submit(1, 1).await);
    f.cancel(old).await;
    let between = f.now();
    f.cancel(young).await;
    for q in [None, Some("a job".to_owned())] {
        let query = JobQuery { q, ..JobQuery::default() };
        let before = |at| Selection::Filter { query: query.clone(), finished_before: Some(at) };
        assert_eq!(selected(&f, before(between), 9).await, [old]);
        assert_eq!(selected(&f, before(f.now()), 9).await, [old, young]);
        assert_eq!(selected(&f, before(f.now()), 1).await, [old]);
    }
    assert_eq!(f.phase(pending).await, Phase::Pending);
}

pub(crate) async fn a_bulk_counts_its_results_and_ends_when_nothing_is_left(f: Fixture) {
    let known = f.submit(1, 1).await;
    let id = begin(&f, &[known, JobId(7), JobId(8)]).await;
    let bulk = look(&f, id).await;
    assert_eq!((bulk.total, bulk.state, bulk.over()), (3, BulkState::Running, 0));
    assert_eq!((bulk.reason.as_deref(), bulk.notes.as_deref()), (Some("user_request"), Some("wrong folder")));
    assert_eq!(bulk.counts, counts(&[(BulkResult::Pending, 3)]));
    let items = f.store.bulk_items(id, &BulkItemQuery::default(), 9).await.unwrap().items;
    assert_eq!(items.iter().map(|item| item.job_id).collect::<Vec<_>>(), [known, JobId(7), JobId(8)]);
    assert_eq!((items[0].name.as_str(), items[1].name.as_str()), ("a job", ""));
    let first = [outcome(&f, 0, BulkResult::Working), outcome(&f, 2, BulkResult::NotFound)];
    f.store.record_bulk(id, &first).await.unwrap();
    f.store.finish_bulk(id, f.now()).await.unwrap();
    assert_eq!(look(&f, id).await.state, BulkState::Running, "something is left to do");
    assert_eq!(f.store.running_bulks().await.unwrap(), [look(&f, id).await]);
    let rest = [outcome(&f, 0, BulkResult::Done), outcome(&f, 1, BulkResult::Failed)];
    f.store.record_bulk(id, &rest).await.unwrap();
    f.store.finish_bulk(id, f.now()).await.unwrap();
    let bulk = look(&f, id).await;
    assert_eq!((bulk.state, bulk.over(), bulk.freed_bytes), (BulkState::Done, 3, 30));
    let expected = [(BulkResult::Done, 1), (BulkResult::NotFound, 1), (BulkResult::Failed, 1)];
    assert_eq!(bulk.counts, counts(&expected));
    assert!(f.store.running_bulks().await.unwrap().is_empty());
    let failed = BulkItemQuery { result: Some(BulkResult::Failed), cursor: None };
    let failed = f.store.bulk_items(id, &failed, 9).await.unwrap().items;
    assert_eq!((failed.len(), failed[0].index, failed[0].detail.as_deref()), (1, 1, Some("why")));
    let mut query = BulkItemQuery::default();
    let mut seen = Vec::new();
    loop {
        let page = f.store.bulk_items(id, &query, 1).await.unwrap();
        seen.extend(page.items.iter().map(|item| item.index));
        query.cursor = page.next_cursor;
        if query.cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, [0, 1, 2]);
    let second = begin(&f, &[]).await;
    let page = f.store.bulks(None, 1).await.unwrap();
    assert_eq!(page.items[0].bulk_id, second);
    let rest = f.store.bulks(page.next_cursor.as_deref(), 1).await.unwrap();
    assert_eq!((rest.items[0].bulk_id, rest.next_cursor), (id, None));
    assert!(f.store.bulk(BulkId(9)).await.unwrap().is_none());
}

pub(crate) async fn an_abort_takes_what_is_pending_and_nothing_else(f: Fixture) {
    let id = begin(&f, &[JobId(1), JobId(2), JobId(3)]).await;
    f.store.record_bulk(id, &[outcome(&f, 0, BulkResult::Working)]).await.unwrap();
    let event = || f.event(AuditAction::AbortBulk, None);
    assert!(f.store.abort_bulk(id, "jon", f.now(), event()).await.unwrap());
    assert!(!f.store.abort_bulk(id, "ines", f.now(), event()).await.unwrap(), "it was aborted before");
    let bulk = look(&f, id).await;
    assert_eq!(bulk.counts, counts(&[(BulkResult::Working, 1), (BulkResult::Aborted, 2)]));
    assert_eq!((bulk.aborted_by.as_deref(), bulk.state), (Some("jon"), BulkState::Running));
    // Reached before the abort was seen: what was done is told.
    let late = [outcome(&f, 0, BulkResult::Done), outcome(&f, 1, BulkResult::Done)];
    f.store.record_bulk(id, &late).await.unwrap();
    f.store.finish_bulk(id, f.now()).await.unwrap();
    let bulk = look(&f, id).await;
    assert_eq!(bulk.counts, counts(&[(BulkResult::Done, 2), (BulkResult::Aborted, 1)]));
    assert_eq!(bulk.state, BulkState::Aborted);
    assert!(!f.store.abort_bulk(id, "jon", f.now(), event()).await.unwrap(), "it has ended");
}

pub(crate) async fn many_cancels_in_one_transaction_are_as_one_by_one(f: Fixture) {
    let (pending, over) = (f.submit(2, 1).await, f.submit(1, 1).await);
    f.cancel(over).await;
    let running = f.submit(1, 1).await;
    f.store
        .claim(&belay_server::store::Claim {
            worker: super::fixture::WORKER.to_owned(),
            lane: belay_server::store::Lane::Local,
            max: 2,
            now: f.now(),
            lease_until: f.now().plus_millis(15_000),
            run_ids: vec![app::model::RunId(f.id()), app::model::RunId(f.id())],
        })
        .await
        .unwrap();
    let still_pending = f.submit(1, 1).await;
    let orders = [still_pending, JobId(7), over, running, pending]
        .map(|id| (f.order(id), f.event(AuditAction::Cancel, Some(id))))
        .to_vec();
    let effects = f.store.cancel_many(orders).await.unwrap();
    let phases: Vec<Option<Phase>> = effects
        .iter()
        .map(|effect| match effect {
            CancelEffect::NotFound => None,
            CancelEffect::Began(job) | CancelEffect::Repeated(job) | CancelEffect::NotCancellable(job) => {
                Some(job.phase)
            }
        })
        .collect();
    let (cancelled, cancelling) = (Some(Phase::Cancelled), Some(Phase::Cancelling));
    assert_eq!(phases, [cancelled, None, cancelled, cancelling, cancelling]);
    assert!(matches!(effects[2], CancelEffect::NotCancellable(_)));
    assert_eq!(f.phase(still_pending).await, Phase::Cancelled);
    let events = f.store.audit_events(None, 4).await.unwrap().items;
    let results: Vec<&str> = events.iter().rev().map(|event| event.result.as_str()).collect();
    assert_eq!(results, ["cancelled", "already_cancelled", "cancelling", "cancelling"]);
}

pub(crate) async fn a_known_key_gives_the_first_bulk_and_stores_nothing(f: Fixture) {
    let key = |hash: &str| {
        let (actor, key, request_hash) = ("mara".to_owned(), "key-1".to_owned(), hash.to_owned());
        Some(Idempotency { actor, key, request_hash, now: f.now() })
    };
    let begin = async |bulk: &NewBulk, hash: &str| {
        f.store.begin_bulk(bulk, &[JobId(1)], key(hash), f.event(AuditAction::Bulk, None)).await.unwrap()
    };
    let (first, second) = (new(&f), new(&f));
    assert_eq!(begin(&first, "a").await, BulkBegun::Stored);
    assert_eq!(begin(&second, "a").await, BulkBegun::Replayed(first.bulk_id));
    assert_eq!(begin(&second, "b").await, BulkBegun::KeyConflict);
    assert!(f.store.bulk(second.bulk_id).await.unwrap().is_none());
}
