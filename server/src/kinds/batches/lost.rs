//! A creation whose answer was lost. Until the batch shows, or could not show any more, nobody knows whether there is one:
//! it is looked for as long as a provider's list may lag behind, before another one is made and before it is said that
//! nothing runs. A list that lags longer than the configuration says can hide a batch; no service offers a way to know.

use std::time::{Duration, Instant};

use app::model::Timestamp;
use batches::Batch;

use super::{
    Shared,
    life::{Flow, Heed, Life},
};
use crate::{engine::clock::now, kinds::Stop, store::BatchRecord};

/// Pauses between looks.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);
/// How far a provider's clock may be behind ours, milliseconds.
const CLOCK_SKEW: i64 = 600_000;

/// From when on a provider's list is searched for a batch that may be there.
pub(super) fn searched_since(batch: &BatchRecord) -> i64 {
    batch.create_begun_at.map_or(0, |at| at.0 - CLOCK_SKEW)
}

/// When to look.
struct Looks {
    /// How long a batch may come late.
    window: Duration,
    sent: Timestamp,
    begun: Instant,
    pause: Duration,
}

impl Looks {
    fn new(window: Duration, sent: Timestamp) -> Looks {
        Looks { window, sent, begun: Instant::now(), pause: SHORTEST }
    }

    /// Time until a look that finds nothing is believed; none when that is now. A clock that was set back changes little.
    fn left(&self) -> Option<Duration> {
        let since = Duration::from_millis(now().millis_since(self.sent).max(0).unsigned_abs());
        Some(self.window.saturating_sub(since.max(self.begun.elapsed()))).filter(|left| !left.is_zero())
    }

    /// The pause before the next look, longer each time.
    fn next(&mut self, left: Duration) -> Duration {
        let pause = self.pause.min(left);
        self.pause = (self.pause * 2).min(LONGEST);
        pause
    }
}

impl Life {
    /// The batch of our tag, or of our file where a service forgets tags. None only when it cannot come any more. While the
    /// provider does not answer, neither does this.
    pub(super) async fn find_lost(&mut self, sent: Timestamp) -> Flow<Option<Batch>> {
        let since = searched_since(&self.batch);
        let (tag, file) = (self.batch.tag.clone(), self.batch.input_file.clone().unwrap_or_default());
        let mut looks = Looks::new(self.shared.lost_create(&self.batch.provider), sent);
        loop {
            let (left, before) = (looks.left(), self.ordered());
            let (tag, file) = (tag.clone(), file.clone());
            let found =
                self.asking(Heed::Force, |provider| async move { provider.find_created(&tag, &file, since).await });
            let pause = match found.await? {
                Ok(Some(batch)) => return Ok(Some(batch)),
                Ok(None) => {
                    self.misses = 0;
                    let Some(left) = left else { return Ok(None) };
                    self.tell_of_looking(&looks).await?;
                    looks.next(left)
                }
                Err(error) => {
                    // Also what does not pass by itself: a batch may be there, and somebody can put the key right.
                    self.note_error(&error).await?;
                    self.missed(&error)
                }
            };
            self.tell_waiting().await?;
            self.rest(pause).await?;
            if before == Stop::No && self.ordered() != Stop::No {
                // Somebody waits for it now.
                looks.pause = SHORTEST;
            }
        }
    }

    async fn tell_of_looking(&mut self, looks: &Looks) -> Flow<()> {
        let until = looks.sent.plus_millis(i64::try_from(looks.window.as_millis()).unwrap_or(i64::MAX));
        let then = if self.ordered() == Stop::No { "then another is made" } else { "then none is there" };
        let words = format!(
            "Whether the batch was made is not known: its creation got no answer. It is looked for in the provider's list \
             until {until}; {then}."
        );
        self.change(|batch| batch.last_error = Some(words.clone())).await
    }
}

/// The same for whoever has no run to go on with. An error is told at once.
pub(super) async fn look_out(shared: &Shared, batch: &BatchRecord, sent: Timestamp) -> batches::Result<Option<Batch>> {
    let file = batch.input_file.as_deref().unwrap_or_default();
    let mut looks = Looks::new(shared.lost_create(&batch.provider), sent);
    loop {
        let left = looks.left();
        let found = shared.provider(&batch.provider)?.find_created(&batch.tag, file, searched_since(batch)).await?;
        match (found, left) {
            (Some(found), _) => return Ok(Some(found)),
            (None, None) => return Ok(None),
            (None, Some(left)) => tokio::time::sleep(looks.next(left)).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_looked_for_until_it_cannot_come_any_more() {
        let window = Duration::from_mins(5);
        let fresh = Looks::new(window, now());
        assert!(fresh.left().is_some_and(|left| left > Duration::from_mins(4)));
        let old = Looks::new(window, now().plus_millis(-301_000));
        assert_eq!(old.left(), None, "one look is enough");
        let ahead = Looks::new(window, now().plus_millis(3_600_000));
        assert!(ahead.left().is_some_and(|left| left <= window), "a clock that was set back");
    }

    #[test]
    fn looks_come_seldom_after_a_while_and_not_after_the_end() {
        let mut looks = Looks::new(Duration::from_mins(5), now());
        let pauses: Vec<u64> = (0..7).map(|_| looks.next(Duration::from_secs(20)).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 20, 20]);
    }
}
