//! The providers of the configuration, and what one of them has (`?provider=name`), also what no job here knows: to be adopted
//! as a job, or cancelled; and what another tool wrote down about its batches, to be imported. Plain forms: the page that
//! follows is this one, or that of the job.

use leptos::prelude::*;

use super::{borrowed, instead, load, page, query_pairs};
use crate::{
    backend::{Answer, Backend, SharedBackend},
    components::{
        batch::{counts, moment, state},
        cancel_dialog::once,
        icon::icon,
        notice::{alert, notice},
    },
    hooks::session::{Session, session},
    model::{Problem, ProviderInfo, RemoteBatch, RemoteBatchPage, RemoteOwner},
    paths::{console, with_query},
    text,
};

/// Which provider's list is shown, and from where on.
#[derive(Clone, Default, PartialEq)]
struct Wanted {
    provider: Option<String>,
    cursor: Option<String>,
}

/// What the page shows. A provider that does not answer is told in its place.
type Shown = (Vec<ProviderInfo>, Option<Result<RemoteBatchPage, Problem>>);

/// `/providers`
pub(crate) fn providers() -> AnyView {
    let session = session();
    let pairs = query_pairs();
    let wanted = Memo::new(move |_| {
        pairs.with(|pairs| {
            let find = |name: &str| {
                let found = borrowed(pairs).find(|(other, value)| *other == name && !value.is_empty());
                found.map(|(_, value)| value.to_owned())
            };
            Wanted { provider: find("provider"), cursor: find("cursor") }
        })
    });
    let shown = move || {
        let wanted = wanted.get();
        let asked = ask(&expect_context::<SharedBackend>(), wanted.clone());
        load(asked, move |first: Result<Shown, Problem>| match first {
            Ok((providers, batches)) => loaded(session, &wanted, &providers, batches.as_ref()),
            Err(problem) => instead(session, &problem),
        })
    };
    shown.into_any()
}

fn ask(backend: &SharedBackend, wanted: Wanted) -> Answer<Shown> {
    let providers = backend.providers();
    let batches = wanted.provider.map(|name| backend.remote_batches(name, wanted.cursor));
    Box::pin(async move {
        let providers = providers.await?;
        let batches = match batches {
            Some(asked) => Some(asked.await),
            None => None,
        };
        Ok((providers, batches))
    })
}

fn loaded(
    session: Session,
    wanted: &Wanted,
    providers: &[ProviderInfo],
    batches: Option<&Result<RemoteBatchPage, Problem>>,
) -> AnyView {
    let cards = providers.iter().map(|provider| card(provider, wanted)).collect::<Vec<_>>();
    let known = wanted.provider.as_ref().and_then(|name| providers.iter().find(|provider| provider.name == *name));
    let list = known.zip(batches).map(|(provider, batches)| match batches {
        Ok(batches) => list(session, provider, wanted, batches),
        Err(problem) => alert(problem.detail.clone()),
    });
    let nothing = providers.is_empty().then(nothing);
    let import = (!providers.is_empty()).then(|| import(wanted, providers));
    let problem = session.form().map(|form| alert(form.problem.detail));
    let body = view! {
        <div class="page-head">
            <div class="titles">
                <h1>"Providers"</h1>
                <div class="meta"><span>"Batch APIs of the configuration, and what they have that no job here knows."</span></div>
            </div>
        </div>
        {problem}
        {nothing}
        <div class="provider-cards">{cards}</div>
        {list}
        {import}
    }
    .into_any();
    page(session, "Providers", "page", body)
}

fn card(provider: &ProviderInfo, wanted: &Wanted) -> AnyView {
    let name = provider.name.clone();
    let id = format!("p-{name}");
    let key = match &provider.key_fault {
        None => notice("completed", "key", "The key is there.".into_any()),
        Some(fault) => notice("partial", "warning", fault.clone().into_any()),
    };
    let may = |can: bool, what: &'static str| can.then_some(what);
    let can: Vec<&str> = [
        may(provider.can_list, "list"),
        may(provider.can_cancel, "cancel"),
        may(provider.can_delete_batch, "delete batches"),
        may(provider.can_delete_files, "delete files"),
    ]
    .into_iter()
    .flatten()
    .collect();
    let current = (wanted.provider.as_deref() == Some(&name)).then_some("true");
    let show = provider.can_list.then(|| {
        view! {
            <a class="btn btn-sm" href=console::provider(&name) aria-current=current>{icon("eye")}"Show Its Batches"</a>
        }
    });
    let new = console::new_job(provider.kind.job_kind());
    view! {
        <section class="panel" aria-labelledby=id.clone()>
            <div class="panel-head"><h2 id=id.clone()>{name}</h2><span class="count">{provider.kind.label()}</span></div>
            <div class="panel-body stack">
                {key}
                <dl class="facts">
                    <dt>"Address"</dt>
                    <dd class="mono">{provider.address.clone()}</dd>
                    <dt>"Gives up after"</dt>
                    <dd>{format!("{} h", provider.deadline_hours)}</dd>
                    <dt>"Lets one"</dt>
                    <dd>{can.join(", ")}</dd>
                </dl>
            </div>
            <div class="panel-foot">
                <div class="pager">{show}<a class="btn btn-sm" href=new>{icon("plus")}"New Batch"</a></div>
            </div>
        </section>
    }
    .into_any()
}

fn list(session: Session, provider: &ProviderInfo, wanted: &Wanted, batches: &RemoteBatchPage) -> AnyView {
    let rows = batches.items.iter().map(|batch| row(session, provider, batch)).collect::<Vec<_>>();
    let title = format!("Batches of {}", provider.name);
    let label = format!("{title}, scrollable");
    let shown = text::counted(batches.items.len() as u64, ("batch on this page", "batches on this page"));
    let next = batches.next_cursor.clone().map(|cursor| {
        let url = with_query(console::PROVIDERS, &[("provider", provider.name.clone()), ("cursor", cursor)]);
        view! { <a class="btn btn-sm" href=url>"Next page"{icon("chevron-right")}</a> }
    });
    let first = wanted.cursor.is_some().then(|| {
        view! { <a class="btn btn-sm" href=console::provider(&provider.name)>{icon("chevron-left")}"First page"</a> }
    });
    view! {
        <section class="panel list" aria-labelledby="h-remote">
            <div class="panel-head"><h2 id="h-remote">{title}</h2></div>
            <div class="scroll-x" tabindex="0" role="region" aria-label=label>
                <table class="grid-table list-table">
                    <thead>
                        <tr>
                            <th scope="col" class="c-name">"Batch"</th>
                            <th scope="col">"State"</th>
                            <th scope="col" class="wide-only">"Requests"</th>
                            <th scope="col" class="wide-only">"Created"</th>
                            <th scope="col">"Job here"</th>
                        </tr>
                    </thead>
                    <tbody>{rows}</tbody>
                </table>
            </div>
            <div class="panel-foot"><span>{shown}</span><div class="pager">{first}{next}</div></div>
        </section>
    }
    .into_any()
}

fn row(session: Session, provider: &ProviderInfo, batch: &RemoteBatch) -> AnyView {
    let name = batch.name.clone().unwrap_or_else(|| batch.batch_id.clone());
    let model = batch.model.clone().map(|model| format!(" · {model}"));
    let requests = batch.requests.map_or_else(|| "–".to_owned(), counts);
    view! {
        <tr data-batch-id=batch.batch_id.clone() data-owner=owner_word(batch.owner)>
            <td class="c-name">
                <div class="job-name">
                    <b>{name}</b>
                    <span><span class="mono">{batch.batch_id.clone()}</span>{model}</span>
                </div>
            </td>
            <td>{state(batch.state, Some(&batch.raw_state))}</td>
            <td class="wide-only">{requests}</td>
            <td class="wide-only">{moment(session, batch.created_at)}</td>
            <td>{owner(provider, batch)}</td>
        </tr>
    }
    .into_any()
}

const fn owner_word(owner: RemoteOwner) -> &'static str {
    match owner {
        RemoteOwner::Job => "job",
        RemoteOwner::DeletedJob => "deleted_job",
        RemoteOwner::Orphan => "orphan",
    }
}

fn owner(provider: &ProviderInfo, batch: &RemoteBatch) -> AnyView {
    match (batch.owner, batch.job_id) {
        (RemoteOwner::Job, Some(id)) => {
            view! { <a class="link mono" href=console::job(id)>{id.short()}</a> }.into_any()
        }
        (RemoteOwner::DeletedJob, Some(id)) => {
            view! { <a class="link" href=console::removal(id)>"deleted, see its receipt"</a> }.into_any()
        }
        (RemoteOwner::Job | RemoteOwner::DeletedJob, None) => "yes".into_any(),
        (RemoteOwner::Orphan, _) => orphan(provider, batch),
    }
}

/// Nobody's here: adopt it, or cancel it after a second look.
fn orphan(provider: &ProviderInfo, batch: &RemoteBatch) -> AnyView {
    let id = &batch.batch_id;
    let cancel = (provider.can_cancel && !batch.state.is_terminal()).then(|| {
        view! {
            <details class="menu">
                <summary class="btn btn-sm btn-danger-outline">{icon("warning")}"Cancel…"</summary>
                <div class="menu-list">
                    <p class="menu-note">"The provider stops working on it. What is done counts and costs. This cannot be undone."</p>
                    <form method="post" action=console::cancel_remote(&provider.name, id) on:submit=once()>
                        <button class="menu-item danger" type="submit">{icon("warning")}"Cancel Batch"</button>
                    </form>
                </div>
            </details>
        }
    });
    view! {
        <div class="pager">
            <form method="post" action=console::adopt(&provider.name, id) on:submit=once()>
                <button class="btn btn-sm" type="submit">{icon("plus")}"Adopt"</button>
            </form>
            {cancel}
        </div>
    }
    .into_any()
}

/// What another tool wrote down about its batches, to be adopted at once.
fn import(wanted: &Wanted, providers: &[ProviderInfo]) -> AnyView {
    let choice = |provider: &ProviderInfo| {
        let name = provider.name.clone();
        let selected = wanted.provider.as_ref() == Some(&name);
        view! { <option value=name.clone() selected=selected>{name.clone()}</option> }.into_any()
    };
    let choices = providers.iter().map(choice).collect::<Vec<_>>();
    view! {
        <section class="panel" aria-labelledby="h-import">
            <div class="panel-head"><h2 id="h-import">"Import Records"</h2></div>
            <form method="post" action=console::PROVIDERS enctype="multipart/form-data">
                <div class="panel-body fields">
                    <div class="field">
                        <label for="import-provider">"Provider"</label>
                        <span class="select-wrap">
                            <select class="select" id="import-provider" name="provider">{choices}</select>
                            {icon("chevron-down")}
                        </span>
                        <span class="hint">"Who has the batches. It is asked about each of them."</span>
                    </div>
                    <div class="field">
                        <label for="import-files">"Files of another tool"</label>
                        <input
                            class="input"
                            id="import-files"
                            name="files"
                            type="file"
                            accept=".json,application/json"
                            multiple
                            required
                            aria-describedby="import-files-h"
                        />
                        <span class="hint" id="import-files-h">
                            "A JSON tracking file, or all files of a folder of "<span class="mono">"{job_id}.json"</span>
                            ". Each batch becomes a job; those that are one already are left."
                        </span>
                    </div>
                </div>
                <div class="panel-foot"><button class="btn btn-sm" type="submit">{icon("upload")}"Import"</button></div>
            </form>
        </section>
    }
    .into_any()
}

fn nothing() -> AnyView {
    view! {
        <section class="panel" aria-label="No providers">
            <div class="empty">
                {crate::components::notice::art()}
                <h2>"No provider is configured"</h2>
                <p>"A section "<span class="mono">"[providers.openai]"</span>" in belay.toml names one, and where its key is."</p>
            </div>
        </section>
    }
    .into_any()
}
