//! The batches of the Gemini Developer API: long-running operations, each with its own way of saying the same thing in
//! two places. A cancellation is answered with nothing and has no state of its own until it is done.

mod upload;
mod wire_types;

use std::{path::Path, time::Duration};

use async_trait::async_trait;
use reqwest::{Method, Url};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use self::wire_types::{batch, inline_lines, remote_file};
use crate::{
    Batch, CancelAnswer, Capabilities, Create, Deletion, Error, Page, Provider, RemoteFile, Result, Settings, Source,
    http::{Http, unclear_if_sent},
    pages::{self, Cursors},
    provider::check_tag,
    transfer, wire,
};

/// Most items of a page.
const PAGE: &str = "100";

/// Characters of a display name.
const LONGEST_NAME: usize = 200;

/// Pages of files that are searched for an upload of ours.
const PAGES_OF_FILES: usize = 200;

pub(crate) const CAPABILITIES: Capabilities = Capabilities {
    cancel: true,
    delete_batch: true,
    delete_files: true,
    list: true,
    shows_cancelling: false,
    live_counts: false,
};

pub(crate) const DEADLINE: Duration = Duration::from_hours(48);

/// See the module.
pub(crate) struct Gemini {
    http: Http,
    /// `v1beta` or `v1`.
    version: String,
    capabilities: Capabilities,
}

impl Gemini {
    pub(crate) fn new(settings: &Settings) -> Result<Gemini> {
        let http = Http::new(settings, ("x-goog-api-key", ""), &[])?;
        Ok(Gemini { http, version: settings.api_version().to_owned(), capabilities: settings.capabilities() })
    }

    /// `/{version}/{collection}/{id}{verb}`; `name` may come with its collection before it.
    fn url(&self, collection: &str, name: &str, verb: &str) -> Result<Url> {
        let id = name.strip_prefix(collection).and_then(|rest| rest.strip_prefix('/')).unwrap_or(name);
        if matches!(id, "" | "." | "..") {
            return Err(Error::Unusable(format!("`{name}` is no id.")));
        }
        self.http.url([self.version.as_str(), collection, &format!("{id}{verb}")])
    }

    async fn operation(&self, id: &str) -> Result<Value> {
        self.http.get(&self.url("batches", id, "")?).await
    }

    /// A page of files: its items, and where the next begins.
    async fn files(&self, cursor: Option<&str>) -> Result<(Vec<Value>, Option<String>)> {
        let mut url = self.http.url([self.version.as_str(), "files"])?;
        url.query_pairs_mut().append_pair("pageSize", PAGE).extend_pairs(cursor.map(|token| ("pageToken", token)));
        let answer = self.http.get(&url).await?;
        Ok((wire::list(&answer, "files", true)?.to_vec(), wire::text(&answer, "nextPageToken")))
    }

    /// The newest file of which `is_it` holds.
    async fn find(&self, is_it: impl Fn(&Value) -> bool + Send + Sync) -> Result<Option<RemoteFile>> {
        let mut cursors = Cursors::default();
        let mut cursor: Option<String> = None;
        let mut found: Option<RemoteFile> = None;
        for _ in 0..PAGES_OF_FILES {
            let (files, next) = self.files(cursor.as_deref()).await?;
            for file in files.iter().filter(|file| is_it(file)).filter_map(remote_file) {
                if found.as_ref().is_none_or(|found| found.created_at < file.created_at) {
                    found = Some(file);
                }
            }
            cursor = cursors.follow(next.filter(|_| !files.is_empty()))?;
            if cursor.is_none() {
                return Ok(found);
            }
        }
        Err(Error::Garbage { what: format!("a list of more than {PAGES_OF_FILES} pages of files") })
    }

    async fn delete(&self, url: &Url) -> Result<Deletion> {
        match self.http.again(|| self.http.request(Method::DELETE, url.clone())).await {
            Ok(_) => Ok(Deletion::Deleted),
            Err(Error::NotFound { .. }) => Ok(Deletion::AlreadyGone),
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl Provider for Gemini {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn deadline(&self) -> Duration {
        DEADLINE
    }

    async fn upload(&self, file: &Path, name: &str) -> Result<RemoteFile> {
        upload::upload(&self.http, &self.version, file, name).await
    }

    async fn find_file(&self, name: &str, bytes: u64) -> Result<Option<RemoteFile>> {
        self.find(|file| {
            wire::text(file, "displayName").as_deref() == Some(name)
                && wire::count(file, "sizeBytes").is_none_or(|there| there == bytes)
        })
        .await
    }

    async fn create(&self, create: &Create) -> Result<Batch> {
        check_tag(&create.tag)?;
        let model = create.model.as_deref().unwrap_or_default();
        let model = model.strip_prefix("models/").unwrap_or(model);
        if model.is_empty() || model.contains(['/', ':']) {
            return Err(Error::Unusable(format!("`{model}` is no model of Gemini.")));
        }
        let verb = match create.endpoint.as_deref() {
            None | Some("generateContent") => "batchGenerateContent",
            Some("embedContent") => "asyncBatchEmbedContent",
            Some(other) => return Err(Error::Unusable(format!("Gemini has no batches of `{other}`."))),
        };
        // There is no metadata: the tag goes before the name.
        let name: String = create.display_name.chars().take(LONGEST_NAME - create.tag.len()).collect();
        let name = format!("{}{} {name}", wire_types::TAG, create.tag);
        let body = json!({"batch": {"displayName": name.trim_end(), "inputConfig": {"fileName": create.input_file}}});
        let url = self.http.url([self.version.as_str(), "models", &format!("{model}:{verb}")])?;
        let answer = self.http.once(self.http.request(Method::POST, url).json(&body)).await.map_err(unclear_if_sent)?;
        batch(&answer).ok_or_else(|| unclear_if_sent(garbage("a batch without a name")))
    }

    async fn get(&self, id: &str) -> Result<Batch> {
        batch(&self.operation(id).await?).ok_or_else(|| garbage("a batch without a name"))
    }

    async fn cancel(&self, id: &str) -> Result<CancelAnswer> {
        let url = self.url("batches", id, ":cancel")?;
        match self.http.again(|| self.http.request(Method::POST, url.clone()).json(&json!({}))).await {
            // Not even a state is in the answer.
            Ok(_) => Ok(CancelAnswer::Asked(None)),
            Err(Error::Refused { status, message, .. }) => Ok(CancelAnswer::Refused { status, message }),
            Err(error) => Err(error),
        }
    }

    async fn list(&self, cursor: Option<&str>) -> Result<Page<Batch>> {
        let mut url = self.http.url([self.version.as_str(), "batches"])?;
        url.query_pairs_mut().append_pair("pageSize", PAGE).extend_pairs(cursor.map(|token| ("pageToken", token)));
        let answer = self.http.get(&url).await?;
        let listed = wire::list(&answer, "operations", true)?;
        let next = wire::text(&answer, "nextPageToken");
        Ok(pages::page(listed.iter().filter_map(batch).collect(), next, cursor, listed.is_empty()))
    }

    async fn download(&self, source: &Source, into: &Path) -> Result<u64> {
        let id = match source {
            Source::File(id) => id,
            Source::Inline(id) => {
                let lines = inline_lines(&self.operation(id).await?);
                let fault = |error| Error::io(into.display().to_string(), error);
                let mut file = tokio::fs::File::create(into).await.map_err(fault)?;
                file.write_all(&lines).await.map_err(fault)?;
                file.sync_all().await.map_err(fault)?;
                return Ok(lines.len() as u64);
            }
        };
        let media = |mut url: Url| {
            url.query_pairs_mut().append_pair("alt", "media");
            url
        };
        let url = media(self.url("files", id, ":download")?);
        match transfer::download(&self.http, &url, into).await {
            Err(Error::NotFound { .. }) => {}
            answer => return answer,
        }
        // Google's guide has another address than Google's library.
        let name = id.strip_prefix("files/").unwrap_or(id);
        let segments = ["download", self.version.as_str(), "files", &format!("{name}:download")];
        transfer::download(&self.http, &media(self.http.url(segments)?), into).await
    }

    async fn delete_batch(&self, id: &str) -> Result<Deletion> {
        if !self.capabilities.delete_batch {
            return Err(Error::Unsupported("delete batches"));
        }
        self.delete(&self.url("batches", id, "")?).await
    }

    async fn delete_file(&self, id: &str) -> Result<Deletion> {
        let name = id.strip_prefix("files/").unwrap_or(id);
        let rejected = match self.delete(&self.url("files", id, "")?).await {
            Err(rejected @ Error::KeyRejected { status: 403, .. }) => rejected,
            answer => return answer,
        };
        // A file that is not there is "forbidden, or does not exist". The list tells which; it has uploads only.
        let full = format!("files/{name}");
        let is_upload = !name.starts_with("batch-");
        if is_upload && self.find(|file| wire::text(file, "name").as_deref() == Some(&full)).await?.is_none() {
            return Ok(Deletion::AlreadyGone);
        }
        Err(rejected)
    }
}

fn garbage(what: &str) -> Error {
    Error::Garbage { what: what.to_owned() }
}
