//! Time as people read it. The server writes exact times; once the page is hydrated they become relative and
//! move with the server's clock.

use leptos::prelude::*;

use crate::{
    hooks::{dom, session::Session},
    model::Timestamp,
    text,
};

/// Lets the session's clock run; the difference between the two clocks is kept out.
pub(crate) fn start(session: Session) {
    let offset = session.now.get_untracked().millis_since(dom::browser_now());
    leptos::task::spawn_local(async move {
        loop {
            crate::client::sleep(1_000).await;
            if !dom::hidden() {
                session.now.set(dom::browser_now().plus_millis(offset));
            }
        }
    });
}

/// `14 min ago`, with the exact time on hover.
pub(crate) fn ago(session: Session, at: Timestamp) -> AnyView {
    let words = move || {
        if session.mounted.get() { text::ago(session.now.get(), at) } else { text::short_date(at) }
    };
    view! { <time datetime=at.to_string() title=text::exact(at)>{words}</time> }.into_any()
}

/// From `from` to `until`, or to now while that is open.
pub(crate) fn lasted(session: Session, from: Timestamp, until: Option<Timestamp>) -> String {
    let end = until.unwrap_or_else(|| session.now.get());
    text::duration(end.millis_since(from))
}
