//! Speaks HTTP: the REST API, the console's pages, the browser bundle.

pub(crate) mod assets;
