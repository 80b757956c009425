//! Lease: who holds what, and until when; nodes and elected leaders renew them.

use api::FieldError;
use serde_json::Value;

use crate::row::*;
use crate::validate::at::At;
use crate::validate::meta;

pub(crate) fn row() -> Kind {
    Kind {
        columns: vec![NAME, text("Holder", "Who holds it.", "spec.holderIdentity"), AGE],
        hooks: Hooks { prepare, validate, ..HOOKS },
        // A node that could not renew its lease would lose its pods.
        writes: Writes { put_creates: true, conditional: true, only_renews, leads_to_less: |_| true, ..WRITES },
        ..Kind::namespaced("coordination.k8s.io/v1", "Lease", "leases")
    }
}

/// Leaders are not elected by the server: upstream has it as beta, switched off (CoordinatedLeaderElection).
fn prepare(_: &Kind, lease: &mut Value, _: Option<&Value>, _: &Context) {
    if let Some(spec) = lease.get_mut("spec").and_then(Value::as_object_mut) {
        spec.retain(|field, _| !matches!(field.as_str(), "strategy" | "preferredHolder"));
    }
}

fn validate(kind: &Kind, lease: &Value, old: Option<&Value>, _: &Context) -> Vec<FieldError> {
    let mut errors = metadata(kind, lease, old);
    meta::by_library(&mut errors);
    let spec = At::root(lease).get("spec");
    let (duration, changes) = (spec.get("leaseDurationSeconds"), spec.get("leaseTransitions"));
    if duration.int().is_some_and(|seconds| seconds <= 0) {
        errors.push(duration.invalid("must be greater than 0"));
    }
    if changes.int().is_some_and(|count| count < 0) {
        errors.push(changes.invalid("must be greater than or equal to 0"));
    }
    errors
}

/// Whether nothing changed but when the lease was renewed, and who says so.
fn only_renews(old: &Value, new: &Value) -> bool {
    let rest = |object: &Value, part: &str, moving: &[&str]| {
        let mut fields = object[part].as_object().cloned().unwrap_or_default();
        fields.retain(|name, _| !moving.contains(&name.as_str()));
        fields
    };
    let same = |part: &str, moving: &[&str]| rest(old, part, moving) == rest(new, part, moving);
    same("spec", &["renewTime"]) && same("metadata", &["managedFields", "resourceVersion"])
}
