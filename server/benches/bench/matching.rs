//! Product matching as an operator runs it: jobs over the server, with ffmpeg, processes and proof of every unit.
//!
//! Products and video are those of the example `accuracy` of belay-vision, which measures how well they are found.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{machine::Machine, marks::tree_of, stops::until_over, table::Table, weight::resident};

/// What a job cost.
struct Cost {
    time: Duration,
    /// Of the server and everything below it, bytes, at most.
    memory: u64,
}

/// `set` is the folder that the example made.
pub(crate) fn product_matching(table: &mut Table, set: &Path) {
    let machine = Machine::start(2);
    let folder = machine.folder("matching");
    let (ten, twenty) = (products(set, &folder, 10), products(set, &folder, 20));
    let (half, minute) = (film(set, &folder, 30), film(set, &folder, 60));
    let most = measure(&machine, &twenty, &minute);
    let met = most.time < Duration::from_secs(45) && most.memory < 600_000_000;
    let measured = format!("{:.1} s, {} MB in all processes", most.time.as_secs_f64(), most.memory / 1_000_000);
    table.add("20 products in a video of 60 s, 720p, 2 slots", "< 45 s, < 600 MB", measured, met);

    let (fewer, shorter) = (measure(&machine, &ten, &minute), measure(&machine, &twenty, &half));
    let ratio = |other: &Cost| most.time.as_secs_f64() / other.time.as_secs_f64();
    let measured =
        format!("{:.2} times for twice the products, {:.2} times for twice the video", ratio(&fewer), ratio(&shorter));
    // A little above two: what is measured is a whole job, on a machine that does other things too.
    table.add("its cost, as it grows", "<= 2.2 times each", measured, ratio(&fewer) <= 2.2 && ratio(&shorter) <= 2.2);
}

fn products(set: &Path, folder: &Path, count: usize) -> PathBuf {
    let to = folder.join(format!("products-{count}"));
    std::fs::create_dir(&to).unwrap();
    let mut shots: Vec<PathBuf> =
        std::fs::read_dir(set.join("products")).unwrap().map(|entry| entry.unwrap().path()).collect();
    shots.sort();
    for shot in shots.iter().take(count) {
        std::fs::copy(shot, to.join(shot.file_name().unwrap())).unwrap();
    }
    to
}

/// The first video of the set, repeated until it is this long.
fn film(set: &Path, folder: &Path, seconds: u32) -> PathBuf {
    let file = folder.join(format!("film-{seconds}.mp4"));
    let status = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-stream_loop", "-1", "-i"])
        .arg(set.join("video-01.mp4"))
        .args(["-t", &seconds.to_string(), "-c", "copy"])
        .arg(&file)
        .status()
        .unwrap();
    assert!(status.success());
    file
}

fn measure(machine: &Machine, products: &Path, film: &Path) -> Cost {
    let mut line = machine.line();
    let (over, memory, server) = (AtomicBool::new(false), AtomicU64::new(0), machine.pid());
    let begin = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let all = tree_of(server, |_| true).iter().map(|process| resident(process.pid)).sum();
                memory.fetch_max(all, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        let spec = json!({ "products": [products], "videos": [film] });
        let reply = line.post("/api/jobs", &json!({ "name": "matching", "kind": "product_matching", "spec": spec }));
        assert_eq!(reply.status, 201, "{}", reply.json());
        let job = until_over(&mut line, reply.json()["job_id"].as_str().unwrap());
        over.store(true, Ordering::Relaxed);
        assert_eq!(job["phase"], "completed", "{job:#}");
    });
    Cost { time: begin.elapsed(), memory: memory.into_inner() }
}
