//! Sentences that belong to a place on the page: notices in forms, banners over a page, what is shown when
//! there is nothing else.

use leptos::prelude::*;

use super::icon::icon;
use crate::{
    hooks::session::{Link, Session},
    model::{ErrorCode, Problem},
    paths::console,
    text,
};

/// A notice that an error caused: read out at once.
pub(crate) fn alert(words: String) -> AnyView {
    view! {
        <div class="notice" role="alert" data-tone="failed">
            {icon("failed")}
            <p>{words}</p>
        </div>
    }
    .into_any()
}

/// A notice beside what it is about.
pub(crate) fn notice(tone: &'static str, symbol: &'static str, words: AnyView) -> AnyView {
    view! { <div class="notice" data-tone=tone>{icon(symbol)}<p>{words}</p></div> }.into_any()
}

/// The server does not answer: what is shown may be old.
pub(crate) fn stale(session: Session) -> AnyView {
    let since = move || {
        session.heard_at.get().map_or_else(
            || "The server does not answer.".to_owned(),
            |at| format!("Last updated {}. The server does not answer.", text::ago(session.now.get(), at)),
        )
    };
    view! {
        <Show when=move || session.link.get() == Link::Stale>
            <div class="banner" role="status" data-tone="partial">
                {icon("offline")}
                <p>
                    {since}
                    <small>"What you see may be old. Belay keeps trying."</small>
                </p>
                <div class="actions">
                    <button class="btn btn-sm" type="button" on:click=move |_| session.nudge.update(|count| *count += 1)>
                        {icon("resend")}
                        "Try Now"
                    </button>
                </div>
            </div>
        </Show>
    }
    .into_any()
}

/// A page that could not be shown, with the way on.
pub(crate) fn problem_page(problem: &Problem) -> AnyView {
    let deleted = problem.is(ErrorCode::JobDeleted);
    let title = match (deleted, problem.status) {
        (true, _) => "This job was deleted",
        (false, 404) => "Nothing here",
        (false, 403) => "Not allowed",
        (false, _) => "This page could not be loaded",
    };
    let receipt = problem.receipt.as_deref().and_then(|path| path.strip_prefix("/api")).map(str::to_owned);
    let retry = problem.status != 404 && problem.status != 403;
    let request = (!problem.request_id.is_empty()).then(|| format!(" Request {}.", problem.request_id));
    view! {
        <section class="panel" aria-labelledby="problem-t">
            <div class="empty" role="alert">
                {art()}
                <h1 id="problem-t">{title}</h1>
                <p>{problem.detail.clone()}{request}</p>
                <div class="actions">
                    {retry.then(|| view! { <a class="btn btn-primary" href="" rel="external">{icon("resend")}"Retry"</a> })}
                    {receipt.map(|path| view! { <a class="btn" href=path>{icon("receipt")}"Open Receipt"</a> })}
                    <a class="btn" href=console::JOBS>"All Jobs"</a>
                </div>
            </div>
        </section>
    }
    .into_any()
}

/// The drawing of "nothing found".
pub(crate) fn art() -> AnyView {
    view! {
        <svg class="art" viewBox="0 0 96 96" aria-hidden="true">
            <circle cx="42" cy="42" r="22" />
            <path d="m58 58 22 22" />
            <path class="soft" d="M32 38h20M32 46h12" />
        </svg>
    }
    .into_any()
}
