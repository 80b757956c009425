//! ExtendedResourceToleration: who asks for an extended resource tolerates the taint of its name.
//!
//! plugin/pkg/admission/extendedresourcetoleration.

use std::collections::BTreeSet;

use api::Status;
use kinds::pod::validate::resources::is_extended;
use serde_json::{Value, json};

use super::{Ask, Findings, NONE, Operation, Plugin, containers, list_mut};

pub const PLUGIN: Plugin = Plugin {
    name: "ExtendedResourceToleration",
    operations: &[Operation::Create, Operation::Update],
    mutate,
    by_default: false,
    ..NONE
};

fn mutate(ask: &Ask<'_>, object: &mut Value, _: &mut Findings) -> Result<(), Status> {
    if !ask.is("pods") || !ask.subresource.is_empty() {
        return Ok(());
    }
    let asked = containers(object, &["containers", "initContainers"])
        .filter_map(|one| one["resources"]["requests"].as_object());
    let asked: BTreeSet<String> = asked.flat_map(|map| map.keys()).filter(|name| is_extended(name)).cloned().collect();
    for resource in asked {
        let wanted = json!({"key": resource, "operator": "Exists", "effect": "NoSchedule"});
        // Of one key, effect, operator and value it takes the place (core/v1 MatchToleration).
        let is_same = |one: &Value| {
            ["key", "operator", "effect", "value"]
                .iter()
                .all(|field| one[*field].as_str().unwrap_or_default() == wanted[*field].as_str().unwrap_or_default())
        };
        let tolerations = list_mut(&mut object["spec"], "tolerations");
        match tolerations.iter_mut().find(|one| is_same(one)) {
            Some(one) => *one = wanted,
            None => tolerations.push(wanted),
        }
    }
    Ok(())
}
