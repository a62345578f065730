//! The receipts, latest first.

use leptos::prelude::*;

use super::{instead, load, page, query_pairs};
use crate::{
    backend::{Backend, SharedBackend},
    components::{icon::icon, notice, phase::tone},
    hooks::{
        clock,
        poll::keep_current,
        session::{Session, session},
    },
    model::{Page, Problem, Receipt, ReceiptState},
    paths::{console, with_query},
    text,
};

/// Where a list goes on, from the address.
pub(super) fn cursor() -> Memo<Option<String>> {
    let pairs = query_pairs();
    Memo::new(move |_| {
        pairs.with(|pairs| pairs.iter().find(|(name, _)| name == "cursor").map(|(_, value)| value.clone()))
    })
}

/// The foot of a list that is paged by a cursor.
pub(super) fn pager(base: &'static str, cursor: Option<String>, next: Option<String>) -> Option<AnyView> {
    if cursor.is_none() && next.is_none() {
        return None;
    }
    let first =
        cursor.is_some().then(|| view! { <a class="btn btn-sm" href=base>{icon("chevron-left")}"First page"</a> });
    let next = next.map(|cursor| {
        let url = with_query(base, &[("cursor", cursor)]);
        view! { <a class="btn btn-sm" href=url>"Next page"{icon("chevron-right")}</a> }
    });
    Some(view! { <div class="panel-foot"><span></span><div class="pager">{first}{next}</div></div> }.into_any())
}

/// Tone, icon and word of a receipt's state.
pub(super) const fn state_look(state: ReceiptState) -> (&'static str, &'static str) {
    match state {
        ReceiptState::Running => ("deleting", "Deleting"),
        ReceiptState::Complete => ("completed", "Complete"),
        ReceiptState::Incomplete => ("partial", "Something left"),
    }
}

/// `/removals`
pub(crate) fn removals() -> AnyView {
    let session = session();
    let cursor = cursor();
    let asked = expect_context::<SharedBackend>().removals(cursor.get_untracked());
    load(asked, move |first: Result<Page<Receipt>, Problem>| match first {
        Ok(first) => loaded(session, cursor, first),
        Err(problem) => instead(session, &problem),
    })
}

fn loaded(session: Session, cursor: Memo<Option<String>>, first: Page<Receipt>) -> AnyView {
    let backend = expect_context::<SharedBackend>();
    let moving = |page: &Page<Receipt>| page.items.iter().any(|receipt| receipt.state == ReceiptState::Running);
    let live = keep_current(session, first, cursor, move |cursor| Some(backend.removals(cursor)), moving);
    let value = live.value;
    let rows = move || value.with(|page| page.items.iter().map(|receipt| row(session, receipt)).collect::<Vec<_>>());
    let empty = Memo::new(move |_| value.with(|page| page.items.is_empty()));
    let body = view! {
        <div class="page-head">
            <div class="titles">
                <h1>"Removals"</h1>
                <div class="meta"><span>"What was removed, and what is left. Receipts outlive their jobs."</span></div>
            </div>
        </div>
        <section class="panel list" aria-label="Receipts" hidden=move || empty.get()>
            <div class="scroll-x" tabindex="0" role="region" aria-label="Receipts, scrollable">
                <table class="grid-table list-table">
                    <thead>
                        <tr>
                            <th scope="col" class="c-name">"Job"</th>
                            <th scope="col">"State"</th>
                            <th scope="col" class="wide-only">"Removed"</th>
                            <th scope="col" class="wide-only">"Freed"</th>
                            <th scope="col" class="wide-only">"By"</th>
                            <th scope="col">"When"</th>
                        </tr>
                    </thead>
                    <tbody>{rows}</tbody>
                </table>
            </div>
            {move || pager(console::REMOVALS, cursor.get(), value.with(|page| page.next_cursor.clone()))}
        </section>
        <Show when=move || empty.get()>{nothing()}</Show>
    }
    .into_any();
    page(session, "Removals", "page", body)
}

fn row(session: Session, receipt: &Receipt) -> AnyView {
    let (look, word) = state_look(receipt.state);
    let removed: u64 = receipt.items.iter().map(|item| item.removed).sum();
    let freed: u64 = receipt.items.iter().map(|item| item.removed_bytes).sum();
    let was = receipt.last_phase;
    view! {
        <tr data-job-id=receipt.job_id.to_string()>
            <td class="c-name">
                <div class="job-name" data-tone=tone(was)>
                    <a href=console::removal(receipt.job_id)>{receipt.name.clone()}</a>
                    <span>
                        <span class="mono">{receipt.job_id.short()}</span>
                        {format!(" · {}, was {}", receipt.kind.as_str(), was.label().to_ascii_lowercase())}
                    </span>
                </div>
            </td>
            <td><span class="badge" data-tone=look>{icon(look)}{word}</span></td>
            <td class="wide-only num">{text::count(removed)}</td>
            <td class="wide-only num">{text::bytes(freed)}</td>
            <td class="wide-only">{receipt.requested_by.clone()}</td>
            <td>{clock::ago(session, receipt.deleted_at.unwrap_or(receipt.requested_at))}</td>
        </tr>
    }
    .into_any()
}

fn nothing() -> AnyView {
    view! {
        <section class="panel" aria-label="No receipts yet">
            <div class="empty">
                {notice::art()}
                <h2>"Nothing was removed yet"</h2>
                <p>"When a job is deleted, its receipt is kept here."</p>
                <div class="actions"><a class="btn" href=console::JOBS>"All Jobs"</a></div>
            </div>
        </section>
    }
    .into_any()
}
