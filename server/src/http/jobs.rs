//! Jobs over HTTP: submit, list, look, cancel, run again. Deleting is in [`super::removals`].
//!
//! What changes something runs in a task of its own: a client that hangs up half-way does not stop it half-way.

use std::future::Future;

use app::{
    model::{
        CancelAnswer, CancelOutcome, CancelRequest, ErrorCode, Job, JobId, JobList, JobQuery, LogPage, LogQuery, Page,
        RerunRequest, Unit, UnitQuery,
    },
    paths,
};
use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::stream::{self, Stream, StreamExt as _};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{
    AppState, artifacts,
    auth::Caller,
    body,
    conditional::{Conditions, Source},
    extract::{JobPath, Pairs, invalid_query},
    problem::{Answer, Failure},
    uploads::{self, Reservation},
};
use crate::{
    engine::{Actor, LogText, Submission},
    error::Result,
    kinds::Upload,
    secret,
};

/// Runs `work` to its end, also when the caller goes away.
pub(crate) async fn to_the_end<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    tokio::spawn(work).await?
}

// ---- list and look ----

/// Lists jobs, newest first.
#[utoipa::path(get, path = "/api/jobs", tag = "jobs",
    params(
        ("phase" = Option<String>, Query, description = "one or more phases, separated by commas; `active` stands for all active ones"),
        ("kind" = Option<String>, Query), ("q" = Option<String>, Query, description = "at least 3 characters of name or id"),
        ("created_by" = Option<String>, Query),
        ("sort" = Option<String>, Query, description = "`created_at`, `finished_at` or `name`, `-` before it to reverse; default `-created_at`"),
        ("cursor" = Option<String>, Query), ("limit" = Option<u32>, Query, description = "1 to 200, default 50"),
        ("wait" = Option<String>, Query, description = "with If-None-Match: holds until something changes, at most 60s")),
    responses((status = 200, body = JobList), (status = 304, description = "not changed"),
        (status = "default", response = crate::http::openapi::ProblemAnswer)))]
pub(crate) async fn list(State(state): State<AppState>, conditions: Conditions, pairs: Pairs) -> Answer<Response> {
    let query = JobQuery::from_pairs(pairs.iter()).map_err(invalid_query)?;
    conditions.answer(&state, Source::Store, || state.engine.jobs(&query)).await
}

/// One job with all that is known of it.
#[utoipa::path(get, path = "/api/jobs/{job_id}", tag = "jobs",
    params(("job_id" = String, Path), ("wait" = Option<String>, Query)),
    responses((status = 200, body = Job), (status = 304, description = "not changed"),
        (status = "default", response = crate::http::openapi::ProblemAnswer)))]
pub(crate) async fn detail(
    State(state): State<AppState>,
    JobPath(id): JobPath,
    conditions: Conditions,
) -> Answer<Response> {
    // When the provider of a batch was asked last is not stored.
    let source = if state.engine.is_followed(id) { Source::Files } else { Source::Store };
    conditions.answer(&state, source, || state.engine.job(id)).await
}

/// Its units, by index.
#[utoipa::path(get, path = "/api/jobs/{job_id}/units", tag = "jobs",
    params(("job_id" = String, Path), ("status" = Option<String>, Query),
        ("stopped" = Option<bool>, Query, description = "only units of which a cancel stopped a run: those with evidence"),
        ("sort" = Option<String>, Query, description = "`index`, or `-finished_at`: one page of those that ended last"),
        ("cursor" = Option<String>, Query),
        ("limit" = Option<u32>, Query, description = "1 to 200, default 100"), ("wait" = Option<String>, Query)),
    responses((status = 200, body = Page<Unit>), (status = 304, description = "not changed"),
        (status = "default", response = crate::http::openapi::ProblemAnswer)))]
pub(crate) async fn units(
    State(state): State<AppState>,
    JobPath(id): JobPath,
    conditions: Conditions,
    pairs: Pairs,
) -> Answer<Response> {
    let query = UnitQuery::from_pairs(pairs.iter()).map_err(invalid_query)?;
    let source = if state.engine.units_grow(id).await? { Source::Files } else { Source::Store };
    conditions.answer(&state, source, || state.engine.units(id, &query)).await
}

/// Its log: the latest lines of all units, or one unit's from a cursor on. Or all of it, as a file.
#[utoipa::path(get, path = "/api/jobs/{job_id}/log", tag = "jobs",
    params(("job_id" = String, Path), ("unit" = Option<u64>, Query),
        ("stream" = Option<String>, Query, description = "only `stdout`, `stderr` or `belay`"),
        ("download" = Option<bool>, Query, description = "from beginning to end as `text/plain`, unit after unit"),
        ("cursor" = Option<String>, Query), ("wait" = Option<String>, Query)),
    responses((status = 200, content((LogPage = "application/json"), (String = "text/plain"))),
        (status = 304, description = "not changed"),
        (status = "default", response = crate::http::openapi::ProblemAnswer)))]
pub(crate) async fn log(
    State(state): State<AppState>,
    JobPath(id): JobPath,
    conditions: Conditions,
    pairs: Pairs,
) -> Answer<Response> {
    let query = LogQuery::from_pairs(pairs.iter()).map_err(invalid_query)?;
    if pairs.flag("download")? {
        let text = state.engine.log_text(id, &query).await?;
        return Ok(artifacts::text_file(&log_name(id, &query), log_parts(text)));
    }
    conditions.answer(&state, Source::Files, || state.engine.log(id, &query)).await
}

fn log_name(id: JobId, query: &LogQuery) -> String {
    let unit = query.unit.map(|unit| format!("-unit-{unit}")).unwrap_or_default();
    let stream = query.stream.map(|stream| format!("-{stream}", stream = stream.as_str())).unwrap_or_default();
    format!("job-{}{unit}{stream}.log", id.short())
}

/// A fault in the middle breaks the download off: half a log must not look like a whole one.
fn log_parts(text: LogText) -> impl Stream<Item = Result<String>> {
    stream::unfold(Some(text), |text| async move {
        let mut text = text?;
        match text.next().await {
            Ok(Some(part)) => Some((Ok(part), Some(text))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    })
    // Whoever compresses asks once more after the end, which an unfolded stream does not take.
    .fuse()
}

// ---- submit ----

/// Body of a submit. `kind` and `spec` are checked by the kind, which names the field that is wrong.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SubmitBody {
    pub(crate) name: serde_json::Value,
    pub(crate) kind: serde_json::Value,
    pub(crate) spec: serde_json::Value,
}

/// Submits a job: JSON, or multipart with a part `job` (that JSON) and parts `files`.
#[utoipa::path(post, path = "/api/jobs", tag = "jobs",
    params(("Idempotency-Key" = Option<String>, Header, description = "the same key and body within 24 h: the first job again")),
    request_body(content((app::model::NewJob = "application/json"), (String = "multipart/form-data"))),
    responses((status = 201, body = Job, headers(("Location" = String))),
        (status = "default", response = crate::http::openapi::ProblemAnswer)))]
pub(crate) async fn submit(State(state): State<AppState>, caller: Caller, request: Request) -> Answer<Response> {
    let key = idempotency_key(request.headers())?;
    let reservation;
    let (body, uploads, hash) = match media_type(request.headers()) {
        Media::Json => {
            let bytes = body::read(request, body::MAX_JSON).await?;
            let body = body::parse(&bytes, ErrorCode::InvalidSpec)?;
            let hash = secret::hex(&Sha256::digest(&bytes));
            reservation = Reservation::new(&state.engine).await?;
            (body, Vec::new(), hash)
        }
        Media::Multipart => {
            let intake;
            (reservation, intake) =
                uploads::take_in(&state.engine, request, state.config.files.max_upload_bytes).await?;
            let Some(text) = intake.field(uploads::JOB_PART) else {
                reservation.discard().await;
                return Err(Failure::invalid_spec("job", "The part `job` with the job as JSON is missing."));
            };
            let body = match body::parse(text.as_bytes(), ErrorCode::InvalidSpec) {
                Ok(body) => body,
                Err(failure) => {
                    reservation.discard().await;
                    return Err(failure);
                }
            };
            (body, intake.uploads, intake.hash)
        }
        Media::Other => {
            return Err(Failure::new(
                ErrorCode::UnsupportedMediaType,
                "A job is submitted as application/json or multipart/form-data.",
            )
            .hint("curl -H 'Content-Type: application/json' …"));
        }
    };
    let idempotency = key.map(|key| (key, request_hash("POST", paths::api::JOBS, &hash)));
    let job = submit_reserved(&caller.actor(), reservation, body, uploads, idempotency, &state).await?;
    let location = paths::api::job(job.job_id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(job)).into_response())
}

/// Hands a job to the engine, and the reservation's folder with it: of a job that it does not store it removes the folder.
pub(crate) async fn submit_reserved(
    actor: &Actor,
    reservation: Reservation,
    body: SubmitBody,
    uploads: Vec<Upload>,
    idempotency: Option<(String, String)>,
    state: &AppState,
) -> Answer<Job> {
    let (name, kind) = match (valid_name(&body.name), body.kind.as_str()) {
        (Ok(name), Some(kind)) => (name, kind.to_owned()),
        (Ok(_), None) => {
            reservation.discard().await;
            return Err(Failure::invalid_spec("kind", "`kind` takes the name of a kind, such as `files`."));
        }
        (Err(failure), _) => {
            reservation.discard().await;
            return Err(failure);
        }
    };
    let submission = Submission { job_id: reservation.job_id, name, kind, spec: body.spec, uploads, idempotency };
    let (engine, actor) = (state.engine.clone(), actor.clone());
    reservation.keep();
    let job = to_the_end(async move { engine.submit(&actor, submission).await });
    Ok(job.await?)
}

/// 1 to 200 characters, none of them a control character.
fn valid_name(name: &serde_json::Value) -> Answer<String> {
    let text = name.as_str().map(str::trim).unwrap_or_default();
    if text.is_empty() || text.chars().count() > 200 || text.chars().any(char::is_control) {
        return Err(Failure::invalid_spec("name", "`name` takes 1 to 200 characters, no control characters."));
    }
    Ok(text.to_owned())
}

pub(crate) enum Media {
    Json,
    Multipart,
    Other,
}

pub(crate) fn media_type(headers: &HeaderMap) -> Media {
    let text = headers.get(header::CONTENT_TYPE).map_or(Ok("application/json"), |value| value.to_str());
    let name = text.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if name == "application/json" || name.ends_with("+json") {
        Media::Json
    } else if name == "multipart/form-data" {
        Media::Multipart
    } else {
        Media::Other
    }
}

/// The key of the request, when it has one.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Answer<Option<String>> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let sane = |text: &&str| (1..=255).contains(&text.len()) && text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    match value.to_str().ok().filter(sane) {
        Some(key) => Ok(Some(key.to_owned())),
        None => Err(invalid_query("`Idempotency-Key` takes 1 to 255 printable ASCII characters.")),
    }
}

/// What makes two requests the same one.
pub(crate) fn request_hash(method: &str, path: &str, body_hash: &str) -> String {
    secret::hash(&format!("{method}\n{path}\n{body_hash}"))
}

// ---- cancel and run again ----

/// Stops a job. Waits up to 2 s for the proof.
#[utoipa::path(post, path = "/api/jobs/{job_id}/cancel", tag = "jobs", params(("job_id" = String, Path)),
    request_body(content = Option<CancelRequest>),
    responses((status = 200, body = CancelAnswer, description = "final"),
        (status = 202, body = CancelAnswer, description = "asked for, proof is still missing"),
        (status = "default", response = crate::http::openapi::ProblemAnswer)))]
pub(crate) async fn cancel(
    State(state): State<AppState>,
    caller: Caller,
    JobPath(id): JobPath,
    request: Request,
) -> Answer<(StatusCode, Json<CancelAnswer>)> {
    let body: CancelRequest = body::json(request, ErrorCode::InvalidCancel).await?;
    let (engine, actor) = (state.engine.clone(), caller.actor());
    let answer = to_the_end(async move { engine.cancel(&actor, id, body).await }).await?;
    let status = match answer.outcome {
        CancelOutcome::Cancelling => StatusCode::ACCEPTED,
        CancelOutcome::Cancelled | CancelOutcome::AlreadyCancelled | CancelOutcome::AlreadyFinished => StatusCode::OK,
    };
    Ok((status, Json(answer)))
}

/// Makes a new job over the units of a finished one.
#[utoipa::path(post, path = "/api/jobs/{job_id}/rerun", tag = "jobs",
    params(("job_id" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    request_body(content = Option<RerunRequest>),
    responses((status = 201, body = Job, headers(("Location" = String))),
        (status = "default", response = crate::http::openapi::ProblemAnswer)))]
pub(crate) async fn rerun(
    State(state): State<AppState>,
    caller: Caller,
    JobPath(id): JobPath,
    request: Request,
) -> Answer<Response> {
    let key = idempotency_key(request.headers())?;
    let bytes = body::read(request, body::MAX_JSON).await?;
    let body: RerunRequest = body::parse(&bytes, ErrorCode::InvalidSpec)?;
    let hash = request_hash("POST", &paths::api::rerun(id), &secret::hex(&Sha256::digest(&bytes)));
    let job = rerun_as(&state, caller.actor(), id, body, key.map(|key| (key, hash))).await?;
    let location = paths::api::job(job.job_id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(job)).into_response())
}

/// The rerun of API and form alike.
pub(crate) async fn rerun_as(
    state: &AppState,
    actor: Actor,
    id: JobId,
    mut body: RerunRequest,
    idempotency: Option<(String, String)>,
) -> Answer<Job> {
    if let Some(name) = &body.name {
        body.name = Some(valid_name(&serde_json::Value::from(name.as_str()))?);
    }
    let engine = state.engine.clone();
    Ok(to_the_end(async move { engine.rerun(&actor, id, body, idempotency).await }).await?)
}
