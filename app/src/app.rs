//! The document, the routes, and what is around every page.

use std::sync::Arc;

use leptos::{nonce::use_nonce, prelude::*, server::SharedValue};
use leptos_router::{
    NavigateOptions, SsrMode,
    components::{Route, Router, Routes},
    hooks::{use_location, use_navigate},
    path,
};

use crate::{
    assets::AssetNames,
    backend::{PageState, SharedBackend, Viewer},
    client::HttpBackend,
    components::{actions::dialogs, frame, menu, toast},
    hooks::{
        clock, dom,
        follow::Actions,
        session::{Session, Start, session},
    },
    later,
    model::Timestamp,
    pages,
};

/// The whole document. Its context holds what [`backend`](crate::backend) names.
#[must_use]
pub fn shell() -> AnyView {
    let assets = use_context::<AssetNames>().unwrap_or_default();
    let url = |name: &str| AssetNames::url(name);
    view! {
        <!DOCTYPE html>
        <html lang="en-GB">
            <head>
                <meta charset="utf-8" />
                <meta name="viewport" content="width=device-width, initial-scale=1" />
                <meta name="color-scheme" content="light dark" />
                <link rel="icon" type="image/svg+xml" href=url(&assets.icon) />
                <link rel="stylesheet" href=url(&assets.css) />
                <link rel="modulepreload" href=url(&assets.js) />
                <link rel="modulepreload" href=url(&assets.loader) />
                <link
                    rel="preload"
                    href=url(&assets.wasm)
                    r#as="fetch"
                    r#type="application/wasm"
                    crossorigin="anonymous"
                />
                <script type="module" src=url(&assets.start_js) nonce=use_nonce()></script>
                <leptos_meta::MetaTags />
            </head>
            <body>
                <App />
            </body>
        </html>
    }
    .into_any()
}

/// What the server knows of the request. When it only asks for the list of routes there is no request.
fn start() -> Start {
    let state = use_context::<PageState>().unwrap_or_else(|| PageState {
        viewer: Some(Viewer { name: String::new() }),
        host: String::new(),
        version: String::new(),
        now: Timestamp(0),
        flash: None,
        form: None,
    });
    let icons = use_context::<AssetNames>().map(|assets| AssetNames::url(&assets.icons)).unwrap_or_default();
    Start { state, icons }
}

/// The console. Rendered by the server, then hydrated.
#[component]
pub fn App() -> impl IntoView {
    leptos_meta::provide_meta_context();
    let backend = use_context::<SharedBackend>().unwrap_or_else(|| {
        let backend: SharedBackend = Arc::new(HttpBackend);
        provide_context(backend.clone());
        backend
    });
    let session = Session::new(SharedValue::new(start).into_inner());
    let actions = Actions::new(session, backend);
    provide_context(session);
    provide_context(actions);
    Effect::new(move |_| {
        session.mounted.set(true);
        session.heard_at.set(Some(session.now.get_untracked()));
        clock::start(session);
        menu::enable();
        if session.signed_in {
            later::prepare();
        }
        dom::set_root("data-hydrated", Some("true"));
    });
    view! { <Router>{framed(session, actions)}</Router> }
}

fn framed(session: Session, actions: Actions) -> AnyView {
    let navigate = use_navigate();
    session.set_go(Arc::new(move |url: &str, replace: bool| {
        navigate(url, NavigateOptions { replace, ..NavigateOptions::default() });
    }));
    let path = use_location().pathname;
    Effect::new(move |before: Option<String>| {
        let now = path.get();
        if before.is_some_and(|before| before != now) {
            session.forget_form();
        }
        now
    });
    let around = session.signed_in;
    view! {
        <a class="skip" href="#main">"Skip to content"</a>
        {around.then(|| frame::topbar(session))}
        {routes()}
        {around.then(|| frame::foot(session))}
        {dialogs(session, actions)}
        {toast::toasts(session)}
        <div class="sr-only" role="status" aria-live="polite">{move || session.announcement.get()}</div>
    }
    .into_any()
}

fn routes() -> AnyView {
    view! {
        <Routes fallback=pages::not_found>
            <Route path=path!("/jobs") view=guarded(pages::jobs) ssr=SsrMode::Async />
            <Route path=path!("/jobs/new") view=guarded(later::new_job) ssr=SsrMode::Async />
            <Route path=path!("/jobs/:id") view=guarded(later::job) ssr=SsrMode::Async />
            <Route path=path!("/jobs/:id/cancel") view=guarded(later::cancel) ssr=SsrMode::Async />
            <Route path=path!("/jobs/:id/delete") view=guarded(later::delete) ssr=SsrMode::Async />
            <Route path=path!("/removals") view=guarded(later::removals) ssr=SsrMode::Async />
            <Route path=path!("/removals/:id") view=guarded(later::removal) ssr=SsrMode::Async />
            <Route path=path!("/bulk/new") view=guarded(later::new_bulk) ssr=SsrMode::Async />
            <Route path=path!("/bulk/:id") view=guarded(later::bulk) ssr=SsrMode::Async />
            <Route path=path!("/providers") view=guarded(later::providers) ssr=SsrMode::Async />
            <Route path=path!("/audit") view=guarded(later::audit) ssr=SsrMode::Async />
            <Route path=path!("/sign-in") view=guarded(later::sign_in) ssr=SsrMode::Async />
        </Routes>
    }
    .into_any()
}

/// The page, or the way in while nobody is signed in.
fn guarded(page: fn() -> AnyView) -> impl Fn() -> AnyView + Clone + Send + 'static {
    move || if session().signed_in { page() } else { later::sign_in() }
}
