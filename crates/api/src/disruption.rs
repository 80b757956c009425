//! A disruption budget's condition: the controller sets it, and so does who takes the last disruption.

use serde_json::{Value, json};

use crate::tree;

/// The condition that goes with how many disruptions a status allows; its time stays while it says the same
/// (component-helpers apps/poddisruptionbudget). `now` is RFC 3339.
pub fn allow(status: &mut Value, now: &str) {
    let (said, reason) = match tree::int(status, "disruptionsAllowed").unwrap_or(0) {
        allowed if allowed > 0 => ("True", "SufficientPods"),
        _ => ("False", "InsufficientPods"),
    };
    set_condition(status, said, reason, "", now);
}

/// Sets the condition DisruptionAllowed.
pub fn set_condition(status: &mut Value, said: &str, reason: &str, message: &str, now: &str) {
    let observed = tree::int(status, "observedGeneration").unwrap_or(0);
    let mut condition = json!({"type": "DisruptionAllowed", "status": said, "reason": reason, "message": message,
        "observedGeneration": observed, "lastTransitionTime": now});
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let Some(conditions) = status["conditions"].as_array_mut() else { return };
    match conditions.iter_mut().find(|c| c["type"] == "DisruptionAllowed") {
        Some(old) => {
            if old["status"] == said {
                condition["lastTransitionTime"] = old["lastTransitionTime"].take();
            }
            *old = condition;
        }
        None => conditions.push(condition),
    }
}
