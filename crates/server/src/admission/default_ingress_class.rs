//! DefaultIngressClass: a new Ingress that names no class gets the default one, the newest of several.
//!
//! plugin/pkg/admission/network/defaultingressclass.

use std::cmp::Reverse;

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
    let classes = ask.snapshot().all("ingressclasses.networking.k8s.io", "").into_iter();
    let read = classes.filter_map(|entry| Some((serde_json::from_slice::<Value>(&entry.bytes).ok()?, entry)));
    let text = |class: &Value, field: &str| class["metadata"][field].as_str().unwrap_or_default().to_owned();
    let newest = read.filter(|(class, _)| ingress_class::is_default(class)).min_by_key(|(class, _)| {
        let made = text(class, "creationTimestamp").parse::<jiff::Timestamp>().ok();
        (Reverse(made), text(class, "name"))
    });
    if let Some((class, entry)) = newest {
        findings.claim(&entry);
        object["spec"]["ingressClassName"] = text(&class, "name").into();
    }
    Ok(())
}
