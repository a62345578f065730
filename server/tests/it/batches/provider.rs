//! A provider that was made by others, on loopback, and a way to it on which requests are counted and can be held.

use std::{
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
};
use tokio::{
    process::{Child, Command},
    sync::Notify,
};

use crate::harness::LONG;

/// The key that the provider wants, and that must be found nowhere else.
pub(crate) const KEY: &str = "sk-a-key-that-is-nowhere-else-4711";

/// `aimock`, ended with this.
pub(crate) struct Aimock {
    _child: Child,
    address: String,
}

impl Aimock {
    pub(crate) async fn start(more: &[&str]) -> Aimock {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/aimock");
        let ready = Command::new(folder.join("setup")).status().await.unwrap();
        assert!(ready.success(), "tests/aimock/setup");
        let fixtures = folder.join("fixtures.json");
        // Chosen by the system; nobody else takes it in the moment between.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut child = Command::new("node")
            .arg(folder.join("node_modules/@copilotkit/aimock/dist/cli.js"))
            .args(["--port", &port.to_string(), "-f"])
            .arg(&fixtures)
            .args(more)
            .env("AIMOCK_API_KEYS", KEY)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let address = format!("127.0.0.1:{port}");
        let answers = async {
            while tokio::net::TcpStream::connect(&address).await.is_err() {
                assert!(child.try_wait().unwrap().is_none(), "aimock ended");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(LONG, answers).await.expect("aimock listens");
        Aimock { _child: child, address }
    }
}

/// What is done with a request that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// It does not reach the provider.
    Request,
    /// The provider has done it, and its answer does not come back.
    Answer,
    /// It is answered at once, by a list with nothing in it: the provider's own lags behind.
    EmptyList,
}

/// A rule: requests of this method whose path ends like this.
type Rule = (&'static str, &'static str, Hold);

struct Shared {
    to: String,
    client: reqwest::Client,
    seen: Mutex<Vec<String>>,
    rules: Mutex<Vec<Rule>>,
    changed: Notify,
    dropped: Notify,
    outcome: Mutex<Option<&'static str>>,
}

/// A way to a provider.
#[derive(Clone)]
pub(crate) struct Way {
    shared: Arc<Shared>,
    pub(crate) base_url: String,
}

impl Way {
    pub(crate) async fn to(provider: &Aimock) -> Way {
        let shared = Arc::new(Shared {
            to: format!("http://{}", provider.address),
            client: batches::client_builder("http://").build().unwrap(),
            seen: Mutex::default(),
            rules: Mutex::default(),
            changed: Notify::new(),
            dropped: Notify::new(),
            outcome: Mutex::default(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
        let router = Router::new().fallback(pass).with_state(shared.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Way { shared, base_url }
    }

    /// From now on requests like these do not come through, or no answer comes back.
    pub(crate) fn hold(&self, method: &'static str, path_end: &'static str, hold: Hold) {
        self.shared.rules.lock().unwrap().push((method, path_end, hold));
    }

    /// Requests like these pass again.
    pub(crate) fn free_only(&self, method: &'static str, path_end: &'static str) {
        self.shared.rules.lock().unwrap().retain(|(held, end, _)| (*held, *end) != (method, path_end));
    }

    /// What is held stays lost; what comes from now on passes.
    pub(crate) fn free(&self) {
        self.shared.rules.lock().unwrap().clear();
    }

    /// How the batches end that are made from now on.
    pub(crate) fn end_as(&self, outcome: &'static str) {
        *self.shared.outcome.lock().unwrap() = Some(outcome);
    }

    /// Requests so far: `POST /v1/batches`.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.shared.seen.lock().unwrap().clone()
    }

    pub(crate) fn count(&self, method: &str, path_end: &str) -> usize {
        self.seen().iter().filter(|seen| seen.starts_with(method) && seen.ends_with(path_end)).count()
    }

    /// Waits until such a request has come (and, if it is one whose answer is held, was done).
    pub(crate) async fn until(&self, method: &str, path_end: &str) {
        let seen = async {
            loop {
                let changed = self.shared.changed.notified();
                if self.count(method, path_end) > 0 {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(LONG, seen).await.unwrap_or_else(|_| panic!("no {method} {path_end}: {:?}", self.seen()));
    }

    /// What is held breaks off.
    pub(crate) fn drop_held(&self) {
        self.shared.dropped.notify_waiters();
    }

    /// Asks the provider how a batch stands, which is what moves this provider on.
    pub(crate) async fn look(&self, id: &str) -> serde_json::Value {
        let url = format!("{}/v1/batches/{id}", self.shared.to);
        self.shared.client.get(url).bearer_auth(KEY).send().await.unwrap().json().await.unwrap()
    }

    /// What the provider has, asked without the way.
    pub(crate) async fn batches(&self) -> Vec<serde_json::Value> {
        let url = format!("{}/v1/batches?limit=100", self.shared.to);
        // A provider that fails on purpose fails here, too.
        for _ in 0..100 {
            let Ok(answer) = self.shared.client.get(&url).bearer_auth(KEY).send().await else { continue };
            let list: serde_json::Value = answer.json().await.unwrap_or_default();
            if let Some(data) = list["data"].as_array() {
                return data.clone();
            }
        }
        panic!("no list of batches");
    }

    /// Makes a batch behind Belay's back. Answers its id.
    pub(crate) async fn make_orphan(&self, requests: &str) -> String {
        let file = reqwest::multipart::Part::text(requests.to_owned()).file_name("orphan.jsonl");
        let form = reqwest::multipart::Form::new().text("purpose", "batch").part("file", file);
        let post = |path: &str| self.shared.client.post(format!("{}/v1/{path}", self.shared.to)).bearer_auth(KEY);
        let file: serde_json::Value = post("files").multipart(form).send().await.unwrap().json().await.unwrap();
        let create = serde_json::json!({
            "input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h",
        });
        let batch: serde_json::Value = post("batches").json(&create).send().await.unwrap().json().await.unwrap();
        batch["id"].as_str().unwrap().to_owned()
    }
}

async fn pass(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let (method, path) = (parts.method.clone(), parts.uri.path().to_owned());
    let held = shared
        .rules
        .lock()
        .unwrap()
        .iter()
        .find(|(wanted, end, _)| *wanted == method.as_str() && path.ends_with(end))
        .map(|(_, _, hold)| *hold);
    let note = || {
        shared.seen.lock().unwrap().push(format!("{method} {path}"));
        shared.changed.notify_waiters();
    };
    if held == Some(Hold::Request) {
        let dropped = shared.dropped.notified();
        note();
        dropped.await;
        return StatusCode::BAD_GATEWAY.into_response();
    }
    if held == Some(Hold::EmptyList) {
        note();
        return axum::Json(serde_json::json!({"object": "list", "data": [], "has_more": false})).into_response();
    }
    let url = format!("{}{}", shared.to, parts.uri.path_and_query().map_or("", |path| path.as_str()));
    let mut headers: HeaderMap = parts.headers;
    headers.remove("host");
    if let Some(outcome) = *shared.outcome.lock().unwrap() {
        headers.insert("x-aimock-batch-outcome", outcome.parse().unwrap());
    }
    let Ok(body) = axum::body::to_bytes(body, 64 << 20).await else { return StatusCode::BAD_REQUEST.into_response() };
    let answer = shared.client.request(method.clone(), url).headers(headers).body(body).send().await;
    note();
    if held == Some(Hold::Answer) {
        shared.dropped.notified().await;
        return StatusCode::BAD_GATEWAY.into_response();
    }
    match answer {
        Ok(answer) => {
            let mut response = Response::builder().status(answer.status());
            for (name, value) in answer.headers() {
                if name != "transfer-encoding" && name != "content-length" && name != "connection" {
                    response = response.header(name, value);
                }
            }
            response.body(Body::from(answer.bytes().await.unwrap_or_default())).unwrap()
        }
        // A connection that broke, as the other side sees it.
        Err(_) => StatusCode::BAD_GATEWAY.into_response(),
    }
}
