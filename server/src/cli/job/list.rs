//! `belay job list`.

use std::{collections::HashSet, time::Duration};

use app::{
    model::{Job, JobId, JobList, JobQuery, JobSort, Kind, Timestamp},
    paths::api,
    text,
};
use clap::{Args, ValueEnum};

use super::{Context, follow, parse_duration};
use crate::{
    cli::{
        fault::{Exit, Fault, Outcome},
        filter,
        out::{self, Cell, Table},
    },
    engine::clock,
};

/// How often `--watch` looks, unless told otherwise.
const PERIOD: &str = "2s";

/// What narrows the choice of jobs.
#[derive(Debug, Default, Args)]
pub(super) struct FilterArgs {
    /// Only under this filter: 'phase=failed,partial kind=files q="look book" created_by=NAME'; `phase=active` is all active ones
    #[arg(long, value_name = "FILTER")]
    filter: Option<String>,
}

impl FilterArgs {
    pub(super) fn query(&self) -> Outcome<JobQuery> {
        self.filter.as_deref().map_or_else(|| Ok(JobQuery::default()), filter::parse)
    }
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// Only these phases, separated by commas; `active` stands for all active ones
    #[arg(long, value_name = "PHASES")]
    phase: Option<String>,
    /// Only this kind
    #[arg(long, value_parser = filter::parse_kind)]
    kind: Option<Kind>,
    /// Only with this in name or id, at least 3 characters
    #[arg(short, long, value_name = "TEXT")]
    query: Option<String>,
    /// Only those that this user submitted
    #[arg(long, value_name = "NAME")]
    created_by: Option<String>,
    /// created_at, finished_at or name; with `-` before it the other way round [default: -created_at]
    #[arg(long, value_name = "ORDER", value_parser = parse_sort, allow_hyphen_values = true)]
    sort: Option<JobSort>,
    /// At most so many [default: 50]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "all")]
    limit: Option<u32>,
    /// All of them
    #[arg(long)]
    all: bool,
    /// These columns, in this order
    #[arg(long, value_enum, value_delimiter = ',', value_name = "COLUMNS")]
    columns: Option<Vec<Column>>,
    /// Looks again and again, on a terminal
    #[arg(long, conflicts_with_all = ["json"])]
    watch: bool,
    /// Time between two looks
    #[arg(long, value_name = "TIME", default_value = PERIOD, value_parser = parse_duration, requires = "watch")]
    period: Duration,
}

fn parse_sort(text: &str) -> Result<JobSort, String> {
    JobSort::parse(text)
        .ok_or_else(|| "takes created_at, finished_at or name, with `-` before it to reverse".to_owned())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Column {
    Id,
    Name,
    Kind,
    Phase,
    Progress,
    Total,
    Succeeded,
    Failed,
    Cancelled,
    Running,
    Created,
    Started,
    Finished,
    Duration,
    By,
}

/// On a terminal.
const FOR_PEOPLE: [Column; 7] =
    [Column::Id, Column::Name, Column::Kind, Column::Phase, Column::Progress, Column::Created, Column::By];

/// In a pipe. Only ever added to at the end.
const FOR_PROGRAMS: [Column; 8] = [
    Column::Id,
    Column::Name,
    Column::Kind,
    Column::Phase,
    Column::Succeeded,
    Column::Total,
    Column::Created,
    Column::Finished,
];

impl Column {
    const fn title(self) -> &'static str {
        match self {
            Column::Id => "ID",
            Column::Name => "NAME",
            Column::Kind => "KIND",
            Column::Phase => "PHASE",
            Column::Progress => "PROGRESS",
            Column::Total => "TOTAL",
            Column::Succeeded => "SUCCEEDED",
            Column::Failed => "FAILED",
            Column::Cancelled => "CANCELLED",
            Column::Running => "RUNNING",
            Column::Created => "CREATED",
            Column::Started => "STARTED",
            Column::Finished => "FINISHED",
            Column::Duration => "DURATION",
            Column::By => "BY",
        }
    }

    fn cell(self, job: &Job, ids: &Ids) -> Cell {
        let people = ids.people;
        let time = |at: Option<Timestamp>| match at {
            Some(at) if people => Cell::dim(out::ago(at)),
            Some(at) => Cell::new(at.to_string()),
            None => Cell::default(),
        };
        let number = |number: u64| Cell::new(number.to_string());
        match self {
            Column::Id => Cell::new(ids.shown(job.job_id)),
            Column::Name => Cell::new(&*job.name),
            Column::Kind => Cell::new(job.kind.as_str()),
            Column::Phase if people => out::phase(job.phase),
            Column::Phase => Cell::new(job.phase.as_str()),
            Column::Progress if people => {
                Cell::new(format!("{} / {}", text::count(job.progress.finished()), text::count(job.progress.total)))
            }
            Column::Progress => Cell::new(format!("{}/{}", job.progress.finished(), job.progress.total)),
            Column::Total => number(job.progress.total),
            Column::Succeeded => number(job.progress.succeeded),
            Column::Failed => number(job.progress.failed),
            Column::Cancelled => number(job.progress.cancelled),
            Column::Running => number(job.progress.running),
            Column::Created => time(Some(job.created_at)),
            Column::Started => time(job.started_at),
            Column::Finished => time(job.finished_at),
            Column::Duration => match job.started_at {
                Some(started) => {
                    let millis = job.finished_at.unwrap_or_else(clock::now).millis_since(started);
                    Cell::new(if people { text::duration(millis) } else { format!("{:.3}", millis as f64 / 1_000.0) })
                }
                None => Cell::default(),
            },
            Column::By => Cell::new(&*job.created_by),
        }
    }
}

/// Ids as they are shown: whole for programs, and for people as short as they can be told apart by.
struct Ids {
    people: bool,
    alike: HashSet<String>,
}

impl Ids {
    fn new(people: bool, jobs: &[Job]) -> Self {
        let mut seen = HashSet::new();
        let alike = jobs.iter().map(|job| job.job_id.short()).filter(|short| !seen.insert(short.clone())).collect();
        Ids { people, alike }
    }

    fn shown(&self, id: JobId) -> String {
        let short = id.short();
        if self.people && !self.alike.contains(&short) { short } else { id.to_string() }
    }
}

impl ListArgs {
    fn query(&self) -> Outcome<JobQuery> {
        let mut query = self.filter.query()?;
        let options = [("phase", &self.phase), ("q", &self.query), ("created_by", &self.created_by)];
        let pairs = options.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
        let mut more = JobQuery::from_pairs(pairs).map_err(Fault::usage)?;
        more.kind = self.kind;
        filter::merge(&mut query, more);
        query.sort = self.sort.unwrap_or_default();
        Ok(query)
    }

    fn wanted(&self) -> usize {
        if self.all { usize::MAX } else { self.limit.unwrap_or(JobQuery::DEFAULT_LIMIT) as usize }
    }
}

pub(super) async fn run(context: &Context, args: ListArgs) -> Outcome<Exit> {
    let query = args.query()?;
    if !args.watch {
        let (jobs, more) = read(context, query, args.wanted()).await?;
        show(context, &args, &jobs, more);
        return Ok(Exit::Done);
    }
    if !context.out.people {
        return Err(Fault::usage("--watch is for a terminal.").hint("`belay job wait ID` waits in a script."));
    }
    context.client.be_patient();
    let watching = async {
        loop {
            let (jobs, more) = read(context, query.clone(), args.wanted()).await?;
            let _ = console::Term::stdout().clear_screen();
            show(context, &args, &jobs, more);
            tokio::time::sleep(args.period).await;
        }
    };
    match follow::limited::<Exit>(None, watching).await {
        // This is how a watch ends.
        Err(fault) if fault.exit == Exit::Interrupted => Ok(Exit::Done),
        other => other,
    }
}

/// The first `wanted` jobs, and whether there are more.
async fn read(context: &Context, mut query: JobQuery, wanted: usize) -> Outcome<(Vec<Job>, bool)> {
    let mut jobs: Vec<Job> = Vec::new();
    loop {
        let left = u32::try_from(wanted - jobs.len()).unwrap_or(u32::MAX);
        query.limit = Some(left.min(JobQuery::MAX_LIMIT));
        let page: JobList = context.client.get(&api::jobs(&query)).await?;
        jobs.extend(page.items);
        query.cursor = page.next_cursor;
        if query.cursor.is_none() || jobs.len() >= wanted || context.out.is_closed() {
            return Ok((jobs, query.cursor.is_some()));
        }
    }
}

fn show(context: &Context, args: &ListArgs, jobs: &[Job], more: bool) {
    let out = &context.out;
    if out.json {
        out.json(&jobs);
        return;
    }
    let standard: &[Column] = if out.people { &FOR_PEOPLE } else { &FOR_PROGRAMS };
    let columns = args.columns.as_deref().unwrap_or(standard);
    let ids = Ids::new(out.people, jobs);
    let mut table = Table::new(columns.iter().map(|column| column.title()).collect::<Vec<_>>());
    for job in jobs {
        table.row(columns.iter().map(|column| column.cell(job, &ids)).collect());
    }
    if jobs.is_empty() {
        out.remark("No jobs.");
    } else {
        table.print(out);
    }
    if more {
        out.remark("There are more: --limit NUMBER or --all.");
    }
}
