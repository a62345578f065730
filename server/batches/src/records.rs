//! Reads which batches other tools wrote down, so that they can be adopted.
//!
//! Two forms are taken, both JSON:
//! - **A folder** of `{job_id}.json`, one record a file. A record without an id of its own has the file's name. A tracking
//!   file may lie there, too: an object of nothing but objects is no record.
//! - **A tracking file**: a list of records, or an object whose values are records (the name of a field is then the id of a
//!   record that has none), either also under one of the fields `batches`, `jobs`, `data`, `items`. One record alone is
//!   taken too.
//!
//! A record is an object. Taken from it, under the first of these names that it has:
//!
//! | what | names |
//! |---|---|
//! | the provider's id | `batch_id`, `provider_batch_id`, `remote_id`, `id`, `name` (if it begins with `batches/`), `job_id` |
//! | which shape | `provider`, `shape`; else by the id: `batches/…` is Gemini, `batch_…` OpenAI |
//! | name | `display_name`, `displayName`, `title`, `description`, `name`, `metadata.name` |
//! | created | `created_at`, `createTime`, `created`, `submitted_at`: seconds since 1970 or RFC 3339 |
//!
//! What is no record is told, and does not keep the others from being read.

use std::{collections::HashSet, fs, io::Read as _, path::Path};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Shape, UnixMillis, requests::ReadError, wire};

/// Larger files are no records.
const LARGEST: u64 = 64 << 20;

/// Records that are read at once.
const MOST: usize = 100_000;

/// A batch that another tool made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The provider's id.
    pub batch_id: String,
    /// None when neither the record nor its id tells.
    pub shape: Option<Shape>,
    pub name: Option<String>,
    pub created_at: Option<UnixMillis>,
}

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Records {
    /// Each id once.
    pub records: Vec<Record>,
    /// Sentences about what could not be read.
    pub faults: Vec<String>,
    #[serde(skip)]
    seen: HashSet<String>,
}

impl Records {
    /// Reads a tracking file that is there already as text.
    #[must_use]
    pub fn parse(text: &[u8]) -> Records {
        let mut records = Records::default();
        records.take_text("the file", text, None);
        records
    }

    fn take_text(&mut self, what: &str, text: &[u8], id: Option<&str>) {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        match serde_json::from_slice(text) {
            Ok(value) => self.take(what, &value, id, true),
            Err(error) => self.faults.push(format!("{what} is no JSON: {error}.")),
        }
    }

    /// `id` is for a record that has none; a list may be in a list's field but not deeper.
    fn take(&mut self, what: &str, value: &Value, id: Option<&str>, is_top: bool) {
        if self.records.len() >= MOST {
            return;
        }
        match value {
            Value::Array(items) if is_top => {
                for (index, item) in items.iter().enumerate() {
                    self.take(&format!("record {} of {what}", index + 1), item, None, false);
                }
            }
            Value::Object(fields) if is_top && !has_id(value) => {
                let inside = ["batches", "jobs", "data", "items"].iter().find_map(|name| wire::field(value, name));
                match inside {
                    Some(Value::Object(named)) => self.take_named(what, named),
                    Some(inside) => self.take(what, inside, None, true),
                    None if id.is_some() && (fields.is_empty() || !fields.values().all(Value::is_object)) => {
                        self.push(what, value, id);
                    }
                    None => self.take_named(what, fields),
                }
            }
            _ => self.push(what, value, id),
        }
    }

    fn take_named(&mut self, what: &str, named: &serde_json::Map<String, Value>) {
        for (id, item) in named {
            self.take(&format!("`{id}` of {what}"), item, Some(id), false);
        }
    }

    fn push(&mut self, what: &str, value: &Value, id: Option<&str>) {
        match record(value, id) {
            Some(record) => {
                if self.seen.insert(record.batch_id.clone()) {
                    self.records.push(record);
                }
            }
            None => self.faults.push(format!("{what} names no batch.")),
        }
    }
}

/// Reads a folder of records or a tracking file.
///
/// # Errors
/// The path cannot be read. What is wrong *in* it is in [`Records::faults`].
pub fn read(path: &Path) -> Result<Records, ReadError> {
    let fault = ReadError::of(path);
    let mut records = Records::default();
    if !fs::metadata(path).map_err(&fault)?.is_dir() {
        records.take_text("the file", &content(path).map_err(&fault)?, None);
        return Ok(records);
    }
    let entries = fs::read_dir(path).map_err(&fault)?.collect::<Result<Vec<_>, _>>().map_err(&fault)?;
    let mut files: Vec<_> = entries.iter().map(std::fs::DirEntry::path).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json")));
    files.sort();
    for file in files.iter().take(MOST) {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let id = file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        match content(file) {
            Ok(text) => records.take_text(&name, &text, id.as_deref()),
            Err(error) => records.faults.push(format!("{name} cannot be read: {error}.")),
        }
    }
    Ok(records)
}

fn content(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    fs::File::open(path)?.take(LARGEST + 1).read_to_end(&mut text)?;
    if text.len() as u64 > LARGEST {
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, "too large for records"));
    }
    Ok(text)
}

/// Names of the id, in the order in which they are believed.
const IDS: [&str; 4] = ["batch_id", "provider_batch_id", "remote_id", "id"];

fn has_id(value: &Value) -> bool {
    own_id(value).is_some()
}

fn own_id(value: &Value) -> Option<String> {
    let gemini = || wire::text(value, "name").filter(|name| name.starts_with("batches/"));
    IDS.iter().find_map(|name| wire::text(value, name)).or_else(gemini).or_else(|| wire::text(value, "job_id"))
}

fn record(value: &Value, id: Option<&str>) -> Option<Record> {
    if !value.is_object() {
        return None;
    }
    let batch_id = own_id(value).or_else(|| id.map(str::to_owned))?;
    let named = ["display_name", "displayName", "title", "description", "name"].iter();
    let in_metadata = || wire::text(value.get("metadata")?, "name");
    let name = named.filter_map(|name| wire::text(value, name)).find(|name| *name != batch_id).or_else(in_metadata);
    let told = ["provider", "shape"].iter().find_map(|name| wire::text(value, name));
    let shape = match told.as_deref().map(str::to_ascii_lowercase).as_deref() {
        Some("openai" | "openai_batch") => Some(Shape::Openai),
        Some("gemini" | "google" | "gemini_batch") => Some(Shape::Gemini),
        Some(_) | None if batch_id.starts_with("batches/") => Some(Shape::Gemini),
        Some(_) | None if batch_id.starts_with("batch_") => Some(Shape::Openai),
        Some(_) | None => None,
    };
    let times = ["created_at", "createTime", "created", "submitted_at"];
    let created_at = times.iter().find_map(|name| wire::time(value, name));
    Some(Record { batch_id, shape, name, created_at })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(text: &str) -> Vec<String> {
        Records::parse(text.as_bytes()).records.into_iter().map(|record| record.batch_id).collect()
    }

    #[test]
    fn a_tracking_file_has_one_of_several_forms() {
        assert_eq!(ids(r#"[{"batch_id":"batch_1"},{"id":"batch_2"}]"#), ["batch_1", "batch_2"]);
        assert_eq!(ids(r#"{"batches":[{"id":"batch_1"}]}"#), ["batch_1"]);
        assert_eq!(ids(r#"{"jobs":{"batch_1":{"created_at":5},"batch_2":{}}}"#), ["batch_1", "batch_2"]);
        assert_eq!(ids(r#"{"batch_1":{"provider":"openai"}}"#), ["batch_1"]);
        assert_eq!(ids(r#"{"id":"batch_1","name":"n"}"#), ["batch_1"]);
        assert_eq!(ids(r#"[{"id":"batch_1"},{"id":"batch_1"}]"#), ["batch_1"], "each once");
    }

    #[test]
    fn a_record_is_read_with_what_it_has() {
        let text = r#"[{"name":"batches/7","displayName":"Lamps","createTime":"2025-12-04T10:00:00Z"},
            {"id":"x1","provider":"OpenAI","name":"Shoes","created_at":1764842400}]"#;
        let records = Records::parse(text.as_bytes()).records;
        let gemini = Record {
            batch_id: "batches/7".to_owned(),
            shape: Some(Shape::Gemini),
            name: Some("Lamps".to_owned()),
            created_at: Some(1_764_842_400_000),
        };
        let openai = Record {
            batch_id: "x1".to_owned(),
            shape: Some(Shape::Openai),
            name: Some("Shoes".to_owned()),
            created_at: Some(1_764_842_400_000),
        };
        assert_eq!(records, [gemini, openai]);
    }

    #[test]
    fn what_is_no_record_is_told_and_harms_nobody() {
        let read = Records::parse(br#"[{"id":"batch_1"},7,{"name":"no id"}]"#);
        assert_eq!(read.records.len(), 1);
        assert_eq!(read.faults, ["record 2 of the file names no batch.", "record 3 of the file names no batch."]);
        assert!(Records::parse(b"nonsense").faults[0].starts_with("the file is no JSON: "));
    }

    #[test]
    fn a_folder_has_a_record_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("batch_b.json", r#"{"status":"in_progress","created_at":5}"#);
        write("a.json", r#"{"job_id":"batch_a"}"#);
        write("batch_e.json", "{}");
        write("c.json", "{");
        write("TRACKED.JSON", r#"{"batch_t":{"status":"done"},"batch_u":{}}"#);
        write("notes.txt", "{}");
        let read = read(folder.path()).unwrap();
        assert_eq!(
            read.records.iter().map(|record| record.batch_id.as_str()).collect::<Vec<_>>(),
            ["batch_t", "batch_u", "batch_a", "batch_b", "batch_e"]
        );
        assert_eq!(read.faults.len(), 1);
        assert!(read.faults[0].starts_with("c.json is no JSON: "));
    }
}
