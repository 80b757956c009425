//! VolumeAttachment: that a volume is to be attached to a node, and whether it is.

use api::{FieldError, names, tree};
use serde_json::{Value, json};

use super::bytes;
use crate::persistent_volume;
use crate::row::*;
use crate::validate::at::{At, Errors, invalid_each};
use crate::validate::meta;

/// Bytes of what a driver told of an attachment.
const METADATA_MAX: usize = 256 * 1024;
const MESSAGE_MAX: usize = 1024;
const ATTACHER_MAX: usize = 63;

pub(crate) fn row() -> Kind {
    Kind {
        subresources: vec![Subresource { resets: &[&["metadata"], &["spec"]], ..STATUS }],
        columns: vec![
            NAME,
            Column { format: "name".into(), ..text("Attacher", "The driver that attaches it.", "spec.attacher") },
            text("PV", "The volume.", "spec.source.persistentVolumeName"),
            text("Node", "The node that it is attached to.", "spec.nodeName"),
            Column {
                kind: "boolean".into(),
                ..computed("Attached", "Whether it is attached.", |attachment, _| {
                    json!(tree::flag(attachment, "status.attached"))
                })
            },
            AGE,
        ],
        hooks: Hooks { default, prepare, validate, ..HOOKS },
        writes: Writes { conditional: true, returns_deleted: true, ..WRITES },
        ..Kind::cluster("storage.k8s.io/v1", "VolumeAttachment", "volumeattachments")
            .dormant("nothing attaches volumes yet")
    }
}

fn default(_: &Kind, attachment: &mut Value) {
    if let Some(status) = tree::child(attachment, "status") {
        tree::set_default(status, "attached", false);
    }
    let inline = attachment.get_mut("spec").and_then(|spec| spec.get_mut("source"));
    if let Some(spec) = inline.and_then(|source| source.get_mut("inlineVolumeSpec")).filter(|spec| spec.is_object()) {
        persistent_volume::default_spec(spec);
    }
}

fn prepare(_: &Kind, attachment: &mut Value, old: Option<&Value>, _: &Context) {
    if old.is_none() {
        attachment["status"] = json!({"attached": false});
    }
}

fn validate(kind: &Kind, attachment: &Value, old: Option<&Value>, _: &Context) -> Vec<FieldError> {
    let mut errors = metadata(kind, attachment, old);
    let at = At::root(attachment);
    let (spec, status) = (at.get("spec"), at.get("status"));
    let driver = spec.get("attacher");
    if old.is_some() && driver.text().is_empty() {
        errors.push(driver.required(""));
    }
    source(&spec.get("source"), &mut errors);
    let node = spec.get("nodeName");
    invalid_each(&node, names::dns_subdomain(node.text()), &mut errors);
    let told = status.get("attachmentMetadata");
    if bytes(&told) > METADATA_MAX {
        errors.push(told.too_long(METADATA_MAX));
    }
    for error in ["attachError", "detachError"] {
        trouble(&status.get(error), &mut errors);
    }
    let volume = spec.get("source").get("persistentVolumeName");
    if volume.has() {
        invalid_each(&volume, names::dns_subdomain(volume.text()), &mut errors);
    }
    match old {
        None => attacher(&driver, &mut errors),
        Some(old) => meta::fixed(&spec, &At::root(old).get("spec"), &mut errors),
    }
    errors
}

/// A driver's name by upstream's declared rules, which count characters and have words of their own.
fn attacher(at: &At, errors: &mut Errors) {
    if at.text().is_empty() {
        return errors.push(at.required(""));
    }
    invalid_each(at, names::dns_subdomain_caseless(at.text()), errors);
    if at.text().chars().count() > ATTACHER_MAX {
        errors.push(FieldError { detail: "may not be more than 63 characters".into(), ..at.too_long(ATTACHER_MAX) });
    }
}

fn source(at: &At, errors: &mut Errors) {
    let (volume, inline) = (at.get("persistentVolumeName"), at.get("inlineVolumeSpec"));
    const ONE: &str = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match (volume.has(), inline.has()) {
        (false, false) => errors.push(at.required(ONE)),
        (true, true) => errors.push(at.forbidden(ONE)),
        (true, false) if volume.text().is_empty() => {
            errors.push(volume.required("must specify non empty persistentVolumeName"));
        }
        (true, false) => {}
        (false, true) => persistent_volume::spec(&inline, persistent_volume::Whose::Attachment, errors),
    }
}

/// Why a volume was not attached or detached.
fn trouble(at: &At, errors: &mut Errors) {
    if at.get("message").text().len() > MESSAGE_MAX {
        errors.push(at.get("message").too_long(MESSAGE_MAX));
    }
    let code = at.get("errorCode");
    invalid_each(&code, names::within(code.number(), 0, i32::MAX.into()), errors);
}

#[cfg(test)]
mod tests;
