//! The type checker: every node's type, and which overloads a call may mean.

mod checker;
mod format;
mod unify;
mod validate;

use crate::ast::{Ast, Expr, Id};
use crate::env::Env;
use crate::library::{Function, Overload};
use crate::source::{CompileError, Problem};
use crate::types::Type;

/// What the checker found out.
pub struct Checked {
    types: Vec<Option<Type>>,
    meanings: Vec<Meaning>,
}

/// What a node turned out to mean, beyond its shape.
#[derive(Clone, Default)]
pub enum Meaning {
    /// What it looks like.
    #[default]
    Plain,
    /// The name of a type.
    Type(Type),
    /// A variable whose name has dots in it.
    Variable(String),
    /// A call of one of these overloads; the target is part of the function's name when `qualified` is set.
    Call {
        /// The function.
        function: &'static Function,
        /// Which of its overloads may be meant.
        overloads: Vec<&'static Overload>,
        /// `a.b.f(x)` calls a function that is named `a.b.f`.
        qualified: bool,
    },
}

impl Checked {
    /// The type of a node.
    pub fn type_of(&self, expr: &Expr) -> Type {
        self.types.get(expr.id as usize).cloned().flatten().unwrap_or(Type::Dyn)
    }

    /// What a node means.
    pub fn meaning(&self, id: Id) -> &Meaning {
        const PLAIN: &Meaning = &Meaning::Plain;
        self.meanings.get(id as usize).unwrap_or(PLAIN)
    }
}

/// Checks a tree.
pub fn check(env: &Env, source: &str, ast: &Ast) -> Result<Checked, CompileError> {
    let mut checker = checker::Checker::new(env, ast);
    checker.check(&ast.root);
    let (checked, mut problems) = checker.finish();
    if problems.is_empty() {
        validate::validate(ast, &checked, &mut problems);
    }
    if problems.is_empty() { Ok(checked) } else { Err(CompileError::new(source, problems)) }
}

fn problem(ast: &Ast, id: Id, message: String) -> Problem {
    Problem { at: ast.place(id), message }
}

#[cfg(test)]
mod tests;
