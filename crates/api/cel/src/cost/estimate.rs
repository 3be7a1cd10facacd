//! The estimate: a walk over the tree that bounds sizes by literals and by what schemas declare.

use std::rc::Rc;

use super::model::{Model, selector};
use super::size::{CostEstimate, SizeEstimate};
use super::{CHARACTER, NEW_LIST, NEW_MAP, NEW_OBJECT, PATTERN_CHARACTER, READ, scaled};
use crate::ast::{ACCUMULATOR, Ast, Comprehension, Expr, ExprKind, FoldKind, Literal};
use crate::check::{Checked, Meaning};
use crate::env::Env;
use crate::types::Type;

/// Size of the largest pattern of a named format.
const FORMAT_REGEX_SIZE: f64 = 128.0;

/// Estimates what evaluating a checked tree costs.
pub fn estimate(env: &Env, ast: &Ast, checked: &Checked) -> CostEstimate {
    let nodes = ast.places.len();
    let mut estimator = Estimator {
        env,
        checked,
        paths: vec![None; nodes],
        sizes: vec![None; nodes],
        entries: vec![None; nodes],
        locals: Vec::new(),
    };
    estimator.cost(&ast.root)
}

/// A way to a declared type: a variable, then fields, `@items`, `@keys` and `@values`.
type Path = Rc<[Rc<str>]>;

/// Sizes of what is inside of a list or map.
#[derive(Clone, Copy)]
struct Entries {
    list: bool,
    key: SizeEstimate,
    value: SizeEstimate,
}

impl Entries {
    fn union(self, other: Self) -> Self {
        Self { list: self.list, key: self.key.union(other.key), value: self.value.union(other.value) }
    }
}

#[derive(Clone)]
struct Local {
    name: Rc<str>,
    path: Option<Path>,
    size: Option<SizeEstimate>,
    entries: Option<Entries>,
}

struct Estimator<'e> {
    env: &'e Env,
    checked: &'e Checked,
    paths: Vec<Option<Path>>,
    sizes: Vec<Option<SizeEstimate>>,
    entries: Vec<Option<Entries>>,
    locals: Vec<Local>,
}

/// An operand as the models see it.
struct Operand<'n> {
    expr: &'n Expr,
    cost: CostEstimate,
    size: SizeEstimate,
    ty: Type,
}

impl Estimator<'_> {
    fn cost(&mut self, expr: &Expr) -> CostEstimate {
        match &expr.kind {
            ExprKind::Literal(_) | ExprKind::Broken => CostEstimate::default(),
            ExprKind::Ident(name) => {
                let path = match self.local(name) {
                    Some(local) => local.path.clone(),
                    None => Some(Rc::from([name.clone()])),
                };
                self.paths[expr.id as usize] = path;
                CostEstimate::fixed(READ)
            }
            ExprKind::Select { operand, field, test } => self.select(expr, operand, field, *test),
            ExprKind::Call { function, target, args } => self.call(expr, function, target.as_deref(), args),
            ExprKind::List(elements) => {
                let mut sum = CostEstimate::fixed(NEW_LIST);
                let mut inside = None;
                for (element, _) in elements {
                    sum = sum.plus(self.cost(element));
                    inside = Some(join(inside, self.size_or_unknown(element)));
                }
                let value = inside.unwrap_or(SizeEstimate::fixed(0));
                self.entries[expr.id as usize] =
                    Some(Entries { list: true, key: SizeEstimate::fixed(1), value });
                sum
            }
            ExprKind::Map(entries) => {
                let mut sum = CostEstimate::fixed(NEW_MAP);
                let (mut keys, mut values) = (None, None);
                for entry in entries {
                    sum = sum.plus(self.cost(&entry.key)).plus(self.cost(&entry.value));
                    keys = Some(join(keys, self.size_or_unknown(&entry.key)));
                    values = Some(join(values, self.size_or_unknown(&entry.value)));
                }
                let nothing = SizeEstimate::fixed(0);
                let (key, value) = (keys.unwrap_or(nothing), values.unwrap_or(nothing));
                self.entries[expr.id as usize] = Some(Entries { list: false, key, value });
                sum
            }
            ExprKind::Struct { fields, .. } => {
                let start = CostEstimate::fixed(NEW_OBJECT);
                fields.iter().fold(start, |sum, field| sum.plus(self.cost(&field.value)))
            }
            ExprKind::Comprehension(fold) if fold.kind == FoldKind::Bind => self.bind(expr, fold),
            ExprKind::Comprehension(fold) => self.fold(expr, fold),
        }
    }

    fn select(&mut self, expr: &Expr, operand: &Expr, field: &Rc<str>, test: bool) -> CostEstimate {
        if let Meaning::Type(ty) = self.checked.meaning(expr.id) {
            self.paths[expr.id as usize] = Some(Rc::from([Rc::from(ty.name())]));
            return CostEstimate::fixed(READ);
        }
        if matches!(self.checked.meaning(expr.id), Meaning::Variable(_)) {
            return CostEstimate::fixed(READ);
        }
        let mut sum = self.cost(operand);
        if test {
            return sum;
        }
        if matches!(self.checked.type_of(operand), Type::Map(..) | Type::Object(_)) {
            sum = sum.plus(CostEstimate::fixed(READ));
        }
        self.extend(expr, operand, field.clone());
        sum
    }

    fn extend(&mut self, expr: &Expr, from: &Expr, step: Rc<str>) {
        let path = self.path(from).map(|path| path.iter().cloned().chain([step]).collect());
        self.paths[expr.id as usize] = path;
    }

    fn call(&mut self, expr: &Expr, function: &str, target: Option<&Expr>, args: &[Expr]) -> CostEstimate {
        if function == "dyn"
            && let [arg] = args
        {
            let cost = self.cost(arg);
            self.copy_sizes(expr, arg);
            return cost.plus(CostEstimate::fixed(1));
        }
        let costs: Vec<CostEstimate> = args.iter().map(|arg| self.cost(arg)).collect();
        let checked = self.checked;
        let Meaning::Call { function, overloads, qualified } = checked.meaning(expr.id) else {
            return CostEstimate::default();
        };
        let target = target.filter(|_| !qualified);
        let target_cost = target.map_or(CostEstimate::default(), |target| self.cost(target));
        let target = target.map(|target| self.operand(target, CostEstimate::default()));
        let args: Vec<Operand<'_>> =
            args.iter().zip(costs).map(|(arg, cost)| self.operand(arg, cost)).collect();
        let mut total: Option<CostEstimate> = None;
        let mut result: Option<SizeEstimate> = None;
        for overload in overloads {
            let model = Model::of(function.name, overload.id);
            let (cost, size) = self.model(expr, model, target.as_ref(), &args);
            total = Some(total.map_or(cost, |before| before.union(cost)));
            if let Some(size) = size {
                result = Some(join(result, size));
            }
            let step = match model {
                Model::IndexList => Some("@items"),
                Model::IndexMap => Some("@values"),
                _ => None,
            };
            if let (Some(step), Some(container)) = (step, args.first()) {
                result = self.entries_of(container.expr).map(|entries| entries.value);
                self.extend(expr, container.expr, step.into());
            }
            if result.is_none() {
                result = self.size(expr);
            }
        }
        self.sizes[expr.id as usize] = result;
        target_cost.plus(total.unwrap_or_default())
    }

    fn operand<'n>(&mut self, expr: &'n Expr, cost: CostEstimate) -> Operand<'n> {
        Operand { expr, cost, size: self.size_or_unknown(expr), ty: self.checked.type_of(expr) }
    }

    /// The cost of a call with that of its arguments, and the size of its result.
    fn model(
        &mut self,
        expr: &Expr,
        model: Model,
        target: Option<&Operand<'_>>,
        args: &[Operand<'_>],
    ) -> (CostEstimate, Option<SizeEstimate>) {
        let all = args.iter().fold(CostEstimate::default(), |sum, arg| sum.plus(arg.cost));
        let one = CostEstimate::fixed(1);
        let arg = |index: usize| args.get(index).map_or(SizeEstimate::UNKNOWN, |arg| arg.size);
        let (cost, size) = match (model, target) {
            (Model::Logic, _) => {
                let [left, right] = args else { return (all, None) };
                return (CostEstimate { min: left.cost.min, max: left.cost.plus(right.cost).max }, None);
            }
            (Model::Conditional, _) => {
                let [condition, yes, no] = args else { return (all, None) };
                if let (Some(yes), Some(no)) = (self.entries_of(yes.expr), self.entries_of(no.expr)) {
                    self.entries[expr.id as usize] = Some(yes.union(no));
                }
                return (condition.cost.plus(yes.cost.union(no.cost)), Some(yes.size.union(no.size)));
            }
            (Model::Fixed(cost), _) => (CostEstimate::fixed(cost), None),
            (Model::Scan, Some(target)) => (self.scan(target), None),
            (Model::Parse, _) if !args.is_empty() => (arg(0).scaled(CHARACTER), None),
            (Model::ParseTwice, _) if !args.is_empty() => (arg(0).scaled(2.0 * CHARACTER), None),
            (Model::Url, None) if args.len() == 1 => (arg(0).scaled(CHARACTER), Some(arg(0))),
            (Model::Transform, Some(target)) => (target.size.scaled(CHARACTER), Some(target.size)),
            (Model::Replace, Some(target)) if args.len() >= 2 => {
                (target.size.scaled(2.0 * CHARACTER), Some(replaced(target.size, arg(0), arg(1))))
            }
            (Model::Split, Some(target)) => {
                let limit = args.get(1).and_then(|arg| match &arg.expr.kind {
                    ExprKind::Literal(Literal::Int(limit)) => Some(*limit as u64),
                    _ => None,
                });
                let size = SizeEstimate { min: 0, max: limit.unwrap_or(target.size.max) };
                (target.size.scaled(2.0 * CHARACTER), Some(size))
            }
            (Model::Join, Some(target)) => {
                let size = self.joined(target, args.first());
                (size.scaled(CHARACTER), Some(size))
            }
            (Model::Find | Model::Matches, Some(target)) if !args.is_empty() => {
                let text = target.size.plus(SizeEstimate::fixed(1)).scaled(CHARACTER);
                let size = SizeEstimate { min: 0, max: target.size.max };
                let size = (model == Model::Find).then_some(size);
                (text.times(arg(0).scaled(PATTERN_CHARACTER)), size)
            }
            (Model::Contains, Some(target)) if args.len() == 1 => {
                (target.size.scaled(CHARACTER).times(arg(0).scaled(CHARACTER)), None)
            }
            (Model::FormatString, Some(target)) => (target.size.scaled(CHARACTER), None),
            (Model::Affix, _) if args.len() == 1 => (arg(0).scaled(CHARACTER), None),
            (Model::StringToBytes, _) if args.len() == 1 => {
                let size = SizeEstimate { min: arg(0).min, max: arg(0).max.saturating_mul(4) };
                (arg(0).scaled(CHARACTER), Some(size))
            }
            (Model::BytesToString, _) if args.len() == 1 => {
                (arg(0).scaled(CHARACTER), Some(SizeEstimate { min: arg(0).min / 4, max: arg(0).max }))
            }
            (Model::Quote, _) if args.len() == 1 => {
                let double = |size: u64, by: u64| size.saturating_mul(by).saturating_add(2);
                let size = SizeEstimate { min: double(arg(0).min, 1), max: double(arg(0).max, 2) };
                (arg(0).scaled(CHARACTER), Some(size))
            }
            (Model::InList, _) if args.len() == 2 => (arg(1).scaled(1.0), None),
            (Model::Compare | Model::Equal, _) if args.len() == 2 => {
                let same = matches!((&args[0].ty, &args[1].ty), (Type::Opaque(one, _), Type::Opaque(other, _)) if one == other);
                if same && model == Model::Equal {
                    (one, None)
                } else {
                    let max = arg(0).max.min(arg(1).max);
                    (SizeEstimate { min: u64::from(max > 0), max }.scaled(CHARACTER), None)
                }
            }
            (Model::Concat | Model::ConcatLists, _) if args.len() == 2 => {
                if let (Some(left), Some(right)) =
                    (self.entries_of(args[0].expr), self.entries_of(args[1].expr))
                {
                    self.entries[expr.id as usize] = Some(left.union(right));
                }
                let size = arg(0).plus(arg(1));
                let cost = if model == Model::ConcatLists { one } else { size.scaled(CHARACTER) };
                (cost, Some(size))
            }
            (Model::ContainsIp(parse), Some(_)) => (addresses(parse.then(|| arg(0)), false), None),
            (Model::ContainsCidr(parse), Some(_)) => (addresses(parse.then(|| arg(0)), true), None),
            (Model::Validate, Some(_)) => {
                (arg(0).scaled(CHARACTER).scaled(FORMAT_REGEX_SIZE * PATTERN_CHARACTER), None)
            }
            (Model::Selector, Some(_)) => {
                (CostEstimate { min: selector(arg(0).min), max: selector(arg(0).max) }, None)
            }
            (Model::Sets(factor), _) if args.len() == 2 => {
                (arg(0).times(arg(1)).scaled(factor as f64).plus(one), None)
            }
            (Model::MakeList, target) => {
                let size =
                    target.map_or_else(|| literal_size(args).unwrap_or(SizeEstimate::UNKNOWN), |t| t.size);
                let size = SizeEstimate { min: 0, max: size.max };
                (size.scaled(1.0).plus(one), Some(size))
            }
            (Model::Quadratic, Some(target)) => {
                let cost = target.size.times(target.size).scaled(1.0).plus(CostEstimate::fixed(NEW_LIST + 1));
                (cost, Some(target.size))
            }
            // Functions that are not called on a target are estimated as one unit, as the reference does.
            _ => (one, None),
        };
        (cost.plus(all), size)
    }

    /// Going through a list, or a string, once.
    fn scan(&mut self, target: &Operand<'_>) -> CostEstimate {
        match &target.ty {
            Type::List(element) => {
                let mut each = CostEstimate::fixed(1);
                if matches!(**element, Type::String | Type::Bytes) {
                    each = each.plus(self.element_size(target).scaled(CHARACTER));
                }
                target.size.times_cost(each)
            }
            _ => target.size.scaled(CHARACTER),
        }
    }

    fn element_size(&mut self, list: &Operand<'_>) -> SizeEstimate {
        let path: Option<Path> =
            self.path(list.expr).map(|path| path.iter().cloned().chain([Rc::from("@items")]).collect());
        path.and_then(|path| self.declared_size(&path)).unwrap_or(SizeEstimate::UNKNOWN)
    }

    fn joined(&mut self, list: &Operand<'_>, separator: Option<&Operand<'_>>) -> SizeEstimate {
        let inside = match list.ty {
            Type::List(_) => list.size.times(self.element_size(list)),
            _ => SizeEstimate::fixed(0),
        };
        let Some(separator) = separator else { return inside };
        let between =
            SizeEstimate { min: list.size.min.saturating_sub(1), max: list.size.max.saturating_sub(1) };
        inside.plus(separator.size.times(between))
    }

    fn fold(&mut self, expr: &Expr, fold: &Comprehension) -> CostEstimate {
        let mut sum = self.cost(&fold.range).plus(self.cost(&fold.init));
        let before = self.locals.len();
        self.push_value(&fold.accu, &fold.init);
        match &fold.var2 {
            Some(var2) => {
                self.push_inside(&fold.var, &fold.range, Inside::Key);
                self.push_inside(var2, &fold.range, Inside::Value);
            }
            None => self.push_inside(&fold.var, &fold.range, Inside::Single),
        }
        let each = self.cost(&fold.condition).plus(self.cost(&fold.step));
        self.locals.truncate(before + 1);
        sum = sum.plus(self.cost(&fold.result));
        self.locals.truncate(before);
        let count = self.size_or_unknown(&fold.range);
        sum = sum.plus(count.times_cost(each));
        match fold.init.kind {
            ExprKind::Literal(_) => self.sizes[expr.id as usize] = self.size(&fold.init),
            _ => {
                self.sizes[expr.id as usize] = Some(count);
                self.entries[expr.id as usize] = self.entries_of(&fold.step);
            }
        }
        sum
    }

    fn bind(&mut self, expr: &Expr, fold: &Comprehension) -> CostEstimate {
        let mut sum = self.cost(&fold.range).plus(self.cost(&fold.init));
        self.push_value(&fold.accu, &fold.init);
        sum = sum.plus(self.cost(&fold.result));
        self.locals.pop();
        self.copy_sizes(expr, &fold.result);
        sum
    }

    fn push_value(&mut self, name: &Rc<str>, value: &Expr) {
        let local = Local {
            name: name.clone(),
            path: self.path(value),
            size: self.size(value),
            entries: self.entries_of(value),
        };
        self.locals.push(local);
    }

    fn push_inside(&mut self, name: &Rc<str>, range: &Expr, which: Inside) {
        let entries = self.entries_of(range);
        let list =
            entries.map_or(matches!(self.checked.type_of(range), Type::List(_)), |entries| entries.list);
        let value = match which {
            Inside::Key => false,
            Inside::Value => true,
            Inside::Single => list,
        };
        let step = match (value, list) {
            (true, true) => "@items",
            (true, false) => "@values",
            (false, true) => "@indices",
            (false, false) => "@keys",
        };
        let size = entries.map(|entries| if value { entries.value } else { entries.key });
        let path = self.path(range).map(|path| path.iter().cloned().chain([Rc::from(step)]).collect());
        self.locals.push(Local { name: name.clone(), path, size, entries: None });
    }

    fn local(&self, name: &str) -> Option<&Local> {
        self.locals.iter().rev().find(|local| *local.name == *name)
    }

    fn path(&self, expr: &Expr) -> Option<Path> {
        if let ExprKind::Ident(name) = &expr.kind
            && let Some(local) = self.local(name)
        {
            return local.path.clone();
        }
        self.paths[expr.id as usize].clone()
    }

    fn copy_sizes(&mut self, to: &Expr, from: &Expr) {
        self.sizes[to.id as usize] = self.size(from);
        self.entries[to.id as usize] = self.entries_of(from);
    }

    fn size_or_unknown(&mut self, expr: &Expr) -> SizeEstimate {
        self.size(expr).unwrap_or(SizeEstimate::UNKNOWN)
    }

    fn size(&mut self, expr: &Expr) -> Option<SizeEstimate> {
        if let Some(size) = self.sizes[expr.id as usize] {
            return Some(size);
        }
        if let Some(size) = own_size(expr) {
            return Some(SizeEstimate::fixed(size));
        }
        let path = self.path(expr).filter(|path| path.first().is_some_and(|root| **root != *ACCUMULATOR));
        if let Some(size) = path.and_then(|path| self.declared_size(&path)) {
            self.sizes[expr.id as usize] = Some(size);
            return Some(size);
        }
        if self.checked.type_of(expr).is_scalar() {
            return Some(SizeEstimate::fixed(1));
        }
        match &expr.kind {
            ExprKind::Ident(name) => self.local(name)?.size,
            _ => None,
        }
    }

    /// What a schema says about the size of what a path leads to.
    fn declared_size(&self, path: &Path) -> Option<SizeEstimate> {
        let (root, steps) = path.split_first()?;
        // What a name is that no variable has, the name of a type, counts as the root does: the reference looks at the
        // steps only.
        let variable = self.env.lookup(root).or_else(|| self.env.lookup("self"))?;
        let mut declared = variable.declared.as_ref()?;
        for step in steps {
            if **step == *"@keys" {
                // Keys are strings without a limit of their own, which counts as nothing.
                return Some(SizeEstimate::fixed(0));
            }
            declared = declared.part(step)?;
        }
        Some(SizeEstimate { min: 0, max: declared.elements_max })
    }

    fn entries_of(&self, expr: &Expr) -> Option<Entries> {
        if let Some(entries) = self.entries[expr.id as usize] {
            return Some(entries);
        }
        match &expr.kind {
            ExprKind::Ident(name) => self.local(name)?.entries,
            _ => None,
        }
    }
}

/// Which part of a range a variable is.
#[derive(Clone, Copy)]
enum Inside {
    Key,
    Value,
    /// An element, or a key.
    Single,
}

fn join(before: Option<SizeEstimate>, size: SizeEstimate) -> SizeEstimate {
    before.map_or(size, |before| before.union(size))
}

/// The size that a literal shows.
fn own_size(expr: &Expr) -> Option<u64> {
    Some(match &expr.kind {
        ExprKind::Literal(Literal::String(text)) => text.chars().count() as u64,
        ExprKind::Literal(Literal::Bytes(bytes)) => bytes.len() as u64,
        ExprKind::Literal(_) => 1,
        ExprKind::List(elements) => elements.len() as u64,
        ExprKind::Map(entries) => entries.len() as u64,
        _ => return None,
    })
}

/// `lists.range(10)` makes ten.
fn literal_size(args: &[Operand<'_>]) -> Option<SizeEstimate> {
    match args.first()?.expr.kind {
        ExprKind::Literal(Literal::Int(count)) => {
            Some(SizeEstimate::fixed(u64::try_from(count).unwrap_or(0)))
        }
        _ => None,
    }
}

/// Comparing the bytes of two addresses or ranges.
fn addresses(parse: Option<SizeEstimate>, ranges: bool) -> CostEstimate {
    let address = SizeEstimate { min: 4, max: 16 };
    let mut cost = address.plus(address).scaled(CHARACTER);
    if ranges {
        cost = cost.plus(address.scaled(CHARACTER)).plus(CostEstimate::fixed(1));
    }
    match parse {
        Some(text) => cost.plus(text.scaled(CHARACTER)),
        None => cost,
    }
}

/// The size of a text after `old` became `new` wherever it was.
fn replaced(text: SizeEstimate, old: SizeEstimate, new: SizeEstimate) -> SizeEstimate {
    let over = |size: u64, by: u64| scaled(size, 1.0 / by as f64);
    let (count_max, kept_max) = match (old.min, new.max <= old.min) {
        (0, _) => (text.max.saturating_add(1), text.max),
        (_, true) => (0, text.max),
        (old, false) => (over(text.max, old), 0),
    };
    let (count_min, kept_min) = match (old.max, old.max <= new.min) {
        (0, _) => (text.min.saturating_add(1), text.min),
        (_, true) => (0, text.min),
        (old, false) => (over(text.min, old), 0),
    };
    let count = SizeEstimate { min: count_min, max: count_max };
    count.times(new).plus(SizeEstimate { min: kept_min, max: kept_max })
}
