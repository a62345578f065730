//! A file of requests, checked line by line before anything is sent.

use std::{path::Path, sync::atomic::AtomicBool};

use app::model::{CheckedInput, ErrorCode, LineFault, ProviderKind};
use batches::{
    Shape,
    requests::{self, ReadError, Rules},
};

use crate::error::{Error, Result};

/// Faults that a refusal names; the check endpoint tells more.
const NAMED: usize = 100;

pub(super) const fn shape_of(kind: ProviderKind) -> Shape {
    match kind {
        ProviderKind::Openai => Shape::Openai,
        ProviderKind::Gemini => Shape::Gemini,
    }
}

/// Checks a file. What is wrong with it is in the answer; an error is a file that cannot be read. Blocking.
pub(super) fn check(file: &Path, kind: ProviderKind, model: Option<&str>) -> Result<CheckedInput> {
    let checked = requests::check(file, &Rules::of(shape_of(kind)), &AtomicBool::new(false)).map_err(unreadable)?;
    let mut faults: Vec<LineFault> =
        checked.faults.into_iter().map(|fault| LineFault { line: fault.line, message: fault.message }).collect();
    let mut fault_count = checked.fault_count;
    let model = checked.model.or_else(|| model.map(str::to_owned));
    if model.is_none() && kind == ProviderKind::Gemini {
        let message = "The requests of Gemini do not name their model: give one as `model`.".to_owned();
        faults.insert(0, LineFault { line: None, message });
        fault_count += 1;
    }
    Ok(CheckedInput {
        requests: checked.requests,
        bytes: checked.bytes,
        model,
        endpoint: checked.endpoint,
        estimated_input_tokens: checked.input_tokens,
        max_output_tokens: checked.max_output_tokens,
        estimate: None,
        faults,
        fault_count,
    })
}

/// A file that cannot be read, or written to.
pub(crate) fn unreadable(error: ReadError) -> Error {
    match error {
        ReadError::Io { source, .. } => Error::from(source),
        ReadError::Stopped => Error::ShuttingDown,
    }
}

/// The refusal of a file that cannot be sent; it names the lines.
pub(super) fn refuse_faults(checked: &CheckedInput) -> Result<()> {
    if checked.fault_count == 0 {
        return Ok(());
    }
    let lines: Vec<String> = checked.faults.iter().take(NAMED).map(told).collect();
    let more = checked.fault_count.saturating_sub(lines.len() as u64);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    let one = if checked.fault_count == 1 { "fault" } else { "faults" };
    Err(Error::Invalid {
        code: ErrorCode::InvalidSpec,
        field: Some("spec.input".to_owned()),
        detail: format!("The file of requests has {} {one}: {}{more}.", checked.fault_count, lines.join("; ")),
        hint: Some("Nothing was sent. `POST /api/batches/check` checks a file without submitting it.".to_owned()),
    })
}

/// The first fault in a sentence; none of a file that can be sent.
pub(super) fn first_fault(checked: &CheckedInput) -> Option<String> {
    let first = checked.faults.first().map(told);
    (checked.fault_count > 0).then(|| format!("the file of requests cannot be sent: {}", first.unwrap_or_default()))
}

fn told(fault: &LineFault) -> String {
    let message = fault.message.trim_end_matches('.');
    match fault.line {
        Some(line) => format!("line {line}: {message}"),
        None => message.to_owned(),
    }
}
