//! DefaultStorageClass: a new claim that names no class gets the default one, the newest of several.
//!
//! plugin/pkg/admission/storage/storageclass/setdefault. An empty name is one: no class.

use api::Status;
use kinds::storage::storage_class;
use kinds::validate::volume::class_of;
use serde_json::Value;

use super::{Ask, Findings, NONE, Operation, Plugin};

pub const PLUGIN: Plugin = Plugin { name: "DefaultStorageClass", operations: &[Operation::Create], mutate, ..NONE };

fn mutate(ask: &Ask<'_>, object: &mut Value, findings: &mut Findings) -> Result<(), Status> {
    if !ask.creates("persistentvolumeclaims") || class_of(object).is_some() {
        return Ok(());
    }
    if let Some((name, entry)) = ask.default_class("storageclasses.storage.k8s.io", storage_class::is_default) {
        findings.claim(&entry);
        object["spec"]["storageClassName"] = name.into();
    }
    Ok(())
}
