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
    answer_of(&Profile::default(), pod, cluster)
}

fn answer_of(profile: &Profile, pod: &Pod, cluster: &Cluster) -> String {
    match place(pod, cluster, profile) {
        Ok(choice) => choice.node.to_string(),
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
    assert!(place(&first, &c, &Profile::default()).is_ok());
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
    assert_eq!([50, 1000, 5000].map(|n| enough(n, Some(30))), [50, 300, 1500]);
    assert_eq!([1, 99, 100, 1000, 5000, 10000].map(|n| enough(n, None)), [1, 99, 100, 420, 500, 500]);
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

/// What the counts say is what a look at every pod says, after any changes.
#[test]
fn counts_that_are_kept_are_those_that_are_made_anew() {
    let spread = json!({"spec": {"topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "web"}}},
        {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {"matchLabels": {"app": "web"}}}]}});
    let wishes = json!({"spec": {"affinity": {"podAffinity": term("web", "zone"), "podAntiAffinity":
        {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 7, "podAffinityTerm": {"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": "zone"}}]}}}});
    let hermit = json!({"spec": {"affinity": {"podAntiAffinity": term("web", "kubernetes.io/hostname")}}});
    let zone = |name: &str, zone: &str| node(name, json!({"metadata": {"labels": {"zone": zone}}}));
    let mut c = cluster((0..6).map(|n| zone(&n.to_string(), &(n % 3).to_string())).collect(), vec![]);
    let asked = [app("web", spread), app("web", wishes), app("web", json!({})), app("db", hermit)];
    let mut state = 7u64;
    for step in 0..300 {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let roll = (state >> 33) as usize;
        match roll % 8 {
            0..=3 => {
                let placed = &asked[roll / 8 % 4];
                let pod =
                    Pod { uid: step.to_string().into(), node: (roll / 32 % 6).to_string().into(), ..placed.clone() };
                c.add_pod(Arc::new(pod));
            }
            4..=5 => drop(c.remove_pod(&(roll / 8 % (step + 1)).to_string())),
            6 => c.set_node(zone(&(roll / 8 % 6).to_string(), &(roll / 64 % 4).to_string())),
            _ => c.remove_node(&(roll / 8 % 6).to_string()),
        }
        let fresh = c.clone();
        fresh.counters.borrow_mut().clear();
        for pod in &asked {
            assert_eq!(place(pod, &c, &Profile::default()), place(pod, &fresh, &Profile::default()), "step {step}");
        }
    }
}

#[test]
fn pods_of_a_service_and_of_a_controller_are_spread_by_default() {
    let zone =
        |name: &str, zone: &str| node(name, json!({"metadata": {"labels": {"topology.kubernetes.io/zone": zone}}}));
    let mut c = cluster(vec![zone("a", "1"), zone("b", "2")], vec![]);
    let of = |uid: &str| Pod {
        uid: uid.into(),
        ..pod(
            "web",
            json!({"metadata": {"labels": {"app": "web"},
        "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "controller": true}]}}),
        )
    };
    for uid in ["1", "2"] {
        c.add_pod(Arc::new(Pod { node: "a".into(), ..of(uid) }));
    }
    // More is used of b.
    c.add_pod(Arc::new(Pod { node: "b".into(), ..pod("big", asks("2", "4Gi")) }));
    assert_eq!(answer(&of("new"), &c), "a");
    let selector = json!({"spec": {"selector": {"matchLabels": {"app": "web"}}}});
    c.workloads.set_owner("apps/v1/ReplicaSet", "default", "web", &selector);
    assert_eq!(answer(&of("new"), &c), "b");
    let list =
        Profile { spread: crate::profile::Defaults { constraints: vec![], is_system: false }, ..Profile::default() };
    assert_eq!(answer_of(&list, &of("new"), &c), "a");
    c.workloads.remove_owner("apps/v1/ReplicaSet", "default", "web");
    assert_eq!(answer(&of("new"), &c), "a");
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"selector": {"app": "web"}}});
    c.workloads.set_service(&api::Object::from_value(&service).unwrap());
    assert_eq!(answer(&of("new"), &c), "b");
}

#[test]
fn promised_pods_repel_too() {
    let mut c = cluster(vec![node("a", json!({}))], vec![]);
    let hermit = app("hermit", json!({"spec": {"affinity": {"podAntiAffinity": term("web", "zone")}}}));
    c.nominate(&Arc::new(Pod { nominated: "a".into(), priority: 5, ..hermit }));
    let reason = "0/1 nodes are available: 1 node(s) didn't satisfy existing pods anti-affinity rules.";
    assert_eq!(answer(&app("web", json!({})), &c), reason);
    assert_eq!(answer(&Pod { priority: 9, ..app("web", json!({})) }, &c), "a");
}

#[test]
fn number_of_domains_that_there_must_be_counts_as_an_empty_one() {
    let zone = |name: &str, zone: &str| node(name, json!({"metadata": {"labels": {"zone": zone}}}));
    let spread = |domains: i64| {
        app(
            "web",
            json!({"spec": {"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "minDomains": domains,
            "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "web"}}}]}}),
        )
    };
    let c = cluster(vec![zone("a", "1")], vec![("a", app("web", json!({})))]);
    assert_eq!(answer(&spread(1), &c), "a");
    assert_eq!(
        answer(&spread(2), &c),
        "0/1 nodes are available: 1 node(s) didn't match pod topology spread constraints."
    );
}

#[test]
fn nodes_that_the_pod_may_not_use_count_for_a_spread_as_its_policies_say() {
    let zone = |name: &str, zone: &str, change: Value| {
        let mut all = json!({"metadata": {"labels": {"zone": zone}}});
        merge(&mut all, change);
        node(name, all)
    };
    let web = |uid: &str| Pod { uid: uid.into(), ..app("web", json!({})) };
    let tainted = json!({"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}});
    let labelled = json!({"metadata": {"labels": {"disk": "ssd"}}});
    let nodes = vec![zone("a", "1", labelled), zone("b", "2", json!({})), zone("c", "3", tainted)];
    let c = cluster(nodes, vec![("a", web("1")), ("b", web("2"))]);
    let wants = |change: Value| {
        let mut constraint = json!({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app": "web"}}});
        merge(&mut constraint, change["constraint"].clone());
        let mut spec = json!({"topologySpreadConstraints": [constraint]});
        merge(&mut spec, change["spec"].clone());
        app("web", json!({"spec": spec}))
    };
    // Nobody is in zone 3, where it cannot go: the others have one too many.
    let full = "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 node(s) didn't match pod topology spread constraints.";
    assert_eq!(answer(&wants(json!({"constraint": {}, "spec": {}})), &c), full);
    assert_eq!(answer(&wants(json!({"constraint": {"nodeTaintsPolicy": "Honor"}, "spec": {}})), &c), "a");
    let picky = json!({"nodeSelector": {"disk": "ssd"}});
    assert_eq!(answer(&wants(json!({"constraint": {}, "spec": picky})), &c), "a");
    let unaware = wants(json!({"constraint": {"nodeAffinityPolicy": "Ignore"}, "spec": picky}));
    assert!(answer(&unaware, &c).contains("1 node(s) didn't match pod topology spread constraints"));
}

#[test]
fn keys_of_a_spread_are_matched_by_the_pods_own_labels() {
    let zone = |name: &str, zone: &str| node(name, json!({"metadata": {"labels": {"zone": zone}}}));
    let of = |uid: &str, hash: &str| {
        let labels = json!({"metadata": {"labels": {"hash": hash}}, "spec": {"topologySpreadConstraints": [{"maxSkew": 1,
            "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "web"}},
            "matchLabelKeys": ["hash"]}]}});
        Pod { uid: uid.into(), ..app("web", labels) }
    };
    let c = cluster(vec![zone("a", "1"), zone("b", "2")], vec![("a", of("1", "old")), ("b", of("2", "new"))]);
    assert_eq!(answer(&of("3", "old"), &c), "b");
    assert_eq!(answer(&of("3", "new"), &c), "a");
}

#[test]
fn profile_decides_by_what_it_says() {
    use crate::profile::{Fit, Strategy};
    let c = cluster(vec![node("a", json!({})), node("b", json!({}))], vec![("a", pod("x", asks("2", "4Gi")))]);
    let packs = |strategy| {
        let scores = crate::scores::SCORES.iter().filter(|s| s.name == "NodeResourcesFit").map(|s| (s, 1)).collect();
        Profile { fit: Fit { strategy, ..Fit::default() }, scores, ..Profile::default() }
    };
    let p = pod("p", asks("1", "1Gi"));
    assert_eq!(answer_of(&packs(Strategy::Least), &p, &c), "b");
    assert_eq!(answer_of(&packs(Strategy::Most), &p, &c), "a");
    assert_eq!(answer_of(&packs(Strategy::Ratio(vec![(0, 0), (100, 100)])), &p, &c), "a");
    assert_eq!(answer_of(&packs(Strategy::Ratio(vec![(0, 100), (100, 0)])), &p, &c), "b");
    let device = pod("p", json!({"spec": {"containers": [{"resources": {"requests": {"a.b/gpu": "1"}}}]}}));
    assert_eq!(answer(&device, &c), "0/2 nodes are available: 2 Insufficient a.b/gpu.");
    let ignoring = Fit { ignored_groups: ["a.b".to_string()].into(), ..Fit::default() };
    assert_eq!(answer_of(&Profile { fit: ignoring, ..Profile::default() }, &device, &c), "b");
}
