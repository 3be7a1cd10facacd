//! Text to tree: a parser by recursive descent, bounded in depth and size.
//!
//! It accepts CEL's grammar with the optional syntax (`a.?b`, `a[?b]`, `{?k: v}`), expands macros as it goes, and words and
//! places its problems as the reference's generated parser does, including how that deletes or inserts a token to go on.

mod grammar;
mod lexer;
mod literals;
mod macros;
mod recovery;

use crate::ast::{Ast, Expr, ExprKind, Id};
use crate::source::{CompileError, Offset, Problem};
pub(crate) use grammar::RESERVED;

/// Longest expression, in characters.
const CHARACTERS_MAX: usize = 100_000;

/// Parses an expression.
pub fn parse(source: &str, macros: Macros) -> Result<Ast, CompileError> {
    let size = source.chars().count();
    if size > CHARACTERS_MAX {
        let message =
            format!("expression code point size exceeds limit: size: {size}, limit {CHARACTERS_MAX}");
        return Err(CompileError::new("", vec![Problem { at: None, message }]));
    }
    let mut problems = Vec::new();
    let tokens = lexer::tokens(source, &mut problems);
    let mut nodes = Nodes { places: Vec::new(), problems, macros };
    let root = grammar::Parser::new(source, tokens, &mut nodes).start();
    if nodes.problems.is_empty() {
        Ok(Ast { root, places: nodes.places })
    } else {
        Err(CompileError::new(source, nodes.problems))
    }
}

/// Which macros beyond the usual are known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Macros {
    /// `cel.bind(name, value, expression)`.
    pub bind: bool,
}

/// What is noted while parsing.
struct Nodes {
    places: Vec<Offset>,
    problems: Vec<Problem>,
    macros: Macros,
}

impl Nodes {
    fn id(&mut self, at: u32) -> Id {
        self.places.push(Some(at));
        (self.places.len() - 1) as Id
    }

    fn expr(&mut self, at: u32, kind: ExprKind) -> Expr {
        Expr { id: self.id(at), kind }
    }

    /// Notes a problem and stands in for what should be there.
    fn report(&mut self, at: u32, message: impl Into<String>) -> Expr {
        self.problems.push(Problem { at: Some(at), message: message.into() });
        self.expr(at, ExprKind::Broken)
    }

    fn place(&self, id: Id) -> u32 {
        self.places.get(id as usize).copied().flatten().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests;
