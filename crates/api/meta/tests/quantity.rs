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
        ("+5", "+5"),
        ("+5k", "+5k"),
        ("+1000", "1k"),
        ("1000m", "1"),
        ("1500m", "1500m"),
        ("0.5", "500m"),
        (".5", "500m"),
        ("5.", "5."),
        ("1.125", "1.125"),
        ("1.000", "1"),
        ("12.345k", "12.345k"),
        ("0.125", "125m"),
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
        ("00001", "00001"),
        ("01Ki", "01Ki"),
        ("+1Ki", "+1Ki"),
        ("1.Gi", "1.Gi"),
        ("+8Ki", "8Ki"),
        ("+100Ti", "100Ti"),
        ("1E3", "1E3"),
        ("1E4", "10e3"),
        ("1e+3", "1e+3"),
        ("1e03", "1e03"),
        ("-1E-03", "-1E-03"),
        ("5e0", "5e0"),
        ("0e5", "0"),
        ("1.125e-3", "1.125e-3"),
        ("1000E", "1000E"),
        ("1001E", "1001E"),
        ("1e28", "10e27"),
        ("1e29", "100e27"),
        ("1e30", "1e30"),
        ("1E30", "1E30"),
        ("-1000e30", "-1e33"),
        ("1e100", "10e99"),
        ("1e2147483646", "1e2147483646"),
        ("12345678901234567890e20", "1234567890123456789e21"),
        ("123456789012345678901234567800", "123456789012345678901234567800"),
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
        ("1e2147483648", suffix),
        ("1e4294967297", suffix),
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
fn large_amounts_are_amounts() {
    let q = |t: &str| Quantity::parse(t).expect(t);
    assert!(q("1e29") < q("1e30") && q("-1e30") < q("-1e29") && q("1e30") > q("1E") && q("-1e30") < q("1"));
    assert!(q("1e30") == q("1000e27") && q("1e30") != q("1001e27"));
    assert_eq!((q("1e30") + q("1e30")).to_string(), "2e30");
    assert_eq!((q("1e30") - q("1e30")).to_string(), "0");
    assert_eq!((q("1e30") - q("1e27")).to_string(), "999e27");
    assert_eq!((q("1e100") + q("1")).to_string(), "10e99");
    assert_eq!((q("49228162514264337593543950335") + q("5e20")).to_string(), "49228163014264337593543950335");
    assert_eq!(
        (q("5e20") - q("49228162514264337593543950335")).to_string(),
        "-49228162014264337593543950335"
    );
    assert_eq!((q("0") + q("49228162514264337593543950335")).to_string(), "49228162514264337593543950335");
    assert_eq!((-q("1e30")).to_string(), "-1e30");
    assert_eq!((q("1e100").value(), q("-1e100").value()), (i64::MAX, i64::MIN));
    assert!((q("1e100").as_f64() - 1e100).abs() < 1e85 && q("1e1000").as_f64().is_infinite());
    assert!(q("1e100").is_integer() && !q("1e100").is_zero() && q("-1e100").is_negative());
}

#[test]
fn what_is_kept_is_an_amount_as_well() {
    let q = |t: &str| Quantity::parse(t).expect(t);
    assert_eq!(q("1.125").milli_value(), 1125);
    assert_eq!((q("1.125"), q("01Ki"), q("1E3")), (q("1125m"), q("1024"), q("1k")));
    assert_eq!((q("1.125") + q("0")).to_string(), "1125m");
    assert_eq!((-q("+5")).to_string(), "-5");
    let hash = |quantity: Quantity| {
        use std::hash::{DefaultHasher, Hash as _, Hasher as _};
        let mut hasher = DefaultHasher::new();
        quantity.hash(&mut hasher);
        hasher.finish()
    };
    assert_eq!((hash(q("1.125")), hash(q("1e30"))), (hash(q("1125m")), hash(q("1000e27"))));
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

#[test]
fn thousandths_are_the_finest() {
    let cases = [
        ("1n", "1m"),
        ("-1n", "-1m"),
        ("1.1234", "1124m"),
        ("-1.1234", "-1124m"),
        ("1.125", "1.125"),
        ("1e30", "1e30"),
        ("1E3", "1E3"),
    ];
    for (text, want) in cases {
        assert_eq!(Quantity::parse(text).expect(text).in_millis().to_string(), want, "{text}");
    }
}

/// Whatever text is read: what is printed reads as the same amount and prints the same again, and the order of amounts is
/// that of numbers.
#[test]
fn printing_and_reading_agree() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let suffixes = [
        "", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "e", "E", "e+",
        "e-", "E-", "e0",
    ];
    let mut before = Quantity::zero();
    for _ in 0..100_000 {
        let mut text = ["", "", "-", "+"][next(4) as usize].to_owned();
        text.extend((0..next(24)).map(|_| char::from(b"00123456789"[next(11) as usize])));
        if next(2) == 0 {
            text.push('.');
            text.extend((0..next(14)).map(|_| char::from(b"00012345678"[next(11) as usize])));
        }
        let suffix = suffixes[next(suffixes.len() as u64) as usize];
        text.push_str(suffix);
        if suffix.starts_with(['e']) || (suffix.starts_with('E') && suffix != "Ei" && next(2) == 0) {
            text.push_str(&next(40).to_string());
        }
        let Ok(read) = Quantity::parse(&text) else { continue };
        let printed = read.to_string();
        let again = Quantity::parse(&printed).expect("what was printed reads");
        assert_eq!(again, read, "{text}: {printed}");
        assert_eq!(again.to_string(), printed, "{text}");
        assert_eq!(read - read, Quantity::zero(), "{text}");
        let (one, other) = (read.as_f64(), before.as_f64());
        if (one - other).abs() > one.abs().max(other.abs()) / 1e9 {
            assert_eq!(read < before, one < other, "{text} {before}");
        }
        before = read;
    }
}
