//! NodeRestriction and TaintNodesByCondition: what a node's agent may write, and how a node begins.
//!
//! plugin/pkg/admission/noderestriction, plugin/pkg/admission/nodetaint.

use api::Status;
use serde_json::{Value, json};

use super::{Ask, Operation, Outcome, is_mirror, list_mut};

const NOT_READY: &str = "node.kubernetes.io/not-ready";
/// Labels that only an administrator sets.
const RESTRICTED: &str = "node-restriction.kubernetes.io";

/// A new node takes no pods until it says that it is ready.
pub fn taint(ask: &Ask<'_>, object: &mut Value, _: &mut Outcome) -> Result<(), Status> {
    if !ask.creates("nodes") {
        return Ok(());
    }
    if !object["spec"].is_object() {
        object["spec"] = json!({});
    }
    let taints = list_mut(&mut object["spec"], "taints");
    if !taints.iter().any(|t| t["key"] == NOT_READY && t["effect"] == "NoSchedule") {
        taints.push(json!({"key": NOT_READY, "effect": "NoSchedule"}));
    }
    Ok(())
}

/// Narrows what a node identity writes to itself and its pods.
pub fn restrict(ask: &Ask<'_>, object: &mut Value, _: &mut Outcome) -> Result<(), Status> {
    let Some(node) = ask.identity().node() else { return Ok(()) };
    if ask.is("pods") {
        return pod(ask, object, node);
    }
    if ask.is("nodes") {
        return own_node(ask, object, node);
    }
    Ok(())
}

fn pod(ask: &Ask<'_>, object: &Value, node: &str) -> Result<(), Status> {
    let refuse = |why: String| Err(ask.forbidden(object, &why));
    match (ask.operation, ask.subresource) {
        (Operation::Create, "") => {
            if !is_mirror(object) {
                let annotation = "kubernetes.io/config.mirror";
                return refuse(format!(
                    "pod does not have {annotation:?} annotation, node {node:?} can only create mirror pods"
                ));
            }
            if object["spec"]["nodeName"] != node {
                return refuse(format!("node {node:?} can only create pods with spec.nodeName set to itself"));
            }
            let owners = object["metadata"]["ownerReferences"].as_array().map_or(&[][..], Vec::as_slice);
            let [owner] = owners else {
                return refuse(format!(
                    "node {node:?} can only create pods with a single owner reference set to itself"
                ));
            };
            if owner["apiVersion"] != "v1" || owner["kind"] != "Node" || owner["name"] != node {
                return refuse(format!("node {node:?} can only create pods with an owner reference set to itself"));
            }
            Ok(())
        }
        (Operation::Delete, _) | (Operation::Update, "status") => {
            let old = ask.old.unwrap_or(object);
            if old["spec"]["nodeName"] != node {
                let verb = if ask.operation == Operation::Delete { "delete" } else { "update status for" };
                return refuse(format!("node {node:?} can only {verb} pods with spec.nodeName set to itself"));
            }
            if ask.operation == Operation::Update && old["metadata"]["labels"] != object["metadata"]["labels"] {
                return refuse(format!("node {node:?} cannot update labels through pod status"));
            }
            Ok(())
        }
        (_, sub) => refuse(format!("unexpected operation {:?} on {sub:?} by node {node:?}", ask.operation)),
    }
}

fn own_node(ask: &Ask<'_>, object: &Value, node: &str) -> Result<(), Status> {
    let refuse = |why: String| Err(ask.forbidden(object, &why));
    let name = ask.name(object);
    if name != node {
        return refuse(format!("node {node:?} is not allowed to modify node {name:?}"));
    }
    let restricted = |labels: &Value| -> Vec<(String, Value)> {
        let labels = labels.as_object().into_iter().flatten();
        let held = |key: &str| {
            let prefix = key.split('/').next().unwrap_or("");
            prefix == RESTRICTED || prefix.ends_with(&format!(".{RESTRICTED}"))
        };
        labels.filter(|(key, _)| held(key)).map(|(k, v)| (k.clone(), v.clone())).collect()
    };
    match (ask.operation, ask.old) {
        (Operation::Create, _) if !restricted(&object["metadata"]["labels"]).is_empty() => {
            refuse(format!("is not allowed to set the following labels: {RESTRICTED}"))
        }
        (Operation::Update, Some(old)) => {
            if restricted(&object["metadata"]["labels"]) != restricted(&old["metadata"]["labels"]) {
                return refuse(format!("is not allowed to modify labels: {RESTRICTED}"));
            }
            if object["spec"]["taints"] != old["spec"]["taints"] {
                return refuse(format!("node {node:?} is not allowed to modify taints"));
            }
            Ok(())
        }
        (Operation::Delete, _) => refuse(format!("node {node:?} is not allowed to delete nodes")),
        _ => Ok(()),
    }
}
