//! OpenAI's files and batches, and the services that speak like them. A batch there can be cancelled and never be
//! deleted; what can be deleted are its files.

use std::{path::Path, time::Duration};

use async_trait::async_trait;
use reqwest::{
    Body, Method, Url,
    header::CONTENT_LENGTH,
    multipart::{Form, Part},
};
use serde_json::{Value, json};

use crate::{
    Batch, BatchError, CancelAnswer, Capabilities, Counts, Create, Deletion, Error, Outputs, Page, Provider,
    RemoteFile, Result, Settings, Source, State, Usage,
    http::{Http, pause_before_next, pauses, unclear_if_sent},
    pages::{self, Cursors},
    provider::check_tag,
    transfer::{self, Progress},
    wire,
};

/// Most items that a page of a list may have.
const PAGE: &str = "100";

/// Where the tag lies in a batch's metadata.
const TAG: &str = "belay_tag";

/// Where the name lies in a batch's metadata.
const NAME: &str = "belay_name";

/// Characters of a value in the metadata.
const LONGEST_VALUE: usize = 512;

/// Pages of files that are searched for an upload of ours; they come newest first.
const PAGES_OF_FILES: usize = 20;

/// What its own service can do.
pub(crate) const CAPABILITIES: Capabilities = Capabilities {
    cancel: true,
    delete_batch: false,
    delete_files: true,
    list: true,
    shows_cancelling: true,
    live_counts: true,
};

pub(crate) const DEADLINE: Duration = Duration::from_hours(24);

/// See the module.
pub(crate) struct Openai {
    http: Http,
    capabilities: Capabilities,
}

impl Openai {
    pub(crate) fn new(settings: &Settings) -> Result<Openai> {
        let mut others = Vec::new();
        others.extend(settings.organization.as_deref().map(|value| ("openai-organization", value)));
        others.extend(settings.project.as_deref().map(|value| ("openai-project", value)));
        let http = Http::new(settings, ("authorization", "Bearer "), &others)?;
        Ok(Openai { http, capabilities: settings.capabilities() })
    }

    async fn upload_once(&self, path: &Path, name: &str) -> Result<RemoteFile> {
        let (file, bytes) = transfer::open(path).await?;
        let progress = Progress::default();
        let part = Part::stream_with_length(Body::wrap_stream(progress.stream(file)), bytes)
            .file_name(name.to_owned())
            .mime_str("application/jsonl")
            .map_err(|error| Error::Unusable(error.to_string()))?;
        // Servers that read a form as it comes want to know first what the file is for.
        let form = Form::new().text("purpose", "batch").part("file", part);
        let request = self.http.request(Method::POST, self.http.url(["files"])?).multipart(form);
        let exchange = async { self.http.json(self.http.send(request).await?).await };
        let Some(answer) = progress.watch(exchange).await else {
            return Err(self.http.unavailable("an upload does not go on".to_owned()));
        };
        remote_file(&answer?).ok_or_else(|| garbage("an uploaded file without an id"))
    }
}

#[async_trait]
impl Provider for Openai {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn deadline(&self) -> Duration {
        DEADLINE
    }

    async fn upload(&self, file: &Path, name: &str) -> Result<RemoteFile> {
        let (_, bytes) = transfer::open(file).await?;
        let mut pauses = pauses();
        loop {
            let error = match self.upload_once(file, name).await {
                Ok(uploaded) => return Ok(uploaded),
                Err(error) => error,
            };
            let Some(pause) = pause_before_next(&error, &mut pauses) else { return Err(unclear_if_sent(error)) };
            tokio::time::sleep(pause).await;
            // What was taken although nobody heard of it is used, and not left behind.
            if matches!(error, Error::Unavailable { .. })
                && let Some(there) = self.find_file(name, bytes).await.map_err(|_| unclear_if_sent(error))?
            {
                return Ok(there);
            }
        }
    }

    async fn find_file(&self, name: &str, bytes: u64) -> Result<Option<RemoteFile>> {
        let mut cursors = Cursors::default();
        let mut cursor: Option<String> = None;
        for _ in 0..PAGES_OF_FILES {
            let mut url = self.http.url(["files"])?;
            url.query_pairs_mut()
                .append_pair("purpose", "batch")
                .append_pair("limit", PAGE)
                .append_pair("order", "desc")
                .extend_pairs(cursor.iter().map(|after| ("after", after)));
            let answer = match self.http.get(&url).await {
                Ok(answer) => answer,
                // Files cannot be listed everywhere.
                Err(Error::NotFound { .. } | Error::Refused { .. }) => return Ok(None),
                Err(error) => return Err(error),
            };
            // Nor is every answer a list; a file that is sent twice costs nothing.
            let Ok(files) = wire::list(&answer, "data", false) else { return Ok(None) };
            let found = files.iter().find(|file| {
                wire::text(file, "filename").as_deref() == Some(name)
                    && wire::count(file, "bytes").is_none_or(|there| there == bytes)
            });
            if let Some(found) = found.and_then(remote_file) {
                return Ok(Some(found));
            }
            cursor = cursors.follow(next_cursor(&answer, cursor.as_deref()))?;
            if cursor.is_none() {
                break;
            }
        }
        Ok(None)
    }

    async fn create(&self, create: &Create) -> Result<Batch> {
        check_tag(&create.tag)?;
        let endpoint = create.endpoint.as_deref();
        let endpoint = endpoint.ok_or_else(|| Error::Unusable("The batch needs an endpoint.".to_owned()))?;
        let mut metadata = json!({ TAG: create.tag });
        let name: String = create.display_name.chars().take(LONGEST_VALUE).collect();
        if !name.is_empty() {
            metadata[NAME] = Value::String(name);
        }
        let body = json!({
            "input_file_id": create.input_file,
            "endpoint": endpoint,
            "completion_window": "24h",
            "metadata": metadata,
        });
        let request = self.http.request(Method::POST, self.http.url(["batches"])?).json(&body);
        let answer = self.http.once(request).await.map_err(unclear_if_sent)?;
        batch(&answer).ok_or_else(|| unclear_if_sent(garbage("a batch without an id")))
    }

    async fn get(&self, id: &str) -> Result<Batch> {
        let answer = self.http.get(&self.http.url(["batches", id])?).await?;
        batch(&answer).ok_or_else(|| garbage("a batch without an id"))
    }

    async fn cancel(&self, id: &str) -> Result<CancelAnswer> {
        let url = self.http.url(["batches", id, "cancel"])?;
        // Some refuse a POST that does not say how long it is.
        match self.http.again(|| self.http.request(Method::POST, url.clone()).header(CONTENT_LENGTH, 0)).await {
            Ok(answer) => Ok(CancelAnswer::Asked(batch(&answer).map(Box::new))),
            Err(Error::Refused { status, message, .. }) => Ok(CancelAnswer::Refused { status, message }),
            Err(error) => Err(error),
        }
    }

    async fn list(&self, cursor: Option<&str>) -> Result<Page<Batch>> {
        let mut url = self.http.url(["batches"])?;
        url.query_pairs_mut().append_pair("limit", PAGE).extend_pairs(cursor.map(|after| ("after", after)));
        let answer = self.http.get(&url).await?;
        let listed = wire::list(&answer, "data", false)?;
        let next = next_cursor(&answer, cursor);
        Ok(pages::page(listed.iter().filter_map(batch).collect(), next, cursor, listed.is_empty()))
    }

    async fn download(&self, source: &Source, into: &Path) -> Result<u64> {
        match source {
            Source::File(id) => transfer::download(&self.http, &self.http.url(["files", id, "content"])?, into).await,
            Source::Inline(_) => Err(Error::Unsupported("put results inside a batch")),
        }
    }

    async fn delete_batch(&self, id: &str) -> Result<Deletion> {
        if !self.capabilities.delete_batch {
            return Err(Error::Unsupported("delete batches"));
        }
        self.delete(self.http.url(["batches", id])?).await
    }

    async fn delete_file(&self, id: &str) -> Result<Deletion> {
        self.delete(self.http.url(["files", id])?).await
    }
}

impl Openai {
    async fn delete(&self, url: Url) -> Result<Deletion> {
        match self.http.again(|| self.http.request(Method::DELETE, url.clone())).await {
            Ok(answer) if answer.get("deleted") == Some(&Value::Bool(false)) => {
                Err(Error::Refused { status: 200, code: None, message: format!("{} was not deleted", url.path()) })
            }
            Ok(_) => Ok(Deletion::Deleted),
            Err(Error::NotFound { .. }) => Ok(Deletion::AlreadyGone),
            Err(error) => Err(error),
        }
    }
}

fn garbage(what: &str) -> Error {
    Error::Garbage { what: what.to_owned() }
}

/// Where the next page begins: `after` is the id of the last item. Only a plain "no" ends a list that has items.
fn next_cursor(answer: &Value, cursor: Option<&str>) -> Option<String> {
    if answer.get("has_more") == Some(&Value::Bool(false)) {
        return None;
    }
    let last = wire::items(answer, "data").last()?;
    wire::text(last, "id").or_else(|| wire::text(answer, "last_id")).filter(|next| Some(next.as_str()) != cursor)
}

fn remote_file(value: &Value) -> Option<RemoteFile> {
    Some(RemoteFile {
        id: wire::text(value, "id")?,
        bytes: wire::count(value, "bytes"),
        created_at: wire::time(value, "created_at"),
        expires_at: wire::time(value, "expires_at"),
    })
}

/// Reads a batch; everything but its id may be missing or `null`.
fn batch(value: &Value) -> Option<Batch> {
    let id = wire::text(value, "id")?;
    let raw_state = wire::text(value, "status").unwrap_or_default();
    let state = State::from_word(&raw_state);
    let metadata = wire::field(value, "metadata").unwrap_or(&Value::Null);
    let file = |name| wire::text(value, name).map(Source::File);
    let ended = ["completed_at", "cancelled_at", "failed_at", "expired_at"];
    Some(Batch {
        id,
        state,
        raw_state,
        model: wire::text(value, "model"),
        endpoint: wire::text(value, "endpoint"),
        tag: wire::text(metadata, TAG),
        display_name: [NAME, "name", "display_name"].iter().find_map(|name| wire::text(metadata, name)),
        counts: wire::field(value, "request_counts").and_then(counts),
        usage: wire::field(value, "usage").and_then(usage),
        created_at: wire::time(value, "created_at"),
        started_at: wire::time(value, "in_progress_at"),
        expires_at: wire::time(value, "expires_at"),
        ended_at: ended.iter().find_map(|name| wire::time(value, name)).filter(|_| state.is_terminal()),
        input_file: wire::text(value, "input_file_id"),
        outputs: Outputs { results: file("output_file_id"), errors: file("error_file_id") },
        errors: errors(value),
    })
}

fn counts(value: &Value) -> Option<Counts> {
    Some(Counts {
        total: wire::count(value, "total")?,
        completed: wire::count(value, "completed").unwrap_or(0),
        failed: wire::count(value, "failed").unwrap_or(0),
    })
}

/// Tokens of a batch or of one answer, under the names of either of OpenAI's APIs. All zero is how servers say that they
/// have not counted.
pub(crate) fn usage(value: &Value) -> Option<Usage> {
    let either = |names: [&str; 2]| names.iter().find_map(|name| wire::count(value, name));
    let details = ["input_tokens_details", "prompt_tokens_details"];
    let cached = details.iter().find_map(|name| wire::count(value.get(name)?, "cached_tokens"));
    let usage = Usage {
        input_tokens: either(["input_tokens", "prompt_tokens"]).unwrap_or(0),
        cached_tokens: cached.unwrap_or(0),
        output_tokens: either(["output_tokens", "completion_tokens"]).unwrap_or(0),
    };
    (usage.input_tokens > 0 || usage.output_tokens > 0).then_some(usage)
}

/// `errors.data[]`, or a list at once.
fn errors(value: &Value) -> Vec<BatchError> {
    let Some(errors) = wire::field(value, "errors") else { return Vec::new() };
    let listed = errors.as_array().map_or_else(|| wire::items(errors, "data"), Vec::as_slice);
    let read = |error: &Value| BatchError {
        code: wire::text(error, "code"),
        message: wire::text(error, "message").unwrap_or_default(),
        line: wire::count(error, "line"),
    };
    listed.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_of_nothing_but_an_id_is_a_batch() {
        let read = batch(&json!({"id": "b"})).unwrap();
        assert_eq!((read.state, read.counts, read.usage), (State::Unknown, None, None));
        assert!(batch(&json!({"id": null})).is_none());
    }

    #[test]
    fn null_is_as_good_as_missing() {
        let full = json!({
            "id": "b", "status": "in_progress", "errors": null, "output_file_id": null, "error_file_id": null,
            "request_counts": null, "metadata": null, "usage": null, "model": null, "expires_at": null,
        });
        let bare = json!({"id": "b", "status": "in_progress"});
        assert_eq!(batch(&full), batch(&bare));
    }

    #[test]
    fn the_documents_example_is_read_whole() {
        let read = batch(&json!({
            "id": "batch_abc", "object": "batch", "endpoint": "/v1/chat/completions", "model": "gpt-5",
            "errors": {"object": "list", "data": [{"code": "c", "message": "m", "line": 3, "param": null}]},
            "input_file_id": "file-in", "completion_window": "24h", "status": "completed",
            "output_file_id": "file-out", "error_file_id": "file-err", "created_at": 1_714_508_499,
            "in_progress_at": 1_714_508_500, "expires_at": 1_714_536_634, "completed_at": 1_714_508_510,
            "failed_at": null, "request_counts": {"total": 100, "completed": 95, "failed": 5},
            "usage": {"input_tokens": 1500, "input_tokens_details": {"cached_tokens": 1024}, "output_tokens": 500,
                "output_tokens_details": {"reasoning_tokens": 300}, "total_tokens": 2000},
            "metadata": {"belay_tag": "t", "belay_name": "Lamps"},
        }))
        .unwrap();
        assert_eq!((read.state, read.raw_state.as_str()), (State::Succeeded, "completed"));
        assert_eq!(read.counts, Some(Counts { total: 100, completed: 95, failed: 5 }));
        assert_eq!(read.usage, Some(Usage { input_tokens: 1500, cached_tokens: 1024, output_tokens: 500 }));
        assert_eq!(read.errors[0].line, Some(3));
        assert_eq!((read.tag.as_deref(), read.display_name.as_deref()), (Some("t"), Some("Lamps")));
        assert_eq!(read.outputs.iter().count(), 2);
        assert_eq!((read.created_at, read.ended_at), (Some(1_714_508_499_000), Some(1_714_508_510_000)));
    }

    #[test]
    fn a_usage_of_zeros_is_unknown() {
        assert_eq!(usage(&json!({"input_tokens": 0, "output_tokens": 0, "total_tokens": 0})), None);
        let chat = json!({"prompt_tokens": 7, "completion_tokens": 2, "prompt_tokens_details": null});
        assert_eq!(usage(&chat), Some(Usage { input_tokens: 7, cached_tokens: 0, output_tokens: 2 }));
    }

    #[test]
    fn a_list_ends_when_it_says_so_or_has_nothing() {
        let next = |value: &Value, cursor| next_cursor(value, cursor);
        let two = json!([{"id": "a"}, {"id": "b"}]);
        assert_eq!(next(&json!({"data": two, "has_more": true}), None).as_deref(), Some("b"));
        assert_eq!(next(&json!({"data": two, "has_more": false}), None), None);
        assert_eq!(next(&json!({"data": two}), None).as_deref(), Some("b"), "as the official library reads it");
        assert_eq!(next(&json!({"data": two, "has_more": true}), Some("b")), None, "the cursor repeats");
        assert_eq!(next(&json!({"data": [], "has_more": true, "last_id": "z"}), None), None);
    }
}
