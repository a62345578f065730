//! The requests of a batch with their results: a table filtered and paged by the address, and the files to download.

use leptos::prelude::*;

use super::{icon::icon, units::DetailQuery};
use crate::{
    model::{Artifact, JobExtras, JobId, Page, RequestQuery, RequestRow, RequestStatus, ResultCounts},
    paths::api,
    text,
};

/// Artifacts with the results, and with the requests that were not done.
const FILES: [&str; 3] = ["requests.csv", "requests.jsonl", "unfinished.jsonl"];

/// The files to download, where they are there.
fn files(id: JobId, artifacts: &Page<Artifact>) -> Vec<AnyView> {
    let found = FILES.iter().filter_map(|name| artifacts.items.iter().find(|artifact| artifact.name == *name));
    found.filter(|artifact| artifact.bytes > 0).map(|artifact| download(id, artifact)).collect()
}

fn download(id: JobId, artifact: &Artifact) -> AnyView {
    view! {
        <a class="btn btn-sm" href=api::artifact(id, &artifact.path) download=artifact.name.clone()>
            {icon("download")}
            {artifact.name.clone()}
        </a>
    }
    .into_any()
}

const fn of_status(counts: &ResultCounts, status: RequestStatus) -> u64 {
    match status {
        RequestStatus::Succeeded => counts.succeeded,
        RequestStatus::Failed => counts.failed,
        RequestStatus::Cancelled => counts.cancelled,
        RequestStatus::Expired => counts.expired,
        RequestStatus::Missing => counts.missing,
    }
}

const fn tone(status: RequestStatus) -> &'static str {
    match status {
        RequestStatus::Succeeded => "completed",
        RequestStatus::Failed => "failed",
        RequestStatus::Cancelled => "cancelled",
        RequestStatus::Expired | RequestStatus::Missing => "partial",
    }
}

fn chips(id: JobId, query: &DetailQuery, counts: &ResultCounts) -> AnyView {
    let shown = query.requests.status;
    let chip = |status: Option<RequestStatus>, count: u64, word: &'static str| {
        let tone = status.map(tone);
        let url = query.with_requests(RequestQuery { status, ..RequestQuery::default() }).url(id);
        view! {
            <a class="chip" href=url data-noscroll="" aria-current=(shown == status).then_some("true") data-tone=tone>
                {tone.map(icon)}
                {word}
                <data value=count.to_string()>{text::count(count)}</data>
            </a>
        }
        .into_any()
    };
    let rest = RequestStatus::ALL
        .into_iter()
        .map(|status| (status, of_status(counts, status)))
        .filter(|(status, count)| *count > 0 || shown == Some(*status))
        .map(|(status, count)| chip(Some(status), count, status.label()));
    let all = chip(None, counts.succeeded + counts.unfinished(), "All");
    view! { <nav class="chips" aria-label="Result">{std::iter::once(all).chain(rest).collect::<Vec<_>>()}</nav> }
        .into_any()
}

fn row(request: &RequestRow) -> AnyView {
    let tone = tone(request.status);
    let told = |tokens: Option<u64>| tokens.map_or_else(|| "–".to_owned(), text::count);
    let tokens = format!("{} / {}", told(request.input_tokens), told(request.output_tokens));
    let words = request.error.clone().or_else(|| request.first_words.clone()).unwrap_or_default();
    let http = request.http_status.filter(|status| *status >= 400).map(|status| format!("{status} "));
    view! {
        <tr data-request-id=request.id.clone()>
            <td class="mono">{request.id.clone()}</td>
            <td><span class="badge" data-tone=tone>{icon(tone)}{request.status.label()}</span></td>
            <td class="num nowrap">{tokens}</td>
            <td class="words">{http}{words}</td>
        </tr>
    }
    .into_any()
}

fn pager(id: JobId, query: &DetailQuery, next: Option<String>) -> AnyView {
    let url = |cursor| query.with_requests(RequestQuery { cursor, ..query.requests.clone() }).url(id);
    let first = query.requests.cursor.is_some().then(|| url(None));
    let next = next.map(|cursor| url(Some(cursor)));
    view! {
        <div class="pager">
            {first.map(|url| view! { <a class="btn btn-sm" href=url data-noscroll="">{icon("chevron-left")}"First page"</a> })}
            {next.map(|url| view! { <a class="btn btn-sm" href=url data-noscroll="">"Next page"{icon("chevron-right")}</a> })}
        </div>
    }
    .into_any()
}

/// The section; nothing before the results were collected.
pub(crate) fn requests(
    id: JobId,
    query: Memo<DetailQuery>,
    extras: RwSignal<JobExtras>,
    page: RwSignal<Page<RequestRow>>,
    artifacts: RwSignal<Page<Artifact>>,
) -> AnyView {
    let counts = Memo::new(move |_| extras.with(|extras| extras.batch.as_ref().and_then(|batch| batch.results)));
    let rows = move || page.with(|page| page.items.iter().map(row).collect::<Vec<_>>());
    let shown = move |counts: ResultCounts| {
        let strangers = (counts.strangers > 0).then(|| {
            let what = text::counted(counts.strangers, ("result names", "results name"));
            view! { <p class="panel-body">{format!("{what} no request of the file, or one that had a result already.")}</p> }
        });
        view! {
            <section class="panel list" aria-labelledby="h-requests">
                <div class="panel-head">
                    <h2 id="h-requests">"Results"</h2>
                    {move || query.with(|query| chips(id, query, &counts))}
                </div>
                {strangers}
                <div class="scroll-x" tabindex="0" role="region" aria-label="Results, scrollable">
                    <table class="grid-table list-table requests-table">
                        <thead>
                            <tr>
                                <th scope="col">"Request"</th>
                                <th scope="col">"Result"</th>
                                <th scope="col">"Tokens in / out"</th>
                                <th scope="col">"First words, or the error"</th>
                            </tr>
                        </thead>
                        <tbody>{rows}</tbody>
                    </table>
                </div>
                <div class="panel-foot">
                    <div class="pager">{move || artifacts.with(|artifacts| files(id, artifacts))}</div>
                    {move || query.with(|query| pager(id, query, page.with(|page| page.next_cursor.clone())))}
                </div>
            </section>
        }
        .into_any()
    };
    (move || counts.get().map(shown)).into_any()
}
