//! Words into fields: variables, substitutions, arithmetic, splitting at IFS, globs.

use crate::sh::parse::{Part, Word};
use crate::sh::run::Shell;

/// Characters, each with whether it was quoted.
type Text = Vec<(char, bool)>;

impl Shell {
    /// All fields of some words.
    pub fn fields(&mut self, words: &[Word]) -> Result<Vec<String>, String> {
        let mut all = Vec::new();
        for word in words {
            for field in self.split(word)? {
                all.extend(glob(&field));
            }
        }
        Ok(all)
    }

    /// One string, neither split nor globbed: assignments, targets, patterns' subjects.
    pub fn text(&mut self, word: &Word) -> Result<String, String> {
        Ok(self.pattern(word)?.into_iter().map(|(letter, _)| letter).collect())
    }

    /// One string that remembers what was quoted.
    pub fn pattern(&mut self, word: &Word) -> Result<Text, String> {
        let mut text = Text::new();
        for (n, part) in word.iter().enumerate() {
            let (value, quoted) = self.part(part, n == 0)?;
            text.extend(value.join(" ").chars().map(|letter| (letter, quoted)));
        }
        Ok(text)
    }

    fn split(&mut self, word: &Word) -> Result<Vec<Text>, String> {
        let separators = self.get("IFS").unwrap_or_else(|| " \t\n".into());
        let mut fields: Vec<Text> = Vec::new();
        let mut current: Option<Text> = None;
        for (n, part) in word.iter().enumerate() {
            let (values, quoted) = self.part(part, n == 0)?;
            let literal = matches!(part, Part::Text(..));
            let at = matches!(part, Part::Variable(name, None, true) if name == "@");
            for (n, value) in values.iter().enumerate() {
                // "$@" keeps its fields apart, and no positional makes no field at all.
                if n > 0 {
                    fields.extend(current.take());
                }
                if quoted || literal {
                    let field =
                        if at || !value.is_empty() || quoted { current.get_or_insert_default() } else { continue };
                    field.extend(value.chars().map(|letter| (letter, quoted)));
                    continue;
                }
                for letter in value.chars() {
                    if separators.contains(letter) {
                        fields.extend(current.take());
                    } else {
                        current.get_or_insert_default().push((letter, false));
                    }
                }
            }
        }
        fields.extend(current);
        Ok(fields)
    }

    /// A part's values (several only for `$@` and `$*`) and whether they are quoted.
    fn part(&mut self, part: &Part, first: bool) -> Result<(Vec<String>, bool), String> {
        match part {
            Part::Text(text, false) if first && (text == "~" || text.starts_with("~/")) => {
                let home = self.get("HOME").unwrap_or_default();
                Ok((vec![format!("{home}{}", &text[1..])], false))
            }
            Part::Text(text, quoted) => Ok((vec![text.clone()], *quoted)),
            Part::Substitution(command, quoted) => {
                let output = self.output_of(command)?;
                Ok((vec![output.trim_end_matches('\n').to_string()], *quoted))
            }
            Part::Arithmetic(word, quoted) => {
                let source = self.text(word)?;
                let value = Arithmetic { shell: self, text: source.chars().collect(), at: 0 }.value()?;
                Ok((vec![value.to_string()], *quoted))
            }
            Part::Variable(name, None, quoted) if name == "@" || name == "*" => {
                let all = self.positional.clone();
                let joined = name == "*" && *quoted;
                Ok((if joined { vec![all.join(" ")] } else { all }, *quoted))
            }
            Part::Variable(name, operator, quoted) => {
                let value = self.variable(name, operator.as_ref())?;
                Ok((vec![value], *quoted))
            }
        }
    }

    fn variable(&mut self, name: &str, operator: Option<&(String, Word)>) -> Result<String, String> {
        let value = self.get(name);
        let Some((operator, word)) = operator else {
            return match value {
                None if self.unset_is_error => Err(format!("{name}: parameter not set")),
                value => Ok(value.unwrap_or_default()),
            };
        };
        let there = value.clone().filter(|v| !operator.starts_with(':') || !v.is_empty());
        match operator.trim_start_matches(':') {
            "length" => Ok(value.unwrap_or_default().chars().count().to_string()),
            "-" => there.map_or_else(|| self.text(word), Ok),
            "+" => there.map_or(Ok(String::new()), |_| self.text(word)),
            "=" => match there {
                Some(value) => Ok(value),
                None => {
                    let value = self.text(word)?;
                    self.set(name, value.clone());
                    Ok(value)
                }
            },
            "?" => match there {
                Some(value) => Ok(value),
                None => {
                    let text = self.text(word)?;
                    Err(format!("{name}: {}", if text.is_empty() { "parameter not set" } else { &text }))
                }
            },
            trim => {
                let pattern = self.pattern(word)?;
                Ok(trimmed(&value.unwrap_or_default(), &pattern, trim))
            }
        }
    }
}

/// `%` and `%%` cut the shortest and longest match off the end, `#` and `##` off the start.
fn trimmed(value: &str, pattern: &[(char, bool)], operator: &str) -> String {
    let letters: Vec<char> = value.chars().collect();
    let mut cuts: Vec<usize> = (0..=letters.len()).collect();
    if matches!(operator, "%" | "##") {
        cuts.reverse();
    }
    let front = operator.starts_with('#');
    let cut = cuts.into_iter().find(|at| matches(pattern, if front { &letters[..*at] } else { &letters[*at..] }));
    match cut {
        Some(at) => if front { &letters[at..] } else { &letters[..at] }.iter().collect(),
        None => value.to_string(),
    }
}

/// Whether a pattern (`*`, `?`, `[…]`, unless quoted) fits a whole text.
pub fn matches(pattern: &[(char, bool)], text: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [('*', false), rest @ ..] => (0..=text.len()).any(|skip| matches(rest, &text[skip..])),
        [('?', false), rest @ ..] => !text.is_empty() && matches(rest, &text[1..]),
        [('[', false), rest @ ..] if rest.iter().skip(1).any(|(c, _)| *c == ']') => {
            let Some((letter, after)) = text.split_first() else { return false };
            let end = rest.iter().skip(1).position(|(c, _)| *c == ']').map_or(0, |at| at + 1);
            let set: Vec<char> = rest[..end].iter().map(|(c, _)| *c).collect();
            let (negated, set) = match set.as_slice() {
                ['!' | '^', set @ ..] => (true, set),
                set => (false, set),
            };
            let range = |w: &[char]| w[1] == '-' && w[0] <= *letter && *letter <= w[2];
            let inside = set.contains(letter) || set.windows(3).any(range);
            inside != negated && matches(&rest[end + 1..], after)
        }
        [(letter, _), rest @ ..] => text.first() == Some(letter) && matches(rest, &text[1..]),
    }
}

/// The files that a field names; itself if it names none.
fn glob(field: &[(char, bool)]) -> Vec<String> {
    let literal: String = field.iter().map(|(letter, _)| *letter).collect();
    if !field.iter().any(|(letter, quoted)| !quoted && matches!(letter, '*' | '?' | '[')) {
        return vec![literal];
    }
    let mut found = vec![if literal.starts_with('/') { "/".to_string() } else { String::new() }];
    for part in field.split(|(letter, _)| *letter == '/').filter(|part| !part.is_empty()) {
        let mut next = Vec::new();
        for base in &found {
            let folder = if base.is_empty() { "." } else { base.as_str() };
            let mut names: Vec<String> = std::fs::read_dir(folder)
                .map(|entries| entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect())
                .unwrap_or_default();
            let dots = part[0].0 == '.';
            names.extend(dots.then(|| [".".to_string(), "..".to_string()]).into_iter().flatten());
            names.retain(|name| (dots || !name.starts_with('.')) && matches(part, &name.chars().collect::<Vec<_>>()));
            names.sort();
            let joint = if base.is_empty() || base.ends_with('/') { "" } else { "/" };
            next.extend(names.into_iter().map(|name| format!("{base}{joint}{name}")));
        }
        found = next;
    }
    if found.is_empty() { vec![literal] } else { found }
}

/// `$((…))`: integers, variables, and the operators of C but assignments.
struct Arithmetic<'a> {
    shell: &'a mut Shell,
    text: Vec<char>,
    at: usize,
}

const OPERATORS: &[(&str, u8)] = &[
    ("||", 1),
    ("&&", 2),
    ("==", 6),
    ("!=", 6),
    ("<=", 7),
    (">=", 7),
    ("<<", 8),
    (">>", 8),
    ("<", 7),
    (">", 7),
    ("|", 3),
    ("^", 4),
    ("&", 5),
    ("+", 9),
    ("-", 9),
    ("*", 10),
    ("/", 10),
    ("%", 10),
];

impl Arithmetic<'_> {
    fn value(mut self) -> Result<i64, String> {
        let value = self.level(0)?;
        self.blanks();
        if self.at < self.text.len() {
            return Err(format!("arithmetic: unexpected {:?}", self.text[self.at]));
        }
        Ok(value)
    }

    fn blanks(&mut self) {
        while self.text.get(self.at).is_some_and(|c| c.is_whitespace()) {
            self.at += 1;
        }
    }

    fn level(&mut self, least: u8) -> Result<i64, String> {
        let mut left = self.unary()?;
        loop {
            self.blanks();
            let rest: String = self.text[self.at..].iter().take(2).collect();
            let found = OPERATORS.iter().find(|(operator, _)| rest.starts_with(operator));
            let Some((operator, level)) = found.filter(|(_, level)| *level > least) else { return Ok(left) };
            self.at += operator.len();
            let right = self.level(*level)?;
            left = match *operator {
                "||" => i64::from(left != 0 || right != 0),
                "&&" => i64::from(left != 0 && right != 0),
                "==" => i64::from(left == right),
                "!=" => i64::from(left != right),
                "<=" => i64::from(left <= right),
                ">=" => i64::from(left >= right),
                "<" => i64::from(left < right),
                ">" => i64::from(left > right),
                "<<" => left.wrapping_shl(right as u32),
                ">>" => left.wrapping_shr(right as u32),
                "|" => left | right,
                "^" => left ^ right,
                "&" => left & right,
                "+" => left.wrapping_add(right),
                "-" => left.wrapping_sub(right),
                "*" => left.wrapping_mul(right),
                _ if right == 0 => return Err("arithmetic: division by zero".into()),
                "/" => left.wrapping_div(right),
                _ => left.wrapping_rem(right),
            };
        }
    }

    fn unary(&mut self) -> Result<i64, String> {
        self.blanks();
        let letter = *self.text.get(self.at).ok_or("arithmetic: unexpected end")?;
        match letter {
            '-' | '+' | '!' | '~' => {
                self.at += 1;
                let value = self.unary()?;
                Ok(match letter {
                    '-' => value.wrapping_neg(),
                    '!' => i64::from(value == 0),
                    '~' => !value,
                    _ => value,
                })
            }
            '(' => {
                self.at += 1;
                let value = self.level(0)?;
                self.blanks();
                if self.text.get(self.at) != Some(&')') {
                    return Err("arithmetic: expected )".into());
                }
                self.at += 1;
                Ok(value)
            }
            _ => {
                let start = self.at;
                while self.text.get(self.at).is_some_and(|c| c.is_alphanumeric() || *c == '_') {
                    self.at += 1;
                }
                let word: String = self.text[start..self.at].iter().collect();
                if word.is_empty() {
                    return Err(format!("arithmetic: unexpected {letter:?}"));
                }
                if word.starts_with(|c: char| c.is_ascii_digit()) {
                    return word.parse().map_err(|_| format!("arithmetic: {word:?} is no number"));
                }
                let value = self.shell.get(&word).unwrap_or_default();
                if value.is_empty() {
                    Ok(0)
                } else {
                    value.parse().map_err(|_| format!("arithmetic: {word} is {value:?}"))
                }
            }
        }
    }
}
