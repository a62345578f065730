//! Fetching what a batch left at its provider, whole or in part, and joining it to the requests.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use app::model::{BatchState, Phase};
use batches::{Batch, Error as ProviderError, Source};

use super::{
    follow::{cancel_result, usage_of},
    life::{Flow, Halt, Heed, Life},
    requests_file,
    table::{self, Joined},
};
use crate::{
    data::make_folder,
    error::Error,
    kinds::{RunOutcome, Stop, blocking},
    store::{BatchStep, Verdict},
};

/// Tries while a cancelled job waits: the proof is here, only results are missing.
const TRIES_IN_CANCEL: u32 = 8;
/// Tries at work; with pauses of up to a minute this is a day. Providers keep results for weeks.
const TRIES_AT_WORK: u32 = 1_500;
/// Tries to fetch the requests of an adopted batch.
const TRIES_FOR_REQUESTS: u32 = 5;
/// Looks for results that a finished batch does not name yet.
const LATE_LOOKS: u32 = 5;
/// The same while a cancelled job waits for nothing else.
const LATE_LOOKS_IN_CANCEL: u32 = 2;
const LATE_PAUSE: Duration = Duration::from_secs(2);
/// Times that results with lines that cannot be read are fetched again.
const GARBLED_AGAIN: u32 = 3;

/// The provider's own files, below the run's output.
pub(super) const RESULTS: &str = "results.jsonl";
pub(super) const ERRORS: &str = "errors.jsonl";

impl Life {
    /// The batch is over: what there is of it is brought here.
    pub(super) async fn collect(&mut self) -> Flow<RunOutcome> {
        self.enter(Phase::Finalizing).await?;
        if self.is_cancelled() {
            let result = cancel_result(&self.batch);
            self.change(|batch| batch.cancel_result = Some(result)).await?;
        }
        let fetched = match self.fetch().await {
            Ok(()) => None,
            // The end is proven; what was fetched is kept.
            Err(Halt::Forced | Halt::Cancel) => Some("collecting was ended by force".to_owned()),
            Err(Halt::Failed(why)) => Some(why),
            Err(halt) => return Err(halt),
        };
        self.change(|batch| {
            batch.step = BatchStep::Collected;
            if fetched.is_none() {
                batch.last_error = None;
            }
        })
        .await?;
        if self.is_cancelled() && self.batch.cancel_result.is_none() {
            let result = cancel_result(&self.batch);
            self.change(|batch| batch.cancel_result = Some(result)).await?;
        }
        let verdict = self.verdict(fetched);
        let stop = self.batch.cancel_result.filter(|_| self.is_cancelled());
        let stop = stop.map(|result| self.notes.proof(&self.batch, result));
        Ok(RunOutcome { verdict, exit_code: None, stop, produced: Vec::new() })
    }

    /// By the job's own cancel; a server that stops cancels nothing.
    fn is_cancelled(&self) -> bool {
        matches!(self.ordered(), Stop::Graceful | Stop::Kill)
    }

    fn verdict(&self, fault: Option<String>) -> Verdict {
        let name = &self.batch.provider;
        let done = self.batch.results.map_or(0, |results| results.succeeded);
        let total = self.batch.results.map(|results| results.succeeded + results.unfinished());
        let of = total.map(|total| format!(": {done} of {total} requests were done")).unwrap_or_default();
        let why = match self.batch.state {
            BatchState::Cancelled if self.is_cancelled() => return Verdict::Cancelled,
            BatchState::Cancelled => format!("the batch was cancelled at {name}, not from here{of}"),
            BatchState::Expired => format!("the batch expired at {name}{of}"),
            BatchState::Failed => match self.batch.faults.first() {
                Some(first) => {
                    let line = first.line.map(|line| format!("line {line}: ")).unwrap_or_default();
                    let code = first.code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default();
                    format!("{name} failed the batch: {line}{}{code}", first.message)
                }
                None => format!("{name} failed the batch and does not say why"),
            },
            BatchState::Succeeded
            | BatchState::Partial
            | BatchState::Unsent
            | BatchState::Uploading
            | BatchState::Creating
            | BatchState::Queued
            | BatchState::Running
            | BatchState::Finalizing
            | BatchState::Cancelling
            | BatchState::Unknown => match fault {
                Some(fault) => format!("the results could not be fetched: {fault}"),
                None if total.is_some_and(|total| total > 0) && done == 0 => "no request succeeded".to_owned(),
                None => return Verdict::Succeeded,
            },
        };
        Verdict::Failed(why)
    }

    async fn fetch(&mut self) -> Flow<()> {
        let told = self.told_with_results().await?;
        let out = self.shared.data.out(self.place.job_id, self.place.run_id);
        let fresh = out.clone();
        blocking(&self.shared, move |_| {
            match fs::remove_dir_all(&fresh) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(Error::from(error)),
                Ok(()) | Err(_) => {}
            }
            Ok(make_folder(&fresh)?)
        })
        .await?;
        let mut tries = 0;
        loop {
            let files = self.download_results(&told, &out).await?;
            self.have_requests().await?;
            let joined = self.join(files, out.clone()).await?;
            let garbage = || ProviderError::Garbage { what: "no line of the results is one".to_owned() };
            if joined.is_garbage {
                // A page of some proxy, and no results: they are still there.
                self.miss(&garbage(), tries).await?;
            } else if joined.unreadable == 0 || tries >= GARBLED_AGAIN {
                return self.accept(joined).await;
            } else {
                let unreadable = joined.unreadable;
                self.say(format!("{unreadable} lines of the results cannot be read; they are fetched again")).await;
                self.unless(Heed::Force, tokio::time::sleep(LATE_PAUSE)).await?;
            }
            tries += 1;
        }
    }

    async fn download_results(&mut self, told: &Batch, out: &Path) -> Flow<Vec<PathBuf>> {
        let mut files = Vec::new();
        for (source, name) in [(&told.outputs.results, RESULTS), (&told.outputs.errors, ERRORS)] {
            let Some(source) = source else { continue };
            if self.download(source, &out.join(name)).await? {
                files.push(out.join(name));
            } else if name == RESULTS && told.counts.is_some_and(|counts| counts.completed > 0) {
                let name = &self.batch.provider;
                return Err(Halt::Failed(format!("{name} does not have the results that it names")));
            }
        }
        self.say(format!("{} files of results fetched", files.len())).await;
        Ok(files)
    }

    /// A finished batch may name its results a moment later.
    async fn told_with_results(&mut self) -> Flow<Batch> {
        let mut looks = 0;
        loop {
            let id = self.batch.batch_id.clone().unwrap_or_default();
            match self.asking(Heed::Force, |provider| async move { provider.get(&id).await }).await? {
                Ok(told) => {
                    self.take(&told).await?;
                    let counts = told.counts.unwrap_or_default();
                    let succeeded = self.batch.state == BatchState::Succeeded;
                    let expects = counts.completed > 0 || (succeeded && counts.total == 0);
                    if told.outputs.iter().next().is_some() || !expects {
                        return Ok(told);
                    }
                    if looks >= self.late_looks() {
                        // What was cancelled or has expired may have no results; what succeeded has.
                        return if succeeded && counts.completed > 0 {
                            let name = &self.batch.provider;
                            Err(Halt::Failed(format!("{name} does not say where the results are")))
                        } else {
                            Ok(told)
                        };
                    }
                    self.unless(Heed::Force, tokio::time::sleep(LATE_PAUSE)).await?;
                }
                Err(error @ ProviderError::NotFound { .. }) => {
                    self.change(|batch| batch.gone = true).await?;
                    return Err(Halt::Failed(error.to_string()));
                }
                Err(error) => self.miss(&error, looks).await?,
            }
            looks += 1;
        }
    }

    /// An answer that did not come: tried again for a while.
    async fn miss(&mut self, error: &ProviderError, tries: u32) -> Flow<()> {
        self.note_error(error).await?;
        let most = if self.ordered() == Stop::No { TRIES_AT_WORK } else { TRIES_IN_CANCEL };
        let may_pass = error.is_transient()
            || matches!(
                error,
                ProviderError::KeyMissing(_) | ProviderError::KeyRejected { .. } | ProviderError::Io { .. }
            );
        if !may_pass || tries >= most {
            return Err(Halt::Failed(error.to_string()));
        }
        self.rest_after(error).await
    }

    /// How often what the provider does not show yet is looked for.
    fn late_looks(&self) -> u32 {
        if self.is_cancelled() { LATE_LOOKS_IN_CANCEL } else { LATE_LOOKS }
    }

    /// False: the provider does not have it (any more).
    async fn download(&mut self, source: &Source, into: &Path) -> Flow<bool> {
        let mut tries = 0;
        loop {
            let fetched = self.asking(Heed::Force, |provider| async move { provider.download(source, into).await });
            match fetched.await? {
                Ok(_) => {
                    self.misses = 0;
                    return Ok(true);
                }
                // What was named a moment ago may not be everywhere yet.
                Err(ProviderError::NotFound { .. }) if tries < self.late_looks() => {
                    self.unless(Heed::Force, tokio::time::sleep(LATE_PAUSE)).await?;
                }
                Err(error @ ProviderError::NotFound { .. }) => {
                    self.say(error.to_string()).await;
                    return Ok(false);
                }
                Err(error) => self.miss(&error, tries).await?,
            }
            tries += 1;
        }
    }

    /// The requests of an adopted batch are at the provider, which may not hand them out: the results stand without.
    async fn have_requests(&mut self) -> Flow<()> {
        let place = requests_file(&self.shared.data, self.job());
        let Some(file) = self.batch.input_file.clone().filter(|_| !place.exists()) else { return Ok(()) };
        let half = place.with_extension("half");
        let source = Source::File(file);
        for tries in 1.. {
            let (source, half) = (&source, &half);
            let fetched = self.asking(Heed::Force, |provider| async move { provider.download(source, half).await });
            match fetched.await? {
                Ok(_) => {
                    fs::rename(half, &place).map_err(Error::from)?;
                    break;
                }
                Err(error) if error.is_transient() && tries < TRIES_FOR_REQUESTS => {
                    self.rest_after(&error).await?;
                }
                Err(error) => {
                    self.say(error.to_string()).await;
                    break;
                }
            }
        }
        self.misses = 0;
        Ok(())
    }

    async fn join(&mut self, files: Vec<PathBuf>, out: PathBuf) -> Flow<Joined> {
        let requests = requests_file(&self.shared.data, self.job());
        let state = self.batch.state;
        let joined =
            blocking(&self.shared, move |_| table::join(state, requests.exists().then_some(&requests), &files, &out));
        Ok(self.unless(Heed::Force, joined).await??)
    }

    async fn accept(&mut self, joined: Joined) -> Flow<()> {
        let Joined { results, usage, .. } = joined;
        let all = results.succeeded + results.unfinished();
        self.say(format!("{} of {all} requests succeeded", results.succeeded)).await;
        self.change(|batch| {
            batch.results = Some(results).filter(|_| all > 0);
            if batch.usage.is_none() {
                batch.usage = usage.map(usage_of);
            }
        })
        .await
    }
}
