//! The one list of pod fields that this release does not honour, and what it answers.
//!
//! No field is silently ignored: a row either refuses the pod (422, Forbidden at the field's path) or
//! warns. docs/compatibility is generated from this table; taking a row out is how a field becomes
//! supported.

use crate::validate::at::{At, Errors};

/// One field. In a path `x[]` is every element of a list, `containers[]` every container of any sort.
pub struct Unsupported {
    pub path: &'static str,
    /// Only this value is unsupported; empty: any.
    pub value: &'static str,
    pub answer: Answer,
    pub why: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Refuse,
    Warn,
}

const fn refuse_row(path: &'static str, why: &'static str) -> Unsupported {
    Unsupported { path, value: "", answer: Answer::Refuse, why }
}

const fn refuse_value(path: &'static str, value: &'static str, why: &'static str) -> Unsupported {
    Unsupported { path, value, answer: Answer::Refuse, why }
}

const fn warn_row(path: &'static str, why: &'static str) -> Unsupported {
    Unsupported { path, value: "", answer: Answer::Warn, why }
}

const CLAIMS: &str = "persistent volumes are not offered yet";
const IN_TREE: &str = "this in-tree volume plugin does not exist any more; upstream serves it through CSI";
const NO_DRIVER: &str = "there is no driver for this volume type";
const DEVICES: &str = "dynamic resource allocation is not offered";
const WINDOWS: &str = "nodes run Linux only";
const SELINUX: &str = "SELinux labels are not set";

pub static UNSUPPORTED: &[Unsupported] = &[
    refuse_row("spec.volumes[].persistentVolumeClaim", CLAIMS),
    refuse_row("spec.volumes[].ephemeral", CLAIMS),
    refuse_row("spec.volumes[].nfs", NO_DRIVER),
    refuse_row("spec.volumes[].iscsi", NO_DRIVER),
    refuse_row("spec.volumes[].fc", NO_DRIVER),
    refuse_row("spec.volumes[].flexVolume", NO_DRIVER),
    refuse_row("spec.volumes[].gitRepo", "upstream disables it by default since 1.33"),
    refuse_row("spec.volumes[].gcePersistentDisk", IN_TREE),
    refuse_row("spec.volumes[].awsElasticBlockStore", IN_TREE),
    refuse_row("spec.volumes[].glusterfs", IN_TREE),
    refuse_row("spec.volumes[].flocker", IN_TREE),
    refuse_row("spec.volumes[].rbd", IN_TREE),
    refuse_row("spec.volumes[].cinder", IN_TREE),
    refuse_row("spec.volumes[].cephfs", IN_TREE),
    refuse_row("spec.volumes[].quobyte", IN_TREE),
    refuse_row("spec.volumes[].azureFile", IN_TREE),
    refuse_row("spec.volumes[].azureDisk", IN_TREE),
    refuse_row("spec.volumes[].vsphereVolume", IN_TREE),
    refuse_row("spec.volumes[].photonPersistentDisk", IN_TREE),
    refuse_row("spec.volumes[].portworxVolume", IN_TREE),
    refuse_row("spec.volumes[].storageos", IN_TREE),
    refuse_row("spec.volumes[].scaleIO", IN_TREE),
    refuse_row("spec.containers[].volumeDevices", CLAIMS),
    refuse_row("spec.resourceClaims", DEVICES),
    refuse_row("spec.containers[].resources.claims", DEVICES),
    refuse_value("spec.os.name", "windows", WINDOWS),
    refuse_row("spec.securityContext.windowsOptions", WINDOWS),
    refuse_row("spec.containers[].securityContext.windowsOptions", WINDOWS),
    refuse_value("spec.hostUsers", "false", "user namespaces are not offered yet"),
    refuse_value(
        "spec.containers[].restartPolicyRules[].action",
        "RestartAllContainers",
        "only single containers are restarted by rules",
    ),
    refuse_value("spec.securityContext.appArmorProfile.type", "Localhost", "AppArmor profiles are not loaded"),
    refuse_value(
        "spec.containers[].securityContext.appArmorProfile.type",
        "Localhost",
        "AppArmor profiles are not loaded",
    ),
    warn_row("spec.securityContext.seLinuxOptions", SELINUX),
    warn_row("spec.securityContext.seLinuxChangePolicy", SELINUX),
    warn_row("spec.containers[].securityContext.seLinuxOptions", SELINUX),
];

/// One Forbidden for each field that a pod uses and this release refuses.
pub fn refuse(pod: &At, errors: &mut Errors) {
    for (row, at) in used(pod, Answer::Refuse) {
        errors.push(at.forbidden(&format!("not supported by this release: {}", row.why)));
    }
}

/// One line for each field that a pod uses and this release passes over.
pub fn warnings(pod: &At) -> Vec<String> {
    used(pod, Answer::Warn)
        .map(|(row, at)| format!("{}: has no effect in this release: {}", at.path(), row.why))
        .collect()
}

/// One line for each field with which a pod made of a template would be refused, or that is passed over.
pub fn template_warnings(template: &At) -> Vec<String> {
    let refused = used(template, Answer::Refuse)
        .map(|(row, at)| format!("{}: pods with it are refused by this release: {}", at.path(), row.why));
    refused.chain(warnings(template)).collect()
}

fn used<'a>(pod: &At<'a>, answer: Answer) -> impl Iterator<Item = (&'static Unsupported, At<'a>)> + use<'a> {
    let root = pod.clone();
    let rows = UNSUPPORTED.iter().filter(move |r| r.answer == answer);
    rows.flat_map(move |row| {
        let found = follow(vec![root.clone()], row.path);
        found.into_iter().filter(|at| is_used(row, at)).map(move |at| (row, at)).collect::<Vec<_>>()
    })
}

fn follow<'a>(mut here: Vec<At<'a>>, path: &'static str) -> Vec<At<'a>> {
    for step in path.split('.') {
        if here.is_empty() {
            break;
        }
        here = match step.strip_suffix("[]") {
            Some("containers") => here
                .iter()
                .flat_map(|at| ["initContainers", "containers", "ephemeralContainers"].map(|list| at.get(list)))
                .flat_map(|list| list.items().collect::<Vec<_>>())
                .collect(),
            Some(list) => here.iter().flat_map(|at| at.get(list).items().collect::<Vec<_>>()).collect(),
            None => here.iter().filter(|at| at.has_field(step)).map(|at| at.get(step)).collect(),
        };
    }
    here
}

/// Of volume sources an empty one counts too; elsewhere an empty value is none.
fn is_used(row: &Unsupported, at: &At) -> bool {
    use serde_json::Value;
    match at.value {
        Value::Bool(flag) if !row.value.is_empty() => flag.to_string() == row.value,
        _ if !row.value.is_empty() => at.text() == row.value,
        Value::Null => false,
        Value::Object(map) => !map.is_empty() || row.path.starts_with("spec.volumes[]"),
        Value::Array(list) => !list.is_empty(),
        Value::String(text) => !text.is_empty(),
        Value::Bool(flag) => *flag,
        Value::Number(_) => true,
    }
}
