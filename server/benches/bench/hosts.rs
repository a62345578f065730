//! Many hosts at once. A few SSH servers on loopback stand for all of them, so the work of all hosts is done here, too.

use std::time::Instant;

use serde_json::{Value, json};

use crate::{
    harness::LONG,
    machine::Machine,
    marks::{Mark, wait_for},
    sshd::Fleet,
    stops::{cancel, until_over},
    table::{Table, millis},
    weight::{mega, peak},
    wire::Line,
};

/// Servers behind all hosts.
const SERVERS: usize = 4;

/// So many names for the servers of a fleet, in the group `many`.
fn many(fleet: &Fleet, count: usize) -> String {
    let names: Vec<String> = (0..count).map(|index| format!("many{index}")).collect();
    let hosts = names.iter().zip(fleet.hosts.iter().cycle()).map(|(name, server)| fleet.host(name, server.port, ""));
    let group = format!("[host_groups]\nmany = {names:?}\n");
    fleet.config().replace("[host_groups]\n", &group) + &hosts.collect::<String>()
}

fn submit(line: &mut Line, command: &Value, parallel: usize) -> String {
    let spec = json!({ "hosts": ["group:many"], "command": command, "parallel": parallel, "connect_timeout_s": 60 });
    let reply = line.post("/api/jobs", &json!({ "name": "many hosts", "kind": "hosts", "spec": spec }));
    assert_eq!(reply.status, 201, "{}", reply.json());
    reply.json()["job_id"].as_str().unwrap().to_owned()
}

pub(crate) fn cancel_of_a_hundred(table: &mut Table) {
    const HOSTS: usize = 100;
    let fleet = Fleet::start(SERVERS);
    let machine = Machine::start_where(&many(&fleet, HOSTS));
    let mut line = machine.line();
    let mut times = Vec::new();
    for _ in 0..5 {
        let mark = Mark::new();
        let id = submit(&mut line, &json!(["sleep", mark.nap]), HOSTS);
        let asleep = || mark.processes().len();
        wait_for(LONG * 2, || asleep() == HOSTS, || format!("{} of {HOSTS} sleep", asleep()));
        let begin = Instant::now();
        cancel(&mut line, &id);
        let job = until_over(&mut line, &id);
        times.push(begin.elapsed());
        assert_eq!(job["cancellation"]["stop"]["stopped"], HOSTS, "{job}");
        assert_eq!(asleep(), 0, "called cancelled, and alive");
    }
    times.sort_unstable();
    let (best, worst) = (times[0], times[times.len() - 1]);
    let measured = format!("{} to {}, n = {}", millis(best), millis(worst), times.len());
    let what = "cancel to proof on all, 100 hosts with `sleep 60` at once";
    table.add(what, "< 2 s", measured, worst.as_secs_f64() < 2.0);
}

pub(crate) fn memory_of_a_thousand(table: &mut Table) {
    const HOSTS: usize = 1_000;
    let fleet = Fleet::start(SERVERS);
    let machine = Machine::start_where(&many(&fleet, HOSTS));
    let mut line = machine.line();
    let begin = Instant::now();
    let id = submit(&mut line, &json!(["true"]), 64);
    let job = until_over(&mut line, &id);
    assert_eq!(job["progress"]["succeeded"], HOSTS, "{job}");
    let most = peak(machine.pid() as i32);
    let measured = format!("{:.1} MB, in {:.0} s", mega(most), begin.elapsed().as_secs_f64());
    table.add("memory of the server at most, 1,000 hosts, 64 at once", "< 200 MB", measured, most < 200_000_000);
}
