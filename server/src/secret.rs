//! Secrets of our own making: sign-in links, sessions, API tokens. 256 random bits each, so that a plain SHA-256 of
//! them can be stored and compared.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// A new secret: `prefix` and 64 hexadecimal digits.
///
/// # Errors
/// When the system gives no entropy.
pub(crate) fn new(prefix: &str) -> Result<String> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::Internal { context: format!("no entropy: {error}"), source: None })?;
    Ok(format!("{prefix}{}", hex(&bytes)))
}

/// SHA-256 of a secret, hexadecimal: what is stored.
pub(crate) fn hash(secret: &str) -> String {
    hex(&Sha256::digest(secret.as_bytes()))
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
