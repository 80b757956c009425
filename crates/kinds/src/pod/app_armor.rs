//! AppArmor as it was asked for before there was a field: by an annotation for each container.
//!
//! Matches applyAppArmorVersionSkew of pkg/registry/core/pod/strategy.go: a new pod's annotation
//! becomes the field that scheduler, node and validation look at.

use serde_json::{Map, Value, json};

use api::tree;

use crate::validate::at::At;

pub const ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";
const ADVICE: &str = "deprecated since v1.30; use the \"appArmorProfile\" field instead";
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
        format!("metadata.annotations[{ANNOTATION}{name}]: {ADVICE}")
    };
    containers.into_iter().flatten().filter(outdated).map(line).collect()
}

/// Of a template nothing is filled: a line for each annotation whose container, or whose pod, does not say it too.
pub fn template_warnings(template: &At) -> Vec<String> {
    let notes = annotations(template.value);
    let of_pod = tree::at(template.value, "spec.securityContext.appArmorProfile");
    let at = template.get("metadata").get("annotations");
    let outdated = |container: &At| {
        let name = container.get("name").text();
        let note = notes.get(name).and_then(Value::as_str)?;
        let own = tree::has(container.value, "securityContext.appArmorProfile");
        let same = !of_pod.is_null() && profile(note).as_ref() == Some(of_pod);
        (!own && !same).then(|| format!("{}: {ADVICE}", at.key(&format!("{ANNOTATION}{name}")).path()))
    };
    let spec = template.get("spec");
    let lists = ["initContainers", "containers", "ephemeralContainers"].map(|list| spec.get(list));
    lists.iter().flat_map(|list| list.items().collect::<Vec<_>>()).filter_map(|c| outdated(&c)).collect()
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
