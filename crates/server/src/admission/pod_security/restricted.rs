//! What `restricted` demands beyond `baseline`: the least that a container can do with.

use serde_json::Value;

use super::{Check, Found, added_capabilities, containers, named, plural, quoted, sorted, volumes, which};

pub(super) const CHECKS: &[Check] = &[
    Check { id: "allowPrivilegeEscalation", replaced_by: "", find: escalation },
    Check { id: "capabilities_restricted", replaced_by: "", find: capabilities },
    Check { id: "restrictedVolumes", replaced_by: "", find: volume_types },
    Check { id: "runAsNonRoot", replaced_by: "", find: non_root },
    Check { id: "runAsUser", replaced_by: "", find: user },
    Check { id: "seccompProfile_restricted", replaced_by: "", find: seccomp },
];

const VOLUME_TYPES: &[&str] = &[
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

fn escalation(pod: &Value) -> Found {
    let names = which(pod, |c| c["securityContext"]["allowPrivilegeEscalation"] != false);
    let detail = || format!("{} must set securityContext.allowPrivilegeEscalation=false", named(&names));
    (!names.is_empty()).then(|| ("allowPrivilegeEscalation != false", detail()))
}

fn capabilities(pod: &Value) -> Found {
    let drops_all = |c: &Value| {
        let dropped = c["securityContext"]["capabilities"]["drop"].as_array().into_iter().flatten();
        dropped.into_iter().any(|d| d == "ALL")
    };
    let forbidden = |c: &str| c != "NET_BIND_SERVICE";
    let keeping = which(pod, |c| !drops_all(c));
    let adding = which(pod, |c| added_capabilities(c).any(forbidden));
    let added = sorted(containers(pod).flat_map(added_capabilities).filter(|c| forbidden(c)));
    let mut detail = Vec::new();
    if !keeping.is_empty() {
        detail.push(format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", named(&keeping)));
    }
    if !adding.is_empty() {
        let text = format!("{} must not include {} in securityContext.capabilities.add", named(&adding), quoted(added));
        detail.push(text);
    }
    (!detail.is_empty()).then(|| ("unrestricted capabilities", detail.join("; ")))
}

fn volume_types(pod: &Value) -> Found {
    fn kind(volume: &Value) -> Option<&str> {
        volume.as_object()?.keys().map(String::as_str).find(|k| *k != "name")
    }
    let bad = |v: &&Value| kind(v).is_some_and(|k| !VOLUME_TYPES.contains(&k));
    let names: Vec<&str> = volumes(pod).filter(bad).filter_map(|v| v["name"].as_str()).collect();
    let kinds = sorted(volumes(pod).filter(bad).filter_map(kind));
    let verb = if names.len() == 1 { "uses" } else { "use" };
    let detail = || {
        let (volumes, types) = (plural("volume", names.len()), plural("restricted volume type", kinds.len()));
        format!("{volumes} {} {verb} {types} {}", quoted(&names), quoted(&kinds))
    };
    (!names.is_empty()).then(|| ("restricted volume types", detail()))
}

fn non_root(pod: &Value) -> Found {
    let set = |of: &Value| of["securityContext"]["runAsNonRoot"].as_bool();
    let of_pod = set(&pod["spec"]);
    let refusing = which(pod, |c| set(c) == Some(false));
    let mut setters = Vec::new();
    if of_pod == Some(false) {
        setters.push("pod".to_string());
    }
    if !refusing.is_empty() {
        setters.push(named(&refusing));
    }
    if !setters.is_empty() {
        let detail = format!("{} must not set securityContext.runAsNonRoot=false", setters.join(" and "));
        return Some(("runAsNonRoot != true", detail));
    }
    let silent = which(pod, |c| set(c).is_none() && of_pod != Some(true));
    let detail = || format!("pod or {} must set securityContext.runAsNonRoot=true", named(&silent));
    (!silent.is_empty()).then(|| ("runAsNonRoot != true", detail()))
}

fn user(pod: &Value) -> Found {
    let zero = |of: &Value| of["securityContext"]["runAsUser"] == 0;
    let names = which(pod, zero);
    let mut setters = Vec::new();
    if zero(&pod["spec"]) {
        setters.push("pod".to_string());
    }
    if !names.is_empty() {
        setters.push(named(&names));
    }
    (!setters.is_empty()).then(|| ("runAsUser=0", format!("{} must not set runAsUser=0", setters.join(" and "))))
}

fn seccomp(pod: &Value) -> Found {
    let profile = |of: &Value| of["securityContext"]["seccompProfile"]["type"].as_str().map(String::from);
    let good = |p: &str| matches!(p, "RuntimeDefault" | "Localhost");
    let of_pod = profile(&pod["spec"]);
    let bad = which(pod, |c| profile(c).is_some_and(|p| !good(&p)));
    let mut setters = Vec::new();
    let mut words: Vec<String> = Vec::new();
    if let Some(p) = of_pod.as_deref().filter(|p| !good(p)) {
        setters.push("pod".to_string());
        words.push(p.into());
    }
    if !bad.is_empty() {
        setters.push(named(&bad));
        words.extend(containers(pod).filter_map(profile).filter(|p| !good(p)));
    }
    if !setters.is_empty() {
        words.sort();
        words.dedup();
        let text =
            format!("{} must not set securityContext.seccompProfile.type to {}", setters.join(" and "), quoted(&words));
        return Some(("seccompProfile", text));
    }
    let silent = which(pod, |c| profile(c).is_none() && of_pod.is_none());
    let detail = || {
        let names = named(&silent);
        format!("pod or {names} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"")
    };
    (!silent.is_empty()).then(|| ("seccompProfile", detail()))
}
