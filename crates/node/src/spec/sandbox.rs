//! A sandbox's spec: namespaces shared or not, cgroup, sysctls; and the host ports of its network.

use std::collections::BTreeMap;

use crate::view as core;
use api::quantity::Quantity;
use runtime::{Network, SandboxSpec, Share};

use crate::network::Subject;
use crate::pod::{self, LABEL_POD_NAME, LABEL_POD_NAMESPACE, LABEL_POD_UID, NOTE_ADDRESSES, NOTE_ATTEMPT, Role};
use crate::spec::{Settings, cgroup, names};

/// Sysctls that are namespaced and harmless (kubelet/sysctl/safe_sysctls.go).
const SAFE: &[&str] = &[
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

/// What every pod with a network of its own may do without privileges, unless it says otherwise: listen on
/// any port, and ping (as containerd since 2.0 and Docker).
const OPEN: [(&str, &str); 2] =
    [("net.ipv4.ip_unprivileged_port_start", "0"), ("net.ipv4.ping_group_range", "0 2147483647")];

/// The sandbox of a pod; Err says why it cannot be made.
pub fn sandbox_spec(
    pod: &core::Pod,
    settings: &Settings,
    attempt: u32,
    network: Network,
    addresses: &[String],
) -> Result<SandboxSpec, String> {
    let spec = pod.spec.as_ref();
    if spec.and_then(|s| s.host_users) == Some(false) {
        return Err("hostUsers: false (user namespaces) is not supported by this node".into());
    }
    let flag = |of: Option<bool>| of.unwrap_or(false);
    let pid = match spec {
        Some(s) if flag(s.host_pid) => Share::Host,
        Some(s) if flag(s.share_process_namespace) => Share::Sandbox,
        _ => Share::Private,
    };
    let labels =
        [(LABEL_POD_NAME, pod::name(pod)), (LABEL_POD_NAMESPACE, pod::namespace(pod)), (LABEL_POD_UID, pod::uid(pod))];
    let notes = [(NOTE_ATTEMPT, attempt.to_string()), (NOTE_ADDRESSES, addresses.join(","))];
    Ok(SandboxSpec {
        labels: labels.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
        annotations: notes.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
        hostname: names::hostname(pod, settings)?,
        network,
        ipc: if flag(spec.and_then(|s| s.host_ipc)) { Share::Host } else { Share::Private },
        pid,
        user_namespace: None,
        cgroup: cgroup::pod_cgroup(pod, settings),
        resources: cgroup::pod_resources(pod, settings),
        sysctls: {
            let open = OPEN.iter().filter(|_| !pod::host_network(pod)).map(|(k, v)| ((*k).into(), (*v).into()));
            open.chain(sysctls(pod)).collect()
        },
        shm_size: 0,
    })
}

fn sysctls(pod: &core::Pod) -> BTreeMap<String, String> {
    let given = pod.spec.as_ref().and_then(|s| s.security_context.as_ref()).and_then(|c| c.sysctls.as_ref());
    given.into_iter().flatten().map(|s| (dotted(&s.name), s.value.clone())).collect()
}

/// `net/ipv4/x` is another spelling of `net.ipv4.x`.
fn dotted(name: &str) -> String {
    match name.find(['.', '/']) {
        Some(at) if name[at..].starts_with('/') => name.chars().map(swap).collect(),
        _ => name.to_owned(),
    }
}

fn swap(c: char) -> char {
    match c {
        '/' => '.',
        '.' => '/',
        other => other,
    }
}

/// Why the pod's sysctls are not allowed here (reason SysctlForbidden).
pub fn forbidden_sysctl(pod: &core::Pod, settings: &Settings) -> Option<String> {
    let host_ipc = pod.spec.as_ref().and_then(|s| s.host_ipc).unwrap_or(false);
    for name in sysctls(pod).keys() {
        let allowed = settings.sysctls_allowed.iter().any(|a| match a.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => a == name,
        });
        if !SAFE.contains(&name.as_str()) && !allowed {
            return Some(format!("forbidden sysctl: {name:?} not allowlisted"));
        }
        if pod::host_network(pod) && name.starts_with("net.") {
            return Some(format!("forbidden sysctl: {name:?} not allowed with host net enabled"));
        }
        let ipc = ["kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue."].iter().any(|p| name.starts_with(p));
        if host_ipc && ipc {
            return Some(format!("forbidden sysctl: {name:?} not allowed with host ipc enabled"));
        }
    }
    None
}

/// Bits a second that an annotation allows, within upstream's bounds (its pkg/util/bandwidth).
pub fn bandwidth(pod: &core::Pod, annotation: &str) -> Result<Option<u64>, String> {
    let Some(text) = pod::annotation(pod, annotation) else { return Ok(None) };
    let invalid = |why: &str| format!("annotation {annotation}: {text:?}: {why}");
    let bits = Quantity::parse(text).map_err(|why| invalid(&why.to_string()))?.value();
    match bits {
        ..1_000 => Err(invalid("resource is unreasonably small (< 1kbit)")),
        1_000_000_000_000_001.. => Err(invalid("resource is unreasonably large (> 1Pbit)")),
        bits => Ok(Some(bits.unsigned_abs())),
    }
}

/// The pod as policies see it.
pub fn subject(pod: &core::Pod) -> Subject {
    // As upstream finds a port by its name (api/v1/pod/util.go FindPort): containers, and sidecars.
    let parts = pod::parts(pod).into_iter().filter(|part| matches!(part.role, Role::Regular | Role::Sidecar));
    let ports = parts.flat_map(|part| part.spec.ports.iter().flatten()).filter_map(|port| {
        let name = port.name.clone().filter(|name| !name.is_empty())?;
        let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".into());
        Some((protocol, name, u16::try_from(port.container_port).ok()?))
    });
    Subject {
        namespace: pod::namespace(pod).to_owned(),
        name: pod::name(pod).to_owned(),
        uid: pod::uid(pod).to_owned(),
        labels: pod.metadata.labels.clone().unwrap_or_default(),
        ports: ports.collect(),
    }
}

/// The host ports that the network is asked for.
pub fn host_ports(pod: &core::Pod) -> Vec<net::HostPort> {
    if pod::host_network(pod) {
        return Vec::new();
    }
    let parts = pod::parts(pod);
    let ports = parts.iter().flat_map(|p| p.spec.ports.iter().flatten());
    let wanted = ports.filter_map(|p| {
        let host_port = u16::try_from(p.host_port.unwrap_or(0)).ok().filter(|h| *h > 0)?;
        let host_ip = p.host_ip.as_deref().and_then(|ip| ip.parse().ok());
        Some(net::HostPort {
            protocol: p.protocol.clone().unwrap_or_else(|| "TCP".into()),
            host_ip: host_ip.filter(|ip: &std::net::IpAddr| !ip.is_unspecified()),
            host_port,
            container_port: u16::try_from(p.container_port).ok()?,
        })
    });
    wanted.collect()
}
