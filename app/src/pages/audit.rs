//! Who did what, latest first.

use leptos::prelude::*;

use super::{
    instead, load, page,
    removals::{cursor, pager},
};
use crate::{
    backend::{Backend, SharedBackend},
    hooks::{
        clock,
        poll::keep_current,
        session::{Session, session},
    },
    model::{AuditAction, AuditEvent, BulkId, Page, Problem},
    paths::console,
};

/// `/audit`
pub(crate) fn audit() -> AnyView {
    let session = session();
    let cursor = cursor();
    let asked = expect_context::<SharedBackend>().audit(cursor.get_untracked());
    load(asked, move |first: Result<Page<AuditEvent>, Problem>| match first {
        Ok(first) => loaded(session, cursor, first),
        Err(problem) => instead(session, &problem),
    })
}

fn loaded(session: Session, cursor: Memo<Option<String>>, first: Page<AuditEvent>) -> AnyView {
    let backend = expect_context::<SharedBackend>();
    let ask = move |cursor| Some(backend.audit(cursor));
    let live = keep_current(session, first, cursor, ask, |_: &Page<AuditEvent>| false);
    let value = live.value;
    let rows = move || value.with(|page| page.items.iter().map(|event| row(session, event)).collect::<Vec<_>>());
    let body = view! {
        <div class="page-head">
            <div class="titles">
                <h1>"Audit"</h1>
                <div class="meta"><span>"Who did what to which job, from where, with what result."</span></div>
            </div>
        </div>
        <section class="panel list" aria-label="Events">
            <div class="scroll-x" tabindex="0" role="region" aria-label="Events, scrollable">
                <table class="grid-table list-table">
                    <thead>
                        <tr>
                            <th scope="col">"When"</th>
                            <th scope="col">"Who"</th>
                            <th scope="col">"What"</th>
                            <th scope="col" class="c-name">"Job"</th>
                            <th scope="col" class="wide-only">"Result"</th>
                            <th scope="col" class="wide-only">"From"</th>
                        </tr>
                    </thead>
                    <tbody>{rows}</tbody>
                </table>
            </div>
            {move || pager(console::AUDIT, cursor.get(), value.with(|page| page.next_cursor.clone()))}
        </section>
    }
    .into_any();
    page(session, "Audit", "page", body)
}

/// The action on many jobs that an event is about: the server ends the detail with its id.
fn bulk_of(event: &AuditEvent) -> Option<BulkId> {
    matches!(event.action, AuditAction::Bulk | AuditAction::AbortBulk)
        .then(|| event.detail.as_deref()?.rsplit(' ').next()?.parse().ok())
        .flatten()
}

fn row(session: Session, event: &AuditEvent) -> AnyView {
    let job = event.job_id.map(|id| {
        let name = event.job_name.clone().unwrap_or_else(|| id.short());
        view! { <a class="link" href=console::job(id)>{name}</a> }.into_any()
    });
    let job = job.or_else(|| {
        let place = bulk_of(event).map(console::bulk)?;
        Some(view! { <a class="link" href=place>"Its jobs"</a> }.into_any())
    });
    let from = match &event.address {
        Some(address) => format!("{}, {address}", event.source.as_str()),
        None => event.source.as_str().to_owned(),
    };
    let detail = event.detail.clone().map(|detail| view! { <small class="muted">{detail}</small> });
    view! {
        <tr>
            <td>{clock::ago(session, event.at)}</td>
            <td>{event.actor.clone()}</td>
            <td>{event.action.label()}</td>
            <td>{job}</td>
            <td class="wide-only">{event.result.clone()}" "{detail}</td>
            <td class="wide-only" title=format!("request {}", event.request_id)>{from}</td>
        </tr>
    }
    .into_any()
}
