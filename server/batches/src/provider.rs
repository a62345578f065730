//! What a provider of batches can do.

use std::{path::Path, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{Batch, Result, Source, UnixMillis, pages};

/// What only some providers can do. Cancelling and deleting are two things: a batch that is deleted while it runs may go
/// on and be billed, with nobody left who can ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    pub cancel: bool,
    /// The record of a batch can be removed, once it has ended.
    pub delete_batch: bool,
    pub delete_files: bool,
    pub list: bool,
    /// A stop that was asked for has a state of its own there. Where not, the state reads as if nobody had asked.
    pub shows_cancelling: bool,
    /// Counts move while it runs. Where not, they are zero or all open until the end.
    pub live_counts: bool,
}

/// A file at a provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RemoteFile {
    /// As the provider's own calls take it: `file-…`, `files/…`.
    pub id: String,
    pub bytes: Option<u64>,
    pub created_at: Option<UnixMillis>,
    /// When the provider removes it by itself.
    pub expires_at: Option<UnixMillis>,
}

/// What a batch is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Create {
    /// [`RemoteFile::id`] of the uploaded requests.
    pub input_file: String,
    /// `/v1/chat/completions`: what all requests of the file name.
    pub endpoint: Option<String>,
    /// Where the requests do not name it themselves (Gemini).
    pub model: Option<String>,
    /// Our own id of the batch, at most 64 letters, digits, `-` and `_`: by it the batch is found again when the answer
    /// is lost.
    pub tag: String,
    /// For people who look at the provider's own console.
    pub display_name: String,
}

/// A page of a list.
#[derive(Clone, Debug)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Where the next page begins. `None`: this was the last, also when the provider claims more and gives nothing.
    pub next: Option<String>,
}

/// What a provider said to a request to cancel. Neither is proof: only [`Provider::get`] is.
#[derive(Clone, Debug, PartialEq)]
pub enum CancelAnswer {
    /// Taken. Some providers answer with the batch.
    Asked(Option<Box<Batch>>),
    /// Not taken (400, 409), most often because it has ended already. Look again, do not repeat.
    Refused { status: u16, message: String },
}

/// What a deletion found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    Deleted,
    AlreadyGone,
}

/// A provider of batches. Every call may be dropped at any time. All but [`Provider::create`] are repeated where the
/// failure is of the kind that passes (connection, 408, 429, 5xx), a few times, honouring `Retry-After`; after that
/// [`Error::is_transient`](crate::Error::is_transient) says whether to come back later.
#[async_trait]
pub trait Provider: Send + Sync {
    fn capabilities(&self) -> Capabilities;

    /// How long the provider keeps trying before it lets a batch expire: for the countdown when a batch does not say.
    fn deadline(&self) -> Duration;

    /// Sends a file of requests, streamed. `name` is what the provider shows and what [`Provider::find_file`] looks for:
    /// unique for each job, since a file is found again by it when the answer to an upload is lost.
    ///
    /// # Errors
    /// See [`Error`](crate::Error). After [`Error::Unclear`](crate::Error::Unclear) a file may exist.
    async fn upload(&self, file: &Path, name: &str) -> Result<RemoteFile>;

    /// A file that was uploaded by `name`, with `bytes` bytes: for whoever was killed while uploading. Of several the
    /// newest. `None` also where files cannot be listed.
    ///
    /// # Errors
    /// See [`Error`](crate::Error).
    async fn find_file(&self, name: &str, bytes: u64) -> Result<Option<RemoteFile>>;

    /// Makes the batch that costs money. Tried exactly once.
    ///
    /// # Errors
    /// [`Error::Unclear`](crate::Error::Unclear) when it was sent and what became of it is not known: a batch may exist.
    /// After every other error none does.
    async fn create(&self, create: &Create) -> Result<Batch>;

    /// The batch that was made with `tag`, if the list has it. `since`: not earlier than when the first attempt was made,
    /// by our clock; with it the search of a long list can end. A list may lag a few seconds behind a create: look more
    /// than once before believing `None`.
    ///
    /// # Errors
    /// See [`Error`](crate::Error); a list that could not be read to its end is an error, not a `None`.
    async fn find_by_tag(&self, tag: &str, since: UnixMillis) -> Result<Option<Batch>> {
        pages::find(self, since, |batch| batch.tag.as_deref() == Some(tag)).await
    }

    /// As [`Provider::find_by_tag`], and by the file that it was to be made of: it finds a batch also where a service takes
    /// no metadata. For a file that was uploaded for this batch alone.
    ///
    /// # Errors
    /// As there.
    async fn find_created(&self, tag: &str, input_file: &str, since: UnixMillis) -> Result<Option<Batch>> {
        let is_it =
            |batch: &Batch| batch.tag.as_deref() == Some(tag) || batch.input_file.as_deref() == Some(input_file);
        pages::find(self, since, is_it).await
    }

    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound) when the provider does not have it (any more).
    async fn get(&self, id: &str) -> Result<Batch>;

    /// Asks the provider to stop a batch. Repeating it is harmless.
    ///
    /// # Errors
    /// See [`Error`](crate::Error). A refusal is an answer, not an error.
    async fn cancel(&self, id: &str) -> Result<CancelAnswer>;

    /// Batches of this account, a page of them, in the provider's order.
    ///
    /// # Errors
    /// See [`Error`](crate::Error).
    async fn list(&self, cursor: Option<&str>) -> Result<Page<Batch>>;

    /// Fetches results into a file, from the beginning, whatever was there; the number of bytes. A connection that broke
    /// is taken up where it was, if the provider can.
    ///
    /// # Errors
    /// See [`Error`](crate::Error). What is in the file then is a part.
    async fn download(&self, source: &Source, into: &Path) -> Result<u64>;

    /// Removes the record of a batch that has ended. Never used to cancel.
    ///
    /// # Errors
    /// [`Error::Unsupported`](crate::Error::Unsupported) without [`Capabilities::delete_batch`].
    async fn delete_batch(&self, id: &str) -> Result<Deletion>;

    /// Removes a file.
    ///
    /// # Errors
    /// [`Error::Unsupported`](crate::Error::Unsupported) without [`Capabilities::delete_files`].
    async fn delete_file(&self, id: &str) -> Result<Deletion>;
}

/// A tag is looked for in names and metadata; it must come back as it went.
pub(crate) fn check_tag(tag: &str) -> Result<()> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if tag.is_empty() || tag.len() > 64 || !tag.bytes().all(is_plain) {
        return Err(crate::Error::Unusable(format!("`{tag}` cannot be the tag of a batch.")));
    }
    Ok(())
}
