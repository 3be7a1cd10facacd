//! YAML as upstream's servers write it: go-yaml (v2) decides which texts are quoted and how, where long lines are folded and
//! in which order members come. What it decides is what clients compare, so it is decided here in the same way.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt::Write as _;

use serde_json::{Number, Value};

/// Columns after which a text goes on in the next line.
const COLUMNS_MAX: usize = 80;
/// Characters of a key that is written in front of its value; longer ones stand for themselves.
const KEY_BYTES_MAX: usize = 128;

/// A document as YAML.
pub(crate) fn written(document: &Value) -> String {
    let mut writer = Writer::default();
    writer.value(document, 0, false);
    writer.out.push('\n');
    writer.out
}

#[derive(Default)]
struct Writer {
    out: String,
    column: usize,
}

impl Writer {
    fn put(&mut self, text: &str) {
        self.out.push_str(text);
        self.column += text.chars().count();
    }

    fn line(&mut self, indent: usize) {
        self.out.push('\n');
        self.out.extend(std::iter::repeat_n(' ', indent));
        self.column = indent;
    }

    /// Writes a value whose container is indented by `indent`; `in_line` when its first line has begun with a dash or key.
    fn value(&mut self, value: &Value, indent: usize, in_line: bool) {
        match value {
            Value::Object(members) if !members.is_empty() => {
                let mut members: Vec<(&String, &Value)> = members.iter().collect();
                sort(&mut members, |a, b| natural(a.0, b.0) == Ordering::Less);
                for (index, (key, member)) in members.into_iter().enumerate() {
                    if index > 0 {
                        self.line(indent);
                    }
                    self.member(key, member, indent);
                }
            }
            Value::Array(items) if !items.is_empty() => {
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        self.line(indent);
                    }
                    self.put("- ");
                    self.value(item, indent + 2, true);
                }
            }
            plain => self.plain(plain, if in_line { indent } else { indent + 2 }),
        }
    }

    fn member(&mut self, key: &str, member: &Value, indent: usize) {
        match key.len() > KEY_BYTES_MAX {
            false => {
                self.text(key, indent, true);
                self.put(":");
            }
            true => {
                self.put("? ");
                self.text(key, indent + 2, false);
                self.line(indent);
                self.put(":");
            }
        }
        match member {
            Value::Object(members) if !members.is_empty() => {
                // What belongs to a long key goes on in its line.
                if key.len() > KEY_BYTES_MAX {
                    self.put(" ");
                } else {
                    self.line(indent + 2);
                }
                self.value(member, indent + 2, true);
            }
            Value::Array(items) if !items.is_empty() => {
                self.line(indent);
                self.value(member, indent, true);
            }
            plain => {
                self.put(" ");
                self.plain(plain, indent + 2);
            }
        }
    }

    fn plain(&mut self, value: &Value, indent: usize) {
        match value {
            Value::Null => self.put("null"),
            Value::Bool(is) => self.put(if *is { "true" } else { "false" }),
            Value::Number(number) => self.put(&number_text(number)),
            Value::String(text) => self.text(text, indent, false),
            Value::Array(_) => self.put("[]"),
            Value::Object(_) => self.put("{}"),
        }
    }

    /// Writes a text; its further lines are indented by `indent`.
    fn text(&mut self, text: &str, indent: usize, is_key: bool) {
        let shape = Shape::of(text);
        if text.contains('\n') && shape.block && !is_key {
            return self.block(text, indent);
        }
        let plain = !text.contains('\n') && !means_something_else(text);
        match (plain && shape.plain, plain && shape.single) {
            (true, _) => self.folded(text, indent, !is_key, Cow::Borrowed),
            (false, true) => {
                self.put("'");
                self.folded(text, indent, !is_key, |text| text.replace('\'', "''").into());
                self.put("'");
            }
            _ => {
                self.put("\"");
                self.escaped(text, indent, !is_key);
                self.put("\"");
            }
        }
    }

    /// Lines as they are, below a bar that says how the last one ends.
    fn block(&mut self, text: &str, indent: usize) {
        self.put("|");
        if text.starts_with([' ', '\n']) {
            self.put("2");
        }
        match text.strip_suffix('\n') {
            None => self.put("-"),
            Some(before) if before.is_empty() || before.ends_with('\n') => self.put("+"),
            Some(_) => {}
        }
        for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
            if line.is_empty() {
                self.line(0);
            } else {
                self.line(indent);
                self.put(line);
            }
        }
    }

    /// A text that goes on in the next line at the first single space after the last column; quoted ones not at their ends.
    fn folded<'a>(
        &mut self,
        text: &'a str,
        indent: usize,
        may_fold: bool,
        write: impl Fn(&'a str) -> Cow<'a, str>,
    ) {
        let mut after_space = false;
        for (at, character) in text.char_indices() {
            let next = text[at + character.len_utf8()..].chars().next();
            if character == ' ' {
                let folds = may_fold && !after_space && self.column > COLUMNS_MAX;
                if folds && at > 0 && next.is_some_and(|next| next != ' ') {
                    self.line(indent);
                } else {
                    self.put(" ");
                }
                after_space = true;
                continue;
            }
            self.put(&write(&text[at..at + character.len_utf8()]));
            after_space = false;
        }
    }

    fn escaped(&mut self, text: &str, indent: usize, may_fold: bool) {
        let mut after_space = false;
        for (at, character) in text.char_indices() {
            let next = text[at + character.len_utf8()..].chars().next();
            if character == ' ' {
                if may_fold && !after_space && self.column > COLUMNS_MAX && at > 0 && next.is_some() {
                    self.line(indent);
                    if next == Some(' ') {
                        self.put("\\");
                    }
                } else {
                    self.put(" ");
                }
                after_space = true;
                continue;
            }
            after_space = false;
            let short = match character {
                '\0' => "\\0",
                '\x07' => "\\a",
                '\x08' => "\\b",
                '\t' => "\\t",
                '\n' => "\\n",
                '\x0b' => "\\v",
                '\x0c' => "\\f",
                '\r' => "\\r",
                '\x1b' => "\\e",
                '"' => "\\\"",
                '\\' => "\\\\",
                '\u{85}' => "\\N",
                '\u{a0}' => "\\_",
                '\u{2028}' => "\\L",
                '\u{2029}' => "\\P",
                _ if is_printable(character) => {
                    self.put(&text[at..at + character.len_utf8()]);
                    continue;
                }
                _ => "",
            };
            let mut long = String::new();
            let _ = match character as u32 {
                _ if !short.is_empty() => Ok(()),
                code @ ..=0xff => write!(long, "\\x{code:02X}"),
                code @ ..=0xffff => write!(long, "\\u{code:04X}"),
                code => write!(long, "\\U{code:08X}"),
            };
            self.put(if short.is_empty() { &long } else { short });
        }
    }
}

/// In which forms a text can be written.
struct Shape {
    plain: bool,
    single: bool,
    block: bool,
}

impl Shape {
    fn of(text: &str) -> Self {
        let mut indicators = text.starts_with("---") || text.starts_with("...");
        let mut special = false;
        let mut before = None;
        for (at, character) in text.char_indices() {
            let next = text[at + character.len_utf8()..].chars().next();
            let (is_first, ends) = (before.is_none(), next.is_none_or(is_blank));
            indicators |= match character {
                ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`' => {
                    is_first
                }
                '#' => before.is_none_or(is_blank),
                '?' | '-' => is_first && ends,
                ':' => ends,
                _ => false,
            };
            special |= !is_printable(character) && character != '\n';
            special |=
                matches!(character, '\u{2028}' | '\u{2029}') || (character == ' ' && next == Some('\n'));
            before = Some(character);
        }
        let spaced = text.starts_with([' ', '\n']) || text.ends_with([' ', '\n']);
        Shape {
            plain: !indicators && !special && !spaced && !text.contains('\n'),
            single: !special && !text.contains("\n "),
            block: !special && !text.ends_with(' '),
        }
    }
}

fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// What go-yaml takes for printable; nothing beyond the basic plane is.
fn is_printable(character: char) -> bool {
    matches!(character, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}')
        && character != '\u{feff}'
}

/// Whether a text without quotes would be read as something else: nothing, a truth, a number or a moment.
fn means_something_else(text: &str) -> bool {
    const WORDS: [&str; 14] =
        ["y", "yes", "true", "on", "n", "no", "false", "off", "null", "~", ".nan", ".inf", "+.inf", "-.inf"];
    let lower = text.to_ascii_lowercase();
    let is_cased = |word: &str| {
        let letters = || text.chars().filter(char::is_ascii_alphabetic);
        let mut capital = String::with_capacity(word.len());
        let mut first = true;
        for character in word.chars() {
            let is_letter = character.is_ascii_alphabetic();
            capital.push(if first && is_letter { character.to_ascii_uppercase() } else { character });
            first &= !is_letter;
        }
        text == word || text == capital || letters().all(|letter| letter.is_ascii_uppercase())
    };
    let is_word = WORDS.contains(&lower.as_str()) && is_cased(&lower) && !matches!(text, ".NaN" | ".Nan");
    text.is_empty()
        || text == "<<"
        || text == ".NaN"
        || is_word
        || is_integer(text)
        || is_float(text)
        || is_sexagesimal(text)
        || is_moment(text)
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn unsigned(text: &str) -> &str {
    text.strip_prefix(['+', '-']).unwrap_or(text)
}

/// An integer of 64 bits in any base that Go reads, underscores left out.
fn is_integer(text: &str) -> bool {
    if !text.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '+' | '-')) {
        return false;
    }
    let text = text.replace('_', "");
    let bare = unsigned(&text);
    let (base, number) = match bare.get(..2).map(str::to_ascii_lowercase).as_deref() {
        Some("0x") => (16, &bare[2..]),
        Some("0b") => (2, &bare[2..]),
        Some("0o") => (8, &bare[2..]),
        _ if bare.len() > 1 && bare.starts_with('0') => (8, &bare[1..]),
        _ => (10, bare),
    };
    let is_number = !number.is_empty() && number.chars().all(|digit| digit.is_digit(base));
    is_number
        && match (text.starts_with('-'), u64::from_str_radix(number, base)) {
            (false, read) => read.is_ok(),
            (true, Ok(read)) => read <= 1 << 63,
            (true, Err(_)) => false,
        }
}

/// A number with a point or an exponent, or one too long for an integer.
fn is_float(text: &str) -> bool {
    let starts = |first: char| first.is_ascii_digit() || matches!(first, '+' | '-' | '.');
    if !text.starts_with(starts) {
        return false;
    }
    let text = match text.starts_with('.') {
        true => text.to_owned(),
        false => text.replace('_', ""),
    };
    let (number, exponent) = match unsigned(&text).split_once(['e', 'E']) {
        Some((number, exponent)) => (number, Some(unsigned(exponent))),
        None => (unsigned(&text), None),
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let is_number = match whole {
        "" => number.starts_with('.') && digits(part),
        whole => digits(whole) && (part.is_empty() || digits(part)),
    };
    // What is too large for a float is a text.
    is_number && exponent.is_none_or(digits) && text.parse::<f64>().is_ok_and(f64::is_finite)
}

/// `190:20:30`, which older YAML reads as a number to the base 60.
fn is_sexagesimal(text: &str) -> bool {
    let Some((first, rest)) = unsigned(text).split_once(':') else { return false };
    let sloppy = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    let (rest, part) = rest.split_once('.').unwrap_or((rest, ""));
    let sixty = |place: &str| digits(place) && (place.len() == 1 || (place.len() == 2 && place < "60"));
    first.starts_with(|digit: char| digit.is_ascii_digit())
        && sloppy(first)
        && sloppy(part)
        && rest.split(':').all(sixty)
}

/// A date, or a date and a time of day.
fn is_moment(text: &str) -> bool {
    let number = |text: &str, low: u32, high: u32| {
        let fits = digits(text) && text.len() <= 2;
        fits && text.parse().is_ok_and(|number: u32| (low..=high).contains(&number))
    };
    let (date, time) = match text.find(['T', 't', ' ']) {
        Some(at) => (&text[..at], Some((&text[at..=at], &text[at + 1..]))),
        None => (text, None),
    };
    let parts: Vec<&str> = date.split('-').collect();
    let [year, month, day] = parts[..] else { return false };
    if !(year.len() == 4 && digits(year) && number(month, 1, 12)) {
        return false;
    }
    let years: u32 = year.parse().unwrap_or(0);
    let leap = (years.is_multiple_of(4) && !years.is_multiple_of(100)) || years.is_multiple_of(400);
    let days = match month.parse() {
        Ok(2) if leap => 29,
        Ok(2) => 28,
        Ok(4 | 6 | 9 | 11) => 30,
        _ => 31,
    };
    if !number(day, 1, days) {
        return false;
    }
    let Some((separator, time)) = time else { return true };
    let (clock, zone) = match time.find(['Z', '+', '-']) {
        Some(at) => time.split_at(at),
        None => (time, ""),
    };
    let zoned = match zone.strip_prefix(['+', '-']).map(|zone| zone.split_once(':')) {
        None => zone == "Z",
        Some(Some((hours, minutes))) => {
            hours.len() == 2 && minutes.len() == 2 && number(hours, 0, 24) && number(minutes, 0, 59)
        }
        Some(None) => false,
    };
    let (clock, part) = clock.split_once('.').unwrap_or((clock, "0"));
    let parts: Vec<&str> = clock.split(':').collect();
    let [hours, minutes, seconds] = parts[..] else { return false };
    let is_clock = number(hours, 0, 23) && number(minutes, 0, 59) && number(seconds, 0, 59) && digits(part);
    is_clock && if separator == " " { zone.is_empty() } else { zoned }
}

/// A number as Go writes it: the shortest text that reads back, with an exponent when it is small or large.
fn number_text(number: &Number) -> String {
    if number.is_i64() || number.is_u64() {
        return number.to_string();
    }
    let float = number.as_f64().unwrap_or_default();
    let scientific = format!("{float:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    float.to_string()
}

/// Sorts by merging. The standard library's sorts may panic where an order goes round in a circle, as that of keys does
/// (`10` before `1a` before `2` before `10`).
fn sort<T: Copy>(items: &mut Vec<T>, before: impl Fn(&T, &T) -> bool) {
    let mut width = 1;
    while width < items.len() {
        let mut merged = Vec::with_capacity(items.len());
        for pair in items.chunks(2 * width) {
            let (mut left, mut right) = pair.split_at(width.min(pair.len()));
            while let (Some(a), Some(b)) = (left.first(), right.first()) {
                let (taken, from) = if before(b, a) { (*b, &mut right) } else { (*a, &mut left) };
                merged.push(taken);
                *from = &from[1..];
            }
            merged.extend_from_slice(left);
            merged.extend_from_slice(right);
        }
        *items = merged;
        width *= 2;
    }
}

/// The order of keys: letters after everything else, digits by the number that they make.
fn natural(a: &str, b: &str) -> Ordering {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let Some(at) = a.iter().zip(&b).position(|(a, b)| a != b) else { return a.len().cmp(&b.len()) };
    let (x, y) = (a[at], b[at]);
    match (x.is_alphabetic(), y.is_alphabetic()) {
        (true, true) => return x.cmp(&y),
        (false, true) => return Ordering::Less,
        (true, false) => return Ordering::Greater,
        (false, false) => {}
    }
    let is_digit = |c: &&char| c.is_ascii_digit();
    let zero = x == '0' || y == '0';
    let shared = a[..at].iter().rev().take_while(is_digit).any(|c| *c != '0');
    let start = u64::from(zero && shared);
    let run = |of: &[char]| {
        let run: Vec<char> = of[at..].iter().take_while(is_digit).copied().collect();
        let add =
            |sum: u64, c: &char| sum.wrapping_mul(10).wrapping_add(u64::from(c.to_digit(10).unwrap_or(0)));
        (run.iter().fold(start, add) as i64, run.len())
    };
    run(&a).cmp(&run(&b)).then(x.cmp(&y))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_whose_order_goes_in_circles_are_all_there() {
        let mut keys: Vec<String> = (0..200).flat_map(|n| [n.to_string(), format!("{n}a")]).collect();
        let mut sorted: Vec<&str> = keys.iter().map(String::as_str).collect();
        sort(&mut sorted, |a, b| natural(a, b) == Ordering::Less);
        let mut seen: Vec<String> = sorted.into_iter().map(str::to_owned).collect();
        seen.sort();
        keys.sort();
        assert_eq!(seen, keys);
        let mut plain = vec!["b10", "b9", "a", "b1"];
        sort(&mut plain, |a, b| natural(a, b) == Ordering::Less);
        assert_eq!(plain, ["a", "b1", "b9", "b10"]);
    }

    #[test]
    fn texts_are_quoted_where_they_would_be_read_as_something_else() {
        for plain in [
            "a",
            "a b",
            "v1",
            "10.0.0.1",
            "0.0.0.0/0",
            "1a",
            "100m",
            "1Gi",
            "f:metadata",
            ".",
            "k:{\"a\":1}",
            "a#b",
            "-",
            "yEs",
            "tRUE",
            "0x",
            "08",
            "-a",
            "?a",
            "1e",
            "e1",
            "2024-13-01",
            "12:61",
            "::1",
            "http://a",
            "<",
            "1e999",
        ] {
            let want = match plain {
                "-" => "'-'".to_owned(),
                "08" => "\"08\"".to_owned(),
                other => other.to_owned(),
            };
            assert_eq!(written(&json!(plain)).trim_end(), want, "{plain}");
        }
        for quoted in [
            "",
            "y",
            "No",
            "ON",
            "~",
            "null",
            "True",
            "1",
            "-1",
            "+1",
            "0x1F",
            "0o7",
            "0b1",
            "1_000",
            "1.5",
            ".5",
            "1e3",
            "1.",
            "12:30",
            "2024-01-02",
            "2024-01-02T03:04:05Z",
            "2024-1-2 3:4:5",
            ".inf",
            ".NaN",
            "<<",
            "\u{1f600}",
            "a\tb",
            "18446744073709551616",
        ] {
            let text = written(&json!(quoted));
            assert!(text.starts_with('"'), "{quoted}: {text}");
        }
        for single in ["*", "a: b", "a:", "# a", "a #b", "@a", "- a", " a", "a ", "{a}", "'a'", "--- a"] {
            let text = written(&json!(single));
            assert!(text.starts_with('\''), "{single}: {text}");
        }
        assert_eq!(written(&json!("it's: so")), "'it''s: so'\n");
        assert_eq!(written(&json!("\u{1f600}\t\u{e9}\"")), "\"\\U0001F600\\t\u{e9}\\\"\"\n");
    }

    #[test]
    fn documents_are_laid_out() {
        let document = json!({
            "b10": [], "b9": {}, "a": [{"x": 1, "y": [[1, 2], []]}, "n", null], "B": {"f:a": {".": {}}}, "1": 0.5,
            "large": 1e21, "text": "a\nb\n", "cut": "a\n\nb", "kept": "a\n\n", "inner": {"text": " a\nb"}, "torn": "a \nb",
        });
        let want = [
            "\"1\": 0.5",
            "B:",
            "  f:a:",
            "    .: {}",
            "a:",
            "- x: 1",
            "  \"y\":",
            "  - - 1",
            "    - 2",
            "  - []",
            "- \"n\"",
            "- null",
            "b9: {}",
            "b10: []",
            "cut: |-",
            "  a",
            "",
            "  b",
            "inner:",
            "  text: |2-",
            "     a",
            "    b",
            "kept: |+",
            "  a",
            "",
            "large: 1e+21",
            "text: |",
            "  a",
            "  b",
            "torn: \"a \\nb\"",
            "",
        ];
        let want = want.join("\n");
        assert_eq!(written(&document), want);
    }

    #[test]
    fn long_lines_go_on_in_the_next() {
        let words = ["word"; 20].join(" ");
        let line = ["word"; 16].join(" ");
        let folded = format!("a:\n  b: {line}\n    word word word word\n");
        assert_eq!(written(&json!({ "a": { "b": words } })), folded);
        let quoted = format!("a:\n  b: '{line}\n    word word word word:'\n");
        assert_eq!(written(&json!({ "a": { "b": format!("{words}:") } })), quoted);
        let key = "k".repeat(129);
        assert_eq!(written(&json!({ &key: 1 })), format!("? {key}\n: 1\n"));
    }
}
