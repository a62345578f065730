//! What protects the console from the web around it: known host names only, changes only from our own pages,
//! headers that let a browser do less.

use std::net::{IpAddr, SocketAddr};

use app::model::ErrorCode;
use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{AppState, problem::Failure};

/// Who we are to a browser: the names under which requests may reach us.
#[derive(Clone, Debug)]
pub(crate) struct Origins {
    listen: SocketAddr,
    /// `https://belay.example`, without a path; `None` when no proxy is configured.
    public: Option<String>,
}

impl Origins {
    pub(crate) fn new(listen: SocketAddr, public_url: &str) -> Self {
        let public = origin_of(public_url).map(str::to_ascii_lowercase);
        Origins { listen, public }
    }

    /// True when people reach us over TLS: cookies are `Secure` then.
    pub(crate) fn is_secure(&self) -> bool {
        self.public.as_deref().is_some_and(|public| public.starts_with("https://"))
    }

    /// The address to print for people.
    pub(crate) fn base_url(&self) -> String {
        match &self.public {
            Some(public) => public.clone(),
            None if self.listen.ip().is_unspecified() => format!("http://127.0.0.1:{}", self.listen.port()),
            None => format!("http://{}", self.listen),
        }
    }

    /// Whether a request with this `Host` is meant for us. A page of another site that resolves its own name to our
    /// address (DNS rebinding) still sends its own name.
    fn knows(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        if self.public.as_deref().and_then(|public| public.split_once("://")).is_some_and(|(_, known)| known == host) {
            return true;
        }
        let name = host_name(&host);
        match name.parse::<IpAddr>() {
            // An address cannot be rebound; with an unspecified listen address every one of the machine is ours.
            Ok(ip) => ip.is_loopback() || ip == self.listen.ip() || self.listen.ip().is_unspecified(),
            Err(_) => name == "localhost" || name.ends_with(".localhost"),
        }
    }

    /// Whether a browser's `Origin` (or the origin of its `Referer`) is ours, given the `Host` of the request.
    fn is_own(&self, origin: &str, host: &str) -> bool {
        let origin = origin.to_ascii_lowercase();
        self.public.as_deref() == Some(origin.as_str())
            || origin.strip_prefix("http://") == Some(host.to_ascii_lowercase().as_str())
    }
}

/// `scheme://host[:port]` of a URL.
fn origin_of(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    (end > 0).then(|| &url[..scheme.len() + 3 + end])
}

/// The name in `name`, `name:port`, `[v6]`, `[v6]:port`.
fn host_name(host: &str) -> &str {
    match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((v6, _)) => v6,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    }
}

/// The host that a request names.
fn requested_host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    match uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => headers.get(header::HOST)?.to_str().ok(),
    }
}

/// Refuses a change that a browser was sent to make by another site's page.
///
/// `strict`: the request is known to come from a browser (it carried our cookie), so one of `Origin`,
/// `Sec-Fetch-Site` and `Referer` must be there and be ours. Else what is there must be ours.
pub(crate) fn check_same_origin(
    origins: &Origins,
    uri: &Uri,
    headers: &HeaderMap,
    strict: bool,
) -> Result<(), Failure> {
    let host = requested_host(uri, headers).unwrap_or_default();
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("null"));
    let own = if let Some(origin) = text(header::ORIGIN) {
        origins.is_own(origin, host)
    } else if let Some(site) = text(HeaderName::from_static("sec-fetch-site")) {
        site == "same-origin"
    } else if let Some(referer) = text(header::REFERER) {
        origin_of(referer).is_some_and(|origin| origins.is_own(origin, host))
    } else {
        !strict
    };
    if own {
        return Ok(());
    }
    Err(Failure::new(ErrorCode::CrossOrigin, "This change did not come from one of this console's own pages.")
        .hint("Programs send a bearer token instead of the cookie. Behind a proxy, set http.public_url."))
}

/// Middleware: known hosts only; security headers on every answer.
pub(crate) async fn guard(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let known = requested_host(request.uri(), request.headers()).is_some_and(|host| state.origins.knows(host));
    let mut response = if known {
        next.run(request).await
    } else {
        Failure::new(ErrorCode::UnknownHost, "This server does not know the host name of the request.")
            .hint("Use the address that it printed, or set http.public_url in belay.toml.")
            .into_response()
    };
    add_headers(&mut response);
    response
}

/// Headers that an answer has not set itself. A 304 stays small: it renews nothing that a browser has not got.
fn add_headers(response: &mut Response) {
    const NOT_MODIFIED: StatusCode = StatusCode::NOT_MODIFIED;
    let small = response.status() == NOT_MODIFIED;
    let headers = response.headers_mut();
    let mut default = |name: HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    default(header::CACHE_CONTROL, "no-store");
    default(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    if !small {
        default(header::REFERRER_POLICY, "same-origin");
        default(header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'");
        default(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    }
}

/// The policy of a page: our own files, and what leptos writes inline under this nonce.
pub(crate) fn page_policy(nonce: &str) -> String {
    format!(
        "default-src 'none'; script-src 'self' 'nonce-{nonce}' 'wasm-unsafe-eval'; style-src 'self'; \
         img-src 'self' data:; connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; \
         frame-ancestors 'none'"
    )
}

/// Address of the caller: the peer, or what a trusted proxy says of it.
pub(crate) fn client_address(peer: Option<SocketAddr>, headers: &HeaderMap, trusted: &[IpAddr]) -> Option<String> {
    let peer = peer?.ip().to_canonical();
    if !trusted.contains(&peer) {
        return Some(peer.to_string());
    }
    let forwarded = headers.get("x-forwarded-for").and_then(|value| value.to_str().ok()).unwrap_or_default();
    // The last address that is not one of our own proxies: what stands before it is the caller's own claim.
    let caller = forwarded
        .rsplit(',')
        .filter_map(|address| address.trim().parse::<IpAddr>().ok())
        .find(|address| !trusted.contains(address));
    Some(caller.unwrap_or(peer).to_string())
}

/// True when the two texts are equal, in a time that does not tell where they differ. (Both are hashes.)
pub(crate) fn same_hash(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(listen: &str, public: &str) -> Origins {
        Origins::new(listen.parse().unwrap(), public)
    }

    #[test]
    fn only_names_that_are_ours_are_known() {
        let local = origins("127.0.0.1:8080", "https://Belay.example/console");
        for host in ["localhost", "localhost:8080", "127.0.0.1:9", "[::1]:8080", "belay.example"] {
            assert!(local.knows(host), "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example", "10.0.0.5:8080", "", "belay.example.evil"] {
            assert!(!local.knows(host), "{host}");
        }
        assert!(origins("0.0.0.0:8080", "").knows("10.0.0.5:8080"));
        assert!(!origins("0.0.0.0:8080", "").knows("evil.example"));
    }

    #[test]
    fn a_change_by_cookie_needs_an_origin_of_ours() {
        let local = origins("127.0.0.1:8080", "https://belay.example");
        let check = |pairs: &[(&'static str, &'static str)], strict| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("127.0.0.1:8080"));
            for (name, value) in pairs {
                headers.insert(*name, HeaderValue::from_static(value));
            }
            check_same_origin(&local, &Uri::from_static("/jobs"), &headers, strict).is_ok()
        };
        assert!(check(&[("origin", "http://127.0.0.1:8080")], true));
        assert!(check(&[("origin", "https://belay.example")], true));
        assert!(check(&[("sec-fetch-site", "same-origin")], true));
        assert!(check(&[("referer", "http://127.0.0.1:8080/jobs?x")], true));
        assert!(!check(&[], true));
        assert!(check(&[], false));
        for pair in [
            ("origin", "null"),
            ("origin", "http://localhost:8080"),
            ("origin", "http://127.0.0.1:8081"),
            ("sec-fetch-site", "same-site"),
            ("referer", "http://127.0.0.1:8080.evil.example/"),
        ] {
            assert!(!check(&[pair], true), "{pair:?}");
            assert!(!check(&[pair], false), "{pair:?}");
        }
    }

    #[test]
    fn a_forwarded_address_counts_only_from_a_trusted_proxy() {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", HeaderValue::from_static("6.6.6.6, 10.0.0.9"));
        let peer = Some("10.0.0.1:4000".parse().unwrap());
        let proxy: Vec<IpAddr> = vec!["10.0.0.1".parse().unwrap()];
        assert_eq!(client_address(peer, &headers, &[]).as_deref(), Some("10.0.0.1"));
        assert_eq!(client_address(peer, &headers, &proxy).as_deref(), Some("10.0.0.9"));
    }
}
