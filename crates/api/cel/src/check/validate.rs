//! What types alone do not catch: literals that can never be read, and literals of mixed types.

use super::{Checked, format, problem};
use crate::ast::{Ast, Expr, ExprKind, Id, Literal};
use crate::library::compile_regex;
use crate::source::Problem;
use crate::types::Type;
use crate::value::{parse_duration, parse_timestamp};

/// Notes problems of every node.
pub(super) fn validate(ast: &Ast, checked: &Checked, problems: &mut Vec<Problem>) {
    // Formatting takes arguments of any types, so lists below it may be mixed.
    let mut open = vec![(&ast.root, false)];
    while let Some((expr, mixed)) = open.pop() {
        let mixed = mixed || matches!(&expr.kind, ExprKind::Call { function, .. } if **function == *"format");
        expr.children(|child| open.push((child, mixed)));
        match &expr.kind {
            ExprKind::Call { function, target, args } => {
                if **function == *"format" {
                    format::validate(ast, checked, expr, target.as_deref(), args, problems);
                }
                if let Some(Expr { id, kind: ExprKind::Literal(Literal::String(text)) }) = args.first() {
                    let fine = match &**function {
                        "duration" => parse_duration(text).is_some(),
                        "timestamp" => parse_timestamp(text).is_some(),
                        "matches" if args.len() == 1 => compile_regex(text).is_ok(),
                        _ => true,
                    };
                    if !fine {
                        problems.push(problem(ast, *id, format!("invalid {function} argument")));
                    }
                }
            }
            ExprKind::List(elements) if !mixed => {
                let types =
                    elements.iter().map(|(element, optional)| (element.id, of(checked, element, *optional)));
                same(ast, types, problems);
            }
            ExprKind::Map(entries) if !mixed => {
                same(ast, entries.iter().map(|e| (e.key.id, of(checked, &e.key, false))), problems);
                same(ast, entries.iter().map(|e| (e.value.id, of(checked, &e.value, e.optional))), problems);
            }
            _ => {}
        }
    }
}

fn of(checked: &Checked, expr: &Expr, optional: bool) -> Type {
    let ty = checked.type_of(expr);
    match ty.unwrap_optional() {
        Some(inner) if optional => inner.clone(),
        _ => ty,
    }
}

fn same(ast: &Ast, types: impl Iterator<Item = (Id, Type)>, problems: &mut Vec<Problem>) {
    let mut first: Option<Type> = None;
    for (id, ty) in types {
        match &first {
            None => first = Some(ty),
            Some(first) if *first == ty => {}
            Some(first) => {
                return problems.push(problem(ast, id, format!("expected type '{first}' but found '{ty}'")));
            }
        }
    }
}
