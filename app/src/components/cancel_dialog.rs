//! "Cancel Job?": as a modal dialog, and as a state of the page that the server renders.

use leptos::{ev, prelude::*};

use super::{
    icon::{icon, spinning},
    modal::{modal, subject_line},
    notice::alert,
};
use crate::{
    hooks::{
        follow::{Actions, Doing, Subject},
        session::Session,
    },
    model::MAX_NOTES_CHARS,
    paths::console,
};

const WORDS: &str = "This will stop all processing for this job. Workers will be notified to stop, and queued tasks \
                     will be removed. This action cannot be undone.";

/// The modal dialog.
pub(crate) fn cancel_dialog(actions: Actions, subject: Subject) -> AnyView {
    let id = subject.id;
    let busy = Signal::derive(move || actions.is_doing(id, Doing::Cancelling));
    let to_confirm = StoredValue::new(subject.clone());
    let confirm = move || actions.cancel(to_confirm.get_value(), false);
    let keydown = move |event: ev::KeyboardEvent| {
        if event.key() == "Enter" && (event.ctrl_key() || event.meta_key()) {
            event.prevent_default();
            confirm();
        }
    };
    modal(
        "cancel",
        busy,
        move || actions.close(),
        move |close| {
            view! {
            <form
                method="post"
                action=console::cancel(id)
                on:submit=move |event: ev::SubmitEvent| {
                    event.prevent_default();
                    confirm();
                }
            >
                <div class="dialog-body">
                    <header>
                        <h2 id="cancel-t">"Cancel Job?"</h2>
                        {subject_line(&subject)}
                    </header>
                    <p id="cancel-d">{WORDS}</p>
                    <div class="field">
                        <label for="cancel-r">"Reason "<small>"optional, kept with the job"</small></label>
                        <textarea
                            class="textarea"
                            id="cancel-r"
                            name="reason"
                            maxlength=MAX_NOTES_CHARS.to_string()
                            aria-describedby="cancel-c"
                            readonly=move || busy.get()
                            prop:value=move || actions.notes.get()
                            on:input=move |event| actions.notes.set(event_target_value(&event))
                            on:keydown=keydown
                        ></textarea>
                        <span class="counter" id="cancel-c">
                            {move || format!("{} / {MAX_NOTES_CHARS}", actions.notes.with(|notes| notes.chars().count()))}
                        </span>
                    </div>
                    {move || actions.failure.get().map(alert)}
                </div>
                <div class="dialog-foot">
                    <button class="btn" type="button" autofocus disabled=move || busy.get() on:click=move |_| close.now()>
                        "Cancel"
                    </button>
                    {move || confirm_button(busy.get(), actions.failure.with(Option::is_some))}
                </div>
            </form>
        }
        .into_any()
        },
    )
}

fn confirm_button(busy: bool, retry: bool) -> AnyView {
    if busy {
        view! {
            <button class="btn btn-danger" type="submit" disabled aria-busy="true">
                {spinning("active")}
                "Cancelling..."
            </button>
        }
        .into_any()
    } else if retry {
        view! { <button class="btn btn-danger" type="submit">{icon("resend")}"Retry"</button> }.into_any()
    } else {
        view! { <button class="btn btn-danger" type="submit">"Confirm Cancellation"</button> }.into_any()
    }
}

/// The same question as a part of the page: a plain form.
pub(crate) fn cancel_form(session: Session, subject: &Subject) -> AnyView {
    let form = session.form();
    let typed = form.as_ref().map(|form| form.value("reason").to_owned()).unwrap_or_default();
    let problem = form.map(|form| alert(form.problem.detail));
    view! {
        <section class="dialog" aria-labelledby="confirm-t">
            <form method="post" action=console::cancel(subject.id) on:submit=once()>
                <div class="dialog-body">
                    <header>
                        <h2 id="confirm-t">"Cancel Job?"</h2>
                        {subject_line(subject)}
                    </header>
                    <p>{WORDS}</p>
                    <div class="field">
                        <label for="confirm-r">"Reason "<small>"optional, kept with the job"</small></label>
                        <textarea class="textarea" id="confirm-r" name="reason" maxlength=MAX_NOTES_CHARS.to_string()>
                            {typed}
                        </textarea>
                    </div>
                    {problem}
                </div>
                <div class="dialog-foot">
                    <a class="btn" href=console::job(subject.id)>"Cancel"</a>
                    <button class="btn btn-danger" type="submit">"Confirm Cancellation"</button>
                </div>
            </form>
        </section>
    }
    .into_any()
}

/// Lets a form be sent once only.
pub(crate) fn once() -> impl FnMut(ev::SubmitEvent) + 'static {
    let mut sent = false;
    move |event| {
        if sent {
            event.prevent_default();
        }
        sent = true;
    }
}
