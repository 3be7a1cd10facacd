//! The grammar, one method per rule.

use std::rc::Rc;

use super::lexer::{self, Kind, Token};
use super::recovery::{shown, wanted};
use super::{Nodes, literals};
use crate::ast::{Entry, Expr, ExprKind, Field, Literal, op};

/// Depth of nesting, and length of chains of one operator.
const DEPTH_MAX: u32 = 250;
pub(crate) const RESERVED: [&str; 18] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
    "in",
];

/// Depths of the rules that recurse.
#[derive(Clone, Copy, Default)]
pub(super) struct Depth {
    expr: u32,
    relation: u32,
    calc: u32,
    member: u32,
}

pub(super) struct Parser<'a, 'n> {
    pub(super) source: &'a str,
    pub(super) tokens: Vec<Token<'a>>,
    pub(super) next: usize,
    pub(super) nodes: &'n mut Nodes,
    pub(super) depth: Depth,
    /// A problem was just reported: what follows from it is not.
    pub(super) recovering: bool,
    pub(super) recoveries: u32,
    /// What may follow the expression at hand, by what encloses it.
    pub(super) enclosing: Vec<&'static [Kind]>,
    /// Too deep or too broken: no more is read.
    pub(super) stopped: bool,
}

impl<'a, 'n> Parser<'a, 'n> {
    pub(super) fn new(source: &'a str, tokens: Vec<Token<'a>>, nodes: &'n mut Nodes) -> Self {
        Self {
            source,
            tokens,
            next: 0,
            nodes,
            depth: Depth::default(),
            recovering: false,
            recoveries: 0,
            enclosing: vec![&[Kind::Eof]],
            stopped: false,
        }
    }

    /// `expr EOF`
    pub(super) fn start(mut self) -> Expr {
        let root = self.expr();
        if !self.stopped {
            self.expect(Kind::Eof, &[]);
        }
        root
    }

    pub(super) fn peek(&self) -> Token<'a> {
        self.peek_at(0)
    }

    pub(super) fn peek_at(&self, ahead: usize) -> Token<'a> {
        // The last token is the end, and is never passed.
        self.tokens[(self.next + ahead).min(self.tokens.len() - 1)]
    }

    pub(super) fn advance(&mut self) -> Token<'a> {
        let token = self.peek();
        self.next = (self.next + 1).min(self.tokens.len() - 1);
        self.recovering = false;
        token
    }

    pub(super) fn eat(&mut self, kind: Kind) -> Option<Token<'a>> {
        (!self.stopped && self.peek().kind == kind).then(|| self.advance())
    }

    fn inside<T>(&mut self, closers: &'static [Kind], parse: impl FnOnce(&mut Self) -> T) -> T {
        self.enclosing.push(closers);
        let parsed = parse(self);
        self.enclosing.pop();
        parsed
    }

    /// `or ('?' or ':' expr)?`
    fn expr(&mut self) -> Expr {
        let before = self.depth;
        self.depth.expr += 1;
        if self.depth.expr > DEPTH_MAX {
            self.stop(format!("expression recursion limit exceeded: {DEPTH_MAX}"));
        }
        let parsed = if self.stopped { self.broken() } else { self.conditional() };
        self.depth = before;
        parsed
    }

    fn broken(&mut self) -> Expr {
        let at = self.peek().at;
        self.nodes.expr(at, ExprKind::Broken)
    }

    fn conditional(&mut self) -> Expr {
        let condition = self.logic(Kind::Or);
        let Some(question) = self.eat(Kind::Question) else { return condition };
        let yes = self.inside(&[Kind::Colon], |p| p.logic(Kind::Or));
        if !self.expect(Kind::Colon, &[]) {
            return self.broken();
        }
        let no = self.expr();
        self.call(question.at, op::CONDITIONAL, vec![condition, yes, no])
    }

    /// A chain of `||`, whose terms are chains of `&&`, as a balanced tree.
    fn logic(&mut self, kind: Kind) -> Expr {
        let term = |p: &mut Self| if kind == Kind::Or { p.logic(Kind::And) } else { p.relation() };
        let mut terms = vec![Some(term(self))];
        let mut places = Vec::new();
        while let Some(token) = self.eat(kind) {
            places.push(token.at);
            terms.push(Some(term(self)));
        }
        let name = if kind == Kind::Or { op::OR } else { op::AND };
        self.balanced(name, &places, &mut terms)
    }

    fn balanced(&mut self, name: &'static str, places: &[u32], terms: &mut [Option<Expr>]) -> Expr {
        if places.is_empty() {
            // Each term is taken once.
            return terms.first_mut().and_then(Option::take).unwrap_or_else(|| self.broken());
        }
        let middle = places.len() / 2;
        let (left, right) = terms.split_at_mut(middle + 1);
        let left = self.balanced(name, &places[..middle], left);
        let right = self.balanced(name, &places[middle + 1..], right);
        self.call(places[middle], name, vec![left, right])
    }

    fn relation(&mut self) -> Expr {
        let before = self.depth.relation;
        let mut left = self.sum();
        loop {
            let name = match self.peek().kind {
                Kind::Less => op::LESS,
                Kind::LessEquals => op::LESS_EQUALS,
                Kind::Greater => op::GREATER,
                Kind::GreaterEquals => op::GREATER_EQUALS,
                Kind::Equals => op::EQUALS,
                Kind::NotEquals => op::NOT_EQUALS,
                Kind::In => op::IN,
                _ => break,
            };
            let Some(at) = self.operator(|depth| &mut depth.relation) else { break };
            let right = self.sum();
            left = self.call(at, name, vec![left, right]);
        }
        self.depth.relation = before;
        left
    }

    fn sum(&mut self) -> Expr {
        let before = self.depth.calc;
        let mut left = self.product();
        loop {
            let name = match self.peek().kind {
                Kind::Plus => op::ADD,
                Kind::Minus => op::SUBTRACT,
                _ => break,
            };
            let Some(at) = self.operator(|depth| &mut depth.calc) else { break };
            let right = self.product();
            left = self.call(at, name, vec![left, right]);
        }
        self.depth.calc = before;
        left
    }

    fn product(&mut self) -> Expr {
        let mut left = self.unary();
        loop {
            let name = match self.peek().kind {
                Kind::Star => op::MULTIPLY,
                Kind::Slash => op::DIVIDE,
                Kind::Percent => op::MODULO,
                _ => break,
            };
            let Some(at) = self.operator(|depth| &mut depth.calc) else { break };
            let right = self.unary();
            left = self.call(at, name, vec![left, right]);
        }
        left
    }

    /// Takes the operator at hand; `None` when the chain grew too long.
    fn operator(&mut self, depth: fn(&mut Depth) -> &mut u32) -> Option<u32> {
        if self.stopped {
            return None;
        }
        let count = depth(&mut self.depth);
        *count += 1;
        if *count > DEPTH_MAX {
            self.stop(format!("expression recursion limit exceeded: {DEPTH_MAX}"));
            return None;
        }
        Some(self.advance().at)
    }

    fn unary(&mut self) -> Expr {
        self.begin_expression(&[]);
        let first = self.peek();
        if !matches!(first.kind, Kind::Not | Kind::Minus) {
            return self.member();
        }
        let signed =
            |p: &Self| p.peek().kind == Kind::Minus && matches!(p.peek_at(1).kind, Kind::Int | Kind::Float);
        let mut count = 0;
        while self.peek().kind == first.kind && !(count == 0 && signed(self)) {
            self.advance();
            count += 1;
        }
        if first.kind == Kind::Not && count > 0 && self.peek().kind == Kind::Minus && !signed(self) {
            let token = self.peek();
            self.problem(token.at, format!("no viable alternative at input {}", shown(token)));
        }
        let operand = self.member();
        match count % 2 {
            0 => operand,
            _ => {
                self.call(first.at, if first.kind == Kind::Not { op::NOT } else { op::NEGATE }, vec![operand])
            }
        }
    }

    /// `primary ('.' name | '.' name '(' args ')' | '[' expr ']')*`
    fn member(&mut self) -> Expr {
        let before = self.depth.member;
        let mut operand = self.primary();
        loop {
            let kind = self.peek().kind;
            if self.stopped || !matches!(kind, Kind::Dot | Kind::OpenBracket) {
                break;
            }
            let Some(at) = self.operator(|depth| &mut depth.member) else { break };
            operand = if kind == Kind::Dot { self.selection(at, operand) } else { self.index(at, operand) };
        }
        self.depth.member = before;
        operand
    }

    fn selection(&mut self, at: u32, operand: Expr) -> Expr {
        let dot = self.tokens[self.next - 1];
        let optional = self.eat(Kind::Question).is_some();
        let name = self.peek();
        if !matches!(name.kind, Kind::Ident | Kind::EscapedIdent) {
            let message = match name.kind {
                Kind::True | Kind::False | Kind::Null => {
                    format!("mismatched input {} expecting IDENTIFIER", shown(name))
                }
                _ => {
                    let end = if name.kind == Kind::Eof { name.start } else { name.start + name.text.len() };
                    let input = lexer::quote(self.source[dot.start..end].trim_end());
                    format!("no viable alternative at input {input}")
                }
            };
            self.problem(name.at, message);
            self.skip_to_follow();
            return self.broken();
        }
        self.advance();
        if name.kind == Kind::EscapedIdent {
            return self.nodes.report(name.at, "unsupported syntax: '`'");
        }
        if optional {
            let field = self.nodes.expr(name.at, ExprKind::Literal(Literal::String(name.text.into())));
            return self.call(at, op::OPT_SELECT, vec![operand, field]);
        }
        if let Some(open) = self.eat(Kind::OpenParen) {
            let args = self.arguments();
            return self.nodes.invoke(open.at, name.text, Some(operand), args);
        }
        let kind = ExprKind::Select { operand: Box::new(operand), field: name.text.into(), test: false };
        self.nodes.expr(at, kind)
    }

    fn index(&mut self, at: u32, operand: Expr) -> Expr {
        let optional = self.eat(Kind::Question).is_some();
        let index = self.inside(&[Kind::CloseBracket], Self::expr);
        self.expect(Kind::CloseBracket, &[]);
        self.call(at, if optional { op::OPT_INDEX } else { op::INDEX }, vec![operand, index])
    }

    /// `expr (',' expr)* ')'`, or just `)`.
    fn arguments(&mut self) -> Vec<Expr> {
        let mut args = Vec::new();
        if self.eat(Kind::CloseParen).is_some() || !self.begin_expression(&[Kind::CloseParen]) {
            return args;
        }
        self.inside(&[Kind::Comma, Kind::CloseParen], |p| {
            loop {
                args.push(p.expr());
                if p.eat(Kind::Comma).is_none() {
                    break;
                }
            }
        });
        self.expect(Kind::CloseParen, &[]);
        args
    }

    fn primary(&mut self) -> Expr {
        let token = self.peek();
        match token.kind {
            Kind::Dot | Kind::Ident => self.name(),
            Kind::OpenParen => {
                self.advance();
                let inner = self.inside(&[Kind::CloseParen], Self::expr);
                self.expect(Kind::CloseParen, &[]);
                inner
            }
            Kind::OpenBracket => self.list(),
            Kind::OpenBrace => self.map(),
            _ => self.literal(),
        }
    }

    fn literal(&mut self) -> Expr {
        let first = self.peek();
        let negative = first.kind == Kind::Minus && matches!(self.peek_at(1).kind, Kind::Int | Kind::Float);
        if negative {
            self.advance();
        }
        let token = self.peek();
        let value = match token.kind {
            Kind::Int => literals::int(token.text, negative),
            Kind::Float => literals::double(token.text, negative),
            Kind::Uint => literals::uint(token.text),
            Kind::String => literals::string(token.text),
            Kind::Bytes => literals::bytes(token.text),
            Kind::True => Ok(Literal::Bool(true)),
            Kind::False => Ok(Literal::Bool(false)),
            Kind::Null => Ok(Literal::Null),
            _ => {
                if !self.recovering {
                    self.begin_expression(&[]);
                }
                return self.broken();
            }
        };
        self.advance();
        match value {
            Ok(value) => self.nodes.expr(first.at, ExprKind::Literal(value)),
            Err(message) => self.nodes.report(first.at, message),
        }
    }

    /// A name, a call of a function, or a struct literal.
    fn name(&mut self) -> Expr {
        let first = self.peek();
        let dot = if self.eat(Kind::Dot).is_some() { "." } else { "" };
        let name = self.peek();
        if name.kind != Kind::Ident {
            let end = if name.kind == Kind::Eof { name.start } else { name.start + name.text.len() };
            let input = lexer::quote(self.source[first.start..end].trim_end());
            self.problem(name.at, format!("no viable alternative at input {input}"));
            self.skip_to_follow();
            return self.broken();
        }
        // `a.b.c{` is a struct literal; nothing else has a brace behind a name.
        let mut ahead = 1;
        while self.peek_at(ahead).kind == Kind::Dot && self.peek_at(ahead + 1).kind == Kind::Ident {
            ahead += 2;
        }
        if self.peek_at(ahead).kind == Kind::OpenBrace {
            let parts: Vec<&str> = (0..ahead).step_by(2).map(|i| self.peek_at(i).text).collect();
            let full = format!("{dot}{}", parts.join("."));
            self.next += ahead;
            return self.message(&full);
        }
        self.advance();
        let full = format!("{dot}{}", name.text);
        let reserved = RESERVED.contains(&name.text);
        if let Some(open) = self.eat(Kind::OpenParen) {
            let args = self.arguments();
            if reserved {
                return self.nodes.report(first.at, format!("reserved identifier: {}", name.text));
            }
            return self.nodes.invoke(open.at, &full, None, args);
        }
        if reserved {
            return self.nodes.report(first.at, format!("reserved identifier: {}", name.text));
        }
        self.nodes.expr(name.at, ExprKind::Ident(Rc::from(full)))
    }

    /// `{field: expr, ?field: expr}` behind a type's name.
    fn message(&mut self, name: &str) -> Expr {
        const FIELD: [Kind; 5] =
            [Kind::CloseBrace, Kind::Comma, Kind::Question, Kind::Ident, Kind::EscapedIdent];
        let open = self.advance();
        let mut fields = Vec::new();
        loop {
            let token = self.peek();
            if !FIELD.contains(&token.kind) {
                let wanted = wanted(FIELD.to_vec());
                let shown = shown(token);
                if token.kind == Kind::Eof || !FIELD.contains(&self.peek_at(1).kind) {
                    self.problem(token.at, format!("mismatched input {shown} expecting {wanted}"));
                    self.skip_to_follow();
                    return self.broken();
                }
                self.problem(token.at, format!("extraneous input {shown} expecting {wanted}"));
                self.next += 1;
            }
            let optional = self.eat(Kind::Question).is_some();
            let Some(field) = self.eat(Kind::Ident).or_else(|| self.eat(Kind::EscapedIdent)) else { break };
            if field.kind == Kind::EscapedIdent {
                self.nodes.report(field.at, "unsupported syntax: '`'");
            }
            let colon = self.peek().at;
            if !self.expect(Kind::Colon, &[]) {
                return self.broken();
            }
            let value = self.inside(&[Kind::Comma, Kind::CloseBrace], Self::expr);
            fields.push(Field { id: self.nodes.id(colon), name: field.text.into(), value, optional });
            if self.eat(Kind::Comma).is_none() {
                break;
            }
        }
        self.eat(Kind::Comma);
        self.expect(Kind::CloseBrace, &[Kind::Comma]);
        self.nodes.expr(open.at, ExprKind::Struct { name: name.into(), fields })
    }

    /// `[expr, ?expr,]`
    fn list(&mut self) -> Expr {
        let open = self.advance();
        let mut elements = Vec::new();
        if self.begin_expression(&[Kind::CloseBracket, Kind::Comma, Kind::Question]) {
            self.inside(&[Kind::Comma, Kind::CloseBracket], |p| {
                while !p.stopped && !matches!(p.peek().kind, Kind::CloseBracket | Kind::Comma | Kind::Eof) {
                    let optional = p.eat(Kind::Question).is_some();
                    elements.push((p.expr(), optional));
                    if p.eat(Kind::Comma).is_none() {
                        break;
                    }
                }
                p.eat(Kind::Comma);
            });
            self.expect(Kind::CloseBracket, &[Kind::Comma]);
        }
        self.nodes.expr(open.at, ExprKind::List(elements))
    }

    /// `{expr: expr, ?expr: expr,}`
    fn map(&mut self) -> Expr {
        let open = self.advance();
        let mut entries = Vec::new();
        if self.begin_expression(&[Kind::CloseBrace, Kind::Comma, Kind::Question]) {
            self.inside(&[Kind::Comma, Kind::CloseBrace], |p| {
                while !p.stopped && !matches!(p.peek().kind, Kind::CloseBrace | Kind::Comma | Kind::Eof) {
                    let optional = p.eat(Kind::Question).is_some();
                    let key = p.inside(&[Kind::Colon], Self::expr);
                    if !p.expect(Kind::Colon, &[]) {
                        break;
                    }
                    let value = p.expr();
                    entries.push(Entry { key, value, optional });
                    if p.eat(Kind::Comma).is_none() {
                        break;
                    }
                }
                p.eat(Kind::Comma);
            });
            self.expect(Kind::CloseBrace, &[Kind::Comma]);
        }
        self.nodes.expr(open.at, ExprKind::Map(entries))
    }

    fn call(&mut self, at: u32, function: &str, args: Vec<Expr>) -> Expr {
        self.nodes.expr(at, ExprKind::Call { function: function.into(), target: None, args })
    }
}
