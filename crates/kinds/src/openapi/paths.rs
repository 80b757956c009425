//! Operations, and the paths at which they stand, in the form of a dialect.
//!
//! What all operations of a path have in common stands at the path (kube-openapi builder/openapi.go
//! buildPaths). Which operations a kind has: `operations`.

use serde_json::{Map, Value, json};

use super::Dialect;
use super::schemas::Schemas;

/// The forms in which an object goes in and out.
pub const OBJECTS: [&str; 3] = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
pub const ANY: &[&str] = &["*/*"];
pub const PATCHES: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

/// A parameter's name and its type.
pub type Parameter = (&'static str, &'static str);

/// One operation, before it takes a dialect's form.
pub struct Operation {
    pub method: &'static str,
    pub id: String,
    /// `core_v1`
    pub tag: String,
    /// `x-kubernetes-action`; empty: none.
    pub action: &'static str,
    /// `x-kubernetes-group-version-kind`; null: none.
    pub gvk: Value,
    pub query: Vec<Parameter>,
    pub body: Option<Body>,
    /// The schema of the answer; None: a text.
    pub answer: Option<String>,
    /// Media types of the answer, and of the body.
    pub produces: Vec<&'static str>,
    pub consumes: &'static [&'static str],
    pub codes: &'static [&'static str],
}

pub enum Body {
    Of(String),
    Delete,
    Patch,
}

/// What stands at one path: `named` are the parameters in it.
pub fn item(dialect: Dialect, named: &[&str], operations: &[Operation], schemas: &mut Schemas) -> Value {
    let of = |operation: &Operation| -> Vec<Value> {
        let named = named.iter().map(|name| parameter(dialect, "path", name, "string"));
        let query = operation.query.iter().map(|(name, kind)| parameter(dialect, "query", name, kind));
        named.chain(query).collect()
    };
    let all: Vec<Vec<Value>> = operations.iter().map(of).collect();
    let common: Vec<Value> = all.first().into_iter().flatten().cloned().collect();
    let common: Vec<Value> = common.into_iter().filter(|one| all.iter().all(|these| these.contains(one))).collect();
    let mut item = Map::new();
    for (operation, mut parameters) in operations.iter().zip(all) {
        parameters.retain(|one| !common.contains(one));
        item.insert(operation.method.into(), made(dialect, operation, sorted(parameters), schemas));
    }
    if !common.is_empty() {
        item.insert("parameters".into(), sorted(common).into());
    }
    Value::Object(item)
}

fn sorted(mut parameters: Vec<Value>) -> Vec<Value> {
    parameters.sort_by_key(|one| ["name", "in"].map(|key| one[key].as_str().unwrap_or_default().to_owned()));
    parameters
}

fn parameter(dialect: Dialect, place: &str, name: &str, kind: &str) -> Value {
    let mut parameter = match dialect {
        Dialect::V2 => json!({"in": place, "name": name, "type": kind, "uniqueItems": true}),
        Dialect::V3 => json!({"in": place, "name": name, "schema": {"type": kind, "uniqueItems": true}}),
    };
    if place == "path" {
        parameter["required"] = json!(true);
    }
    parameter
}

fn made(dialect: Dialect, operation: &Operation, mut parameters: Vec<Value>, schemas: &mut Schemas) -> Value {
    let mut made = Map::new();
    made.insert("operationId".into(), json!(operation.id));
    made.insert("tags".into(), json!([operation.tag]));
    if !operation.action.is_empty() {
        made.insert("x-kubernetes-action".into(), json!(operation.action));
    }
    if !operation.gvk.is_null() {
        made.insert("x-kubernetes-group-version-kind".into(), operation.gvk.clone());
    }
    if let Some(body) = &operation.body {
        let (schema, required) = match body {
            Body::Of(schema) => (schemas.reference(schema), true),
            Body::Delete => (schemas.reference("DeleteOptions"), false),
            Body::Patch => (schemas.reference("Patch"), true),
        };
        let mut taken = match dialect {
            Dialect::V2 => json!({"in": "body", "name": "body", "schema": schema}),
            Dialect::V3 => json!({ "content": contents(operation.consumes, &schema) }),
        };
        if required {
            taken["required"] = json!(true);
        }
        match dialect {
            Dialect::V2 => parameters.insert(0, taken),
            Dialect::V3 => drop(made.insert("requestBody".into(), taken)),
        }
    }
    if !parameters.is_empty() {
        made.insert("parameters".into(), Value::Array(parameters));
    }
    let schema = match &operation.answer {
        Some(schema) => schemas.reference(schema),
        None => json!({"type": "string"}),
    };
    let mut responses = Map::new();
    for code in operation.codes {
        let words = match *code {
            "201" => "Created",
            "202" => "Accepted",
            _ => "OK",
        };
        let answer = match dialect {
            Dialect::V2 => json!({"description": words, "schema": schema}),
            Dialect::V3 => json!({"description": words, "content": contents(&operation.produces, &schema)}),
        };
        responses.insert((*code).into(), answer);
    }
    responses.insert("401".into(), json!({"description": "Unauthorized"}));
    made.insert("responses".into(), Value::Object(responses));
    if dialect == Dialect::V2 {
        if !operation.consumes.is_empty() {
            made.insert("consumes".into(), json!(operation.consumes));
        }
        made.insert("produces".into(), json!(operation.produces));
        made.insert("schemes".into(), json!(["https"]));
    }
    Value::Object(made)
}

fn contents(types: &[&str], schema: &Value) -> Map<String, Value> {
    types.iter().map(|of| ((*of).to_owned(), json!({ "schema": schema }))).collect()
}
