//! The grammar of selectors (apimachinery pkg/labels and pkg/fields, with their error texts).

use super::{Operator, Requirement, Term};
use crate::names;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Token<'a> {
    Word(&'a str),
    /// `= == != ! ( ) , > <`
    Sign(&'a str),
    End,
}

impl<'a> Token<'a> {
    fn text(self) -> &'a str {
        match self {
            Token::Word(text) | Token::Sign(text) => text,
            Token::End => "",
        }
    }
}

struct Tokens<'a>(Vec<Token<'a>>, usize);

impl<'a> Tokens<'a> {
    fn peek(&self) -> Token<'a> {
        self.0.get(self.1).copied().unwrap_or(Token::End)
    }

    fn next(&mut self) -> Token<'a> {
        self.1 += 1;
        self.0.get(self.1 - 1).copied().unwrap_or(Token::End)
    }
}

pub fn labels(text: &str) -> Result<super::Labels, String> {
    let mut tokens = Tokens(scan(text), 0);
    let mut requirements = Vec::new();
    loop {
        match tokens.peek() {
            Token::Word(_) | Token::Sign("!") => {}
            Token::End => break,
            other => return Err(format!("found '{}', expected: !, identifier, or 'end of string'", other.text())),
        }
        requirements.push(requirement(&mut tokens).map_err(|e| format!("unable to parse requirement: {e}"))?);
        match tokens.next() {
            Token::End => break,
            Token::Sign(",") => {
                if !matches!(tokens.peek(), Token::Word(_) | Token::Sign("!")) {
                    return Err(format!("found '{}', expected: identifier after ','", tokens.peek().text()));
                }
            }
            other => return Err(format!("found '{}', expected: ',' or 'end of string'", other.text())),
        }
    }
    requirements.sort_by(|a: &Requirement, b| a.key.cmp(&b.key));
    Ok(super::Labels { requirements, nothing: false })
}

fn requirement(tokens: &mut Tokens) -> Result<Requirement, String> {
    let absent = tokens.peek() == Token::Sign("!");
    if absent {
        tokens.next();
    }
    let key = match tokens.next() {
        Token::Word(key) => key,
        other => return Err(format!("found '{}', expected: identifier", other.text())),
    };
    let complaints = names::qualified(key);
    if !complaints.is_empty() {
        return Err(format!("<nil>: Invalid value: {key:?}: {}", complaints.join("; ")));
    }
    let ends = matches!(tokens.peek(), Token::End | Token::Sign(","));
    let (operator, mut values) = match () {
        _ if absent => (Operator::DoesNotExist, Vec::new()),
        _ if ends => (Operator::Exists, Vec::new()),
        _ => operator_and_values(tokens)?,
    };
    values.sort();
    values.dedup();
    let requirement = Requirement { key: key.into(), operator, values };
    requirement.check()?;
    Ok(requirement)
}

fn operator_and_values(tokens: &mut Tokens) -> Result<(Operator, Vec<String>), String> {
    let (operator, is_set) = match tokens.next() {
        Token::Word("in") => (Operator::In, true),
        Token::Word("notin") => (Operator::NotIn, true),
        Token::Sign("=" | "==") => (Operator::In, false),
        Token::Sign("!=") => (Operator::NotIn, false),
        Token::Sign(">") => (Operator::GreaterThan, false),
        Token::Sign("<") => (Operator::LessThan, false),
        other => return Err(format!("found '{}', expected: in, notin, =, ==, !=, gt, lt", other.text())),
    };
    if is_set {
        return Ok((operator, set(tokens)?));
    }
    match tokens.peek() {
        Token::End | Token::Sign(",") => Ok((operator, vec![String::new()])),
        Token::Word(value) => {
            tokens.next();
            Ok((operator, vec![value.into()]))
        }
        other => Err(format!("found '{}', expected: identifier", other.text())),
    }
}

/// `(a, b)`; places left empty are empty values.
fn set(tokens: &mut Tokens) -> Result<Vec<String>, String> {
    match tokens.next() {
        Token::Sign("(") => {}
        other => return Err(format!("found '{}' expected: '('", other.text())),
    }
    let mut values: Vec<String> = Vec::new();
    match tokens.peek() {
        Token::Sign(")") => {
            tokens.next();
            return Ok(vec![String::new()]);
        }
        Token::Word(_) | Token::Sign(",") => {}
        other => return Err(format!("found '{}', expected: ',', ')' or identifier", other.text())),
    }
    loop {
        match tokens.next() {
            Token::Word(value) => {
                values.push(value.into());
                match tokens.peek() {
                    Token::Sign(",") => {}
                    Token::Sign(")") => break,
                    other => return Err(format!("found '{}', expected: ',' or ')'", other.text())),
                }
            }
            Token::Sign(",") => {
                if values.is_empty() {
                    values.push(String::new());
                }
                match tokens.peek() {
                    Token::Sign(")") => {
                        values.push(String::new());
                        break;
                    }
                    Token::Sign(",") => values.push(String::new()),
                    _ => {}
                }
            }
            other => return Err(format!("found '{}', expected: ',', or identifier", other.text())),
        }
    }
    tokens.next();
    Ok(values)
}

fn scan(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    let is_space = |c: char| matches!(c, ' ' | '\t' | '\r' | '\n');
    let is_sign = |c: char| "=!(),><".contains(c);
    loop {
        rest = rest.trim_start_matches(is_space);
        if rest.is_empty() {
            return tokens;
        }
        let signs = ["==", "!=", "=", "!", "(", ")", ",", ">", "<"];
        let (token, len) = match signs.iter().find(|s| rest.starts_with(**s)) {
            Some(sign) => (Token::Sign(&rest[..sign.len()]), sign.len()),
            None => {
                let end = rest.find(|c| is_space(c) || is_sign(c)).unwrap_or(rest.len());
                (Token::Word(&rest[..end]), end)
            }
        };
        tokens.push(token);
        rest = &rest[len..];
    }
}

/// Terms are split at commas that no backslash escapes.
pub fn fields(text: &str) -> Result<Vec<Term>, String> {
    let mut terms = Vec::new();
    // Upstream sorts the terms before it looks at them, so its error is about the first in that order.
    let mut parts = split(text);
    parts.sort_unstable();
    for part in parts {
        if part.is_empty() {
            continue;
        }
        let found = part.char_indices().find_map(|(i, _)| {
            let rest = &part[i..];
            ["!=", "==", "="].iter().find(|op| rest.starts_with(**op)).map(|op| (i, *op))
        });
        let Some((at, operator)) = found else {
            return Err(format!("invalid selector: '{text}'; can't understand '{part}'"));
        };
        let value = unescape(&part[at + operator.len()..])?;
        terms.push(Term { field: part[..at].into(), equal: operator != "!=", value });
    }
    Ok(terms)
}

fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut escaped) = (Vec::new(), 0, false);
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                parts.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn unescape(value: &str) -> Result<String, String> {
    let mut plain = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => plain.push(c),
                Some(c) => return Err(format!("invalid field selector: invalid escape sequence: \\{c}")),
                None => return Err("invalid field selector: invalid escape sequence: \\".into()),
            },
            ',' | '=' => return Err(format!("invalid field selector: unescaped character in value: {}", c as u32)),
            _ => plain.push(c),
        }
    }
    Ok(plain)
}
