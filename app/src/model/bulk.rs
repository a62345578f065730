//! Acting on many jobs at once. The selection is frozen when the bulk is made; every job has a result of its own, and
//! one that fails stops none of the others.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{
    audit::Source,
    id::{BulkId, JobId},
    page::JobQuery,
    phase::{Phase, PhaseClass},
    spec::Kind,
    time::Timestamp,
};

/// What is done to each job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub enum BulkAction {
    Cancel,
    Delete,
    /// A new job over all units of each that has ended.
    Rerun,
}

impl BulkAction {
    /// All of them.
    pub const ALL: [BulkAction; 3] = [BulkAction::Cancel, BulkAction::Delete, BulkAction::Rerun];

    /// The name in JSON and SQL.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            BulkAction::Cancel => "cancel",
            BulkAction::Delete => "delete",
            BulkAction::Rerun => "rerun",
        }
    }

    /// The words that people read.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            BulkAction::Cancel => "Cancel",
            BulkAction::Delete => "Delete",
            BulkAction::Rerun => "Rerun",
        }
    }

    /// What the action comes to for a job in this phase. Dry run and console ask; the run itself meets the same rules.
    #[must_use]
    pub const fn verdict(self, phase: Phase, force: bool) -> BulkResult {
        match (self, phase.class()) {
            (BulkAction::Cancel, PhaseClass::Pending | PhaseClass::Active | PhaseClass::Cancelling)
            | (BulkAction::Delete, PhaseClass::Terminal | PhaseClass::Deleting)
            | (BulkAction::Rerun, PhaseClass::Terminal) => BulkResult::Done,
            (BulkAction::Cancel, PhaseClass::Terminal) => BulkResult::AlreadyDone,
            (BulkAction::Cancel | BulkAction::Rerun, PhaseClass::Deleting)
            | (BulkAction::Rerun, PhaseClass::Pending | PhaseClass::Active | PhaseClass::Cancelling) => {
                BulkResult::NotAllowed
            }
            (BulkAction::Delete, PhaseClass::Pending | PhaseClass::Active | PhaseClass::Cancelling) => {
                if force {
                    BulkResult::Done
                } else {
                    BulkResult::NeedsForce
                }
            }
        }
    }

    /// Why the action, without force, does nothing to a job in this phase: the words of the rules for one job.
    #[must_use]
    pub const fn why_not(self, phase: Phase) -> Option<&'static str> {
        match self {
            BulkAction::Cancel => phase.why_no_cancel(),
            BulkAction::Delete => phase.why_no_delete(),
            BulkAction::Rerun => phase.why_no_rerun(),
        }
    }
}

impl FromStr for BulkAction {
    type Err = UnknownBulkWord;

    fn from_str(text: &str) -> Result<Self, UnknownBulkWord> {
        let found = BulkAction::ALL.into_iter().find(|action| action.as_str() == text);
        found.ok_or_else(|| UnknownBulkWord(text.to_owned()))
    }
}

/// Where one job of a bulk is; in a dry run where it would end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub enum BulkResult {
    /// Its turn has not come.
    Pending,
    /// Asked for; the proof of the stop, or the end of the removal, is still missing.
    Working,
    /// Cancelled with proof, removed with a complete receipt, or run again as a new job.
    Done,
    /// It had ended, or was removed, before.
    AlreadyDone,
    /// A delete of an active job, without `force`. Nothing was done.
    NeedsForce,
    /// Its phase does not allow it. Nothing was done.
    NotAllowed,
    /// There is no such job.
    NotFound,
    /// It did not come to its end; `detail` says why. A retry takes these.
    Failed,
    /// The bulk was aborted before its turn. Nothing was done.
    Aborted,
}

impl BulkResult {
    /// All, in the order in which they are counted.
    pub const ALL: [BulkResult; 9] = [
        BulkResult::Pending,
        BulkResult::Working,
        BulkResult::Done,
        BulkResult::AlreadyDone,
        BulkResult::NeedsForce,
        BulkResult::NotAllowed,
        BulkResult::NotFound,
        BulkResult::Failed,
        BulkResult::Aborted,
    ];

    /// The name in JSON, SQL and URLs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            BulkResult::Pending => "pending",
            BulkResult::Working => "working",
            BulkResult::Done => "done",
            BulkResult::AlreadyDone => "already_done",
            BulkResult::NeedsForce => "needs_force",
            BulkResult::NotAllowed => "not_allowed",
            BulkResult::NotFound => "not_found",
            BulkResult::Failed => "failed",
            BulkResult::Aborted => "aborted",
        }
    }

    /// The words that people read.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            BulkResult::Pending => "Waiting",
            BulkResult::Working => "Under way",
            BulkResult::Done => "Done",
            BulkResult::AlreadyDone => "Already over",
            BulkResult::NeedsForce => "Needs force",
            BulkResult::NotAllowed => "Not allowed",
            BulkResult::NotFound => "Not found",
            BulkResult::Failed => "Failed",
            BulkResult::Aborted => "Not begun",
        }
    }

    /// Over for good.
    #[must_use]
    pub const fn is_over(self) -> bool {
        !matches!(self, BulkResult::Pending | BulkResult::Working)
    }
}

impl fmt::Display for BulkResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no action or result of a bulk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownBulkWord(pub String);

impl fmt::Display for UnknownBulkWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown word `{}`", self.0)
    }
}

impl std::error::Error for UnknownBulkWord {}

impl FromStr for BulkResult {
    type Err = UnknownBulkWord;

    fn from_str(text: &str) -> Result<Self, UnknownBulkWord> {
        let found = BulkResult::ALL.into_iter().find(|result| result.as_str() == text);
        found.ok_or_else(|| UnknownBulkWord(text.to_owned()))
    }
}

/// Which jobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub enum BulkSelect {
    /// These, each once.
    Ids(Vec<JobId>),
    /// All that the filter shows at the moment of the request.
    Filter(BulkFilter),
}

/// The filter of the job list, as fields. What is left out does not filter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct BulkFilter {
    /// One or more phases, separated by commas; `active` stands for all active ones.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub phase: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kind: Option<Kind>,
    /// At least 3 characters of name or id.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub q: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub created_by: Option<String>,
    /// Only jobs that ended before.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub finished_before: Option<Timestamp>,
}

impl BulkFilter {
    /// The same as a query of the list.
    ///
    /// # Errors
    /// A sentence that names the field and what it takes.
    pub fn query(&self) -> Result<JobQuery, String> {
        let pairs = [("phase", &self.phase), ("q", &self.q), ("created_by", &self.created_by)];
        let given = pairs.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
        Ok(JobQuery { kind: self.kind, ..JobQuery::from_pairs(given)? })
    }
}

/// Before it everything ends that ends.
const END_OF_TIME: Timestamp = Timestamp(253_402_300_799_999);

/// What the list shows under a query: where its order leaves out jobs that have not ended, so does the filter.
impl From<&JobQuery> for BulkFilter {
    fn from(query: &JobQuery) -> Self {
        let words: Vec<&str> = query.phases.iter().map(|phase| phase.as_str()).collect();
        BulkFilter {
            phase: (!words.is_empty()).then(|| words.join(",")),
            kind: query.kind,
            q: query.q.clone(),
            created_by: query.created_by.clone(),
            finished_before: query.sort.leaves_out_unended().then_some(END_OF_TIME),
        }
    }
}

/// Body of `POST /api/bulk`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct BulkRequest {
    pub action: BulkAction,
    pub select: BulkSelect,
    /// Cancel: a short code, as for one job.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// Cancel: at most 500 characters.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub notes: Option<String>,
    /// Cancel: kill now, and end the jobs even where proof stays missing. Delete: stop active jobs first.
    #[serde(default)]
    pub force: bool,
    /// Delete: leave the artifacts in a folder that the receipt names.
    #[serde(default)]
    pub keep_files: bool,
    /// Answers what would happen (`BulkPlan`), changes nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// How many jobs have a result. Results without a job are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct BulkCount {
    pub result: BulkResult,
    pub jobs: u64,
}

/// Jobs with this result.
#[must_use]
pub fn jobs_with(counts: &[BulkCount], result: BulkResult) -> u64 {
    counts.iter().filter(|count| count.result == result).map(|count| count.jobs).sum()
}

/// One job of a dry run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct BulkPlanItem {
    pub job_id: JobId,
    /// Empty where there is no such job.
    pub name: String,
    /// `null` where there is no such job.
    pub phase: Option<Phase>,
    /// Where it would end.
    pub result: BulkResult,
    /// Why nothing would be done, one sentence.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<String>,
}

/// What a bulk would do, unless jobs change meanwhile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct BulkPlan {
    pub action: BulkAction,
    pub total: u64,
    pub counts: Vec<BulkCount>,
    /// Bytes on disk that a delete would free.
    pub bytes: u64,
    pub items: Vec<BulkPlanItem>,
}

impl BulkPlan {
    /// Jobs on which the action would take effect.
    #[must_use]
    pub fn acts_on(&self) -> u64 {
        jobs_with(&self.counts, BulkResult::Done)
    }
}

/// So many jobs are acted on after a plain confirmation.
const MAX_UNTYPED: u64 = 20;

/// Acting on so many jobs, or with force, wants their number typed first.
#[must_use]
pub const fn wants_number(jobs: u64, force: bool) -> bool {
    jobs > MAX_UNTYPED || force
}

/// What the console asks about before it begins a bulk: the query of `/bulk/new`. In URLs `action=cancel`, and either
/// `job=<id>` as often as wanted (or `page=<id>,<id>`), or `all=true` with the filter of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BulkQuestion {
    pub action: BulkAction,
    pub select: BulkSelect,
    pub force: bool,
}

impl BulkQuestion {
    /// Reads name and value pairs of a URL; unknown names are left alone.
    ///
    /// # Errors
    /// A sentence that names the parameter and what it takes.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, String> {
        let pairs: Vec<_> = pairs.into_iter().collect();
        let (mut action, mut all, mut force, mut ids) = (None, false, false, Vec::new());
        for (name, value) in &pairs {
            match *name {
                "action" => action = value.parse().ok(),
                "all" => all = *value == "true",
                "force" => force = *value == "true",
                "job" | "page" => {
                    for id in value.split(',').filter(|id| !id.is_empty()) {
                        ids.push(id.parse().map_err(|_| format!("`{name}`: `{id}` is no id of a job."))?);
                    }
                }
                _ => {}
            }
        }
        let action = action.ok_or_else(|| "`action` takes cancel, delete or rerun.".to_owned())?;
        let select =
            if all { BulkSelect::Filter((&JobQuery::from_pairs(pairs)?).into()) } else { BulkSelect::Ids(ids) };
        Ok(BulkQuestion { action, select, force })
    }

    /// The request for its dry run.
    #[must_use]
    pub fn dry_run(self) -> BulkRequest {
        BulkRequest {
            action: self.action,
            select: self.select,
            reason: None,
            notes: None,
            force: self.force,
            keep_files: false,
            dry_run: true,
        }
    }
}

/// How far a bulk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub enum BulkState {
    Running,
    /// Every job has its result.
    Done,
    /// Likewise, and some were not begun because somebody aborted it.
    Aborted,
}

impl BulkState {
    /// The word that people read.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            BulkState::Running => "Running",
            BulkState::Done => "Done",
            BulkState::Aborted => "Aborted",
        }
    }
}

/// A bulk in an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct Bulk {
    pub bulk_id: BulkId,
    pub action: BulkAction,
    pub state: BulkState,
    pub reason: Option<String>,
    pub notes: Option<String>,
    pub force: bool,
    pub keep_files: bool,
    pub created_at: Timestamp,
    pub created_by: String,
    pub source: Source,
    /// The audit events of its jobs carry the same.
    pub request_id: String,
    pub finished_at: Option<Timestamp>,
    pub aborted_at: Option<Timestamp>,
    pub aborted_by: Option<String>,
    /// The bulk whose failed jobs this one tries again.
    pub retry_of: Option<BulkId>,
    pub total: u64,
    pub counts: Vec<BulkCount>,
    /// Bytes on disk that its removals freed so far.
    pub freed_bytes: u64,
}

impl Bulk {
    /// Jobs whose result stands.
    #[must_use]
    pub fn over(&self) -> u64 {
        self.counts.iter().filter(|count| count.result.is_over()).map(|count| count.jobs).sum()
    }
}

/// One job of a bulk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct BulkItem {
    /// Position in the selection, from 0.
    pub index: u64,
    pub job_id: JobId,
    /// The job's name when the bulk was made; empty where there was no such job.
    pub name: String,
    pub result: BulkResult,
    /// Why, one sentence.
    pub detail: Option<String>,
    /// When the result was reached.
    pub at: Option<Timestamp>,
    /// Rerun: the job that was made of it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub new_job_id: Option<JobId>,
}

/// Which jobs of a bulk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BulkItemQuery {
    pub result: Option<BulkResult>,
    pub cursor: Option<String>,
}

impl BulkItemQuery {
    /// Reads name and value pairs of a URL; unknown names are left alone.
    ///
    /// # Errors
    /// A sentence that names the parameter and what it takes.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, String> {
        let mut query = BulkItemQuery::default();
        for (name, value) in pairs.into_iter().filter(|(_, value)| !value.is_empty()) {
            match name {
                "result" => {
                    query.result = Some(value.parse().map_err(|_| format!("`result`: unknown result `{value}`."))?);
                }
                "cursor" => query.cursor = Some(value.to_owned()),
                _ => {}
            }
        }
        Ok(query)
    }

    /// Name and value pairs for a URL, defaults left out. The caller percent-encodes.
    #[must_use]
    pub fn to_pairs(&self) -> Vec<(&'static str, String)> {
        let result = self.result.map(|result| ("result", result.as_str().to_owned()));
        result.into_iter().chain(self.cursor.clone().map(|cursor| ("cursor", cursor))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_is_that_of_the_rules_for_one_job() {
        for phase in Phase::ALL {
            let cancels = BulkAction::Cancel.verdict(phase, false) == BulkResult::Done;
            assert_eq!(cancels, phase.can_cancel() || phase.can_resend_cancel(), "{phase}");
            let deletes = BulkAction::Delete.verdict(phase, false) == BulkResult::Done;
            assert_eq!(deletes, phase.can_delete(), "{phase}");
            assert_eq!(BulkAction::Delete.verdict(phase, true), BulkResult::Done, "{phase}");
            let reruns = BulkAction::Rerun.verdict(phase, false);
            let expected = if phase.can_rerun() { BulkResult::Done } else { BulkResult::NotAllowed };
            assert_eq!((reruns, BulkAction::Rerun.verdict(phase, true)), (expected, expected), "{phase}");
            for action in BulkAction::ALL {
                let acts = action.verdict(phase, false) == BulkResult::Done;
                assert_eq!(action.why_not(phase).is_none(), acts, "{action:?} {phase}");
            }
        }
    }

    #[test]
    fn every_word_reads_back() {
        for result in BulkResult::ALL {
            assert_eq!(result.as_str().parse(), Ok(result));
        }
        for action in BulkAction::ALL {
            assert_eq!(action.as_str().parse(), Ok(action));
        }
        let query = BulkItemQuery { result: Some(BulkResult::Failed), cursor: Some("a".to_owned()) };
        let pairs = query.to_pairs();
        assert_eq!(BulkItemQuery::from_pairs(pairs.iter().map(|(name, value)| (*name, value.as_str()))), Ok(query));
    }

    #[test]
    fn a_question_takes_ids_or_the_filter_of_the_list() {
        let (one, two) = (JobId(1), JobId(2));
        let (first, both) = (one.to_string(), format!("{one},{two}"));
        let read = |pairs: &[(&'static str, &str)]| BulkQuestion::from_pairs(pairs.iter().copied());
        let named = read(&[("action", "cancel"), ("job", &first), ("page", &both), ("phase", "failed")]).unwrap();
        assert_eq!((named.select, named.force), (BulkSelect::Ids(vec![one, one, two]), false));
        let all = read(&[("all", "true"), ("job", &first), ("phase", "failed"), ("action", "delete")]).unwrap();
        let filter = BulkFilter { phase: Some("failed".to_owned()), ..BulkFilter::default() };
        assert_eq!((all.action, all.select), (BulkAction::Delete, BulkSelect::Filter(filter)));
        assert!(read(&[("job", &first)]).unwrap_err().contains("`action`"));
        assert!(read(&[("action", "cancel"), ("job", "x")]).unwrap_err().contains("`job`"));
    }

    #[test]
    fn many_jobs_or_force_want_the_number_typed() {
        assert!(!wants_number(20, false));
        assert!(wants_number(21, false) && wants_number(1, true));
    }

    #[test]
    fn a_filter_is_the_query_of_the_list() {
        let filter = BulkFilter { phase: Some("active,failed".to_owned()), ..BulkFilter::default() };
        let query = filter.query().unwrap();
        assert!(query.phases.contains(&Phase::Matching) && query.phases.contains(&Phase::Failed));
        assert_eq!(BulkFilter::from(&query).query().unwrap(), query);
        let ended = JobQuery { sort: super::super::page::JobSort::FinishedLatest, ..query };
        let before = BulkFilter::from(&ended).finished_before;
        assert_eq!(before.map(|at| at.to_string()).as_deref(), Some("9999-12-31T23:59:59.999Z"));
        assert!(BulkFilter { phase: Some("runing".to_owned()), ..BulkFilter::default() }.query().is_err());
    }
}
