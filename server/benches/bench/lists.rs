//! The list at a million jobs: every way to look at it, at any depth, and the answer to a poll that changes nothing.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{
    machine::{self, Machine},
    table::{Table, kilobytes, millis},
    wire::{Line, Reply},
};

const LOOKS: usize = 200;

pub(crate) fn at_a_million(table: &mut Table, jobs: u64) {
    let folder = tempfile::tempdir().unwrap();
    let begin = Instant::now();
    machine::block_on(belay_server::store::sqlite::seed::seed(&folder.path().join("belay.db"), jobs)).unwrap();
    eprintln!("    seeded {jobs} jobs in {:.0} s", begin.elapsed().as_secs_f64());
    let machine = Machine::start_in(1, folder.path());
    let mut line = machine.line();
    let count = thousands(jobs);

    let mut look = |table: &mut Table, what: &str, goal: u64, query: &str| {
        let mut times: Vec<Duration> = (0..LOOKS).map(|_| page(&mut line, query).took).collect();
        let found = page(&mut line, query).json()["items"].as_array().unwrap().len();
        assert!(found > 0, "{query} finds nothing: {what} would measure an empty page");
        table.add_times(&format!("list of 50 at {count} jobs, {what}"), Duration::from_millis(goal), &mut times);
    };
    look(table, "first page", 5, "");
    look(table, "one phase", 10, "&phase=failed");
    look(table, "one kind", 10, "&kind=files");
    look(table, "phase and kind", 10, "&phase=partial&kind=files");
    let somebody = page(&mut machine.line(), "").json()["items"][0]["created_by"].as_str().unwrap().to_owned();
    look(table, "created_by and phase", 10, &format!("&created_by={somebody}&phase=completed"));
    look(table, "by name", 10, "&sort=name");
    let deep = cursor_at_depth(&mut machine.line(), jobs / 2);
    look(table, "half-way down", 10, &format!("&cursor={deep}"));

    rare_search(table, &mut machine.line(), &count);
    bytes_on_the_wire(table, &mut machine.line());
    unchanged_poll(table, &mut machine.line());
}

fn page(line: &mut Line, query: &str) -> Reply {
    let reply = line.get(&format!("/api/jobs?limit=50{query}"));
    assert_eq!(reply.status, 200, "{query}: {}", reply.json());
    reply
}

/// Walks there in pages of 200: a cursor cannot be made up.
fn cursor_at_depth(line: &mut Line, depth: u64) -> String {
    let mut cursor = String::new();
    for _ in 0..depth / 200 {
        let reply = line.get(&format!("/api/jobs?limit=200{cursor}"));
        let answer = reply.json();
        let next = answer["next_cursor"].as_str().unwrap_or_else(|| panic!("the list ends early: {}", reply.status));
        cursor = format!("&cursor={next}");
    }
    cursor.trim_start_matches("&cursor=").to_owned()
}

/// A text that hardly any job has: each answer stops after its share of time, with a cursor where it was not finished.
fn rare_search(table: &mut Table, line: &mut Line, count: &str) {
    let mut times = Vec::new();
    let mut unfinished = 0;
    for word in ["zebra", "quagga", "okapi-99", "999999", "0123456"] {
        for _ in 0..10 {
            let reply = page(line, &format!("&q={word}"));
            unfinished += usize::from(reply.json()["next_cursor"].is_string());
            times.push(reply.took);
        }
    }
    let what = format!("rare `q` at {count} jobs ({unfinished} of {} answers with a cursor)", times.len());
    table.add_times(&what, Duration::from_millis(60), &mut times);
}

fn bytes_on_the_wire(table: &mut Table, line: &mut Line) {
    let reply = line.ask("GET", "/api/jobs?limit=50", &[("accept-encoding", "br")], None);
    let packed = reply.header("content-encoding").unwrap_or("identity").to_owned();
    table.add(
        "list of 50 on the wire",
        "<= 10 kB",
        format!("{} ({packed})", kilobytes(reply.wire)),
        reply.wire <= 10_000,
    );
}

fn unchanged_poll(table: &mut Table, line: &mut Line) {
    let tag = line.get("/api/jobs?limit=50").header("etag").unwrap_or_default().to_owned();
    let mut times = Vec::new();
    let mut most = 0;
    for _ in 0..LOOKS {
        let reply = line.ask("GET", "/api/jobs?limit=50", &[("if-none-match", &tag)], None);
        assert_eq!(reply.status, 304, "{:?}", serde_json::from_slice::<Value>(&reply.body));
        most = most.max(reply.wire);
        times.push(reply.took);
    }
    table.add("unchanged poll, bytes of the 304", "< 300 bytes", format!("{most} bytes"), most < 300);
    table.add_times("unchanged poll, time", Duration::from_millis(1), &mut times);
    eprintln!("    (the slowest of them {})", millis(times.last().copied().unwrap_or_default()));
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
