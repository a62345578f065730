//! Lines of a file, one at a time, in bounded memory.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom},
    path::Path,
};

/// Longer lines are passed over. No provider takes requests of this size, and a line is held in memory as a whole.
pub(crate) const LONGEST: usize = 32 << 20;

/// A file being read.
pub(crate) struct Lines {
    reader: BufReader<File>,
    line: Vec<u8>,
    /// Of the line that was read last, from 1.
    number: u64,
    /// Where the line that was read last begins.
    begin: u64,
    /// Where the next one begins.
    next: u64,
}

/// One line, without its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    Text(&'a [u8]),
    /// More than [`LONGEST`] bytes.
    TooLong,
}

impl Lines {
    pub(crate) fn open(path: &Path) -> io::Result<Lines> {
        let reader = BufReader::with_capacity(1 << 20, File::open(path)?);
        Ok(Lines { reader, line: Vec::new(), number: 0, begin: 0, next: 0 })
    }

    /// The next line; `None` at the end.
    pub(crate) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.line.clear();
        let taken = (&mut self.reader).take(LONGEST as u64 + 1).read_until(b'\n', &mut self.line)?;
        if taken == 0 {
            return Ok(None);
        }
        self.number += 1;
        self.begin = self.next;
        self.next += taken as u64;
        if self.line.last() == Some(&b'\n') {
            self.line.pop();
        } else if taken > LONGEST {
            self.next += self.reader.skip_until(b'\n')? as u64;
            self.line = Vec::new();
            return Ok(Some(Line::TooLong));
        }
        Ok(Some(Line::Text(&self.line)))
    }

    /// The line that begins at `begin`, which an earlier pass found to be no longer than it may be.
    pub(crate) fn at(&mut self, begin: u64) -> io::Result<&[u8]> {
        if begin != self.next {
            // Within the buffer nothing is read again: results mostly come in about the order of the requests.
            match i64::try_from(begin).ok().zip(i64::try_from(self.next).ok()) {
                Some((to, from)) => self.reader.seek_relative(to - from)?,
                None => {
                    self.reader.seek(SeekFrom::Start(begin))?;
                }
            }
            self.next = begin;
        }
        self.next()?;
        Ok(&self.line)
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn begin(&self) -> u64 {
        self.begin
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_too_long_is_passed_over_and_those_behind_it_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let long = vec![b'x'; LONGEST + 5];
        std::fs::write(&path, [b"a\n".as_slice(), &long, b"\nb\n\nlast"].concat()).unwrap();
        let mut lines = Lines::open(&path).unwrap();
        let mut begins = Vec::new();
        for expected in [Line::Text(b"a"), Line::TooLong, Line::Text(b"b"), Line::Text(b""), Line::Text(b"last")] {
            assert_eq!(lines.next().unwrap(), Some(expected));
            begins.push(lines.begin());
        }
        assert_eq!(lines.next().unwrap(), None);
        assert_eq!(lines.at(begins[4]).unwrap(), b"last");
        assert_eq!(lines.at(begins[0]).unwrap(), b"a");
        assert_eq!(lines.at(begins[2]).unwrap(), b"b");
    }
}
