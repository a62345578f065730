//! Reading the log of a run.
//!
//! A log is lines `<milliseconds> <stream> <text>`, stream `o` (standard output), `e` (standard error) or `b` (Belay).
//! Its first 32 MiB are in `<run>.log`, its end is in `<run>.log.1` and `<run>.log.2`, at most 16 MiB each; the newer
//! of them moves to `.1` when it is full. They begin with a line `<milliseconds> @ <position>`: how many bytes had been
//! written before. So a position counts what was ever written, and a reader knows how much was left out, and where.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

use app::model::{LogLine, LogPage, LogStream, Timestamp};

pub(crate) use super::logfile::add_to as add;
use super::logfile::part_path;

/// Most bytes that one answer is made of.
const MAX_READ: u64 = 1 << 20;

/// One file of a log.
struct Part {
    file: File,
    /// Position of its first byte.
    start: u64,
    len: u64,
}

impl Part {
    fn end(&self) -> u64 {
        self.start + self.len
    }

    /// Reads from `position` (inside this part) at most `limit` bytes.
    fn read_from(&mut self, position: u64, limit: u64) -> io::Result<Vec<u8>> {
        self.file.seek(SeekFrom::Start(position - self.start))?;
        let mut bytes = Vec::new();
        let length = limit.min(self.end() - position);
        (&mut self.file).take(length).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// Which lines are wanted: of one unit, and of one stream or of all.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Index that each line is given.
    pub unit: u64,
    pub stream: Option<LogStream>,
}

impl Wanted {
    /// Every line.
    #[must_use]
    pub const fn all(unit: u64) -> Self {
        Wanted { unit, stream: None }
    }
}

/// Reads on from `cursor` (none: from the beginning) at most `limit` of the wanted lines. The answer's cursor reads on
/// behind them, also when there is nothing to read yet. `truncated`: lines between `cursor` and the answer had been
/// left out. `InvalidInput` for a cursor that is none of ours.
pub fn read(path: &Path, cursor: Option<&str>, limit: usize, wanted: Wanted) -> io::Result<LogPage> {
    let mut position = match cursor {
        Some(text) => text.parse::<u64>().map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?,
        None => 0,
    };
    let mut page = Collected { wanted, items: Vec::new(), truncated: false };
    let mut budget = MAX_READ;
    for mut part in parts(path)? {
        if position >= part.end() || page.items.len() >= limit || budget == 0 {
            continue;
        }
        if position < part.start {
            page.gap(part.start - position);
            position = part.start;
        }
        let bytes = part.read_from(position, budget)?;
        let mut taken = 0;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            if page.items.len() >= limit || !line.ends_with(b"\n") {
                break;
            }
            taken += line.len() as u64;
            page.line(line);
        }
        position += taken;
        budget -= (bytes.len() as u64).min(budget);
        if taken < bytes.len() as u64 {
            break;
        }
    }
    Ok(LogPage { items: page.items, next_cursor: Some(position.to_string()), truncated: page.truncated })
}

/// The last `limit` of the wanted lines, as far as they are near the end. `truncated`: there are lines before them.
pub fn tail(path: &Path, limit: usize, wanted: Wanted) -> io::Result<LogPage> {
    let mut parts = parts(path)?;
    let end = parts.last().map_or(0, Part::end);
    let mut page = Collected { wanted, items: Vec::new(), truncated: false };
    let mut position = end.saturating_sub(MAX_READ);
    let mut next = end;
    let mut before = None;
    for part in &mut parts {
        if part.end() <= position {
            before = Some(part.end());
            continue;
        }
        if let Some(before) = before
            && before < part.start
            && position <= part.start
        {
            page.gap(part.start - before);
        }
        let from = position.max(part.start);
        let bytes = part.read_from(from, MAX_READ)?;
        let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
        next = from;
        if from > part.start {
            // Most likely the rest of a line whose beginning is not shown.
            page.truncated = true;
            next += lines.next().map_or(0, |line| line.len() as u64);
        }
        for line in lines.filter(|line| line.ends_with(b"\n")) {
            next += line.len() as u64;
            page.line(line);
        }
        position = part.end();
        before = Some(part.end());
    }
    if page.items.len() > limit {
        page.truncated = true;
        page.items.drain(..page.items.len() - limit);
    }
    Ok(LogPage { items: page.items, next_cursor: Some(next.to_string()), truncated: page.truncated })
}

/// Bytes at the end of a log in which its last line is looked for: one of them, as long as it may be.
const LAST: u64 = 2 * super::logfile::MAX_LINE as u64;

/// The last line that the command itself printed, if it is near the end.
#[must_use]
pub fn last_line(path: &Path) -> Option<String> {
    let mut part = parts(path).ok()?.pop()?;
    let from = part.start.max(part.end().saturating_sub(LAST));
    let bytes = part.read_from(from, LAST).ok()?;
    let whole = bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
    // The first one may have lost its beginning.
    let known = whole.skip(usize::from(from > part.start)).filter_map(|line| match parse(line) {
        Parsed::Line(_, LogStream::Stdout | LogStream::Stderr, text) if !text.trim().is_empty() => Some(text),
        Parsed::Line(..) | Parsed::Header(_) => None,
    });
    known.last()
}

/// Bytes on disk.
pub fn size(path: &Path) -> u64 {
    (0..=2).filter_map(|number| fs::metadata(part_path(path, number)).ok()).map(|metadata| metadata.len()).sum()
}

/// Removes the log and returns how many bytes that freed. A log that does not exist is no error.
pub fn remove(path: &Path) -> io::Result<u64> {
    let freed = size(path);
    for number in 0..=2 {
        match fs::remove_file(part_path(path, number)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(freed)
}

/// Opens the parts that exist, oldest first.
fn parts(path: &Path) -> io::Result<Vec<Part>> {
    let mut parts = Vec::new();
    // While they are being rotated the same part may be met twice or not at all; the next look sees them in order.
    for _ in 0..3 {
        parts.clear();
        for number in 0..=2 {
            if let Some(part) = open_part(path, number)? {
                parts.push(part);
            }
        }
        let in_order = match parts.as_slice() {
            [_, older, newer] => older.end() == newer.start,
            _ => true,
        };
        if in_order {
            break;
        }
    }
    parts.sort_by_key(|part| part.start);
    parts.dedup_by_key(|part| part.start);
    Ok(parts)
}

fn open_part(path: &Path, number: u8) -> io::Result<Option<Part>> {
    let mut file = match File::open(part_path(path, number)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let start = if number == 0 { Some(0) } else { header(&mut file)? };
    let len = file.metadata()?.len();
    // A part whose header is not written yet has nothing to read.
    Ok(start.map(|start| Part { file, start, len }))
}

fn header(file: &mut File) -> io::Result<Option<u64>> {
    let mut bytes = Vec::new();
    file.take(64).read_to_end(&mut bytes)?;
    let first = bytes.split_inclusive(|byte| *byte == b'\n').next().filter(|line| line.ends_with(b"\n"));
    Ok(first.and_then(|line| match parse(line) {
        Parsed::Header(position) => Some(position),
        Parsed::Line(..) => None,
    }))
}

enum Parsed {
    Line(Timestamp, LogStream, String),
    Header(u64),
}

fn parse(line: &[u8]) -> Parsed {
    let text = String::from_utf8_lossy(line);
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let mut fields = text.splitn(3, ' ');
    let at = fields.next().and_then(|field| field.parse().ok()).map(Timestamp);
    let (stream, rest) = (fields.next(), fields.next().unwrap_or_default());
    match (at, stream) {
        (Some(at), Some("o")) => Parsed::Line(at, LogStream::Stdout, rest.to_owned()),
        (Some(at), Some("e")) => Parsed::Line(at, LogStream::Stderr, rest.to_owned()),
        (Some(at), Some("b")) => Parsed::Line(at, LogStream::Belay, rest.to_owned()),
        (Some(at), Some("@")) => {
            rest.parse().map_or_else(|_| Parsed::Line(at, LogStream::Belay, rest.to_owned()), Parsed::Header)
        }
        // Damaged (the machine lost power while it was written): shown as it is.
        (at, _) => Parsed::Line(at.unwrap_or(Timestamp(0)), LogStream::Belay, text.to_owned()),
    }
}

struct Collected {
    wanted: Wanted,
    items: Vec<LogLine>,
    truncated: bool,
}

impl Collected {
    fn line(&mut self, line: &[u8]) {
        match parse(line) {
            Parsed::Line(at, stream, text) if self.wanted.stream.is_none_or(|wanted| wanted == stream) => {
                self.items.push(LogLine { at, stream, unit: self.wanted.unit, text });
            }
            Parsed::Line(..) | Parsed::Header(_) => {}
        }
    }

    fn gap(&mut self, bytes: u64) {
        self.truncated = true;
        self.items.push(LogLine {
            at: self.items.last().map_or(Timestamp(0), |line| line.at),
            stream: LogStream::Belay,
            unit: self.wanted.unit,
            text: format!("{bytes} bytes of output were left out here: the first and the last part of a log are kept."),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::logfile::{Lines, LogFile};

    fn numbered(log: &mut LogFile, numbers: std::ops::Range<u32>) {
        let mut lines = Lines::new(b'o');
        for number in numbers {
            let mut target = Vec::new();
            lines.take(format!("line {number}\n").as_bytes(), 1_000 + i64::from(number), &mut target);
            log.append(&target);
        }
    }

    fn texts(page: &LogPage) -> Vec<&str> {
        page.items.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn a_log_is_read_in_pages_and_goes_on_where_it_grew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep").join("run.log");
        let empty = read(&path, None, 10, Wanted::all(4)).unwrap();
        assert!(empty.items.is_empty(), "no file is an empty log");
        let mut log = LogFile::new(path.clone());
        numbered(&mut log, 0..5);
        let first = read(&path, empty.next_cursor.as_deref(), 3, Wanted::all(4)).unwrap();
        assert_eq!(texts(&first), ["line 0", "line 1", "line 2"]);
        assert_eq!((first.items[0].at, first.items[0].unit), (Timestamp(1_000), 4));
        let second = read(&path, first.next_cursor.as_deref(), 10, Wanted::all(4)).unwrap();
        assert_eq!(texts(&second), ["line 3", "line 4"]);
        numbered(&mut log, 5..6);
        assert_eq!(texts(&read(&path, second.next_cursor.as_deref(), 10, Wanted::all(4)).unwrap()), ["line 5"]);
        assert_eq!(read(&path, Some("nonsense"), 10, Wanted::all(4)).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert!(read(&path, Some("18446744073709551615"), 10, Wanted::all(4)).unwrap().items.is_empty());
    }

    #[test]
    fn lines_are_added_to_a_log_that_nobody_writes_to_any_more() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.log");
        add(&path, &["nothing to add it to".to_owned()]).unwrap();
        assert!(!path.exists());
        let mut log = LogFile::with_limits(path.clone(), 2_000, 1_000);
        numbered(&mut log, 0..300);
        drop(log);
        add(&path, &["it was stopped".to_owned(), "the end".to_owned()]).unwrap();
        let page = tail(&path, 3, Wanted::all(0)).unwrap();
        assert_eq!(texts(&page), ["line 299", "it was stopped", "the end"]);
        assert_eq!(page.items[2].stream, LogStream::Belay);
    }

    #[test]
    fn the_last_line_is_the_commands_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.log");
        assert_eq!(last_line(&path), None);
        fs::write(&path, "5 o first\n6 e second\n7 o  \n8 b stopped\n9 o ha").unwrap();
        assert_eq!(last_line(&path).as_deref(), Some("second"));
        fs::write(&path, format!("5 o {}\n6 o end\n", "x".repeat(20_000))).unwrap();
        assert_eq!(last_line(&path).as_deref(), Some("end"));
    }

    #[test]
    fn a_line_that_is_being_written_waits_until_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.log");
        fs::write(&path, "5 o whole\n6 e ha").unwrap();
        let page = read(&path, None, 10, Wanted::all(0)).unwrap();
        assert_eq!(texts(&page), ["whole"]);
        assert_eq!(texts(&tail(&path, 10, Wanted::all(0)).unwrap()), ["whole"]);
        fs::write(&path, "5 o whole\n6 e half\n").unwrap();
        let rest = read(&path, page.next_cursor.as_deref(), 10, Wanted::all(0)).unwrap();
        assert_eq!((texts(&rest), rest.items[0].stream), (vec!["half"], LogStream::Stderr));
    }

    #[test]
    fn of_a_huge_log_the_first_and_the_last_part_are_kept_and_the_gap_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.log");
        let mut log = LogFile::with_limits(path.clone(), 2_000, 1_000);
        numbered(&mut log, 0..1_000);
        assert!(size(&path) <= 4_000, "{}", size(&path));
        assert_eq!(log.kept(), size(&path));
        let page = read(&path, None, 10_000, Wanted::all(0)).unwrap();
        assert!(page.truncated);
        let texts = texts(&page);
        assert_eq!((texts[0], texts[texts.len() - 1]), ("line 0", "line 999"));
        let gaps: Vec<_> = texts.iter().filter(|text| text.contains("bytes of output were left out")).collect();
        assert_eq!(gaps.len(), 1, "{texts:?}");
        let last = tail(&path, 3, Wanted::all(0)).unwrap();
        assert_eq!(
            last.items.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(),
            ["line 997", "line 998", "line 999"]
        );
        assert!(last.truncated);
        numbered(&mut log, 1_000..1_001);
        assert_eq!(read(&path, last.next_cursor.as_deref(), 10, Wanted::all(0)).unwrap().items[0].text, "line 1000");
        assert!(remove(&path).unwrap() > 0);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert_eq!(remove(&path).unwrap(), 0);
    }

    #[test]
    fn long_lines_are_cut_and_an_open_one_is_ended() {
        let mut lines = Lines::new(b'e');
        let mut target = Vec::new();
        lines.take(&[b'x'; 20_000], 1, &mut target);
        lines.take(b"end\r\nopen", 1, &mut target);
        lines.finish(1, &mut target);
        let lengths: Vec<usize> = target.split(|byte| *byte == b'\n').map(<[u8]>::len).collect();
        assert_eq!(lengths, [8_192 + 4, 8_192 + 4, 20_000 - 16_384 + 3 + 4, 8, 0]);
    }

    #[test]
    fn a_log_that_cannot_be_written_is_counted_and_told_later() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.log");
        fs::create_dir(&path).unwrap();
        let mut log = LogFile::new(path.clone());
        numbered(&mut log, 0..2);
        fs::remove_dir(&path).unwrap();
        numbered(&mut log, 2..3);
        let page = read(&path, None, 10, Wanted::all(0)).unwrap();
        assert_eq!(page.items.len(), 2);
        assert!(page.items[0].text.starts_with("28 bytes of output could not be written here"), "{:?}", page.items[0]);
        assert_eq!(page.items[1].text, "line 2");
    }
}
