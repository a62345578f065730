//! What a page may ask. In the server the answers come straight from its services; in the browser over HTTP
//! ([`client`](crate::client)). Pages do not know which.
//!
//! The server puts into the context of every rendering: an [`Arc<dyn Backend>`](Backend), a [`PageState`],
//! the [`AssetNames`](crate::assets::AssetNames) and, if it wants to hear of "not found", a [`SetStatus`].

use std::{future::Future, pin::Pin, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::model::{
    Artifact, AuditEvent, Bulk, BulkId, BulkItem, BulkItemQuery, BulkPlan, BulkRequest, FormOptions, Job, JobExtras,
    JobId, JobList, JobQuery, LogPage, LogQuery, MatchResults, Page, Plan, Problem, ProviderInfo, Receipt,
    RemoteBatchPage, RequestQuery, RequestRow, Timestamp, Unit, UnitQuery,
};

/// What a question comes to.
pub type Answer<T> = Pin<Box<dyn Future<Output = Result<T, Problem>> + Send>>;

/// Questions of the console's pages. Nothing here changes anything.
pub trait Backend: Send + Sync {
    /// A page of the list.
    fn jobs(&self, query: JobQuery) -> Answer<JobList>;
    /// One job with all that the detail page shows.
    fn job(&self, id: JobId) -> Answer<Job>;
    /// A page of its units.
    fn units(&self, id: JobId, query: UnitQuery) -> Answer<Page<Unit>>;
    /// The latest lines of all units, or the log of one from `cursor` on.
    fn log(&self, id: JobId, query: LogQuery) -> Answer<LogPage>;
    /// A page of its artifacts.
    fn artifacts(&self, id: JobId, cursor: Option<String>) -> Answer<Page<Artifact>>;
    /// What a `product_matching` job has found so far.
    fn matches(&self, id: JobId) -> Answer<MatchResults>;
    /// What a delete would remove (a dry run).
    fn plan(&self, id: JobId) -> Answer<Plan>;
    /// A page of the receipts.
    fn removals(&self, cursor: Option<String>) -> Answer<Page<Receipt>>;
    /// One receipt.
    fn removal(&self, id: JobId) -> Answer<Receipt>;
    /// What an action on many jobs would come to (a dry run, whatever the request says).
    fn bulk_plan(&self, request: BulkRequest) -> Answer<BulkPlan>;
    /// An action on many jobs.
    fn bulk(&self, id: BulkId) -> Answer<Bulk>;
    /// A page of its jobs, with their results.
    fn bulk_items(&self, id: BulkId, query: BulkItemQuery) -> Answer<Page<BulkItem>>;
    /// What [`Backend::job`] leaves out in the browser.
    fn job_extras(&self, id: JobId) -> Answer<JobExtras>;
    /// A page of the requests of a batch with their results.
    fn requests(&self, id: JobId, query: RequestQuery) -> Answer<Page<RequestRow>>;
    /// The providers of the configuration.
    fn providers(&self) -> Answer<Vec<ProviderInfo>>;
    /// A page of what one of them has.
    fn remote_batches(&self, provider: String, cursor: Option<String>) -> Answer<RemoteBatchPage>;
    /// A page of the audit.
    fn audit(&self, cursor: Option<String>) -> Answer<Page<AuditEvent>>;
    /// What the new-job form may offer.
    fn form_options(&self) -> Answer<FormOptions>;
}

/// The backend as it stands in the context.
#[cfg(not(target_family = "wasm"))]
pub type SharedBackend = Arc<dyn Backend>;
/// The backend as it stands in the context. The browser has only one, and knows it by its type: behind a pointer all
/// answers would have to be readable from the first visit on, 40 kB of code for pages that may never be opened.
#[cfg(target_family = "wasm")]
pub type SharedBackend = Arc<crate::client::HttpBackend>;

impl<B: Backend + ?Sized> Backend for Arc<B> {
    fn jobs(&self, query: JobQuery) -> Answer<JobList> {
        B::jobs(self, query)
    }

    fn job(&self, id: JobId) -> Answer<Job> {
        B::job(self, id)
    }

    fn units(&self, id: JobId, query: UnitQuery) -> Answer<Page<Unit>> {
        B::units(self, id, query)
    }

    fn log(&self, id: JobId, query: LogQuery) -> Answer<LogPage> {
        B::log(self, id, query)
    }

    fn matches(&self, id: JobId) -> Answer<MatchResults> {
        B::matches(self, id)
    }

    fn artifacts(&self, id: JobId, cursor: Option<String>) -> Answer<Page<Artifact>> {
        B::artifacts(self, id, cursor)
    }

    fn plan(&self, id: JobId) -> Answer<Plan> {
        B::plan(self, id)
    }

    fn removals(&self, cursor: Option<String>) -> Answer<Page<Receipt>> {
        B::removals(self, cursor)
    }

    fn removal(&self, id: JobId) -> Answer<Receipt> {
        B::removal(self, id)
    }

    fn bulk_plan(&self, request: BulkRequest) -> Answer<BulkPlan> {
        B::bulk_plan(self, request)
    }

    fn bulk(&self, id: BulkId) -> Answer<Bulk> {
        B::bulk(self, id)
    }

    fn bulk_items(&self, id: BulkId, query: BulkItemQuery) -> Answer<Page<BulkItem>> {
        B::bulk_items(self, id, query)
    }

    fn job_extras(&self, id: JobId) -> Answer<JobExtras> {
        B::job_extras(self, id)
    }

    fn requests(&self, id: JobId, query: RequestQuery) -> Answer<Page<RequestRow>> {
        B::requests(self, id, query)
    }

    fn providers(&self) -> Answer<Vec<ProviderInfo>> {
        B::providers(self)
    }

    fn remote_batches(&self, provider: String, cursor: Option<String>) -> Answer<RemoteBatchPage> {
        B::remote_batches(self, provider, cursor)
    }

    fn audit(&self, cursor: Option<String>) -> Answer<Page<AuditEvent>> {
        B::audit(self, cursor)
    }

    fn form_options(&self) -> Answer<FormOptions> {
        B::form_options(self)
    }
}

/// Who is signed in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Viewer {
    pub name: String,
}

/// Facts of one request that the page needs beside the data. Sent to the browser with the page, so that hydration
/// sees the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageState {
    /// `None`: only the sign-in page is rendered, whatever the address.
    pub viewer: Option<Viewer>,
    /// Name of the machine.
    pub host: String,
    /// Version of Belay.
    pub version: String,
    /// The server's clock.
    pub now: Timestamp,
    /// What the form post before this page came to.
    pub flash: Option<Flash>,
    /// The form post that failed and whose page this is.
    pub form: Option<FormState>,
}

/// A message to show once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flash {
    pub tone: Tone,
    /// One sentence.
    pub text: String,
    #[serde(default)]
    pub detail: Option<String>,
    /// Words and address of a way on.
    #[serde(default)]
    pub link: Option<(String, String)>,
}

/// Meaning of a message: picks colour, icon and role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tone {
    /// A stop is proven.
    Proof,
    /// Done.
    Completed,
    /// A stop was asked for and is not proven yet.
    Cancelling,
    /// Good to know.
    Info,
    /// Not as wished.
    Warning,
    /// Failed; stays until dismissed.
    Failed,
}

/// A form post that failed: why, and what had been typed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormState {
    /// Path of the page that has the form: on no other one it is shown.
    pub path: String,
    pub problem: Problem,
    /// Names and values of the fields. Never a secret.
    pub values: Vec<(String, String)>,
}

impl FormState {
    /// The value that was typed into `name`; empty when there was none.
    #[must_use]
    pub fn value(&self, name: &str) -> &str {
        self.values.iter().find(|(field, _)| field == name).map_or("", |(_, value)| value)
    }

    /// All that was chosen under `name`, one a line.
    #[must_use]
    pub fn chosen(&self, name: &str) -> String {
        let chosen = self.values.iter().filter(|(field, _)| field == name).map(|(_, value)| value.as_str());
        chosen.collect::<Vec<_>>().join("\n")
    }
}

/// Lets a page say which HTTP status it is: 404 for a job that is not there. In the context of the server only.
#[derive(Clone)]
pub struct SetStatus(pub Arc<dyn Fn(u16) + Send + Sync>);
