//! Text into commands: a recursive descent over characters.

use std::fmt;
use std::rc::Rc;

use crate::sh::words::inside_quotes;

#[derive(Debug)]
pub enum Command {
    Simple(Simple),
    Pipeline(Vec<Command>, bool),
    And(Box<Command>, Box<Command>),
    Or(Box<Command>, Box<Command>),
    List(Vec<Command>),
    Background(Box<Command>),
    If(Vec<(Command, Command)>, Option<Box<Command>>),
    /// `true`: until
    Loop(bool, Box<Command>, Box<Command>),
    For(String, Option<Vec<Word>>, Box<Command>),
    Case(Word, Vec<(Vec<Word>, Command)>),
    Function(String, Rc<Command>),
    /// `{ … }`, `( … )` and compounds with redirections; `true`: in a subshell
    Group(Box<Command>, Vec<Redirection>, bool),
}

#[derive(Debug, Default)]
pub struct Simple {
    pub assignments: Vec<(String, Word)>,
    pub words: Vec<Word>,
    pub redirections: Vec<Redirection>,
}

#[derive(Debug)]
pub struct Redirection {
    pub fd: i32,
    pub kind: RedirectionKind,
    pub target: Word,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RedirectionKind {
    Read,
    Write,
    Append,
    ReadWrite,
    Duplicate,
    Here,
}

pub type Word = Vec<Part>;

#[derive(Debug)]
pub enum Part {
    Text(String, bool),
    /// Name, operator with its word, quoted.
    Variable(String, Option<(String, Word)>, bool),
    Substitution(Rc<Command>, bool),
    Arithmetic(Word, bool),
}

#[derive(Debug, PartialEq)]
pub enum Trouble {
    /// More lines may complete it.
    Incomplete,
    Wrong(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Incomplete => write!(f, "syntax error: unexpected end of file"),
            Trouble::Wrong(text) => write!(f, "syntax error: {text}"),
        }
    }
}

pub type Parsed<T> = Result<T, Trouble>;

const KEYWORDS: [&str; 14] =
    ["if", "then", "elif", "else", "fi", "while", "until", "do", "done", "for", "case", "esac", "{", "}"];

pub fn parse(source: &str) -> Parsed<Command> {
    let mut parser = Parser { text: source.chars().collect(), at: 0, here: Vec::new() };
    let command = parser.list(&[])?;
    match parser.peek() {
        None => Ok(command),
        Some(letter) => Err(Trouble::Wrong(format!("unexpected {letter:?}"))),
    }
}

pub struct Parser {
    pub text: Vec<char>,
    pub at: usize,
    /// Here-documents whose text follows the next newline, in the order to be read.
    pub here: Vec<(String, bool, bool)>,
}

impl Parser {
    pub fn peek(&self) -> Option<char> {
        self.text.get(self.at).copied()
    }

    pub fn starts(&self, text: &str) -> bool {
        text.chars().enumerate().all(|(n, letter)| self.text.get(self.at + n) == Some(&letter))
    }

    pub fn take(&mut self, text: &str) -> bool {
        let found = self.starts(text);
        if found {
            self.at += text.chars().count();
        }
        found
    }

    pub fn blanks(&mut self) {
        loop {
            match self.peek() {
                Some(' ' | '\t') => self.at += 1,
                Some('\\') if self.starts("\\\n") => self.at += 2,
                Some('#') => {
                    while self.peek().is_some_and(|c| c != '\n') {
                        self.at += 1;
                    }
                }
                _ => return,
            }
        }
    }

    fn lines(&mut self) {
        self.blanks();
        while self.peek() == Some('\n') {
            self.at += 1;
            self.blanks();
        }
    }

    /// The reserved word that comes next, if one does.
    fn keyword(&self) -> Option<&'static str> {
        KEYWORDS.into_iter().find(|word| {
            let after = self.text.get(self.at + word.len());
            self.starts(word) && after.is_none_or(|c| " \t\n;&|()<>".contains(*c))
        })
    }

    pub fn expect(&mut self, word: &str) -> Parsed<()> {
        self.lines();
        if self.keyword() == Some(word) || (!word.chars().all(char::is_alphabetic) && self.starts(word)) {
            self.at += word.len();
            return Ok(());
        }
        match self.peek() {
            None => Err(Trouble::Incomplete),
            Some(_) => Err(Trouble::Wrong(format!("expected {word:?}"))),
        }
    }

    /// Commands up to a closing word (left where it is), `)`, `;;` or the end.
    pub fn list(&mut self, until: &[&str]) -> Parsed<Command> {
        let mut commands = Vec::new();
        loop {
            self.lines();
            let closes = self.keyword().is_some_and(|word| until.contains(&word));
            if self.peek().is_none() || closes || self.starts(")") || self.starts(";;") {
                break;
            }
            let command = self.and_or()?;
            self.blanks();
            match self.peek() {
                Some('&') => {
                    self.at += 1;
                    commands.push(Command::Background(Box::new(command)));
                }
                Some(';') if !self.starts(";;") => {
                    self.at += 1;
                    commands.push(command);
                }
                Some('\n') | Some(')') | Some(';') | None => commands.push(command),
                Some(other) => return Err(Trouble::Wrong(format!("unexpected {other:?}"))),
            }
            self.here_documents(&mut commands)?;
        }
        if commands.is_empty() && !until.is_empty() {
            return match self.peek() {
                None => Err(Trouble::Incomplete),
                Some(other) => Err(Trouble::Wrong(format!("unexpected {other:?}"))),
            };
        }
        Ok(Command::List(commands))
    }

    fn and_or(&mut self) -> Parsed<Command> {
        let mut command = self.pipeline()?;
        loop {
            self.blanks();
            let and = self.take("&&");
            if !and && !self.take("||") {
                return Ok(command);
            }
            self.lines();
            let (left, right) = (Box::new(command), Box::new(self.pipeline()?));
            command = if and { Command::And(left, right) } else { Command::Or(left, right) };
        }
    }

    fn pipeline(&mut self) -> Parsed<Command> {
        self.blanks();
        let mut negated = false;
        while self.starts("! ") {
            self.at += 1;
            negated = !negated;
            self.blanks();
        }
        let mut parts = vec![self.command()?];
        loop {
            self.blanks();
            if self.starts("||") || !self.take("|") {
                break;
            }
            self.lines();
            parts.push(self.command()?);
        }
        match parts.len() {
            1 if !negated => Ok(parts.remove(0)),
            _ => Ok(Command::Pipeline(parts, negated)),
        }
    }

    fn command(&mut self) -> Parsed<Command> {
        self.blanks();
        let compound = match self.keyword() {
            Some("if") => self.conditional()?,
            Some(word @ ("while" | "until")) => {
                self.at += word.len();
                let condition = self.list(&["do"])?;
                Command::Loop(word == "until", Box::new(condition), Box::new(self.body()?))
            }
            Some("for") => self.for_each()?,
            Some("case") => self.case()?,
            Some("{") => {
                self.at += 1;
                let inner = self.list(&["}"])?;
                self.expect("}")?;
                Command::Group(Box::new(inner), Vec::new(), false)
            }
            Some(word) => return Err(Trouble::Wrong(format!("unexpected {word:?}"))),
            None if self.take("(") => {
                let inner = self.list(&[])?;
                self.expect(")")?;
                Command::Group(Box::new(inner), Vec::new(), true)
            }
            None => return self.simple(),
        };
        let mut redirections = Vec::new();
        while let Some(redirection) = self.redirection()? {
            redirections.push(redirection);
        }
        Ok(match (compound, redirections.is_empty()) {
            (compound, true) => compound,
            (Command::Group(inner, _, subshell), false) => Command::Group(inner, redirections, subshell),
            (compound, false) => Command::Group(Box::new(compound), redirections, false),
        })
    }

    fn conditional(&mut self) -> Parsed<Command> {
        let mut branches = Vec::new();
        let mut word = "if";
        loop {
            self.at += word.len();
            let condition = self.list(&["then"])?;
            self.expect("then")?;
            branches.push((condition, self.list(&["elif", "else", "fi"])?));
            match self.keyword() {
                Some("elif") => word = "elif",
                Some("else") => {
                    self.at += 4;
                    let otherwise = self.list(&["fi"])?;
                    self.expect("fi")?;
                    return Ok(Command::If(branches, Some(Box::new(otherwise))));
                }
                _ => {
                    self.expect("fi")?;
                    return Ok(Command::If(branches, None));
                }
            }
        }
    }

    fn body(&mut self) -> Parsed<Command> {
        self.expect("do")?;
        let body = self.list(&["done"])?;
        self.expect("done")?;
        Ok(body)
    }

    fn for_each(&mut self) -> Parsed<Command> {
        self.at += 3;
        self.blanks();
        let name = self.name().ok_or_else(|| Trouble::Wrong("for needs a name".into()))?;
        self.lines();
        let mut words = None;
        if self.starts("in ") || self.starts("in\n") || self.starts("in;") {
            self.at += 2;
            let mut given = Vec::new();
            while let Some(word) = self.word()? {
                given.push(word);
            }
            words = Some(given);
        }
        self.blanks();
        self.take(";");
        Ok(Command::For(name, words, Box::new(self.body()?)))
    }

    fn case(&mut self) -> Parsed<Command> {
        self.at += 4;
        let word = self.word()?.ok_or(Trouble::Incomplete)?;
        self.lines();
        if !self.take("in") {
            return Err(Trouble::Wrong("case needs in".into()));
        }
        let mut arms = Vec::new();
        loop {
            self.lines();
            if self.keyword() == Some("esac") {
                self.at += 4;
                return Ok(Command::Case(word, arms));
            }
            self.take("(");
            let mut patterns = Vec::new();
            loop {
                patterns.push(self.word()?.ok_or(Trouble::Incomplete)?);
                self.blanks();
                if !self.take("|") {
                    break;
                }
            }
            self.expect(")")?;
            let body = self.list_or_nothing(&["esac"])?;
            arms.push((patterns, body));
            self.lines();
            if !self.take(";;") && self.keyword() != Some("esac") {
                return Err(if self.peek().is_none() {
                    Trouble::Incomplete
                } else {
                    Trouble::Wrong("expected ;;".into())
                });
            }
        }
    }

    fn list_or_nothing(&mut self, until: &[&str]) -> Parsed<Command> {
        self.lines();
        if self.starts(";;") || self.keyword().is_some_and(|word| until.contains(&word)) {
            return Ok(Command::List(Vec::new()));
        }
        self.list(until)
    }

    fn simple(&mut self) -> Parsed<Command> {
        let mut simple = Simple::default();
        loop {
            if let Some(redirection) = self.redirection()? {
                simple.redirections.push(redirection);
                continue;
            }
            if simple.words.is_empty()
                && let Some(name) = self.assignment()
            {
                let value = if self.at_word_end() { Vec::new() } else { self.word()?.unwrap_or_default() };
                simple.assignments.push((name, value));
                continue;
            }
            let Some(word) = self.word()? else { break };
            simple.words.push(word);
            // A function's definition: one plain word and ().
            if simple.words.len() == 1 && simple.assignments.is_empty() && self.starts("()") {
                let [Part::Text(name, false)] = simple.words[0].as_slice() else {
                    return Err(Trouble::Wrong("unexpected ()".into()));
                };
                let name = name.clone();
                self.at += 2;
                self.lines();
                return Ok(Command::Function(name, Rc::new(self.command()?)));
            }
        }
        if simple.words.is_empty() && simple.assignments.is_empty() && simple.redirections.is_empty() {
            return Err(match self.peek() {
                None => Trouble::Incomplete,
                Some(other) => Trouble::Wrong(format!("unexpected {other:?}")),
            });
        }
        Ok(Command::Simple(simple))
    }

    pub fn at_word_end(&self) -> bool {
        self.peek().is_none_or(|c| " \t\n;&|()<>".contains(c))
    }

    pub fn name(&mut self) -> Option<String> {
        let start = self.at;
        while self
            .peek()
            .is_some_and(|c| c == '_' || c.is_ascii_alphabetic() || (self.at > start && c.is_ascii_digit()))
        {
            self.at += 1;
        }
        (self.at > start).then(|| self.text[start..self.at].iter().collect())
    }

    /// `NAME=`
    fn assignment(&mut self) -> Option<String> {
        self.blanks();
        let start = self.at;
        let name = self.name();
        if name.is_some() && self.take("=") {
            return name;
        }
        self.at = start;
        None
    }

    fn redirection(&mut self) -> Parsed<Option<Redirection>> {
        self.blanks();
        let start = self.at;
        let mut digits = String::new();
        while let Some(digit) = self.peek().filter(char::is_ascii_digit) {
            digits.push(digit);
            self.at += 1;
        }
        let kinds = [
            ("<<", RedirectionKind::Here),
            ("<&", RedirectionKind::Duplicate),
            ("<>", RedirectionKind::ReadWrite),
            ("<", RedirectionKind::Read),
            (">>", RedirectionKind::Append),
            (">&", RedirectionKind::Duplicate),
            (">|", RedirectionKind::Write),
            (">", RedirectionKind::Write),
        ];
        let Some((mark, kind)) = kinds.into_iter().find(|(mark, _)| self.starts(mark)) else {
            self.at = start;
            return Ok(None);
        };
        self.at += mark.len();
        let fd = digits.parse().unwrap_or(i32::from(mark.starts_with('>')));
        let dash = kind == RedirectionKind::Here && self.take("-");
        let target = self.word()?.ok_or_else(|| Trouble::Wrong("a redirection needs a target".into()))?;
        if kind == RedirectionKind::Here {
            let quoted = target.iter().any(|part| matches!(part, Part::Text(_, true)));
            let text = target.iter().map(|part| if let Part::Text(text, _) = part { text.as_str() } else { "" });
            self.here.push((text.collect(), quoted, dash));
            return Ok(Some(Redirection { fd, kind, target: Vec::new() }));
        }
        Ok(Some(Redirection { fd, kind, target }))
    }

    /// Reads the texts of the here-documents that were opened on this line into their redirections.
    fn here_documents(&mut self, commands: &mut [Command]) -> Parsed<()> {
        if self.here.is_empty() {
            return Ok(());
        }
        self.blanks();
        if self.peek() != Some('\n') {
            return if self.peek().is_none() { Err(Trouble::Incomplete) } else { Ok(()) };
        }
        self.at += 1;
        let mut texts = Vec::new();
        for (end, quoted, dash) in std::mem::take(&mut self.here) {
            let mut text = String::new();
            loop {
                if self.peek().is_none() {
                    return Err(Trouble::Incomplete);
                }
                let line: String = self.text[self.at..].iter().take_while(|c| **c != '\n').collect();
                self.at = (self.at + line.chars().count() + 1).min(self.text.len());
                let line = if dash { line.trim_start_matches('\t') } else { &line };
                if line == end {
                    break;
                }
                text += line;
                text.push('\n');
            }
            texts.push(if quoted { vec![Part::Text(text, true)] } else { inside_quotes(&text)? });
        }
        let mut texts = texts.into_iter();
        commands.iter_mut().for_each(|command| fill(command, &mut texts));
        Ok(())
    }
}

/// Hands the texts to the here-documents of a command, in order.
fn fill(command: &mut Command, texts: &mut impl Iterator<Item = Word>) {
    let mut each = |redirections: &mut Vec<Redirection>| {
        let open = redirections.iter_mut().filter(|r| r.kind == RedirectionKind::Here && r.target.is_empty());
        for redirection in open {
            redirection.target = texts.next().unwrap_or_default();
        }
    };
    match command {
        Command::Simple(simple) => each(&mut simple.redirections),
        Command::Group(inner, redirections, _) => {
            each(redirections);
            fill(inner, texts);
        }
        Command::Pipeline(parts, _) | Command::List(parts) => parts.iter_mut().for_each(|part| fill(part, texts)),
        Command::And(left, right) | Command::Or(left, right) => {
            fill(left, texts);
            fill(right, texts);
        }
        Command::Background(inner) => fill(inner, texts),
        _ => {}
    }
}
