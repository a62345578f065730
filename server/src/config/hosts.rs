//! `[ssh]`, `[[hosts]]` and `[host_groups]`: the machines that jobs may be run on, and how they are reached.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

/// `[ssh]`: what holds for all hosts.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SshConfig {
    /// Keys of the hosts, as OpenSSH keeps them; default `~/.ssh/known_hosts`.
    pub known_hosts: Option<PathBuf>,
    /// Takes the key of a host that is not in `known_hosts`, and remembers it there. A key that changed is refused.
    pub accept_new: bool,
    /// True only where whoever signs in may run anything on every host.
    pub allow_free_commands: bool,
    /// Hosts at once on this server, over all jobs.
    pub slots: u32,
    /// Largest remote file that is fetched, bytes.
    pub max_collect_bytes: u64,
    /// Socket of the SSH agent that is asked for hosts without a key file; default `$SSH_AUTH_SOCK`.
    pub agent: Option<PathBuf>,
    /// A command whose connection broke is looked for so long, seconds, before its host fails as unconfirmed.
    pub reconnect_s: u32,
}

impl Default for SshConfig {
    fn default() -> Self {
        SshConfig {
            known_hosts: None,
            accept_new: false,
            allow_free_commands: false,
            slots: 256,
            max_collect_bytes: 100 << 20,
            agent: None,
            // A machine that is started anew is mostly back by then.
            reconnect_s: 300,
        }
    }
}

impl SshConfig {
    /// Makes the paths absolute.
    pub(super) fn resolve(&mut self, folder: &Path) {
        for path in [&mut self.known_hosts, &mut self.agent].into_iter().flatten() {
            *path = folder.join(&*path);
        }
    }

    /// How long a command whose connection broke is looked for.
    #[must_use]
    pub fn reconnect(&self) -> Duration {
        Duration::from_secs(self.reconnect_s.into())
    }
}

/// `[[hosts]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostConfig {
    /// What jobs call it: letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// Name or IP address; default `name`.
    #[serde(default)]
    pub address: String,
    #[serde(default = "ssh_port")]
    pub port: u16,
    /// Default: the user that the server runs as.
    #[serde(default)]
    pub user: Option<String>,
    /// Private key file, for its owner only. Without one the agent is asked.
    #[serde(default)]
    pub key: Option<PathBuf>,
    /// Environment variable of the server that holds the key's passphrase.
    #[serde(default)]
    pub passphrase_env: Option<String>,
    /// Environment variable of the server that holds the user's password.
    #[serde(default)]
    pub password_env: Option<String>,
    #[serde(default)]
    pub tags: Vec<String>,
    /// Name of the host through which this one is reached.
    #[serde(default)]
    pub jump: Option<String>,
}

const fn ssh_port() -> u16 {
    22
}

/// Fills in what was left out and checks names. The error is key and sentence.
pub(super) fn check(
    hosts: &mut [HostConfig],
    groups: &BTreeMap<String, Vec<String>>,
    folder: &Path,
) -> Result<(), (String, String)> {
    let fault = |key: String, message: String| Err((key, message));
    let mut names = HashSet::new();
    for host in &mut *hosts {
        if !is_name(&host.name) {
            let message = format!("`{}` must be made of letters, digits, `.`, `_` and `-`", host.name);
            return fault("hosts.name".to_owned(), message);
        }
        if !names.insert(host.name.clone()) {
            return fault(format!("hosts.{}", host.name), "is there twice".to_owned());
        }
        if host.port == 0 {
            return fault(format!("hosts.{}.port", host.name), "must be from 1 to 65535".to_owned());
        }
        if host.address.is_empty() {
            host.address.clone_from(&host.name);
        }
        if let Some(key) = &mut host.key {
            *key = folder.join(&*key);
        }
    }
    check_jumps(hosts)?;
    for (group, members) in groups {
        if let Some(member) = members.iter().find(|member| !names.contains(*member)) {
            return fault(format!("host_groups.{group}"), format!("there is no host `{member}`"));
        }
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !name.is_empty() && name.len() <= 200 && name.chars().all(is_fine)
}

/// Every way to a host ends.
fn check_jumps(hosts: &[HostConfig]) -> Result<(), (String, String)> {
    let jumps: HashMap<&str, Option<&str>> =
        hosts.iter().map(|host| (host.name.as_str(), host.jump.as_deref())).collect();
    for host in hosts {
        let key = || format!("hosts.{}.jump", host.name);
        let mut via = host.jump.as_deref();
        for _ in 0..=hosts.len() {
            let Some(name) = via else { break };
            via = match jumps.get(name) {
                Some(next) => *next,
                None => return Err((key(), format!("there is no host `{name}`"))),
            };
        }
        if via.is_some() {
            return Err((key(), "goes round in a circle".to_owned()));
        }
    }
    Ok(())
}
