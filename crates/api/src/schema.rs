//! The schema table: what every type of the API looks like, as facts and not as a thousand structs.
//!
//! Per type and field: JSON name, protobuf tag, type, required, default, list type and keys, patch
//! strategy. The generic walkers (decode, defaults, patches, managed fields, OpenAPI, protobuf) all
//! read it. The table is text (`schema/table.txt`, written by `cargo xtask schema`) that stays in the
//! read-only part of the binary: start-up reads none of it, a type is parsed when first asked for and
//! kept for good, so that a name costs one hash look-up and a reference none.

use std::sync::OnceLock;

use serde_json::{Map, Value};

/// How the text of the table is searched and read.
mod table;
#[cfg(test)]
mod tests;

/// One type: `io.k8s.api.core.v1.Container`.
pub struct Type {
    pub name: &'static str,
    pub shape: Shape,
    /// Sorted by name; those of embedded types are here as well, as they are in JSON.
    pub fields: Vec<Field>,
    /// Go's embedded structs: flat in JSON, a message of their own in protobuf.
    pub embeds: Vec<Embed>,
    /// What the type's message has under each protobuf tag, in their order.
    pub slots: Vec<(u32, Slot)>,
    /// Patched and owned as a whole (`x-kubernetes-map-type: atomic`).
    pub atomic: bool,
}

/// What a protobuf tag stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// An index of `Type::fields`.
    Field(usize),
    /// An index of `Type::embeds`.
    Embed(usize),
}

/// What a type's JSON looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// An object with the type's fields.
    Object,
    /// `100m`; a number is accepted.
    Quantity,
    /// RFC 3339, whole seconds.
    Time,
    /// RFC 3339, microseconds.
    MicroTime,
    /// `1h0m0s`
    Duration,
    IntOrString,
    /// Any JSON, kept as it is: an object of another type.
    Raw,
    /// Any JSON, kept as it is.
    Json,
    /// A field set of managed fields.
    FieldSet,
    /// A list of strings that is a message of its own in protobuf.
    Strings,
    /// A JSON schema, or a list of them.
    SchemaOrArray,
    /// A JSON schema, or a boolean.
    SchemaOrBool,
    /// A JSON schema, or a list of strings.
    SchemaOrStrings,
}

/// One field of a type.
#[derive(Clone)]
pub struct Field {
    pub name: &'static str,
    /// The protobuf tag; 0 for `apiVersion` and `kind`, which the envelope carries.
    pub tag: u32,
    /// The embedded type that the field belongs to in protobuf: an index of `Type::embeds`.
    pub embed: Option<usize>,
    pub of: Of,
    pub required: bool,
    /// Written even when it is zero: Go's struct fields without `omitempty`, and embedded objects.
    pub always: bool,
    /// Written as null when it is unset: Go's times that are no pointers; pointers, lists and maps without
    /// `omitempty`.
    pub null: bool,
    /// Zero and absent differ (a pointer in Go).
    pub pointer: bool,
    /// JSON.
    pub default: Option<&'static str>,
    pub list: Option<List>,
    /// The keys of a `List::Map`, in the schema's order.
    pub keys: Vec<&'static str>,
    /// The object or map is owned as a whole.
    pub atomic: bool,
    /// The object is owned field by field here, though its type is owned as a whole elsewhere.
    pub granular: bool,
    /// Strategic merge patch merges lists and maps instead of replacing them.
    pub merge: bool,
    pub retain_keys: bool,
    /// Strategic merge patch replaces the object instead of merging it.
    pub replace: bool,
    /// The key by which strategic merge patch matches items; empty for lists of scalars.
    pub merge_key: &'static str,
    /// The Go type where it is not the obvious one: error messages print it.
    pub go: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    Atomic,
    Set,
    Map,
}

/// What a value is.
#[derive(Clone)]
pub enum Of {
    String,
    Bool,
    Int32,
    Int64,
    Double,
    /// Base64.
    Bytes,
    Type(Link),
    List(Box<Of>),
    /// Keys are strings.
    Map(Box<Of>),
}

pub struct Embed {
    /// The Go name.
    pub name: &'static str,
    pub tag: u32,
    pub target: Link,
}

/// A reference to a type, resolved at its first use.
#[derive(Clone)]
pub struct Link {
    name: &'static str,
    target: OnceLock<&'static Type>,
}

/// The type of that name: `io.k8s.api.core.v1.Pod`.
pub fn get(name: &str) -> Option<&'static Type> {
    table::get(name)
}

/// The type of a kind in a version of the API: `v1` and `Pod`, `apps/v1` and `Deployment`.
pub fn of_kind(api_version: &str, kind: &str) -> Option<&'static Type> {
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    let package = group.split('.').next().filter(|first| !first.is_empty()).unwrap_or("core");
    get(&format!("io.k8s.api.{package}.{version}.{kind}"))
}

/// The names of all types, sorted.
pub fn names() -> impl Iterator<Item = &'static str> {
    table::names()
}

/// Sets the defaults that the schema carries, where a field is absent. Unknown schemas have none.
pub fn default(schema: &str, value: &mut Value) {
    if let Some(of) = get(schema) {
        default_type(of, value);
    }
}

impl Type {
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.binary_search_by(|f| f.name.cmp(name)).ok().map(|i| &self.fields[i])
    }

    /// The JSON schema type of the same package: what the `SchemaOr…` shapes may hold.
    pub(crate) fn schema_props(&self) -> &'static Type {
        let package = self.name.rsplit_once('.').map_or("", |(package, _)| package);
        get(&format!("{package}.JSONSchemaProps")).expect("a test looks it up")
    }

    /// `Container`
    pub fn short_name(&self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or(self.name)
    }

    /// `v1`
    pub fn version(&self) -> &'static str {
        self.name.rsplit('.').nth(1).unwrap_or("")
    }

    /// `v1.Container`, as Go prints it.
    pub fn go_name(&self) -> String {
        format!("{}.{}", self.version(), self.short_name())
    }

    /// The value of a Go struct of this type that nobody filled: what is always written.
    pub fn skeleton(&self) -> Value {
        let mut map = Map::new();
        self.complete(&mut map);
        Value::Object(map)
    }

    /// Adds all that Go writes of a struct that nobody filled: lists and maps too, as nulls.
    pub fn blank(&self, map: &mut Map<String, Value>) {
        self.complete(map);
        for field in self.fields.iter().filter(|f| f.always && !f.pointer) {
            match (&field.of, map.get_mut(field.name)) {
                (Of::List(_) | Of::Map(_), None) => drop(map.insert(field.name.into(), Value::Null)),
                (Of::Type(link), Some(Value::Object(below))) => link.get().blank(below),
                _ => {}
            }
        }
    }

    /// Adds the objects, scalars and nulls that are always written.
    pub fn complete(&self, map: &mut Map<String, Value>) {
        for field in self.fields.iter().filter(|f| f.null || f.always && !f.pointer) {
            let zero = match &field.of {
                _ if field.null => Value::Null,
                Of::Type(link) if link.get().shape == Shape::Object => link.get().skeleton(),
                Of::Type(link) if link.get().shape == Shape::Quantity => Value::String("0".into()),
                Of::String => Value::String(String::new()),
                Of::Bool => Value::Bool(false),
                Of::Int32 | Of::Int64 | Of::Double => Value::Number(0.into()),
                _ => continue,
            };
            if !map.contains_key(field.name) {
                map.insert(field.name.into(), zero);
            }
        }
    }
}

impl Field {
    /// Whether its default is no more than the key of a list's item that has none: an empty text, which is left out.
    fn is_key(&self) -> bool {
        self.default == Some("\"\"") && !self.pointer
    }

    /// The type as Go prints it in errors: `[]v1.Container`, `v1.PullPolicy`.
    pub fn go_type(&self) -> String {
        if self.go.is_empty() { self.of.go_type() } else { self.go.to_string() }
    }
}

impl Of {
    /// The type behind it, if it is one.
    pub fn target(&self) -> Option<&'static Type> {
        match self {
            Of::Type(link) => Some(link.get()),
            _ => None,
        }
    }

    /// The type of the object, of a list's items or of a map's values.
    pub fn leaf(&self) -> Option<&'static Type> {
        match self {
            Of::Type(link) => Some(link.get()),
            Of::List(of) | Of::Map(of) => of.leaf(),
            _ => None,
        }
    }

    pub fn go_type(&self) -> String {
        match self {
            Of::String => "string".into(),
            Of::Bool => "bool".into(),
            Of::Int32 => "int32".into(),
            Of::Int64 => "int64".into(),
            Of::Double => "float64".into(),
            Of::Bytes => "[]uint8".into(),
            Of::Type(link) => link.get().go_name(),
            Of::List(of) => format!("[]{}", of.go_type()),
            Of::Map(of) => format!("map[string]{}", of.go_type()),
        }
    }
}

impl Link {
    pub(crate) fn new(name: &'static str) -> Link {
        Link { name, target: OnceLock::new() }
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    pub fn get(&self) -> &'static Type {
        self.target.get_or_init(|| get(self.name).expect("a test walks every reference of the table"))
    }
}

fn default_type(of: &'static Type, value: &mut Value) {
    let Some(map) = value.as_object_mut() else { return };
    for field in of.fields.iter().filter(|field| !field.is_key()) {
        if let Some(json) = field.default
            && map.get(field.name).is_none_or(Value::is_null)
        {
            map.insert(field.name.into(), serde_json::from_str(json).expect("a test reads every default"));
        }
    }
    for (name, value) in map.iter_mut() {
        if let Some(field) = of.field(name) {
            default_of(&field.of, value);
        }
    }
}

fn default_of(of: &Of, value: &mut Value) {
    match (of, value) {
        (Of::Type(link), value) if link.get().shape == Shape::Object => default_type(link.get(), value),
        (Of::List(of), Value::Array(items)) if of.leaf().is_some() => items.iter_mut().for_each(|v| default_of(of, v)),
        (Of::Map(of), Value::Object(map)) if of.leaf().is_some() => map.values_mut().for_each(|v| default_of(of, v)),
        _ => {}
    }
}
