//! Paths of fields in a definition: `.spec.size`, `.spec['a.b']`, and what they lead to in a schema. Pure.
//!
//! Upstream: apiextensions-apiserver pkg/apiserver/schema/cel/validation.go ValidFieldPath.

use serde_json::Value;

/// The schema at a path. `in_brackets`: whether a name may stand in brackets.
///
/// # Errors
/// Why it leads nowhere: `does not refer to a valid field`.
pub fn found<'v>(path: &str, schema: &'v Value, in_brackets: bool) -> Result<&'v Value, String> {
    let (mut rest, mut here) = (path, schema);
    while let Some(token) = next(&mut rest) {
        let step = match token {
            "[" if !in_brackets => return Err("array notation is not allowed".into()),
            "[" => {
                let name = next(&mut rest).ok_or("unexpected end of JSON path")?;
                let inner = name.strip_prefix('\'').and_then(|name| name.strip_suffix('\''));
                let inner = inner.ok_or_else(|| format!("expected single quoted string but got {name}"))?;
                inner.replace("\\'", "'").replace("\\\\", "\\")
            }
            "." => next(&mut rest).ok_or("unexpected end of JSON path")?.to_owned(),
            other => return Err(format!("expected [ or . but got: {other}")),
        };
        here = match (here["properties"].as_object(), here["additionalProperties"].is_object()) {
            (Some(named), _) => named.get(&step).ok_or("does not refer to a valid field")?,
            (None, true) => &here["additionalProperties"],
            (None, false) => return Err("does not refer to a valid field".into()),
        };
        if token == "[" {
            match next(&mut rest).ok_or("unexpected end of JSON path")? {
                "]" => {}
                other => return Err(format!("expected ] but got {other}")),
            }
        }
    }
    Ok(here)
}

/// The next of a path's tokens: a delimiter, a text in single quotes, or what is up to the next delimiter.
fn next<'p>(rest: &mut &'p str) -> Option<&'p str> {
    let path = *rest;
    let is_delimiter = |c: char| matches!(c, '.' | '[' | ']');
    let first = path.chars().next()?;
    let quoted = || path.match_indices('\'').map(|(at, _)| at).find(|at| *at > 0 && !path[..*at].ends_with('\\'));
    let end = match first {
        '\'' => quoted().map_or(path.len(), |at| at + 1),
        first if is_delimiter(first) => 1,
        _ => path.find(is_delimiter).unwrap_or(path.len()),
    };
    let (token, after) = path.split_at(end);
    *rest = after;
    Some(token)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_leads_along_the_schema() {
        let schema = json!({"properties": {
            "spec": {"properties": {"size": {"type": "integer"}, "a.b": {"type": "string"}}},
            "tags": {"additionalProperties": {"type": "boolean"}},
        }});
        for (path, in_brackets, want) in [
            (".spec.size", false, Ok("integer")),
            (".spec['a.b']", true, Ok("string")),
            (".tags.any", false, Ok("boolean")),
            (".tags['it\\'s']", true, Ok("boolean")),
            (".spec.c", false, Err("does not refer to a valid field")),
            (".spec.size.more", false, Err("does not refer to a valid field")),
            (".spec[a]", false, Err("array notation is not allowed")),
            (".spec[a]", true, Err("expected single quoted string but got a")),
            (".spec['size'", true, Err("unexpected end of JSON path")),
            (".spec['size'.", true, Err("expected ] but got .")),
            (".spec.", false, Err("unexpected end of JSON path")),
            ("spec", false, Err("expected [ or . but got: spec")),
        ] {
            let told = found(path, &schema, in_brackets);
            let told = told.as_ref().map(|schema| schema["type"].as_str().unwrap_or_default()).map_err(String::as_str);
            assert_eq!(told, want, "{path}");
        }
    }
}
