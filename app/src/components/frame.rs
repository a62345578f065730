//! What is around every page: the bar with the navigation and the account, and the foot.

use leptos::prelude::*;
use leptos_router::hooks::use_location;

use super::{
    icon::{icon, mark},
    live,
};
use crate::{
    hooks::{dom, session::Session},
    paths::console,
};

/// Key of the theme in this browser's storage.
const THEME: &str = "theme";

#[derive(Clone, Copy, PartialEq)]
enum Theme {
    System,
    Light,
    Dark,
}

impl Theme {
    const fn word(self) -> &'static str {
        match self {
            Theme::System => "system",
            Theme::Light => "light",
            Theme::Dark => "dark",
        }
    }

    const fn next(self) -> Theme {
        match self {
            Theme::System => Theme::Light,
            Theme::Light => Theme::Dark,
            Theme::Dark => Theme::System,
        }
    }

    fn recalled() -> Theme {
        match dom::recall(THEME).as_deref() {
            Some("light") => Theme::Light,
            Some("dark") => Theme::Dark,
            Some(_) | None => Theme::System,
        }
    }

    fn apply(self) {
        dom::set_root("data-theme", (self != Theme::System).then_some(self.word()));
    }
}

/// The bar on top.
pub(crate) fn topbar(session: Session) -> AnyView {
    let path = use_location().pathname;
    let current = move |place: &'static str| move || path.with(|path| path.starts_with(place)).then_some("page");
    view! {
        <header class="topbar">
            <div class="inner">
                <a class="brand" href=console::JOBS>{mark()}"Belay"</a>
                <nav class="nav" aria-label="Main">
                    <a href=console::JOBS aria-current=current(console::JOBS)>"Jobs"</a>
                    <a href=console::REMOVALS aria-current=current(console::REMOVALS)>"Removals"</a>
                    <a href=console::PROVIDERS aria-current=current(console::PROVIDERS)>"Providers"</a>
                    <a href=console::AUDIT aria-current=current(console::AUDIT)>"Audit"</a>
                </nav>
                <div class="push">{live::indicator(session)}</div>
                {account(session)}
            </div>
        </header>
    }
    .into_any()
}

fn account(session: Session) -> AnyView {
    let name = session.viewer();
    let initials: String = name.chars().take(2).collect();
    let theme = RwSignal::new(Theme::System);
    Effect::new(move |_| {
        let recalled = Theme::recalled();
        recalled.apply();
        theme.set(recalled);
    });
    let switch = move |_| {
        let next = theme.get_untracked().next();
        next.apply();
        dom::remember(THEME, next.word());
        theme.set(next);
    };
    view! {
        <details class="menu">
            <summary class="btn btn-quiet btn-icon">
                <span class="sr-only">"Account"</span>
                <span class="avatar" aria-hidden="true">{initials}</span>
            </summary>
            <div class="menu-list">
                <p class="menu-note"><b>{name}</b>"on "{session.host()}</p>
                <hr />
                <Show when=move || session.mounted.get()>
                    <button class="menu-item" type="button" on:click=switch>
                        {icon("theme")}"Theme: "{move || theme.get().word()}
                    </button>
                </Show>
                <form method="post" action=console::SIGN_OUT>
                    <button class="menu-item" type="submit">{icon("signout")}"Sign out"</button>
                </form>
            </div>
        </details>
    }
    .into_any()
}

/// The foot of every page.
pub(crate) fn foot(session: Session) -> AnyView {
    view! {
        <footer class="page-foot">
            <div class="inner">
                <span>"Belay "{session.version()}</span>
                <span>{session.host()}</span>
                <span>"Times in UTC"</span>
            </div>
        </footer>
    }
    .into_any()
}
