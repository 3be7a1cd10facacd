//! From a checked tree to what is run: names become slots, calls become functions, macros become loops.

use std::sync::Arc;

use regex::Regex;

use super::{Activation, EvalError};
use crate::ast::{Ast, Comprehension, Expr, ExprKind, FoldKind, Literal, op};
use crate::check::{Checked, Meaning};
use crate::cost::Model;
use crate::env::Env;
use crate::library::{Native, compile_regex};
use crate::source::CompileError;
use crate::types::Type;
use crate::value::Value;

/// A planned expression.
#[derive(Debug)]
pub struct Plan {
    pub(super) root: Node,
    variables: Vec<Arc<str>>,
}

impl Plan {
    /// The variables that the expression names.
    pub fn variables(&self) -> &[Arc<str>] {
        &self.variables
    }

    /// Runs, and gives what it cost with the result.
    pub fn run<'a>(&self, activation: &Activation<'a>) -> (Result<Value<'a>, EvalError>, u64) {
        super::run::run(self, activation)
    }
}

/// A literal, ready to be handed out.
#[derive(Debug)]
pub enum Constant {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Arc<str>),
    Bytes(Arc<[u8]>),
    Type(Arc<Type>),
}

/// What is done at one place.
#[derive(Debug)]
pub enum Node {
    Constant(Constant),
    /// A variable, by its place in the plan's list.
    Variable(usize),
    /// A name that a macro gave, by its place from the outermost one.
    Local(usize),
    Select {
        operand: Box<Node>,
        field: Arc<str>,
        how: Access,
    },
    Call(Box<Call>),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Conditional(Box<[Node; 3]>),
    /// `a.or(b)` and, with true, `a.orValue(b)`.
    OptionalOr(Box<[Node; 2]>, bool),
    List {
        elements: Vec<(Node, bool)>,
        constant: bool,
    },
    Map(Vec<(Node, Node, bool)>),
    Struct {
        name: Arc<str>,
        fields: Vec<(Arc<str>, Node, bool)>,
    },
    Fold(Box<Fold>),
    Bind(Box<[Node; 2]>),
    /// What the checker let through but cannot be run.
    Broken,
}

/// How a field is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It must be there.
    Get,
    /// Is it there?
    Test,
    /// It, if it is there.
    Optional,
}

/// A call of a function.
#[derive(Debug)]
pub struct Call {
    pub name: &'static str,
    pub args: Vec<Node>,
    /// Implementations to try, one after the other.
    pub natives: Vec<Native>,
    pub model: Model,
    pub regex: Option<Regex>,
    /// A conversion of a literal, which costs nothing.
    pub free: bool,
}

/// A loop.
#[derive(Debug)]
pub struct Fold {
    pub kind: FoldKind,
    pub range: Node,
    pub two: bool,
    pub filter: Option<Node>,
    /// What is asked of each element, or what it becomes.
    pub body: Node,
}

/// Plans a checked tree.
pub fn plan(env: &Env, ast: &Ast, checked: &Checked) -> Result<Plan, CompileError> {
    let mut planner = Planner { env, checked, variables: Vec::new(), locals: Vec::new(), failed: None };
    let root = planner.node(&ast.root);
    match planner.failed {
        Some(why) => Err(CompileError::of_program(why)),
        None => Ok(Plan { root, variables: planner.variables }),
    }
}

struct Planner<'e> {
    env: &'e Env,
    checked: &'e Checked,
    variables: Vec<Arc<str>>,
    locals: Vec<Arc<str>>,
    /// Why it cannot be made ready to run.
    failed: Option<String>,
}

/// Conversions that are done once when their argument is a literal.
const CONVERSIONS: [&str; 9] =
    ["bool", "bytes", "double", "duration", "dyn", "int", "string", "timestamp", "uint"];

impl Planner<'_> {
    fn boxed(&mut self, expr: &Expr) -> Box<Node> {
        Box::new(self.node(expr))
    }

    fn node(&mut self, expr: &Expr) -> Node {
        if let Meaning::Type(ty) = self.checked.meaning(expr.id) {
            return Node::Constant(Constant::Type(Arc::new(ty.clone())));
        }
        if let Meaning::Variable(name) = self.checked.meaning(expr.id) {
            return self.name(name);
        }
        match &expr.kind {
            ExprKind::Literal(literal) => Node::Constant(constant(literal)),
            ExprKind::Ident(name) => self.name(name),
            ExprKind::Select { operand, field, test } => Node::Select {
                operand: self.boxed(operand),
                field: Arc::from(&**field),
                how: if *test { Access::Test } else { Access::Get },
            },
            ExprKind::Call { target, args, .. } => self.call(expr, target.as_deref(), args),
            ExprKind::List(elements) => {
                let elements: Vec<(Node, bool)> =
                    elements.iter().map(|(e, optional)| (self.node(e), *optional)).collect();
                let constant = !elements.is_empty()
                    && elements.iter().all(|(e, optional)| !optional && matches!(e, Node::Constant(_)));
                Node::List { elements, constant }
            }
            ExprKind::Map(entries) => Node::Map(
                entries.iter().map(|e| (self.node(&e.key), self.node(&e.value), e.optional)).collect(),
            ),
            ExprKind::Struct { name, fields } => Node::Struct {
                name: Arc::from(name.strip_prefix('.').unwrap_or(name)),
                fields: fields
                    .iter()
                    .map(|field| (Arc::from(&*field.name), self.node(&field.value), field.optional))
                    .collect(),
            },
            ExprKind::Comprehension(fold) => self.fold(fold),
            ExprKind::Broken => Node::Broken,
        }
    }

    fn name(&mut self, name: &str) -> Node {
        let bare = name.strip_prefix('.').unwrap_or(name);
        if bare.len() == name.len()
            && let Some(slot) = self.locals.iter().rposition(|local| **local == *name)
        {
            return Node::Local(slot);
        }
        if self.env.lookup(bare).is_none() {
            return Node::Broken;
        }
        let slot = self.variables.iter().position(|known| **known == *bare).unwrap_or_else(|| {
            self.variables.push(bare.into());
            self.variables.len() - 1
        });
        Node::Variable(slot)
    }

    fn call(&mut self, expr: &Expr, target: Option<&Expr>, args: &[Expr]) -> Node {
        let Meaning::Call { function, overloads, qualified } = self.checked.meaning(expr.id).clone() else {
            return Node::Broken;
        };
        let target = target.filter(|_| !qualified);
        match (function.name, target, args) {
            (op::AND, None, [left, right]) => return Node::And(self.boxed(left), self.boxed(right)),
            (op::OR, None, [left, right]) => return Node::Or(self.boxed(left), self.boxed(right)),
            (op::CONDITIONAL, None, [condition, yes, no]) => {
                return Node::Conditional(Box::new([self.node(condition), self.node(yes), self.node(no)]));
            }
            (op::OPT_SELECT, None, [operand, name]) => {
                let ExprKind::Literal(Literal::String(field)) = &name.kind else { return Node::Broken };
                let field = Arc::from(&**field);
                return Node::Select { operand: self.boxed(operand), field, how: Access::Optional };
            }
            ("or" | "orValue", Some(left), [right]) => {
                let both = Box::new([self.node(left), self.node(right)]);
                return Node::OptionalOr(both, function.name == "orValue");
            }
            _ => {}
        }
        let mut natives: Vec<Native> = Vec::new();
        for overload in &overloads {
            if !natives.iter().any(|known| std::ptr::fn_addr_eq(*known, overload.run)) {
                natives.push(overload.run);
            }
        }
        let regex = match (function.name, target, args) {
            ("matches" | "find" | "findAll", Some(_), [pattern, ..]) | ("matches", None, [_, pattern]) => {
                match literal_text(pattern).map(compile_regex) {
                    None => None,
                    Some(Ok(regex)) => Some(regex),
                    // What `matches` is given is read when it is checked, or when it runs.
                    Some(Err(_)) if function.name == "matches" => None,
                    Some(Err(why)) => {
                        self.failed.get_or_insert(why);
                        None
                    }
                }
            }
            _ => None,
        };
        let overload = overloads.first().map_or("", |overload| overload.id);
        let args: Vec<Node> = target.into_iter().chain(args).map(|arg| self.node(arg)).collect();
        let literal = matches!(args[..], [Node::Constant(_)]);
        Node::Call(Box::new(Call {
            name: function.name,
            natives,
            // With several overloads in question, the kinds of the arguments decide: see `run`.
            model: Model::of(function.name, overload),
            regex,
            free: literal && CONVERSIONS.contains(&function.name),
            args,
        }))
    }

    fn fold(&mut self, fold: &Comprehension) -> Node {
        if fold.kind == FoldKind::Bind {
            let value = self.node(&fold.init);
            self.locals.push(Arc::from(&*fold.accu));
            let body = self.node(&fold.result);
            self.locals.pop();
            return Node::Bind(Box::new([value, body]));
        }
        let range = self.node(&fold.range);
        let (filter, body) = match (fold.kind, parts(&fold.step)) {
            (FoldKind::All | FoldKind::Exists, [_, body]) => (None, body),
            (FoldKind::ExistsOne, [body, ..]) => (None, body),
            (_, [filter, step, _]) if is_conditional(&fold.step) => (Some(filter), step),
            _ => (None, &fold.step),
        };
        let before = self.locals.len();
        self.locals.push(Arc::from(&*fold.var));
        if let Some(var2) = &fold.var2 {
            self.locals.push(Arc::from(&**var2));
        }
        let body = match fold.kind {
            FoldKind::All | FoldKind::Exists | FoldKind::ExistsOne => Some(body),
            // accu + [element]
            FoldKind::List => match parts(body) {
                [_, Expr { kind: ExprKind::List(elements), .. }] => {
                    elements.first().map(|(element, _)| element)
                }
                _ => None,
            },
            // insert(accu, key, value), insert(accu, entries)
            _ => parts(body).last(),
        };
        let filter = filter.map(|filter| self.node(filter));
        let body = body.map_or(Node::Broken, |body| self.node(body));
        self.locals.truncate(before);
        Node::Fold(Box::new(Fold { kind: fold.kind, range, two: fold.var2.is_some(), filter, body }))
    }
}

/// The arguments of a call.
fn parts(expr: &Expr) -> &[Expr] {
    match &expr.kind {
        ExprKind::Call { args, .. } => args,
        _ => &[],
    }
}

fn is_conditional(expr: &Expr) -> bool {
    matches!(&expr.kind, ExprKind::Call { function, .. } if **function == *op::CONDITIONAL)
}

fn literal_text(expr: &Expr) -> Option<&str> {
    match &expr.kind {
        ExprKind::Literal(Literal::String(text)) => Some(text),
        _ => None,
    }
}

fn constant(literal: &Literal) -> Constant {
    match literal {
        Literal::Null => Constant::Null,
        Literal::Bool(value) => Constant::Bool(*value),
        Literal::Int(value) => Constant::Int(*value),
        Literal::Uint(value) => Constant::Uint(*value),
        Literal::Double(value) => Constant::Double(*value),
        Literal::String(text) => Constant::String(Arc::from(&**text)),
        Literal::Bytes(bytes) => Constant::Bytes(Arc::from(&**bytes)),
    }
}
