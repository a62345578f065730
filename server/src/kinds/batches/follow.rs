//! Going along with a batch: asked seldom when it is old, often when it is being cancelled, until the provider says that
//! it is over. A cancel is a request, never a deletion, and only what the provider says afterwards is proof.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use app::model::{
    BatchFault, BatchState, CancelResult, JobId, Phase, RequestCounts, StopEvidence, Timestamp, TokenUsage,
};
use batches::{Batch, CancelAnswer, Error as ProviderError, Source, State};
use tokio::sync::Notify;

use super::{
    Shared,
    evidence::{Notes, waiting_for},
    life::{Flow, Halt, Heed, LONGEST_REST, Life, jittered},
    lost,
};
use crate::{
    engine::clock::now,
    error::{Error, Result},
    kinds::Stop,
    store::{BatchRecord, BatchStep, JobRecord, OpenRun, PutBatch},
};

/// Pauses between two questions, by age.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);
/// Of a second, for each batch that is followed: so many questions are asked in it at most.
const EACH: Duration = Duration::from_millis(20);
/// While it is being cancelled.
const CANCEL_SHORTEST: Duration = Duration::from_millis(300);
const CANCEL_LONGEST: Duration = Duration::from_secs(10);
/// Between two requests to cancel, while nothing shows that the first was taken.
const CANCEL_AGAIN: Duration = Duration::from_secs(60);
/// Answers in a row that there is no such batch, until it is believed; a new one may not be known everywhere yet.
const ABSENCES: u32 = 4;
/// What a forced end still tries, in all: the job is given up after five seconds.
const LAST_TRY: Duration = Duration::from_secs(4);
/// Characters of a provider's word for a state, and of what it says is wrong.
const LONGEST_WORD: usize = 100;
const LONGEST_FAULT: usize = 1_000;
/// How long a look for what was given up goes on.
const PROOF_PATIENCE: Duration = Duration::from_secs(600);

/// How a cancel goes.
#[derive(Default)]
struct Cancel {
    sent: Option<Instant>,
    /// It may have been heard, though its answer could not be read.
    may_be_heard: bool,
    looks: u32,
}

impl Life {
    /// Returns when the batch is over.
    pub(super) async fn follow(&mut self) -> Flow<()> {
        let nudge = self.nudge();
        let mut cancel = Cancel::default();
        let mut absences = 0;
        let mut shown = None;
        while !self.batch.state.is_terminal() {
            let before = self.ordered();
            match before {
                Stop::LetGo => return Err(Halt::LetGo),
                Stop::Kill => return self.last_try().await,
                Stop::Graceful => {
                    self.cancel(&mut cancel).await?;
                    self.tell_waiting().await?;
                }
                Stop::No => {}
            }
            match self.ask().await? {
                Ok(()) => absences = 0,
                Err(ProviderError::NotFound { .. }) => absences += 1,
                Err(error) => {
                    self.asked_rest = error.retry_after();
                    self.note_error(&error).await?;
                }
            }
            if absences >= ABSENCES {
                self.believe_gone().await?;
            }
            if shown != Some(self.batch.state) && !self.batch.state.is_terminal() {
                shown = Some(self.batch.state);
                self.show_phase().await?;
            }
            self.tell_waiting().await?;
            // An order that came meanwhile is carried out first.
            if !self.batch.state.is_terminal() && self.ordered() == before {
                self.wait(&nudge, &mut cancel).await?;
            }
        }
        Ok(())
    }

    /// One question. What the provider says is stored when it is news.
    async fn ask(&mut self) -> Flow<std::result::Result<(), ProviderError>> {
        let id = self.batch.batch_id.clone().unwrap_or_default();
        // A cancel does not wait for an answer that may never come.
        let heed = if self.ordered() == Stop::No { Heed::Cancel } else { Heed::Force };
        let told = self.asking(heed, |provider| async move { provider.get(&id).await }).await;
        let told = told.or_else(|halt| match halt {
            // The next round of `follow` does what is left to do.
            Halt::Cancel | Halt::Forced => Ok(Err(ProviderError::Unclear("interrupted".to_owned()))),
            other => Err(other),
        });
        match told? {
            Ok(told) => {
                self.misses = 0;
                self.take(&told).await?;
                Ok(Ok(()))
            }
            Err(ProviderError::Unclear(_)) => Ok(Ok(())),
            Err(error) => {
                self.misses = self.misses.saturating_add(1);
                Ok(Err(error))
            }
        }
    }

    /// What the provider says becomes what is known.
    pub(super) async fn take(&mut self, told: &Batch) -> Flow<()> {
        let (deadline, before) = (self.deadline(), self.batch.raw_state.clone());
        let (asked, next) = (now(), now().plus_millis(millis(self.natural_pause())));
        self.change(|batch| {
            let known = batch.clone();
            absorb(batch, told, deadline);
            if *batch != known {
                batch.asked_at = Some(asked);
                batch.next_ask_at = (!batch.state.is_terminal()).then_some(next);
            }
        })
        .await?;
        if self.batch.raw_state != before {
            self.say(super::evidence::words_of(&self.batch)).await;
        }
        Ok(())
    }

    async fn show_phase(&self) -> Flow<()> {
        match self.batch.state {
            BatchState::Running => self.enter(Phase::InProgress).await,
            BatchState::Finalizing => self.enter(Phase::Finalizing).await,
            BatchState::Unsent
            | BatchState::Uploading
            | BatchState::Creating
            | BatchState::Queued
            | BatchState::Cancelling
            | BatchState::Succeeded
            | BatchState::Partial
            | BatchState::Failed
            | BatchState::Expired
            | BatchState::Cancelled
            | BatchState::Unknown => Ok(()),
        }
    }

    /// While the job is being cancelled the page says how the provider stands.
    pub(super) async fn tell_waiting(&mut self) -> Flow<()> {
        if self.ordered() != Stop::Graceful || self.batch.state.is_terminal() {
            return Ok(());
        }
        self.notes.answered(&self.batch);
        let evidence = self.notes.unconfirmed(&self.batch);
        if self.told_waiting.as_ref() != Some(&evidence.detail) {
            self.told_waiting = Some(evidence.detail.clone());
            self.shared.store.add_evidence(self.place.run_id, evidence, now()).await?;
        }
        Ok(())
    }

    /// The provider has said several times that there is no such batch.
    async fn believe_gone(&mut self) -> Flow<()> {
        self.change(|batch| batch.gone = true).await?;
        // A new one may come to be known yet.
        let is_young = self.batch.created_at.is_some_and(|at| now().millis_since(at) < 30_000);
        if is_young {
            return Ok(());
        }
        if self.ordered() == Stop::No {
            let name = &self.batch.provider;
            return Err(Halt::Failed(format!(
                "{name} does not know the batch any more: what became of it is not known"
            )));
        }
        Ok(())
    }

    async fn wait(&mut self, nudge: &Notify, cancel: &mut Cancel) -> Flow<()> {
        let cancelling = self.ordered() == Stop::Graceful;
        let own = if cancelling {
            cancel.looks = cancel.looks.saturating_add(1);
            (CANCEL_SHORTEST * (1 << cancel.looks.min(6).saturating_sub(1))).min(CANCEL_LONGEST)
        } else {
            self.natural_pause()
        };
        let missed = Duration::from_secs(1 << self.misses.min(6));
        let own = if self.misses > 0 { own.max(missed.min(LONGEST)) } else { own };
        // Somebody waits for a cancel, and each minute of it costs.
        let longest = if cancelling { LONGEST } else { LONGEST_REST };
        let pause = jittered(own.max(self.asked_rest.take().unwrap_or_default().min(longest)));
        self.remember(pause);
        let heed = if cancelling { Heed::Force } else { Heed::Cancel };
        let rest = async {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = nudge.notified() => {}
            }
        };
        match self.unless(heed, rest).await {
            // `follow` looks at the order itself.
            Ok(()) | Err(Halt::Cancel | Halt::Forced) => Ok(()),
            Err(halt) => Err(halt),
        }
    }

    fn natural_pause(&self) -> Duration {
        let age = self.batch.created_at.map_or(0, |at| now().millis_since(at)).max(0);
        natural_pause(Duration::from_millis(age.unsigned_abs()), self.shared.followed().len())
    }

    fn remember(&self, pause: Duration) {
        if let Some(followed) = self.shared.followed().get_mut(&self.job()) {
            followed.asked_at = Some(now());
            followed.next_ask_at = Some(now().plus_millis(millis(pause)));
        }
    }

    fn nudge(&self) -> Arc<Notify> {
        self.shared.followed().entry(self.job()).or_default().nudge.clone()
    }

    // ---- cancel ----

    /// Asks the provider to cancel, and again now and then while nothing shows that it was heard.
    async fn cancel(&mut self, cancel: &mut Cancel) -> Flow<()> {
        let was_sent = self.batch.cancel_sent_at.is_some() || cancel.may_be_heard;
        let is_heard = self.batch.state == BatchState::Cancelling && was_sent;
        let is_fresh = cancel.sent.is_some_and(|sent| sent.elapsed() < CANCEL_AGAIN);
        if is_heard || is_fresh {
            return Ok(());
        }
        let id = self.batch.batch_id.clone().unwrap_or_default();
        match self.asking(Heed::Force, |provider| async move { provider.cancel(&id).await }).await {
            Ok(answer) => self.heard(answer, cancel).await,
            Err(Halt::Forced) => Ok(()),
            Err(halt) => Err(halt),
        }
    }

    async fn heard(&mut self, answer: batches::Result<CancelAnswer>, cancel: &mut Cancel) -> Flow<()> {
        match answer {
            Ok(CancelAnswer::Asked(told)) => {
                cancel.sent = Some(Instant::now());
                self.misses = 0;
                self.notes.asked("cancel sent; the provider took it");
                self.say("cancel sent; the provider took it").await;
                let at = now();
                self.change(|batch| {
                    batch.cancel_sent_at.get_or_insert(at);
                    batch.last_error = None;
                })
                .await?;
                if let Some(told) = told {
                    self.take(&told).await?;
                }
                Ok(())
            }
            Ok(CancelAnswer::Refused { status, message }) => {
                cancel.sent = Some(Instant::now());
                let words = format!("cancel refused (HTTP {status}): {message}");
                self.notes.asked(words.clone());
                self.say(words).await;
                Ok(())
            }
            Err(error) => {
                // Asked again soon: it is harmless, and who did not hear it goes on and bills.
                self.asked_rest = error.retry_after();
                cancel.may_be_heard |= matches!(error, ProviderError::Garbage { .. });
                self.misses = self.misses.saturating_add(1);
                self.note_error(&error).await
            }
        }
    }

    /// Force: the request is sent all the same, and a few looks are made.
    async fn last_try(&mut self) -> Flow<()> {
        let Some(id) = self.batch.batch_id.clone() else { return Err(Halt::Forced) };
        let Ok(provider) = self.shared.provider(&self.batch.provider) else { return Err(Halt::Forced) };
        let deadline = tokio::time::Instant::now() + LAST_TRY;
        if self.batch.state != BatchState::Cancelling
            && let Ok(answer) = tokio::time::timeout_at(deadline, provider.cancel(&id)).await
        {
            self.heard(answer, &mut Cancel::default()).await?;
        }
        while !self.batch.state.is_terminal() {
            match tokio::time::timeout_at(deadline, provider.get(&id)).await {
                Ok(Ok(told)) => self.take(&told).await?,
                Ok(Err(_)) | Err(_) => return Err(Halt::Forced),
            }
            if self.ordered() == Stop::LetGo {
                return Err(Halt::LetGo);
            }
            tokio::time::sleep(CANCEL_SHORTEST).await;
        }
        Ok(())
    }

    pub(super) fn deadline(&self) -> Duration {
        self.shared.deadline(&self.batch.provider)
    }
}

/// By age; and so long that each of many gets its turn: a thousand new ones would be a thousand questions a second.
fn natural_pause(age: Duration, followed: usize) -> Duration {
    (age / 10).clamp(SHORTEST, LONGEST).max(EACH * u32::try_from(followed).unwrap_or(u32::MAX))
}

/// How a cancel met a batch that is over.
pub(super) fn cancel_result(batch: &BatchRecord) -> CancelResult {
    match (batch.state, batch.cancel_sent_at) {
        (BatchState::Cancelled, _) => CancelResult::Cancelled,
        (_, Some(_)) => CancelResult::FinishedAnyway,
        (_, None) => CancelResult::AlreadyFinished,
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

// ---- without a run ----

/// Asks the provider now. A run that follows the batch is woken; without one the answer is stored here.
pub(super) async fn refresh(shared: &Shared, job: &JobRecord) -> Result<()> {
    let batch = shared.batch_of(job).await?;
    if !job.phase.is_terminal() {
        if let Some(followed) = shared.followed().get(&job.job_id) {
            followed.nudge.notify_one();
        }
        return Ok(());
    }
    if batch.version == 0 || !batch.may_be_there() {
        return Ok(());
    }
    let looked = look(shared, &batch).await;
    store(shared, job.job_id, &looked).await
}

/// What a look found.
enum Look {
    Told(Box<Batch>),
    Gone,
    /// There never was a batch.
    None,
    Failed(ProviderError),
}

async fn look(shared: &Shared, batch: &BatchRecord) -> Look {
    let provider = match shared.provider(&batch.provider) {
        Ok(provider) => provider,
        Err(error) => return Look::Failed(error),
    };
    let told = match &batch.batch_id {
        Some(id) => provider.get(id).await.map(Some),
        None => {
            let file = batch.input_file.as_deref().unwrap_or_default();
            provider.find_created(&batch.tag, file, lost::searched_since(batch)).await
        }
    };
    match told {
        Ok(Some(told)) => Look::Told(Box::new(told)),
        Ok(None) => Look::None,
        Err(ProviderError::NotFound { .. }) => Look::Gone,
        Err(error) => Look::Failed(error),
    }
}

async fn store(shared: &Shared, job: JobId, looked: &Look) -> Result<()> {
    let at = now();
    change(shared, job, |batch| match looked {
        Look::Told(told) => {
            let deadline = shared.deadline(&batch.provider);
            absorb(batch, told, deadline);
            batch.asked_at = Some(at);
        }
        Look::Gone => {
            batch.gone = true;
            batch.last_error = None;
            batch.asked_at = Some(at);
        }
        Look::None => batch.last_error = None,
        Look::Failed(error) => batch.last_error = Some(error.to_string()),
    })
    .await
    .map(|_| ())
}

/// Changes a record that nobody follows.
pub(super) async fn change(
    shared: &Shared,
    job: JobId,
    change: impl Fn(&mut BatchRecord),
) -> Result<Option<BatchRecord>> {
    loop {
        let Some(known) = shared.store.batch(job).await? else { return Ok(None) };
        let mut next = known.clone();
        change(&mut next);
        if next == known {
            return Ok(Some(known));
        }
        match shared.store.put_batch(&next).await? {
            PutBatch::Stored(version) => return Ok(Some(BatchRecord { version, ..next })),
            PutBatch::Conflict => {}
            PutBatch::Taken => {
                return Err(Error::Internal {
                    context: format!("the batch of job {job} is another job's, too"),
                    source: None,
                });
            }
        }
    }
}

/// What became of a creation whose answer was lost. The record as it is then.
pub(super) enum Surfaced {
    Found(Box<BatchRecord>),
    /// It cannot come any more.
    Never(Box<BatchRecord>),
    /// The provider could not be asked; the record says why.
    Unknown(Box<BatchRecord>),
}

/// Looks for a batch whose creation got no answer, as long as it may come, and stores what is known then.
pub(super) async fn surfaced(shared: &Shared, batch: &BatchRecord) -> Result<Surfaced> {
    let (job, deadline) = (batch.job_id, shared.deadline(&batch.provider));
    let known = |changed: Option<BatchRecord>| Box::new(changed.unwrap_or_else(|| batch.clone()));
    let Some(sent) = batch.create_sent_at else { return Ok(Surfaced::Never(known(None))) };
    Ok(match lost::look_out(shared, batch, sent).await {
        Ok(Some(told)) => Surfaced::Found(known(change(shared, job, |batch| absorb(batch, &told, deadline)).await?)),
        Ok(None) => {
            let never = change(shared, job, |batch| {
                batch.create_sent_at = None;
                batch.cancel_result = Some(CancelResult::NeverAppeared);
                batch.last_error = None;
            });
            Surfaced::Never(known(never.await?))
        }
        Err(error) => {
            let words = error.to_string();
            Surfaced::Unknown(known(change(shared, job, |batch| batch.last_error = Some(words.clone())).await?))
        }
    })
}

/// A run that was given up: the provider is asked to cancel, then how it stands, until it is over.
pub(super) async fn prove(shared: &Shared, run: &OpenRun) -> Result<StopEvidence> {
    let Some(mut batch) = shared.store.batch(run.job_id).await? else {
        let fresh = BatchRecord::new(run.job_id, "the provider", app::model::ProviderKind::Openai);
        return Ok(Notes::of(&fresh).nothing_running(&fresh));
    };
    let mut notes = Notes::of(&batch);
    if !batch.may_be_there() {
        return Ok(notes.nothing_running(&batch));
    }
    if batch.batch_id.is_none() {
        match surfaced(shared, &batch).await? {
            Surfaced::Found(found) => batch = *found,
            Surfaced::Never(batch) => return Ok(notes.nothing_running(&batch)),
            Surfaced::Unknown(batch) => return Ok(notes.unconfirmed(&batch)),
        }
    }
    if batch.state.is_terminal() {
        // It has said so, and nothing changes that: it may have been deleted there since.
        return Ok(notes.proof(&batch, cancel_result(&batch)));
    }
    let begun = Instant::now();
    let mut sent = false;
    let mut pause = CANCEL_SHORTEST;
    loop {
        let looked = look(shared, &batch).await;
        store(shared, run.job_id, &looked).await?;
        batch = shared.store.batch(run.job_id).await?.unwrap_or(batch);
        match looked {
            Look::Failed(_) | Look::Gone | Look::None => return Ok(notes.unconfirmed(&batch)),
            Look::Told(_) => {}
        }
        notes.answered(&batch);
        if batch.state.is_terminal() {
            let result = cancel_result(&batch);
            change(shared, run.job_id, |batch| batch.cancel_result = Some(result)).await?;
            return Ok(notes.proof(&batch, result));
        }
        if !sent && batch.state != BatchState::Cancelling {
            let id = batch.batch_id.clone().unwrap_or_default();
            if let Ok(provider) = shared.provider(&batch.provider)
                && let Ok(CancelAnswer::Asked(_)) = provider.cancel(&id).await
            {
                notes.asked("cancel sent; the provider took it");
                change(shared, run.job_id, |batch| {
                    batch.cancel_sent_at.get_or_insert(now());
                })
                .await?;
                sent = true;
            }
        }
        if begun.elapsed() >= PROOF_PATIENCE {
            tracing::info!(job = %run.job_id, detail = %waiting_for(&batch), "a batch is still not over");
            return Ok(notes.unconfirmed(&batch));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(CANCEL_LONGEST);
    }
}

/// Takes over what a provider says.
pub(super) fn absorb(batch: &mut BatchRecord, told: &Batch, deadline: Duration) {
    batch.step = batch.step.max(BatchStep::Created);
    // A mixed-up answer does not take the handle away.
    batch.batch_id.get_or_insert_with(|| told.id.clone());
    batch.create_sent_at = None;
    // What is over stays over: an answer from before comes from a part of the provider that lags behind.
    if told.state.is_terminal() || !batch.state.is_terminal() {
        batch.state = state_of(told.state);
        batch.raw_state = Some(shortened(&told.raw_state, LONGEST_WORD)).filter(|word| !word.is_empty());
    }
    keep(&mut batch.model, told.model.clone());
    keep(&mut batch.endpoint, told.endpoint.clone());
    keep(&mut batch.counts, told.counts.map(counts_of));
    keep(&mut batch.usage, told.usage.map(usage_of));
    keep(&mut batch.input_file, told.input_file.clone());
    let created = told.created_at.map(Timestamp).or(batch.created_at).unwrap_or_else(now);
    batch.created_at = Some(created);
    batch.expires_at =
        told.expires_at.map(Timestamp).or(batch.expires_at).or_else(|| Some(created.plus_millis(millis(deadline))));
    if told.state.is_terminal() {
        batch.ended_at = told.ended_at.map(Timestamp).or(batch.ended_at).or_else(|| Some(now()));
        batch.next_ask_at = None;
    }
    for source in told.outputs.iter() {
        if let Source::File(file) = source
            && !batch.output_files.contains(file)
        {
            batch.output_files.push(file.clone());
        }
    }
    let fault = |error: &batches::BatchError| BatchFault {
        code: error.code.clone(),
        message: shortened(&error.message, LONGEST_FAULT),
        line: error.line,
    };
    batch.faults = told.errors.iter().take(100).map(fault).collect();
    batch.gone = false;
    batch.last_error = None;
}

/// A provider may say anything, at any length.
fn shortened(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

/// What a provider leaves out is not unknown again.
fn keep<T>(known: &mut Option<T>, told: Option<T>) {
    if told.is_some() {
        *known = told;
    }
}

pub(crate) fn counts_of(counts: batches::Counts) -> RequestCounts {
    RequestCounts { total: counts.total, completed: counts.completed, failed: counts.failed }
}

pub(super) fn usage_of(usage: batches::Usage) -> TokenUsage {
    TokenUsage {
        input_tokens: usage.input_tokens,
        cached_tokens: usage.cached_tokens,
        output_tokens: usage.output_tokens,
    }
}

pub(crate) fn state_of(state: State) -> BatchState {
    match state {
        State::Queued => BatchState::Queued,
        State::Running => BatchState::Running,
        State::Finalizing => BatchState::Finalizing,
        State::Cancelling => BatchState::Cancelling,
        State::Succeeded => BatchState::Succeeded,
        State::Partial => BatchState::Partial,
        State::Failed => BatchState::Failed,
        State::Expired => BatchState::Expired,
        State::Cancelled => BatchState::Cancelled,
        State::Unknown => BatchState::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_asked_for_by_its_age_and_many_take_turns() {
        let pause = |age, followed| natural_pause(Duration::from_secs(age), followed).as_secs();
        assert_eq!([pause(0, 1), pause(100, 1), pause(3_600, 1)], [1, 10, 60]);
        assert_eq!([pause(0, 1_000), pause(3_600, 1_000), pause(0, 10_000)], [20, 60, 200]);
    }

    #[test]
    fn what_is_over_stays_over_whatever_a_late_answer_says() {
        let mut batch = BatchRecord::new(JobId(1), "openai", app::model::ProviderKind::Openai);
        let told = |word: &str| Batch {
            id: "batch_1".to_owned(),
            state: State::from_word(word),
            raw_state: word.to_owned(),
            ..Batch::default()
        };
        for (word, state) in [
            ("in_progress", BatchState::Running),
            ("validating", BatchState::Queued),
            ("cancelled", BatchState::Cancelled),
            ("cancelling", BatchState::Cancelled),
            ("", BatchState::Cancelled),
            ("completed", BatchState::Succeeded),
        ] {
            absorb(&mut batch, &told(word), LONGEST);
            assert_eq!(batch.state, state, "{word}");
        }
        assert_eq!(batch.raw_state.as_deref(), Some("completed"));
        absorb(&mut batch, &told(&"failed".repeat(1_000)), LONGEST);
        assert!(batch.raw_state.is_some_and(|word| word.len() <= LONGEST_WORD));
    }
}
