//! A line of results, in either shape: what it says is told by the fields that are there.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, de::IgnoredAny};
use serde_json::Value;

use super::RowStatus;
use crate::{Usage, openai, wire};

/// Characters of an answer that a row shows.
const FIRST_WORDS: usize = 120;

/// Characters of an error that a row shows.
const ERROR: usize = 300;

/// `google.rpc.Code`.
const CANCELLED: u64 = 1;

/// The little that finding a line again takes.
pub(super) struct Head<'a> {
    pub(super) id: Option<Cow<'a, str>>,
    pub(super) is_success: bool,
}

impl Head<'_> {
    /// Of a request or of a result. `None`: no JSON object.
    pub(super) fn read(line: &[u8]) -> Option<Head<'_>> {
        let fields: HeadFields<'_> = serde_json::from_slice(line).ok()?;
        let inner = fields.metadata.and_then(|metadata| metadata.key);
        let id = fields.custom_id.or(fields.key).or(inner).filter(|id| !id.is_empty());
        let is_good = |status: Option<u64>| status.is_none_or(|status| (200..300).contains(&status));
        let is_success =
            fields.error.is_none() && fields.response.is_some_and(|response| is_good(response.status_code));
        Some(Head { id, is_success })
    }
}

#[derive(Deserialize)]
struct HeadFields<'a> {
    #[serde(borrow, default)]
    custom_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    key: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    metadata: Option<HeadMetadata<'a>>,
    #[serde(default)]
    error: Option<IgnoredAny>,
    #[serde(default)]
    response: Option<HeadResponse>,
}

#[derive(Deserialize)]
struct HeadMetadata<'a> {
    #[serde(borrow, default)]
    key: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct HeadResponse {
    #[serde(default, deserialize_with = "status_code")]
    status_code: Option<u64>,
}

/// As tolerant as the reading of a whole answer is.
fn status_code<'de, D: Deserializer<'de>>(value: D) -> Result<Option<u64>, D::Error> {
    Value::deserialize(value).map(|value| wire::number(&value))
}

/// What a line of results says.
pub(super) struct Answer {
    pub(super) id: String,
    pub(super) status: RowStatus,
    pub(super) http_status: Option<u16>,
    pub(super) usage: Option<Usage>,
    pub(super) first_words: Option<String>,
    pub(super) error: Option<String>,
}

impl Answer {
    /// `None`: no JSON object with an id.
    pub(super) fn read(line: &[u8]) -> Option<Answer> {
        let value: Value = serde_json::from_slice(line).ok()?;
        let inner = || wire::text(value.get("metadata")?, "key");
        let id = wire::text(&value, "custom_id").or_else(|| wire::text(&value, "key")).or_else(inner)?;
        let response = wire::field(&value, "response");
        let error = wire::field(&value, "error");
        let status_code = response.and_then(|response| wire::count(response, "status_code"));
        let http_status = status_code
            .or_else(|| wire::count(error?, "code"))
            .and_then(|code| u16::try_from(code).ok())
            .filter(|code| (100..600).contains(code));
        // Some servers give the body as text.
        let body = response.map(|response| match response.get("body") {
            Some(Value::String(text)) => Cow::Owned(serde_json::from_str(text).unwrap_or(Value::Null)),
            Some(body) => Cow::Borrowed(body),
            None => Cow::Borrowed(response),
        });
        let body = body.as_deref().unwrap_or(&Value::Null);
        let refusal = status_code.is_some_and(|code| !(200..300).contains(&code)).then(|| {
            let told = wire::field(body, "error").unwrap_or(body);
            sentence(told).unwrap_or_else(|| format!("HTTP {}", status_code.unwrap_or_default()))
        });
        let told = error.map(|error| sentence(error).unwrap_or_else(|| "an error without a message".to_owned()));
        let blocked = body.get("promptFeedback").and_then(|feedback| wire::text(feedback, "blockReason"));
        let is_empty = response.is_none() && error.is_none();
        let error_text = told
            .or(refusal)
            .or_else(|| blocked.map(|reason| format!("blocked: {reason}")))
            .or_else(|| is_empty.then(|| "neither an answer nor an error".to_owned()));
        let status = match (&error_text, error) {
            (None, _) => RowStatus::Succeeded,
            (Some(_), Some(error)) => failure(error),
            (Some(_), None) => RowStatus::Failed,
        };
        Some(Answer {
            id,
            status,
            http_status,
            usage: wire::field(body, "usage").and_then(openai::usage).or_else(|| gemini_usage(body)),
            first_words: first_words(body),
            error: error_text.map(|text| shorten(&text, ERROR)),
        })
    }
}

/// Which kind of not done an error is.
fn failure(error: &Value) -> RowStatus {
    match wire::text(error, "code").as_deref() {
        Some("batch_expired") => RowStatus::Expired,
        Some("batch_cancelled" | "batch_canceled") => RowStatus::Cancelled,
        Some(_) | None if wire::count(error, "code") == Some(CANCELLED) => RowStatus::Cancelled,
        Some(_) | None => RowStatus::Failed,
    }
}

/// The message of an error, with its code where there is one as a word.
fn sentence(error: &Value) -> Option<String> {
    let code = wire::text(error, "code").or_else(|| wire::text(error, "status"));
    match (error.as_str().map(str::to_owned).or_else(|| wire::text(error, "message")), code) {
        (Some(message), Some(code)) => Some(format!("{code}: {message}")),
        (message, code) => message.or(code),
    }
}

/// Thoughts are billed as output and are not among the candidates' tokens.
fn gemini_usage(body: &Value) -> Option<Usage> {
    let told = wire::field(body, "usageMetadata")?;
    let count = |name| wire::count(told, name);
    let sum = |one, other| count(one).unwrap_or(0).saturating_add(count(other).unwrap_or(0));
    let input = sum("promptTokenCount", "toolUsePromptTokenCount");
    let output = sum("candidatesTokenCount", "thoughtsTokenCount");
    // An answer of nothing but a total is better than none.
    let output = if output == 0 { count("totalTokenCount").unwrap_or(0).saturating_sub(input) } else { output };
    let cached_tokens = count("cachedContentTokenCount").unwrap_or(0);
    let usage = Usage { input_tokens: input, cached_tokens, output_tokens: output };
    (input > 0 || output > 0).then_some(usage)
}

/// The beginning of what the model said, wherever the endpoint puts it.
fn first_words(body: &Value) -> Option<String> {
    let mut words = Words::default();
    for choice in wire::items(body, "choices") {
        words.take(choice.get("text"));
        if let Some(message) = choice.get("message") {
            words.take(message.get("content"));
            words.take(message.get("refusal"));
        }
    }
    for output in wire::items(body, "output") {
        words.take(output.get("content"));
    }
    for candidate in wire::items(body, "candidates") {
        words.take(candidate.get("content").and_then(|content| content.get("parts")));
    }
    words.finish()
}

#[derive(Default)]
struct Words(String);

impl Words {
    /// A text, or a list of parts with texts.
    fn take(&mut self, value: Option<&Value>) {
        match value {
            // White space shrinks, so that more than what is shown may be needed.
            Some(_) if self.0.len() > 8 * FIRST_WORDS => {}
            Some(Value::String(text)) => {
                self.0.extend(text.chars().take(8 * FIRST_WORDS));
                self.0.push(' ');
            }
            Some(Value::Array(parts)) => {
                // Gemini shows thoughts among the parts.
                let said = parts.iter().filter(|part| part.get("thought") != Some(&Value::Bool(true)));
                for part in said {
                    self.take(part.get("text"));
                }
            }
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => {}
        }
    }

    fn finish(self) -> Option<String> {
        let text = shorten(&self.0, FIRST_WORDS);
        (!text.is_empty()).then_some(text)
    }
}

/// On one line, at most `most` characters, with a sign that there is more.
fn shorten(text: &str, most: usize) -> String {
    let mut short = String::new();
    let mut left = most;
    for word in text.split_whitespace() {
        let space = usize::from(!short.is_empty());
        let length = word.chars().count() + space;
        if space == 1 && left > 0 {
            short.push(' ');
        }
        if length > left {
            short.extend(word.chars().take(left.saturating_sub(space)));
            return format!("{}…", short.trim_end());
        }
        short.push_str(word);
        left -= length;
    }
    short
}
