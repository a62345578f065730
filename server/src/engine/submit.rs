//! Submit and rerun: check everything, store everything or nothing.

use std::{
    collections::HashSet,
    ffi::OsString,
    fs, io,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use app::model::{AuditAction, ErrorCode, Job, JobId, Kind, Phase, RerunRequest, RerunUnits, UnitQuery, UnitStatus};

use super::{
    Actor, Submission, batches,
    clock::{new_job_id, now},
    core::Core,
    views,
};
use crate::{
    error::{Error, Result},
    kinds::{Admitted, DoneUnit, JobKind},
    store::{BatchRecord, Idempotency, JobRecord, Lane, NewJobRecord, NewUnit, Submitted},
};

/// Longest name of a job, characters.
const MAX_NAME: usize = 200;

/// See [`Engine::reserve`](super::Engine::reserve).
pub(super) async fn reserve(core: &Core) -> Result<(JobId, PathBuf)> {
    if core.stopping.is_cancelled() {
        return Err(Error::ShuttingDown);
    }
    let (data, id) = (core.data.clone(), new_job_id());
    // The reserve is not for new jobs: it is what running ones end with.
    let made = core.blocking(move || {
        if data.is_full() {
            return Err(Error::DiskFull);
        }
        data.make_job(id).map_err(Error::from).map(|()| data.inputs(id))
    });
    match made.await? {
        Ok(inputs) => Ok((id, inputs)),
        Err(error) => {
            discard(core, id).await;
            Err(error)
        }
    }
}

/// See [`Engine::discard`](super::Engine::discard).
pub(super) async fn discard(core: &Core, id: JobId) {
    let data = core.data.clone();
    let removed = core.blocking(move || fs::remove_dir_all(data.job(id))).await;
    if let Ok(Err(error)) = removed
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(job = %id, %error, "the folder of a refused submit stays");
    }
}

/// See [`Engine::submit`](super::Engine::submit).
pub(super) async fn submit(core: &Arc<Core>, actor: &Actor, submission: Submission) -> Result<Job> {
    let id = submission.job_id;
    let stored = admit_and_store(core, actor, submission).await;
    if !matches!(&stored, Ok(stored) if *stored == id) {
        // Refused, or stored before under the same key: the reserved folder is nobody's.
        discard(core, id).await;
    }
    if let Err(error) = &stored {
        core.note(actor.event(AuditAction::Submit, None, format!("refused: {}", error.code()))).await;
    }
    views::job(core, stored?).await
}

async fn admit_and_store(core: &Arc<Core>, actor: &Actor, submission: Submission) -> Result<JobId> {
    let Submission { job_id, name, kind, spec, uploads, idempotency } = submission;
    if core.stopping.is_cancelled() {
        return Err(Error::ShuttingDown);
    }
    let name = check_name(&name)?;
    let kind = find_kind(&kind)?;
    let admitted = core.kind(kind)?.admit(spec, &uploads).await?;
    let new = Fresh { job_id, name, kind, rerun_of: None, batch: None, action: AuditAction::Submit };
    store(core, actor, new, admitted, idempotency).await
}

pub(super) struct Fresh {
    pub(super) job_id: JobId,
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) rerun_of: Option<JobId>,
    /// See [`NewJobRecord::batch`].
    pub(super) batch: Option<BatchRecord>,
    pub(super) action: AuditAction,
}

/// Stores a job. Answers its id, or that of the job which the same key made before.
pub(super) async fn store(
    core: &Arc<Core>,
    actor: &Actor,
    fresh: Fresh,
    admitted: Admitted,
    idempotency: Option<(String, String)>,
) -> Result<JobId> {
    let Fresh { job_id, name, kind, rerun_of, batch, action } = fresh;
    let at = now();
    let mut event = actor.event(action, Some((job_id, &name)), "ok");
    event.detail = rerun_of.map(|first| format!("runs {first} again"));
    let record = NewJobRecord {
        job_id,
        name,
        kind,
        spec: admitted.spec,
        phases: core.kind(kind)?.phases().to_vec(),
        parallel: admitted.parallel,
        created_at: at,
        created_by: actor.name.clone(),
        rerun_of,
        batch,
    };
    let key =
        idempotency.map(|(key, request_hash)| Idempotency { actor: actor.name.clone(), key, request_hash, now: at });
    match core.store.submit(record, admitted.units, key, event).await? {
        Submitted::Stored => {
            core.work.ring(Lane::of(kind));
            core.touch();
            Ok(job_id)
        }
        Submitted::Replayed(first) => Ok(first),
        Submitted::KeyConflict => Err(key_conflict()),
        Submitted::BatchTaken => Err(batches::taken_meanwhile()),
    }
}

pub(super) fn key_conflict() -> Error {
    Error::Invalid {
        code: ErrorCode::IdempotencyConflict,
        field: None,
        detail: "This Idempotency-Key was used for another request before.".to_owned(),
        hint: Some("Use a new key for a new request; a key is remembered for 24 hours.".to_owned()),
    }
}

pub(super) fn check_name(name: &str) -> Result<String> {
    let name = name.trim();
    if name.is_empty() || name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
        let detail = "`name` must have 1 to 200 characters and no control characters.";
        return Err(Error::invalid_spec("name", detail));
    }
    Ok(name.to_owned())
}

fn find_kind(kind: &str) -> Result<Kind> {
    kind.parse().map_err(|_| {
        let known: Vec<String> = Kind::ALL.iter().map(|kind| format!("`{kind}`")).collect();
        Error::Invalid {
            code: ErrorCode::InvalidSpec,
            field: Some("kind".to_owned()),
            detail: format!("There is no kind `{kind}`."),
            hint: Some(format!("Known kinds: {}.", known.join(", "))),
        }
    })
}

// ---- rerun ----

/// See [`Engine::rerun`](super::Engine::rerun).
pub(super) async fn rerun(
    core: &Arc<Core>,
    actor: &Actor,
    id: JobId,
    request: RerunRequest,
    idempotency: Option<(String, String)>,
) -> Result<Job> {
    let answer = rerun_found(core, actor, id, request, idempotency).await;
    if let Err(error) = &answer {
        let refused = format!("refused: {}", error.code());
        core.note(actor.event(AuditAction::Rerun, Some((id, "")), refused)).await;
    }
    answer
}

async fn rerun_found(
    core: &Arc<Core>,
    actor: &Actor,
    id: JobId,
    request: RerunRequest,
    idempotency: Option<(String, String)>,
) -> Result<Job> {
    let job = core.find(id).await?;
    check_rerun(&job)?;
    let name = check_name(request.name.as_deref().unwrap_or(&job.name))?;
    let kind = core.kind(job.kind)?;
    let Again { units, done } = units_of(core, &job, request.units, &*kind).await?;
    let (fresh, _) = reserve(core).await?;
    let stored = async {
        let units = share_inputs(core, id, fresh, kind.clone(), units).await?;
        kind.inherit(id, fresh, done, request.units).await?;
        let admitted = kind.admit_again(&job.spec, units).await?;
        let action = AuditAction::Rerun;
        let new = Fresh { job_id: fresh, name, kind: job.kind, rerun_of: Some(id), batch: None, action };
        store(core, actor, new, admitted, idempotency).await
    }
    .await;
    if !matches!(&stored, Ok(stored) if *stored == fresh) {
        discard(core, fresh).await;
    }
    views::job(core, stored?).await
}

fn check_rerun(job: &JobRecord) -> Result<()> {
    if job.phase == Phase::Deleting {
        return Err(Error::JobDeleting(job.job_id));
    }
    match job.phase.why_no_rerun() {
        Some(why) => Err(Error::NotPossible { job_id: job.job_id, phase: job.phase, detail: why.to_owned() }),
        None => Ok(()),
    }
}

/// What a rerun begins with.
struct Again {
    /// Units of the first phase.
    units: Vec<NewUnit>,
    /// Of all phases, those that need not be run again.
    done: Vec<DoneUnit>,
}

/// The units of the first phase that are wanted again; where the kind reruns whole all of them, if any unit of any phase
/// is.
async fn units_of(core: &Core, job: &JobRecord, wanted: RerunUnits, kind: &dyn JobKind) -> Result<Again> {
    let whole = kind.reruns_whole();
    let first = job.phases.first().map(|phase| phase.phase);
    let (mut units, mut done) = (Vec::new(), Vec::new());
    // Phases that were never entered are missing, too.
    let judged = kind.judged(job.job_id).await?;
    let mut is_complete = job.phase == Phase::Completed && judged.is_none_or(|judged| judged.succeeded == judged.total);
    let mut query = UnitQuery { limit: Some(UnitQuery::MAX_LIMIT), ..UnitQuery::default() };
    loop {
        let page = core.store.units(job.job_id, &query).await?;
        for unit in page.items {
            let is_missing = wanted == RerunUnits::All || unit.status != UnitStatus::Succeeded;
            is_complete &= !is_missing;
            if whole && !is_missing {
                done.push(DoneUnit { index: unit.index, phase: unit.phase, name: unit.name.clone() });
            }
            // The unit of a followed job went along with its phases.
            if (whole || is_missing) && (kind.follows() || first.is_none_or(|first| unit.phase == first)) {
                let phase = first.unwrap_or(unit.phase);
                units.push(NewUnit { phase, name: unit.name, input: unit.input });
            }
        }
        query.cursor = page.next_cursor;
        if query.cursor.is_none() {
            break;
        }
    }
    if units.is_empty() || (whole && is_complete) {
        let detail = "Every unit of this job succeeded: nothing is left to run again.".to_owned();
        return Err(Error::NotPossible { job_id: job.job_id, phase: job.phase, detail });
    }
    Ok(Again { units, done })
}

/// Inputs that were uploaded for the first job become the new one's too, so that either can be deleted alone.
async fn share_inputs(
    core: &Core,
    from: JobId,
    to: JobId,
    kind: Arc<dyn JobKind>,
    units: Vec<NewUnit>,
) -> Result<Vec<NewUnit>> {
    let (old, new) = (core.data.inputs(from), core.data.inputs(to));
    core.blocking(move || {
        let mut shared = HashSet::new();
        units
            .into_iter()
            .map(|unit| {
                let path = kind.path_of(&unit.input);
                let Ok(below) = path.strip_prefix(&old).map(Path::to_owned) else { return Ok(unit) };
                let place = new.join(&below);
                let what = unit.input.len() - path.as_os_str().len();
                let mut input = unit.input.as_bytes()[..what].to_vec();
                input.extend_from_slice(place.as_os_str().as_bytes());
                if shared.insert(below) {
                    share(path, &place)?;
                }
                Ok(NewUnit { input: OsString::from_vec(input), ..unit })
            })
            .collect()
    })
    .await?
}

/// By hard link where the file system can, else by copy. A file that is gone is told when its turn comes.
fn share(from: &Path, to: &Path) -> io::Result<()> {
    if let Some(folder) = to.parent() {
        crate::data::make_folder(folder)?;
    }
    match fs::hard_link(from, to) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(_) => fs::copy(from, to).map(|_| ()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_1_to_200_characters_and_no_control_characters() {
        assert_eq!(check_name("  nightly thumbnails ").unwrap(), "nightly thumbnails");
        assert!(check_name(&"é".repeat(200)).is_ok());
        for name in ["", "   ", "a\nb", "a\u{0}b", "é".repeat(201).as_str()] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn an_unknown_kind_names_the_known_ones() {
        let Error::Invalid { field, hint, .. } = find_kind("videos").unwrap_err() else { panic!("a refusal") };
        assert_eq!(field.as_deref(), Some("kind"));
        assert!(hint.unwrap().contains("`files`"));
    }
}
