use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::place::place;
use crate::place::tests::{asks, cluster, merge, node, pod};

/// Whether each event wakes the pod, which the cluster refuses before.
fn woken(pod: &Pod, cluster: &Cluster, events: &[Event<'_>]) -> Vec<bool> {
    let profile = Profile::default();
    let refused_by = place(pod, cluster, &profile).unwrap_err().refused_by;
    events.iter().map(|event| wakes(pod, &refused_by, event, &Scene { cluster, profile: &profile })).collect()
}

fn labelled(name: &str, app: &str, change: Value) -> Pod {
    let mut all = json!({"metadata": {"labels": {"app": app}}});
    merge(&mut all, change);
    pod(name, all)
}

fn tainted(name: &str) -> Node {
    node(name, json!({"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}}))
}

#[test]
fn pod_without_room_hears_of_room_that_it_could_use() {
    let mut c = cluster(vec![node("a", json!({}))], vec![("a", pod("x", asks("4", "0")))]);
    let closed = cluster(vec![node("a", json!({})), tainted("b")], vec![("a", pod("x", asks("4", "0")))]);
    c.add_pod(Arc::new(Pod { node: "a".into(), ..pod("tiny", asks("0", "1Gi")) }));
    let waits = pod("waits", asks("2", "0"));
    let on = |node: &str, name: &str| Pod { node: node.into(), ..pod(name, asks("1", "0")) };
    let grown = node("a", json!({"status": {"allocatable": {"cpu": "8"}}}));
    let other = node("a", json!({"status": {"allocatable": {"memory": "9Gi"}}}));
    let (small, fresh) = (node("c", json!({"status": {"allocatable": {"cpu": "1"}}})), node("c", json!({})));
    let old = c.nodes[0].clone();
    let events = [
        // Wherever it was: fewer may have to go for it now.
        Event::PodGone(&on("a", "tiny")),
        Event::PodGone(&on("gone", "y")),
        Event::PodPlaced(&on("a", "z")),
        Event::NodeAdded(&small),
        Event::NodeAdded(&fresh),
        Event::NodeChanged { old: &old, new: &grown },
        Event::NodeChanged { old: &old, new: &other },
        Event::NamespaceLabels,
    ];
    assert_eq!(woken(&waits, &c, &events), [true, true, false, false, true, true, false, false]);
    // Room where it may not go yet: who opens the node tells only whom that kept out.
    assert_eq!(woken(&waits, &closed, &[Event::PodGone(&on("b", "y"))]), [true]);
    // The cluster shows what happened before it is told.
    let profile = Profile::default();
    let refused_by = place(&waits, &c, &profile).unwrap_err().refused_by;
    let gone = c.remove_pod("x").unwrap();
    assert!(wakes(&waits, &refused_by, &Event::PodGone(&gone), &Scene { cluster: &c, profile: &profile }));
}

#[test]
fn labels_taints_and_cordons_wake_whom_they_kept_out() {
    let cordoned = node("b", json!({"spec": {"unschedulable": true}}));
    let c = cluster(vec![tainted("a"), cordoned.clone(), node("c", json!({}))], vec![]);
    let waits = pod("waits", json!({"spec": {"nodeSelector": {"disk": "ssd"}}}));
    let ssd = node("c", json!({"metadata": {"labels": {"disk": "ssd"}}}));
    let hdd = node("c", json!({"metadata": {"labels": {"disk": "hdd"}}}));
    let (clean, open) = (node("a", json!({})), node("b", json!({})));
    let [a, b, d] = [&c.nodes[0], &c.nodes[1], &c.nodes[2]];
    let events = [
        Event::NodeChanged { old: d, new: &hdd },
        Event::NodeChanged { old: d, new: &ssd },
        Event::NodeChanged { old: &ssd, new: &ssd },
        Event::NodeChanged { old: a, new: &clean },
        Event::NodeChanged { old: &clean, new: a },
        Event::NodeChanged { old: b, new: &open },
        Event::NodeChanged { old: &open, new: b },
        Event::NodeGone(d),
    ];
    assert_eq!(woken(&waits, &c, &events), [false, true, false, true, false, true, false, false]);
}

#[test]
fn neighbours_wake_whom_their_coming_or_going_could_let_in() {
    let c = cluster(vec![node("a", json!({}))], vec![("a", labelled("web", "web", json!({})))]);
    let term = |app: &str| {
        json!({"requiredDuringSchedulingIgnoredDuringExecution": [
        {"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": "zone"}]})
    };
    let here = |name: &str, app: &str| Pod { node: "a".into(), ..labelled(name, app, json!({})) };
    let (web, db) = (here("web", "web"), here("db", "db"));
    let events = [
        Event::PodPlaced(&db),
        Event::PodPlaced(&web),
        Event::PodGone(&web),
        Event::PodGone(&db),
        Event::PodChanged { old: &web, new: &db },
        Event::PodChanged { old: &db, new: &web },
    ];
    let near = pod("near", json!({"spec": {"affinity": {"podAffinity": term("db")}}}));
    assert_eq!(woken(&near, &c, &events), [true, false, false, false, true, false]);
    let away = pod("away", json!({"spec": {"affinity": {"podAntiAffinity": term("web")}}}));
    assert_eq!(woken(&away, &c, &events), [false, false, true, false, true, false]);
    let port = |name: &str, port: u16| pod(name, json!({"spec": {"containers": [{"ports": [{"hostPort": port}]}]}}));
    let on = |name: &str, number| Pod { node: "a".into(), ..port(name, number) };
    let full = cluster(vec![node("a", json!({}))], vec![("a", port("x", 80))]);
    let events = [Event::PodGone(&on("x", 80)), Event::PodGone(&on("y", 81))];
    assert_eq!(woken(&port("waits", 80), &full, &events), [true, false]);
    let closed = cluster(vec![node("a", json!({})), tainted("b")], vec![("a", port("x", 80))]);
    let gone = Pod { node: "b".into(), ..port("y", 80) };
    assert_eq!(woken(&port("waits", 80), &closed, &[Event::PodGone(&gone)]), [true]);
}

#[test]
fn spread_pod_hears_of_pods_that_count_and_of_domains() {
    let spread = json!({"spec": {"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "minDomains": 2,
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "web"}}}]}});
    let c = cluster(vec![node("a", json!({}))], vec![("a", labelled("one", "web", json!({})))]);
    let waits = labelled("waits", "web", spread);
    let on = |name: &str, app: &str| Pod { node: "a".into(), ..labelled(name, app, json!({})) };
    let elsewhere = Pod { namespace: "other".into(), ..on("one", "web") };
    let zoned = node("b", json!({"metadata": {"labels": {"zone": "b"}}}));
    let mut bare = node("b", json!({}));
    bare.labels = Default::default();
    let events = [
        Event::PodGone(&on("one", "web")),
        Event::PodGone(&on("one", "db")),
        Event::PodGone(&elsewhere),
        Event::NodeAdded(&zoned),
        Event::NodeAdded(&bare),
        Event::NodeGone(&zoned),
        Event::NodeChanged { old: &bare, new: &zoned },
    ];
    assert_eq!(woken(&waits, &c, &events), [true, false, false, true, false, true, true]);
}
