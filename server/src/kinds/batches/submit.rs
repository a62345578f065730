//! Bringing a batch to its provider, exactly once. What may have been sent is written down first; what may be there is
//! looked for before anything is sent again.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use app::model::{BatchState, CancelResult, CheckedInput};
use batches::{Batch, Create, Error as ProviderError};

use super::{
    follow::absorb,
    input,
    life::{Flow, Halt, Heed, Life},
    requests_file, view,
};
use crate::{
    data::make_folder,
    engine::clock::now,
    error::Error,
    kinds::{RunOutcome, blocking},
    store::{BatchRecord, BatchStep, Verdict},
};

impl Life {
    /// Returns when the provider has the batch. A cancel ends it only while there is none.
    pub(super) async fn submit(&mut self) -> Flow<()> {
        // A file that a former process had begun to send may be there.
        let mut may_be_there = true;
        loop {
            match self.batch.step {
                BatchStep::New => {
                    self.heed(Heed::Cancel)?;
                    self.prepare().await?;
                    may_be_there = false;
                }
                BatchStep::Uploading => self.upload(&mut may_be_there).await?,
                BatchStep::Uploaded => {
                    self.heed(Heed::Cancel)?;
                    self.change(|batch| {
                        batch.step = BatchStep::Creating;
                        batch.state = BatchState::Creating;
                    })
                    .await?;
                }
                BatchStep::Creating => self.create().await?,
                BatchStep::Created | BatchStep::Collected => return Ok(()),
            }
        }
    }

    /// The job's own copy of the file is made, and checked: what is sent is what was checked.
    async fn prepare(&mut self) -> Flow<()> {
        let (job, unit, model) = (self.job(), self.unit.clone(), self.batch.model.clone());
        let (provider, kind) = (self.batch.provider.clone(), self.batch.provider_kind);
        let checked = blocking(&self.shared, move |shared| {
            let place = requests_file(&shared.data, job);
            if !place.exists() {
                let source = match shared.source_of(job, &unit) {
                    Ok(source) => source,
                    Err(why) => return Ok(Err(why)),
                };
                take_in(&source, &place, &shared.data.inputs(job))?;
            }
            let mut checked = input::check(&place, kind, model.as_deref())?;
            checked.estimate =
                shared.providers.get(&provider).and_then(|known| view::estimate(&known.prices, &checked));
            Ok(Ok(checked))
        });
        let checked = match self.unless(Heed::Force, checked).await? {
            Ok(Ok(checked)) => checked,
            Ok(Err(why)) => return Err(Halt::Failed(why)),
            Err(Error::DiskFull) => return Err(Halt::Failed("no space left on the disk".to_owned())),
            Err(error) => return Err(Halt::Fault(error)),
        };
        if let Some(why) = input::first_fault(&checked) {
            return Err(Halt::Failed(why));
        }
        self.say(format!("{} requests checked, {} bytes", checked.requests, checked.bytes)).await;
        self.change(|batch| {
            batch.step = BatchStep::Uploading;
            batch.state = BatchState::Uploading;
            batch.input_bytes = checked.bytes;
            batch.model = checked.model.clone().or_else(|| batch.model.clone());
            batch.endpoint.clone_from(&checked.endpoint);
            batch.checked = Some(CheckedInput { faults: Vec::new(), ..checked.clone() });
        })
        .await
    }

    async fn upload(&mut self, may_be_there: &mut bool) -> Flow<()> {
        self.heed(Heed::Cancel)?;
        let path = requests_file(&self.shared.data, self.job());
        let (name, bytes, look) = (upload_name(&self.batch), self.batch.input_bytes, *may_be_there);
        let sent = self.asking(Heed::Cancel, |provider| async move {
            if look && let Some(file) = provider.find_file(&name, bytes).await? {
                return Ok(file);
            }
            provider.upload(&path, &name).await
        });
        match sent.await? {
            Ok(file) => {
                self.say(format!("the file is there as {}", file.id)).await;
                self.misses = 0;
                self.change(|batch| {
                    batch.step = BatchStep::Uploaded;
                    batch.input_file = Some(file.id.clone());
                    batch.last_error = None;
                })
                .await
            }
            Err(error) if error.is_transient() || matches!(error, ProviderError::Unclear(_)) => {
                *may_be_there = true;
                self.note_error(&error).await?;
                self.rest_after(&error).await
            }
            Err(error) => {
                self.note_error(&error).await?;
                Err(Halt::Failed(error.to_string()))
            }
        }
    }

    /// One attempt. When its answer is lost, the next thing is to look.
    async fn create(&mut self) -> Flow<()> {
        if let Some(sent) = self.batch.create_sent_at {
            if let Some(batch) = self.find_lost(sent).await? {
                return self.created(&batch, "found again").await;
            }
            self.heed(Heed::Cancel)?;
            self.say("no batch has shown: it is made again").await;
        }
        self.heed(Heed::Cancel)?;
        let at = now();
        self.change(|batch| {
            batch.create_begun_at.get_or_insert(at);
            batch.create_sent_at = Some(at);
        })
        .await?;
        let create = Create {
            input_file: self.batch.input_file.clone().unwrap_or_default(),
            endpoint: self.batch.endpoint.clone(),
            model: self.batch.model.clone(),
            tag: self.batch.tag.clone(),
            display_name: self.batch.tag.clone(),
        };
        match self.asking(Heed::Force, |provider| async move { provider.create(&create).await }).await? {
            Ok(batch) => self.created(&batch, "created").await,
            Err(error @ (ProviderError::Unclear(_) | ProviderError::Garbage { .. })) => {
                // From here on the batch may come late: a request may have hung for longer than it is looked for.
                let lost_at = now();
                self.change(|batch| batch.create_sent_at = Some(lost_at)).await?;
                self.note_error(&error).await
            }
            // After every other error there is none.
            Err(error) if error.is_transient() => {
                self.change(|batch| batch.create_sent_at = None).await?;
                self.note_error(&error).await?;
                self.rest_after(&error).await
            }
            Err(error) => {
                self.note_error(&error).await?;
                self.change(|batch| {
                    batch.create_sent_at = None;
                    batch.state = BatchState::Failed;
                })
                .await?;
                Err(Halt::Failed(error.to_string()))
            }
        }
    }

    async fn created(&mut self, told: &Batch, how: &str) -> Flow<()> {
        self.misses = 0;
        self.say(format!("batch {} {how}", told.id)).await;
        let deadline = self.deadline();
        self.change(|batch| absorb(batch, told, deadline)).await
    }

    /// The job is cancelled, and the provider has nothing of it that runs.
    pub(super) async fn never_sent(&mut self) -> Flow<RunOutcome> {
        self.say("cancelled; the provider has no batch").await;
        self.change(|batch| {
            let result = if batch.may_be_there() { CancelResult::NeverAppeared } else { CancelResult::NeverSent };
            batch.cancel_result = Some(result);
            batch.create_sent_at = None;
            batch.last_error = None;
        })
        .await?;
        let evidence = self.notes.nothing_running(&self.batch);
        Ok(RunOutcome { verdict: Verdict::Cancelled, exit_code: None, stop: Some(evidence), produced: Vec::new() })
    }
}

/// The name of the file at the provider: by it an upload whose answer was lost is found.
pub(super) fn upload_name(batch: &BatchRecord) -> String {
    format!("{}.jsonl", batch.tag)
}

/// Makes the file the job's own: an upload by another name, another file by a copy.
fn take_in(source: &Path, place: &PathBuf, inputs: &Path) -> io::Result<()> {
    make_folder(inputs)?;
    if source.starts_with(inputs) {
        return fs::rename(source, place);
    }
    let half = place.with_extension("half");
    fs::copy(source, &half)?;
    fs::rename(half, place)
}
