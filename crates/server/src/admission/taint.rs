//! TaintNodesByCondition: a new node takes no pods until it says that it is ready.
//!
//! plugin/pkg/admission/nodetaint.

use api::Status;
use serde_json::{Value, json};

use super::{Ask, Findings, NONE, Operation, Plugin, list_mut};

pub const PLUGIN: Plugin = Plugin { name: "TaintNodesByCondition", operations: &[Operation::Create], mutate, ..NONE };

const NOT_READY: &str = "node.kubernetes.io/not-ready";

fn mutate(ask: &Ask<'_>, object: &mut Value, _: &mut Findings) -> Result<(), Status> {
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
