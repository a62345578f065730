//! The console without WebAssembly: plain form posts that do what the API does, then send the browser to a page.

use app::{
    backend::{Flash, Tone},
    model::{
        AdoptRequest, BatchState, Bulk, BulkQuestion, BulkRequest, BulkSelect, CancelAnswer, CancelOutcome,
        CancelRequest, DeleteAnswer, DeleteStatus, ErrorCode, ImportAnswer, JobId, RerunRequest, RerunUnits,
        bulk::wants_number, split_words,
    },
    paths::console,
};
use axum::{
    Form,
    extract::{Path, Request, State, rejection::FormRejection},
    http::{HeaderMap, Uri},
    response::{IntoResponse, Redirect, Response},
};
use serde_json::{Map, Value};

use super::{
    AppState,
    auth::Caller,
    batches,
    bulk::{self, BulkPath},
    extract::{JobPath, Pairs, invalid_query},
    jobs::{SubmitBody, rerun_as, submit_reserved, to_the_end},
    pages,
    problem::{Answer, Failure},
    removals::{delete_as, retry_as},
    uploads::{self, Intake},
};
use crate::engine::{DeleteOptions, Written};

type Fields = Result<Form<Vec<(String, String)>>, FormRejection>;

/// What a page's form held.
struct Typed(Vec<(String, String)>);

impl Typed {
    fn new(form: Fields) -> Self {
        Typed(form.map(|form| form.0).unwrap_or_default())
    }

    /// Not empty.
    fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(field, _)| field == name).map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
    }

    fn ticked(&self, name: &str) -> bool {
        self.text(name).is_some_and(|value| !matches!(value, "false" | "0" | "off"))
    }
}

/// To a page, with a message for it.
fn go(state: &AppState, place: &str, flash: Option<Flash>) -> Response {
    let mut response = Redirect::to(place).into_response();
    if let Some(flash) = flash {
        pages::leave_flash(state, &mut response, &flash);
    }
    response
}

fn flash(tone: Tone, text: impl Into<String>) -> Flash {
    Flash { tone, text: text.into(), detail: None, link: None }
}

fn with_receipt(mut flash: Flash, id: JobId) -> Flash {
    flash.link = Some(("View receipt".to_owned(), console::removal(id)));
    flash
}

/// What cannot be shown on the form's own page: the job is gone.
fn gone(state: &AppState, id: JobId, failure: &Failure) -> Option<Response> {
    match failure.code {
        ErrorCode::JobDeleted => {
            let message = with_receipt(flash(Tone::Info, "This job was already deleted."), id);
            Some(go(state, console::JOBS, Some(message)))
        }
        ErrorCode::JobNotFound => {
            Some(go(state, console::JOBS, Some(flash(Tone::Info, "There is no such job any more."))))
        }
        ErrorCode::JobDeleting => Some(go(state, console::JOBS, Some(flash(Tone::Info, "This job is being deleted.")))),
        ErrorCode::Unauthenticated
        | ErrorCode::Forbidden
        | ErrorCode::CrossOrigin
        | ErrorCode::UnknownHost
        | ErrorCode::JobActive
        | ErrorCode::NotFound
        | ErrorCode::MethodNotAllowed
        | ErrorCode::BodyTooLarge
        | ErrorCode::UnsupportedMediaType
        | ErrorCode::InvalidBody
        | ErrorCode::InvalidQuery
        | ErrorCode::InvalidSpec
        | ErrorCode::InvalidCancel
        | ErrorCode::InvalidBulk
        | ErrorCode::IdempotencyConflict
        | ErrorCode::BatchKnown
        | ErrorCode::ProviderFailed
        | ErrorCode::TooManyRequests
        | ErrorCode::StoreBusy
        | ErrorCode::DiskFull
        | ErrorCode::ShuttingDown
        | ErrorCode::Internal => None,
    }
}

/// A textarea sends its line ends as two characters, and counts them as one.
fn notes_of(typed: &Typed) -> Option<String> {
    typed.text("reason").map(|text| text.replace("\r\n", "\n"))
}

/// `POST /jobs/{job_id}/cancel` with `reason` (the API's `notes`) and `force`.
pub(crate) async fn cancel(
    State(state): State<AppState>,
    caller: Caller,
    JobPath(id): JobPath,
    uri: Uri,
    headers: HeaderMap,
    form: Fields,
) -> Response {
    let typed = Typed::new(form);
    let request = CancelRequest { reason: None, notes: notes_of(&typed), force: typed.ticked("force") };
    let (engine, actor) = (state.engine.clone(), caller.actor());
    let answer = to_the_end(async move { engine.cancel(&actor, id, request).await }).await;
    match answer.map_err(Failure::from) {
        Ok(answer) => go(&state, &console::job(id), Some(cancel_flash(&answer))),
        Err(failure) => match gone(&state, id, &failure) {
            Some(response) => response,
            None => pages::render_failed_form(&state, Some(&caller), &uri, &headers, failure, typed.0).await,
        },
    }
}

fn cancel_flash(answer: &CancelAnswer) -> Flash {
    match answer.outcome {
        CancelOutcome::Cancelled => flash(Tone::Proof, "Job cancelled successfully"),
        CancelOutcome::Cancelling => flash(Tone::Cancelling, &answer.message),
        CancelOutcome::AlreadyCancelled | CancelOutcome::AlreadyFinished => flash(Tone::Info, &answer.message),
    }
}

/// `POST /jobs/{job_id}/delete` with `force` and `keep_files`.
pub(crate) async fn delete(
    State(state): State<AppState>,
    caller: Caller,
    JobPath(id): JobPath,
    uri: Uri,
    headers: HeaderMap,
    form: Fields,
) -> Response {
    let typed = Typed::new(form);
    let options = DeleteOptions { force: typed.ticked("force"), keep_files: typed.ticked("keep_files") };
    match delete_as(&state, &caller, id, options).await {
        Ok(answer) => go(&state, console::JOBS, Some(delete_flash(&answer))),
        // The same question again, now about force.
        Err(failure) if failure.code == ErrorCode::JobActive => {
            go(&state, &console::force_delete(id, options.keep_files), None)
        }
        Err(failure) => match gone(&state, id, &failure) {
            Some(response) => response,
            None => pages::render_failed_form(&state, Some(&caller), &uri, &headers, failure, typed.0).await,
        },
    }
}

fn delete_flash(answer: &DeleteAnswer) -> Flash {
    match answer.status {
        DeleteStatus::Deleted => with_receipt(flash(Tone::Completed, "Job deleted successfully"), answer.job_id),
        DeleteStatus::Deleting => {
            flash(Tone::Info, "Deletion is taking longer than expected. Check back in a few minutes.")
        }
    }
}

/// `POST /jobs/{job_id}/rerun` with `units` (`all`, `unfinished`) and `name`.
pub(crate) async fn rerun(
    State(state): State<AppState>,
    caller: Caller,
    JobPath(id): JobPath,
    form: Fields,
) -> Response {
    let typed = Typed::new(form);
    let units = if typed.text("units") == Some("unfinished") { RerunUnits::Unfinished } else { RerunUnits::All };
    let request = RerunRequest { units, name: typed.text("name").map(str::to_owned) };
    match rerun_as(&state, caller.actor(), id, request, None).await {
        Ok(job) => go(&state, &console::job(job.job_id), Some(flash(Tone::Completed, "Job submitted"))),
        Err(failure) => match gone(&state, id, &failure) {
            Some(response) => response,
            // Rerun is a button of the detail page: its problem is shown there.
            None => failed_at(&state, &console::job(id), &failure),
        },
    }
}

/// `POST /removals/{job_id}/retry`
pub(crate) async fn retry_removal(State(state): State<AppState>, caller: Caller, JobPath(id): JobPath) -> Response {
    match retry_as(&state, &caller, id).await {
        Ok(receipt) => {
            let message = if receipt.left.is_empty() {
                flash(Tone::Completed, "Everything is gone now.")
            } else {
                flash(Tone::Warning, "Tried again. Something is still left, see below.")
            };
            go(&state, &console::removal(id), Some(message))
        }
        Err(failure) => failed_at(&state, &console::removal(id), &failure),
    }
}

/// `POST /jobs/{job_id}/refresh`
pub(crate) async fn refresh(State(state): State<AppState>, caller: Caller, JobPath(id): JobPath) -> Response {
    match batches::refresh_as(&state, &caller, id).await {
        Ok(_) => go(&state, &console::job(id), None),
        Err(failure) => failed_at(&state, &console::job(id), &failure),
    }
}

/// `POST /providers/{name}/batches/{batch_id}/adopt`
pub(crate) async fn adopt_batch(
    State(state): State<AppState>,
    caller: Caller,
    Path((name, id)): Path<(String, String)>,
) -> Response {
    match batches::adopt_as(&state, &caller, &name, &id, AdoptRequest::default()).await {
        Ok(job) => {
            let words = "The batch is a job now: it is followed from here on.";
            go(&state, &console::job(job.job_id), Some(flash(Tone::Completed, words)))
        }
        Err(failure) => failed_at(&state, &console::provider(&name), &failure),
    }
}

/// `POST /providers/{name}/batches/{batch_id}/cancel`
pub(crate) async fn cancel_remote_batch(
    State(state): State<AppState>,
    caller: Caller,
    Path((name, id)): Path<(String, String)>,
) -> Response {
    let place = console::provider(&name);
    match batches::cancel_as(&state, &caller, &name, &id).await {
        Ok(batch) if batch.state == BatchState::Cancelled => {
            go(&state, &place, Some(flash(Tone::Proof, "The provider says that the batch is cancelled.")))
        }
        Ok(batch) => {
            let words = format!("The provider has been asked to cancel. It says: {}.", batch.raw_state);
            go(&state, &place, Some(flash(Tone::Info, words)))
        }
        Err(failure) => failed_at(&state, &place, &failure),
    }
}

/// Bytes of records that one form takes; each file is held in memory while it is read.
const MAX_RECORDS: u64 = 16 << 20;

/// `POST /providers`, multipart: `provider`, and `files` with what another tool wrote down.
pub(crate) async fn import_batches(State(state): State<AppState>, caller: Caller, request: Request) -> Response {
    let (uri, headers) = (request.uri().clone(), request.headers().clone());
    match try_import(&state, &caller, request).await {
        Ok((name, answer)) => go(&state, &console::provider(&name), Some(import_flash(&answer))),
        Err(failure) => pages::render_failed_form(&state, Some(&caller), &uri, &headers, failure, Vec::new()).await,
    }
}

async fn try_import(state: &AppState, caller: &Caller, request: Request) -> Answer<(String, ImportAnswer)> {
    let max = state.config.files.max_upload_bytes.min(MAX_RECORDS);
    let (reservation, intake) = uploads::take_in(&state.engine, request, max).await?;
    let Intake { fields, uploads, .. } = intake;
    let imported = async {
        let typed = Typed(fields);
        let Some(name) = typed.text("provider") else {
            return Err(Failure::invalid_spec("provider", "Choose the provider that has the batches."));
        };
        if uploads.is_empty() {
            return Err(Failure::invalid_spec(uploads::FILES_PART, "Choose the files to import."));
        }
        let is_json =
            |name: &str| std::path::Path::new(name).extension().is_some_and(|end| end.eq_ignore_ascii_case("json"));
        if let Some(other) = uploads.iter().find(|upload| upload.part != uploads::FILES_PART || !is_json(&upload.name))
        {
            let detail = format!("`{}` is no JSON file by its name. Nothing was imported.", other.name);
            return Err(Failure::invalid_spec(uploads::FILES_PART, detail));
        }
        let folder = Written::Folder(reservation.folder().to_owned());
        Ok((name.to_owned(), batches::import_as(state, caller, name, folder).await?))
    };
    let imported = imported.await;
    // What was read is jobs now; the files were only brought to be read.
    reservation.discard().await;
    imported
}

/// Counts, and the first few reasons: a message has to fit into a cookie.
fn import_flash(answer: &ImportAnswer) -> Flash {
    const REASONS: usize = 3;
    const LONGEST: usize = 90;
    let (adopted, refused) = (answer.adopted.len(), answer.refused.len());
    if adopted == 0 && answer.known == 0 && refused == 0 {
        return flash(Tone::Warning, "There is no record in what was sent.");
    }
    let text = format!("{adopted} adopted, {} known already, {refused} could not be taken.", answer.known);
    if refused == 0 {
        return flash(Tone::Completed, text);
    }
    let shortened = |reason: &String| match reason.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", reason.get(..end).unwrap_or_default()),
        None => reason.clone(),
    };
    let mut reasons: Vec<String> = answer.refused.iter().take(REASONS).map(shortened).collect();
    if refused > REASONS {
        reasons.push(format!("And {} more.", refused - REASONS));
    }
    Flash { detail: Some(reasons.join(" ")), ..flash(Tone::Warning, text) }
}

/// To the page at `place`, with the problem as a message. Rendered under the form's own address the page could not be
/// hydrated: the browser's router knows none there.
fn failed_at(state: &AppState, place: &str, failure: &Failure) -> Response {
    // It travels in a cookie.
    let words: String = failure.problem().detail.chars().take(300).collect();
    go(state, place, Some(flash(Tone::Failed, words)))
}

/// `POST /bulk/new` with the question in the query, and `reason`, `keep_files`, `number` (typed), `shown` (how many jobs
/// the page said).
pub(crate) async fn new_bulk(
    State(state): State<AppState>,
    caller: Caller,
    pairs: Pairs,
    uri: Uri,
    headers: HeaderMap,
    form: Fields,
) -> Response {
    let typed = Typed::new(form);
    match try_new_bulk(&state, &caller, &pairs, &typed).await {
        Ok(bulk) => go(&state, &console::bulk(bulk.bulk_id), None),
        Err(failure) => pages::render_failed_form(&state, Some(&caller), &uri, &headers, failure, typed.0).await,
    }
}

async fn try_new_bulk(state: &AppState, caller: &Caller, pairs: &Pairs, typed: &Typed) -> Answer<Bulk> {
    let question = BulkQuestion::from_pairs(pairs.iter()).map_err(invalid_query)?;
    let request = BulkRequest {
        notes: notes_of(typed),
        keep_files: typed.ticked("keep_files"),
        dry_run: false,
        ..question.dry_run()
    };
    let plan = state.engine.plan_bulk(&request, state.config.bulk.max_jobs).await?;
    agreed(typed, plan.acts_on(), request.force)?;
    // Exactly what was counted: a filter may match others a moment later.
    let ids = plan.items.iter().map(|item| item.job_id).collect();
    let request = BulkRequest { select: BulkSelect::Ids(ids), ..request };
    bulk::begin_as(state, caller, request, None).await
}

/// What is begun must be what the page said: a filter may match more jobs by now. Fewer harm nobody.
fn agreed(typed: &Typed, jobs: u64, force: bool) -> Answer<()> {
    let refused = |detail| Err(Failure::new(ErrorCode::InvalidBulk, detail));
    let shown = typed.text("shown").and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
    if jobs == 0 {
        return refused("None of these jobs would be changed.".to_owned());
    }
    if jobs > shown {
        return refused(format!("This would reach {jobs} jobs by now, not {shown}. Please look again."));
    }
    let number = typed.text("number").unwrap_or_default().replace([',', ' '], "");
    if wants_number(shown, force) && number != shown.to_string() {
        return refused(format!("Type {shown}, the number of jobs, to confirm."));
    }
    Ok(())
}

/// `POST /bulk/{bulk_id}/abort`
pub(crate) async fn abort_bulk(State(state): State<AppState>, caller: Caller, BulkPath(id): BulkPath) -> Response {
    match bulk::abort_as(&state, &caller, id).await {
        Ok(bulk) => {
            let words = match bulk.aborted_at {
                Some(_) => "Nothing more of this is begun.",
                None => "This had ended already.",
            };
            go(&state, &console::bulk(id), Some(flash(Tone::Info, words)))
        }
        Err(failure) => failed_at(&state, &console::bulk(id), &failure),
    }
}

/// `POST /bulk/{bulk_id}/retry`
pub(crate) async fn retry_bulk(State(state): State<AppState>, caller: Caller, BulkPath(id): BulkPath) -> Response {
    match bulk::retry_as(&state, &caller, id, None).await {
        Ok(bulk) => go(&state, &console::bulk(bulk.bulk_id), Some(flash(Tone::Info, "What failed is tried again."))),
        Err(failure) => failed_at(&state, &console::bulk(id), &failure),
    }
}

/// `POST /jobs/new`, multipart: the fields of [`spec_of`] and `files`.
pub(crate) async fn new_job(State(state): State<AppState>, caller: Caller, request: Request) -> Response {
    let (uri, headers) = (request.uri().clone(), request.headers().clone());
    match try_new_job(&state, &caller, request).await {
        Ok(id) => go(&state, &console::job(id), Some(flash(Tone::Completed, "Job submitted"))),
        Err((failure, values)) => {
            pages::render_failed_form(&state, Some(&caller), &uri, &headers, failure, values).await
        }
    }
}

type Typing = Vec<(String, String)>;

async fn try_new_job(state: &AppState, caller: &Caller, request: Request) -> Result<JobId, (Failure, Typing)> {
    let untyped = |failure| (failure, Vec::new());
    let (reservation, intake) =
        uploads::take_in(&state.engine, request, state.config.files.max_upload_bytes).await.map_err(untyped)?;
    let Intake { fields, uploads, .. } = intake;
    let typed = Typed(fields);
    let body = match body_of(&typed) {
        Ok(body) => body,
        Err(failure) => {
            reservation.discard().await;
            return Err((failure, typed.0));
        }
    };
    match submit_reserved(&caller.actor(), reservation, body, uploads, None, state).await {
        Ok(job) => Ok(job.job_id),
        Err(failure) => Err((failure, typed.0)),
    }
}

fn body_of(typed: &Typed) -> Answer<SubmitBody> {
    Ok(SubmitBody {
        name: typed.text("name").unwrap_or_default().into(),
        kind: typed.text("kind").unwrap_or("files").into(),
        spec: Value::Object(spec_of(typed)?),
    })
}

fn spec_of(typed: &Typed) -> Answer<Map<String, Value>> {
    match typed.text("kind") {
        Some("product_matching") => matching_spec_of(typed),
        Some("hosts") => hosts_spec_of(typed),
        Some("openai_batch" | "gemini_batch") => Ok(batch_spec_of(typed)),
        Some(_) | None => files_spec_of(typed),
    }
}

/// The spec of a `product_matching` job from `product_paths`, `video_paths` (one a line) and `frame_rate`.
fn matching_spec_of(typed: &Typed) -> Answer<Map<String, Value>> {
    let mut spec = Map::new();
    spec.insert("products".to_owned(), lines(typed, "product_paths").into());
    spec.insert("videos".to_owned(), lines(typed, "video_paths").into());
    if typed.ticked("sample") {
        spec.insert("sample".to_owned(), true.into());
    }
    if let Some(text) = typed.text("frame_rate") {
        let rate: f64 =
            text.parse().map_err(|_| Failure::invalid_spec("spec.frame_rate", "`frame_rate` takes a number."))?;
        spec.insert("frame_rate".to_owned(), rate.into());
    }
    insert_numbers(&mut spec, typed, &["parallel"])?;
    Ok(spec)
}

/// The spec of a batch from `provider`, `input` and `model`.
fn batch_spec_of(typed: &Typed) -> Map<String, Value> {
    let given = |name: &str| Some((name.to_owned(), typed.text(name)?.into()));
    ["provider", "input", "model"].into_iter().filter_map(given).collect()
}

fn lines(typed: &Typed, name: &str) -> Vec<String> {
    let lines = typed.text(name).unwrap_or_default().lines().map(str::trim);
    lines.filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

fn insert_numbers(spec: &mut Map<String, Value>, typed: &Typed, names: &[&str]) -> Answer<()> {
    for name in names {
        if let Some(text) = typed.text(name) {
            let number: u32 = text.parse().map_err(|_| {
                Failure::invalid_spec(&format!("spec.{name}"), format!("`{name}` takes a whole number."))
            })?;
            spec.insert((*name).to_owned(), number.into());
        }
    }
    Ok(())
}

/// A preset, or else a command: words as a shell splits them.
fn insert_command(spec: &mut Map<String, Value>, typed: &Typed) -> Answer<()> {
    if let Some(preset) = typed.text("preset") {
        spec.insert("preset".to_owned(), preset.into());
    } else if let Some(command) = typed.text("command") {
        let words = split_words(command)
            .ok_or_else(|| Failure::invalid_spec("spec.command", "The command has a quote that is not closed."))?;
        spec.insert("command".to_owned(), words.into());
    }
    Ok(())
}

/// The spec of a `hosts` job from `hosts` (once for each), `preset` or `command`, `collect` (one a line), `parallel`,
/// `connect_timeout_s`, `timeout_s`, `grace_s`.
fn hosts_spec_of(typed: &Typed) -> Answer<Map<String, Value>> {
    let mut spec = Map::new();
    let hosts: Vec<&str> = typed.0.iter().filter(|(field, _)| field == "hosts").map(|(_, host)| host.trim()).collect();
    spec.insert("hosts".to_owned(), hosts.into());
    insert_command(&mut spec, typed)?;
    let collect = lines(typed, "collect");
    if !collect.is_empty() {
        spec.insert("collect".to_owned(), collect.into());
    }
    insert_numbers(&mut spec, typed, &["parallel", "connect_timeout_s", "timeout_s", "grace_s"])?;
    Ok(spec)
}

/// The spec of a `files` job from `preset` or `command` (words as a shell splits them), `inputs` (one a line),
/// `parallel`, `timeout_s`, `grace_s`.
fn files_spec_of(typed: &Typed) -> Answer<Map<String, Value>> {
    let mut spec = Map::new();
    insert_command(&mut spec, typed)?;
    let inputs = lines(typed, "inputs");
    if !inputs.is_empty() {
        spec.insert("inputs".to_owned(), inputs.into());
    }
    insert_numbers(&mut spec, typed, &["parallel", "timeout_s", "grace_s"])?;
    Ok(spec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_makes_the_spec_that_the_api_takes() {
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let typed = Typed(vec![
            field("name", " Nightly "),
            field("preset", "sha256"),
            field("command", ""),
            field("inputs", "a.txt\r\n\r\nb c\r\n"),
            field("parallel", "4"),
            field("timeout_s", ""),
        ]);
        let body = body_of(&typed).unwrap();
        assert_eq!(body.name, "Nightly");
        assert_eq!(body.spec, serde_json::json!({"preset": "sha256", "inputs": ["a.txt", "b c"], "parallel": 4}));
        let bad = Typed(vec![field("parallel", "many")]);
        assert_eq!(body_of(&bad).unwrap_err().field.as_deref(), Some("spec.parallel"));
    }

    #[test]
    fn every_ticked_host_is_in_the_spec() {
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let typed = Typed(vec![
            field("kind", "hosts"),
            field("name", "disks"),
            field("hosts", "group:web"),
            field("hosts", "db1"),
            field("preset", ""),
            field("command", "df -h '/var log'"),
            field("collect", "/var/log/*.log\n"),
            field("timeout_s", "60"),
        ]);
        assert_eq!(
            body_of(&typed).unwrap().spec,
            serde_json::json!({"hosts": ["group:web", "db1"], "command": ["df", "-h", "/var log"],
                "collect": ["/var/log/*.log"], "timeout_s": 60}),
        );
    }
}
