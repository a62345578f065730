//! The jobs that are ticked in the list. They stay so while the list is polled, sorted, filtered and paged through, and
//! whatever phase they get: what is done with them is asked of the server anew, in a dry run.

use leptos::prelude::*;

use crate::{
    hooks::{dom, session::Session},
    model::{BulkAction, BulkPlan, BulkResult, JobId, JobQuery, Phase},
    text,
};

/// A row of the list.
pub(crate) type Row = (JobId, Phase);

/// See the [module](self). Shared by all pages of a visit.
#[derive(Clone, Copy)]
pub(crate) struct Selection {
    session: Session,
    /// Each with the phase in which it was last seen. (A map would do, and is 3 kB more to load.)
    jobs: RwSignal<Vec<Row>>,
    /// Where a range begins: the box that was used last.
    anchor: StoredValue<Option<JobId>>,
    /// The filter all of whose jobs these are.
    pub(crate) filter: StoredValue<Option<JobQuery>>,
    /// What the open dialog asks about.
    pub(crate) asking: RwSignal<Option<BulkAction>>,
}

fn has(jobs: &[Row], id: JobId) -> bool {
    jobs.iter().any(|job| job.0 == id)
}

impl Selection {
    /// With what was ticked before the page was hydrated.
    pub(crate) fn new(session: Session) -> Self {
        let ticked = if cfg!(target_family = "wasm") { dom::ticked("job") } else { Vec::new() };
        let jobs = ticked.iter().filter_map(|id| Some((id.parse().ok()?, Phase::Pending))).collect();
        Selection {
            session,
            jobs: RwSignal::new(jobs),
            anchor: StoredValue::new(None),
            filter: StoredValue::new(None),
            asking: RwSignal::new(None),
        }
    }

    pub(crate) fn has(&self, id: JobId) -> bool {
        self.jobs.with(|jobs| has(jobs, id))
    }

    pub(crate) fn len(&self) -> usize {
        self.jobs.with(Vec::len)
    }

    pub(crate) fn ids(&self) -> Vec<JobId> {
        self.jobs.with_untracked(|jobs| jobs.iter().map(|job| job.0).collect())
    }

    /// How many of them have this result, as far as their phases are known.
    pub(crate) fn would(&self, action: BulkAction, result: BulkResult) -> usize {
        self.jobs.with(|jobs| jobs.iter().filter(|job| action.verdict(job.1, false) == result).count())
    }

    /// How many of `rows` are among them.
    pub(crate) fn among(&self, rows: &[Row]) -> usize {
        self.jobs.with(|jobs| rows.iter().filter(|row| has(jobs, row.0)).count())
    }

    fn put(&self, jobs: Vec<Row>, filter: Option<JobQuery>) {
        self.session.announcement.set(format!("{} selected", text::counted(jobs.len() as u64, ("job", "jobs"))));
        self.filter.set_value(filter);
        self.jobs.set(jobs);
    }

    /// Ticks or unticks these.
    pub(crate) fn set(&self, rows: &[Row], on: bool) {
        let mut jobs = self.jobs.get_untracked();
        jobs.retain(|job| !has(rows, job.0));
        if on {
            jobs.extend_from_slice(rows);
        }
        self.put(jobs, None);
    }

    /// The box of `id` was used; `range`: with it all from the one before.
    pub(crate) fn tick(&self, rows: &[Row], id: JobId, on: bool, range: bool) {
        let place = |id: JobId| rows.iter().position(|row| row.0 == id);
        let Some(here) = place(id) else { return };
        let from = self.anchor.get_value().filter(|_| range).and_then(place).unwrap_or(here);
        self.anchor.set_value(Some(id));
        self.set(&rows[from.min(here)..=from.max(here)], on);
    }

    /// Exactly the jobs of a dry run.
    pub(crate) fn take(&self, filter: JobQuery, plan: &BulkPlan) {
        self.put(plan.items.iter().filter_map(|item| Some((item.job_id, item.phase?))).collect(), Some(filter));
    }

    /// Takes over the present phases.
    pub(crate) fn seen(&self, rows: &[Row]) {
        let mut jobs = self.jobs.get_untracked();
        let mut news = false;
        for job in &mut jobs {
            if let Some(row) = rows.iter().find(|row| row.0 == job.0 && row.1 != job.1) {
                *job = *row;
                news = true;
            }
        }
        if news {
            self.jobs.set(jobs);
        }
    }

    /// The job is gone.
    pub(crate) fn forget(&self, id: JobId) {
        if untrack(|| self.has(id)) {
            self.set(&[(id, Phase::Deleting)], false);
        }
    }

    pub(crate) fn clear(&self) {
        self.anchor.set_value(None);
        self.put(Vec::new(), None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::BulkPlanItem;

    fn rows(phases: &[Phase]) -> Vec<Row> {
        phases.iter().enumerate().map(|(index, phase)| (JobId(index as u128), *phase)).collect()
    }

    fn ticked(selection: &Selection) -> Vec<u128> {
        let mut ids: Vec<_> = selection.ids().iter().map(|id| id.0).collect();
        ids.sort_unstable();
        ids
    }

    fn selection() -> Selection {
        Selection::new(Session::of_nobody())
    }

    #[test]
    fn shift_ticks_or_unticks_all_between_two_boxes_in_either_direction() {
        Owner::new().with(|| {
            let (selection, rows) = (selection(), rows(&[Phase::Completed; 6]));
            selection.tick(&rows, JobId(4), true, true);
            assert_eq!(ticked(&selection), [4], "there is no box before the first");
            selection.tick(&rows, JobId(1), true, true);
            assert_eq!(ticked(&selection), [1, 2, 3, 4]);
            selection.tick(&rows, JobId(3), false, false);
            selection.tick(&rows, JobId(5), false, true);
            assert_eq!(ticked(&selection), [1, 2]);
            // The box before is on another page.
            selection.tick(&rows[..2], JobId(0), true, true);
            assert_eq!(ticked(&selection), [0, 1, 2]);
        });
    }

    #[test]
    fn a_job_stays_selected_whatever_becomes_of_it_and_its_row() {
        Owner::new().with(|| {
            let selection = selection();
            selection.set(&rows(&[Phase::Pending, Phase::InProgress, Phase::Failed]), true);
            let would = |action, result| selection.would(action, result);
            assert_eq!(would(BulkAction::Cancel, BulkResult::Done), 2);
            selection.seen(&rows(&[Phase::Completed])[..1]);
            assert_eq!((selection.len(), would(BulkAction::Cancel, BulkResult::Done)), (3, 1));
            assert_eq!(would(BulkAction::Delete, BulkResult::Done), 2);
            assert_eq!(would(BulkAction::Delete, BulkResult::NeedsForce), 1);
            assert_eq!(selection.among(&rows(&[Phase::Pending])), 1);
            selection.forget(JobId(0));
            assert_eq!(ticked(&selection), [1, 2]);
        });
    }

    #[test]
    fn all_that_match_are_those_of_the_dry_run() {
        Owner::new().with(|| {
            let (selection, rows) = (selection(), rows(&[Phase::Failed; 3]));
            selection.set(&rows, true);
            let item = |id: u128| BulkPlanItem {
                job_id: JobId(id),
                name: String::new(),
                phase: Some(Phase::Failed),
                result: BulkResult::Done,
                detail: None,
            };
            let plan = BulkPlan {
                action: BulkAction::Delete,
                total: 2,
                counts: Vec::new(),
                bytes: 0,
                items: vec![item(7), item(9)],
            };
            let filter = JobQuery { phases: vec![Phase::Failed], ..JobQuery::default() };
            selection.take(filter.clone(), &plan);
            assert_eq!((ticked(&selection), selection.filter.get_value()), (vec![7, 9], Some(filter)));
            selection.set(&rows[..1], true);
            assert_eq!(selection.filter.get_value(), None, "it is not all of a filter any more");
        });
    }
}
