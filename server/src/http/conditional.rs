//! Answers that a client may hold: an `ETag` that is a hash of the body, 304 when it has not changed, and `?wait=25s`,
//! which holds the request until it has.
//!
//! The fast path: the ETag is remembered with the store's change counter as it was before the body was made. While the
//! counter stands still the body cannot have changed, and need not be made to know it.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use axum::{
    extract::FromRequestParts,
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{
    AppState,
    auth::Caller,
    problem::{Answer, Failure},
};
use crate::{error, secret};
use app::model::ErrorCode;

/// Longest hold.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// A busy server changes with every unit; a waiting request looks again at most this often.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Addresses whose ETag is remembered.
const REMEMBERED: usize = 2_048;

/// Remembered ETags by caller and address: the change counter before the body was made, and its ETag.
#[derive(Debug, Default)]
pub(crate) struct Etags(Mutex<HashMap<(String, String), (u64, String)>>);

impl Etags {
    fn at(&self, key: &(String, String), counter: u64) -> Option<String> {
        let etags = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        etags.get(key).filter(|(seen, _)| *seen == counter).map(|(_, etag)| etag.clone())
    }

    fn remember(&self, key: (String, String), counter: u64, etag: String) {
        let mut etags = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if etags.len() >= REMEMBERED {
            etags.clear();
        }
        etags.insert(key, (counter, etag));
    }
}

/// What makes an answer change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The store only: its counter tells.
    Store,
    /// Also files, of whose growth nobody tells, or what is in memory only: looked at every half second while waiting.
    Files,
}

/// The conditions of a request.
#[derive(Clone, Debug)]
pub(crate) struct Conditions {
    key: (String, String),
    known: Option<String>,
    wait: Option<Duration>,
}

impl<S: Send + Sync> FromRequestParts<S> for Conditions {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Answer<Self> {
        let caller = Caller::from_request_parts(parts, state).await?;
        let query = parts.uri.query().unwrap_or_default();
        let wait = query.split('&').find_map(|pair| pair.strip_prefix("wait=")).map(parse_wait).transpose()?;
        let known = parts.headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
        let place = parts.uri.path_and_query().map_or("", |place| place.as_str());
        Ok(Conditions { key: (caller.name, place.to_owned()), known: known.map(str::to_owned), wait })
    }
}

impl Conditions {
    /// Whether the client holds the body with this ETag. Weak comparison, as RFC 9110 asks for here: a proxy that
    /// compresses makes a strong tag a weak one.
    fn holds(&self, etag: &str) -> bool {
        let Some(known) = &self.known else { return false };
        known.split(',').map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
    }

    /// The answer, made by `make` as often as it takes.
    pub(crate) async fn answer<T, F>(self, state: &AppState, source: Source, make: impl Fn() -> F) -> Answer<Response>
    where
        T: Serialize,
        F: Future<Output = error::Result<T>>,
    {
        // Waiting makes sense only for who knows something.
        let wait = self.wait.filter(|_| self.known.is_some()).unwrap_or_default();
        let deadline = Instant::now() + wait;
        loop {
            let counter = state.store.change_counter().await?;
            if source == Source::Store && state.etags.at(&self.key, counter).is_some_and(|etag| self.holds(&etag)) {
                if !changed(state, counter, source, deadline).await? {
                    return Ok(not_modified(self.etag_or_known(state, counter)));
                }
                continue;
            }
            let body =
                serde_json::to_vec(&make().await?).map_err(|e| error::Error::internal("writing an answer", e))?;
            let etag = etag(&body);
            if source == Source::Store {
                state.etags.remember(self.key.clone(), counter, etag.clone());
            }
            if !self.holds(&etag) {
                return Ok(full(body, &etag));
            }
            if !changed(state, counter, source, deadline).await? {
                return Ok(not_modified(etag));
            }
        }
    }

    fn etag_or_known(&self, state: &AppState, counter: u64) -> String {
        state.etags.at(&self.key, counter).or_else(|| self.known.clone()).unwrap_or_default()
    }
}

/// Waits for a change after `counter`; false when the time is over, or the server stops.
async fn changed(state: &AppState, counter: u64, source: Source, deadline: Instant) -> error::Result<bool> {
    if Instant::now() >= deadline {
        return Ok(false);
    }
    let pause = match source {
        Source::Store => LOOK_AGAIN,
        Source::Files => Duration::from_millis(500),
    };
    let look_again = Instant::now() + pause;
    let moved = async {
        match source {
            Source::Store => {
                state.engine.changed_since(counter).await?;
                sleep_until(look_again).await;
            }
            Source::Files => sleep_until(look_again).await,
        }
        Ok(true)
    };
    tokio::select! {
        () = state.stopping.cancelled() => Ok(false),
        moved = timeout_at(deadline, moved) => moved.unwrap_or(Ok(false)),
    }
}

/// A strong ETag of a body.
fn etag(body: &[u8]) -> String {
    let hash = Sha256::digest(body);
    format!("\"{}\"", secret::hex(hash.get(..16).unwrap_or_default()))
}

fn full(body: Vec<u8>, etag: &str) -> Response {
    let mut response = ([(header::CONTENT_TYPE, "application/json")], body).into_response();
    set_etag(&mut response, etag);
    response
}

fn not_modified(etag: String) -> Response {
    let mut response = StatusCode::NOT_MODIFIED.into_response();
    set_etag(&mut response, &etag);
    response
}

fn set_etag(response: &mut Response, etag: &str) {
    if let Ok(value) = HeaderValue::from_str(etag) {
        response.headers_mut().insert(header::ETAG, value);
    }
}

/// `25s` or `25`; at most a minute.
fn parse_wait(text: &str) -> Answer<Duration> {
    match text.strip_suffix('s').unwrap_or(text).parse::<u64>() {
        Ok(seconds) => Ok(Duration::from_secs(seconds).min(MAX_WAIT)),
        Err(_) => {
            Err(Failure::new(ErrorCode::InvalidQuery, "`wait` takes seconds: `25s`, at most `60s`.").field("wait"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conditions(known: &str) -> Conditions {
        Conditions { key: Default::default(), known: Some(known.to_owned()), wait: None }
    }

    #[test]
    fn a_known_tag_is_found_in_a_list_and_behind_a_weak_mark() {
        assert!(conditions("\"a\", W/\"b\"").holds("\"b\""));
        assert!(conditions("*").holds("\"b\""));
        assert!(!conditions("\"a\"").holds("\"b\""));
    }

    #[test]
    fn the_wait_is_at_most_a_minute() {
        assert_eq!(parse_wait("25s").unwrap(), Duration::from_secs(25));
        assert_eq!(parse_wait("25").unwrap(), Duration::from_secs(25));
        assert_eq!(parse_wait("3600s").unwrap(), MAX_WAIT);
        assert!(parse_wait("soon").is_err());
    }

    #[test]
    fn an_etag_is_forgotten_when_the_counter_moves() {
        let etags = Etags::default();
        let key = ("mara".to_owned(), "/api/jobs".to_owned());
        etags.remember(key.clone(), 7, "\"x\"".to_owned());
        assert_eq!(etags.at(&key, 7).as_deref(), Some("\"x\""));
        assert_eq!(etags.at(&key, 8), None);
    }
}
