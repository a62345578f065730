//! More jobs than were named: the server freezes the selection and works it through (`POST /api/bulk`), so that it goes
//! on when this program, the terminal or the network does not.

use std::{
    io::IsTerminal as _,
    time::{Duration, Instant},
};

use app::{
    model::{
        Bulk, BulkAction, BulkFilter, BulkId, BulkItem, BulkItemQuery, BulkPlan, BulkRequest, BulkResult, BulkState,
        JobQuery, Page, Phase, Timestamp, bulk::jobs_with,
    },
    paths::{api, console},
    text,
};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::{Context, cancel, follow, submit};
use crate::cli::{
    fault::{Exit, Outcome},
    filter,
    out::{self, Cell, Table},
    prompt::Asker,
};

/// Jobs that a question names one by one.
const NAMED: usize = 10;

/// What is not waited for is given this long after the last job was begun: most stops are proven in a blink.
const MOMENT: Duration = Duration::from_secs(2);

/// How it is gone about.
pub(crate) struct Manner {
    pub(crate) dry_run: bool,
    /// Does not ask.
    pub(crate) force: bool,
    /// Waits for the proof of every stop.
    pub(crate) wait: bool,
}

/// The jobs under `query` that are in one of the phases `allowed`; `None` when there can be none.
pub(super) fn selection(query: &JobQuery, allowed: &[Phase], finished_before: Option<Timestamp>) -> Option<BulkFilter> {
    let phases = filter::narrow(query, allowed);
    let narrowed = JobQuery { phases, ..query.clone() };
    (!narrowed.phases.is_empty()).then(|| BulkFilter { finished_before, ..BulkFilter::from(&narrowed) })
}

/// Asks, does it, tells what came of it.
pub(super) async fn run(context: &Context, mut request: BulkRequest, manner: &Manner) -> Outcome<Exit> {
    request.dry_run = true;
    let plan: BulkPlan = context.client.post(api::BULK, &request, None).await?;
    let count = jobs_with(&plan.counts, BulkResult::Done);
    if count == 0 {
        return Ok(match request.action {
            BulkAction::Cancel => cancel::nothing(context, "No job can be cancelled"),
            BulkAction::Delete => cancel::nothing(context, "No job that has ended is meant"),
            BulkAction::Rerun => {
                cancel::nothing(context, "None of these jobs has ended");
                Exit::Refused
            }
        });
    }
    if manner.dry_run {
        return Ok(tell_plan(context, &plan, count));
    }
    if !manner.force {
        ask(context, &plan, count)?;
    }
    request.dry_run = false;
    let bulk: Bulk = context.client.post(api::BULK, &request, Some(&submit::new_key())).await?;
    finish(context, bulk.bulk_id, manner.wait || request.action != BulkAction::Cancel).await
}

/// Follows a bulk that was begun, and ends as it does.
pub(crate) async fn finish(context: &Context, id: BulkId, wait: bool) -> Outcome<Exit> {
    context.client.be_patient();
    context.out.remark(format_args!("Also on {}", context.client.page(&console::bulk(id))));
    let bulk = match follow::limited(None, to_end(context, id, wait)).await {
        Err(fault) if fault.exit == Exit::Interrupted => {
            return Err(
                fault.hint(format!("`belay bulk watch {id}` follows it again, `belay bulk abort {id}` ends it."))
            );
        }
        bulk => bulk?,
    };
    tell(context, &bulk).await
}

fn ask(context: &Context, plan: &BulkPlan, count: u64) -> Outcome<()> {
    let asker = Asker::new(false);
    let what = text::counted(count, ("job", "jobs"));
    if asker.is_somebody() {
        let doomed: Vec<_> = plan.items.iter().filter(|item| item.result == BulkResult::Done).collect();
        for item in doomed.iter().take(NAMED) {
            let phase = item.phase.map_or("", Phase::as_str);
            context.out.note(format_args!("  {}  {phase}  {}", item.job_id.short(), out::clean(&item.name)));
        }
        if doomed.len() > NAMED {
            context.out.note(format_args!("  and {} more", doomed.len() - NAMED));
        }
    }
    match plan.action {
        BulkAction::Cancel => asker.confirm(&format!("Cancel {what}?"), &format!("This would cancel {what}")),
        BulkAction::Rerun => asker.confirm(&format!("Run {what} again?"), &format!("This would run {what} again")),
        BulkAction::Delete => {
            let size = text::bytes(plan.bytes);
            asker.confirm(&format!("Remove {what} for ever, {size}?"), &format!("This would remove {what}, {size}"))
        }
    }
}

/// `--dry-run`
fn tell_plan(context: &Context, plan: &BulkPlan, count: u64) -> Exit {
    if context.out.json {
        context.out.json(plan);
        return Exit::Done;
    }
    let mut table = Table::new(["ID", "PHASE", "RESULT", "NAME"]);
    for item in &plan.items {
        let phase = match item.phase {
            Some(phase) if context.out.people => out::phase(phase),
            Some(phase) => Cell::new(phase.as_str()),
            None => Cell::default(),
        };
        let result = if item.result == BulkResult::Done { "would_be_done" } else { item.result.as_str() };
        table.row(vec![Cell::new(item.job_id.to_string()), phase, Cell::new(result), Cell::new(&*item.name)]);
    }
    table.print(&context.out);
    let what = text::counted(count, ("job", "jobs"));
    match plan.action {
        BulkAction::Cancel => context.out.note(format_args!("Would cancel {what}. Nothing was changed.")),
        BulkAction::Rerun => context.out.note(format_args!("Would run {what} again. Nothing was changed.")),
        BulkAction::Delete => {
            let size = text::bytes(plan.bytes);
            context.out.note(format_args!("Would remove {what}, {size}. Nothing was changed."));
        }
    }
    Exit::Done
}

/// Looks until it is over; without `wait` until every job was begun, and a moment longer.
async fn to_end(context: &Context, id: BulkId, wait: bool) -> Outcome<Bulk> {
    let bar = std::io::stderr().is_terminal().then(progress_bar);
    let (mut etag, mut last, mut begun) = (None, None::<Bulk>, None::<Instant>);
    loop {
        let path = api::bulk(id);
        let look = context.client.get_changed::<Bulk>(&path, &mut etag);
        // With nothing left to begin the answer may be held for long.
        let seen = match begun {
            Some(_) if !wait => tokio::time::timeout(MOMENT, look).await.unwrap_or(Ok(None))?,
            Some(_) | None => look.await?,
        };
        last = seen.or(last);
        let Some(bulk) = &last else { continue };
        if let Some(bar) = &bar {
            bar.set_length(bulk.total);
            bar.set_position(bulk.over());
        }
        if jobs_with(&bulk.counts, BulkResult::Pending) == 0 {
            begun.get_or_insert_with(Instant::now);
        }
        let is_enough = !wait && begun.is_some_and(|begun| begun.elapsed() >= MOMENT);
        if bulk.state != BulkState::Running || is_enough {
            if let Some(bar) = bar {
                bar.finish_and_clear();
            }
            return Ok(bulk.clone());
        }
    }
}

fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    let style = ProgressStyle::with_template("[{bar:30}] {pos}/{len} jobs {elapsed}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
    bar
}

/// The numbers, and every job that is not as it should be.
async fn tell(context: &Context, bulk: &Bulk) -> Outcome<Exit> {
    let with = |result| jobs_with(&bulk.counts, result);
    let mut not_done = Vec::new();
    for result in [BulkResult::Failed, BulkResult::NeedsForce, BulkResult::NotAllowed, BulkResult::NotFound] {
        if with(result) > 0 {
            not_done.extend(items(context, bulk.bulk_id, result).await?);
        }
    }
    let (done, failed, working, aborted) =
        (with(BulkResult::Done), not_done.len() as u64, with(BulkResult::Working), with(BulkResult::Aborted));
    let skipped = with(BulkResult::AlreadyDone);
    let made = match bulk.action {
        BulkAction::Cancel | BulkAction::Delete => Vec::new(),
        BulkAction::Rerun => items(context, bulk.bulk_id, BulkResult::Done).await?,
    };
    let out = &context.out;
    match bulk.action {
        _ if out.json => {
            let name = match bulk.action {
                BulkAction::Cancel => "cancelled",
                BulkAction::Delete => "removed",
                BulkAction::Rerun => "run_again",
            };
            let jobs: Vec<&BulkItem> = made.iter().chain(&not_done).collect();
            out.json(&json!({ name: done, "failed": failed, "skipped": skipped, "stopping": working,
                "aborted": aborted, "freed_bytes": bulk.freed_bytes, "bulk_id": bulk.bulk_id, "jobs": jobs }));
        }
        BulkAction::Cancel => {
            out.line(format_args!("Cancelled: {done} / Failed to cancel: {failed} / Skipped (not active): {skipped}"));
        }
        BulkAction::Rerun => {
            for item in &made {
                let new = item.new_job_id.map_or_else(|| "-".to_owned(), |id| id.to_string());
                out.line(format_args!("{}\t{new}", item.job_id));
            }
            out.note(format_args!("Run again: {done} / Not run again: {failed}"));
        }
        BulkAction::Delete => {
            let freed = if out.people { text::bytes(bulk.freed_bytes) } else { bulk.freed_bytes.to_string() };
            out.line(format_args!(
                "Removed: {done} / Failed to remove: {failed} / Removed before: {skipped} / Freed: {freed}"
            ));
        }
    }
    if !out.json {
        for (number, what) in [(working, "Still stopping"), (aborted, "Not begun (aborted)")] {
            if number > 0 {
                out.line(format_args!("{what}: {number}"));
            }
        }
    }
    for item in &not_done {
        let why = item.detail.as_deref().unwrap_or(item.result.label());
        out.note(format_args!("  {}  {}: {}", item.job_id, out::clean(&item.name), out::clean(why)));
    }
    if with(BulkResult::Failed) > 0 {
        out.note(format_args!("  `belay bulk retry {}` tries what failed again.", bulk.bulk_id));
    }
    Ok(match (failed + aborted, done + working + skipped) {
        (0, _) => Exit::Done,
        (_, _) => Exit::Partly,
    })
}

async fn items(context: &Context, id: BulkId, result: BulkResult) -> Outcome<Vec<BulkItem>> {
    let mut query = BulkItemQuery { result: Some(result), cursor: None };
    let mut items = Vec::new();
    loop {
        let page: Page<BulkItem> = context.client.get(&api::bulk_items(id, &query)).await?;
        items.extend(page.items);
        query.cursor = page.next_cursor;
        if query.cursor.is_none() {
            return Ok(items);
        }
    }
}
