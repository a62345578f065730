//! Joins what a provider answered to what it was asked, by id: results come in any order, in two files, for requests that
//! nobody sent, or twice. Memory holds where each result lies, never a result.

mod answer;

use std::{
    collections::HashMap,
    fs::File,
    hash::RandomState,
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use serde::{Deserialize, Serialize};

use self::answer::{Answer, Head};
use crate::{
    Usage,
    ids::{IdHash, hash},
    lines::{Line, Lines, Spots},
    requests::ReadError,
};

/// What is joined, and where it goes. What is at the three places is replaced.
#[derive(Clone, Copy, Debug)]
pub struct Join<'a> {
    /// The file that was sent. None for a batch that somebody else sent: then each result is a row, in their order.
    pub requests: Option<&'a Path>,
    /// Results and errors as the provider gave them.
    pub outputs: &'a [PathBuf],
    /// What a request without an answer is called: how the batch ended decides it.
    pub unanswered: RowStatus,
    /// A [`Row`] a line, as JSON, in the order of the requests.
    pub rows: &'a Path,
    /// The same as CSV.
    pub table: &'a Path,
    /// The requests that did not succeed, byte for byte: what is sent to do only those again.
    pub remaining: &'a Path,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowStatus {
    Succeeded,
    Failed,
    Cancelled,
    Expired,
    /// There is no answer, and the provider does not say why.
    Missing,
}

/// A request with its result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// `custom_id` or `key`.
    pub id: String,
    pub status: RowStatus,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub http_status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub input_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub output_tokens: Option<u64>,
    /// The beginning of the answer, white space drawn together.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub first_words: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
}

/// What a join found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    pub succeeded: u64,
    pub failed: u64,
    pub cancelled: u64,
    pub expired: u64,
    pub missing: u64,
    /// Results that name a request which was not sent.
    pub unknown: u64,
    /// Results for a request that had one already. A success is kept before a failure, else the first.
    pub repeated: u64,
    /// Lines of results that cannot be read: no JSON, no id, or longer than anything.
    pub unreadable: u64,
    /// Lines of results that can.
    pub readable: u64,
    /// Tokens of the rows, where results name them. None when none does.
    pub usage: Option<Usage>,
    /// Rows that name their tokens.
    pub with_usage: u64,
}

impl Totals {
    /// All rows.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.succeeded + self.remaining()
    }

    /// Rows that did not succeed: as many requests are in [`Join::remaining`].
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.failed + self.cancelled + self.expired + self.missing
    }

    /// Results that belong to no row.
    #[must_use]
    pub fn strangers(&self) -> u64 {
        self.unknown + self.repeated
    }

    fn add(&mut self, row: &Row, usage: Option<Usage>) {
        *match row.status {
            RowStatus::Succeeded => &mut self.succeeded,
            RowStatus::Failed => &mut self.failed,
            RowStatus::Cancelled => &mut self.cancelled,
            RowStatus::Expired => &mut self.expired,
            RowStatus::Missing => &mut self.missing,
        } += 1;
        if let Some(usage) = usage {
            *self.usage.get_or_insert_default() += usage;
            self.with_usage += 1;
        }
    }
}

/// Joins. Takes as long as the disk does: not for a thread that others wait for.
///
/// # Errors
/// A file cannot be read or written, or `stop` became true. What was written by then is a part.
pub fn join(join: &Join<'_>, stop: &AtomicBool) -> Result<Totals, ReadError> {
    let mut totals = Totals::default();
    let state = RandomState::new();
    let mut index = index(join.outputs, &state, &mut totals, stop)?;
    totals.readable = index.len() as u64 + totals.repeated;
    let mut outputs = open(join.outputs)?;
    let mut writer = Writer::create(join)?;
    match join.requests {
        Some(path) => {
            let fault = ReadError::of(path);
            let mut requests = Lines::open(path).map_err(&fault)?;
            while let Some(line) = requests.next().map_err(&fault)? {
                // What was sent was checked; what has no id now is no request.
                let Line::Text(text) = line else { continue };
                let Some(id) = Head::read(text).and_then(|head| head.id) else { continue };
                let place = index.get_mut(&hash(&state, &id)).filter(|place| !place.is_used);
                let answer = match place {
                    Some(place) => {
                        place.is_used = true;
                        Some(read_at(&mut outputs, join.outputs, place)?)
                    }
                    None => None,
                };
                let (row, usage) = row_of(id.into_owned(), answer, join.unanswered);
                totals.add(&row, usage);
                writer.put(&row, text)?;
                if requests.number().is_multiple_of(64) {
                    ReadError::unless(stop)?;
                }
            }
            totals.unknown = index.values().filter(|place| !place.is_used).count() as u64;
        }
        None => {
            let mut places: Vec<_> = index.into_values().collect();
            places.sort_unstable_by_key(|place| (place.output, place.begin));
            for place in &places {
                let answer = read_at(&mut outputs, join.outputs, place)?;
                let id = answer.id.clone();
                let (row, usage) = row_of(id, Some(answer), join.unanswered);
                totals.add(&row, usage);
                writer.put(&row, b"")?;
                ReadError::unless(stop)?;
            }
        }
    }
    writer.finish()?;
    Ok(totals)
}

/// Where a result lies.
struct Place {
    output: usize,
    begin: u64,
    length: usize,
    is_success: bool,
    is_used: bool,
}

/// Reads all results once, for their ids.
fn index(
    outputs: &[PathBuf],
    state: &RandomState,
    totals: &mut Totals,
    stop: &AtomicBool,
) -> Result<HashMap<IdHash, Place>, ReadError> {
    let mut index: HashMap<IdHash, Place> = HashMap::new();
    for (output, path) in outputs.iter().enumerate() {
        let fault = ReadError::of(path);
        let mut lines = Lines::open(path).map_err(&fault)?;
        while let Some(line) = lines.next().map_err(&fault)? {
            let head = match line {
                Line::Text(text) if text.trim_ascii().is_empty() => continue,
                Line::Text(text) => {
                    Head::read(text).and_then(|head| Some((hash(state, &head.id?), head.is_success, text.len())))
                }
                Line::TooLong => None,
            };
            let begin = lines.begin();
            if lines.number().is_multiple_of(256) {
                ReadError::unless(stop)?;
            }
            let Some((id, is_success, length)) = head else {
                totals.unreadable += 1;
                continue;
            };
            let place = Place { output, begin, length, is_success, is_used: false };
            match index.entry(id) {
                std::collections::hash_map::Entry::Vacant(entry) => {
                    entry.insert(place);
                }
                std::collections::hash_map::Entry::Occupied(mut entry) => {
                    totals.repeated += 1;
                    if place.is_success && !entry.get().is_success {
                        entry.insert(place);
                    }
                }
            }
        }
    }
    Ok(index)
}

fn open(outputs: &[PathBuf]) -> Result<Vec<Spots>, ReadError> {
    outputs.iter().map(|path| Spots::open(path).map_err(ReadError::of(path))).collect()
}

fn read_at(outputs: &mut [Spots], paths: &[PathBuf], place: &Place) -> Result<Answer, ReadError> {
    let fault = ReadError::of(&paths[place.output]);
    let line = outputs[place.output].read(place.begin, place.length).map_err(&fault)?;
    // It could be read a moment ago.
    Answer::read(line)
        .ok_or_else(|| fault(std::io::Error::new(std::io::ErrorKind::InvalidData, "changed while it was read")))
}

fn row_of(id: String, answer: Option<Answer>, unanswered: RowStatus) -> (Row, Option<Usage>) {
    let Some(answer) = answer else {
        let nothing = Row {
            id,
            status: unanswered,
            http_status: None,
            input_tokens: None,
            output_tokens: None,
            first_words: None,
            error: None,
        };
        return (nothing, None);
    };
    let row = Row {
        id,
        status: answer.status,
        http_status: answer.http_status,
        input_tokens: answer.usage.map(|usage| usage.input_tokens),
        output_tokens: answer.usage.map(|usage| usage.output_tokens),
        first_words: answer.first_words,
        error: answer.error,
    };
    (row, answer.usage)
}

/// The three files that a join makes.
struct Writer<'a> {
    join: &'a Join<'a>,
    rows: BufWriter<File>,
    table: csv::Writer<File>,
    remaining: BufWriter<File>,
}

impl<'a> Writer<'a> {
    fn create(join: &'a Join<'a>) -> Result<Writer<'a>, ReadError> {
        let create = |path: &Path| File::create(path).map_err(ReadError::of(path));
        let mut table = csv::WriterBuilder::new().has_headers(false).from_writer(create(join.table)?);
        let header = ["id", "status", "http_status", "input_tokens", "output_tokens", "first_words", "error"];
        table.write_record(header).map_err(|error| ReadError::of(join.table)(error.into()))?;
        let rows = BufWriter::with_capacity(1 << 18, create(join.rows)?);
        let remaining = BufWriter::with_capacity(1 << 18, create(join.remaining)?);
        Ok(Writer { join, rows, table, remaining })
    }

    fn put(&mut self, row: &Row, request: &[u8]) -> Result<(), ReadError> {
        let fault = ReadError::of(self.join.rows);
        serde_json::to_writer(&mut self.rows, row).map_err(|error| fault(error.into()))?;
        self.rows.write_all(b"\n").map_err(&fault)?;
        self.table.serialize(Columns::of(row)).map_err(|error| ReadError::of(self.join.table)(error.into()))?;
        if row.status != RowStatus::Succeeded && !request.is_empty() {
            let parts = [request, b"\n"];
            for part in parts {
                self.remaining.write_all(part).map_err(ReadError::of(self.join.remaining))?;
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(), ReadError> {
        self.rows.flush().map_err(ReadError::of(self.join.rows))?;
        self.table.flush().map_err(ReadError::of(self.join.table))?;
        self.remaining.flush().map_err(ReadError::of(self.join.remaining))
    }
}

/// A row as CSV has it: every column every time.
#[derive(Serialize)]
struct Columns<'a> {
    id: &'a str,
    status: RowStatus,
    http_status: Option<u16>,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    first_words: Option<&'a str>,
    error: Option<&'a str>,
}

impl<'a> Columns<'a> {
    fn of(row: &'a Row) -> Columns<'a> {
        Columns {
            id: &row.id,
            status: row.status,
            http_status: row.http_status,
            input_tokens: row.input_tokens,
            output_tokens: row.output_tokens,
            first_words: row.first_words.as_deref(),
            error: row.error.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests;
