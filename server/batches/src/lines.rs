//! Lines of a file, one at a time, in bounded memory.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _},
    os::unix::fs::FileExt as _,
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

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn begin(&self) -> u64 {
        self.begin
    }
}

/// A file of which single lines are read, where an earlier pass found them.
pub(crate) struct Spots {
    file: File,
    line: Vec<u8>,
}

impl Spots {
    pub(crate) fn open(path: &Path) -> io::Result<Spots> {
        Ok(Spots { file: File::open(path)?, line: Vec::new() })
    }

    /// Exactly these bytes: what lies around them may be far away next time.
    pub(crate) fn read(&mut self, begin: u64, length: usize) -> io::Result<&[u8]> {
        self.line.resize(length, 0);
        self.file.read_exact_at(&mut self.line, begin)?;
        Ok(&self.line)
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
        let mut spots = Spots::open(&path).unwrap();
        assert_eq!(spots.read(begins[4], 4).unwrap(), b"last");
        assert_eq!(spots.read(begins[0], 1).unwrap(), b"a");
        assert_eq!(spots.read(begins[2], 1).unwrap(), b"b");
        assert!(spots.read(begins[4], 5).is_err());
    }
}
