//! Actions on many jobs.

use app::{
    model::{Bulk, BulkId, BulkItem, BulkItemQuery, BulkPlan, BulkRequest, ErrorCode, Page},
    paths,
};
use axum::{
    Json,
    extract::{FromRequestParts, Path, Request, State},
    http::{StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};

use super::{
    AppState,
    auth::Caller,
    body,
    conditional::{Conditions, Source},
    extract::{Pairs, invalid_query},
    jobs::{idempotency_key, request_hash, to_the_end},
    problem::{Answer, Failure},
};
use crate::secret;

/// The bulk that the path names. A text that is no UUID is an unknown one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BulkPath(pub(crate) BulkId);

impl<S: Send + Sync> FromRequestParts<S> for BulkPath {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Answer<Self> {
        let text = Path::<String>::from_request_parts(parts, state).await.map(|path| path.0).unwrap_or_default();
        let unknown = || Failure::new(ErrorCode::NotFound, "There is no action on many jobs at this address.");
        text.parse().map(BulkPath).map_err(|_| unknown())
    }
}

/// Cancels, deletes or reruns many jobs, or tells what that would come to (`dry_run`). The selection is frozen here; the work
/// goes on in the background.
#[utoipa::path(post, path = "/api/bulk", tag = "bulk",
    params(("Idempotency-Key" = Option<String>, Header)),
    request_body = BulkRequest,
    responses((status = 200, body = BulkPlan, description = "with `dry_run`"),
        (status = 202, body = Bulk, headers(("Location" = String))),
        (status = "default", response = crate::http::openapi::ProblemAnswer)))]
pub(crate) async fn begin(State(state): State<AppState>, caller: Caller, request: Request) -> Answer<Response> {
    let key = idempotency_key(request.headers())?;
    let bytes = body::read(request, body::MAX_JSON).await?;
    let request: BulkRequest = body::parse(&bytes, ErrorCode::InvalidBulk)?;
    if request.dry_run {
        return Ok(Json(state.engine.plan_bulk(&request, state.config.bulk.max_jobs).await?).into_response());
    }
    let hash = request_hash("POST", paths::api::BULK, &secret::hex(&Sha256::digest(&bytes)));
    accepted(begin_as(&state, &caller, request, key.map(|key| (key, hash))).await?)
}

/// The beginning of API and form alike.
pub(crate) async fn begin_as(
    state: &AppState,
    caller: &Caller,
    request: BulkRequest,
    idempotency: Option<(String, String)>,
) -> Answer<Bulk> {
    let (engine, actor, limit) = (state.engine.clone(), caller.actor(), state.config.bulk.max_jobs);
    Ok(to_the_end(async move { engine.begin_bulk(&actor, request, limit, idempotency).await }).await?)
}

fn accepted(bulk: Bulk) -> Answer<Response> {
    let location = paths::api::bulk(bulk.bulk_id);
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(bulk)).into_response())
}

/// The actions on many jobs, newest first.
#[utoipa::path(get, path = "/api/bulk", tag = "bulk", params(("cursor" = Option<String>, Query)),
    responses((status = 200, body = Page<Bulk>), (status = "default", response = crate::http::openapi::ProblemAnswer)))]
pub(crate) async fn list(State(state): State<AppState>, conditions: Conditions, pairs: Pairs) -> Answer<Response> {
    conditions.answer(&state, Source::Store, || state.engine.bulks(pairs.get("cursor"))).await
}

/// One of them, with its progress.
#[utoipa::path(get, path = "/api/bulk/{bulk_id}", tag = "bulk",
    params(("bulk_id" = String, Path), ("wait" = Option<String>, Query)),
    responses((status = 200, body = Bulk), (status = 304, description = "not changed"),
        (status = "default", response = crate::http::openapi::ProblemAnswer)))]
pub(crate) async fn detail(
    State(state): State<AppState>,
    BulkPath(id): BulkPath,
    conditions: Conditions,
) -> Answer<Response> {
    conditions.answer(&state, Source::Store, || state.engine.bulk(id)).await
}

/// Its jobs with their results, in the order of the selection.
#[utoipa::path(get, path = "/api/bulk/{bulk_id}/items", tag = "bulk",
    params(("bulk_id" = String, Path), ("result" = Option<String>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Page<BulkItem>), (status = 304, description = "not changed"),
        (status = "default", response = crate::http::openapi::ProblemAnswer)))]
pub(crate) async fn items(
    State(state): State<AppState>,
    BulkPath(id): BulkPath,
    conditions: Conditions,
    pairs: Pairs,
) -> Answer<Response> {
    let query = BulkItemQuery::from_pairs(pairs.iter()).map_err(invalid_query)?;
    conditions.answer(&state, Source::Store, || state.engine.bulk_items(id, &query)).await
}

/// Begins nothing more of it. What was begun goes on.
#[utoipa::path(post, path = "/api/bulk/{bulk_id}/abort", tag = "bulk", params(("bulk_id" = String, Path)),
    responses((status = 200, body = Bulk), (status = "default", response = crate::http::openapi::ProblemAnswer)))]
pub(crate) async fn abort(State(state): State<AppState>, caller: Caller, BulkPath(id): BulkPath) -> Answer<Json<Bulk>> {
    Ok(Json(abort_as(&state, &caller, id).await?))
}

/// The abort of API and form alike.
pub(crate) async fn abort_as(state: &AppState, caller: &Caller, id: BulkId) -> Answer<Bulk> {
    let (engine, actor) = (state.engine.clone(), caller.actor());
    Ok(to_the_end(async move { engine.abort_bulk(&actor, id).await }).await?)
}

/// A new one, with the same options, over the jobs that failed.
#[utoipa::path(post, path = "/api/bulk/{bulk_id}/retry", tag = "bulk",
    params(("bulk_id" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 202, body = Bulk, headers(("Location" = String))),
        (status = "default", response = crate::http::openapi::ProblemAnswer)))]
pub(crate) async fn retry(
    State(state): State<AppState>,
    caller: Caller,
    BulkPath(id): BulkPath,
    request: Request,
) -> Answer<Response> {
    let hash = request_hash("POST", &paths::api::retry_bulk(id), "");
    let key = idempotency_key(request.headers())?.map(|key| (key, hash));
    accepted(retry_as(&state, &caller, id, key).await?)
}

/// The retry of API and form alike.
pub(crate) async fn retry_as(
    state: &AppState,
    caller: &Caller,
    id: BulkId,
    idempotency: Option<(String, String)>,
) -> Answer<Bulk> {
    let (engine, actor) = (state.engine.clone(), caller.actor());
    Ok(to_the_end(async move { engine.retry_bulk(&actor, id, idempotency).await }).await?)
}
