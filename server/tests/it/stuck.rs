//! What cannot be removed, so that a removal is incomplete.

use std::{io::Write as _, path::PathBuf, process::Command};

/// A folder whose files cannot be removed: immutable for root, without permission for others.
pub(crate) struct Stuck(PathBuf);

impl Stuck {
    /// `None`, and a line on the terminal, where nothing can be made that cannot be removed.
    pub(crate) fn make(folder: PathBuf) -> Option<Stuck> {
        let stuck = Stuck(folder);
        let is_stuck = if nix::unistd::geteuid().is_root() { stuck.chattr("+i") } else { stuck.chmod("555") };
        if !is_stuck {
            // Straight to the terminal: a test that did not happen must not look like one that did.
            let _ =
                writeln!(std::io::stderr(), "\nSKIPPED: this file system can make nothing that root cannot remove\n");
        }
        is_stuck.then_some(stuck)
    }

    fn chattr(&self, flag: &str) -> bool {
        Command::new("chattr").arg(flag).arg(&self.0).status().is_ok_and(|status| status.success())
    }

    fn chmod(&self, mode: &str) -> bool {
        Command::new("chmod").arg(mode).arg(&self.0).status().is_ok_and(|status| status.success())
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        if nix::unistd::geteuid().is_root() {
            self.chattr("-i")
        } else {
            self.chmod("755")
        };
    }
}
