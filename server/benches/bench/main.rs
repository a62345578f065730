//! `make bench`: what the product promises about speed and size, measured in one run against the release program over
//! HTTP on loopback, and printed as a table. Not a test: it judges numbers, and numbers belong to a machine.
//!
//! Environment: `BELAY_BENCH_TRIALS` (default 1,000) and `BELAY_BENCH_JOBS` (default 1,000,000) make a shorter run;
//! `BELAY_BENCH_ONLY` (`stops`, `lists`, `weight`, `matching`, `hosts`, `batches`) a part of it. `BELAY_BENCH_SET` names the folder of
//! products and videos that the example `accuracy` made; without it, nothing is matched.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark that cannot measure has nothing better to do than stop; it uses a part of the tests' harness"
)]

mod batches;
#[path = "../../tests/it/harness.rs"]
mod harness;
mod hosts;
mod lists;
mod machine;
#[path = "../../tests/it/marks.rs"]
mod marks;
mod matching;
#[path = "../../tests/it/sshd.rs"]
mod sshd;
mod stops;
mod table;
mod weight;
mod wire;

use table::Table;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn main() {
    let begin = std::time::Instant::now();
    let mut table = Table::default();
    let only = std::env::var("BELAY_BENCH_ONLY").ok();
    let is_wanted = |part: &str| only.as_deref().is_none_or(|only| only == part);
    if is_wanted("stops") {
        stops::cancel_of_a_small_tree(&mut table);
        stops::orphans(&mut table, number("BELAY_BENCH_TRIALS", 1000));
        stops::cancel_of_a_long_queue(&mut table);
        stops::cancel_of_many_jobs(&mut table);
        stops::small_units(&mut table);
    }
    if is_wanted("lists") {
        lists::at_a_million(&mut table, number("BELAY_BENCH_JOBS", 1_000_000));
    }
    if is_wanted("weight") {
        weight::first_load(&mut table);
        weight::memory_and_start(&mut table);
    }
    if let (true, Some(set)) = (is_wanted("matching"), std::env::var_os("BELAY_BENCH_SET")) {
        matching::product_matching(&mut table, set.as_ref());
    }
    if is_wanted("hosts") {
        hosts::cancel_of_a_hundred(&mut table);
        hosts::memory_of_a_thousand(&mut table);
    }
    if is_wanted("batches") {
        batches::following_a_thousand(&mut table);
    }
    println!("\n{}\n", machine::describe());
    table.print();
    println!(
        "\nTimes are taken at the client, over one kept connection on loopback. {:.0} s.",
        begin.elapsed().as_secs_f64()
    );
}
