//! One receipt: what was planned, what is gone, what is left.

use leptos::{ev, prelude::*, task::spawn_local};
use leptos_router::hooks::use_params_map;

use super::{instead, load, not_found, page, removals::state_look};
use crate::{
    backend::{Backend, SharedBackend, Tone},
    client,
    components::icon::{icon, mark},
    hooks::{
        dom,
        poll::{Live, keep_current},
        session::{Session, session},
    },
    model::{JobId, Leftover, Problem, Receipt, ReceiptItem, ReceiptState},
    paths::{api, console},
    text,
};

/// `/removals/{id}`
pub(crate) fn removal() -> AnyView {
    let params = use_params_map();
    let id = Memo::new(move |_| params.with(|params| params.get("id")).and_then(|id| id.parse::<JobId>().ok()));
    let session = session();
    let shown = move || {
        let Some(id) = id.get() else { return not_found() };
        let asked = expect_context::<SharedBackend>().removal(id);
        load(asked, move |first: Result<Receipt, Problem>| match first {
            Ok(first) => loaded(session, first),
            Err(problem) => instead(session, &problem),
        })
    };
    shown.into_any()
}

fn loaded(session: Session, first: Receipt) -> AnyView {
    let backend = expect_context::<SharedBackend>();
    let id = first.job_id;
    let name = first.name.clone();
    let live = keep_current(
        session,
        first,
        Memo::new(move |_| id),
        move |id| Some(backend.removal(id)),
        |receipt: &Receipt| receipt.state == ReceiptState::Running,
    );
    let receipt = live.value;
    let copy = move |_| {
        let json = receipt.with_untracked(|receipt| serde_json::to_string_pretty(receipt).unwrap_or_default());
        dom::copy(&json);
        session.tell(Tone::Completed, "Receipt copied");
    };
    let body = view! {
        <div>
            <nav class="crumbs" aria-label="Breadcrumb">
                <a href=console::REMOVALS>"Removals"</a>
                {icon("chevron-right")}
                <span aria-current="page" class="mono">{id.short()}</span>
            </nav>
            <div class="page-head">
                <div class="titles">
                    <h1>"Receipt"</h1>
                    <div class="meta">
                        <span>"What was removed, and what is left. It outlives the job and holds no job content."</span>
                    </div>
                </div>
                <div class="actions">
                    <button class="btn" type="button" hidden=move || !session.mounted.get() on:click=copy>
                        {icon("copy")}
                        "Copy as JSON"
                    </button>
                    <a class="btn" href=api::removal(id) download=format!("receipt-{id}.json")>
                        {icon("download")}
                        "Download"
                    </a>
                </div>
            </div>
        </div>
        <div class="split">
            {move || receipt.with(|value| paper(session, live, value))}
            <aside class="stack" aria-label="How it went">
                <section class="panel" aria-labelledby="h-steps">
                    <div class="panel-head"><h2 id="h-steps">"Steps"</h2></div>
                    <div class="panel-body">{move || receipt.with(steps)}</div>
                </section>
            </aside>
        </div>
    }
    .into_any();
    page(session, format!("Receipt of {name}"), "page page-narrow", body)
}

fn paper(session: Session, live: Live<Receipt>, receipt: &Receipt) -> AnyView {
    view! {
        <article class="receipt" aria-labelledby="r-t">
            <header>
                <div>
                    <h2 id="r-t">{receipt.name.clone()}</h2>
                    <p class="mono">{receipt.job_id.to_string()}</p>
                </div>
                {mark()}
            </header>
            {facts(receipt)}
            <hr class="dash" />
            {table(receipt)}
            {left(receipt)}
            {(receipt.state == ReceiptState::Incomplete).then(|| retry(session, live, receipt.job_id))}
        </article>
    }
    .into_any()
}

fn facts(receipt: &Receipt) -> AnyView {
    let (look, word) = state_look(receipt.state);
    let deleted = receipt.deleted_at.map(|at| {
        let took = text::duration(at.millis_since(receipt.requested_at));
        format!("{} UTC, took {took}", text::date(at))
    });
    let was = format!("{}, was {}", receipt.kind.as_str(), receipt.last_phase.label().to_ascii_lowercase());
    view! {
        <dl class="facts">
            <dt>"State"</dt>
            <dd><span class="badge" data-tone=look>{icon(look)}{word}</span></dd>
            <dt>"Deleted at"</dt>
            <dd>{deleted.unwrap_or_else(|| "not yet".to_owned())}</dd>
            <dt>"By"</dt>
            <dd>{format!("{}, {}", receipt.requested_by, receipt.source.as_str())}</dd>
            <dt>"Kind"</dt>
            <dd>{was}</dd>
            <dt>"Created"</dt>
            <dd>{format!("{} UTC by {}", text::date(receipt.created_at), receipt.created_by)}</dd>
            <dt>"Request"</dt>
            <dd class="mono">{receipt.request_id.clone()}</dd>
            {receipt.kept_in.clone().map(|folder| view! { <dt>"Kept in"</dt><dd class="mono">{folder}</dd> })}
        </dl>
    }
    .into_any()
}

fn line(item: &ReceiptItem) -> AnyView {
    let left = item.planned.saturating_sub(item.removed + item.kept);
    let kept =
        (item.kept > 0).then(|| view! { <small>{format!("{} kept on purpose", text::count(item.kept))}</small> });
    view! {
        <tr>
            <th scope="row">{item.category.label()}{kept}</th>
            <td class="wide-only">{text::count(item.planned)}</td>
            <td>{text::count(item.removed)}</td>
            <td class=if left == 0 { "zero" } else { "left" }>{text::count(left)}</td>
            <td>{text::bytes(item.removed_bytes)}</td>
        </tr>
    }
    .into_any()
}

fn table(receipt: &Receipt) -> AnyView {
    let freed: u64 = receipt.items.iter().map(|item| item.removed_bytes).sum();
    let lines = receipt.items.iter().map(line).collect::<Vec<_>>();
    view! {
        <table>
            <thead>
                <tr>
                    <th scope="col">"What"</th>
                    <th scope="col" class="wide-only">"Planned"</th>
                    <th scope="col">"Removed"</th>
                    <th scope="col">"Left"</th>
                    <th scope="col">"Size"</th>
                </tr>
            </thead>
            <tbody>{lines}</tbody>
            <tfoot>
                <tr>
                    <th scope="row">"Freed"</th>
                    <td class="wide-only"></td>
                    <td></td>
                    <td></td>
                    <td>{text::bytes(freed)}</td>
                </tr>
            </tfoot>
        </table>
    }
    .into_any()
}

fn leftover(left: &Leftover) -> AnyView {
    let (title, size, words) = match left {
        Leftover::Files { category, items, bytes, error } => (
            format!("{} of {} could not be removed", text::count(*items), category.label().to_ascii_lowercase()),
            Some(text::bytes(*bytes)),
            error.clone(),
        ),
        Leftover::Provider { provider, category, id, detail, .. } => {
            (format!("{} · {provider}", category.label()), None, format!("{id}: {detail}"))
        }
        Leftover::Run { run_id, worker, detail } => {
            (format!("Run {} is unconfirmed", run_id.short()), None, format!("{worker}: {detail}"))
        }
    };
    view! {
        <li data-tone="partial">
            {icon("warning")}
            <b>{title}</b>
            {size.map(|size| view! { <data value=size.clone()>{size.clone()}</data> })}
            <small>{words}</small>
        </li>
    }
    .into_any()
}

fn left(receipt: &Receipt) -> Option<AnyView> {
    (!receipt.left.is_empty()).then(|| {
        let lines = receipt.left.iter().map(leftover).collect::<Vec<_>>();
        view! {
            <section aria-labelledby="r-left">
                <h3 id="r-left">"Left behind"</h3>
                <ul class="left-behind">{lines}</ul>
            </section>
        }
        .into_any()
    })
}

fn retry(session: Session, live: Live<Receipt>, id: JobId) -> AnyView {
    let busy = RwSignal::new(false);
    let submit = move |event: ev::SubmitEvent| {
        event.prevent_default();
        if busy.get_untracked() {
            return;
        }
        busy.set(true);
        spawn_local(async move {
            match client::retry_removal(id).await {
                Ok(receipt) if receipt.state == ReceiptState::Complete => {
                    session.tell(Tone::Completed, "Everything is gone now");
                }
                Ok(_) => session.tell(Tone::Warning, "Tried again. Something is still left."),
                Err(problem) if problem.status == 401 => session.sign_in_again(),
                Err(problem) => session.tell(Tone::Failed, problem.detail),
            }
            live.refresh();
            busy.try_set(false);
        });
    };
    view! {
        <form class="title-line" method="post" action=console::retry_removal(id) on:submit=submit>
            <button class="btn" type="submit" disabled=move || busy.get()>{icon("resend")}"Try Again"</button>
        </form>
    }
    .into_any()
}

fn steps(receipt: &Receipt) -> AnyView {
    let planned: u64 = receipt.items.iter().map(|item| item.planned).sum();
    let bytes: u64 = receipt.items.iter().map(|item| item.planned_bytes).sum();
    let removed: u64 = receipt.items.iter().map(|item| item.removed).sum();
    let step = |tone: &'static str, title: &'static str, words: String| {
        view! { <li data-tone=tone><b>{title}</b><span>{words}</span></li> }.into_any()
    };
    let asked = text::clock(receipt.requested_at);
    let stopped = receipt.forced.then(|| step("completed", "Stopped first", "The job was active.".to_owned()));
    let end = match receipt.deleted_at {
        Some(at) if receipt.left.is_empty() => {
            step("completed", "Looked again", format!("nothing of it is there · {}", text::clock(at)))
        }
        Some(at) => step("partial", "Looked again", format!("something is left · {}", text::clock(at))),
        None => step("pending", "Looking again", "when all is removed".to_owned()),
    };
    let retries = (receipt.retries > 0)
        .then(|| step("completed", "Tried again", text::counted(u64::from(receipt.retries), ("time", "times"))));
    let (tone, so_far) = if receipt.deleted_at.is_some() { ("completed", "") } else { ("active", " so far") };
    view! {
        <ol class="steps">
            {step("completed", "Asked", format!("by {} · {asked}", receipt.requested_by))}
            {stopped}
            {step("completed", "Planned", format!("{}, {}", text::counted(planned, ("thing", "things")), text::bytes(bytes)))}
            {step(tone, "Removed", format!("{}{so_far}", text::counted(removed, ("thing", "things"))))}
            {end}
            {retries}
        </ol>
    }
    .into_any()
}
