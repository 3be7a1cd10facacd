//! The walk over the tree.

use std::rc::Rc;

use super::unify::{Bindings, most_general};
use super::{Checked, Meaning, problem};
use crate::ast::{Ast, Comprehension, Entry, Expr, ExprKind, Field, Id, Literal, op};
use crate::env::Env;
use crate::library::Function;
use crate::source::Problem;
use crate::types::{Joined, Type};

/// Problems before the rest is given up.
const PROBLEMS_MAX: usize = 200;

pub(super) struct Checker<'e> {
    env: &'e Env,
    ast: &'e Ast,
    types: Vec<Option<Type>>,
    meanings: Vec<Meaning>,
    bindings: Bindings,
    scopes: Vec<(Rc<str>, Type)>,
    problems: Vec<Problem>,
}

impl<'e> Checker<'e> {
    pub(super) fn new(env: &'e Env, ast: &'e Ast) -> Self {
        let nodes = ast.places.len();
        Self {
            env,
            ast,
            types: vec![None; nodes],
            meanings: vec![Meaning::Plain; nodes],
            bindings: Bindings::default(),
            scopes: Vec::new(),
            problems: Vec::new(),
        }
    }

    pub(super) fn finish(self) -> (Checked, Vec<Problem>) {
        let bindings = self.bindings;
        let types = self.types.into_iter().map(|ty| ty.map(|ty| bindings.resolve(&ty, true))).collect();
        (Checked { types, meanings: self.meanings }, self.problems)
    }

    fn report(&mut self, id: Id, message: String) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem(self.ast, id, message));
        }
    }

    fn undeclared(&mut self, id: Id, name: &str) {
        self.report(id, format!("undeclared reference to '{name}' (in container '')"));
    }

    /// Checks a node and gives its type.
    pub(super) fn check(&mut self, expr: &Expr) -> Type {
        let ty = match &expr.kind {
            ExprKind::Literal(literal) => of_literal(literal),
            ExprKind::Ident(name) => self.ident(expr.id, name),
            ExprKind::Select { operand, field, test } => self.select(expr, operand, field, *test),
            ExprKind::Call { function, target, args } => self.call(expr, function, target.as_deref(), args),
            ExprKind::List(elements) => self.list(elements),
            ExprKind::Map(entries) => self.map(entries),
            ExprKind::Struct { name, fields } => self.structure(expr.id, name, fields),
            ExprKind::Comprehension(fold) => self.comprehension(fold),
            ExprKind::Broken => Type::Error,
        };
        self.types[expr.id as usize] = Some(ty.clone());
        ty
    }

    fn ident(&mut self, id: Id, name: &str) -> Type {
        let bare = name.strip_prefix('.').unwrap_or(name);
        if bare.len() == name.len()
            && let Some((_, ty)) = self.scopes.iter().rev().find(|(known, _)| **known == *name)
        {
            return ty.clone();
        }
        if let Some(variable) = self.env.lookup(bare) {
            return variable.ty.clone();
        }
        if let Some(ty) = self.env.type_named(bare) {
            self.meanings[id as usize] = Meaning::Type(ty.clone());
            return Type::Type(Some(ty.into()));
        }
        self.undeclared(id, name);
        Type::Error
    }

    fn is_local(&self, name: &str) -> bool {
        self.scopes.iter().any(|(known, _)| **known == *name) || self.env.lookup(name).is_some()
    }

    fn select(&mut self, expr: &Expr, operand: &Expr, field: &str, test: bool) -> Type {
        // `authorizer.requestResource` is a variable, not a field of one.
        if !test
            && let Some(name) = qualified(expr)
            && let Some(variable) = self.env.lookup(name.strip_prefix('.').unwrap_or(&name))
            && !name
                .split('.')
                .next()
                .is_some_and(|root| self.scopes.iter().any(|(known, _)| **known == *root))
        {
            let ty = variable.ty.clone();
            self.meanings[expr.id as usize] = Meaning::Variable(name);
            return ty;
        }
        // `net.IP` is a type, not a field of something.
        if !test
            && let Some(name) = qualified(expr)
            && !name.split('.').next().is_some_and(|root| self.is_local(root))
            && let Some(ty) = self.env.type_named(name.strip_prefix('.').unwrap_or(&name))
        {
            self.meanings[expr.id as usize] = Meaning::Type(ty.clone());
            return Type::Type(Some(ty.into()));
        }
        let found = self.field(expr.id, operand, field, false);
        if test { Type::Bool } else { found }
    }

    fn field(&mut self, id: Id, operand: &Expr, field: &str, optional: bool) -> Type {
        let operand = self.check(operand);
        let operand = self.bindings.resolve(&operand, false);
        let inner = operand.unwrap_optional();
        let target = inner.unwrap_or(&operand);
        let found = match target {
            Type::Map(_, value) => (**value).clone(),
            Type::Object(name) => self.env.field_type(name, field).unwrap_or_else(|| {
                self.report(id, format!("undefined field '{field}'"));
                Type::Error
            }),
            Type::Var(_) => {
                self.bindings.assignable(&[Type::Dyn], std::slice::from_ref(target));
                Type::Dyn
            }
            other => {
                if !other.is_dyn_or_error() {
                    self.report(id, format!("type '{other}' does not support field selection"));
                }
                Type::Dyn
            }
        };
        let found = if inner.is_some() || optional { Type::optional(found) } else { found };
        self.bindings.resolve(&found, false)
    }

    fn call(&mut self, expr: &Expr, function: &str, target: Option<&Expr>, args: &[Expr]) -> Type {
        if function == op::OPT_SELECT
            && let [operand, name] = args
            && let ExprKind::Literal(Literal::String(field)) = &name.kind
        {
            self.check(name);
            let ty = self.field(expr.id, operand, field, true);
            if let Some(function) = self.env.function(op::OPT_SELECT) {
                let overloads = function.overloads.iter().collect();
                self.meanings[expr.id as usize] = Meaning::Call { function, overloads, qualified: false };
            }
            return ty;
        }
        let arg_types: Vec<Type> = args.iter().map(|arg| self.check(arg)).collect();
        let Some(target) = target else {
            let bare = function.strip_prefix('.').unwrap_or(function);
            return match self.env.function(bare) {
                Some(found) => self.resolve(expr.id, found, arg_types, false, false),
                None => {
                    self.undeclared(expr.id, function);
                    Type::Error
                }
            };
        };
        if let Some(prefix) = qualified(target) {
            let full = format!("{}.{function}", prefix.strip_prefix('.').unwrap_or(&prefix));
            if let Some(found) = self.env.function(&full) {
                return self.resolve(expr.id, found, arg_types, false, true);
            }
        }
        let mut all = vec![self.check(target)];
        all.extend(arg_types);
        match self.env.function(function) {
            Some(found) => self.resolve(expr.id, found, all, true, false),
            None => {
                self.undeclared(expr.id, function);
                Type::Error
            }
        }
    }

    /// Finds the overloads that take these types.
    fn resolve(
        &mut self,
        id: Id,
        function: &'static Function,
        args: Vec<Type>,
        member: bool,
        qualified: bool,
    ) -> Type {
        if matches!(function.name, op::AND | op::OR) {
            return self.logic(id, function, &args);
        }
        let mut overloads = Vec::new();
        let mut result: Option<Type> = None;
        for overload in
            function.overloads.iter().filter(|o| o.member == member && o.params.len() == args.len())
        {
            let fresh: Vec<Type> = (0..overload.vars).map(|_| self.bindings.fresh()).collect();
            let params: Vec<Type> = overload.params.iter().map(|param| instantiate(param, &fresh)).collect();
            if !self.bindings.assignable(&args, &params) {
                continue;
            }
            overloads.push(overload);
            let found = self.bindings.resolve(&instantiate(&overload.result, &fresh), false);
            result = Some(match result {
                None => found,
                Some(before) if before == Type::Dyn || before == found => before,
                Some(_) => Type::Dyn,
            });
        }
        let Some(result) = result else {
            let args: Vec<Type> = args.iter().map(|arg| self.bindings.resolve(arg, true)).collect();
            let signature = match args.split_first() {
                Some((target, rest)) if member => format!("{target}.({})", Joined(rest)),
                _ => format!("({})", Joined(&args)),
            };
            self.report(
                id,
                format!("found no matching overload for '{}' applied to '{signature}'", function.name),
            );
            return Type::Error;
        };
        self.meanings[id as usize] = Meaning::Call { function, overloads, qualified };
        result
    }

    fn logic(&mut self, id: Id, function: &'static Function, args: &[Type]) -> Type {
        let ids: Vec<Id> = match self.operands(id) {
            Some(ids) => ids,
            None => vec![id; args.len()],
        };
        let mut fine = true;
        for (arg, at) in args.iter().zip(ids) {
            if !self.bindings.assignable(std::slice::from_ref(arg), &[Type::Bool]) {
                let found = self.bindings.resolve(arg, true);
                self.report(at, format!("expected type 'bool' but found '{found}'"));
                fine = false;
            }
        }
        let overloads = function.overloads.iter().collect();
        self.meanings[id as usize] = Meaning::Call { function, overloads, qualified: false };
        if fine { Type::Bool } else { Type::Error }
    }

    /// The ids of the operands of a call, found by walking the tree once a problem has to be placed.
    fn operands(&self, id: Id) -> Option<Vec<Id>> {
        let mut open = vec![&self.ast.root];
        while let Some(expr) = open.pop() {
            if expr.id == id
                && let ExprKind::Call { args, .. } = &expr.kind
            {
                return Some(args.iter().map(|arg| arg.id).collect());
            }
            expr.children(|child| open.push(child));
        }
        None
    }

    /// The type of elements of which one more is known. Whether they may differ is asked when all types are known: what
    /// is formatted may.
    fn join(&mut self, before: Option<Type>, found: Type) -> Type {
        let Some(before) = before else { return found };
        if self.bindings.assignable(std::slice::from_ref(&before), std::slice::from_ref(&found)) {
            return most_general(&before, &found).clone();
        }
        Type::Dyn
    }

    fn mismatch(&mut self, id: Id, expected: &Type, found: &Type) {
        self.report(id, format!("expected type '{expected}' but found '{found}'"));
    }

    /// The type of an element that may be optional.
    fn unwrapped(&mut self, id: Id, ty: Type, optional: bool) -> Type {
        if !optional {
            return ty;
        }
        match ty.unwrap_optional() {
            Some(inner) => inner.clone(),
            None => {
                if ty != Type::Dyn {
                    self.mismatch(id, &Type::optional(ty.clone()), &ty);
                }
                ty
            }
        }
    }

    fn list(&mut self, elements: &[(Expr, bool)]) -> Type {
        let mut common = None;
        for (element, optional) in elements {
            let ty = self.check(element);
            let ty = self.unwrapped(element.id, ty, *optional);
            common = Some(self.join(common, ty));
        }
        Type::list(common.unwrap_or_else(|| self.bindings.fresh()))
    }

    fn map(&mut self, entries: &[Entry]) -> Type {
        let (mut keys, mut values) = (None, None);
        for entry in entries {
            let key = self.check(&entry.key);
            // What can be no key fails when it is evaluated; types of such keys could double at every level.
            let key = match key {
                Type::Bool
                | Type::Int
                | Type::Uint
                | Type::String
                | Type::Dyn
                | Type::Error
                | Type::Var(_) => key,
                _ => Type::Dyn,
            };
            keys = Some(self.join(keys, key));
            let value = self.check(&entry.value);
            let value = self.unwrapped(entry.value.id, value, entry.optional);
            values = Some(self.join(values, value));
        }
        let key = keys.unwrap_or_else(|| self.bindings.fresh());
        Type::map(key, values.unwrap_or_else(|| self.bindings.fresh()))
    }

    fn structure(&mut self, id: Id, name: &str, fields: &[Field]) -> Type {
        let bare = name.strip_prefix('.').unwrap_or(name);
        let ty = match self.env.type_named(bare) {
            Some(ty @ Type::Object(_)) => ty,
            Some(other) => {
                self.report(id, format!("'{}' is not a message type", other.name()));
                Type::Error
            }
            None => {
                self.undeclared(id, name);
                return Type::Error;
            }
        };
        for field in fields {
            let value = self.check(&field.value);
            let wanted = match &ty {
                Type::Object(name) => self.env.field_type(name, &field.name).unwrap_or_else(|| {
                    self.report(field.id, format!("undefined field '{}'", field.name));
                    Type::Error
                }),
                _ => Type::Error,
            };
            let value = self.unwrapped(field.value.id, value, field.optional);
            if !self.bindings.assignable(std::slice::from_ref(&wanted), std::slice::from_ref(&value)) {
                let name = &field.name;
                self.report(
                    field.id,
                    format!("expected type of field '{name}' is '{wanted}' but provided type is '{value}'"),
                );
            }
        }
        ty
    }

    fn comprehension(&mut self, fold: &Comprehension) -> Type {
        let range = self.check(&fold.range);
        let accu = self.check(&fold.init);
        let range = self.bindings.resolve(&range, false);
        let (first, second) = match &range {
            Type::List(element) if fold.var2.is_some() => (Type::Int, (**element).clone()),
            Type::List(element) => ((**element).clone(), Type::Dyn),
            Type::Map(key, value) => ((**key).clone(), (**value).clone()),
            Type::Dyn | Type::Error => (Type::Dyn, Type::Dyn),
            Type::Var(_) => {
                self.bindings.assignable(&[Type::Dyn], std::slice::from_ref(&range));
                (Type::Dyn, Type::Dyn)
            }
            other => {
                let why = "cannot be range of a comprehension (must be list, map, or dynamic)";
                self.report(fold.range.id, format!("expression of type '{other}' {why}"));
                (Type::Error, Type::Error)
            }
        };
        let before = self.scopes.len();
        self.scopes.push((fold.accu.clone(), accu.clone()));
        self.scopes.push((fold.var.clone(), first));
        if let Some(var2) = &fold.var2 {
            self.scopes.push((var2.clone(), second));
        }
        let condition = self.check(&fold.condition);
        self.assert(fold.condition.id, &Type::Bool, &condition);
        let step = self.check(&fold.step);
        self.assert(fold.step.id, &accu, &step);
        self.scopes.truncate(before + 1);
        let result = self.check(&fold.result);
        self.scopes.truncate(before);
        self.bindings.resolve(&result, false)
    }

    fn assert(&mut self, id: Id, expected: &Type, found: &Type) {
        if !self.bindings.assignable(std::slice::from_ref(expected), std::slice::from_ref(found)) {
            let found = self.bindings.resolve(found, true);
            let expected = self.bindings.resolve(expected, true);
            self.mismatch(id, &expected, &found);
        }
    }
}

fn of_literal(literal: &Literal) -> Type {
    match literal {
        Literal::Null => Type::Null,
        Literal::Bool(_) => Type::Bool,
        Literal::Int(_) => Type::Int,
        Literal::Uint(_) => Type::Uint,
        Literal::Double(_) => Type::Double,
        Literal::String(_) => Type::String,
        Literal::Bytes(_) => Type::Bytes,
    }
}

/// `a.b.c` as text.
fn qualified(expr: &Expr) -> Option<String> {
    match &expr.kind {
        ExprKind::Ident(name) => Some(name.to_string()),
        ExprKind::Select { operand, field, test: false } => Some(format!("{}.{field}", qualified(operand)?)),
        _ => None,
    }
}

/// A type of an overload with fresh variables for its own.
fn instantiate(ty: &Type, fresh: &[Type]) -> Type {
    match ty {
        Type::Var(index) => fresh.get(*index as usize).cloned().unwrap_or(Type::Dyn),
        Type::List(element) => Type::list(instantiate(element, fresh)),
        Type::Map(key, value) => Type::map(instantiate(key, fresh), instantiate(value, fresh)),
        Type::Opaque(name, parameters) => {
            Type::Opaque(name.clone(), parameters.iter().map(|p| instantiate(p, fresh)).collect())
        }
        Type::Type(Some(inner)) => Type::Type(Some(instantiate(inner, fresh).into())),
        _ => ty.clone(),
    }
}
