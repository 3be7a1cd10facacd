//! What expressions come to, one line each.

use serde_json::json;

use crate::{Activation, Budget, Env, EvalError, Type, Value, to_json};

/// The result as text, or the error.
pub(crate) fn run(source: &str) -> String {
    let env = Env::new().variable("object", Type::Dyn).variable("n", Type::Int).with_bind();
    let program = match env.compile(source) {
        Ok(program) => program,
        Err(error) => return format!("compile: {}", error.problems()[0].message),
    };
    let object = json!({
        "name": "web", "replicas": 3, "ratio": 0.5, "big": u64::MAX, "labels": {"app": "x", "tier": "y"},
        "list": [1, 2, 3], "nothing": null, "containers": [{"name": "a", "image": "i1"}, {"name": "b"}],
    });
    let activation = Activation::new().json("object", &object, None).value("n", Value::Int(7));
    match program.evaluate(&activation, &mut Budget::new(10_000_000)) {
        Ok(Value::Type(ty)) => ty.name().to_owned(),
        Ok(Value::Optional(inner)) => match inner {
            Some(inner) => format!("optional({})", to_json(&inner).unwrap()),
            None => "optional.none()".to_owned(),
        },
        Ok(value) => to_json(&value).map(|json| json.to_string()).unwrap_or_else(|why| why),
        Err(error) => format!("error: {error}"),
    }
}

pub(crate) fn table(rows: &[(&str, &str)]) {
    for (source, expected) in rows {
        assert_eq!(run(source), *expected, "{source}");
    }
}

#[test]
fn values_and_operators() {
    table(&[
        ("1 + 2 * 3", "7"),
        ("(1 + 2) * 3", "9"),
        ("-7 / 2", "-3"),
        ("-7 % 2", "-1"),
        ("1 / 0", "error: division by zero"),
        ("1 % 0", "error: modulus by zero"),
        ("9223372036854775807 + 1", "error: integer overflow"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("0u - 1u", "error: unsigned integer overflow"),
        ("1.5 + 2.5", "4.0"),
        ("'a' + 'b'", "\"ab\""),
        ("[1] + [2]", "[1,2]"),
        ("1 == 1.0", "compile: found no matching overload for '_==_' applied to '(int, double)'"),
        ("dyn(1) == 1.0", "true"),
        ("1 < 2u && 2u < 2.5 && 3.0 > 2", "true"),
        ("dyn('a') == 1", "false"),
        ("null == null", "true"),
        ("'b' > 'a'", "true"),
        ("true ? 1 : 2", "1"),
        ("{'a': 1}['a']", "1"),
        ("{'a': 1}['b']", "error: no such key: b"),
        ("{'a': 1}.b", "error: no such key: b"),
        ("[1, 2][5]", "error: index out of bounds: 5"),
        ("[1, 2][-1]", "error: index out of bounds: -1"),
        ("2 in [1, 2]", "true"),
        ("'a' in {'a': 1}", "true"),
        ("type(1) == int", "true"),
        ("type(object.name)", "string"),
        ("type(ip('::1')) == net.IP", "true"),
        ("!true", "false"),
        ("--1", "1"),
        ("{1: 2, 1: 3}", "error: Failed with repeated key: 1"),
        ("b'abc'.size()", "3"),
        ("size('😁é')", "2"),
        ("[1, 2u]", "compile: expected type 'int' but found 'uint'"),
        ("{'a': 1, 'b': 'c'}", "compile: expected type 'int' but found 'string'"),
    ]);
}

#[test]
fn objects() {
    table(&[
        ("object.replicas + n", "10"),
        ("object.name == 'web'", "true"),
        ("object.missing", "error: no such key: missing"),
        ("has(object.missing)", "false"),
        ("has(object.labels.app)", "true"),
        ("has(object.missing.app)", "error: no such key: missing"),
        ("object.big > 1", "true"),
        ("type(object.big)", "double"),
        ("object.labels.all(k, k.size() > 2)", "true"),
        ("object.containers.map(c, c.name)", "[\"a\",\"b\"]"),
        ("object.containers.filter(c, has(c.image)).size()", "1"),
        ("object.containers.exists_one(c, c.name == 'a')", "true"),
        ("object.nothing == null", "true"),
        ("object == object", "true"),
        ("object.?missing.?deep.orValue('d')", "\"d\""),
        ("object.?labels.?app", "optional(\"x\")"),
        ("object.labels[?'nope']", "optional.none()"),
        ("object.list[?7].hasValue()", "false"),
        ("missing", "compile: undeclared reference to 'missing' (in container '')"),
        ("n.x", "compile: type 'int' does not support field selection"),
    ]);
}

#[test]
fn errors_lose_against_what_decides() {
    table(&[
        ("1 / 0 == 1 || true", "true"),
        ("true || 1 / 0 == 1", "true"),
        ("1 / 0 == 1 && false", "false"),
        ("1 / 0 == 1 && true", "error: division by zero"),
        ("[1, 0].exists(x, 1 / x == 1)", "true"),
        ("[0, 1].exists(x, 1 / x == 1)", "true"),
        ("[0, 2].exists(x, 1 / x == 1)", "error: division by zero"),
        ("[0, 2].all(x, 2 / x == 2)", "false"),
        ("[0, 1].exists_one(x, 1 / x == 1)", "error: division by zero"),
        ("true || dyn('x')", "true"),
        ("false || dyn('x')", "error: no such overload"),
    ]);
}

#[test]
fn macros() {
    table(&[
        ("[1, 2, 3].map(x, x * 2)", "[2,4,6]"),
        ("[1, 2, 3].map(x, x > 1, x * 2)", "[4,6]"),
        ("[1, 2, 3].filter(x, x > 1)", "[2,3]"),
        ("[].all(x, x)", "true"),
        ("[4, 5].all(i, v, i < v)", "true"),
        ("{'a': 1}.exists(k, v, k == 'a' && v == 1)", "true"),
        ("[1, 1].existsOne(i, v, v == 1)", "false"),
        ("[1, 2].transformList(i, v, i * v)", "[0,2]"),
        ("[1, 2].transformList(i, v, v > 1, v)", "[2]"),
        ("{'a': 1}.transformMap(k, v, v + 1)", "{\"a\":2}"),
        ("{'a': 'b'}.transformMapEntry(k, v, {v: k})", "{\"b\":\"a\"}"),
        ("cel.bind(x, 2, x * x)", "4"),
        ("cel.bind(x, 1 / 0, true || x == 1)", "true"),
        ("cel.bind(x, 1 / 0, x == 1 || true)", "true"),
        ("cel.bind(x, 1 / 0, x == 1)", "error: division by zero"),
        ("cel.bind(x, [1].map(y, y + 1), [[5]].map(y, y + x))", "[[5,2]]"),
        ("[7].map(z, cel.bind(x, [1].map(y, y + z), [2].map(y, x[0] + y)))", "[[10]]"),
        ("[[1, 2], [3]].map(x, x.map(y, y + n))", "[[8,9],[10]]"),
        ("optional.of(1).optMap(x, x + 1)", "optional(2)"),
        ("optional.of(1).optMap(x, x + 1).optMap(y, y * 2).value()", "4"),
        ("optional.none().optFlatMap(x, optional.of(x))", "optional.none()"),
        ("[3, 1, 2].sortBy(x, -x)", "[3,2,1]"),
        ("[1].map(x, x.y)", "compile: type 'int' does not support field selection"),
        (
            "5.all(x, true)",
            "compile: expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)",
        ),
    ]);
}

#[test]
fn one_step_may_cost_more_than_the_budget() {
    assert_eq!(run("lists.range(100000000).size()"), format!("error: {}", EvalError::Budget));
}

#[test]
fn runaway_expressions_are_stopped() {
    let cancelled = format!("error: {}", EvalError::CostLimit);
    let big = "[1,2,3,4,5,6,7,8,9,10]";
    for source in [
        format!("{big}.all(a, {big}.all(b, {big}.all(c, {big}.all(d, {big}.all(e, {big}.all(f, true))))))"),
        "lists.range(5000000).size()".to_owned(),
        format!("cel.bind(a, 'x', {})", doubled('a', 40)),
        format!("[lists.range(1000)]{}", ".map(x, x + x)".repeat(40)),
        "'a'.replace('', lists.range(100000).map(i, 'aaaaaaaaaa').join()).size()".to_owned(),
    ] {
        assert_eq!(run(&source), cancelled, "{source}");
    }
}

/// `cel.bind(b, a + a, cel.bind(c, b + b, ...))`.
fn doubled(first: char, times: usize) -> String {
    let mut out = String::new();
    let mut name = first.to_string();
    for i in 0..times {
        let next = format!("v{i}");
        out.push_str(&format!("cel.bind({next}, {name} + {name}, "));
        name = next;
    }
    format!("{out}{name}{}", ")".repeat(times))
}

#[test]
fn deep_expressions_fit_a_small_stack() {
    let deep =
        |open: &str, inner: &str, close: &str| format!("{}{inner}{}", open.repeat(240), close.repeat(240));
    let sources = [
        deep("[", "1", "]"),
        deep("1+(", "1", ")"),
        deep("{'a':", "1", "}"),
        deep("[1].map(x, ", "x", ")"),
        deep("true ? ", "true", " : false"),
        deep("!(", "true", ")"),
        format!("object{}", ".?a".repeat(240)),
    ];
    let thread = std::thread::Builder::new().stack_size(2 << 20);
    let handle = thread.spawn(move || sources.iter().map(|source| run(source)).collect::<Vec<_>>()).unwrap();
    assert_eq!(handle.join().unwrap().len(), 7);
}

#[test]
fn costs_are_charged_and_estimated() {
    let env = Env::new().variable("object", Type::Dyn);
    let object = json!({"a": {"b": [1, 2, 3]}, "s": "0123456789"});
    for (source, actual) in [
        ("true", 0),
        ("object.a.b", 3),
        ("object.s == '0123456789'", 2 + 1),
        ("object.a.b.all(x, x > 0)", 3 + 3 * (3 + 2) + 1),
        ("object.a.b.size() == 3", 3 + 1 + 1),
        ("has(object.a)", 1),
        ("[1, 2]", 0),
        ("[object.s]", 12),
    ] {
        let program = env.compile(source).unwrap();
        let mut budget = Budget::new(1_000);
        program.evaluate(&Activation::new().json("object", &object, None), &mut budget).unwrap();
        assert_eq!(1_000 - budget.remaining(), actual, "{source}");
    }
}
