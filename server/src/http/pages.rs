//! The console's pages, rendered with their data.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU16, Ordering},
};

use app::backend::{Flash, FormState, PageState, SetStatus, SharedBackend, Viewer};
use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use axum_extra::extract::cookie::CookieJar;
use leptos::{context::provide_context, nonce::use_nonce};
use percent_encoding::percent_decode_str;

use super::{AppState, VERSION, auth, auth::Caller, backend::EngineBackend, problem::Failure, security};
use crate::engine::clock;

/// `GET` of a page.
pub(crate) async fn page(State(state): State<AppState>, caller: Caller, request: Request) -> Response {
    render(&state, Some(&caller), request.uri(), request.headers(), None).await
}

/// A page of an address that is none.
pub(crate) async fn not_found(State(state): State<AppState>, caller: Caller, request: Request) -> Response {
    let mut response = render(&state, Some(&caller), request.uri(), request.headers(), None).await;
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

/// The page of a form whose post failed, with the problem and what had been typed.
pub(crate) async fn render_failed_form(
    state: &AppState,
    caller: Option<&Caller>,
    uri: &Uri,
    headers: &HeaderMap,
    failure: Failure,
    values: Vec<(String, String)>,
) -> Response {
    let form = FormState { path: uri.path().to_owned(), problem: failure.problem(), values };
    let mut response = render(state, caller, uri, headers, Some(form)).await;
    *response.status_mut() = failure.status();
    response
}

/// Renders the page at `uri`.
pub(crate) async fn render(
    state: &AppState,
    caller: Option<&Caller>,
    uri: &Uri,
    headers: &HeaderMap,
    form: Option<FormState>,
) -> Response {
    let backend: SharedBackend = Arc::new(EngineBackend(state.clone()));
    let flash = flash_of(state, headers);
    let had_flash = flash.is_some();
    let page = PageState {
        viewer: caller.map(|caller| Viewer { name: caller.name.clone() }),
        host: state.host.clone(),
        version: VERSION.to_owned(),
        now: clock::now(),
        flash,
        form,
    };
    let status = Arc::new(AtomicU16::new(200));
    let nonce: Arc<OnceLock<String>> = Arc::default();
    let (told, seen, assets) = (status.clone(), nonce.clone(), state.assets.clone());
    let contexts = move || {
        provide_context(backend.clone());
        provide_context(page.clone());
        provide_context(assets.clone());
        let told = told.clone();
        provide_context(SetStatus(Arc::new(move |code| told.store(code, Ordering::Relaxed))));
    };
    let document = move || {
        if let Some(nonce) = use_nonce() {
            let _ = seen.set(nonce.to_string());
        }
        app::shell()
    };
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = uri.clone();
    // Async: the whole page at once, with its data. Out-of-order chunks would need scripts.
    let mut response = leptos_axum::render_app_async_with_context(contexts, document)(request).await.into_response();
    if let Ok(code) = StatusCode::from_u16(status.load(Ordering::Relaxed)) {
        *response.status_mut() = code;
    }
    let policy = security::page_policy(nonce.get().map_or("", String::as_str));
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    if had_flash {
        forget_flash(state, &mut response);
    }
    response
}

// ---- a message for the next page ----

fn flash_cookie(state: &AppState) -> String {
    format!("{}_flash", state.cookie)
}

/// Leaves a message for the page that follows.
pub(crate) fn leave_flash(state: &AppState, response: &mut Response, flash: &Flash) {
    const SECONDS: i64 = 60;
    let Ok(json) = serde_json::to_string(flash) else { return };
    let value = app::paths::encode(&json);
    append_cookie(response, &auth::cookie(state, flash_cookie(state), value, SECONDS));
}

fn forget_flash(state: &AppState, response: &mut Response) {
    append_cookie(response, &auth::cookie(state, flash_cookie(state), String::new(), 0));
}

fn append_cookie(response: &mut Response, cookie: &str) {
    if let Ok(value) = HeaderValue::from_str(cookie) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
}

fn flash_of(state: &AppState, headers: &HeaderMap) -> Option<Flash> {
    let jar = CookieJar::from_headers(headers);
    let value = jar.get(&flash_cookie(state))?.value().to_owned();
    let json = percent_decode_str(&value).decode_utf8().ok()?;
    serde_json::from_str(&json).ok()
}
