//! The HTTP side of the console, in the browser only: `fetch` with a deadline, given up when nobody waits any
//! more; problem documents decoded.
//!
//! All of it compiles in the server too, where nothing calls it.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
};

use gloo_net::http::{Method, RequestBuilder};
use gloo_timers::{callback::Timeout, future::TimeoutFuture};
use send_wrapper::SendWrapper;
use serde::de::DeserializeOwned;
use wasm_bindgen::JsValue;
use web_sys::AbortController;

use crate::{
    backend::{Answer, Backend},
    model::{
        Artifact, AuditEvent, Bulk, BulkId, BulkItem, BulkItemQuery, BulkPlan, BulkRequest, CancelAnswer,
        CancelRequest, CheckRequest, CheckedInput, DeleteStatus, FormOptions, Job, JobExtras, JobId, JobList, JobQuery,
        LogPage, LogQuery, MatchResults, Page, Plan, Problem, ProviderInfo, Receipt, ReceiptState, RemoteBatchPage,
        RequestQuery, RequestRow, RerunRequest, Unit, UnitQuery,
    },
    paths::api,
};

/// Milliseconds after which a question is given up.
const DEADLINE_MS: u32 = 10_000;

/// A delete may wait for 10 s in the server before it answers 202; sizing up many jobs may take as long.
const LONG_DEADLINE_MS: u32 = 20_000;

/// The code of a problem that never reached a server, or got no answer from one.
pub const NETWORK: &str = "NETWORK";

/// Answers kept with their ETag, by address: what a 304 stands for.
type Kept = HashMap<String, (String, String)>;

thread_local! {
    static KEPT: RefCell<Kept> = RefCell::new(HashMap::new());
}

/// Addresses whose last answer is kept; beyond it all are dropped.
const KEPT_ADDRESSES: usize = 24;

/// Aborts a request when it is dropped: the page that asked is gone, or the deadline is over.
struct InFlight {
    controller: AbortController,
    _deadline: Timeout,
}

impl InFlight {
    fn start(deadline_ms: u32, expired: Rc<Cell<bool>>) -> Result<Self, JsValue> {
        let controller = AbortController::new()?;
        let aborted = controller.clone();
        let deadline = Timeout::new(deadline_ms, move || {
            expired.set(true);
            aborted.abort();
        });
        Ok(InFlight { controller, _deadline: deadline })
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.controller.abort();
    }
}

/// Status, ETag and body of an answer.
struct Reply {
    status: u16,
    etag: Option<String>,
    body: String,
}

fn network(detail: &str) -> Problem {
    Problem {
        title: "Network failure".to_owned(),
        detail: detail.to_owned(),
        error: NETWORK.to_owned(),
        ..Problem::default()
    }
}

async fn exchange(
    method: Method,
    url: &str,
    headers: &[(&str, &str)],
    body: Option<&str>,
    deadline_ms: u32,
) -> Result<Reply, Problem> {
    let expired = Rc::new(Cell::new(false));
    let answer = async {
        let flight = InFlight::start(deadline_ms, expired.clone()).map_err(|_| ())?;
        let mut request = RequestBuilder::new(url)
            .method(method)
            .abort_signal(Some(&flight.controller.signal()))
            .header("accept", "application/json");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = match body {
            Some(body) => request.header("content-type", "application/json").body(body),
            None => request.build(),
        };
        let response = request.map_err(|_| ())?.send().await.map_err(|_| ())?;
        let body = response.text().await.map_err(|_| ())?;
        Ok(Reply { status: response.status(), etag: response.headers().get("etag"), body })
    };
    answer.await.map_err(|()| {
        network(if expired.get() { "The server did not answer in time." } else { "The server cannot be reached." })
    })
}

fn decode<T: DeserializeOwned>(reply: &Reply) -> Result<T, Problem> {
    if (200..300).contains(&reply.status) {
        return serde_json::from_str(&reply.body).map_err(|_| network("The server's answer could not be read."));
    }
    Err(problem_of(reply.status, &reply.body))
}

/// The problem that an answer with an error status carries.
#[must_use]
pub(crate) fn problem_of(status: u16, body: &str) -> Problem {
    serde_json::from_str(body).unwrap_or_else(|_| Problem {
        title: "Unexpected answer".to_owned(),
        status,
        detail: format!("The server answered with status {status}."),
        error: "UNEXPECTED".to_owned(),
        ..Problem::default()
    })
}

/// GET with the ETag of the last answer; a 304 gives that answer again.
async fn get<T: DeserializeOwned>(url: String) -> Result<T, Problem> {
    let kept = KEPT.with_borrow(|kept| kept.get(&url).cloned());
    let headers: Vec<(&str, &str)> = kept.iter().map(|(etag, _)| ("if-none-match", etag.as_str())).collect();
    let mut reply = exchange(Method::GET, &url, &headers, None, DEADLINE_MS).await?;
    if let (304, Some((etag, body))) = (reply.status, kept) {
        reply = Reply { status: 200, etag: Some(etag), body };
    } else if let (200, Some(etag)) = (reply.status, &reply.etag) {
        KEPT.with_borrow_mut(|kept| {
            if kept.len() >= KEPT_ADDRESSES {
                kept.clear();
            }
            kept.insert(url, (etag.clone(), reply.body.clone()));
        });
    }
    decode(&reply)
}

fn answer<T: DeserializeOwned + 'static>(url: String) -> Answer<T> {
    Box::pin(SendWrapper::new(get(url)))
}

/// Asks the API.
pub struct HttpBackend;

impl Backend for HttpBackend {
    fn jobs(&self, query: JobQuery) -> Answer<JobList> {
        answer(api::jobs(&query))
    }

    fn job(&self, id: JobId) -> Answer<Job> {
        answer(api::job(id))
    }

    fn units(&self, id: JobId, query: UnitQuery) -> Answer<Page<Unit>> {
        answer(api::units(id, &query))
    }

    fn log(&self, id: JobId, query: LogQuery) -> Answer<LogPage> {
        answer(api::log(id, &query))
    }

    fn matches(&self, id: JobId) -> Answer<MatchResults> {
        answer(api::matches(id))
    }

    fn artifacts(&self, id: JobId, cursor: Option<String>) -> Answer<Page<Artifact>> {
        answer(api::artifacts(id, cursor.as_deref()))
    }

    fn plan(&self, id: JobId) -> Answer<Plan> {
        Box::pin(SendWrapper::new(async move {
            let reply = exchange(Method::DELETE, &api::delete(id, false, true, false), &[], None, DEADLINE_MS).await?;
            decode(&reply)
        }))
    }

    fn removals(&self, cursor: Option<String>) -> Answer<Page<Receipt>> {
        answer(api::removals(cursor.as_deref()))
    }

    fn removal(&self, id: JobId) -> Answer<Receipt> {
        answer(api::removal(id))
    }

    fn bulk_plan(&self, request: BulkRequest) -> Answer<BulkPlan> {
        let body = json(&BulkRequest { dry_run: true, ..request });
        Box::pin(SendWrapper::new(async move {
            decode(&exchange(Method::POST, api::BULK, &[], Some(&body), LONG_DEADLINE_MS).await?)
        }))
    }

    fn bulk(&self, id: BulkId) -> Answer<Bulk> {
        answer(api::bulk(id))
    }

    fn bulk_items(&self, id: BulkId, query: BulkItemQuery) -> Answer<Page<BulkItem>> {
        answer(api::bulk_items(id, &query))
    }

    fn job_extras(&self, id: JobId) -> Answer<JobExtras> {
        answer(api::job(id))
    }

    fn requests(&self, id: JobId, query: RequestQuery) -> Answer<Page<RequestRow>> {
        answer(api::requests(id, &query))
    }

    fn providers(&self) -> Answer<Vec<ProviderInfo>> {
        answer(api::PROVIDERS.to_owned())
    }

    fn remote_batches(&self, provider: String, cursor: Option<String>) -> Answer<RemoteBatchPage> {
        answer(api::remote_batches(&provider, cursor.as_deref()))
    }

    fn audit(&self, cursor: Option<String>) -> Answer<Page<AuditEvent>> {
        answer(api::audit(cursor.as_deref()))
    }

    fn form_options(&self) -> Answer<FormOptions> {
        answer(api::FORM_OPTIONS.to_owned())
    }
}

fn json<T: serde::Serialize>(body: &T) -> String {
    serde_json::to_string(body).unwrap_or_default()
}

/// Stops a job; answers when the stop is proven, or after 2 s with what it waits for.
///
/// # Errors
/// The server's problem, or one with the code [`NETWORK`].
pub async fn cancel(id: JobId, request: &CancelRequest) -> Result<CancelAnswer, Problem> {
    let reply = exchange(Method::POST, &api::cancel(id), &[], Some(&json(request)), DEADLINE_MS).await?;
    decode(&reply)
}

/// What is needed of the answer to a delete ([`DeleteAnswer`](crate::model::DeleteAnswer)) by whoever asked for it.
#[derive(serde::Deserialize)]
pub struct Deleted {
    pub status: DeleteStatus,
    #[serde(default)]
    pub receipt: Option<Removal>,
}

/// What is needed of a [`Receipt`] beside its page: reading all of it is 3 kB that the list would have to load.
#[derive(serde::Deserialize)]
pub struct Removal {
    pub state: ReceiptState,
    pub items: Vec<RemovedItem>,
}

/// See [`Removal`].
#[derive(serde::Deserialize)]
pub struct RemovedItem {
    pub removed_bytes: u64,
    pub failed: u64,
}

/// The removal of a job, in short.
///
/// # Errors
/// The server's problem, or one with the code [`NETWORK`].
pub async fn removal(id: JobId) -> Result<Removal, Problem> {
    decode(&exchange(Method::GET, &api::removal(id), &[], None, DEADLINE_MS).await?)
}

/// Removes a job.
///
/// # Errors
/// The server's problem, or one with the code [`NETWORK`].
pub async fn delete(id: JobId, force: bool, keep_files: bool) -> Result<Deleted, Problem> {
    let reply =
        exchange(Method::DELETE, &api::delete(id, force, false, keep_files), &[], None, LONG_DEADLINE_MS).await?;
    decode(&reply)
}

/// Makes a new job over the units of `id`.
///
/// # Errors
/// The server's problem, or one with the code [`NETWORK`].
pub async fn rerun(id: JobId, request: &RerunRequest) -> Result<Job, Problem> {
    let reply = exchange(Method::POST, &api::rerun(id), &[], Some(&json(request)), DEADLINE_MS).await?;
    decode(&reply)
}

/// What is needed of the [`Bulk`] that was begun: its page asks for the rest.
#[derive(serde::Deserialize)]
struct Begun {
    bulk_id: BulkId,
}

/// Begins an action on many jobs; with the same key only once.
///
/// # Errors
/// The server's problem, or one with the code [`NETWORK`].
pub async fn begin_bulk(request: &BulkRequest, key: &str) -> Result<BulkId, Problem> {
    let reply =
        exchange(Method::POST, api::BULK, &[("idempotency-key", key)], Some(&json(request)), DEADLINE_MS).await?;
    decode::<Begun>(&reply).map(|begun| begun.bulk_id)
}

/// Has a file of requests on the server looked into. Nothing is sent on.
///
/// # Errors
/// The server's problem, or one with the code [`NETWORK`].
pub async fn check_batch(request: &CheckRequest) -> Result<CheckedInput, Problem> {
    let reply = exchange(Method::POST, api::CHECK_BATCH, &[], Some(&json(request)), LONG_DEADLINE_MS).await?;
    decode(&reply)
}

/// Tries again to remove what a removal left.
///
/// # Errors
/// The server's problem, or one with the code [`NETWORK`].
pub async fn retry_removal(id: JobId) -> Result<Receipt, Problem> {
    let reply = exchange(Method::POST, &api::retry_removal(id), &[], Some("{}"), LONG_DEADLINE_MS).await?;
    decode(&reply)
}

/// Waits. Dropping the future forgets the wait.
pub(crate) async fn sleep(millis: i32) {
    TimeoutFuture::new(u32::try_from(millis).unwrap_or(0)).await;
}
