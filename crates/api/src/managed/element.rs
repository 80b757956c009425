//! Elements: the steps of a path to a field or an item, as FieldsV1 writes them.
//!
//! Upstream: structured-merge-diff fieldpath (element.go, serialize-pe.go).

use std::fmt;

use serde_json::{Map, Value};

/// One step of a path. The order is that of upstream's sets: fields, keys, values, indices.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Element {
    /// A field or a map's key.
    Field(String),
    /// A list item by its keys: canonical JSON of an object.
    Key(String),
    /// A set's item by its value: canonical JSON.
    Value(String),
    Index(usize),
}

impl Element {
    /// `f:name`, `k:{"name":"a"}`, `v:"a"`, `i:0`
    pub fn parse(key: &str) -> Option<Element> {
        let (kind, rest) = key.split_once(':')?;
        let canonical = || Some(serde_json::from_str::<Value>(rest).ok()?.to_string());
        match kind {
            "f" => Some(Element::Field(rest.into())),
            "k" => canonical().map(Element::Key),
            "v" => canonical().map(Element::Value),
            "i" => rest.parse().ok().map(Element::Index),
            _ => None,
        }
    }

    pub fn key(&self) -> String {
        match self {
            Element::Field(name) => format!("f:{name}"),
            Element::Key(json) => format!("k:{json}"),
            Element::Value(json) => format!("v:{json}"),
            Element::Index(at) => format!("i:{at}"),
        }
    }
}

impl fmt::Display for Element {
    /// `.name`, `[name="a"]`, `[="a"]`, `[0]`; of a key that is no scalar as value.ToString shows it
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Element::Field(name) => write!(f, ".{name}"),
            Element::Value(json) => write!(f, "[={json}]"),
            Element::Index(at) => write!(f, "[{at}]"),
            Element::Key(json) => {
                let keys: Map<String, Value> = serde_json::from_str(json).unwrap_or_default();
                let keys: Vec<String> = keys.iter().map(|(name, value)| format!("{name}={}", shown(value))).collect();
                write!(f, "[{}]", keys.join(","))
            }
        }
    }
}

/// structured-merge-diff value.ToString: `"a"`, `[1,2]`; of a map `a=1b=2`.
fn shown(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(",")),
        Value::Object(map) => map.iter().map(|(key, value)| format!("{key}={}", shown(value))).collect(),
        scalar => scalar.to_string(),
    }
}

/// The path of one member.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(pub Vec<Element>);

impl Path {
    pub fn then(&self, element: &Element) -> Path {
        Path(self.0.iter().chain([element]).cloned().collect())
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|element| element.fmt(f))
    }
}
