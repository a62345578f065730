//! Waiting for what jobs come to: `watch`, `wait`, and `--wait` of other commands.

use std::{collections::HashMap, io::IsTerminal as _, time::Duration};

use app::{
    model::{Job, JobId, Phase, PhaseClass},
    paths::api,
    text,
};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::{Context, parse_duration};
use crate::cli::{
    client::Client,
    fault::{Exit, Fault, Outcome},
    out, select,
};

/// Below the options of the commands that end as a job does.
pub(super) const BY_PHASE: &str = "Exit codes: 0 completed; 1 partial, failed or cancelled, or the time was over; 2 the command cannot be understood; \
    3 not found; 4 refused; 5 the server cannot be reached; 130 interrupted (the job goes on).";

#[derive(Debug, Args)]
pub(super) struct WatchArgs {
    /// The job
    id: String,
    /// Gives up after this time: 10m, 2h
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    timeout: Option<Duration>,
}

#[derive(Debug, Args)]
pub(super) struct WaitArgs {
    /// The jobs; `-` reads them from standard input
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// Gives up after this time: 10m, 2h
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    timeout: Option<Duration>,
}

pub(super) async fn watch(context: &Context, args: WatchArgs) -> Outcome<Exit> {
    let job = select::job(&context.client, &args.id).await?;
    context.client.be_patient();
    let job = limited(args.timeout, show_to_end(context, job.job_id)).await?;
    if context.out.json {
        context.out.json(&job);
    }
    Ok(exit_of(job.phase))
}

pub(super) async fn wait(context: &Context, args: WaitArgs) -> Outcome<Exit> {
    let mut ids = Vec::new();
    for word in select::words(&args.ids)? {
        ids.push(select::job(&context.client, &word).await?.job_id);
    }
    context.client.be_patient();
    let jobs = limited(args.timeout, async {
        let mut jobs: HashMap<JobId, Job> = HashMap::new();
        for id in &ids {
            jobs.insert(*id, until(&context.client, *id, |job| job.phase.is_terminal()).await?);
        }
        Ok(jobs)
    })
    .await?;
    let jobs: Vec<&Job> = ids.iter().filter_map(|id| jobs.get(id)).collect();
    if context.out.json {
        context.out.json(&jobs);
    } else {
        for job in &jobs {
            context.out.line(format_args!("{}\t{}", job.job_id, job.phase));
        }
    }
    Ok(if jobs.iter().all(|job| job.phase == Phase::Completed) { Exit::Done } else { Exit::Partly })
}

/// How a command ends that ends with a job.
pub(super) const fn exit_of(phase: Phase) -> Exit {
    match phase.class() {
        PhaseClass::Terminal if matches!(phase, Phase::Completed) => Exit::Done,
        PhaseClass::Terminal
        | PhaseClass::Pending
        | PhaseClass::Active
        | PhaseClass::Cancelling
        | PhaseClass::Deleting => Exit::Partly,
    }
}

/// Looks at a job until it is as it should be.
pub(super) async fn until(client: &Client, id: JobId, mut is_done: impl FnMut(&Job) -> bool) -> Outcome<Job> {
    let mut etag = None;
    loop {
        if let Some(job) = client.get_changed::<Job>(&api::job(id), &mut etag).await?
            && is_done(&job)
        {
            return Ok(job);
        }
    }
}

/// Runs `waiting` until it ends, the time is over, or the user has had enough.
pub(super) async fn limited<T>(timeout: Option<Duration>, waiting: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    let over = async {
        match timeout {
            Some(time) => tokio::time::sleep(time).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        // In this order: Ctrl-C is caught before `waiting` says that it waits.
        biased;
        _ = tokio::signal::ctrl_c() => Err(Fault::new(Exit::Interrupted, "No longer waiting. What was begun goes on.")),
        done = waiting => done,
        () = over => Err(Fault::new(Exit::Partly, "The time is over. What was begun goes on.")),
    }
}

/// Shows how a job moves: a bar on a terminal, a line a change otherwise.
pub(super) async fn show_to_end(context: &Context, id: JobId) -> Outcome<Job> {
    let bar = std::io::stderr().is_terminal().then(progress_bar);
    let mut last = String::new();
    let done = until(&context.client, id, |job| {
        let progress = &job.progress;
        match &bar {
            Some(bar) => {
                bar.set_length(progress.total);
                bar.set_position(progress.done());
                bar.set_prefix(job.phase.label());
                bar.set_message(told(job));
            }
            None if !context.out.json => {
                let line = format!("{}\t{}\t{}\t{}", job.job_id, job.phase, progress.done(), progress.total);
                if line != last {
                    context.out.line(&line);
                    last = line;
                }
            }
            None => {}
        }
        job.phase.is_terminal()
    })
    .await;
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let job = done?;
    if context.out.people {
        context.out.line(format_args!("{}: {}. {}", out::clean(&job.name), job.phase.label(), told(&job)));
    }
    Ok(job)
}

fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    let style = ProgressStyle::with_template("{prefix} [{bar:30}] {pos}/{len} {msg} {elapsed}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
    bar
}

/// `17 of 36 files, 2 failed, 4 running`
pub(super) fn told(job: &Job) -> String {
    let progress = &job.progress;
    let (_, units) = job.kind.unit_nouns();
    let mut text = format!("{} of {} {units}", text::count(progress.succeeded), text::count(progress.total));
    for (number, word) in
        [(progress.failed, "failed"), (progress.cancelled, "cancelled"), (progress.running, "running")]
    {
        if number > 0 {
            text.push_str(&format!(", {} {word}", text::count(number)));
        }
    }
    text
}
