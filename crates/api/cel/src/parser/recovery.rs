//! How the parser goes on after a problem: it deletes a token, pretends that one was there, or skips to where some rule can
//! go on. Which it does decides the words of the problem.

use super::grammar::Parser;
use super::lexer::{self, Kind, Token};
use crate::source::Problem;

/// Times that the parser goes on after a problem.
const RECOVERIES_MAX: u32 = 30;

/// What an expression can begin with.
const EXPRESSION: [Kind; 15] = [
    Kind::OpenBracket,
    Kind::OpenBrace,
    Kind::OpenParen,
    Kind::Dot,
    Kind::Minus,
    Kind::Not,
    Kind::True,
    Kind::False,
    Kind::Null,
    Kind::Float,
    Kind::Int,
    Kind::Uint,
    Kind::String,
    Kind::Bytes,
    Kind::Ident,
];

impl Parser<'_, '_> {
    pub(super) fn problem(&mut self, at: u32, message: String) {
        if !self.recovering && !self.stopped {
            self.nodes.problems.push(Problem { at: Some(at), message: format!("Syntax error: {message}") });
            self.recoveries += 1;
            if self.recoveries > RECOVERIES_MAX {
                self.stop(format!("error recovery attempt limit exceeded: {RECOVERIES_MAX}"));
            }
        }
        self.recovering = true;
    }

    pub(super) fn stop(&mut self, message: String) {
        if !self.stopped {
            self.nodes.problems.push(Problem { at: None, message });
        }
        self.stopped = true;
        self.next = self.tokens.len() - 1;
    }

    /// Takes a token of this kind, if need be by deleting the one before it or by pretending it was there.
    pub(super) fn expect(&mut self, kind: Kind, or: &[Kind]) -> bool {
        if self.eat(kind).is_some() {
            return true;
        }
        let token = self.peek();
        let wanted = wanted([&[kind], or].concat());
        if self.peek_at(1).kind == kind && token.kind != Kind::Eof {
            self.problem(token.at, format!("extraneous input {} expecting {wanted}", shown(token)));
            self.next += 1;
            self.advance();
            return true;
        }
        let closes = matches!(kind, Kind::CloseParen | Kind::CloseBrace | Kind::CloseBracket);
        if closes && self.may_follow(token.kind) {
            self.problem(token.at, format!("missing {} at {}", kind.label(), shown(token)));
            return true;
        }
        self.problem(token.at, format!("mismatched input {} expecting {wanted}", shown(token)));
        self.skip_to_follow();
        false
    }

    /// Whether a token can stand behind a complete expression here.
    fn may_follow(&self, kind: Kind) -> bool {
        use Kind::*;
        let operator = matches!(
            kind,
            Equals
                | NotEquals
                | In
                | Less
                | LessEquals
                | GreaterEquals
                | Greater
                | And
                | Or
                | OpenBracket
                | Dot
                | Minus
                | Question
                | Plus
                | Star
                | Slash
                | Percent
        );
        operator || self.enclosing.last().is_some_and(|closers| closers.contains(&kind))
    }

    /// Gives up tokens until one that some enclosing rule can use.
    pub(super) fn skip_to_follow(&mut self) {
        while self.peek().kind != Kind::Eof
            && !self.may_follow(self.peek().kind)
            && !self.enclosing.iter().any(|closers| closers.contains(&self.peek().kind))
        {
            self.next += 1;
        }
    }

    /// Makes sure that an expression begins here, if need be by deleting a token.
    pub(super) fn begin_expression(&mut self, or: &[Kind]) -> bool {
        let token = self.peek();
        let begins = |kind: Kind| EXPRESSION.contains(&kind) || or.contains(&kind);
        if begins(token.kind) || self.stopped {
            return true;
        }
        let wanted = wanted([&EXPRESSION, or].concat());
        let shown = shown(token);
        if token.kind != Kind::Eof && begins(self.peek_at(1).kind) {
            self.problem(token.at, format!("extraneous input {shown} expecting {wanted}"));
            self.next += 1;
            return true;
        }
        self.problem(token.at, format!("mismatched input {shown} expecting {wanted}"));
        self.skip_to_follow();
        false
    }
}

pub(super) fn shown(token: Token<'_>) -> String {
    lexer::quote(token.text)
}

/// A set of kinds as messages list it.
pub(super) fn wanted(mut kinds: Vec<Kind>) -> String {
    kinds.sort();
    kinds.dedup();
    let labels: Vec<&str> = kinds.iter().map(|kind| kind.label()).collect();
    if labels.len() == 1 { labels[0].to_owned() } else { format!("{{{}}}", labels.join(", ")) }
}
