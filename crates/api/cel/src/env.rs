//! What an expression may name: variables with their types, and which extras are on.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::check;
use crate::cost;
use crate::eval::plan;
use crate::library::{self, Function};
use crate::parser::{self, Macros};
use crate::program::Program;
use crate::schema::{DeclKind, DeclType};
use crate::source::CompileError;
use crate::types::Type;

/// The surroundings of an expression.
#[derive(Clone, Debug, Default)]
pub struct Env {
    variables: BTreeMap<Arc<str>, Variable>,
    objects: HashMap<Arc<str>, Arc<DeclType>>,
    mutations: bool,
    bind: bool,
}

/// A variable.
#[derive(Clone, Debug)]
pub(crate) struct Variable {
    pub ty: Type,
    /// What its schema says, where it has one.
    pub declared: Option<Arc<DeclType>>,
}

/// Types that expressions can name.
const TYPE_NAMES: [(&str, Type); 11] = [
    ("bool", Type::Bool),
    ("int", Type::Int),
    ("uint", Type::Uint),
    ("double", Type::Double),
    ("string", Type::String),
    ("bytes", Type::Bytes),
    ("null_type", Type::Null),
    ("google.protobuf.Timestamp", Type::Timestamp),
    ("google.protobuf.Duration", Type::Duration),
    ("dyn", Type::Dyn),
    ("type", Type::Type(None)),
];

/// Types of libraries that expressions can name.
const LIBRARY_TYPES: [&str; 11] = [
    "net.IP",
    "net.CIDR",
    "kubernetes.Quantity",
    "kubernetes.URL",
    "kubernetes.Semver",
    "kubernetes.NamedFormat",
    "kubernetes.authorization.Authorizer",
    "kubernetes.authorization.PathCheck",
    "kubernetes.authorization.GroupCheck",
    "kubernetes.authorization.ResourceCheck",
    "kubernetes.authorization.Decision",
];

impl Env {
    /// Without variables.
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more variable.
    pub fn variable(mut self, name: &str, ty: Type) -> Self {
        self.variables.insert(name.into(), Variable { ty, declared: None });
        self
    }

    /// With one more variable, of a type that a schema declares. Objects in it are named `type_name` and, further inside,
    /// after their place, as messages show them.
    pub fn declared(self, name: &str, type_name: &str, declared: Arc<DeclType>) -> Self {
        self.declared_as(name, type_name, declared, |ty| ty)
    }

    /// With one more variable whose type is made of a declared one: `Type::optional` for `oldSelf`.
    pub fn declared_as(
        mut self,
        name: &str,
        type_name: &str,
        declared: Arc<DeclType>,
        wrap: impl FnOnce(Type) -> Type,
    ) -> Self {
        let ty = wrap(declared.cel_type(type_name));
        self.register(type_name, &declared);
        self.variables.insert(name.into(), Variable { ty, declared: Some(declared) });
        self
    }

    /// With `Object{...}` and `JSONPatch{...}`, for policies that mutate.
    pub fn with_mutations(mut self) -> Self {
        self.mutations = true;
        self
    }

    /// With `cel.bind(name, value, expression)`.
    pub fn with_bind(mut self) -> Self {
        self.bind = true;
        self
    }

    fn register(&mut self, name: &str, declared: &Arc<DeclType>) {
        match &declared.kind {
            DeclKind::List(element, _) => self.register(&format!("{name}.@idx"), element),
            DeclKind::Map(value) => self.register(&format!("{name}.@elem"), value),
            DeclKind::Object(fields) => {
                for (field, inner) in fields {
                    self.register(&format!("{name}.{field}"), &inner.ty);
                }
                self.objects.insert(name.into(), declared.clone());
            }
            _ => {}
        }
    }

    /// The declared type of a variable, through which its values are to be seen.
    pub fn declared_type(&self, variable: &str) -> Option<&Arc<DeclType>> {
        self.variables.get(variable)?.declared.as_ref()
    }

    /// Parses and checks an expression.
    pub fn compile(&self, source: &str) -> Result<Program, CompileError> {
        let ast = parser::parse(source, Macros { bind: self.bind })?;
        let checked = check::check(self, source, &ast)?;
        let cost = cost::estimate(self, &ast, &checked);
        let result = checked.type_of(&ast.root);
        let plan = plan::plan(self, &ast, &checked)?;
        Ok(Program { source: source.into(), result, cost, plan })
    }

    pub(crate) fn lookup(&self, name: &str) -> Option<&Variable> {
        self.variables.get(name)
    }

    pub(crate) fn function(&self, name: &str) -> Option<&'static Function> {
        library::find(name).filter(|function| self.mutations || !function.name.starts_with("jsonpatch."))
    }

    /// The type that a name means.
    pub(crate) fn type_named(&self, name: &str) -> Option<Type> {
        let simple = TYPE_NAMES.iter().find(|(known, _)| *known == name).map(|(_, ty)| ty.clone());
        simple.or_else(|| LIBRARY_TYPES.contains(&name).then(|| Type::opaque(name))).or_else(|| match name {
            "list" => Some(Type::list(Type::Dyn)),
            "map" => Some(Type::map(Type::Dyn, Type::Dyn)),
            "optional_type" => Some(Type::optional(Type::Dyn)),
            _ => self.is_struct(name).then(|| Type::Object(name.into())),
        })
    }

    fn is_struct(&self, name: &str) -> bool {
        self.mutations && (name == "Object" || name == "JSONPatch" || name.starts_with("Object."))
    }

    /// The type of a field of an object type; `None` when it has none of that name.
    pub(crate) fn field_type(&self, object: &str, field: &str) -> Option<Type> {
        if self.is_struct(object) {
            return match (object, field) {
                ("JSONPatch", "op" | "path" | "from") => Some(Type::String),
                ("JSONPatch", "value") => Some(Type::Dyn),
                // Upstream knows of no field of that name either, but of its type, which has no name.
                ("JSONPatch", _) => Some(Type::opaque("")),
                // Any field: whether the kind has it shows when the configuration is applied.
                _ => Some(Type::Dyn),
            };
        }
        let inner = self.objects.get(object)?.part(field)?;
        Some(inner.cel_type(&format!("{object}.{field}")))
    }
}
