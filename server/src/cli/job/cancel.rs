//! `belay job cancel` and `belay job resend`.

use app::{
    model::{
        BulkAction, BulkRequest, BulkSelect, CancelAnswer, CancelOutcome, CancelRequest, Job, JobId, Phase, PhaseClass,
    },
    paths::api,
    text,
};
use clap::{ArgGroup, Args};
use futures::stream::{self, StreamExt as _};
use serde::Serialize;

use super::{
    Context, follow,
    list::FilterArgs,
    many::{self, Manner},
};
use crate::cli::{
    fault::{Exit, Fault, Outcome, exit_of_many},
    out::{self, Cell, Table},
    select,
};

/// Requests that are on their way at once: each may wait 2 s for the proof.
const AT_ONCE: usize = 8;

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).multiple(true).args(["ids", "all_pending", "filter"]))]
pub(super) struct CancelArgs {
    /// The jobs; `-` reads them from standard input
    #[arg(value_name = "ID", conflicts_with_all = ["all_pending", "filter"])]
    ids: Vec<String>,
    /// Every job that can be cancelled
    #[arg(long, alias = "all-active")]
    all_pending: bool,
    #[command(flatten)]
    filter: FilterArgs,
    /// A short code that is kept with the job [default: user_request]
    #[arg(long, value_name = "CODE")]
    reason: Option<String>,
    /// Free text that is kept with the job, at most 500 characters
    #[arg(long, value_name = "TEXT")]
    notes: Option<String>,
    /// Waits until it is proven that nothing is left running
    #[arg(long)]
    wait: bool,
    /// Says what would be done, and does nothing
    #[arg(long)]
    dry_run: bool,
    /// Does not ask
    #[arg(short, long, visible_alias = "yes")]
    force: bool,
    /// Kills at once, and ends the job even where proof stays missing: it is then marked as unconfirmed
    #[arg(long)]
    kill: bool,
}

#[derive(Debug, Args)]
pub(super) struct ResendArgs {
    /// The jobs; `-` reads them from standard input
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// Waits until it is proven that nothing is left running
    #[arg(long)]
    wait: bool,
}

/// What became of one job.
#[derive(Serialize)]
struct Line {
    /// What was typed, or the id.
    job: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<CancelAnswer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Summary {
    cancelled: usize,
    stopping: usize,
    failed: usize,
    skipped: usize,
    jobs: Vec<Line>,
}

pub(super) async fn run(context: &Context, args: CancelArgs) -> Outcome<Exit> {
    let request = CancelRequest { reason: args.reason.clone(), notes: args.notes.clone(), force: args.kill };
    if !args.ids.is_empty() {
        let words = select::words(&args.ids)?;
        if words.is_empty() {
            return Ok(nothing(context, "No jobs were named"));
        }
        if args.dry_run {
            let mut jobs = Vec::new();
            for word in &words {
                jobs.push(select::job(&context.client, word).await?);
            }
            return Ok(tell_plan(context, &jobs));
        }
        return cancel_all(context, words, request, args.wait).await;
    }
    let Some(filter) = many::selection(&args.filter.query()?, &Phase::CLAIMABLE, None) else {
        return Ok(nothing(context, "No job can be cancelled"));
    };
    let request = BulkRequest {
        action: BulkAction::Cancel,
        select: BulkSelect::Filter(filter),
        reason: request.reason,
        notes: request.notes,
        force: request.force,
        keep_files: false,
        dry_run: false,
    };
    let manner = Manner { dry_run: args.dry_run, force: args.force, wait: args.wait };
    many::run(context, request, &manner).await
}

pub(super) async fn resend(context: &Context, args: ResendArgs) -> Outcome<Exit> {
    let words = select::words(&args.ids)?;
    let mut ids = Vec::new();
    for word in &words {
        let job = select::job(&context.client, word).await?;
        let is_asked = job.phase.can_resend_cancel() || job.in_doubt() > 0;
        // A cancel that is sent again must never be somebody's first one.
        if is_asked {
            ids.push(job.job_id.to_string());
        } else if job.phase.can_cancel() {
            return Err(Fault::new(
                Exit::Refused,
                format!("Nobody has asked `{}` to stop yet.", out::clean(&job.name)),
            )
            .hint("`belay job cancel` does that."));
        } else {
            context.out.note(format_args!("{}  Nothing is waited for. It is {}.", job.job_id, job.phase));
        }
    }
    if ids.is_empty() {
        return Ok(nothing(context, "No stop is waited for"));
    }
    cancel_all(context, ids, CancelRequest::default(), args.wait).await
}

/// An empty choice is no fault.
pub(super) fn nothing(context: &Context, what: &str) -> Exit {
    context.out.note(format_args!("{what}. Nothing was done."));
    if context.out.json {
        context.out.json(&serde_json::json!({ "jobs": [] }));
    }
    Exit::Done
}

/// `--dry-run`
fn tell_plan(context: &Context, jobs: &[Job]) -> Exit {
    let would = |job: &Job| match job.phase.class() {
        PhaseClass::Pending | PhaseClass::Active => "would_cancel",
        PhaseClass::Cancelling => "already_cancelling",
        PhaseClass::Deleting => "not_allowed",
        PhaseClass::Terminal => "already_finished",
    };
    if context.out.json {
        let plan: Vec<_> = jobs
            .iter()
            .map(|job| serde_json::json!({ "job_id": job.job_id, "name": job.name, "phase": job.phase, "result": would(job) }))
            .collect();
        context.out.json(&serde_json::json!({ "dry_run": true, "jobs": plan }));
        return Exit::Done;
    }
    let mut table = Table::new(["ID", "PHASE", "RESULT", "NAME"]);
    for job in jobs {
        let phase = if context.out.people { out::phase(job.phase) } else { Cell::new(job.phase.as_str()) };
        table.row(vec![Cell::new(job.job_id.to_string()), phase, Cell::new(would(job)), Cell::new(&*job.name)]);
    }
    table.print(&context.out);
    let count = jobs.iter().filter(|job| job.phase.can_cancel()).count();
    context
        .out
        .note(format_args!("Would cancel {}. Nothing was changed.", text::counted(count as u64, ("job", "jobs"))));
    Exit::Done
}

/// Cancels each; one that fails stops none of the others.
async fn cancel_all(context: &Context, words: Vec<String>, request: CancelRequest, wait: bool) -> Outcome<Exit> {
    let alone = words.len() == 1;
    let results = stream::iter(words)
        .map(|word| async {
            let answer = cancel_one(context, &word, &request, wait).await;
            (word, answer)
        })
        .buffered(AT_ONCE);
    let mut results = std::pin::pin!(results);
    let mut summary = Summary { cancelled: 0, stopping: 0, failed: 0, skipped: 0, jobs: Vec::new() };
    let mut faults: Vec<Fault> = Vec::new();
    while let Some((word, answer)) = results.next().await {
        match answer {
            Ok(answer) => {
                count(&mut summary, &answer);
                if !context.out.json {
                    context.out.line(format_args!(
                        "{}\t{}\t{}",
                        answer.job_id,
                        answer.outcome.as_str(),
                        answer.message
                    ));
                }
                summary.jobs.push(Line { job: word, answer: Some(answer), error: None });
            }
            Err(fault) if fault.exit == Exit::Interrupted || alone => return Err(fault),
            Err(fault) => {
                summary.failed += 1;
                context.out.fault(&fault);
                summary.jobs.push(Line { job: word, answer: None, error: Some(fault.message.clone()) });
                faults.push(fault);
            }
        }
    }
    if context.out.json {
        context.out.json(&summary);
    } else {
        tell(context, &summary);
    }
    Ok(exit_of_many(summary.jobs.len() - faults.len(), &faults))
}

fn count(summary: &mut Summary, answer: &CancelAnswer) {
    match answer.outcome {
        CancelOutcome::Cancelled => summary.cancelled += 1,
        CancelOutcome::Cancelling => summary.stopping += 1,
        CancelOutcome::AlreadyCancelled | CancelOutcome::AlreadyFinished => summary.skipped += 1,
    }
}

fn tell(context: &Context, summary: &Summary) {
    let Summary { cancelled, failed, skipped, stopping, .. } = summary;
    context
        .out
        .line(format_args!("Cancelled: {cancelled} / Failed to cancel: {failed} / Skipped (not active): {skipped}"));
    if *stopping > 0 {
        context.out.line(format_args!("Still stopping: {stopping}"));
        context.out.note("Not proven yet: --wait waits for it, `belay job status ID` shows who has not answered.");
    }
}

async fn cancel_one(context: &Context, word: &str, request: &CancelRequest, wait: bool) -> Outcome<CancelAnswer> {
    let id = select::job_id(&context.client, word).await?;
    let answer = context.client.post(&api::cancel(id), request, None).await;
    let answer: CancelAnswer = select::suggest(&context.client, word, answer).await?;
    if answer.outcome != CancelOutcome::Cancelling || !wait {
        return Ok(answer);
    }
    context.client.be_patient();
    follow::limited(None, until_proven(context, id, answer)).await
}

/// The answer as it would be had it come after the proof.
async fn until_proven(context: &Context, id: JobId, asked: CancelAnswer) -> Outcome<CancelAnswer> {
    context.out.note(format_args!("{id}  {} Now waits for the proof.", asked.message));
    let job = follow::until(&context.client, id, |job| job.phase.is_terminal()).await?;
    let cancellation = job.cancellation.as_ref();
    let stop = cancellation.map(|cancellation| cancellation.stop).unwrap_or_default();
    let (outcome, message) = match job.phase {
        Phase::Cancelled if stop.unconfirmed > 0 => {
            (CancelOutcome::Cancelled, format!("Job ended by force. Unconfirmed stops: {}.", stop.unconfirmed))
        }
        Phase::Cancelled => (CancelOutcome::Cancelled, "Job cancelled. Nothing of it is left.".to_owned()),
        other => {
            let message = other.why_no_cancel().unwrap_or("This job has ended.").to_owned();
            (CancelOutcome::AlreadyFinished, message)
        }
    };
    let cancelled_at = cancellation.and_then(|cancellation| cancellation.cancelled_at);
    let cancelled = job.phase == Phase::Cancelled;
    Ok(CancelAnswer { phase: job.phase, cancelled, cancelled_at, message, outcome, stop, ..asked })
}
