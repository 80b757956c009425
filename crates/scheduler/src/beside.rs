//! What else the cluster is made of: kinds that are followed beside pods, nodes and namespaces.
//!
//! Services and controllers for default spreading, disruption budgets for preemption. Nobody waits for
//! any of them.

use api::Object;
use api::resource::{Named, POD_DISRUPTION_BUDGETS, REPLICA_SETS, REPLICATION_CONTROLLERS, SERVICES, STATEFUL_SETS};
use client::Change;

use crate::cluster::Cluster;
use crate::preempt::Budget;

/// What a change of an object makes of the cluster.
pub type Take = fn(&mut Cluster, Change);

pub static BESIDE: &[(&Named, Take)] = &[
    (&SERVICES, service),
    (&REPLICATION_CONTROLLERS, |cluster, change| owner(cluster, "v1/ReplicationController", change)),
    (&REPLICA_SETS, |cluster, change| owner(cluster, "apps/v1/ReplicaSet", change)),
    (&STATEFUL_SETS, |cluster, change| owner(cluster, "apps/v1/StatefulSet", change)),
    (&POD_DISRUPTION_BUDGETS, budget),
];

fn service(cluster: &mut Cluster, change: Change) {
    match change.new {
        Some(object) => cluster.workloads.set_service(&object),
        None => cluster.workloads.remove_service(&change.key.namespace, &change.key.name),
    }
}

fn owner(cluster: &mut Cluster, kind: &str, change: Change) {
    let (namespace, name) = (&change.key.namespace, &change.key.name);
    match change.new {
        // Its status alone changes far more often than its selector, which never does for most kinds.
        Some(object) if change.old.as_ref().is_some_and(|old| is_same(old, &object)) => {}
        Some(object) => cluster.workloads.set_owner(kind, namespace, name, &object.value()),
        None => cluster.workloads.remove_owner(kind, namespace, name),
    }
}

/// The same object with the same spec.
fn is_same(old: &Object, new: &Object) -> bool {
    (&old.meta().uid, old.meta().generation) == (&new.meta().uid, new.meta().generation)
}

fn budget(cluster: &mut Cluster, change: Change) {
    let key = (change.key.namespace.to_string(), change.key.name.to_string());
    match change.new {
        Some(object) => cluster.budgets.insert(key, Budget::of_tree(&object.value())),
        None => cluster.budgets.remove(&key),
    };
}
