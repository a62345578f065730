//! What it weighs: the console on the wire, the server in memory, and the time to get up.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use crate::{
    machine::Machine,
    marks::belay_tree,
    table::{Table, kilobytes},
};

/// Everything that a browser with an empty cache loads for the list, as compressed on the wire (brotli).
pub(crate) fn first_load(table: &mut Table) {
    let machine = Machine::start(1);
    let mut line = machine.line();
    let plain = line.get("/jobs");
    assert_eq!(plain.status, 200);
    let html = String::from_utf8_lossy(&plain.body).into_owned();
    let brotli = [("accept-encoding", "br")];
    let mut total = line.ask("GET", "/jobs", &brotli, None).wire;
    let mut parts = vec![format!("html {}", kilobytes(total))];
    for asset in assets(&html) {
        let reply = line.ask("GET", &asset, &brotli, None);
        if reply.status == 200 {
            total += reply.wire;
            let kind = asset.rsplit('.').next().unwrap_or_default().to_owned();
            parts.push(format!("{kind} {}", kilobytes(reply.wire)));
        }
    }
    let has_wasm = parts.iter().any(|part| part.starts_with("wasm"));
    let measured = if has_wasm {
        format!("{} ({})", kilobytes(total), parts.join(", "))
    } else {
        format!("no WebAssembly bundle in this build ({})", parts.join(", "))
    };
    table.add("first load of the console, brotli", "< 250 kB", measured, has_wasm && total < 250_000);
}

/// Addresses below `/pkg` and the icon, each once.
fn assets(html: &str) -> BTreeSet<String> {
    html.split(['"', '\''])
        .filter(|text| text.starts_with("/pkg/") || text.starts_with("/favicon") || text.starts_with("/assets/"))
        .map(|text| text.split(['?', '#']).next().unwrap_or(text).to_owned())
        .collect()
}

pub(crate) fn memory_and_start(table: &mut Table) {
    let mut machine = Machine::start(2);
    let mut line = machine.line();
    for path in ["/jobs", "/api/jobs", "/metrics"] {
        line.get(path);
    }
    // Idle is a state that only time makes.
    std::thread::sleep(Duration::from_secs(3));
    let tree = belay_tree(machine.pid());
    let server = resident(machine.pid() as i32);
    let all: u64 = tree.iter().map(|process| resident(process.pid)).sum();
    let measured = format!("{:.1} MB (with its spawner {:.1} MB)", mega(server), mega(all));
    table.add("idle memory of the server (RSS)", "< 60 MB", measured, server < 60_000_000);

    let mut times = Vec::new();
    for _ in 0..20 {
        machine.kill9();
        let begin = Instant::now();
        machine.restart();
        assert_eq!(machine.line().get("/readyz").status, 200);
        times.push(begin.elapsed());
    }
    table.add_times("cold start to ready", Duration::from_secs(1), &mut times);
}

pub(crate) fn mega(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// VmRSS, bytes.
pub(crate) fn resident(pid: i32) -> u64 {
    memory(pid, "VmRSS:")
}

/// VmHWM: what it was at most, bytes.
pub(crate) fn peak(pid: i32) -> u64 {
    memory(pid, "VmHWM:")
}

fn memory(pid: i32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0) * 1024
}
