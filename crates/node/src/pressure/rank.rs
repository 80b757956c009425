//! Which pod gives way to a shortage, and in what words.
//!
//! First who uses more than it asked for, then the least important, then who uses most beyond its request
//! (pkg/kubelet/eviction/helpers.go: rankMemoryPressure, rankDiskPressureFunc, evictionMessage).

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::view as core;
use api::quantity::Quantity;

use super::{Eviction, Scarce, Shortage, Signal};
use crate::limits::{ContainerUsed, Used};
use crate::pod::{self, Role};
use crate::spec::cgroup::pod_sum;

/// The smallest gives way first.
pub fn order(scarce: Scarce, pod: &core::Pod, used: &Used) -> impl Ord + use<> {
    let amount = i128::from(match scarce {
        Scarce::Memory => used.memory(),
        Scarce::Storage => used.storage().bytes,
        Scarce::Inodes => used.storage().inodes,
        Scarce::Pids => used.pids(),
    });
    let priority = pod.spec.as_ref().and_then(|s| s.priority).unwrap_or(0);
    // Nobody asks for process numbers, so nobody has more than that (rankPIDPressure).
    if scarce == Scarce::Pids {
        return (Reverse(false), priority, Reverse(amount));
    }
    // Nor for inodes.
    let asked = i128::from(pod_sum(pod, scarce.name(), false).unwrap_or(0) / 1000);
    (Reverse(amount > asked), priority, Reverse(amount - asked))
}

/// What is said of a pod that gives way.
pub fn eviction(shortage: &Shortage, pod: &core::Pod, used: &Used) -> Eviction {
    let scarce = shortage.signal.scarce();
    let resource = scarce.name();
    let (floor, available) = (told(shortage.signal, shortage.floor), told(shortage.signal, shortage.available));
    let mut message =
        format!("The node was low on resource: {resource}. Threshold quantity: {floor}, available: {available}. ");
    let mut blamed = BTreeMap::new();
    let whole = pod.spec.as_ref().and_then(|s| s.resources.as_ref()?.requests.as_ref()?.get(resource));
    if let Some(request) = whole.filter(|_| scarce == Scarce::Memory).and_then(|q| Quantity::parse(&q.0).ok()) {
        let (name, amount) = (pod::name(pod), binary(used.memory()));
        message.push_str(&format!(
            "Pod {name} was using {amount}, request is {request}, has larger consumption of {resource}. "
        ));
        blamed.insert("offending_pod".to_owned(), name.to_owned());
        blamed.insert("offending_pod_usage".to_owned(), amount);
    }
    let parts = pod::parts(pod);
    let (mut offenders, mut amounts) = (Vec::new(), Vec::new());
    for container in &used.containers {
        // An ephemeral container cannot ask for anything, so it is not blamed.
        let counted = |p: &&pod::Part<'_>| p.role != Role::Ephemeral;
        let Some(part) = parts.iter().filter(counted).find(|p| p.name() == container.name) else { continue };
        let Some(amount) = amount_of(scarce, container) else { continue };
        let requests = part.spec.resources.as_ref().and_then(|r| r.requests.as_ref());
        let request = requests.and_then(|r| Quantity::parse(&r.get(resource)?.0).ok()).unwrap_or(Quantity::ZERO);
        if i128::from(amount) * 1_000_000_000 <= request.nanos() {
            continue;
        }
        let (name, amount) = (&container.name, binary(amount));
        message.push_str(&format!(
            "Container {name} was using {amount}, request is {request}, has larger consumption of {resource}. "
        ));
        offenders.push(name.clone());
        amounts.push(amount);
    }
    let mut annotations = BTreeMap::from([
        ("offending_containers".to_owned(), offenders.join(",")),
        ("offending_containers_usage".to_owned(), amounts.join(",")),
        ("starved_resource".to_owned(), resource.to_owned()),
    ]);
    annotations.extend(blamed);
    Eviction { message, disruption: true, annotations }
}

/// Bytes of what a container can ask for.
fn amount_of(scarce: Scarce, container: &ContainerUsed) -> Option<u64> {
    match scarce {
        Scarce::Memory => Some(container.memory),
        Scarce::Storage => Some(container.storage().bytes),
        Scarce::Inodes | Scarce::Pids => None,
    }
}

fn told(signal: Signal, amount: u64) -> String {
    match signal {
        Signal::ImagefsInodes | Signal::NodefsInodes | Signal::PidsAvailable => {
            Quantity::parse(&amount.to_string()).map_or_else(|_| amount.to_string(), |q| q.to_string())
        }
        _ => binary(amount),
    }
}

/// Bytes as Go prints a quantity of the binary format.
fn binary(bytes: u64) -> String {
    let whole = Some(bytes).filter(|b| *b > 0 && b % 1024 == 0);
    let kibibytes = whole.and_then(|b| Quantity::parse(&format!("{}Ki", b / 1024)).ok());
    kibibytes.map_or_else(|| bytes.to_string(), |q| q.to_string())
}
