//! Checking and joining the largest file that OpenAI takes: 50,000 requests, 200 MB. Each runs in a process of its own,
//! so that its peak of memory is its own. A part of `make bench`; not a test: its numbers belong to a machine.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark that cannot measure has nothing better to do than stop"
)]

use std::{
    fs::{self, File},
    io::{BufWriter, Write as _},
    path::Path,
    process::Command,
    sync::atomic::AtomicBool,
    time::{Duration, Instant},
};

use batches::{
    Shape,
    requests::{Rules, check},
    results::{Join, RowStatus, join},
};

const REQUESTS: usize = 50_000;
const BYTES: usize = 200 << 20;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    // `cargo bench` adds arguments of its own.
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[1..] {
        ["check", folder] => measure(|| check_requests(Path::new(folder))),
        ["join", folder] => measure(|| join_results(Path::new(folder))),
        _ => compare(),
    }
}

/// Runs both in processes of their own and prints the table.
fn compare() {
    let folder = tempfile::tempdir().unwrap();
    write_requests(&folder.path().join("requests"));
    write_results(&folder.path().join("results"));
    let size = |name: &str| fs::metadata(folder.path().join(name)).unwrap().len() / 1_000_000;
    println!("| what | goal | measured | met? |");
    println!("| ---- | ---- | -------- | ---- |");
    for (name, what, seconds, file) in [
        ("check", "checking a file of requests", 3.0, "requests"),
        ("join", "joining results to requests", 5.0, "results"),
    ] {
        let program = std::env::current_exe().unwrap();
        let output = Command::new(program).arg(name).arg(folder.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let told = String::from_utf8(output.stdout).unwrap();
        let (time, memory) = told.trim().split_once(' ').unwrap();
        let (time, memory): (f64, u64) = (time.parse().unwrap(), memory.parse().unwrap());
        let met = if time < seconds && memory < 100_000_000 { "yes" } else { "NO" };
        println!(
            "| {what}: {REQUESTS} of them, {} MB | < {seconds} s, < 100 MB | {time:.2} s, {} MB | {met} |",
            size(file),
            memory / 1_000_000
        );
    }
}

/// Prints seconds and the most memory that this process ever had, in bytes.
fn measure(work: impl FnOnce()) {
    let begin = Instant::now();
    work();
    let took: Duration = begin.elapsed();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kilobytes: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    println!("{} {}", took.as_secs_f64(), kilobytes * 1024);
}

fn check_requests(folder: &Path) {
    let checked = check(&folder.join("requests"), &Rules::of(Shape::Openai), &AtomicBool::new(false)).unwrap();
    assert!(checked.is_sendable() && checked.requests == REQUESTS as u64, "{checked:?}");
}

fn join_results(folder: &Path) {
    let [rows, table, remaining] = ["rows", "table", "remaining"].map(|name| folder.join(name));
    let what = Join {
        requests: Some(&folder.join("requests")),
        outputs: &[folder.join("results")],
        unanswered: RowStatus::Missing,
        rows: &rows,
        table: &table,
        remaining: &remaining,
    };
    let totals = join(&what, &AtomicBool::new(false)).unwrap();
    assert_eq!((totals.succeeded, totals.remaining(), totals.strangers()), (REQUESTS as u64, 0, 0));
}

/// A text of the length that makes the file as large as it may be.
fn text(begin: &str) -> String {
    let words = "Describe the lamp on the picture in two sentences, for a catalogue. ";
    let length = BYTES / REQUESTS - begin.len() - 16;
    words.chars().cycle().take(length).collect()
}

fn write_requests(path: &Path) {
    let line = |index: usize, text: &str| {
        format!(
            r#"{{"custom_id":"request-{index:06}","method":"POST","url":"/v1/chat/completions","body":{{"model":"gpt-4o-mini","max_tokens":100,"messages":[{{"role":"user","content":"{text}"}}]}}}}"#
        )
    };
    write_lines(path, line, 0..REQUESTS);
}

/// In an order that has nothing to do with that of the requests.
fn write_results(path: &Path) {
    let line = |index: usize, text: &str| {
        format!(
            r#"{{"id":"batch_req_{index}","custom_id":"request-{index:06}","response":{{"status_code":200,"request_id":"r","body":{{"choices":[{{"index":0,"message":{{"role":"assistant","content":"{text}"}}}}],"usage":{{"prompt_tokens":900,"completion_tokens":100,"total_tokens":1000}}}}}},"error":null}}"#
        )
    };
    write_lines(path, line, (0..REQUESTS).map(|index| index * 31_337 % REQUESTS));
}

fn write_lines(path: &Path, line: impl Fn(usize, &str) -> String, order: impl Iterator<Item = usize>) {
    let mut file = BufWriter::new(File::create(path).unwrap());
    let text = text(&line(0, ""));
    for index in order {
        writeln!(file, "{}", line(index, &text)).unwrap();
    }
    file.flush().unwrap();
}
