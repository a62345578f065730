//! `belay job status`: all that is known of a job, and why it is known to have stopped.

use app::{
    model::{Artifact, BatchView, Cancellation, Job, Page, Timestamp, Unit, UnitQuery, UnitStatus},
    paths::api,
    text,
};
use clap::Args;
use console::Style;
use serde::Serialize;

use super::{Context, follow};
use crate::cli::{
    fault::{Exit, Fault, Outcome, exit_of_many},
    out::{self, Cell, Output, Table},
    select,
};

/// Units of each sort that are shown.
const SHOWN: u32 = 20;

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// The jobs; `-` reads them from standard input
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
}

/// What `--json` prints of a job: the job as the API gives it, with the units that say how its stop was proven.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    job: Job,
    /// Units of which a cancel stopped a run, with the evidence; the first [`SHOWN`].
    stopped_units: Vec<Unit>,
    /// Units that failed; the first [`SHOWN`].
    failed_units: Vec<Unit>,
}

pub(super) async fn run(context: &Context, args: StatusArgs) -> Outcome<Exit> {
    let words = select::words(&args.ids)?;
    let (mut reports, mut faults) = (Vec::new(), Vec::<Fault>::new());
    for word in &words {
        match report(context, word).await {
            Ok(report) => reports.push(report),
            Err(fault) if words.len() == 1 => return Err(fault),
            Err(fault) => {
                context.out.fault(&fault);
                faults.push(fault);
            }
        }
    }
    match reports.as_slice() {
        [report] if context.out.json && words.len() == 1 => context.out.json(report),
        reports if context.out.json => context.out.json(&reports),
        reports => {
            for (index, report) in reports.iter().enumerate() {
                if index > 0 {
                    context.out.line("");
                }
                show(&context.out, report);
            }
        }
    }
    Ok(exit_of_many(reports.len(), &faults))
}

async fn report(context: &Context, word: &str) -> Outcome<Report> {
    let job = select::job(&context.client, word).await?;
    let units = async |query: UnitQuery| -> Outcome<Vec<Unit>> {
        let query = UnitQuery { limit: Some(SHOWN), ..query };
        Ok(context.client.get::<Page<Unit>>(&api::units(job.job_id, &query)).await?.items)
    };
    let stopped_units = match job.cancellation {
        Some(_) => units(UnitQuery { stopped: true, ..UnitQuery::default() }).await?,
        None => Vec::new(),
    };
    let failed_units = match job.progress.failed {
        0 => Vec::new(),
        _ => units(UnitQuery { status: Some(UnitStatus::Failed), ..UnitQuery::default() }).await?,
    };
    Ok(Report { job, stopped_units, failed_units })
}

/// `name  value` lines; for programs `name<TAB>value` with values that do not depend on the clock.
struct Facts<'a>(&'a Output);

impl Facts<'_> {
    fn text(&self, name: &str, value: impl Into<String>) {
        self.cell(name, &Cell::new(value));
    }

    fn cell(&self, name: &str, value: &Cell) {
        if self.0.people {
            self.0.line(format_args!("  {} {}", Style::new().dim().apply_to(format!("{name:<12}")), value.shown()));
        } else {
            self.0.line(format_args!("{}\t{}", name.to_lowercase().replace(' ', "_"), value.plain()));
        }
    }

    fn time(&self, name: &str, at: Option<Timestamp>) {
        if let Some(at) = at {
            let value = if self.0.people { format!("{} ({})", out::ago(at), text::exact(at)) } else { at.to_string() };
            self.text(name, value);
        }
    }

    fn heading(&self, title: &str) {
        if self.0.people {
            self.0.line(format_args!("\n{}", Style::new().bold().apply_to(title)));
        }
    }
}

fn show(out: &Output, report: &Report) {
    let job = &report.job;
    let facts = Facts(out);
    if out.people {
        out.line(Style::new().bold().apply_to(out::clean(&job.name)));
    } else {
        facts.text("Name", &*job.name);
    }
    facts.text("Id", job.job_id.to_string());
    facts.cell("Phase", &if out.people { out::phase(job.phase) } else { Cell::new(job.phase.as_str()) });
    facts.text("Kind", job.kind.as_str());
    facts.text(
        "Progress",
        if out.people { follow::told(job) } else { format!("{}/{}", job.progress.done(), job.progress.total) },
    );
    if !out.people {
        facts.text("Succeeded", job.progress.succeeded.to_string());
        facts.text("Failed", job.progress.failed.to_string());
        facts.text("Cancelled", job.progress.cancelled.to_string());
    }
    facts.time("Created", Some(job.created_at));
    facts.text("By", &*job.created_by);
    facts.time("Started", job.started_at);
    facts.time("Finished", job.finished_at);
    if let (true, Some(started), Some(finished)) = (out.people, job.started_at, job.finished_at) {
        facts.text("Took", text::duration(finished.millis_since(started)));
    }
    if let Some(bytes) = job.bytes {
        facts.text(
            if out.people { "Size" } else { "Bytes" },
            if out.people { text::bytes(bytes) } else { bytes.to_string() },
        );
    }
    if let Some(first) = job.rerun_of {
        facts.text("Rerun of", first.to_string());
    }
    if let Some(detail) = &job.detail {
        facts.text("Detail", detail);
    }
    if let Some(batch) = &job.batch {
        show_batch(&facts, batch);
    }
    if let Some(cancellation) = &job.cancellation {
        show_cancellation(&facts, cancellation);
    }
    show_waiting(out, job);
    show_evidence(out, &report.stopped_units);
    show_failed(out, &report.failed_units);
}

fn show_batch(facts: &Facts<'_>, batch: &BatchView) {
    let optional = |name: &str, value: Option<&String>| {
        if let Some(value) = value {
            facts.text(name, &**value);
        }
    };
    facts.heading("Batch");
    facts.text("Provider", &*batch.provider);
    optional("Batch id", batch.batch_id.as_ref());
    facts.text("State", batch.state.as_str());
    optional("Provider says", batch.raw_state.as_ref());
    optional("Model", batch.model.as_ref());
    optional("Endpoint", batch.endpoint.as_ref());
    let counts = &batch.requests;
    facts.text("Requests", format!("{} of {} done, {} failed", counts.completed, counts.total, counts.failed));
    facts.time("Given up at", batch.expires_at.filter(|_| !batch.state.is_terminal()));
    facts.time("Ended", batch.ended_at);
    if let Some(result) = batch.cancel_result {
        facts.text("Cancel", result.sentence());
    }
    if let Some(cost) = &batch.cost {
        facts.text("Cost", format!("{} ({})", dollars(cost.dollars), cost.rate));
    }
    if let Some(saved) = &batch.saved {
        let range = format!("{} to {}", dollars(saved.low), dollars(saved.high));
        facts.text("Saved", format!("{range}, an estimate ({})", saved.rate));
    }
    if batch.gone {
        facts.text("Gone", "The provider does not know it any more.");
    }
    for fault in &batch.faults {
        let line = fault.line.map(|line| format!("line {line}: ")).unwrap_or_default();
        let code = fault.code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default();
        facts.text("Fault", format!("{line}{}{code}", fault.message));
    }
    optional("Last error", batch.last_error.as_ref());
}

fn dollars(amount: f64) -> String {
    if amount >= 1.0 { format!("${amount:.2}") } else { format!("${amount:.4}") }
}

/// A job's batch in a line: `JOB<TAB>PHASE<TAB>PROVIDER SAYS<TAB>WHAT IS WRONG`.
pub(super) fn show_batch_line(out: &Output, job: &Job) {
    let batch = job.batch.as_ref();
    let says = batch.and_then(|batch| batch.raw_state.as_deref()).unwrap_or("nothing");
    let fault = batch.and_then(|batch| {
        let fault = batch.faults.first().map(|fault| fault.message.clone());
        fault
            .or_else(|| batch.last_error.clone())
            .or_else(|| batch.gone.then(|| "it does not know the batch".to_owned()))
    });
    let fault = fault.unwrap_or_default();
    if out.people {
        let provider = batch.map_or("the provider", |batch| batch.provider.as_str());
        let colon = if fault.is_empty() { "" } else { ": " };
        let words = format!("{provider} says {}{colon}{}", out::clean(says), out::clean(&fault));
        out.line(format_args!("{} is {}; {words}", job.job_id, job.phase));
    } else {
        out.line(format_args!("{}\t{}\t{}\t{}", job.job_id, job.phase, out::clean(says), out::clean(&fault)));
    }
}

fn show_cancellation(facts: &Facts<'_>, cancellation: &Cancellation) {
    let stop = &cancellation.stop;
    facts.heading("Cancellation");
    facts.time("Asked", Some(cancellation.requested_at));
    facts.text("Asked by", &*cancellation.requested_by);
    facts.text("Reason", &*cancellation.reason);
    if let Some(notes) = &cancellation.notes {
        facts.text("Notes", notes);
    }
    if cancellation.force {
        facts.text("Force", "true");
    }
    facts.time("Cancelled at", cancellation.cancelled_at);
    facts.text(
        "Stop",
        format!(
            "{} units: {} never started, {} stopped, {} waiting, {} unconfirmed",
            stop.units, stop.never_started, stop.stopped, stop.waiting, stop.unconfirmed
        ),
    );
}

fn show_waiting(out: &Output, job: &Job) {
    if job.waiting.is_empty() {
        return;
    }
    Facts(out).heading("Not stopped yet");
    let mut table = titled(out, ["UNIT", "NAME", "WORKER", "SINCE", "LAST KNOWN"]);
    for run in &job.waiting {
        let since = if out.people { out::ago(run.since) } else { run.since.to_string() };
        let cells = [&run.unit.to_string(), &run.name, &run.worker, &since, &run.detail];
        table.row(row(out, "waiting", cells.map(Cell::new)));
    }
    table.print(out);
}

fn show_evidence(out: &Output, units: &[Unit]) {
    if units.is_empty() {
        return;
    }
    Facts(out).heading("Evidence");
    let mut table = titled(out, ["UNIT", "NAME", "METHOD", "SIGNALS", "LEFT", "PROVEN", "DETAIL"]);
    for unit in units {
        let Some(stop) = &unit.stop else { continue };
        let left = stop.processes_left.map_or_else(|| "unknown".to_owned(), |left| left.to_string());
        let proven = if stop.confirmed {
            Cell::styled("yes", Style::new().green())
        } else {
            Cell::styled("no", Style::new().red())
        };
        let cells = [
            Cell::new(unit.index.to_string()),
            Cell::new(&*unit.name),
            Cell::new(stop.method.as_str()),
            Cell::new(stop.signals.join(",")),
            Cell::new(left),
            proven,
            Cell::new(&*stop.detail),
        ];
        table.row(row(out, "evidence", cells));
    }
    table.print(out);
}

fn show_failed(out: &Output, units: &[Unit]) {
    if units.is_empty() {
        return;
    }
    Facts(out).heading("Failed");
    let mut table = titled(out, ["UNIT", "NAME", "EXIT", "ERROR"]);
    for unit in units {
        let exit = unit.exit_code.map(|code| code.to_string()).unwrap_or_default();
        let error = unit.error.clone().unwrap_or_default();
        let cells = [unit.index.to_string(), unit.name.clone(), exit, error];
        table.row(row(out, "failed_unit", cells.map(Cell::new)));
    }
    table.print(out);
}

/// Programs find the lines of a table by a first column that people do not need.
fn titled<const N: usize>(out: &Output, titles: [&'static str; N]) -> Table {
    if out.people { Table::new(titles) } else { Table::new([&["WHAT"], titles.as_slice()].concat()) }
}

fn row<const N: usize>(out: &Output, what: &str, cells: [Cell; N]) -> Vec<Cell> {
    let first = (!out.people).then(|| Cell::new(what));
    first.into_iter().chain(cells).collect()
}

/// Of a list of artifacts, what it is all together: `3 files, 41.6 MB`.
pub(super) fn sum(artifacts: &[Artifact]) -> String {
    let bytes = artifacts.iter().map(|artifact| artifact.bytes).sum();
    format!("{}, {}", text::counted(artifacts.len() as u64, ("file", "files")), text::bytes(bytes))
}
