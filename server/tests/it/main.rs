//! Integration tests: real parts, one binary.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a helper of a test fails as the test does; clippy excepts only the test functions themselves"
)]

mod api;
mod auth;
mod bad_input;
mod batches;
mod bulk;
mod cancel;
mod cli;
mod crash;
mod crash_requests;
mod delete;
mod disk;
#[path = "../../batches/tests/doubles/mod.rs"]
mod doubles;
mod engine;
mod fairness;
mod forms;
mod harness;
mod hosts;
mod jobs;
mod marks;
mod process;
mod product_matching;
mod random_cancels;
mod reruns;
mod scene;
mod sshd;
mod store;
mod stuck;
mod trees;
mod uploads;
