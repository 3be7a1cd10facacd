//! Which fields of a variable an expression names, whatever it does with them.

use crate::ast::{Expr, ExprKind, Literal, op};
use crate::parser::{self, Macros};

/// Whether `variable.field` (or `variable.?field`, or `has(variable.field)`) is anywhere in the expression. One that does not
/// parse selects nothing.
pub fn selects(source: &str, variable: &str, field: &str) -> bool {
    parser::parse(source, Macros { bind: false }).is_ok_and(|ast| within(&ast.root, variable, field))
}

fn within(expr: &Expr, variable: &str, field: &str) -> bool {
    let is_variable = |expr: &Expr| matches!(&expr.kind, ExprKind::Ident(name) if **name == *variable);
    let go = |expr: &Expr| within(expr, variable, field);
    match &expr.kind {
        ExprKind::Literal(_) | ExprKind::Ident(_) | ExprKind::Broken => false,
        ExprKind::Select { operand, field: found, .. } => {
            (is_variable(operand) && **found == *field) || go(operand)
        }
        ExprKind::Call { function, target, args } => {
            let optional = match &args[..] {
                [operand, name] if **function == *op::OPT_SELECT && target.is_none() => {
                    is_variable(operand)
                        && matches!(&name.kind, ExprKind::Literal(Literal::String(text)) if **text == *field)
                }
                _ => false,
            };
            optional || args.iter().any(go) || target.as_deref().is_some_and(go)
        }
        ExprKind::List(elements) => elements.iter().any(|(element, _)| go(element)),
        ExprKind::Map(entries) => entries.iter().any(|entry| go(&entry.key) || go(&entry.value)),
        ExprKind::Struct { fields, .. } => fields.iter().any(|field| go(&field.value)),
        ExprKind::Comprehension(fold) => {
            [&fold.range, &fold.init, &fold.condition, &fold.step, &fold.result].into_iter().any(go)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::selects;

    #[test]
    fn every_way_to_name_a_field_counts() {
        for source in [
            "claims.email",
            "has(claims.email) ? 'a' : 'b'",
            "claims.?email.orValue('x')",
            "['a'].map(x, x + claims.email)",
            "{'k': claims.email.lowerAscii()}",
        ] {
            assert!(selects(source, "claims", "email"), "{source}");
        }
        for source in ["claims.email_verified", "user.email", "claims['email']", "claims.", "'claims.email'"]
        {
            assert!(!selects(source, "claims", "email"), "{source}");
        }
    }
}
