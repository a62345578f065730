//! `belay job …`: one file a command.

mod cancel;
mod files;
mod follow;
mod list;
mod logs;
pub(super) mod many;
mod refresh;
mod remove;
mod rerun;
mod status;
mod submit;

use std::time::Duration;

use clap::{Args, Subcommand};

use super::{
    ConnectArgs,
    client::Client,
    fault::{Exit, Outcome},
    out::Output,
};

/// What `belay job` and its commands say below their options.
const EXIT_CODES: &str = "Exit codes: 0 done; 1 declined, or done in part; 2 the command cannot be understood; 3 not found; \
    4 refused; 5 the server cannot be reached.\nAn ID may be shortened as long as it stays unique; `-` reads IDs from standard input.";

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct JobArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(subcommand)]
    command: JobCommand,
}

#[derive(Debug, Subcommand)]
enum JobCommand {
    /// Submits a job
    Submit(Box<submit::SubmitArgs>),
    /// Lists jobs
    #[command(visible_alias = "ls")]
    List(list::ListArgs),
    /// Shows jobs with all that is known, the evidence of a stop included
    #[command(visible_alias = "show", after_help = EXIT_CODES)]
    Status(status::StatusArgs),
    /// Follows a job to its end; a server that is away is waited for
    #[command(after_help = follow::BY_PHASE)]
    Watch(follow::WatchArgs),
    /// Waits silently until jobs have ended
    #[command(after_help = follow::BY_PHASE)]
    Wait(follow::WaitArgs),
    /// Stops jobs, and says so when nothing of them is left running
    #[command(after_help = EXIT_CODES)]
    Cancel(cancel::CancelArgs),
    /// Asks again whoever has not proven a stop yet, also after a Force
    #[command(after_help = EXIT_CODES)]
    Resend(cancel::ResendArgs),
    /// Removes jobs and all that belongs to them, with a receipt
    #[command(visible_alias = "rm", after_help = EXIT_CODES)]
    Remove(remove::RemoveArgs),
    /// Makes a new job over the units of one that has ended; several: of each
    #[command(after_help = EXIT_CODES)]
    Rerun(rerun::RerunArgs),
    /// Asks the provider of a batch again what became of it, and stores what it says
    #[command(after_help = EXIT_CODES)]
    Refresh(refresh::RefreshArgs),
    /// Saves all files that a job made to a folder
    #[command(after_help = EXIT_CODES)]
    Collect(files::CollectArgs),
    /// Lists the files that a job made, or writes one of them
    #[command(after_help = EXIT_CODES)]
    Artifacts(files::ArtifactsArgs),
    /// Prints what a job wrote
    #[command(visible_alias = "log", after_help = EXIT_CODES)]
    Logs(logs::LogsArgs),
}

/// What every command has at hand.
pub(super) struct Context {
    pub(super) client: Client,
    pub(super) out: Output,
}

pub(super) async fn run(args: JobArgs) -> Outcome<Exit> {
    let context = Context { out: Output::new(args.connect.json), client: Client::new(&args.connect)? };
    match args.command {
        JobCommand::Submit(args) => submit::run(&context, *args).await,
        JobCommand::List(args) => list::run(&context, args).await,
        JobCommand::Status(args) => status::run(&context, args).await,
        JobCommand::Watch(args) => follow::watch(&context, args).await,
        JobCommand::Wait(args) => follow::wait(&context, args).await,
        JobCommand::Cancel(args) => cancel::run(&context, args).await,
        JobCommand::Resend(args) => cancel::resend(&context, args).await,
        JobCommand::Remove(args) => remove::run(&context, args).await,
        JobCommand::Rerun(args) => rerun::run(&context, args).await,
        JobCommand::Refresh(args) => refresh::run(&context, args).await,
        JobCommand::Collect(args) => files::collect(&context, args).await,
        JobCommand::Artifacts(args) => files::artifacts(&context, args).await,
        JobCommand::Logs(args) => logs::run(&context, args).await,
    }
}

/// `30d`, `1h 30min`, `90s`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; it looks like 30d, 12h or 90s"))
}
