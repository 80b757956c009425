//! DefaultTolerationSeconds: a pod stays 300 seconds on a node that is not ready or unreachable.

use api::Status;
use serde_json::{Value, json};

use super::{Ask, Findings, NONE, Operation, Plugin, list_mut};

pub const PLUGIN: Plugin =
    Plugin { name: "DefaultTolerationSeconds", operations: &[Operation::Create, Operation::Update], mutate, ..NONE };

const SECONDS: i64 = 300;
const TAINTS: &[&str] = &["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

fn mutate(ask: &Ask<'_>, object: &mut Value, _: &mut Findings) -> Result<(), Status> {
    if !ask.is("pods") || !ask.subresource.is_empty() {
        return Ok(());
    }
    for taint in TAINTS {
        let tolerations = object["spec"]["tolerations"].as_array();
        let tolerated = tolerations.into_iter().flatten().any(|t| {
            let (key, effect) = (t["key"].as_str().unwrap_or(""), t["effect"].as_str().unwrap_or(""));
            (key == *taint || key.is_empty()) && (effect == "NoExecute" || effect.is_empty())
        });
        if !tolerated {
            list_mut(&mut object["spec"], "tolerations")
                .push(json!({"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS}));
        }
    }
    Ok(())
}
