//! [`Time`], [`MicroTime`] and [`Duration`] in the forms that Go gives them.

mod civil;
mod duration;

pub use duration::Duration;

use std::fmt;

use crate::DecodeError;
use crate::codec::Value;
use crate::json::{JsonReader, JsonWriter};
use crate::proto::{ProtoReader, ProtoWriter, Wire};

/// A point in time with whole seconds: `2026-01-02T15:04:05Z`. Fields hold `Option<Time>`; `None` is Go's zero time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time {
    /// Seconds since the Unix epoch.
    pub seconds: i64,
}

/// A point in time with microseconds: `2026-01-02T15:04:05.000000Z`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MicroTime {
    /// Microseconds since the Unix epoch.
    pub micros: i64,
}

const MICROS: i64 = 1_000_000;

impl Time {
    /// From seconds since the Unix epoch.
    pub fn from_unix(seconds: i64) -> Self {
        Self { seconds }
    }

    /// From the system's clock type; fractions are cut off.
    pub fn from_system(t: std::time::SystemTime) -> Self {
        Self { seconds: MicroTime::from_system(t).micros.div_euclid(MICROS) }
    }

    /// As the system's clock type.
    pub fn to_system(self) -> std::time::SystemTime {
        MicroTime::from(self).to_system()
    }

    /// Reads RFC 3339; fractions are cut off. The error text is Go's.
    pub fn parse(text: &str) -> Result<Self, DecodeError> {
        civil::parse(text, false)
            .map(|micros| Self { seconds: micros.div_euclid(MICROS) })
            .map_err(DecodeError::text)
    }

    /// Seconds from `earlier` to this time; negative when it is later.
    pub fn seconds_since(self, earlier: Time) -> i64 {
        self.seconds.saturating_sub(earlier.seconds)
    }

    /// The time this many seconds later.
    pub fn plus_seconds(self, seconds: i64) -> Self {
        Self { seconds: self.seconds.saturating_add(seconds) }
    }
}

impl MicroTime {
    /// From microseconds since the Unix epoch.
    pub fn from_unix_micros(micros: i64) -> Self {
        Self { micros }
    }

    /// From the system's clock type.
    pub fn from_system(t: std::time::SystemTime) -> Self {
        let micros = match t.duration_since(std::time::UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX),
        };
        Self { micros }
    }

    /// As the system's clock type.
    pub fn to_system(self) -> std::time::SystemTime {
        let distance = std::time::Duration::from_micros(self.micros.unsigned_abs());
        let epoch = std::time::UNIX_EPOCH;
        let t = if self.micros < 0 { epoch.checked_sub(distance) } else { epoch.checked_add(distance) };
        t.unwrap_or(epoch)
    }

    /// Reads RFC 3339 with exactly six decimals, as upstream asks. The error text is Go's.
    pub fn parse(text: &str) -> Result<Self, DecodeError> {
        civil::parse(text, true).map(|micros| Self { micros }).map_err(DecodeError::text)
    }
}

impl From<Time> for MicroTime {
    fn from(t: Time) -> Self {
        Self { micros: t.seconds.saturating_mul(MICROS) }
    }
}

impl From<MicroTime> for Time {
    fn from(t: MicroTime) -> Self {
        Self { seconds: t.micros.div_euclid(MICROS) }
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        civil::format(self.seconds, None, f)
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for MicroTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        civil::format(self.micros.div_euclid(MICROS), Some(self.micros.rem_euclid(MICROS) as u32), f)
    }
}

impl fmt::Debug for MicroTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn read_timestamp(wire: Wire, r: &mut ProtoReader<'_>) -> Result<(i64, i32), DecodeError> {
    let (mut seconds, mut nanos) = (0i64, 0i32);
    r.nested(wire, "Timestamp", |number, wire, r| match number {
        1 => seconds.read_proto(wire, r),
        2 => nanos.read_proto(wire, r),
        _ => r.skip(number, wire),
    })?;
    Ok((seconds, nanos))
}

fn put_timestamp(number: u32, seconds: i64, nanos: i32, w: &mut ProtoWriter) {
    let end = w.begin();
    nanos.put_proto(2, w);
    seconds.put_proto(1, w);
    w.end(number, end);
}

macro_rules! time_value {
    ($t:ty, $from:expr, $parts:expr) => {
        impl Value for $t {
            const EMPTY_MESSAGE_IS_NONE: bool = true;
            fn is_empty(&self) -> bool {
                false
            }
            fn write_json(&self, w: &mut JsonWriter) {
                use std::io::Write as _;
                // Writing to a vector cannot fail.
                let _ = write!(w.out, "\"{self}\"");
            }
            fn read_json(&mut self, r: &mut JsonReader<'_>) -> Result<(), DecodeError> {
                if r.peek()? != b'"' {
                    return Err(r.mismatch(Some("string")));
                }
                *self = <$t>::parse(&r.string()?)?;
                Ok(())
            }
            fn put_proto(&self, number: u32, w: &mut ProtoWriter) {
                let (seconds, nanos): (i64, i32) = $parts(*self);
                put_timestamp(number, seconds, nanos, w);
            }
            fn read_proto(&mut self, wire: Wire, r: &mut ProtoReader<'_>) -> Result<(), DecodeError> {
                let (seconds, nanos) = read_timestamp(wire, r)?;
                *self = $from(seconds, nanos);
                Ok(())
            }
        }
    };
}

time_value!(Time, |seconds, _nanos| Time { seconds }, |t: Time| (t.seconds, 0));
time_value!(
    MicroTime,
    |seconds: i64, nanos: i32| MicroTime {
        micros: seconds.saturating_mul(MICROS).saturating_add(i64::from(nanos) / 1000)
    },
    |t: MicroTime| (t.micros.div_euclid(MICROS), (t.micros.rem_euclid(MICROS) * 1000) as i32)
);
