//! What a pod learns of itself.

use crate::view::{Container, Pod, ResourceFieldSelector};
use serde_json::json;

use super::{Facts, field, resource};

fn facts() -> Facts {
    Facts {
        node_name: "n1".into(),
        host_ips: vec!["10.0.0.1".into()],
        pod_ips: vec!["10.244.0.2".into(), "fd00::2".into()],
        allocatable: [("cpu".to_string(), "2".to_string()), ("memory".into(), "1Gi".into())].into(),
    }
}

#[test]
fn fields_are_told_as_upstream_formats_them() {
    let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "shop", "uid": "u1",
        "labels": {"b": "2", "a": "say \"hi\""},
        "annotations": {"x/y": "line\nbreak", "z": "\u{1}\u{7f}\u{85}\u{a0}\u{ad}\u{e9}\u{301}\u{200b}\u{2028}\u{feff}\u{e000}🐔\u{e0001}"}},
        "spec": {"serviceAccountName": "sa", "containers": []}}))
    .unwrap();
    for (path, wanted) in [
        ("metadata.name", "web"),
        ("metadata.labels", "a=\"say \\\"hi\\\"\"\nb=\"2\""),
        ("metadata.labels['b']", "2"),
        ("metadata.labels['none']", ""),
        ("metadata.annotations['x/y']", "line\nbreak"),
        // As strconv.Quote: what is no letter, mark, number, punctuation, symbol or space is escaped.
        (
            "metadata.annotations",
            "x/y=\"line\\nbreak\"\nz=\"\\x01\\x7f\\u0085\\u00a0\\u00ad\u{e9}\u{301}\\u200b\\u2028\\ufeff\\ue000🐔\\U000e0001\"",
        ),
        ("spec.nodeName", "n1"),
        ("spec.serviceAccountName", "sa"),
        ("status.hostIP", "10.0.0.1"),
        ("status.podIPs", "10.244.0.2,fd00::2"),
    ] {
        assert_eq!(field(&pod, &facts(), path).unwrap(), wanted, "{path}");
    }
    assert!(field(&pod, &facts(), "spec.restartPolicy").is_err());
}

#[test]
fn resources_are_divided_and_rounded_up_and_a_missing_limit_is_the_nodes() {
    let container: Container = serde_json::from_value(json!({"name": "c",
        "resources": {"requests": {"cpu": "250m", "memory": "32Mi"}, "limits": {"memory": "64Mi"}}}))
    .unwrap();
    for (name, divisor, wanted) in [
        ("requests.cpu", "1m", "250"),
        ("requests.cpu", "", "1"),
        ("limits.cpu", "1", "2"),
        ("requests.memory", "1Mi", "32"),
        ("limits.memory", "", "67108864"),
        ("limits.memory", "1Gi", "1"),
        ("requests.ephemeral-storage", "", "0"),
    ] {
        let mut reference = ResourceFieldSelector { resource: name.into(), ..Default::default() };
        if !divisor.is_empty() {
            reference.divisor = Some(serde_json::from_value(json!(divisor)).unwrap());
        }
        assert_eq!(resource(&container, &facts(), &reference).unwrap(), wanted, "{name} / {divisor}");
    }
}
