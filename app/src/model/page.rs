//! Lists come in pages; what is listed is said by a query that lives in the URL of console and API alike.

use serde::{Deserialize, Serialize};

use super::{phase::Phase, spec::Kind, unit::UnitStatus};

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Where the next page begins; `null` on the last one.
    pub next_cursor: Option<String>,
}

impl<T> Default for Page<T> {
    fn default() -> Self {
        Page { items: Vec::new(), next_cursor: None }
    }
}

/// Order of the job list. On the wire `created_at`, `-created_at` (newest first, the default), and so on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum JobSort {
    #[default]
    NewestFirst,
    OldestFirst,
    /// By end, latest first; jobs that have not ended are left out.
    FinishedLatest,
    FinishedEarliest,
    NameAscending,
    NameDescending,
}

impl JobSort {
    /// All, in the order of the menu.
    pub const ALL: [JobSort; 6] = [
        JobSort::NewestFirst,
        JobSort::OldestFirst,
        JobSort::FinishedLatest,
        JobSort::FinishedEarliest,
        JobSort::NameAscending,
        JobSort::NameDescending,
    ];

    /// The value of `sort` in URLs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            JobSort::NewestFirst => "-created_at",
            JobSort::OldestFirst => "created_at",
            JobSort::FinishedLatest => "-finished_at",
            JobSort::FinishedEarliest => "finished_at",
            JobSort::NameAscending => "name",
            JobSort::NameDescending => "-name",
        }
    }

    /// Jobs that have not ended have no place in it.
    #[must_use]
    pub const fn leaves_out_unended(self) -> bool {
        match self {
            JobSort::FinishedLatest | JobSort::FinishedEarliest => true,
            JobSort::NewestFirst | JobSort::OldestFirst | JobSort::NameAscending | JobSort::NameDescending => false,
        }
    }

    /// The words that people read.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            JobSort::NewestFirst => "Newest first",
            JobSort::OldestFirst => "Oldest first",
            JobSort::FinishedLatest => "Finished last",
            JobSort::FinishedEarliest => "Finished first",
            JobSort::NameAscending => "Name, A to Z",
            JobSort::NameDescending => "Name, Z to A",
        }
    }

    /// Reads the value of `sort`; `created`, `finished` and their negatives are taken too.
    #[must_use]
    pub fn parse(text: &str) -> Option<JobSort> {
        match text {
            "created" => Some(JobSort::OldestFirst),
            "-created" => Some(JobSort::NewestFirst),
            "finished" => Some(JobSort::FinishedEarliest),
            "-finished" => Some(JobSort::FinishedLatest),
            _ => JobSort::ALL.into_iter().find(|sort| sort.as_str() == text),
        }
    }
}

/// What the job list shows. Empty fields do not filter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct JobQuery {
    /// Any of these. In URLs `phase=a,b` or repeated; the word `active` stands for all active phases.
    pub phases: Vec<Phase>,
    pub kind: Option<Kind>,
    /// At least 3 characters, in name or id.
    pub q: Option<String>,
    pub created_by: Option<String>,
    pub sort: JobSort,
    pub cursor: Option<String>,
    /// 1 to 200, default 50.
    pub limit: Option<u32>,
}

impl JobQuery {
    /// Jobs a page when the caller names no number.
    pub const DEFAULT_LIMIT: u32 = 50;
    /// Most jobs a page.
    pub const MAX_LIMIT: u32 = 200;

    /// Reads name and value pairs of a URL. Unknown names are left alone (the console has its own).
    ///
    /// # Errors
    /// A sentence that names the parameter and what it takes.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, String> {
        let mut query = JobQuery::default();
        for (name, value) in pairs {
            if value.is_empty() {
                continue;
            }
            match name {
                "phase" => query.add_phases(value)?,
                "kind" => query.kind = Some(value.parse().map_err(|_| format!("`kind`: unknown kind `{value}`."))?),
                "q" if value.trim().chars().count() < 3 => return Err("`q` takes at least 3 characters.".to_owned()),
                "q" => query.q = Some(value.trim().to_owned()),
                "created_by" => query.created_by = Some(value.to_owned()),
                "sort" => {
                    query.sort = JobSort::parse(value).ok_or_else(|| {
                        "`sort` takes created_at, finished_at or name, with `-` before it to reverse.".to_owned()
                    })?;
                }
                "cursor" => query.cursor = Some(value.to_owned()),
                "limit" => query.limit = Some(parse_limit(value, Self::MAX_LIMIT)?),
                _ => {}
            }
        }
        Ok(query)
    }

    fn add_phases(&mut self, value: &str) -> Result<(), String> {
        for word in value.split(',').filter(|word| !word.is_empty()) {
            if word == "active" {
                self.phases.extend(Phase::CLAIMABLE.into_iter().filter(|phase| *phase != Phase::Pending));
            } else {
                self.phases.push(word.parse().map_err(|_| format!("`phase`: unknown phase `{word}`."))?);
            }
        }
        self.phases.sort_unstable();
        self.phases.dedup();
        Ok(())
    }

    /// Name and value pairs for a URL, defaults left out. The caller percent-encodes.
    #[must_use]
    pub fn to_pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs = Vec::new();
        if !self.phases.is_empty() {
            let words: Vec<&str> = self.phases.iter().map(|phase| phase.as_str()).collect();
            pairs.push(("phase", words.join(",")));
        }
        if let Some(kind) = self.kind {
            pairs.push(("kind", kind.as_str().to_owned()));
        }
        if let Some(q) = &self.q {
            pairs.push(("q", q.clone()));
        }
        if let Some(created_by) = &self.created_by {
            pairs.push(("created_by", created_by.clone()));
        }
        if self.sort != JobSort::default() {
            pairs.push(("sort", self.sort.as_str().to_owned()));
        }
        if let Some(cursor) = &self.cursor {
            pairs.push(("cursor", cursor.clone()));
        }
        if let Some(limit) = self.limit {
            pairs.push(("limit", limit.to_string()));
        }
        pairs
    }

    /// Jobs a page.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.limit.unwrap_or(Self::DEFAULT_LIMIT).clamp(1, Self::MAX_LIMIT)
    }
}

fn parse_limit(value: &str, max: u32) -> Result<u32, String> {
    match value.parse() {
        Ok(limit) if (1..=max).contains(&limit) => Ok(limit),
        _ => Err(format!("`limit` takes a number from 1 to {max}.")),
    }
}

/// What the list of a job's units shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct UnitQuery {
    pub status: Option<UnitStatus>,
    /// Only units of which a cancel stopped a run: those with evidence. In URLs `stopped=true`.
    pub stopped: bool,
    /// Those that ended last, the latest first, instead of by index; one page. In URLs `sort=-finished_at`.
    pub latest: bool,
    pub cursor: Option<String>,
    /// 1 to 200, default 100.
    pub limit: Option<u32>,
}

impl UnitQuery {
    /// Units a page when the caller names no number.
    pub const DEFAULT_LIMIT: u32 = 100;
    /// Most units a page.
    pub const MAX_LIMIT: u32 = 200;

    /// Reads name and value pairs of a URL; unknown names are left alone.
    ///
    /// # Errors
    /// A sentence that names the parameter and what it takes.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, String> {
        let mut query = UnitQuery::default();
        for (name, value) in pairs {
            if value.is_empty() {
                continue;
            }
            match name {
                "status" => {
                    query.status = Some(value.parse().map_err(|_| format!("`status`: unknown status `{value}`."))?)
                }
                "stopped" if value == "true" => query.stopped = true,
                "stopped" if value != "false" => return Err("`stopped` takes `true` or `false`.".to_owned()),
                "sort" if value == "-finished_at" => query.latest = true,
                "sort" if value != "index" => return Err("`sort` takes index or -finished_at.".to_owned()),
                "cursor" => query.cursor = Some(value.to_owned()),
                "limit" => query.limit = Some(parse_limit(value, Self::MAX_LIMIT)?),
                _ => {}
            }
        }
        query.one_way()
    }

    /// There is one way to pick at a time.
    fn one_way(self) -> Result<Self, String> {
        let ways = [self.status.is_some(), self.stopped, self.latest];
        if ways.into_iter().filter(|way| *way).count() > 1 {
            return Err("`status`, `stopped` and `sort=-finished_at` do not go together.".to_owned());
        }
        if self.latest && self.cursor.is_some() {
            return Err("`sort=-finished_at` has one page, and takes no `cursor`.".to_owned());
        }
        Ok(self)
    }

    /// Name and value pairs for a URL, defaults left out. The caller percent-encodes.
    #[must_use]
    pub fn to_pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs = Vec::new();
        if let Some(status) = self.status {
            pairs.push(("status", status.as_str().to_owned()));
        }
        if self.stopped {
            pairs.push(("stopped", "true".to_owned()));
        }
        if self.latest {
            pairs.push(("sort", "-finished_at".to_owned()));
        }
        if let Some(cursor) = &self.cursor {
            pairs.push(("cursor", cursor.clone()));
        }
        if let Some(limit) = self.limit {
            pairs.push(("limit", limit.to_string()));
        }
        pairs
    }

    /// Units a page.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.limit.unwrap_or(Self::DEFAULT_LIMIT).clamp(1, Self::MAX_LIMIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_reads_back_what_it_wrote() {
        let query = JobQuery {
            phases: vec![Phase::InProgress, Phase::Cancelling],
            kind: Some(Kind::Files),
            q: Some("look book".to_owned()),
            created_by: Some("mara".to_owned()),
            sort: JobSort::NameDescending,
            cursor: Some("abc".to_owned()),
            limit: Some(20),
        };
        let pairs = query.to_pairs();
        let read = JobQuery::from_pairs(pairs.iter().map(|(name, value)| (*name, value.as_str())));
        assert_eq!(read, Ok(query));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (name, value) in
            [("phase", "running"), ("kind", "x"), ("q", "ab"), ("sort", "size"), ("limit", "0"), ("limit", "201")]
        {
            let error = JobQuery::from_pairs([(name, value)]).unwrap_err();
            assert!(error.contains(&format!("`{name}`")), "{error}");
        }
    }

    #[test]
    fn units_are_picked_in_one_way_at_a_time() {
        let read = |pairs: &[(&'static str, &'static str)]| UnitQuery::from_pairs(pairs.iter().copied());
        for query in [
            UnitQuery { stopped: true, cursor: Some("x".to_owned()), ..UnitQuery::default() },
            UnitQuery { latest: true, limit: Some(5), ..UnitQuery::default() },
        ] {
            let pairs = query.to_pairs();
            assert_eq!(UnitQuery::from_pairs(pairs.iter().map(|(name, value)| (*name, value.as_str()))), Ok(query));
        }
        assert!(read(&[("stopped", "true"), ("status", "failed")]).is_err());
        assert!(read(&[("sort", "-finished_at"), ("cursor", "x")]).is_err());
        assert!(read(&[("sort", "name")]).is_err());
        assert!(read(&[("stopped", "yes")]).is_err());
        assert_eq!(read(&[("stopped", "false"), ("sort", "index")]), Ok(UnitQuery::default()));
    }

    #[test]
    fn active_stands_for_all_active_phases() {
        let query = JobQuery::from_pairs([("phase", "active")]).unwrap();
        assert_eq!(query.phases.len(), 7);
        assert!(!query.phases.contains(&Phase::Pending));
    }
}
