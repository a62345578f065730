//! How the command line finds the server of this machine without being told: a running server leaves its address and
//! a token in a file that only its user can read.
//!
//! The token is new with every start and known to that process only, so a file that a killed server left opens
//! nothing: neither that server's successor nor whatever took its port later.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};

use super::{
    DataArgs,
    fault::{Exit, Fault, Outcome},
};
use crate::data;

/// In the data folder: three lines, the address, the token, the data folder.
const ACCESS_FILE: &str = "access";

/// Where a server is, and how to be let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Access {
    /// `http://127.0.0.1:8080`
    pub(super) address: String,
    pub(super) token: String,
    data: PathBuf,
}

impl Access {
    pub(super) fn new(address: String, token: String, data: &Path) -> Self {
        Access { address, token, data: data.to_owned() }
    }

    fn read(path: &Path) -> Option<Access> {
        let text = fs::read_to_string(path).ok()?;
        let mut lines = text.lines();
        let (address, token, data) = (lines.next()?, lines.next()?, lines.next()?);
        Some(Access { address: address.to_owned(), token: token.to_owned(), data: PathBuf::from(data) })
    }

    /// Whole or not at all, and never readable by others.
    fn write(&self, path: &Path) -> io::Result<()> {
        let fresh = path.with_extension("new");
        let _ = fs::remove_file(&fresh);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
        write!(file, "{}\n{}\n{}\n", self.address, self.token, self.data.display())?;
        fs::rename(&fresh, path)
    }

    /// A server holds the lock of its data folder for as long as it lives.
    fn is_alive(&self) -> bool {
        let Ok(lock) = File::open(self.data.join("lock")) else { return false };
        Flock::lock(lock, FlockArg::LockSharedNonblock).is_err()
    }
}

/// Files of a running server. Nothing but the command line depends on them: what goes wrong is only told.
pub(super) struct Announced {
    access: Access,
    paths: Vec<PathBuf>,
}

/// Leaves the access in the data folder, and where this user's programs look for the server that was started last.
pub(super) fn announce(access: Access) -> Announced {
    let mut paths = vec![access.data.join(ACCESS_FILE)];
    if let Some(folder) = runtime_folder()
        && data::make_folder(&folder).is_ok()
    {
        paths.push(folder.join(ACCESS_FILE));
    }
    for path in &paths {
        if let Err(error) = access.write(path) {
            tracing::warn!("`{}`: {error}; the command line needs --server and --token", path.display());
        }
    }
    Announced { access, paths }
}

impl Drop for Announced {
    fn drop(&mut self) {
        for path in &self.paths {
            // Another server may have been started since.
            if Access::read(path).as_ref() == Some(&self.access) {
                let _ = fs::remove_file(path);
            }
        }
    }
}

/// The server of the data folder that is named, else the one that was started last, else that of the default folder.
pub(super) fn find(data_dir: Option<&Path>) -> Outcome<Access> {
    let candidates: Vec<PathBuf> = match data_dir {
        Some(folder) => vec![folder.join(ACCESS_FILE)],
        None => [runtime_folder(), DataArgs { data_dir: None }.folder().ok()]
            .into_iter()
            .flatten()
            .map(|folder| folder.join(ACCESS_FILE))
            .collect(),
    };
    let found: Vec<Access> = candidates.iter().filter_map(|path| Access::read(path)).collect();
    let alive = found.iter().find(|access| access.is_alive());
    alive.or(found.first()).cloned().ok_or_else(|| {
        let place = data_dir.map(|folder| format!(" in `{}`", folder.display())).unwrap_or_default();
        Fault::new(Exit::Unreachable, format!("No Belay server is running{place}."))
            .hint("Start one with `belay serve`, or name another: --server URL --token TOKEN.")
    })
}

/// Where this user's programs leave what lasts as long as they run.
fn runtime_folder() -> Option<PathBuf> {
    let named = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    named("XDG_RUNTIME_DIR")
        .or_else(|| named("XDG_STATE_HOME"))
        .or_else(|| named("HOME").map(|home| home.join(".local/state")))
        .map(|folder| folder.join("belay"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_access_is_for_its_user_only_and_goes_with_its_server() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(ACCESS_FILE);
        let access = Access::new("http://127.0.0.1:1".to_owned(), "secret".to_owned(), folder.path());
        access.write(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Access::read(&path), Some(access.clone()));
        drop(Announced { access, paths: vec![path.clone()] });
        assert!(!path.exists());
    }

    #[test]
    fn a_server_does_not_take_away_the_access_of_its_successor() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(ACCESS_FILE);
        let access = |token: &str| Access::new("http://127.0.0.1:1".to_owned(), token.to_owned(), folder.path());
        access("second").write(&path).unwrap();
        drop(Announced { access: access("first"), paths: vec![path.clone()] });
        assert_eq!(Access::read(&path), Some(access("second")));
    }
}
