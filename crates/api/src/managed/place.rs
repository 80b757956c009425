//! What the schema says about owning a place of the tree: as a whole, by field, by item.
//!
//! Upstream: the structured-merge-diff schema that kube-openapi schemaconv makes of OpenAPI. Lists
//! without a list type are atomic, maps are owned key by key, quantities and times are scalars.

use serde_json::{Map, Value};

use super::element::Element;
use crate::schema::{Field, List, Of, Shape, Type};

#[derive(Clone, Copy)]
pub enum Place {
    /// A scalar, or a list or object that is owned as a whole.
    Leaf,
    /// An object with the schema's fields.
    Object(&'static Type),
    /// A map from strings.
    Map(&'static Of),
    /// A list of scalars, each there once.
    Set,
    /// A list of objects, each there once by its keys.
    Keyed(&'static Of, &'static [&'static str]),
    /// Without a schema: objects by key, all else as a whole.
    Free,
}

impl Place {
    pub fn of_type(of: &'static Type) -> Place {
        match of.shape {
            Shape::Object if of.atomic => Place::Leaf,
            Shape::Object => Place::Object(of),
            Shape::FieldSet => Place::Free,
            _ => Place::Leaf,
        }
    }

    fn of_field(field: &'static Field) -> Place {
        match (&field.of, field.list) {
            _ if field.atomic => Place::Leaf,
            (Of::Type(link), _) if field.granular => Place::Object(link.get()),
            (Of::List(_), Some(List::Set)) => Place::Set,
            (Of::List(items), Some(List::Map)) => Place::Keyed(items, &field.keys),
            (of, _) => Place::of(of),
        }
    }

    fn of(of: &'static Of) -> Place {
        match of {
            Of::Type(link) => Place::of_type(link.get()),
            Of::Map(of) => Place::Map(of),
            _ => Place::Leaf,
        }
    }

    /// The place of a field, a map's value or a list's item.
    pub fn below(self, element: &Element) -> Place {
        match element {
            Element::Field(name) => self.of_name(name),
            _ => self.of_item(),
        }
    }

    /// The place of a field or a map's value.
    pub fn of_name(self, name: &str) -> Place {
        match self {
            Place::Object(of) => of.field(name).map_or(Place::Free, Place::of_field),
            Place::Map(of) => Place::of(of),
            Place::Free => Place::Free,
            _ => Place::Leaf,
        }
    }

    /// The place of a list's item.
    pub fn of_item(self) -> Place {
        match self {
            Place::Keyed(of, _) => Place::of(of),
            Place::Free => Place::Free,
            _ => Place::Leaf,
        }
    }

    /// Whether it is a field of the schema, and not a key of a map.
    pub fn names(self, name: &str) -> bool {
        matches!(self, Place::Object(of) if of.field(name).is_some())
    }

    /// Whether Go writes a null here when nothing is set.
    pub fn null_when_absent(self, name: &str) -> bool {
        let Place::Object(of) = self else { return false };
        of.field(name).is_some_and(|f| f.null)
    }

    /// The path element of a list's item; Err: why it has none.
    pub fn item(self, item: &Value) -> Result<Element, String> {
        match (self, item) {
            (Place::Keyed(of, keys), Value::Object(map)) => key_of(of, keys, map),
            (Place::Keyed(..), Value::Null) => Err("associative list with keys may not have a null element".into()),
            (Place::Keyed(..), _) => Err("associative list with keys may not have non-map elements".into()),
            (_, Value::Object(_)) => Err("associative list without keys has an element that's a map type".into()),
            (_, Value::Array(_)) => Err("not supported: associative list with lists as elements".into()),
            (_, Value::Null) => Err("associative list without keys has an element that's an explicit null".into()),
            (_, scalar) => Ok(Element::Value(scalar.to_string())),
        }
    }
}

fn key_of(of: &'static Of, keys: &[&str], map: &Map<String, Value>) -> Result<Element, String> {
    let mut found = Map::new();
    for key in keys {
        let default = || {
            let json = of.target()?.field(key)?.default?;
            serde_json::from_str(json).ok()
        };
        if let Some(value) = map.get(*key).cloned().or_else(default) {
            found.insert(key.to_string(), value);
        }
    }
    if found.is_empty() {
        return Err(format!(
            "associative list with keys has an element that omits all key fields {keys:?} \
             (and doesn't have default values for any key fields)"
        ));
    }
    Ok(Element::Key(Value::Object(found).to_string()))
}
