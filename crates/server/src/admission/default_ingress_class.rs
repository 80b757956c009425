//! DefaultIngressClass: a new Ingress that names no class gets the default one, the newest of several.
//!
//! plugin/pkg/admission/network/defaultingressclass.

use api::Status;
use kinds::networking::ingress_class;
use serde_json::Value;

use super::{Ask, Findings, NONE, Operation, Plugin};

pub const PLUGIN: Plugin = Plugin { name: "DefaultIngressClass", operations: &[Operation::Create], mutate, ..NONE };

fn mutate(ask: &Ask<'_>, object: &mut Value, findings: &mut Findings) -> Result<(), Status> {
    let is_ingress = ask.kind().plural == "ingresses" && ask.kind().group == "networking.k8s.io";
    let is_named = !object["spec"]["ingressClassName"].is_null()
        || object["metadata"]["annotations"].get(ingress_class::ANNOTATION).is_some();
    if !is_ingress || !ask.subresource.is_empty() || is_named {
        return Ok(());
    }
    if let Some((name, entry)) = ask.default_class("ingressclasses.networking.k8s.io", ingress_class::is_default) {
        findings.claim(&entry);
        object["spec"]["ingressClassName"] = name.into();
    }
    Ok(())
}
