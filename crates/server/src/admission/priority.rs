//! Priority: a pod's number and preemption policy come from its PriorityClass.
//!
//! Matches plugin/pkg/admission/priority upstream.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::Status;
use serde::Deserialize;
use serde_json::{Value, json};
use store::Store;

use super::{Ask, Findings, NONE, Operation, Plugin};
use crate::view::View;

pub const PLUGIN: Plugin =
    Plugin { name: "Priority", operations: &[Operation::Create, Operation::Update], mutate, validate, ..NONE };

/// The PriorityClasses by name.
pub type Classes = View<BTreeMap<String, Class>>;

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Class {
    #[serde(default)]
    value: i64,
    global_default: Option<bool>,
    preemption_policy: Option<String>,
}

pub fn classes(store: &Arc<Store>) -> Classes {
    View::new(store, "priorityclasses.scheduling.k8s.io/", |classes, change| {
        let name = change.entry.key.as_str().rsplit('/').next().unwrap_or_default();
        match serde_json::from_slice(&change.entry.bytes) {
            Ok(class) if !change.deleted => classes.insert(name.to_owned(), class),
            _ => classes.remove(name),
        };
    })
}

fn mutate(ask: &Ask<'_>, object: &mut Value, _: &mut Findings) -> Result<(), Status> {
    if !ask.creates("pods") {
        return Ok(());
    }
    let classes = ask.classes();
    let named = object["spec"]["priorityClassName"].as_str().unwrap_or("");
    let class = match named {
        "" => default_of(&classes),
        name => match classes.get_key_value(name) {
            Some(class) => Some(class),
            None => return Err(ask.forbidden(object, &format!("no PriorityClass with name {name} was found"))),
        },
    };
    let class_name = class.map_or("", |(name, _)| name);
    let priority = class.map_or(0, |(_, class)| class.value);
    let policy = class.and_then(|(_, class)| class.preemption_policy.as_deref()).unwrap_or("PreemptLowerPriority");
    if let Some(given) = object["spec"]["priority"].as_i64()
        && given != priority
    {
        let why = format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller \
             computed {priority} from the given PriorityClass name"
        );
        return Err(ask.forbidden(object, &why));
    }
    if let Some(given) = object["spec"]["preemptionPolicy"].as_str()
        && given != policy
    {
        let why = format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission \
             controller computed {policy} from the given PriorityClass name"
        );
        return Err(ask.forbidden(object, &why));
    }
    let spec = &mut object["spec"];
    if !class_name.is_empty() {
        spec["priorityClassName"] = json!(class_name);
    }
    spec["priority"] = json!(priority);
    spec["preemptionPolicy"] = json!(policy);
    Ok(())
}

/// The class that pods without a name get: of several marked ones the lowest (as upstream decides).
fn default_of(classes: &BTreeMap<String, Class>) -> Option<(&String, &Class)> {
    classes.iter().filter(|(_, class)| class.global_default == Some(true)).min_by_key(|(_, class)| class.value)
}

/// Only one class is the default.
fn validate(ask: &Ask<'_>, object: &Value, _: &mut Findings) -> Result<(), Status> {
    if ask.kind().plural != "priorityclasses" || object["globalDefault"] != true {
        return Ok(());
    }
    match default_of(&ask.classes()) {
        Some((name, _)) if object["metadata"]["name"] != **name => {
            let why = format!("PriorityClass {name} is already marked as default. Only one default can exist");
            Err(ask.forbidden(object, &why))
        }
        _ => Ok(()),
    }
}
