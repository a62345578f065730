//! How a command of the client ends badly: an exit code and a sentence with the next step.

use std::{fmt, process::ExitCode};

use app::model::{ErrorCode, Problem};

/// Exit codes. Documented in `belay help job` and in README.md; added to, never changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    Done = 0,
    /// Declined by the user, or done in part.
    Partly = 1,
    /// The command cannot be understood; nothing was changed.
    Usage = 2,
    NotFound = 3,
    /// The server, or this program without `--force`, does not do that.
    Refused = 4,
    Unreachable = 5,
    /// Ctrl-C while waiting; what was begun goes on.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) exit: Exit,
    pub(super) message: String,
    pub(super) hint: Option<String>,
    /// What the server said, when it was the server.
    pub(super) problem: Option<Problem>,
}

/// What the commands of the client return.
pub(super) type Outcome<T> = Result<T, Fault>;

impl Fault {
    pub(super) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Fault { exit, message: message.into(), hint: None, problem: None }
    }

    pub(super) fn usage(message: impl Into<String>) -> Self {
        Fault::new(Exit::Usage, message)
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// A file of this machine that cannot be read or written.
    pub(super) fn file(path: &std::path::Path, error: &std::io::Error) -> Self {
        Fault::new(Exit::Partly, format!("`{}`: {error}", path.display()))
    }

    /// True when the server refused with this code.
    pub(super) fn is(&self, code: ErrorCode) -> bool {
        self.problem.as_ref().is_some_and(|problem| problem.is(code))
    }
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        let exit = match problem.status {
            400 | 413 | 415 | 422 => Exit::Usage,
            404 => Exit::NotFound,
            500 => Exit::Partly,
            502..=504 => Exit::Unreachable,
            _ => Exit::Refused,
        };
        let hint = if problem.is(ErrorCode::Unauthenticated) {
            // The server's own hint is about HTTP headers.
            Some("Give --token or BELAY_TOKEN; `belay token create NAME` makes another one.".to_owned())
        } else if let Some(receipt) = &problem.receipt {
            Some(format!("The receipt: {receipt}"))
        } else if problem.is(ErrorCode::Internal) {
            Some(format!("Request id: {}", problem.request_id))
        } else if problem.is(ErrorCode::JobNotFound) {
            Some("`belay job list` shows the jobs.".to_owned())
        } else {
            problem.hint.clone()
        };
        Fault { exit, message: problem.detail.clone(), hint, problem: Some(problem) }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// The exit of a command that acted on several things: done, the one fault that all of them met, or partly.
pub(super) fn exit_of_many(succeeded: usize, faults: &[Fault]) -> Exit {
    match faults {
        [] => Exit::Done,
        [first, rest @ ..] if succeeded == 0 && rest.iter().all(|fault| fault.exit == first.exit) => first.exit,
        _ => Exit::Partly,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_met_is_the_exit_and_a_mixture_is_partly() {
        let unknown = || Fault::new(Exit::NotFound, "no");
        let refused = || Fault::new(Exit::Refused, "no");
        assert_eq!(exit_of_many(2, &[]), Exit::Done);
        assert_eq!(exit_of_many(0, &[unknown(), unknown()]), Exit::NotFound);
        assert_eq!(exit_of_many(0, &[unknown(), refused()]), Exit::Partly);
        assert_eq!(exit_of_many(1, &[unknown()]), Exit::Partly);
    }

    #[test]
    fn a_problem_gets_the_documented_exit() {
        for (status, exit) in [
            (401, Exit::Refused),
            (404, Exit::NotFound),
            (409, Exit::Refused),
            (422, Exit::Usage),
            (500, Exit::Partly),
            (503, Exit::Unreachable),
            (507, Exit::Refused),
        ] {
            assert_eq!(Fault::from(Problem { status, ..Problem::default() }).exit, exit, "{status}");
        }
    }
}
