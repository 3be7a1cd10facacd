//! Calendar arithmetic and RFC 3339, with the error texts of Go's `time.Parse`.

use std::fmt;

const DAY: i64 = 86_400;

/// Days since the epoch of a proleptic Gregorian date. Years are counted from March, so that the leap day is last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let of_era = y.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month and day of a day since the epoch.
fn date(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let of_era = z.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Writes RFC 3339 in UTC, with six decimals when `micros` is given.
pub(super) fn format(seconds: i64, micros: Option<u32>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let (y, m, d) = date(seconds.div_euclid(DAY));
    let s = seconds.rem_euclid(DAY);
    write!(f, "{y:04}-{m:02}-{d:02}T{:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)?;
    if let Some(micros) = micros {
        write!(f, ".{micros:06}")?;
    }
    f.write_str("Z")
}

/// A text in quotes as Go's package of times quotes it: bytes that are no plain ASCII in hexadecimal.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            ' '..='\u{7f}' => out.push(c),
            c => c.encode_utf8(&mut [0; 4]).bytes().for_each(|b| out.push_str(&format!("\\x{b:02x}"))),
        }
    }
    out.push('"');
    out
}

/// Reads RFC 3339 into microseconds since the epoch. `micro` asks for exactly six decimals.
pub(super) fn parse(text: &str, micro: bool) -> Result<i64, String> {
    let layout = if micro { "2006-01-02T15:04:05.000000Z07:00" } else { "2006-01-02T15:04:05Z07:00" };
    let fail = |rest: &str, element: &str| {
        format!(
            "parsing time {} as {}: cannot parse {} as {}",
            quoted(text),
            quoted(layout),
            quoted(rest),
            quoted(element)
        )
    };
    let range = |what: &str| format!("parsing time {}: {what} out of range", quoted(text));
    let mut rest = text;
    let mut number = |width: usize, element: &str, before: &str| -> Result<i64, String> {
        rest = rest.strip_prefix(before).ok_or_else(|| fail(rest, before))?;
        let digits = rest.get(..width).filter(|d| d.bytes().all(|b| b.is_ascii_digit()));
        let digits = digits.ok_or_else(|| fail(rest, element))?;
        rest = &rest[width..];
        digits.parse().map_err(|_| fail(rest, element))
    };
    let year = number(4, "2006", "")?;
    let month = number(2, "01", "-")?;
    if !(1..=12).contains(&month) {
        return Err(range("month"));
    }
    let day = number(2, "02", "-")?;
    let hour = number(2, "15", "T")?;
    if hour > 23 {
        return Err(range("hour"));
    }
    let minute = number(2, "04", ":")?;
    if minute > 59 {
        return Err(range("minute"));
    }
    let second = number(2, "05", ":")?;
    if second > 59 {
        return Err(range("second"));
    }
    let mut micros = 0;
    let fraction = rest.strip_prefix(['.', ',']).map(|r| r.bytes().take_while(u8::is_ascii_digit).count());
    match fraction {
        Some(n) if n > 0 && (!micro || n >= 6) => {
            // Six decimals are all that the layout with microseconds reads; what follows must be the zone.
            let n = if micro { 6 } else { n };
            for i in 0..6 {
                micros = micros * 10
                    + rest.as_bytes().get(1 + i).filter(|_| i < n).map_or(0, |b| i64::from(b - b'0'));
            }
            rest = &rest[1 + n..];
        }
        _ if micro => return Err(fail(rest, ".000000")),
        _ => {}
    }
    let mut offset = 0;
    if let Some(after) = rest.strip_prefix('Z') {
        rest = after;
    } else {
        let zone = rest.as_bytes();
        let digit = |i: usize| zone.get(i).filter(|b| b.is_ascii_digit()).map(|b| i64::from(b - b'0'));
        let parts = (zone.first(), digit(1), digit(2), zone.get(3), digit(4), digit(5));
        let (Some(sign @ (b'+' | b'-')), Some(a), Some(b), Some(b':'), Some(c), Some(d)) = parts else {
            return Err(fail(rest, "Z07:00"));
        };
        let (hours, minutes) = (a * 10 + b, c * 10 + d);
        if hours > 24 {
            return Err(range("time zone offset hour"));
        }
        if minutes > 60 {
            return Err(range("time zone offset minute"));
        }
        offset = (hours * 3600 + minutes * 60) * if *sign == b'-' { -1 } else { 1 };
        rest = &rest[6..];
    }
    if !rest.is_empty() {
        return Err(format!("parsing time {}: extra text: {}", quoted(text), quoted(rest)));
    }
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let month_days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if day < 1 || day > month_days {
        return Err(range("day"));
    }
    let seconds = days(year, month, day) * DAY + hour * 3600 + minute * 60 + second - offset;
    Ok(seconds * 1_000_000 + micros)
}
