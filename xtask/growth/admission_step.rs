//! A ConfigMap says in a label who made it; nobody else may say so.

use api::Status;
use serde_json::{Value, json};

use super::{Ask, Findings, NONE, Operation, Plugin};

pub const PLUGIN: Plugin = Plugin { name: "Maker", operations: &[Operation::Create, Operation::Update], mutate, ..NONE };

const LABEL: &str = "example.com/maker";

fn mutate(ask: &Ask<'_>, object: &mut Value, _: &mut Findings) -> Result<(), Status> {
    if !ask.creates("configmaps") {
        return Ok(());
    }
    if !object["metadata"]["labels"].is_object() {
        object["metadata"]["labels"] = json!({});
    }
    object["metadata"]["labels"][LABEL] = json!("somebody");
    Ok(())
}
