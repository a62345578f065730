//! What can go wrong with a provider, in sentences that an operator can act on. No message holds a key.

use std::{io, time::Duration};

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a provider did not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing was sent: the name does not resolve, nobody listens, the network is away.
    #[error("{host} cannot be reached: {detail}")]
    Connect { host: String, detail: String },
    /// Nothing was sent: no encrypted connection came about.
    #[error("No TLS connection to {host}: {detail}")]
    Tls { host: String, detail: String },
    /// The variable is not set, or the file cannot be used.
    #[error("{0}")]
    KeyMissing(String),
    /// 401, 403. `from` names where the key came from.
    #[error("The provider does not accept the key from {from} (HTTP {status}): {message}")]
    KeyRejected { from: String, status: u16, message: String },
    /// 429.
    #[error("The provider asks to slow down: {message}")]
    RateLimited { retry_after: Option<Duration>, message: String },
    /// 408, 5xx, or a connection that broke where that is harmless.
    #[error("The provider does not answer as it should at present: {message}")]
    Unavailable { status: Option<u16>, retry_after: Option<Duration>, message: String },
    /// 404.
    #[error("The provider does not know {what}: {message}")]
    NotFound { what: String, message: String },
    /// Any other answer that is not a success. It will be the same the next time.
    #[error("The provider refuses (HTTP {status}): {message}")]
    Refused { status: u16, code: Option<String>, message: String },
    /// A success whose body is not what it must be.
    #[error("The provider's answer cannot be read: {what}")]
    Garbage { what: String },
    /// A request that must not be repeated was sent, and what became of it is not known.
    #[error("Sent, but the answer is lost: {0}")]
    Unclear(String),
    /// Not one of the provider's [`Capabilities`](crate::Capabilities).
    #[error("This provider cannot {0}")]
    Unsupported(&'static str),
    /// The settings of the provider, or what was asked, cannot be used.
    #[error("{0}")]
    Unusable(String),
    /// A file on this machine.
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
}

impl Error {
    /// It may work later without anybody doing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            // A certificate that is expired today may be replaced tomorrow; a name that does not resolve may come back.
            Error::Connect { .. }
            | Error::Tls { .. }
            | Error::RateLimited { .. }
            | Error::Unavailable { .. }
            | Error::Garbage { .. } => true,
            Error::KeyMissing(_)
            | Error::KeyRejected { .. }
            | Error::NotFound { .. }
            | Error::Refused { .. }
            | Error::Unclear(_)
            | Error::Unsupported(_)
            | Error::Unusable(_)
            | Error::Io { .. } => false,
        }
    }

    /// How long the provider wants to be left alone.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Error::RateLimited { retry_after, .. } | Error::Unavailable { retry_after, .. } => *retry_after,
            Error::Connect { .. }
            | Error::Tls { .. }
            | Error::KeyMissing(_)
            | Error::KeyRejected { .. }
            | Error::NotFound { .. }
            | Error::Refused { .. }
            | Error::Garbage { .. }
            | Error::Unclear(_)
            | Error::Unsupported(_)
            | Error::Unusable(_)
            | Error::Io { .. } => None,
        }
    }

    pub(crate) fn io(what: impl Into<String>, source: io::Error) -> Error {
        Error::Io { what: what.into(), source }
    }
}
