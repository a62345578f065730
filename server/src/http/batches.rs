//! Batches over HTTP, beside the jobs that they are: providers, a check before anything is sent, requests with their
//! results, and what a provider has that no job knows.

use app::{
    model::{
        AdoptRequest, CheckRequest, CheckedInput, ErrorCode, ImportAnswer, Job, JobId, Page, ProviderInfo, RemoteBatch,
        RemoteBatchPage, RequestQuery, RequestRow,
    },
    paths,
};
use axum::{
    Json,
    extract::{Path, Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{
    AppState,
    auth::Caller,
    body,
    conditional::{Conditions, Source},
    extract::{JobPath, Pairs, invalid_query},
    jobs::{Media, media_type, to_the_end},
    problem::{Answer, Failure},
    uploads,
};
use crate::engine::Written;

/// The text part of a check with a file.
const CHECK_PART: &str = "check";

/// The providers of the configuration, with what each lets one do.
#[utoipa::path(get, path = "/api/providers", tag = "batches", responses((status = 200, body = Vec<ProviderInfo>),
    (status = "default", response = crate::http::openapi::ProblemAnswer)))]
pub(crate) async fn providers(State(state): State<AppState>, _: Caller) -> Json<Vec<ProviderInfo>> {
    Json(state.engine.providers())
}

/// Checks a file of requests line by line. Nothing is stored, nothing is sent.
#[utoipa::path(post, path = "/api/batches/check", tag = "batches",
    request_body(content((CheckRequest = "application/json"), (String = "multipart/form-data"))),
    responses((status = 200, body = CheckedInput, description = "also when lines are wrong: see `faults`"),
        (status = "default", response = crate::http::openapi::ProblemAnswer)))]
pub(crate) async fn check(State(state): State<AppState>, _: Caller, request: Request) -> Answer<Json<CheckedInput>> {
    match media_type(request.headers()) {
        Media::Json => {
            let question: CheckRequest = body::json(request, ErrorCode::InvalidSpec).await?;
            Ok(Json(state.engine.check_batch(question, None).await?))
        }
        Media::Multipart => {
            let max = state.config.files.max_upload_bytes;
            let (reservation, intake) = uploads::take_in(&state.engine, request, max).await?;
            let checked = async {
                let Some(text) = intake.field(CHECK_PART) else {
                    return Err(Failure::invalid_spec(
                        CHECK_PART,
                        "The part `check` with the question as JSON is missing.",
                    ));
                };
                let question = body::parse(text.as_bytes(), ErrorCode::InvalidSpec)?;
                let [upload] = intake.uploads.as_slice() else {
                    return Err(Failure::invalid_spec("files", "A check takes one file, as part `files`."));
                };
                Ok(state.engine.check_batch(question, Some(upload.path.clone())).await?)
            };
            let checked = checked.await;
            reservation.discard().await;
            checked.map(Json)
        }
        Media::Other => Err(Failure::new(
            ErrorCode::UnsupportedMediaType,
            "A check is asked for as application/json or multipart/form-data.",
        )),
    }
}

/// The requests of a batch with their results, in the order of the file; empty before they are collected.
#[utoipa::path(get, path = "/api/jobs/{job_id}/requests", tag = "batches",
    params(("job_id" = String, Path),
        ("status" = Option<String>, Query, description = "`succeeded`, `failed`, `cancelled`, `expired` or `missing`"),
        ("cursor" = Option<String>, Query), ("limit" = Option<u32>, Query, description = "1 to 200, default 100")),
    responses((status = 200, body = Page<RequestRow>), (status = 304, description = "not changed"),
        (status = "default", response = crate::http::openapi::ProblemAnswer)))]
pub(crate) async fn requests(
    State(state): State<AppState>,
    JobPath(id): JobPath,
    conditions: Conditions,
    pairs: Pairs,
) -> Answer<Response> {
    let query = request_query(&pairs)?;
    conditions.answer(&state, Source::Store, || state.engine.requests(id, &query)).await
}

fn request_query(pairs: &Pairs) -> Answer<RequestQuery> {
    let status = pairs
        .get("status")
        .map(str::parse)
        .transpose()
        .map_err(|error: String| invalid_query(error).field("status"))?;
    let limit = match pairs.get("limit").map(str::parse::<u32>) {
        None => None,
        Some(Ok(limit)) if (1..=200).contains(&limit) => Some(limit),
        Some(_) => return Err(invalid_query("`limit` takes a number from 1 to 200.").field("limit")),
    };
    Ok(RequestQuery { status, cursor: pairs.get("cursor").map(str::to_owned), limit })
}

/// Asks the provider of a job now what became of its batch, and stores what it says.
#[utoipa::path(post, path = "/api/jobs/{job_id}/refresh", tag = "batches", params(("job_id" = String, Path)),
    responses((status = 200, body = Job), (status = "default", response = crate::http::openapi::ProblemAnswer)))]
pub(crate) async fn refresh(State(state): State<AppState>, caller: Caller, JobPath(id): JobPath) -> Answer<Json<Job>> {
    Ok(Json(refresh_as(&state, &caller, id).await?))
}

/// The refresh of API and form alike.
pub(crate) async fn refresh_as(state: &AppState, caller: &Caller, id: JobId) -> Answer<Job> {
    let (engine, actor) = (state.engine.clone(), caller.actor());
    Ok(to_the_end(async move { engine.refresh(&actor, id).await }).await?)
}

/// What a provider has, newest first as it tells it, with whose each is.
#[utoipa::path(get, path = "/api/providers/{name}/batches", tag = "batches",
    params(("name" = String, Path), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = RemoteBatchPage),
        (status = "default", response = crate::http::openapi::ProblemAnswer)))]
pub(crate) async fn list(
    State(state): State<AppState>,
    _: Caller,
    Path(name): Path<String>,
    pairs: Pairs,
) -> Answer<Json<RemoteBatchPage>> {
    Ok(Json(state.engine.remote_batches(&name, pairs.get("cursor")).await?))
}

/// Makes a job of a batch that none knows: it is followed, and can be cancelled, collected and deleted like any other.
#[utoipa::path(post, path = "/api/providers/{name}/batches/{batch_id}/adopt", tag = "batches",
    params(("name" = String, Path), ("batch_id" = String, Path)),
    request_body(content = Option<AdoptRequest>),
    responses((status = 201, body = Job, headers(("Location" = String))),
        (status = "default", response = crate::http::openapi::ProblemAnswer)))]
pub(crate) async fn adopt(
    State(state): State<AppState>,
    caller: Caller,
    Path((name, id)): Path<(String, String)>,
    request: Request,
) -> Answer<Response> {
    let body: AdoptRequest = body::json(request, ErrorCode::InvalidSpec).await?;
    let job = adopt_as(&state, &caller, &name, &id, body).await?;
    let location = paths::api::job(job.job_id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(job)).into_response())
}

/// The adoption of API and form alike.
pub(crate) async fn adopt_as(
    state: &AppState,
    caller: &Caller,
    name: &str,
    id: &str,
    request: AdoptRequest,
) -> Answer<Job> {
    let (engine, actor, name, id) = (state.engine.clone(), caller.actor(), name.to_owned(), id.to_owned());
    Ok(to_the_end(async move { engine.adopt_batch(&actor, &name, &id, request).await }).await?)
}

/// Makes jobs of the batches that another tool wrote down: a list of records, or an object of them. Known ones are left.
#[utoipa::path(post, path = "/api/providers/{name}/import", tag = "batches", params(("name" = String, Path)),
    request_body(content = Vec<serde_json::Value>, description = "records, as README.md describes them"),
    responses((status = 200, body = ImportAnswer), (status = "default", response = crate::http::openapi::ProblemAnswer)))]
pub(crate) async fn import(
    State(state): State<AppState>,
    caller: Caller,
    Path(name): Path<String>,
    request: Request,
) -> Answer<Json<ImportAnswer>> {
    let text = body::read(request, body::MAX_JSON).await?.to_vec();
    Ok(Json(import_as(&state, &caller, &name, Written::Text(text)).await?))
}

/// The import of API and form alike.
pub(crate) async fn import_as(state: &AppState, caller: &Caller, name: &str, written: Written) -> Answer<ImportAnswer> {
    let (engine, actor, name) = (state.engine.clone(), caller.actor(), name.to_owned());
    Ok(to_the_end(async move { engine.import_batches(&actor, &name, written).await }).await?)
}

/// Asks a provider to cancel a batch that no job knows. The answer is how it stands then, which may be: cancelling.
#[utoipa::path(post, path = "/api/providers/{name}/batches/{batch_id}/cancel", tag = "batches",
    params(("name" = String, Path), ("batch_id" = String, Path)),
    responses((status = 200, body = RemoteBatch), (status = "default", response = crate::http::openapi::ProblemAnswer)))]
pub(crate) async fn cancel(
    State(state): State<AppState>,
    caller: Caller,
    Path((name, id)): Path<(String, String)>,
) -> Answer<Json<RemoteBatch>> {
    Ok(Json(cancel_as(&state, &caller, &name, &id).await?))
}

/// The cancel of API and form alike.
pub(crate) async fn cancel_as(state: &AppState, caller: &Caller, name: &str, id: &str) -> Answer<RemoteBatch> {
    let (engine, actor, name, id) = (state.engine.clone(), caller.actor(), name.to_owned(), id.to_owned());
    Ok(to_the_end(async move { engine.cancel_remote_batch(&actor, &name, &id).await }).await?)
}
