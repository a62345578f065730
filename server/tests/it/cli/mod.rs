//! The command line against a real server: in a pipe (`jobs`, `actions`), on a terminal (`prompts`), over a network that
//! fails (`network`).

mod actions;
mod help;
mod https;
mod jobs;
mod network;
mod prompts;
mod terminal;

use std::{process::Stdio, time::Duration};

use serde_json::json;
use tokio::{io::AsyncWriteExt as _, process::Command};

use crate::harness::{LONG, Server};

/// How a command ended, and what it wrote into pipes.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// Standard output of a command that must have succeeded.
    pub(crate) fn done(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    pub(crate) fn json(self) -> serde_json::Value {
        serde_json::from_str(&self.done()).unwrap()
    }
}

/// The program with nothing of this test's own environment that it would read.
pub(crate) fn belay() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_belay"));
    for name in [
        "BELAY_SERVER",
        "BELAY_TOKEN",
        "BELAY_DATA_DIR",
        "XDG_RUNTIME_DIR",
        "XDG_STATE_HOME",
        "NO_COLOR",
        "BELAY_LISTEN",
        "BELAY_CONFIG",
    ] {
        command.env_remove(name);
    }
    command.env("HOME", "/nonexistent").kill_on_drop(true);
    command
}

/// Likewise, as the user of this server has it.
pub(crate) fn belay_of(server: &Server) -> Command {
    let mut command = belay();
    command.env("XDG_RUNTIME_DIR", server.runtime_dir());
    command
}

pub(crate) async fn run(mut command: Command, args: &[&str], input: &str) -> Ran {
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // Who does not read its input may have ended by now.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = tokio::time::timeout(LONG, child.wait_with_output()).await.expect("no end").unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

impl Server {
    /// Runs a client command in pipes.
    pub(crate) async fn belay(&self, args: &[&str]) -> Ran {
        run(belay_of(self), args, "").await
    }
}

/// A job of one unit that is deaf to SIGTERM: only after its grace a cancel is proven.
pub(crate) async fn submit_deaf(server: &Server, grace_s: u32) -> String {
    submit_started(server, 1, "trap '' TERM; echo ready; while :; do sleep 1; done", grace_s).await
}

/// A job of units that run until they are stopped, and whose commands have begun: all of them, or two.
pub(crate) async fn submit_running(server: &Server, units: usize) -> String {
    submit_started(server, units, "echo ready; sleep 600", 5).await
}

async fn submit_started(server: &Server, units: usize, script: &str, grace_s: u32) -> String {
    let inputs = server.inputs("started", units);
    let spec = json!({"command": ["sh", "-c", script], "inputs": [inputs], "grace_s": grace_s});
    let created = server.post("/api/jobs", &json!({"name": "started", "kind": "files", "spec": spec})).await;
    let id = created.body["job_id"].as_str().unwrap().to_owned();
    let path = format!("/api/jobs/{id}/log?download=true");
    let said = async {
        while server.get(&path).await.text().matches("ready").count() < units.min(2) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LONG, said).await.expect("it never ran");
    id
}
