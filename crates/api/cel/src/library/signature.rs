//! Reads overloads from their text.

use super::{Native, Overload};
use crate::types::Type;

/// Reads `id: target.(parameters) -> result`. The texts are this crate's own, so a malformed one is a bug.
pub(super) fn read(text: &'static str, run: Native) -> Overload {
    let (id, rest) = text.split_once(": ").expect("an overload has an id");
    let (call, result) = rest.split_once(" -> ").expect("an overload has a result");
    let (target, inside) = match call.strip_prefix('(') {
        Some(inside) => (None, inside),
        None => {
            let (target, inside) = call.split_once(".(").expect("an overload has parameters");
            (Some(target), inside)
        }
    };
    let inside = inside.strip_suffix(')').expect("parameters end");
    let mut reader = Reader { letters: Vec::new() };
    let mut params: Vec<Type> = target.map(|target| reader.one(target)).into_iter().collect();
    params.extend(reader.many(inside));
    let result = reader.one(result);
    Overload { id, member: target.is_some(), params, result, vars: reader.letters.len() as u32, run }
}

struct Reader {
    /// The letters seen; each is the variable of its place.
    letters: Vec<u8>,
}

impl Reader {
    fn many(&mut self, text: &str) -> Vec<Type> {
        let mut types = Vec::new();
        let (mut start, mut depth) = (0, 0);
        for (at, b) in text.bytes().enumerate() {
            match b {
                b'(' => depth += 1,
                b')' => depth -= 1,
                b',' if depth == 0 => {
                    types.push(self.one(&text[start..at]));
                    start = at + 1;
                }
                _ => {}
            }
        }
        if start < text.len() {
            types.push(self.one(&text[start..]));
        }
        types
    }

    fn one(&mut self, text: &str) -> Type {
        let (name, inner) = match text.split_once('(') {
            Some((name, inner)) => (name, self.many(inner.strip_suffix(')').expect("types end"))),
            None => (text, Vec::new()),
        };
        let mut inner = inner.into_iter();
        let mut next = || inner.next().expect("a type has its parameters");
        match name {
            "dyn" => Type::Dyn,
            "bool" => Type::Bool,
            "int" => Type::Int,
            "uint" => Type::Uint,
            "double" => Type::Double,
            "string" => Type::String,
            "bytes" => Type::Bytes,
            "timestamp" => Type::Timestamp,
            "duration" => Type::Duration,
            "list" => Type::list(next()),
            "map" => Type::map(next(), next()),
            "optional" => Type::optional(next()),
            "type" => Type::Type(Some(next().into())),
            _ if name.len() == 1 => {
                let letter = name.as_bytes()[0];
                let known = self.letters.iter().position(|seen| *seen == letter);
                let index = known.unwrap_or_else(|| {
                    self.letters.push(letter);
                    self.letters.len() - 1
                });
                Type::Var(index as u32)
            }
            _ => Type::opaque(name),
        }
    }
}
