//! AppArmor as it was asked for before there was a field: by an annotation for each container.
//!
//! Matches applyAppArmorVersionSkew of pkg/registry/core/pod/strategy.go: a new pod's annotation
//! becomes the field that scheduler, node and validation look at.

use serde_json::{Map, Value, json};

use api::tree;

pub const ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";
/// PATH_MAX - 1
const PROFILE_MAX: usize = 4095;

/// Sets the field of each container that has an annotation and no field.
pub fn fill(pod: &mut Value) {
    let notes = annotations(pod);
    if notes.is_empty() || tree::text(pod, "spec.os.name") == "windows" {
        return;
    }
    let of_pod = tree::at(pod, "spec.securityContext.appArmorProfile").clone();
    let Some(spec) = pod.get_mut("spec") else { return };
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in tree::each(spec, list) {
            let profile = notes.get(tree::text(container, "name")).and_then(|note| profile(note.as_str()?));
            let Some(profile) = profile.filter(|profile| *profile != of_pod) else { continue };
            if let Some(context) = tree::child(container, "securityContext") {
                tree::set_default(context, "appArmorProfile", profile);
            }
        }
    }
}

/// A line for each annotation that is, or could not be, a container's own field. Upstream keeps silent
/// where an author wrote both; by now nobody can tell.
pub fn warnings(pod: &Value) -> Vec<String> {
    let notes = annotations(pod);
    if notes.is_empty() || tree::text(pod, "spec.os.name") == "windows" {
        return Vec::new();
    }
    let spec = tree::at(pod, "spec");
    let containers = ["initContainers", "containers", "ephemeralContainers"].map(|list| tree::list(spec, list));
    let outdated = |container: &&Value| {
        let note = notes.get(tree::text(container, "name")).and_then(Value::as_str);
        note.is_some_and(|note| {
            let field = tree::at(container, "securityContext.appArmorProfile");
            match profile(note) {
                None => field.is_null(),
                Some(profile) => profile == *field,
            }
        })
    };
    let line = |container: &Value| {
        let name = tree::text(container, "name");
        let advice = "deprecated since v1.30; use the \"appArmorProfile\" field instead";
        format!("metadata.annotations[{ANNOTATION}{name}]: {advice}")
    };
    containers.into_iter().flatten().filter(outdated).map(line).collect()
}

/// The annotations, by the container's name.
fn annotations(pod: &Value) -> Map<String, Value> {
    let notes = tree::entries(pod, "metadata.annotations");
    notes.filter_map(|(key, value)| Some((key.strip_prefix(ANNOTATION)?.into(), value.clone()))).collect()
}

/// The field that an annotation stands for; None: none that would be valid.
fn profile(note: &str) -> Option<Value> {
    match note {
        "unconfined" => Some(json!({"type": "Unconfined"})),
        "runtime/default" => Some(json!({"type": "RuntimeDefault"})),
        note => {
            let path = note.strip_prefix("localhost/")?;
            let fits = !path.is_empty() && path.trim() == path && path.len() <= PROFILE_MAX;
            fits.then(|| json!({"type": "Localhost", "localhostProfile": path}))
        }
    }
}
