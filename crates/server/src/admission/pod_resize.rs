//! PodResizeValidator: a resize that is more than the pod's node has at all is refused.
//!
//! plugin/pkg/admission/podresize. What merely does not fit beside others is the node's to put off.

use api::pod::Demands;
use api::quantity::Quantity;
use api::{Cause, Status, tree};
use serde_json::Value;

use super::{Ask, Findings, NONE, Operation, Plugin};

pub const PLUGIN: Plugin = Plugin { name: "PodResizeValidator", operations: &[Operation::Update], validate, ..NONE };

fn validate(ask: &Ask<'_>, object: &Value, _: &mut Findings) -> Result<(), Status> {
    let is_resize = ask.is("pods") && ask.subresource == "resize";
    let is_same = ask.old.is_some_and(|old| old["metadata"]["generation"] == object["metadata"]["generation"]);
    let name = object["spec"]["nodeName"].as_str().unwrap_or_default();
    if !is_resize || is_same || name.is_empty() {
        return Ok(());
    }
    let Some(node) = ask.snapshot().value("nodes", "", name) else {
        return Err(ask.forbidden(object, &format!("node {name:?} not found")));
    };
    let refuse = |why: &str, reason: &str| {
        let mut status = ask.forbidden(object, why);
        status.causes.push(Cause { reason: reason.into(), message: String::new(), field: String::new() });
        Err(status)
    };
    let os = node["metadata"]["labels"]["kubernetes.io/os"].as_str().unwrap_or("linux");
    if os != "linux" {
        let why = format!("pod resize is only supported on linux nodes, node {name:?} is {os:?}");
        return refuse(&why, "UnsupportedPlatform");
    }
    match beyond(object, &node) {
        lacks if lacks.is_empty() => Ok(()),
        lacks => refuse(&format!("node didn't have enough allocatable resources: {lacks}"), "NodeCapacity"),
    }
}

/// `cpu, requested: 900000, allocatable: 2000; memory, …`: cpu in thousandths, memory in bytes.
fn beyond(pod: &Value, node: &Value) -> String {
    let requests = Demands::of(pod).requests();
    let allocatable = tree::at(node, "status.allocatable");
    let lack = |resource: &str, amount: fn(Quantity) -> i64| {
        let requested = requests.get(resource).copied().map_or(0, amount);
        let has = allocatable.get(resource).map_or(0, |text| amount(Quantity::of(text)));
        (requested > has).then(|| format!("{resource}, requested: {requested}, allocatable: {has}"))
    };
    let lacks = [lack("cpu", Quantity::milli_value), lack("memory", Quantity::value)];
    lacks.into_iter().flatten().collect::<Vec<_>>().join("; ")
}
