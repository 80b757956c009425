//! Volume mounts and volume devices of a container.

use std::collections::BTreeSet;

use super::volumes::Volumes;
use crate::validate::at::{At, Errors};
use crate::validate::paths::{descending_path, no_backsteps};
use api::tree;

pub fn mounts(container: &At, volumes: &Volumes, errors: &mut Errors) {
    let at = container.get("volumeMounts");
    let devices = container.get("volumeDevices");
    let mut paths = BTreeSet::new();
    for mount in at.items() {
        let (name, path) = (mount.get("name"), mount.get("mountPath"));
        if name.text().is_empty() {
            errors.push(name.required(""));
        }
        if !volumes.contains_key(name.text()) {
            errors.push(name.not_found());
        }
        if path.text().is_empty() {
            errors.push(path.required(""));
        }
        if !paths.insert(path.text()) {
            errors.push(path.invalid("must be unique"));
        }
        if devices.items().any(|d| d.get("name").text() == name.text()) {
            errors.push(name.invalid("must not already exist in volumeDevices"));
        }
        if devices.items().any(|d| d.get("devicePath").text() == path.text()) {
            errors.push(path.invalid("must not already exist as a path in volumeDevices"));
        }
        // Upstream shows these three at the list, without the mount's index.
        let shown = |field: &'static str| at.get(field).with(mount.get(field).value);
        if !mount.get("subPath").text().is_empty() {
            descending_path(&shown("subPath"), errors);
        }
        let expression = mount.get("subPathExpr");
        if !expression.text().is_empty() {
            if !mount.get("subPath").text().is_empty() {
                errors.push(expression.invalid("subPathExpr and subPath are mutually exclusive"));
            }
            descending_path(&shown("subPathExpr"), errors);
        }
        propagation(&shown("mountPropagation"), container, errors);
        recursive_read_only(&mount, &shown("recursiveReadOnly"), errors);
    }
}

pub fn devices(container: &At, volumes: &Volumes, errors: &mut Errors) {
    let mounts = container.get("volumeMounts");
    let (mut names, mut paths) = (BTreeSet::new(), BTreeSet::new());
    for device in container.get("volumeDevices").items() {
        let (name, path) = (device.get("name"), device.get("devicePath"));
        if name.text().is_empty() {
            errors.push(name.required(""));
        }
        if names.contains(name.text()) {
            errors.push(name.invalid("must be unique"));
        }
        match volumes.get(name.text()) {
            None => errors.push(name.not_found()),
            Some(v) if !tree::has(v, "persistentVolumeClaim") && !tree::has(v, "ephemeral") => {
                let detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.push(name.invalid(detail));
            }
            Some(_) => {}
        }
        if path.text().is_empty() {
            errors.push(path.required(""));
        }
        if paths.contains(path.text()) {
            errors.push(path.invalid("must be unique"));
        }
        let mut steps = Errors::new();
        no_backsteps(&path, &mut steps);
        if steps.is_empty() {
            paths.insert(path.text());
        } else {
            errors.push(path.invalid("can not contain backsteps ('..')"));
        }
        if mounts.items().any(|m| m.get("name").text() == name.text()) {
            errors.push(name.invalid("must not already exist in volumeMounts"));
        }
        if mounts.items().any(|m| m.get("mountPath").text() == path.text()) {
            errors.push(path.invalid("must not already exist as a path in volumeMounts"));
        }
        if !name.text().is_empty() {
            names.insert(name.text());
        }
    }
}

fn propagation(at: &At, container: &At, errors: &mut Errors) {
    if !at.has() {
        return;
    }
    if !matches!(at.text(), "Bidirectional" | "HostToContainer" | "None") {
        errors.push(at.not_supported(&["Bidirectional", "HostToContainer", "None"]));
    }
    if at.text() == "Bidirectional" && !container.get("securityContext").get("privileged").flag() {
        errors.push(at.forbidden("Bidirectional mount propagation is available only to privileged containers"));
    }
}

fn recursive_read_only(mount: &At, at: &At, errors: &mut Errors) {
    match at.text() {
        _ if !at.has() => {}
        "Disabled" => {}
        "Enabled" | "IfPossible" => {
            if !mount.get("readOnly").flag() {
                errors.push(at.forbidden("may only be specified when readOnly is true"));
            }
            if !matches!(mount.get("mountPropagation").text(), "" | "None") {
                errors.push(at.forbidden("may only be specified when mountPropagation is None or not specified"));
            }
        }
        _ => errors.push(at.not_supported(&["Disabled", "Enabled", "IfPossible"])),
    }
}
