//! Security contexts of pods and containers: users, seccomp, AppArmor, sysctls, privilege.

use std::collections::BTreeSet;

use crate::validate::at::{At, Errors};
use api::names;

const ID_MAX: i64 = i32::MAX as i64;

/// `securityContext` of a container. `allow_privileged` is the server's setting.
pub fn container(at: &At, host_users: bool, allow_privileged: bool, errors: &mut Errors) {
    if !at.has() {
        return;
    }
    let privileged = at.get("privileged");
    if privileged.flag() && !allow_privileged {
        errors.push(privileged.forbidden("disallowed by cluster policy"));
    }
    for field in ["runAsUser", "runAsGroup"] {
        id(&at.get(field), errors);
    }
    let mount = at.get("procMount");
    if mount.has() {
        if !matches!(mount.text(), "Default" | "Unmasked") {
            errors.push(mount.not_supported(&["Default", "Unmasked"]));
        }
        if host_users && mount.text() == "Unmasked" {
            errors.push(mount.invalid("`hostUsers` must be false to use `Unmasked`"));
        }
    }
    seccomp(&at.get("seccompProfile"), errors);
    let escalation = at.get("allowPrivilegeEscalation");
    if escalation.has() && !escalation.flag() {
        if privileged.flag() {
            errors.push(at.invalid("cannot set `allowPrivilegeEscalation` to false and `privileged` to true"));
        }
        if at.get("capabilities").get("add").items().any(|c| c.text() == "CAP_SYS_ADMIN") {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.push(at.invalid(detail));
        }
    }
    app_armor(&at.get("appArmorProfile"), errors);
}

/// `spec.securityContext`.
pub fn pod(spec: &At, errors: &mut Errors) {
    let at = spec.get("securityContext");
    for field in ["fsGroup", "runAsUser", "runAsGroup"] {
        id(&at.get(field), errors);
    }
    for group in at.get("supplementalGroups").items() {
        id(&group, errors);
    }
    sysctls(&at.get("sysctls"), spec, errors);
    policy(&at, "fsGroupChangePolicy", &["Always", "OnRootMismatch"], errors);
    seccomp(&at.get("seccompProfile"), errors);
    app_armor(&at.get("appArmorProfile"), errors);
    policy(&at, "supplementalGroupsPolicy", &["Merge", "Strict"], errors);
    policy(&at, "seLinuxChangePolicy", &["MountOption", "Recursive"], errors);
}

fn policy(at: &At, field: &'static str, supported: &[&str], errors: &mut Errors) {
    if at.has_field(field) && !supported.contains(&at.get(field).text()) {
        errors.push(at.get(field).not_supported(supported));
    }
}

fn id(at: &At, errors: &mut Errors) {
    if let Some(number) = at.int() {
        errors.extend(names::within(number, 0, ID_MAX).iter().map(|m| at.invalid(m)));
    }
}

fn seccomp(at: &At, errors: &mut Errors) {
    if !at.has() {
        return;
    }
    let (kind, profile) = (at.get("type"), at.get("localhostProfile"));
    match kind.text() {
        "Localhost" | "RuntimeDefault" | "Unconfined" => {}
        "" => errors.push(kind.required("type is required when seccompProfile is set")),
        _ => errors.push(kind.not_supported(&["Localhost", "RuntimeDefault", "Unconfined"])),
    }
    match (kind.text(), profile.has()) {
        ("Localhost", false) => errors.push(profile.required("must be set when seccomp type is Localhost")),
        ("Localhost", true) => crate::validate::paths::descending_path(&profile, errors),
        // Upstream shows the whole profile, with the names of its internal type.
        (_, true) => {
            let text = |at: &At| serde_json::Value::from(at.text()).to_string();
            let mut error = profile.invalid("can only be set when seccomp type is Localhost");
            error.value = format!("{{\"Type\":{},\"LocalhostProfile\":{}}}", text(&kind), text(&profile));
            errors.push(error);
        }
        (_, false) => {}
    }
}

fn app_armor(at: &At, errors: &mut Errors) {
    if !at.has() {
        return;
    }
    let (kind, profile) = (at.get("type"), at.get("localhostProfile"));
    match kind.text() {
        "Localhost" => {
            let name = profile.text();
            if name.trim() != name {
                errors.push(profile.invalid("must not be padded with whitespace"));
            } else if name.is_empty() {
                errors.push(profile.required("must be set when AppArmor type is Localhost"));
            }
            if name.len() > 4095 {
                errors.push(profile.too_long(4095));
            }
        }
        "RuntimeDefault" | "Unconfined" => {
            if profile.has() {
                errors.push(profile.invalid("can only be set when AppArmor type is Localhost"));
            }
        }
        "" => errors.push(kind.required("type is required when appArmorProfile is set")),
        _ => errors.push(kind.not_supported(&["Localhost", "RuntimeDefault", "Unconfined"])),
    }
}

fn sysctls(at: &At, spec: &At, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for sysctl in at.items() {
        let name = sysctl.get("name");
        if name.text().is_empty() {
            errors.push(name.required(""));
        } else if !is_sysctl(name.text()) {
            const SEGMENT: &str = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?";
            let detail = format!("must have at most 253 characters and match regex ^({SEGMENT}[\\./])*{SEGMENT}$");
            errors.push(name.invalid(&detail));
        } else if seen.contains(name.text()) {
            errors.push(name.duplicate());
        }
        let dotted = name.text().replace('/', ".");
        let is_net = dotted.starts_with("net.");
        let is_ipc = ["kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue."].iter().any(|p| dotted.starts_with(p));
        if spec.get("hostNetwork").flag() && is_net {
            errors.push(name.invalid("may not be specified when 'hostNetwork' is true"));
        } else if spec.get("hostIPC").flag() && is_ipc {
            errors.push(name.invalid("may not be specified when 'hostIPC' is true"));
        }
        seen.insert(name.text());
    }
}

fn is_sysctl(name: &str) -> bool {
    let edge = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let segment = |part: &str| match (part.as_bytes().first(), part.as_bytes().last()) {
        (Some(first), Some(last)) => {
            edge(*first) && edge(*last) && part.bytes().all(|b| edge(b) || b == b'-' || b == b'_')
        }
        _ => false,
    };
    name.len() <= 253 && name.split(['.', '/']).all(segment)
}
