//! Pods: what may be created, what may change, and what a status may say.
//!
//! Matches pkg/apis/core/validation/validation.go (ValidatePodCreate, …Update, …StatusUpdate,
//! …EphemeralContainersUpdate, …Resize, …Binding). Fields that this release does not honour are
//! refused beside (`pod::unsupported`).

use api::{FieldError, names};
use serde_json::Value;

use super::unsupported;
use crate::kind::{Context, Kind};
use crate::validate::at::{At, Errors, invalid_each, non_negative};
use crate::validate::meta;

mod annotations;
mod containers;
mod devices;
mod env;
mod mounts;
pub mod placement;
pub mod probes;
mod resize;
pub mod resources;
mod security;
mod spec;
mod status;
mod update;
mod volumes;
pub(crate) mod warnings;

pub use annotations::MIRROR;
pub use spec::requirements_below;
pub use update::difference;
pub use volumes::SOURCES as VOLUME_SOURCES;
pub use warnings::{deprecated_keys, deprecated_label, warnings};

pub fn validate(kind: &Kind, pod: &Value, old: Option<&Value>, context: &Context) -> Vec<FieldError> {
    let mut errors = Errors::new();
    match (old, context.subresource.as_str()) {
        (None, _) => create(kind, pod, context, &mut errors),
        (Some(old), "status") => status::status(pod, old, &mut errors),
        (Some(old), "ephemeralcontainers") => {
            whole(kind, pod, Some(old), context, &mut errors);
            annotations::changes(pod, old, &mut errors);
            update::ephemeral_containers(pod, old, &mut errors);
            unsupported::refuse(&At::root(pod), &mut errors);
        }
        (Some(old), "resize") => {
            whole(kind, pod, Some(old), context, &mut errors);
            resize::resize(pod, old, &mut errors);
        }
        (Some(old), _) => {
            whole(kind, pod, Some(old), context, &mut errors);
            annotations::changes(pod, old, &mut errors);
            update::update(pod, old, &mut errors);
        }
    }
    errors
}

/// The body of `pods/binding`.
pub fn binding(binding: &Value) -> Vec<FieldError> {
    let target = At::root(binding).get("target");
    let (kind, name) = (target.get("kind"), target.get("name"));
    let mut errors = Errors::new();
    let is_node = matches!(kind.text(), "" | "Node");
    if !is_node {
        errors.push(kind.not_supported(&["Node", "<empty>"]));
    }
    match name.text() {
        "" => errors.push(name.required("")),
        text if is_node => invalid_each(&name, names::dns_subdomain(text), &mut errors),
        _ => {}
    }
    errors
}

fn create(kind: &Kind, pod: &Value, context: &Context, errors: &mut Errors) {
    whole(kind, pod, None, context, errors);
    let spec = At::root(pod).get("spec");
    if !spec.get("ephemeralContainers").is_empty() {
        errors.push(spec.get("ephemeralContainers").forbidden("cannot be set on create"));
    }
    if !spec.get("nodeName").text().is_empty() && !spec.get("schedulingGates").is_empty() {
        errors.push(spec.get("nodeName").forbidden("cannot be set until all schedulingGates have been cleared"));
    }
    annotations::match_fields(&At::root(pod), errors);
    unsupported::refuse(&At::root(pod), errors);
}

/// A template in another object, where it stands (ValidatePodTemplateSpec): its labels and annotations are shown
/// without the metadata that they stand in.
pub fn template(at: &At, context: &Context, errors: &mut Errors) {
    let metadata = at.get("metadata");
    let shown = |field: &'static str| at.get(field).with(metadata.get(field).value);
    meta::labels(&shown("labels"), errors);
    meta::annotations(&shown("annotations"), errors);
    annotations::annotations(at, &shown("annotations"), errors);
    spec::spec(at, None, context.allow_privileged, errors);
    annotations::match_fields(at, errors);
    let ephemeral = at.get("spec").get("ephemeralContainers");
    if !ephemeral.is_empty() {
        errors.push(ephemeral.forbidden("ephemeral containers not allowed in pod template"));
    }
}

/// Metadata and spec, as every write but one of the status is judged.
fn whole(kind: &Kind, pod: &Value, old: Option<&Value>, context: &Context, errors: &mut Errors) {
    meta::object(kind, pod, old, names::dns_subdomain, errors);
    let at = At::root(pod);
    annotations::annotations(&at, &at.get("metadata").get("annotations"), errors);
    spec::spec(&at, Some(at.get("metadata").get("name").text()), context.allow_privileged, errors);
    let spec = at.get("spec");
    non_negative(&spec.get("terminationGracePeriodSeconds"), errors);
    for list in ["containers", "initContainers"] {
        for container in spec.get(list).items() {
            containers::image_spaces(&container, errors);
        }
    }
}

#[cfg(test)]
mod tests;
