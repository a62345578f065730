//! Checks a file of requests before anything is sent: line by line, in bounded memory, with every fault's line.

mod shapes;

use std::{
    collections::HashMap,
    fmt,
    hash::RandomState,
    io,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use serde::Serialize;

use self::shapes::Request;
use crate::{
    Shape,
    ids::{IdHash, hash},
    lines::{LONGEST, Line, Lines},
};

/// Faults that are kept with their line; the rest is counted.
const FAULTS_KEPT: usize = 100;

/// Bytes of a token, on the average of English text.
const BYTES_OF_A_TOKEN: u64 = 4;

/// What a provider takes.
#[derive(Clone, Debug)]
pub struct Rules {
    pub shape: Shape,
    pub max_bytes: u64,
    pub max_requests: u64,
    /// Endpoints that requests may name (OpenAI's shape).
    pub endpoints: Vec<String>,
    /// Texts that all requests to `/v1/embeddings` together may hold.
    pub max_embeddings: u64,
}

impl Rules {
    /// The limits that OpenAI and Google name for their own services.
    #[must_use]
    pub fn of(shape: Shape) -> Rules {
        let endpoints = [
            "/v1/responses",
            "/v1/chat/completions",
            "/v1/embeddings",
            "/v1/completions",
            "/v1/moderations",
            "/v1/images/generations",
            "/v1/images/edits",
            "/v1/videos",
        ];
        match shape {
            Shape::Openai => Rules {
                shape,
                max_bytes: 200 << 20,
                max_requests: 50_000,
                endpoints: endpoints.map(str::to_owned).to_vec(),
                max_embeddings: 50_000,
            },
            Shape::Gemini => Rules {
                shape,
                max_bytes: 2 << 30,
                max_requests: u64::MAX,
                endpoints: Vec::new(),
                max_embeddings: u64::MAX,
            },
        }
    }
}

/// A file as it was checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    pub requests: u64,
    pub bytes: u64,
    /// What all requests name. For Gemini they need not.
    pub model: Option<String>,
    /// `/v1/chat/completions`; for Gemini `generateContent` or `embedContent`.
    pub endpoint: Option<String>,
    /// An estimate: bytes of the texts in the prompts divided by 4.
    pub input_tokens: u64,
    /// Sum of the upper bounds of the answers, when every request has one.
    pub max_output_tokens: Option<u64>,
    /// The first 100.
    pub faults: Vec<Fault>,
    pub fault_count: u64,
}

impl Checked {
    /// Nothing is wrong with it.
    #[must_use]
    pub fn is_sendable(&self) -> bool {
        self.fault_count == 0
    }

    fn fault(&mut self, line: Option<u64>, message: impl Into<String>) {
        self.fault_count += 1;
        if self.faults.len() < FAULTS_KEPT {
            self.faults.push(Fault { line, message: message.into() });
        }
    }
}

/// Why a file cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// From 1; none for the file as a whole.
    pub line: Option<u64>,
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// Why there is no result at all.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("stopped")]
    Stopped,
}

impl ReadError {
    pub(crate) fn of(path: &Path) -> impl Fn(io::Error) -> ReadError {
        move |source| ReadError::Io { what: path.display().to_string(), source }
    }

    pub(crate) fn unless(stop: &AtomicBool) -> Result<(), ReadError> {
        if stop.load(Ordering::Relaxed) { Err(ReadError::Stopped) } else { Ok(()) }
    }
}

/// Reads a whole file and says what is in it and what is wrong with it. Takes as long as the disk does: not for a thread
/// that others wait for.
///
/// # Errors
/// The file cannot be read, or `stop` became true. What is wrong *in* the file is in the answer.
pub fn check(path: &Path, rules: &Rules, stop: &AtomicBool) -> Result<Checked, ReadError> {
    let fault = ReadError::of(path);
    let metadata = std::fs::metadata(path).map_err(&fault)?;
    if !metadata.is_file() {
        return Err(fault(io::Error::new(io::ErrorKind::InvalidInput, "is not a file")));
    }
    let mut checked = Checked { bytes: metadata.len(), max_output_tokens: Some(0), ..Checked::default() };
    if checked.bytes > rules.max_bytes {
        let (has, most) = (megabytes(checked.bytes), megabytes(rules.max_bytes));
        checked.fault(None, format!("The file has {has} MB; the provider takes at most {most} MB."));
        return Ok(checked);
    }
    let mut lines = Lines::open(path).map_err(&fault)?;
    let mut checker =
        Checker { rules, checked, ids: HashMap::new(), state: RandomState::new(), blank: None, texts: 0, line: 0 };
    while let Some(line) = lines.next().map_err(&fault)? {
        let is_first = checker.line == 0;
        checker.line += 1;
        match line {
            Line::TooLong => checker.too_long(),
            Line::Text(text) if is_first && begins_with_mark(text) => checker.mark(),
            Line::Text(text) => checker.text(text),
        }
        if checker.line.is_multiple_of(256) {
            ReadError::unless(stop)?;
        }
    }
    Ok(checker.finish())
}

/// A byte order mark of UTF-8 or UTF-16.
fn begins_with_mark(line: &[u8]) -> bool {
    [b"\xef\xbb\xbf".as_slice(), b"\xff\xfe", b"\xfe\xff"].iter().any(|mark| line.starts_with(mark))
}

/// In millions of bytes, rounded up.
fn megabytes(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

/// What is known so far.
struct Checker<'a> {
    rules: &'a Rules,
    checked: Checked,
    /// In which line an id was seen.
    ids: HashMap<IdHash, u64>,
    state: RandomState,
    /// Blank lines are forgiven at the end of a file only.
    blank: Option<u64>,
    texts: u64,
    /// From 1.
    line: u64,
}

impl Checker<'_> {
    fn fault(&mut self, message: impl Into<String>) {
        self.checked.fault(Some(self.line), message);
    }

    fn too_long(&mut self) {
        self.checked.requests += 1;
        self.fault(format!("is longer than {} MB.", LONGEST >> 20));
    }

    fn mark(&mut self) {
        self.checked.requests += 1;
        self.fault("begins with a byte order mark. Save the file as UTF-8 without one.");
    }

    fn text(&mut self, text: &[u8]) {
        if text.trim_ascii().is_empty() {
            self.blank.get_or_insert(self.line);
            return;
        }
        if let Some(blank) = self.blank.take() {
            self.checked.fault(Some(blank), "is blank.");
        }
        self.checked.requests += 1;
        match shapes::read(self.rules, text) {
            Ok(request) => self.request(&request),
            Err(message) => self.fault(message),
        }
    }

    fn request(&mut self, request: &Request<'_>) {
        let first = *self.ids.entry(hash(&self.state, &request.id)).or_insert(self.line);
        if first != self.line {
            let (name, id) = (request.id_name, shapes::shown(&request.id));
            self.fault(format!("`{name}` `{id}` is that of line {first} already."));
        }
        let mut mixed = Vec::new();
        for (what, of_all, of_this) in [
            ("model", &mut self.checked.model, &request.model),
            ("endpoint", &mut self.checked.endpoint, &request.endpoint),
        ] {
            match (of_all.as_deref(), of_this.as_deref()) {
                (None, Some(this)) => *of_all = Some(this.to_owned()),
                (Some(all), Some(this)) if all != this => {
                    let (this, all) = (shapes::shown(this), shapes::shown(all));
                    mixed.push(format!("names the {what} `{this}`, lines before it `{all}`: a batch has one."));
                }
                (Some(_) | None, None) | (Some(_), Some(_)) => {}
            }
        }
        for message in mixed {
            self.fault(message);
        }
        self.texts += request.texts;
        self.checked.input_tokens += request.prompt_bytes.div_ceil(BYTES_OF_A_TOKEN);
        self.checked.max_output_tokens = self
            .checked
            .max_output_tokens
            .zip(request.max_output_tokens)
            .map(|(sum, of_this)| sum.saturating_add(of_this));
    }

    fn finish(self) -> Checked {
        let Checker { rules, mut checked, texts, .. } = self;
        if checked.requests == 0 {
            checked.fault(None, "The file has no requests.");
        }
        if checked.requests > rules.max_requests {
            let (has, most) = (checked.requests, rules.max_requests);
            checked.fault(None, format!("The file has {has} requests; the provider takes at most {most} in a batch."));
        }
        if checked.endpoint.as_deref() == Some("/v1/embeddings") && texts > rules.max_embeddings {
            let most = rules.max_embeddings;
            checked.fault(None, format!("The requests hold {texts} texts to embed; a batch takes at most {most}."));
        }
        if checked.requests == 0 || !checked.is_sendable() {
            // A bound of a part is no bound.
            checked.max_output_tokens = None;
        }
        checked
    }
}

#[cfg(test)]
mod tests;
