//! Types of the schema table as JSON schemas, each with all that it refers to.
//!
//! The two dialects differ in references (`allOf` around them in version 3), in defaults (version 2
//! has none) and in how a number or string is said.

use std::collections::{BTreeMap, BTreeSet};

use descriptions::Descriptions;
use serde_json::{Map, Value, json};

use super::{Dialect, Subjects, list_schema, root};
use api::schema::{self, Field, List, Of, Shape, Type};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
const GVK: &str = "x-kubernetes-group-version-kind";

/// Every version of every group that upstream's scheme knows and that is not served
/// (`DeleteOptions` and `WatchEvent` are of each).
const REGISTERED: &[(&str, &str)] = &[
    ("admission.k8s.io", "v1"),
    ("admission.k8s.io", "v1beta1"),
    ("admissionregistration.k8s.io", "v1alpha1"),
    ("admissionregistration.k8s.io", "v1beta1"),
    ("apiextensions.k8s.io", "v1beta1"),
    ("apiregistration.k8s.io", "v1beta1"),
    ("apps", "v1beta1"),
    ("apps", "v1beta2"),
    ("authentication.k8s.io", "v1"),
    ("authentication.k8s.io", "v1alpha1"),
    ("authentication.k8s.io", "v1beta1"),
    ("authorization.k8s.io", "v1"),
    ("authorization.k8s.io", "v1beta1"),
    ("batch", "v1beta1"),
    ("certificates.k8s.io", "v1alpha1"),
    ("certificates.k8s.io", "v1beta1"),
    ("coordination.k8s.io", "v1alpha2"),
    ("coordination.k8s.io", "v1beta1"),
    ("discovery.k8s.io", "v1beta1"),
    ("events.k8s.io", "v1beta1"),
    ("extensions", "v1beta1"),
    ("flowcontrol.apiserver.k8s.io", "v1beta1"),
    ("flowcontrol.apiserver.k8s.io", "v1beta2"),
    ("flowcontrol.apiserver.k8s.io", "v1beta3"),
    ("imagepolicy.k8s.io", "v1alpha1"),
    ("internal.apiserver.k8s.io", "v1alpha1"),
    ("lifecycle.k8s.io", "v1alpha1"),
    ("networking.k8s.io", "v1beta1"),
    ("node.k8s.io", "v1alpha1"),
    ("node.k8s.io", "v1beta1"),
    ("policy", "v1beta1"),
    ("rbac.authorization.k8s.io", "v1alpha1"),
    ("rbac.authorization.k8s.io", "v1beta1"),
    ("resource.k8s.io", "v1alpha3"),
    ("resource.k8s.io", "v1beta1"),
    ("resource.k8s.io", "v1beta2"),
    ("scheduling.k8s.io", "v1alpha3"),
    ("scheduling.k8s.io", "v1beta1"),
    ("storage.k8s.io", "v1alpha1"),
    ("storage.k8s.io", "v1beta1"),
    ("storagemigration.k8s.io", "v1beta1"),
];
/// Zeroes that are defaults there (`+default` in types.go), and that nobody has to fill in.
const ZEROES: &[(&str, &str)] = &[
    (".autoscaling.v1.ScaleSpec", "replicas"),
    (".core.v1.AzureDiskVolumeSource", "readOnly"),
    (".core.v1.ConfigMapEnvSource", "name"),
    (".core.v1.ConfigMapKeySelector", "name"),
    (".core.v1.ConfigMapProjection", "name"),
    (".core.v1.ConfigMapVolumeSource", "name"),
    (".core.v1.FileKeySelector", "optional"),
    (".core.v1.GRPCAction", "service"),
    (".core.v1.LocalObjectReference", "name"),
    (".core.v1.ReplicationControllerSpec", "minReadySeconds"),
    (".core.v1.SecretEnvSource", "name"),
    (".core.v1.SecretKeySelector", "name"),
    (".core.v1.SecretProjection", "name"),
];
/// The order of required fields where tags have another.
const ORDER: &[(&str, &[&str])] = &[
    (".networking.v1.HTTPIngressPath", &["pathType", "backend"]),
    (
        ".version.Info",
        &[
            "major",
            "minor",
            "gitVersion",
            "gitCommit",
            "gitTreeState",
            "buildDate",
            "goVersion",
            "compiler",
            "platform",
        ],
    ),
    (".meta.v1.APIResource", &["name", "singularName", "namespaced", "kind", "verbs"]),
    (".meta.v1.OwnerReference", &["apiVersion", "kind", "name", "uid"]),
];
/// What no text is had of.
const OWN: &[(&str, &str, &str)] = &[
    (EVENT, "", "What happened to an object that is watched."),
    (EVENT, "object", "The object as it is now, or as it was before its end; of an error the Status."),
    (EVENT, "type", "ADDED, MODIFIED, DELETED, BOOKMARK or ERROR."),
    ("io.k8s.apimachinery.pkg.version.Info", "", "What the server was built of, and by what."),
];
const EVENT: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent";

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
    /// For the document of one root, or of all.
    pub fn new(dialect: Dialect, subjects: &Subjects, only: Option<&str>) -> Schemas {
        let mut kinds: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        let mut versions = BTreeSet::from([(String::new(), "v1".to_owned())]);
        let gvk = |group: &str, kind: &str, version: &str| json!({"group": group, "kind": kind, "version": version});
        for served in subjects.kinds.all_served() {
            let (row, resource) = (&served.kind, served.resource());
            let of = |kind: &str| vec![gvk(&resource.group, kind, &resource.version)];
            kinds.insert(served.schema().into(), of(&row.kind));
            kinds.insert(list_schema(&served), of(&row.list_kind));
            if only.is_none_or(|only| only == root(&served)) {
                versions.insert((resource.group.clone(), resource.version.clone()));
            }
        }
        for review in subjects.reviews {
            kinds.insert(review.schema.into(), vec![gvk(review.group, review.kind, review.version)]);
        }
        if only.is_none() {
            versions.extend(REGISTERED.iter().map(|(group, version)| ((*group).to_owned(), (*version).to_owned())));
        }
        for of_all in ["DeleteOptions", "WatchEvent"] {
            let of = |(group, version): &(String, String)| gvk(group, of_all, version);
            kinds.insert(format!("{META}.{of_all}"), versions.iter().map(of).collect());
        }
        for own in ["Status", "APIGroup", "APIGroupList", "APIResourceList", "APIVersions"] {
            kinds.insert(format!("{META}.{own}"), vec![gvk("", own, "v1")]);
        }
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
            if self.dialect == Dialect::V3 {
                made.get_mut("properties")
                    .and_then(Value::as_object_mut)
                    .into_iter()
                    .flatten()
                    .for_each(|(_, p)| wrap(p));
            }
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
        let words = |field: &str| OWN.iter().find(|(name, known, _)| of.name == *name && *known == field);
        let words = |field: &str| words(field).map(|(_, _, text)| *text);
        let own = self.descriptions.of_type(of.name).or_else(|| words("")).map(str::to_owned);
        let text = own.or_else(|| Some(format!("A list of {} objects.", item?.rsplit('.').next()?)));
        if let Some(text) = text {
            made["description"] = text.into();
        }
        for (name, schema) in made.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
            let of_list = || match name.as_str() {
                "items" => Some("The objects of the list."),
                name => self.descriptions.of_field(STATUS, name),
            };
            let own = self.descriptions.of_field(of.name, name).or_else(|| words(name));
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
            properties.insert(field.name.into(), self.property(of, field));
            if field.required {
                required.push((field.tag, field.name));
            }
        }
        schema.insert("type".into(), json!("object"));
        if !properties.is_empty() {
            schema.insert("properties".into(), Value::Object(properties));
        }
        if !required.is_empty() {
            // In the order of Go's structures, which tags follow.
            required.sort_unstable();
            let mut names: Vec<&str> = required.iter().map(|(_, name)| *name).collect();
            if let Some((_, order)) = ORDER.iter().find(|(name, _)| of.name.ends_with(name)) {
                names.sort_by_key(|name| order.iter().position(|known| known == name));
            }
            schema.insert("required".into(), json!(names));
        }
        // Of `+union` in types.go.
        let unions = include_str!("unions.txt").lines().filter_map(|line| line.split_once(' '));
        if let Some((_, unions)) = unions.into_iter().find(|(name, _)| of.name.ends_with(name)) {
            let unions = serde_json::from_str(unions).expect("a test reads each of them");
            schema.insert("x-kubernetes-unions".into(), unions);
        }
        if of.atomic {
            schema.insert("x-kubernetes-map-type".into(), json!("atomic"));
        }
        Value::Object(schema)
    }

    fn property(&mut self, of: &Type, field: &'static Field) -> Value {
        let mut schema = self.value(&field.of);
        let is = |(name, other): &&(&str, &str)| of.name.ends_with(name) && *other == field.name;
        if self.dialect == Dialect::V3 {
            let shown = ZEROES.iter().any(|one| is(&one));
            if let Some(default) = if shown { zero(&field.of) } else { default_of(field) } {
                schema.insert("default".into(), default);
            }
        }
        if let Some(values) = enumeration(of, field.name) {
            let inner = ["items", "additionalProperties"].into_iter().find(|name| schema.contains_key(*name));
            match inner.and_then(|name| schema.get_mut(name)).and_then(Value::as_object_mut) {
                Some(inner) => inner.insert("enum".into(), values),
                None => schema.insert("enum".into(), values),
            };
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
        } else if field.granular {
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

/// The values that a field, its items or its values may have, where upstream's types say so (`+enum` in types.go).
/// Each line of the file: the type, the field, the values with bars between.
fn enumeration(of: &Type, field: &str) -> Option<Value> {
    let values = |line: &'static str| {
        let rest = line.strip_prefix(of.name)?.strip_prefix(' ')?.strip_prefix(field)?.strip_prefix(' ')?;
        Some(rest.split('|').map(Value::from).collect())
    };
    include_str!("enums.txt").lines().find_map(values)
}

/// The default that version 3 shows: the schema's own, or the zero of what is always written.
fn default_of(field: &Field) -> Option<Value> {
    if let Some(json) = field.default {
        return Some(serde_json::from_str(json).expect("a test reads every default"));
    }
    if !field.always || field.pointer {
        return None;
    }
    zero(&field.of)
}

fn zero(of: &Of) -> Option<Value> {
    match of {
        Of::String => Some(json!("")),
        Of::Bool => Some(json!(false)),
        Of::Int32 | Of::Int64 | Of::Double => Some(json!(0)),
        Of::Type(link) if link.get().shape == Shape::Object => Some(json!({})),
        _ => None,
    }
}

/// Version 3 has nothing beside a reference.
fn wrap(property: &mut Value) {
    if let Some(map) = property.as_object_mut().filter(|map| map.len() > 1)
        && let Some(reference) = map.remove("$ref")
    {
        map.insert("allOf".into(), json!([{ "$ref": reference }]));
    }
}
