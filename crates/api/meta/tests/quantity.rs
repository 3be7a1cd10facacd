//! Quantities: reading, canonical printing, rounding and arithmetic.

use meta::Quantity;

fn canonical(text: &str) -> String {
    Quantity::parse(text).map_or_else(|e| format!("error: {e}"), |q| q.to_string())
}

#[test]
fn text_becomes_canonical() {
    let cases = [
        ("0", "0"),
        ("-0", "0"),
        ("0Ki", "0"),
        ("1", "1"),
        ("+5", "5"),
        ("1000m", "1"),
        ("1500m", "1500m"),
        ("0.5", "500m"),
        (".5", "500m"),
        ("5.", "5"),
        ("100000", "100k"),
        ("1234567", "1234567"),
        ("0.0001", "100u"),
        ("0.1n", "1n"),
        ("1.0000000001", "1000000001n"),
        ("1Ki", "1Ki"),
        ("1024Ki", "1Mi"),
        ("1.5Gi", "1536Mi"),
        ("0.5Mi", "512Ki"),
        ("0.5Ki", "512"),
        ("0.0001Ki", "102400u"),
        ("1536Mi", "1536Mi"),
        ("1e3", "1e3"),
        ("12e-3", "12e-3"),
        ("1E", "1E"),
        ("1Ei", "1Ei"),
        ("1e6", "1e6"),
        ("1000e0", "1e3"),
        ("100e3", "100e3"),
        ("-1.5Gi", "-1536Mi"),
        ("100E", "100E"),
        ("00001", "1"),
        ("9Ei", "9223372036854775807"),
        ("1.1Ki", "1126400m"),
    ];
    for (text, want) in cases {
        assert_eq!(canonical(text), want, "{text}");
        assert_eq!(canonical(want), want, "{want} is canonical");
    }
}

#[test]
fn bad_text_is_refused_with_upstreams_words() {
    let shape =
        "error: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
    let suffix = "error: unable to parse quantity's suffix";
    let numeric = "error: unable to parse numeric part of quantity";
    let cases = [
        ("", shape),
        ("x", shape),
        ("1x", shape),
        ("1 ", shape),
        ("1Kii", suffix),
        ("1K", suffix),
        ("1Mib", shape),
        ("1e", suffix),
        ("1e+", suffix),
        ("-", numeric),
        (".", numeric),
        ("1.1.1", shape),
    ];
    for (text, want) in cases {
        assert_eq!(canonical(text), want, "{text:?}");
    }
}

#[test]
fn values_round_up() {
    let q = |t: &str| Quantity::parse(t).expect(t);
    assert_eq!((q("1.1").value(), q("1.1").milli_value()), (2, 1100));
    assert_eq!((q("-1.1").value(), q("1n").milli_value()), (-2, 1));
    assert_eq!(q("250m").milli_value(), 250);
    assert_eq!(q("1Gi").value(), 1 << 30);
    assert_eq!(q("100E").value(), i64::MAX);
    assert_eq!(q("1e100").value(), i64::MAX);
    assert_eq!(q("1e-100").to_string(), "1e-9");
}

#[test]
fn amounts_compare_and_add_whatever_their_format() {
    let q = |t: &str| Quantity::parse(t).expect(t);
    assert_eq!(q("1Ki"), q("1024"));
    assert!(q("1k") < q("1Ki") && q("-1") < q("0"));
    assert_eq!((q("1Gi") + q("512Mi")).to_string(), "1536Mi");
    assert_eq!((Quantity::zero() + q("1Gi")).to_string(), "1Gi");
    assert_eq!((q("1") - q("1500m")).to_string(), "-500m");
    assert_eq!([q("100m"), q("200m"), q("1")].into_iter().sum::<Quantity>().to_string(), "1300m");
    assert_eq!((-q("2")).to_string(), "-2");
    assert_eq!(Quantity::from_millis(1500).to_string(), "1500m");
    assert_eq!(Quantity::from_bytes(3 << 20).to_string(), "3Mi");
}
