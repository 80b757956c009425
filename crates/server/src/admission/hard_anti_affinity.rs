//! LimitPodHardAntiAffinityTopology: pods keep others away from their node, and from nothing larger.
//!
//! plugin/pkg/admission/antiaffinity.

use api::Status;
use serde_json::Value;

use super::{Ask, Findings, NONE, Operation, Plugin, each};

pub const PLUGIN: Plugin = Plugin {
    name: "LimitPodHardAntiAffinityTopology",
    operations: &[Operation::Create, Operation::Update],
    validate,
    by_default: false,
    ..NONE
};

const HOSTNAME: &str = "kubernetes.io/hostname";

fn validate(ask: &Ask<'_>, object: &Value, _: &mut Findings) -> Result<(), Status> {
    if !ask.is("pods") || !ask.subresource.is_empty() {
        return Ok(());
    }
    let terms = &object["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    let keys = each(terms).map(|term| term["topologyKey"].as_str().unwrap_or_default());
    match keys.into_iter().find(|key| *key != HOSTNAME) {
        Some(key) => {
            let why = "affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey";
            Err(ask.forbidden(object, &format!("{why} {key} but only key {HOSTNAME} is allowed")))
        }
        None => Ok(()),
    }
}
