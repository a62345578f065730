//! The buttons of a job. Each is a form to the page that asks, rendered by the server; once hydrated it opens the
//! dialog instead. Which buttons there are, and what they say, is a function of the phase.

use leptos::{ev, prelude::*};

use super::icon::{icon, spinning};
use crate::{
    hooks::{
        follow::{Actions, Ask, Doing, Subject},
        session::Session,
    },
    later::{self, Question},
    model::{Job, Phase, PhaseClass},
    paths::console,
    text,
};

/// What the buttons depend on; they are drawn anew only when it changes.
#[derive(Clone, PartialEq)]
struct State {
    subject: Subject,
    may_cancel: bool,
    may_delete: bool,
    may_rerun: bool,
    /// Units that did not succeed, when some did: a rerun of them is worth a button of its own.
    rest: u64,
    doing: Option<Doing>,
    /// Something is done with another job.
    blocked: bool,
}

/// The buttons of the detail page.
pub(crate) fn buttons(actions: Actions, job: RwSignal<Job>) -> AnyView {
    let state = Memo::new(move |_| {
        let doing = actions.doing.get();
        job.with(|job| State {
            subject: Subject::of(job),
            may_cancel: job.allowed.cancel.ok,
            may_delete: job.allowed.delete.ok || job.allowed.force_delete.ok,
            may_rerun: job.allowed.rerun.ok,
            rest: if job.progress.succeeded > 0 { job.progress.unfinished() } else { 0 },
            doing: doing.filter(|(id, _)| *id == job.job_id).map(|(_, doing)| doing),
            blocked: doing.is_some(),
        })
    });
    (move || drawn(actions, &state.get())).into_any()
}

fn drawn(actions: Actions, state: &State) -> AnyView {
    view! { {rerun_buttons(actions, state)}{cancel_button(actions, state)}{delete_button(actions, state)} }.into_any()
}

/// A form that leads to `page`, or once hydrated to `act`.
fn form(page: String, post: bool, act: impl Fn() + 'static, button: AnyView) -> AnyView {
    let submit = move |event: ev::SubmitEvent| {
        event.prevent_default();
        act();
    };
    view! { <form method=if post { "post" } else { "get" } action=page on:submit=submit>{button}</form> }.into_any()
}

fn busy_button(class: &'static str, words: &'static str) -> AnyView {
    view! { <button class=class type="button" disabled aria-busy="true">{spinning("active")}{words}</button> }
        .into_any()
}

fn rerun_buttons(actions: Actions, state: &State) -> Option<AnyView> {
    if !state.may_rerun {
        return None;
    }
    if state.doing == Some(Doing::RunningAgain) {
        return Some(busy_button("btn", "Run Again"));
    }
    let all = rerun_button(actions, state, "all", "Run Again".to_owned());
    let rest = (state.rest > 0).then(|| {
        let words = format!("Run {} Unfinished", text::count(state.rest));
        rerun_button(actions, state, "unfinished", words)
    });
    Some(view! { {all}{rest} }.into_any())
}

fn rerun_button(actions: Actions, state: &State, units: &'static str, words: String) -> AnyView {
    let button = view! {
        <input type="hidden" name="units" value=units />
        <button class="btn" type="submit" disabled=state.blocked>{icon("rerun")}{words}</button>
    }
    .into_any();
    let subject = state.subject.clone();
    let act = move || actions.run_again(subject.clone(), units == "unfinished");
    form(console::rerun(state.subject.id), true, act, button)
}

fn cancel_button(actions: Actions, state: &State) -> Option<AnyView> {
    let phase = state.subject.phase;
    if phase == Phase::Cancelling || state.doing == Some(Doing::Cancelling) {
        return Some(busy_button("btn btn-danger-outline", "Cancelling..."));
    }
    if phase == Phase::Cancelled {
        return Some(
            view! {
                <button class="btn" type="button" disabled>
                    {icon("cancelled")}
                    "Cancelled"
                    <span class="sr-only">". Cancel Job is no longer available."</span>
                </button>
            }
            .into_any(),
        );
    }
    if !phase.can_cancel() || !state.may_cancel {
        return None;
    }
    let button = view! {
        <button class="btn btn-danger-outline" type="submit" disabled=state.blocked>
            {icon("warning")}
            "Cancel Job"
        </button>
    }
    .into_any();
    let subject = state.subject.clone();
    let act = move || actions.ask(Ask::Cancel, subject.clone());
    Some(form(console::cancel(state.subject.id), false, act, button))
}

fn delete_button(actions: Actions, state: &State) -> Option<AnyView> {
    let words = match state.subject.phase.class() {
        PhaseClass::Terminal => "Delete Job",
        PhaseClass::Pending | PhaseClass::Active | PhaseClass::Cancelling => "Cancel & Delete Job",
        PhaseClass::Deleting => return Some(busy_button("btn btn-danger", "Deleting...")),
    };
    if state.doing == Some(Doing::Deleting) {
        return Some(busy_button("btn btn-danger", "Deleting..."));
    }
    if !state.may_delete {
        return None;
    }
    let button = view! {
        <button class="btn btn-danger" type="submit" disabled=state.blocked>{icon("trash")}{words}</button>
    }
    .into_any();
    let subject = state.subject.clone();
    let act = move || actions.ask(Ask::Delete, subject.clone());
    Some(form(console::delete(state.subject.id), false, act, button))
}

/// The one dialog that is open, if one is.
pub(crate) fn dialogs(session: Session, actions: Actions) -> AnyView {
    let asked = move || actions.open.get().map(|(ask, subject)| Question::Job(ask, subject));
    (move || asked().map(|question| later::dialog(session, actions, question))).into_any()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        client::HttpBackend,
        model::{JobId, Kind},
    };

    fn html(phase: Phase) -> String {
        html_with(phase, 0)
    }

    fn html_with(phase: Phase, rest: u64) -> String {
        Owner::new().with(|| {
            let actions = Actions::new(Session::of_nobody(), Arc::new(HttpBackend));
            let subject = Subject { id: JobId(1), name: "x".to_owned(), kind: Kind::Files, phase };
            let state = State {
                subject,
                may_cancel: phase.why_no_cancel().is_none(),
                may_delete: true,
                may_rerun: phase.can_rerun(),
                rest,
                doing: None,
                blocked: false,
            };
            drawn(actions, &state).to_html()
        })
    }

    #[test]
    fn every_phase_has_its_buttons() {
        for phase in Phase::ALL {
            let html = html(phase);
            let active = phase.can_cancel();
            assert_eq!(html.contains("Cancel Job<"), active, "{phase}: {html}");
            assert_eq!(html.contains("Cancelling..."), phase == Phase::Cancelling, "{phase}");
            assert_eq!(html.contains("Cancel Job is no longer available."), phase == Phase::Cancelled, "{phase}");
            assert_eq!(html.contains("Delete Job"), phase != Phase::Deleting, "{phase}");
            assert_eq!(html.contains("Cancel &amp; Delete Job"), phase.delete_needs_force(), "{phase}");
            assert_eq!(html.contains("Deleting..."), phase == Phase::Deleting, "{phase}");
            assert_eq!(html.contains("Run Again"), phase.is_terminal(), "{phase}");
        }
    }

    #[test]
    fn what_did_not_succeed_has_a_rerun_of_its_own() {
        let html = html_with(Phase::Partial, 1_234);
        assert!(html.contains("Run Again") && html.contains("Run 1,234 Unfinished"), "{html}");
        assert!(html.contains("value=\"all\"") && html.contains("value=\"unfinished\""), "{html}");
        assert!(!html_with(Phase::Partial, 0).contains("Unfinished"));
        assert!(!html_with(Phase::InProgress, 5).contains("Unfinished"));
    }

    #[test]
    fn the_buttons_are_forms_so_that_they_work_without_a_script() {
        let html = html(Phase::InProgress);
        assert!(html.contains("action=\"/jobs/00000000-0000-0000-0000-000000000001/cancel\""), "{html}");
        assert!(html.contains("action=\"/jobs/00000000-0000-0000-0000-000000000001/delete\""), "{html}");
    }
}
