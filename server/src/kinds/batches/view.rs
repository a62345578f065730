//! A batch as pages and programs are told it.

use std::collections::HashMap;

use app::model::{BatchState, BatchView, CheckedInput, Cost, CostRange, JobId, RequestCounts, TokenUsage};
use batches::{
    Usage,
    prices::{Interval, Prices, Remaining},
};

use super::{Shared, spec};
use crate::{
    error::Result,
    store::{BatchRecord, JobRecord},
};

/// The batches of these jobs; of one that has not begun, what its spec says.
pub(super) async fn of_jobs(shared: &Shared, jobs: &[&JobRecord]) -> Result<HashMap<JobId, BatchView>> {
    let ids: Vec<JobId> = jobs.iter().map(|job| job.job_id).collect();
    let mut views: HashMap<JobId, BatchView> = HashMap::new();
    for batch in shared.store.batches(&ids).await? {
        views.insert(batch.job_id, told(shared, &batch));
    }
    for job in jobs {
        if !views.contains_key(&job.job_id)
            && spec::read(&job.spec).is_ok()
            && let Ok(batch) = shared.fresh(job.job_id, &job.spec)
        {
            views.insert(job.job_id, told(shared, &batch));
        }
    }
    Ok(views)
}

fn told(shared: &Shared, batch: &BatchRecord) -> BatchView {
    let followed = shared.followed().get(&batch.job_id).cloned();
    let known = shared.providers.get(&batch.provider);
    let prices = known.map(|known| &known.prices);
    let checked = batch.checked.as_ref();
    let mut requests = batch.counts.unwrap_or_default();
    if let Some(results) = &batch.results {
        requests = RequestCounts {
            total: results.succeeded + results.unfinished(),
            completed: results.succeeded,
            failed: results.failed,
        };
    } else if requests.total == 0 {
        requests.total = checked.map_or(0, |checked| checked.requests);
    }
    BatchView {
        provider: batch.provider.clone(),
        provider_kind: batch.provider_kind,
        batch_id: batch.batch_id.clone(),
        tag: (!batch.adopted).then(|| batch.tag.clone()),
        state: batch.state,
        raw_state: batch.raw_state.clone(),
        model: batch.model.clone(),
        endpoint: batch.endpoint.clone(),
        requests,
        created_at: batch.created_at,
        expires_at: batch.expires_at,
        ended_at: batch.ended_at,
        cancel_sent_at: batch.cancel_sent_at,
        cancel_result: batch.cancel_result,
        asked_at: followed.as_ref().and_then(|followed| followed.asked_at).or(batch.asked_at),
        next_ask_at: followed.as_ref().map_or(batch.next_ask_at, |followed| followed.next_ask_at),
        last_error: batch.last_error.clone(),
        faults: batch.faults.clone(),
        gone: batch.gone,
        adopted: batch.adopted,
        usage: batch.usage,
        cost: prices.and_then(|prices| cost(prices, batch)),
        estimate: checked.and_then(|checked| checked.estimate.clone()),
        saved: prices.and_then(|prices| saved(prices, batch)),
        results: batch.results,
    }
}

/// What a checked file will cost.
pub(super) fn estimate(prices: &Prices, checked: &CheckedInput) -> Option<CostRange> {
    let model = checked.model.as_deref()?;
    let interval =
        prices.estimate(model, checked.requests, checked.estimated_input_tokens, checked.max_output_tokens)?;
    Some(range(interval))
}

/// What a batch has cost so far.
fn cost(prices: &Prices, batch: &BatchRecord) -> Option<Cost> {
    let cost = prices.cost(batch.model.as_deref()?, &usage_of(batch.usage?))?;
    Some(Cost { dollars: cost.dollars, rate: cost.rate })
}

/// What the requests that a cancel kept from being done would have cost.
fn saved(prices: &Prices, batch: &BatchRecord) -> Option<CostRange> {
    if batch.state != BatchState::Cancelled {
        return None;
    }
    let (checked, results) = (batch.checked.as_ref()?, batch.results?);
    let share = |tokens: u64| tokens.saturating_mul(results.cancelled) / checked.requests.max(1);
    let remaining = Remaining {
        requests: results.cancelled,
        input_tokens: share(checked.estimated_input_tokens),
        max_output_tokens: checked.max_output_tokens.map(share),
        done: batch.usage.map(|usage| (results.succeeded + results.failed, usage_of(usage))),
    };
    prices.saved_by_cancelling(batch.model.as_deref()?, &remaining).map(range)
}

fn range(interval: Interval) -> CostRange {
    CostRange { low: interval.low, high: interval.high, rate: interval.rate }
}

const fn usage_of(usage: TokenUsage) -> Usage {
    Usage { input_tokens: usage.input_tokens, cached_tokens: usage.cached_tokens, output_tokens: usage.output_tokens }
}
