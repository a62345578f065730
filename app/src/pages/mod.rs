//! One page an address. A page asks for all it shows in one go, is rendered with it by the server, and keeps it
//! current in the browser.

pub(crate) mod audit;
pub(crate) mod bulk;
pub(crate) mod job;
mod jobs;
pub(crate) mod new_bulk;
pub(crate) mod new_job;
pub(crate) mod providers;
pub(crate) mod removal;
pub(crate) mod removals;
pub(crate) mod sign_in;
mod upload;

use std::future::Future;

use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::use_query_map;
use serde::{Serialize, de::DeserializeOwned};

pub(crate) use jobs::jobs;

use crate::{
    backend::SetStatus,
    components::notice,
    hooks::session::{Session, session},
    model::Problem,
};

/// Asks, and builds the page from the answer: in the server before anything is sent, in the browser after
/// navigation behind a skeleton.
fn load<T, V>(ask: impl Future<Output = T> + Send + 'static, build: V) -> AnyView
where
    T: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
    V: Fn(T) -> AnyView + Clone + Send + Sync + 'static,
{
    let first = OnceResource::new(ask);
    let built = move || {
        let build = build.clone();
        Suspend::new(async move { build(first.await) })
    };
    view! { <Suspense fallback=skeleton>{built}</Suspense> }.into_any()
}

/// Shown only while there is nothing to show yet.
pub(crate) fn skeleton() -> AnyView {
    let line = || {
        view! { <div class="panel-body stack"><span class="sk sk-60"></span><span class="sk sk-40"></span></div> }
            .into_any()
    };
    view! {
        <main class="page" id="main" aria-busy="true">
            <div class="page-head"><div class="titles"><span class="sk sk-40"></span></div></div>
            <section class="panel" aria-label="Loading">{line()}{line()}{line()}</section>
        </main>
    }
    .into_any()
}

/// The frame of a page's own content.
fn page(session: Session, title: impl Into<String>, class: &'static str, body: AnyView) -> AnyView {
    let title = format!("{} · Belay", title.into());
    view! {
        <Title text=title />
        <main class=class id="main" tabindex="-1">
            {notice::stale(session)}
            {body}
        </main>
    }
    .into_any()
}

/// Instead of a page that could not be loaded.
fn instead(session: Session, problem: &Problem) -> AnyView {
    if let Some(SetStatus(set)) = use_context::<SetStatus>()
        && problem.status >= 400
    {
        set(problem.status);
    }
    page(session, "Problem", "page", notice::problem_page(problem))
}

/// A page of an address that is none.
pub(crate) fn not_found() -> AnyView {
    let problem = Problem { status: 404, detail: "There is no page at this address.".to_owned(), ..Problem::default() };
    instead(session(), &problem)
}

/// The query of the address as pairs.
fn query_pairs() -> Memo<Vec<(String, String)>> {
    let map = use_query_map();
    Memo::new(move |_| {
        map.with(|map| map.latest_values().map(|(name, value)| (name.to_string(), value.to_owned())).collect())
    })
}

/// A pair list borrowed.
fn borrowed(pairs: &[(String, String)]) -> impl Iterator<Item = (&str, &str)> + Clone {
    pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))
}
