//! What several rows of the kind table share: verbs, columns, and hooks that do nothing.

use serde_json::{Value, json};

use crate::kind::{Column, Context, Subresource};
use crate::{age, tree};

/// Every verb, in discovery's order.
pub const ALL_VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
pub const WRITE_BACK: &[&str] = &["get", "patch", "update"];
pub const CREATE: &[&str] = &["create"];
pub const GET: &[&str] = &["get"];
pub const CONNECT: &[&str] = &["create", "get"];
pub const PROXY: &[&str] = &["create", "delete", "get", "patch", "update"];

pub const STATUS: Subresource =
    Subresource { name: "status", body_kind: "", body_group_version: "", owns: &["status"], verbs: WRITE_BACK };

pub const NAME: Column = Column {
    name: "Name",
    kind: "string",
    format: "name",
    priority: 0,
    description: "The name; unique within a namespace.",
    cell: |object, _| json!(tree::text(object, "metadata.name")),
};

pub const AGE: Column = Column {
    name: "Age",
    kind: "string",
    format: "",
    priority: 0,
    description: "The time since the object was created.",
    cell: |object, now| json!(age::since(tree::text(object, "metadata.creationTimestamp"), now)),
};

/// A column of strings that is always shown.
pub const fn column(name: &'static str, description: &'static str, cell: fn(&Value, &str) -> Value) -> Column {
    Column { name, kind: "string", format: "", priority: 0, description, cell }
}

/// A column of strings that `-o wide` adds.
pub const fn wide(name: &'static str, description: &'static str, cell: fn(&Value, &str) -> Value) -> Column {
    Column { name, kind: "string", format: "", priority: 1, description, cell }
}

/// A subresource whose body is another kind.
pub const fn body(
    name: &'static str,
    body_kind: &'static str,
    body_group_version: &'static str,
    verbs: &'static [&'static str],
) -> Subresource {
    Subresource { name, body_kind, body_group_version, owns: &[], verbs }
}

pub fn prepare_nothing(_: &mut Value, _: Option<&Value>, _: &Context) {}

pub fn default_nothing(_: &mut Value) {}

pub fn warn_nothing(_: &Value, _: Option<&Value>) -> Vec<String> {
    Vec::new()
}

/// `status` may be written only through its subresource, everything else only on the object itself.
/// At create the status is dropped.
pub fn split_status(object: &mut Value, old: Option<&Value>, context: &Context) {
    let Some(old) = old else {
        if let Some(map) = object.as_object_mut() {
            map.remove("status");
        }
        return;
    };
    if context.subresource == "status" {
        keep_all_but(object, old, "status");
    } else {
        tree::keep(object, old, "status");
    }
}

/// Puts every top-level field but one (and the metadata) back as it stands in `old`.
pub fn keep_all_but(object: &mut Value, old: &Value, field: &str) {
    let Some(map) = object.as_object_mut() else { return };
    map.retain(|key, _| key == field || key == "metadata" || old.get(key).is_some());
    for (key, value) in old.as_object().into_iter().flatten() {
        if key != field && key != "metadata" {
            map.insert(key.clone(), value.clone());
        }
    }
}

/// Generation as most kinds count it: 1 at create, one more for each change of the spec.
pub fn count_generation(object: &mut Value, old: Option<&Value>) {
    let generation = match old {
        None => 1,
        Some(old) => {
            let before = tree::int(old, "metadata.generation").unwrap_or(0);
            before + i64::from(tree::at(object, "spec") != tree::at(old, "spec"))
        }
    };
    if let Some(metadata) = tree::child(object, "metadata") {
        metadata["generation"] = json!(generation);
    }
}

/// `a=b,c=d`, or `<none>`: labels and selectors as a column shows them.
pub fn labels_text(object: &Value, path: &str) -> String {
    let pairs: Vec<String> =
        tree::entries(object, path).map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or(""))).collect();
    if pairs.is_empty() { "<none>".into() } else { pairs.join(",") }
}
