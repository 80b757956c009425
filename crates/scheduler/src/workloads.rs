//! What groups pods: services and controllers, by whose selectors default spreading counts.
//!
//! Matches pkg/scheduler/framework/plugins/helper/spread.go: the selectors of all services that mean
//! the pod, and that of its controller.

use std::collections::{BTreeMap, HashMap};

use api::selector::{Labels, Operator, Requirement};
use api::{Object, tree};
use serde_json::Value;

use crate::pod::{Pod, strings};

#[derive(Clone, Debug, Default)]
pub struct Workloads {
    /// By namespace and name.
    services: HashMap<String, BTreeMap<String, BTreeMap<String, String>>>,
    /// By kind with group and version, namespace and name.
    owners: HashMap<(String, String, String), Labels>,
}

impl Workloads {
    pub fn set_service(&mut self, object: &Object) {
        let (meta, value) = (object.meta(), object.value());
        let selector = strings(&value, "spec.selector");
        self.remove_service(&meta.namespace, &meta.name);
        if !selector.is_empty() {
            self.services.entry(meta.namespace.to_string()).or_default().insert(meta.name.to_string(), selector);
        }
    }

    pub fn remove_service(&mut self, namespace: &str, name: &str) {
        if let Some(services) = self.services.get_mut(namespace) {
            services.remove(name);
            if services.is_empty() {
                self.services.remove(namespace);
            }
        }
    }

    /// A ReplicationController, a ReplicaSet or a StatefulSet.
    pub fn set_owner(&mut self, kind: &str, namespace: &str, name: &str, object: &Value) {
        let selector = tree::at(object, "spec.selector");
        let labels = match kind {
            // Its selector is a plain map.
            "v1/ReplicationController" => Ok(Labels::from_map(&strings(object, "spec.selector"))),
            _ => Labels::from_label_selector(selector),
        };
        let key = (kind.to_string(), namespace.to_string(), name.to_string());
        match labels {
            Ok(labels) => self.owners.insert(key, labels),
            Err(_) => self.owners.remove(&key),
        };
    }

    pub fn remove_owner(&mut self, kind: &str, namespace: &str, name: &str) {
        self.owners.remove(&(kind.to_string(), namespace.to_string(), name.to_string()));
    }

    /// What the pods are that belong together with this one; empty: nobody says.
    pub fn selector(&self, pod: &Pod) -> Labels {
        let mut pairs: BTreeMap<&String, &String> = BTreeMap::new();
        for selector in self.services.get(&*pod.namespace).into_iter().flat_map(BTreeMap::values) {
            if selector.iter().all(|(key, value)| pod.labels.get(key) == Some(value)) {
                pairs.extend(selector);
            }
        }
        let owner = pod
            .owner
            .as_ref()
            .and_then(|(kind, name)| self.owners.get(&(kind.clone(), pod.namespace.to_string(), name.clone())));
        let pair = |(key, value): (&String, &String)| Requirement {
            key: key.clone(),
            operator: Operator::In,
            values: vec![value.clone()],
        };
        let mut requirements: Vec<Requirement> = pairs.into_iter().map(pair).collect();
        requirements.extend(owner.filter(|o| !o.nothing).into_iter().flat_map(|o| o.requirements.iter().cloned()));
        Labels { requirements, nothing: false }
    }
}
