//! Behaviour that pages share.

pub(crate) mod clock;
pub(crate) mod dom;
pub(crate) mod follow;
pub(crate) mod poll;
pub(crate) mod selection;
pub(crate) mod session;
