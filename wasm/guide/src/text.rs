//! Checks of regexes and Lark grammars before the engine reads them, and how a list of choices becomes a regex.

use std::fmt::Write;

use regex_syntax::ast;
use serde_json::{Deserializer, Value};

use crate::failure::{Code, Failure};
use crate::limits::Limits;
use crate::schema;

/// Returns the regex that matches each string of a JSON array, and nothing else.
pub fn choices(text: &str) -> Result<String, Failure> {
    let invalid = |message: &str| Failure::new(Code::Invalid, message);
    let list: Vec<Value> = serde_json::from_str(text)
        .map_err(|error| invalid(&format!("choices are a JSON array of strings: {error}")))?;
    if list.is_empty() {
        return Err(Failure::new(Code::Unsatisfiable, "there are no choices"));
    }
    let mut regex = String::new();
    for (index, choice) in list.iter().enumerate() {
        let choice =
            choice.as_str().ok_or_else(|| invalid("choices are a JSON array of strings").at(format!("/{index}")))?;
        regex.push_str(if index == 0 { "(?:" } else { ")|(?:" });
        for letter in choice.chars() {
            match letter {
                'a'..='z' | 'A'..='Z' | '0'..='9' | ' ' => regex.push(letter),
                _ => write!(regex, "\\x{{{:X}}}", letter as u32).expect("a string grows"),
            }
        }
    }
    regex.push(')');
    Ok(regex)
}

/// Strips the anchors around a regex, which the engine does not know: it always matches the whole answer.
pub fn unanchored(regex: &str) -> &str {
    let rest = regex.strip_prefix('^').unwrap_or(regex);
    match rest.strip_suffix('$') {
        Some(body) if (body.len() - body.trim_end_matches('\\').len()) % 2 == 0 => body,
        _ => rest,
    }
}

pub fn check_regex(regex: &str, limits: &Limits) -> Result<(), Failure> {
    parse_regex(regex, limits).map_err(|error| match error.kind() {
        ast::ErrorKind::NestLimitExceeded(_) => too_deep(limits),
        kind => Failure::new(Code::Invalid, format!("regex: {kind} at byte {}", error.span().start.offset)),
    })
}

fn parse_regex(regex: &str, limits: &Limits) -> Result<(), Box<ast::Error>> {
    ast::parse::ParserBuilder::new().nest_limit(limits.depth as u32).build().parse(regex).map(|_| ()).map_err(Box::new)
}

fn too_deep(limits: &Limits) -> Failure {
    Failure::new(Code::Limit, format!("a grammar may be nested {} deep", limits.depth))
}

/// Bounds the nesting of a Lark grammar and of the regexes in it, and returns it with the schemas in it checked and their
/// writing set. Its syntax is left to the engine.
pub fn checked_lark(text: &str, limits: &Limits) -> Result<String, Failure> {
    let bytes = text.as_bytes();
    let mut lark = String::with_capacity(text.len());
    let mut depth = 0usize;
    let mut at = 0;
    // Where the text begins that was read and not yet copied.
    let mut copied = 0;
    while at < bytes.len() {
        let rest = &text[at..];
        at += match bytes[at] {
            b'#' => line(rest),
            b'/' if rest.starts_with("//") => line(rest),
            b'"' => quoted(rest),
            b'/' => {
                let length = quoted(rest);
                let regex = rest[1..length].strip_suffix('/').unwrap_or(&rest[1..length]);
                if let Err(error) = parse_regex(regex, limits)
                    && matches!(error.kind(), ast::ErrorKind::NestLimitExceeded(_))
                {
                    return Err(too_deep(limits));
                }
                length
            }
            b'%' if rest.starts_with("%json") => {
                let mut values = Deserializer::from_str(&rest[5..]).into_iter::<Value>();
                match values.next() {
                    Some(Ok(mut value)) => {
                        schema::check(&value, limits)?;
                        schema::set_writing(&mut value, limits);
                        let length = 5 + values.byte_offset();
                        write!(lark, "{}%json {value}", &text[copied..at]).expect("a string grows");
                        copied = at + length;
                        length
                    }
                    _ => 5,
                }
            }
            b'(' | b'[' | b'{' => {
                depth += 1;
                if depth > limits.depth {
                    return Err(too_deep(limits));
                }
                1
            }
            b')' | b']' | b'}' => {
                depth = depth.saturating_sub(1);
                1
            }
            _ => rest.chars().next().map_or(1, char::len_utf8),
        };
    }
    lark.push_str(&text[copied..]);
    Ok(lark)
}

fn line(text: &str) -> usize {
    text.find('\n').unwrap_or(text.len())
}

/// Returns the length of a string or regex, with both delimiters; to the end of the text if it is not closed.
fn quoted(text: &str) -> usize {
    let delimiter = text.as_bytes()[0];
    let mut escaped = false;
    for (at, &byte) in text.as_bytes().iter().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            _ if byte == delimiter => return at + 1,
            _ => {}
        }
    }
    text.len()
}
