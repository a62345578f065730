//! The browser bundle, carried inside the binary and served from `/pkg/`.
//!
//! `bundle` (frontend/src/bin/bundle.rs) writes every file three times: plain, Brotli, gzip; nothing is compressed while serving.
//! File names carry a hash of the content, so an answer is good for ever. A debug build reads the folder instead of carrying it.

use app::assets::AssetNames;
use axum::{
    extract::Path,
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{
            ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY,
            X_CONTENT_TYPE_OPTIONS,
        },
    },
    response::{IntoResponse, Response},
};
use rust_embed::{EmbeddedFile, RustEmbed};

#[derive(RustEmbed)]
#[folder = "../target/site"]
struct Bundle;

/// Names of the files that a page loads, for the context of a rendering. Empty ones where there is no bundle.
pub(crate) fn asset_names() -> AssetNames {
    let manifest = manifest();
    let name = |role: &str| {
        let mut lines = manifest.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(key, _)| *key == role).map(|(_, name)| name.to_owned()).unwrap_or_default()
    };
    AssetNames {
        css: name("css"),
        start_js: name("start_js"),
        js: name("js"),
        loader: name("loader"),
        wasm: name("wasm"),
        icon: name("icon"),
        icons: name("icons"),
    }
}

/// `GET /pkg/{file}`
pub(crate) async fn asset(Path(file): Path<String>, headers: HeaderMap) -> Response {
    // Only what the manifest names: no folder, no `.br` by itself, no file of an earlier build.
    if !manifest().lines().any(|line| line.split_once(' ').is_some_and(|(_, name)| name == file)) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let encodings = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let encoding = Encoding::choose(encodings.flat_map(|value| value.split(',')));
    let Some(content) = Bundle::get(&format!("pkg/{file}{}", encoding.suffix())) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let etag = format!("\"{file}{}\"", encoding.suffix());
    if headers.get_all(IF_NONE_MATCH).iter().any(|sent| names_etag(sent, &etag)) {
        return (StatusCode::NOT_MODIFIED, [(CACHE_CONTROL, FOR_EVER)], [(ETAG, etag)]).into_response();
    }
    found(&file, encoding, etag, content)
}

const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

fn found(file: &str, encoding: Encoding, etag: String, content: EmbeddedFile) -> Response {
    let fixed: [(HeaderName, HeaderValue); 4] = [
        (CACHE_CONTROL, FOR_EVER),
        (CONTENT_TYPE, HeaderValue::from_static(content_type(file))),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (VARY, HeaderValue::from_static("accept-encoding")),
    ];
    let mut response = (fixed, [(ETAG, etag)], content.data).into_response();
    if let Some(name) = encoding.name() {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static(name));
    }
    response
}

fn manifest() -> String {
    Bundle::get("manifest.txt").map(|file| String::from_utf8_lossy(&file.data).into_owned()).unwrap_or_default()
}

/// Types of what `bundle` writes. WebAssembly must have its own, or the browser does not compile while it loads.
fn content_type(file: &str) -> &'static str {
    match file.rsplit_once('.').map(|(_, extension)| extension) {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("wasm") => "application/wasm",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

/// Whether an `If-None-Match` holds the tag, weakly compared.
fn names_etag(sent: &HeaderValue, etag: &str) -> bool {
    sent.to_str().is_ok_and(|tags| {
        tags.split(',').any(|tag| matches!(tag.trim(), "*") || tag.trim().trim_start_matches("W/") == etag)
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Brotli,
    Gzip,
    Identity,
}

impl Encoding {
    /// The smallest one that the items of `Accept-Encoding` (`br;q=0.9`) allow. Weights other than 0 do not matter: all are ready.
    fn choose<'a>(accepted: impl Iterator<Item = &'a str>) -> Encoding {
        let (mut brotli, mut gzip) = (false, false);
        for item in accepted {
            let (coding, parameters) = item.split_once(';').unwrap_or((item, ""));
            let weight = parameters.trim().strip_prefix("q=").map(|weight| weight.trim().parse::<f32>());
            let refused = matches!(weight, Some(Ok(0.0)) | Some(Err(_)));
            match coding.trim().to_ascii_lowercase().as_str() {
                "br" => brotli = !refused,
                "gzip" | "x-gzip" => gzip = !refused,
                _ => {}
            }
        }
        if brotli {
            Encoding::Brotli
        } else if gzip {
            Encoding::Gzip
        } else {
            Encoding::Identity
        }
    }

    /// What the name of the file in this encoding ends with.
    fn suffix(self) -> &'static str {
        match self {
            Encoding::Brotli => ".br",
            Encoding::Gzip => ".gz",
            Encoding::Identity => "",
        }
    }

    /// Value of `Content-Encoding`.
    fn name(self) -> Option<&'static str> {
        match self {
            Encoding::Brotli => Some("br"),
            Encoding::Gzip => Some("gzip"),
            Encoding::Identity => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(header: &str) -> Encoding {
        Encoding::choose(header.split(','))
    }

    #[test]
    fn the_smallest_allowed_encoding_is_chosen() {
        assert_eq!(choose("gzip, deflate, br, zstd"), Encoding::Brotli);
        assert_eq!(choose("GZIP;q=0.5"), Encoding::Gzip);
        assert_eq!(choose("br;q=0, gzip"), Encoding::Gzip);
        assert_eq!(choose("br; q=0.0,gzip;q=0"), Encoding::Identity);
        assert_eq!(choose("br;q=oops"), Encoding::Identity);
        assert_eq!(choose(""), Encoding::Identity);
    }

    #[test]
    fn an_etag_is_found_among_several_and_weak_ones() {
        let names = |sent: &'static str| names_etag(&HeaderValue::from_static(sent), "\"a.br\"");
        assert!(names("\"a.br\""));
        assert!(names("\"b\", W/\"a.br\""));
        assert!(names("*"));
        assert!(!names("\"a\""));
    }

    #[tokio::test]
    async fn what_the_manifest_does_not_name_is_not_found() {
        for name in ["", "manifest.txt", "../manifest.txt", "belay.js.br", "nothing.0000000000000000.js"] {
            assert_eq!(asset(Path(name.to_owned()), HeaderMap::new()).await.status(), StatusCode::NOT_FOUND, "{name}");
        }
    }

    /// Runs only where `make` built the bundle before; `make test` does.
    #[tokio::test]
    async fn a_bundled_file_is_served_compressed_and_for_ever() {
        let names = asset_names();
        if names.wasm.is_empty() {
            return;
        }
        for (name, kind) in [
            (&names.wasm, "application/wasm"),
            (&names.js, "text/javascript; charset=utf-8"),
            (&names.loader, "text/javascript; charset=utf-8"),
            (&names.start_js, "text/javascript; charset=utf-8"),
            (&names.css, "text/css; charset=utf-8"),
            (&names.icons, "image/svg+xml"),
            (&names.icon, "image/svg+xml"),
        ] {
            let mut headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("gzip, br"))]);
            let response = asset(Path(name.clone()), headers.clone()).await;
            assert_eq!(response.status(), StatusCode::OK, "{name}");
            assert_eq!(response.headers()[CONTENT_TYPE], kind);
            assert_eq!(response.headers()[CONTENT_ENCODING], "br");
            assert_eq!(response.headers()[CACHE_CONTROL], FOR_EVER);
            assert_eq!(response.headers()[X_CONTENT_TYPE_OPTIONS], "nosniff");
            headers.insert(IF_NONE_MATCH, response.headers()[ETAG].clone());
            assert_eq!(asset(Path(name.clone()), headers).await.status(), StatusCode::NOT_MODIFIED);
            let plain = asset(Path(name.clone()), HeaderMap::new()).await;
            assert_eq!(plain.headers().get(CONTENT_ENCODING), None);
        }
    }
}
