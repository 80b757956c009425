//! The kinds that a server serves, from its discovery: built in, or brought by its users.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use client::{Client, Collection};
use serde_json::Value;

use crate::failure::{Context, Result, failure};

/// Discovery in one document (apidiscovery.k8s.io, GA since Kubernetes 1.30).
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

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
}

/// What verbs know by nature.
pub static EVENTS: LazyLock<Resource> = LazyLock::new(|| Resource::of("v1", "Event", "events", true));
pub static LEASES: LazyLock<Resource> =
    LazyLock::new(|| Resource::of("coordination.k8s.io/v1", "Lease", "leases", true));
pub static NODES: LazyLock<Resource> = LazyLock::new(|| Resource::of("v1", "Node", "nodes", false));
pub static PODS: LazyLock<Resource> = LazyLock::new(|| Resource::of("v1", "Pod", "pods", true));
pub static SECRETS: LazyLock<Resource> = LazyLock::new(|| Resource::of("v1", "Secret", "secrets", true));

impl Resource {
    fn of(api_version: &str, kind: &str, plural: &str, namespaced: bool) -> Resource {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        Resource(Arc::new(Names {
            group: group.into(),
            version: version.into(),
            kind: kind.into(),
            plural: plural.into(),
            singular: kind.to_lowercase(),
            short_names: Vec::new(),
            categories: Vec::new(),
            namespaced,
            verbs: Vec::new(),
        }))
    }
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
    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `pods`, `leases.coordination.k8s.io`.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
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

    /// Of each group the version that the server prefers.
    pub fn preferred(&self) -> impl Iterator<Item = &Resource> {
        let first = |group: &str| self.iter().find(|resource| resource.group == group).map(|first| &first.version);
        self.iter().filter(move |resource| first(&resource.group) == Some(&resource.version))
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
                    let in_all = |resource: &&Resource| resource.categories.iter().any(|category| category == "all");
                    found.extend(self.preferred().filter(in_all).cloned());
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
        list(&group["versions"]).iter().flat_map(move |version| {
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
