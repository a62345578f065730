//! Taking a batch away from its provider when its job is removed, as far as the provider lets anyone; and handing its
//! requests on to a job that runs them again.

use std::{fs, io, path::Path};

use app::model::{BatchState, CancelResult, Category, JobId, Leftover, RerunUnits};
use batches::{Batch, Deletion, Error as ProviderError, Provider};

use super::{
    Shared,
    follow::{self, Surfaced},
    requests_file,
    submit::upload_name,
    table,
};
use crate::{
    data::{DataFolder, make_folder},
    engine::clock::now,
    error::{Error, Result},
    store::{BatchRecord, BatchStep},
};

/// What is to be deleted at the provider, by sort.
pub(super) fn planned(shared: &Shared, batch: &BatchRecord) -> Vec<(Category, u64)> {
    let Some(known) = shared.providers.get(&batch.provider).filter(|known| !known.keep_remote) else {
        return Vec::new();
    };
    let has_batch = batch.batch_id.is_some() && !batch.batch_removed && !batch.gone;
    let batches = u64::from(has_batch && known.can_delete_batch());
    let files = if known.can_delete_files() { batch.files_left().count() as u64 } else { 0 };
    [(Category::ProviderBatch, batches), (Category::ProviderFiles, files)]
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .collect()
}

/// Deletes what can be deleted, batch first, and answers what is left. May be repeated.
pub(super) async fn withdraw(shared: &Shared, job: JobId) -> Result<Vec<Leftover>> {
    let at = now();
    let Some(batch) = follow::change(shared, job, |batch| {
        batch.removed_at.get_or_insert(at);
    })
    .await?
    else {
        return Ok(Vec::new());
    };
    let Some(known) = shared.providers.get(&batch.provider) else {
        return Ok(left(&batch, "The provider is not in the configuration any more."));
    };
    if known.keep_remote {
        return Ok(left_for_ever(&batch, "It was left there: the configuration says `keep_remote`."));
    }
    let provider = match known.connect() {
        Ok(provider) => provider,
        Err(error) => return Ok(left(&batch, &error.to_string())),
    };
    let batch = match resolve(shared, &*provider, batch).await? {
        Ok(batch) => batch,
        Err((batch, why)) => return Ok(left(&batch, &why)),
    };
    let mut leftovers = Vec::new();
    let mut batch = batch;
    if let Some(id) = batch.batch_id.clone().filter(|_| !batch.batch_removed) {
        let (now, taken) = take_batch(shared, &*provider, batch, &id).await?;
        batch = now;
        match taken {
            Taken::Gone => {
                follow::change(shared, job, |batch| batch.batch_removed = true).await?;
            }
            Taken::Kept { for_ever, live, detail } => {
                leftovers.push(leftover(&batch, Category::ProviderBatch, &id, for_ever, &detail));
                if live {
                    // Its files are what it works on.
                    let why = "The batch is not over.";
                    leftovers.extend(
                        batch.files_left().map(|file| leftover(&batch, Category::ProviderFiles, file, false, why)),
                    );
                    return Ok(leftovers);
                }
            }
        }
    }
    for file in batch.files_left() {
        match provider.delete_file(file).await {
            Ok(Deletion::Deleted | Deletion::AlreadyGone) | Err(ProviderError::NotFound { .. }) => {
                follow::change(shared, job, |batch| {
                    if !batch.files_removed.contains(file) {
                        batch.files_removed.push(file.clone());
                    }
                })
                .await?;
            }
            Err(error) => {
                let for_ever = matches!(error, ProviderError::Unsupported(_));
                leftovers.push(leftover(&batch, Category::ProviderFiles, file, for_ever, &error.to_string()));
            }
        }
    }
    Ok(leftovers)
}

type Unresolved = (BatchRecord, String);

/// Finds what a step that was broken off may have left there.
async fn resolve(
    shared: &Shared,
    provider: &dyn Provider,
    batch: BatchRecord,
) -> Result<std::result::Result<BatchRecord, Unresolved>> {
    let job = batch.job_id;
    let found = match batch.step {
        BatchStep::Uploading => match provider.find_file(&upload_name(&batch), batch.input_bytes).await {
            Ok(file) => {
                follow::change(shared, job, |batch| batch.input_file = file.as_ref().map(|file| file.id.clone()))
                    .await?
            }
            Err(error) => return Ok(Err((batch, error.to_string()))),
        },
        BatchStep::Creating => match follow::surfaced(shared, &batch).await? {
            Surfaced::Found(found) | Surfaced::Never(found) => Some(*found),
            Surfaced::Unknown(batch) => {
                let why = batch.last_error.clone().unwrap_or_default();
                return Ok(Err((*batch, why)));
            }
        },
        BatchStep::New | BatchStep::Uploaded | BatchStep::Created | BatchStep::Collected => None,
    };
    Ok(Ok(found.unwrap_or(batch)))
}

enum Taken {
    Gone,
    Kept {
        for_ever: bool,
        /// It may be going on.
        live: bool,
        detail: String,
    },
}

/// Only what is over is deleted: a record that goes while the batch runs takes the way to stop it along. The record with
/// what the provider says of it now, which is the proof for who looks afterwards.
async fn take_batch(
    shared: &Shared,
    provider: &dyn Provider,
    batch: BatchRecord,
    id: &str,
) -> Result<(BatchRecord, Taken)> {
    let told = match provider.get(id).await {
        Ok(told) => told,
        Err(ProviderError::NotFound { .. }) if batch.state.is_terminal() => return Ok((batch, Taken::Gone)),
        Err(error @ ProviderError::NotFound { .. }) => {
            let detail = format!("The provider does not know it, and never said that it was over: {error}");
            return Ok((batch, Taken::Kept { for_ever: true, live: false, detail }));
        }
        Err(error) => {
            let detail = error.to_string();
            return Ok((batch, Taken::Kept { for_ever: false, live: true, detail }));
        }
    };
    let deadline = shared.deadline(&batch.provider);
    let changed = follow::change(shared, batch.job_id, |batch| follow::absorb(batch, &told, deadline)).await?;
    Ok((changed.unwrap_or(batch), take(provider, &told, id).await))
}

async fn take(provider: &dyn Provider, told: &Batch, id: &str) -> Taken {
    if !told.state.is_terminal() {
        // Asked once more: whoever removed the job wants it stopped.
        let _ = provider.cancel(id).await;
        let detail = format!("It is not over (`{}`), and is not deleted before.", told.raw_state);
        return Taken::Kept { for_ever: false, live: true, detail };
    }
    if !provider.capabilities().delete_batch {
        let detail = "The provider lets nobody delete a batch: its record stays in the provider's list.".to_owned();
        return Taken::Kept { for_ever: true, live: false, detail };
    }
    match provider.delete_batch(id).await {
        Ok(Deletion::Deleted | Deletion::AlreadyGone) | Err(ProviderError::NotFound { .. }) => Taken::Gone,
        Err(error) => Taken::Kept { for_ever: false, live: false, detail: error.to_string() },
    }
}

fn leftover(batch: &BatchRecord, category: Category, id: &str, for_ever: bool, detail: &str) -> Leftover {
    Leftover::Provider {
        provider: batch.provider.clone(),
        category,
        id: id.to_owned(),
        for_ever,
        detail: detail.to_owned(),
    }
}

/// Everything, for one reason.
fn all(batch: &BatchRecord, for_ever: bool, why: &str) -> Vec<Leftover> {
    let remote = batch.batch_id.iter().filter(|_| !batch.batch_removed && !batch.gone);
    let batches = remote.map(|id| leftover(batch, Category::ProviderBatch, id, for_ever, why));
    let files = batch.files_left().map(|file| leftover(batch, Category::ProviderFiles, file, for_ever, why));
    let lost = batch.step == BatchStep::Uploading || (batch.batch_id.is_none() && batch.may_be_there());
    let unresolved = lost.then(|| leftover(batch, Category::ProviderBatch, &batch.tag, for_ever, why));
    batches.chain(files).chain(unresolved).collect()
}

fn left(batch: &BatchRecord, why: &str) -> Vec<Leftover> {
    all(batch, false, why)
}

fn left_for_ever(batch: &BatchRecord, why: &str) -> Vec<Leftover> {
    all(batch, true, why)
}

/// The requests of a job that is run again: those that were not done, or all. Blocking.
pub(super) fn hand_on(
    data: &DataFolder,
    from: JobId,
    to: JobId,
    wanted: RerunUnits,
    batch: Option<&BatchRecord>,
) -> Result<()> {
    let all = requests_file(data, from);
    let rest = data.unit_artifacts(from, 0).join(table::UNFINISHED);
    let joined = batch.is_some_and(|batch| batch.results.is_some()) && rest.exists();
    // It may have been worked on, and what came of it is not here.
    let unknown = batch.is_some_and(|batch| {
        batch.step >= BatchStep::Creating
            && batch.state != BatchState::Failed
            && batch.cancel_result != Some(CancelResult::NeverSent)
    });
    if wanted == RerunUnits::Unfinished && unknown && !joined {
        let detail = "Which requests were done is not known: there are no results here. Run all of them again.";
        return Err(Error::invalid_spec("units", detail));
    }
    let source = match wanted {
        RerunUnits::Unfinished if joined => rest,
        RerunUnits::All | RerunUnits::Unfinished => all,
    };
    let place = requests_file(data, to);
    if source.exists() {
        make_folder(&data.inputs(to))?;
        copy(&source, &place)?;
    } else if batch.is_some_and(|batch| batch.adopted) {
        let detail = "The requests of this batch are not here: it was adopted, and its provider does not have them.";
        return Err(Error::invalid_spec("units", detail));
    }
    Ok(())
}

/// By hard link where the file system can, else by copy.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Ok(()) => Ok(()),
        Err(_) => fs::copy(from, to).map(|_| ()),
    }
}
