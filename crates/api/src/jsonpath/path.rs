//! One path: fields, indices, slices, wildcards, recursive descent, unions and filters.

use std::cmp::Ordering;

use serde_json::Value;

#[derive(Debug, PartialEq)]
pub enum Step {
    Field(String),
    /// `..name`
    Anywhere(String),
    /// `[*]`, `.*`
    All,
    Index(i64),
    Slice {
        from: Option<i64>,
        to: Option<i64>,
        step: Option<i64>,
    },
    Union(Vec<Step>),
    Filter(Filter),
}

#[derive(Debug, PartialEq)]
pub struct Filter {
    left: Path,
    /// None: the left side exists.
    compare: Option<(Operator, Side)>,
}

#[derive(Debug, PartialEq)]
enum Side {
    Path(Path),
    Literal(Value),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, PartialEq)]
pub struct Path {
    /// `$`: from the whole object even inside a range; `@` and nothing: from here.
    from_root: bool,
    steps: Vec<Step>,
}

impl Path {
    pub fn parse(text: &str) -> Result<Path, String> {
        let (from_root, mut rest) = match text.chars().next() {
            Some('$') => (true, &text[1..]),
            Some('@') => (false, &text[1..]),
            _ => (false, text),
        };
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix("..") {
                let (name, after) = field(after);
                steps.push(Step::Anywhere(name));
                rest = after;
            } else if let Some(after) = rest.strip_prefix('.') {
                let (name, after) = field(after);
                match name.as_str() {
                    "*" => steps.push(Step::All),
                    "" => {}
                    _ => steps.push(Step::Field(name)),
                }
                rest = after;
            } else if let Some(after) = rest.strip_prefix('[') {
                let end = bracket(after).ok_or_else(|| format!("unterminated array: {text}"))?;
                steps.push(subscript(after[..end].trim())?);
                rest = &after[end + 1..];
            } else if steps.is_empty() {
                let (name, after) = field(rest);
                if after.len() == rest.len() {
                    return Err(format!("unrecognized character in action: {rest:?}"));
                }
                steps.push(Step::Field(name));
                rest = after;
            } else {
                return Err(format!("unrecognized character in action: {rest:?}"));
            }
        }
        Ok(Path { from_root, steps })
    }

    pub fn ends_in(&self, step: &Step) -> bool {
        self.steps.last() == Some(step)
    }

    /// Everything that the path leads to. A missing field leads nowhere.
    pub fn find<'v>(&self, root: &'v Value, here: &'v Value) -> Result<Vec<&'v Value>, String> {
        let mut found = vec![if self.from_root { root } else { here }];
        for step in &self.steps {
            let mut next = Vec::new();
            for value in found {
                step.from(value, root, &mut next)?;
            }
            found = next;
        }
        Ok(found)
    }
}

impl Step {
    fn from<'v>(&self, value: &'v Value, root: &'v Value, found: &mut Vec<&'v Value>) -> Result<(), String> {
        match self {
            Step::Field(name) => found.extend(value.get(name)),
            Step::Anywhere(name) => descend(value, name, found),
            Step::All => match value {
                Value::Array(items) => found.extend(items),
                Value::Object(map) => found.extend(map.values()),
                _ => {}
            },
            Step::Index(index) => {
                let Some(items) = value.as_array() else { return Ok(()) };
                match position(*index, items.len()).and_then(|at| items.get(at)) {
                    Some(item) => found.push(item),
                    None => return Err(format!("array index out of bounds: index {index}, length {}", items.len())),
                }
            }
            Step::Slice { from, to, step } => {
                let Some(items) = value.as_array() else { return Ok(()) };
                let bound = |b: &Option<i64>, default: usize| match b {
                    None => default,
                    Some(b) if *b < 0 => items.len().saturating_sub(b.unsigned_abs() as usize),
                    Some(b) => (*b as usize).min(items.len()),
                };
                let (start, end) = (bound(from, 0), bound(to, items.len()));
                let stride = step.unwrap_or(1).max(1) as usize;
                found.extend(items[start.min(end)..end].iter().step_by(stride));
            }
            Step::Union(steps) => {
                for step in steps {
                    step.from(value, root, found)?;
                }
            }
            Step::Filter(filter) => {
                for item in value.as_array().into_iter().flatten() {
                    if filter.holds(root, item)? {
                        found.push(item);
                    }
                }
            }
        }
        Ok(())
    }
}

impl Filter {
    fn parse(text: &str) -> Result<Filter, String> {
        let operators = [
            ("==", Operator::Equal),
            ("!=", Operator::NotEqual),
            ("<=", Operator::LessOrEqual),
            (">=", Operator::GreaterOrEqual),
            ("<", Operator::Less),
            (">", Operator::Greater),
        ];
        for (sign, operator) in operators {
            if let Some((left, right)) = text.split_once(sign) {
                let right = right.trim();
                let side = match right.chars().next() {
                    Some('@' | '$') => Side::Path(Path::parse(right)?),
                    Some('"' | '\'') => {
                        Side::Literal(Value::String(right[1..].trim_end_matches(['"', '\'']).to_string()))
                    }
                    _ => Side::Literal(
                        serde_json::from_str(right).map_err(|_| format!("unrecognized literal {right:?}"))?,
                    ),
                };
                return Ok(Filter { left: Path::parse(left.trim())?, compare: Some((operator, side)) });
            }
        }
        Ok(Filter { left: Path::parse(text.trim())?, compare: None })
    }

    fn holds(&self, root: &Value, item: &Value) -> Result<bool, String> {
        let left = self.left.find(root, item)?;
        let Some((operator, side)) = &self.compare else { return Ok(!left.is_empty()) };
        let Some(left) = left.first() else { return Ok(false) };
        let right = match side {
            Side::Literal(value) => value,
            Side::Path(path) => match path.find(root, item)?.first() {
                Some(value) => *value,
                None => return Ok(false),
            },
        };
        let order = match (left, right) {
            (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
            (a, b) => match (a.as_f64(), b.as_f64()) {
                (Some(a), Some(b)) => a.partial_cmp(&b),
                _ => (*left == right).then_some(Ordering::Equal),
            },
        };
        Ok(match operator {
            Operator::Equal => order == Some(Ordering::Equal),
            Operator::NotEqual => order != Some(Ordering::Equal),
            Operator::Less => order == Some(Ordering::Less),
            Operator::LessOrEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
            Operator::Greater => order == Some(Ordering::Greater),
            Operator::GreaterOrEqual => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        })
    }
}

/// A name up to the next step; a backslash takes the next character as it is.
fn field(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut letters = text.char_indices();
    while let Some((at, c)) = letters.next() {
        match c {
            '\\' => name.extend(letters.next().map(|(_, c)| c)),
            '.' | '[' | ' ' | ']' => return (name, &text[at..]),
            c => name.push(c),
        }
    }
    (name, "")
}

/// The position of the bracket that closes; inner ones and quoted ones do not count.
fn bracket(text: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') if depth == 0 => return Some(at),
            (None, ']') => depth -= 1,
            _ => {}
        }
    }
    None
}

fn subscript(text: &str) -> Result<Step, String> {
    if let Some(filter) = text.strip_prefix("?(").and_then(|t| t.strip_suffix(')')) {
        return Filter::parse(filter).map(Step::Filter);
    }
    if text == "*" {
        return Ok(Step::All);
    }
    if text.contains(',') {
        return text.split(',').map(|part| subscript(part.trim())).collect::<Result<_, _>>().map(Step::Union);
    }
    if let Some(name) = text.strip_prefix(['\'', '"']) {
        return Ok(Step::Field(name.trim_end_matches(['\'', '"']).to_string()));
    }
    let number = |text: &str| match text.trim() {
        "" => Ok(None),
        digits => digits.parse::<i64>().map(Some).map_err(|_| format!("invalid array index {text}")),
    };
    if text.contains(':') {
        let mut bounds = text.split(':');
        let mut next = || number(bounds.next().unwrap_or_default());
        return Ok(Step::Slice { from: next()?, to: next()?, step: next()? });
    }
    number(text)?.map(Step::Index).ok_or_else(|| format!("invalid array index {text}"))
}

fn position(index: i64, length: usize) -> Option<usize> {
    if index < 0 { length.checked_sub(index.unsigned_abs() as usize) } else { Some(index as usize) }
}

fn descend<'v>(value: &'v Value, name: &str, found: &mut Vec<&'v Value>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                if key == name || name.is_empty() || name == "*" {
                    found.push(value);
                }
                descend(value, name, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| descend(item, name, found)),
        _ => {}
    }
}
