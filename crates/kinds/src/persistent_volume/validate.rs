//! Persistent volumes: what may be created, what may change.
//!
//! Matches ValidatePersistentVolume, …Update and …StatusUpdate (pkg/apis/core/validation) and
//! pkg/volume/validation.

use api::{FieldError, tree};
use serde_json::Value;

use crate::kind::{Context, Kind};
use crate::pod::validate::{difference, placement};
use crate::row::metadata;
use crate::validate::at::{At, Errors, shown_text};
use crate::validate::volume::sources;
use crate::validate::{meta, volume};

/// By which a volume said how it is mounted before there was a field.
pub const MOUNT_OPTIONS: &str = "volume.beta.kubernetes.io/mount-options";

/// Those of old that read the annotation.
const ANNOTATED: [&str; 13] = [
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "nfs",
    "rbd",
    "quobyte",
    "iscsi",
    "cinder",
    "cephfs",
    "azureFile",
    "vsphereVolume",
    "azureDisk",
    "photonPersistentDisk",
];

const INLINE: &str = "may not be specified in the context of inline volumes";

/// Whose spec is judged.
#[derive(Clone, Copy, PartialEq)]
pub enum Whose<'a> {
    /// A volume's, by its name.
    Volume(&'a str),
    /// That of a volume which is no object of its own.
    Attachment,
}

pub fn validate(kind: &Kind, volume: &Value, old: Option<&Value>, context: &Context) -> Vec<FieldError> {
    let mut errors = metadata(kind, volume, old);
    if context.subresource == "status" {
        return errors;
    }
    let at = At::root(volume);
    spec(&at.get("spec"), Whose::Volume(tree::text(volume, "metadata.name")), &mut errors);
    let has_options = volume["metadata"]["annotations"].get(MOUNT_OPTIONS).is_some();
    if has_options && !ANNOTATED.iter().any(|source| at.get("spec").has_field(source)) {
        let path = format!("metadata.annotations.{MOUNT_OPTIONS}");
        errors.push(FieldError::forbidden(&path, "may not specify mount options for this volume type"));
    }
    if let Some(old) = old {
        update(&at, &At::root(old), &mut errors);
    }
    errors
}

/// A `PersistentVolumeSpec`.
pub fn spec(at: &At, whose: Whose, errors: &mut Errors) {
    let is_inline = whose == Whose::Attachment;
    if is_inline {
        for field in ["claimRef", "capacity"].map(|field| at.get(field)).iter().filter(|field| field.has()) {
            errors.push(field.forbidden(INLINE));
        }
        if !at.has_field("csi") {
            errors.push(at.get("csi").required("has to be specified in the context of inline volumes"));
        }
    }
    let modes = at.get("accessModes");
    if modes.is_empty() {
        errors.push(modes.required(""));
    }
    volume::access_modes(&modes, errors);
    if !is_inline {
        capacity(&at.get("capacity"), errors);
    }
    reclaim_policy(&at.get("persistentVolumeReclaimPolicy"), is_inline, errors);
    let affinity = at.get("nodeAffinity");
    match affinity.has_field("required") {
        _ if !affinity.has() => {}
        _ if is_inline => errors.push(affinity.forbidden(INLINE)),
        true => placement::node_selector(&affinity.get("required"), errors),
        false => errors.push(affinity.get("required").required("must specify required node constraints")),
    }
    sources::sources(at, if let Whose::Volume(name) = whose { name } else { "" }, errors);
    let policy = at.get("persistentVolumeReclaimPolicy");
    if policy.text() == "Recycle" && is_root(at.get("hostPath").get("path").text()) {
        errors.push(policy.forbidden("may not be 'recycle' for a hostPath mount of '/'"));
    }
    classes(at, is_inline, errors);
}

fn capacity(at: &At, errors: &mut Errors) {
    if at.is_empty() {
        errors.push(at.required(""));
    }
    if at.len() != 1 || !at.has_field("storage") {
        errors.push(FieldError::not_supported(&at.path(), at.value, &["storage"]));
    }
    for (name, _) in at.entries() {
        volume::resource(&at.key(name), errors);
        volume::positive(&at.key(name), errors);
    }
}

fn reclaim_policy(at: &At, is_inline: bool, errors: &mut Errors) {
    match at.text() {
        "" | "Retain" => {}
        _ if is_inline => errors.push(at.forbidden("may only be Retain in the context of inline volumes")),
        "Delete" | "Recycle" => {}
        _ => errors.push(at.not_supported(&["Delete", "Recycle", "Retain"])),
    }
}

fn classes(at: &At, is_inline: bool, errors: &mut Errors) {
    let (class, mode, attributes) =
        (at.get("storageClassName"), at.get("volumeMode"), at.get("volumeAttributesClassName"));
    match class.text() {
        "" => {}
        _ if is_inline => errors.push(class.forbidden(INLINE)),
        _ => volume::class(&class, errors),
    }
    match mode.text() {
        _ if !mode.has() => {}
        "Filesystem" => {}
        _ if is_inline => {
            let why = "may not specify volumeMode other than Filesystem in the context of inline volumes";
            errors.push(mode.forbidden(why));
        }
        "Block" => {}
        _ => errors.push(mode.not_supported(&volume::VOLUME_MODES)),
    }
    if !attributes.has() {
        return;
    }
    match attributes.text() {
        "" => errors.push(attributes.required("an empty string is disallowed")),
        _ => volume::class(&attributes, errors),
    }
    if !at.has_field("csi") {
        errors.push(at.get("csi").required("has to be specified when using volumeAttributesClassName"));
    }
}

/// `/`, and what comes to the same.
fn is_root(path: &str) -> bool {
    let depth = path.split('/').fold(0usize, |depth, part| match part {
        "" | "." => depth,
        ".." => depth.saturating_sub(1),
        _ => depth + 1,
    });
    path.starts_with('/') && depth == 0
}

fn update(at: &At, was: &At, errors: &mut Errors) {
    let (spec, before) = (at.get("spec"), was.get("spec"));
    let (mut made_of, made_of_before) = (sources::only(spec.value), sources::only(before.value));
    // One that came later may be added.
    let has_none = before.has_field("csi") && !before.get("csi").has_field("controllerExpandSecretRef");
    if let Some(csi) = made_of.get_mut("csi").and_then(Value::as_object_mut).filter(|_| has_none) {
        csi.remove("controllerExpandSecretRef");
    }
    if made_of != made_of_before {
        let changes = difference(&made_of_before, &made_of);
        let why = format!("spec.persistentvolumesource is immutable after creation\n{changes}");
        errors.push(FieldError::forbidden("spec.persistentvolumesource", &why));
    }
    meta::immutable(&at.get("volumeMode").with(spec.get("volumeMode").value), &before.get("volumeMode"), errors);
    let (affinity, affinity_before) = (spec.get("nodeAffinity"), before.get("nodeAffinity"));
    if affinity_before.has() && !is_same_but_for_labels(affinity.value, affinity_before.value) {
        let value = shown(&affinity);
        let why = "field is immutable, except for updating from beta label to GA";
        errors.push(FieldError { value, ..at.get("nodeAffinity").invalid(why) });
    }
    let attributes = spec.get("volumeAttributesClassName");
    if before.has_field("volumeAttributesClassName") && !attributes.has() {
        errors.push(attributes.forbidden("update from non-nil value to nil is forbidden"));
    }
}

/// Whether two affinities differ at most in labels of nodes that have a newer name.
fn is_same_but_for_labels(now: &Value, before: &Value) -> bool {
    match (now, before) {
        (Value::Object(now), Value::Object(before)) => {
            let same = |(key, old): (&String, &Value)| match (now.get(key), old) {
                // Upstream finds no newer name of a label to be the empty one.
                (Some(Value::String(new)), Value::String(old)) if key == "key" => {
                    new == old || newer(old).unwrap_or_default() == new
                }
                (Some(new), old) => is_same_but_for_labels(new, old),
                (None, _) => false,
            };
            now.len() == before.len() && before.iter().all(same)
        }
        (Value::Array(now), Value::Array(before)) => {
            now.len() == before.len() && now.iter().zip(before).all(|(now, old)| is_same_but_for_labels(now, old))
        }
        _ => now == before,
    }
}

fn newer(label: &str) -> Option<&'static str> {
    Some(match label {
        "failure-domain.beta.kubernetes.io/zone" => "topology.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region" => "topology.kubernetes.io/region",
        "beta.kubernetes.io/os" => "kubernetes.io/os",
        "beta.kubernetes.io/arch" => "kubernetes.io/arch",
        "beta.kubernetes.io/instance-type" => "node.kubernetes.io/instance-type",
        _ => return None,
    })
}

/// As upstream's own type of it is printed.
fn shown(affinity: &At) -> String {
    let list = |at: At, one: fn(At) -> String| match at.has() {
        true => format!("[{}]", at.items().map(one).collect::<Vec<_>>().join(",")),
        false => "null".into(),
    };
    if !affinity.has() {
        return "null".into();
    }
    let required = affinity.get("required");
    let terms = required.get("nodeSelectorTerms").items().map(|term| {
        let requirement = |at: At| {
            let (key, operator) = (shown_text(&at.get("key")), shown_text(&at.get("operator")));
            format!("{{\"Key\":{key},\"Operator\":{operator},\"Values\":{}}}", at.get("values").value)
        };
        let (expressions, fields) =
            (list(term.get("matchExpressions"), requirement), list(term.get("matchFields"), requirement));
        format!("{{\"MatchExpressions\":{expressions},\"MatchFields\":{fields}}}")
    });
    let terms = terms.collect::<Vec<_>>().join(",");
    format!("{{\"Required\":{{\"NodeSelectorTerms\":[{terms}]}}}}")
}
