//! Integration tests: real parts, one binary.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a helper of a test fails as the test does; clippy excepts only the test functions themselves"
)]

mod api;
mod auth;
mod cancel;
mod delete;
mod engine;
mod forms;
mod harness;
mod jobs;
mod process;
mod store;
