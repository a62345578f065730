//! `belay job logs`.

use app::{
    model::{Job, LogPage, LogQuery, LogStream},
    paths::api,
};
use clap::Args;

use super::{Context, follow};
use crate::cli::{
    fault::{Exit, Fault, Outcome},
    select,
};

#[derive(Debug, Args)]
pub(super) struct LogsArgs {
    /// The job
    id: String,
    /// Only this unit, by its index
    #[arg(long, value_name = "INDEX")]
    unit: Option<u64>,
    /// Only stdout, stderr, or belay's own words
    #[arg(long, value_parser = parse_stream)]
    stream: Option<LogStream>,
    /// Goes on until the unit has ended; needs --unit where the job has several
    #[arg(short, long)]
    follow: bool,
}

fn parse_stream(text: &str) -> Result<LogStream, String> {
    LogStream::parse(text).ok_or_else(|| "takes stdout, stderr or belay".to_owned())
}

pub(super) async fn run(context: &Context, args: LogsArgs) -> Outcome<Exit> {
    let job = select::job(&context.client, &args.id).await?;
    let query = LogQuery { unit: args.unit, stream: args.stream, cursor: None };
    if context.out.json && !args.follow {
        let page: LogPage = context.client.get(&api::log(job.job_id, &query)).await?;
        context.out.json(&page);
        return Ok(Exit::Done);
    }
    if !args.follow {
        return whole(context, &job, &query).await;
    }
    let unit = match (args.unit, job.progress.total) {
        (Some(unit), _) => unit,
        (None, 1) => 0,
        (None, _) => return Err(Fault::usage("--follow needs --unit: this job has several units.")),
    };
    context.client.be_patient();
    let query = LogQuery { unit: Some(unit), ..query };
    follow::limited(None, follow_unit(context, &job, query)).await
}

/// From the beginning to the end, as it comes.
async fn whole(context: &Context, job: &Job, query: &LogQuery) -> Outcome<Exit> {
    let mut response = context.client.open(&api::log_file(job.job_id, query)).await?;
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if context.out.people => context.out.raw(harmless(&chunk).as_bytes()),
            Ok(Some(chunk)) => context.out.raw(&chunk),
            Ok(None) => return Ok(Exit::Done),
            Err(error) => return Err(Fault::new(Exit::Unreachable, format!("The log broke off: {error}."))),
        }
        if context.out.is_closed() {
            return Ok(Exit::Done);
        }
    }
}

/// What was written so far, then what comes, until the job is over and nothing more can come.
async fn follow_unit(context: &Context, job: &Job, mut query: LogQuery) -> Outcome<Exit> {
    let mut etag = None;
    let mut is_over = job.phase.is_terminal();
    loop {
        let path = api::log(job.job_id, &query);
        let page: Option<LogPage> = if is_over {
            Some(context.client.get(&path).await?)
        } else {
            context.client.get_changed(&path, &mut etag).await?
        };
        let page = page.unwrap_or_default();
        for line in &page.items {
            if context.out.json {
                context.out.json(line);
            } else if context.out.people {
                context.out.raw(harmless(format!("{}\n", line.text).as_bytes()).as_bytes());
            } else {
                context.out.line(&line.text);
            }
        }
        if context.out.is_closed() || (is_over && page.items.is_empty()) {
            return Ok(Exit::Done);
        }
        if page.next_cursor.is_some() {
            query.cursor = page.next_cursor;
            etag = None;
        }
        if page.items.is_empty() {
            is_over = context.client.get::<Job>(&api::job(job.job_id)).await?.phase.is_terminal();
        }
    }
}

/// Without what a terminal would obey: a job's output is not the user's own.
fn harmless(bytes: &[u8]) -> String {
    let obeyed = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    String::from_utf8_lossy(bytes).chars().map(|c| if obeyed(c) { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_of_a_job_does_not_steer_the_terminal() {
        assert_eq!(harmless(b"a\tb\n\x1b]0;title\x07\xff"), "a\tb\n\u{fffd}]0;title\u{fffd}\u{fffd}");
    }
}
