//! Which writes may wait for the next sync, and which may use what is kept on a full disk.

use serde_json::{Value, json};
use store::{Entry, Key, Revision, Room, Step, Sync};

use super::replace;

fn lease() -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "n1", "namespace": "kube-node-lease", "resourceVersion": "7", "managedFields": []},
        "spec": {"holderIdentity": "n1", "leaseDurationSeconds": 40, "renewTime": "2026-11-24T09:00:00.000000Z"},
    })
}

fn entry(size: usize) -> Entry {
    Entry { key: Key::from("k"), revision: Revision(7), created: Revision(1), bytes: vec![b'x'; size].into() }
}

fn sync(plural: &str, change: impl FnOnce(&mut Value)) -> Sync {
    let kind = kinds::built_in().iter().find(|kind| kind.plural == plural).unwrap();
    let mut new = lease();
    change(&mut new);
    match replace(kind, &entry(1000), &lease(), &new).unwrap() {
        Step::Put { sync, .. } => sync,
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_a_renewal_by_the_holder_may_wait() {
    let renewed = |lease: &mut Value| {
        lease["spec"]["renewTime"] = json!("2026-11-24T09:00:10.000000Z");
        lease["metadata"]["managedFields"] = json!([{"manager": "kubelet"}]);
        lease["metadata"]["resourceVersion"] = json!("8");
    };
    assert_eq!(sync("leases", renewed), Sync::Later);
    assert_eq!(sync("pods", renewed), Sync::First);
    for (path, value) in [
        ("/spec/holderIdentity", json!("n2")),
        ("/spec/holderIdentity", Value::Null),
        ("/spec/leaseDurationSeconds", json!(15)),
        ("/metadata/name", json!("other")),
    ] {
        let taken = |lease: &mut Value| {
            renewed(lease);
            *lease.pointer_mut(path).unwrap() = value.clone();
        };
        assert_eq!(sync("leases", taken), Sync::First, "{path} {value}");
    }
}

#[test]
fn what_leads_to_less_may_use_what_is_kept() {
    let room = |plural: &str, size: usize, mut new: Value| {
        let kind = kinds::built_in().iter().find(|kind| kind.plural == plural).unwrap();
        new["metadata"] = match new["metadata"].take() {
            Value::Null => json!({"name": "n", "resourceVersion": "7"}),
            metadata => metadata,
        };
        match replace(kind, &entry(size), &new.clone(), &new).unwrap() {
            Step::Put { room, .. } => room,
            other => panic!("{other:?}"),
        }
    };
    let going = json!({"metadata": {"name": "n", "resourceVersion": "7", "deletionTimestamp": "2026-11-24T09:00:00Z"}});
    let target = json!({"status": {"conditions": [{"type": "DisruptionTarget", "status": "True"}]}});
    for (plural, object, expected) in [
        ("pods", json!({"status": {"phase": "Running"}}), Room::Free),
        ("pods", json!({"status": {"phase": "Failed"}}), Room::Kept),
        ("pods", json!({"status": {"phase": "Succeeded"}}), Room::Kept),
        ("pods", target.clone(), Room::Kept),
        ("configmaps", target, Room::Free),
        ("configmaps", json!({"status": {"phase": "Failed"}}), Room::Free),
        ("configmaps", going.clone(), Room::Kept),
        ("namespaces", going.clone(), Room::Kept),
        ("nodes", json!({"status": {}}), Room::Kept),
        ("leases", json!({"spec": {}}), Room::Kept),
    ] {
        assert_eq!(room(plural, 1000, object.clone()), expected, "{plural} {object}");
    }
    // Who may write an object that goes could fill the disk with it.
    let mut large = going;
    large["data"] = json!({"k": "v".repeat(6000)});
    assert_eq!(room("configmaps", 1000, large.clone()), Room::Free);
    assert_eq!(room("configmaps", 5000, large), Room::Kept);
}
