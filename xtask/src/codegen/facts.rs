//! The fact table: what a kind's Go declaration says, one line a field, no prose.
//!
//! `xtask facts` writes it from Go sources and discovery documents, `xtask codegen` reads it. The line formats are
//! documented at [`Package::render`] and [`Resource::render`]; unknown attributes are an error, so that a typo in
//! the table cannot go unnoticed.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail};

/// One Go package that holds API types.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Package {
    /// `core/v1`, `meta/v1`: the last two path elements.
    pub id: String,
    /// API group, empty for the core group.
    pub group: String,
    /// `v1`, `v2`, ...
    pub version: String,
    /// Prefix of OpenAPI model names: `io.k8s.api.core.v1`.
    pub model: String,
    /// Named types that are not structs.
    pub named: Vec<Named>,
    /// Structs, in source order.
    pub structs: Vec<Struct>,
}

/// A named string, slice or map type.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Named {
    pub name: String,
    /// Underlying type expression.
    pub ty: String,
    /// Values of a `+enum` string.
    pub values: Vec<String>,
}

/// One Go struct.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Struct {
    pub name: String,
    /// Carries `kind` and `apiVersion`.
    pub type_meta: bool,
    /// `+structType=atomic`.
    pub atomic: bool,
    /// `+resourceName=`, for APIs whose kinds and resources differ in name.
    pub resource: String,
    /// `+genclient:nonNamespaced`.
    pub cluster_scoped: bool,
    pub fields: Vec<Field>,
}

/// One field of a struct.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Field {
    /// JSON name; empty when the field is embedded inline.
    pub json: String,
    /// Go name.
    pub go: String,
    /// Type expression with packages spelled as ids: `[]core/v1.Container`.
    pub ty: String,
    /// Protobuf field number, 0 when the field has none.
    pub number: u32,
    pub inline: bool,
    pub omitempty: bool,
    pub omitzero: bool,
    pub optional: bool,
    pub required: bool,
    /// The protobuf tag says `rep`.
    pub repeated: bool,
    pub patch_strategy: String,
    pub merge_key: String,
    pub list_type: String,
    pub list_keys: Vec<String>,
    pub map_type: String,
    pub default: String,
    /// `json:"-"`, but with a protobuf number.
    pub no_json: bool,
}

impl Package {
    /// Writes the package as fact lines:
    ///
    /// ```text
    /// package core/v1 group= version=v1 model=io.k8s.api.core.v1
    /// named Protocol string SCTP|TCP|UDP
    /// struct PodSpec [typemeta] [atomic] [cluster] [resource=x]
    ///  volumes Volumes []Volume 1 omitempty optional patch=merge,retainKeys key=name list=map keys=name
    /// ```
    pub fn render(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(
            out,
            "package {} group={} version={} model={}",
            self.id, self.group, self.version, self.model
        );
        for n in &self.named {
            let _ = write!(out, "named {} {}", n.name, n.ty);
            if !n.values.is_empty() {
                let _ = write!(out, " {}", n.values.join("|"));
            }
            out.push('\n');
        }
        for s in &self.structs {
            let _ = write!(out, "struct {}", s.name);
            for (on, word) in [(s.type_meta, "typemeta"), (s.atomic, "atomic"), (s.cluster_scoped, "cluster")]
            {
                if on {
                    let _ = write!(out, " {word}");
                }
            }
            if !s.resource.is_empty() {
                let _ = write!(out, " resource={}", s.resource);
            }
            out.push('\n');
            for f in &s.fields {
                f.render(&mut out);
            }
        }
        out
    }

    /// Reads what [`Package::render`] wrote.
    pub fn parse(text: &str) -> Result<Self> {
        let mut p = Package::default();
        for (n, line) in text.lines().enumerate() {
            let at = || format!("line {}: {line}", n + 1);
            if let Some(field) = line.strip_prefix(' ') {
                let s = p.structs.last_mut().with_context(at)?;
                s.fields.push(Field::parse(field).with_context(at)?);
                continue;
            }
            let mut words = line.split_whitespace();
            match words.next() {
                Some("package") => {
                    p.id = words.next().with_context(at)?.to_owned();
                    for w in words {
                        match w.split_once('=') {
                            Some(("group", v)) => p.group = v.to_owned(),
                            Some(("version", v)) => p.version = v.to_owned(),
                            Some(("model", v)) => p.model = v.to_owned(),
                            _ => bail!("unknown attribute {w} in {}", at()),
                        }
                    }
                }
                Some("named") => p.named.push(Named {
                    name: words.next().with_context(at)?.to_owned(),
                    ty: words.next().with_context(at)?.to_owned(),
                    values: match words.collect::<Vec<_>>().join(" ") {
                        none if none.is_empty() => Vec::new(),
                        some => some.split('|').map(str::to_owned).collect(),
                    },
                }),
                Some("struct") => {
                    let mut s =
                        Struct { name: words.next().with_context(at)?.to_owned(), ..Struct::default() };
                    for w in words {
                        match w {
                            "typemeta" => s.type_meta = true,
                            "atomic" => s.atomic = true,
                            "cluster" => s.cluster_scoped = true,
                            _ => match w.strip_prefix("resource=") {
                                Some(r) => s.resource = r.to_owned(),
                                None => bail!("unknown attribute {w} in {}", at()),
                            },
                        }
                    }
                    p.structs.push(s);
                }
                None => {}
                Some(w) if w.starts_with('#') => {}
                Some(_) => bail!("unknown line {}", at()),
            }
        }
        Ok(p)
    }
}

impl Field {
    fn render(&self, out: &mut String) {
        let json = match (self.inline, self.no_json) {
            (true, _) => "~",
            (_, true) => "-",
            _ => &self.json,
        };
        let _ = write!(out, " {json} {} {} {}", self.go, self.ty, self.number);
        for (on, word) in [
            (self.omitempty, "omitempty"),
            (self.omitzero, "omitzero"),
            (self.optional, "optional"),
            (self.required, "required"),
            (self.repeated, "rep"),
        ] {
            if on {
                let _ = write!(out, " {word}");
            }
        }
        for (key, value) in [
            ("patch", &self.patch_strategy),
            ("key", &self.merge_key),
            ("list", &self.list_type),
            ("keys", &self.list_keys.join(",")),
            ("map", &self.map_type),
            ("default", &self.default),
        ] {
            if !value.is_empty() {
                let _ = write!(out, " {key}={value}");
            }
        }
        out.push('\n');
    }

    fn parse(line: &str) -> Result<Self> {
        let mut words = line.split(' ');
        let mut next = || words.next().context("short line");
        let mut f = Field::default();
        match next()? {
            "~" => f.inline = true,
            "-" => f.no_json = true,
            json => f.json = json.to_owned(),
        }
        f.go = next()?.to_owned();
        f.ty = next()?.to_owned();
        f.number = next()?.parse()?;
        let rest: Vec<&str> = words.collect();
        for (i, w) in rest.iter().enumerate() {
            match *w {
                "omitempty" => f.omitempty = true,
                "omitzero" => f.omitzero = true,
                "optional" => f.optional = true,
                "required" => f.required = true,
                "rep" => f.repeated = true,
                _ => match w.split_once('=') {
                    Some(("patch", v)) => f.patch_strategy = v.to_owned(),
                    Some(("key", v)) => f.merge_key = v.to_owned(),
                    Some(("list", v)) => f.list_type = v.to_owned(),
                    Some(("keys", v)) => f.list_keys = v.split(',').map(str::to_owned).collect(),
                    Some(("map", v)) => f.map_type = v.to_owned(),
                    Some(("default", _)) => {
                        // The default is the last attribute and may hold spaces.
                        let all = rest[i..].join(" ");
                        f.default = all["default=".len()..].to_owned();
                        return Ok(f);
                    }
                    _ => bail!("unknown attribute {w}"),
                },
            }
        }
        Ok(f)
    }
}

/// One served resource, from discovery.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Resource {
    pub group: String,
    pub version: String,
    pub plural: String,
    pub singular: String,
    pub kind: String,
    pub namespaced: bool,
    pub verbs: Vec<String>,
    pub short_names: Vec<String>,
    pub categories: Vec<String>,
    pub subresources: Vec<Subresource>,
}

/// One subresource of a [`Resource`].
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Subresource {
    pub name: String,
    pub group: String,
    pub version: String,
    pub kind: String,
    pub verbs: Vec<String>,
}

fn list(values: &[String]) -> String {
    if values.is_empty() { "-".to_owned() } else { values.join(",") }
}

fn unlist(value: &str) -> Vec<String> {
    if value == "-" { Vec::new() } else { value.split(',').map(str::to_owned).collect() }
}

impl Resource {
    /// Writes `resource GROUP VERSION PLURAL SINGULAR KIND SCOPE VERBS SHORT CATEGORIES` and, indented, one
    /// `NAME GROUP VERSION KIND VERBS` line a subresource; `-` stands for empty.
    pub fn render(&self, out: &mut String) {
        let dash = |s: &str| if s.is_empty() { "-".to_owned() } else { s.to_owned() };
        let _ = writeln!(
            out,
            "resource {} {} {} {} {} {} {} {} {}",
            dash(&self.group),
            self.version,
            self.plural,
            self.singular,
            self.kind,
            if self.namespaced { "namespaced" } else { "cluster" },
            list(&self.verbs),
            list(&self.short_names),
            list(&self.categories),
        );
        for s in &self.subresources {
            let _ = writeln!(
                out,
                " {} {} {} {} {}",
                s.name,
                dash(&s.group),
                dash(&s.version),
                s.kind,
                list(&s.verbs)
            );
        }
    }

    /// Reads the whole table.
    pub fn parse_all(text: &str) -> Result<Vec<Self>> {
        let mut all: Vec<Resource> = Vec::new();
        for line in text.lines().filter(|l| !l.starts_with('#') && !l.is_empty()) {
            let w: Vec<&str> = line.split_whitespace().collect();
            let undash = |s: &str| if s == "-" { String::new() } else { s.to_owned() };
            match w[..] {
                ["resource", group, version, plural, singular, kind, scope, verbs, short, categories] => {
                    all.push(Resource {
                        group: undash(group),
                        version: version.to_owned(),
                        plural: plural.to_owned(),
                        singular: singular.to_owned(),
                        kind: kind.to_owned(),
                        namespaced: scope == "namespaced",
                        verbs: unlist(verbs),
                        short_names: unlist(short),
                        categories: unlist(categories),
                        subresources: Vec::new(),
                    });
                }
                [name, group, version, kind, verbs] => {
                    all.last_mut().context("subresource before any resource")?.subresources.push(
                        Subresource {
                            name: name.to_owned(),
                            group: undash(group),
                            version: undash(version),
                            kind: kind.to_owned(),
                            verbs: unlist(verbs),
                        },
                    );
                }
                _ => bail!("cannot read line {line}"),
            }
        }
        Ok(all)
    }
}
