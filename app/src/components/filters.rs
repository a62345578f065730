//! What the list shows, as a form and as chips. The address is the only place where it is kept.

use leptos::{ev, html, leptos_dom::helpers::TimeoutHandle, prelude::*};

use super::icon::icon;
use crate::{
    hooks::session::Session,
    model::{JobQuery, JobSort, Kind, Phase, PhaseCount},
    paths::console,
    text,
};

/// Milliseconds after the last key until the search is made.
const TYPING_MS: u64 = 300;

/// Phases behind a chip, its word and its tone.
struct Group {
    phases: &'static [Phase],
    word: &'static str,
    tone: &'static str,
}

const ACTIVE: [Phase; 7] = [
    Phase::Collection,
    Phase::FeatureExtraction,
    Phase::Matching,
    Phase::Evidence,
    Phase::InProgress,
    Phase::Validating,
    Phase::Finalizing,
];

const GROUPS: [Group; 8] = [
    Group { phases: &ACTIVE, word: "Active", tone: "active" },
    Group { phases: &[Phase::Pending], word: "Pending", tone: "pending" },
    Group { phases: &[Phase::Cancelling], word: "Cancelling", tone: "cancelling" },
    Group { phases: &[Phase::Completed], word: "Completed", tone: "completed" },
    Group { phases: &[Phase::Partial], word: "Partial", tone: "partial" },
    Group { phases: &[Phase::Failed], word: "Failed", tone: "failed" },
    Group { phases: &[Phase::Cancelled], word: "Cancelled", tone: "cancelled" },
    Group { phases: &[Phase::Deleting], word: "Deleting", tone: "deleting" },
];

/// The chips: one a group of phases, with how many jobs are in it.
pub(crate) fn chips(query: &JobQuery, counts: &[PhaseCount]) -> AnyView {
    let chip = |phases: &[Phase], word: &'static str, tone: Option<&'static str>, count: String| {
        let target = JobQuery { phases: phases.to_vec(), cursor: None, ..query.clone() };
        let current = query.phases == phases;
        view! {
            <a class="chip" href=console::jobs(&target) data-noscroll="" aria-current=current.then_some("true") data-tone=tone>
                {tone.map(icon)}
                {word}
                <data value=count.clone()>{count.clone()}</data>
            </a>
        }
        .into_any()
    };
    let all = chip(&[], "All", None, text::capped(counts));
    let groups = GROUPS
        .iter()
        .map(|group| {
            let within: Vec<_> = counts.iter().filter(|count| group.phases.contains(&count.phase)).copied().collect();
            chip(group.phases, group.word, Some(group.tone), text::capped(&within))
        })
        .collect::<Vec<_>>();
    view! { <nav class="chips" aria-label="Phase">{all}{groups}</nav> }.into_any()
}

/// How many jobs a filter shows, where the counts alone can tell.
pub(crate) fn exact_count(query: &JobQuery, counts: &[PhaseCount]) -> Option<u64> {
    let JobQuery { phases, kind: None, q: None, created_by: None, sort, .. } = query else { return None };
    let within = || counts.iter().filter(|count| phases.is_empty() || phases.contains(&count.phase));
    let known = !sort.leaves_out_unended() && !within().any(|count| count.capped);
    known.then(|| within().map(|count| count.count).sum())
}

/// A list to choose one of; applied at once.
fn select(
    id: &'static str,
    name: &'static str,
    label: &'static str,
    node: NodeRef<html::Select>,
    options: Vec<(String, String)>,
    chosen: Signal<String>,
    apply: impl Fn() + 'static,
) -> AnyView {
    let options = options
        .into_iter()
        .map(|(value, words)| {
            let this = value.clone();
            view! { <option value=value selected=move || chosen.get() == this>{words}</option> }.into_any()
        })
        .collect::<Vec<_>>();
    view! {
        <span class="select-wrap">
            <label class="sr-only" for=id>{label}</label>
            <select class="select" id=id name=name node_ref=node on:change=move |_| apply()>{options}</select>
            {icon("chevron-down")}
        </span>
    }
    .into_any()
}

/// The form over the list. Without WebAssembly it has a button and loads the page; with it every change applies.
pub(crate) fn form(session: Session, query: Memo<JobQuery>, wrong: Signal<Option<String>>, chips: AnyView) -> AnyView {
    let (q, kind, by, sort) = (
        NodeRef::<html::Input>::new(),
        NodeRef::<html::Select>::new(),
        NodeRef::<html::Select>::new(),
        NodeRef::<html::Select>::new(),
    );
    let read = move || {
        let chosen = |node: NodeRef<html::Select>| node.get_untracked().map(|node| node.value()).unwrap_or_default();
        let text = q.get_untracked().map(|node| node.value()).unwrap_or_default();
        let filled = |text: String| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        JobQuery {
            phases: query.with_untracked(|query| query.phases.clone()),
            kind: chosen(kind).parse().ok(),
            q: filled(text),
            created_by: filled(chosen(by)),
            sort: JobSort::parse(&chosen(sort)).unwrap_or_default(),
            cursor: None,
            limit: query.with_untracked(|query| query.limit),
        }
    };
    let apply = move || session.go(&console::jobs(&read()), true);
    let timer = StoredValue::new(None::<TimeoutHandle>);
    let typed = move |_| {
        if let Some(timer) = timer.get_value() {
            timer.clear();
        }
        let long_enough = q.get_untracked().is_some_and(|node| !matches!(node.value().trim().chars().count(), 1 | 2));
        let delay = std::time::Duration::from_millis(TYPING_MS);
        timer.set_value(if long_enough { set_timeout_with_handle(apply, delay).ok() } else { None });
    };
    on_cleanup(move || {
        if let Some(timer) = timer.try_get_value().flatten() {
            timer.clear();
        }
    });
    let submit = move |event: ev::SubmitEvent| {
        event.prevent_default();
        apply();
    };
    let kinds = std::iter::once((String::new(), "Any kind".to_owned()))
        .chain(Kind::ALL.into_iter().map(|kind| (kind.as_str().to_owned(), kind.as_str().to_owned())))
        .collect();
    let me = session.viewer();
    let mut people = vec![(String::new(), "Anyone".to_owned()), (me.clone(), format!("{me} (me)"))];
    if let Some(other) = query.with_untracked(|query| query.created_by.clone()).filter(|other| *other != me) {
        people.push((other.clone(), other));
    }
    let sorts = JobSort::ALL.into_iter().map(|sort| (sort.as_str().to_owned(), sort.label().to_owned())).collect();
    let phases =
        move || query.with(|query| query.phases.iter().map(|phase| phase.as_str()).collect::<Vec<_>>().join(","));
    let initial = query.with_untracked(|query| query.q.clone().unwrap_or_default());
    view! {
        <form class="filters" role="search" aria-label="Jobs" method="get" action=console::JOBS on:submit=submit>
            <div class="filter-row">
                <div class="input-wrap search">
                    {icon("search")}
                    <label class="sr-only" for="q">"Search name, id"</label>
                    <input
                        class="input"
                        id="q"
                        name="q"
                        type="search"
                        placeholder="Search name, id"
                        value=initial
                        minlength="3"
                        autocomplete="off"
                        node_ref=q
                        on:input=typed
                    />
                </div>
                {select("f-kind", "kind", "Kind", kind, kinds, Signal::derive(move || {
                    query.with(|query| query.kind.map(|kind| kind.as_str().to_owned()).unwrap_or_default())
                }), apply)}
                {select("f-by", "created_by", "Created by", by, people, Signal::derive(move || {
                    query.with(|query| query.created_by.clone().unwrap_or_default())
                }), apply)}
                {select("f-sort", "sort", "Order", sort, sorts, Signal::derive(move || {
                    query.with(|query| query.sort.as_str().to_owned())
                }), apply)}
                <input type="hidden" name="phase" prop:value=phases value=phases />
                <button class="btn" type="submit" hidden=move || session.mounted.get()>"Apply"</button>
            </div>
            {move || wrong.get().map(|words| view! { <p class="error" role="alert">{words}</p> })}
            {chips}
        </form>
    }
    .into_any()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_told_only_where_it_is_exact() {
        let count = |phase, count, capped| PhaseCount { phase, count, capped };
        let counts = [count(Phase::Completed, 10_000, true), count(Phase::Failed, 38, false)];
        let failed = JobQuery { phases: vec![Phase::Failed], ..JobQuery::default() };
        assert_eq!(exact_count(&failed, &counts), Some(38));
        assert_eq!(exact_count(&JobQuery::default(), &counts[1..]), Some(38));
        assert_eq!(exact_count(&JobQuery::default(), &counts), None, "10,000+");
        assert_eq!(exact_count(&JobQuery { q: Some("abc".to_owned()), ..failed.clone() }, &counts), None);
        assert_eq!(exact_count(&JobQuery { sort: JobSort::FinishedLatest, ..failed }, &counts), None);
    }
}
