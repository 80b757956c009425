//! CSIDriver: what a driver of volumes needs from the nodes and the cluster.

use std::collections::BTreeSet;

use api::{FieldError, tree};
use serde_json::{Value, json};

use crate::row::*;
use crate::validate::at::{At, Errors};
use crate::validate::meta;
use crate::validate::volume::token_lifetime;

const PERIOD_MIN: i64 = 10;

pub(crate) fn row() -> Kind {
    let flag = |column| Column { kind: "boolean".into(), ..column };
    Kind {
        columns: vec![
            NAME,
            flag(computed("AttachRequired", "Whether its volumes are attached to a node first.", |driver, _| {
                json!(tree::at(driver, "spec.attachRequired").as_bool().unwrap_or(true))
            })),
            flag(computed("PodInfoOnMount", "Whether it is told of the pod that a volume is for.", |driver, _| {
                json!(tree::flag(driver, "spec.podInfoOnMount"))
            })),
            flag(computed("StorageCapacity", "Whether pods are placed by the room that it reports.", |driver, _| {
                json!(tree::flag(driver, "spec.storageCapacity"))
            })),
            computed("TokenRequests", "For whom it wants tokens of a pod's account.", |driver, _| {
                json!(audiences(driver))
            }),
            flag(computed("RequiresRepublish", "Whether its volumes are brought up to date.", |driver, _| {
                json!(tree::flag(driver, "spec.requiresRepublish"))
            })),
            computed("Modes", "Whether its volumes outlive their pod.", |driver, _| json!(modes(driver))),
            AGE,
        ],
        hooks: Hooks { default, prepare, validate, warnings, ..HOOKS },
        writes: Writes { conditional: true, returns_deleted: true, ..WRITES },
        ..Kind::cluster("storage.k8s.io/v1", "CSIDriver", "csidrivers").dormant("nodes do not run CSI drivers yet")
    }
}

fn audiences(driver: &Value) -> String {
    match tree::at(driver, "spec.tokenRequests").as_array() {
        None => "<unset>".into(),
        Some(all) => all.iter().map(|one| tree::text(one, "audience")).collect::<Vec<_>>().join(","),
    }
}

fn modes(driver: &Value) -> String {
    let modes: Vec<&str> = tree::list(driver, "spec.volumeLifecycleModes").iter().filter_map(Value::as_str).collect();
    if modes.is_empty() { "<none>".into() } else { modes.join(",") }
}

fn default(_: &Kind, driver: &mut Value) {
    let Some(spec) = tree::child(driver, "spec") else { return };
    tree::set_default(spec, "attachRequired", true);
    tree::set_default(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    for field in
        ["podInfoOnMount", "preventPodSchedulingIfMissing", "requiresRepublish", "seLinuxMount", "storageCapacity"]
    {
        tree::set_default(spec, field, false);
    }
    if tree::list(spec, "volumeLifecycleModes").is_empty() {
        spec["volumeLifecycleModes"] = json!(["Persistent"]);
    }
}

/// A new one has no generation.
fn prepare(_: &Kind, driver: &mut Value, old: Option<&Value>, _: &Context) {
    if old.is_some_and(|old| old["spec"] != driver["spec"]) {
        count_generation(driver, old);
    }
}

fn warnings(_: &Kind, driver: &Value, old: Option<&Value>) -> Vec<String> {
    const LOGGED: &str = "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to \
                          prevent possible logging of tokens in volume attributes";
    let spec = At::root(driver).get("spec");
    let asked = spec.get("tokenRequests");
    let changed = old.is_none_or(|old| asked.value != tree::at(old, "spec.tokenRequests"));
    let exposed = changed && !asked.is_empty() && !spec.has_field("serviceAccountTokenInSecrets");
    exposed.then(|| LOGGED.into()).into_iter().collect()
}

/// What is required has a default.
fn validate(kind: &Kind, driver: &Value, old: Option<&Value>, _: &Context) -> Vec<FieldError> {
    let mut errors = metadata(kind, driver, old);
    let spec = At::root(driver).get("spec");
    let policy = spec.get("fsGroupPolicy");
    if !["File", "None", "ReadWriteOnceWithFSType"].contains(&policy.text()) {
        errors.push(policy.not_supported(&["File", "None", "ReadWriteOnceWithFSType"]));
    }
    tokens(&spec.get("tokenRequests"), &mut errors);
    let modes = spec.get("volumeLifecycleModes");
    for mode in modes.items().filter(|mode| !["Persistent", "Ephemeral"].contains(&mode.text())) {
        errors.push(modes.with(mode.value).not_supported(&["Persistent", "Ephemeral"]));
    }
    let period = spec.get("nodeAllocatableUpdatePeriodSeconds");
    if period.int().is_some_and(|seconds| seconds < PERIOD_MIN) {
        errors.push(period.invalid("must be greater than or equal to 10 seconds"));
    }
    let in_secrets = spec.get("serviceAccountTokenInSecrets");
    if in_secrets.has() && spec.get("tokenRequests").is_empty() {
        errors.push(in_secrets.invalid("serviceAccountTokenInSecrets is set but no tokenRequests are specified"));
    }
    if let Some(was) = old.map(|old| At::root(old).get("spec")) {
        // Upstream's name of the path is another than the field's.
        let attach = spec.get("attachedRequired").with(tree::at(spec.value, "attachRequired"));
        meta::immutable(&attach, &was.get("attachRequired"), &mut errors);
        meta::immutable(&modes, &was.get("volumeLifecycleModes"), &mut errors);
    }
    errors
}

/// One for each audience.
fn tokens(at: &At, errors: &mut Errors) {
    let mut audiences = BTreeSet::new();
    for request in at.items() {
        let audience = request.get("audience");
        if audiences.insert(audience.text()) {
            token_lifetime(&request.get("expirationSeconds"), errors);
        } else {
            errors.push(audience.duplicate());
        }
    }
}

#[cfg(test)]
mod tests;
