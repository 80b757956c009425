//! Priority: a pod's number and preemption policy come from its PriorityClass.
//!
//! Matches plugin/pkg/admission/priority upstream.

use api::Status;
use serde_json::{Value, json};

use super::{Ask, Operation, Outcome};

const CLASSES: &str = "priorityclasses.scheduling.k8s.io";

pub fn admit(ask: &Ask<'_>, object: &mut Value, _: &mut Outcome) -> Result<(), Status> {
    if ask.kind().plural == "priorityclasses" && ask.operation != Operation::Delete {
        return only_one_default(ask, object);
    }
    if !ask.creates("pods") {
        return Ok(());
    }
    let name = object["spec"]["priorityClassName"].as_str().unwrap_or("").to_string();
    let class = match name.as_str() {
        "" => default_class(ask),
        name => match ask.snapshot().value(CLASSES, "", name) {
            Some(class) => Some(class),
            None => return Err(ask.forbidden(object, &format!("no PriorityClass with name {name} was found"))),
        },
    };
    let (class_name, priority, policy) = match &class {
        Some(class) => (
            class["metadata"]["name"].as_str().unwrap_or(""),
            class["value"].as_i64().unwrap_or(0),
            class["preemptionPolicy"].as_str().unwrap_or("PreemptLowerPriority"),
        ),
        None => ("", 0, "PreemptLowerPriority"),
    };
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
fn default_class(ask: &Ask<'_>) -> Option<Value> {
    let marked = ask.snapshot().all(CLASSES, "");
    let marked = marked.iter().filter(|e| memchr::memmem::find(&e.bytes, b"\"globalDefault\":true").is_some());
    let classes = marked.filter_map(|e| serde_json::from_slice::<Value>(&e.bytes).ok());
    classes.filter(|c| c["globalDefault"] == true).min_by_key(|c| c["value"].as_i64().unwrap_or(0))
}

fn only_one_default(ask: &Ask<'_>, object: &Value) -> Result<(), Status> {
    if object["globalDefault"] != true {
        return Ok(());
    }
    match default_class(ask) {
        Some(other) if other["metadata"]["name"] != object["metadata"]["name"] => {
            let name = other["metadata"]["name"].as_str().unwrap_or("");
            let why = format!("PriorityClass {name} is already marked as default. Only one default can exist");
            Err(ask.forbidden(object, &why))
        }
        _ => Ok(()),
    }
}
