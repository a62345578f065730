//! The document, the routes, and what is around every page.

use std::sync::Arc;

use leptos::{nonce::use_nonce, prelude::*};
use leptos_router::{
    SsrMode,
    components::{Route, Router, Routes},
    path,
};

use crate::{assets::AssetNames, backend::SharedBackend, client::HttpBackend, pages};

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
                <link rel="preload" href=url(&assets.wasm) r#as="fetch" r#type="application/wasm" crossorigin="anonymous" />
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

/// The console. Rendered by the server, then hydrated.
#[component]
pub fn App() -> impl IntoView {
    leptos_meta::provide_meta_context();
    if use_context::<SharedBackend>().is_none() {
        provide_context::<SharedBackend>(Arc::new(HttpBackend));
    }
    view! {
        <Router>
            <main id="main">
                <Routes fallback=pages::not_found>
                    <Route path=path!("/jobs") view=pages::jobs ssr=SsrMode::Async />
                    <Route path=path!("/jobs/new") view=pages::new_job ssr=SsrMode::Async />
                    <Route path=path!("/jobs/:id") view=pages::job ssr=SsrMode::Async />
                    <Route path=path!("/jobs/:id/cancel") view=pages::cancel ssr=SsrMode::Async />
                    <Route path=path!("/jobs/:id/delete") view=pages::delete ssr=SsrMode::Async />
                    <Route path=path!("/removals") view=pages::removals ssr=SsrMode::Async />
                    <Route path=path!("/removals/:id") view=pages::removal ssr=SsrMode::Async />
                    <Route path=path!("/audit") view=pages::audit ssr=SsrMode::Async />
                    <Route path=path!("/sign-in") view=pages::sign_in ssr=SsrMode::Async />
                </Routes>
            </main>
        </Router>
    }
}
