use std::sync::Arc;

use expect_test::{Expect, expect};
use serde_json::json;

use super::*;
use crate::place::tests::{asks, cluster, merge, node, pod};

fn check(pod: &Pod, cluster: &Cluster, expected: Expect) {
    expected.assert_eq(&why(pod, cluster, &Configuration::default()).to_string());
}

fn ours(name: &str, change: serde_json::Value) -> Pod {
    let mut all = json!({"spec": {"schedulerName": "default-scheduler"}});
    merge(&mut all, change);
    pod(name, all)
}

#[test]
fn everything_that_is_missing_is_told_of_each_node() {
    let tainted =
        json!({"spec": {"unschedulable": true, "taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}});
    let small = json!({"status": {"allocatable": {"cpu": "1", "pods": "0"}}});
    let nodes = vec![node("a", json!({})), node("b", tainted), node("c", small.clone()), node("d", small)];
    let c = cluster(nodes, vec![("a", pod("x", asks("3", "1Gi")))]);
    let mut wants = asks("1500m", "1Gi");
    merge(&mut wants, json!({"spec": {"nodeSelector": {"disk": "ssd"}}}));
    check(
        &ours("p", wants),
        &c,
        expect![[r#"
            no node takes it
            a:
              nodeSelector disk=ssd: it has no such label [NodeAffinity]: would help: such a label, or another demand
              cpu: asks for 1500m, 1 of 4 is free [NodeResourcesFit]: would help: the end of pods that ask for 500m together
            c, d:
              nodeSelector disk=ssd: it has no such label [NodeAffinity]: would help: such a label, or another demand
              it has 0 pods of at most 0 [NodeResourcesFit]: would help: the end of one
              cpu: asks for 1500m, all of it is 1 [NodeResourcesFit]: would help: a smaller request, or a larger node
            b:
              it is cordoned [NodeUnschedulable]: would help: kubectl uncordon
              taint k=v:NoSchedule [TaintToleration]: would help: a toleration of it, or kubectl taint … -
              nodeSelector disk=ssd: it has no such label [NodeAffinity]: would help: such a label, or another demand
            preemption: 0/4 nodes are available: 4 Preemption is not helpful for scheduling.
        "#]],
    );
}

#[test]
fn pods_that_no_node_is_looked_for_are_told_so() {
    let c = cluster(vec![node("a", json!({}))], vec![]);
    let gated = json!({"spec": {"schedulerName": "mine", "schedulingGates": [{"name": "a.b/wait"}, {"name": "quota"}],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]}});
    check(
        &ours("p", gated),
        &c,
        expect![[r#"
        scheduling gates: a.b/wait, quota: it waits until whoever set them removes them
        schedulerName "mine" is none of this scheduler's (default-scheduler): another one has to place it
        spec.volumes[0].persistentVolumeClaim: not built yet: no node can take it (docs/compatibility.md)
    "#]],
    );
    check(
        &Pod { node: "a".into(), ..ours("p", json!({})) },
        &c,
        expect![[r#"
        it has a node: a
    "#]],
    );
    check(
        &ours("p", json!({})),
        &Cluster::default(),
        expect![[r#"
        there are no nodes
    "#]],
    );
    check(
        &ours("p", json!({})),
        &c,
        expect![[r#"
        it fits: the next try would place it on a
        a:
          nothing is missing
    "#]],
    );
}

#[test]
fn neighbours_and_skew_are_named() {
    let app = |name: &str, change: serde_json::Value| {
        let mut all = json!({"metadata": {"labels": {"app": name}}});
        merge(&mut all, change);
        ours(name, all)
    };
    let term = json!([{"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "zone"}]);
    let hermit =
        json!({"spec": {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": term}}}});
    let zone = |name: &str, zone: &str| node(name, json!({"metadata": {"labels": {"zone": zone}}}));
    let mut c = cluster(vec![zone("a", "1"), zone("b", "2")], vec![("a", app("hermit", hermit))]);
    let web = |uid: &str| Pod { uid: uid.into(), node: "b".into(), ..app("web", json!({})) };
    for uid in ["1", "2"] {
        c.add_pod(Arc::new(web(uid)));
    }
    let spread = json!({"spec": {"priority": 5, "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone",
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "web"}}}]}});
    check(
        &app("web", spread),
        &c,
        expect![[r#"
            no node takes it
            a:
              node(s) didn't satisfy existing pods anti-affinity rules (default/hermit) [InterPodAffinity]: would help: the end of the pods in the node's domain that are not to be beside it
            b:
              spread by zone: 2 has 2, the emptiest has 0, maxSkew is 1 [PodTopologySpread]: would help: fewer of them there, or more elsewhere
            preemption: on a it would push out default/hermit
        "#]],
    );
}
