//! Identifiers: 128-bit UUIDs (version 7, so that they sort by time), written with hyphens in lower case.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A text that is not a UUID. On the API an id like this is answered as an unknown one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnId;

impl fmt::Display for NotAnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a UUID")
    }
}

impl std::error::Error for NotAnId {}

fn parse_uuid(text: &str) -> Result<u128, NotAnId> {
    let bytes = text.as_bytes();
    if bytes.len() != 36 {
        return Err(NotAnId);
    }
    let mut value: u128 = 0;
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 8 | 13 | 18 | 23) {
            if *byte != b'-' {
                return Err(NotAnId);
            }
            continue;
        }
        let digit = (*byte as char).to_digit(16).ok_or(NotAnId)?;
        value = (value << 4) | u128::from(digit);
    }
    Ok(value)
}

fn write_uuid(value: u128, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(
        f,
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        value >> 96,
        (value >> 80) & 0xffff,
        (value >> 64) & 0xffff,
        (value >> 48) & 0xffff,
        value & 0xffff_ffff_ffff
    )
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(feature = "ssr", derive(utoipa::ToSchema))]
        #[cfg_attr(feature = "ssr", schema(value_type = String, format = "uuid"))]
        pub struct $name(pub u128);

        impl $name {
            /// The first 12 digits, as people quote it.
            #[must_use]
            pub fn short(&self) -> String {
                self.to_string().chars().take(13).collect()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_uuid(self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_uuid(self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;

            fn from_str(text: &str) -> Result<Self, NotAnId> {
                parse_uuid(text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    };
}

id!(
    /// One submitted piece of work.
    JobId
);
id!(
    /// One action on many jobs.
    BulkId
);
id!(
    /// One attempt at one unit by one worker, under a lease. Also the fence: a result is accepted only
    /// for the run that holds the unit. Also the mark `BELAY_RUN` in the environment of what it started.
    RunId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_what_it_wrote() {
        let text = "0199c2b2-0c9d-7e02-8f10-0123456789ab";
        assert_eq!(text.parse::<JobId>().unwrap().to_string(), text);
        assert_eq!(text.parse::<RunId>().unwrap().short(), "0199c2b2-0c9d");
    }

    #[test]
    fn what_is_no_uuid_is_refused() {
        for text in [
            "",
            "nope",
            "0199c2b20c9d7e028f100123456789ab",
            "0199c2b2-0c9d-7e02-8f10-0123456789zz",
            "é199c2b2-0c9d-7e02-8f10-0123456789a",
        ] {
            assert_eq!(text.parse::<JobId>(), Err(NotAnId), "{text}");
        }
    }
}
