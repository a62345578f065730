//! Who asks: bearer tokens for programs, a session cookie for browsers. Secrets are 32 random bytes; the store keeps
//! their SHA-256 only.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use app::{
    model::{AuditAction, AuditEvent, ErrorCode, Page, Source, Timestamp},
    paths,
};
use axum::{
    Form, Json,
    extract::{ConnectInfo, FromRequestParts, Path, Request, State, rejection::FormRejection},
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Redirect, Response},
};
use axum_extra::extract::cookie::{Cookie, CookieJar, SameSite};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

use super::{
    AppState, pages,
    problem::{Answer, Failure},
    request_id, security,
};
use crate::{
    engine::{Actor, clock},
    secret,
    store::{ApiToken, Session},
};

/// How long a browser stays signed in.
const SESSION_MILLIS: i64 = 14 * 24 * 3_600_000;

/// Who signs in by a link, or uses the command line beside the server. One role for now: whoever can runs this instance.
pub(crate) const OPERATOR: &str = "operator";

/// Who comes with the token from the environment.
const BOOTSTRAP: &str = "bootstrap";

/// Who is asking.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) name: String,
    pub(crate) source: Source,
    pub(crate) address: Option<String>,
    /// Hash of the session's cookie.
    session: Option<String>,
}

impl Caller {
    /// For the engine, under the present request's id.
    pub(crate) fn actor(&self) -> Actor {
        Actor {
            name: self.name.clone(),
            source: self.source,
            address: self.address.clone(),
            request_id: request_id::current(),
        }
    }
}

/// Handlers behind [`require`] and [`require_on_page`] take the caller as an argument.
impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Answer<Self> {
        parts.extensions.get::<Caller>().cloned().ok_or_else(Failure::unauthenticated)
    }
}

/// Facts of a request that sign-in needs.
struct Envelope<'a> {
    method: &'a Method,
    uri: &'a Uri,
    headers: &'a HeaderMap,
    address: Option<String>,
}

impl<'a> Envelope<'a> {
    fn of(state: &AppState, request: &'a Request) -> Self {
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
        Envelope {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            address: security::client_address(peer, request.headers(), &state.trusted_proxies),
        }
    }
}

/// Middleware of the API: 401 for who is not signed in.
pub(crate) async fn require(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    match identify(&state, &Envelope::of(&state, &request)).await {
        Ok(Some(caller)) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Ok(None) => Failure::unauthenticated().into_response(),
        Err(failure) => failure.into_response(),
    }
}

/// Middleware of the pages: who is not signed in goes to the sign-in page, and comes back here afterwards.
pub(crate) async fn require_on_page(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    match identify(&state, &Envelope::of(&state, &request)).await {
        Ok(Some(caller)) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Ok(None) => {
            let place = page_of(request.uri(), request.method());
            let target = paths::with_query(paths::console::SIGN_IN, &[("next", place)]);
            Redirect::to(&target).into_response()
        }
        Err(failure) => failure.into_response(),
    }
}

/// The page that a request is about. A form post cannot be repeated by a link: it is the page that has the form.
fn page_of(uri: &Uri, method: &Method) -> String {
    let whole = || uri.path_and_query().map_or(paths::console::JOBS, |place| place.as_str()).to_owned();
    if method == Method::GET {
        return whole();
    }
    let segments: Vec<&str> = uri.path().split('/').skip(1).collect();
    match segments.as_slice() {
        // Buttons of a page.
        [noun @ ("jobs" | "removals" | "bulk"), id, "rerun" | "refresh" | "retry" | "abort"] => format!("/{noun}/{id}"),
        ["providers", name, ..] => paths::console::provider(&percent_decode_str(name).decode_utf8_lossy()),
        ["sign-out"] => paths::console::JOBS.to_owned(),
        // Their own page.
        _ => whole(),
    }
}

/// The caller; `None` when there is neither token nor session.
async fn identify(state: &AppState, envelope: &Envelope<'_>) -> Answer<Option<Caller>> {
    if let Some(value) = envelope.headers.get(header::AUTHORIZATION) {
        return by_token(state, value, envelope).await.map(Some);
    }
    let Some(hash) = session_hash(state, envelope.headers) else { return Ok(None) };
    let Some(session) = state.store.session(&hash, clock::now()).await? else { return Ok(None) };
    if !is_token_valid(state, &session).await? {
        return Ok(None);
    }
    if !envelope.method.is_safe() {
        security::check_same_origin(&state.origins, envelope.uri, envelope.headers, true)?;
    }
    Ok(Some(Caller {
        name: session.actor,
        source: Source::Console,
        address: envelope.address.clone(),
        session: Some(session.hash),
    }))
}

/// A session that was made with an API token ends with it, also when the token is no longer in the environment.
async fn is_token_valid(state: &AppState, session: &Session) -> Answer<bool> {
    Ok(match &session.token {
        Some(hash) => name_of_token(state, hash).await?.is_some(),
        None => true,
    })
}

async fn by_token(state: &AppState, value: &HeaderValue, envelope: &Envelope<'_>) -> Answer<Caller> {
    let token = value.to_str().ok().and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    let name = match token {
        Some(token) => name_of_token(state, &secret::hash(token)).await?,
        None => None,
    };
    let name = name.ok_or_else(|| {
        Failure::new(ErrorCode::Unauthenticated, "This API token is not known. It may have been revoked.")
            .hint("Authorization: Bearer TOKEN")
    })?;
    Ok(Caller { name, source: Source::Api, address: envelope.address.clone(), session: None })
}

/// The name of the token with this hash.
async fn name_of_token(state: &AppState, hash: &str) -> Answer<Option<String>> {
    if state.bootstrap.as_deref().is_some_and(|known| security::same_hash(known, hash)) {
        return Ok(Some(BOOTSTRAP.to_owned()));
    }
    if security::same_hash(&state.local, hash) {
        return Ok(Some(OPERATOR.to_owned()));
    }
    Ok(state.store.token(hash).await?.map(|token| token.name))
}

fn session_hash(state: &AppState, headers: &HeaderMap) -> Option<String> {
    let jar = CookieJar::from_headers(headers);
    jar.get(&state.cookie).map(|cookie| secret::hash(cookie.value()))
}

// ---- sign-in and sign-out ----

/// A new one-time link, stored; the address to open.
pub async fn new_sign_in_link(store: &dyn crate::store::Store, base_url: &str) -> crate::error::Result<String> {
    const LINK_MILLIS: i64 = 3_600_000;
    let link = secret::new("")?;
    store.add_sign_in_link(&secret::hash(&link), clock::now().plus_millis(LINK_MILLIS)).await?;
    Ok(format!("{base_url}{}?link={link}", paths::console::SIGN_IN))
}

/// `GET /sign-in`: the page. Who is signed in already goes on.
pub(crate) async fn sign_in_page(State(state): State<AppState>, request: Request) -> Response {
    let known = identify(&state, &Envelope::of(&state, &request)).await.ok().flatten();
    let has_link = request.uri().query().is_some_and(|query| query.contains("link="));
    if known.is_some() && !has_link {
        let query = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(request.uri());
        let next = query.ok().and_then(|query| find(&query.0, "next").map(str::to_owned));
        return Redirect::to(safe_next(next.as_deref())).into_response();
    }
    pages::render(&state, None, request.uri(), request.headers(), None).await
}

/// `POST /sign-in` with `link` or `token`, and `next`.
pub(crate) async fn sign_in(
    State(state): State<AppState>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    uri: Uri,
    headers: HeaderMap,
    form: Result<Form<Vec<(String, String)>>, FormRejection>,
) -> Response {
    let address = security::client_address(Some(peer), &headers, &state.trusted_proxies);
    let fields = form.map(|form| form.0).unwrap_or_default();
    let next = find(&fields, "next").map(str::to_owned);
    match try_sign_in(&state, &uri, &headers, &fields, address.as_deref()).await {
        Ok(cookie) => ([(header::SET_COOKIE, cookie)], Redirect::to(safe_next(next.as_deref()))).into_response(),
        Err(failure) => {
            // Only where to go next is shown again: the rest is secret.
            let values = next.map(|next| ("next".to_owned(), next)).into_iter().collect();
            let uri = Uri::from_static(paths::console::SIGN_IN);
            pages::render_failed_form(&state, None, &uri, &headers, failure, values).await
        }
    }
}

async fn try_sign_in(
    state: &AppState,
    uri: &Uri,
    headers: &HeaderMap,
    fields: &[(String, String)],
    address: Option<&str>,
) -> Answer<String> {
    security::check_same_origin(&state.origins, uri, headers, false)?;
    state.sign_in_limit.check(address)?;
    let token = find(fields, "token").map(|token| secret::hash(token.trim()));
    let (name, token) = match (find(fields, "link"), token) {
        (Some(link), _) => {
            let used = state.store.use_sign_in_link(&secret::hash(link), clock::now()).await?;
            (used.then(|| OPERATOR.to_owned()), None)
        }
        (None, Some(hash)) => (name_of_token(state, &hash).await?, Some(hash)),
        (None, None) => (None, None),
    };
    let Some(name) = name else {
        state.sign_in_limit.failed(address);
        audit(state, "unknown", AuditAction::SignIn, address, "refused: UNAUTHENTICATED").await?;
        return Err(Failure::new(
            ErrorCode::Unauthenticated,
            "This link or token is not valid. A link works once, for one hour.",
        )
        .hint("`belay sign-in-link` prints a new link."));
    };
    let secret = secret::new("")?;
    let now = clock::now();
    let session = Session {
        hash: secret::hash(&secret),
        actor: name.clone(),
        created_at: now,
        expires: now.plus_millis(SESSION_MILLIS),
        token,
    };
    state.store.add_session(&session).await?;
    audit(state, &name, AuditAction::SignIn, address, "ok").await?;
    let max_age = SESSION_MILLIS / 1_000;
    Ok(cookie(state, state.cookie.clone(), secret, max_age))
}

/// `POST /sign-out`: ends the session.
pub(crate) async fn sign_out(State(state): State<AppState>, caller: Caller) -> Answer<Response> {
    if let Some(hash) = &caller.session {
        state.store.end_session(hash).await?;
        audit(&state, &caller.name, AuditAction::SignOut, caller.address.as_deref(), "ok").await?;
    }
    let gone = cookie(&state, state.cookie.clone(), String::new(), 0);
    Ok(([(header::SET_COOKIE, gone)], Redirect::to(paths::console::SIGN_IN)).into_response())
}

/// A cookie of ours as a header's value.
pub(crate) fn cookie(state: &AppState, name: String, value: String, max_age_s: i64) -> String {
    let secure = if state.origins.is_secure() { "; Secure" } else { "" };
    let cookie = Cookie::build((name, value)).path("/").http_only(true).same_site(SameSite::Lax).build();
    format!("{cookie}; Max-Age={max_age_s}{secure}")
}

async fn audit(state: &AppState, actor: &str, action: AuditAction, address: Option<&str>, result: &str) -> Answer<()> {
    let event = AuditEvent {
        at: clock::now(),
        actor: actor.to_owned(),
        action,
        job_id: None,
        job_name: None,
        source: Source::Console,
        address: address.map(str::to_owned),
        request_id: request_id::current(),
        result: result.to_owned(),
        detail: None,
    };
    Ok(state.store.audit(event).await?)
}

fn find<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    fields.iter().find(|(field, value)| field == name && !value.is_empty()).map(|(_, value)| value.as_str())
}

/// A place on this server, else the list: `//evil.example` would be another one.
fn safe_next(next: Option<&str>) -> &str {
    let own = |place: &&str| {
        place.starts_with('/')
            && !place.starts_with("//")
            && !place.contains('\\')
            && !place.chars().any(char::is_control)
            && !place.starts_with(paths::console::SIGN_IN)
    };
    next.filter(own).unwrap_or(paths::console::JOBS)
}

/// Slows down who guesses: failed sign-ins per address and minute.
#[derive(Debug, Default)]
pub(crate) struct SignInLimit {
    failures: Mutex<HashMap<String, (u32, Instant)>>,
}

impl SignInLimit {
    const MAX: u32 = 10;
    const WINDOW: Duration = Duration::from_secs(60);

    fn check(&self, address: Option<&str>) -> Answer<()> {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.retain(|_, (_, since)| since.elapsed() < Self::WINDOW);
        match failures.get(address.unwrap_or_default()) {
            Some((count, _)) if *count >= Self::MAX => Err(Failure::new(
                ErrorCode::TooManyRequests,
                "Too many failed sign-ins from this address. Wait a minute, then try again.",
            )),
            Some(_) | None => Ok(()),
        }
    }

    fn failed(&self, address: Option<&str>) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.entry(address.unwrap_or_default().to_owned()).or_insert((0, Instant::now())).0 += 1;
    }
}

// ---- tokens ----

/// An API token without its secret.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub(crate) struct TokenInfo {
    pub(crate) name: String,
    pub(crate) created_at: Timestamp,
    pub(crate) created_by: String,
}

/// A new API token. The secret is shown here and never again.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub(crate) struct NewToken {
    name: String,
    pub(crate) token: String,
    created_at: Timestamp,
    created_by: String,
}

/// Body of `POST /api/tokens`.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenRequest {
    /// 1 to 64 letters, digits, `_`, `-`, `.`; the actor's name in the audit.
    name: String,
}

/// API tokens, without their secrets.
#[utoipa::path(get, path = "/api/tokens", tag = "tokens", responses(
    (status = 200, body = Page<TokenInfo>), (status = "default", response = crate::http::openapi::ProblemAnswer)))]
pub(crate) async fn list_tokens(State(state): State<AppState>, _: Caller) -> Answer<Json<Page<TokenInfo>>> {
    let tokens = state.store.tokens().await?;
    let info =
        |token: ApiToken| TokenInfo { name: token.name, created_at: token.created_at, created_by: token.created_by };
    Ok(Json(Page { items: tokens.into_iter().map(info).collect(), next_cursor: None }))
}

/// Makes an API token; the answer is the only place that ever shows its secret.
#[utoipa::path(post, path = "/api/tokens", tag = "tokens", request_body = TokenRequest, responses(
    (status = 201, body = NewToken), (status = "default", response = crate::http::openapi::ProblemAnswer)))]
pub(crate) async fn create_token(
    State(state): State<AppState>,
    caller: Caller,
    request: Request,
) -> Answer<(StatusCode, Json<NewToken>)> {
    let body: TokenRequest = super::body::json(request, ErrorCode::InvalidSpec).await?;
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if body.name.is_empty() || body.name.len() > 64 || !body.name.chars().all(safe) {
        return Err(Failure::invalid_spec("name", "`name` takes 1 to 64 letters, digits, `_`, `-` and `.`."));
    }
    let taken = [OPERATOR, BOOTSTRAP].contains(&body.name.as_str())
        || state.store.tokens().await?.iter().any(|token| token.name == body.name);
    if taken {
        return Err(Failure::invalid_spec("name", format!("The name `{}` is taken.", body.name))
            .hint("Revoke that token first, or take another name."));
    }
    let secret = secret::new("belay_")?;
    let event = token_event(&caller, AuditAction::CreateToken, &body.name, "ok");
    let token =
        ApiToken { name: body.name, hash: secret::hash(&secret), created_at: clock::now(), created_by: caller.name };
    state.store.add_token(&token, event).await?;
    let shown =
        NewToken { name: token.name, token: secret, created_at: token.created_at, created_by: token.created_by };
    Ok((StatusCode::CREATED, Json(shown)))
}

fn token_event(caller: &Caller, action: AuditAction, token: &str, result: &str) -> AuditEvent {
    AuditEvent {
        at: clock::now(),
        actor: caller.name.clone(),
        action,
        job_id: None,
        job_name: None,
        source: caller.source,
        address: caller.address.clone(),
        request_id: request_id::current(),
        result: result.to_owned(),
        detail: Some(token.to_owned()),
    }
}

/// Revokes an API token, and ends the sessions that were made with it.
#[utoipa::path(delete, path = "/api/tokens/{name}", tag = "tokens", params(("name" = String, Path)), responses(
    (status = 204, description = "revoked"), (status = "default", response = crate::http::openapi::ProblemAnswer)))]
pub(crate) async fn revoke_token(
    State(state): State<AppState>,
    caller: Caller,
    Path(name): Path<String>,
) -> Answer<StatusCode> {
    let event = |result| token_event(&caller, AuditAction::RevokeToken, &name, result);
    if state.store.revoke_token(&name, event("ok")).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        let mut refused = event("refused: NOT_FOUND");
        refused.detail = None;
        state.store.audit(refused).await?;
        Err(Failure::new(ErrorCode::NotFound, "There is no token of this name."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_that_met_the_end_of_a_session_leads_back_to_its_page() {
        for (form, page) in [
            ("/jobs/7/rerun", "/jobs/7"),
            ("/jobs/7/delete?force=true", "/jobs/7/delete?force=true"),
            ("/bulk/new?action=cancel&phase=failed", "/bulk/new?action=cancel&phase=failed"),
            ("/bulk/7/abort", "/bulk/7"),
            ("/providers/a%20b/batches/batch_1/adopt", "/providers?provider=a%20b"),
            ("/providers", "/providers"),
            ("/sign-out", "/jobs"),
        ] {
            assert_eq!(page_of(&Uri::from_static(form), &Method::POST), page, "{form}");
        }
        let read = "/jobs?phase=active";
        assert_eq!(page_of(&Uri::from_static(read), &Method::GET), read);
    }

    #[test]
    fn after_sign_in_nobody_is_sent_to_another_site() {
        assert_eq!(safe_next(Some("/jobs?phase=active")), "/jobs?phase=active");
        for place in ["//evil.example", "https://evil.example", "/\\evil.example", "jobs", "/a\nb", ""] {
            assert_eq!(safe_next(Some(place)), "/jobs", "{place}");
        }
        assert_eq!(safe_next(None), "/jobs");
    }

    #[test]
    fn the_eleventh_failed_sign_in_of_a_minute_is_refused_for_that_address_only() {
        let limit = SignInLimit::default();
        for _ in 0..SignInLimit::MAX {
            assert!(limit.check(Some("10.0.0.1")).is_ok());
            limit.failed(Some("10.0.0.1"));
        }
        assert_eq!(limit.check(Some("10.0.0.1")).unwrap_err().code, ErrorCode::TooManyRequests);
        assert!(limit.check(Some("10.0.0.2")).is_ok());
    }
}
