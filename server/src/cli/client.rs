//! Speaks to a server over its REST API: with patience for a network that fails, and a sentence when it stays away.

use std::{
    cell::{Cell, RefCell},
    path::PathBuf,
    time::Duration,
};

use app::model::Problem;
use backon::{BackoffBuilder as _, ExponentialBuilder};
use reqwest::{Method, RequestBuilder, Response, StatusCode, header};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    ConnectArgs,
    fault::{Exit, Fault, Outcome},
    local,
};

/// A server that does not take the connection by then is not there.
const CONNECT: Duration = Duration::from_secs(5);

/// Longest silence: a forced delete waits 30 s for the proof, then 10 s for the removal.
const SILENCE: Duration = Duration::from_secs(50);

/// How long a question may be held until something changes.
const HOLD: &str = "wait=25s";

/// Times that a request is sent again.
const TRIES_AGAIN: usize = 4;

/// Where the server is, and who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    base: String,
    token: Option<String>,
}

/// From where the target is known.
#[derive(Debug)]
enum Origin {
    /// Named by the caller.
    Named,
    /// From the files of the server on this machine: read again when it was started again.
    Local { data_dir: Option<PathBuf>, token: Option<String> },
}

/// An answer, read to its end.
struct Answer {
    status: StatusCode,
    etag: Option<String>,
    body: Vec<u8>,
}

/// See the module.
pub(super) struct Client {
    http: reqwest::Client,
    origin: Origin,
    target: RefCell<Target>,
    /// Never gives up: for who watches.
    endless: Cell<bool>,
    /// The user knows that there is no answer at present.
    told: Cell<bool>,
}

impl Client {
    pub(super) fn new(args: &ConnectArgs) -> Outcome<Client> {
        let (origin, target) = match &args.server {
            Some(server) => (Origin::Named, Target { base: base_of(server)?, token: args.token.clone() }),
            None => {
                let origin = Origin::Local { data_dir: args.data_dir.clone(), token: args.token.clone() };
                let target = local_target(args.data_dir.as_deref(), args.token.as_deref())?;
                (origin, target)
            }
        };
        let http = batches::client_builder(&target.base)
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("belay/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Fault::new(Exit::Partly, format!("No HTTP client: {error}")))?;
        let target = RefCell::new(target);
        Ok(Client { http, origin, target, endless: Cell::new(false), told: Cell::new(false) })
    }

    /// Where a page of the console is.
    pub(super) fn page(&self, path: &str) -> String {
        format!("{}{path}", self.target.borrow().base)
    }

    /// From now on a server that is away is waited for.
    pub(super) fn be_patient(&self) {
        self.endless.set(true);
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Outcome<T> {
        let answer = self.exchange(|client, base| Ok(client.request(Method::GET, format!("{base}{path}")))).await?;
        self.read(&answer)
    }

    /// Holds until the answer is another one than `etag` names; `None` when it was not by the end of the hold.
    pub(super) async fn get_changed<T: DeserializeOwned>(
        &self,
        path: &str,
        etag: &mut Option<String>,
    ) -> Outcome<Option<T>> {
        let mark = if path.contains('?') { '&' } else { '?' };
        let make = |client: &reqwest::Client, base: &str| {
            // A server that was away is not asked to hold: whether it is back is to be known at once.
            let hold = if self.told.get() { String::new() } else { format!("{mark}{HOLD}") };
            let request = client.request(Method::GET, format!("{base}{path}{hold}"));
            Ok(match etag.as_deref() {
                Some(etag) => request.header(header::IF_NONE_MATCH, etag),
                None => request,
            })
        };
        let answer = self.exchange(make).await?;
        if answer.status == StatusCode::NOT_MODIFIED {
            return Ok(None);
        }
        etag.clone_from(&answer.etag);
        self.read(&answer).map(Some)
    }

    /// `key`: what lets the server know a repeated request again.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        key: Option<&str>,
    ) -> Outcome<T> {
        let make = |client: &reqwest::Client, base: &str| {
            Ok(with_key(client.request(Method::POST, format!("{base}{path}")).json(body), key))
        };
        let answer = self.exchange(make).await?;
        self.read(&answer)
    }

    /// A body that is made anew for every try.
    pub(super) async fn post_form<T: DeserializeOwned>(
        &self,
        path: &str,
        form: impl Fn() -> Outcome<reqwest::multipart::Form>,
        key: &str,
    ) -> Outcome<T> {
        let make = |client: &reqwest::Client, base: &str| {
            let request = client.request(Method::POST, format!("{base}{path}")).multipart(form()?);
            Ok(with_key(request, Some(key)))
        };
        let answer = self.exchange(make).await?;
        self.read(&answer)
    }

    pub(super) async fn delete<T: DeserializeOwned>(&self, path: &str) -> Outcome<T> {
        let answer = self.exchange(|client, base| Ok(client.request(Method::DELETE, format!("{base}{path}")))).await?;
        self.read(&answer)
    }

    /// Likewise, where success has no body.
    pub(super) async fn delete_quietly(&self, path: &str) -> Outcome<()> {
        self.exchange(|client, base| Ok(client.request(Method::DELETE, format!("{base}{path}")))).await.map(drop)
    }

    /// A body to be read as it comes.
    pub(super) async fn open(&self, path: &str) -> Outcome<Response> {
        let make = |client: &reqwest::Client, base: &str| Ok(client.request(Method::GET, format!("{base}{path}")));
        self.persist(make, async |response| Ok(response)).await
    }

    async fn exchange(&self, make: impl Fn(&reqwest::Client, &str) -> Outcome<RequestBuilder>) -> Outcome<Answer> {
        self.persist(make, async |response| {
            let status = response.status();
            let etag = response.headers().get(header::ETAG).and_then(|value| value.to_str().ok()).map(str::to_owned);
            Ok(Answer { status, etag, body: response.bytes().await?.to_vec() })
        })
        .await
    }

    /// Sends until there is an answer, or patience is over. What was not understood or is refused is not sent again.
    async fn persist<T>(
        &self,
        make: impl Fn(&reqwest::Client, &str) -> Outcome<RequestBuilder>,
        take: impl AsyncFn(Response) -> reqwest::Result<T>,
    ) -> Outcome<T> {
        let mut pauses = pauses(self.endless.get());
        loop {
            let Target { base, token } = self.target.borrow().clone();
            let mut request = make(&self.http, &base)?;
            if let Some(token) = &token {
                request = request.bearer_auth(token);
            }
            let (fault, at_least) = match request.send().await {
                Ok(response) if is_passing(response.status()) => {
                    let at_least = retry_after(&response);
                    (self.refusal(response).await, at_least)
                }
                Ok(response) if response.status() == StatusCode::UNAUTHORIZED && self.look_again() => continue,
                Ok(response) if response.status().is_success() || response.status() == StatusCode::NOT_MODIFIED => {
                    match take(response).await {
                        Ok(taken) => {
                            self.tell_back();
                            return Ok(taken);
                        }
                        Err(error) => (self.away(&error), Duration::ZERO),
                    }
                }
                Ok(response) => return Err(self.refusal(response).await),
                Err(error) if error.is_builder() => {
                    return Err(Fault::usage(format!("`{base}` is no address of a server: {}", cause(&error))));
                }
                Err(error) => (self.away(&error), Duration::ZERO),
            };
            let Some(pause) = pauses.next() else { return Err(fault) };
            self.tell_away(&fault);
            tokio::time::sleep(pause.max(at_least)).await;
            self.look_again();
        }
    }

    /// The server of this machine may have come back elsewhere. True when it has.
    fn look_again(&self) -> bool {
        let Origin::Local { data_dir, token } = &self.origin else { return false };
        let Ok(found) = local_target(data_dir.as_deref(), token.as_deref()) else { return false };
        let moved = *self.target.borrow() != found;
        *self.target.borrow_mut() = found;
        moved
    }

    fn tell_away(&self, fault: &Fault) {
        if !self.told.replace(true) {
            eprintln!("belay: {fault} Trying again.");
        }
    }

    fn tell_back(&self) {
        if self.told.replace(false) {
            eprintln!("belay: The server answers again.");
        }
    }

    fn away(&self, error: &reqwest::Error) -> Fault {
        let base = self.target.borrow().base.clone();
        let what = if error.is_timeout() { "is too slow" } else { "cannot be reached" };
        let hint = match &self.origin {
            Origin::Named => "Check the address and the network; --server names another one.",
            Origin::Local { .. } => "Start it with `belay serve`, or name another one: --server URL --token TOKEN.",
        };
        Fault::new(Exit::Unreachable, format!("The server {base} {what}: {}.", cause(error))).hint(hint)
    }

    async fn refusal(&self, response: Response) -> Fault {
        let status = response.status();
        let body = response.bytes().await.unwrap_or_default();
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => Fault::from(problem),
            Err(_) => self.nonsense(&format!("it answered {status}")),
        }
    }

    fn read<T: DeserializeOwned>(&self, answer: &Answer) -> Outcome<T> {
        serde_json::from_slice(&answer.body).map_err(|error| self.nonsense(&error.to_string()))
    }

    fn nonsense(&self, what: &str) -> Fault {
        let base = self.target.borrow().base.clone();
        Fault::new(Exit::Unreachable, format!("What answers at {base} is no Belay of this version ({what})."))
            .hint("Check --server; a proxy in between may have answered.")
    }
}

fn with_key(request: RequestBuilder, key: Option<&str>) -> RequestBuilder {
    match key {
        Some(key) => request.header("idempotency-key", key),
        None => request,
    }
}

fn local_target(data_dir: Option<&std::path::Path>, token: Option<&str>) -> Outcome<Target> {
    let access = local::find(data_dir)?;
    Ok(Target { base: access.address, token: Some(token.map_or(access.token, str::to_owned)) })
}

/// An address as people write it: `host:port` is taken as http.
fn base_of(server: &str) -> Outcome<String> {
    let full = if server.contains("://") { server.to_owned() } else { format!("http://{server}") };
    match full.split_once("://") {
        Some(("http" | "https", rest)) if !rest.is_empty() => Ok(full.trim_end_matches('/').to_owned()),
        Some(_) | None => {
            Err(Fault::usage(format!("`{server}` is no address of a server."))
                .hint("It looks like http://127.0.0.1:8080."))
        }
    }
}

/// Pauses between tries: from 0.2 s, twice as long each time, with jitter.
fn pauses(endless: bool) -> impl Iterator<Item = Duration> {
    let growing = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(Duration::from_secs(10))
        .with_factor(2.0)
        .with_jitter();
    if endless { growing.without_max_times() } else { growing.with_max_times(TRIES_AGAIN) }.build()
}

/// States of a server that pass by themselves.
fn is_passing(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
}

fn retry_after(response: &Response) -> Duration {
    let seconds = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    Duration::from_secs(seconds.unwrap_or(0_u64).min(10))
}

/// The innermost cause: what reqwest says first is only that a request failed.
fn cause(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_as_people_write_it() {
        assert_eq!(base_of("127.0.0.1:8080").unwrap(), "http://127.0.0.1:8080");
        assert_eq!(base_of("http://belay.example/").unwrap(), "http://belay.example");
        assert_eq!(base_of("https://belay.example/").unwrap(), "https://belay.example");
        for server in ["ftp://x", "http://", "https://"] {
            assert_eq!(base_of(server).unwrap_err().exit, Exit::Usage, "{server}");
        }
    }

    #[test]
    fn pauses_grow_and_end_unless_somebody_watches() {
        let pauses: Vec<Duration> = super::pauses(false).collect();
        assert_eq!(pauses.len(), TRIES_AGAIN);
        assert!(pauses.iter().sum::<Duration>() < Duration::from_secs(8), "{pauses:?}");
        assert!(pauses.last() > pauses.first(), "{pauses:?}");
        assert_eq!(super::pauses(true).take(100).count(), 100);
    }
}
