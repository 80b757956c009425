//! The laws of what is told of Services: their slices and Endpoints, checked on every revision.
//!
//! A pod that a slice told to be ending is never told ready again; no slice is fuller than it may be or has an endpoint
//! twice. And when all is calm, the ready endpoints of a Service are its ready pods, each once.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

const MANAGER: &str = "endpointslice-controller.k8s.io";
const MOST: usize = 100;

/// What is known after the revisions so far. (No Service here publishes what is not ready.)
#[derive(Default)]
pub struct Endpoints {
    /// UIDs of pods that a slice told to be ending.
    ending: BTreeSet<String>,
    violations: Vec<String>,
}

/// Key to object.
type Objects = BTreeMap<String, Value>;

impl Endpoints {
    pub fn take_violations(&mut self) -> Vec<String> {
        std::mem::take(&mut self.violations)
    }

    /// One change.
    pub fn check(&mut self, key: &str, now: &Value, deleted: bool) {
        if deleted || !is_of_pods(key, now) {
            return;
        }
        let told = endpoints(now);
        self.law(told.len() <= MOST, || format!("{key}: {} endpoints in a slice", told.len()));
        let distinct: BTreeSet<&str> = told.iter().map(|endpoint| target(endpoint)).collect();
        self.law(distinct.len() == told.len(), || format!("{key}: an endpoint twice in a slice: {distinct:?}"));
        for endpoint in &told {
            let (uid, conditions) = (target(endpoint), &endpoint["conditions"]);
            if conditions["terminating"] == true {
                self.ending.insert(uid.to_owned());
            }
            let is_dying = self.ending.contains(uid);
            self.law(!is_dying || conditions["ready"] != true, || format!("{key}: {uid} is ending, and ready again"));
        }
    }

    /// When all is calm: of every Service the ready endpoints are its ready pods, each once; so are its Endpoints.
    pub fn add_up(&mut self, objects: &Objects) {
        for (key, service) in objects.iter().filter(|(key, _)| key.starts_with("services/")) {
            let Some(selector) = service.pointer("/spec/selector").and_then(Value::as_object) else { continue };
            let (namespace, name) = (text(service, "/metadata/namespace"), text(service, "/metadata/name"));
            let pods = objects.range("pods/".to_owned().."pods0".to_owned()).map(|(_, pod)| pod);
            let pods = pods.filter(|pod| text(pod, "/metadata/namespace") == namespace && serves(pod));
            let has = |pod: &Value, (key, value): (&String, &Value)| pod["metadata"]["labels"][key] == *value;
            let pods = pods.filter(|pod| selector.iter().all(|pair| has(pod, pair)));
            let mut wanted: Vec<&str> = pods.map(|pod| text(pod, "/metadata/uid")).collect();
            wanted.sort_unstable();
            let slices = objects.iter().filter(|(key, slice)| {
                is_of_pods(key, slice)
                    && text(slice, "/metadata/namespace") == namespace
                    && slice["metadata"]["labels"]["kubernetes.io/service-name"] == *name
                    && slice["addressType"] == "IPv4"
            });
            let told: Vec<&Value> = slices.flat_map(|(_, slice)| endpoints(slice)).collect();
            let mut ready: Vec<&str> =
                told.iter().filter(|e| e["conditions"]["ready"] == true).map(|e| target(e)).collect();
            ready.sort_unstable();
            self.law(ready == wanted, || format!("{key}: slices tell {ready:?} ready of {wanted:?}"));
            let is_gone =
                |endpoint: &&&Value| !objects.values().any(|pod| text(pod, "/metadata/uid") == target(endpoint));
            let gone: Vec<&str> = told.iter().filter(is_gone).map(|e| target(e)).collect();
            self.law(gone.is_empty(), || format!("{key}: slices tell of pods that are gone: {gone:?}"));
            let subsets = objects.get(&format!("endpoints/{namespace}/{name}")).and_then(|e| e["subsets"].as_array());
            let addresses = subsets.into_iter().flatten().flat_map(|s| s["addresses"].as_array().into_iter().flatten());
            let mut addresses: Vec<&str> = addresses.map(target).collect();
            addresses.sort_unstable();
            self.law(addresses == wanted, || format!("{key}: Endpoints tell {addresses:?} of {wanted:?}"));
        }
    }

    fn law(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.violations.push(what());
        }
    }
}

/// A slice of the controller that looks at pods.
fn is_of_pods(key: &str, object: &Value) -> bool {
    key.starts_with("endpointslices.discovery.k8s.io/")
        && object["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"] == MANAGER
}

fn endpoints(slice: &Value) -> Vec<&Value> {
    slice["endpoints"].as_array().into_iter().flatten().collect()
}

/// The UID of the pod.
fn target(endpoint: &Value) -> &str {
    text(endpoint, "/targetRef/uid")
}

/// It runs, has an address, is ready, and is not ending.
fn serves(pod: &Value) -> bool {
    let mut conditions = pod.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
        && !matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
        && !text(pod, "/status/podIP").is_empty()
        && pod.pointer("/metadata/deletionTimestamp").is_none()
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests;
