//! One ReplicaSet as its Deployment sees it, with what is decided about it. Pure.

use api::{Object, tree};
use serde_json::Value;

use super::annotations;

pub struct Set {
    /// As it was read; of one that is to be made, nothing but its value counts.
    pub object: Object,
    /// As it shall be.
    pub value: Value,
    /// How it was scaled by this look, for people.
    pub told: Option<String>,
}

impl Set {
    pub fn of(object: Object) -> Set {
        Set { value: object.value(), object, told: None }
    }

    /// How many it shall have.
    pub fn replicas(&self) -> i64 {
        tree::int(&self.value, "spec.replicas").unwrap_or(0)
    }

    /// How many it has.
    pub fn actual(&self) -> i64 {
        self.count("replicas")
    }

    pub fn ready(&self) -> i64 {
        self.count("readyReplicas")
    }

    pub fn available(&self) -> i64 {
        self.count("availableReplicas")
    }

    /// None where its controller does not say.
    pub fn terminating(&self) -> Option<i64> {
        match &self.value["status"]["terminatingReplicas"] {
            Value::Null => (self.count("observedGeneration") == 0).then_some(0),
            count => count.as_i64(),
        }
    }

    pub fn is_active(&self) -> bool {
        self.replicas() > 0
    }

    pub fn name(&self) -> &str {
        tree::text(&self.value, "metadata.name")
    }

    /// Older ones come first.
    pub fn age(&self) -> (Option<String>, &str) {
        (self.object.meta().creation_timestamp.clone(), self.name())
    }

    pub fn is_changed(&self) -> bool {
        self.value != self.object.value()
    }

    /// Sets how many it shall have, with the numbers that proportions are worked out by; true where the first changed.
    pub fn scale(&mut self, replicas: i64, desired: i64, most: i64) -> bool {
        let old = self.replicas();
        annotations::set_sizes(&mut self.value, desired, most);
        if old == replicas {
            return false;
        }
        self.value["spec"]["replicas"] = replicas.into();
        let way = if old < replicas { "up" } else { "down" };
        self.told = Some(format!("Scaled {way} replica set {} from {old} to {replicas}", self.name()));
        true
    }

    fn count(&self, field: &str) -> i64 {
        self.value["status"][field].as_i64().unwrap_or(0)
    }
}
