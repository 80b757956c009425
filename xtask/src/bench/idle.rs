//! What the processes cost while nothing happens: memory (PSS), processor, bytes written.

use std::time::Duration;

use anyhow::{Context, Result};
use api::resource::PODS;

use super::cluster::{Cluster, graceless, is_gone, is_running, pod, until, watch};
use super::{Figure, Plan};

pub async fn measure(plan: &Plan, cluster: &Cluster) -> Result<Vec<Figure>> {
    let names = ["idle_pss_mb", "idle_cpu_pct", "idle_written_kb_per_h", "pod_pss_mb"];
    if !names.iter().any(|name| plan.wants(name)) {
        return Ok(Vec::new());
    }
    let client = &cluster.client;
    let mut events = watch(client).await?;
    client.create(&PODS, "default", &pod("idle", &["sleep", "1h"], |_| {})).await?;
    until(&mut events, is_running("idle")).await?;
    // What the start left to do is done before idling is measured.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let span = Duration::from_secs(if plan.quick { 15 } else { 180 });
    let before = Cost::of(cluster)?;
    tokio::time::sleep(span).await;
    let after = Cost::of(cluster)?;
    let seconds = span.as_secs_f64();
    let cpu = (after.ticks - before.ticks) as f64 / seconds;
    let written = (after.written - before.written) as f64 / 1e3 * 3600.0 / seconds;
    let more = if plan.quick { 20 } else { 50 };
    for number in 0..more {
        let name = format!("idle-{number}");
        client.create(&PODS, "default", &pod(&name, &["sleep", "1h"], |_| {})).await?;
        until(&mut events, is_running(&name)).await?;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let many = Cost::of(cluster)?;
    for number in 0..more {
        let name = format!("idle-{number}");
        client.delete(&PODS, "default", &name, &graceless()).await?;
        until(&mut events, is_gone(&name)).await?;
    }
    client.delete(&PODS, "default", "idle", &graceless()).await?;
    until(&mut events, is_gone("idle")).await?;
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    Ok(vec![
        Figure::below("idle_pss_mb", "MB", 50.0, vec![megabytes(after.pss)]),
        // A tick is a hundredth of a second.
        Figure::below("idle_cpu_pct", "%", 0.3, vec![cpu]),
        Figure::below("idle_written_kb_per_h", "KB/h", 500.0, vec![written]),
        Figure::below("pod_pss_mb", "MB", 0.2, vec![megabytes(many.pss.saturating_sub(after.pss)) / more as f64]),
    ])
}

/// Sums over our processes; containers are not among them.
pub struct Cost {
    pub pss: u64,
    /// Hundredths of a second.
    pub ticks: u64,
    written: u64,
}

impl Cost {
    pub fn of(cluster: &Cluster) -> Result<Cost> {
        Cost::of_processes(&cluster.processes()?)
    }

    pub fn of_processes(processes: &[i32]) -> Result<Cost> {
        let mut cost = Cost { pss: 0, ticks: 0, written: 0 };
        for pid in processes {
            let read = |name: &str| {
                std::fs::read_to_string(format!("/proc/{pid}/{name}")).with_context(|| format!("/proc/{pid}/{name}"))
            };
            let number = |text: &str, key: &str| -> u64 {
                let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
                line.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0)
            };
            cost.pss += number(&read("smaps_rollup")?, "Pss:") * 1024;
            cost.written += number(&read("io")?, "write_bytes:");
            let stat = read("stat")?;
            let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
            cost.ticks += [11, 12].iter().filter_map(|f| fields.get(*f)?.parse::<u64>().ok()).sum::<u64>();
        }
        Ok(cost)
    }
}
