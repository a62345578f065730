//! Configuration: `belay.toml`, environment, flags. Documented in README.md.

pub mod hosts;
pub mod providers;

use std::{
    collections::BTreeMap,
    io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use app::model::Kind;
use serde::Deserialize;

use self::{
    hosts::{HostConfig, SshConfig},
    providers::ProviderConfig,
};

/// The whole of `belay.toml`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub files: FilesConfig,
    pub worker: WorkerConfig,
    pub http: HttpConfig,
    pub bulk: BulkConfig,
    /// Named commands, each for the jobs of one kind.
    pub presets: BTreeMap<String, Preset>,
    pub ssh: SshConfig,
    /// Machines that jobs of kind `hosts` may be run on.
    pub hosts: Vec<HostConfig>,
    /// `[host_groups]`: names of hosts under one name.
    pub host_groups: BTreeMap<String, Vec<String>>,
    /// `[providers.NAME]`: batch APIs that jobs may be sent to.
    pub providers: BTreeMap<String, ProviderConfig>,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("configuration `{path}` cannot be read")]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{path}:{line}: {message}")]
    Malformed { path: PathBuf, line: usize, message: String },
    #[error("{path}: `{key}`: {message}")]
    Unusable { path: PathBuf, key: String, message: String },
}

impl Config {
    /// Reads and checks a file. Roots become absolute, without links.
    ///
    /// # Errors
    /// The file cannot be read, is no TOML of this shape, or names what is not there.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        let mut config: Config = toml::from_str(&text).map_err(|error| {
            let begin = error.span().map_or(0, |span| span.start);
            let line = text.bytes().take(begin).filter(|byte| *byte == b'\n').count() + 1;
            let message = error.message().lines().collect::<Vec<_>>().join(" ");
            ConfigError::Malformed { path: path.to_owned(), line, message }
        })?;
        let folder = path.parent().unwrap_or(Path::new("."));
        config.check(folder).map_err(|(key, message)| ConfigError::Unusable { path: path.to_owned(), key, message })?;
        Ok(config)
    }

    /// The presets that jobs of this kind may use.
    #[must_use]
    pub fn presets_of(&self, kind: Kind) -> BTreeMap<String, Preset> {
        let of_kind = self.presets.iter().filter(|(_, preset)| preset.kind == kind);
        of_kind.map(|(name, preset)| (name.clone(), preset.clone())).collect()
    }

    /// Checks what the types cannot, and resolves roots against `folder`. The error is key and sentence.
    fn check(&mut self, folder: &Path) -> Result<(), (String, String)> {
        let fault = |key: &str, message: String| Err((key.to_owned(), message));
        for root in &mut self.files.roots {
            let given = folder.join(&*root);
            match given.canonicalize() {
                Ok(found) if found.is_dir() => *root = found,
                Ok(_) => return fault("files.roots", format!("`{}` is not a folder", root.display())),
                Err(error) => return fault("files.roots", format!("`{}`: {error}", given.display())),
            }
        }
        if self.worker.slots == 0 {
            return fault("worker.slots", "must be at least 1".to_owned());
        }
        let url = &self.http.public_url;
        if !url.is_empty() && !url.starts_with("http://") && !url.starts_with("https://") {
            return fault("http.public_url", "must begin with http:// or https://".to_owned());
        }
        if let Some(proxy) = self.http.trusted_proxies.iter().find(|proxy| proxy.parse::<IpAddr>().is_err()) {
            return fault("http.trusted_proxies", format!("`{proxy}` is no IP address"));
        }
        for (name, preset) in &self.presets {
            if preset.command.first().is_none_or(|program| program.trim().is_empty()) {
                return fault(&format!("presets.{name}.command"), "names no program".to_owned());
            }
        }
        self.ssh.resolve(folder);
        providers::check(&mut self.providers, folder)?;
        hosts::check(&mut self.hosts, &self.host_groups, folder)
    }
}

/// `[files]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FilesConfig {
    /// Folders from which jobs may take files; relative ones are relative to the file's own folder.
    pub roots: Vec<PathBuf>,
    /// True only where whoever signs in may run anything.
    pub allow_free_commands: bool,
    /// Bytes of uploads a job.
    pub max_upload_bytes: u64,
}

impl Default for FilesConfig {
    fn default() -> Self {
        FilesConfig { roots: Vec::new(), allow_free_commands: false, max_upload_bytes: 2 << 30 }
    }
}

/// `[worker]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkerConfig {
    /// Runs at once on this worker; default: cores.
    pub slots: u32,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        WorkerConfig { slots: std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32) }
    }
}

/// `[http]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// Address under which people reach it behind a proxy: `https://belay.example`. Empty: none.
    pub public_url: String,
    /// Addresses of proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed.
    pub trusted_proxies: Vec<String>,
}

/// `[bulk]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BulkConfig {
    /// Most jobs that one action takes.
    pub max_jobs: u32,
}

impl Default for BulkConfig {
    fn default() -> Self {
        BulkConfig { max_jobs: 10_000 }
    }
}

/// `[presets.NAME]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// Program and arguments, with placeholders.
    pub command: Vec<String>,
    /// Kind of the jobs that may use it: `files` when it does not say.
    #[serde(default)]
    pub kind: Kind,
    #[serde(default)]
    pub description: Option<String>,
    /// Variables for the command beside PATH, HOME, LANG, TMPDIR and Belay's own.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Defaults for jobs that use the preset.
    #[serde(default)]
    pub timeout_s: Option<u32>,
    #[serde(default)]
    pub grace_s: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("input")).unwrap();
        let path = folder.path().join("belay.toml");
        std::fs::write(&path, text).unwrap();
        Config::load(&path).map_err(|error| error.to_string().replace(&folder.path().display().to_string(), "DIR"))
    }

    #[test]
    fn a_root_is_relative_to_the_files_own_folder() {
        let config = load("[files]\nroots = [\"input\"]").unwrap();
        assert!(config.files.roots[0].is_absolute());
        assert!(config.files.roots[0].ends_with("input"));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line_or_key() {
        let unknown = load("[files]\n\nroot = [\"input\"]\n").unwrap_err();
        assert!(unknown.starts_with("DIR/belay.toml:3: unknown field `root`"), "{unknown}");
        let syntax = load("[files\n").unwrap_err();
        assert!(syntax.starts_with("DIR/belay.toml:1: "), "{syntax}");
        for (text, key) in [
            ("[files]\nroots = [\"nowhere\"]", "`files.roots`: `DIR/nowhere`"),
            ("[worker]\nslots = 0", "`worker.slots`"),
            ("[http]\npublic_url = \"belay.example\"", "`http.public_url`"),
            ("[http]\ntrusted_proxies = [\"proxy\"]", "`http.trusted_proxies`"),
            ("[presets.x]\ncommand = []", "`presets.x.command`"),
        ] {
            let error = load(text).unwrap_err();
            assert!(error.contains(key), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_provider_that_cannot_be_is_refused() {
        let text = "[providers.openai]\nbase_url = \"https://api.openai.com/v1\"\napi_key_env = \"OPENAI_API_KEY\"";
        assert_eq!(load(text).unwrap().providers.len(), 1);
        for (text, key) in [
            ("[providers.a]\nbase_url = \"https://x/?key=1\"", "`providers.a.base_url`"),
            ("[providers.a]\napi_key_env = \"K\"\napi_key_file = \"k\"", "`providers.a.api_key_file`"),
            ("[providers.a]\ntype = \"anthropic\"", ":2: unknown variant `anthropic`"),
            ("[providers.a]\napi_key = \"sk-1\"", ":2: unknown field `api_key`"),
            ("[providers.a.prices.\"m\"]\ninput = -1.0\noutput = 1.0", "`providers.a.prices.m`"),
            ("[providers.\"a/b\"]", "`providers.a/b`"),
        ] {
            let error = load(text).unwrap_err();
            assert!(error.contains(key), "{text}: {error}");
            assert!(!error.contains("sk-1"), "{error}");
        }
    }

    #[test]
    fn a_preset_is_for_the_jobs_of_one_kind() {
        let text = "[presets.sum]\ncommand = [\"sha256sum\"]\n[presets.load]\nkind = \"hosts\"\ncommand = [\"uptime\"]";
        let config = load(text).unwrap();
        let names = |kind| config.presets_of(kind).into_keys().collect::<Vec<_>>();
        assert_eq!((names(Kind::Files), names(Kind::Hosts)), (vec!["sum".to_owned()], vec!["load".to_owned()]));
    }

    #[test]
    fn a_host_has_an_address_and_a_port_without_saying_so() {
        let config = load("[[hosts]]\nname = \"web1\"\nkey = \"id\"").unwrap();
        let host = &config.hosts[0];
        assert_eq!((host.address.as_str(), host.port), ("web1", 22));
        assert!(host.key.as_ref().unwrap().is_absolute(), "relative to the file's own folder");
    }

    #[test]
    fn an_inventory_that_cannot_be_is_refused() {
        let two = "[[hosts]]\nname = \"a\"\n[[hosts]]\nname = \"b\"\n";
        for (text, key) in [
            ("[[hosts]]\nname = \"a\"\nport = 0", "`hosts.a.port`"),
            ("[[hosts]]\nname = \"a\"\nport = 65536", ":3: "),
            ("[[hosts]]\nname = \"group:a\"", "`hosts.name`"),
            ("[[hosts]]\nname = \"a\"\n[[hosts]]\nname = \"a\"", "`hosts.a`"),
            ("[[hosts]]\nname = \"a\"\njump = \"b\"", "`hosts.a.jump`"),
            (&format!("{two}jump = \"b\""), "`hosts.b.jump`"),
            (&format!("{two}[host_groups]\ndb = [\"c\"]"), "`host_groups.db`"),
        ] {
            let error = load(text).unwrap_err();
            assert!(error.contains(key), "{text}: {error}");
        }
    }
}
