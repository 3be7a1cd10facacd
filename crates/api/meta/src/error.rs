//! Decoding errors with the texts that Go's decoders print, and the bookkeeping of strict decoding.

use std::fmt;

use crate::TypeInfo;

/// Why a document could not be decoded. Displays exactly as upstream prints it, without the
/// `Pod in version "v1" cannot be handled as a Pod:` that the request handler puts in front.
#[derive(Clone, PartialEq, Eq)]
pub struct DecodeError(Box<Kind>);

#[derive(Clone, PartialEq, Eq)]
enum Kind {
    /// Text and where in the document.
    Syntax(String, usize),
    Type(TypeMismatch),
    Text(String),
}

#[derive(Clone, PartialEq, Eq)]
struct TypeMismatch {
    /// `string`, `number 2.5`, `object`, ...
    found: String,
    /// Go type name when the decoder that failed knows better than the field table.
    go: Option<&'static str>,
    /// Lists and maps entered below the innermost struct field.
    layers: usize,
    struct_name: Option<&'static str>,
    /// Field names, innermost first.
    path: Vec<&'static str>,
}

impl DecodeError {
    /// Malformed JSON; `offset` counts bytes.
    pub fn syntax(text: impl Into<String>, offset: usize) -> Self {
        Self(Box::new(Kind::Syntax(text.into(), offset)))
    }

    /// Any other failure, with its whole text.
    pub fn text(text: impl Into<String>) -> Self {
        Self(Box::new(Kind::Text(text.into())))
    }

    /// A value of the wrong JSON type.
    pub(crate) fn mismatch(found: String, go: Option<&'static str>) -> Self {
        Self(Box::new(Kind::Type(TypeMismatch { found, go, layers: 0, struct_name: None, path: Vec::new() })))
    }

    /// Malformed JSON, rather than well-formed JSON of the wrong shape.
    pub fn is_syntax(&self) -> bool {
        matches!(*self.0, Kind::Syntax(..))
    }

    /// The document ended too early.
    pub fn is_eof(&self) -> bool {
        matches!(&*self.0, Kind::Syntax(text, _) if text == "unexpected end of JSON input")
    }

    /// The error happened inside an element of a list or map.
    #[cold]
    pub(crate) fn in_element(mut self) -> Self {
        if let Kind::Type(t) = &mut *self.0
            && t.struct_name.is_none()
        {
            t.layers += 1;
        }
        self
    }

    /// The error happened inside this field.
    #[cold]
    pub(crate) fn in_field(mut self, info: &'static TypeInfo, index: usize) -> Self {
        if let Kind::Type(t) = &mut *self.0
            && let Some(field) = info.fields.get(index)
        {
            if t.struct_name.is_none() {
                t.struct_name = Some(info.name);
                if t.go.is_none() {
                    t.go = field.go.split('>').nth(t.layers).or_else(|| field.go.split('>').next_back());
                }
            }
            t.path.push(field.name);
            if !field.embedded.is_empty() {
                t.path.push(field.embedded);
            }
        }
        self
    }

    /// The error happened inside a field that no table lists.
    #[cold]
    pub(crate) fn in_named_field(mut self, struct_name: &'static str, field: &'static str) -> Self {
        if let Kind::Type(t) = &mut *self.0 {
            t.struct_name.get_or_insert(struct_name);
            t.path.push(field);
        }
        self
    }

    /// The error reached the top of the document.
    #[cold]
    pub(crate) fn at_top(mut self, go: &'static str) -> Self {
        if let Kind::Type(t) = &mut *self.0
            && t.struct_name.is_none()
            && t.go.is_none()
        {
            t.go = Some(go);
        }
        self
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Kind::Syntax(text, _) | Kind::Text(text) => f.write_str(text),
            Kind::Type(t) => {
                let go = t.go.unwrap_or("interface {}");
                match t.struct_name {
                    None => write!(f, "json: cannot unmarshal {} into Go value of type {go}", t.found),
                    Some(name) => {
                        write!(f, "json: cannot unmarshal {} into Go struct field {name}.", t.found)?;
                        for (i, part) in t.path.iter().rev().enumerate() {
                            write!(f, "{}{part}", if i == 0 { "" } else { "." })?;
                        }
                        write!(f, " of type {go}")
                    }
                }
            }
        }
    }
}

impl fmt::Debug for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DecodeError({:?})", self.to_string())
    }
}

impl std::error::Error for DecodeError {}

/// The request's `fieldValidation` parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FieldValidation {
    /// Unknown and duplicate fields pass silently.
    Ignore,
    /// They become warnings (the server's default).
    #[default]
    Warn,
    /// They refuse the request.
    Strict,
}

impl FieldValidation {
    /// Reads the parameter; empty means the default. `None` for any other text.
    pub fn parse(s: &str) -> Option<Self> {
        match s {
            "" | "Warn" => Some(Self::Warn),
            "Ignore" => Some(Self::Ignore),
            "Strict" => Some(Self::Strict),
            _ => None,
        }
    }
}

/// What to watch for while decoding, and what was seen.
#[derive(Debug, Default, Clone)]
pub struct DecodeContext {
    /// How unknown and duplicate fields are treated.
    pub validation: FieldValidation,
    /// Findings such as `unknown field "spec.foo"` and `duplicate field "spec.x"`, in document order, each once, at
    /// most 100. Empty when the validation is `Ignore`.
    pub findings: Vec<String>,
    /// The document was read before and is only made a typed object now, as an apply or a strategic patch makes one.
    /// Upstream's converter then cuts off the high bits of numbers that a field is too small for, and keeps nulls.
    pub converted: bool,
}

/// Upstream stops recording after this many.
const FINDINGS_MAX: usize = 100;

impl DecodeContext {
    /// A context with nothing found yet.
    pub fn new(validation: FieldValidation) -> Self {
        Self { validation, findings: Vec::new(), converted: false }
    }

    /// Unknown and duplicate fields pass silently.
    pub fn lenient() -> Self {
        Self::new(FieldValidation::Ignore)
    }

    /// Unknown and duplicate fields are recorded.
    pub fn strict() -> Self {
        Self::new(FieldValidation::Strict)
    }

    /// Records a finding unless it is known already.
    pub fn record(&mut self, finding: String) {
        if self.findings.len() < FINDINGS_MAX && !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }

    /// With `Strict`, the error that refuses the request: `strict decoding error: unknown field "x", ...`.
    pub fn strict_error(&self) -> Option<DecodeError> {
        (self.validation == FieldValidation::Strict && !self.findings.is_empty())
            .then(|| DecodeError::text(format!("strict decoding error: {}", self.findings.join(", "))))
    }
}
