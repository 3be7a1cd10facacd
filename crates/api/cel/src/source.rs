//! The text of an expression, places in it, and problems as cel-go prints them: message, line, and a caret below.

use std::fmt::{self, Write as _};

/// Lines longer than this are not repeated in messages, in bytes.
const SNIPPET_BYTES_MAX: usize = 16_384;
/// Problems that are reported before the rest is only counted.
const PROBLEMS_MAX: usize = 100;

/// A place in an expression, counted in characters from its start; `None` is nowhere in particular.
pub type Offset = Option<u32>;

/// One problem of an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub at: Offset,
    /// What, without the place.
    pub message: String,
}

/// Why an expression does not compile. Displays as upstream's compiler does.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct CompileError {
    text: String,
    problems: Vec<Problem>,
    stage: Stage,
}

/// How far an expression came. Displays as upstream's messages name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It does not parse, or its types do not fit.
    Compilation,
    /// It cannot be made ready to run.
    Instantiation,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Compilation => "compilation",
            Stage::Instantiation => "program instantiation",
        })
    }
}

impl CompileError {
    /// Takes the problems of `source`, in any order.
    pub(crate) fn new(source: &str, mut problems: Vec<Problem>) -> Self {
        let index = Lines::of(source);
        problems.sort_by_key(|problem| index.position(problem.at));
        Self { text: source.to_owned(), problems, stage: Stage::Compilation }
    }

    /// Of an expression of the right types that cannot be made ready to run.
    pub(crate) fn of_program(message: String) -> Self {
        let problems = vec![Problem { at: None, message }];
        Self { text: String::new(), problems, stage: Stage::Instantiation }
    }

    /// How far the expression came.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// The problems, first place first.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.stage == Stage::Instantiation {
            // What is wrong there has no place.
            return self.problems.iter().try_for_each(|problem| f.write_str(&problem.message));
        }
        let lines = Lines::of(&self.text);
        for (i, problem) in self.problems.iter().take(PROBLEMS_MAX).enumerate() {
            if i > 0 {
                f.write_char('\n')?;
            }
            lines.display(f, problem)?;
        }
        if self.problems.len() > PROBLEMS_MAX {
            write!(f, "\n{} more errors were truncated", self.problems.len() - PROBLEMS_MAX)?;
        }
        Ok(())
    }
}

/// The lines of an expression with the offset of each.
struct Lines<'a> {
    lines: Vec<(u32, &'a str)>,
}

impl<'a> Lines<'a> {
    fn of(source: &'a str) -> Self {
        let mut start = 0;
        let lines = source
            .split('\n')
            .map(|line| {
                let here = start;
                start += line.chars().count() as u32 + 1;
                (here, line)
            })
            .collect();
        Self { lines }
    }

    /// Line from 1 and column from 0; `(-1, -1)` for nowhere.
    fn position(&self, at: Offset) -> (i64, i64) {
        let Some(at) = at else { return (-1, -1) };
        let line = self.lines.partition_point(|(start, _)| *start <= at).max(1);
        let start = self.lines.get(line - 1).map_or(0, |(start, _)| *start);
        (line as i64, i64::from(at.saturating_sub(start)))
    }

    fn display(&self, f: &mut fmt::Formatter<'_>, problem: &Problem) -> fmt::Result {
        // Nothing was written: there is no place in it, and nothing to show.
        if let [(_, "")] = self.lines[..] {
            return write!(f, "ERROR: <input>:1:0: {}", problem.message);
        }
        let (line, column) = self.position(problem.at);
        write!(f, "ERROR: <input>:{line}:{}: {}", column + 1, problem.message)?;
        let text = usize::try_from(line - 1).ok().and_then(|line| self.lines.get(line));
        let Some((_, text)) = text.filter(|(_, text)| text.len() <= SNIPPET_BYTES_MAX) else { return Ok(()) };
        f.write_str("\n | ")?;
        text.chars().try_for_each(|c| f.write_char(if c == '\t' { ' ' } else { c }))?;
        f.write_str("\n | ")?;
        let mut rest = text.chars();
        for c in rest.by_ref().take(usize::try_from(column).unwrap_or(0)) {
            f.write_char(if c.is_ascii() { '.' } else { '\u{ff0e}' })?;
        }
        f.write_char(if rest.next().is_none_or(|c| c.is_ascii()) { '^' } else { '\u{ff3e}' })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_shows_its_line_and_a_caret() {
        let error = CompileError::new(
            "a &&\n\t😁.b",
            vec![
                Problem { at: Some(6), message: "second".into() },
                Problem { at: Some(2), message: "first".into() },
            ],
        );
        assert_eq!(
            error.to_string(),
            "ERROR: <input>:1:3: first\n | a &&\n | ..^\nERROR: <input>:2:2: second\n |  😁.b\n | .\u{ff3e}"
        );
    }
}
