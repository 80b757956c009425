//! What `baseline` forbids: known ways out of a container.

use serde_json::Value;

use super::{Check, Found, added_capabilities, containers, named, plural, quoted, sorted, volumes, which};

pub(super) const CHECKS: &[Check] = &[
    Check { id: "appArmorProfile", replaced_by: "", find: app_armor },
    Check { id: "capabilities_baseline", replaced_by: "capabilities_restricted", find: capabilities },
    Check { id: "hostNamespaces", replaced_by: "", find: host_namespaces },
    Check { id: "hostPathVolumes", replaced_by: "restrictedVolumes", find: host_paths },
    Check { id: "hostPorts", replaced_by: "", find: host_ports },
    Check { id: "hostProbesAndHostLifecycle", replaced_by: "", find: probe_hosts },
    Check { id: "privileged", replaced_by: "", find: privileged },
    Check { id: "procMount", replaced_by: "", find: proc_mount },
    Check { id: "seLinuxOptions", replaced_by: "", find: selinux },
    Check { id: "seccompProfile_baseline", replaced_by: "seccompProfile_restricted", find: seccomp },
    Check { id: "sysctls", replaced_by: "", find: sysctls },
];

/// What a container runtime grants anyway.
const DEFAULT_CAPABILITIES: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
const SAFE_SYSCTLS: &[&str] = &[
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];
const SELINUX_TYPES: &[&str] = &["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];

fn app_armor(pod: &Value) -> Found {
    let unconfined = |of: &Value| of["securityContext"]["appArmorProfile"]["type"] == "Unconfined";
    let names = which(pod, unconfined);
    let mut setters = Vec::new();
    if unconfined(&pod["spec"]) {
        setters.push("pod".to_string());
    }
    if !names.is_empty() {
        setters.push(named(&names));
    }
    let annotations = pod["metadata"]["annotations"].as_object().into_iter().flatten();
    let bad = annotations.filter(|(key, value)| {
        let profile = value.as_str().unwrap_or("");
        key.starts_with("container.apparmor.security.beta.kubernetes.io/")
            && !(profile.is_empty() || profile == "runtime/default" || profile.starts_with("localhost/"))
    });
    let bad: Vec<String> = bad.map(|(key, value)| format!("{key}={value}")).collect();
    if setters.is_empty() && bad.is_empty() {
        return None;
    }
    let mut detail = Vec::new();
    if !setters.is_empty() {
        detail.push(format!("{} must not set AppArmor profile type to \"Unconfined\"", setters.join(" and ")));
    }
    if !bad.is_empty() {
        detail.push(format!("{} {}", plural("annotation", bad.len()), quoted(&bad)));
    }
    let reason =
        if setters.len() + bad.len() == 1 { "forbidden AppArmor profile" } else { "forbidden AppArmor profiles" };
    Some((reason, detail.join(", ")))
}

fn capabilities(pod: &Value) -> Found {
    let forbidden = |c: &str| !DEFAULT_CAPABILITIES.contains(&c);
    let names = which(pod, |c| added_capabilities(c).any(forbidden));
    let added = sorted(containers(pod).flat_map(added_capabilities).filter(|c| forbidden(c)));
    let detail =
        || format!("{} must not include {} in securityContext.capabilities.add", named(&names), quoted(&added));
    (!names.is_empty()).then(|| ("non-default capabilities", detail()))
}

fn host_namespaces(pod: &Value) -> Found {
    let fields = ["hostNetwork", "hostPID", "hostIPC"].into_iter().filter(|f| pod["spec"][*f] == true);
    let set: Vec<String> = fields.map(|f| format!("{f}=true")).collect();
    (!set.is_empty()).then(|| ("host namespaces", set.join(", ")))
}

fn host_paths(pod: &Value) -> Found {
    let names: Vec<&str> =
        volumes(pod).filter(|v| v.get("hostPath").is_some()).filter_map(|v| v["name"].as_str()).collect();
    (!names.is_empty()).then(|| ("hostPath volumes", format!("{} {}", plural("volume", names.len()), quoted(&names))))
}

fn host_ports(pod: &Value) -> Found {
    fn ports(container: &Value) -> impl Iterator<Item = i64> {
        let ports = container["ports"].as_array().into_iter().flatten();
        ports.filter_map(|p| p["hostPort"].as_i64()).filter(|p| *p != 0)
    }
    let names = which(pod, |c| ports(c).next().is_some());
    let mut used: Vec<i64> = containers(pod).flat_map(ports).collect();
    used.sort_unstable();
    used.dedup();
    let list = used.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
    let verb = if names.len() == 1 { "uses" } else { "use" };
    (!names.is_empty())
        .then(|| ("hostPort", format!("{} {verb} {} {list}", named(&names), plural("hostPort", used.len()))))
}

/// Since 1.34: probes and hooks may not name another host.
fn probe_hosts(pod: &Value) -> Found {
    fn hosts(container: &Value) -> impl Iterator<Item = &str> {
        let probes = ["livenessProbe", "readinessProbe", "startupProbe"].into_iter().map(|p| &container[p]);
        let hooks = ["postStart", "preStop"].into_iter().map(|h| &container["lifecycle"][h]);
        let handlers = probes.chain(hooks).flat_map(|h| [&h["httpGet"]["host"], &h["tcpSocket"]["host"]]);
        handlers.filter_map(Value::as_str).filter(|h| !matches!(*h, "" | "127.0.0.1" | "::1"))
    }
    let names = which(pod, |c| hosts(c).next().is_some());
    let used = sorted(containers(pod).flat_map(hosts));
    let verb = if names.len() == 1 { "uses" } else { "use" };
    let detail =
        || format!("{} {verb} probe or lifecycle {} {}", named(&names), plural("host", used.len()), quoted(&used));
    (!names.is_empty()).then(|| ("probe or lifecycle host", detail()))
}

fn privileged(pod: &Value) -> Found {
    let names = which(pod, |c| c["securityContext"]["privileged"] == true);
    (!names.is_empty())
        .then(|| ("privileged", format!("{} must not set securityContext.privileged=true", named(&names))))
}

fn proc_mount(pod: &Value) -> Found {
    fn mount(container: &Value) -> Option<&str> {
        container["securityContext"]["procMount"].as_str().filter(|m| *m != "Default")
    }
    // In a user namespace of its own a pod may have it unmasked.
    if pod["spec"]["hostUsers"] == false {
        return None;
    }
    let names = which(pod, |c| mount(c).is_some());
    let used = sorted(containers(pod).filter_map(mount));
    let detail = || format!("{} must not set securityContext.procMount to {}", named(&names), quoted(&used));
    (!names.is_empty()).then(|| ("procMount", detail()))
}

fn selinux(pod: &Value) -> Found {
    let bad = |of: &Value| {
        let options = &of["securityContext"]["seLinuxOptions"];
        let text = |field: &str| options[field].as_str().unwrap_or("");
        options.is_object()
            && (!SELINUX_TYPES.contains(&text("type")) || !text("user").is_empty() || !text("role").is_empty())
    };
    let names = which(pod, bad);
    let mut setters = Vec::new();
    if bad(&pod["spec"]) {
        setters.push("pod".to_string());
    }
    if !names.is_empty() {
        setters.push(named(&names));
    }
    if setters.is_empty() {
        return None;
    }
    let every = [&pod["spec"]].into_iter().chain(containers(pod)).map(|of| &of["securityContext"]["seLinuxOptions"]);
    let every: Vec<&Value> = every.collect();
    let text = |field: &'static str| every.iter().filter_map(move |o| o[field].as_str());
    let types = sorted(text("type").filter(|t| !SELINUX_TYPES.contains(t)));
    let mut set = Vec::new();
    if !types.is_empty() {
        set.push(format!("{} {}", plural("type", types.len()), quoted(types)));
    }
    for (field, word) in [("user", "user may not be set"), ("role", "role may not be set")] {
        if text(field).any(|t| !t.is_empty()) {
            set.push(word.to_string());
        }
    }
    Some((
        "seLinuxOptions",
        format!("{} set forbidden securityContext.seLinuxOptions: {}", setters.join(" and "), set.join("; ")),
    ))
}

fn seccomp(pod: &Value) -> Found {
    let unconfined = |of: &Value| of["securityContext"]["seccompProfile"]["type"] == "Unconfined";
    let names = which(pod, unconfined);
    let mut setters = Vec::new();
    if unconfined(&pod["spec"]) {
        setters.push("pod".to_string());
    }
    if !names.is_empty() {
        setters.push(named(&names));
    }
    let text =
        || format!("{} must not set securityContext.seccompProfile.type to \"Unconfined\"", setters.join(" and "));
    (!setters.is_empty()).then(|| ("seccompProfile", text()))
}

fn sysctls(pod: &Value) -> Found {
    let all = pod["spec"]["securityContext"]["sysctls"].as_array().into_iter().flatten();
    let names: Vec<&str> = all.filter_map(|s| s["name"].as_str()).filter(|n| !SAFE_SYSCTLS.contains(n)).collect();
    (!names.is_empty()).then(|| ("forbidden sysctls", names.join(", ")))
}
