//! The door: a one-time link, whose page has a button (so that a preview does not use it up), or an API token.

use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::{use_location, use_query_map};

use crate::{
    components::{
        icon::{icon, mark},
        notice::alert,
    },
    hooks::session::session,
    paths::console,
};

/// `/sign-in`, and every other address while nobody is signed in.
pub(crate) fn sign_in() -> AnyView {
    let session = session();
    let query = use_query_map();
    let (link, next) = query.with_untracked(|query| (query.get("link"), query.get("next")));
    let place = use_location();
    let here = place.pathname.get_untracked();
    let next = next.unwrap_or_else(|| {
        if here == console::SIGN_IN { console::JOBS.to_owned() } else { here + &search(&place.search.get_untracked()) }
    });
    let back = next != console::JOBS && link.is_none() && session.form().is_none();
    let problem = session.form().map(|form| alert(form.problem.detail));
    let fields = match link {
        Some(link) => by_link(link),
        None => by_token(),
    };
    view! {
        <Title text="Sign in · Belay" />
        <main class="gate" id="main">
            <div class="line" aria-hidden="true"></div>
            <div class="card">
                {mark()}
                <div>
                    <h1>"Sign in to Belay"</h1>
                    <p class="sub">{session.host()}</p>
                </div>
                <form class="panel" method="post" action=console::SIGN_IN>
                    {back
                        .then(|| {
                            view! {
                                <div class="notice" role="status" data-tone="active">
                                    {icon("info")}
                                    <p>"Please sign in. You come back to the same page."</p>
                                </div>
                            }
                        })}
                    {problem}
                    <input type="hidden" name="next" value=next />
                    {fields}
                </form>
                <p class="muted">"First start? Open the one-time link that the server printed."</p>
            </div>
            <p class="foot">"Belay "{session.version()}</p>
        </main>
    }
    .into_any()
}

fn search(search: &str) -> String {
    if search.is_empty() { String::new() } else { "?".to_owned() + search.trim_start_matches('?') }
}

fn by_link(link: String) -> AnyView {
    view! {
        <p>"This link signs you in once, on this browser."</p>
        <input type="hidden" name="link" value=link />
        <button class="btn btn-primary" type="submit" autofocus>"Sign In"</button>
    }
    .into_any()
}

fn by_token() -> AnyView {
    view! {
        <div class="field">
            <label for="token">"API token"</label>
            <input class="input mono" id="token" name="token" type="password" autocomplete="current-password" required autofocus />
        </div>
        <button class="btn btn-primary" type="submit">"Sign In"</button>
    }
    .into_any()
}
