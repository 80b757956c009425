//! Go's dump of a pod template, which upstream hashes (k8s.io/utils/dump.ForHash, go-spew's `%#v`). Pure.
//!
//! It names every field of Go's structures in their order, also those that are zero, with their types; so a table has
//! them, made by `conformance/dump` of k8s.io/api. Law: the same text as upstream's for every template that is stored,
//! so that ReplicaSets and ControllerRevisions keep their names when a cluster moves.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::LazyLock;

use serde_json::{Map, Value};

/// What a named type is.
enum Shape {
    /// Name, type, and name in JSON of each field.
    Fields(Vec<[&'static str; 3]>),
    /// Another's.
    Like(&'static str),
}

static TYPES: LazyLock<HashMap<&'static str, Shape>> = LazyLock::new(|| {
    let mut types = HashMap::new();
    for block in include_str!("dump/types.txt").split("\n=").skip(1) {
        let mut lines = block.lines();
        let head = lines.next().unwrap_or_default();
        let fields = lines.map(|line| {
            let mut words = line.split(' ');
            [(); 3].map(|()| words.next().unwrap_or_default())
        });
        match head.split_once(' ') {
            Some((name, like)) => types.insert(name, Shape::Like(like)),
            None => types.insert(head, Shape::Fields(fields.collect())),
        };
    }
    types
});

/// Of a stored pod template.
pub fn of(template: &Value) -> String {
    let mut out = String::with_capacity(16 << 10);
    typed(&mut out, "v1.PodTemplateSpec", Some(template));
    out
}

/// Of a value of any type of the table.
pub fn typed_of(class: &str, value: &Value) -> String {
    let mut out = String::new();
    typed(&mut out, class, Some(value));
    out
}

/// The type, then the value.
fn typed(out: &mut String, class: &str, value: Option<&Value>) {
    let value = value.filter(|value| !value.is_null());
    out.extend(["(", class, ")"]);
    match (class.strip_prefix('*'), value) {
        (Some(_), None) => out.push_str("<nil>"),
        (pointee, value) => plain(out, pointee.unwrap_or(class), value),
    }
}

/// The value alone.
fn plain(out: &mut String, class: &str, value: Option<&Value>) {
    if let Some(item) = class.strip_prefix("[]") {
        let items = value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        each(out, "[", "]", items.iter(), |out, value| plain(out, item, Some(value)));
    } else if let Some((_, item)) = class.strip_prefix("map[").and_then(|rest| rest.split_once(']')) {
        let mut entries: Vec<_> = value.and_then(Value::as_object).into_iter().flat_map(Map::iter).collect();
        entries.sort_unstable_by_key(|(key, _)| *key);
        each(out, "map[", "]", entries.into_iter(), |out, (key, value)| {
            out.extend([key, ":"]);
            plain(out, item, Some(value));
        });
    } else {
        match (class, TYPES.get(class)) {
            ("v1.Time", _) => out.push_str("{Time:(time.Time){wall:(uint64)0 ext:(int64)0 loc:(*time.Location)<nil>}}"),
            ("resource.Quantity", _) => quantity(out, value.and_then(Value::as_str).unwrap_or("0")),
            ("intstr.IntOrString", _) => int_or_string(out, value),
            (_, Some(Shape::Like(class))) => plain(out, class, value),
            (_, Some(Shape::Fields(fields))) => {
                out.push('{');
                for (at, [name, class, json]) in fields.iter().enumerate() {
                    out.extend([if at > 0 { " " } else { "" }, name, ":"]);
                    typed(out, class, if *json == "-" { value } else { value.and_then(|value| value.get(json)) });
                }
                out.push('}');
            }
            (_, None) => match value {
                Some(Value::String(text)) => out.push_str(text),
                Some(value) => drop(write!(out, "{value}")),
                None => out.push_str(match class {
                    "bool" => "false",
                    "string" => "",
                    _ => "0",
                }),
            },
        }
    }
}

/// Those of a list or map; none is nil, as what is stored has no empty ones.
fn each<T>(
    out: &mut String,
    begin: &str,
    end: &str,
    items: impl ExactSizeIterator<Item = T>,
    mut one: impl FnMut(&mut String, T),
) {
    if items.len() == 0 {
        return out.push_str("<nil>");
    }
    out.push_str(begin);
    for (at, item) in items.enumerate() {
        if at > 0 {
            out.push(' ');
        }
        one(out, item);
    }
    out.push_str(end);
}

fn int_or_string(out: &mut String, value: Option<&Value>) {
    let (class, number, text) = match value {
        Some(Value::String(text)) => (1, 0, text.as_str()),
        value => (0, value.and_then(Value::as_i64).unwrap_or_default(), ""),
    };
    let _ = write!(out, "{{Type:(intstr.Type){class} IntVal:(int32){number} StrVal:(string){text}}}");
}

/// As apimachinery resource.ParseQuantity leaves it: a number with a scale, or beyond its precision one with nine
/// decimals; the text only where that surely is canonical.
fn quantity(out: &mut String, text: &str) {
    const DECIMAL: [(&str, i32); 10] =
        [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
    const BINARY: [(&str, u32); 6] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];
    let unsigned = text.trim_start_matches(['-', '+']);
    let split = unsigned.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(unsigned.len());
    let (digits, suffix) = unsigned.split_at(split);
    let (whole, parts) = digits.split_once('.').unwrap_or((digits, ""));
    let whole = Some(whole.trim_start_matches('0')).filter(|whole| !whole.is_empty()).unwrap_or("0");
    let shifted = format!("{whole}{parts}");
    let number: i128 = shifted.parse().unwrap_or_default();
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let binary = BINARY.iter().find(|(name, _)| *name == suffix).map(|(_, exponent)| *exponent);
    let decimal = DECIMAL.iter().find(|(name, _)| *name == suffix).map(|(_, exponent)| *exponent);
    let exponent = decimal.or_else(|| suffix.get(1..)?.parse().ok()).unwrap_or_default();
    let (format, scale, precision, is_canonical, value) = match binary {
        Some(exponent) => {
            let precision = 15 - whole.len() as i32 - (exponent * 3 / 10) as i32 - 1;
            let precision = if parts.is_empty() { precision } else { -1 };
            ("BinarySI", 0, precision, number & 7 != 0, number.saturating_mul(1 << exponent))
        }
        None => {
            let scale = exponent - parts.len() as i32;
            let is_canonical = scale % 3 == 0 && !shifted.ends_with("000") && !shifted.starts_with('0');
            let format = if decimal.is_some() { "DecimalSI" } else { "DecimalExponent" };
            (format, scale, 18 - shifted.len() as i32, is_canonical || text == "0", number)
        }
    };
    let value = sign * value;
    let dec = if precision >= 0 && scale >= -9 && i64::try_from(value).is_ok() {
        let _ = write!(out, "{{i:(resource.int64Amount){{value:(int64){value} scale:(resource.Scale){scale}}} ");
        "<nil>".to_owned()
    } else {
        out.push_str("{i:(resource.int64Amount){value:(int64)0 scale:(resource.Scale)0} ");
        let nanos = (value.unsigned_abs()).saturating_mul(10_u128.saturating_pow((scale + 9).max(0) as u32));
        let words = [nanos as u64, (nanos >> 64) as u64];
        let words = if words[1] == 0 { words[0].to_string() } else { format!("{} {}", words[0], words[1]) };
        let unscaled = format!("(big.Int){{neg:(bool){} abs:(big.nat)[{words}]}}", value < 0);
        format!("{{unscaled:{unscaled} scale:(inf.Scale)9}}")
    };
    let kept = if dec == "<nil>" && is_canonical { text } else { "" };
    let _ = write!(
        out,
        "d:(resource.infDecAmount){{Dec:(*inf.Dec){dec}}} s:(string){kept} Format:(resource.Format){format}}}"
    );
}

#[cfg(test)]
mod tests;
