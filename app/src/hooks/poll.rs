//! Keeping a page current: ask, show, sleep, ask again. Fast while something on it moves, slow else; not in a
//! hidden tab; slower and slower while the server does not answer. The sleep begins after the answer, so a slow
//! server is not hammered, and leaving the page aborts what is in flight.

use std::rc::Rc;

use leptos::{prelude::*, task::spawn_local_scoped_with_cancellation};

use crate::{
    backend::Answer,
    client::sleep,
    hooks::{dom, session::Session},
    model::{ErrorCode, Problem},
};

/// Milliseconds between an answer and the next question while something moves.
const FAST_MS: i32 = 1_000;
/// The same while nothing does.
const SLOW_MS: i32 = 15_000;
/// Longest wait after failures, before jitter.
const MAX_BACKOFF_MS: i32 = 60_000;
/// How often a waiting poll looks whether the tab is visible again or the pace has changed.
const LOOK_MS: i32 = 1_000;

/// Data of a page that is kept current.
pub(crate) struct Live<T: Send + Sync + 'static> {
    pub(crate) value: RwSignal<T>,
    /// Why the last question was not answered; the value is then an old one.
    pub(crate) problem: RwSignal<Option<Problem>>,
    again: RwSignal<u32>,
}

impl<T: Send + Sync + 'static> Clone for Live<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Send + Sync + 'static> Copy for Live<T> {}

impl<T: Send + Sync + 'static> Live<T> {
    /// Asks at once.
    pub(crate) fn refresh(&self) {
        self.again.update(|count| *count += 1);
    }
}

type Ask<T> = Rc<dyn Fn() -> Option<Answer<T>>>;
type Moving<T> = Rc<dyn Fn(&T) -> bool>;

/// Keeps `first` current. `ask` is told the key; when that changes the answer is wanted at once. Where there is nothing
/// to ask for under a key, it is none: what was not asked is no sign of a living server.
pub(crate) fn keep_current<K, T>(
    session: Session,
    first: T,
    key: Memo<K>,
    ask: impl Fn(K) -> Option<Answer<T>> + 'static,
    moving: impl Fn(&T) -> bool + 'static,
) -> Live<T>
where
    K: Clone + PartialEq + Send + Sync + 'static,
    T: PartialEq + Send + Sync + 'static,
{
    let live = Live { value: RwSignal::new(first), problem: RwSignal::new(None), again: RwSignal::new(0) };
    let ask = Rc::new(ask);
    let moving: Moving<T> = Rc::new(moving);
    Effect::new(move |ran: Option<()>| {
        let key = key.get();
        live.again.track();
        session.nudge.track();
        let ask = ask.clone();
        let ask: Ask<T> = Rc::new(move || ask(key.clone()));
        spawn_local_scoped_with_cancellation(follow(session, live, ran.is_some(), ask, moving.clone()));
    });
    live
}

async fn follow<T: PartialEq + Send + Sync + 'static>(
    session: Session,
    live: Live<T>,
    mut at_once: bool,
    ask: Ask<T>,
    moving: Moving<T>,
) {
    let mut failures = 0;
    loop {
        if !at_once {
            let jitter = dom::random();
            rest(session, || {
                let fast = live.value.with_untracked(|value| moving(value));
                if failures > 0 {
                    backoff(failures, jitter)
                } else if fast {
                    FAST_MS
                } else {
                    SLOW_MS
                }
            })
            .await;
        }
        at_once = false;
        let Some(asked) = ask() else { return };
        match asked.await {
            Ok(value) => {
                failures = 0;
                session.heard();
                take(live, value);
            }
            Err(problem) => {
                if problem.is(ErrorCode::Unauthenticated) {
                    session.sign_in_again();
                    return;
                }
                failures += 1;
                session.lost(&problem);
                let gone = problem.status == 404;
                live.problem.set(Some(problem));
                if gone {
                    return;
                }
            }
        }
    }
}

fn take<T: PartialEq + Send + Sync + 'static>(live: Live<T>, value: T) {
    if live.problem.with_untracked(Option::is_some) {
        live.problem.set(None);
    }
    if live.value.with_untracked(|old| *old != value) {
        live.value.set(value);
    }
}

/// Waits for `pace` milliseconds, and on while the tab is hidden or the switch is off.
async fn rest(session: Session, pace: impl Fn() -> i32) {
    let begun = dom::browser_now();
    loop {
        let waited = dom::browser_now().millis_since(begun) as i32;
        let idle = dom::hidden() || session.paused.get_untracked();
        let left = pace() - waited;
        if left <= 0 && !idle {
            return;
        }
        sleep(if left > 0 { left.min(LOOK_MS) } else { LOOK_MS }).await;
    }
}

/// Doubles with each failure; half of it is left to chance, so that many tabs do not come back at once.
pub(crate) fn backoff(failures: u32, chance: f64) -> i32 {
    let whole = FAST_MS.saturating_mul(1 << failures.min(6)).min(MAX_BACKOFF_MS);
    whole / 2 + (f64::from(whole / 2) * chance) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_with_failures_up_to_a_minute() {
        assert_eq!(backoff(1, 0.0), 1_000);
        assert_eq!(backoff(1, 1.0), 2_000);
        assert_eq!(backoff(3, 0.0), 4_000);
        assert_eq!(backoff(60, 1.0), 60_000);
    }
}
