//! The controllers against the real server in the process, over a store in memory.
//!
//! Time stands still unless a test moves it; everything that happens, happens because of an event.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use api::Object;
use client::{Cache, Client, DeleteOptions, PatchKind, Scope};
use controllers::NodeRange;
use serde_json::{Value, json};
use server::{Backend, Component, Server};

/// Templates that change.
#[path = "cluster/deployment.rs"]
mod deployment;
/// Services, and what is told of their pods.
#[path = "cluster/endpoints.rs"]
mod endpoints;
/// How many there shall be, by what they use.
#[path = "cluster/horizontal.rs"]
mod horizontal;
/// Jobs and CronJobs.
#[path = "cluster/jobs.rs"]
mod jobs;
/// The server in the same process.
#[path = "../../gousse/src/parts/local.rs"]
mod local;
/// As many pods as there shall be.
#[path = "cluster/replicas.rs"]
mod replicas;
/// Ranges, addresses and balancers of services.
#[path = "cluster/services.rs"]
mod services;
/// Pods with names of their own.
#[path = "cluster/stateful_set.rs"]
mod stateful_set;

use local::Local;

struct Cluster {
    client: Client,
    /// As the node n1.
    node: Client,
    _dir: tempfile::TempDir,
    _controllers: tokio::task::JoinSet<()>,
}

async fn cluster() -> Cluster {
    with_ranges(&[]).await
}

/// Each of the cluster's ranges with the mask of a node's part.
async fn with_ranges(ranges: &[(&str, u8)]) -> Cluster {
    let node_ranges = ranges.iter().map(|(range, mask)| NodeRange::new(range.parse().unwrap(), *mask).unwrap());
    let node_ranges = node_ranges.collect();
    let service_range = Some("10.244.2.0/28".parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    // No two looks at the clock are the same moment: events are named by it.
    let looks = std::sync::atomic::AtomicI32::new(0);
    let next = move || looks.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    let clock: api::Clock = Arc::new(move || jiff::Timestamp::new(1_790_000_000, next()).unwrap());
    let counter = std::sync::atomic::AtomicU64::new(1);
    let entropy: api::Entropy = Arc::new(move |bytes| {
        for chunk in bytes.chunks_mut(8) {
            let next = counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            chunk.copy_from_slice(&next.to_be_bytes()[..chunk.len()]);
        }
    });
    let server = Server::open(server::Config {
        data_dir: dir.path().into(),
        backend: Some(Backend::Memory),
        advertise: "127.0.0.1:6443".parse().unwrap(),
        names: vec![],
        service_cidr: "10.96.0.0/16".into(),
        node_ports: server::PortRange::default(),
        allow_privileged: true,
        admission: server::Admission::default(),
        limits: server::Limits::default(),
        clock: clock.clone(),
        entropy: entropy.clone(),
    })
    .await
    .unwrap();
    let as_component = |component| Local::client(&server, component, "gousse");
    let pair = server.authority_pair();
    let config = controllers::Config {
        authority: pair.certificate,
        authority_key: pair.key,
        may_bear: server.may_bear(),
        node_ranges,
        service_range,
        node_ports: (30000, 32767),
        load_balancer_pool: Vec::new(),
        node_monitor: controllers::NodeMonitor { eviction_rate: 1000.0, ..Default::default() },
        clock,
        entropy,
    };
    let mut running = tokio::task::JoinSet::new();
    let within = server.clone();
    let clients: controllers::Clients =
        Arc::new(move |account| Local::client(&within, Component::controller(account), "gousse"));
    running.spawn(controllers::run(clients, config));
    let node = as_component(Component::Node("n1".into()));
    Cluster { client: as_component(Component::Admin), node, _dir: dir, _controllers: running }
}

fn kind(plural: &str) -> &'static api::Resource {
    kinds::built_in().iter().find(|kind| kind.plural == plural).unwrap()
}

impl Cluster {
    async fn create(&self, plural: &str, namespace: &str, object: Value) -> Object {
        self.client.create(kind(plural), namespace, &object).await.unwrap()
    }

    /// Waits, by a watch, until an object is as it should be; None is its absence.
    async fn until(&self, plural: &str, namespace: &str, name: &str, good: impl FnMut(Option<&Value>) -> bool) {
        self.until_of(kind(plural), namespace, name, good).await;
    }

    /// The same of any group's kind.
    async fn until_of(
        &self,
        kind: &api::Resource,
        namespace: &str,
        name: &str,
        mut good: impl FnMut(Option<&Value>) -> bool,
    ) {
        let cache = Cache::start(self.client.clone(), kind, Scope::default());
        cache.synced().await;
        let mut changes = cache.subscribe();
        let wait = async {
            loop {
                let value = cache.get(namespace, name).map(|object| object.value());
                if good(value.as_ref()) {
                    return;
                }
                changes.next().await.unwrap();
            }
        };
        let patience = tokio::time::timeout(Duration::from_secs(20), wait).await;
        assert!(
            patience.is_ok(),
            "{} {namespace}/{name}: {:?}",
            kind.plural,
            cache.get(namespace, name).map(|o| o.value())
        );
    }
}

#[tokio::test]
async fn a_namespace_gets_its_essentials_and_gets_them_back() {
    let c = cluster().await;
    c.create("namespaces", "", json!({"metadata": {"name": "n"}})).await;
    c.until("serviceaccounts", "n", "default", |account| account.is_some()).await;
    let whole =
        |map: Option<&Value>| map.is_some_and(|m| m["data"]["ca.crt"].as_str().is_some_and(|c| c.contains("BEGIN")));
    c.until("configmaps", "n", "kube-root-ca.crt", whole).await;
    let maps = kind("configmaps");
    let patch = json!({"data": {"ca.crt": "x"}});
    c.client.patch(maps, "n", "kube-root-ca.crt", "", PatchKind::Merge, &patch).await.unwrap();
    c.until("configmaps", "n", "kube-root-ca.crt", whole).await;
    c.client.delete(maps, "n", "kube-root-ca.crt", &DeleteOptions::default()).await.unwrap();
    c.until("configmaps", "n", "kube-root-ca.crt", whole).await;
}

#[tokio::test]
async fn a_gathered_role_has_the_rules_of_those_it_selects() {
    let c = cluster().await;
    let kind = &*api::resource::CLUSTER_ROLES;
    let rules_of = |verbs: &[&'static str]| -> Vec<Value> {
        verbs.iter().map(|verb| json!({"verbs": [verb], "apiGroups": ["x"], "resources": ["y"]})).collect()
    };
    let role = |name: &str, verbs: &[&'static str]| json!({"metadata": {"name": name, "labels": {"into": "all"}}, "rules": rules_of(verbs)});
    let selectors = json!([{"matchLabels": {"into": "all"}}]);
    // It selects itself, too; that adds nothing, and what it was made with does not stay.
    let mut all = role("all", &["z"]);
    all["aggregationRule"] = json!({"clusterRoleSelectors": selectors});
    for role in [role("b", &["1", "3"]), all, role("a", &["2", "1"])] {
        c.client.create(kind, "", &role).await.unwrap();
    }
    let has = |wanted: Vec<Value>| move |role: Option<&Value>| role.is_some_and(|role| role["rules"] == json!(wanted));
    c.until_of(kind, "", "all", has(rules_of(&["2", "1", "3"]))).await;
    c.client.delete(kind, "", "a", &DeleteOptions::default()).await.unwrap();
    c.until_of(kind, "", "all", has(rules_of(&["1", "3"]))).await;
    // Upstream's own: admin has what edit has, which has what view has.
    let reads_pods = |role: Option<&Value>| role.is_some_and(|role| role["rules"].to_string().contains("pods/log"));
    c.until_of(kind, "", "admin", reads_pods).await;
}

#[tokio::test]
async fn a_secret_of_an_account_has_its_token_and_goes_with_it() {
    let c = cluster().await;
    c.create("namespaces", "", json!({"metadata": {"name": "n"}})).await;
    c.create("serviceaccounts", "n", json!({"metadata": {"name": "a"}})).await;
    let secret = |metadata: Value, account: &str| {
        let mut secret = json!({"metadata": metadata, "type": "kubernetes.io/service-account-token"});
        secret["metadata"]["annotations"] = json!({"kubernetes.io/service-account.name": account});
        secret
    };
    // One whose name is made by the server gets its token a moment later.
    let made = c.create("secrets", "n", secret(json!({"generateName": "s-"}), "a")).await;
    let name = made.meta().name.to_string();
    c.until("secrets", "n", &name, |secret| secret.is_some_and(|s| s["data"]["token"].is_string())).await;
    c.create("secrets", "n", secret(json!({"name": "lost"}), "nobody")).await;
    c.until("secrets", "n", "lost", |secret| secret.is_none()).await;
    c.client.delete(kind("serviceaccounts"), "n", "a", &DeleteOptions::default()).await.unwrap();
    c.until("secrets", "n", &name, |secret| secret.is_none()).await;
}

#[tokio::test]
async fn a_namespace_is_emptied_pods_first_and_goes_when_nothing_holds_it() {
    let c = cluster().await;
    c.create("namespaces", "", json!({"metadata": {"name": "n"}})).await;
    c.until("serviceaccounts", "n", "default", |account| account.is_some()).await;
    let spec = json!({"nodeName": "far", "containers": [{"name": "c", "image": "i"}]});
    c.create("pods", "n", json!({"metadata": {"name": "p"}, "spec": spec})).await;
    c.create("configmaps", "n", json!({"metadata": {"name": "m", "finalizers": ["a.b/c"]}})).await;
    c.client.delete(kind("namespaces"), "", "n", &DeleteOptions::default()).await.unwrap();
    let says = |text: &'static str| {
        move |space: Option<&Value>| space.is_some_and(|s| s["status"]["conditions"].to_string().contains(text))
    };
    c.until("namespaces", "", "n", says("pods. has 1 resource instances")).await;
    c.until("pods", "n", "p", |pod| pod.is_some_and(|p| p["metadata"]["deletionTimestamp"].is_string())).await;
    let now = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
    c.client.delete(kind("pods"), "n", "p", &now).await.unwrap();
    c.until("namespaces", "", "n", says("a.b/c in 1 resource instances")).await;
    let free = json!({"metadata": {"finalizers": null}});
    c.client.patch(kind("configmaps"), "n", "m", "", PatchKind::Merge, &free).await.unwrap();
    c.until("namespaces", "", "n", |space| space.is_none()).await;
}

/// Of Events there is no cache: what holds one is seen to go all the same, and nobody looks again and again.
#[tokio::test(start_paused = true)]
async fn a_namespace_goes_with_the_last_event_that_held_it() {
    let c = cluster().await;
    c.create("namespaces", "", json!({"metadata": {"name": "n"}})).await;
    let involved = json!({"kind": "Pod", "name": "x", "namespace": "n"});
    let event = json!({"metadata": {"name": "e", "finalizers": ["a.b/c"]}, "involvedObject": involved});
    c.create("events", "n", event).await;
    c.client.delete(kind("namespaces"), "", "n", &DeleteOptions::default()).await.unwrap();
    // Each Event is counted by both of its groups, as upstream counts it.
    let says = |space: Option<&Value>| {
        space.is_some_and(|s| s["status"]["conditions"].to_string().contains("a.b/c in 2 resource instances"))
    };
    c.until("namespaces", "", "n", says).await;
    // The clock is paused: it moves on when nobody has anything left to do.
    tokio::time::sleep(Duration::from_millis(1)).await;
    let before = tokio::time::Instant::now();
    let free = json!({"metadata": {"finalizers": null}});
    c.client.patch(kind("events"), "n", "e", "", PatchKind::Merge, &free).await.unwrap();
    c.until("namespaces", "", "n", |space| space.is_none()).await;
    assert_eq!(before.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn a_ready_node_loses_its_taint_and_an_unready_one_gets_it_back() {
    let c = cluster().await;
    for name in ["a", "b"] {
        c.create("nodes", "", json!({"metadata": {"name": name}})).await;
    }
    let ready = |status: &str| json!({"status": {"conditions": [{"type": "Ready", "status": status}]}});
    let nodes = kind("nodes");
    for name in ["a", "b"] {
        c.client.patch(nodes, "", name, "status", PatchKind::Strategic, &ready("True")).await.unwrap();
    }
    let taints = |node: Option<&Value>| node.map_or(9, |n| n["spec"]["taints"].as_array().map_or(0, Vec::len));
    c.until("nodes", "", "a", |node| taints(node) == 0).await;
    c.client.patch(nodes, "", "a", "status", PatchKind::Strategic, &ready("False")).await.unwrap();
    c.until("nodes", "", "a", |node| taints(node) == 2).await;
    // With all of them away it is the server that is cut off: nobody is driven away.
    c.client.patch(nodes, "", "b", "status", PatchKind::Strategic, &ready("Unknown")).await.unwrap();
    let held = |node: Option<&Value>| taints(node) == 1 && node.unwrap()["spec"]["taints"][0]["effect"] == "NoSchedule";
    c.until("nodes", "", "a", held).await;
    c.until("nodes", "", "b", held).await;
    c.client.patch(nodes, "", "b", "status", PatchKind::Strategic, &ready("True")).await.unwrap();
    c.until("nodes", "", "a", |node| taints(node) == 2).await;
    c.until("nodes", "", "b", |node| taints(node) == 0).await;
}

#[tokio::test]
async fn what_is_deleted_on_a_node_out_of_service_goes_at_once() {
    let c = cluster().await;
    let out = json!([{"key": "node.kubernetes.io/out-of-service", "value": "off", "effect": "NoExecute"}]);
    c.create("nodes", "", json!({"metadata": {"name": "a"}})).await;
    c.create("namespaces", "", json!({"metadata": {"name": "n"}})).await;
    c.until("serviceaccounts", "n", "default", |account| account.is_some()).await;
    let tolerations = json!([{"operator": "Exists"}]);
    let spec = json!({"nodeName": "a", "tolerations": tolerations, "containers": [{"name": "c", "image": "i"}]});
    for name in ["leaves", "stays"] {
        c.create("pods", "n", json!({"metadata": {"name": name}, "spec": spec})).await;
    }
    let leaving = c.client.delete(kind("pods"), "n", "leaves", &DeleteOptions::default()).await.unwrap();
    assert!(leaving.meta().is_deleting());
    let patch = json!({"spec": {"taints": out}});
    c.client.patch(kind("nodes"), "", "a", "", PatchKind::Merge, &patch).await.unwrap();
    c.until("pods", "n", "leaves", |pod| pod.is_none()).await;
    assert!(!c.client.get(kind("pods"), "n", "stays").await.unwrap().meta().is_deleting());
}

#[tokio::test]
async fn dependents_go_with_their_owner_stay_as_orphans_or_go_before_it() {
    let c = cluster().await;
    let maps = kind("configmaps");
    let owned = |owner: &Object, name: &str| {
        json!({"metadata": {"name": name, "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap",
            "name": owner.meta().name, "uid": owner.meta().uid, "blockOwnerDeletion": true}]}})
    };
    let delete = |name: &'static str, policy: &'static str| {
        let options = DeleteOptions { propagation_policy: policy.into(), ..DeleteOptions::default() };
        let client = c.client.clone();
        async move { client.delete(maps, "default", name, &options).await.unwrap() }
    };
    let first = c.create("configmaps", "default", json!({"metadata": {"name": "first"}})).await;
    c.create("configmaps", "default", owned(&first, "one")).await;
    delete("first", "Background").await;
    c.until("configmaps", "default", "one", |map| map.is_none()).await;
    let second = c.create("configmaps", "default", json!({"metadata": {"name": "second"}})).await;
    c.create("configmaps", "default", owned(&second, "two")).await;
    delete("second", "Orphan").await;
    c.until("configmaps", "default", "second", |map| map.is_none()).await;
    let orphan = c.client.get(maps, "default", "two").await.unwrap();
    assert!(orphan.meta().owner_references.is_empty() && !orphan.meta().is_deleting());
    let third = c.create("configmaps", "default", json!({"metadata": {"name": "third"}})).await;
    let held = {
        let mut held = owned(&third, "three");
        held["metadata"]["finalizers"] = json!(["a.b/c"]);
        held
    };
    c.create("configmaps", "default", held).await;
    delete("third", "Foreground").await;
    c.until("configmaps", "default", "three", |map| {
        map.is_some_and(|m| m["metadata"]["deletionTimestamp"].is_string())
    })
    .await;
    assert!(c.client.get(maps, "default", "third").await.is_ok());
    let free = json!({"metadata": {"finalizers": null}});
    c.client.patch(maps, "default", "three", "", PatchKind::Merge, &free).await.unwrap();
    c.until("configmaps", "default", "third", |map| map.is_none()).await;
}

#[tokio::test]
async fn an_object_without_namespace_outlives_an_owner_that_has_one() {
    let c = cluster().await;
    let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "u"}]);
    c.create("namespaces", "", json!({"metadata": {"name": "n", "ownerReferences": owner}})).await;
    let named = |owners: &Value| json!({"metadata": {"name": "m", "ownerReferences": owners}});
    c.create("configmaps", "default", named(&owner)).await;
    c.until("configmaps", "default", "m", |map| map.is_none()).await;
    let events = Cache::start(c.client.clone(), kind("events"), Scope::default());
    events.synced().await;
    let mut changes = events.subscribe();
    let told = async {
        while !events.list().iter().any(|event| event.value()["reason"] == "OwnerRefInvalidNamespace") {
            changes.next().await.unwrap();
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(20), told).await.is_ok());
    let event = events.list().into_iter().find(|e| e.value()["reason"] == "OwnerRefInvalidNamespace").unwrap().value();
    assert_eq!(
        event["message"],
        "ownerRef [v1/ConfigMap, namespace: , name: gone, uid: u] does not exist in namespace \"\""
    );
    assert!(!c.client.get(kind("namespaces"), "", "n").await.unwrap().meta().is_deleting());
}

/// All at once; one part is another node's, one has addresses of services.
#[tokio::test]
async fn no_two_nodes_ever_have_the_same_range() {
    let c = with_ranges(&[("10.244.0.0/16", 24), ("fd00:10:244::/48", 64)]).await;
    let own = json!({"metadata": {"name": "own"}, "spec": {"podCIDR": "10.244.1.0/24"}});
    c.create("nodes", "", own).await;
    let names: Vec<String> = (0..40).map(|n| format!("n{n}")).collect();
    let made = names.iter().map(|name| c.create("nodes", "", json!({"metadata": {"name": name}})));
    futures::future::join_all(made).await;
    let mut given = std::collections::BTreeSet::from(["10.244.1.0/24".to_string()]);
    for name in &names {
        c.until("nodes", "", name, |node| {
            let Some(ranges) = node.and_then(|node| node["spec"]["podCIDRs"].as_array().cloned()) else { return false };
            assert_eq!(node.unwrap()["spec"]["podCIDR"], ranges[0]);
            assert_eq!(ranges.len(), 2);
            given.extend(ranges.iter().map(|range| range.as_str().unwrap().to_string()));
            true
        })
        .await;
    }
    assert_eq!(given.len(), 1 + 2 * names.len(), "{given:?}");
    assert!(!given.contains("10.244.2.0/24"));
}

#[tokio::test]
async fn a_node_for_which_nothing_is_left_says_so_and_gets_what_is_freed() {
    let c = with_ranges(&[("10.0.0.0/24", 25)]).await;
    let has = |range: &'static str| move |node: Option<&Value>| node.is_some_and(|n| n["spec"]["podCIDR"] == range);
    for (name, range) in [("a", "10.0.0.0/25"), ("b", "10.0.0.128/25")] {
        c.create("nodes", "", json!({"metadata": {"name": name}})).await;
        c.until("nodes", "", name, has(range)).await;
    }
    c.create("nodes", "", json!({"metadata": {"name": "c"}})).await;
    let events = Cache::start(c.client.clone(), kind("events"), Scope::default());
    events.synced().await;
    let mut changes = events.subscribe();
    let told = |event: &Object| {
        event.value()["reason"] == "CIDRNotAvailable" && event.value()["involvedObject"]["name"] == "c"
    };
    let wait = async {
        while !events.list().iter().any(told) {
            changes.next().await.unwrap();
        }
    };
    let patience = tokio::time::timeout(Duration::from_secs(20), wait).await;
    assert!(patience.is_ok(), "{:?}", events.list().iter().map(Object::value).collect::<Vec<_>>());
    c.client.delete(kind("nodes"), "", "a", &DeleteOptions::default()).await.unwrap();
    c.until("nodes", "", "c", has("10.0.0.0/25")).await;
}

/// Who may use one is no matter of its name: the server gives each its finalizer, and gets it back.
#[tokio::test]
async fn storage_goes_once_nobody_uses_it() {
    let c = cluster().await;
    let csi = json!({"driver": "acme.io", "volumeHandle": "h"});
    let spec = json!({"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "csi": csi});
    let asks = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    let classed = |mut spec: Value| {
        spec["volumeAttributesClassName"] = json!("k");
        spec
    };
    let objects = [
        ("volumeattributesclasses", "", "k", json!({"driverName": "acme.io", "parameters": {"a": "b"}}), "vac"),
        ("persistentvolumes", "", "v", json!({"spec": classed(spec)}), "pv"),
        ("persistentvolumeclaims", "default", "c", json!({"spec": classed(asks)}), "pvc"),
    ];
    for (plural, namespace, name, mut object, short) in objects {
        object["metadata"] = json!({"name": name});
        let made = c.create(plural, namespace, object).await;
        assert_eq!(made.meta().finalizers, [format!("kubernetes.io/{short}-protection")]);
        // Whoever takes it away does not keep it.
        let bare = json!({"metadata": {"finalizers": null}});
        c.client.patch(kind(plural), namespace, name, "", PatchKind::Merge, &bare).await.unwrap();
        c.until(plural, namespace, name, |one| one.is_some_and(|one| one["metadata"]["finalizers"][0].is_string()))
            .await;
    }
    let delete = async |plural: &str, namespace: &str, name: &str| {
        c.client.delete(kind(plural), namespace, name, &DeleteOptions::default()).await.unwrap()
    };
    let phase = async |phase: &str| {
        let patch = json!({"status": {"phase": phase}});
        c.client.patch(kind("persistentvolumes"), "", "v", "status", PatchKind::Merge, &patch).await.unwrap();
    };
    phase("Bound").await;
    assert!(delete("volumeattributesclasses", "", "k").await.meta().is_deleting());
    assert!(delete("persistentvolumes", "", "v").await.meta().is_deleting());
    delete("persistentvolumeclaims", "default", "c").await;
    c.until("persistentvolumeclaims", "default", "c", |claim| claim.is_none()).await;
    let held = |one: Option<&Value>| one.is_some_and(|one| one["metadata"]["finalizers"][0].is_string());
    c.until("persistentvolumes", "", "v", held).await;
    c.until("volumeattributesclasses", "", "k", held).await;
    phase("Released").await;
    c.until("persistentvolumes", "", "v", |volume| volume.is_none()).await;
    c.until("volumeattributesclasses", "", "k", |class| class.is_none()).await;
}

fn holds(used: &'static str) -> impl FnMut(Option<&Value>) -> bool {
    let used: Value = serde_json::from_str(used).unwrap();
    move |quota| quota.is_some_and(|quota| quota["status"]["used"] == used)
}

#[tokio::test]
async fn a_quota_says_what_is_used_and_gets_back_what_goes() {
    let c = cluster().await;
    c.create("namespaces", "", json!({"metadata": {"name": "n"}})).await;
    c.until("serviceaccounts", "n", "default", |account| account.is_some()).await;
    c.until("configmaps", "n", "kube-root-ca.crt", |map| map.is_some()).await;
    // What was there before it is counted.
    let hard = json!({"configmaps": "3", "count/leases.coordination.k8s.io": "1", "pods": "2", "requests.cpu": "1"});
    c.create("resourcequotas", "n", json!({"metadata": {"name": "q"}, "spec": {"hard": hard}})).await;
    let start = r#"{"configmaps": "1", "count/leases.coordination.k8s.io": "0", "pods": "0", "requests.cpu": "0"}"#;
    c.until("resourcequotas", "n", "q", holds(start)).await;
    let pod = |name: &str| {
        let resources = json!({"requests": {"cpu": "500m"}});
        let spec = json!({"nodeName": "far", "containers": [{"name": "c", "image": "i", "resources": resources}]});
        json!({"metadata": {"name": name}, "spec": spec})
    };
    for name in ["a", "b"] {
        c.create("pods", "n", pod(name)).await;
    }
    let refused = c.client.create(kind("pods"), "n", &pod("c")).await.unwrap_err();
    assert!(refused.message.contains("exceeded quota: q"), "{refused}");
    let full = r#"{"configmaps": "1", "count/leases.coordination.k8s.io": "0", "pods": "2", "requests.cpu": "1"}"#;
    c.until("resourcequotas", "n", "q", holds(full)).await;
    // One that has ended is not charged, one that is gone neither.
    let ended = json!({"status": {"phase": "Succeeded"}});
    c.client.patch(kind("pods"), "n", "a", "status", PatchKind::Merge, &ended).await.unwrap();
    let half = r#"{"configmaps": "1", "count/leases.coordination.k8s.io": "0", "pods": "1", "requests.cpu": "500m"}"#;
    c.until("resourcequotas", "n", "q", holds(half)).await;
    let now = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
    c.client.delete(kind("pods"), "n", "b", &now).await.unwrap();
    c.until("resourcequotas", "n", "q", holds(start)).await;
    // Bounds that change hold at once.
    let patch = json!({"spec": {"hard": {"pods": "0", "requests.cpu": null, "configmaps": null}}});
    c.client.patch(kind("resourcequotas"), "n", "q", "", PatchKind::Merge, &patch).await.unwrap();
    c.until("resourcequotas", "n", "q", holds(r#"{"count/leases.coordination.k8s.io": "0", "pods": "0"}"#)).await;
    assert!(c.client.create(kind("pods"), "n", &pod("d")).await.is_err());
}

/// A request by a new key in this name; `usages` beside what every one has.
fn signing_request(signer: &str, name: &str, organization: &str, usages: &[&str]) -> Value {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::OrganizationName, organization);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    let request = params.serialize_request(&rcgen::KeyPair::generate().unwrap()).unwrap().pem().unwrap();
    let usages: Vec<&str> = ["digital signature"].iter().chain(usages).copied().collect();
    json!({"metadata": {"name": name.replace(':', "-")}, "spec": {"signerName": signer, "usages": usages,
        "expirationSeconds": 3600, "request": base64::Engine::encode(&base64::prelude::BASE64_STANDARD, request)}})
}

#[tokio::test]
async fn a_request_is_signed_once_it_is_approved_and_a_nodes_by_itself() {
    let c = cluster().await;
    let requests = kinds::built_in().by_plural("certificates.k8s.io", "certificatesigningrequests").unwrap();
    let issued = |request: Option<&Value>| request.is_some_and(|r| r["status"]["certificate"].is_string());
    // The administrator may ask for any node's.
    let node = signing_request(
        "kubernetes.io/kube-apiserver-client-kubelet",
        "system:node:n1",
        "system:nodes",
        &["client auth"],
    );
    c.client.create(requests, "", &node).await.unwrap();
    c.until_of(requests, "", "system-node-n1", issued).await;
    for (name, usages, good) in
        [("good", &["client auth"][..], true), ("bad", &["client auth", "server auth"][..], false)]
    {
        let request = signing_request("kubernetes.io/kube-apiserver-client", name, "team", usages);
        let made = c.client.create(requests, "", &request).await.unwrap();
        assert_eq!(made.value()["status"], json!({}));
        let approved = json!({"status": {"conditions": [{"type": "Approved", "status": "True", "reason": "R"}]}});
        c.client.patch(requests, "", name, "approval", PatchKind::Merge, &approved).await.unwrap();
        let failed = |request: Option<&Value>| {
            let conditions = request.and_then(|r| r["status"]["conditions"].as_array()).into_iter().flatten();
            conditions.into_iter().any(|one| {
                one["type"] == "Failed"
                    && one["reason"] == "SignerValidationFailure"
                    && one["message"] == "invalid usage for client certificate: server auth"
            })
        };
        c.until_of(requests, "", name, |request| if good { issued(request) } else { failed(request) }).await;
    }
}

#[tokio::test]
async fn a_nodes_request_waits_for_the_right_to_it() {
    let c = cluster().await;
    let requests = kinds::built_in().by_plural("certificates.k8s.io", "certificatesigningrequests").unwrap();
    let issued = |request: Option<&Value>| request.is_some_and(|r| r["status"]["certificate"].is_string());
    let of = |node: &str| {
        let signer = "kubernetes.io/kube-apiserver-client-kubelet";
        signing_request(signer, &format!("system:node:{node}"), "system:nodes", &["client auth"])
    };
    let bindings = kind("clusterrolebindings");
    let own = "gousse:node-client-certificates";
    c.client.delete(bindings, "", own, &DeleteOptions::default()).await.unwrap();
    c.node.create(requests, "", &of("n1")).await.unwrap();
    // Asked about after it, and of somebody who may.
    c.client.create(requests, "", &of("n2")).await.unwrap();
    c.until_of(requests, "", "system-node-n2", issued).await;
    let waits = c.client.get(requests, "", "system-node-n1").await.unwrap().value();
    assert_eq!(waits["status"], json!({}), "nobody gave it the right");
    let role = "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient";
    let binding = json!({"metadata": {"name": "nodes"}, "subjects": [{"kind": "Group", "name": "system:nodes"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}});
    c.create("clusterrolebindings", "", binding).await;
    c.until_of(requests, "", "system-node-n1", issued).await;
}

/// Its names are its Node's, once that is there: a certificate of this authority for another name would be believed.
#[tokio::test]
async fn a_node_gets_a_serving_certificate_for_what_its_node_says() {
    let c = cluster().await;
    let requests = kinds::built_in().by_plural("certificates.k8s.io", "certificatesigningrequests").unwrap();
    let issued = |request: Option<&Value>| request.is_some_and(|r| r["status"]["certificate"].is_string());
    let of = |name: &str, hosts: &[&str]| {
        let mut params =
            rcgen::CertificateParams::new(hosts.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "system:nodes");
        params.distinguished_name.push(rcgen::DnType::CommonName, "system:node:n1");
        let key = rcgen::KeyPair::generate().unwrap();
        let request = params.serialize_request(&key).unwrap().pem().unwrap();
        let request = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, request);
        json!({"metadata": {"name": name}, "spec": {"signerName": "kubernetes.io/kubelet-serving",
            "usages": ["digital signature", "server auth"], "request": request}})
    };
    let own = ["n1", "192.0.2.7"];
    // The Service's own address and another node's name: its Node says them too, or not.
    for (name, hosts) in [("own", &own[..]), ("services", &["n1", "10.96.0.1"]), ("other", &["n1", "n2"])] {
        c.node.create(requests, "", &of(name, hosts)).await.unwrap();
    }
    // Somebody else asks for the same.
    c.client.create(requests, "", &of("alien", &own)).await.unwrap();
    let says = |kind: &str, address: &str| json!({"type": kind, "address": address});
    let addresses = [says("Hostname", "n1"), says("InternalIP", "192.0.2.7"), says("InternalIP", "10.96.0.1")];
    let node = json!({"metadata": {"name": "n1"}, "status": {"addresses": addresses}});
    c.node.create(kind("nodes"), "", &node).await.unwrap();
    c.until_of(requests, "", "own", issued).await;
    // What was decided before is decided again for whom the right is granted: by then all have been looked at.
    c.node.create(requests, "", &of("last", &own)).await.unwrap();
    c.until_of(requests, "", "last", issued).await;
    for name in ["services", "other", "alien"] {
        assert_eq!(c.client.get(requests, "", name).await.unwrap().value()["status"], json!({}), "{name}");
    }
}

#[tokio::test]
async fn the_servers_anchors_are_published_and_come_back() {
    let c = cluster().await;
    let bundles = kinds::built_in().by_plural("certificates.k8s.io", "clustertrustbundles").unwrap();
    let cache = Cache::start(c.client.clone(), bundles, Scope::default());
    let mut changes = cache.subscribe();
    let mut first = async || loop {
        let change = changes.next().await.unwrap();
        if let Some(bundle) = change.new {
            return bundle;
        }
    };
    let made = first().await;
    let name = &made.meta().name;
    assert!(name.starts_with("kubernetes.io:kube-apiserver-serving:") && name.len() == 37 + 24, "{name}");
    assert!(made.value()["spec"]["trustBundle"].as_str().unwrap().contains("BEGIN CERTIFICATE"));
    c.client.delete(bundles, "", name, &DeleteOptions::default()).await.unwrap();
    assert_eq!(first().await.meta().name, *name);
    // Nobody else speaks for this signer.
    let mut other = json!({"metadata": {"name": "kubernetes.io:kube-apiserver-serving:other"}});
    other["spec"] = made.value()["spec"].clone();
    c.client.create(bundles, "", &other).await.unwrap();
    c.until_of(bundles, "", "kubernetes.io:kube-apiserver-serving:other", |bundle| bundle.is_none()).await;
}

#[tokio::test]
async fn a_disruption_budget_says_how_many_pods_may_go() {
    let c = cluster().await;
    c.until("serviceaccounts", "default", "default", |account| account.is_some()).await;
    let budgets = kinds::built_in().by_plural("policy", "poddisruptionbudgets").unwrap();
    let until = async |good: &dyn Fn(&Value) -> bool| {
        let cache = Cache::start(c.client.clone(), budgets, Scope::default());
        cache.synced().await;
        let mut changes = cache.subscribe();
        let wait = async {
            while !cache.get("default", "b").is_some_and(|budget| good(&budget.value()["status"])) {
                changes.next().await.unwrap();
            }
        };
        let patience = tokio::time::timeout(Duration::from_secs(20), wait).await;
        assert!(patience.is_ok(), "{:?}", cache.get("default", "b").map(|o| o.value()));
    };
    let spec = json!({"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}});
    c.client.create(budgets, "default", &json!({"metadata": {"name": "b"}, "spec": spec})).await.unwrap();
    until(&|status| status["observedGeneration"] == 1 && status["conditions"][0]["reason"] == "InsufficientPods").await;
    for name in ["one", "two"] {
        let spec = json!({"nodeName": "far", "containers": [{"name": "c", "image": "i"}]});
        let mut pod = json!({"metadata": {"name": name, "labels": {"a": "b"}}, "spec": spec});
        pod = c.create("pods", "default", pod).await.value();
        pod["status"] = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
        c.client.update_sub(kind("pods"), "default", name, "status", &pod).await.unwrap();
    }
    until(&|status| status["disruptionsAllowed"] == 1 && status["conditions"][0]["status"] == "True").await;
    let evict = async |name: &str| {
        let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
        c.client.create_sub(kind("pods"), "default", name, "eviction", &eviction).await
    };
    evict("one").await.unwrap();
    until(&|status| status["disruptionsAllowed"] == 0 && status["currentHealthy"] == 1).await;
    assert_eq!(evict("two").await.unwrap_err().code, 429);
}

#[tokio::test]
async fn a_controller_that_owns_itself_is_counted_once() {
    let c = cluster().await;
    c.until("serviceaccounts", "default", "default", |account| account.is_some()).await;
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let spec = json!({"replicas": 4, "selector": {"matchLabels": {"a": "b"}}, "template": template});
    let made = c.create("replicasets", "default", json!({"metadata": {"name": "r"}, "spec": spec})).await;
    let owner = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": made.meta().uid,
        "controller": true}]);
    let itself = json!({"metadata": {"ownerReferences": owner}});
    c.client.patch(kind("replicasets"), "default", "r", "", PatchKind::Merge, &itself).await.unwrap();
    let spec = json!({"nodeName": "far", "containers": [{"name": "c", "image": "i"}]});
    let pod = json!({"metadata": {"name": "p", "labels": {"a": "b"}, "ownerReferences": owner}, "spec": spec});
    c.create("pods", "default", pod).await;
    let spec = json!({"maxUnavailable": "50%", "selector": {"matchLabels": {"a": "b"}}});
    c.create("poddisruptionbudgets", "default", json!({"metadata": {"name": "b"}, "spec": spec})).await;
    let counted = |budget: Option<&Value>| budget.is_some_and(|budget| budget["status"]["expectedPods"] == 4);
    c.until("poddisruptionbudgets", "default", "b", counted).await;
}

#[tokio::test]
async fn a_circle_of_owners_goes_and_who_has_another_owner_stays() {
    let c = cluster().await;
    c.create("namespaces", "", json!({"metadata": {"name": "n"}})).await;
    let map = |name: &str| json!({"metadata": {"name": name}});
    let mut uids = std::collections::BTreeMap::new();
    for name in ["a", "b", "c", "left", "right", "both"] {
        uids.insert(name, c.create("configmaps", "n", map(name)).await.meta().uid.clone());
    }
    let own = async |name: &str, owners: &[&str]| {
        let references: Vec<Value> = owners
            .iter()
            .map(|owner| {
                json!({"apiVersion": "v1", "kind": "ConfigMap", "name": owner, "uid": uids[owner],
                    "blockOwnerDeletion": true})
            })
            .collect();
        let patch = json!({"metadata": {"ownerReferences": references}});
        c.client.patch(kind("configmaps"), "n", name, "", PatchKind::Merge, &patch).await.unwrap();
    };
    own("a", &["c"]).await;
    own("b", &["a"]).await;
    own("c", &["b"]).await;
    own("both", &["left", "right"]).await;
    let foreground = DeleteOptions { propagation_policy: "Foreground".into(), ..DeleteOptions::default() };
    for name in ["a", "left"] {
        c.client.delete(kind("configmaps"), "n", name, &foreground).await.unwrap();
    }
    for name in ["a", "b", "c", "left"] {
        c.until("configmaps", "n", name, |map| map.is_none()).await;
    }
    let stays = |map: Option<&Value>| {
        let references = map.map(|map| map["metadata"]["ownerReferences"].clone());
        references.is_some_and(|all| all.as_array().is_some_and(|all| all.len() == 1 && all[0]["name"] == "right"))
    };
    c.until("configmaps", "n", "both", stays).await;
}
