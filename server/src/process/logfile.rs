//! Writing the log of a run. See [`log`](super::log) for its form and for reading it.
//!
//! A command must never wait for its log, and never fail because of it: what cannot be written is dropped, counted,
//! and the count is written as soon as writing works again.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::now;

/// Longest line; longer ones are cut into several.
pub(crate) const MAX_LINE: usize = 8 * 1024;
/// How much of the beginning of a log is kept.
const HEAD_BYTES: u64 = 32 << 20;
/// Size of each of the two rotating parts that hold its end.
const TAIL_BYTES: u64 = 16 << 20;

/// The part of a log that its path with `number` appended holds; 0 is the beginning.
pub(crate) fn part_path(path: &Path, number: u8) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

/// The log of a run, open for writing. No file is made before there is something to write.
pub(crate) struct LogFile {
    path: PathBuf,
    limits: (u64, u64),
    file: Option<File>,
    /// Which part is written: 0, 1 or 2.
    part: u8,
    part_len: u64,
    /// Everything that was ever written, also what has been rotated away since.
    written: u64,
    kept: u64,
    dropped: u64,
    why_dropped: String,
}

impl LogFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        LogFile::with_limits(path, HEAD_BYTES, TAIL_BYTES)
    }

    pub(crate) fn with_limits(path: PathBuf, head: u64, tail: u64) -> Self {
        LogFile {
            path,
            limits: (head, tail),
            file: None,
            part: 0,
            part_len: 0,
            written: 0,
            kept: 0,
            dropped: 0,
            why_dropped: String::new(),
        }
    }

    /// Bytes on disk now.
    pub(crate) fn kept(&self) -> u64 {
        self.kept
    }

    /// A line in Belay's own name.
    pub(crate) fn say(&mut self, text: &str) {
        let mut lines = Vec::new();
        own_line(&mut lines, text);
        self.append(&lines);
    }

    /// Appends whole lines.
    pub(crate) fn append(&mut self, lines: &[u8]) {
        if lines.is_empty() {
            return;
        }
        if self.dropped > 0 {
            let mut with_note = Vec::with_capacity(lines.len() + 120);
            let note = format!("{} bytes of output could not be written here: {}", self.dropped, self.why_dropped);
            line(&mut with_note, now().0, b'b', note.as_bytes());
            with_note.extend_from_slice(lines);
            if self.try_append(&with_note).is_ok() {
                self.dropped = 0;
            } else {
                self.dropped += lines.len() as u64;
            }
        } else if let Err(error) = self.try_append(lines) {
            self.dropped = lines.len() as u64;
            self.why_dropped = error.to_string();
        }
    }

    fn try_append(&mut self, lines: &[u8]) -> io::Result<()> {
        let limit = if self.part == 0 { self.limits.0 } else { self.limits.1 };
        if self.file.is_none() {
            self.file = Some(open_new(&part_path(&self.path, self.part))?);
        } else if self.part_len > 0 && self.part_len + lines.len() as u64 > limit {
            self.next_part()?;
        }
        self.write(lines)
    }

    /// Closes the full part and opens the next; of the parts that hold the end the older one is given up.
    fn next_part(&mut self) -> io::Result<()> {
        let next = self.part.min(1) + 1;
        if self.part == 2 {
            let given_up = fs::metadata(part_path(&self.path, 1)).map_or(0, |metadata| metadata.len());
            fs::rename(part_path(&self.path, 2), part_path(&self.path, 1))?;
            self.kept -= given_up.min(self.kept);
            // Should opening fail, the next attempt must make part 2 anew, not rotate again.
            self.file = None;
            self.part_len = 0;
        }
        self.file = Some(open_new(&part_path(&self.path, next))?);
        self.part = next;
        self.part_len = 0;
        let mut header = Vec::new();
        line(&mut header, now().0, b'@', self.written.to_string().as_bytes());
        self.write(&header)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(file) = self.file.as_mut() else { return Err(io::ErrorKind::NotFound.into()) };
        if let Err(error) = file.write_all(bytes) {
            // Half a line must not run into the next one.
            let _ = file.set_len(self.part_len);
            return Err(error);
        }
        self.part_len += bytes.len() as u64;
        self.written += bytes.len() as u64;
        self.kept += bytes.len() as u64;
        Ok(())
    }
}

fn open_new(path: &Path) -> io::Result<File> {
    let open = || OpenOptions::new().append(true).create(true).open(path);
    let file = match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
            open()?
        }
        other => other?,
    };
    file.set_len(0)?;
    Ok(file)
}

fn line(target: &mut Vec<u8>, millis: i64, stream: u8, text: &[u8]) {
    target.extend_from_slice(millis.to_string().as_bytes());
    target.extend_from_slice(&[b' ', stream, b' ']);
    target.extend_from_slice(text);
    target.push(b'\n');
}

/// A line in Belay's own name. What it quotes, like the name of a file, may hold line ends: no line begins there.
fn own_line(target: &mut Vec<u8>, text: &str) {
    line(target, now().0, b'b', text.replace('\n', "\\n").as_bytes());
}

/// Adds lines in Belay's own name at the end of a log that nobody writes to any more. One that is not there stays so.
pub(crate) fn add_to(path: &Path, texts: &[String]) -> io::Result<()> {
    let Some(last) = (0..=2).rev().map(|number| part_path(path, number)).find(|part| part.exists()) else {
        return Ok(());
    };
    let mut lines = Vec::new();
    for text in texts {
        own_line(&mut lines, text);
    }
    OpenOptions::new().append(true).open(last)?.write_all(&lines)
}

/// Cuts what a command writes into lines.
pub(crate) struct Lines {
    stream: u8,
    open: Vec<u8>,
}

impl Lines {
    /// `stream`: `o` or `e`.
    pub(crate) fn new(stream: u8) -> Self {
        Lines { stream, open: Vec::new() }
    }

    /// Takes what was read and appends the lines that are complete to `target`.
    pub(crate) fn take(&mut self, bytes: &[u8], millis: i64, target: &mut Vec<u8>) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, complete) = piece.strip_suffix(b"\n").map_or((piece, false), |text| (text, true));
            let mut text = text;
            while self.open.len() + text.len() > MAX_LINE {
                let (now, later) = text.split_at(MAX_LINE - self.open.len());
                self.open.extend_from_slice(now);
                self.finish(millis, target);
                text = later;
            }
            self.open.extend_from_slice(text);
            if complete {
                if self.open.last() == Some(&b'\r') {
                    self.open.pop();
                }
                line(target, millis, self.stream, &self.open);
                self.open.clear();
            }
        }
    }

    /// Ends a line that was left open.
    pub(crate) fn finish(&mut self, millis: i64, target: &mut Vec<u8>) {
        if !self.open.is_empty() {
            line(target, millis, self.stream, &self.open);
            self.open.clear();
        }
    }
}
