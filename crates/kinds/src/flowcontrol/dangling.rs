//! Whether the priority level of a flow schema exists, as its status says.
//!
//! apiserver pkg/util/flowcontrol/apf_controller.go, presyncFlowSchemaStatus.

use api::tree;
use serde_json::{Value, json};

/// Who says it, in managed fields.
pub const MANAGER: &str = "api-priority-and-fairness-config-consumer-v1";

/// The condition that a schema shall have of its level; None: it has it. `now` is RFC 3339, whole seconds.
pub fn condition(schema: &Value, level_exists: bool, now: &str) -> Option<Value> {
    let level = tree::text(schema, "spec.priorityLevelConfiguration.name");
    let (status, reason, end) = match level_exists {
        true => ("False", "Found", "it exists"),
        false => ("True", "NotFound", "there is no such object"),
    };
    let joint = if level_exists { "and" } else { "but" };
    let message =
        format!("This FlowSchema references the PriorityLevelConfiguration object named {level:?} {joint} {end}");
    let wanted = json!({"type": "Dangling", "status": status, "reason": reason, "message": message,
        "lastTransitionTime": now});
    let said = tree::list(schema, "status.conditions").iter().find(|said| said["type"] == "Dangling");
    let is_said =
        said.is_some_and(|said| ["status", "reason", "message"].iter().all(|field| said[*field] == wanted[*field]));
    (!is_said).then_some(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_says_whether_its_level_exists_once() {
        let mut schema = json!({"spec": {"priorityLevelConfiguration": {"name": "l"}}});
        for (exists, status, reason, end) in [
            (true, "False", "Found", "\"l\" and it exists"),
            (false, "True", "NotFound", "\"l\" but there is no such object"),
        ] {
            let said = condition(&schema, exists, "2026-01-01T00:00:00Z").unwrap();
            let message = format!("This FlowSchema references the PriorityLevelConfiguration object named {end}");
            assert_eq!(
                (&said["status"], &said["reason"], &said["message"]),
                (&json!(status), &json!(reason), &json!(message))
            );
            schema["status"]["conditions"] = json!([{"type": "Other"}, said]);
            assert_eq!(condition(&schema, exists, "2026-01-01T00:00:01Z"), None, "the moment alone is no news");
        }
    }
}
