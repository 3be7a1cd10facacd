//! From facts to Rust: resolves type expressions, flattens embedded structs, decides names and boxing.

use std::collections::HashMap;

use anyhow::{Context as _, Result, bail};

use super::facts::{Field, Named, Package, Resource, Struct};

/// A resolved type.
#[derive(Debug, Clone, PartialEq)]
pub enum Ty {
    Str,
    Bool,
    I32,
    I64,
    F64,
    Bytes,
    Quantity,
    IntOrString,
    Time,
    MicroTime,
    Duration,
    Raw,
    /// Package id and name.
    Struct(String, String),
    List(Box<Ty>),
    Map(Box<Ty>),
    Ptr(Box<Ty>),
}

/// A field after embedded structs are flattened.
#[derive(Debug, Clone)]
pub struct Flat {
    pub field: Field,
    pub ty: Ty,
    /// Rust field name.
    pub rust: String,
    /// What Go calls the type, outermost layer first: `[]v1.Volume>v1.Volume`.
    pub go_chain: String,
    /// Values allowed by an enumerated string.
    pub values: Vec<String>,
    /// The struct is large enough to be boxed.
    pub boxed: bool,
    /// A named slice that protobuf wraps in a message of its own.
    pub wrapped: bool,
    /// The embedded structs that the field came from, outermost first, joined by dots.
    pub embedded: String,
}

/// A message as protobuf sees it: its own fields, and embedded messages.
#[derive(Debug, Clone)]
pub enum Node {
    Field(Box<Flat>),
    Embedded { go: String, number: u32, nodes: Vec<Node> },
}

/// All facts, indexed.
pub struct Model {
    pub packages: Vec<Package>,
    pub resources: Vec<Resource>,
    structs: HashMap<(String, String), Struct>,
    named: HashMap<(String, String), Named>,
}

/// Structs that hold more bytes than this are boxed inside another struct.
const BOX_ABOVE_BYTES: usize = 160;

/// Declarations that hand-written types replace, or that exist only inside Go programs.
fn is_replaced(package: &str, name: &str) -> bool {
    matches!(
        (package, name),
        ("apiextensions/v1", "JSON") | ("meta/v1", "InternalEvent" | "FieldsV1" | "Patch" | "TableOptions")
    )
}

impl Model {
    pub fn new(mut packages: Vec<Package>, resources: Vec<Resource>) -> Result<Self> {
        let mut structs = HashMap::new();
        let mut named = HashMap::new();
        for p in &mut packages {
            let id = p.id.clone();
            p.structs.retain(|s| !is_replaced(&id, &s.name));
            for s in &p.structs {
                structs.insert((p.id.clone(), s.name.clone()), s.clone());
            }
            for n in &p.named {
                named.insert((p.id.clone(), n.name.clone()), n.clone());
            }
        }
        Ok(Self { packages, resources, structs, named })
    }

    pub fn get(&self, package: &str, name: &str) -> Option<&Struct> {
        self.structs.get(&(package.to_owned(), name.to_owned()))
    }

    fn split<'a>(package: &'a str, ty: &'a str) -> (&'a str, &'a str) {
        ty.rsplit_once('.').unwrap_or((package, ty))
    }

    /// Resolves a type expression used in `package`.
    pub fn resolve(&self, package: &str, ty: &str) -> Result<Ty> {
        if ty == "[]byte" {
            return Ok(Ty::Bytes);
        }
        for (prefix, wrap) in
            [("[]", (|t| Ty::List(Box::new(t))) as fn(Ty) -> Ty), ("*", |t| Ty::Ptr(Box::new(t)))]
        {
            if let Some(rest) = ty.strip_prefix(prefix) {
                return Ok(wrap(self.resolve(package, rest)?));
            }
        }
        if let Some((_, value)) = map_of(ty) {
            return Ok(Ty::Map(Box::new(self.resolve(package, value)?)));
        }
        let (p, name) = Self::split(package, ty);
        Ok(match (p, name) {
            ("types", _) => Ty::Str,
            ("resource", "Quantity") => Ty::Quantity,
            ("intstr", "IntOrString") => Ty::IntOrString,
            ("runtime", "RawExtension") | ("apiextensions/v1", "JSON") | ("meta/v1", "FieldsV1") => Ty::Raw,
            ("meta/v1", "Time") => Ty::Time,
            ("meta/v1", "MicroTime") => Ty::MicroTime,
            ("meta/v1", "Duration") => Ty::Duration,
            (_, "any") => Ty::Raw,
            (_, "string") => Ty::Str,
            (_, "bool") => Ty::Bool,
            (_, "int32") => Ty::I32,
            (_, "int64") => Ty::I64,
            (_, "float64") => Ty::F64,
            _ if self.get(p, name).is_some() => Ty::Struct(p.to_owned(), name.to_owned()),
            _ => {
                let n = self
                    .named
                    .get(&(p.to_owned(), name.to_owned()))
                    .with_context(|| format!("unknown type {ty} in {package}"))?;
                self.resolve(p, &n.ty)?
            }
        })
    }

    /// What Go prints for a type expression.
    fn go_name(package: &str, ty: &str) -> String {
        for prefix in ["[]", "*"] {
            if let Some(rest) = ty.strip_prefix(prefix) {
                return format!("{prefix}{}", Self::go_name(package, rest));
            }
        }
        if let Some((key, value)) = map_of(ty) {
            let key = if key.is_empty() { "string".to_owned() } else { Self::go_name(package, key) };
            return format!("map[{key}]{}", Self::go_name(package, value));
        }
        if ty == "any" {
            return "interface {}".to_owned();
        }
        let (p, name) = Self::split(package, ty);
        if ty == "byte" {
            return "uint8".to_owned();
        }
        if !ty.contains('.') && name.chars().next().is_some_and(char::is_lowercase) {
            return name.to_owned();
        }
        format!("{}.{name}", p.rsplit('/').next().unwrap_or(p))
    }

    fn go_chain(&self, package: &str, ty: &str) -> String {
        let ty = ty.trim_start_matches('*');
        let mut chain = Self::go_name(package, ty);
        let mut inner = (package.to_owned(), ty.to_owned());
        if !ty.starts_with('[') && !ty.starts_with("map") {
            let (p, name) = Self::split(package, ty);
            match self.named.get(&(p.to_owned(), name.to_owned())) {
                Some(n) if n.ty.starts_with('[') || n.ty.starts_with("map") => {
                    inner = (p.to_owned(), n.ty.clone())
                }
                _ => return chain,
            }
        }
        if inner.1 != "[]byte"
            && let Some(element) = inner.1.strip_prefix("[]").or(map_of(&inner.1).map(|map| map.1))
        {
            chain.push('>');
            chain.push_str(&self.go_chain(&inner.0, element));
        }
        chain
    }

    fn values(&self, package: &str, ty: &str) -> Vec<String> {
        let ty = ty.trim_start_matches('*').trim_start_matches("[]");
        let (p, name) = Self::split(package, ty);
        self.named.get(&(p.to_owned(), name.to_owned())).map(|n| n.values.clone()).unwrap_or_default()
    }

    /// A struct's fields in declaration order, embedded ones in place.
    pub fn nodes(&self, package: &str, s: &Struct) -> Result<Vec<Node>> {
        let mut nodes = Vec::new();
        for field in &s.fields {
            if field.inline {
                let Ty::Struct(p, name) = self.resolve(package, &field.ty)? else {
                    bail!("{}.{}: only structs can be embedded", s.name, field.go)
                };
                let inner = self.get(&p, &name).context("resolved")?;
                let inner = self.nodes(&p, inner)?;
                nodes.push(Node::Embedded { go: field.go.clone(), number: field.number, nodes: inner });
                continue;
            }
            let mut ty = self.resolve(package, &field.ty)?;
            if let Ty::Ptr(inner) = &ty
                && matches!(**inner, Ty::List(_) | Ty::Map(_) | Ty::Bytes)
            {
                ty = (**inner).clone();
            }
            let boxed = match &ty {
                Ty::Struct(p, n) => {
                    n != "ObjectMeta" && self.size(&Ty::Struct(p.clone(), n.clone()))? > BOX_ABOVE_BYTES
                }
                _ => false,
            };
            nodes.push(Node::Field(Box::new(Flat {
                rust: rust_name(&field.json),
                go_chain: self.go_chain(package, &field.ty),
                values: self.values(package, &field.ty),
                wrapped: matches!(ty, Ty::List(_))
                    && !field.ty.contains("[]")
                    && !field.repeated
                    && field.number != 0,
                boxed,
                ty,
                embedded: String::new(),
                field: field.clone(),
            })));
        }
        Ok(nodes)
    }

    /// All fields of a struct, flattened, in JSON order.
    pub fn flat(&self, package: &str, s: &Struct) -> Result<Vec<Flat>> {
        fn walk(nodes: Vec<Node>, embedded: &str, out: &mut Vec<Flat>) {
            for n in nodes {
                match n {
                    Node::Field(f) => out.push(Flat { embedded: embedded.to_owned(), ..*f }),
                    Node::Embedded { go, nodes, .. } if embedded.is_empty() => walk(nodes, &go, out),
                    Node::Embedded { go, nodes, .. } => walk(nodes, &format!("{embedded}.{go}"), out),
                }
            }
        }
        let mut out = Vec::new();
        walk(self.nodes(package, s)?, "", &mut out);
        Ok(out)
    }

    /// Bytes a value takes on a 64-bit machine, near enough to decide what to box.
    fn size(&self, ty: &Ty) -> Result<usize> {
        Ok(match ty {
            Ty::Str | Ty::Quantity => 16,
            Ty::Bool => 1,
            Ty::I32 => 4,
            Ty::I64 | Ty::F64 | Ty::Duration | Ty::List(_) | Ty::Map(_) => 8,
            Ty::IntOrString | Ty::Bytes | Ty::MicroTime => 24,
            Ty::Raw | Ty::Time => 16,
            Ty::Ptr(inner) => match &**inner {
                Ty::Struct(..) => 8,
                Ty::Bool => 1,
                other => self.size(other)? + 8,
            },
            Ty::Struct(p, n) => {
                let s = self.get(p, n).with_context(|| format!("{p}.{n}"))?;
                let mut sum = 0;
                for f in self.flat(p, s)? {
                    sum += if f.boxed { 8 } else { self.size(&f.ty)? };
                }
                sum
            }
        })
    }

    /// The metadata type of a kind: `ObjectMeta`, `ListMeta` or none.
    pub fn metadata_of(&self, package: &str, s: &Struct) -> Result<Option<String>> {
        if !s.type_meta {
            return Ok(None);
        }
        for f in &s.fields {
            if f.json == "metadata"
                && let Ty::Struct(_, name) = self.resolve(package, &f.ty)?
            {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// The element struct of a list kind's `items`.
    pub fn item_of(&self, package: &str, s: &Struct) -> Result<Option<(String, String)>> {
        if self.metadata_of(package, s)?.as_deref() != Some("ListMeta") {
            return Ok(None);
        }
        for f in &s.fields {
            if f.json == "items"
                && let Ty::List(inner) = self.resolve(package, &f.ty)?
                && let Ty::Struct(p, n) = *inner
            {
                return Ok(Some((p, n)));
            }
        }
        Ok(None)
    }
}

/// `podCIDRs` → `pod_cidrs`, `type` → `type_`, `$ref` → `ref_`, `x-kubernetes-map-type` → `x_kubernetes_map_type`.
pub fn rust_name(json: &str) -> String {
    let name = snake(json.trim_start_matches('$'));
    const KEYWORDS: &[&str] = &[
        "as", "async", "await", "box", "break", "const", "continue", "crate", "do", "dyn", "else", "enum",
        "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match",
        "mod", "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static", "struct",
        "super", "trait", "true", "try", "type", "typeof", "unsafe", "unsized", "use", "virtual", "where",
        "while", "yield", "abstract", "become",
    ];
    if KEYWORDS.contains(&name.as_str()) || json.starts_with('$') { format!("{name}_") } else { name }
}

/// Snake case in which a run of capitals, with a plural `s`, is one word.
pub fn snake(name: &str) -> String {
    let chars: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (i, &c) in chars.iter().enumerate() {
        if matches!(c, '-' | '.' | '_') {
            out.push('_');
            continue;
        }
        if c.is_ascii_uppercase() && i > 0 && chars[i - 1].is_ascii_alphanumeric() {
            let before_lower = !chars[i - 1].is_ascii_uppercase();
            let plural =
                chars.get(i + 1) == Some(&'s') && chars.get(i + 2).is_none_or(|c| c.is_ascii_uppercase());
            let starts_word = chars.get(i + 1).is_some_and(|n| n.is_ascii_lowercase()) && !plural;
            if before_lower || starts_word {
                out.push('_');
            }
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// The key's type, empty for strings, and the value's of a map's type expression.
fn map_of(ty: &str) -> Option<(&str, &str)> {
    ty.strip_prefix("map[")?.split_once(']')
}
