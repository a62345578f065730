//! The list.

use leptos::prelude::*;

use super::{borrowed, instead, load, page, query_pairs};
use crate::{
    backend::{Backend, SharedBackend},
    components::{bulk_bar, filters, icon::icon, job_row, notice},
    hooks::{
        follow::actions,
        poll::keep_current,
        session::{Session, session},
    },
    later::{self, Question},
    model::{Job, JobList, JobQuery, JobSort, Problem},
    paths::console,
    text,
};

/// `/jobs`
pub(crate) fn jobs() -> AnyView {
    let session = session();
    let pairs = query_pairs();
    let read = Memo::new(move |_| pairs.with(|pairs| JobQuery::from_pairs(borrowed(pairs))));
    let query = Memo::new(move |_| read.get().unwrap_or_default());
    let wrong = Signal::derive(move || read.with(|read| read.as_ref().err().cloned()));
    let asked = expect_context::<SharedBackend>().jobs(query.get_untracked());
    load(asked, move |first: Result<JobList, Problem>| match first {
        Ok(first) => loaded(session, query, wrong, first),
        Err(problem) => instead(session, &problem),
    })
}

fn loaded(session: Session, query: Memo<JobQuery>, wrong: Signal<Option<String>>, first: JobList) -> AnyView {
    let actions = actions();
    let backend = expect_context::<SharedBackend>();
    let moving = |list: &JobList| list.items.iter().any(|job: &Job| job.phase.is_moving());
    let live = keep_current(session, first, query, move |query| Some(backend.jobs(query)), moving);
    let list = live.value;
    Effect::new(move |ran: Option<()>| {
        actions.changed.track();
        if ran.is_some() {
            live.refresh();
        }
    });
    let ids = Memo::new(move |_| list.with(|list| list.items.iter().map(|job| job.job_id).collect::<Vec<_>>()));
    let selection = actions.selection;
    Effect::new(move |_| selection.seen(&bulk_bar::rows(list)));
    let chips = (move || list.with(|list| filters::chips(&query.get(), &list.counts))).into_any();
    let empty = Memo::new(move |_| ids.with(Vec::is_empty));
    let table = view! {
        <table class="grid-table jobs-table" role="table" aria-label="Jobs">
            {move || head(&query.get(), bulk_bar::select_page(selection, list))}
            <tbody role="rowgroup">
                <For each=move || ids.get() key=|id| id.0 let:id>
                    {job_row::row(session, actions, list, id)}
                </For>
            </tbody>
        </table>
        {move || foot(&query.get(), ids.with(Vec::len), list.with(|list| list.next_cursor.clone()))}
    };
    // A dialog that goes with its page does not come back with it.
    on_cleanup(move || {
        let _ = selection.asking.try_set(None);
    });
    let body = view! {
        <div class="page-head">
            <div class="titles"><h1>"Jobs"</h1></div>
            <div class="actions inline">
                <a class="btn btn-primary" href=console::NEW_JOB>{icon("plus")}"New Job"</a>
            </div>
        </div>
        {filters::form(session, query, wrong, chips)}
        {refresh_problem(session, live.problem)}
        <form class="bulk-form" method="get" action=console::NEW_BULK>
            <section class="panel jobs" aria-label="Jobs" hidden=move || empty.get()>{table}</section>
            {move || empty.get().then(|| nothing(&query.get_untracked()))}
            {bulk_bar::bar(session, selection, query, list)}
        </form>
        {move || selection.asking.get().map(|action| later::dialog(session, actions, Question::Bulk(action)))}
    }
    .into_any();
    page(session, "Jobs", "page", body)
}

/// A refresh that the server refused (the made-up cursor of a hand-written address).
fn refresh_problem(_session: Session, problem: RwSignal<Option<Problem>>) -> AnyView {
    (move || {
        problem
            .get()
            .filter(|problem| (400..500).contains(&problem.status))
            .map(|problem| notice::alert(problem.detail))
    })
    .into_any()
}

fn head(query: &JobQuery, select_page: AnyView) -> AnyView {
    let (sort, arrow, turned) = match query.sort {
        JobSort::NewestFirst => (Some("descending"), Some(icon("arrow-down")), JobSort::OldestFirst),
        JobSort::OldestFirst => (Some("ascending"), None, JobSort::NewestFirst),
        JobSort::FinishedLatest | JobSort::FinishedEarliest | JobSort::NameAscending | JobSort::NameDescending => {
            (None, None, JobSort::NewestFirst)
        }
    };
    let url = console::jobs(&JobQuery { sort: turned, cursor: None, ..query.clone() });
    view! {
        <thead role="rowgroup">
            <tr role="row">
                <th role="columnheader" scope="col" class="c-check">{select_page}</th>
                <th role="columnheader" scope="col" class="c-name">"Name"</th>
                <th role="columnheader" scope="col" class="c-kind">"Kind"</th>
                <th role="columnheader" scope="col" class="c-phase">"Phase"</th>
                <th role="columnheader" scope="col" class="c-progress">"Progress"</th>
                <th role="columnheader" scope="col" class="c-created" aria-sort=sort>
                    <a href=url data-noscroll="">"Created"{arrow}</a>
                </th>
                <th role="columnheader" scope="col" class="c-duration">"Duration"</th>
                <th role="columnheader" scope="col" class="c-menu"><span class="sr-only">"Actions"</span></th>
            </tr>
        </thead>
    }
    .into_any()
}

fn foot(query: &JobQuery, shown: usize, next: Option<String>) -> AnyView {
    let first = query.cursor.is_some().then(|| console::jobs(&JobQuery { cursor: None, ..query.clone() }));
    let next = next.map(|cursor| console::jobs(&JobQuery { cursor: Some(cursor), ..query.clone() }));
    let paged = first.is_some() || next.is_some();
    let nouns = if paged { ("job on this page", "jobs on this page") } else { ("job", "jobs") };
    view! {
        <div class="panel-foot">
            <span>{text::counted(shown as u64, nouns)}</span>
            <div class="pager">
                {first.map(|url| view! { <a class="btn btn-sm" href=url>{icon("chevron-left")}"First page"</a> })}
                {next.map(|url| view! { <a class="btn btn-sm" href=url>"Next page"{icon("chevron-right")}</a> })}
            </div>
        </div>
    }
    .into_any()
}

fn nothing(query: &JobQuery) -> AnyView {
    let bare = JobQuery { sort: query.sort, limit: query.limit, ..JobQuery::default() };
    if *query == bare { no_jobs() } else { no_match(query) }
}

fn no_jobs() -> AnyView {
    view! {
        <section class="panel" aria-label="No jobs yet">
            <div class="empty">
                <svg class="art" viewBox="0 0 96 96" aria-hidden="true">
                    <path
                        class="soft"
                        d="M12 84h72M20 84V70h14v14M40 84V58h14v26M60 84V64h14v20"
                        stroke-dasharray="2 4"
                    />
                    <path d="M36 2v28a15 15 0 1 0 15-15 15 15 0 0 0-15 15" />
                    <rect class="load" x="45" y="24" width="12" height="12" rx="3" />
                </svg>
                <h2>"No jobs yet"</h2>
                <p>"Start one here. You can watch it, stop it with proof, and remove it with a receipt."</p>
                <div class="actions">
                    <a class="btn btn-primary" href=console::NEW_JOB>{icon("plus")}"New Job"</a>
                </div>
            </div>
        </section>
    }
    .into_any()
}

fn no_match(query: &JobQuery) -> AnyView {
    let phases = query.phases.iter().map(|phase| phase.label().to_ascii_lowercase()).collect::<Vec<_>>();
    let sort = match phases.as_slice() {
        [one] => format!("{one} "),
        [] | [_, _, ..] => String::new(),
    };
    let title = match &query.q {
        Some(q) => format!("No {sort}job is called “{q}”"),
        None => format!("No {sort}job here"),
    };
    view! {
        <section class="panel" aria-label="No match">
            <div class="empty">
                {notice::art()}
                <h2>{title}</h2>
                <p>"Nothing matches the filters as they stand."</p>
                <div class="actions"><a class="btn" href=console::JOBS>"Clear Filters"</a></div>
            </div>
        </section>
    }
    .into_any()
}
