//! Deleting jobs, and the receipts that outlive them.

use app::model::{DeleteAnswer, DeleteStatus, Page, Plan, Receipt};
use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};

use super::{
    AppState,
    auth::Caller,
    conditional::{Conditions, Source},
    extract::{JobPath, Pairs},
    jobs::to_the_end,
    problem::Answer,
};
use crate::engine::DeleteOptions;

/// Removes a job, or tells what a removal would take (`dry_run`).
#[utoipa::path(delete, path = "/api/jobs/{job_id}", tag = "jobs",
    params(("job_id" = String, Path),
        ("force" = Option<bool>, Query, description = "an active job is stopped with proof first"),
        ("dry_run" = Option<bool>, Query, description = "answers the plan (`Plan`), changes nothing"),
        ("keep_files" = Option<bool>, Query, description = "leaves the artifacts in a folder that the receipt names")),
    responses((status = 200, body = DeleteAnswer, description = "gone; with `dry_run` the plan"),
        (status = 202, body = DeleteAnswer, description = "goes on, also across a restart"),
        (status = "default", response = crate::http::openapi::ProblemAnswer)))]
pub(crate) async fn delete(
    State(state): State<AppState>,
    caller: Caller,
    JobPath(id): JobPath,
    pairs: Pairs,
) -> Answer<Response> {
    let options = DeleteOptions { force: pairs.flag("force")?, keep_files: pairs.flag("keep_files")? };
    if pairs.flag("dry_run")? {
        let plan: Plan = state.engine.plan(id, options.keep_files).await?;
        return Ok(Json(plan).into_response());
    }
    let answer = delete_as(&state, &caller, id, options).await?;
    let status = match answer.status {
        DeleteStatus::Deleted => StatusCode::OK,
        DeleteStatus::Deleting => StatusCode::ACCEPTED,
    };
    Ok((status, Json(answer)).into_response())
}

/// The delete of API and form alike.
pub(crate) async fn delete_as(
    state: &AppState,
    caller: &Caller,
    id: app::model::JobId,
    options: DeleteOptions,
) -> Answer<DeleteAnswer> {
    let (engine, actor) = (state.engine.clone(), caller.actor());
    Ok(to_the_end(async move { engine.delete(&actor, id, options).await }).await?)
}

/// The receipts, newest first.
#[utoipa::path(get, path = "/api/removals", tag = "removals", params(("cursor" = Option<String>, Query)),
    responses((status = 200, body = Page<Receipt>), (status = "default", response = crate::http::openapi::ProblemAnswer)))]
pub(crate) async fn list(State(state): State<AppState>, conditions: Conditions, pairs: Pairs) -> Answer<Response> {
    conditions.answer(&state, Source::Store, || state.engine.receipts(pairs.get("cursor"))).await
}

/// One receipt.
#[utoipa::path(get, path = "/api/removals/{job_id}", tag = "removals", params(("job_id" = String, Path)),
    responses((status = 200, body = Receipt), (status = "default", response = crate::http::openapi::ProblemAnswer)))]
pub(crate) async fn detail(
    State(state): State<AppState>,
    JobPath(id): JobPath,
    conditions: Conditions,
) -> Answer<Response> {
    conditions.answer(&state, Source::Store, || state.engine.receipt(id)).await
}

/// Tries again to remove what a removal left, and to prove what was not proven.
#[utoipa::path(post, path = "/api/removals/{job_id}/retry", tag = "removals", params(("job_id" = String, Path)),
    responses((status = 200, body = Receipt), (status = "default", response = crate::http::openapi::ProblemAnswer)))]
pub(crate) async fn retry(
    State(state): State<AppState>,
    caller: Caller,
    JobPath(id): JobPath,
) -> Answer<Json<Receipt>> {
    Ok(Json(retry_as(&state, &caller, id).await?))
}

/// The retry of API and form alike.
pub(crate) async fn retry_as(state: &AppState, caller: &Caller, id: app::model::JobId) -> Answer<Receipt> {
    let (engine, actor) = (state.engine.clone(), caller.actor());
    Ok(to_the_end(async move { engine.retry_removal(&actor, id).await }).await?)
}
