//! Volumes of a pod: one source each, in upstream's order and words.
//!
//! Sources that this release cannot honour are refused by `kinds::pod::unsupported`, not here: what is wrong with one
//! is said beside.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Anchors and certificates in a projected volume.
mod certificates;

use super::env::{field_ref, resource_ref};
use crate::validate::at::{At, Errors, invalid_each};
use crate::validate::claim;
use crate::validate::paths::{host_path, local_path};
use crate::validate::volume::sources;
use crate::validate::{meta, volume};
use api::names;

/// The volumes that stand, by name: what mounts may refer to.
pub type Volumes<'a> = BTreeMap<&'a str, &'a Value>;

/// Every source, in the order in which upstream looks at them: the first one counts, each further
/// one is one too many.
pub const SOURCES: &[&str] = &[
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
];

const MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";

pub fn volumes<'a>(at: &At<'a>, pod_name: &str, errors: &mut Errors) -> Volumes<'a> {
    let mut good = Volumes::new();
    for volume in at.items() {
        let mut found = Errors::new();
        source(&volume, &mut found);
        let name = volume.get("name");
        if name.text().is_empty() {
            found.push(name.required(""));
        } else {
            invalid_each(&name, names::dns_label(name.text()), &mut found);
        }
        if good.contains_key(name.text()) {
            found.push(name.duplicate());
        }
        if found.is_empty() {
            good.insert(name.text(), volume.value);
        }
        errors.append(&mut found);
        let claim = volume.get("persistentVolumeClaim").get("claimName");
        let made = |other: At| {
            other.has_field("ephemeral") && claim.text() == format!("{pod_name}-{}", other.get("name").text())
        };
        if claim.has() && !pod_name.is_empty() && at.items().any(made) {
            errors.push(claim.invalid("must not reference a PVC that gets created for an ephemeral volume"));
        }
    }
    good
}

fn source(volume: &At, errors: &mut Errors) {
    let mut first = true;
    for name in SOURCES.iter().filter(|name| volume.has_field(name)) {
        let at = volume.get(name);
        if !first {
            // Two of the paths are misspelt upstream.
            let shown = match *name {
                "downwardAPI" => volume.get("downwarAPI"),
                "cephfs" => volume.get("cephFS"),
                _ => at,
            };
            errors.push(shown.forbidden("may not specify more than 1 volume type"));
            continue;
        }
        first = false;
        match *name {
            "emptyDir" => empty_dir(&at, errors),
            "hostPath" => host_path(&at, errors),
            "secret" => keys(&at, "secretName", errors),
            "configMap" => keys(&at, "name", errors),
            "downwardAPI" => {
                mode(&at.get("defaultMode"), errors);
                for item in at.get("items").items() {
                    downward_file(&item, &at, errors);
                }
            }
            "projected" => projected(&at, errors),
            "persistentVolumeClaim" if at.get("claimName").text().is_empty() => {
                errors.push(at.get("claimName").required(""));
            }
            "image" => image(&at, errors),
            "csi" => csi(&at, errors),
            "ephemeral" => claim_template(&at.get("volumeClaimTemplate"), errors),
            "persistentVolumeClaim" => {}
            name => sources::of_pod(volume, name, errors),
        }
    }
    if first {
        errors.push(volume.required("must specify a volume type"));
    }
}

/// In the order of ObjectMeta.
const NOT_OF_TEMPLATES: &[&str] = &[
    "name",
    "generateName",
    "namespace",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "ownerReferences",
    "finalizers",
    "managedFields",
];

/// The claim that is made for the pod (ValidatePersistentVolumeClaimTemplate).
fn claim_template(at: &At, errors: &mut Errors) {
    if !at.has() {
        errors.push(at.required(""));
        return;
    }
    let metadata = at.get("metadata");
    meta::annotations(&metadata.get("annotations"), errors);
    meta::labels(&metadata.get("labels"), errors);
    for field in NOT_OF_TEMPLATES.iter().filter(|field| metadata.has_field(field)) {
        // Upstream makes the path of the Go field's name.
        let shown = if *field == "uid" { "uID" } else { field };
        errors.push(metadata.get(shown).forbidden("cannot be set"));
    }
    claim::spec(&at.get("spec"), None, errors);
}

fn image(at: &At, errors: &mut Errors) {
    let (reference, policy) = (at.get("reference"), at.get("pullPolicy"));
    if reference.text().is_empty() {
        errors.push(reference.required(""));
    }
    match policy.text() {
        "Always" | "IfNotPresent" | "Never" => {}
        "" => errors.push(policy.required("")),
        _ => errors.push(policy.not_supported(&["Always", "IfNotPresent", "Never"])),
    }
}

fn csi(at: &At, errors: &mut Errors) {
    volume::driver(&at.get("driver"), errors);
    let secret = at.get("nodePublishSecretRef");
    match secret.get("name").text() {
        "" if secret.has() => errors.push(secret.get("name").required("")),
        "" => {}
        // Upstream shows it beside the reference.
        name => errors.extend(names::dns_subdomain(name).iter().map(|m| at.get("name").invalid_as(name, m))),
    }
}

fn empty_dir(at: &At, errors: &mut Errors) {
    let limit = at.get("sizeLimit");
    match api::quantity::Quantity::from_value(limit.value) {
        Ok(quantity) if quantity.is_negative() => {
            errors.push(limit.forbidden("SizeLimit field must be a valid resource quantity"));
        }
        _ => {}
    }
}

/// A Secret or ConfigMap as a volume.
fn keys(at: &At, name: &'static str, errors: &mut Errors) {
    if at.get(name).text().is_empty() {
        errors.push(at.get(name).required(""));
    }
    mode(&at.get("defaultMode"), errors);
    for item in at.get("items").items() {
        key_to_path(&item, errors);
    }
}

fn key_to_path(item: &At, errors: &mut Errors) {
    for field in ["key", "path"] {
        if item.get(field).text().is_empty() {
            errors.push(item.get(field).required(""));
        }
    }
    local_path(&item.get("path"), errors);
    mode(&item.get("mode"), errors);
}

/// Upstream reports a file of a downward volume at the path of its volume, without an index.
fn downward_file(file: &At, at: &At, errors: &mut Errors) {
    let path = file.get("path");
    let shown = at.get("path").with(path.value);
    if path.text().is_empty() {
        errors.push(shown.required(""));
    }
    local_path(&shown, errors);
    let field = at.get("fieldRef").with(file.get("fieldRef").value);
    let resource = at.get("resourceFieldRef").with(file.get("resourceFieldRef").value);
    const FIELDS: &[&str] =
        &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
    if field.has() {
        field_ref(&field, FIELDS, errors);
        if resource.has() {
            errors.push(at.invalid_as("resource", "fieldRef and resourceFieldRef can not be specified simultaneously"));
        }
    } else if resource.has() {
        resource_ref(&resource, true, errors);
    } else {
        errors.push(at.required("one of fieldRef and resourceFieldRef is required"));
    }
    mode(&at.get("mode").with(file.get("mode").value), errors);
}

fn projected(at: &At, errors: &mut Errors) {
    mode(&at.get("defaultMode"), errors);
    let mut paths = BTreeSet::new();
    for source in at.get("sources").items() {
        let mut count = 0;
        for name in ["secret", "configMap"] {
            let part = source.get(name);
            if !part.has() {
                continue;
            }
            count += 1;
            if part.get("name").text().is_empty() {
                errors.push(part.get("name").required(""));
            }
            for item in part.get("items").items() {
                key_to_path(&item, errors);
                let path = item.get("path").text().to_string();
                if !path.is_empty() && !paths.insert(path) {
                    errors.push(at.invalid_as(part.get("name").text(), "conflicting duplicate paths"));
                }
            }
        }
        let downward = source.get("downwardAPI");
        count += usize::from(downward.has());
        for item in downward.get("items").items() {
            downward_file(&item, &downward, errors);
            let path = item.get("path").text().to_string();
            if !path.is_empty() && !paths.insert(path.clone()) {
                errors.push(at.invalid_as(path, "conflicting duplicate paths"));
            }
        }
        if source.has_field("serviceAccountToken") {
            count += 1;
            token(&source.get("serviceAccountToken"), at, errors);
        }
        if source.has_field("clusterTrustBundle") {
            count += 1;
            certificates::bundle(&source.get("clusterTrustBundle"), at, &mut paths, errors);
        }
        if source.has_field("podCertificate") {
            count += 1;
            certificates::certificate(&source.get("podCertificate"), at, &mut paths, errors);
        }
        if count > 1 {
            errors.push(source.forbidden("may not specify more than 1 volume type per source"));
        }
    }
}

fn token(token: &At, at: &At, errors: &mut Errors) {
    let expiration = token.get("expirationSeconds");
    if !expiration.has() {
        errors.push(expiration.required(""));
    }
    volume::token_lifetime(&expiration, errors);
    let path = at.get("path").with(token.get("path").value);
    if path.text().is_empty() {
        errors.push(path.required(""));
    } else {
        local_path(&path, errors);
    }
}

fn mode(at: &At, errors: &mut Errors) {
    if at.int().is_some_and(|mode| !(0..=0o777).contains(&mode)) {
        errors.push(at.invalid(MODE));
    }
}
