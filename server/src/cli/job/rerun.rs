//! `belay job rerun`.

use app::{
    model::{Job, RerunRequest, RerunUnits},
    paths::api,
};
use clap::Args;

use super::{Context, follow, submit};
use crate::cli::{
    fault::{Exit, Outcome},
    select,
};

#[derive(Debug, Args)]
pub(super) struct RerunArgs {
    /// The job that has ended
    id: String,
    /// Only units that did not succeed
    #[arg(long)]
    unfinished: bool,
    /// Name of the new job [default: that of the first]
    #[arg(long)]
    name: Option<String>,
    /// Follows the new job to its end, and ends as it does
    #[arg(long)]
    wait: bool,
}

pub(super) async fn run(context: &Context, args: RerunArgs) -> Outcome<Exit> {
    let id = select::job_id(&context.client, &args.id).await?;
    let units = if args.unfinished { RerunUnits::Unfinished } else { RerunUnits::All };
    let request = RerunRequest { units, name: args.name };
    let answer = context.client.post(&api::rerun(id), &request, Some(&submit::new_key())).await;
    let job: Job = select::suggest(&context.client, &args.id, answer).await?;
    submit::tell(context, &job);
    if !args.wait {
        return Ok(Exit::Done);
    }
    context.client.be_patient();
    Ok(follow::exit_of(follow::limited(None, follow::show_to_end(context, job.job_id)).await?.phase))
}
