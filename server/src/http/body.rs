//! Reading bodies: with limits that hold before and while they are read, and errors that say what is wrong.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use app::model::ErrorCode;
use axum::{
    body::{Body, BodyDataStream, Bytes, HttpBody as _},
    extract::Request,
    http::{HeaderMap, header},
    middleware::Next,
    response::Response,
};
use futures::{Stream, StreamExt as _};
use serde::de::DeserializeOwned;

use super::problem::{Answer, Failure};

/// Bytes of a JSON body.
pub(crate) const MAX_JSON: u64 = 1 << 20;

/// The whole body, at most `max` bytes.
pub(crate) async fn read(request: Request, max: u64) -> Answer<Bytes> {
    let (parts, body) = request.into_parts();
    if content_length(&parts.headers).is_some_and(|length| length > max) {
        return Err(too_large(max));
    }
    let mut stream = body.into_data_stream();
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| Failure::invalid_body("The body ended before it was complete."))?;
        if (bytes.len() + chunk.len()) as u64 > max {
            return Err(too_large(max));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.into())
}

/// A JSON body. Not JSON: 400. Unknown, missing or mistyped fields: `code`, with the field. An empty body is `{}`.
pub(crate) async fn json<T: DeserializeOwned>(request: Request, code: ErrorCode) -> Answer<T> {
    parse(&read(request, MAX_JSON).await?, code)
}

/// See [`json`].
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8], code: ErrorCode) -> Answer<T> {
    let bytes = if bytes.trim_ascii().is_empty() { b"{}" } else { bytes };
    // Twice, so that text that is not JSON is told from JSON that does not fit, also after the first misfit.
    let value: serde_json::Value = serde_json::from_slice(bytes)
        .map_err(|error| Failure::invalid_body(format!("The body is not JSON: {error}.")))?;
    if !value.is_object() {
        return Err(Failure::new(code, "The body must be a JSON object."));
    }
    serde_json::from_value(value).map_err(|error| misfit(&error.to_string(), code))
}

/// serde's words, with the field that they name.
fn misfit(message: &str, code: ErrorCode) -> Failure {
    let named = message.strip_prefix("unknown field `").or_else(|| message.strip_prefix("missing field `"));
    let field = named.and_then(|rest| rest.split_once('`')).map(|(field, _)| field.to_owned());
    let mut sentence = message.to_owned();
    if let Some(first) = sentence.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    let failure = Failure::new(code, format!("{sentence}."));
    match field {
        Some(field) => failure.field(field),
        None => failure,
    }
}

/// The size that the client announced.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The failure 413.
pub(crate) fn too_large(max: u64) -> Failure {
    let size = if max >= 1 << 20 { format!("{} MiB", max >> 20) } else { format!("{max} bytes") };
    Failure::new(ErrorCode::BodyTooLarge, format!("The body is too large; at most {size} are taken here."))
}

// ---- refusals of what is still being sent ----

/// Middleware. A client that sends on while it is refused would have its connection reset, and most never see the answer
/// then: what it sends is thrown away for a moment first. One that waits for `100 Continue` is told at once.
pub(crate) async fn drain_refused(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let waits = request.headers().contains_key(header::EXPECT);
    let (parts, body) = request.into_parts();
    let tap = Tap { stream: Arc::new(Mutex::new(body.into_data_stream())), was_asked: Arc::default() };
    let response = next.run(Request::from_parts(parts, Body::from_stream(tap.clone()))).await;
    if !response.status().is_success() && (!waits || tap.was_asked.load(Ordering::Relaxed)) {
        discard(tap).await;
    }
    response
}

/// Reads and forgets, for at most 10 s and not longer than the client keeps sending.
async fn discard(mut stream: Tap) {
    const PAUSE: Duration = Duration::from_secs(1);
    let drain = async { while let Ok(Some(Ok(_))) = tokio::time::timeout(PAUSE, stream.next()).await {} };
    // Whoever sends on after that may see its connection reset instead of the answer.
    let _ = tokio::time::timeout(Duration::from_secs(10), drain).await;
}

/// A body that can be read on when its reader has given up.
#[derive(Clone)]
struct Tap {
    stream: Arc<Mutex<BodyDataStream>>,
    was_asked: Arc<AtomicBool>,
}

impl Stream for Tap {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.was_asked.store(true, Ordering::Relaxed);
        self.stream.lock().unwrap_or_else(PoisonError::into_inner).poll_next_unpin(context)
    }
}

#[cfg(test)]
mod tests {
    use app::model::{CancelRequest, RerunRequest};

    use super::*;

    #[test]
    fn an_empty_body_is_an_empty_object() {
        assert_eq!(parse::<CancelRequest>(b" \n", ErrorCode::InvalidCancel).unwrap(), CancelRequest::default());
    }

    #[test]
    fn what_is_not_json_and_what_does_not_fit_are_told_apart() {
        let code = |body: &[u8]| parse::<RerunRequest>(body, ErrorCode::InvalidSpec).unwrap_err();
        assert_eq!(code(b"{\"units\":").code, ErrorCode::InvalidBody);
        assert_eq!(code(b"[]").code, ErrorCode::InvalidSpec);
        let unknown = code(br#"{"unit":"all"}"#);
        assert_eq!((unknown.code, unknown.field.as_deref()), (ErrorCode::InvalidSpec, Some("unit")));
        assert_eq!(code(br#"{"units":"some"}"#).code, ErrorCode::InvalidSpec);
    }
}
