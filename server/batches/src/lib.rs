//! Batch APIs of model providers: a file of requests is uploaded, a batch is made of it, followed, cancelled, its
//! results are fetched and what is left at the provider is deleted.
//!
//! This crate knows providers and nothing of jobs, stores or engines. [`Provider`] is what all of them can do, with
//! [`Capabilities`] for what only some can; [`connect`] makes one from its [`Settings`]. Beside the network are the parts
//! that need none: [`requests`] checks a file before it is sent, [`results`] joins answers to requests, [`prices`] says
//! what it cost, [`records`] reads what other tools wrote down.
//!
//! Three rules run through it:
//! - **Nothing is sent twice that costs twice.** [`Provider::create`] is tried once; when its answer is lost the error is
//!   [`Error::Unclear`], and [`Provider::find_by_tag`] tells what became of it.
//! - **A provider's word is kept as it came** ([`Batch::raw_state`]) beside our reading of it ([`State`]); an unknown word
//!   is [`State::Unknown`], never an error.
//! - **Keys are [`Secret`]s**: they go into one header, and into no message, no log and no `Debug`.

mod batch;
mod error;
mod gemini;
mod http;
mod ids;
mod lines;
mod openai;
mod pages;
pub mod prices;
mod provider;
pub mod records;
pub mod requests;
pub mod results;
mod secret;
mod settings;
mod tls;
mod transfer;
mod wire;

use std::sync::Arc;

pub use batch::{Batch, BatchError, Counts, Outputs, Source, State, UnixMillis, Usage};
pub use error::{Error, Result};
pub use pages::all_batches;
pub use provider::{CancelAnswer, Capabilities, Create, Deletion, Page, Provider, RemoteFile};
pub use secret::{KeyFrom, Secret};
pub use settings::{Settings, Shape};
pub use tls::client_builder;

/// A provider as its settings say. The key is read now; nothing is sent.
///
/// # Errors
/// [`Error::KeyMissing`] and [`Error::Unusable`], with the variable, file or setting to mend.
pub fn connect(settings: &Settings) -> Result<Arc<dyn Provider>> {
    Ok(match settings.shape {
        Shape::Openai => Arc::new(openai::Openai::new(settings)?),
        Shape::Gemini => Arc::new(gemini::Gemini::new(settings)?),
    })
}
