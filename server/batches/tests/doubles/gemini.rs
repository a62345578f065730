//! A double of the Gemini Developer API: files by resumable upload, batches as operations, under `v1beta` and `v1`.
//! `done` is missing until the end, integers are texts and zeros are left out, a cancellation is answered with nothing.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Query, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Map, Value, json};

use super::{Life, Listening, OnCancel, faults::Faults, now};

/// The key that it takes.
pub(crate) const KEY: &str = "gemini-double-key";

/// A running double.
pub(crate) struct Gemini {
    pub(crate) faults: Faults,
    state: Shared,
    listening: Listening,
}

type Shared = Arc<Mutex<Double>>;

struct Double {
    life: Life,
    on_cancel: OnCancel,
    /// Before the states: `BATCH_STATE_` or `JOB_STATE_`.
    prefix: &'static str,
    /// Where results are told.
    places: Places,
    files: BTreeMap<String, File>,
    uploads: BTreeMap<String, Upload>,
    /// By number, so that the newest are last.
    batches: BTreeMap<u64, Batch>,
    made: u64,
}

/// Where an ended operation tells of its results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Places {
    Both,
    Response,
    Metadata,
}

#[derive(Clone)]
struct File {
    name: String,
    display_name: String,
    content: Vec<u8>,
    created: u64,
}

struct Upload {
    display_name: String,
    bytes: u64,
    content: Vec<u8>,
    file: Option<String>,
}

struct Batch {
    display_name: String,
    model: String,
    is_embedding: bool,
    input: Input,
    state: &'static str,
    created: u64,
    cancel_asked: bool,
    looks: u32,
    /// Requests that have an answer.
    answered: usize,
    result: Option<Result>,
}

enum Input {
    File(String, Vec<Value>),
    Inline(Vec<Value>),
}

impl Input {
    fn len(&self) -> usize {
        match self {
            Input::File(_, lines) | Input::Inline(lines) => lines.len(),
        }
    }
}

enum Result {
    File(String),
    Inline(Vec<Value>),
}

impl Gemini {
    /// On a free port; batches go on at each look.
    pub(crate) async fn start() -> Gemini {
        let state = Arc::new(Mutex::new(Double {
            life: Life::Looks,
            on_cancel: OnCancel::Cancels,
            prefix: "BATCH_STATE_",
            places: Places::Both,
            files: BTreeMap::new(),
            uploads: BTreeMap::new(),
            batches: BTreeMap::new(),
            made: 0,
        }));
        let faults = Faults::default();
        let listening = Listening::start(router(Arc::clone(&state)), faults.clone()).await;
        Gemini { faults, state, listening }
    }

    pub(crate) fn base_url(&self) -> String {
        format!("http://{}", self.listening.address)
    }

    pub(crate) fn live(&self, life: Life) {
        self.state.lock().unwrap().life = life;
    }

    pub(crate) fn on_cancel(&self, on_cancel: OnCancel) {
        self.state.lock().unwrap().on_cancel = on_cancel;
    }

    pub(crate) fn write_states_with(&self, prefix: &'static str) {
        self.state.lock().unwrap().prefix = prefix;
    }

    pub(crate) fn tell_results_in(&self, places: Places) {
        self.state.lock().unwrap().places = places;
    }

    /// Puts a batch into a state (`RUNNING`, `SUCCEEDED`, `CANCELLED`, …), with `answered` of its requests answered.
    pub(crate) fn put(&self, name: &str, state: &'static str, answered: usize) {
        let mut double = self.state.lock().unwrap();
        let number = number_of(name).unwrap();
        double.enter(number, state, answered);
    }

    /// Names of all batches, oldest first.
    pub(crate) fn batches(&self) -> Vec<String> {
        self.state.lock().unwrap().batches.keys().map(|number| format!("batches/{number}")).collect()
    }

    /// Names of all files.
    pub(crate) fn files(&self) -> Vec<String> {
        self.state.lock().unwrap().files.keys().cloned().collect()
    }

    /// A batch that somebody else made: one request, inline.
    pub(crate) fn add_foreign(&self, display_name: &str) -> String {
        let mut double = self.state.lock().unwrap();
        let line = json!({"request": {"contents": [{"parts": [{"text": "Hi"}]}]}, "metadata": {"key": "r1"}});
        let number = double.create(display_name, "models/gemini-2.5-flash", false, Input::Inline(vec![line]));
        format!("batches/{number}")
    }
}

fn router(state: Shared) -> Router {
    Router::new()
        .route("/upload/{version}/files", post(upload))
        .route("/{version}/files", get(list_files))
        .route("/{version}/files/{id}", get(get_file).delete(delete_file))
        .route("/download/{version}/files/{id}", get(get_file))
        .route("/{version}/models/{call}", post(create))
        .route("/{version}/batches", get(list_batches))
        .route("/{version}/batches/{id}", get(get_batch).post(cancel_batch).delete(delete_batch))
        .layer(middleware::from_fn(check_call))
        .with_state(state)
}

/// Google's error envelope.
fn error(code: u16, status: &str, message: &str) -> Response {
    let body = json!({"error": {"code": code, "message": message, "status": status}});
    (StatusCode::from_u16(code).unwrap(), Json(body)).into_response()
}

fn not_found() -> Response {
    error(404, "NOT_FOUND", "Requested entity was not found.")
}

fn bad(message: &str) -> Response {
    error(400, "INVALID_ARGUMENT", message)
}

/// Key and version.
async fn check_call(request: Request, next: Next) -> Response {
    let key = request.headers().get("x-goog-api-key").and_then(|value| value.to_str().ok());
    // The address of an upload is a key by itself: Google's own client sends no other there.
    let is_upload = request.uri().query().is_some_and(|query| query.contains("upload_id="));
    if key != Some(KEY) && !is_upload {
        let details = json!([{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID",
            "domain": "googleapis.com", "metadata": {"service": "generativelanguage.googleapis.com"}}]);
        let message = "API key not valid. Please pass a valid API key.";
        let body =
            json!({"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT", "details": details}});
        return (StatusCode::BAD_REQUEST, Json(body)).into_response();
    }
    let mut segments =
        request.uri().path().split('/').filter(|segment| !matches!(*segment, "" | "upload" | "download"));
    match segments.next() {
        Some("v1beta" | "v1") => next.run(request).await,
        Some(_) | None => not_found(),
    }
}

fn stamp(seconds: u64) -> String {
    humantime::format_rfc3339_nanos(std::time::UNIX_EPOCH + std::time::Duration::new(seconds, 123_456_789)).to_string()
}

impl File {
    fn show(&self) -> Value {
        json!({
            "name": self.name, "displayName": self.display_name, "mimeType": "application/jsonl",
            "sizeBytes": self.content.len().to_string(), "createTime": stamp(self.created),
            "updateTime": stamp(self.created), "expirationTime": stamp(self.created + 48 * 3600), "state": "ACTIVE",
            "source": "UPLOADED", "uri": format!("https://generativelanguage.googleapis.com/v1beta/{}", self.name),
        })
    }
}

/// Both steps of the resumable protocol: the start makes an address, which takes pieces and questions.
async fn upload(
    State(state): State<Shared>,
    Query(query): Query<BTreeMap<String, String>>,
    request: Request,
) -> Response {
    let path = request.uri().path().to_owned();
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let command = text("x-goog-upload-command");
    let mut double = state.lock().unwrap();
    if command == "start" {
        let told: Value = serde_json::from_slice(&body).unwrap_or_default();
        let Ok(bytes) = text("x-goog-upload-header-content-length").parse() else { return bad("no length") };
        if text("x-goog-upload-protocol") != "resumable" || text("x-goog-upload-header-content-type").is_empty() {
            return bad("no resumable upload");
        }
        // Google reads both spellings of a field.
        let names = ["display_name", "displayName"];
        let name = names.iter().find_map(|name| told["file"][name].as_str()).unwrap_or_default().to_owned();
        double.made += 1;
        let id = format!("u{}", double.made);
        double.uploads.insert(id.clone(), Upload { display_name: name, bytes, content: Vec::new(), file: None });
        let address = format!("http://{}{path}?upload_id={id}&upload_protocol=resumable", text("host"));
        return ([("x-goog-upload-url", address.as_str()), ("x-goog-upload-status", "active")], "").into_response();
    }
    let number = double.made + 1;
    let Some(upload) = query.get("upload_id").and_then(|id| double.uploads.get_mut(id)) else { return not_found() };
    let file = match (command, &upload.file) {
        ("query", Some(name)) => name.clone(),
        ("query", None) => {
            let received = upload.content.len().to_string();
            let headers = [("x-goog-upload-status", "active"), ("x-goog-upload-size-received", received.as_str())];
            return (headers, "").into_response();
        }
        ("upload" | "upload, finalize", None) => {
            if text("x-goog-upload-offset").parse() != Ok(upload.content.len()) {
                return bad("wrong offset");
            }
            upload.content.extend_from_slice(&body);
            if command == "upload" {
                return ([("x-goog-upload-status", "active")], "").into_response();
            }
            if upload.content.len() as u64 != upload.bytes {
                return bad("wrong length");
            }
            let name = format!("files/f{number}");
            upload.file = Some(name.clone());
            let content = std::mem::take(&mut upload.content);
            let file = File { name: name.clone(), display_name: upload.display_name.clone(), content, created: now() };
            double.made = number;
            double.files.insert(name.clone(), file);
            name
        }
        (_, _) => return bad("unknown command"),
    };
    ([("x-goog-upload-status", "final")], Json(json!({"file": double.files[&file].show()}))).into_response()
}

/// `pageSize` and `pageToken` over what there is.
fn page(items: Vec<Value>, query: &BTreeMap<String, String>, field: &str) -> Response {
    let size = query.get("pageSize").and_then(|size| size.parse().ok()).filter(|size| *size > 0).unwrap_or(50);
    let from: usize = query.get("pageToken").and_then(|token| token.strip_prefix('t')?.parse().ok()).unwrap_or(0);
    let mut answer = Map::new();
    let slice: Vec<Value> = items.iter().skip(from).take(size).cloned().collect();
    if from + slice.len() < items.len() {
        answer.insert("nextPageToken".to_owned(), json!(format!("t{}", from + slice.len())));
    }
    // An empty list is left out.
    if !slice.is_empty() {
        answer.insert(field.to_owned(), Value::Array(slice));
    }
    Json(Value::Object(answer)).into_response()
}

async fn list_files(State(state): State<Shared>, Query(query): Query<BTreeMap<String, String>>) -> Response {
    let double = state.lock().unwrap();
    page(double.files.values().map(File::show).collect(), &query, "files")
}

async fn get_file(
    State(state): State<Shared>,
    Path((_, call)): Path<(String, String)>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let (id, verb) = call.split_once(':').unwrap_or((&call, ""));
    let double = state.lock().unwrap();
    let Some(file) = double.files.get(&format!("files/{id}")) else {
        let message = "You do not have permission to access the File or it may not exist.";
        return error(403, "PERMISSION_DENIED", message);
    };
    match verb {
        "" => Json(file.show()).into_response(),
        "download" if query.get("alt").map(String::as_str) == Some("media") => content(file, &headers),
        _ => not_found(),
    }
}

/// The bytes, or from where they are asked for.
fn content(file: &File, headers: &HeaderMap) -> Response {
    let tag = format!("\"{}\"", file.name);
    let asked =
        headers.get(header::RANGE).and_then(|range| range.to_str().ok()?.strip_prefix("bytes=")?.strip_suffix('-'));
    let from = asked.and_then(|from| from.parse::<usize>().ok()).filter(|from| *from < file.content.len());
    let is_same = headers.get(header::IF_RANGE).is_some_and(|value| value.to_str().ok() == Some(tag.as_str()));
    match from {
        Some(from) if is_same => {
            let range = format!("bytes {from}-{}/{}", file.content.len() - 1, file.content.len());
            let headers = [(header::CONTENT_RANGE, range), (header::ETAG, tag)];
            (StatusCode::PARTIAL_CONTENT, headers, file.content[from..].to_vec()).into_response()
        }
        Some(_) | None => ([(header::ETAG, tag)], file.content.clone()).into_response(),
    }
}

async fn delete_file(State(state): State<Shared>, Path((_, id)): Path<(String, String)>) -> Response {
    match state.lock().unwrap().files.remove(&format!("files/{id}")) {
        Some(_) => Json(json!({})).into_response(),
        None => error(403, "PERMISSION_DENIED", "You do not have permission to access the File or it may not exist."),
    }
}

async fn create(State(state): State<Shared>, Path((_, call)): Path<(String, String)>, body: Bytes) -> Response {
    let Some((model, verb)) = call.split_once(':') else { return not_found() };
    if !matches!(verb, "batchGenerateContent" | "asyncBatchEmbedContent") {
        return not_found();
    }
    let Ok(told) = serde_json::from_slice::<Value>(&body) else { return bad("no JSON") };
    let batch = &told["batch"];
    let mut double = state.lock().unwrap();
    let config = &batch["inputConfig"];
    let input = if let Some(name) = config["fileName"].as_str() {
        let Some(file) = double.files.get(name) else { return bad("no such file") };
        let lines = String::from_utf8_lossy(&file.content);
        let lines: std::result::Result<Vec<Value>, _> =
            lines.lines().filter(|line| !line.trim().is_empty()).map(serde_json::from_str).collect();
        let Ok(lines) = lines else { return bad("a line is no JSON") };
        Input::File(name.to_owned(), lines)
    } else if let Some(requests) = config["requests"]["requests"].as_array() {
        Input::Inline(requests.clone())
    } else {
        return bad("no input");
    };
    let name = batch["displayName"].as_str().unwrap_or_default();
    let number = double.create(name, &format!("models/{model}"), verb.contains("Embed"), input);
    Json(double.show(number)).into_response()
}

/// Newest first.
async fn list_batches(State(state): State<Shared>, Query(query): Query<BTreeMap<String, String>>) -> Response {
    let double = state.lock().unwrap();
    let shown = double.batches.keys().rev().map(|number| double.show(*number)).collect();
    page(shown, &query, "operations")
}

async fn get_batch(State(state): State<Shared>, Path((_, id)): Path<(String, String)>) -> Response {
    let mut double = state.lock().unwrap();
    let Some(number) = id.parse().ok().filter(|number| double.batches.contains_key(number)) else {
        return not_found();
    };
    double.look(number);
    Json(double.show(number)).into_response()
}

async fn cancel_batch(State(state): State<Shared>, Path((_, call)): Path<(String, String)>) -> Response {
    let Some(id) = call.strip_suffix(":cancel") else { return not_found() };
    let mut double = state.lock().unwrap();
    let Some(batch) = id.parse().ok().and_then(|number: u64| double.batches.get_mut(&number)) else {
        return not_found();
    };
    if is_over(batch.state) {
        return error(400, "FAILED_PRECONDITION", "The batch has ended.");
    }
    batch.cancel_asked = true;
    batch.looks = 0;
    Json(json!({})).into_response()
}

async fn delete_batch(State(state): State<Shared>, Path((_, id)): Path<(String, String)>) -> Response {
    let gone = id.parse().ok().and_then(|number: u64| state.lock().unwrap().batches.remove(&number));
    if gone.is_some() { Json(json!({})).into_response() } else { not_found() }
}

fn is_over(state: &str) -> bool {
    matches!(state, "SUCCEEDED" | "FAILED" | "CANCELLED" | "EXPIRED")
}

fn number_of(name: &str) -> Option<u64> {
    name.strip_prefix("batches/").unwrap_or(name).parse().ok()
}

impl Double {
    fn create(&mut self, display_name: &str, model: &str, is_embedding: bool, input: Input) -> u64 {
        self.made += 1;
        let batch = Batch {
            display_name: display_name.to_owned(),
            model: model.to_owned(),
            is_embedding,
            input,
            state: "PENDING",
            created: now(),
            cancel_asked: false,
            looks: 0,
            answered: 0,
            result: None,
        };
        self.batches.insert(self.made, batch);
        self.made
    }

    /// Somebody looked: what was asked for happens, or time goes by.
    fn look(&mut self, number: u64) {
        let (life, on_cancel) = (self.life, self.on_cancel);
        let batch = self.batches.get_mut(&number).unwrap();
        batch.looks += 1;
        let (state, cancel_asked, looks, all) = (batch.state, batch.cancel_asked, batch.looks, batch.input.len());
        if is_over(state) {
            return;
        }
        match (cancel_asked, on_cancel, life) {
            (true, OnCancel::Cancels, _) if looks > 1 => self.enter(number, "CANCELLED", all / 2),
            (true, OnCancel::FinishesAnyway, _) if looks > 1 => self.enter(number, "SUCCEEDED", all),
            (false, _, Life::Looks) if state == "PENDING" => self.enter(number, "RUNNING", 0),
            (false, _, Life::Looks) => self.enter(number, "SUCCEEDED", all),
            (_, _, _) => {}
        }
    }

    /// A state, and what comes with it.
    fn enter(&mut self, number: u64, state: &'static str, answered: usize) {
        let batch = self.batches.get_mut(&number).unwrap();
        batch.state = state;
        batch.answered = answered;
        if !is_over(state) || answered == 0 {
            return;
        }
        match &batch.input {
            Input::File(_, lines) => {
                let mut content = String::new();
                for line in lines.iter().take(answered) {
                    let mut result = answer(line, batch.is_embedding);
                    result["key"] = line["key"].clone();
                    writeln!(content, "{result}").unwrap();
                }
                let name = format!("files/batch-{number}");
                let file = File {
                    name: name.clone(),
                    display_name: String::new(),
                    content: content.into_bytes(),
                    created: now(),
                };
                batch.result = Some(Result::File(name.clone()));
                self.files.insert(name, file);
            }
            Input::Inline(lines) => {
                let results = lines.iter().take(answered).map(|line| {
                    let mut result = answer(line, batch.is_embedding);
                    if let Some(metadata) = line.get("metadata") {
                        result["metadata"] = metadata.clone();
                    }
                    result
                });
                batch.result = Some(Result::Inline(results.collect()));
            }
        }
    }

    fn show(&self, number: u64) -> Value {
        let batch = &self.batches[&number];
        let name = format!("batches/{number}");
        let over = is_over(batch.state);
        let kind = if batch.is_embedding { "EmbedContentBatch" } else { "GenerateContentBatch" };
        let all = batch.input.len();
        let mut stats = Map::new();
        let mut count = |name: &str, count: usize| {
            if count > 0 {
                stats.insert(name.to_owned(), json!(count.to_string()));
            }
        };
        count("requestCount", all);
        count("pendingRequestCount", if over { 0 } else { all - batch.answered });
        count("successfulRequestCount", batch.answered);
        count("failedRequestCount", if batch.state == "FAILED" { all } else { 0 });
        let mut metadata = json!({
            "@type": format!("type.googleapis.com/google.ai.generativelanguage.v1main.{kind}"),
            "model": batch.model, "displayName": batch.display_name, "createTime": stamp(batch.created),
            "updateTime": stamp(now()), "batchStats": stats, "state": format!("{}{}", self.prefix, batch.state),
            "name": name,
        });
        if let Input::File(file, _) = &batch.input {
            metadata["inputConfig"] = json!({"fileName": file});
        }
        let mut operation = json!({"name": name});
        if over {
            metadata["endTime"] = json!(stamp(now()));
            operation["done"] = json!(true);
            match batch.state {
                "CANCELLED" => operation["error"] = json!({"code": 1, "message": "The operation was cancelled."}),
                "FAILED" => operation["error"] = json!({"code": 13, "message": "Internal error encountered."}),
                "EXPIRED" => operation["error"] = json!({"code": 4, "message": "The batch expired."}),
                _ => {}
            }
        }
        let result = batch.result.as_ref().map(|result| match result {
            Result::File(name) => json!({"responsesFile": name}),
            Result::Inline(items) => json!({"inlinedResponses": {"inlinedResponses": items}}),
        });
        if let Some(result) = result {
            if self.places != Places::Response {
                metadata["output"] = result.clone();
            }
            if self.places != Places::Metadata && batch.state == "SUCCEEDED" {
                let mut response = result;
                response["@type"] =
                    json!(format!("type.googleapis.com/google.ai.generativelanguage.v1main.{kind}Output"));
                operation["response"] = response;
            }
        }
        operation["metadata"] = metadata;
        operation
    }
}

/// An answer to a line. Whoever writes FAIL gets an error.
fn answer(line: &Value, is_embedding: bool) -> Value {
    let request = line["request"].to_string();
    if request.contains("FAIL") {
        return json!({"error": {"code": 3, "message": "Scripted failure.", "status": "INVALID_ARGUMENT"}});
    }
    if is_embedding {
        return json!({"response": {"embedding": {"values": [0.25, 0.5]}, "tokenCount": "3"}});
    }
    let text = json!({"content": {"parts": [{"text": "Hello from the double."}], "role": "model"}, "finishReason": "STOP",
        "index": 0});
    let usage =
        json!({"promptTokenCount": 5, "candidatesTokenCount": 7, "thoughtsTokenCount": 11, "totalTokenCount": 23});
    json!({"response": {"candidates": [text], "usageMetadata": usage, "modelVersion": "gemini-2.5-flash",
        "responseId": "r"}})
}
