//! Problems of types, and estimates over declared types.

use std::sync::Arc;

use crate::schema::{DeclType, ListKind, Schema};
use crate::{Env, Type};

/// A schema for tests.
#[derive(Default)]
struct Fake {
    kind: &'static str,
    items: Option<Box<Fake>>,
    properties: Vec<(&'static str, Fake)>,
    max_length: Option<i64>,
    max_items: Option<i64>,
}

impl Schema for Fake {
    fn kind(&self) -> &str {
        self.kind
    }
    fn items(&self) -> Option<&dyn Schema> {
        self.items.as_deref().map(|items| items as &dyn Schema)
    }
    fn properties(&self) -> Vec<(&str, &dyn Schema)> {
        self.properties.iter().map(|(name, schema)| (*name, schema as &dyn Schema)).collect()
    }
    fn max_length(&self) -> Option<i64> {
        self.max_length
    }
    fn max_items(&self) -> Option<i64> {
        self.max_items
    }
    fn list_kind(&self) -> ListKind {
        ListKind::Atomic
    }
}

fn text(max_length: Option<i64>) -> Fake {
    Fake { kind: "string", max_length, ..Fake::default() }
}

fn list(items: Fake, max_items: Option<i64>) -> Fake {
    Fake { kind: "array", items: Some(Box::new(items)), max_items, ..Fake::default() }
}

fn env(schema: &Fake) -> Env {
    let declared: Arc<DeclType> = DeclType::of(schema, false).unwrap();
    Env::new().declared("self", "selfType", declared)
}

#[test]
fn problems_name_types() {
    let spec = Fake {
        kind: "object",
        properties: vec![
            ("a", text(None)),
            ("n", Fake { kind: "integer", ..Fake::default() }),
            ("in", Fake { kind: "boolean", ..Fake::default() }),
            ("l", list(text(None), None)),
        ],
        ..Fake::default()
    };
    for (source, problem) in [
        ("self.a.nope > 1", "type 'string' does not support field selection"),
        ("self.nope", "undefined field 'nope'"),
        ("self.n + self.a", "found no matching overload for '_+_' applied to '(int, string)'"),
        ("self.a.foo()", "undeclared reference to 'foo' (in container '')"),
        ("self.a.startsWith(1)", "found no matching overload for 'startsWith' applied to 'string.(int)'"),
        ("self.l.all(x, x > 1)", "found no matching overload for '_>_' applied to '(string, int)'"),
        ("self && true", "expected type 'bool' but found 'selfType'"),
        ("self.__in__", ""),
        ("self.l.map(x, x + 'a').size() == self.n", ""),
        ("self == self", ""),
        ("['a', self.n] == ['a', 1]", "expected type 'string' but found 'int'"),
        ("'%s %d'.format([self.a, self.n]) == 'a'", ""),
        ("'%s %d'.format([self.a]) == 'a'", "index 1 out of range"),
        ("'%s'.format(['a', 1]) == 'a'", "too many arguments supplied to string.format (expected 1, got 2)"),
        ("'%'.format([self.a]) == 'a'", "unexpected end of string"),
        (
            "'%z'.format([self.a]) == 'a'",
            "could not parse formatting clause: unrecognized formatting clause \"z\"",
        ),
        (
            "'%.'.format([1.0]) == 'a'",
            "could not parse formatting clause: error while parsing precision: could not find end of precision \
             specifier",
        ),
        (
            "'%d'.format([self.a]) == 'a'",
            "error during formatting: decimal clause can only be used on integers, was given string",
        ),
        (
            "'%s'.format([[1, self]]) == 'a'",
            "error during formatting: string clause can only be used on strings, bools, bytes, ints, doubles, maps, \
             lists, types, durations, and timestamps, was given selfType",
        ),
        ("'100%% %s'.format([self.a]) == 'a'", ""),
        (
            "has(self.a) && self.a == null",
            "found no matching overload for '_==_' applied to '(string, null)'",
        ),
    ] {
        let found =
            env(&spec).compile(source).err().map(|e| e.problems()[0].message.clone()).unwrap_or_default();
        assert_eq!(found, problem, "{source}");
    }
}

#[test]
fn result_types_are_known() {
    let env = Env::new().variable("object", Type::Dyn).with_mutations();
    for (source, ty) in [
        ("1 + 1", "int"),
        ("object.x", "dyn"),
        ("[1]", "list(int)"),
        ("{'a': [1.0]}", "map(string, list(double))"),
        ("optional.of('a')", "optional_type(string)"),
        ("Object{metadata: Object.metadata{labels: {'a': 'b'}}}", "Object"),
        ("[JSONPatch{op: 'add', path: '/a', value: 1}]", "list(JSONPatch)"),
        ("[]", "list(dyn)"),
    ] {
        assert_eq!(env.compile(source).unwrap().result_type().to_string(), ty, "{source}");
    }
}

#[test]
fn estimates_follow_declared_sizes() {
    let bounded = list(text(Some(10)), Some(5));
    let unbounded = list(list(text(None), None), None);
    for (schema, source, max) in [
        (&bounded, "self.size() == 3", 1 + 1 + 1),
        (&bounded, "self.all(x, x == 'abc')", 1 + 5 * (2 + 1 + 1 + 1) + 1),
        (&bounded, "self.exists(x, x.startsWith('abc'))", 1 + 5 * (3 + 1 + 1 + 1) + 1),
        (&bounded, "self.all(x, ip(x).family() == 4)", 1 + 5 * (1 + 4 + 1 + 1 + 3) + 1),
        (&bounded, "self.all(x, ip.isCanonical(x))", 1 + 5 * (1 + 8 + 3) + 1),
        (&bounded, "type(self) == list", 1 + 1 + 1 + 1),
        (&bounded, "quantity('1') == quantity('2')", 1 + 1 + 1),
        (&unbounded, "self.all(x, x.all(y, self.all(z, z.all(q, q.matches(y)))))", u64::MAX),
    ] {
        let cost = env(schema).compile(source).unwrap().cost();
        assert_eq!(cost.max, max, "{source}");
    }
}

#[test]
fn differing_values_without_parts_are_estimated_as_if_they_had_many() {
    let bounded = text(Some(10));
    for source in ["quantity(self) != quantity('1')", "ip(self) != ip('::1')", "semver(self) != semver(self)"]
    {
        assert!(env(&bounded).compile(source).unwrap().cost().max > 1 << 60, "{source}");
        let equal = source.replace("!=", "==");
        assert!(env(&bounded).compile(&equal).unwrap().cost().max < 20, "{equal}");
    }
}
