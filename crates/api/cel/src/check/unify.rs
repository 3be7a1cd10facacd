//! Whether a type can be given where another is wanted, and what that says about types yet to be found.

use std::sync::Arc;

use crate::types::Type;

/// What is known about types that were left open. Changes since a mark can be taken back.
#[derive(Debug, Default)]
pub struct Bindings {
    types: Vec<Option<Type>>,
    changes: Vec<(u32, Option<Type>)>,
}

impl Bindings {
    /// A type that is yet to be found.
    pub fn fresh(&mut self) -> Type {
        self.types.push(None);
        Type::Var((self.types.len() - 1) as u32)
    }

    fn get(&self, var: u32) -> Option<&Type> {
        self.types.get(var as usize)?.as_ref()
    }

    fn set(&mut self, var: u32, ty: Type) {
        if let Some(slot) = self.types.get_mut(var as usize) {
            let before = slot.replace(ty);
            self.changes.push((var, before));
        }
    }

    fn undo_to(&mut self, mark: usize) {
        while self.changes.len() > mark {
            if let Some((var, before)) = self.changes.pop() {
                self.types[var as usize] = before;
            }
        }
    }

    /// Whether each of `given` fits its `wanted`. Nothing is learned when one does not.
    pub fn assignable(&mut self, given: &[Type], wanted: &[Type]) -> bool {
        let mark = self.changes.len();
        let fits = self.all_fit(given, wanted);
        if !fits {
            self.undo_to(mark);
        }
        fits
    }

    fn all_fit(&mut self, given: &[Type], wanted: &[Type]) -> bool {
        given.len() == wanted.len()
            && given.iter().zip(wanted).all(|(given, wanted)| self.fits(given, wanted))
    }

    fn fits(&mut self, given: &Type, wanted: &Type) -> bool {
        if let Type::Var(var) = wanted {
            let (fits, bound) = self.substitutes(given, *var);
            if fits || bound {
                return fits;
            }
        }
        if let Type::Var(var) = given {
            return self.substitutes(wanted, *var).0;
        }
        if given.is_dyn_or_error() || wanted.is_dyn_or_error() {
            return true;
        }
        match (given, wanted) {
            (Type::Null, other) | (other, Type::Null) => is_nullable(other),
            (Type::Type(_), Type::Type(_)) => true,
            (Type::List(given), Type::List(wanted)) => self.fits(given, wanted),
            (Type::Map(key, value), Type::Map(wanted_key, wanted_value)) => {
                self.fits(key, wanted_key) && self.fits(value, wanted_value)
            }
            (Type::Opaque(name, given), Type::Opaque(wanted_name, wanted)) => {
                name == wanted_name && self.all_fit(given, wanted)
            }
            _ => given == wanted,
        }
    }

    /// Whether `var` can stand for `ty`, and whether it stood for something already.
    fn substitutes(&mut self, ty: &Type, var: u32) -> (bool, bool) {
        if *ty == Type::Var(var) {
            return (true, true);
        }
        if let Some(bound) = self.get(var).cloned() {
            if *ty == bound {
                return (true, true);
            }
            if !self.fits(ty, &bound) {
                return (false, true);
            }
            let general = most_general(ty, &bound).clone();
            if !self.occurs(var, &general) {
                self.set(var, general);
            }
            return (true, true);
        }
        if self.occurs(var, ty) {
            return (false, false);
        }
        self.set(var, ty.clone());
        (true, false)
    }

    fn occurs(&self, var: u32, within: &Type) -> bool {
        match within {
            Type::Var(other) if *other == var => true,
            Type::Var(other) => self.get(*other).is_some_and(|bound| self.occurs(var, bound)),
            Type::List(element) => self.occurs(var, element),
            Type::Map(key, value) => self.occurs(var, key) || self.occurs(var, value),
            Type::Opaque(_, parameters) => parameters.iter().any(|parameter| self.occurs(var, parameter)),
            Type::Type(Some(inner)) => self.occurs(var, inner),
            _ => false,
        }
    }

    /// The type with everything known put in; what stays open becomes dynamic when `close` is set.
    pub fn resolve(&self, ty: &Type, close: bool) -> Type {
        match ty {
            Type::Var(var) => match self.get(*var) {
                Some(bound) => self.resolve(bound, close),
                None if close => Type::Dyn,
                None => ty.clone(),
            },
            Type::List(element) => Type::list(self.resolve(element, close)),
            Type::Map(key, value) => Type::map(self.resolve(key, close), self.resolve(value, close)),
            Type::Opaque(name, parameters) if !parameters.is_empty() => {
                Type::Opaque(name.clone(), parameters.iter().map(|p| self.resolve(p, close)).collect())
            }
            Type::Type(Some(inner)) => Type::Type(Some(Arc::new(self.resolve(inner, close)))),
            _ => ty.clone(),
        }
    }
}

fn is_nullable(ty: &Type) -> bool {
    matches!(ty, Type::Null | Type::Opaque(..) | Type::Object(_) | Type::Duration | Type::Timestamp)
}

/// The more general of two types that fit each other.
pub fn most_general<'a>(one: &'a Type, other: &'a Type) -> &'a Type {
    if less_specific(one, other) { one } else { other }
}

/// Whether `one` equals `other`, or says less.
fn less_specific(one: &Type, other: &Type) -> bool {
    if matches!(one, Type::Dyn | Type::Var(_)) {
        return true;
    }
    if matches!(other, Type::Dyn | Type::Var(_)) {
        return false;
    }
    match (one, other) {
        (Type::List(one), Type::List(other)) => less_specific(one, other),
        (Type::Map(key, value), Type::Map(other_key, other_value)) => {
            less_specific(key, other_key) && less_specific(value, other_value)
        }
        (Type::Opaque(name, ones), Type::Opaque(other_name, others)) => {
            name == other_name
                && ones.len() == others.len()
                && ones.iter().zip(others).all(|(one, other)| less_specific(one, other))
        }
        (Type::Type(_), Type::Type(_)) => true,
        _ => one == other,
    }
}
