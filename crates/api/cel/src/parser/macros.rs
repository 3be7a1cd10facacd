//! Macros: calls that become folds while the text is read.

use std::rc::Rc;

use super::Nodes;
use crate::ast::{ACCUMULATOR, Comprehension, Expr, ExprKind, FoldKind, Literal, op};

/// The name that macros accumulated under in older versions; it may not be taken.
const OLD_ACCUMULATOR: &str = "__result__";
/// The name of a range that has no elements, in binds.
const UNUSED: &str = "#unused";

/// The name of an optional that a macro looks at twice.
const OPTIONAL: &str = "@optional";

/// One or two names of variables.
type Names = (Rc<str>, Option<Rc<str>>);

type Expanded = Result<Expr, (u32, String)>;

impl Nodes {
    /// A call, or what the macro of that name makes of it.
    pub(super) fn invoke(&mut self, at: u32, name: &str, target: Option<Expr>, args: Vec<Expr>) -> Expr {
        let expanded = match (name, &target, args.len()) {
            ("has", None, 1) => self.has(at, args),
            ("all", Some(_), 2 | 3) => self.quantifier(FoldKind::All, at, target, args),
            ("exists", Some(_), 2 | 3) => self.quantifier(FoldKind::Exists, at, target, args),
            ("exists_one" | "existsOne", Some(_), 2 | 3) => {
                self.quantifier(FoldKind::ExistsOne, at, target, args)
            }
            ("map", Some(_), 2 | 3) => self.map(at, target, args),
            ("filter", Some(_), 2) => self.filter(at, target, args),
            ("transformList", Some(_), 3 | 4) => self.transform(FoldKind::List, at, target, args),
            ("transformMap", Some(_), 3 | 4) => self.transform(FoldKind::MapValues, at, target, args),
            ("transformMapEntry", Some(_), 3 | 4) => self.transform(FoldKind::MapEntries, at, target, args),
            ("optMap", Some(_), 2) => self.opt_map(at, target, args, true),
            ("optFlatMap", Some(_), 2) => self.opt_map(at, target, args, false),
            ("sortBy", Some(_), 2) => self.sort_by(at, target, args),
            ("bind", Some(target), 3) if self.macros.bind && is_ident(target, "cel") => self.bind(at, args),
            _ => {
                let target = target.map(Box::new);
                return self.expr(at, ExprKind::Call { function: name.into(), target, args });
            }
        };
        expanded.unwrap_or_else(|(at, message)| self.report(at, message))
    }

    fn has(&mut self, at: u32, args: Vec<Expr>) -> Expanded {
        let [arg] = exactly(args);
        let place = self.place(arg.id);
        match arg.kind {
            ExprKind::Select { operand, field, test: false } => {
                Ok(self.expr(at, ExprKind::Select { operand, field, test: true }))
            }
            _ => Err((place, "invalid argument to has() macro".to_owned())),
        }
    }

    fn quantifier(&mut self, kind: FoldKind, at: u32, target: Option<Expr>, mut args: Vec<Expr>) -> Expanded {
        let predicate = args.pop();
        let (var, var2) = self.variables(&args, "argument must be a simple name")?;
        let (Some(range), Some(predicate)) = (target, predicate) else { return Err(self.incomplete(at)) };
        let accu = self.accu(at);
        let (init, condition, step, result) = match kind {
            FoldKind::All => {
                let condition = self.call(at, op::NOT_STRICTLY_FALSE, vec![accu.clone()]);
                let step = self.call(at, op::AND, vec![accu.clone(), predicate]);
                (Literal::Bool(true), condition, step, accu)
            }
            FoldKind::Exists => {
                let not = self.call(at, op::NOT, vec![accu.clone()]);
                let condition = self.call(at, op::NOT_STRICTLY_FALSE, vec![not]);
                let step = self.call(at, op::OR, vec![accu.clone(), predicate]);
                (Literal::Bool(false), condition, step, accu)
            }
            _ => {
                let condition = self.literal(at, Literal::Bool(true));
                let one = self.literal(at, Literal::Int(1));
                let more = self.call(at, op::ADD, vec![accu.clone(), one.clone()]);
                let step = self.call(at, op::CONDITIONAL, vec![predicate, more, accu.clone()]);
                let result = self.call(at, op::EQUALS, vec![accu, one]);
                (Literal::Int(0), condition, step, result)
            }
        };
        let init = self.literal(at, init);
        Ok(self.fold(
            at,
            Comprehension { kind, range, var, var2, accu: ACCUMULATOR.into(), init, condition, step, result },
        ))
    }

    fn map(&mut self, at: u32, target: Option<Expr>, mut args: Vec<Expr>) -> Expanded {
        let transform = args.pop();
        let filter = if args.len() == 2 { args.pop() } else { None };
        let (var, _) = self.variables(&args, "argument is not an identifier")?;
        let (Some(range), Some(transform)) = (target, transform) else { return Err(self.incomplete(at)) };
        Ok(self.collect(at, range, (var, None), filter, transform))
    }

    fn filter(&mut self, at: u32, target: Option<Expr>, mut args: Vec<Expr>) -> Expanded {
        let filter = args.pop();
        let (var, _) = self.variables(&args, "argument is not an identifier")?;
        let (Some(range), Some(element)) = (target, args.pop()) else { return Err(self.incomplete(at)) };
        Ok(self.collect(at, range, (var, None), filter, element))
    }

    fn transform(&mut self, kind: FoldKind, at: u32, target: Option<Expr>, mut args: Vec<Expr>) -> Expanded {
        let transform = args.pop();
        let filter = if args.len() == 3 { args.pop() } else { None };
        let (var, var2) = self.variables(&args, "argument must be a simple name")?;
        let (Some(range), Some(transform)) = (target, transform) else { return Err(self.incomplete(at)) };
        if kind == FoldKind::List {
            return Ok(self.collect(at, range, (var, var2), filter, transform));
        }
        let mut inserted = vec![self.accu(at)];
        if kind == FoldKind::MapValues {
            inserted.push(self.expr(at, ExprKind::Ident(var.clone())));
        }
        inserted.push(transform);
        let step = self.call(at, op::MAP_INSERT, inserted);
        let init = self.expr(at, ExprKind::Map(Vec::new()));
        Ok(self.accumulate(kind, at, range, (var, var2), init, filter, step))
    }

    /// A fold that appends `element` to a list, where `filter` lets it.
    fn collect(&mut self, at: u32, range: Expr, vars: Names, filter: Option<Expr>, element: Expr) -> Expr {
        let one = self.expr(at, ExprKind::List(vec![(element, false)]));
        let accu = self.accu(at);
        let step = self.call(at, op::ADD, vec![accu, one]);
        let init = self.expr(at, ExprKind::List(Vec::new()));
        self.accumulate(FoldKind::List, at, range, vars, init, filter, step)
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of a fold")]
    fn accumulate(
        &mut self,
        kind: FoldKind,
        at: u32,
        range: Expr,
        (var, var2): Names,
        init: Expr,
        filter: Option<Expr>,
        step: Expr,
    ) -> Expr {
        let accu = self.accu(at);
        let step = match filter {
            Some(filter) => self.call(at, op::CONDITIONAL, vec![filter, step, accu.clone()]),
            None => step,
        };
        let condition = self.literal(at, Literal::Bool(true));
        let accu_name = ACCUMULATOR.into();
        self.fold(
            at,
            Comprehension { kind, range, var, var2, accu: accu_name, init, condition, step, result: accu },
        )
    }

    /// `cel.bind(name, value, expression)`: a fold over nothing.
    fn bind(&mut self, at: u32, args: Vec<Expr>) -> Expanded {
        let [name, value, body] = exactly(args);
        let place = self.place(name.id);
        let ExprKind::Ident(name) = name.kind else {
            return Err((place, "cel.bind() variable names must be simple identifiers".to_owned()));
        };
        Ok(self.bound(at, name, value, body))
    }

    fn bound(&mut self, at: u32, name: Rc<str>, init: Expr, result: Expr) -> Expr {
        let range = self.expr(at, ExprKind::List(Vec::new()));
        let condition = self.literal(at, Literal::Bool(false));
        let step = self.expr(at, ExprKind::Ident(name.clone()));
        let var = UNUSED.into();
        self.fold(
            at,
            Comprehension {
                kind: FoldKind::Bind,
                range,
                var,
                var2: None,
                accu: name,
                init,
                condition,
                step,
                result,
            },
        )
    }

    /// `o.optMap(v, e)`: `o.hasValue() ? optional.of(bind v = o.value(): e) : optional.none()`.
    fn opt_map(&mut self, at: u32, target: Option<Expr>, args: Vec<Expr>, wrap: bool) -> Expanded {
        let [name, body] = exactly(args);
        let place = self.place(name.id);
        let ExprKind::Ident(name) = name.kind else {
            let which = if wrap { "optMap" } else { "optFlatMap" };
            return Err((place, format!("{which}() variable name must be a simple identifier")));
        };
        let Some(target) = target else { return Err(self.incomplete(at)) };
        if !is_plain(&target) {
            // Named, not repeated: a chain of these would double with each link.
            let named = self.expr(at, ExprKind::Ident(OPTIONAL.into()));
            let chosen = self.choose(at, named, name, body, wrap);
            return Ok(self.bound(at, OPTIONAL.into(), target, chosen));
        }
        Ok(self.choose(at, target, name, body, wrap))
    }

    fn choose(&mut self, at: u32, target: Expr, name: Rc<str>, body: Expr, wrap: bool) -> Expr {
        let has = self.member(at, "hasValue", target.clone());
        let value = self.member(at, "value", target);
        let mut then = self.bound(at, name, value, body);
        if wrap {
            then = self.call(at, "optional.of", vec![then]);
        }
        let none = self.call(at, "optional.none", Vec::new());
        self.call(at, op::CONDITIONAL, vec![has, then, none])
    }

    /// `l.sortBy(v, key)`: the keys are a list of their own, by which the elements are sorted.
    fn sort_by(&mut self, at: u32, target: Option<Expr>, args: Vec<Expr>) -> Expanded {
        const SORTED: &str = "@__sortBy_input__";
        let [name, key] = exactly(args);
        let place = self.place(name.id);
        let ExprKind::Ident(name) = name.kind else {
            return Err((place, "sortBy() variable name must be a simple identifier".to_owned()));
        };
        let Some(target) = target else { return Err(self.incomplete(at)) };
        let input = self.expr(at, ExprKind::Ident(SORTED.into()));
        let keys = self.collect(at, input.clone(), (name, None), None, key);
        let target_kind = ExprKind::Call {
            function: "@sortByAssociatedKeys".into(),
            target: Some(Box::new(input)),
            args: vec![keys],
        };
        let sorted = self.expr(at, target_kind);
        Ok(self.bound(at, SORTED.into(), target, sorted))
    }

    fn variables(&self, args: &[Expr], no_name: &str) -> Result<Names, (u32, String)> {
        let name = |arg: &Expr| match &arg.kind {
            ExprKind::Ident(name) if !name.starts_with('.') => Ok(name.clone()),
            _ => Err((self.place(arg.id), no_name.to_owned())),
        };
        let names = args.iter().map(name).collect::<Result<Vec<_>, _>>()?;
        if let [first, second] = &names[..]
            && first == second
        {
            return Err((self.place(args[1].id), format!("duplicate variable name: {first}")));
        }
        for (arg, name) in args.iter().zip(&names) {
            if **name == *ACCUMULATOR || **name == *OLD_ACCUMULATOR {
                return Err((
                    self.place(arg.id),
                    "iteration variable overwrites accumulator variable".to_owned(),
                ));
            }
        }
        let mut names = names.into_iter();
        let first = names.next().unwrap_or_else(|| UNUSED.into());
        Ok((first, names.next()))
    }

    fn incomplete(&self, at: u32) -> (u32, String) {
        (at, "incomplete macro".to_owned())
    }

    fn accu(&mut self, at: u32) -> Expr {
        self.expr(at, ExprKind::Ident(ACCUMULATOR.into()))
    }

    fn literal(&mut self, at: u32, value: Literal) -> Expr {
        self.expr(at, ExprKind::Literal(value))
    }

    fn call(&mut self, at: u32, function: &str, args: Vec<Expr>) -> Expr {
        self.expr(at, ExprKind::Call { function: function.into(), target: None, args })
    }

    fn member(&mut self, at: u32, function: &str, target: Expr) -> Expr {
        let target = Some(Box::new(target));
        self.expr(at, ExprKind::Call { function: function.into(), target, args: Vec::new() })
    }

    fn fold(&mut self, at: u32, fold: Comprehension) -> Expr {
        self.expr(at, ExprKind::Comprehension(Box::new(fold)))
    }
}

/// A name or selections from one.
fn is_plain(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Ident(_) | ExprKind::Literal(_) => true,
        ExprKind::Select { operand, .. } => is_plain(operand),
        ExprKind::Call { target: None, args, .. } => args.len() <= 2 && args.iter().all(is_plain),
        _ => false,
    }
}

fn is_ident(expr: &Expr, name: &str) -> bool {
    matches!(&expr.kind, ExprKind::Ident(found) if **found == *name)
}

/// Arguments whose number was just checked.
fn exactly<const N: usize>(args: Vec<Expr>) -> [Expr; N] {
    args.try_into().unwrap_or_else(|args: Vec<Expr>| unreachable!("{} arguments instead of {N}", args.len()))
}
