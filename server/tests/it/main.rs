//! Integration tests: real parts, one binary.

mod process;
mod store;
