//! Files on their way: up as a stream that is watched, down into a file and on from where it broke.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use futures::{Stream, StreamExt as _};
use reqwest::{
    Method, Response, StatusCode, Url,
    header::{CONTENT_RANGE, ETAG, IF_RANGE, RANGE},
};
use tokio::{
    fs::File,
    io::{AsyncSeekExt as _, AsyncWriteExt as _},
    time::timeout,
};
use tokio_util::io::ReaderStream;

use crate::{
    Error, Result,
    http::{Http, SILENCE, pause_before_next, pauses},
};

/// One read of a file.
const PIECE: usize = 256 << 10;

/// Bytes handed to the network so far.
#[derive(Clone, Default)]
pub(crate) struct Progress(Arc<AtomicU64>);

impl Progress {
    /// Waits for `work` as long as bytes move. A time limit for the whole would have to know how fast the line is.
    ///
    /// # Errors
    /// `None` came of it: nothing has moved for [`SILENCE`].
    pub(crate) async fn watch<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(work);
        loop {
            let before = self.0.load(Ordering::Relaxed);
            if let Ok(done) = timeout(SILENCE, &mut work).await {
                return Some(done);
            }
            if self.0.load(Ordering::Relaxed) == before {
                return None;
            }
        }
    }

    /// The rest of a file, in pieces, counted.
    pub(crate) fn stream(&self, file: File) -> impl Stream<Item = std::io::Result<bytes::Bytes>> + Send + 'static {
        let moved = Arc::clone(&self.0);
        ReaderStream::with_capacity(file, PIECE).inspect(move |piece| {
            let bytes = piece.as_ref().map_or(0, |piece| piece.len() as u64);
            moved.fetch_add(bytes, Ordering::Relaxed);
        })
    }
}

/// Opens a file and says how large it is.
pub(crate) async fn open(path: &Path) -> Result<(File, u64)> {
    let fault = |error| Error::io(path.display().to_string(), error);
    let file = File::open(path).await.map_err(fault)?;
    let bytes = file.metadata().await.map_err(fault)?.len();
    Ok((file, bytes))
}

/// Fetches `url` into a new file or over an old one; the number of bytes. What broke is taken up where it was, as often
/// as it brings something, and a few times where it does not.
pub(crate) async fn download(http: &Http, url: &Url, into: &Path) -> Result<u64> {
    let fault = |error| Error::io(into.display().to_string(), error);
    let mut file = File::create(into).await.map_err(fault)?;
    let mut have = 0;
    let mut etag = None;
    let mut pauses_left = pauses();
    loop {
        let before = have;
        let error = match fetch(http, url, &mut file, &mut have, &mut etag).await {
            Ok(()) => {
                file.flush().await.map_err(fault)?;
                file.sync_all().await.map_err(fault)?;
                return Ok(have);
            }
            Err(Failure::Disk(error)) => return Err(fault(error)),
            // It broke behind the last byte, or the file is another one by now: from the beginning.
            Err(Failure::Provider(Error::Refused { status: 416, .. })) if etag.take().is_some() => continue,
            Err(Failure::Provider(error)) => error,
        };
        if have > before {
            pauses_left = pauses();
        }
        let Some(pause) = pause_before_next(&error, &mut pauses_left) else { return Err(error) };
        tracing::debug!(%error, have, "taking a download up again");
        tokio::time::sleep(pause).await;
    }
}

/// Whose fault it is.
enum Failure {
    Provider(Error),
    Disk(std::io::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Provider(error)
    }
}

/// One attempt: asks for what is missing, and takes the whole where the provider gives only that.
async fn fetch(
    http: &Http,
    url: &Url,
    file: &mut File,
    have: &mut u64,
    etag: &mut Option<String>,
) -> Result<(), Failure> {
    let mut request = http.request(Method::GET, url.clone());
    // Without a tag nobody says that the rest belongs to the beginning.
    if let (1.., Some(etag)) = (*have, etag.as_deref()) {
        request = request.header(RANGE, format!("bytes={have}-")).header(IF_RANGE, etag);
    }
    let silent = || http.unavailable(format!("nothing came for {} s", SILENCE.as_secs()));
    let mut response = timeout(SILENCE, http.send(request)).await.map_err(|_| silent())??;
    if !goes_on(&response, *have) {
        file.set_len(0).await.map_err(Failure::Disk)?;
        file.rewind().await.map_err(Failure::Disk)?;
        *have = 0;
    }
    *etag = response.headers().get(ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
    // A weak tag cannot be used for ranges.
    etag.take_if(|tag| tag.starts_with("W/"));
    loop {
        let chunk = timeout(SILENCE, response.chunk()).await.map_err(|_| silent())?;
        match chunk.map_err(|error| http.broken(&error))? {
            Some(chunk) => {
                file.write_all(&chunk).await.map_err(Failure::Disk)?;
                *have += chunk.len() as u64;
            }
            None => return Ok(()),
        }
    }
}

/// Whether a response begins where the file ends.
fn goes_on(response: &Response, have: u64) -> bool {
    let range = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    have > 0
        && response.status() == StatusCode::PARTIAL_CONTENT
        && range.is_some_and(|range| range.starts_with(&format!("bytes {have}-")))
}
