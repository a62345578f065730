//! Messages at the edge of the page. Gone after 5 s; failures stay until dismissed. What a form post came to is
//! rendered by the server in the same place.

use leptos::{prelude::*, task::spawn_local_scoped_with_cancellation};

use super::icon::{icon, spinning};
use crate::{
    backend::Tone,
    client::sleep,
    hooks::session::{Session, Toast},
};

const SHOWN_MS: i32 = 5_000;

const fn look(tone: Tone) -> (&'static str, &'static str) {
    match tone {
        Tone::Proof => ("proof", "proof"),
        Tone::Completed => ("completed", "completed"),
        Tone::Cancelling => ("cancelling", "cancelling"),
        Tone::Info => ("active", "info"),
        Tone::Warning => ("partial", "warning"),
        Tone::Failed => ("failed", "failed"),
    }
}

/// A toast goes by itself unless it tells of a failure or of something that is still going on.
const fn stays(tone: Tone) -> bool {
    match tone {
        Tone::Failed | Tone::Cancelling => true,
        Tone::Proof | Tone::Completed | Tone::Info | Tone::Warning => false,
    }
}

/// The stack of messages.
pub(crate) fn toasts(session: Session) -> AnyView {
    view! {
        <div class="toasts">
            <For each=move || session.toasts.get() key=|toast| (toast.id, toast.flash.text.clone()) let:toast>
                {one(session, toast)}
            </For>
        </div>
    }
    .into_any()
}

fn one(session: Session, toast: Toast) -> AnyView {
    let Toast { id, flash, .. } = toast;
    let (tone, symbol) = look(flash.tone);
    if !stays(flash.tone) {
        Effect::new(move |_| {
            spawn_local_scoped_with_cancellation(async move {
                sleep(SHOWN_MS).await;
                session.dismiss(id);
            });
        });
    }
    let drawn = if flash.tone == Tone::Cancelling { spinning(symbol) } else { icon(symbol) };
    let role = if flash.tone == Tone::Failed { "alert" } else { "status" };
    view! {
        <div class="toast" role=role data-tone=tone>
            {drawn}
            <p>{flash.text}{flash.detail.map(|detail| view! { <small>{detail}</small> })}</p>
            <button
                class="btn btn-quiet btn-icon"
                type="button"
                aria-label="Dismiss"
                on:click=move |_| session.dismiss(id)
            >
                {icon("close")}
            </button>
            {flash.link.map(|(words, url)| view! { <div class="row"><a class="link" href=url>{words}</a></div> })}
        </div>
    }
    .into_any()
}
