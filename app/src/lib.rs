//! What the browser sees, and the types that both sides speak. Start reading in [`model::phase`].

pub mod model;
pub mod paths;
