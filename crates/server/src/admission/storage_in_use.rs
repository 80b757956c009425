//! StorageObjectInUseProtection: claims, volumes, classes of attributes do not go while used.
//!
//! plugin/pkg/admission/storage/storageobjectinuseprotection. The finalizers go by `storage_protection` of the
//! controllers.

use api::Status;
use serde_json::Value;

use super::{Ask, Findings, NONE, Operation, Plugin, list_mut};

pub const PLUGIN: Plugin =
    Plugin { name: "StorageObjectInUseProtection", operations: &[Operation::Create], mutate, ..NONE };

/// Group, resource, finalizer.
const PROTECTED: &[(&str, &str, &str)] = &[
    ("", "persistentvolumeclaims", "kubernetes.io/pvc-protection"),
    ("", "persistentvolumes", "kubernetes.io/pv-protection"),
    ("storage.k8s.io", "volumeattributesclasses", "kubernetes.io/vac-protection"),
];

fn mutate(ask: &Ask<'_>, object: &mut Value, _: &mut Findings) -> Result<(), Status> {
    let kind = ask.kind();
    let protected = PROTECTED.iter().find(|(group, plural, _)| *group == kind.group && *plural == kind.plural);
    let Some((_, _, finalizer)) = protected.filter(|_| ask.subresource.is_empty()) else { return Ok(()) };
    let finalizers = list_mut(&mut object["metadata"], "finalizers");
    if !finalizers.iter().any(|one| one == finalizer) {
        finalizers.push((*finalizer).into());
    }
    Ok(())
}
