//! What can be done with a kind, a review and the documents of discovery, at which paths.
//!
//! `operationId`, tags and `x-kubernetes-action` are named as upstream names them
//! (apiserver endpoints/installer.go, endpoints/openapi): generated clients depend on them.

use serde_json::{Map, Value, json};

use super::paths::{ANY, Body, OBJECTS, Operation, PATCHES, Parameter, item};
use super::schemas::Schemas;
use super::{Dialect, Review, list_schema, root};
use crate::Served;
use crate::kind::{Act, Subresource};
use api::schema::{self, Of};

const STREAMS: [&str; 2] = ["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];
const PRETTY: Parameter = ("pretty", "string");
/// Query parameters with their types.
const WRITE: [Parameter; 4] = [("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string"), PRETTY];
const FORCE: Parameter = ("force", "boolean");
const LIST: [Parameter; 12] = [
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    PRETTY,
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    // Told and passed over, as upstream without its feature.
    ("shardSelector", "string"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];
const DELETE: [Parameter; 6] = [
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    ("ignoreStoreReadErrorWithClusterBreakingPotential", "boolean"),
    ("orphanDependents", "boolean"),
    PRETTY,
    ("propagationPolicy", "string"),
];

/// Adds all paths of a kind.
pub fn of_kind(served: &Served, dialect: Dialect, schemas: &mut Schemas, paths: &mut Map<String, Value>) {
    let row = &served.kind;
    let root = format!("/{}", root(served));
    let scope = if row.namespaced { "namespaces/{namespace}/" } else { "" };
    let base = format!("{root}/{scope}{}", row.plural);
    let namespace: &[&str] = if row.namespaced { &["namespace"] } else { &[] };
    let named = [&["name"], namespace].concat();
    let place = Place::new(served);
    let everywhere = Place { scope: "", suffix: "ForAllNamespaces".into(), ..place.clone() };
    let mut add = |path: String, named: &[&str], operations: &[Operation]| {
        if !operations.is_empty() {
            paths.insert(path, item(dialect, named, operations, schemas));
        }
    };
    if row.namespaced && row.can("list") {
        add(format!("{root}/{}", row.plural), &[], &[everywhere.list()]);
    }
    add(base.clone(), namespace, &place.collection());
    add(format!("{base}/{{name}}"), &named, &place.single(&|verb| row.can(verb), served.schema()));
    if row.can("watch") {
        let old = format!("{root}/watch/{scope}{}", row.plural);
        if row.namespaced {
            add(format!("{root}/watch/{}", row.plural), &[], &[everywhere.watch("List")]);
        }
        add(old.clone(), namespace, &[place.watch("List")]);
        add(format!("{old}/{{name}}"), &named, &[place.watch("")]);
    }
    for sub in &row.subresources {
        subresource(&place, sub, &format!("{base}/{{name}}/{}", sub.name), &named, dialect, schemas, paths);
    }
}

/// Adds the path of a review.
pub fn of_review(review: &Review, dialect: Dialect, schemas: &mut Schemas, paths: &mut Map<String, Value>) {
    let scope = if review.namespaced { "namespaces/{namespace}/" } else { "" };
    let named: &[&str] = if review.namespaced { &["namespace"] } else { &[] };
    let place = Place {
        group: review.group,
        version: review.version,
        kind: review.kind,
        served: None,
        scope: if review.namespaced { "Namespaced" } else { "" },
        gvk: json!({"group": review.group, "kind": review.kind, "version": review.version}),
        suffix: String::new(),
    };
    let path = format!("/{}/{scope}{}", review.root(), review.plural);
    paths.insert(path, item(dialect, named, &[place.create(review.schema)], schemas));
}

/// Adds the path of what is no kind's document: `api`, `apis/apps`, `apis/apps/v1`, `version`.
pub fn of_other(root: &str, dialect: Dialect, schemas: &mut Schemas, paths: &mut Map<String, Value>) {
    const JSON: &[&str] = &["application/json"];
    const DISCOVERY: &[&str] = &OBJECTS;
    let (group, version) = match root.strip_prefix("apis/") {
        Some(group_version) => group_version.split_once('/').unwrap_or((group_version, "")),
        None => ("", root.strip_prefix("api/").unwrap_or_default()),
    };
    let (id, tag, answer, consumes, produces): (String, String, Option<&str>, _, &[&'static str]) = match root {
        "version" => ("getCodeVersion".into(), root.into(), Some("io.k8s.apimachinery.pkg.version.Info"), JSON, JSON),
        "openid/v1/jwks" => (
            "getServiceAccountIssuerOpenIDKeyset".into(),
            "openid".into(),
            None,
            &[][..],
            &["application/jwk-set+json"],
        ),
        ".well-known/openid-configuration" => {
            ("getServiceAccountIssuerOpenIDConfiguration".into(), "WellKnown".into(), None, &[][..], JSON)
        }
        "api" => ("getCoreAPIVersions".into(), "core".into(), Some("APIVersions"), DISCOVERY, DISCOVERY),
        "apis" => ("getAPIVersions".into(), root.into(), Some("APIGroupList"), DISCOVERY, DISCOVERY),
        _ if version.is_empty() => {
            let id = format!("get{}APIGroup", title(group));
            (id, tag(group, ""), Some("APIGroup"), DISCOVERY, DISCOVERY)
        }
        _ => {
            let id = format!("get{}{}APIResources", title(group), capitalized(version));
            (id, tag(group, version), Some("APIResourceList"), DISCOVERY, DISCOVERY)
        }
    };
    let operation = Operation {
        method: "get",
        id,
        tag,
        action: "",
        gvk: Value::Null,
        query: Vec::new(),
        body: None,
        answer: answer.map(str::to_owned),
        produces: produces.to_vec(),
        consumes,
        codes: &["200"],
    };
    paths.insert(format!("/{root}/"), item(dialect, &[], &[operation], schemas));
}

/// Whose operations they are.
#[derive(Clone)]
struct Place<'a> {
    group: &'a str,
    version: &'a str,
    kind: &'a str,
    /// None: a review, which has no other operations than `create`.
    served: Option<&'a Served>,
    /// `Namespaced`, or empty.
    scope: &'static str,
    gvk: Value,
    /// What the operation ids end with: `Status`, `ForAllNamespaces`.
    suffix: String,
}

impl<'a> Place<'a> {
    fn new(served: &'a Served) -> Place<'a> {
        let (row, resource) = (&served.kind, served.resource());
        Place {
            group: &resource.group,
            version: &resource.version,
            kind: &row.kind,
            served: Some(served),
            scope: if row.namespaced { "Namespaced" } else { "" },
            gvk: json!({"group": resource.group, "kind": row.kind, "version": resource.version}),
            suffix: String::new(),
        }
    }

    /// What is common to most; `word` is what the operation's id begins with, `of` what stands before the scope.
    fn operation(&self, method: &'static str, word: &str, of: &str, action: &'static str) -> Operation {
        let (group, version) = (title(self.group), capitalized(self.version));
        let Place { scope, kind, suffix, .. } = self;
        Operation {
            method,
            id: format!("{word}{group}{version}{of}{scope}{kind}{suffix}"),
            tag: tag(self.group, self.version),
            action,
            gvk: self.gvk.clone(),
            query: vec![PRETTY],
            body: None,
            answer: None,
            produces: OBJECTS.to_vec(),
            consumes: ANY,
            codes: &["200"],
        }
    }

    fn list(&self) -> Operation {
        Operation {
            query: LIST.to_vec(),
            answer: self.served.map(list_schema),
            produces: [&OBJECTS[..], &STREAMS].concat(),
            ..self.operation("get", "list", "", "list")
        }
    }

    /// The old way to watch, below `/watch/`; `list` is `List`, or empty for one object.
    fn watch(&self, list: &str) -> Operation {
        let place = Place { suffix: format!("{list}{}", self.suffix), ..self.clone() };
        let action = if list.is_empty() { "watch" } else { "watchlist" };
        Operation {
            answer: Some("WatchEvent".into()),
            query: LIST.to_vec(),
            produces: [&OBJECTS[..], &STREAMS].concat(),
            ..place.operation("get", "watch", "", action)
        }
    }

    fn create(&self, schema: &str) -> Operation {
        Operation {
            query: WRITE.to_vec(),
            body: Some(Body::Of(schema.into())),
            answer: Some(schema.into()),
            codes: &["200", "201", "202"],
            ..self.operation("post", "create", "", "post")
        }
    }

    fn collection(&self) -> Vec<Operation> {
        let Some(served) = self.served else { return Vec::new() };
        let kind = &served.kind;
        let mut operations = Vec::new();
        if kind.can("list") {
            operations.push(self.list());
        }
        if kind.can("create") {
            operations.push(self.create(served.schema()));
        }
        if kind.can("deletecollection") {
            let more = DELETE.iter().filter(|one| !LIST.contains(one));
            let listed = LIST.iter().filter(|(name, _)| !["watch", "allowWatchBookmarks"].contains(name));
            operations.push(Operation {
                query: more.chain(listed).copied().collect(),
                body: Some(Body::Delete),
                answer: Some("Status".into()),
                ..self.operation("delete", "delete", "Collection", "deletecollection")
            });
        }
        operations
    }

    fn single(&self, can: &dyn Fn(&str) -> bool, schema: &str) -> Vec<Operation> {
        let answer = || Some(schema.to_owned());
        let mut operations = Vec::new();
        if can("get") {
            operations.push(Operation { answer: answer(), ..self.operation("get", "read", "", "get") });
        }
        if can("update") {
            operations.push(Operation {
                query: WRITE.to_vec(),
                body: Some(Body::Of(schema.into())),
                answer: answer(),
                codes: &["200", "201"],
                ..self.operation("put", "replace", "", "put")
            });
        }
        if can("patch") {
            operations.push(Operation {
                query: [&WRITE[..], &[FORCE]].concat(),
                body: Some(Body::Patch),
                answer: answer(),
                consumes: PATCHES,
                codes: &["200", "201"],
                ..self.operation("patch", "patch", "", "patch")
            });
        }
        if can("delete") {
            // A pod and a few others answer with the object itself.
            let returned = self.served.is_some_and(|served| served.kind.writes.returns_deleted);
            operations.push(Operation {
                query: DELETE.to_vec(),
                body: Some(Body::Delete),
                answer: Some(if returned { schema } else { "Status" }.to_owned()),
                codes: &["200", "202"],
                ..self.operation("delete", "delete", "", "delete")
            });
        }
        operations
    }

    /// exec, attach, port-forward and proxy: an upgraded connection, not a body.
    fn connect(&self, sub: &Subresource, query: &[Parameter]) -> Vec<Operation> {
        const METHODS: [(&str, &str); 7] = [
            ("create", "post"),
            ("get", "get"),
            ("update", "put"),
            ("patch", "patch"),
            ("delete", "delete"),
            ("head", "head"),
            ("options", "options"),
        ];
        let passes = |verb: &str| sub.act == Act::Proxy && ["head", "options"].contains(&verb);
        let served = METHODS.iter().filter(|(verb, _)| sub.verbs.contains(verb) || passes(verb));
        let of = |(_, method): &(&str, &'static str)| Operation {
            query: query.to_vec(),
            produces: ANY.to_vec(),
            ..self.operation(method, "connect", &capitalized(method), "connect")
        };
        served.map(of).collect()
    }
}

fn subresource(
    place: &Place,
    sub: &Subresource,
    path: &str,
    named: &[&str],
    dialect: Dialect,
    schemas: &mut Schemas,
    paths: &mut Map<String, Value>,
) {
    let Some(served) = place.served else { return };
    let own = served.api_version();
    let group_version = if sub.body_group_version.is_empty() { own.as_str() } else { sub.body_group_version };
    let (group, version) = group_version.rsplit_once('/').unwrap_or(("", group_version));
    let schema = body_schema(served, sub, group_version);
    let kind = if sub.body_kind.is_empty() { served.kind.kind.as_str() } else { sub.body_kind };
    let gvk = json!({"group": group, "kind": kind, "version": version});
    schemas.name_kind(&schema, gvk.clone());
    let here = Place { gvk, suffix: capitalized(sub.name), ..place.clone() };
    let options = match sub.query {
        "" if sub.body_kind.ends_with("Options") => schema::get(&schema),
        "" => None,
        query => schema::get(query),
    };
    let query: Vec<Parameter> =
        options.map(|of| of.fields.iter().filter_map(query_parameter).collect()).unwrap_or_default();
    let operations = if sub.body_kind.ends_with("Options") {
        here.connect(sub, &query)
    } else if sub.act == Act::Log {
        let produces = [&["text/plain"], &OBJECTS[..]].concat();
        vec![Operation {
            query: [&query[..], &[PRETTY]].concat(),
            produces,
            ..here.operation("get", "read", "", "get")
        }]
    } else if sub.verbs.contains(&"create") {
        vec![here.create(&schema)]
    } else {
        here.single(&|verb| sub.verbs.contains(&verb), &schema)
    };
    if operations.is_empty() {
        return;
    }
    paths.insert(path.to_owned(), item(dialect, named, &operations, schemas));
    if sub.act == Act::Proxy {
        let below = Place { suffix: format!("{}WithPath", here.suffix), ..here };
        let named = [named, &["path"]].concat();
        paths.insert(format!("{path}/{{path}}"), item(dialect, &named, &below.connect(sub, &query), schemas));
    }
}

fn query_parameter(field: &'static schema::Field) -> Option<Parameter> {
    let of = if let Of::List(of) = &field.of { of } else { &field.of };
    let kind = match of {
        Of::Bool => "boolean",
        Of::Int32 | Of::Int64 => "integer",
        Of::String => "string",
        // A time is none (endpoints/installer.go AddObjectParams).
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

/// `core_v1`, `rbacAuthorization_v1`, `apps`
fn tag(group: &str, version: &str) -> String {
    let title = title(group);
    let (first, rest) = title.split_at(1);
    let line = if version.is_empty() { "" } else { "_" };
    format!("{}{rest}{line}{version}", first.to_lowercase())
}

fn capitalized(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}
