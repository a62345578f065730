//! Doubles of providers on loopback, for tests that a real provider cannot be asked for. Each speaks the wire shapes of
//! the official documents, may be asked by several clients at once, writes down what it was asked, and fails on demand.
//!
//! Used by the tests of this crate and, by path, by those of the server. The double of Gemini is itself checked with
//! Google's own client.

#![allow(dead_code, reason = "each test binary uses a part")]

pub(crate) mod faults;
pub(crate) mod gemini;
pub(crate) mod openai;

use std::net::SocketAddr;

use axum::{Router, middleware};

use self::faults::Faults;

/// How a batch goes on by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// Not at all: a test puts it where it wants it.
    Hold,
    /// One state further at each look at it.
    Looks,
}

/// What a request to cancel does to a batch that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnCancel {
    /// It is cancelled at the second look after it, with results for half of its requests.
    Cancels,
    /// It finishes all the same, at the second look.
    FinishesAnyway,
    /// Nothing, until a test puts it somewhere.
    Hangs,
}

/// A server on loopback for as long as this lives.
pub(crate) struct Listening {
    pub(crate) address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Listening {
    pub(crate) async fn start(router: Router, faults: Faults) -> Listening {
        let router = router.layer(middleware::from_fn_with_state(faults, faults::layer));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Listening { address, task }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}
