//! Patterns against what Go's `regexp` says of them.

use super::compile;

#[test]
fn refused_in_gos_words() {
    for (pattern, wanted) in [
        ("[", "missing closing ]: `[`"),
        ("a[b-", "missing closing ]: `[b-`"),
        ("(a", "missing closing ): `(a`"),
        ("a)", "unexpected ): `a)`"),
        ("*", "missing argument to repetition operator: `*`"),
        ("a|*?b", "missing argument to repetition operator: `*?`"),
        ("(+)", "missing argument to repetition operator: `+`"),
        ("a**", "invalid nested repetition operator: `**`"),
        ("a{2}{3}", "invalid nested repetition operator: `{2}{3}`"),
        ("a{1001}", "invalid repeat count: `{1001}`"),
        ("a{3,2}", "invalid repeat count: `{3,2}`"),
        ("(a{100}){100}", "invalid repeat count: `{100}`"),
        ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
        ("(?<!a)", "invalid named capture: `(?<!a)`"),
        ("(?i-)a", "invalid or unsupported Perl syntax: `(?i-)`"),
        ("(?P<n", "invalid named capture: `(?P<n`"),
        ("(?P<n!>a)", "invalid named capture: `(?P<n!>`"),
        (r"\p{Foo}", r"invalid character class range: `\p{Foo}`"),
        (r"a\p{L", r"invalid character class range: `\p{L`"),
        (r"[b-a]", "invalid character class range: `b-a`"),
        (r"[[:foo:]]", "invalid character class range: `[:foo:]`"),
        (r"\q", r"invalid escape sequence: `\q`"),
        (r"\1", r"invalid escape sequence: `\1`"),
        (r"\Z", r"invalid escape sequence: `\Z`"),
        (r"\C", r"invalid escape sequence: `\C`"),
        (r"\xG1", r"invalid escape sequence: `\xG1`"),
        (r"\", "trailing backslash at end of expression: ``"),
        (r"[\", "trailing backslash at end of expression: ``"),
    ] {
        let found = compile(pattern).map(|_| ()).unwrap_err().to_string();
        assert_eq!(found, format!("error parsing regexp: {wanted}"), "{pattern}");
    }
}

#[test]
fn matched_as_by_go() {
    for (pattern, text, wanted) in [
        (r"^\d+$", "12", true),
        // Digits and letters are those of ASCII.
        (r"^\d+$", "١٢", false),
        (r"^\w+$", "é", false),
        (r"^\W$", "é", true),
        (r"^[\w-]+$", "a-b", true),
        (r"^[^\d]$", "٣", true),
        (r"\bfoo\b", "a foo", true),
        (r"\bé", " é", false),
        (r"o\Bo", "oo", true),
        (r"^a{,3}$", "a{,3}", true),
        (r"^a{$", "a{", true),
        ("^[a&&b]+$", "a&b", true),
        ("^[[a]+$", "[a", true),
        ("^[]a]+$", "]a", true),
        ("^[^]a]+$", "b", true),
        ("^[a-]+$", "a-", true),
        ("^[[:alpha:]]+$", "ab", true),
        (r"^\Qa.b\E.$", "a.bc", true),
        (r"^\Qa.b\E.$", "axbc", false),
        (r"^\x41\x{42}\103$", "ABC", true),
        (r"^\p{Greek}\pL\P{Lu}[^\p{^L}]$", "αbcd", true),
        ("^(?i)ab$", "AB", true),
        ("^(?P<a>x)(?<a>y)$", "xy", true),
        ("^(?:a|b)*?$", "abab", true),
        ("^(?is-m:a.)$", "A\n", true),
        ("^()$", "", true),
        (r"^\_\-\.\/$", "_-./", true),
        ("^.$", "\n", false),
        ("a$", "a\n", false),
        (r"^#\# $", "## ", true),
        ("^(?)a$", "a", true),
        ("^é+$", "éé", true),
    ] {
        assert_eq!(compile(pattern).unwrap().is_match(text), wanted, "{pattern} {text}");
    }
}

#[test]
fn what_nests_too_deeply_or_grows_too_large_is_refused() {
    let deep = format!("{}a{}", "(".repeat(1000), ")".repeat(1000));
    assert!(compile(&deep).unwrap_err().to_string().contains("expression nests too deeply: `((("));
    let often = r"\p{Greek}".repeat(10_000);
    assert!(compile(&often).unwrap_err().to_string().contains("expression too large"));
    assert!(compile(r"\pL{1000}").unwrap_err().to_string().contains("expression too large"));
}
