//! AlwaysPullImages: who may not pull an image does not run it.
//!
//! plugin/pkg/admission/alwayspullimages. A change without a new image stays as it is.

use std::collections::BTreeSet;

use api::Status;
use serde_json::{Value, json};

use super::{Ask, Findings, Operation, Plugin, containers, each};

pub const PLUGIN: Plugin = Plugin {
    name: "AlwaysPullImages",
    operations: &[Operation::Create, Operation::Update],
    mutate,
    validate,
    by_default: false,
};

const LISTS: &[&str] = &["initContainers", "containers", "ephemeralContainers"];

fn mutate(ask: &Ask<'_>, object: &mut Value, _: &mut Findings) -> Result<(), Status> {
    if !concerns(ask, object) {
        return Ok(());
    }
    for list in LISTS {
        for container in object["spec"][*list].as_array_mut().into_iter().flatten() {
            container["imagePullPolicy"] = json!("Always");
        }
    }
    for volume in object["spec"]["volumes"].as_array_mut().into_iter().flatten() {
        if volume["image"].is_object() {
            volume["image"]["pullPolicy"] = json!("Always");
        }
    }
    Ok(())
}

fn validate(ask: &Ask<'_>, object: &Value, _: &mut Findings) -> Result<(), Status> {
    if !concerns(ask, object) {
        return Ok(());
    }
    let mut wrong = Vec::new();
    let mut judge = |path: String, policy: &Value| {
        if policy != "Always" {
            let value = policy.as_str().unwrap_or_default();
            wrong.push(format!("{path}: Unsupported value: {value:?}: supported values: \"Always\""));
        }
    };
    for list in LISTS {
        for (index, container) in each(&object["spec"][*list]).enumerate() {
            judge(format!("spec.{list}[{index}].imagePullPolicy"), &container["imagePullPolicy"]);
        }
    }
    for (index, volume) in each(&object["spec"]["volumes"]).enumerate().filter(|(_, one)| one["image"].is_object()) {
        judge(format!("spec.volumes[{index}].image.pullPolicy"), &volume["image"]["pullPolicy"]);
    }
    wrong.into_iter().next().map_or(Ok(()), |why| Err(ask.forbidden(object, &why)))
}

fn concerns(ask: &Ask<'_>, object: &Value) -> bool {
    let images = |pod| containers(pod, LISTS).filter_map(|one: &Value| one["image"].as_str()).collect::<BTreeSet<_>>();
    let has_new = || ask.old.is_none_or(|old| !images(object).is_subset(&images(old)));
    ask.is("pods") && ask.subresource.is_empty() && has_new()
}
