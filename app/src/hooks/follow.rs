//! What a visitor does with a job: cancel, delete, run again. One thing at a time; what was begun is followed to
//! its end, whichever page is shown meanwhile. "Cancelled" is said when it is proven, not before.

use leptos::{prelude::*, task::spawn_local};

use crate::{
    backend::{Backend, Flash, SharedBackend, Tone},
    client::{self, Deleted, Removal, sleep},
    hooks::{dom, poll, selection::Selection, session::Session},
    model::{
        CancelAnswer, CancelOutcome, CancelRequest, DeleteStatus, ErrorCode, Job, JobId, Kind, Phase, Problem,
        ReceiptState, RerunRequest, RerunUnits,
    },
    paths::console,
    text,
};

/// A deletion that takes longer than this is said to.
const SLOW_DELETION_MS: i64 = 60_000;

/// Key of the message that tells how far a stop is.
const STOPPING: &str = "stopping";

/// How often, a second apart, a page asks whether a missing proof has come after Resend.
const PROOF_LOOKS: u32 = 30;

/// What a dialog asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Cancel,
    /// The stop was asked for and is not proven: who has answered, who has not.
    Stopping,
    Delete,
    /// The answer to the delete was 409.
    ForceDelete,
}

/// What is being done right now; everything else waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    Cancelling,
    Deleting,
    RunningAgain,
}

/// The job that a dialog is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subject {
    pub(crate) id: JobId,
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) phase: Phase,
}

impl Subject {
    pub(crate) fn of(job: &Job) -> Self {
        Subject { id: job.job_id, name: job.name.clone(), kind: job.kind, phase: job.phase }
    }
}

/// The actions, and the dialogs that lead to them. Shared by all pages of a visit.
#[derive(Clone, Copy)]
pub(crate) struct Actions {
    session: Session,
    backend: StoredValue<SharedBackend>,
    /// The open dialog.
    pub(crate) open: RwSignal<Option<(Ask, Subject)>>,
    pub(crate) doing: RwSignal<Option<(JobId, Doing)>>,
    /// The ticked jobs of the list.
    pub(crate) selection: Selection,
    /// What is typed into the reason; survives a failed request.
    pub(crate) notes: RwSignal<String>,
    pub(crate) keep_files: RwSignal<bool>,
    /// Why the last request of the open dialog failed.
    pub(crate) failure: RwSignal<Option<String>>,
    /// The latest state of a job that something was done with; pages take it over at once.
    pub(crate) fresh: RwSignal<Option<Job>>,
    /// Bumped when a list should ask again.
    pub(crate) changed: RwSignal<u32>,
    /// Jobs whose stop or removal is followed.
    following: StoredValue<Vec<JobId>>,
    /// The job whose progress panel is open: it tells of its cancel itself.
    pub(crate) panel: RwSignal<Option<JobId>>,
}

/// The actions of this visit.
pub(crate) fn actions() -> Actions {
    expect_context::<Actions>()
}

impl Actions {
    pub(crate) fn new(session: Session, backend: SharedBackend) -> Self {
        Actions {
            session,
            backend: StoredValue::new(backend),
            open: RwSignal::new(None),
            selection: Selection::new(session),
            doing: RwSignal::new(None),
            notes: RwSignal::new(String::new()),
            keep_files: RwSignal::new(false),
            failure: RwSignal::new(None),
            fresh: RwSignal::new(None),
            changed: RwSignal::new(0),
            following: StoredValue::new(Vec::new()),
            panel: RwSignal::new(None),
        }
    }

    /// Opens a dialog, unless something runs.
    pub(crate) fn ask(&self, ask: Ask, subject: Subject) {
        if self.doing.get_untracked().is_some() {
            return;
        }
        self.failure.set(None);
        self.notes.set(String::new());
        self.keep_files.set(false);
        self.open.set(Some((ask, subject)));
    }

    /// Something is being done with any job.
    pub(crate) fn busy(&self) -> bool {
        self.doing.get().is_some()
    }

    pub(crate) fn is_doing(&self, id: JobId, doing: Doing) -> bool {
        self.doing.get() == Some((id, doing))
    }

    pub(crate) fn follows(&self, id: JobId) -> bool {
        self.following.with_value(|ids| ids.contains(&id))
    }

    pub(crate) fn close(&self) {
        self.failure.set(None);
        self.open.set(None);
    }

    fn begin(&self, id: JobId, doing: Doing) -> bool {
        if self.doing.get_untracked().is_some() {
            return false;
        }
        self.failure.set(None);
        self.doing.set(Some((id, doing)));
        true
    }

    /// Takes over the job's present state before the buttons come back, so that they never show an old one.
    async fn settle(&self, id: JobId) {
        let asked = self.backend.get_value().job(id);
        if let Ok(job) = asked.await {
            self.fresh.set(Some(job));
        }
        self.changed.update(|count| *count += 1);
        self.doing.set(None);
    }

    /// Sends the cancel: the first time, again, or with force.
    pub(crate) fn cancel(&self, subject: Subject, force: bool) {
        if !self.begin(subject.id, Doing::Cancelling) {
            return;
        }
        let this = *self;
        let typed = this.notes.get_untracked();
        let notes = Some(typed.trim().to_owned()).filter(|notes| !notes.is_empty());
        spawn_local(async move {
            let request = CancelRequest { reason: None, notes, force };
            let answer = client::cancel(subject.id, &request).await;
            if !matches!(&answer, Err(problem) if problem.status == 404 || problem.is(ErrorCode::Unauthenticated)) {
                this.settle(subject.id).await;
            }
            this.doing.set(None);
            match answer {
                Ok(answer) => this.cancel_answered(subject, &answer),
                Err(problem) => this.failed(&subject, &problem, "Failed to cancel job. Please try again."),
            }
        });
    }

    fn cancel_answered(&self, subject: Subject, answer: &CancelAnswer) {
        self.notes.set(String::new());
        match answer.outcome {
            CancelOutcome::Cancelled => {
                self.close();
                self.say_stopped(&subject, answer.stop.unconfirmed);
            }
            CancelOutcome::Cancelling => {
                if self.open.with_untracked(Option::is_some) {
                    self.open.set(Some((Ask::Stopping, subject.clone())));
                }
                self.follow_stop(subject);
            }
            CancelOutcome::AlreadyCancelled | CancelOutcome::AlreadyFinished if answer.stop.unconfirmed > 0 => {
                self.close();
                self.session.tell(Tone::Info, answer.message.clone());
                self.await_proof(subject.id);
            }
            CancelOutcome::AlreadyCancelled => {
                self.close();
                self.session.tell(Tone::Info, "This job was already cancelled");
            }
            CancelOutcome::AlreadyFinished => {
                self.close();
                self.session.tell(Tone::Info, answer.message.clone());
            }
        }
    }

    fn say_stopped(&self, subject: &Subject, unconfirmed: u64) {
        self.session.dismiss_key(STOPPING);
        if self.panel.get_untracked() == Some(subject.id) {
            return;
        }
        let (tone, title, link) = match unconfirmed {
            0 => (Tone::Proof, "Job cancelled successfully".to_owned(), "See the proof"),
            1 => (Tone::Warning, "Job cancelled, 1 run is unconfirmed".to_owned(), "See what is known"),
            many => (Tone::Warning, format!("Job cancelled, {many} runs are unconfirmed"), "See what is known"),
        };
        self.session.toast(
            "",
            Flash {
                tone,
                text: title,
                detail: Some(subject.name.clone()),
                link: Some((link.to_owned(), console::job(subject.id))),
            },
        );
    }

    fn failed(&self, subject: &Subject, problem: &Problem, words: &str) {
        if problem.is(ErrorCode::Unauthenticated) {
            self.session.sign_in_again();
        } else if problem.status == 404 {
            self.close();
            self.say_gone(problem);
        } else if problem.is(ErrorCode::Forbidden) {
            self.close();
            self.session.tell(Tone::Failed, "You may not do this. Please ask an administrator.");
        } else if problem.is(ErrorCode::JobDeleting) {
            self.close();
            self.session.tell(Tone::Info, problem.detail.clone());
        } else {
            let unreachable = problem.error == client::NETWORK || problem.status >= 500;
            let words = if unreachable { words.to_owned() } else { problem.detail.clone() };
            if self.open.with_untracked(Option::is_some) {
                self.failure.set(Some(words));
            } else {
                let detail = Some(format!("{}: {}", subject.name, problem.detail));
                self.session.toast("", Flash { tone: Tone::Failed, text: words, detail, link: None });
            }
        }
    }

    /// The job is not there any more: back to the list.
    pub(crate) fn say_gone(&self, problem: &Problem) {
        let deleted = problem.is(ErrorCode::JobDeleted);
        let link = problem.receipt.as_deref().and_then(|path| path.strip_prefix("/api"));
        self.session.toast(
            "",
            Flash {
                tone: Tone::Info,
                text: if deleted { "This job was already deleted" } else { "There is no such job" }.to_owned(),
                detail: None,
                link: link.map(|path| ("Open receipt".to_owned(), path.to_owned())),
            },
        );
        self.changed.update(|count| *count += 1);
        self.leave_job();
    }

    /// Back to exactly the list, unless it is shown already.
    fn leave_job(&self) {
        if dom::here().starts_with("/jobs/") {
            self.session.go(console::JOBS, false);
        }
    }

    fn start_following(&self, id: JobId) -> bool {
        let known = self.follows(id);
        if !known {
            self.following.update_value(|ids| ids.push(id));
        }
        !known
    }

    fn stop_following(&self, id: JobId) {
        self.following.update_value(|ids| ids.retain(|other| *other != id));
    }

    fn follow_stop(&self, subject: Subject) {
        if !self.start_following(subject.id) {
            return;
        }
        let this = *self;
        spawn_local(async move {
            let mut failures = 0;
            loop {
                sleep(if failures == 0 { 700 } else { poll::backoff(failures, dom::random()) }).await;
                let asked = this.backend.get_value().job(subject.id);
                match asked.await {
                    Ok(job) => {
                        failures = 0;
                        if this.stop_moved(&subject, job) {
                            break;
                        }
                    }
                    Err(problem) if problem.status == 404 || problem.is(ErrorCode::Unauthenticated) => {
                        this.session.dismiss_key(STOPPING);
                        break;
                    }
                    Err(_) => failures += 1,
                }
            }
            this.stop_following(subject.id);
        });
    }

    /// Looks for a while whether the proof that was missing comes; then the page's own polling goes on.
    fn await_proof(&self, id: JobId) {
        let this = *self;
        spawn_local(async move {
            for _ in 0..PROOF_LOOKS {
                sleep(1_000).await;
                let asked = this.backend.get_value().job(id);
                let Ok(job) = asked.await else { break };
                let left = job.in_doubt();
                this.fresh.set(Some(job));
                if left == 0 {
                    break;
                }
            }
        });
    }

    /// Says how far the stop is; true when it is over.
    fn stop_moved(&self, subject: &Subject, job: Job) -> bool {
        let dialog = self.open.get_untracked().filter(|(ask, open)| *ask == Ask::Stopping && open.id == subject.id);
        let stop = job.cancellation.as_ref().map(|cancellation| cancellation.stop).unwrap_or_default();
        let phase = job.phase;
        self.fresh.set(Some(job));
        if phase == Phase::Cancelling {
            if dialog.is_none() && self.panel.get_untracked() != Some(subject.id) {
                let runs = stop.stopped + stop.waiting + stop.unconfirmed;
                let flash = Flash {
                    tone: Tone::Cancelling,
                    text: format!("{} of {runs} stopped…", stop.stopped),
                    detail: Some(subject.name.clone()),
                    link: None,
                };
                self.session.toast(STOPPING, flash);
            }
            return false;
        }
        if dialog.is_some() {
            self.close();
        }
        if phase == Phase::Cancelled || phase == Phase::Partial {
            self.say_stopped(subject, stop.unconfirmed);
        } else if phase.is_terminal() {
            self.session.dismiss_key(STOPPING);
            self.session.tell(Tone::Info, format!("{} ended before the stop took effect", subject.name));
        }
        self.changed.update(|count| *count += 1);
        true
    }

    /// Deletes; `force` only after a 409.
    pub(crate) fn delete(&self, subject: Subject, force: bool) {
        if !self.begin(subject.id, Doing::Deleting) {
            return;
        }
        let this = *self;
        let keep_files = this.keep_files.get_untracked();
        spawn_local(async move {
            // The page's own poll will see that the job is gone; that is then no news.
            this.start_following(subject.id);
            match client::delete(subject.id, force, keep_files).await {
                Ok(answer) => this.delete_answered(subject, answer).await,
                Err(problem) => {
                    this.stop_following(subject.id);
                    this.doing.set(None);
                    if problem.is(ErrorCode::JobActive) {
                        this.open.set(Some((Ask::ForceDelete, subject)));
                    } else {
                        this.failed(&subject, &problem, "Failed to delete job. Please try again.");
                    }
                }
            }
        });
    }

    async fn delete_answered(&self, subject: Subject, answer: Deleted) {
        match answer.status {
            DeleteStatus::Deleted => {
                self.doing.set(None);
                self.close();
                self.say_deleted(subject.id, answer.receipt.as_ref());
                self.stop_following(subject.id);
            }
            DeleteStatus::Deleting => {
                self.settle(subject.id).await;
                self.close();
                self.follow_removal(subject);
            }
        }
    }

    fn say_deleted(&self, id: JobId, receipt: Option<&Removal>) {
        self.selection.forget(id);
        let freed: u64 = receipt.map_or(0, |receipt| receipt.items.iter().map(|item| item.removed_bytes).sum());
        let left: u64 = receipt.map_or(0, |receipt| receipt.items.iter().map(|item| item.failed).sum());
        let detail = match (left, freed) {
            (0, 0) => None,
            (0, _) => Some(format!("{} freed.", text::bytes(freed))),
            _ => Some(format!("{} could not be removed.", text::counted(left, ("thing", "things")))),
        };
        self.session.toast(
            "",
            Flash {
                tone: if left == 0 { Tone::Completed } else { Tone::Warning },
                text: "Job deleted successfully".to_owned(),
                detail,
                link: Some(("Open receipt".to_owned(), console::removal(id))),
            },
        );
        self.changed.update(|count| *count += 1);
        self.leave_job();
    }

    fn follow_removal(&self, subject: Subject) {
        let this = *self;
        let begun = dom::browser_now();
        spawn_local(async move {
            let mut rounds = 0;
            let mut slow = false;
            loop {
                rounds += 1;
                sleep(poll::backoff(rounds.min(4), dom::random())).await;
                match client::removal(subject.id).await {
                    Ok(receipt) if receipt.state != ReceiptState::Running => {
                        this.say_deleted(subject.id, Some(&receipt));
                        break;
                    }
                    Err(problem) if problem.is(ErrorCode::Unauthenticated) => break,
                    Ok(_) | Err(_) => {}
                }
                if !slow && dom::browser_now().millis_since(begun) > SLOW_DELETION_MS {
                    slow = true;
                    let words = "Deletion is taking longer than expected. Check back in a few minutes.";
                    this.session.tell(Tone::Warning, words);
                }
            }
            this.stop_following(subject.id);
        });
    }

    /// Makes a new job over the units of this one and shows it.
    pub(crate) fn run_again(&self, subject: Subject, unfinished: bool) {
        if !self.begin(subject.id, Doing::RunningAgain) {
            return;
        }
        let this = *self;
        spawn_local(async move {
            let units = if unfinished { RerunUnits::Unfinished } else { RerunUnits::All };
            let made = client::rerun(subject.id, &RerunRequest { units, name: None }).await;
            this.doing.set(None);
            match made {
                Ok(job) => this.session.go(&format!("{}?panel=1", console::job(job.job_id)), false),
                Err(problem) => this.failed(&subject, &problem, "Failed to run the job again. Please try again."),
            }
        });
    }
}
