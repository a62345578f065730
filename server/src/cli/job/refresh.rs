//! `belay job refresh`: a provider is asked again what became of a job.

use app::{model::Job, paths::api};
use clap::Args;
use serde_json::json;

use super::{Context, status};
use crate::cli::{
    fault::{Exit, Fault, Outcome, exit_of_many},
    select,
};

#[derive(Debug, Args)]
pub(super) struct RefreshArgs {
    /// The jobs; `-` reads them from standard input
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
}

pub(super) async fn run(context: &Context, args: RefreshArgs) -> Outcome<Exit> {
    let words = select::words(&args.ids)?;
    let (mut jobs, mut faults) = (Vec::<Job>::new(), Vec::<Fault>::new());
    for word in &words {
        match refresh(context, word).await {
            Ok(job) => jobs.push(job),
            Err(fault) if words.len() == 1 => return Err(fault),
            Err(fault) => {
                context.out.fault(&fault);
                faults.push(fault);
            }
        }
    }
    match jobs.as_slice() {
        [job] if context.out.json && words.len() == 1 => context.out.json(job),
        jobs if context.out.json => context.out.json(&jobs),
        jobs => jobs.iter().for_each(|job| status::show_batch_line(&context.out, job)),
    }
    Ok(exit_of_many(jobs.len(), &faults))
}

async fn refresh(context: &Context, word: &str) -> Outcome<Job> {
    let id = select::job_id(&context.client, word).await?;
    let answer = context.client.post(&api::refresh(id), &json!({}), None).await;
    select::suggest(&context.client, word, answer).await
}
