//! Walking lists to their end, whatever they claim about it.

use std::collections::HashSet;

use crate::{Batch, Error, Page, Provider, Result, UnixMillis};

/// More pages than any account has: a list that goes on and on is given up with an error, not believed to be searched.
const MOST_PAGES: usize = 2_000;

/// Clocks differ.
const SKEW: UnixMillis = 24 * 60 * 60 * 1000;

/// Batches of the account, each once, in the provider's order; at most `most` of them.
///
/// # Errors
/// See [`Provider::list`].
pub async fn all_batches(provider: &dyn Provider, most: usize) -> Result<Vec<Batch>> {
    let mut found = Vec::new();
    let mut ids = HashSet::new();
    let mut cursors = Cursors::default();
    let mut cursor = None;
    loop {
        let page = provider.list(cursor.as_deref()).await?;
        for batch in page.items {
            if found.len() == most {
                return Ok(found);
            }
            if ids.insert(batch.id.clone()) {
                found.push(batch);
            }
        }
        cursor = cursors.follow(page.next)?;
        if cursor.is_none() {
            return Ok(found);
        }
    }
}

/// The first batch of which `is_it` holds. Ends early only in a list that has been newest first so far, once it is past `since`: the order is not
/// promised anywhere, and a batch that is not found is made again.
pub(crate) async fn find<P: Provider + ?Sized>(
    provider: &P,
    since: UnixMillis,
    is_it: impl Fn(&Batch) -> bool + Send,
) -> Result<Option<Batch>> {
    let mut order = Order::default();
    let mut cursors = Cursors::default();
    let mut cursor = None;
    loop {
        let page = provider.list(cursor.as_deref()).await?;
        for batch in page.items {
            if is_it(&batch) {
                return Ok(Some(batch));
            }
            order.see(batch.created_at);
        }
        if order.is_past(since.saturating_sub(SKEW)) {
            return Ok(None);
        }
        cursor = cursors.follow(page.next)?;
        if cursor.is_none() {
            return Ok(None);
        }
    }
}

/// Cursors that were followed: one that comes again leads round in circles.
#[derive(Default)]
pub(crate) struct Cursors(HashSet<String>);

impl Cursors {
    /// The next cursor, if it leads to something new.
    pub(crate) fn follow(&mut self, next: Option<String>) -> Result<Option<String>> {
        if self.0.len() == MOST_PAGES {
            return Err(Error::Garbage { what: format!("a list of more than {MOST_PAGES} pages") });
        }
        Ok(next.filter(|next| self.0.insert(next.clone())))
    }
}

/// The next page's cursor, as the providers' own libraries see it: nothing after an empty page or after itself.
pub(crate) fn page<T>(items: Vec<T>, next: Option<String>, cursor: Option<&str>, is_empty: bool) -> Page<T> {
    let next = next.filter(|next| !is_empty && Some(next.as_str()) != cursor);
    Page { items, next }
}

/// In which order a list has come so far.
#[derive(Default)]
struct Order {
    last: Option<UnixMillis>,
    has_fallen: bool,
    is_broken: bool,
}

impl Order {
    fn see(&mut self, created_at: Option<UnixMillis>) {
        match (self.last, created_at) {
            (_, None) => self.is_broken = true,
            (Some(last), Some(at)) if at > last => self.is_broken = true,
            (Some(last), Some(at)) => self.has_fallen |= at < last,
            (None, Some(_)) => {}
        }
        self.last = created_at.or(self.last);
    }

    fn is_past(&self, since: UnixMillis) -> bool {
        self.has_fallen && !self.is_broken && self.last.is_some_and(|last| last < since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past(times: &[Option<UnixMillis>], since: UnixMillis) -> bool {
        let mut order = Order::default();
        for time in times {
            order.see(*time);
        }
        order.is_past(since)
    }

    #[test]
    fn a_search_ends_early_only_where_the_newest_come_first() {
        assert!(past(&[Some(9), Some(9), Some(5)], 6));
        assert!(!past(&[Some(9), Some(7)], 6), "not there yet");
        assert!(!past(&[Some(1), Some(2), Some(3)], 6), "oldest first: what is looked for comes last");
        assert!(!past(&[Some(5), Some(5)], 6), "no order seen");
        assert!(!past(&[Some(9), None, Some(5)], 6));
        assert!(!past(&[], 6));
    }

    #[test]
    fn a_cursor_is_followed_once() {
        let mut cursors = Cursors::default();
        let mut follow = |text: &str| cursors.follow(Some(text.to_owned())).unwrap();
        assert_eq!(follow("a").as_deref(), Some("a"));
        assert_eq!(follow("b").as_deref(), Some("b"));
        assert_eq!(follow("a"), None);
    }
}
