//! What the browser loads when it is wanted. The list, and all that pages share, is in the first WebAssembly; the page of a
//! job, the other pages, the dialogs and the way in are parts of their own. The bundler cuts them apart at the functions
//! that are marked here with `wasm_split`: a part is what can only be reached through them. In the server they are plain
//! functions.
//!
//! Hydration needs the code of the page that it takes over at once: [`arrive`] loads it before. Dialogs are never hydrated;
//! theirs is loaded behind the first page ([`prepare`]), or when one is opened before that.

use std::{future::Future, pin::Pin, time::Duration};

use futures::FutureExt;
use leptos::{prelude::*, task::spawn_local};
use leptos_router::hooks::use_url;
use wasm_split_helpers::{SplitLoaderError, wasm_split};

use crate::{
    backend::{SharedBackend, Tone},
    components::{
        bulk_dialog::{bulk_dialog, select_all},
        cancel_dialog::cancel_dialog,
        delete_dialog::{delete_dialog, force_dialog},
        stopping::stopping_dialog,
    },
    hooks::{
        dom,
        follow::{Actions, Ask, Subject},
        selection::Selection,
        session::Session,
    },
    model::{BulkAction, JobQuery},
    pages::{self, job::Mode},
    paths::console,
};

const AWAY: &str = "This could not be loaded. The server is away, or was updated: try again, or reload the page.";

/// A part could not be loaded: the server is away, or of another version by now and has no such file.
struct Unavailable;

impl From<SplitLoaderError> for Unavailable {
    fn from(_: SplitLoaderError) -> Self {
        Unavailable
    }
}

type Built = Result<AnyView, Unavailable>;

/// Pages that share a part.
enum Other {
    NewJob,
    Removals,
    Removal,
    NewBulk,
    Bulk,
    Providers,
    Audit,
}

#[wasm_split(job, fallible, preload(load_job))]
fn job_part(mode: Mode) -> Built {
    Ok(untrack(move || pages::job::in_mode(mode)))
}

#[wasm_split(other, fallible, preload(load_other))]
fn other_part(page: Other) -> Built {
    Ok(untrack(move || match page {
        Other::NewJob => pages::new_job::new_job(),
        Other::Removals => pages::removals::removals(),
        Other::Removal => pages::removal::removal(),
        Other::NewBulk => pages::new_bulk::new_bulk(),
        Other::Bulk => pages::bulk::bulk(),
        Other::Providers => pages::providers::providers(),
        Other::Audit => pages::audit::audit(),
    }))
}

#[wasm_split(entrance, fallible, preload(load_entrance))]
fn entrance_part() -> Built {
    Ok(untrack(pages::sign_in::sign_in))
}

/// What a dialog asks about.
#[derive(Clone)]
pub(crate) enum Question {
    Job(Ask, Subject),
    Bulk(BulkAction),
}

#[wasm_split(dialogs, fallible, preload(load_dialogs))]
fn dialog_part(session: Session, actions: Actions, question: Question) -> Built {
    Ok(untrack(move || match question {
        Question::Job(Ask::Cancel, subject) => cancel_dialog(actions, subject),
        Question::Job(Ask::Stopping, subject) => stopping_dialog(session, actions, subject),
        Question::Job(Ask::Delete, subject) => delete_dialog(actions, subject),
        Question::Job(Ask::ForceDelete, subject) => force_dialog(actions, subject),
        Question::Bulk(action) => bulk_dialog(session, actions.selection, action),
    }))
}

#[wasm_split(dialogs, fallible)]
fn selecting_part(
    session: Session,
    backend: SharedBackend,
    selection: Selection,
    filter: JobQuery,
) -> Result<(), Unavailable> {
    select_all(session, &backend, selection, filter);
    Ok(())
}

/// Selects all jobs that the filter shows.
pub(crate) fn whole_selection(session: Session, backend: &SharedBackend, selection: Selection, filter: JobQuery) {
    let part = selecting_part(session, backend.clone(), selection, filter);
    spawn_local(async move {
        if part.await.is_err() {
            session.tell(Tone::Failed, AWAY);
        }
    });
}

/// A dialog, once its part is here. When that cannot be had the dialog is closed again, and said why.
pub(crate) fn dialog(session: Session, actions: Actions, question: Question) -> AnyView {
    let arrived = ArcTrigger::new();
    let view = move || {
        arrived.track();
        match dialog_part(session, actions, question.clone()).now_or_never() {
            Some(Ok(dialog)) => Some(dialog),
            Some(Err(Unavailable)) => {
                away(session, actions);
                None
            }
            None => {
                let arrived = arrived.clone();
                spawn_local(async move {
                    match load_dialogs().await {
                        Ok(()) => arrived.notify(),
                        Err(_) => away(session, actions),
                    }
                });
                None
            }
        }
    };
    view.into_any()
}

fn away(session: Session, actions: Actions) {
    actions.close();
    actions.selection.asking.set(None);
    session.tell(Tone::Failed, AWAY);
}

/// Loads the dialogs once the page is live and quiet.
pub(crate) fn prepare() {
    const QUIET: Duration = Duration::from_secs(5);
    let load = || {
        spawn_local(async {
            // Opening one tries again.
            let _ = load_dialogs().await;
        });
    };
    set_timeout(load, QUIET);
}

/// `/sign-in`
pub(crate) fn sign_in() -> AnyView {
    page(entrance_part)
}

/// `/jobs/{id}`
pub(crate) fn job() -> AnyView {
    page(|| job_part(Mode::View))
}

/// `/jobs/{id}/cancel`
pub(crate) fn cancel() -> AnyView {
    page(|| job_part(Mode::Cancel))
}

/// `/jobs/{id}/delete`
pub(crate) fn delete() -> AnyView {
    page(|| job_part(Mode::Delete))
}

/// `/jobs/new`
pub(crate) fn new_job() -> AnyView {
    page(|| other_part(Other::NewJob))
}

/// `/removals`
pub(crate) fn removals() -> AnyView {
    page(|| other_part(Other::Removals))
}

/// `/removals/{id}`
pub(crate) fn removal() -> AnyView {
    page(|| other_part(Other::Removal))
}

/// `/bulk/new`
pub(crate) fn new_bulk() -> AnyView {
    page(|| other_part(Other::NewBulk))
}

/// `/bulk/{id}`
pub(crate) fn bulk() -> AnyView {
    page(|| other_part(Other::Bulk))
}

/// `/providers`
pub(crate) fn providers() -> AnyView {
    page(|| other_part(Other::Providers))
}

/// `/audit`
pub(crate) fn audit() -> AnyView {
    page(|| other_part(Other::Audit))
}

/// The page at once where its part is there: in the server, in hydration ([`arrive`]), on a second visit. Else a
/// skeleton until it is.
///
/// "At once" is not only for looks: below a `Suspense` the server builds what it renders several times, and each time
/// a page asks for its content anew. The browser would then take over the first answer, and the HTML show the last.
fn page<F>(part: fn() -> F) -> AnyView
where
    F: Future<Output = Built> + Send + 'static,
{
    let url = use_url();
    let built = move |built: Built| {
        built.unwrap_or_else(|Unavailable| {
            // From the server it comes complete, with what belongs to it.
            dom::leave_for(&url.with_untracked(|url| format!("{}?{}", url.path(), url.search())));
            ().into_any()
        })
    };
    if let Some(there) = part().now_or_never() {
        return built(there);
    }
    let view = move || {
        let part: Pin<Box<dyn Future<Output = Built> + Send>> = Box::pin(part());
        Suspend::new(async move { built(part.await) })
    };
    view! { <Suspense fallback=pages::skeleton>{view}</Suspense> }.into_any()
}

/// Loads what the page of this address needs, so that it can be hydrated. `false` if that cannot be had; the page then
/// stays as the server sent it, which works as well.
pub async fn arrive() -> bool {
    let here = dom::here();
    let path = here.split('?').next().unwrap_or_default();
    let loaded = if path == console::JOBS {
        Ok(())
    } else if path == console::SIGN_IN {
        load_entrance().await
    } else if path.starts_with(console::JOBS) && path != console::NEW_JOB {
        load_job().await
    } else {
        load_other().await
    };
    loaded.is_ok()
}
