//! `belay job rerun`.

use app::{
    model::{BulkAction, BulkRequest, BulkSelect, Job, RerunRequest, RerunUnits},
    paths::api,
};
use clap::Args;

use super::{
    Context, cancel, follow,
    many::{self, Manner},
    submit,
};
use crate::cli::{
    fault::{Exit, Fault, Outcome},
    select,
};

#[derive(Debug, Args)]
pub(super) struct RerunArgs {
    /// The jobs that have ended; `-` reads them from standard input
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// Only units that did not succeed (of one job)
    #[arg(long)]
    unfinished: bool,
    /// Name of the new job (of one job) [default: that of the first]
    #[arg(long)]
    name: Option<String>,
    /// Follows the new job to its end, and ends as it does (of one job)
    #[arg(long)]
    wait: bool,
}

pub(super) async fn run(context: &Context, args: RerunArgs) -> Outcome<Exit> {
    let words = select::words(&args.ids)?;
    let word = match &*words {
        [] => return Ok(cancel::nothing(context, "No jobs were named")),
        [word] => word,
        [..] if args.unfinished || args.name.is_some() || args.wait => {
            return Err(Fault::new(Exit::Usage, "--unfinished, --name and --wait take one job."));
        }
        [..] => return run_many(context, &words).await,
    };
    let id = select::job_id(&context.client, word).await?;
    let units = if args.unfinished { RerunUnits::Unfinished } else { RerunUnits::All };
    let request = RerunRequest { units, name: args.name };
    let answer = context.client.post(&api::rerun(id), &request, Some(&submit::new_key())).await;
    let job: Job = select::suggest(&context.client, word, answer).await?;
    submit::tell(context, &job);
    if !args.wait {
        return Ok(Exit::Done);
    }
    context.client.be_patient();
    Ok(follow::exit_of(follow::limited(None, follow::show_to_end(context, job.job_id)).await?.phase))
}

/// Several: the server works them through. Nothing is lost by it, so nothing is asked.
async fn run_many(context: &Context, words: &[String]) -> Outcome<Exit> {
    let mut ids = Vec::with_capacity(words.len());
    for word in words {
        ids.push(select::job_id(&context.client, word).await?);
    }
    let request = BulkRequest {
        action: BulkAction::Rerun,
        select: BulkSelect::Ids(ids),
        reason: None,
        notes: None,
        force: false,
        keep_files: false,
        dry_run: false,
    };
    many::run(context, request, &Manner { dry_run: false, force: true, wait: true }).await
}
