//! The evidence that a job stopped: sums first, then a rope with five knots for every run that was stopped.

use leptos::prelude::*;

use super::{
    icon::icon,
    stopping::resend,
    units::{DetailQuery, pages},
};
use crate::{
    hooks::{
        dom,
        follow::{Actions, Subject},
        session::Session,
    },
    model::{Cancellation, Job, Page, StopEvidence, StopMethod, StopStepKind, Unit, UnitQuery},
    text,
};

/// The knots of a rope, in order.
const KNOTS: [(StopStepKind, &str); 5] = [
    (StopStepKind::Signalled, "Signalled"),
    (StopStepKind::Exited, "Exited"),
    (StopStepKind::Searched, "Searched"),
    (StopStepKind::Counted, "Processes left"),
    (StopStepKind::Confirmed, "Confirmed"),
];

/// Runs whose evidence is shown at once.
const SHOWN: u32 = 50;

/// What to ask for: the stopped units of one page of the evidence.
pub(crate) fn stops_query(cursor: Option<String>) -> UnitQuery {
    UnitQuery { stopped: true, cursor, limit: Some(SHOWN), ..UnitQuery::default() }
}

/// Units of which a run was stopped.
fn stopped(units: &[Unit]) -> Vec<Unit> {
    let ran = |unit: &&Unit| {
        unit.run_id.is_some() && unit.stop.as_ref().is_some_and(|stop| stop.method != StopMethod::NeverStarted)
    };
    units.iter().filter(ran).cloned().collect()
}

fn title(job: &Job, cancellation: &Cancellation, runs: &[Unit]) -> String {
    let stop = &cancellation.stop;
    let unconfirmed = job.in_doubt();
    if unconfirmed > 0 {
        return format!("{} not confirmed", text::counted(unconfirmed, ("run", "runs")));
    }
    let Some(at) = cancellation.cancelled_at else {
        return format!("{} of {} stopped…", stop.stopped, stop.stopped + stop.waiting);
    };
    let evidence = || runs.iter().filter_map(|unit| unit.stop.as_ref());
    let seen: u64 = evidence().filter_map(|stop| stop.processes_seen).map(u64::from).sum();
    let left: u64 = evidence().filter_map(|stop| stop.processes_left).map(u64::from).sum();
    let at = text::clock(at);
    if stop.stopped == 0 {
        format!("Proof: nothing was running, confirmed {at}")
    } else if seen > 0 && runs.len() as u64 == stop.stopped {
        format!("Proof: {} of {seen} processes gone, confirmed {at}", seen.saturating_sub(left))
    } else {
        format!("Proof: {} of {} runs stopped, confirmed {at}", stop.stopped, stop.stopped)
    }
}

fn subtitle(job: &Job, cancellation: &Cancellation) -> String {
    let took = cancellation
        .cancelled_at
        .map(|at| format!("{} from request to proof. ", text::duration(at.millis_since(cancellation.requested_at))));
    let found = if job.in_doubt() > 0 {
        "What could not be observed is called unconfirmed; ask again with Resend."
    } else if job.kind.provider_kind().is_some() {
        "The provider says that it is over. What was done until then is kept."
    } else {
        "Belay looked after the signals and found nothing of this job running."
    };
    took.unwrap_or_default() + found
}

fn sums(job: &Job, cancellation: &Cancellation) -> AnyView {
    let stop = &cancellation.stop;
    let finished = job.progress.total.saturating_sub(stop.units);
    let of_provider = [
        ("Done", job.progress.succeeded + job.progress.failed, "requests"),
        ("Not done", job.progress.cancelled, "requests"),
        ("Unconfirmed", stop.unconfirmed, ""),
    ];
    let of_runs = [
        ("Finished before", finished, "kept"),
        ("Stopped", stop.stopped, "runs"),
        ("Never started", stop.never_started, "units"),
        ("Waiting", stop.waiting, ""),
        ("Unconfirmed", stop.unconfirmed, ""),
    ];
    // A provider stops requests, of which a run has many.
    let sums = if job.kind.provider_kind().is_some() { of_provider.to_vec() } else { of_runs.to_vec() };
    let sums = sums
        .into_iter()
        .map(|(term, number, unit)| {
            let unit = (!unit.is_empty()).then(|| view! { <small>{unit}</small> });
            view! { <div><dt>{term}</dt><dd>{text::count(number)}" "{unit}</dd></div> }.into_any()
        })
        .collect::<Vec<_>>();
    view! { <dl class="proof-sums">{sums}</dl> }.into_any()
}

/// Words and time of one knot: all steps of its kind together.
fn knot(stop: &StopEvidence, kind: StopStepKind, name: &'static str) -> AnyView {
    let steps: Vec<_> = stop.steps.iter().filter(|step| step.step == kind).collect();
    let words = steps.iter().map(|step| step.detail.as_str()).collect::<Vec<_>>().join(", ");
    let forced = kind == StopStepKind::Signalled && stop.signals.iter().any(|signal| signal == "SIGKILL");
    let tone = match (steps.is_empty(), stop.confirmed, kind) {
        (true, _, _) => "pending",
        (false, false, StopStepKind::Counted | StopStepKind::Confirmed) => "partial",
        (false, _, _) if forced => "cancelling",
        (false, _, _) => "proof",
    };
    let words = if words.is_empty() { "not observed".to_owned() } else { words };
    let at = steps.last().map(|step| step.at);
    view! {
        <li data-tone=tone>
            <small>{name}</small>
            <b>{words}</b>
            {at.map(|at| view! { <time datetime=at.to_string()>{text::clock_millis(at)}</time> })}
        </li>
    }
    .into_any()
}

fn rope(unit: &Unit) -> Option<AnyView> {
    let stop = unit.stop.as_ref()?;
    let first = stop.steps.first().map(|step| step.at);
    let took = stop.stopped_at.zip(first).map(|(end, begin)| text::duration(end.millis_since(begin)));
    // There is nothing to signal or to search at a provider: its word is all there is.
    let has = |kind| stop.method != StopMethod::Provider || stop.steps.iter().any(|step| step.step == kind);
    let knots =
        KNOTS.into_iter().filter(|(kind, _)| has(*kind)).map(|(kind, name)| knot(stop, kind, name)).collect::<Vec<_>>();
    let run = unit.run_id.map(|run| format!("run {} · ", run.short())).unwrap_or_default();
    Some(
        view! {
            <article class="run">
                <header>
                    <h3>{unit.name.clone()}</h3>
                    <p>{run}{stop.detail.clone()}</p>
                    <span class="push num">{took}</span>
                </header>
                <ol class="rope">{knots}</ol>
            </article>
        }
        .into_any(),
    )
}

fn seal(confirmed: bool) -> AnyView {
    let inside = if confirmed { "m17.4 22.8 2.7 2.7 5-5.6" } else { "M21.25 18v4.5M21.25 25.4v.2" };
    view! {
        <svg class="seal" viewBox="0 0 40 40" aria-hidden="true">
            <circle class="disc" cx="20" cy="20" r="19" />
            <path d="M12.5 8.5v14a8.75 8.75 0 1 0 8.75-8.75 8.75 8.75 0 0 0-8.75 8.75" />
            <path d=inside />
        </svg>
    }
    .into_any()
}

/// The evidence as text, for a ticket or a mail.
fn as_text(job: &Job, cancellation: &Cancellation, runs: &[Unit], all: bool) -> String {
    let mut lines = vec![
        format!("{} ({})", job.name, job.job_id),
        title(job, cancellation, runs),
        format!("requested {} by {}", cancellation.requested_at, cancellation.requested_by),
    ];
    if !all {
        let stopped = text::count(cancellation.stop.stopped + cancellation.stop.unconfirmed);
        lines.push(format!("{} of {stopped} stopped runs:", text::count(runs.len() as u64)));
    }
    for unit in runs {
        let Some(stop) = &unit.stop else { continue };
        let run = unit.run_id.map(|run| run.to_string()).unwrap_or_default();
        lines.push(format!("{} run {run}: {}", unit.name, stop.detail));
        lines.extend(stop.steps.iter().map(|step| format!("  {} {}", step.at, step.detail)));
    }
    lines.join("\n")
}

/// A job that ended by itself, and left runs whose end nobody has seen.
fn doubt(actions: Actions, job: &Job) -> Option<AnyView> {
    let runs = (job.unconfirmed > 0).then(|| text::counted(job.unconfirmed, ("run", "runs")))?;
    Some(
        view! {
            <section class="panel proof unproven" aria-labelledby="h-proof">
                <div class="proof-head">
                    {seal(false)}
                    <div class="titles">
                        <h2 id="h-proof">{format!("{runs} not confirmed")}</h2>
                        <p>"Nobody could see whether what was started still runs. Belay asks again, and so does Resend."</p>
                    </div>
                    {resend(actions, Subject::of(job))}
                </div>
            </section>
        }
        .into_any(),
    )
}

/// The whole panel, with one page of the runs that were stopped.
pub(crate) fn proof(
    session: Session,
    actions: Actions,
    job: &Job,
    page: &Page<Unit>,
    query: &DetailQuery,
) -> Option<AnyView> {
    let runs = &stopped(&page.items);
    let first = query.stops.is_some().then(|| query.with_stops(None).url(job.job_id));
    let next = page.next_cursor.clone().map(|cursor| query.with_stops(Some(cursor)).url(job.job_id));
    let all = first.is_none() && next.is_none();
    let Some(cancellation) = job.cancellation.as_ref() else { return doubt(actions, job) };
    cancellation.cancelled_at?;
    let confirmed = job.in_doubt() == 0;
    let text = as_text(job, cancellation, runs, all);
    let copy = move |_| {
        dom::copy(&text);
        session.tell(crate::backend::Tone::Completed, "Evidence copied");
    };
    let ropes = runs.iter().filter_map(rope).collect::<Vec<_>>();
    let class = if confirmed { "panel proof" } else { "panel proof unproven" };
    Some(
        view! {
            <section class=class aria-labelledby="h-proof">
                <div class="proof-head">
                    {seal(confirmed)}
                    <div class="titles">
                        <h2 id="h-proof">{title(job, cancellation, runs)}</h2>
                        <p>{subtitle(job, cancellation)}</p>
                    </div>
                    {(!confirmed).then(|| resend(actions, Subject::of(job)))}
                    <button class="btn btn-sm" type="button" hidden=move || !session.mounted.get() on:click=copy>
                        {icon("copy")}
                        "Copy Evidence"
                    </button>
                </div>
                {sums(job, cancellation)}
                {ropes}
                {(!all).then(|| pages("50 runs a page", first, next))}
            </section>
        }
        .into_any(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{StopStep, Timestamp};

    fn evidence(confirmed: bool, kinds: &[StopStepKind]) -> StopEvidence {
        StopEvidence {
            method: StopMethod::Terminated,
            signals: vec!["SIGTERM".to_owned()],
            stopped_at: Some(Timestamp(10)),
            processes_left: Some(0),
            processes_seen: Some(3),
            confirmed,
            detail: "3 processes".to_owned(),
            steps: kinds
                .iter()
                .map(|kind| StopStep { step: *kind, at: Timestamp(5), detail: "seen".to_owned() })
                .collect(),
        }
    }

    #[test]
    fn what_was_not_observed_is_not_drawn_as_proof() {
        Owner::new().with(|| {
            let none = knot(&evidence(true, &[]), StopStepKind::Searched, "Searched").to_html();
            assert!(none.contains("data-tone=\"pending\"") && none.contains("not observed"), "{none}");
            let unsure = knot(&evidence(false, &[StopStepKind::Confirmed]), StopStepKind::Confirmed, "Confirmed");
            assert!(unsure.to_html().contains("data-tone=\"partial\""));
            let seen = knot(&evidence(true, &[StopStepKind::Confirmed]), StopStepKind::Confirmed, "Confirmed");
            assert!(seen.to_html().contains("data-tone=\"proof\""));
        });
    }
}
