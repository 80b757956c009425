//! Words: quotes, escapes, and the forms that begin with a dollar.

use std::rc::Rc;

use crate::sh::parse::{Parsed, Parser, Part, Trouble, Word, parse};

impl Parser {
    pub fn word(&mut self) -> Parsed<Option<Word>> {
        self.blanks();
        let mut word = Word::new();
        let mut plain = String::new();
        if self.at_word_end() {
            return Ok(None);
        }
        while let Some(letter) = self.peek().filter(|c| !" \t\n;&|()<>".contains(*c)) {
            if letter != '$' && letter != '`' && letter != '"' && letter != '\'' && letter != '\\' {
                plain.push(letter);
                self.at += 1;
                continue;
            }
            if !plain.is_empty() {
                word.push(Part::Text(std::mem::take(&mut plain), false));
            }
            self.at += 1;
            match letter {
                '\\' => {
                    let escaped = self.peek().ok_or(Trouble::Incomplete)?;
                    self.at += 1;
                    if escaped != '\n' {
                        word.push(Part::Text(escaped.to_string(), true));
                    }
                }
                '\'' => {
                    let rest = &self.text[self.at..];
                    let length = rest.iter().position(|c| *c == '\'').ok_or(Trouble::Incomplete)?;
                    word.push(Part::Text(rest[..length].iter().collect(), true));
                    self.at += length + 1;
                }
                '"' => self.double_quoted(&mut word)?,
                '`' => word.push(self.backquoted(false)?),
                _ => word.push(self.dollar(false)?),
            }
        }
        if !plain.is_empty() {
            word.push(Part::Text(plain, false));
        }
        Ok(Some(word))
    }

    /// After the opening quote; an empty pair is an empty quoted text.
    pub fn double_quoted(&mut self, word: &mut Word) -> Parsed<()> {
        let mut text = String::new();
        word.push(Part::Text(String::new(), true));
        loop {
            let letter = self.peek().ok_or(Trouble::Incomplete)?;
            self.at += 1;
            match letter {
                '"' => break,
                '\\' => {
                    let escaped = self.peek().ok_or(Trouble::Incomplete)?;
                    self.at += 1;
                    match escaped {
                        '\n' => {}
                        '"' | '\\' | '$' | '`' => text.push(escaped),
                        other => text.extend(['\\', other]),
                    }
                }
                '$' | '`' => {
                    word.push(Part::Text(std::mem::take(&mut text), true));
                    word.push(if letter == '$' { self.dollar(true)? } else { self.backquoted(true)? });
                }
                other => text.push(other),
            }
        }
        word.push(Part::Text(text, true));
        Ok(())
    }

    fn backquoted(&mut self, quoted: bool) -> Parsed<Part> {
        let mut source = String::new();
        loop {
            let letter = self.peek().ok_or(Trouble::Incomplete)?;
            self.at += 1;
            match (letter, self.peek()) {
                ('`', _) => break,
                ('\\', Some(next @ ('`' | '\\' | '$'))) => {
                    source.push(next);
                    self.at += 1;
                }
                _ => source.push(letter),
            }
        }
        Ok(Part::Substitution(Rc::new(parse(&source)?), quoted))
    }

    /// After a `$`.
    pub fn dollar(&mut self, quoted: bool) -> Parsed<Part> {
        if self.take("((") {
            let start = self.at;
            let mut depth = 0;
            while depth > 0 || !self.starts("))") {
                match self.peek().ok_or(Trouble::Incomplete)? {
                    '(' => depth += 1,
                    ')' => depth -= 1,
                    _ => {}
                }
                self.at += 1;
            }
            let source: String = self.text[start..self.at].iter().collect();
            self.at += 2;
            return Ok(Part::Arithmetic(inside_quotes(&source)?, quoted));
        }
        if self.take("(") {
            let inner = self.list(&[])?;
            self.expect(")")?;
            return Ok(Part::Substitution(Rc::new(inner), quoted));
        }
        if self.take("{") {
            return self.braced(quoted);
        }
        if let Some(name) = self.name() {
            return Ok(Part::Variable(name, None, quoted));
        }
        match self.peek() {
            Some(special) if special.is_ascii_digit() || "?$!#@*-".contains(special) => {
                self.at += 1;
                Ok(Part::Variable(special.to_string(), None, quoted))
            }
            _ => Ok(Part::Text("$".into(), true)),
        }
    }

    fn braced(&mut self, quoted: bool) -> Parsed<Part> {
        let length = self.starts("#") && !self.starts("#}") && self.take("#");
        let name = match self.name() {
            Some(name) => name,
            None => {
                let start = self.at;
                while self.peek().is_some_and(|c| c.is_ascii_digit()) {
                    self.at += 1;
                }
                if self.at == start {
                    self.at += 1;
                }
                self.text.get(start..self.at).ok_or(Trouble::Incomplete)?.iter().collect()
            }
        };
        if length {
            self.expect("}")?;
            return Ok(Part::Variable(name, Some(("length".into(), Vec::new())), quoted));
        }
        if self.take("}") {
            return Ok(Part::Variable(name, None, quoted));
        }
        let operators = [":-", ":=", ":+", ":?", "%%", "##", "-", "=", "+", "?", "%", "#"];
        let Some(operator) = operators.into_iter().find(|operator| self.starts(operator)) else {
            return Err(Trouble::Wrong("a bad ${…}".into()));
        };
        self.at += operator.len();
        // Up to the closing brace, which may follow others inside quotes or nested forms.
        let (start, mut depth) = (self.at, 0);
        loop {
            match self.peek().ok_or(Trouble::Incomplete)? {
                '\\' => self.at += 1,
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                _ => {}
            }
            self.at += 1;
        }
        let source: String = self.text[start..self.at].iter().collect();
        self.at += 1;
        let word = if quoted { inside_quotes(&source)? } else { whole_word(&source)? };
        Ok(Part::Variable(name, Some((operator.to_string(), word)), quoted))
    }
}

/// A text as between double quotes.
pub fn inside_quotes(text: &str) -> Parsed<Word> {
    let mut parser = Parser { text: text.replace('"', "\\\"").chars().chain(['"']).collect(), at: 0, here: Vec::new() };
    let mut word = Word::new();
    parser.double_quoted(&mut word)?;
    Ok(word)
}

/// A text as one word, blanks included.
fn whole_word(text: &str) -> Parsed<Word> {
    let mut parser = Parser { text: text.chars().collect(), at: 0, here: Vec::new() };
    let mut all = Word::new();
    while let Some(letter) = parser.peek() {
        if " \t\n;&|()<>#".contains(letter) {
            all.push(Part::Text(letter.to_string(), false));
            parser.at += 1;
        } else {
            all.extend(parser.word()?.unwrap_or_default());
        }
    }
    Ok(all)
}
