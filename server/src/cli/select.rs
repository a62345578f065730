//! Which jobs are meant: ids, beginnings of ids, lines of standard input, everything under a filter.

use std::{io::Read as _, str::FromStr as _};

use app::{
    model::{ErrorCode, Job, JobId, JobList, JobQuery},
    paths::api,
};

use super::{
    client::Client,
    fault::{Exit, Fault, Outcome},
    out,
};

/// The word that stands for standard input.
pub(super) const STDIN: &str = "-";

/// Shortest beginning of an id that is looked for: what the server's search takes.
const SHORTEST: usize = 3;

/// Pages that are read in search of a beginning; a page of a rare text may be short, even empty.
const PAGES: usize = 50;

/// Candidates that an ambiguous beginning lists.
const LISTED: usize = 8;

/// The words given, `-` replaced by the first word of each line of standard input. Each once.
pub(super) fn words(given: &[String]) -> Outcome<Vec<String>> {
    let mut words: Vec<String> = Vec::new();
    for word in given {
        if word == STDIN {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .map_err(|error| Fault::usage(format!("Standard input cannot be read: {error}")))?;
            words.extend(text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned));
        } else {
            words.push(word.clone());
        }
    }
    let mut seen = std::collections::HashSet::new();
    words.retain(|word| seen.insert(word.clone()));
    Ok(words)
}

/// The job that a word means: an id, or the beginning of one that no other job shares.
pub(super) async fn job_id(client: &Client, word: &str) -> Outcome<JobId> {
    if let Ok(id) = JobId::from_str(word) {
        return Ok(id);
    }
    let Some(prefix) = as_beginning(word) else { return Err(unknown(client, word).await) };
    let query = JobQuery { q: Some(prefix.clone()), limit: Some(JobQuery::MAX_LIMIT), ..JobQuery::default() };
    let found = all(client, query, PAGES, |job| job.job_id.to_string().starts_with(&prefix)).await?;
    match found.as_slice() {
        [] => Err(unknown(client, word).await),
        [job] => Ok(job.job_id),
        several => {
            let shown = several.iter().take(LISTED).map(described).collect::<Vec<_>>().join("\n  ");
            let more = several.len().saturating_sub(LISTED);
            let rest = if more > 0 { format!("\n  and {more} more") } else { String::new() };
            Err(Fault::usage(format!("`{word}` begins the ids of several jobs:\n  {shown}{rest}")))
        }
    }
}

/// The job itself, with a suggestion when there is none.
pub(super) async fn job(client: &Client, word: &str) -> Outcome<Job> {
    let id = job_id(client, word).await?;
    suggest(client, word, client.get(&api::job(id)).await).await
}

/// Adds a job with a similar id or name to the fault that there is none with this one.
pub(super) async fn suggest<T>(client: &Client, word: &str, outcome: Outcome<T>) -> Outcome<T> {
    match outcome {
        Err(fault) if fault.is(ErrorCode::JobNotFound) => Err(unknown(client, word).await),
        other => other,
    }
}

/// All jobs under a query, page after page, at most `pages` of them.
pub(super) async fn all(
    client: &Client,
    mut query: JobQuery,
    pages: usize,
    wanted: impl Fn(&Job) -> bool,
) -> Outcome<Vec<Job>> {
    let mut jobs = Vec::new();
    for _ in 0..pages {
        let page: JobList = client.get(&api::jobs(&query)).await?;
        jobs.extend(page.items.into_iter().filter(&wanted));
        query.cursor = page.next_cursor;
        if query.cursor.is_none() {
            break;
        }
    }
    Ok(jobs)
}

/// A word as ids are written, when it could be the beginning of one: with or without hyphens, of any case.
fn as_beginning(word: &str) -> Option<String> {
    let digits: String = word.chars().filter(|c| *c != '-').collect::<String>().to_ascii_lowercase();
    if digits.len() < SHORTEST || digits.len() > 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut text = String::with_capacity(36);
    for (index, digit) in digits.chars().enumerate() {
        if matches!(index, 8 | 12 | 16 | 20) {
            text.push('-');
        }
        text.push(digit);
    }
    Some(text)
}

async fn unknown(client: &Client, word: &str) -> Fault {
    let fault = Fault::new(Exit::NotFound, format!("There is no job `{}`.", out::clean(word)));
    let query = JobQuery { limit: Some(JobQuery::MAX_LIMIT), ..JobQuery::default() };
    let list: Outcome<JobList> = client.get(&api::jobs(&query)).await;
    match list.ok().and_then(|list| closest(word, list.items)) {
        Some(job) => fault.hint(format!("Did you mean {}?", described(&job))),
        None => fault.hint("`belay job list` shows the jobs."),
    }
}

/// The job whose id or name is nearly this. Ids of the same hour begin alike, so only a slip of the hand counts.
fn closest(word: &str, jobs: Vec<Job>) -> Option<Job> {
    const SLIPS: usize = 3;
    const ALIKE: f64 = 0.85;
    let by_id = jobs.iter().find(|job| strsim::osa_distance(word, &job.job_id.to_string()) <= SLIPS);
    if let Some(job) = by_id {
        return Some(job.clone());
    }
    let lower = word.to_lowercase();
    let alike = |job: &Job| strsim::jaro_winkler(&lower, &job.name.to_lowercase());
    let best = jobs.into_iter().max_by(|a, b| alike(a).total_cmp(&alike(b)))?;
    (alike(&best) >= ALIKE).then_some(best)
}

/// `0199c2b2-… (Nightly checksums, completed)`
fn described(job: &Job) -> String {
    format!("{} ({}, {})", job.job_id, out::clean(&job.name), job.phase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_is_written_as_ids_are() {
        assert_eq!(as_beginning("0199C2B2").as_deref(), Some("0199c2b2"));
        assert_eq!(as_beginning("0199c2b20c9d7").as_deref(), Some("0199c2b2-0c9d-7"));
        assert_eq!(as_beginning("0199c2b2-0c9d").as_deref(), Some("0199c2b2-0c9d"));
        for word in ["01", "nightly", "", "0199c2b2-0c9d-7e02-8f10-0123456789abc"] {
            assert_eq!(as_beginning(word), None, "{word}");
        }
    }

    #[test]
    fn every_word_counts_once() {
        let given = ["a", "b", "a"].map(str::to_owned);
        assert_eq!(words(&given).unwrap(), ["a", "b"]);
    }
}
