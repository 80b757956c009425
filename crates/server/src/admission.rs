//! What a write must pass beside validation: built-in steps that complete or refuse an object.
//!
//! Each is a pure function over the request, the old object and a snapshot of the store; what it
//! relied on becomes a claim that the write checks again. One file each, one line in a table, in
//! upstream's order (kubeapiserver/options/plugins.go); those that only judge come after validation.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::Status;
use kinds::Kind;
use serde_json::Value;
use store::{Expect, Step};

use crate::identity::Identity;
use crate::records::Snapshot;
use crate::verbs::Call;

pub use priority::{Class, Classes, classes};

pub use node::{evict, token};

mod namespace;
mod node;
mod pod_resize;
mod pod_security;
mod priority;
mod runtime_class;
mod service_account;
mod tolerations;

/// One built-in step.
pub struct Plugin {
    /// Upstream's name.
    pub name: &'static str,
    pub admit: fn(&Ask<'_>, &mut Value, &mut Outcome) -> Result<(), Status>,
}

pub static ADMISSION: &[Plugin] = &[
    Plugin { name: "NamespaceLifecycle", admit: namespace::admit },
    Plugin { name: "TaintNodesByCondition", admit: node::taint },
    Plugin { name: "ServiceAccount", admit: service_account::admit },
    Plugin { name: "NodeRestriction", admit: node::restrict },
    Plugin { name: "Priority", admit: priority::admit },
    Plugin { name: "DefaultTolerationSeconds", admit: tolerations::admit },
    Plugin { name: "RuntimeClass", admit: runtime_class::admit },
];

/// Steps that change nothing and judge only what is valid.
pub static VALIDATION: &[Plugin] = &[
    Plugin { name: "PodSecurity", admit: pod_security::admit },
    Plugin { name: "PodResizeValidator", admit: pod_resize::admit },
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
}

/// What a step may look at.
pub struct Ask<'a> {
    pub call: &'a Call<'a>,
    pub operation: Operation,
    pub subresource: &'a str,
    pub old: Option<&'a Value>,
}

/// What the steps leave beside the object.
#[derive(Default)]
pub struct Outcome {
    /// Steps that must hold when the object is written.
    pub claims: Vec<Step>,
    pub warnings: Vec<String>,
}

/// Runs the table. At a deletion `object` is null.
pub fn admit(ask: &Ask<'_>, object: &mut Value) -> Result<Outcome, Status> {
    let name = object["metadata"]["name"].as_str();
    tracing::trace!(target: "walk", verb = "admit", kind = ask.kind().kind, name);
    let mut outcome = Outcome::default();
    run(ADMISSION, ask, object, &mut outcome)?;
    Ok(outcome)
}

/// Runs the table of what comes after the kind's own validation.
pub fn validate(ask: &Ask<'_>, object: &mut Value, outcome: &mut Outcome) -> Result<(), Status> {
    run(VALIDATION, ask, object, outcome)
}

fn run(table: &[Plugin], ask: &Ask<'_>, object: &mut Value, outcome: &mut Outcome) -> Result<(), Status> {
    for plugin in table {
        (plugin.admit)(ask, object, outcome)
            .inspect_err(|status| tracing::debug!(plugin = plugin.name, %status, "refused"))?;
    }
    Ok(())
}

impl Ask<'_> {
    pub fn kind(&self) -> &Kind {
        self.call.kind()
    }

    pub fn identity(&self) -> &Identity {
        self.call.identity
    }

    pub fn snapshot(&self) -> &Snapshot {
        &self.call.server.0.snapshot
    }

    pub fn classes(&self) -> Arc<BTreeMap<String, Class>> {
        self.call.server.0.classes.now()
    }

    /// Whether a core kind itself (no subresource) is created.
    pub fn creates(&self, plural: &str) -> bool {
        self.operation == Operation::Create && self.subresource.is_empty() && self.is(plural)
    }

    pub fn is(&self, plural: &str) -> bool {
        self.kind().plural == plural && self.kind().group.is_empty()
    }

    /// The object's name, or the start of it if it is to be generated.
    pub fn name<'v>(&'v self, object: &'v Value) -> &'v str {
        match object["metadata"]["name"].as_str().unwrap_or("") {
            "" => self.call.name(),
            name => name,
        }
    }

    /// `pods "x" is forbidden: why`
    pub fn forbidden(&self, object: &Value, why: &str) -> Status {
        Status::forbidden(&self.kind().group, &self.kind().plural, self.name(object), why)
    }

    /// The write holds only while this entry is as it is now.
    pub fn claim(&self, entry: &store::Entry, outcome: &mut Outcome) {
        outcome.claims.push(Step::Check { key: entry.key.clone(), expect: Expect::At(entry.revision) });
    }
}

/// The containers of a pod of the given lists.
pub fn containers<'v>(pod: &'v Value, lists: &'v [&'v str]) -> impl Iterator<Item = &'v Value> {
    lists.iter().flat_map(|list| each(&pod["spec"][*list]))
}

/// The items of a list; none if it is absent.
pub fn each(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A list under a key, made if it is absent.
pub fn list_mut<'v>(parent: &'v mut Value, key: &str) -> &'v mut Vec<Value> {
    let slot = &mut parent[key];
    if !slot.is_array() {
        *slot = Value::Array(Vec::new());
    }
    slot.as_array_mut().expect("made a list above")
}

pub fn is_mirror(pod: &Value) -> bool {
    pod["metadata"]["annotations"].get("kubernetes.io/config.mirror").is_some()
}

#[cfg(test)]
mod tests;
