//! `/stats/summary`: what pods and containers use, looked at when it is asked for.
//!
//! The form is pkg/kubelet/apis/stats/v1alpha1. Current rates need two looks: they are told from the
//! second request on.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use runtime::{Container, Sandbox, Usage};
use serde_json::{Value, json};

use super::Api;
use crate::observe::{is_running, started_at, time};
use crate::pod::{LABEL_POD_NAME, LABEL_POD_NAMESPACE, LABEL_POD_UID};

/// Hundredths of a second, as /proc/stat counts.
const JIFFY: u64 = 10_000_000;

/// What runs, and what it uses.
pub struct Sample {
    pub at: Timestamp,
    pub node: NodeUsage,
    pub pods: Vec<PodUsage>,
}

pub struct NodeUsage {
    pub cpu_nanoseconds: u64,
    pub memory_used: u64,
    pub memory_available: u64,
    pub started: Option<Timestamp>,
    pub processes: u64,
    pub processes_max: u64,
}

pub struct PodUsage {
    pub sandbox: Sandbox,
    pub containers: Vec<(Container, Usage)>,
}

/// Processor time of the look before, by name.
#[derive(Default)]
pub struct Before(Mutex<HashMap<String, (Timestamp, u64)>>);

impl PodUsage {
    pub fn label(&self, name: &str) -> &str {
        self.sandbox.spec.labels.get(name).map_or("", String::as_str)
    }

    pub fn cpu(&self) -> u64 {
        self.containers.iter().map(|(_, usage)| usage.cpu_nanoseconds).sum()
    }

    pub fn memory(&self) -> u64 {
        self.containers.iter().map(|(_, usage)| usage.memory_working_set).sum()
    }
}

/// Looks at everything that runs, but for what it wrote. A container that ends meanwhile is left out.
pub async fn loads(api: &Api) -> Result<Sample, String> {
    let engine = api.control.engine();
    let sandboxes = engine.list().await.map_err(|why| why.to_string())?;
    let pods: Vec<Sandbox> = sandboxes.into_iter().filter(|sandbox| sandbox.ready).collect();
    let running = |sandbox: &Sandbox| sandbox.containers.iter().filter(|c| is_running(c)).cloned().collect::<Vec<_>>();
    let of = |sandbox: &Sandbox| {
        let cgroup = sandbox.spec.cgroup.clone();
        running(sandbox).into_iter().map(move |container| (cgroup.clone(), container.id))
    };
    let mut used = engine.loads(pods.iter().flat_map(of).collect()).await.into_iter();
    let pods = pods.into_iter().map(|sandbox| {
        let containers = running(&sandbox).into_iter().zip(used.by_ref());
        let containers = containers.filter_map(|(container, usage)| Some((container, usage?))).collect();
        PodUsage { sandbox, containers }
    });
    Ok(Sample { at: api.control.config().now(), node: node(), pods: pods.collect() })
}

/// The same, and at what they wrote.
pub async fn sample(api: &Api) -> Result<Sample, String> {
    let engine = api.control.engine();
    let sandboxes = engine.list().await.map_err(|why| why.to_string())?;
    let look = async |sandbox: Sandbox| {
        let running: Vec<Container> = sandbox.containers.iter().filter(|c| is_running(c)).cloned().collect();
        let used = running.into_iter().map(async |container| {
            let usage = engine.usage(&container.id).await.ok()?;
            Some((container, usage))
        });
        let containers = futures::future::join_all(used).await.into_iter().flatten().collect();
        PodUsage { sandbox, containers }
    };
    let pods = futures::future::join_all(sandboxes.into_iter().filter(|s| s.ready).map(look)).await;
    Ok(Sample { at: api.control.config().now(), node: node(), pods })
}

pub async fn summary(api: &Api, cpu_and_memory_only: bool) -> Result<Value, String> {
    let sample = if cpu_and_memory_only { loads(api).await? } else { sample(api).await? };
    let config = api.control.config();
    let at = api::seconds(sample.at);
    let cpu = |name: String, nanoseconds: u64| {
        let mut cpu = json!({"time": at, "usageCoreNanoSeconds": nanoseconds});
        if let Some(rate) = api.before.rate(name, sample.at, nanoseconds) {
            cpu["usageNanoCores"] = json!(rate);
        }
        cpu
    };
    let folder = config.data_dir.clone();
    let disk = tokio::task::spawn_blocking(move || disk(&folder)).await.unwrap_or_default();
    let node = &sample.node;
    let mut whole = json!({
        "nodeName": config.node_name,
        "cpu": cpu("node".into(), node.cpu_nanoseconds),
        "memory": {"time": at, "availableBytes": node.memory_available, "usageBytes": node.memory_used,
            "workingSetBytes": node.memory_used},
    });
    if let Some(started) = node.started {
        whole["startTime"] = json!(api::seconds(started));
    }
    if !cpu_and_memory_only {
        let mut disk = disk;
        disk["time"] = json!(at);
        whole["fs"] = disk.clone();
        whole["runtime"] = json!({"imageFs": disk});
        whole["rlimit"] = json!({"time": at, "maxpid": node.processes_max, "curproc": node.processes});
    }
    let pods = sample.pods.iter().filter(|pod| !pod.label(LABEL_POD_UID).is_empty()).map(|pod| {
        let uid = pod.label(LABEL_POD_UID);
        let containers = pod.containers.iter().map(|(container, usage)| {
            let name = &container.spec.name;
            let mut told = json!({
                "name": name,
                "cpu": cpu(format!("{uid}/{name}"), usage.cpu_nanoseconds),
                "memory": {"time": at, "workingSetBytes": usage.memory_working_set, "rssBytes": usage.memory_rss},
            });
            if let Some(started) = started_at(container) {
                told["startTime"] = json!(api::seconds(started));
            }
            if !cpu_and_memory_only {
                told["rootfs"] = json!({"time": at, "usedBytes": usage.writable_layer});
                let log = container.spec.log.as_ref().and_then(|log| std::fs::symlink_metadata(&log.path).ok());
                told["logs"] = json!({"time": at, "usedBytes": log.map_or(0, |log| log.len())});
            }
            told
        });
        let mut told = json!({
            "podRef": {"name": pod.label(LABEL_POD_NAME), "namespace": pod.label(LABEL_POD_NAMESPACE), "uid": uid},
            "startTime": api::seconds(time(pod.sandbox.created_at)),
            "containers": containers.collect::<Vec<_>>(),
            "cpu": cpu(uid.to_owned(), pod.cpu()),
            "memory": {"time": at, "workingSetBytes": pod.memory()},
        });
        if !cpu_and_memory_only {
            let layers: u64 = pod.containers.iter().map(|(_, usage)| usage.writable_layer).sum();
            told["ephemeral-storage"] = json!({"time": at, "usedBytes": layers});
            let processes: u64 = pod.containers.iter().map(|(_, usage)| usage.pids).sum();
            told["process_stats"] = json!({"process_count": processes});
        }
        told
    });
    let pods: Vec<Value> = pods.collect();
    api.before.forget(sample.at);
    Ok(json!({"node": whole, "pods": pods}))
}

impl Before {
    /// Nanoseconds of processor per second since the look before.
    fn rate(&self, name: String, at: Timestamp, nanoseconds: u64) -> Option<u64> {
        let mut before = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (then, used) = before.insert(name, (at, nanoseconds))?;
        let elapsed = at.as_nanosecond() - then.as_nanosecond();
        let rate = i128::from(nanoseconds.checked_sub(used)?) * 1_000_000_000 / Some(elapsed).filter(|e| *e > 0)?;
        u64::try_from(rate).ok()
    }

    /// Whatever was not seen at this look.
    fn forget(&self, at: Timestamp) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, (seen, _)| *seen == at);
    }
}

fn node() -> NodeUsage {
    let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let (stat, memory) = (text("/proc/stat"), text("/proc/meminfo"));
    let kib = |key: &str| {
        let line = memory.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) << 10
    };
    let first = stat.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = first.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal: all but idle, iowait and what other machines took.
    let busy: u64 = [0, 1, 2, 5, 6].iter().filter_map(|at| ticks.get(*at)).sum();
    let boot = stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok());
    let available = kib("MemAvailable");
    let load = text("/proc/loadavg");
    let processes = load.split_whitespace().nth(3).and_then(|word| word.split_once('/')?.1.parse().ok());
    NodeUsage {
        cpu_nanoseconds: busy * JIFFY,
        memory_used: kib("MemTotal").saturating_sub(available),
        memory_available: available,
        started: boot.and_then(|second| Timestamp::from_second(second).ok()),
        processes: processes.unwrap_or(0),
        processes_max: text("/proc/sys/kernel/pid_max").trim().parse().unwrap_or(0),
    }
}

/// The file system that holds the data.
fn disk(folder: &std::path::Path) -> Value {
    let Ok(stat) = nix::sys::statvfs::statvfs(folder) else { return json!({}) };
    let block = stat.fragment_size();
    json!({
        "availableBytes": stat.blocks_available() * block,
        "capacityBytes": stat.blocks() * block,
        "usedBytes": (stat.blocks() - stat.blocks_free()) * block,
        "inodesFree": stat.files_free(),
        "inodes": stat.files(),
        "inodesUsed": stat.files() - stat.files_free(),
    })
}
