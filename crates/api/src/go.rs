//! Values as Go prints them: upstream's errors show them so.
//!
//! Of trees as Go's decoder reads them: `map[string]interface {}`, `[]interface {}`, `int64`, `float64`.

use serde_json::{Map, Value};

/// `%v`: `x`, `[a b]`, `map[a:1]`.
pub fn plain(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => plain_map(map),
        other => other.to_string(),
    }
}

/// `%v` of a map.
pub fn plain_map(map: &Map<String, Value>) -> String {
    let pairs: Vec<String> = map.iter().map(|(key, value)| format!("{key}:{}", plain(value))).collect();
    format!("map[{}]", pairs.join(" "))
}

/// `%#v`: `"x"`, `map[string]interface {}{"a":1}`.
pub fn literal(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".into(),
        Value::String(text) => quoted(text),
        Value::Array(items) => {
            format!("[]interface {{}}{{{}}}", items.iter().map(literal).collect::<Vec<_>>().join(", "))
        }
        Value::Object(map) => {
            let pairs: Vec<String> =
                map.iter().map(|(key, value)| format!("{}:{}", quoted(key), literal(value))).collect();
            format!("map[string]interface {{}}{{{}}}", pairs.join(", "))
        }
        other => other.to_string(),
    }
}

/// `%T`.
pub fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// As encoding/json calls a value that does not fit.
pub fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Object(_) => "object",
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Number(_) => "number",
        Value::Bool(_) => "bool",
        Value::Null => "null",
    }
}

/// `%q`.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            c if u32::from(c) < 0x20 || c == '\u{7f}' => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Nanoseconds of a duration as time.ParseDuration reads it: `1h30m`, `-1.5s`, `0`.
///
/// # Errors
/// `time: invalid duration "x"`
pub fn duration(text: &str) -> Result<f64, String> {
    const UNITS: [(&str, f64); 8] =
        [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("μs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 6e10), ("h", 3.6e12)];
    let invalid = || format!("time: invalid duration {text:?}");
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    if rest == "0" {
        return Ok(0.0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let past_digits = |text: &str| text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let whole = past_digits(rest);
        let fraction = rest[whole..].strip_prefix('.').map_or(0, |digits| 1 + past_digits(digits));
        let (amount, tail) = rest.split_at(whole + fraction);
        let is_number = amount.bytes().any(|b| b.is_ascii_digit());
        let unit = tail.len() - tail.trim_start_matches(|c: char| !c.is_ascii_digit() && c != '.').len();
        let (name, tail) = tail.split_at(unit);
        if !is_number {
            return Err(invalid());
        }
        if name.is_empty() {
            return Err(format!("time: missing unit in duration {text:?}"));
        }
        let Some((_, nanos)) = UNITS.iter().find(|(known, _)| *known == name) else {
            return Err(format!("time: unknown unit {name:?} in duration {text:?}"));
        };
        total += amount.parse::<f64>().map_err(|_| invalid())? * nanos;
        rest = tail;
    }
    match total {
        _ if total > i64::MAX as f64 => Err(invalid()),
        _ if text.starts_with('-') => Ok(-total),
        _ => Ok(total),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_printed_as_go_prints_them() {
        let value = json!({"a": [1, "x", null], "b": {"c": true}, "d": 1.5});
        assert_eq!(plain(&value), "map[a:[1 x <nil>] b:map[c:true] d:1.5]");
        assert_eq!(
            literal(&json!({"a": [1, "x"], "b": {}})),
            r#"map[string]interface {}{"a":[]interface {}{1, "x"}, "b":map[string]interface {}{}}"#
        );
        assert_eq!((type_of(&json!(1)), type_of(&json!(1.5)), json_type(&json!(1))), ("int64", "float64", "number"));
        assert_eq!(quoted("\0a\"\\\n\u{7f}\u{85}ü"), r#""\x00a\"\\\n\x7f\u0085ü""#);
    }
}
