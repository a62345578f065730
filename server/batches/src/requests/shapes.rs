//! A line of requests in the two shapes, read with as little copying as JSON allows.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::Rules;
use crate::Shape;

/// Characters of an id or a name that are shown.
const SHOWN: usize = 64;

/// Images and sound are priced by other rules than their base64.
const DATA_URL: &str = "data:";

/// What a check needs of a request.
pub(super) struct Request<'a> {
    pub(super) id: Cow<'a, str>,
    /// What the id is called in this shape.
    pub(super) id_name: &'static str,
    pub(super) model: Option<Cow<'a, str>>,
    pub(super) endpoint: Option<Cow<'a, str>>,
    pub(super) prompt_bytes: u64,
    /// Texts to be embedded.
    pub(super) texts: u64,
    pub(super) max_output_tokens: Option<u64>,
}

/// Reads a line; the error is a sentence about it.
pub(super) fn read<'a>(rules: &Rules, text: &'a [u8]) -> Result<Request<'a>, String> {
    match rules.shape {
        Shape::Openai => read_openai(rules, text),
        Shape::Gemini => read_gemini(text),
    }
}

/// A text of the file as it may stand in a message.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

fn read_openai<'a>(rules: &Rules, text: &'a [u8]) -> Result<Request<'a>, String> {
    let line: OpenaiLine<'a> = parse(text)?;
    let id = required(line.custom_id, "custom_id")?;
    match line.method.as_deref() {
        Some("POST") => {}
        Some(other) => return Err(format!("`method` is `{}`, not `POST`.", shown(other))),
        None => return Err("has no `method`.".to_owned()),
    }
    let url = required(line.url, "url")?;
    if !rules.endpoints.iter().any(|known| *known == url) {
        return Err(format!("`url` is `{}`; batches are for {}.", shown(&url), rules.endpoints.join(", ")));
    }
    let body = line.body.ok_or("has no `body`.")?;
    let model = body.model.filter(|model| !model.is_empty());
    if model.is_none() && url != "/v1/moderations" {
        return Err("`body` has no `model`.".to_owned());
    }
    let prompts = [body.messages, body.input, body.prompt, body.instructions, body.tools];
    let texts = body.input.texts;
    let answers_in_tokens = !matches!(&*url, "/v1/embeddings" | "/v1/moderations");
    let bound = body.max_completion_tokens.or(body.max_output_tokens).or(body.max_tokens);
    let bound = bound.map(|bound| bound.saturating_mul(body.n.unwrap_or(1).max(1)));
    Ok(Request {
        id,
        id_name: "custom_id",
        model,
        endpoint: Some(url),
        prompt_bytes: prompts.iter().map(|prompt| prompt.bytes).sum(),
        texts,
        max_output_tokens: if answers_in_tokens { bound } else { Some(0) },
    })
}

fn read_gemini(text: &[u8]) -> Result<Request<'_>, String> {
    let line: GeminiLine<'_> = parse(text)?;
    let id = required(line.key, "key")?;
    let request = line.request.ok_or("has no `request`.")?;
    let (endpoint, prompt) = match (request.contents, request.content) {
        (Some(contents), None) => ("generateContent", contents),
        (None, Some(content)) => ("embedContent", content),
        (None, None) => return Err("`request` has no `contents`.".to_owned()),
        (Some(_), Some(_)) => return Err("`request` has both `contents` and `content`.".to_owned()),
    };
    if prompt.is_empty {
        return Err("`request` has empty contents.".to_owned());
    }
    let bytes = prompt.bytes + request.system_instruction.bytes + request.tools.bytes;
    let bound = request.generation_config.unwrap_or_default();
    let bound = bound.max_output_tokens.map(|most| most.saturating_mul(bound.candidate_count.unwrap_or(1).max(1)));
    Ok(Request {
        id,
        id_name: "key",
        model: request.model.map(|model| match model.strip_prefix("models/") {
            Some(bare) => Cow::Owned(bare.to_owned()),
            None => model,
        }),
        endpoint: Some(Cow::Borrowed(endpoint)),
        prompt_bytes: bytes,
        texts: 1,
        max_output_tokens: if endpoint == "embedContent" { Some(0) } else { bound },
    })
}

fn required<'a>(text: Option<Cow<'a, str>>, name: &str) -> Result<Cow<'a, str>, String> {
    text.filter(|text| !text.is_empty()).ok_or_else(|| format!("has no `{name}`."))
}

fn parse<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, String> {
    if text.trim_ascii_start().first() != Some(&b'{') {
        return Err("is no JSON object.".to_owned());
    }
    serde_json::from_slice(text).map_err(|error| {
        // The parser sees one line, so its line number is always 1 (or of a line break inside, which is as useless).
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default();
        let what = if error.is_data() { "cannot be used" } else { "is no JSON" };
        format!("{what}: {message} (column {}).", error.column())
    })
}

#[derive(Deserialize)]
struct OpenaiLine<'a> {
    #[serde(borrow, default)]
    custom_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    url: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    body: Option<OpenaiBody<'a>>,
}

#[derive(Deserialize)]
struct OpenaiBody<'a> {
    #[serde(borrow, default)]
    model: Option<Cow<'a, str>>,
    #[serde(default)]
    messages: Prompt,
    #[serde(default)]
    input: Prompt,
    #[serde(default)]
    prompt: Prompt,
    #[serde(default)]
    instructions: Prompt,
    #[serde(default)]
    tools: Prompt,
    #[serde(default)]
    max_tokens: Option<u64>,
    #[serde(default)]
    max_completion_tokens: Option<u64>,
    #[serde(default)]
    max_output_tokens: Option<u64>,
    #[serde(default)]
    n: Option<u64>,
}

#[derive(Deserialize)]
struct GeminiLine<'a> {
    #[serde(borrow, default)]
    key: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    request: Option<GeminiRequest<'a>>,
}

#[derive(Deserialize)]
struct GeminiRequest<'a> {
    #[serde(borrow, default)]
    model: Option<Cow<'a, str>>,
    #[serde(default)]
    contents: Option<Prompt>,
    #[serde(default)]
    content: Option<Prompt>,
    #[serde(default, alias = "systemInstruction")]
    system_instruction: Prompt,
    #[serde(default)]
    tools: Prompt,
    #[serde(default, alias = "generationConfig")]
    generation_config: Option<GenerationConfig>,
}

#[derive(Default, Deserialize)]
struct GenerationConfig {
    #[serde(default, alias = "maxOutputTokens")]
    max_output_tokens: Option<u64>,
    #[serde(default, alias = "candidateCount")]
    candidate_count: Option<u64>,
}

/// A prompt of any form, of which only the size is wanted: the bytes of its texts. A token given as a number counts as
/// four of them.
#[derive(Clone, Copy, Default)]
struct Prompt {
    bytes: u64,
    /// Texts at the top: how many embeddings come of it.
    texts: u64,
    is_empty: bool,
}

impl<'de> Deserialize<'de> for Prompt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Prompt, D::Error> {
        deserializer.deserialize_any(PromptVisitor)
    }
}

struct PromptVisitor;

impl PromptVisitor {
    fn text(text: &str) -> Prompt {
        let bytes = if text.starts_with(DATA_URL) { 0 } else { text.len() as u64 };
        Prompt { bytes, texts: 1, is_empty: text.is_empty() }
    }

    const NUMBER: Prompt = Prompt { bytes: 4, texts: 0, is_empty: false };
    const NOTHING: Prompt = Prompt { bytes: 0, texts: 0, is_empty: true };
}

impl<'de> Visitor<'de> for PromptVisitor {
    type Value = Prompt;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a prompt")
    }

    fn visit_str<E>(self, text: &str) -> Result<Prompt, E> {
        Ok(Self::text(text))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Prompt, E> {
        Ok(Self::NUMBER)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Prompt, E> {
        Ok(Self::NUMBER)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Prompt, E> {
        Ok(Self::NUMBER)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Prompt, E> {
        Ok(Self::NOTHING)
    }

    fn visit_unit<E>(self) -> Result<Prompt, E> {
        Ok(Self::NOTHING)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Prompt, A::Error> {
        let mut sum = Self::NOTHING;
        while let Some(item) = items.next_element::<Prompt>()? {
            sum.bytes += item.bytes;
            sum.texts += u64::from(item.texts > 0);
            sum.is_empty = false;
        }
        // A list of numbers is one text, as tokens.
        sum.texts = sum.texts.max(u64::from(!sum.is_empty));
        Ok(sum)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Prompt, A::Error> {
        let mut sum = Prompt { bytes: 0, texts: 1, is_empty: true };
        while let Some(name) = fields.next_key::<Cow<'de, str>>()? {
            sum.is_empty = false;
            // What a part is, and what it holds as base64 or at an address, is no text.
            if matches!(&*name, "role" | "type" | "data" | "url" | "mime_type" | "mimeType" | "detail" | "format") {
                fields.next_value::<IgnoredAny>()?;
            } else {
                let field = fields.next_value::<Prompt>()?;
                // Numbers are settings here, not tokens.
                sum.bytes += if field.texts > 0 { field.bytes } else { 0 };
            }
        }
        Ok(sum)
    }
}
