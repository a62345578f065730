//! What is written. On a terminal tables with colours and relative times; into a pipe tab-separated lines that keep
//! their columns and cut nothing; JSON where asked for. Data goes to standard output, all else to standard error.

use std::{
    cell::Cell as Flag,
    fmt::Display,
    io::{self, IsTerminal as _, Write as _},
};

use app::{
    model::{Phase, PhaseClass, Timestamp},
    text,
};
use console::{Alignment, Style, Term, measure_text_width, pad_str, truncate_str};
use serde::Serialize;

use super::fault::Fault;
use crate::engine::clock;

/// Room between two columns.
const GAP: usize = 2;

/// A column is not made narrower than this.
const NARROWEST: usize = 8;

/// See the module.
pub(super) struct Output {
    /// Somebody reads it on a terminal.
    pub(super) people: bool,
    pub(super) json: bool,
    /// Whoever read it has gone (`| head`). What was begun goes on.
    closed: Flag<bool>,
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        Output { people: !json && io::stdout().is_terminal(), json, closed: Flag::new(false) }
    }

    /// Nobody reads any more.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    pub(super) fn line(&self, line: impl Display) {
        self.raw(format!("{line}\n").as_bytes());
    }

    pub(super) fn raw(&self, bytes: &[u8]) {
        let mut stdout = io::stdout().lock();
        if !self.closed.get() && stdout.write_all(bytes).and_then(|()| stdout.flush()).is_err() {
            self.closed.set(true);
        }
    }

    /// One JSON document.
    pub(super) fn json(&self, value: &impl Serialize) {
        let written =
            if io::stdout().is_terminal() { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
        match written {
            Ok(text) => self.line(text),
            Err(error) => self.note(error),
        }
    }

    /// To standard error.
    pub(super) fn note(&self, text: impl Display) {
        let _ = writeln!(io::stderr(), "{text}");
    }

    /// For people on a terminal only: what a program would have to skip.
    pub(super) fn remark(&self, text: impl Display) {
        if self.people {
            self.note(text);
        }
    }

    /// A fault that does not end the command.
    pub(super) fn fault(&self, fault: &Fault) {
        self.note(format_args!("belay: {fault}"));
        if let Some(hint) = &fault.hint {
            self.note(format_args!("  {hint}"));
        }
    }
}

/// A text and how it looks.
#[derive(Clone, Debug, Default)]
pub(super) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Cell { text: clean(&text.into()), style: Style::new() }
    }

    pub(super) fn styled(text: impl Into<String>, style: Style) -> Self {
        Cell { text: clean(&text.into()), style }
    }

    /// As it is seen on a terminal.
    pub(super) fn shown(&self) -> String {
        self.style.apply_to(&self.text).to_string()
    }

    pub(super) fn plain(&self) -> &str {
        &self.text
    }

    pub(super) fn dim(text: impl Into<String>) -> Self {
        Cell::styled(text, Style::new().dim())
    }
}

/// A phase as people see it: an icon, the word, a colour; never colour alone.
pub(super) fn phase(phase: Phase) -> Cell {
    let icon = match phase {
        Phase::Completed => "✔",
        Phase::Partial => "◐",
        Phase::Failed => "✘",
        Phase::Cancelled => "⊘",
        Phase::Cancelling | Phase::Deleting => "◌",
        Phase::Pending => "·",
        Phase::Collection
        | Phase::FeatureExtraction
        | Phase::Matching
        | Phase::Evidence
        | Phase::InProgress
        | Phase::Validating
        | Phase::Finalizing => "●",
    };
    let style = match (phase, phase.class()) {
        (Phase::Completed, _) => Style::new().green(),
        (Phase::Failed, _) => Style::new().red(),
        (Phase::Partial, _) | (_, PhaseClass::Cancelling | PhaseClass::Deleting) => Style::new().yellow(),
        (_, PhaseClass::Active) => Style::new().blue(),
        (_, PhaseClass::Pending | PhaseClass::Terminal) => Style::new().dim(),
    };
    Cell::styled(format!("{icon} {}", phase.label()), style)
}

/// `2 h ago`
pub(super) fn ago(at: Timestamp) -> String {
    text::ago(clock::now(), at)
}

/// Text of others without what a terminal would obey, and without what ends a column.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Lines of columns.
pub(super) struct Table {
    titles: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(super) fn new(titles: impl Into<Vec<&'static str>>) -> Self {
        Table { titles: titles.into(), rows: Vec::new() }
    }

    pub(super) fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// Aligned and at most as wide as the terminal, below titles; or tab-separated without titles.
    pub(super) fn print(&self, out: &Output) {
        if out.people {
            let (_, columns) = Term::stdout().size();
            for line in self.lines(usize::from(columns)) {
                out.line(line);
            }
            return;
        }
        for row in &self.rows {
            let texts: Vec<&str> = row.iter().map(|cell| cell.text.as_str()).collect();
            out.line(texts.join("\t"));
        }
    }

    /// The lines of a terminal.
    pub(super) fn lines(&self, room: usize) -> Vec<String> {
        let widths = self.widths(room);
        let bold = Style::new().bold();
        let titles = self.titles.iter().zip(&widths).map(|(title, width)| (*title, *width, &bold));
        let mut lines = vec![join(titles)];
        for row in &self.rows {
            let cells = row.iter().zip(&widths).map(|(cell, width)| (cell.text.as_str(), *width, &cell.style));
            lines.push(join(cells));
        }
        lines
    }

    /// As wide as what is in them; the widest give way where the terminal is narrow. Not the first one: it is what the
    /// next command is given.
    fn widths(&self, room: usize) -> Vec<usize> {
        let mut widths: Vec<usize> = self.titles.iter().map(|title| measure_text_width(title)).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(measure_text_width(&cell.text));
            }
        }
        let gaps = GAP * widths.len().saturating_sub(1);
        while widths.iter().sum::<usize>() + gaps > room {
            let Some(widest) = widths.iter_mut().skip(1).max().filter(|width| **width > NARROWEST) else { break };
            *widest -= 1;
        }
        widths
    }
}

fn join<'a>(cells: impl Iterator<Item = (&'a str, usize, &'a Style)>) -> String {
    let mut line = String::new();
    for (text, width, style) in cells {
        let cut = truncate_str(text, width, "…");
        let padded = pad_str(&cut, width + GAP, Alignment::Left, None);
        line.push_str(&style.apply_to(padded).to_string());
    }
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(["ID", "NAME"]);
        table.row(vec![Cell::new("1"), Cell::new("a rather long name of a job")]);
        table.row(vec![Cell::new("22"), Cell::new("日本")]);
        table
    }

    #[test]
    fn columns_are_aligned_by_what_is_seen() {
        console::set_colors_enabled(false);
        let lines = table().lines(80);
        assert_eq!(lines, ["ID  NAME", "1   a rather long name of a job", "22  日本"]);
    }

    #[test]
    fn a_narrow_terminal_cuts_the_widest_column() {
        console::set_colors_enabled(false);
        let lines = table().lines(16);
        assert_eq!(lines[1], "1   a rather lo…");
        assert!(lines.iter().all(|line| measure_text_width(line) <= 16), "{lines:?}");
    }

    #[test]
    fn what_the_next_command_needs_is_never_cut() {
        console::set_colors_enabled(false);
        let mut table = Table::new(["ID", "NAME"]);
        table.row(vec![Cell::new("0199c2b2-0c9d-7e02-8f10-0123456789ab"), Cell::new("a rather long name")]);
        assert_eq!(table.lines(20)[1], "0199c2b2-0c9d-7e02-8f10-0123456789ab  a rathe…");
    }

    #[test]
    fn a_hostile_name_moves_no_cursor_and_makes_no_column() {
        assert_eq!(clean("a\tb\x1b[2Jc\n"), "a\u{fffd}b\u{fffd}[2Jc\u{fffd}");
    }
}
