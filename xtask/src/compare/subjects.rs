//! What both servers serve, from their own discovery, and a valid object of each kind.
//!
//! `xtask/compare/objects.yaml` has an object for each kind that needs more than a name: as much as makes sense
//! together, since each of its fields is made wrong in turn. A kind without one there is tried all the same.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use api::schema::{self, Type};
use bytes::Bytes;
use serde_json::{Value, json};

use super::servers::{Server, Servers};

/// One kind in one version that both serve.
#[derive(Clone)]
pub struct Subject {
    pub group: String,
    pub version: String,
    pub kind: String,
    pub plural: String,
    pub namespaced: bool,
    pub verbs: Vec<String>,
    /// With their verbs.
    pub subresources: BTreeMap<String, Vec<String>>,
    pub schema: &'static Type,
    /// Without a name.
    pub object: Value,
}

impl Subject {
    /// `pods/v1`, `ingresses.networking.k8s.io/v1`
    pub fn name(&self) -> String {
        let dot = if self.group.is_empty() { "" } else { "." };
        format!("{}{dot}{}/{}", self.plural, self.group, self.version)
    }

    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    pub fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|known| known == verb)
    }

    /// `/apis/apps/v1`
    pub fn root(&self) -> String {
        if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        }
    }

    /// The namespace of the kind's cases.
    pub fn namespace(&self) -> String {
        let group = self.group.split('.').next().unwrap_or_default();
        format!("of-{}-{}{}", self.plural, self.version, group)
    }

    /// The path of its objects.
    pub fn path(&self) -> String {
        match self.namespaced {
            true => format!("{}/namespaces/{}/{}", self.root(), self.namespace(), self.plural),
            false => format!("{}/{}", self.root(), self.plural),
        }
    }

    /// A valid object of that name.
    pub fn named(&self, name: &str) -> Value {
        let mut object = self.object.clone();
        object["metadata"]["name"] = name.into();
        object
    }
}

/// The kinds that both serve, and the names of those that only one does.
pub async fn served(servers: &Servers) -> Result<(Vec<Subject>, Vec<String>)> {
    let objects = objects()?;
    let (stock, gousse) = (discovered(&servers.stock).await?, discovered(&servers.gousse).await?);
    let mut unserved = Vec::new();
    let mut subjects = Vec::new();
    for (name, resource) in &stock {
        let Some(own) = gousse.get(name) else {
            unserved.push(format!("{name}: not served by Gousse"));
            continue;
        };
        let Some(schema) = schema_of(resource) else { continue };
        let mut subject = Subject { schema, ..resource.clone() };
        subject.subresources.retain(|name, _| own.subresources.contains_key(name));
        let made = json!({"metadata": {}});
        let of_version = objects.get(&format!("{}/{}", subject.api_version(), subject.kind));
        subject.object = of_version.or_else(|| objects.get(&subject.kind)).cloned().unwrap_or(made);
        let text = subject.object.to_string().replace("NAMESPACE", &subject.namespace());
        subject.object = serde_json::from_str(&text)?;
        subject.object["apiVersion"] = subject.api_version().into();
        subject.object["kind"] = subject.kind.clone().into();
        subjects.push(subject);
    }
    unserved
        .extend(gousse.keys().filter(|name| !stock.contains_key(*name)).map(|name| format!("{name}: Gousse's own")));
    Ok((subjects, unserved))
}

/// By kind; `events.k8s.io/v1/Event` where a document says its version.
pub fn objects() -> Result<BTreeMap<String, Value>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("compare/objects.yaml");
    let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let mut objects = BTreeMap::new();
    for document in api::decode::documents(&text) {
        let object = api::decode::untyped(document.as_bytes()).map_err(|why| anyhow::anyhow!("{why}: {document}"))?;
        let kind = object["kind"].as_str().with_context(|| format!("no kind: {document}"))?;
        let name = object["apiVersion"].as_str().map_or(kind.to_owned(), |version| format!("{version}/{kind}"));
        objects.insert(name, object);
    }
    Ok(objects)
}

/// Every resource with a `list`, by its name: what has none (reviews, bindings) has cases of its own.
async fn discovered(server: &Server) -> Result<BTreeMap<String, Subject>> {
    let mut found = BTreeMap::new();
    for path in ["/api", "/apis"] {
        let request = http::Request::builder()
            .uri(path)
            .header("accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
            .body(Bytes::new())?;
        let document: Value = serde_json::from_slice(&server.send(request).await?.body)?;
        for group in document["items"].as_array().into_iter().flatten() {
            for version in group["versions"].as_array().into_iter().flatten() {
                for resource in version["resources"].as_array().into_iter().flatten() {
                    let subject = read(&group["metadata"]["name"], &version["version"], resource);
                    if subject.can("list") {
                        found.insert(subject.name(), subject);
                    }
                }
            }
        }
    }
    Ok(found)
}

fn read(group: &Value, version: &Value, resource: &Value) -> Subject {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let texts = |value: &Value| value.as_array().into_iter().flatten().map(text).collect::<Vec<String>>();
    let subresources = resource["subresources"].as_array().into_iter().flatten();
    Subject {
        group: text(group),
        version: text(version),
        kind: text(&resource["responseKind"]["kind"]),
        plural: text(&resource["resource"]),
        namespaced: resource["scope"] == "Namespaced",
        verbs: texts(&resource["verbs"]),
        subresources: subresources.map(|sub| (text(&sub["subresource"]), texts(&sub["verbs"]))).collect(),
        schema: schema::get(OBJECT_META).expect("metadata has a type"),
        object: Value::Null,
    }
}

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// The row of the schema table.
fn schema_of(subject: &Subject) -> Option<&'static Type> {
    let package = match subject.group.split('.').next() {
        None | Some("") => "core",
        Some(first) => first,
    };
    let end = format!(".{package}.{}.{}", subject.version, subject.kind);
    schema::names().find(|name| name.ends_with(&end)).and_then(schema::get)
}
