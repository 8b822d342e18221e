//! Money and time in words, for people: `0.5`, `1,234,567`, `2026-11-24 10:00 UTC, 31 h from now`.

use std::time::{Duration, UNIX_EPOCH};

use alloy::primitives::U256;

/// Digits after the point of the chain's coin and of MILL: both have 18.
pub const DECIMALS: usize = 18;

/// An amount of MILL as a configuration has it: a decimal number. It is kept in units of 10^-18.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mill(pub U256);

impl std::str::FromStr for Mill {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        scaled(text.trim(), DECIMALS).map(Self)
    }
}

/// `number` times 10^`decimals`, exactly.
pub fn scaled(number: &str, decimals: usize) -> Result<U256, String> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || !(whole.to_owned() + fraction).bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("{number:?} is no number: say such as 0.5"));
    }
    if fraction.len() > decimals {
        return Err(format!("{number} has {} digits after the point; this unit has {decimals}", fraction.len()));
    }
    let digits = format!("{whole}{fraction:0<decimals$}");
    match U256::from_str_radix(&digits, 10) {
        Ok(U256::ZERO) => Err("nothing is no amount".into()),
        Ok(amount) if amount.bit_len() <= 96 => Ok(amount),
        _ => Err(format!("{number} is more than the contracts can count (2^96 of the smallest unit)")),
    }
}

/// Units of 10^-18 as a decimal number, exact, without trailing zeros.
pub fn decimal(units: U256) -> String {
    let digits = format!("{units:0>width$}", width = DECIMALS + 1);
    let (whole, fraction) = digits.split_at(digits.len() - DECIMALS);
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() { whole.to_owned() } else { format!("{whole}.{fraction}") }
}

/// A whole number with commas between thousands.
pub fn thousands(number: impl std::fmt::Display) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(",")
}

/// A moment (unix seconds) as `2026-11-24 10:00 UTC, 31 h from now`.
pub fn moment(at: u64, now: u64) -> String {
    let (date, away) = (utc(at), span_text(at.abs_diff(now)));
    if at > now { format!("{date}, {away} from now") } else { format!("{date}, {away} ago") }
}

/// A span of time in its largest fitting unit.
pub fn span_text(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..259_200 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// The last second of the year 9999: dates have four digits of a year.
const LAST: u64 = 253_402_300_799;

/// Unix seconds as date and time, to the minute.
pub fn utc(at: u64) -> String {
    let date = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(at.min(LAST))).to_string();
    let (day, time) = date.split_once('T').unwrap_or((&date, ""));
    format!("{day} {} UTC", time.get(..5).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_and_short() {
        assert_eq!(decimal(U256::from(5u64 * 10u64.pow(17))), "0.5");
        assert_eq!(decimal(U256::from(1)), "0.000000000000000001");
        assert_eq!((decimal(U256::ZERO), decimal(U256::from(10).pow(U256::from(20)))), ("0".into(), "100".into()));
        assert_eq!("100".parse(), Ok(Mill(U256::from(10).pow(U256::from(20)))));
        assert!("100mill".parse::<Mill>().is_err() && "".parse::<Mill>().is_err());
        assert_eq!((thousands(999), thousands(1_234_567)), ("999".into(), "1,234,567".into()));
    }

    #[test]
    fn moments_are_dates_and_how_far_away() {
        let now = 1_764_000_000;
        assert_eq!(moment(now, now), "2025-11-24 16:00 UTC, 0 s ago");
        assert_eq!(moment(now + 31 * 3_600, now), "2025-11-25 23:00 UTC, 31 h from now");
        assert_eq!((utc(951_782_400), utc(0)), ("2000-02-29 00:00 UTC".into(), "1970-01-01 00:00 UTC".into()));
    }
}
