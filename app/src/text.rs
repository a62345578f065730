//! Numbers and times as people read them. Times are UTC.

use crate::model::{CostRange, PhaseCount, Timestamp, UnitStatus};

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// `1,640`
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 file`, `1,640 files`
#[must_use]
pub fn counted(number: u64, nouns: (&str, &str)) -> String {
    format!("{} {}", count(number), if number == 1 { nouns.0 } else { nouns.1 })
}

/// Counts of several phases together; counting stops at 10,000: `10,000+`.
#[must_use]
pub fn capped(counts: &[PhaseCount]) -> String {
    let sum: u64 = counts.iter().map(|count| count.count).sum();
    if sum > 10_000 || counts.iter().any(|count| count.capped) { "10,000+".to_owned() } else { count(sum) }
}

/// `512 B`, `41.6 MB`, `1.94 GB`: powers of 1,000, three digits.
#[must_use]
pub fn bytes(number: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if number < 1_000 {
        return format!("{number} B");
    }
    let mut value = number as f64 / 1_000.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1_000.0;
        unit += 1;
    }
    let decimals = if value < 9.995 {
        2
    } else if value < 99.95 {
        1
    } else {
        0
    };
    format!("{value:.decimals$} {}", UNITS[unit])
}

/// `under $0.0001`, `$0.0042`, `$1.50`, `$1,234.00`: two decimals, four below ten cents.
#[must_use]
pub fn dollars(amount: f64) -> String {
    let amount = amount.max(0.0);
    if amount > 0.0 && amount < 0.0001 {
        return "under $0.0001".to_owned();
    }
    if amount > 0.0 && amount < 0.1 {
        return format!("${amount:.4}");
    }
    let cents = (amount * 100.0).round() as u64;
    format!("${}.{:02}", count(cents / 100), cents % 100)
}

/// `$1.50 to $12.25 (prices of 2026-09-01)`: an estimate, and what it was made with.
#[must_use]
pub fn dollar_range(range: &CostRange) -> String {
    format!("{} to {} ({})", dollars(range.low), dollars(range.high), range.rate)
}

/// `451 ms`, `6.15 s`, `19.2 s`, `2 min 14 s`, `1 h 04 min`, `3 d 2 h`
#[must_use]
pub fn duration(millis: i64) -> String {
    let millis = millis.max(0);
    let seconds = millis / 1_000;
    match seconds {
        0 => format!("{millis} ms"),
        1..=9 => format!("{seconds}.{:02} s", millis % 1_000 / 10),
        10..=59 => format!("{seconds}.{} s", millis % 1_000 / 100),
        60..=3_599 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        3_600..=86_399 => format!("{} h {:02} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// Time gone by without the finer parts: `now`, `14 s ago`, `2 h ago`, `yesterday`, `12 days ago`.
#[must_use]
pub fn ago(now: Timestamp, then: Timestamp) -> String {
    let seconds = now.millis_since(then) / 1_000;
    match seconds {
        i64::MIN..=0 => "now".to_owned(),
        1..=59 => format!("{seconds} s ago"),
        60..=3_599 => format!("{} min ago", seconds / 60),
        3_600..=86_399 => format!("{} h ago", seconds / 3_600),
        86_400..=172_799 => "yesterday".to_owned(),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

fn day(at: Timestamp) -> String {
    let (_, month, day) = at.civil();
    format!("{day} {}", MONTHS[month as usize - 1])
}

/// `20 Nov, 14:21`
#[must_use]
pub fn short_date(at: Timestamp) -> String {
    let (hour, minute, ..) = at.clock();
    format!("{}, {hour:02}:{minute:02}", day(at))
}

/// `20 Nov 2026, 14:02:11`
#[must_use]
pub fn date(at: Timestamp) -> String {
    format!("{} {}, {}", day(at), at.civil().0, clock(at))
}

/// `14:02:11`
#[must_use]
pub fn clock(at: Timestamp) -> String {
    let (hour, minute, second, _) = at.clock();
    format!("{hour:02}:{minute:02}:{second:02}")
}

/// `14:02:11.052`
#[must_use]
pub fn clock_millis(at: Timestamp) -> String {
    format!("{}.{:03}", clock(at), at.clock().3)
}

/// `2026-11-20 14:21:07 UTC`
#[must_use]
pub fn exact(at: Timestamp) -> String {
    let (year, month, day) = at.civil();
    format!("{year:04}-{month:02}-{day:02} {} UTC", clock(at))
}

/// The tone of a unit.
#[must_use]
pub const fn unit_tone(status: UnitStatus) -> &'static str {
    match status {
        UnitStatus::Pending => "pending",
        UnitStatus::Running => "active",
        UnitStatus::Succeeded => "completed",
        UnitStatus::Failed => "failed",
        UnitStatus::Cancelled => "cancelled",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Phase;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_640), "1,640");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(counted(1, ("file", "files")), "1 file");
    }

    #[test]
    fn a_capped_count_says_so() {
        let one = PhaseCount { phase: Phase::Completed, count: 10_000, capped: true };
        let two = PhaseCount { phase: Phase::Failed, count: 38, capped: false };
        assert_eq!(capped(&[one, two]), "10,000+");
        assert_eq!(capped(&[two]), "38");
        assert_eq!(capped(&[]), "0");
    }

    #[test]
    fn sizes_have_three_digits() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(21_000), "21.0 kB");
        assert_eq!(bytes(999_999), "1.00 MB");
        assert_eq!(bytes(1_940_000_000), "1.94 GB");
    }

    #[test]
    fn small_amounts_are_not_rounded_away() {
        assert_eq!(dollars(0.0), "$0.00");
        assert_eq!(dollars(0.000_01), "under $0.0001");
        assert_eq!(dollars(0.00421), "$0.0042");
        assert_eq!(dollars(1.5), "$1.50");
        assert_eq!(dollars(1_234.567), "$1,234.57");
    }

    #[test]
    fn durations_get_coarser_as_they_grow() {
        assert_eq!(duration(-5), "0 ms");
        assert_eq!(duration(451), "451 ms");
        assert_eq!(duration(6_150), "6.15 s");
        assert_eq!(duration(19_230), "19.2 s");
        assert_eq!(duration(134_000), "2 min 14 s");
        assert_eq!(duration(3_840_000), "1 h 04 min");
        assert_eq!(duration(266_400_000), "3 d 2 h");
    }

    #[test]
    fn times_are_utc() {
        let at = Timestamp(1_795_183_331_052);
        assert_eq!(exact(at), "2026-11-20 14:02:11 UTC");
        assert_eq!(date(at), "20 Nov 2026, 14:02:11");
        assert_eq!(clock_millis(at), "14:02:11.052");
        assert_eq!(ago(at.plus_millis(3_700_000), at), "1 h ago");
    }
}
