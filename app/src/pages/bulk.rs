//! One action on many jobs: how far it is, and what became of each job. Without WebAssembly a reload shows the latest.

use leptos::prelude::*;
use leptos_router::hooks::use_params_map;

use super::{borrowed, instead, load, not_found, page, query_pairs};
use crate::{
    backend::{Answer, Backend, SharedBackend},
    components::{cancel_dialog::once, icon::icon, phase, progress::bar},
    hooks::{
        clock,
        poll::keep_current,
        session::{Session, session},
    },
    model::{
        Bulk, BulkAction, BulkId, BulkItem, BulkItemQuery, BulkResult, BulkState, Page, Phase, Problem, bulk::jobs_with,
    },
    paths::{console, with_query},
    text,
};

/// What the page shows.
type Shown = (Bulk, Page<BulkItem>);

/// `/bulk/{id}`
pub(crate) fn bulk() -> AnyView {
    let params = use_params_map();
    let id = Memo::new(move |_| params.with(|params| params.get("id")).and_then(|id| id.parse::<BulkId>().ok()));
    let pairs = query_pairs();
    let query = Memo::new(move |_| pairs.with(|pairs| BulkItemQuery::from_pairs(borrowed(pairs)).unwrap_or_default()));
    let session = session();
    let shown = move || {
        let Some(id) = id.get() else { return not_found() };
        load(
            ask(&expect_context::<SharedBackend>(), id, query.get_untracked()),
            move |first: Result<Shown, Problem>| match first {
                Ok(first) => loaded(session, id, query, first),
                Err(problem) => instead(session, &problem),
            },
        )
    };
    shown.into_any()
}

fn ask(backend: &SharedBackend, id: BulkId, query: BulkItemQuery) -> Answer<Shown> {
    let (bulk, items) = (backend.bulk(id), backend.bulk_items(id, query));
    Box::pin(async move {
        let (bulk, items) = futures::join!(bulk, items);
        Ok((bulk?, items?))
    })
}

fn loaded(session: Session, id: BulkId, query: Memo<BulkItemQuery>, first: Shown) -> AnyView {
    let backend = expect_context::<SharedBackend>();
    let title = title(&first.0);
    let moving = |shown: &Shown| shown.0.state == BulkState::Running;
    let live = keep_current(session, first, query, move |query| Some(ask(&backend, id, query)), moving);
    let value = live.value;
    let bulk = Memo::new(move |_| value.with(|(bulk, _)| bulk.clone()));
    let rows = move || {
        value.with(|(bulk, page)| page.items.iter().map(|item| row(session, bulk.action, item)).collect::<Vec<_>>())
    };
    let next = Memo::new(move |_| value.with(|(_, page)| page.next_cursor.clone()));
    let body = view! {
        <div class="page-head">
            <div class="titles">
                <h1>{title.clone()}</h1>
                <div class="meta">{move || bulk.with(|bulk| meta(session, bulk))}</div>
            </div>
            <div class="actions inline">{move || bulk.with(buttons)}</div>
        </div>
        <section class="panel" aria-label="Progress">
            <div class="panel-body stack">
                {move || bulk.with(progress)}
                <nav class="chips" aria-label="Results">{move || bulk.with(|bulk| chips(bulk, &query.get()))}</nav>
            </div>
        </section>
        <section class="panel list" aria-label="Jobs">
            <div class="scroll-x" tabindex="0" role="region" aria-label="Jobs, scrollable">
                <table class="grid-table list-table">
                    <thead>
                        <tr>
                            <th scope="col" class="c-name">"Job"</th>
                            <th scope="col">"Result"</th>
                            <th scope="col" class="wide-only">"Why"</th>
                            <th scope="col">"When"</th>
                        </tr>
                    </thead>
                    <tbody>{rows}</tbody>
                </table>
            </div>
            {move || pager(id, &query.get(), next.get())}
        </section>
    }
    .into_any();
    page(session, title, "page", body)
}

/// `Cancel of 1,640 jobs`
fn title(bulk: &Bulk) -> String {
    format!("{} of {}", bulk.action.label(), text::counted(bulk.total, ("job", "jobs")))
}

fn meta(session: Session, bulk: &Bulk) -> AnyView {
    let (tone, look) = match bulk.state {
        BulkState::Running => (phase::tone(Phase::InProgress), "active"),
        BulkState::Done if jobs_with(&bulk.counts, BulkResult::Failed) > 0 => (phase::tone(Phase::Partial), "partial"),
        BulkState::Done => (phase::tone(Phase::Completed), "completed"),
        BulkState::Aborted => (phase::tone(Phase::Cancelled), "cancelled"),
    };
    let said: Vec<String> = [
        bulk.reason.clone(),
        bulk.notes.clone(),
        bulk.force.then(|| "with force".to_owned()),
        bulk.keep_files.then(|| "files are kept".to_owned()),
        bulk.aborted_by.as_ref().map(|by| format!("aborted by {by}")),
    ]
    .into_iter()
    .flatten()
    .collect();
    let again =
        bulk.retry_of.map(|first| view! { <a class="link" href=console::bulk(first)>"Tries again what failed"</a> });
    view! {
        <span class="badge" data-tone=tone>{icon(look)}{bulk.state.label()}</span>
        <span>{format!("by {} · ", bulk.created_by)}{clock::ago(session, bulk.created_at)}</span>
        <span>{said.join(" · ")}</span>
        {again}
    }
    .into_any()
}

fn progress(bulk: &Bulk) -> AnyView {
    let (over, total) = (bulk.over(), bulk.total);
    let jobs = |result| jobs_with(&bulk.counts, result);
    let (done, failed) = (jobs(BulkResult::Done), jobs(BulkResult::Failed));
    let told = format!("{} of {} jobs have their result", text::count(over), text::count(total));
    let words = match bulk.action {
        BulkAction::Cancel => format!("{told}."),
        BulkAction::Delete => format!("{told}, {} freed.", text::bytes(bulk.freed_bytes)),
        BulkAction::Rerun if done == over => format!("Run again: {} of {}.", text::count(done), text::count(total)),
        BulkAction::Rerun => format!("Run again: {} of {}. {told}.", text::count(done), text::count(total)),
    };
    let unchanged = over.saturating_sub(done + failed);
    let parts =
        [("succeeded", done), ("failed", failed), ("cancelled", unchanged), ("running", jobs(BulkResult::Working))];
    view! {
        <div
            class="progress"
            role="progressbar"
            aria-label="Jobs with a result"
            aria-valuemin="0"
            aria-valuemax=total.max(1).to_string()
            aria-valuenow=over.to_string()
            aria-valuetext=words.clone()
        >
            {bar(&parts, total, true)}
        </div>
        <p role="status">{words}</p>
    }
    .into_any()
}

/// Results with their counts; each narrows the table.
fn chips(bulk: &Bulk, query: &BulkItemQuery) -> AnyView {
    let chip = |result: Option<BulkResult>, word: &'static str, jobs: u64| {
        let chosen = (query.result == result).then_some("true");
        let pairs = BulkItemQuery { result, cursor: None }.to_pairs();
        let url = with_query(&console::bulk(bulk.bulk_id), &pairs);
        view! {
            <a class="chip" href=url aria-current=chosen data-noscroll="">
                {word}
                <data value=jobs.to_string()>{text::count(jobs)}</data>
            </a>
        }
        .into_any()
    };
    let results = bulk.counts.iter().map(|count| chip(Some(count.result), count.result.label(), count.jobs));
    std::iter::once(chip(None, "All", bulk.total)).chain(results).collect::<Vec<_>>().into_any()
}

/// Plain forms: the page that follows is this one, or that of the new action.
fn buttons(bulk: &Bulk) -> AnyView {
    let id = bulk.bulk_id;
    let can_abort = bulk.aborted_at.is_none() && jobs_with(&bulk.counts, BulkResult::Pending) > 0;
    let abort = can_abort.then(|| {
        view! {
            <form method="post" action=console::abort_bulk(id)>
                <button class="btn btn-danger-outline" type="submit">{icon("warning")}"Abort"</button>
            </form>
        }
    });
    let failed = jobs_with(&bulk.counts, BulkResult::Failed);
    let can_retry = bulk.state != BulkState::Running && failed > 0;
    let retry = can_retry.then(|| {
        view! {
            <form method="post" action=console::retry_bulk(id) on:submit=once()>
                <button class="btn" type="submit">
                    {icon("resend")}{format!("Retry {}", text::counted(failed, ("failed job", "failed jobs")))}
                </button>
            </form>
        }
    });
    view! { {abort}{retry} }.into_any()
}

/// Tone and icon of a result.
const fn look(result: BulkResult) -> &'static str {
    match result {
        BulkResult::Pending | BulkResult::Aborted => "pending",
        BulkResult::Working => "cancelling",
        BulkResult::Done => "completed",
        BulkResult::AlreadyDone => "cancelled",
        BulkResult::NeedsForce | BulkResult::NotAllowed | BulkResult::NotFound => "partial",
        BulkResult::Failed => "failed",
    }
}

fn row(session: Session, action: BulkAction, item: &BulkItem) -> AnyView {
    let name = if item.name.is_empty() { item.job_id.short() } else { item.name.clone() };
    let place = match (action, item.result) {
        (BulkAction::Delete, BulkResult::Done | BulkResult::AlreadyDone) => console::removal(item.job_id),
        (BulkAction::Cancel | BulkAction::Delete | BulkAction::Rerun, _) => console::job(item.job_id),
    };
    let made = || {
        item.new_job_id.map(|id| view! { <a class="link" href=console::job(id)>"Runs as "<span class="mono">{id.short()}</span></a>" " })
    };
    view! {
        <tr data-job-id=item.job_id.to_string() data-result=item.result.as_str()>
            <td class="c-name">
                <div class="job-name">
                    <a href=place>{name}</a>
                    <span class="mono">{item.job_id.short()}</span>
                    {made().map(|link| view! { <span class="narrow-only">{link}</span> })}
                    {item.detail.clone().map(|why| view! { <span class="narrow-only">{why}</span> })}
                </div>
            </td>
            <td><span class="badge" data-tone=look(item.result)>{icon(look(item.result))}{item.result.label()}</span></td>
            <td class="wide-only">{made()}{item.detail.clone()}</td>
            <td>{item.at.map(|at| clock::ago(session, at))}</td>
        </tr>
    }
    .into_any()
}

fn pager(id: BulkId, query: &BulkItemQuery, next: Option<String>) -> Option<AnyView> {
    let url = |cursor: Option<String>| {
        with_query(&console::bulk(id), &BulkItemQuery { cursor, result: query.result }.to_pairs())
    };
    let first = query.cursor.is_some().then(|| url(None));
    let next = next.map(|cursor| url(Some(cursor)));
    (first.is_some() || next.is_some()).then(|| {
        view! {
            <div class="panel-foot">
                <span></span>
                <div class="pager">
                    {first.map(|url| view! { <a class="btn btn-sm" href=url>{icon("chevron-left")}"First page"</a> })}
                    {next.map(|url| view! { <a class="btn btn-sm" href=url>"Next page"{icon("chevron-right")}</a> })}
                </div>
            </div>
        }
        .into_any()
    })
}
