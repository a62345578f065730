//! Real OpenSSH servers on free ports of this machine, each with a host key of its own. They end with their [`Fleet`].

use std::{
    fs,
    io::Write as _,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::harness::LONG;

/// One server: a host of the configuration.
pub(crate) struct Sshd {
    pub(crate) name: String,
    pub(crate) port: u16,
    config: PathBuf,
    /// Shell commands before it starts, in a mount namespace of its own.
    setup: Option<String>,
    child: Child,
}

impl Sshd {
    /// The server and what it forked for its connections, without what these run.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let mut found = vec![i32::try_from(self.child.id()).unwrap()];
        loop {
            let more: Vec<i32> = children()
                .filter(|(pid, parent, name)| name == "sshd" && found.contains(parent) && !found.contains(pid))
                .map(|(pid, _, _)| pid)
                .collect();
            if more.is_empty() {
                return found;
            }
            found.extend(more);
        }
    }

    fn signal(&self, signal: Signal) {
        for pid in self.processes() {
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    /// Nothing of it answers any more; what it runs goes on.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    pub(crate) fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Ends it with all its connections, as a crash of the machine does; what it ran goes on.
    pub(crate) fn go_down(&mut self) {
        self.signal(Signal::SIGKILL);
        let _ = self.child.wait();
    }

    /// Starts it again, at the same port.
    pub(crate) fn come_back(&mut self) {
        self.child = spawn(&self.config, self.setup.as_deref());
        assert!(answers(self), "sshd does not come back");
    }

    /// Breaks its connections; it takes new ones.
    pub(crate) fn cut(&self) {
        for pid in self.processes().into_iter().skip(1) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// Pid, parent and name of all processes.
fn children() -> impl Iterator<Item = (i32, i32, String)> {
    fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let (begin, end) = (stat.find('(')?, stat.rfind(')')?);
        let parent = stat[end + 1..].split_whitespace().nth(1)?.parse().ok()?;
        Some((pid, parent, stat[begin + 1..end].to_owned()))
    })
}

/// Servers, a key that they all take, and what is known of them.
pub(crate) struct Fleet {
    pub(crate) hosts: Vec<Sshd>,
    folder: tempfile::TempDir,
}

impl Fleet {
    /// So many servers, all known.
    pub(crate) fn start(count: usize) -> Self {
        Fleet::start_where(count, "")
    }

    /// Likewise, with more lines of `sshd_config`, which go before ours; `DIR` in them is the fleet's folder. Of several
    /// `SetEnv` lines the first counts: one here has to name the home as well.
    pub(crate) fn start_where(count: usize, more: &str) -> Self {
        Fleet::start_in(count, more, None, &[])
    }

    /// One server in a mount namespace of its own, in which `setup` is run before; both may name the fleet's folder
    /// `DIR`, which holds these files. `None`, said loudly, where nobody may make namespaces.
    pub(crate) fn start_apart(more: &str, setup: &str, files: &[(&str, &str)]) -> Option<Self> {
        let may = Command::new("unshare").args(["-m", "true"]).stderr(Stdio::null()).status();
        if !may.is_ok_and(|status| status.success()) {
            // Past the capture of the test's output.
            let _ = writeln!(std::io::stderr(), "\nSKIPPED: no mount namespace can be made here\n");
            return None;
        }
        Some(Fleet::start_in(1, more, Some(setup), files))
    }

    fn start_in(count: usize, more: &str, setup: Option<&str>, files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        make_key(&folder.path().join("id"));
        fs::copy(folder.path().join("id.pub"), folder.path().join("authorized_keys")).unwrap();
        let mut fleet = Fleet { hosts: Vec::new(), folder };
        for (name, text) in files {
            fs::write(fleet.path(name), fleet.here(text)).unwrap();
        }
        for index in 0..count {
            fleet.add(&format!("host{index}"), more, setup);
        }
        fleet.write_known_hosts();
        fleet
    }

    fn here(&self, text: &str) -> String {
        text.replace("DIR", &self.folder.path().display().to_string())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn add(&mut self, name: &str, more: &str, setup: Option<&str>) {
        // Where a privileged server wants to change its root to.
        let _ = fs::create_dir_all("/run/sshd");
        let key = self.path(&format!("{name}.key"));
        make_key(&key);
        let folder = self.folder.path().display().to_string();
        // Another program may take the port in between: then another one is tried.
        for _ in 0..10 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let config = self.path(&format!("{name}.conf"));
            // A home of its own: what the user's own start-up files do, and how long they take, is not tested here.
            let text = format!(
                "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {folder}/authorized_keys\n{}\n\
                 PidFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\nMaxStartups 1000\n\
                 MaxSessions 100\nSubsystem sftp internal-sftp\nSetEnv HOME={folder}\n",
                key.display(),
                self.here(more),
            );
            fs::write(&config, text).unwrap();
            let setup = setup.map(|setup| self.here(setup));
            let child = spawn(&config, setup.as_deref());
            let mut sshd = Sshd { name: name.to_owned(), port, config, setup, child };
            if answers(&mut sshd) {
                self.hosts.push(sshd);
                return;
            }
        }
        panic!("no sshd could be started");
    }

    /// The file in which Belay finds the keys of all hosts.
    pub(crate) fn known_hosts(&self) -> PathBuf {
        self.path("known_hosts")
    }

    fn write_known_hosts(&self) {
        let line = |host: &Sshd| format!("[127.0.0.1]:{} {}", host.port, self.public_key(&host.name));
        fs::write(self.known_hosts(), self.hosts.iter().map(line).collect::<String>()).unwrap();
    }

    /// Algorithm and key of a host.
    pub(crate) fn public_key(&self, name: &str) -> String {
        fs::read_to_string(self.path(&format!("{name}.key.pub"))).unwrap()
    }

    /// The configuration: free commands, all hosts in the group `all`, the first one with the tag `first`.
    pub(crate) fn config(&self) -> String {
        let mut text =
            format!("[ssh]\nknown_hosts = \"{}\"\nallow_free_commands = true\n", self.known_hosts().display(),);
        let names: Vec<String> = self.hosts.iter().map(|host| format!("\"{}\"", host.name)).collect();
        text.push_str(&format!("[host_groups]\nall = [{}]\n", names.join(", ")));
        for (index, host) in self.hosts.iter().enumerate() {
            let tags = if index == 0 { "tags = [\"first\"]" } else { "" };
            text.push_str(&self.host(&host.name, host.port, tags));
        }
        text
    }

    /// A host of the configuration.
    pub(crate) fn host(&self, name: &str, port: u16, more: &str) -> String {
        let key =
            if more.contains("key =") { String::new() } else { format!("key = \"{}\"\n", self.path("id").display()) };
        format!("[[hosts]]\nname = \"{name}\"\naddress = \"127.0.0.1\"\nport = {port}\nuser = \"root\"\n{key}{more}\n")
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for host in &mut self.hosts {
            for pid in host.processes() {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            let _ = host.child.wait();
        }
    }
}

fn spawn(config: &Path, setup: Option<&str>) -> Child {
    const SSHD: &str = "/usr/sbin/sshd";
    let mut command = match setup {
        None => Command::new(SSHD),
        Some(setup) => {
            let mut apart = Command::new("unshare");
            apart.args(["-m", "sh", "-ec", &format!("{setup}\nexec \"$0\" \"$@\""), SSHD]);
            apart
        }
    };
    command.args(["-D", "-f"]).arg(config);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("sshd is installed")
}

fn answers(sshd: &mut Sshd) -> bool {
    let deadline = Instant::now() + LONG;
    while Instant::now() < deadline {
        if sshd.child.try_wait().unwrap().is_some() {
            return false;
        }
        if TcpStream::connect(("127.0.0.1", sshd.port)).is_ok() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

/// A key pair without passphrase.
pub(crate) fn make_key(path: &Path) {
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path).status().unwrap();
    assert!(made.success());
}

/// Pid and command line of the processes whose environment is like this.
fn whose_environment(is_meant: impl Fn(&[u8]) -> bool) -> impl Iterator<Item = (i32, String)> {
    fs::read_dir("/proc").unwrap().flatten().filter_map(move |entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let environment = fs::read(entry.path().join("environ")).ok()?;
        environment.split(|byte| *byte == 0).any(&is_meant).then_some(())?;
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        Some((pid, String::from_utf8_lossy(&line).into_owned()))
    })
}

/// Processes that carry the mark of a run.
pub(crate) fn marked(run: &str) -> Vec<String> {
    let mark = format!("BELAY_RUN={run}");
    whose_environment(|pair| pair == mark.as_bytes()).map(|(pid, line)| format!("{pid} {line}")).collect()
}

/// Kills what carries the mark of a run, as a reboot does.
pub(crate) fn kill_marked(run: &str) {
    let mark = format!("BELAY_RUN={run}");
    for (pid, _) in whose_environment(|pair| pair == mark.as_bytes()) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

/// Kills the watcher of a run: what would stop the run by itself when its connection breaks.
pub(crate) fn kill_watcher(run: &str) {
    let watchers = || -> Vec<i32> {
        whose_environment(|pair| pair.starts_with(b"BELAY_LOOK="))
            .filter_map(|(pid, line)| line.contains(run).then_some(pid))
            .collect()
    };
    // It begins when the command does, and may be later.
    let begun = Instant::now();
    while watchers().is_empty() {
        assert!(begun.elapsed() < LONG, "there is no watcher");
        std::thread::sleep(Duration::from_millis(5));
    }
    let watchers = watchers();
    assert_eq!(watchers.len(), 1, "a run has one watcher");
    let _ = kill(Pid::from_raw(watchers[0]), Signal::SIGKILL);
}
