//! `belay job remove`: the plan, the question, the removal, the receipt.

use std::time::Duration;

use app::{
    model::{
        BulkAction, BulkRequest, BulkSelect, Category, DeleteAnswer, ErrorCode, Job, JobId, Leftover, Phase, Plan,
        Receipt, ReceiptState,
    },
    paths::{api, console},
    text,
};
use clap::{ArgGroup, Args};
use serde::Serialize;

use super::{
    Context, cancel, follow,
    list::FilterArgs,
    many::{self, Manner},
    parse_duration,
};
use crate::{
    cli::{
        fault::{Exit, Fault, Outcome, exit_of_many},
        out::{self, Cell, Table},
        prompt::Asker,
        select::{self, STDIN},
    },
    engine::clock,
};

/// Jobs whose plans a question shows.
const SHOWN: usize = 10;

/// Between two looks at a removal that goes on.
const LOOK: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).multiple(true).args(["ids", "older_than", "filter"]))]
pub(super) struct RemoveArgs {
    /// The jobs; `-` reads them from standard input
    #[arg(value_name = "ID", conflicts_with_all = ["older_than", "filter"])]
    ids: Vec<String>,
    /// Every job that ended before this time: 30d, 12h
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    older_than: Option<Duration>,
    #[command(flatten)]
    filter: FilterArgs,
    /// Leaves the files that the job made, in a folder that the receipt names
    #[arg(long)]
    keep_files: bool,
    /// Shows the plan, and does nothing
    #[arg(long)]
    dry_run: bool,
    /// Does not ask; an active job is stopped first
    #[arg(short, long, visible_alias = "yes")]
    force: bool,
}

/// A job and what its removal takes.
struct Planned {
    job: Job,
    plan: Plan,
}

/// What became of one job.
#[derive(Serialize)]
struct Line {
    job_id: JobId,
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<Receipt>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// What `--json` prints.
#[derive(Default, Serialize)]
struct Summary {
    removed: usize,
    partly_removed: usize,
    failed: usize,
    freed_bytes: u64,
    jobs: Vec<Line>,
}

pub(super) async fn run(context: &Context, args: RemoveArgs) -> Outcome<Exit> {
    if args.ids.is_empty() {
        return remove_many(context, &args).await;
    }
    let (jobs, mut faults) = named(context, &args).await?;
    if jobs.is_empty() && faults.is_empty() {
        return Ok(cancel::nothing(context, "No jobs were named"));
    }
    let mut planned = Vec::new();
    for job in jobs {
        match context.client.delete::<Plan>(&api::delete(job.job_id, false, true, args.keep_files)).await {
            Ok(plan) => planned.push(Planned { job, plan }),
            // Somebody else removes it already: joining that is all there is to do.
            Err(fault) if fault.is(ErrorCode::JobDeleting) => planned.push(Planned { plan: empty_plan(&job), job }),
            Err(fault) => faults.push(fault),
        }
    }
    for fault in &faults {
        context.out.fault(fault);
    }
    if args.dry_run {
        show_plans(context, &planned, true);
        return Ok(exit_of_many(planned.len(), &faults));
    }
    if !args.force && !planned.is_empty() {
        ask(context, &args, &planned)?;
    }
    remove_all(context, planned, &args, faults).await
}

/// The jobs that are named, and why some of them are not among them.
async fn named(context: &Context, args: &RemoveArgs) -> Outcome<(Vec<Job>, Vec<Fault>)> {
    let (mut jobs, mut faults) = (Vec::new(), Vec::new());
    for word in select::words(&args.ids)? {
        match select::job(&context.client, &word).await {
            Ok(job) => jobs.push(job),
            Err(fault) => faults.push(fault),
        }
    }
    Ok((jobs, faults))
}

/// By age or filter: only what has ended.
async fn remove_many(context: &Context, args: &RemoveArgs) -> Outcome<Exit> {
    let before = match args.older_than {
        Some(age) => {
            let millis = i64::try_from(age.as_millis()).ok().filter(|millis| *millis < i64::MAX / 2);
            let millis = millis.ok_or_else(|| Fault::usage("--older-than is longer than time itself."))?;
            Some(clock::now().plus_millis(-millis))
        }
        None => None,
    };
    let Some(filter) = many::selection(&args.filter.query()?, &Phase::TERMINAL, before) else {
        return Ok(cancel::nothing(context, "No job that has ended is meant"));
    };
    let request = BulkRequest {
        action: BulkAction::Delete,
        select: BulkSelect::Filter(filter),
        reason: None,
        notes: None,
        force: false,
        keep_files: args.keep_files,
        dry_run: false,
    };
    let manner = Manner { dry_run: args.dry_run, force: args.force, wait: true };
    many::run(context, request, &manner).await
}

fn empty_plan(job: &Job) -> Plan {
    let Job { job_id, phase, .. } = job;
    Plan {
        job_id: *job_id,
        phase: *phase,
        items: Vec::new(),
        files: 0,
        bytes: 0,
        needs_force: false,
        keep_files: false,
    }
}

// ---- the question ----

fn ask(context: &Context, args: &RemoveArgs, planned: &[Planned]) -> Outcome<()> {
    let active = planned.iter().filter(|planned| planned.plan.needs_force).count();
    let asker = Asker::new(args.ids.iter().any(|id| id == STDIN));
    if !asker.is_somebody() && active == 0 {
        // Named one by one, and over: a script knows what it does.
        return Ok(());
    }
    let what = text::counted(planned.len() as u64, ("job", "jobs"));
    if asker.is_somebody() {
        show_plans(context, planned, false);
        if active > 0 {
            let jobs = text::counted(active as u64, ("job is", "jobs are"));
            context.out.note(format_args!("{jobs} still running, and will be stopped first."));
        }
    }
    let refusal = match active {
        0 => format!("This would remove {what}"),
        1 if planned.len() == 1 => "This job is still active".to_owned(),
        _ => format!("{active} of {what} are still active"),
    };
    let verb = if active > 0 { "Stop and remove" } else { "Remove" };
    asker.confirm(&format!("{verb} {what} for ever?"), &refusal)
}

/// Data for a dry run; beside the question to standard error.
fn show_plans(context: &Context, planned: &[Planned], as_data: bool) {
    let out = &context.out;
    if as_data && out.json {
        let plans: Vec<&Plan> = planned.iter().map(|planned| &planned.plan).collect();
        out.json(&plans);
        return;
    }
    if as_data && !out.people {
        for Planned { plan, .. } in planned {
            for item in &plan.items {
                let id = plan.job_id;
                out.line(format_args!("{id}\t{}\t{}\t{}", item.category.as_str(), item.items, item.bytes));
            }
        }
        return;
    }
    let shown = if as_data { planned.len() } else { SHOWN };
    for Planned { job, plan } in planned.iter().take(shown) {
        out.note(format_args!("{} ({}, {})", out::clean(&job.name), job.job_id, job.phase));
        let mut table = Table::new(["  WHAT", "COUNT", "SIZE"]);
        for item in &plan.items {
            let kept = if plan.keep_files && item.category.is_artifact() { " (kept)" } else { "" };
            let size = if is_rows(item.category) { String::new() } else { text::bytes(item.bytes) };
            let label = format!("  {}{kept}", item.category.label());
            table.row(vec![
                Cell::new(label),
                Cell::new(text::counted(item.items, item.category.nouns())),
                Cell::new(size),
            ]);
        }
        for line in table.lines(usize::MAX).iter().skip(1) {
            out.note(line);
        }
    }
    if planned.len() > shown {
        out.note(format_args!("and {} more", planned.len() - shown));
    }
    let bytes = planned.iter().map(|planned| planned.plan.bytes).sum();
    out.note(format_args!("{} in all, {}.", text::counted(planned.len() as u64, ("job", "jobs")), text::bytes(bytes)));
}

fn is_rows(category: Category) -> bool {
    category.nouns().0 == "record"
}

// ---- the removal ----

async fn remove_all(
    context: &Context,
    planned: Vec<Planned>,
    args: &RemoveArgs,
    mut faults: Vec<Fault>,
) -> Outcome<Exit> {
    let mut summary = Summary { failed: faults.len(), ..Summary::default() };
    for Planned { job, plan } in planned {
        match remove_one(context, &job, plan.needs_force, args.keep_files).await {
            Ok(receipt) => {
                tell(context, &receipt);
                match receipt.state {
                    ReceiptState::Complete => summary.removed += 1,
                    ReceiptState::Incomplete | ReceiptState::Running => summary.partly_removed += 1,
                }
                summary.freed_bytes += receipt.items.iter().map(|item| item.removed_bytes).sum::<u64>();
                summary.jobs.push(Line { job_id: job.job_id, receipt: Some(receipt), error: None });
            }
            Err(fault) if fault.exit == Exit::Interrupted => return Err(fault),
            Err(fault) => {
                summary.failed += 1;
                context.out.fault(&fault);
                summary.jobs.push(Line { job_id: job.job_id, receipt: None, error: Some(fault.message.clone()) });
                faults.push(fault);
            }
        }
    }
    if context.out.json {
        context.out.json(&summary);
    } else {
        let Summary { removed, partly_removed, failed, freed_bytes, .. } = summary;
        context.out.line(format_args!(
            "Removed: {removed} / Failed to remove: {failed} / Removed in part: {partly_removed} / Freed: {}",
            if context.out.people { text::bytes(freed_bytes) } else { freed_bytes.to_string() }
        ));
    }
    match exit_of_many(summary.removed + summary.partly_removed, &faults) {
        Exit::Done if summary.partly_removed > 0 => Ok(Exit::Partly),
        exit => Ok(exit),
    }
}

/// The receipt once it is final.
async fn remove_one(context: &Context, job: &Job, force: bool, keep_files: bool) -> Outcome<Receipt> {
    let path = api::delete(job.job_id, force, false, keep_files);
    let answer: Outcome<DeleteAnswer> = context.client.delete(&path).await;
    let receipt = match answer {
        Ok(answer) => answer.receipt,
        // The answer to an earlier try of this request was lost on the way.
        Err(fault) if fault.is(ErrorCode::JobDeleted) => None,
        Err(fault) => return Err(fault),
    };
    if let Some(receipt) = receipt.filter(|receipt| receipt.state != ReceiptState::Running) {
        return Ok(receipt);
    }
    context.client.be_patient();
    follow::limited(None, async {
        loop {
            match context.client.get::<Receipt>(&api::removal(job.job_id)).await {
                Ok(receipt) if receipt.state != ReceiptState::Running => return Ok(receipt),
                // Still being stopped: there is no receipt yet.
                Err(fault) if fault.exit != Exit::NotFound => return Err(fault),
                Ok(_) | Err(_) => tokio::time::sleep(LOOK).await,
            }
        }
    })
    .await
}

/// One line, and what is left.
fn tell(context: &Context, receipt: &Receipt) {
    let out = &context.out;
    if out.json {
        return;
    }
    let state = match receipt.state {
        ReceiptState::Complete => "removed",
        ReceiptState::Incomplete => "removed in part",
        ReceiptState::Running => "being removed",
    };
    let id = receipt.job_id;
    out.line(format_args!("{id}\t{state}\t{}", out::clean(&receipt.name)));
    if let Some(folder) = &receipt.kept_in {
        let kept = receipt.items.iter().map(|item| item.kept).sum();
        out.note(format_args!("  {} kept in {folder} of the data folder", text::counted(kept, ("file", "files"))));
    }
    for left in &receipt.left {
        match left {
            Leftover::Files { category, items, bytes, error } => out.note(format_args!(
                "  left: {} of {}, {}: {}",
                text::counted(*items, category.nouns()),
                category.as_str(),
                text::bytes(*bytes),
                out::clean(error)
            )),
            Leftover::Provider { provider, category, id, detail, .. } => out.note(format_args!(
                "  left at {}: {} {}: {}",
                out::clean(provider),
                category.nouns().0,
                out::clean(id),
                out::clean(detail)
            )),
            Leftover::Run { run_id, worker, detail } => {
                out.note(format_args!("  left: run {run_id} on {}: {}", out::clean(worker), out::clean(detail)));
            }
        }
    }
    if !receipt.left.is_empty() {
        out.note(format_args!("  The receipt, with a button that tries again: {}", console::removal(id)));
    }
}
