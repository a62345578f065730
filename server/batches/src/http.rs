//! The way to a provider: one client, the key in one header, patience, and errors in its own words.

use std::{
    error::Error as _,
    io,
    time::{Duration, SystemTime},
};

use backon::{BackoffBuilder as _, ExponentialBuilder};
use reqwest::{
    Method, RequestBuilder, Response, StatusCode, Url,
    header::{HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER},
};
use serde_json::Value;

use crate::{Error, KeyFrom, Result, Secret, Settings, client_builder, wire};

/// A host that does not take the connection by then is away.
const CONNECT: Duration = Duration::from_secs(10);

/// Servers close what is idle, many after 5 s: a request that meets that moment is lost, and one that costs money is then
/// unclear.
const IDLE: Duration = Duration::from_secs(4);

/// An answer that is no file is here by then, also when it comes byte by byte.
const ANSWER: Duration = Duration::from_secs(90);

/// Longest silence while a file is moved.
pub(crate) const SILENCE: Duration = Duration::from_secs(120);

/// Largest answer that is no file. Gemini puts results inside a batch; its requests then are under 20 MB.
const LARGEST_ANSWER: usize = 96 << 20;

/// Much more than any sentence.
const LARGEST_ERROR: usize = 64 << 10;

/// Characters of a provider's message that are kept.
const LONGEST_MESSAGE: usize = 1_000;

/// Times that a harmless request is sent again.
const TRIES_AGAIN: usize = 3;

/// A provider that wants to be left alone for longer gets that from whoever called, not from a call that hangs.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);

/// As many hops as a moved file may need.
const REDIRECTS: usize = 5;

/// One provider's address with everything that each request to it carries.
pub(crate) struct Http {
    client: reqwest::Client,
    base: Url,
    /// The key among them, marked as sensitive.
    headers: HeaderMap,
    key: Secret,
    key_from: KeyFrom,
}

impl Http {
    /// `auth` says in which header the key goes, and after which word.
    pub(crate) fn new(
        settings: &Settings,
        auth: (&'static str, &str),
        others: &[(&'static str, &str)],
    ) -> Result<Http> {
        let text = settings.base_url();
        let unusable = |why: &str| Error::Unusable(format!("`base_url` {text} cannot be used: {why}."));
        let base = Url::parse(text).map_err(|error| unusable(&error.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
            return Err(unusable("it must begin with https:// or http://"));
        }
        if !base.username().is_empty() || base.password().is_some() || base.query().is_some() {
            return Err(unusable("it must hold no name, password or query"));
        }
        let key_from = settings.key_from();
        let key = key_from.read()?;
        let mut headers = HeaderMap::new();
        let mut value = header_value(&format!("{}{}", auth.1, key.expose()))?;
        value.set_sensitive(true);
        headers.insert(HeaderName::from_static(auth.0), value);
        for (name, text) in others {
            headers.insert(HeaderName::from_static(name), header_value(text)?);
        }
        let client = client_builder(text)
            .connect_timeout(CONNECT)
            .pool_idle_timeout(IDLE)
            // Followed by hand: reqwest takes only some headers off on the way to another host, and a key is in any.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("belay/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Error::Unusable(format!("No client for {text}: {}.", innermost(&error))))?;
        Ok(Http { client, base, headers, key, key_from })
    }

    /// The address of a path below the base. Segments are encoded; none may lead elsewhere.
    pub(crate) fn url<'a>(&self, segments: impl IntoIterator<Item = &'a str>) -> Result<Url> {
        let mut url = self.base.clone();
        {
            let mut path =
                url.path_segments_mut().map_err(|()| Error::Unusable("`base_url` has no path".to_owned()))?;
            path.pop_if_empty();
            for segment in segments {
                if segment.is_empty() || matches!(segment, "." | "..") {
                    return Err(Error::Unusable(format!("`{segment}` is no id.")));
                }
                path.push(segment);
            }
        }
        Ok(url)
    }

    /// An address that the provider gave, perhaps relative to its own; never a step down from TLS.
    pub(crate) fn url_given(&self, from: &Url, text: &str) -> Result<Url> {
        let garbage = |why: &str| Error::Garbage { what: format!("an address that {why}") };
        let url = from.join(text).map_err(|_| garbage("is none"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(garbage("is neither http nor https"));
        }
        if self.base.scheme() == "https" && url.scheme() != "https" {
            return Err(garbage("gives up TLS"));
        }
        Ok(url)
    }

    /// A request that carries the key, if it goes to where the base is: other hosts get none.
    pub(crate) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        let is_ours = url.origin() == self.base.origin();
        let request = self.client.request(method, url);
        if is_ours { request.headers(self.headers.clone()) } else { request }
    }

    /// Sends once and reads a JSON object. What passes by itself is [`Error::Unavailable`], [`Error::RateLimited`], or one
    /// of the two that say that nothing was sent.
    pub(crate) async fn once(&self, request: RequestBuilder) -> Result<Value> {
        match tokio::time::timeout(ANSWER, async { self.json(self.send(request).await?).await }).await {
            Ok(answer) => answer,
            Err(_) => Err(self.unavailable(format!("no whole answer within {} s", ANSWER.as_secs()))),
        }
    }

    /// Sends, and again a few times when that is harmless and may help.
    pub(crate) async fn again(&self, make: impl Fn() -> RequestBuilder) -> Result<Value> {
        self.patiently(|| self.once(make())).await
    }

    /// GET with patience.
    pub(crate) async fn get(&self, url: &Url) -> Result<Value> {
        self.again(|| self.request(Method::GET, url.clone())).await
    }

    /// Repeats what is harmless to repeat.
    pub(crate) async fn patiently<T, A>(&self, attempt: impl Fn() -> A) -> Result<T>
    where
        A: Future<Output = Result<T>>,
    {
        let mut pauses = pauses();
        loop {
            let error = match attempt().await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let Some(pause) = pause_before_next(&error, &mut pauses) else { return Err(error) };
            tracing::debug!(host = self.host(), ?pause, %error, "asking the provider again");
            tokio::time::sleep(pause).await;
        }
    }

    /// The response to a request once its head is there and says success; redirects of a GET are followed.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Response> {
        let mut request = request.build().map_err(|error| Error::Unusable(innermost(&error)))?;
        for _ in 0..=REDIRECTS {
            let (method, url) = (request.method().clone(), request.url().clone());
            let range = request.headers().get(reqwest::header::RANGE).cloned();
            let response = self.client.execute(request).await.map_err(|error| self.broken(&error))?;
            if response.status().is_success() {
                return Ok(response);
            }
            let target = response.headers().get(LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
            match target {
                Some(target) if method == Method::GET && response.status().is_redirection() => {
                    let next = self.request(Method::GET, self.url_given(&url, &target)?);
                    let next = if let Some(range) = range { next.header(reqwest::header::RANGE, range) } else { next };
                    request = next.build().map_err(|error| Error::Unusable(innermost(&error)))?;
                }
                Some(_) | None => return Err(self.refusal(&method, &url, response).await),
            }
        }
        Err(Error::Garbage { what: "an address that leads round in circles".to_owned() })
    }

    /// Reads a JSON object (or, where a list is asked for, an array) to its end. Null is no answer at all, with which some
    /// answer a deletion; an empty list it is not.
    pub(crate) async fn json(&self, mut response: Response) -> Result<Value> {
        let url = response.url().clone();
        let body = self.read(&mut response, LARGEST_ANSWER).await?;
        if body.len() > LARGEST_ANSWER {
            return Err(Error::Garbage { what: format!("{} answered more than {LARGEST_ANSWER} bytes", url.path()) });
        }
        if body.trim_ascii().is_empty() {
            return Ok(Value::Null);
        }
        match serde_json::from_slice(&body) {
            Ok(value @ (Value::Object(_) | Value::Array(_))) => Ok(value),
            Ok(_) => Err(Error::Garbage { what: format!("{} answered JSON that is no object", url.path()) }),
            Err(_) => Err(Error::Garbage {
                what: format!("{} answered something that is no JSON; is `base_url` right?", url.path()),
            }),
        }
    }

    /// Reads an answer to its end of which only the head is wanted: before that it is not known to be whole.
    pub(crate) async fn finish(&self, mut response: Response) -> Result<()> {
        self.read(&mut response, LARGEST_ERROR).await.map(|_| ())
    }

    /// The body, or its first `limit` and some more bytes.
    async fn read(&self, response: &mut Response, limit: usize) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.broken(&error))? {
            body.extend_from_slice(&chunk);
            if body.len() > limit {
                break;
            }
        }
        Ok(body)
    }

    /// What an answer that is no success means.
    async fn refusal(&self, method: &Method, url: &Url, mut response: Response) -> Error {
        let (status, headers) = (response.status(), response.headers().clone());
        let body = self.read(&mut response, LARGEST_ERROR).await.unwrap_or_default();
        let told = Told::read(&body);
        let mut message = match &told.message {
            Some(message) => self.key.redact(message).chars().take(LONGEST_MESSAGE).collect(),
            None => format!("{method} {} answers {status}", url.path()),
        };
        if let Some(id) = headers.get("x-request-id").and_then(|value| value.to_str().ok()) {
            message = format!("{message} (request {id})");
        }
        let code = status.as_u16();
        let retry_after = asked_pause(&headers, SystemTime::now()).or(told.retry_delay);
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Error::KeyRejected { from: self.key_from.to_string(), status: code, message }
            }
            StatusCode::BAD_REQUEST if told.is_about_the_key => {
                Error::KeyRejected { from: self.key_from.to_string(), status: code, message }
            }
            StatusCode::TOO_MANY_REQUESTS if !told.is_out_of_money() => Error::RateLimited { retry_after, message },
            // A page for people is from somebody on the way, who knows nothing of batches.
            StatusCode::NOT_FOUND | StatusCode::GONE if told.is_page => {
                let message = format!("{message} with a page, not as an API does; is `base_url` right?");
                Error::Unavailable { status: Some(code), retry_after, message }
            }
            StatusCode::NOT_FOUND | StatusCode::GONE => Error::NotFound { what: url.path().to_owned(), message },
            StatusCode::REQUEST_TIMEOUT => Error::Unavailable { status: Some(code), retry_after, message },
            _ if status.is_server_error() => Error::Unavailable { status: Some(code), retry_after, message },
            _ => Error::Refused { status: code, code: told.code, message },
        }
    }

    /// What an exchange means that broke before there was a whole answer.
    pub(crate) fn broken(&self, error: &reqwest::Error) -> Error {
        let detail = self.key.redact(&innermost(error));
        let host = self.host().to_owned();
        if error.is_builder() {
            Error::Unusable(detail)
        } else if error.is_connect() {
            if is_tls(error) { Error::Tls { host, detail } } else { Error::Connect { host, detail } }
        } else {
            self.unavailable(format!("the connection broke: {detail}"))
        }
    }

    pub(crate) fn unavailable(&self, what: String) -> Error {
        Error::Unavailable { status: None, retry_after: None, message: format!("{}: {what}", self.host()) }
    }

    fn host(&self) -> &str {
        self.base.host_str().unwrap_or_default()
    }
}

/// After a request that must not be repeated: what leaves open whether it was done.
pub(crate) fn unclear_if_sent(error: Error) -> Error {
    match error {
        Error::Unavailable { .. } | Error::Garbage { .. } => Error::Unclear(error.to_string()),
        Error::Connect { .. }
        | Error::Tls { .. }
        | Error::KeyMissing(_)
        | Error::KeyRejected { .. }
        | Error::RateLimited { .. }
        | Error::NotFound { .. }
        | Error::Refused { .. }
        | Error::Unclear(_)
        | Error::Unsupported(_)
        | Error::Unusable(_)
        | Error::Io { .. } => error,
    }
}

/// Pauses between tries: from 0.5 s, twice as long each time, with jitter.
pub(crate) fn pauses() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(500))
        .with_max_delay(Duration::from_secs(8))
        .with_factor(2.0)
        .with_max_times(TRIES_AGAIN)
        .with_jitter()
        .build()
}

/// How long to wait before the next try, if there is one.
pub(crate) fn pause_before_next(error: &Error, pauses: &mut impl Iterator<Item = Duration>) -> Option<Duration> {
    // A certificate does not mend within seconds, and an answer that is no JSON seldom.
    if !error.is_transient() || matches!(error, Error::Tls { .. } | Error::Garbage { .. }) {
        return None;
    }
    let asked = error.retry_after();
    if asked.is_some_and(|asked| asked > LONGEST_PAUSE) {
        return None;
    }
    let own = pauses.next()?;
    Some(asked.map_or(own, |asked| asked.max(Duration::from_millis(10))))
}

/// What the head of an answer asks for: milliseconds, seconds, or a date.
fn asked_pause(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let seconds = |text: &str| text.parse().ok().and_then(|number| Duration::try_from_secs_f64(number).ok());
    let millis = text("retry-after-ms").and_then(seconds).map(|thousand| thousand / 1000);
    let asked = millis.or_else(|| {
        let text = text(RETRY_AFTER.as_str())?;
        seconds(text).or_else(|| httpdate::parse_http_date(text).ok()?.duration_since(now).ok())
    });
    asked.filter(|pause| !pause.is_zero())
}

/// What the body of an error says.
#[derive(Default)]
struct Told {
    message: Option<String>,
    code: Option<String>,
    is_about_the_key: bool,
    /// HTML.
    is_page: bool,
    retry_delay: Option<Duration>,
}

impl Told {
    /// `{"error": {"message", "code", "type"}}` of OpenAI, `{"error": {"message", "status", "details"}}` of Google (also as
    /// the only item of a list), or a plain sentence under a few names.
    fn read(body: &[u8]) -> Told {
        let Ok(value) = serde_json::from_slice::<Value>(body) else {
            let text = String::from_utf8_lossy(body);
            let text = text.trim();
            // Pages for people are of no use here.
            let is_page = text.starts_with('<');
            let message = (!text.is_empty() && !is_page).then(|| text.to_owned());
            return Told { message, is_page, ..Told::default() };
        };
        let value = value.get(0).cloned().unwrap_or(value);
        let error = value.get("error").filter(|error| !error.is_null()).unwrap_or(&value);
        let details = wire::items(error, "details");
        let message = error
            .as_str()
            .map(str::to_owned)
            .or_else(|| ["message", "detail", "error_description"].iter().find_map(|name| wire::text(error, name)));
        let code = ["code", "status", "type"].iter().find_map(|name| error.get(name)?.as_str().map(str::to_owned));
        let reason = details.iter().find_map(|detail| wire::text(detail, "reason"));
        let delay = details.iter().find_map(|detail| wire::text(detail, "retryDelay"));
        let retry_delay = delay
            .and_then(|text| text.strip_suffix('s')?.parse().ok())
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .filter(|pause| !pause.is_zero());
        let is_about_the_key = reason.as_deref() == Some("API_KEY_INVALID")
            || matches!(code.as_deref(), Some("invalid_api_key"))
            // Google says it in the sentence only when there are no details.
            || message.as_deref().is_some_and(|message| message.starts_with("API key not valid"));
        Told { message, code, is_about_the_key, is_page: false, retry_delay }
    }

    /// A 429 that no waiting helps against.
    fn is_out_of_money(&self) -> bool {
        matches!(self.code.as_deref(), Some("insufficient_quota" | "billing_hard_limit_reached"))
    }
}

fn header_value(text: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(text)
        .map_err(|_| Error::Unusable("A header of the provider cannot hold its value.".to_owned()))
}

/// The innermost cause: what reqwest says first is only that a request failed.
fn innermost(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// Whether rustls is among the causes. An [`io::Error`] keeps what it wraps beside its chain of sources.
fn is_tls(error: &reqwest::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if error.is::<rustls::Error>() || wrapped.is_some_and(|wrapped| wrapped.is::<rustls::Error>()) {
            return true;
        }
        cause = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(name: &'static str, value: &str) -> Option<Duration> {
        let headers = HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())]);
        asked_pause(&headers, httpdate::parse_http_date("Sat, 21 Nov 2026 12:00:00 GMT").unwrap())
    }

    #[test]
    fn a_pause_is_asked_for_in_milliseconds_seconds_or_as_a_date() {
        assert_eq!(asked("retry-after-ms", "1500"), Some(Duration::from_millis(1500)));
        assert_eq!(asked("retry-after", "2.5"), Some(Duration::from_millis(2500)));
        assert_eq!(asked("retry-after", "Sat, 21 Nov 2026 12:00:07 GMT"), Some(Duration::from_secs(7)));
        for (name, value) in [
            ("retry-after", "Sat, 21 Nov 2026 11:00:00 GMT"),
            ("retry-after", "0"),
            ("retry-after", "-3"),
            ("retry-after", "NaN"),
            ("retry-after", "soon"),
            ("retry-after-ms", "1e400"),
        ] {
            assert_eq!(asked(name, value), None, "{value}");
        }
    }

    #[test]
    fn a_call_does_not_hang_for_longer_than_two_minutes() {
        let limited =
            |seconds| Error::RateLimited { retry_after: Some(Duration::from_secs(seconds)), message: String::new() };
        assert_eq!(pause_before_next(&limited(120), &mut pauses()), Some(Duration::from_secs(120)));
        assert_eq!(pause_before_next(&limited(121), &mut pauses()), None);
        let mut pauses = pauses();
        let taken = (0..10).map_while(|_| pause_before_next(&limited(1), &mut pauses)).count();
        assert_eq!(taken, TRIES_AGAIN);
    }

    #[test]
    fn an_error_is_read_in_the_shapes_that_servers_use() {
        let message = |body: &str| Told::read(body.as_bytes()).message;
        assert_eq!(message(r#"{"error":{"message":"m","type":"t","param":null,"code":null}}"#).unwrap(), "m");
        assert_eq!(message(r#"[{"error":{"code":503,"message":"m","status":"UNAVAILABLE"}}]"#).unwrap(), "m");
        assert_eq!(message(r#"{"error":"m"}"#).unwrap(), "m");
        assert_eq!(message(r#"{"detail":"m"}"#).unwrap(), "m");
        assert_eq!(message("upstream is down\n").unwrap(), "upstream is down");
        assert_eq!(message("<html>502</html>"), None);
        assert_eq!(message(""), None);
    }

    #[test]
    fn a_code_is_read_as_a_word_and_a_google_error_names_the_pause() {
        let body = br#"{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED",
            "details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"3.5s"}]}}"#;
        let told = Told::read(body);
        assert_eq!(told.code.as_deref(), Some("RESOURCE_EXHAUSTED"));
        assert_eq!(told.retry_delay, Some(Duration::from_millis(3500)));
    }

    #[test]
    fn only_what_may_have_been_done_is_unclear() {
        let unavailable = Error::Unavailable { status: Some(503), retry_after: None, message: String::new() };
        assert!(matches!(unclear_if_sent(unavailable), Error::Unclear(_)));
        let limited = Error::RateLimited { retry_after: None, message: String::new() };
        assert!(matches!(unclear_if_sent(limited), Error::RateLimited { .. }));
        let connect = Error::Connect { host: String::new(), detail: String::new() };
        assert!(matches!(unclear_if_sent(connect), Error::Connect { .. }));
    }
}
