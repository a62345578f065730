//! Google's resumable upload: an address for the file first, then the file in pieces. A piece that broke is taken up
//! where the server says that it is; an upload that was never finished makes no file.

use std::{io::SeekFrom, path::Path, time::Duration};

use reqwest::{Body, Method, Response, Url, header::CONTENT_LENGTH};
use serde_json::{Value, json};
use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncSeekExt as _},
    time::{Instant, sleep, timeout},
};

use super::wire_types::remote_file;
use crate::{
    Error, RemoteFile, Result,
    http::{Http, SILENCE, pause_before_next, pauses, unclear_if_sent},
    transfer, wire,
};

/// Bytes of a piece, as Google's own library cuts them.
const PIECE: u64 = 8 << 20;

/// How long to wait for a provider that has to look at a file first.
const FILE_READY: Duration = Duration::from_secs(60);

const COMMAND: &str = "X-Goog-Upload-Command";
const OFFSET: &str = "X-Goog-Upload-Offset";
const STATUS: &str = "X-Goog-Upload-Status";
const RECEIVED: &str = "X-Goog-Upload-Size-Received";

pub(super) async fn upload(http: &Http, version: &str, path: &Path, name: &str) -> Result<RemoteFile> {
    let (mut file, bytes) = transfer::open(path).await?;
    let target = http.patiently(|| begin(http, version, name, bytes)).await?;
    let answer = send(http, &target, &mut file, path, bytes).await?;
    let uploaded = remote_file(&answer).ok_or_else(|| Error::Unclear("an uploaded file without a name".to_owned()))?;
    wait_until_ready(http, version, answer, &uploaded).await?;
    Ok(uploaded)
}

/// Asks for an address to upload to. Nothing is there yet.
async fn begin(http: &Http, version: &str, name: &str, bytes: u64) -> Result<Url> {
    let url = http.url(["upload", version, "files"])?;
    let request = http
        .request(Method::POST, url.clone())
        .header("X-Goog-Upload-Protocol", "resumable")
        .header(COMMAND, "start")
        .header("X-Goog-Upload-Header-Content-Length", bytes)
        .header("X-Goog-Upload-Header-Content-Type", "application/jsonl")
        .json(
            &json!({"file": {"display_name": name, "mime_type": "application/jsonl", "size_bytes": bytes.to_string()}}),
        );
    let response = in_time(http, http.send(request)).await?;
    let target = header(&response, "X-Goog-Upload-URL");
    http.url_given(&url, target.ok_or_else(|| Error::Garbage { what: "an upload without an address".to_owned() })?)
}

/// Sends the pieces; the answer to the last.
async fn send(http: &Http, target: &Url, file: &mut File, path: &Path, bytes: u64) -> Result<Value> {
    let mut offset = 0;
    let mut pauses_left = pauses();
    loop {
        let end = bytes.min(offset + PIECE);
        let error = match send_piece(http, target, file, path, offset..end, end == bytes).await {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => {
                offset = end;
                pauses_left = pauses();
                continue;
            }
            Err(error) => error,
        };
        let Some(pause) = pause_before_next(&error, &mut pauses_left) else { return Err(unclear_if_sent(error)) };
        sleep(pause).await;
        // Where it does not say how far it came, whoever called has to look what is there.
        let position =
            http.patiently(|| received(http, target)).await.map_err(|_| Error::Unclear(error.to_string()))?;
        match position {
            Position::At(received) if received <= bytes => offset = received,
            Position::Finished(answer) => return Ok(answer),
            Position::At(_) => return Err(Error::Garbage { what: "more bytes received than there are".to_owned() }),
        }
    }
}

/// One piece. The answer, when it was the last.
async fn send_piece(
    http: &Http,
    target: &Url,
    file: &mut File,
    path: &Path,
    range: std::ops::Range<u64>,
    is_last: bool,
) -> Result<Option<Value>> {
    let fault = |error| Error::io(path.display().to_string(), error);
    let mut piece = Vec::new();
    file.seek(SeekFrom::Start(range.start)).await.map_err(fault)?;
    file.take(range.end - range.start).read_to_end(&mut piece).await.map_err(fault)?;
    let length = piece.len();
    let request = http
        .request(Method::POST, target.clone())
        .header(COMMAND, if is_last { "upload, finalize" } else { "upload" })
        .header(OFFSET, range.start)
        .header(CONTENT_LENGTH, length)
        .body(Body::from(piece));
    let exchange = async {
        let response = http.send(request).await?;
        if is_last { http.json(response).await.map(Some) } else { http.finish(response).await.map(|()| None) }
    };
    in_time(http, exchange).await
}

/// How far an upload has come.
enum Position {
    At(u64),
    /// It had been finished; the file.
    Finished(Value),
}

async fn received(http: &Http, target: &Url) -> Result<Position> {
    let request = http.request(Method::POST, target.clone()).header(COMMAND, "query").header(CONTENT_LENGTH, 0);
    let response = in_time(http, http.send(request)).await?;
    if header(&response, STATUS) == Some("final") {
        return Ok(Position::Finished(http.json(response).await?));
    }
    let received = header(&response, RECEIVED).and_then(|text| text.parse().ok());
    received.map(Position::At).ok_or_else(|| Error::Garbage { what: "an upload without a position".to_owned() })
}

/// A file may be looked at by the provider before it can be used.
async fn wait_until_ready(http: &Http, version: &str, mut answer: Value, file: &RemoteFile) -> Result<()> {
    let id = file.id.strip_prefix("files/").unwrap_or(&file.id);
    let begin = Instant::now();
    loop {
        let state = wire::text(wire::field(&answer, "file").unwrap_or(&answer), "state");
        match state.as_deref() {
            Some("FAILED") => {
                let message = "the uploaded file could not be processed".to_owned();
                return Err(Error::Refused { status: 200, code: None, message });
            }
            // What is not ready by then is said by the answer to `create`.
            Some("PROCESSING") if begin.elapsed() < FILE_READY => {}
            Some(_) | None => return Ok(()),
        }
        sleep(Duration::from_secs(1)).await;
        answer = http.get(&http.url([version, "files", id])?).await?;
    }
}

fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

/// No piece is so large that it may take longer.
async fn in_time<T>(http: &Http, exchange: impl Future<Output = Result<T>>) -> Result<T> {
    match timeout(SILENCE, exchange).await {
        Ok(answer) => answer,
        Err(_) => Err(http.unavailable(format!("no answer to an upload within {} s", SILENCE.as_secs()))),
    }
}
