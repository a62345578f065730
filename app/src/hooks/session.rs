//! What all pages of one visit share: who is signed in, the clock, the messages, whether the server answers.

use std::sync::Arc;

use leptos::prelude::*;
use leptos_router::hooks::use_location;
use serde::{Deserialize, Serialize};

use crate::{
    backend::{Flash, FormState, PageState, Tone},
    client::NETWORK,
    hooks::dom,
    model::{Problem, Timestamp},
    paths::{console, encode},
};

/// What the browser must know of the request that made the page: travels with it.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Start {
    pub(crate) state: PageState,
    /// Address of the sheet of icons.
    pub(crate) icons: String,
}

/// Whether what the page shows is current.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// The last question was answered.
    Live,
    /// The server did not answer; rows on the page are old.
    Stale,
}

/// A message at the edge of the page.
#[derive(Clone, PartialEq)]
pub(crate) struct Toast {
    pub(crate) id: u32,
    /// A message with the key of an earlier one takes its place.
    pub(crate) key: &'static str,
    pub(crate) flash: Flash,
}

/// Goes to an address inside the console; `true` replaces the present one in the history.
pub(crate) type Go = Arc<dyn Fn(&str, bool) + Send + Sync>;

/// Shared by all pages of a visit.
#[derive(Clone, Copy)]
pub(crate) struct Session {
    /// Nobody is: only the sign-in page is shown.
    pub(crate) signed_in: bool,
    start: StoredValue<Start>,
    /// The server's clock. Stands still until the page is hydrated.
    pub(crate) now: RwSignal<Timestamp>,
    /// Hydrated: times may be relative, forms may be dialogs.
    pub(crate) mounted: RwSignal<bool>,
    pub(crate) toasts: RwSignal<Vec<Toast>>,
    next_toast: StoredValue<u32>,
    pub(crate) link: RwSignal<Link>,
    /// When the server last answered.
    pub(crate) heard_at: RwSignal<Option<Timestamp>>,
    /// The switch that stops the polling.
    pub(crate) paused: RwSignal<bool>,
    /// Bumped by "Try Now": every poll asks at once.
    pub(crate) nudge: RwSignal<u32>,
    /// Read out once by screen readers.
    pub(crate) announcement: RwSignal<String>,
    go: StoredValue<Option<Go>>,
}

impl Session {
    pub(crate) fn new(start: Start) -> Self {
        let now = start.state.now;
        let toasts = start.state.flash.clone().map(|flash| Toast { id: 0, key: "", flash });
        Session {
            signed_in: start.state.viewer.is_some(),
            start: StoredValue::new(start),
            now: RwSignal::new(now),
            mounted: RwSignal::new(false),
            toasts: RwSignal::new(toasts.into_iter().collect()),
            next_toast: StoredValue::new(1),
            link: RwSignal::new(Link::Live),
            heard_at: RwSignal::new(None),
            paused: RwSignal::new(false),
            nudge: RwSignal::new(0),
            announcement: RwSignal::new(String::new()),
            go: StoredValue::new(None),
        }
    }

    pub(crate) fn icons(&self) -> String {
        self.start.with_value(|start| start.icons.clone())
    }

    pub(crate) fn viewer(&self) -> String {
        self.start
            .with_value(|start| start.state.viewer.as_ref().map_or_else(String::new, |viewer| viewer.name.clone()))
    }

    pub(crate) fn host(&self) -> String {
        self.start.with_value(|start| start.state.host.clone())
    }

    pub(crate) fn version(&self) -> String {
        self.start.with_value(|start| start.state.version.clone())
    }

    /// The form post that failed and whose page this is.
    pub(crate) fn form(&self) -> Option<FormState> {
        let here = use_location().pathname;
        let is_here = |form: &FormState| here.with_untracked(|here| *here == form.path);
        self.start.with_value(|start| start.state.form.clone()).filter(is_here)
    }

    /// Its page was left: it is over.
    pub(crate) fn forget_form(&self) {
        self.start.update_value(|start| start.state.form = None);
    }

    /// The router's way to another page; set once it stands.
    pub(crate) fn set_go(&self, go: Go) {
        self.go.set_value(Some(go));
    }

    pub(crate) fn go(&self, url: &str, replace: bool) {
        if let Some(go) = self.go.get_value() {
            go(url, replace);
        }
    }

    /// Shows a message. Others than failures go after 5 s.
    pub(crate) fn tell(&self, tone: Tone, text: impl Into<String>) {
        self.toast("", Flash { tone, text: text.into(), detail: None, link: None });
    }

    /// Shows a message in the place of the one with the same key (no key: beside the others). One that stands there in the
    /// same words already is not shown twice: an answer and whoever follows the job may both tell of its end.
    pub(crate) fn toast(&self, key: &'static str, flash: Flash) {
        let mut id = self.next_toast.get_value();
        self.next_toast.set_value(id + 1);
        self.toasts.update(|toasts| {
            let same = |toast: &Toast| (!key.is_empty() && toast.key == key) || toast.flash == flash;
            if let Some(old) = toasts.iter().find(|toast| same(toast) && toast.flash.tone == flash.tone) {
                id = old.id;
            }
            toasts.retain(|toast| !same(toast));
            toasts.push(Toast { id, key, flash });
        });
    }

    pub(crate) fn dismiss(&self, id: u32) {
        self.toasts.update(|toasts| toasts.retain(|toast| toast.id != id));
    }

    pub(crate) fn dismiss_key(&self, key: &str) {
        if self.toasts.with_untracked(|toasts| toasts.iter().any(|toast| toast.key == key)) {
            self.toasts.update(|toasts| toasts.retain(|toast| toast.key != key));
        }
    }

    /// The server answered.
    pub(crate) fn heard(&self) {
        self.heard_at.set(Some(self.now.get_untracked()));
        if self.link.get_untracked() != Link::Live {
            self.link.set(Link::Live);
        }
    }

    /// The server did not answer, or only said that it cannot.
    pub(crate) fn lost(&self, problem: &Problem) {
        if (problem.error == NETWORK || problem.status >= 500) && self.link.get_untracked() != Link::Stale {
            self.link.set(Link::Stale);
        }
    }

    /// To the sign-in page, and back here afterwards.
    pub(crate) fn sign_in_again(&self) {
        dom::leave_for(&format!("{}?next={}", console::SIGN_IN, encode(&dom::here())));
    }
}

#[cfg(test)]
impl Session {
    /// For tests of what needs one.
    pub(crate) fn of_nobody() -> Self {
        let state = PageState {
            viewer: None,
            host: String::new(),
            version: String::new(),
            now: Timestamp(0),
            flash: None,
            form: None,
        };
        Session::new(Start { state, icons: String::new() })
    }
}

/// The session of this visit.
pub(crate) fn session() -> Session {
    expect_context::<Session>()
}
