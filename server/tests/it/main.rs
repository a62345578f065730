//! Integration tests: real parts, one binary.

mod store;
