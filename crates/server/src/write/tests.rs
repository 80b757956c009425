//! Which writes may wait for the next sync.

use serde_json::{Value, json};
use store::{Expect, Key, Step, Sync};

use super::replace;

fn lease() -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "n1", "namespace": "kube-node-lease", "resourceVersion": "7", "managedFields": []},
        "spec": {"holderIdentity": "n1", "leaseDurationSeconds": 40, "renewTime": "2026-11-24T09:00:00.000000Z"},
    })
}

fn sync(plural: &str, change: impl FnOnce(&mut Value)) -> Sync {
    let kind = api::kind::KINDS.iter().find(|kind| kind.plural == plural).unwrap();
    let mut new = lease();
    change(&mut new);
    match replace(kind, Key::from("k"), Expect::Any, &lease(), &new).unwrap() {
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
