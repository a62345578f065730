//! What is said to the shell of a host, and what it answers.
//!
//! The command line of a channel is read by the user's login shell, whichever that is; so it is one fixed line without
//! anything that shells disagree about. It starts a POSIX shell that reads the real script from its standard input, up
//! to a line with the token, and runs it. What the script says begins with that token too: whatever a profile prints
//! before, or the command meanwhile, is not mistaken for it.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use app::model::RunId;

use crate::process::MARK;

const LOOK: &str = include_str!("look.sh");
const LOOK_AWK: &str = include_str!("look.awk");
const LEAD: &str = include_str!("lead.sh");
const WATCH: &str = include_str!("watch.sh");
const AGENT: &str = include_str!("agent.sh");

/// Reads a script up to the line with the token. No quote, no newline, nothing that a login shell could replace.
const READ_SCRIPT: &str = r##"n=$(printf "\nx"); n=${n%x}; s=; while IFS= read -r l; do if [ "$l" = "#$1" ]; then eval "$s"; exit; fi; s="$s$l$n"; done"##;

/// A word that nobody else says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token(String);

impl Token {
    pub(super) fn new() -> Self {
        Token(uuid::Uuid::now_v7().simple().to_string())
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// The command line and the script of one channel.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) token: Token,
    pub(super) line: String,
    pub(super) text: String,
}

/// What a run does on its host.
#[derive(Clone, Debug)]
pub(super) struct RemoteCommand {
    pub(super) argv: Vec<String>,
    pub(super) env: BTreeMap<String, String>,
    /// From SIGTERM to SIGKILL when the connection breaks.
    pub(super) grace: Duration,
}

/// Leads a run: the shell carries the run's mark, and with it everything that it starts.
pub(super) fn lead(run: RunId, command: &RemoteCommand) -> Script {
    let token = Token::new();
    let watch = quote(&short(&format!("{}{WATCH}", look())));
    let grace = command.grace.as_secs();
    let mut start = String::from("(\n");
    for (name, value) in &command.env {
        let _ = writeln!(start, "export {name}={}", quote(value));
    }
    let words: Vec<String> = command.argv.iter().map(|word| quote(word)).collect();
    let _ = write!(start, "set -- {}\nexec $own \"$@\"\n) </dev/null &\nchild=$!", words.join(" "));
    // What the command is made of stays as it is.
    let body = short(LEAD).replace("command_of_the_run", &start);
    let text = format!("t={0} R={run} G={grace} watch={watch}\n{body}#{0}\n", token.0);
    Script { line: format!("exec env {MARK}={run} sh -c '{READ_SCRIPT}' belay {}", token.0), text, token }
}

/// Looks for a run. `lead`: the pid of its leader, while it is known to be that.
pub(super) fn agent(run: RunId, lead: Option<u32>) -> Script {
    let token = Token::new();
    let lead = lead.unwrap_or(0);
    let text = format!("t={0} R={run} W={lead}\n{1}#{0}\n", token.0, short(&format!("{}{AGENT}", look())));
    Script { line: format!("exec env BELAY_LOOK={0} sh -c '{READ_SCRIPT}' belay {0}", token.0), text, token }
}

fn look() -> String {
    format!("awk={}\n{LOOK}", quote(LOOK_AWK))
}

/// Without comments and indentation: the shell reads it byte by byte.
fn short(script: &str) -> String {
    let lines = script.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.fold(String::new(), |text, line| text + line + "\n")
}

/// One word for a POSIX shell.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// What a script said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It has begun; its pid.
    Ready(u32),
    /// The command has ended with this status.
    Ended(i32),
    /// So many processes of the run are there; so many of them were told to end only now, as they had not been found
    /// before.
    Found { left: u32, late: u32 },
    /// Something that it needs is not on the host.
    Missing(String),
    /// It could not look.
    Failed,
    /// There is no `/proc`, and the run's leader is not known: it cannot tell.
    Blind,
}

impl Said {
    fn parse(text: &str) -> Option<Said> {
        let mut words = text.split_whitespace();
        let (what, value) = (words.next()?, words.next());
        Some(match what {
            "ready" => Said::Ready(value?.parse().ok()?),
            "ended" => Said::Ended(value?.parse().ok()?),
            "found" => Said::Found { left: value?.parse().ok()?, late: words.next()?.parse().ok()? },
            "missing" => Said::Missing(value?.to_owned()),
            "failed" => Said::Failed,
            "blind" => Said::Blind,
            _ => return None,
        })
    }
}

/// A part of what came from a channel.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    Text(Vec<u8>),
    Said(Said),
}

/// Longest piece of an open line that is held back: what is said by a script is much shorter.
const HELD: usize = 4 * 1024;

/// Tells what a script says from what a command prints.
#[derive(Debug)]
pub(super) struct Splitter {
    token: Token,
    open: Vec<u8>,
}

impl Splitter {
    pub(super) fn new(token: Token) -> Self {
        Splitter { token, open: Vec::new() }
    }

    /// Takes what was read, answers what can be told apart by now.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Vec<Part> {
        self.open.extend_from_slice(bytes);
        let mut parts = Vec::new();
        while let Some(at) = find(&self.open, self.token.as_bytes()) {
            let Some(end) = self.open[at..].iter().position(|byte| *byte == b'\n').map(|end| at + end) else {
                break;
            };
            let line = String::from_utf8_lossy(&self.open[at + self.token.as_bytes().len()..end]).into_owned();
            let before: Vec<u8> = self.open.drain(..=end).take(at).collect();
            if !before.is_empty() {
                parts.push(Part::Text(before));
            }
            parts.extend(Said::parse(&line).map(Part::Said));
        }
        let whole = self.open.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let ready = if self.open.len() - whole > HELD { self.open.len() - self.token.as_bytes().len() } else { whole };
        if ready > 0 {
            parts.push(Part::Text(self.open.drain(..ready).collect()));
        }
        parts
    }

    /// What was held back, at the end.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.open)
    }
}

fn find(text: &[u8], word: &[u8]) -> Option<usize> {
    text.windows(word.len()).position(|window| window == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn splitter() -> Splitter {
        Splitter::new(Token("0123456789abcdef".to_owned()))
    }

    fn text(text: &str) -> Part {
        Part::Text(text.as_bytes().to_vec())
    }

    #[test]
    fn what_a_script_says_is_told_from_what_a_profile_or_a_command_prints() {
        let mut splitter = splitter();
        assert_eq!(
            splitter.take(b"Welcome\nno newline 0123456789abcdef ready 42\nout\n"),
            [text("Welcome\nno newline "), Part::Said(Said::Ready(42)), text("out\n")],
        );
        assert_eq!(splitter.take(b"half 01234567"), [], "an open line may be a word of the script");
        assert_eq!(splitter.take(b"89abcdef ended 3\n"), [text("half "), Part::Said(Said::Ended(3))]);
        assert_eq!(splitter.take(b"0123456789abcdef nonsense\nlast"), []);
        assert_eq!(splitter.rest(), b"last");
    }

    #[test]
    fn a_line_without_end_is_not_held_back_without_end() {
        let mut splitter = splitter();
        let mut given = 0;
        for _ in 0..100 {
            for part in splitter.take(&[b'x'; 1_000]) {
                let Part::Text(bytes) = part else { panic!("{part:?}") };
                given += bytes.len();
            }
            assert!(splitter.open.len() <= HELD + 1_000);
        }
        assert_eq!(given + splitter.rest().len(), 100_000);
    }

    #[test]
    fn who_has_the_number_of_a_leader_that_is_gone_is_left_alone() {
        use std::{
            io::Write as _,
            process::{Command, Stdio},
        };
        let mut stranger = Command::new("setsid").args(["sleep", "600"]).spawn().unwrap();
        let looked = ["TERM", "KILL", "look"].map(|word| {
            let script = agent(RunId(77), Some(stranger.id()));
            let mut shell = Command::new("sh");
            let shell = shell.args(["-c", &script.line]).stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut shell = shell.spawn().unwrap();
            writeln!(shell.stdin.take().unwrap(), "{}{word}", script.text).unwrap();
            let said = shell.wait_with_output().unwrap().stdout;
            Splitter::new(script.token).take(&said)
        });
        let lives = stranger.try_wait().unwrap().is_none();
        stranger.kill().unwrap();
        stranger.wait().unwrap();
        assert!(lives, "{looked:?}");
        for parts in looked {
            assert_eq!(parts.last(), Some(&Part::Said(Said::Found { left: 0, late: 0 })), "{parts:?}");
        }
    }

    #[test]
    fn the_command_line_holds_nothing_that_a_login_shell_could_change() {
        let command = RemoteCommand {
            argv: vec!["echo".to_owned(), "it's $HOME\n!".to_owned()],
            env: BTreeMap::new(),
            grace: Duration::from_secs(2),
        };
        for line in [lead(RunId(1), &command).line, agent(RunId(1), None).line] {
            let script = line.split('\'').nth(1).expect("one quoted word");
            assert_eq!(line.matches('\'').count(), 2, "{line}");
            assert!(!script.contains(['\n', '!']), "{line}");
        }
        assert!(lead(RunId(1), &command).text.contains("'it'\\''s $HOME\n!'"));
    }
}
