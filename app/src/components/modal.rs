//! A native `<dialog>`, shown modally: the rest of the page is inert, the focus stays inside and comes back. In the
//! document only while it is open.

use std::cell::RefCell;

use leptos::{ev, html, prelude::*, task::spawn_local};
use send_wrapper::SendWrapper;
use web_sys::HtmlElement;

use super::icon::icon;
use crate::{
    client::sleep,
    hooks::{dom, follow::Subject},
};

thread_local! {
    /// What had the focus when the latest dialog was opened.
    static OPENER: RefCell<Option<HtmlElement>> = const { RefCell::new(None) };
}

/// What `showModal` does by itself for a dialog that was closed.
fn focus_safe_button(dialog: &web_sys::Element) {
    if let Some(button) = dom::all(dialog, "[autofocus]").first() {
        let _ = button.focus();
    }
}

/// A modal dialog around `body`. `shut` is called when it was closed by whatever way; nothing closes it while
/// `busy`.
pub(crate) fn modal(
    name: &'static str,
    busy: Signal<bool>,
    shut: impl Fn() + Copy + Send + Sync + 'static,
    body: impl FnOnce(Close) -> AnyView,
) -> AnyView {
    let node = NodeRef::<html::Dialog>::new();
    Effect::new(move |_| {
        let Some(dialog) = node.get() else { return };
        if dialog.open() {
            // Another question took the place of the first in the same element: the button that had the focus is
            // gone, and what opened the first one still opened it.
            focus_safe_button(&dialog);
        } else {
            OPENER.set(dom::focused());
            let _ = dialog.show_modal();
        }
        let opener = SendWrapper::new(OPENER.with_borrow(Clone::clone));
        on_cleanup(move || give_focus_back(opener.take()));
    });
    // A second Escape would close it in spite of a prevented `cancel`; the key itself must be stopped.
    let keydown = move |event: ev::KeyboardEvent| {
        if event.key() == "Escape" {
            event.stop_propagation();
            if busy.get_untracked() {
                event.prevent_default();
            }
        }
    };
    let cancel = move |event: ev::Event| {
        if busy.get_untracked() {
            event.prevent_default();
        }
    };
    let close = Close { node, busy };
    view! {
        <dialog
            node_ref=node
            class="dialog"
            id=name
            aria-labelledby=format!("{name}-t")
            aria-describedby=format!("{name}-d")
            aria-busy=move || busy.get().then_some("true")
            on:keydown=keydown
            on:cancel=cancel
            on:close=move |_| shut()
        >
            {body(close)}
        </dialog>
    }
    .into_any()
}

/// A dialog that is taken out of the document, rather than closed, leaves the focus nowhere. If what opened it is gone
/// too (a button of another phase), the page itself gets it.
fn give_focus_back(opener: Option<HtmlElement>) {
    spawn_local(async move {
        sleep(0).await;
        if dom::focused().is_some_and(|element| element.tag_name() != "BODY") {
            return;
        }
        if let Some(opener) = opener {
            let _ = opener.focus();
        }
        if dom::focused().is_none_or(|element| element.tag_name() == "BODY")
            && let Some(main) = dom::by_id("main")
        {
            let _ = main.focus();
        }
    });
}

/// Closes the dialog; the focus goes back to where it was.
#[derive(Clone, Copy)]
pub(crate) struct Close {
    node: NodeRef<html::Dialog>,
    busy: Signal<bool>,
}

impl Close {
    pub(crate) fn now(&self) {
        if self.busy.get_untracked() {
            return;
        }
        if let Some(dialog) = self.node.get_untracked() {
            dialog.close();
        }
    }
}

/// The line under a dialog's title: which job it is about.
pub(crate) fn subject_line(subject: &Subject) -> AnyView {
    view! {
        <p class="subject">
            {icon(subject.kind.as_str())}
            <b>{subject.name.clone()}</b>
            <span class="mono">{subject.id.short()}</span>
        </p>
    }
    .into_any()
}
