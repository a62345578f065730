//! The console's questions, answered by the engine itself while a page is rendered.

use std::future::Future;

use app::{
    backend::{Answer, Backend},
    model::{
        Artifact, AuditEvent, Bulk, BulkId, BulkItem, BulkItemQuery, BulkPlan, BulkRequest, FormOptions, Job,
        JobExtras, JobId, JobList, JobQuery, LogPage, LogQuery, MatchResults, Page, Plan, ProviderInfo, Receipt,
        RemoteBatchPage, RequestQuery, RequestRow, Unit, UnitQuery,
    },
};

use super::{AppState, problem::Failure, status};
use crate::error::Result;

/// The backend of one rendering. One role for now: whoever is signed in may see everything.
#[derive(Clone)]
pub(crate) struct EngineBackend(pub(crate) AppState);

/// The answer of `work`, its error as the API would tell it.
fn answer<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Answer<T> {
    Box::pin(async move { work.await.map_err(|error| Failure::from(error).problem()) })
}

impl Backend for EngineBackend {
    fn jobs(&self, query: JobQuery) -> Answer<JobList> {
        let state = self.0.clone();
        answer(async move { state.engine.jobs(&query).await })
    }

    fn job(&self, id: JobId) -> Answer<Job> {
        let state = self.0.clone();
        answer(async move { state.engine.job(id).await })
    }

    fn units(&self, id: JobId, query: UnitQuery) -> Answer<Page<Unit>> {
        let state = self.0.clone();
        answer(async move { state.engine.units(id, &query).await })
    }

    fn log(&self, id: JobId, query: LogQuery) -> Answer<LogPage> {
        let state = self.0.clone();
        answer(async move { state.engine.log(id, &query).await })
    }

    fn matches(&self, id: JobId) -> Answer<MatchResults> {
        let state = self.0.clone();
        answer(async move { state.engine.matches(id).await })
    }

    fn artifacts(&self, id: JobId, cursor: Option<String>) -> Answer<Page<Artifact>> {
        let state = self.0.clone();
        answer(async move { state.engine.artifacts(id, cursor.as_deref()).await })
    }

    fn plan(&self, id: JobId) -> Answer<Plan> {
        let state = self.0.clone();
        answer(async move { state.engine.plan(id, false).await })
    }

    fn removals(&self, cursor: Option<String>) -> Answer<Page<Receipt>> {
        let state = self.0.clone();
        answer(async move { state.engine.receipts(cursor.as_deref()).await })
    }

    fn removal(&self, id: JobId) -> Answer<Receipt> {
        let state = self.0.clone();
        answer(async move { state.engine.receipt(id).await })
    }

    fn bulk_plan(&self, request: BulkRequest) -> Answer<BulkPlan> {
        let state = self.0.clone();
        answer(async move { state.engine.plan_bulk(&request, state.config.bulk.max_jobs).await })
    }

    fn bulk(&self, id: BulkId) -> Answer<Bulk> {
        let state = self.0.clone();
        answer(async move { state.engine.bulk(id).await })
    }

    fn bulk_items(&self, id: BulkId, query: BulkItemQuery) -> Answer<Page<BulkItem>> {
        let state = self.0.clone();
        answer(async move { state.engine.bulk_items(id, &query).await })
    }

    fn job_extras(&self, id: JobId) -> Answer<JobExtras> {
        let state = self.0.clone();
        answer(async move { state.engine.job(id).await.map(|Job { spec, batch, .. }| JobExtras { spec, batch }) })
    }

    fn requests(&self, id: JobId, query: RequestQuery) -> Answer<Page<RequestRow>> {
        let state = self.0.clone();
        answer(async move { state.engine.requests(id, &query).await })
    }

    fn providers(&self) -> Answer<Vec<ProviderInfo>> {
        let providers = self.0.engine.providers();
        answer(async move { Ok(providers) })
    }

    fn remote_batches(&self, provider: String, cursor: Option<String>) -> Answer<RemoteBatchPage> {
        let state = self.0.clone();
        answer(async move { state.engine.remote_batches(&provider, cursor.as_deref()).await })
    }

    fn audit(&self, cursor: Option<String>) -> Answer<Page<AuditEvent>> {
        let state = self.0.clone();
        answer(async move { state.store.audit_events(cursor.as_deref(), status::AUDIT_PAGE).await })
    }

    fn form_options(&self) -> Answer<FormOptions> {
        let options = status::options(&self.0.config, self.0.engine.providers());
        answer(async move { Ok(options) })
    }
}
