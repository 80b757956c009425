//! Usage and settings: /stats/summary, /metrics/resource, the agent's own /metrics, /configz.
//!
//! Names are those that metrics-server and dashboards read (pkg/kubelet/server/stats, …/metrics/collectors).

use std::fmt::Write as _;

use http::StatusCode;
use runtime::{Container, Phase, Sandbox, Usage};
use serde_json::{Value, json};

use super::answer::{self, Response};
use crate::control::Control;
use crate::observe;
use crate::pod::{LABEL_POD_NAME, LABEL_POD_NAMESPACE, LABEL_POD_UID};

/// Prometheus's text format.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A running container and what it uses.
struct Used<'a> {
    sandbox: &'a Sandbox,
    container: &'a Container,
    usage: Usage,
}

async fn sandboxes(control: &Control) -> Result<Vec<Sandbox>, Response> {
    let failed = |e: runtime::Error| answer::text(StatusCode::INTERNAL_SERVER_ERROR, e.to_string());
    control.engine().list().await.map_err(failed)
}

async fn used<'a>(control: &Control, sandboxes: &'a [Sandbox]) -> Vec<Used<'a>> {
    let mut all = Vec::new();
    for sandbox in sandboxes {
        for container in sandbox.containers.iter().filter(|c| matches!(c.phase, Phase::Running { .. })) {
            // One that ended meanwhile has none.
            if let Ok(usage) = control.engine().usage(&container.id).await {
                all.push(Used { sandbox, container, usage });
            }
        }
    }
    all
}

fn label<'a>(sandbox: &'a Sandbox, name: &str) -> &'a str {
    sandbox.spec.labels.get(name).map_or("", String::as_str)
}

pub async fn summary(control: &Control) -> Response {
    let sandboxes = match sandboxes(control).await {
        Ok(sandboxes) => sandboxes,
        Err(refused) => return refused,
    };
    let all = used(control, &sandboxes).await;
    let now = (control.config().clock)().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let cpu = |nanoseconds: u64| json!({"time": now, "usageCoreNanoSeconds": nanoseconds});
    let memory = |u: &Usage| json!({"time": now, "workingSetBytes": u.memory_working_set, "rssBytes": u.memory_rss});
    let mut pods: Vec<Value> = Vec::new();
    for sandbox in sandboxes.iter().filter(|s| s.ready) {
        let of_pod: Vec<&Used<'_>> = all.iter().filter(|u| u.sandbox.id == sandbox.id).collect();
        let containers: Vec<Value> = of_pod
            .iter()
            .map(|u| {
                let started = observe::started_at(u.container).map(|t| t.to_string());
                json!({"name": u.container.spec.name, "startTime": started, "cpu": cpu(u.usage.cpu_nanoseconds),
                    "memory": memory(&u.usage), "rootfs": {"time": now, "usedBytes": u.usage.writable_layer}})
            })
            .collect();
        let sum = sum(of_pod.iter().map(|u| &u.usage));
        pods.push(json!({
            "podRef": {"name": label(sandbox, LABEL_POD_NAME), "namespace": label(sandbox, LABEL_POD_NAMESPACE),
                "uid": label(sandbox, LABEL_POD_UID)},
            "startTime": observe::time(sandbox.created_at).to_string(),
            "containers": containers, "cpu": cpu(sum.cpu_nanoseconds), "memory": memory(&sum),
            "process_stats": {"process_count": sum.pids},
        }));
    }
    let total = sum(all.iter().map(|u| &u.usage));
    let node =
        json!({"nodeName": control.config().node_name, "cpu": cpu(total.cpu_nanoseconds), "memory": memory(&total)});
    answer::json(&json!({"node": node, "pods": pods}))
}

fn sum<'a>(usages: impl Iterator<Item = &'a Usage>) -> Usage {
    usages.fold(Usage::default(), |all, one| Usage {
        cpu_nanoseconds: all.cpu_nanoseconds + one.cpu_nanoseconds,
        memory_working_set: all.memory_working_set + one.memory_working_set,
        memory_rss: all.memory_rss + one.memory_rss,
        writable_layer: all.writable_layer + one.writable_layer,
        pids: all.pids + one.pids,
    })
}

/// The whole machine, pods or not: time that its processors worked, memory that is not to be had.
fn of_node() -> Usage {
    // What cannot be read counts as zero.
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    node_usage(&read("/proc/stat"), &read("/proc/meminfo"))
}

fn node_usage(stat: &str, meminfo: &str) -> Usage {
    let fields: Vec<u64> =
        stat.lines().next().unwrap_or_default().split_whitespace().skip(1).map_while(|f| f.parse().ok()).collect();
    // user, nice, system, irq, softirq, steal; a tick is a hundredth of a second (USER_HZ on every machine).
    let ticks: u64 = [0, 1, 2, 5, 6, 7].into_iter().filter_map(|n| fields.get(n)).sum();
    let kilobytes = |name: &str| -> u64 {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|l| l.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    };
    let taken = kilobytes("MemTotal").saturating_sub(kilobytes("MemAvailable"));
    Usage {
        cpu_nanoseconds: ticks * 10_000_000,
        memory_working_set: taken << 10,
        memory_rss: kilobytes("AnonPages") << 10,
        ..Usage::default()
    }
}

pub async fn resource(control: &Control) -> Response {
    let sandboxes = match sandboxes(control).await {
        Ok(sandboxes) => sandboxes,
        Err(refused) => return refused,
    };
    let all = used(control, &sandboxes).await;
    let seconds = |nanoseconds: u64| nanoseconds as f64 / 1e9;
    let mut text = String::new();
    let mut family = |name: &str, kind: &str, help: &str, rows: Vec<(String, f64)>| {
        let _ = writeln!(text, "# HELP {name} [STABLE] {help}\n# TYPE {name} {kind}");
        for (labels, value) in rows {
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    };
    let of_container = |u: &Used<'_>| {
        let (ns, pod) = (label(u.sandbox, LABEL_POD_NAMESPACE), label(u.sandbox, LABEL_POD_NAME));
        format!("{{container=\"{}\",namespace=\"{ns}\",pod=\"{pod}\"}}", u.container.spec.name)
    };
    let each = |value: &dyn Fn(&Used<'_>) -> f64| all.iter().map(|u| (of_container(u), value(u))).collect::<Vec<_>>();
    let help = "Cumulative cpu time consumed by the container in core-seconds";
    family("container_cpu_usage_seconds_total", "counter", help, each(&|u| seconds(u.usage.cpu_nanoseconds)));
    let help = "Current working set of the container in bytes";
    family("container_memory_working_set_bytes", "gauge", help, each(&|u| u.usage.memory_working_set as f64));
    let help = "Start time of the container since unix epoch in seconds";
    let started = |u: &Used<'_>| observe::started_at(u.container).map_or(0.0, |t| t.as_nanosecond() as f64 / 1e9);
    family("container_start_time_seconds", "gauge", help, each(&started));
    let pods: Vec<(String, Usage)> = sandboxes
        .iter()
        .filter(|s| s.ready)
        .map(|sandbox| {
            let (ns, pod) = (label(sandbox, LABEL_POD_NAMESPACE), label(sandbox, LABEL_POD_NAME));
            let usage = sum(all.iter().filter(|u| u.sandbox.id == sandbox.id).map(|u| &u.usage));
            (format!("{{namespace=\"{ns}\",pod=\"{pod}\"}}"), usage)
        })
        .collect();
    let help = "Cumulative cpu time consumed by the pod in core-seconds";
    let rows = pods.iter().map(|(l, u)| (l.clone(), seconds(u.cpu_nanoseconds))).collect();
    family("pod_cpu_usage_seconds_total", "counter", help, rows);
    let help = "Current working set of the pod in bytes";
    let rows = pods.iter().map(|(l, u)| (l.clone(), u.memory_working_set as f64)).collect();
    family("pod_memory_working_set_bytes", "gauge", help, rows);
    let total = of_node();
    let help = "Cumulative cpu time consumed by the node in core-seconds";
    family("node_cpu_usage_seconds_total", "counter", help, vec![(String::new(), seconds(total.cpu_nanoseconds))]);
    let help = "Current working set of the node in bytes";
    family("node_memory_working_set_bytes", "gauge", help, vec![(String::new(), total.memory_working_set as f64)]);
    let help = "1 if there was an error while getting container metrics, 0 otherwise";
    family("resource_scrape_error", "gauge", help, vec![(String::new(), 0.0)]);
    answer::bytes(StatusCode::OK, TEXT_FORMAT, text)
}

/// Of the agent itself: how many pods it has.
pub fn own(control: &Control) -> Response {
    let pods = control.pods().len();
    let text = format!(
        "# HELP kubelet_active_pods [ALPHA] The number of pods the kubelet considers active\n\
         # TYPE kubelet_active_pods gauge\nkubelet_active_pods {pods}\n"
    );
    answer::bytes(StatusCode::OK, TEXT_FORMAT, text)
}

/// The part of a kubelet's configuration that is one here too.
pub fn configz(control: &Control) -> Response {
    let config = control.config();
    answer::json(&json!({"kubeletconfig": {
        "kind": "KubeletConfiguration",
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "port": config.port,
        "maxPods": config.max_pods,
        "clusterDomain": config.cluster_domain,
        "clusterDNS": config.cluster_dns,
        "containerLogMaxSize": config.log_size_max.to_string(),
        "containerLogMaxFiles": config.log_files_max,
        "podPidsLimit": config.pids_max,
        "staticPodPath": config.manifest_dir,
        "podCIDR": config.pod_cidr,
    }}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usages_add_up() {
        let one = Usage { cpu_nanoseconds: 1, memory_working_set: 2, memory_rss: 3, writable_layer: 4, pids: 5 };
        let all = sum([&one, &one].into_iter());
        assert_eq!((all.cpu_nanoseconds, all.memory_working_set, all.pids), (2, 4, 10));
    }

    #[test]
    fn a_machines_usage_is_read_from_proc() {
        let stat = "cpu  100 10 50 9000 7 3 2 5 0 0\ncpu0 1 1 1 1\n";
        let meminfo = "MemTotal:  1000 kB\nMemFree: 100 kB\nMemAvailable:  400 kB\nAnonPages: 50 kB\n";
        let usage = node_usage(stat, meminfo);
        assert_eq!(usage.cpu_nanoseconds, 1_700_000_000);
        assert_eq!((usage.memory_working_set, usage.memory_rss), (600 << 10, 50 << 10));
    }
}
