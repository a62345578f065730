//! What is known of the end of a batch: what was asked of the provider, and what it said.

use app::model::{BatchState, CancelResult, StopEvidence, StopMethod, StopStep, StopStepKind, Timestamp};

use crate::{engine::clock::now, store::BatchRecord};

/// Steps that are kept; a cancel that takes ten minutes has some dozen.
const MAX_STEPS: usize = 100;

/// The steps of a stop, oldest first.
pub(super) struct Notes {
    steps: Vec<StopStep>,
}

impl Notes {
    /// With what a former process had done.
    pub(super) fn of(batch: &BatchRecord) -> Self {
        let mut notes = Notes { steps: Vec::new() };
        if let Some(at) = batch.cancel_sent_at {
            notes.push(StopStepKind::Asked, at, "cancel sent to the provider".to_owned());
        }
        notes
    }

    pub(super) fn asked(&mut self, detail: impl Into<String>) {
        self.push(StopStepKind::Asked, now(), detail.into());
    }

    /// What the provider says now; the same words again are no news.
    pub(super) fn answered(&mut self, batch: &BatchRecord) {
        let detail = words_of(batch);
        let last = self.steps.iter().rfind(|step| step.step == StopStepKind::Answered);
        if last.is_none_or(|last| last.detail != detail) {
            self.push(StopStepKind::Answered, now(), detail);
        }
    }

    fn push(&mut self, step: StopStepKind, at: Timestamp, detail: String) {
        if self.steps.len() < MAX_STEPS {
            self.steps.push(StopStep { step, at, detail });
        }
    }

    fn evidence(&self, confirmed: bool, at: Option<Timestamp>, detail: String) -> StopEvidence {
        let mut steps = self.steps.clone();
        if confirmed {
            steps.push(StopStep {
                step: StopStepKind::Confirmed,
                at: now(),
                detail: "over at the provider".to_owned(),
            });
        }
        StopEvidence {
            method: StopMethod::Provider,
            signals: Vec::new(),
            stopped_at: at,
            processes_left: confirmed.then_some(0),
            processes_seen: None,
            confirmed,
            detail,
            steps,
        }
    }

    /// The provider says that it is over.
    pub(super) fn proof(&self, batch: &BatchRecord, result: CancelResult) -> StopEvidence {
        let detail = format!("{} {}.", result.sentence(), words_of(batch));
        self.evidence(true, batch.ended_at.or_else(|| Some(now())), detail)
    }

    /// Nothing had been sent, or what was sent is refused.
    pub(super) fn nothing_running(&self, batch: &BatchRecord) -> StopEvidence {
        let detail = match batch.batch_id {
            None => batch.cancel_result.unwrap_or(CancelResult::NeverSent).sentence().to_owned(),
            Some(_) => words_of(batch),
        };
        self.evidence(true, Some(now()), detail)
    }

    /// It may be going on.
    pub(super) fn unconfirmed(&self, batch: &BatchRecord) -> StopEvidence {
        self.evidence(false, None, waiting_for(batch))
    }
}

/// `in_progress`, 142 of 2,000 requests done.
pub(super) fn words_of(batch: &BatchRecord) -> String {
    let state = batch.raw_state.clone().unwrap_or_else(|| batch.state.as_str().to_owned());
    let counts = batch.counts.map(|counts| {
        let failed = if counts.failed > 0 { format!(", {} failed", counts.failed) } else { String::new() };
        format!(", {} of {} requests done{failed}", counts.completed, counts.total)
    });
    format!("{} says `{state}`{}", batch.provider, counts.unwrap_or_default())
}

/// What a cancelling job waits for, one sentence.
pub(super) fn waiting_for(batch: &BatchRecord) -> String {
    if let Some(error) = &batch.last_error {
        return format!("How the batch stands at {} is not known: {error}", batch.provider);
    }
    if batch.gone {
        return format!("{} does not know the batch any more; whether it still runs is not known.", batch.provider);
    }
    match (batch.batch_id.is_some(), batch.cancel_sent_at, batch.state) {
        (false, _, _) => format!("Whether {} has the batch is being looked for.", batch.provider),
        (true, None, _) => format!("{}; the cancel has not reached it yet.", words_of(batch)),
        (true, Some(_), BatchState::Cancelling) => {
            format!("{}. It may take ten minutes until a batch is cancelled.", words_of(batch))
        }
        (true, Some(at), _) => format!("{}; it was asked to cancel at {at}.", words_of(batch)),
    }
}
