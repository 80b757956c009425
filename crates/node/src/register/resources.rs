//! What a node has, and what of it pods may have: capacity, less what is reserved and kept free.

use std::collections::BTreeMap;

use crate::admit::Offer;
use crate::config::Config;
use crate::pod::quantity_milli;
use crate::pressure::Signal;

/// Capacity by resource, in thousandths.
pub fn capacity(config: &Config) -> BTreeMap<String, i64> {
    let m = &config.machine;
    let mut all = BTreeMap::from([
        ("cpu".to_owned(), i64::from(m.cpus) * 1000),
        ("memory".to_owned(), m.memory.saturating_mul(1000)),
        ("ephemeral-storage".to_owned(), m.disk.saturating_mul(1000)),
        ("pods".to_owned(), i64::from(config.max_pods) * 1000),
    ]);
    for (size, bytes) in &m.hugepages {
        all.insert(format!("hugepages-{size}"), bytes.saturating_mul(1000));
    }
    all
}

/// What pods may have, in thousandths.
pub fn allocatable(config: &Config) -> BTreeMap<String, i64> {
    let mut all = capacity(config);
    let hugepages: i64 = config.machine.hugepages.values().sum();
    let kept = |signal: Signal, milli: i64| {
        let free = config.thresholds.kept_free(signal, (milli / 1000).unsigned_abs());
        i64::try_from(free).unwrap_or(i64::MAX).saturating_mul(1000)
    };
    for (resource, amount) in &mut all {
        let reserved = config.reserved.get(resource).map_or(0, |q| quantity_milli(q));
        let free = match resource.as_str() {
            "memory" => kept(Signal::MemoryAvailable, *amount).saturating_add(hugepages.saturating_mul(1000)),
            "ephemeral-storage" => kept(Signal::NodefsAvailable, *amount),
            _ => 0,
        };
        *amount = (*amount - reserved - free).max(0);
    }
    all
}

/// As the API writes it: CPU in cores or thousandths, memory in Ki, the rest in units.
pub fn printed(resource: &str, milli: i64) -> String {
    let text = match resource {
        "cpu" if milli % 1000 != 0 => format!("{milli}m"),
        "memory" => format!("{}Ki", milli / 1000 / 1024),
        _ => (milli / 1000).to_string(),
    };
    // Canonical, as the server keeps it (8388608Ki is 8Gi): else every look would find a difference.
    api::quantity::Quantity::parse(&text).map_or(text, |quantity| quantity.to_string())
}

/// What admission knows before the server has said anything.
pub fn first_offer(config: &Config) -> Offer {
    let mut labels = config.labels.clone();
    labels.insert("kubernetes.io/hostname".into(), config.node_name.clone());
    labels.insert("kubernetes.io/os".into(), "linux".into());
    labels.insert("kubernetes.io/arch".into(), config.machine.architecture.clone());
    let taints = config.taints.iter().filter_map(|t| serde_json::from_value(t.clone()).ok()).collect();
    let mut allocatable = allocatable(config);
    allocatable.remove("pods");
    let (node_name, own_ports) = (config.node_name.clone(), config.own_ports.clone());
    Offer { node_name, labels, taints, allocatable, max_pods: config.max_pods, own_ports }
}
