//! Label selectors: parsed from query parameters (`a=b,c in (x,y),!d`) or built from [`LabelSelector`], and matched
//! against label maps. Grammar and messages are upstream's `labels` package.

use std::fmt;

use super::SelectorError;
use super::lexer::{Token, scan};
use crate::v1::LabelSelector;
use crate::{BadValue, FieldError, FieldPath, List, Map, Str, aggregate_message, format, go_quote};

/// How a key relates to values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operator {
    /// One of the values.
    In,
    /// Absent or none of the values.
    NotIn,
    /// `=`
    Equals,
    /// `==`
    DoubleEquals,
    /// `!=`
    NotEquals,
    /// Present.
    Exists,
    /// Absent.
    DoesNotExist,
    /// A larger integer.
    GreaterThan,
    /// A smaller integer.
    LessThan,
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Requirement {
    /// Label key.
    pub key: Str,
    /// Relation.
    pub operator: Operator,
    /// Values, sorted when they come from text.
    pub values: List<Str>,
}

/// A conjunction of requirements, or nothing at all.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Selector {
    requirements: Vec<Requirement>,
    matches_nothing: bool,
}

impl Default for Selector {
    fn default() -> Self {
        Self::everything()
    }
}

impl Requirement {
    /// Checks and builds a requirement.
    pub fn new(key: impl Into<Str>, operator: Operator, values: List<Str>) -> Result<Self, SelectorError> {
        let key = key.into();
        let mut errors = Vec::new();
        let root = FieldPath::root();
        let key_errors = format::label_key(&key);
        if !key_errors.is_empty() {
            errors.push(FieldError::invalid(&root.child("key"), &key, key_errors.join("; ")));
        }
        let path = root.child("values");
        let problem = match operator {
            Operator::In | Operator::NotIn if values.is_empty() => {
                Some("for 'in', 'notin' operators, values set can't be empty")
            }
            Operator::Equals | Operator::DoubleEquals | Operator::NotEquals if values.len() != 1 => {
                Some("exact-match compatibility requires one single value")
            }
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                Some("values set must be empty for exists and does not exist")
            }
            Operator::GreaterThan | Operator::LessThan if values.len() != 1 => {
                Some("for 'Gt', 'Lt' operators, exactly one value is required")
            }
            _ => None,
        };
        if let Some(problem) = problem {
            let shown =
                if values.is_empty() { BadValue::Plain("[]".to_owned()) } else { BadValue::of(&values) };
            errors.push(FieldError::invalid(&path, shown, problem));
        }
        if matches!(operator, Operator::GreaterThan | Operator::LessThan) {
            for (i, v) in values.iter().enumerate().filter(|(_, v)| v.parse::<i64>().is_err()) {
                let text = "for 'Gt', 'Lt' operators, the value must be an integer";
                errors.push(FieldError::invalid(&path.index(i), v, text));
            }
        }
        for (i, v) in values.iter().enumerate() {
            let found = format::label_value(v);
            if !found.is_empty() {
                errors.push(FieldError::invalid(&path.index(i).key(key.clone()), v, found.join("; ")));
            }
        }
        if errors.is_empty() {
            return Ok(Self { key, operator, values });
        }
        Err(SelectorError(aggregate_message(errors.iter().map(ToString::to_string))))
    }

    /// Whether labels meet the requirement.
    pub fn matches(&self, labels: &Map<Str>) -> bool {
        let value = labels.get(&self.key);
        let listed = |v: &Str| self.values.contains(v);
        match self.operator {
            Operator::In | Operator::Equals | Operator::DoubleEquals => value.is_some_and(listed),
            Operator::NotIn | Operator::NotEquals => !value.is_some_and(listed),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan | Operator::LessThan => {
                let number = |s: Option<&Str>| s.and_then(|s| s.parse::<i64>().ok());
                match (number(value), number(self.values.first())) {
                    (Some(a), Some(b)) if self.operator == Operator::GreaterThan => a > b,
                    (Some(a), Some(b)) => a < b,
                    _ => false,
                }
            }
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.operator == Operator::DoesNotExist {
            f.write_str("!")?;
        }
        f.write_str(&self.key)?;
        f.write_str(match self.operator {
            Operator::Equals => "=",
            Operator::DoubleEquals => "==",
            Operator::NotEquals => "!=",
            Operator::In => " in ",
            Operator::NotIn => " notin ",
            Operator::GreaterThan => ">",
            Operator::LessThan => "<",
            Operator::Exists | Operator::DoesNotExist => return Ok(()),
        })?;
        let mut values: Vec<&str> = self.values.iter().map(Str::as_str).collect();
        values.sort_unstable();
        let set = matches!(self.operator, Operator::In | Operator::NotIn);
        write!(f, "{}{}{}", if set { "(" } else { "" }, values.join(","), if set { ")" } else { "" })
    }
}

impl Selector {
    /// Matches all labels.
    pub fn everything() -> Self {
        Self { requirements: Vec::new(), matches_nothing: false }
    }

    /// Matches no labels.
    pub fn nothing() -> Self {
        Self { requirements: Vec::new(), matches_nothing: true }
    }

    /// Reads a query parameter.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut parser = Parser { tokens: scan(text), at: 0 };
        let mut requirements = parser.selector().map_err(SelectorError)?;
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Self { requirements, matches_nothing: false })
    }

    /// All of these labels, unchecked.
    pub fn from_labels(labels: &Map<Str>) -> Self {
        let requirements = labels
            .iter()
            .map(|(k, v)| Requirement {
                key: k.clone(),
                operator: Operator::Equals,
                values: List::from_iter([v.clone()]),
            })
            .collect();
        Self { requirements, matches_nothing: false }
    }

    /// From the API type. An absent selector matches nothing, an empty one everything.
    pub fn from_label_selector(selector: Option<&LabelSelector>) -> Result<Self, SelectorError> {
        let Some(selector) = selector else { return Ok(Self::nothing()) };
        let mut requirements = Vec::new();
        for (k, v) in &selector.match_labels {
            requirements.push(Requirement::new(k.clone(), Operator::Equals, List::from_iter([v.clone()]))?);
        }
        for e in &selector.match_expressions {
            let operator = match e.operator.as_str() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => {
                    return Err(SelectorError(format!(
                        "{} is not a valid label selector operator",
                        go_quote(other)
                    )));
                }
            };
            requirements.push(Requirement::new(e.key.clone(), operator, e.values.clone())?);
        }
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Self { requirements, matches_nothing: false })
    }

    /// Adds a requirement.
    pub fn with(mut self, requirement: Requirement) -> Self {
        self.requirements.push(requirement);
        self
    }

    /// The requirements, all of which must hold.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Matches whatever comes.
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty() && !self.matches_nothing
    }

    /// Whether labels meet all requirements.
    pub fn matches(&self, labels: &Map<Str>) -> bool {
        !self.matches_nothing && self.requirements.iter().all(|r| r.matches(labels))
    }

    /// The only value the selector allows for a key, if there is one.
    pub fn exact_value(&self, key: &str) -> Option<&str> {
        let r = self.requirements.iter().find(|r| r.key == key)?;
        match (r.operator, &r.values[..]) {
            (Operator::Equals | Operator::DoubleEquals | Operator::In, [one]) => Some(one),
            _ => None,
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, r) in self.requirements.iter().enumerate() {
            write!(f, "{}{r}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

struct Parser {
    tokens: Vec<(Token, String)>,
    at: usize,
}

/// `in` and `notin` are ordinary words where a key or a value is expected.
fn as_value(token: Token) -> Token {
    if matches!(token, Token::In | Token::NotIn) { Token::Identifier } else { token }
}

impl Parser {
    /// The end token is never passed, so a position is always valid.
    fn peek(&self) -> (Token, &str) {
        let at = self.at.min(self.tokens.len() - 1);
        let (token, text) = &self.tokens[at];
        (*token, text)
    }

    fn next(&mut self) -> (Token, String) {
        let (token, text) = self.peek();
        let out = (token, text.to_owned());
        self.at += 1;
        out
    }

    fn next_value(&mut self) -> (Token, String) {
        let (token, text) = self.next();
        (as_value(token), text)
    }

    fn selector(&mut self) -> Result<Vec<Requirement>, String> {
        let mut out = Vec::new();
        loop {
            let (token, text) = self.peek();
            match as_value(token) {
                Token::Identifier | Token::Not => {
                    out.push(self.requirement().map_err(|e| format!("unable to parse requirement: {e}"))?);
                    match self.next_value() {
                        (Token::End, _) => return Ok(out),
                        (Token::Comma, _) => {
                            let (token, text) = self.peek();
                            if !matches!(as_value(token), Token::Identifier | Token::Not) {
                                return Err(format!("found '{text}', expected: identifier after ','"));
                            }
                        }
                        (_, text) => return Err(format!("found '{text}', expected: ',' or 'end of string'")),
                    }
                }
                Token::End => return Ok(out),
                _ => return Err(format!("found '{text}', expected: !, identifier, or 'end of string'")),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let (mut token, mut key) = self.next_value();
        let absent = token == Token::Not;
        if absent {
            (token, key) = self.next_value();
        }
        if token != Token::Identifier {
            return Err(format!("found '{key}', expected: identifier"));
        }
        let errors = format::label_key(&key);
        if !errors.is_empty() {
            return Err(FieldError::invalid(&FieldPath::root(), &key, errors.join("; ")).to_string());
        }
        let build = |operator, values| Requirement::new(key.as_str(), operator, values).map_err(|e| e.0);
        if absent {
            return build(Operator::DoesNotExist, List::new());
        }
        if matches!(self.peek().0, Token::End | Token::Comma) {
            return build(Operator::Exists, List::new());
        }
        let (token, text) = self.next();
        let operator = match token {
            Token::In => Operator::In,
            Token::Equals => Operator::Equals,
            Token::DoubleEquals => Operator::DoubleEquals,
            Token::Greater => Operator::GreaterThan,
            Token::Less => Operator::LessThan,
            Token::NotIn => Operator::NotIn,
            Token::NotEquals => Operator::NotEquals,
            _ => return Err(format!("found '{text}', expected: in, notin, =, ==, !=, gt, lt")),
        };
        let mut values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => vec![self.exact_value()?],
        };
        values.sort_unstable();
        values.dedup();
        build(operator, values.into_iter().map(Str::from).collect())
    }

    fn exact_value(&mut self) -> Result<String, String> {
        if matches!(self.peek().0, Token::End | Token::Comma) {
            return Ok(String::new());
        }
        match self.next_value() {
            (Token::Identifier, text) => Ok(text),
            (_, text) => Err(format!("found '{text}', expected: identifier")),
        }
    }

    fn values(&mut self) -> Result<Vec<String>, String> {
        let (token, text) = self.next_value();
        if token != Token::Open {
            return Err(format!("found '{text}' expected: '('"));
        }
        let (token, text) = self.peek();
        let opened = text.to_owned();
        match as_value(token) {
            Token::Identifier | Token::Comma => {
                let values = self.identifiers()?;
                if self.next_value().0 != Token::Close {
                    return Err(format!("found '{opened}', expected: ')'"));
                }
                Ok(values)
            }
            Token::Close => {
                self.next();
                Ok(vec![String::new()])
            }
            _ => Err(format!("found '{opened}', expected: ',', ')' or identifier")),
        }
    }

    fn identifiers(&mut self) -> Result<Vec<String>, String> {
        let mut out = Vec::new();
        loop {
            match self.next_value() {
                (Token::Identifier, text) => {
                    out.push(text);
                    match self.peek() {
                        (Token::Comma, _) => {}
                        (Token::Close, _) => return Ok(out),
                        (_, text) => return Err(format!("found '{text}', expected: ',' or ')'")),
                    }
                }
                (Token::Comma, _) => {
                    if out.is_empty() {
                        out.push(String::new());
                    }
                    match self.peek().0 {
                        Token::Close => {
                            out.push(String::new());
                            return Ok(out);
                        }
                        Token::Comma => out.push(String::new()),
                        _ => {}
                    }
                }
                (_, text) => return Err(format!("found '{text}', expected: ',', or identifier")),
            }
        }
    }
}
