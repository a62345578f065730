//! Every request has an id: in the answer, in the log, in the audit, in problems. Taken from the client when it is a
//! sane one, so that a trail over several systems can be followed.

use std::time::Instant;

use axum::{
    extract::Request,
    http::{HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};
use uuid::Uuid;

/// The header that carries it, both ways.
pub(crate) const HEADER: HeaderName = HeaderName::from_static("x-request-id");

tokio::task_local! {
    static CURRENT: String;
}

/// The id of the request that is being answered; empty outside of one.
pub(crate) fn current() -> String {
    CURRENT.try_with(Clone::clone).unwrap_or_default()
}

/// Middleware: gives the id, and logs one line a request.
pub(crate) async fn assign(request: Request, next: Next) -> Response {
    let id = from_client(&request).unwrap_or_else(|| Uuid::now_v7().to_string());
    let method = request.method().clone();
    // Not the query: a sign-in link is in it.
    let path = request.uri().path().to_owned();
    let begun = Instant::now();
    let mut response = CURRENT.scope(id.clone(), next.run(request)).await;
    let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
    let status = response.status().as_u16();
    if status >= 500 {
        tracing::warn!(request_id = %id, %method, path, status, micros, "answered");
    } else {
        tracing::debug!(request_id = %id, %method, path, status, micros, "answered");
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(HEADER, value);
    }
    response
}

/// 8 to 64 characters that are safe in a log line.
fn from_client(request: &Request) -> Option<String> {
    let text = request.headers().get(HEADER)?.to_str().ok()?;
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
    ((8..=64).contains(&text.len()) && text.bytes().all(safe)).then(|| text.to_owned())
}
