//! Configuration: `belay.toml`, environment, flags. Documented in README.md.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Deserialize;

/// The whole of `belay.toml`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub files: FilesConfig,
    pub worker: WorkerConfig,
    pub http: HttpConfig,
    /// Named commands for `files` jobs.
    pub presets: BTreeMap<String, Preset>,
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

/// `[presets.NAME]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// Program and arguments, with placeholders.
    pub command: Vec<String>,
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
