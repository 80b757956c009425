//! Types of the schema table as JSON schemas, each with all that it refers to.
//!
//! The two dialects differ in references (`allOf` around them in version 3), in defaults (version 2
//! has none) and in how a number or string is said.

use std::collections::{BTreeMap, BTreeSet};

use descriptions::Descriptions;
use serde_json::{Map, Value, json};

use super::{Dialect, list_schema};
use crate::Served;
use api::schema::{self, Field, List, Of, Shape, Type};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
const GVK: &str = "x-kubernetes-group-version-kind";

/// The schemas of one document, collected while its paths are made.
pub struct Schemas {
    dialect: Dialect,
    descriptions: Descriptions,
    made: Map<String, Value>,
    asked: Vec<&'static Type>,
    /// The kinds that a schema stands for.
    kinds: BTreeMap<String, Vec<Value>>,
}

impl Schemas {
    pub(super) fn new(dialect: Dialect, served: &[Served]) -> Schemas {
        let mut kinds: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        let mut groups = BTreeSet::from([("", "v1")]);
        for s in served {
            let gvk = |kind: &str| json!({"group": s.group(), "kind": kind, "version": s.resource().version});
            kinds.insert(s.schema().into(), vec![gvk(&s.kind.kind)]);
            kinds.insert(list_schema(s), vec![gvk(&s.kind.list_kind)]);
            groups.insert((s.group(), s.resource().version.as_str()));
        }
        for options in ["DeleteOptions", "WatchEvent"] {
            let of = |(group, version): &(&str, &str)| json!({"group": group, "kind": options, "version": version});
            kinds.insert(format!("{META}.{options}"), groups.iter().map(of).collect());
        }
        kinds.insert(format!("{META}.Status"), vec![json!({"group": "", "kind": "Status", "version": "v1"})]);
        Schemas { dialect, descriptions: Descriptions::unpack(), made: Map::new(), asked: Vec::new(), kinds }
    }

    /// A reference to a type, which will be in the document. Names without a dot are of meta/v1.
    pub fn reference(&mut self, name: &str) -> Value {
        let name = if name.contains('.') { name.to_string() } else { format!("{META}.{name}") };
        if let Some(of) = schema::get(&name)
            && !self.made.contains_key(&name)
            && !self.asked.iter().any(|a| a.name == name)
        {
            self.asked.push(of);
        }
        let prefix = match self.dialect {
            Dialect::V2 => "#/definitions/",
            Dialect::V3 => "#/components/schemas/",
        };
        json!({ "$ref": format!("{prefix}{name}") })
    }

    /// The kind that another schema's objects have: `Binding` in `v1`.
    pub fn name_kind(&mut self, schema: &str, gvk: Value) {
        self.kinds.entry(schema.into()).or_insert_with(|| vec![gvk]);
    }

    pub fn finish(mut self) -> Value {
        while let Some(of) = self.asked.pop() {
            let mut made = self.of_type(of);
            self.describe(of, &mut made);
            self.made.insert(of.name.into(), made);
        }
        for (name, kinds) in &self.kinds {
            if let Some(Value::Object(made)) = self.made.get_mut(name) {
                made.insert(GVK.into(), Value::Array(kinds.clone()));
            }
        }
        Value::Object(self.made)
    }

    /// What the type and its fields mean. Lists of all kinds are alike, and a Status has the metadata of a list too.
    fn describe(&self, of: &Type, made: &mut Value) {
        let item = of.name.strip_suffix("List").filter(|_| of.field("items").is_some());
        let own = self.descriptions.of_type(of.name).map(str::to_owned);
        let text = own.or_else(|| Some(format!("A list of {} objects.", item?.rsplit('.').next()?)));
        if let Some(text) = text {
            made["description"] = text.into();
        }
        for (name, schema) in made.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
            let of_list = || match name.as_str() {
                "items" => Some("The objects of the list."),
                name => self.descriptions.of_field(STATUS, name),
            };
            let own = self.descriptions.of_field(of.name, name);
            if let Some(text) = own.or_else(|| item.and_then(|_| of_list())) {
                schema["description"] = text.into();
            }
        }
    }

    fn of_type(&mut self, of: &'static Type) -> Value {
        match of.shape {
            Shape::Object => self.object(of),
            Shape::Quantity if self.dialect == Dialect::V3 => {
                json!({"oneOf": [{"type": "string"}, {"type": "number"}]})
            }
            Shape::IntOrString if self.dialect == Dialect::V3 => {
                json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
            }
            Shape::IntOrString => json!({"format": "int-or-string", "type": "string"}),
            Shape::Quantity | Shape::Duration => json!({"type": "string"}),
            Shape::Time | Shape::MicroTime => json!({"format": "date-time", "type": "string"}),
            Shape::Raw | Shape::FieldSet => json!({"type": "object"}),
            Shape::Strings => json!({"type": "array", "items": {"type": "string"}}),
            Shape::Json | Shape::SchemaOrArray | Shape::SchemaOrBool | Shape::SchemaOrStrings => json!({}),
        }
    }

    fn object(&mut self, of: &'static Type) -> Value {
        let mut schema = Map::new();
        let mut properties = Map::new();
        let mut required = Vec::new();
        for field in &of.fields {
            properties.insert(field.name.into(), self.property(field));
            if field.required {
                required.push(Value::from(field.name));
            }
        }
        schema.insert("type".into(), json!("object"));
        if !properties.is_empty() {
            schema.insert("properties".into(), Value::Object(properties));
        }
        if !required.is_empty() {
            schema.insert("required".into(), Value::Array(required));
        }
        if of.atomic {
            schema.insert("x-kubernetes-map-type".into(), json!("atomic"));
        }
        Value::Object(schema)
    }

    fn property(&mut self, field: &'static Field) -> Value {
        let mut schema = self.value(&field.of);
        if self.dialect == Dialect::V3 {
            if let Some(reference) = schema.remove("$ref") {
                schema.insert("allOf".into(), json!([{ "$ref": reference }]));
            }
            if let Some(default) = default_of(field) {
                schema.insert("default".into(), default);
            }
        }
        let mut extend = |name: &str, value: Value| schema.insert(format!("x-kubernetes-{name}"), value);
        if let Some(list) = field.list {
            let word = match list {
                List::Atomic => "atomic",
                List::Set => "set",
                List::Map => "map",
            };
            extend("list-type", json!(word));
        }
        if !field.keys.is_empty() {
            extend("list-map-keys", json!(field.keys));
        }
        if field.atomic {
            extend("map-type", json!("atomic"));
        }
        if field.granular {
            extend("map-type", json!("granular"));
        }
        let strategies = [("merge", field.merge), ("retainKeys", field.retain_keys), ("replace", field.replace)];
        let words: Vec<&str> = strategies.iter().filter(|(_, on)| *on).map(|(word, _)| *word).collect();
        if !words.is_empty() {
            extend("patch-strategy", json!(words.join(",")));
        }
        if !field.merge_key.is_empty() {
            extend("patch-merge-key", json!(field.merge_key));
        }
        Value::Object(schema)
    }

    fn value(&mut self, of: &'static Of) -> Map<String, Value> {
        let simple = |kind: &str, format: &str| {
            let mut schema = Map::from_iter([("type".to_string(), json!(kind))]);
            if !format.is_empty() {
                schema.insert("format".into(), json!(format));
            }
            schema
        };
        match of {
            Of::String => simple("string", ""),
            Of::Bool => simple("boolean", ""),
            Of::Int32 => simple("integer", "int32"),
            Of::Int64 => simple("integer", "int64"),
            Of::Double => simple("number", "double"),
            Of::Bytes => simple("string", "byte"),
            Of::Type(link) if link.get().shape == Shape::Strings => {
                let mut schema = simple("array", "");
                schema.insert("items".into(), json!({"type": "string"}));
                schema
            }
            Of::Type(link) => match self.reference(link.name()) {
                Value::Object(reference) => reference,
                _ => unreachable!("a reference is an object"),
            },
            Of::List(of) => {
                let mut schema = simple("array", "");
                schema.insert("items".into(), Value::Object(self.value(of)));
                schema
            }
            Of::Map(of) => {
                let mut schema = simple("object", "");
                schema.insert("additionalProperties".into(), Value::Object(self.value(of)));
                schema
            }
        }
    }
}

/// The default that version 3 shows: the schema's own, or the zero of what is always written.
fn default_of(field: &Field) -> Option<Value> {
    if let Some(json) = field.default {
        return Some(serde_json::from_str(json).expect("a test reads every default"));
    }
    if !field.always || field.pointer {
        return None;
    }
    match &field.of {
        Of::String => Some(json!("")),
        Of::Bool => Some(json!(false)),
        Of::Int32 | Of::Int64 | Of::Double => Some(json!(0)),
        Of::Type(link) if link.get().shape == Shape::Object => Some(json!({})),
        _ => None,
    }
}
