//! The progress panel of a job just started: bar, the units that are over, and the red button. Its place is the
//! address (`?panel=1`), so a reload brings it back.

use leptos::prelude::*;

use super::{
    icon::icon,
    modal::{modal, subject_line},
    progress::progress,
    units::{DetailQuery, finished_line},
};
use crate::{
    backend::{Backend, SharedBackend, Tone},
    hooks::{
        follow::{Actions, Ask, Subject},
        poll::keep_current,
        session::Session,
    },
    model::{Job, Page, Phase, PhaseClass, Unit, UnitQuery},
};

/// Finished units that the panel lists.
const LISTED: u32 = 50;

/// Opens the panel while the address says so.
pub(crate) fn panel(session: Session, actions: Actions, job: RwSignal<Job>, query: Memo<DetailQuery>) -> AnyView {
    let id = job.with_untracked(|job| job.job_id);
    let ready = RwSignal::new(false);
    let wanted = Memo::new(move |_| ready.get() && session.mounted.get() && query.with(|query| query.panel));
    let phase = Memo::new(move |_| job.with(|job| job.phase));
    let backend = expect_context::<SharedBackend>();
    let latest = keep_current(
        session,
        Page::default(),
        // Another phase asks at once: the last units of a job that is over are among the latest.
        Memo::new(move |_| wanted.get().then(|| phase.get())),
        move |wanted| {
            let query = UnitQuery { latest: true, limit: Some(LISTED), ..UnitQuery::default() };
            wanted.map(|_| backend.units(id, query))
        },
        move |_: &Page<Unit>| phase.get_untracked().is_moving(),
    );
    // After the first look at the key above, so that it changes and the units are asked for at once: a job that was quicker
    // than its page has no other phase to come.
    Effect::new(move |_| ready.set(true));
    let shut = move || {
        let without = query.with_untracked(|query| DetailQuery { panel: false, ..query.clone() });
        if query.with_untracked(|query| query.panel) {
            session.go(&without.url(id), true);
        }
    };
    Effect::new(move |_| {
        actions.panel.set(wanted.get().then_some(id));
    });
    on_cleanup(move || {
        if actions.panel.try_get_untracked().flatten() == Some(id) {
            actions.panel.set(None);
        }
    });
    // The proof of a cancel closes it, with one message: without `panel=1` a reload says nothing again.
    Effect::new(move |_| {
        if wanted.get() && phase.get() == Phase::Cancelled {
            session.toast(
                "panel",
                crate::backend::Flash {
                    tone: Tone::Warning,
                    text: "Job was cancelled".to_owned(),
                    detail: Some(job.with_untracked(|job| job.name.clone())),
                    link: None,
                },
            );
            shut();
        }
    });
    view! {
        <Show when=move || wanted.get() && phase.get() != Phase::Cancelled>{dialog(actions, job, latest.value, shut)}</Show>
    }
    .into_any()
}

fn dialog(
    actions: Actions,
    job: RwSignal<Job>,
    latest: RwSignal<Page<Unit>>,
    shut: impl Fn() + Copy + Send + Sync + 'static,
) -> AnyView {
    let subject = job.with_untracked(Subject::of);
    let phase = Memo::new(move |_| job.with(|job| job.phase));
    let title = move || match phase.get().class() {
        PhaseClass::Pending => "Waiting for a worker",
        PhaseClass::Active => "Running",
        PhaseClass::Cancelling => "Cancelling...",
        PhaseClass::Deleting => "Deleting...",
        PhaseClass::Terminal => phase.get().label(),
    };
    let over = Memo::new(move |_| phase.get().is_terminal());
    let bar =
        move || job.with(|job| progress("Progress".to_owned(), job.progress, job.phase, job.kind.unit_nouns().1, true));
    let lines = move || {
        latest
            .with(|page| page.items.iter().filter(|unit| unit.status.is_over()).map(finished_line).collect::<Vec<_>>())
    };
    modal("started", Signal::derive(|| false), shut, move |close| {
        view! {
            <div class="dialog-inner">
                <div class="dialog-body">
                    <header>
                        <h2 id="started-t">{title}</h2>
                        {subject_line(&subject)}
                    </header>
                    <p id="started-d" class="sr-only">"Progress of the job that you started."</p>
                    {bar}
                    <ul class="answers scroll" tabindex="0" role="list" aria-label="Finished last">{lines}</ul>
                    <p class="muted">
                        {move || {
                            if over.get() { "It is over." } else { "You may leave: the job goes on, and this panel comes back." }
                        }}
                    </p>
                </div>
                <div class="dialog-foot">
                    <button class="btn btn-quiet push" type="button" autofocus on:click=move |_| close.now()>
                        {move || if over.get() { "Close" } else { "View Details" }}
                    </button>
                    <Show when=move || phase.get().can_cancel()>
                        <button
                            class="btn btn-danger-outline"
                            type="button"
                            disabled=move || actions.busy()
                            on:click=move |_| actions.ask(Ask::Cancel, job.with_untracked(Subject::of))
                        >
                            {icon("warning")}
                            "Cancel Job"
                        </button>
                    </Show>
                    <Show when=move || phase.get() == Phase::Cancelling>
                        <button class="btn btn-danger-outline" type="button" disabled aria-busy="true">
                            {super::icon::spinning("active")}
                            "Cancelling..."
                        </button>
                    </Show>
                </div>
            </div>
        }
        .into_any()
    })
}
