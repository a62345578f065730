//! What batches cost: a dated table of rates, and what can be said with it. What is not known is `None`, never zero.

use std::{collections::BTreeMap, sync::LazyLock};

use serde::{Deserialize, Serialize};

use crate::Usage;

/// See the file.
static TABLE: LazyLock<Table> = LazyLock::new(|| toml::from_str(include_str!("prices.toml")).unwrap_or_default());

/// Rates are for as many tokens.
const MILLION: f64 = 1_000_000.0;

/// Bytes / 4 is a guess: what a text has in tokens lies between these shares of it, for most languages.
const GUESS: (f64, f64) = (0.75, 1.5);

/// How far the mean of what was not done may be from that of what was.
const MEAN: (f64, f64) = (0.75, 1.25);

#[derive(Default, Deserialize)]
struct Table {
    taken: String,
    models: BTreeMap<String, Rate>,
}

/// What a model costs in a batch, in US dollars for a million tokens. `[prices."gpt-5"]` of the configuration has this form.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    pub input: f64,
    pub output: f64,
    /// Input from the provider's cache; none: like other input.
    #[serde(default)]
    pub cached: Option<f64>,
    /// Most tokens of one answer.
    #[serde(default)]
    pub max_output: Option<u64>,
    /// These are the rates for requests that are answered at once; a batch costs half.
    #[serde(default)]
    pub standard: bool,
    /// For what the rates hold, where not for everything.
    #[serde(default)]
    pub note: Option<String>,
}

impl Rate {
    /// As batches are billed. A discount for batches does not hold for what is cheaper by a cache.
    fn of_batches(&self) -> Rate {
        if !self.standard {
            return self.clone();
        }
        let input = self.input / 2.0;
        Rate { input, output: self.output / 2.0, cached: self.cached.map(|cached| cached.min(input)), ..self.clone() }
    }

    fn dollars(&self, usage: &Usage) -> f64 {
        let cached = usage.cached_tokens.min(usage.input_tokens);
        let input = tokens(usage.input_tokens - cached, self.input);
        input + tokens(cached, self.cached.unwrap_or(self.input)) + tokens(usage.output_tokens, self.output)
    }
}

/// A price.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    pub dollars: f64,
    /// Where the rate is from: `prices of 2026-11-21`, `half of the standard rate, prices of 2026-11-21`, `configuration`.
    pub rate: String,
}

/// Between two prices in US dollars. An estimate, always.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
    /// As in [`Cost::rate`].
    pub rate: String,
}

/// The requests of a batch that were not done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remaining {
    pub requests: u64,
    /// Estimated, as in [`crate::requests::Checked::input_tokens`], of these requests.
    pub input_tokens: u64,
    /// Upper bound of their answers, where each has one.
    pub max_output_tokens: Option<u64>,
    /// What was done meanwhile: requests and what they used. By them the others are judged.
    pub done: Option<(u64, Usage)>,
}

/// Rates by model.
#[derive(Clone, Debug, Default)]
pub struct Prices {
    overrides: BTreeMap<String, Rate>,
}

impl Prices {
    /// The table of this version, with what the configuration puts before it.
    #[must_use]
    pub fn new(overrides: BTreeMap<String, Rate>) -> Prices {
        Prices { overrides }
    }

    /// What `usage` costs. `None` when the price of the model is not known.
    #[must_use]
    pub fn cost(&self, model: &str, usage: &Usage) -> Option<Cost> {
        let (rate, label) = self.rate(model)?;
        Some(Cost { dollars: rate.dollars(usage), rate: label })
    }

    /// What a batch will cost, before it is sent: `input_tokens` is a guess, and the answers have from no tokens up to their
    /// bound (of the requests, else of the model). `None` when the price or every bound is unknown.
    #[must_use]
    pub fn estimate(
        &self,
        model: &str,
        requests: u64,
        input_tokens: u64,
        max_output_tokens: Option<u64>,
    ) -> Option<Interval> {
        let (rate, label) = self.rate(model)?;
        let most = max_output_tokens.or_else(|| Some(rate.max_output?.saturating_mul(requests)))?;
        let input = tokens(input_tokens, rate.input);
        Some(Interval { low: input * GUESS.0, high: input * GUESS.1 + tokens(most, rate.output), rate: label })
    }

    /// What the requests that were not done would have cost: by the mean of those that were, or without any as
    /// [`Prices::estimate`] has it. Zero, and known to be, when all were done.
    #[must_use]
    pub fn saved_by_cancelling(&self, model: &str, remaining: &Remaining) -> Option<Interval> {
        let (rate, label) = self.rate(model)?;
        if remaining.requests == 0 {
            return Some(Interval { low: 0.0, high: 0.0, rate: label });
        }
        match remaining.done {
            Some((done, usage)) if done > 0 => {
                let input = tokens(remaining.input_tokens, rate.input);
                let output = tokens(usage.output_tokens, rate.output) * remaining.requests as f64 / done as f64;
                let low = input * GUESS.0 + output * MEAN.0;
                Some(Interval { low, high: input * GUESS.1 + output * MEAN.1, rate: label })
            }
            Some(_) | None => {
                self.estimate(model, remaining.requests, remaining.input_tokens, remaining.max_output_tokens)
            }
        }
    }

    /// The rate of a model, by the name that the provider gives it, and where it is from.
    fn rate(&self, model: &str) -> Option<(Rate, String)> {
        let names = [model, bare(model), undated(bare(model))];
        if let Some(rate) = names.iter().find_map(|name| self.overrides.get(*name)) {
            return Some((rate.of_batches(), label("configuration", rate)));
        }
        let rate = names.iter().find_map(|name| TABLE.models.get(*name))?;
        Some((rate.of_batches(), label(&format!("prices of {}", TABLE.taken), rate)))
    }
}

fn label(from: &str, rate: &Rate) -> String {
    let half = if rate.standard { "half of the standard rate, " } else { "" };
    let note = rate.note.as_deref().map(|note| format!(" ({note})")).unwrap_or_default();
    format!("{half}{from}{note}")
}

/// Without the collection before it: `models/gemini-2.5-flash`, `openai/gpt-5`.
fn bare(model: &str) -> &str {
    ["models/", "openai/", "google/"].iter().find_map(|prefix| model.strip_prefix(prefix)).unwrap_or(model)
}

/// Without a date at the end: `gpt-5-2025-08-07`.
fn undated(model: &str) -> &str {
    let Some((name, date)) = model.len().checked_sub(11).and_then(|at| model.split_at_checked(at)) else {
        return model;
    };
    let is_date = date.bytes().enumerate().all(|(at, byte)| match at {
        0 | 5 | 8 => byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    if is_date { name } else { model }
}

fn tokens(count: u64, rate: f64) -> f64 {
    count as f64 * rate / MILLION
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLION_EACH: Usage = Usage { input_tokens: 1_000_000, cached_tokens: 0, output_tokens: 1_000_000 };

    fn cost(model: &str, usage: &Usage) -> Option<(f64, String)> {
        Prices::default().cost(model, usage).map(|cost| ((cost.dollars * 1e6).round() / 1e6, cost.rate))
    }

    #[test]
    fn the_table_is_read_and_has_the_rates_for_batches() {
        let dated = "prices of 2026-11-21".to_owned();
        assert_eq!(cost("gpt-4o-mini", &MILLION_EACH), Some((0.375, dated.clone())));
        assert_eq!(cost("gpt-5", &MILLION_EACH), Some((5.625, dated.clone())));
        assert_eq!(cost("models/gemini-2.5-flash", &MILLION_EACH), Some((1.4, dated)));
        for (model, rate) in &TABLE.models {
            assert!(rate.input > 0.0 && rate.output >= 0.0, "{model}");
            assert!(rate.cached.is_none_or(|cached| cached > 0.0 && cached <= rate.input), "{model}");
        }
    }

    #[test]
    fn what_is_not_known_has_no_price() {
        for model in ["", "gpt-4o-mini-x", "my-model", "ft:gpt-4o-mini-2024-07-18:org::id", "2025-08-07"] {
            assert_eq!(cost(model, &MILLION_EACH), None, "{model}");
        }
    }

    #[test]
    fn a_dated_name_costs_what_the_plain_one_does_unless_it_has_its_own_rate() {
        assert_eq!(cost("gpt-4o-mini-2024-07-18", &MILLION_EACH), cost("gpt-4o-mini", &MILLION_EACH));
        assert_ne!(cost("gpt-4o-2024-05-13", &MILLION_EACH), cost("gpt-4o", &MILLION_EACH));
    }

    #[test]
    fn half_of_the_standard_rate_is_called_that() {
        let (_, rate) = cost("gpt-5-codex", &MILLION_EACH).unwrap();
        assert_eq!(rate, "half of the standard rate, prices of 2026-11-21");
        let (dollars, _) = cost("gpt-5-codex", &MILLION_EACH).unwrap();
        assert_eq!(dollars, 5.625);
    }

    #[test]
    fn cached_input_has_its_own_rate_and_is_part_of_the_input() {
        let usage = Usage { input_tokens: 1_000_000, cached_tokens: 400_000, output_tokens: 0 };
        let (dollars, _) = cost("gpt-5", &usage).unwrap();
        assert_eq!(dollars, 0.6 * 0.625 + 0.4 * 0.0625);
        let absurd = Usage { input_tokens: 10, cached_tokens: 1_000_000, output_tokens: 0 };
        assert!(cost("gpt-5", &absurd).unwrap().0 < 0.001);
    }

    #[test]
    fn the_configuration_goes_first() {
        let own: BTreeMap<String, Rate> = toml::from_str(r#""gpt-5" = { input = 1.0, output = 2.0 }"#).unwrap();
        let cost = Prices::new(own).cost("gpt-5-2025-08-07", &MILLION_EACH).unwrap();
        assert_eq!((cost.dollars, cost.rate.as_str()), (3.0, "configuration"));
    }

    #[test]
    fn an_estimate_is_bounded_by_the_requests_or_by_the_model() {
        let prices = Prices::default();
        let bounded = prices.estimate("gpt-5", 10, 1_000_000, Some(100_000)).unwrap();
        assert_eq!((bounded.low, bounded.high), (0.625 * 0.75, 0.625 * 1.5 + 0.5));
        let open = prices.estimate("gpt-5", 10, 1_000_000, None).unwrap();
        assert_eq!(open.high, 0.625 * 1.5 + 1.28 * 5.0);
        let own = BTreeMap::from([("mine".to_owned(), Rate { max_output: None, ..TABLE.models["gpt-5"].clone() })]);
        assert_eq!(Prices::new(own).estimate("mine", 10, 1_000_000, None), None, "no bound is known");
    }

    #[test]
    fn what_was_saved_is_judged_by_what_was_done() {
        let prices = Prices::default();
        let done = Some((2, Usage { input_tokens: 100, cached_tokens: 0, output_tokens: 200_000 }));
        let remaining = Remaining { requests: 4, input_tokens: 1_000_000, max_output_tokens: None, done };
        let saved = prices.saved_by_cancelling("gpt-5", &remaining).unwrap();
        assert_eq!((saved.low, saved.high), (0.625 * 0.75 + 2.0 * 0.75, 0.625 * 1.5 + 2.0 * 1.25));
        let nothing = Remaining { requests: 0, ..remaining };
        assert_eq!(prices.saved_by_cancelling("gpt-5", &nothing).unwrap().high, 0.0);
        assert_eq!(prices.saved_by_cancelling("my-model", &nothing), None);
    }
}
