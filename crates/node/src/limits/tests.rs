use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::*;

const MEBIBYTE: u64 = 1 << 20;

fn mebibytes(n: u64) -> DiskUse {
    DiskUse { bytes: n * MEBIBYTE, inodes: 1 }
}

fn pod(spec: Value) -> core::Pod {
    serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": spec})).unwrap()
}

fn container(name: &str, layer: u64, logs: u64) -> ContainerUsed {
    ContainerUsed { name: name.into(), layer: mebibytes(layer), logs: mebibytes(logs), ..Default::default() }
}

fn limited(name: &str, limit: &str) -> Value {
    json!({"name": name, "image": "i", "resources": {"limits": {"ephemeral-storage": limit}}})
}

fn check(spec: Value, used: Used, expected: Expect) {
    expected.assert_eq(&format!("{:?}", exceeded(&pod(spec), &used)));
}

#[test]
fn a_volume_that_outgrows_its_size_is_told_first() {
    let spec = json!({
        "containers": [limited("c", "1Mi")],
        "volumes": [
            {"name": "free", "emptyDir": {}},
            {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
            {"name": "v", "emptyDir": {"sizeLimit": "5Mi"}},
        ],
    });
    let used = |v: u64| Used {
        volumes: [("free".to_owned(), mebibytes(0)), ("v".to_owned(), mebibytes(v))].into(),
        ..Used::default()
    };
    let told = expect![[r#"Some("Usage of EmptyDir volume \"v\" exceeds the limit \"5Mi\". ")"#]];
    check(spec.clone(), used(6), told);
    let exact = json!({"containers": [], "volumes": spec["volumes"]});
    check(exact, used(5), expect!["None"]);
}

#[test]
fn everything_counts_towards_the_total_and_only_its_own_towards_a_container() {
    let both = json!({"containers": [limited("a", "10Mi"), limited("b", "20M")]});
    let used = |a: ContainerUsed| Used { containers: vec![a, container("b", 1, 0)], ..Used::default() };
    let told = expect![[r#"Some("Container a exceeded its local ephemeral storage limit \"10Mi\". ")"#]];
    check(both.clone(), used(container("a", 6, 5)), told);
    check(both.clone(), used(container("a", 6, 4)), expect!["None"]);
    let mut more = used(container("a", 6, 4));
    more.volumes.insert("unsized".into(), mebibytes(30));
    let told =
        expect![[r#"Some("Pod ephemeral local storage usage exceeds the total limit of containers 30485760. ")"#]];
    check(both, more, told);
    // A container without a limit adds nothing to the total that all share.
    let one = json!({"containers": [limited("a", "10Mi"), {"name": "b", "image": "i"}]});
    let told = expect![[r#"Some("Pod ephemeral local storage usage exceeds the total limit of containers 10Mi. ")"#]];
    check(one, Used { containers: vec![container("b", 11, 0)], ..Used::default() }, told);
}

#[test]
fn a_pod_without_limits_is_not_measured() {
    let measured = |spec: Value| has_limits(&pod(spec));
    assert!(!measured(
        json!({"containers": [{"name": "c", "image": "i"}], "volumes": [{"name": "v", "emptyDir": {}}]})
    ));
    assert!(!measured(json!({"containers": [],
        "volumes": [{"name": "v", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}]})));
    assert!(measured(json!({"containers": [], "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}]})));
    assert!(measured(json!({"containers": [limited("c", "1Gi")]})));
    assert!(measured(json!({"containers": [], "initContainers": [limited("c", "1Gi")]})));
}

#[test]
fn what_is_mounted_into_containers_counts_where_it_is_written() {
    let spec = json!({"containers": [limited("a", "10Mi"), limited("b", "10Mi")]});
    let files = Used { files: mebibytes(21), ..Used::default() };
    let told = expect![[r#"Some("Pod ephemeral local storage usage exceeds the total limit of containers 20Mi. ")"#]];
    check(spec.clone(), files, told);
    let words =
        Used { containers: vec![ContainerUsed { messages: mebibytes(11), ..container("b", 0, 0) }], ..Used::default() };
    check(spec, words, expect![[r#"Some("Container b exceeded its local ephemeral storage limit \"10Mi\". ")"#]]);
}
