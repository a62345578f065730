//! What is done with the ticked jobs of the list. The list is a form: without WebAssembly the bar shows when a box is
//! ticked (a rule of the style sheet), and its buttons lead to the page that asks.

use leptos::{ev, prelude::*};

use super::{filters::exact_count, icon::icon};
use crate::{
    backend::SharedBackend,
    hooks::{
        dom,
        selection::{Row, Selection},
        session::Session,
    },
    later,
    model::{BulkAction, BulkResult, JobList, JobQuery},
    text,
};

/// The rows of the page that is shown.
pub(crate) fn rows(list: RwSignal<JobList>) -> Vec<Row> {
    list.with(|list| list.items.iter().map(|job| (job.job_id, job.phase)).collect())
}

/// The box that ticks all rows of the page. Without WebAssembly it stands for their ids.
pub(crate) fn select_page(selection: Selection, list: RwSignal<JobList>) -> AnyView {
    let ids = untrack(|| rows(list)).iter().map(|row| row.0.to_string()).collect::<Vec<_>>().join(",");
    view! {
        <label class="check-hit">
            <input
                class="check"
                type="checkbox"
                name="page"
                value=ids
                autocomplete="off"
                prop:checked=move || ticked(selection, list) == Ticked::All
                prop:indeterminate=move || ticked(selection, list) == Ticked::Some
                on:change=move |event| selection.set(&untrack(|| rows(list)), event_target_checked(&event))
            />
            <span class="sr-only">"Select every job on this page"</span>
        </label>
    }
    .into_any()
}

/// How much of the page is ticked.
#[derive(PartialEq)]
enum Ticked {
    None,
    Some,
    All,
}

fn ticked(selection: Selection, list: RwSignal<JobList>) -> Ticked {
    let rows = rows(list);
    match selection.among(&rows) {
        0 => Ticked::None,
        count if count == rows.len() => Ticked::All,
        _ => Ticked::Some,
    }
}

/// The bar.
pub(crate) fn bar(session: Session, selection: Selection, query: Memo<JobQuery>, list: RwSignal<JobList>) -> AnyView {
    let backend = expect_context::<SharedBackend>();
    let clear = move |_| {
        selection.clear();
        // The bar goes, and what has the focus with it.
        if let Some(main) = dom::by_id("main") {
            let _ = main.focus();
        }
    };
    let words = move || if session.mounted.get() { said(selection, list) } else { plain(&query.get(), list) };
    let filter =
        move || query.with(JobQuery::to_pairs).into_iter().map(|(name, value)| hidden(name, value)).collect::<Vec<_>>();
    view! {
        <div class="bulk" role="region" aria-label="Selected jobs" data-any=move || (selection.len() != 0).then_some("")>
            <p>{words}" "{move || more(session, &backend, selection, &query.get(), list)}</p>
            {filter}
            {button(selection, BulkAction::Cancel)}
            {button(selection, BulkAction::Delete)}
            {button(selection, BulkAction::Rerun)}
            <span class="sep" aria-hidden="true"></span>
            <button class="btn btn-sm btn-quiet" type="reset" on:click=clear>"Clear"</button>
        </div>
    }
    .into_any()
}

fn hidden(name: &'static str, value: String) -> AnyView {
    view! { <input type="hidden" name=name value=value /> }.into_any()
}

/// How many are selected, and what can be done with them.
fn said(selection: Selection, list: RwSignal<JobList>) -> AnyView {
    let (all, here) = (selection.len(), selection.among(&rows(list)));
    let count = |number: usize| text::count(number as u64);
    let elsewhere = if all > here { format!(", {} not on this page", count(all - here)) } else { String::new() };
    let would = |action: BulkAction| count(selection.would(action, BulkResult::Done));
    let (cancel, delete) = (would(BulkAction::Cancel), would(BulkAction::Delete));
    let words = format!("{elsewhere} · {cancel} can be cancelled, {delete} deleted");
    view! { <b>{count(all)}" selected"</b>{words} }.into_any()
}

/// The way to a larger selection: the page, then all that the filter shows.
fn more(
    session: Session,
    backend: &SharedBackend,
    selection: Selection,
    query: &JobQuery,
    list: RwSignal<JobList>,
) -> Option<AnyView> {
    if !session.mounted.get() {
        return None;
    }
    if ticked(selection, list) != Ticked::All {
        let page = move || selection.set(&untrack(|| rows(list)), true);
        return Some(more_button("Select page".to_owned(), Box::new(page)));
    }
    let filter = JobQuery { cursor: None, limit: None, ..query.clone() };
    let paged = query.cursor.is_some() || list.with(|list| list.next_cursor.is_some());
    let matched = selection.filter.with_value(|all| all.as_ref() == Some(&filter));
    (paged && !matched).then(|| {
        let words = match list.with(|list| exact_count(&filter, &list.counts)) {
            Some(count) => format!("Select all {}", text::count(count)),
            None => "Select all that match".to_owned(),
        };
        let backend = backend.clone();
        more_button(words, Box::new(move || later::whole_selection(session, &backend, selection, filter.clone())))
    })
}

fn more_button(words: String, act: Box<dyn Fn()>) -> AnyView {
    view! { <button class="link" type="button" on:click=move |_| act()>{words}</button> }.into_any()
}

/// The same before hydration.
fn plain(query: &JobQuery, list: RwSignal<JobList>) -> AnyView {
    let count = list.with(|list| exact_count(query, &list.counts));
    let words = count.map_or_else(|| "All".to_owned(), |count| format!("All {}", text::count(count)));
    view! {
        <b>"Selected jobs"</b>
        <label class="choice">
            <input class="check" type="checkbox" name="all" value="true" autocomplete="off" />
            {words}" that match the filter"
        </label>
    }
    .into_any()
}

/// `Cancel 3 Jobs`: as many as the action would reach; if that is none, as many as it would reach with force.
fn button(selection: Selection, action: BulkAction) -> AnyView {
    let reached = move || match selection.would(action, BulkResult::Done) {
        0 => selection.would(action, BulkResult::NeedsForce),
        some => some,
    };
    let words = move || match reached() {
        0 => format!("{} Jobs", action.label()),
        1 => format!("{} 1 Job", action.label()),
        many => format!("{} {} Jobs", action.label(), text::count(many as u64)),
    };
    let (class, symbol) = match action {
        BulkAction::Cancel => ("btn btn-sm btn-danger-outline", "warning"),
        BulkAction::Delete => ("btn btn-sm btn-danger", "trash"),
        BulkAction::Rerun => ("btn btn-sm", "resend"),
    };
    let ask = move |event: ev::MouseEvent| {
        event.prevent_default();
        if untrack(reached) > 0 {
            selection.asking.set(Some(action));
        }
    };
    let hidden = move || selection.len() > 0 && reached() == 0;
    view! {
        <button class=class type="submit" name="action" value=action.as_str() hidden=hidden on:click=ask>
            {icon(symbol)}{words}
        </button>
    }
    .into_any()
}
