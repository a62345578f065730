//! Is what I see current? The indicator in the top bar, with the switch that pauses the polling.

use leptos::prelude::*;

use super::icon::icon;
use crate::{
    hooks::session::{Link, Session},
    text,
};

#[derive(Clone, Copy, PartialEq)]
enum State {
    Live,
    Paused,
    Stale,
}

/// The indicator. It appears with hydration: without it nothing polls.
pub(crate) fn indicator(session: Session) -> AnyView {
    let state = Memo::new(move |_| {
        if session.paused.get() {
            State::Paused
        } else if session.link.get() == Link::Stale {
            State::Stale
        } else {
            State::Live
        }
    });
    let when = move || match (state.get(), session.heard_at.get()) {
        (_, None) => String::new(),
        (State::Paused, Some(at)) => format!("at {}", text::clock(at)),
        (State::Live | State::Stale, Some(at)) => text::ago(session.now.get(), at),
    };
    let (name, word) = (
        move || match state.get() {
            State::Live => "live",
            State::Paused => "paused",
            State::Stale => "stale",
        },
        move || match state.get() {
            State::Live => "Live",
            State::Paused => "Paused",
            State::Stale => "Last updated",
        },
    );
    let button = move || match state.get() {
        State::Live => icon("pause"),
        State::Paused => icon("play"),
        State::Stale => icon("resend"),
    };
    let label = move || match state.get() {
        State::Live => "Pause updates",
        State::Paused => "Resume updates",
        State::Stale => "Try again now",
    };
    let press = move |_| match state.get_untracked() {
        State::Live => session.paused.set(true),
        State::Paused => {
            session.paused.set(false);
            session.nudge.update(|count| *count += 1);
        }
        State::Stale => session.nudge.update(|count| *count += 1),
    };
    view! {
        <Show when=move || session.mounted.get()>
            <div class="live" data-live=name>
                <span class="dot" aria-hidden="true"></span>
                <b>{word}</b>
                <time>{when}</time>
                <button type="button" aria-label=label aria-pressed=move || (state.get() == State::Paused).to_string() on:click=press>
                    {button}
                </button>
            </div>
        </Show>
    }
    .into_any()
}
