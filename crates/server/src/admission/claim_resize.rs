//! PersistentVolumeClaimResize: a claim grows only where it has a volume whose class allows that.
//!
//! plugin/pkg/admission/storage/persistentvolume/resize.

use api::quantity::Quantity;
use api::{Status, tree};
use kinds::validate::volume::class_of;
use serde_json::Value;

use super::{Ask, Findings, NONE, Operation, Plugin};

pub const PLUGIN: Plugin =
    Plugin { name: "PersistentVolumeClaimResize", operations: &[Operation::Update], validate, ..NONE };

fn validate(ask: &Ask<'_>, object: &Value, findings: &mut Findings) -> Result<(), Status> {
    let Some(old) = ask.old.filter(|_| ask.is("persistentvolumeclaims") && ask.subresource.is_empty()) else {
        return Ok(());
    };
    let size = |claim: &Value| Quantity::of(tree::at(claim, "spec.resources.requests.storage"));
    if size(object) <= size(old) {
        return Ok(());
    }
    if tree::text(old, "status.phase") != "Bound" {
        return Err(ask.forbidden(object, "Only bound persistent volume claims can be expanded"));
    }
    let class = class_of(object).filter(|class| !class.is_empty() && class_of(old) == Some(class));
    let entry = class.and_then(|class| ask.snapshot().entry("storageclasses.storage.k8s.io", "", class));
    let allows = |entry: &store::Entry| {
        let class = serde_json::from_slice::<Value>(&entry.bytes).unwrap_or_default();
        tree::flag(&class, "allowVolumeExpansion")
    };
    match entry.filter(allows) {
        Some(entry) => {
            findings.claim(&entry);
            Ok(())
        }
        None => {
            let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must \
                       support resize";
            Err(ask.forbidden(object, why))
        }
    }
}
