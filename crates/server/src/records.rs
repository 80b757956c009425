//! Where objects lie in the store, and the read-only view of it that decisions are made on.
//!
//! Keys are `plural/name`, `plural/namespace/name`, with `.group` after the plural outside the core
//! group. Every read is from memory.

use std::sync::Arc;

use api::resource::NAMESPACES;
use api::{Object, Resource};
use serde_json::Value;
use store::{Entry, Key, Store};

/// Where upstream would keep an object in etcd, below its root: what it says of a failed precondition
/// (kubeapiserver/default_storage_factory_builder.go, and the group too for what its other servers keep).
pub fn upstream_place(kind: &kinds::Kind, namespace: &str, name: &str) -> String {
    let (group, plural) = (kind.group.as_str(), kind.plural.as_str());
    let is_apart = ["apiextensions.k8s.io", "apiregistration.k8s.io"].contains(&group);
    let resource = match kind.upstream.folder {
        "" if is_apart || !kind.schema.starts_with("io.k8s.") => format!("{group}/{plural}"),
        "" => plural.to_owned(),
        folder => folder.to_owned(),
    };
    let namespace = if namespace.is_empty() { String::new() } else { format!("/{namespace}") };
    format!("/{resource}{namespace}/{name}")
}

/// What admission and authorization may ask.
#[derive(Clone)]
pub struct Snapshot(Arc<Store>);

impl Snapshot {
    pub fn new(store: Arc<Store>) -> Snapshot {
        Snapshot(store)
    }

    /// One object of a core kind, or of a group's with `plural.group`.
    pub fn entry(&self, resource: &str, namespace: &str, name: &str) -> Option<Entry> {
        self.0.get(raw_key(resource, namespace, name).as_str())
    }

    pub fn object(&self, resource: &str, namespace: &str, name: &str) -> Option<Object> {
        Object::parse(self.entry(resource, namespace, name)?.bytes).ok()
    }

    pub fn value(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        serde_json::from_slice(&self.entry(resource, namespace, name)?.bytes).ok()
    }

    /// The namespace of a name.
    pub fn namespace(&self, name: &str) -> Option<Entry> {
        self.entry(&NAMESPACES.plural, "", name)
    }

    /// All of a kind, of one namespace unless it is empty.
    /// Whether there is one of them, in any namespace.
    pub fn has_any(&self, resource: &str) -> bool {
        self.0.list(&format!("{resource}/"), None, 1, None).is_ok_and(|list| !list.entries.is_empty())
    }

    pub fn all(&self, resource: &str, namespace: &str) -> Vec<Entry> {
        let prefix = match namespace {
            "" => format!("{resource}/"),
            _ => format!("{resource}/{namespace}/"),
        };
        self.0.list(&prefix, None, usize::MAX, None).map(|l| l.entries).unwrap_or_default()
    }
}

/// The key of an object.
pub fn key(kind: &Resource, namespace: &str, name: &str) -> Key {
    raw_key(&kind.qualified(), if kind.namespaced { namespace } else { "" }, name)
}

/// The keys of a kind: of one namespace unless it is empty.
pub fn prefix(kind: &Resource, namespace: &str) -> String {
    match namespace {
        n if !kind.namespaced || n.is_empty() => format!("{}/", kind.qualified()),
        n => format!("{}/{n}/", kind.qualified()),
    }
}

fn raw_key(resource: &str, namespace: &str, name: &str) -> Key {
    match namespace {
        "" => Key::new(format!("{resource}/{name}")),
        _ => Key::new(format!("{resource}/{namespace}/{name}")),
    }
}

/// The items of a list; none if it is absent.
pub fn each(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Whether a pod only shows one that its node runs by itself.
pub fn is_mirror(pod: &Value) -> bool {
    pod["metadata"]["annotations"].get("kubernetes.io/config.mirror").is_some()
}
