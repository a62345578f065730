//! The batch of a job, as its provider tells of it: the provider's words beside ours, the time that is left, what it costs,
//! and how a cancel met it. Nothing is called cancelled here before the provider says so, and what is not known is called
//! unknown.

use leptos::prelude::*;

use super::{about::fact, icon::icon, notice::notice};
use crate::{
    hooks::{clock, session::Session},
    model::{BatchState, BatchView, CancelResult, Job, JobExtras, RequestCounts, Timestamp, TokenUsage},
    paths::console,
    text,
};

/// The tone of a state.
pub(crate) const fn tone(state: BatchState) -> &'static str {
    match state {
        BatchState::Unsent | BatchState::Queued => "pending",
        BatchState::Uploading | BatchState::Creating | BatchState::Running | BatchState::Finalizing => "active",
        BatchState::Cancelling => "cancelling",
        BatchState::Succeeded => "completed",
        BatchState::Partial | BatchState::Expired | BatchState::Unknown => "partial",
        BatchState::Failed => "failed",
        BatchState::Cancelled => "cancelled",
    }
}

/// Our word as a badge, the provider's own beside it.
pub(crate) fn state(state: BatchState, raw: Option<&str>) -> AnyView {
    let tone = tone(state);
    let raw = raw.map(|raw| view! { " "<span class="mono muted">{raw.to_owned()}</span> });
    view! { <span class="badge" data-tone=tone>{icon(tone)}{state.label()}</span>{raw} }.into_any()
}

/// `8,806 of 15,000 done, 12 failed`
pub(crate) fn counts(counts: RequestCounts) -> String {
    let failed = if counts.failed > 0 { format!(", {} failed", text::count(counts.failed)) } else { String::new() };
    format!("{} of {} done{failed}", text::count(counts.completed), text::count(counts.total))
}

/// `2.1 M in (40 k from a cache), 310 k out`, exact.
fn tokens(usage: TokenUsage) -> String {
    let cached = match usage.cached_tokens {
        0 => String::new(),
        cached => format!(" ({} of them from a cache)", text::count(cached)),
    };
    format!("{} in{cached}, {} out", text::count(usage.input_tokens), text::count(usage.output_tokens))
}

/// The section of the detail page; none for jobs that are no batch.
pub(crate) fn batch(session: Session, job: RwSignal<Job>, extras: RwSignal<JobExtras>) -> Option<AnyView> {
    let id = job.with_untracked(|job| job.job_id);
    let provider = extras.with_untracked(|extras| extras.batch.as_ref().map(|batch| batch.provider.clone()))?;
    let over = move || job.with(|job| job.phase.is_terminal());
    let facts = move || extras.with(|extras| extras.batch.as_ref().map(|batch| facts(session, batch)));
    let notices = move || extras.with(|extras| extras.batch.as_ref().map(notices));
    Some(
        view! {
            <section class="panel" aria-labelledby="h-batch">
                <div class="panel-head">
                    <h2 id="h-batch">"At the provider"</h2>
                    <a class="link push" href=console::provider(&provider)>{provider.clone()}</a>
                    <form method="post" action=console::refresh(id)>
                        <button class="btn btn-sm" type="submit">
                            {icon("resend")}
                            {move || if over() { "Ask Again" } else { "Ask Now" }}
                        </button>
                    </form>
                </div>
                <div class="panel-body stack">{notices}<dl class="facts">{facts}</dl></div>
            </section>
        }
        .into_any(),
    )
}

/// What is not as it should be, or should not be overlooked.
fn notices(batch: &BatchView) -> AnyView {
    let cancel = batch.cancel_result.map(|result| {
        let (tone, symbol) = match result {
            CancelResult::Cancelled | CancelResult::NeverSent => ("proof", "proof"),
            CancelResult::FinishedAnyway | CancelResult::AlreadyFinished | CancelResult::NeverAppeared => {
                ("active", "info")
            }
        };
        notice(tone, symbol, result.sentence().into_any())
    });
    let waits = (batch.cancel_sent_at.is_some() && !batch.state.is_terminal()).then(|| {
        let words = "The provider has been asked to cancel. That may take ten minutes; what is done until then counts and \
                     costs.";
        notice("cancelling", "cancelling", words.into_any())
    });
    let gone = batch.gone.then(|| {
        let words = "The provider does not know this batch any more.";
        notice("partial", "warning", words.into_any())
    });
    let unknown = (batch.state == BatchState::Unknown).then(|| {
        let words = "The provider uses a word that is not known here. The batch is asked about on.";
        notice("partial", "unknown", words.into_any())
    });
    let error = batch
        .last_error
        .clone()
        .map(|error| match batch.batch_id {
            Some(_) => format!("The last question got no answer: {error}"),
            None => error,
        })
        .map(|error| notice("partial", "warning", error.into_any()));
    let faults = batch
        .faults
        .iter()
        .map(|fault| {
            let line = fault.line.map(|line| format!("Line {line}: ")).unwrap_or_default();
            let code = fault.code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default();
            notice("failed", "failed", format!("{line}{}{code}", fault.message).into_any())
        })
        .collect::<Vec<_>>();
    view! { {cancel}{waits}{gone}{unknown}{error}{faults} }.into_any()
}

fn facts(session: Session, batch: &BatchView) -> AnyView {
    let estimate = batch.estimate.as_ref().map(|range| fact("Estimate of all", text::dollar_range(range)));
    let saved = (batch.state == BatchState::Cancelled).then(|| {
        let words = batch
            .saved
            .as_ref()
            .map_or_else(|| "unknown".to_owned(), |range| format!("estimated {}", text::dollar_range(range)));
        fact("Saved by cancelling", words)
    });
    let cost = batch
        .cost
        .as_ref()
        .map_or_else(|| "unknown".to_owned(), |cost| format!("{} ({})", text::dollars(cost.dollars), cost.rate));
    view! {
        <dt>"State"</dt>
        <dd>{state(batch.state, batch.raw_state.as_deref())}</dd>
        {batch.batch_id.clone().map(|id| view! { <dt>"Batch"</dt><dd class="mono">{id}</dd> })}
        {batch.adopted.then(|| fact("Submitted", "not from here: it was adopted".to_owned()))}
        {batch.model.clone().map(|model| fact("Model", model))}
        {batch.endpoint.clone().map(|endpoint| view! { <dt>"Endpoint"</dt><dd class="mono">{endpoint}</dd> })}
        {fact("Requests", counts(batch.requests))}
        {deadline(session, batch)}
        {asked(session, batch)}
        {batch.cancel_sent_at.map(|at| view! { <dt>"Cancel sent"</dt><dd>{clock::ago(session, at)}</dd> })}
        {batch.ended_at.map(|at| view! { <dt>"Ended there"</dt><dd>{clock::ago(session, at)}</dd> })}
        {fact("Tokens", batch.usage.map_or_else(|| "unknown".to_owned(), tokens))}
        {fact("Cost so far", cost)}
        {estimate}
        {saved}
    }
    .into_any()
}

/// `22 h 14 min` until the provider gives it up.
fn deadline(session: Session, batch: &BatchView) -> Option<AnyView> {
    let at = batch.expires_at.filter(|_| !batch.state.is_terminal())?;
    let left = move || {
        if !session.mounted.get() {
            return text::short_date(at);
        }
        match at.millis_since(session.now.get()) {
            left if left > 0 => format!("in {}; the provider gives it up then", text::duration(left)),
            _ => "over".to_owned(),
        }
    };
    Some(
        view! {
            <dt>"Deadline"</dt>
            <dd><time datetime=at.to_string() title=text::exact(at)>{left}</time></dd>
        }
        .into_any(),
    )
}

/// When the provider was asked last, and when it is next.
fn asked(session: Session, batch: &BatchView) -> Option<AnyView> {
    let last = batch.asked_at?;
    let next = batch.next_ask_at.map(|next| {
        let wait = move || {
            let left = next.millis_since(session.now.get()) / 1_000;
            (session.mounted.get() && left > 0).then(|| format!(", again in {left} s"))
        };
        view! { {wait} }
    });
    Some(view! { <dt>"Asked"</dt><dd>{clock::ago(session, last)}{next}</dd> }.into_any())
}

/// A moment, or a dash.
pub(crate) fn moment(session: Session, at: Option<Timestamp>) -> AnyView {
    at.map_or_else(|| "–".into_any(), |at| clock::ago(session, at))
}
