//! `belay bulk …`: what became of actions on many jobs, also of those that a browser or another terminal began.

use app::{
    model::{Bulk, BulkId, BulkResult, Page, bulk::jobs_with},
    paths::api,
};
use clap::{Args, Subcommand};

use super::{
    ConnectArgs,
    client::Client,
    fault::{Exit, Fault, Outcome},
    job::{Context, many},
    out::{self, Cell, Output, Table},
};

#[derive(Debug, Args)]
pub(super) struct BulkArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(subcommand)]
    command: BulkCommand,
}

#[derive(Debug, Subcommand)]
enum BulkCommand {
    /// Lists the latest actions on many jobs
    #[command(visible_alias = "ls")]
    List,
    /// Follows one to its end, and tells what came of it
    #[command(visible_alias = "status")]
    Watch {
        /// Its id, as `list` shows it
        #[arg(value_parser = parse_id)]
        id: BulkId,
    },
    /// Begins nothing more of it; what was begun goes on
    Abort {
        /// Its id
        #[arg(value_parser = parse_id)]
        id: BulkId,
    },
    /// Tries the jobs that failed again, and follows that
    Retry {
        /// Its id
        #[arg(value_parser = parse_id)]
        id: BulkId,
    },
}

fn parse_id(text: &str) -> Result<BulkId, String> {
    text.parse().map_err(|_| "takes the whole id, as `belay bulk list` shows it".to_owned())
}

pub(super) async fn run(args: BulkArgs) -> Outcome<Exit> {
    let context = Context { out: Output::new(args.connect.json), client: Client::new(&args.connect)? };
    match args.command {
        BulkCommand::List => list(&context).await,
        BulkCommand::Watch { id } => {
            // A wrong id is told before anything is waited for.
            context.client.get::<Bulk>(&api::bulk(id)).await?;
            many::finish(&context, id, true).await
        }
        BulkCommand::Abort { id } => {
            let bulk: Bulk = context.client.post(&api::abort_bulk(id), &serde_json::json!({}), None).await?;
            if bulk.aborted_at.is_none() {
                return Err(Fault::new(Exit::Refused, "It had ended before."));
            }
            many::finish(&context, id, true).await.map(|_| Exit::Done)
        }
        BulkCommand::Retry { id } => {
            let bulk: Bulk = context.client.post(&api::retry_bulk(id), &serde_json::json!({}), None).await?;
            many::finish(&context, bulk.bulk_id, true).await
        }
    }
}

async fn list(context: &Context) -> Outcome<Exit> {
    let page: Page<Bulk> = context.client.get(api::BULK).await?;
    if context.out.json {
        context.out.json(&page.items);
        return Ok(Exit::Done);
    }
    let mut table = Table::new(["ID", "ACTION", "STATE", "JOBS", "DONE", "FAILED", "CREATED", "BY"]);
    for bulk in &page.items {
        let created = if context.out.people { out::ago(bulk.created_at) } else { bulk.created_at.to_string() };
        let number = |result| Cell::new(jobs_with(&bulk.counts, result).to_string());
        table.row(vec![
            Cell::new(bulk.bulk_id.to_string()),
            Cell::new(bulk.action.as_str()),
            Cell::new(bulk.state.label().to_lowercase()),
            Cell::new(bulk.total.to_string()),
            number(BulkResult::Done),
            number(BulkResult::Failed),
            Cell::new(created),
            Cell::new(&*bulk.created_by),
        ]);
    }
    if page.items.is_empty() {
        context.out.remark("There are none.");
    } else {
        table.print(&context.out);
    }
    Ok(Exit::Done)
}
