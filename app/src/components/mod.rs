//! Parts that pages share. Most are plain functions that return an [`AnyView`](leptos::prelude::AnyView): the
//! types stay small, and so does the WebAssembly.

pub(crate) mod about;
pub(crate) mod actions;
pub(crate) mod artifacts;
pub(crate) mod batch;
pub(crate) mod bulk_bar;
pub(crate) mod bulk_dialog;
pub(crate) mod cancel_dialog;
pub(crate) mod cancellation;
pub(crate) mod delete_dialog;
pub(crate) mod filters;
pub(crate) mod frame;
pub(crate) mod host_grid;
pub(crate) mod icon;
pub(crate) mod job_row;
pub(crate) mod live;
pub(crate) mod log;
pub(crate) mod matches;
pub(crate) mod menu;
pub(crate) mod modal;
pub(crate) mod notice;
pub(crate) mod panel;
pub(crate) mod phase;
pub(crate) mod progress;
pub(crate) mod proof;
pub(crate) mod requests;
pub(crate) mod stopping;
pub(crate) mod toast;
pub(crate) mod units;
