//! What every store must do: one suite, written against [`Store`], held against each implementation.
//!
//! A claim is a function of a fresh store. [`suite!`] turns them all into tests of one implementation; another one
//! needs a factory and a line here.

/// Makes a test of each claim, for the store that `$fixture` (an async function) gives.
macro_rules! suite {
    ($fixture:ident) => {
        crate::store::suite!(@ $fixture life:
            a_job_goes_from_pending_through_its_phase_to_its_end,
            a_cancel_without_open_runs_ends_the_job_at_once,
        );
    };
    (@ $fixture:ident $claims:ident: $($claim:ident),+ $(,)?) => {
        mod $claims {
            $(#[tokio::test]
            async fn $claim() {
                crate::store::$claims::$claim(super::$fixture().await).await;
            })+
        }
    };
}
pub(crate) use suite;

mod fixture;
mod life;
mod sqlite;
