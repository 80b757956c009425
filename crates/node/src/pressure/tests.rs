use crate::view as core;
use expect_test::{Expect, expect};
use runtime::disk::DiskUse;
use serde_json::{Value, json};

use super::*;
use crate::limits::{ContainerUsed, Used};
use crate::{admit, pod};

const MEBIBYTE: u64 = 1 << 20;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

fn room(available: u64, capacity: u64) -> Room {
    Room { available, capacity }
}

fn pod(name: &str, priority: i32, requests: Value) -> core::Pod {
    let container = json!({"name": "c", "image": "i", "resources": {"requests": requests}});
    serde_json::from_value(json!({"metadata": {"name": name, "namespace": "ns", "uid": name},
        "spec": {"priority": priority, "containers": [container]}}))
    .unwrap()
}

fn uses(memory: u64, disk: u64) -> Used {
    let layer = DiskUse { bytes: disk * MEBIBYTE, inodes: disk };
    let container = ContainerUsed { name: "c".into(), memory: memory * MEBIBYTE, layer, ..Default::default() };
    Used { containers: vec![container], ..Used::default() }
}

#[test]
fn thresholds_are_read_as_a_kubelet_reads_them() {
    let read = |text: &str| text.parse::<Thresholds>();
    assert_eq!(Thresholds::default().0.len(), 5);
    assert_eq!(read("").unwrap().0.len(), 0);
    assert_eq!(read("nodefs.available<0%,imagefs.available<100%").unwrap().0.len(), 0);
    let own = read("memory.available<1Gi, nodefs.available<5%").unwrap();
    assert_eq!(own.kept_free(Signal::MemoryAvailable, 8 << 30), 1 << 30);
    assert_eq!(own.kept_free(Signal::NodefsAvailable, 1000), 50);
    assert_eq!(own.kept_free(Signal::ImagefsAvailable, 1000), 0);
    let refused = |text: &str, expected: Expect| expected.assert_eq(&read(text).unwrap_err());
    refused(
        "memory.available",
        expect![[r#""memory.available" is no threshold; one looks like memory.available<100Mi"#]],
    );
    refused(
        "memory<1",
        expect![[
            r#"unknown eviction signal "memory"; there are memory.available, imagefs.available, imagefs.inodesFree, nodefs.available, nodefs.inodesFree, pid.available"#
        ]],
    );
    refused("nodefs.available<101%", expect![[r#""nodefs.available<101%": 101% is not between 0% and 100%"#]]);
    refused("memory.available<0", expect![[r#""memory.available<0": 0 is not more than nothing"#]]);
    refused("memory.available<1,memory.available<2", expect![[r#"eviction signal "memory.available" is given twice"#]]);
}

#[test]
fn a_large_disk_that_is_nearly_full_has_room_by_default() {
    let short = |available, capacity| {
        let disk = [Signal::ImagefsAvailable, Signal::NodefsAvailable].map(|s| (s, room(available, capacity)));
        Thresholds::default().judge(&disk.into()).iter().map(|shortage| shortage.signal).collect::<Vec<_>>()
    };
    assert_eq!(short(10 << 30, 250 << 30), []);
    assert_eq!(short(800 << 20, 250 << 30), [Signal::ImagefsAvailable]);
    assert_eq!(short(400 << 20, 250 << 30), [Signal::ImagefsAvailable, Signal::NodefsAvailable]);
    // A small one is not short of what it never had.
    assert_eq!(short(400 << 20, 2 << 30), []);
    assert_eq!(short(250 << 20, 2 << 30), [Signal::ImagefsAvailable]);
}

#[test]
fn memory_comes_first_and_a_condition_outlasts_its_cause() {
    let observed = BTreeMap::from([
        (Signal::NodefsAvailable, room(99, 1000)),
        (Signal::NodefsInodes, room(0, 0)),
        (Signal::ImagefsAvailable, room(150, 1000)),
        (Signal::MemoryAvailable, room(80 << 20, 1 << 30)),
    ]);
    let short = Thresholds::default().judge(&observed);
    let signals: Vec<Signal> = short.iter().map(|s| s.signal).collect();
    assert_eq!(signals, [Signal::MemoryAvailable, Signal::NodefsAvailable]);
    let mut seen = LastSeen::default();
    seen.note(&short, at(0));
    seen.note(&short[1..], at(60));
    assert_eq!(seen.conditions(at(299)), [Condition::DiskPressure, Condition::MemoryPressure]);
    assert_eq!(seen.conditions(at(300)), [Condition::DiskPressure]);
    assert_eq!(seen.conditions(at(360)), []);
}

#[test]
fn a_node_under_pressure_takes_only_what_upstreams_takes() {
    use Condition::{DiskPressure, MemoryPressure};
    let told = |conditions: &[Condition], pod: &core::Pod| {
        admit::under_pressure(conditions, pod).map(|v| (v.cause.reason().to_owned(), v.told()))
    };
    let (bare, asking) = (pod("bare", 0, json!({})), pod("asking", 0, json!({"memory": "1Mi"})));
    let critical = pod("critical", 2_000_000_000, json!({}));
    let mut tolerant = bare.clone();
    let toleration = json!([{"key": "node.kubernetes.io/memory-pressure", "operator": "Exists"}]);
    tolerant.spec.as_mut().unwrap().tolerations = serde_json::from_value(toleration).unwrap();
    let refused =
        |names: &str| Some(("Evicted".to_owned(), format!("Pod was rejected: The node had condition: [{names}]. ")));
    assert_eq!(told(&[], &bare), None);
    assert_eq!(told(&[MemoryPressure], &bare), refused("MemoryPressure"));
    assert_eq!(told(&[MemoryPressure], &asking), None);
    assert_eq!(told(&[MemoryPressure], &tolerant), None);
    assert_eq!(told(&[DiskPressure], &asking), refused("DiskPressure"));
    assert_eq!(told(&[DiskPressure, MemoryPressure], &tolerant), refused("DiskPressure MemoryPressure"));
    assert_eq!(told(&[DiskPressure], &critical), None);
}

#[test]
fn who_uses_more_than_it_asked_for_goes_first_then_the_least_important_then_the_largest() {
    let ask = |amount: &str| json!({"memory": amount, "ephemeral-storage": amount});
    let mut all = [
        (pod("modest", 0, ask("500Mi")), uses(400, 400)),
        (pod("important", 100, json!({})), uses(900, 900)),
        (pod("small", 0, json!({})), uses(10, 10)),
        (pod("large", 0, ask("100Mi")), uses(300, 300)),
    ];
    let mut names = |scarce: Scarce| {
        all.sort_by_cached_key(|(pod, used)| rank::order(scarce, pod, used));
        all.iter().map(|(pod, _)| pod::name(pod).to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(Scarce::Memory), ["large", "small", "important", "modest"]);
    assert_eq!(names(Scarce::Storage), ["large", "small", "important", "modest"]);
    assert_eq!(names(Scarce::Inodes), ["modest", "large", "small", "important"], "nobody asks for inodes");
}

#[test]
fn the_words_are_upstreams() {
    let told = |signal: Signal, floor: u64, available: u64, expected: Expect| {
        let shortage = Shortage { signal, floor, available };
        let eviction = rank::eviction(&shortage, &pod("p", 0, json!({"memory": "100Mi"})), &uses(300, 2));
        expected.assert_eq(&format!("{}\n{:?}", eviction.message, eviction.annotations));
    };
    told(
        Signal::MemoryAvailable,
        100 << 20,
        80 << 20,
        expect![[r#"
            The node was low on resource: memory. Threshold quantity: 100Mi, available: 80Mi. Container c was using 300Mi, request is 100Mi, has larger consumption of memory. 
            {"offending_containers": "c", "offending_containers_usage": "300Mi", "starved_resource": "memory"}"#]],
    );
    told(
        Signal::NodefsAvailable,
        1000,
        4096,
        expect![[r#"
            The node was low on resource: ephemeral-storage. Threshold quantity: 1000, available: 4Ki. Container c was using 2Mi, request is 0, has larger consumption of ephemeral-storage. 
            {"offending_containers": "c", "offending_containers_usage": "2Mi", "starved_resource": "ephemeral-storage"}"#]],
    );
    told(
        Signal::NodefsInodes,
        50_000,
        1234,
        expect![[r#"
            The node was low on resource: inodes. Threshold quantity: 50k, available: 1234. 
            {"offending_containers": "", "offending_containers_usage": "", "starved_resource": "inodes"}"#]],
    );
}

#[test]
fn a_pod_with_a_request_of_its_own_is_blamed_as_a_whole_too() {
    let mut pod = pod("p", 0, json!({}));
    let whole = json!({"requests": {"memory": "200Mi"}});
    pod.spec.as_mut().unwrap().resources = Some(serde_json::from_value(whole).unwrap());
    let shortage = Shortage { signal: Signal::MemoryAvailable, floor: 100 << 20, available: 80 << 20 };
    let eviction = rank::eviction(&shortage, &pod, &uses(300, 0));
    let whole =
        "available: 80Mi. Pod p was using 300Mi, request is 200Mi, has larger consumption of memory. Container c";
    assert!(eviction.message.contains(whole), "{}", eviction.message);
    assert_eq!(eviction.annotations["offending_pod_usage"], "300Mi");
}

#[test]
fn processes_run_short_like_memory_and_rank_by_priority() {
    let thresholds: Thresholds = "pid.available<10%".parse().unwrap();
    let observed = BTreeMap::from([(Signal::PidsAvailable, room(99, 1000))]);
    let shortages = thresholds.judge(&observed);
    assert_eq!(shortages, [Shortage { signal: Signal::PidsAvailable, floor: 100, available: 99 }]);
    let mut seen = LastSeen::default();
    seen.note(&shortages, at(0));
    assert_eq!(seen.conditions(at(299)), [Condition::PIDPressure]);
    assert_eq!(
        admit::under_pressure(&[Condition::PIDPressure], &pod("a", 0, json!({"cpu": "1"}))).unwrap().cause.reason(),
        "Evicted"
    );
    let uses = |pids: u64| Used { containers: vec![ContainerUsed { pids, ..Default::default() }], ..Used::default() };
    let mut pods = [
        (pod("high", 9, json!({})), uses(500)),
        (pod("few", 0, json!({})), uses(1)),
        (pod("many", 0, json!({})), uses(80)),
    ];
    pods.sort_by_cached_key(|(pod, used)| rank::order(Scarce::Pids, pod, used));
    assert_eq!(pods.each_ref().map(|(p, _)| pod::name(p).to_owned()), ["many", "few", "high"]);
    let eviction = rank::eviction(&shortages[0], &pods[0].0, &pods[0].1);
    assert_eq!(eviction.message, "The node was low on resource: pids. Threshold quantity: 100, available: 99. ");
}
