//! Fields as providers send them: missing, `null`, or an integer as text. Absent is `None`, whichever way.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;

use crate::{Error, UnixMillis};

/// A text that is there and not empty.
pub(crate) fn text(value: &Value, name: &str) -> Option<String> {
    value.get(name)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// A count: a number (also `3.0`) or digits as text.
pub(crate) fn count(value: &Value, name: &str) -> Option<u64> {
    number(value.get(name)?)
}

/// The same of a value itself.
pub(crate) fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => {
            // A float beyond the range ends at its border.
            number.as_u64().or_else(|| number.as_f64().filter(|number| *number >= 0.0).map(|number| number as u64))
        }
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// In the year 9987: later times have no form in RFC 3339 that is read everywhere.
const LATEST: UnixMillis = 253_000_000_000_000;

/// Seconds since 1970 (OpenAI) or RFC 3339 (Google, others). Zero is how some say "not yet".
pub(crate) fn time(value: &Value, name: &str) -> Option<UnixMillis> {
    let since = match value.get(name)? {
        Value::Number(number) => Duration::try_from_secs_f64(number.as_f64()?).ok()?,
        Value::String(text) => match text.parse() {
            Ok(seconds) => Duration::from_secs(seconds),
            Err(_) => humantime::parse_rfc3339_weak(text).ok()?.duration_since(UNIX_EPOCH).ok()?,
        },
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    let millis = UnixMillis::try_from(since.as_millis()).ok()?;
    // Some count in milliseconds; what is behind the year 9987 after that is no time.
    let millis = if millis > LATEST { millis / 1_000 } else { millis };
    Some(millis).filter(|millis| (1..LATEST).contains(millis))
}

/// The items of a list of which it matters whether it is one: an answer that is something else must not read like an
/// empty list, or what was not found in it is made again. `may_lack`: an empty list may be left out.
pub(crate) fn list<'a>(answer: &'a Value, name: &str, may_lack: bool) -> Result<&'a [Value], Error> {
    let items = match answer {
        // Some have nothing around it.
        Value::Array(items) => Some(items.as_slice()),
        Value::Object(fields) => match fields.get(name) {
            Some(Value::Array(items)) => Some(items.as_slice()),
            Some(Value::Null) => Some(&[][..]),
            None if may_lack && fields.keys().all(|key| key == "nextPageToken") => Some(&[][..]),
            Some(_) | None => None,
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    };
    items.ok_or_else(|| Error::Garbage { what: format!("a list without `{name}`") })
}

/// The items of a list; none where there is no list.
pub(crate) fn items<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A field that is there and not `null`.
pub(crate) fn field<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    value.get(name).filter(|field| !field.is_null())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn null_empty_and_missing_are_the_same() {
        let value = json!({"a": null, "b": "", "c": "x"});
        assert_eq!((text(&value, "a"), text(&value, "b"), text(&value, "z")), (None, None, None));
        assert_eq!(text(&value, "c").as_deref(), Some("x"));
        assert_eq!((count(&value, "a"), time(&value, "a")), (None, None));
        assert!(items(&value, "a").is_empty());
    }

    #[test]
    fn what_is_no_list_is_no_empty_list() {
        let one = json!([{"id": "a"}]);
        for list in [json!({"data": one, "has_more": false}), one.clone()] {
            assert_eq!(super::list(&list, "data", false).unwrap().len(), 1);
        }
        assert!(super::list(&json!({"data": null}), "data", false).unwrap().is_empty());
        assert!(super::list(&json!({"nextPageToken": ""}), "data", true).unwrap().is_empty());
        for (other, may_lack) in [
            (json!({}), false),
            (json!({"data": "none"}), false),
            (json!({"data": {"id": "a"}}), true),
            (json!({"error": {"message": "m"}}), true),
            (json!({"message": "m"}), true),
        ] {
            assert!(super::list(&other, "data", may_lack).is_err(), "{other}");
        }
    }

    #[test]
    fn a_count_may_be_text() {
        let value = json!({"n": 3, "s": "3", "f": 3.0, "minus": -1, "word": "three"});
        assert_eq!((count(&value, "n"), count(&value, "s"), count(&value, "f")), (Some(3), Some(3), Some(3)));
        assert_eq!((count(&value, "minus"), count(&value, "word")), (None, None));
    }

    #[test]
    fn a_time_is_seconds_or_rfc_3339() {
        let value =
            json!({"s": 1_714_508_499, "t": "1714508499", "r": "2024-04-30T20:21:39.123456789Z", "z": 0, "x": "now"});
        assert_eq!(time(&value, "s"), Some(1_714_508_499_000));
        assert_eq!(time(&value, "t"), Some(1_714_508_499_000));
        assert_eq!(time(&value, "r"), Some(1_714_508_499_123));
        assert_eq!((time(&value, "z"), time(&value, "x")), (None, None));
    }
}
