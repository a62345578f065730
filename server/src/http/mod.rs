//! Speaks HTTP: the REST API, the console's pages and forms, the browser bundle.
//!
//! A request passes, from the outside: request id and log line, a net for panics, known hosts and security headers,
//! compression, sign-in, the handler. Handlers are by noun; errors become answers in [`problem`] only.

mod artifacts;
pub(crate) mod assets;
mod auth;
mod backend;
mod batches;
mod body;
mod bulk;
mod conditional;
mod extract;
mod forms;
mod jobs;
mod openapi;
mod pages;
mod problem;
mod removals;
mod request_id;
mod security;
mod status;
mod uploads;

use std::{
    net::{IpAddr, SocketAddr},
    ops::Deref,
    sync::Arc,
};

use app::{
    assets::AssetNames,
    model::{ErrorCode, Timestamp},
    paths::console,
};
use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{Method, StatusCode, header},
    middleware::{Next, from_fn, from_fn_with_state, map_response},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::sync::CancellationToken;
use tower_http::{catch_panic::CatchPanicLayer, compression::CompressionLayer};
use utoipa_axum::{router::OpenApiRouter, routes};

pub use self::auth::new_sign_in_link;
pub(crate) use self::auth::{NewToken, TokenInfo};
use self::problem::Failure;
use crate::{
    config::Config,
    engine::{Engine, clock},
    error::Error,
    secret,
    store::SharedStore,
};

/// Version of Belay.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Bytes of a form without files.
const MAX_FORM: usize = 64 << 10;

/// What the HTTP side is made of.
pub struct Services {
    pub engine: Engine,
    pub store: SharedStore,
    pub config: Config,
    /// The address that is listened on.
    pub listen: SocketAddr,
    /// Name of this machine.
    pub host: String,
    pub metrics: PrometheusHandle,
    /// An API token from the environment.
    pub bootstrap_token: Option<String>,
    /// The API token of the command line on this machine, new with every start.
    pub local_token: String,
    /// Cancelled when the server stops: whoever waits is answered.
    pub stopping: CancellationToken,
    /// Cancelled when a stop waits no longer: what is still asked gets its answer then, while there is a runtime.
    pub last_call: CancellationToken,
}

/// What handlers share.
pub(crate) struct Shared {
    engine: Engine,
    store: SharedStore,
    config: Config,
    host: String,
    metrics: PrometheusHandle,
    stopping: CancellationToken,
    started_at: Timestamp,
    origins: security::Origins,
    trusted_proxies: Vec<IpAddr>,
    /// Name of the session's cookie. By port, because browsers share cookies between the ports of a host.
    cookie: String,
    /// Hash of the token from the environment.
    bootstrap: Option<String>,
    /// Hash of the token of the command line on this machine.
    local: String,
    sign_in_limit: auth::SignInLimit,
    etags: conditional::Etags,
    assets: AssetNames,
}

/// See [`Shared`].
#[derive(Clone)]
pub(crate) struct AppState(Arc<Shared>);

impl Deref for AppState {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// The address of this server for people: behind a proxy `http.public_url`.
#[must_use]
pub fn base_url(listen: SocketAddr, config: &Config) -> String {
    security::Origins::new(listen, &config.http.public_url).base_url()
}

/// The address at which this machine reaches a server that listens here.
#[must_use]
pub fn local_url(listen: SocketAddr) -> String {
    security::Origins::new(listen, "").base_url()
}

/// Everything that is served.
pub fn router(services: Services) -> Router {
    // leptos runs its tasks on tokio. A second call (tests) changes nothing.
    let _ = any_spawner::Executor::init_tokio();
    let state = AppState(Arc::new(Shared {
        origins: security::Origins::new(services.listen, &services.config.http.public_url),
        trusted_proxies: services.config.http.trusted_proxies.iter().filter_map(|ip| ip.parse().ok()).collect(),
        cookie: format!("belay_{}", services.listen.port()),
        bootstrap: services.bootstrap_token.as_deref().map(secret::hash),
        local: secret::hash(&services.local_token),
        engine: services.engine,
        store: services.store,
        config: services.config,
        host: services.host,
        metrics: services.metrics,
        stopping: services.stopping,
        started_at: clock::now(),
        sign_in_limit: auth::SignInLimit::default(),
        etags: conditional::Etags::default(),
        assets: assets::asset_names(),
    }));
    let (api, _) = api_routes().split_for_parts();
    let api = api
        .route("/api/jobs/{job_id}/artifacts/{*path}", get(artifacts::download))
        .route_layer(from_fn_with_state(state.clone(), auth::require));
    let (open, _) = open_routes().split_for_parts();
    // Not the bundle, which is compressed already, and not artifacts.
    let compressed = api.merge(open).merge(page_routes(&state)).layer(CompressionLayer::new());
    compressed
        .route("/pkg/{file}", get(assets::asset))
        .layer(map_response(explain_bare_refusals))
        .layer(from_fn(body::drain_refused))
        .layer(from_fn_with_state(state.clone(), security::guard))
        .layer(CatchPanicLayer::custom(|_| {
            Failure::new(
                ErrorCode::Internal,
                "The server could not do this. Its log has the cause under this request id.",
            )
            .into_response()
        }))
        .layer(from_fn_with_state(services.last_call, until_last_call))
        .layer(from_fn(request_id::assign))
        .with_state(state)
}

/// The API: routes and their description from one place. All of it wants a caller, except [`open_routes`].
pub(crate) fn api_routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(openapi::document())
        .routes(routes!(jobs::list, jobs::submit))
        .routes(routes!(jobs::detail, removals::delete))
        .routes(routes!(jobs::units))
        .routes(routes!(jobs::log))
        .routes(routes!(jobs::cancel))
        .routes(routes!(jobs::rerun))
        .routes(routes!(artifacts::list))
        .routes(routes!(artifacts::matches))
        .routes(routes!(removals::list))
        .routes(routes!(removals::detail))
        .routes(routes!(removals::retry))
        .routes(routes!(batches::providers))
        .routes(routes!(batches::check))
        .routes(routes!(batches::requests))
        .routes(routes!(batches::refresh))
        .routes(routes!(batches::list))
        .routes(routes!(batches::adopt))
        .routes(routes!(batches::import))
        .routes(routes!(batches::cancel))
        .routes(routes!(bulk::list, bulk::begin))
        .routes(routes!(bulk::detail))
        .routes(routes!(bulk::items))
        .routes(routes!(bulk::abort))
        .routes(routes!(bulk::retry))
        .routes(routes!(status::audit))
        .routes(routes!(status::status))
        .routes(routes!(status::form_options))
        .routes(routes!(status::metrics))
        .routes(routes!(auth::list_tokens, auth::create_token))
        .routes(routes!(auth::revoke_token))
        .layer(DefaultBodyLimit::disable())
}

/// What a probe, or a program that learns the API, may ask without signing in.
pub(crate) fn open_routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(status::health)).routes(routes!(status::ready)).routes(routes!(openapi::serve))
}

fn page_routes(state: &AppState) -> Router<AppState> {
    let signed_in = from_fn_with_state(state.clone(), auth::require_on_page);
    let pages = Router::new()
        .route("/", get(|| async { Redirect::to(console::JOBS) }))
        .route(console::JOBS, get(pages::page))
        .route(console::NEW_JOB, get(pages::page).post(forms::new_job).layer(DefaultBodyLimit::disable()))
        .route("/jobs/{job_id}", get(pages::page))
        .route("/jobs/{job_id}/cancel", get(pages::page).post(forms::cancel))
        .route("/jobs/{job_id}/delete", get(pages::page).post(forms::delete))
        .route("/jobs/{job_id}/rerun", post(forms::rerun))
        .route("/jobs/{job_id}/refresh", post(forms::refresh))
        .route(console::PROVIDERS, get(pages::page).post(forms::import_batches).layer(DefaultBodyLimit::disable()))
        .route("/providers/{name}/batches/{batch_id}/adopt", post(forms::adopt_batch))
        .route("/providers/{name}/batches/{batch_id}/cancel", post(forms::cancel_remote_batch))
        .route(console::REMOVALS, get(pages::page))
        .route("/removals/{job_id}", get(pages::page))
        .route("/removals/{job_id}/retry", post(forms::retry_removal))
        .route(console::NEW_BULK, get(pages::page).post(forms::new_bulk))
        .route("/bulk/{bulk_id}", get(pages::page))
        .route("/bulk/{bulk_id}/abort", post(forms::abort_bulk))
        .route("/bulk/{bulk_id}/retry", post(forms::retry_bulk))
        .route(console::AUDIT, get(pages::page))
        .route(console::SIGN_OUT, post(auth::sign_out))
        .route_layer(signed_in.clone());
    let nowhere = Router::new().fallback(nowhere).layer(signed_in).layer(from_fn(programs_get_json));
    pages
        .route(console::SIGN_IN, get(auth::sign_in_page).post(auth::sign_in))
        .layer(DefaultBodyLimit::max(MAX_FORM))
        .fallback_service(nowhere.with_state(state.clone()))
}

/// Gives a request up when the server waits for it no longer, as if its caller had hung up. Without this it would go
/// on into the end of the runtime and meet failures there that are nobody's fault.
async fn until_last_call(State(last_call): State<CancellationToken>, request: Request, next: Next) -> Response {
    let is_safe = request.method().is_safe();
    tokio::select! {
        response = next.run(request) => response,
        () = last_call.cancelled() => if is_safe {
            Failure::from(Error::ShuttingDown)
        } else {
            let detail = "The server is stopping. It is not known whether this was done: look before you repeat it.";
            Failure::new(ErrorCode::ShuttingDown, detail)
        }
        .into_response(),
    }
}

/// An address that is none: a page for people.
async fn nowhere(State(state): State<AppState>, caller: auth::Caller, request: Request) -> Response {
    if request.method() == Method::GET || request.method() == Method::HEAD {
        pages::not_found(State(state), caller, request).await
    } else {
        nothing_here().into_response()
    }
}

/// Programs are told so in JSON, and need not sign in for it.
async fn programs_get_json(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if path == "/api" || path.starts_with("/api/") { nothing_here().into_response() } else { next.run(request).await }
}

fn nothing_here() -> Failure {
    Failure::new(ErrorCode::NotFound, "There is nothing at this address. GET /api/openapi.json lists what there is.")
}

/// Refusals that axum makes itself have no body: they get a problem document, and keep their `Allow`.
async fn explain_bare_refusals(response: Response) -> Response {
    if response.status() != StatusCode::METHOD_NOT_ALLOWED || response.headers().contains_key(header::CONTENT_TYPE) {
        return response;
    }
    let allow = response.headers().get(header::ALLOW).cloned();
    let detail = "This address does not take this method. The Allow header names those that it takes.";
    let mut explained = Failure::new(ErrorCode::MethodNotAllowed, detail).into_response();
    if let Some(allow) = allow {
        explained.headers_mut().insert(header::ALLOW, allow);
    }
    explained
}
