//! How the server is: for probes, for Prometheus, for people.

use app::model::{AuditEvent, ErrorCode, FormOptions, Page, PresetInfo, ProviderInfo, RootInfo, Timestamp};
use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::{
    AppState,
    auth::Caller,
    conditional::{Conditions, Source},
    extract::Pairs,
    problem::{Answer, Failure},
};
use crate::config::Config;

/// Events a page of the audit.
pub(crate) const AUDIT_PAGE: u32 = 100;

/// The process answers.
#[utoipa::path(get, path = "/healthz", tag = "status", security(()), responses((status = 200, description = "alive")))]
pub(crate) async fn health() -> &'static str {
    "ok\n"
}

/// The process can work: the store answers and nobody is stopping it.
#[utoipa::path(get, path = "/readyz", tag = "status", security(()), responses(
    (status = 200, description = "ready"), (status = "default", response = crate::http::openapi::ProblemAnswer)))]
pub(crate) async fn ready(State(state): State<AppState>) -> Answer<&'static str> {
    if state.stopping.is_cancelled() {
        return Err(Failure::new(ErrorCode::ShuttingDown, "The server is stopping."));
    }
    state.store.change_counter().await?;
    Ok("ready\n")
}

/// Prometheus text format.
#[utoipa::path(get, path = "/metrics", tag = "status", responses(
    (status = 200, content_type = "text/plain", body = String), (status = "default", response = crate::http::openapi::ProblemAnswer)))]
pub(crate) async fn metrics(State(state): State<AppState>, _: Caller) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, state.metrics.render()).into_response()
}

/// A worker.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct WorkerStatus {
    worker_id: String,
    host: String,
    slots: u32,
    started_at: Timestamp,
    heartbeat_at: Timestamp,
}

/// What this server is.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct ServerStatus {
    version: String,
    host: String,
    started_at: Timestamp,
    workers: Vec<WorkerStatus>,
}

/// Version and workers.
#[utoipa::path(get, path = "/api/status", tag = "status", responses(
    (status = 200, body = ServerStatus), (status = "default", response = crate::http::openapi::ProblemAnswer)))]
pub(crate) async fn status(State(state): State<AppState>, _: Caller) -> Answer<Json<ServerStatus>> {
    let workers = state.store.workers().await?.into_iter().map(|worker| WorkerStatus {
        worker_id: worker.worker_id,
        host: worker.host,
        slots: worker.slots,
        started_at: worker.started_at,
        heartbeat_at: worker.heartbeat_at,
    });
    Ok(Json(ServerStatus {
        version: super::VERSION.to_owned(),
        host: state.host.clone(),
        started_at: state.started_at,
        workers: workers.collect(),
    }))
}

/// What the new-job form may offer here.
#[utoipa::path(get, path = "/api/form-options", tag = "status", responses(
    (status = 200, body = FormOptions), (status = "default", response = crate::http::openapi::ProblemAnswer)))]
pub(crate) async fn form_options(State(state): State<AppState>, _: Caller) -> Json<FormOptions> {
    Json(options(&state.config, state.engine.providers()))
}

pub(crate) fn options(config: &Config, providers: Vec<ProviderInfo>) -> FormOptions {
    let preset = |(name, preset): (&String, &crate::config::Preset)| PresetInfo {
        name: name.clone(),
        kind: preset.kind,
        command: preset.command.clone(),
        description: preset.description.clone(),
    };
    FormOptions {
        presets: config.presets.iter().map(preset).collect(),
        roots: config.files.roots.iter().map(|root| RootInfo { path: root.to_string_lossy().into_owned() }).collect(),
        allow_free_commands: config.files.allow_free_commands,
        max_upload_bytes: config.files.max_upload_bytes,
        slots: config.worker.slots,
        hosts: crate::kinds::hosts::offered(config),
        allow_free_commands_on_hosts: config.ssh.allow_free_commands,
        providers,
    }
}

/// Who did what, newest first.
#[utoipa::path(get, path = "/api/audit", tag = "audit", params(("cursor" = Option<String>, Query)), responses(
    (status = 200, body = Page<AuditEvent>), (status = "default", response = crate::http::openapi::ProblemAnswer)))]
pub(crate) async fn audit(State(state): State<AppState>, conditions: Conditions, pairs: Pairs) -> Answer<Response> {
    conditions.answer(&state, Source::Store, || state.store.audit_events(pairs.get("cursor"), AUDIT_PAGE)).await
}
