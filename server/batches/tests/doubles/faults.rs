//! What goes wrong on the way: scripted per test, in front of a double. It also writes down what was asked.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures::{StreamExt as _, stream};

/// What happens instead of an answer.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// This answer; the double does not hear of the request.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// The double does what it was asked, and the connection breaks before the answer.
    DoneButLost,
    /// The connection breaks, and the double does not hear of the request.
    Lost,
    /// The answer breaks off after so many bytes.
    BreaksAfter(usize),
    /// The answer comes byte by byte, with a pause after each.
    Drips(Duration),
    /// The double does what it was asked, after a while.
    Late(Duration),
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    /// With its query.
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
}

/// The script, and what was asked. A handle: all of its copies are one.
#[derive(Clone, Default)]
pub(crate) struct Faults(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    faults: Vec<(Method, String, usize, Fault)>,
    asked: Vec<Asked>,
}

impl Faults {
    /// The next `times` requests of this method whose path holds `part` get `fault`.
    pub(crate) fn script(&self, method: Method, part: &str, times: usize, fault: Fault) {
        self.0.lock().unwrap().faults.push((method, part.to_owned(), times, fault));
    }

    /// From now on all is well.
    pub(crate) fn clear(&self) {
        self.0.lock().unwrap().faults.clear();
    }

    /// All requests so far, those that met a fault among them.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.0.lock().unwrap().asked.clone()
    }

    /// How many requests of this method had `part` in their path.
    pub(crate) fn count(&self, method: &Method, part: &str) -> usize {
        let script = self.0.lock().unwrap();
        script.asked.iter().filter(|asked| asked.method == *method && asked.path.contains(part)).count()
    }

    fn take(&self, asked: Asked) -> Option<Fault> {
        let mut script = self.0.lock().unwrap();
        let fault = script.faults.iter_mut().find(|(method, part, times, _)| {
            *times > 0 && *method == asked.method && asked.path.contains(part.as_str())
        });
        let fault = fault.map(|(_, _, times, fault)| {
            *times -= 1;
            fault.clone()
        });
        script.asked.push(asked);
        fault
    }
}

/// In front of every route.
pub(crate) async fn layer(State(faults): State<Faults>, request: Request, next: Next) -> Response {
    let path = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
    let asked = Asked { method: request.method().clone(), path, headers: request.headers().clone() };
    match faults.take(asked) {
        None => next.run(request).await,
        Some(Fault::Answer(status, headers, body)) => {
            // Read to its end first, as services do: an answer in the middle of a request is lost with its connection.
            let _ = axum::body::to_bytes(request.into_body(), usize::MAX).await;
            let mut response = (StatusCode::from_u16(status).unwrap(), body).into_response();
            for (name, value) in headers {
                response.headers_mut().insert(name, value.parse().unwrap());
            }
            response
        }
        Some(Fault::Lost) => broken(Bytes::new()),
        Some(Fault::DoneButLost) => {
            read_whole(next.run(request).await).await;
            broken(Bytes::new())
        }
        Some(Fault::BreaksAfter(bytes)) => {
            let (parts, body) = read_whole(next.run(request).await).await;
            let mut response = broken(body.slice(..bytes.min(body.len())));
            for name in ["etag", "content-range"] {
                if let Some(value) = parts.headers.get(name) {
                    response.headers_mut().insert(name, value.clone());
                }
            }
            *response.status_mut() = parts.status;
            response
        }
        Some(Fault::Drips(pause)) => {
            let (parts, body) = read_whole(next.run(request).await).await;
            let drops = stream::iter(body).then(move |byte| async move {
                tokio::time::sleep(pause).await;
                Ok::<_, Infallible>(Bytes::copy_from_slice(&[byte]))
            });
            Response::from_parts(parts, Body::from_stream(drops))
        }
        Some(Fault::Late(pause)) => {
            tokio::time::sleep(pause).await;
            next.run(request).await
        }
    }
}

async fn read_whole(response: Response) -> (axum::http::response::Parts, Bytes) {
    let (mut parts, body) = response.into_parts();
    parts.headers.remove("content-length");
    (parts, axum::body::to_bytes(body, usize::MAX).await.unwrap())
}

/// A body that is never finished: the connection is closed in the middle.
fn broken(begin: Bytes) -> Response {
    let end = stream::once(async {
        // The beginning has to be on its way, or it goes with the connection.
        tokio::time::sleep(Duration::from_millis(50)).await;
        Err(std::io::Error::other("scripted"))
    });
    Response::new(Body::from_stream(stream::iter([Ok(begin)]).chain(end)))
}
