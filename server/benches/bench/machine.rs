//! A server to be measured: the test harness's, with a blocking face, and a folder of inputs.

use std::{
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use crate::{harness::Server, marks::Mark, wire::Line};

/// The server, its inputs, and the runtime that the harness wants.
pub(crate) struct Machine {
    runtime: tokio::runtime::Runtime,
    server: Option<Server>,
    inputs: tempfile::TempDir,
}

impl Machine {
    /// On a fresh data folder.
    pub(crate) fn start(slots: u32) -> Self {
        Self::build(slots, None)
    }

    /// On a data folder that is there.
    pub(crate) fn start_in(slots: u32, data_dir: &Path) -> Self {
        Self::build(slots, Some(data_dir))
    }

    /// On a fresh data folder, with more configuration.
    pub(crate) fn start_where(more: &str) -> Self {
        let inputs = tempfile::tempdir().unwrap();
        let runtime = runtime();
        let server = runtime.block_on(Server::start_with(&format!("[worker]\nslots = 2\n{more}")));
        Machine { runtime, server: Some(server), inputs }
    }

    fn build(slots: u32, data_dir: Option<&Path>) -> Self {
        let inputs = tempfile::tempdir().unwrap();
        let runtime = runtime();
        let config =
            format!("[files]\nroots = [{:?}]\nallow_free_commands = true\n[worker]\nslots = {slots}\n", inputs.path());
        let server = match data_dir {
            Some(data_dir) => runtime.block_on(Server::start_in(data_dir, &config)),
            None => runtime.block_on(Server::start_with(&config)),
        };
        Machine { runtime, server: Some(server), inputs }
    }

    fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    pub(crate) fn line(&self) -> Line {
        Line::open(&self.server().address(), self.server().token())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.server().pid()
    }

    /// `count` small files whose names carry the mark; answers their folder.
    pub(crate) fn inputs(&self, label: &str, mark: &Mark, count: usize) -> PathBuf {
        let folder = self.folder(label);
        for index in 0..count {
            std::fs::write(folder.join(format!("{}-{index:05}", mark.text)), folder.as_os_str().as_bytes()).unwrap();
        }
        folder
    }

    /// A new folder from which jobs may take files.
    pub(crate) fn folder(&self, label: &str) -> PathBuf {
        let folder = self.inputs.path().join(label);
        std::fs::create_dir(&folder).unwrap();
        folder
    }

    pub(crate) fn kill9(&mut self) {
        self.server.as_mut().unwrap().kill9();
    }

    pub(crate) fn restart(&mut self) {
        let server = self.server.as_mut().unwrap();
        self.runtime.block_on(server.restart());
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // The harness may want its runtime when it ends.
        let _inside = self.runtime.enter();
        self.server.take();
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// Runs something of the library to its end.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    runtime().block_on(work)
}

/// What the numbers belong to.
pub(crate) fn describe() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let memory = read("/proc/meminfo");
    let kilobytes: f64 = memory
        .lines()
        .next()
        .and_then(|line| line.split_whitespace().nth(1))
        .and_then(|n| n.parse().ok())
        .unwrap_or(0.0);
    format!(
        "{cores} cores, {}, {:.0} GB, Linux {}",
        model.trim_start_matches([' ', ':', '\t']),
        kilobytes / 1e6,
        read("/proc/sys/kernel/osrelease").trim()
    )
}
