//! The kinds that a server serves, from its discovery: built in, or brought by its users.

use std::sync::Arc;

use bytes::Bytes;
use client::{Client, Collection};
use serde_json::Value;

use crate::failure::{Context, Result, failure};

/// Discovery in one document (apidiscovery.k8s.io, GA since Kubernetes 1.30).
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// What verbs know by nature.
pub const PODS: Collection<'static> = Collection { group: "", version: "v1", plural: "pods", namespaced: true };
pub const EVENTS: Collection<'static> = Collection { plural: "events", ..PODS };
pub const LEASES: Collection<'static> =
    Collection { group: "coordination.k8s.io", version: "v1", plural: "leases", namespaced: true };

/// One kind in one version, as the server names it. Clone is a reference count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource(Arc<Names>);

#[derive(Debug, PartialEq, Eq)]
pub struct Names {
    /// Empty for the core group.
    pub group: String,
    pub version: String,
    pub kind: String,
    pub plural: String,
    pub singular: String,
    pub short_names: Vec<String>,
    pub categories: Vec<String>,
    pub namespaced: bool,
    pub verbs: Vec<String>,
    /// The version of its group that the server prefers.
    pub is_preferred: bool,
}

impl std::ops::Deref for Resource {
    type Target = Names;

    fn deref(&self) -> &Names {
        &self.0
    }
}

impl<'a> From<&'a Resource> for Collection<'a> {
    fn from(resource: &'a Resource) -> Collection<'a> {
        Collection {
            group: &resource.group,
            version: &resource.version,
            plural: &resource.plural,
            namespaced: resource.namespaced,
        }
    }
}

impl Names {
    pub fn is(&self, collection: Collection<'_>) -> bool {
        self.group == collection.group && self.plural == collection.plural
    }

    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }
}

/// All of them, in the server's order: the core group first, of each group the preferred version first.
#[derive(Clone, Debug)]
pub struct Kinds(Arc<[Resource]>);

impl Kinds {
    /// Asks the server.
    pub async fn of(client: &Client) -> Result<Kinds> {
        let (core, groups) = futures::try_join!(document(client, "/api"), document(client, "/apis"))?;
        Ok(Kinds(resources(&core).chain(resources(&groups)).collect()))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Resource> {
        self.0.iter()
    }

    /// The first of plural, singular, kind or short name; `pods.v1.` and `deployments.apps` too.
    pub fn named(&self, word: &str) -> Result<Resource> {
        let lower = word.to_lowercase();
        let (plain, group) =
            lower.split_once('.').map_or((lower.as_str(), None), |(plain, group)| (plain, Some(group)));
        let fits = |resource: &Resource| {
            let named = resource.plural == plain
                || resource.singular == plain
                || resource.kind.to_lowercase() == plain
                || resource.short_names.iter().any(|short| short == plain);
            let in_group = match group {
                None => true,
                Some(group) => group == resource.group || group == format!("{}.{}", resource.version, resource.group),
            };
            named && in_group
        };
        let found = self.iter().find(|resource| fits(resource)).cloned();
        found.ok_or_else(|| failure(format!("the server doesn't have a resource type {word:?}")))
    }

    /// `all`, lists of kinds.
    pub fn listed(&self, words: &str) -> Result<Vec<Resource>> {
        let mut found = Vec::new();
        for word in words.split(',') {
            match word {
                "all" => {
                    let in_all = |r: &&Resource| r.is_preferred && r.categories.iter().any(|c| c == "all");
                    found.extend(self.iter().filter(in_all).cloned());
                }
                word => found.push(self.named(word)?),
            }
        }
        Ok(found)
    }

    /// What a manifest's `apiVersion` and `kind` say.
    pub fn of_manifest(&self, object: &Value) -> Result<Resource> {
        let field = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
        let (version, kind) = (field("apiVersion"), field("kind"));
        let found = self.iter().find(|resource| resource.kind == kind && resource.api_version() == version).cloned();
        found.ok_or_else(|| {
            failure(format!(
                "no matches for kind {kind:?} in version {version:?}; `gousse api-resources` lists what there is"
            ))
        })
    }
}

async fn document(client: &Client, path: &str) -> Result<Value> {
    let request = http::Request::get(path).header("accept", AGGREGATED).body(Bytes::new());
    let bytes = client.send(request.context("making a request")?).await?.bytes().await?;
    let document: Value = serde_json::from_slice(&bytes).context(format_args!("reading {path}"))?;
    match document["kind"].as_str() {
        Some("APIGroupDiscoveryList") => Ok(document),
        _ => Err(failure("the server does not tell its kinds in one document: it is older than Kubernetes 1.30")),
    }
}

fn resources(document: &Value) -> impl Iterator<Item = Resource> {
    list(&document["items"]).iter().flat_map(|group| {
        list(&group["versions"]).iter().enumerate().flat_map(move |(number, version)| {
            list(&version["resources"]).iter().map(move |resource| {
                Resource(Arc::new(Names {
                    group: text(&group["metadata"]["name"]),
                    version: text(&version["version"]),
                    kind: text(&resource["responseKind"]["kind"]),
                    plural: text(&resource["resource"]),
                    singular: text(&resource["singularResource"]),
                    short_names: texts(&resource["shortNames"]),
                    categories: texts(&resource["categories"]),
                    namespaced: resource["scope"] == "Namespaced",
                    verbs: texts(&resource["verbs"]),
                    is_preferred: number == 0,
                }))
            })
        })
    })
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_string()
}

fn texts(value: &Value) -> Vec<String> {
    list(value).iter().map(text).collect()
}
