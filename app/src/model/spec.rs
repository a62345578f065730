//! What a job is asked to do: kinds and their specs, and what the new-job form offers.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{
    batch::{BatchSpec, ProviderInfo, ProviderKind},
    removal::Category,
};

/// What sort of job. A kind is listed here when it is built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub enum Kind {
    /// A command for each file.
    #[default]
    Files,
    /// Finds products in videos.
    ProductMatching,
    /// A command on each of many hosts, over SSH.
    Hosts,
    /// A file of requests, sent to the batch API of OpenAI or of what has its shape.
    OpenaiBatch,
    /// A file of requests, sent to the batch API of Gemini.
    GeminiBatch,
}

impl Kind {
    /// All kinds, in the order in which the form offers them.
    pub const ALL: [Kind; 5] = [Kind::Files, Kind::ProductMatching, Kind::Hosts, Kind::OpenaiBatch, Kind::GeminiBatch];

    /// The name in JSON, SQL and URLs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Files => "files",
            Kind::ProductMatching => "product_matching",
            Kind::Hosts => "hosts",
            Kind::OpenaiBatch => "openai_batch",
            Kind::GeminiBatch => "gemini_batch",
        }
    }

    /// What units of this kind are called: one, many.
    #[must_use]
    pub const fn unit_nouns(self) -> (&'static str, &'static str) {
        match self {
            Kind::Files => ("file", "files"),
            Kind::ProductMatching => ("unit", "units"),
            Kind::Hosts => ("host", "hosts"),
            Kind::OpenaiBatch | Kind::GeminiBatch => ("request", "requests"),
        }
    }

    /// True when a run works on another machine and is only waited for here: it takes none of the worker's slots.
    #[must_use]
    pub const fn is_remote(self) -> bool {
        match self {
            Kind::Files | Kind::ProductMatching => false,
            Kind::Hosts | Kind::OpenaiBatch | Kind::GeminiBatch => true,
        }
    }

    /// The API that jobs of this kind speak; `None` for those that no provider carries out.
    #[must_use]
    pub const fn provider_kind(self) -> Option<ProviderKind> {
        match self {
            Kind::Files | Kind::ProductMatching | Kind::Hosts => None,
            Kind::OpenaiBatch => Some(ProviderKind::Openai),
            Kind::GeminiBatch => Some(ProviderKind::Gemini),
        }
    }

    /// See [`Phase::after_cancel`](super::Phase::after_cancel).
    #[must_use]
    pub const fn partial_when_cancelled(self) -> bool {
        match self {
            Kind::Files | Kind::ProductMatching | Kind::OpenaiBatch | Kind::GeminiBatch => false,
            Kind::Hosts => true,
        }
    }

    /// What a file is that a unit made, by the first folder of its path below the unit's artifacts.
    #[must_use]
    pub fn category_of(self, folder: &str) -> Category {
        match self {
            Kind::Files | Kind::Hosts | Kind::OpenaiBatch | Kind::GeminiBatch => Category::Results,
            Kind::ProductMatching => match folder {
                "images" | "masks" => Category::Images,
                "frames" | "keyframes" => Category::Frames,
                "matches" | "evidence" | "results" => Category::Matches,
                _ => Category::Results,
            },
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownKind(pub String);

impl fmt::Display for UnknownKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown kind `{}`", self.0)
    }
}

impl std::error::Error for UnknownKind {}

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Kind::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| UnknownKind(text.to_owned()))
    }
}

/// Spec of kind `files`: exactly one of `preset` and `command`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct FilesSpec {
    /// Name of a preset of the configuration.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub preset: Option<String>,
    /// Program and arguments, no shell. `{file}`, `{name}`, `{stem}`, `{out}` are replaced anywhere inside an argument.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub command: Option<Vec<String>>,
    /// Files or folders (recursive), absolute or relative to a configured root. Uploads come beside these.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub inputs: Vec<String>,
    /// Units at once; at least 1. Default and upper bound: the worker's slots.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub parallel: Option<u32>,
    /// Seconds after which a unit is stopped and counts as failed; default none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub timeout_s: Option<u32>,
    /// Seconds between SIGTERM and SIGKILL; default 5, at most 3,600.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub grace_s: Option<u32>,
}

/// Spec of kind `product_matching`. Uploads come beside the paths, in parts `products` and `videos`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct ProductMatchingSpec {
    /// Product images (PNG, JPEG, WebP) or folders of them, absolute or relative to a configured root. A `.csv` among
    /// them is a manifest: a line `product,image` for each image, so that a product may have a name of its own, and
    /// several images.
    #[serde(default)]
    pub products: Vec<String>,
    /// Videos, or folders of them.
    #[serde(default)]
    pub videos: Vec<String>,
    /// Uses a set of products and videos that is generated, instead of files: to try it out.
    #[serde(default)]
    pub sample: bool,
    /// Frames a second that are looked at, 0.1 to 10; default 2.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub frame_rate: Option<f64>,
    /// Units at once; at least 1. Default and upper bound: the worker's slots.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub parallel: Option<u32>,
    /// Seconds between SIGTERM and SIGKILL; default 2, at most 3,600.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub grace_s: Option<u32>,
}

/// Spec of kind `hosts`: exactly one of `preset` and `command`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct HostsSpec {
    /// Hosts of the configuration: `web1`, `group:db`, `tag:eu`. Each host once, in this order.
    pub hosts: Vec<String>,
    /// Name of a preset of the configuration, one for hosts.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub preset: Option<String>,
    /// Program and arguments, no shell. `{host}` is replaced anywhere inside an argument.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub command: Option<Vec<String>>,
    /// Hosts at once, 1 to 1,024; default 50.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub parallel: Option<u32>,
    /// Seconds until a host must have been reached, 1 to 600; default 10.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub connect_timeout_s: Option<u32>,
    /// Seconds after which the command is stopped and its host counts as failed; default none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub timeout_s: Option<u32>,
    /// Seconds between SIGTERM and SIGKILL; default 5, at most 3,600.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub grace_s: Option<u32>,
    /// Remote files that are fetched when the command has ended: paths, with `*`, `?` and `[…]` in any part.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub collect: Vec<String>,
}

/// A spec of any kind. On the wire the bare object; the job's `kind` says which. (No spec of one kind can be read as one
/// of another: unknown fields are refused, and `products`, `videos`, `hosts` and `provider` are always there.)
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub enum Spec {
    Files(FilesSpec),
    ProductMatching(ProductMatchingSpec),
    Hosts(HostsSpec),
    Batch(BatchSpec),
}

/// Body of `POST /api/jobs`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct NewJob {
    /// 1 to 200 characters, no control characters.
    pub name: String,
    pub kind: Kind,
    pub spec: Spec,
}

/// A preset that the form offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct PresetInfo {
    pub name: String,
    /// Kind of the jobs that may use it.
    #[serde(default)]
    pub kind: Kind,
    pub command: Vec<String>,
    pub description: Option<String>,
}

/// A folder from which jobs may take files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct RootInfo {
    pub path: String,
}

/// A host that jobs may be run on. Where and how it is reached is nobody's business but the server's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct HostInfo {
    pub name: String,
    pub groups: Vec<String>,
    pub tags: Vec<String>,
}

/// What the new-job form may offer here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
pub struct FormOptions {
    pub presets: Vec<PresetInfo>,
    pub roots: Vec<RootInfo>,
    pub allow_free_commands: bool,
    /// Bytes a job.
    pub max_upload_bytes: u64,
    /// Runs at once on this worker.
    pub slots: u32,
    /// Hosts of the configuration.
    #[serde(default)]
    pub hosts: Vec<HostInfo>,
    /// True where jobs of kind `hosts` may run any command.
    #[serde(default)]
    pub allow_free_commands_on_hosts: bool,
    /// Providers of the configuration.
    #[serde(default)]
    pub providers: Vec<ProviderInfo>,
}

/// Words of a command line as a POSIX shell would split them: quotes and backslashes, nothing else. `None`: a quote
/// is open.
#[must_use]
pub fn split_words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some('\''), c) => word.get_or_insert_default().push(c),
            (Some(_), '\\') => match chars.next()? {
                escaped @ ('"' | '\\' | '$' | '`') => word.get_or_insert_default().push(escaped),
                other => word.get_or_insert_default().extend(['\\', other]),
            },
            (None, '\\') => word.get_or_insert_default().push(chars.next()?),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_split_as_a_shell_does() {
        let split = |text| split_words(text).map(|words| words.join("|"));
        assert_eq!(split("magick {file}  -resize 50% {out}/{name}").unwrap(), "magick|{file}|-resize|50%|{out}/{name}");
        assert_eq!(split(r#"sh -c 'echo "$BELAY_FILE"'"#).unwrap(), r#"sh|-c|echo "$BELAY_FILE""#);
        assert_eq!(split(r#"a "b \" c" d\ e '' "#).unwrap(), r#"a|b " c|d e|"#);
        assert_eq!(split("a 'b"), None);
        assert_eq!(split("").unwrap(), "");
    }
}
