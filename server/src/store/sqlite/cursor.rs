//! Cursors: where a page ended, opaque to the caller. Hex of a tag (which list, which order), the key and a checksum,
//! so that a made-up one, or one of another order, is told from a good one.

use app::model::ErrorCode;

use crate::error::{Error, Result};

/// Writes a cursor of the list `tag`.
pub(super) fn write(tag: u8, number: i64, text: &str) -> String {
    let mut bytes = vec![tag];
    bytes.extend(number.to_be_bytes());
    bytes.extend(text.as_bytes());
    bytes.extend(checksum(&bytes).to_be_bytes());
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads a cursor of the list `tag`.
///
/// # Errors
/// `Invalid` for anything that [`write`] did not make for this list.
pub(super) fn read(tag: u8, cursor: &str) -> Result<(i64, String)> {
    parse(tag, cursor).ok_or_else(|| Error::Invalid {
        code: ErrorCode::InvalidQuery,
        field: Some("cursor".to_owned()),
        detail: "`cursor` is not one that this list gave out in this order.".to_owned(),
        hint: Some("Leave `cursor` out to begin with the first page.".to_owned()),
    })
}

fn parse(tag: u8, cursor: &str) -> Option<(i64, String)> {
    if !cursor.is_ascii() || !cursor.len().is_multiple_of(2) {
        return None;
    }
    let bytes: Option<Vec<u8>> = (0..cursor.len())
        .step_by(2)
        .map(|at| cursor.get(at..at + 2).and_then(|digits| u8::from_str_radix(digits, 16).ok()))
        .collect();
    let bytes = bytes?;
    let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
    if sum != checksum(body).to_be_bytes() || body.first() != Some(&tag) {
        return None;
    }
    let number = i64::from_be_bytes(body.get(1..9)?.try_into().ok()?);
    let text = String::from_utf8(body.get(9..)?.to_vec()).ok()?;
    Some((number, text))
}

/// FNV-1a, 32 bits: against typing and guessing, not against malice (a forged cursor only reads another page).
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_only_for_its_own_list() {
        let cursor = write(3, -7, "näme");
        assert_eq!(read(3, &cursor).unwrap(), (-7, "näme".to_owned()));
        assert!(read(4, &cursor).is_err());
    }

    #[test]
    fn a_made_up_cursor_is_refused() {
        let good = write(1, 5, "");
        let mut changed = good.clone().into_bytes();
        changed[17] ^= 1;
        for cursor in ["", "0", "zz", "é1", "00000000", &good[2..], &String::from_utf8(changed).unwrap()] {
            assert!(read(1, cursor).is_err(), "{cursor}");
        }
    }
}
