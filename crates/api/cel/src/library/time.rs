//! Parts of points and lengths of time.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::{Call, Row, wrong_type};
use crate::eval::EvalError;
use crate::value::{Timestamp, Value};

macro_rules! of_time {
    ($name:literal, $id:literal) => {
        Row {
            name: $name,
            run,
            overloads: &[
                concat!("timestamp_to_", $id, ": timestamp.() -> int"),
                concat!("timestamp_to_", $id, "_with_tz: timestamp.(string) -> int"),
            ],
        }
    };
    ($name:literal, $id:literal, $duration:literal) => {
        Row {
            name: $name,
            run,
            overloads: &[
                concat!("timestamp_to_", $id, ": timestamp.() -> int"),
                concat!("timestamp_to_", $id, "_with_tz: timestamp.(string) -> int"),
                concat!("duration_to_", $duration, ": duration.() -> int"),
            ],
        }
    };
}

pub(super) const FUNCTIONS: &[Row] = &[
    of_time!("getFullYear", "year"),
    of_time!("getMonth", "month"),
    of_time!("getDayOfYear", "day_of_year"),
    of_time!("getDate", "day_of_month_1_based"),
    of_time!("getDayOfMonth", "day_of_month"),
    of_time!("getDayOfWeek", "day_of_week"),
    of_time!("getHours", "hours", "hours"),
    of_time!("getMinutes", "minutes", "minutes"),
    of_time!("getSeconds", "seconds_tz", "seconds"),
    of_time!("getMilliseconds", "milliseconds", "milliseconds"),
];

fn run<'a>(call: &Call<'_, 'a>) -> Result<Value<'a>, EvalError> {
    match call.args {
        [Value::Duration(nanos)] => Ok(Value::Int(match call.name {
            "getHours" => nanos / 3_600_000_000_000,
            "getMinutes" => nanos / 60_000_000_000,
            "getSeconds" => nanos / 1_000_000_000,
            "getMilliseconds" => nanos / 1_000_000,
            _ => return Err(wrong_type(call)),
        })),
        [Value::Timestamp(time)] => Ok(part(call.name, *time, time.civil(0))),
        [Value::Timestamp(time), Value::String(zone)] => {
            let local = zoned(*time, zone).map_err(EvalError::new)?;
            Ok(part(call.name, *time, local))
        }
        _ => Err(wrong_type(call)),
    }
}

fn part<'a>(name: &str, time: Timestamp, local: DateTime) -> Value<'a> {
    Value::Int(match name {
        "getFullYear" => i64::from(local.year()),
        "getMonth" => i64::from(local.month()) - 1,
        "getDayOfYear" => i64::from(local.day_of_year()) - 1,
        "getDate" => i64::from(local.day()),
        "getDayOfMonth" => i64::from(local.day()) - 1,
        "getDayOfWeek" => i64::from(local.weekday().to_sunday_zero_offset()),
        "getHours" => i64::from(local.hour()),
        "getMinutes" => i64::from(local.minute()),
        "getSeconds" => i64::from(local.second()),
        _ => i64::from(time.nanos / 1_000_000),
    })
}

/// The local time in a zone: a name, or an offset such as `-08:00` or `5:30`.
fn zoned(time: Timestamp, zone: &str) -> Result<DateTime, String> {
    if let Some((hours, minutes)) = zone.split_once(':') {
        let negative = hours.starts_with('-');
        let number = |text: &str| {
            text.trim_start_matches(['+', '-']).parse::<i64>().map_err(|error| error.to_string())
        };
        let seconds = number(hours)?.saturating_mul(3600).saturating_add(number(minutes)?.saturating_mul(60));
        if seconds.abs() > 93_599 {
            return Err(format!("invalid time zone offset {zone}"));
        }
        return Ok(time.civil(if negative { -seconds } else { seconds }));
    }
    if matches!(zone, "" | "UTC") {
        return Ok(time.civil(0));
    }
    let zone = TimeZone::get(zone).map_err(|_| format!("unknown time zone {zone}"))?;
    Ok(zone.to_datetime(time.instant()))
}
