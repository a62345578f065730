//! Who asked for the stop of a job, when and why; and the banner that offers to delete what it left.

use leptos::prelude::*;

use super::{icon::icon, phase::badge};
use crate::{
    model::{Cancellation, Job, Phase},
    text,
};

/// The block `Status / Cancelled at / Reason / Notes / By`.
pub(crate) fn cancellation(phase: Phase, cancellation: &Cancellation) -> AnyView {
    let (term, at) = match cancellation.cancelled_at {
        Some(at) => ("Cancelled at", at),
        None => ("Asked at", cancellation.requested_at),
    };
    let notes = cancellation.notes.clone().unwrap_or_else(|| "–".to_owned());
    let by = format!("{}, {}", cancellation.requested_by, cancellation.source.as_str());
    view! {
        <section class="panel" aria-labelledby="h-cancel">
            <div class="panel-head">
                <h2 id="h-cancel">"Cancellation"</h2>
            </div>
            <div class="panel-body">
                <dl class="facts">
                    <dt>"Status"</dt>
                    <dd>{badge(phase)}</dd>
                    <dt>{term}</dt>
                    <dd><time datetime=at.to_string() title=text::exact(at)>{text::date(at)}</time></dd>
                    <dt>"Reason"</dt>
                    <dd class="mono">{cancellation.reason.clone()}</dd>
                    <dt>"Notes"</dt>
                    <dd>{notes}</dd>
                    <dt>"By"</dt>
                    <dd>{by}</dd>
                    {cancellation.force.then(|| view! { <dt>"Force"</dt><dd>"used"</dd> })}
                    <dt>"Request"</dt>
                    <dd class="mono">{cancellation.request_id.clone()}</dd>
                </dl>
            </div>
        </section>
    }
    .into_any()
}

/// The banner over a cancelled job.
pub(crate) fn banner(job: &Job) -> Option<AnyView> {
    if job.phase != Phase::Cancelled {
        return None;
    }
    let freed = job.bytes.map(|bytes| format!("{} would be freed.", text::bytes(bytes)));
    Some(
        view! {
            <div class="banner" role="status">
                {icon("info")}
                <p>
                    "This job was cancelled. You can delete it to free up storage."
                    {freed.map(|words| view! { <small>{words}</small> })}
                </p>
            </div>
        }
        .into_any(),
    )
}
