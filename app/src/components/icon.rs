//! Icons: symbols of one sheet, drawn in the colour of the text beside them. Decoration; the word is next to it.

use leptos::prelude::*;

use crate::hooks::session::Session;

/// The symbol `i-<name>`.
pub(crate) fn icon(name: &str) -> AnyView {
    drawn(name, "icon")
}

/// A symbol that turns: something is going on.
pub(crate) fn spinning(name: &str) -> AnyView {
    drawn(name, "icon spin")
}

/// A symbol for larger places.
pub(crate) fn large(name: &str) -> AnyView {
    drawn(name, "icon icon-lg")
}

fn drawn(name: &str, class: &'static str) -> AnyView {
    let sheet = use_context::<Session>().map(|session| session.icons()).unwrap_or_default();
    view! { <svg class=class aria-hidden="true"><use href=format!("{sheet}#i-{name}") /></svg> }.into_any()
}

/// The mark of Belay: a rope that makes a "b" around the stop square.
pub(crate) fn mark() -> AnyView {
    view! {
        <svg class="mark" viewBox="0 0 24 24" aria-hidden="true">
            <path d="M6 1.5v13.25A6.75 6.75 0 1 0 12.75 8 6.75 6.75 0 0 0 6 14.75" />
            <rect class="load" x="10" y="12" width="5.5" height="5.5" rx="1.4" />
        </svg>
    }
    .into_any()
}
