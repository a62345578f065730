//! Behaviour that pages share.
