//! The job list: keyset pages under any filter and order.
//!
//! A page is found in two steps: first the keys (order value and `seq`) by an index that is named in the statement,
//! then the rows. Where an index covers the filter, a page costs its own length at any depth. Where none does, the
//! index that covers most is walked with the rest of the filter applied to what it shows, and where that takes longer
//! than [`BUDGET`] the page ends early with a cursor: it may hold fewer jobs than asked for, even none, and go on.

use std::{
    cmp::Ordering,
    collections::HashMap,
    time::{Duration, Instant},
};

use app::model::{ErrorCode, JobQuery, JobSort, Kind, Phase};
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::{SqliteStore, cursor, rows::JobRow};
use crate::{
    error::{Error, Result},
    store::JobPage,
};

/// After so long a page ends with what it has.
const BUDGET: Duration = Duration::from_millis(40);

/// Rows looked at between two looks at the clock.
const WINDOW: usize = 1_000;

/// Matches of `q` that are put into an order other than that of creation: the newest so many.
const SORTED_MATCHES: usize = 5_000;

/// Where a job stands in an order.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    /// `finished_at`; else 0.
    number: i64,
    /// The name; else empty.
    text: String,
    seq: i64,
}

/// What a walk sees of a job.
#[derive(Clone, Debug, sqlx::FromRow)]
struct Seen {
    seq: i64,
    finished_at: Option<i64>,
    name: String,
    phase: String,
    kind: String,
    created_by: String,
}

/// The value that orders the list before `seq` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Created,
    Finished,
    Name,
}

/// An order of the list.
#[derive(Clone, Copy, Debug)]
struct Order {
    column: Column,
    descending: bool,
    /// Tells its cursors from those of other orders.
    tag: u8,
}

impl Order {
    fn of(sort: JobSort) -> Order {
        let (column, descending, tag) = match sort {
            JobSort::NewestFirst => (Column::Created, true, 1),
            JobSort::OldestFirst => (Column::Created, false, 2),
            JobSort::FinishedLatest => (Column::Finished, true, 3),
            JobSort::FinishedEarliest => (Column::Finished, false, 4),
            JobSort::NameAscending => (Column::Name, false, 5),
            JobSort::NameDescending => (Column::Name, true, 6),
        };
        Order { column, descending, tag }
    }

    fn key(self, seen: &Seen) -> Key {
        match self.column {
            Column::Created => Key { number: 0, text: String::new(), seq: seen.seq },
            Column::Finished => {
                Key { number: seen.finished_at.unwrap_or_default(), text: String::new(), seq: seen.seq }
            }
            Column::Name => Key { number: 0, text: seen.name.clone(), seq: seen.seq },
        }
    }

    /// Names compare as the column's NOCASE does: ASCII letters without case.
    fn compare(self, a: &Key, b: &Key) -> Ordering {
        let by_text = || a.text.to_ascii_lowercase().cmp(&b.text.to_ascii_lowercase());
        let up = a.number.cmp(&b.number).then_with(by_text).then(a.seq.cmp(&b.seq));
        if self.descending { up.reverse() } else { up }
    }

    fn write(self, key: &Key) -> String {
        match self.column {
            Column::Created => cursor::write(self.tag, key.seq, ""),
            Column::Finished => cursor::write(self.tag, key.seq, &key.number.to_string()),
            Column::Name => cursor::write(self.tag, key.seq, &key.text),
        }
    }

    fn read(self, text: &str) -> Result<Key> {
        let (seq, rest) = cursor::read(self.tag, text)?;
        Ok(match self.column {
            Column::Created => Key { number: 0, text: String::new(), seq },
            Column::Finished => Key { number: rest.parse().unwrap_or_default(), text: String::new(), seq },
            Column::Name => Key { number: 0, text: rest, seq },
        })
    }
}

/// The filter of a query, without `q`.
#[derive(Clone, Debug, Default)]
struct Filter {
    phases: Vec<Phase>,
    kind: Option<Kind>,
    created_by: Option<String>,
}

impl Filter {
    fn of(query: &JobQuery) -> Filter {
        Filter { phases: query.phases.clone(), kind: query.kind, created_by: query.created_by.clone() }
    }

    fn is_empty(&self) -> bool {
        self.phases.is_empty() && self.kind.is_none() && self.created_by.is_none()
    }

    fn takes(&self, seen: &Seen) -> bool {
        (self.phases.is_empty() || self.phases.iter().any(|phase| phase.as_str() == seen.phase))
            && self.kind.is_none_or(|kind| kind.as_str() == seen.kind)
            && self.created_by.as_ref().is_none_or(|by| *by == seen.created_by)
    }
}

/// A walk along one index, over the jobs with these values.
#[derive(Clone, Debug, Default)]
struct Walk {
    index: &'static str,
    phase: Option<Phase>,
    kind: Option<Kind>,
    created_by: Option<String>,
}

/// Walks whose union holds the list, and the filter that is left to apply to what they show.
fn plan(order: Order, filter: Filter) -> (Vec<Walk>, Filter) {
    let Filter { phases, kind, created_by } = filter;
    let rest = Filter { phases: phases.clone(), kind, created_by: created_by.clone() };
    let over_phases = |index: &'static str, kind: Option<Kind>, by: Option<String>| -> Vec<Walk> {
        phases.iter().map(|phase| Walk { index, phase: Some(*phase), kind, created_by: by.clone() }).collect()
    };
    let one = |index: &'static str| Walk { index, ..Walk::default() };
    match (order.column, phases.is_empty(), kind, created_by) {
        (Column::Created, true, None, None) => (vec![one("NOT INDEXED")], rest),
        (Column::Created, true, Some(_), None) => {
            (vec![Walk { kind, ..one("INDEXED BY jobs_kind") }], Filter::default())
        }
        (Column::Created, true, kind, Some(by)) => {
            let walk = Walk { created_by: Some(by), ..one("INDEXED BY jobs_creator") };
            (vec![walk], Filter { kind, ..Filter::default() })
        }
        (Column::Created, false, None, None) => (over_phases("INDEXED BY jobs_phase", None, None), Filter::default()),
        (Column::Created, false, Some(_), None) => {
            (over_phases("INDEXED BY jobs_phase_kind", kind, None), Filter::default())
        }
        (Column::Created, false, None, Some(by)) => {
            (over_phases("INDEXED BY jobs_creator_phase", None, Some(by)), Filter::default())
        }
        (Column::Created, false, Some(_), Some(by)) => {
            (vec![Walk { created_by: Some(by), ..one("INDEXED BY jobs_creator") }], rest)
        }
        (Column::Finished, false, None, None) => {
            (over_phases("INDEXED BY jobs_phase_finished", None, None), Filter::default())
        }
        (Column::Finished, _, _, _) => (vec![one("INDEXED BY jobs_finished")], rest),
        (Column::Name, _, _, _) => (vec![one("INDEXED BY jobs_name")], rest),
    }
}

/// Which part of the order a statement reads on from.
#[derive(Clone, Copy)]
enum Part {
    /// From the beginning.
    All,
    /// The same order value as the key, further `seq`.
    Tie,
    /// Further order values.
    Beyond,
}

impl Walk {
    /// The next `limit` jobs after `from`. Ties on the order value are read on their own: SQLite uses the row id
    /// that ends every index only behind an equality.
    async fn read(
        &self,
        conn: &mut SqliteConnection,
        order: Order,
        from: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Seen>> {
        let Some(key) = from else { return self.part(conn, order, Part::All, None, limit).await };
        let mut seen = self.part(conn, order, Part::Tie, Some(key), limit).await?;
        if order.column != Column::Created && seen.len() < limit {
            seen.extend(self.part(conn, order, Part::Beyond, Some(key), limit - seen.len()).await?);
        }
        Ok(seen)
    }

    /// The statement is put together from the words in this function, never from what somebody sent.
    async fn part(
        &self,
        conn: &mut SqliteConnection,
        order: Order,
        part: Part,
        from: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Seen>> {
        let (direction, further) = if order.descending { ("DESC", "<") } else { ("ASC", ">") };
        let column = match order.column {
            Column::Created => "",
            Column::Finished => "finished_at",
            Column::Name => "name",
        };
        let mut sql =
            format!("SELECT seq, finished_at, name, phase, kind, created_by FROM jobs {} WHERE 1 = 1", self.index);
        if self.created_by.is_some() {
            sql.push_str(" AND created_by = ?");
        }
        if self.phase.is_some() {
            sql.push_str(" AND phase = ?");
        }
        if self.kind.is_some() {
            sql.push_str(" AND kind = ?");
        }
        if order.column == Column::Finished {
            sql.push_str(" AND finished_at IS NOT NULL");
        }
        match (part, order.column) {
            (Part::All, _) => {}
            (Part::Tie, Column::Created) => sql.push_str(&format!(" AND seq {further} ?")),
            (Part::Tie, Column::Finished | Column::Name) => {
                sql.push_str(&format!(" AND {column} = ? AND seq {further} ?"));
            }
            (Part::Beyond, _) => sql.push_str(&format!(" AND {column} {further} ?")),
        }
        match order.column {
            Column::Created => sql.push_str(&format!(" ORDER BY seq {direction} LIMIT ?")),
            Column::Finished | Column::Name => {
                sql.push_str(&format!(" ORDER BY {column} {direction}, seq {direction} LIMIT ?"));
            }
        }
        let mut query = sqlx::query_as::<_, Seen>(AssertSqlSafe(sql));
        if let Some(by) = &self.created_by {
            query = query.bind(by.clone());
        }
        if let Some(phase) = self.phase {
            query = query.bind(phase.as_str());
        }
        if let Some(kind) = self.kind {
            query = query.bind(kind.as_str());
        }
        if let Some(key) = from {
            query = match order.column {
                Column::Created => query,
                Column::Finished => query.bind(key.number),
                Column::Name => query.bind(key.text.clone()),
            };
            query = match part {
                Part::Tie => query.bind(key.seq),
                Part::All | Part::Beyond => query,
            };
        }
        Ok(query.bind(limit as i64).fetch_all(conn).await?)
    }
}

/// Keys of a page and where the next one begins.
struct Keys {
    keys: Vec<Key>,
    next: Option<Key>,
}

pub(super) async fn jobs(store: &SqliteStore, query: &JobQuery) -> Result<JobPage> {
    let order = Order::of(query.sort);
    let from = query.cursor.as_deref().map(|text| order.read(text)).transpose()?;
    let mut tx = store.readers.begin().await?;
    let found = keys_of(&mut tx, query, order, from, query.limit() as usize).await?;
    let mut rows = rows_of(&mut tx, &found.keys).await?;
    let items: Result<Vec<_>> = found.keys.iter().filter_map(|key| rows.remove(&key.seq)).map(JobRow::record).collect();
    Ok(JobPage { items: items?, next_cursor: found.next.map(|key| order.write(&key)) })
}

/// The keys of one page.
async fn keys_of(
    tx: &mut SqliteConnection,
    query: &JobQuery,
    order: Order,
    from: Option<Key>,
    limit: usize,
) -> Result<Keys> {
    let filter = Filter::of(query);
    if let Some(q) = query.q.as_deref().map(str::trim) {
        return search(tx, order, &match_phrase(q)?, &filter, from, limit).await;
    }
    let (walks, rest) = plan(order, filter);
    match walks.as_slice() {
        [walk] if !rest.is_empty() => sift(tx, order, walk, &rest, from, limit).await,
        _ => merge(tx, order, &walks, from, limit).await,
    }
}

/// Every job under a query, at most `limit`, in its order; up to the first of which `is_beyond` says so of its end.
pub(super) async fn all_seqs(
    tx: &mut SqliteConnection,
    query: &JobQuery,
    limit: usize,
    is_beyond: impl Fn(Option<i64>) -> bool,
) -> Result<Vec<i64>> {
    let order = Order::of(query.sort);
    let (mut seqs, mut from) = (Vec::new(), None);
    while seqs.len() < limit {
        let found = keys_of(tx, query, order, from, WINDOW.min(limit - seqs.len())).await?;
        for key in found.keys {
            if order.column == Column::Finished && is_beyond(Some(key.number)) {
                return Ok(seqs);
            }
            seqs.push(key.seq);
        }
        from = found.next;
        if from.is_none() {
            break;
        }
    }
    Ok(seqs)
}

/// The page where indexes cover the filter: the first `limit` of all walks together.
async fn merge(
    conn: &mut SqliteConnection,
    order: Order,
    walks: &[Walk],
    from: Option<Key>,
    limit: usize,
) -> Result<Keys> {
    let mut keys = Vec::new();
    for walk in walks {
        let seen = walk.read(conn, order, from.as_ref(), limit + 1).await?;
        keys.extend(seen.iter().map(|seen| order.key(seen)));
    }
    keys.sort_by(|a, b| order.compare(a, b));
    Ok(page(keys, limit, None))
}

/// The first `limit` keys; what is beyond says that there is more. `stopped_at`: how far an unfinished look came.
fn page(mut keys: Vec<Key>, limit: usize, stopped_at: Option<Key>) -> Keys {
    if keys.len() > limit {
        keys.truncate(limit);
        let next = keys.last().cloned();
        return Keys { keys, next };
    }
    Keys { keys, next: stopped_at }
}

/// The page where a filter is left: what the walk shows, sifted, until the page is full or the time is up.
async fn sift(
    conn: &mut SqliteConnection,
    order: Order,
    walk: &Walk,
    rest: &Filter,
    from: Option<Key>,
    limit: usize,
) -> Result<Keys> {
    let begun = Instant::now();
    let mut at = from;
    let mut keys = Vec::new();
    loop {
        let seen = walk.read(conn, order, at.as_ref(), WINDOW).await?;
        keys.extend(seen.iter().filter(|seen| rest.takes(seen)).map(|seen| order.key(seen)));
        at = seen.last().map(|last| order.key(last)).or(at);
        let is_end = seen.len() < WINDOW;
        if is_end || keys.len() > limit {
            return Ok(page(keys, limit, None));
        }
        if begun.elapsed() > BUDGET {
            return Ok(page(keys, limit, at));
        }
    }
}

/// `q` as one FTS5 phrase: nothing in it is an operator.
fn match_phrase(q: &str) -> Result<String> {
    if q.chars().count() < 3 {
        return Err(Error::Invalid {
            code: ErrorCode::InvalidQuery,
            field: Some("q".to_owned()),
            detail: "`q` takes at least 3 characters.".to_owned(),
            hint: None,
        });
    }
    Ok(format!("\"{}\"", q.replace('"', "\"\"").replace('\0', " ")))
}

/// The page under `q`: in order of creation as it is found; in another order the newest [`SORTED_MATCHES`], sorted.
async fn search(
    conn: &mut SqliteConnection,
    order: Order,
    phrase: &str,
    filter: &Filter,
    from: Option<Key>,
    limit: usize,
) -> Result<Keys> {
    if order.column == Column::Created {
        let wanted = limit + 1;
        let (seen, stopped_at) =
            matches(conn, phrase, filter, order.descending, from.map(|key| key.seq), wanted).await?;
        let keys = seen.iter().map(|seen| order.key(seen)).collect();
        return Ok(page(keys, limit, stopped_at.map(|seq| Key { number: 0, text: String::new(), seq })));
    }
    let (seen, _) = matches(conn, phrase, filter, true, None, SORTED_MATCHES).await?;
    let finished = |seen: &&Seen| order.column != Column::Finished || seen.finished_at.is_some();
    let mut keys: Vec<Key> = seen.iter().filter(finished).map(|seen| order.key(seen)).collect();
    keys.sort_by(|a, b| order.compare(a, b));
    if let Some(from) = from {
        keys.retain(|key| order.compare(key, &from) == Ordering::Greater);
    }
    Ok(page(keys, limit, None))
}

/// Up to `wanted` matches by `seq` from `from` on, within the budget. Also how far the look came, when it did not end.
async fn matches(
    conn: &mut SqliteConnection,
    phrase: &str,
    filter: &Filter,
    descending: bool,
    from: Option<i64>,
    wanted: usize,
) -> Result<(Vec<Seen>, Option<i64>)> {
    let begun = Instant::now();
    let (first, last): (Option<i64>, Option<i64>) =
        sqlx::query_as("SELECT (SELECT min(seq) FROM jobs), (SELECT max(seq) FROM jobs)").fetch_one(&mut *conn).await?;
    let (Some(first), Some(last)) = (first, last) else { return Ok((Vec::new(), None)) };
    let mut seen = Vec::new();
    let window = if filter.is_empty() { wanted } else { wanted.max(WINDOW) };
    // Ranges of row ids, so that the clock can be looked at between two: a match of frequent trigrams that never
    // stand together costs a walk over all of them.
    let mut span = 20_000;
    let mut at =
        from.map_or(if descending { last } else { first }, |from| if descending { from - 1 } else { from + 1 });
    while (first..=last).contains(&at) {
        let (low, high) = if descending { ((at - span + 1).max(first), at) } else { (at, (at + span - 1).min(last)) };
        let range_begun = Instant::now();
        let found = matches_between(conn, phrase, descending, low, high, window).await?;
        // A full answer may have been cut: the next look begins where it ended.
        let is_cut = found.len() == window;
        let end = found.last().filter(|_| is_cut).map_or(if descending { low } else { high }, |seen| seen.seq);
        seen.extend(found.into_iter().filter(|seen| filter.takes(seen)));
        at = if descending { end - 1 } else { end + 1 };
        if seen.len() >= wanted {
            return Ok((seen, None));
        }
        if begun.elapsed() > BUDGET && (first..=last).contains(&at) {
            return Ok((seen, Some(end)));
        }
        if range_begun.elapsed() < BUDGET / 8 {
            span *= 2;
        }
    }
    Ok((seen, None))
}

async fn matches_between(
    conn: &mut SqliteConnection,
    phrase: &str,
    descending: bool,
    low: i64,
    high: i64,
    limit: usize,
) -> Result<Vec<Seen>> {
    const DOWN: &str = "SELECT j.seq, j.finished_at, j.name, j.phase, j.kind, j.created_by
        FROM jobs_text t CROSS JOIN jobs j ON j.seq = t.rowid
        WHERE jobs_text MATCH ? AND t.rowid BETWEEN ? AND ? ORDER BY t.rowid DESC LIMIT ?";
    const UP: &str = "SELECT j.seq, j.finished_at, j.name, j.phase, j.kind, j.created_by
        FROM jobs_text t CROSS JOIN jobs j ON j.seq = t.rowid
        WHERE jobs_text MATCH ? AND t.rowid BETWEEN ? AND ? ORDER BY t.rowid LIMIT ?";
    Ok(sqlx::query_as(if descending { DOWN } else { UP })
        .bind(phrase.to_owned())
        .bind(low)
        .bind(high)
        .bind(limit as i64)
        .fetch_all(conn)
        .await?)
}

/// The rows of a page.
async fn rows_of(conn: &mut SqliteConnection, keys: &[Key]) -> Result<HashMap<i64, JobRow>> {
    let seqs: Vec<String> = keys.iter().map(|key| key.seq.to_string()).collect();
    let rows: Vec<JobRow> = sqlx::query_as("SELECT * FROM jobs WHERE seq IN (SELECT value FROM json_each(?))")
        .bind(format!("[{}]", seqs.join(",")))
        .fetch_all(conn)
        .await?;
    Ok(rows.into_iter().map(|row| (row.seq, row)).collect())
}
