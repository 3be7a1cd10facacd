//! The clocks that a schedule goes by.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use meta::Time;

/// UTC, or what clocks show somewhere.
#[derive(Clone, Debug)]
pub(super) struct Zone(Option<TimeZone>);

impl Zone {
    /// UTC.
    pub(super) const UTC: Zone = Zone(None);

    /// The zone of this name in the database of zones.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn named(name: &str) -> Result<Zone, String> {
        match name {
            "" | "UTC" => Ok(Zone::UTC),
            name => match TimeZone::get(name) {
                Ok(zone) => Ok(Zone(Some(zone))),
                Err(_) => Err(format!("unknown time zone {name}")),
            },
        }
    }

    /// Seconds by which the clocks are ahead of UTC at a moment.
    pub(super) fn ahead(&self, at: i64) -> i64 {
        let Some((zone, at)) = self.0.as_ref().zip(Timestamp::from_second(at).ok()) else { return 0 };
        i64::from(zone.to_offset(at).seconds())
    }

    /// The moment in RFC 3339, as the clocks show it.
    pub(super) fn show(&self, at: i64) -> String {
        let ahead = self.ahead(at);
        let shown = Time::from_unix(at + ahead).to_string();
        if ahead == 0 {
            return shown;
        }
        let (sign, minutes) = (if ahead < 0 { '-' } else { '+' }, ahead.abs() / 60);
        format!("{}{sign}{:02}:{:02}", shown.trim_end_matches('Z'), minutes / 60, minutes % 60)
    }
}

/// The moment as in mail headers (RFC 1123 with a numeric zone), in UTC.
pub(super) fn in_words(at: i64) -> String {
    let at = Timestamp::from_second(at).unwrap_or_default();
    at.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_shown_as_clocks_do() {
        let berlin = Zone::named("Europe/Berlin").unwrap();
        assert_eq!(berlin.show(1_767_225_600), "2026-01-01T01:00:00+01:00");
        assert_eq!(berlin.show(1_782_864_000), "2026-07-01T02:00:00+02:00");
        assert_eq!(Zone::named("America/St_Johns").unwrap().show(1_767_225_600), "2025-12-31T20:30:00-03:30");
        assert_eq!(Zone::named("Europe/London").unwrap().show(1_767_225_600), "2026-01-01T00:00:00Z");
        assert_eq!(Zone::named("Nowhere/At").unwrap_err(), "unknown time zone Nowhere/At");
        assert_eq!(in_words(1_767_225_600), "Thu, 01 Jan 2026 00:00:00 +0000");
    }
}
