//! Questions to the user. Ctrl-C at a question ends the program as it always does: nothing was begun yet.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, IsTerminal as _, Write as _},
};

use super::fault::{Exit, Fault, Outcome};

/// Who could be asked.
pub(super) enum Asker {
    /// Somebody at the keyboard; `tty` where standard input is in use for something else.
    Somebody {
        tty: Option<File>,
    },
    Nobody,
}

impl Asker {
    /// `stdin_taken`: standard input holds data.
    pub(super) fn new(stdin_taken: bool) -> Self {
        if !io::stderr().is_terminal() {
            return Asker::Nobody;
        }
        if !stdin_taken {
            return if io::stdin().is_terminal() { Asker::Somebody { tty: None } } else { Asker::Nobody };
        }
        match File::open("/dev/tty") {
            Ok(tty) => Asker::Somebody { tty: Some(tty) },
            Err(_) => Asker::Nobody,
        }
    }

    pub(super) fn is_somebody(&self) -> bool {
        matches!(self, Asker::Somebody { .. })
    }

    /// Only `y` and `yes` are a yes. `what`: the beginning of the refusal when nobody is there.
    pub(super) fn confirm(&self, question: &str, what: &str) -> Outcome<()> {
        let Asker::Somebody { tty } = self else {
            return Err(Fault::new(Exit::Refused, format!("{what}, and there is no terminal to ask on."))
                .hint("--force does it without asking; --dry-run shows what it would be."));
        };
        let mut stderr = io::stderr();
        let _ = write!(stderr, "{question} [y/N] ").and_then(|()| stderr.flush());
        let mut answer = String::new();
        let read = match tty {
            Some(tty) => BufReader::new(tty).read_line(&mut answer),
            None => io::stdin().lock().read_line(&mut answer),
        };
        let is_yes = matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes");
        if read.is_ok() && is_yes {
            Ok(())
        } else {
            Err(Fault::new(Exit::Partly, "Not confirmed. Nothing was changed."))
        }
    }
}
