//! Operations, files and results as Google writes them.

use serde_json::{Value, json};

use crate::{Batch, BatchError, Counts, Outputs, RemoteFile, Source, State, wire};

/// Before the tag in a display name.
pub(super) const TAG: &str = "belay:";

/// `google.rpc.Code`: a cancelled operation is "done, with this error".
const CANCELLED: u64 = 1;

/// Reads an operation. What is known of the batch is in its `metadata`; `done` is missing until it has ended.
pub(super) fn batch(value: &Value) -> Option<Batch> {
    // Some answer with the batch itself, without an operation around it.
    let metadata = wire::field(value, "metadata").unwrap_or(value);
    let id = wire::text(value, "name").or_else(|| wire::text(metadata, "name"))?;
    let raw_state = wire::text(metadata, "state").unwrap_or_default();
    let state = state(value, &raw_state);
    let (tag, display_name) = name(wire::text(metadata, "displayName"));
    let error = wire::field(value, "error").map(error);
    Some(Batch {
        outputs: Outputs { results: results(value, metadata, &id), errors: None },
        id,
        state,
        raw_state,
        model: wire::text(metadata, "model").map(|model| model.strip_prefix("models/").unwrap_or(&model).to_owned()),
        endpoint: None,
        tag,
        display_name,
        counts: wire::field(metadata, "batchStats").and_then(counts),
        usage: None,
        created_at: wire::time(metadata, "createTime"),
        started_at: None,
        expires_at: None,
        ended_at: wire::time(metadata, "endTime").filter(|_| state.is_terminal()),
        input_file: wire::field(metadata, "inputConfig").and_then(|input| wire::text(input, "fileName")),
        errors: error.into_iter().collect(),
    })
}

/// The word, and where it says nothing or is behind, what the operation says.
fn state(operation: &Value, raw: &str) -> State {
    let word = State::from_word(raw);
    let is_done = operation.get("done") == Some(&Value::Bool(true));
    if word.is_terminal() || !is_done {
        return word;
    }
    match wire::field(operation, "error") {
        Some(error) if wire::count(error, "code") == Some(CANCELLED) => State::Cancelled,
        Some(_) => State::Failed,
        None => State::Succeeded,
    }
}

/// Tag and name as [`crate::Provider::create`] put them together.
fn name(display_name: Option<String>) -> (Option<String>, Option<String>) {
    let Some(full) = display_name else { return (None, None) };
    let Some(tagged) = full.strip_prefix(TAG) else { return (None, Some(full)) };
    let (tag, name) = tagged.split_once(' ').unwrap_or((tagged, ""));
    (Some(tag.to_owned()), (!name.is_empty()).then(|| name.to_owned()))
}

/// Integers are texts here, and zeros are left out.
fn counts(stats: &Value) -> Option<Counts> {
    Some(Counts {
        total: wire::count(stats, "requestCount")?,
        completed: wire::count(stats, "successfulRequestCount").unwrap_or(0),
        failed: wire::count(stats, "failedRequestCount").unwrap_or(0),
    })
}

/// In the answer of the operation, in its metadata, or in both.
fn results(operation: &Value, metadata: &Value, id: &str) -> Option<Source> {
    let places = || [operation.get("response"), metadata.get("output")].into_iter().flatten();
    let file = places().find_map(|place| wire::text(place, "responsesFile"));
    let is_inline = || places().any(|place| wire::field(place, "inlinedResponses").is_some());
    file.map(Source::File).or_else(|| is_inline().then(|| Source::Inline(id.to_owned())))
}

fn error(value: &Value) -> BatchError {
    BatchError {
        code: wire::text(value, "status").or_else(|| wire::count(value, "code").map(|code| code.to_string())),
        message: wire::text(value, "message").unwrap_or_default(),
        line: None,
    }
}

/// Results inside an operation as the lines that a file of results would have.
pub(super) fn inline_lines(operation: &Value) -> Vec<u8> {
    let metadata = wire::field(operation, "metadata").unwrap_or(operation);
    let places = [operation.get("response"), metadata.get("output")];
    let inlined = places.into_iter().flatten().find_map(|place| wire::field(place, "inlinedResponses"));
    let Some(inlined) = inlined else { return Vec::new() };
    let items = inlined.as_array().map_or_else(|| wire::items(inlined, "inlinedResponses"), Vec::as_slice);
    let mut lines = Vec::new();
    for (index, item) in items.iter().enumerate() {
        // Without keys the order is all there is.
        let key = item.get("metadata").and_then(|metadata| wire::text(metadata, "key"));
        let mut line = json!({"key": key.unwrap_or_else(|| index.to_string())});
        for part in ["response", "error"] {
            if let Some(value) = wire::field(item, part) {
                line[part] = value.clone();
            }
        }
        lines.extend_from_slice(line.to_string().as_bytes());
        lines.push(b'\n');
    }
    lines
}

/// A file, with or without `{"file": …}` around it.
pub(super) fn remote_file(value: &Value) -> Option<RemoteFile> {
    let file = wire::field(value, "file").unwrap_or(value);
    Some(RemoteFile {
        id: wire::text(file, "name")?,
        bytes: wire::count(file, "sizeBytes"),
        created_at: wire::time(file, "createTime"),
        expires_at: wire::time(file, "expirationTime"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_under_way_is_read() {
        let read = batch(&json!({
            "name": "batches/b1",
            "metadata": {
                "@type": "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch",
                "model": "models/gemini-2.5-flash", "displayName": "belay:job-7 Lamps and more",
                "createTime": "2025-12-04T10:00:00.123456789Z", "updateTime": "2025-12-04T10:00:05Z",
                "batchStats": {"requestCount": "12", "pendingRequestCount": "9", "successfulRequestCount": "3"},
                "state": "BATCH_STATE_RUNNING", "name": "batches/b1"
            }
        }))
        .unwrap();
        assert_eq!((read.state, read.raw_state.as_str()), (State::Running, "BATCH_STATE_RUNNING"));
        assert_eq!(read.counts, Some(Counts { total: 12, completed: 3, failed: 0 }));
        assert_eq!((read.tag.as_deref(), read.display_name.as_deref()), (Some("job-7"), Some("Lamps and more")));
        assert_eq!(read.model.as_deref(), Some("gemini-2.5-flash"));
        assert_eq!(read.created_at, Some(1_764_842_400_123));
        assert_eq!(read.ended_at, None);
    }

    #[test]
    fn results_are_found_in_either_place() {
        let source = |value: Value| batch(&value).unwrap().outputs.results;
        let file = Some(Source::File("files/batch-b1".to_owned()));
        let there = json!({"responsesFile": "files/batch-b1"});
        assert_eq!(source(json!({"name": "batches/b1", "metadata": {"output": there}})), file);
        assert_eq!(source(json!({"name": "batches/b1", "metadata": {}, "done": true, "response": there})), file);
        let inline = json!({"inlinedResponses": {"inlinedResponses": []}});
        let inside = Some(Source::Inline("batches/b1".to_owned()));
        assert_eq!(source(json!({"name": "batches/b1", "metadata": {"output": inline}})), inside);
        assert_eq!(source(json!({"name": "batches/b1", "metadata": {"output": null}})), None);
    }

    #[test]
    fn done_decides_where_the_state_says_nothing() {
        let state = |value: Value| batch(&value).unwrap().state;
        let cancelled = json!({"name": "batches/b", "done": true, "error": {"code": 1, "message": "m"},
            "metadata": {"state": "BATCH_STATE_RUNNING"}});
        assert_eq!(state(cancelled), State::Cancelled);
        let failed = json!({"name": "batches/b", "done": true, "error": {"code": 13}, "metadata": {}});
        assert_eq!(state(failed), State::Failed);
        assert_eq!(state(json!({"name": "batches/b", "done": true, "response": {}})), State::Succeeded);
        assert_eq!(state(json!({"name": "batches/b", "metadata": {"state": "JOB_STATE_EXPIRED"}})), State::Expired);
        assert_eq!(state(json!({"name": "batches/b"})), State::Unknown);
    }

    #[test]
    fn inline_results_become_lines() {
        let items = json!([{"metadata": {"key": "r1"}, "response": {"candidates": []}}, {"error": {"code": 3}}]);
        for place in [json!({"inlinedResponses": {"inlinedResponses": items}}), json!({"inlinedResponses": items})] {
            let text = String::from_utf8(inline_lines(&json!({"response": place}))).unwrap();
            let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!(lines[0], json!({"key": "r1", "response": {"candidates": []}}));
            assert_eq!(lines[1], json!({"key": "1", "error": {"code": 3}}));
        }
    }
}
