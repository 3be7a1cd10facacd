//! Label and field selectors: grammar, matching, messages.

use meta::v1::{LabelSelector, LabelSelectorRequirement};
use meta::{FieldSelector, Map, Selector, Str};

fn labels(pairs: &[(&'static str, &'static str)]) -> Map<Str> {
    pairs.iter().copied().map(|(k, v)| (k, Str::from(v))).collect()
}

#[test]
fn label_selectors_match() {
    let web = labels(&[("app", "web"), ("tier", "front"), ("n", "5")]);
    let cases = [
        ("", true),
        ("app=web", true),
        ("app==web,tier!=back", true),
        ("app in (web, api)", true),
        ("app notin (web,api)", false),
        ("missing notin (x)", true),
        ("missing!=x", true),
        ("app", true),
        ("!app", false),
        ("!missing", true),
        ("n>4,n<6", true),
        ("n>5", false),
        ("app>1", false),
        ("app=", false),
        ("app in ()", false),
        ("in", false),
        ("app in (notin,web)", true),
    ];
    for (text, want) in cases {
        let selector = Selector::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(selector.matches(&web), want, "{text}");
        let again = Selector::parse(&selector.to_string()).expect("prints what it reads");
        assert_eq!(again.matches(&web), want, "{text} as {selector}");
    }
    assert!(!Selector::nothing().matches(&web));
    assert_eq!(Selector::parse("b=2,a in (z,y)").expect("valid").to_string(), "a in (y,z),b=2");
    assert_eq!(Selector::parse("app=web").expect("valid").exact_value("app"), Some("web"));
}

#[test]
fn bad_label_selectors_are_refused_with_upstreams_words() {
    let cases = [
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a=1,", "found '', expected: identifier after ','"),
        (",a", "found ',', expected: !, identifier, or 'end of string'"),
        ("a in", "unable to parse requirement: found '' expected: '('"),
        ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("a=b c", "found 'c', expected: ',' or 'end of string'"),
        ("!", "unable to parse requirement: found '', expected: identifier"),
        ("a=(", "unable to parse requirement: found '(', expected: identifier"),
        (
            "-a=b",
            "unable to parse requirement: <nil>: Invalid value: \"-a\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
        ),
        (
            "a=b@c",
            "unable to parse requirement: values[0][a]: Invalid value: \"b@c\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
        ),
        (
            "a>x",
            "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer",
        ),
    ];
    for (text, want) in cases {
        assert_eq!(Selector::parse(text).expect_err(text).to_string(), want, "{text}");
    }
}

#[test]
fn the_api_type_becomes_a_selector() {
    let expression = |key: &str, operator: &str, values: &[&str]| LabelSelectorRequirement {
        key: key.into(),
        operator: operator.into(),
        values: values.iter().map(|v| Str::from(*v)).collect(),
    };
    let selector = LabelSelector {
        match_labels: labels(&[("app", "web")]),
        match_expressions: [expression("tier", "In", &["a", "b"]), expression("old", "DoesNotExist", &[])]
            .into_iter()
            .collect(),
    };
    let parsed = Selector::from_label_selector(Some(&selector)).expect("valid");
    assert!(parsed.matches(&labels(&[("app", "web"), ("tier", "b")])));
    assert!(!parsed.matches(&labels(&[("app", "web"), ("tier", "b"), ("old", "")])));
    assert!(Selector::from_label_selector(None).expect("valid") == Selector::nothing());
    assert!(Selector::from_label_selector(Some(&LabelSelector::default())).expect("valid").is_everything());
    let bad = LabelSelector {
        match_expressions: [expression("k", "Near", &[])].into_iter().collect(),
        ..Default::default()
    };
    let e = Selector::from_label_selector(Some(&bad)).expect_err("unknown operator");
    assert_eq!(e.to_string(), "\"Near\" is not a valid label selector operator");
}

#[test]
fn field_selectors_match() {
    let get = |field: &str| (field == "status.phase").then_some("Running");
    for (text, want) in [
        ("", true),
        ("status.phase=Running", true),
        ("status.phase==Running,spec.nodeName!=x", true),
        ("status.phase!=Running", false),
        ("spec.nodeName=", true),
    ] {
        assert_eq!(FieldSelector::parse(text).expect(text).matches(get), want, "{text}");
    }
    let escaped = FieldSelector::parse("a=x\\,y\\=z").expect("valid");
    assert_eq!((escaped.exact_value("a"), escaped.to_string()), (Some("x,y=z"), "a=x\\,y\\=z".to_owned()));
    for (text, want) in [
        ("nonsense", "invalid selector: 'nonsense'; can't understand 'nonsense'"),
        ("a!b", "invalid selector: 'a!b'; can't understand 'a!b'"),
        ("a=b=c", "invalid field selector: unescaped character in value: 61"),
        ("a=b\\", "invalid field selector: invalid escape sequence: \\"),
    ] {
        assert_eq!(FieldSelector::parse(text).expect_err(text).to_string(), want);
    }
}
