//! Namespace: a scope for names. It is deleted in two steps: emptied, then finalized.

use api::{FieldError, names, tree};
use serde_json::{Value, json};

use crate::row::*;
use crate::validate::at::{At, Errors};
use crate::validate::meta;

pub(crate) fn row() -> Kind {
    Kind {
        subresources: vec![
            Subresource { name: "finalize", owns: &["spec"], at_create: true, verbs: &["update"], ..PART },
            STATUS,
        ],
        columns: vec![NAME, text("Status", "The phase.", "status.phase"), AGE],
        field_selectors: vec![field("status.phase")],
        hooks: Hooks { prepare, default, validate, ..HOOKS },
        delete: DeleteStrategy::Emptied,
        ..Kind::cluster("v1", "Namespace", "namespaces").judged_as_new().short("ns").without("deletecollection")
    }
}

/// The finalizer that every namespace is born with.
const FINALIZER: &str = "kubernetes";

/// A new one is active, and held (pkg/registry/core/namespace/strategy.go).
fn prepare(_: &Kind, space: &mut Value, old: Option<&Value>, _: &Context) {
    if old.is_some() {
        return;
    }
    space["status"] = json!({"phase": "Active"});
    if let Some(spec) = tree::child(space, "spec") {
        match spec.get_mut("finalizers").and_then(Value::as_array_mut) {
            Some(list) if list.iter().any(|f| f == FINALIZER) => {}
            Some(list) => list.push(json!(FINALIZER)),
            None => spec["finalizers"] = json!([FINALIZER]),
        }
    }
}

fn default(_: &Kind, space: &mut Value) {
    let name = tree::text(space, "metadata.name").to_string();
    if !name.is_empty()
        && let Some(labels) = tree::child(space, "metadata").and_then(|m| tree::child(m, "labels"))
    {
        labels["kubernetes.io/metadata.name"] = json!(name);
    }
    if let Some(status) = tree::child(space, "status") {
        tree::set_default_text(status, "phase", "Active");
    }
}

fn validate(kind: &Kind, space: &Value, old: Option<&Value>, context: &Context) -> Vec<FieldError> {
    let mut errors = Errors::new();
    meta::object(kind, space, old, names::dns_label, &mut errors);
    let at = At::root(space);
    let finalizers = at.get("spec").get("finalizers");
    match context.subresource.as_str() {
        "status" => {
            let phase = at.get("status").get("Phase").with(at.get("status").get("phase").value);
            let deleting = at.get("metadata").has_field("deletionTimestamp");
            match (deleting, phase.text()) {
                (false, "Active") | (true, "Terminating") => {}
                (false, _) => errors.push(phase.invalid("may only be 'Active' if `deletionTimestamp` is empty")),
                (true, _) => {
                    errors.push(phase.invalid("may only be 'Terminating' if `deletionTimestamp` is not empty"))
                }
            }
        }
        sub => {
            for item in finalizers.items() {
                let shown = if sub == "finalize" { item.clone() } else { finalizers.with(item.value) };
                let name = item.text();
                errors.extend(names::qualified(name).iter().map(|m| shown.invalid(m)));
                if !name.contains('/') && !meta::is_standard_finalizer(name) {
                    errors.push(shown.invalid(meta::NOT_A_FINALIZER));
                }
            }
        }
    }
    errors
}
