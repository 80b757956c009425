//! PersistentVolume: a piece of storage that outlives pods, and whose claim it is.

use api::tree;
use serde_json::{Map, Value, json};

use crate::pod::canonical;
use crate::pod::validate::deprecated_keys;
use crate::row::*;
use crate::validate::at::At;
use crate::validate::volume::{self, access_modes_text};

mod validate;

pub use validate::{Whose, spec};

pub(crate) fn row() -> Kind {
    Kind {
        subresources: vec![STATUS],
        columns: vec![
            NAME,
            computed("Capacity", "How much it holds.", |volume, _| json!(amount(volume, "spec.capacity"))),
            computed("Access Modes", "How it may be mounted.", |volume, _| {
                json!(access_modes_text(tree::list(volume, "spec.accessModes")))
            }),
            text("Reclaim Policy", "What becomes of it once its claim is gone.", "spec.persistentVolumeReclaimPolicy"),
            computed("Status", "Whether a claim has it.", |volume, _| json!(phase(volume))),
            computed("Claim", "The claim that has it.", |volume, _| json!(claim(volume))),
            computed("StorageClass", "The class that it is of.", |object, _| {
                json!(volume::class_of(object).unwrap_or_default())
            }),
            computed("VolumeAttributesClass", "The class of what may change.", |volume, _| {
                json!(or_unset(volume, "spec.volumeAttributesClassName"))
            }),
            text("Reason", "Why it failed.", "status.reason"),
            AGE,
            wide(computed("VolumeMode", "Whether it has a file system.", |volume, _| {
                json!(or_unset(volume, "spec.volumeMode"))
            })),
        ],
        hooks: Hooks { default, prepare, validate: validate::validate, warnings, ..HOOKS },
        writes: Writes { returns_deleted: true, ..WRITES },
        ..Kind::cluster("v1", "PersistentVolume", "persistentvolumes")
            .judged_as_new()
            .short("pv")
            .dormant("no controller binds volumes to claims yet")
    }
}

/// The storage of a list of resources; nothing is zero.
pub fn amount<'a>(object: &'a Value, list: &str) -> &'a str {
    tree::at(object, list)["storage"].as_str().unwrap_or("0")
}

/// Of volumes and claims alike.
pub fn phase(object: &Value) -> &str {
    if tree::has(object, "metadata.deletionTimestamp") { "Terminating" } else { tree::text(object, "status.phase") }
}

pub fn or_unset<'a>(object: &'a Value, path: &str) -> &'a str {
    tree::at(object, path).as_str().unwrap_or("<unset>")
}

fn claim(volume: &Value) -> String {
    let claim = tree::at(volume, "spec.claimRef");
    match claim.is_object() {
        true => format!("{}/{}", tree::text(claim, "namespace"), tree::text(claim, "name")),
        false => String::new(),
    }
}

fn default(_: &Kind, volume: &mut Value) {
    if let Some(status) = tree::child(volume, "status") {
        tree::set_default_text(status, "phase", "Pending");
    }
    let Some(spec) = tree::child(volume, "spec") else { return };
    tree::set_default_text(spec, "persistentVolumeReclaimPolicy", "Retain");
    tree::set_default(spec, "volumeMode", "Filesystem");
    default_spec(spec);
}

/// Of a spec inside of another object too; the schema has the other defaults.
pub fn default_spec(spec: &mut Value) {
    if let Some(capacity) = spec.get_mut("capacity") {
        canonical(capacity);
    }
    for (source, field, value) in [("hostPath", "type", json!("")), ("azureDisk", "readOnly", json!(false))] {
        if let Some(source) = spec.get_mut(source).filter(|source| source.is_object()) {
            tree::set_default(source, field, value);
        }
    }
}

/// The status says since when the phase is what it is, unless its writer does.
fn prepare(_: &Kind, volume: &mut Value, old: Option<&Value>, context: &Context) {
    const SINCE: &str = "lastPhaseTransitionTime";
    let Some(old) = old else {
        volume["status"] = json!({"phase": "Pending", SINCE: context.now});
        return;
    };
    let (was, nothing) = (&old["status"], Value::Object(Map::new()));
    let was = if was.is_object() { was } else { &nothing };
    if context.subresource != "status" || !volume["status"].is_object() {
        return;
    }
    let status = &mut volume["status"];
    let told = tree::has(status, SINCE);
    match status["phase"] == was["phase"] {
        true if !told => tree::keep(status, was, SINCE),
        false if !told || status[SINCE] == was[SINCE] => status[SINCE] = json!(context.now),
        _ => {}
    }
}

fn warnings(_: &Kind, volume: &Value, _: Option<&Value>) -> Vec<String> {
    let spec = At::root(volume).get("spec");
    let notes = &volume["metadata"]["annotations"];
    let deprecated = [
        (volume::CLASS, "deprecated since v1.8; use \"storageClassName\" attribute instead"),
        (validate::MOUNT_OPTIONS, "deprecated since v1.31; use \"mountOptions\" attribute instead"),
    ];
    let noted = deprecated.iter().filter(|(note, _)| notes.get(note).is_some());
    let mut out: Vec<String> = noted.map(|(note, text)| format!("metadata.annotations[{note}]: {text}")).collect();
    if spec.get("persistentVolumeReclaimPolicy").text() == "Recycle" {
        out.push(
            "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended \
             approach is to use dynamic provisioning."
                .into(),
        );
    }
    for term in spec.get("nodeAffinity").get("required").get("nodeSelectorTerms").items() {
        out.extend(deprecated_keys(&term));
    }
    for (field, shown, since, end) in [
        ("cephfs", "cephfs", "1.28", "1.31"),
        ("photonPersistentDisk", "photonPersistentDisk", "1.11", "1.16"),
        ("scaleIO", "scaleIO", "1.16", "1.22"),
        ("storageos", "storageOS", "1.22", "1.25"),
        ("glusterfs", "glusterfs", "1.25", "1.26"),
        ("rbd", "rbd", "1.28", "1.31"),
    ] {
        if spec.value.get(field).is_some() {
            out.push(format!("spec.{shown}: deprecated in v{since}, non-functional in v{end}+"));
        }
    }
    out
}

#[cfg(test)]
mod tests;
