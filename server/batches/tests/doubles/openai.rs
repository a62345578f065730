//! A double of OpenAI's files and batches for what other servers do not show: `null` for everything absent, empty pages
//! that claim more, cursors that repeat, a 409 for a batch that has ended, partial results, bodies as text.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Multipart, Path, Query, Request, State},
    http::StatusCode,
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};

use super::{Life, Listening, OnCancel, faults::Faults, now};

/// The key that it takes.
pub(crate) const KEY: &str = "openai-double-key";

/// A running double.
pub(crate) struct Openai {
    pub(crate) faults: Faults,
    state: Shared,
    listening: Listening,
}

type Shared = Arc<Mutex<Double>>;

struct Double {
    life: Life,
    on_cancel: OnCancel,
    manners: Manners,
    files: BTreeMap<String, File>,
    /// By number, so that the newest are last.
    batches: BTreeMap<u64, Batch>,
    made: u64,
}

/// What it does otherwise than the documents' examples.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Manners {
    /// What is absent is left out, and not `null`.
    pub(crate) leaves_out: bool,
    /// Lists end with an empty page, and claim more all the same.
    pub(crate) claims_more: bool,
    /// Lists begin again at the same place, for ever.
    pub(crate) repeats_cursor: bool,
    /// Lists begin with the oldest.
    pub(crate) oldest_first: bool,
    /// What it is told as metadata it forgets.
    pub(crate) forgets_metadata: bool,
    /// The body of a result is JSON as text.
    pub(crate) bodies_as_text: bool,
}

struct File {
    name: String,
    purpose: &'static str,
    content: Vec<u8>,
    created: u64,
}

struct Batch {
    input: String,
    endpoint: String,
    metadata: Value,
    requests: Vec<Value>,
    state: &'static str,
    created: u64,
    looks: u32,
    answered: usize,
    output: Option<String>,
    errors: Option<String>,
}

impl Openai {
    /// On a free port; batches go on at each look.
    pub(crate) async fn start() -> Openai {
        let state = Arc::new(Mutex::new(Double {
            life: Life::Looks,
            on_cancel: OnCancel::Cancels,
            manners: Manners::default(),
            files: BTreeMap::new(),
            batches: BTreeMap::new(),
            made: 0,
        }));
        let faults = Faults::default();
        let listening = Listening::start(router(Arc::clone(&state)), faults.clone()).await;
        Openai { faults, state, listening }
    }

    pub(crate) fn base_url(&self) -> String {
        format!("http://{}/v1", self.listening.address)
    }

    pub(crate) fn live(&self, life: Life) {
        self.state.lock().unwrap().life = life;
    }

    pub(crate) fn on_cancel(&self, on_cancel: OnCancel) {
        self.state.lock().unwrap().on_cancel = on_cancel;
    }

    pub(crate) fn behave(&self, manners: Manners) {
        self.state.lock().unwrap().manners = manners;
    }

    /// Puts a batch into a state (`in_progress`, `completed`, `cancelled`, …), with `answered` of its requests answered.
    pub(crate) fn put(&self, id: &str, state: &'static str, answered: usize) {
        self.state.lock().unwrap().enter(number_of(id).unwrap(), state, answered);
    }

    /// Ids of all batches, oldest first.
    pub(crate) fn batches(&self) -> Vec<String> {
        self.state.lock().unwrap().batches.keys().map(|number| id_of(*number)).collect()
    }

    /// Ids of all files.
    pub(crate) fn files(&self) -> Vec<String> {
        self.state.lock().unwrap().files.keys().cloned().collect()
    }

    /// A batch that somebody else made, at a time of its own.
    pub(crate) fn add_foreign(&self, created: u64) -> String {
        let mut double = self.state.lock().unwrap();
        let number =
            double.create("file-foreign", "/v1/chat/completions", Value::Null, vec![json!({"custom_id": "x"})]);
        double.batches.get_mut(&number).unwrap().created = created;
        id_of(number)
    }

    /// Forgets a batch, as if its account were another one.
    pub(crate) fn forget(&self, id: &str) {
        self.state.lock().unwrap().batches.remove(&number_of(id).unwrap());
    }
}

fn router(state: Shared) -> Router {
    Router::new()
        .route("/v1/files", post(upload).get(list_files))
        .route("/v1/files/{id}", get(get_file).delete(delete_file))
        .route("/v1/files/{id}/content", get(content))
        .route("/v1/batches", post(create).get(list_batches))
        .route("/v1/batches/{id}", get(get_batch))
        .route("/v1/batches/{id}/cancel", post(cancel))
        .layer(middleware::from_fn(check_key))
        .layer(DefaultBodyLimit::disable())
        .with_state(state)
}

/// OpenAI's error envelope.
fn error(status: u16, message: &str, code: Option<&str>) -> Response {
    let body = json!({"error": {"message": message, "type": "invalid_request_error", "param": null, "code": code}});
    (StatusCode::from_u16(status).unwrap(), Json(body)).into_response()
}

/// Repeats the key that it was given, as some do.
async fn check_key(request: Request, next: Next) -> Response {
    let given = request.headers().get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if given == format!("Bearer {KEY}") {
        next.run(request).await
    } else {
        let key = given.strip_prefix("Bearer ").unwrap_or_default();
        error(401, &format!("Incorrect API key provided: {key}."), Some("invalid_api_key"))
    }
}

fn id_of(number: u64) -> String {
    format!("batch_{number}")
}

fn number_of(id: &str) -> Option<u64> {
    id.strip_prefix("batch_")?.parse().ok()
}

fn is_over(state: &str) -> bool {
    matches!(state, "completed" | "failed" | "expired" | "cancelled")
}

impl File {
    fn show(&self, id: &str) -> Value {
        json!({"id": id, "object": "file", "bytes": self.content.len(), "created_at": self.created, "filename": self.name,
            "purpose": self.purpose, "status": "processed", "expires_at": self.created + 30 * 86400, "status_details": null})
    }
}

async fn upload(State(state): State<Shared>, mut form: Multipart) -> Response {
    let (mut purpose, mut file) = (None, None);
    while let Ok(Some(field)) = form.next_field().await {
        match field.name() {
            Some("purpose") => purpose = field.text().await.ok(),
            Some("file") => {
                let name = field.file_name().unwrap_or_default().to_owned();
                let Ok(content) = field.bytes().await else { return error(400, "The upload broke off.", None) };
                file = Some((name, content.to_vec()));
            }
            Some(_) | None => {}
        }
    }
    let (Some("batch"), Some((name, content))) = (purpose.as_deref(), file) else {
        return error(400, "'purpose' and 'file' are required.", None);
    };
    let mut double = state.lock().unwrap();
    let id = double.add_file(File { name, purpose: "batch", content, created: now() });
    Json(double.files[&id].show(&id)).into_response()
}

async fn list_files(State(state): State<Shared>, Query(query): Query<BTreeMap<String, String>>) -> Response {
    let double = state.lock().unwrap();
    let wanted = query.get("purpose");
    let is_wanted = |file: &File| wanted.is_none_or(|purpose| purpose == file.purpose);
    let shown = double.files.iter().rev().filter(|(_, file)| is_wanted(file)).map(|(id, file)| file.show(id)).collect();
    page(shown, &query, Manners::default())
}

async fn get_file(State(state): State<Shared>, Path(id): Path<String>) -> Response {
    match state.lock().unwrap().files.get(&id) {
        Some(file) => Json(file.show(&id)).into_response(),
        None => error(404, &format!("No such File object: {id}"), None),
    }
}

async fn delete_file(State(state): State<Shared>, Path(id): Path<String>) -> Response {
    match state.lock().unwrap().files.remove(&id) {
        Some(_) => Json(json!({"id": id, "object": "file", "deleted": true})).into_response(),
        None => error(404, &format!("No such File object: {id}"), None),
    }
}

async fn content(State(state): State<Shared>, Path(id): Path<String>) -> Response {
    match state.lock().unwrap().files.get(&id) {
        Some(file) => file.content.clone().into_response(),
        None => error(404, &format!("No such File object: {id}"), None),
    }
}

async fn create(State(state): State<Shared>, Json(told): Json<Value>) -> Response {
    let mut double = state.lock().unwrap();
    let input = told["input_file_id"].as_str().unwrap_or_default();
    let Some(file) = double.files.get(input) else { return error(400, "Invalid 'input_file_id'.", None) };
    if told["completion_window"] != "24h" || !told["endpoint"].is_string() {
        return error(400, "'endpoint' and 'completion_window' are required.", None);
    }
    let text = String::from_utf8_lossy(&file.content).into_owned();
    let requests = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let endpoint = told["endpoint"].as_str().unwrap_or_default();
    let number = double.create(input, endpoint, told["metadata"].clone(), requests);
    Json(double.show(number)).into_response()
}

async fn list_batches(State(state): State<Shared>, Query(query): Query<BTreeMap<String, String>>) -> Response {
    let double = state.lock().unwrap();
    let mut numbers: Vec<u64> = double.batches.keys().copied().collect();
    if !double.manners.oldest_first {
        numbers.reverse();
    }
    page(numbers.into_iter().map(|number| double.show(number)).collect(), &query, double.manners)
}

/// `after` and `limit` over what there is.
fn page(items: Vec<Value>, query: &BTreeMap<String, String>, manners: Manners) -> Response {
    let limit = query.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(20);
    let after = query.get("after").filter(|_| !manners.repeats_cursor);
    let from =
        after.and_then(|after| items.iter().position(|item| item["id"] == after.as_str())).map_or(0, |at| at + 1);
    let slice: Vec<&Value> = items.iter().skip(from).take(limit).collect();
    let has_more = manners.claims_more || manners.repeats_cursor || from + slice.len() < items.len();
    let (first, last) = (slice.first().map(|item| &item["id"]), slice.last().map(|item| &item["id"]));
    Json(json!({"object": "list", "data": slice, "first_id": first, "last_id": last, "has_more": has_more}))
        .into_response()
}

async fn get_batch(State(state): State<Shared>, Path(id): Path<String>) -> Response {
    let mut double = state.lock().unwrap();
    let Some(number) = number_of(&id).filter(|number| double.batches.contains_key(number)) else {
        return error(404, &format!("No batch found with id '{id}'."), None);
    };
    double.look(number);
    Json(double.show(number)).into_response()
}

async fn cancel(State(state): State<Shared>, Path(id): Path<String>) -> Response {
    let mut double = state.lock().unwrap();
    let Some(number) = number_of(&id).filter(|number| double.batches.contains_key(number)) else {
        return error(404, &format!("No batch found with id '{id}'."), None);
    };
    let batch = double.batches.get_mut(&number).unwrap();
    if is_over(batch.state) {
        return error(409, &format!("Cannot cancel a batch with status '{}'.", batch.state), None);
    }
    if batch.state != "cancelling" {
        batch.looks = 0;
    }
    batch.state = "cancelling";
    Json(double.show(number)).into_response()
}

impl Double {
    fn add_file(&mut self, file: File) -> String {
        self.made += 1;
        let id = format!("file-{:06}", self.made);
        self.files.insert(id.clone(), file);
        id
    }

    fn create(&mut self, input: &str, endpoint: &str, metadata: Value, requests: Vec<Value>) -> u64 {
        self.made += 1;
        let batch = Batch {
            input: input.to_owned(),
            endpoint: endpoint.to_owned(),
            metadata,
            requests,
            state: "validating",
            created: now(),
            looks: 0,
            answered: 0,
            output: None,
            errors: None,
        };
        self.batches.insert(self.made, batch);
        self.made
    }

    fn look(&mut self, number: u64) {
        let batch = self.batches.get_mut(&number).unwrap();
        batch.looks += 1;
        let (all, looks) = (batch.requests.len(), batch.looks);
        match (batch.state, self.on_cancel, self.life) {
            ("cancelling", OnCancel::Cancels, _) if looks > 1 => self.enter(number, "cancelled", all / 2),
            ("cancelling", OnCancel::FinishesAnyway, _) if looks > 1 => self.enter(number, "completed", all),
            ("validating", _, Life::Looks) => self.enter(number, "in_progress", 0),
            ("in_progress", _, Life::Looks) => self.enter(number, "finalizing", all),
            ("finalizing", _, Life::Looks) => self.enter(number, "completed", all),
            (_, _, _) => {}
        }
    }

    /// A state, and what comes with it: results in another order than the requests, those not done among the errors.
    fn enter(&mut self, number: u64, state: &'static str, answered: usize) {
        let as_text = self.manners.bodies_as_text;
        let batch = self.batches.get_mut(&number).unwrap();
        batch.state = state;
        batch.answered = answered;
        if !is_over(state) || state == "failed" {
            return;
        }
        let (mut output, mut errors) = (String::new(), String::new());
        for (index, request) in batch.requests.iter().enumerate().rev() {
            let id = &request["custom_id"];
            if index >= answered {
                let code = if state == "expired" { "batch_expired" } else { "batch_cancelled" };
                let line = json!({"id": format!("batch_req_{index}"), "custom_id": id, "response": null,
                    "error": {"code": code, "message": "This request could not be executed."}});
                writeln!(errors, "{line}").unwrap();
                continue;
            }
            let is_bad = request["body"].to_string().contains("FAIL");
            let body = if is_bad {
                json!({"error": {"message": "Scripted failure.", "type": "invalid_request_error", "param": null, "code": null}})
            } else {
                json!({"id": "chatcmpl-1", "object": "chat.completion", "model": request["body"]["model"],
                    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello from the double."}}],
                    "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}})
            };
            let body = if as_text { Value::String(body.to_string()) } else { body };
            let status = if is_bad { 400 } else { 200 };
            let line = json!({"id": format!("batch_req_{index}"), "custom_id": id, "error": null,
                "response": {"status_code": status, "request_id": "req", "body": body}});
            writeln!(if is_bad { &mut errors } else { &mut output }, "{line}").unwrap();
        }
        let mut add = |name: &str, text: String| {
            let file = File {
                name: format!("{}_{name}.jsonl", id_of(number)),
                purpose: "batch_output",
                content: text.into_bytes(),
                created: now(),
            };
            (!file.content.is_empty()).then(|| self.add_file(file))
        };
        let (output, errors) = (add("output", output), add("error", errors));
        let batch = self.batches.get_mut(&number).unwrap();
        (batch.output, batch.errors) = (output, errors);
    }

    fn show(&self, number: u64) -> Value {
        let batch = &self.batches[&number];
        let at = |state: &str| (batch.state == state).then(now);
        let failed =
            batch.requests.iter().take(batch.answered).filter(|line| line.to_string().contains("FAIL")).count();
        let counts = json!({"total": batch.requests.len(), "completed": batch.answered - failed, "failed": failed});
        let usage = json!({"input_tokens": 5 * (batch.answered - failed), "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 7 * (batch.answered - failed), "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 12 * (batch.answered - failed)});
        let model = batch.requests.first().map(|line| &line["body"]["model"]);
        let mut shown = json!({
            "id": id_of(number), "object": "batch", "endpoint": batch.endpoint, "model": model, "errors": null,
            "input_file_id": batch.input, "completion_window": "24h", "status": batch.state,
            "output_file_id": batch.output, "error_file_id": batch.errors, "created_at": batch.created,
            "in_progress_at": null, "expires_at": batch.created + 86400, "finalizing_at": null,
            "completed_at": at("completed"), "failed_at": at("failed"), "expired_at": at("expired"),
            "cancelling_at": null, "cancelled_at": at("cancelled"),
            "request_counts": if batch.state == "validating" { Value::Null } else { counts },
            "metadata": batch.metadata, "usage": if is_over(batch.state) { usage } else { Value::Null },
        });
        if self.manners.forgets_metadata {
            shown["metadata"] = Value::Null;
        }
        if self.manners.leaves_out {
            shown.as_object_mut().unwrap().retain(|_, field| !field.is_null());
        }
        shown
    }
}
