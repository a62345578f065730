//! Where a job is, and what may be done with it there. Every rule stands here once, as an exhaustive match;
//! the SQL guards, the API, the buttons and the command line all ask these functions.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::job::Progress;

/// Where a job is. Forward only: see [`Phase::prior`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub enum Phase {
    /// Accepted; nothing has run.
    Pending,
    /// `product_matching`: inputs are taken in and videos cut into frames.
    Collection,
    /// `product_matching`: masks and descriptors are computed.
    FeatureExtraction,
    /// `product_matching`: images are matched against keyframes.
    Matching,
    /// `product_matching`: pictures of what was found are drawn.
    Evidence,
    /// The one working phase of `files`, `hosts` and, at a provider, of batches.
    InProgress,
    /// Batches: the provider checks the input.
    Validating,
    /// Batches: the provider writes the results.
    Finalizing,
    /// A stop was asked for and is not proven yet.
    Cancelling,
    /// Being removed. Nothing but the row is left to see.
    Deleting,
    /// Ended by itself; every unit succeeded.
    Completed,
    /// Ended with some units succeeded and some not.
    Partial,
    /// Ended by itself; no unit succeeded.
    Failed,
    /// Stopped, with evidence (or visibly without: `stop.unconfirmed`).
    Cancelled,
}

/// The groups of phases that rules are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PhaseClass {
    /// Waiting for its first run.
    Pending,
    /// Units are claimed and run.
    Active,
    /// Nothing is claimed; runs are being stopped.
    Cancelling,
    /// Being removed.
    Deleting,
    /// Over. Never changes to another terminal phase.
    Terminal,
}

impl Phase {
    /// All phases, in the order in which lists and filters show them.
    pub const ALL: [Phase; 14] = [
        Phase::Pending,
        Phase::Collection,
        Phase::FeatureExtraction,
        Phase::Matching,
        Phase::Evidence,
        Phase::InProgress,
        Phase::Validating,
        Phase::Finalizing,
        Phase::Cancelling,
        Phase::Deleting,
        Phase::Completed,
        Phase::Partial,
        Phase::Failed,
        Phase::Cancelled,
    ];

    /// Phases in which a unit may be claimed.
    pub const CLAIMABLE: [Phase; 8] = [
        Phase::Pending,
        Phase::Collection,
        Phase::FeatureExtraction,
        Phase::Matching,
        Phase::Evidence,
        Phase::InProgress,
        Phase::Validating,
        Phase::Finalizing,
    ];

    /// Phases that are over.
    pub const TERMINAL: [Phase; 4] = [Phase::Completed, Phase::Partial, Phase::Failed, Phase::Cancelled];

    /// The name in JSON, SQL and URLs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Phase::Pending => "pending",
            Phase::Collection => "collection",
            Phase::FeatureExtraction => "feature_extraction",
            Phase::Matching => "matching",
            Phase::Evidence => "evidence",
            Phase::InProgress => "in_progress",
            Phase::Validating => "validating",
            Phase::Finalizing => "finalizing",
            Phase::Cancelling => "cancelling",
            Phase::Deleting => "deleting",
            Phase::Completed => "completed",
            Phase::Partial => "partial",
            Phase::Failed => "failed",
            Phase::Cancelled => "cancelled",
        }
    }

    /// The word that people read.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Phase::Pending => "Pending",
            Phase::Collection => "Collection",
            Phase::FeatureExtraction => "Feature extraction",
            Phase::Matching => "Matching",
            Phase::Evidence => "Evidence",
            Phase::InProgress => "In progress",
            Phase::Validating => "Validating",
            Phase::Finalizing => "Finalizing",
            Phase::Cancelling => "Cancelling",
            Phase::Deleting => "Deleting",
            Phase::Completed => "Completed",
            Phase::Partial => "Partial",
            Phase::Failed => "Failed",
            Phase::Cancelled => "Cancelled",
        }
    }

    /// The group that the rules below are written in.
    #[must_use]
    pub const fn class(self) -> PhaseClass {
        match self {
            Phase::Pending => PhaseClass::Pending,
            Phase::Collection
            | Phase::FeatureExtraction
            | Phase::Matching
            | Phase::Evidence
            | Phase::InProgress
            | Phase::Validating
            | Phase::Finalizing => PhaseClass::Active,
            Phase::Cancelling => PhaseClass::Cancelling,
            Phase::Deleting => PhaseClass::Deleting,
            Phase::Completed | Phase::Partial | Phase::Failed | Phase::Cancelled => PhaseClass::Terminal,
        }
    }

    /// Over for good.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self.class(), PhaseClass::Terminal)
    }

    /// Something may still change by itself: pages that show such a job poll fast.
    #[must_use]
    pub const fn is_moving(self) -> bool {
        !self.is_terminal()
    }

    /// A pending unit of a job in this phase may be given to a worker.
    #[must_use]
    pub const fn can_claim(self) -> bool {
        matches!(self.class(), PhaseClass::Pending | PhaseClass::Active)
    }

    /// A cancel changes the phase to [`Phase::Cancelling`].
    #[must_use]
    pub const fn can_cancel(self) -> bool {
        matches!(self.class(), PhaseClass::Pending | PhaseClass::Active)
    }

    /// A cancel may be sent again: it nudges whoever has not answered, and changes no phase.
    #[must_use]
    pub const fn can_resend_cancel(self) -> bool {
        matches!(self.class(), PhaseClass::Cancelling)
    }

    /// A delete without `force` is accepted. (On `deleting` it joins the running one.)
    #[must_use]
    pub const fn can_delete(self) -> bool {
        matches!(self.class(), PhaseClass::Terminal | PhaseClass::Deleting)
    }

    /// A delete needs `force`, and then stops the job with proof first.
    #[must_use]
    pub const fn delete_needs_force(self) -> bool {
        matches!(self.class(), PhaseClass::Pending | PhaseClass::Active | PhaseClass::Cancelling)
    }

    /// A new job over the units of this one may be made.
    #[must_use]
    pub const fn can_rerun(self) -> bool {
        matches!(self.class(), PhaseClass::Terminal)
    }

    /// The phases from which `self` may be entered: the guard of every conditional update.
    #[must_use]
    pub const fn prior(self) -> &'static [Phase] {
        use Phase::{
            Cancelled, Cancelling, Collection, Completed, Evidence, Failed, FeatureExtraction, Finalizing, InProgress,
            Matching, Partial, Pending, Validating,
        };
        match self {
            Pending => &[],
            Collection | Validating => &[Pending],
            FeatureExtraction => &[Collection],
            Matching => &[FeatureExtraction],
            Evidence => &[Matching],
            InProgress => &[Pending, Validating],
            Finalizing => &[InProgress],
            Cancelling => &Phase::CLAIMABLE,
            // A stop that came too late: everything had succeeded. (`Partial`: hosts only, see `after_cancel`.)
            Completed | Partial => {
                &[Collection, FeatureExtraction, Matching, Evidence, InProgress, Validating, Finalizing, Cancelling]
            }
            Failed => &[Collection, FeatureExtraction, Matching, Evidence, InProgress, Validating, Finalizing],
            Cancelled => &[Cancelling],
            Phase::Deleting => &[Completed, Partial, Failed, Cancelled],
        }
    }

    /// How a job ends whose units have all ended by themselves.
    #[must_use]
    pub const fn after_work(progress: &Progress) -> Phase {
        if progress.succeeded == progress.total {
            Phase::Completed
        } else if progress.succeeded == 0 {
            Phase::Failed
        } else {
            Phase::Partial
        }
    }

    /// How a cancelled job ends once no run is open. `partial_when_some_succeeded` is true for jobs on hosts:
    /// there every finished host has been changed, and "cancelled" would hide it.
    #[must_use]
    pub const fn after_cancel(progress: &Progress, partial_when_some_succeeded: bool) -> Phase {
        if progress.succeeded == progress.total {
            Phase::Completed
        } else if partial_when_some_succeeded && progress.succeeded > 0 {
            Phase::Partial
        } else {
            Phase::Cancelled
        }
    }

    /// Why a cancel is not possible here; `None` when it is (or may be sent again).
    #[must_use]
    pub const fn why_no_cancel(self) -> Option<&'static str> {
        match self {
            Phase::Pending
            | Phase::Collection
            | Phase::FeatureExtraction
            | Phase::Matching
            | Phase::Evidence
            | Phase::InProgress
            | Phase::Validating
            | Phase::Finalizing
            | Phase::Cancelling => None,
            Phase::Deleting => Some("This job is being deleted."),
            Phase::Completed => Some("This job has already completed."),
            Phase::Partial => Some("This job has already ended, with some units not done."),
            Phase::Failed => Some("This job has already failed."),
            Phase::Cancelled => Some("This job is already cancelled."),
        }
    }

    /// Why a delete without `force` is not possible here.
    #[must_use]
    pub const fn why_no_delete(self) -> Option<&'static str> {
        match self.class() {
            PhaseClass::Pending | PhaseClass::Active | PhaseClass::Cancelling => {
                Some("Job is still active. Cancel it first or use force=true")
            }
            PhaseClass::Deleting | PhaseClass::Terminal => None,
        }
    }

    /// Why a rerun is not possible here.
    #[must_use]
    pub const fn why_no_rerun(self) -> Option<&'static str> {
        match self.class() {
            PhaseClass::Pending | PhaseClass::Active => {
                Some("This job is still active. Wait for its end or cancel it first.")
            }
            PhaseClass::Cancelling => Some("This job is being cancelled. Wait until it is over."),
            PhaseClass::Deleting => Some("This job is being deleted."),
            PhaseClass::Terminal => None,
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownPhase(pub String);

impl fmt::Display for UnknownPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown phase `{}`", self.0)
    }
}

impl std::error::Error for UnknownPhase {}

impl FromStr for Phase {
    type Err = UnknownPhase;

    fn from_str(text: &str) -> Result<Self, UnknownPhase> {
        Phase::ALL.into_iter().find(|phase| phase.as_str() == text).ok_or_else(|| UnknownPhase(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_phase_never_changes_to_another_one() {
        for phase in Phase::TERMINAL {
            for prior in phase.prior() {
                assert!(!prior.is_terminal(), "{prior} -> {phase}");
            }
        }
    }

    #[test]
    fn cancelling_can_be_entered_from_exactly_the_phases_that_can_be_cancelled() {
        for phase in Phase::ALL {
            assert_eq!(Phase::Cancelling.prior().contains(&phase), phase.can_cancel(), "{phase}");
            assert_eq!(Phase::CLAIMABLE.contains(&phase), phase.can_claim(), "{phase}");
            assert_eq!(Phase::TERMINAL.contains(&phase), phase.is_terminal(), "{phase}");
        }
    }

    #[test]
    fn cancelled_is_reached_only_through_cancelling() {
        assert_eq!(Phase::Cancelled.prior(), &[Phase::Cancelling]);
    }

    #[test]
    fn every_phase_reads_back_and_every_refusal_says_why() {
        for phase in Phase::ALL {
            assert_eq!(phase.as_str().parse(), Ok(phase));
            assert_eq!(phase.why_no_cancel().is_none(), phase.can_cancel() || phase.can_resend_cancel(), "{phase}");
            assert_eq!(phase.why_no_delete().is_some(), phase.delete_needs_force(), "{phase}");
            assert_eq!(phase.why_no_rerun().is_none(), phase.can_rerun(), "{phase}");
        }
    }

    #[test]
    fn a_job_ends_as_its_units_did() {
        let progress =
            |total, succeeded, failed, cancelled| Progress { total, succeeded, failed, cancelled, running: 0 };
        assert_eq!(Phase::after_work(&progress(3, 3, 0, 0)), Phase::Completed);
        assert_eq!(Phase::after_work(&progress(3, 0, 3, 0)), Phase::Failed);
        assert_eq!(Phase::after_work(&progress(3, 1, 2, 0)), Phase::Partial);
        assert_eq!(Phase::after_cancel(&progress(3, 3, 0, 0), false), Phase::Completed);
        assert_eq!(Phase::after_cancel(&progress(3, 2, 0, 1), false), Phase::Cancelled);
        assert_eq!(Phase::after_cancel(&progress(3, 2, 0, 1), true), Phase::Partial);
        assert_eq!(Phase::after_cancel(&progress(3, 0, 0, 3), true), Phase::Cancelled);
    }
}
