//! What a cache's objects are found by beside their keys: owner, node, label, service.
//!
//! An index is a pure function from an object to the values it stands under. It is built when somebody
//! asks by it for the first time, and kept with every change from then on.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use api::Object;
use serde::Deserialize;

use super::Key;

/// One way to find objects.
pub struct Index {
    /// Its name in a cache: no two have the same.
    pub name: &'static str,
    /// What the object is found under: nothing, one value or several.
    pub values: fn(&Object) -> Vec<String>,
}

/// Under the uid of each owner.
pub static OWNER: Index = Index {
    name: "owner",
    values: |object| object.meta().owner_references.iter().map(|owner| owner.uid.clone()).collect(),
};

/// Under the uid of the owner that manages it; where none does, under `orphans/` and its namespace.
pub static CONTROLLER: Index = Index {
    name: "controller",
    values: |object| {
        let meta = object.meta();
        vec![meta.controller().map_or_else(|| format!("orphans/{}", meta.namespace), |owner| owner.uid.clone())]
    },
};

/// Pods under `spec.nodeName`.
pub static NODE: Index = Index { name: "node", values: node_of };

/// Under its namespace.
pub static NAMESPACE: Index = Index { name: "namespace", values: |object| vec![object.meta().namespace.clone()] };

/// Under each label, within its namespace: `default/app=web`.
pub static LABEL: Index = Index {
    name: "label",
    values: |object| {
        let meta = object.meta();
        meta.labels.iter().map(|(key, value)| format!("{}/{key}={value}", meta.namespace)).collect()
    },
};

/// EndpointSlices under their Service's key: `default/web`.
pub static SERVICE: Index = Index {
    name: "service",
    values: |object| {
        let meta = object.meta();
        let name = meta.labels.get("kubernetes.io/service-name");
        name.map(|name| format!("{}/{name}", meta.namespace)).into_iter().collect()
    },
};

fn node_of(object: &Object) -> Vec<String> {
    #[derive(Deserialize)]
    struct Assigned {
        spec: Spec,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Spec {
        node_name: Option<String>,
    }
    let node = object.view::<Assigned>().ok().and_then(|pod| pod.spec.node_name);
    node.filter(|name| !name.is_empty()).into_iter().collect()
}

/// The indexes that were asked for.
#[derive(Default)]
pub(super) struct Indexes(HashMap<&'static str, Built>);

struct Built {
    values: fn(&Object) -> Vec<String>,
    keys: HashMap<String, BTreeSet<Key>>,
}

impl Indexes {
    /// The keys under each of these values, in order; None where the index is not built.
    pub fn keys(&self, index: &Index, values: &[&str]) -> Option<impl Iterator<Item = &Key>> {
        let built = self.0.get(index.name)?;
        let mut sets: Vec<&BTreeSet<Key>> = values.iter().filter_map(|value| built.keys.get(*value)).collect();
        if sets.len() < values.len() {
            sets.clear();
        }
        // Of the fewest each is looked for among the others.
        sets.sort_by_key(|set| set.len());
        let (first, others) =
            sets.split_first().map_or((None, Vec::new()), |(first, others)| (Some(*first), others.to_vec()));
        Some(first.into_iter().flatten().filter(move |key| others.iter().all(|set| set.contains(*key))))
    }

    pub fn build(&mut self, index: &Index, objects: &BTreeMap<Key, Object>) {
        let mut built = Built { values: index.values, keys: HashMap::new() };
        for (key, object) in objects {
            built.change(key, None, Some(object));
        }
        self.0.insert(index.name, built);
    }

    pub fn change(&mut self, key: &Key, old: Option<&Object>, new: Option<&Object>) {
        for built in self.0.values_mut() {
            built.change(key, old, new);
        }
    }
}

impl Built {
    fn change(&mut self, key: &Key, old: Option<&Object>, new: Option<&Object>) {
        let values = |object: Option<&Object>| object.map(self.values).unwrap_or_default();
        let (old, new) = (values(old), values(new));
        if old == new {
            return;
        }
        for value in old {
            if let Some(keys) = self.keys.get_mut(&value) {
                keys.remove(key);
                if keys.is_empty() {
                    self.keys.remove(&value);
                }
            }
        }
        for value in new {
            self.keys.entry(value).or_default().insert(key.clone());
        }
    }
}
