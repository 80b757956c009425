//! Operations: what can be done at which path, with its parameters and bodies.
//!
//! `operationId`, tags and `x-kubernetes-action` are named as upstream names them
//! (apiserver endpoints/installer.go, endpoints/openapi): generated clients depend on them.

use serde_json::{Map, Value, json};

use super::schemas::Schemas;
use super::{Dialect, list_schema, root};
use crate::Served;
use crate::kind::{Act, Subresource};
use api::schema::{self, Of};

const PRODUCED: [&str; 3] = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
const STREAMED: [&str; 2] = ["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];
const PATCHES: [&str; 4] = [
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];
/// Query parameters with their types.
const WRITE: [(&str, &str); 3] = [("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];
const FORCE: (&str, &str) = ("force", "boolean");
const LIST: [(&str, &str); 10] = [
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];
const DELETE: [(&str, &str); 5] = [
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    ("ignoreStoreReadErrorWithClusterBreakingPotential", "boolean"),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
];

/// One operation, before it takes a dialect's form.
struct Operation<'a> {
    method: &'static str,
    /// `list`, `read`, `create`, …: the first word of the operation's id.
    word: &'static str,
    /// `x-kubernetes-action`
    action: &'static str,
    query: Vec<(&'a str, &'a str)>,
    body: Option<Body>,
    /// The schema of the answer; None: plain text.
    answer: Option<String>,
    codes: &'static [&'static str],
    streams: bool,
}

enum Body {
    Of(String),
    Delete,
    Patch,
}

/// Adds all paths of a kind.
pub(super) fn of_kind(served: &Served, dialect: Dialect, schemas: &mut Schemas, paths: &mut Map<String, Value>) {
    let row = &served.kind;
    let root = format!("/{}", root(served));
    let base = if row.namespaced {
        format!("{root}/namespaces/{{namespace}}/{}", row.plural)
    } else {
        format!("{root}/{}", row.plural)
    };
    let gvk = json!({"group": served.group(), "kind": row.kind, "version": served.resource().version});
    let place = Place { served, dialect, gvk: &gvk, suffix: String::new() };
    if row.namespaced && row.can("list") {
        let everywhere = Place { suffix: "ForAllNamespaces".into(), ..place.clone() };
        let mut item = everywhere.item(&[], &[list(served)], schemas, false);
        // Upstream has the query parameters of this one on the path.
        item.insert("parameters".into(), place.parameters(&[], &[&[("pretty", "string")], &LIST[..]].concat()));
        if let Some(get) = item.get_mut("get").and_then(Value::as_object_mut) {
            get.remove("parameters");
        }
        paths.insert(format!("{root}/{}", row.plural), Value::Object(item));
    }
    let scope: &[&str] = if row.namespaced { &["namespace"] } else { &[] };
    let collection = collection(served);
    if !collection.is_empty() {
        paths.insert(base.clone(), Value::Object(place.item(scope, &collection, schemas, row.namespaced)));
    }
    let named = [&["name"], scope].concat();
    let single = single(served, &|verb| row.can(verb), served.schema());
    if !single.is_empty() {
        let item = place.item(&named, &single, schemas, row.namespaced);
        paths.insert(format!("{base}/{{name}}"), Value::Object(item));
    }
    for sub in &row.subresources {
        subresource(&place, sub, &format!("{base}/{{name}}/{}", sub.name), &named, schemas, paths);
    }
}

#[derive(Clone)]
struct Place<'a> {
    served: &'a Served,
    dialect: Dialect,
    gvk: &'a Value,
    /// What the operation ids end with: `Status`, `ForAllNamespaces`.
    suffix: String,
}

impl Place<'_> {
    fn item(&self, path: &[&str], operations: &[Operation], schemas: &mut Schemas, scoped: bool) -> Map<String, Value> {
        let mut item = Map::new();
        for operation in operations {
            item.insert(operation.method.into(), self.operation(operation, schemas, scoped));
        }
        item.insert("parameters".into(), self.parameters(path, &[("pretty", "string")]));
        item
    }

    fn operation(&self, operation: &Operation, schemas: &mut Schemas, scoped: bool) -> Value {
        let served = self.served;
        let group = title(served.group());
        let version = capitalized(&served.resource().version);
        let scope = if scoped { "Namespaced" } else { "" };
        let collection = if operation.action == "deletecollection" { "Collection" } else { "" };
        let connect = if operation.action == "connect" { capitalized(operation.method) } else { String::new() };
        let (word, kind, suffix) = (operation.word, &served.kind.kind, &self.suffix);
        let id = format!("{word}{group}{version}{connect}{collection}{scope}{kind}{suffix}");
        let mut made = Map::new();
        made.insert("operationId".into(), json!(id));
        made.insert("tags".into(), json!([tag(served)]));
        made.insert("x-kubernetes-action".into(), json!(operation.action));
        made.insert("x-kubernetes-group-version-kind".into(), self.gvk.clone());
        let mut parameters = match self.parameters(&[], &operation.query) {
            Value::Array(parameters) => parameters,
            _ => Vec::new(),
        };
        if let Some(body) = &operation.body {
            self.body(body, &mut made, &mut parameters, schemas);
        }
        if !parameters.is_empty() {
            made.insert("parameters".into(), Value::Array(parameters));
        }
        self.answers(operation, &mut made, schemas);
        Value::Object(made)
    }

    fn parameters(&self, path: &[&str], query: &[(&str, &str)]) -> Value {
        let one = |place: &str, name: &str, kind: &str| {
            let mut parameter = match self.dialect {
                Dialect::V2 => json!({"in": place, "name": name, "type": kind, "uniqueItems": true}),
                Dialect::V3 => json!({"in": place, "name": name, "schema": {"type": kind, "uniqueItems": true}}),
            };
            if place == "path" {
                parameter["required"] = json!(true);
            }
            parameter
        };
        let path = path.iter().map(|name| one("path", name, "string"));
        let mut all: Vec<Value> = path.chain(query.iter().map(|(name, kind)| one("query", name, kind))).collect();
        all.sort_by_key(|p| p["name"].as_str().unwrap_or_default().to_string());
        Value::Array(all)
    }

    fn body(&self, body: &Body, made: &mut Map<String, Value>, parameters: &mut Vec<Value>, schemas: &mut Schemas) {
        let (schema, types, required): (Value, &[&str], bool) = match body {
            Body::Of(schema) => (schemas.reference(schema), &["*/*"], true),
            Body::Delete => (schemas.reference("DeleteOptions"), &["*/*"], false),
            Body::Patch => (schemas.reference("Patch"), &PATCHES, true),
        };
        if self.dialect == Dialect::V2 {
            let mut parameter = json!({"in": "body", "name": "body", "schema": schema});
            if required {
                parameter["required"] = json!(true);
            }
            parameters.insert(0, parameter);
            made.insert("consumes".into(), json!(types));
            return;
        }
        let content: Map<String, Value> = types.iter().map(|t| (t.to_string(), json!({ "schema": schema }))).collect();
        let mut request = json!({ "content": content });
        if required {
            request["required"] = json!(true);
        }
        made.insert("requestBody".into(), request);
    }

    fn answers(&self, operation: &Operation, made: &mut Map<String, Value>, schemas: &mut Schemas) {
        let mut types: Vec<&str> = match operation.answer {
            Some(_) => PRODUCED.to_vec(),
            None => vec!["text/plain"],
        };
        if operation.streams {
            types.extend(STREAMED);
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
            let answer = match self.dialect {
                Dialect::V2 => json!({"description": words, "schema": schema}),
                Dialect::V3 => {
                    let of = |t: &&str| (t.to_string(), json!({ "schema": schema }));
                    json!({"description": words, "content": types.iter().map(of).collect::<Map<_, _>>()})
                }
            };
            responses.insert(code.to_string(), answer);
        }
        responses.insert("401".into(), json!({"description": "Unauthorized"}));
        made.insert("responses".into(), Value::Object(responses));
        if self.dialect == Dialect::V2 {
            made.insert("produces".into(), json!(types));
            made.insert("schemes".into(), json!(["https"]));
        }
    }
}

fn list<'a>(served: &Served) -> Operation<'a> {
    Operation {
        method: "get",
        word: "list",
        action: "list",
        query: LIST.to_vec(),
        body: None,
        answer: Some(list_schema(served)),
        codes: &["200"],
        streams: true,
    }
}

fn collection<'a>(served: &Served) -> Vec<Operation<'a>> {
    let kind = &served.kind;
    let mut operations = Vec::new();
    if kind.can("list") {
        operations.push(list(served));
    }
    if kind.can("create") {
        operations.push(create(served.schema()));
    }
    if kind.can("deletecollection") {
        let listed = LIST.iter().filter(|(name, _)| !["watch", "allowWatchBookmarks"].contains(name));
        operations.push(Operation {
            method: "delete",
            word: "delete",
            action: "deletecollection",
            query: DELETE.iter().chain(listed).copied().collect(),
            body: Some(Body::Delete),
            answer: Some("Status".into()),
            codes: &["200"],
            streams: false,
        });
    }
    operations
}

fn create<'a>(schema: &str) -> Operation<'a> {
    Operation {
        method: "post",
        word: "create",
        action: "post",
        query: WRITE.to_vec(),
        body: Some(Body::Of(schema.into())),
        answer: Some(schema.into()),
        codes: &["200", "201", "202"],
        streams: false,
    }
}

fn single<'a>(served: &Served, can: &dyn Fn(&str) -> bool, schema: &str) -> Vec<Operation<'a>> {
    let plain = |method, word, action, query: &[(&'a str, &'a str)], body, codes| Operation {
        method,
        word,
        action,
        query: query.to_vec(),
        body,
        answer: Some(schema.into()),
        codes,
        streams: false,
    };
    let mut operations = Vec::new();
    if can("get") {
        operations.push(plain("get", "read", "get", &[], None, &["200"]));
    }
    if can("update") {
        operations.push(plain("put", "replace", "put", &WRITE, Some(Body::Of(schema.into())), &["200", "201"]));
    }
    if can("patch") {
        let query = [&WRITE[..], &[FORCE]].concat();
        operations.push(plain("patch", "patch", "patch", &query, Some(Body::Patch), &["200", "201"]));
    }
    if can("delete") {
        // A pod and a few others answer with the object itself.
        let answer = if served.kind.writes.returns_deleted { schema } else { "Status" };
        operations.push(Operation {
            answer: Some(answer.into()),
            ..plain("delete", "delete", "delete", &DELETE, Some(Body::Delete), &["200", "202"])
        });
    }
    operations
}

fn subresource(
    place: &Place,
    sub: &Subresource,
    path: &str,
    named: &[&str],
    schemas: &mut Schemas,
    paths: &mut Map<String, Value>,
) {
    let served = place.served;
    let own = served.api_version();
    let group_version = if sub.body_group_version.is_empty() { own.as_str() } else { sub.body_group_version };
    let (group, version) = group_version.rsplit_once('/').unwrap_or(("", group_version));
    let schema = body_schema(served, sub, group_version);
    let kind = if sub.body_kind.is_empty() { served.kind.kind.as_str() } else { sub.body_kind };
    let gvk = json!({"group": group, "kind": kind, "version": version});
    schemas.name_kind(&schema, gvk.clone());
    let suffix = capitalized(sub.name);
    let here = Place { gvk: &gvk, suffix, ..place.clone() };
    let options = match sub.query {
        "" if sub.body_kind.ends_with("Options") => schema::get(&schema),
        "" => None,
        query => schema::get(query),
    };
    let query: Vec<(&str, &str)> =
        options.map(|of| of.fields.iter().filter_map(query_parameter).collect()).unwrap_or_default();
    let operations = if sub.body_kind.ends_with("Options") {
        connect(sub, &query)
    } else if sub.act == Act::Log {
        let text = Operation { answer: None, ..single(served, &|verb| verb == "get", &schema).remove(0) };
        vec![Operation { query, ..text }]
    } else if sub.verbs.contains(&"create") {
        vec![create(&schema)]
    } else {
        single(served, &|verb| sub.verbs.contains(&verb), &schema)
    };
    if !operations.is_empty() {
        let item = here.item(named, &operations, schemas, served.kind.namespaced);
        paths.insert(path.to_string(), Value::Object(item));
    }
}

/// exec, attach, port-forward and proxy: an upgraded connection, not a body.
fn connect<'a>(sub: &Subresource, query: &[(&'a str, &'a str)]) -> Vec<Operation<'a>> {
    let methods = [("create", "post"), ("get", "get"), ("update", "put"), ("patch", "patch"), ("delete", "delete")];
    let served = methods.iter().filter(|(verb, _)| sub.verbs.contains(verb));
    let of = |(_, method): &(&str, &'static str)| Operation {
        method,
        word: "connect",
        action: "connect",
        query: query.to_vec(),
        body: None,
        answer: None,
        codes: &["200"],
        streams: false,
    };
    served.map(of).collect()
}

fn query_parameter(field: &'static schema::Field) -> Option<(&'static str, &'static str)> {
    let kind = match &field.of {
        Of::Bool => "boolean",
        Of::Int32 | Of::Int64 => "integer",
        Of::String | Of::List(_) | Of::Type(_) => "string",
        _ => return None,
    };
    (!["apiVersion", "kind"].contains(&field.name)).then_some((field.name, kind))
}

fn body_schema(served: &Served, sub: &Subresource, group_version: &str) -> String {
    if sub.body_kind.is_empty() {
        return served.schema().into();
    }
    if sub.body_group_version.is_empty() {
        let package = served.schema().rsplit_once('.').map_or("", |(package, _)| package);
        return format!("{package}.{}", sub.body_kind);
    }
    let (group, version) = group_version.rsplit_once('/').unwrap_or(("core", group_version));
    let group = group.split('.').next().unwrap_or(group);
    format!("io.k8s.api.{group}.{version}.{}", sub.body_kind)
}

/// `Core`, `Apps`, `RbacAuthorization`
fn title(group: &str) -> String {
    match group.trim_end_matches(".k8s.io") {
        "" => "Core".into(),
        group => group.split('.').map(capitalized).collect(),
    }
}

/// `core_v1`, `rbacAuthorization_v1`
fn tag(served: &Served) -> String {
    let title = title(served.group());
    let (first, rest) = title.split_at(1);
    format!("{}{rest}_{}", first.to_lowercase(), served.resource().version)
}

fn capitalized(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}
