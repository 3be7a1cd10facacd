//! `'%s'.format([x])` with a literal template and a literal list: clauses that do not fit are told before it runs.

use super::{Checked, problem};
use crate::ast::{Ast, Expr, ExprKind, Id, Literal};
use crate::source::Problem;
use crate::types::Type;

/// Why a template does not fit; the place is that of an argument, or of the call.
struct Misfit {
    at: Option<Id>,
    why: String,
}

impl Misfit {
    fn new(why: impl Into<String>) -> Self {
        Self { at: None, why: why.into() }
    }
}

/// Notes what is wrong with a call of `format`.
pub(super) fn validate(
    ast: &Ast,
    checked: &Checked,
    call: &Expr,
    target: Option<&Expr>,
    args: &[Expr],
    problems: &mut Vec<Problem>,
) {
    let Some(ExprKind::Literal(Literal::String(template))) = target.map(|target| &target.kind) else {
        return;
    };
    let [Expr { kind: ExprKind::List(elements), .. }] = args else { return };
    match clauses(checked, template, elements) {
        Err(misfit) => problems.push(problem(ast, misfit.at.unwrap_or(call.id), misfit.why)),
        Ok(used) if elements.len() > used => {
            let given = elements.len();
            let why = format!("too many arguments supplied to string.format (expected {used}, got {given})");
            problems.push(problem(ast, call.id, why));
        }
        Ok(_) => {}
    }
}

/// Goes through the template; gives how many arguments it takes.
fn clauses(checked: &Checked, template: &str, elements: &[(Expr, bool)]) -> Result<usize, Misfit> {
    let mut used = 0;
    let mut rest = template;
    while let Some(at) = rest.find('%') {
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            rest = after;
            continue;
        }
        if rest.is_empty() {
            return Err(Misfit::new("unexpected end of string"));
        }
        let Some((arg, _)) = elements.get(used) else {
            return Err(Misfit::new(format!("index {used} out of range")));
        };
        used += 1;
        let unreadable = |why| Misfit::new(format!("could not parse formatting clause: {why}"));
        rest = after_precision(rest)
            .map_err(|why| unreadable(format!("error while parsing precision: {why}")))?;
        let verb = rest.chars().next().unwrap_or_default();
        rest = &rest[verb.len_utf8().min(rest.len())..];
        let wanted = wanted(verb).ok_or_else(|| {
            // The reference reads bytes here.
            let first = char::from(verb.to_string().as_bytes()[0]);
            unreadable(format!("unrecognized formatting clause \"{first}\""))
        })?;
        if let Some(bad) = misfit(checked, verb, arg) {
            let given = checked.type_of(bad);
            let why = format!("error during formatting: {wanted}, was given {}", given.name());
            return Err(Misfit { at: Some(bad.id), why });
        }
    }
    Ok(used)
}

/// What follows `.5`, or an error in Go's words.
fn after_precision(rest: &str) -> Result<&str, String> {
    let Some(after) = rest.strip_prefix('.') else { return Ok(rest) };
    let end = after
        .find(|c: char| !c.is_ascii_digit())
        .ok_or_else(|| "could not find end of precision specifier".to_owned())?;
    let (digits, after) = after.split_at(end);
    let why = match digits.parse::<i64>() {
        Ok(_) => return Ok(after),
        Err(_) if digits.is_empty() => "invalid syntax",
        Err(_) => "value out of range",
    };
    Err(format!("error while converting precision to integer: strconv.Atoi: parsing \"{digits}\": {why}"))
}

/// What a clause says of what it takes; `None` when there is no such clause.
fn wanted(verb: char) -> Option<&'static str> {
    Some(match verb {
        's' => {
            "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, \
             and timestamps"
        }
        'd' => "decimal clause can only be used on integers",
        'f' => "fixed-point clause can only be used on doubles",
        'e' => "scientific clause can only be used on doubles",
        'b' => "only integers and bools can be formatted as binary",
        'x' | 'X' => "only integers, byte buffers, and strings can be formatted as hex",
        'o' => "octal clause can only be used on integers",
        _ => return None,
    })
}

/// The expression that a clause does not take: the argument, or what is inside of it.
fn misfit<'e>(checked: &Checked, verb: char, arg: &'e Expr) -> Option<&'e Expr> {
    let mut open = vec![arg];
    while let Some(expr) = open.pop() {
        if !takes(verb, &checked.type_of(expr)) {
            return Some(expr);
        }
        // Last first, since the last is looked at next.
        match &expr.kind {
            ExprKind::List(elements) if verb == 's' => {
                open.extend(elements.iter().rev().map(|(element, _)| element));
            }
            ExprKind::Map(entries) if verb == 's' => {
                open.extend(entries.iter().rev().flat_map(|entry| [&entry.value, &entry.key]));
            }
            _ => {}
        }
    }
    None
}

fn takes(verb: char, ty: &Type) -> bool {
    match (verb, ty) {
        (_, Type::Dyn | Type::Error | Type::Var(_)) => true,
        ('s', Type::Object(_) | Type::Opaque(..)) => false,
        ('s', _) => true,
        (_, Type::Int | Type::Uint) => !matches!(verb, 'f' | 'e'),
        ('f' | 'e', Type::Double | Type::String) => true,
        ('b', Type::Bool) => true,
        ('x' | 'X', Type::String | Type::Bytes) => true,
        _ => false,
    }
}
