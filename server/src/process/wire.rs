//! What goes over the socket between server and supervisor.
//!
//! Server to supervisor: one [`Request`], then one byte for each order ([`STOP`], [`KILL`]); its end means that the
//! server is gone. Supervisor to server: a report as one line of JSON; a second one may follow when the first had to
//! say that something is still alive.
//!
//! A request is a row of byte strings, each with its length before it: arguments need not be UTF-8.

use std::{
    ffi::OsString,
    io::{self, Read},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::PathBuf,
    time::Duration,
};

use app::model::RunId;

use super::TreeCommand;

/// Stop gracefully.
pub(crate) const STOP: u8 = b'T';
/// Kill now.
pub(crate) const KILL: u8 = b'K';

/// More than any argument list that the kernel takes.
const MAX_REQUEST: usize = 16 << 20;

/// What a supervisor is told.
pub(crate) struct Request {
    pub(crate) runs_dir: PathBuf,
    pub(crate) command: TreeCommand,
}

impl Request {
    /// Length (4 bytes) and content.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let command = &self.command;
        let mut body = Vec::with_capacity(1024);
        put(&mut body, self.runs_dir.as_os_str().as_bytes());
        put(&mut body, &command.run_id.0.to_le_bytes());
        put(&mut body, command.cwd.as_os_str().as_bytes());
        put(&mut body, command.log.as_os_str().as_bytes());
        put(&mut body, &millis(command.grace).to_le_bytes());
        put(&mut body, &command.timeout.map_or(u64::MAX, millis).to_le_bytes());
        put(&mut body, &(command.argv.len() as u64).to_le_bytes());
        for argument in &command.argv {
            put(&mut body, argument.as_bytes());
        }
        put(&mut body, &(command.env.len() as u64).to_le_bytes());
        for (name, value) in &command.env {
            put(&mut body, name.as_bytes());
            put(&mut body, value.as_bytes());
        }
        let mut message = (body.len() as u32).to_le_bytes().to_vec();
        message.append(&mut body);
        message
    }

    /// Reads one request; an error also when the sender went away in the middle of it.
    pub(crate) fn read(source: &mut impl Read) -> io::Result<Request> {
        let mut length = [0_u8; 4];
        source.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length) as usize;
        if length > MAX_REQUEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut body = vec![0_u8; length];
        source.read_exact(&mut body)?;
        let mut fields = Fields(&body);
        let runs_dir = fields.path()?;
        let run_id = RunId(u128::from_le_bytes(fields.array()?));
        let cwd = fields.path()?;
        let log = fields.path()?;
        let grace = Duration::from_millis(fields.number()?);
        let timeout = Some(fields.number()?).filter(|millis| *millis != u64::MAX).map(Duration::from_millis);
        let argv = (0..fields.number()?).map(|_| fields.text()).collect::<io::Result<_>>()?;
        let env = (0..fields.number()?).map(|_| Ok((fields.text()?, fields.text()?))).collect::<io::Result<_>>()?;
        Ok(Request { runs_dir, command: TreeCommand { run_id, argv, env, cwd, log, grace, timeout } })
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX - 1)
}

fn put(body: &mut Vec<u8>, field: &[u8]) {
    body.extend_from_slice(&(field.len() as u32).to_le_bytes());
    body.extend_from_slice(field);
}

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn next(&mut self) -> io::Result<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<4>().ok_or(io::ErrorKind::InvalidData)?;
        let (field, rest) =
            rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or(io::ErrorKind::InvalidData)?;
        self.0 = rest;
        Ok(field)
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        self.next()?.try_into().map_err(|_| io::ErrorKind::InvalidData.into())
    }

    fn number(&mut self) -> io::Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> io::Result<OsString> {
        self.next().map(|field| OsString::from_vec(field.to_vec()))
    }

    fn path(&mut self) -> io::Result<PathBuf> {
        self.text().map(PathBuf::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_reads_back_also_with_names_that_are_not_utf_8() {
        let odd = OsString::from_vec(vec![b'-', 0xff, b'\n', b' ']);
        let command = TreeCommand {
            run_id: RunId(7),
            argv: vec!["true".into(), odd.clone()],
            env: vec![("A".into(), odd.clone())],
            cwd: PathBuf::from(&odd),
            log: "/log".into(),
            grace: Duration::from_secs(5),
            timeout: None,
        };
        let message = Request { runs_dir: "/runs".into(), command: command.clone() }.encode();
        let read = Request::read(&mut message.as_slice()).unwrap();
        assert_eq!(format!("{:?}", read.command), format!("{command:?}"));
        assert_eq!(read.runs_dir, PathBuf::from("/runs"));
        for cut in [0, 3, 4, message.len() / 2, message.len() - 1] {
            assert!(Request::read(&mut &message[..cut]).is_err(), "cut at {cut}");
        }
    }
}
