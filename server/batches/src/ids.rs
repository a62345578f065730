//! Ids by hash: a file of a million requests has a million of them, of any length.

use std::hash::{BuildHasher as _, RandomState};

/// 128 bits under a random key: two ids that share one do not happen.
pub(crate) type IdHash = (u64, u64);

pub(crate) fn hash(state: &RandomState, id: &str) -> IdHash {
    (state.hash_one(id), state.hash_one((id, 1_u8)))
}
