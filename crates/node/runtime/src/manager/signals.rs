//! Signals by name and number, as images and pods spell them.

use nix::sys::signal::Signal;

use crate::error::{Error, Result};

/// The number of a signal given by name (with or without `SIG`), real-time name or number.
pub(super) fn signal_number(text: &str) -> Option<i32> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Ok(number) = name.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let real_time = |base: i32, rest: &str, sign: i32| match rest {
        "" => Some(base),
        _ => rest[1..].parse::<i32>().ok().map(|n| base + sign * n).filter(|n| (34..=64).contains(n)),
    };
    if let Some(rest) = name.strip_prefix("RTMIN").filter(|r| r.is_empty() || r.starts_with('+')) {
        return real_time(34, rest, 1);
    }
    if let Some(rest) = name.strip_prefix("RTMAX").filter(|r| r.is_empty() || r.starts_with('-')) {
        return real_time(64, rest, -1);
    }
    format!("SIG{name}").parse::<Signal>().ok().map(|s| s as i32)
}

/// A stop signal by its full name; `SIGTERM` when none is given.
pub(super) fn signal_name(text: &str) -> Result<String> {
    if text.is_empty() {
        return Ok("SIGTERM".into());
    }
    let number =
        signal_number(text).ok_or_else(|| Error::InvalidConfig(format!("invalid stop signal {text:?}")))?;
    Ok(Signal::try_from(number).map_or_else(|_| number.to_string(), |s| s.as_str().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_many_names() {
        for (text, number) in [
            ("SIGTERM", Some(15)),
            ("term", Some(15)),
            ("9", Some(9)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMAX-1", Some(63)),
            ("SIGRTMIN", Some(34)),
            ("0", None),
            ("99", None),
            ("SIGNOPE", None),
            ("RTMIN+99", None),
        ] {
            assert_eq!(signal_number(text), number, "{text}");
        }
        assert_eq!(signal_name("").unwrap(), "SIGTERM");
        assert_eq!(signal_name("3").unwrap(), "SIGQUIT");
        assert!(signal_name("x").is_err());
    }
}
