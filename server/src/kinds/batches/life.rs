//! One run: from the file to the provider, along with it to its end, and back with the results. Each step is written down
//! before it is taken; whoever takes the run up begins with what is written.

use std::{sync::Arc, time::Duration};

use app::model::{JobId, Phase, RunId};
use batches::{Error as ProviderError, Provider};
use tokio::sync::watch;

use super::{Shared, evidence::Notes, follow::cancel_result};
use crate::{
    data::make_folder,
    error::Error,
    kinds::{RunContext, RunOutcome, RunPlace, Stop},
    process,
    store::{BatchRecord, PutBatch, UnitRecord, Verdict},
};

/// Between two tries to store something.
const STORE_AGAIN: Duration = Duration::from_millis(250);
/// Longest pause after answers that did not come.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Longest rest that a provider gets when it asks for one, while nobody waits for a cancel.
pub(super) const LONGEST_REST: Duration = Duration::from_hours(1);

/// Why a run does not go on.
pub(super) enum Halt {
    /// This process lets go of it; the next one takes it up.
    LetGo,
    /// Force: it ends here, whatever the provider does.
    Forced,
    /// The job is being cancelled. Only where it was asked for.
    Cancel,
    /// It has failed, and nothing runs at the provider.
    Failed(String),
    /// A fault of ours: it is taken up again later.
    Fault(Error),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Halt::Fault(error)
    }
}

pub(super) type Flow<T> = std::result::Result<T, Halt>;

/// What a wait may be ended by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Heed {
    /// A cancel, too.
    Cancel,
    /// Only force and the end of this process.
    Force,
}

/// See the module.
pub(super) struct Life {
    pub(super) shared: Arc<Shared>,
    pub(super) place: RunPlace,
    pub(super) unit: UnitRecord,
    worker: String,
    pub(super) stop: watch::Receiver<Stop>,
    pub(super) batch: BatchRecord,
    pub(super) notes: Notes,
    /// Answers in a row that did not come.
    pub(super) misses: u32,
    /// How long the provider wants to be left alone.
    pub(super) asked_rest: Option<Duration>,
    /// What the job was last said to wait for, while it is being cancelled.
    pub(super) told_waiting: Option<String>,
}

impl Life {
    /// Carries a run out, or on.
    pub(super) async fn of(shared: &Arc<Shared>, context: RunContext) -> RunOutcome {
        let RunContext { claimed, stop, worker } = context;
        let place = RunPlace::from(&claimed);
        let found = match shared.store.batch(place.job_id).await {
            Ok(Some(batch)) => Ok(batch),
            Ok(None) => shared.fresh(place.job_id, &claimed.spec),
            Err(error) => Err(error),
        };
        let batch = match found {
            Ok(batch) => batch,
            Err(error) => return after_fault(place.run_id, &error),
        };
        let notes = Notes::of(&batch);
        let shared = shared.clone();
        let mut life = Life {
            shared,
            place,
            unit: claimed.unit,
            worker,
            stop,
            batch,
            notes,
            misses: 0,
            asked_rest: None,
            told_waiting: None,
        };
        let end = life.live().await;
        life.outcome(end).await
    }

    async fn live(&mut self) -> Flow<RunOutcome> {
        match self.submit().await {
            Ok(()) => {}
            // Raised only while nothing runs at the provider.
            Err(Halt::Cancel) => return self.never_sent().await,
            Err(halt) => return Err(halt),
        }
        self.follow().await?;
        self.collect().await
    }

    async fn outcome(&mut self, end: Flow<RunOutcome>) -> RunOutcome {
        match end {
            Ok(outcome) => outcome,
            // Without evidence: the run stays open, and is taken up.
            Err(Halt::LetGo) => open_ended(),
            Err(Halt::Forced | Halt::Cancel) => {
                let batch = &self.batch;
                let evidence = if !batch.may_be_there() {
                    self.notes.nothing_running(batch)
                } else if batch.state.is_terminal() {
                    self.notes.proof(batch, cancel_result(batch))
                } else {
                    self.notes.unconfirmed(batch)
                };
                RunOutcome { verdict: Verdict::Cancelled, exit_code: None, stop: Some(evidence), produced: Vec::new() }
            }
            Err(Halt::Failed(why)) => {
                self.say(format!("failed: {why}")).await;
                let may_run = self.batch.may_be_there() && !self.batch.state.is_terminal();
                let stop = (self.ordered() != Stop::No).then(|| {
                    if may_run { self.notes.unconfirmed(&self.batch) } else { self.notes.nothing_running(&self.batch) }
                });
                RunOutcome { verdict: Verdict::Failed(why), exit_code: None, stop, produced: Vec::new() }
            }
            Err(Halt::Fault(error)) => after_fault(self.place.run_id, &error),
        }
    }

    // ---- what was ordered ----

    pub(super) fn ordered(&self) -> Stop {
        *self.stop.borrow()
    }

    pub(super) fn heed(&self, heed: Heed) -> Flow<()> {
        match self.ordered() {
            Stop::LetGo => Err(Halt::LetGo),
            Stop::Kill => Err(Halt::Forced),
            Stop::Graceful if heed == Heed::Cancel => Err(Halt::Cancel),
            Stop::No | Stop::Graceful => Ok(()),
        }
    }

    /// Waits for `work` unless an order comes first; then it is dropped.
    pub(super) async fn unless<T>(&self, heed: Heed, work: impl Future<Output = T>) -> Flow<T> {
        let mut stop = self.stop.clone();
        let order = async {
            let is_order = |stop: &Stop| match stop {
                Stop::No => false,
                Stop::Graceful => heed == Heed::Cancel,
                Stop::Kill | Stop::LetGo => true,
            };
            if stop.wait_for(is_order).await.is_err() {
                // Nobody can order anything any more.
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            done = work => Ok(done),
            () = order => match self.heed(heed) {
                Err(halt) => Err(halt),
                Ok(()) => Err(Halt::LetGo),
            },
        }
    }

    /// Asks the provider, unless an order comes first; then the question is dropped.
    pub(super) async fn asking<T, A>(
        &self,
        heed: Heed,
        ask: impl FnOnce(Arc<dyn Provider>) -> A,
    ) -> Flow<batches::Result<T>>
    where
        A: Future<Output = batches::Result<T>>,
    {
        match self.shared.provider(&self.batch.provider) {
            Ok(provider) => self.unless(heed, ask(provider)).await,
            Err(error) => Ok(Err(error)),
        }
    }

    /// A pause that an order ends; whoever rests looks at the order then.
    pub(super) async fn rest(&self, pause: Duration) -> Flow<()> {
        let heed = if self.ordered() == Stop::No { Heed::Cancel } else { Heed::Force };
        match self.unless(heed, tokio::time::sleep(pause)).await {
            Ok(()) | Err(Halt::Cancel) => Ok(()),
            Err(halt) => Err(halt),
        }
    }

    /// A pause after an answer that did not come.
    pub(super) async fn rest_after(&mut self, error: &ProviderError) -> Flow<()> {
        let pause = self.missed(error);
        self.rest(pause).await
    }

    /// Counts an answer that did not come. The pause after it: as the provider says, or longer each time.
    pub(super) fn missed(&mut self, error: &ProviderError) -> Duration {
        self.misses = self.misses.saturating_add(1);
        let own = Duration::from_secs(1 << self.misses.min(6)).min(LONGEST_PAUSE);
        let longest = if self.ordered() == Stop::No { LONGEST_REST } else { LONGEST_PAUSE };
        jittered(error.retry_after().unwrap_or(own).min(longest))
    }

    // ---- the record ----

    /// Changes the record and stores it; tried until it is stored. Somebody else's change in between is kept.
    pub(super) async fn change(&mut self, change: impl Fn(&mut BatchRecord)) -> Flow<()> {
        loop {
            let mut next = self.batch.clone();
            change(&mut next);
            if next == self.batch && next.version > 0 {
                return Ok(());
            }
            match self.shared.store.put_batch(&next).await {
                Ok(PutBatch::Stored(version)) => {
                    self.batch = BatchRecord { version, ..next };
                    return Ok(());
                }
                Ok(PutBatch::Conflict) => {
                    if let Some(batch) = self.shared.store.batch(self.place.job_id).await? {
                        self.batch = batch;
                    }
                }
                Ok(PutBatch::Taken) => {
                    return Err(Halt::Failed("another job has this batch already".to_owned()));
                }
                Err(Error::Busy | Error::DiskFull) => {
                    self.unless(Heed::Force, tokio::time::sleep(STORE_AGAIN)).await?;
                }
                Err(error) => return Err(Halt::Fault(error)),
            }
        }
    }

    /// The provider did not answer, or not well: shown until it does.
    pub(super) async fn note_error(&mut self, error: &ProviderError) -> Flow<()> {
        if let ProviderError::KeyRejected { .. } | ProviderError::KeyMissing(_) = error
            && let Some(known) = self.shared.providers.get(&self.batch.provider)
        {
            known.forget();
        }
        let text = error.to_string();
        if self.batch.last_error.as_ref() != Some(&text) {
            tracing::warn!(job = %self.place.job_id, provider = %self.batch.provider, error = %text, "a provider did not do it");
            self.say(text.clone()).await;
        }
        self.change(|batch| batch.last_error = Some(text.clone())).await
    }

    /// Moves the job on to `to`, through what lies between. While it is being cancelled it stays where it is.
    pub(super) async fn enter(&self, to: Phase) -> Flow<()> {
        const PHASES: [Phase; 2] = [Phase::InProgress, Phase::Finalizing];
        let last = PHASES.iter().position(|phase| *phase == to).unwrap_or(PHASES.len() - 1);
        for phase in &PHASES[..=last] {
            let now = crate::engine::clock::now();
            self.shared.store.move_phase(self.place.run_id, &self.worker, *phase, now).await?;
        }
        Ok(())
    }

    /// A line of the run's log.
    pub(super) async fn say(&self, text: impl Into<String>) {
        let (data, place, text) = (self.shared.data.clone(), self.place, text.into());
        let write = move || -> std::io::Result<()> {
            let path = data.log(place.job_id, place.run_id);
            make_folder(&data.logs(place.job_id))?;
            std::fs::OpenOptions::new().create(true).append(true).open(&path)?;
            process::log::add(&path, &[text])
        };
        if let Ok(Err(error)) = tokio::task::spawn_blocking(write).await {
            tracing::debug!(run = %place.run_id, %error, "a line of a log is missing");
        }
    }

    pub(super) fn job(&self) -> JobId {
        self.place.job_id
    }
}

/// A tenth more or less, so that what began together does not ask together for ever.
pub(super) fn jittered(pause: Duration) -> Duration {
    let mut bytes = [0_u8; 2];
    let spread =
        if getrandom::fill(&mut bytes).is_ok() { f64::from(u16::from_le_bytes(bytes)) / 65_535.0 } else { 0.5 };
    pause.mul_f64(0.9 + spread * 0.2)
}

fn open_ended() -> RunOutcome {
    RunOutcome { verdict: Verdict::Cancelled, exit_code: None, stop: None, produced: Vec::new() }
}

fn after_fault(run: RunId, error: &Error) -> RunOutcome {
    tracing::error!(%run, error = error as &dyn std::error::Error, "a batch could not be followed; it is taken up again");
    open_ended()
}
