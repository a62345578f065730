//! Files that jobs made. They are hostile content: never shown as a page of ours, never run.

use std::io::Read as _;

use app::model::{Artifact, MatchResults, Page};
use axum::{
    body::Body,
    extract::State,
    http::{HeaderValue, Uri, header},
    response::{IntoResponse, Response},
};
use futures::stream::Stream;
use percent_encoding::percent_decode_str;
use tokio_util::io::ReaderStream;

use super::{
    AppState,
    auth::Caller,
    conditional::{Conditions, Source},
    extract::{JobPath, Pairs},
    problem::Answer,
};
use crate::{engine::ArtifactFile, error::Error};

/// What a job made can do nothing, even where a browser shows it.
const SANDBOX: &str = "sandbox; default-src 'none'; frame-ancestors 'none'";

/// Its artifacts, by path.
#[utoipa::path(get, path = "/api/jobs/{job_id}/artifacts", tag = "jobs",
    params(("job_id" = String, Path), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Page<Artifact>), (status = "default", response = crate::http::openapi::ProblemAnswer)))]
pub(crate) async fn list(
    State(state): State<AppState>,
    JobPath(id): JobPath,
    conditions: Conditions,
    pairs: Pairs,
) -> Answer<Response> {
    conditions.answer(&state, Source::Store, || state.engine.artifacts(id, pairs.get("cursor"))).await
}

/// What a `product_matching` job has found so far: products, videos, sightings.
#[utoipa::path(get, path = "/api/jobs/{job_id}/matches", tag = "jobs", params(("job_id" = String, Path)),
    responses((status = 200, body = MatchResults), (status = "default", response = crate::http::openapi::ProblemAnswer)))]
pub(crate) async fn matches(
    State(state): State<AppState>,
    JobPath(id): JobPath,
    conditions: Conditions,
) -> Answer<Response> {
    conditions.answer(&state, Source::Store, || state.engine.matches(id)).await
}

/// One artifact. As attachment, unless it is a picture.
#[utoipa::path(get, path = "/api/jobs/{job_id}/artifacts/{path}", tag = "jobs",
    params(("job_id" = String, Path), ("path" = String, Path, description = "as the list gives it; may contain `/`")),
    responses((status = 200, content_type = "application/octet-stream", body = Vec<u8>),
        (status = "default", response = crate::http::openapi::ProblemAnswer)))]
pub(crate) async fn download(
    State(state): State<AppState>,
    _: Caller,
    JobPath(id): JobPath,
    uri: Uri,
) -> Answer<Response> {
    let path = uri.path().split_once("/artifacts/").map_or("", |(_, path)| path);
    let artifact = state.engine.artifact(id, &canonical(path)).await?;
    let (artifact, picture) = tokio::task::spawn_blocking(move || look(artifact))
        .await
        .map_err(|error| Error::internal("reading an artifact", error))?
        .map_err(Error::from)?;
    Ok(serve(artifact, picture))
}

/// The path with every character encoded as the list does, however the client encoded it.
fn canonical(path: &str) -> String {
    percent_decode_str(path).fold(String::with_capacity(path.len()), |mut text, byte| {
        if byte == b'/' || byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            text.push(byte as char);
        } else {
            text.push('%');
            text.push_str(&crate::secret::hex(&[byte]).to_ascii_uppercase());
        }
        text
    })
}

/// Finds out whether it is a picture, by its first bytes: a name can lie.
fn look(mut artifact: ArtifactFile) -> std::io::Result<(ArtifactFile, Option<&'static str>)> {
    use std::io::{Seek as _, SeekFrom};
    let mut head = [0_u8; 12];
    let mut filled = 0;
    while filled < head.len() {
        match artifact.file.read(head.get_mut(filled..).unwrap_or_default())? {
            0 => break,
            read => filled += read,
        }
    }
    artifact.file.seek(SeekFrom::Start(0))?;
    Ok((artifact, picture_type(head.get(..filled).unwrap_or_default())))
}

fn picture_type(head: &[u8]) -> Option<&'static str> {
    if head.starts_with(b"\x89PNG\r\n\x1a\n") {
        Some("image/png")
    } else if head.starts_with(b"\xff\xd8\xff") {
        Some("image/jpeg")
    } else if head.starts_with(b"GIF87a") || head.starts_with(b"GIF89a") {
        Some("image/gif")
    } else if head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WEBP") {
        Some("image/webp")
    } else {
        None
    }
}

fn serve(artifact: ArtifactFile, picture: Option<&'static str>) -> Response {
    let file = tokio::fs::File::from_std(artifact.file);
    // Not more than was announced, should the file still grow.
    let stream = ReaderStream::with_capacity(tokio::io::AsyncReadExt::take(file, artifact.bytes), 64 << 10);
    let kind = if picture.is_some() { "inline" } else { "attachment" };
    let disposition = HeaderValue::from_str(&disposition(kind, &artifact.name))
        .unwrap_or_else(|_| HeaderValue::from_static("attachment"));
    let mut response = Body::from_stream(stream).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(picture.unwrap_or("application/octet-stream")));
    headers.insert(header::CONTENT_LENGTH, artifact.bytes.into());
    headers.insert(header::CONTENT_DISPOSITION, disposition);
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(SANDBOX));
    response
}

/// A text that a job wrote, as attachment: no more to be trusted than its files.
pub(crate) fn text_file<S>(name: &str, parts: S) -> Response
where
    S: Stream<Item = crate::error::Result<String>> + Send + 'static,
{
    let disposition = HeaderValue::from_str(&disposition("attachment", name))
        .unwrap_or_else(|_| HeaderValue::from_static("attachment"));
    let mut response = Body::from_stream(parts).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CONTENT_DISPOSITION, disposition);
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(SANDBOX));
    response
}

/// `Content-Disposition` with the name twice (RFC 6266): plain for old clients, exact as RFC 5987 says.
fn disposition(kind: &str, name: &str) -> String {
    let plain: String = name
        .chars()
        .map(|c| if c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '%') || c == ' ' { c } else { '_' })
        .collect();
    format!("{kind}; filename=\"{plain}\"; filename*=UTF-8''{}", app::paths::encode(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_begins_like_a_picture_is_one() {
        assert_eq!(picture_type(b"\x89PNG\r\n\x1a\n\0\0\0\r"), Some("image/png"));
        assert_eq!(picture_type(b"RIFF\x01\0\0\0WEBP"), Some("image/webp"));
        assert_eq!(picture_type(b"<svg xmlns=\""), None);
        assert_eq!(picture_type(b"<html>"), None);
        assert_eq!(picture_type(b""), None);
    }

    #[test]
    fn a_hostile_name_cannot_break_out_of_the_header() {
        let text = disposition("attachment", "a\"; filename=\"evil.html\r\nX: y é");
        assert!(!text.contains('\r') && !text.contains('\n'), "{text}");
        assert_eq!(text.matches('"').count(), 2, "{text}");
        assert!(text.contains("%C3%A9"), "{text}");
    }

    #[test]
    fn a_path_is_found_however_the_client_encoded_it() {
        assert_eq!(canonical("units/0/look%20book.jpg"), "units/0/look%20book.jpg");
        assert_eq!(canonical("units/0/l%6fok+1"), "units/0/look%2B1");
        assert_eq!(canonical("units/0/%ff"), "units/0/%FF");
    }
}
