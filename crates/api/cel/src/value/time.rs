//! Points and lengths of time in the forms that Go reads and prints.

use std::fmt;

use jiff::SignedDuration;
use jiff::civil::{DateTime, date};

/// 1970-01-01T00:00:00
const EPOCH: DateTime = date(1970, 1, 1).at(0, 0, 0, 0);

/// A point in time with nanoseconds, in years 1 to 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    /// Seconds since 1970.
    pub seconds: i64,
    /// Nanoseconds beyond them.
    pub nanos: u32,
}

/// 0001-01-01T00:00:00Z
const SECONDS_MIN: i64 = -62_135_596_800;
/// 9999-12-31T23:59:59Z
const SECONDS_MAX: i64 = 253_402_300_799;
const NANOS: i128 = 1_000_000_000;

impl Timestamp {
    /// The first one.
    pub const MIN: Timestamp = Timestamp { seconds: SECONDS_MIN, nanos: 0 };

    /// From nanoseconds since 1970; `None` outside of the years 1 to 9999.
    pub fn from_nanos(nanos: i128) -> Option<Self> {
        let seconds = i64::try_from(nanos.div_euclid(NANOS)).ok()?;
        let within = (SECONDS_MIN..=SECONDS_MAX).contains(&seconds);
        within.then_some(Self { seconds, nanos: nanos.rem_euclid(NANOS) as u32 })
    }

    /// Nanoseconds since 1970.
    pub fn as_nanos(self) -> i128 {
        i128::from(self.seconds) * NANOS + i128::from(self.nanos)
    }

    /// As the time library knows it, which ends a day earlier.
    pub(crate) fn instant(self) -> jiff::Timestamp {
        jiff::Timestamp::new(self.seconds, self.nanos as i32).unwrap_or(jiff::Timestamp::MAX)
    }

    /// The date and time of day at an offset from UTC.
    pub(crate) fn civil(self, offset_seconds: i64) -> DateTime {
        let since = SignedDuration::from_secs(self.seconds + offset_seconds);
        // Within a day of the years 1 to 9999, which the calendar covers on all sides but the very last.
        EPOCH.checked_add(since).unwrap_or(DateTime::MAX)
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 with as many digits as there are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.civil(0);
        write!(f, "{:04}-{:02}-{:02}T", time.year(), time.month(), time.day())?;
        write!(f, "{:02}:{:02}:{:02}", time.hour(), time.minute(), time.second())?;
        if self.nanos > 0 {
            write!(f, ".{}", format!("{:09}", self.nanos).trim_end_matches('0'))?;
        }
        f.write_str("Z")
    }
}

/// Reads RFC 3339.
pub fn parse_timestamp(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let shape = bytes.len() >= 20
        && bytes.iter().zip(b"dddd-dd-ddTdd:dd:dd").all(|(b, shape)| match shape {
            b'd' => b.is_ascii_digit(),
            shape => b == shape,
        });
    let mut zone = text.get(19..).filter(|_| shape)?;
    let mut nanos = 0;
    if let Some(rest) = zone.strip_prefix('.') {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let fraction = &rest[..digits.min(9)];
        nanos = format!("{fraction:0<9}").parse().ok().filter(|_| digits > 0)?;
        zone = &rest[digits..];
    }
    let offset = match zone.as_bytes() {
        b"Z" => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2]
            if [h1, h2, m1, m2].iter().all(|b| b.is_ascii_digit()) =>
        {
            let two = |tens: &u8, ones: &u8| i64::from((tens - b'0') * 10 + ones - b'0');
            let (hours, minutes) = (two(h1, h2), two(m1, m2));
            let offset = (hours < 24 && minutes < 60).then_some(hours * 3600 + minutes * 60)?;
            if *sign == b'-' { -offset } else { offset }
        }
        _ => return None,
    };
    let local: DateTime = text[..19].parse().ok()?;
    let seconds = local.duration_since(EPOCH).as_secs() - offset;
    Timestamp::from_nanos(i128::from(seconds) * NANOS + nanos)
}

/// Reads a duration as Go does: `1h30m`, `-1.5s`, `0`.
pub fn parse_duration(text: &str) -> Option<i64> {
    meta::Duration::parse(text).ok().map(|duration| duration.nanos)
}

/// A duration in seconds, as `string(duration)` prints it: `3723s`, `0.5s`.
pub fn format_duration(nanos: i64) -> String {
    format!("{}s", nanos as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_go_reads_them() {
        for (text, nanos) in [
            ("1h", Some(3_600_000_000_000)),
            ("1h30m", Some(5_400_000_000_000)),
            ("-1.5s", Some(-1_500_000_000)),
            (".5ms", Some(500_000)),
            ("0", Some(0)),
            ("1", None),
            ("", None),
            ("1d", None),
            ("bogus", None),
            ("9223372036s", Some(9_223_372_036_000_000_000)),
            ("9999999999999h", None),
        ] {
            assert_eq!(parse_duration(text), nanos, "{text}");
        }
    }

    #[test]
    fn times_print_as_they_were_read() {
        for text in ["2023-01-02T03:04:05Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.5Z"] {
            assert_eq!(parse_timestamp(text).unwrap().to_string(), text);
        }
        assert_eq!(parse_timestamp("2023-01-02T03:04:05+01:00").unwrap().to_string(), "2023-01-02T02:04:05Z");
        for text in ["2023-01-02", "2023-13-02T03:04:05Z", "2023-01-02 03:04:05Z", "x"] {
            assert_eq!(parse_timestamp(text), None, "{text}");
        }
    }
}
