//! "Cancel 12 Jobs?", "Delete 38 Jobs?": what the dry run says, and the number to be typed where there are many or force
//! is used. The parts are those of the page that asks without WebAssembly.

use leptos::{
    ev,
    prelude::*,
    task::{spawn_local, spawn_local_scoped_with_cancellation},
};

use super::{
    icon::spinning,
    modal::modal,
    notice::{alert, notice},
};
use crate::{
    backend::{Backend, SharedBackend, Tone},
    client,
    hooks::{dom, selection::Selection, session::Session},
    model::{
        BulkAction, BulkPlan, BulkRequest, BulkResult, BulkSelect, ErrorCode, JobQuery, MAX_NOTES_CHARS, Problem,
        bulk::{jobs_with, wants_number},
    },
    paths::console,
    text,
};

/// What is typed and ticked; survives a failed request.
#[derive(Clone, Copy)]
pub(crate) struct Typed {
    pub(crate) notes: RwSignal<String>,
    pub(crate) keep_files: RwSignal<bool>,
    pub(crate) number: RwSignal<String>,
}

impl Typed {
    pub(crate) fn new(notes: String, keep_files: bool, number: String) -> Self {
        Typed { notes: RwSignal::new(notes), keep_files: RwSignal::new(keep_files), number: RwSignal::new(number) }
    }
}

/// `Cancel 12 Jobs?`
pub(crate) fn title(action: BulkAction, jobs: Option<u64>) -> String {
    match jobs {
        Some(jobs @ 1..) => format!("{} {}?", action.label(), text::counted(jobs, ("Job", "Jobs"))),
        Some(0) | None => format!("{} Jobs?", action.label()),
    }
}

pub(crate) const fn consequence(action: BulkAction) -> &'static str {
    match action {
        BulkAction::Cancel => {
            "This will stop all processing for these jobs. Workers will be notified to stop, and queued tasks will be \
             removed. This action cannot be undone."
        }
        BulkAction::Delete => {
            "This will permanently delete these jobs with their files and records. Each leaves a receipt. This action \
             cannot be undone."
        }
        BulkAction::Rerun => {
            "Each of these jobs is run again as a new job over the same inputs. The old ones stay as they are."
        }
    }
}

/// What a group of a dry run is called.
const fn group(action: BulkAction, result: BulkResult) -> &'static str {
    match result {
        BulkResult::Done => match action {
            BulkAction::Cancel => "Will be cancelled",
            BulkAction::Delete => "Will be deleted",
            BulkAction::Rerun => "Will be run again",
        },
        BulkResult::AlreadyDone => "Have ended already",
        BulkResult::NeedsForce => "Still active, need force",
        BulkResult::NotAllowed => match action {
            BulkAction::Cancel | BulkAction::Delete => "Are being deleted",
            BulkAction::Rerun => "Have not ended yet, or are being deleted",
        },
        BulkResult::NotFound => "Are not there any more",
        BulkResult::Pending | BulkResult::Working | BulkResult::Failed | BulkResult::Aborted => result.label(),
    }
}

/// The dry run in groups, and the number to be typed where it is wanted.
pub(crate) fn groups(plan: &BulkPlan, force: bool, typed: Typed) -> AnyView {
    let rows = plan.counts.iter().map(|count| {
        view! { <tr><th scope="row">{group(plan.action, count.result)}</th><td>{text::count(count.jobs)}</td></tr> }
            .into_any()
    });
    let frees = match plan.action {
        BulkAction::Delete if plan.acts_on() > 0 => Some(format!("Frees {} on disk.", text::bytes(plan.bytes))),
        BulkAction::Cancel | BulkAction::Delete | BulkAction::Rerun => None,
    };
    view! {
        <div class="plan">
            <table>
                <thead><tr><th scope="col">"Selected jobs"</th><th scope="col">"Count"</th></tr></thead>
                <tbody>{rows.collect::<Vec<_>>()}</tbody>
                <tfoot><tr><th scope="row">"Total"</th><td>{text::count(plan.total)}</td></tr></tfoot>
            </table>
        </div>
        {frees.map(|words| view! { <p>{words}</p> })}
        {number_field(plan, force, typed)}
        {(plan.acts_on() == 0).then(|| notice("active", "info", "None of these jobs would be changed.".into_any()))}
    }
    .into_any()
}

/// Selects what the filter shows at this moment, on whatever page.
pub(crate) fn select_all(session: Session, backend: &SharedBackend, selection: Selection, filter: JobQuery) {
    let request = BulkRequest {
        action: BulkAction::Cancel,
        select: BulkSelect::Filter((&filter).into()),
        reason: None,
        notes: None,
        force: false,
        keep_files: false,
        dry_run: true,
    };
    let asked = backend.bulk_plan(request);
    spawn_local(async move {
        match asked.await {
            Ok(plan) => selection.take(filter, &plan),
            Err(problem) => session.tell(Tone::Failed, problem.detail),
        }
    });
}

/// Jobs that only force would reach.
pub(crate) fn needing_force(plan: &BulkPlan) -> u64 {
    jobs_with(&plan.counts, BulkResult::NeedsForce)
}

/// `Stop 3 active jobs first, then delete them too (force)`
pub(crate) fn force_words(active: u64) -> String {
    let them = if active == 1 { "it" } else { "them" };
    format!("Stop {} first, then delete {them} too (force)", text::counted(active, ("active job", "active jobs")))
}

/// The field for the number of jobs, where it is wanted. The browser itself sees to it that it is the right one.
fn number_field(plan: &BulkPlan, force: bool, typed: Typed) -> Option<AnyView> {
    let jobs = plan.acts_on();
    let shown = text::count(jobs);
    let wanted = jobs > 0 && wants_number(jobs, force);
    wanted.then(|| {
        view! {
            <div class="field">
                <label for="bulk-n">"Type "<b>{shown.clone()}</b>" to confirm the number of jobs"</label>
                <input
                    class="input"
                    id="bulk-n"
                    name="number"
                    inputmode="numeric"
                    autocomplete="off"
                    required
                    pattern=shown.replace(',', ",?")
                    title=format!("The number of jobs: {shown}")
                    value=typed.number.get_untracked()
                    on:input=move |event| typed.number.set(event_target_value(&event))
                />
            </div>
        }
        .into_any()
    })
}

/// The reason of a cancel, or what a delete leaves.
pub(crate) fn options(action: BulkAction, typed: Typed) -> AnyView {
    match action {
        BulkAction::Cancel => view! {
            <div class="field">
                <label for="bulk-r">"Reason "<small>"optional, kept with each job"</small></label>
                <textarea
                    class="textarea"
                    id="bulk-r"
                    name="reason"
                    maxlength=MAX_NOTES_CHARS.to_string()
                    on:input=move |event| typed.notes.set(event_target_value(&event))
                >
                    {typed.notes.get_untracked()}
                </textarea>
            </div>
        }
        .into_any(),
        BulkAction::Delete => view! {
            <label class="choice">
                <input
                    class="check"
                    type="checkbox"
                    name="keep_files"
                    value="true"
                    checked=typed.keep_files.get_untracked()
                    on:change=move |event| typed.keep_files.set(event_target_checked(&event))
                />
                <span>"Keep the result files in folders that the receipts name"</span>
            </label>
        }
        .into_any(),
        BulkAction::Rerun => ().into_any(),
    }
}

pub(crate) const fn confirmation(action: BulkAction) -> &'static str {
    match action {
        BulkAction::Cancel => "Confirm Cancellation",
        BulkAction::Delete => "Delete Permanently",
        BulkAction::Rerun => "Run Again",
    }
}

/// How the button looks that begins it: red where something is lost.
pub(crate) const fn confirmation_class(action: BulkAction) -> &'static str {
    match action {
        BulkAction::Cancel | BulkAction::Delete => "btn btn-danger",
        BulkAction::Rerun => "btn btn-primary",
    }
}

/// The modal dialog over the selected jobs.
pub(crate) fn bulk_dialog(session: Session, selection: Selection, action: BulkAction) -> AnyView {
    let backend = expect_context::<SharedBackend>();
    let ids = StoredValue::new(selection.ids());
    let typed = Typed::new(String::new(), false, String::new());
    let force = RwSignal::new(false);
    let plan = RwSignal::new(None::<Result<BulkPlan, Problem>>);
    let busy = RwSignal::new(false);
    let failure = RwSignal::new(None::<String>);
    let request = move || BulkRequest {
        action,
        select: BulkSelect::Ids(ids.get_value()),
        reason: None,
        notes: Some(typed.notes.get_untracked().trim().to_owned()).filter(|notes| !notes.is_empty()),
        force: force.get(),
        keep_files: typed.keep_files.get(),
        dry_run: false,
    };
    Effect::new(move |_| {
        let asked = backend.bulk_plan(request());
        // What was shown is not what a click would do any more.
        plan.set(None);
        spawn_local_scoped_with_cancellation(async move { plan.set(Some(asked.await)) });
    });
    let jobs = move || plan.with(|plan| plan.as_ref()?.as_ref().ok().map(BulkPlan::acts_on));
    // The same again after an answer that was lost begins nothing twice.
    let tried = StoredValue::new(None::<(BulkRequest, String)>);
    let confirm = move |event: ev::SubmitEvent| {
        event.prevent_default();
        if busy.get_untracked() || untrack(jobs).unwrap_or(0) == 0 {
            return;
        }
        busy.set(true);
        failure.set(None);
        let request = untrack(request);
        let key =
            tried.with_value(|tried| tried.as_ref().filter(|(last, _)| *last == request).map(|(_, key)| key.clone()));
        let key = key.unwrap_or_else(|| dom::random().to_bits().to_string());
        tried.set_value(Some((request.clone(), key.clone())));
        spawn_local(async move {
            match client::begin_bulk(&request, &key).await {
                Ok(id) => {
                    selection.asking.set(None);
                    selection.clear();
                    session.go(&console::bulk(id), false);
                }
                Err(problem) if problem.is(ErrorCode::Unauthenticated) => session.sign_in_again(),
                Err(problem) => failure.set(Some(problem.detail)),
            }
            busy.set(false);
        });
    };
    let planned = move || {
        plan.with(|plan| match plan {
            None => view! { <p class="muted" role="status">"Counting what would happen…"</p> }.into_any(),
            Some(Err(problem)) => alert(problem.detail.clone()),
            Some(Ok(plan)) => groups(plan, force.get_untracked(), typed),
        })
    };
    // Where force is ticked none need it any more: what was said before stays.
    let active = StoredValue::new(0);
    let with_force = move || {
        plan.with(|plan| {
            if let (Some(Ok(plan)), false) = (plan, force.get_untracked()) {
                active.set_value(needing_force(plan));
            }
        });
        (active.get_value() > 0).then(|| {
            view! {
                <label class="choice">
                    <input
                        class="check"
                        type="checkbox"
                        prop:checked=move || force.get()
                        on:change=move |event| force.set(event_target_checked(&event))
                    />
                    <span>{force_words(active.get_value())}</span>
                </label>
            }
        })
    };
    let class = confirmation_class(action);
    let button = move || {
        if busy.get() {
            view! {
                <button class=class type="submit" disabled aria-busy="true">{spinning("active")}"Starting..."</button>
            }
            .into_any()
        } else {
            let nothing = jobs().unwrap_or(0) == 0;
            let words = if failure.with(Option::is_some) { "Retry" } else { confirmation(action) };
            view! { <button class=class type="submit" disabled=nothing>{words}</button> }.into_any()
        }
    };
    modal(
        "bulk",
        busy.into(),
        move || selection.asking.set(None),
        move |close| {
            view! {
            <form on:submit=confirm>
                <div class="dialog-body">
                    <header><h2 id="bulk-t">{move || title(action, jobs())}</h2></header>
                    <p id="bulk-d">{consequence(action)}</p>
                    {options(action, typed)}
                    {with_force}
                    {planned}
                    {move || failure.get().map(alert)}
                </div>
                <div class="dialog-foot">
                    <button class="btn" type="button" autofocus disabled=move || busy.get() on:click=move |_| close.now()>
                        "Cancel"
                    </button>
                    {button}
                </div>
            </form>
        }
        .into_any()
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::BulkCount;

    fn plan(counts: &[(BulkResult, u64)]) -> BulkPlan {
        BulkPlan {
            action: BulkAction::Delete,
            total: counts.iter().map(|(_, jobs)| jobs).sum(),
            counts: counts.iter().map(|(result, jobs)| BulkCount { result: *result, jobs: *jobs }).collect(),
            bytes: 1_940_000_000,
            items: Vec::new(),
        }
    }

    fn typed() -> Typed {
        Typed::new(String::new(), false, String::new())
    }

    #[test]
    fn a_dry_run_is_shown_in_groups_with_what_it_frees() {
        let html = Owner::new().with(|| {
            groups(&plan(&[(BulkResult::Done, 1_234), (BulkResult::NeedsForce, 3)]), false, typed()).to_html()
        });
        for words in ["Will be deleted", "1,234", "Still active, need force", "1,237", "Frees 1.94 GB on disk."] {
            assert!(html.contains(words), "{words}: {html}");
        }
        let nothing = Owner::new().with(|| groups(&plan(&[(BulkResult::NeedsForce, 3)]), false, typed()).to_html());
        assert!(nothing.contains("None of these jobs would be changed.") && !nothing.contains("Frees"), "{nothing}");
    }

    #[test]
    fn the_number_is_asked_for_many_jobs_and_with_force() {
        Owner::new().with(|| {
            let field = |jobs, force| number_field(&plan(&[(BulkResult::Done, jobs)]), force, typed());
            assert!(field(20, false).is_none() && field(0, true).is_none());
            assert!(field(1, true).is_some());
            let html = field(1_234, false).unwrap().to_html();
            assert!(html.contains("pattern=\"1,?234\"") && html.contains("required"), "{html}");
        });
    }
}
