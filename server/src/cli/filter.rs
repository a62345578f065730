//! `--filter 'phase=failed,partial kind=files q="look book"'`, and the options that say the same.

use app::model::{JobQuery, Kind, Phase};

use super::fault::{Fault, Outcome};

/// What a filter takes.
const NAMES: [&str; 4] = ["phase", "kind", "q", "created_by"];

/// Reads a filter.
///
/// # Errors
/// A sentence, and below it the filter with a mark under what cannot be used.
pub(super) fn parse(text: &str) -> Outcome<JobQuery> {
    let mut query = JobQuery::default();
    for word in words(text)? {
        let (name, value) = word.text.split_once('=').unwrap_or((&word.text, ""));
        if !NAMES.contains(&name) {
            return Err(at(text, &word, &format!("`{name}` is nothing to filter by; take {}", NAMES.join(", "))));
        }
        if value.is_empty() {
            return Err(at(text, &word, &format!("`{name}` has no value")));
        }
        let read =
            JobQuery::from_pairs([(name, value)]).map_err(|error| at(text, &word, error.trim_end_matches('.')))?;
        merge(&mut query, read);
    }
    Ok(query)
}

/// Narrows `query` by what is set in `more`.
pub(super) fn merge(query: &mut JobQuery, more: JobQuery) {
    if !more.phases.is_empty() {
        query.phases.extend(more.phases);
        query.phases.sort_unstable();
        query.phases.dedup();
    }
    query.kind = more.kind.or(query.kind);
    query.q = more.q.or(query.q.take());
    query.created_by = more.created_by.or(query.created_by.take());
}

/// The phases of `query`, or all, that are among `allowed`. Empty: nothing can match.
pub(super) fn narrow(query: &JobQuery, allowed: &[Phase]) -> Vec<Phase> {
    let is_wanted = |phase: &Phase| query.phases.is_empty() || query.phases.contains(phase);
    allowed.iter().copied().filter(is_wanted).collect()
}

/// The name of a kind; `product-matching` is taken too.
pub(super) fn parse_kind(text: &str) -> Result<Kind, String> {
    text.replace('-', "_").parse().map_err(|_| {
        let names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
        format!("there is no kind `{text}`; there is {}", names.join(", "))
    })
}

/// One `name=value`, without its quotes, and where it stands.
struct Word {
    text: String,
    begin: usize,
    end: usize,
}

fn words(text: &str) -> Outcome<Vec<Word>> {
    let mut words: Vec<Word> = Vec::new();
    let mut open: Option<Word> = None;
    let mut quoted = false;
    for (index, c) in text.char_indices() {
        if c.is_whitespace() && !quoted {
            words.extend(open.take());
            continue;
        }
        let word = open.get_or_insert(Word { text: String::new(), begin: index, end: index });
        word.end = index + c.len_utf8();
        if c == '"' {
            quoted = !quoted;
        } else {
            word.text.push(c);
        }
    }
    if let Some(word) = open.as_ref().filter(|_| quoted) {
        return Err(at(text, word, "a quote is open"));
    }
    words.extend(open);
    Ok(words)
}

fn at(text: &str, word: &Word, what: &str) -> Fault {
    let before = text.get(..word.begin).unwrap_or_default().chars().count();
    let marked = text.get(word.begin..word.end).unwrap_or_default().chars().count();
    let mark = format!("{}{}", " ".repeat(before), "^".repeat(marked.max(1)));
    Fault::usage(format!("The filter cannot be used: {what}.\n  {text}\n  {mark}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_narrows_by_all_that_it_names() {
        let query = parse(r#"phase=failed,partial kind=files  q="look book" created_by=mara"#).unwrap();
        assert_eq!(query.phases, [Phase::Partial, Phase::Failed]);
        assert_eq!((query.kind, query.q.as_deref()), (Some(Kind::Files), Some("look book")));
        assert_eq!(query.created_by.as_deref(), Some("mara"));
        assert_eq!(parse("").unwrap(), JobQuery::default());
    }

    #[test]
    fn what_cannot_be_used_is_pointed_at() {
        let error = parse("kind=files phase=runing").unwrap_err();
        assert_eq!(
            error.message,
            "The filter cannot be used: `phase`: unknown phase `runing`.\n  kind=files phase=runing\n             ^^^^^^^^^^^^"
        );
        for (text, said) in [("size=3", "nothing to filter by"), ("phase", "no value"), ("q=\"a", "quote is open")] {
            assert!(parse(text).unwrap_err().message.contains(said), "{text}");
        }
    }

    #[test]
    fn a_filter_never_widens_what_an_action_may_touch() {
        let query = parse("phase=active,completed").unwrap();
        let phases = narrow(&query, &Phase::TERMINAL);
        assert_eq!(phases, [Phase::Completed]);
        assert_eq!(narrow(&JobQuery::default(), &Phase::TERMINAL), Phase::TERMINAL);
    }
}
