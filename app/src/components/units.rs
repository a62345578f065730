//! The units of a job: a table that scrolls, filtered and paged by the address.

use leptos::prelude::*;

use super::{
    host_grid,
    icon::icon,
    phase::{tone_icon, unit_status},
};
use crate::{
    hooks::{clock, session::Session},
    model::{
        Job, JobId, Kind, LogQuery, LogStream, Page, Progress, RequestQuery, StopMethod, Unit, UnitQuery, UnitStatus,
    },
    paths::{console, with_query},
    text,
};

/// What the address says about the detail page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DetailQuery {
    pub(crate) units: UnitQuery,
    /// The unit and the stream whose log is shown.
    pub(crate) log: LogQuery,
    /// Which requests of a batch are shown. In the address `result` and `results`.
    pub(crate) requests: RequestQuery,
    /// Where the shown page of the stop evidence begins.
    pub(crate) stops: Option<String>,
    /// The progress panel of a job just started is open.
    pub(crate) panel: bool,
}

impl DetailQuery {
    /// Reads the address; what cannot be read is left out.
    pub(crate) fn from_pairs<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> Self {
        let find = |name: &str| pairs.clone().find(|(other, _)| *other == name).map(|(_, value)| value);
        DetailQuery {
            units: UnitQuery {
                status: find("status").and_then(|status| status.parse().ok()),
                cursor: find("cursor").filter(|cursor| !cursor.is_empty()).map(str::to_owned),
                ..UnitQuery::default()
            },
            log: LogQuery {
                unit: find("unit").and_then(|unit| unit.parse().ok()),
                stream: find("stream").and_then(LogStream::parse),
                cursor: None,
            },
            requests: RequestQuery {
                status: find("result").and_then(|status| status.parse().ok()),
                cursor: find("results").filter(|cursor| !cursor.is_empty()).map(str::to_owned),
                limit: None,
            },
            stops: find("stops").filter(|cursor| !cursor.is_empty()).map(str::to_owned),
            panel: find("panel") == Some("1"),
        }
    }

    /// The address of the page with this query.
    pub(crate) fn url(&self, id: JobId) -> String {
        let mut pairs = self.units.to_pairs();
        pairs.extend(self.log.to_pairs());
        pairs.extend(self.requests.status.map(|status| ("result", status.as_str().to_owned())));
        pairs.extend(self.requests.cursor.clone().map(|cursor| ("results", cursor)));
        if let Some(cursor) = &self.stops {
            pairs.push(("stops", cursor.clone()));
        }
        if self.panel {
            pairs.push(("panel", "1".to_owned()));
        }
        with_query(&console::job(id), &pairs)
    }

    fn with_status(&self, status: Option<UnitStatus>) -> Self {
        DetailQuery { units: UnitQuery { status, ..UnitQuery::default() }, ..self.clone() }
    }

    fn with_cursor(&self, cursor: Option<String>) -> Self {
        DetailQuery { units: UnitQuery { cursor, ..self.units.clone() }, ..self.clone() }
    }

    /// With another log.
    pub(crate) fn with_log(&self, log: LogQuery) -> Self {
        DetailQuery { log, ..self.clone() }
    }

    /// With the log of one unit, or of all.
    pub(crate) fn with_log_of(&self, unit: Option<u64>) -> Self {
        self.with_log(LogQuery { unit, ..self.log.clone() })
    }

    /// With other requests of the batch.
    pub(crate) fn with_requests(&self, requests: RequestQuery) -> Self {
        DetailQuery { requests, ..self.clone() }
    }

    /// With another page of the stop evidence.
    pub(crate) fn with_stops(&self, stops: Option<String>) -> Self {
        DetailQuery { stops, ..self.clone() }
    }
}

const fn of_status(progress: &Progress, status: UnitStatus) -> u64 {
    match status {
        UnitStatus::Pending => progress.pending(),
        UnitStatus::Running => progress.running,
        UnitStatus::Succeeded => progress.succeeded,
        UnitStatus::Failed => progress.failed,
        UnitStatus::Cancelled => progress.cancelled,
    }
}

fn chips(id: JobId, query: &DetailQuery, progress: &Progress) -> AnyView {
    let shown = query.units.status;
    let chip = |status: Option<UnitStatus>, count: u64, word: &'static str| {
        let tone = status.map(text::unit_tone);
        let count = text::count(count);
        view! {
            <a
                class="chip"
                href=query.with_status(status).url(id)
                data-noscroll=""
                aria-current=(shown == status).then_some("true")
                data-tone=tone
            >
                {tone.map(icon)}
                {word}
                <data value=count.clone()>{count.clone()}</data>
            </a>
        }
        .into_any()
    };
    let all = chip(None, progress.total, "All");
    let rest = UnitStatus::ALL
        .into_iter()
        .map(|status| (status, of_status(progress, status)))
        .filter(|(status, count)| *count > 0 || shown == Some(*status))
        .map(|(status, count)| chip(Some(status), count, status.label()))
        .collect::<Vec<_>>();
    view! { <nav class="chips" aria-label="Unit status">{all}{rest}</nav> }.into_any()
}

/// What came of a unit, in a few words.
fn result(unit: &Unit) -> String {
    if let Some(error) = &unit.error {
        return error.clone();
    }
    if let Some(stop) = &unit.stop {
        return match (stop.method, stop.confirmed, stop.processes_seen) {
            (StopMethod::NeverStarted, _, _) => "never started".to_owned(),
            (_, false, _) => "unconfirmed".to_owned(),
            (_, true, Some(seen)) if seen > 0 => {
                format!("stopped, {} gone", text::counted(u64::from(seen), ("process", "processes")))
            }
            (_, true, _) => "stopped".to_owned(),
        };
    }
    if let Some(line) = &unit.last_line {
        return line.clone();
    }
    match (unit.status, unit.run_id, unit.artifacts, unit.exit_code) {
        (UnitStatus::Cancelled, None, _, _) => "never started".to_owned(),
        (_, _, files, _) if files > 0 => text::counted(files, ("file", "files")),
        (_, _, _, Some(code)) => format!("exit {code}"),
        (UnitStatus::Running, _, _, _) if unit.attempt > 1 => format!("attempt {}", unit.attempt),
        (_, _, _, None) => String::new(),
    }
}

/// A name whose folder gives way before the file does.
pub(crate) fn file_name(name: &str) -> AnyView {
    match name.rsplit_once('/') {
        Some((folder, file)) => {
            view! { <span class="named"><span>{format!("{folder}/")}</span><span>{file.to_owned()}</span></span> }
                .into_any()
        }
        None => name.to_owned().into_any(),
    }
}

fn row(session: Session, id: JobId, query: Memo<DetailQuery>, unit: Unit) -> AnyView {
    let words = result(&unit);
    let run = unit.run_id.map_or_else(|| "–".to_owned(), |run| run.short());
    let (started, finished) = (unit.started_at, unit.finished_at);
    let time = move || started.map_or_else(|| "–".to_owned(), |from| clock::lasted(session, from, finished));
    let index = unit.index;
    let log = move || format!("{}#log", query.with(|query| query.with_log_of(Some(index)).url(id)));
    view! {
        <tr>
            <td class="u-status">{unit_status(unit.status)}</td>
            <td class="u-unit">
                <div class="clip" title=unit.name.clone()>
                    <a href=log data-noscroll="" title="Show its log">{file_name(&unit.name)}</a>
                </div>
            </td>
            <td class="u-run"><span class="mono">{run}</span></td>
            <td class="u-result"><div class="clip" title=words.clone()>{words.clone()}</div></td>
            <td class="u-time">{time}</td>
        </tr>
    }
    .into_any()
}

/// The panel.
pub(crate) fn units(
    session: Session,
    job: RwSignal<Job>,
    query: Memo<DetailQuery>,
    page: RwSignal<Page<Unit>>,
) -> AnyView {
    let id = job.with_untracked(|job| job.job_id);
    let is_of_hosts = job.with_untracked(|job| job.kind == Kind::Hosts);
    let noun = if is_of_hosts { "Host" } else { "Unit" };
    let progress = Memo::new(move |_| job.with(|job| job.progress));
    let foot = move || pager(id, &query.get(), page.with(|page| page.next_cursor.clone()));
    view! {
        <section class="panel" aria-labelledby="h-units">
            <div class="panel-head">
                <h2 id="h-units">"Units"</h2>
                {move || chips(id, &query.get(), &progress.get())}
            </div>
            {is_of_hosts.then(|| host_grid::host_grid(id, query, page))}
            <div class="scroll units" tabindex="0" role="region" aria-label="Units, scrollable">
                <table class="grid-table unit-table">
                    <thead>
                        <tr>
                            <th scope="col" class="u-status">"Status"</th>
                            <th scope="col">{noun}</th>
                            <th scope="col" class="u-run">"Run"</th>
                            <th scope="col" class="u-result">"Result"</th>
                            <th scope="col" class="u-time">"Time"</th>
                        </tr>
                    </thead>
                    <tbody>
                        <For
                            each=move || page.get().items
                            key=|unit| {
                                let line = unit.last_line.clone();
                                (unit.index, unit.status, unit.attempt, unit.finished_at, unit.stop.is_some(), line)
                            }
                            let:unit
                        >
                            {row(session, id, query, unit)}
                        </For>
                    </tbody>
                </table>
            </div>
            {foot}
        </section>
    }
    .into_any()
}

fn pager(id: JobId, query: &DetailQuery, next: Option<String>) -> Option<AnyView> {
    let first = query.units.cursor.is_some().then(|| query.with_cursor(None).url(id));
    if first.is_none() && next.is_none() {
        return None;
    }
    let next = next.map(|cursor| query.with_cursor(Some(cursor)).url(id));
    Some(pages("100 a page", first, next))
}

/// Where a list goes on that is too long for one page.
pub(crate) fn pages(words: &'static str, first: Option<String>, next: Option<String>) -> AnyView {
    view! {
            <div class="panel-foot">
                <span>{words}</span>
                <div class="pager">
                    {first.map(|url| view! { <a class="btn btn-sm" href=url data-noscroll="">{icon("chevron-left")}"First"</a> })}
                    {next.map(|url| view! { <a class="btn btn-sm" href=url data-noscroll="">"Next"{icon("chevron-right")}</a> })}
                </div>
            </div>
        }
        .into_any()
}

/// One line of the progress panel: a unit that is over.
pub(crate) fn finished_line(unit: &Unit) -> AnyView {
    let tone = text::unit_tone(unit.status);
    let took = unit.started_at.zip(unit.finished_at).map(|(from, to)| text::duration(to.millis_since(from)));
    let words = match unit.status {
        UnitStatus::Succeeded => took.unwrap_or_default(),
        UnitStatus::Failed | UnitStatus::Cancelled | UnitStatus::Pending | UnitStatus::Running => result(unit),
    };
    view! {
        <li data-tone=tone>
            {tone_icon(tone)}
            <span><span class="sr-only">{unit.status.label()}" "</span>{file_name(&unit.name)}</span>
            <small>{words}</small>
        </li>
    }
    .into_any()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::RequestStatus;

    #[test]
    fn the_address_reads_back_what_it_wrote() {
        let query = DetailQuery {
            units: UnitQuery {
                status: Some(UnitStatus::Failed),
                cursor: Some("abc".to_owned()),
                ..UnitQuery::default()
            },
            log: LogQuery { unit: Some(3), stream: Some(LogStream::Stderr), cursor: None },
            requests: RequestQuery { status: Some(RequestStatus::Failed), cursor: Some("c".to_owned()), limit: None },
            stops: Some("def".to_owned()),
            panel: true,
        };
        assert_eq!(
            query.url(JobId(1)),
            "/jobs/00000000-0000-0000-0000-000000000001?status=failed&cursor=abc&unit=3&stream=stderr&result=failed&results=c&stops=def&panel=1"
        );
        let pairs = [
            ("status", "failed"),
            ("cursor", "abc"),
            ("unit", "3"),
            ("stream", "stderr"),
            ("result", "failed"),
            ("results", "c"),
            ("stops", "def"),
            ("panel", "1"),
            ("other", "x"),
        ];
        assert_eq!(DetailQuery::from_pairs(pairs.into_iter()), query);
        assert_eq!(DetailQuery::from_pairs([("status", "lost"), ("unit", "-1")].into_iter()), DetailQuery::default());
    }
}
