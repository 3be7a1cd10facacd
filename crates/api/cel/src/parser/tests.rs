//! Problems read as the reference's, and hostile text ends in a problem.

use super::{Macros, parse};

fn problems(source: &str) -> String {
    match parse(source, Macros::default()) {
        Ok(_) => "fine".to_owned(),
        Err(error) => error.to_string(),
    }
}

const EXPRESSION: &str = "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";

#[test]
fn problems_read_as_the_reference_words_them() {
    for (source, expected) in [
        ("a == 1 ? [1, 2][0] : {'k': 1u}['k']", "fine".to_owned()),
        ("[1, 2].exists(x, x > 1) && has(a.b) || !c", "fine".to_owned()),
        ("", format!("ERROR: <input>:1:0: Syntax error: mismatched input '<EOF>' expecting {EXPRESSION}")),
        ("object.x ==", format!("ERROR: <input>:1:12: Syntax error: mismatched input '<EOF>' expecting {EXPRESSION}\n | object.x ==\n | ...........^")),
        (
            "*@a | b",
            format!(
                "ERROR: <input>:1:1: Syntax error: extraneous input '*' expecting {EXPRESSION}\n | *@a | b\n | ^\n\
                 ERROR: <input>:1:2: Syntax error: token recognition error at: '@'\n | *@a | b\n | .^\n\
                 ERROR: <input>:1:5: Syntax error: token recognition error at: '| '\n | *@a | b\n | ....^\n\
                 ERROR: <input>:1:7: Syntax error: extraneous input 'b' expecting <EOF>\n | *@a | b\n | ......^"
            ),
        ),
        (
            "1 + +",
            format!(
                "ERROR: <input>:1:5: Syntax error: mismatched input '+' expecting {EXPRESSION}\n | 1 + +\n | ....^\n\
                 ERROR: <input>:1:6: Syntax error: mismatched input '<EOF>' expecting {EXPRESSION}\n | 1 + +\n | .....^"
            ),
        ),
        (
            "{",
            "ERROR: <input>:1:2: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '}', '(', '.', ',', '-', '!', '?', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}\n | {\n | .^".to_owned(),
        ),
        ("TestAllTypes(){}", "ERROR: <input>:1:15: Syntax error: mismatched input '{' expecting <EOF>\n | TestAllTypes(){}\n | ..............^".to_owned()),
        ("1 + 2\n3 +", "ERROR: <input>:2:1: Syntax error: mismatched input '3' expecting <EOF>\n | 3 +\n | ^".to_owned()),
        ("{\"a\": 1}.\"a\"", "ERROR: <input>:1:10: Syntax error: no viable alternative at input '.\"a\"'\n | {\"a\": 1}.\"a\"\n | .........^".to_owned()),
        ("(a", "ERROR: <input>:1:3: Syntax error: missing ')' at '<EOF>'\n | (a\n | ..^".to_owned()),
        ("a ? b", "ERROR: <input>:1:6: Syntax error: mismatched input '<EOF>' expecting ':'\n | a ? b\n | .....^".to_owned()),
        ("as", "ERROR: <input>:1:1: reserved identifier: as\n | as\n | ^".to_owned()),
        ("has(m)", "ERROR: <input>:1:5: invalid argument to has() macro\n | has(m)\n | ....^".to_owned()),
        ("1.all(2, 3)", "ERROR: <input>:1:7: argument must be a simple name\n | 1.all(2, 3)\n | ......^".to_owned()),
        ("0xFFFFFFFFFFFFFFFFF", "ERROR: <input>:1:1: invalid int literal\n | 0xFFFFFFFFFFFFFFFFF\n | ^".to_owned()),
        ("1.99e90000009", "ERROR: <input>:1:1: invalid double literal\n | 1.99e90000009\n | ^".to_owned()),
        ("msg{:a}", "ERROR: <input>:1:5: Syntax error: extraneous input ':' expecting {'}', ',', '?', IDENTIFIER, ESC_IDENTIFIER}\n | msg{:a}\n | ....^".to_owned()),
    ] {
        let found = problems(source);
        // Only the first lines of long chains of problems are alike; what follows depends on how the parser recovers.
        assert!(found.starts_with(&expected), "{source}\nexpected {expected}\nfound    {found}");
    }
}

#[test]
fn hostile_text_is_refused() {
    let deep = |open: &str, close: &str| format!("{}1{}", open.repeat(10_000), close.repeat(10_000));
    for source in [
        deep("(", ")"),
        deep("[", "]"),
        deep("{1:", "}"),
        deep("f(", ")"),
        format!("1{}", "+1".repeat(20_000)),
        format!("a{}", ".b".repeat(20_000)),
        format!("a{}", "[0]".repeat(20_000)),
        format!("1{}", " ? 1 : 1".repeat(10_000)),
        "(".repeat(50_000),
        "\"".to_owned(),
        "'\\u12".to_owned(),
        "a".repeat(200_000),
    ] {
        assert_ne!(problems(&source), "fine");
    }
    // Long chains of `&&` are balanced, so they are fine.
    assert_eq!(problems(&format!("true{}", " && true".repeat(10_000))), "fine");
}
