//! The job list: orders, filters, pages, search, counts.

use std::collections::BTreeSet;

use app::model::{ErrorCode, JobId, JobQuery, JobSort, Kind, Phase};
use belay_server::{error::Error, store::JobRecord};

use super::fixture::Fixture;

/// 40 jobs in several phases, by two people, names with ties; every page is compared with a plain filter and sort.
async fn fill(f: &Fixture) -> Vec<JobRecord> {
    let mut jobs = Vec::new();
    for number in 0..40 {
        let mut new = f.new_job(&format!("{} {}", ["Alpha", "beta", "Gamma"][number % 3], number % 4), 1);
        new.created_by = ["mara", "jon"][number % 2].to_owned();
        let id = f.submit_as(new, 1).await;
        match number % 5 {
            0 => {
                f.run_all(id).await;
            }
            1 | 2 => {
                f.cancel(id).await;
            }
            3 => {
                f.cancel(id).await;
                let receipt = f.receipt_for(id).await;
                f.store.begin_delete(&receipt, f.event(app::model::AuditAction::Delete, None)).await.unwrap();
            }
            _ => {}
        }
        // Whatever is left pending would be claimed by the next `run_all`.
        if number % 5 == 4 {
            f.claim_one().await;
        }
        jobs.push(id);
    }
    let mut records = Vec::new();
    for id in jobs {
        records.push(f.job(id).await);
    }
    records
}

fn expected(all: &[JobRecord], query: &JobQuery) -> Vec<JobId> {
    let mut jobs: Vec<(usize, &JobRecord)> = all
        .iter()
        .enumerate()
        .filter(|(_, job)| query.phases.is_empty() || query.phases.contains(&job.phase))
        .filter(|(_, job)| query.kind.is_none_or(|kind| job.kind == kind))
        .filter(|(_, job)| query.created_by.as_ref().is_none_or(|by| *by == job.created_by))
        .filter(|(_, job)| {
            query.q.as_ref().is_none_or(|q| {
                job.name.to_lowercase().contains(&q.to_lowercase()) || job.job_id.to_string().contains(q.as_str())
            })
        })
        .collect();
    let name = |job: &JobRecord| job.name.to_ascii_lowercase();
    match query.sort {
        JobSort::OldestFirst | JobSort::NewestFirst => {}
        JobSort::FinishedLatest | JobSort::FinishedEarliest => {
            jobs.retain(|(_, job)| job.finished_at.is_some());
            jobs.sort_by_key(|(at, job)| (job.finished_at, *at));
        }
        JobSort::NameAscending | JobSort::NameDescending => jobs.sort_by_key(|(at, job)| (name(job), *at)),
    }
    if matches!(query.sort, JobSort::NewestFirst | JobSort::FinishedLatest | JobSort::NameDescending) {
        jobs.reverse();
    }
    jobs.iter().map(|(_, job)| job.job_id).collect()
}

/// All pages of a query.
async fn walk(f: &Fixture, query: &JobQuery) -> Vec<JobId> {
    let mut query = query.clone();
    let mut found = Vec::new();
    loop {
        let page = f.store.jobs(&query).await.unwrap();
        assert!(page.items.len() <= query.limit() as usize);
        found.extend(page.items.iter().map(|job| job.job_id));
        match page.next_cursor {
            Some(cursor) => query.cursor = Some(cursor),
            None => return found,
        }
    }
}

pub(crate) async fn every_order_and_filter_pages_through_exactly_its_jobs(f: Fixture) {
    let all = fill(&f).await;
    let phases = [vec![], vec![Phase::Cancelled], vec![Phase::Pending, Phase::Completed, Phase::Deleting]];
    for sort in JobSort::ALL {
        for phases in &phases {
            for created_by in [None, Some("jon".to_owned())] {
                for kind in [None, Some(Kind::Files)] {
                    for q in [None, Some("ETA".to_owned()), Some("ma 3".to_owned())] {
                        let query = JobQuery {
                            phases: phases.clone(),
                            kind,
                            q,
                            created_by: created_by.clone(),
                            sort,
                            cursor: None,
                            limit: Some(3),
                        };
                        assert_eq!(walk(&f, &query).await, expected(&all, &query), "{query:?}");
                    }
                }
            }
        }
    }
}

pub(crate) async fn the_last_page_has_no_cursor(f: Fixture) {
    for _ in 0..4 {
        f.submit(1, 1).await;
    }
    let query = JobQuery { limit: Some(4), ..JobQuery::default() };
    assert_eq!(f.store.jobs(&query).await.unwrap().next_cursor, None);
    let query = JobQuery { limit: Some(3), ..JobQuery::default() };
    assert!(f.store.jobs(&query).await.unwrap().next_cursor.is_some());
}

pub(crate) async fn a_job_is_found_by_parts_of_its_name_and_id_without_case(f: Fixture) {
    let hostile = "50% \"off\" OR * NEAR(x) -y";
    let id = f.submit_as(f.new_job(hostile, 1), 1).await;
    let umlaut = f.submit_as(f.new_job("Größe ÄNDERN", 1), 1).await;
    let find = async |q: &str| walk(&f, &JobQuery { q: Some(q.to_owned()), ..JobQuery::default() }).await;
    for q in ["50% \"o", "\"OFF\"", " or * ", "near(x)", "-y", &id.to_string(), &id.to_string()[20..]] {
        if q.trim().chars().count() >= 3 {
            assert_eq!(find(q).await, [id], "{q}");
        }
    }
    assert_eq!(find("größe ändern").await, [umlaut]);
    assert!(find("no such").await.is_empty());
    assert!(find("\"\"\"").await.is_empty());
    let short = JobQuery { q: Some("ab".to_owned()), ..JobQuery::default() };
    assert!(matches!(f.store.jobs(&short).await, Err(Error::Invalid { code: ErrorCode::InvalidQuery, .. })));
}

pub(crate) async fn a_made_up_cursor_or_one_of_another_order_is_refused(f: Fixture) {
    for _ in 0..3 {
        f.submit(1, 1).await;
    }
    let mut query = JobQuery { limit: Some(1), ..JobQuery::default() };
    let cursor = f.store.jobs(&query).await.unwrap().next_cursor.unwrap();
    for (sort, cursor) in [
        (JobSort::NewestFirst, "made up".to_owned()),
        (JobSort::NewestFirst, String::new()),
        (JobSort::NewestFirst, format!("{cursor}00")),
        (JobSort::OldestFirst, cursor.clone()),
        (JobSort::NameAscending, cursor.clone()),
    ] {
        query.sort = sort;
        query.cursor = Some(cursor);
        let Err(Error::Invalid { code, field, .. }) = f.store.jobs(&query).await else { panic!("{query:?}") };
        assert_eq!((code, field.as_deref()), (ErrorCode::InvalidQuery, Some("cursor")));
    }
}

pub(crate) async fn a_page_goes_on_where_it_ended_although_jobs_come_and_go(f: Fixture) {
    let mut all = Vec::new();
    for _ in 0..6 {
        all.push(f.submit(1, 1).await);
    }
    let mut query = JobQuery { limit: Some(2), ..JobQuery::default() };
    let first = f.store.jobs(&query).await.unwrap();
    query.cursor = first.next_cursor;
    f.submit(1, 1).await;
    f.cancel(all[3]).await;
    let receipt = f.receipt_for(all[3]).await;
    f.store.begin_delete(&receipt, f.event(app::model::AuditAction::Delete, None)).await.unwrap();
    f.store.finish_delete(&receipt, &[]).await.unwrap();
    let rest: BTreeSet<JobId> = walk(&f, &query).await.into_iter().collect();
    assert_eq!(rest, all[..3].iter().copied().collect());
}

pub(crate) async fn counts_per_phase_are_those_of_the_jobs(f: Fixture) {
    let all = fill(&f).await;
    let counts = f.store.phase_counts().await.unwrap();
    for phase in Phase::ALL {
        let jobs = all.iter().filter(|job| job.phase == phase).count() as u64;
        let told = counts.iter().find(|count| count.phase == phase);
        assert_eq!(told.map_or(0, |count| count.count), jobs, "{phase}");
        assert_eq!(told.is_some(), jobs > 0, "phases without a job are left out");
    }
}
