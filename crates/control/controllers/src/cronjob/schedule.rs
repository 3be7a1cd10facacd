//! Cron schedules: five fields or a macro, by the clocks of a zone.

use std::fmt;

use jiff::Timestamp;
use jiff::tz::Offset;

use super::zone::Zone;

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
/// How far ahead a time is looked for: no schedule that has any takes longer than two leap years apart.
const YEARS_MAX: i64 = 9;
const DAY: i64 = 86_400;

/// Why a text is no schedule.
#[derive(Debug, PartialEq)]
pub(super) struct ScheduleError(String);

impl fmt::Display for ScheduleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The times at which something is due.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Schedule {
    /// Sets of bits for minute, hour, day of month, month and day of week.
    Fields { minute: u64, hour: u64, day: u64, month: u64, weekday: u64, any_day: bool, any_weekday: bool },
    /// `@every`, in seconds.
    Every(i64),
}

impl Schedule {
    pub(super) fn parse(text: &str) -> Result<Schedule, ScheduleError> {
        let text = match text.trim() {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other => other,
        };
        if let Some(span) = text.strip_prefix("@every ") {
            return every(span)
                .map(Schedule::Every)
                .ok_or_else(|| ScheduleError(format!("failed to parse duration {text}")));
        }
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            let found = fields.len();
            return Err(ScheduleError(format!("expected exactly 5 fields, found {found}: [{text}]")));
        };
        let star = |field: &str| field.split(',').any(|part| part.starts_with('*') || part.starts_with('?'));
        // Seven is Sunday as well.
        let days = bits(weekday, 0, 7, &DAYS, 0)?;
        Ok(Schedule::Fields {
            minute: bits(minute, 0, 59, &[], 0)?,
            hour: bits(hour, 0, 23, &[], 0)?,
            day: bits(day, 1, 31, &[], 0)?,
            month: bits(month, 1, 12, &MONTHS, 1)?,
            weekday: (days | days >> 7) & 0x7f,
            any_day: star(day),
            any_weekday: star(weekday),
        })
    }

    /// The first time after `after`, both in seconds since 1970; `None` when there is none.
    ///
    /// A time of day is every moment at which the clocks show it: none of a day when they skip it, two when they go back.
    pub(super) fn next(&self, after: i64, zone: &Zone) -> Option<i64> {
        let (minute, hour) = match self {
            Schedule::Every(seconds) => return Some(after + seconds),
            Schedule::Fields { minute, hour, .. } => (minute, hour),
        };
        let hours = || (0..24).filter(move |h| hour >> h & 1 == 1);
        let minutes = || (0..60).filter(move |m| minute >> m & 1 == 1);
        let first_day = (after + zone.ahead(after)).div_euclid(DAY);
        for day in (first_day..first_day + YEARS_MAX * 366).filter(|day| self.has_day(*day)) {
            let shown = hours().flat_map(|h| minutes().map(move |m| day * DAY + h * 3_600 + m * 60));
            // Before the day begins and after it has ended, wherever on earth that is.
            let early = zone.ahead(day * DAY - 15 * 3_600);
            let late = zone.ahead(day * DAY + DAY + 15 * 3_600);
            let found = if early == late {
                shown.map(|shown| shown - early).find(|at| *at > after)
            } else {
                let moments = shown.flat_map(|shown| [shown - early, shown - late].map(|at| (shown, at)));
                moments
                    .filter(|(shown, at)| at + zone.ahead(*at) == *shown && *at > after)
                    .map(|(_, at)| at)
                    .min()
            };
            if found.is_some() {
                return found;
            }
        }
        None
    }

    fn has_day(&self, days: i64) -> bool {
        let Schedule::Fields { day, month, weekday, any_day, any_weekday, .. } = self else { return true };
        let date = Offset::UTC.to_datetime(Timestamp::from_second(days * DAY).unwrap_or_default()).date();
        let (month_now, day_now) = (date.month(), date.day());
        if month >> month_now & 1 == 0 {
            return false;
        }
        let (by_day, by_weekday) = (day >> day_now & 1 == 1, weekday >> (days + 4).rem_euclid(7) & 1 == 1);
        // When both are named either suffices, as cron has it.
        if *any_day || *any_weekday { by_day && by_weekday } else { by_day || by_weekday }
    }
}

fn bits(field: &str, min: u32, max: u32, names: &[&str], names_from: u32) -> Result<u64, ScheduleError> {
    let bad = |what: &str| ScheduleError(format!("failed to parse {what} from {field}"));
    let number = |text: &str| -> Result<u32, ScheduleError> {
        let lower = text.to_ascii_lowercase();
        let named = names.iter().position(|name| *name == lower).map(|index| index as u32 + names_from);
        named.or_else(|| text.parse().ok()).ok_or_else(|| bad("int"))
    };
    let mut set = 0;
    for part in field.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => {
                (range, Some(step.parse::<u32>().ok().filter(|step| *step > 0).ok_or_else(|| bad("step"))?))
            }
            None => (part, None),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" || range == "?" => (min, max),
            Some((first, last)) => (number(first)?, number(last)?),
            None => {
                let first = number(range)?;
                (first, if step.is_some() { max } else { first })
            }
        };
        if first < min || last > max || first > last {
            return Err(ScheduleError(format!("range {range} is outside of {min}-{max}: {field}")));
        }
        for value in (first..=last).step_by(step.unwrap_or(1) as usize) {
            set |= 1 << value;
        }
    }
    Ok(set)
}

/// Seconds of a span such as `1h30m`.
fn every(span: &str) -> Option<i64> {
    let (mut total, mut digits) = (0, String::new());
    for letter in span.trim().chars() {
        if letter.is_ascii_digit() {
            digits.push(letter);
            continue;
        }
        let unit = match letter {
            'h' => 3_600,
            'm' => 60,
            's' => 1,
            _ => return None,
        };
        total += digits.parse::<i64>().ok()? * unit;
        digits.clear();
    }
    (digits.is_empty() && total > 0).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-01T00:00:00Z, a Thursday.
    const START: i64 = 1_767_225_600;

    fn next(text: &str) -> Option<i64> {
        Schedule::parse(text).unwrap().next(START, &Zone::UTC).map(|at| at - START)
    }

    #[test]
    fn times_follow_the_fields() {
        let (hour, day) = (3_600, 86_400);
        let cases = [
            ("* * * * *", 60),
            ("*/15 * * * *", 15 * 60),
            ("0 * * * *", hour),
            ("30 3 * * *", 3 * hour + 30 * 60),
            ("0 0 * * 0", 3 * day),
            ("0 0 * * sun", 3 * day),
            ("0 0 2 * *", day),
            ("0 0 31 * 5", day),
            ("0 0 1 feb *", 31 * day),
            ("@hourly", hour),
            ("@every 1h30m", hour + 30 * 60),
            ("0 0 29 2 *", (365 + 365 + 59) * day),
        ];
        for (text, seconds) in cases {
            assert_eq!(next(text), Some(seconds), "{text}");
        }
        assert_eq!(next("0 0 31 2 *"), None);
    }

    /// How cron in Go treats the days on which New York changed its clocks.
    #[test]
    fn clocks_that_change_skip_times_or_show_them_twice() {
        let new_york = Zone::named("America/New_York").unwrap();
        let cases = [
            ("2012-03-11T00:00:00-05:00", "30 2 11 3 *", "2013-03-11T02:30:00-04:00"),
            ("2012-03-11T01:00:00-05:00", "0 * * * *", "2012-03-11T03:00:00-04:00"),
            ("2012-03-11T00:00:00-05:00", "0 2 * * *", "2012-03-12T02:00:00-04:00"),
            ("2012-11-04T00:00:00-04:00", "30 2 4 11 *", "2012-11-04T02:30:00-05:00"),
            ("2012-11-04T01:45:00-04:00", "30 1 4 11 *", "2012-11-04T01:30:00-05:00"),
            ("2012-11-04T01:00:00-04:00", "0 * * * *", "2012-11-04T01:00:00-05:00"),
            ("2012-11-04T01:00:00-05:00", "0 1 * * *", "2012-11-05T01:00:00-05:00"),
            ("2012-07-09T14:59:00-04:00", "0 15 * * *", "2012-07-09T15:00:00-04:00"),
        ];
        for (after, text, next) in cases {
            let after: jiff::Timestamp = after.parse().unwrap();
            let found = Schedule::parse(text).unwrap().next(after.as_second(), &new_york).unwrap();
            assert_eq!(new_york.show(found), next, "{text} after {after}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "* * * *", "60 * * * *", "a * * * *", "*/0 * * * *", "5-1 * * * *", "@every x"] {
            assert!(Schedule::parse(text).is_err(), "{text}");
        }
    }
}
