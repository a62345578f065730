//! The types that server, console and command line all speak. Start reading in [`phase`].
//!
//! Plain data: `serde` and `std`, no leptos, no sqlx, no clock, no input or output. (In the server the
//! same types also derive their OpenAPI schema, under the feature `ssr`.)

pub mod audit;
pub mod batch;
pub mod bulk;
pub mod error;
pub mod id;
pub mod job;
pub mod matching;
pub mod page;
pub mod phase;
pub mod removal;
pub mod spec;
pub mod stop;
pub mod time;
pub mod unit;

pub use audit::{AuditAction, AuditEvent, Source};
pub use batch::{
    AdoptRequest, BatchFault, BatchSpec, BatchState, BatchView, CancelResult, CheckRequest, CheckedInput, Cost,
    CostRange, ImportAnswer, LineFault, ProviderInfo, ProviderKind, RemoteBatch, RemoteBatchPage, RemoteOwner,
    RequestCounts, RequestQuery, RequestRow, RequestStatus, ResultCounts, TokenUsage,
};
pub use bulk::{
    Bulk, BulkAction, BulkCount, BulkFilter, BulkItem, BulkItemQuery, BulkPlan, BulkPlanItem, BulkQuestion,
    BulkRequest, BulkResult, BulkSelect, BulkState,
};
pub use error::{ErrorCode, Problem};
pub use id::{BulkId, JobId, RunId};
pub use job::{
    Allowed, Artifact, CancelAnswer, CancelOutcome, CancelRequest, Cancellation, DEFAULT_REASON, Job, JobExtras,
    JobList, MAX_NOTES_CHARS, Permit, PhaseCount, PhaseCounts, PhaseProgress, Progress, RerunRequest, RerunUnits,
    WaitingRun,
};
pub use matching::{Keyframe, MatchResults, MatchedProduct, MatchedVideo, Sighting};
pub use page::{JobQuery, JobSort, Page, UnitQuery};
pub use phase::{Phase, PhaseClass};
pub use removal::{Category, DeleteAnswer, DeleteStatus, Leftover, Plan, PlanItem, Receipt, ReceiptItem, ReceiptState};
pub use spec::{
    FilesSpec, FormOptions, HostInfo, HostsSpec, Kind, NewJob, PresetInfo, ProductMatchingSpec, RootInfo, Spec,
    split_words,
};
pub use stop::{StopEvidence, StopMethod, StopStep, StopStepKind, StopSummary};
pub use time::Timestamp;
pub use unit::{LogLine, LogPage, LogQuery, LogStream, Unit, UnitStatus};
