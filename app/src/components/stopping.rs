//! A stop under way: how many runs have proven that they are gone, and whom the job still waits for. After 30 s the
//! ways on: Resend and Force. Nothing is called stopped because a timer ran out.

use leptos::{ev, prelude::*};

use super::{
    icon::{icon, spinning},
    modal::{modal, subject_line},
    notice::notice,
    progress::bar,
    units::file_name,
};
use crate::{
    hooks::{
        follow::{Actions, Subject},
        session::Session,
    },
    model::{Job, Phase, StopSummary, Timestamp, WaitingRun},
    paths::console,
    text,
};

/// Milliseconds without proof after which the console shows who has not answered.
const PATIENCE_MS: i64 = 30_000;

fn summary(job: &Job) -> StopSummary {
    job.cancellation.as_ref().map(|cancellation| cancellation.stop).unwrap_or_default()
}

/// True when the proof is overdue.
pub(crate) fn overdue(job: &Job, now: Timestamp) -> bool {
    job.phase == Phase::Cancelling
        && job.cancellation.as_ref().is_some_and(|asked| now.millis_since(asked.requested_at) > PATIENCE_MS)
}

/// The heading: what is known, not more.
pub(crate) fn heading(job: &Job, late: bool) -> String {
    let stop = summary(job);
    let runs = stop.stopped + stop.waiting + stop.unconfirmed;
    if late && stop.waiting > 0 {
        format!("{} of {runs} {} not answered", stop.waiting, if stop.waiting == 1 { "has" } else { "have" })
    } else {
        format!("{} of {runs} stopped…", stop.stopped)
    }
}

fn waiting_line(session: Session, run: &WaitingRun, late: bool) -> AnyView {
    let tone = if run.lost || late { "partial" } else { "cancelling" };
    let drawn = if run.lost || late { icon("unknown") } else { spinning("cancelling") };
    let since = run.since;
    let detail = run.detail.trim_end_matches('.').to_owned();
    view! {
        <li data-tone=tone>
            {drawn}
            <span title=run.name.clone()>{file_name(&run.name)}</span>
            <small>{detail}{move || format!(", {} s", session.now.get().millis_since(since).max(0) / 1_000)}</small>
        </li>
    }
    .into_any()
}

/// Bar, who has answered and who has not.
fn answers(session: Session, job: &Job, late: bool) -> AnyView {
    let stop = summary(job);
    let runs = stop.stopped + stop.waiting + stop.unconfirmed;
    let nouns = job.kind.unit_nouns();
    let spoken = format!("{} of {runs} stopped", stop.stopped);
    let lines = job.waiting.iter().map(|run| waiting_line(session, run, late)).collect::<Vec<_>>();
    let proven = (stop.stopped > 0).then(|| {
        view! {
            <li data-tone="proof">
                {icon("proof")}
                <span>{text::counted(stop.stopped, ("run", "runs"))}</span>
                <small>"0 processes left"</small>
            </li>
        }
    });
    let finished = job.progress.succeeded + job.progress.failed;
    view! {
        <div
            class="progress"
            role="progressbar"
            aria-label="Stopped runs"
            aria-valuemin="0"
            aria-valuemax=runs.to_string()
            aria-valuenow=stop.stopped.to_string()
            aria-valuetext=spoken
        >
            {bar(&[("proven", stop.stopped), ("stopping", stop.waiting)], runs, true)}
        </div>
        <ul class="answers scroll" tabindex="0" role="list" aria-label="Runs that are being stopped">{proven}{lines}</ul>
        <p class="muted">
            {format!(
                "{} in the queue will not be started. {} finished before and {} as they are.",
                text::counted(stop.never_started, nouns),
                text::counted(finished, nouns),
                if finished == 1 { "stays" } else { "stay" },
            )}
        </p>
    }
    .into_any()
}

const LATE: &str = "Nothing is called stopped because a timer ran out: send the stop again, or end what is left now and \
                    mark the rest unconfirmed.";
const FORCE: &str = "Force kills now. What then stays unreachable is recorded as unconfirmed, visibly.";

fn description(late: bool) -> &'static str {
    if late { LATE } else { "The job is called cancelled when nothing of it is left running." }
}

/// Asks for the stop once more, or for its proof where that is missing: a plain form, sent without leaving the page once
/// it is hydrated.
pub(crate) fn resend(actions: Actions, subject: Subject) -> AnyView {
    let target = console::cancel(subject.id);
    let send = move |event: ev::SubmitEvent| {
        event.prevent_default();
        actions.cancel(subject.clone(), false);
    };
    view! {
        <form method="post" action=target on:submit=send>
            <button class="btn" type="submit" disabled=move || actions.busy()>{icon("resend")}"Resend"</button>
        </form>
    }
    .into_any()
}

/// Resend and Force.
fn ways_on(actions: Actions, subject: StoredValue<Subject>) -> AnyView {
    let target = console::cancel(subject.with_value(|subject| subject.id));
    let send = move |event: ev::SubmitEvent| {
        event.prevent_default();
        actions.cancel(subject.get_value(), true);
    };
    view! {
        {resend(actions, subject.get_value())}
        <form method="post" action=target on:submit=send>
            <input type="hidden" name="force" value="true" />
            <button class="btn btn-danger-outline" type="submit" disabled=move || actions.busy()>
                {icon("bolt")}
                "Force"
            </button>
        </form>
    }
    .into_any()
}

/// The part of the detail page of a job that is being stopped.
pub(crate) fn stopping_panel(session: Session, actions: Actions, job: RwSignal<Job>) -> AnyView {
    let late = Memo::new(move |_| job.with(|job| overdue(job, session.now.get())));
    let shown = Memo::new(move |_| job.with(|job| job.phase == Phase::Cancelling));
    let subject = StoredValue::new(job.with_untracked(Subject::of));
    view! {
        <Show when=move || shown.get()>
            <section class="panel" aria-labelledby="h-stopping">
                <div class="panel-head">
                    <h2 id="h-stopping">{move || job.with(|job| heading(job, late.get()))}</h2>
                </div>
                <div class="panel-body stack">
                    <p>{move || description(late.get())}</p>
                    {move || job.with(|job| answers(session, job, late.get()))}
                    <Show when=move || late.get()>
                        {notice("partial", "warning", FORCE.into_any())}
                        <div class="pages-row">{ways_on(actions, subject)}</div>
                    </Show>
                </div>
            </section>
        </Show>
    }
    .into_any()
}

/// The dialog that a cancel becomes when its proof takes longer than the request.
pub(crate) fn stopping_dialog(session: Session, actions: Actions, subject: Subject) -> AnyView {
    let id = subject.id;
    let job = Memo::new(move |_| actions.fresh.get().filter(|job| job.job_id == id));
    let late = Memo::new(move |_| job.with(|job| job.as_ref().is_some_and(|job| overdue(job, session.now.get()))));
    let kept = StoredValue::new(subject.clone());
    let title =
        move || job.with(|job| job.as_ref().map_or_else(|| "Stopping…".to_owned(), |job| heading(job, late.get())));
    modal(
        "stopping",
        Signal::derive(|| false),
        move || actions.close(),
        move |close| {
            view! {
                <div class="dialog-inner">
                    <div class="dialog-body">
                        <header>
                            <h2 id="stopping-t">{title}</h2>
                            {subject_line(&subject)}
                        </header>
                        <p id="stopping-d">
                            {move || description(late.get())} " You may leave: the stop goes on without this page."
                        </p>
                        {move || job.with(|job| job.as_ref().map(|job| answers(session, job, late.get())))}
                        <Show when=move || late.get()>{notice("partial", "warning", FORCE.into_any())}</Show>
                    </div>
                    <div class="dialog-foot">
                        <a class="btn btn-quiet push" href=console::JOBS on:click=move |_| close.now()>"Leave"</a>
                        <button class="btn" type="button" autofocus on:click=move |_| close.now()>
                            {move || if late.get() { "Keep Waiting" } else { "Close and Keep Watching" }}
                        </button>
                        <Show
                            when=move || late.get()
                            fallback=|| {
                                view! {
                                    <button class="btn btn-danger-outline" type="button" disabled aria-busy="true">
                                        {spinning("active")}
                                        "Cancelling..."
                                    </button>
                                }
                            }
                        >
                            {ways_on(actions, kept)}
                        </Show>
                    </div>
                </div>
            }
            .into_any()
        },
    )
}
