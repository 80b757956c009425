//! CustomResourceDefinition: a kind that somebody adds.

/// Paths of fields.
mod field_path;
/// What OpenAPI and Kubernetes' extensions of it demand of a schema.
mod schemas;
/// What a schema must be like so that unknown fields can be told.
mod structural;
mod validate;

use std::collections::BTreeSet;

use api::tree;
use serde_json::{Value, json};

use crate::row::*;

const APPROVED: &str = "api-approved.kubernetes.io";

pub(crate) fn row() -> Kind {
    Kind {
        schema: "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition".into(),
        subresources: vec![STATUS],
        columns: vec![
            NAME,
            text("Scope", "Whether its objects are in namespaces.", "spec.scope"),
            computed("Versions", "Those that are served.", |definition, _| json!(served(definition))),
            CREATED,
            wide(text("Group", "The group of its resources.", "spec.group")),
            wide(text("Kind", "What its objects call themselves.", "spec.names.kind")),
            wide(computed("ShortNames", "What else it may be called.", |definition, _| {
                let names = tree::list(definition, "spec.names.shortNames").iter().filter_map(Value::as_str);
                json!(names.collect::<Vec<_>>().join(","))
            })),
            wide(Column {
                kind: "boolean".into(),
                ..computed("Established", "Whether it is served.", |definition, _| {
                    json!(validate::is_established(definition))
                })
            }),
        ],
        hooks: Hooks { default, prepare, validate: validate::definition, warnings, ..HOOKS },
        writes: Writes { conditional: true, ..WRITES },
        ..Kind::cluster("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions")
            .kept_as("v1beta1")
            .short("crd")
            .short("crds")
            .in_category("api-extensions")
            .dormant("its resources are not served yet; expressions and defaults of its schemas are not judged")
    }
}

/// `v1(storage),v2` (registry/customresourcedefinition/tableconvertor).
fn served(definition: &Value) -> String {
    let versions = tree::list(definition, "spec.versions").iter().filter(|version| tree::flag(version, "served"));
    let called = |version: &Value| {
        let storage = if tree::flag(version, "storage") { "(storage)" } else { "" };
        format!("{}{storage}", tree::text(version, "name"))
    };
    let mut versions: Vec<String> = versions.map(called).collect();
    versions.sort();
    versions.join(",")
}

fn default(_: &Kind, definition: &mut Value) {
    let Some(spec) = definition.get_mut("spec").filter(|spec| spec.is_object()) else { return };
    if let Some(names) = spec.get_mut("names").filter(|names| names.is_object()) {
        let kind = tree::text(names, "kind").to_owned();
        tree::set_default_text(names, "singular", &kind.to_lowercase());
        if !kind.is_empty() {
            tree::set_default_text(names, "listKind", &format!("{kind}List"));
        }
    }
    tree::set_default(spec, "conversion", json!({"strategy": "None"}));
    if let Some(service) = spec.pointer_mut("/conversion/webhook/clientConfig/service").filter(|at| at.is_object()) {
        tree::set_default(service, "port", 443);
    }
}

/// A version in which objects may be stored is one until somebody says that none is left.
fn prepare(_: &Kind, definition: &mut Value, old: Option<&Value>, context: &Context) {
    if context.subresource == "status" {
        return;
    }
    if old.is_none() {
        definition["status"] = json!({"acceptedNames": {"plural": "", "kind": ""}, "storedVersions": []});
    }
    let versions = tree::list(definition, "spec.versions");
    let stored = versions.iter().find(|version| tree::flag(version, "storage")).map(|version| version["name"].clone());
    if let (Some(stored), Some(status)) = (stored, tree::child(definition, "status")) {
        tree::set_default(status, "storedVersions", json!([]));
        let known = status["storedVersions"].as_array_mut().into_iter();
        known.filter(|known| !known.contains(&stored)).for_each(|known| known.push(stored.clone()));
    }
    count_generation(definition, old);
}

fn warnings(_: &Kind, definition: &Value, old: Option<&Value>) -> Vec<String> {
    let known = old.map(formats).unwrap_or_default();
    let new = formats(definition).into_iter().filter(|format| !known.contains(format));
    let mut warnings: Vec<String> = new.map(|format| format!("unrecognized format {format:?}")).collect();
    let known = old.map(sets).unwrap_or_default();
    warnings.extend(sets(definition).difference(&known).map(|kind| {
        format!(
            "x-kubernetes-list-type: set for items of type {kind:?} is not supported by server-side apply or CEL \
             validation rules"
        )
    }));
    warnings
}

/// Of the definition every schema that is judged once (`validate::merged`).
fn each_schema(definition: &Value, visit: &mut dyn FnMut(&Value)) {
    let spec = validate::merged(&definition["spec"]);
    let versions = tree::list(&spec, "versions").iter().map(|version| &version["schema"]);
    for schema in [&spec["validation"]].into_iter().chain(versions) {
        schemas::walk(&schema["openAPIV3Schema"], visit);
    }
}

/// Formats that nobody checks (apiserver/validation/formats.go).
fn formats(definition: &Value) -> Vec<String> {
    let mut found = Vec::new();
    each_schema(definition, &mut |schema| {
        let format = tree::text(schema, "format");
        let is_known = match tree::text(schema, "type") {
            _ if format.is_empty() => true,
            "" | "string" => FORMATS.contains(&format.replace('-', "").as_str()),
            "integer" => matches!(format, "int32" | "int64"),
            "number" => matches!(format, "float" | "double"),
            _ => false,
        };
        if !is_known {
            found.push(format.to_owned());
        }
    });
    found
}

/// Without their dashes, as upstream compares them.
const FORMATS: &[&str] = &[
    "bsonobjectid",
    "byte",
    "cidr",
    "creditcard",
    "date",
    "datetime",
    "duration",
    "email",
    "hexcolor",
    "hostname",
    "ipv4",
    "ipv6",
    "isbn",
    "isbn10",
    "isbn13",
    "k8slongname",
    "k8sshortname",
    "mac",
    "password",
    "rgbcolor",
    "ssn",
    "uri",
    "uuid",
    "uuid3",
    "uuid4",
    "uuid5",
];

/// Types of the elements of sets, where they are no plain values.
fn sets(definition: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    each_schema(definition, &mut |schema| {
        let kind = tree::text(&schema["items"], "type");
        if schema["x-kubernetes-list-type"] == "set" && matches!(kind, "object" | "array") {
            found.insert(kind.to_owned());
        }
    });
    found
}

#[cfg(test)]
mod tests;
