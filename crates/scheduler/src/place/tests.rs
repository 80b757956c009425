use serde_json::{Value, json};

use super::*;

/// A node with 4 cpus, 8 GiB and room for 10 pods, changed by `change`.
pub fn node(name: &str, change: Value) -> Node {
    let mut node = json!({"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "zone": "a"}},
        "spec": {}, "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "10"}}});
    merge(&mut node, change);
    Node::of_tree(&node)
}

pub fn pod(name: &str, change: Value) -> Pod {
    let mut pod = json!({"metadata": {"name": name, "namespace": "default", "uid": name}, "spec": {}});
    merge(&mut pod, change);
    Pod::of_tree(&pod)
}

pub fn asks(cpu: &str, memory: &str) -> Value {
    json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu, "memory": memory}}}]}})
}

pub fn merge(into: &mut Value, change: Value) {
    match (into, change) {
        (Value::Object(map), Value::Object(change)) => {
            for (key, value) in change {
                merge(map.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, change) => *into = change,
    }
}

/// A cluster of nodes and the pods placed there.
pub fn cluster(nodes: Vec<Node>, pods: Vec<(&str, Pod)>) -> Cluster {
    let mut cluster = Cluster::default();
    for node in nodes {
        cluster.set_node(node);
    }
    for (node, pod) in pods {
        cluster.add_pod(Arc::new(Pod { node: node.into(), ..pod }));
    }
    cluster
}

fn answer(pod: &Pod, cluster: &Cluster) -> String {
    match place(pod, cluster) {
        Ok(node) => node.to_string(),
        Err(reasons) => reasons.to_string(),
    }
}

#[test]
fn reasons_are_counted_and_sorted_as_upstreams_are() {
    let small = |name| node(name, json!({"status": {"allocatable": {"cpu": "1", "pods": "0"}}}));
    let nodes = vec![small("a"), small("b"), node("c", json!({"spec": {"unschedulable": true}}))];
    assert_eq!(
        answer(&pod("p", asks("2", "1Gi")), &cluster(nodes, vec![])),
        "0/3 nodes are available: 1 node(s) were unschedulable, 2 Insufficient cpu, 2 Too many pods."
    );
    assert_eq!(answer(&pod("p", json!({})), &Cluster::default()), "no nodes available to schedule pods");
}

#[test]
fn resources_are_counted_with_what_is_placed_and_promised() {
    let mut c = cluster(vec![node("a", json!({}))], vec![("a", pod("x", asks("3", "1Gi")))]);
    assert_eq!(answer(&pod("p", asks("1", "1Gi")), &c), "a");
    assert_eq!(
        answer(&pod("p", asks("1100m", "8Gi")), &c),
        "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory."
    );
    let promised = Pod { nominated: "a".into(), priority: 10, ..pod("n", asks("1", "0")) };
    c.nominate(&Arc::new(promised));
    assert_eq!(answer(&pod("p", asks("1", "0")), &c), "0/1 nodes are available: 1 Insufficient cpu.");
    // A more important pod need not keep the promise.
    assert_eq!(answer(&Pod { priority: 11, ..pod("p", asks("1", "0")) }, &c), "a");
    c.forget_nomination("n");
    c.remove_pod("x");
    assert_eq!(answer(&pod("p", asks("4", "8Gi")), &c), "a");
    assert_eq!(c.nodes[0].used, Default::default());
}

#[test]
fn names_labels_and_taints_bar_nodes() {
    let nodes = || {
        vec![
            node("a", json!({"metadata": {"labels": {"disk": "ssd"}}})),
            node("b", json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}})),
        ]
    };
    let c = cluster(nodes(), vec![]);
    let select = |labels: Value| pod("p", json!({"spec": {"nodeSelector": labels}}));
    assert_eq!(answer(&select(json!({"disk": "ssd"})), &c), "a");
    assert_eq!(
        answer(&select(json!({"disk": "hdd"})), &c),
        "0/2 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 1 node(s) had untolerated taint(s)."
    );
    let tolerant = json!({"spec": {"tolerations": [{"key": "k", "operator": "Exists"}], "affinity": {"nodeAffinity":
        {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions":
            [{"key": "disk", "operator": "DoesNotExist"}]}]}}}}});
    assert_eq!(answer(&pod("p", tolerant), &c), "b");
    let by_name = json!({"spec": {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
        {"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["c"]}]}]}}}}});
    assert_eq!(
        answer(&pod("p", by_name), &c),
        "0/2 nodes are available: 2 node(s) didn't satisfy plugin(s) [NodeAffinity]."
    );
}

#[test]
fn host_ports_collide_by_address_and_protocol() {
    let with_port = |name: &str, ip: &str| {
        pod(name, json!({"spec": {"containers": [{"ports": [{"hostPort": 80, "hostIP": ip}]}]}}))
    };
    let c = cluster(vec![node("a", json!({}))], vec![("a", with_port("x", "10.0.0.1"))]);
    assert_eq!(answer(&with_port("p", "10.0.0.2"), &c), "a");
    assert_eq!(
        answer(&with_port("p", ""), &c),
        "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports."
    );
}

fn term(app: &str, topology: &str) -> Value {
    json!({"requiredDuringSchedulingIgnoredDuringExecution": [{"labelSelector": {"matchLabels": {"app": app}},
        "topologyKey": topology}]})
}

fn app(name: &str, change: Value) -> Pod {
    let mut pod_change = json!({"metadata": {"labels": {"app": name}}});
    merge(&mut pod_change, change);
    pod(name, pod_change)
}

#[test]
fn pods_attract_and_repel_each_other_by_topology() {
    let zone = |name: &str, zone: &str| node(name, json!({"metadata": {"labels": {"zone": zone}}}));
    let c = cluster(vec![zone("a", "1"), zone("b", "1"), zone("c", "2")], vec![("a", app("web", json!({})))]);
    let near = |app: &str| pod("p", json!({"spec": {"affinity": {"podAffinity": term(app, "zone")}}}));
    let away = |app: &str| pod("p", json!({"spec": {"affinity": {"podAntiAffinity": term(app, "zone")}}}));
    assert!(["a", "b"].contains(&answer(&near("web"), &c).as_str()));
    assert_eq!(answer(&away("web"), &c), "c");
    assert_eq!(answer(&near("db"), &c), "0/3 nodes are available: 3 node(s) didn't match pod affinity rules.");
    // The first of its kind may come although nobody is there yet.
    let first = app("db", json!({"spec": {"affinity": {"podAffinity": term("db", "zone")}}}));
    assert!(place(&first, &c).is_ok());
    // Pods that are there repel newcomers.
    let hermit = app("hermit", json!({"spec": {"affinity": {"podAntiAffinity": term("web", "zone")}}}));
    let c = cluster(vec![zone("a", "1"), zone("b", "2")], vec![("a", hermit)]);
    assert_eq!(answer(&app("web", json!({})), &c), "b");
}

#[test]
fn hard_spread_keeps_the_skew() {
    let zone = |name: &str, zone: &str| node(name, json!({"metadata": {"labels": {"zone": zone}}}));
    let spread = json!({"spec": {"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone",
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "web"}}}]}});
    let web = |uid: &str| Pod { uid: uid.into(), ..app("web", json!({})) };
    let c = cluster(vec![zone("a", "1"), zone("b", "2")], vec![("a", web("1"))]);
    assert_eq!(answer(&app("web", spread.clone()), &c), "b");
    let bare = node("x", json!({"metadata": {"labels": {"zone": null}}}));
    let c = cluster(vec![Node { labels: Default::default(), ..bare }], vec![]);
    assert_eq!(
        answer(&app("web", spread), &c),
        "0/1 nodes are available: 1 node(s) didn't match pod topology spread constraints (missing required label)."
    );
}

#[test]
fn best_node_is_the_emptier_the_preferred_and_the_one_with_the_image() {
    let c = cluster(vec![node("a", json!({})), node("b", json!({}))], vec![("a", pod("x", asks("2", "4Gi")))]);
    assert_eq!(answer(&pod("p", asks("1", "1Gi")), &c), "b");
    let wish = json!({"spec": {"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution":
        [{"weight": 100, "preference": {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In",
            "values": ["a"]}]}}]}}}});
    assert_eq!(answer(&pod("p", wish), &c), "a");
    let image = json!({"status": {"images": [{"names": ["big:1"], "sizeBytes": 900_000_000}]}});
    let c = cluster(vec![node("a", json!({})), node("b", image)], vec![]);
    assert_eq!(answer(&pod("p", json!({"spec": {"containers": [{"image": "big:1"}]}})), &c), "b");
    let soft = json!({"spec": {"taints": [{"key": "k", "effect": "PreferNoSchedule"}]}});
    let c = cluster(vec![node("a", soft), node("b", json!({}))], vec![]);
    assert_eq!(answer(&pod("p", json!({})), &c), "b");
}

#[test]
fn equals_are_taken_in_turn() {
    let mut c = cluster(vec![node("a", json!({})), node("b", json!({}))], vec![]);
    assert_eq!(answer(&pod("p", json!({})), &c), "a");
    c.cursor = 1;
    assert_eq!(answer(&pod("p", json!({})), &c), "b");
}

#[test]
fn enough_nodes_are_looked_at() {
    assert_eq!([1, 99, 100, 1000, 5000, 10000].map(enough), [1, 99, 100, 420, 500, 500]);
}

#[test]
fn names_that_cannot_be_met_are_the_pods_own_fault() {
    let name = |value: &str| json!({"key": "metadata.name", "operator": "In", "values": [value]});
    let both = json!({"spec": {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
        {"nodeSelectorTerms": [{"matchFields": [name("a"), name("b")]}]}}}}});
    let c = cluster(vec![node("a", json!({})), node("b", json!({}))], vec![]);
    assert_eq!(answer(&pod("p", both), &c), "0/2 nodes are available: pod affinity terms conflict.");
}

#[test]
fn empty_selector_of_a_spread_counts_no_pod() {
    let spread = json!({"spec": {"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone",
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}]}});
    let zone = |name: &str, zone: &str| node(name, json!({"metadata": {"labels": {"zone": zone}}}));
    let full = node("b", json!({"metadata": {"labels": {"zone": "2"}}, "spec": {"unschedulable": true}}));
    let c = cluster(vec![zone("a", "1"), full], vec![("a", app("web", json!({}))), ("a", app("db", json!({})))]);
    assert_eq!(answer(&app("web", spread), &c), "a");
}
