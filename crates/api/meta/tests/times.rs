//! Times and durations in Go's forms.

use meta::{Duration, MicroTime, Time};

#[test]
fn times_read_and_print() {
    let cases = [
        ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
        ("2026-02-28T23:59:59Z", "2026-02-28T23:59:59Z"),
        ("2024-02-29T12:00:00+02:00", "2024-02-29T10:00:00Z"),
        ("2024-02-29T12:00:00.999-00:30", "2024-02-29T12:30:00Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
        ("1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59Z"),
    ];
    for (text, want) in cases {
        assert_eq!(Time::parse(text).expect(text).to_string(), want);
    }
    assert_eq!(Time::parse("2026-01-01T00:00:00Z").expect("valid").seconds, 1_767_225_600);
    let micro = MicroTime::parse("2026-01-01T00:00:00.123456Z").expect("valid");
    assert_eq!(micro.to_string(), "2026-01-01T00:00:00.123456Z");
    assert_eq!(MicroTime::from_system(micro.to_system()), micro);
    let before = MicroTime::from_unix_micros(-1);
    assert_eq!(before.to_string(), "1969-12-31T23:59:59.999999Z");
    assert_eq!(MicroTime::from_system(before.to_system()), before);
}

#[test]
fn bad_times_read_as_in_go() {
    let layout = "\"2006-01-02T15:04:05Z07:00\"";
    let cases = [
        ("abc", format!("parsing time \"abc\" as {layout}: cannot parse \"abc\" as \"2006\"")),
        ("2026-1-01", format!("parsing time \"2026-1-01\" as {layout}: cannot parse \"1-01\" as \"01\"")),
        ("2026-01-01", format!("parsing time \"2026-01-01\" as {layout}: cannot parse \"\" as \"T\"")),
        ("2026-13-01T00:00:00Z", "parsing time \"2026-13-01T00:00:00Z\": month out of range".to_owned()),
        ("2026-02-29T00:00:00Z", "parsing time \"2026-02-29T00:00:00Z\": day out of range".to_owned()),
        ("2026-01-01T24:00:00Z", "parsing time \"2026-01-01T24:00:00Z\": hour out of range".to_owned()),
        ("2026-01-01T00:00:00Zx", "parsing time \"2026-01-01T00:00:00Zx\": extra text: \"x\"".to_owned()),
        (
            "2026-01-01T00:00:00",
            format!("parsing time \"2026-01-01T00:00:00\" as {layout}: cannot parse \"\" as \"Z07:00\""),
        ),
    ];
    for (text, want) in cases {
        assert_eq!(Time::parse(text).expect_err(text).to_string(), want);
    }
    let e = MicroTime::parse("2026-01-01T00:00:00Z").expect_err("no decimals").to_string();
    assert!(e.ends_with("cannot parse \"Z\" as \".000000\""), "{e}");
}

#[test]
fn durations_read_and_print() {
    let cases = [
        ("0", "0s"),
        ("1h30m", "1h30m0s"),
        ("90s", "1m30s"),
        ("1.5h", "1h30m0s"),
        ("-250ms", "-250ms"),
        ("1500us", "1.5ms"),
        ("1.000000001s", "1.000000001s"),
        ("42ns", "42ns"),
        ("2540400h10m10.000000000s", "2540400h10m10s"),
    ];
    for (text, want) in cases {
        assert_eq!(Duration::parse(text).expect(text).to_string(), want);
    }
    for (text, want) in [
        ("", "time: invalid duration \"\""),
        ("5", "time: missing unit in duration \"5\""),
        ("5x", "time: unknown unit \"x\" in duration \"5x\""),
        ("s", "time: invalid duration \"s\""),
        ("9999999h", "time: invalid duration \"9999999h\""),
    ] {
        assert_eq!(Duration::parse(text).expect_err(text).to_string(), want);
    }
}
