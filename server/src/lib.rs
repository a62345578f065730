//! The server of Belay. Layers, from the bottom: [`store`] keeps, [`process`] starts and stops, [`kinds`] know what a
//! job is made of, [`engine`] lives its life, `http` and `cli` speak to people and programs.

pub mod cli;
pub mod config;
pub mod data;
mod disk;
pub mod engine;
pub mod error;
pub mod http;
pub mod kinds;
pub mod process;
mod sample;
mod secret;
pub mod store;
