//! "Delete Job?" with the plan of this very job, and what a 409 turns it into. As modal dialogs, and as a state of
//! the page that the server renders.

use leptos::{ev, prelude::*, task::spawn_local_scoped_with_cancellation};

use super::{
    cancel_dialog::once,
    icon::{icon, spinning},
    modal::{modal, subject_line},
    notice::{alert, notice},
};
use crate::{
    backend::{Backend, SharedBackend},
    hooks::{
        follow::{Actions, Ask, Doing, Subject},
        session::Session,
    },
    model::{ErrorCode, Phase, Plan, Problem},
    paths::console,
    text,
};

const FIRST_CANCELLED: &str =
    "This job is still running. It will be cancelled first, then deleted after workers acknowledge.";
const STILL_RUNNING: &str = "Job is still running. Cancel it first or use force delete?";

fn running_notice(phase: Phase) -> Option<AnyView> {
    phase.delete_needs_force().then(|| notice("cancelling", "warning", FIRST_CANCELLED.into_any()))
}

/// The plan as a table.
pub(crate) fn plan_table(plan: &Plan) -> AnyView {
    let size = |bytes: u64, records: bool| if records && bytes == 0 { "–".to_owned() } else { text::bytes(bytes) };
    let rows = plan
        .items
        .iter()
        .map(|item| {
            let records = item.category.nouns().0 == "record";
            view! {
                <tr>
                    <th scope="row">{item.category.label()}</th>
                    <td>{text::count(item.items)}</td>
                    <td>{size(item.bytes, records)}</td>
                </tr>
            }
            .into_any()
        })
        .collect::<Vec<_>>();
    let total: u64 = plan.items.iter().map(|item| item.items).sum();
    view! {
        <div class="plan">
            <table>
                <thead>
                    <tr>
                        <th scope="col">"What"</th>
                        <th scope="col">"Count"</th>
                        <th scope="col">"Size"</th>
                    </tr>
                </thead>
                <tbody>{rows}</tbody>
                <tfoot>
                    <tr>
                        <th scope="row">"Total"</th>
                        <td>{text::count(total)}</td>
                        <td>{text::bytes(plan.bytes)}</td>
                    </tr>
                </tfoot>
            </table>
        </div>
    }
    .into_any()
}

fn planned(plan: Result<Plan, Problem>) -> AnyView {
    match plan {
        Ok(plan) => plan_table(&plan),
        Err(problem) => alert(format!("What would be deleted could not be found out. {}", problem.detail)),
    }
}

/// The modal dialog.
pub(crate) fn delete_dialog(actions: Actions, subject: Subject) -> AnyView {
    let id = subject.id;
    let busy = Signal::derive(move || actions.is_doing(id, Doing::Deleting));
    let plan = RwSignal::new(None::<Result<Plan, Problem>>);
    let asked = expect_context::<SharedBackend>().plan(id);
    Effect::new({
        let mut asked = Some(send_wrapper::SendWrapper::new(asked));
        move |_| {
            if let Some(asked) = asked.take() {
                spawn_local_scoped_with_cancellation(async move { plan.set(Some(asked.take().await)) });
            }
        }
    });
    let to_confirm = StoredValue::new(subject.clone());
    modal(
        "delete",
        busy,
        move || actions.close(),
        move |close| {
            view! {
            <form
                method="post"
                action=console::delete(id)
                on:submit=move |event: ev::SubmitEvent| {
                    event.prevent_default();
                    actions.delete(to_confirm.get_value(), false);
                }
            >
                <div class="dialog-body">
                    <header>
                        <h2 id="delete-t">"Delete Job?"</h2>
                        {subject_line(&subject)}
                    </header>
                    <p id="delete-d">"This will permanently delete:"</p>
                    {move || plan.get().map_or_else(waiting_for_plan, planned)}
                    <label class="choice">
                        <input
                            class="check"
                            type="checkbox"
                            name="keep_files"
                            value="true"
                            disabled=move || busy.get()
                            prop:checked=move || actions.keep_files.get()
                            on:change=move |event| actions.keep_files.set(event_target_checked(&event))
                        />
                        <span>"Keep the result files in a folder that the receipt names"</span>
                    </label>
                    <p>"This action cannot be undone."</p>
                    {running_notice(subject.phase)}
                    {move || actions.failure.get().map(alert)}
                </div>
                <div class="dialog-foot">
                    <button class="btn" type="button" autofocus disabled=move || busy.get() on:click=move |_| close.now()>
                        "Cancel"
                    </button>
                    {move || confirm_button(busy.get(), actions.failure.with(Option::is_some), "Delete Permanently", None)}
                </div>
            </form>
        }
        .into_any()
        },
    )
}

fn waiting_for_plan() -> AnyView {
    view! { <p class="muted" role="status">"Counting what would be deleted…"</p> }.into_any()
}

fn confirm_button(busy: bool, retry: bool, words: &'static str, symbol: Option<&'static str>) -> AnyView {
    if busy {
        return view! {
            <button class="btn btn-danger" type="submit" disabled aria-busy="true">
                {spinning("active")}
                "Deleting..."
            </button>
        }
        .into_any();
    }
    let (words, symbol) = if retry { ("Retry", Some("resend")) } else { (words, symbol) };
    view! { <button class="btn btn-danger" type="submit">{symbol.map(icon)}{words}</button> }.into_any()
}

/// What a 409 turns the dialog into.
pub(crate) fn force_dialog(actions: Actions, subject: Subject) -> AnyView {
    let id = subject.id;
    let busy = Signal::derive(move || actions.is_doing(id, Doing::Deleting));
    let kept = StoredValue::new(subject.clone());
    let cancel_first = subject.phase.can_cancel();
    modal(
        "force",
        busy,
        move || actions.close(),
        move |close| {
            view! {
            <form
                method="post"
                action=console::delete(id)
                on:submit=move |event: ev::SubmitEvent| {
                    event.prevent_default();
                    actions.delete(kept.get_value(), true);
                }
            >
                <div class="dialog-body">
                    <header>
                        <h2 id="force-t">{STILL_RUNNING}</h2>
                        {subject_line(&subject)}
                    </header>
                    <p id="force-d">"Force delete stops what is running, waits for the proof, then deletes."</p>
                    <p class="muted">"What cannot be stopped or removed is listed in the receipt."</p>
                    {move || actions.failure.get().map(alert)}
                </div>
                <div class="dialog-foot">
                    <button class="btn" type="button" autofocus disabled=move || busy.get() on:click=move |_| close.now()>
                        "Cancel"
                    </button>
                    {cancel_first
                        .then(|| {
                            view! {
                                <button
                                    class="btn btn-danger-outline"
                                    type="button"
                                    disabled=move || busy.get()
                                    on:click=move |_| actions.ask(Ask::Cancel, kept.get_value())
                                >
                                    {icon("warning")}
                                    "Cancel Job"
                                </button>
                            }
                        })}
                    {move || {
                        confirm_button(busy.get(), actions.failure.with(Option::is_some), "Force Delete", Some("bolt"))
                    }}
                </div>
            </form>
        }
        .into_any()
        },
    )
}

/// The same question as a part of the page: a plain form. After a 409 it asks for force. `keep_files`: the box was
/// ticked before.
pub(crate) fn delete_form(
    session: Session,
    force: bool,
    keep_files: bool,
    subject: &Subject,
    plan: Option<Result<Plan, Problem>>,
) -> AnyView {
    let keep_files = keep_files || session.form().is_some_and(|form| form.value("keep_files") == "true");
    let problem = session.form().map(|form| form.problem);
    let force = force || problem.as_ref().is_some_and(|problem| problem.is(ErrorCode::JobActive));
    let (title, words) = if force { (STILL_RUNNING, "Force Delete") } else { ("Delete Job?", "Delete Permanently") };
    view! {
        <section class="dialog" aria-labelledby="confirm-t">
            <form method="post" action=console::delete(subject.id) on:submit=once()>
                <div class="dialog-body">
                    <header>
                        <h2 id="confirm-t">{title}</h2>
                        {subject_line(subject)}
                    </header>
                    {force
                        .then(|| {
                            view! {
                                <p>"Force delete stops what is running, waits for the proof, then deletes."</p>
                                <input type="hidden" name="force" value="true" />
                            }
                        })}
                    <p>"This will permanently delete:"</p>
                    {plan.map(planned)}
                    <label class="choice">
                        <input class="check" type="checkbox" name="keep_files" value="true" checked=keep_files />
                        <span>"Keep the result files in a folder that the receipt names"</span>
                    </label>
                    <p>"This action cannot be undone."</p>
                    {running_notice(subject.phase)}
                    {problem.filter(|_| !force).map(|problem| alert(problem.detail))}
                </div>
                <div class="dialog-foot">
                    <a class="btn" href=console::job(subject.id)>"Cancel"</a>
                    <button class="btn btn-danger" type="submit">{words}</button>
                </div>
            </form>
        </section>
    }
    .into_any()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Category, PlanItem};

    #[test]
    fn a_plan_shows_count_and_size_of_every_category_and_their_sum() {
        let plan = Plan {
            job_id: crate::model::JobId(1),
            phase: Phase::Completed,
            items: vec![
                PlanItem { category: Category::JobData, items: 1, bytes: 0 },
                PlanItem { category: Category::Results, items: 3_180, bytes: 1_710_000_000 },
            ],
            files: 3_180,
            bytes: 1_710_000_000,
            needs_force: false,
            keep_files: false,
        };
        let html = Owner::new().with(|| plan_table(&plan).to_html());
        for words in ["Job data and metadata", "Result files", "3,180", "1.71 GB", "3,181"] {
            assert!(html.contains(words), "{words}: {html}");
        }
    }
}
