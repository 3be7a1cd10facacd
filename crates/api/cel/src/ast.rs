//! The tree of an expression. Every node has an id, by which the checker and the cost model note what they learn.

use std::rc::Rc;

use crate::source::Offset;

/// The name of what a macro accumulates; source text cannot spell it.
pub const ACCUMULATOR: &str = "@result";

/// Index of a node.
pub type Id = u32;

/// One node.
#[derive(Clone, Debug)]
pub struct Expr {
    /// Index into what is noted per node.
    pub id: Id,
    /// What it is.
    pub kind: ExprKind,
}

/// What a node is.
#[derive(Clone, Debug)]
pub enum ExprKind {
    /// A literal.
    Literal(Literal),
    /// A name.
    Ident(Rc<str>),
    /// `operand.field`, or `has(operand.field)` when `test` is set.
    Select { operand: Box<Expr>, field: Rc<str>, test: bool },
    /// A function or an operator; `target.function(args)` with a target.
    Call { function: Rc<str>, target: Option<Box<Expr>>, args: Vec<Expr> },
    /// `[a, ?b]`: elements, and whether each is optional.
    List(Vec<(Expr, bool)>),
    /// `{k: v}`.
    Map(Vec<Entry>),
    /// `Name{field: value}`.
    Struct { name: Rc<str>, fields: Vec<Field> },
    /// What a macro became.
    Comprehension(Box<Comprehension>),
    /// Stands where the text made no sense; a problem was noted.
    Broken,
}

/// A literal.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// `null`
    Null,
    /// `true`
    Bool(bool),
    /// `1`
    Int(i64),
    /// `1u`
    Uint(u64),
    /// `1.0`
    Double(f64),
    /// `'a'`
    String(Rc<str>),
    /// `b'a'`
    Bytes(Rc<[u8]>),
}

/// One entry of a map literal.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key.
    pub key: Expr,
    /// The value.
    pub value: Expr,
    /// `?key: value`
    pub optional: bool,
}

/// One field of a struct literal.
#[derive(Clone, Debug)]
pub struct Field {
    /// Where problems are shown.
    pub id: Id,
    /// The name.
    pub name: Rc<str>,
    /// The value.
    pub value: Expr,
    /// `?name: value`
    pub optional: bool,
}

/// Which macro a comprehension came from; the evaluator runs each in its own loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoldKind {
    /// All elements satisfy.
    All,
    /// Some element satisfies.
    Exists,
    /// Exactly one element satisfies.
    ExistsOne,
    /// A list of what each element becomes, or of those that pass.
    List,
    /// A map of what each value becomes.
    MapValues,
    /// A map of entries that the elements become.
    MapEntries,
    /// A name for a value.
    Bind,
}

/// A fold over a list or a map.
#[derive(Clone, Debug)]
pub struct Comprehension {
    /// What it came from.
    pub kind: FoldKind,
    /// What is gone through.
    pub range: Expr,
    /// The name of the element, key or index.
    pub var: Rc<str>,
    /// The name of the value, where the macro has two variables.
    pub var2: Option<Rc<str>>,
    /// The name of what is accumulated.
    pub accu: Rc<str>,
    /// Its first value.
    pub init: Expr,
    /// Whether to go on.
    pub condition: Expr,
    /// Its next value.
    pub step: Expr,
    /// What comes of it.
    pub result: Expr,
}

/// A parsed expression.
#[derive(Clone, Debug)]
pub struct Ast {
    /// The tree.
    pub root: Expr,
    /// The place of each node.
    pub places: Vec<Offset>,
}

impl Ast {
    /// The place of a node.
    pub fn place(&self, id: Id) -> Offset {
        self.places.get(id as usize).copied().flatten()
    }
}

/// Names of operators, as error messages spell them.
pub mod op {
    #![allow(missing_docs)]
    pub const CONDITIONAL: &str = "_?_:_";
    pub const AND: &str = "_&&_";
    pub const OR: &str = "_||_";
    pub const NOT: &str = "!_";
    pub const NEGATE: &str = "-_";
    pub const EQUALS: &str = "_==_";
    pub const NOT_EQUALS: &str = "_!=_";
    pub const LESS: &str = "_<_";
    pub const LESS_EQUALS: &str = "_<=_";
    pub const GREATER: &str = "_>_";
    pub const GREATER_EQUALS: &str = "_>=_";
    pub const ADD: &str = "_+_";
    pub const SUBTRACT: &str = "_-_";
    pub const MULTIPLY: &str = "_*_";
    pub const DIVIDE: &str = "_/_";
    pub const MODULO: &str = "_%_";
    pub const INDEX: &str = "_[_]";
    pub const OPT_INDEX: &str = "_[?_]";
    pub const OPT_SELECT: &str = "_?._";
    pub const IN: &str = "@in";
    pub const NOT_STRICTLY_FALSE: &str = "@not_strictly_false";
    pub const MAP_INSERT: &str = "cel.@mapInsert";
}

impl Expr {
    /// Visits the nodes right below.
    pub fn children<'e>(&'e self, mut visit: impl FnMut(&'e Expr)) {
        match &self.kind {
            ExprKind::Literal(_) | ExprKind::Ident(_) | ExprKind::Broken => {}
            ExprKind::Select { operand, .. } => visit(operand),
            ExprKind::Call { target, args, .. } => {
                target.as_deref().into_iter().chain(args).for_each(visit);
            }
            ExprKind::List(elements) => elements.iter().for_each(|(element, _)| visit(element)),
            ExprKind::Map(entries) => entries.iter().for_each(|entry| {
                visit(&entry.key);
                visit(&entry.value);
            }),
            ExprKind::Struct { fields, .. } => fields.iter().for_each(|field| visit(&field.value)),
            ExprKind::Comprehension(fold) => {
                let Comprehension { range, init, condition, step, result, .. } = &**fold;
                [range, init, condition, step, result].into_iter().for_each(visit);
            }
        }
    }
}
