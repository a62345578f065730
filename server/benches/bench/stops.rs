//! Stopping, at speed and without exception; and starting, many times.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    machine::Machine,
    marks::{Mark, wait_for},
    table::Table,
    wire::{Line, Reply},
};

const PATIENCE: Duration = Duration::from_secs(30);

/// A shell with two children: three processes, all of which obey SIGTERM.
fn small_tree(mark: &Mark) -> Value {
    json!(["sh", "-c", format!("sleep {0} & sleep {0} & wait", mark.nap), mark.text])
}

fn submit(line: &mut Line, name: &str, command: &Value, inputs: &PathBuf) -> String {
    let spec = json!({ "command": command, "inputs": [inputs], "grace_s": 5 });
    let reply = line.post("/api/jobs", &json!({ "name": name, "kind": "files", "spec": spec }));
    assert_eq!(reply.status, 201, "{}", reply.json());
    reply.json()["job_id"].as_str().unwrap().to_owned()
}

pub(crate) fn cancel(line: &mut Line, id: &str) -> Reply {
    let reply = line.post(&format!("/api/jobs/{id}/cancel"), &json!({}));
    assert!(matches!(reply.status, 200 | 202), "{}", reply.json());
    reply
}

fn wait_for_processes(mark: &Mark, count: usize) {
    wait_for(PATIENCE, || mark.processes().len() >= count, || format!("{:?}", mark.processes()));
}

/// Follows the job by its ETag until it is over.
pub(crate) fn until_over(line: &mut Line, id: &str) -> Value {
    let path = format!("/api/jobs/{id}");
    let mut reply = line.get(&path);
    let begin = Instant::now();
    loop {
        if reply.status == 200 {
            let job = reply.json();
            if matches!(job["phase"].as_str(), Some("completed" | "partial" | "failed" | "cancelled")) {
                return job;
            }
        }
        assert!(begin.elapsed() < Duration::from_secs(300), "job {id} does not end");
        let tag = reply.header("etag").unwrap_or_default().to_owned();
        let next = line.ask("GET", &format!("{path}?wait=5s"), &[("if-none-match", &tag)], None);
        if next.status != 304 {
            reply = next;
        }
    }
}

pub(crate) fn cancel_of_a_small_tree(table: &mut Table) {
    let machine = Machine::start(2);
    let mut line = machine.line();
    let mut times = Vec::new();
    for trial in 0..100 {
        let mark = Mark::new();
        let inputs = machine.inputs(&format!("tree-{trial}"), &mark, 1);
        let id = submit(&mut line, "tree", &small_tree(&mark), &inputs);
        wait_for_processes(&mark, 3);
        let reply = cancel(&mut line, &id);
        let answer = reply.json();
        assert_eq!((&answer["phase"], &answer["stop"]["stopped"]), (&json!("cancelled"), &json!(1)), "{answer}");
        assert!(mark.processes().is_empty(), "called cancelled, and alive");
        times.push(reply.took);
    }
    table.add_times("cancel to proof, tree of 3 that obeys SIGTERM", Duration::from_millis(150), &mut times);
}

/// A third each of cancel, forced delete and `kill -9` of the server; a trial is one tree of three processes.
pub(crate) fn orphans(table: &mut Table, trials: u64) {
    const AT_ONCE: usize = 4;
    let mut machine = Machine::start(AT_ONCE as u32);
    let mut left = 0;
    let mut done = 0;
    let mut round = 0;
    while done < trials {
        let mark = Mark::new();
        let inputs = machine.inputs(&format!("round-{round}"), &mark, AT_ONCE);
        let mut line = machine.line();
        let id = submit(&mut line, "round", &small_tree(&mark), &inputs);
        wait_for_processes(&mark, 3 * AT_ONCE);
        match round % 3 {
            0 => {
                cancel(&mut line, &id);
                assert_eq!(until_over(&mut line, &id)["phase"], "cancelled");
                left += mark.processes().len();
            }
            1 => {
                let reply = line.ask("DELETE", &format!("/api/jobs/{id}?force=true"), &[], None);
                assert_eq!(reply.status, 200, "{}", reply.json());
                left += mark.processes().len();
            }
            _ => {
                machine.kill9();
                let begin = Instant::now();
                while !mark.processes().is_empty() && begin.elapsed() < PATIENCE {
                    std::thread::sleep(Duration::from_millis(5));
                }
                left += mark.processes().len();
                machine.restart();
                let mut line = machine.line();
                let reply = line.ask("DELETE", &format!("/api/jobs/{id}?force=true"), &[], None);
                assert_eq!(reply.status, 200, "{}", reply.json());
                left += mark.processes().len();
            }
        }
        done += AT_ONCE as u64;
        round += 1;
    }
    let what = "orphans after cancel, delete or kill -9 of the server";
    table.add(what, "0", format!("{left} after {done} trials"), left == 0);
}

pub(crate) fn cancel_of_a_long_queue(table: &mut Table) {
    let machine = Machine::start(2);
    let mut line = machine.line();
    let mut times = Vec::new();
    let mark = Mark::new();
    let inputs = machine.inputs("queue", &mark, 50_000);
    for _ in 0..20 {
        let id = submit(&mut line, "queue", &small_tree(&mark), &inputs);
        wait_for_processes(&mark, 6);
        let reply = cancel(&mut line, &id);
        let answer = reply.json();
        assert_eq!(answer["phase"], "cancelled", "{answer}");
        assert_eq!(answer["stop"]["never_started"], 49_998, "{answer}");
        times.push(reply.took);
    }
    table.add_times("cancel of a job with 50,000 queued units", Duration::from_millis(500), &mut times);
}

/// 10,000 jobs by one request, while two others hold the slots.
pub(crate) fn cancel_of_many_jobs(table: &mut Table) {
    const JOBS: u64 = 10_000;
    let machine = Machine::start(2);
    let mut line = machine.line();
    let mark = Mark::new();
    let (held, waiting) = (machine.inputs("held", &mark, 2), machine.inputs("waiting", &mark, 1));
    let holder = submit(&mut line, "held", &small_tree(&mark), &held);
    wait_for_processes(&mark, 6);
    for _ in 0..JOBS {
        submit(&mut line, "waiting", &json!(["true"]), &waiting);
    }
    let body = json!({ "action": "cancel", "select": { "filter": { "phase": "pending" } } });
    let begin = Instant::now();
    let reply = line.post("/api/bulk", &body);
    let accepted = begin.elapsed();
    assert_eq!(reply.status, 202, "{}", reply.json());
    let path = format!("/api/bulk/{}", reply.json()["bulk_id"].as_str().unwrap());
    let bulk = loop {
        let bulk = line.get(&path).json();
        if bulk["state"] != "running" {
            break bulk;
        }
        assert!(begin.elapsed() < PATIENCE, "{bulk}");
    };
    let took = begin.elapsed();
    assert_eq!(bulk["counts"], json!([{ "result": "done", "jobs": JOBS }]), "{bulk}");
    cancel(&mut line, &holder);
    let seconds = |time: Duration| format!("{:.2} s", time.as_secs_f64());
    table.add("10,000 jobs to cancel accepted", "< 1 s", seconds(accepted), accepted < Duration::from_secs(1));
    table.add("10,000 pending jobs cancelled", "< 5 s", seconds(took), took < Duration::from_secs(5));
}

pub(crate) fn small_units(table: &mut Table) {
    let machine = Machine::start(2);
    let mut line = machine.line();
    let mark = Mark::new();
    let units = 3000;
    let inputs = machine.inputs("true", &mark, units);
    let begin = Instant::now();
    let id = submit(&mut line, "true", &json!(["true"]), &inputs);
    // Asked now and then, as the console does. To be told of each unit at once would be half of the work.
    let path = format!("/api/jobs/{id}");
    while line.get(&path).json()["phase"] != "completed" {
        assert!(begin.elapsed() < 10 * PATIENCE, "{}", line.get(&path).json());
        std::thread::sleep(Duration::from_millis(100));
    }
    let rate = units as f64 / begin.elapsed().as_secs_f64();
    table.add(
        "small units (`true`), 2 slots, submit to end",
        "> 300 units/s",
        format!("{rate:.0} units/s"),
        rate > 300.0,
    );
}
