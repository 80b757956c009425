//! RuntimeClass: overhead and scheduling of a pod come from its class.
//!
//! plugin/pkg/admission/runtimeclass.

use api::Status;
use serde_json::Value;

use super::{Ask, Findings, NONE, Operation, Plugin, list_mut};

pub const PLUGIN: Plugin = Plugin { name: "RuntimeClass", operations: &[Operation::Create], mutate, validate, ..NONE };

fn mutate(ask: &Ask<'_>, object: &mut Value, _: &mut Findings) -> Result<(), Status> {
    if !ask.creates("pods") {
        return Ok(());
    }
    let rejected = |object: &Value, why: &str| Err(ask.forbidden(object, &format!("pod rejected: {why}")));
    let Some(name) = object["spec"]["runtimeClassName"].as_str().filter(|n| !n.is_empty()) else {
        return Ok(());
    };
    let Some(class) = ask.snapshot().value("runtimeclasses.node.k8s.io", "", name) else {
        return rejected(object, &format!("RuntimeClass \"{name}\" not found"));
    };
    let fixed = &class["overhead"]["podFixed"];
    let given = &object["spec"]["overhead"];
    match (fixed.is_object(), given.is_object()) {
        (true, false) => object["spec"]["overhead"] = fixed.clone(),
        (true, true) if given != fixed => {
            return rejected(object, "Pod's Overhead doesn't match RuntimeClass's defined Overhead");
        }
        _ => {}
    }
    for (key, value) in class["scheduling"]["nodeSelector"].as_object().into_iter().flatten() {
        match object["spec"]["nodeSelector"].get(key) {
            Some(given) if given != value => {
                let (given, value) = (given.as_str().unwrap_or(""), value.as_str().unwrap_or(""));
                let why = format!(
                    "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; pod.spec.nodeSelector[{key}] = {given}"
                );
                return rejected(object, &why);
            }
            _ => object["spec"]["nodeSelector"][key] = value.clone(),
        }
    }
    let tolerations = class["scheduling"]["tolerations"].as_array().cloned().unwrap_or_default();
    if !tolerations.is_empty() {
        let all = list_mut(&mut object["spec"], "tolerations");
        for toleration in tolerations {
            if !all.contains(&toleration) {
                all.push(toleration);
            }
        }
    }
    Ok(())
}

/// By now the overhead is the class's (validateOverhead).
fn validate(ask: &Ask<'_>, object: &Value, _: &mut Findings) -> Result<(), Status> {
    if !ask.creates("pods") {
        return Ok(());
    }
    let rejected = |why: &str| Err(ask.forbidden(object, &format!("pod rejected: {why}")));
    let name = object["spec"]["runtimeClassName"].as_str().filter(|name| !name.is_empty());
    let class = name.and_then(|name| ask.snapshot().value("runtimeclasses.node.k8s.io", "", name));
    let fixed = class.as_ref().map(|class| &class["overhead"]["podFixed"]).filter(|fixed| fixed.is_object());
    let given = &object["spec"]["overhead"];
    match fixed {
        Some(fixed) if fixed != given => rejected("Pod's Overhead doesn't match RuntimeClass's defined Overhead"),
        None if given.as_object().is_some_and(|given| !given.is_empty()) => {
            rejected("Pod Overhead set without corresponding RuntimeClass defined Overhead")
        }
        _ => Ok(()),
    }
}
