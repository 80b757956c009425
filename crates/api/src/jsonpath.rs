//! kubectl's dialect of JSONPath: `{.items[*].metadata.name}`, filters, ranges, escaped text.
//!
//! Text outside braces is printed as it stands; inside, paths, quoted text, and `range … end`.
//! Facts: client-go/util/jsonpath and kubernetes.io/docs/reference/kubectl/jsonpath.

use serde_json::Value;

mod path;

use path::{Path, Step};

/// A parsed template.
pub struct Template(Vec<Part>);

enum Part {
    Text(String),
    Path(Path),
    Range(Path, Vec<Part>),
}

impl Template {
    /// A bare path (`.metadata.name`) is taken as if it stood in braces. Errors say where.
    pub fn parse(text: &str) -> Result<Template, String> {
        let text = text.trim_matches('\'');
        let braced = if text.contains('{') { text.to_string() } else { format!("{{{text}}}") };
        let mut rest = braced.as_str();
        let parts = parts(&mut rest, false)?;
        Ok(Template(parts))
    }

    /// The text for one object; several values of one path are separated by blanks.
    pub fn render(&self, root: &Value) -> Result<String, String> {
        let mut text = String::new();
        render(&self.0, root, root, &mut text)?;
        Ok(text)
    }
}

fn parts(rest: &mut &str, in_range: bool) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    loop {
        let Some(open) = rest.find('{') else {
            if in_range {
                return Err("a {range …} without its {end}".into());
            }
            push_text(&mut parts, rest);
            return Ok(parts);
        };
        push_text(&mut parts, &rest[..open]);
        let close = closing(&rest[open + 1..]).ok_or_else(|| format!("unclosed action: {}", &rest[open..]))?;
        let inside = rest[open + 1..open + 1 + close].trim();
        *rest = &rest[open + close + 2..];
        if inside == "end" {
            return if in_range { Ok(parts) } else { Err("an {end} without its {range …}".into()) };
        }
        if let Some(path) = inside.strip_prefix("range ") {
            let path = Path::parse(path.trim())?;
            parts.push(Part::Range(path, self::parts(rest, true)?));
        } else if let Some(quoted) = inside.strip_prefix(['"', '\'']) {
            let quoted =
                quoted.strip_suffix(['"', '\'']).ok_or_else(|| format!("unterminated quoted string: {inside}"))?;
            push_text(&mut parts, &unescaped(quoted));
        } else {
            parts.push(Part::Path(Path::parse(inside)?));
        }
    }
}

/// The position of the brace that ends the action; quoted ones do not count.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(q), c) if c == q => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '}') => return Some(at),
            _ => {}
        }
    }
    None
}

fn push_text(parts: &mut Vec<Part>, text: &str) {
    if !text.is_empty() {
        parts.push(Part::Text(text.to_string()));
    }
}

fn unescaped(text: &str) -> String {
    text.replace("\\n", "\n").replace("\\t", "\t").replace("\\\"", "\"").replace("\\\\", "\\")
}

fn render(parts: &[Part], root: &Value, here: &Value, text: &mut String) -> Result<(), String> {
    for part in parts {
        match part {
            Part::Text(literal) => text.push_str(literal),
            Part::Path(path) => {
                let found: Vec<String> = path.find(root, here)?.into_iter().map(shown).collect();
                text.push_str(&found.join(" "));
            }
            Part::Range(path, body) => {
                let mut found = path.find(root, here)?;
                // A range over a list that is named without [*] goes over its items.
                if let ([Value::Array(items)], false) = (&found[..], path.ends_in(&Step::All)) {
                    found = items.iter().collect();
                }
                for item in found {
                    render(body, root, item, text)?;
                }
            }
        }
    }
    Ok(())
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
