//! What the browser sees, and the types that both sides speak. Start reading in [`model::phase`]; the console
//! begins in [`app`].

pub mod app;
pub mod assets;
pub mod backend;
pub mod client;
mod components;
mod hooks;
mod later;
pub mod model;
mod pages;
pub mod paths;
pub mod text;

#[cfg(not(erase_components))]
compile_error!("built without the flags of .cargo/config.toml, e.g. as RUSTFLAGS is set: pages would not hydrate");

pub use app::{App, shell};
pub use later::arrive;
