//! What a container may: its user and groups, capabilities, profiles, hidden paths.
//!
//! Defaults are containerd's (capabilities, masked and read-only paths); what a pod says overrides
//! what its image says, the container's context overrides the pod's.

use crate::view as core;
use runtime::capabilities::{CAPABILITIES, DEFAULT_CAPABILITIES};
use runtime::{ImageUser, Seccomp, User};

use crate::pod::{self, Part};
use crate::spec::{Settings, SpecError};

pub const MASKED_PATHS: &[&str] = &[
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

pub const READ_ONLY_PATHS: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

const APPARMOR_NOTES: &str = "container.apparmor.security.beta.kubernetes.io/";

fn contexts<'a>(
    pod: &'a core::Pod,
    part: &'a Part<'_>,
) -> (Option<&'a core::SecurityContext>, Option<&'a core::PodSecurityContext>) {
    (part.spec.security_context.as_ref(), pod.spec.as_ref().and_then(|s| s.security_context.as_ref()))
}

pub fn is_privileged(part: &Part<'_>) -> bool {
    part.spec.security_context.as_ref().and_then(|c| c.privileged).unwrap_or(false)
}

/// The user to look up in the image: a number of the pod's, else what the image names.
pub fn wanted_user(pod: &core::Pod, part: &Part<'_>, image_user: &str) -> String {
    let (own, podwide) = contexts(pod, part);
    let uid = own.and_then(|c| c.run_as_user).or(podwide.and_then(|c| c.run_as_user));
    uid.map_or_else(|| image_user.to_owned(), |uid| uid.to_string())
}

/// The final user, checked against runAsNonRoot; `found` is what the image says of `wanted_user`.
pub fn user(pod: &core::Pod, part: &Part<'_>, image_user: &str, found: &ImageUser) -> Result<User, SpecError> {
    let (own, podwide) = contexts(pod, part);
    let uid = own.and_then(|c| c.run_as_user).or(podwide.and_then(|c| c.run_as_user));
    let non_root = own.and_then(|c| c.run_as_non_root).or(podwide.and_then(|c| c.run_as_non_root)).unwrap_or(false);
    if non_root {
        let whose = format!("(pod: \"{}\", container: {})", pod::full_name(pod), part.name());
        match uid {
            Some(0) => return Err(SpecError::config(format!("container's runAsUser breaks non-root policy {whose}"))),
            Some(_) => {}
            None if !found.numeric && !image_user.is_empty() => {
                let name = image_user.split(':').next().unwrap_or("");
                let name = &name[..name.floor_char_boundary(64)];
                let message = format!(
                    "container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user is non-root {whose}"
                );
                return Err(SpecError::config(message));
            }
            None if found.uid == 0 => {
                let message = format!("container has runAsNonRoot and image will run as root {whose}");
                return Err(SpecError::config(message));
            }
            None => {}
        }
    }
    // The API's own range (validation.IsValidUserID); the last u32 means "unchanged" to setresuid(2).
    let number = |n: i64| match i32::try_from(n).ok().and_then(|n| u32::try_from(n).ok()) {
        Some(id) => Ok(id),
        None => Err(SpecError::config(format!("{n} is no user or group id: must be between 0 and {}", i32::MAX))),
    };
    let gid = own.and_then(|c| c.run_as_group).or(podwide.and_then(|c| c.run_as_group));
    let gid = gid.map_or(Ok(found.gid), number)?;
    let strict = podwide.and_then(|c| c.supplemental_groups_policy.as_deref()) == Some("Strict");
    let mut groups: Vec<u32> = if strict { Vec::new() } else { found.groups.clone() };
    let extra = podwide.into_iter().flat_map(|c| c.supplemental_groups.iter().flatten().chain(&c.fs_group));
    for group in extra {
        groups.push(number(*group)?);
    }
    let mut kept: Vec<u32> = Vec::new();
    for group in groups {
        if !kept.contains(&group) {
            kept.push(group);
        }
    }
    Ok(User { uid: uid.map_or(Ok(found.uid), number)?, gid, groups: kept })
}

/// The default set after add and drop; empty when privileged (then all are meant).
pub fn capabilities(part: &Part<'_>) -> Vec<String> {
    if is_privileged(part) {
        return Vec::new();
    }
    let given = part.spec.security_context.as_ref().and_then(|c| c.capabilities.as_ref());
    let bare = |list: Option<&Vec<String>>| -> Vec<String> {
        let name = |c: &String| c.to_uppercase().trim_start_matches("CAP_").to_owned();
        list.into_iter().flatten().map(name).collect()
    };
    let add = bare(given.and_then(|g| g.add.as_ref()));
    let drop = bare(given.and_then(|g| g.drop.as_ref()));
    let has = |list: &[String], name: &str| list.iter().any(|c| c == name);
    let mut kept: Vec<String> = match (has(&add, "ALL"), has(&drop, "ALL")) {
        (true, _) => CAPABILITIES.iter().map(|c| (*c).to_owned()).collect(),
        (false, true) => Vec::new(),
        (false, false) => DEFAULT_CAPABILITIES.iter().map(|c| (*c).to_owned()).collect(),
    };
    for name in add.iter().filter(|a| *a != "ALL") {
        if !kept.contains(name) {
            kept.push(name.clone());
        }
    }
    kept.retain(|c| !has(&drop, c));
    kept
}

/// Which profile file a container names; it is read before the spec is made.
pub fn localhost_profile(pod: &core::Pod, part: &Part<'_>) -> Option<String> {
    seccomp_profile(pod, part).filter(|p| p.type_ == "Localhost").and_then(|p| p.localhost_profile.clone())
}

fn seccomp_profile<'a>(pod: &'a core::Pod, part: &'a Part<'_>) -> Option<&'a core::SeccompProfile> {
    let (own, podwide) = contexts(pod, part);
    own.and_then(|c| c.seccomp_profile.as_ref()).or(podwide.and_then(|c| c.seccomp_profile.as_ref()))
}

/// The filter; `profile` is the content of the file that `localhost_profile` named.
pub fn seccomp(pod: &core::Pod, part: &Part<'_>, profile: Option<String>) -> Result<Seccomp, SpecError> {
    if is_privileged(part) {
        return Ok(Seccomp::Unconfined);
    }
    match seccomp_profile(pod, part).map(|p| p.type_.as_str()) {
        None | Some("RuntimeDefault") => Ok(Seccomp::RuntimeDefault),
        Some("Unconfined") => Ok(Seccomp::Unconfined),
        Some("Localhost") => match profile {
            Some(text) => Ok(Seccomp::Profile(text)),
            None => {
                Err(SpecError::create("localhost seccomp profile must be set if seccomp profile type is Localhost."))
            }
        },
        Some(other) => Err(SpecError::create(format!("invalid seccomp profile type {other:?}"))),
    }
}

/// Why this node cannot enforce the pod's AppArmor profile (reason AppArmor). Every type but Unconfined
/// asks for one (pkg/security/apparmor isRequired).
pub fn unenforceable_apparmor(pod: &core::Pod, settings: &Settings) -> Option<String> {
    let asks = |p: Option<&core::AppArmorProfile>| p.is_some_and(|p| p.type_ != "Unconfined");
    let podwide = pod.spec.as_ref().and_then(|s| s.security_context.as_ref());
    let own = |p: &Part<'_>| asks(p.spec.security_context.as_ref().and_then(|c| c.app_armor_profile.as_ref()));
    // Static pods may still carry the annotations that became fields.
    let noted = pod.metadata.annotations.iter().flatten();
    let noted = noted.filter(|(key, _)| key.starts_with(APPARMOR_NOTES)).any(|(_, value)| value != "unconfined");
    if !asks(podwide.and_then(|c| c.app_armor_profile.as_ref())) && !pod::parts(pod).iter().any(own) && !noted {
        return None;
    }
    let why = if settings.apparmor { "this node loads no profiles" } else { "AppArmor is not enabled on the host" };
    Some(format!("Cannot enforce AppArmor: {why}"))
}

/// allowPrivilegeEscalation: false, which means nothing for who has all privileges.
pub fn no_new_privileges(part: &Part<'_>) -> bool {
    let context = part.spec.security_context.as_ref();
    context.and_then(|c| c.allow_privilege_escalation) == Some(false) && !is_privileged(part)
}

/// procMount Unmasked, or privileged: nothing is hidden.
pub fn is_unmasked(part: &Part<'_>) -> bool {
    let context = part.spec.security_context.as_ref();
    is_privileged(part) || context.and_then(|c| c.proc_mount.as_deref()) == Some("Unmasked")
}
