//! How many pods a second are placed: 10,000 pods of 100 controllers on 5,000 nodes, in memory.
//!
//! Held against 10,000/s (plain) and 2,000/s (with affinity, anti-affinity, spreading) of issue 12. A
//! decision is place, assume, and the watch's confirmation. The figures are those of
//! `cargo test --release -p scheduler --test decisions -- --nocapture`; unoptimized it only tries all.

use std::sync::Arc;
use std::time::Instant;

use scheduler::{Cluster, Node, Pod, Profile, place};
use serde_json::{Value, json};

const NODES: usize = if cfg!(debug_assertions) { 200 } else { 5_000 };
const PODS: usize = if cfg!(debug_assertions) { 400 } else { 10_000 };
const CONTROLLERS: usize = 100;
const ZONES: usize = 10;
const ZONE: &str = "topology.kubernetes.io/zone";
const HOST: &str = "kubernetes.io/hostname";

#[test]
fn all_pods_of_many_controllers_are_placed_on_many_nodes() {
    for (name, spec) in SCENARIOS {
        run(name, *spec);
    }
}

/// The spec of a controller's pods, by its label.
type Spec = fn(&str) -> Value;

const SCENARIOS: &[(&str, Spec)] = &[
    ("bare", |_| json!({})),
    ("plain", |_| json!({"owned": true})),
    ("anti-affinity", |app| json!({"owned": true, "affinity": {"podAntiAffinity": required(app, HOST)}})),
    ("affinity", |app| json!({"owned": true, "affinity": {"podAffinity": required(app, ZONE)}})),
    ("wishes", |app| {
        let wish = json!([{"weight": 10, "podAffinityTerm": term(app, ZONE)}]);
        json!({"affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": wish}}})
    }),
    ("spreading", |app| json!({"topologySpreadConstraints": [spread(app, ZONE, "DoNotSchedule")]})),
    (
        "spreading-hosts",
        |app| json!({"topologySpreadConstraints": [spread(app, ZONE, "ScheduleAnyway"), spread(app, HOST, "DoNotSchedule")]}),
    ),
    (
        "selected",
        |app| json!({"owned": true, "nodeSelector": {"disk": "ssd"}, "topologySpreadConstraints": [spread(app, ZONE, "DoNotSchedule")]}),
    ),
];

fn term(app: &str, topology: &str) -> Value {
    json!({"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": topology})
}

fn required(app: &str, topology: &str) -> Value {
    json!({"requiredDuringSchedulingIgnoredDuringExecution": [term(app, topology)]})
}

fn spread(app: &str, topology: &str, unsatisfiable: &str) -> Value {
    json!({"maxSkew": 1, "topologyKey": topology, "whenUnsatisfiable": unsatisfiable,
        "labelSelector": {"matchLabels": {"app": app}}})
}

fn node(number: usize) -> Node {
    let name = format!("hollow-{number:05}");
    Node::of_tree(&json!({"metadata": {"name": name, "labels": {HOST: name, ZONE: format!("zone-{}", number % ZONES),
            "kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux", "disk": if number.is_multiple_of(2) { "ssd" } else { "hdd" }}},
        "status": {"allocatable": {"cpu": "32", "memory": "256Gi", "ephemeral-storage": "100Gi", "pods": "110"},
            "images": [{"names": ["registry/app:1"], "sizeBytes": 100_000_000}]}}))
}

fn pod(number: usize, spec: Spec) -> Pod {
    let app = format!("app-{}", number % CONTROLLERS);
    let mut value = json!({"metadata": {"name": format!("{app}-{number}"), "namespace": "default", "uid": format!("uid-{number}"),
            "labels": {"app": app, "pod-template-hash": "5d59d67564"}},
        "spec": {"containers": [{"name": "c", "image": "registry/app:1", "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}}}]}});
    let spec = spec(&app);
    if spec["owned"] == true {
        value["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": app, "controller": true}]);
    }
    let more = spec.as_object().expect("a spec is an object").clone();
    value["spec"].as_object_mut().expect("it was made as one").extend(more);
    Pod::of_tree(&value)
}

fn run(name: &str, spec: Spec) {
    let (mut cluster, profile) = (Cluster::default(), Profile::default());
    for number in 0..NODES {
        cluster.set_node(node(number));
    }
    for number in 0..CONTROLLERS {
        let app = format!("app-{number}");
        let set = json!({"spec": {"selector": {"matchLabels": {"app": app, "pod-template-hash": "5d59d67564"}}}});
        cluster.workloads.set_owner("apps/v1/ReplicaSet", "default", &app, &set);
    }
    let read = Instant::now();
    let pods: Vec<Pod> = (0..PODS).map(|number| pod(number, spec)).collect();
    let read = read.elapsed();
    let mut slowest = 0;
    let started = Instant::now();
    for pod in pods {
        let one = Instant::now();
        match place(&pod, &cluster, &profile) {
            Ok(choice) => {
                let placed = Arc::new(Pod { node: choice.node.clone(), ..pod });
                cluster.add_pod(placed.clone());
                // The watch confirms.
                cluster.add_pod(Arc::new((*placed).clone()));
                cluster.cursor = (cluster.cursor + choice.looked_at) % NODES;
            }
            Err(reasons) => panic!("{name}: {reasons}"),
        }
        slowest = slowest.max(one.elapsed().as_micros());
    }
    let took = started.elapsed();
    let rate = PODS as f64 / took.as_secs_f64();
    println!(
        "{name:16} {rate:8.0}/s  mean {:6.1} us  slowest {slowest} us  (read: {:.1} us each)",
        took.as_micros() as f64 / PODS as f64,
        read.as_micros() as f64 / PODS as f64
    );
}
